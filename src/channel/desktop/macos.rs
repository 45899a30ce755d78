//! The desktop of macOS: the notification centre, which neither confirms nor replaces a message.
//!
//! There are no receipts. While a call to the notification centre hangs, no second one is made.

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
    /// Shows one bubble. Times out after 10 s.
    async fn send(&mut self, notice: &Notice) -> SendOutcome {
        if self.stuck.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return not_reached("the notification centre still does not answer; log out and in");
        }
        let bubble = bubble(notice, Abilities::default(), Urgency::default(), false);
        let (done, result) = oneshot::channel();
        // Not a thread of tokio's pool, because the runtime waits for those at shutdown.
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

    /// Returns true, because only a message can test the notification centre.
    async fn is_reachable(&mut self) -> bool {
        true
    }

    /// Without receipts there is nothing to keep.
    async fn keep_alarm(&mut self, _: &Notice, _: &str, _: Wish) -> Fate {
        Fate::Gone
    }

    /// Never returns, because the notification centre reports nothing.
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
