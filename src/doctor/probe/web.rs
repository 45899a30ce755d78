//! The HTTP client of the probes: no proxy, no redirects, small responses.
//!
//! Each response has a time limit and a size limit. All errors of the client become an [`HttpError`].

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Response};

use super::resolver::Resolver;
use super::{ConnectError, ProbeConfig, ResolveError, TlsError};
use crate::cause::chain;
use crate::http::BodyError;
use crate::tls::{self, TlsProblem};
use crate::{gzip, http};

/// A request without a complete response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpError {
    Resolve(ResolveError),
    Connect(ConnectError),
    Tls(TlsError),
    /// No connection, or no complete response, within the limit.
    Timeout {
        after: Duration,
    },
    CutOff,
    TooLarge,
    NotHttp,
}

/// Returns a client for `http` (port 80) or `https` (port 443).
///
/// # Errors
///
/// This computer's certificates cannot be read.
pub(super) fn client(config: &Arc<ProbeConfig>, port: u16, limit: Duration) -> Result<Client, HttpError> {
    let builder = http::builder()
        .dns_resolver(Resolver { config: Arc::clone(config), port })
        .connect_timeout(limit)
        .timeout(limit)
        .redirect(Policy::none())
        .no_proxy();
    let builder = match port {
        80 => builder.tls_certs_only([]),
        _ if config.extra_roots.is_empty() => builder,
        _ => builder
            .tls_certs_merge(config.extra_roots.iter().filter_map(|root| Certificate::from_der(root).ok())),
    };
    let no_certificates = |_| {
        HttpError::Tls(TlsError::Failed(TlsProblem::Other(
            "cannot read this computer's certificates".to_owned(),
        )))
    };
    builder.build().map_err(no_certificates)
}

/// Reads the body and decompresses it.
pub(super) async fn body(response: Response, max: usize, limit: Duration) -> Result<Vec<u8>, HttpError> {
    // Compression enlarges a body of a few bytes.
    let body = http::body(response, max + gzip::OVERHEAD_BYTES).await.map_err(|error| match error {
        BodyError::TooLarge => HttpError::TooLarge,
        BodyError::Transfer(error) => HttpError::of(&error, limit),
    })?;
    // A body that cannot be decompressed is compared as it is.
    let body = gzip::unpacked(body.clone(), max).unwrap_or(body);
    if body.len() > max { Err(HttpError::TooLarge) } else { Ok(body) }
}

impl HttpError {
    /// Classifies an error of the client. Specific causes are checked before the failed stage.
    pub(super) fn of(error: &reqwest::Error, limit: Duration) -> HttpError {
        if let Some(error) = chain(error).find_map(|cause| cause.downcast_ref::<ResolveError>()) {
            return HttpError::Resolve(error.clone());
        }
        if error.is_timeout() {
            return HttpError::Timeout { after: limit };
        }
        if let Some(problem) = tls::problem(error) {
            return HttpError::Tls(TlsError::Failed(problem));
        }
        let io = chain(error).filter_map(|cause| cause.downcast_ref::<io::Error>()).last();
        match io {
            Some(io) if error.is_connect() => HttpError::Connect(ConnectError::of(io)),
            Some(_) => HttpError::CutOff,
            None if chain(error).any(|cause| cause.to_string() == http::CLOSED_EARLY) => HttpError::CutOff,
            None => HttpError::NotHttp,
        }
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HttpError::Resolve(error) => error.fmt(f),
            HttpError::Connect(error) => error.fmt(f),
            HttpError::Tls(error) => error.fmt(f),
            HttpError::Timeout { after } => {
                write!(f, "no complete response within {} s", after.as_secs_f64())
            }
            HttpError::CutOff => write!(f, "connection closed before the response was complete"),
            HttpError::TooLarge => write!(f, "the response is too large"),
            HttpError::NotHttp => write!(f, "the server does not speak HTTP"),
        }
    }
}
