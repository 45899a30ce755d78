//! Writes a database with recorded outages through the library, as a daemon would have left it.

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

/// An outage that is ongoing if `end` is `None`.
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

/// Writes a database in `directory`, in which the feed was readable from `from` to `to` and listed these
/// services and outages.
pub async fn seed(directory: &Path, services: &[&str], outages: Vec<Outage>, from: Timestamp, to: Timestamp) {
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
    let no_channels = |_: &_| Vec::new();
    store.commit(&beliefs, &update, &no_channels, Coverage::Begins, 1, from).await.expect("written");
    let mut after = beliefs;
    update.apply(&mut after);
    store.checkpoint(&after, Coverage::Continues, 1, to).await.expect("written");
}
