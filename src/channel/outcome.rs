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
        words: String,
    },
    /// A retry may succeed.
    Transient {
        /// The delay that the server asks for (`Retry-After`), unbounded.
        after_s: Option<u64>,
        /// False only if the server certainly did not receive the message.
        reached: bool,
        words: String,
    },
    /// The peer got the message, and its answer cannot be understood: it may have taken it. Tried
    /// three times at most, since each try may be a repeat.
    Unclear { words: String },
    /// Will never work as it is: wrong address, refused credentials, gone.
    Permanent { words: String },
}

impl SendOutcome {
    /// What came of it, for people.
    pub fn words(&self) -> &str {
        match self {
            SendOutcome::Delivered { words, .. }
            | SendOutcome::Transient { words, .. }
            | SendOutcome::Unclear { words }
            | SendOutcome::Permanent { words } => words,
        }
    }

    /// The same answer in other words.
    pub fn reworded(self, reword: impl FnOnce(String) -> String) -> SendOutcome {
        match self {
            SendOutcome::Delivered { receipt, words } => {
                SendOutcome::Delivered { receipt, words: reword(words) }
            }
            SendOutcome::Transient { after_s, reached, words } => {
                SendOutcome::Transient { after_s, reached, words: reword(words) }
            }
            SendOutcome::Unclear { words } => SendOutcome::Unclear { words: reword(words) },
            SendOutcome::Permanent { words } => SendOutcome::Permanent { words: reword(words) },
        }
    }
}

/// The intended state of an alarm that was shown and may still be on the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Nothing in it is true any more.
    Closed,
    /// It is true, but not to be shown again now.
    Left,
    /// It is to be there, unless the user dismissed it.
    OnScreen,
}

/// The result of an [`AlarmAction`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is as it was.
    Same,
    /// It was dismissed: its receipt means nothing any more.
    Gone,
    /// It was shown again, or closed by us. The receipt that it has now.
    Changed { receipt: String },
    /// The wish could not be fulfilled now. It may be later.
    Unknown,
}
