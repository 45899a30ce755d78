//! The configuration file: finding it, reading it, its shape.
//!
//! What the settings mean is decided elsewhere; here they are texts and numbers. Invariant: what
//! the shape does not name is an error.

use std::collections::BTreeMap;
use std::io;
use std::path::{self, Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Origins};
use super::outline::{Outline, complaint, line_and_column};
use super::{Environment, phone, places};
use crate::channel::{SINGLE_CHANNELS, Tables, heartbeat};
use crate::{regular_file, terms};

/// Thousands of times what a configuration needs.
const MAX_BYTES: u64 = 1024 * 1024;

/// Keys at the top of the file that hold no table.
const TOP_KEYS: [&str; 2] = ["watch", "time_zone"];
/// Keys that hold an array where otherwise tables stand.
const LISTS: [&str; 4] = ["watch", "only", "services", "backups"];

/// The file as it is written. `None` is "not written". Without `Debug`: it holds what may be secret.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct File {
    pub watch: Option<Vec<String>>,
    pub time_zone: Option<String>,
    pub feed: Feed,
    pub schedule: Schedule,
    pub state: State,
    pub record: Record,
    pub log: Log,
    pub heartbeat: heartbeat::Settings,
    pub alive: Alive,
    pub phone: phone::Settings,
    pub channel: Tables,
    /// By the channel's name: `desktop`, `webhook.ops`. In the file these keys stand among the
    /// channel's own; see [`take_terms`].
    #[serde(skip)]
    pub terms: BTreeMap<String, terms::Settings>,
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
pub(super) struct Schedule {
    pub poll: Option<String>,
    pub trouble: Option<String>,
    pub jitter_s: Option<i64>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct State {
    pub directory: Option<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Record {
    pub file: Option<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Log {
    pub level: Option<String>,
    pub format: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Alive {
    pub when: Option<String>,
}

/// The file that was asked for, else the first candidate that is there, else an empty one.
pub(super) fn read(
    asked: Option<&Path>,
    environment: &Environment<'_>,
) -> Result<(File, Origins), ConfigError> {
    if let Some(path) = asked {
        let missing = || ConfigError::of_file(path, "no such file; `statusd config init` writes one");
        return parse(path, &contents(path)?.ok_or_else(missing)?);
    }
    for path in places::config_candidates(environment) {
        if let Some(text) = contents(&path)? {
            return parse(&path, &text);
        }
    }
    Ok(Default::default())
}

/// `None` if there is no such file. One that is there and cannot be read is an error: passing over
/// it would run with settings that nobody chose.
fn contents(path: &Path) -> Result<Option<String>, ConfigError> {
    let bytes = match regular_file::read(path, MAX_BYTES) {
        Ok(bytes) => bytes,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            return Err(ConfigError::of_file(path, "larger than 1 MiB; is it the right file?"));
        }
        Err(error) => return Err(ConfigError::of_file(path, format!("cannot be read: {error}"))),
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

pub(super) fn parse(path: &Path, text: &str) -> Result<(File, Origins), ConfigError> {
    let mut table = DeTable::parse(text).map_err(|error| {
        let offset = error.span().map_or(text.len(), |span| span.start);
        let (line, column) = line_and_column(text, offset);
        // The message alone: the full text of the error repeats the line, secrets and all.
        ConfigError::at_column(path, line, column, error.message())
    })?;
    let outline = Outline::of(table.get_ref(), text);
    let complain = |error: toml::de::Error| {
        let complaint = complaint(&error, &outline, &TOP_KEYS);
        ConfigError::at_line(path, complaint.line, complaint.message)
    };
    let taken = take_terms(table.get_mut());
    let read = File::deserialize(toml::Deserializer::from(table));
    let unknown = read.as_ref().is_err_and(|error| error.message().starts_with("unknown field "));
    // serde takes an array for a table, its elements for the table's values in order.
    if let Some(key) = outline.array_for_table(&LISTS).filter(|_| !unknown) {
        let message = format!("{key}: expected a single value or [table], found an array");
        return Err(ConfigError::at_line(path, outline.line(&key), message));
    }
    let mut file = read.map_err(complain)?;
    for (channel, keys) in taken {
        let settings = terms::Settings::deserialize(toml::Deserializer::from(keys)).map_err(complain)?;
        file.terms.insert(channel, settings);
    }
    // The daemon may change its directory; the file stays where it was found.
    let path = path::absolute(path).unwrap_or_else(|_| path.to_owned());
    Ok((file, Origins { file: Some(path), outline, flags: BTreeMap::new() }))
}

/// Takes the keys that every channel may have out of the channels' tables, each set under its
/// channel's name. serde cannot have keys shared by many tables and refuse unknown ones as well.
fn take_terms<'t>(file: &mut DeTable<'t>) -> Vec<(String, Spanned<DeTable<'t>>)> {
    let mut taken = Vec::new();
    let Some(DeValue::Table(kinds)) = file.get_mut("channel").map(Spanned::get_mut) else { return taken };
    for (kind, value) in kinds.iter_mut() {
        let kind = kind.get_ref().to_string();
        let DeValue::Table(table) = value.get_mut() else { continue };
        if SINGLE_CHANNELS.contains(&kind.as_str()) {
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
    for key in terms::KEYS {
        if let Some((key, value)) = table.remove_entry(key) {
            taken.insert(key, value);
        }
    }
    Spanned::new(0..0, taken)
}
