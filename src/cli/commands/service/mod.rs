//! `statusd service`: install, uninstall, status, logs.
//!
//! `crate::service` plans the steps and `executor` executes them. This file requests a plan, prints it,
//! and rolls back after a failed step. `--dry-run` prints the same plan and executes nothing.

mod executor;
mod status;

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command as Process;

use crate::cause::Cause as _;
use crate::config::{self, Config, ConfigError, Overrides};
use crate::service::{self, Action, CurrentState, MACHINE_STATE, OnDisk, Site, launcher};
use crate::status_socket;

use crate::cli::args::{InstallArgs, ServiceArgs as Command, UninstallArgs};
use crate::cli::phrases::shown;
use crate::cli::{CONFIGURATION, Failure, Invocation, Output, WRONG_USAGE, wait};
use executor::Outside;

/// The channel that needs a desktop session.
const DESKTOP: &str = "desktop";
const NO_DESKTOP: &str =
    "a system service has no desktop session; install as yourself, or choose another channel";
/// What the compiler calls the directory of its results.
const BUILD_DIRECTORY: &str = "target";

pub fn run(command: &Command, invocation: &Invocation) -> Result<Output, Failure> {
    let site = site(invocation)?;
    match command {
        Command::Install(options) => install(&site, options, invocation),
        Command::Uninstall(options) => uninstall(&site, options, invocation),
        Command::Status { json } => status::run(&site, *json, invocation),
        Command::Logs { lines, follow } => Err(logs(&site, *lines, *follow)),
    }
}

fn site(invocation: &Invocation) -> Result<Site, Failure> {
    let uid = rustix::process::geteuid().as_raw();
    let (home, config_home) = ((invocation.environment)("HOME"), (invocation.environment)("XDG_CONFIG_HOME"));
    Site::choose(cfg!(target_os = "macos"), uid, home.as_deref(), config_home.as_deref())
        .map_err(Failure::failed)
}

/// The configuration as the service will read it: it sees no flag of this command and nothing of this
/// shell but where a person's files are.
fn service_config(site: &Site, invocation: &Invocation) -> Result<Config, ConfigError> {
    let of_a_person = |name: &str| match name {
        "STATE_DIRECTORY" | "CREDENTIALS_DIRECTORY" => None,
        _ => (invocation.environment)(name),
    };
    let of_the_machine = |name: &str| (name == "STATE_DIRECTORY").then(|| MACHINE_STATE.to_owned());
    match site {
        Site::Person { .. } | Site::Agent { .. } => config::load(&Overrides::default(), &of_a_person),
        Site::Machine => config::load(&Overrides::default(), &of_the_machine),
    }
}

fn install(site: &Site, options: &InstallArgs, invocation: &Invocation) -> Result<Output, Failure> {
    if options.linger && site.linger_inquiry().is_none() {
        let words = "--linger applies only to a systemd user service; remove it";
        return Err(Failure::new(WRONG_USAGE, words));
    }
    refuse_settings(&invocation.overrides)?;
    let program = program(site)?;
    let config = service_config(site, invocation)?;
    refuse_desktop(site, &config)?;
    let outside = Outside::new(site, invocation.environment);
    wait(async {
        let found = outside.find().await?;
        let live = status_socket::ask(&config.state_directory);
        if let Some(live) = live.as_ref().filter(|_| !found.known.is_up()) {
            let words = format!("statusd runs already, as process {}; stop that process first", live.pid);
            return Err(Failure::failed(words));
        }
        let is_other_version = live.is_some_and(|live| live.version != env!("CARGO_PKG_VERSION"));
        let pid = found.known.pid();
        let mut wish = service::Install {
            program: program.display().to_string(),
            systemd: outside.version().await,
            writable: site.writable(
                (invocation.environment)("HOME").as_deref(),
                &config.state_directory,
                config.record_file.as_deref(),
            ),
            is_outdated: pid
                .and_then(|pid| executor::runs_another(pid, &program))
                .unwrap_or(is_other_version),
            linger: options.linger,
            without_namespaces: false,
            force: options.force,
            kept: executor::free_name(&site.file())?,
        };
        let launcher = match service::elsewhere(site, &found) {
            // A package that brings the unit brings the rest as well.
            Some(_) if found.file == OnDisk::Missing => Vec::new(),
            _ => launcher::install(&launcher_files(site, invocation)?, &wish.program),
        };
        if options.dry_run {
            let mut acts = service::install(site, &found, &wish).map_err(|refusal| refused(&refusal))?;
            acts.extend(launcher);
            return Ok(Output::done(planned(&acts)));
        }
        let mut outcome = attempt(&outside, &found, &wish).await;
        let code = outcome.as_ref().err().and_then(|miss| miss.exit_code);
        if code.is_some_and(|code| site.may_start_without_namespaces(code)) {
            wish.without_namespaces = true;
            outcome = attempt(&outside, &found, &wish).await;
        }
        let mut acts = outcome.map_err(|miss| miss.failure)?;
        let mut epilogue = epilogue(site, &found, &wish);
        // The service runs without them.
        match carried_out(&outside, &launcher).await {
            Ok(()) => acts.extend(launcher),
            Err((_, words)) => epilogue.push_str(&format!("cannot write the desktop entry: {words}\n")),
        }
        Ok(Output::done(format!("{}\n{epilogue}{}", deeds(&acts), no_bubbles(site, &config))))
    })?
}

/// What is where the desktop entry and its icon belong.
fn launcher_files(site: &Site, invocation: &Invocation) -> Result<Vec<(PathBuf, OnDisk)>, Failure> {
    let absolute = |name| (invocation.environment)(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let data_home = absolute("XDG_DATA_HOME").or_else(|| Some(absolute("HOME")?.join(".local/share")));
    let paths = data_home.map(|data_home| launcher::paths(site, &data_home)).unwrap_or_default();
    paths.into_iter().map(|path| executor::on_disk(&path).map(|on_disk| (path, on_disk))).collect()
}

/// An installation that failed and was taken back.
struct Miss {
    failure: Failure,
    /// With which the service ended by itself, if it came to that.
    exit_code: Option<i32>,
}

/// Executes the plan, or rolls it back at the first failed step.
async fn attempt(
    outside: &Outside<'_>,
    found: &CurrentState,
    wish: &service::Install,
) -> Result<Vec<Action>, Miss> {
    let acts = service::install(outside.site, found, wish)
        .map_err(|refusal| Miss { failure: refused(&refusal), exit_code: None })?;
    let Err((failed, mut words)) = carried_out(outside, &acts).await else { return Ok(acts) };
    // Before it is taken back: then nobody knows any more.
    let known = outside.known().await;
    let exit_code = known.ok().and_then(|known| known.exit_code());
    if let Some(code) = exit_code {
        words = format!("{words}; {}", ended_with(code));
    }
    Err(Miss { failure: taken_back(outside, found, &acts, failed, &words).await, exit_code })
}

/// What an exit code of the service says, and where to look.
fn ended_with(code: i32) -> String {
    let knows =
        if code == i32::from(CONFIGURATION) { "statusd config check" } else { "statusd service logs" };
    format!("the service ended with {code}; see `{knows}`")
}

/// A service reads its file only; a setting of this shell would be lost without a word.
fn refuse_settings(overrides: &Overrides) -> Result<(), Failure> {
    if *overrides == Overrides::default() {
        return Ok(());
    }
    let words = "the service does not read flags or STATUSD_ variables of this shell: remove them, and write \
                 the settings into the configuration file";
    Err(Failure::new(WRONG_USAGE, words))
}

/// Where this program is, if the service can run it there.
fn program(site: &Site) -> Result<PathBuf, Failure> {
    let found = std::env::current_exe().and_then(|path| path.canonicalize());
    let program = found.map_err(|error| {
        Failure::failed(format!(
            "cannot find the path of this program: {}; if it was just replaced, try again",
            error.reason()
        ))
    })?;
    if program.to_str().is_none() {
        return Err(Failure::failed(
            "the path of this program is not UTF-8; move the program to another path",
        ));
    }
    let why = match (site, site.hides(&program)) {
        (_, Some(place)) => format!("the service has no access to {place}"),
        (Site::Machine, None) => match executor::closed_place(&program) {
            Some(place) => format!("the service's own user has no permission for {}", place.display()),
            None => return Ok(program),
        },
        (Site::Person { .. } | Site::Agent { .. }, None) => return Ok(program),
    };
    let path = program.display();
    Err(Failure::failed(format!(
        "{path}: {why}; install it where every user can run it: install -m 755 {path} /usr/local/bin/statusd, \
         then /usr/local/bin/statusd service install"
    )))
}

fn has_desktop(config: &Config) -> bool {
    config.channel.all().into_iter().any(|(name, table)| name == DESKTOP && table.is_enabled())
}

/// A person without a file of their own is given the machine's, which as a rule has no bubbles.
fn no_bubbles(site: &Site, config: &Config) -> &'static str {
    let is_machines = config.source.as_deref().is_some_and(|source| source.starts_with("/etc"));
    match site {
        Site::Person { .. } | Site::Agent { .. } if is_machines && !has_desktop(config) => {
            "It reads the system configuration in /etc/statusd, which does not enable desktop notifications.\n\
             For your own configuration, run `statusd config init` and restart the service.\n"
        }
        Site::Person { .. } | Site::Agent { .. } | Site::Machine => "",
    }
}

fn refuse_desktop(site: &Site, config: &Config) -> Result<(), Failure> {
    match site {
        Site::Machine if has_desktop(config) => Err(Failure::new(
            CONFIGURATION,
            format!(
                "{NO_DESKTOP}: remove enabled = true from [channel.desktop] in /etc/statusd/statusd.toml, \
                 and add a channel that reaches you"
            ),
        )),
        Site::Machine | Site::Person { .. } | Site::Agent { .. } => Ok(()),
    }
}

fn refused(refusal: &service::PlanRefusal) -> Failure {
    Failure::failed(refusal.to_string())
}

/// Which step failed, counted from 0, and why.
async fn carried_out(outside: &Outside<'_>, acts: &[Action]) -> Result<(), (usize, String)> {
    for (number, act) in acts.iter().enumerate() {
        outside.carry_out(act).await.map_err(|words| (number, words))?;
    }
    Ok(())
}

/// Puts back what was there, and says what could not be.
async fn taken_back(
    outside: &Outside<'_>,
    found: &CurrentState,
    acts: &[Action],
    failed: usize,
    words: &str,
) -> Failure {
    let mut left = Vec::new();
    for act in service::back(outside.site, found, acts, failed) {
        if let Err(words) = outside.carry_out(&act).await {
            left.push(format!("cannot {act}: {words}"));
        }
    }
    let end = match left.as_slice() {
        [] => "rolled back".to_owned(),
        left => format!("rollback incomplete: {}", left.join("; ")),
    };
    Failure::failed(format!("not installed: {words}; {end}"))
}

fn uninstall(site: &Site, options: &UninstallArgs, invocation: &Invocation) -> Result<Output, Failure> {
    let config = match service_config(site, invocation) {
        Ok(config) => Some(config),
        // Only the configuration names the state directory.
        Err(error) if options.purge => return Err(error.into()),
        Err(_) => None,
    };
    let outside = Outside::new(site, invocation.environment);
    wait(async {
        let found = outside.find().await?;
        let state = config.as_ref().map(|config| config.state_directory.clone());
        let wish = service::Uninstall {
            force: options.force,
            kept: executor::free_name(&site.file())?,
            purge: state.filter(|state| options.purge && state.exists()),
        };
        let mut acts = service::uninstall(site, &found, &wish).map_err(|refusal| refused(&refusal))?;
        acts.extend(launcher::uninstall(&launcher_files(site, invocation)?));
        if options.dry_run {
            return Ok(Output::done(planned(&acts)));
        }
        if let Err((failed, words)) = carried_out(&outside, &acts).await {
            let left: Vec<String> = acts[failed..].iter().map(Action::to_string).collect();
            return Err(Failure::failed(format!("{words}; remaining steps: {}", left.join("; "))));
        }
        Ok(Output::done(format!("{}{}", deeds(&acts), kept(site, options, config.as_ref()))))
    })?
}

/// The steps with their files in full, as they would be carried out.
fn planned(acts: &[Action]) -> String {
    if acts.is_empty() {
        return "Nothing to do: the installation is up to date.\n".to_owned();
    }
    let mut text = "Dry run. Steps:\n".to_owned();
    for (number, act) in (1..).zip(acts) {
        text.push_str(&format!("{number}. {}\n", shown(&act.to_string())));
        match act {
            Action::Write { text: file, .. } => {
                file.lines()
                    .for_each(|line| text.push_str(&format!("   {}\n", format!("| {line}").trim_end())));
            }
            Action::Run(_)
            | Action::Move { .. }
            | Action::Remove(_)
            | Action::RemoveEmpty(_)
            | Action::AwaitGone(_)
            | Action::Forget(_) => {}
        }
    }
    text + "Nothing was changed.\n"
}

fn deeds(acts: &[Action]) -> String {
    if acts.is_empty() {
        return "Nothing to do: the installation is up to date.\n".to_owned();
    }
    // Not wrapped: what was broken cannot be copied.
    let lines = acts.iter().map(|act| format!("  {}\n", shown(&act.to_string())));
    format!("Done:\n{}", lines.collect::<String>())
}

/// What the person who installed it wants to know next.
fn epilogue(site: &Site, found: &CurrentState, wish: &service::Install) -> String {
    let mut text = match site {
        Site::Person { .. } if found.lingers || wish.linger => {
            "statusd is running. It keeps running after logout, because lingering is on.\n".to_owned()
        }
        Site::Person { .. } => "statusd is running. It starts at login and stops at your last logout.\n\
                                To keep it running after logout, use `statusd service install --linger`.\n"
            .to_owned(),
        Site::Machine => format!(
            "statusd is running. It starts at boot. Query it with `statusd status --state-directory \
             {MACHINE_STATE}`.\nA system service shows no desktop notifications. Its notices go to the \
             journal\nand to the channels in /etc/statusd/statusd.toml.\n"
        ),
        Site::Agent { .. } => "statusd is running. It starts at login and stops at logout.\n".to_owned(),
    };
    if let Some(from) = service::elsewhere(site, found).filter(|_| found.file == OnDisk::Missing) {
        text.push_str(&format!("The service uses the unit {}.\n", shown(&from.display().to_string())));
    } else if Path::new(&wish.program).iter().any(|part| part == BUILD_DIRECTORY) {
        let program = shown(&wish.program);
        text.push_str(&format!(
            "It runs {program}, which the next build replaces.\nInstall the program with `cargo install --path .`, \
             then install the service again.\n"
        ));
    }
    if wish.without_namespaces {
        text.push_str(
            "This system forbids user namespaces to users, so the service runs with fewer restrictions.\n\
             The end of its unit file lists the omitted options.\n",
        );
    }
    text + "Next: `statusd service logs -f` follows the log, `statusd test-notice` tests your channels.\n"
}

/// What is still there after an uninstall.
fn kept(site: &Site, options: &UninstallArgs, config: Option<&Config>) -> String {
    let state = config.map(|config| config.state_directory.clone());
    let file = config.and_then(|config| config.source.clone());
    let drop_ins = PathBuf::from(format!("{}.d", site.file().display()));
    let places = [
        ("The history", state.filter(|state| state.exists()), "; --purge removes it"),
        ("The configuration", file, ""),
        ("Your drop-in directory", Some(drop_ins).filter(|path| path.exists()), ""),
    ];
    let lines = places.into_iter().filter_map(|(what, path, advice)| {
        let advice = if options.purge { "" } else { advice };
        Some(format!("{what} stays in {}{advice}.\n", shown(&path?.display().to_string())))
    });
    lines.collect()
}

/// Becomes the program that shows the log; comes back only with an error.
fn logs(site: &Site, lines: u32, follow: bool) -> Failure {
    if let Some(file) = site.log_file().filter(|file| !file.exists()) {
        let file = file.display();
        return Failure::failed(format!("cannot read {file}: no such file; the service has not run yet"));
    }
    let call = site.log_reader(lines, follow);
    let error = Process::new(call.program).args(&call.arguments).exec();
    Failure::failed(match error.kind() {
        std::io::ErrorKind::NotFound => format!(
            "cannot show the log: {} is not installed; `statusd run` logs to standard error",
            call.program
        ),
        _ => format!("cannot start {}: {}", call.program, error.reason()),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    /// A fake that, like launchd, still finds an unloaded agent twice.
    const LAUNCHCTL: &str = r#"#!/bin/sh
W='WORLD'
case "$1" in
print)
    [ -e $W/loaded ] && { printf '\tpath = %s\n\tstate = running\n\tpid = 7\n' "$(cat $W/loaded)"; exit; }
    [ -s $W/ending ] && { cut -c 2- $W/ending | tr -d '\n' > $W/less; mv $W/less $W/ending; echo "state = running"; exit; }
    echo "Could not find service" >&2; exit 113 ;;
esac
echo "$*" >> $W/calls
[ "$1" = bootstrap ] && [ -s $W/ending ] && { echo "Bootstrap failed: 5: Input/output error" >&2; exit 5; }
[ -e $W/fails ] && [ "$(cat $W/fails)" = "$1" ] && exit 1
case "$1" in
bootstrap) echo "$3" > $W/loaded ;;
bootout) rm $W/loaded; printf xx > $W/ending ;;
esac
"#;

    struct Mac {
        directory: TempDir,
        site: Site,
    }

    impl Mac {
        fn new() -> Mac {
            let directory = TempDir::new().expect("a directory");
            let site = Site::Agent { home: directory.path().join("home & co"), uid: 501 };
            let text = LAUNCHCTL.replace("WORLD", directory.path().to_str().expect("UTF-8"));
            // Written by a child process, because another test's child may inherit a file that this
            // process has open for writing. The kernel then refuses to run the file (ETXTBSY).
            let write = "printf %s \"$1\" > \"$0\" && chmod 755 \"$0\"";
            let program = directory.path().join("launchctl");
            let status = Process::new("/bin/sh").args(["-c", write]).arg(program).arg(text).status();
            assert!(status.expect("a shell").success());
            Mac { directory, site }
        }

        fn outside(&self) -> Outside<'_> {
            let path = format!("{}:/usr/bin:/bin", self.directory.path().display());
            let mut outside = Outside::new(&self.site, &|_| None);
            outside.variables.push(("PATH".to_owned(), path));
            outside
        }

        /// Installs the agent and returns the number of steps.
        fn install(&self, program: &str) -> Result<usize, String> {
            let outside = self.outside();
            wait(async {
                let found = outside.find().await.expect("an answer");
                let wish = service::Install {
                    program: program.to_owned(),
                    systemd: None,
                    writable: Vec::new(),
                    is_outdated: false,
                    linger: false,
                    without_namespaces: false,
                    force: false,
                    kept: executor::free_name(&self.site.file()).expect("a name"),
                };
                let outcome = attempt(&outside, &found, &wish).await;
                outcome.map(|acts| acts.len()).map_err(|miss| miss.failure.message)
            })
            .expect("a runtime")
        }

        fn calls(&self) -> Vec<String> {
            let path = self.directory.path().join("calls");
            let calls = fs::read_to_string(&path).unwrap_or_default();
            let _none = fs::remove_file(path);
            calls.lines().map(|call| call.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect()
        }
    }

    #[test]
    fn an_agent_is_written_loaded_refreshed_and_taken_away() {
        let mac = Mac::new();
        assert_eq!(mac.install("/opt/statusd"), Ok(2));
        assert_eq!(mac.calls(), ["bootstrap gui/501"]);
        let first = fs::read_to_string(mac.site.file()).expect("an agent");
        assert_eq!(mac.install("/opt/statusd"), Ok(0));
        assert_eq!(mac.calls(), [""; 0]);
        // launchd refuses the new agent until the old one is unloaded.
        assert_eq!(mac.install("/opt/new/statusd"), Ok(4));
        assert_eq!(mac.calls(), ["bootout gui/501/statusd", "bootstrap gui/501"]);
        let second = fs::read_to_string(mac.site.file()).expect("an agent");
        assert!(first != second && second.contains("<string>/opt/new/statusd</string>"), "{second}");

        fs::write(mac.directory.path().join("fails"), "bootstrap").expect("written");
        let failed = mac.install("/opt/statusd").expect_err("bootstrap fails");
        assert!(failed.starts_with("not installed: `launchctl bootstrap gui/501 '"), "{failed}");
        assert!(failed.contains("rollback incomplete: cannot run launchctl bootstrap"), "{failed}");
        assert_eq!(fs::read_to_string(mac.site.file()).expect("an agent"), second);
        fs::remove_file(mac.directory.path().join("fails")).expect("removed");
        mac.calls();
        // The next run completes the rollback.
        assert_eq!(mac.install("/opt/new/statusd"), Ok(1));
        assert_eq!(mac.calls(), ["bootstrap gui/501"]);

        let outside = mac.outside();
        wait(async {
            let found = outside.find().await.expect("an answer");
            let wish = service::Uninstall { force: false, kept: "/none".into(), purge: None };
            let acts = service::uninstall(&mac.site, &found, &wish).expect("steps");
            assert_eq!(carried_out(&outside, &acts).await, Ok(()));
        })
        .expect("a runtime");
        assert_eq!(mac.calls(), ["bootout gui/501/statusd"]);
        assert!(!mac.site.file().exists());
    }

    #[test]
    fn an_agents_log_is_a_file() {
        let mac = Mac::new();
        let words = logs(&mac.site, 5, false).message;
        assert!(words.contains("Library/Logs/statusd.log: no such file"), "{words}");
    }
}
