//! Runs jobs on one thread that owns a value, one after another in the order of the calls.
//!
//! A job runs to its end even if its caller has stopped waiting, so it is never half done
//! (`a_job_runs_although_its_caller_is_gone`).

use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use tokio::sync::oneshot;
use tracing::dispatcher::{self, Dispatch};

/// Enough for SQLite and a template. Only the part that is used takes memory.
const STACK_BYTES: usize = 512 * 1024;

type Job<T> = Box<dyn FnOnce(&T) + Send>;

/// A thread and the queue of its jobs. Dropping it runs the queued jobs, drops the value on the thread and
/// waits for both.
pub struct Worker<T> {
    /// `None` while dropping.
    jobs: Option<mpsc::Sender<Job<T>>>,
    thread: Option<JoinHandle<()>>,
}

impl<T: Send + 'static> Worker<T> {
    /// Starts the thread.
    pub fn start(name: &str, value: T) -> Worker<T> {
        let (jobs, queue) = mpsc::channel::<Job<T>>();
        // The thread logs where the caller does.
        let log = dispatcher::get_default(Dispatch::clone);
        let run = move || dispatcher::with_default(&log, || queue.into_iter().for_each(|job| job(&value)));
        let thread = thread::Builder::new().name(name.to_owned()).stack_size(STACK_BYTES).spawn(run);
        Worker { jobs: Some(jobs), thread: Some(thread.expect("the system starts a thread")) }
    }

    /// Queues a job at the first poll, and waits for its result.
    ///
    /// # Panics
    ///
    /// If this job or an earlier one panicked.
    pub async fn run<R: Send + 'static>(&self, job: impl FnOnce(&T) -> R + Send + 'static) -> R {
        let (result, done) = oneshot::channel();
        let job = move |value: &T| {
            // Fails if the caller has stopped waiting.
            let _ = result.send(job(value));
        };
        let queued = self.jobs.as_ref().is_some_and(|jobs| jobs.send(Box::new(job)).is_ok());
        assert!(queued, "a job panicked");
        done.await.expect("a job panicked")
    }
}

impl<T> Drop for Worker<T> {
    fn drop(&mut self) {
        self.jobs = None;
        // An error is a panic of a job, which its caller has reported.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

#[cfg(test)]
mod tests {
    use std::panic::AssertUnwindSafe;
    use std::pin::pin;
    use std::sync::mpsc::{Receiver, channel};
    use std::task::{Context, Poll, Waker};

    use super::*;

    /// Polls a future once and drops it.
    fn abandon<R>(future: impl Future<Output = R>) -> Poll<R> {
        pin!(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    fn block_on<R>(future: impl Future<Output = R>) -> R {
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
    }

    /// Starts a worker whose first job waits for the sender.
    fn busy() -> (Worker<mpsc::Sender<u32>>, mpsc::Sender<()>, Receiver<u32>) {
        let (log, logged) = channel();
        let worker = Worker::start("test", log);
        let (release, held) = channel::<()>();
        assert!(abandon(worker.run(move |_| held.recv())).is_pending());
        (worker, release, logged)
    }

    #[test]
    fn a_job_runs_although_its_caller_is_gone() {
        let (worker, release, logged) = busy();
        for number in 0..3 {
            assert!(abandon(worker.run(move |log| log.send(number))).is_pending());
        }
        release.send(()).expect("the first job");
        assert!(block_on(worker.run(|log| log.send(3))).is_ok());
        assert_eq!(logged.try_iter().collect::<Vec<_>>(), [0, 1, 2, 3], "in the order of the calls");
    }

    #[test]
    fn a_drop_runs_the_queued_jobs_and_drops_the_value() {
        let (worker, release, logged) = busy();
        assert!(abandon(worker.run(|log| log.send(7))).is_pending());
        release.send(()).expect("the first job");
        drop(worker);
        assert_eq!(logged.try_recv(), Ok(7));
        assert_eq!(logged.try_recv(), Err(mpsc::TryRecvError::Disconnected), "the value was dropped");
    }

    #[test]
    fn the_panic_of_a_job_reaches_its_caller_and_all_later_ones() {
        let worker = Worker::start("test", ());
        for _ in 0..2 {
            let job = worker.run(|()| -> u32 { panic!("a panic of the test") });
            let caught = std::panic::catch_unwind(AssertUnwindSafe(|| block_on(job)));
            assert!(caught.is_err());
        }
    }
}
