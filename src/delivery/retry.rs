//! The retry rule: what the outcome of an attempt means for its deliveries, and when the next one is due.
//!
//! Pure: the time and the jitter are arguments.

use jiff::{SignedDuration, Timestamp};

use crate::channel::SendOutcome;
use crate::store::{Attempt, Settled};

/// Waits after the first, second … attempt; the last one repeats. Twelve attempts in the first hour, most
/// of them early, and fewer in any later hour. Unreachable channels are probed between attempts.
const RETRY_TABLE_S: [i64; 12] = [5, 15, 30, 60, 120, 300, 600, 600, 600, 600, 600, 330];
/// The longest accepted `Retry-After`.
const RETRY_AFTER_CAP_S: i64 = 3_600;
/// Jitter adds up to a fifth, so that many daemons do not retry at the same moment.
const JITTER_SHARE: f64 = 0.2;
/// Deliveries are given up after both limits. Age alone may be a machine that was off, or a clock that
/// was set.
const GIVE_UP_AFTER: SignedDuration = SignedDuration::from_hours(30 * 24);
const GIVE_UP_ATTEMPTS: u32 = 1_000;
/// Each attempt with an unclear answer may be a repeat.
const UNCLEAR_ATTEMPTS: u32 = 3;
/// The maximum time until any attempt, unless the clock was set back.
pub(super) const LONGEST_WAIT_S: i64 = RETRY_AFTER_CAP_S + RETRY_AFTER_CAP_S / 5;

/// Returns what the outcome means for the deliveries of the notice.
pub(super) fn settled(attempt: &Attempt, outcome: &SendOutcome, jitter: f64, now: Timestamp) -> Settled {
    match outcome {
        SendOutcome::Delivered { receipt, detail } => {
            Settled::Sent { receipt: receipt.clone(), detail: detail.clone() }
        }
        SendOutcome::Permanent { detail } => Settled::GivenUp { detail: detail.clone() },
        SendOutcome::Unclear { detail } if attempt.unclear + 1 >= UNCLEAR_ATTEMPTS => Settled::GivenUp {
            detail: format!(
                "given up after {UNCLEAR_ATTEMPTS} unclear answers; the message may have arrived: {detail}"
            ),
        },
        SendOutcome::Unclear { detail } => Settled::Later {
            due_at: next_attempt_at(attempt.number, jitter, now),
            recompose: false,
            is_unclear: true,
            detail: detail.clone(),
        },
        SendOutcome::Transient { detail, .. }
            if attempt.number >= GIVE_UP_ATTEMPTS
                && now.duration_since(attempt.waiting_since) > GIVE_UP_AFTER =>
        {
            let before = now.checked_sub(GIVE_UP_AFTER).unwrap_or(Timestamp::MIN);
            Settled::Expired { before, detail: format!("given up after 30 days; last answer: {detail}") }
        }
        SendOutcome::Transient { after_s, reached, detail } => Settled::Later {
            due_at: later(now, retry_after_s(attempt.number, *after_s), jitter),
            // A notice that never reached the server may still change.
            recompose: !reached && attempt.is_fresh,
            is_unclear: false,
            detail: detail.clone(),
        },
    }
}

/// Returns when the attempt after the given one is due, without a wish of the server.
pub(super) fn next_attempt_at(number: u32, jitter: f64, now: Timestamp) -> Timestamp {
    later(now, retry_after_s(number, None), jitter)
}

/// Returns the seconds until the next attempt: from the table, or `Retry-After` if that is longer.
fn retry_after_s(number: u32, header_s: Option<u64>) -> i64 {
    let step = usize::try_from(number.saturating_sub(1)).unwrap_or(usize::MAX).min(RETRY_TABLE_S.len() - 1);
    let header_s = header_s.map_or(0, |seconds| i64::try_from(seconds).unwrap_or(i64::MAX));
    RETRY_TABLE_S[step].max(header_s.min(RETRY_AFTER_CAP_S))
}

fn later(now: Timestamp, seconds: i64, jitter: f64) -> Timestamp {
    let jitter_s = (seconds as f64 * JITTER_SHARE * jitter) as i64;
    now.checked_add(SignedDuration::from_secs(seconds + jitter_s)).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Severity;
    use crate::store::RenderedNotice;

    #[test]
    fn giving_up_takes_a_month_and_a_thousand_attempts() {
        let settled_after = |days: i64, number: u32| {
            let notice = RenderedNotice {
                key: String::new(),
                title: String::new(),
                body: String::new(),
                severity: Severity::Info,
                payload: String::new(),
            };
            let attempt = Attempt {
                id: 1,
                notice_id: 1,
                number,
                notice,
                replaces: None,
                follows: None,
                waiting_since: Timestamp::UNIX_EPOCH,
                is_fresh: true,
                unclear: 0,
            };
            let outcome = SendOutcome::Transient { after_s: None, reached: true, detail: "503".to_owned() };
            let now = Timestamp::from_second(days * 86_400 + 1).expect("a time");
            matches!(settled(&attempt, &outcome, 0.0, now), Settled::Expired { .. })
        };
        assert!(settled_after(30, GIVE_UP_ATTEMPTS));
        assert!(!settled_after(29, u32::MAX));
        assert!(!settled_after(10_000, GIVE_UP_ATTEMPTS - 1));
    }

    #[test]
    fn retries_back_off_and_obey_retry_after_within_bounds() {
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
