//! Writes the effective settings as TOML, each with its source.
//!
//! `load` reads the output (`shown_settings_load_as_the_same`). Secrets redact themselves when they are
//! serialised (`no_error_and_no_output_holds_a_secret`).

use std::path::Path;

use serde_json::{Map, Value, json};

use super::Config;
use super::error::Origins;
use super::source_map::joined;

pub(super) fn text(config: &Config) -> String {
    let source = match &config.source {
        Some(path) => format!("the lines are those of {path:?}"),
        None => "there is no configuration file".to_owned(),
    };
    let mut text = format!("# The settings in effect; {source}.\n");
    if let Value::Object(settings) = settings(config) {
        put_table(&mut text, "", &settings, &config.origins);
    }
    text
}

/// Returns the effective settings in the order of the documentation, with secrets hidden.
pub(super) fn settings(config: &Config) -> Value {
    let lossy = |path: &Path| path.to_string_lossy().into_owned();
    let backups: Vec<String> = config.phone.backups.iter().map(|path| lossy(path)).collect();
    json!({
        "watch": config.watch,
        "time_zone": super::zone::iana_name(&config.time_zone).filter(|_| config.zone_fault.is_none()),
        "feed": {
            "edition": config.feed.edition.as_str(),
            "locale": config.feed.locale,
            "url": config.feed_url.as_ref().map(ToString::to_string),
            "ca_file": config.ca_file.as_deref().map(lossy),
        },
        "schedule": {
            "poll": config.poll.as_str(),
            "trouble": config.trouble.as_str(),
            "jitter_s": config.jitter_s,
        },
        "state": {"directory": lossy(&config.state_directory), "keep": config.state_keep.text},
        "record": config.record_file.as_deref().map(|file| {
            json!({"file": lossy(file), "keep": config.record_keep.text})
        }),
        "log": {"level": config.log_level.as_str(), "format": config.log_format.as_str()},
        "heartbeat": config.heartbeat,
        "web": config.web,
        "liveness": {"when": config.liveness.as_ref().map(|liveness| liveness.as_str())},
        "phone": {
            "enabled": config.phone.enabled,
            "poll": config.phone.poll.as_str(),
            "usbmuxd": config.phone.usbmuxd,
            "late_after": config.phone.late_after,
            "late_check": config.phone.late_check.as_str(),
            "backups": backups,
        },
        "channel": channels(config),
    })
}

/// Returns the channels' tables, each with its policy.
fn channels(config: &Config) -> Value {
    let mut kinds = json!(config.channel);
    for (channel, (policy, _)) in &config.policy {
        let (kind, name) = channel.split_once('.').unzip();
        let table = &mut kinds[kind.unwrap_or(channel)];
        let table = if let Some(name) = name { &mut table[name] } else { table };
        if let (Value::Object(table), Value::Object(policy)) = (table, json!(policy)) {
            table.extend(policy);
        }
    }
    kinds
}

/// Writes the values of a table, then the tables in it. Omits what is not set.
fn put_table(text: &mut String, table: &str, settings: &Map<String, Value>, origins: &Origins) {
    let is_set = |value: &Value| !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty());
    let values: Vec<_> = settings.iter().filter(|(_, value)| !value.is_object() && is_set(value)).collect();
    if !values.is_empty() && !table.is_empty() {
        text.push_str(&format!("\n[{table}]\n"));
    }
    for (name, value) in values {
        let value = toml::Value::try_from(value).expect("the settings come from TOML");
        let origin = origins.describe(&joined(table, name));
        text.push_str(&format!("{} = {value} # {origin}\n", joined("", name)));
    }
    for (name, below) in settings.iter().filter_map(|(name, value)| Some((name, value.as_object()?))) {
        put_table(text, &joined(table, name), below, origins);
    }
}
