//! The town in which the stories play: Apple, one statusd, those who hear of it, and one clock.
//!
//! It decides nothing that statusd decides. It turns the clock to whatever is due next, a look or a
//! delivery, calls the function of the real loop, and writes down what arrived and when. Time passes
//! only here: nothing waits, so a story of three days takes as long as its looks.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use statusd::channel::desktop::Desktop;
use statusd::channel::ntfy;
use statusd::channel::webhook::Webhook;
use statusd::channel::{Audience, Channel, Table as _, webhook};
use statusd::clock::Elapsed;
use statusd::daemon::poller::{PollReport, Poller, PollerState};
use statusd::delivery::policy::{self, Policy, Route};
use statusd::delivery::{self, Receiver, Round};
use statusd::feed::fetch::{FeedUrl, Fetcher, Limits};
use statusd::feed::recording::Recorder;
use statusd::model::{Change, Edition, FeedId, Outage, ServiceKey};
use statusd::phones::backup_check::Checkup;
use statusd::phones::late_backup::Late;
use statusd::phones::{General, Link, Phone, Private, Refusal, Udid};
use statusd::schedule::Schedule;
use statusd::store::{ChangeFilter, OpenError, Opened, Store, StoredDelivery};
use statusd::tracking::poll_plan::Plan;
use statusd::tracking::watchlist::Watch;
use tempfile::TempDir;

use crate::common::apple::{Apple, Papers};
#[cfg(all(unix, not(target_os = "macos")))]
use crate::common::bus::{Bubble, Bus, Server};
use crate::common::doc::Doc;
use crate::common::http_server::{HttpServer, Nobody, Reply, Request};

/// Midnight of the day on which the stories begin, a Monday.
const DAY_ZERO: &str = "2026-03-02T00:00:00Z";
static ZONE: TimeZone = TimeZone::UTC;
const DAY_S: i64 = 86_400;
/// Things that happen at one moment; more of them means that a loop spins.
const MOMENT_MAX: u32 = 2_000;

/// `10:05`, `10:05:45` on the first day, `+3d 10:05` or `-1d 10:05` on another.
#[track_caller]
pub fn at(text: &str) -> Timestamp {
    let (day, clock) = text.split_once(' ').unwrap_or(("+0d", text));
    let day: i64 = day.trim_end_matches('d').parse().expect("a day such as +3d");
    let seconds = clock.split(':').map(|part| part.parse::<i64>().expect("hh:mm or hh:mm:ss"));
    let second: i64 = [3_600, 60, 1].iter().zip(seconds).map(|(unit, part)| unit * part).sum();
    zero() + SignedDuration::from_secs(day * DAY_S + second)
}

/// The inverse of [`at`].
pub fn clock_text(time: Timestamp) -> String {
    let second = time.duration_since(zero()).as_secs();
    let (day, rest) = (second.div_euclid(DAY_S), second.rem_euclid(DAY_S));
    let mut text = if day == 0 { String::new() } else { format!("{day:+}d ") };
    text.push_str(&format!("{:02}:{:02}", rest / 3_600, rest / 60 % 60));
    if rest % 60 != 0 {
        text.push_str(&format!(":{:02}", rest % 60));
    }
    text
}

fn zero() -> Timestamp {
    DAY_ZERO.parse().expect("a time")
}

/// Apple's page on which all is well with iCloud Backup, the service named last. Photos has an
/// event that is long over: it carries the stamp, and it is never news.
pub fn calm(posted: &str) -> Doc {
    let posted = at(posted).strftime("%m/%d/%Y %H:%M UTC").to_string();
    let (from, to) = (at("-1d 08:00").as_second(), at("-1d 09:00").as_second());
    Doc::new()
        .service("Photos")
        .event("900", "Outage", "resolved", from, Some(to))
        .service("iCloud Backup")
        .posted(&posted)
}

/// The same with an event of iCloud Backup.
pub fn backup(posted: &str, kind: &str, status: &str, from: &str, to: Option<&str>) -> Doc {
    calm(posted).event("1001", kind, status, at(from).as_second(), to.map(|to| at(to).as_second()))
}

/// In state where there is such a place: no story is about the disk, and a week of retries would
/// wait for it some ten thousand times.
fn state() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a temporary directory")
}

/// One message as it arrived.
pub struct Heard {
    pub at: Timestamp,
    pub said: Said,
}

pub enum Said {
    ToProgram(Request),
    #[cfg(all(unix, not(target_os = "macos")))]
    ToPerson(Bubble),
}

impl Heard {
    /// For a program the time, the kind, the service and Apple's times; for a person the time and
    /// the headline.
    pub fn line(&self) -> String {
        let words = match &self.said {
            Said::ToProgram(request) => change_line(&request.body),
            #[cfg(all(unix, not(target_os = "macos")))]
            Said::ToPerson(bubble) => bubble.summary.clone(),
        };
        format!("{} {words}", clock_text(self.at))
    }

    #[track_caller]
    pub fn request(&self) -> &Request {
        match &self.said {
            Said::ToProgram(request) => request,
            #[cfg(all(unix, not(target_os = "macos")))]
            Said::ToPerson(bubble) => panic!("said to a person: {bubble:?}"),
        }
    }

    #[cfg(all(unix, not(target_os = "macos")))]
    #[track_caller]
    pub fn bubble(&self) -> &Bubble {
        match &self.said {
            Said::ToPerson(bubble) => bubble,
            Said::ToProgram(request) => panic!("said to a program: {request:?}"),
        }
    }
}

fn change_line(body: &[u8]) -> String {
    let change: Value = serde_json::from_slice(body).expect("a webhook's body is JSON");
    let text = |field: &str| change[field].as_str().map(str::to_owned);
    let time = |field: &str| text(field).map(|time| clock_text(time.parse().expect("RFC 3339")));
    let mut line = text("kind").expect("every change has a kind");
    for word in [text("service"), text("outage_kind")].into_iter().flatten() {
        line.push_str(&format!(" {word}"));
    }
    for (word, time) in [("from", time("began_at")), ("to", time("ended_at"))] {
        line.extend(time.map(|time| format!(" {word} {time}")));
    }
    for near in change["did_you_mean"].as_array().into_iter().flatten() {
        line.push_str(&format!(" ({}?)", near.as_str().expect("a name")));
    }
    line
}

/// Somebody who hears of changes.
struct House {
    ears: Ears,
    policy: Policy,
    heard: Vec<Heard>,
}

enum Ears {
    Program {
        name: &'static str,
        peer: HttpServer,
    },
    /// Nobody takes connections.
    Absent {
        name: &'static str,
        nobody: Nobody,
    },
    #[cfg(all(unix, not(target_os = "macos")))]
    Person {
        name: String,
        address: String,
        /// Nobody is logged in.
        server: Option<Server>,
    },
}

impl Ears {
    fn channel(&self) -> Channel {
        match self {
            Ears::Program { name, peer } if name.starts_with("ntfy.") => pushed(name, peer.url("/topic")),
            Ears::Program { name, peer } => program(name, peer.url("/hook")),
            Ears::Absent { name, nobody } => program(name, format!("http://{}/hook", nobody.address)),
            #[cfg(all(unix, not(target_os = "macos")))]
            Ears::Person { name, address, .. } => {
                let audience = if name.starts_with("desktop") { Audience::Desktop } else { Audience::People };
                Channel::new(name, audience, Desktop::at(address))
            }
        }
    }

    /// What has arrived and was not taken before.
    async fn take(&mut self) -> Option<Said> {
        match self {
            Ears::Absent { .. } => None,
            Ears::Program { peer, .. } if peer.is_quiet() => None,
            Ears::Program { peer, .. } => Some(Said::ToProgram(peer.next().await)),
            #[cfg(all(unix, not(target_os = "macos")))]
            Ears::Person { server: None, .. } => None,
            #[cfg(all(unix, not(target_os = "macos")))]
            Ears::Person { server: Some(server), .. } if server.is_quiet() => None,
            #[cfg(all(unix, not(target_os = "macos")))]
            Ears::Person { server: Some(server), .. } => Some(Said::ToPerson(server.next().await)),
        }
    }
}

/// A channel for people over HTTP.
fn pushed(name: &str, url: String) -> Channel {
    let settings: ntfy::Settings = toml::from_str(&format!("url = {url:?}")).expect("settings");
    let way = settings.open(&|_| Err("no files".to_owned())).expect("a channel");
    Channel::new(name, settings.audience(), way)
}

fn program(name: &str, url: String) -> Channel {
    let settings = webhook::Settings {
        url,
        bearer_token: None,
        bearer_token_file: None,
        hmac_secret: None,
        hmac_secret_file: None,
    };
    let no_files = &|_: &Path| Err("no files".to_owned());
    let webhook = Webhook::new(&settings, no_files).expect("a webhook");
    Channel::new(format!("webhook.{name}"), Audience::Programs, webhook)
}

/// What can be due, in the order in which it is done.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    FetchOutcome,
    Checkup,
    Delivery(usize),
}

/// An iPhone as it tells of itself: on the cable, trusted, backed up then.
pub fn iphone(last_backup: &str) -> Phone {
    let last_backup = Some(at(last_backup));
    Phone {
        udid: Udid::new("00008101-000A11223344001E"),
        link: Link::Usb,
        general: General {
            name: Some("Anna's iPhone".to_owned()),
            class: Some("iPhone".to_owned()),
            model: Some("iPhone13,2".to_owned()),
            ..General::default()
        },
        private: Ok(Private { backup_enabled: Some(true), last_backup, ..Private::default() }),
    }
}

/// The same where it refuses to tell.
pub fn refusing(refusal: Refusal) -> Phone {
    Phone { private: Err(refusal), ..iphone("00:00") }
}

/// A delivery that does not end.
type Stuck = Pin<Box<dyn Future<Output = Round>>>;

/// A running statusd: what `statusd run` holds in state.
struct Daemon {
    store: Store,
    poller: Poller,
    receivers: Vec<Receiver>,
    /// When each channel's loop wakes up; `None`: not before something new happens.
    wakes: Vec<Option<Timestamp>>,
    next_poll: Timestamp,
    /// Where it looks at phones.
    checkup: Option<Checkup>,
    next_checkup: Option<Timestamp>,
    /// What the clocks did since the last look.
    elapsed: Elapsed,
}

pub struct Town {
    pub apple: Apple,
    directory: TempDir,
    /// Shared with deliveries that hang.
    clock: Rc<Cell<Timestamp>>,
    watch: Vec<String>,
    limits: Limits,
    jitter_s: u64,
    recording: Option<PathBuf>,
    liveness: Option<Schedule>,
    /// Whether it looks at phones, and from when on it calls a backup late.
    checks: Option<Option<Late>>,
    /// The phones that are connected.
    pub phones: Vec<Phone>,
    houses: Vec<House>,
    daemon: Option<Daemon>,
    stuck: Vec<Stuck>,
    /// Whose deliveries those are.
    hung: Vec<usize>,
    /// When which house was tried.
    tries: Vec<(Timestamp, usize)>,
    looks: Vec<(Timestamp, PollReport)>,
}

impl Town {
    /// At 10:00, with statusd off. It watches iCloud Backup, and nobody listens yet.
    pub async fn new() -> Town {
        Town::with(Apple::start().await)
    }

    /// The same with a feed over https.
    pub async fn with_tls() -> Town {
        let apple = Apple::start_tls(Papers::Good).await;
        let town = Town::with(apple);
        std::fs::write(town.ca_file(), town.apple.authority_pem()).expect("room for a certificate");
        town
    }

    fn with(apple: Apple) -> Town {
        Town {
            apple,
            directory: state(),
            clock: Rc::new(Cell::new(at("10:00"))),
            watch: vec!["iCloud Backup".to_owned()],
            limits: Limits::default(),
            jitter_s: 0,
            recording: None,
            liveness: None,
            checks: None,
            phones: Vec::new(),
            houses: Vec::new(),
            daemon: None,
            stuck: Vec::new(),
            hung: Vec::new(),
            tries: Vec::new(),
            looks: Vec::new(),
        }
    }

    /// The usual one: all is calm, the program `ops` takes whatever comes, statusd is on.
    pub async fn usual() -> Town {
        let mut town = Town::new().await.program("ops", [Reply::status(200)]).await;
        town.show(&calm("09:00"));
        town.start().await;
        town
    }

    pub fn watching(mut self, patterns: &[&str]) -> Town {
        self.watch = patterns.iter().map(ToString::to_string).collect();
        self
    }

    pub fn within(mut self, limits: Limits) -> Town {
        self.limits = limits;
        self
    }

    /// With a sign of life, as in cron.
    pub fn alive(mut self, when: &str) -> Town {
        self.liveness = Some(Schedule::parse(when, &ZONE).expect("a schedule"));
        self
    }

    /// It looks at phones every half hour.
    pub fn looking_at_phones(mut self) -> Town {
        self.checks = Some(None);
        self
    }

    pub fn not_looking_at_phones(mut self) -> Town {
        self.checks = None;
        self
    }

    /// The same, and from 19:00 on it says what is late by so many days.
    pub fn minding_late_backups(mut self, days: i64) -> Town {
        let look = Schedule::parse("0 19 * * *", &ZONE).expect("a schedule");
        self.checks = Some(Some(Late { after: SignedDuration::from_hours(24 * days), check: look }));
        self
    }

    /// It polls so many seconds after each slot.
    pub fn jitter(mut self, seconds: u64) -> Town {
        self.jitter_s = seconds;
        self
    }

    pub fn recording(mut self) -> Town {
        self.recording = Some(self.directory.path().join("feed.jsonl"));
        self
    }

    /// A program behind `webhook.NAME` that answers by the script.
    pub async fn program(mut self, name: &'static str, script: impl IntoIterator<Item = Reply>) -> Town {
        let ears = Ears::Program { name, peer: HttpServer::start(script).await };
        self.houses.push(House { ears, policy: Policy::default(), heard: Vec::new() });
        self
    }

    /// A program behind `webhook.NAME` that is not there.
    pub fn absent(mut self, name: &'static str) -> Town {
        let ears = Ears::Absent { name, nobody: Nobody::new() };
        self.houses.push(House { ears, policy: Policy::default(), heard: Vec::new() });
        self
    }

    /// The absent program comes back to its address.
    pub fn comes_back(&mut self, house: usize, script: impl IntoIterator<Item = Reply>) {
        let ears = &mut self.houses[house].ears;
        let placeholder = Ears::Absent { name: "", nobody: Nobody::new() };
        let Ears::Absent { name, nobody } = std::mem::replace(ears, placeholder) else {
            panic!("house {house} is not absent")
        };
        *ears = Ears::Program { name, peer: nobody.replaced_by(script) };
    }

    /// From now on the program gives this answer.
    pub fn answers(&self, house: usize, reply: Reply) {
        let Ears::Program { peer, .. } = &self.houses[house].ears else {
            panic!("house {house} is no program")
        };
        peer.answer(reply);
    }

    /// A person on this bus who is not logged in; the first one's channel is `desktop`.
    #[cfg(all(unix, not(target_os = "macos")))]
    pub fn person(mut self, bus: &Bus) -> Town {
        let others = self.houses.iter().filter(|house| matches!(house.ears, Ears::Person { .. })).count();
        let name = if others == 0 { "desktop".to_owned() } else { format!("desktop.{}", others + 1) };
        let ears = Ears::Person { name, address: bus.address_without_guid(), server: None };
        self.houses.push(House { ears, policy: Policy::default(), heard: Vec::new() });
        self
    }

    /// A person who is told as phones and mailboxes are: in one message, not in a bubble an incident.
    /// What is sent is shown on this bus.
    #[cfg(all(unix, not(target_os = "macos")))]
    pub fn reader(mut self, bus: &Bus) -> Town {
        let ears =
            Ears::Person { name: "reader".to_owned(), address: bus.address_without_guid(), server: None };
        self.houses.push(House { ears, policy: Policy::default(), heard: Vec::new() });
        self
    }

    /// The one who listens last does so on these policy, the keys of a channel's table.
    pub fn on_terms(mut self, toml: &str) -> Town {
        let settings = toml::from_str(toml).expect("the keys of policy");
        let house = self.houses.last_mut().expect("somebody who listens");
        house.policy = Policy::new(&settings, &ZONE).expect("good policy");
        self
    }

    /// The person on this bus comes back to the desktop.
    #[cfg(all(unix, not(target_os = "macos")))]
    pub async fn log_in(&mut self, bus: &Bus) {
        for house in &mut self.houses {
            if let Ears::Person { server, address, .. } = &mut house.ears
                && *address == bus.address_without_guid()
            {
                *server = Some(Server::start(bus, &["body", "actions"]).await);
            }
        }
    }

    /// The person leaves the desktop.
    #[cfg(all(unix, not(target_os = "macos")))]
    pub async fn log_out(&mut self, house: usize) {
        self.listen().await;
        let Ears::Person { server, .. } = &mut self.houses[house].ears else {
            panic!("house {house} is no person")
        };
        server.take().expect("somebody is logged in").stop().await;
    }

    /// Whether the person's desktop answers with errors from now on.
    #[cfg(all(unix, not(target_os = "macos")))]
    pub fn refuses(&self, house: usize, is_refusing: bool) {
        let Ears::Person { server: Some(server), .. } = &self.houses[house].ears else {
            panic!("nobody is logged in at house {house}")
        };
        server.refuse(is_refusing);
    }

    /// The notification server of somebody who is logged in.
    #[cfg(all(unix, not(target_os = "macos")))]
    pub fn screen(&mut self, house: usize) -> &mut Server {
        match &mut self.houses[house].ears {
            Ears::Person { server: Some(server), .. } => server,
            _ => panic!("nobody is logged in at house {house}"),
        }
    }

    pub fn show(&self, doc: &Doc) {
        self.apple.show(&doc.json());
    }

    pub fn directory(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    pub fn recording_file(&self) -> &Path {
        self.recording.as_deref().expect("a town with a recording")
    }

    fn ca_file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    pub fn feed() -> FeedId {
        FeedId { edition: Edition::Consumer, locale: "en_US".to_owned() }
    }

    pub fn plan() -> Plan {
        let schedule = |text| Schedule::parse(text, &ZONE).expect("a schedule");
        Plan { poll: schedule("*/5 * * * *"), trouble: schedule("* * * * *"), jitter_s: 0 }
    }

    /// Starts statusd as `statusd run` does.
    pub async fn start(&mut self) {
        self.try_start().await.expect("statusd starts");
    }

    fn receiver(&self, house: &House) -> Receiver {
        let (channel, watch) = (house.ears.channel(), Watch::new(&self.watch));
        Receiver::new(channel, house.policy.clone(), Town::feed(), watch, ZONE.clone())
    }

    pub async fn try_start(&mut self) -> Result<(), OpenError> {
        assert!(self.daemon.is_none(), "statusd is on already");
        let now = self.clock.get();
        let Opened { store, lost } = Store::open(&self.directory(), now)?;
        let receivers: Vec<Receiver> = self.houses.iter().map(|house| self.receiver(house)).collect();
        let routes: Vec<Route> = receivers
            .iter()
            .map(|receiver| Route {
                channel: receiver.channel.name().to_owned(),
                policy: receiver.policy.clone(),
            })
            .collect();
        let state = PollerState::new(store.beliefs(&Town::feed()).await.expect("readable beliefs"));
        if let Some(kept) = lost {
            let change = Change::history_lost(state.beliefs.feed.clone(), &kept, now);
            store
                .record_change(&change, &|change| policy::matching(&routes, change), now)
                .await
                .expect("a new database can be written");
        }
        let url = FeedUrl::parse(&self.apple.url()).expect("an address");
        let ca_file = self.ca_file();
        let ca_file = ca_file.exists().then_some(ca_file.as_path());
        let poller = Poller {
            fetcher: Fetcher::new(url, self.limits, ca_file).expect("a fetcher"),
            watch: Watch::new(&self.watch),
            plan: Plan { jitter_s: self.jitter_s, ..Town::plan() },
            routes: routes.clone(),
            liveness: self.liveness.clone(),
            tells_of_phones: self.checks.is_some(),
            recorder: self.recording.as_deref().map(Recorder::new),
            state,
        };
        let wakes = vec![Some(now); receivers.len()];
        let elapsed = Elapsed::default();
        let look = Schedule::parse("*/30 * * * *", &ZONE).expect("a schedule");
        let seed = store.seed().await.expect("a seed");
        let feed = Town::feed();
        let checkup = self.checks.clone().map(|late| Checkup { feed, routes, look, late, seed });
        let next_checkup = checkup.as_ref().map(|_| now);
        self.daemon =
            Some(Daemon { store, poller, receivers, wakes, next_poll: now, checkup, next_checkup, elapsed });
        Ok(())
    }

    /// SIGTERM: says how far it looked, and ends.
    pub async fn stop(&mut self) {
        let mut daemon = self.daemon.take().expect("statusd is on");
        daemon.poller.state.checkpoint(&daemon.store).await.expect("the database takes a mark");
    }

    /// SIGKILL: whatever was in state is gone.
    pub fn crash(&mut self) {
        self.daemon.take().expect("statusd is on");
    }

    /// Time passes without statusd.
    pub fn off_until(&mut self, time: &str) {
        assert!(self.daemon.is_none(), "statusd is on");
        self.clock.set(at(time));
    }

    /// Everything that is due up to then, then included, in the order in which it is due.
    pub async fn until(&mut self, time: &str) {
        self.turn(at(time), false).await;
    }

    /// The same, but nothing is delivered at the very end: a look at that time has only committed.
    pub async fn until_look(&mut self, time: &str) {
        self.turn(at(time), true).await;
    }

    async fn turn(&mut self, target: Timestamp, is_cut_off: bool) {
        let (mut moment, mut happened) = (self.clock.get(), 0);
        loop {
            let now = self.clock.get();
            let daemon = self.daemon.as_ref().expect("statusd is on");
            let look = (daemon.next_poll, Due::FetchOutcome);
            let checkup = daemon.next_checkup.map(|next| (next, Due::Checkup));
            let wakes = daemon.wakes.iter().enumerate();
            let deliveries = wakes.filter_map(|(index, wake)| wake.map(|wake| (wake, Due::Delivery(index))));
            let all = [look].into_iter().chain(checkup).chain(deliveries);
            let (due, what) = all.min().expect("a look is always due");
            if due > target || (is_cut_off && due == target && matches!(what, Due::Delivery(_))) {
                break;
            }
            self.pass(due.max(now));
            happened = if self.clock.get() == moment { happened + 1 } else { 0 };
            moment = self.clock.get();
            assert!(happened < MOMENT_MAX, "a loop spins at {}", clock_text(moment));
            match what {
                Due::FetchOutcome => self.look().await,
                Due::Checkup => self.check_up().await,
                Due::Delivery(channel) => self.deliver(channel).await,
            }
        }
        self.pass(target.max(self.clock.get()));
    }

    fn pass(&mut self, to: Timestamp) {
        let seconds = to.duration_since(self.clock.get()).as_secs();
        self.clock.set(to);
        if let Some(daemon) = &mut self.daemon {
            daemon.elapsed.awake_s += u64::try_from(seconds).expect("time passes forward");
        }
    }

    async fn look(&mut self) {
        let now = self.clock.get();
        let daemon = self.daemon.as_mut().expect("statusd is on");
        let elapsed = std::mem::take(&mut daemon.elapsed);
        let looked = daemon.poller.once(&daemon.store, now, elapsed, 0.5).await;
        assert!(looked.next > now, "the next look is due at {}", clock_text(looked.next));
        daemon.next_poll = looked.next;
        // Every loop looks into its outbox after every look.
        daemon.wakes.fill(Some(now));
        self.looks.push((now, looked));
    }

    async fn check_up(&mut self) {
        let now = self.clock.get();
        let daemon = self.daemon.as_mut().expect("statusd is on");
        let checkup = daemon.checkup.as_ref().expect("it looks at phones");
        checkup.once(&daemon.store, &self.phones, now).await.expect("the database works");
        daemon.next_checkup = Some(checkup.next(now));
        daemon.wakes.fill(Some(now));
    }

    async fn deliver(&mut self, index: usize) {
        if self.hung.contains(&index) {
            // Its loop is in the delivery that does not end.
            self.daemon.as_mut().expect("statusd is on").wakes[index] = None;
            return;
        }
        let daemon = self.daemon.as_mut().expect("statusd is on");
        let clock = || self.clock.get();
        let receiver = &mut daemon.receivers[index];
        let round = delivery::once(&daemon.store, receiver, 0.0, &clock).await;
        daemon.wakes[index] = match round.expect("the database works") {
            Round::Idle { until } => until,
            Round::Tried { .. } => {
                self.tries.push((self.clock.get(), index));
                Some(self.clock.get())
            }
        };
        self.listen().await;
    }

    async fn listen(&mut self) {
        for house in &mut self.houses {
            while let Some(said) = house.ears.take().await {
                house.heard.push(Heard { at: self.clock.get(), said });
            }
        }
    }

    /// Whoever changes something in the database tells the daemon, and every loop looks.
    pub fn knock(&mut self) {
        let now = self.clock.get();
        self.daemon.as_mut().expect("statusd is on").wakes.fill(Some(now));
    }

    /// Somebody acknowledges, or with `undo` no longer, what goes on with a service. Returns the
    /// message ids.
    pub async fn ack(&mut self, service: &str, undo: bool) -> Vec<String> {
        let is_meant = |outage: &Outage| ServiceKey::new(&outage.service) == ServiceKey::new(service);
        let store = self.store();
        let meant = store.acknowledge(&Town::feed(), &is_meant, undo, self.now()).await.expect("written");
        self.knock();
        meant.into_iter().map(|outage| outage.message_id).collect()
    }

    /// People want to hear nothing until then.
    pub async fn snooze(&mut self, until: &str) {
        self.store().snooze(at(until), self.now()).await.expect("written");
        self.knock();
    }

    /// From now on the program takes what is sent and never answers, and the delivery under way
    /// never ends. Something must be due.
    pub async fn hang(&mut self, house: usize) {
        self.answers(house, Reply::Never);
        let (store, clock) = (self.store(), Rc::clone(&self.clock));
        let daemon = self.daemon.as_mut().expect("statusd is on");
        // Not before something new happens, and then it is in `stuck` that it does not.
        daemon.wakes[house] = None;
        let mut receiver = self.receiver(&self.houses[house]);
        let mut stuck: Stuck = Box::pin(async move {
            let now = || clock.get();
            delivery::once(&store, &mut receiver, 0.0, &now).await.expect("the database works")
        });
        let House { ears, heard, .. } = &mut self.houses[house];
        let Ears::Program { peer, .. } = ears else { panic!("house {house} is no program") };
        tokio::select! {
            round = &mut stuck => panic!("the message was answered: {round:?}"),
            request = peer.next() => {
                heard.push(Heard { at: self.clock.get(), said: Said::ToProgram(request) });
            }
        }
        self.stuck.push(stuck);
        self.hung.push(house);
    }

    /// SIGKILL while a message is under way: it has arrived, and its answer has not.
    pub async fn crash_in_flight(&mut self, house: usize) {
        let mut daemon = self.daemon.take().expect("statusd is on");
        let clock = || self.clock.get();
        let once = delivery::once(&daemon.store, &mut daemon.receivers[house], 0.0, &clock);
        let House { ears, heard, .. } = &mut self.houses[house];
        let Ears::Program { peer, .. } = ears else { panic!("house {house} is no program") };
        tokio::select! {
            round = once => panic!("the message was answered: {round:?}"),
            request = peer.next() => heard.push(Heard { at: clock(), said: Said::ToProgram(request) }),
        }
    }

    /// While a message to `dead` is under way and unanswered, `alive` delivers and statusd looks.
    pub async fn deliver_beside(&mut self, dead: usize, alive: usize) {
        let daemon = self.daemon.as_mut().expect("statusd is on");
        let clock = || self.clock.get();
        let [dead_channel, alive_channel] =
            daemon.receivers.get_disjoint_mut([dead, alive]).expect("two channels");
        let stuck = delivery::once(&daemon.store, dead_channel, 0.0, &clock);
        let Ears::Program { peer, .. } = &mut self.houses[dead].ears else { panic!("no program") };
        let mut stuck = Box::pin(stuck);
        tokio::select! {
            round = &mut stuck => panic!("the message was answered: {round:?}"),
            request = peer.next() => {
                self.houses[dead].heard.push(Heard { at: clock(), said: Said::ToProgram(request) });
            }
        }
        let beside = async {
            while let Round::Tried { .. } =
                delivery::once(&daemon.store, alive_channel, 0.0, &clock).await.expect("a database")
            {
            }
            let elapsed = Elapsed::default();
            daemon.poller.once(&daemon.store, clock(), elapsed, 0.5).await
        };
        tokio::select! {
            round = &mut stuck => panic!("the message was answered: {round:?}"),
            looked = beside => assert_eq!(looked.trouble, None),
        }
        drop(stuck);
        self.listen().await;
    }

    /// The computer sleeps until then. One look follows soon after it wakes.
    pub fn sleep_until(&mut self, time: &str) {
        let daemon = self.daemon.as_mut().expect("statusd is on");
        self.clock.set(at(time));
        daemon.elapsed.slept = true;
        daemon.next_poll = Poller::after_jump(at(time));
        // Timers stand still in a sleep; the look that follows it wakes every loop.
        daemon.wakes.fill(None);
    }

    /// Somebody sets the clock. No time passes, and timers go on as they were.
    pub fn set_clock(&mut self, time: &str) {
        let daemon = self.daemon.as_mut().expect("statusd is on");
        let by = at(time).duration_since(self.clock.get());
        self.clock.set(at(time));
        daemon.elapsed.set_by = Some(by);
        daemon.next_poll = Poller::after_jump(at(time));
        for wake in daemon.wakes.iter_mut().flatten() {
            *wake += by;
        }
    }

    /// What the first house has heard since it was last asked, a line a message.
    pub fn heard(&mut self) -> Vec<String> {
        self.heard_at(0)
    }

    /// The same for another house.
    pub fn heard_at(&mut self, house: usize) -> Vec<String> {
        self.messages(house).iter().map(Heard::line).collect()
    }

    /// The same with all that was in it.
    pub fn messages(&mut self, house: usize) -> Vec<Heard> {
        std::mem::take(&mut self.houses[house].heard)
    }

    /// What people have read since they were last asked: time, headline, and the lines below it.
    #[cfg(all(unix, not(target_os = "macos")))]
    pub fn read(&mut self, house: usize) -> Vec<String> {
        let read = |heard: &Heard| match &heard.said {
            Said::ToPerson(bubble) => format!("{}\n{}", heard.line(), bubble.body),
            Said::ToProgram(request) => panic!("house {house} is a program: {request:?}"),
        };
        self.messages(house).iter().map(read).collect()
    }

    /// The idempotency keys of what a program has heard since it was last asked, from the service
    /// on.
    pub fn keys(&mut self, house: usize) -> Vec<String> {
        let key = |heard: &Heard| {
            let key = heard.request().header("idempotency-key").expect("a key");
            key.splitn(3, '/').last().expect("three parts").to_owned()
        };
        self.messages(house).iter().map(key).collect()
    }

    /// When a message for this house was tried.
    pub fn tries(&self, house: usize) -> Vec<Timestamp> {
        self.tries.iter().filter(|(_, tried)| *tried == house).map(|(at, _)| *at).collect()
    }

    /// What waits in the outbox or was given up: channel, kind and service.
    pub async fn outbox(&self) -> Vec<String> {
        let line = |delivery: &StoredDelivery| {
            let StoredDelivery { channel, state, change, .. } = delivery;
            let state = if state == "pending" { "" } else { " given up" };
            format!("{channel} {} {}{state}", change.kind.as_str(), change.service)
        };
        self.store().deliveries(false).await.expect("an outbox").iter().map(line).collect()
    }

    /// The looks since they were last asked for.
    pub fn looks(&mut self) -> Vec<(Timestamp, PollReport)> {
        std::mem::take(&mut self.looks)
    }

    pub fn next_poll(&self) -> Timestamp {
        self.daemon.as_ref().expect("statusd is on").next_poll
    }

    pub fn now(&self) -> Timestamp {
        self.clock.get()
    }

    /// The database, as the command line reads it beside the daemon.
    pub fn store(&self) -> Store {
        Store::open_existing(&self.directory(), true).expect("a readable database").expect("a database")
    }

    pub fn database(&self) -> rusqlite::Connection {
        let path = self.directory().join(statusd::store::DATABASE);
        rusqlite::Connection::open(path).expect("a database")
    }

    /// Every change in the history, as kind and service.
    pub async fn history(&self) -> Vec<String> {
        let changes = self.changes().await;
        changes.iter().map(|change| format!("{} {}", change.kind.as_str(), change.service)).collect()
    }

    pub async fn changes(&self) -> Vec<Change> {
        let stored = self.store().changes(&ChangeFilter::default()).await.expect("a history");
        stored.into_iter().map(|stored| stored.change).collect()
    }

    /// When statusd could see, a line a span.
    pub async fn coverage(&self) -> Vec<String> {
        let spans = self.store().coverage(&Town::feed(), Timestamp::MIN).await.expect("coverage");
        let text = |time| clock_text(time);
        let word = |blind: &Option<String>| if blind.is_some() { "unreadable" } else { "readable" };
        spans
            .iter()
            .map(|span| format!("{} {} to {}", word(&span.unreadable), text(span.from), text(span.to)))
            .collect()
    }
}
