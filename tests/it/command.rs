//! The command channel with real programs: their input, how they end, and what they leave running.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command as Process;
use std::time::Duration;

use crate::common::http_server::with_timeout;
use statusd::channel::Transport as _;
use statusd::channel::command::Command;
use statusd::channel::command::{CommandWords, Settings};
use statusd::channel::{Notice, SendOutcome};
use statusd::model::Severity;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe;

const KEY: &str = "consumer/en_US/icloud%20backup/1002938/1/began";

fn notice(payload: &str) -> Notice {
    Notice {
        key: KEY.to_owned(),
        title: "iCloud Backup is down".to_owned(),
        body: String::new(),
        severity: Severity::Alert,
        payload: payload.to_owned(),
        replaces: None,
        follows: None,
    }
}

fn command(command: &[&str], timeout_s: u64) -> Command {
    let command = CommandWords(command.iter().map(|&word| word.to_owned()).collect());
    Command::new(&Settings { command, timeout_s }).expect("a command")
}

fn utf8(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// Runs a shell script with the payload `{}`. Returns the outcome.
async fn run_script(script: &str) -> SendOutcome {
    let outcome = command(&["/bin/sh", "-c", script], 60).send(&notice("{}")).await;
    assert!(!outcome.detail().contains(char::is_control), "{outcome:?}");
    outcome
}

#[track_caller]
fn check_delivered(outcome: &SendOutcome, detail: &str) {
    assert_eq!(outcome, &SendOutcome::Delivered { receipt: None, detail: detail.to_owned() });
}

#[track_caller]
fn check_retry(outcome: &SendOutcome, detail: &str) {
    let detail = detail.to_owned();
    assert_eq!(outcome, &SendOutcome::Transient { after_s: None, reached: true, detail });
}

#[track_caller]
fn check_refused(outcome: &SendOutcome, detail: &str) {
    let SendOutcome::Permanent { detail: text } = outcome else { panic!("not refused: {outcome:?}") };
    assert!(text.contains(detail), "{text}");
}

/// Writes an executable file. Another process writes it, because a child that another test is starting
/// could inherit the open file, which the kernel then refuses to execute.
fn program(directory: &TempDir, text: &str) -> String {
    let path = directory.path().join("page");
    let path = utf8(&path).to_owned();
    let write = "printf %s \"$1\" > \"$0\" && chmod 755 \"$0\"";
    let status = Process::new("/bin/sh").args(["-c", write, &path, text]).status().expect("a shell");
    assert!(status.success());
    path
}

/// Creates a named pipe that scripts keep open while they run.
fn named_pipe(directory: &TempDir, name: &str) -> (PathBuf, pipe::Receiver) {
    let path = directory.path().join(name);
    let made = Process::new("mkfifo").arg(&path).status().expect("mkfifo is installed");
    assert!(made.success());
    let receiver = pipe::OpenOptions::new().open_receiver(&path).expect("a pipe");
    (path, receiver)
}

/// Opens the pipe, starts a child and a grandchild that inherit it, writes a line, and hangs.
const PROCESS_GROUP: &str =
    "exec 3>\"$0\"; (sleep 1000 & sleep 1000) & echo alive >&3; sleep 1000; echo survived";

async fn wait_for_group(group_pipe: &mut pipe::Receiver) {
    let mut line = [0; 6];
    with_timeout(group_pipe.read_exact(&mut line)).await.expect("a line");
    assert_eq!(&line, b"alive\n");
}

/// Waits until no process has the pipe open.
async fn wait_for_group_end(mut group_pipe: pipe::Receiver) {
    let mut rest = Vec::new();
    with_timeout(group_pipe.read_to_end(&mut rest)).await.expect("the end");
    assert_eq!(rest, b"");
}

#[tokio::test]
async fn passes_the_change_on_stdin_and_in_the_environment() {
    let directory = TempDir::new().expect("a directory");
    let payload =
        r#"{"version":1,"kind":"began","service":"$(touch /x) `x`; 'é'","key":"k/1","ended_at":null}"#;
    let script = "set -u; cat >\"$1/input\"; env -0 >\"$1/variables\"; pwd; echo \"$STATUSD_ENDED_AT.\"";
    let path = directory.path().to_str().expect("a path in UTF-8");
    let outcome = command(&["/bin/sh", "-c", script, "sh", path], 60).send(&notice(payload)).await;

    check_delivered(&outcome, "sh exited with 0. Output: .");
    assert_eq!(fs::read_to_string(directory.path().join("input")).expect("the input"), payload);
    let variables = variables(&directory.path().join("variables"));
    let is = |name: &str, value: &str| assert_eq!(variables[name], value, "{name}");
    is("STATUSD_VERSION", "1");
    is("STATUSD_KIND", "began");
    is("STATUSD_SERVICE", "$(touch /x) `x`; 'é'");
    is("STATUSD_KEY", "k/1");
    is("STATUSD_TEXT", "");
    assert_eq!(variables.keys().filter(|name| name.starts_with("STATUSD_")).count(), 21);
}

fn variables(path: &Path) -> BTreeMap<String, String> {
    let text = String::from_utf8(fs::read(path).expect("the variables")).expect("UTF-8");
    let split = |line: &str| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    text.split('\0').filter_map(split).collect()
}

#[tokio::test]
async fn runs_in_the_root_directory_and_its_own_process_group() {
    check_delivered(&run_script("pwd").await, "sh exited with 0. Output: /");
    // The shell's pid is a process group.
    check_delivered(&run_script("kill -0 -$$ && echo leads").await, "sh exited with 0. Output: leads");
}

/// Starts the real program like systemd does, with variables that commands must not see.
#[test]
fn hides_statusds_environment_from_programs() {
    let directory = TempDir::new().expect("a directory");
    let (config, seen) = (directory.path().join("statusd.toml"), directory.path().join("variables"));
    let script = format!("env -0 >{}", seen.display());
    let table = format!("[channel.command.env]\ncommand = ['/bin/sh', '-c', {script:?}]\n");
    fs::write(&config, table).expect("a configuration");
    let ours = [
        ("CREDENTIALS_DIRECTORY", "/run/credentials/statusd.service"),
        ("NOTIFY_SOCKET", "/run/systemd/absent"),
        ("WATCHDOG_USEC", "30000000"),
        ("WATCHDOG_PID", "1"),
        ("LISTEN_FDS", "1"),
        ("INVOCATION_ID", "1"),
        ("JOURNAL_STREAM", "8:1"),
        ("STATE_DIRECTORY", "/var/lib/statusd"),
        ("STATUSD_LOCALE", "de_DE"),
        ("MY_TOKEN", "hunter2"),
        ("LD_PRELOAD_", "x"),
    ];
    let theirs =
        [("HOME", "/home/me"), ("LC_TIME", "C"), ("TZ", "Europe/Berlin"), ("https_proxy", "http://p:1")];
    let done = Process::new(env!("CARGO_BIN_EXE_statusd"))
        .args(["test-notice", "command.env", "--config"])
        .arg(&config)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").expect("a PATH"))
        .envs(ours.into_iter().chain(theirs))
        .output()
        .expect("statusd runs");
    assert!(done.status.success(), "{done:?}");

    let variables = variables(&seen);
    for (name, value) in theirs {
        assert_eq!(variables.get(name).map(String::as_str), Some(value), "{name}");
    }
    // The shell itself sets PWD, OLDPWD, SHLVL and _.
    let own = ["PATH", "PWD", "OLDPWD", "SHLVL", "_"];
    let foreign: Vec<&String> = variables
        .keys()
        .filter(|&name| !own.contains(&name.as_str()) && !theirs.iter().any(|(their, _)| name == their))
        .filter(|name| !name.starts_with("STATUSD_") || *name == "STATUSD_LOCALE")
        .collect();
    assert!(foreign.is_empty(), "{foreign:?}");
    assert_eq!(variables["STATUSD_KIND"], "test");
}

#[tokio::test]
async fn classifies_every_exit_code() {
    for code in 0..=255 {
        let outcome = run_script(&format!("exit {code}")).await;
        let exited = format!("sh exited with {code}");
        let is_as_meant = match (code, &outcome) {
            (0, SendOutcome::Delivered { receipt: None, detail }) => *detail == exited,
            (64 | 65 | 77 | 78 | 126 | 127, SendOutcome::Permanent { detail }) => {
                detail.starts_with(&format!("{exited}: ")) && detail.contains("; ")
            }
            (75, SendOutcome::Transient { after_s: None, reached: true, detail }) => {
                *detail == format!("{exited}: temporary failure")
            }
            (0 | 64 | 65 | 75 | 77 | 78 | 126 | 127, _) => false,
            (_, SendOutcome::Transient { after_s: None, reached: true, detail }) => *detail == exited,
            _ => false,
        };
        assert!(is_as_meant, "{code}: {outcome:?}");
    }
}

#[tokio::test]
async fn retries_a_killed_program() {
    check_retry(&run_script("echo half; kill -9 $$").await, "sh was killed by signal 9. Output: half");
}

#[tokio::test]
async fn quotes_the_last_output_line() {
    check_retry(&run_script("echo one; echo two >&2; echo; exit 1").await, "sh exited with 1. Output: two");
    check_delivered(
        &run_script("echo two >&2; echo one; echo '  ' >&2").await,
        "sh exited with 0. Output: one",
    );
    check_delivered(&run_script("printf '10%%\\r50%%\\r'").await, "sh exited with 0. Output: 50%");
    check_delivered(
        &run_script("printf 'a\\033[31mb\\376\\377\\342\\200\\256c'").await,
        "sh exited with 0. Output: a[31mb\u{fffd}\u{fffd}c",
    );
}

#[tokio::test]
async fn drains_large_output() {
    let outcome = run_script("head -c 10000000 /dev/zero | tr '\\0' x; echo; echo done").await;
    check_delivered(&outcome, "sh exited with 0. Output: done");
    let outcome = run_script("echo one; head -c 1000 /dev/zero | tr '\\0' x").await;
    let detail = outcome.detail();
    assert!(detail.chars().count() < 300 && detail.ends_with("x…"), "{detail}");
}

#[tokio::test]
async fn stops_endless_output() {
    let outcome = command(&["yes", "more"], 1).send(&notice("{}")).await;
    let SendOutcome::Transient { after_s: None, reached: true, detail } = &outcome else {
        panic!("{outcome:?}")
    };
    assert!(detail.starts_with("yes timed out after 1 s"), "{detail}");
    assert!(detail.chars().count() < 300, "{detail}");
}

#[tokio::test]
async fn program_need_not_read_its_input() {
    // More than a pipe buffers.
    let long = "x".repeat(1 << 20);
    for (script, detail) in [
        ("exec 0<&-; echo closed", "sh exited with 0. Output: closed"),
        ("exit 0", "sh exited with 0"),
        ("head -c 3", "sh exited with 0. Output: xxx"),
        ("wc -c", "sh exited with 0. Output: 1048576"),
    ] {
        let outcome = command(&["/bin/sh", "-c", script], 60).send(&notice(&long)).await;
        check_delivered(&outcome, detail);
    }
}

#[tokio::test]
async fn timeout_kills_the_process_group() {
    for trap in ["", "trap '' TERM; "] {
        let directory = TempDir::new().expect("a directory");
        let (path, mut group_pipe) = named_pipe(&directory, "group_pipe");
        let script = format!("{trap}{PROCESS_GROUP}");
        let mut command = command(&["/bin/sh", "-c", &script, utf8(&path)], 30);
        let notice = notice("{}");
        let hang = async {
            wait_for_group(&mut group_pipe).await;
            // Only the deadline is left, so the paused clock jumps to it.
            tokio::time::pause();
        };
        let (outcome, ()) = tokio::join!(command.send(&notice), hang);
        tokio::time::resume();
        let detail = "sh timed out after 30 s";
        check_retry(&outcome, detail);
        wait_for_group_end(group_pipe).await;
    }
}

#[tokio::test]
async fn sends_sigterm_before_sigkill() {
    let directory = TempDir::new().expect("a directory");
    let (path, mut group_pipe) = named_pipe(&directory, "group_pipe");
    let script = "trap 'echo tidied up; exit 0' TERM; echo alive >\"$0\"; while :; do sleep 0.1; done";
    let mut command = command(&["/bin/sh", "-c", script, utf8(&path)], 30);
    let notice = notice("{}");
    let hang = async {
        wait_for_group(&mut group_pipe).await;
        // Advance to the deadline only, because the grace period runs in real time.
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(31)).await;
        tokio::time::resume();
    };
    let (outcome, ()) = tokio::join!(command.send(&notice), hang);
    // Exit code 0 after the deadline is still a timeout.
    let SendOutcome::Transient { reached: true, detail, .. } = &outcome else { panic!("{outcome:?}") };
    assert!(detail.ends_with("Output: tidied up"), "{detail}");
}

#[tokio::test]
async fn dropped_attempt_kills_the_process_group() {
    let directory = TempDir::new().expect("a directory");
    let (path, mut group_pipe) = named_pipe(&directory, "group_pipe");
    let script = format!("trap '' TERM; {PROCESS_GROUP}");
    let mut command = command(&["/bin/sh", "-c", &script, utf8(&path)], 600);
    let notice = notice("{}");
    tokio::select! {
        outcome = command.send(&notice) => panic!("{outcome:?}"),
        () = wait_for_group(&mut group_pipe) => {}
    }
    wait_for_group_end(group_pipe).await;
}

#[tokio::test]
async fn does_not_wait_for_background_processes() {
    let directory = TempDir::new().expect("a directory");
    let (path, mut group_pipe) = named_pipe(&directory, "group_pipe");
    let (cue, _held_open) = named_pipe(&directory, "cue");
    let script = "(read -r cue <\"$1\"; echo \"$cue\" >\"$0\") & echo started";
    let arguments = ["/bin/sh", "-c", script, utf8(&path), utf8(&cue)];
    let outcome = command(&arguments, 60).send(&notice("{}")).await;
    check_delivered(&outcome, "sh exited with 0. Output: started");
    let mut sender = pipe::OpenOptions::new().open_sender(&cue).expect("a pipe");
    sender.write_all(b"alive\n").await.expect("the pipe has room");
    wait_for_group(&mut group_pipe).await;

    // Endless output in the background does not block the channel either.
    let outcome = run_script("yes & echo $!; exit 3").await;
    assert!(matches!(outcome, SendOutcome::Transient { reached: true, .. }), "{outcome:?}");
}

#[tokio::test]
async fn rejects_unstartable_programs_with_advice() {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("notes.txt");
    fs::write(&file, "#!/bin/sh\n").expect("a file");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("permissions");
    let below = file.join("page");
    for (path, detail) in [
        (Path::new("/nowhere/page"), "cannot start page: no such file or directory"),
        (Path::new("page-that-nobody-has"), "check the path, and the interpreter in its first line"),
        (&file, "cannot start notes.txt: permission denied"),
        (&file, "make it executable for the user that statusd runs as"),
        (directory.path(), ": permission denied"),
        (&below, "cannot start page: a component of the path is not a directory"),
    ] {
        let outcome = command(&[utf8(path)], 60).send(&notice("{}")).await;
        check_refused(&outcome, detail);
    }
    for (text, detail) in [
        ("#!/nowhere/interpreter\n", "cannot start page: no such file or directory"),
        ("\u{7f}ELF is what it is not", "cannot start page: exec format error"),
    ] {
        let outcome = command(&[&program(&directory, text)], 60).send(&notice("{}")).await;
        check_refused(&outcome, detail);
    }
}

#[tokio::test]
async fn runs_programs_by_path_and_by_name() {
    let directory = TempDir::new().expect("a directory");
    let own = program(&directory, "#!/bin/sh\necho \"$@\"\n");
    let outcome = command(&[&own, "a  b", "$HOME"], 60).send(&notice("{}")).await;
    check_delivered(&outcome, "page exited with 0. Output: a b $HOME");
    check_delivered(&command(&["true"], 60).send(&notice("{}")).await, "true exited with 0");
}
