//! Tests of the documentation: every `statusd …` command in the documents, the sample configuration and
//! the help parses, and every JSON document has the fields of its example in `docs/json.md`.
//!
//! Runs no command. Running text may omit required arguments (`statusd replay`); a block to copy may not.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Command;
use clap::error::ErrorKind;
use serde_json::Value;

use super::{args, flags};
use crate::doctor::Selection;

/// Guards against a search that finds nothing.
const MIN_COMMANDS: usize = 120;
/// Separators between two commands on one line.
const SEPARATORS: [&str; 4] = ["|", "&&", "||", ";"];
/// Followed by a file name.
const REDIRECTIONS: [&str; 4] = [">", ">>", "2>", "<"];

/// The place of a command in a document.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A block to copy.
    Block,
    /// Running text.
    Text,
}

/// Checks a document against the example under its heading in `docs/json.md`: objects must have the
/// same fields, and so must the first elements of arrays.
#[track_caller]
pub fn check_documented(heading: &str, document: &Value) {
    let reference = include_str!("../../docs/json.md");
    let chapter = reference.split("\n## ").find(|chapter| chapter.starts_with(heading));
    let example = chapter.and_then(|chapter| chapter.split("```json").nth(1)).expect("an example");
    let example = example.split("```").next().unwrap_or_default();
    check_fields(heading, &serde_json::from_str(example).expect("JSON"), document);
}

#[track_caller]
fn check_fields(place: &str, example: &Value, document: &Value) {
    match (example, document) {
        // A change has an example of its own, which another test checks.
        (Value::Object(_), Value::Object(_)) if place.ends_with(".change") => {}
        (Value::Object(example), Value::Object(document)) => {
            let fields = |object: &serde_json::Map<String, Value>| object.keys().cloned().collect();
            let (expected, found): (BTreeSet<String>, BTreeSet<String>) = (fields(example), fields(document));
            assert_eq!(found, expected, "{place}");
            for (name, value) in example {
                check_fields(&format!("{place}.{name}"), value, &document[name]);
            }
        }
        (Value::Array(example), Value::Array(document)) => {
            if let (Some(example), Some(document)) = (example.first(), document.first()) {
                check_fields(place, example, document);
            }
        }
        _ => {}
    }
}

#[test]
fn every_documented_command_parses() {
    let mut found = 0;
    for path in documents() {
        let text = fs::read_to_string(&path).expect("a document");
        for (place, words) in shown(&text) {
            check(&path.display().to_string(), place, &words);
            found += 1;
        }
    }
    found += check_help(&mut flags::command());
    assert!(found > MIN_COMMANDS, "{found}");
}

fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let documents = [root.to_owned(), root.join("docs")].into_iter().flat_map(|directory| {
        let entries = fs::read_dir(directory).expect("a directory");
        entries.map(|entry| entry.expect("an entry").path())
    });
    let is_document = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "md");
    documents.filter(is_document).chain([root.join("config/statusd.toml")]).collect()
}

/// Checks the examples in the help of a command and its subcommands; returns their number.
fn check_help(command: &mut Command) -> usize {
    let help = command
        .get_after_long_help()
        .or(command.get_after_help())
        .map(ToString::to_string)
        .unwrap_or_default();
    let mut found = 0;
    for line in help.lines().filter_map(|line| line.strip_prefix("  ")) {
        // A description follows after three blanks.
        let line = line.split("   ").next().unwrap_or_default();
        for words in commands(line) {
            check(command.get_name(), Place::Block, &words);
            found += 1;
        }
    }
    found + command.get_subcommands_mut().map(check_help).sum::<usize>()
}

#[track_caller]
fn check(place: &str, kind: Place, words: &[String]) {
    let parsed = flags::parse(&words.iter().map(OsString::from).collect::<Vec<_>>());
    if let Ok(args::Cli { command: args::CliCommand::Doctor(doctor), .. }) = &parsed {
        let asked = Selection::new(&doctor.only, &doctor.skip);
        assert!(asked.is_ok(), "{place}: {}: {asked:?}", words.join(" "));
    }
    if let Err(error) = parsed {
        let is_fine = match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => true,
            ErrorKind::MissingRequiredArgument
            | ErrorKind::MissingSubcommand
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => kind == Place::Text,
            _ => false,
        };
        assert!(is_fine, "{place}: {}: {error}", words.join(" "));
    }
}

/// Returns the commands in a Markdown document, or in comments that use backquotes.
fn shown(text: &str) -> Vec<(Place, Vec<String>)> {
    let mut found = Vec::new();
    // Every second part is a fenced block. In running text a command may span two lines.
    for (number, part) in text.split("```").enumerate() {
        if number % 2 == 1 {
            found.extend(part.lines().flat_map(commands).map(|words| (Place::Block, words)));
        } else {
            let spans = part.split('`').skip(1).step_by(2);
            let spans = spans.map(|span| span.split_whitespace().collect::<Vec<_>>().join(" "));
            found.extend(spans.flat_map(|span| commands(&span)).map(|words| (Place::Text, words)));
        }
    }
    found
}

/// Returns the statusd commands in a shell line, without optional parts in brackets.
fn commands(line: &str) -> Vec<Vec<String>> {
    let words = words(&without_brackets(line));
    words.split(|word| SEPARATORS.contains(&word.as_str())).filter_map(command).collect()
}

fn without_brackets(line: &str) -> String {
    let mut depth = 0;
    let is_outside = |c: &char| {
        depth += i32::from(*c == '[') - i32::from(*c == ']');
        depth == 0 && *c != ']'
    };
    line.chars().filter(is_outside).collect()
}

fn command(part: &[String]) -> Option<Vec<String>> {
    let is_variable = |word: &str| {
        word.split_once('=')
            .is_some_and(|(name, _)| name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_'))
    };
    let is_prefix = |word: &&String| ["$", "sudo"].contains(&word.as_str()) || is_variable(word);
    let part = &part[part.iter().take_while(is_prefix).count()..];
    let arguments = match part {
        [program, rest @ ..] if program == "statusd" || program.ends_with("/statusd") => rest,
        // Without arguments the script runs `statusd run`.
        [script, rest @ ..] if script.ends_with("scripts/run") && !rest.is_empty() => rest,
        [cargo, run, rest @ ..] if cargo == "cargo" && run == "run" => {
            let first = rest.iter().position(|word| word == "--").map_or(rest.len(), |dashes| dashes + 1);
            &rest[first..]
        }
        _ => return None,
    };
    let is_argument = |word: &&String| !REDIRECTIONS.contains(&word.as_str());
    let given = arguments
        .iter()
        .take_while(is_argument)
        .map(|word| if word == "NUMBER" || word == "ID" { "7" } else { word });
    Some(std::iter::once("statusd").chain(given).map(str::to_owned).collect())
}

/// Splits a line at blanks outside quotes, up to a comment.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match quote {
            Some(end) if c == end => quote = None,
            Some(_) => word.get_or_insert_default().push(c),
            None if c == '\'' || c == '"' => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if c == '#' && word.is_none() => break,
            None if c.is_whitespace() => words.extend(word.take()),
            None => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[test]
fn commands_are_found_in_shell_lines() {
    #[track_caller]
    fn check(line: &str, expected: &[&str]) {
        let found: Vec<String> = commands(line).iter().map(|words| words[1..].join("|")).collect();
        assert_eq!(found, expected, "{line}");
    }
    check("statusd check 'iCloud *' Photos  # two", &["check|iCloud *|Photos"]);
    check("$ statusd check --json | jq .verdict", &["check|--json"]);
    check("export | sudo statusd fleet - > judged.csv", &["fleet|-"]);
    check("cargo run --release -- drill --dry", &["drill|--dry"]);
    check("cargo run -- drill", &["drill"]);
    check("./scripts/run check --json", &["check|--json"]);
    check("./scripts/run", &[]);
    check("STATUSD_LOCALE=de_DE /usr/bin/statusd status", &["status"]);
    check("statusd outbox retry NUMBER [--channel NAME]", &["outbox|retry|7"]);
    check("systemctl reload statusd", &[]);
    check("cargo test", &[]);
}

#[test]
#[should_panic(expected = "unexpected argument")]
fn an_unknown_flag_is_reported() {
    check("here", Place::Text, &commands("statusd check --jsn")[0]);
}

#[test]
#[should_panic(expected = "unknown check")]
fn an_unknown_check_is_reported() {
    check("here", Place::Text, &commands("statusd doctor --only storage")[0]);
}

#[test]
#[should_panic(expected = "required")]
fn a_block_requires_complete_commands() {
    check("here", Place::Block, &commands("statusd replay")[0]);
}
