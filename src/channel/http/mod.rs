//! Sends one HTTP request per attempt, with a deadline, and describes the response.
//!
//! The channel decides what a response means, usually with [`classify_status`]. Follows no redirects,
//! reuses no connections and never retries. Secrets are redacted in all output
//! (`responses_are_cut_and_secrets_redacted`).

pub mod status;

use std::borrow::Cow;
use std::time::Duration;
use std::{fmt, io};

use jiff::Timestamp;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Method, Response, Url, redirect};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::http::status::classify_status;
use super::outcome::SendOutcome;
use super::redact::Redactor;
use super::settings::{RedactedUrl, is_loopback};
use crate::cause::chain;
use crate::secret::Secret;
use crate::setting::SettingError;
use crate::{http, proxy, tls};

/// Limits DNS, TCP and TLS together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Limits the whole attempt.
const SEND_TIMEOUT: Duration = Duration::from_secs(20);
/// The default limit of a response body: enough for the reason of a failure.
const BODY_MAX_BYTES: usize = 4 * 1024;
/// Limits the part of a response body that is shown.
const REASON_MAX_CHARS: usize = 200;
/// Shorter parts of a URL ("v1", "hook") are not secret, and redacting them would damage the text.
const SECRET_MIN_BYTES: usize = 6;

/// An HTTP server: its URL, a client for it, and the secrets to redact.
pub struct HttpTarget {
    url: Url,
    redactor: Redactor,
    client: Client,
    body_max_bytes: usize,
}

impl fmt::Debug for HttpTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HttpTarget").field(&RedactedUrl::new(self.url.as_str())).finish()
    }
}

/// A response, with its body up to the limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpReply {
    pub status: u16,
    /// The `Retry-After` header as received.
    pub retry_after: Option<String>,
    pub headers: HeaderMap,
    /// At most 4 KiB, or the limit of [`HttpTarget::with_body_limit`].
    pub body: Vec<u8>,
}

impl HttpReply {
    /// Parses the body as JSON. `Null` if that fails.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Returns the body as text, with U+FFFD for bytes that are not UTF-8.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }

    /// Returns true if the body begins as HTML, which the APIs of the channels never send.
    pub fn has_html_body(&self) -> bool {
        self.body.trim_ascii_start().starts_with(b"<")
    }

    /// Classifies the response by its status. The detail does not name the host.
    pub fn by_status(&self) -> SendOutcome {
        classify_status(self.status, self.retry_after.as_deref(), Timestamp::now())
    }
}

impl HttpTarget {
    /// Redacts `secrets`, and the user, path and query of `url`, which may contain some.
    ///
    /// # Errors
    ///
    /// One line for users if TLS cannot be set up.
    pub fn new<'s>(
        url: Url,
        secrets: impl IntoIterator<Item = &'s Secret>,
    ) -> Result<HttpTarget, SettingError> {
        let redactor = redactor(&url, secrets);
        Ok(HttpTarget { client: client(is_loopback(&url))?, redactor, url, body_max_bytes: BODY_MAX_BYTES })
    }

    /// Reads up to `max_bytes` of a response body, for a server that repeats the message in it.
    pub fn with_body_limit(self, max_bytes: usize) -> HttpTarget {
        HttpTarget { body_max_bytes: max_bytes, ..self }
    }

    /// Returns true if no network device can respond in place of the server.
    pub fn is_secure(&self) -> bool {
        self.url.scheme() == "https" || is_loopback(&self.url)
    }

    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Sends one POST with a JSON body. `classify` returns the outcome of a response. Times out after 20 s.
    pub async fn post_json(
        &self,
        headers: HeaderMap,
        body: impl Into<Vec<u8>>,
        classify: impl FnOnce(&HttpReply) -> SendOutcome,
    ) -> SendOutcome {
        let mut headers = headers;
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        match self.send(Method::POST, self.url.clone(), headers, body.into()).await {
            Ok(reply) => classify(&reply),
            Err(outcome) => outcome,
        }
    }

    /// Sends one request. `url` may differ from the target's in path and query. Times out after 20 s.
    ///
    /// # Errors
    ///
    /// The outcome, if there was no response.
    pub async fn send(
        &self,
        method: Method,
        url: Url,
        headers: HeaderMap,
        body: Vec<u8>,
    ) -> Result<HttpReply, SendOutcome> {
        let deadline = Instant::now() + SEND_TIMEOUT;
        let request = self.client.request(method, url).headers(headers).body(body);
        match timeout_at(deadline, request.send()).await {
            Ok(Ok(response)) => Ok(read_reply(response, self.body_max_bytes, deadline).await),
            Ok(Err(error)) => Err(self.no_response(&error.without_url())),
            Err(_elapsed) => Err(self.with_host(SendOutcome::Transient {
                after_s: None,
                reached: true,
                detail: format!("did not respond within {} s", SEND_TIMEOUT.as_secs()),
            })),
        }
    }

    /// Returns true if the server accepts a TCP connection. Sends nothing and bypasses any proxy, so a
    /// server behind a proxy counts as unreachable. Times out after 10 s.
    pub async fn is_reachable(&self) -> bool {
        let port = self.url.port_or_known_default().expect("an HTTP URL has a port");
        // Only URLs put IPv6 addresses in brackets.
        accepts_connections(self.host().trim_start_matches('[').trim_end_matches(']'), port).await
    }

    /// Classifies a response by its status. The body only adds to the detail.
    pub fn classify(&self, reply: &HttpReply) -> SendOutcome {
        self.with_response(reply.by_status(), &reply.text())
    }

    /// Adds the host and the server's own explanation to the detail. A blank explanation is left out.
    pub fn with_response(&self, outcome: SendOutcome, response: &str) -> SendOutcome {
        let response = self.redacted(response);
        let outcome = self.with_host(outcome);
        if response.is_empty() {
            return outcome;
        }
        outcome.map_detail(|detail| format!("{detail}. Response: {response}"))
    }

    fn with_host(&self, outcome: SendOutcome) -> SendOutcome {
        outcome.map_detail(|detail| format!("{} {detail}", self.host()))
    }

    fn no_response(&self, error: &reqwest::Error) -> SendOutcome {
        // Only an error while connecting proves that the server received nothing. Later errors cannot
        // come from a stale connection, because connections are never reused.
        let reached = !error.is_connect();
        let why = self.redacted(&tls::root_cause(error));
        if is_not_http(error) {
            let detail = "received the request, but did not respond with HTTP; check the address".to_owned();
            return self.with_host(SendOutcome::Unclear { detail });
        }
        let detail = if reached {
            format!("closed the connection without a response: {why}")
        } else {
            format!("cannot be reached: {why}; check the address and the network")
        };
        self.with_host(SendOutcome::Transient { after_s: None, reached, detail })
    }

    /// Returns `text` as one short line without secrets.
    pub fn redacted(&self, text: &str) -> String {
        self.redactor.redact(text, REASON_MAX_CHARS)
    }

    fn host(&self) -> &str {
        self.url.host_str().expect("an HTTP URL has a host: `Url` rejects others")
    }
}

/// Returns true if the server accepts a TCP connection. Times out after 10 s.
pub async fn accepts_connections(host: &str, port: u16) -> bool {
    matches!(timeout(CONNECT_TIMEOUT, TcpStream::connect((host, port))).await, Ok(Ok(_)))
}

/// Builds a client that follows no redirects, because they would carry the token elsewhere.
fn client(loopback: bool) -> Result<Client, SettingError> {
    let builder = http::tolerant(http::single_request_builder())
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .connect_timeout(CONNECT_TIMEOUT);
    // A proxy cannot reach this machine's loopback.
    let builder = if loopback { builder.no_proxy() } else { proxy::apply(builder) };
    builder.build().map_err(|error| {
        let cause = tls::root_cause(&error.without_url());
        SettingError::new("", format!("cannot set up TLS: {cause}"))
            .hint("install the system's CA certificates")
    })
}

/// Redacts the secrets and the parts of the URL that may be secret.
fn redactor<'s>(url: &Url, secrets: impl IntoIterator<Item = &'s Secret>) -> Redactor {
    let secrets = secrets.into_iter().map(|secret| secret.expose().to_owned());
    let whole =
        [url.path(), url.query().unwrap_or_default(), url.password().unwrap_or_default(), url.username()];
    let parts = url.path().split('/').chain(url.query().unwrap_or_default().split(['&', '=']));
    // Servers quote a signature percent-encoded or decoded.
    let decoded = url.query_pairs().map(|(_, value)| value.into_owned());
    let url_parts = whole.into_iter().chain(parts).map(str::to_owned).chain(decoded);
    Redactor::new(secrets.chain(url_parts.filter(|part| part.len() >= SECRET_MIN_BYTES)))
}

/// Keeps the part of the body that arrives before the deadline. A failure to read it is ignored,
/// because the status decides.
async fn read_reply(mut response: Response, max_bytes: usize, deadline: Instant) -> HttpReply {
    let mut reply = HttpReply {
        status: response.status().as_u16(),
        retry_after: response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned),
        headers: response.headers().clone(),
        body: Vec::new(),
    };
    let _complete_or_partial =
        timeout_at(deadline, http::read_body(&mut response, max_bytes, &mut reply.body)).await;
    reply
}

/// Returns true if the server received the request and responded with something else than HTTP.
fn is_not_http(error: &reqwest::Error) -> bool {
    if error.is_connect() || error.is_timeout() || error.is_builder() {
        return false;
    }
    // Both are forms of a broken connection.
    !chain(error).any(|cause| cause.is::<io::Error>() || cause.to_string() == http::CLOSED_EARLY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_are_cut_and_secrets_redacted() {
        let url = Url::parse("https://a.example/hook/T0PATHT0PATH?key=s3cret").expect("a URL");
        let target = HttpTarget::new(url, [&Secret::new("hunter2")]).expect("a target");
        assert_eq!(
            target.redacted("Cannot POST /hook/T0PATHT0PATH?key=s3cret with\u{1b}[1m hunter2"),
            "Cannot POST ***?*** with[1m ***"
        );
        assert_eq!(target.redacted("{\"at\":\"\\/hook\\/T0PATHT0PATH\"}"), "{\"at\":\"\\/hook\\/***\"}");
        assert_eq!(target.redacted(&"x".repeat(10_000)).chars().count(), REASON_MAX_CHARS);
        let signed = Url::parse("https://a.example/?sig=ab%2Bcd%2Fef").expect("a URL");
        let signed = HttpTarget::new(signed, []).expect("a target");
        assert_eq!(signed.redacted("neither ab+cd/ef nor ab%2Bcd%2Fef"), "neither *** nor ***");
        assert_eq!(format!("{target:?}"), "HttpTarget(\"https://a.example/…\")");
    }
}
