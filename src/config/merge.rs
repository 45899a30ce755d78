//! Applies flags and variables to the settings of the file. Parses no value.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::error::Given;
use super::file::File;

/// Settings from flags, or from the variables `STATUSD_…`. Flags take precedence. Texts are as given;
/// [`load`](super::load) parses them like those of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--config`: the only file to read. It must exist.
    pub config: Option<PathBuf>,
    /// `--watch`; empty if not given.
    pub watch: Vec<String>,
    pub time_zone: Option<String>,
    pub edition: Option<String>,
    pub locale: Option<String>,
    pub feed_url: Option<String>,
    pub ca_file: Option<PathBuf>,
    pub poll: Option<String>,
    pub trouble: Option<String>,
    pub jitter_s: Option<i64>,
    pub state_directory: Option<PathBuf>,
    pub record_file: Option<PathBuf>,
    pub log_level: Option<String>,
    pub log_format: Option<String>,
    /// The flags whose values come from variables.
    pub from_variables: BTreeSet<&'static str>,
}

/// Replaces settings of the file by those of `overrides`, and notes the source of each in `given`.
pub(super) fn overlay(file: &mut File, overrides: &Overrides, given: &mut BTreeMap<&'static str, Given>) {
    let mut overlay = Overlay { variables: &overrides.from_variables, given };
    let watch = (!overrides.watch.is_empty()).then(|| overrides.watch.clone());
    overlay.replace(&mut file.watch, &watch, "watch", "watch");
    overlay.replace(&mut file.time_zone, &overrides.time_zone, "time_zone", "time-zone");
    overlay.replace(&mut file.feed.edition, &overrides.edition, "feed.edition", "edition");
    overlay.replace(&mut file.feed.locale, &overrides.locale, "feed.locale", "locale");
    overlay.replace(&mut file.feed.url, &overrides.feed_url, "feed.url", "feed-url");
    overlay.replace(&mut file.feed.ca_file, &overrides.ca_file, "feed.ca_file", "ca-file");
    overlay.replace(&mut file.schedule.poll, &overrides.poll, "schedule.poll", "poll");
    overlay.replace(&mut file.schedule.trouble, &overrides.trouble, "schedule.trouble", "trouble");
    overlay.replace(&mut file.schedule.jitter_s, &overrides.jitter_s, "schedule.jitter_s", "jitter-s");
    overlay.replace(
        &mut file.state.directory,
        &overrides.state_directory,
        "state.directory",
        "state-directory",
    );
    overlay.replace(&mut file.record.file, &overrides.record_file, "record.file", "record-file");
    overlay.replace(&mut file.log.level, &overrides.log_level, "log.level", "log-level");
    overlay.replace(&mut file.log.format, &overrides.log_format, "log.format", "log-format");
}

struct Overlay<'o> {
    variables: &'o BTreeSet<&'static str>,
    given: &'o mut BTreeMap<&'static str, Given>,
}

impl Overlay<'_> {
    fn replace<T: Clone>(
        &mut self,
        setting: &mut Option<T>,
        given: &Option<T>,
        key: &'static str,
        flag: &'static str,
    ) {
        if given.is_some() {
            setting.clone_from(given);
            let is_variable = self.variables.contains(flag);
            self.given.insert(key, if is_variable { Given::Variable(flag) } else { Given::Flag(flag) });
        }
    }
}
