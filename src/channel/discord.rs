//! Sends messages to a Discord channel or thread through a webhook.
//!
//! Promise: plain. Webhook messages carry no nonce, so a repeat is a second message. The end of an outage
//! is a message of its own, because Discord does not notify users of an edit.
//!
//! Uses no other API of Discord and no bot token. Discord finds no mention, link or formatting in Apple's
//! text (`apples_text_is_no_markdown`).

use std::path::PathBuf;

use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::chat::{self, Chat, Id, WebhookTable};
use super::http::{HttpReply, HttpTarget};
use super::outcome::{Notice, SendOutcome};
use crate::model::Severity;
use crate::secret::Secret;
use crate::setting::SettingError;
use crate::text;

/// Limits of an embed in characters, including escapes. Counted here in UTF-16 units, which are never
/// fewer.
const TITLE_MAX: usize = 256;
const DESCRIPTION_MAX: usize = 4_096;
/// The flag of a silent message.
const SUPPRESS_NOTIFICATIONS: u32 = 1 << 12;
/// The response repeats the message, with six bytes for each non-ASCII character.
const RESPONSE_MAX_BYTES: usize = 64 * 1024;
const RESET_AFTER: &str = "x-ratelimit-reset-after";

/// `[channel.discord.NAME]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The webhook's URL, `https://discord.com/api/webhooks/…`. The URL alone allows posting.
    pub url: Option<Secret>,
    /// A file that contains the URL.
    pub url_file: Option<PathBuf>,
    /// The id of a thread in the webhook's channel. Required if the channel is a forum.
    pub thread_id: Option<Id>,
}

impl WebhookTable for Settings {
    const CHAT: Chat = Chat { payload, classify };

    fn address(&self) -> (&Option<Secret>, &Option<PathBuf>) {
        (&self.url, &self.url_file)
    }

    fn target(&self, url: Url) -> Result<HttpTarget, SettingError> {
        let url = request_url(url, self.thread_id.as_ref())?;
        Ok(HttpTarget::new(url, [])?.with_body_limit(RESPONSE_MAX_BYTES))
    }
}

fn classify(target: &HttpTarget, reply: &HttpReply) -> SendOutcome {
    let json = reply.json();
    if chat::is_success(reply) {
        if reply.has_html_body() {
            let advice = "the response is a web page; check that url is the address of a webhook";
            return chat::permanent(target, reply, advice, "");
        }
        let message = json["id"].as_str().map(|id| format!("message {id}")).unwrap_or_default();
        return chat::delivered(target, reply, None, &message);
    }
    let raw = reply.text();
    let reason = json["message"].as_str().unwrap_or(&raw);
    let outcome = chat::classify(target, reply, reason, json["code"].as_u64().and_then(advice));
    // The delay in the body is exact. The last header may be present where the others are not.
    let reset_after = reply.headers.get(RESET_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let fallback = if reply.retry_after.is_none() { reset_after } else { None };
    chat::with_retry_after(outcome, json["retry_after"].as_f64().or(fallback))
}

/// Adds the query that makes Discord respond after the message is stored, with the message's id.
fn request_url(mut url: Url, thread_id: Option<&Id>) -> Result<Url, SettingError> {
    for other in ["/slack", "/github"] {
        if url.path().ends_with(other) {
            return Err(SettingError::new("url", "accepts another message format")
                .hint(format!("remove {other} from the end")));
        }
    }
    let mut query: Vec<(String, String)> =
        url.query_pairs().into_owned().filter(|(name, _)| name != "wait").collect();
    query.push(("wait".to_owned(), "true".to_owned()));
    if let Some(id) = thread_id {
        let Some(number) = id.number().filter(|number| *number > 0) else {
            return Err(SettingError::new("thread_id", "invalid thread id").hint("copy the id from Discord"));
        };
        if query.iter().any(|(name, _)| name == "thread_id") {
            return Err(SettingError::new("thread_id", "also given in the url").hint("remove one of them"));
        }
        query.push(("thread_id".to_owned(), number.to_string()));
    }
    url.query_pairs_mut().clear().extend_pairs(query);
    Ok(url)
}

/// Returns advice for Discord's own error codes.
fn advice(code: u64) -> Option<&'static str> {
    Some(match code {
        10_003 => "the channel or thread no longer exists; check thread_id, or create a new webhook",
        10_015 => "the webhook no longer exists; create a new one and write its address into the config",
        50_001 | 50_013 => "the webhook may not post there; check the permissions of the channel",
        50_027 => "the end of the address is wrong; copy the whole address from Discord again",
        50_035 => "Discord cannot read the message; check thread_id, otherwise please report this",
        200_000 => "the server's AutoMod blocks the message; add an exception for the webhook",
        220_001 => "the channel is a forum; write the thread_id of a thread there into the config",
        _ => return None,
    })
}

fn payload(notice: &Notice) -> Value {
    let title = text::truncate(&chat::title(notice), TITLE_MAX, escaped_len);
    let body = text::truncate(&chat::body(notice), DESCRIPTION_MAX, escaped_len);
    let mut payload = json!({
        "embeds": [{
            "title": escaped(&title),
            "description": escaped(&body),
            "color": chat::colour(notice.severity),
        }],
        "allowed_mentions": {"parse": []},
    });
    if notice.severity == Severity::Info {
        payload["flags"] = SUPPRESS_NOTIFICATIONS.into();
    }
    payload
}

/// Escapes Discord's markdown with backslashes.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at_start = true;
    for c in text.chars() {
        if is_markup(c) || at_start && is_markup_at_start(c) {
            out.push('\\');
        }
        out.push(c);
        at_start = c == '\n';
    }
    out
}

fn is_markup(c: char) -> bool {
    matches!(c, '\\' | '*' | '_' | '~' | '`' | '|' | '<' | '>' | '[' | ']')
}

/// Headings, lists and small text.
fn is_markup_at_start(c: char) -> bool {
    matches!(c, '#' | '-' | '+')
}

/// Returns the maximum length of a character after [`escaped`].
fn escaped_len(c: char) -> usize {
    c.len_utf16() + usize::from(is_markup(c) || is_markup_at_start(c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::chat::ChatWebhook as Discord;
    use crate::channel::chat::tests::notice;

    #[test]
    fn the_message_is_an_embed_without_mentions() {
        let alarm = payload(&notice("iCloud Backup is down", "Since 08:15.\nWait."));
        let expected = json!({
            "embeds": [{
                "title": "iCloud Backup is down",
                "description": "Since 08:15.\nWait.",
                "color": 0xd1242f,
            }],
            "allowed_mentions": {"parse": []},
        });
        assert_eq!(alarm, expected);
    }

    #[test]
    fn only_information_is_silent() {
        let flags = |severity| payload(&Notice { severity, ..notice("a", "b") }).get("flags").cloned();
        assert_eq!(flags(Severity::Info), Some(json!(4096)));
        assert_eq!((flags(Severity::Alert), flags(Severity::Resolved)), (None, None));
    }

    #[test]
    fn apples_text_is_no_markdown() {
        for (text, expected) in [
            (
                "**a** __b__ ~~c~~ `d` ||e||",
                "\\*\\*a\\*\\* \\_\\_b\\_\\_ \\~\\~c\\~\\~ \\`d\\` \\|\\|e\\|\\|",
            ),
            ("[Apple](x) <@1> <t:0:R>", "\\[Apple\\](x) \\<@1\\> \\<t:0:R\\>"),
            ("# a\n-# b\n- c\n+ d\n> e", "\\# a\n\\-# b\n\\- c\n\\+ d\n\\> e"),
            ("a - b # c + d\\", "a - b # c + d\\\\"),
        ] {
            assert_eq!(escaped(text), expected);
        }
        let linked = payload(&notice("@everyone", "https://evil.example")).to_string();
        assert!(!linked.contains("@everyone") && !linked.contains("://"), "{linked}");
    }

    #[test]
    fn the_longest_message_fits() {
        for text in ["*".repeat(9_000), "\u{1f44d}".repeat(9_000), "-\n\n".repeat(9_000), "@_".repeat(9_000)]
        {
            let payload = payload(&notice(&text, &text));
            let length = |key: &str| payload["embeds"][0][key].as_str().expect("text").encode_utf16().count();
            assert!(length("title") <= 256 && length("description") <= 4_096, "{text:.9}");
            assert!(length("description") > 2_000, "{text:.9}");
        }
    }

    fn made(toml: &str) -> Result<Discord, String> {
        let settings: Settings = toml::from_str(toml).expect("settings");
        Discord::new(&settings, &|_| panic!("no file")).map_err(|error| error.to_string())
    }

    #[test]
    fn the_url_waits_for_the_message_and_names_the_thread() {
        let query = |toml: &str| made(toml).expect("ready").target.url().query().map(str::to_owned);
        assert_eq!(query("url = 'https://d.example/x'").as_deref(), Some("wait=true"));
        assert_eq!(
            query("url = 'https://d.example/x?wait=false&thread_id=7'").as_deref(),
            Some("thread_id=7&wait=true")
        );
        for id in ["1420000000000000001", "'1420000000000000001'"] {
            let toml = format!("url = 'https://d.example/x'\nthread_id = {id}");
            assert_eq!(query(&toml).as_deref(), Some("wait=true&thread_id=1420000000000000001"));
        }
    }

    #[test]
    fn invalid_settings_are_rejected() {
        let error = |toml: &str| made(toml).expect_err("invalid");
        for id in ["'general'", "0", "-5"] {
            let error = error(&format!("url = 'https://d.example/x'\nthread_id = {id}"));
            assert!(error.starts_with("thread_id: invalid thread id"), "{error}");
        }
        let twice = error("url = 'https://d.example/x?thread_id=7'\nthread_id = 7");
        assert_eq!(twice, "thread_id: also given in the url; remove one of them");
        let slack = error("url = 'https://d.example/T0PATH/slack'");
        assert_eq!(slack, "url: accepts another message format; remove /slack from the end");
    }

    #[test]
    fn neither_debug_nor_config_show_prints_the_url() {
        let settings: Settings =
            toml::from_str("url = 'https://discord.com/api/T0PATH'\nthread_id = 7").expect("settings");
        let discord = Discord::new(&settings, &|_| panic!("no file")).expect("ready");
        let shown = format!("{settings:?} {discord:?} {:?}", serde_json::json!(settings));
        assert!(shown.contains("https://discord.com/…") && !shown.contains("T0PATH"), "{shown}");
    }
}
