//! Sends messages to a Telegram chat from the user's bot.
//!
//! Promise: plain. Telegram takes no idempotency key, so a repeat is a second message. The end of an outage
//! replies to its start, which links the two messages and still notifies.
//!
//! Reads no messages and takes no commands. The token is part of the URL, so neither outcomes nor debug
//! output contain the URL (`debug_hides_the_token`). Telegram finds no mention or link in Apple's text
//! (`apples_text_has_no_mentions_or_links`).

use std::path::PathBuf;

use reqwest::Url;
use reqwest::header::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::chat::{self, Id};
use super::http::{HttpReply, HttpTarget};
use super::outcome::{Notice, SendOutcome};
use super::settings::{ReadSecret, RedactedUrl, http_url, require_encryption, required_secret};
use super::transport::{AnyTransport, Table, Transport};
use crate::model::Severity;
use crate::secret::Secret;
use crate::setting::SettingError;

/// The limit of a message in UTF-16 units.
const TEXT_MAX: usize = 4_096;
/// The response repeats the message, with six bytes for each non-ASCII character.
const RESPONSE_MAX_BYTES: usize = 64 * 1024;
/// The beginning of every success, also of a truncated one.
const SUCCESS: &[u8] = b"{\"ok\":true,";

/// `[channel.telegram.NAME]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The bot's token, `123456:ABC…`.
    pub token: Option<Secret>,
    /// A file that contains the token.
    pub token_file: Option<PathBuf>,
    /// The chat's number (negative for a group), or the `"@name"` of a public channel.
    pub chat_id: Id,
    /// The number of a topic in a group with topics.
    pub thread_id: Option<Id>,
    /// The URL of a Bot API server. Default: Telegram's.
    #[serde(default = "default_url")]
    pub url: RedactedUrl,
}

fn default_url() -> RedactedUrl {
    RedactedUrl::new("https://api.telegram.org")
}

impl Table for Settings {
    fn open(&self, read_secret: ReadSecret) -> Result<AnyTransport, SettingError> {
        Ok(Telegram::new(self, read_secret)?.into())
    }
}

/// A Telegram bot and a chat, ready to send.
#[derive(Debug)]
pub struct Telegram {
    target: HttpTarget,
    /// In Telegram's format: a number, or a string that begins with `@`.
    chat_id: Value,
    thread_id: Option<i64>,
}

impl Telegram {
    /// Reads secret files through `read_secret`.
    ///
    /// # Errors
    ///
    /// The setting at fault, without secrets.
    pub fn new(settings: &Settings, read_secret: ReadSecret) -> Result<Telegram, SettingError> {
        let token = required_secret("token", &settings.token, &settings.token_file, read_secret)?;
        let url = send_message_url(settings.url.expose(), &token)?;
        // The part before the colon is the bot's public id. The rest is redacted on its own too.
        let key = Secret::new(token.expose().rsplit(':').next().unwrap_or_default());
        Ok(Telegram {
            target: HttpTarget::new(url, [&token, &key])?.with_body_limit(RESPONSE_MAX_BYTES),
            chat_id: chat_id(&settings.chat_id)?,
            thread_id: settings.thread_id.as_ref().map(thread_id).transpose()?,
        })
    }

    fn payload(&self, notice: &Notice) -> Value {
        let (title, body) = (chat::title(notice), chat::body(notice));
        let text = format!("{title}\n\n{body}");
        let mut payload = json!({
            "chat_id": self.chat_id,
            "text": crate::text::truncate(text.trim_end(), TEXT_MAX, char::len_utf16),
            "entities": [{"type": "bold", "offset": 0, "length": title.encode_utf16().count()}],
            "link_preview_options": {"is_disabled": true},
            // Delivers the message without a sound.
            "disable_notification": notice.severity == Severity::Info,
        });
        if let Some(thread_id) = self.thread_id {
            payload["message_thread_id"] = thread_id.into();
        }
        if let Some(message_id) = notice.follows.as_deref().and_then(|receipt| self.message_id(receipt)) {
            payload["reply_parameters"] =
                json!({"message_id": message_id, "allow_sending_without_reply": true});
        }
        payload
    }

    /// Returns the receipt of a message. It includes the chat, because message ids are unique only within
    /// a chat.
    fn receipt(&self, message_id: i64) -> String {
        format!("{}/{message_id}", self.chat_name())
    }

    /// Returns the message id of a receipt. `None` if the receipt belongs to a previously configured chat.
    fn message_id(&self, receipt: &str) -> Option<i64> {
        let (chat, message_id) = receipt.rsplit_once('/')?;
        message_id.parse().ok().filter(|_| chat == self.chat_name())
    }

    fn chat_name(&self) -> String {
        self.chat_id.as_str().map_or_else(|| self.chat_id.to_string(), str::to_owned)
    }

    fn classify(&self, reply: &HttpReply) -> SendOutcome {
        let json = reply.json();
        match json["ok"].as_bool() {
            Some(false) => self.classify_failure(reply, &json),
            Some(true) if chat::is_success(reply) => {
                self.delivered(reply, json["result"]["message_id"].as_i64())
            }
            None if chat::is_success(reply) && reply.body.starts_with(SUCCESS) => self.delivered(reply, None),
            None if chat::is_success(reply) => {
                let advice = "the response is not from Telegram's Bot API; check url";
                chat::permanent(&self.target, reply, advice, &reply.text())
            }
            Some(true) | None => self.target.classify(reply),
        }
    }

    fn delivered(&self, reply: &HttpReply, message_id: Option<i64>) -> SendOutcome {
        let note = message_id.map(|id| format!("message {id}")).unwrap_or_default();
        let receipt = message_id.map(|id| self.receipt(id));
        chat::delivered(&self.target, reply, receipt, &note)
    }

    /// Classifies a response with `"ok": false`, which is a failure even with a 2xx status.
    fn classify_failure(&self, reply: &HttpReply, json: &Value) -> SendOutcome {
        let code = json["error_code"].as_u64().and_then(|code| u16::try_from(code).ok());
        let status = match (chat::is_success(reply), code) {
            (false, _) => reply.status,
            (true, Some(code @ 300..=599)) => code,
            (true, _) => 500,
        };
        let reply = HttpReply { status, ..reply.clone() };
        let reason = json["description"].as_str().unwrap_or_default();
        let parameters = &json["parameters"];
        if let Some(new) = parameters["migrate_to_chat_id"].as_i64() {
            let advice =
                format!("the group was upgraded to a supergroup; write chat_id = {new} into the config");
            return chat::permanent(&self.target, &reply, &advice, reason);
        }
        let outcome = chat::classify(&self.target, &reply, reason, advice(status, reason));
        chat::with_retry_after(outcome, parameters["retry_after"].as_f64())
    }
}

impl Transport for Telegram {
    /// Sends one POST. Times out after 20 s.
    async fn send(&mut self, notice: &Notice) -> SendOutcome {
        let body = self.payload(notice).to_string();
        self.target.post_json(HeaderMap::new(), body, |reply| self.classify(reply)).await
    }

    async fn is_reachable(&mut self) -> bool {
        self.target.is_reachable().await
    }
}

/// Returns the advice for a failure. Telegram may change its descriptions, so the status is the fallback.
fn advice(status: u16, reason: &str) -> Option<&'static str> {
    let reason = reason.to_ascii_lowercase();
    let contains = |parts: &[&str]| parts.iter().any(|part| reason.contains(part));
    if contains(&["thread not found", "topic_closed", "topic_deleted"]) {
        return Some("the topic does not exist or is closed; check thread_id");
    }
    if contains(&["not enough rights", "no rights to send", "chat_write_forbidden"]) {
        return Some("the bot is not allowed to post in the chat; change its permissions");
    }
    if contains(&["chat not found", "peer_id_invalid"]) {
        return Some(
            "the bot has no access to the chat; check chat_id, and add the bot or write to it first",
        );
    }
    match status {
        401 | 404 => Some("no bot has this token; copy the token from @BotFather again"),
        403 => Some(
            "the bot was blocked or removed from the chat; unblock it or add it again, and write to it first",
        ),
        400 => Some("Telegram rejects the message; check chat_id, otherwise please report this"),
        _ => None,
    }
}

/// Returns the URL of the method `sendMessage`.
fn send_message_url(base: &str, token: &Secret) -> Result<Url, SettingError> {
    let mut url = http_url("url", base)?;
    require_encryption("url", &url)?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err(SettingError::new("url", "contains ? or #").hint("write only the address of the server"));
    }
    // Any other character could change the path of the URL.
    let is_token = token.expose().split_once(':').is_some_and(|(bot, key)| {
        let is_key = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        !bot.is_empty()
            && bot.chars().all(|c| c.is_ascii_digit())
            && !key.is_empty()
            && key.chars().all(is_key)
    });
    if !is_token {
        return Err(SettingError::new("token", "invalid token: expected 123456:ABC…")
            .hint("copy it from @BotFather again"));
    }
    url.path_segments_mut()
        .expect("an HTTP URL has a path: http_url rejects others")
        .pop_if_empty()
        .extend([&format!("bot{}", token.expose()), "sendMessage"]);
    Ok(url)
}

fn chat_id(id: &Id) -> Result<Value, SettingError> {
    if let Some(number) = id.number() {
        return Ok(number.into());
    }
    let name = id.to_string();
    let is_name = name
        .strip_prefix('@')
        .is_some_and(|name| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'));
    if !is_name {
        return Err(SettingError::new(
            "chat_id",
            "invalid chat: expected a number like -1001234567890, or \"@name\" of a channel",
        ));
    }
    Ok(name.into())
}

fn thread_id(id: &Id) -> Result<i64, SettingError> {
    let number = id.number().filter(|number| *number > 0);
    number.ok_or_else(|| {
        SettingError::new("thread_id", "invalid topic: expected the number at the end of the topic's link")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::chat::tests::notice;

    const TOKEN: &str = "123456:T0KEN_T0-KEN";

    fn made(rest: &str) -> Result<Telegram, String> {
        let settings: Settings = toml::from_str(rest).expect("settings");
        Telegram::new(&settings, &|_| Ok(Secret::new(format!("{TOKEN}\n"))))
            .map_err(|error| error.to_string())
    }

    fn telegram(chat_id: &str) -> Telegram {
        made(&format!("token_file = 't'\nchat_id = {chat_id}")).expect("ready")
    }

    #[test]
    fn the_message_is_plain_text_with_a_bold_title() {
        let expected = json!({
            "chat_id": -1_001_234_567_890_i64,
            "text": "iCloud👍 is down\n\nSince 08:15.\nWait.",
            "entities": [{"type": "bold", "offset": 0, "length": 16}],
            "link_preview_options": {"is_disabled": true},
            "disable_notification": false,
        });
        let notice = notice("iCloud👍 is down", "Since 08:15.\nWait.");
        assert_eq!(telegram("-1001234567890").payload(&notice), expected);
    }

    #[test]
    fn an_empty_body_adds_no_blank_line() {
        assert_eq!(telegram("1").payload(&notice("a", ""))["text"], "a");
    }

    #[test]
    fn only_information_is_silent() {
        let silent = |severity| {
            telegram("1").payload(&Notice { severity, ..notice("a", "b") })["disable_notification"].clone()
        };
        assert_eq!(
            [Severity::Alert, Severity::Resolved, Severity::Info].map(silent),
            [json!(false), json!(false), json!(true)]
        );
    }

    #[test]
    fn a_message_replies_to_the_previous_one_in_the_same_chat() {
        let telegram = telegram("'@outages'");
        let reply = |receipt: &str| {
            let notice = Notice { follows: Some(receipt.to_owned()), ..notice("a", "b") };
            telegram.payload(&notice).get("reply_parameters").cloned()
        };
        assert_eq!(telegram.receipt(42), "@outages/42");
        let expected = json!({"message_id": 42, "allow_sending_without_reply": true});
        assert_eq!(reply(&telegram.receipt(42)), Some(expected));
        for other in ["@elsewhere/42", "-5/42", "42", "", "@outages/x"] {
            assert_eq!(reply(other), None, "{other:?}");
        }
    }

    #[test]
    fn the_topic_is_sent() {
        let telegram = made("token_file = 't'\nchat_id = 1\nthread_id = '7'").expect("ready");
        assert_eq!(telegram.payload(&notice("a", "b"))["message_thread_id"], 7);
    }

    #[test]
    fn apples_text_has_no_mentions_or_links() {
        let text = telegram("1").payload(&notice("@all", "/start https://evil.example"))["text"].to_string();
        assert!(!text.contains("@all") && !text.contains("/start") && !text.contains("://"), "{text}");
    }

    #[test]
    fn the_longest_message_fits() {
        for text in ["a".repeat(9_000), "\u{1f44d}".repeat(9_000), "@".repeat(9_000)] {
            let payload = telegram("1").payload(&notice(&text, &text));
            let length = payload["text"].as_str().expect("text").encode_utf16().count();
            assert!((4_000..=TEXT_MAX).contains(&length), "{length}");
            assert!(payload["entities"][0]["length"].as_u64().expect("a length") <= 300);
        }
    }

    #[test]
    fn the_url_contains_the_token() {
        let url = |base: &str| send_message_url(base, &Secret::new(TOKEN)).map(|url| url.to_string());
        let default = "https://api.telegram.org/bot123456:T0KEN_T0-KEN/sendMessage";
        assert_eq!(url("https://api.telegram.org").as_deref(), Ok(default));
        assert_eq!(url("https://api.telegram.org/").as_deref(), Ok(default));
        let own = "http://127.0.0.1:8081/tg/bot123456:T0KEN_T0-KEN/sendMessage";
        assert_eq!(url("http://127.0.0.1:8081/tg").as_deref(), Ok(own));
    }

    #[test]
    fn invalid_settings_are_rejected() {
        let check = |toml: &str, expected: &str| {
            let error = made(toml).expect_err("refused");
            assert!(error.starts_with(expected) && !error.contains("T0KEN"), "{error}");
        };
        for token in ["T0KEN", "123456:", ":T0KEN", "bot123456:T0KEN", "123456:T0KEN/..", "1:T0KEN?x"] {
            check(&format!("chat_id = 1\ntoken = '{token}'"), "token: invalid token");
        }
        check("chat_id = 1", "the key \"token\" is missing");
        for chat_id in ["''", "'outages'", "'@'", "'@a b'", "'https://t.me/x'"] {
            check(&format!("token_file = 't'\nchat_id = {chat_id}"), "chat_id: invalid chat");
        }
        check("token_file = 't'\nchat_id = 1\nthread_id = 0", "thread_id: invalid topic");
        check("token_file = 't'\nchat_id = 1\nurl = 'http://tg.example'", "url: http://tg.example/ would");
        check("token_file = 't'\nchat_id = 1\nurl = 'https://tg.example/?x=1'", "url: contains ? or #");
        assert!(toml::from_str::<Settings>("token_file = 't'").is_err(), "no chat");
    }

    #[test]
    fn debug_hides_the_token() {
        let toml = format!("token = '{TOKEN}'\nchat_id = 1\nurl = 'https://me:s3cret@tg.example/'");
        let settings: Settings = toml::from_str(&toml).expect("settings");
        let telegram = Telegram::new(&settings, &|_| panic!("no file")).expect("ready");
        let shown = format!("{settings:?} {telegram:?} {:?}", serde_json::json!(settings));
        assert!(shown.contains("https://tg.example/…"), "{shown}");
        assert!(!shown.contains("T0KEN") && !shown.contains("s3cret"), "{shown}");
    }
}
