//! The heartbeat: a request after each poll, so that a monitoring service notices when statusd is down.
//!
//! Uses the protocol of Healthchecks: a GET of the URL after a successful poll, a POST to the URL plus
//! `/fail` with the reason after a failed one. A failed request is not retried, because the next poll
//! sends the next one. The URL is a secret and is never printed
//! (`none_is_required_and_an_invalid_url_is_not_printed`).

use std::fmt;
use std::path::PathBuf;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Url};
use serde::{Deserialize, Serialize};

use crate::channel::SendOutcome;
use crate::channel::http::HttpTarget;
use crate::channel::settings::{ReadSecret, http_url, optional_secret, require_encryption};
use crate::secret::Secret;
use crate::setting::SettingError;

/// `[heartbeat]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The URL to call after a successful poll. Default: none.
    pub url: Option<Secret>,
    /// A file that contains the URL.
    pub url_file: Option<PathBuf>,
}

/// The result of a poll, as a heartbeat reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Beat {
    Success,
    /// The feed was unreadable, with the reason.
    Failure(String),
}

/// A monitoring service that expects heartbeats.
pub struct Heartbeat {
    target: HttpTarget,
    fail_url: Url,
}

impl fmt::Debug for Heartbeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Heartbeat").field(&self.target).finish()
    }
}

impl Heartbeat {
    /// Returns `None` if no URL is configured.
    ///
    /// # Errors
    ///
    /// The setting at fault, without secrets.
    pub fn new(settings: &Settings, read_secret: ReadSecret) -> Result<Option<Heartbeat>, SettingError> {
        let Some(address) = optional_secret("url", &settings.url, &settings.url_file, read_secret)? else {
            return Ok(None);
        };
        let url = http_url("url", address.expose())?;
        require_encryption("url", &url)?;
        let mut fail_url = url.clone();
        fail_url.set_path(&format!("{}/fail", url.path().trim_end_matches('/')));
        Ok(Some(Heartbeat { target: HttpTarget::new(url, [&address])?, fail_url }))
    }

    /// Sends one request. Times out after 20 s.
    pub async fn send(&self, beat: &Beat) -> SendOutcome {
        let reply = match beat {
            Beat::Success => {
                self.target.send(Method::GET, self.target.url().clone(), HeaderMap::new(), Vec::new()).await
            }
            Beat::Failure(reason) => {
                let plain = HeaderValue::from_static("text/plain; charset=utf-8");
                let headers = HeaderMap::from_iter([(CONTENT_TYPE, plain)]);
                let body = reason.clone().into_bytes();
                self.target.send(Method::POST, self.fail_url.clone(), headers, body).await
            }
        };
        match reply {
            Ok(reply) => self.target.classify(&reply),
            Err(outcome) => outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(toml: &str) -> Result<Option<Heartbeat>, String> {
        Heartbeat::new(&toml::from_str(toml).expect("settings"), &|_| {
            Ok(Secret::new("https://b.example/uuid\n"))
        })
        .map_err(|error| error.to_string())
    }

    #[test]
    fn the_failure_url_extends_the_path() {
        for (url, fail) in [
            ("https://a.example/uuid", "https://a.example/uuid/fail"),
            ("https://a.example/uuid/", "https://a.example/uuid/fail"),
            ("https://a.example/ping?key=1", "https://a.example/ping/fail?key=1"),
        ] {
            let heartbeat = made(&format!("url = '{url}'")).expect(url).expect("one");
            assert_eq!(heartbeat.fail_url.as_str(), fail);
        }
    }

    #[test]
    fn none_is_required_and_an_invalid_url_is_not_printed() {
        assert!(made("").expect("none").is_none());
        assert!(made("url_file = 'beat'").expect("read").is_some());
        for toml in ["url = 'http://a.example/s3cret'", "url = 's3cret'", "url = 'ftp://a/s3cret'"] {
            let error = made(toml).expect_err(toml);
            assert!(error.starts_with("url: ") && !error.contains("s3cret"), "{error}");
        }
        let heartbeat = made("url = 'https://a.example/s3cret'").expect("good");
        assert!(!format!("{heartbeat:?}").contains("s3cret"));
    }
}
