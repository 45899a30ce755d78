//! Calls of `Notify` that are still without a reply.
//!
//! The server may carry out a call after its timeout. Without the reply, the bubble's id is unknown, and
//! the bubble can never be closed. So each call waits for its reply as long as the connection lives.

use std::collections::HashMap;

use notify_rust::Notification;
use tokio::sync::mpsc;
use tokio::time::{Duration, Instant};
use zbus::names::OwnedUniqueName;
use zbus::{Connection, Variant};

use super::bus::call_server;

/// The D-Bus default. A live server that has not replied by then never will.
const REPLY_TIMEOUT: Duration = Duration::from_secs(25);
/// The maximum number of pending calls per message and server instance. More copies would not help.
const MAX_CALLS_PER_MESSAGE: usize = 3;

/// The bubble's id.
type NotifyResult = Result<u32, zbus::Error>;

/// The calls that wait for a reply.
#[derive(Debug)]
pub struct Calls {
    pending: Vec<PendingCall>,
    last_number: u64,
    sender: mpsc::UnboundedSender<(u64, NotifyResult)>,
    replies: mpsc::UnboundedReceiver<(u64, NotifyResult)>,
}

#[derive(Debug)]
struct PendingCall {
    number: u64,
    /// The key of the message.
    key: String,
    owner: OwnedUniqueName,
    since: Instant,
    /// Another call has delivered the message, or the message is no longer sent.
    is_abandoned: bool,
}

/// The server's reply to a call.
#[derive(Debug)]
pub struct CallReply {
    pub owner: OwnedUniqueName,
    /// The bubble is no longer wanted.
    pub is_abandoned: bool,
    pub result: NotifyResult,
}

impl Default for Calls {
    fn default() -> Calls {
        let (sender, replies) = mpsc::unbounded_channel();
        Calls { pending: Vec::new(), last_number: 0, sender, replies }
    }
}

impl Calls {
    /// Starts a call for the message with `key`, in a task that outlives the caller.
    pub fn start(
        &mut self,
        key: &str,
        owner: OwnedUniqueName,
        call: impl Future<Output = NotifyResult> + Send + 'static,
    ) {
        self.last_number += 1;
        let (number, sender) = (self.last_number, self.sender.clone());
        tokio::spawn(async move {
            let result = call.await;
            // The receiver is gone if the channel was closed.
            let _closed = sender.send((number, result));
        });
        self.pending.push(PendingCall {
            number,
            key: key.to_owned(),
            owner,
            since: Instant::now(),
            is_abandoned: false,
        });
    }

    /// Waits for the next reply, for ever if none is due. Cancel-safe.
    pub async fn next(&mut self) -> CallReply {
        loop {
            match self.replies.recv().await {
                Some((number, result)) => {
                    if let Some(reply) = self.take(number, result) {
                        return reply;
                    }
                }
                // Unreachable, because `self` keeps a sender.
                None => std::future::pending().await,
            }
        }
    }

    /// Drops calls to other servers than `owner`, because their bubbles are gone.
    pub fn retain_owner(&mut self, owner: &OwnedUniqueName) {
        self.pending.retain(|call| call.owner == *owner);
    }

    /// Abandons the calls for other messages.
    pub fn abandon_others(&mut self, key: &str) {
        self.pending.iter_mut().filter(|call| call.key != key).for_each(|call| call.is_abandoned = true);
    }

    /// Abandons all calls. Bubbles of later replies are to be closed.
    pub fn abandon_all(&mut self) {
        self.pending.iter_mut().for_each(|call| call.is_abandoned = true);
    }

    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Returns true if a call for the message waits for its reply.
    pub fn is_pending(&self, key: &str) -> bool {
        self.for_message(key).next().is_some()
    }

    /// Returns true if a live server should get another call for the message.
    pub fn may_repeat(&self, key: &str) -> bool {
        let timed_out = self.for_message(key).all(|call| call.since.elapsed() >= REPLY_TIMEOUT);
        timed_out && self.for_message(key).count() < MAX_CALLS_PER_MESSAGE
    }

    fn for_message(&self, key: &str) -> impl Iterator<Item = &PendingCall> {
        self.pending.iter().filter(move |call| call.key == key && !call.is_abandoned)
    }

    fn take(&mut self, number: u64, result: NotifyResult) -> Option<CallReply> {
        let index = self.pending.iter().position(|call| call.number == number)?;
        let PendingCall { owner, is_abandoned, .. } = self.pending.swap_remove(index);
        Some(CallReply { owner, is_abandoned, result })
    }
}

/// Shows a bubble and returns its id. `replaces` is 0 for a new bubble.
pub async fn notify(
    connection: Connection,
    owner: OwnedUniqueName,
    bubble: Notification,
    replaces: u32,
) -> NotifyResult {
    let hints: HashMap<&str, Variant<'_>> = bubble.hints.iter().map(Into::into).collect();
    let body = (
        &bubble.appname,
        replaces,
        &bubble.icon,
        &bubble.summary,
        &bubble.body,
        &bubble.actions,
        hints,
        i32::from(bubble.timeout),
    );
    let reply = call_server(&connection, &owner, "Notify", &body).await?;
    // The bubble was shown even if the reply is malformed.
    Ok(reply.body().deserialize().unwrap_or_default())
}
