//! Tests that no document blocks the other loops: long work runs on another thread or in slices, and each
//! slice is one consistent transaction.
//!
//! Checks the order of events and measures no time; `benches/holds.rs` does.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::pin::pin;
use std::rc::Rc;
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};

use crate::common::apple::Apple;
use crate::common::doc::Doc;
use crate::common::old_schema::feed;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use statusd::clock::Elapsed;
use statusd::daemon::poller::{Poller, PollerState};
use statusd::delivery::policy::{Policy, Route};
use statusd::feed::fetch::{FeedUrl, FetchLimits, Fetcher};
use statusd::feed::recording::{Poll as Recorded, Recorder};
use statusd::model::ChangeKind;
use statusd::schedule::Schedule;
use statusd::store::{ChangeFilter, Store};
use statusd::tracking::poll_plan::Plan;
use statusd::tracking::watchlist::Watchlist;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::{LocalSet, spawn_blocking, spawn_local, yield_now};

/// More than one slice, and the last one is not full.
const OUTAGES: usize = 250;
/// Of one slice.
const AT_ONCE: usize = 100;
const CHANNELS: usize = 2;

/// Runs `story` on one thread, and the one thread beside it is busy until the story lets it go.
fn beside<T>(story: impl AsyncFnOnce(mpsc::Sender<()>) -> T) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().max_blocking_threads(1).build().expect("a runtime");
    runtime.block_on(async {
        let (let_go, held) = mpsc::channel();
        let busy = spawn_blocking(move || held.recv());
        let outcome = story(let_go).await;
        let _let_go = busy.await.expect("no panic");
        outcome
    })
}

#[test]
fn a_document_is_read_beside_the_loops() {
    beside(async |let_go| {
        let apple = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/", apple.local_addr().expect("an address"));
        let url = FeedUrl::parse(&url).expect("an address");
        let mut fetcher = Fetcher::new(url, FetchLimits::default(), None).expect("a fetcher");
        let mut look = pin!(fetcher.fetch());
        // Once the peer is gone, the whole answer is here.
        let answered = async {
            let (mut client, _) = apple.accept().await.expect("a connection");
            let body = Doc::new().service("iCloud Backup").json();
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                client.read_buf(&mut request).await.expect("a request");
            }
            client.write_all((head + &body).as_bytes()).await.expect("a reader");
            client.read_to_end(&mut request).await.expect("an end of the connection");
            for _ in 0..100 {
                yield_now().await;
            }
        };
        tokio::select! {
            biased;
            look = &mut look => panic!("it was read by the thread of the loops: {look:?}"),
            () = answered => {}
        }
        let_go.send(()).expect("the busy thread");
        look.await.expect("a document");
    });
}

#[test]
fn a_recording_is_written_beside_the_loops() {
    beside(async |let_go| {
        let folder = TempDir::new().expect("a folder");
        let path = folder.path().join("feed.jsonl");
        let mut recorder = Recorder::new(&path);
        let mut record = pin!(recorder.record(at(0), Some("{}"), Recorded::default(), false));
        assert!(record.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert!(!path.exists());
        let_go.send(()).expect("the busy thread");
        record.await.expect("written");
        assert!(path.exists());
    });
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_777_975_200 + second).expect("a time")
}

/// Apple, and a poller on a database of its own, in state where there is such a place.
struct Sim {
    apple: Apple,
    folder: TempDir,
    store: Store,
}

impl Sim {
    async fn found() -> Sim {
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| TempDir::new()).expect("a folder");
        let store = Store::open(folder.path(), at(0)).expect("a database").store;
        Sim { apple: Apple::start().await, folder, store }
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
            let looked = poller.once(&self.store, at(*second), Elapsed::default(), 0.5).await;
            assert_eq!(looked.trouble, None);
        }
    }

    /// The keys of all changes. Each was put into the outbox of every channel that hears of it, and its
    /// outage is in the beliefs.
    async fn whole(&self, store: &Store) -> BTreeSet<String> {
        let changes = store.changes(&ChangeFilter::default()).await.expect("changes");
        let deliveries = store.deliveries(true).await.expect("deliveries");
        let told = changes.iter().filter(|stored| stored.change.kind.is_told()).count();
        assert_eq!(deliveries.len(), CHANNELS * told, "a change and its deliveries are apart");
        let outages = store.outages(&feed(), Timestamp::MIN).await.expect("outages");
        assert_eq!(outages.len(), changes.len(), "a change and its outage are apart");
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
async fn between_the_slices_of_a_flood_others_have_their_turn() {
    let sim = Sim::found().await;
    let mut poller = sim.poller().await;
    sim.show(&mut poller, &calm(), &[0]).await;
    let seen = Rc::new(RefCell::new(Vec::new()));
    LocalSet::new()
        .run_until(async {
            let reader =
                Store::open_existing(sim.folder.path(), false).expect("readable").expect("a database");
            let noted = Rc::clone(&seen);
            let other = spawn_local(async move {
                loop {
                    let changes = reader.changes(&ChangeFilter::default()).await.expect("changes");
                    noted.borrow_mut().push(changes.len());
                    yield_now().await;
                }
            });
            sim.show(&mut poller, &flood("ongoing"), &[60, 120]).await;
            other.abort();
        })
        .await;
    assert_eq!(sim.whole(&sim.store).await.len(), OUTAGES);
    let seen = seen.borrow();
    assert!(seen.windows(2).all(|turns| turns[1] - turns[0] <= AT_ONCE), "{seen:?}");
    let turns: BTreeSet<usize> = seen.iter().copied().collect();
    assert!(turns.len() >= OUTAGES / AT_ONCE, "{turns:?}");
}

/// Otherwise memory would hold every id that Apple ever listed.
#[tokio::test]
async fn what_is_over_and_not_listed_is_not_kept_in_memory() {
    let sim = Sim::found().await;
    let mut poller = sim.poller().await;
    sim.show(&mut poller, &calm(), &[0]).await;
    sim.show(&mut poller, &flood("resolved"), &[60, 120]).await;
    assert_eq!(poller.state.beliefs.outages.len(), OUTAGES);
    sim.show(&mut poller, &calm(), &[180]).await;
    assert!(poller.state.beliefs.outages.is_empty());
    sim.show(&mut poller, &flood("resolved"), &[240, 300]).await;
    assert_eq!(sim.whole(&sim.store).await.len(), OUTAGES, "told once");
}

/// Dies between two slices, at each place, and goes on after a start.
async fn cut(first: &[(Doc, &[i64])], doc: &Doc, kind: ChangeKind) {
    let mut cuts = 0;
    for turns in 0.. {
        let sim = Sim::found().await;
        let mut poller = sim.poller().await;
        for (doc, seconds) in first {
            sim.show(&mut poller, doc, seconds).await;
        }
        sim.apple.show(&doc.json());
        let fetched = poller.fetch(&sim.store, at(180), Elapsed::default()).await;
        let mut complete = Box::pin(poller.complete(&sim.store, fetched, at(180), 0.5));
        let mut context = Context::from_waker(Waker::noop());
        let is_over = (0..=turns).any(|_| matches!(complete.as_mut().poll(&mut context), Poll::Ready(_)));
        drop(complete);
        let before = sim.whole(&sim.store).await;
        cuts += usize::from(!before.is_empty() && before.len() < OUTAGES);

        let mut poller = sim.poller().await;
        sim.show(&mut poller, doc, &[240, 300]).await;
        let after = sim.whole(&sim.store).await;
        assert!(before.is_subset(&after) && after.len() == OUTAGES, "{turns}: {} of {OUTAGES}", after.len());
        let kinds = sim.store.changes(&ChangeFilter::default()).await.expect("changes");
        assert!(kinds.iter().all(|stored| stored.change.kind == kind), "{turns}");
        if is_over {
            break;
        }
    }
    assert_eq!(cuts, OUTAGES / AT_ONCE);
}

#[tokio::test]
async fn a_kill_between_two_slices_loses_and_repeats_nothing() {
    cut(&[(calm(), &[0]), (flood("ongoing"), &[60])], &flood("ongoing"), ChangeKind::Began).await;
}

/// Outages that ended before the first document are history, even if its poll is interrupted.
#[tokio::test]
async fn a_kill_between_two_slices_of_the_first_document_announces_nothing() {
    cut(&[], &flood("resolved"), ChangeKind::Noted).await;
}
