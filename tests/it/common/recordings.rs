//! Recordings of Apple's real feed, from the folder in `STATUSD_RECORDINGS`.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Returns the recordings in order of their names.
///
/// # Panics
///
/// There is none.
pub fn recordings() -> Vec<PathBuf> {
    let folder = std::env::var_os("STATUSD_RECORDINGS").expect("STATUSD_RECORDINGS names a folder");
    let entries = fs::read_dir(folder).expect("a readable folder");
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("a readable entry").path())
        .filter(|path| {
            let name = path.to_string_lossy();
            [".jsonl", ".jsonl.gz", ".jsonl.zst"].iter().any(|end| name.ends_with(end))
        })
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "no recording in the folder of STATUSD_RECORDINGS");
    paths
}

/// Reads a recording, compressed or not.
pub fn read_recording(path: &Path) -> String {
    let bytes = fs::read(path).expect("a readable recording");
    let mut text = String::new();
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("zst") => ruzstd::decoding::StreamingDecoder::new(&bytes[..])
            .expect("zstd")
            .read_to_string(&mut text)
            .expect("UTF-8 in zstd"),
        Some("gz") => {
            flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_string(&mut text).expect("UTF-8 in gzip")
        }
        _ => return String::from_utf8(bytes).expect("UTF-8"),
    };
    text
}
