//! Prints the longest time for which hostile input blocks the runtime. Asserts nothing, because machines
//! differ.
//!
//! `cargo bench --bench holds`. A task that always yields reads the thread's processor time on each turn;
//! the longest step between two turns is the result. Waits for the disk are not included. The worst of
//! several runs counts.

#[path = "../tests/it/common/mod.rs"]
#[allow(dead_code, reason = "the tests use all of it")]
mod common;

use std::cell::Cell;
use std::hint::black_box;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use common::apple::{Apple, Response};
use common::hostile::hostile_documents;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use rustix::time::{ClockId, clock_gettime};
use statusd::channel::log::Log;
use statusd::channel::{Audience, Channel, Table as _, alertmanager};
use statusd::clock::Elapsed;
use statusd::daemon::poller::{Poller, PollerState};
use statusd::delivery::policy::{Policy, Route};
use statusd::delivery::{self, Begun, Receiver};
use statusd::feed::fetch::{self, FeedUrl, Fetcher};
use statusd::feed::recorder::Recorder;
use statusd::model::{Beliefs, Change, ChangeKind, Edition, EventKind, FeedId};
use statusd::phones::property_list::{self, ListLimits};
use statusd::schedule::Schedule;
use statusd::setting::SettingError;
use statusd::store::{Settled, Store};
use statusd::tracking::poll_plan::Plan;
use statusd::tracking::watchlist::Watchlist;
use tempfile::TempDir;
use tokio::task::{LocalSet, spawn_local, yield_now};

const RUNS: u32 = 3;
/// The maximum number of events in a document.
const OUTAGES: usize = 2_000;
const FLOOD: usize = 50_000;
const CHANNELS: [&str; 5] = ["desktop", "log", "mail", "mqtt", "webhook"];

fn main() {
    for (what, body) in hostile_documents() {
        figure(what, async |watch| poll(vec![body.clone()], watch).await);
    }
    figure("watched names that are not listed", async |watch| poll(vec![unlisted()], watch).await);
    figure("outages that begin and end", async |watch| {
        poll(vec![flood("ongoing", 0), flood("resolved", 0)], watch).await
    });
    let waves: Vec<String> = (0..10).map(|wave| flood("ongoing", wave)).collect();
    figure("other outages in each document", async |watch| poll(waves.clone(), watch).await);
    for (what, audience) in
        [("people", Audience::People), ("a desktop", Audience::Desktop), ("programs", Audience::Programs)]
    {
        figure(&format!("{FLOOD} changes for {what}"), async |watch| deliver(audience, watch).await);
    }
    figure("a state of many outages", async |watch| sync(watch).await);
    for (what, answer) in phone_responses() {
        figure(what, async |watch| {
            watch.start();
            black_box(property_list::read(&answer, ListLimits { events: 10_000, content_bytes: 2 << 20 }));
            watch.stop();
        });
    }
}

/// Of 1 MiB, the maximum size of a packet of usbmuxd or of a phone.
fn phone_responses() -> [(&'static str, Vec<u8>); 3] {
    let list = |value: &str| {
        let values = value.repeat(((1 << 20) - 100) / value.len());
        format!("<plist><dict><key>a</key><array>{values}</array></dict></plist>").into_bytes()
    };
    [
        ("a phone's response of many values", list("<true/>")),
        ("a phone's response of comments", list("<!---->")),
        ("a phone's response of many texts", list("<string>&amp;</string>")),
    ]
}

/// Starts and stops a measurement.
#[derive(Clone)]
struct Stopwatch(Rc<Cell<(Option<Duration>, Duration)>>);

impl Stopwatch {
    fn start(&self) {
        self.0.set((Some(processor_time()), self.0.get().1));
    }

    fn stop(&self) {
        self.turn();
        self.0.set((None, self.0.get().1));
    }

    fn turn(&self) {
        let now = processor_time();
        if let (Some(before), longest) = self.0.get() {
            self.0.set((Some(now), longest.max(now - before)));
        }
    }
}

fn processor_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().expect("a time since the start of the thread")
}

fn figure(what: &str, work: impl AsyncFn(&Stopwatch)) {
    let mut longest = Duration::ZERO;
    for _ in 0..RUNS {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let watch = Stopwatch(Rc::new(Cell::new((None, Duration::ZERO))));
        LocalSet::new().block_on(&runtime, async {
            let ticker = watch.clone();
            let ticks = spawn_local(async move {
                loop {
                    ticker.turn();
                    yield_now().await;
                }
            });
            work(&watch).await;
            ticks.abort();
        });
        longest = longest.max(watch.0.get().1);
    }
    println!("{:>9.1} ms  {what}", longest.as_secs_f64() * 1e3);
}

fn feed() -> FeedId {
    FeedId { edition: Edition::Consumer, locale: "en_US".to_owned() }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_777_975_200 + second).expect("a time")
}

/// Outages of 1,000 services, as large as a document may be.
fn flood(status: &str, wave: usize) -> String {
    let end = if status == "ongoing" { "null".to_owned() } else { format!("{}000", at(0).as_second()) };
    let events = |service: usize| {
        let event = |event: usize| {
            format!(
                r#"{{"messageId":"{wave}-{service}-{event}","statusType":"Outage","eventStatus":"{status}","epochStartDate":{}000,"epochEndDate":{end},"message":"{}"}}"#,
                at(-3_600 - service as i64).as_second(),
                "Users see a problem. ".repeat(15),
            )
        };
        (0..OUTAGES / 1_000).map(event).collect::<Vec<String>>().join(",")
    };
    let service = |number| format!(r#"{{"serviceName":"Service {number}","events":[{}]}}"#, events(number));
    format!(r#"{{"services":[{}]}}"#, (0..1_000).map(service).collect::<Vec<String>>().join(","))
}

/// A thousand services, none of them watched, that are compared with the watched names.
fn unlisted() -> String {
    let name = |number: usize| format!("{number} {}", "backup ".repeat(27));
    let service = |number| format!(r#"{{"serviceName":"{}","events":[]}}"#, name(number));
    format!(r#"{{"services":[{}]}}"#, (0..1_000).map(service).collect::<Vec<String>>().join(","))
}

/// A mock feed, and a daemon's poller with its own database.
struct Sim {
    apple: Apple,
    folder: TempDir,
    store: Store,
    now: i64,
}

impl Sim {
    async fn new() -> Sim {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("state"), at(0)).expect("a database").store;
        Sim { apple: Apple::start().await, folder, store, now: 0 }
    }

    fn poller(&self, channels: &[&str]) -> Poller {
        let schedule = || Schedule::parse("@hourly", &TimeZone::UTC).expect("a schedule");
        let names: Vec<String> =
            (0..20).map(|number| format!("iCloud Bakcup {number}")).chain(["Service *".to_owned()]).collect();
        let url = FeedUrl::parse(&self.apple.url()).expect("an address");
        let route = |name: &&str| Route { channel: (*name).to_owned(), policy: policy() };
        Poller {
            fetcher: Fetcher::new(url, fetch::FetchLimits::default(), None).expect("a fetcher"),
            watch: Watchlist::new(&names),
            plan: Plan { poll: schedule(), trouble: schedule(), jitter_s: 0 },
            routes: channels.iter().map(route).collect(),
            recorder: Some(Recorder::new(&self.folder.path().join("feed.jsonl"), u64::MAX)),
            liveness: None,
            tells_of_phones: false,
            state: PollerState::new(Beliefs::new(feed())),
        }
    }

    /// Polls each document twice, far enough apart for a confirmation.
    async fn poll(&mut self, poller: &mut Poller, bodies: &[String], watch: &Stopwatch) {
        // An empty first document, because outages that are over in the first document are only noted.
        self.apple.show(r#"{"services":[{"serviceName":"A","events":[]}]}"#);
        poller.once(&self.store, at(self.now), Elapsed::default(), 0.5).await;
        for body in bodies {
            self.apple.respond(Response::ok(body.clone()).gzip());
            for _ in 0..2 {
                self.now += 60;
                watch.start();
                poller.once(&self.store, at(self.now), Elapsed::default(), 0.5).await;
                watch.stop();
            }
        }
    }
}

async fn poll(bodies: Vec<String>, watch: &Stopwatch) {
    let mut sim = Sim::new().await;
    let mut poller = sim.poller(&CHANNELS);
    sim.poll(&mut poller, &bodies, watch).await;
}

fn policy() -> Policy {
    let settings = toml::from_str("remind_every = '5m'").expect("settings");
    Policy::new(&settings, &TimeZone::UTC).expect("policy")
}

/// Sends the first messages of a full outbox.
async fn deliver(audience: Audience, watch: &Stopwatch) {
    let store = Store::open_in_memory().expect("a database");
    let names = ["all".to_owned()];
    for number in 0..FLOOD {
        let mut change = Change::bare(ChangeKind::Began, feed(), at(0), at(0));
        change.service = format!("Service {}", number % 1_000);
        change.message_id = Some(format!("{}", number / 2));
        change.occurrence = Some(1);
        change.outage_kind = Some(EventKind::Outage);
        change.began_at = Some(at(-(number as i64)));
        change.message = "Users see a problem. ".repeat(15);
        store.record_change(&change, &|_| names.to_vec(), at(0)).await.expect("written");
    }
    let receiver = receiver(Channel::new("all", audience, Log));
    let mut messages = 0;
    while messages < 200 {
        watch.start();
        let begun = delivery::begin(&store, &receiver, 0.5, at(0), false).await.expect("written");
        let Begun::Message(attempt) = begun else { break };
        yield_now().await;
        let sent = Settled::Sent { receipt: Some("1".to_owned()), detail: String::new() };
        store.settle(attempt.id, &sent, Duration::ZERO, at(0)).await.expect("written");
        watch.stop();
        messages += 1;
    }
}

fn receiver(channel: Channel) -> Receiver {
    Receiver::new(channel, Policy::default(), feed(), Watchlist::new(&["*"]), TimeZone::UTC)
}

/// Sends the largest possible state to a channel that mirrors it.
async fn sync(watch: &Stopwatch) {
    let mut sim = Sim::new().await;
    let mut poller = sim.poller(&[]);
    let idle = Stopwatch(Rc::new(Cell::new((None, Duration::ZERO))));
    sim.poll(&mut poller, &[flood("ongoing", 0), flood("ongoing", 1), flood("ongoing", 2)], &idle).await;
    let settings = format!("urls = ['http://{}']", sim.apple.address());
    let settings: alertmanager::Settings = toml::from_str(&settings).expect("settings");
    let no_secret = |_: &Path| Err(SettingError::new("", "no secret"));
    let transport = settings.open(&no_secret).expect("a channel");
    let mut receiver = receiver(Channel::new("alertmanager", Audience::Programs, transport));
    watch.start();
    delivery::once(&sim.store, &mut receiver, 0.5, &|| at(sim.now)).await.expect("shown");
    watch.stop();
}
