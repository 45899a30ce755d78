//! Errors of a fetch: their kinds, whose fault each is, and the text that users see.
//!
//! Each error of the HTTP client maps to one [`FailureKind`]. An error that a fault of the local
//! network could also cause counts as ours. This module makes no request.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use reqwest::StatusCode;

use super::FetchLimits;
use crate::cause::chain;
use crate::feed::parse::Unreadable;
use crate::http;
use crate::model::Fault;
use crate::text;
use crate::tls::{self, TlsProblem};

const DETAIL_MAX_CHARS: usize = 160;

/// A failed fetch. `Display` is one line for users, without secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchError {
    pub kind: FailureKind,
    /// The feed's host, without port and path.
    pub host: String,
    /// `Retry-After` of the response, not capped.
    pub retry_after_s: Option<u64>,
}

/// The cause of a failed fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The network is down, or the system has no route to the host.
    NoNetwork,
    /// A firewall or sandbox on this computer denied the connection.
    Blocked,
    /// The host name does not resolve.
    Dns,
    /// TCP or TLS was not established in time.
    ConnectTimeout {
        after: Duration,
    },
    /// Another connection error, with the system's message.
    NoConnection(String),
    Proxy,
    /// The proxy answered 407.
    ProxyLogin,
    Tls(TlsProblem),
    /// A web page over plain HTTP, which any network on the way can inject.
    Portal,
    Refused,
    /// Connected, but the response was not complete in time.
    Timeout {
        after: Duration,
    },
    /// The connection closed before the response was complete.
    CutOff,
    /// The gzip stream or the chunked encoding is invalid.
    Malformed,
    NotHttp,
    /// A content encoding that the request did not offer.
    Encoding(String),
    Redirect(RedirectError),
    /// Any status but 200 and 203, or a 304 to an unconditional request.
    Http(u16),
    TooLarge {
        limit_bytes: usize,
    },
    /// A complete response that is not a status document.
    Unreadable(Unreadable),
}

/// A redirect that is not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedirectError {
    #[error("too many redirects")]
    TooMany,
    #[error("the target is on another host")]
    OtherHost,
    /// Possibly another program on the same host.
    #[error("the target has another port")]
    OtherPort,
    /// Mainly from https to http.
    #[error("the target has another scheme")]
    OtherScheme,
}

impl FetchError {
    /// Returns `Ours` for an error that the network between here and the feed can cause without the
    /// feed's server, and `Apple` otherwise. An HTTP status counts as Apple's, except 407 and 511,
    /// which only a proxy or a captive portal sends.
    pub fn fault(&self) -> Fault {
        match self.kind {
            FailureKind::NoNetwork
            | FailureKind::Blocked
            | FailureKind::Dns
            | FailureKind::ConnectTimeout { .. }
            | FailureKind::NoConnection(_)
            | FailureKind::Proxy
            | FailureKind::ProxyLogin
            | FailureKind::Tls(_)
            | FailureKind::Portal
            | FailureKind::Http(407 | 511) => Fault::Ours,
            FailureKind::Refused
            | FailureKind::Timeout { .. }
            | FailureKind::CutOff
            | FailureKind::Malformed
            | FailureKind::NotHttp
            | FailureKind::Encoding(_)
            | FailureKind::Redirect(_)
            | FailureKind::Http(_)
            | FailureKind::TooLarge { .. }
            | FailureKind::Unreadable(_) => Fault::Apple,
        }
    }

    /// Returns a stable identifier for programs.
    pub fn code(&self) -> &'static str {
        match self.kind {
            FailureKind::NoNetwork => "no_network",
            FailureKind::Blocked => "blocked",
            FailureKind::Dns => "dns",
            FailureKind::ConnectTimeout { .. } => "connect_timeout",
            FailureKind::NoConnection(_) => "no_connection",
            FailureKind::Proxy | FailureKind::ProxyLogin => "proxy",
            FailureKind::Tls(_) => "tls",
            FailureKind::Refused => "refused",
            FailureKind::Timeout { .. } => "timeout",
            FailureKind::CutOff | FailureKind::Unreadable(Unreadable::CutOff) => "cut_off",
            FailureKind::Malformed => "malformed",
            FailureKind::NotHttp => "not_http",
            FailureKind::Encoding(_) => "encoding",
            FailureKind::Redirect(_) => "redirect",
            FailureKind::Http(_) => "http",
            FailureKind::TooLarge { .. } | FailureKind::Unreadable(Unreadable::TooLarge) => "too_large",
            FailureKind::Portal | FailureKind::Unreadable(Unreadable::Html) => "html",
            FailureKind::Unreadable(Unreadable::Empty) => "empty",
            FailureKind::Unreadable(Unreadable::NotJson) => "not_json",
            FailureKind::Unreadable(Unreadable::OldSchema) => "old_schema",
            FailureKind::Unreadable(Unreadable::NoServices | Unreadable::EmptyServices) => "no_services",
            FailureKind::Unreadable(Unreadable::NoEvents) => "no_events",
        }
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = &self.host;
        match &self.kind {
            FailureKind::NoNetwork => write!(f, "cannot reach {host}: no network connection"),
            FailureKind::Blocked => write!(
                f,
                "cannot connect to {host}: permission denied; check this computer's firewall and statusd's \
                 sandbox"
            ),
            FailureKind::Dns => write!(f, "cannot resolve {host} (DNS): is this computer online?"),
            FailureKind::ConnectTimeout { after } => write!(
                f,
                "cannot connect to {host} within {} s: is this computer online?",
                after.as_secs_f64()
            ),
            FailureKind::NoConnection(detail) => write!(f, "cannot connect to {host}: {detail}"),
            FailureKind::Proxy => write!(
                f,
                "cannot connect to {host} through the proxy: check the proxy settings (HTTPS_PROXY, ALL_PROXY)"
            ),
            FailureKind::ProxyLogin => write!(
                f,
                "the proxy requires a user name and password: add them to the proxy settings (HTTPS_PROXY, \
                 ALL_PROXY)"
            ),
            FailureKind::Tls(problem) => write_tls_problem(problem, host, f),
            FailureKind::Portal => {
                write!(f, "received a web page instead of the feed: does this network require a login?")
            }
            FailureKind::Refused => write!(f, "{host} refused the connection"),
            FailureKind::Timeout { after } => {
                write!(f, "no complete response from {host} within {} s", after.as_secs_f64())
            }
            FailureKind::CutOff => {
                write!(f, "{host} closed the connection before the response was complete")
            }
            FailureKind::Malformed => write!(f, "the response from {host} is malformed"),
            FailureKind::NotHttp => write!(f, "the server at {host} does not speak HTTP"),
            FailureKind::Encoding(name) => {
                write!(f, "{host} sent the feed with an unsupported content encoding: {name:?}")
            }
            FailureKind::Redirect(error) => write!(f, "cannot follow the redirect from {host}: {error}"),
            FailureKind::Http(status) => {
                let reason = StatusCode::from_u16(*status).ok().and_then(|code| code.canonical_reason());
                match reason {
                    Some(reason) => write!(f, "{host} returned HTTP {status} ({reason})"),
                    None => write!(f, "{host} returned HTTP {status}"),
                }
            }
            FailureKind::TooLarge { limit_bytes } => {
                write!(f, "the response from {host} is larger than {} KiB", limit_bytes / 1024)
            }
            FailureKind::Unreadable(reason) => write!(f, "cannot read the feed from {host}: {reason}"),
        }
    }
}

impl Error for FetchError {}

fn write_tls_problem(problem: &TlsProblem, host: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match problem {
        TlsProblem::Expired => {
            write!(f, "the certificate of {host} has expired: is this computer's clock right?")
        }
        TlsProblem::NotYetValid => {
            write!(f, "the certificate of {host} is not valid yet: is this computer's clock right?")
        }
        TlsProblem::UnknownIssuer => write!(
            f,
            "this computer does not trust the certificate of {host}: log in to this network, or set \
             feed.ca_file to the issuing authority"
        ),
        TlsProblem::WrongHost => {
            write!(f, "the certificate is not for {host}: does this network require a login?")
        }
        TlsProblem::NotTls => {
            write!(f, "the server at {host} does not speak TLS: does this network require a login?")
        }
        TlsProblem::CutOff => write!(
            f,
            "the connection to {host} closed during the TLS handshake: does a firewall or filter block it?"
        ),
        TlsProblem::Other(detail) => write!(f, "cannot connect to {host} securely (TLS): {detail}"),
    }
}

/// Maps an error of the client. Definite causes come before those that only name the stage.
pub(super) fn classify(error: &reqwest::Error, limits: FetchLimits) -> FailureKind {
    if let Some(redirect) = chain(error).find_map(|cause| cause.downcast_ref::<RedirectError>()) {
        return FailureKind::Redirect(*redirect);
    }
    if let Some(kind) = chain(error).find_map(from_message) {
        return kind;
    }
    if error.is_dns() {
        return FailureKind::Dns;
    }
    if error.is_timeout() {
        return match error.is_connect() {
            true => FailureKind::ConnectTimeout { after: limits.connect },
            false => FailureKind::Timeout { after: limits.total },
        };
    }
    if let Some(problem) = tls::problem(error) {
        return FailureKind::Tls(problem);
    }
    let io = chain(error).filter_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
    match io.last().and_then(from_io) {
        // Only an established connection can be cut off, so the TLS handshake failed.
        Some(FailureKind::CutOff) if error.is_connect() => FailureKind::Tls(TlsProblem::CutOff),
        Some(kind) => kind,
        None if error.is_connect() => {
            FailureKind::NoConnection(text::plain_line(&tls::root_cause(error), DETAIL_MAX_CHARS))
        }
        None => FailureKind::NotHttp,
    }
}

/// Recognises errors by their message, because their types are private to `hyper-util` and `hyper`.
/// Tests with a real client check that the messages are current.
fn from_message(cause: &(dyn Error + 'static)) -> Option<FailureKind> {
    match cause.to_string().as_str() {
        "tunnel error: proxy authorization required" => Some(FailureKind::ProxyLogin),
        message if message.starts_with("tunnel error: ") || message.contains("socks proxy") => {
            Some(FailureKind::Proxy)
        }
        http::CLOSED_EARLY => Some(FailureKind::CutOff),
        _ => None,
    }
}

pub(super) fn from_io(kind: io::ErrorKind) -> Option<FailureKind> {
    use io::ErrorKind;
    match kind {
        ErrorKind::ConnectionRefused => Some(FailureKind::Refused),
        ErrorKind::NetworkUnreachable
        | ErrorKind::NetworkDown
        | ErrorKind::HostUnreachable
        | ErrorKind::AddrNotAvailable => Some(FailureKind::NoNetwork),
        ErrorKind::PermissionDenied => Some(FailureKind::Blocked),
        ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::NotConnected
        | ErrorKind::BrokenPipe
        | ErrorKind::UnexpectedEof => Some(FailureKind::CutOff),
        // From the decoders of gzip and of chunked bodies.
        ErrorKind::InvalidData | ErrorKind::InvalidInput => Some(FailureKind::Malformed),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(kind: FailureKind) -> FetchError {
        FetchError { kind, host: "www.apple.com".to_owned(), retry_after_s: None }
    }

    #[test]
    fn fault_code_and_text_of_each_kind() {
        use FailureKind::*;
        #[track_caller]
        fn check(kind: FailureKind, fault: Fault, code: &str, text: &str) {
            let failure = failure(kind);
            assert_eq!((failure.fault(), failure.code()), (fault, code));
            assert_eq!(failure.to_string(), text);
        }
        let (ours, apple) = (Fault::Ours, Fault::Apple);
        check(NoNetwork, ours, "no_network", "cannot reach www.apple.com: no network connection");
        check(Dns, ours, "dns", "cannot resolve www.apple.com (DNS): is this computer online?");
        check(
            ConnectTimeout { after: Duration::from_secs(10) },
            ours,
            "connect_timeout",
            "cannot connect to www.apple.com within 10 s: is this computer online?",
        );
        check(
            Tls(TlsProblem::NotYetValid),
            ours,
            "tls",
            "the certificate of www.apple.com is not valid yet: is this computer's clock right?",
        );
        check(
            Portal,
            ours,
            "html",
            "received a web page instead of the feed: does this network require a login?",
        );
        check(Http(511), ours, "http", "www.apple.com returned HTTP 511 (Network Authentication Required)");
        check(Http(503), apple, "http", "www.apple.com returned HTTP 503 (Service Unavailable)");
        check(Http(799), apple, "http", "www.apple.com returned HTTP 799");
        check(Refused, apple, "refused", "www.apple.com refused the connection");
        check(
            Timeout { after: Duration::from_secs(30) },
            apple,
            "timeout",
            "no complete response from www.apple.com within 30 s",
        );
        check(
            TooLarge { limit_bytes: 4 << 20 },
            apple,
            "too_large",
            "the response from www.apple.com is larger than 4096 KiB",
        );
        check(
            Redirect(RedirectError::OtherHost),
            apple,
            "redirect",
            "cannot follow the redirect from www.apple.com: the target is on another host",
        );
        check(
            Unreadable(crate::feed::parse::Unreadable::NotJson),
            apple,
            "not_json",
            "cannot read the feed from www.apple.com: the response is not JSON",
        );
    }

    #[test]
    fn tls_errors_are_one_line_and_name_the_host() {
        for problem in
            [TlsProblem::Expired, TlsProblem::UnknownIssuer, TlsProblem::WrongHost, TlsProblem::NotTls]
        {
            let text = failure(FailureKind::Tls(problem)).to_string();
            assert!(text.contains("www.apple.com") && !text.contains('\n'), "{text}");
        }
    }

    #[test]
    fn causes_unwrap_io_errors() {
        let tls = rustls::Error::InvalidCertificate(rustls::CertificateError::Expired);
        let wrapped = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, tls));
        assert_eq!(tls::problem(&wrapped), Some(TlsProblem::Expired));
    }

    /// Uses a resolver that knows no name, because the system's resolver would use the network.
    #[tokio::test]
    async fn an_unknown_name_is_a_dns_error() {
        struct EmptyResolver;
        impl reqwest::dns::Resolve for EmptyResolver {
            fn resolve(&self, _: reqwest::dns::Name) -> reqwest::dns::Resolving {
                Box::pin(async { Err(io::Error::other("Name or service not known").into()) })
            }
        }
        crate::tls::install_provider();
        let client = reqwest::Client::builder().dns_resolver(EmptyResolver).no_proxy().tls_certs_only([]);
        let request = client.build().expect("a client").get("https://feed.invalid/");
        let error = request.send().await.expect_err("no such name");
        assert_eq!(classify(&error, FetchLimits::default()), FailureKind::Dns);
    }

    #[test]
    fn io_errors_that_tests_cannot_provoke() {
        use io::ErrorKind;
        for kind in [ErrorKind::NetworkUnreachable, ErrorKind::HostUnreachable, ErrorKind::NetworkDown] {
            assert_eq!(from_io(kind), Some(FailureKind::NoNetwork));
        }
        assert_eq!(from_io(ErrorKind::PermissionDenied), Some(FailureKind::Blocked));
        assert_eq!(from_io(ErrorKind::OutOfMemory), None);
    }
}
