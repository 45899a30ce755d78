//! Writes a recording of the feed (`recording` reads it).
//!
//! Lines are written whole and uncompressed, so that a power failure can damage only the last line.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use tokio::task::spawn_blocking;

use super::recording::{Line, Poll};
use crate::regular_file;

/// A recording being written.
pub struct Recorder {
    path: PathBuf,
    /// The newest document.
    body: Option<String>,
    /// The newest document is already in the recording.
    is_written: bool,
}

impl Recorder {
    pub fn new(path: &Path) -> Recorder {
        Recorder { path: path.to_owned(), body: None, is_written: false }
    }

    /// Appends a poll and syncs the file. Skips an idle poll (one without effect) if the recording has its
    /// document or the poll failed. `body`: `None` if the document was unchanged or unreadable.
    pub async fn record(
        &mut self,
        at: Timestamp,
        body: Option<&str>,
        poll: Poll,
        is_idle: bool,
    ) -> io::Result<()> {
        if let Some(body) = body.filter(|body| self.body.as_deref() != Some(*body)) {
            self.body = Some(body.to_owned());
            self.is_written = false;
        }
        let has_failed = poll.failure.is_some();
        if is_idle && (self.is_written || has_failed) {
            return Ok(());
        }
        let body = if has_failed { String::new() } else { self.body.clone().unwrap_or_default() };
        let (path, line) = (self.path.clone(), Line { at, body, poll: Some(poll) });
        // Blocking: escapes up to a megabyte, and syncs.
        spawn_blocking(move || append(&path, &line)).await.map_err(io::Error::other)??;
        self.is_written |= !has_failed;
        Ok(())
    }
}

fn append(path: &Path, line: &Line) -> io::Result<()> {
    regular_file::check(path)?;
    let mut file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
    let mut bytes = Vec::with_capacity(line.body.len() + 128);
    if !ends_with_line_feed(&mut file)? {
        bytes.push(b'\n');
    }
    serde_json::to_writer(&mut bytes, line)?;
    bytes.push(b'\n');
    file.write_all(&bytes)?;
    file.sync_data()
}

fn ends_with_line_feed(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::recording::tests::read_all;
    use crate::feed::recording::{PollFailure, Start};

    #[tokio::test]
    async fn reads_what_was_written_without_polls_that_had_no_effect() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("feed.jsonl");
        let at = |second| Timestamp::from_second(second).expect("a time");
        let failed = PollFailure { ours: false, reason: "no answer".to_owned(), awake_s: 30 };
        let first = Poll { start: Some(Start::New), ..Poll::default() };
        let lost = Poll { failure: Some(failed), ..Poll::default() };
        let set = Poll { clock_set_s: Some(-60), ..Poll::default() };
        let later = Poll::default();
        let same = "{\"a\": \"é\n\"}";
        let document = Some(same);
        let mut recorder = Recorder::new(&path);
        for (second, body, poll, is_idle) in [
            (0, document, &first, false),
            (60, document, &later, true),
            (120, None, &later, true),
            (165, None, &later, false),
            (180, None, &lost, false),
            (210, None, &lost, true),
            (240, document, &set, false),
            (300, Some("b"), &later, true),
            (360, Some("b"), &later, true),
        ] {
            recorder.record(at(second), body, poll.clone(), is_idle).await.expect("written");
        }
        let expected =
            [(0, same, &first), (165, same, &later), (180, "", &lost), (240, same, &set), (300, "b", &later)];
        let expected =
            expected.map(|(s, body, poll)| Line { at: at(s), body: body.into(), poll: Some(poll.clone()) });
        assert_eq!(read_all(&path).expect("readable"), expected);
    }

    #[tokio::test]
    async fn a_truncated_line_is_skipped() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("feed.jsonl");
        let whole = "{\"at\":\"2026-01-01T00:00:00Z\",\"body\":\"a\"}\n";
        std::fs::write(&path, format!("{whole}{{\"at\":\"2026-01-01T00:0")).expect("written");
        assert_eq!(read_all(&path).expect("readable").len(), 1);
        let mut recorder = Recorder::new(&path);
        recorder.record(Timestamp::UNIX_EPOCH, Some("b"), Poll::default(), true).await.expect("written");
        let bodies: Vec<String> =
            read_all(&path).expect("readable").into_iter().map(|line| line.body).collect();
        assert_eq!(bodies, ["a", "b"]);
    }
}
