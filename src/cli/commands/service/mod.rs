//! `statusd service`: install, uninstall, status, logs.
//!
//! `crate::service` plans the steps and `executor` executes them. This file requests a plan, prints it,
//! and rolls back after a failed step. `--dry-run` prints the same plan and executes nothing.

mod executor;
mod output;
mod status;

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command as Process;

use crate::cause::Cause as _;
use crate::config::{self, Config, ConfigError, Overrides};
use crate::exit_code::{CONFIGURATION, WRONG_USAGE};
use crate::service::{self, Action, CurrentState, OnDisk, SYSTEM_STATE, Scope, launcher};
use crate::status_socket;

use crate::cli::args::{InstallArgs, ServiceArgs as Command, UninstallArgs};
use crate::cli::context::{CommandError, Invocation, Output, block_on};
use executor::Executor;
use output::{NOT_INSTALLED, UP_TO_DATE, dry_run, next_steps, remaining_files, summary};

/// The channel that needs a desktop session.
const DESKTOP: &str = "desktop";

pub fn run(command: &Command, invocation: &Invocation) -> Result<Output, CommandError> {
    let scope = scope(invocation)?;
    match command {
        Command::Install(options) => install(&scope, options, invocation),
        Command::Uninstall(options) => uninstall(&scope, options, invocation),
        Command::Status { json } => status::run(&scope, *json, invocation),
        Command::Logs { lines, follow } => Err(logs(&scope, *lines, *follow)),
    }
}

fn scope(invocation: &Invocation) -> Result<Scope, CommandError> {
    let uid = rustix::process::geteuid().as_raw();
    let (home, config_home) = ((invocation.environment)("HOME"), (invocation.environment)("XDG_CONFIG_HOME"));
    Scope::choose(cfg!(target_os = "macos"), uid, home.as_deref(), config_home.as_deref())
        .map_err(CommandError::failed)
}

/// Loads the configuration as the service will: without this command's flags, and with the variables of
/// this shell only for a user service.
fn service_config(scope: &Scope, invocation: &Invocation) -> Result<Config, ConfigError> {
    let user_environment = |name: &str| match name {
        "STATE_DIRECTORY" | "CREDENTIALS_DIRECTORY" => None,
        _ => (invocation.environment)(name),
    };
    let system_environment = |name: &str| (name == "STATE_DIRECTORY").then(|| SYSTEM_STATE.to_owned());
    match scope {
        Scope::User { .. } | Scope::LaunchAgent { .. } => {
            config::load(&Overrides::default(), &user_environment)
        }
        Scope::System => config::load(&Overrides::default(), &system_environment),
    }
}

fn install(scope: &Scope, options: &InstallArgs, invocation: &Invocation) -> Result<Output, CommandError> {
    if options.linger && scope.linger_query().is_none() {
        let message = "--linger applies only to a systemd user service; remove it";
        return Err(CommandError::new(WRONG_USAGE, message));
    }
    refuse_settings(&invocation.overrides)?;
    let program = program(scope)?;
    let config = service_config(scope, invocation)?;
    refuse_desktop(scope, &config)?;
    let executor = Executor::new(scope, invocation.environment);
    block_on(async {
        let current = executor.current_state().await?;
        let daemon = status_socket::ask(&config.state_directory);
        if let Some(daemon) = daemon.as_ref().filter(|_| !current.unit.is_up()) {
            let message =
                format!("statusd is already running as process {}; stop that process first", daemon.pid);
            return Err(CommandError::failed(message));
        }
        let is_other_version = daemon.is_some_and(|daemon| daemon.version != env!("CARGO_PKG_VERSION"));
        let pid = current.unit.pid();
        let mut request = service::Install {
            program: program.display().to_string(),
            systemd: executor.systemd_version().await,
            writable: scope.writable(
                (invocation.environment)("HOME").as_deref(),
                &config.state_directory,
                config.record_file.as_deref(),
            ),
            is_outdated: pid
                .and_then(|pid| executor::runs_other_program(pid, &program))
                .unwrap_or(is_other_version),
            linger: options.linger,
            without_namespaces: false,
            force: options.force,
            aside_path: executor::free_name(&scope.file())?,
        };
        let launcher = match service::packaged_unit(scope, &current) {
            // The package installs the desktop entry as well.
            Some(_) if current.file == OnDisk::Missing => Vec::new(),
            _ => launcher::install(&launcher_files(scope, invocation)?, &request.program),
        };
        if options.dry_run {
            let mut actions = service::install(scope, &current, &request).map_err(|error| refusal(&error))?;
            actions.extend(launcher);
            return Ok(Output::done(dry_run(&actions, UP_TO_DATE)));
        }
        let mut outcome = attempt(&executor, &current, &request).await;
        let code = outcome.as_ref().err().and_then(|failed| failed.exit_code);
        if code.is_some_and(|code| scope.may_start_without_namespaces(code)) {
            request.without_namespaces = true;
            outcome = attempt(&executor, &current, &request).await;
        }
        let mut actions = outcome.map_err(|failed| failed.failure)?;
        let mut next_steps = next_steps(scope, &current, &request);
        // Not fatal, because the service runs without a desktop entry.
        match execute_all(&executor, &launcher).await {
            Ok(()) => actions.extend(launcher),
            Err((_, message)) => {
                next_steps.push_str(&format!("Warning: cannot write the desktop entry: {message}\n"));
            }
        }
        let summary = summary(&actions, UP_TO_DATE);
        Ok(Output::done(format!("{summary}\n{next_steps}{}", desktop_note(scope, &config))))
    })?
}

/// Returns the paths of the desktop entry and the icon, with the files found there.
fn launcher_files(scope: &Scope, invocation: &Invocation) -> Result<Vec<(PathBuf, OnDisk)>, CommandError> {
    let absolute = |name| (invocation.environment)(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let data_home = absolute("XDG_DATA_HOME").or_else(|| Some(absolute("HOME")?.join(".local/share")));
    let paths = data_home.map(|data_home| launcher::paths(scope, &data_home)).unwrap_or_default();
    paths.into_iter().map(|path| executor::on_disk(&path).map(|on_disk| (path, on_disk))).collect()
}

/// An installation that failed and was rolled back.
struct FailedInstall {
    failure: CommandError,
    /// The exit code of the service, if the service started and then exited.
    exit_code: Option<i32>,
}

/// Executes the plan, or rolls it back at the first failed step.
async fn attempt(
    executor: &Executor<'_>,
    current: &CurrentState,
    request: &service::Install,
) -> Result<Vec<Action>, FailedInstall> {
    let actions = service::install(executor.scope, current, request)
        .map_err(|error| FailedInstall { failure: refusal(&error), exit_code: None })?;
    let Err((failed, mut message)) = execute_all(executor, &actions).await else { return Ok(actions) };
    // Before the rollback, which resets the exit code.
    let unit = executor.unit_status().await;
    let exit_code = unit.ok().and_then(|unit| unit.exit_code());
    if let Some(code) = exit_code {
        message = format!("{message}; {}", exit_text(code));
    }
    Err(FailedInstall { failure: roll_back(executor, current, &actions, failed, &message).await, exit_code })
}

/// Returns the exit code of the service and the command that explains it.
fn exit_text(code: i32) -> String {
    let command =
        if code == i32::from(CONFIGURATION) { "statusd config check" } else { "statusd service logs" };
    format!("the service exited with code {code}; see `{command}`")
}

/// Rejects settings of this shell, because the service reads only its configuration file.
fn refuse_settings(overrides: &Overrides) -> Result<(), CommandError> {
    if *overrides == Overrides::default() {
        return Ok(());
    }
    let message = "the service does not read flags or STATUSD_ variables of this shell: remove them, and \
                   write the settings into the configuration file";
    Err(CommandError::new(WRONG_USAGE, message))
}

/// Returns the path of this program, or an error if the service cannot run it there.
fn program(scope: &Scope) -> Result<PathBuf, CommandError> {
    let path = std::env::current_exe().and_then(|path| path.canonicalize());
    let program = path.map_err(|error| {
        CommandError::failed(format!(
            "cannot find the path of this program: {}; if it was just replaced, try again",
            error.reason()
        ))
    })?;
    if program.to_str().is_none() {
        return Err(CommandError::failed(
            "the path of this program is not UTF-8; move the program to another path",
        ));
    }
    let reason = match (scope, scope.hidden_directory(&program)) {
        (_, Some(directory)) => format!("the service has no access to {directory}"),
        (Scope::System, None) => match executor::closed_path(&program) {
            Some(closed) => format!("the service's own user has no permission for {}", closed.display()),
            None => return Ok(program),
        },
        (Scope::User { .. } | Scope::LaunchAgent { .. }, None) => return Ok(program),
    };
    let path = program.display();
    Err(CommandError::failed(format!(
        "cannot install {path} as a service: {reason}; move the program to where every user can run it: \
         install -m 755 {path} /usr/local/bin/statusd, then /usr/local/bin/statusd service install"
    )))
}

fn has_desktop(config: &Config) -> bool {
    config.channel.enabled().any(|(name, ..)| name == DESKTOP)
}

/// Returns a note if a user service reads the system configuration without desktop notifications.
fn desktop_note(scope: &Scope, config: &Config) -> &'static str {
    let is_system_config = config.source.as_deref().is_some_and(|source| source.starts_with("/etc"));
    match scope {
        Scope::User { .. } | Scope::LaunchAgent { .. } if is_system_config && !has_desktop(config) => {
            "The service reads the configuration in /etc/statusd, which enables no desktop notifications.\n\
             To use your own configuration, run `statusd config init` and restart the service.\n"
        }
        Scope::User { .. } | Scope::LaunchAgent { .. } | Scope::System => "",
    }
}

/// Rejects the desktop channel for a system service.
fn refuse_desktop(scope: &Scope, config: &Config) -> Result<(), CommandError> {
    match scope {
        Scope::System if has_desktop(config) => Err(CommandError::new(
            CONFIGURATION,
            "a system service has no desktop session: remove enabled = true from [channel.desktop] in \
             /etc/statusd/statusd.toml and add another channel, or install statusd as a user service",
        )),
        Scope::System | Scope::User { .. } | Scope::LaunchAgent { .. } => Ok(()),
    }
}

fn refusal(refusal: &service::PlanRefusal) -> CommandError {
    CommandError::failed(refusal.to_string())
}

/// Executes the steps in order. The error is the index of the failed step, and a message.
async fn execute_all(executor: &Executor<'_>, actions: &[Action]) -> Result<(), (usize, String)> {
    for (index, action) in actions.iter().enumerate() {
        executor.execute(action).await.map_err(|message| (index, message))?;
    }
    Ok(())
}

/// Restores the previous state, and returns the error of the installation with the rollback's result.
async fn roll_back(
    executor: &Executor<'_>,
    current: &CurrentState,
    actions: &[Action],
    failed: usize,
    message: &str,
) -> CommandError {
    let mut errors = Vec::new();
    for action in service::rollback(executor.scope, current, actions, failed) {
        if let Err(error) = executor.execute(&action).await {
            errors.push(format!("cannot {action}: {error}"));
        }
    }
    let result = match errors.as_slice() {
        [] => "rolled back".to_owned(),
        errors => format!("rollback incomplete: {}", errors.join("; ")),
    };
    CommandError::failed(format!("not installed: {message}; {result}"))
}

fn uninstall(
    scope: &Scope,
    options: &UninstallArgs,
    invocation: &Invocation,
) -> Result<Output, CommandError> {
    let config = match service_config(scope, invocation) {
        Ok(config) => Some(config),
        // Only the configuration names the state directory.
        Err(error) if options.purge => return Err(error.into()),
        Err(_) => None,
    };
    let executor = Executor::new(scope, invocation.environment);
    block_on(async {
        let current = executor.current_state().await?;
        let state_directory = config.as_ref().map(|config| config.state_directory.clone());
        let request = service::Uninstall {
            force: options.force,
            aside_path: executor::free_name(&scope.file())?,
            purge: state_directory.filter(|directory| options.purge && directory.exists()),
        };
        let mut actions = service::uninstall(scope, &current, &request).map_err(|error| refusal(&error))?;
        actions.extend(launcher::uninstall(&launcher_files(scope, invocation)?));
        if options.dry_run {
            return Ok(Output::done(dry_run(&actions, NOT_INSTALLED)));
        }
        if let Err((failed, message)) = execute_all(&executor, &actions).await {
            let remaining: Vec<String> = actions[failed..].iter().map(Action::to_string).collect();
            return Err(CommandError::failed(format!(
                "{message}; remaining steps: {}",
                remaining.join("; ")
            )));
        }
        let summary = summary(&actions, NOT_INSTALLED);
        Ok(Output::done(format!("{summary}{}", remaining_files(scope, options, config.as_ref()))))
    })?
}

/// Replaces this process with the program that shows the log. Returns only if that fails.
fn logs(scope: &Scope, lines: u32, follow: bool) -> CommandError {
    if let Some(file) = scope.log_file().filter(|file| !file.exists()) {
        let file = file.display();
        return CommandError::failed(format!(
            "cannot read {file}: no such file; the service has not run yet"
        ));
    }
    let command = scope.log_reader(lines, follow);
    let error = Process::new(command.program).args(&command.arguments).exec();
    CommandError::failed(match error.kind() {
        std::io::ErrorKind::NotFound => format!(
            "cannot show the log: {} is not installed; `statusd run` logs to standard error",
            command.program
        ),
        _ => format!("cannot start {}: {}", command.program, error.reason()),
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
        scope: Scope,
    }

    impl Mac {
        fn new() -> Mac {
            let directory = TempDir::new().expect("a directory");
            let scope = Scope::LaunchAgent { home: directory.path().join("home & co"), uid: 501 };
            let text = LAUNCHCTL.replace("WORLD", directory.path().to_str().expect("UTF-8"));
            // Written by a child process, because another test's child may inherit a file that this
            // process has open for writing. The kernel then refuses to run the file (ETXTBSY).
            let write = "printf %s \"$1\" > \"$0\" && chmod 755 \"$0\"";
            let program = directory.path().join("launchctl");
            let status = Process::new("/bin/sh").args(["-c", write]).arg(program).arg(text).status();
            assert!(status.expect("a shell").success());
            Mac { directory, scope }
        }

        fn executor(&self) -> Executor<'_> {
            let path = format!("{}:/usr/bin:/bin", self.directory.path().display());
            let mut executor = Executor::new(&self.scope, &|_| None);
            executor.variables.push(("PATH".to_owned(), path));
            executor
        }

        /// Installs the agent and returns the number of steps.
        fn install(&self, program: &str) -> Result<usize, String> {
            let executor = self.executor();
            block_on(async {
                let current = executor.current_state().await.expect("an answer");
                let request = service::Install {
                    program: program.to_owned(),
                    systemd: None,
                    writable: Vec::new(),
                    is_outdated: false,
                    linger: false,
                    without_namespaces: false,
                    force: false,
                    aside_path: executor::free_name(&self.scope.file()).expect("a name"),
                };
                let outcome = attempt(&executor, &current, &request).await;
                outcome.map(|actions| actions.len()).map_err(|failed| failed.failure.message)
            })
            .expect("a runtime")
        }

        fn calls(&self) -> Vec<String> {
            let path = self.directory.path().join("calls");
            let calls = fs::read_to_string(&path).unwrap_or_default();
            let _none = fs::remove_file(path);
            calls.lines().map(|command| command.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect()
        }
    }

    #[test]
    fn an_agent_is_written_loaded_updated_and_removed() {
        let mac = Mac::new();
        assert_eq!(mac.install("/opt/statusd"), Ok(2));
        assert_eq!(mac.calls(), ["bootstrap gui/501"]);
        let first = fs::read_to_string(mac.scope.file()).expect("an agent");
        assert_eq!(mac.install("/opt/statusd"), Ok(0));
        assert_eq!(mac.calls(), [""; 0]);
        // launchd refuses the new agent until the old one is unloaded.
        assert_eq!(mac.install("/opt/new/statusd"), Ok(4));
        assert_eq!(mac.calls(), ["bootout gui/501/statusd", "bootstrap gui/501"]);
        let second = fs::read_to_string(mac.scope.file()).expect("an agent");
        assert!(first != second && second.contains("<string>/opt/new/statusd</string>"), "{second}");

        fs::write(mac.directory.path().join("fails"), "bootstrap").expect("written");
        let failed = mac.install("/opt/statusd").expect_err("bootstrap fails");
        assert!(failed.starts_with("not installed: `launchctl bootstrap gui/501 '"), "{failed}");
        assert!(failed.contains("rollback incomplete: cannot run launchctl bootstrap"), "{failed}");
        assert_eq!(fs::read_to_string(mac.scope.file()).expect("an agent"), second);
        fs::remove_file(mac.directory.path().join("fails")).expect("removed");
        mac.calls();
        // The next run completes the rollback.
        assert_eq!(mac.install("/opt/new/statusd"), Ok(1));
        assert_eq!(mac.calls(), ["bootstrap gui/501"]);

        let executor = mac.executor();
        block_on(async {
            let current = executor.current_state().await.expect("an answer");
            let request = service::Uninstall { force: false, aside_path: "/none".into(), purge: None };
            let actions = service::uninstall(&mac.scope, &current, &request).expect("steps");
            assert_eq!(execute_all(&executor, &actions).await, Ok(()));
        })
        .expect("a runtime");
        assert_eq!(mac.calls(), ["bootout gui/501/statusd"]);
        assert!(!mac.scope.file().exists());
    }

    #[test]
    fn an_agents_log_is_a_file() {
        let mac = Mac::new();
        let message = logs(&mac.scope, 5, false).message;
        assert!(message.contains("Library/Logs/statusd.log: no such file"), "{message}");
    }
}
