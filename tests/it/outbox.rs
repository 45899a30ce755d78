//! Edge cases of the outbox: unconfirmed notices, expiry, drops, replaced bubbles, a lost history.

use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread::{JoinHandle, spawn};
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use statusd::channel::desktop::Desktop;
use statusd::channel::webhook::Webhook;
use statusd::channel::{Audience, Channel, webhook};
use statusd::delivery::policy::Policy;
use statusd::delivery::{self, Receiver, Round};
use statusd::model::{Change, ChangeKind, Edition, EventKind, FeedId, Severity};
use statusd::setting::SettingError;
use statusd::store::{Attempt, Batching, RenderedNotice, Settled, Store, Waiting};
use statusd::tracking::watchlist::Watchlist;

/// The batching of every channel for people except the desktop.
const DIGEST: Batching = Batching::Digest { max_age: SignedDuration::from_hours(24) };
const START: &str = "2026-01-01T00:00:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn change(service: &str, kind: ChangeKind, at: Timestamp) -> Change {
    Change {
        at,
        seen_at: at,
        kind,
        feed: FeedId { edition: Edition::Consumer, locale: "en_US".to_owned() },
        service: service.to_owned(),
        message_id: Some("1001".to_owned()),
        occurrence: Some(1),
        serial: 1,
        outage_kind: Some(EventKind::Outage),
        was_kind: None,
        began_at: Some(self::at(START)),
        ended_at: None,
        users_affected: None,
        message: String::new(),
        near: Vec::new(),
        phone: None,
    }
}

async fn announce(store: &Store, channel: &Channel, change: &Change) {
    let names = [channel.name().to_owned()];
    store.record_change(change, &|_| names.to_vec(), change.at).await.expect("written");
}

/// Returns a receiver with the default policy.
fn receiver(channel: Channel) -> Receiver {
    let feed = FeedId { edition: Edition::Consumer, locale: "en_US".to_owned() };
    Receiver::new(channel, Policy::default(), feed, Watchlist::new(&["*"]), TimeZone::UTC)
}

/// Reads one request, closes the connection without a response, and returns the body.
fn read_and_close(address: SocketAddr) -> JoinHandle<String> {
    let listener = TcpListener::bind(address).expect("the port");
    spawn(move || {
        let (mut server, _) = listener.accept().expect("a client");
        let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
        loop {
            let text = String::from_utf8_lossy(&all).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head
                    .lines()
                    .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
                if length == Some(body.len()) {
                    return body.to_owned();
                }
            }
            let read = server.read(&mut buffer).expect("the request");
            assert_ne!(read, 0, "the request is cut off");
            all.extend_from_slice(&buffer[..read]);
        }
    })
}

#[tokio::test]
async fn resends_an_unconfirmed_notice_unchanged() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path(), at(START)).expect("a store").store;
    let address = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port");
    let settings: webhook::Settings =
        toml::from_str(&format!("url = 'http://{address}/'")).expect("settings");
    let webhook = Webhook::new(&settings, &|_| Err(SettingError::new("", "no files"))).expect("a webhook");
    let mut receiver = receiver(Channel::new("webhook.ops", Audience::Programs, webhook));
    announce(&store, &receiver.channel, &change("iCloud Backup", ChangeKind::Began, at(START))).await;
    let now = Cell::new(at(START));
    let clock = || now.get();
    let server = read_and_close(address);
    delivery::once(&store, &mut receiver, 0.0, &clock).await.expect("a round");
    let first = server.join().expect("a body");
    // The server is down. This failed attempt does not show that the first one was lost.
    now.set(now.get() + SignedDuration::from_hours(1));
    delivery::once(&store, &mut receiver, 0.0, &clock).await.expect("a round");
    // A message composed now would contain the date of the day before.
    now.set(now.get() + SignedDuration::from_hours(30));
    let server = read_and_close(address);
    delivery::once(&store, &mut receiver, 0.0, &clock).await.expect("a round");
    assert_eq!(server.join().expect("a body"), first);
}

#[tokio::test]
async fn a_lost_history_is_announced_even_by_a_later_run() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("statusd.db"), "no database at all").expect("written");
    let open = || Store::open(folder.path(), at(START)).expect("a store");
    // statusd moved the database aside, and was killed before it announced that.
    let found = open().lost.expect("damage");
    let again = open();
    assert_eq!(again.lost, Some(found));
    announce(
        &again.store,
        &Channel::new("desktop", Audience::Desktop, Desktop::new()),
        &change("", ChangeKind::HistoryLost, at(START)),
    )
    .await;
    drop(again);
    assert_eq!(open().lost, None);
}

#[tokio::test]
async fn gives_up_old_deliveries_but_not_recent_ones() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path(), at(START)).expect("a store").store;
    let mut receiver =
        receiver(Channel::new("desktop", Audience::People, Desktop::at("unix:path=/nonexistent/bus")));
    let now = Cell::new(at(START));
    let clock = || now.get();
    announce(&store, &receiver.channel, &change("Photos", ChangeKind::Began, now.get())).await;
    for _ in 0..1_079 {
        now.set(now.get() + SignedDuration::from_mins(40));
        let round = delivery::once(&store, &mut receiver, 0.0, &clock).await.expect("a round");
        assert!(matches!(round, Round::Attempted { .. }), "{round:?}");
    }
    announce(&store, &receiver.channel, &change("iCloud Backup", ChangeKind::Began, now.get())).await;
    now.set(now.get() + SignedDuration::from_hours(2));
    delivery::once(&store, &mut receiver, 0.0, &clock).await.expect("a round");
    let deliveries = store.deliveries(true).await.expect("deliveries");
    let states: Vec<_> = deliveries.iter().map(|d| (d.change.service.as_str(), d.state.as_str())).collect();
    assert_eq!(states, [("Photos", "given_up"), ("iCloud Backup", "pending")]);
}

#[tokio::test]
async fn an_end_does_not_replace_the_bubble_of_another_outage() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path(), at(START)).expect("a store").store;
    let channel = Channel::new("desktop", Audience::Desktop, Desktop::new());
    let compose = |waiting: &Waiting| RenderedNotice {
        key: waiting.changes[0].key(),
        title: String::new(),
        body: String::new(),
        severity: Severity::Alert,
        payload: String::new(),
    };
    let begin = async || {
        let begun = store.begin("desktop", DIGEST, compose, |_| at(START), at(START)).await;
        begun.expect("written").expect("something to say")
    };
    let shown = async |attempt_id, receipt: &str| {
        let settled = Settled::Sent { receipt: Some(receipt.to_owned()), detail: String::new() };
        store.settle(attempt_id, &settled, Duration::ZERO, at(START)).await.expect("written");
    };
    for service in ["iCloud Backup", "Photos"] {
        announce(&store, &channel, &change(service, ChangeKind::Began, at(START))).await;
    }
    shown(begin().await.id, "both are down").await;
    announce(&store, &channel, &change("Photos", ChangeKind::Ended, at(START))).await;
    let end = begin().await;
    assert_eq!(end.replaces, None);
    shown(end.id, "Photos is fixed").await;
    announce(&store, &channel, &change("Photos", ChangeKind::Reopened, at(START))).await;
    assert_eq!(begin().await.replaces.as_deref(), Some("Photos is fixed"));
}

/// Locks the database before it responds with 200, and returns the number of further connections.
fn accept_while_locked(
    address: SocketAddr,
    database: std::path::PathBuf,
    unlock: std::sync::mpsc::Receiver<()>,
) -> JoinHandle<usize> {
    let listener = TcpListener::bind(address).expect("the port");
    spawn(move || {
        let (mut server, _) = listener.accept().expect("a client");
        let mut buffer = [0; 8192];
        let mut all = Vec::new();
        while !String::from_utf8_lossy(&all).contains("}") {
            let read = server.read(&mut buffer).expect("the request");
            assert_ne!(read, 0, "the request is cut off");
            all.extend_from_slice(&buffer[..read]);
        }
        let lock = rusqlite::Connection::open(database).expect("a database");
        lock.execute_batch("BEGIN IMMEDIATE").expect("a lock");
        server
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            .expect("answered");
        drop(server);
        unlock.recv().expect("a signal");
        lock.execute_batch("ROLLBACK").expect("unlocked");
        listener.set_nonblocking(true).expect("set");
        std::iter::from_fn(|| listener.accept().ok()).count()
    })
}

#[tokio::test]
async fn does_not_resend_if_the_outcome_cannot_be_recorded() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path(), at(START)).expect("a store").store;
    let address = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port");
    let settings: webhook::Settings =
        toml::from_str(&format!("url = 'http://{address}/'")).expect("settings");
    let webhook = Webhook::new(&settings, &|_| Err(SettingError::new("", "no files"))).expect("a webhook");
    let mut receiver = receiver(Channel::new("webhook.ops", Audience::Programs, webhook));
    announce(&store, &receiver.channel, &change("iCloud Backup", ChangeKind::Began, at(START))).await;
    announce(&store, &receiver.channel, &change("Photos", ChangeKind::Began, at(START))).await;
    let now = Cell::new(at(START));
    let clock = || now.get();
    let (done, unlock) = std::sync::mpsc::channel();
    let server = accept_while_locked(address, folder.path().join("statusd.db"), unlock);
    for _ in 0..2 {
        let failed = delivery::once(&store, &mut receiver, 0.0, &clock).await;
        assert!(failed.is_err(), "the database is locked: {failed:?}");
        assert!(receiver.has_unrecorded_outcome());
        // Later than any retry.
        now.set(now.get() + SignedDuration::from_hours(2));
    }
    done.send(()).expect("the server thread");
    assert_eq!(server.join().expect("the server thread"), 0, "nothing else was sent");
    let round = delivery::once(&store, &mut receiver, 0.0, &clock).await.expect("a round");
    let Round::Attempted { attempt: 1, outcome, .. } = round else { panic!("{round:?}") };
    assert!(matches!(outcome, statusd::channel::SendOutcome::Delivered { .. }), "{outcome:?}");
    assert!(!receiver.has_unrecorded_outcome());
    let deliveries = store.deliveries(true).await.expect("deliveries");
    let states: Vec<_> = deliveries.iter().map(|d| (d.state.as_str(), d.attempts, d.settled_at)).collect();
    assert_eq!(states, [("sent", 1, Some(at(START))), ("pending", 0, None)]);
}

/// Returns a store with a notice about these services in flight.
async fn in_flight(folder: &std::path::Path, services: &[&str]) -> (Store, Attempt) {
    let store = Store::open(folder, at(START)).expect("a store").store;
    let channel = Channel::new("desktop", Audience::People, Desktop::new());
    for service in services {
        announce(&store, &channel, &change(service, ChangeKind::Began, at(START))).await;
    }
    let attempt = begin(&store).await.expect("a message");
    (store, attempt)
}

/// Begins an attempt on `desktop`; the title of the notice names its services.
async fn begin(store: &Store) -> Option<Attempt> {
    let compose = |waiting: &Waiting| RenderedNotice {
        key: waiting.changes[0].key(),
        title: waiting.changes.iter().map(|change| change.service.as_str()).collect::<Vec<_>>().join(", "),
        body: String::new(),
        severity: Severity::Alert,
        payload: String::new(),
    };
    store.begin("desktop", DIGEST, compose, |_| at(START), at(START)).await.expect("written")
}

async fn sent(store: &Store, attempt_id: i64) {
    let settled = Settled::Sent { receipt: None, detail: "shown".to_owned() };
    store.settle(attempt_id, &settled, Duration::ZERO, at(START)).await.expect("written");
}

async fn states(store: &Store) -> Vec<String> {
    let deliveries = store.deliveries(true).await.expect("deliveries");
    deliveries.iter().map(|delivery| format!("{} {}", delivery.change.service, delivery.state)).collect()
}

#[tokio::test]
async fn dropping_one_change_of_a_digest_sends_the_others() {
    for (dropped, rest) in [(1, "Photos, Siri"), (2, "Mail, Siri"), (3, "Mail, Photos")] {
        let folder = tempfile::tempdir().expect("a folder");
        let (store, old) = in_flight(folder.path(), &["Mail", "Photos", "Siri"]).await;
        let before = begin(&store).await.expect("the same message").notice;
        assert_eq!(before.title, "Mail, Photos, Siri");
        assert_eq!(store.give_up(dropped, None, at(START)).await.expect("written"), 1);
        let attempt = begin(&store).await.expect("a message");
        assert_eq!(attempt.notice.title, rest);
        assert_ne!(attempt.notice_id, old.notice_id);
        assert_ne!(attempt.notice.key, before.key, "other bytes have another key");
        let again = begin(&store).await.expect("a message");
        assert_eq!(again.notice, attempt.notice, "the same notice again");
        sent(&store, attempt.id).await;
        // A retry of the dropped change alone needs a new key, because the bytes differ.
        assert_eq!(store.retry(dropped, None, at(START)).await.expect("written"), 1);
        let retried = begin(&store).await.expect("a message");
        assert!(!retried.notice.title.contains(','), "{}", retried.notice.title);
        assert!(![&before.key, &attempt.notice.key].contains(&&retried.notice.key));
        sent(&store, retried.id).await;
        assert_eq!(states(&store).await, ["Mail sent", "Photos sent", "Siri sent"]);
    }
}

#[tokio::test]
async fn an_undone_drop_leaves_the_notice_unchanged() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, first) = in_flight(folder.path(), &["Mail", "Photos"]).await;
    let before = begin(&store).await.expect("a message").notice;
    store.give_up(1, None, at(START)).await.expect("written");
    store.retry(1, None, at(START)).await.expect("written");
    let attempt = begin(&store).await.expect("a message");
    assert_eq!((attempt.notice_id, attempt.notice), (first.notice_id, before));
}

#[tokio::test]
async fn a_delivery_dropped_while_being_sent_counts_as_sent() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, first) = in_flight(folder.path(), &["Mail", "Photos"]).await;
    store.give_up(1, None, at(START)).await.expect("written");
    sent(&store, first.id).await;
    assert_eq!(states(&store).await, ["Mail sent", "Photos sent"]);
    assert_eq!(begin(&store).await, None);
}

#[tokio::test]
async fn retrying_one_change_resends_the_whole_notice_unchanged() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, first) = in_flight(folder.path(), &["Mail", "Photos"]).await;
    let refused = Settled::GivenUp { detail: "wrong token".to_owned() };
    let before = begin(&store).await.expect("a message").notice;
    store.settle(first.id, &refused, Duration::ZERO, at(START)).await.expect("written");
    assert_eq!(store.retry(2, None, at(START)).await.expect("written"), 1);
    let attempt = begin(&store).await.expect("a message");
    assert_eq!((attempt.notice_id, &attempt.notice), (first.notice_id, &before));
    sent(&store, attempt.id).await;
    assert_eq!(states(&store).await, ["Mail sent", "Photos sent"]);
    assert_eq!(store.retry(1, None, at(START)).await.expect("written"), 0, "what was sent stays sent");
}

#[tokio::test]
async fn deliveries_of_a_removed_channel_are_given_up_after_a_day() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, _) = in_flight(folder.path(), &["Mail", "Photos"]).await;
    let after = |hours| at(START) + SignedDuration::from_hours(hours);
    let pending = ["Mail pending", "Photos pending"];
    // A week old, but the channel is configured.
    store.give_up_absent(&["desktop"], after(7 * 24)).await.expect("written");
    store.give_up_absent(&["log"], after(8 * 24)).await.expect("written");
    store.give_up_absent(&["log"], after(9 * 24 - 1)).await.expect("written");
    assert_eq!(states(&store).await, pending);
    // The channel returns in time, so the day starts again.
    store.give_up_absent(&["desktop"], after(9 * 24 - 1)).await.expect("written");
    store.give_up_absent(&["log"], after(9 * 24)).await.expect("written");
    assert_eq!(states(&store).await, pending);
    // A clock set back does not keep the deliveries for ever.
    store.give_up_absent(&["log"], after(0)).await.expect("written");
    store.give_up_absent(&["log"], after(24)).await.expect("written");
    assert_eq!(states(&store).await, ["Mail given_up", "Photos given_up"]);
    let deliveries = store.deliveries(false).await.expect("deliveries");
    let detail = deliveries[0].answer.as_deref().expect("a reason");
    assert!(detail.contains("no longer configured"), "{detail}");
    // A manual retry gives it another day.
    store.retry(1, None, after(48)).await.expect("written");
    store.give_up_absent(&["log"], after(48)).await.expect("written");
    assert_eq!(states(&store).await, pending);
}

/// An end must not overtake the start of another occurrence, and pending starts and ends are separate
/// notices.
#[tokio::test]
async fn changes_of_one_event_are_sent_in_order() {
    let store = Store::open_in_memory().expect("a store");
    let channel = Channel::new("desktop", Audience::People, Desktop::new());
    let again = |change: Change| Change { occurrence: Some(2), ..change };
    for change in [
        change("iCloud Backup", ChangeKind::Began, at(START)),
        change("Photos", ChangeKind::Ended, at(START)),
        again(change("Photos", ChangeKind::Reopened, at(START))),
        change("Siri", ChangeKind::Began, at(START)),
        change("Siri", ChangeKind::Ended, at(START)),
    ] {
        announce(&store, &channel, &change).await;
    }
    let messages = deliver_all(&store, "desktop").await;
    assert_eq!(messages, ["began iCloud Backup", "ended Photos, began Siri, ended Siri", "reopened Photos",]);
}

/// Settles all pending deliveries, and returns the changes of each notice.
async fn deliver_all(store: &Store, channel: &str) -> Vec<String> {
    let mut messages = Vec::new();
    loop {
        let compose = |waiting: &Waiting| {
            let one = |change: &Change| format!("{} {}", change.kind.as_str(), change.service);
            let mut text = waiting.changes.iter().map(one).collect::<Vec<_>>().join(", ");
            if waiting.changes.len() > 20 {
                text = format!("{} changes and {} more", waiting.changes.len(), waiting.more);
            }
            RenderedNotice {
                key: waiting.changes[0].key(),
                title: text,
                body: String::new(),
                severity: Severity::Alert,
                payload: String::new(),
            }
        };
        let begun = store.begin(channel, DIGEST, compose, |_| at(START), at(START)).await;
        let Some(attempt) = begun.expect("written") else { return messages };
        let sent = Settled::Sent { receipt: None, detail: String::new() };
        store.settle(attempt.id, &sent, Duration::ZERO, at(START)).await.expect("written");
        messages.push(attempt.notice.title);
    }
}

/// Composing tens of thousands of outages of one document once blocked the daemon.
#[tokio::test]
async fn a_flood_is_sent_in_notices_of_bounded_size() {
    let store = Store::open_in_memory().expect("a store");
    let channel = Channel::new("desktop", Audience::People, Desktop::new());
    for kind in [ChangeKind::Began, ChangeKind::Ended] {
        for number in 0..2_000 {
            let change = change(&format!("Service {number}"), kind, at(START));
            announce(&store, &channel, &Change { message_id: Some(number.to_string()), ..change }).await;
        }
    }
    announce(&store, &channel, &change("iCloud Backup", ChangeKind::Began, at(START))).await;
    // Starts and ends are in the same notices, so that no ended outage is reported as ongoing.
    let full = "1000 changes and 0 more";
    assert_eq!(deliver_all(&store, "desktop").await, [full, full, full, full, "began iCloud Backup"]);
    let deliveries = store.deliveries(true).await.expect("deliveries");
    assert!(deliveries.len() == 4_001 && deliveries.iter().all(|delivery| delivery.state == "sent"));
}
