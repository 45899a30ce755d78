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

/// The pause after a database error.
const STORE_RETRY: Duration = Duration::from_secs(60);
/// The pause before the next attempt to record an outcome. Short, because deliveries and a stop wait.
const OUTCOME_RETRY: Duration = Duration::from_secs(1);

/// Delivers when a notice is due or `ticks` changes, until it is stopped.
pub async fn deliver_loop(
    mut receiver: Receiver,
    store: Rc<Store>,
    mut ticks: watch::Receiver<()>,
    mut stopped: watch::Receiver<bool>,
    progress: &Progress,
) -> Receiver {
    let mut is_failing = false;
    let mut is_reported = false;
    while !*stopped.borrow() || receiver.has_unrecorded_outcome() {
        progress.works(round_within(&receiver), clock::monotonic_now());
        let wait = match delivery::once(&store, &mut receiver, fastrand::f64(), &clock::now).await {
            Ok(Round::Tried { key, attempt, answer }) => {
                report(receiver.channel.name(), &key, attempt, &answer, is_failing);
                is_failing = !matches!(answer, SendOutcome::Delivered { .. });
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
        progress.waits(wait, clock::monotonic_now());
        let due = async {
            match wait {
                Some(wait) => sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        let is_stopped = *stopped.borrow();
        let stop = async {
            // Only the first stop ends the wait: an unrecorded outcome is retried at once, then after
            // each pause.
            if is_stopped {
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

pub fn round_within(receiver: &Receiver) -> Duration {
    receiver.channel.ends_within() + LEEWAY
}

/// The first failure, what ends a delivery and the first success after a failure are news; the tries
/// between them are not. `was_failing`: the attempt before, of this message or another.
fn report(channel: &str, key: &str, attempt: u32, answer: &SendOutcome, was_failing: bool) {
    let words = answer.words();
    match answer {
        // After a restart only the number of the attempt tells of a failure.
        SendOutcome::Delivered { .. } if was_failing || attempt > 1 => {
            tracing::info!(key, channel, "{channel}: delivers again (attempt {attempt}): {words}");
        }
        SendOutcome::Delivered { .. } => tracing::debug!(key, channel, "{channel}: delivered: {words}"),
        SendOutcome::Permanent { .. } => {
            tracing::error!(key, channel, "{channel}: refused for good: {words}; see `statusd outbox`")
        }
        SendOutcome::Unclear { .. } => {
            tracing::warn!(key, channel, "{channel}: perhaps not delivered: {words}");
        }
        SendOutcome::Transient { .. } if attempt == 1 => {
            tracing::warn!(key, channel, "{channel}: not delivered yet, trying again: {words}");
        }
        SendOutcome::Transient { .. } => {
            tracing::debug!(key, channel, attempt, "{channel}: not delivered yet: {words}")
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
    use crate::tracking::watchlist::Watchlist;

    #[test]
    fn a_channel_that_delivers_again_says_so_once() {
        let words = || "answers".to_owned();
        let delivered = || SendOutcome::Delivered { receipt: None, words: words() };
        let retry = || SendOutcome::Transient { after_s: None, reached: true, words: words() };
        let count = |tries: Vec<(u32, SendOutcome)>| {
            let mut was_failing = false;
            let (logged, _) = captured(false, || {
                for (attempt, answer) in tries {
                    report("webhook.ops", "key", attempt, &answer, was_failing);
                    was_failing = !matches!(answer, SendOutcome::Delivered { .. });
                }
            });
            logged.matches("INFO webhook.ops: delivers again").count()
        };
        assert_eq!(count(vec![(1, delivered()), (1, delivered())]), 0);
        assert_eq!(count(vec![(1, retry()), (2, retry()), (3, delivered()), (1, delivered())]), 1);
        assert_eq!(count(vec![(1, SendOutcome::Permanent { words: words() }), (1, delivered())]), 1);
        assert_eq!(count(vec![(1, SendOutcome::Unclear { words: words() }), (1, delivered())]), 1);
        // After a restart nothing else tells of the failures before.
        assert_eq!(count(vec![(7, delivered())]), 1);
    }

    fn receiver(url: &str, feed: &FeedId) -> Receiver {
        let settings: Settings = toml::from_str(&format!("url = {url:?}")).expect("settings");
        let way = settings.open(&|_| Err("no secrets".to_owned())).expect("a webhook");
        let channel = Channel::new("webhook.ops", settings.audience(), way);
        Receiver::new(channel, Policy::default(), feed.clone(), Watchlist::new(&["*"]), TimeZone::UTC)
    }

    /// SQLite and the log never wait, so only the loop itself yields.
    #[tokio::test]
    async fn between_two_messages_to_a_fast_channel_others_have_their_turn() {
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
        let (progress, _watched) = Progress::begins("deliveries", Duration::ZERO, Instant::now());
        let others = async {
            for _turn in 0..3 {
                yield_now().await;
            }
            stop.send_replace(true);
        };
        tokio::join!(deliver_loop(receiver, Rc::clone(&store), ticks, stopped, &progress), others);
        let sent = store.totals().await.expect("totals").sent;
        assert!((1..10).contains(&sent), "a stop after three turns, and {sent} of {WAITING} sent");
    }

    /// Yields until the loop waits, and returns the end of the wait.
    async fn until_it_waits(watched: &Watched) -> Option<Instant> {
        loop {
            if let TaskState::Waiting { until } = watched.standing().doing {
                return until;
            }
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn while_it_sends_it_works_and_then_it_waits_for_the_next_try_or_for_whatever_comes() {
        let peer = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = peer.local_addr().expect("an address");
        let feed = FeedId { edition: Edition::Consumer, locale: "en_US".to_owned() };
        let store = Rc::new(Store::open_in_memory().expect("a database"));
        let (tick, ticks) = watch::channel(());
        let (_stop, stopped) = watch::channel(false);
        let receiver = receiver(&format!("http://{address}/"), &feed);
        let within = round_within(&receiver);
        let (progress, watched) = Progress::begins("deliveries", Duration::ZERO, Instant::now());
        let story = async {
            assert_eq!(until_it_waits(&watched).await, None, "there is nothing yet");
            let now = clock::now();
            let change = Change::history_lost(feed, "elsewhere", now);
            store.record_change(&change, &|_| vec!["webhook.ops".to_owned()], now).await.expect("written");
            tick.send_replace(());
            let (sent, _) = peer.accept().await.expect("a message");
            assert_eq!(watched.standing().doing, TaskState::Working { within });
            drop(sent);
            assert!(until_it_waits(&watched).await.is_some(), "the next try has its time");
        };
        tokio::select! {
            biased;
            _ = deliver_loop(receiver, Rc::clone(&store), ticks, stopped, &progress) => {
                panic!("nobody stopped it")
            }
            () = story => {}
        }
    }
}
