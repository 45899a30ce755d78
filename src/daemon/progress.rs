//! The progress that each task reports, and the check that none is stalled.
//!
//! Pure but for the channels: the caller passes the time. All times are on the monotonic clock that stops
//! during suspend, like tokio's timers and the watchdog of a service manager, so a suspend stalls no task.
//! Only [`check`] creates a [`PingPermit`].

use std::fmt;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::clock;

/// How late a loop may be after what it waits for: a loaded machine, a clock that was set by less
/// than is noticed.
const WAKES_WITHIN: Duration = Duration::from_secs(60);

/// Time for the database and a slow machine, added to the timeout of a task's own work.
pub const LEEWAY: Duration = Duration::from_secs(60);

/// The state of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskState {
    /// Something that ends by itself within this time.
    Working { within: Duration },
    /// Waits for this moment; `None`: for something to happen, however long that takes.
    Waiting { until: Option<Instant> },
    /// Ended because it was stopped.
    Ended,
    /// Ended by itself, which is a fault.
    Gone,
}

/// A task and its state since a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskStatus {
    pub name: String,
    pub doing: TaskState,
    pub since: Instant,
}

/// The permission to ping the service manager.
#[derive(Debug, PartialEq, Eq)]
pub struct PingPermit(());

/// A task that made no progress. `Display` is for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StalledTask {
    pub name: String,
    pub doing: TaskState,
    /// Beyond what is allowed.
    pub overdue: Duration,
}

/// Whether all loops made progress within their own times, or wait for what lies ahead; who does not
/// otherwise. Where nobody is, nobody makes progress.
pub fn judge(loops: &[TaskStatus], now: Instant) -> Result<PingPermit, Vec<StalledTask>> {
    let stuck: Vec<StalledTask> = loops.iter().filter_map(|standing| stuck(standing, now)).collect();
    if loops.is_empty() || !stuck.is_empty() { Err(stuck) } else { Ok(PingPermit(())) }
}

fn stuck(standing: &TaskStatus, now: Instant) -> Option<StalledTask> {
    let TaskStatus { name, doing, since } = standing;
    let overdue = match *doing {
        TaskState::Working { within } => now.saturating_duration_since(*since).checked_sub(within)?,
        TaskState::Waiting { until: Some(until) } => {
            now.saturating_duration_since(until).checked_sub(WAKES_WITHIN)?
        }
        TaskState::Waiting { until: None } | TaskState::Ended => return None,
        // Without a delay, because it never comes back.
        TaskState::Gone => {
            return Some(StalledTask { name: name.clone(), doing: *doing, overdue: Duration::ZERO });
        }
    };
    (!overdue.is_zero()).then(|| StalledTask { name: name.clone(), doing: *doing, overdue })
}

impl fmt::Display for StalledTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StalledTask { name, doing, overdue } = self;
        match doing {
            TaskState::Working { within } => {
                let taken = (*overdue + *within).as_secs();
                write!(f, "{name} has been at work for {taken} s and may take {} s", within.as_secs())
            }
            TaskState::Waiting { .. } => {
                let late = (*overdue + WAKES_WITHIN).as_secs();
                write!(f, "{name} has not woken since what it waited for came, {late} s ago")
            }
            TaskState::Ended | TaskState::Gone => write!(f, "{name} is gone"),
        }
    }
}

/// The handle that a task reports through. Dropped without [`Progress::finish`], the task counts as gone.
pub struct Progress {
    marks: watch::Sender<(TaskState, Instant)>,
}

/// The other end of a [`Progress`].
pub struct Watched {
    name: String,
    marks: watch::Receiver<(TaskState, Instant)>,
}

impl Progress {
    /// For a loop that begins with something that takes no longer than `within`.
    pub fn begins(name: impl Into<String>, within: Duration, now: Instant) -> (Progress, Watched) {
        let (sender, marks) = watch::channel((TaskState::Working { within }, now));
        (Progress { marks: sender }, Watched { name: name.into(), marks })
    }

    /// It went round, and begins something that takes no longer than `within`.
    pub fn works(&self, within: Duration, now: Instant) {
        self.marks.send_replace((TaskState::Working { within }, now));
    }

    /// It has done all that there was, and waits so long; `None`: for something to happen.
    pub fn waits(&self, span: Option<Duration>, now: Instant) {
        // A wait that ends beyond the clock's end does not end.
        let until = span.and_then(|span| now.checked_add(span));
        self.marks.send_replace((TaskState::Waiting { until }, now));
    }

    /// It was told to end, and does.
    pub fn ends(self, now: Instant) {
        self.marks.send_replace((TaskState::Ended, now));
    }
}

impl Watched {
    pub fn standing(&self) -> TaskStatus {
        let (doing, since) = *self.marks.borrow();
        let is_gone = self.marks.has_changed().is_err() && doing != TaskState::Ended;
        TaskStatus { name: self.name.clone(), doing: if is_gone { TaskState::Gone } else { doing }, since }
    }
}

/// All running tasks: those of this configuration, and those of older ones that finish their work.
#[derive(Clone)]
pub struct Loops(watch::Sender<Vec<Watched>>);

impl Loops {
    pub fn none() -> Loops {
        Loops(watch::channel(Vec::new()).0)
    }

    /// A loop that begins with something that takes no longer than `within`. Loops that have ended are
    /// forgotten.
    pub fn begin(&self, name: impl Into<String>, within: Duration) -> Progress {
        let (progress, watched) = Progress::begins(name, within, clock::monotonic_now());
        self.0.send_modify(|loops| {
            loops.retain(|watched| watched.standing().doing != TaskState::Ended);
            loops.push(watched);
        });
        progress
    }

    pub fn standings(&self) -> Vec<TaskStatus> {
        self.0.borrow().iter().map(Watched::standing).collect()
    }
}

/// A loop to its end, which is as good as progress; one that falls down leaves `progress` dropped.
pub async fn tended<T>(progress: Progress, work: impl AsyncFnOnce(&Progress) -> T) -> T {
    let left = work(&progress).await;
    progress.ends(clock::monotonic_now());
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A loop as a word: `work/30@5` began 5 s after the start and may take 30 s, `wait@100` waits
    /// for that second, `wait` for whatever comes.
    fn standing(word: &str, start: Instant) -> TaskStatus {
        let at = |text: &str| start + Duration::from_secs(text.parse().expect("seconds"));
        let (doing, since) = match word.split_once('@') {
            None => match word {
                "wait" => (TaskState::Waiting { until: None }, start),
                "ended" => (TaskState::Ended, start),
                "gone" => (TaskState::Gone, start),
                _ => panic!("{word}: not a loop"),
            },
            Some(("wait", until)) => (TaskState::Waiting { until: Some(at(until)) }, start),
            Some((work, since)) => {
                let within = work.strip_prefix("work/").expect("work").parse().expect("seconds");
                (TaskState::Working { within: Duration::from_secs(within) }, at(since))
            }
        };
        TaskStatus { name: word.to_owned(), doing, since }
    }

    /// Checks which of the tasks are stalled `now_s` after the start.
    #[track_caller]
    fn check(loops: &[&str], now_s: u64, expected: Result<(), &[&str]>) {
        let start = Instant::now();
        let loops: Vec<TaskStatus> = loops.iter().map(|word| standing(word, start)).collect();
        let judged = judge(&loops, start + Duration::from_secs(now_s));
        let names = judged
            .map(|PingPermit(())| ())
            .map_err(|stuck| stuck.into_iter().map(|stuck| stuck.name).collect::<Vec<String>>());
        assert_eq!(names, expected.map_err(|names| names.iter().map(|&name| name.to_owned()).collect()));
    }

    #[test]
    fn work_may_take_its_own_time_and_no_more() {
        check(&["work/30@5"], 5, Ok(()));
        check(&["work/30@5"], 35, Ok(()));
        check(&["work/30@5"], 36, Err(&["work/30@5"]));
        // A program with a timeout of ten minutes is not stalled after five.
        check(&["work/600@0", "wait"], 300, Ok(()));
    }

    #[test]
    fn a_wait_is_healthy_until_it_is_over() {
        check(&["wait@100"], 0, Ok(()));
        check(&["wait@100"], 100, Ok(()));
        check(&["wait@100"], 160, Ok(()));
        check(&["wait@100"], 161, Err(&["wait@100"]));
        check(&["wait@86400"], 86_399, Ok(()));
        check(&["wait"], 31_536_000, Ok(()));
    }

    #[test]
    fn one_who_is_stuck_speaks_for_all_and_all_are_named() {
        check(&["wait", "work/30@0", "wait@900"], 31, Err(&["work/30@0"]));
        check(&["work/5@0", "wait@1", "wait"], 62, Err(&["work/5@0", "wait@1"]));
        check(&["wait", "gone"], 0, Err(&["gone"]));
        check(&["ended", "work/30@0"], 30, Ok(()));
        check(&["ended"], 3_600, Ok(()));
    }

    #[test]
    fn nobody_is_not_well() {
        check(&[], 0, Err(&[]));
    }

    #[test]
    fn a_loop_that_was_dropped_is_gone_and_one_that_ended_is_not() {
        let now = Instant::now();
        let (progress, watched) = Progress::begins("a", Duration::from_secs(9), now);
        assert_eq!(watched.standing().doing, TaskState::Working { within: Duration::from_secs(9) });
        progress.waits(None, now);
        assert_eq!(watched.standing().doing, TaskState::Waiting { until: None });
        drop(progress);
        assert_eq!(watched.standing().doing, TaskState::Gone);
        let (progress, watched) = Progress::begins("b", Duration::ZERO, now);
        progress.ends(now);
        assert_eq!(watched.standing().doing, TaskState::Ended);
    }

    #[test]
    fn loops_that_ended_are_forgotten_and_older_ones_at_work_are_not() {
        let loops = Loops::none();
        let names = || loops.standings().into_iter().map(|standing| standing.name).collect::<Vec<_>>();
        let [older, idle, fallen] = ["older", "idle", "fallen"].map(|name| loops.begin(name, Duration::ZERO));
        idle.ends(Instant::now());
        drop(fallen);
        let newer = loops.begin("newer", Duration::ZERO);
        assert_eq!(names(), ["older", "fallen", "newer"]);
        newer.ends(Instant::now());
        older.ends(Instant::now());
        let _newest = loops.begin("newest", Duration::ZERO);
        assert_eq!(names(), ["fallen", "newest"], "one that fell down is for a restart to mend");
    }

    #[test]
    fn who_is_stuck_is_said_in_words() {
        let start = Instant::now();
        let words = |word: &str, now_s| {
            let judged = judge(&[standing(word, start)], start + Duration::from_secs(now_s));
            judged.expect_err("somebody is stuck")[0].to_string()
        };
        assert_eq!(words("work/30@5", 40), "work/30@5 has been at work for 35 s and may take 30 s");
        assert_eq!(words("wait@100", 170), "wait@100 has not woken since what it waited for came, 70 s ago");
        assert_eq!(words("gone", 0), "gone is gone");
    }
}
