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

use crate::common::apple::{Answer, Apple, Papers};
use crate::common::doc::Doc;
use tempfile::TempDir;

const HOST: &str = "feed.example";
const BACKUP: &str = "iCloud Backup";
const SECRET: &str = "hunter2";

/// The behaviour of the proxy (RFC 1928, RFC 1929).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    Connects,
    /// Takes this password alone.
    WantsLogin,
    /// Knows no way to log in that the client offers.
    TakesNobody,
    /// Not allowed by its rules.
    Forbids,
}

/// A SOCKS 5 server before `feed`. The names that it connected for come out of the receiver.
fn proxy(manner: Manner, feed: SocketAddr) -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let (tell, names) = channel();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let tell = tell.clone();
            // A client that hangs up early is what some tests are about.
            thread::spawn(move || serve(&client, manner, feed, &tell));
        }
    });
    (address, names)
}

fn read(mut client: &TcpStream, length: u8) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::from(length)];
    client.read_exact(&mut bytes).map(|()| bytes)
}

fn serve(mut client: &TcpStream, manner: Manner, feed: SocketAddr, tell: &Sender<String>) -> io::Result<()> {
    let offered = read(client, 2)?[1];
    read(client, offered)?;
    match manner {
        Manner::TakesNobody => return client.write_all(&[5, 0xff]),
        Manner::WantsLogin => {
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
        Manner::Connects | Manner::Forbids => client.write_all(&[5, 0])?,
    }
    let length = read(client, 5)?[4];
    let name = read(client, length)?;
    read(client, 2)?;
    let reply = if manner == Manner::Forbids { 2 } else { 0 };
    client.write_all(&[5, reply, 0, 1, 0, 0, 0, 0, 0, 0])?;
    if reply == 0 {
        let _ = tell.send(String::from_utf8_lossy(&name).into_owned());
        join(client, &TcpStream::connect(feed)?)?;
    }
    Ok(())
}

/// Carries bytes in both directions until both ends have hung up.
fn join(client: &TcpStream, feed: &TcpStream) -> io::Result<()> {
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

struct World {
    home: TempDir,
    apple: Apple,
}

impl World {
    /// A feed whose certificate is good for [`HOST`], and one outage in it.
    async fn new() -> World {
        let apple = Apple::start_tls(Papers::Of(HOST)).await;
        let down = Doc::new().service(BACKUP).event("1001", "Outage", "ongoing", 1_619_449_200, None);
        apple.show(&down.json());
        let home = TempDir::new().expect("a directory");
        fs::write(home.path().join("ca.pem"), apple.authority_pem()).expect("written");
        World { home, apple }
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
        let output = command.stdin(Stdio::null()).output().expect("it starts");
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).expect("UTF-8"))
    }
}

#[tokio::test]
async fn a_check_reaches_the_feed_through_a_socks_proxy() {
    let world = World::new().await;
    let (address, names) = proxy(Manner::Connects, world.feed().0);
    let (code, words) = world.check(&format!("socks5h://{address}"));
    assert_eq!(code, Some(2), "{words}");
    assert_eq!(names.recv().expect("a connection"), HOST, "the proxy looks the name up");
    assert_eq!(world.apple.requests().len(), 1);

    let (address, names) = proxy(Manner::WantsLogin, world.feed().0);
    let (code, words) = world.check(&format!("socks5h://anna:{SECRET}@{address}"));
    assert_eq!((code, names.recv().as_deref()), (Some(2), Ok(HOST)), "{words}");
}

#[tokio::test]
async fn a_socks_proxy_is_blamed_for_what_it_does() {
    let world = World::new().await;
    let feed = world.feed().0;
    let closed = TcpListener::bind("127.0.0.1:0").and_then(|gone| gone.local_addr()).expect("a port");
    for (what, proxy) in [
        ("no login", format!("socks5h://{}", proxy(Manner::TakesNobody, feed).0)),
        ("a wrong password", format!("socks5h://anna:wrong-{SECRET}@{}", proxy(Manner::WantsLogin, feed).0)),
        ("its rules", format!("socks5h://{}", proxy(Manner::Forbids, feed).0)),
        ("nothing listens", format!("socks5h://{closed}")),
    ] {
        let (code, words) = world.check(&proxy);
        assert_eq!(code, Some(3), "{what}: {words}");
        assert!(words.contains("the proxy ") && words.contains("ALL_PROXY"), "{what}: {words}");
        assert!(!words.contains(SECRET), "{what}: {words}");
        for word in ["socks proxy", "tunnel", "hyper", "error"] {
            assert!(!words.contains(word), "{what}: {words}");
        }
    }
    assert!(world.apple.requests().is_empty());
}

#[tokio::test]
async fn a_socks_proxy_is_not_blamed_for_the_feed() {
    let world = World::new().await;
    let (address, _names) = proxy(Manner::Connects, world.feed().0);
    let address = format!("socks5h://{address}");
    world.apple.answer(Answer::status(503));
    let (code, words) = world.check(&address);
    assert_eq!(code, Some(3), "{words}");
    assert!(words.contains("503") && !words.contains("proxy"), "{words}");

    let other = World { apple: Apple::start_tls(Papers::WrongHost).await, ..world };
    fs::write(other.home.path().join("ca.pem"), other.apple.authority_pem()).expect("written");
    let (address, _names) = proxy(Manner::Connects, other.feed().0);
    let (code, words) = other.check(&format!("socks5h://{address}"));
    assert_eq!(code, Some(3), "{words}");
    assert!(words.contains("certificate") && !words.contains("proxy"), "{words}");
}
