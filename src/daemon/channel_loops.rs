//! The loops that deliver, across all configurations: which loop works on which channel.
//!
//! Invariant: one loop at a time works on a channel, whatever is reloaded while its server hangs. The
//! next loop of the channel begins when the one before has come back; everything else goes on at once.

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
    /// Stops the loops of the newest configuration; the others were stopped before.
    stop: watch::Sender<bool>,
}

/// The newest loop of a channel.
struct ChannelLoop {
    channel: String,
    /// Gives the channel back, unless it is no longer configured.
    task: JoinHandle<Option<Channel>>,
}

impl ChannelLoops {
    pub fn none() -> ChannelLoops {
        ChannelLoops { loops: Vec::new(), stop: watch::channel(false).0 }
    }

    /// Stops the loops that there are and starts one for each of `receivers`. A message in flight
    /// arrives or fails first, which delays the next loop of its channel alone.
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
        // Channels that are configured no more. They may be again before their loops have come back.
        let removed = before.into_iter().filter(|left| !left.task.is_finished());
        self.loops.extend(removed.map(|ChannelLoop { channel, task }| {
            let closed = async move {
                // Dropped here, not at the next reload: it may hold a connection.
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

    /// Lets messages in flight arrive, for so long at most. What was not recorded by then is sent again
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
