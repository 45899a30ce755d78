//! Waits for a time of the wall clock, across suspend and clock changes.
//!
//! A wait ends once, no matter how many scheduled times were missed. It also ends after a clock change
//! that the kernel does not report.

use jiff::Timestamp;
use tokio::time::sleep;

use crate::clock::{COMPARE_EVERY, ClockReading, Elapsed, between};
use crate::daemon::poller::Poller;

/// Waits until `next`, or until shortly after a suspend or a clock change.
///
/// `jumped` returns when the clock may have jumped. `read` reads the clocks.
pub(super) async fn wait(
    since: &ClockReading,
    mut next: Timestamp,
    jumped: impl AsyncFn(),
    read: impl Fn() -> ClockReading,
) -> Elapsed {
    let mut has_jumped = false;
    loop {
        tokio::select! {
            () = sleep(between(read().wall, next).min(COMPARE_EVERY)) => {}
            () = jumped() => {}
        }
        let reading = read();
        let elapsed = since.until(&reading);
        let soon = Poller::after_jump(reading.wall);
        if has_jumped {
            // The clock may have been set back again, so the first `soon` may be years ahead.
            next = next.min(soon);
        } else if elapsed.slept || elapsed.set_by.is_some() {
            has_jumped = true;
            next = soon;
        }
        // The timer and the wall clock may differ by a second.
        if reading.wall >= next {
            return elapsed;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::pending;
    use std::time::Duration;

    use jiff::SignedDuration;
    use tokio::time::Instant;

    use super::*;

    const MINUTE_S: i64 = 60;
    const HOUR_S: i64 = 60 * MINUTE_S;
    const YEAR_S: i64 = 365 * 24 * HOUR_S;

    /// Waits `planned_s` on a wall clock that is set by `set_by_s` after a minute. The kernel reports the
    /// change if `is_reported`. Returns the duration, and true if the change was detected.
    async fn waited(planned_s: i64, set_by_s: i64, is_reported: bool) -> (i64, bool) {
        let start = Instant::now();
        let wall = Timestamp::from_second(1_777_975_200).expect("a time");
        let read = || {
            let elapsed = start.elapsed();
            let set_by = if elapsed >= Duration::from_secs(60) { set_by_s } else { 0 };
            let shift = SignedDuration::try_from(elapsed).expect("short") + SignedDuration::from_secs(set_by);
            ClockReading { wall: wall + shift, awake: Instant::now(), always: Some(elapsed) }
        };
        let is_over = Cell::new(false);
        let jumped = async || {
            if !is_reported || is_over.get() {
                pending::<()>().await;
            }
            sleep(Duration::from_secs(60).saturating_sub(start.elapsed())).await;
            is_over.set(true);
        };
        let next = wall + SignedDuration::from_secs(planned_s);
        let elapsed = wait(&read(), next, jumped, read).await;
        (i64::try_from(start.elapsed().as_secs()).expect("short"), elapsed.set_by.is_some())
    }

    #[track_caller]
    fn check((waited_s, is_set): (i64, bool), least_s: i64, most_s: i64, was_set: bool) {
        assert!((least_s..=most_s).contains(&waited_s), "{waited_s} s, not {least_s} to {most_s}");
        assert_eq!(is_set, was_set);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_without_a_clock_change_is_exact() {
        for planned_s in [0, 1, 5 * MINUTE_S, 15 * MINUTE_S, 12 * HOUR_S, YEAR_S] {
            check(waited(planned_s, 0, false).await, planned_s, planned_s, false);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_unreported_clock_change_delays_a_poll_by_at_most_15_minutes() {
        let latest_s = 15 * MINUTE_S + 4;
        for set_by_s in [-10 * YEAR_S, -YEAR_S, -HOUR_S, HOUR_S, YEAR_S, 10 * YEAR_S] {
            for planned_s in [5 * MINUTE_S, HOUR_S, YEAR_S / 2] {
                let waited = waited(planned_s, set_by_s, false).await;
                check(waited, MINUTE_S, planned_s.min(15 * MINUTE_S) + 4, true);
                assert!(waited.0 <= latest_s);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_reported_clock_change_is_detected_at_once() {
        for set_by_s in [-10 * YEAR_S, -HOUR_S, HOUR_S, 10 * YEAR_S] {
            for planned_s in [5 * MINUTE_S, HOUR_S, YEAR_S / 2] {
                check(waited(planned_s, set_by_s, true).await, MINUTE_S + 2, MINUTE_S + 4, true);
            }
        }
    }
}
