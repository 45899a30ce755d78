//! Tests that no document blocks the other loops: long work runs on another thread or in slices, and each
//! slice is one consistent transaction.
//!
//! Checks the order of events and measures no time; `benches/holds.rs` does.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::mpsc;
use std::task::{Context, Waker};

use crate::cancellation::poll_turns;
use crate::common::apple::Apple;
use crate::common::doc::Doc;
use crate::common::seeded_store::feed;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use statusd::clock::Elapsed;
use statusd::daemon::poller::{Poller, PollerState};
use statusd::delivery::policy::{Policy, Route};
use statusd::feed::fetch::{FeedUrl, FetchLimits, Fetcher};
use statusd::feed::recorder::Recorder;
use statusd::feed::recording::Poll as Recorded;
use statusd::model::{ChangeKind, Phase};
use statusd::schedule::Schedule;
use statusd::store::{ChangeFilter, Store};
use statusd::tracking::poll_plan::Plan;
use statusd::tracking::watchlist::Watchlist;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::{spawn_blocking, yield_now};

/// More than one slice, and the last one is not full.
const OUTAGES: usize = 250;
/// Outages per slice.
const SLICE: usize = 100;
const CHANNELS: usize = 2;

/// Runs `test` on one thread while the only blocking thread is busy, until the test releases it.
fn with_busy_blocking_thread<T>(test: impl AsyncFnOnce(mpsc::Sender<()>) -> T) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().max_blocking_threads(1).build().expect("a runtime");
    runtime.block_on(async {
        let (release, held) = mpsc::channel();
        let busy = spawn_blocking(move || held.recv());
        let outcome = test(release).await;
        let _released = busy.await.expect("no panic");
        outcome
    })
}

#[test]
fn parses_documents_on_another_thread() {
    with_busy_blocking_thread(async |release| {
        let apple = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/", apple.local_addr().expect("an address"));
        let url = FeedUrl::parse(&url).expect("an address");
        let mut fetcher = Fetcher::new(url, FetchLimits::default(), None).expect("a fetcher");
        let mut fetch = pin!(fetcher.fetch());
        // After the end of the connection, the client has the whole response.
        let responded = async {
            let (mut client, _) = apple.accept().await.expect("a connection");
            let body = Doc::new().service("iCloud Backup").json();
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                client.read_buf(&mut request).await.expect("a request");
            }
            client.write_all((head + &body).as_bytes()).await.expect("a reader");
            client.read_to_end(&mut request).await.expect("the end of the connection");
            for _ in 0..100 {
                yield_now().await;
            }
        };
        tokio::select! {
            biased;
            result = &mut fetch => panic!("parsed on the thread of the loops: {result:?}"),
            () = responded => {}
        }
        release.send(()).expect("the busy thread");
        fetch.await.expect("a document");
    });
}

#[test]
fn writes_recordings_on_another_thread() {
    with_busy_blocking_thread(async |release| {
        let folder = TempDir::new().expect("a folder");
        let path = folder.path().join("feed.jsonl");
        let mut recorder = Recorder::new(&path, u64::MAX);
        let mut record = pin!(recorder.record(at(0), Some("{}"), Recorded::default(), false));
        assert!(record.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert!(!path.exists());
        release.send(()).expect("the busy thread");
        record.await.expect("written");
        assert!(path.exists());
    });
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_777_975_200 + second).expect("a time")
}

/// A feed and a database, in memory if possible.
struct Fixture {
    apple: Apple,
    _folder: TempDir,
    store: Store,
}

impl Fixture {
    async fn new() -> Fixture {
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| TempDir::new()).expect("a folder");
        let store = Store::open(folder.path(), at(0)).expect("a database").store;
        Fixture { apple: Apple::start().await, _folder: folder, store }
    }

    /// Returns a poller in the state after a start.
    async fn poller(&self) -> Poller {
        let schedule = || Schedule::parse("@hourly", &TimeZone::UTC).expect("a schedule");
        let url = FeedUrl::parse(&self.apple.url()).expect("an address");
        let route = |number| Route { channel: format!("webhook.{number}"), policy: Policy::default() };
        Poller {
            fetcher: Fetcher::new(url, FetchLimits::default(), None).expect("a fetcher"),
            watch: Watchlist::new(&["*"]),
            plan: Plan { poll: schedule(), trouble: schedule(), jitter_s: 0 },
            routes: (0..CHANNELS).map(route).collect(),
            recorder: None,
            liveness: None,
            tells_of_phones: false,
            state: PollerState::new(self.store.beliefs(&feed()).await.expect("beliefs")),
        }
    }

    /// Serves the document and polls at these seconds.
    async fn show(&self, poller: &mut Poller, doc: &Doc, seconds: &[i64]) {
        self.apple.show(&doc.json());
        for second in seconds {
            let report = poller.once(&self.store, at(*second), Elapsed::default(), 0.5).await;
            assert_eq!(report.trouble, None);
        }
    }

    /// Checks that each change has its deliveries and its outage. Returns the keys of all changes.
    async fn check_consistent(&self, store: &Store) -> BTreeSet<String> {
        let changes = store.changes(&ChangeFilter::default()).await.expect("changes");
        let deliveries = store.deliveries(true).await.expect("deliveries");
        let announced = changes.iter().filter(|stored| stored.change.kind.is_told()).count();
        assert_eq!(deliveries.len(), CHANNELS * announced, "a change lacks its deliveries");
        let outages = store.outages(&feed(), Timestamp::MIN).await.expect("outages");
        assert_eq!(outages.len(), changes.len(), "a change lacks its outage");
        let keys: BTreeSet<String> = changes.iter().map(|stored| stored.change.key()).collect();
        assert_eq!(keys.len(), changes.len());
        keys
    }
}

fn calm() -> Doc {
    Doc::new().service("iCloud Backup")
}

fn flood(status: &str) -> Doc {
    let end = (status == "resolved").then(|| at(-60).as_second());
    let event = |doc: Doc, number: usize| {
        doc.event(&number.to_string(), "Outage", status, at(-3_600).as_second(), end)
    };
    (0..OUTAGES).fold(calm(), event)
}

/// Up to 2,000 outages of one document were once one transaction.
#[tokio::test]
async fn other_tasks_run_between_the_slices_of_a_flood() {
    let fixture = Fixture::new().await;
    let mut poller = fixture.poller().await;
    fixture.show(&mut poller, &calm(), &[0]).await;
    let flood = flood("ongoing");
    let counts = RefCell::new(Vec::new());
    let others = async {
        loop {
            let changes = fixture.store.changes(&ChangeFilter::default()).await.expect("changes");
            counts.borrow_mut().push(changes.len());
        }
    };
    tokio::select! {
        biased;
        () = fixture.show(&mut poller, &flood, &[60, 120]) => {}
        () = others => {}
    }
    assert_eq!(fixture.check_consistent(&fixture.store).await.len(), OUTAGES);
    let counts = counts.borrow();
    assert!(counts.windows(2).all(|turns| turns[1] - turns[0] <= SLICE), "{counts:?}");
    let turns: BTreeSet<usize> = counts.iter().copied().collect();
    assert!(turns.len() >= OUTAGES / SLICE, "{turns:?}");
}

/// Otherwise memory would hold every id that Apple ever listed.
#[tokio::test]
async fn drops_ended_unlisted_outages_from_memory() {
    let fixture = Fixture::new().await;
    let mut poller = fixture.poller().await;
    fixture.show(&mut poller, &calm(), &[0]).await;
    fixture.show(&mut poller, &flood("resolved"), &[60, 120]).await;
    assert_eq!(poller.state.beliefs.outages.len(), OUTAGES);
    fixture.show(&mut poller, &calm(), &[180]).await;
    assert!(poller.state.beliefs.outages.is_empty());
    fixture.show(&mut poller, &flood("resolved"), &[240, 300]).await;
    assert_eq!(fixture.check_consistent(&fixture.store).await.len(), OUTAGES, "announced once");
}

/// Interrupts a poll at each wait. Then restarts, or goes on with the same poller.
async fn check_interruptions(first: &[(Doc, &[i64])], doc: &Doc, kind: ChangeKind, is_killed: bool) {
    let mut interruptions = BTreeSet::new();
    for turns in 0.. {
        let fixture = Fixture::new().await;
        let mut poller = fixture.poller().await;
        for (doc, seconds) in first {
            fixture.show(&mut poller, doc, seconds).await;
        }
        fixture.apple.show(&doc.json());
        let fetched = poller.fetch(&fixture.store, at(180), Elapsed::default()).await;
        let complete = poller.complete(&fixture.store, fetched, at(180), 0.5);
        let is_over = poll_turns(complete, turns, &fixture.store).await;
        let before = fixture.check_consistent(&fixture.store).await;
        if !before.is_empty() && before.len() < OUTAGES {
            interruptions.insert(before.len());
        }

        if is_killed {
            poller = fixture.poller().await;
        }
        fixture.show(&mut poller, doc, &[240, 300]).await;
        let after = fixture.check_consistent(&fixture.store).await;
        assert!(before.is_subset(&after) && after.len() == OUTAGES, "{turns}: {} of {OUTAGES}", after.len());
        let kinds = fixture.store.changes(&ChangeFilter::default()).await.expect("changes");
        assert!(kinds.iter().all(|stored| stored.change.kind == kind), "{turns}");
        if is_over {
            break;
        }
    }
    assert_eq!(interruptions.len(), OUTAGES / SLICE);
}

#[tokio::test]
async fn a_kill_between_slices_neither_loses_nor_repeats_changes() {
    let first: [(Doc, &[i64]); 2] = [(calm(), &[0]), (flood("ongoing"), &[60])];
    check_interruptions(&first, &flood("ongoing"), ChangeKind::Began, true).await;
}

/// Outages that ended before the first document are history, even if its poll is interrupted.
#[tokio::test]
async fn a_kill_between_slices_of_the_first_document_announces_nothing() {
    check_interruptions(&[], &flood("resolved"), ChangeKind::Noted, true).await;
}

#[tokio::test]
async fn a_poller_whose_caller_was_dropped_neither_loses_nor_repeats_changes() {
    let first: [(Doc, &[i64]); 2] = [(calm(), &[0]), (flood("ongoing"), &[60])];
    check_interruptions(&first, &flood("ongoing"), ChangeKind::Began, false).await;
    check_interruptions(&[], &flood("resolved"), ChangeKind::Noted, false).await;
}

/// The database may be ahead of the memory of a poller whose caller was dropped. An announced start must not
/// be followed by "was down".
#[tokio::test]
async fn a_poller_whose_caller_was_dropped_knows_what_was_committed() {
    for turns in 0.. {
        let fixture = Fixture::new().await;
        let mut poller = fixture.poller().await;
        fixture.show(&mut poller, &calm(), &[0]).await;
        fixture.show(&mut poller, &flood("ongoing"), &[60]).await;
        let fetched = poller.fetch(&fixture.store, at(120), Elapsed::default()).await;
        let complete = poller.complete(&fixture.store, fetched, at(120), 0.5);
        let is_over = poll_turns(complete, turns, &fixture.store).await;
        let begun = fixture.store.changes(&ChangeFilter::default()).await.expect("changes").len();
        fixture.show(&mut poller, &flood("resolved"), &[240, 300]).await;
        let changes = fixture.store.changes(&ChangeFilter::default()).await.expect("changes");
        let count = |kind| changes.iter().filter(|stored| stored.change.kind == kind).count();
        let counts = [ChangeKind::Began, ChangeKind::Ended, ChangeKind::Missed].map(count);
        assert_eq!(counts, [begun, begun, OUTAGES - begun], "{turns}");
        if is_over {
            break;
        }
    }
}

/// A stop drops a fetch, which first accounts for a sleep.
#[tokio::test]
async fn a_sleep_ends_the_coverage_although_the_caller_was_dropped() {
    let fixture = Fixture::new().await;
    let mut poller = fixture.poller().await;
    fixture.show(&mut poller, &calm(), &[0]).await;
    let slept = Elapsed { slept: true, ..Elapsed::default() };
    let fetch = poller.fetch(&fixture.store, at(7_200), slept);
    assert!(!poll_turns(fetch, 0, &fixture.store).await);
    poller.state.checkpoint(&fixture.store).await.expect("written");
    fixture.show(&mut poller, &calm(), &[7_260]).await;
    let spans = fixture.store.coverage(&feed(), Timestamp::MIN).await.expect("coverage");
    assert!(
        spans.iter().all(|span| span.to - span.from < jiff::SignedDuration::from_secs(3_600)),
        "{spans:?}"
    );
}

/// The same for a clock that was set: its times are moved exactly once.
#[tokio::test]
async fn a_clock_change_counts_once_although_the_caller_was_dropped() {
    let hour = jiff::SignedDuration::from_secs(3_600);
    for turns in 0..3 {
        let fixture = Fixture::new().await;
        let mut poller = fixture.poller().await;
        fixture.show(&mut poller, &flood("ongoing"), &[0, 60]).await;
        fixture.show(&mut poller, &calm(), &[120]).await;
        let set = Elapsed { set_by: Some(hour), ..Elapsed::default() };
        let fetch = poller.fetch(&fixture.store, at(180 + 3_600), set);
        assert!(!poll_turns(fetch, turns, &fixture.store).await);
        fixture.show(&mut poller, &calm(), &[240 + 3_600]).await;
        for beliefs in [&poller.state.beliefs, &fixture.store.beliefs(&feed()).await.expect("beliefs")] {
            assert_eq!(beliefs.outages.len(), OUTAGES);
            for outage in beliefs.outages.values() {
                let Phase::Ongoing(Some(missing)) = &outage.phase else { panic!("{turns}: {outage:?}") };
                assert_eq!(missing.since, at(120) + hour, "{turns}");
            }
        }
    }
}
