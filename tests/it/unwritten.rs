//! The real daemon on a full file system, where the outcome of a message cannot be recorded.
//!
//! The file system is a small tmpfs in a mount namespace. A delivered message is sent again only if
//! statusd ends before it can record the outcome.
#![cfg(target_os = "linux")]

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use crate::common::apple::Apple;
use crate::common::doc::Doc;
use crate::process::{Daemon, Home, configuration, within};
use statusd::store::{DATABASE, StoredDelivery};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Set in the mount namespace.
const MARK: &str = "STATUSD_TEST_DISK";

/// Runs the test `inner` of this test program with mounts of its own.
fn apart(inner: &str) {
    let output = std::process::Command::new("unshare")
        .args(["--map-root-user", "--mount"])
        .arg(std::env::current_exe().expect("this program"))
        .args(["--exact", &format!("unwritten::{inner}"), "--ignored", "--nocapture"])
        .env(MARK, "1")
        .output()
        .expect("unshare (util-linux) is there: scripts/test installs it");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(
        output.status.success() && out.contains("1 passed"),
        "{inner} did not pass with mounts of its own. Where it says that something is not permitted, this \
         system allows no namespaces: run the tests as root or allow user namespaces.\n{out}\n{err}"
    );
}

/// A small file system for the state directory, unmounted on drop.
struct Disk(PathBuf);

impl Disk {
    fn mount(home: &Home) -> Disk {
        assert!(std::env::var_os(MARK).is_some(), "only for its partner to run, with mounts of its own");
        fs::create_dir(home.state()).expect("a directory");
        let disk = Disk(home.state());
        disk.run(&["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs"]);
        disk
    }

    fn run(&self, words: &[&str]) {
        let status = std::process::Command::new(words[0]).args(&words[1..]).arg(&self.0).status();
        assert!(status.expect("it starts").success(), "{words:?}");
    }

    /// Fills the disk. Truncates the write-ahead log first, so that it has no space to reuse.
    fn fill(&self) {
        let database = rusqlite::Connection::open(self.0.join(DATABASE)).expect("the database");
        let truncated = database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, u32>(0));
        assert_eq!(truncated, Ok(0), "another connection writes");
        let mut file = fs::File::create(self.0.join("fill")).expect("a file");
        while file.write_all(&[0; 4096]).is_ok() {}
    }

    fn clear(&self) {
        fs::remove_file(self.0.join("fill")).expect("removed");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.run(&["umount", "--lazy"]);
    }
}

async fn delivery(home: &Home) -> StoredDelivery {
    home.deliveries().await.remove(0)
}

/// The only delivery, once its outcome is written.
async fn settled(home: &Home) -> StoredDelivery {
    let settled = async {
        loop {
            let delivery = delivery(home).await;
            if delivery.state != "pending" {
                return delivery;
            }
            // Whoever asks wakes the outbox.
            home.ask(&["status"]).await;
        }
    };
    within("a written outcome", settled).await
}

/// A webhook server that responds on request of the test.
struct Receiver(TcpListener);

impl Receiver {
    async fn listen() -> Receiver {
        Receiver(TcpListener::bind("127.0.0.1:0").await.expect("a port"))
    }

    fn table(&self) -> String {
        let address = self.0.local_addr().expect("an address");
        let quiet = "[channel.desktop]\nenabled = false\n[channel.log]\nenabled = false\n";
        format!("{quiet}[channel.webhook.slow]\nurl = \"http://{address}/\"\n")
    }

    /// The next message: the connection, and its key.
    async fn takes(&self) -> (TcpStream, String) {
        let (mut stream, _) = within("a message", self.0.accept()).await.expect("a connection");
        let (mut request, mut buffer) = (String::new(), [0; 4096]);
        while !request.ends_with('}') {
            let read = stream.read(&mut buffer).await.expect("a request");
            assert_ne!(read, 0, "cut off: {request}");
            request += &String::from_utf8_lossy(&buffer[..read]);
        }
        let key = request.lines().find_map(|line| line.strip_prefix("idempotency-key: "));
        (stream, key.expect("a key").to_owned())
    }

    async fn answers(&self, mut stream: TcpStream) {
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.expect("an answer");
    }

    /// Nobody has come since.
    fn is_left_alone(&self) -> bool {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        self.0.poll_accept(&mut context).is_pending()
    }
}

async fn stage() -> (Apple, Receiver, Home, Disk) {
    let apple = Apple::start().await;
    apple.show(&Doc::new().service("iCloud Backup").json());
    let receiver = Receiver::listen().await;
    let home = Home::new();
    home.configure(&configuration("iCloud Backup", &apple.url(), &receiver.table()));
    let disk = Disk::mount(&home);
    home.damage_database();
    (apple, receiver, home, disk)
}

/// Once the peer has taken the message and nothing can be written.
async fn unwritten(daemon: &mut Daemon, receiver: &Receiver, apple: &Apple, disk: &Disk) -> String {
    let (stream, key) = receiver.takes().await;
    // A quiet poll writes nothing; the one before may still have something to write.
    within("a quiet poll", apple.asked(apple.requests().len() + 2)).await;
    disk.fill();
    receiver.answers(stream).await;
    let line = daemon.says("cannot record the outcome of a message").await;
    assert!(line.contains("the disk is full"), "{line}");
    key
}

#[test]
fn on_a_full_disk_nothing_is_repeated_not_even_by_a_reload() {
    apart("on_a_full_disk_nothing_is_repeated_not_even_by_a_reload_inside");
}

#[tokio::test]
#[ignore = "its partner runs it"]
async fn on_a_full_disk_nothing_is_repeated_not_even_by_a_reload_inside() {
    let (apple, receiver, home, disk) = stage().await;
    let mut daemon = home.start();
    unwritten(&mut daemon, &receiver, &apple, &disk).await;
    daemon.signal("HUP").await;
    daemon.says("the configuration was read anew").await;
    within("a poll", apple.asked(apple.requests().len() + 1)).await;
    assert_eq!(delivery(&home).await.state, "pending");

    disk.clear();
    let delivery = settled(&home).await;
    assert_eq!((delivery.state.as_str(), delivery.attempts), ("sent", 1));
    assert!(receiver.is_left_alone());
    daemon.stop().await;
}

#[test]
fn a_stop_writes_what_can_be_written_and_otherwise_the_same_message_comes_again() {
    apart("a_stop_writes_what_can_be_written_and_otherwise_the_same_message_comes_again_inside");
}

#[tokio::test]
#[ignore = "its partner runs it"]
async fn a_stop_writes_what_can_be_written_and_otherwise_the_same_message_comes_again_inside() {
    let (apple, receiver, home, disk) = stage().await;
    let mut daemon = home.start();
    let key = unwritten(&mut daemon, &receiver, &apple, &disk).await;
    let log = daemon.stop().await;
    assert!(log.contains("stopped with a message on its way: the next start sends it again"), "{log}");
    assert_eq!(delivery(&home).await.attempts, 1);

    disk.clear();
    let mut daemon = home.start();
    assert_eq!(unwritten(&mut daemon, &receiver, &apple, &disk).await, key);
    disk.clear();
    let log = daemon.stop().await;
    assert!(!log.contains("on its way"), "{log}");
    let delivery = delivery(&home).await;
    assert_eq!((delivery.state.as_str(), delivery.attempts), ("sent", 2));
    assert!(receiver.is_left_alone());
}
