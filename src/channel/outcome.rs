//! Defines what a channel is given to send and what comes of it. Knows no kind of channel.

use crate::model::{Edition, Severity};

/// Whom a channel speaks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Gets one message for all that is due; news of what goes on and of what is over are one each.
    People,
    /// People in front of it: each incident is one bubble, replaced by its own news.
    Desktop,
    /// Gets each change.
    Programs,
}

impl Audience {
    /// Whether people read it: they can snooze and acknowledge.
    pub fn is_people(self) -> bool {
        match self {
            Audience::People | Audience::Desktop => true,
            Audience::Programs => false,
        }
    }
}

/// What a channel is given to say. RenderedNotice: every try of it carries the same bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Stable across tries and restarts; ASCII without blanks.
    pub key: String,
    /// One line, plain text. Holds Apple's words: hostile until escaped.
    pub title: String,
    /// Plain text of several lines. Holds Apple's words: hostile until escaped.
    pub body: String,
    pub severity: Severity,
    /// The documented JSON of the change (`docs/json.md`), for programs; empty for people.
    pub payload: String,
    /// The receipt of the message that this one says all of and more: the start, when this is its
    /// end. That one may go.
    pub replaces: Option<String>,
    /// The receipt of the newest message about any of the same outages, which may be about others
    /// too: what this one answers, in a thread.
    pub follows: Option<String>,
}

impl Notice {
    /// Apple's own page about the feed that the notice is about.
    pub fn page(&self) -> &'static str {
        Edition::of(&self.key).page()
    }
}

/// What came of one try. `words` are one line for people, without secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendOutcome {
    Delivered {
        /// What the channel wants to be given as `replaces` when a later notice supersedes this one.
        receipt: Option<String>,
        words: String,
    },
    /// May work later.
    Transient {
        /// The peer's own wish (`Retry-After`), unbounded.
        after_s: Option<u64>,
        /// False only if the peer certainly never saw the message.
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

/// What is to become of an alarm that a channel has shown and that may be on a screen still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Nothing in it is true any more.
    Closed,
    /// It is true, but not to be shown again now.
    Left,
    /// It is to be there, unless the user dismissed it.
    OnScreen,
}

/// What became of such an alarm.
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
