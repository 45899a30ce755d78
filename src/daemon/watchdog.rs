//! Pings the service manager while all tasks make progress and the database works.
//!
//! `progress` checks both. The database is only read, so that an idle hour writes nothing. The watchdog
//! runs on the thread of the tasks, so a blocked thread stops the pings.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::sleep;

use super::progress::{Loops, PingPermit, Progress, StalledTask, judge};
use crate::cause::Cause;
use crate::clock;
use crate::config::Environment;
use crate::store::Store;

/// How often within the service manager's patience: two pings may be late.
const SHARE: u32 = 3;
/// For how long the database may fail to answer.
const STORE_WITHIN: Duration = Duration::from_secs(300);
/// A machine that was held up wakes all loops at once: they go first, then they are judged.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

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
        let patience_us: u64 = environment("WATCHDOG_USEC")?.parse().ok()?;
        (patience_us > 0).then(|| Watchdog { every: Duration::from_micros(patience_us) / SHARE })
    }

    /// Checks and pings until dropped, also during reloads and while a stop waits for notices in flight.
    pub async fn run(self, loops: Loops, store: Rc<Store>, ping: impl Fn(PingPermit)) {
        let (answers, database) = Progress::begins("the database", STORE_WITHIN, clock::monotonic_now());
        let mut was = Judged::Well;
        loop {
            // An answer that is an error is none: a start finds out what is wrong with the file.
            let answered = store.answers().await;
            if answered.is_ok() {
                answers.works(STORE_WITHIN, clock::monotonic_now());
            }
            let mut all = loops.standings();
            all.push(database.standing());
            let judged = match judge(&all, clock::monotonic_now()) {
                Ok(may_ping) => {
                    ping(may_ping);
                    Judged::Well
                }
                Err(stuck) => was.after(&stuck),
            };
            judged.report(&was, answered.err().as_ref());
            let pause = if judged == Judged::Doubtful { self.every.min(LOOK_AGAIN) } else { self.every };
            was = judged;
            sleep(pause).await;
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Judged {
    Well,
    /// Somebody seems to be stuck: look again before that is said.
    Doubtful,
    StalledTask(String),
}

impl Judged {
    fn after(&self, stuck: &[StalledTask]) -> Judged {
        match self {
            Judged::Well => Judged::Doubtful,
            Judged::Doubtful | Judged::StalledTask(_) => {
                Judged::StalledTask(stuck.iter().map(StalledTask::to_string).collect::<Vec<_>>().join("; "))
            }
        }
    }

    /// Says who is stuck before the service manager ends us, once.
    fn report(&self, was: &Judged, error: Option<&impl Cause>) {
        match (was, self) {
            (Judged::Well | Judged::Doubtful, Judged::StalledTask(who)) => {
                let error = error.map(|error| format!(": {}", error.reason())).unwrap_or_default();
                tracing::error!("stalled, so the service manager will restart statusd: {who}{error}");
            }
            (Judged::StalledTask(_), Judged::Well) => tracing::warn!("no longer stalled"),
            (_, Judged::Well | Judged::Doubtful | Judged::StalledTask(_)) => {}
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
    fn it_runs_for_a_manager_that_watches_this_process() {
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
        pings_over(Store::open_in_memory().expect("a database"), hours, work).await
    }

    async fn pings_over(store: Store, hours: u64, work: impl AsyncFn(Progress)) -> usize {
        let watchdog = Watchdog { every: Duration::from_secs(60) };
        let store = Rc::new(store);
        let loops = Loops::none();
        let progress = loops.begin("a loop", Duration::from_secs(30));
        let pings = Cell::new(0);
        let run = watchdog.run(loops, store, |PingPermit { .. }| pings.set(pings.get() + 1));
        let both = async { tokio::join!(run, work(progress)) };
        let _over = timeout(Duration::from_secs(hours * 3_600 - 1), both).await;
        pings.get()
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_hour_is_sixty_pings() {
        let idle = pings(1, async |progress: Progress| {
            progress.waits(None, Instant::now());
            std::future::pending().await
        });
        assert_eq!(idle.await, 60);
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_goes_round_once_a_day_is_well() {
        let daily = pings(72, async |progress: Progress| {
            let day = Duration::from_secs(86_400);
            loop {
                progress.waits(Some(day), Instant::now());
                sleep(day).await;
                progress.works(Duration::from_secs(30), Instant::now());
            }
        });
        assert_eq!(daily.await, 72 * 60);
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_hangs_in_a_send_is_given_away_within_a_minute() {
        // Well at 0 s; at 60 s its 30 s are over.
        let hanging = pings(1, async |_progress: Progress| std::future::pending().await);
        assert_eq!(hanging.await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_sleeps_through_its_time_is_given_away() {
        // Due at 90 s, late from 150 s on.
        let late = pings(1, async |progress: Progress| {
            progress.waits(Some(Duration::from_secs(90)), Instant::now());
            std::future::pending().await
        });
        assert_eq!(late.await, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_fell_down_is_given_away_and_one_that_came_back_is_not() {
        let gone = pings(1, async |progress: Progress| {
            sleep(Duration::from_secs(10)).await;
            drop(progress);
        });
        assert_eq!(gone.await, 1);
        // Stalled from 30 s to 62 s: suspect at 60 s, healthy at the next check.
        let slow = pings(1, async |progress: Progress| {
            sleep(Duration::from_secs(62)).await;
            progress.waits(None, Instant::now());
            std::future::pending().await
        });
        assert_eq!(slow.await, 60);
    }

    #[tokio::test(start_paused = true)]
    async fn a_database_that_does_not_answer_is_given_away_after_five_minutes() {
        let directory = tempfile::TempDir::new().expect("a directory");
        let opened = Store::open(directory.path(), clock::now()).expect("a database");
        let other = rusqlite::Connection::open(directory.path().join(crate::store::DATABASE));
        other.expect("the same database").execute("DROP TABLE meta", []).expect("gone");
        let broken = pings_over(opened.store, 1, async |progress: Progress| {
            progress.waits(None, Instant::now());
            std::future::pending().await
        });
        assert_eq!(broken.await, 6);
    }
}
