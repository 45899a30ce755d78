//! The loop that polls the feed and reports each result.
//!
//! `poller` decides what a response means and when the next poll is due. A stop ends the loop at once, except
//! while a response is being committed.

use std::rc::Rc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::sync::watch;

use super::progress::{LEEWAY, Progress};
use super::service_manager;
use super::start_step::{OnStartStep, StartStep};
use super::wait::wait;
use crate::clock::{self, ClockJumps, ClockReading};
use crate::daemon::poller::{PollReport, Poller, PollerState};
use crate::delivery::heartbeat::Beat;
use crate::feed::fetch::FetchLimits;
use crate::status_socket::DaemonStatus;
use crate::store::Store;
use crate::tracking::Acceptance;
use crate::web::{ActivityCounts, FetchResult};

/// Longest duration of a poll: the fetch and the commit.
pub const POLL_TIMEOUT: Duration = FetchLimits::SHIPPED.total.saturating_add(LEEWAY);

pub struct PollLoop {
    /// The result of the last poll. Dropping the sender ends the heartbeat.
    pub beats: Option<watch::Sender<Option<Beat>>>,
    pub poller: Poller,
    pub store: Rc<Store>,
    pub zone: TimeZone,
    pub status: watch::Sender<DaemonStatus>,
    pub activity: watch::Sender<ActivityCounts>,
    pub outbox: watch::Sender<()>,
    /// The reason why a newer configuration was refused.
    pub refusal: watch::Receiver<Option<String>>,
    /// Called after the first poll.
    pub on_step: Option<OnStartStep>,
}

impl PollLoop {
    /// Polls at once, then whenever a poll is due, until it is stopped.
    pub async fn run(mut self, mut stopped: watch::Receiver<bool>, progress: &Progress) -> PollerState {
        let jumps = ClockJumps::watch();
        let mut reading = ClockReading::take();
        let mut next = clock::now();
        loop {
            progress.waiting(Some(clock::time_until(next)), clock::monotonic_now());
            let waited = tokio::select! {
                elapsed = wait(&reading, next, || jumps.next(), ClockReading::take) => elapsed,
                _ = stopped.wait_for(|stop| *stop) => return self.poller.state,
            };
            reading = ClockReading::take();
            let now = clock::now();
            let begun = clock::monotonic_now();
            progress.working(POLL_TIMEOUT, begun);
            let fetched = tokio::select! {
                fetched = self.poller.fetch(&self.store, now, waited) => fetched,
                _ = stopped.wait_for(|stop| *stop) => return self.poller.state,
            };
            let (took, is_unchanged) = (clock::monotonic_now() - begun, fetched.is_unchanged());
            let report = self.poller.complete(&self.store, fetched, now, fastrand::f64()).await;
            let result = fetch_result(report.verdict, is_unchanged);
            self.activity.send_modify(|activity| activity.count_fetch(result, took));
            next = report.next;
            self.report(&report, now);
            if let Some(beats) = &self.beats {
                beats.send_replace(Some(beat(&report)));
            }
            // Also without changes, because channels that mirror the state show an unreadable feed.
            self.outbox.send_replace(());
        }
    }

    fn report(&mut self, report: &PollReport, now: Timestamp) {
        let before = self.status.borrow().trouble.clone();
        log_trouble(before.as_deref(), report.trouble.as_deref());
        if report.verdict == Acceptance::AcceptedOlder {
            tracing::warn!("Apple has served only older copies for hours; accepting the newest of them");
        }
        tracing::debug!(verdict = ?report.verdict, next = %report.next, "polled");
        self.status.send_modify(|status| {
            status.polls += 1;
            status.stale_polls += u64::from(report.verdict == Acceptance::Stale);
            status.polled_at = Some(now);
            status.next_poll_at = Some(report.next);
            status.trouble = report.trouble.clone();
            if report.verdict != Acceptance::Unreadable {
                status.last_good_poll_at = Some(now);
            }
        });
        self.publish_status(report, now);
    }

    fn publish_status(&mut self, report: &PollReport, now: Timestamp) {
        let state = match &report.trouble {
            Some(trouble) if report.verdict == Acceptance::Unreadable => format!("cannot tell: {trouble}"),
            Some(trouble) => trouble.clone(),
            None => service_manager::summary(&self.poller.state.beliefs, &self.poller.watch, now, &self.zone),
        };
        if let Some(on_step) = self.on_step.take() {
            on_step(StartStep::Polled { state: &state, at: now, next: report.next });
        }
        let mut line = service_manager::status_line(&state, now, report.next, &self.zone);
        if let Some(reason) = self.refusal.borrow().as_deref() {
            line = format!("{line}; keeping the old configuration: {reason}");
        }
        service_manager::set_status(&line);
    }
}

fn fetch_result(verdict: Acceptance, is_unchanged: bool) -> FetchResult {
    match verdict {
        Acceptance::Unreadable => FetchResult::Failed,
        Acceptance::Stale => FetchResult::Stale,
        Acceptance::Accepted | Acceptance::AcceptedOlder if is_unchanged => FetchResult::Unchanged,
        Acceptance::Accepted | Acceptance::AcceptedOlder => FetchResult::Changed,
    }
}

/// Logs a problem when it is new, and when it is over.
fn log_trouble(before: Option<&str>, now: Option<&str>) {
    match (before, now) {
        (Some(trouble), None) => tracing::info!("polls succeed again; the last problem was: {trouble}"),
        (before, Some(trouble)) if before != Some(trouble) => tracing::warn!("{trouble}"),
        _ => {}
    }
}

fn beat(report: &PollReport) -> Beat {
    match (&report.verdict, &report.trouble) {
        (Acceptance::Unreadable, trouble) => Beat::Failure(trouble.clone().unwrap_or_default()),
        // Changes that cannot be written are lost at a restart.
        (_, Some(trouble)) => Beat::Failure(trouble.clone()),
        (_, None) => Beat::Success,
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio::time::Instant;

    use super::*;
    use crate::channel::log::tests::captured;
    use crate::daemon::progress::TaskState;
    use crate::feed::fetch::{FeedUrl, Fetcher};
    use crate::model::{Beliefs, Edition, FeedId};
    use crate::schedule::Schedule;
    use crate::tracking::poll_plan::Plan;
    use crate::tracking::watchlist::Watchlist;

    #[test]
    fn a_problem_is_logged_once_and_so_is_its_end() {
        let page = Some("a web page instead of the feed");
        let (logged, _) = captured(false, || {
            for (before, now) in [(None, page), (page, page), (page, None), (None, None)] {
                log_trouble(before, now);
            }
        });
        let expected = " WARN a web page instead of the feed\n INFO polls succeed again; the last problem \
                        was: a web page instead of the feed\n";
        assert_eq!(logged, expected);
    }

    fn poller(url: &str) -> Poller {
        let schedule = || Schedule::parse("@yearly", &TimeZone::UTC).expect("a schedule");
        let feed = FeedId { edition: Edition::Consumer, locale: "en_US".to_owned() };
        let url = FeedUrl::parse(url).expect("an address");
        Poller {
            fetcher: Fetcher::new(url, FetchLimits::default(), None).expect("a fetcher"),
            watch: Watchlist::new(&["*"]),
            plan: Plan { poll: schedule(), trouble: schedule(), jitter_s: 0 },
            routes: Vec::new(),
            recorder: None,
            liveness: None,
            tells_of_phones: false,
            state: PollerState::new(Beliefs::new(feed)),
        }
    }

    #[tokio::test]
    async fn the_loop_reports_work_while_it_polls_and_then_its_wait() {
        let apple = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = apple.local_addr().expect("an address");
        let (status, _seen) = watch::channel(DaemonStatus::starting(clock::now()));
        let (outbox, mut report) = watch::channel(());
        let (_refused, refusal) = watch::channel(None);
        let (_stop, stopped) = watch::channel(false);
        let poll = PollLoop {
            beats: None,
            poller: poller(&format!("http://{address}/")),
            store: Rc::new(Store::open_in_memory().expect("a database")),
            zone: TimeZone::UTC,
            status,
            activity: watch::channel(ActivityCounts::none()).0,
            outbox,
            refusal,
            on_step: None,
        };
        let (progress, watched) = Progress::new("polls", Duration::ZERO, Instant::now());
        let story = async {
            let (connection, _) = apple.accept().await.expect("a poll");
            assert_eq!(watched.status().state, TaskState::Working { timeout: POLL_TIMEOUT });
            // The server closes the connection and stops.
            drop((connection, apple));
            report.changed().await.expect("the end of a poll");
            let TaskState::Waiting { until: Some(until) } = watched.status().state else {
                panic!("{:?}", watched.status())
            };
            assert!(until > Instant::now());
        };
        tokio::select! {
            biased;
            _ = poll.run(stopped, &progress) => panic!("the loop ended without a stop"),
            () = story => {}
        }
    }
}
