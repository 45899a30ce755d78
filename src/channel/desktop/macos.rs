//! The desktop of macOS: the notification centre, which neither confirms nor replaces a message.
//!
//! There are no receipts. While a call to the notification centre hangs, no second one is made.

use std::thread;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::super::outcome::{AlarmAction, AlarmResult, Notice, SendOutcome};
use super::super::transport::Transport;
use super::{Capabilities, SEND_TIMEOUT, Urgency, bubble, not_reached};

/// The application that messages appear under, because a program outside a bundle has no identity. By
/// default the library asks the user where the application "use_default" is, or hangs
/// (mac-notification-sys #81).
const BUNDLE_ID: &str = "com.apple.Finder";

/// The desktop of the user that statusd runs as.
#[derive(Debug, Default)]
pub struct Desktop {
    /// The thread of the last message, if it timed out.
    hung: Option<thread::JoinHandle<()>>,
}

impl Desktop {
    pub fn new() -> Desktop {
        Desktop::default()
    }

    /// Ignores the urgency, which the notification centre does not support.
    pub fn with_urgency(self, _: Urgency) -> Desktop {
        self
    }
}

impl Transport for Desktop {
    /// Shows one bubble. Times out after 10 s.
    async fn send(&mut self, notice: &Notice) -> SendOutcome {
        if self.hung.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return not_reached("the notification centre still does not respond; log out and in");
        }
        let bubble = bubble(notice, Capabilities::default(), Urgency::default(), false);
        let (done, result) = oneshot::channel();
        // Not a thread of tokio's pool, because the runtime waits for those at shutdown.
        let spawned = thread::Builder::new().name("desktop".to_owned()).spawn(move || {
            // The only error is that the application is already set.
            let _already_set = notify_rust::set_application(BUNDLE_ID);
            // The library sends when the handle is dropped, and does not report errors of that.
            let shown = bubble.show().map(drop).map_err(|error| error.to_string());
            // After a timeout the receiver is gone.
            let _timed_out = done.send(shown);
        });
        let thread = match spawned {
            Ok(thread) => thread,
            Err(error) => return not_reached(format!("cannot start a thread: {error}")),
        };
        match timeout(SEND_TIMEOUT, result).await {
            Ok(Ok(Ok(()))) => {
                let detail = "passed to the notification centre".to_owned();
                SendOutcome::Delivered { receipt: None, detail }
            }
            Ok(Ok(Err(error))) => not_reached(format!("the notification centre rejected it: {error}")),
            Ok(Err(_panicked)) => not_reached("the thread of the notification centre panicked"),
            Err(_elapsed) => {
                self.hung = Some(thread);
                let detail = "the notification centre did not confirm the message".to_owned();
                SendOutcome::Transient { after_s: None, reached: true, detail }
            }
        }
    }

    /// Returns true, because only a message can test the notification centre.
    async fn is_reachable(&mut self) -> bool {
        true
    }

    /// Does nothing, because there are no receipts.
    async fn sync_alarm(&mut self, _: &Notice, _: &str, _: AlarmAction) -> AlarmResult {
        AlarmResult::Gone
    }

    /// Never returns, because the notification centre reports nothing.
    async fn until_screen_changes(&self) {
        std::future::pending().await
    }

    /// Returns true, because no setting matters.
    fn can_reuse(&self, _: &Desktop) -> bool {
        true
    }

    fn syncs_alarms(&self) -> bool {
        true
    }
}
