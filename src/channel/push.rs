//! Shared by the push services (ntfy, Gotify, Pushover): title and text within a service's limits, and the
//! classification of responses.
//!
//! Each service's file has its own requests, limits and error formats. Title and text are never empty
//! (`neither_title_nor_text_is_empty_or_too_long`), because some services reject an empty field and others
//! replace it.

use jiff::Timestamp;
use reqwest::header::CONTENT_TYPE;

use super::http::status::http_answer;
use super::http::{HttpReply, HttpTarget};
use super::outcome::{Notice, SendOutcome};
use crate::text;

/// Replaces a title that the user's template left empty.
const NO_TITLE: &str = "statusd";

/// The title and text that a phone shows.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Push {
    pub title: String,
    pub text: String,
}

impl Push {
    /// Takes title and text from `notice` and truncates them to a number of characters.
    pub fn new(notice: &Notice, title_max: usize, text_max: usize) -> Push {
        let title = text::plain_line(&notice.title, title_max);
        let title = if title.is_empty() { NO_TITLE.to_owned() } else { title };
        let text = text::plain_text(&notice.body, text_max);
        let text = if text.is_empty() { title.clone() } else { text };
        Push { title, text }
    }
}

/// The common table's verdict on `reply`. Its words repeat `said`, what the service said about it
/// in its own form; where that is nothing, those of a failure repeat the body.
pub(super) fn judged(peer: &HttpTarget, reply: &HttpReply, said: Option<String>) -> SendOutcome {
    let answer = http_answer(reply.status, reply.retry_after.as_deref(), Timestamp::now());
    let is_page = is_web_page(reply);
    match (&answer, said) {
        // A login page of the network, or a website where the service was thought to be: whoever
        // answered has told nobody.
        (SendOutcome::Delivered { words, .. }, None) if is_page => {
            if peer.is_certain() {
                let words = format!("{words}, but with a web page; check the address");
                return peer.with_reason(SendOutcome::Unclear { words }, "");
            }
            let words = format!(
                "{words}, but with a web page; check the address, and whether the network wants a login"
            );
            peer.with_reason(SendOutcome::Transient { after_s: None, reached: true, words }, "")
        }
        (_, Some(said)) => peer.with_reason(answer, &said),
        (SendOutcome::Delivered { .. }, None) => peer.with_reason(answer, ""),
        _ if is_page => peer.with_reason(answer, ""),
        _ => peer.with_reason(answer, &String::from_utf8_lossy(&reply.body)),
    }
}

fn is_web_page(reply: &HttpReply) -> bool {
    let declared =
        reply.headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    declared || reply.body.trim_ascii_start().starts_with(b"<")
}

#[cfg(test)]
mod tests {
    use reqwest::Url;
    use reqwest::header::{HeaderMap, HeaderValue};

    use super::*;
    use crate::model::Severity;

    fn push(title: &str, body: &str) -> Push {
        let notice = Notice {
            key: "k".to_owned(),
            title: title.to_owned(),
            body: body.to_owned(),
            severity: Severity::Alert,
            payload: String::new(),
            replaces: None,
            follows: None,
        };
        Push::new(&notice, 20, 30)
    }

    #[test]
    fn neither_title_nor_text_is_empty_or_too_long() {
        let pushed = |title: &str, text: &str| Push { title: title.to_owned(), text: text.to_owned() };
        assert_eq!(push("Down\nnow", "one\r\ntwo\u{202e}"), pushed("Down now", "one\ntwo"));
        assert_eq!(push("Down", " \n"), pushed("Down", "Down"));
        assert_eq!(push("\u{200b}", "one"), pushed("statusd", "one"));
        assert_eq!(push("", ""), pushed("statusd", "statusd"));
        let long = push(&"ü".repeat(99), &"バ\n".repeat(99));
        assert_eq!((long.title.chars().count(), long.text.chars().count()), (20, 30));
    }

    fn judgement(status: u16, html: bool, body: &str, said: Option<&str>) -> SendOutcome {
        judgement_of("https", status, html, body, said)
    }

    fn judgement_of(scheme: &str, status: u16, html: bool, body: &str, said: Option<&str>) -> SendOutcome {
        let url = Url::parse(&format!("{scheme}://push.example/s3crets3cret")).expect("an address");
        let peer = HttpTarget::new(url, []);
        let mut headers = HeaderMap::new();
        if html {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        }
        let reply = HttpReply { status, retry_after: None, headers, body: body.into() };
        judged(&peer.expect("a peer"), &reply, said.map(str::to_owned))
    }

    #[test]
    fn a_web_page_has_told_nobody() {
        for (html, body) in [(true, ""), (false, "\n <!doctype html>"), (false, "<html>s3crets3cret")] {
            let words = "push.example answers 200 OK, but with a web page; check the address".to_owned();
            assert_eq!(judgement(200, html, body, None), SendOutcome::Unclear { words }, "{body}");
            let network = "push.example answers 200 OK, but with a web page; check the address, and whether \
                           the network wants a login";
            let expected = SendOutcome::Transient { after_s: None, reached: true, words: network.to_owned() };
            assert_eq!(judgement_of("http", 200, html, body, None), expected, "{body}");
        }
        // The service itself, whatever its proxy declares.
        assert!(matches!(judgement(200, true, "{}", Some("id 1")), SendOutcome::Delivered { .. }));
    }

    #[test]
    fn words_repeat_what_was_said() {
        let words = |status, body, said| judgement(status, false, body, said).words().to_owned();
        assert_eq!(words(200, "{\"id\":1}", Some("id 1")), "push.example answers 200 OK. It says: id 1");
        assert_eq!(words(200, "ok", None), "push.example answers 200 OK");
        assert_eq!(words(502, "<h1>Bad Gateway</h1>", None), "push.example answers 502 Bad Gateway");
        assert!(words(403, "not s3crets3cret", None).ends_with("may do. It says: not ***"));
        assert!(words(403, "{}", Some("no s3crets3cret")).ends_with("may do. It says: no ***"));
    }
}
