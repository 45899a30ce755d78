//! Who may know whom: the arrows between the modules of `src/`, and what the pure core may not know.
//!
//! Reads the sources as text; it knows neither types nor macros. Comments, strings and test code do
//! not count. Invariant: a file without a row fails, and so does a row that says more than is so,
//! so that the table below is the map.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A module and the modules of this crate that it imports.
type Row = (&'static str, &'static [&'static str]);

/// Pure: no I/O, no clock. A row may name the rows above it and no others, so no arrow can point
/// back, here and in the two tables below.
const CORE: &[Row] = &[
    ("model", &[]),
    ("text", &[]),
    ("secret", &[]),
    ("schedule", &[]),
    ("watch", &["model"]),
    ("backup", &[]),
    ("guide", &[]),
    ("feed", &["model", "text"]),
    ("track", &["model", "watch"]),
    ("plan", &["schedule"]),
    ("overdue", &["model", "schedule"]),
    ("message", &["model", "text"]),
    ("json", &["message", "model"]),
    ("wording", &["json", "message", "model", "text"]),
    ("terms", &["model", "schedule", "watch", "wording"]),
    ("service", &[]),
];

/// One outside thing each.
const EDGES: &[Row] = &[
    ("cause", &[]),
    ("clock", &[]),
    ("regular_file", &[]),
    ("tls", &["cause", "regular_file"]),
    ("proxy", &["text"]),
    ("record", &["cause", "regular_file"]),
    ("gzip", &[]),
    ("fetch", &["feed", "gzip", "model", "proxy", "text", "tls"]),
    ("store", &["cause", "model", "regular_file", "text", "track"]),
    ("channel", &["cause", "model", "proxy", "secret", "text", "tls"]),
    ("property_list", &[]),
    ("phone", &["property_list", "secret", "tls"]),
    (
        "config",
        &[
            "cause",
            "channel",
            "fetch",
            "model",
            "overdue",
            "phone",
            "regular_file",
            "schedule",
            "secret",
            "terms",
        ],
    ),
    ("logs", &["channel", "clock", "config", "text"]),
    ("live", &[]),
    ("local_backups", &["cause", "phone", "property_list", "regular_file", "text"]),
    ("probe", &["cause", "gzip", "proxy", "text", "tls"]),
    ("releases", &["gzip", "proxy", "regular_file", "text", "tls"]),
    ("storage", &["cause", "text"]),
];

/// The loops, and what starts them.
const LOOPS: &[Row] = &[
    ("exit_code", &["config", "store"]),
    ("replay", &["feed", "model", "plan", "record", "track", "watch"]),
    ("checkup", &["model", "overdue", "phone", "schedule", "store", "terms", "text"]),
    (
        "poll",
        &[
            "cause", "clock", "fetch", "model", "overdue", "plan", "record", "schedule", "store", "terms",
            "track", "watch",
        ],
    ),
    ("deliver", &["channel", "json", "message", "model", "store", "terms", "watch"]),
    ("drill", &["channel", "clock", "deliver", "fetch", "model", "plan", "poll", "store", "track", "watch"]),
    (
        "daemon",
        &[
            "cause",
            "channel",
            "checkup",
            "clock",
            "config",
            "deliver",
            "exit_code",
            "fetch",
            "live",
            "message",
            "model",
            "phone",
            "plan",
            "poll",
            "record",
            "schedule",
            "secret",
            "store",
            "terms",
            "text",
            "track",
            "watch",
        ],
    ),
    (
        "doctor",
        &[
            "backup",
            "cause",
            "channel",
            "exit_code",
            "fetch",
            "guide",
            "live",
            "local_backups",
            "message",
            "model",
            "phone",
            "probe",
            "releases",
            "storage",
            "store",
            "text",
            "track",
            "watch",
        ],
    ),
    (
        "cli",
        &[
            "backup",
            "cause",
            "channel",
            "clock",
            "config",
            "daemon",
            "deliver",
            "doctor",
            "drill",
            "exit_code",
            "fetch",
            "guide",
            "json",
            "live",
            "local_backups",
            "logs",
            "message",
            "model",
            "phone",
            "plan",
            "probe",
            "proxy",
            "record",
            "regular_file",
            "releases",
            "replay",
            "schedule",
            "service",
            "store",
            "text",
            "tls",
            "track",
            "watch",
        ],
    ),
    ("main", &["cli"]),
    ("lib", &[]),
];

/// What the core may not name, and what that would bring in. A path matches where these segments
/// follow one another in it; `!` marks a macro.
const IMPURE: &[(&str, &str)] = &[
    ("now", "a clock"),
    ("Instant", "a clock"),
    ("SystemTime", "a clock"),
    ("std::fs", "a file"),
    ("std::io", "a file"),
    ("File", "a file"),
    ("std::net", "a socket"),
    ("tokio", "a socket"),
    ("reqwest", "a socket"),
    ("zbus", "a socket"),
    ("rusqlite", "a file"),
    ("std::env", "the environment"),
    ("env!", "the environment"),
    ("option_env!", "the environment"),
    ("TimeZone::system", "the environment"),
    ("std::process", "the environment"),
    ("fastrand", "dice"),
    ("std::thread", "a thread"),
    ("std::sync", "a lock"),
    ("Mutex", "a lock"),
    ("thread_local!", "a lock"),
    ("tracing", "the log"),
    ("print!", "the terminal"),
    ("println!", "the terminal"),
    ("eprintln!", "the terminal"),
];

/// What only these modules may name: one way in for each outside thing. Its [`ERRORS`] travel.
const ONE_WAY_IN: &[(&str, &[&str])] = &[
    ("rusqlite", &["store"]),
    ("reqwest", &["channel", "fetch", "probe", "proxy", "releases"]),
    ("notify_rust", &["channel"]),
    ("zbus", &["channel"]),
    ("rumqttc", &["channel"]),
    ("lettre", &["channel"]),
    ("rustix", &["channel", "cli", "clock", "regular_file", "store"]),
    ("sd_notify", &["daemon"]),
    ("cron", &["schedule"]),
    ("clap", &["cli"]),
];

const ERRORS: [&str; 2] = ["Error", "Result"];

#[test]
fn arrows_point_down() {
    let findings = judge(&sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")));
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

#[test]
fn the_tables_themselves_point_up_only() {
    let mut above = BTreeSet::new();
    for (module, imports) in tables() {
        for import in imports {
            assert!(above.contains(import), "the row of `{module}` names `{import}`, which is not above it");
        }
        assert!(above.insert(module), "two rows for `{module}`");
    }
}

fn tables() -> impl Iterator<Item = Row> {
    [CORE, EDGES, LOOPS].into_iter().flatten().copied()
}

/// A file: where it is below `src/`, and what it says.
type Source = (PathBuf, String);

fn sources(directory: &Path) -> Vec<Source> {
    fn collect(directory: &Path, root: &Path, found: &mut Vec<Source>) {
        for entry in fs::read_dir(directory).expect("a readable directory") {
            let path = entry.expect("a readable directory").path();
            if path.is_dir() {
                collect(&path, root, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a readable file");
                found.push((path.strip_prefix(root).expect("below the root").to_owned(), text));
            }
        }
    }
    let mut found = Vec::new();
    collect(directory, directory, &mut found);
    found.sort();
    found
}

/// Everything that is wrong, a line each; nothing if all is well.
fn judge(sources: &[Source]) -> Vec<String> {
    let code: Vec<(&Path, Vec<String>)> =
        sources.iter().map(|(file, text)| (file.as_path(), without_tests(tokens(text)))).collect();
    let tests = test_files(sources);
    let mut findings = BTreeSet::new();
    let mut arrows: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (file, tokens) in code.iter().filter(|(file, _)| !tests.contains(*file)) {
        let place = place(file);
        let module = place.first().cloned().unwrap_or_else(|| stem(file));
        let Some((_, allowed)) = tables().find(|(name, _)| *name == module) else {
            findings.insert(format!("{}: no row for `{module}` in tests/it/arrows.rs", file.display()));
            continue;
        };
        let drawn = arrows.entry(module.clone()).or_default();
        for path in paths(tokens) {
            if let Some(import) = import(&path, &place) {
                if import != module && !allowed.contains(&import.as_str()) {
                    findings.insert(format!("{}: `{module}` may not import `{import}`", file.display()));
                }
                drawn.insert(import);
            }
            for words in improper(&module, &path) {
                findings.insert(format!("{}: {words}", file.display()));
            }
        }
    }
    for (module, allowed) in tables() {
        match arrows.get(module) {
            None => drop(findings.insert(format!("a row for `{module}`, which is not in src/"))),
            Some(drawn) => findings.extend(
                allowed
                    .iter()
                    .filter(|import| !drawn.contains(**import))
                    .map(|import| format!("`{module}` does not import `{import}` any more: shorten its row")),
            ),
        }
    }
    findings.into_iter().collect()
}

/// The words that are not for this module.
fn improper(module: &str, path: &[String]) -> Vec<String> {
    let is_core = CORE.iter().any(|(name, _)| *name == module);
    let names = |wanted: &str| {
        let wanted: Vec<&str> = wanted.split("::").collect();
        path.windows(wanted.len()).any(|part| part == wanted)
    };
    let impure = IMPURE.iter().filter(move |(word, _)| {
        // A local `now` is what the core is given; `Something::now` is a clock under any name.
        is_core && if *word == "now" { path.len() > 1 && names(word) } else { names(word) }
    });
    let is_error = path.get(1).is_some_and(|name| ERRORS.contains(&name.as_str()));
    let closed = ONE_WAY_IN.iter().filter(|(word, modules)| {
        path.first().is_some_and(|first| first == word) && !is_error && !modules.contains(&module)
    });
    let impure = impure.map(|(word, what)| format!("the core may not name `{word}`: {what}"));
    let closed = closed.map(|(word, modules)| format!("`{word}` is for {} only", modules.join(" and ")));
    impure.chain(closed).collect()
}

/// The module that a path leads to: what follows `crate`, or `super` up to the root, or, in
/// `main.rs`, the library's name.
fn import(path: &[String], place: &[String]) -> Option<String> {
    let supers = path.iter().take_while(|segment| *segment == "super").count();
    match path.first()?.as_str() {
        "crate" | "statusd" => path.get(1).cloned(),
        "super" if supers == place.len() => path.get(supers).cloned(),
        _ => None,
    }
}

/// Where a file stands among the modules: `track/judge.rs` is `track`, `judge`; `lib.rs` and
/// `main.rs` are the root.
fn place(file: &Path) -> Vec<String> {
    let mut place: Vec<String> =
        file.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if place.last().is_some_and(|last| last == "mod") || place == ["lib"] || place == ["main"] {
        place.pop();
    }
    place
}

fn stem(file: &Path) -> String {
    file.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// The files that a `#[cfg(test)] mod name;` declares, wherever they lie.
fn test_files(sources: &[Source]) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for (file, text) in sources {
        let tokens = tokens(text);
        for at in (0..tokens.len()).filter(|at| is_test_attribute(&tokens[*at..])) {
            let item = &tokens[past_attributes(&tokens, at)..];
            if let [keyword, name, end, ..] = item
                && (keyword.as_str(), end.as_str()) == ("mod", ";")
            {
                let below: PathBuf = place(file).iter().collect();
                found.insert(below.join(format!("{name}.rs")));
                found.insert(below.join(name).join("mod.rs"));
            }
        }
    }
    found
}

/// Without the items that carry `#[cfg(test)]`.
fn without_tests(tokens: Vec<String>) -> Vec<String> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if is_test_attribute(&tokens[at..]) {
            at = past_item(&tokens, past_attributes(&tokens, at));
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    kept
}

fn is_test_attribute(tokens: &[String]) -> bool {
    let starts =
        |words: &[&str]| tokens.len() >= words.len() && tokens.iter().zip(words).all(|(a, b)| a == b);
    starts(&["#", "[", "cfg", "(", "test"]) || starts(&["#", "[", "cfg", "(", "all", "(", "test"])
}

fn past_attributes(tokens: &[String], mut at: usize) -> usize {
    while tokens.get(at).is_some_and(|token| token == "#") {
        at = past_group(tokens, at + 1);
    }
    at
}

/// Behind the `;` or the block that ends an item.
fn past_item(tokens: &[String], mut at: usize) -> usize {
    while let Some(token) = tokens.get(at) {
        match token.as_str() {
            ";" => return at + 1,
            "{" => return past_group(tokens, at),
            "(" | "[" => at = past_group(tokens, at),
            _ => at += 1,
        }
    }
    at
}

/// Behind the bracket that closes the one at `at`.
fn past_group(tokens: &[String], mut at: usize) -> usize {
    let mut depth = 0;
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// Every path in the code, groups spelled out: `use crate::{a, b::{c, d}}` is `crate::a`,
/// `crate::b::c`, `crate::b::d`. Names by themselves are paths of one segment.
fn paths(tokens: &[String]) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        // Behind a dot stands a field or a method, which is no path.
        let is_member = at > 0 && tokens[at - 1] == ".";
        if is_name(&tokens[at]) && !is_member {
            at = read_path(tokens, at, &[], &mut found);
        } else {
            at += 1;
        }
    }
    found
}

/// Reads one path behind `prefix` and returns where it ends.
fn read_path(tokens: &[String], mut at: usize, prefix: &[String], found: &mut Vec<Vec<String>>) -> usize {
    let mut path = prefix.to_vec();
    loop {
        match tokens.get(at).map(String::as_str) {
            Some("{") => return read_group(tokens, at, &path, found),
            Some(name) if is_name(name) || name == "*" => path.push(name.to_owned()),
            _ => break,
        }
        at += 1;
        if tokens.get(at).is_none_or(|token| token != "::") {
            break;
        }
        at += 1;
    }
    let is_macro = |at: usize| tokens[at] == "!" && tokens[at + 1] != "=";
    if at + 1 < tokens.len() && is_macro(at) && path.len() > prefix.len() {
        path.last_mut().expect("just pushed").push('!');
    }
    found.push(path);
    at
}

fn read_group(tokens: &[String], at: usize, prefix: &[String], found: &mut Vec<Vec<String>>) -> usize {
    let end = past_group(tokens, at);
    let mut at = at + 1;
    while at + 1 < end {
        at = match tokens[at].as_str() {
            "," => at + 1,
            // The name that an import is given here means nothing elsewhere.
            "as" => at + 2,
            _ => read_path(tokens, at, prefix, found).max(at + 1),
        };
    }
    end
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Names, `::` and single signs; comments, texts, characters, numbers and lifetimes are left out.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let len = if let Some(len) = silent(rest) {
            len
        } else if first.is_alphanumeric() || first == '_' {
            let len = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
            tokens.push(rest[..len].to_owned());
            len
        } else if rest.starts_with("::") {
            tokens.push("::".to_owned());
            2
        } else {
            if !first.is_whitespace() {
                tokens.push(first.to_string());
            }
            first.len_utf8()
        };
        rest = &rest[len..];
    }
    tokens
}

/// The length of the comment, text, character or lifetime that begins here.
fn silent(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Some(block_comment(rest));
    }
    if rest.starts_with("r#") && rest[2..].starts_with(|c: char| c.is_alphabetic()) {
        return Some(2);
    }
    let text = ["br", "cr", "b", "c", "r", ""].iter().find_map(|prefix| {
        let hashes = rest.strip_prefix(prefix)?.chars().take_while(|c| *c == '#').count();
        let is_raw = prefix.ends_with('r');
        let start = prefix.len() + hashes;
        (rest[start..].starts_with('"') && (is_raw || hashes == 0)).then_some((start, is_raw, hashes))
    });
    if let Some((start, is_raw, hashes)) = text {
        let close = format!("\"{}", "#".repeat(hashes));
        let body = &rest[start + 1..];
        let len = if is_raw { body.find(&close)? + close.len() } else { escaped(body, '"') };
        return Some(start + 1 + len);
    }
    character(rest)
}

/// Comments nest.
fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        let step = match &text[at..] {
            rest if rest.starts_with("/*") => (1, 2),
            rest if rest.starts_with("*/") => (-1, 2),
            rest => (0, rest.chars().next().map_or(1, char::len_utf8)),
        };
        depth += step.0;
        at += step.1;
        if depth == 0 {
            break;
        }
    }
    at
}

/// Up to and with the closing sign, `\` taking the one behind it along.
fn escaped(text: &str, close: char) -> usize {
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        if c == '\\' {
            chars.next();
        } else if c == close {
            return at + c.len_utf8();
        }
    }
    text.len()
}

/// `'x'`, `b'\n'`, or the `'a` of a lifetime.
fn character(rest: &str) -> Option<usize> {
    let quote = if rest.starts_with("b'") { 1 } else { 0 };
    let body = rest[quote..].strip_prefix('\'')?;
    let mut chars = body.chars();
    let first = chars.next()?;
    if first == '\\' || chars.next() == Some('\'') {
        return Some(quote + 1 + escaped(body, '\''));
    }
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    Some(quote + 1 + body.find(|c| !is_name(c)).unwrap_or(body.len()))
}

/// Faults planted in made-up files: a test that finds nothing must be able to find something.
mod planted {
    use super::*;

    #[track_caller]
    fn check(file: &str, text: &str, expected: &[&str]) {
        let findings = judge(&[(PathBuf::from(file), text.to_owned())]);
        // The rest of the tree is missing here, and every other row says so.
        let of_file: Vec<&String> = findings.iter().filter(|line| line.starts_with(file)).collect();
        let expected: Vec<String> = expected.iter().map(|words| format!("{file}: {words}")).collect();
        assert_eq!(of_file, expected.iter().collect::<Vec<_>>(), "{text}");
    }

    #[test]
    fn imports_are_found_in_every_shape() {
        let planted = [
            "use crate::store;",
            "use crate::store::Store as Shop;",
            "pub(crate) use crate::{model::{Event, self}, store::{self, Opened}};",
            "use crate::{model as m, text, store};",
            "use {crate::store::Store, std::fmt};",
            "use super::store::Store;",
            "fn f(a: &'a crate::store::Store) {}",
            "fn f() -> u8 { '\"'; crate::store::open(\"x\") }",
            "fn f(b: u8) { if b == b'\\'' { crate::store::open() } }",
            "macro_rules! m { () => { $crate::store::open() } }",
            "#[cfg(not(test))] use crate::store;",
            "#[cfg(test)] use std::fmt; use crate::store;",
            "#[cfg(test)] #[path = \"x.rs\"] mod tests { fn f() { let [a, b] = []; } } use crate::store;",
        ];
        for text in planted {
            check("text.rs", &format!("{text}\n"), &findings_for(text));
        }
        check("track/judge.rs", "use super::super::store;", &["`track` may not import `store`"]);
        check("track/mod.rs", "use super::store;", &["`track` may not import `store`"]);
        check("track/judge.rs", "use super::store;", &[]);
        check("text.rs", "use crate::*;", &["`text` may not import `*`"]);
    }

    fn findings_for(text: &str) -> Vec<&'static str> {
        let model = text.contains("model").then_some("`text` may not import `model`");
        model.into_iter().chain(["`text` may not import `store`"]).collect()
    }

    #[test]
    fn comments_texts_and_tests_do_not_count() {
        for text in [
            "// use crate::store;",
            "//! [`crate::store`]",
            "/* /* nested */ use crate::store; */",
            "const A: &str = \"crate::store\"; const B: &str = \"\\\"crate::store\";",
            "const A: &str = r#\"\"crate::store\"#; const B: &[u8] = br\"crate::store\\\"; const C: char = '\\'';",
            "#[cfg(test)]\nmod tests { use crate::store; fn f() { std::fs::read(\"}\"); } }",
            "#[cfg(all(test, unix))] fn f() { crate::store::open() }",
            "#[cfg(test)] #[expect(unused, reason = \"x\")] use crate::store;",
            "fn f<'store>(r: &'store str) { r.store(); let now = Said { now: said.now }; let File_ = 1; }",
            "fn f(env: u8) -> bool { env != 1 }",
        ] {
            check("text.rs", text, &[]);
        }
    }

    #[test]
    fn files_that_hold_tests_do_not_count() {
        let source = |file: &str, text: &str| (PathBuf::from(file), text.to_owned());
        let with = |declaration: &str| {
            let sources =
                [source("track/mod.rs", declaration), source("track/timelines.rs", "use crate::store;")];
            judge(&sources).iter().any(|line| line.contains("`track` may not import `store`"))
        };
        assert!(!with("#[cfg(test)]\nmod timelines;"));
        assert!(with("mod timelines;"));
    }

    #[test]
    fn the_core_knows_no_outside_world() {
        for (text, word, what) in [
            ("fn f() { Timestamp::now(); }", "now", "a clock"),
            ("use jiff::Timestamp as T; fn f() { T::now(); }", "now", "a clock"),
            ("use std::time::{Duration, Instant};", "Instant", "a clock"),
            ("use std::{fmt, fs::read};", "std::fs", "a file"),
            ("fn f() { std::net::TcpStream::connect(\"x\"); }", "std::net", "a socket"),
            ("async fn f() { tokio::task::yield_now().await }", "tokio", "a socket"),
            ("const A: &str = env!(\"HOME\");", "env!", "the environment"),
            ("use std::sync::{Arc, Mutex};", "std::sync", "a lock"),
        ] {
            let mut expected = vec![format!("the core may not name `{word}`: {what}")];
            if text.contains("Mutex") {
                expected.insert(0, "the core may not name `Mutex`: a lock".to_owned());
            }
            check("plan.rs", text, &expected.iter().map(String::as_str).collect::<Vec<_>>());
            check("clock.rs", text, &[]);
        }
        check("poll.rs", "use rusqlite::Connection;", &["`rusqlite` is for store only"]);
        check("poll.rs", "fn f() -> rusqlite::Result<()> { Err(rusqlite::Error::InvalidQuery) }", &[]);
    }

    #[test]
    fn a_file_needs_a_row_and_a_row_needs_a_file() {
        check("util.rs", "", &["no row for `util` in tests/it/arrows.rs"]);
        check("misc/mod.rs", "", &["no row for `misc` in tests/it/arrows.rs"]);
        let findings = judge(&[(PathBuf::from("watch.rs"), String::new())]);
        assert!(findings.contains(&"`watch` does not import `model` any more: shorten its row".to_owned()));
        assert!(findings.contains(&"a row for `model`, which is not in src/".to_owned()));
    }

    #[test]
    fn main_counts_by_the_librarys_name() {
        check("main.rs", "fn main() { statusd::cli::main() }", &[]);
        check("main.rs", "fn main() { statusd::store::open() }", &["`main` may not import `store`"]);
    }
}
