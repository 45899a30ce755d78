//! Sends messages to a Slack channel through an incoming webhook.
//!
//! Promise: plain. Incoming webhooks take no idempotency key, so a repeat is a second message. A message
//! cannot be replaced or answered, because the webhook's response contains no message id.
//!
//! Uses no other API of Slack and no token. Slack finds no mention, link or formatting in Apple's text
//! (`apples_text_has_no_mentions_or_links`).

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::chat::{self, Chat, WebhookTable};
use super::http::{HttpReply, HttpTarget};
use super::outcome::{Notice, SendOutcome};
use crate::secret::Secret;
use crate::text;

/// The limit of the text in a block, including escapes.
const BLOCK_MAX: usize = 3_000;
/// The body of a successful response.
const OK: &str = "ok";

/// `[channel.slack.NAME]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The webhook's URL, `https://hooks.slack.com/services/…`. The URL alone allows posting.
    pub url: Option<Secret>,
    /// A file that contains the URL.
    pub url_file: Option<PathBuf>,
}

impl WebhookTable for Settings {
    const CHAT: Chat = Chat { payload, classify };

    fn address(&self) -> (&Option<Secret>, &Option<PathBuf>) {
        (&self.url, &self.url_file)
    }
}

fn classify(target: &HttpTarget, reply: &HttpReply) -> SendOutcome {
    let body = reply.text();
    let body = body.trim();
    // A truncated "ok" is a success too.
    if chat::is_success(reply) && !OK.starts_with(body) {
        let advice = "Slack responds with ok; check that url is the address of an incoming webhook";
        return chat::permanent(target, reply, advice, body);
    }
    chat::classify(target, reply, body, advice(body))
}

/// Returns the advice for one of Slack's error codes.
fn advice(code: &str) -> Option<&'static str> {
    Some(match code {
        "no_service" | "no_service_id" | "no_active_hooks" | "no_team" | "team_disabled"
        | "invalid_token" => {
            "the webhook was deleted or disabled; create a new one and write its address into the config"
        }
        "channel_not_found" | "user_not_found" => {
            "the webhook's channel was deleted; create a new webhook and write its address into the config"
        }
        "channel_is_archived" => "the channel is archived; unarchive it, or create a webhook for another one",
        "action_prohibited" | "posting_to_general_channel_denied" => {
            "the workspace does not allow this webhook to post there; ask the workspace's administrator"
        }
        "invalid_payload" | "invalid_blocks" | "invalid_attachments" | "no_text" => {
            "Slack rejects the message's format; please report this"
        }
        _ => return None,
    })
}

fn payload(notice: &Notice) -> Value {
    let body = text::truncate(&chat::body(notice), BLOCK_MAX, escaped_len);
    let mut payload = json!({
        // The first line of the message, and the text of the push notification.
        "text": escaped(&chat::title(notice)),
        "mrkdwn": false,
        "unfurl_links": false,
        "unfurl_media": false,
    });
    if !body.is_empty() {
        let text = json!({"type": "plain_text", "text": escaped(&body), "emoji": false});
        // Only attachments have a colour.
        payload["attachments"] = json!([{
            "color": format!("#{:06x}", chat::colour(notice.severity)),
            "blocks": [{"type": "section", "text": text}],
        }]);
    }
    payload
}

/// Escapes the three characters that are special in Slack. Its documentation asks to escape no others.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Returns the length of a character after [`escaped`] in UTF-16 units. Slack does not document its unit,
/// and no other count is larger.
fn escaped_len(c: char) -> usize {
    match c {
        '&' => "&amp;".len(),
        '<' | '>' => "&lt;".len(),
        other => other.len_utf16(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::chat::ChatWebhook as Slack;
    use crate::channel::chat::tests::notice;
    use crate::model::Severity;
    use crate::setting::SettingError;

    fn block(payload: &Value) -> &str {
        payload["attachments"][0]["blocks"][0]["text"]["text"].as_str().expect("a block")
    }

    #[test]
    fn the_message_is_a_title_and_a_coloured_block() {
        let expected = json!({
            "text": "iCloud Backup is down",
            "mrkdwn": false,
            "unfurl_links": false,
            "unfurl_media": false,
            "attachments": [{
                "color": "#d1242f",
                "blocks": [{
                    "type": "section",
                    "text": {"type": "plain_text", "text": "Since 08:15.\nWait.", "emoji": false},
                }],
            }],
        });
        assert_eq!(payload(&notice("iCloud Backup is down", "Since 08:15.\nWait.")), expected);
        assert_eq!(
            payload(&Notice { severity: Severity::Resolved, ..notice("a", "b") })["attachments"][0]["color"],
            "#1a7f37"
        );
    }

    #[test]
    fn an_empty_body_has_no_block() {
        assert_eq!(payload(&notice("a", "")).get("attachments"), None);
    }

    #[test]
    fn apples_text_has_no_mentions_or_links() {
        let hostile = "<!channel> <@U123> & <https://evil.example|Apple>";
        let payload = payload(&notice(hostile, hostile));
        for text in [payload["text"].as_str().expect("text"), block(&payload)] {
            assert!(text.starts_with("&lt;!channel&gt; &lt;@\u{2060}U123&gt; &amp; &lt;https"), "{text}");
            assert!(!text.contains(['<', '>']) && !text.contains("://"), "{text}");
        }
    }

    #[test]
    fn the_longest_message_fits() {
        for body in ["&".repeat(9_000), "\u{1f44d}".repeat(9_000), "@<".repeat(9_000)] {
            let payload = payload(&notice(&body, &body));
            let length = block(&payload).encode_utf16().count();
            assert!((BLOCK_MAX - 6..=BLOCK_MAX).contains(&length), "{length}");
            assert!(block(&payload).ends_with('…'), "no escape is truncated");
            assert!(payload["text"].as_str().expect("text").chars().count() < 1_000);
        }
    }

    #[test]
    fn debug_shows_scheme_and_host_only() {
        let settings: Settings =
            toml::from_str("url = 'https://hooks.slack.com/services/T0PATH'").expect("settings");
        let slack = Slack::new(&settings, &|_| panic!("no file")).expect("ready");
        let shown = format!("{settings:?} {slack:?} {:?}", serde_json::json!(settings));
        assert!(shown.contains("https://hooks.slack.com/…") && !shown.contains("T0PATH"), "{shown}");
    }

    #[test]
    fn invalid_settings_are_rejected() {
        let error = |toml: &str| {
            let settings: Settings = toml::from_str(toml).expect("settings");
            Slack::new(&settings, &|_| Err(SettingError::new("", "no such file")))
                .expect_err("refused")
                .to_string()
        };
        assert!(error("").starts_with("the key \"url\" is missing"));
        assert_eq!(error("url_file = 'x'"), "url_file: no such file");
        assert!(error("url = 'https://a.example/'\nurl_file = 'x'").starts_with("url: also given"));
        assert!(error("url = 'http://a.example/T0PATH'").contains("write https"));
        assert!(toml::from_str::<Settings>("webhook = 'x'").is_err());
    }
}
