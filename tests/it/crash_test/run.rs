//! Runs the trial of one daemon: serves scene after scene for as long as statusd needs to confirm it,
//! and kills the daemon at random points while it sends.
//!
//! The run decides which message is accepted and answered, and when the daemon is killed. It does not
//! evaluate and does not query the daemon. It waits for no time but the random delays. If a due message
//! never comes, the run ends after [`PATIENCE`] and leaves the finding to the oracle.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use fastrand::Rng;
use tempfile::TempDir;

use super::daemon::Daemon;
use super::due::Exposure;
use super::feed::Feed;
use super::journal::{Journal, Message};
use super::kill_point::{Interruption, KillPoint, KillSchedule};
use super::listener::Listener;
use super::receiver::{Ack, Admission};
use super::scenario::{Change, Kind, Scenario};
use super::trial::{Event, Trial, TrialConfig};

/// The promised five seconds and five more for a loaded machine.
const STOPS_WITHIN: Duration = Duration::from_secs(10);
/// Longer than SQLite waits for a lock, and than the time between two attempts to record an outcome.
const LOCKED: Duration = Duration::from_millis(1_700);
/// Longer than the back-off after a fifth attempt.
const PATIENCE: Duration = Duration::from_secs(180);
/// The interval of checks that the daemon still runs.
const SLICE: Duration = Duration::from_millis(250);
/// The longest delay of a response while no kills happen.
const PACE_MAX_MS: u64 = 1_500;
/// More kills with the same message in flight would mean minutes of back-off.
const MAX_HITS: u32 = 2;

/// Field order is drop order: the daemon before its feed and receiver, the events before their senders.
pub struct Run {
    daemon: Option<Daemon>,
    events: Receiver<Event>,
    withheld: Option<Event>,
    feed: Feed,
    receiver: Listener,
    config: TrialConfig,
    scenario: Scenario,
    rng: Rng,
    schedule: KillSchedule,
    incarnation: u32,
    exposure: Exposure,
    /// Scenes that are due.
    due: usize,
    received: BTreeSet<Change>,
    received_at: Instant,
    /// Kills with the same message in flight.
    hits: u32,
    refuses: bool,
    pace: Duration,
    progress: Sender<()>,
    trial: Trial,
}

impl Run {
    /// Sends to `progress` at every kill.
    pub fn new(config: TrialConfig, progress: Sender<()>) -> Run {
        let mut rng = Rng::with_seed(config.seed);
        let scenario = Scenario::new(config.scenes, config.receiver.allowed_kinds(), &mut rng);
        let home = TempDir::new().expect("a temporary directory");
        let journal = home.path().join("journal.jsonl");
        let (sender, events) = channel();
        let trial = Trial {
            receiver: config.receiver,
            due: scenario.due().cloned().collect(),
            journal: journal.clone(),
            killed: BTreeSet::new(),
            kills: BTreeMap::new(),
            bad_stops: Vec::new(),
            slowest_stop: Duration::ZERO,
            home,
        };
        Run {
            daemon: None,
            events,
            withheld: None,
            feed: Feed::open(scenario.scenes[0].clone(), sender.clone()),
            receiver: config.receiver.open(Journal::create(&journal), sender),
            schedule: KillSchedule::new(config.interruption, config.turn),
            incarnation: 0,
            exposure: Exposure::new(),
            due: 0,
            received: BTreeSet::new(),
            received_at: Instant::now(),
            hits: 0,
            refuses: false,
            pace: Duration::from_millis(rng.u64(..PACE_MAX_MS)),
            rng,
            scenario,
            config,
            progress,
            trial,
        }
    }

    /// Runs all scenes and kills, then stops the daemon.
    pub fn execute(mut self) -> Trial {
        let rounds =
            u32::try_from(self.config.scenes + 1 - self.config.first_kill_scene).expect("few scenes");
        let mut round = 0;
        for scene in 0..self.scenario.scenes.len() {
            self.show(scene);
            if scene >= self.config.first_kill_scene {
                self.refuses = self.config.refuses && scene == self.config.scenes;
                let kills = self.config.kills * (round + 1) / rounds - self.config.kills * round / rounds;
                self.kill_repeatedly(kills);
                round += 1;
            }
        }
        self.finish()
    }

    /// Serves a scene without kills until its changes are due.
    fn show(&mut self, scene: usize) {
        self.start();
        let pace = self.pace;
        while self.due <= scene {
            let event = self.next_event(None).expect("no deadline");
            // After a failed write the next poll comes a minute later, too late to hold a message.
            let polls_soon =
                self.config.interruption != Interruption::Lock && self.exposure.is_nearly_due(scene);
            if polls_soon && matches!(event, Event::Arrived { .. }) {
                self.withheld = Some(event);
                self.wait_for_poll();
            } else {
                self.handle(event, pace);
            }
        }
    }

    /// Handles one poll while a message waits. The receiver takes one client at a time, so the next event
    /// is a poll.
    fn wait_for_poll(&mut self) {
        let withheld = self.withheld.take();
        let event = self.next_event(None).expect("no deadline");
        self.handle(event, Duration::ZERO);
        self.withheld = withheld;
    }

    fn kill_repeatedly(&mut self, kills: u32) {
        self.received_at = Instant::now();
        for _ in 0..kills {
            let kill_point = self.kill_point();
            self.run_until(kill_point);
            *self.trial.kills.entry(kill_point.name()).or_default() += 1;
            let _ended = self.progress.send(());
        }
    }

    /// Chooses the next kill point.
    fn kill_point(&mut self) -> KillPoint {
        let delay = |rng: &mut Rng, max_ms: u64| Duration::from_micros(rng.u64(..max_ms * 1_000));
        let before = if self.config.receiver.is_for_people() { 0 } else { self.rng.u32(..4) };
        match self.schedule.next() {
            KillPoint::Starting(_) => KillPoint::Starting(delay(&mut self.rng, 150)),
            KillPoint::InFlight { .. } => KillPoint::InFlight { before },
            KillPoint::Unanswered { .. } => KillPoint::Unanswered { before },
            KillPoint::Answered { .. } => {
                KillPoint::Answered { messages: before.max(1), delay: delay(&mut self.rng, 25) }
            }
        }
    }

    /// Runs the daemon until the kill point, then interrupts it.
    fn run_until(&mut self, kill_point: KillPoint) {
        self.start();
        let mut deadline = match kill_point {
            KillPoint::Starting(delay) => Some(Instant::now() + delay),
            KillPoint::InFlight { .. } | KillPoint::Unanswered { .. } | KillPoint::Answered { .. } => None,
        };
        let mut answered = 0;
        loop {
            if deadline.is_none() && self.is_all_received() && self.exposure.is_of(self.incarnation) {
                // Nothing will be in flight in this incarnation, so any time will do. A daemon that
                // polls already handles SIGTERM.
                deadline = Some(Instant::now() + Duration::from_millis(self.rng.u64(..150)));
            }
            let Some(event) = self.next_event(deadline) else { return self.interrupt() };
            match (event, kill_point) {
                (Event::Arrived { message, answer }, KillPoint::InFlight { before })
                    if message.incarnation == self.incarnation && answered >= before && self.may_hit() =>
                {
                    return self.interrupt_in_flight(answer);
                }
                (Event::Recorded { message, answer }, KillPoint::Unanswered { before })
                    if message.incarnation == self.incarnation && answered >= before && self.may_hit() =>
                {
                    self.record(&message);
                    return self.interrupt_unanswered(answer);
                }
                (Event::Answered { incarnation }, _) if incarnation == self.incarnation => {
                    answered += 1;
                    self.hits = 0;
                    if let KillPoint::Answered { messages, delay } = kill_point
                        && answered >= messages
                    {
                        deadline = Some(Instant::now() + delay);
                    }
                }
                (event, _) => self.handle(event, Duration::ZERO),
            }
        }
    }

    /// Limits repeated kills of the same message, because each one lengthens its back-off. A channel for
    /// people has only one message.
    fn may_hit(&mut self) -> bool {
        let again = self.config.receiver.is_for_people() || self.rng.u8(..20) == 0;
        self.hits == 0 || (again && self.hits < MAX_HITS)
    }

    fn interrupt_in_flight(&mut self, answer: Sender<Admission>) {
        match self.config.interruption {
            Interruption::Kill => {
                self.hits += 1;
                self.interrupt();
                drop(answer);
            }
            Interruption::Stop => {
                self.running().terminate();
                let _arrives = answer.send(Admission::Accepted);
                self.await_stop();
            }
            Interruption::Lock => {
                self.lock();
                let _arrives = answer.send(Admission::Accepted);
            }
        }
    }

    fn interrupt_unanswered(&mut self, answer: Sender<Ack>) {
        match self.config.interruption {
            Interruption::Kill => {
                self.hits += 1;
                self.interrupt();
                drop(answer);
            }
            Interruption::Stop => {
                self.running().terminate();
                let after = Duration::from_millis(self.rng.u64(..100));
                let _arrives = answer.send(Ack { after });
                self.await_stop();
            }
            Interruption::Lock => {
                self.lock();
                let _arrives = answer.send(Ack { after: Duration::ZERO });
            }
        }
    }

    fn interrupt(&mut self) {
        match self.config.interruption {
            Interruption::Kill => {
                self.running().kill();
                self.daemon = None;
                self.trial.killed.insert(self.incarnation);
            }
            Interruption::Stop => {
                self.running().terminate();
                self.await_stop();
            }
            Interruption::Lock => self.lock(),
        }
    }

    /// Holds the database's lock for [`LOCKED`].
    fn lock(&mut self) {
        let path = self.trial.home.path().join("state").join(statusd::store::DATABASE);
        let database = rusqlite::Connection::open(path).expect("a database");
        database.busy_timeout(STOPS_WITHIN).expect("set");
        database.execute_batch("BEGIN IMMEDIATE").expect("the lock");
        spawn(move || {
            sleep(LOCKED);
            drop(database);
        });
    }

    /// Waits for the end of a stopping daemon and answers its last messages.
    fn await_stop(&mut self) {
        let since = Instant::now();
        let mut daemon = self.daemon.take().expect("a running daemon");
        let ended = loop {
            if let Ok(event) = self.events.recv_timeout(Duration::from_millis(2)) {
                self.handle(event, Duration::ZERO);
            }
            match daemon.ended() {
                None if since.elapsed() < STOPS_WITHIN => {}
                ended => break ended,
            }
        };
        self.trial.slowest_stop = self.trial.slowest_stop.max(since.elapsed());
        if !ended.is_some_and(|status| status.success()) {
            let how =
                ended.map_or_else(|| format!("not after {STOPS_WITHIN:?}"), |status| status.to_string());
            self.trial.bad_stops.push(format!("incarnation {} did not stop: {how}", self.incarnation));
        }
    }

    /// Waits for the last message, then for two more polls, in which nothing may be sent.
    fn finish(mut self) -> Trial {
        self.start();
        self.received_at = Instant::now();
        while !self.is_all_received() {
            let event = self.next_event(None).expect("no deadline");
            self.handle(event, Duration::ZERO);
        }
        let mut polls = 0;
        while polls < 2 {
            let event = self.next_event(None).expect("no deadline");
            // People get ongoing and ended outages in separate messages, in either order.
            polls += u32::from(matches!(event, Event::Polled { .. }) && !self.is_anything_pending());
            self.handle(event, Duration::ZERO);
        }
        self.running().terminate();
        self.await_stop();
        self.trial
    }

    /// Returns true while the daemon's database holds pending deliveries, at most for [`PATIENCE`].
    fn is_anything_pending(&self) -> bool {
        let path = self.trial.home.path().join("state").join(statusd::store::DATABASE);
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        let pending = rusqlite::Connection::open_with_flags(path, flags).and_then(|database| {
            let sql = "SELECT EXISTS (SELECT 1 FROM delivery WHERE state = 'pending')";
            database.query_row(sql, [], |row| row.get(0))
        });
        pending.unwrap_or(false) && self.received_at.elapsed() < PATIENCE
    }

    /// Answers an event without interrupting the daemon.
    fn handle(&mut self, event: Event, pace: Duration) {
        match event {
            Event::Polled { incarnation, scene, at } => self.polled(incarnation, scene, at),
            Event::Arrived { message, answer } => {
                let is_end = |change: &Change| change.kind == Kind::Ended;
                let is_refused = self.refuses
                    && self.hits == 0
                    && self.config.receiver.changes(&message.text).iter().any(is_end);
                self.refuses &= !is_refused;
                self.hits += u32::from(is_refused);
                let _gone = answer.send(if is_refused { Admission::Refused } else { Admission::Accepted });
            }
            Event::Recorded { message, answer } => {
                self.record(&message);
                let _gone = answer.send(Ack { after: pace });
            }
            Event::Answered { .. } => self.hits = 0,
        }
    }

    fn record(&mut self, message: &Message) {
        self.received.extend(self.config.receiver.changes(&message.text));
        self.received_at = Instant::now();
    }

    /// Returns true if the last due change has arrived, or after [`PATIENCE`].
    fn is_all_received(&self) -> bool {
        let last = self.scenario.scenes[..self.due].last().and_then(|scene| scene.last.as_ref());
        last.is_none_or(|last| self.received.contains(last)) || self.received_at.elapsed() > PATIENCE
    }

    fn polled(&mut self, incarnation: u32, scene: usize, at: Instant) {
        if self.exposure.is_due_by(incarnation, scene, at) {
            self.due = scene + 1;
            if let Some(next) = self.scenario.scenes.get(self.due) {
                self.feed.show(self.due, next.clone());
            }
        }
    }

    /// Returns the next event before the deadline.
    fn next_event(&mut self, deadline: Option<Instant>) -> Option<Event> {
        if let Some(event) = self.withheld.take() {
            return Some(event);
        }
        loop {
            let left = deadline.map_or(SLICE, |deadline| deadline.saturating_duration_since(Instant::now()));
            match self.events.recv_timeout(left.min(SLICE)) {
                Ok(event) => return Some(event),
                Err(RecvTimeoutError::Timeout) if left <= SLICE && deadline.is_some() => return None,
                Err(RecvTimeoutError::Timeout) => self.running().assert_alive(),
                Err(RecvTimeoutError::Disconnected) => unreachable!("the feed sends as long as it is open"),
            }
        }
    }

    /// Starts the daemon if none runs.
    fn start(&mut self) {
        if self.daemon.is_some() {
            return;
        }
        self.incarnation += 1;
        let feed = self.feed.url(self.incarnation);
        let table =
            self.config.receiver.table(self.trial.home.path(), self.receiver.address, self.incarnation);
        let text = format!(
            "watch = [\"App *\"]\ntime_zone = \"UTC\"\n[feed]\nurl = {feed:?}\n[schedule]\n\
             poll = \"* * * * * *\"\ntrouble = \"* * * * * *\"\njitter_s = 0\n\
             [state]\ndirectory = \"state\"\n[log]\nlevel = \"warn\"\n\
             [channel.desktop]\nenabled = false\n[channel.log]\nenabled = false\n{table}"
        );
        fs::write(self.trial.home.path().join("statusd.toml"), text).expect("a configuration");
        self.daemon = Some(Daemon::start(self.config.daemon, self.trial.home.path()));
    }

    fn running(&mut self) -> &mut Daemon {
        self.daemon.as_mut().expect("a running daemon")
    }
}
