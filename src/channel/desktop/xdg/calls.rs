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

use super::link::call;

/// What D-Bus itself gives a call. A server that is alive and has not answered by then will not.
const REPLY_WITHIN: Duration = Duration::from_secs(25);
/// Calls for one message to one run of a server. More copies would not make it more likely seen.
const MAX_CALLS_EACH: usize = 3;

type Result = std::result::Result<u32, zbus::Error>;

/// The calls that wait for a reply.
#[derive(Debug)]
pub struct Calls {
    open: Vec<Open>,
    last: u64,
    done: mpsc::UnboundedSender<(u64, Result)>,
    replies: mpsc::UnboundedReceiver<(u64, Result)>,
}

#[derive(Debug)]
struct Open {
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
    /// The bubble's number.
    pub result: Result,
}

impl Default for Calls {
    fn default() -> Calls {
        let (done, replies) = mpsc::unbounded_channel();
        Calls { open: Vec::new(), last: 0, done, replies }
    }
}

impl Calls {
    /// Starts a call for the message with `key`, in a task that outlives the caller.
    pub fn start(
        &mut self,
        key: &str,
        owner: OwnedUniqueName,
        call: impl Future<Output = Result> + Send + 'static,
    ) {
        self.last += 1;
        let (number, done) = (self.last, self.done.clone());
        tokio::spawn(async move {
            let result = call.await;
            // The channel is gone where nobody wants the reply.
            let _unwanted = done.send((number, result));
        });
        let open = Open { number, key: key.to_owned(), owner, since: Instant::now(), is_abandoned: false };
        self.open.push(open);
    }

    /// Waits for the next reply, for ever if none is due. Cancel-safe.
    pub async fn next(&mut self) -> CallReply {
        loop {
            match self.replies.recv().await {
                Some((number, result)) => {
                    if let Some(reply) = self.close(number, result) {
                        return reply;
                    }
                }
                // Unreachable, because `self` keeps a sender.
                None => std::future::pending().await,
            }
        }
    }

    /// Drops calls to servers other than this one: their bubbles are gone with them.
    pub fn retain(&mut self, owner: &OwnedUniqueName) {
        self.open.retain(|open| open.owner == *owner);
    }

    /// Abandons the calls for other messages.
    pub fn abandon_others(&mut self, key: &str) {
        self.open.iter_mut().filter(|open| open.key != key).for_each(|open| open.is_abandoned = true);
    }

    /// Abandons all calls. Bubbles of later replies are to be closed.
    pub fn abandon_all(&mut self) {
        self.open.iter_mut().for_each(|open| open.is_abandoned = true);
    }

    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Whether a call for the message with `key` waits for its reply.
    pub fn waits_for(&self, key: &str) -> bool {
        self.of(key).next().is_some()
    }

    /// Returns true if a live server should get another call for the message.
    pub fn may_repeat(&self, key: &str) -> bool {
        let is_late = self.of(key).all(|open| open.since.elapsed() >= REPLY_WITHIN);
        is_late && self.of(key).count() < MAX_CALLS_EACH
    }

    fn of(&self, key: &str) -> impl Iterator<Item = &Open> {
        self.open.iter().filter(move |open| open.key == key && !open.is_abandoned)
    }

    fn close(&mut self, number: u64, result: Result) -> Option<CallReply> {
        let index = self.open.iter().position(|open| open.number == number)?;
        let Open { owner, is_abandoned, .. } = self.open.swap_remove(index);
        Some(CallReply { owner, is_abandoned, result })
    }
}

/// Shows a bubble and returns its id. `replaces` is 0 for a new bubble.
pub async fn notify(
    connection: Connection,
    owner: OwnedUniqueName,
    bubble: Notification,
    replaces: u32,
) -> Result {
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
    let answer = call(&connection, &owner, "Notify", &body).await?;
    // It was shown, whatever was said about it.
    Ok(answer.body().deserialize().unwrap_or_default())
}
