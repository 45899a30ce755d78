//! Finds and reads the configuration file, and defines its structure.
//!
//! Values stay texts and numbers here; [`check`](super::check) parses them. Unknown keys are errors
//! (`unknown_keys_are_named_with_their_nearest`).

use std::collections::BTreeMap;
use std::io;
use std::path::{self, Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Faults, Origins};
use super::source_map::{SourceMap, TomlError, joined, line_and_column, toml_error};
use super::{Environment, paths, phone, syntax};
use crate::cause::Cause as _;
use crate::channel::{self, Tables};
use crate::delivery::heartbeat;
use crate::delivery::policy;
use crate::regular_file;

/// Thousands of times the size of a typical file.
const MAX_BYTES: u64 = 1024 * 1024;

const MISSING: &str = "no such file; `statusd config init` writes one";
/// Top-level keys that are not tables.
const TOP_KEYS: [&str; 2] = ["watch", "time_zone"];
/// Keys with array values, in places where other keys are tables.
const LISTS: [&str; 4] = ["watch", "only", "services", "backups"];

/// The file as written. `None` if not written. Without `Debug`, because values may be secret.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct File {
    pub watch: Option<Vec<String>>,
    pub time_zone: Option<String>,
    pub feed: Feed,
    pub schedule: ScheduleKeys,
    pub state: StateKeys,
    pub record: Record,
    pub log: LogKeys,
    pub heartbeat: heartbeat::Settings,
    pub liveness: Liveness,
    pub phone: phone::Settings,
    pub channel: Tables,
    /// Keyed by the channel's name: `desktop`, `webhook.ops`. In the file these keys are part of the
    /// channel's table; see [`take_policies`].
    #[serde(skip)]
    pub policy: BTreeMap<String, policy::Settings>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Feed {
    pub edition: Option<String>,
    pub locale: Option<String>,
    pub url: Option<String>,
    pub ca_file: Option<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ScheduleKeys {
    pub poll: Option<String>,
    pub trouble: Option<String>,
    pub jitter_s: Option<i64>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct StateKeys {
    pub directory: Option<PathBuf>,
    pub keep: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Record {
    pub file: Option<PathBuf>,
    pub keep: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LogKeys {
    pub level: Option<String>,
    pub format: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Liveness {
    pub when: Option<String>,
}

/// Reads the requested file, else the first candidate that exists, else returns an empty one. Adds
/// errors to `faults` and omits the invalid settings.
pub(super) fn read(
    requested: Option<&Path>,
    environment: &Environment<'_>,
    faults: &mut Faults,
) -> (File, Origins) {
    let candidates = match requested {
        Some(path) => vec![path.to_owned()],
        None => paths::config_candidates(environment),
    };
    for path in candidates {
        let origins = || Origins { file: Some(whole(&path)), ..Origins::default() };
        match contents(&path) {
            Ok(Some(text)) => return parse(&path, &text, faults),
            Ok(None) => {}
            Err(error) => {
                faults.add(error);
                return (File::default(), origins());
            }
        }
    }
    if let Some(path) = requested {
        faults.add(ConfigError::of_file(path, MISSING));
    }
    Default::default()
}

/// Makes a path independent of later changes of the working directory.
fn whole(path: &Path) -> PathBuf {
    path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Returns the text; `None` if the file does not exist. An unreadable file is an error, because to skip
/// it would mean running with unintended settings.
fn contents(path: &Path) -> Result<Option<String>, ConfigError> {
    let bytes = match regular_file::read(path, MAX_BYTES) {
        Ok(bytes) => bytes,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            return Err(ConfigError::of_file(path, "larger than 1 MiB; is it the right file?"));
        }
        Err(error) => return Err(ConfigError::of_file(path, format!("cannot be read: {}", error.reason()))),
    };
    String::from_utf8(bytes).map(Some).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..good].iter().filter(|byte| **byte == b'\n').count() + 1;
        ConfigError::at_line(path, Some(line), "not UTF-8 text; save the file as UTF-8")
    })
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Parses a text. Adds errors to `faults` and omits the invalid settings.
pub(super) fn parse(path: &Path, text: &str, faults: &mut Faults) -> (File, Origins) {
    let (mut table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let offset = error.span().map_or(text.len(), |span| span.start);
        let (line, column) = line_and_column(text, offset);
        // Only the message, because the full error repeats the line, which may hold a secret.
        faults.add(ConfigError::at_column(path, line, column, &syntax(error.message())));
    }
    if !errors.is_empty() {
        // After a missing bracket the rest is unreliable.
        return (File::default(), Origins { file: Some(whole(path)), ..Origins::default() });
    }
    let source_map = SourceMap::of(table.get_ref(), text);
    let mut reader = Reader { path, source_map: &source_map, faults };
    let taken = take_policies(table.get_mut());
    let mut file: File = reader.read(table, "");
    for (channel, keys) in taken {
        let settings = reader.read(keys, &format!("channel.{channel}"));
        file.policy.insert(channel, settings);
    }
    (file, Origins { file: Some(whole(path)), source_map, given: BTreeMap::new() })
}

/// Deserializes tables without their invalid keys.
struct Reader<'r> {
    path: &'r Path,
    source_map: &'r SourceMap,
    faults: &'r mut Faults,
}

impl Reader<'_> {
    /// Reads the table with the dotted key `place`. serde stops at the first fault, so the faulty key is
    /// removed and the rest is read again.
    fn read<'t, T: Deserialize<'t> + Default>(&mut self, mut table: Spanned<DeTable<'t>>, place: &str) -> T {
        let mut removed: Vec<String> = Vec::new();
        loop {
            let read = T::deserialize(toml::Deserializer::from(table.clone()));
            // serde accepts an array as a table: its elements become the values in order.
            let is_about = |array: &str| match &read {
                Ok(_) => true,
                Err(error) if error.message().starts_with("unknown field ") => false,
                Err(error) => self.source_map.key_at(error.span()).is_none_or(|key| is_in(&key, array)),
            };
            let mut arrays = self.source_map.arrays_for_tables(&LISTS).into_iter();
            let array = arrays.find(|array| is_about(array) && holds(table.get_ref(), place, array));
            let (key, error) = match (array, read) {
                (Some(key), _) => {
                    let message = format!("{key}: expected a single value or [table], found an array");
                    (
                        Some(key.clone()),
                        TomlError { line: self.source_map.line(&key), message, missing: None },
                    )
                }
                (None, Ok(read)) => return read,
                (None, Err(error)) => {
                    (self.source_map.key_at(error.span()), toml_error(&error, self.source_map, &TOP_KEYS))
                }
            };
            // A key that was removed because of its own fault is not missing.
            let is_missing = |key: &String| removed.contains(key);
            if !error.missing.as_ref().is_some_and(is_missing) {
                self.faults.add(ConfigError::at_line(self.path, error.line, error.message));
            }
            match key {
                Some(key) if remove(table.get_mut(), place, &key) => removed.push(key),
                _ => return T::default(),
            }
        }
    }
}

/// Returns whether a dotted key is `table`, or below it.
fn is_in(key: &str, table: &str) -> bool {
    key.strip_prefix(table).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Returns whether a dotted key is in the table at `place`.
fn holds(table: &DeTable<'_>, place: &str, wanted: &str) -> bool {
    table.iter().any(|(key, value)| {
        let dotted = joined(place, key.get_ref());
        match value.get_ref() {
            DeValue::Table(table) if dotted != wanted => {
                is_in(wanted, &dotted) && holds(table, &dotted, wanted)
            }
            _ => dotted == wanted,
        }
    })
}

/// Removes a dotted key, or the array that contains it. Returns whether it existed.
fn remove(table: &mut DeTable<'_>, place: &str, wanted: &str) -> bool {
    let keys: Vec<String> = table.keys().map(|key| key.get_ref().to_string()).collect();
    let Some(key) = keys.into_iter().find(|key| is_in(wanted, &joined(place, key))) else { return false };
    let dotted = joined(place, &key);
    match table.get_mut(key.as_str()).map(Spanned::get_mut) {
        Some(DeValue::Table(below)) if dotted != wanted => remove(below, &dotted, wanted),
        _ => table.remove(key.as_str()).is_some(),
    }
}

/// Returns an error of the TOML parser in plain words.
fn syntax(message: &str) -> String {
    format!("invalid TOML: {}", syntax::reworded(message))
}

/// Moves the policy keys out of the channels' tables, grouped by channel name, because serde cannot both
/// flatten shared keys and reject unknown ones.
fn take_policies<'t>(file: &mut DeTable<'t>) -> Vec<(String, Spanned<DeTable<'t>>)> {
    let mut taken = Vec::new();
    let Some(DeValue::Table(kinds)) = file.get_mut("channel").map(Spanned::get_mut) else { return taken };
    for (kind, value) in kinds.iter_mut() {
        let kind = kind.get_ref().to_string();
        let DeValue::Table(table) = value.get_mut() else { continue };
        if channel::is_single(&kind) {
            taken.push((kind, take_keys(table)));
            continue;
        }
        for (name, value) in table.iter_mut() {
            if let DeValue::Table(table) = value.get_mut() {
                taken.push((format!("{kind}.{}", name.get_ref()), take_keys(table)));
            }
        }
    }
    taken
}

fn take_keys<'t>(table: &mut DeTable<'t>) -> Spanned<DeTable<'t>> {
    let mut taken = DeTable::new();
    for key in policy::KEYS {
        if let Some((key, value)) = table.remove_entry(key) {
            taken.insert(key, value);
        }
    }
    Spanned::new(0..0, taken)
}
