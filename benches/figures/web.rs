//! The web listener: memory, requests a second, slow clients, a long history.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::common::apple::Apple;
use super::common::doc::Doc;
use super::common::seeded_store::{outage, seed};
use super::{Daemon, spread, start, status_kb};

const CLIENTS: usize = 8;
const REQUESTS: usize = 2_000;
const SLOW_CLIENTS: u32 = 5_000;
const OUTAGES: i64 = 100_000;
/// Enough for the process of slow clients. The shell's limit may be lower: `ulimit -n 20000`.
const SINGLE_REQUESTS: usize = 500;
const REQUEST_END: &[u8] = b"\r\n\r\n";

pub async fn figures() {
    let apple = Apple::start().await;
    let doc = (0..79).fold(Doc::new(), |doc, number| doc.service(&format!("Service number {number}")));
    apple.show(&doc.service("iCloud Backup").json());
    let folder = tempfile::tempdir().expect("a folder");
    memory_without(&apple, &folder.path().join("without")).await;
    let (daemon, address) = listening(&apple, &folder.path().join("with")).await;
    let pid = daemon.child.id();
    println!(
        "web, resident        {:.2} MB with [web], before a request",
        status_kb(pid, "VmRSS") * 1.024e-3
    );
    for path in ["/", "/metrics"] {
        let body = request(address, path).await;
        println!("web, {path:<15} {} bytes, {:.0} requests a second", body, throughput(address, path).await);
    }
    println!("web, resident        {:.2} MB after these requests", status_kb(pid, "VmRSS") * 1.024e-3);
    println!("web, new connections {}", spread(latencies(address, "/").await));
    slow_clients(pid, address).await;
    long_history(&apple, &folder.path().join("long")).await;
}

fn config(apple: &Apple, web: &str) -> String {
    format!(
        "[feed]\nurl = {:?}\n[schedule]\npoll = \"* * * * * *\"\njitter_s = 0\n[channel.desktop]\n\
         enabled = false\n[log]\nlevel = \"error\"\n{web}",
        apple.url()
    )
}

async fn memory_without(apple: &Apple, directory: &Path) {
    let before = apple.requests().len();
    let daemon = start(directory, &config(apple, ""));
    apple.wait_for_requests(before + 5).await;
    println!("web, resident        {:.2} MB without [web]", status_kb(daemon.child.id(), "VmRSS") * 1.024e-3);
}

/// Starts a daemon with a free port and waits for its fifth poll.
async fn listening(apple: &Apple, directory: &Path) -> (Daemon, SocketAddr) {
    let address = TcpListener::bind("127.0.0.1:0").await.and_then(|free| free.local_addr()).expect("a port");
    let before = apple.requests().len();
    let daemon = start(directory, &config(apple, &format!("[web]\nlisten = \"{address}\"\n")));
    apple.wait_for_requests(before + 5).await;
    (daemon, address)
}

/// Sends a request on an open connection and returns the length of the body.
async fn ask(stream: &mut TcpStream, path: &str) -> usize {
    let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    let body_at = loop {
        assert_ne!(stream.read_buf(&mut answer).await.expect("an answer"), 0, "closed");
        if let Some(at) = answer.windows(4).position(|window| window == REQUEST_END) {
            break at + REQUEST_END.len();
        }
    };
    let head = String::from_utf8_lossy(&answer[..body_at]).to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.and_then(|length| length.parse().ok()).expect("a length");
    while answer.len() < body_at + length {
        assert_ne!(stream.read_buf(&mut answer).await.expect("a body"), 0, "closed");
    }
    length
}

async fn request(address: SocketAddr, path: &str) -> usize {
    ask(&mut TcpStream::connect(address).await.expect("connected"), path).await
}

/// Requests a second over a few connections that stay open. The daemon uses one core.
async fn throughput(address: SocketAddr, path: &'static str) -> f64 {
    let begun = Instant::now();
    let client = async || {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        for _ in 0..REQUESTS / CLIENTS {
            ask(&mut stream, path).await;
        }
    };
    let (a, b, c, d, e, f, g, h) =
        (client(), client(), client(), client(), client(), client(), client(), client());
    tokio::join!(a, b, c, d, e, f, g, h);
    REQUESTS as f64 / begun.elapsed().as_secs_f64()
}

/// Seconds from connecting to the end of the response, one after another.
async fn latencies(address: SocketAddr, path: &str) -> Vec<f64> {
    let mut found = Vec::new();
    for _ in 0..SINGLE_REQUESTS {
        let begun = Instant::now();
        request(address, path).await;
        found.push(begun.elapsed().as_secs_f64());
    }
    found
}

fn p99(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() * 99 / 100] * 1e3
}

/// Clients that never finish the head of their request, from 79 addresses. A closed one connects again.
async fn slow_clients(pid: u32, address: SocketAddr) {
    let mut slow = Vec::new();
    for number in 0..SLOW_CLIENTS {
        let local = Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 0).to_bits() + 1 + number / 64);
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::new(IpAddr::V4(local), 0)).expect("a local address");
        let mut stream = socket.connect(address).await.expect("connected");
        let _closed = stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nx: ").await;
        slow.push(stream);
    }
    let found = latencies(address, "/").await;
    println!("web, {SLOW_CLIENTS} slow      {}, p99 {:.1} ms", spread(found.clone()), p99(found));
    println!("web, resident        {:.2} MB meanwhile", status_kb(pid, "VmRSS") * 1.024e-3);
    drop(slow);
    tokio::time::sleep(Duration::from_secs(1)).await;
    println!("web, resident        {:.2} MB afterwards", status_kb(pid, "VmRSS") * 1.024e-3);
}

/// A hundred thousand outages in ten years, each with a change.
async fn long_history(apple: &Apple, directory: &Path) {
    let now = Timestamp::now();
    let from = now - SignedDuration::from_hours(24 * 3_650);
    let outages = (0..OUTAGES).map(|number| {
        let start = from + SignedDuration::from_secs(number * 3_150);
        let service = if number % 40 == 0 { "iCloud Backup" } else { "Service number 7" };
        outage(service, &number.to_string(), start, Some(start + SignedDuration::from_mins(30)))
    });
    let services = ["iCloud Backup", "Service number 7"];
    seed(&directory.join("state"), &services, outages.collect(), from, now).await;
    let database = rusqlite::Connection::open(directory.join("state/statusd.db")).expect("the database");
    let changes =
        "INSERT INTO change (key, at, seen_at, kind, feed, service, service_key, message_id, occurrence,
            serial, outage_kind, began_at, ended_at, message, near)
        SELECT service_key || message_id, first_seen_at, first_seen_at, 'missed', feed, service, service_key,
            message_id, occurrence, 1, kind, began_at, ended_at, '', '[]' FROM outage";
    database.execute(changes, []).expect("written");
    drop(database);
    let (_daemon, address) = listening(apple, directory).await;
    for path in ["/", "/metrics"] {
        let begun = Instant::now();
        request(address, path).await;
        let first = begun.elapsed().as_secs_f64() * 1e3;
        println!(
            "web, {OUTAGES} outages {path}: first {first:.1} ms, then {}",
            spread(latencies(address, path).await)
        );
    }
}
