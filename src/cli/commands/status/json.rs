//! The JSON of `statusd status`, see `report::status`.

use serde_json::Value;

use super::Status;
use crate::cli::terminal::Terminal;
use crate::config::{Config, zone_name};
use crate::report::status::{OwnerFacts, StatusFacts, json};
use crate::store::DATABASE;

impl Status {
    pub fn json(&self, config: &Config, terminal: &Terminal) -> Value {
        let (covered_from, coverage) = self.coverage(terminal);
        json(&StatusFacts {
            now: terminal.now,
            daemon: self.daemon.as_ref(),
            last_good_poll_at: self.last_readable,
            beliefs: &self.beliefs,
            watch: &config.watch,
            time_zone: zone_name(&config.time_zone, terminal.now),
            totals: self.totals,
            acknowledged: &self.acknowledged,
            snoozed_until: self.snooze.map(|snooze| snooze.until),
            covered_from,
            coverage,
            owner: Some(OwnerFacts {
                phones: config.phone.enabled.then_some(&self.phones),
                database: &config.state_directory.join(DATABASE),
                configuration: config.source.as_deref(),
            }),
        })
    }
}
