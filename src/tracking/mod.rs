//! Beliefs + document + now → an [`Update`]: what to believe from now on, and what changed.
//!
//! Pure: the same documents at the same times give the same updates, byte for byte. The whole
//! document is compared with the whole belief each time, so a missed poll costs time, never truth.
//! Nothing enters the beliefs that was not seen in two fetches; two things are exempt: the first
//! document of a database, and absences, which many fetches have shown by the time they count.
//!
//! `transition` holds the rules for one event, `feed_health` those for a feed that cannot be read, `freshness`
//! those for stale copies; this file holds confirmation and absence.

mod feed_health;
mod freshness;
pub mod poll_plan;
pub mod replay;
mod transition;
pub mod watchlist;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use crate::model::{
    Beliefs, Change, ChangeKind, Document, Event, EventStatus, FeedHealth, FeedId, FeedState, Listed,
    Missing, Outage, OverBy, Phase, Service, ServiceKey,
};
use crate::tracking::watchlist::{Watch, near};
pub use feed_health::{Trouble, unreadable};
use freshness::freshness;
pub use freshness::{newest_stamp, published};
pub use transition::{EventState, Observation, seen};
use transition::{Transition, transition};

/// Two sights of the same thing count as two only if they are this far apart: caches answer the
/// same wrong copy within a second.
pub const CONFIRM_APART_S: i64 = 30;
const WITHDRAWN_AFTER: SignedDuration = SignedDuration::from_hours(2);
const UNLISTED_AFTER: SignedDuration = SignedDuration::from_hours(24);
const ABSENT_FETCHES: u32 = 3;
/// Outages and maintenances that are planned or go on: half as many again as a document holds. Apple's
/// own are some ten.
pub const ACTIVE_MAX: usize = 3_000;
/// Outages that one transaction writes, with their changes and deliveries.
const SLICE_OUTAGES: usize = 100;
/// Names that a wrong one is compared with, and how long they are: Apple has some eighty, of fifty
/// characters at most.
const NEAR_NAMES_MAX: usize = 200;
const NEAR_MAX_BYTES: usize = 160;
/// Services that are remembered. Apple has some eighty.
const SERVICES_MAX: usize = 2_000;

/// What is seen but not yet believed. Lost at a restart without harm: it is seen again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// When each unconfirmed change was first seen.
    first_seen: BTreeMap<Candidate, Timestamp>,
    /// Seconds awake and blind by one fault, in this run of statusd.
    unreadable_s: u64,
}

impl Pending {
    /// When the oldest change that waits for its second sight was first seen.
    pub fn oldest(&self) -> Option<Timestamp> {
        self.first_seen.values().min().copied()
    }
}

/// What makes two sights "the same change". Of a maintenance that moves its new times are a part.
type Candidate = (ServiceKey, String, u32, ChangeKind, Times);
type Times = Option<(Option<Timestamp>, Option<Timestamp>)>;

/// What became of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Accepted,
    /// Older than one already accepted: changed nothing.
    Stale,
    /// Older, and accepted all the same, since nothing newer came for hours.
    AcceptedOlder,
    /// No document could be read.
    Unreadable,
}

/// What one look changes. Written in one transaction, then applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    pub verdict: Verdict,
    pub state: FeedState,
    /// New or changed outages.
    pub outages: Vec<Outage>,
    /// New or changed services.
    pub services: Vec<(ServiceKey, Service)>,
    /// Watched names that need no memory any more.
    pub forgotten: Vec<ServiceKey>,
    /// In the order in which people should hear of them.
    pub changes: Vec<Change>,
    /// Events that are not believed, because [`ACTIVE_MAX`] others go on.
    pub left_out: usize,
}

impl Update {
    fn new(verdict: Verdict, state: FeedState) -> Update {
        let (outages, services, forgotten, changes, left_out) = Default::default();
        Update { verdict, state, outages, services, forgotten, changes, left_out }
    }

    /// The same in slices of some outages each, to be written and applied one after the other. A change
    /// is in one slice with the outage or the service that it is about. A first document counts as
    /// seen with the last slice, because what was over before it is no news until then.
    pub fn slices(mut self, before: &Beliefs) -> Vec<Update> {
        if self.outages.len() <= SLICE_OUTAGES {
            return vec![self];
        }
        let outages = std::mem::take(&mut self.outages);
        let mut about: BTreeMap<(ServiceKey, String), Vec<Change>> = BTreeMap::new();
        let mut others = Vec::new();
        for change in std::mem::take(&mut self.changes) {
            match change.message_id.clone() {
                Some(id) => about.entry((ServiceKey::new(&change.service), id)).or_default().push(change),
                None => others.push(change),
            }
        }
        let seen = self.state.clone();
        self.state.first_accepted = before.state.first_accepted;
        let (verdict, state) = (self.verdict, self.state.clone());
        let mut slices = vec![Update { changes: others, ..self }];
        for (index, outages) in outages.chunks(SLICE_OUTAGES).enumerate() {
            if index > 0 {
                slices.push(Update::new(verdict, state.clone()));
            }
            let slice = &mut slices[index];
            let identity = |outage: &Outage| (ServiceKey::new(&outage.service), outage.message_id.clone());
            let changes = outages.iter().filter_map(|outage| about.remove(&identity(outage)));
            slice.changes.extend(changes.flatten());
            slice.outages = outages.to_vec();
        }
        slices.iter_mut().last().expect("one at least").state = seen;
        slices
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self, beliefs: &Beliefs) -> bool {
        self.state == beliefs.state
            && self.outages.is_empty()
            && self.services.is_empty()
            && self.forgotten.is_empty()
            && self.changes.is_empty()
    }

    /// Makes it so in memory; done once it is durable.
    pub fn apply(self, beliefs: &mut Beliefs) {
        beliefs.state = self.state;
        for outage in self.outages {
            beliefs.outages.insert((ServiceKey::new(&outage.service), outage.message_id.clone()), outage);
        }
        for key in &self.forgotten {
            beliefs.services.remove(key);
        }
        beliefs.services.extend(self.services);
    }
}

/// Compares a document with what we believe.
///
/// `pending` is what earlier looks left unconfirmed and is replaced by what this one leaves. The
/// caller comes back after 45 s where something is left.
pub fn compare(
    beliefs: &Beliefs,
    pending: &mut Pending,
    document: &Document,
    watch: &Watch,
    now: Timestamp,
) -> Update {
    let (verdict, stamp, stale) = freshness(&beliefs.state, &document.stamp, now);
    let mut state = beliefs.state.clone();
    state.stamp = stamp;
    state.stale = stale;
    if verdict == Verdict::Stale {
        // What waited for its second sight starts anew: among stale copies those without a stamp
        // cannot be told from good ones, and two of them must not confirm each other.
        return Round::new(beliefs, pending, now, Update::new(verdict, state)).finish(feed_health::sighted);
    }
    state.date_order = document.stamp.order.or(state.date_order);
    state.banner = document.banner.clone();
    state.first_accepted = state.first_accepted.or(Some(now));
    let round = Round::new(beliefs, pending, now, Update::new(verdict, state));
    round.finish(|round| {
        feed_health::sighted(round);
        let mut present = BTreeSet::new();
        for (key, listing) in &document.services {
            round.service_listed(key, &listing.name);
            for event in &listing.events {
                if round.event_seen(key, &listing.name, event) {
                    present.insert((key, event.message_id.as_str()));
                }
            }
        }
        for key in beliefs.services.keys().filter(|key| !document.services.contains_key(key)) {
            round.service_absent(key);
        }
        round.events_absent(document, &present);
        round.watched_names(document, watch);
    })
}

/// One look at work: the beliefs before it, and what it adds.
struct Round<'a> {
    beliefs: &'a Beliefs,
    now: Timestamp,
    /// The very first document: what is already over is history, not news.
    is_first: bool,
    before: BTreeMap<Candidate, Timestamp>,
    waiting: BTreeMap<Candidate, Timestamp>,
    pending: &'a mut Pending,
    update: Update,
    /// Outages and maintenances that are planned or go on, those of the update included.
    active: usize,
}

impl<'a> Round<'a> {
    fn new(beliefs: &'a Beliefs, pending: &'a mut Pending, now: Timestamp, update: Update) -> Round<'a> {
        let before = std::mem::take(&mut pending.first_seen);
        let is_first = beliefs.state.first_accepted.is_none();
        let active = beliefs.outages.values().filter(|outage| !outage.is_over()).count();
        Round { beliefs, now, is_first, before, waiting: BTreeMap::new(), pending, update, active }
    }

    fn finish(mut self, fill: impl FnOnce(&mut Round<'a>)) -> Update {
        fill(&mut self);
        self.pending.first_seen = self.waiting;
        self.update
    }

    /// Rule 12. The time of the first sight once there is a second one far enough from it.
    fn confirmed(&mut self, candidate: Candidate) -> Option<Timestamp> {
        // A first sight in the future means that the clock was set back: start anew.
        let first =
            self.before.get(&candidate).copied().filter(|first| *first <= self.now).unwrap_or(self.now);
        if self.now.duration_since(first).as_secs() >= CONFIRM_APART_S {
            self.waiting.remove(&candidate);
            return Some(first);
        }
        self.waiting.insert(candidate, first);
        None
    }

    /// Judges one event. Returns whether the document shows what we hold of it (if not, that is
    /// absent).
    fn event_seen(&mut self, key: &ServiceKey, service: &str, event: &Event) -> bool {
        let held = self.beliefs.outages.get(&(key.clone(), event.message_id.clone()));
        let Some(seen) = seen(event, held, self.now) else { return false };
        let (kind, mut outage) = match transition(held, &seen, service, self.now) {
            Transition::Absent => return false,
            Transition::Same => return self.seen_again(held),
            // What is over before we ever looked is history, not news.
            Transition::Changed(ChangeKind::Missed, outage) if self.is_first => (ChangeKind::Noted, outage),
            Transition::Changed(kind, outage) => (kind, outage),
        };
        let begins = !outage.is_over() && held.is_none_or(Outage::is_over);
        if begins && self.active >= ACTIVE_MAX {
            self.update.left_out += 1;
            return false;
        }
        let times = (kind == ChangeKind::Moved).then_some((outage.start, outage.end));
        let candidate = (key.clone(), outage.message_id.clone(), outage.occurrence, kind, times);
        let first_seen = match kind {
            ChangeKind::Noted if self.is_first => Some(self.now),
            _ => self.confirmed(candidate),
        };
        let Some(first_seen) = first_seen else { return self.seen_again(held) };
        if held.is_none_or(|held| held.occurrence != outage.occurrence) {
            outage.first_seen = first_seen;
        }
        self.active += usize::from(begins);
        self.outage_changed(kind, outage, held, first_seen);
        true
    }

    /// Forgets that it was missing. Always true.
    fn seen_again(&mut self, held: Option<&Outage>) -> bool {
        let phase = match held.map(|held| &held.phase) {
            Some(Phase::Planned(Some(_))) => Phase::Planned(None),
            Some(Phase::Ongoing(Some(_))) => Phase::Ongoing(None),
            Some(Phase::Planned(None) | Phase::Ongoing(None) | Phase::Over(_)) | None => return true,
        };
        self.update.outages.extend(held.map(|held| Outage { phase, ..held.clone() }));
        true
    }

    /// Rule 6: silence is not recovery.
    fn events_absent(&mut self, document: &Document, present: &BTreeSet<(&ServiceKey, &str)>) {
        for ((key, id), held) in &self.beliefs.outages {
            let (Phase::Planned(missing) | Phase::Ongoing(missing)) = &held.phase else { continue };
            // Where something could not be read, it may have been this.
            let is_garbled = document.services.get(key).is_some_and(|listing| listing.garbled);
            if is_garbled || present.contains(&(key, id.as_str())) {
                continue;
            }
            let mut outage = held.clone();
            match absent(missing.as_ref(), WITHDRAWN_AFTER, self.now) {
                Absence::Counted(missing) => {
                    match &mut outage.phase {
                        Phase::Planned(slot) | Phase::Ongoing(slot) => *slot = Some(missing),
                        Phase::Over(_) => continue,
                    }
                    if outage != *held {
                        self.update.outages.push(outage);
                    }
                }
                Absence::Long { since } => {
                    let (kind, by) = dropped(held, since, self.now);
                    outage.phase = Phase::Over(by);
                    if by == OverBy::Withdrawal {
                        outage.end = Some(since);
                    }
                    self.outage_changed(kind, outage, Some(held), since);
                }
            }
        }
    }

    fn outage_changed(
        &mut self,
        kind: ChangeKind,
        mut outage: Outage,
        held: Option<&Outage>,
        seen_at: Timestamp,
    ) {
        let serial = outage.counts.entry(kind).or_insert(0);
        *serial += 1;
        let serial = *serial;
        let same = held.filter(|held| held.occurrence == outage.occurrence);
        let ended_at = match &outage.phase {
            // The end of the plan that is off.
            _ if kind == ChangeKind::Cancelled => held.and_then(|held| held.end),
            // Nobody knows when a withdrawn outage ended; `seen_at` is when it was listed no more.
            Phase::Over(OverBy::Withdrawal) => None,
            Phase::Ongoing(_) if !outage.kind.is_maintenance() => None,
            // Maintenance announces its end, and people plan with it.
            Phase::Over(OverBy::Apple) | Phase::Ongoing(_) | Phase::Planned(_) => outage.end,
        };
        self.update.changes.push(Change {
            service: outage.service.clone(),
            message_id: Some(outage.message_id.clone()),
            occurrence: Some(outage.occurrence),
            serial,
            outage_kind: Some(outage.kind.clone()),
            was_kind: same.filter(|held| held.kind != outage.kind).map(|held| held.kind.clone()),
            began_at: outage.start,
            ended_at,
            users_affected: outage.users_affected.clone(),
            message: outage.message.clone(),
            ..Change::bare(kind, self.beliefs.feed.clone(), seen_at, self.now)
        });
        self.update.outages.push(outage);
    }

    fn service_listed(&mut self, key: &ServiceKey, name: &str) {
        let held = self.beliefs.services.get(key);
        if held.is_some_and(|held| held.listed == Listed::Yes && held.name == name) {
            return;
        }
        let listed = match held.map(|held| &held.listed) {
            Some(Listed::No { .. } | Listed::Never { .. }) => {
                let candidate = (key.clone(), String::new(), 0, ChangeKind::ListedAgain, None);
                let Some(seen_at) = self.confirmed(candidate) else { return };
                self.about_service(ChangeKind::ListedAgain, name, seen_at, Vec::new());
                Listed::Yes
            }
            Some(Listed::Yes | Listed::Missing(_)) | None => Listed::Yes,
        };
        if held.is_none() && self.beliefs.services.len() + self.update.services.len() >= SERVICES_MAX {
            return;
        }
        let first_seen = held.map_or(self.now, |held| held.first_seen);
        self.update.services.push((key.clone(), Service { name: name.to_owned(), first_seen, listed }));
    }

    /// Rule 11, a service that was there.
    fn service_absent(&mut self, key: &ServiceKey) {
        let Some(held) = self.beliefs.services.get(key) else { return };
        let missing = match &held.listed {
            Listed::Yes => None,
            Listed::Missing(missing) => Some(missing),
            Listed::No { .. } | Listed::Never { .. } => return,
        };
        let listed = match absent(missing, UNLISTED_AFTER, self.now) {
            Absence::Counted(missing) => Listed::Missing(missing),
            Absence::Long { since } => {
                self.about_service(ChangeKind::Unlisted, &held.name, since, Vec::new());
                Listed::No { since }
            }
        };
        if listed != held.listed {
            self.update.services.push((key.clone(), Service { listed, ..held.clone() }));
        }
    }

    /// Rule 11, a watched name that was never there.
    fn watched_names(&mut self, document: &Document, watch: &Watch) {
        for pattern in watch.patterns() {
            let key = ServiceKey::new(&pattern.text);
            let known = |(key, service): (&ServiceKey, &Service)| {
                !matches!(service.listed, Listed::Never { .. }) && pattern.matches(key)
            };
            if document.services.keys().any(|key| pattern.matches(key))
                || self.beliefs.services.iter().any(known)
            {
                continue;
            }
            let candidate = (key.clone(), String::new(), 0, ChangeKind::Unlisted, None);
            if self.beliefs.services.contains_key(&key) {
                continue;
            }
            if let Some(seen_at) = self.confirmed(candidate) {
                let names = document.services.values().map(|listing| listing.name.as_str());
                let names = names.filter(|name| name.len() <= NEAR_MAX_BYTES).take(NEAR_NAMES_MAX);
                self.about_service(ChangeKind::Unlisted, &pattern.text, seen_at, near(&pattern.text, names));
                let listed = Listed::Never { since: seen_at };
                let service = Service { name: pattern.text.clone(), first_seen: seen_at, listed };
                self.update.services.push((key, service));
            }
        }
        self.forget_names(document, watch);
    }

    /// A glob that found its service, and a name that nobody watches any more.
    fn forget_names(&mut self, document: &Document, watch: &Watch) {
        for (key, service) in &self.beliefs.services {
            if !matches!(service.listed, Listed::Never { .. }) || document.services.contains_key(key) {
                continue;
            }
            let pattern = watch.patterns().iter().find(|pattern| ServiceKey::new(&pattern.text) == *key);
            let found =
                pattern.and_then(|pattern| document.services.iter().find(|(key, _)| pattern.matches(key)));
            match (pattern, found) {
                (None, _) => self.update.forgotten.push(key.clone()),
                (Some(_), None) => {}
                (Some(_), Some((_, listing))) => {
                    let candidate = (key.clone(), String::new(), 0, ChangeKind::ListedAgain, None);
                    if let Some(seen_at) = self.confirmed(candidate) {
                        // Two globs may find one service; people hear of it once.
                        let said = |change: &Change| {
                            change.kind == ChangeKind::ListedAgain && change.service == listing.name
                        };
                        if !self.update.changes.iter().any(said) {
                            self.about_service(ChangeKind::ListedAgain, &listing.name, seen_at, Vec::new());
                        }
                        self.update.forgotten.push(key.clone());
                    }
                }
            }
        }
    }

    fn about_service(&mut self, kind: ChangeKind, service: &str, seen_at: Timestamp, near: Vec<String>) {
        let mut change = Change::bare(kind, self.beliefs.feed.clone(), seen_at, self.now);
        change.service = service.to_owned();
        change.near = near;
        self.update.changes.push(change);
    }
}

/// The history of another database could not be read and starts anew.
pub fn history_lost(beliefs: &Beliefs, kept_as: &str, now: Timestamp) -> Change {
    let feed = beliefs.feed.clone();
    Change { message: kept_as.to_owned(), ..Change::bare(ChangeKind::HistoryLost, feed, now, now) }
}

/// Proof of life: names what is watched and has trouble.
pub fn liveness_report(beliefs: &Beliefs, watch: &Watch, now: Timestamp) -> Change {
    let mut troubled: Vec<&str> = ongoing(beliefs, watch).map(|outage| outage.service.as_str()).collect();
    troubled.dedup();
    let service = troubled.join(", ");
    Change { service, ..Change::bare(ChangeKind::Liveness, beliefs.feed.clone(), now, now) }
}

/// What is going on with what is watched, maintenance left out.
fn ongoing<'a>(beliefs: &'a Beliefs, watch: &'a Watch) -> impl Iterator<Item = &'a Outage> {
    beliefs.outages.iter().filter_map(|((service, _), outage)| {
        let is_ongoing = matches!(outage.phase, Phase::Ongoing(_)) && !outage.kind.is_maintenance();
        (is_ongoing && watch.matches(service)).then_some(outage)
    })
}

/// An outage that was told of is still going on; the `serial`th time that somebody is reminded.
pub fn reminder(feed: &FeedId, outage: &Outage, serial: u32, now: Timestamp) -> Change {
    Change {
        service: outage.service.clone(),
        message_id: Some(outage.message_id.clone()),
        occurrence: Some(outage.occurrence),
        serial,
        outage_kind: Some(outage.kind.clone()),
        began_at: outage.start,
        users_affected: outage.users_affected.clone(),
        message: outage.message.clone(),
        ..Change::bare(ChangeKind::Reminder, feed.clone(), outage.first_seen, now)
    }
}

/// What it means that something has not been listed `since` then.
fn dropped(held: &Outage, since: Timestamp, now: Timestamp) -> (ChangeKind, OverBy) {
    let end_passed = held.end.is_some_and(|end| end <= now);
    match held.phase {
        // Dropped before it was to begin.
        Phase::Planned(_) if held.start.is_none_or(|start| since < start) => {
            (ChangeKind::Cancelled, OverBy::Withdrawal)
        }
        // Maintenance whose announced end has elapsed is over, as announced.
        _ if held.kind.is_maintenance() && end_passed => (ChangeKind::Over, OverBy::Apple),
        Phase::Planned(_) | Phase::Ongoing(_) | Phase::Over(_) => (ChangeKind::Withdrawn, OverBy::Withdrawal),
    }
}

enum Absence {
    Counted(Missing),
    Long { since: Timestamp },
}

/// Counts one more accepted document without the thing.
fn absent(missing: Option<&Missing>, long: SignedDuration, now: Timestamp) -> Absence {
    // A first absence in the future means that the clock was set back: start anew.
    let missing = match missing.filter(|missing| missing.since <= now) {
        None => Missing { since: now, fetches: 1 },
        Some(missing) => Missing { fetches: (missing.fetches + 1).min(ABSENT_FETCHES), ..*missing },
    };
    if missing.fetches >= ABSENT_FETCHES && now.duration_since(missing.since) >= long {
        return Absence::Long { since: missing.since };
    }
    Absence::Counted(missing)
}

/// When time alone will change something, if the same look keeps coming. Replay skips to it.
pub fn next_deadline(
    beliefs: &Beliefs,
    pending: &Pending,
    document: Option<&Document>,
    now: Timestamp,
) -> Option<Timestamp> {
    let outages = beliefs.outages.values().filter_map(|outage| match &outage.phase {
        Phase::Planned(Some(missing)) | Phase::Ongoing(Some(missing)) => {
            Some(missing.since + WITHDRAWN_AFTER)
        }
        Phase::Planned(None) | Phase::Ongoing(None) | Phase::Over(_) => None,
    });
    let services = beliefs.services.values().filter_map(|service| match &service.listed {
        Listed::Missing(missing) => Some(missing.since + UNLISTED_AFTER),
        Listed::Yes | Listed::No { .. } | Listed::Never { .. } => None,
    });
    let stale = freshness::deadlines(&beliefs.state, document);
    // Only where Apple's word is unknown do the event's own times decide where it stands.
    let events = document.into_iter().flat_map(|document| document.services.values()).flat_map(|s| &s.events);
    let times = events
        .filter(|event| matches!(event.status, EventStatus::Unknown(_)))
        .flat_map(|event| [event.start, event.end])
        .flatten()
        .filter(|time| *time > now);
    let all =
        outages.chain(services).chain(stale).chain(times).chain(feed_health::deadline(beliefs, pending, now));
    // A wait that is over and came to nothing must not hide those that still run.
    all.filter(|deadline| *deadline > now).min()
}

/// Whether a watched service has an outage or a running maintenance: time to look more often.
pub fn has_trouble(beliefs: &Beliefs, watch: &Watch) -> bool {
    beliefs
        .outages
        .iter()
        .any(|((key, _), outage)| matches!(outage.phase, Phase::Ongoing(_)) && watch.matches(key))
}

/// Whether people who watch these services hear of this change.
pub fn is_for(change: &Change, watch: &Watch) -> bool {
    change.kind.is_told() && (change.kind.is_about_us() || watch.matches(&ServiceKey::new(&change.service)))
}

/// The clock was set: what was running goes on from where it was. Written like any update, or a
/// restart would find the old times.
pub fn clock_set(beliefs: &Beliefs, pending: &mut Pending, by: SignedDuration) -> Update {
    let shift = |time: &mut Timestamp| *time = time.checked_add(by).unwrap_or(*time);
    pending.first_seen.values_mut().for_each(shift);
    let mut update = Update::new(Verdict::Accepted, beliefs.state.clone());
    if let Some(run) = &mut update.state.stale {
        shift(&mut run.since);
    }
    if let FeedHealth::Readable { since } | FeedHealth::Unreadable { since, .. } = &mut update.state.health {
        shift(since);
    }
    for outage in beliefs.outages.values() {
        let mut outage = outage.clone();
        if let Phase::Planned(Some(missing)) | Phase::Ongoing(Some(missing)) = &mut outage.phase {
            shift(&mut missing.since);
            update.outages.push(outage);
        }
    }
    for (key, service) in &beliefs.services {
        if let Listed::Missing(missing) = &service.listed {
            let mut missing = missing.clone();
            shift(&mut missing.since);
            update
                .services
                .push((key.clone(), Service { listed: Listed::Missing(missing), ..service.clone() }));
        }
    }
    update
}
