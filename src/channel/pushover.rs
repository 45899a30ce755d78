//! Push notifications through Pushover.
//!
//! Promise: plain. Pushover supports neither idempotency keys nor updates. A repeat and the end of an
//! outage are messages of their own.
//!
//! Sends no emergency messages, which ring until the user acknowledges them, and requests no receipts.
//! Neither debug output nor outcomes contain the token, the user, or the path of the URL
//! (`debug_shows_scheme_and_host_only`).

use std::path::PathBuf;

use jiff::Timestamp;
use reqwest::header::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::push::Push;
use crate::channel::http::{HttpReply, HttpTarget};
use crate::channel::outcome::{Notice, SendOutcome};
use crate::channel::push;
use crate::channel::settings::{self, ReadSecret, RedactedUrl, require_encryption, required_secret};
use crate::channel::transport::{AnyTransport, Table, Transport};
use crate::model::Severity;
use crate::secret::Secret;
use crate::setting::SettingError;

const API: &str = "https://api.pushover.net/1/messages.json";
const TITLE_MAX: usize = 250;
const MESSAGE_MAX: usize = 1_024;
/// The maximum length of a device's name.
const DEVICE_MAX: usize = 25;
/// The minimum delay that Pushover requires after a 5xx.
const SERVER_ERROR_DELAY_S: u64 = 5;
/// When the monthly quota is renewed, in seconds since 1970, and how many messages remain.
const LIMIT_RESET: &str = "x-limit-app-reset";
const LIMIT_REMAINING: &str = "x-limit-app-remaining";

/// `[channel.pushover.NAME]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The token of the user's application.
    pub token: Option<Secret>,
    /// A file that contains the token.
    pub token_file: Option<PathBuf>,
    /// The key of a user or group.
    pub user: Option<Secret>,
    /// A file that contains the key.
    pub user_file: Option<PathBuf>,
    /// The devices to notify, separated by commas. Default: all.
    pub device: Option<String>,
    /// The name of the sound. Default: the device's setting.
    pub sound: Option<String>,
    /// The URL of a relay, `https://…`, or `http://…` on this computer. Its path and query are treated as
    /// secret. Default: Pushover's API.
    pub url: Option<RedactedUrl>,
}

impl Table for Settings {
    fn open(&self, read_secret: ReadSecret) -> Result<AnyTransport, SettingError> {
        Ok(Pushover::new(self, read_secret)?.into())
    }
}

/// A Pushover application and its recipient, ready to send.
#[derive(Debug)]
pub struct Pushover {
    target: HttpTarget,
    token: Secret,
    user: Secret,
    device: Option<String>,
    sound: Option<String>,
}

impl Pushover {
    /// Reads secret files through `read_secret`.
    ///
    /// # Errors
    ///
    /// The setting at fault, without secrets.
    pub fn new(settings: &Settings, read_secret: ReadSecret) -> Result<Pushover, SettingError> {
        let url = settings::http_url("url", settings.url.as_ref().map_or(API, RedactedUrl::expose))?;
        require_encryption("url", &url)?;
        let token = required_secret("token", &settings.token, &settings.token_file, read_secret)?;
        let user = required_secret("user", &settings.user, &settings.user_file, read_secret)?;
        let is_device = |name: &str| name.len() <= DEVICE_MAX && is_name(name);
        if !settings.device.iter().flat_map(|names| names.split(',')).all(is_device) {
            return Err(SettingError::new(
                "device",
                format!("invalid name: expected 1 to {DEVICE_MAX} of the characters A-Z a-z 0-9 - _"),
            )
            .hint("write several as \"one,two\""));
        }
        if !settings.sound.iter().all(|sound| is_name(sound)) {
            return Err(SettingError::new("sound", "invalid name: expected characters A-Z a-z 0-9 - _"));
        }
        Ok(Pushover {
            target: HttpTarget::new(url, [&token, &user])?,
            token,
            user,
            device: settings.device.clone(),
            sound: settings.sound.clone(),
        })
    }

    fn body(&self, notice: &Notice) -> Vec<u8> {
        let Push { title, text } = Push::new(notice, TITLE_MAX, MESSAGE_MAX);
        let message = Message {
            token: self.token.expose(),
            user: self.user.expose(),
            title,
            message: text,
            priority: match notice.severity {
                Severity::Alert => 1,
                Severity::Resolved | Severity::Info => 0,
            },
            url: notice.page(),
            device: self.device.as_deref(),
            sound: self.sound.as_deref(),
        };
        serde_json::to_vec(&message).expect("texts and numbers are JSON")
    }

    /// Classifies a response by its status, and by what Pushover reports about quota and errors.
    fn classify(&self, reply: &HttpReply, now: Timestamp) -> SendOutcome {
        let json = reply.json();
        let message = message(&json);
        let reason = message.clone().unwrap_or_default();
        if reply.status == 429
            && let Some(after_s) = until_quota_reset_s(reply, now)
        {
            let detail = "returned 429: the monthly quota is used up; wait, or buy more messages".to_owned();
            return self.target.with_response(
                SendOutcome::Transient { after_s: Some(after_s), reached: true, detail },
                &reason,
            );
        }
        let is_rejected = json["status"].as_u64() == Some(0);
        match push::classify(&self.target, reply, message) {
            SendOutcome::Transient { after_s, reached, detail } if reply.status >= 500 => {
                SendOutcome::Transient { after_s: after_s.max(Some(SERVER_ERROR_DELAY_S)), reached, detail }
            }
            // Pushover's status in the body is more specific than the HTTP status.
            SendOutcome::Delivered { .. } | SendOutcome::Permanent { .. } if is_rejected => {
                let detail = format!("returned {}; check token, user and device in the config", reply.status);
                self.target.with_response(SendOutcome::Permanent { detail }, &reason)
            }
            outcome => outcome,
        }
    }
}

impl Transport for Pushover {
    /// Sends one POST. Times out after 20 s.
    async fn send(&mut self, notice: &Notice) -> SendOutcome {
        let classify = |reply: &HttpReply| self.classify(reply, Timestamp::now());
        self.target.post_json(HeaderMap::new(), self.body(notice), classify).await
    }

    async fn is_reachable(&mut self) -> bool {
        self.target.is_reachable().await
    }
}

#[derive(Serialize)]
struct Message<'a> {
    token: &'a str,
    user: &'a str,
    title: String,
    message: String,
    /// -2 to 2. Default: 0. 1 rings in quiet hours too, 2 rings until the user acknowledges the message.
    priority: i8,
    url: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sound: Option<&'a str>,
}

/// Returns the errors or the request id of a response: `{"status":1,"request":"…"}`, or
/// `{"user":"invalid","errors":["user identifier is invalid"],"status":0,"request":"…"}`.
fn message(json: &Value) -> Option<String> {
    let errors: Vec<&str> =
        json["errors"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if !errors.is_empty() {
        return Some(errors.join(", "));
    }
    json["request"].as_str().map(|request| format!("request {request}"))
}

/// Returns the seconds until the quota is renewed. `None` if messages remain, or for a time in the past.
fn until_quota_reset_s(reply: &HttpReply, now: Timestamp) -> Option<u64> {
    let number = |name| {
        let text = reply.headers.get(name)?.to_str().ok()?.trim();
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // Digits alone fail to parse only on overflow.
        is_number.then(|| text.parse().unwrap_or(u64::MAX))
    };
    let reset_s: u64 = number(LIMIT_RESET)?;
    if number(LIMIT_REMAINING).is_some_and(|remaining| remaining > 0) {
        return None;
    }
    reset_s.checked_sub(u64::try_from(now.as_second()).unwrap_or(0)).filter(|after_s| *after_s > 0)
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderName, HeaderValue};

    use super::*;

    fn settings(toml: &str) -> Settings {
        toml::from_str(toml).expect("settings")
    }

    fn made(toml: &str) -> Result<Pushover, String> {
        Pushover::new(&settings(toml), &|path| match path.to_str() {
            Some("/token") => Ok(Secret::new("hunter2\n")),
            Some("/user") => Ok(Secret::new("s3cret\n")),
            _ => Err(SettingError::new("", format!("{}: no such file", path.display()))),
        })
        .map_err(|error| error.to_string())
    }

    const BOTH: &str = "token_file = '/token'\nuser_file = '/user'\n";

    fn body(more: &str, title: &str, text: &str, severity: Severity) -> String {
        body_of("k", more, title, text, severity)
    }

    fn body_of(key: &str, more: &str, title: &str, text: &str, severity: Severity) -> String {
        let notice = Notice {
            key: key.to_owned(),
            title: title.to_owned(),
            body: text.to_owned(),
            severity,
            payload: String::new(),
            replaces: None,
            follows: None,
        };
        let pushover = made(&format!("{BOTH}{more}")).expect("pushover");
        String::from_utf8(pushover.body(&notice)).expect("UTF-8")
    }

    #[test]
    fn the_message_is_as_documented() {
        assert_eq!(
            body("", "iCloud Backup is down", "Since 02:10.\n<b>Über</b>.", Severity::Alert),
            "{\"token\":\"hunter2\",\"user\":\"s3cret\",\"title\":\"iCloud Backup is down\",\
             \"message\":\"Since 02:10.\\n<b>Über</b>.\",\"priority\":1,\
             \"url\":\"https://www.apple.com/support/systemstatus/\"}"
        );
        let all = body("device = 'phone,tablet'\nsound = 'siren'", "t", "b", Severity::Resolved);
        assert!(
            all.contains("\"priority\":0,") && all.ends_with(r#","device":"phone,tablet","sound":"siren"}"#),
            "{all}"
        );
        assert!(body("", "t", "b", Severity::Info).contains("\"priority\":0,"));
        let developers = body_of("developer/en_US/apns/1/1/began", "", "t", "b", Severity::Alert);
        assert!(
            developers.ends_with("\"url\":\"https://developer.apple.com/system-status/\"}"),
            "{developers}"
        );
    }

    #[test]
    fn title_and_text_are_truncated() {
        let body = body("", &"ü".repeat(9_999), &"🍏".repeat(9_999), Severity::Alert);
        let json: Value = serde_json::from_str(&body).expect("JSON");
        let chars = |key: &str| json[key].as_str().expect("text").chars().count();
        assert_eq!((chars("title"), chars("message")), (250, 1_024));
    }

    #[track_caller]
    fn check_refused(toml: &str, expected: &str) {
        let error = made(toml).expect_err("must be refused");
        assert!(error.contains(expected), "{error}");
        for secret in ["hunter2", "s3cret", "T0PATH"] {
            assert!(!error.contains(secret), "{error}");
        }
    }

    #[test]
    fn invalid_settings_are_rejected_without_showing_secrets() {
        check_refused("user = 's3cret'", "the key \"token\" is missing");
        check_refused("token = 'hunter2'", "the key \"user\" is missing");
        check_refused("token_file = '/nowhere'\nuser = 's3cret'", "token_file: /nowhere: no such file");
        let rest = |toml: &str, expected| check_refused(&format!("{BOTH}{toml}"), expected);
        rest("token = 'hunter2'", "token: also given as token_file");
        rest("user = 's3cret'", "user: also given as user_file");
        rest("url = 'http://a.example/T0PATH'", "http://a.example/… would carry");
        rest("url = 'a.example/T0PATH'", "url: invalid address");
        for device in ["", "a b", "phone,", &"a".repeat(26)] {
            rest(&format!("device = '{device}'"), "device: invalid name: expected 1 to 25");
        }
        rest("sound = ''", "sound: invalid name");
        assert!(made("token = 'a'\nuser = 'b'\nurl = 'http://127.0.0.1:9/x'").is_ok());
        for unknown in ["priority = 2", "retry = 30", "title = 'x'"] {
            assert!(toml::from_str::<Settings>(unknown).is_err(), "{unknown}");
        }
    }

    #[test]
    fn debug_shows_scheme_and_host_only() {
        let toml = format!("{BOTH}url = 'https://a.example:8443/T0PATH'");
        let inline = settings("token = 'hunter2'\nuser = 's3cret'");
        let shown = format!("{:?} {inline:?} {:#?}", settings(&toml), made(&toml).expect("pushover"));
        assert!(shown.contains("https://a.example:8443/…"), "{shown}");
        for secret in ["hunter2", "s3cret", "T0PATH"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }

    fn reply(status: u16, headers: &[(&'static str, &str)], body: &str) -> HttpReply {
        let header = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"))
        };
        let headers = HeaderMap::from_iter(headers.iter().map(header));
        HttpReply { status, retry_after: None, headers, body: body.into() }
    }

    fn outcome(reply: &HttpReply) -> SendOutcome {
        made(BOTH).expect("pushover").classify(reply, Timestamp::from_second(1_000_000).expect("a time"))
    }

    #[track_caller]
    fn check_quota_reset(reset: &str, remaining: &str, expected: Option<u64>) {
        let reply = reply(429, &[(LIMIT_RESET, reset), (LIMIT_REMAINING, remaining)], "");
        let SendOutcome::Transient { after_s, reached: true, detail } = outcome(&reply) else {
            panic!("not transient")
        };
        assert_eq!(after_s, expected, "{reset}, {remaining}");
        assert_eq!(detail.contains("used up"), expected.is_some(), "{detail}");
    }

    #[test]
    fn a_used_up_quota_is_retried_after_its_reset() {
        check_quota_reset("1000090", "0", Some(90));
        check_quota_reset(" 1000090 ", "", Some(90));
        check_quota_reset("99999999999999999999999999", "0", Some(u64::MAX - 1_000_000));
        // A short-term rate limit: messages remain.
        check_quota_reset("1000090", "7", None);
        for invalid in ["1000000", "999999", "0", "", "-5", "+5", "1e9", "soon", "9.5"] {
            check_quota_reset(invalid, "0", None);
        }
        let over_quota = reply(429, &[(LIMIT_RESET, "1000001")], r#"{"status":0,"errors":["over quota"]}"#);
        let detail = "api.pushover.net returned 429: the monthly quota is used up; wait, or buy more messages. \
                     Response: over quota";
        assert_eq!(outcome(&over_quota).detail(), detail);
        // Every response has the header; only a 429 makes it relevant.
        let sent = reply(
            200,
            &[(LIMIT_RESET, "1000090"), (LIMIT_REMAINING, "0")],
            r#"{"status":1,"request":"r-1"}"#,
        );
        let detail = "api.pushover.net returned 200 OK. Response: request r-1".to_owned();
        assert_eq!(outcome(&sent), SendOutcome::Delivered { receipt: None, detail });
    }

    #[test]
    fn a_status_of_0_is_a_permanent_failure_with_its_errors() {
        let body = r#"{"user":"invalid","errors":["user identifier is invalid","no s3cret"],"status":0,"request":"r"}"#;
        for status in [200, 400, 403] {
            let detail = format!(
                "api.pushover.net returned {status}; check token, user and device in the config. Response: user \
                 identifier is invalid, no ***"
            );
            assert_eq!(outcome(&reply(status, &[], body)), SendOutcome::Permanent { detail });
        }
        assert!(matches!(outcome(&reply(408, &[], body)), SendOutcome::Transient { after_s: None, .. }));
    }

    #[test]
    fn a_server_error_is_retried_after_at_least_5_seconds() {
        assert!(matches!(
            outcome(&reply(500, &[], "")),
            SendOutcome::Transient { after_s: Some(5), reached: true, .. }
        ));
        let longer = HttpReply { retry_after: Some("60".to_owned()), ..reply(503, &[], "") };
        assert!(matches!(outcome(&longer), SendOutcome::Transient { after_s: Some(60), .. }));
        let shorter = HttpReply { retry_after: Some("1".to_owned()), ..reply(503, &[], "") };
        assert!(matches!(outcome(&shorter), SendOutcome::Transient { after_s: Some(5), .. }));
    }
}
