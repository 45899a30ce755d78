//! The HTTP client of the probes: no proxy, no redirects, small responses.
//!
//! Each response has a time limit and a size limit. All errors of the client become an [`HttpError`].

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Response};

use super::fault::short;
use super::names::Resolver;
use super::{ConnectFault, NameFault, Net, TlsFault};
use crate::{gzip, tls};

const USER_AGENT: &str = concat!("statusd/", env!("CARGO_PKG_VERSION"));

/// A request without a complete response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WebFault {
    Name(NameFault),
    Connect(ConnectFault),
    Tls(TlsFault),
    /// Connected, but the whole answer did not come in time; or no connection in time.
    Timeout {
        after: Duration,
    },
    CutOff,
    TooLarge,
    NotHttp,
}

/// For `http` or `https` at its usual port. `Err`: this computer's certificates cannot be read.
pub(super) fn client(net: &Arc<Net>, port: u16, limit: Duration) -> Result<Client, WebFault> {
    tls::install_provider();
    let builder = Client::builder()
        .user_agent(USER_AGENT)
        .dns_resolver(Resolver { net: Arc::clone(net), port })
        .connect_timeout(limit)
        .timeout(limit)
        .redirect(Policy::none())
        .referer(false)
        .no_proxy();
    let builder = match port {
        80 => builder.tls_certs_only([]),
        _ if net.extra_roots.is_empty() => builder,
        _ => builder
            .tls_certs_merge(net.extra_roots.iter().filter_map(|root| Certificate::from_der(root).ok())),
    };
    let no_client =
        |_| WebFault::Tls(TlsFault::Other("this computer's certificates cannot be read".to_owned()));
    builder.build().map_err(no_client)
}

/// The body, unpacked.
pub(super) async fn body(mut response: Response, max: usize, limit: Duration) -> Result<Vec<u8>, WebFault> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| WebFault::of(&error, limit))? {
        // A page of a few bytes grows when it is packed.
        if body.len() + chunk.len() > max + gzip::OVERHEAD_BYTES {
            return Err(WebFault::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    // A body that cannot be decompressed is compared as it is.
    let body = gzip::unpacked(body.clone(), max).unwrap_or(body);
    if body.len() > max { Err(WebFault::TooLarge) } else { Ok(body) }
}

impl WebFault {
    /// The order matters: what is certain comes before what only tells the stage.
    pub(super) fn of(error: &reqwest::Error, limit: Duration) -> WebFault {
        if let Some(fault) = causes(error).find_map(|cause| cause.downcast_ref::<NameFault>()) {
            return WebFault::Name(fault.clone());
        }
        if error.is_timeout() {
            return WebFault::Timeout { after: limit };
        }
        if let Some(tls) = causes(error).find_map(|cause| cause.downcast_ref::<rustls::Error>()) {
            return WebFault::Tls(match tls {
                rustls::Error::InvalidMessage(_) => TlsFault::NotTls,
                other => TlsFault::Other(short(&other.to_string())),
            });
        }
        let io = causes(error).filter_map(|cause| cause.downcast_ref::<io::Error>()).last();
        match io {
            Some(io) if error.is_connect() => WebFault::Connect(ConnectFault::of(io)),
            Some(_) => WebFault::CutOff,
            // The type is private to `hyper`; a test holds that these are still its words.
            None if causes(error)
                .any(|cause| cause.to_string() == "connection closed before message completed") =>
            {
                WebFault::CutOff
            }
            None => WebFault::NotHttp,
        }
    }
}

/// Returns the error and its causes. `io::Error::source()` skips a wrapped error, so `get_ref` comes first.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| {
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        }
    })
}

impl fmt::Display for WebFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WebFault::Name(fault) => fault.fmt(f),
            WebFault::Connect(fault) => fault.fmt(f),
            WebFault::Tls(fault) => fault.fmt(f),
            WebFault::Timeout { after } => write!(f, "no whole answer within {} s", after.as_secs_f64()),
            WebFault::CutOff => write!(f, "connection closed before the response was complete"),
            WebFault::TooLarge => write!(f, "the answer is too large"),
            WebFault::NotHttp => write!(f, "what answers does not speak HTTP"),
        }
    }
}
