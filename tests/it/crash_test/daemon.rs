//! The one that is killed: the real program, or a faulty one played by this test program, as a
//! child process in a home of its own.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use super::faulty::{self, Fault};

/// Who is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The program that is shipped.
    Statusd,
    /// The same daemon out of the library, with a forwarder in its process.
    Planted(Fault),
}

/// A running subject; killed when dropped.
pub struct Subject {
    child: Child,
    log: PathBuf,
}

impl Subject {
    /// With the configuration that lies in `home` as `statusd.toml`.
    pub fn start(who: Who, home: &Path) -> Subject {
        let log = home.join("log");
        let file = File::options().create(true).append(true).open(&log).expect("a log");
        let config = home.join("statusd.toml");
        let mut command = match who {
            Who::Statusd => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_statusd"));
                command.arg("--config").arg(&config).arg("run").env_clear();
                command
            }
            Who::Planted(fault) => {
                let mut command = Command::new(std::env::current_exe().expect("a program"));
                command.args(["--exact", "lab::subject", "--ignored", "--nocapture"]).env_clear();
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
            .expect("the subject starts");
        Subject { child, log }
    }

    /// As a power failure does. Returns when it is dead.
    pub fn kill(&mut self) {
        self.assert_alive();
        self.child.kill().expect("a child");
        self.child.wait().expect("a child");
    }

    /// Asks it to stop, as a service manager does.
    pub fn terminate(&mut self) {
        self.assert_alive();
        let status =
            Command::new("/bin/sh").arg("-c").arg(format!("kill -TERM {}", self.child.id())).status();
        assert!(status.expect("a shell").success());
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child")
    }

    /// A subject that ends by itself has not been tried.
    pub fn assert_alive(&mut self) {
        let ended = self.ended();
        assert!(ended.is_none(), "ended by itself, {ended:?}:\n{}", self.said());
    }

    /// All that subjects in this home have said.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        // It may have ended, which is as good.
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}
