//! Fetches the feed: one conditional GET per poll, with limits on time and size.
//!
//! Does not schedule or retry, and keeps only the validators of the last response. Every failure is a
//! [`FetchError`], which says whose fault it is. A partial response is never accepted.

mod encoding;
mod error;
mod server_time;
mod url;

use std::panic::resume_unwind;
use std::path::Path;
use std::time::Duration;

use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, ETAG, HeaderMap, HeaderName, HeaderValue, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, LAST_MODIFIED, RETRY_AFTER,
};
use reqwest::redirect::{Action, Attempt, Policy};
use reqwest::{Certificate, Client, Response, StatusCode, Url};
use tokio::task::spawn_blocking;

use self::encoding::ContentEncoding;
pub use self::error::{FailureKind, FetchError, RedirectError};
pub use self::server_time::ServerTime;
pub use self::url::{FeedUrl, valid_locale};
use crate::feed::parse::{self, Unreadable};
use crate::http::BodyError;
use crate::model::Document;
use crate::setting::SettingError;
use crate::{gzip, http, proxy, tls};

const CONNECT_S: u64 = 10;
const TOTAL_S: u64 = 30;
const REDIRECTS_MAX: usize = 3;
const VALIDATOR_MAX_BYTES: usize = 1_024;

/// Limits for one fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchLimits {
    /// Timeout for DNS, TCP and TLS together.
    pub connect: Duration,
    /// Timeout for the whole fetch, including redirects.
    pub total: Duration,
    /// Size of the unpacked body.
    pub body_bytes: usize,
}

impl FetchLimits {
    /// The default limits.
    pub const SHIPPED: FetchLimits = FetchLimits {
        connect: Duration::from_secs(CONNECT_S),
        total: Duration::from_secs(TOTAL_S),
        body_bytes: parse::BODY_MAX_BYTES,
    };
}

impl Default for FetchLimits {
    fn default() -> FetchLimits {
        FetchLimits::SHIPPED
    }
}

/// The result of a successful fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchOutcome {
    New {
        document: Document,
        /// The body as UTF-8 for recordings, with invalid sequences replaced.
        body: String,
    },
    /// The document is the same as the last `New` of this fetcher (status 304).
    Unchanged,
}

/// Fetches one feed. Keeps no connection open between polls, because they are minutes apart and a
/// connection from before a suspend would time out.
#[derive(Debug)]
pub struct Fetcher {
    client: Client,
    url: FeedUrl,
    limits: FetchLimits,
    validators: Validators,
    server_time: Option<ServerTime>,
}

impl Fetcher {
    /// Creates a fetcher that trusts the system's certificate authorities and those in `ca_file` (PEM),
    /// for networks and mirrors with an authority of their own. On Linux, `SSL_CERT_FILE` and
    /// `SSL_CERT_DIR` replace the system's. All are read once, here. The proxy comes from the environment
    /// (`proxy`); loopback addresses are connected directly.
    ///
    /// The error is one line with the next step.
    pub fn new(url: FeedUrl, limits: FetchLimits, ca_file: Option<&Path>) -> Result<Fetcher, SettingError> {
        let client = http::tolerant(http::single_request_builder())
            .default_headers(headers())
            .connect_timeout(limits.connect)
            .timeout(limits.total)
            .redirect(Policy::custom(same_origin_only));
        let client = match ca_file {
            // Redirects from http to https are not followed, so plain http needs no certificates in memory.
            _ if !url.is_https() => client.tls_certs_only([]),
            Some(file) => client.tls_certs_merge(certificates(file)?),
            None => client,
        };
        let client = if url.is_loopback() { client.no_proxy() } else { proxy::apply(client) };
        let client = client.build().map_err(|_| {
            SettingError::new("", "cannot set up TLS: no usable certificate authorities")
                .hint("install the package ca-certificates, or check feed.ca_file")
        })?;
        Ok(Fetcher { client, url, limits, validators: Validators::default(), server_time: None })
    }

    /// Sends one GET, which is conditional if the last readable response had validators. Cancel-safe.
    pub async fn fetch(&mut self) -> Result<FetchOutcome, FetchError> {
        let request = self.client.get(self.url.url().clone()).headers(self.validators.conditions());
        let response = request.send().await.map_err(|error| self.failed(&error))?;
        self.server_time = ServerTime::from_headers(response.headers());
        match response.status() {
            // 203: a proxy has transformed the response, for example compressed it (RFC 9110, 15.3.4).
            StatusCode::OK | StatusCode::NON_AUTHORITATIVE_INFORMATION => {}
            StatusCode::NOT_MODIFIED if self.validators != Validators::default() => {
                return Ok(FetchOutcome::Unchanged);
            }
            status => {
                let retry_after_s = retry_after_s(response.headers());
                return Err(FetchError { retry_after_s, ..self.failure(FailureKind::Http(status.as_u16())) });
            }
        }
        let validators = Validators::from_headers(response.headers());
        let encoding = ContentEncoding::from_headers(response.headers());
        let packed = self.body(response).await?;
        let max_bytes = self.limits.body_bytes;
        // A hostile document is slow to parse and must not block the other tasks.
        let read = spawn_blocking(move || read(packed, &encoding, max_bytes)).await;
        let read = read.unwrap_or_else(|panicked| resume_unwind(panicked.into_panic()));
        // A 304 must never refer to an unreadable response.
        self.validators = if read.is_ok() { validators } else { Validators::default() };
        read.map_err(|kind| match kind {
            FailureKind::Unreadable(reason) => self.failure(self.unreadable(reason)),
            kind => self.failure(kind),
        })
    }

    /// Makes the next fetch unconditional, because a cache may answer 304 for an old copy for ever.
    pub fn clear_validators(&mut self) {
        self.validators = Validators::default();
    }

    /// Fetches unconditionally, so that the result is a document.
    pub async fn first_fetch(&mut self) -> Result<Document, FetchError> {
        match self.fetch().await? {
            FetchOutcome::New { document, .. } => Ok(document),
            // A 304 to an unconditional request.
            FetchOutcome::Unchanged => {
                Err(self.failure(FailureKind::Http(StatusCode::NOT_MODIFIED.as_u16())))
            }
        }
    }

    /// Returns the time in the last response, whatever its status.
    pub fn server_time(&self) -> Option<ServerTime> {
        self.server_time
    }

    async fn body(&self, response: Response) -> Result<Vec<u8>, FetchError> {
        let limit_bytes = self.limits.body_bytes;
        http::body(response, limit_bytes).await.map_err(|error| match error {
            BodyError::TooLarge => self.failure(FailureKind::TooLarge { limit_bytes }),
            BodyError::Transfer(error) => self.failed(&error),
        })
    }

    /// Classifies an unreadable body. A web page over plain HTTP may come from a captive portal. Over
    /// verified TLS, it comes from the server, because a portal has no certificate for the feed's host.
    fn unreadable(&self, reason: Unreadable) -> FailureKind {
        match reason {
            Unreadable::Html if !self.url.is_https() => FailureKind::Portal,
            reason => FailureKind::Unreadable(reason),
        }
    }

    fn failed(&self, error: &reqwest::Error) -> FetchError {
        self.failure(error::classify(error, self.limits))
    }

    fn failure(&self, kind: FailureKind) -> FetchError {
        FetchError { kind, host: self.url.host().to_owned(), retry_after_s: None }
    }
}

/// Unpacks and parses a body.
fn read(packed: Vec<u8>, encoding: &ContentEncoding, max_bytes: usize) -> Result<FetchOutcome, FailureKind> {
    let is_packed = gzip::is_packed(&packed);
    let body = encoding::unpacked(packed, max_bytes)?;
    match parse::parse(&body) {
        Ok(document) => Ok(FetchOutcome::New { document, body: parse::decoded(&body).into_owned() }),
        Err(reason) => {
            // Compressed data is hardly ever UTF-8, and may contain braces.
            let is_binary = reason == Unreadable::NotJson || str::from_utf8(&body).is_err();
            let encoding_failure = if is_binary { encoding.failure(is_packed) } else { None };
            Err(encoding_failure.unwrap_or(FailureKind::Unreadable(reason)))
        }
    }
}

/// Returns the headers of every request. `no-cache` asks caches to revalidate, because copies of
/// Apple's feed up to 29 days old were seen. Caches may ignore it, so tracking also checks the stamp.
fn headers() -> HeaderMap {
    HeaderMap::from_iter([
        (ACCEPT, HeaderValue::from_static("application/json, text/javascript, */*;q=0.5")),
        (ACCEPT_ENCODING, HeaderValue::from_static("gzip")),
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ])
}

/// Follows redirects only within one origin, because the target decides what users are told.
fn same_origin_only(attempt: Attempt<'_>) -> Action {
    let origin =
        |url: &Url| (url.host_str().map(str::to_owned), url.scheme().to_owned(), url.port_or_known_default());
    let (host, scheme, port) = origin(attempt.url());
    match attempt.previous().last().map(origin) {
        _ if attempt.previous().len() > REDIRECTS_MAX => attempt.error(RedirectError::TooMany),
        Some((from, _, _)) if from != host => attempt.error(RedirectError::OtherHost),
        Some((_, from, _)) if from != scheme => attempt.error(RedirectError::OtherScheme),
        Some((_, _, from)) if from != port => attempt.error(RedirectError::OtherPort),
        _ => attempt.follow(),
    }
}

/// Reads the certificates in a PEM file.
fn certificates(file: &Path) -> Result<Vec<Certificate>, SettingError> {
    let read = tls::authorities(file)?.into_iter().map(|der| Certificate::from_der(&der));
    read.collect::<Result<_, _>>()
        .map_err(|_| SettingError::new("ca_file", format!("{} contains no certificate", file.display())))
}

/// Returns `Retry-After` in seconds. A date is compared with the response's own `Date`, because the
/// local clock may be wrong.
fn retry_after_s(headers: &HeaderMap) -> Option<u64> {
    http::retry_after_s(headers.get(RETRY_AFTER)?.to_str().ok()?, server_time::date(headers))
}

/// The validators of a response (RFC 9110, section 8.8), sent back unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Validators {
    etag: Option<HeaderValue>,
    last_modified: Option<HeaderValue>,
}

impl Validators {
    fn from_headers(headers: &HeaderMap) -> Validators {
        let short = |name: HeaderName| {
            headers.get(name).filter(|value| !value.is_empty() && value.len() <= VALIDATOR_MAX_BYTES).cloned()
        };
        Validators { etag: short(ETAG), last_modified: short(LAST_MODIFIED) }
    }

    fn conditions(&self) -> HeaderMap {
        let etag = self.etag.clone().map(|value| (IF_NONE_MATCH, value));
        let last_modified = self.last_modified.clone().map(|value| (IF_MODIFIED_SINCE, value));
        etag.into_iter().chain(last_modified).collect()
    }
}

#[cfg(test)]
mod tests {
    use reqwest::header::DATE;

    use super::*;

    #[test]
    fn default_limits() {
        let limits = FetchLimits::default();
        assert_eq!((limits.connect.as_secs(), limits.total.as_secs()), (10, 30));
        assert_eq!(limits.body_bytes, 1024 * 1024);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        #[track_caller]
        fn check(retry_after: &'static str, date: Option<&'static str>, expected: Option<u64>) {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static(retry_after));
            headers.extend(date.map(|date| (DATE, HeaderValue::from_static(date))));
            assert_eq!(retry_after_s(&headers), expected);
        }
        let date = Some("Wed, 21 Oct 2015 07:28:00 GMT");
        check("120", None, Some(120));
        check(" 0 ", None, Some(0));
        check("Wed, 21 Oct 2015 07:30:00 GMT", date, Some(120));
        check("Wed, 21 Oct 2015 07:27:00 GMT", date, Some(0));
        check("Wed, 21 Oct 2015 07:30:00 GMT", None, None);
        check("soon", date, None);
        check("-5", date, None);
        assert_eq!(retry_after_s(&HeaderMap::new()), None);
    }
}
