//! A machine for one test: a real systemd as PID 1 in its own namespaces, with an overlay over the host's
//! files and only a loopback network.
//!
//! Requires root. A machine changes nothing on the host, and ends with its handle or with the test process.

pub mod desktop;

use std::io::Write as _;
use std::path::Path;
use std::process::{Output, Stdio};

use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use crate::process::{ServiceManager, wait_for};

/// Set for a test that [`run_isolated`] has started in its own network.
const MARK: &str = "STATUSD_TEST_BOOT";
/// Skips these tests on computers without root.
const SKIP: &str = "STATUSD_SKIP_SYSTEMD";
const MAX_JOURNAL_LINES: &str = "200";

/// Runs the test `systemd::inner` in namespaces in which it can boot machines. Returns its output.
#[track_caller]
pub fn run_isolated(inner: &str) -> String {
    if let Err(missing) = is_possible() {
        assert!(std::env::var_os(SKIP).is_some(), "booting systemd {missing}; {SKIP}=1 skips these tests");
        // Not eprintln!, because the test harness hides its output for passing tests.
        let test = inner.trim_end_matches("_inside");
        let line = format!("skipped: {test}: booting systemd {missing}\n");
        let _dropped = std::io::stderr().write_all(line.as_bytes());
        return line;
    }
    let directory = TempDir::new().expect("a directory");
    // Each process ends with its parent, so nothing keeps running if this process is killed.
    let output = std::process::Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "unshare", "--net", "--mount"])
        .args(["sh", "-c", include_str!("isolate.sh"), "sh"])
        .arg(std::env::current_exe().expect("this program"))
        .args(["--exact", &format!("systemd::{inner}"), "--ignored", "--nocapture"])
        .env("BOOT", directory.path())
        .env(MARK, "1")
        .env("RUST_BACKTRACE", "0")
        .output()
        .expect("setpriv and unshare start (util-linux; scripts/test installs it)");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(
        output.status.success() && out.contains("1 passed"),
        "{inner} did not pass in its own network. If something is \"not permitted\" below, this system denies \
        namespaces, control groups or mounts even to root.\n{out}\n{err}"
    );
    out.into_owned()
}

fn is_possible() -> Result<(), &'static str> {
    let is_root =
        std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    match (is_root, Path::new("/lib/systemd/systemd").exists()) {
        (false, _) => Err("requires root"),
        (true, false) => Err("requires the package systemd"),
        (true, true) => Ok(()),
    }
}

/// A running systemd. Killed with all its processes when dropped.
pub struct Machine {
    /// The parent of the init process. Both end with the test process.
    unshare: Child,
    /// The pid of the init process on the host.
    pid: String,
    /// Kept open, because init keeps sending notifications after the boot.
    _manager: ServiceManager,
    _directory: TempDir,
}

impl Machine {
    /// Boots to `basic.target` with this build's statusd as /usr/local/bin/statusd, without a unit. Only
    /// for tests that [`run_isolated`] runs.
    pub async fn boot() -> Machine {
        Machine::boot_to("basic.target", &[]).await
    }

    /// Boots to `target` with these files (path and text) in place.
    pub async fn boot_to(target: &str, files: &[(&str, &str)]) -> Machine {
        assert!(std::env::var_os(MARK).is_some(), "only run_isolated may run this test");
        let cgroup = std::env::var("BOOT_CGROUP").expect("the parent control group");
        let directory = TempDir::new().expect("a directory");
        let path = |name| directory.path().join(name);
        std::fs::create_dir(path("outside")).expect("a directory");
        std::fs::create_dir(path("files")).expect("a directory");
        for (file, text) in files {
            let file = path("files").join(file.trim_start_matches('/'));
            std::fs::create_dir_all(file.parent().expect("a directory")).expect("a directory");
            std::fs::write(file, text).expect("a file");
        }
        let mut manager = ServiceManager::listen(&path("outside/notify"));
        let script = path("init.sh");
        std::fs::write(&script, include_str!("init.sh")).expect("a script");
        let enter = "mkdir \"$BOOT_CGROUP/$$\" && echo $$ >\"$BOOT_CGROUP/$$/cgroup.procs\" && exec \"$@\"";
        let mut unshare = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "sh", "-c", enter, "sh"])
            .args(["unshare", "--fork", "--kill-child", "--pid", "--mount", "--cgroup", "--uts", "--ipc"])
            .arg("bash")
            .arg(script)
            .env("BOOT", directory.path())
            .env("BOOT_CGROUP", cgroup)
            .env("TARGET", target)
            .env("PROGRAM", env!("CARGO_BIN_EXE_statusd"))
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("setpriv starts (util-linux; scripts/test installs it)");
        tokio::select! {
            _ready = manager.wait_for("READY=1") => {}
            status = unshare.wait() => panic!("the machine did not boot: {status:?}"),
        }
        let pid = std::fs::read_to_string(path("pid")).expect("the pid of init").trim().to_owned();
        Machine { unshare, pid, _manager: manager, _directory: directory }
    }

    /// Returns a command that runs in the machine as root. `words` is the program and its arguments.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.pid, "--mount", "--pid", "--uts", "--ipc", "--cgroup", "--"])
            .args(words)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/bin")
            .env("LANG", "C.UTF-8")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Runs a command to its end.
    pub async fn run(&self, words: &[&str]) -> Output {
        wait_for("the end of the command", self.command(words).output()).await.expect("nsenter starts")
    }

    /// Runs a command that must succeed. Returns its trimmed standard output.
    #[track_caller]
    pub fn stdout(&self, words: &[&str]) -> impl Future<Output = String> {
        let caller = std::panic::Location::caller();
        let command = self.run_owned(words);
        async move {
            let output = command.await;
            let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            assert!(output.status.success(), "{caller}: {}\n{text}", String::from_utf8_lossy(&output.stderr));
            text
        }
    }

    fn run_owned(&self, words: &[&str]) -> impl Future<Output = Output> + use<> {
        let mut command = self.command(words);
        async move { wait_for("the end of the command", command.output()).await.expect("nsenter starts") }
    }

    /// Returns a property of a unit.
    pub async fn unit(&self, unit: &str, property: &str) -> String {
        self.stdout(&["systemctl", "show", "--property", property, "--value", unit]).await
    }

    /// Waits for a line in the journal that contains `words`. Returns the first one.
    pub async fn wait_for_log(&self, words: &str) -> String {
        let script =
            "grep --max-count=1 --fixed-strings -- \"$1\" < <(journalctl --follow --no-tail --output=cat)";
        wait_for(words, self.stdout(&["bash", "-c", script, "bash", words])).await
    }

    /// Waits until the status text of a unit contains `words`. Returns the text.
    pub async fn until_status(&self, unit: &str, words: &str) -> String {
        let matching = async {
            loop {
                let status = self.unit(unit, "StatusText").await;
                if status.contains(words) {
                    return status;
                }
            }
        };
        wait_for(words, matching).await
    }

    /// Writes a world-readable file in the machine and creates its directories.
    pub async fn write(&self, path: &str, text: &str) {
        let script = "umask 022; mkdir -p \"$(dirname \"$1\")\" && cat >\"$1\"";
        let mut child = self
            .command(&["sh", "-c", script, "sh", path])
            .stdin(Stdio::piped())
            .spawn()
            .expect("nsenter starts");
        let mut input = child.stdin.take().expect("stdin is piped");
        input.write_all(text.as_bytes()).await.expect("a reader");
        drop(input);
        let output = wait_for("a written file", child.wait_with_output()).await.expect("a child");
        assert!(output.status.success(), "{path}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Returns every file that differs from the host's: path, kind, mode, owner and, except for directories,
    /// size and modification time. Paths below `/run/changed` are relative to `/`.
    pub async fn changed(&self) -> std::collections::BTreeSet<String> {
        let find = "find /run /tmp /var/tmp /dev/shm -printf '%p %y %m %U' \\( -type d -printf '\\n' -o -printf ' %s %T@\\n' \\)";
        self.stdout(&["sh", "-c", find]).await.lines().map(str::to_owned).collect()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let journal = ["journalctl", "--no-pager", "--lines", MAX_JOURNAL_LINES];
            let output = self.command(&journal).as_std_mut().output();
            if let Ok(output) = output {
                eprintln!("the machine's journal:\n{}", String::from_utf8_lossy(&output.stdout));
            }
        }
        // Kill init, because its parent sees its end only after all other processes have ended.
        let _gone = std::process::Command::new("kill").args(["-KILL", &self.pid]).status();
        while let Ok(None) = self.unshare.try_wait() {
            std::thread::yield_now();
        }
    }
}
