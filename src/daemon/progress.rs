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

/// The maximum delay after the end of a wait, for a loaded machine and small clock changes.
const WAKE_LEEWAY: Duration = Duration::from_secs(60);

/// Time for the database and a slow machine, added to the timeout of a task's own work. Long, because a task
/// waits for the writes of all others, and each takes seconds on a slow disk.
pub const LEEWAY: Duration = Duration::from_secs(300);

/// The state of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskState {
    /// Does work that ends before this timeout.
    Working { timeout: Duration },
    /// Waits until this time; `None`: for an event, without a limit.
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
    pub state: TaskState,
    pub since: Instant,
}

/// The permission to ping the service manager.
#[derive(Debug, PartialEq, Eq)]
pub struct PingPermit(());

/// A task that made no progress. `Display` is for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StalledTask {
    pub name: String,
    pub state: TaskState,
    /// The time beyond its limit.
    pub overdue: Duration,
}

/// Checks that every task is within its limits.
///
/// # Errors
///
/// The stalled tasks. Without any task, the list is empty.
pub fn check(tasks: &[TaskStatus], now: Instant) -> Result<PingPermit, Vec<StalledTask>> {
    let stalled: Vec<StalledTask> = tasks.iter().filter_map(|task| stalled(task, now)).collect();
    if tasks.is_empty() || !stalled.is_empty() { Err(stalled) } else { Ok(PingPermit(())) }
}

fn stalled(task: &TaskStatus, now: Instant) -> Option<StalledTask> {
    let TaskStatus { name, state, since } = task;
    let overdue = match *state {
        TaskState::Working { timeout } => now.saturating_duration_since(*since).checked_sub(timeout)?,
        TaskState::Waiting { until: Some(until) } => {
            now.saturating_duration_since(until).checked_sub(WAKE_LEEWAY)?
        }
        TaskState::Waiting { until: None } | TaskState::Ended => return None,
        // Without a delay, because it never comes back.
        TaskState::Gone => {
            return Some(StalledTask { name: name.clone(), state: *state, overdue: Duration::ZERO });
        }
    };
    (!overdue.is_zero()).then(|| StalledTask { name: name.clone(), state: *state, overdue })
}

impl StalledTask {
    /// Returns the text without the name that the user gave to a channel, for answers to other programs.
    pub fn without_names(&self) -> String {
        let kind = self.name.split_once('.').map_or(self.name.as_str(), |(kind, _)| kind);
        StalledTask { name: kind.to_owned(), ..self.clone() }.to_string()
    }
}

impl fmt::Display for StalledTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StalledTask { name, state, overdue } = self;
        match state {
            TaskState::Working { timeout } => {
                let taken = (*overdue + *timeout).as_secs();
                write!(f, "{name} has been busy for {taken} s (limit: {} s)", timeout.as_secs())
            }
            TaskState::Waiting { .. } => {
                let late = (*overdue + WAKE_LEEWAY).as_secs();
                write!(f, "{name} should have woken {late} s ago")
            }
            TaskState::Ended | TaskState::Gone => write!(f, "{name} has ended unexpectedly"),
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
    /// Creates the handle of a task that is working and ends its work before `timeout`.
    pub fn new(name: impl Into<String>, timeout: Duration, now: Instant) -> (Progress, Watched) {
        let (sender, marks) = watch::channel((TaskState::Working { timeout }, now));
        (Progress { marks: sender }, Watched { name: name.into(), marks })
    }

    /// Reports that work begins, which ends before `timeout`.
    pub fn working(&self, timeout: Duration, now: Instant) {
        self.marks.send_replace((TaskState::Working { timeout }, now));
    }

    /// Reports that the task waits for `span`; `None`: for an event.
    pub fn waiting(&self, span: Option<Duration>, now: Instant) {
        // A wait beyond the end of the clock is unlimited.
        let until = span.and_then(|span| now.checked_add(span));
        self.marks.send_replace((TaskState::Waiting { until }, now));
    }

    /// Reports that the task ended because it was stopped.
    pub fn finish(self, now: Instant) {
        self.marks.send_replace((TaskState::Ended, now));
    }
}

impl Watched {
    pub fn status(&self) -> TaskStatus {
        let (state, since) = *self.marks.borrow();
        let is_gone = self.marks.has_changed().is_err() && state != TaskState::Ended;
        TaskStatus { name: self.name.clone(), state: if is_gone { TaskState::Gone } else { state }, since }
    }
}

/// All running tasks: those of this configuration, and those of older ones that finish their work.
#[derive(Clone)]
pub struct Loops(watch::Sender<Vec<Watched>>);

impl Loops {
    pub fn new() -> Loops {
        Loops(watch::channel(Vec::new()).0)
    }

    /// Adds a task that is working and ends its work before `timeout`. Removes ended tasks.
    pub fn register(&self, name: impl Into<String>, timeout: Duration) -> Progress {
        let (progress, watched) = Progress::new(name, timeout, clock::monotonic_now());
        self.0.send_modify(|loops| {
            loops.retain(|watched| watched.status().state != TaskState::Ended);
            loops.push(watched);
        });
        progress
    }

    pub fn statuses(&self) -> Vec<TaskStatus> {
        self.0.borrow().iter().map(Watched::status).collect()
    }
}

/// Runs a task and reports its end. A panic drops `progress`, so the task counts as gone.
pub async fn run_to_end<T>(progress: Progress, work: impl AsyncFnOnce(&Progress) -> T) -> T {
    let result = work(&progress).await;
    progress.finish(clock::monotonic_now());
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parses a task: `work/30@5` began 5 s after the start with a timeout of 30 s, `wait@100` waits until
    /// second 100, `wait` waits for an event.
    fn task(word: &str, start: Instant) -> TaskStatus {
        let at = |text: &str| start + Duration::from_secs(text.parse().expect("seconds"));
        let (state, since) = match word.split_once('@') {
            None => match word {
                "wait" => (TaskState::Waiting { until: None }, start),
                "ended" => (TaskState::Ended, start),
                "gone" => (TaskState::Gone, start),
                _ => panic!("{word}: not a loop"),
            },
            Some(("wait", until)) => (TaskState::Waiting { until: Some(at(until)) }, start),
            Some((work, since)) => {
                let timeout = work.strip_prefix("work/").expect("work").parse().expect("seconds");
                (TaskState::Working { timeout: Duration::from_secs(timeout) }, at(since))
            }
        };
        TaskStatus { name: word.to_owned(), state, since }
    }

    /// Checks which of the tasks are stalled `now_s` after the start.
    #[track_caller]
    fn check(tasks: &[&str], now_s: u64, expected: Result<(), &[&str]>) {
        let start = Instant::now();
        let tasks: Vec<TaskStatus> = tasks.iter().map(|word| task(word, start)).collect();
        let checked = super::check(&tasks, start + Duration::from_secs(now_s));
        let names = checked
            .map(|PingPermit(())| ())
            .map_err(|stalled| stalled.into_iter().map(|task| task.name).collect::<Vec<String>>());
        assert_eq!(names, expected.map_err(|names| names.iter().map(|&name| name.to_owned()).collect()));
    }

    #[test]
    fn work_is_stalled_after_its_own_timeout() {
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
    fn one_stalled_task_fails_the_check_and_all_are_named() {
        check(&["wait", "work/30@0", "wait@900"], 31, Err(&["work/30@0"]));
        check(&["work/5@0", "wait@1", "wait"], 62, Err(&["work/5@0", "wait@1"]));
        check(&["wait", "gone"], 0, Err(&["gone"]));
        check(&["ended", "work/30@0"], 30, Ok(()));
        check(&["ended"], 3_600, Ok(()));
    }

    #[test]
    fn no_tasks_fail_the_check() {
        check(&[], 0, Err(&[]));
    }

    #[test]
    fn a_dropped_task_is_gone_and_an_ended_one_is_not() {
        let now = Instant::now();
        let (progress, watched) = Progress::new("a", Duration::from_secs(9), now);
        assert_eq!(watched.status().state, TaskState::Working { timeout: Duration::from_secs(9) });
        progress.waiting(None, now);
        assert_eq!(watched.status().state, TaskState::Waiting { until: None });
        drop(progress);
        assert_eq!(watched.status().state, TaskState::Gone);
        let (progress, watched) = Progress::new("b", Duration::ZERO, now);
        progress.finish(now);
        assert_eq!(watched.status().state, TaskState::Ended);
    }

    #[test]
    fn ended_tasks_are_removed_and_older_running_ones_are_not() {
        let loops = Loops::new();
        let names = || loops.statuses().into_iter().map(|task| task.name).collect::<Vec<_>>();
        let [older, idle, gone] = ["older", "idle", "gone"].map(|name| loops.register(name, Duration::ZERO));
        idle.finish(Instant::now());
        drop(gone);
        let newer = loops.register("newer", Duration::ZERO);
        assert_eq!(names(), ["older", "gone", "newer"]);
        newer.finish(Instant::now());
        older.finish(Instant::now());
        let _newest = loops.register("newest", Duration::ZERO);
        assert_eq!(names(), ["gone", "newest"], "a task that is gone needs a restart");
    }

    #[test]
    fn a_stalled_task_is_described() {
        let start = Instant::now();
        let words = |word: &str, now_s| {
            let checked = super::check(&[task(word, start)], start + Duration::from_secs(now_s));
            checked.expect_err("a stalled task")[0].to_string()
        };
        assert_eq!(words("work/30@5", 40), "work/30@5 has been busy for 35 s (limit: 30 s)");
        assert_eq!(words("wait@100", 170), "wait@100 should have woken 70 s ago");
        assert_eq!(words("gone", 0), "gone has ended unexpectedly");
        let name = "the delivery loop of webhook.my secret.place".to_owned();
        let named = StalledTask { name, state: TaskState::Gone, overdue: Duration::ZERO };
        assert_eq!(named.without_names(), "the delivery loop of webhook has ended unexpectedly");
    }
}
