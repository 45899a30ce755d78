//! Writes the effective settings as TOML, each with its source.
//!
//! `load` reads the output (`shown_settings_load_as_the_same`). No secret is shown
//! (`no_error_and_no_output_holds_a_secret`).

use std::path::Path;

use toml::Value;

use super::Config;
use super::error::Origins;
use crate::delivery::policy;

pub(super) fn text(config: &Config) -> String {
    let origins = &config.origins;
    let source = match &config.source {
        Some(path) => format!("the lines are those of {path:?}"),
        None => "there is no configuration file".to_owned(),
    };
    let mut page =
        Page { text: format!("# The settings in effect; {source}.\n"), table: String::new(), origins };
    page.put("watch", Value::Array(config.watch.iter().map(|name| name.as_str().into()).collect()));
    let zone = super::zone::iana_name(&config.time_zone).filter(|_| config.zone_fault.is_none());
    page.put_some("time_zone", zone);
    page.open("feed");
    page.put("edition", config.feed.edition.as_str());
    page.put("locale", config.feed.locale.as_str());
    page.put_some("url", config.feed_url.as_ref().map(ToString::to_string));
    page.put_some("ca_file", config.ca_file.as_deref().map(lossy));
    page.open("schedule");
    page.put("poll", config.poll.as_str());
    page.put("trouble", config.trouble.as_str());
    page.put("jitter_s", Value::Integer(i64::try_from(config.jitter_s).unwrap_or(i64::MAX)));
    page.open("state");
    page.put("directory", lossy(&config.state_directory));
    page.put("keep", config.state_keep.text.as_str());
    if let Some(file) = &config.record_file {
        page.open("record");
        page.put("file", lossy(file));
        page.put("keep", config.record_keep.text.as_str());
    }
    page.open("log");
    page.put("level", config.log_level.as_str());
    page.put("format", config.log_format.as_str());
    if config.heartbeat != Default::default() {
        page.open("heartbeat");
        for (key, value) in config.heartbeat.shown() {
            page.put_some(key, value);
        }
    }
    if let Some(liveness) = &config.liveness {
        page.open("liveness");
        page.put("when", liveness.as_str());
    }
    page.open("phone");
    page.put("enabled", config.phone.enabled);
    page.put("poll", config.phone.poll.as_str());
    page.put_some("usbmuxd", config.phone.usbmuxd.as_deref());
    page.put_some("late_after", config.phone.late_after.as_deref());
    page.put("late_check", config.phone.late_check.as_str());
    let backups: Vec<Value> = config.phone.backups.iter().map(|path| lossy(path).into()).collect();
    page.put_some("backups", (!backups.is_empty()).then_some(Value::Array(backups)));
    channels(&mut page, config);
    page.text
}

fn channels(page: &mut Page<'_>, config: &Config) {
    for (name, table) in config.channel.all() {
        page.open(&format!("channel.{name}"));
        for (key, value) in table.shown() {
            page.put_some(key, value);
        }
        if let Some((policy, _)) = config.policy.get(&name) {
            put_policy(page, policy);
        }
    }
}

/// Destructures without `..`, so that a new setting cannot be forgotten.
fn put_policy(page: &mut Page<'_>, policy: &policy::Settings) {
    let policy::Settings { only, services, quiet, remind_every, max_age, title, body } = policy;
    let list =
        |values: &Vec<String>| Value::Array(values.iter().map(|value| value.as_str().into()).collect());
    page.put_some("only", only.as_ref().map(list));
    page.put_some("services", services.as_ref().map(list));
    let texts = [
        ("quiet", quiet),
        ("remind_every", remind_every),
        ("max_age", max_age),
        ("title", title),
        ("body", body),
    ];
    for (key, text) in texts {
        page.put_some(key, text.as_deref());
    }
}

struct Page<'o> {
    text: String,
    /// The current table; empty at the top.
    table: String,
    origins: &'o Origins,
}

impl Page<'_> {
    fn open(&mut self, table: &str) {
        self.text.push_str(&format!("\n[{table}]\n"));
        self.table = format!("{table}.");
    }

    fn put(&mut self, name: &str, value: impl Into<Value>) {
        let origin = self.origins.describe(&format!("{}{name}", self.table));
        self.text.push_str(&format!("{name} = {} # {origin}\n", value.into()));
    }

    fn put_some(&mut self, name: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.put(name, value);
        }
    }
}

fn lossy(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
