//! Starts and stops the delivery loops, across reloads.
//!
//! At most one loop uses a channel at a time, also if the configuration is reloaded while a server hangs. The
//! next loop of a channel starts when the previous one has ended. Nothing else waits for that.

use std::rc::Rc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_local};

use super::delivery_loop::{deliver_loop, round_timeout};
use super::progress::run_to_end;
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
    pub fn new() -> ChannelLoops {
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
        let activity = shared.activity.clone();
        let name = format!("the delivery loop of {}", receiver.channel.name());
        let progress = shared.loops.register(name, round_timeout(&receiver));
        spawn_local(run_to_end(progress, async move |progress| {
            let receiver = match older {
                Some(older) => {
                    // The older loop reports its own progress.
                    progress.waiting(None, clock::monotonic_now());
                    continued(receiver, older.await.ok().flatten())
                }
                None => receiver,
            };
            Some(deliver_loop(receiver, store, activity, ticks, stopped, progress).await.channel)
        }))
    }

    /// Waits for notices in flight. After the timeout, an unfinished one is sent again at the next start,
    /// under the same key.
    pub async fn stop(self, timeout: Duration) {
        self.stop.send_replace(true);
        let all = async {
            for ChannelLoop { task, .. } in self.loops {
                let _ = task.await;
            }
        };
        if tokio::time::timeout(timeout, all).await.is_err() {
            tracing::warn!("stopped while a message was being sent: the next start sends it again");
        }
    }
}

/// Keeps the older channel with its connection if its settings are unchanged.
fn continued(new: Receiver, older: Option<Channel>) -> Receiver {
    match older {
        Some(older) if new.channel.can_reuse(&older) => new.with_channel(older),
        Some(_) | None => new,
    }
}
