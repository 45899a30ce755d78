//! The free iCloud storage of a Mac's own Apple Account.
//!
//! Runs `brctl quota`, with a timeout because it may hang. Never asks for an Apple Account. Output in
//! another form than the known one gives [`Storage::Unknown`].

use std::time::Duration;

use crate::cause::cannot;
use crate::process::{Capture, Exit, Subprocess};
use crate::text;

/// An absolute path, so that no other `brctl` is run.
const BRCTL: &str = "/usr/bin/brctl";
const TIMEOUT: Duration = Duration::from_secs(5);
const OUTPUT_MAX_BYTES: usize = 4 << 10;
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

/// Reads the free storage on macOS.
pub async fn ask() -> Storage {
    if cfg!(target_os = "macos") { run(BRCTL, TIMEOUT).await } else { Storage::NotHere }
}

/// Runs `brctl quota`.
async fn run(brctl: &str, timeout: Duration) -> Storage {
    let subprocess = Subprocess {
        program: brctl,
        arguments: &["quota".to_owned()],
        variables: &[],
        input: b"",
        timeout,
        capture: Capture::Stdout(OUTPUT_MAX_BYTES),
    };
    let finished = match subprocess.run().await {
        Ok(finished) => finished,
        Err(error) => {
            return Storage::Unknown(text::plain_line(&cannot("run brctl", &error), MAX_WORDS_CHARS));
        }
    };
    if let Exit::TimedOut(timeout) = finished.exit {
        return Storage::Unknown(format!("brctl did not respond within {} s", timeout.as_secs_f64()));
    }
    let text = String::from_utf8_lossy(finished.output());
    parse(&text).map_or_else(
        || Storage::Unknown(format!("brctl printed: {}", text::plain_line(&text, MAX_WORDS_CHARS))),
        Storage::Left,
    )
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

    fn program(folder: &TempDir, script: &str) -> String {
        let path = folder.path().join("brctl");
        // Written under another name and moved, because a file that is open for writing cannot be run.
        let draft = folder.path().join("draft");
        fs::write(&draft, format!("#!/bin/sh\n{script}\n")).expect("written");
        fs::set_permissions(&draft, fs::Permissions::from_mode(0o755)).expect("made a program");
        fs::rename(&draft, &path).expect("moved");
        path.display().to_string()
    }

    #[track_caller]
    fn check(storage: &Storage, expected: &str) {
        let Storage::Unknown(words) = storage else { panic!("{storage:?}") };
        assert!(words.starts_with(expected) && words.chars().count() < 300, "{words}");
    }

    #[tokio::test]
    async fn reads_the_quota_and_reports_every_failure() {
        let folder = TempDir::new().expect("a folder");
        let (long, short) = (Duration::from_secs(60), Duration::from_millis(300));
        let good = program(
            &folder,
            "[ \"$*\" = quota ] && echo 5000000000 bytes of quota remaining in personal account",
        );
        assert_eq!(run(&good, long).await, Storage::Left(5_000_000_000));
        let bad = program(&folder, "printf 'no\\033[31m account\\n'; exit 1");
        check(&run(&bad, long).await, "brctl printed: no[31m account");
        for script in ["exec yes", "exec sleep 600"] {
            check(&run(&program(&folder, script), short).await, "brctl did not respond within 0.3 s");
        }
        check(&run("/nonexistent/brctl", long).await, "cannot run brctl: no such file");
    }

    #[tokio::test]
    async fn asks_only_macos() {
        if !cfg!(target_os = "macos") {
            assert_eq!(ask().await, Storage::NotHere);
        }
    }
}
