//! Messages on phones through ntfy: to a topic of ntfy.sh, or of a server of one's own.
//!
//! Promise: replaceable. Every message carries a sequence id made of its key, and the end of an
//! outage carries that of its start: apps that know such ids (ntfy 2.16, on Android and in the
//! browser) let the end take the start's place, and show a repeat once. Others show each message.
//!
//! It subscribes to nothing and sends no attachment or button, nor the priority that rings through
//! "do not disturb". Invariant: topic, token and password are in nothing that it prints or answers,
//! and a message leads to nobody but Apple.

use std::fmt;
use std::path::PathBuf;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Url};
use ring::digest;
use serde::{Deserialize, Serialize};

use super::push::Push;
use crate::channel::http::{HttpReply, HttpTarget};
use crate::channel::outcome::{Audience, Notice, SendOutcome};
use crate::channel::push;
use crate::channel::settings::{
    self, ReadSecret, Shown, either, redacted, refuse_open, required, shown, shown_list, shown_path,
    shown_secret, shown_some,
};
use crate::channel::transport::{AnyTransport, Table, Transport};
use crate::model::Severity;
use crate::secret::Secret;

/// ntfy takes 1 KB; a character has at most 4 bytes.
const TITLE_MAX: usize = 250;
/// ntfy makes an attachment of what has more than 4,096 bytes, and of what Google's and Apple's
/// push services carry with it, title included, it cuts off the rest from 4,000 on.
const MESSAGE_MAX_BYTES: usize = 3_000;
/// ntfy takes 512 bytes of all tags together.
const TAGS_MAX_BYTES: usize = 256;
const CLICK_MAX_BYTES: usize = 300;
/// Topics and sequence ids alike: letters, digits, `-` and `_`.
const NAME_MAX: usize = 64;
/// Of the key's SHA-256: what two keys would have to share to be taken for one.
const SEQUENCE_BYTES: usize = 16;

/// `[channel.ntfy.NAME]`
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The topic's address, `https://ntfy.sh/TOPIC`. Whoever knows a topic reads along, so the
    /// topic is held to be secret.
    pub url: Option<Secret>,
    /// A file to read it from instead.
    pub url_file: Option<PathBuf>,
    /// An access token, `tk_…`, where the topic is protected.
    pub token: Option<Secret>,
    /// A file to read it from instead.
    pub token_file: Option<PathBuf>,
    /// The user to log in as, where there is no token.
    pub user: Option<String>,
    pub password: Option<Secret>,
    /// A file to read it from instead.
    pub password_file: Option<PathBuf>,
    /// Where a tap on the message leads: a page of Apple's, the feed's status page unless told
    /// otherwise; empty to open ntfy.
    pub click: Option<String>,
    /// Tags beside the one of the severity; those that are emoji short codes become emojis.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Whether an end takes the place of its start (yes unless told otherwise) or is a message of
    /// its own, which rings even while the start is on the screen.
    #[serde(default = "yes")]
    pub update: bool,
}

fn yes() -> bool {
    true
}

impl Table for Settings {
    fn audience(&self) -> Audience {
        Audience::People
    }

    fn shown(&self) -> Vec<Shown> {
        // Taken apart without `..`: a new setting must be shown, or hidden, by decision.
        let Settings { url, url_file, token, token_file, user, password, password_file, click, tags, update } =
            self;
        vec![
            shown_some("url", url.as_ref().map(|url| redacted(url.expose()))),
            shown_path("url_file", url_file.as_ref()),
            shown_secret("token", token.as_ref()),
            shown_path("token_file", token_file.as_ref()),
            shown_some("user", user.as_deref()),
            shown_secret("password", password.as_ref()),
            shown_path("password_file", password_file.as_ref()),
            shown_some("click", click.as_deref()),
            shown_list("tags", tags),
            shown("update", *update),
        ]
    }

    fn open(&self, read_secret: ReadSecret) -> Result<AnyTransport, String> {
        Ok(Ntfy::new(self, read_secret)?.into())
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.shown()).finish()
    }
}

/// A ready topic.
pub struct Ntfy {
    peer: HttpTarget,
    place: Place,
    authorization: Option<HeaderValue>,
    /// In place of Apple's status page; empty for none.
    click: Option<String>,
    tags: Vec<String>,
    update: bool,
}

impl fmt::Debug for Ntfy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ntfy").field(&self.peer).finish()
    }
}

impl Ntfy {
    /// Reads the secrets' files through `read_secret`.
    ///
    /// # Errors
    ///
    /// One line for people that begins with the setting's key; it holds no secret, and of the
    /// address no more than scheme and host.
    pub fn new(settings: &Settings, read_secret: ReadSecret) -> Result<Ntfy, String> {
        let url = required("url", settings.url.as_ref(), settings.url_file.as_deref(), read_secret)?;
        let url = settings::http_address("url", url.expose())?;
        let place = Place::new(&url)?;
        let login = Login::new(settings, read_secret)?;
        let secrets = login.as_ref().map(|login| login.secrets.as_slice()).unwrap_or_default();
        if !secrets.is_empty() {
            refuse_open("url", &url)?;
        }
        settings.click.as_deref().map_or(Ok(()), check_click)?;
        check_tags(&settings.tags)?;
        Ok(Ntfy {
            // Of the topic's address, which the messages do not go to: it is not to be repeated.
            peer: HttpTarget::new(url, secrets)?,
            place,
            authorization: login.map(|login| login.header),
            click: settings.click.clone(),
            tags: settings.tags.clone(),
            update: settings.update,
        })
    }

    /// What makes two messages one: the start's, where this one takes its place.
    fn sequence_id(&self, notice: &Notice) -> String {
        match &notice.replaces {
            Some(start) if self.update && is_name(start) => start.clone(),
            _ => sequence_id_of(&notice.key),
        }
    }

    /// ntfy's "publish as JSON": the one way in that carries every letter of a title.
    fn body(&self, notice: &Notice, sequence_id: &str) -> Vec<u8> {
        let push = Push::new(notice, TITLE_MAX, MESSAGE_MAX_BYTES);
        let (tag, priority) = match notice.severity {
            Severity::Alert => ("warning", 4),
            Severity::Resolved => ("white_check_mark", 3),
            Severity::Info => ("information_source", 3),
        };
        let message = Message {
            topic: &self.place.topic,
            // ntfy takes the title for a header and would decode what RFC 2047 calls an encoded
            // word, and with it what was taken out of the title before.
            title: push.title.replace("=?", "= ?"),
            message: within_bytes(&push.text, MESSAGE_MAX_BYTES),
            priority,
            tags: std::iter::once(tag).chain(self.tags.iter().map(String::as_str)).collect(),
            click: self.click.as_deref().unwrap_or(notice.page()),
            sequence_id,
        };
        serde_json::to_vec(&message).expect("texts and numbers are JSON")
    }
}

impl Transport for Ntfy {
    /// One POST, within 20 s.
    async fn send(&mut self, notice: &Notice) -> SendOutcome {
        let sequence_id = self.sequence_id(notice);
        let mut headers =
            HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        let body = self.body(notice, &sequence_id);
        match self.peer.send(Method::POST, self.place.root.clone(), headers, body).await {
            Ok(reply) => with_receipt(push::judged(&self.peer, &reply, said(&reply)), sequence_id),
            Err(answer) => answer,
        }
    }

    async fn is_reachable(&mut self) -> bool {
        self.peer.is_reachable().await
    }
}

/// Servers before 2.16 do not know `sequence_id` and pass over it.
#[derive(Serialize)]
struct Message<'a> {
    topic: &'a str,
    title: String,
    message: String,
    /// 1 to 5, 3 being ntfy's own default. 5 rings until somebody comes.
    priority: u8,
    tags: Vec<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    click: &'a str,
    sequence_id: &'a str,
}

/// Where to publish what.
#[derive(PartialEq, Eq)]
struct Place {
    /// The server's root, which takes JSON; below a path where a proxy puts it there.
    root: Url,
    topic: String,
}

impl Place {
    /// The topic is the last part of the path, the root what is before it.
    fn new(url: &Url) -> Result<Place, String> {
        if !url.username().is_empty() || url.password().is_some() {
            return Err("url: holds a user or password; write them as user and password".to_owned());
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("url: holds a ? or #; write the topic's address alone, https://host/TOPIC".to_owned());
        }
        let mut url = url.clone();
        url.path_segments_mut().expect("an http address has a path").pop_if_empty();
        let topic =
            url.path_segments().and_then(|mut parts| parts.next_back()).unwrap_or_default().to_owned();
        if !is_name(&topic) {
            return Err(format!(
                "url: does not end in a topic: 1 to {NAME_MAX} letters a to z, digits, - and _; \
                 write https://host/TOPIC"
            ));
        }
        let root = url.join(".").expect("the directory of an address is one");
        Ok(Place { root, topic })
    }
}

/// How to be let in, and what must not be repeated of it.
struct Login {
    header: HeaderValue,
    secrets: Vec<Secret>,
}

impl Login {
    fn new(settings: &Settings, read_secret: ReadSecret) -> Result<Option<Login>, String> {
        let (inline, file) = (settings.token.as_ref(), settings.token_file.as_deref());
        let token = either("token", inline, file, read_secret)?;
        let (inline, file) = (settings.password.as_ref(), settings.password_file.as_deref());
        let password = either("password", inline, file, read_secret)?;
        match (token, settings.user.as_deref(), password) {
            (None, None, None) => Ok(None),
            (Some(token), None, None) => {
                let header = settings::secret_header("token", &format!("Bearer {}", token.expose()))?;
                Ok(Some(Login { header, secrets: vec![token] }))
            }
            (None, Some(user), Some(password)) => Login::basic(user, password).map(Some),
            (Some(_), _, _) => Err("token: given beside user or password; keep one of the two".to_owned()),
            (None, Some(_), None) => {
                Err("user: needs a password; write password or password_file".to_owned())
            }
            (None, None, Some(_)) => Err("password: needs a user; write user".to_owned()),
        }
    }

    /// RFC 7617, in UTF-8.
    fn basic(user: &str, password: Secret) -> Result<Login, String> {
        if user.trim().is_empty() || user.contains(':') {
            return Err("user: empty or with a colon, which no user of ntfy is; check it".to_owned());
        }
        let pair = base64(format!("{user}:{}", password.expose()).as_bytes());
        let header = settings::secret_header("password", &format!("Basic {pair}"))?;
        Ok(Login { header, secrets: vec![password, Secret::new(pair)] })
    }
}

fn check_click(click: &str) -> Result<(), String> {
    if click.is_empty() {
        return Ok(());
    }
    let is_apples = |url: &Url| {
        let host = url.host_str().unwrap_or_default();
        let nobody_else = url.username().is_empty() && url.password().is_none() && url.port().is_none();
        url.scheme() == "https" && (host == "apple.com" || host.ends_with(".apple.com")) && nobody_else
    };
    if click.len() <= CLICK_MAX_BYTES && Url::parse(click).is_ok_and(|url| is_apples(&url)) {
        return Ok(());
    }
    // Fake support lives on this very subject.
    Err("click: messages lead to Apple only; write an address that begins with https://www.apple.com/, \
         or \"\" for none"
        .to_owned())
}

fn check_tags(tags: &[String]) -> Result<(), String> {
    let is_tag = |tag: &str| {
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b',' | b'"' | b'\\');
        !tag.is_empty() && tag.bytes().all(is_plain)
    };
    match tags.iter().find(|tag| !is_tag(tag)) {
        Some(tag) => {
            Err(format!("tags: {tag:?} is none; a tag has letters, digits and signs without , and \""))
        }
        None if tags.iter().map(|tag| tag.len() + 1).sum::<usize>() > TAGS_MAX_BYTES => {
            Err(format!("tags: too many; together they may have {TAGS_MAX_BYTES} bytes"))
        }
        None => Ok(()),
    }
}

/// `{"id":"…"}`, or `{"code":40101,"http":401,"error":"unauthorized"}`.
fn said(reply: &HttpReply) -> Option<String> {
    let json = reply.json();
    if let Some(error) = json["error"].as_str() {
        let code = json["code"].as_u64().map(|code| format!(" ({code})")).unwrap_or_default();
        return Some(format!("{error}{code}"));
    }
    json["id"].as_str().map(|id| format!("id {id}"))
}

fn with_receipt(answer: SendOutcome, sequence_id: String) -> SendOutcome {
    match answer {
        SendOutcome::Delivered { receipt: _, words } => {
            SendOutcome::Delivered { receipt: Some(sequence_id), words }
        }
        SendOutcome::Transient { .. } | SendOutcome::Unclear { .. } | SendOutcome::Permanent { .. } => answer,
    }
}

/// Stable, and within ntfy's rules for sequence ids, which keys are not.
fn sequence_id_of(key: &str) -> String {
    use fmt::Write as _;
    let mut id = "statusd-".to_owned();
    for byte in &digest::digest(&digest::SHA256, key.as_bytes()).as_ref()[..SEQUENCE_BYTES] {
        write!(id, "{byte:02x}").expect("writing into a String cannot fail");
    }
    id
}

fn is_name(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=NAME_MAX).contains(&text.len()) && text.bytes().all(is_letter)
}

/// At most so many bytes of UTF-8, the ellipsis included.
fn within_bytes(text: &str, max: usize) -> String {
    const ELLIPSIS: &str = "…";
    if text.len() <= max {
        return text.to_owned();
    }
    let room = max.saturating_sub(ELLIPSIS.len());
    let end = (0..=room).rfind(|&end| text.is_char_boundary(end)).unwrap_or_default();
    format!("{}{ELLIPSIS}", text[..end].trim_end())
}

/// RFC 4648, 4.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group =
            chunk.iter().chain(&[0; 2]).take(3).fold(0, |group, byte| (group << 8) | usize::from(*byte));
        for place in 0..4 {
            let letter = LETTERS[(group >> (18 - 6 * place)) & 63];
            text.push(if place > chunk.len() { '=' } else { letter.into() });
        }
    }
    text
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
            _ => Err(format!("{}: no such file", path.display())),
        })
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
        let relief =
            body("url = 'https://ntfy.example/T'\nclick = ''", &notice("t", "b", Severity::Resolved));
        assert!(relief.contains(r#""priority":3,"tags":["white_check_mark"],"sequence_id""#), "{relief}");
        let neutral = body("url = 'https://ntfy.example/T'", &notice("t", "b", Severity::Info));
        assert!(neutral.contains(r#""priority":3,"tags":["information_source"],"click""#), "{neutral}");
    }

    #[test]
    fn an_end_takes_the_place_of_its_start() {
        let end =
            Notice { replaces: Some("statusd-start".to_owned()), ..notice("t", "b", Severity::Resolved) };
        let id = |toml: &str, notice: &Notice| made(toml).expect("ntfy").sequence_id(notice);
        let (plain, apart) = ("url = 'https://a.example/T'", "url = 'https://a.example/T'\nupdate = false");
        assert_eq!(id(plain, &end), "statusd-start");
        assert_eq!(id(apart, &end), BEGAN_ID);
        // Never written by this channel.
        let foreign = Notice { replaces: Some("a/b".to_owned()), ..end };
        assert_eq!(id(plain, &foreign), BEGAN_ID);
    }

    #[test]
    fn a_sequence_id_is_stable_and_within_the_rules() {
        assert_eq!(sequence_id_of("consumer/en_US/icloud%20backup/1002938/1/began"), BEGAN_ID);
        assert_ne!(sequence_id_of("a"), sequence_id_of("b"));
        assert!(is_name(&sequence_id_of(&"/%20".repeat(1_000))));
    }

    #[test]
    fn nothing_is_too_large_for_ntfy() {
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
            // Twice the limit of a message is what ntfy reads of JSON.
            assert!(body.len() <= 8_192, "{}", body.len());
            let json: serde_json::Value = serde_json::from_str(&body).expect("JSON");
            let bytes = |key: &str| json[key].as_str().expect("text").len();
            assert!(bytes("title") <= 1_000 && bytes("message") <= 3_000, "{body}");
        }
    }

    #[test]
    fn a_text_is_cut_between_letters() {
        for (text, max, cut) in
            [("übel", 5, "übel"), ("übel", 4, "…"), ("abübel", 6, "ab…"), ("a b c", 4, "a…"), ("ab", 1, "…")]
        {
            assert_eq!(within_bytes(text, max), cut, "{text}");
        }
    }

    #[test]
    fn a_title_has_no_encoded_words() {
        let title = "=?UTF-8?B?4oCu?= is down";
        assert!(
            body("url = 'https://a.example/T'", &notice(title, "b", Severity::Alert))
                .contains("= ?UTF-8?B?4oCu?= is")
        );
    }

    #[track_caller]
    fn check_place(url: &str, root: &str, topic: &str) {
        let place = Place::new(&Url::parse(url).expect("an address")).expect("a place");
        assert_eq!((place.root.as_str(), place.topic.as_str()), (root, topic));
    }

    #[test]
    fn the_topic_is_the_last_part_of_the_path() {
        check_place("https://ntfy.sh/alerts", "https://ntfy.sh/", "alerts");
        check_place("https://ntfy.sh/alerts/", "https://ntfy.sh/", "alerts");
        check_place("https://a.example:8443/push/ntfy/a-B_9", "https://a.example:8443/push/ntfy/", "a-B_9");
    }

    #[track_caller]
    fn check_refused(toml: &str, words: &str) {
        let error = made(toml).expect_err("must be refused");
        assert!(error.contains(words), "{error}");
        for secret in ["hunter2", "s3cret", "T0PIC"] {
            assert!(!error.contains(secret), "{error}");
        }
    }

    #[test]
    fn what_is_not_safe_is_refused_without_giving_it_away() {
        check_refused("", "the key \"url\" is missing");
        check_refused("url = 'https://a.example/T0PIC'\nurl_file = '/url'", "url: also given as url_file");
        check_refused("url_file = '/nowhere'", "url_file: /nowhere: no such file");
        check_refused("url = 'ntfy.sh/T0PIC'", "url: not an address");
        check_refused("url = 'https://a.example/'", "url: does not end in a topic");
        check_refused("url = 'https://a.example/T0PIC%20'", "url: does not end in a topic");
        check_refused(&format!("url = 'https://a.example/{}'", "T0PIC".repeat(13)), "url: does not end");
        check_refused("url = 'https://a.example/T0PIC?auth=s3cret'", "url: holds a ?");
        check_refused("url = 'https://me:s3cret@a.example/T0PIC'", "write them as user and password");
        check_refused("url = 'http://a.example/T0PIC'\ntoken = 'hunter2'", "http://a.example/… would carry");
        check_refused("url = 'http://a.example/T0PIC'\nuser = 'me'\npassword = 'hunter2'", "write https");
        let rest = |toml: &str, words| check_refused(&format!("url_file = '/url'\n{toml}"), words);
        rest("token = 'hunter2'\nuser = 'me'", "token: given beside user");
        rest("token = 'hunter2'\npassword = 's3cret'", "token: given beside user");
        rest("token = 'hunter2'\ntoken_file = '/token'", "token: also given as token_file");
        rest("token = \"hunter2\\nX: y\"", "token: holds a character");
        rest("user = 'me'", "user: needs a password");
        rest("password = 'hunter2'", "password: needs a user");
        rest("user = 'm:e'\npassword = 'hunter2'", "user: empty or with a colon");
        rest("tags = ['a,b']", "tags: \"a,b\" is none");
        rest("tags = ['']", "tags: \"\" is none");
        rest(&format!("tags = ['{}']", "a".repeat(256)), "tags: too many");
    }

    #[test]
    fn what_is_safe_is_taken() {
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
    fn messages_lead_to_apple_only() {
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
            assert!(check_click(other).is_err_and(|words| words.starts_with("click: ")), "{other}");
        }
    }

    #[test]
    fn debug_shows_scheme_and_host_only() {
        let toml = "url = 'https://a.example:8443/T0PICT0PIC'\nuser = 'me'\npassword = 'hunter2'";
        let shown = format!("{:?} {:#?}", settings(toml), made(toml).expect("ntfy"));
        assert!(shown.contains("https://a.example:8443/…"), "{shown}");
        for secret in ["hunter2", "T0PIC", &base64(b"me:hunter2")] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }

    /// RFC 4648, 10.
    #[test]
    fn base64_is_that_of_the_rfc() {
        for (plain, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
            ("ü?>~", "w7w/Pn4="),
        ] {
            assert_eq!(base64(plain.as_bytes()), encoded, "{plain}");
        }
    }
}
