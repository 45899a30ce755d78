//! A recording through the real parser, the real state machine and the real plan, in virtual time.
//!
//! Looks as the daemon would on its default schedule, confirmation included, and skips over idle
//! time. Touches no clock: the same recording gives the same changes, byte for byte.

use anyhow::Result;
use jiff::{SignedDuration, Timestamp};

use crate::feed;
use crate::model::{Beliefs, Change, Document, Fault, FeedId};
use crate::plan::{Aftermath, Plan, next_look};
use crate::record::{Line, Recording};
use crate::track::{self, Pending, Trouble, Verdict};
use crate::watch::Watch;

/// What a replay came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Lines of the recording.
    pub documents: u64,
    pub looks: u64,
    /// Looks that got a copy older than one seen before.
    pub stale_looks: u64,
    /// Lines that no status document could be read from.
    pub unreadable: u64,
}

/// Plays `recording` and hands each change to `tell`, in order.
pub fn replay(
    recording: &mut Recording,
    feed: FeedId,
    watch: &Watch,
    plan: &Plan,
    tell: &mut dyn FnMut(&Change) -> Result<()>,
) -> Result<Summary> {
    let mut summary = Summary::default();
    let Some(mut shown) = recording.next_line()? else { return Ok(summary) };
    let mut next_line = recording.next_line()?;
    let mut player = Player::new(feed, shown.at);
    let mut now = shown.at;
    player.read(&shown, &mut summary);
    loop {
        while let Some(line) = next_line.take_if(|line| line.at <= now) {
            shown = line;
            player.read(&shown, &mut summary);
            next_line = recording.next_line()?;
        }
        let step = player.look(watch, now);
        summary.looks += 1;
        summary.stale_looks += u64::from(step.verdict == Verdict::Stale);
        step.changes.iter().try_for_each(&mut *tell)?;
        let next = next_look(plan, &player.aftermath(watch), now);
        let at_rest = step.is_idle && player.pending.oldest().is_none();
        now = match &next_line {
            _ if !at_rest => next,
            // Behind the last line the feed is not known; what it showed has been confirmed.
            None => return Ok(summary),
            Some(line) => {
                let moment = player.deadline(now).map_or(line.at, |deadline| deadline.min(line.at));
                if moment > next { first_look_from(plan, &player, watch, moment) } else { next }
            }
        };
    }
}

/// The first scheduled look at or after a moment.
fn first_look_from(plan: &Plan, player: &Player, watch: &Watch, moment: Timestamp) -> Timestamp {
    match player.aftermath(watch) {
        seen @ Aftermath::Seen { .. } => next_look(plan, &seen, moment - SignedDuration::from_secs(1)),
        Aftermath::Failed { .. } => moment,
    }
}

struct Look {
    verdict: Verdict,
    changes: Vec<Change>,
    is_idle: bool,
}

struct Player {
    beliefs: Beliefs,
    pending: Pending,
    shown: Result<Document, feed::Unreadable>,
    failures: u32,
    last_look: Timestamp,
}

impl Player {
    fn new(feed: FeedId, start: Timestamp) -> Player {
        Player {
            beliefs: Beliefs::new(feed),
            pending: Pending::default(),
            shown: Err(feed::Unreadable::Empty),
            failures: 0,
            last_look: start,
        }
    }

    fn read(&mut self, line: &Line, summary: &mut Summary) {
        self.shown = feed::parse(line.body.as_bytes());
        summary.documents += 1;
        summary.unreadable += u64::from(self.shown.is_err());
    }

    fn look(&mut self, watch: &Watch, now: Timestamp) -> Look {
        let awake_s = u64::try_from(now.duration_since(self.last_look).as_secs()).unwrap_or(0);
        self.last_look = now;
        let update = match &self.shown {
            Ok(document) => track::look(&self.beliefs, &mut self.pending, document, watch, now),
            Err(unreadable) => {
                let trouble = Trouble { fault: fault(*unreadable), reason: unreadable.to_string() };
                track::blind(&self.beliefs, &mut self.pending, &trouble, awake_s, now)
            }
        };
        self.failures = if self.shown.is_err() { self.failures.saturating_add(1) } else { 0 };
        let is_idle = update.is_empty(&self.beliefs);
        let look = Look { verdict: update.verdict, changes: update.changes.clone(), is_idle };
        update.apply(&mut self.beliefs);
        look
    }

    fn aftermath(&self, watch: &Watch) -> Aftermath {
        match &self.shown {
            Ok(_) => Aftermath::Seen {
                has_trouble: track::has_trouble(&self.beliefs, watch),
                unconfirmed_since: self.pending.oldest(),
            },
            Err(_) => Aftermath::Failed { failures: self.failures, retry_after_s: None, roll: 0.5 },
        }
    }

    /// When time alone will change something.
    fn deadline(&self, now: Timestamp) -> Option<Timestamp> {
        let document = self.shown.as_ref().ok();
        track::next_deadline(&self.beliefs, &self.pending, document, now).filter(|deadline| *deadline > now)
    }
}

/// A recording does not say how its documents came; a web page in it counts as a captive portal's.
fn fault(unreadable: feed::Unreadable) -> Fault {
    match unreadable {
        feed::Unreadable::Html => Fault::Ours,
        _ => Fault::Apple,
    }
}
