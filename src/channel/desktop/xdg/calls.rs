//! Calls of `Notify` that the server has not answered yet.
//!
//! A call that is given up may still be carried out, and its bubble then stays for good, because
//! nobody knows its number. So a reply is waited for as long as the connection lives. Invariant:
//! every reply that comes is handed out once.

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

/// The calls that wait for their reply.
#[derive(Debug)]
pub struct Calls {
    open: Vec<Open>,
    last: u64,
    done: mpsc::UnboundedSender<(u64, Result)>,
    replies: mpsc::UnboundedReceiver<(u64, Result)>,
}

/// One call without a reply.
#[derive(Debug)]
struct Open {
    number: u64,
    /// Of the message.
    key: String,
    owner: OwnedUniqueName,
    since: Instant,
    /// Its message was delivered by another call or is not sent any more.
    is_abandoned: bool,
}

/// The server's answer to a call.
#[derive(Debug)]
pub struct CallReply {
    pub owner: OwnedUniqueName,
    /// Nobody waits for the bubble any more.
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
    /// Makes a call for the message with `key`. It goes on when nobody waits for it.
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

    /// The next reply. Waits for ever where none is to come. Cancel-safe.
    pub async fn next(&mut self) -> CallReply {
        loop {
            match self.replies.recv().await {
                Some((number, result)) => {
                    if let Some(reply) = self.close(number, result) {
                        return reply;
                    }
                }
                // Cannot be: a sender is kept here.
                None => std::future::pending().await,
            }
        }
    }

    /// Drops calls to servers other than this one: their bubbles are gone with them.
    pub fn retain(&mut self, owner: &OwnedUniqueName) {
        self.open.retain(|open| open.owner == *owner);
    }

    /// Only the message with `key` is sent from now on.
    pub fn abandon_others(&mut self, key: &str) {
        self.open.iter_mut().filter(|open| open.key != key).for_each(|open| open.is_abandoned = true);
    }

    /// Nothing is sent any more; what is shown late is to go.
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

    /// Whether another call for this message makes sense to a server that is alive.
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

/// Shows a bubble; its number. `replaces`: 0 for a new one.
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
