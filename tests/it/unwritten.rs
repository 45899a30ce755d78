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
use crate::process::{Daemon, Home, configuration, wait_for};
use statusd::store::{DATABASE, StoredDelivery};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Set in the mount namespace.
const MARK: &str = "STATUSD_TEST_DISK";

/// Runs the test `inner` in a mount namespace.
fn run_isolated(inner: &str) {
    let output = std::process::Command::new("unshare")
        .args(["--map-root-user", "--mount"])
        .arg(std::env::current_exe().expect("this program"))
        .args(["--exact", &format!("unwritten::{inner}"), "--ignored", "--nocapture"])
        .env(MARK, "1")
        .output()
        .expect("unshare (util-linux), installed by scripts/test");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(
        output.status.success() && out.contains("1 passed"),
        "{inner} failed in its mount namespace. If an operation was not permitted, run the tests as root or \
         allow user namespaces.\n{out}\n{err}"
    );
}

/// A small file system for the state directory, unmounted on drop.
struct Disk(PathBuf);

impl Disk {
    fn mount(home: &Home) -> Disk {
        assert!(std::env::var_os(MARK).is_some(), "only the outer test may run this test");
        fs::create_dir(home.state()).expect("a directory");
        let disk = Disk(home.state());
        disk.run(&["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs"]);
        disk
    }

    fn run(&self, command: &[&str]) {
        let status = std::process::Command::new(command[0]).args(&command[1..]).arg(&self.0).status();
        assert!(status.expect("the command starts").success(), "{command:?}");
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

/// Waits until the outcome of the only delivery is recorded.
async fn wait_until_settled(home: &Home) -> StoredDelivery {
    let settled = async {
        loop {
            let delivery = delivery(home).await;
            if delivery.state != "pending" {
                return delivery;
            }
            // A status request wakes the outbox.
            home.run(&["status"]).await;
        }
    };
    wait_for("a recorded outcome", settled).await
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

    /// Accepts the next message. Returns the connection and the key.
    async fn accept(&self) -> (TcpStream, String) {
        let (mut stream, _) = wait_for("a message", self.0.accept()).await.expect("a connection");
        let (mut request, mut buffer) = (String::new(), [0; 4096]);
        while !request.ends_with('}') {
            let read = stream.read(&mut buffer).await.expect("a request");
            assert_ne!(read, 0, "cut off: {request}");
            request += &String::from_utf8_lossy(&buffer[..read]);
        }
        let key = request.lines().find_map(|line| line.strip_prefix("idempotency-key: "));
        (stream, key.expect("a key").to_owned())
    }

    async fn respond(&self, mut stream: TcpStream) {
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.expect("a response");
    }

    /// Returns true if no client has connected since.
    fn is_quiet(&self) -> bool {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        self.0.poll_accept(&mut context).is_pending()
    }
}

async fn set_up() -> (Apple, Receiver, Home, Disk) {
    let apple = Apple::start().await;
    apple.show(&Doc::new().service("iCloud Backup").json());
    let receiver = Receiver::listen().await;
    let home = Home::new();
    home.configure(&configuration("iCloud Backup", &apple.url(), &receiver.table()));
    let disk = Disk::mount(&home);
    home.damage_database();
    (apple, receiver, home, disk)
}

/// Fills the disk during a delivery, and waits for the error. Returns the key of the message.
async fn fail_to_record(daemon: &mut Daemon, receiver: &Receiver, apple: &Apple, disk: &Disk) -> String {
    let (stream, key) = receiver.accept().await;
    // A quiet poll writes nothing; the one before may still have something to write.
    wait_for("a quiet poll", apple.wait_for_requests(apple.requests().len() + 2)).await;
    disk.fill();
    receiver.respond(stream).await;
    let line = daemon.wait_for_log("cannot record the outcome of a message").await;
    assert!(line.contains("the disk is full"), "{line}");
    key
}

#[test]
fn a_full_disk_causes_no_resend_even_after_a_reload() {
    run_isolated("a_full_disk_causes_no_resend_even_after_a_reload_inside");
}

#[tokio::test]
#[ignore = "its outer test runs it in a mount namespace"]
async fn a_full_disk_causes_no_resend_even_after_a_reload_inside() {
    let (apple, receiver, home, disk) = set_up().await;
    let mut daemon = home.start();
    fail_to_record(&mut daemon, &receiver, &apple, &disk).await;
    daemon.signal("HUP").await;
    daemon.wait_for_log("reloaded the configuration").await;
    wait_for("a poll", apple.wait_for_requests(apple.requests().len() + 1)).await;
    assert_eq!(delivery(&home).await.state, "pending");

    disk.clear();
    let delivery = wait_until_settled(&home).await;
    assert_eq!((delivery.state.as_str(), delivery.attempts), ("sent", 1));
    assert!(receiver.is_quiet());
    daemon.stop().await;
}

#[test]
fn a_stop_records_the_outcome_or_the_next_start_resends() {
    run_isolated("a_stop_records_the_outcome_or_the_next_start_resends_inside");
}

#[tokio::test]
#[ignore = "its outer test runs it in a mount namespace"]
async fn a_stop_records_the_outcome_or_the_next_start_resends_inside() {
    let (apple, receiver, home, disk) = set_up().await;
    let mut daemon = home.start();
    let key = fail_to_record(&mut daemon, &receiver, &apple, &disk).await;
    let log = daemon.stop().await;
    assert!(log.contains("stopped while a message was being sent: the next start sends it again"), "{log}");
    assert_eq!(delivery(&home).await.attempts, 1);

    disk.clear();
    let mut daemon = home.start();
    assert_eq!(fail_to_record(&mut daemon, &receiver, &apple, &disk).await, key);
    disk.clear();
    let log = daemon.stop().await;
    assert!(!log.contains("being sent"), "{log}");
    let delivery = delivery(&home).await;
    assert_eq!((delivery.state.as_str(), delivery.attempts), ("sent", 2));
    assert!(receiver.is_quiet());
}
