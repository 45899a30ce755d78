//! Special files instead of regular ones, and unwritable outputs: the real program ends with one line and
//! the documented exit code.
#![cfg(target_os = "linux")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use crate::common::apple::Apple;
use crate::common::doc::Doc;
use crate::process::{Home, Said, configuration, within};

const QUIET: &str = "[channel.desktop]\nenabled = false\n[channel.log]\nenabled = false\n";

fn pipe(path: &Path) {
    fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
    assert!(Command::new("mkfifo").arg(path).status().expect("mkfifo is installed").success());
}

#[track_caller]
fn check_refusal(said: &Said, code: i32, words: &str) {
    assert_eq!(said.code, Some(code), "{said:?}");
    assert!(said.err.starts_with("statusd: ") && said.err.contains(words), "{said:?}");
    assert_eq!((said.err.lines().count(), said.out.as_str()), (1, ""), "{said:?}");
}

async fn ask(home: &Home, arguments: &[&str]) -> Said {
    within("the end of a command", home.ask(arguments)).await
}

const NO_FILE: &str = "a pipe (FIFO), not a regular file";

#[tokio::test]
async fn a_pipe_in_the_place_of_a_file_is_refused_and_not_waited_for() {
    let home = Home::new();
    let place = |name: &str| home.path(name).display().to_string();
    pipe(&home.path("statusd.toml"));
    for arguments in [&["run"][..], &["config", "check"], &["status"]] {
        check_refusal(&ask(&home, arguments).await, 78, NO_FILE);
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
        check_refusal(&ask(&home, &["run"]).await, 78, NO_FILE);
    }
    home.configure(
        &text.replace("[feed]", &format!("[feed]\nca_file = {:?}", place("pipe"))).replace("http:", "https:"),
    );
    check_refusal(&ask(&home, &["run"]).await, 78, NO_FILE);
    home.configure(&text);
    check_refusal(&ask(&home, &["replay", &place("pipe")]).await, 1, "pipe it into standard input (-)");
}

#[tokio::test]
async fn no_file_of_the_state_directory_is_waited_for() {
    let home = Home::new();
    home.configure(&configuration("*", "http://127.0.0.1:9/", QUIET));
    for name in ["statusd.db", "statusd.lock", "statusd.db-wal", "statusd.db-shm", "statusd.db-journal"] {
        let path = home.state().join(name);
        pipe(&path);
        check_refusal(&ask(&home, &["run"]).await, 73, NO_FILE);
        if name.starts_with("statusd.db") {
            fs::write(home.state().join("statusd.db.not"), "").expect("a file");
        }
        if name == "statusd.db" {
            check_refusal(&ask(&home, &["history"]).await, 73, NO_FILE);
            check_refusal(&ask(&home, &["status"]).await, 73, NO_FILE);
        }
        fs::remove_dir_all(home.state()).expect("removed");
    }
    // A link to a pipe, then a directory instead of the database.
    pipe(&home.path("pipe"));
    fs::create_dir_all(home.state()).expect("a directory");
    symlink(home.path("pipe"), home.database()).expect("a link");
    check_refusal(&ask(&home, &["run"]).await, 73, NO_FILE);
    fs::remove_file(home.database()).expect("removed");
    fs::create_dir(home.database()).expect("a directory");
    check_refusal(&ask(&home, &["run"]).await, 73, "a directory, not a regular file");
    fs::remove_dir(home.database()).expect("removed");
    // The state directory itself.
    fs::remove_dir(home.state()).expect("removed");
    pipe(&home.state());
    check_refusal(&ask(&home, &["run"]).await, 73, "cannot write ");
}

#[tokio::test]
async fn a_state_directory_that_is_open_to_all_is_closed() {
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
        daemon.says(&format!("from {open:04o} to 0700")).await;
        daemon.says("watches").await;
        daemon.stop().await;
        assert_eq!(mode(), 0o700);
    }
    // A directory that is shared on purpose, such as /tmp, keeps its mode.
    let left_alone = async |open: u32| {
        set(open);
        let mut daemon = home.start();
        daemon.says("use a separate state directory").await;
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
async fn an_output_that_takes_nothing_is_an_error_in_one_line() {
    let apple = Apple::start().await;
    apple.show(&Doc::new().service("iCloud Backup").json());
    let home = Home::new();
    home.configure(&configuration("*", &apple.url(), QUIET));
    let mut daemon = home.start();
    within("a look", apple.asked(2)).await;
    daemon.says("watches").await;
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
        let (ended, said) = redirected(&home, arguments, ">/dev/full");
        assert_eq!(ended, Some(code), "{arguments}: {said}");
        assert!(
            said.starts_with("statusd: cannot write the output: the disk is full"),
            "{arguments}: {said}"
        );
        assert_eq!(said.lines().count(), 1, "{arguments}: {said}");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_line_that_the_log_does_not_take_is_not_delivered() {
    let home = Home::new();
    home.configure(&configuration("*", "http://127.0.0.1:9/", "[channel.desktop]\nenabled = false\n"));
    let (code, said) = redirected(&home, "test-notice log", "2>/dev/full");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("log: failed; the daemon would retry: cannot write to the log"), "{said}");
    let (code, said) = redirected(&home, "test-notice log", "2>/dev/null");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("log: delivered"), "{said}");
}
