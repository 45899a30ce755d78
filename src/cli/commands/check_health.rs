//! `statusd check-health`: asks the web listener of the daemon whether it is ready, for containers.
//!
//! Needs no shell and no other program in the image. Speaks HTTP/1.0 over TCP or a socket in the file system.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::cause::Cause as _;
use crate::cli::args::CheckHealthArgs;
use crate::cli::context::{CommandError, Invocation, Output};
use crate::cli::phrases::printable;
use crate::exit_code::{CONFIGURATION, WRONG_USAGE};
use crate::web::ListenAddress;

/// The default path of a URL.
const READY: &str = "/readyz";
/// The maximum duration of the whole request. Docker waits for 30 s.
const TIMEOUT: Duration = Duration::from_secs(10);
const RESPONSE_MAX_BYTES: u64 = 64 * 1024;
const HTTP_PORT: u16 = 80;

/// The address to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    server: ServerAddress,
    path: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum ServerAddress {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

pub fn run(arguments: &CheckHealthArgs, invocation: &Invocation) -> Result<Output, CommandError> {
    let target = match &arguments.url {
        Some(url) => of_url(url).ok_or_else(|| invalid(url))?,
        None => configured(invocation)?,
    };
    let shown = target.shown();
    let response = target.ask(Instant::now() + TIMEOUT).map_err(|error| {
        CommandError::failed(format!(
            "cannot reach {shown}: {}; check that `statusd run` is running with the table [web]",
            error.reason()
        ))
    })?;
    let (status, body) = parsed(&response).ok_or_else(|| {
        CommandError::failed(format!("{shown} does not answer with HTTP; check the address"))
    })?;
    match status {
        200 => Ok(Output::done("ok\n".to_owned())),
        503 => Err(CommandError::failed(format!("statusd is not ready: {}", failures(body)))),
        other => Err(CommandError::failed(format!("{shown} answers with status {other}; check the address"))),
    }
}

fn invalid(url: &str) -> CommandError {
    let url = printable(url);
    let message = format!(
        "invalid --url \"{url}\": expected for example http://127.0.0.1:7380 or unix:/path/of/socket"
    );
    CommandError::new(WRONG_USAGE, message)
}

/// Returns the failed checks of a verbose answer.
fn failures(body: &str) -> String {
    let failed: Vec<&str> = body.lines().filter_map(|line| line.strip_prefix("[-]")).collect();
    if failed.is_empty() {
        "it does not say why; see its log".to_owned()
    } else {
        printable(&failed.join("; "))
    }
}

/// Returns the address of the configured listener.
fn configured(invocation: &Invocation) -> Result<Target, CommandError> {
    let config = invocation.config()?;
    let Some(web) = &config.web else {
        let message = "the configuration has no table [web]: add it, or give --url";
        return Err(CommandError::new(CONFIGURATION, message));
    };
    let address = web.listen_address().map_err(|error| config.error_in("web", error))?;
    let server = match address {
        ListenAddress::Tcp(address) => tcp(reachable(address)),
        ListenAddress::Unix(path) => ServerAddress::Unix(path),
        ListenAddress::Systemd => {
            let message = "web.listen = \"systemd\" does not name an address: give --url";
            return Err(CommandError::new(CONFIGURATION, message));
        }
    };
    Ok(Target { server, path: READY.to_owned() })
}

fn tcp(address: SocketAddr) -> ServerAddress {
    ServerAddress::Tcp { host: address.ip().to_string(), port: address.port() }
}

/// Returns the loopback address for a listener on all addresses.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Parses `http://HOST[:PORT][/PATH]` or `unix:/PATH`.
fn of_url(url: &str) -> Option<Target> {
    if !url.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    if let Some(path) = url.strip_prefix("unix:") {
        let server = ServerAddress::Unix(PathBuf::from(path));
        return path.starts_with('/').then(|| Target { server, path: READY.to_owned() });
    }
    let rest = url.strip_prefix("http://")?;
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (authority, HTTP_PORT),
    };
    let host = host.strip_prefix('[').map_or(Some(host), |host| host.strip_suffix(']'))?;
    let is_host = !host.is_empty() && !host.contains(['@', '[', ']', '?', '#']);
    let path = if path.len() > 1 { path } else { READY };
    is_host
        .then(|| Target { server: ServerAddress::Tcp { host: host.to_owned(), port }, path: path.to_owned() })
}

impl Target {
    fn shown(&self) -> String {
        match &self.server {
            ServerAddress::Tcp { host, port } if host.contains(':') => {
                format!("http://[{host}]:{port}{}", self.path)
            }
            ServerAddress::Tcp { host, port } => format!("http://{host}:{port}{}", self.path),
            ServerAddress::Unix(path) => printable(&format!("unix:{}", path.display())),
        }
    }

    /// Returns the response. Blocks until `deadline` at the latest, except to resolve a name.
    fn ask(&self, deadline: Instant) -> io::Result<Vec<u8>> {
        let request = format!("GET {} HTTP/1.0\r\nHost: localhost\r\n\r\n", self.path);
        match &self.server {
            ServerAddress::Tcp { host, port } => {
                let mut last = io::Error::from(io::ErrorKind::NotFound);
                for address in (host.as_str(), *port).to_socket_addrs()? {
                    match TcpStream::connect_timeout(&address, left(deadline)?) {
                        Ok(stream) => {
                            return exchange(stream, &request, deadline, TcpStream::set_read_timeout);
                        }
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
            ServerAddress::Unix(path) => {
                exchange(UnixStream::connect(path)?, &request, deadline, UnixStream::set_read_timeout)
            }
        }
    }
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// Sends the request, which fits the socket's buffer, and reads until the server closes the connection.
fn exchange<S: Read + Write>(
    mut stream: S,
    request: &str,
    deadline: Instant,
    set_timeout: impl Fn(&S, Option<Duration>) -> io::Result<()>,
) -> io::Result<Vec<u8>> {
    stream.write_all(request.as_bytes())?;
    let mut response = Vec::new();
    let mut buffer = [0; 4096];
    while (response.len() as u64) < RESPONSE_MAX_BYTES {
        set_timeout(&stream, Some(left(deadline)?))?;
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => response.extend_from_slice(&buffer[..length]),
            // The word of a read timeout on Linux.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(response)
}

/// Returns the status and the body.
fn parsed(response: &[u8]) -> Option<(u16, &str)> {
    let (head, body) = std::str::from_utf8(response).ok()?.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    Some((status, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_a_server_and_a_path() {
        #[track_caller]
        fn check(url: &str, expected: Option<&str>) {
            assert_eq!(of_url(url).map(|target| target.shown()).as_deref(), expected, "{url}");
        }
        check("http://127.0.0.1:7380", Some("http://127.0.0.1:7380/readyz"));
        check("http://127.0.0.1:7380/", Some("http://127.0.0.1:7380/readyz"));
        check("http://statusd/livez", Some("http://statusd:80/livez"));
        check("http://[::1]:7380/livez", Some("http://[::1]:7380/livez"));
        check("http://[::1]", Some("http://[::1]:80/readyz"));
        check("unix:/run/statusd/web.sock", Some("unix:/run/statusd/web.sock"));
        for wrong in [
            "",
            "https://127.0.0.1",
            "127.0.0.1:7380",
            "http://",
            "http://:80",
            "http://a:b",
            "http://a:99999",
            "http://user@a",
            "http://[::1",
            "http://a/\r\nx:y",
            "http://a b",
            "unix:web.sock",
        ] {
            check(wrong, None);
        }
    }

    #[test]
    fn a_listener_on_all_addresses_is_asked_on_loopback() {
        for (listen, expected) in
            [("0.0.0.0:80", "127.0.0.1:80"), ("[::]:80", "[::1]:80"), ("192.0.2.7:80", "192.0.2.7:80")]
        {
            let listen: SocketAddr = listen.parse().expect("an address");
            assert_eq!(reachable(listen).to_string(), expected);
        }
    }

    #[test]
    fn responses_are_parsed_and_failures_are_listed() {
        let response =
            b"HTTP/1.0 503 Service Unavailable\r\na: b\r\n\r\n[+]loops ok\n[-]database failed: x\nfailed\n";
        let (status, body) = parsed(response).expect("a response");
        assert_eq!((status, failures(body).as_str()), (503, "database failed: x"));
        assert_eq!(parsed(b"SSH-2.0-OpenSSH\r\n"), None);
        assert_eq!(parsed(b""), None);
        assert_eq!(failures(""), "it does not say why; see its log");
    }
}
