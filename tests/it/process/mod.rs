//! Runs the real program as a child process with its own home directory, and mocks a service manager.
//!
//! Waiting for an event that never comes fails after [`PATIENCE`] and prints the program's log. Dropping
//! a handle kills its process.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use statusd::store::{DATABASE, Store, StoredDelivery};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::net::UnixDatagram;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

/// Far longer than a loaded machine needs. A confirmation alone takes 30 s.
const PATIENCE: Duration = Duration::from_secs(180);
/// Longer than any status line.
const MAX_DATAGRAM_BYTES: usize = 64 * 1024;

/// A temporary home directory with a configuration and state.
pub struct Home {
    directory: TempDir,
    variables: Vec<(&'static str, String)>,
}

impl Home {
    pub fn new() -> Home {
        Home { directory: TempDir::new().expect("a temporary directory"), variables: Vec::new() }
    }

    /// Sets an environment variable for all commands. They inherit none.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Home {
        self.variables.push((name, value.into()));
        self
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The state directory of [`configuration`]. The first daemon creates it.
    pub fn state(&self) -> PathBuf {
        self.path("state")
    }

    pub fn database(&self) -> PathBuf {
        self.state().join(DATABASE)
    }

    pub fn configure(&self, text: &str) {
        fs::write(self.path("statusd.toml"), text).expect("a configuration");
    }

    /// Writes an unreadable database. The next daemon reports it at once, while an outage takes 30 s to
    /// confirm.
    pub fn damage_database(&self) {
        fs::create_dir_all(self.state()).expect("a state directory");
        fs::write(self.database(), "not a database").expect("a damaged database");
    }

    /// Starts `statusd run`.
    pub fn start(&self) -> Daemon {
        Daemon::start(self.command(&["run"]))
    }

    /// Runs a command to its end.
    pub async fn run(&self, arguments: &[&str]) -> CommandOutput {
        let output = wait_for("the end of the command", self.command(arguments).output()).await;
        let output = output.expect("the program starts");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        CommandOutput { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Returns a command without starting it.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_statusd"));
        command
            .args(arguments)
            .env_clear()
            .env("STATUSD_CONFIG", self.path("statusd.toml"))
            .env("HOME", self.directory.path())
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Reads all deliveries in the database, with or without a running daemon.
    pub async fn deliveries(&self) -> Vec<StoredDelivery> {
        let store =
            Store::open_existing(&self.state(), false).expect("a readable database").expect("a database");
        store.deliveries(true).await.expect("deliveries")
    }
}

/// The exit code (`None`: killed by a signal) and the output of a command.
#[derive(Debug)]
pub struct CommandOutput {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// Returns a configuration that polls every second. `channels` is appended.
pub fn configuration(watch: &str, feed_url: &str, channels: &str) -> String {
    format!(
        "watch = [{watch:?}]
time_zone = \"UTC\"
[feed]
url = {feed_url:?}
[schedule]
poll = \"* * * * * *\"
trouble = \"* * * * * *\"
jitter_s = 0
[state]
directory = \"state\"
{channels}"
    )
}

/// A running `statusd run`. Killed when dropped.
pub struct Daemon {
    child: Child,
    lines: mpsc::UnboundedReceiver<String>,
    log: String,
}

impl Daemon {
    fn start(mut command: Command) -> Daemon {
        let mut child = command.spawn().expect("the program starts");
        let (record, lines) = mpsc::unbounded_channel();
        tokio::spawn(record_lines(child.stderr.take().expect("stderr is piped"), record.clone()));
        tokio::spawn(record_lines(child.stdout.take().expect("stdout is piped"), record));
        Daemon { child, lines, log: String::new() }
    }

    pub fn pid(&self) -> u32 {
        self.child.id().expect("a running child")
    }

    /// Waits for the next log line that contains `words`, and skips others.
    pub async fn wait_for_log(&mut self, words: &str) -> String {
        let mut lines = self.wait_for_logs(&[words]).await;
        lines.pop().expect("a line for the words")
    }

    /// Waits for one log line for each of `all`, in any order.
    pub async fn wait_for_logs(&mut self, all: &[&str]) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        let mut awaited = all.to_vec();
        let mut found = Vec::new();
        while !awaited.is_empty() {
            let line = timeout_at(deadline, self.lines.recv()).await.ok().flatten();
            let Some(line) = line else { panic!("no log line with {awaited:?}:\n{}", self.log) };
            self.log.push_str(&line);
            self.log.push('\n');
            if let Some(index) = awaited.iter().position(|words| line.contains(words)) {
                awaited.swap_remove(index);
                found.push(line);
            }
        }
        found
    }

    /// Sends a signal (TERM, INT, HUP …).
    pub async fn signal(&self, name: &str) {
        let kill = Command::new("/bin/sh").arg("-c").arg(format!("kill -{name} {}", self.pid())).status();
        assert!(kill.await.expect("a shell").success(), "the daemon has exited:\n{}", self.log);
    }

    /// Sends SIGKILL.
    pub async fn kill(mut self) {
        assert_eq!(self.child.try_wait().expect("a child"), None, "exited by itself:\n{}", self.log);
        wait_for("the end of a killed process", self.child.kill()).await.expect("a child");
    }

    /// Sends SIGTERM and returns the complete log.
    pub async fn stop(self) -> String {
        self.signal("TERM").await;
        let (status, log) = self.end().await;
        assert_eq!(status.code(), Some(0), "{log}");
        log
    }

    /// Waits for the end. Returns the exit status and the complete log.
    pub async fn end(mut self) -> (ExitStatus, String) {
        let Ok(status) = timeout(PATIENCE, self.child.wait()).await else {
            panic!("the daemon did not end:\n{}", self.log)
        };
        while let Some(line) = self.lines.recv().await {
            self.log.push_str(&line);
            self.log.push('\n');
        }
        (status.expect("a child"), self.log)
    }
}

async fn record_lines(from: impl AsyncRead + Unpin, record: mpsc::UnboundedSender<String>) {
    let mut lines = BufReader::new(from).lines();
    while let Some(line) = lines.next_line().await.expect("lines in UTF-8") {
        // Keep draining the pipe after the test has dropped its receiver.
        let _dropped = record.send(line);
    }
}

/// A mock service manager, which receives the datagrams of sd_notify(3).
pub struct ServiceManager {
    datagrams: mpsc::UnboundedReceiver<String>,
}

impl ServiceManager {
    /// Listens at `socket`, for `$NOTIFY_SOCKET`.
    pub fn listen(socket: &Path) -> ServiceManager {
        let socket = UnixDatagram::bind(socket).expect("a socket");
        let (record, datagrams) = mpsc::unbounded_channel();
        // Read at once, as systemd does, because a full queue would block the daemon.
        tokio::spawn(async move {
            let mut datagram = vec![0; MAX_DATAGRAM_BYTES];
            while let Ok(length) = socket.recv(&mut datagram).await {
                let _dropped = record.send(String::from_utf8_lossy(&datagram[..length]).into_owned());
            }
        });
        ServiceManager { datagrams }
    }

    /// Waits for the next datagram.
    pub async fn next(&mut self) -> String {
        wait_for("a datagram to the service manager", self.datagrams.recv()).await.expect("an open socket")
    }

    /// Waits for the next datagram that contains `words`, and skips others.
    pub async fn wait_for(&mut self, words: &str) -> String {
        let found = async {
            loop {
                let datagram = self.next().await;
                if datagram.contains(words) {
                    return datagram;
                }
            }
        };
        wait_for(words, found).await
    }
}

/// Returns the output of `future`. Fails after [`PATIENCE`].
pub async fn wait_for<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("timed out waiting for {what}"))
}

/// Returns all files of a directory with their modification times and contents.
pub fn contents(directory: &Path) -> io::Result<Vec<(PathBuf, std::time::SystemTime, Vec<u8>)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            files.push((entry.path(), entry.metadata()?.modified()?, fs::read(entry.path())?));
        }
    }
    files.sort();
    Ok(files)
}
