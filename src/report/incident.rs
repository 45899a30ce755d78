//! Incidents: the outages of several services that share one `messageId`, for feeds, the calendar and the
//! Statuspage form.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use ring::digest::{SHA256, digest};

use super::outage::{end, posted_late_s};
use super::public_change::published;
use crate::delivery::message::phrases::{kind_word, listed};
use crate::delivery::message::time_format::lasted;
use crate::delivery::message::{Context, RenderContext, compose};
use crate::model::{Change, ChangeKind, EventKind, FeedId, Outage, OutageKey, OverBy, Phase, ServiceKey};
use crate::store::{PostedOutage, StoredChange};
use crate::text::{plain_line, plain_text};

/// The maximum length of a title, which names services.
const TITLE_MAX_CHARS: usize = 200;
/// The maximum length of the text of an update, which quotes Apple.
const UPDATE_MAX_CHARS: usize = 4_000;
/// The maximum length of a kind, which can be a word of Apple's.
const KIND_MAX_CHARS: usize = 60;
const ID_BYTES: usize = 8;
/// Apple posts late by at least this much before an update says so.
const LATE_S: i64 = 60;

/// The outages, or the maintenances, of one `messageId` and occurrence.
#[derive(Clone, Debug)]
pub struct Incident<'a> {
    /// Sorted by service.
    pub outages: Vec<&'a PostedOutage>,
}

/// The phase of an incident as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum IncidentPhase {
    Over,
    Planned,
    Ongoing,
}

/// The changes of an incident that one poll confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncidentUpdate {
    /// The id of its first change; 0 if no change is recorded.
    pub change_id: i64,
    pub at: Timestamp,
    /// The phase after the update.
    pub phase: IncidentPhase,
    /// The services that it is about.
    pub services: Vec<String>,
    /// Several lines for people.
    pub text: String,
}

/// Groups outages into incidents, the newest start first.
pub fn incidents(outages: &[PostedOutage]) -> Vec<Incident<'_>> {
    let mut groups: BTreeMap<(&str, u32, bool), Vec<&PostedOutage>> = BTreeMap::new();
    for posted in outages {
        let outage = &posted.stored.outage;
        let of = (outage.message_id.as_str(), outage.occurrence, outage.kind.is_maintenance());
        groups.entry(of).or_default().push(posted);
    }
    let mut incidents: Vec<Incident> = groups
        .into_values()
        .map(|mut outages| {
            outages.sort_by_key(|posted| ServiceKey::new(&posted.stored.outage.service));
            Incident { outages }
        })
        .collect();
    incidents.sort_by_key(|incident| (std::cmp::Reverse(incident.began_at()), incident.identity()));
    incidents
}

/// Returns a short name that is the same for the same text: letters and digits.
pub fn stable_id(text: &str) -> String {
    hex::encode(&digest(&SHA256, text.as_bytes()).as_ref()[..ID_BYTES])
}

impl Incident<'_> {
    fn all(&self) -> impl Iterator<Item = &Outage> {
        self.outages.iter().map(|posted| &posted.stored.outage)
    }

    fn feed(&self) -> Option<&FeedId> {
        self.outages.first().map(|posted| &posted.stored.feed)
    }

    /// Returns the text that identifies it in every run of statusd: feed, message id and occurrence.
    fn identity(&self) -> String {
        let feed = self.feed().map(FeedId::to_string).unwrap_or_default();
        let Some(outage) = self.all().next() else { return feed };
        let what = if self.is_maintenance() { "maintenance" } else { "outage" };
        format!("{feed}/{what}/{}/{}", outage.message_id, outage.occurrence)
    }

    pub fn id(&self) -> String {
        stable_id(&self.identity())
    }

    /// Returns the keys of its outages.
    pub fn keys(&self) -> Vec<OutageKey> {
        let key = |posted: &&PostedOutage| OutageKey::new(&posted.stored.feed, &posted.stored.outage);
        self.outages.iter().map(key).collect()
    }

    /// Returns the address of its page, relative to the root.
    pub fn page(&self) -> String {
        let outage = self.outages.first().map(|posted| posted.stored.outage.key(&posted.stored.feed));
        format!("/outages/{}", outage.unwrap_or_default())
    }

    pub fn is_maintenance(&self) -> bool {
        self.all().any(|outage| outage.kind.is_maintenance())
    }

    /// Returns the most severe kind.
    pub fn kind(&self) -> Option<&EventKind> {
        self.all().map(|outage| &outage.kind).max_by_key(|kind| kind.rank())
    }

    pub fn phase(&self) -> IncidentPhase {
        let phase = |outage: &Outage| match outage.phase {
            Phase::Ongoing(_) => IncidentPhase::Ongoing,
            Phase::Planned(_) => IncidentPhase::Planned,
            Phase::Over(_) => IncidentPhase::Over,
        };
        self.all().map(phase).max().unwrap_or(IncidentPhase::Over)
    }

    /// Returns true for maintenance of which no part took place.
    pub fn was_cancelled(&self) -> bool {
        self.all().all(|outage| outage.is_over() && outage.was_cancelled())
    }

    /// Returns Apple's earliest start, or the first sighting.
    pub fn began_at(&self) -> Timestamp {
        let began = |outage: &Outage| outage.start.unwrap_or(outage.first_seen);
        self.all().map(began).min().unwrap_or_default()
    }

    pub fn first_seen(&self) -> Timestamp {
        self.all().map(|outage| outage.first_seen).min().unwrap_or_default()
    }

    /// Returns Apple's latest end, or when statusd saw the end; `None` unless all is over.
    pub fn over_at(&self) -> Option<Timestamp> {
        if self.phase() != IncidentPhase::Over {
            return None;
        }
        let over = |posted: &&PostedOutage| {
            let outage = &posted.stored.outage;
            end(outage).or(posted.over_seen_at).unwrap_or(outage.first_seen)
        };
        self.outages.iter().map(over).max()
    }

    /// Returns Apple's latest announced or actual end.
    pub fn announced_end(&self) -> Option<Timestamp> {
        self.all().filter_map(|outage| outage.end).max()
    }

    /// Returns a number that grows with every change of the announced times, and with the cancellation.
    pub fn revisions(&self) -> u32 {
        let kinds = [ChangeKind::Moved, ChangeKind::Cancelled, ChangeKind::Corrected];
        self.all().flat_map(|outage| kinds.iter().filter_map(|kind| outage.counts.get(kind))).sum()
    }

    /// `iCloud Backup, Photos: outage, over`
    pub fn title(&self) -> String {
        let names: Vec<&str> = self.all().map(|outage| outage.service.as_str()).collect();
        let kind = plain_line(&self.kind().map(kind_word).unwrap_or_default(), KIND_MAX_CHARS);
        let is_withdrawn = self.all().any(|outage| outage.phase == Phase::Over(OverBy::Withdrawal));
        let state = match self.phase() {
            IncidentPhase::Over if self.was_cancelled() => ", cancelled",
            IncidentPhase::Over if is_withdrawn => ", no longer listed",
            IncidentPhase::Over => ", over",
            IncidentPhase::Planned => ", planned",
            IncidentPhase::Ongoing => "",
        };
        format!("{}: {kind}{state}", plain_line(&listed(&names), TITLE_MAX_CHARS))
    }

    /// Returns the updates, oldest first and at least one. `changes` may include those of other incidents.
    pub fn updates(&self, changes: &[StoredChange], zone: &TimeZone) -> Vec<IncidentUpdate> {
        let keys = self.keys();
        let is_ours = |stored: &&StoredChange| {
            let change = &stored.change;
            change.kind != ChangeKind::Reminder
                && keys.iter().any(|key| {
                    key.feed == change.feed
                        && Some(&key.message_id) == change.message_id.as_ref()
                        && Some(key.occurrence) == change.occurrence
                        && key.service == ServiceKey::new(&change.service)
                })
        };
        let mut updates: Vec<IncidentUpdate> = Vec::new();
        let mut phases = BTreeMap::new();
        let ours: Vec<&StoredChange> = changes.iter().filter(is_ours).collect();
        for group in ours.chunk_by(|a, b| a.change.at == b.change.at) {
            let of_poll: Vec<Change> = group.iter().map(|stored| published(&stored.change)).collect();
            for change in &of_poll {
                let before = phases.get(&ServiceKey::new(&change.service)).copied();
                phases.insert(ServiceKey::new(&change.service), phase_after(change.kind, before));
            }
            updates.push(IncidentUpdate {
                change_id: group[0].id,
                at: group[0].change.at,
                phase: phases.values().copied().max().unwrap_or(IncidentPhase::Over),
                services: of_poll.iter().map(|change| change.service.clone()).collect(),
                text: self.text(&of_poll, updates.is_empty(), zone),
            });
        }
        if updates.is_empty() {
            updates.push(self.unrecorded());
        }
        updates
    }

    fn text(&self, changes: &[Change], is_first: bool, zone: &TimeZone) -> String {
        let ctx = RenderContext { now: changes[0].at, zone, is_drill: false };
        let message = compose(changes, &Context::default(), &ctx);
        let mut text = format!("{}.\n{}", message.title, message.body);
        if let Some(late) = self.posted_late().filter(|_| is_first) {
            text.push('\n');
            text.push_str(&late);
        }
        plain_text(&text, UPDATE_MAX_CHARS)
    }

    /// Returns a sentence about the time that Apple took to post it, if that is known.
    fn posted_late(&self) -> Option<String> {
        let first = self.outages.iter().min_by_key(|posted| posted.stored.outage.first_seen)?;
        let outage = &first.stored.outage;
        let late_s = posted_late_s(&first.stored).filter(|late_s| *late_s >= LATE_S)?;
        let began = outage.start.filter(|_| late_s > 0)?;
        Some(format!("Apple posted this {} after it began.", lasted(began, outage.first_seen)))
    }

    /// Returns the only update of an incident without recorded changes.
    fn unrecorded(&self) -> IncidentUpdate {
        let text = self.all().next().map(|outage| outage.message.as_str()).unwrap_or_default();
        IncidentUpdate {
            change_id: 0,
            at: self.first_seen(),
            phase: self.phase(),
            services: self.all().map(|outage| outage.service.clone()).collect(),
            text: plain_text(&format!("{}.\n{text}", self.title()), UPDATE_MAX_CHARS),
        }
    }
}

fn phase_after(kind: ChangeKind, before: Option<IncidentPhase>) -> IncidentPhase {
    match kind {
        ChangeKind::Began
        | ChangeKind::Reopened
        | ChangeKind::Worsened
        | ChangeKind::Eased
        | ChangeKind::Started => IncidentPhase::Ongoing,
        ChangeKind::Planned => IncidentPhase::Planned,
        ChangeKind::Ended
        | ChangeKind::Withdrawn
        | ChangeKind::Missed
        | ChangeKind::Over
        | ChangeKind::Cancelled
        | ChangeKind::Corrected
        | ChangeKind::Noted => IncidentPhase::Over,
        // Of no outage, or without an effect on the phase.
        ChangeKind::Moved
        | ChangeKind::Revised
        | ChangeKind::Unlisted
        | ChangeKind::ListedAgain
        | ChangeKind::Unreadable
        | ChangeKind::Readable
        | ChangeKind::HistoryLost
        | ChangeKind::Reminder
        | ChangeKind::Liveness
        | ChangeKind::BackupLate
        | ChangeKind::BackupOff
        | ChangeKind::Test => before.unwrap_or(IncidentPhase::Planned),
    }
}
