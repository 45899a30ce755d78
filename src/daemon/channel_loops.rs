//! Starts and stops the delivery loops, across reloads.
//!
//! At most one loop uses a channel at a time, also if the configuration is reloaded while a server hangs. The
//! next loop of a channel starts when the previous one has ended. Nothing else waits for that.

use std::rc::Rc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::timeout;

use super::delivery_loop::{deliver_loop, round_within};
use super::progress::tended;
use super::shared::Shared;
use crate::channel::Channel;
use crate::clock;
use crate::delivery::Receiver;

pub struct ChannelLoops {
    loops: Vec<ChannelLoop>,
    /// Stops the loops of the newest configuration. Older ones were stopped before.
    stop: watch::Sender<bool>,
}

/// The newest loop of a channel.
struct ChannelLoop {
    channel: String,
    /// Returns the channel, unless it is no longer configured.
    task: JoinHandle<Option<Channel>>,
}

impl ChannelLoops {
    pub fn none() -> ChannelLoops {
        ChannelLoops { loops: Vec::new(), stop: watch::channel(false).0 }
    }

    /// Stops the current loops and starts one for each of `receivers`. A notice in flight is finished first,
    /// which delays only the next loop of the same channel.
    pub fn replace(&mut self, receivers: Vec<Receiver>, shared: &Shared) {
        self.stop.send_replace(true);
        self.stop = watch::channel(false).0;
        let mut before = std::mem::take(&mut self.loops);
        for receiver in receivers {
            let channel = receiver.channel.name().to_owned();
            let older = before.iter().position(|older| older.channel == channel);
            let older = older.map(|index| before.swap_remove(index).task);
            self.loops.push(ChannelLoop { channel, task: self.start(receiver, older, shared) });
        }
        // Channels that were removed. A later reload may add them before their loops have ended.
        let removed = before.into_iter().filter(|left| !left.task.is_finished());
        self.loops.extend(removed.map(|ChannelLoop { channel, task }| {
            let closed = async move {
                // Dropped here and not at the next reload, because it may hold a connection.
                let _channel = task.await;
                None
            };
            ChannelLoop { channel, task: spawn_local(closed) }
        }));
    }

    fn start(
        &self,
        receiver: Receiver,
        older: Option<JoinHandle<Option<Channel>>>,
        shared: &Shared,
    ) -> JoinHandle<Option<Channel>> {
        let store = Rc::clone(&shared.store);
        let (ticks, stopped) = (shared.outbox.subscribe(), self.stop.subscribe());
        let name = format!("the delivery loop of {}", receiver.channel.name());
        let progress = shared.loops.begin(name, round_within(&receiver));
        spawn_local(tended(progress, async move |progress| {
            let receiver = match older {
                Some(older) => {
                    // The older loop answers for its own progress.
                    progress.waits(None, clock::monotonic_now());
                    continued(receiver, older.await.ok().flatten())
                }
                None => receiver,
            };
            Some(deliver_loop(receiver, store, ticks, stopped, progress).await.channel)
        }))
    }

    /// Waits for notices in flight. After the timeout, an unfinished one is sent again at the next start,
    /// under the same key.
    pub async fn stop(self, within: Duration) {
        self.stop.send_replace(true);
        let all = async {
            for ChannelLoop { task, .. } in self.loops {
                let _ = task.await;
            }
        };
        if timeout(within, all).await.is_err() {
            tracing::warn!("stopped with a message on its way: the next start sends it again");
        }
    }
}

/// A channel that keeps something (a connection, what it showed) goes on across a reload.
fn continued(fresh: Receiver, older: Option<Channel>) -> Receiver {
    match older {
        Some(older) if fresh.channel.continues(&older) => fresh.through(older),
        Some(_) | None => fresh,
    }
}
