//! Executes the steps of an installation: runs programs, writes and removes files.
//!
//! Decides nothing; the steps come from `crate::service`. Starts no shell and kills a program that
//! hangs. Writes files atomically, and removes only files that statusd names.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::cause::{Cause as _, cannot};
use crate::config::Environment;
use crate::process::{Capture, Exit, Finished, Subprocess};
use crate::service::{
    Action, CommandLine, CurrentState, OnDisk, Scope, UnitStatus, parse_launchctl, parse_systemctl,
    parse_systemd_version,
};
use crate::{regular_file, store, text};

use crate::cli::context::CommandError;

/// Limit for a query to the service manager.
const QUERY_TIMEOUT: Duration = Duration::from_secs(15);
/// Limit for one step. A start waits until the daemon is ready, for which systemd allows 90 s.
const STEP_TIMEOUT: Duration = Duration::from_secs(120);
/// Longer than the plist's `ExitTimeOut` of 10 s, after which launchd kills the daemon.
const UNLOAD_TIMEOUT: Duration = Duration::from_secs(20);
const UNLOAD_POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Far larger than any unit file.
const FILE_MAX_BYTES: u64 = 64 * 1024;
const OUTPUT_MAX_CHARS: usize = 400;
/// Readable by all, because the service manager may run as another user.
const FILE_MODE: u32 = 0o644;
const MAX_OLD_FILES: u32 = 9;

/// Access to this machine's programs and files for one scope.
pub struct Executor<'s> {
    pub scope: &'s Scope,
    /// Environment variables for the programs, in addition to the inherited ones.
    pub variables: Vec<(String, String)>,
}

impl<'s> Executor<'s> {
    pub fn new(scope: &'s Scope, environment: &Environment) -> Executor<'s> {
        // `parse_systemctl` expects times in UTC.
        let mut variables = vec![("TZ".to_owned(), "UTC".to_owned())];
        let has_session = environment("XDG_RUNTIME_DIR").is_some_and(|value| !value.is_empty());
        let directory = scope.runtime_directory().filter(|directory| !has_session && directory.is_dir());
        if let Some(directory) = directory {
            variables.push(("XDG_RUNTIME_DIR".to_owned(), directory.display().to_string()));
        }
        Executor { scope, variables }
    }

    /// Returns the present state of the file and the service.
    pub async fn current_state(&self) -> Result<CurrentState, CommandError> {
        let file = on_disk(&self.scope.file())?;
        let unit = self.unit_status().await?;
        let lingers = match self.scope.linger_query() {
            // The query fails for a user without a session and on systems without logind.
            Some(command) => self
                .ran(&command, QUERY_TIMEOUT)
                .await
                .is_ok_and(|run| run.lines().iter().any(|line| line.trim() == "Linger=yes")),
            None => false,
        };
        Ok(CurrentState { file, unit, lingers })
    }

    pub async fn unit_status(&self) -> Result<UnitStatus, CommandError> {
        let command = self.scope.status_query();
        let run = self.ran(&command, QUERY_TIMEOUT).await.map_err(CommandError::failed)?;
        let is_done = matches!(run.exit, Exit::Code(0));
        match self.scope {
            Scope::User { .. } | Scope::System => {
                let unit = parse_systemctl(&run.lines()).filter(|_| is_done);
                unit.ok_or_else(|| CommandError::failed(self.no_answer(&command, &run)))
            }
            Scope::LaunchAgent { .. } if is_done => Ok(parse_launchctl(&run.lines())),
            // For an agent that is not loaded, `launchctl print` fails with an undocumented code.
            Scope::LaunchAgent { .. } => match run.exit {
                Exit::Code(_) => Ok(UnitStatus::NOT_LOADED),
                Exit::Signal(_) | Exit::TimedOut(_) | Exit::Unknown(_) => {
                    Err(CommandError::failed(self.no_answer(&command, &run)))
                }
            },
        }
    }

    fn no_answer(&self, command: &CommandLine, run: &Finished) -> String {
        if run.lines().iter().any(|line| line.contains(NOT_BOOTED)) {
            return NO_SYSTEMD.to_owned();
        }
        let advice = match self.scope {
            Scope::User { .. } => {
                "it responds only in a login session, which su and sudo do not open; \
                 without systemd, start `statusd run` with another process manager"
            }
            Scope::System => "without systemd, start `statusd run` with another process manager",
            Scope::LaunchAgent { .. } => "try again in a terminal on the desktop",
        };
        format!("the service manager does not respond: {}; {advice}", failure_text(command, run))
    }

    /// Returns the version of systemd, if known.
    pub async fn systemd_version(&self) -> Option<u32> {
        let run = self.ran(&self.scope.version_query()?, QUERY_TIMEOUT).await.ok()?;
        // The first line may be missing, because only the end of the output is kept.
        run.lines().iter().find_map(|line| parse_systemd_version(std::slice::from_ref(line)))
    }

    /// Executes one step. The error is a message for the user.
    pub async fn execute(&self, action: &Action) -> Result<(), String> {
        let in_file = |path: &Path, error: io::Error| format!("{}: {}", path.display(), error.reason());
        match action {
            Action::Run(command) => {
                let run = self.ran(command, STEP_TIMEOUT).await?;
                if matches!(run.exit, Exit::Code(0)) { Ok(()) } else { Err(failure_text(command, &run)) }
            }
            Action::Write { path, text } => write(path, text).map_err(|error| in_file(path, error)),
            Action::Move { from, to } => rename(from, to).map_err(|error| in_file(from, error)),
            Action::Remove(path) => fs::remove_file(path).map_err(|error| in_file(path, error)),
            Action::RemoveEmpty(path) => match fs::remove_dir(path) {
                Err(error) if !is_ignored(&error) => Err(in_file(path, error)),
                Ok(()) | Err(_) => Ok(()),
            },
            Action::AwaitUnloaded(command) => {
                timeout(UNLOAD_TIMEOUT, self.wait_until_unloaded(command)).await.map_err(|_elapsed| {
                    format!("`{command}` still finds the service after {} s", UNLOAD_TIMEOUT.as_secs())
                })?
            }
            Action::Purge(directory) => store::purge(directory).map_err(|error| error.to_string()),
        }
    }

    async fn wait_until_unloaded(&self, command: &CommandLine) -> Result<(), String> {
        while matches!(self.ran(command, QUERY_TIMEOUT).await?.exit, Exit::Code(0)) {
            sleep(UNLOAD_POLL_INTERVAL).await;
        }
        Ok(())
    }

    async fn ran(&self, command: &CommandLine, within: Duration) -> Result<Finished, String> {
        let subprocess = Subprocess {
            program: command.program,
            arguments: &command.arguments,
            variables: &self.variables,
            input: b"",
            timeout: within,
            capture: Capture::Tail,
        };
        subprocess.run().await.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => program_missing(command.program),
            _ => format!("cannot start {}: {}", command.program, error.reason()),
        })
    }
}

/// Printed by `systemctl` if process 1 is not systemd.
const NOT_BOOTED: &str = "not been booted with systemd";
const NO_SYSTEMD: &str =
    "this machine does not use systemd; start `statusd run` with another process manager";

/// Returns the message for a program that is not installed.
fn program_missing(program: &str) -> String {
    let source = match program {
        "launchctl" => "part of macOS",
        "tail" => "part of every system",
        _ => return NO_SYSTEMD.to_owned(),
    };
    format!("cannot find {program}, {source}; without it, start `statusd run` with another process manager")
}

/// Returns the message for a program that failed, with its output.
fn failure_text(command: &CommandLine, run: &Finished) -> String {
    let end = match &run.exit {
        Exit::Code(code) => format!("exited with {code}"),
        Exit::Signal(signal) => format!("was killed by signal {signal}"),
        Exit::TimedOut(within) => format!("timed out after {} s", within.as_secs()),
        Exit::Unknown(error) => format!("ended with an unknown status: {}", error.reason()),
    };
    let output = text::plain_line(&run.lines().join(" "), OUTPUT_MAX_CHARS);
    let output =
        if output.is_empty() { output } else { format!("; output: {}", output.trim_end_matches('.')) };
    format!("`{command}` {end}{output}")
}

/// Classifies the file at `path`. A symbolic link is never ours.
pub fn on_disk(path: &Path) -> Result<OnDisk, CommandError> {
    let unreadable =
        |error: io::Error| CommandError::failed(cannot(format!("read {}", path.display()), &error));
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(OnDisk::Missing),
        Err(error) => return Err(unreadable(error)),
        Ok(metadata) if !metadata.is_file() => return Ok(OnDisk::Foreign),
        Ok(_) => {}
    }
    let bytes = match regular_file::read(path, FILE_MAX_BYTES) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => return Ok(OnDisk::Foreign),
        Err(error) => return Err(unreadable(error)),
    };
    Ok(String::from_utf8(bytes).map_or(OnDisk::Foreign, OnDisk::of))
}

/// Returns an unused path next to `path`: `statusd.service.old`, then `….old-2` to `….old-9`.
pub fn free_name(path: &Path) -> Result<PathBuf, CommandError> {
    let name = |number: u32| match number {
        1 => PathBuf::from(format!("{}.old", path.display())),
        _ => PathBuf::from(format!("{}.old-{number}", path.display())),
    };
    let is_free = |path: &PathBuf| {
        fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    };
    (1..=MAX_OLD_FILES).map(name).find(is_free).ok_or_else(|| {
        CommandError::failed(format!("too many old files next to {}; move them away", path.display()))
    })
}

/// Returns the nearest path, starting with `program` itself, that other users may not enter or run.
pub fn closed_path(program: &Path) -> Option<PathBuf> {
    let is_closed = |path: &&Path| fs::metadata(path).is_ok_and(|metadata| metadata.mode() & 0o001 == 0);
    program.ancestors().find(is_closed).map(Path::to_owned)
}

/// Returns true if process `pid` runs a file other than `program`; `None` if that cannot be told.
pub fn runs_other_program(pid: u32, program: &Path) -> Option<bool> {
    let identity = |path: &Path| fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()));
    let running = identity(Path::new(&format!("/proc/{pid}/exe")))?;
    Some(running != identity(program)?)
}

/// Writes the file atomically, so that a service manager never reads half of it.
fn write(path: &Path, text: &str) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let draft = PathBuf::from(format!("{}.new-{}", path.display(), std::process::id()));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(FILE_MODE)
        .open(&draft)
        .and_then(|mut file| {
            // `mode` is subject to the umask.
            file.set_permissions(fs::Permissions::from_mode(FILE_MODE))?;
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        // The first error is the one worth reporting.
        let _ = fs::remove_file(&draft);
    }
    written
}

/// Renames a file without overwriting another.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match fs::symlink_metadata(to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::rename(from, to),
        Err(error) => Err(error),
        Ok(_) => {
            Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{} already exists", to.display())))
        }
    }
}

/// Returns true if a directory is missing or in use, so that it need not be removed.
fn is_ignored(error: &io::Error) -> bool {
    let kinds = [io::ErrorKind::NotFound, io::ErrorKind::DirectoryNotEmpty, io::ErrorKind::NotADirectory];
    kinds.contains(&error.kind())
}
