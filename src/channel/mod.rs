//! Ways to reach people and programs: one file a kind, each with its settings, its request and
//! its promise. This file holds what they share: what a channel is given and what it answers.
//!
//! A channel sends once and says what came of it. It never retries, remembers or reads the
//! database; that is `deliver`'s work.

pub mod desktop;
pub mod http;
pub mod log;
pub mod webhook;

pub use desktop::Desktop;
pub use http::http_answer;
pub use log::Log;
pub use webhook::Webhook;

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

impl Answer {
    /// What came of it, for people.
    pub fn words(&self) -> &str {
        match self {
            Answer::Delivered { words, .. } | Answer::Retry { words, .. } | Answer::Refused { words } => {
                words
            }
        }
    }

    /// The same answer in other words.
    fn reworded(self, reword: impl FnOnce(String) -> String) -> Answer {
        match self {
            Answer::Delivered { receipt, words } => Answer::Delivered { receipt, words: reword(words) },
            Answer::Retry { after_s, reached, words } => {
                Answer::Retry { after_s, reached, words: reword(words) }
            }
            Answer::Refused { words } => Answer::Refused { words: reword(words) },
        }
    }
}

/// One configured way to reach people or programs.
#[expect(clippy::large_enum_variant, reason = "a program has a handful of them, made once")]
#[derive(Debug)]
pub enum Channel {
    Desktop(Desktop),
    Webhook(Webhook),
    Log(Log),
}

impl Channel {
    /// The name in the configuration, the database and on the command line: `desktop`,
    /// `webhook.ops`, `log`.
    pub fn name(&self) -> &str {
        match self {
            Channel::Desktop(_) => "desktop",
            Channel::Webhook(webhook) => webhook.name(),
            Channel::Log(_) => "log",
        }
    }

    pub fn audience(&self) -> Audience {
        match self {
            Channel::Desktop(_) => Audience::People,
            Channel::Webhook(_) | Channel::Log(_) => Audience::Programs,
        }
    }

    /// One try. Ends by itself: within 20 s for a webhook, 10 s for the desktop, at once for the
    /// log.
    pub async fn send(&mut self, notice: &Notice) -> Answer {
        match self {
            Channel::Desktop(desktop) => desktop.send(notice).await,
            Channel::Webhook(webhook) => webhook.send(notice).await,
            Channel::Log(log) => log.send(notice),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_have_the_names_of_the_configuration() {
        let settings: webhook::Settings = toml::from_str("url = 'http://127.0.0.1:9/'").expect("settings");
        let webhook = Webhook::new("ops", &settings, &|_| Err("no files".to_owned())).expect("a webhook");
        let channels = [Channel::Desktop(Desktop::new()), Channel::Webhook(webhook), Channel::Log(Log)];
        let named = channels.each_ref().map(|channel| (channel.name(), channel.audience()));
        let expected =
            [("desktop", Audience::People), ("webhook.ops", Audience::Programs), ("log", Audience::Programs)];
        assert_eq!(named, expected);
    }
}
