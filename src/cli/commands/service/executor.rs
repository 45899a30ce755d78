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
use crate::channel::process::{self, End, Run, Task};
use crate::config::Environment;
use crate::service::{
    Action, Call, CurrentState, Known, OnDisk, Site, manager_version, of_launchctl, of_systemctl,
};
use crate::{regular_file, store, text};

use crate::cli::Failure;

/// A question to the service manager.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// A start waits until the daemon is ready, for which systemd gives it 90 s.
const STEP_WITHIN: Duration = Duration::from_secs(120);
/// launchd kills what does not end within the plist's `ExitTimeOut`, 10 s.
const GONE_WITHIN: Duration = Duration::from_secs(20);
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// Far more than a unit has.
const FILE_MAX_BYTES: u64 = 64 * 1024;
const SAID_MAX_CHARS: usize = 400;
/// Readable for all: the service manager may be somebody else.
const FILE_MODE: u32 = 0o644;
const MAX_KEPT: u32 = 9;

/// The programs and files of this machine, as one site sees them.
pub struct Outside<'s> {
    pub site: &'s Site,
    /// For the programs, beside what they inherit.
    pub variables: Vec<(String, String)>,
}

impl<'s> Outside<'s> {
    pub fn new(site: &'s Site, environment: &Environment) -> Outside<'s> {
        // Times are read, not shown.
        let mut variables = vec![("TZ".to_owned(), "UTC".to_owned())];
        let has_session = environment("XDG_RUNTIME_DIR").is_some_and(|value| !value.is_empty());
        let directory = site.runtime_directory().filter(|directory| !has_session && directory.is_dir());
        if let Some(directory) = directory {
            variables.push(("XDG_RUNTIME_DIR".to_owned(), directory.display().to_string()));
        }
        Outside { site, variables }
    }

    /// What is there now.
    pub async fn find(&self) -> Result<CurrentState, Failure> {
        let file = on_disk(&self.site.file())?;
        let known = self.known().await?;
        let lingers = match self.site.linger_inquiry() {
            // A user who is not logged in is not known, and one without logind has no lingering.
            Some(call) => self
                .ran(&call, ANSWER_WITHIN)
                .await
                .is_ok_and(|run| run.lines().iter().any(|line| line.trim() == "Linger=yes")),
            None => false,
        };
        Ok(CurrentState { file, known, lingers })
    }

    pub async fn known(&self) -> Result<Known, Failure> {
        let call = self.site.inquiry();
        let run = self.ran(&call, ANSWER_WITHIN).await.map_err(Failure::failed)?;
        let is_done = matches!(run.end, End::Exited(0));
        match self.site {
            Site::Person { .. } | Site::Machine => {
                let known = of_systemctl(&run.lines()).filter(|_| is_done);
                known.ok_or_else(|| Failure::failed(self.no_answer(&call, &run)))
            }
            Site::Agent { .. } if is_done => Ok(of_launchctl(&run.lines())),
            // It does not say what it did not find.
            Site::Agent { .. } => match run.end {
                End::Exited(_) => Ok(Known::NOTHING),
                End::Killed(_) | End::Overran(_) | End::Lost(_) => {
                    Err(Failure::failed(self.no_answer(&call, &run)))
                }
            },
        }
    }

    fn no_answer(&self, call: &Call, run: &Run) -> String {
        if run.lines().iter().any(|line| line.contains(NOT_BOOTED)) {
            return NO_SYSTEMD.to_owned();
        }
        let advice = match self.site {
            Site::Person { .. } => {
                "it answers in a session of your own, which su and sudo do not open; \
                 without systemd start `statusd run` with another process manager"
            }
            Site::Machine => "without systemd start `statusd run` with another process manager",
            Site::Agent { .. } => "try it in a terminal on the desktop",
        };
        format!("the service manager does not answer: {}; {advice}", ended(call, run))
    }

    /// The version of systemd, if it says one.
    pub async fn version(&self) -> Option<u32> {
        let run = self.ran(&self.site.version_inquiry()?, ANSWER_WITHIN).await.ok()?;
        // The names of what it was built with come behind it and are longer than what is kept.
        run.lines().iter().find_map(|line| manager_version(std::slice::from_ref(line)))
    }

    /// Carries out one step. The error says what went wrong, for people.
    pub async fn carry_out(&self, act: &Action) -> Result<(), String> {
        let in_file = |path: &Path, error: io::Error| format!("{}: {}", path.display(), error.reason());
        match act {
            Action::Run(call) => {
                let run = self.ran(call, STEP_WITHIN).await?;
                if matches!(run.end, End::Exited(0)) { Ok(()) } else { Err(ended(call, &run)) }
            }
            Action::Write { path, text } => write(path, text).map_err(|error| in_file(path, error)),
            Action::Move { from, to } => rename(from, to).map_err(|error| in_file(from, error)),
            Action::Remove(path) => fs::remove_file(path).map_err(|error| in_file(path, error)),
            Action::RemoveEmpty(path) => match fs::remove_dir(path) {
                Err(error) if !is_left_alone(&error) => Err(in_file(path, error)),
                Ok(()) | Err(_) => Ok(()),
            },
            Action::AwaitGone(call) => timeout(GONE_WITHIN, self.gone(call)).await.map_err(|_elapsed| {
                format!("`{call}` still finds the service after {} s", GONE_WITHIN.as_secs())
            })?,
            Action::Forget(directory) => store::purge(directory).map_err(|error| error.to_string()),
        }
    }

    async fn gone(&self, call: &Call) -> Result<(), String> {
        while matches!(self.ran(call, ANSWER_WITHIN).await?.end, End::Exited(0)) {
            sleep(ASK_AGAIN_AFTER).await;
        }
        Ok(())
    }

    async fn ran(&self, call: &Call, within: Duration) -> Result<Run, String> {
        let task = Task {
            program: call.program,
            arguments: &call.arguments,
            variables: &self.variables,
            input: b"",
            within,
        };
        process::run(task).await.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => missing(call.program),
            _ => format!("cannot start {}: {}", call.program, error.reason()),
        })
    }
}

/// Printed by `systemctl` if process 1 is not systemd.
const NOT_BOOTED: &str = "not been booted with systemd";
const NO_SYSTEMD: &str =
    "this machine is not run by systemd; start `statusd run` with another process manager";

/// What it means that there is no such program.
pub fn missing(program: &str) -> String {
    let whose = match program {
        "launchctl" => "that of macOS",
        "tail" => "that every system has",
        _ => return NO_SYSTEMD.to_owned(),
    };
    format!(
        "there is no {program} here, {whose}; without it start `statusd run` with another process manager"
    )
}

/// How a program ended that should have ended well, with what it said about it.
fn ended(call: &Call, run: &Run) -> String {
    let end = match &run.end {
        End::Exited(code) => format!("exited with {code}"),
        End::Killed(signal) => format!("was killed by signal {signal}"),
        End::Overran(within) => format!("took more than {} s and was ended", within.as_secs()),
        End::Lost(error) => format!("ended with an unknown status: {}", error.reason()),
    };
    let said = text::plain_line(&run.lines().join(" "), SAID_MAX_CHARS);
    let said = if said.is_empty() { said } else { format!("; output: {}", said.trim_end_matches('.')) };
    format!("`{call}` {end}{said}")
}

/// What lies where our file would be. A link is nobody's but of whoever made it.
pub fn on_disk(path: &Path) -> Result<OnDisk, Failure> {
    let unreadable = |error: io::Error| Failure::failed(cannot(format!("read {}", path.display()), &error));
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

/// A free name beside it: `statusd.service.old`, `….old-2` and so on.
pub fn free_name(path: &Path) -> Result<PathBuf, Failure> {
    let name = |number: u32| match number {
        1 => PathBuf::from(format!("{}.old", path.display())),
        _ => PathBuf::from(format!("{}.old-{number}", path.display())),
    };
    let is_free = |path: &PathBuf| {
        fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    };
    (1..=MAX_KEPT).map(name).find(is_free).ok_or_else(|| {
        Failure::failed(format!("too many old files next to {}; move them away", path.display()))
    })
}

/// The first place on the way to `program`, itself included, where only some users may go.
pub fn closed_place(program: &Path) -> Option<PathBuf> {
    let is_closed = |path: &&Path| fs::metadata(path).is_ok_and(|metadata| metadata.mode() & 0o001 == 0);
    program.ancestors().find(is_closed).map(Path::to_owned)
}

/// Whether a process runs another file than `program`; `None` where nobody can say.
pub fn runs_another(pid: u32, program: &Path) -> Option<bool> {
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
            Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{} exists already", to.display())))
        }
    }
}

fn is_left_alone(error: &io::Error) -> bool {
    let kinds = [io::ErrorKind::NotFound, io::ErrorKind::DirectoryNotEmpty, io::ErrorKind::NotADirectory];
    kinds.contains(&error.kind())
}
