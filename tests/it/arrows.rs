//! Checks the imports between the folders of `src/`, the words that the pure core may not contain, and the
//! crates that only one place may use.
//!
//! Scans the text for `crate::NAME`. Comments and tests do not count. Tests are at the end of a file, in
//! `tests.rs` or in a folder `tests`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Folders and files directly below `src/` with their imports. A row may name only rows above it, so
/// imports cannot form a cycle.
const FOLDERS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("text", &[]),
    ("secret", &[]),
    ("setting", &[]),
    ("cause", &[]),
    ("gzip", &[]),
    ("regular_file", &[]),
    ("clock", &[]),
    ("process", &["text"]),
    ("proxy", &["text"]),
    ("tls", &["cause", "regular_file", "setting"]),
    ("http", &["tls"]),
    ("schedule", &[]),
    ("feed", &["cause", "gzip", "http", "model", "proxy", "regular_file", "setting", "text", "tls"]),
    ("tracking", &["feed", "model", "schedule", "text"]),
    ("store", &["cause", "model", "regular_file", "text", "tracking"]),
    ("channel", &["cause", "http", "model", "process", "proxy", "secret", "setting", "text", "tls"]),
    ("delivery", &["channel", "model", "schedule", "secret", "setting", "store", "text", "tracking"]),
    ("status_socket", &[]),
    ("report", &["delivery", "model", "status_socket", "store", "text", "tracking"]),
    (
        "phones",
        &[
            "cause",
            "delivery",
            "gzip",
            "http",
            "model",
            "process",
            "proxy",
            "regular_file",
            "schedule",
            "secret",
            "store",
            "text",
            "tls",
        ],
    ),
    (
        "web",
        &[
            "cause",
            "clock",
            "delivery",
            "model",
            "report",
            "secret",
            "setting",
            "status_socket",
            "store",
            "text",
            "tracking",
        ],
    ),
    (
        "config",
        &[
            "cause",
            "channel",
            "delivery",
            "feed",
            "model",
            "phones",
            "regular_file",
            "schedule",
            "secret",
            "setting",
            "text",
            "web",
        ],
    ),
    ("exit_code", &["config", "store"]),
    ("logging", &["channel", "clock", "config", "text"]),
    ("service", &["text"]),
    (
        "daemon",
        &[
            "cause",
            "channel",
            "clock",
            "config",
            "delivery",
            "exit_code",
            "feed",
            "model",
            "phones",
            "schedule",
            "secret",
            "setting",
            "status_socket",
            "store",
            "text",
            "tracking",
            "web",
        ],
    ),
    (
        "doctor",
        &[
            "cause",
            "channel",
            "delivery",
            "exit_code",
            "feed",
            "gzip",
            "http",
            "model",
            "phones",
            "process",
            "proxy",
            "status_socket",
            "store",
            "text",
            "tls",
            "tracking",
        ],
    ),
    ("drill", &["channel", "clock", "daemon", "delivery", "feed", "model", "store", "tracking"]),
    (
        "cli",
        &[
            "cause",
            "channel",
            "clock",
            "config",
            "daemon",
            "delivery",
            "doctor",
            "drill",
            "exit_code",
            "feed",
            "logging",
            "model",
            "phones",
            "process",
            "proxy",
            "regular_file",
            "report",
            "schedule",
            "service",
            "setting",
            "status_socket",
            "store",
            "text",
            "tls",
            "tracking",
            "web",
        ],
    ),
    ("lib", &[]),
    ("main", &["cli"]),
];

/// Files and folders without I/O, clock or environment.
const PURE: &[&str] = &[
    "model",
    "text",
    "secret",
    "setting",
    "schedule",
    "feed/parse",
    "tracking",
    "service",
    "delivery/message",
    "delivery/policy",
    "delivery/template",
    "delivery/payload",
    "doctor/guide",
    "phones/backup_status",
    "phones/late_backup",
];

/// Words that pure code may not contain, and what each stands for.
const IMPURE: &[(&str, &str)] = &[
    ("Timestamp::now", "a clock"),
    ("ZonedDateTime::now", "a clock"),
    ("Instant", "a clock"),
    ("SystemTime", "a clock"),
    ("std::fs", "a file"),
    ("std::io", "a file"),
    ("rusqlite", "a file"),
    ("std::net", "a socket"),
    ("tokio", "a socket"),
    ("reqwest", "a socket"),
    ("zbus", "a socket"),
    ("std::env", "the environment"),
    ("env!(", "the environment"),
    ("TimeZone::system", "the environment"),
    ("std::process", "the environment"),
    ("fastrand", "randomness"),
    ("std::thread", "a thread"),
    ("std::sync", "a lock"),
    ("thread_local!", "a lock"),
    ("tracing::", "the log"),
    ("print!(", "the terminal"),
    ("println!(", "the terminal"),
];

/// Crates for one external thing, and the only places that may use them. Their error types may appear
/// elsewhere.
const RESTRICTED_CRATES: &[(&str, &[&str])] = &[
    ("rusqlite", &["store"]),
    (
        "reqwest",
        &["channel", "delivery", "doctor/probe", "feed/fetch", "http", "phones/ios_releases", "proxy"],
    ),
    ("notify_rust", &["channel"]),
    ("zbus", &["channel"]),
    ("rumqttc", &["channel"]),
    ("rustix", &["channel", "cli", "clock", "process", "regular_file", "store", "web/connection"]),
    ("sd_notify", &["daemon/service_manager"]),
    ("cron", &["schedule"]),
    ("clap", &["cli"]),
];

#[test]
fn imports_point_down() {
    let findings = findings(&sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")));
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

#[test]
fn rows_name_only_rows_above_them() {
    let mut above = BTreeSet::new();
    for (folder, imports) in FOLDERS {
        for import in *imports {
            assert!(above.contains(import), "the row of `{folder}` names `{import}`, which is not above it");
        }
        assert!(above.insert(folder), "two rows for `{folder}`");
    }
}

/// A file below `src/`: its path there, and its code without comments and tests.
pub type Source = (String, String);

/// Returns the sources below a folder, sorted by path.
pub fn sources(directory: &Path) -> Vec<Source> {
    let mut found = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(next) = directories.pop() {
        for entry in fs::read_dir(&next).expect("a readable directory") {
            let path: PathBuf = entry.expect("a readable directory").path();
            let name = path.strip_prefix(directory).expect("below src").to_string_lossy().into_owned();
            if path.is_dir() {
                directories.push(path);
            } else if name.ends_with(".rs") {
                found.push((name, code(&fs::read_to_string(&path).expect("a readable file"))));
            }
        }
    }
    found.sort();
    found
}

/// Returns the code without comments and tests.
fn code(text: &str) -> String {
    let mut kept = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let is_test = line.starts_with("#[cfg(test)]") || line.starts_with("#[cfg(all(test");
        let opens = |next: &&str| next.contains("mod ") && next.ends_with('{');
        if is_test && lines.peek().is_some_and(opens) {
            break;
        }
        if !line.trim_start().starts_with("//") {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// Returns all violations, one line each.
fn findings(sources: &[Source]) -> Vec<String> {
    let mut found = BTreeSet::new();
    let mut imported: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (file, code) in sources.iter().filter(|(file, _)| !is_test(file)) {
        let folder = folder(file);
        let Some((_, allowed)) = FOLDERS.iter().find(|(name, _)| *name == folder) else {
            found.insert(format!("{file}: no row for `{folder}` in tests/it/arrows.rs"));
            continue;
        };
        let imports = imports(file, code);
        let forbidden = imports.iter().filter(|import| !allowed.contains(&import.as_str()));
        found.extend(forbidden.map(|import| format!("{file}: `{folder}` may not import `{import}`")));
        imported.entry(folder).or_default().extend(imports);
        found.extend(forbidden_words(file, code));
    }
    for (folder, allowed) in FOLDERS {
        let Some(imported) = imported.get(*folder) else {
            found.insert(format!("a row for `{folder}`, which is not in src/"));
            continue;
        };
        let unused = allowed.iter().filter(|import| !imported.contains(**import));
        found.extend(unused.map(|import| format!("`{folder}` does not import `{import}`: shorten its row")));
    }
    found.into_iter().collect()
}

/// Returns the folder of a file: `feed` for `feed/fetch/mod.rs`, `text` for `text.rs`.
fn folder(file: &str) -> String {
    let first = file.split('/').next().unwrap_or(file);
    first.trim_end_matches(".rs").to_owned()
}

fn is_test(file: &str) -> bool {
    file.split('/').any(|part| part == "tests" || part == "tests.rs")
}

/// Returns the other folders that a file imports: names after `crate::`, alone or in braces, after the
/// library's name in `main.rs`, and after enough `super::` to leave the folder.
fn imports(file: &str, code: &str) -> BTreeSet<String> {
    let root = if file == "main.rs" { "statusd::" } else { "crate::" };
    let mut found: BTreeSet<String> = code.split(root).skip(1).flat_map(first_names).collect();
    let depth = file.trim_end_matches("/mod.rs").matches('/').count() + 1;
    let to_the_root = format!(" {}", "super::".repeat(depth));
    found.extend(code.split(&to_the_root).skip(1).flat_map(first_names));
    found.remove(&folder(file));
    found
}

/// Returns `model` for `model::Outage`, and `model` and `text` for `{model, text::{a, b}}`.
fn first_names(path: &str) -> Vec<String> {
    let name = |text: &str| -> String {
        text.trim_start().chars().take_while(|c| c.is_alphanumeric() || "_*".contains(*c)).collect()
    };
    let Some(group) = path.strip_prefix('{') else { return vec![name(path)] };
    let mut names = vec![name(group)];
    let mut depth = 0;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(name(&group[at + 1..])),
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// Returns the forbidden words in this file.
fn forbidden_words(file: &str, code: &str) -> Vec<String> {
    let within = |places: &[&str]| {
        let path = file.trim_end_matches(".rs").trim_end_matches("/mod");
        places.iter().any(|place| path == *place || path.starts_with(&format!("{place}/")))
    };
    let is_pure = within(PURE);
    let impure = IMPURE.iter().filter(|(word, _)| is_pure && names(code, word));
    let impure = impure.map(|(word, what)| format!("{file}: the core may not name `{word}`: {what}"));
    let restricted = RESTRICTED_CRATES.iter().filter(|(name, places)| {
        let without_errors =
            code.replace(&format!("{name}::Error"), "").replace(&format!("{name}::Result"), "");
        !within(places) && names(&without_errors, &format!("{name}::"))
    });
    let restricted =
        restricted.map(|(name, places)| format!("{file}: `{name}` is for {} only", places.join(" and ")));
    impure.chain(restricted).collect()
}

/// Returns true if the code contains `word`, other than as the end of a longer name.
fn names(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
}

/// Checks that each kind of violation is detected.
mod tests {
    use super::*;

    #[track_caller]
    fn check(file: &str, text: &str, expected: &[&str]) {
        let of_file: Vec<String> = findings(&[(file.to_owned(), code(text))])
            .into_iter()
            .filter_map(|line| line.strip_prefix(&format!("{file}: ")).map(str::to_owned))
            .collect();
        assert_eq!(of_file, expected, "{text}");
    }

    #[test]
    fn detects_imports_in_every_form() {
        for text in [
            "use crate::store;",
            "use crate::store::Store as Shop;",
            "use crate::{model as m, store};",
            "pub(crate) use crate::{\n    model::{Event, self},\n    store::{self, Opened},\n};",
            "fn f(a: &'a crate::store::Store) {}",
            "use super::store::Store;",
            "#[cfg(not(test))]\nuse crate::store;",
            "#[cfg(test)]\nmod tests;\nuse crate::store;",
        ] {
            let model = text.contains("model").then_some("`text` may not import `model`");
            let expected: Vec<&str> = model.into_iter().chain(["`text` may not import `store`"]).collect();
            check("text.rs", text, &expected);
        }
        check("feed/fetch/mod.rs", "use super::super::store;", &["`feed` may not import `store`"]);
        check("feed/fetch/url.rs", "use super::super::super::store;", &["`feed` may not import `store`"]);
        check("feed/fetch/url.rs", "use super::store;", &[]);
        check("main.rs", "fn main() { statusd::store::open() }", &["`main` may not import `store`"]);
    }

    #[test]
    fn ignores_comments_and_tests() {
        for text in [
            "// use crate::store;",
            "//! [`crate::store`]",
            "#[cfg(test)]\nmod tests {\n    use crate::store;\n}",
        ] {
            check("text.rs", text, &[]);
        }
        check("feed/parse/tests.rs", "use crate::store;", &[]);
    }

    #[test]
    fn detects_io_in_the_core() {
        check(
            "text.rs",
            "fn f() { Timestamp::now(); }",
            &["the core may not name `Timestamp::now`: a clock"],
        );
        check("text.rs", "use std::fs;", &["the core may not name `std::fs`: a file"]);
        check("text.rs", "fn f() { my_print!(now); }", &[]);
        check("clock.rs", "fn f() { Timestamp::now(); }", &[]);
        check("clock.rs", "use rusqlite::Connection;", &["`rusqlite` is for store only"]);
        check("clock.rs", "fn f() -> rusqlite::Result<()> { Err(rusqlite::Error::InvalidQuery) }", &[]);
    }

    #[test]
    fn detects_missing_and_stale_rows() {
        check("util.rs", "", &["no row for `util` in tests/it/arrows.rs"]);
        check("misc/mod.rs", "", &["no row for `misc` in tests/it/arrows.rs"]);
        let findings = findings(&[("cause.rs".to_owned(), String::new())]);
        assert!(findings.contains(&"a row for `model`, which is not in src/".to_owned()));
    }
}
