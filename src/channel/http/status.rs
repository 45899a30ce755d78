//! Classifies HTTP statuses for every channel that sends over HTTP.
//!
//! Sends nothing and waits for nothing. The detail of every permanent failure tells the user what to do
//! (`every_status_has_a_meaning`).

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use reqwest::StatusCode;

use crate::channel::outcome::SendOutcome;

/// The three date formats of HTTP (RFC 9110, 5.6.7). A client must accept all of them.
const HTTP_DATES: [&str; 3] =
    ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];

/// Returns the outcome of a request that was answered with `status`.
///
/// `retry_after` is the header of that name as received, `now` what its dates are compared with.
/// The words begin with "answers" and want the peer's name before them.
pub fn http_answer(status: u16, retry_after: Option<&str>, now: Timestamp) -> SendOutcome {
    let answers = answers(status);
    match meaning(status) {
        Meaning::Delivered => SendOutcome::Delivered { receipt: None, words: answers },
        Meaning::Retry(advice) => SendOutcome::Transient {
            after_s: retry_after.and_then(|value| retry_after_s(value, now)),
            reached: true,
            words: with_advice(answers, advice),
        },
        Meaning::Refused(advice) => SendOutcome::Permanent { words: with_advice(answers, advice) },
    }
}

/// `answers 404 Not Found`.
pub fn answers(status: u16) -> String {
    match StatusCode::from_u16(status).ok().and_then(|code| code.canonical_reason()) {
        Some(reason) => format!("answers {status} {reason}"),
        None => format!("answers {status}"),
    }
}

fn with_advice(answers: String, advice: &str) -> String {
    if advice.is_empty() { answers } else { format!("{answers}; {advice}") }
}

enum Meaning {
    Delivered,
    /// May work later by itself; with what to do where somebody can do something.
    Retry(&'static str),
    /// Not before somebody does this.
    Refused(&'static str),
}

fn meaning(status: u16) -> Meaning {
    match status {
        200..=299 => Meaning::Delivered,
        // A redirect is not followed: it would carry the token to an address nobody wrote down.
        300..=399 => Meaning::Refused("a redirect is not followed; write the final address into the config"),
        408 | 425 => Meaning::Retry(""),
        // RFC draft idempotency-key: an earlier try with the same key is still being worked on.
        409 => Meaning::Retry("an earlier try may still be in work"),
        // RFC 9110, 15.5.20: may be repeated over another connection.
        421 => Meaning::Retry(""),
        429 => Meaning::Retry("too many messages for the receiver; statusd slows down"),
        400..=499 => Meaning::Refused(client_advice(status)),
        501 => Meaning::Refused("the receiver cannot do POST; check the address"),
        505 => Meaning::Refused("the receiver cannot speak HTTP/1.1; check the address"),
        511 => Meaning::Retry("the network wants a login; open a browser and log in"),
        500..=599 => Meaning::Retry(""),
        // 101 is the only one that an HTTP client lets through.
        0..=199 => Meaning::Refused("no final answer; check that the address takes webhooks"),
        // RFC 9110, 15: an invalid status is treated as 5xx.
        600.. => Meaning::Retry("not a status of HTTP; check the address if this goes on"),
    }
}

/// Returns the advice for a 4xx status that no retry changes.
fn client_advice(status: u16) -> &'static str {
    match status {
        400 | 422 => "the receiver does not understand the message; check that the address takes this kind",
        401 => "the receiver wants other credentials; check the token in the config",
        402 => "the receiver wants to be paid; check your account there",
        403 => "the receiver does not allow it; check the token and what it may do",
        404 => "there is nothing at this address; check it in the config",
        405 => "this address takes no POST; check it in the config",
        406 | 415 => "the receiver does not take JSON; check the address in the config",
        407 => "the proxy wants credentials; check the proxy settings",
        410 => "the address is gone for good; write the new one into the config",
        411 | 413 | 414 | 431 => "the message is too large for the receiver; raise its limit",
        426 => "the receiver wants another protocol; check that the address begins with https",
        451 => "the receiver may not take it for legal reasons; use another one",
        _ => "the receiver refuses the message; look into its log for the reason",
    }
}

/// Parses `Retry-After`, a number of seconds or a date (RFC 9110, 10.2.3), into seconds from `now`.
/// Returns 0 for a past date, `u64::MAX` for a number that overflows, and `None` for anything else.
fn retry_after_s(value: &str, now: Timestamp) -> Option<u64> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // Digits alone fail to parse only on overflow.
        return Some(value.parse().unwrap_or(u64::MAX));
    }
    let date = HTTP_DATES.iter().find_map(|form| DateTime::strptime(form, value).ok())?;
    let at = date.to_zoned(TimeZone::UTC).ok()?.timestamp();
    // The conversion fails for a past date.
    Some(u64::try_from(at.as_second() - now.as_second()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "1994-11-06T08:49:00Z".parse().expect("a time")
    }

    #[test]
    fn every_status_has_its_meaning() {
        for status in 100..=599 {
            let expected = match status {
                200..=299 => "delivered",
                408 | 409 | 421 | 425 | 429 | 500 | 502..=504 | 506..=599 => "retry",
                _ => "refused",
            };
            let (meaning, words) = match http_answer(status, None, now()) {
                SendOutcome::Delivered { receipt: None, words } => ("delivered", words),
                SendOutcome::Transient { after_s: None, reached: true, words } => ("retry", words),
                SendOutcome::Permanent { words } => ("refused", words),
                other => panic!("{status}: {other:?}"),
            };
            assert_eq!(meaning, expected, "{status}");
            assert!(words.starts_with(&format!("answers {status}")), "{words}");
            // A refusal waits for a person, so it says what that person does.
            assert!(meaning != "refused" || words.contains("; "), "{words}");
        }
        assert!(matches!(http_answer(999, None, now()), SendOutcome::Transient { .. }));
        assert!(matches!(http_answer(0, None, now()), SendOutcome::Permanent { .. }));
    }

    #[test]
    fn a_redirect_says_what_to_write() {
        let SendOutcome::Permanent { words } = http_answer(308, None, now()) else { panic!("not refused") };
        assert_eq!(
            words,
            "answers 308 Permanent Redirect; a redirect is not followed; write the final address into the config"
        );
    }

    #[track_caller]
    fn check_after(value: &str, expected: Option<u64>) {
        let SendOutcome::Transient { after_s, .. } = http_answer(503, Some(value), now()) else {
            panic!("not a retry")
        };
        assert_eq!(after_s, expected, "{value:?}");
    }

    #[test]
    fn retry_after_is_read_in_all_its_forms() {
        check_after("120", Some(120));
        check_after(" 0 ", Some(0));
        check_after("Sun, 06 Nov 1994 08:49:37 GMT", Some(37));
        check_after("Sunday, 06-Nov-94 08:49:37 GMT", Some(37));
        check_after("Sun Nov  6 08:49:37 1994", Some(37));
    }

    #[test]
    fn absurd_waits_are_harmless() {
        check_after("99999999999999999999999999", Some(u64::MAX));
        check_after("Wed, 29 Dec 9999 23:59:59 GMT", Some(252_618_016_259));
        // Later than the last day that jiff supports.
        check_after("Fri, 31 Dec 9999 23:59:59 GMT", None);
        check_after("Thu, 01 Jan 1970 00:00:00 GMT", Some(0));
        for nonsense in
            ["", " ", "-5", "+5", "1.5", "5 s", "soon", "٣", "Sun, 99 Nov 1994 08:49:37 GMT", "\u{0}"]
        {
            check_after(nonsense, None);
        }
    }

    #[test]
    fn only_a_retry_waits() {
        assert!(matches!(http_answer(200, Some("60"), now()), SendOutcome::Delivered { .. }));
        assert!(matches!(http_answer(404, Some("60"), now()), SendOutcome::Permanent { .. }));
    }
}
