//! Detects captive portals: requests Apple's test page, as iPhones do.
//!
//! Never logs in and follows no redirects. Only Apple's exact page is "open". Of any other response, only
//! the status and the host of the redirect are kept.

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use reqwest::header::{DATE, HeaderMap, LOCATION};
use reqwest::{StatusCode, Url};

use super::Net;
use super::fault::short;
use super::web::{self, WebFault};

const URL: &str = "http://captive.apple.com/hotspot-detect.html";
const SUCCESS: &[u8] = b"<HTML><HEAD><TITLE>Success</TITLE></HEAD><BODY>Success</BODY></HTML>";
/// Includes the final newline. A longer page is not Apple's.
const BODY_MAX_BYTES: usize = SUCCESS.len() + 1;

/// The result of a request for Apple's test page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Portal {
    pub page: PortalPage,
    /// The seconds by which this computer's clock is ahead of the response's `Date`.
    pub ahead_s: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortalPage {
    /// Apple's page.
    Open,
    /// Somebody else's.
    Captive(Stranger),
    Unreachable(WebFault),
}

/// A response that is not from Apple.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stranger {
    pub status: u16,
    /// The host of the redirect.
    pub host: Option<String>,
}

/// One GET, within the page's limit. `now` is when it is called.
pub async fn ask_portal(net: &Arc<Net>, now: Timestamp) -> Portal {
    let unreachable = |fault| Portal { page: PortalPage::Unreachable(fault), ahead_s: None };
    let began = Instant::now();
    let limit = net.limits.page;
    let client = match web::client(net, 80, limit) {
        Ok(client) => client,
        Err(fault) => return unreachable(fault),
    };
    let response = match client.get(URL).send().await {
        Ok(response) => response,
        Err(error) => return unreachable(WebFault::of(&error, limit)),
    };
    let date = date(response.headers());
    let passed_s = i64::try_from(began.elapsed().as_secs()).unwrap_or(0);
    let ahead_s = date.map(|date| now.as_second() + passed_s - date.as_second());
    let stranger = Stranger { status: response.status().as_u16(), host: target(response.headers()) };
    if response.status() != StatusCode::OK {
        return Portal { page: PortalPage::Captive(stranger), ahead_s };
    }
    let page = match web::body(response, BODY_MAX_BYTES, limit).await {
        Ok(body) if is_success(&body) => PortalPage::Open,
        Ok(_) | Err(WebFault::TooLarge) => PortalPage::Captive(stranger),
        Err(fault) => PortalPage::Unreachable(fault),
    };
    Portal { page, ahead_s }
}

fn is_success(body: &[u8]) -> bool {
    let body = body.strip_suffix(b"\n").unwrap_or(body);
    body == SUCCESS
}

fn date(headers: &HeaderMap) -> Option<Timestamp> {
    DateTimeParser::new().parse_timestamp(headers.get(DATE)?.to_str().ok()?).ok()
}

/// The host only: paths and queries of login pages hold addresses of devices.
fn target(headers: &HeaderMap) -> Option<String> {
    let base = Url::parse(URL).ok()?;
    let target = base.join(headers.get(LOCATION)?.to_str().ok()?).ok()?;
    target.host_str().map(short)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_apples_page() {
        let page = String::from_utf8_lossy(SUCCESS);
        for (body, expected) in [
            (page.to_string(), true),
            (format!("{page}\n"), true),
            (format!("{page}\n\n"), false),
            (format!(" {page}"), false),
            (page.replace("Success", "success"), false),
            (String::new(), false),
        ] {
            assert_eq!(is_success(body.as_bytes()), expected, "{body:?}");
        }
    }

    #[test]
    fn of_a_redirect_only_the_host() {
        #[track_caller]
        fn check(location: &'static str, expected: Option<&str>) {
            let mut headers = HeaderMap::new();
            headers.insert(LOCATION, location.parse().expect("a header"));
            assert_eq!(target(&headers).as_deref(), expected);
        }
        check("https://login.hotel.example:8443/in?mac=aa:bb", Some("login.hotel.example"));
        check("http://user:secret@10.0.0.1/", Some("10.0.0.1"));
        check("/login", Some("captive.apple.com"));
        check("mailto:x", None);
        assert_eq!(target(&HeaderMap::new()), None);
    }
}
