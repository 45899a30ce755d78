//! A deterministic simulation: the feed, one statusd, its receivers, and one virtual clock.
//!
//! The simulation decides nothing that statusd decides. It sets the clock to the next due poll or
//! delivery, calls the function that the daemon's loop calls, and records what arrived and when. Time
//! passes only here, so a story of three days takes as long as its polls. It replaces the daemon's loops:
//! reload, stop and channels that hang are tested with the real program (`tests/it/binary.rs`).

use std::cell::Cell;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use statusd::channel::desktop::Desktop;
use statusd::channel::ntfy;
use statusd::channel::settings::RedactedUrl;
use statusd::channel::webhook::Webhook;
use statusd::channel::{Audience, Channel, Table as _, webhook};
use statusd::clock::Elapsed;
use statusd::daemon::poller::{PollReport, Poller, PollerState};
use statusd::delivery::policy::{self, Policy, Route};
use statusd::delivery::{self, Receiver, Round};
use statusd::feed::fetch::{FeedUrl, FetchLimits, Fetcher};
use statusd::feed::recorder::Recorder;
use statusd::model::{Change, Edition, FeedId, Outage, ServiceKey};
use statusd::phones::backup_check::BackupCheck;
use statusd::phones::late_backup::LatePolicy;
use statusd::phones::{AccessError, Link, Phone, PrivateInfo, PublicInfo, Udid};
use statusd::schedule::Schedule;
use statusd::setting::SettingError;
use statusd::store::{ChangeFilter, OpenError, Opened, Store, StoredDelivery};
use statusd::tracking::poll_plan::Plan;
use statusd::tracking::watchlist::Watchlist;
use tempfile::TempDir;

use crate::common::apple::{Apple, ServerCert};
#[cfg(all(unix, not(target_os = "macos")))]
use crate::common::bus::{Bubble, Bus, Server};
use crate::common::doc::Doc;
use crate::common::http_server::{ClosedPort, HttpServer, Reply, Request};

/// Midnight of the day on which the stories begin, a Monday.
const DAY_ZERO: &str = "2026-03-02T00:00:00Z";
static ZONE: TimeZone = TimeZone::UTC;
const DAY_S: i64 = 86_400;
/// Steps at one instant. More of them mean that a loop spins.
const STEPS_MAX: u32 = 2_000;

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

/// A feed without an outage of iCloud Backup, the service named last. Photos has a past event, which
/// carries the stamp and never causes a notice.
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

/// Creates a directory in memory where possible, because a week of retries would wait for the disk some
/// ten thousand times.
fn state() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a temporary directory")
}

/// One message as received.
pub struct Received {
    pub at: Timestamp,
    pub payload: Payload,
}

pub enum Payload {
    Request(Request),
    #[cfg(all(unix, not(target_os = "macos")))]
    Bubble(Bubble),
}

impl Received {
    /// Returns time, kind, service and Apple's times of a request, or time and title of a bubble.
    pub fn line(&self) -> String {
        let words = match &self.payload {
            Payload::Request(request) => change_line(&request.body),
            #[cfg(all(unix, not(target_os = "macos")))]
            Payload::Bubble(bubble) => bubble.summary.clone(),
        };
        format!("{} {words}", clock_text(self.at))
    }

    #[track_caller]
    pub fn request(&self) -> &Request {
        match &self.payload {
            Payload::Request(request) => request,
            #[cfg(all(unix, not(target_os = "macos")))]
            Payload::Bubble(bubble) => panic!("a bubble, not a request: {bubble:?}"),
        }
    }

    #[cfg(all(unix, not(target_os = "macos")))]
    #[track_caller]
    pub fn bubble(&self) -> &Bubble {
        match &self.payload {
            Payload::Bubble(bubble) => bubble,
            Payload::Request(request) => panic!("payload to a program: {request:?}"),
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

/// A test receiver with its delivery policy and what it received.
struct Recipient {
    endpoint: Endpoint,
    policy: Policy,
    received: Vec<Received>,
}

enum Endpoint {
    Http {
        name: &'static str,
        server: HttpServer,
    },
    /// A port that refuses connections.
    Absent {
        name: &'static str,
        closed_port: ClosedPort,
    },
    #[cfg(all(unix, not(target_os = "macos")))]
    Desktop {
        name: String,
        address: String,
        /// `None`: no user is logged in.
        server: Option<Server>,
    },
}

impl Endpoint {
    fn channel(&self) -> Channel {
        match self {
            Endpoint::Http { name, server } if name.starts_with("ntfy.") => {
                pushed(name, server.url("/topic"))
            }
            Endpoint::Http { name, server } => program(name, server.url("/hook")),
            Endpoint::Absent { name, closed_port } => {
                program(name, format!("http://{}/hook", closed_port.address))
            }
            #[cfg(all(unix, not(target_os = "macos")))]
            Endpoint::Desktop { name, address, .. } => {
                let audience = if name.starts_with("desktop") { Audience::Desktop } else { Audience::People };
                Channel::new(name, audience, Desktop::at(address))
            }
        }
    }

    /// Returns the next message not returned before.
    async fn take(&mut self) -> Option<Payload> {
        match self {
            Endpoint::Absent { .. } => None,
            Endpoint::Http { server, .. } if server.is_quiet() => None,
            Endpoint::Http { server, .. } => Some(Payload::Request(server.next().await)),
            #[cfg(all(unix, not(target_os = "macos")))]
            Endpoint::Desktop { server: None, .. } => None,
            #[cfg(all(unix, not(target_os = "macos")))]
            Endpoint::Desktop { server: Some(server), .. } if server.is_quiet() => None,
            #[cfg(all(unix, not(target_os = "macos")))]
            Endpoint::Desktop { server: Some(server), .. } => Some(Payload::Bubble(server.next().await)),
        }
    }
}

/// A channel for people over HTTP.
fn pushed(name: &str, url: String) -> Channel {
    let settings: ntfy::Settings = toml::from_str(&format!("url = {url:?}")).expect("settings");
    let way = settings.open(&|_| Err(SettingError::new("", "no files"))).expect("a channel");
    Channel::new(name, Audience::People, way)
}

fn program(name: &str, url: String) -> Channel {
    let settings = webhook::Settings {
        url: RedactedUrl::new(url),
        bearer_token: None,
        bearer_token_file: None,
        hmac_secret: None,
        hmac_secret_file: None,
    };
    let no_files = &|_: &Path| Err(SettingError::new("", "no files"));
    let webhook = Webhook::new(&settings, no_files).expect("a webhook");
    Channel::new(format!("webhook.{name}"), Audience::Programs, webhook)
}

/// A due step, in the order of execution.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Poll,
    BackupCheck,
    Delivery(usize),
}

/// A trusted iPhone on a cable, with the time of its last backup.
pub fn iphone(last_backup: &str) -> Phone {
    let last_backup = Some(at(last_backup));
    Phone {
        udid: Udid::new("00008101-000A11223344001E"),
        link: Link::Usb,
        public: PublicInfo {
            name: Some("Anna's iPhone".to_owned()),
            class: Some("iPhone".to_owned()),
            model: Some("iPhone13,2".to_owned()),
            ..PublicInfo::default()
        },
        private: Ok(PrivateInfo { backup_enabled: Some(true), last_backup, ..PrivateInfo::default() }),
    }
}

/// The same iPhone, which refuses to answer.
pub fn refusing(refusal: AccessError) -> Phone {
    Phone { private: Err(refusal), ..iphone("00:00") }
}

/// A running statusd: what `statusd run` holds in memory.
struct Daemon {
    store: Store,
    poller: Poller,
    receivers: Vec<Receiver>,
    /// When each channel's loop wakes up. `None`: at the next poll or wake-up call.
    wakes: Vec<Option<Timestamp>>,
    next_poll: Timestamp,
    /// Set if statusd reads phones.
    checkup: Option<BackupCheck>,
    next_checkup: Option<Timestamp>,
    /// Elapsed time and clock changes since the last poll.
    elapsed: Elapsed,
}

pub struct Sim {
    pub apple: Apple,
    directory: TempDir,
    clock: Cell<Timestamp>,
    watch: Vec<String>,
    limits: FetchLimits,
    jitter_s: u64,
    /// The recording and its maximum size.
    recording: Option<(PathBuf, u64)>,
    liveness: Option<Schedule>,
    /// Set if statusd reads phones, with the limit for late backups.
    checks: Option<Option<LatePolicy>>,
    /// The phones that are connected.
    pub phones: Vec<Phone>,
    recipients: Vec<Recipient>,
    daemon: Option<Daemon>,
    /// The attempts, with the recipient of each.
    tries: Vec<(Timestamp, usize)>,
    polls: Vec<(Timestamp, PollReport)>,
}

impl Sim {
    /// At 10:00, with statusd off. It watches iCloud Backup and has no recipients.
    pub async fn new() -> Sim {
        Sim::with(Apple::start().await)
    }

    /// The same with a feed over https.
    pub async fn with_tls() -> Sim {
        let apple = Apple::start_tls(ServerCert::Valid).await;
        let sim = Sim::with(apple);
        std::fs::write(sim.ca_file(), sim.apple.authority_pem()).expect("room for a certificate");
        sim
    }

    fn with(apple: Apple) -> Sim {
        Sim {
            apple,
            directory: state(),
            clock: Cell::new(at("10:00")),
            watch: vec!["iCloud Backup".to_owned()],
            limits: FetchLimits::default(),
            jitter_s: 0,
            recording: None,
            liveness: None,
            checks: None,
            phones: Vec::new(),
            recipients: Vec::new(),
            daemon: None,
            tries: Vec::new(),
            polls: Vec::new(),
        }
    }

    /// The usual setup: no outage, the program `ops` accepts every request, statusd runs.
    pub async fn usual() -> Sim {
        let mut sim = Sim::new().await.program("ops", [Reply::status(200)]).await;
        sim.show(&calm("09:00"));
        sim.start().await;
        sim
    }

    pub fn watching(mut self, patterns: &[&str]) -> Sim {
        self.watch = patterns.iter().map(ToString::to_string).collect();
        self
    }

    pub fn within(mut self, limits: FetchLimits) -> Sim {
        self.limits = limits;
        self
    }

    /// With a liveness report on this cron schedule.
    pub fn liveness(mut self, when: &str) -> Sim {
        self.liveness = Some(Schedule::parse(when, &ZONE).expect("a schedule"));
        self
    }

    /// Reads phones every half hour.
    pub fn reading_phones(mut self) -> Sim {
        self.checks = Some(None);
        self
    }

    pub fn not_reading_phones(mut self) -> Sim {
        self.checks = None;
        self
    }

    /// Reads phones, and reports backups late by `days` at 19:00.
    pub fn reporting_late_backups(mut self, days: i64) -> Sim {
        let check = Schedule::parse("0 19 * * *", &ZONE).expect("a schedule");
        self.checks = Some(Some(LatePolicy { after: SignedDuration::from_hours(24 * days), check }));
        self
    }

    /// Polls this many seconds after each slot.
    pub fn jitter(mut self, seconds: u64) -> Sim {
        self.jitter_s = seconds;
        self
    }

    pub fn recording(mut self, keep_bytes: u64) -> Sim {
        let folder = self.directory.path().join("recording");
        std::fs::create_dir(&folder).expect("a folder");
        self.recording = Some((folder.join("feed.jsonl"), keep_bytes));
        self
    }

    /// A program behind `webhook.NAME` that follows the script.
    pub async fn program(mut self, name: &'static str, script: impl IntoIterator<Item = Reply>) -> Sim {
        let endpoint = Endpoint::Http { name, server: HttpServer::start(script).await };
        self.recipients.push(Recipient { endpoint, policy: Policy::default(), received: Vec::new() });
        self
    }

    /// An unreachable program behind `webhook.NAME`.
    pub fn absent(mut self, name: &'static str) -> Sim {
        let endpoint = Endpoint::Absent { name, closed_port: ClosedPort::new() };
        self.recipients.push(Recipient { endpoint, policy: Policy::default(), received: Vec::new() });
        self
    }

    /// Starts the absent program at its address.
    pub fn comes_back(&mut self, recipient: usize, script: impl IntoIterator<Item = Reply>) {
        let endpoint = &mut self.recipients[recipient].endpoint;
        let placeholder = Endpoint::Absent { name: "", closed_port: ClosedPort::new() };
        let Endpoint::Absent { name, closed_port } = std::mem::replace(endpoint, placeholder) else {
            panic!("recipient {recipient} is not absent")
        };
        *endpoint = Endpoint::Http { name, server: closed_port.replaced_by(script) };
    }

    /// Sets the response of the program from now on.
    pub fn answers(&self, recipient: usize, reply: Reply) {
        let Endpoint::Http { server, .. } = &self.recipients[recipient].endpoint else {
            panic!("recipient {recipient} is no program")
        };
        server.respond(reply);
    }

    /// A desktop user on this bus, not logged in. The first one's channel is `desktop`.
    #[cfg(all(unix, not(target_os = "macos")))]
    pub fn desktop(mut self, bus: &Bus) -> Sim {
        let others = self
            .recipients
            .iter()
            .filter(|recipient| matches!(recipient.endpoint, Endpoint::Desktop { .. }))
            .count();
        let name = if others == 0 { "desktop".to_owned() } else { format!("desktop.{}", others + 1) };
        let endpoint = Endpoint::Desktop { name, address: bus.address_without_guid(), server: None };
        self.recipients.push(Recipient { endpoint, policy: Policy::default(), received: Vec::new() });
        self
    }

    /// A channel for people that combines changes, as mail does, instead of one bubble for each incident.
    /// Its messages appear on this bus.
    #[cfg(all(unix, not(target_os = "macos")))]
    pub fn people(mut self, bus: &Bus) -> Sim {
        let endpoint = Endpoint::Desktop {
            name: "reader".to_owned(),
            address: bus.address_without_guid(),
            server: None,
        };
        self.recipients.push(Recipient { endpoint, policy: Policy::default(), received: Vec::new() });
        self
    }

    /// Sets the policy of the last recipient, from the keys of a channel's table.
    pub fn with_policy(mut self, toml: &str) -> Sim {
        let settings = toml::from_str(toml).expect("the keys of policy");
        let recipient = self.recipients.last_mut().expect("a recipient");
        recipient.policy = Policy::new(&settings, &ZONE).expect("good policy");
        self
    }

    /// Logs the user on this bus in.
    #[cfg(all(unix, not(target_os = "macos")))]
    pub async fn log_in(&mut self, bus: &Bus) {
        for recipient in &mut self.recipients {
            if let Endpoint::Desktop { server, address, .. } = &mut recipient.endpoint
                && *address == bus.address_without_guid()
            {
                *server = Some(Server::start(bus, &["body", "actions"]).await);
            }
        }
    }

    /// Logs the user out.
    #[cfg(all(unix, not(target_os = "macos")))]
    pub async fn log_out(&mut self, recipient: usize) {
        self.listen().await;
        let Endpoint::Desktop { server, .. } = &mut self.recipients[recipient].endpoint else {
            panic!("recipient {recipient} is no desktop user")
        };
        server.take().expect("a logged-in user").stop().await;
    }

    /// Makes the notification server answer with errors from now on.
    #[cfg(all(unix, not(target_os = "macos")))]
    pub fn refuses(&self, recipient: usize, is_refusing: bool) {
        let Endpoint::Desktop { server: Some(server), .. } = &self.recipients[recipient].endpoint else {
            panic!("no user is logged in at recipient {recipient}")
        };
        server.refuse(is_refusing);
    }

    /// The notification server of a logged-in user.
    #[cfg(all(unix, not(target_os = "macos")))]
    pub fn notification_server(&mut self, recipient: usize) -> &mut Server {
        match &mut self.recipients[recipient].endpoint {
            Endpoint::Desktop { server: Some(server), .. } => server,
            _ => panic!("no user is logged in at recipient {recipient}"),
        }
    }

    pub fn show(&self, doc: &Doc) {
        self.apple.show(&doc.json());
    }

    pub fn directory(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// The parts of the recording, the current file last.
    pub fn recording_files(&self) -> Vec<PathBuf> {
        let (file, _) = self.recording.as_ref().expect("a simulation with a recording");
        let entries = std::fs::read_dir(file.with_file_name("")).expect("a folder");
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
        files.sort();
        files.rotate_left(1);
        files
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

    fn receiver(&self, recipient: &Recipient) -> Receiver {
        let (channel, watch) = (recipient.endpoint.channel(), Watchlist::new(&self.watch));
        Receiver::new(channel, recipient.policy.clone(), Sim::feed(), watch, ZONE.clone())
    }

    pub async fn try_start(&mut self) -> Result<(), OpenError> {
        assert!(self.daemon.is_none(), "statusd is on already");
        let now = self.clock.get();
        let Opened { store, lost } = Store::open(&self.directory(), now)?;
        let receivers: Vec<Receiver> =
            self.recipients.iter().map(|recipient| self.receiver(recipient)).collect();
        let routes: Vec<Route> = receivers
            .iter()
            .map(|receiver| Route {
                channel: receiver.channel.name().to_owned(),
                policy: receiver.policy.clone(),
            })
            .collect();
        let state = PollerState::new(store.beliefs(&Sim::feed()).await.expect("readable beliefs"));
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
            watch: Watchlist::new(&self.watch),
            plan: Plan { jitter_s: self.jitter_s, ..Sim::plan() },
            routes: routes.clone(),
            liveness: self.liveness.clone(),
            tells_of_phones: self.checks.is_some(),
            recorder: self.recording.as_ref().map(|(file, keep_bytes)| Recorder::new(file, *keep_bytes)),
            state,
        };
        let wakes = vec![Some(now); receivers.len()];
        let elapsed = Elapsed::default();
        let schedule = Schedule::parse("*/30 * * * *", &ZONE).expect("a schedule");
        let seed = store.seed().await.expect("a seed");
        let feed = Sim::feed();
        let checkup = self.checks.clone().map(|late| BackupCheck { feed, routes, schedule, late, seed });
        let next_checkup = checkup.as_ref().map(|_| now);
        self.daemon =
            Some(Daemon { store, poller, receivers, wakes, next_poll: now, checkup, next_checkup, elapsed });
        Ok(())
    }

    /// SIGTERM: writes the coverage so far, and ends.
    pub async fn stop(&mut self) {
        let mut daemon = self.daemon.take().expect("statusd is on");
        daemon.poller.state.checkpoint(&daemon.store).await.expect("the database takes a mark");
    }

    /// SIGKILL: the memory is lost.
    pub fn crash(&mut self) {
        self.daemon.take().expect("statusd is on");
    }

    /// Time passes without statusd.
    pub fn off_until(&mut self, time: &str) {
        assert!(self.daemon.is_none(), "statusd is on");
        self.clock.set(at(time));
    }

    /// Runs everything that is due up to and including `time`, in order.
    pub async fn until(&mut self, time: &str) {
        self.turn(at(time), false).await;
    }

    /// The same, but without deliveries at `time` itself. A poll at that time has only committed.
    pub async fn until_poll(&mut self, time: &str) {
        self.turn(at(time), true).await;
    }

    async fn turn(&mut self, target: Timestamp, is_cut_off: bool) {
        let (mut step_time, mut steps) = (self.clock.get(), 0);
        loop {
            let now = self.clock.get();
            let daemon = self.daemon.as_ref().expect("statusd is on");
            let poll = (daemon.next_poll, Due::Poll);
            let checkup = daemon.next_checkup.map(|next| (next, Due::BackupCheck));
            let wakes = daemon.wakes.iter().enumerate();
            let deliveries = wakes.filter_map(|(index, wake)| wake.map(|wake| (wake, Due::Delivery(index))));
            let all = [poll].into_iter().chain(checkup).chain(deliveries);
            let (due, what) = all.min().expect("a poll is always due");
            if due > target || (is_cut_off && due == target && matches!(what, Due::Delivery(_))) {
                break;
            }
            self.pass(due.max(now));
            steps = if self.clock.get() == step_time { steps + 1 } else { 0 };
            step_time = self.clock.get();
            assert!(steps < STEPS_MAX, "a loop spins at {}", clock_text(step_time));
            match what {
                Due::Poll => self.poll().await,
                Due::BackupCheck => self.check_phones().await,
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

    async fn poll(&mut self) {
        let now = self.clock.get();
        let daemon = self.daemon.as_mut().expect("statusd is on");
        let elapsed = std::mem::take(&mut daemon.elapsed);
        let polled = daemon.poller.once(&daemon.store, now, elapsed, 0.5).await;
        assert!(polled.next > now, "the next poll is due at {}", clock_text(polled.next));
        daemon.next_poll = polled.next;
        // Every loop reads its outbox after every poll.
        daemon.wakes.fill(Some(now));
        self.polls.push((now, polled));
    }

    async fn check_phones(&mut self) {
        let now = self.clock.get();
        let daemon = self.daemon.as_mut().expect("statusd is on");
        let checkup = daemon.checkup.as_ref().expect("it polls at phones");
        checkup.once(&daemon.store, &self.phones, now).await.expect("the database works");
        daemon.next_checkup = Some(checkup.next(now));
        daemon.wakes.fill(Some(now));
    }

    async fn deliver(&mut self, index: usize) {
        let daemon = self.daemon.as_mut().expect("statusd is on");
        let clock = || self.clock.get();
        let receiver = &mut daemon.receivers[index];
        let round = delivery::once(&daemon.store, receiver, 0.0, &clock).await;
        daemon.wakes[index] = match round.expect("the database works") {
            Round::Idle { until } => until,
            Round::Attempted { .. } => {
                self.tries.push((self.clock.get(), index));
                Some(self.clock.get())
            }
        };
        self.listen().await;
    }

    async fn listen(&mut self) {
        for recipient in &mut self.recipients {
            while let Some(payload) = recipient.endpoint.take().await {
                recipient.received.push(Received { at: self.clock.get(), payload });
            }
        }
    }

    /// Wakes every delivery loop, as a command does after a change in the database.
    pub fn wake(&mut self) {
        let now = self.clock.get();
        self.daemon.as_mut().expect("statusd is on").wakes.fill(Some(now));
    }

    /// Acknowledges the ongoing outages of a service, or undoes that. Returns the message ids.
    pub async fn ack(&mut self, service: &str, undo: bool) -> Vec<String> {
        let service = ServiceKey::new(service);
        let is_meant = move |outage: &Outage| ServiceKey::new(&outage.service) == service;
        let store = self.store();
        let meant = store.acknowledge(&Sim::feed(), is_meant, undo, self.now()).await.expect("written");
        self.wake();
        meant.into_iter().map(|outage| outage.message_id).collect()
    }

    /// Snoozes all channels for people until `until`.
    pub async fn snooze(&mut self, until: &str) {
        self.store().snooze(at(until), self.now()).await.expect("written");
        self.wake();
    }

    /// SIGKILL with a message in flight: the request has arrived, the response has not.
    pub async fn crash_in_flight(&mut self, recipient: usize) {
        let mut daemon = self.daemon.take().expect("statusd is on");
        let clock = || self.clock.get();
        let once = delivery::once(&daemon.store, &mut daemon.receivers[recipient], 0.0, &clock);
        let Recipient { endpoint, received, .. } = &mut self.recipients[recipient];
        let Endpoint::Http { server, .. } = endpoint else { panic!("recipient {recipient} is no program") };
        tokio::select! {
            round = once => panic!("the message was answered: {round:?}"),
            request = server.next() => received.push(Received { at: clock(), payload: Payload::Request(request) }),
        }
    }

    /// Suspends the computer until `time`. One poll follows soon after.
    pub fn sleep_until(&mut self, time: &str) {
        let daemon = self.daemon.as_mut().expect("statusd is on");
        self.clock.set(at(time));
        daemon.elapsed.slept = true;
        daemon.next_poll = Poller::after_jump(at(time));
        // Timers stop during suspend. The poll that follows wakes every loop.
        daemon.wakes.fill(None);
    }

    /// Sets the clock. No time passes, and timers are unaffected.
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

    /// Returns what the first recipient has received since the last call, one line for each message.
    pub fn received(&mut self) -> Vec<String> {
        self.received_by(0)
    }

    /// The same for another recipient.
    pub fn received_by(&mut self, recipient: usize) -> Vec<String> {
        self.messages(recipient).iter().map(Received::line).collect()
    }

    /// The same, with the full messages.
    pub fn messages(&mut self, recipient: usize) -> Vec<Received> {
        std::mem::take(&mut self.recipients[recipient].received)
    }

    /// Returns time, title and body of the bubbles since the last call.
    #[cfg(all(unix, not(target_os = "macos")))]
    pub fn read(&mut self, recipient: usize) -> Vec<String> {
        let read = |received: &Received| match &received.payload {
            Payload::Bubble(bubble) => format!("{}\n{}", received.line(), bubble.body),
            Payload::Request(request) => panic!("recipient {recipient} is a program: {request:?}"),
        };
        self.messages(recipient).iter().map(read).collect()
    }

    /// Returns the idempotency keys that a program has received since the last call, from the service on.
    pub fn keys(&mut self, recipient: usize) -> Vec<String> {
        let key = |received: &Received| {
            let key = received.request().header("idempotency-key").expect("a key");
            key.splitn(3, '/').last().expect("three parts").to_owned()
        };
        self.messages(recipient).iter().map(key).collect()
    }

    /// The times of the attempts for this recipient.
    pub fn tries(&self, recipient: usize) -> Vec<Timestamp> {
        self.tries.iter().filter(|(_, tried)| *tried == recipient).map(|(at, _)| *at).collect()
    }

    /// The pending and given-up deliveries: channel, kind and service.
    pub async fn outbox(&self) -> Vec<String> {
        let line = |delivery: &StoredDelivery| {
            let StoredDelivery { channel, state, change, .. } = delivery;
            let state = if state == "pending" { "" } else { " given up" };
            format!("{channel} {} {}{state}", change.kind.as_str(), change.service)
        };
        self.store().deliveries(false).await.expect("an outbox").iter().map(line).collect()
    }

    /// Returns the polls since the last call.
    pub fn polls(&mut self) -> Vec<(Timestamp, PollReport)> {
        std::mem::take(&mut self.polls)
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

    /// The coverage, one line for each span.
    pub async fn coverage(&self) -> Vec<String> {
        let spans = self.store().coverage(&Sim::feed(), Timestamp::MIN).await.expect("coverage");
        let text = |time| clock_text(time);
        let word = |blind: &Option<String>| if blind.is_some() { "unreadable" } else { "readable" };
        spans
            .iter()
            .map(|span| format!("{} {} to {}", word(&span.unreadable), text(span.from), text(span.to)))
            .collect()
    }
}
