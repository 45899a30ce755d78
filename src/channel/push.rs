//! Shared by the push services (ntfy, Gotify, Pushover): title and text within a service's limits, and the
//! classification of responses.
//!
//! Each service's file has its own requests, limits and error formats. Title and text are never empty
//! (`neither_title_nor_text_is_empty_or_too_long`), because some services reject an empty field and others
//! replace it.

use reqwest::header::CONTENT_TYPE;

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

/// Classifies `reply` by its status. The detail includes `message`, the service's own message. Without
/// one, the detail of a failure includes the body.
pub(super) fn classify(target: &HttpTarget, reply: &HttpReply, message: Option<String>) -> SendOutcome {
    let outcome = reply.by_status();
    let is_page = is_web_page(reply);
    match (&outcome, message) {
        // The network's login page, or a web site under the configured address: nothing was delivered.
        (SendOutcome::Delivered { detail, .. }, None) if is_page => {
            if target.is_secure() {
                let detail = format!("{detail} with a web page; check the address");
                return target.with_response(SendOutcome::Unclear { detail }, "");
            }
            let detail = format!(
                "{detail} with a web page; check the address, and whether the network requires a login"
            );
            target.with_response(SendOutcome::Transient { after_s: None, reached: true, detail }, "")
        }
        (_, Some(message)) => target.with_response(outcome, &message),
        (SendOutcome::Delivered { .. }, None) => target.with_response(outcome, ""),
        _ if is_page => target.with_response(outcome, ""),
        _ => target.with_response(outcome, &reply.text()),
    }
}

fn is_web_page(reply: &HttpReply) -> bool {
    let declared =
        reply.headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    declared || reply.has_html_body()
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

    fn outcome(status: u16, html: bool, body: &str, message: Option<&str>) -> SendOutcome {
        outcome_over("https", status, html, body, message)
    }

    fn outcome_over(scheme: &str, status: u16, html: bool, body: &str, message: Option<&str>) -> SendOutcome {
        let url = Url::parse(&format!("{scheme}://push.example/s3crets3cret")).expect("an address");
        let target = HttpTarget::new(url, []);
        let mut headers = HeaderMap::new();
        if html {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        }
        let reply = HttpReply { status, retry_after: None, headers, body: body.into() };
        classify(&target.expect("a target"), &reply, message.map(str::to_owned))
    }

    #[test]
    fn a_web_page_is_not_a_delivery() {
        for (html, body) in [(true, ""), (false, "\n <!doctype html>"), (false, "<html>s3crets3cret")] {
            let detail = "push.example returned 200 OK with a web page; check the address".to_owned();
            assert_eq!(outcome(200, html, body, None), SendOutcome::Unclear { detail }, "{body}");
            let login = "push.example returned 200 OK with a web page; check the address, and whether the \
                         network requires a login";
            let expected = SendOutcome::Transient { after_s: None, reached: true, detail: login.to_owned() };
            assert_eq!(outcome_over("http", 200, html, body, None), expected, "{body}");
        }
        // The service's own message counts, even if a proxy declares it as HTML.
        assert!(matches!(outcome(200, true, "{}", Some("id 1")), SendOutcome::Delivered { .. }));
    }

    #[test]
    fn the_detail_includes_the_message_or_the_body() {
        let detail = |status, body, message| outcome(status, false, body, message).detail().to_owned();
        assert_eq!(detail(200, "{\"id\":1}", Some("id 1")), "push.example returned 200 OK. Response: id 1");
        assert_eq!(detail(200, "ok", None), "push.example returned 200 OK");
        assert_eq!(detail(502, "<h1>Bad Gateway</h1>", None), "push.example returned 502 Bad Gateway");
        assert!(detail(403, "not s3crets3cret", None).ends_with("its permissions. Response: not ***"));
        assert!(detail(403, "{}", Some("no s3crets3cret")).ends_with("its permissions. Response: no ***"));
    }
}
