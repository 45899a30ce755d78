//! URLs of feeds: Apple's own for each edition and locale, or a configured one.
//!
//! A [`FeedUrl`] is https, or http on a loopback address, and contains no user name or password. This
//! module makes no request.

use std::fmt;

use reqwest::Url;

use crate::model::{Edition, FeedId};
use crate::tls;

const APPLE: &str = "https://www.apple.com/support/systemstatus/data/";
const EXAMPLE: &str = "https://www.apple.com/support/systemstatus/data/system_status_en_US.js";
const URL_MAX_BYTES: usize = 2_048;

/// The URL of a feed. `Display` and `Debug` omit the query, which may contain a token.
#[derive(Clone, PartialEq, Eq)]
pub struct FeedUrl(Url);

impl FeedUrl {
    /// Parses a URL from a flag or the configuration. The error is one line with the next step. It does
    /// not repeat the URL, which may contain a secret.
    pub fn parse(text: &str) -> Result<FeedUrl, String> {
        if text.len() > URL_MAX_BYTES {
            return Err(format!("invalid feed URL: expected at most {URL_MAX_BYTES} bytes"));
        }
        let mut url = Url::parse(text.trim())
            .map_err(|_| format!("invalid feed URL: expected for example {EXAMPLE}"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("invalid feed URL: remove the user name and password before the @".to_owned());
        }
        url.set_fragment(None);
        let url = FeedUrl(url);
        match url.0.scheme() {
            "https" => Ok(url),
            "http" if url.is_loopback() => Ok(url),
            "http" => Err("invalid feed URL: use https:// (http:// is allowed only for this computer, for \
                           example http://127.0.0.1:8080/)"
                .to_owned()),
            _ => Err(format!("invalid feed URL: expected an https URL, for example {EXAMPLE}")),
        }
    }

    /// Returns Apple's own URL. Fails only for a locale that is not a [`valid_locale`].
    pub fn of(feed: &FeedId) -> Result<FeedUrl, String> {
        if !valid_locale(&feed.locale) {
            return Err("invalid locale: expected the form ll_CC, for example en_US".to_owned());
        }
        let folder = match feed.edition {
            Edition::Consumer => "",
            Edition::Developer => "developer/",
        };
        FeedUrl::parse(&format!("{APPLE}{folder}system_status_{}.js", feed.locale))
    }

    /// Returns the host's name or IP address.
    pub fn host(&self) -> &str {
        self.0.host_str().expect("an http or https URL has a host")
    }

    /// Returns whether the host is a loopback address or `localhost`. Resolves no name.
    pub(super) fn is_loopback(&self) -> bool {
        tls::is_loopback(self.host())
    }

    pub(super) fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }

    pub(super) fn url(&self) -> &Url {
        &self.0
    }
}

impl fmt::Display for FeedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.0.clone();
        shown.set_query(None);
        write!(f, "{shown}{}", if self.0.query().is_some() { "?…" } else { "" })
    }
}

impl fmt::Debug for FeedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FeedUrl({self})")
    }
}

/// Returns whether a locale has the form `ll_CC`, as in Apple's file names.
pub fn valid_locale(locale: &str) -> bool {
    let bytes = locale.as_bytes();
    bytes.len() == 5
        && bytes[..2].iter().all(u8::is_ascii_lowercase)
        && bytes[2] == b'_'
        && bytes[3..].iter().all(u8::is_ascii_uppercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn https_anywhere_and_http_to_this_computer_only() {
        for good in [
            "https://www.apple.com/support/systemstatus/data/system_status_en_US.js",
            " https://mirror.example:8443/feed?token=s3cret ",
            "http://localhost:8080/",
            "http://127.0.0.1/",
            "http://127.8.9.1/",
            "http://[::1]:80/feed",
        ] {
            FeedUrl::parse(good).expect(good);
        }
        for bad in [
            "",
            "www.apple.com",
            "http://www.apple.com/",
            "http://localhost.example/",
            "http://127.0.0.1.example/",
            "http://0.0.0.0/",
            "http://192.168.1.1/",
            "http://[::ffff:127.0.0.1]/",
            "https://",
            "https://name@www.apple.com/",
            "https://name:s3cret@www.apple.com/",
            "ftp://localhost/",
            "file:///etc/passwd",
        ] {
            let error = FeedUrl::parse(bad).expect_err(bad);
            assert!(error.starts_with("invalid feed URL: ") && !error.contains('\n'), "{bad}: {error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
        FeedUrl::parse(&format!("https://www.apple.com/{}", "x".repeat(URL_MAX_BYTES)))
            .expect_err("too long");
    }

    #[test]
    fn display_and_debug_omit_the_query() {
        let url = FeedUrl::parse("https://mirror.example/feed?token=s3cret#s3cret").expect("a URL");
        assert_eq!(url.to_string(), "https://mirror.example/feed?…");
        assert_eq!(format!("{url:?}"), "FeedUrl(https://mirror.example/feed?…)");
        assert_eq!(url.url().query(), Some("token=s3cret"));
    }

    #[test]
    fn urls_of_apples_feeds() {
        let of = |edition, locale: &str| FeedUrl::of(&FeedId { edition, locale: locale.to_owned() });
        assert_eq!(of(Edition::Consumer, "en_US").expect("a URL").to_string(), EXAMPLE);
        assert_eq!(
            of(Edition::Developer, "en_US").expect("a URL").to_string(),
            "https://www.apple.com/support/systemstatus/data/developer/system_status_en_US.js"
        );
        for bad in ["", "en", "en-US", "EN_us", "en_USA", "../..", "en_U\u{e9}", "é_US"] {
            of(Edition::Consumer, bad).expect_err(bad);
        }
    }
}
