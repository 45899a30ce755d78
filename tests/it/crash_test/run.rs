//! One subject's trial: scene after scene is shown for as long as statusd needs to confirm it, and
//! while that is told the subject dies again and again, at moments that dice choose.
//!
//! The bench decides who is let in and answered and when the subject dies; it judges nothing, and it
//! never asks the subject. It waits for no time to pass but the dice's own delays: where what is
//! due never comes it goes on to the judge after [`PATIENCE`].

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use fastrand::Rng;
use tempfile::TempDir;

use super::daemon::Subject;
use super::due::Sight;
use super::feed::Feed;
use super::journal::{Journal, Message};
use super::kill_point::{Deck, Manner, Moment};
use super::listener::Door;
use super::receiver::{Entry, Thanks};
use super::scenario::{Kind, News, Script};
use super::trial::{Dose, Event, Trial};

/// Five seconds is the promise, five more are for a loaded machine; then the service manager kills.
const STOPS_WITHIN: Duration = Duration::from_secs(10);
/// Longer than SQLite waits for a lock, and longer than between two tries to record an outcome.
const LOCKED: Duration = Duration::from_millis(1_700);
/// Longer than the wait after a fifth try.
const PATIENCE: Duration = Duration::from_secs(180);
/// How often a silent subject is asked whether it lives.
const SLICE: Duration = Duration::from_millis(250);
/// Of the slowest receiver, between two scenes.
const PACE_MAX_MS: u64 = 1_500;
/// More deaths with the same message in flight would be minutes of waiting.
const MAX_HITS: u32 = 2;

/// The subject goes before its feed and its receiver, the events before those who send them.
pub struct Bench {
    subject: Option<Subject>,
    events: Receiver<Event>,
    withheld: Option<Event>,
    feed: Feed,
    ear: Door,
    dose: Dose,
    script: Script,
    dice: Rng,
    deck: Deck,
    life: u32,
    sight: Sight,
    /// Scenes that are due.
    due: usize,
    heard: BTreeSet<News>,
    heard_at: Instant,
    /// Deaths with the same message in flight.
    hits: u32,
    refuses: bool,
    pace: Duration,
    progress: Sender<()>,
    trial: Trial,
}

impl Bench {
    /// `progress` hears of every death.
    pub fn new(dose: Dose, progress: Sender<()>) -> Bench {
        let mut dice = Rng::with_seed(dose.seed);
        let script = Script::new(dose.scenes, dose.ear.repertoire(), &mut dice);
        let home = TempDir::new().expect("a temporary directory");
        let journal = home.path().join("journal.jsonl");
        let (tell, events) = channel();
        let trial = Trial {
            ear: dose.ear,
            due: script.due().cloned().collect(),
            journal: journal.clone(),
            killed: BTreeSet::new(),
            deaths: BTreeMap::new(),
            bad_stops: Vec::new(),
            slowest_stop: Duration::ZERO,
            home,
        };
        Bench {
            subject: None,
            events,
            withheld: None,
            feed: Feed::open(script.scenes[0].clone(), tell.clone()),
            ear: dose.ear.open(Journal::create(&journal), tell),
            deck: Deck::new(dose.manner, dose.turn),
            life: 0,
            sight: Sight::new(),
            due: 0,
            heard: BTreeSet::new(),
            heard_at: Instant::now(),
            hits: 0,
            refuses: false,
            pace: Duration::from_millis(dice.u64(..PACE_MAX_MS)),
            dice,
            script,
            dose,
            progress,
            trial,
        }
    }

    /// All scenes, all deaths, and a quiet end.
    pub fn run(mut self) -> Trial {
        let storms = u32::try_from(self.dose.scenes + 1 - self.dose.first_storm).expect("few scenes");
        let mut storm = 0;
        for scene in 0..self.script.scenes.len() {
            self.show(scene);
            if scene >= self.dose.first_storm {
                self.refuses = self.dose.refuses && scene == self.dose.scenes;
                let deaths = self.dose.deaths * (storm + 1) / storms - self.dose.deaths * storm / storms;
                self.storm(deaths);
                storm += 1;
            }
        }
        self.finish()
    }

    /// Leaves a life alone until it has told, or will have to tell, what this scene brings.
    fn show(&mut self, scene: usize) {
        self.start();
        let pace = self.pace;
        while self.due <= scene {
            let event = self.next_event(None).expect("no fuse");
            // A look that cannot be written down is a minute from the next one: no message waits for it.
            let looks_soon = self.dose.manner != Manner::Lock && self.sight.is_nearly_due(scene);
            if looks_soon && matches!(event, Event::Knocked { .. }) {
                self.withheld = Some(event);
                self.wait_for_look();
            } else {
                self.attend(event, pace);
            }
        }
    }

    /// Somebody stands before the door, so nobody else does: this can only be a look.
    fn wait_for_look(&mut self) {
        let withheld = self.withheld.take();
        let event = self.next_event(None).expect("no fuse");
        self.attend(event, Duration::ZERO);
        self.withheld = withheld;
    }

    fn storm(&mut self, deaths: u32) {
        self.heard_at = Instant::now();
        for _ in 0..deaths {
            let moment = self.moment();
            self.live_until(moment);
            *self.trial.deaths.entry(moment.name()).or_default() += 1;
            let _nobody_counts = self.progress.send(());
        }
    }

    /// Where in the next life it ends.
    fn moment(&mut self) -> Moment {
        let delay = |dice: &mut Rng, max_ms: u64| Duration::from_micros(dice.u64(..max_ms * 1_000));
        let before = if self.dose.ear.is_for_people() { 0 } else { self.dice.u32(..4) };
        match self.deck.draw() {
            Moment::Starting(_) => Moment::Starting(delay(&mut self.dice, 150)),
            Moment::OnTheWay { .. } => Moment::OnTheWay { before },
            Moment::Heard { .. } => Moment::Heard { before },
            Moment::Answered { .. } => {
                Moment::Answered { messages: before.max(1), delay: delay(&mut self.dice, 25) }
            }
        }
    }

    /// One life, or what is left of the one that runs.
    fn live_until(&mut self, moment: Moment) {
        self.start();
        let mut fuse = match moment {
            Moment::Starting(delay) => Some(Instant::now() + delay),
            Moment::OnTheWay { .. } | Moment::Heard { .. } | Moment::Answered { .. } => None,
        };
        let mut answered = 0;
        loop {
            if fuse.is_none() && self.nothing_waits() && self.sight.is_of(self.life) {
                // Nothing will be in flight in this life: let it be any moment. Once it looks, it
                // has long been ready to be asked to stop.
                fuse = Some(Instant::now() + Duration::from_millis(self.dice.u64(..150)));
            }
            let Some(event) = self.next_event(fuse) else { return self.die() };
            match (event, moment) {
                (Event::Knocked { message, answer }, Moment::OnTheWay { before })
                    if message.life == self.life && answered >= before && self.may_hit() =>
                {
                    return self.die_on_the_way(answer);
                }
                (Event::Heard { message, answer }, Moment::Heard { before })
                    if message.life == self.life && answered >= before && self.may_hit() =>
                {
                    self.note(&message);
                    return self.die_in_the_window(answer);
                }
                (Event::Answered { life }, _) if life == self.life => {
                    answered += 1;
                    self.hits = 0;
                    if let Moment::Answered { messages, delay } = moment
                        && answered >= messages
                    {
                        fuse = Some(Instant::now() + delay);
                    }
                }
                (event, _) => self.attend(event, Duration::ZERO),
            }
        }
    }

    /// Each hit of the same message costs a longer wait, and to people there is but one message.
    fn may_hit(&mut self) -> bool {
        let again = self.dose.ear.is_for_people() || self.dice.u8(..20) == 0;
        self.hits == 0 || (again && self.hits < MAX_HITS)
    }

    fn die_on_the_way(&mut self, answer: Sender<Entry>) {
        match self.dose.manner {
            Manner::Kill => {
                self.hits += 1;
                self.die();
                drop(answer);
            }
            Manner::Stop => {
                self.running().terminate();
                let _arrives = answer.send(Entry::Welcome);
                self.await_stop();
            }
            Manner::Lock => {
                self.lock();
                let _arrives = answer.send(Entry::Welcome);
            }
        }
    }

    fn die_in_the_window(&mut self, answer: Sender<Thanks>) {
        match self.dose.manner {
            Manner::Kill => {
                self.hits += 1;
                self.die();
                drop(answer);
            }
            Manner::Stop => {
                self.running().terminate();
                let after = Duration::from_millis(self.dice.u64(..100));
                let _arrives = answer.send(Thanks { after });
                self.await_stop();
            }
            Manner::Lock => {
                self.lock();
                let _arrives = answer.send(Thanks { after: Duration::ZERO });
            }
        }
    }

    fn die(&mut self) {
        match self.dose.manner {
            Manner::Kill => {
                self.running().kill();
                self.subject = None;
                self.trial.killed.insert(self.life);
            }
            Manner::Stop => {
                self.running().terminate();
                self.await_stop();
            }
            Manner::Lock => self.lock(),
        }
    }

    /// Holds the database's lock, from now on and for [`LOCKED`].
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

    /// Receives and answers whoever still comes.
    fn await_stop(&mut self) {
        let asked = Instant::now();
        let mut subject = self.subject.take().expect("a running subject");
        let ended = loop {
            if let Ok(event) = self.events.recv_timeout(Duration::from_millis(2)) {
                self.attend(event, Duration::ZERO);
            }
            match subject.ended() {
                None if asked.elapsed() < STOPS_WITHIN => {}
                ended => break ended,
            }
        };
        self.trial.slowest_stop = self.trial.slowest_stop.max(asked.elapsed());
        if !ended.is_some_and(|status| status.success()) {
            let how =
                ended.map_or_else(|| format!("not after {STOPS_WITHIN:?}"), |status| status.to_string());
            self.trial.bad_stops.push(format!("life {} was to stop: {how}", self.life));
        }
    }

    /// Until the last thing was told; then two more looks, in which nothing may be told.
    fn finish(mut self) -> Trial {
        self.start();
        self.heard_at = Instant::now();
        while !self.nothing_waits() {
            let event = self.next_event(None).expect("no fuse");
            self.attend(event, Duration::ZERO);
        }
        let mut looks = 0;
        while looks < 2 {
            let event = self.next_event(None).expect("no fuse");
            // News of what goes on and of what is over are messages of their own for people, and either
            // may come last.
            looks += u32::from(matches!(event, Event::Polled { .. }) && !self.is_anything_pending());
            self.attend(event, Duration::ZERO);
        }
        self.running().terminate();
        self.await_stop();
        self.trial
    }

    /// In the subject's database, where it has one; not for ever.
    fn is_anything_pending(&self) -> bool {
        let path = self.trial.home.path().join("state").join(statusd::store::DATABASE);
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        let pending = rusqlite::Connection::open_with_flags(path, flags).and_then(|database| {
            let sql = "SELECT EXISTS (SELECT 1 FROM delivery WHERE state = 'pending')";
            database.query_row(sql, [], |row| row.get(0))
        });
        pending.unwrap_or(false) && self.heard_at.elapsed() < PATIENCE
    }

    /// The answers of a bench that wants nothing.
    fn attend(&mut self, event: Event, pace: Duration) {
        match event {
            Event::Polled { life, scene, at } => self.looked(life, scene, at),
            Event::Knocked { message, answer } => {
                let is_end = |news: &News| news.kind == Kind::Ended;
                let is_refused =
                    self.refuses && self.hits == 0 && self.dose.ear.news(&message.text).iter().any(is_end);
                self.refuses &= !is_refused;
                self.hits += u32::from(is_refused);
                let _gone = answer.send(if is_refused { Entry::Refused } else { Entry::Welcome });
            }
            Event::Heard { message, answer } => {
                self.note(&message);
                let _gone = answer.send(Thanks { after: pace });
            }
            Event::Answered { .. } => self.hits = 0,
        }
    }

    fn note(&mut self, message: &Message) {
        self.heard.extend(self.dose.ear.news(&message.text));
        self.heard_at = Instant::now();
    }

    /// Whether the last that is due so far was told, and with it all before it, or never will be.
    fn nothing_waits(&self) -> bool {
        let last = self.script.scenes[..self.due].last().and_then(|scene| scene.last.as_ref());
        last.is_none_or(|last| self.heard.contains(last)) || self.heard_at.elapsed() > PATIENCE
    }

    fn looked(&mut self, life: u32, scene: usize, at: Instant) {
        if self.sight.is_due_by(life, scene, at) {
            self.due = scene + 1;
            if let Some(next) = self.script.scenes.get(self.due) {
                self.feed.show(self.due, next.clone());
            }
        }
    }

    /// The next thing that happens, if it does before the fuse has burnt.
    fn next_event(&mut self, fuse: Option<Instant>) -> Option<Event> {
        if let Some(event) = self.withheld.take() {
            return Some(event);
        }
        loop {
            let left = fuse.map_or(SLICE, |fuse| fuse.saturating_duration_since(Instant::now()));
            match self.events.recv_timeout(left.min(SLICE)) {
                Ok(event) => return Some(event),
                Err(RecvTimeoutError::Timeout) if left <= SLICE && fuse.is_some() => return None,
                Err(RecvTimeoutError::Timeout) => self.running().assert_alive(),
                Err(RecvTimeoutError::Disconnected) => unreachable!("the feed sends as long as it is open"),
            }
        }
    }

    /// Begins a life where none goes on.
    fn start(&mut self) {
        if self.subject.is_some() {
            return;
        }
        self.life += 1;
        let feed = self.feed.url(self.life);
        let table = self.dose.ear.table(self.trial.home.path(), self.ear.address, self.life);
        let text = format!(
            "watch = [\"Lab *\"]\ntime_zone = \"UTC\"\n[feed]\nurl = {feed:?}\n[schedule]\n\
             poll = \"* * * * * *\"\ntrouble = \"* * * * * *\"\njitter_s = 0\n\
             [state]\ndirectory = \"state\"\n[log]\nlevel = \"warn\"\n\
             [channel.desktop]\nenabled = false\n[channel.log]\nenabled = false\n{table}"
        );
        fs::write(self.trial.home.path().join("statusd.toml"), text).expect("a configuration");
        self.subject = Some(Subject::start(self.dose.who, self.trial.home.path()));
    }

    fn running(&mut self) -> &mut Subject {
        self.subject.as_mut().expect("a running subject")
    }
}
