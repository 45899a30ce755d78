//! A database with a past, as a daemon would have left it: written through the library.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use statusd::model::{
    Beliefs, Edition, EventKind, FeedHealth, FeedId, Listed, Outage, OverBy, Phase, Service, ServiceKey,
};
use statusd::store::{Coverage, Store};
use statusd::tracking::{Acceptance, Update};

/// The default feed.
pub fn feed() -> FeedId {
    FeedId { edition: Edition::Consumer, locale: "en_US".to_owned() }
}

/// One that lasts where it has no end.
pub fn outage(service: &str, message_id: &str, start: Timestamp, end: Option<Timestamp>) -> Outage {
    Outage {
        service: service.to_owned(),
        message_id: message_id.to_owned(),
        occurrence: 1,
        kind: EventKind::Issue,
        phase: if end.is_some() { Phase::Over(OverBy::Apple) } else { Phase::Ongoing(None) },
        start: Some(start),
        end,
        first_seen: start,
        users_affected: None,
        message: String::new(),
        counts: BTreeMap::new(),
    }
}

/// A database in `directory`: the feed could be read from `from` to `to`, listed these services, and
/// had these outages.
pub async fn remember(
    directory: &Path,
    services: &[&str],
    outages: Vec<Outage>,
    from: Timestamp,
    to: Timestamp,
) {
    let store = Store::open(directory, from).expect("a database").store;
    let beliefs = Beliefs::new(feed());
    let service = |name: &&str| {
        let service = Service { name: (*name).to_owned(), first_seen: from, listed: Listed::Yes };
        (ServiceKey::new(name), service)
    };
    let mut state = beliefs.state.clone();
    state.health = FeedHealth::Readable { since: from };
    state.first_accepted = Some(from);
    let update = Update {
        verdict: Acceptance::Accepted,
        state,
        outages,
        services: services.iter().map(service).collect(),
        forgotten: Vec::new(),
        changes: Vec::new(),
        left_out: 0,
    };
    let nobody = |_: &_| Vec::new();
    store.commit(&beliefs, &update, &nobody, Coverage::Begins, 1, from).await.expect("written");
    let mut after = beliefs;
    update.apply(&mut after);
    store.checkpoint(&after, Coverage::Continues, 1, to).await.expect("written");
}
