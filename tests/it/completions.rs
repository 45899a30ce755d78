//! Shell completions in a real bash: fixed values, and values that statusd looks up.
#![cfg(target_os = "linux")]

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use crate::process::Home;

const CHANNELS: &str =
    "[state]\ndirectory = \"state\"\n[channel.webhook.ops]\nurl = \"https://hooks.example/x\"\n";

/// Creates a home with the completion script, and with statusd in its PATH.
async fn home() -> Home {
    let home = Home::new();
    home.configure(CHANNELS);
    let output = home.run(&["completions", "bash"]).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    fs::write(home.path("statusd.bash"), output.out).expect("written");
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

/// Returns bash's completions of the last of `words`.
#[track_caller]
fn completions(home: &Home, words: &[&str]) -> Vec<String> {
    let script = "source ./statusd.bash; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); COMP_LINE=\"$*\"; \
                  COMP_POINT=${#COMP_LINE}; _statusd_words statusd \"${COMP_WORDS[COMP_CWORD]}\" \
                  \"${COMP_WORDS[COMP_CWORD - 1]}\"; printf '%s\\n' \"${COMPREPLY[@]}\"";
    let output = shell(home, "bash").args(["-c", script, "bash", "statusd"]).args(words).output();
    let output = output.expect("bash starts");
    assert!(output.stderr.is_empty(), "{words:?}: {output:?}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[tokio::test]
async fn bash_completes_fixed_and_dynamic_values() {
    let home = home().await;
    let check =
        |words: &[&str], expected: &[&str]| assert_eq!(completions(&home, words), expected, "{words:?}");
    check(&["chec"], &["check", "check-health"]);
    check(&["check", "icloud b"], &["iCloud Backup"]);
    check(&["check", "iCloud\\ B"], &["iCloud Backup"]);
    check(&["check", "--format", "nag"], &["nagios"]);
    check(&["history", "--service", "=", "Pho"], &["Photos"]);
    check(&["test-notice", ""], &["desktop", "webhook.ops", "log"]);
    check(&["drill", "--channel", "web"], &["webhook.ops"]);
    check(&["guide", "back"], &["back-up-now"]);
    check(&["doctor", "--only", "por"], &["portal"]);
    check(&["doctor", "--only", "portal,clo"], &["portal,clock"]);
    assert!(completions(&home, &["check", "--"]).contains(&"--feed-url".to_owned()));
    // A broken configuration must not print an error into the command line.
    home.configure("wathc = 1");
    check(&["test-notice", "des"], &[]);
    check(&["check", "iCloud B"], &["iCloud Backup"]);
}

/// Returns the options in a help text, with their aliases.
fn options(help: &str) -> BTreeSet<String> {
    let words = help.lines().flat_map(|line| {
        let named = Some(line.trim()).filter(|line| line.starts_with('-'));
        let named = named.and_then(|line| line.split("  ").next());
        let aliases = line.split_once("[alias").and_then(|(_, names)| names.split(']').next());
        named.into_iter().chain(aliases).flat_map(|names| names.split([' ', ',']))
    });
    words.filter(|word| word.starts_with('-')).map(|word| word.trim_end_matches('.').to_owned()).collect()
}

/// Returns the commands in a help text.
fn commands(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| !line.starts_with("Commands")).skip(1);
    let names = lines.take_while(|line| line.starts_with("  ")).filter(|line| !line.starts_with("   "));
    names.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

/// Checks the options of a command and its subcommands against the help. Returns the number of commands.
async fn check_options(home: &Home, path: &mut Vec<String>) -> usize {
    let line: Vec<&str> = path.iter().map(String::as_str).collect();
    let help = home.run(&[&line[..], &["--help"]].concat()).await.out;
    let completed = completions(home, &[&line[..], &["-"]].concat());
    assert_eq!(BTreeSet::from_iter(completed), options(&help), "statusd {}: {help}", line.join(" "));
    let mut count = 1;
    for command in commands(&help) {
        path.push(command);
        count += Box::pin(check_options(home, path)).await;
        path.pop();
    }
    count
}

/// The generated completions ignore hidden options, so they once completed options that the command rejects.
#[tokio::test]
async fn bash_completes_the_options_in_the_help() {
    let count = check_options(&home().await, &mut Vec::new()).await;
    assert!(count > 25, "{count} commands");
}

/// Types into a bash in a pseudo-terminal, because only readline handles Tab.
#[tokio::test]
async fn tab_completes_a_name_with_a_space() {
    let home = home().await;
    let mut terminal = shell(&home, "script");
    terminal.args(["-qec", "bash --norc --noprofile -i", "/dev/null"]).env("TERM", "dumb");
    let mut terminal =
        terminal.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("script (bsdutils)");
    // Control-A moves to the start of the line.
    let typed = b"source ./statusd.bash\nstatusd check iCloud\\ Ba\t\x01printf '<%s>' \nexit\n";
    terminal.stdin.take().expect("a pipe").write_all(typed).expect("typed");
    let output = terminal.wait_with_output().expect("the shell ends");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("<statusd><check><iCloud Backup>"), "{text}");
}
