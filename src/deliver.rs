//! One round of delivery for one channel: begin → send → finish.
//!
//! The next try is written down before this one is sent, as if this one will fail, and no
//! transaction is open while sending: a kill at any moment loses nothing and repeats at most the
//! one message in flight, with the same key and the same bytes.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::channel::{Answer, Audience, Channel, Notice};
use crate::json;
use crate::message::{Said, compose, line, words};
use crate::model::Change;
use crate::store::{Attempt, Frozen, Settled, Store};

/// Waits after the first, second … try; the last one from then on: twelve tries an hour.
const RETRY_TABLE_S: [i64; 6] = [5, 15, 30, 60, 120, 300];
/// What a peer may ask for with `Retry-After`.
const RETRY_AFTER_CAP_S: i64 = 3_600;
/// Up to a fifth is added by the dice, so that a fleet does not come back as one.
const JITTER_SHARE: f64 = 0.2;
/// A channel that is dead for so long, through so many tries, will not be waited for any more. The
/// one alone could be a machine that was off, or a clock that was set.
const GIVE_UP_AFTER: SignedDuration = SignedDuration::from_hours(30 * 24);
const GIVE_UP_TRIES: u32 = 1_000;
/// Nothing is ever due further ahead than this, unless the clock was set back.
const LONGEST_WAIT_S: i64 = RETRY_AFTER_CAP_S + RETRY_AFTER_CAP_S / 5;

/// What a round came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Round {
    /// Nothing to do before this time; `None`: before something new happens.
    Idle { until: Option<Timestamp> },
    /// One message was tried.
    Tried { key: String, attempt: u32, answer: Answer },
}

/// Does what is due on a channel, at most one message. `roll` is a throw of the dice in `0.0..1.0`;
/// `clock` is read before and after sending, which may take as long as the channel's deadline.
pub async fn once(
    store: &Store,
    channel: &mut Channel,
    zone: &TimeZone,
    roll: f64,
    clock: &dyn Fn() -> Timestamp,
) -> rusqlite::Result<Round> {
    let now = clock();
    let name = channel.name().to_owned();
    match store.due_at(&name, LONGEST_WAIT_S, now).await? {
        Some(due) if due <= now => {}
        until => return Ok(Round::Idle { until }),
    }
    let audience = channel.audience();
    let compose = |changes: &[Change]| frozen(audience, changes, &Said { now, zone });
    let next = |number| later(now, retry_after_s(number, None), roll);
    let all = audience == Audience::People;
    let Some(attempt) = store.begin(&name, all, &compose, &next, now).await? else {
        return Ok(Round::Idle { until: None });
    };
    let answer = channel.send(&notice(&attempt)).await;
    let now = clock();
    store.settle(attempt.notice_id, &settled(&attempt, &answer, roll, now), now).await?;
    Ok(Round::Tried { key: attempt.frozen.key, attempt: attempt.number, answer })
}

/// What will be said, from now on unchangeable.
fn frozen(audience: Audience, changes: &[Change], said: &Said) -> Frozen {
    // Each change is in one message of a channel only, so its key is the message's.
    let key = changes.first().map(Change::key).unwrap_or_default();
    match (audience, changes) {
        (Audience::Programs, [change, ..]) => Frozen {
            key,
            title: line(change, said),
            body: String::new(),
            tone: words::tone(change.kind),
            payload: json::change(change, said).to_string(),
        },
        (Audience::People | Audience::Programs, _) => {
            let message = compose(changes, said);
            let (title, body, tone) = (message.title, message.body, message.tone);
            Frozen { key, title, body, tone, payload: String::new() }
        }
    }
}

fn notice(attempt: &Attempt) -> Notice {
    let Frozen { key, title, body, tone, payload } = attempt.frozen.clone();
    let (replaces, follows) = (attempt.replaces.clone(), attempt.follows.clone());
    Notice { key, title, body, tone, payload, replaces, follows }
}

/// What an answer means for the deliveries behind it.
fn settled(attempt: &Attempt, answer: &Answer, roll: f64, now: Timestamp) -> Settled {
    match answer {
        Answer::Delivered { receipt, words } => {
            Settled::Sent { receipt: receipt.clone(), words: words.clone() }
        }
        Answer::Refused { words } => Settled::GivenUp { words: words.clone() },
        Answer::Retry { words, .. }
            if attempt.number >= GIVE_UP_TRIES
                && now.duration_since(attempt.waiting_since) > GIVE_UP_AFTER =>
        {
            let before = now.checked_sub(GIVE_UP_AFTER).unwrap_or(Timestamp::MIN);
            Settled::Expired { before, words: format!("given up after 30 days; the last answer: {words}") }
        }
        Answer::Retry { after_s, reached, words } => Settled::Later {
            due_at: later(now, retry_after_s(attempt.number, *after_s), roll),
            // A message that nobody saw may say tomorrow what is true tomorrow.
            thaw: !reached && attempt.is_fresh,
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

fn later(now: Timestamp, seconds: i64, roll: f64) -> Timestamp {
    let jitter_s = (seconds as f64 * JITTER_SHARE * roll) as i64;
    now.checked_add(SignedDuration::from_secs(seconds + jitter_s)).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn giving_up_takes_both_a_month_and_a_thousand_tries() {
        let settled_after = |days: i64, number: u32| {
            let frozen =
                frozen(Audience::People, &[], &Said { now: Timestamp::UNIX_EPOCH, zone: &TimeZone::UTC });
            let attempt = Attempt {
                notice_id: 1,
                number,
                frozen,
                replaces: None,
                follows: None,
                waiting_since: Timestamp::UNIX_EPOCH,
                is_fresh: true,
            };
            let answer = Answer::Retry { after_s: None, reached: true, words: "503".to_owned() };
            let now = Timestamp::from_second(days * 86_400 + 1).expect("a time");
            matches!(settled(&attempt, &answer, 0.0, now), Settled::Expired { .. })
        };
        assert!(settled_after(30, GIVE_UP_TRIES));
        assert!(!settled_after(29, u32::MAX));
        assert!(!settled_after(10_000, GIVE_UP_TRIES - 1));
    }

    #[test]
    fn tries_get_rarer_and_obey_the_peer_within_bounds() {
        let waits: Vec<i64> = (1..=8).map(|number| retry_after_s(number, None)).collect();
        assert_eq!(waits, [5, 15, 30, 60, 120, 300, 300, 300]);
        assert_eq!(retry_after_s(1, Some(90)), 90);
        assert_eq!(retry_after_s(6, Some(1)), 300);
        assert_eq!(retry_after_s(1, Some(u64::MAX)), RETRY_AFTER_CAP_S);
        assert_eq!(retry_after_s(u32::MAX, None), 300);
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(later(now, 100, 0.0).as_second(), 100);
        assert_eq!(later(now, 100, 0.999).as_second(), 119);
    }
}
