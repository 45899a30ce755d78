//! The errors of the layers DNS, TCP and TLS.
//!
//! An error repeats what the system reports and draws no conclusion. "No route" is distinct from a timeout
//! (`no_route_is_not_a_timeout`).

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use crate::cause::Cause as _;
use crate::text;
use crate::tls::{self, TlsProblem};

const DETAIL_MAX_CHARS: usize = 160;
/// EAFNOSUPPORT, reported by a system without IPv6. The standard library has no kind for it.
const NO_SUCH_FAMILY: i32 = if cfg!(target_os = "linux") { 97 } else { 47 };

/// A name was not resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResolveError {
    /// The resolver reports that the name does not exist.
    NoSuchName,
    /// The name exists but has no address.
    NoAddress,
    /// The name server does not respond.
    NoAnswer,
    Timeout {
        after: Duration,
    },
    /// The system's message.
    Other(String),
}

/// A TCP connection was not established.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectError {
    /// This computer has no route to addresses of this family.
    NoRoute,
    /// A router reports the host as unreachable.
    Unreachable,
    Refused,
    /// This computer blocks the connection.
    Blocked,
    CutOff,
    Timeout {
        after: Duration,
    },
    /// The system's message.
    Other(String),
}

/// A TLS handshake failed on an established connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsError {
    Failed(TlsProblem),
    Timeout { after: Duration },
}

impl ResolveError {
    /// Parses the text of `gai_strerror`, because the standard library exposes nothing else. The C libraries
    /// write it in English, because statusd never sets a locale.
    pub(super) fn of(error: &io::Error) -> ResolveError {
        let message = error.to_string();
        let has = |parts: &[&str]| parts.iter().any(|part| message.contains(part));
        if has(&["Temporary failure", "Try again", "try again"]) {
            return ResolveError::NoAnswer;
        }
        if has(&["No address associated", "no data", "Name has no usable address"]) {
            return ResolveError::NoAddress;
        }
        if has(&["not known", "does not resolve", "does not exist"]) {
            return ResolveError::NoSuchName;
        }
        ResolveError::Other(short(&message))
    }
}

impl ConnectError {
    pub(super) fn of(error: &io::Error) -> ConnectError {
        use io::ErrorKind;
        if error.raw_os_error() == Some(NO_SUCH_FAMILY) {
            return ConnectError::NoRoute;
        }
        match error.kind() {
            ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown | ErrorKind::AddrNotAvailable => {
                ConnectError::NoRoute
            }
            ErrorKind::HostUnreachable => ConnectError::Unreachable,
            ErrorKind::ConnectionRefused => ConnectError::Refused,
            ErrorKind::PermissionDenied => ConnectError::Blocked,
            ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => {
                ConnectError::CutOff
            }
            _ => ConnectError::Other(short(&error.reason())),
        }
    }
}

impl TlsError {
    pub(super) fn of(error: &io::Error) -> TlsError {
        use io::ErrorKind;
        TlsError::Failed(match (tls::problem(error), error.kind()) {
            (Some(problem), _) => problem,
            (
                None,
                ErrorKind::ConnectionReset
                | ErrorKind::ConnectionAborted
                | ErrorKind::BrokenPipe
                | ErrorKind::UnexpectedEof,
            ) => TlsProblem::CutOff,
            (None, _) => TlsProblem::Other(short(&error.reason())),
        })
    }
}

pub(super) fn short(text: &str) -> String {
    text::plain_line(text, DETAIL_MAX_CHARS)
}

/// Returns `4 s` or `0.3 s`.
fn seconds(after: &Duration) -> String {
    format!("{} s", after.as_secs_f64())
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResolveError::NoSuchName => write!(f, "no such name (DNS)"),
            ResolveError::NoAddress => write!(f, "the name has no address (DNS)"),
            ResolveError::NoAnswer => write!(f, "the name server does not respond (DNS)"),
            ResolveError::Timeout { after } => write!(f, "no address within {} (DNS)", seconds(after)),
            ResolveError::Other(message) => write!(f, "cannot resolve the name (DNS): {message}"),
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectError::NoRoute => write!(f, "no route from this computer"),
            ConnectError::Unreachable => write!(f, "the network reports the host as unreachable"),
            ConnectError::Refused => write!(f, "connection refused"),
            ConnectError::Blocked => write!(f, "this computer blocks the connection"),
            ConnectError::CutOff => write!(f, "connection closed"),
            ConnectError::Timeout { after } => write!(f, "no connection within {}", seconds(after)),
            ConnectError::Other(message) => write!(f, "no connection: {message}"),
        }
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsError::Failed(problem @ (TlsProblem::NotTls | TlsProblem::CutOff)) => problem.fmt(f),
            TlsError::Failed(problem) => write!(f, "TLS handshake failed: {problem}"),
            TlsError::Timeout { after } => {
                write!(f, "connected, but no TLS handshake within {}", seconds(after))
            }
        }
    }
}

// The HTTP client wraps the resolver's error.
impl Error for ResolveError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_three_c_libraries_are_recognised() {
        #[track_caller]
        fn check(message: &str, expected: ResolveError) {
            let message = format!("failed to lookup address information: {message}");
            assert_eq!(ResolveError::of(&io::Error::other(message)), expected);
        }
        check("Name or service not known", ResolveError::NoSuchName);
        check("nodename nor servname provided, or not known", ResolveError::NoSuchName);
        check("Name does not resolve", ResolveError::NoSuchName);
        check("Temporary failure in name resolution", ResolveError::NoAnswer);
        check("Try again", ResolveError::NoAnswer);
        check("No address associated with hostname", ResolveError::NoAddress);
        let other = "failed to lookup address information: Memory allocation failure".to_owned();
        check("Memory allocation failure", ResolveError::Other(other));
    }

    #[test]
    fn no_route_is_not_a_timeout() {
        #[track_caller]
        fn check(kind: io::ErrorKind, expected: ConnectError) {
            assert_eq!(ConnectError::of(&kind.into()), expected);
        }
        check(io::ErrorKind::NetworkUnreachable, ConnectError::NoRoute);
        check(io::ErrorKind::AddrNotAvailable, ConnectError::NoRoute);
        check(io::ErrorKind::HostUnreachable, ConnectError::Unreachable);
        check(io::ErrorKind::ConnectionRefused, ConnectError::Refused);
        check(io::ErrorKind::PermissionDenied, ConnectError::Blocked);
        check(io::ErrorKind::OutOfMemory, ConnectError::Other("out of memory".to_owned()));
        let no_ipv6 = io::Error::from_raw_os_error(NO_SUCH_FAMILY);
        assert_eq!(ConnectError::of(&no_ipv6), ConnectError::NoRoute, "{no_ipv6}");
    }
}
