//! Sends messages to phones and browsers through the user's own Gotify server.
//!
//! Promise: plain. An application's token allows neither deduplication nor updates: a repeat is a second
//! message, and an end follows its start.
//!
//! Reads and deletes no messages, which would need a client token. The token is sent in a header, never
//! in a URL, and never printed (`debug_prints_only_scheme_and_host`).

use std::path::PathBuf;

use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::push::Push;
use crate::channel::http::{HttpReply, HttpTarget};
use crate::channel::outcome::{Notice, SendOutcome};
use crate::channel::push;
use crate::channel::settings::{self, ReadSecret, RedactedUrl, require_encryption, required_secret};
use crate::channel::transport::{AnyTransport, Table, Transport};
use crate::model::Severity;
use crate::secret::Secret;
use crate::setting::SettingError;

const KEY: &str = "x-gotify-key";
/// Gotify has no limits. These are the lengths that a phone can show.
const TITLE_MAX: usize = 250;
const MESSAGE_MAX: usize = 2_000;

/// `[channel.gotify.NAME]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The server's URL, with its base path if there is one: `https://…`, or `http://…` on this
    /// computer. Everything after the host is treated as secret.
    pub url: RedactedUrl,
    /// The token of an application, from the page "Apps" of Gotify.
    pub token: Option<Secret>,
    /// A file that contains the token.
    pub token_file: Option<PathBuf>,
}

impl Table for Settings {
    fn open(&self, read_secret: ReadSecret) -> Result<AnyTransport, SettingError> {
        Ok(Gotify::new(self, read_secret)?.into())
    }
}

/// A Gotify server, ready to send.
#[derive(Debug)]
pub struct Gotify {
    target: HttpTarget,
    /// Marked as sensitive, so that `Debug` hides the value.
    key: HeaderValue,
}

impl Gotify {
    /// Reads the token file through `read_secret`.
    ///
    /// # Errors
    ///
    /// The setting at fault, without secrets.
    pub fn new(settings: &Settings, read_secret: ReadSecret) -> Result<Gotify, SettingError> {
        let url = message_url(settings::http_url("url", settings.url.expose())?)?;
        require_encryption("url", &url)?;
        let token = required_secret("token", &settings.token, &settings.token_file, read_secret)?;
        let key = settings::secret_header("token", token.expose())?;
        Ok(Gotify { target: HttpTarget::new(url, [&token])?, key })
    }
}

impl Transport for Gotify {
    /// Sends one POST. Times out after 20 s.
    async fn send(&mut self, notice: &Notice) -> SendOutcome {
        let headers = HeaderMap::from_iter([(HeaderName::from_static(KEY), self.key.clone())]);
        let classify = |reply: &HttpReply| push::classify(&self.target, reply, response_text(reply));
        self.target.post_json(headers, body(notice), classify).await
    }

    async fn is_reachable(&mut self) -> bool {
        self.target.is_reachable().await
    }
}

/// Returns the URL for messages to the server at `url`.
fn message_url(mut url: Url) -> Result<Url, SettingError> {
    if url.query().is_some() || url.fragment().is_some() {
        return Err(SettingError::new("url", "contains a ? or #")
            .hint("write only the server's address, and the token as token"));
    }
    url.path_segments_mut().expect("an HTTP URL has a path").pop_if_empty().push("message");
    Ok(url)
}

fn body(notice: &Notice) -> Vec<u8> {
    let Push { title, text } = Push::new(notice, TITLE_MAX, MESSAGE_MAX);
    // On Android, priorities 4 to 7 ring, and 8 to 10 also vibrate.
    let priority = match notice.severity {
        Severity::Alert => 8,
        Severity::Resolved | Severity::Info => 5,
    };
    let message = json!({
        "title": title,
        "message": text,
        "priority": priority,
        "extras": {
            // Gotify's default, but explicit: Apple's text as Markdown could load images.
            "client::display": {"contentType": "text/plain"},
            "client::notification": {"click": {"url": notice.page()}},
        },
    });
    message.to_string().into_bytes()
}

/// Returns the id or the error of `{"id":25,…}`, or `{"error":"Unauthorized","errorCode":401,"errorDescription":"you need to …"}`.
fn response_text(reply: &HttpReply) -> Option<String> {
    let json = reply.json();
    if let Some(id) = json["id"].as_u64() {
        return Some(format!("id {id}"));
    }
    ["errorDescription", "error"].iter().find_map(|key| json[*key].as_str()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(toml: &str) -> Settings {
        toml::from_str(toml).expect("settings")
    }

    fn made(toml: &str) -> Result<Gotify, String> {
        Gotify::new(&settings(toml), &|path| match path.to_str() {
            Some("/token") => Ok(Secret::new("hunter2\n")),
            _ => Err(SettingError::new("", format!("{}: no such file", path.display()))),
        })
        .map_err(|error| error.to_string())
    }

    fn notice(title: &str, text: &str, severity: Severity) -> Notice {
        Notice {
            key: "k".to_owned(),
            title: title.to_owned(),
            body: text.to_owned(),
            severity,
            payload: String::new(),
            replaces: None,
            follows: None,
        }
    }

    fn text(notice: &Notice) -> String {
        String::from_utf8(body(notice)).expect("UTF-8")
    }

    #[test]
    fn changes_in_the_developer_feed_link_to_the_developer_page() {
        let notice =
            Notice { key: "developer/en_US/apns/1/1/began".to_owned(), ..notice("t", "b", Severity::Alert) };
        let click = "{\"click\":{\"url\":\"https://developer.apple.com/system-status/\"}}";
        assert!(text(&notice).contains(click), "{}", text(&notice));
    }

    #[test]
    fn the_message_has_the_documented_form() {
        assert_eq!(
            text(&notice("iCloud Backup is down", "Since 02:10.\n**Über** ![x](y).", Severity::Alert)),
            "{\"title\":\"iCloud Backup is down\",\"message\":\"Since 02:10.\\n**Über** ![x](y).\",\
             \"priority\":8,\"extras\":{\"client::display\":{\"contentType\":\"text/plain\"},\
             \"client::notification\":{\"click\":{\"url\":\"https://www.apple.com/support/systemstatus/\"}}}}"
        );
        for severity in [Severity::Resolved, Severity::Info] {
            assert!(text(&notice("t", "b", severity)).contains("\"priority\":5,"), "{severity:?}");
        }
    }

    #[test]
    fn title_and_text_are_truncated() {
        let body = body(&notice(&"ü".repeat(9_999), &"バ".repeat(9_999), Severity::Alert));
        let json: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        let chars = |key: &str| json[key].as_str().expect("text").chars().count();
        assert_eq!((chars("title"), chars("message")), (250, 2_000));
    }

    #[test]
    fn messages_go_below_the_base_path() {
        for (url, expected) in [
            ("https://a.example", "https://a.example/message"),
            ("https://a.example/", "https://a.example/message"),
            ("https://a.example:8443/push/gotify", "https://a.example:8443/push/gotify/message"),
            ("https://a.example/gotify/", "https://a.example/gotify/message"),
        ] {
            let url = message_url(Url::parse(url).expect("a URL")).expect("a URL");
            assert_eq!(url.as_str(), expected);
        }
    }

    #[track_caller]
    fn check_rejected(toml: &str, expected: &str) {
        let error = made(toml).expect_err("invalid");
        assert!(error.contains(expected), "{error}");
        for secret in ["hunter2", "s3cret", "T0PATH"] {
            assert!(!error.contains(secret), "{error}");
        }
    }

    #[test]
    fn unsafe_settings_are_rejected_without_printing_secrets() {
        check_rejected("url = 'https://a.example/T0PATH'", "the key \"token\" is missing");
        check_rejected("url = 'a.example/T0PATH'\ntoken = 'hunter2'", "url: invalid address");
        check_rejected(
            "url = 'http://a.example/T0PATH'\ntoken = 'hunter2'",
            "http://a.example/… would carry",
        );
        check_rejected(
            "url = 'https://a.example/message?token=s3cret'\ntoken = 'hunter2'",
            "url: contains a ?",
        );
        check_rejected(
            "url = 'https://a.example'\ntoken = 'hunter2'\ntoken_file = '/token'",
            "token: also given",
        );
        check_rejected(
            "url = 'https://a.example'\ntoken_file = '/nowhere'",
            "token_file: /nowhere: no such file",
        );
        check_rejected(
            "url = 'https://a.example'\ntoken = \"hunter2\\nX: y\"",
            "token: contains a character",
        );
        assert!(made("url = 'http://127.0.0.1:9'\ntoken_file = '/token'").is_ok());
        for wrong in ["token = 'x'", "url = 'https://a.example'\npriority = 1"] {
            assert!(toml::from_str::<Settings>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn debug_prints_only_scheme_and_host() {
        let toml = "url = 'https://me:s3cret@a.example:8443/T0PATH'\ntoken = 'hunter2'";
        let shown = format!("{:?} {:#?}", settings(toml), made(toml).expect("gotify"));
        assert!(shown.contains("https://a.example:8443/…"), "{shown}");
        for secret in ["hunter2", "s3cret", "T0PATH"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}
