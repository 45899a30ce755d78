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
            return Err(format!("the feed address is too long: use at most {URL_MAX_BYTES} characters"));
        }
        let mut url = Url::parse(text.trim())
            .map_err(|_| format!("the feed address is no URL: give one like {EXAMPLE}"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("the feed address holds a name or password: remove what is before the @".to_owned());
        }
        url.set_fragment(None);
        let url = FeedUrl(url);
        match url.0.scheme() {
            "https" => Ok(url),
            "http" if url.is_loopback() => Ok(url),
            "http" => Err("the feed address is not secure: use https:// (http:// is for this computer \
                           itself only, such as http://127.0.0.1:8080/)"
                .to_owned()),
            _ => Err(format!("the feed address is no web address: give one like {EXAMPLE}")),
        }
    }

    /// Returns Apple's own URL. Fails only for a locale that is not a [`valid_locale`].
    pub fn of(feed: &FeedId) -> Result<FeedUrl, String> {
        if !valid_locale(&feed.locale) {
            return Err("the locale is not of the form ll_CC: use one like en_US".to_owned());
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
            let words = FeedUrl::parse(bad).expect_err(bad);
            assert!(words.starts_with("the feed address") && !words.contains('\n'), "{bad}: {words}");
            assert!(!words.contains("s3cret"), "{words}");
        }
        FeedUrl::parse(&format!("https://www.apple.com/{}", "x".repeat(URL_MAX_BYTES)))
            .expect_err("too long");
    }

    #[test]
    fn the_query_is_never_shown() {
        let url = FeedUrl::parse("https://mirror.example/feed?token=s3cret#s3cret").expect("an address");
        assert_eq!(url.to_string(), "https://mirror.example/feed?…");
        assert_eq!(format!("{url:?}"), "FeedUrl(https://mirror.example/feed?…)");
        assert_eq!(url.url().query(), Some("token=s3cret"));
    }

    #[test]
    fn apples_addresses() {
        let of = |edition, locale: &str| FeedUrl::of(&FeedId { edition, locale: locale.to_owned() });
        assert_eq!(of(Edition::Consumer, "en_US").expect("an address").to_string(), EXAMPLE);
        assert_eq!(
            of(Edition::Developer, "en_US").expect("an address").to_string(),
            "https://www.apple.com/support/systemstatus/data/developer/system_status_en_US.js"
        );
        for bad in ["", "en", "en-US", "EN_us", "en_USA", "../..", "en_U\u{e9}", "é_US"] {
            of(Edition::Consumer, bad).expect_err(bad);
        }
    }
}
