//! Ways to reach people and programs: one file a kind, each with its settings, its request and
//! its promise. This file holds what they share: what a channel is given and what it answers.
//!
//! A channel sends once and says what came of it. It never retries, remembers or reads the
//! database; that is `deliver`'s work.

/// Whom a channel speaks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Gets one message for all that is due.
    People,
    /// Gets each change.
    Programs,
}

/// How loudly to say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// News that asks for nothing: an end, a plan.
    Normal,
    /// An outage began.
    Critical,
}

/// What a channel is given to say. Frozen: every try of it carries the same bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Stable across tries and restarts; ASCII without blanks.
    pub key: String,
    /// One line, plain text. Holds Apple's words: hostile until escaped.
    pub title: String,
    /// Plain text of several lines. Holds Apple's words: hostile until escaped.
    pub body: String,
    pub urgency: Urgency,
    /// The documented JSON of the change (`docs/json.md`), for programs; empty for people.
    pub payload: String,
    /// The receipt of the message that this one replaces: the start, when this is its end.
    pub replaces: Option<String>,
}

/// What came of one try. `words` are one line for people, without secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Delivered {
        /// What the channel wants to be given as `replaces` when a later notice supersedes this one.
        receipt: Option<String>,
        words: String,
    },
    /// May work later.
    Retry {
        /// The peer's own wish (`Retry-After`), unbounded.
        after_s: Option<u64>,
        /// False only if the peer certainly never saw the message.
        reached: bool,
        words: String,
    },
    /// Will never work as it is: wrong address, refused credentials, gone.
    Refused { words: String },
}
