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

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe;
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::timeout;

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
/// The end of the output is kept, because programs say there why they stop.
const TAIL_MAX_BYTES: usize = 4 * 1024;
/// The capacity of a pipe, and so the most that a program can leave in it unread.
const PIPE_MAX_BYTES: usize = 64 * 1024;
const LINE_MAX_CHARS: usize = 200;

/// A program to run.
#[derive(Debug)]
pub struct Subprocess<'a> {
    /// An absolute path, or a name that is looked up in `PATH`.
    pub program: &'a str,
    pub arguments: &'a [String],
    /// Added to the inherited variables.
    pub variables: &'a [(String, String)],
    /// Standard input. The program need not read it.
    pub input: &'a [u8],
    /// SIGTERM follows after this time, SIGKILL 2 s later.
    pub timeout: Duration,
    pub capture: Capture,
}

/// The part of a program's output that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capture {
    /// The last 4 KiB of standard output and standard error, in the order written.
    Tail,
    /// Standard output, at most the last so many bytes.
    Stdout(usize),
}

/// A program that was started and has ended.
#[derive(Debug)]
pub struct Finished {
    pub exit: Exit,
    output: Vec<u8>,
    /// The beginning of the output was dropped.
    is_cut: bool,
}

#[derive(Debug)]
pub enum Exit {
    Code(i32),
    /// By a signal that statusd did not send.
    Signal(i32),
    /// Killed by statusd after this time.
    TimedOut(Duration),
    /// The system does not report the exit status.
    Unknown(io::Error),
}

impl Finished {
    /// The captured output.
    pub fn output(&self) -> &[u8] {
        &self.output
    }

    /// The lines of the captured output, unescaped. A line whose beginning was dropped is left out.
    pub fn lines(&self) -> Vec<String> {
        let text = String::from_utf8_lossy(&self.output);
        // Progress bars use carriage returns alone.
        let lines = text.split(['\n', '\r']).map(str::to_owned);
        lines.skip(usize::from(self.is_cut)).collect()
    }

    /// The last line that is not blank, safe to show; empty if there is none.
    pub fn last_line(&self) -> String {
        let lines = self.lines();
        let mut shown = lines.iter().rev().map(|line| text::plain_line(line, LINE_MAX_CHARS));
        shown.find(|line| !line.is_empty()).unwrap_or_default()
    }
}

/// Returns a program's name without its directories, safe to show.
pub fn name(program: &str) -> String {
    let name = Path::new(program).file_name().unwrap_or(OsStr::new(program));
    text::plain_line(&name.to_string_lossy(), LINE_MAX_CHARS)
}

impl Subprocess<'_> {
    /// Runs the program in `/`, in its own process group, and waits for it. Processes that it leaves in
    /// the background are left alone if the program itself ends in time, and their output is not read.
    ///
    /// # Errors
    ///
    /// The program could not be started.
    pub async fn run(self) -> io::Result<Finished> {
        let (output, writer) = io::pipe()?;
        let mut output = pipe::Receiver::from_owned_fd(output.into())?;
        let mut child = self.start(writer)?;
        // Declared after `child` and so dropped first: the process ID is valid until the child is reaped.
        let mut group = Group::led_by(&child);
        let stdin = child.stdin.take();
        let mut tail = Tail::new(self.capture);
        let ended = {
            let attended = attend(&mut child, stdin, self.input, &mut output, &mut tail);
            timeout(self.timeout, attended).await
        };
        let exit = match ended {
            Ok(Ok(status)) => Exit::of(status),
            Ok(Err(error)) => Exit::Unknown(error),
            Err(_elapsed) => {
                group.end(&mut child).await;
                Exit::TimedOut(self.timeout)
            }
        };
        group.release();
        read_rest(output, &mut tail);
        Ok(Finished { exit, output: tail.bytes, is_cut: tail.is_cut })
    }

    /// One pipe for both outputs keeps them in order. No copy of `writer` stays here, so the pipe ends
    /// with the program.
    fn start(&self, writer: io::PipeWriter) -> io::Result<Child> {
        let stderr = match self.capture {
            Capture::Tail => Stdio::from(writer.try_clone()?),
            Capture::Stdout(_) => Stdio::null(),
        };
        Command::new(self.program)
            .args(self.arguments)
            .env_clear()
            .envs(std::env::vars_os().filter(|(name, _)| is_inherited(name)))
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(writer)
            .stderr(stderr)
            .spawn()
    }
}

impl Exit {
    fn of(status: ExitStatus) -> Exit {
        match status.code() {
            Some(code) => Exit::Code(code),
            None => Exit::Signal(status.signal().unwrap_or_default()),
        }
    }
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
    tail: &mut Tail,
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
            tokio::join!(feed, read_all(output, tail));
            std::future::pending().await
        } => never,
    }
}

async fn read_all(output: &mut pipe::Receiver, tail: &mut Tail) {
    let mut buffer = vec![0; PIPE_MAX_BYTES];
    while let Ok(len @ 1..) = output.read(&mut buffer).await {
        tail.push(&buffer[..len]);
    }
}

/// Reads what the program wrote just before its end. Reads straight from the pipe, because the runtime
/// may not have seen these bytes yet, and at most a full pipe, because a process in the background may
/// go on writing.
fn read_rest(output: pipe::Receiver, tail: &mut Tail) {
    let Ok(output) = output.into_nonblocking_fd().map(|fd: OwnedFd| File::from(fd)) else { return };
    let mut rest = Vec::new();
    // The error is that the pipe is empty.
    let _would_block = output.take(PIPE_MAX_BYTES as u64).read_to_end(&mut rest);
    tail.push(&rest);
}

/// The last bytes of an output.
struct Tail {
    bytes: Vec<u8>,
    max: usize,
    is_cut: bool,
}

impl Tail {
    fn new(capture: Capture) -> Tail {
        let max = match capture {
            Capture::Tail => TAIL_MAX_BYTES,
            Capture::Stdout(max) => max,
        };
        Tail { bytes: Vec::new(), max, is_cut: false }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.is_cut |= self.bytes.len() + bytes.len() > self.max;
        self.bytes.extend_from_slice(&bytes[bytes.len().saturating_sub(self.max)..]);
        self.bytes.drain(..self.bytes.len().saturating_sub(self.max));
    }
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
            // The error is that the group is empty.
            let _empty = kill_process_group(group, signal);
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
        let mut tail = Tail::new(Capture::Tail);
        for bytes in written {
            tail.push(bytes);
            assert!(tail.bytes.len() <= TAIL_MAX_BYTES);
        }
        let finished = Finished { exit: Exit::Code(0), output: tail.bytes, is_cut: tail.is_cut };
        assert_eq!(finished.last_line(), expected);
    }

    #[test]
    fn keeps_the_end_of_the_output() {
        check_last_line(&[], "");
        check_last_line(&[b"\n \r\n"], "");
        check_last_line(&[b"one\nt", b"wo\n", b"\n"], "two");
        check_last_line(&[&[b'x'; 100_000], b"\nlast"], "last");
        check_last_line(&[&[b'x'; 100_000]], "");
        check_last_line(&[b"first\n", &[b' '; TAIL_MAX_BYTES], b"\n"], "");
        check_last_line(&[b"first\n", &[b' '; 100], b"\n"], "first");
        let line = format!("{}…", "x".repeat(LINE_MAX_CHARS - 1));
        check_last_line(&[&[b'x'; TAIL_MAX_BYTES]], &line);
    }

    #[test]
    fn inherits_only_the_variables_of_the_list() {
        for (name, inherited) in [("PATH", true), ("LC_TIME", true), ("http_proxy", true), ("LC", false)] {
            assert_eq!(is_inherited(OsStr::new(name)), inherited, "{name}");
        }
        for ours in ["CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "WATCHDOG_USEC", "STATUSD_LOCALE", "TOKEN", ""]
        {
            assert!(!is_inherited(OsStr::new(ours)), "{ours}");
        }
    }

    async fn finish(script: &str, capture: Capture) -> Finished {
        let arguments = ["-c".to_owned(), script.to_owned()];
        let subprocess = Subprocess {
            program: "/bin/sh",
            arguments: &arguments,
            variables: &[],
            input: b"",
            timeout: Duration::from_secs(60),
            capture,
        };
        subprocess.run().await.expect("started")
    }

    #[tokio::test]
    async fn captures_both_outputs_or_standard_output_alone() {
        let script = "echo out; echo err >&2; exit 3";
        let both = finish(script, Capture::Tail).await;
        assert!(matches!(both.exit, Exit::Code(3)));
        assert_eq!(both.output(), b"out\nerr\n");
        assert_eq!(finish(script, Capture::Stdout(100)).await.output(), b"out\n");
        assert_eq!(finish("printf 1234567890", Capture::Stdout(4)).await.output(), b"7890");
    }
}
