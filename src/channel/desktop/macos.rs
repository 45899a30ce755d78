//! The desktop of macOS: its notification centre, which neither says whether it shows a message
//! nor replaces one.
//!
//! It gives no receipts. Invariant: at most one message is with the notification centre.

use std::thread;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::super::outcome::{Fate, Notice, SendOutcome, Wish};
use super::super::transport::Transport;
use super::{Abilities, SEND_WITHIN, Urgency, bubble, not_reached};

/// On whose behalf messages appear. A program outside a bundle has no identity of its own, and
/// left to itself the library asks the person at the desk where the application "use_default"
/// is, or hangs (mac-notification-sys #81).
const ON_BEHALF_OF: &str = "com.apple.Finder";

/// The desktop of the user that statusd runs as.
#[derive(Debug, Default)]
pub struct Desktop {
    /// The thread of the last message, where it did not return in time.
    stuck: Option<thread::JoinHandle<()>>,
}

impl Desktop {
    pub fn new() -> Desktop {
        Desktop::default()
    }

    /// The notification centre knows no urgency.
    pub fn with(self, _: Urgency) -> Desktop {
        self
    }
}

impl Transport for Desktop {
    /// One bubble, within 10 s.
    async fn send(&mut self, notice: &Notice) -> SendOutcome {
        if self.stuck.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return not_reached("the notification centre still does not answer; log out and in");
        }
        let bubble = bubble(notice, Abilities::default(), Urgency::default(), false);
        let (done, result) = oneshot::channel();
        // A thread of its own and not tokio's pool, which the program waits for when it ends.
        let spawned = thread::Builder::new().name("desktop".to_owned()).spawn(move || {
            // An error says that it was set before.
            let _already_set = notify_rust::set_application(ON_BEHALF_OF);
            // The library sends when the handle is dropped, and keeps errors to itself.
            let shown = bubble.show().map(drop).map_err(|error| error.to_string());
            // Nobody listens any more if it took too long.
            let _late = done.send(shown);
        });
        let thread = match spawned {
            Ok(thread) => thread,
            Err(error) => return not_reached(format!("no thread for the desktop: {error}")),
        };
        match timeout(SEND_WITHIN, result).await {
            Ok(Ok(Ok(()))) => {
                let words = "handed to the notification centre".to_owned();
                SendOutcome::Delivered { receipt: None, words }
            }
            Ok(Ok(Err(error))) => not_reached(format!("the notification centre did not take it: {error}")),
            Ok(Err(_panicked)) => not_reached("the notification centre failed"),
            Err(_elapsed) => {
                self.stuck = Some(thread);
                let words = "the notification centre took the message and does not answer".to_owned();
                SendOutcome::Transient { after_s: None, reached: true, words }
            }
        }
    }

    /// Only a message finds that out.
    async fn is_reachable(&mut self) -> bool {
        true
    }

    /// Without receipts there is nothing to keep.
    async fn keep_alarm(&mut self, _: &Notice, _: &str, _: Wish) -> Fate {
        Fate::Gone
    }

    /// Never returns: nothing is heard of messages that were shown.
    async fn until_screen_changes(&self) {
        std::future::pending().await
    }

    /// There is nothing to be set differently.
    fn continues(&self, _: &Desktop) -> bool {
        true
    }

    fn keeps_alarms(&self) -> bool {
        true
    }
}
