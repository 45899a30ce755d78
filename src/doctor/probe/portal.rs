//! Detects captive portals: requests Apple's test page, as iPhones do.
//!
//! Never logs in and follows no redirects. Only Apple's exact page is "open". Of any other response, only
//! the status and the host of the redirect are kept.

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use reqwest::header::{HeaderMap, LOCATION};
use reqwest::{StatusCode, Url};

use super::ProbeConfig;
use super::error::short;
use super::web::{self, HttpError};
use crate::feed::fetch::ServerTime;

const URL: &str = "http://captive.apple.com/hotspot-detect.html";
const SUCCESS: &[u8] = b"<HTML><HEAD><TITLE>Success</TITLE></HEAD><BODY>Success</BODY></HTML>";
/// Includes the final newline. A longer page is not Apple's.
const BODY_MAX_BYTES: usize = SUCCESS.len() + 1;

/// The result of a request for Apple's test page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Portal {
    pub page: PortalPage,
    /// The seconds by which this computer's clock is ahead of the server's.
    pub ahead_s: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortalPage {
    /// Apple's page.
    Open,
    /// Another page.
    Captive(ForeignResponse),
    Unreachable(HttpError),
}

/// A response that is not from Apple.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignResponse {
    pub status: u16,
    /// The host of the redirect.
    pub host: Option<String>,
}

/// Sends one GET request. Times out after `ProbeLimits::page`. `now` is the time of the call.
pub async fn probe_portal(config: &Arc<ProbeConfig>, now: Timestamp) -> Portal {
    let unreachable = |error| Portal { page: PortalPage::Unreachable(error), ahead_s: None };
    let began = Instant::now();
    let limit = config.limits.page;
    let client = match web::client(config, 80, limit) {
        Ok(client) => client,
        Err(error) => return unreachable(error),
    };
    let response = match client.get(URL).send().await {
        Ok(response) => response,
        Err(error) => return unreachable(HttpError::of(&error, limit)),
    };
    let ahead_s = ServerTime::from_headers(response.headers()).map(|time| time.ahead_s(now, began));
    let foreign =
        ForeignResponse { status: response.status().as_u16(), host: redirect_host(response.headers()) };
    if response.status() != StatusCode::OK {
        return Portal { page: PortalPage::Captive(foreign), ahead_s };
    }
    let page = match web::body(response, BODY_MAX_BYTES, limit).await {
        Ok(body) if is_success(&body) => PortalPage::Open,
        Ok(_) | Err(HttpError::TooLarge) => PortalPage::Captive(foreign),
        Err(error) => PortalPage::Unreachable(error),
    };
    Portal { page, ahead_s }
}

fn is_success(body: &[u8]) -> bool {
    let body = body.strip_suffix(b"\n").unwrap_or(body);
    body == SUCCESS
}

/// Returns the host only, because paths and queries of login pages contain device addresses.
fn redirect_host(headers: &HeaderMap) -> Option<String> {
    let base = Url::parse(URL).ok()?;
    let target = base.join(headers.get(LOCATION)?.to_str().ok()?).ok()?;
    target.host_str().map(short)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_apples_exact_page_is_open() {
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
    fn only_the_host_of_a_redirect_is_kept() {
        #[track_caller]
        fn check(location: &'static str, expected: Option<&str>) {
            let mut headers = HeaderMap::new();
            headers.insert(LOCATION, location.parse().expect("a header"));
            assert_eq!(redirect_host(&headers).as_deref(), expected);
        }
        check("https://login.hotel.example:8443/in?mac=aa:bb", Some("login.hotel.example"));
        check("http://user:secret@10.0.0.1/", Some("10.0.0.1"));
        check("/login", Some("captive.apple.com"));
        check("mailto:x", None);
        assert_eq!(redirect_host(&HeaderMap::new()), None);
    }
}
