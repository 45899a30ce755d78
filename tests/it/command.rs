//! The command channel with real programs: their input, how they end, and what they leave running.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command as Process;
use std::time::Duration;

use crate::common::http_server::patient;
use statusd::channel::Transport as _;
use statusd::channel::command::Command;
use statusd::channel::command::Settings;
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

fn command(command: &[&str], within_s: u64) -> Command {
    let command = command.iter().map(|&word| word.to_owned()).collect();
    Command::new(&Settings { command, within_s }).expect("a command")
}

fn utf8(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// What comes of a script that is given `{}`.
async fn ran(script: &str) -> SendOutcome {
    let answer = command(&["/bin/sh", "-c", script], 60).send(&notice("{}")).await;
    assert!(!answer.words().contains(char::is_control), "{answer:?}");
    answer
}

#[track_caller]
fn check_delivered(answer: &SendOutcome, words: &str) {
    assert_eq!(answer, &SendOutcome::Delivered { receipt: None, words: words.to_owned() });
}

#[track_caller]
fn check_retry(answer: &SendOutcome, words: &str) {
    let words = words.to_owned();
    assert_eq!(answer, &SendOutcome::Transient { after_s: None, reached: true, words });
}

#[track_caller]
fn check_refused(answer: &SendOutcome, words: &str) {
    let SendOutcome::Permanent { words: said } = answer else { panic!("not refused: {answer:?}") };
    assert!(said.contains(words), "{said}");
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

/// Holds the lifeline, has a child and a grandchild in the background that hold it too, says so
/// through it, and hangs.
const FAMILY: &str = "exec 3>\"$0\"; (sleep 1000 & sleep 1000) & echo alive >&3; sleep 1000; echo survived";

async fn family_is_up(lifeline: &mut pipe::Receiver) {
    let mut line = [0; 6];
    patient(lifeline.read_exact(&mut line)).await.expect("a line");
    assert_eq!(&line, b"alive\n");
}

/// Nobody is left who could write: everybody is gone.
async fn family_is_gone(mut lifeline: pipe::Receiver) {
    let mut rest = Vec::new();
    patient(lifeline.read_to_end(&mut rest)).await.expect("the end");
    assert_eq!(rest, b"");
}

#[tokio::test]
async fn the_change_is_on_standard_input_and_in_the_environment() {
    let directory = TempDir::new().expect("a directory");
    let payload =
        r#"{"version":1,"kind":"began","service":"$(touch /x) `x`; 'é'","key":"k/1","ended_at":null}"#;
    let script = "set -u; cat >\"$1/input\"; env -0 >\"$1/variables\"; pwd; echo \"$STATUSD_ENDED_AT.\"";
    let path = directory.path().to_str().expect("a path in UTF-8");
    let answer = command(&["/bin/sh", "-c", script, "sh", path], 60).send(&notice(payload)).await;

    check_delivered(&answer, "sh exited with 0. It says: .");
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
async fn it_runs_in_the_root_directory_in_a_group_of_its_own() {
    check_delivered(&ran("pwd").await, "sh exited with 0. It says: /");
    // There is a group of the shell's own number.
    check_delivered(&ran("kill -0 -$$ && echo leads").await, "sh exited with 0. It says: leads");
}

/// Starts the real program like systemd does, with variables that commands must not see.
#[test]
fn nothing_else_of_statusds_environment_gets_through() {
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
async fn every_exit_code_has_its_meaning() {
    for code in 0..=255 {
        let answer = ran(&format!("exit {code}")).await;
        let exited = format!("sh exited with {code}");
        let is_as_meant = match (code, &answer) {
            (0, SendOutcome::Delivered { receipt: None, words }) => *words == exited,
            (64 | 65 | 77 | 78 | 126 | 127, SendOutcome::Permanent { words }) => {
                words.starts_with(&format!("{exited}; that says: ")) && words.contains("; ")
            }
            (75, SendOutcome::Transient { after_s: None, reached: true, words }) => {
                *words == format!("{exited}; that says: try again later")
            }
            (0 | 64 | 65 | 75 | 77 | 78 | 126 | 127, _) => false,
            (_, SendOutcome::Transient { after_s: None, reached: true, words }) => *words == exited,
            _ => false,
        };
        assert!(is_as_meant, "{code}: {answer:?}");
    }
}

#[tokio::test]
async fn a_killed_program_may_be_run_again() {
    check_retry(&ran("echo half; kill -9 $$").await, "sh was killed by signal 9. It says: half");
}

#[tokio::test]
async fn the_last_line_of_either_output_is_its_word() {
    check_retry(&ran("echo one; echo two >&2; echo; exit 1").await, "sh exited with 1. It says: two");
    check_delivered(&ran("echo two >&2; echo one; echo '  ' >&2").await, "sh exited with 0. It says: one");
    check_delivered(&ran("printf '10%%\\r50%%\\r'").await, "sh exited with 0. It says: 50%");
    check_delivered(
        &ran("printf 'a\\033[31mb\\376\\377\\342\\200\\256c'").await,
        "sh exited with 0. It says: a[31mb\u{fffd}\u{fffd}c",
    );
}

#[tokio::test]
async fn a_flood_of_output_is_read_to_its_end() {
    let answer = ran("head -c 10000000 /dev/zero | tr '\\0' x; echo; echo done").await;
    check_delivered(&answer, "sh exited with 0. It says: done");
    let answer = ran("echo one; head -c 1000 /dev/zero | tr '\\0' x").await;
    let words = answer.words();
    assert!(words.chars().count() < 300 && words.ends_with("x…"), "{words}");
}

#[tokio::test]
async fn output_without_end_is_ended() {
    let answer = command(&["yes", "more"], 1).send(&notice("{}")).await;
    let SendOutcome::Transient { after_s: None, reached: true, words } = &answer else {
        panic!("{answer:?}")
    };
    assert!(words.starts_with("yes ran for more than 1 s and was ended; give it more time"), "{words}");
    assert!(words.chars().count() < 300, "{words}");
}

#[tokio::test]
async fn a_program_need_not_read_its_input() {
    // More than a pipe holds.
    let long = "x".repeat(1 << 20);
    for (script, words) in [
        ("exec 0<&-; echo deaf", "sh exited with 0. It says: deaf"),
        ("exit 0", "sh exited with 0"),
        ("head -c 3", "sh exited with 0. It says: xxx"),
        ("wc -c", "sh exited with 0. It says: 1048576"),
    ] {
        let answer = command(&["/bin/sh", "-c", script], 60).send(&notice(&long)).await;
        check_delivered(&answer, words);
    }
}

#[tokio::test]
async fn the_time_limit_ends_the_whole_family() {
    for stubborn in ["", "trap '' TERM; "] {
        let directory = TempDir::new().expect("a directory");
        let (path, mut lifeline) = named_pipe(&directory, "lifeline");
        let script = format!("{stubborn}{FAMILY}");
        let mut command = command(&["/bin/sh", "-c", &script, utf8(&path)], 30);
        let notice = notice("{}");
        let hang = async {
            family_is_up(&mut lifeline).await;
            // Nothing is left to happen but the deadline: the clock jumps there.
            tokio::time::pause();
        };
        let (answer, ()) = tokio::join!(command.send(&notice), hang);
        tokio::time::resume();
        let words = "sh ran for more than 30 s and was ended; give it more time in the config if it needs it";
        check_retry(&answer, words);
        family_is_gone(lifeline).await;
    }
}

#[tokio::test]
async fn a_program_is_asked_to_end_before_it_is_killed() {
    let directory = TempDir::new().expect("a directory");
    let (path, mut lifeline) = named_pipe(&directory, "lifeline");
    let script = "trap 'echo tidied up; exit 0' TERM; echo alive >\"$0\"; while :; do sleep 0.1; done";
    let mut command = command(&["/bin/sh", "-c", script, utf8(&path)], 30);
    let notice = notice("{}");
    let hang = async {
        family_is_up(&mut lifeline).await;
        // To the deadline and no further: the time to tidy up is real.
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(31)).await;
        tokio::time::resume();
    };
    let (answer, ()) = tokio::join!(command.send(&notice), hang);
    // Whatever it says now, it was too late.
    let SendOutcome::Transient { reached: true, words, .. } = &answer else { panic!("{answer:?}") };
    assert!(words.ends_with("It says: tidied up"), "{words}");
}

#[tokio::test]
async fn a_try_that_is_dropped_takes_the_whole_family_along() {
    let directory = TempDir::new().expect("a directory");
    let (path, mut lifeline) = named_pipe(&directory, "lifeline");
    let script = format!("trap '' TERM; {FAMILY}");
    let mut command = command(&["/bin/sh", "-c", &script, utf8(&path)], 600);
    let notice = notice("{}");
    tokio::select! {
        answer = command.send(&notice) => panic!("{answer:?}"),
        () = family_is_up(&mut lifeline) => {}
    }
    family_is_gone(lifeline).await;
}

#[tokio::test]
async fn what_stays_in_the_background_is_left_alone_and_not_waited_for() {
    let directory = TempDir::new().expect("a directory");
    let (path, mut lifeline) = named_pipe(&directory, "lifeline");
    let (cue, _held_open) = named_pipe(&directory, "cue");
    let script = "(read -r cue <\"$1\"; echo \"$cue\" >\"$0\") & echo started";
    let words = ["/bin/sh", "-c", script, utf8(&path), utf8(&cue)];
    let answer = command(&words, 60).send(&notice("{}")).await;
    check_delivered(&answer, "sh exited with 0. It says: started");
    let mut sender = pipe::OpenOptions::new().open_sender(&cue).expect("a pipe");
    sender.write_all(b"alive\n").await.expect("the pipe has room");
    family_is_up(&mut lifeline).await;

    // One that never stops talking does not hold us either.
    let answer = ran("yes & echo $!; exit 3").await;
    assert!(matches!(answer, SendOutcome::Transient { reached: true, .. }), "{answer:?}");
}

#[tokio::test]
async fn what_cannot_be_started_is_refused_with_what_to_do() {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("notes.txt");
    fs::write(&file, "#!/bin/sh\n").expect("a file");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("permissions");
    let below = file.join("page");
    for (path, words) in [
        (Path::new("/nowhere/page"), "page cannot be started: no such file or directory"),
        (Path::new("page-that-nobody-has"), "check the path, and the interpreter in its first line"),
        (&file, "notes.txt cannot be started: permission denied"),
        (&file, "make it executable for the user that statusd runs as"),
        (directory.path(), "cannot be started: permission denied"),
        (&below, "page cannot be started: a component of the path is not a directory"),
    ] {
        let answer = command(&[utf8(path)], 60).send(&notice("{}")).await;
        check_refused(&answer, words);
    }
    for (text, words) in [
        ("#!/nowhere/interpreter\n", "page cannot be started: no such file or directory"),
        ("\u{7f}ELF is what it is not", "page cannot be started: exec format error"),
    ] {
        let answer = command(&[&program(&directory, text)], 60).send(&notice("{}")).await;
        check_refused(&answer, words);
    }
}

#[tokio::test]
async fn a_program_of_its_own_and_one_from_path_both_run() {
    let directory = TempDir::new().expect("a directory");
    let own = program(&directory, "#!/bin/sh\necho \"$@\"\n");
    let answer = command(&[&own, "a  b", "$HOME"], 60).send(&notice("{}")).await;
    check_delivered(&answer, "page exited with 0. It says: a b $HOME");
    check_delivered(&command(&["true"], 60).send(&notice("{}")).await, "true exited with 0");
}
