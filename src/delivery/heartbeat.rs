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
use serde::Deserialize;

use crate::channel::SendOutcome;
use crate::channel::http::HttpTarget;
use crate::channel::settings::{
    ReadSecret, Shown, either, http_address, refuse_open, shown_path, shown_secret,
};
use crate::secret::Secret;

/// `[heartbeat]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The URL to call after a successful poll. Default: none.
    pub url: Option<Secret>,
    /// A file that contains the URL.
    pub url_file: Option<PathBuf>,
}

impl Settings {
    /// Returns every setting, with the URL hidden.
    pub fn shown(&self) -> Vec<Shown> {
        let Settings { url, url_file } = self;
        vec![shown_secret("url", url.as_ref()), shown_path("url_file", url_file.as_ref())]
    }
}

/// The result of a poll, as a heartbeat reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pulse {
    Good,
    /// Nothing could be seen, and why.
    Blind(String),
}

/// A monitoring service that expects heartbeats.
pub struct Heartbeat {
    peer: HttpTarget,
    fail: Url,
}

impl fmt::Debug for Heartbeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Heartbeat").field(&self.peer).finish()
    }
}

impl Heartbeat {
    /// Returns `None` if no URL is configured.
    ///
    /// # Errors
    ///
    /// One line for people that begins with the setting's key.
    pub fn new(settings: &Settings, read_secret: ReadSecret) -> Result<Option<Heartbeat>, String> {
        let (inline, file) = (settings.url.as_ref(), settings.url_file.as_deref());
        let Some(address) = either("url", inline, file, read_secret)? else { return Ok(None) };
        let url = http_address("url", address.expose())?;
        refuse_open("url", &url)?;
        let mut fail = url.clone();
        fail.set_path(&format!("{}/fail", url.path().trim_end_matches('/')));
        Ok(Some(Heartbeat { peer: HttpTarget::new(url, [&address])?, fail }))
    }

    /// One call, within 20 s.
    pub async fn beat(&self, pulse: &Pulse) -> SendOutcome {
        let reply = match pulse {
            Pulse::Good => {
                self.peer.send(Method::GET, self.peer.url().clone(), HeaderMap::new(), Vec::new()).await
            }
            Pulse::Blind(reason) => {
                let plain = HeaderValue::from_static("text/plain; charset=utf-8");
                let headers = HeaderMap::from_iter([(CONTENT_TYPE, plain)]);
                self.peer.send(Method::POST, self.fail.clone(), headers, reason.clone().into_bytes()).await
            }
        };
        match reply {
            Ok(reply) => self.peer.judged(&reply),
            Err(answer) => answer,
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
    }

    #[test]
    fn the_failing_address_lies_behind_the_good_one() {
        for (url, fail) in [
            ("https://a.example/uuid", "https://a.example/uuid/fail"),
            ("https://a.example/uuid/", "https://a.example/uuid/fail"),
            ("https://a.example/ping?key=1", "https://a.example/ping/fail?key=1"),
        ] {
            let heartbeat = made(&format!("url = '{url}'")).expect(url).expect("one");
            assert_eq!(heartbeat.fail.as_str(), fail);
        }
    }

    #[test]
    fn none_is_needed_and_a_wrong_one_is_refused_without_giving_it_away() {
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
