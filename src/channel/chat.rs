//! Shared code of the chat channels: defanging and truncating text, secret URLs, and the classification
//! of responses.
//!
//! Markup, limits and error codes differ and are in each channel's file. Chat programs find no mention,
//! command or link in the output of [`defang`], except links to Apple.

use std::fmt;
use std::path::Path;

use jiff::Timestamp;
use reqwest::Url;
use serde::Deserialize;
use toml::Value;

use super::http::status::answers;
use super::http::status::http_answer;
use super::http::{HttpReply, HttpTarget};
use super::outcome::{Notice, SendOutcome};
use super::settings::{ReadSecret, http_address, refuse_open, required};
use crate::model::Severity;
use crate::secret::Secret;
use crate::text;

/// Below the title limit of every chat program.
const TITLE_MAX_CHARS: usize = 150;
/// A length that people read in a chat. Each chat program has a limit of its own in addition.
const BODY_MAX_CHARS: usize = 4_000;
/// U+2060 is invisible, allows no line break, and ends a name or URL in every chat program.
const WORD_JOINER: char = '\u{2060}';
const ELLIPSIS: char = '…';

/// The id of a chat or thread: a number, with or without quotes, or a name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "expected a number or a text in quotes")]
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

impl From<&Id> for Value {
    fn from(id: &Id) -> Value {
        match id {
            Id::Number(number) => Value::Integer(*number),
            Id::Text(text) => Value::String(text.clone()),
        }
    }
}

/// Reads the URL under `url` or in `url_file`. All of it is secret.
///
/// # Errors
///
/// One line that begins with the key and holds nothing of the address but scheme and host.
pub fn secret_address(
    inline: Option<&Secret>,
    file: Option<&Path>,
    read_secret: ReadSecret,
) -> Result<Url, String> {
    let address = required("url", inline, file, read_secret)?;
    // The error's own words may quote the beginning, and what was pasted there may be anything.
    let url = http_address("url", address.expose())
        .map_err(|_| "url: not an address; copy the whole of it, https:// included".to_owned())?;
    refuse_open("url", &url)?;
    Ok(url)
}

/// Returns the title as one short defanged line, not yet escaped for markup.
pub fn title(notice: &Notice) -> String {
    inert(&text::plain_line(&notice.title, TITLE_MAX_CHARS))
}

/// Returns the body as defanged lines, not yet escaped for markup.
pub fn body(notice: &Notice) -> String {
    inert(&text::plain_text(&notice.body, BODY_MAX_CHARS))
}

/// Breaks up, invisibly, what chat programs make of plain text by themselves: mentions (`@all`),
/// commands (`/start`), hashtags, and links (`https://…`, `name.example`, `mailto:…`). A link to
/// Apple stays whole.
pub fn inert(text: &str) -> String {
    text.split_inclusive(char::is_whitespace)
        .map(|word| if is_apples(word) { word.to_owned() } else { broken_up(word) })
        .collect()
}

fn broken_up(word: &str) -> String {
    let mut out = String::with_capacity(word.len());
    let mut before = None;
    let mut chars = word.chars().peekable();
    while let Some(c) = chars.next() {
        out.push(c);
        if chars.peek().is_some_and(|after| is_seam(before, c, *after)) {
            out.push(WORD_JOINER);
        }
        before = Some(c);
    }
    out
}

/// Whether `c` makes a name, an address or a command of what is around it.
fn is_seam(before: Option<char>, c: char, after: char) -> bool {
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

/// Whether a word is a link to Apple and nothing else, so that no program can find another host in
/// it.
fn is_apples(word: &str) -> bool {
    let link = word.trim_matches(|c: char| c.is_whitespace() || "()\u{201c}\u{201d}\"',;:!?.".contains(c));
    let rest = link.strip_prefix("https://").unwrap_or(link);
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let is_host = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    let is_path = |c: char| c.is_ascii_alphanumeric() || "/.-_~%=".contains(c);
    (host == "apple.com" || host.ends_with(".apple.com"))
        && host.chars().all(is_host)
        && path.chars().all(is_path)
}

/// At most `max`, each character counting what `size` says; with an ellipsis where it was cut.
pub fn fitting(text: &str, max: usize, size: impl Fn(char) -> usize) -> String {
    if text.chars().map(&size).sum::<usize>() <= max {
        return text.to_owned();
    }
    let room = max.saturating_sub(size(ELLIPSIS));
    let mut used = 0;
    let kept: String = text
        .chars()
        .take_while(|&c| {
            used += size(c);
            used <= room
        })
        .collect();
    format!("{}{ELLIPSIS}", kept.trim_end())
}

/// Returns an RGB colour, eight bits per channel.
pub fn colour(severity: Severity) -> u32 {
    match severity {
        Severity::Alert => 0x00d1_242f,
        Severity::Resolved => 0x001a_7f37,
        Severity::Info => 0x0057_606a,
    }
}

/// Whether the status says that the message is there. The body may yet say otherwise.
pub fn is_good(reply: &HttpReply) -> bool {
    matches!(reply.status, 200..=299)
}

/// Returns true if the body is HTML, which chat APIs never send: the URL is not theirs.
pub fn is_web_page(reply: &HttpReply) -> bool {
    reply.body.trim_ascii_start().starts_with(b"<")
}

/// What the common table says, in the peer's own words: `reason` is its reason, `advice` what to
/// do where the reason is known. A known reason in a 4xx will not go away by itself.
pub fn judged(peer: &HttpTarget, reply: &HttpReply, reason: &str, advice: Option<&str>) -> SendOutcome {
    match advice {
        Some(advice) if matches!(reply.status, 400..=499) && reply.status != 429 => {
            refused(peer, reply, advice, reason)
        }
        _ => peer.with_reason(table(reply), reason),
    }
}

/// The message is there; `note` is what the reply tells of it. Blank: nothing.
pub fn delivered(peer: &HttpTarget, reply: &HttpReply, receipt: Option<String>, note: &str) -> SendOutcome {
    let note = peer.redacted(note);
    let answers = answers(reply.status);
    let words = if note.is_empty() { answers } else { format!("{answers}; {note}") };
    peer.with_reason(SendOutcome::Delivered { receipt, words }, "")
}

/// A reply that is final, whatever its status says.
pub fn refused(peer: &HttpTarget, reply: &HttpReply, advice: &str, reason: &str) -> SendOutcome {
    let words = format!("{}; {advice}", answers(reply.status));
    peer.with_reason(SendOutcome::Permanent { words }, reason)
}

fn table(reply: &HttpReply) -> SendOutcome {
    http_answer(reply.status, reply.retry_after.as_deref(), Timestamp::now())
}

/// The same answer with the peer's wish to wait, where there is one, in place of the header's.
pub fn waiting(answer: SendOutcome, wish_s: Option<f64>) -> SendOutcome {
    match (answer, wish_s.and_then(whole_seconds)) {
        (SendOutcome::Transient { reached, words, .. }, Some(after_s)) => {
            SendOutcome::Transient { after_s: Some(after_s), reached, words }
        }
        (answer, _) => answer,
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
    fn check_inert(text: &str, expected: &str) {
        assert_eq!(inert(text).replace(WORD_JOINER, "·"), expected, "{text:?}");
    }

    #[test]
    fn names_commands_and_tags_lose_their_meaning() {
        check_inert("@all @here mail me@x.example", "@·all @·here mail me@·x.·example");
        check_inert("/start and/or (/stop)", "/·start and/or (/·stop)");
        check_inert("#general C#x", "#·general C#x");
    }

    #[test]
    fn foreign_links_are_broken_up() {
        check_inert("https://help.example/a", "https:·/·/·help.·example/a");
        check_inert("HTTP://1.2.3.4/", "HTTP:·/·/·1.2.3.4/");
        check_inert("see icloud-help.com, now", "see icloud-help.·com, now");
        check_inert("mailto:x tel:1", "mailto:·x tel:·1");
        check_inert("“evil.com”", "“evil.·com”");
    }

    #[test]
    fn words_and_times_stay_as_they_are() {
        for text in ["Since 08:15. It lasted 2 h.", "iOS 18.1 is out…", "a. b: c\n\nd", "50 % + 1/2", ""] {
            check_inert(text, text);
        }
    }

    #[test]
    fn apples_links_stay_whole() {
        for text in [
            "https://www.apple.com/support/systemstatus/",
            "(support.apple.com/en-us/HT204247).",
            "apple.com\nhttps://apple.com/a.html",
        ] {
            check_inert(text, text);
        }
    }

    #[test]
    fn what_only_looks_like_apple_does_not() {
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
            assert!(inert(text).contains(WORD_JOINER), "{text}");
        }
    }

    #[test]
    fn a_cut_counts_what_it_is_told_to() {
        let check = |text, max, expected| assert_eq!(fitting(text, max, char::len_utf16), expected);
        check("ab", 2, "ab");
        check("abc", 2, "a…");
        check("👍👍", 4, "👍👍");
        check("👍👍", 3, "👍…");
        check("👍👍", 2, "…");
        check("a b c", 4, "a b…");
        check("ab c", 3, "ab…");
        check("", 0, "");
        assert_eq!(fitting("&&", 9, |c| if c == '&' { 5 } else { 1 }), "&…");
    }

    #[test]
    fn waits_are_whole_and_bounded() {
        let check = |wish: f64, expected: Option<u64>| {
            let retry = SendOutcome::Transient { after_s: Some(7), reached: true, words: String::new() };
            let SendOutcome::Transient { after_s, .. } = waiting(retry, Some(wish)) else {
                panic!("not a retry")
            };
            assert_eq!(after_s, expected.or(Some(7)), "{wish}");
        };
        check(64.57, Some(65));
        check(0.0, Some(0));
        check(1e300, Some(u64::MAX));
        check(-1.0, None);
        check(f64::NAN, None);
        check(f64::INFINITY, None);
    }

    #[test]
    fn an_id_may_stand_in_quotes() {
        #[derive(Debug, Deserialize)]
        struct Settings {
            id: Id,
        }
        let id = |toml: &str| toml::from_str::<Settings>(toml).expect("an id").id;
        assert_eq!(id("id = -1001234567890").number(), Some(-1_001_234_567_890));
        assert_eq!(id("id = ' -1001234567890 '").number(), Some(-1_001_234_567_890));
        assert_eq!(id("id = '@name'").number(), None);
        assert_eq!(Value::from(&id("id = '@name'")), Value::String("@name".to_owned()));
        let error = toml::from_str::<Settings>("id = 1.5").expect_err("not an id");
        assert_eq!(error.message(), "expected a number or a text in quotes");
    }

    #[test]
    fn an_address_that_is_none_is_not_repeated() {
        for wrong in ["T0PATHT0PATH", "T0PATHT0PATH:x", "http://hooks.example/T0PATHT0PATH"] {
            let error = secret_address(Some(&Secret::new(wrong)), None, &|_| panic!("no file"));
            let error = error.expect_err("refused");
            assert!(error.starts_with("url: ") && !error.to_lowercase().contains("t0path"), "{error}");
        }
    }
}
