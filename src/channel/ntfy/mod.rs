//! Push notifications through a topic on ntfy.sh or on the user's own ntfy server.
//!
//! Promise: replaceable. Each message has a sequence id derived from its key, and the end of an outage has
//! that of its start. Apps that support sequence ids (ntfy 2.16, on Android and in the browser) replace the
//! start with the end and show a repeat once. Other apps show each message.
//!
//! Subscribes to nothing. Sends no attachments or buttons, and no priority that overrides "do not disturb".
//! Neither debug output nor outcomes contain the topic, token or password
//! (`debug_shows_scheme_and_host_only`). A message links only to Apple (`click_accepts_only_apples_pages`).

mod login;
mod topic;

use std::fmt;
use std::path::PathBuf;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Url};
use ring::digest;
use serde::{Deserialize, Serialize};

use self::login::TopicLogin;
use self::topic::{Topic, is_name};
use super::push::Push;
use crate::channel::http::{HttpReply, HttpTarget};
use crate::channel::outcome::{Notice, SendOutcome};
use crate::channel::push;
use crate::channel::settings::{self, ReadSecret, RedactedUrl, require_encryption, required_secret};
use crate::channel::transport::{AnyTransport, Table, Transport};
use crate::model::Severity;
use crate::secret::Secret;
use crate::setting::SettingError;
use crate::text;

/// The limit of ntfy is 1 KB, and a character has at most 4 bytes.
const TITLE_MAX_CHARS: usize = 250;
/// ntfy turns more than 4,096 bytes into an attachment. For the push services of Google and Apple it
/// truncates title and message together to 4,000 bytes.
const MESSAGE_MAX_BYTES: usize = 3_000;
/// The limit of ntfy is 512 bytes for all tags together.
const TAGS_MAX_BYTES: usize = 256;
const CLICK_MAX_BYTES: usize = 300;
/// The part of the key's SHA-256 that a sequence id contains.
const SEQUENCE_BYTES: usize = 16;

/// `[channel.ntfy.NAME]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The topic's URL, `https://ntfy.sh/TOPIC`. Treated as secret, because the name of a topic alone
    /// allows reading it.
    pub url: Option<RedactedUrl>,
    /// A file that contains the URL.
    pub url_file: Option<PathBuf>,
    /// An access token, `tk_…`, for a protected topic.
    pub token: Option<Secret>,
    /// A file that contains the token.
    pub token_file: Option<PathBuf>,
    /// The user to log in as, instead of a token.
    pub user: Option<String>,
    pub password: Option<Secret>,
    /// A file that contains the password.
    pub password_file: Option<PathBuf>,
    /// The page of Apple's that a tap on the message opens. "" opens ntfy. Default: the feed's status page.
    pub click: Option<String>,
    /// Tags in addition to the one for the severity. ntfy shows emoji short codes as emojis.
    #[serde(default)]
    pub tags: Vec<String>,
    /// If true, the end of an outage replaces its start. If false, the end is a message of its own, which
    /// rings even while the start is on the screen. Default: true.
    #[serde(default = "yes")]
    pub update: bool,
}

fn yes() -> bool {
    true
}

impl Table for Settings {
    fn open(&self, read_secret: ReadSecret) -> Result<AnyTransport, SettingError> {
        Ok(Ntfy::new(self, read_secret)?.into())
    }
}

/// A topic, ready to publish to.
pub struct Ntfy {
    target: HttpTarget,
    topic: Topic,
    authorization: Option<HeaderValue>,
    /// Replaces the feed's status page. Empty for no link.
    click: Option<String>,
    tags: Vec<String>,
    update: bool,
}

impl fmt::Debug for Ntfy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ntfy").field(&self.target).finish()
    }
}

impl Ntfy {
    /// Reads secret files through `read_secret`.
    ///
    /// # Errors
    ///
    /// The setting at fault, without secrets.
    pub fn new(settings: &Settings, read_secret: ReadSecret) -> Result<Ntfy, SettingError> {
        let url = settings.url.as_ref().map(RedactedUrl::to_secret);
        let url = required_secret("url", &url, &settings.url_file, read_secret)?;
        let url = settings::http_url("url", url.expose())?;
        let topic = Topic::new(&url)?;
        let login = TopicLogin::new(settings, read_secret)?;
        let secrets = login.as_ref().map(|login| login.secrets.as_slice()).unwrap_or_default();
        if !secrets.is_empty() {
            require_encryption("url", &url)?;
        }
        settings.click.as_deref().map_or(Ok(()), check_click)?;
        check_tags(&settings.tags)?;
        Ok(Ntfy {
            // The topic's URL, so that it is redacted. Messages go to `topic.root`.
            target: HttpTarget::new(url, secrets)?,
            topic,
            authorization: login.map(|login| login.header),
            click: settings.click.clone(),
            tags: settings.tags.clone(),
            update: settings.update,
        })
    }

    /// Returns the start's sequence id if the notice replaces the start, otherwise one of its own.
    fn sequence_id(&self, notice: &Notice) -> String {
        match &notice.replaces {
            Some(start) if self.update && is_name(start) => start.clone(),
            _ => sequence_id_of(&notice.key),
        }
    }

    /// Returns the JSON to publish. ntfy's other methods put the title into a header, which cannot carry all
    /// of Unicode.
    fn body(&self, notice: &Notice, sequence_id: &str) -> Vec<u8> {
        let push = Push::new(notice, TITLE_MAX_CHARS, MESSAGE_MAX_BYTES);
        let (tag, priority) = match notice.severity {
            Severity::Alert => ("warning", 4),
            Severity::Resolved => ("white_check_mark", 3),
            Severity::Info => ("information_source", 3),
        };
        let message = Message {
            topic: &self.topic.name,
            // ntfy decodes encoded words (RFC 2047) in a title, which would bring back characters that
            // `Push::new` has removed.
            title: push.title.replace("=?", "= ?"),
            message: truncate_bytes(&push.text, MESSAGE_MAX_BYTES),
            priority,
            tags: std::iter::once(tag).chain(self.tags.iter().map(String::as_str)).collect(),
            click: self.click.as_deref().unwrap_or(notice.page()),
            sequence_id,
        };
        serde_json::to_vec(&message).expect("texts and numbers are JSON")
    }
}

impl Transport for Ntfy {
    /// Sends one POST. Times out after 20 s.
    async fn send(&mut self, notice: &Notice) -> SendOutcome {
        let sequence_id = self.sequence_id(notice);
        let mut headers =
            HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        let body = self.body(notice, &sequence_id);
        match self.target.send(Method::POST, self.topic.root.clone(), headers, body).await {
            Ok(reply) => with_receipt(push::classify(&self.target, &reply, message_of(&reply)), sequence_id),
            Err(outcome) => outcome,
        }
    }

    async fn is_reachable(&mut self) -> bool {
        self.target.is_reachable().await
    }
}

/// Servers before 2.16 ignore `sequence_id`.
#[derive(Serialize)]
struct Message<'a> {
    topic: &'a str,
    title: String,
    message: String,
    /// 1 to 5. ntfy's default: 3. 5 overrides "do not disturb".
    priority: u8,
    tags: Vec<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    click: &'a str,
    sequence_id: &'a str,
}

fn check_click(click: &str) -> Result<(), SettingError> {
    if click.is_empty() {
        return Ok(());
    }
    let is_apples = |url: &Url| {
        let host = url.host_str().unwrap_or_default();
        let is_plain = url.username().is_empty() && url.password().is_none() && url.port().is_none();
        url.scheme() == "https" && (host == "apple.com" || host.ends_with(".apple.com")) && is_plain
    };
    if click.len() <= CLICK_MAX_BYTES && Url::parse(click).is_ok_and(|url| is_apples(&url)) {
        return Ok(());
    }
    // Protects users from support scams.
    Err(SettingError::new(
        "click",
        "invalid page: expected an address below https://www.apple.com/, or \"\" for none",
    ))
}

fn check_tags(tags: &[String]) -> Result<(), SettingError> {
    let is_tag = |tag: &str| {
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b',' | b'"' | b'\\');
        !tag.is_empty() && tag.bytes().all(is_plain)
    };
    match tags.iter().find(|tag| !is_tag(tag)) {
        Some(tag) => Err(SettingError::new(
            "tags",
            format!("invalid tag {tag:?}: expected printable ASCII without , \" \\ and spaces"),
        )),
        None if tags.iter().map(|tag| tag.len() + 1).sum::<usize>() > TAGS_MAX_BYTES => {
            Err(SettingError::new("tags", "too long")
                .hint(format!("use at most {TAGS_MAX_BYTES} bytes for all tags together")))
        }
        None => Ok(()),
    }
}

/// Returns the error or the message id of a response: `{"id":"…"}`, or
/// `{"code":40101,"http":401,"error":"unauthorized"}`.
fn message_of(reply: &HttpReply) -> Option<String> {
    let json = reply.json();
    if let Some(error) = json["error"].as_str() {
        let code = json["code"].as_u64().map(|code| format!(" ({code})")).unwrap_or_default();
        return Some(format!("{error}{code}"));
    }
    json["id"].as_str().map(|id| format!("id {id}"))
}

fn with_receipt(outcome: SendOutcome, sequence_id: String) -> SendOutcome {
    match outcome {
        SendOutcome::Delivered { receipt: _, detail } => {
            SendOutcome::Delivered { receipt: Some(sequence_id), detail }
        }
        SendOutcome::Transient { .. } | SendOutcome::Unclear { .. } | SendOutcome::Permanent { .. } => {
            outcome
        }
    }
}

/// Returns the sequence id of a key. A hash, because keys contain characters that sequence ids may not.
fn sequence_id_of(key: &str) -> String {
    let hash = digest::digest(&digest::SHA256, key.as_bytes());
    format!("statusd-{}", hex::encode(&hash.as_ref()[..SEQUENCE_BYTES]))
}

/// Truncates to `max` bytes of UTF-8, including the ellipsis.
fn truncate_bytes(text: &str, max: usize) -> String {
    text::truncate(text, max, char::len_utf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(toml: &str) -> Settings {
        toml::from_str(toml).expect("settings")
    }

    fn made(toml: &str) -> Result<Ntfy, String> {
        Ntfy::new(&settings(toml), &|path| match path.to_str() {
            Some("/url") => Ok(Secret::new("https://ntfy.example/T0PICT0PIC\n")),
            Some("/token") => Ok(Secret::new("hunter2\n")),
            _ => Err(SettingError::new("", format!("{}: no such file", path.display()))),
        })
        .map_err(|error| error.to_string())
    }

    fn notice(title: &str, body: &str, severity: Severity) -> Notice {
        Notice {
            key: "consumer/en_US/icloud%20backup/1002938/1/began".to_owned(),
            title: title.to_owned(),
            body: body.to_owned(),
            severity,
            payload: String::new(),
            replaces: None,
            follows: None,
        }
    }

    fn body(toml: &str, notice: &Notice) -> String {
        let ntfy = made(toml).expect("ntfy");
        String::from_utf8(ntfy.body(notice, &ntfy.sequence_id(notice))).expect("UTF-8")
    }

    const BEGAN_ID: &str = "statusd-8a0d7c54e68b9f9683a99f749319cdd1";

    #[test]
    fn the_message_is_as_documented() {
        let alarm = notice("iCloud Backup is down", "Since 02:10.\nÜber \"all\" 🍏.", Severity::Alert);
        assert_eq!(
            body("url = 'https://ntfy.example/T0PICT0PIC'\ntags = ['cloud']", &alarm),
            format!(
                "{{\"topic\":\"T0PICT0PIC\",\"title\":\"iCloud Backup is down\",\
                 \"message\":\"Since 02:10.\\nÜber \\\"all\\\" 🍏.\",\"priority\":4,\
                 \"tags\":[\"warning\",\"cloud\"],\"click\":\"https://www.apple.com/support/systemstatus/\",\
                 \"sequence_id\":\"{BEGAN_ID}\"}}"
            )
        );
        let developers = Notice { key: "developer/en_US/apns/1/1/began".to_owned(), ..alarm.clone() };
        let to = |toml: &str| body(toml, &developers);
        let page = "\"click\":\"https://developer.apple.com/system-status/\"";
        assert!(to("url = 'https://ntfy.example/T'").contains(page));
        let own = to("url = 'https://ntfy.example/T'\nclick = 'https://apple.com/x'");
        assert!(own.contains("\"click\":\"https://apple.com/x\""), "{own}");
        let resolved =
            body("url = 'https://ntfy.example/T'\nclick = ''", &notice("t", "b", Severity::Resolved));
        assert!(resolved.contains(r#""priority":3,"tags":["white_check_mark"],"sequence_id""#), "{resolved}");
        let info = body("url = 'https://ntfy.example/T'", &notice("t", "b", Severity::Info));
        assert!(info.contains(r#""priority":3,"tags":["information_source"],"click""#), "{info}");
    }

    #[test]
    fn an_end_replaces_its_start_unless_update_is_off() {
        let end =
            Notice { replaces: Some("statusd-start".to_owned()), ..notice("t", "b", Severity::Resolved) };
        let id = |toml: &str, notice: &Notice| made(toml).expect("ntfy").sequence_id(notice);
        let (default, off) = ("url = 'https://a.example/T'", "url = 'https://a.example/T'\nupdate = false");
        assert_eq!(id(default, &end), "statusd-start");
        assert_eq!(id(off, &end), BEGAN_ID);
        // No receipt of this channel.
        let foreign = Notice { replaces: Some("a/b".to_owned()), ..end };
        assert_eq!(id(default, &foreign), BEGAN_ID);
    }

    #[test]
    fn a_sequence_id_is_stable_and_valid() {
        assert_eq!(sequence_id_of("consumer/en_US/icloud%20backup/1002938/1/began"), BEGAN_ID);
        assert_ne!(sequence_id_of("a"), sequence_id_of("b"));
        assert!(is_name(&sequence_id_of(&"/%20".repeat(1_000))));
    }

    #[test]
    fn the_longest_message_fits() {
        let tags: Vec<String> = (0..128).map(|_| "\"a\"".to_owned()).collect();
        let click = format!("https://www.apple.com/{}", "a".repeat(CLICK_MAX_BYTES - 22));
        let toml = format!(
            "url = 'https://a.example/{}'\nclick = '{click}'\ntags = [{}]",
            "T".repeat(64),
            tags.join(",")
        );
        for (title, text) in [("\u{1f34f}", "\""), ("\"", "\\"), ("バ", "\u{1f34f}"), ("a", "a\n")] {
            let notice = notice(&title.repeat(9_999), &text.repeat(9_999), Severity::Info);
            let body = body(&toml, &notice);
            // ntfy reads at most twice the limit of a message as JSON.
            assert!(body.len() <= 8_192, "{}", body.len());
            let json: serde_json::Value = serde_json::from_str(&body).expect("JSON");
            let bytes = |key: &str| json[key].as_str().expect("text").len();
            assert!(bytes("title") <= 1_000 && bytes("message") <= 3_000, "{body}");
        }
    }

    #[test]
    fn a_text_is_truncated_between_characters() {
        for (text, max, cut) in
            [("übel", 5, "übel"), ("übel", 4, "…"), ("abübel", 6, "ab…"), ("a b c", 4, "a…"), ("ab", 1, "…")]
        {
            assert_eq!(truncate_bytes(text, max), cut, "{text}");
        }
    }

    #[test]
    fn a_title_contains_no_encoded_words() {
        let title = "=?UTF-8?B?4oCu?= is down";
        assert!(
            body("url = 'https://a.example/T'", &notice(title, "b", Severity::Alert))
                .contains("= ?UTF-8?B?4oCu?= is")
        );
    }

    #[track_caller]
    fn check_refused(toml: &str, expected: &str) {
        let error = made(toml).expect_err("must be refused");
        assert!(error.contains(expected), "{error}");
        for secret in ["hunter2", "s3cret", "T0PIC"] {
            assert!(!error.contains(secret), "{error}");
        }
    }

    #[test]
    fn invalid_settings_are_rejected_without_showing_secrets() {
        check_refused("", "the key \"url\" is missing");
        check_refused("url = 'https://a.example/T0PIC'\nurl_file = '/url'", "url: also given as url_file");
        check_refused("url_file = '/nowhere'", "url_file: /nowhere: no such file");
        check_refused("url = 'ntfy.sh/T0PIC'", "url: invalid address");
        check_refused("url = 'https://a.example/'", "url: invalid topic");
        check_refused("url = 'https://a.example/T0PIC%20'", "url: invalid topic");
        check_refused(&format!("url = 'https://a.example/{}'", "T0PIC".repeat(13)), "url: invalid topic");
        check_refused("url = 'https://a.example/T0PIC?auth=s3cret'", "url: contains ?");
        check_refused("url = 'https://me:s3cret@a.example/T0PIC'", "write them as user and password");
        check_refused("url = 'http://a.example/T0PIC'\ntoken = 'hunter2'", "http://a.example/… would carry");
        check_refused("url = 'http://a.example/T0PIC'\nuser = 'me'\npassword = 'hunter2'", "write https");
        let rest = |toml: &str, expected| check_refused(&format!("url_file = '/url'\n{toml}"), expected);
        rest("token = 'hunter2'\nuser = 'me'", "token: user or password is also given");
        rest("token = 'hunter2'\npassword = 's3cret'", "token: user or password is also given");
        rest("token = 'hunter2'\ntoken_file = '/token'", "token: also given as token_file");
        rest("token = \"hunter2\\nX: y\"", "token: contains a character");
        rest("user = 'me'", "user: requires a password");
        rest("password = 'hunter2'", "password: requires a user");
        rest("user = 'm:e'\npassword = 'hunter2'", "user: invalid name");
        rest("tags = ['a,b']", "tags: invalid tag \"a,b\"");
        rest("tags = ['']", "tags: invalid tag \"\"");
        rest(&format!("tags = ['{}']", "a".repeat(256)), "tags: too long");
    }

    #[test]
    fn valid_settings_are_accepted() {
        for toml in [
            "url_file = '/url'\ntoken_file = '/token'",
            "url_file = '/url'\nuser = 'me'\npassword_file = '/token'",
            "url = 'http://a.example/T'",
            "url = 'http://127.0.0.1:9/T'\ntoken = 'hunter2'",
        ] {
            assert!(made(toml).is_ok(), "{toml}");
        }
        for unknown in ["url = 'https://a.example/T'\npriority = 5", "title = 'x'"] {
            assert!(toml::from_str::<Settings>(unknown).is_err(), "{unknown}");
        }
    }

    #[test]
    fn click_accepts_only_apples_pages() {
        for apples in ["", "https://www.apple.com/de/support/systemstatus/", "https://apple.com/x?y#z"] {
            assert_eq!(check_click(apples), Ok(()), "{apples}");
        }
        for other in [
            "http://www.apple.com/",
            "https://apple.com.evil.example/",
            "https://evilapple.com/",
            "https://apple.com@evil.example/",
            "https://me:x@apple.com/",
            "https://apple.com:8443/",
            "javascript:apple.com",
            "www.apple.com",
        ] {
            assert!(check_click(other).is_err_and(|error| error.key == "click"), "{other}");
        }
    }

    #[test]
    fn debug_shows_scheme_and_host_only() {
        let toml = "url = 'https://a.example:8443/T0PICT0PIC'\nuser = 'me'\npassword = 'hunter2'";
        let shown = format!("{:?} {:#?}", settings(toml), made(toml).expect("ntfy"));
        assert!(shown.contains("https://a.example:8443/…"), "{shown}");
        for secret in ["hunter2", "T0PIC", "bWU6aHVudGVyMg=="] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}
