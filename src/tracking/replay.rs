//! Replays a recording through the parser, the state machine and the poll plan, in virtual time.
//!
//! Polls at the time of each line. Between two lines of the daemon nothing is polled, because polls without
//! effect are not recorded. Between other lines, polls as the daemon would on the given plan, confirmations
//! included, and skips idle time. Reads no clock: the same recording gives the same changes, byte for byte.

use anyhow::Result;
use jiff::{SignedDuration, Timestamp};

use crate::feed::parse;
use crate::feed::recording::{Line, Poll, Recording, Start};
use crate::model::{Beliefs, Change, Document, Fault, FeedId};
use crate::tracking::poll_plan::{Plan, PollResult, next_poll};
use crate::tracking::watchlist::Watchlist;
use crate::tracking::{self, Acceptance, FeedFailure, Pending};

/// The totals of a replay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Lines of the recording.
    pub documents: u64,
    pub polls: u64,
    /// Polls that got a document older than one accepted before.
    pub stale_polls: u64,
    /// Lines without a readable document.
    pub unreadable: u64,
    /// Lines of the daemon, to which the plan does not apply.
    pub polled: u64,
}

/// Replays `recording` and passes each change to `tell`, in order.
pub fn replay(
    recording: &mut Recording,
    feed: FeedId,
    watch: &Watchlist,
    plan: &Plan,
    tell: &mut dyn FnMut(&Change) -> Result<()>,
) -> Result<Summary> {
    let mut summary = Summary::default();
    let Some(first) = recording.next_line()? else { return Ok(summary) };
    let mut player = Player::new(feed, first.at);
    let mut now = first.at;
    player.read(&first, &mut summary);
    let mut next_line = recording.next_line()?;
    loop {
        let step = player.poll_at(watch, now);
        summary.polls += 1;
        summary.stale_polls += u64::from(step.verdict == Acceptance::Stale);
        step.changes.iter().try_for_each(&mut *tell)?;
        let planned = player.planned(plan, watch, &step, next_line.is_some(), now);
        let line_at = next_line.as_ref().map(|line| line.at);
        match (planned, line_at) {
            (Some(planned), line_at) if line_at.is_none_or(|line_at| planned < line_at) => now = planned,
            _ => {
                let Some(line) = next_line.take() else { return Ok(summary) };
                // The daemon's clock may have been set back. Other lines out of order count as simultaneous.
                now = if line.poll.is_some() { line.at } else { line.at.max(now) };
                player.read(&line, &mut summary);
                next_line = recording.next_line()?;
            }
        }
    }
}

/// Returns the first scheduled poll at or after a time.
fn first_poll_from(plan: &Plan, player: &Player, watch: &Watchlist, moment: Timestamp) -> Timestamp {
    match player.poll_result(watch) {
        result @ PollResult::Succeeded { .. } => {
            next_poll(plan, &result, moment - SignedDuration::from_secs(1))
        }
        PollResult::Failed { .. } => moment,
    }
}

struct ReplayedPoll {
    verdict: Acceptance,
    changes: Vec<Change>,
    is_idle: bool,
}

struct Player {
    beliefs: Beliefs,
    pending: Pending,
    /// The content of the feed at this time.
    feed: Result<Document, FeedFailure>,
    failures: u32,
    last_poll: Timestamp,
    /// The poll in the current line, if the daemon wrote it.
    poll: Option<Poll>,
}

impl Player {
    fn new(feed: FeedId, start: Timestamp) -> Player {
        Player {
            beliefs: Beliefs::new(feed),
            pending: Pending::default(),
            feed: Err(failure(parse::Unreadable::Empty)),
            failures: 0,
            last_poll: start,
            poll: None,
        }
    }

    fn read(&mut self, line: &Line, summary: &mut Summary) {
        let failed = line.poll.as_ref().and_then(|poll| poll.failure.as_ref());
        self.feed = match failed {
            Some(failed) => Err(FeedFailure {
                fault: if failed.ours { Fault::Ours } else { Fault::Apple },
                reason: failed.reason.clone(),
            }),
            None => parse::parse(line.body.as_bytes()).map_err(failure),
        };
        summary.documents += 1;
        summary.unreadable += u64::from(self.feed.is_err());
        summary.polled += u64::from(line.poll.is_some());
        self.poll.clone_from(&line.poll);
        let Some(poll) = &line.poll else { return };
        match poll.start {
            Some(Start::New) => self.beliefs = Beliefs::new(self.beliefs.feed.clone()),
            Some(Start::Resumed) | None => {}
        }
        if poll.start.is_some() {
            self.pending = Pending::default();
        }
        if let Some(by) = poll.clock_set_s {
            let by = SignedDuration::from_secs(by);
            tracking::clock_set(&self.beliefs, &mut self.pending, by).apply(&mut self.beliefs);
        }
    }

    fn poll_at(&mut self, watch: &Watchlist, now: Timestamp) -> ReplayedPoll {
        let passed_s = u64::try_from(now.duration_since(self.last_poll).as_secs()).unwrap_or(0);
        let failed = self.poll.as_ref().and_then(|poll| poll.failure.as_ref());
        let awake_s = failed.map_or(passed_s, |failed| failed.awake_s);
        self.last_poll = now;
        let update = match &self.feed {
            Ok(document) => tracking::compare(&self.beliefs, &mut self.pending, document, watch, now),
            Err(failure) => tracking::unreadable(&self.beliefs, &mut self.pending, failure, awake_s, now),
        };
        self.failures = if self.feed.is_err() { self.failures.saturating_add(1) } else { 0 };
        let is_idle = update.is_empty(&self.beliefs);
        let verdict = update.verdict;
        let mut changes = Vec::new();
        // In the same parts as the daemon writes.
        for slice in update.slices(&self.beliefs) {
            changes.extend_from_slice(&slice.changes);
            slice.apply(&mut self.beliefs);
        }
        ReplayedPoll { verdict, changes, is_idle }
    }

    /// Returns when to poll the current line again, or `None` if that changes nothing before the next line.
    /// After the last line, only unconfirmed changes are polled again, because the feed is unknown.
    fn planned(
        &self,
        plan: &Plan,
        watch: &Watchlist,
        step: &ReplayedPoll,
        has_next: bool,
        now: Timestamp,
    ) -> Option<Timestamp> {
        if self.poll.is_some() {
            return None;
        }
        let next = next_poll(plan, &self.poll_result(watch), now);
        if !step.is_idle || self.pending.oldest().is_some() {
            return Some(next);
        }
        let deadline = self.deadline(now).filter(|_| has_next)?;
        Some(if deadline > next { first_poll_from(plan, self, watch, deadline) } else { next })
    }

    fn poll_result(&self, watch: &Watchlist) -> PollResult {
        match &self.feed {
            Ok(_) => PollResult::Succeeded {
                has_trouble: tracking::has_trouble(&self.beliefs, watch),
                unconfirmed_since: self.pending.oldest(),
            },
            Err(_) => PollResult::Failed { failures: self.failures, retry_after_s: None, jitter: 0.5 },
        }
    }

    /// Returns when time alone changes something.
    fn deadline(&self, now: Timestamp) -> Option<Timestamp> {
        let document = self.feed.as_ref().ok();
        tracking::next_deadline(&self.beliefs, &self.pending, document, now)
            .filter(|deadline| *deadline > now)
    }
}

/// Returns the failure for an unreadable body. A web page counts as a captive portal's, because a recording
/// does not say how a document was fetched.
fn failure(unreadable: parse::Unreadable) -> FeedFailure {
    let fault = match unreadable {
        parse::Unreadable::Html => Fault::Ours,
        _ => Fault::Apple,
    };
    FeedFailure { fault, reason: unreadable.to_string() }
}
