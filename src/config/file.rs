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
use super::source_map::{SourceMap, line_and_column};
use super::{Environment, paths, phone, reader, syntax};
use crate::cause::Cause as _;
use crate::channel::{self, Tables};
use crate::delivery::heartbeat;
use crate::delivery::policy;
use crate::regular_file;
use crate::web;

/// Thousands of times the size of a typical file.
const MAX_BYTES: u64 = 1024 * 1024;

const MISSING: &str = "no such file; `statusd config init` writes one";
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
    pub web: Option<web::Settings>,
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
    let origins = Origins { file: Some(whole(path)), source_map, given: BTreeMap::new() };
    let taken = take_policies(table.get_mut());
    let mut file: File = reader::read(table.into_inner(), "", &origins, faults);
    for (channel, keys) in taken {
        let settings = reader::read(keys, &format!("channel.{channel}"), &origins, faults);
        file.policy.insert(channel, settings);
    }
    (file, origins)
}

/// Returns an error of the TOML parser in plain words.
fn syntax(message: &str) -> String {
    format!("invalid TOML: {}", syntax::reworded(message))
}

/// Moves the policy keys out of the channels' tables, grouped by channel name, because serde cannot both
/// flatten shared keys and reject unknown ones.
fn take_policies<'t>(file: &mut DeTable<'t>) -> Vec<(String, DeTable<'t>)> {
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

fn take_keys<'t>(table: &mut DeTable<'t>) -> DeTable<'t> {
    let mut taken = DeTable::new();
    for key in policy::KEYS {
        if let Some((key, value)) = table.remove_entry(key) {
            taken.insert(key, value);
        }
    }
    taken
}
