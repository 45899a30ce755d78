//! The address of usbmuxd: parsing, and connecting to it.
//!
//! A parsed address is the absolute path of a socket, or a host and a port. Does not read the environment.

use std::io::{Error, ErrorKind};
use std::net::Ipv6Addr;
use std::path::PathBuf;

use tokio::net::{TcpStream, UnixStream};

use super::{Address, ReadError};
use crate::tls::Stream;

/// The default socket of usbmuxd on Linux and macOS.
const STANDARD: &str = "/var/run/usbmuxd";
/// Prefix of a path in `USBMUXD_SOCKET_ADDRESS`.
const UNIX_PREFIX: &str = "UNIX:";

impl Address {
    /// Returns the default, `/var/run/usbmuxd`.
    pub fn standard() -> Address {
        Address::Unix(PathBuf::from(STANDARD))
    }

    /// Parses an address in the forms of `USBMUXD_SOCKET_ADDRESS`: `UNIX:/path`, `/path`, `host:port` or
    /// `[IPv6]:port`.
    ///
    /// # Errors
    ///
    /// The expected form, without the text.
    pub fn parse(text: &str) -> Result<Address, String> {
        let text = text.trim();
        let path = text.strip_prefix(UNIX_PREFIX).unwrap_or(text);
        if path.starts_with('/') {
            return Ok(Address::Unix(PathBuf::from(path)));
        }
        if path.len() < text.len() {
            return Err("invalid usbmuxd address: expected an absolute path after UNIX:".to_owned());
        }
        let forms = "invalid usbmuxd address: expected UNIX:/path, /path, host:port or [IPv6]:port";
        let (host, port) = text.rsplit_once(':').ok_or(forms)?;
        let port: u16 =
            port.parse().map_err(|_| "invalid usbmuxd address: expected a port from 1 to 65535")?;
        let ipv6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_host = match ipv6 {
            Some(ipv6) => ipv6.parse::<Ipv6Addr>().is_ok(),
            None => !host.is_empty() && !host.contains([':', '/', '[', ']', ' ']),
        };
        if is_host && port > 0 { Ok(Address::Tcp(format!("{host}:{port}"))) } else { Err(forms.to_owned()) }
    }

    pub(super) async fn connect(&self) -> Result<Box<dyn Stream>, ReadError> {
        let connected: Result<Box<dyn Stream>, Error> = match self {
            Address::Unix(path) => UnixStream::connect(path).await.map(|stream| Box::new(stream) as _),
            Address::Tcp(host) => TcpStream::connect(host).await.map(|stream| Box::new(stream) as _),
        };
        connected.map_err(|error| read_error(error.kind()))
    }
}

fn read_error(error: ErrorKind) -> ReadError {
    match error {
        ErrorKind::PermissionDenied => ReadError::Forbidden,
        // No socket, connection refused or no such host.
        _ => ReadError::NoUsbmuxd,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<Address>) {
        let parsed = Address::parse(text);
        assert_eq!(parsed.clone().ok(), expected, "{text:?}: {parsed:?}");
    }

    #[test]
    fn accepts_the_forms_of_the_environment_variable() {
        let unix = |path: &str| Some(Address::Unix(PathBuf::from(path)));
        let tcp = |place: &str| Some(Address::Tcp(place.to_owned()));
        check("UNIX:/run/usbmuxd", unix("/run/usbmuxd"));
        check("/run/my mux:1", unix("/run/my mux:1"));
        check(" 127.0.0.1:27015\n", tcp("127.0.0.1:27015"));
        check("mac.example:27015", tcp("mac.example:27015"));
        check("[::1]:27015", tcp("[::1]:27015"));
        for bad in [
            "",
            ":",
            "UNIX:",
            "UNIX:run/usbmuxd",
            "usbmuxd",
            "host:",
            ":27015",
            "host:0",
            "host:65536",
            "host:-1",
            "::1:27015",
            "[::1]",
            "[x]:1",
            "[]:1",
            "a b:1",
            "http://host:1",
        ] {
            check(bad, None);
        }
        assert_eq!(Some(Address::standard()), unix("/var/run/usbmuxd"));
    }

    /// Tests the mapping only, because the tests may run as root, which has every permission.
    #[test]
    fn no_permission_is_not_absence() {
        assert_eq!(read_error(ErrorKind::PermissionDenied), ReadError::Forbidden);
        for kind in [ErrorKind::NotFound, ErrorKind::ConnectionRefused, ErrorKind::Other] {
            assert_eq!(read_error(kind), ReadError::NoUsbmuxd);
        }
    }
}
