//! Opens the listening sockets: TCP, a socket in the file system, or those that systemd passes.
//!
//! Sockets outlive reloads while their address stays the same. Those of systemd are kept for the life of the
//! process, because systemd passes them only once.

use std::cell::{Cell, RefCell};
use std::fs;
use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::{Path, PathBuf};
use std::task::{Context, Poll};

use listenfd::ListenFd;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixSocket, UnixStream};

use super::settings::ListenAddress;

/// Group members, for example a proxy, may connect.
const SOCKET_MODE: u32 = 0o660;
/// Connections that the system keeps until they are accepted. More than the slow clients of an attack, so
/// that the system drops no other client meanwhile.
const BACKLOG: u32 = 1024;

/// An open connection.
pub enum Accepted {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
}

/// The open sockets of one address.
#[derive(Debug)]
pub struct Listener {
    /// Empty once closed.
    sockets: RefCell<Vec<Socket>>,
    /// The socket to accept from first.
    turn: Cell<usize>,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix { listener: UnixListener, _file: Option<SocketFile> },
}

/// A socket in the file system, removed when dropped.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    file: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Another daemon may have replaced it.
        if identity(&self.path).is_ok_and(|file| file == self.file) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The listening sockets that systemd passed to the process, see sd_listen_fds(3).
#[derive(Default)]
pub struct Passed {
    tcp: Vec<StdTcpListener>,
    unix: Vec<StdUnixListener>,
}

impl Passed {
    /// Takes the sockets, and the variables that name them, from the environment. Call before threads start.
    /// Programs that statusd starts do not inherit the sockets.
    pub fn take() -> Passed {
        let mut found = ListenFd::from_env();
        let mut passed = Passed::default();
        for index in 0..found.len() {
            if let Ok(Some(listener)) = found.take_tcp_listener(index) {
                passed.tcp.push(listener);
            } else if let Ok(Some(listener)) = found.take_unix_listener(index) {
                passed.unix.push(listener);
            }
        }
        passed
    }

    fn open(&self) -> io::Result<Vec<Socket>> {
        let tcp = self.tcp.iter().map(|listener| {
            let listener = listener.try_clone()?;
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener).map(Socket::Tcp)
        });
        let unix = self.unix.iter().map(|listener| {
            let listener = listener.try_clone()?;
            listener.set_nonblocking(true)?;
            Ok(Socket::Unix { listener: UnixListener::from_std(listener)?, _file: None })
        });
        let sockets: Vec<Socket> = tcp.chain(unix).collect::<io::Result<_>>()?;
        match sockets.is_empty() {
            true => Err(io::Error::new(
                io::ErrorKind::NotFound,
                "systemd passed no socket; start statusd-web.socket, then statusd",
            )),
            false => Ok(sockets),
        }
    }
}

impl Listener {
    /// Opens the sockets. Call within the runtime.
    pub fn open(address: &ListenAddress, passed: &Passed) -> io::Result<Listener> {
        let sockets = match address {
            ListenAddress::Tcp(address) => vec![tcp(*address)?],
            ListenAddress::Unix(path) => vec![unix(path)?],
            ListenAddress::Systemd => passed.open()?,
        };
        Ok(Listener { sockets: RefCell::new(sockets), turn: Cell::new(0) })
    }

    /// Returns the TCP addresses, with their real ports.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let sockets = self.sockets.borrow();
        let address = |socket: &Socket| match socket {
            Socket::Tcp(listener) => listener.local_addr().ok(),
            Socket::Unix { .. } => None,
        };
        sockets.iter().filter_map(address).collect()
    }

    /// Accepts the next connection of any socket, the sockets in turn. Cancel-safe.
    pub async fn accept(&self) -> io::Result<Accepted> {
        poll_fn(|context| self.poll_accept(context)).await
    }

    fn poll_accept(&self, context: &mut Context) -> Poll<io::Result<Accepted>> {
        let sockets = self.sockets.borrow();
        for offset in 0..sockets.len() {
            let index = (self.turn.get() + offset) % sockets.len();
            let accepted = match &sockets[index] {
                Socket::Tcp(listener) => {
                    listener.poll_accept(context).map_ok(|(stream, peer)| Accepted::Tcp(stream, peer))
                }
                Socket::Unix { listener, .. } => {
                    listener.poll_accept(context).map_ok(|(stream, _)| Accepted::Unix(stream))
                }
            };
            if accepted.is_ready() {
                self.turn.set(index + 1);
                return accepted;
            }
        }
        Poll::Pending
    }

    /// Closes the sockets at once, also while a task accepts.
    pub fn close(&self) {
        self.sockets.take();
    }

    /// Takes the sockets of another listener.
    pub fn replace(&self, other: Listener) {
        self.sockets.replace(other.sockets.take());
    }
}

/// Returns true if the system refuses to open `new` while `old` is open: one of them includes the other.
pub fn overlap(old: &SocketAddr, new: &SocketAddr) -> bool {
    old != new && old.port() == new.port() && (old.ip().is_unspecified() || new.ip().is_unspecified())
}

fn tcp(address: SocketAddr) -> io::Result<Socket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restart does not wait for closed connections.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG).map(Socket::Tcp)
}

fn unix(path: &Path) -> io::Result<Socket> {
    // Replaces the socket of a daemon that was killed, but no other file and no socket in use.
    if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
        && StdUnixStream::connect(path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    {
        fs::remove_file(path)?;
    }
    let socket = UnixSocket::new_stream()?;
    socket.bind(path)?;
    let file = SocketFile { path: path.to_owned(), file: identity(path)? };
    // Before `listen`, so that nobody connects in between.
    fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE))?;
    Ok(Socket::Unix { listener: socket.listen(BACKLOG)?, _file: Some(file) })
}

/// Returns device and inode.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_file_is_private_replaced_if_stale_and_removed_at_the_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("web.sock");
        let open = || Listener::open(&ListenAddress::Unix(path.clone()), &Passed::default());
        let first = open().expect("opened");
        let mode = fs::metadata(&path).expect("a socket").permissions().mode() & 0o777;
        assert_eq!(mode, SOCKET_MODE);
        assert_eq!(open().expect_err("in use").kind(), io::ErrorKind::AddrInUse);
        drop(first);
        assert!(!path.exists());

        drop(StdUnixListener::bind(&path).expect("a stale socket"));
        assert!(path.exists());
        let second = open().expect("replaced");
        // Another daemon's socket stays.
        fs::remove_file(&path).expect("removed");
        let other = StdUnixListener::bind(&path).expect("another");
        drop(second);
        assert!(path.exists());
        drop(other);
        fs::remove_file(&path).expect("removed");

        fs::write(&path, "precious").expect("a file");
        assert!(open().is_err());
        assert_eq!(fs::read_to_string(&path).expect("the file"), "precious");
    }

    #[tokio::test]
    async fn the_sockets_of_systemd_can_be_opened_again() {
        let passed = Passed {
            tcp: vec![
                StdTcpListener::bind("127.0.0.1:0").expect("a port"),
                StdTcpListener::bind("127.0.0.1:0").expect("a port"),
            ],
            unix: Vec::new(),
        };
        for _ in 0..2 {
            let listener = Listener::open(&ListenAddress::Systemd, &passed).expect("opened");
            let addresses = listener.addresses();
            assert_eq!(addresses.len(), 2);
            for address in addresses {
                let _client = TcpStream::connect(address).await.expect("connected");
                let Accepted::Tcp(stream, _) = listener.accept().await.expect("accepted") else { panic!() };
                assert_eq!(stream.local_addr().expect("an address"), address);
            }
        }
        let none = Listener::open(&ListenAddress::Systemd, &Passed::default()).expect_err("none");
        assert!(none.to_string().contains("statusd-web.socket"), "{none}");
    }

    #[test]
    fn only_addresses_that_include_each_other_overlap() {
        let address = |text: &str| text.parse().expect("an address");
        let one = address("127.0.0.1:80");
        for (other, expected) in [
            ("127.0.0.1:80", false),
            ("127.0.0.2:80", false),
            ("0.0.0.0:80", true),
            ("[::]:80", true),
            ("[::1]:80", false),
            ("0.0.0.0:81", false),
        ] {
            assert_eq!(overlap(&one, &address(other)), expected, "{other}");
            assert_eq!(overlap(&address(other), &one), expected, "{other}");
        }
    }
}
