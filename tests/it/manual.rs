//! Formats every manual page with groff and mandoc: no warnings, no line over 80 columns, and no reference
//! to a missing page. The page of the configuration file has every key.
//!
//! Does not check the text of the pages.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The width of the terminal.
const COLUMNS: usize = 80;
/// A mandoc warning that is ignored, because builds must be reproducible.
const NO_DATE: &str = "missing date";

const CONFIG_PAGE: &str = "statusd.toml.5";

/// All pages in a temporary directory.
struct Pages {
    directory: tempfile::TempDir,
}

impl Pages {
    fn new() -> Pages {
        let directory = tempfile::tempdir().expect("a directory");
        let status = Command::new(env!("CARGO_BIN_EXE_statusd"))
            .args(["man", "--dir"])
            .arg(directory.path())
            .status()
            .expect("statusd starts");
        assert!(status.success());
        let config_page = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/config-page"))
            .output()
            .expect("scripts/config-page starts");
        assert!(config_page.status.success(), "{}", text(&config_page.stderr));
        fs::write(directory.path().join(CONFIG_PAGE), config_page.stdout).expect("a page");
        Pages { directory }
    }

    fn paths(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.directory.path()).expect("a directory");
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
        paths.sort();
        assert!(paths.len() > 20, "{paths:?}");
        paths
    }
}

#[track_caller]
fn format_page(program: &str, arguments: &[&str], page: &Path) -> Output {
    Command::new(program)
        .args(arguments)
        .arg(page)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}; scripts/test installs it"))
}

/// Returns the page as plain text, and groff's warnings.
fn by_groff(page: &Path) -> (String, String) {
    let width = format!("-rLL={COLUMNS}n");
    let plain = ["-P-c", "-P-b", "-P-o", "-P-u"];
    let output =
        format_page("groff", &[&["-man", "-Tutf8", "-Kutf8", "-ww", &width][..], &plain].concat(), page);
    (text(&output.stdout), text(&output.stderr))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Returns the faults of a page.
fn faults(page: &Path) -> Vec<String> {
    let (read, complaints) = by_groff(page);
    let lint = format_page("mandoc", &["-Tlint", "-Wwarning"], page);
    let lint = text(&lint.stdout) + &text(&lint.stderr);
    let mut faults: Vec<String> = complaints.lines().map(str::to_owned).collect();
    faults.extend(lint.lines().filter(|line| !line.contains(NO_DATE)).map(str::to_owned));
    faults.extend(read.lines().filter(|line| line.chars().count() > COLUMNS).map(str::to_owned));
    if !read.contains("\nNAME\n") || !read.contains("\nDESCRIPTION\n") {
        faults.push("NAME or DESCRIPTION is missing".to_owned());
    }
    faults
}

#[test]
fn pages_fit_into_80_columns() {
    for page in Pages::new().paths() {
        assert_eq!(faults(&page), Vec::<String>::new(), "{}", page.display());
    }
}

#[test]
fn pages_refer_to_existing_pages() {
    let pages = Pages::new();
    let names: BTreeSet<String> = pages
        .paths()
        .iter()
        .map(|page| page.file_name().and_then(|name| name.to_str()).expect("a name").to_owned())
        .collect();
    let mut named = BTreeSet::new();
    for page in pages.paths() {
        let (read, _) = by_groff(&page);
        let words = read.split(|c: char| c.is_whitespace() || c == ',');
        for word in words.filter(|word| word.starts_with("statusd")) {
            if let Some((name, section)) = word.trim_end_matches(')').split_once('(') {
                named.insert(format!("{name}.{section}"));
            }
        }
    }
    assert_eq!(named, names, "named and there");
}

/// Another test compares the reference with the settings.
#[test]
fn every_key_of_the_reference_is_in_the_page() {
    let pages = Pages::new();
    let page = fs::read_to_string(pages.directory.path().join(CONFIG_PAGE)).expect("a page");
    let (read, _) = by_groff(&pages.directory.path().join(CONFIG_PAGE));
    let reference = include_str!("../../docs/configuration.md");
    let keys: Vec<&str> = reference
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(key, _)| key)
        .collect();
    assert!(keys.len() > 80, "{}", keys.len());
    for key in keys {
        assert!(page.contains(&format!(".TP\n\\f[B]{key}\\f[R]\n")), "{key}");
    }
    assert!(!read.contains("](") && !read.contains('`'), "{read}");
    // Type, default and flag share a line, and a cell such as "required" is no default.
    assert!(
        read.contains("              path; default none; --record-file, STATUSD_RECORD_FILE\n"),
        "{read}"
    );
    assert!(!read.contains("default required"), "{read}");
    assert!(page.contains("lines have fields (docs/service.md)"), "{page}");
}

#[test]
fn detects_page_faults() {
    #[track_caller]
    fn check(body: &str, expected: &str) {
        let directory = tempfile::tempdir().expect("a directory");
        let page = directory.path().join("x.1");
        let start = ".TH x 1 \"\" x x\n.SH NAME\nx \\- x\n.SH DESCRIPTION\n";
        fs::write(&page, format!("{start}{body}\n")).expect("a page");
        let found = faults(&page);
        assert!(
            found.iter().any(|fault| fault.contains(expected)) != expected.is_empty(),
            "{expected:?} in {found:?}"
        );
    }
    check("Well.", "");
    check(&format!(".nf\n{}", "long ".repeat(20)), "long long");
    check(".FOO", "FOO");
    check(".PP\n.SH X", "PP");
    check("\\fIx", "");
}
