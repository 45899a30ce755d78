//! Callers that are dropped while they wait for the database: each job has run wholly or not at all.
//!
//! Drops a future at each of its waits and checks the database and the next operation. `turns` does the same
//! to the poller.

use std::cell::Cell;
use std::pin::pin;
use std::task::{Context, Waker};

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use statusd::channel::log::Log;
use statusd::channel::{Audience, Channel};
use statusd::delivery::policy::Policy;
use statusd::delivery::{self, Receiver, Round};
use statusd::model::Change;
use statusd::store::Store;
use statusd::tracking::watchlist::Watchlist;

use crate::common::seeded_store::feed;

fn start() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().expect("a time")
}

/// Polls a future `turns` times more than once and drops it. Waits for the database between two turns.
/// Returns true if the future was done.
pub async fn poll_turns<T>(future: impl Future<Output = T>, turns: usize, store: &Store) -> bool {
    let mut future = pin!(future);
    for _ in 0..=turns {
        if future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
            return true;
        }
        store.check_readable().await.expect("the database works");
    }
    false
}

fn change(number: u32) -> Change {
    Change::history_lost(feed(), &number.to_string(), start() + SignedDuration::from_secs(number.into()))
}

#[tokio::test]
async fn a_write_is_complete_although_its_caller_and_the_store_are_dropped() {
    let folder = tempfile::tempdir().expect("a folder");
    let open = || Store::open(folder.path(), start()).expect("a store").store;
    let store = open();
    for number in 0..20 {
        let change = change(number);
        let written = pin!(store.record_change(&change, &|_| vec!["log".to_owned()], start()))
            .poll(&mut Context::from_waker(Waker::noop()));
        drop(written);
    }
    drop(store);
    // The lock is free, and no file of an open database is left.
    let store = open();
    assert_eq!(store.deliveries(true).await.expect("deliveries").len(), 20);
    drop(store);
    assert!(!folder.path().join("statusd.db-wal").exists());
}

/// Drops a delivery at each wait, and then delivers on with the same receiver.
#[tokio::test]
async fn a_delivery_whose_caller_was_dropped_is_neither_lost_nor_repeated() {
    for turns in 0.. {
        let store = Store::open_in_memory().expect("a store");
        let channel = Channel::new("log", Audience::Programs, Log);
        let watch = Watchlist::new(&["*"]);
        let mut receiver = Receiver::new(channel, Policy::default(), feed(), watch, TimeZone::UTC);
        store.record_change(&change(0), &|_| vec!["log".to_owned()], start()).await.expect("written");
        let now = Cell::new(start());
        let clock = || now.get();
        let is_over = poll_turns(delivery::once(&store, &mut receiver, 0.0, &clock), turns, &store).await;
        let dropped = store.deliveries(true).await.expect("deliveries").remove(0);
        now.set(start() + SignedDuration::from_mins(1));
        while !matches!(
            delivery::once(&store, &mut receiver, 0.0, &clock).await.expect("a round"),
            Round::Idle { until: None }
        ) {}
        let delivery = store.deliveries(true).await.expect("deliveries").remove(0);
        assert_eq!(delivery.state, "sent", "{turns}");
        let is_sent = dropped.state == "sent" || receiver.has_unrecorded_outcome();
        // An attempt that was recorded and not made counts, like a kill.
        let attempts = if is_sent { dropped.attempts } else { delivery.attempts };
        assert!(delivery.attempts == attempts && attempts <= 2, "{turns}: {delivery:?}");
        if is_over {
            break;
        }
    }
}
