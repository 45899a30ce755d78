//! The notice that a channel is given to send, and the outcome of an attempt. Knows no kind of channel.

use crate::model::{Edition, Severity};

/// The recipients of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Get one message for all changes that are due, with ongoing and ended outages kept apart.
    People,
    /// People in front of the screen: one bubble for each incident, replaced by its own news.
    Desktop,
    /// Get each change.
    Programs,
}

impl Audience {
    /// Returns true if people read the channel, who can snooze and acknowledge.
    pub fn is_people(self) -> bool {
        match self {
            Audience::People | Audience::Desktop => true,
            Audience::Programs => false,
        }
    }
}

/// A message for a channel. The notice is frozen: every attempt sends the same bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Stable across attempts and restarts. ASCII without white space.
    pub key: String,
    /// One line of plain text. Contains Apple's text: untrusted until escaped.
    pub title: String,
    /// Plain text of several lines. Contains Apple's text: untrusted until escaped.
    pub body: String,
    pub severity: Severity,
    /// The documented JSON of the change (`docs/json.md`), for programs. Empty for people.
    pub payload: String,
    /// The receipt of the message that this notice makes redundant: the start, if this is its end.
    pub replaces: Option<String>,
    /// The receipt of the newest message about any of the same outages, and possibly others. A channel
    /// with threads replies to that message.
    pub follows: Option<String>,
}

impl Notice {
    /// Returns Apple's own page about the feed of the notice.
    pub fn page(&self) -> &'static str {
        Edition::of(&self.key).page()
    }
}

/// The outcome of one attempt. `detail` is one line for users, without secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendOutcome {
    Delivered {
        /// The `replaces` of a later notice that supersedes this one.
        receipt: Option<String>,
        detail: String,
    },
    /// A retry may succeed.
    Transient {
        /// The delay that the server asks for (`Retry-After`), unbounded.
        after_s: Option<u64>,
        /// False only if the server certainly did not receive the message.
        reached: bool,
        detail: String,
    },
    /// The server received the message, but its response is unintelligible: it may have accepted the
    /// message. At most three attempts, because each may repeat it.
    Unclear { detail: String },
    /// No retry succeeds without a change by the user: a wrong address, rejected credentials.
    Permanent { detail: String },
}

impl SendOutcome {
    pub fn detail(&self) -> &str {
        match self {
            SendOutcome::Delivered { detail, .. }
            | SendOutcome::Transient { detail, .. }
            | SendOutcome::Unclear { detail }
            | SendOutcome::Permanent { detail } => detail,
        }
    }

    /// Returns the same outcome with `map` applied to its detail.
    pub fn map_detail(self, map: impl FnOnce(String) -> String) -> SendOutcome {
        match self {
            SendOutcome::Delivered { receipt, detail } => {
                SendOutcome::Delivered { receipt, detail: map(detail) }
            }
            SendOutcome::Transient { after_s, reached, detail } => {
                SendOutcome::Transient { after_s, reached, detail: map(detail) }
            }
            SendOutcome::Unclear { detail } => SendOutcome::Unclear { detail: map(detail) },
            SendOutcome::Permanent { detail } => SendOutcome::Permanent { detail: map(detail) },
        }
    }
}

/// The intended state of an alarm that was shown and may still be on the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlarmAction {
    /// Take the alarm from the screen: its outages have ended.
    Close,
    /// Do nothing: the alarm is still true, but must not be shown again now.
    Leave,
    /// Keep the alarm on the screen, unless the user dismissed it.
    Show,
}

/// The result of an [`AlarmAction`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlarmResult {
    Unchanged,
    /// The alarm was dismissed, and its receipt is void.
    Gone,
    /// statusd showed the alarm again or closed it; `receipt` is the new one.
    Changed {
        receipt: String,
    },
    /// The action failed now and may succeed later.
    Retry,
}
