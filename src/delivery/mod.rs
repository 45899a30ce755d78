//! Delivers to one channel, one notice at a time: begin, send, finish.
//!
//! The next try is written down before this one is sent, as if this one will fail, and no
//! transaction is open while sending: a kill at any moment loses nothing and repeats at most the
//! one message in flight, with the same key and the same bytes. An outcome that cannot be recorded is
//! kept, and recorded before anything else is sent (`tests/it/outbox.rs`).

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use tokio::task::yield_now;

use crate::channel::{Audience, Channel, Notice, SendOutcome, ServiceState, Snapshot};
use crate::delivery::message::{Context, Digest, Form, RenderContext, compose, line, phrases};
use crate::delivery::policy::Policy;
use crate::model::{Change, FeedId, Listed, Outage, Phase, Service, ServiceKey};
use crate::store::{Attempt, Batching, READ_LATELY, RenderedNotice, Settled, Snooze, Store, Waiting};
use crate::tracking::watchlist::Watchlist;

mod alarms;
pub mod heartbeat;
pub mod message;
pub mod payload;
pub mod policy;
pub mod template;

/// After a state could not be shown.
const REFLECT_RETRY_S: i64 = 15;
/// Waits after the first, second … try; the last one from then on. Twelve tries in the first hour,
/// most of them early, and never more in any other. Who cannot be reached is probed at in between.
const RETRY_TABLE_S: [i64; 12] = [5, 15, 30, 60, 120, 300, 600, 600, 600, 600, 600, 330];
/// What a peer may ask for with `Retry-After`.
const RETRY_AFTER_CAP_S: i64 = 3_600;
/// Up to a fifth is added by the dice, so that a fleet does not come back as one.
const JITTER_SHARE: f64 = 0.2;
/// A channel that is dead for so long, through so many tries, will not be waited for any more. The
/// one alone could be a machine that was off, or a clock that was set.
const GIVE_UP_AFTER: SignedDuration = SignedDuration::from_hours(30 * 24);
const GIVE_UP_TRIES: u32 = 1_000;
/// A message whose answer cannot be understood may have arrived each time.
const UNCLEAR_TRIES: u32 = 3;
/// Nothing is ever due further ahead than this, unless the clock was set back.
const LONGEST_WAIT_S: i64 = RETRY_AFTER_CAP_S + RETRY_AFTER_CAP_S / 5;

/// The result of one round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Round {
    /// Nothing is due before this time; `None`: before the next change.
    Idle { until: Option<Timestamp> },
    /// One message was tried.
    Tried { key: String, attempt: u32, answer: SendOutcome },
}

/// What a channel that shows a state was shown last.
#[derive(Debug, Default)]
struct Mirror {
    shown: Option<Snapshot>,
    due_at: Option<Timestamp>,
    is_failing: bool,
}

/// A channel together with its policy, ready to deliver.
#[derive(Debug)]
pub struct Receiver {
    pub channel: Channel,
    pub policy: Policy,
    /// The feed that is polled, and the watched services.
    pub feed: FeedId,
    pub watch: Watchlist,
    /// The time zone for times in messages.
    pub zone: TimeZone,
    pub is_drill: bool,
    sync_state: Mirror,
    unrecorded: Option<Outcome>,
    /// When alarms on its screen were first looked after.
    kept_since: Option<Timestamp>,
}

/// The outcome of an attempt that is not in the database yet.
#[derive(Debug)]
struct Outcome {
    notice_id: i64,
    settled: Settled,
    at: Timestamp,
    round: Round,
}

impl Receiver {
    pub fn new(channel: Channel, policy: Policy, feed: FeedId, watch: Watchlist, zone: TimeZone) -> Receiver {
        Receiver {
            channel,
            policy,
            feed,
            watch,
            zone,
            is_drill: false,
            sync_state: Mirror::default(),
            unrecorded: None,
            kept_since: None,
        }
    }

    /// Returns true while the outcome of the newest attempt is not in the database.
    pub fn has_unrecorded_outcome(&self) -> bool {
        self.unrecorded.is_some()
    }

    /// The same through another channel: one that keeps something across a reload.
    pub fn through(self, channel: Channel) -> Receiver {
        Receiver { channel, ..self }
    }

    fn wants(&self, service: &ServiceKey) -> bool {
        self.policy.accepts_watched(service, &self.watch)
    }

    fn gather(&self) -> Batching {
        match self.channel.audience() {
            Audience::People => Batching::Digest { max_age: self.policy.max_age() },
            Audience::Desktop => Batching::Incident { max_age: self.policy.max_age() },
            Audience::Programs => Batching::PerChange,
        }
    }
}

/// The next step of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// Nothing is due before this time; `None`: before the next change.
    Nothing { until: Option<Timestamp> },
    /// A notice waits for its next attempt.
    Later { due_at: Timestamp },
    /// Send this notice.
    Message(Attempt),
}

/// Does what is due on a channel, and sends at most one notice. `jitter` is a random number in `0.0..1.0`.
/// `clock` is read before and after sending, which may take as long as the channel's timeout.
pub async fn once(
    store: &Store,
    receiver: &mut Receiver,
    jitter: f64,
    clock: &dyn Fn() -> Timestamp,
) -> rusqlite::Result<Round> {
    if let Some(round) = record_outcome(store, receiver).await? {
        return Ok(round);
    }
    let now = clock();
    let mut begun = begin(store, receiver, jitter, now, false).await?;
    if matches!(begun, Begun::Later { .. }) && is_back(&mut receiver.channel, now).await {
        begun = begin(store, receiver, jitter, clock(), true).await?;
    }
    let until = match begun {
        Begun::Nothing { until } => until,
        Begun::Later { due_at } => {
            receiver.channel.reachability.probe_at(clock()).into_iter().chain([due_at]).min()
        }
        Begun::Message(attempt) => {
            let answer = receiver.channel.send(&notice(&attempt)).await;
            let now = clock();
            receiver.channel.reachability.tried(&answer, now);
            let settled = settled(&attempt, &answer, jitter, now);
            let round = Round::Tried { key: attempt.frozen.key, attempt: attempt.number, answer };
            receiver.unrecorded =
                Some(Outcome { notice_id: attempt.notice_id, settled, at: now, round: round.clone() });
            record_outcome(store, receiver).await?;
            return Ok(round);
        }
    };
    let refresh = sync_state(store, receiver, clock()).await?;
    let kept = alarms::keep(store, receiver, clock()).await?;
    Ok(Round::Idle { until: until.into_iter().chain(refresh).chain(kept).min() })
}

/// Records the outcome of the newest attempt if that was not possible before, and returns it. On an error
/// the outcome is kept, because a notice with a known outcome must not be sent again.
async fn record_outcome(store: &Store, receiver: &mut Receiver) -> rusqlite::Result<Option<Round>> {
    if let Some(Outcome { notice_id, settled, at, .. }) = &receiver.unrecorded {
        store.settle(*notice_id, settled, *at).await?;
    }
    Ok(receiver.unrecorded.take().map(|outcome| outcome.round))
}

/// Composes the notice that is due and records the attempt: the first half of [`once`]. The caller sends
/// and settles. `early`: a notice that waits for its next attempt is due now.
pub async fn begin(
    store: &Store,
    receiver: &Receiver,
    jitter: f64,
    now: Timestamp,
    early: bool,
) -> rusqlite::Result<Begun> {
    let snooze = store.snoozed().await?;
    if let Some(until) = held_until(receiver, snooze, now) {
        return Ok(Begun::Nothing { until: Some(until) });
    }
    let name = receiver.channel.name().to_owned();
    let gather = receiver.gather();
    match store.due_at(&name, gather, LONGEST_WAIT_S, now).await? {
        None => return Ok(Begun::Nothing { until: None }),
        Some(due_at) if due_at > now && !early => return Ok(Begun::Later { due_at }),
        Some(_) => {}
    }
    let lasting = lasting(store, receiver, now).await?;
    let compose = |waiting: &Waiting| frozen(receiver, waiting, lasting.as_deref(), snooze, now);
    let next = |number| later(now, retry_after_s(number, None), jitter);
    Ok(match store.begin(&name, gather, &compose, &next, now).await? {
        Some(attempt) => Begun::Message(attempt),
        None => Begun::Nothing { until: None },
    })
}

/// Until when nothing is said on this channel. People can snooze; programs do not listen at night
/// only where they have quiet hours of their own.
fn held_until(receiver: &Receiver, snooze: Option<Snooze>, now: Timestamp) -> Option<Timestamp> {
    let snoozed = snooze
        .filter(|snooze| snooze.covers(now) && receiver.channel.audience().is_people())
        .map(|snooze| snooze.until);
    receiver.policy.quiet_until(now).max(snoozed)
}

/// Whether somebody whom the newest try did not reach is there again.
async fn is_back(channel: &mut Channel, now: Timestamp) -> bool {
    if channel.reachability.probe_at(now).is_none_or(|probe_at| probe_at > now) {
        return false;
    }
    let is_answered = channel.is_reachable().await;
    channel.reachability.probed(is_answered, now)
}

/// Shows a channel that shows a state how things are, if that is news to it or it is time again;
/// when it is time the next time. Level-triggered: what failed is made good by the next snapshot.
async fn sync_state(
    store: &Store,
    receiver: &mut Receiver,
    now: Timestamp,
) -> rusqlite::Result<Option<Timestamp>> {
    let Some(every) = receiver.channel.refresh_every() else { return Ok(None) };
    let snapshot = snapshot(store, receiver).await?;
    yield_now().await;
    let is_news = receiver.sync_state.shown.as_ref() != Some(&snapshot) && !receiver.sync_state.is_failing;
    let every = SignedDuration::try_from(every).unwrap_or(SignedDuration::MAX);
    if let Some(due_at) =
        receiver.sync_state.due_at.filter(|due_at| is_ahead(*due_at, every, now) && !is_news)
    {
        return Ok(Some(due_at));
    }
    let answer = receiver.channel.sync_state(&snapshot).await;
    let is_failing = !matches!(answer, SendOutcome::Delivered { .. });
    if is_failing && !receiver.sync_state.is_failing {
        tracing::warn!("{}: cannot show the state, retrying: {}", receiver.channel.name(), answer.words());
    }
    if receiver.sync_state.is_failing && !is_failing {
        tracing::info!("{}: the state is shown again", receiver.channel.name());
    }
    let wait = if is_failing { SignedDuration::from_secs(REFLECT_RETRY_S) } else { every };
    let due_at = now.checked_add(wait).ok();
    receiver.sync_state = Mirror { shown: (!is_failing).then_some(snapshot), due_at, is_failing };
    Ok(due_at)
}

/// Whether what comes `every` so often is not due yet. Further ahead than that it is due: the clock was
/// set back, and what is shown would run out meanwhile.
fn is_ahead(due_at: Timestamp, every: SignedDuration, now: Timestamp) -> bool {
    (SignedDuration::from_nanos(1)..=every).contains(&due_at.duration_since(now))
}

/// How what the channel hears of stands; a start that it has not been told of is left out.
async fn snapshot(store: &Store, receiver: &Receiver) -> rusqlite::Result<Snapshot> {
    let mut outages: BTreeMap<ServiceKey, Vec<Outage>> = BTreeMap::new();
    for outage in store.standing(&receiver.feed, receiver.channel.name()).await? {
        outages.entry(ServiceKey::new(&outage.service)).or_default().push(outage);
    }
    let (health, services) = store.listed(&receiver.feed).await?;
    let standing = |(key, service): (ServiceKey, Service)| ServiceState {
        is_listed: matches!(service.listed, Listed::Yes | Listed::Missing(_)),
        outages: outages.remove(&key).unwrap_or_default(),
        service: service.name,
    };
    let services = services.into_iter().filter(|(key, _)| receiver.wants(key)).map(standing).collect();
    Ok(Snapshot { feed: receiver.feed.clone(), health, services })
}

/// What goes on and was told; for digests. `None` where nobody has looked lately: it may be over.
async fn lasting(
    store: &Store,
    receiver: &Receiver,
    now: Timestamp,
) -> rusqlite::Result<Option<Vec<Outage>>> {
    if receiver.channel.audience() == Audience::Programs {
        return Ok(None);
    }
    let read = store.last_readable(&receiver.feed).await?;
    if read.is_none_or(|read| now.duration_since(read) > READ_LATELY) {
        return Ok(None);
    }
    let mut lasting = store.lasting(&receiver.feed, receiver.channel.name()).await?;
    lasting.retain(|outage| receiver.wants(&ServiceKey::new(&outage.service)));
    Ok(Some(lasting))
}

/// What will be said, from now on unchangeable.
fn frozen(
    receiver: &Receiver,
    waiting: &Waiting,
    lasting: Option<&[Outage]>,
    snooze: Option<Snooze>,
    now: Timestamp,
) -> RenderedNotice {
    let said = RenderContext { now, zone: &receiver.zone, is_drill: receiver.is_drill };
    let changes = &waiting.changes;
    // Each change is in one message of a channel only, so its key is the message's.
    let key = changes.first().map(Change::key).unwrap_or_default();
    let context = context(receiver, waiting, lasting, snooze);
    let message = compose(changes, &context, &said);
    let template = &receiver.policy.template;
    let (message, is_reworded) = match template.reword(message, changes, &said) {
        Ok(message) => (message, template.has_title()),
        Err((ours, error)) => {
            let channel = receiver.channel.name();
            tracing::error!("{channel}: cannot render the template, sending the built-in text: {error}");
            (ours, false)
        }
    };
    match (receiver.channel.audience(), changes.as_slice()) {
        (Audience::Programs, [change, ..]) => {
            let title = if is_reworded { message.title } else { line(change, &said) };
            let payload = payload::worded(change, &title, &said).to_string();
            RenderedNotice {
                key,
                title,
                body: String::new(),
                severity: phrases::severity(change.kind),
                payload,
            }
        }
        (Audience::People | Audience::Desktop | Audience::Programs, _) => RenderedNotice {
            key,
            title: message.title,
            body: message.body,
            severity: message.severity,
            payload: String::new(),
        },
    }
}

/// What the message says beside its news: on a desktop about the same incident, elsewhere, where it
/// comes late, about all that goes on.
fn context(
    receiver: &Receiver,
    waiting: &Waiting,
    lasting: Option<&[Outage]>,
    snooze: Option<Snooze>,
) -> Context {
    let is_late = waiting.is_anew || was_held(receiver, snooze, waiting.since);
    let digest =
        is_late.then(|| Digest { since: waiting.since, lasting: lasting.unwrap_or_default().to_vec() });
    let form = match receiver.channel.audience() {
        Audience::Desktop => Form::Compact,
        Audience::People | Audience::Programs => Form::Full,
    };
    let is_known = |outage: &&Outage| {
        let goes_on = matches!(outage.phase, Phase::Ongoing(_));
        receiver.wants(&ServiceKey::new(&outage.service)) && (!goes_on || lasting.is_some())
    };
    let others = waiting.others.iter().filter(is_known).cloned().collect();
    Context { form, digest, others, more: waiting.more }
}

/// Whether what waits since then was held back by quiet hours or a snooze.
fn was_held(receiver: &Receiver, snooze: Option<Snooze>, since: Timestamp) -> bool {
    let is_snoozed = snooze.is_some_and(|snooze| snooze.covers(since));
    is_snoozed || receiver.policy.quiet_until(since).is_some()
}

/// What a channel is given of a try.
pub fn notice(attempt: &Attempt) -> Notice {
    let RenderedNotice { key, title, body, severity, payload } = attempt.frozen.clone();
    let (replaces, follows) = (attempt.replaces.clone(), attempt.follows.clone());
    Notice { key, title, body, severity, payload, replaces, follows }
}

/// What an answer means for the deliveries behind it.
fn settled(attempt: &Attempt, answer: &SendOutcome, jitter: f64, now: Timestamp) -> Settled {
    match answer {
        SendOutcome::Delivered { receipt, words } => {
            Settled::Sent { receipt: receipt.clone(), words: words.clone() }
        }
        SendOutcome::Permanent { words } => Settled::GivenUp { words: words.clone() },
        SendOutcome::Unclear { words } if attempt.unclear + 1 >= UNCLEAR_TRIES => Settled::GivenUp {
            words: format!(
                "given up after {UNCLEAR_TRIES} unclear answers; the message may have arrived: {words}"
            ),
        },
        SendOutcome::Unclear { words } => Settled::Later {
            due_at: later(now, retry_after_s(attempt.number, None), jitter),
            unfreeze: false,
            is_unclear: true,
            words: words.clone(),
        },
        SendOutcome::Transient { words, .. }
            if attempt.number >= GIVE_UP_TRIES
                && now.duration_since(attempt.waiting_since) > GIVE_UP_AFTER =>
        {
            let before = now.checked_sub(GIVE_UP_AFTER).unwrap_or(Timestamp::MIN);
            Settled::Expired { before, words: format!("given up after 30 days; last answer: {words}") }
        }
        SendOutcome::Transient { after_s, reached, words } => Settled::Later {
            due_at: later(now, retry_after_s(attempt.number, *after_s), jitter),
            // A message that nobody saw may say tomorrow what is true tomorrow.
            unfreeze: !reached && attempt.is_fresh,
            is_unclear: false,
            words: words.clone(),
        },
    }
}

/// Seconds until the next try: the table's, or the peer's wish where that is longer.
fn retry_after_s(number: u32, wish_s: Option<u64>) -> i64 {
    let step = usize::try_from(number.saturating_sub(1)).unwrap_or(usize::MAX).min(RETRY_TABLE_S.len() - 1);
    let wish_s = wish_s.map_or(0, |seconds| i64::try_from(seconds).unwrap_or(i64::MAX));
    RETRY_TABLE_S[step].max(wish_s.min(RETRY_AFTER_CAP_S))
}

fn later(now: Timestamp, seconds: i64, jitter: f64) -> Timestamp {
    let jitter_s = (seconds as f64 * JITTER_SHARE * jitter) as i64;
    now.checked_add(SignedDuration::from_secs(seconds + jitter_s)).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Severity;

    #[test]
    fn giving_up_takes_both_a_month_and_a_thousand_tries() {
        let settled_after = |days: i64, number: u32| {
            let frozen = RenderedNotice {
                key: String::new(),
                title: String::new(),
                body: String::new(),
                severity: Severity::Info,
                payload: String::new(),
            };
            let attempt = Attempt {
                notice_id: 1,
                number,
                frozen,
                replaces: None,
                follows: None,
                waiting_since: Timestamp::UNIX_EPOCH,
                is_fresh: true,
                unclear: 0,
            };
            let answer = SendOutcome::Transient { after_s: None, reached: true, words: "503".to_owned() };
            let now = Timestamp::from_second(days * 86_400 + 1).expect("a time");
            matches!(settled(&attempt, &answer, 0.0, now), Settled::Expired { .. })
        };
        assert!(settled_after(30, GIVE_UP_TRIES));
        assert!(!settled_after(29, u32::MAX));
        assert!(!settled_after(10_000, GIVE_UP_TRIES - 1));
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_keep_a_state_from_being_shown_again() {
        let (now, minute) = (Timestamp::UNIX_EPOCH, SignedDuration::from_secs(60));
        let is_ahead = |s: i64| is_ahead(now + SignedDuration::from_secs(s), minute, now);
        assert!(is_ahead(1) && is_ahead(60));
        assert!(!is_ahead(0) && !is_ahead(-1) && !is_ahead(61) && !is_ahead(365 * 86_400));
    }

    #[test]
    fn tries_get_rarer_and_obey_the_peer_within_bounds() {
        let waits: Vec<i64> = (1..=14).map(|number| retry_after_s(number, None)).collect();
        assert_eq!(waits, [5, 15, 30, 60, 120, 300, 600, 600, 600, 600, 600, 330, 330, 330]);
        assert_eq!(retry_after_s(1, Some(90)), 90);
        assert_eq!(retry_after_s(12, Some(1)), 330);
        assert_eq!(retry_after_s(1, Some(u64::MAX)), RETRY_AFTER_CAP_S);
        assert_eq!(retry_after_s(u32::MAX, None), 330);
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(later(now, 100, 0.0).as_second(), 100);
        assert_eq!(later(now, 100, 0.999).as_second(), 119);
    }
}
