//! Bubbles on the desktop of whoever is logged in: through D-Bus, on macOS through its
//! notification centre.
//!
//! It remembers no message: what a later one replaces stands in that one's receipt. Invariant:
//! Apple's words reach the screen as text, never as markup, and never longer than the limits
//! below.

use std::time::Duration;

use notify_rust::{Notification, Timeout};
use serde::Deserialize;

use super::settings::{ReadSecret, Shown, shown};
use super::{Answer, Audience, Notice, Table, Way};
use crate::model::Tone;
use crate::text;

#[cfg(target_os = "macos")]
mod macos;
#[cfg(not(target_os = "macos"))]
mod xdg;

#[cfg(target_os = "macos")]
pub use macos::Desktop;
#[cfg(not(target_os = "macos"))]
pub use xdg::Desktop;

/// The whole try. Starting a notification server may take longer (D-Bus gives it 25 s); the next
/// try finds it running.
const SEND_WITHIN: Duration = Duration::from_secs(10);
const TITLE_MAX: usize = 120;
/// Room for the names of all services: an incident that hits sixty is one message.
const BODY_MAX: usize = 2000;
const APP_NAME: &str = "statusd";

/// `[channel.desktop]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Whether to show bubbles. Yes unless told otherwise.
    pub enabled: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { enabled: true }
    }
}

impl Table for Settings {
    fn audience(&self) -> Audience {
        Audience::Desktop
    }

    fn shown(&self) -> Vec<Shown> {
        let Settings { enabled } = self;
        vec![shown("enabled", *enabled)]
    }

    fn is_enabled(&self) -> bool {
        self.enabled
    }

    fn open(&self, _: ReadSecret) -> Result<Way, String> {
        Ok(Way::Desktop(Desktop::new()))
    }
}

/// What is shown, as `notify-rust` has it for every platform.
///
/// `markup` says that whoever shows it reads the body as markup. The title is text everywhere.
fn bubble(notice: &Notice, markup: bool) -> Notification {
    let body = text::plain_text(&notice.body, BODY_MAX);
    let body = if markup { escaped(&body) } else { body };
    let mut bubble = Notification::new();
    bubble.appname(APP_NAME).summary(&text::plain_line(&notice.title, TITLE_MAX)).body(&body);
    match notice.tone {
        // An outage that began at night must still be there in the morning.
        Tone::Alarm => bubble.icon("dialog-warning").timeout(Timeout::Never),
        Tone::Relief | Tone::Neutral => bubble.icon("dialog-information").timeout(Timeout::Default),
    };
    #[cfg(not(target_os = "macos"))]
    xdg::add_hints(&mut bubble, notice.tone);
    bubble
}

/// The five characters that mean something in the markup of the notification specification.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            other => out.push(other),
        }
    }
    out
}

fn not_reached(words: impl Into<String>) -> Answer {
    Answer::Retry { after_s: None, reached: false, words: words.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(title: &str, body: &str, tone: Tone) -> Notice {
        Notice {
            key: "k".to_owned(),
            title: title.to_owned(),
            body: body.to_owned(),
            tone,
            payload: String::new(),
            replaces: None,
            follows: None,
        }
    }

    #[test]
    fn markup_is_escaped_only_for_those_who_read_it() {
        let notice = notice("<b>A & B</b>", "\"Tom\" & <i>'Jerry'</i>", Tone::Relief);
        let (escaped, plain) = (bubble(&notice, true), bubble(&notice, false));
        assert_eq!(escaped.body, "&quot;Tom&quot; &amp; &lt;i&gt;&apos;Jerry&apos;&lt;/i&gt;");
        assert_eq!(plain.body, "\"Tom\" & <i>'Jerry'</i>");
        assert_eq!((escaped.summary.as_str(), plain.summary.as_str()), ("<b>A & B</b>", "<b>A & B</b>"));
    }

    #[test]
    fn lengths_are_capped_before_escaping_and_tricks_dropped() {
        let bubble = bubble(&notice(&"t\u{202e}".repeat(500), &"<\n".repeat(2000), Tone::Relief), true);
        assert_eq!(bubble.summary.chars().count(), TITLE_MAX);
        assert_eq!(bubble.body.matches("&lt;").count(), BODY_MAX / 2);
        assert!(!bubble.body.contains("&l…") && bubble.body.ends_with('…'));
    }

    #[test]
    fn an_outage_stays_on_the_screen() {
        assert_eq!(bubble(&notice("t", "b", Tone::Alarm), false).timeout, Timeout::Never);
        assert_eq!(bubble(&notice("t", "b", Tone::Relief), false).timeout, Timeout::Default);
    }

    #[test]
    fn the_table_has_a_default_and_no_other_keys() {
        assert_eq!(toml::from_str::<Settings>(""), Ok(Settings { enabled: true }));
        assert_eq!(toml::from_str::<Settings>("enabled = false"), Ok(Settings { enabled: false }));
        assert!(toml::from_str::<Settings>("enable = false").is_err());
    }
}
