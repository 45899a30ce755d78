//! Pings the service manager while all tasks make progress and the database works.
//!
//! `progress` checks both. The database is only read, so that an idle hour writes nothing. The watchdog
//! runs on the thread of the tasks, so a blocked thread stops the pings. It does not wait for the database,
//! so a slow disk delays no ping.

use std::cell::RefCell;
use std::time::Duration;

use tokio::time::sleep;

use super::progress::{Loops, PingPermit, Progress, StalledTask, check};
use crate::cause::Cause;
use crate::clock;
use crate::config::Environment;

/// Pings per watchdog timeout. Two may be late.
const PINGS: u32 = 3;
/// The maximum time for which the database may fail.
const STORE_TIMEOUT: Duration = Duration::from_secs(300);
/// After a stall, let all tasks run once before checking them again.
const RECHECK: Duration = Duration::from_secs(5);

/// A service manager that expects pings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watchdog {
    every: Duration,
}

impl Watchdog {
    /// Reads `WATCHDOG_USEC` and `WATCHDOG_PID`, see sd_watchdog_enabled(3). Returns `None` if the service
    /// manager expects no pings from this process.
    pub fn of(environment: &Environment<'_>, pid: u32) -> Option<Watchdog> {
        if environment("WATCHDOG_PID").is_some_and(|watched| watched != pid.to_string()) {
            return None;
        }
        let timeout_us: u64 = environment("WATCHDOG_USEC")?.parse().ok()?;
        (timeout_us > 0).then(|| Watchdog { every: Duration::from_micros(timeout_us) / PINGS })
    }

    /// Checks and pings until dropped, also during reloads and while a stop waits for notices in flight.
    /// `read` reads from the database.
    pub async fn run<E: Cause>(
        self,
        loops: Loops,
        read: impl AsyncFn() -> Result<(), E>,
        ping: impl Fn(PingPermit),
    ) {
        let (progress, database) = Progress::new("the database", STORE_TIMEOUT, clock::monotonic_now());
        let failure = RefCell::new(None);
        let reads = async {
            loop {
                // An error counts as no answer, because a restart repairs a damaged file.
                let answer = read().await;
                if answer.is_ok() {
                    progress.working(STORE_TIMEOUT, clock::monotonic_now());
                }
                failure.replace(answer.err());
                sleep(self.every).await;
            }
        };
        let pings = async {
            let mut before = Health::Good;
            loop {
                let mut all = loops.statuses();
                all.push(database.status());
                let health = match check(&all, clock::monotonic_now()) {
                    Ok(permit) => {
                        ping(permit);
                        Health::Good
                    }
                    Err(stalled) => before.after(&stalled),
                };
                health.report(&before, failure.borrow().as_ref());
                let pause = if health == Health::Suspect { self.every.min(RECHECK) } else { self.every };
                before = health;
                sleep(pause).await;
            }
        };
        tokio::join!(reads, pings);
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Health {
    Good,
    /// A task seems to be stalled. The next check decides.
    Suspect,
    /// The stalled tasks, for the log.
    Stalled(String),
}

impl Health {
    fn after(&self, stalled: &[StalledTask]) -> Health {
        match self {
            Health::Good => Health::Suspect,
            Health::Suspect | Health::Stalled(_) => {
                Health::Stalled(stalled.iter().map(StalledTask::to_string).collect::<Vec<_>>().join("; "))
            }
        }
    }

    /// Logs the stalled tasks once, before the service manager kills the daemon.
    fn report(&self, before: &Health, error: Option<&impl Cause>) {
        match (before, self) {
            (Health::Good | Health::Suspect, Health::Stalled(tasks)) => {
                let error = error.map(|error| format!(": {}", error.reason())).unwrap_or_default();
                tracing::error!("stalled, so the service manager will restart statusd: {tasks}{error}");
            }
            (Health::Stalled(_), Health::Good) => tracing::warn!("no longer stalled"),
            (_, Health::Good | Health::Suspect | Health::Stalled(_)) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::time::{Instant, timeout};

    use super::*;

    #[track_caller]
    fn check(variables: &[(&str, &str)], expected_s: Option<u64>) {
        let environment = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        let every = Watchdog::of(&environment, 42).map(|watchdog| watchdog.every.as_secs());
        assert_eq!(every, expected_s, "{variables:?}");
    }

    #[test]
    fn the_watchdog_runs_if_the_service_manager_expects_pings() {
        check(&[("WATCHDOG_USEC", "180000000"), ("WATCHDOG_PID", "42")], Some(60));
        check(&[("WATCHDOG_USEC", "180000000")], Some(60));
        check(&[("WATCHDOG_USEC", "180000000"), ("WATCHDOG_PID", "7")], None);
        check(&[("WATCHDOG_PID", "42")], None);
        for wrong in ["", "0", "-1", "soon"] {
            check(&[("WATCHDOG_USEC", wrong)], None);
        }
    }

    /// Counts the pings in the first `hours` of a daemon with one task.
    async fn pings(hours: u64, work: impl AsyncFn(Progress)) -> usize {
        pings_over(async || Ok(()), hours, work).await
    }

    async fn pings_over(
        read: impl AsyncFn() -> Result<(), rusqlite::Error>,
        hours: u64,
        work: impl AsyncFn(Progress),
    ) -> usize {
        let watchdog = Watchdog { every: Duration::from_secs(60) };
        let loops = Loops::new();
        let progress = loops.register("a loop", Duration::from_secs(30));
        let pings = Cell::new(0);
        let run = watchdog.run(loops, read, |PingPermit { .. }| pings.set(pings.get() + 1));
        let both = async { tokio::join!(run, work(progress)) };
        let _over = timeout(Duration::from_secs(hours * 3_600 - 1), both).await;
        pings.get()
    }

    async fn idle(progress: Progress) {
        progress.waiting(None, Instant::now());
        std::future::pending().await
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_hour_is_sixty_pings() {
        assert_eq!(pings(1, idle).await, 60);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_works_once_a_day_is_healthy() {
        let daily = pings(72, async |progress: Progress| {
            let day = Duration::from_secs(86_400);
            loop {
                progress.waiting(Some(day), Instant::now());
                sleep(day).await;
                progress.working(Duration::from_secs(30), Instant::now());
            }
        });
        assert_eq!(daily.await, 72 * 60);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_hangs_is_detected_within_a_minute() {
        // Healthy at 0 s. At 60 s its timeout of 30 s has passed.
        let hanging = pings(1, async |_progress: Progress| std::future::pending().await);
        assert_eq!(hanging.await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_misses_its_wakeup_is_detected() {
        // Due at 90 s, stalled from 150 s on.
        let late = pings(1, async |progress: Progress| {
            progress.waiting(Some(Duration::from_secs(90)), Instant::now());
            std::future::pending().await
        });
        assert_eq!(late.await, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_is_gone_is_detected_and_a_slow_one_recovers() {
        let gone = pings(1, async |progress: Progress| {
            sleep(Duration::from_secs(10)).await;
            drop(progress);
        });
        assert_eq!(gone.await, 1);
        // Stalled from 30 s to 62 s: suspect at 60 s, healthy at the next check.
        let slow = pings(1, async |progress: Progress| {
            sleep(Duration::from_secs(62)).await;
            progress.waiting(None, Instant::now());
            std::future::pending().await
        });
        assert_eq!(slow.await, 60);
    }

    #[tokio::test(start_paused = true)]
    async fn a_database_that_fails_or_hangs_is_detected_after_five_minutes() {
        let fails = async || Err(rusqlite::Error::InvalidQuery);
        assert_eq!(pings_over(fails, 1, idle).await, 6);
        let hangs = async || std::future::pending().await;
        assert_eq!(pings_over(hangs, 1, idle).await, 6);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_database_delays_no_ping() {
        let slow = async || {
            sleep(Duration::from_secs(200)).await;
            Ok(())
        };
        assert_eq!(pings_over(slow, 1, idle).await, 60);
    }
}
