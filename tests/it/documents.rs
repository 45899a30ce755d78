//! Checks that the links and the paths in the documents exist in this repository.
//!
//! Does not check web addresses. `src/cli/documents.rs` checks the commands in the documents.

use std::fs;
use std::path::{Path, PathBuf};

/// A word in backquotes with such a prefix is a path in this repository.
const TOP_FOLDERS: [&str; 10] = [
    ".ci/",
    "benches/",
    "config/",
    "docs/",
    "launchd/",
    "packaging/",
    "scripts/",
    "src/",
    "systemd/",
    "tests/",
];
/// Placeholders in paths.
const PLACEHOLDERS: [&str; 2] = ["NAME", "/N."];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn documents() -> Vec<PathBuf> {
    let directories = [root().to_owned(), root().join("docs")];
    let entries = directories.iter().flat_map(|directory| fs::read_dir(directory).expect("a directory"));
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect()
}

/// Returns the missing targets that a document in `directory` names.
fn missing(text: &str, directory: &Path) -> Vec<String> {
    let prose = text.split("```").step_by(2).collect::<String>();
    let is_local = |target: &&str| !target.contains("://") && !target.starts_with("mailto:");
    let targets = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let links = targets.filter(is_local).filter(|target| !exists(target, text, directory));
    let words = prose.split('`').skip(1).step_by(2).filter(|word| {
        let path = word.split("::").next().unwrap_or_default();
        let is_pattern = path.contains([' ', '*', '…']) || PLACEHOLDERS.iter().any(|any| path.contains(any));
        TOP_FOLDERS.iter().any(|top| word.starts_with(top)) && !is_pattern && !root().join(path).exists()
    });
    links.chain(words).map(str::to_owned).collect()
}

/// Returns true if the file exists and contains the heading, which may be in the document itself.
fn exists(target: &str, text: &str, directory: &Path) -> bool {
    let (file, heading) =
        target.split_once('#').map_or((target, None), |(file, heading)| (file, Some(heading)));
    let path = directory.join(file);
    let Some(heading) = heading else { return path.exists() };
    let read = if file.is_empty() { Some(text.to_owned()) } else { fs::read_to_string(path).ok() };
    read.is_some_and(|text| {
        text.lines().filter_map(|line| line.strip_prefix('#')).any(|line| anchor(line) == heading)
    })
}

/// Returns the anchor of a heading, as GitHub generates it.
fn anchor(heading: &str) -> String {
    let heading = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn documents_name_existing_files() {
    let documents = documents();
    assert!(documents.len() > 10, "{documents:?}");
    for path in documents {
        let text = fs::read_to_string(&path).expect("a document");
        let directory = path.parent().expect("a directory");
        assert_eq!(missing(&text, directory), Vec::<String>::new(), "{}", path.display());
    }
}

#[test]
fn detects_missing_files_and_headings() {
    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        assert_eq!(missing(text, root()), expected, "{text}");
    }
    check("[a](README.md) [b](docs/json.md#a-change) [c](#here-it-is)\n## Here it is\n", &[]);
    check("[a](https://www.apple.com/x) `src/lib.rs` `tests/it/crash.rs::x` `src/*.rs`", &[]);
    check("[a](REDME.md)", &["REDME.md"]);
    check("[a](docs/json.md#nothing)", &["docs/json.md#nothing"]);
    check("[a](#here)\n## There\n", &["#here"]);
    check("`src/libb.rs`", &["src/libb.rs"]);
    check("```sh\ncat `src/libb.rs` [a](b)\n```", &[]);
}
