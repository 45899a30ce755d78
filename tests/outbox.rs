//! The outbox at its corners: a message that somebody may have seen stays as it was, what is young
//! is not given up with what is old, no bubble vanishes while its outage goes on, and a lost history
//! is told of.

use std::cell::Cell;
use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::thread::{JoinHandle, spawn};

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use statusd::channel::{Audience, Channel, Desktop, Way, Webhook, webhook};
use statusd::deliver::{self, Courier, Round};
use statusd::model::{Change, ChangeKind, Edition, EventKind, FeedId, Tone};
use statusd::store::{Frozen, Gather, Settled, Store, Waiting};
use statusd::terms::Terms;
use statusd::watch::Watch;

/// As for people.
const ALL: Gather = Gather::All { max_age: SignedDuration::from_hours(24) };
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
    store.announce(change, &|_| names.to_vec(), change.at).await.expect("written");
}

/// Watches everything, on no particular terms.
fn courier(channel: Channel) -> Courier {
    let feed = FeedId { edition: Edition::Consumer, locale: "en_US".to_owned() };
    Courier::new(channel, Terms::default(), feed, Watch::new(&["*"]), TimeZone::UTC)
}

/// Reads one request to its end and hangs up without an answer; returns its body.
fn reads_and_hangs_up(address: SocketAddr) -> JoinHandle<String> {
    let listener = TcpListener::bind(address).expect("the port");
    spawn(move || {
        let (mut peer, _) = listener.accept().expect("a visitor");
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
            let read = peer.read(&mut buffer).expect("the request");
            assert_ne!(read, 0, "the request is cut off");
            all.extend_from_slice(&buffer[..read]);
        }
    })
}

#[tokio::test]
async fn what_somebody_may_have_seen_is_sent_again_as_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path(), at(START)).expect("a store").store;
    let address = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port");
    let settings: webhook::Settings =
        toml::from_str(&format!("url = 'http://{address}/'")).expect("settings");
    let webhook = Webhook::new(&settings, &|_| Err("no files".to_owned())).expect("a webhook");
    let mut courier =
        courier(Channel::new("webhook.ops", Audience::Programs, Way::Webhook(Box::new(webhook))));
    announce(&store, &courier.channel, &change("iCloud Backup", ChangeKind::Began, at(START))).await;
    let now = Cell::new(at(START));
    let clock = || now.get();
    let peer = reads_and_hangs_up(address);
    deliver::once(&store, &mut courier, 0.0, &clock).await.expect("a round");
    let first = peer.join().expect("a body");
    // The peer is away; that it saw nothing of this try says nothing of the one before.
    now.set(now.get() + SignedDuration::from_hours(1));
    deliver::once(&store, &mut courier, 0.0, &clock).await.expect("a round");
    // The next day a fresh message would be worded with a date.
    now.set(now.get() + SignedDuration::from_hours(30));
    let peer = reads_and_hangs_up(address);
    deliver::once(&store, &mut courier, 0.0, &clock).await.expect("a round");
    assert_eq!(peer.join().expect("a body"), first);
}

#[tokio::test]
async fn a_lost_history_is_told_even_by_the_run_after_the_one_that_found_it() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("statusd.db"), "no database at all").expect("written");
    let open = || Store::open(folder.path(), at(START)).expect("a store");
    // Found, moved aside, and killed before a word was said.
    let found = open().lost.expect("damage");
    let again = open();
    assert_eq!(again.lost, Some(found));
    announce(
        &again.store,
        &Channel::new("desktop", Audience::People, Way::Desktop(Desktop::new())),
        &change("", ChangeKind::HistoryLost, at(START)),
    )
    .await;
    drop(again);
    assert_eq!(open().lost, None);
}

#[tokio::test]
async fn what_is_young_is_not_given_up_with_what_is_old() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path(), at(START)).expect("a store").store;
    let mut courier = courier(Channel::new(
        "desktop",
        Audience::People,
        Way::Desktop(Desktop::at("unix:path=/nonexistent/bus")),
    ));
    let now = Cell::new(at(START));
    let clock = || now.get();
    announce(&store, &courier.channel, &change("Photos", ChangeKind::Began, now.get())).await;
    for _ in 0..1_079 {
        now.set(now.get() + SignedDuration::from_mins(40));
        let round = deliver::once(&store, &mut courier, 0.0, &clock).await.expect("a round");
        assert!(matches!(round, Round::Tried { .. }), "{round:?}");
    }
    announce(&store, &courier.channel, &change("iCloud Backup", ChangeKind::Began, now.get())).await;
    now.set(now.get() + SignedDuration::from_hours(2));
    deliver::once(&store, &mut courier, 0.0, &clock).await.expect("a round");
    let deliveries = store.deliveries(true).await.expect("deliveries");
    let states: Vec<_> = deliveries.iter().map(|d| (d.change.service.as_str(), d.state.as_str())).collect();
    assert_eq!(states, [("Photos", "given_up"), ("iCloud Backup", "pending")]);
}

#[tokio::test]
async fn an_end_does_not_wipe_another_outage_off_the_screen() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path(), at(START)).expect("a store").store;
    let channel = Channel::new("desktop", Audience::People, Way::Desktop(Desktop::new()));
    let compose = |waiting: &Waiting| Frozen {
        key: waiting.changes[0].key(),
        title: String::new(),
        body: String::new(),
        tone: Tone::Alarm,
        payload: String::new(),
    };
    let begin = async || {
        let begun = store.begin("desktop", ALL, &compose, &|_| at(START), at(START)).await;
        begun.expect("written").expect("something to say")
    };
    let shown = async |notice_id, receipt: &str| {
        let settled = Settled::Sent { receipt: Some(receipt.to_owned()), words: String::new() };
        store.settle(notice_id, &settled, at(START)).await.expect("written");
    };
    for service in ["iCloud Backup", "Photos"] {
        announce(&store, &channel, &change(service, ChangeKind::Began, at(START))).await;
    }
    shown(begin().await.notice_id, "both are down").await;
    announce(&store, &channel, &change("Photos", ChangeKind::Ended, at(START))).await;
    let end = begin().await;
    assert_eq!(end.replaces, None);
    shown(end.notice_id, "Photos is fixed").await;
    announce(&store, &channel, &change("Photos", ChangeKind::Reopened, at(START))).await;
    assert_eq!(begin().await.replaces.as_deref(), Some("Photos is fixed"));
}
