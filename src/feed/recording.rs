//! Recordings of the feed: JSON Lines, `{"at": RFC 3339, "body": text}`, plain or read from gzip or zstd.
//!
//! Between two lines the feed did not change. The daemon adds `poll` and records every poll that had an
//! effect, so that a replay polls when the daemon did. `recorder` writes recordings.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::cause::cannot;
use crate::regular_file;

/// Longer than any fetched document after escaping.
const MAX_LINE_BYTES: u64 = 32 * 1024 * 1024;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// The content of the feed from a time on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Line {
    /// UTC.
    pub at: Timestamp,
    /// The document as received; empty if the poll failed.
    pub body: String,
    /// The daemon's poll; missing in other recordings. No poll between this line and the next had an
    /// effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poll: Option<Poll>,
}

/// Facts about a poll of the daemon that its document does not contain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Poll {
    /// Set in the first poll after a start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<Start>,
    /// Seconds by which the clock was set since the previous poll.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_set_s: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<PollFailure>,
}

/// The kind of a start of statusd. Each start discards unconfirmed changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// The database had no accepted document yet.
    New,
    Resumed,
}

/// The reason why a poll got no document.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct PollFailure {
    /// The fault is ours, not Apple's.
    pub ours: bool,
    pub reason: String,
    /// Seconds since the previous poll, without sleep.
    pub awake_s: u64,
}

/// A recording being read, in one or several files.
pub struct Recording {
    /// The files that are not open yet, in order.
    paths: std::vec::IntoIter<PathBuf>,
    source: Source,
    /// The error of a truncated first line, until a complete line shows that the file is a recording.
    truncated: Option<anyhow::Error>,
    has_line: bool,
}

impl Recording {
    /// Opens plain, gzip or zstd files, recognised by their first bytes. `-` is standard input.
    ///
    /// # Errors
    ///
    /// The first file cannot be read. The others are opened when their turn comes.
    pub fn open(paths: Vec<PathBuf>) -> Result<Recording> {
        let mut paths = paths.into_iter();
        let first = paths.next().unwrap_or_else(|| PathBuf::from("/dev/null"));
        Ok(Recording { source: Source::open(&first)?, paths, truncated: None, has_line: false })
    }

    /// Returns the next line, or `None` at the end. Skips a truncated line with a warning, because a kill or
    /// a power failure leaves one.
    pub fn next_line(&mut self) -> Result<Option<Line>> {
        loop {
            let Some(bytes) = self.source.next_bytes()? else {
                match (self.paths.next(), self.truncated.take()) {
                    (Some(path), truncated) => {
                        self.source = Source::open(&path)?;
                        self.truncated = truncated;
                        continue;
                    }
                    (None, Some(error)) => return Err(error),
                    (None, None) => return Ok(None),
                }
            };
            if bytes.trim_ascii().is_empty() {
                continue;
            }
            let invalid = || anyhow!(self.source.at_line("invalid line: expected {\"at\": …, \"body\": …}"));
            match serde_json::from_slice(bytes.trim_ascii_end()) {
                Ok(line) => {
                    (self.truncated, self.has_line) = (None, true);
                    return Ok(Some(line));
                }
                // After a restart, the daemon appends below the truncated line.
                Err(error) if error.is_eof() => {
                    tracing::warn!("{}", self.source.at_line("truncated line skipped"));
                    self.truncated = (!self.has_line).then(invalid);
                }
                Err(_) => return Err(invalid()),
            }
        }
    }
}

/// One file of a recording.
struct Source {
    lines: Box<dyn BufRead>,
    path: PathBuf,
    number: u64,
}

impl Source {
    fn open(path: &Path) -> Result<Source> {
        let cannot_read = |error: io::Error| anyhow!(cannot(format!("read {}", path.display()), &error));
        let source: Box<dyn Read> = if path == Path::new("-") {
            Box::new(io::stdin())
        } else {
            Box::new(open(path).map_err(cannot_read)?)
        };
        let mut source = BufReader::new(source);
        let start = source.fill_buf().map_err(cannot_read)?;
        let lines: Box<dyn BufRead> = if start.starts_with(&GZIP_MAGIC) {
            Box::new(BufReader::new(flate2::bufread::MultiGzDecoder::new(source)))
        } else if start.starts_with(&ZSTD_MAGIC) {
            let decoder = ruzstd::decoding::StreamingDecoder::new(source)
                .map_err(|_| anyhow!("{}: damaged zstd file", path.display()))?;
            Box::new(BufReader::new(decoder))
        } else {
            Box::new(source)
        };
        Ok(Source { lines, path: path.to_owned(), number: 0 })
    }

    /// Returns the bytes of the next line, or `None` at the end.
    fn next_bytes(&mut self) -> Result<Option<Vec<u8>>> {
        let mut bytes = Vec::new();
        let mut limited = (&mut self.lines).take(MAX_LINE_BYTES);
        let read = limited.read_until(b'\n', &mut bytes);
        read.map_err(|error| anyhow!(self.at_line(&cannot("read the recording", &error))))?;
        self.number += 1;
        Ok((!bytes.is_empty()).then_some(bytes))
    }

    /// Prefixes a message with the path and the line number.
    fn at_line(&self, message: &str) -> String {
        format!("{}:{}: {message}", self.path.display(), self.number)
    }
}

fn open(path: &Path) -> io::Result<File> {
    regular_file::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidInput => io::Error::other(format!("{error}; pipe it into standard input (-)")),
        _ => error,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write as _;

    use super::*;

    pub fn read_all(paths: Vec<PathBuf>) -> Result<Vec<Line>> {
        let mut recording = Recording::open(paths)?;
        std::iter::from_fn(|| recording.next_line().transpose()).collect()
    }

    #[test]
    fn gzip_and_plain_read_alike() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("feed.jsonl.gz");
        let mut gzip =
            flate2::write::GzEncoder::new(File::create(&path).expect("a file"), Default::default());
        gzip.write_all(b"{\"at\":\"2026-01-01T00:00:00Z\",\"body\":\"a\"}\n").expect("written");
        gzip.finish().expect("finished");
        assert_eq!(read_all(vec![path.clone(), path]).expect("readable").len(), 2);
    }
}
