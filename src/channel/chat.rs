//! Shared code of the chat channels: the base of those with a webhook ([`ChatWebhook`]), defanging of text,
//! and the classification of responses.
//!
//! Markup, limits and error codes differ and are in each channel's file. Chat programs find no mention,
//! command or link in the output of [`defang`], except links to Apple.

use std::fmt;
use std::path::PathBuf;

use reqwest::Url;
use reqwest::header::HeaderMap;
use serde::{Deserialize, Serialize};

use super::http::status::returned;
use super::http::{HttpReply, HttpTarget};
use super::outcome::{Notice, SendOutcome};
use super::settings::{ReadSecret, http_url, require_encryption, required_secret};
use super::transport::{AnyTransport, Table, Transport};
use crate::model::Severity;
use crate::secret::Secret;
use crate::setting::SettingError;
use crate::text;

/// Below the title limit of every chat program.
const TITLE_MAX_CHARS: usize = 150;
/// A length that people read in a chat. Each chat program has a limit of its own in addition.
const BODY_MAX_CHARS: usize = 4_000;
/// U+2060 is invisible, allows no line break, and ends a name or URL in every chat program.
const WORD_JOINER: char = '\u{2060}';

/// The id of a chat or thread: a number, with or without quotes, or a name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged, expecting = "expected a number or a string in quotes")]
pub enum Id {
    Number(i64),
    Text(String),
}

impl Id {
    /// Returns the numeric id, which may be in quotes.
    pub fn number(&self) -> Option<i64> {
        match self {
            Id::Number(number) => Some(*number),
            Id::Text(text) => text.trim().parse().ok(),
        }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Id::Number(number) => write!(f, "{number}"),
            Id::Text(text) => f.write_str(text.trim()),
        }
    }
}

/// The differences between chat programs that take each message in one POST to a webhook.
#[derive(Clone, Copy)]
pub struct Chat {
    /// Returns the JSON of a message, within the program's limits and with its markup escaped.
    pub payload: fn(&Notice) -> serde_json::Value,
    /// Classifies a response by its status and by the program's own error codes.
    pub classify: fn(&HttpTarget, &HttpReply) -> SendOutcome,
}

/// The table of a chat program's webhook: `url`, `url_file` and settings of its own.
pub trait WebhookTable {
    const CHAT: Chat;

    /// Returns the values of `url` and `url_file`.
    fn address(&self) -> (&Option<Secret>, &Option<PathBuf>);

    /// Checks the other settings and applies them to the webhook's URL.
    ///
    /// # Errors
    ///
    /// The setting at fault, without secrets.
    fn target(&self, url: Url) -> Result<HttpTarget, SettingError> {
        HttpTarget::new(url, [])
    }
}

impl<T: WebhookTable> Table for T {
    fn open(&self, read_secret: ReadSecret) -> Result<AnyTransport, SettingError> {
        Ok(ChatWebhook::new(self, read_secret)?.into())
    }
}

/// A chat program's webhook, ready to send.
pub struct ChatWebhook {
    pub(super) target: HttpTarget,
    chat: Chat,
}

impl ChatWebhook {
    /// Reads secret files through `read_secret`.
    ///
    /// # Errors
    ///
    /// The setting at fault, without secrets.
    pub fn new<T: WebhookTable>(table: &T, read_secret: ReadSecret) -> Result<ChatWebhook, SettingError> {
        let (url, url_file) = table.address();
        let url = secret_url(url, url_file, read_secret)?;
        Ok(ChatWebhook { target: table.target(url)?, chat: T::CHAT })
    }
}

impl fmt::Debug for ChatWebhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ChatWebhook").field(&self.target).finish()
    }
}

impl Transport for ChatWebhook {
    /// Sends one POST. Times out after 20 s.
    async fn send(&mut self, notice: &Notice) -> SendOutcome {
        let body = (self.chat.payload)(notice).to_string();
        let classify = |reply: &HttpReply| (self.chat.classify)(&self.target, reply);
        self.target.post_json(HeaderMap::new(), body, classify).await
    }

    async fn is_reachable(&mut self) -> bool {
        self.target.is_reachable().await
    }
}

/// Reads the URL under `url` or in `url_file`. All of it is secret.
///
/// # Errors
///
/// The setting at fault, without secrets.
fn secret_url(
    inline: &Option<Secret>,
    file: &Option<PathBuf>,
    read_secret: ReadSecret,
) -> Result<Url, SettingError> {
    let secret = required_secret("url", inline, file, read_secret)?;
    // The original error may quote the beginning of the text, which may be a token.
    let url = http_url("url", secret.expose()).map_err(|_| {
        SettingError::new("url", "invalid address").hint("copy all of it, including https://")
    })?;
    require_encryption("url", &url)?;
    Ok(url)
}

/// Returns the title as one short defanged line, not yet escaped for markup.
pub fn title(notice: &Notice) -> String {
    defang(&text::plain_line(&notice.title, TITLE_MAX_CHARS))
}

/// Returns the body as defanged lines, not yet escaped for markup.
pub fn body(notice: &Notice) -> String {
    defang(&text::plain_text(&notice.body, BODY_MAX_CHARS))
}

/// Inserts invisible characters where chat programs would find a mention (`@all`), a command
/// (`/start`), a hashtag or a link (`https://…`, `name.example`, `mailto:…`). Links to Apple stay whole.
pub fn defang(text: &str) -> String {
    text.split_inclusive(char::is_whitespace)
        .map(|word| if is_apple_link(word) { word.to_owned() } else { defang_word(word) })
        .collect()
}

fn defang_word(word: &str) -> String {
    let mut out = String::with_capacity(word.len());
    let mut before = None;
    let mut chars = word.chars().peekable();
    while let Some(c) = chars.next() {
        out.push(c);
        if chars.peek().is_some_and(|after| needs_joiner(before, c, *after)) {
            out.push(WORD_JOINER);
        }
        before = Some(c);
    }
    out
}

/// Returns true if `c` would turn its surroundings into a name, a link or a command.
fn needs_joiner(before: Option<char>, c: char, after: char) -> bool {
    if after.is_whitespace() {
        return false;
    }
    match c {
        '@' => true,
        '#' | '/' => !before.is_some_and(char::is_alphanumeric),
        // Leaves 08:15 alone.
        ':' => after == '/' || before.is_some_and(char::is_alphabetic),
        // Leaves 18.1 alone.
        '.' => before.is_some_and(char::is_alphanumeric) && after.is_alphabetic(),
        _ => false,
    }
}

/// Returns true if a word is only a link to Apple, in which no program can find another host.
fn is_apple_link(word: &str) -> bool {
    let link = word.trim_matches(|c: char| c.is_whitespace() || "()\u{201c}\u{201d}\"',;:!?.".contains(c));
    let rest = link.strip_prefix("https://").unwrap_or(link);
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let is_host = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    let is_path = |c: char| c.is_ascii_alphanumeric() || "/.-_~%=".contains(c);
    (host == "apple.com" || host.ends_with(".apple.com"))
        && host.chars().all(is_host)
        && path.chars().all(is_path)
}

/// Returns an RGB colour, eight bits per channel.
pub fn colour(severity: Severity) -> u32 {
    match severity {
        Severity::Alert => 0x00d1_242f,
        Severity::Resolved => 0x001a_7f37,
        Severity::Info => 0x0057_606a,
    }
}

/// Returns true for a 2xx status. The body may still report a failure.
pub fn is_success(reply: &HttpReply) -> bool {
    matches!(reply.status, 200..=299)
}

/// Classifies a response by its status. `reason` is the server's explanation; `advice` is set for a
/// known reason, which makes a 4xx a permanent failure.
pub fn classify(target: &HttpTarget, reply: &HttpReply, reason: &str, advice: Option<&str>) -> SendOutcome {
    match advice {
        Some(advice) if matches!(reply.status, 400..=499) && reply.status != 429 => {
            permanent(target, reply, advice, reason)
        }
        _ => target.with_response(reply.by_status(), reason),
    }
}

/// Returns a delivery. `note` is taken from the response and may be blank.
pub fn delivered(target: &HttpTarget, reply: &HttpReply, receipt: Option<String>, note: &str) -> SendOutcome {
    let note = target.redacted(note);
    let returned = returned(reply.status);
    let detail = if note.is_empty() { returned } else { format!("{returned}; {note}") };
    target.with_response(SendOutcome::Delivered { receipt, detail }, "")
}

/// Returns a permanent failure, whatever the status.
pub fn permanent(target: &HttpTarget, reply: &HttpReply, advice: &str, reason: &str) -> SendOutcome {
    let detail = format!("{}; {advice}", returned(reply.status));
    target.with_response(SendOutcome::Permanent { detail }, reason)
}

/// Replaces the delay of a transient failure with the one from the response body, if there is one.
pub fn with_retry_after(outcome: SendOutcome, retry_after_s: Option<f64>) -> SendOutcome {
    match (outcome, retry_after_s.and_then(whole_seconds)) {
        (SendOutcome::Transient { reached, detail, .. }, Some(after_s)) => {
            SendOutcome::Transient { after_s: Some(after_s), reached, detail }
        }
        (outcome, _) => outcome,
    }
}

/// Rounds up, so that the retry is never early.
fn whole_seconds(seconds: f64) -> Option<u64> {
    // The cast saturates.
    (seconds.is_finite() && seconds >= 0.0).then(|| seconds.ceil() as u64)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn notice(title: &str, body: &str) -> Notice {
        Notice {
            key: "k".to_owned(),
            title: title.to_owned(),
            body: body.to_owned(),
            severity: Severity::Alert,
            payload: String::new(),
            replaces: None,
            follows: None,
        }
    }

    /// Shows the invisible character as `·`.
    #[track_caller]
    fn check_defang(text: &str, expected: &str) {
        assert_eq!(defang(text).replace(WORD_JOINER, "·"), expected, "{text:?}");
    }

    #[test]
    fn mentions_commands_and_hashtags_are_defanged() {
        check_defang("@all @here mail me@x.example", "@·all @·here mail me@·x.·example");
        check_defang("/start and/or (/stop)", "/·start and/or (/·stop)");
        check_defang("#general C#x", "#·general C#x");
    }

    #[test]
    fn foreign_links_are_defanged() {
        check_defang("https://help.example/a", "https:·/·/·help.·example/a");
        check_defang("HTTP://1.2.3.4/", "HTTP:·/·/·1.2.3.4/");
        check_defang("see icloud-help.com, now", "see icloud-help.·com, now");
        check_defang("mailto:x tel:1", "mailto:·x tel:·1");
        check_defang("“evil.com”", "“evil.·com”");
    }

    #[test]
    fn plain_words_and_times_are_unchanged() {
        for text in ["Since 08:15. It lasted 2 h.", "iOS 18.1 is out…", "a. b: c\n\nd", "50 % + 1/2", ""] {
            check_defang(text, text);
        }
    }

    #[test]
    fn links_to_apple_are_unchanged() {
        for text in [
            "https://www.apple.com/support/systemstatus/",
            "(support.apple.com/en-us/HT204247).",
            "apple.com\nhttps://apple.com/a.html",
        ] {
            check_defang(text, text);
        }
    }

    #[test]
    fn links_that_only_look_like_apple_are_defanged() {
        for text in [
            "https://apple.com@evil.com",
            "https://apple.com.evil.com/",
            "https://notapple.com",
            "https://evil.com/apple.com",
            "https://apple.com\\@evil.com",
            "https://apple.com/>evil.com",
            "https://evil.com\\.apple.com",
            "https://evil.com?.apple.com",
            "https://evil.com#.apple.com",
            "https://apple.com/,evil.com",
            "https://apple.com:80@evil.com",
            "apple.com/https://evil.com",
        ] {
            assert!(defang(text).contains(WORD_JOINER), "{text}");
        }
    }

    #[test]
    fn truncation_counts_with_the_given_size() {
        let check = |text, max, expected| assert_eq!(text::truncate(text, max, char::len_utf16), expected);
        check("ab", 2, "ab");
        check("abc", 2, "a…");
        check("👍👍", 4, "👍👍");
        check("👍👍", 3, "👍…");
        check("👍👍", 2, "…");
        check("a b c", 4, "a b…");
        check("ab c", 3, "ab…");
        check("", 0, "");
        assert_eq!(text::truncate("&&", 9, |c| if c == '&' { 5 } else { 1 }), "&…");
    }

    #[test]
    fn retry_delays_are_rounded_up_and_validated() {
        let check = |after: f64, expected: Option<u64>| {
            let transient = SendOutcome::Transient { after_s: Some(7), reached: true, detail: String::new() };
            let SendOutcome::Transient { after_s, .. } = with_retry_after(transient, Some(after)) else {
                panic!("not transient")
            };
            assert_eq!(after_s, expected.or(Some(7)), "{after}");
        };
        check(64.57, Some(65));
        check(0.0, Some(0));
        check(1e300, Some(u64::MAX));
        check(-1.0, None);
        check(f64::NAN, None);
        check(f64::INFINITY, None);
    }

    #[test]
    fn an_id_may_be_in_quotes() {
        #[derive(Debug, Deserialize)]
        struct Settings {
            id: Id,
        }
        let id = |toml: &str| toml::from_str::<Settings>(toml).expect("an id").id;
        assert_eq!(id("id = -1001234567890").number(), Some(-1_001_234_567_890));
        assert_eq!(id("id = ' -1001234567890 '").number(), Some(-1_001_234_567_890));
        assert_eq!(id("id = '@name'").number(), None);
        assert_eq!(serde_json::json!(id("id = '@name'")), "@name");
        let error = toml::from_str::<Settings>("id = 1.5").expect_err("not an id");
        assert_eq!(error.message(), "expected a number or a string in quotes");
    }

    #[test]
    fn an_invalid_url_is_not_repeated() {
        for wrong in ["T0PATHT0PATH", "T0PATHT0PATH:x", "http://hooks.example/T0PATHT0PATH"] {
            let error = secret_url(&Some(Secret::new(wrong)), &None, &|_| panic!("no file"));
            let error = error.expect_err("invalid").to_string();
            assert!(error.starts_with("url: ") && !error.to_lowercase().contains("t0path"), "{error}");
        }
    }
}
