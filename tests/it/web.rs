//! The web listener of the real program: who is answered, limits, reloads, sockets, health and metrics.
//!
//! `web_api` checks the documents, `src/web/page/tests.rs` the pages.
#![cfg(target_os = "linux")]

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::arrows::sources;
use crate::common::apple::Apple;
use crate::common::doc::Doc;
use crate::common::http_server::{HttpServer, Reply};
use crate::process::{Daemon, Home, configuration, contents, wait_for};
use serde_json::Value;
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixStream};

const BACKUP: &str = "iCloud Backup";
const START: i64 = 1_619_449_200;
const QUIET: &str = "[channel.desktop]\nenabled = false\n[channel.log]\nenabled = false\n";
const LISTENING: &str = "web: listening on ";
/// A value for each parameter of an address.
const PARAMETERS: [(&str, &str); 4] = [
    ("{slug}", "icloud-backup"),
    ("{file}", "icloud-backup.svg"),
    ("{*document}", "status.json"),
    ("{*key}", "consumer/en_US/x"),
];

/// A response with its head in lower case.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")))
    }
}

/// Sends bytes and returns everything that the server sends until it closes the connection.
async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &[u8]) -> String {
    let mut answer = Vec::new();
    let whole = async {
        // The server may close the connection before it has read everything.
        let _refused = stream.write_all(request).await;
        while let Ok(1..) = stream.read_buf(&mut answer).await {}
    };
    wait_for("the end of the connection", whole).await;
    String::from_utf8_lossy(&answer).into_owned()
}

async fn raw(address: SocketAddr, request: &str) -> String {
    exchange(TcpStream::connect(address).await.expect("connected"), request.as_bytes()).await
}

fn parsed(text: &str) -> Answer {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no response: {text:?}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

/// Requests a path with additional lines of the head.
async fn request(address: SocketAddr, method: &str, path: &str, lines: &str) -> Answer {
    let head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{lines}\r\n");
    let mut stream = TcpStream::connect(address).await.expect("connected");
    if path.starts_with("/api/v1/events") && method == "GET" {
        // It does not end.
        stream.write_all(head.as_bytes()).await.expect("sent");
        let mut answer = Vec::new();
        while !answer.windows(4).any(|window| window == b"\r\n\r\n") {
            wait_for("a head", stream.read_buf(&mut answer)).await.expect("a head");
        }
        return parsed(&String::from_utf8_lossy(&answer));
    }
    parsed(&exchange(stream, head.as_bytes()).await)
}

async fn get(address: SocketAddr, path: &str) -> Answer {
    request(address, "GET", path, "").await
}

fn fine() -> String {
    Doc::new().service(BACKUP).service("Photos").json()
}

fn down() -> String {
    let services = Doc::new().service("Photos").service(BACKUP);
    services.event("1001", "Outage", "ongoing", START, None).json()
}

/// Returns a configuration with the lines of `[web]`, quick polls and no message.
fn with_web(apple: &Apple, lines: &str) -> String {
    configuration(BACKUP, &apple.url(), &format!("{QUIET}[web]\n{lines}"))
}

/// Waits for the log line about the listener and returns its address.
async fn listening(daemon: &mut Daemon) -> SocketAddr {
    let line = daemon.wait_for_log(LISTENING).await;
    let (_, address) = line.split_once("http://").expect("an address");
    address.split([',', ' ']).next().unwrap_or_default().parse().expect("an address")
}

/// Starts a daemon that polls a fine feed, with these lines of `[web]` and a free port.
async fn start(lines: &str) -> (Apple, Home, Daemon, SocketAddr) {
    let apple = Apple::start().await;
    apple.show(&fine());
    let home = Home::new();
    home.configure(&with_web(&apple, &format!("listen = \"127.0.0.1:0\"\n{lines}")));
    let mut daemon = home.start();
    let address = listening(&mut daemon).await;
    (apple, home, daemon, address)
}

async fn until_ready(address: SocketAddr) {
    let ready = async {
        while get(address, "/readyz").await.status != 200 {
            tokio::task::yield_now().await;
        }
    };
    wait_for("the first poll", ready).await;
}

/// Returns every address in the sources, with a value for each parameter.
fn routes() -> BTreeSet<String> {
    let web = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/web");
    let mut found = BTreeSet::new();
    for (_, code) in sources(&web) {
        let code: String = code.split_whitespace().collect();
        for path in code.split(".route(\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            let filled =
                PARAMETERS.iter().fold(path.to_owned(), |path, (name, value)| path.replace(name, value));
            assert!(!filled.contains('{'), "PARAMETERS needs a value for {filled}");
            found.insert(filled);
        }
    }
    assert!(found.len() >= 6 && found.contains("/metrics"), "{found:?}");
    found
}

#[tokio::test]
async fn every_route_only_reads_and_has_all_headers() {
    let (_apple, home, daemon, address) = start("").await;
    until_ready(address).await;
    daemon.signal("STOP").await;
    let before = contents(&home.state()).expect("the state");
    daemon.signal("CONT").await;
    let mut addresses = routes();
    addresses.insert("/nothing/here".to_owned());
    for path in addresses {
        let answer = get(address, &path).await;
        assert!(answer.status < 500 || answer.status == 503, "{path}: {answer:?}");
        let policy = answer.header("content-security-policy").expect("a policy");
        assert!(policy.starts_with("default-src 'none'; "), "{path}: {policy}");
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"), "{path}");
        assert!(answer.header("content-type").is_some(), "{path}");
        assert!(answer.header("cache-control").is_some(), "{path}");
        for absent in ["server", "set-cookie", "x-powered-by", "access-control-allow-credentials"] {
            assert_eq!(answer.header(absent), None, "{path}");
        }
        let head = request(address, "HEAD", &path, "").await;
        assert_eq!((head.status, head.body.as_str()), (answer.status, ""), "{path}");
        for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"] {
            let refused = request(address, method, &path, "content-length: 0\r\n").await;
            assert_eq!(
                (refused.status, refused.header("allow")),
                (405, Some("get, head")),
                "{method} {path}"
            );
        }
    }
    daemon.signal("STOP").await;
    let is_database = |(path, ..): &(PathBuf, _, _)| path.ends_with("statusd.db");
    let database =
        |files: Vec<(PathBuf, std::time::SystemTime, Vec<u8>)>| files.into_iter().find(is_database);
    assert_eq!(
        database(contents(&home.state()).expect("the state")),
        database(before),
        "a request has written"
    );
    daemon.signal("CONT").await;
    daemon.stop().await;
}

/// Each connection gets one response, with this status, or is closed.
#[tokio::test]
async fn ambiguous_requests_are_rejected() {
    let (_apple, _home, daemon, address) = start("").await;
    until_ready(address).await;
    let host = "host: localhost\r\n";
    let long = "x".repeat(9_000);
    let many: String = (0..70).map(|number| format!("x-{number}: y\r\n")).collect();
    let smuggled = "GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n";
    for (name, request, expected) in [
        ("no host", "GET / HTTP/1.1\r\nconnection: close\r\n\r\n".to_owned(), "421"),
        (
            "two hosts",
            format!("GET / HTTP/1.1\r\n{host}host: evil.example\r\nconnection: close\r\n\r\n"),
            "421",
        ),
        (
            "foreign host",
            "GET / HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n".to_owned(),
            "421",
        ),
        (
            "absolute foreign",
            format!("GET http://evil.example/ HTTP/1.1\r\n{host}connection: close\r\n\r\n"),
            "421",
        ),
        (
            "absolute",
            "GET http://localhost/livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_owned(),
            "200",
        ),
        ("authority", format!("CONNECT localhost:80 HTTP/1.1\r\n{host}connection: close\r\n\r\n"), "405"),
        ("asterisk", format!("OPTIONS * HTTP/1.1\r\n{host}connection: close\r\n\r\n"), "405"),
        ("1.0", format!("GET /livez HTTP/1.0\r\n{host}\r\n"), "200"),
        ("0.9", "GET /livez\r\n\r\n".to_owned(), "400"),
        ("2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), ""),
        (
            "body",
            format!("GET / HTTP/1.1\r\n{host}content-length: {}\r\n\r\n{smuggled}", smuggled.len()),
            "413",
        ),
        (
            "chunks",
            format!("GET / HTTP/1.1\r\n{host}transfer-encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"),
            "413",
        ),
        (
            "chunks and length",
            format!(
                "GET / HTTP/1.1\r\n{host}content-length: 6\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"
            ),
            "413",
        ),
        (
            "two lengths",
            format!("GET / HTTP/1.1\r\n{host}content-length: 0\r\ncontent-length: 44\r\n\r\n{smuggled}"),
            "400",
        ),
        (
            "odd encoding",
            format!("GET / HTTP/1.1\r\n{host}transfer-encoding: xchunked\r\n\r\n{smuggled}"),
            "400",
        ),
        ("negative length", format!("GET / HTTP/1.1\r\n{host}content-length: -1\r\n\r\n"), "400"),
        ("blank before colon", format!("GET / HTTP/1.1\r\n{host}x : y\r\n\r\n"), "400"),
        ("folded", format!("GET / HTTP/1.1\r\n{host}x: y\r\n z\r\n\r\n"), "400"),
        ("NUL", format!("GET / HTTP/1.1\r\n{host}x: a\0b\r\n\r\n"), "400"),
        ("long head", format!("GET / HTTP/1.1\r\n{host}x: {long}\r\n\r\n"), "431"),
        ("many fields", format!("GET / HTTP/1.1\r\n{host}{many}\r\n"), "431"),
        (
            "long address",
            format!("GET /{} HTTP/1.1\r\n{host}connection: close\r\n\r\n", &long[..3_000]),
            "414",
        ),
        ("dots", format!("GET /../../etc/passwd HTTP/1.1\r\n{host}connection: close\r\n\r\n"), "404"),
        (
            "encoded dots",
            format!("GET /%2e%2e%2fetc%2fpasswd HTTP/1.1\r\n{host}connection: close\r\n\r\n"),
            "404",
        ),
        ("two slashes", format!("GET //evil.example/ HTTP/1.1\r\n{host}connection: close\r\n\r\n"), "404"),
        ("TLS", "\x16\x03\x01\x02\0\x01\0\x01\r\n\r\n".to_owned(), "400"),
    ] {
        let answer = raw(address, &request).await;
        let statuses: Vec<&str> =
            answer.split("HTTP/1.").skip(1).filter_map(|response| response.get(2..5)).collect();
        assert_eq!(statuses.join(" "), expected, "{name}: {answer}");
    }
    let one = "GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let last = "GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let answer = raw(address, &[one, one, last].concat()).await;
    assert_eq!(answer.matches("HTTP/1.1 200 ").count(), 3, "{answer}");
    daemon.stop().await;
}

#[tokio::test]
async fn tokens_open_the_pages_and_a_reload_changes_them() {
    let apple = Apple::start().await;
    apple.show(&fine());
    let home = Home::new();
    std::fs::write(home.path("token"), "f1rst\n").expect("written");
    std::fs::write(home.path("scrape"), "scr4pe\n").expect("written");
    let lines = "listen = \"127.0.0.1:0\"\ntoken_file = \"token\"\nmetrics_token_file = \"scrape\"\n";
    home.configure(&with_web(&apple, lines));
    let mut daemon = home.start();
    let address = listening(&mut daemon).await;
    until_ready(address).await;
    let status = async |path: &str, token: &str| {
        request(address, "GET", path, &format!("authorization: Bearer {token}\r\n")).await.status
    };
    assert_eq!(get(address, "/").await.status, 401);
    assert!(
        get(address, "/").await.header("www-authenticate").is_some_and(|value| value.starts_with("basic "))
    );
    assert_eq!(status("/", "f1rst").await, 200);
    assert_eq!((status("/metrics", "f1rst").await, status("/metrics", "scr4pe").await), (401, 200));
    assert_eq!((get(address, "/livez").await.status, get(address, "/readyz").await.status), (200, 200));

    std::fs::write(home.path("token"), "sec0nd\n").expect("written");
    daemon.signal("HUP").await;
    daemon.wait_for_log("reloaded the configuration").await;
    assert_eq!((status("/", "f1rst").await, status("/", "sec0nd").await), (401, 200));
    daemon.stop().await;
}

#[tokio::test]
async fn a_reload_changes_the_address_and_loses_no_poll() {
    let (apple, home, mut daemon, first) = start("").await;
    until_ready(first).await;
    let reload = async |daemon: &mut Daemon, lines: &str| {
        home.configure(&with_web(&apple, lines));
        daemon.signal("HUP").await;
    };
    // The same port on another address, which the system refuses while the old one is open.
    reload(&mut daemon, &format!("listen = \"0.0.0.0:{}\"\nallow_remote = true\n", first.port())).await;
    let line = daemon.wait_for_log(LISTENING).await;
    assert!(line.contains("other machines can reach; without token_file, all of them may read"), "{line}");
    assert_eq!(get(first, "/livez").await.status, 200);

    // An address in use keeps the old one.
    let taken = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let taken_address = taken.local_addr().expect("an address");
    reload(&mut daemon, &format!("listen = \"{taken_address}\"\n")).await;
    let line = daemon.wait_for_log("keeping the old configuration").await;
    let words = format!("cannot listen on http://{taken_address}: ");
    assert!(line.contains(&words) && line.ends_with("change listen in the table [web]"), "{line}");
    assert_eq!(get(first, "/livez").await.status, 200);
    let metrics = get(first, "/metrics").await.body;
    assert!(metrics.contains("\nstatusd_config_last_reload_successful 0\n"), "{metrics}");

    // The same configuration goes on with open connections.
    reload(&mut daemon, &format!("listen = \"0.0.0.0:{}\"\nallow_remote = true\n", first.port())).await;
    let mut kept = TcpStream::connect(first).await.expect("connected");
    kept.write_all(b"GET /livez HTTP/1.1\r\n").await.expect("sent");
    daemon.wait_for_log("reloaded the configuration").await;
    let answer = exchange(kept, b"host: localhost\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");

    home.configure(&configuration(BACKUP, &apple.url(), QUIET));
    daemon.signal("HUP").await;
    daemon.wait_for_log("reloaded the configuration").await;
    let closed = async {
        while TcpStream::connect(first).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    wait_for("the end of the listener", closed).await;
    let polls = apple.requests().len();
    wait_for("another poll", apple.wait_for_requests(polls + 1)).await;
    daemon.stop().await;
}

#[tokio::test]
async fn an_address_in_use_is_an_error_at_the_start() {
    let apple = Apple::start().await;
    let taken = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = taken.local_addr().expect("an address");
    let home = Home::new();
    home.configure(&with_web(&apple, &format!("listen = \"{address}\"\n")));
    let output = home.run(&["run"]).await;
    assert_eq!(output.code, Some(1), "{output:?}");
    let words = format!("statusd: cannot listen on http://{address}: ");
    let line = output.err.lines().last().unwrap_or_default();
    assert!(line.starts_with(&words) && line.ends_with("; change listen in the table [web]"), "{output:?}");
}

#[tokio::test]
async fn a_socket_in_the_file_system_is_removed_at_the_stop_and_replaced_after_a_kill() {
    let apple = Apple::start().await;
    apple.show(&fine());
    let home = Home::new();
    let socket = home.path("web.sock");
    home.configure(&with_web(&apple, &format!("listen = \"unix:{}\"\n", socket.display())));
    let live = async || {
        let stream = UnixStream::connect(&socket).await.expect("connected");
        exchange(stream, b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await
    };
    let mut daemon = home.start();
    daemon.wait_for_log(LISTENING).await;
    assert_eq!(std::fs::metadata(&socket).expect("a socket").permissions().mode() & 0o777, 0o660);
    assert!(live().await.starts_with("HTTP/1.1 200 "));
    daemon.kill().await;
    assert!(socket.exists(), "a killed daemon leaves it");

    let mut daemon = home.start();
    daemon.wait_for_log(LISTENING).await;
    assert!(live().await.starts_with("HTTP/1.1 200 "));
    let ready = async { while home.run(&["check-health"]).await.code != Some(0) {} };
    wait_for("the first poll", ready).await;
    daemon.stop().await;
    assert!(!socket.exists());
    let output = home.run(&["check-health"]).await;
    assert_eq!(output.code, Some(1), "{output:?}");
    let words = format!("statusd: cannot reach unix:{}: ", socket.display());
    assert!(output.err.starts_with(&words), "{output:?}");
}

#[tokio::test]
async fn a_socket_of_systemd_survives_reloads() {
    let apple = Apple::start().await;
    apple.show(&fine());
    let home = Home::new();
    home.configure(&with_web(&apple, "listen = \"systemd\"\n"));
    let address = TcpListener::bind("127.0.0.1:0").await.and_then(|free| free.local_addr()).expect("a port");
    let variables = [("STATUSD_CONFIG", home.path("statusd.toml")), ("HOME", home.path(""))];
    let mut command = tokio::process::Command::new("systemd-socket-activate");
    command.arg(format!("--listen={address}"));
    for (name, value) in variables {
        command.arg(format!("--setenv={name}={}", value.display()));
    }
    command.args([env!("CARGO_BIN_EXE_statusd"), "run"]).stderr(Stdio::piped()).kill_on_drop(true);
    let Ok(mut daemon) = command.spawn() else {
        println!("skipped: systemd-socket-activate is missing (Debian's package systemd)");
        return;
    };
    let mut log = BufReader::new(daemon.stderr.take().expect("piped")).lines();
    let mut logged = async |words: &str| {
        let found = async {
            while let Some(line) = log.next_line().await.expect("a log") {
                if line.contains(words) {
                    return;
                }
            }
            panic!("the daemon has ended");
        };
        wait_for(words, found).await;
    };
    logged("Listening on").await;
    // The first connection starts statusd.
    assert_eq!(get(address, "/livez").await.status, 200);
    logged(LISTENING).await;
    let reload = async || {
        let kill = Command::new("kill").args(["-HUP", &daemon.id().expect("it runs").to_string()]).status();
        assert!(kill.expect("kill").success());
    };
    home.configure(&with_web(&apple, "listen = \"systemd\"\nhosts = [\"status.example\"]\n"));
    reload().await;
    logged("reloaded the configuration").await;
    assert_eq!(get(address, "/").await.status, 200);
    home.configure(&configuration(BACKUP, &apple.url(), QUIET));
    reload().await;
    logged("reloaded the configuration").await;
    // The socket stays open, so that the connection waits.
    let waiting = tokio::spawn(async move { get(address, "/livez").await });
    home.configure(&with_web(&apple, "listen = \"systemd\"\n"));
    reload().await;
    assert_eq!(waiting.await.expect("no panic").status, 200);
    // Programs that statusd starts do not inherit it, and no second process takes it.
    assert!(TcpListener::bind(address).await.is_err());
}

#[tokio::test]
async fn check_health_tells_whether_the_daemon_is_ready() {
    let apple = Apple::start().await;
    apple.respond(crate::common::apple::Response::silence());
    let home = Home::new();
    home.configure(&with_web(&apple, "listen = \"127.0.0.1:0\"\n"));
    let mut daemon = home.start();
    let address = listening(&mut daemon).await;
    let url = format!("http://{address}");
    let output = home.run(&["check-health", "--url", &url]).await;
    assert_eq!(output.code, Some(1), "{output:?}");
    assert_eq!(output.err, "statusd: statusd is not ready: first poll failed: not done yet\n");
    assert_eq!(get(address, "/livez").await.status, 200, "a slow Apple is no reason for a restart");
    let verbose = get(address, "/readyz?verbose").await;
    assert_eq!(verbose.status, 503);
    assert_eq!(verbose.body, "[+]loops ok\n[+]database ok\n[-]first poll failed: not done yet\nfailed\n");

    // An unreadable feed does not make statusd unready.
    apple.respond(crate::common::apple::Response::status(500));
    apple.release();
    until_ready(address).await;
    let output = home.run(&["check-health", "--url", &url]).await;
    assert_eq!((output.code, output.out.as_str(), output.err.as_str()), (Some(0), "ok\n", ""));
    let wrong = home.run(&["check-health", "--url", &format!("{url}/nothing")]).await;
    assert_eq!(wrong.code, Some(1), "{wrong:?}");
    let wrong = home.run(&["check-health", "--url", "https://127.0.0.1"]).await;
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
    daemon.stop().await;

    home.configure(&configuration(BACKUP, &apple.url(), QUIET));
    let off = home.run(&["check-health"]).await;
    assert_eq!(off.code, Some(78), "{off:?}");
    assert_eq!(off.err, "statusd: the configuration has no table [web]: add it, or give --url\n");
}

#[tokio::test]
async fn no_answer_and_no_log_contains_a_secret() {
    let apple = Apple::start().await;
    apple.show(&fine());
    // Its answer is in the outbox.
    let refusal = Reply::status(400).with_body("c4n4ry-answer");
    let server = HttpServer::start([refusal]).await;
    let home = Home::new();
    std::fs::write(home.path("token"), "c4n4ry-token\n").expect("written");
    std::fs::write(home.path("scrape"), "c4n4ry-scrape\n").expect("written");
    let channel = format!(
        "[channel.webhook.c4n4ry-name]\nurl = {:?}\nbearer_token = \"c4n4ry-bearer\"\n",
        server.url("/c4n4ry-path")
    );
    // A damaged database is announced at once, with its path.
    home.damage_database();
    let lines = format!(
        "listen = \"127.0.0.1:0\"\ntoken_file = \"token\"\nmetrics_token_file = \"scrape\"\n{channel}\
         [log]\nlevel = \"trace\"\n"
    );
    home.configure(&with_web(&apple, &lines));
    let mut daemon = home.start();
    let address = listening(&mut daemon).await;
    until_ready(address).await;
    let refused = async {
        while !home.deliveries().await.iter().any(|delivery| delivery.state == "given_up") {
            tokio::task::yield_now().await;
        }
    };
    wait_for("the refusal", refused).await;
    let directory = home.path("").display().to_string();
    for path in routes().into_iter().chain(["/nothing".to_owned()]) {
        for query in ["", "?verbose", "?all=1&limit=500", "?token=c4n4ry-token"] {
            for token in ["c4n4ry-token", "c4n4ry-scrape", "wrong"] {
                let lines = format!("authorization: Bearer {token}\r\naccept: text/html\r\n");
                let answer = request(address, "GET", &format!("{path}{query}"), &lines).await;
                let mut text = format!("{}\n{}", answer.head, answer.body);
                if path == "/metrics" && answer.status == 200 {
                    // Alerts name the channel.
                    assert!(text.contains("channel=\"webhook.c4n4ry-name\""), "{text}");
                    text = text.replace("webhook.c4n4ry-name", "");
                }
                assert!(!text.contains("c4n4ry") && !text.contains(&directory), "{path}{query}: {text}");
            }
        }
    }
    let log = daemon.stop().await;
    assert!(log.contains("web: 200 in "), "the log has requests:\n{log}");
    for secret in ["c4n4ry-token", "c4n4ry-scrape", "c4n4ry-bearer"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

#[tokio::test]
async fn slow_clients_lock_no_other_client_out() {
    const SLOW: u32 = 5_000;
    let server = HttpServer::start([Reply::status(204)]).await;
    let apple = Apple::start().await;
    apple.show(&fine());
    let home = Home::new();
    let channel = format!("[channel.webhook.ops]\nurl = {:?}\n", server.url("/"));
    home.configure(&with_web(&apple, &format!("listen = \"127.0.0.1:0\"\n{channel}")));
    let mut daemon = home.start();
    let address = listening(&mut daemon).await;
    until_ready(address).await;
    println!("resident before: {} KiB", resident_kib(daemon.pid()));

    // 78 addresses with 64 connections each, and one more.
    let mut slow = Vec::new();
    for number in 0..SLOW {
        let local = Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 0).to_bits() + 1 + number / 64);
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::new(IpAddr::V4(local), 0)).expect("a local address");
        let mut stream = socket.connect(address).await.expect("connected");
        let _closed = stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nx-slow: ").await;
        slow.push(stream);
        if number % 500 == 499 {
            assert_eq!(get(address, "/").await.status, 200, "after {number} slow clients");
        }
    }
    println!("resident during: {} KiB, with {SLOW} slow clients", resident_kib(daemon.pid()));
    let polls = apple.requests().len();
    apple.show(&down());
    wait_for("more polls", apple.wait_for_requests(polls + 2)).await;
    for _ in 0..20 {
        assert_eq!(get(address, "/").await.status, 200);
    }
    // The confirmation of the outage takes 30 s.
    let delivered = async {
        while home.deliveries().await.iter().all(|delivery| delivery.state != "sent") {
            assert_eq!(get(address, "/livez").await.status, 200);
        }
    };
    wait_for("a delivery", delivered).await;
    // One address has at most 64.
    let open = open_connections(daemon.pid());
    assert!(open <= 512 + 64, "{open} open files");
    drop(slow);
    assert_eq!(get(address, "/").await.status, 200);
    println!("resident after: {} KiB", resident_kib(daemon.pid()));
    daemon.stop().await;
}

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the field");
    line.split_whitespace().next().and_then(|kib| kib.parse().ok()).expect("a number")
}

fn open_connections(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).expect("a process").count()
}

#[tokio::test]
async fn counts_of_outages_survive_a_restart() {
    let (apple, home, daemon, address) = start("").await;
    until_ready(address).await;
    apple.show(&down());
    let line = "statusd_service_outages_total{feed=\"consumer/en_US\",service=\"iCloud Backup\"} 1\n";
    let labels = "feed=\"consumer/en_US\",service=\"iCloud Backup\"";
    let start = format!("statusd_service_outage_start_timestamp_seconds{{{labels}}} {START}\n");
    let lines = [
        line,
        &format!("statusd_service_state{{{labels},state=\"outage\"}} 1\n"),
        &format!("statusd_service_state{{{labels},state=\"ok\"}} 0\n"),
        &start,
    ];
    let counted = async {
        loop {
            let metrics = get(address, "/metrics").await.body;
            if lines.iter().all(|line| metrics.contains(line)) {
                return;
            }
        }
    };
    wait_for("the outage", counted).await;
    daemon.stop().await;
    let mut daemon = home.start();
    let address = listening(&mut daemon).await;
    until_ready(address).await;
    let metrics = get(address, "/metrics").await.body;
    assert!(metrics.contains(line), "{metrics}");
    daemon.stop().await;
}

/// Returns true if a program of the package `prometheus` is there. `scripts/test` installs it.
fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_err() {
        println!("skipped: {program} is missing (Debian's package prometheus)");
    }
    found.is_ok()
}

fn promtool(arguments: &[&str], input: &str) {
    use std::io::Write as _;
    let mut child = Command::new("promtool")
        .args(arguments)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/prometheus"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool starts");
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("the end");
    let text = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{arguments:?}: {}\n{input}", String::from_utf8_lossy(&text));
}

#[test]
fn the_alerting_rules_pass_their_tests() {
    if has("promtool") {
        promtool(&["check", "rules", "alerts.yml"], "");
        promtool(&["test", "rules", "alerts_test.yml"], "");
    }
}

/// Returns the names of the metrics in the documentation.
fn documented_metrics() -> BTreeSet<String> {
    let text = include_str!("../../docs/web.md");
    let words = text.split('`').skip(1).step_by(2);
    let is_metric = |word: &&str| {
        (word.starts_with("statusd_") || word.starts_with("process_"))
            && word.chars().all(|c| c.is_ascii_lowercase() || c == '_')
    };
    words.filter(is_metric).map(str::to_owned).collect()
}

#[tokio::test]
async fn metrics_are_documented_and_pass_the_checks_of_prometheus() {
    let server = HttpServer::start([Reply::status(204)]).await;
    let (apple, home, daemon, address) = start("").await;
    daemon.stop().await;
    home.damage_database();
    let channel = format!("[channel.webhook.ops]\nurl = {:?}\n", server.url("/"));
    home.configure(&with_web(&apple, &format!("listen = \"{address}\"\n{channel}")));
    let mut daemon = home.start();
    let address = listening(&mut daemon).await;
    until_ready(address).await;
    let answer = get(address, "/metrics").await;
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let named: BTreeSet<String> = answer
        .body
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next().map(str::to_owned))
        .collect();
    assert_eq!(named, documented_metrics());
    let sent = "statusd_delivery_attempts_total{channel=\"webhook.ops\",result=\"sent\"} 1\n";
    let counted = async {
        while !get(address, "/metrics").await.body.contains(sent) {
            tokio::task::yield_now().await;
        }
    };
    wait_for("an attempt", counted).await;
    if has("promtool") {
        promtool(&["check", "metrics"], &get(address, "/metrics").await.body);
    }
    daemon.stop().await;
}

/// A Prometheus that scrapes statusd once a second. Killed when dropped.
struct Prometheus {
    program: std::process::Child,
    address: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _dead = self.program.kill();
        let _gone = self.program.wait();
    }
}

impl Prometheus {
    async fn start(target: SocketAddr) -> Prometheus {
        let directory = tempfile::tempdir().expect("a directory");
        let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/prometheus/alerts.yml");
        let config = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: [{rules:?}]\nscrape_configs:\n\
             - job_name: statusd\n  authorization: {{ credentials: scr4pe }}\n  static_configs: [{{ targets: [\"{target}\"] }}]\n"
        );
        let file = directory.path().join("prometheus.yml");
        std::fs::write(&file, config).expect("written");
        // Prometheus does not tell its port, so choose one.
        let address =
            TcpListener::bind("127.0.0.1:0").await.and_then(|free| free.local_addr()).expect("a port");
        let program = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus starts");
        Prometheus { program, address, _directory: directory }
    }

    /// Returns an answer of its API; `None` while it starts.
    async fn api(&self, path: &str) -> Option<Value> {
        let stream = TcpStream::connect(self.address).await.ok()?;
        let head = format!("GET /api/v1/{path} HTTP/1.0\r\nhost: localhost\r\n\r\n");
        let answer = exchange(stream, head.as_bytes()).await;
        serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
    }

    async fn query(&self, query: &str) -> Option<Value> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        self.api(&format!("query?query={encoded}")).await
    }
}

#[tokio::test]
async fn a_real_prometheus_scrapes_statusd() {
    if !has("prometheus") {
        return;
    }
    let apple = Apple::start().await;
    apple.show(&fine());
    let home = Home::new();
    std::fs::write(home.path("scrape"), "scr4pe\n").expect("written");
    home.configure(&with_web(&apple, "listen = \"127.0.0.1:0\"\nmetrics_token_file = \"scrape\"\n"));
    let mut daemon = home.start();
    let address = listening(&mut daemon).await;
    until_ready(address).await;
    let prometheus = Prometheus::start(address).await;
    let state = "statusd_service_state{state=\"ok\"} and on (instance) up == 1";
    let scraped = async {
        loop {
            let answer = prometheus.query(state).await.unwrap_or_default();
            if answer["data"]["result"][0]["value"][1] == "1" {
                return answer["data"]["result"][0]["metric"].clone();
            }
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    };
    let labels = wait_for("a scrape", scraped).await;
    assert_eq!((&labels["service"], &labels["feed"]), (&Value::from(BACKUP), &Value::from("consumer/en_US")));
    let rules = prometheus.api("rules").await.expect("the rules");
    assert_eq!(rules["data"]["groups"][0]["rules"].as_array().map(Vec::len), Some(5), "{rules}");

    // Every query of the dashboard is valid, and names only metrics that exist.
    let dashboard: Value =
        serde_json::from_str(include_str!("../../contrib/grafana/statusd.json")).expect("JSON");
    let mut queries = 0;
    for panel in dashboard["panels"].as_array().expect("panels") {
        for target in panel["targets"].as_array().expect("targets") {
            let query = target["expr"].as_str().expect("a query");
            let filled = query.replace("$feed", ".*").replace("$service", ".*");
            let answer = prometheus.query(&filled).await.expect("an answer");
            assert_eq!(answer["status"], "success", "{query}: {answer}");
            let known = documented_metrics();
            let names = query.split(|c: char| !c.is_alphanumeric() && c != '_');
            for name in names.filter(|name| name.starts_with("statusd_")) {
                let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
                assert!(known.contains(family.unwrap_or(name)), "{query}: {name}");
            }
            queries += 1;
        }
    }
    assert!(queries >= 8, "{queries} queries");
    daemon.stop().await;
}
