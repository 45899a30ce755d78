//! Special files instead of regular ones, and unwritable outputs: the real program ends with one line and
//! the documented exit code.
#![cfg(target_os = "linux")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use crate::common::apple::Apple;
use crate::common::doc::Doc;
use crate::process::{CommandOutput, Home, configuration, wait_for};

const QUIET: &str = "[channel.desktop]\nenabled = false\n[channel.log]\nenabled = false\n";

fn pipe(path: &Path) {
    fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
    assert!(Command::new("mkfifo").arg(path).status().expect("mkfifo is installed").success());
}

#[track_caller]
fn check_refusal(output: &CommandOutput, code: i32, words: &str) {
    assert_eq!(output.code, Some(code), "{output:?}");
    assert!(output.err.starts_with("statusd: ") && output.err.contains(words), "{output:?}");
    assert_eq!((output.err.lines().count(), output.out.as_str()), (1, ""), "{output:?}");
}

async fn run(home: &Home, arguments: &[&str]) -> CommandOutput {
    wait_for("the end of the command", home.run(arguments)).await
}

const NO_FILE: &str = "a pipe (FIFO), not a regular file";

#[tokio::test]
async fn rejects_a_pipe_instead_of_a_file() {
    let home = Home::new();
    let place = |name: &str| home.path(name).display().to_string();
    pipe(&home.path("statusd.toml"));
    for arguments in [&["run"][..], &["config", "check"], &["status"]] {
        check_refusal(&run(&home, arguments).await, 78, NO_FILE);
    }
    fs::remove_file(home.path("statusd.toml")).expect("removed");
    pipe(&home.path("pipe"));
    let text = configuration("*", "http://127.0.0.1:9/", QUIET);
    for table in [
        format!(
            "[channel.webhook.a]\nurl = \"http://127.0.0.1:9/\"\nbearer_token_file = {:?}\n",
            place("pipe")
        ),
        format!("[heartbeat]\nurl_file = {:?}\n", place("pipe")),
        format!(
            "[channel.email.a]\nserver = \"localhost\"\nfrom = \"a@b.example\"\nto = [\"a@b.example\"]\n\
             ca_file = {:?}\n",
            place("pipe")
        ),
    ] {
        home.configure(&format!("{text}{table}"));
        check_refusal(&run(&home, &["run"]).await, 78, NO_FILE);
    }
    home.configure(
        &text.replace("[feed]", &format!("[feed]\nca_file = {:?}", place("pipe"))).replace("http:", "https:"),
    );
    check_refusal(&run(&home, &["run"]).await, 78, NO_FILE);
    home.configure(&text);
    check_refusal(&run(&home, &["replay", &place("pipe")]).await, 1, "pipe it into standard input (-)");
}

#[tokio::test]
async fn rejects_pipes_in_the_state_directory() {
    let home = Home::new();
    home.configure(&configuration("*", "http://127.0.0.1:9/", QUIET));
    for name in ["statusd.db", "statusd.lock", "statusd.db-wal", "statusd.db-shm", "statusd.db-journal"] {
        let path = home.state().join(name);
        pipe(&path);
        check_refusal(&run(&home, &["run"]).await, 73, NO_FILE);
        if name.starts_with("statusd.db") {
            fs::write(home.state().join("statusd.db.not"), "").expect("a file");
        }
        if name == "statusd.db" {
            check_refusal(&run(&home, &["history"]).await, 73, NO_FILE);
            check_refusal(&run(&home, &["status"]).await, 73, NO_FILE);
        }
        fs::remove_dir_all(home.state()).expect("removed");
    }
    // A link to a pipe, then a directory instead of the database.
    pipe(&home.path("pipe"));
    fs::create_dir_all(home.state()).expect("a directory");
    symlink(home.path("pipe"), home.database()).expect("a link");
    check_refusal(&run(&home, &["run"]).await, 73, NO_FILE);
    fs::remove_file(home.database()).expect("removed");
    fs::create_dir(home.database()).expect("a directory");
    check_refusal(&run(&home, &["run"]).await, 73, "a directory, not a regular file");
    fs::remove_dir(home.database()).expect("removed");
    // The state directory itself.
    fs::remove_dir(home.state()).expect("removed");
    pipe(&home.state());
    check_refusal(&run(&home, &["run"]).await, 73, "cannot write ");
}

#[tokio::test]
async fn restricts_an_open_state_directory() {
    let apple = Apple::start().await;
    apple.show(&Doc::new().service("iCloud Backup").json());
    let home = Home::new();
    home.configure(&configuration("*", &apple.url(), QUIET));
    let mode = || fs::metadata(home.state()).expect("a directory").mode() & 0o7777;
    let set = |mode| fs::set_permissions(home.state(), Permissions::from_mode(mode)).expect("rights");
    fs::create_dir(home.state()).expect("a directory");
    for open in [0o777, 0o755, 0o770] {
        set(open);
        let mut daemon = home.start();
        daemon.wait_for_log(&format!("from {open:04o} to 0700")).await;
        daemon.wait_for_log("watching").await;
        daemon.stop().await;
        assert_eq!(mode(), 0o700);
    }
    // A directory that is shared on purpose, such as /tmp, keeps its mode.
    let left_alone = async |open: u32| {
        set(open);
        let mut daemon = home.start();
        daemon.wait_for_log("use a separate state directory").await;
        daemon.stop().await;
        assert_eq!(mode(), open);
    };
    left_alone(0o1777).await;
    fs::write(home.state().join("holiday.jpg"), "").expect("a file");
    left_alone(0o777).await;
}

/// Runs a command with a shell redirection. Returns the exit code and the remaining output.
fn redirected(home: &Home, arguments: &str, redirection: &str) -> (Option<i32>, String) {
    let script = format!("exec \"$0\" {arguments} {redirection}");
    let output = Command::new("/bin/sh")
        .args(["-c", &script, env!("CARGO_BIN_EXE_statusd")])
        .env_clear()
        .env("STATUSD_CONFIG", home.path("statusd.toml"))
        .env("HOME", home.path(""))
        .output()
        .expect("a shell");
    (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

#[tokio::test]
async fn reports_a_full_output_in_one_line() {
    let apple = Apple::start().await;
    apple.show(&Doc::new().service("iCloud Backup").json());
    let home = Home::new();
    home.configure(&configuration("*", &apple.url(), QUIET));
    let mut daemon = home.start();
    wait_for("a poll", apple.wait_for_requests(2)).await;
    daemon.wait_for_log("watching").await;
    for arguments in [
        "check",
        "check --json",
        "status",
        "status --json",
        "history",
        "history --json",
        "history --format csv",
        "services",
        "services --json",
        "outbox",
        "outbox --json",
        "config check",
        "config show",
        "config init --stdout",
        "guide",
        "completions bash",
        "man",
        "doctor --list-checks",
    ] {
        let code = if arguments.starts_with("check") { 3 } else { 73 };
        let (ended, output) = redirected(&home, arguments, ">/dev/full");
        assert_eq!(ended, Some(code), "{arguments}: {output}");
        assert!(
            output.starts_with("statusd: cannot write the output: the disk is full"),
            "{arguments}: {output}"
        );
        assert_eq!(output.lines().count(), 1, "{arguments}: {output}");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn failed_log_write_is_not_a_delivery() {
    let home = Home::new();
    home.configure(&configuration("*", "http://127.0.0.1:9/", "[channel.desktop]\nenabled = false\n"));
    let (code, output) = redirected(&home, "test-notice log", "2>/dev/full");
    assert_eq!(code, Some(1), "{output}");
    assert!(output.contains("log: failed; the daemon would retry: cannot write to the log"), "{output}");
    let (code, output) = redirected(&home, "test-notice log", "2>/dev/null");
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("log: delivered"), "{output}");
}
