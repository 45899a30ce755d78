//! Shows bubbles on the desktop of the logged-in user: over D-Bus, or on macOS in the notification centre.
//!
//! Remembers no messages: receipts identify the bubbles to replace, and the caller says which alarms are
//! still true ([`AlarmAction`]). Apple's text is shown as text, never as markup
//! (`markup_is_escaped_only_for_servers_that_read_it`).
//!
//! [`AlarmAction`]: super::AlarmAction

use std::time::Duration;

use notify_rust::{Notification, Timeout};
use serde::{Deserialize, Serialize};

use super::outcome::{Notice, SendOutcome};
use super::settings::ReadSecret;
use super::transport::{AnyTransport, Table};
use crate::model::Severity;
use crate::setting::SettingError;
use crate::text;

#[cfg(target_os = "macos")]
mod macos;
#[cfg(not(target_os = "macos"))]
mod xdg;

#[cfg(target_os = "macos")]
pub use macos::Desktop;
#[cfg(not(target_os = "macos"))]
pub use xdg::Desktop;

/// Limits the whole attempt. If a notification server takes longer to start (D-Bus allows 25 s), the next
/// attempt finds it running.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
const TITLE_MAX: usize = 120;
/// Enough for the names of all services, because an incident with sixty services is one message.
const BODY_MAX: usize = 2000;
const APP_NAME: &str = "statusd";

/// `[channel.desktop]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Shows bubbles. Default: true, but false in a system service.
    pub enabled: Option<bool>,
    /// The urgency of alarms. Default: critical.
    pub urgency: Urgency,
}

/// The urgency of an alarm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Urgency {
    /// Behaves like every other notification.
    Normal,
    /// Stays on the screen until it is dismissed.
    #[default]
    Critical,
}

impl Urgency {
    pub fn as_str(self) -> &'static str {
        match self {
            Urgency::Normal => "normal",
            Urgency::Critical => "critical",
        }
    }
}

/// The relevant capabilities of a notification server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Reads the body as markup.
    pub markup: bool,
    /// Shows buttons. A server without buttons (notify-osd) opens a dialog instead of a permanent bubble.
    pub actions: bool,
    /// Plays sounds.
    pub sound: bool,
}

impl Capabilities {
    /// Parses the result of `GetCapabilities`.
    pub fn from_names(names: &[String]) -> Capabilities {
        let has = |capability: &str| names.iter().any(|name| name == capability);
        Capabilities { markup: has("body-markup"), actions: has("actions"), sound: has("sound") }
    }
}

impl Table for Settings {
    fn is_enabled(&self) -> bool {
        self.enabled.unwrap_or(true)
    }

    fn open(&self, _: ReadSecret) -> Result<AnyTransport, SettingError> {
        Ok(Desktop::new().with_urgency(self.urgency).into())
    }
}

/// Builds the notification. Every server shows the title as plain text.
///
/// `was_undismissed`: the user did not dismiss the bubble that this one replaces.
fn bubble(
    notice: &Notice,
    capabilities: Capabilities,
    urgency: Urgency,
    was_undismissed: bool,
) -> Notification {
    let body = text::plain_text(&notice.body, BODY_MAX);
    let body = if capabilities.markup { text::xml_escaped(&body) } else { without_angle_brackets(&body) };
    let mut bubble = Notification::new();
    bubble.appname(APP_NAME).summary(&text::plain_line(&notice.title, TITLE_MAX)).body(&body);
    let is_alarm = notice.severity == Severity::Alert;
    // The start of an outage at night must still be visible in the morning, and so must the end of a start
    // that the user has not dismissed.
    let stays = urgency == Urgency::Critical && capabilities.actions && (is_alarm || was_undismissed);
    bubble.icon(if is_alarm { "dialog-warning" } else { "dialog-information" }).timeout(if stays {
        Timeout::Never
    } else {
        Timeout::Default
    });
    #[cfg(not(target_os = "macos"))]
    xdg::add_hints(&mut bubble, notice.severity, urgency, capabilities);
    bubble
}

/// Replaces angle brackets for servers without markup. dunst reads markup although it reports none if its
/// configuration does not set `markup`.
fn without_angle_brackets(text: &str) -> String {
    text.replace('<', "‹").replace('>', "›")
}

fn not_reached(detail: impl Into<String>) -> SendOutcome {
    SendOutcome::Transient { after_s: None, reached: false, detail: detail.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(title: &str, body: &str, severity: Severity) -> Notice {
        Notice {
            key: "k".to_owned(),
            title: title.to_owned(),
            body: body.to_owned(),
            severity,
            payload: String::new(),
            replaces: None,
            follows: None,
        }
    }

    const ALL: Capabilities = Capabilities { markup: true, actions: true, sound: true };
    const TEXT: Capabilities = Capabilities { markup: false, ..ALL };

    fn shown_as(notice: &Notice, capabilities: Capabilities) -> Notification {
        bubble(notice, capabilities, Urgency::Critical, false)
    }

    #[test]
    fn markup_is_escaped_only_for_servers_that_read_it() {
        let notice = notice("<b>A & B</b>", "\"Tom\" & <i>'Jerry'</i>", Severity::Resolved);
        let (escaped, plain) = (shown_as(&notice, ALL), shown_as(&notice, TEXT));
        assert_eq!(escaped.body, "&quot;Tom&quot; &amp; &lt;i&gt;&apos;Jerry&apos;&lt;/i&gt;");
        // dunst reads markup although it reports none.
        assert_eq!(plain.body, "\"Tom\" & ‹i›'Jerry'‹/i›");
        assert_eq!((escaped.summary.as_str(), plain.summary.as_str()), ("<b>A & B</b>", "<b>A & B</b>"));
    }

    #[test]
    fn text_is_cut_before_escaping_and_control_characters_removed() {
        let bubble =
            shown_as(&notice(&"t\u{202e}".repeat(500), &"<\n".repeat(2000), Severity::Resolved), ALL);
        assert_eq!(bubble.summary.chars().count(), TITLE_MAX);
        assert_eq!(bubble.body.matches("&lt;").count(), BODY_MAX / 2);
        assert!(!bubble.body.contains("&l…") && bubble.body.ends_with('…'));
    }

    #[test]
    fn permanent_bubbles() {
        #[track_caller]
        fn check(
            severity: Severity,
            urgency: Urgency,
            capabilities: Capabilities,
            was_undismissed: bool,
            stays: bool,
        ) {
            let bubble = bubble(&notice("t", "b", severity), capabilities, urgency, was_undismissed);
            assert_eq!(bubble.timeout, if stays { Timeout::Never } else { Timeout::Default });
        }
        let (critical, normal) = (Urgency::Critical, Urgency::Normal);
        check(Severity::Alert, critical, ALL, false, true);
        check(Severity::Alert, critical, ALL, true, true);
        check(Severity::Resolved, critical, ALL, false, false);
        // The start was not dismissed, so the user may have seen neither.
        check(Severity::Resolved, critical, ALL, true, true);
        check(Severity::Alert, normal, ALL, false, false);
        check(Severity::Resolved, normal, ALL, true, false);
        // notify-osd would open a dialog.
        let notify_osd = Capabilities { actions: false, ..ALL };
        check(Severity::Alert, critical, notify_osd, false, false);
        check(Severity::Resolved, critical, notify_osd, true, false);
    }

    #[test]
    fn the_table_has_defaults_and_no_other_keys() {
        let default = Settings { enabled: None, urgency: Urgency::Critical };
        assert_eq!(toml::from_str::<Settings>(""), Ok(default.clone()));
        assert_eq!(
            toml::from_str::<Settings>("enabled = false"),
            Ok(Settings { enabled: Some(false), ..default })
        );
        let normal = Settings { urgency: Urgency::Normal, ..Settings::default() };
        assert_eq!(toml::from_str::<Settings>("urgency = 'normal'"), Ok(normal));
        assert!(toml::from_str::<Settings>("urgency = 'low'").is_err());
        assert!(toml::from_str::<Settings>("enable = false").is_err());
    }
}
