//! Reads the clocks and detects suspend and clock changes.
//!
//! The only module that reads a clock. tokio's timers stop during suspend, so a wait also ends when the
//! kernel reports a jump of the wall clock (Linux), or is cut into short slices (elsewhere). The kernel may
//! not report a jump, so no slice of a wait is longer than [`COMPARE_EVERY`] (`daemon::wait`).

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// The minimum difference that counts. Smaller ones are drift, or a loaded machine.
const NOTICEABLE: SignedDuration = SignedDuration::from_secs(5);
/// The longest slice if the kernel does not report jumps, so that waking is detected in time.
const SLICE: Duration = Duration::from_secs(5);

/// The maximum time between two comparisons of the clocks during a wait. The kernel may not report a jump
/// (sandboxes, clocks set by a library), and a clock that is set back must not stop the polls.
pub const COMPARE_EVERY: Duration = Duration::from_secs(15 * 60);

/// Returns the current time in whole seconds, like all stored times.
pub fn now() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Returns the time of the monotonic clock, which stops during suspend like tokio's timers.
pub fn monotonic_now() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

/// The time of all clocks at one moment.
#[derive(Clone, Copy, Debug)]
pub struct ClockReading {
    /// The wall clock, which may be set.
    pub wall: Timestamp,
    /// Stops during suspend.
    pub awake: Instant,
    /// Includes suspend; `None` if the system has no such clock.
    pub always: Option<Duration>,
}

/// The difference between two readings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Elapsed {
    pub awake_s: u64,
    /// The machine was suspended for longer than the tolerance.
    pub slept: bool,
    /// The amount by which the wall clock was set, if above the tolerance.
    pub set_by: Option<SignedDuration>,
}

impl ClockReading {
    pub fn take() -> ClockReading {
        ClockReading { wall: Timestamp::now(), awake: Instant::now(), always: always() }
    }

    /// Returns the difference from `self` to `later`.
    pub fn until(&self, later: &ClockReading) -> Elapsed {
        let awake = later.awake.saturating_duration_since(self.awake);
        let wall = later.wall.duration_since(self.wall);
        elapsed(awake, wall, self.always.zip(later.always).map(|(from, to)| to.saturating_sub(from)))
    }
}

fn elapsed(awake: Duration, wall: SignedDuration, always: Option<Duration>) -> Elapsed {
    let signed = |duration| SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    let beyond = wall.saturating_sub(signed(awake));
    let (slept, set_by) = match always {
        Some(always) => (signed(always).saturating_sub(signed(awake)), wall.saturating_sub(signed(always))),
        // Without that clock, extra wall time counts as suspend, and missing wall time as a clock change.
        None => (beyond.max(SignedDuration::ZERO), beyond.min(SignedDuration::ZERO)),
    };
    Elapsed {
        awake_s: awake.as_secs(),
        slept: slept > NOTICEABLE,
        set_by: (set_by.abs() > NOTICEABLE).then_some(set_by),
    }
}

#[cfg(target_os = "linux")]
fn always() -> Option<Duration> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Some(Duration::new(u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?))
}

#[cfg(not(target_os = "linux"))]
fn always() -> Option<Duration> {
    None
}

/// Detects jumps of the wall clock: after a suspend, and when the clock is set.
pub struct ClockJumps {
    #[cfg(target_os = "linux")]
    timer: Option<tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>>,
}

#[cfg(target_os = "linux")]
impl ClockJumps {
    /// Starts watching. Call within the runtime.
    pub fn watch() -> ClockJumps {
        ClockJumps { timer: timer().ok() }
    }

    /// Returns after the next jump, or after a slice without a report.
    pub async fn next(&self) {
        let Some(timer) = &self.timer else { return tokio::time::sleep(SLICE).await };
        match timer.readable().await {
            Ok(mut ready) => {
                // ECANCELED reports a jump, and the timer expires only in the far future. Both need a
                // new timer.
                let mut buffer = [0; 8];
                let _ = rustix::io::read(timer, &mut buffer);
                ready.clear_ready();
                let _ = arm(timer);
            }
            Err(_) => tokio::time::sleep(SLICE).await,
        }
    }
}

#[cfg(target_os = "linux")]
#[expect(
    deprecated,
    reason = "its replacement is unsafe to call, for descriptors worse behaved than an OwnedFd"
)]
fn timer() -> std::io::Result<tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>> {
    use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};
    let timer = timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
    arm(&timer)?;
    tokio::io::unix::AsyncFd::new(timer)
}

/// Arms the timer so that it never expires but is cancelled when the real-time clock jumps.
#[cfg(target_os = "linux")]
fn arm(timer: impl std::os::fd::AsFd) -> std::io::Result<()> {
    use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};
    let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
    let never = Itimerspec { it_interval: zero, it_value: Timespec { tv_sec: i64::MAX / 2, ..zero } };
    timerfd_settime(timer, TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET, &never)?;
    Ok(())
}

#[cfg(not(target_os = "linux"))]
impl ClockJumps {
    pub fn watch() -> ClockJumps {
        ClockJumps {}
    }

    pub async fn next(&self) {
        tokio::time::sleep(SLICE).await;
    }
}

/// Returns the time from now until `due`; zero if that is past.
pub fn time_until(due: Timestamp) -> Duration {
    between(Timestamp::now(), due)
}

/// Returns the time from `now` until `due`; zero if that is past.
pub fn between(now: Timestamp, due: Timestamp) -> Duration {
    Duration::try_from(due.duration_since(now)).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_S: i64 = 3_600;
    const YEARS_S: i64 = 5 * 365 * 24 * HOUR_S;

    #[track_caller]
    fn check(awake_s: u64, wall_s: i64, always_s: Option<u64>, slept: bool, set_by_s: Option<i64>) {
        let elapsed = elapsed(
            Duration::from_secs(awake_s),
            SignedDuration::from_secs(wall_s),
            always_s.map(Duration::from_secs),
        );
        let expected = Elapsed { awake_s, slept, set_by: set_by_s.map(SignedDuration::from_secs) };
        assert_eq!(elapsed, expected);
    }

    #[test]
    fn suspend_and_clock_changes_are_distinguished() {
        check(300, 300, Some(300), false, None);
        check(300, 302, Some(301), false, None);
        check(300, 300 + HOUR_S, Some(300 + 3_600), true, None);
        check(300, 300 + YEARS_S, Some(300), false, Some(YEARS_S));
        check(300, 300 - YEARS_S, Some(300), false, Some(-YEARS_S));
        check(300, 300 + HOUR_S + YEARS_S, Some(300 + 3_600), true, Some(YEARS_S));
    }

    #[test]
    fn without_the_boot_clock_extra_time_counts_as_suspend() {
        check(300, 300, None, false, None);
        check(300, 300 + HOUR_S, None, true, None);
        check(300, 300 - HOUR_S, None, false, Some(-HOUR_S));
    }
}
