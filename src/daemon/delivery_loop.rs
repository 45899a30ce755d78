//! The delivery loop, one per channel.
//!
//! `delivery` decides what is due and what an outcome means. A stop waits for the notice in flight and for
//! the record of its outcome. A caller that cannot wait drops the loop.

use std::rc::Rc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::sleep;

use super::progress::{LEEWAY, Progress};
use crate::cause::Cause as _;
use crate::channel::SendOutcome;
use crate::clock::{self, COMPARE_EVERY};
use crate::delivery::{self, Receiver, Round};
use crate::store::Store;
use crate::web::{ActivityCounts, AttemptResult};

/// The pause after a database error.
const STORE_RETRY: Duration = Duration::from_secs(60);
/// The pause before the next attempt to record an outcome. Short, because deliveries and a stop wait.
const OUTCOME_RETRY: Duration = Duration::from_secs(1);

/// Delivers when a notice is due or `ticks` changes, until it is stopped.
pub async fn deliver_loop(
    mut receiver: Receiver,
    store: Rc<Store>,
    activity: watch::Sender<ActivityCounts>,
    mut ticks: watch::Receiver<()>,
    mut stopped: watch::Receiver<bool>,
    progress: &Progress,
) -> Receiver {
    let mut is_failing = false;
    let mut is_reported = false;
    while !*stopped.borrow() || receiver.has_unrecorded_outcome() {
        // Before the round, which waits for the database: a stop meanwhile must end the wait below.
        let was_stopped = *stopped.borrow();
        progress.working(round_timeout(&receiver), clock::monotonic_now());
        let wait = match delivery::once(&store, &mut receiver, fastrand::f64(), &clock::now).await {
            Ok(Round::Attempted { key, attempt, outcome }) => {
                let channel = receiver.channel.name();
                report(channel, &key, attempt, &outcome, is_failing);
                activity.send_modify(|activity| activity.count_attempt(channel, attempt_result(&outcome)));
                is_failing = !matches!(outcome, SendOutcome::Delivered { .. });
                is_reported = false;
                // Otherwise a channel that answers at once (the log) would block all other tasks until
                // its queue is empty.
                yield_now().await;
                continue;
            }
            Err(error) if receiver.has_unrecorded_outcome() => {
                if !is_reported {
                    let channel = receiver.channel.name();
                    let reason = error.reason();
                    tracing::error!("{channel}: cannot record the outcome of a message, retrying: {reason}");
                }
                is_reported = true;
                Some(OUTCOME_RETRY)
            }
            // Waits in parts, because the wall clock may be set meanwhile.
            Ok(Round::Idle { until }) => until.map(|until| clock::time_until(until).min(COMPARE_EVERY)),
            Err(error) => {
                tracing::error!("{}: cannot use the database: {}", receiver.channel.name(), error.reason());
                Some(STORE_RETRY)
            }
        };
        progress.waiting(wait, clock::monotonic_now());
        let due = async {
            match wait {
                Some(wait) => sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        let stop = async {
            // Only the first stop ends the wait: an unrecorded outcome is retried at once, then after
            // each pause.
            if was_stopped {
                std::future::pending().await
            }
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        tokio::select! {
            () = due => {}
            _ = ticks.changed() => {}
            () = receiver.channel.until_screen_changes() => {}
            () = stop => {}
        }
    }
    receiver
}

pub fn round_timeout(receiver: &Receiver) -> Duration {
    receiver.channel.max_duration() + LEEWAY
}

fn attempt_result(outcome: &SendOutcome) -> AttemptResult {
    match outcome {
        SendOutcome::Delivered { .. } => AttemptResult::Sent,
        SendOutcome::Transient { .. } | SendOutcome::Unclear { .. } => AttemptResult::Retry,
        SendOutcome::Permanent { .. } => AttemptResult::Refused,
    }
}

/// Logs the first failure, the end of a delivery and the first success after a failure. Repeated failures
/// are logged at debug level. `was_failing`: the previous attempt failed, of any notice.
fn report(channel: &str, key: &str, attempt: u32, outcome: &SendOutcome, was_failing: bool) {
    let detail = outcome.detail();
    match outcome {
        // After a restart only the attempt number shows an earlier failure.
        SendOutcome::Delivered { .. } if was_failing || attempt > 1 => {
            tracing::info!(key, channel, "{channel}: delivers again (attempt {attempt}): {detail}");
        }
        SendOutcome::Delivered { .. } => tracing::debug!(key, channel, "{channel}: delivered: {detail}"),
        SendOutcome::Permanent { .. } => {
            tracing::error!(key, channel, "{channel}: rejected permanently: {detail}; see `statusd outbox`")
        }
        SendOutcome::Unclear { .. } => {
            tracing::warn!(key, channel, "{channel}: may not have been delivered: {detail}");
        }
        SendOutcome::Transient { .. } if attempt == 1 => {
            tracing::warn!(key, channel, "{channel}: not delivered yet, retrying: {detail}");
        }
        SendOutcome::Transient { .. } => {
            tracing::debug!(key, channel, attempt, "{channel}: not delivered yet: {detail}")
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use tokio::net::TcpListener;
    use tokio::time::Instant;

    use super::*;
    use crate::channel::log::Log;
    use crate::channel::log::tests::captured;
    use crate::channel::webhook::Settings;
    use crate::channel::{Audience, Channel, Table};
    use crate::daemon::progress::{TaskState, Watched};
    use crate::delivery::policy::Policy;
    use crate::model::{Change, Edition, FeedId};
    use crate::setting::SettingError;
    use crate::tracking::watchlist::Watchlist;

    #[test]
    fn the_first_success_after_a_failure_is_logged_once() {
        let detail = || "answers".to_owned();
        let delivered = || SendOutcome::Delivered { receipt: None, detail: detail() };
        let retry = || SendOutcome::Transient { after_s: None, reached: true, detail: detail() };
        let count = |attempts: Vec<(u32, SendOutcome)>| {
            let mut was_failing = false;
            let (logged, _) = captured(false, || {
                for (attempt, outcome) in attempts {
                    report("webhook.ops", "key", attempt, &outcome, was_failing);
                    was_failing = !matches!(outcome, SendOutcome::Delivered { .. });
                }
            });
            logged.matches("INFO webhook.ops: delivers again").count()
        };
        assert_eq!(count(vec![(1, delivered()), (1, delivered())]), 0);
        assert_eq!(count(vec![(1, retry()), (2, retry()), (3, delivered()), (1, delivered())]), 1);
        assert_eq!(count(vec![(1, SendOutcome::Permanent { detail: detail() }), (1, delivered())]), 1);
        assert_eq!(count(vec![(1, SendOutcome::Unclear { detail: detail() }), (1, delivered())]), 1);
        // After a restart, the attempt number shows the earlier failures.
        assert_eq!(count(vec![(7, delivered())]), 1);
    }

    fn receiver(url: &str, feed: &FeedId) -> Receiver {
        let settings: Settings = toml::from_str(&format!("url = {url:?}")).expect("settings");
        let transport = settings.open(&|_| Err(SettingError::new("", "no secrets"))).expect("a webhook");
        let channel = Channel::new("webhook.ops", Audience::Programs, transport);
        Receiver::new(channel, Policy::default(), feed.clone(), Watchlist::new(&["*"]), TimeZone::UTC)
    }

    #[tokio::test]
    async fn a_stop_during_a_round_ends_the_loop() {
        let feed = FeedId { edition: Edition::Consumer, locale: "en_US".to_owned() };
        let store = Rc::new(Store::open_in_memory().expect("a database"));
        let channel = Channel::new("log", Audience::Programs, Log);
        let receiver = Receiver::new(channel, Policy::default(), feed, Watchlist::new(&["*"]), TimeZone::UTC);
        let (_tick, ticks) = watch::channel(());
        let (stop, stopped) = watch::channel(false);
        let (progress, _watched) = Progress::new("the channel", Duration::ZERO, Instant::now());
        let running = deliver_loop(receiver, store, counts(), ticks, stopped, &progress);
        let mut running = std::pin::pin!(running);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(running.as_mut().poll(&mut context).is_pending(), "the round waits for the database");
        stop.send_replace(true);
        tokio::time::timeout(Duration::from_secs(60), running).await.expect("the loop ends");
    }

    #[tokio::test]
    async fn the_loop_yields_after_each_notice_of_a_fast_channel() {
        const WAITING: usize = 50;
        let feed = FeedId { edition: Edition::Consumer, locale: "en_US".to_owned() };
        let store = Rc::new(Store::open_in_memory().expect("a database"));
        let now = clock::now();
        for number in 0..WAITING {
            let message = number.to_string();
            let at = now + jiff::SignedDuration::from_secs(i64::try_from(number).expect("small"));
            let change = Change::history_lost(feed.clone(), &message, at);
            store.record_change(&change, &|_| vec!["log".to_owned()], now).await.expect("written");
        }
        let channel = Channel::new("log", Audience::Programs, Log);
        let receiver = Receiver::new(channel, Policy::default(), feed, Watchlist::new(&["*"]), TimeZone::UTC);
        let (_tick, ticks) = watch::channel(());
        let (stop, stopped) = watch::channel(false);
        let (progress, _watched) = Progress::new("deliveries", Duration::ZERO, Instant::now());
        let others = async {
            while store.totals().await.expect("totals").sent == 0 {}
            stop.send_replace(true);
        };
        tokio::join!(deliver_loop(receiver, Rc::clone(&store), counts(), ticks, stopped, &progress), others);
        let sent = store.totals().await.expect("totals").sent;
        assert!((1..10).contains(&sent), "a stop after the first one, and {sent} of {WAITING} sent");
    }

    fn counts() -> watch::Sender<ActivityCounts> {
        watch::channel(ActivityCounts::none()).0
    }

    /// Yields until the loop waits, and returns the end of the wait.
    async fn until_it_waits(watched: &Watched) -> Option<Instant> {
        loop {
            if let TaskState::Waiting { until } = watched.status().state {
                return until;
            }
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn the_loop_reports_work_while_it_sends_and_then_its_wait() {
        let server = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = server.local_addr().expect("an address");
        let feed = FeedId { edition: Edition::Consumer, locale: "en_US".to_owned() };
        let store = Rc::new(Store::open_in_memory().expect("a database"));
        let (tick, ticks) = watch::channel(());
        let (_stop, stopped) = watch::channel(false);
        let receiver = receiver(&format!("http://{address}/"), &feed);
        let timeout = round_timeout(&receiver);
        let (progress, watched) = Progress::new("deliveries", Duration::ZERO, Instant::now());
        let story = async {
            assert_eq!(until_it_waits(&watched).await, None, "nothing is pending");
            let now = clock::now();
            let change = Change::history_lost(feed, "elsewhere", now);
            store.record_change(&change, &|_| vec!["webhook.ops".to_owned()], now).await.expect("written");
            tick.send_replace(());
            let (sent, _) = server.accept().await.expect("a message");
            assert_eq!(watched.status().state, TaskState::Working { timeout });
            drop(sent);
            assert!(until_it_waits(&watched).await.is_some(), "the next attempt has a time");
        };
        tokio::select! {
            biased;
            _ = deliver_loop(receiver, Rc::clone(&store), counts(), ticks, stopped, &progress) => {
                panic!("the loop ended without a stop")
            }
            () = story => {}
        }
    }
}
