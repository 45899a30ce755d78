//! The JSON of `statusd status`, documented in `docs/json.md`.

use serde_json::{Value, json};

use super::Status;
use crate::cli::terminal::Terminal;
use crate::config::{Config, zone_name};
use crate::delivery::payload::VERSION;
use crate::model::{FeedHealth, KnownPhone, Listed, Outage, Phase, ServiceKey};
use crate::store::DATABASE;
use crate::tracking::watchlist::Watchlist;

impl Status {
    pub fn json(&self, config: &Config, terminal: &Terminal) -> Value {
        let (from, coverage) = self.coverage(terminal);
        let watch = Watchlist::new(&config.watch);
        let ongoing =
            self.beliefs.outages.values().filter(|outage| matches!(outage.phase, Phase::Ongoing(_)));
        let daemon = self.daemon.as_ref();
        json!({
            "version": VERSION,
            "at": terminal.now,
            "last_good_poll_at": self.last_readable,
            "next_poll_at": daemon.and_then(|daemon| daemon.next_poll_at),
            "running": daemon.map(|daemon| json!({
                "pid": daemon.pid, "version": daemon.version, "started_at": daemon.started_at,
                "polled_at": daemon.polled_at, "polls": daemon.polls, "stale_polls": daemon.stale_polls,
                "trouble": daemon.trouble,
            })),
            "feed": self.beliefs.feed.to_string(),
            "feed_health": health_json(&self.beliefs.state.health),
            "apple_says": self.beliefs.state.banner,
            "watch": config.watch,
            "time_zone": zone_name(&config.time_zone, terminal.now),
            "ongoing": ongoing.map(|outage| self.outage_json(outage, &watch)).collect::<Vec<Value>>(),
            "not_listed": self.not_listed(),
            "deliveries": {
                "pending": self.totals.pending, "sent": self.totals.sent, "given_up": self.totals.given_up,
            },
            "snoozed_until": self.snooze.map(|snooze| snooze.until),
            "phones": config.phone.enabled.then(|| self.phones_json()),
            "coverage": {
                "from": from, "to": terminal.now, "readable_s": coverage.readable_s, "unreadable_s": coverage.unreadable_s,
                "not_polling_s": coverage.whole_s - coverage.readable_s - coverage.unreadable_s,
            },
            "database": config.state_directory.join(DATABASE),
            "configuration": config.source,
        })
    }

    fn outage_json(&self, outage: &Outage, watch: &Watchlist) -> Value {
        let missing = match &outage.phase {
            Phase::Ongoing(Some(missing)) => Some(missing.since),
            Phase::Ongoing(None) | Phase::Planned(_) | Phase::Over(_) => None,
        };
        json!({
            "service": outage.service,
            "is_acknowledged": self.is_acknowledged(outage),
            "is_watched": watch.matches(&ServiceKey::new(&outage.service)),
            "message_id": outage.message_id,
            "occurrence": outage.occurrence,
            "outage_kind": outage.kind.as_str(),
            "began_at": outage.start,
            "ended_at": outage.end,
            "seen_at": outage.first_seen,
            "not_listed_since": missing,
            "users_affected": outage.users_affected,
            "apple_text": outage.message,
        })
    }

    fn not_listed(&self) -> Vec<&str> {
        let services = self.beliefs.services.values();
        let gone =
            services.filter(|service| matches!(service.listed, Listed::No { .. } | Listed::Never { .. }));
        gone.map(|service| service.name.as_str()).collect()
    }

    fn phones_json(&self) -> Value {
        let phone = |phone: &KnownPhone| {
            json!({
                "model": phone.model,
                "last_backup_at": phone.last_backup,
                "backup_enabled": phone.backup_enabled,
                "seen_at": phone.seen_at,
            })
        };
        self.phones.iter().map(phone).collect()
    }
}

fn health_json(health: &FeedHealth) -> Value {
    match health {
        FeedHealth::Unknown => json!({"state": "unknown", "since": null, "fault": null, "reason": null}),
        FeedHealth::Readable { since } => {
            json!({"state": "readable", "since": since, "fault": null, "reason": null})
        }
        FeedHealth::Unreadable { since, fault, reason, .. } => {
            json!({"state": "unreadable", "since": since, "fault": fault.as_str(), "reason": reason})
        }
    }
}
