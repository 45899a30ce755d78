//! Why a layer did not come about, and its words: name, connection, TLS.
//!
//! It judges no network: a fault is what the system said. Invariant: having no way at all is kept
//! apart from a way on which nothing answers.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use crate::cause::Cause as _;
use crate::{text, tls};

const DETAIL_MAX_CHARS: usize = 160;
/// EAFNOSUPPORT, which the standard library has no kind for: a system without IPv6 at all.
const NO_SUCH_FAMILY: i32 = if cfg!(target_os = "linux") { 97 } else { 47 };

/// No address for a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameFault {
    /// The resolver says that there is no such name.
    NoSuchName,
    /// The name exists and has no address.
    NoAddress,
    /// The system says that its resolver does not answer.
    NoAnswer,
    Timeout {
        after: Duration,
    },
    /// In the system's words.
    Other(String),
}

/// No connection (TCP) to an address, or a question (UDP) that could not be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectFault {
    /// This computer has no way to such addresses.
    NoRoute,
    /// Somebody on the way said that it leads nowhere.
    Unreachable,
    Refused,
    /// This computer forbids it.
    Blocked,
    CutOff,
    Timeout {
        after: Duration,
    },
    /// In the system's words.
    Other(String),
}

/// No TLS on a connection that stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsFault {
    /// What answers speaks something else.
    NotTls,
    CutOff,
    Timeout {
        after: Duration,
    },
    /// In the words of the TLS library.
    Other(String),
}

impl NameFault {
    /// The standard library gives the resolver's answer as text only (`gai_strerror`); glibc,
    /// musl and Apple's say it in English unless told otherwise, which we never do.
    pub(super) fn of(error: &io::Error) -> NameFault {
        let words = error.to_string();
        let says = |some: &[&str]| some.iter().any(|some| words.contains(some));
        if says(&["Temporary failure", "Try again", "try again"]) {
            return NameFault::NoAnswer;
        }
        if says(&["No address associated", "no data", "Name has no usable address"]) {
            return NameFault::NoAddress;
        }
        if says(&["not known", "does not resolve", "does not exist"]) {
            return NameFault::NoSuchName;
        }
        NameFault::Other(short(&words))
    }
}

impl ConnectFault {
    pub(super) fn of(error: &io::Error) -> ConnectFault {
        use io::ErrorKind;
        if error.raw_os_error() == Some(NO_SUCH_FAMILY) {
            return ConnectFault::NoRoute;
        }
        match error.kind() {
            ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown | ErrorKind::AddrNotAvailable => {
                ConnectFault::NoRoute
            }
            ErrorKind::HostUnreachable => ConnectFault::Unreachable,
            ErrorKind::ConnectionRefused => ConnectFault::Refused,
            ErrorKind::PermissionDenied => ConnectFault::Blocked,
            ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => {
                ConnectFault::CutOff
            }
            _ => ConnectFault::Other(short(&error.reason())),
        }
    }
}

impl TlsFault {
    pub(super) fn of(error: &io::Error) -> TlsFault {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match (tls, error.kind()) {
            (Some(rustls::Error::InvalidMessage(_)), _) => TlsFault::NotTls,
            (Some(other), _) => TlsFault::Other(tls::words(other).to_owned()),
            (
                None,
                io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::UnexpectedEof,
            ) => TlsFault::CutOff,
            (None, _) => TlsFault::Other(short(&error.reason())),
        }
    }
}

pub(super) fn short(words: &str) -> String {
    text::plain_line(words, DETAIL_MAX_CHARS)
}

/// `4 s`, `0.3 s`.
fn seconds(after: &Duration) -> String {
    format!("{} s", after.as_secs_f64())
}

impl fmt::Display for NameFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NameFault::NoSuchName => write!(f, "no such name (DNS)"),
            NameFault::NoAddress => write!(f, "the name has no address (DNS)"),
            NameFault::NoAnswer => write!(f, "the name server does not respond (DNS)"),
            NameFault::Timeout { after } => write!(f, "no address within {} (DNS)", seconds(after)),
            NameFault::Other(words) => write!(f, "no address (DNS): {words}"),
        }
    }
}

impl fmt::Display for ConnectFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectFault::NoRoute => write!(f, "no route from this computer"),
            ConnectFault::Unreachable => write!(f, "the network reports it as unreachable"),
            ConnectFault::Refused => write!(f, "connection refused"),
            ConnectFault::Blocked => write!(f, "this computer forbids the connection"),
            ConnectFault::CutOff => write!(f, "connection closed"),
            ConnectFault::Timeout { after } => write!(f, "no connection within {}", seconds(after)),
            ConnectFault::Other(words) => write!(f, "no connection: {words}"),
        }
    }
}

impl fmt::Display for TlsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsFault::NotTls => write!(f, "the server does not speak TLS"),
            TlsFault::CutOff => write!(f, "connection closed during the TLS handshake"),
            TlsFault::Timeout { after } => {
                write!(f, "connected, but no TLS handshake within {}", seconds(after))
            }
            TlsFault::Other(words) => write!(f, "TLS handshake failed: {words}"),
        }
    }
}

// The HTTP client carries the resolver's as an error.
impl Error for NameFault {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_of_three_systems_are_understood() {
        #[track_caller]
        fn check(words: &str, expected: NameFault) {
            let words = format!("failed to lookup address information: {words}");
            assert_eq!(NameFault::of(&io::Error::other(words)), expected);
        }
        check("Name or service not known", NameFault::NoSuchName);
        check("nodename nor servname provided, or not known", NameFault::NoSuchName);
        check("Name does not resolve", NameFault::NoSuchName);
        check("Temporary failure in name resolution", NameFault::NoAnswer);
        check("Try again", NameFault::NoAnswer);
        check("No address associated with hostname", NameFault::NoAddress);
        let other = "failed to lookup address information: Memory allocation failure".to_owned();
        check("Memory allocation failure", NameFault::Other(other));
    }

    #[test]
    fn no_way_is_not_silence() {
        #[track_caller]
        fn check(kind: io::ErrorKind, expected: ConnectFault) {
            assert_eq!(ConnectFault::of(&kind.into()), expected);
        }
        check(io::ErrorKind::NetworkUnreachable, ConnectFault::NoRoute);
        check(io::ErrorKind::AddrNotAvailable, ConnectFault::NoRoute);
        check(io::ErrorKind::HostUnreachable, ConnectFault::Unreachable);
        check(io::ErrorKind::ConnectionRefused, ConnectFault::Refused);
        check(io::ErrorKind::PermissionDenied, ConnectFault::Blocked);
        check(io::ErrorKind::OutOfMemory, ConnectFault::Other("out of memory".to_owned()));
        let no_ipv6 = io::Error::from_raw_os_error(NO_SUCH_FAMILY);
        assert_eq!(ConnectFault::of(&no_ipv6), ConnectFault::NoRoute, "{no_ipv6}");
    }
}
