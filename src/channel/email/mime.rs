//! A notice as a MIME message: headers, plain text and HTML.
//!
//! Pure. The same notice, addresses and time give the same ASCII bytes. Text from Apple cannot begin a
//! header, end a part or become markup.

use std::time::SystemTime;

use lettre::Message;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart, SinglePart};
use ring::digest::{Context, SHA256};

use super::super::Notice;
use crate::model::Severity;
use crate::text;

const TITLE_MAX_CHARS: usize = 150;
const BODY_MAX_CHARS: usize = 20_000;
/// Half a SHA-256 is unique enough and fits on a header line.
const ID_BYTES: usize = 16;
/// Suppresses automatic replies (RFC 3834; the second header is Microsoft's).
const AUTOMATIC: [(HeaderName, &str); 2] = [
    (HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated"),
    (HeaderName::new_from_ascii_str("X-Auto-Response-Suppress"), "All"),
];
/// RFC 2156, and the header that older programs read.
const URGENT: [(HeaderName, &str); 2] = [
    (HeaderName::new_from_ascii_str("Importance"), "high"),
    (HeaderName::new_from_ascii_str("X-Priority"), "1"),
];

/// A message ready to be submitted.
#[derive(Debug, PartialEq, Eq)]
pub struct MimeMessage {
    pub bytes: Vec<u8>,
    /// The `Message-ID` with brackets. Equal for equal notices, senders and recipients.
    pub id: String,
}

/// Composes the message. Two attempts differ only in `sent_at`.
pub fn compose(notice: &Notice, from: &Mailbox, to: &[Mailbox], sent_at: SystemTime) -> MimeMessage {
    let id = message_id(&notice.key, from, to);
    let title = text::plain_line(&notice.title, TITLE_MAX_CHARS);
    let body = text::plain_text(&notice.body, BODY_MAX_CHARS);
    let (plain, html) = (plain(&title, &body, notice.page()), html(&title, &body, notice));
    let mut builder =
        Message::builder().from(from.clone()).subject(title).date(sent_at).message_id(Some(id.clone()));
    for mailbox in to {
        builder = builder.to(mailbox.clone());
    }
    if let Some(earlier) = notice.follows.as_deref().filter(|id| is_message_id(id)) {
        builder = builder.in_reply_to(earlier.to_owned()).references(earlier.to_owned());
    }
    let urgent = URGENT.into_iter().filter(|_| notice.severity == Severity::Alert);
    for (name, value) in AUTOMATIC.into_iter().chain(urgent) {
        builder = builder.raw_header(HeaderValue::new(name, value.to_owned()));
    }
    // A hash of the parts, because no text can contain its own hash.
    let boundary = digest(&["boundary", &id, &plain, &html]);
    let parts = MultiPart::alternative()
        .boundary(boundary)
        .singlepart(SinglePart::plain(plain))
        .singlepart(SinglePart::html(html));
    let message = builder.multipart(parts).expect("there is a sender, and there are recipients");
    MimeMessage { bytes: message.formatted(), id }
}

/// Includes the recipients, because two channels may send different messages under the same key.
fn message_id(key: &str, from: &Mailbox, to: &[Mailbox]) -> String {
    let recipients = to.iter().map(|mailbox| mailbox.email.as_ref());
    let parts: Vec<&str> = [key, from.email.as_ref()].into_iter().chain(recipients).collect();
    format!("<{}.statusd@{}>", digest(&parts), from.email.domain())
}

/// Returns true if a receipt has the form of our message ids. Others are not safe in a header.
fn is_message_id(receipt: &str) -> bool {
    receipt.starts_with('<') && receipt.ends_with('>') && receipt.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Returns [`ID_BYTES`] of a hash in hex. Length prefixes keep the boundaries between parts significant.
fn digest(parts: &[&str]) -> String {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    hex::encode(&context.finish().as_ref()[..ID_BYTES])
}

fn plain(title: &str, body: &str, page: &str) -> String {
    format!("{title}\n\n{body}\n\nApple's own page: {page}\n")
}

/// Loads no external content and has one link.
fn html(title: &str, body: &str, notice: &Notice) -> String {
    let page = notice.page();
    let colour = match notice.severity {
        Severity::Alert => "#c62828",
        Severity::Resolved => "#2e7d32",
        Severity::Info => "#546e7a",
    };
    format!(
        "<!DOCTYPE html>\n<html><head><meta charset=\"utf-8\">\
         <meta name=\"format-detection\" content=\"telephone=no\"></head>\n\
         <body style=\"font-family:sans-serif\">\n\
         <p style=\"border-left:4px solid {colour};padding-left:8px\"><b>{}</b></p>\n\
         <p>{}</p>\n\
         <p><a href=\"{page}\">Apple's own page</a></p>\n\
         </body></html>\n",
        text::xml_escaped(title),
        text::xml_escaped(body).replace('\n', "<br>\n"),
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn notice() -> Notice {
        Notice {
            key: "consumer/en_US/icloud%20backup/1002938/1/began".to_owned(),
            title: "iCloud Backup is down".to_owned(),
            body: "Since 02:10.\nWait; there is nothing to repair on your side.".to_owned(),
            severity: Severity::Alert,
            payload: String::new(),
            replaces: None,
            follows: None,
        }
    }

    fn mailbox(text: &str) -> Mailbox {
        text.parse().expect("a mailbox")
    }

    fn composed(notice: &Notice) -> MimeMessage {
        let (from, to) = (mailbox("statusd <statusd@example.org>"), [mailbox("me@example.com")]);
        // Thu, 05 May 2022 10:02:30 UTC
        compose(notice, &from, &to, SystemTime::UNIX_EPOCH + Duration::from_secs(1_651_744_950))
    }

    fn text_of(message: &MimeMessage) -> String {
        String::from_utf8(message.bytes.clone()).expect("ASCII")
    }

    /// Returns the header lines, unfolded.
    fn header(message: &MimeMessage) -> Vec<String> {
        let text = text_of(message);
        let (header, _) = text.split_once("\r\n\r\n").expect("a header");
        header.replace("\r\n ", " ").split("\r\n").map(str::to_owned).collect()
    }

    #[test]
    fn notices_of_the_developer_feed_link_to_the_developer_page() {
        let notice = Notice { key: "developer/en_US/apns/1/1/began".to_owned(), ..notice() };
        let text = text_of(&composed(&notice)).replace("=\r\n", "");
        assert_eq!(text.matches("https://developer.apple.com/system-status/").count(), 2, "{text}");
        assert!(!text.contains("systemstatus"), "{text}");
    }

    #[test]
    fn the_headers_are_complete() {
        let message = composed(&notice());
        let header = header(&message);
        for line in [
            "From: statusd <statusd@example.org>",
            "To: me@example.com",
            "Subject: iCloud Backup is down",
            "Date: Thu, 05 May 2022 10:02:30 +0000",
            "Message-ID: <7d1bb56188fe31962501e8fb0f856115.statusd@example.org>",
            "Auto-Submitted: auto-generated",
            "Importance: high",
            "X-Priority: 1",
            "MIME-Version: 1.0",
        ] {
            assert!(header.iter().any(|got| got == line), "{line}: {header:#?}");
        }
        assert!(!header.iter().any(|line| line.starts_with("In-Reply-To") || line.starts_with("References")));
        assert!(
            text_of(&message).contains("\r\n\r\niCloud Backup is down\r\n\r\nSince 02:10.\r\nWait; there")
        );
    }

    #[test]
    fn attempts_differ_only_in_the_date() {
        assert_eq!(composed(&notice()), composed(&notice()));
        let (from, to) = (mailbox("statusd <statusd@example.org>"), [mailbox("me@example.com")]);
        let later = compose(&notice(), &from, &to, SystemTime::UNIX_EPOCH);
        let without_date = |message: &MimeMessage| {
            text_of(message)
                .split("\r\n")
                .filter(|line| !line.starts_with("Date: "))
                .collect::<Vec<_>>()
                .join("\n")
        };
        assert_eq!(without_date(&later), without_date(&composed(&notice())));
    }

    #[test]
    fn the_message_id_depends_on_key_sender_and_recipients() {
        let (from, to) = (mailbox("a@example.org"), mailbox("b@example.org"));
        let ids = [
            message_id("k", &from, &[]),
            message_id("k2", &from, &[]),
            message_id("k", &to, &[]),
            message_id("k", &from, std::slice::from_ref(&to)),
            message_id("k", &from, &[to.clone(), to.clone()]),
        ];
        let different: std::collections::BTreeSet<&String> = ids.iter().collect();
        assert_eq!(different.len(), ids.len());
        // The display name does not matter.
        assert_eq!(message_id("k", &mailbox("A <a@example.org>"), &[]), ids[0]);
    }

    #[test]
    fn an_end_replies_to_its_start_and_is_not_urgent() {
        let start = composed(&notice()).id;
        let end = Notice {
            key: "x/ended".to_owned(),
            severity: Severity::Resolved,
            follows: Some(start.clone()),
            replaces: Some(start.clone()),
            ..notice()
        };
        let header = header(&composed(&end));
        assert!(header.contains(&format!("In-Reply-To: {start}")), "{header:#?}");
        assert!(header.contains(&format!("References: {start}")), "{header:#?}");
        assert!(!header.iter().any(|line| line.starts_with("Importance") || line.starts_with("X-Priority")));
    }

    #[test]
    fn a_foreign_receipt_is_not_put_into_the_header() {
        for follows in ["17", "<a@b>\r\nBcc: x@example.com", "<a b@c>", "<\u{e9}@b>", ""] {
            let header = header(&composed(&Notice { follows: Some(follows.to_owned()), ..notice() }));
            assert!(!header.iter().any(|line| line.starts_with("References")), "{follows:?}");
            assert!(!header.iter().any(|line| line.starts_with("Bcc")), "{follows:?}");
        }
    }

    #[test]
    fn a_title_cannot_add_a_header_and_every_byte_is_ascii() {
        let hostile = Notice {
            title: "down\r\nBcc: victim@example.com\n\n<b>é\u{202e}</b> バックアップ".to_owned(),
            body: "Zeile eins: é\r\n.\r\n\u{0}--boundary\n<script>alert('&')</script>".to_owned(),
            ..notice()
        };
        let message = composed(&hostile);
        assert!(message.bytes.is_ascii() && !message.bytes.contains(&0));
        let header = header(&message);
        assert!(!header.iter().any(|line| line.starts_with("Bcc")), "{header:#?}");
        let subject = header.iter().find(|line| line.starts_with("Subject: ")).expect("a subject");
        assert!(subject.contains("=?utf-8?b?"), "{subject}");
        assert!(text_of(&message).split("\r\n").all(|line| line.len() <= 998 && !line.contains('\n')));
    }

    #[test]
    fn html_is_escaped_and_loads_nothing() {
        let html = html("<img src=x>", "a & b\n<a href='https://evil.example'>c</a>", &notice());
        assert!(html.contains("<b>&lt;img src=x&gt;</b>"), "{html}");
        assert!(html.contains("a &amp; b<br>\n&lt;a href=&apos;https://evil.example&apos;&gt;c"), "{html}");
        assert_eq!(html.matches("<a ").count(), 1);
        assert_eq!(html.matches("href=\"https://www.apple.com/").count(), 1);
        for loads in ["<img ", "<script", "<link", "url(", " src="] {
            assert!(!html.replace("&lt;img src=x", "").contains(loads), "{loads}");
        }
    }

    #[test]
    fn long_texts_are_truncated() {
        let long = Notice { title: "t".repeat(5_000), body: "b\n".repeat(100_000), ..notice() };
        let message = composed(&long);
        assert!(message.bytes.len() < 200_000, "{}", message.bytes.len());
        let subject = header(&message).into_iter().find(|line| line.starts_with("Subject: "));
        assert!(subject.is_some_and(|line| line.len() < 1_000));
    }
}
