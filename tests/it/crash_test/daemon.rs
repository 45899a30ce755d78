//! The daemon under test as a child process in its own home directory: the shipped program, or a
//! faulty daemon that this test program runs.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use super::faulty::{self, Fault};

/// Which daemon is tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DaemonKind {
    /// The shipped program.
    Statusd,
    /// The daemon of the library with a faulty forwarder in the same process.
    Faulty(Fault),
}

/// A running daemon. Killed when dropped.
pub struct Daemon {
    child: Child,
    log_file: PathBuf,
}

impl Daemon {
    /// Starts the daemon with `statusd.toml` in `home`.
    pub fn start(kind: DaemonKind, home: &Path) -> Daemon {
        let log = home.join("log");
        let file = File::options().create(true).append(true).open(&log).expect("a log");
        let config = home.join("statusd.toml");
        let mut command = match kind {
            DaemonKind::Statusd => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_statusd"));
                command.arg("--config").arg(&config).arg("run").env_clear();
                command
            }
            DaemonKind::Faulty(fault) => {
                let mut command = Command::new(std::env::current_exe().expect("a program"));
                command.args(["--exact", "crash::faulty_daemon", "--ignored", "--nocapture"]).env_clear();
                command.envs(faulty::variables(fault, &config));
                command
            }
        };
        let child = command
            .env("HOME", home)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .expect("the daemon starts");
        Daemon { child, log_file: log }
    }

    /// Sends SIGKILL and waits for the end of the process.
    pub fn kill(&mut self) {
        self.assert_alive();
        self.child.kill().expect("a child");
        self.child.wait().expect("a child");
    }

    /// Sends SIGTERM, as a service manager does.
    pub fn terminate(&mut self) {
        self.assert_alive();
        let status =
            Command::new("/bin/sh").arg("-c").arg(format!("kill -TERM {}", self.child.id())).status();
        assert!(status.expect("a shell").success());
    }

    /// Returns the exit status of an ended daemon.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child")
    }

    /// Fails if the daemon ended without a signal from the test.
    pub fn assert_alive(&mut self) {
        let ended = self.ended();
        assert!(ended.is_none(), "ended by itself, {ended:?}:\n{}", self.log());
    }

    /// Returns the log of all daemons in this home.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log_file).unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // The daemon may have ended already.
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}
