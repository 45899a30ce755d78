//! The time of the next poll: by schedule, for a confirmation, or after a failure with back-off.
//!
//! Pure: time, state and jitter are arguments, so that the daemon and a replay plan alike.

use jiff::{SignedDuration, Timestamp};

use crate::schedule::{Schedule, backoff_s};

/// Time after which a change that was seen once is polled again to confirm it.
pub const CONFIRM_AFTER_S: i64 = 45;
/// Delay of the first poll after waking, because the network needs some time. It must come within 10 s.
pub const AFTER_WAKING_S: i64 = 3;
const BACKOFF_FIRST_S: u64 = 30;
/// The interval of the default schedule, so that a recovery is noticed as fast as usual.
const BACKOFF_CAP_S: u64 = 300;
const RETRY_AFTER_CAP_S: u64 = 3_600;
/// Used if a schedule yields no time, which `schedule` rejects, so that polling never stops.
const FALLBACK_S: i64 = 300;

/// The two schedules of a poller.
#[derive(Clone, Debug)]
pub struct Plan {
    pub poll: Schedule,
    /// Used while a watched service has an outage or a running maintenance.
    pub trouble: Schedule,
    /// Seconds added to each scheduled time, constant on one machine, to spread the load of many.
    pub jitter_s: u64,
}

/// The facts about a poll that determine the next one.
#[derive(Clone, Debug, PartialEq)]
pub enum PollResult {
    Succeeded {
        has_trouble: bool,
        /// When the oldest unconfirmed change was first seen.
        unconfirmed_since: Option<Timestamp>,
    },
    Failed {
        /// Failures in a row, from 1.
        failures: u32,
        /// `Retry-After` of the response.
        retry_after_s: Option<u64>,
        /// A random number in `0.0..1.0`.
        jitter: f64,
    },
}

/// Returns the time of the next poll, later than `now`.
pub fn next_poll(plan: &Plan, poll_result: &PollResult, now: Timestamp) -> Timestamp {
    match poll_result {
        PollResult::Failed { failures, retry_after_s, jitter } => {
            let backoff_s = backoff_s(*failures, BACKOFF_FIRST_S, BACKOFF_CAP_S, *jitter);
            let requested_s = retry_after_s.unwrap_or(0).min(RETRY_AFTER_CAP_S);
            after(now, i64::try_from(backoff_s.max(requested_s)).unwrap_or(FALLBACK_S))
        }
        PollResult::Succeeded { has_trouble, unconfirmed_since } => {
            let schedule = if *has_trouble { &plan.trouble } else { &plan.poll };
            let scheduled = scheduled(schedule, plan.jitter_s, now);
            match unconfirmed_since {
                Some(since) => {
                    let confirm = after(*since, CONFIRM_AFTER_S);
                    // If the clock was set ahead, an overdue confirmation must not cause a busy loop.
                    let confirm = if confirm <= now { after(now, CONFIRM_AFTER_S) } else { confirm };
                    scheduled.min(confirm)
                }
                None => scheduled,
            }
        }
    }
}

fn scheduled(schedule: &Schedule, jitter_s: u64, now: Timestamp) -> Timestamp {
    let jitter = SignedDuration::from_secs(i64::try_from(jitter_s).unwrap_or(0));
    now.checked_sub(jitter)
        .ok()
        .and_then(|shifted| schedule.next_after(shifted))
        .and_then(|slot| slot.checked_add(jitter).ok())
        .unwrap_or_else(|| after(now, FALLBACK_S))
}

fn after(time: Timestamp, seconds: i64) -> Timestamp {
    time.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz::TimeZone;

    fn plan(jitter_s: u64) -> Plan {
        let schedule = |text| Schedule::parse(text, &TimeZone::UTC).expect("a schedule");
        Plan { poll: schedule("*/5 * * * *"), trouble: schedule("* * * * *"), jitter_s }
    }

    #[track_caller]
    fn check(jitter_s: u64, poll_result: PollResult, expected: &str) {
        let now: Timestamp = "2026-01-01T12:01:10Z".parse().expect("a time");
        let next = next_poll(&plan(jitter_s), &poll_result, now).to_string();
        assert_eq!(next, format!("2026-01-01T{expected}Z"), "{poll_result:?}");
    }

    fn seen(has_trouble: bool, since: Option<&str>) -> PollResult {
        let unconfirmed_since = since.map(|time| format!("2026-01-01T{time}Z").parse().expect("a time"));
        PollResult::Succeeded { has_trouble, unconfirmed_since }
    }

    fn failed(failures: u32, retry_after_s: Option<u64>) -> PollResult {
        PollResult::Failed { failures, retry_after_s, jitter: 0.5 }
    }

    #[test]
    fn outages_use_their_own_schedule() {
        check(0, seen(false, None), "12:05:00");
        check(0, seen(true, None), "12:02:00");
        check(20, seen(false, None), "12:05:20");
        check(20, seen(true, None), "12:01:20");
    }

    #[test]
    fn a_confirmation_comes_after_45_s() {
        check(0, seen(false, Some("12:01:10")), "12:01:55");
        check(0, seen(true, Some("12:01:30")), "12:02:00");
        check(0, seen(false, Some("11:00:00")), "12:01:55");
    }

    #[test]
    fn failures_back_off_and_respect_retry_after_up_to_an_hour() {
        check(0, failed(1, None), "12:01:40");
        check(0, failed(3, None), "12:03:10");
        check(0, failed(30, None), "12:06:10");
        check(0, failed(1, Some(120)), "12:03:10");
        check(0, failed(1, Some(u64::MAX)), "13:01:10");
    }
}
