//! Runs a program once: its environment, its time limit, its output and how it ended.
//!
//! There is no shell. The meaning of an exit code is the caller's business. A program that exceeds its
//! time limit, or whose run is dropped, is killed with its whole process group
//! (`command::programs_that_hang_are_killed_with_their_children`).

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe;
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::timeout;

use super::outcome::SendOutcome;
use crate::cause::Cause as _;
use crate::text;

/// The variables that a program inherits: enough to find its files, the user's language, the network
/// and the desktop. systemd's credentials, sockets and watchdog are for statusd alone.
const INHERITED: [&str; 27] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "TMPDIR",
    "LANG",
    "LANGUAGE",
    "TZ",
    "XDG_RUNTIME_DIR",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "DBUS_SESSION_BUS_ADDRESS",
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "XAUTHORITY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
];
/// `LC_ALL`, `LC_TIME` and the rest of that family.
const INHERITED_PREFIX: &str = "LC_";
/// The time between SIGTERM and SIGKILL, and the wait after SIGKILL: a process that hangs in the kernel
/// survives even that.
const GRACE: Duration = Duration::from_secs(2);
/// How much of the output is kept: the end of it, where programs say why they stop.
const OUTPUT_MAX_BYTES: usize = 4 * 1024;
/// A pipe holds no more, so this much is what a program can have left behind.
const PIPE_MAX_BYTES: usize = 64 * 1024;
const LINE_MAX_CHARS: usize = 200;

/// A program to run.
#[derive(Debug)]
pub struct Task<'a> {
    /// An absolute path, or a name that is looked up in `PATH`.
    pub program: &'a str,
    pub arguments: &'a [String],
    /// Added to the inherited variables.
    pub variables: &'a [(String, String)],
    /// Standard input. The program need not read it.
    pub input: &'a [u8],
    pub within: Duration,
}

/// How it ended, and the end of what it wrote to standard output and standard error.
#[derive(Debug)]
pub struct Run {
    pub end: End,
    output: Vec<u8>,
}

#[derive(Debug)]
pub enum End {
    Exited(i32),
    /// By a signal that we did not send.
    Killed(i32),
    /// By us: its time was over.
    Overran(Duration),
    /// Nobody knows: the system does not say.
    Lost(io::Error),
}

/// What an exit code means for the message; with what to do where somebody can do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    Delivered,
    /// May work later by itself.
    Retry(&'static str),
    /// Nobody knows whether the message was sent.
    Unclear,
    /// Not before somebody does this.
    Refused(&'static str),
}

impl Run {
    /// Every line of the end of its output, as it was written. One whose beginning is too long ago
    /// to be known is left out.
    pub fn lines(&self) -> Vec<String> {
        let text = String::from_utf8_lossy(&self.output);
        // Progress bars use carriage returns alone.
        let lines = text.split(['\n', '\r']).map(str::to_owned);
        lines.skip(usize::from(self.output.len() == OUTPUT_MAX_BYTES)).collect()
    }

    /// The last line that is not blank, safe to show; empty if there is none.
    pub fn last_line(&self) -> String {
        let lines = self.lines();
        let mut shown = lines.iter().rev().map(|line| text::plain_line(line, LINE_MAX_CHARS));
        shown.find(|line| !line.is_empty()).unwrap_or_default()
    }

    /// What the run means, in the program's name and with what it says about it, `reason`, unless
    /// that is blank.
    pub fn judged(&self, program: &str, reason: &str, meaning: impl FnOnce(i32) -> Meaning) -> SendOutcome {
        let (ended, meaning) = match &self.end {
            End::Exited(code) => (format!("exited with {code}"), meaning(*code)),
            End::Killed(signal) => (format!("was killed by signal {signal}"), Meaning::Retry("")),
            End::Overran(within) => (
                format!("ran for more than {} s and was ended", within.as_secs()),
                Meaning::Retry("give it more time in the config if it needs it"),
            ),
            End::Lost(error) => {
                (format!("ended, and the system does not say how: {}", error.reason()), Meaning::Unclear)
            }
        };
        let advised =
            |advice: &str| if advice.is_empty() { ended.clone() } else { format!("{ended}; {advice}") };
        let worded = |advice: &str| {
            let said = if reason.is_empty() { String::new() } else { format!(". It says: {reason}") };
            format!("{} {}{said}", name(program), advised(advice))
        };
        match meaning {
            Meaning::Delivered => SendOutcome::Delivered { receipt: None, words: worded("") },
            // It may have sent the message before it went wrong.
            Meaning::Retry(advice) => {
                SendOutcome::Transient { after_s: None, reached: true, words: worded(advice) }
            }
            Meaning::Unclear => SendOutcome::Unclear { words: worded("") },
            Meaning::Refused(advice) => SendOutcome::Permanent { words: worded(advice) },
        }
    }
}

/// Whether `program` can be a program's name at all: an absolute path, or a name for `PATH`. A
/// relative path would be one from nowhere.
///
/// # Errors
///
/// One line for people that begins with the setting's `key`.
pub fn check_program(key: &str, program: &str) -> Result<(), String> {
    if program.is_empty() {
        return Err(format!("{key}: empty; write the program"));
    }
    if program.contains('\0') {
        return Err(format!("{key}: holds a NUL, which no path can; remove it"));
    }
    if program.contains('/') && !program.starts_with('/') {
        return Err(format!(
            "{key}: {program:?} is not an absolute path; write one that begins with /, or a name that is in PATH"
        ));
    }
    Ok(())
}

/// What it means that a program could not be started. `advice` is for one that is missing.
pub fn not_started(program: &str, error: &io::Error, advice: &str) -> SendOutcome {
    let words = format!("{} cannot be started: {}", name(program), error.reason());
    match error.kind() {
        io::ErrorKind::NotFound => SendOutcome::Permanent { words: format!("{words}; {advice}") },
        io::ErrorKind::PermissionDenied => SendOutcome::Permanent {
            words: format!("{words}; make it executable for the user that statusd runs as"),
        },
        _ if is_no_program(error) => SendOutcome::Permanent { words: format!("{words}; check the path") },
        // Too many processes, too little memory, being written just now.
        _ => SendOutcome::Transient { after_s: None, reached: false, words },
    }
}

fn is_no_program(error: &io::Error) -> bool {
    let never = [Errno::NOEXEC, Errno::NOTDIR, Errno::ISDIR, Errno::LOOP, Errno::NAMETOOLONG, Errno::INVAL];
    never.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// How people call a program: without its directories.
fn name(program: &str) -> String {
    let name = Path::new(program).file_name().unwrap_or(OsStr::new(program));
    text::plain_line(&name.to_string_lossy(), LINE_MAX_CHARS)
}

/// Runs it in `/`, in a process group of its own. What it leaves running in the background after
/// its own end in time is left alone, but no longer listened to.
///
/// # Errors
///
/// It could not be started.
pub async fn run(task: Task<'_>) -> io::Result<Run> {
    let (output, writer) = io::pipe()?;
    let mut output = pipe::Receiver::from_owned_fd(output.into())?;
    let mut child = start(&task, writer)?;
    // After `child`, so that it is dropped first: until the child is reaped its number is its own.
    let mut group = Group::led_by(&child);
    let stdin = child.stdin.take();
    let mut tail = Vec::new();
    let ended = {
        let attended = attend(&mut child, stdin, task.input, &mut output, &mut tail);
        timeout(task.within, attended).await
    };
    let end = match ended {
        Ok(Ok(status)) => End::of(status),
        Ok(Err(error)) => End::Lost(error),
        Err(_elapsed) => {
            group.end(&mut child).await;
            End::Overran(task.within)
        }
    };
    group.release();
    read_left(output, &mut tail);
    Ok(Run { end, output: tail })
}

impl End {
    fn of(status: ExitStatus) -> End {
        match status.code() {
            Some(code) => End::Exited(code),
            None => End::Killed(status.signal().unwrap_or_default()),
        }
    }
}

/// One pipe for both outputs keeps what is written there in order. No copy of `writer` stays here,
/// so the pipe ends with the program.
fn start(task: &Task<'_>, writer: io::PipeWriter) -> io::Result<Child> {
    Command::new(task.program)
        .args(task.arguments)
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| is_inherited(name)))
        .envs(task.variables.iter().map(|(name, value)| (name, value)))
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .spawn()
}

fn is_inherited(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| INHERITED.contains(&name) || name.starts_with(INHERITED_PREFIX))
}

/// Writes the input and reads the output until the program ends. The ends of the pipes mean nothing: a
/// program may close them early, and a process in the background may hold them for ever.
async fn attend(
    child: &mut Child,
    stdin: Option<ChildStdin>,
    input: &[u8],
    output: &mut pipe::Receiver,
    tail: &mut Vec<u8>,
) -> io::Result<ExitStatus> {
    let feed = async {
        if let Some(mut stdin) = stdin {
            // A program that ignores its input closes the pipe, which is no error.
            let _unread = stdin.write_all(input).await;
        }
    };
    tokio::select! {
        status = child.wait() => status,
        never = async {
            tokio::join!(feed, listen(output, tail));
            std::future::pending().await
        } => never,
    }
}

async fn listen(output: &mut pipe::Receiver, tail: &mut Vec<u8>) {
    let mut buffer = vec![0; PIPE_MAX_BYTES];
    while let Ok(len @ 1..) = output.read(&mut buffer).await {
        keep(tail, &buffer[..len]);
    }
}

/// What it wrote just before its end. Read straight from the pipe: the runtime may not have
/// noticed yet that there is something. No more than the pipe held, since a process in the
/// background may go on writing.
fn read_left(output: pipe::Receiver, tail: &mut Vec<u8>) {
    let Ok(output) = output.into_nonblocking_fd().map(|fd: OwnedFd| File::from(fd)) else { return };
    let mut left = Vec::new();
    // The error is that nothing more is there.
    let _would_block = output.take(PIPE_MAX_BYTES as u64).read_to_end(&mut left);
    keep(tail, &left);
}

/// Appends and drops what is too long ago.
fn keep(tail: &mut Vec<u8>, bytes: &[u8]) {
    tail.extend_from_slice(&bytes[bytes.len().saturating_sub(OUTPUT_MAX_BYTES)..]);
    tail.drain(..tail.len().saturating_sub(OUTPUT_MAX_BYTES));
}

/// A running process group, killed when dropped.
struct Group(Option<Pid>);

impl Group {
    fn led_by(child: &Child) -> Group {
        Group(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)))
    }

    /// Sends SIGTERM, then SIGKILL.
    async fn end(&mut self, child: &mut Child) {
        self.signal(Signal::TERM);
        let _by_itself = timeout(GRACE, child.wait()).await;
        // Directly after the child is reaped: from here on its number belongs to the rest of its group,
        // if there is one, or is free.
        self.signal(Signal::KILL);
        let _unless_stuck = timeout(GRACE, child.wait()).await;
    }

    fn release(&mut self) {
        self.0 = None;
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.0 {
            // An error says that nobody is left.
            let _nobody = kill_process_group(group, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_last_line(written: &[&[u8]], expected: &str) {
        let mut output = Vec::new();
        for bytes in written {
            keep(&mut output, bytes);
            assert!(output.len() <= OUTPUT_MAX_BYTES);
        }
        assert_eq!(Run { end: End::Exited(0), output }.last_line(), expected);
    }

    #[test]
    fn the_end_of_the_output_is_kept_and_no_more() {
        check_last_line(&[], "");
        check_last_line(&[b"\n \r\n"], "");
        check_last_line(&[b"one\nt", b"wo\n", b"\n"], "two");
        check_last_line(&[&[b'x'; 100_000], b"\nlast"], "last");
        check_last_line(&[&[b'x'; 100_000]], "");
        check_last_line(&[b"first\n", &[b' '; OUTPUT_MAX_BYTES - 1], b"\n"], "");
        check_last_line(&[b"first\n", &[b' '; 100], b"\n"], "first");
    }

    #[test]
    fn only_what_a_program_needs_is_inherited() {
        for (name, inherited) in [("PATH", true), ("LC_TIME", true), ("http_proxy", true), ("LC", false)] {
            assert_eq!(is_inherited(OsStr::new(name)), inherited, "{name}");
        }
        for ours in ["CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "WATCHDOG_USEC", "STATUSD_LOCALE", "TOKEN", ""]
        {
            assert!(!is_inherited(OsStr::new(ours)), "{ours}");
        }
    }

    #[test]
    fn a_program_that_may_start_later_is_not_refused() {
        let answer = |errno: Errno| not_started("/opt/page", &errno.into(), "look");
        for errno in [Errno::AGAIN, Errno::NOMEM, Errno::TXTBSY, Errno::MFILE, Errno::IO] {
            assert!(matches!(answer(errno), SendOutcome::Transient { reached: false, .. }), "{errno}");
        }
        for errno in [Errno::NOENT, Errno::ACCESS, Errno::PERM, Errno::NOEXEC, Errno::NOTDIR, Errno::LOOP] {
            let SendOutcome::Permanent { words } = answer(errno) else { panic!("{errno}") };
            assert!(words.starts_with("page cannot be started: ") && words.contains("; "), "{words}");
        }
    }
}
