//! Writes a recording of the feed in parts of limited size (`recording` reads it).
//!
//! A full file is renamed to `FILE.000001`, the next one to `FILE.000002`, and the oldest are deleted. Lines
//! are written whole and uncompressed, so that a kill or a power failure can damage only the last line
//! (`a_kill_at_any_step_of_a_rotation_loses_nothing`).

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use tokio::task::spawn_blocking;

use super::recording::{Line, Poll};
use crate::regular_file;

/// The number of parts that a recording may have, the current file included.
const PARTS: u64 = 8;
/// So that names sort in the order of the parts.
const DIGITS: usize = 6;

/// A recording being written.
pub struct Recorder {
    path: PathBuf,
    keep_bytes: u64,
    /// The newest document.
    body: Option<String>,
    /// The newest document is already in the recording.
    is_written: bool,
}

impl Recorder {
    /// Creates a recorder that appends to `path`. All parts together have at most `keep_bytes`.
    pub fn new(path: &Path, keep_bytes: u64) -> Recorder {
        Recorder { path: path.to_owned(), keep_bytes, body: None, is_written: false }
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
        let line = Line { at, body, poll: Some(poll) };
        let (path, keep_bytes) = (self.path.clone(), self.keep_bytes);
        // Blocking: escapes up to a megabyte, and syncs.
        spawn_blocking(move || append(&path, &line, keep_bytes)).await.map_err(io::Error::other)??;
        self.is_written |= !has_failed;
        Ok(())
    }
}

fn append(path: &Path, line: &Line, keep_bytes: u64) -> io::Result<()> {
    regular_file::check(path)?;
    // Parts are next to the file itself, and not next to a symbolic link to it.
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mut bytes = Vec::with_capacity(line.body.len() + 128);
    serde_json::to_writer(&mut bytes, line)?;
    bytes.push(b'\n');
    let rotated = rotate(&path, bytes.len() as u64, keep_bytes);
    // Also if the rotation failed: a recording that is too large is better than a lost document.
    write(&path, &bytes)?;
    rotated
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let is_new = !path.exists();
    let mut file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
    end_line(&mut file)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    if is_new { sync_directory(path) } else { Ok(()) }
}

/// Makes room for another line: starts a new file if the current one is full, and deletes the oldest parts.
/// A kill between these steps leaves a state that the next call completes.
fn rotate(path: &Path, line_bytes: u64, keep_bytes: u64) -> io::Result<()> {
    let mut current = match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => return Ok(()),
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    if current > 0 && current + line_bytes > keep_bytes / PARTS {
        end_line(&mut OpenOptions::new().read(true).append(true).open(path)?)?;
        let next = numbers(path)?.last().map_or(1, |newest| newest.number + 1);
        fs::rename(path, part_path(path, next))?;
        sync_directory(path)?;
        current = 0;
    }
    let mut parts: Vec<Part> = numbers(path)?.into_iter().filter(|part| part.bytes.is_some()).collect();
    let mut total = current + line_bytes + parts.iter().filter_map(|part| part.bytes).sum::<u64>();
    // The newest part stays, because it may be a whole recording from before the limit.
    parts.pop();
    for part in parts {
        if total <= keep_bytes {
            break;
        }
        fs::remove_file(part_path(path, part.number))?;
        total -= part.bytes.unwrap_or_default();
    }
    Ok(())
}

/// The number of an older part.
struct Part {
    number: u64,
    /// `None` if only a file with a further suffix has the number, such as `.gz`. Such a file is the user's.
    bytes: Option<u64>,
}

/// Returns the numbers that are in use, in order.
fn numbers(path: &Path) -> io::Result<Vec<Part>> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if let Some((number, is_whole)) = number(name, &entry.file_name()) {
            let bytes = if is_whole { Some(entry.metadata()?.len()) } else { None };
            found.push(Part { number, bytes });
        }
    }
    found.sort_by_key(|part| part.number);
    Ok(found)
}

/// Returns the number in the name of a part, and true if the name ends with it.
fn number(recording: &OsStr, name: &OsStr) -> Option<(u64, bool)> {
    let rest = name.as_encoded_bytes().strip_prefix(recording.as_encoded_bytes())?.strip_prefix(b".")?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, suffix) = rest.split_at(digits);
    let is_part = digits >= DIGITS && (suffix.is_empty() || suffix.starts_with(b"."));
    let number = std::str::from_utf8(number).ok().filter(|_| is_part)?.parse().ok()?;
    Some((number, suffix.is_empty()))
}

fn part_path(path: &Path, number: u64) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number:0DIGITS$}"));
    name.into()
}

/// Makes a new name durable.
fn sync_directory(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

/// Ends a line that a kill truncated, so that the next one is readable, also after `cat` of several parts.
fn end_line(file: &mut File) -> io::Result<()> {
    if ends_with_line_feed(file)? { Ok(()) } else { file.write_all(b"\n") }
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
        let mut recorder = Recorder::new(&path, 1_000_000);
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
        assert_eq!(read_all(vec![path]).expect("readable"), expected);
    }

    #[tokio::test]
    async fn a_truncated_line_is_skipped() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("feed.jsonl");
        let whole = "{\"at\":\"2026-01-01T00:00:00Z\",\"body\":\"a\"}\n";
        std::fs::write(&path, format!("{whole}{{\"at\":\"2026-01-01T00:0")).expect("written");
        assert_eq!(read_all(vec![path.clone()]).expect("readable").len(), 1);
        let mut recorder = Recorder::new(&path, 1_000_000);
        recorder.record(Timestamp::UNIX_EPOCH, Some("b"), Poll::default(), true).await.expect("written");
        let bodies: Vec<String> =
            read_all(vec![path]).expect("readable").into_iter().map(|line| line.body).collect();
        assert_eq!(bodies, ["a", "b"]);
    }

    /// Writes documents of a kilobyte, so that a part of a recording of `keep_bytes` has several.
    async fn record(path: &Path, keep_bytes: u64, seconds: std::ops::Range<i64>) {
        let mut recorder = Recorder::new(path, keep_bytes);
        for second in seconds {
            let at = Timestamp::from_second(second).expect("a time");
            let body = format!("{second:01000}");
            recorder.record(at, Some(&body), Poll::default(), false).await.expect("written");
        }
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("a folder");
        let name = |entry: io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
        let mut names: Vec<String> =
            entries.map(|entry| name(entry).to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Returns the documents in all parts, in the order of a shell's glob and then the file itself.
    fn seconds(folder: &Path) -> Vec<i64> {
        let mut names = names(folder);
        names.retain(|name| name.starts_with("feed.jsonl"));
        names.rotate_left(1);
        let paths: Vec<PathBuf> = names.iter().map(|name| folder.join(name)).collect();
        read_all(paths).expect("readable").into_iter().map(|line| line.at.as_second()).collect()
    }

    fn total(folder: &Path) -> u64 {
        let size = |name: &String| fs::metadata(folder.join(name)).expect("a file").len();
        names(folder).iter().map(size).sum()
    }

    #[tokio::test]
    async fn a_full_file_becomes_a_part_and_the_oldest_parts_are_deleted() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("feed.jsonl");
        record(&path, 40_000, 0..4).await;
        assert_eq!(names(folder.path()), ["feed.jsonl"]);
        record(&path, 40_000, 4..5).await;
        assert_eq!(names(folder.path()), ["feed.jsonl", "feed.jsonl.000001"]);
        for end in 6..100 {
            record(&path, 40_000, end - 1..end).await;
            assert!(total(folder.path()) <= 40_000, "{end}: {}", total(folder.path()));
        }
        let kept = seconds(folder.path());
        assert_eq!(kept, (kept[0]..99).collect::<Vec<_>>(), "without a gap, up to the newest");
        assert!(kept.len() >= 28, "{kept:?}");
        let parts = names(folder.path());
        assert!(parts.len() <= 9 && !parts.contains(&"feed.jsonl.000001".to_owned()), "{parts:?}");
        // A smaller limit applies at the next line.
        record(&path, 20_000, 99..100).await;
        assert!(total(folder.path()) <= 20_000);
    }

    /// An upgrade or a lower limit must not delete everything at once.
    #[tokio::test]
    async fn a_recording_from_before_the_limit_stays_until_the_next_rotation() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("feed.jsonl");
        record(&path, u64::MAX, 0..50).await;
        record(&path, 16_000, 50..51).await;
        assert_eq!(seconds(folder.path()), (0..51).collect::<Vec<_>>());
        record(&path, 16_000, 51..52).await;
        assert_eq!(seconds(folder.path()), [50, 51]);
    }

    #[tokio::test]
    async fn a_kill_at_any_step_of_a_rotation_loses_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("feed.jsonl");
        record(&path, 40_000, 0..4).await;
        // Killed within a line, which then is the last one of a part.
        let torn = |text: &str| {
            let mut file = OpenOptions::new().create(true).append(true).open(&path).expect("a file");
            file.write_all(text.as_bytes()).expect("written");
        };
        torn("{\"at\":\"2026-01-01T00:0");
        record(&path, 40_000, 5..6).await;
        assert_eq!(seconds(folder.path()), [0, 1, 2, 3, 5]);
        let part = fs::read(folder.path().join("feed.jsonl.000001")).expect("a part");
        assert!(part.ends_with(b"\n"), "`cat` keeps the first line of the next part");
        // Killed after the rename, and after the new file was created.
        fs::rename(&path, folder.path().join("feed.jsonl.000002")).expect("renamed");
        record(&path, 40_000, 6..7).await;
        fs::rename(&path, folder.path().join("feed.jsonl.000003")).expect("renamed");
        File::create(&path).expect("created");
        record(&path, 40_000, 7..8).await;
        // Killed within the first line of a new file.
        fs::rename(&path, folder.path().join("feed.jsonl.000004")).expect("renamed");
        torn("{\"at\":\"2026-01-01T00:0");
        record(&path, 40_000, 8..9).await;
        assert_eq!(seconds(folder.path()), [0, 1, 2, 3, 5, 6, 7, 8]);
        let last = read_all(vec![path]).expect("readable without the earlier parts");
        assert_eq!(last.len(), 1);
    }

    #[tokio::test]
    async fn parts_that_the_user_compressed_or_moved_stay_the_users() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("feed.jsonl");
        record(&path, 16_000, 0..2).await;
        fs::rename(folder.path().join("feed.jsonl.000001"), folder.path().join("feed.jsonl.000007.gz"))
            .expect("renamed");
        let others = ["feed.jsonl.000008.gz.part", "feed.jsonl.1", "feed.jsonl.000009-copy", "other"];
        for other in others {
            fs::write(folder.path().join(other), [b' '; 90_000]).expect("written");
        }
        record(&path, 16_000, 2..3).await;
        fs::rename(&path, folder.path().join("moved")).expect("moved");
        record(&path, 16_000, 3..40).await;
        let names = names(folder.path());
        for other in others.into_iter().chain(["feed.jsonl.000007.gz", "moved"]) {
            assert!(names.contains(&other.to_owned()), "{other}");
        }
        assert!(!names.contains(&"feed.jsonl.000001".to_owned()), "the numbers go on: {names:?}");
    }

    /// The parts belong on the disk that the link names.
    #[tokio::test]
    async fn a_symbolic_link_stays_and_its_target_is_rotated() {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = folder.path().join("disk");
        fs::create_dir(&disk).expect("a folder");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(disk.join("feed.jsonl"), &link).expect("a link");
        record(&link, 16_000, 0..3).await;
        assert_eq!(names(folder.path()), ["disk", "link"]);
        assert_eq!(names(&disk), ["feed.jsonl", "feed.jsonl.000001", "feed.jsonl.000002"]);
    }

    /// A part that cannot be renamed must not stop the recording.
    #[tokio::test]
    async fn a_failed_rotation_is_an_error_and_loses_no_document() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("feed.jsonl");
        record(&path, 16_000, 0..2).await;
        fs::remove_file(folder.path().join("feed.jsonl.000001")).expect("removed");
        // A part that cannot be deleted, because it is a folder.
        for number in [1, 2] {
            fs::create_dir(part_path(&path, number)).expect("a folder");
            fs::write(part_path(&path, number).join("file"), "").expect("written");
        }
        let mut recorder = Recorder::new(&path, 16);
        let at = Timestamp::UNIX_EPOCH;
        let written = recorder.record(at, Some("{}"), Poll::default(), false).await;
        assert!(written.is_err());
        assert_eq!(read_all(vec![path]).expect("readable").len(), 1);
    }
}
