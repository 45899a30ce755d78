//! Plans how to install statusd as a service of this machine, and how to uninstall it.
//!
//! Returns the steps as data and executes none of them. Reads no file, no environment and no service
//! manager: the caller passes a [`CurrentState`]. A file without our unchanged mark is never overwritten
//! or removed. With `--force`, it is moved aside (`edited_and_foreign_files_are_left_alone`).

pub mod launcher;
mod plan;
mod unit_file;
mod unit_status;

use std::path::{Path, PathBuf};

pub use plan::{Install, PlanRefusal, Uninstall, back, elsewhere, install, uninstall};
pub use unit_file::{OnDisk, Shape, Written};
pub use unit_status::{Activity, Known, manager_version, of_launchctl, of_systemctl};

/// The unit's name under systemd.
pub const UNIT: &str = "statusd.service";
/// The agent's name under launchd, the value of `Label`.
const LABEL: &str = "statusd";
/// The first systemd with `Type=notify-reload`, where `systemctl reload` waits for the reload to finish.
const NOTIFY_RELOAD_SINCE: u32 = 253;
/// Where the machine's service keeps its state: `StateDirectory=` of its unit.
pub const MACHINE_STATE: &str = "/var/lib/statusd";
/// Where a person's service keeps its state, below the home.
const PERSONS_STATE: &str = ".local/state/statusd";
/// Where a person's systemd has its socket, unless the session says otherwise.
const RUNTIME_DIRECTORIES: &str = "/run/user";
/// systemd's exit codes for a set-up that needs user namespaces: USER, CAPABILITIES and NAMESPACE in
/// systemd.exec(5).
const NO_NAMESPACES: [i32; 3] = [217, 218, 226];
/// What the machine's unit hides from the service (`ProtectHome=`, `DynamicUser=`).
const HIDDEN_FROM_THE_MACHINE: [&str; 5] = ["/home", "/root", "/run/user", "/tmp", "/var/tmp"];

/// The owner of the service and the service manager that runs it. Paths are absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Site {
    /// systemd's, for a person, from login to logout.
    Person { config_home: PathBuf, uid: u32 },
    /// systemd's, for the machine, under a user of its own.
    Machine,
    /// launchd's, for a person, from login to logout.
    Agent { home: PathBuf, uid: u32 },
}

impl Site {
    /// Root's is the machine's. `home` and `config_home` as the environment has them.
    ///
    /// # Errors
    ///
    /// Returns a one-line message for the user.
    pub fn choose(
        is_macos: bool,
        uid: u32,
        home: Option<&str>,
        config_home: Option<&str>,
    ) -> Result<Site, String> {
        let whole = |path: Option<&str>| path.map(PathBuf::from).filter(|path| path.is_absolute());
        let home = || whole(home).ok_or("no home directory: set HOME");
        match (is_macos, uid) {
            (true, 0) => {
                Err("on macOS, statusd is a user service: run this as yourself, without sudo".into())
            }
            (true, uid) => Ok(Site::Agent { home: home()?, uid }),
            (false, 0) => Ok(Site::Machine),
            (false, uid) => {
                let config_home = match whole(config_home) {
                    Some(directory) => directory,
                    None => home()?.join(".config"),
                };
                Ok(Site::Person { config_home, uid })
            }
        }
    }

    /// The path of the unit file or launchd property list.
    pub fn file(&self) -> PathBuf {
        match self {
            Site::Person { config_home, .. } => config_home.join("systemd/user").join(UNIT),
            Site::Machine => Path::new("/etc/systemd/system").join(UNIT),
            Site::Agent { home, .. } => home.join("Library/LaunchAgents").join(format!("{LABEL}.plist")),
        }
    }

    /// Asks for what [`Known`] is read from.
    pub fn inquiry(&self) -> Call {
        match self {
            Site::Person { .. } | Site::Machine => {
                self.systemctl(&["show", UNIT, "--property", unit_status::PROPERTIES])
            }
            Site::Agent { .. } => self.launchctl(&["print", &self.target()]),
        }
    }

    /// Asks systemd for its version; launchd has none that matters.
    pub fn version_inquiry(&self) -> Option<Call> {
        match self {
            Site::Person { .. } | Site::Machine => Some(Call::new("systemctl", &["--version"])),
            Site::Agent { .. } => None,
        }
    }

    /// Asks whether this person's services go on after the logout: `Linger=yes`.
    pub fn linger_inquiry(&self) -> Option<Call> {
        match self {
            Site::Person { uid, .. } => {
                Some(Call::new("loginctl", &["show-user", &uid.to_string(), "--property", "Linger"]))
            }
            Site::Machine | Site::Agent { .. } => None,
        }
    }

    /// Shows what the service said: the last `lines` lines, and with `follow` what it will say.
    pub fn log_reader(&self, lines: u32, follow: bool) -> Call {
        let lines = lines.to_string();
        let mut call = match self {
            Site::Person { .. } => Call::new("journalctl", &["--user", "-u", UNIT, "--no-pager"]),
            Site::Machine => Call::new("journalctl", &["-u", UNIT, "--no-pager"]),
            Site::Agent { .. } => Call::new("tail", &[]),
        };
        call.arguments.extend(["-n".to_owned(), lines]);
        call.arguments.extend(follow.then(|| "-f".to_owned()));
        call.arguments.extend(self.log_file().map(|file| file.display().to_string()));
        call
    }

    /// The log file; `None` if the log goes to the journal.
    pub fn log_file(&self) -> Option<PathBuf> {
        match self {
            Site::Agent { home, .. } => Some(home.join("Library/Logs/statusd.log")),
            Site::Person { .. } | Site::Machine => None,
        }
    }

    /// The directories that the unit must additionally allow the service to write to.
    ///
    /// `state` is the configured state directory, `record` the configured recording.
    pub fn writable(&self, home: Option<&str>, state: &Path, record: Option<&Path>) -> Vec<String> {
        let Site::Person { .. } = self else { return Vec::new() };
        let usual = home.map(|home| Path::new(home).join(PERSONS_STATE));
        let wanted = [Some(state), record.and_then(Path::parent)];
        let mut directories: Vec<String> = Vec::new();
        for directory in wanted.into_iter().flatten() {
            let is_known = usual.as_ref().is_some_and(|usual| directory.starts_with(usual));
            let directory = directory.display().to_string();
            if !is_known && !directories.contains(&directory) {
                directories.push(directory);
            }
        }
        directories
    }

    /// The user's runtime directory, for sessions without `XDG_RUNTIME_DIR`, such as after `su` or
    /// `sudo -u`.
    pub fn runtime_directory(&self) -> Option<PathBuf> {
        match self {
            Site::Person { uid, .. } => Some(Path::new(RUNTIME_DIRECTORIES).join(uid.to_string())),
            Site::Machine | Site::Agent { .. } => None,
        }
    }

    /// Which directory keeps the service from `program`; none does that it may not enter.
    pub fn hides(&self, program: &Path) -> Option<&'static str> {
        match self {
            Site::Machine => HIDDEN_FROM_THE_MACHINE.into_iter().find(|place| program.starts_with(place)),
            Site::Person { .. } | Site::Agent { .. } => None,
        }
    }

    /// Returns true if a service that exited with `code` may start without user namespaces. Many
    /// systems forbid them to users other than root.
    pub fn may_start_without_namespaces(&self, code: i32) -> bool {
        match self {
            Site::Person { .. } => NO_NAMESPACES.contains(&code),
            Site::Machine | Site::Agent { .. } => false,
        }
    }

    /// The value of `scope` in `--json`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Site::Person { .. } => "user",
            Site::Machine => "system",
            Site::Agent { .. } => "agent",
        }
    }

    fn systemctl(&self, arguments: &[&str]) -> Call {
        let user: &[&str] = if matches!(self, Site::Person { .. }) { &["--user"] } else { &[] };
        Call::new("systemctl", &[user, arguments].concat())
    }

    fn launchctl(&self, arguments: &[&str]) -> Call {
        Call::new("launchctl", arguments)
    }

    /// The launchd domain of the user's agents.
    fn domain(&self) -> String {
        match self {
            Site::Person { uid, .. } | Site::Agent { uid, .. } => format!("gui/{uid}"),
            Site::Machine => "system".to_owned(),
        }
    }

    fn target(&self) -> String {
        format!("{}/{LABEL}", self.domain())
    }
}

/// A program and its arguments, to run without a shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// A name that is looked up in `PATH`.
    pub program: &'static str,
    pub arguments: Vec<String>,
}

impl Call {
    fn new(program: &'static str, arguments: &[&str]) -> Call {
        Call { program, arguments: arguments.iter().map(|&argument| argument.to_owned()).collect() }
    }
}

impl std::fmt::Display for Call {
    /// As one would type it.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.program)?;
        for argument in &self.arguments {
            let is_plain = argument.chars().all(|c| c.is_ascii_alphanumeric() || "-_./,=@:+".contains(c));
            match is_plain && !argument.is_empty() {
                true => write!(out, " {argument}")?,
                false => write!(out, " '{}'", argument.replace('\'', r"'\''"))?,
            }
        }
        Ok(())
    }
}

/// One step of an installation. The executor completes it or returns an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Run(Call),
    /// The whole file in one step, readable for all, and the directories on the way to it.
    Write {
        path: PathBuf,
        text: String,
    },
    /// Moves an existing file aside.
    Move {
        from: PathBuf,
        to: PathBuf,
    },
    Remove(PathBuf),
    /// Removes a directory if it is empty.
    RemoveEmpty(PathBuf),
    /// launchd says that a service is gone before it is: asks until it is.
    AwaitGone(Call),
    /// The database and what belongs to it; nothing of anybody else's.
    Forget(PathBuf),
}

impl std::fmt::Display for Action {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Action::Run(call) => write!(out, "run {call}"),
            Action::Write { path, .. } => write!(out, "write {}", path.display()),
            Action::Move { from, to } => write!(out, "move {} to {}", from.display(), to.display()),
            Action::Remove(path) => write!(out, "remove {}", path.display()),
            Action::RemoveEmpty(path) => write!(out, "remove {} if nothing is left in it", path.display()),
            Action::AwaitGone(call) => write!(out, "wait until {call} no longer finds it"),
            Action::Forget(directory) => {
                write!(out, "remove the history and the pending notices from {}", directory.display())
            }
        }
    }
}

/// The state of the machine before the first step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CurrentState {
    /// The file at [`Scope::file`].
    pub file: OnDisk,
    pub known: Known,
    /// Whether this person's services go on after the logout.
    pub lingers: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_installs_for_the_machine_and_others_for_themselves() {
        #[track_caller]
        fn check(
            is_macos: bool,
            uid: u32,
            home: Option<&str>,
            config: Option<&str>,
            file: Result<&str, &str>,
        ) {
            let found = Site::choose(is_macos, uid, home, config).map(|site| site.file());
            match (found, file) {
                (Ok(path), Ok(expected)) => assert_eq!(path, Path::new(expected)),
                (Err(words), Err(expected)) => assert!(words.contains(expected), "{words}"),
                (found, expected) => panic!("{found:?} where {expected:?} was to be"),
            }
        }
        check(false, 0, Some("/root"), None, Ok("/etc/systemd/system/statusd.service"));
        check(false, 0, None, None, Ok("/etc/systemd/system/statusd.service"));
        check(false, 7, Some("/h"), None, Ok("/h/.config/systemd/user/statusd.service"));
        check(false, 7, Some("/h"), Some("/x"), Ok("/x/systemd/user/statusd.service"));
        check(false, 7, Some("/h"), Some("x"), Ok("/h/.config/systemd/user/statusd.service"));
        check(false, 7, None, Some("/x"), Ok("/x/systemd/user/statusd.service"));
        check(false, 7, None, None, Err("HOME"));
        check(false, 7, Some(""), None, Err("HOME"));
        check(true, 501, Some("/Users/z"), Some("/x"), Ok("/Users/z/Library/LaunchAgents/statusd.plist"));
        check(true, 501, None, None, Err("HOME"));
        check(true, 0, Some("/var/root"), None, Err("without sudo"));
    }

    #[test]
    fn calls_read_as_they_are_typed() {
        for (call, expected) in [
            (Site::Machine.inquiry(), "systemctl show statusd.service --property "),
            (Site::Machine.log_reader(5, true), "journalctl -u statusd.service --no-pager -n 5 -f"),
            (
                Site::Person { config_home: "/c".into(), uid: 7 }.log_reader(100, false),
                "journalctl --user -u statusd.service --no-pager -n 100",
            ),
            (
                Site::Agent { home: "/Users/o'neil z".into(), uid: 501 }.log_reader(9, false),
                r"tail -n 9 '/Users/o'\''neil z/Library/Logs/statusd.log'",
            ),
            (Site::Agent { home: "/h".into(), uid: 501 }.inquiry(), "launchctl print gui/501/statusd"),
        ] {
            assert!(call.to_string().starts_with(expected), "{call}");
        }
    }

    #[test]
    fn a_service_is_let_write_where_it_has_to() {
        #[track_caller]
        fn check(state: &str, record: Option<&str>, expected: &[&str]) {
            let person = Site::Person { config_home: "/h/.config".into(), uid: 7 };
            let record = record.map(Path::new);
            assert_eq!(person.writable(Some("/h"), Path::new(state), record), expected);
            assert_eq!(Site::Machine.writable(Some("/h"), Path::new(state), record), [""; 0]);
        }
        check("/h/.local/state/statusd", None, &[]);
        check("/h/.local/state/statusd", Some("/h/.local/state/statusd/feed.jsonl"), &[]);
        check("/h/.local/state/statusd", Some("/data/feed.jsonl"), &["/data"]);
        check("/data/state", Some("/data/state/feed.jsonl"), &["/data/state"]);
        check("/data/state", Some("/data/feed.jsonl"), &["/data/state", "/data"]);
    }

    #[test]
    fn the_machines_service_cannot_go_where_people_live() {
        let hides = |program: &str| Site::Machine.hides(Path::new(program));
        assert_eq!(hides("/root/.cargo/bin/statusd"), Some("/root"));
        assert_eq!(hides("/home/z/.cargo/bin/statusd"), Some("/home"));
        assert_eq!(hides("/tmp/statusd"), Some("/tmp"));
        assert_eq!(hides("/usr/local/bin/statusd"), None);
        assert_eq!(hides("/homes/statusd"), None);
        let person = Site::Person { config_home: "/c".into(), uid: 7 };
        assert_eq!(person.hides(Path::new("/home/z/.cargo/bin/statusd")), None);
    }
}
