//! The completions of the shells, as bash runs them: words that are fixed and words that are not.
#![cfg(target_os = "linux")]

mod common;
#[expect(dead_code, reason = "completions need no daemon")]
mod program;

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use program::Home;

const CHANNELS: &str =
    "[state]\ndirectory = \"state\"\n[channel.webhook.ops]\nurl = \"https://hooks.example/x\"\n";

/// A home with the completions of a shell and a directory of programs with statusd in it.
async fn home() -> Home {
    let home = Home::new();
    home.configure(CHANNELS);
    let said = home.ask(&["completions", "bash"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    fs::write(home.path("statusd.bash"), said.out).expect("written");
    fs::create_dir(home.path("bin")).expect("a directory");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_statusd"), home.path("bin/statusd")).expect("a link");
    home
}

fn shell(home: &Home, program: &str) -> Command {
    let mut shell = Command::new(program);
    shell
        .env_clear()
        .env("HOME", home.path(""))
        .env("PATH", format!("{}:/usr/bin:/bin", home.path("bin").display()))
        .env("STATUSD_CONFIG", home.path("statusd.toml"))
        .current_dir(home.path(""));
    shell
}

/// What bash offers for the last of `words`.
#[track_caller]
fn offered(home: &Home, words: &[&str]) -> Vec<String> {
    let script = "source ./statusd.bash; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); COMP_LINE=\"$*\"; \
                  COMP_POINT=${#COMP_LINE}; _statusd_words statusd \"${COMP_WORDS[COMP_CWORD]}\" \
                  \"${COMP_WORDS[COMP_CWORD - 1]}\"; printf '%s\\n' \"${COMPREPLY[@]}\"";
    let output = shell(home, "bash").args(["-c", script, "bash", "statusd"]).args(words).output();
    let output = output.expect("bash is there");
    assert!(output.stderr.is_empty(), "{words:?}: {output:?}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[tokio::test]
async fn bash_offers_fixed_words_and_those_that_statusd_knows() {
    let home = home().await;
    let check = |words: &[&str], expected: &[&str]| assert_eq!(offered(&home, words), expected, "{words:?}");
    check(&["chec"], &["check"]);
    check(&["check", "icloud b"], &["iCloud Backup"]);
    check(&["check", "iCloud\\ B"], &["iCloud Backup"]);
    check(&["check", "--format", "nag"], &["nagios"]);
    check(&["history", "--service", "=", "Pho"], &["Photos"]);
    check(&["test-notice", ""], &["desktop", "webhook.ops", "log"]);
    check(&["drill", "--channel", "web"], &["webhook.ops"]);
    check(&["guide", "back"], &["back-up-now"]);
    check(&["doctor", "--only", "por"], &["portal"]);
    check(&["doctor", "--only", "portal,clo"], &["portal,clock"]);
    assert!(offered(&home, &["check", "--"]).contains(&"--feed-url".to_owned()));
    // A broken configuration is no reason to print an error into a command line.
    home.configure("wathc = 1");
    check(&["test-notice", "des"], &[]);
    check(&["check", "iCloud B"], &["iCloud Backup"]);
}

/// In a terminal of its own: what is typed, Tab among it, is what readline makes of it.
#[tokio::test]
async fn a_tab_in_a_terminal_completes_a_name_with_a_blank() {
    let home = home().await;
    let mut terminal = shell(&home, "script");
    terminal.args(["-qec", "bash --norc --noprofile -i", "/dev/null"]).env("TERM", "dumb");
    let mut terminal =
        terminal.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("script (bsdutils)");
    // Control-A goes to the beginning of the line.
    let typed = b"source ./statusd.bash\nstatusd check iCloud\\ Ba\t\x01printf '<%s>' \nexit\n";
    terminal.stdin.take().expect("a pipe").write_all(typed).expect("typed");
    let output = terminal.wait_with_output().expect("it ends");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("<statusd><check><iCloud Backup>"), "{text}");
}
