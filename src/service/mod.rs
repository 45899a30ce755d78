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

pub use plan::{Install, PlanRefusal, Uninstall, install, packaged_unit, rollback, uninstall};
pub use unit_file::{OnDisk, OwnFile, UnitVariant};
pub use unit_status::{Activity, UnitStatus, parse_launchctl, parse_systemctl, parse_systemd_version};

/// The unit's name under systemd.
pub const UNIT: &str = "statusd.service";
/// The agent's name under launchd, the value of `Label`.
const LABEL: &str = "statusd";
/// The first systemd with `Type=notify-reload`, where `systemctl reload` waits for the reload to finish.
const NOTIFY_RELOAD_SINCE: u32 = 253;
/// The state directory of the system service: `StateDirectory=` in its unit.
pub const SYSTEM_STATE: &str = "/var/lib/statusd";
/// The state directory of a user service, relative to the home directory.
const USER_STATE: &str = ".local/state/statusd";
/// The parent of the per-user runtime directories, where each user's systemd has its socket.
const RUNTIME_DIRECTORIES: &str = "/run/user";
/// systemd's exit codes for a set-up that needs user namespaces: USER, CAPABILITIES and NAMESPACE in
/// systemd.exec(5).
const NO_NAMESPACES: [i32; 3] = [217, 218, 226];
/// Directories that the system unit hides from the service (`ProtectHome=`, `DynamicUser=`).
const HIDDEN_FROM_SYSTEM_SERVICE: [&str; 5] = ["/home", "/root", "/run/user", "/tmp", "/var/tmp"];

/// The owner of the service and the service manager that runs it. Paths are absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// A systemd user service. Runs from login to logout.
    User { config_home: PathBuf, uid: u32 },
    /// A systemd system service, under its own user.
    System,
    /// A launchd agent of one user. Runs from login to logout.
    LaunchAgent { home: PathBuf, uid: u32 },
}

impl Scope {
    /// Returns the scope for a user: root installs a system service, other users a user service.
    ///
    /// `home` and `config_home` are the values of `HOME` and `XDG_CONFIG_HOME`.
    ///
    /// # Errors
    ///
    /// Returns a one-line message for the user.
    pub fn choose(
        is_macos: bool,
        uid: u32,
        home: Option<&str>,
        config_home: Option<&str>,
    ) -> Result<Scope, String> {
        let absolute = |path: Option<&str>| path.map(PathBuf::from).filter(|path| path.is_absolute());
        let home = || absolute(home).ok_or("no home directory: set HOME");
        match (is_macos, uid) {
            (true, 0) => {
                Err("on macOS, statusd is a user service: run this as yourself, without sudo".into())
            }
            (true, uid) => Ok(Scope::LaunchAgent { home: home()?, uid }),
            (false, 0) => Ok(Scope::System),
            (false, uid) => {
                let config_home = match absolute(config_home) {
                    Some(directory) => directory,
                    None => home()?.join(".config"),
                };
                Ok(Scope::User { config_home, uid })
            }
        }
    }

    /// The path of the unit file or launchd property list.
    pub fn file(&self) -> PathBuf {
        match self {
            Scope::User { config_home, .. } => config_home.join("systemd/user").join(UNIT),
            Scope::System => Path::new("/etc/systemd/system").join(UNIT),
            Scope::LaunchAgent { home, .. } => {
                home.join("Library/LaunchAgents").join(format!("{LABEL}.plist"))
            }
        }
    }

    /// The command whose output becomes a [`UnitStatus`].
    pub fn status_query(&self) -> CommandLine {
        match self {
            Scope::User { .. } | Scope::System => {
                self.systemctl(&["show", UNIT, "--property", unit_status::PROPERTIES])
            }
            Scope::LaunchAgent { .. } => self.launchctl(&["print", &self.target()]),
        }
    }

    /// The command that prints systemd's version; `None` for launchd, whose version does not matter.
    pub fn version_query(&self) -> Option<CommandLine> {
        match self {
            Scope::User { .. } | Scope::System => Some(CommandLine::new("systemctl", &["--version"])),
            Scope::LaunchAgent { .. } => None,
        }
    }

    /// The command that prints `Linger=yes` if the user's services keep running after logout.
    pub fn linger_query(&self) -> Option<CommandLine> {
        match self {
            Scope::User { uid, .. } => {
                Some(CommandLine::new("loginctl", &["show-user", &uid.to_string(), "--property", "Linger"]))
            }
            Scope::System | Scope::LaunchAgent { .. } => None,
        }
    }

    /// The command that prints the last `lines` lines of the log and, with `follow`, new lines.
    pub fn log_reader(&self, lines: u32, follow: bool) -> CommandLine {
        let lines = lines.to_string();
        let mut command = match self {
            Scope::User { .. } => CommandLine::new("journalctl", &["--user", "-u", UNIT, "--no-pager"]),
            Scope::System => CommandLine::new("journalctl", &["-u", UNIT, "--no-pager"]),
            Scope::LaunchAgent { .. } => CommandLine::new("tail", &[]),
        };
        command.arguments.extend(["-n".to_owned(), lines]);
        command.arguments.extend(follow.then(|| "-f".to_owned()));
        command.arguments.extend(self.log_file().map(|file| file.display().to_string()));
        command
    }

    /// The log file; `None` if the log goes to the journal.
    pub fn log_file(&self) -> Option<PathBuf> {
        match self {
            Scope::LaunchAgent { home, .. } => Some(home.join("Library/Logs/statusd.log")),
            Scope::User { .. } | Scope::System => None,
        }
    }

    /// The directories that the unit must additionally allow the service to write to.
    ///
    /// `state` is the configured state directory, `record` the configured recording.
    pub fn writable(&self, home: Option<&str>, state: &Path, record: Option<&Path>) -> Vec<String> {
        let Scope::User { .. } = self else { return Vec::new() };
        let default = home.map(|home| Path::new(home).join(USER_STATE));
        let needed = [Some(state), record.and_then(Path::parent)];
        let mut directories: Vec<String> = Vec::new();
        for directory in needed.into_iter().flatten() {
            let is_allowed = default.as_ref().is_some_and(|default| directory.starts_with(default));
            let directory = directory.display().to_string();
            if !is_allowed && !directories.contains(&directory) {
                directories.push(directory);
            }
        }
        directories
    }

    /// The user's runtime directory, for sessions without `XDG_RUNTIME_DIR`, such as after `su` or
    /// `sudo -u`.
    pub fn runtime_directory(&self) -> Option<PathBuf> {
        match self {
            Scope::User { uid, .. } => Some(Path::new(RUNTIME_DIRECTORIES).join(uid.to_string())),
            Scope::System | Scope::LaunchAgent { .. } => None,
        }
    }

    /// The hidden directory that `program` is in, if any: the service could not run the program there.
    pub fn hidden_directory(&self, program: &Path) -> Option<&'static str> {
        match self {
            Scope::System => {
                HIDDEN_FROM_SYSTEM_SERVICE.into_iter().find(|hidden| program.starts_with(hidden))
            }
            Scope::User { .. } | Scope::LaunchAgent { .. } => None,
        }
    }

    /// Returns true if a service that exited with `code` may start without user namespaces. Many
    /// systems forbid them to users other than root.
    pub fn may_start_without_namespaces(&self, code: i32) -> bool {
        match self {
            Scope::User { .. } => NO_NAMESPACES.contains(&code),
            Scope::System | Scope::LaunchAgent { .. } => false,
        }
    }

    /// The value of `scope` in `--json`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Scope::User { .. } => "user",
            Scope::System => "system",
            Scope::LaunchAgent { .. } => "agent",
        }
    }

    fn systemctl(&self, arguments: &[&str]) -> CommandLine {
        let user: &[&str] = if matches!(self, Scope::User { .. }) { &["--user"] } else { &[] };
        CommandLine::new("systemctl", &[user, arguments].concat())
    }

    fn launchctl(&self, arguments: &[&str]) -> CommandLine {
        CommandLine::new("launchctl", arguments)
    }

    /// The launchd domain of the user's agents.
    fn domain(&self) -> String {
        match self {
            Scope::User { uid, .. } | Scope::LaunchAgent { uid, .. } => format!("gui/{uid}"),
            Scope::System => "system".to_owned(),
        }
    }

    fn target(&self) -> String {
        format!("{}/{LABEL}", self.domain())
    }
}

/// A program and its arguments, to run without a shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine {
    /// A name, found in `PATH`.
    pub program: &'static str,
    pub arguments: Vec<String>,
}

impl CommandLine {
    fn new(program: &'static str, arguments: &[&str]) -> CommandLine {
        CommandLine { program, arguments: arguments.iter().map(|&argument| argument.to_owned()).collect() }
    }
}

impl std::fmt::Display for CommandLine {
    /// Writes the command as typed in a shell.
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
    Run(CommandLine),
    /// Writes the whole file atomically, readable by all, and creates its parent directories.
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
    /// Repeats the query until it no longer finds the service: `launchctl bootout` returns earlier.
    AwaitUnloaded(CommandLine),
    /// Removes the database and the other files that statusd keeps in this directory.
    Purge(PathBuf),
}

impl std::fmt::Display for Action {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Action::Run(command) => write!(out, "run {command}"),
            Action::Write { path, .. } => write!(out, "write {}", path.display()),
            Action::Move { from, to } => write!(out, "move {} to {}", from.display(), to.display()),
            Action::Remove(path) => write!(out, "remove {}", path.display()),
            Action::RemoveEmpty(path) => write!(out, "remove {} if empty", path.display()),
            Action::AwaitUnloaded(command) => write!(out, "wait until {command} no longer finds the agent"),
            Action::Purge(directory) => {
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
    pub unit: UnitStatus,
    /// True if the user's services keep running after logout.
    pub lingers: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_installs_a_system_service_and_others_a_user_service() {
        #[track_caller]
        fn check(
            is_macos: bool,
            uid: u32,
            home: Option<&str>,
            config: Option<&str>,
            file: Result<&str, &str>,
        ) {
            let actual = Scope::choose(is_macos, uid, home, config).map(|scope| scope.file());
            match (actual, file) {
                (Ok(path), Ok(expected)) => assert_eq!(path, Path::new(expected)),
                (Err(message), Err(expected)) => assert!(message.contains(expected), "{message}"),
                (actual, expected) => panic!("{actual:?}, expected {expected:?}"),
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
    fn commands_are_shown_as_typed_in_a_shell() {
        for (command, expected) in [
            (Scope::System.status_query(), "systemctl show statusd.service --property "),
            (Scope::System.log_reader(5, true), "journalctl -u statusd.service --no-pager -n 5 -f"),
            (
                Scope::User { config_home: "/c".into(), uid: 7 }.log_reader(100, false),
                "journalctl --user -u statusd.service --no-pager -n 100",
            ),
            (
                Scope::LaunchAgent { home: "/Users/o'neil z".into(), uid: 501 }.log_reader(9, false),
                r"tail -n 9 '/Users/o'\''neil z/Library/Logs/statusd.log'",
            ),
            (
                Scope::LaunchAgent { home: "/h".into(), uid: 501 }.status_query(),
                "launchctl print gui/501/statusd",
            ),
        ] {
            assert!(command.to_string().starts_with(expected), "{command}");
        }
    }

    #[test]
    fn directories_outside_the_default_state_are_made_writable() {
        #[track_caller]
        fn check(state: &str, record: Option<&str>, expected: &[&str]) {
            let user = Scope::User { config_home: "/h/.config".into(), uid: 7 };
            let record = record.map(Path::new);
            assert_eq!(user.writable(Some("/h"), Path::new(state), record), expected);
            assert_eq!(Scope::System.writable(Some("/h"), Path::new(state), record), [""; 0]);
        }
        check("/h/.local/state/statusd", None, &[]);
        check("/h/.local/state/statusd", Some("/h/.local/state/statusd/feed.jsonl"), &[]);
        check("/h/.local/state/statusd", Some("/data/feed.jsonl"), &["/data"]);
        check("/data/state", Some("/data/state/feed.jsonl"), &["/data/state"]);
        check("/data/state", Some("/data/feed.jsonl"), &["/data/state", "/data"]);
    }

    #[test]
    fn the_system_service_cannot_run_a_program_in_a_hidden_directory() {
        let hidden = |program: &str| Scope::System.hidden_directory(Path::new(program));
        assert_eq!(hidden("/root/.cargo/bin/statusd"), Some("/root"));
        assert_eq!(hidden("/home/z/.cargo/bin/statusd"), Some("/home"));
        assert_eq!(hidden("/tmp/statusd"), Some("/tmp"));
        assert_eq!(hidden("/usr/local/bin/statusd"), None);
        assert_eq!(hidden("/homes/statusd"), None);
        let user = Scope::User { config_home: "/c".into(), uid: 7 };
        assert_eq!(user.hidden_directory(Path::new("/home/z/.cargo/bin/statusd")), None);
    }
}
