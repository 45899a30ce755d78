//! Maps the keys of a TOML text to lines, and rewords serde's errors about them.
//!
//! Knows no settings: the valid keys come from serde's message. Keeps only the types of values, so that
//! no secret can reach an error (`no_error_and_no_output_holds_a_secret`).

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use crate::channel;
use crate::delivery::policy;
use crate::text::nearest;

const WHOLE: &str = "a whole number";
/// The starts of serde's messages.
const OF_SERDE: [&str; 5] =
    ["invalid type: ", "invalid value: ", "invalid length ", "duplicate field ", "data did not match "];
const ARRAY: &str = "an array";
const INTEGER: &str = "an integer";

/// The keys of one text, each before its contents.
#[derive(Clone, Debug, Default)]
pub(super) struct SourceMap {
    entries: Vec<Entry>,
    /// Offsets of the line breaks.
    newlines: Vec<usize>,
}

/// A key and its value, or an element of an array under the array's key.
#[derive(Clone, Debug)]
struct Entry {
    /// The dotted key of its table; empty at the top of the file.
    table: String,
    name: String,
    key: Range<usize>,
    value: Range<usize>,
    /// The type, with its article.
    kind: &'static str,
}

impl SourceMap {
    pub fn of(table: &DeTable<'_>, text: &str) -> SourceMap {
        let newlines = text.match_indices('\n').map(|(offset, _)| offset).collect();
        let mut source_map = SourceMap { entries: Vec::new(), newlines };
        source_map.add_table("", table);
        source_map
    }

    /// Returns the line of a dotted key, from 1.
    pub fn line(&self, key: &str) -> Option<usize> {
        let entry = self.entries.iter().find(|entry| entry.dotted() == key)?;
        Some(self.line_at(entry.key.start))
    }

    /// Returns the arrays where a table is expected: at the top of the file, or in place of a channel.
    /// `lists` are the keys that may be arrays.
    pub fn arrays_for_tables(&self, lists: &[&str]) -> Vec<String> {
        let is_place =
            |table: &str| table.is_empty() || (table.split('.').count() <= 2 && table.starts_with("channel"));
        let arrays = self.entries.iter().filter(|entry| entry.kind == ARRAY);
        let wrong = arrays.filter(|entry| is_place(&entry.table) && !lists.contains(&entry.name.as_str()));
        wrong.map(Entry::dotted).collect()
    }

    /// Returns the dotted key at a span.
    pub fn key_at(&self, span: Option<Range<usize>>) -> Option<String> {
        self.at(&span?).map(Entry::dotted)
    }

    fn add_table(&mut self, path: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let (table, name) = (path.to_owned(), key.get_ref().to_string());
            let kind = kind(value.get_ref());
            self.add(Entry { table, name, key: key.span(), value: value.span(), kind }, value.get_ref());
        }
    }

    fn add(&mut self, entry: Entry, value: &DeValue<'_>) {
        self.entries.push(entry.clone());
        match value {
            DeValue::Table(table) => self.add_table(&entry.dotted(), table),
            DeValue::Array(elements) => {
                for element in elements {
                    let (span, kind) = (element.span(), kind(element.get_ref()));
                    let entry = Entry { key: span.clone(), value: span, kind, ..entry.clone() };
                    self.add(entry, element.get_ref());
                }
            }
            _ => {}
        }
    }

    fn line_at(&self, offset: usize) -> usize {
        self.newlines.partition_point(|newline| *newline < offset) + 1
    }

    /// Returns the entry at a span. Entries with the same span have the same key: an array of tables and
    /// its first element.
    fn at(&self, span: &Range<usize>) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == *span || entry.value == *span)
    }
}

impl Entry {
    fn dotted(&self) -> String {
        joined(&self.table, &self.name)
    }

    /// Returns ` in [feed]`; empty at the top of the file.
    fn location(&self) -> String {
        if self.table.is_empty() { String::new() } else { format!(" in [{}]", self.table) }
    }
}

/// An error of serde in plain words.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TomlError {
    /// From 1.
    pub line: Option<usize>,
    pub message: String,
    /// The dotted key, if the error is a missing key.
    pub missing: Option<String>,
}

/// Keys of development versions, with their new names.
const RENAMED: [(&str, &str); 4] = [
    ("alive", "liveness"),
    ("phone.look", "poll"),
    ("phone.late_look", "late_check"),
    ("channel.command.*.within_s", "timeout_s"),
];

/// Rewords an error of serde. `top` are the top-level keys that are not tables.
pub(super) fn toml_error(error: &toml::de::Error, source_map: &SourceMap, top: &[&str]) -> TomlError {
    let span = error.span();
    let entry = span.as_ref().and_then(|span| source_map.at(span));
    let line = span.as_ref().map(|span| source_map.line_at(span.start));
    let message = match entry {
        Some(entry) if error.message().starts_with("unknown field ") => {
            unknown_key(entry, &known_keys(error.message()), top)
        }
        Some(entry) => format!("{}: {}", entry.dotted(), wrong_value(error.message(), entry)),
        None => reworded(error.message()),
    };
    let missing = entry.zip(missing_field(error.message()));
    let missing = missing.map(|(entry, field)| joined(&entry.dotted(), field));
    TomlError { line, message, missing }
}

fn unknown_key(entry: &Entry, known: &[&str], top: &[&str]) -> String {
    let known = &with_policy_keys(&entry.table, known);
    let start = format!("unknown key {:?}{}", entry.name, entry.location());
    if let Some((_, now)) = RENAMED.iter().find(|(before, _)| is_match(before, &entry.dotted())) {
        return format!("{start}; renamed to {now:?}");
    }
    if let Some(near) = nearest(&entry.name, known.iter().copied()) {
        return format!("{start}; did you mean {near:?}?");
    }
    // A common TOML mistake: a key below a table header belongs to that table.
    if let Some(near) = nearest(&entry.name, top.iter().copied()) {
        return format!("{start}; {near:?} belongs at the top of the file, above every [table]");
    }
    format!("{start}; known keys: {}", known.join(", "))
}

/// Compares dotted keys; `*` in `pattern` stands for one part.
fn is_match(pattern: &str, key: &str) -> bool {
    pattern.split('.').count() == key.split('.').count()
        && pattern.split('.').zip(key.split('.')).all(|(wanted, part)| wanted == "*" || wanted == part)
}

/// Adds the policy keys in a channel's table.
fn with_policy_keys<'k>(table: &str, known: &[&'k str]) -> Vec<&'k str> {
    let is_channel = match table.strip_prefix("channel.").map(|rest| rest.split_once('.')) {
        Some(None) => channel::is_single(&table["channel.".len()..]),
        Some(Some((_, name))) => !name.contains('.'),
        None => false,
    };
    let policy = if is_channel { &policy::KEYS[..] } else { &[] };
    known.iter().chain(policy).copied().collect()
}

/// Returns the fields in serde's "unknown field `a`, expected one of `b`, `c`" ("expected `b`", "expected
/// `b` or `c`").
pub(super) fn known_keys(message: &str) -> Vec<&str> {
    let list = message.rsplit_once(", expected ").map_or("", |(_, list)| list);
    list.split('`').skip(1).step_by(2).collect()
}

fn wrong_value(message: &str, entry: &Entry) -> String {
    let quoted = ["invalid type: ", "invalid value: "].iter().any(|start| message.starts_with(start));
    // The last match, because serde quotes the value first, and the value may contain these words.
    let expected = message.rsplit_once(", expected ").map(|(_, expected)| expected);
    match expected {
        Some(expected) if quoted && entry.kind == INTEGER && expected_kind(expected) == WHOLE => {
            "the number is out of range".to_owned()
        }
        Some(expected) if quoted => {
            let hint = if expected.starts_with("struct ") && entry.table.starts_with("channel.") {
                format!("; a channel of this kind has a name: write [{}.NAME]", entry.table)
            } else {
                String::new()
            };
            format!("expected {}, found {}{hint}", expected_kind(expected), entry.kind)
        }
        _ => reworded(message),
    }
}

/// Rewords errors of serde that quote no value. Our own are already in plain words.
fn reworded(message: &str) -> String {
    if let Some(field) = missing_field(message) {
        return format!("the key {field:?} is missing");
    }
    match message.split_once('`').filter(|(start, _)| *start == "unknown variant ") {
        Some((_, rest)) => {
            let given = rest.split('`').next().unwrap_or_default();
            format!("invalid value {given:?}: expected one of {}", known_keys(message).join(", "))
        }
        None if OF_SERDE.iter().any(|start| message.starts_with(start)) => {
            "invalid type; see docs/configuration.md for the expected one".to_owned()
        }
        None => message.to_owned(),
    }
}

fn missing_field(message: &str) -> Option<&str> {
    message.strip_prefix("missing field `")?.strip_suffix('`')
}

/// Replaces serde's type names, which are those of Rust.
fn expected_kind(expected: &str) -> &str {
    match expected {
        "a boolean" => "true or false",
        "i8" | "i16" | "i32" | "i64" | "u8" | "u16" | "u32" | "u64" | "usize" => WHOLE,
        "f32" | "f64" => "a number",
        "path string" => "a string",
        "a sequence" => "an array",
        "a map" => "a table",
        other if other.starts_with("struct ") => "a table",
        other => other,
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => INTEGER,
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(true) => "true",
        DeValue::Boolean(false) => "false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => ARRAY,
        DeValue::Table(_) => "a table",
    }
}

/// Returns line and column of a byte offset, both from 1. The column counts characters.
pub(super) fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..offset.min(text.len())];
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    (line, String::from_utf8_lossy(&before[start..]).chars().count() + 1)
}

/// Returns the dotted key. Quotes the name if TOML requires it.
pub(super) fn joined(table: &str, name: &str) -> String {
    let bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    let name = if bare { name.to_owned() } else { format!("{name:?}") };
    if table.is_empty() { name } else { format!("{table}.{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source_map(text: &str) -> SourceMap {
        SourceMap::of(DeTable::parse(text).expect("TOML").get_ref(), text)
    }

    #[test]
    fn every_key_has_its_line() {
        let source_map =
            source_map("a = 1\n\n[b]\n\"c d\" = [\n 1,\n 2]\ne.f = 'x'\n[b.g]\n[[h]]\ni = 1\n[[h]]\ni = 1");
        for (key, line) in [
            ("a", 1),
            ("b", 3),
            ("b.\"c d\"", 4),
            ("b.e", 7),
            ("b.e.f", 7),
            ("b.g", 8),
            ("h", 9),
            ("h.i", 10),
        ] {
            assert_eq!(source_map.line(key), Some(line), "{key}");
        }
        assert_eq!(source_map.line("c d"), None);
        assert_eq!(source_map.arrays_for_tables(&["a"]), ["h"]);
        assert!(source_map.arrays_for_tables(&["h"]).is_empty());
    }

    /// Fails if serde changes the format of its message, which [`known_keys`] parses.
    #[test]
    fn serde_lists_the_known_keys() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        #[expect(dead_code, reason = "only its fields' names count")]
        struct Three {
            one: Option<One>,
            two: Option<Two>,
            three: Option<u8>,
        }
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        #[expect(dead_code, reason = "only its fields' names count")]
        struct One {
            a: Option<u8>,
        }
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        #[expect(dead_code, reason = "only its fields' names count")]
        struct Two {
            a: Option<u8>,
            b: Option<u8>,
        }
        for (text, known) in [
            ("one.zzz = 1", vec!["a"]),
            ("two.zzz = 1", vec!["a", "b"]),
            ("'zzz, expected `x`' = 1", vec!["one", "two", "three"]),
        ] {
            let error = toml::from_str::<Three>(text).expect_err("unknown");
            assert_eq!(known_keys(error.message()), known, "{}", error.message());
        }
    }

    #[test]
    fn columns_count_characters() {
        assert_eq!(line_and_column("a\nüü b", 7), (2, 4));
        assert_eq!(line_and_column("a\n", 2), (2, 1));
        assert_eq!(line_and_column("", 0), (1, 1));
        assert_eq!(line_and_column("ab", 99), (1, 3));
    }
}
