//! Changes as JSON to an address of the user's: a POST each, for programs.
//!
//! It composes no JSON (the notice carries the bytes, so that every try sends the same ones),
//! follows no redirect and never retries. Invariant: no token, key, password, path or query of
//! the address is in what it prints, logs or answers.

use std::error::Error as _;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Response, Url, redirect};
use ring::hmac;
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use super::{Answer, Notice, http_answer};
use crate::secret::Secret;
use crate::{text, tls};

/// DNS, TCP and TLS together.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// The whole try.
const SEND_WITHIN: Duration = Duration::from_secs(20);
/// How much of an answer's body is read: enough for a reason, too little to hurt.
const REASON_MAX_BYTES: usize = 4 * 1024;
/// How much of it is shown.
const REASON_MAX_CHARS: usize = 200;
/// A shorter part of an address ("v1", "hook") is no secret, and hiding it would garble words.
const SECRET_MIN_BYTES: usize = 6;

const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// `sha256=` and the HMAC-SHA256 of the body in hex, under the configured secret.
const SIGNATURE: &str = "x-statusd-signature";
const USER_AGENT: &str = concat!("statusd/", env!("CARGO_PKG_VERSION"));

/// `[channel.webhook.NAME]`
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where to POST, `https://…`; `http://…` too where nothing secret is sent along. Held to be
    /// secret from its path on.
    pub url: String,
    /// Sent as `Authorization: Bearer …`.
    pub bearer_token: Option<Secret>,
    /// A file to read it from instead.
    pub bearer_token_file: Option<PathBuf>,
    /// Signs the body: `X-Statusd-Signature: sha256=<hex HMAC-SHA256 of the body>`.
    pub hmac_secret: Option<Secret>,
    /// A file to read it from instead.
    pub hmac_secret_file: Option<PathBuf>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("url", &redacted(&self.url))
            .field("bearer_token", &self.bearer_token)
            .field("bearer_token_file", &self.bearer_token_file)
            .field("hmac_secret", &self.hmac_secret)
            .field("hmac_secret_file", &self.hmac_secret_file)
            .finish()
    }
}

/// A ready receiver of changes.
pub struct Webhook {
    /// `webhook.NAME`
    name: String,
    url: Url,
    authorization: Option<HeaderValue>,
    signing_key: Option<hmac::Key>,
    /// What must not be repeated in words, longest first: receivers like to quote what they got.
    unspeakable: Vec<String>,
    client: Client,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = redacted(self.url.as_str());
        f.debug_struct("Webhook").field("name", &self.name).field("address", &address).finish_non_exhaustive()
    }
}

impl Webhook {
    /// Reads the secrets' files through `read_secret`.
    ///
    /// # Errors
    ///
    /// One line for people that begins with the setting's key; it holds no secret, and of the
    /// address no more than scheme and host.
    pub fn new(
        name: &str,
        settings: &Settings,
        read_secret: &dyn Fn(&Path) -> Result<Secret, String>,
    ) -> Result<Webhook, String> {
        let url = address(&settings.url)?;
        let token = either(
            "bearer_token",
            settings.bearer_token.as_ref(),
            settings.bearer_token_file.as_deref(),
            read_secret,
        )?;
        let key = either(
            "hmac_secret",
            settings.hmac_secret.as_ref(),
            settings.hmac_secret_file.as_deref(),
            read_secret,
        )?;
        refuse_open_credentials(&url, token.as_ref())?;
        Ok(Webhook {
            name: format!("webhook.{name}"),
            authorization: token.as_ref().map(authorization).transpose()?,
            signing_key: key.as_ref().map(|key| hmac::Key::new(hmac::HMAC_SHA256, key.expose().as_bytes())),
            unspeakable: unspeakable(&url, [token.as_ref(), key.as_ref()]),
            client: client(is_loopback(&url))?,
            url,
        })
    }

    /// `webhook.NAME`
    pub fn name(&self) -> &str {
        &self.name
    }

    /// One POST, within 20 s.
    pub async fn send(&self, notice: &Notice) -> Answer {
        let headers = match self.headers(notice) {
            Ok(headers) => headers,
            Err(words) => return Answer::Refused { words },
        };
        let deadline = Instant::now() + SEND_WITHIN;
        let request = self.client.post(self.url.clone()).headers(headers).body(notice.payload.clone());
        let answer = match timeout_at(deadline, request.send()).await {
            Ok(Ok(response)) => self.judged(response, deadline).await,
            Ok(Err(error)) => self.failed(&error.without_url()),
            Err(_elapsed) => Answer::Retry {
                after_s: None,
                reached: true,
                words: format!("gave no answer within {} s", SEND_WITHIN.as_secs()),
            },
        };
        answer.reworded(|words| format!("{} {words}", self.host()))
    }

    fn headers(&self, notice: &Notice) -> Result<HeaderMap, String> {
        let key = HeaderValue::from_str(&notice.key)
            .map_err(|_| "the message's key does not fit an HTTP header; please report this".to_owned())?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(IDEMPOTENCY_KEY, key);
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        if let Some(key) = &self.signing_key {
            headers.insert(SIGNATURE, signature(key, notice.payload.as_bytes()));
        }
        Ok(headers)
    }

    /// The status decides; the body only adds words, so failing to read it changes nothing.
    async fn judged(&self, mut response: Response, deadline: Instant) -> Answer {
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let answer = http_answer(response.status().as_u16(), retry_after, Timestamp::now());
        if let Answer::Delivered { .. } = answer {
            return answer;
        }
        let mut body = Vec::new();
        // The deadline leaves what has arrived by then in `body`.
        let _all_or_part = timeout_at(deadline, read_reason(&mut response, &mut body)).await;
        let reason = self.speakable(&String::from_utf8_lossy(&body));
        if reason.is_empty() {
            return answer;
        }
        answer.reworded(|words| format!("{words}. It says: {reason}"))
    }

    /// No status came back.
    fn failed(&self, error: &reqwest::Error) -> Answer {
        // Only while connecting is it certain that the receiver saw nothing. Connections are
        // never reused, so an error after that cannot be an old connection's.
        let reached = !error.is_connect();
        let why = self.speakable(&causes(error));
        let words = if reached {
            format!("broke off before it answered: {why}")
        } else {
            format!("cannot be reached: {why}; check the address and the network")
        };
        Answer::Retry { after_s: None, reached, words }
    }

    /// `text` in one short line without what must not be repeated.
    fn speakable(&self, text: &str) -> String {
        let mut line = text::plain_line(text, REASON_MAX_BYTES);
        for secret in &self.unspeakable {
            line = line.replace(secret.as_str(), "***");
        }
        text::plain_line(&line, REASON_MAX_CHARS)
    }

    fn host(&self) -> &str {
        self.url.host_str().expect("an http address has a host: Url refuses others")
    }
}

/// No redirects (they would carry the token elsewhere), no reused connections (messages are days
/// apart, and one that the receiver has closed looks like a receiver that broke off).
fn client(loopback: bool) -> Result<Client, String> {
    tls::install_provider();
    let mut builder = Client::builder()
        .user_agent(USER_AGENT)
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .connect_timeout(CONNECT_WITHIN)
        .pool_max_idle_per_host(0)
        .referer(false)
        .no_gzip();
    if loopback {
        // A proxy cannot reach this machine's loopback and has no business with its messages.
        builder = builder.no_proxy();
    }
    builder.build().map_err(|error| {
        format!(
            "TLS cannot be set up: {}; install the system's CA certificates",
            causes(&error.without_url())
        )
    })
}

/// The address with all but scheme, host and port left out: tokens hide in user, path and query.
pub fn redacted(url: &str) -> String {
    match Url::parse(url) {
        Ok(url) if url.has_host() => {
            let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
            format!("{}://{}{port}/…", url.scheme(), url.host_str().unwrap_or_default())
        }
        _ => "…".to_owned(),
    }
}

fn address(text: &str) -> Result<Url, String> {
    let url = Url::parse(text.trim())
        .map_err(|error| format!("url: not an address ({error}); write https://host/path"))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        other => Err(format!("url: begins with {other}: where https: or http: is needed")),
    }
}

/// The secret under `key` or out of the file under `key_file`.
fn either(
    key: &str,
    inline: Option<&Secret>,
    file: Option<&Path>,
    read_secret: &dyn Fn(&Path) -> Result<Secret, String>,
) -> Result<Option<Secret>, String> {
    let secret = match (inline, file) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => return Err(format!("{key}: also given as {key}_file; remove one of them")),
        (Some(secret), None) => secret.clone(),
        (None, Some(path)) => read_secret(path).map_err(|error| format!("{key}_file: {error}"))?,
    };
    // Editors end a file with a line break.
    match secret.expose().trim() {
        "" => Err(format!("{key}: empty; write the secret or remove the key")),
        trimmed => Ok(Some(Secret::new(trimmed))),
    }
}

/// Whoever is on the way reads what goes over plain HTTP.
fn refuse_open_credentials(url: &Url, token: Option<&Secret>) -> Result<(), String> {
    let in_address = !url.username().is_empty() || url.password().is_some();
    if in_address && token.is_some() {
        return Err("bearer_token: the address holds a user or password too; remove one of them".to_owned());
    }
    if (in_address || token.is_some()) && url.scheme() == "http" && !is_loopback(url) {
        return Err(format!(
            "url: {} would carry the password or token unencrypted; write https",
            redacted(url.as_str())
        ));
    }
    Ok(())
}

fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(tls::is_loopback)
}

fn authorization(token: &Secret) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
        .map_err(|_| "bearer_token: holds a character that no HTTP header can carry; check it".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

fn signature(key: &hmac::Key, body: &[u8]) -> HeaderValue {
    use fmt::Write as _;
    let mut text = "sha256=".to_owned();
    for byte in hmac::sign(key, body).as_ref() {
        write!(text, "{byte:02x}").expect("writing into a String cannot fail");
    }
    HeaderValue::from_str(&text).expect("hex digits fit a header")
}

/// The secrets and the parts of the address that may be secret, longest first.
fn unspeakable(url: &Url, secrets: [Option<&Secret>; 2]) -> Vec<String> {
    let secrets = secrets.into_iter().flatten().map(|secret| secret.expose().to_owned());
    let whole =
        [url.path(), url.query().unwrap_or_default(), url.password().unwrap_or_default(), url.username()];
    let parts = url.path().split('/').chain(url.query().unwrap_or_default().split(['&', '=']));
    let of_address = whole.into_iter().chain(parts).filter(|part| part.len() >= SECRET_MIN_BYTES);
    let mut all: Vec<String> = secrets.chain(of_address.map(str::to_owned)).collect();
    all.sort_by_key(|text| std::cmp::Reverse(text.len()));
    all.dedup();
    all
}

/// At most [`REASON_MAX_BYTES`] of the body; stops at the first trouble.
async fn read_reason(response: &mut Response, body: &mut Vec<u8>) {
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() >= REASON_MAX_BYTES {
            body.truncate(REASON_MAX_BYTES);
            return;
        }
    }
}

/// The innermost cause of an error says what happened ("Connection refused"); the layers above
/// it only say who noticed.
fn causes(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    if error.source().is_none() {
        return error.to_string();
    }
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(toml: &str) -> Settings {
        toml::from_str(toml).expect("settings")
    }

    fn made(toml: &str) -> Result<Webhook, String> {
        Webhook::new("ops", &settings(toml), &|path| match path.to_str() {
            Some("/token") => Ok(Secret::new("from-file\n")),
            _ => Err(format!("{}: no such file", path.display())),
        })
    }

    #[track_caller]
    fn check_refused(toml: &str, words: &str) {
        let error = made(toml).expect_err("must be refused");
        assert!(error.contains(words), "{error}");
        for secret in ["hunter2", "s3cret", "T0PATH"] {
            assert!(!error.contains(secret), "{error}");
        }
    }

    #[test]
    fn what_is_safe_is_taken() {
        for toml in [
            "url = 'https://hooks.example.com/x'\nbearer_token = 'hunter2'",
            "url = 'https://hooks.example.com/x'\nbearer_token_file = '/token'",
            "url = 'http://hooks.example.com/x'\nhmac_secret = 'hunter2'",
            "url = 'http://localhost:9000/x'\nbearer_token = 'hunter2'",
            "url = 'http://127.0.0.2/x'\nbearer_token = 'hunter2'",
            "url = 'http://[::1]:9000/x'\nbearer_token = 'hunter2'",
            "url = 'https://me:hunter2@hooks.example.com/x'",
        ] {
            assert_eq!(made(toml).expect(toml).name(), "webhook.ops");
        }
    }

    #[test]
    fn what_is_not_is_refused_without_giving_it_away() {
        check_refused("url = 'hooks.example.com/T0PATH'", "url: not an address");
        check_refused("url = 'ftp://hooks.example.com/T0PATH'", "begins with ftp:");
        check_refused("url = 'https://'", "url:");
        check_refused("url = 'http://a.example/T0PATH?k=s3cret'\nbearer_token = 'hunter2'", "write https");
        check_refused("url = 'http://me:hunter2@a.example/T0PATH'", "http://a.example/… would carry");
        check_refused("url = 'http://localhost.example/x'\nbearer_token = 'hunter2'", "write https");
        check_refused("url = 'https://me:s3cret@a.example/x'\nbearer_token = 'hunter2'", "remove one");
        check_refused(
            "url = 'https://a.example/x'\nbearer_token = 'hunter2'\nbearer_token_file = '/token'",
            "bearer_token: also given as bearer_token_file",
        );
        check_refused(
            "url = 'https://a.example/x'\nhmac_secret = 'hunter2'\nhmac_secret_file = '/token'",
            "hmac_secret: also given as hmac_secret_file",
        );
        check_refused(
            "url = 'https://a.example/x'\nhmac_secret_file = '/nowhere'",
            "hmac_secret_file: /nowhere: no",
        );
        check_refused("url = 'https://a.example/x'\nbearer_token = ' '", "bearer_token: empty");
        check_refused(
            "url = 'https://a.example/x'\nbearer_token = \"hunter2\\nX: y\"",
            "bearer_token: holds",
        );
    }

    #[test]
    fn unknown_keys_are_errors() {
        assert!(toml::from_str::<Settings>("url = 'https://a.example/'\nbearer = 'x'").is_err());
        assert!(toml::from_str::<Settings>("bearer_token = 'x'").is_err());
    }

    #[test]
    fn debug_shows_scheme_and_host_only() {
        let toml = "url = 'https://me:s3cret@a.example:8443/T0PATH?k=hunter2'\nhmac_secret = 'hunter2'";
        let shown = format!("{:?} {:#?}", settings(toml), made(toml).expect("a webhook"));
        assert!(shown.contains("https://a.example:8443/…"), "{shown}");
        for secret in ["hunter2", "s3cret", "T0PATH"] {
            assert!(!shown.contains(secret), "{shown}");
        }
        assert_eq!(redacted("no address at all s3cret"), "…");
    }

    /// RFC 4231, test case 2.
    #[test]
    fn the_signature_is_hmac_sha256() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"Jefe");
        assert_eq!(
            signature(&key, b"what do ya want for nothing?"),
            "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn the_receivers_words_are_cut_cleaned_and_hide_secrets() {
        let webhook =
            made("url = 'https://a.example/hook/T0PATHT0PATH?key=s3cret'\nbearer_token = 'hunter2'");
        let webhook = webhook.expect("a webhook");
        assert_eq!(
            webhook.speakable("Cannot POST /hook/T0PATHT0PATH?key=s3cret with\u{1b}[1m hunter2"),
            "Cannot POST ***?*** with[1m ***"
        );
        assert_eq!(webhook.speakable("{\"at\":\"\\/hook\\/T0PATHT0PATH\"}"), "{\"at\":\"\\/hook\\/***\"}");
        assert_eq!(webhook.speakable(&"x".repeat(10_000)).chars().count(), REASON_MAX_CHARS);
    }
}
