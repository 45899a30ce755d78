//! The feed through a SOCKS proxy, with the real program: `ALL_PROXY=socks5h://…`.
//!
//! Errors name the proxy only if the proxy failed. Nothing leaves this computer: for every name, the
//! proxy connects to the feed of the test.
#![cfg(target_os = "linux")]

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::{fs, thread};

use crate::common::apple::{Apple, Response, ServerCert};
use crate::common::doc::Doc;
use tempfile::TempDir;

const HOST: &str = "feed.example";
const BACKUP: &str = "iCloud Backup";
const SECRET: &str = "hunter2";

/// The behaviour of the proxy (RFC 1928, RFC 1929).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Behaviour {
    Connects,
    /// Requires the password [`SECRET`].
    RequiresLogin,
    /// Accepts no offered authentication method.
    RejectsMethods,
    /// Rejects the connection by its ruleset.
    DeniesConnection,
}

/// Starts a SOCKS 5 server in front of `feed`. The receiver returns the requested host names.
fn proxy(behaviour: Behaviour, feed: SocketAddr) -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let (requested, names) = channel();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let requested = requested.clone();
            // Some tests close the connection early, so errors are ignored.
            thread::spawn(move || serve(&client, behaviour, feed, &requested));
        }
    });
    (address, names)
}

fn read(mut client: &TcpStream, length: u8) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::from(length)];
    client.read_exact(&mut bytes).map(|()| bytes)
}

fn serve(
    mut client: &TcpStream,
    behaviour: Behaviour,
    feed: SocketAddr,
    requested: &Sender<String>,
) -> io::Result<()> {
    let offered = read(client, 2)?[1];
    read(client, offered)?;
    match behaviour {
        Behaviour::RejectsMethods => return client.write_all(&[5, 0xff]),
        Behaviour::RequiresLogin => {
            client.write_all(&[5, 2])?;
            let user = read(client, 2)?[1];
            read(client, user)?;
            let length = read(client, 1)?[0];
            let is_known = read(client, length)? == SECRET.as_bytes();
            client.write_all(&[1, u8::from(!is_known)])?;
            if !is_known {
                return Ok(());
            }
        }
        Behaviour::Connects | Behaviour::DeniesConnection => client.write_all(&[5, 0])?,
    }
    let length = read(client, 5)?[4];
    let name = read(client, length)?;
    read(client, 2)?;
    let reply = if behaviour == Behaviour::DeniesConnection { 2 } else { 0 };
    client.write_all(&[5, reply, 0, 1, 0, 0, 0, 0, 0, 0])?;
    if reply == 0 {
        let _ = requested.send(String::from_utf8_lossy(&name).into_owned());
        relay(client, &TcpStream::connect(feed)?)?;
    }
    Ok(())
}

/// Copies bytes in both directions until both ends have closed the connection.
fn relay(client: &TcpStream, feed: &TcpStream) -> io::Result<()> {
    let (mut from, mut to) = (client.try_clone()?, feed.try_clone()?);
    let up = thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
    let (mut from, mut to) = (feed, client);
    let _ = io::copy(&mut from, &mut to);
    let _ = client.shutdown(Shutdown::Both);
    let _ = up.join();
    Ok(())
}

struct Fixture {
    home: TempDir,
    apple: Apple,
}

impl Fixture {
    /// Starts a feed with one outage and a certificate for [`HOST`].
    async fn new() -> Fixture {
        let apple = Apple::start_tls(ServerCert::ValidFor(HOST)).await;
        let down = Doc::new().service(BACKUP).event("1001", "Outage", "ongoing", 1_619_449_200, None);
        apple.show(&down.json());
        let home = TempDir::new().expect("a directory");
        fs::write(home.path().join("ca.pem"), apple.authority_pem()).expect("written");
        Fixture { home, apple }
    }

    /// Returns the address of the feed, and its URL with the name that only the proxy resolves.
    fn feed(&self) -> (SocketAddr, String) {
        let url = self.apple.url();
        let rest = url.strip_prefix("https://").expect("https");
        let (address, path) = rest.split_once('/').expect("a path");
        let address: SocketAddr = address.parse().expect("an address");
        (address, format!("https://{HOST}:{}/{path}", address.port()))
    }

    /// Runs `statusd check` through this proxy. Returns the exit code and all output.
    fn check(&self, proxy: &str) -> (Option<i32>, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_statusd"));
        command
            .args(["check", "--feed-url", &self.feed().1, "--ca-file"])
            .arg(self.home.path().join("ca.pem"));
        command.env_clear().env("HOME", self.home.path()).env("TZ", "UTC").env("ALL_PROXY", proxy);
        let output = command.stdin(Stdio::null()).output().expect("statusd starts");
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).expect("UTF-8"))
    }
}

#[tokio::test]
async fn fetches_the_feed_through_a_socks_proxy() {
    let fixture = Fixture::new().await;
    let (address, names) = proxy(Behaviour::Connects, fixture.feed().0);
    let (code, output) = fixture.check(&format!("socks5h://{address}"));
    assert_eq!(code, Some(2), "{output}");
    assert_eq!(names.recv().expect("a connection"), HOST, "the proxy resolves the name");
    assert_eq!(fixture.apple.requests().len(), 1);

    let (address, names) = proxy(Behaviour::RequiresLogin, fixture.feed().0);
    let (code, output) = fixture.check(&format!("socks5h://anna:{SECRET}@{address}"));
    assert_eq!((code, names.recv().as_deref()), (Some(2), Ok(HOST)), "{output}");
}

#[tokio::test]
async fn reports_failures_of_the_socks_proxy() {
    let fixture = Fixture::new().await;
    let feed = fixture.feed().0;
    let closed = TcpListener::bind("127.0.0.1:0").and_then(|gone| gone.local_addr()).expect("a port");
    for (case, proxy) in [
        ("no method", format!("socks5h://{}", proxy(Behaviour::RejectsMethods, feed).0)),
        (
            "a wrong password",
            format!("socks5h://anna:wrong-{SECRET}@{}", proxy(Behaviour::RequiresLogin, feed).0),
        ),
        ("ruleset", format!("socks5h://{}", proxy(Behaviour::DeniesConnection, feed).0)),
        ("nothing listens", format!("socks5h://{closed}")),
    ] {
        let (code, output) = fixture.check(&proxy);
        assert_eq!(code, Some(3), "{case}: {output}");
        assert!(output.contains("the proxy") && output.contains("ALL_PROXY"), "{case}: {output}");
        assert!(!output.contains(SECRET), "{case}: {output}");
        for word in ["socks proxy", "tunnel", "hyper", "error"] {
            assert!(!output.contains(word), "{case}: {output}");
        }
    }
    assert!(fixture.apple.requests().is_empty());
}

#[tokio::test]
async fn does_not_blame_the_socks_proxy_for_the_feed() {
    let fixture = Fixture::new().await;
    let (address, _names) = proxy(Behaviour::Connects, fixture.feed().0);
    let address = format!("socks5h://{address}");
    fixture.apple.respond(Response::status(503));
    let (code, output) = fixture.check(&address);
    assert_eq!(code, Some(3), "{output}");
    assert!(output.contains("503") && !output.contains("proxy"), "{output}");

    let other = Fixture { apple: Apple::start_tls(ServerCert::WrongHost).await, ..fixture };
    fs::write(other.home.path().join("ca.pem"), other.apple.authority_pem()).expect("written");
    let (address, _names) = proxy(Behaviour::Connects, other.feed().0);
    let (code, output) = other.check(&format!("socks5h://{address}"));
    assert_eq!(code, Some(3), "{output}");
    assert!(output.contains("certificate") && !output.contains("proxy"), "{output}");
}
