//! Shows the current state to channels that display one.
//!
//! Level-triggered: each snapshot is complete, so the next one repairs a failed one.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use tokio::task::yield_now;

use super::Receiver;
use crate::channel::{SendOutcome, ServiceState, Snapshot};
use crate::model::{Listed, Outage, Service, ServiceKey};
use crate::store::Store;

/// The pause after a state could not be shown.
const RETRY_S: i64 = 15;

/// The newest snapshot shown on a channel.
#[derive(Debug, Default)]
pub(super) struct SyncState {
    shown: Option<Snapshot>,
    due_at: Option<Timestamp>,
    is_failing: bool,
}

/// Shows the snapshot if it has changed or the refresh is due. Returns the time of the next refresh.
pub(super) async fn sync_state(
    store: &Store,
    receiver: &mut Receiver,
    now: Timestamp,
) -> rusqlite::Result<Option<Timestamp>> {
    let Some(every) = receiver.channel.sync_interval() else { return Ok(None) };
    let snapshot = snapshot(store, receiver).await?;
    yield_now().await;
    let is_news = receiver.sync_state.shown.as_ref() != Some(&snapshot) && !receiver.sync_state.is_failing;
    let every = SignedDuration::try_from(every).unwrap_or(SignedDuration::MAX);
    if let Some(due_at) =
        receiver.sync_state.due_at.filter(|due_at| is_ahead(*due_at, every, now) && !is_news)
    {
        return Ok(Some(due_at));
    }
    let outcome = receiver.channel.sync_state(&snapshot).await;
    let is_failing = !matches!(outcome, SendOutcome::Delivered { .. });
    if is_failing && !receiver.sync_state.is_failing {
        tracing::warn!("{}: cannot show the state, retrying: {}", receiver.channel.name(), outcome.detail());
    }
    if receiver.sync_state.is_failing && !is_failing {
        tracing::info!("{}: the state is shown again", receiver.channel.name());
    }
    let wait = if is_failing { SignedDuration::from_secs(RETRY_S) } else { every };
    let due_at = now.checked_add(wait).ok();
    receiver.sync_state = SyncState { shown: (!is_failing).then_some(snapshot), due_at, is_failing };
    Ok(due_at)
}

/// Returns false once a refresh is due. A time further ahead than `every` is due too: the clock was set
/// back, and the shown state would expire meanwhile.
fn is_ahead(due_at: Timestamp, every: SignedDuration, now: Timestamp) -> bool {
    (SignedDuration::from_nanos(1)..=every).contains(&due_at.duration_since(now))
}

/// Returns the state of the services that the channel accepts. Leaves out an outage whose start is not
/// delivered yet.
async fn snapshot(store: &Store, receiver: &Receiver) -> rusqlite::Result<Snapshot> {
    let mut outages: BTreeMap<ServiceKey, Vec<Outage>> = BTreeMap::new();
    for outage in store.open_outages(&receiver.feed, receiver.channel.name()).await? {
        outages.entry(ServiceKey::new(&outage.service)).or_default().push(outage);
    }
    let (health, services) = store.listed(&receiver.feed).await?;
    let state = |(key, service): (ServiceKey, Service)| ServiceState {
        is_listed: matches!(service.listed, Listed::Yes | Listed::Missing(_)),
        outages: outages.remove(&key).unwrap_or_default(),
        service: service.name,
    };
    let services = services.into_iter().filter(|(key, _)| receiver.accepts(key)).map(state).collect();
    Ok(Snapshot { feed: receiver.feed.clone(), health, services })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_does_not_delay_the_refresh() {
        let (now, minute) = (Timestamp::UNIX_EPOCH, SignedDuration::from_secs(60));
        let is_ahead = |s: i64| is_ahead(now + SignedDuration::from_secs(s), minute, now);
        assert!(is_ahead(1) && is_ahead(60));
        assert!(!is_ahead(0) && !is_ahead(-1) && !is_ahead(61) && !is_ahead(365 * 86_400));
    }
}
