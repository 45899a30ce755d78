//! Classifies HTTP statuses for every channel that sends over HTTP.
//!
//! Sends nothing and waits for nothing. The detail of every permanent failure tells the user what to do
//! (`every_status_has_a_meaning`).

use jiff::Timestamp;
use reqwest::StatusCode;

use crate::channel::outcome::SendOutcome;
use crate::http;

/// Returns the outcome of a request that was answered with `status`.
///
/// `retry_after` is the header as received; its dates are relative to `now`. The detail begins with
/// "returned", so that the caller can put the server's name in front.
pub fn classify_status(status: u16, retry_after: Option<&str>, now: Timestamp) -> SendOutcome {
    let returned = returned(status);
    match meaning(status) {
        Meaning::Delivered => SendOutcome::Delivered { receipt: None, detail: returned },
        Meaning::Transient(advice) => SendOutcome::Transient {
            after_s: retry_after.and_then(|value| http::retry_after_s(value, Some(now))),
            reached: true,
            detail: with_advice(returned, advice),
        },
        Meaning::Permanent(advice) => SendOutcome::Permanent { detail: with_advice(returned, advice) },
    }
}

/// Returns for example `returned 404 Not Found`.
pub fn returned(status: u16) -> String {
    match StatusCode::from_u16(status).ok().and_then(|code| code.canonical_reason()) {
        Some(reason) => format!("returned {status} {reason}"),
        None => format!("returned {status}"),
    }
}

fn with_advice(returned: String, advice: &str) -> String {
    if advice.is_empty() { returned } else { format!("{returned}; {advice}") }
}

enum Meaning {
    Delivered,
    /// A retry may succeed. The advice is empty where the user can do nothing.
    Transient(&'static str),
    /// No retry succeeds before the user has followed the advice.
    Permanent(&'static str),
}

fn meaning(status: u16) -> Meaning {
    match status {
        200..=299 => Meaning::Delivered,
        // A redirect would carry the token to an address that is not in the configuration.
        300..=399 => {
            Meaning::Permanent("redirects are not followed; write the final address into the config")
        }
        408 | 425 => Meaning::Transient(""),
        // RFC draft idempotency-key: an earlier request with the same key is still in progress.
        409 => Meaning::Transient("an earlier attempt may still be in progress"),
        // RFC 9110, 15.5.20: the client may retry over another connection.
        421 => Meaning::Transient(""),
        429 => Meaning::Transient("rate limit exceeded; statusd slows down"),
        400..=499 => Meaning::Permanent(client_advice(status)),
        501 => Meaning::Permanent("the server does not support POST; check the address"),
        505 => Meaning::Permanent("the server does not support HTTP/1.1; check the address"),
        511 => Meaning::Transient("the network requires a login; open a browser and log in"),
        500..=599 => Meaning::Transient(""),
        // Only 101 gets here: the HTTP client handles the others.
        0..=199 => Meaning::Permanent("no final response; check that the address accepts webhooks"),
        // RFC 9110, 15: a client treats an invalid status as 5xx.
        600.. => Meaning::Transient("not a valid HTTP status; check the address if this persists"),
    }
}

/// Returns the advice for a 4xx status that no retry changes.
fn client_advice(status: u16) -> &'static str {
    match status {
        400 | 422 => "the server cannot read the message; check that the address matches the kind of channel",
        401 => "the server requires other credentials; check the token in the config",
        402 => "the service requires payment; check your account there",
        403 => "permission denied; check the token and its permissions",
        404 => "nothing exists at this address; check it in the config",
        405 => "the address does not accept POST; check it in the config",
        406 | 415 => "the server does not accept JSON; check the address in the config",
        407 => "the proxy requires credentials; check the proxy settings",
        410 => "the address no longer exists; write the new one into the config",
        411 | 413 | 414 | 431 => "the message is too large for the server; raise its limit",
        426 => "the server requires another protocol; check that the address begins with https",
        451 => "the server refuses for legal reasons; use another one",
        _ => "the server rejects the message; see its log for the reason",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "1994-11-06T08:49:00Z".parse().expect("a time")
    }

    #[test]
    fn every_status_has_a_meaning() {
        for status in 100..=599 {
            let expected = match status {
                200..=299 => "delivered",
                408 | 409 | 421 | 425 | 429 | 500 | 502..=504 | 506..=599 => "transient",
                _ => "permanent",
            };
            let (meaning, detail) = match classify_status(status, None, now()) {
                SendOutcome::Delivered { receipt: None, detail } => ("delivered", detail),
                SendOutcome::Transient { after_s: None, reached: true, detail } => ("transient", detail),
                SendOutcome::Permanent { detail } => ("permanent", detail),
                other => panic!("{status}: {other:?}"),
            };
            assert_eq!(meaning, expected, "{status}");
            assert!(detail.starts_with(&format!("returned {status}")), "{detail}");
            // A permanent failure waits for the user, so the detail says what to do.
            assert!(meaning != "permanent" || detail.contains("; "), "{detail}");
        }
        assert!(matches!(classify_status(999, None, now()), SendOutcome::Transient { .. }));
        assert!(matches!(classify_status(0, None, now()), SendOutcome::Permanent { .. }));
    }

    #[test]
    fn a_redirect_asks_for_the_final_address() {
        let SendOutcome::Permanent { detail } = classify_status(308, None, now()) else {
            panic!("not permanent")
        };
        assert_eq!(
            detail,
            "returned 308 Permanent Redirect; redirects are not followed; write the final address into the config"
        );
    }

    #[track_caller]
    fn check_after(value: &str, expected: Option<u64>) {
        let SendOutcome::Transient { after_s, .. } = classify_status(503, Some(value), now()) else {
            panic!("not transient")
        };
        assert_eq!(after_s, expected, "{value:?}");
    }

    #[test]
    fn retry_after_accepts_all_formats() {
        check_after("120", Some(120));
        check_after(" 0 ", Some(0));
        check_after("Sun, 06 Nov 1994 08:49:37 GMT", Some(37));
        check_after("Sunday, 06-Nov-94 08:49:37 GMT", Some(37));
        check_after("Sun Nov  6 08:49:37 1994", Some(37));
    }

    #[test]
    fn invalid_and_huge_retry_after_values_are_harmless() {
        check_after("99999999999999999999999999", Some(u64::MAX));
        check_after("Wed, 29 Dec 9999 23:59:59 GMT", Some(252_618_016_259));
        // Later than the last day that jiff supports.
        check_after("Fri, 31 Dec 9999 23:59:59 GMT", None);
        check_after("Thu, 01 Jan 1970 00:00:00 GMT", Some(0));
        for invalid in
            ["", " ", "-5", "+5", "1.5", "5 s", "soon", "٣", "Sun, 99 Nov 1994 08:49:37 GMT", "\u{0}"]
        {
            check_after(invalid, None);
        }
    }

    #[test]
    fn retry_after_applies_only_to_transient_failures() {
        assert!(matches!(classify_status(200, Some("60"), now()), SendOutcome::Delivered { .. }));
        assert!(matches!(classify_status(404, Some("60"), now()), SendOutcome::Permanent { .. }));
    }
}
