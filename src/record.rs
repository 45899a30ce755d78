//! Recordings of the feed: JSON Lines, `{"at": RFC 3339, "body": text}`, read plain, gzip or zstd.
//!
//! Between two lines the feed did not change. Written plain, one whole line at a time, so that a
//! recording cut off by a power failure loses its last line and no other.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::regular_file;

/// Longer than any document we would fetch, escaped.
const MAX_LINE_BYTES: u64 = 32 * 1024 * 1024;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// What the feed showed from a moment on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Line {
    /// UTC.
    pub at: Timestamp,
    /// The document as it came.
    pub body: String,
}

/// A recording being read.
pub struct Recording {
    lines: Box<dyn BufRead>,
    path: PathBuf,
    number: u64,
}

impl Recording {
    /// Opens a plain, gzip or zstd file, told apart by their first bytes; `-` is standard input.
    pub fn open(path: &Path) -> Result<Recording> {
        let source: Box<dyn Read> = if path == Path::new("-") {
            Box::new(io::stdin())
        } else {
            Box::new(open(path).with_context(|| format!("cannot read {}", path.display()))?)
        };
        let mut source = BufReader::new(source);
        let start = source.fill_buf().with_context(|| format!("cannot read {}", path.display()))?;
        let lines: Box<dyn BufRead> = if start.starts_with(&GZIP_MAGIC) {
            Box::new(BufReader::new(flate2::bufread::MultiGzDecoder::new(source)))
        } else if start.starts_with(&ZSTD_MAGIC) {
            let decoder = ruzstd::decoding::StreamingDecoder::new(source)
                .map_err(|error| anyhow!("{}: damaged zstd file: {error}", path.display()))?;
            Box::new(BufReader::new(decoder))
        } else {
            Box::new(source)
        };
        Ok(Recording { lines, path: path.to_owned(), number: 0 })
    }

    /// The next line; `None` at the end. A last line without its line feed that cannot be read is
    /// what a power failure leaves: a warning, not an error.
    pub fn next_line(&mut self) -> Result<Option<Line>> {
        loop {
            let mut bytes = Vec::new();
            let mut limited = (&mut self.lines).take(MAX_LINE_BYTES);
            limited.read_until(b'\n', &mut bytes).with_context(|| self.place("cannot read on"))?;
            if bytes.is_empty() {
                return Ok(None);
            }
            self.number += 1;
            if bytes.trim_ascii().is_empty() {
                continue;
            }
            return match serde_json::from_slice(bytes.trim_ascii_end()) {
                Ok(line) => Ok(Some(line)),
                // The daemon writes on below it.
                Err(error) if error.is_eof() && self.number > 1 => {
                    tracing::warn!("{}", self.place("a line is cut off and left out"));
                    continue;
                }
                Err(error) => bail!(
                    "{}",
                    self.place(&format!("not a recorded document, {{\"at\": …, \"body\": …}}: {error}"))
                ),
            };
        }
    }

    fn place(&self, what: &str) -> String {
        format!("{}:{}: {what}", self.path.display(), self.number)
    }
}

fn open(path: &Path) -> io::Result<File> {
    regular_file::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidInput => io::Error::other(format!("{error}; pipe it into standard input (-)")),
        _ => error,
    })
}

/// A recording being written.
pub struct Recorder {
    path: PathBuf,
    last: Option<String>,
}

impl Recorder {
    pub fn new(path: &Path) -> Recorder {
        Recorder { path: path.to_owned(), last: None }
    }

    /// Appends the document if it differs from the one before, synced to disk.
    pub fn record(&mut self, at: Timestamp, body: &str) -> io::Result<()> {
        if self.last.as_deref() == Some(body) {
            return Ok(());
        }
        regular_file::check(&self.path)?;
        let mut file = OpenOptions::new().create(true).read(true).append(true).open(&self.path)?;
        let mut bytes = Vec::with_capacity(body.len() + 64);
        if !ends_with_line_feed(&mut file)? {
            bytes.push(b'\n');
        }
        serde_json::to_writer(&mut bytes, &Line { at, body: body.to_owned() })?;
        bytes.push(b'\n');
        file.write_all(&bytes)?;
        file.sync_data()?;
        self.last = Some(body.to_owned());
        Ok(())
    }
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

    fn read_all(path: &Path) -> Result<Vec<Line>> {
        let mut recording = Recording::open(path)?;
        std::iter::from_fn(|| recording.next_line().transpose()).collect()
    }

    #[test]
    fn what_is_written_is_read_and_repeats_are_left_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("feed.jsonl");
        let at = |second| Timestamp::from_second(second).expect("a time");
        let mut recorder = Recorder::new(&path);
        for (second, body) in [(0, "{\"a\": \"é\n\"}"), (60, "{\"a\": \"é\n\"}"), (120, "b")] {
            recorder.record(at(second), body).expect("written");
        }
        let lines = read_all(&path).expect("readable");
        assert_eq!(
            lines,
            [(0, "{\"a\": \"é\n\"}"), (120, "b")].map(|(s, b)| Line { at: at(s), body: b.into() })
        );
    }

    #[test]
    fn a_line_cut_off_costs_itself_only() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("feed.jsonl");
        let whole = "{\"at\":\"2026-01-01T00:00:00Z\",\"body\":\"a\"}\n";
        std::fs::write(&path, format!("{whole}{{\"at\":\"2026-01-01T00:0")).expect("written");
        assert_eq!(read_all(&path).expect("readable").len(), 1);
        let mut recorder = Recorder::new(&path);
        recorder.record(Timestamp::UNIX_EPOCH, "b").expect("written");
        let bodies: Vec<String> =
            read_all(&path).expect("readable").into_iter().map(|line| line.body).collect();
        assert_eq!(bodies, ["a", "b"]);
    }

    #[test]
    fn gzip_and_plain_read_alike() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("feed.jsonl.gz");
        let mut gzip =
            flate2::write::GzEncoder::new(File::create(&path).expect("a file"), Default::default());
        gzip.write_all(b"{\"at\":\"2026-01-01T00:00:00Z\",\"body\":\"a\"}\n").expect("written");
        gzip.finish().expect("finished");
        assert_eq!(read_all(&path).expect("readable").len(), 1);
    }
}
