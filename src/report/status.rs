//! The JSON of `statusd status` and of `/api/v1/status`, documented in `docs/json.md`.
//!
//! The listener passes no [`OwnerFacts`], so that what only the owner may see cannot get into its answer.

use std::path::Path;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::coverage::CoverageShares;
use crate::delivery::payload::VERSION;
use crate::model::{Beliefs, FeedHealth, KnownPhone, Listed, Outage, Phase, ServiceKey};
use crate::status_socket::DaemonStatus;
use crate::store::Totals;
use crate::tracking::watchlist::Watchlist;

/// The contents of the document.
pub struct StatusFacts<'a> {
    pub now: Timestamp,
    /// `None` if no daemon is running.
    pub daemon: Option<&'a DaemonStatus>,
    pub last_good_poll_at: Option<Timestamp>,
    pub beliefs: &'a Beliefs,
    pub watch: &'a [String],
    pub time_zone: String,
    pub totals: Totals,
    /// Service and message id of the acknowledged ongoing outages.
    pub acknowledged: &'a [(ServiceKey, String)],
    pub snoozed_until: Option<Timestamp>,
    /// The start of the period of `coverage`.
    pub covered_from: Timestamp,
    pub coverage: CoverageShares,
    pub owner: Option<OwnerFacts<'a>>,
}

/// The parts that only the user of the command line may see: processes, files, phones and the reasons of
/// problems, which can name hosts and proxies.
pub struct OwnerFacts<'a> {
    /// `None` unless phones are enabled.
    pub phones: Option<&'a [KnownPhone]>,
    pub database: &'a Path,
    pub configuration: Option<&'a Path>,
}

/// Returns the document.
pub fn json(facts: &StatusFacts) -> Value {
    let owner = facts.owner.as_ref();
    let beliefs = facts.beliefs;
    let watch = Watchlist::new(facts.watch);
    let ongoing = beliefs.outages.values().filter(|outage| matches!(outage.phase, Phase::Ongoing(_)));
    let ongoing: Vec<Value> = ongoing.map(|outage| outage_json(outage, facts, &watch)).collect();
    let totals = facts.totals;
    object([
        ("version", Some(json!(VERSION))),
        ("at", Some(json!(facts.now))),
        ("last_good_poll_at", Some(json!(facts.last_good_poll_at))),
        ("next_poll_at", Some(json!(facts.daemon.and_then(|daemon| daemon.next_poll_at)))),
        ("running", Some(json!(facts.daemon.map(|daemon| running(daemon, owner.is_some()))))),
        ("feed", Some(json!(beliefs.feed.to_string()))),
        ("feed_health", Some(health(&beliefs.state.health, owner.is_some()))),
        ("apple_says", Some(json!(beliefs.state.banner))),
        ("watch", Some(json!(facts.watch))),
        ("time_zone", Some(json!(facts.time_zone))),
        ("ongoing", Some(Value::Array(ongoing))),
        ("not_listed", Some(json!(not_listed(beliefs)))),
        (
            "deliveries",
            Some(json!({"pending": totals.pending, "sent": totals.sent, "given_up": totals.given_up})),
        ),
        ("snoozed_until", Some(json!(facts.snoozed_until))),
        ("phones", owner.map(|owner| json!(owner.phones.map(phones)))),
        ("coverage", Some(coverage(facts))),
        ("database", owner.map(|owner| json!(owner.database))),
        ("configuration", owner.map(|owner| json!(owner.configuration))),
    ])
}

/// Returns an object of the fields that have a value.
fn object<const N: usize>(fields: [(&str, Option<Value>); N]) -> Value {
    let present = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(present.collect::<Map<String, Value>>())
}

fn running(daemon: &DaemonStatus, for_owner: bool) -> Value {
    object([
        ("pid", for_owner.then(|| json!(daemon.pid))),
        ("version", Some(json!(daemon.version))),
        ("started_at", Some(json!(daemon.started_at))),
        ("polled_at", Some(json!(daemon.polled_at))),
        ("polls", Some(json!(daemon.polls))),
        ("stale_polls", Some(json!(daemon.stale_polls))),
        ("trouble", for_owner.then(|| json!(daemon.trouble))),
    ])
}

fn health(health: &FeedHealth, for_owner: bool) -> Value {
    let (state, since, fault, reason) = match health {
        FeedHealth::Unknown => ("unknown", None, None, None),
        FeedHealth::Readable { since } => ("readable", Some(since), None, None),
        FeedHealth::Unreadable { since, fault, reason, .. } => {
            ("unreadable", Some(since), Some(fault.as_str()), Some(reason))
        }
    };
    object([
        ("state", Some(json!(state))),
        ("since", Some(json!(since))),
        ("fault", Some(json!(fault))),
        ("reason", for_owner.then(|| json!(reason))),
    ])
}

fn outage_json(outage: &Outage, facts: &StatusFacts, watch: &Watchlist) -> Value {
    let missing = match &outage.phase {
        Phase::Ongoing(Some(missing)) => Some(missing.since),
        Phase::Ongoing(None) | Phase::Planned(_) | Phase::Over(_) => None,
    };
    let identity = (ServiceKey::new(&outage.service), outage.message_id.clone());
    json!({
        "service": outage.service,
        "is_acknowledged": facts.acknowledged.contains(&identity),
        "is_watched": watch.matches(&identity.0),
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

fn not_listed(beliefs: &Beliefs) -> Vec<&str> {
    let services = beliefs.services.values();
    let gone = services.filter(|service| matches!(service.listed, Listed::No { .. } | Listed::Never { .. }));
    gone.map(|service| service.name.as_str()).collect()
}

fn phones(phones: &[KnownPhone]) -> Value {
    let phone = |phone: &KnownPhone| {
        json!({
            "model": phone.model,
            "last_backup_at": phone.last_backup,
            "backup_enabled": phone.backup_enabled,
            "seen_at": phone.seen_at,
        })
    };
    phones.iter().map(phone).collect()
}

fn coverage(facts: &StatusFacts) -> Value {
    let CoverageShares { whole_s, readable_s, unreadable_s } = facts.coverage;
    json!({
        "from": facts.covered_from,
        "to": facts.now,
        "readable_s": readable_s,
        "unreadable_s": unreadable_s,
        "not_polling_s": whole_s - readable_s - unreadable_s,
    })
}
