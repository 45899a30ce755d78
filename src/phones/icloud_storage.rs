//! The free iCloud storage of a Mac's own Apple Account.
//!
//! Runs `brctl quota`, with a timeout because it may hang. Never asks for an Apple Account. Output in
//! another form than the known one gives [`Storage::Unknown`].

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::time::timeout;

use crate::cause::cannot;
use crate::text;

/// Where macOS has it; no other `brctl` is meant.
pub const BRCTL: &str = "/usr/bin/brctl";
pub const WITHIN: Duration = Duration::from_secs(5);
const OUTPUT_MAX_BYTES: u64 = 4 << 10;
const MAX_WORDS_CHARS: usize = 200;
const WORDS: &str = "bytes of quota remaining";

/// The free iCloud storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Storage {
    /// Free bytes.
    Left(u64),
    /// Not a Mac.
    NotHere,
    /// The reason why a Mac could not read it, in one line.
    Unknown(String),
}

/// On a Mac asks it.
pub async fn look() -> Storage {
    if cfg!(target_os = "macos") { ask(Path::new(BRCTL), WITHIN).await } else { Storage::NotHere }
}

/// Runs `brctl quota`; a program that is not done in time is killed.
pub async fn ask(brctl: &Path, within: Duration) -> Storage {
    match timeout(within, said(brctl)).await {
        Ok(Ok(text)) => parse(&text).map_or_else(
            || Storage::Unknown(format!("brctl printed: {}", text::plain_line(&text, MAX_WORDS_CHARS))),
            Storage::Left,
        ),
        Ok(Err(error)) => Storage::Unknown(text::plain_line(&cannot("run brctl", &error), MAX_WORDS_CHARS)),
        Err(_) => Storage::Unknown(format!("brctl did not respond within {} s", within.as_secs_f64())),
    }
}

async fn said(brctl: &Path) -> std::io::Result<String> {
    let mut child = Command::new(brctl)
        .arg("quota")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let mut bytes = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(OUTPUT_MAX_BYTES).read_to_end(&mut bytes).await?;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Parses a line like `12345 bytes of quota remaining in personal account`.
pub fn parse(text: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (number, rest) = line.trim().split_once(' ')?;
        let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
        if is_number && rest.starts_with(WORDS) { number.parse().ok() } else { None }
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn only_known_words_are_read() {
        for (text, expected) in [
            ("12345 bytes of quota remaining in personal account", Some(12_345)),
            ("12345 bytes of quota remaining in personal account\n", Some(12_345)),
            ("warning: x\n 0 bytes of quota remaining\n", Some(0)),
            ("18446744073709551615 bytes of quota remaining", Some(u64::MAX)),
            ("18446744073709551616 bytes of quota remaining", None),
            ("-5 bytes of quota remaining", None),
            ("+5 bytes of quota remaining", None),
            ("5 GB of quota remaining", None),
            ("5 bytes of quota used", None),
            ("bytes of quota remaining", None),
            ("could not connect to the account", None),
            ("", None),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }

    fn program(folder: &TempDir, script: &str) -> PathBuf {
        let path = folder.path().join("brctl");
        // Written under another name and moved, because a file that is open for writing cannot be run.
        let draft = folder.path().join("draft");
        fs::write(&draft, format!("#!/bin/sh\n{script}\n")).expect("written");
        fs::set_permissions(&draft, fs::Permissions::from_mode(0o755)).expect("made a program");
        fs::rename(&draft, &path).expect("moved");
        path
    }

    #[track_caller]
    fn check(storage: &Storage, expected: &str) {
        let Storage::Unknown(words) = storage else { panic!("{storage:?}") };
        assert!(words.starts_with(expected) && words.chars().count() < 300, "{words}");
    }

    #[tokio::test]
    async fn the_program_is_asked_and_not_waited_for() {
        let folder = TempDir::new().expect("a folder");
        let long = Duration::from_secs(60);
        let good = program(
            &folder,
            "[ \"$*\" = quota ] && echo 5000000000 bytes of quota remaining in personal account",
        );
        assert_eq!(ask(&good, long).await, Storage::Left(5_000_000_000));
        let bad = program(&folder, "printf 'no\\033[31m account\\n'; exit 1");
        check(&ask(&bad, long).await, "brctl printed: no[31m account");
        let endless = program(&folder, "exec yes");
        check(&ask(&endless, long).await, "brctl printed: y y y");
        let hangs = program(&folder, "exec sleep 600");
        check(&ask(&hangs, Duration::from_millis(300)).await, "brctl did not respond within 0.3 s");
        check(&ask(&folder.path().join("nothing"), long).await, "cannot run brctl: no such file");
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn who_is_not_waited_for_is_killed() {
        let folder = TempDir::new().expect("a folder");
        let file = folder.path().join("pid");
        let hangs = program(&folder, &format!("echo $$ > {}; exec sleep 600", file.display()));
        let started = async {
            loop {
                let pid = fs::read_to_string(&file).unwrap_or_default();
                if pid.ends_with('\n') {
                    return pid.trim().to_owned();
                }
                tokio::task::yield_now().await;
            }
        };
        let pid = tokio::select! {
            storage = ask(&hangs, Duration::from_secs(60)) => panic!("{storage:?}"),
            pid = started => pid,
        };
        let is_alive = || {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
        };
        let gone = async {
            while is_alive() {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(60), gone).await.expect("killed");
    }

    #[tokio::test]
    async fn elsewhere_nobody_is_asked() {
        if !cfg!(target_os = "macos") {
            assert_eq!(look().await, Storage::NotHere);
        }
    }
}
