//! Runs the real program with real signals, kills, restarts, D-Bus and database.
//!
//! Does not check wording or how the feed is evaluated. The daemon polls every second. A confirmation
//! takes 30 s of real time, so tests use a damaged database where they can, which is reported at once.
#![cfg(target_os = "linux")]

use crate::process;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::common::apple::{Apple, Response};
use crate::common::bus::{Bus, Server};
use crate::common::doc::Doc;
use crate::common::http_server::{ClosedPort, HttpServer, Reply, Request};
use crate::process::{Home, ServiceManager, configuration, contents, wait_for};
use serde_json::Value;
use statusd::status_socket;
use statusd::store::StoredDelivery;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe;

const BACKUP: &str = "iCloud Backup";
const START: i64 = 1_619_449_200;
const QUIET: &str = "[channel.desktop]\nenabled = false\n[channel.log]\nenabled = false\n";
/// Log lines of the changes themselves, at `info`.
const LOGGED: &str = "[channel.desktop]\nenabled = false\n";
const DESKTOP: &str = "[channel.log]\nenabled = false\n";
const DEBUG: &str = "[log]\nlevel = \"debug\"\n";

fn fine() -> String {
    Doc::new().service(BACKUP).service("Photos").json()
}

fn down(service: &str) -> String {
    Doc::new()
        .service(BACKUP)
        .service("Photos")
        .service(service)
        .event("1001", "Outage", "ongoing", START, None)
        .json()
}

fn over(service: &str) -> String {
    let end = Some(START + 3_600);
    Doc::new()
        .service(BACKUP)
        .service("Photos")
        .service(service)
        .event("1001", "Outage", "resolved", START, end)
        .json()
}

fn webhook(name: &str, url: &str) -> String {
    format!("[channel.webhook.{name}]\nurl = {url:?}\n")
}

fn payload(request: &Request) -> Value {
    serde_json::from_slice(&request.body).expect("JSON")
}

fn kind(request: &Request) -> String {
    payload(request)["kind"].as_str().expect("a kind").to_owned()
}

/// Returns the prefix of errors about a setting: file, line and key.
fn place(home: &Home, text: &str, key: &str, setting: &str) -> String {
    let line = text.lines().position(|line| line.starts_with(setting)).expect("the setting") + 1;
    format!("{}:{line}: {key}: ", home.path("statusd.toml").display())
}

/// Returns true for the datagram that Type=notify-reload requires: RELOADING and the time together.
fn is_reload(datagram: &str) -> bool {
    let time = datagram.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
    datagram.starts_with("RELOADING=1\n") && time.is_some_and(|time| time.parse::<u64>().is_ok())
}

#[tokio::test]
async fn starts_reloads_and_stops_while_servers_hang() {
    let apple = Apple::start().await;
    apple.respond(Response::ok(fine()).held());
    let mut peer = HttpServer::start([Reply::Never]).await;
    let home = Home::new();
    let socket = home.path("notify");
    let mut manager = ServiceManager::listen(&socket);
    let home = home.with("NOTIFY_SOCKET", socket.to_string_lossy());
    let text = configuration(BACKUP, &apple.url(), LOGGED);
    home.configure(&text);
    let mut daemon = home.start();

    let ready = manager.next().await;
    assert!(ready.starts_with("READY=1\nSTATUS="), "{ready}");
    wait_for("a poll", apple.wait_for_requests(1)).await;
    apple.show(&fine());
    apple.release();
    // If READY had waited for the feed, the status would first report a timeout.
    let first_poll = manager.next().await;
    assert!(
        first_poll.starts_with("STATUS=Apple lists no problem with iCloud Backup; polled "),
        "{first_poll}"
    );

    let bad = text.replace("jitter_s = 0", "jitter_s = 99999");
    home.configure(&bad);
    daemon.signal("HUP").await;
    let line = daemon.wait_for_log("keeping the old configuration").await;
    assert!(line.contains(&place(&home, &bad, "schedule.jitter_s", "jitter_s")), "{line}");
    let reloading = manager.wait_for("RELOADING=1").await;
    assert!(is_reload(&reloading), "{reloading}");
    let refused = manager.next().await;
    assert!(refused.starts_with("READY=1\nSTATUS=keeping the old configuration: "), "{refused}");
    let polls = apple.requests().len();
    wait_for("another poll", apple.wait_for_requests(polls + 2)).await;
    manager.wait_for("; keeping the old configuration: ").await;
    let status = home.run(&["status"]).await;
    let words = "warning: the configuration is invalid; the running daemon uses the one loaded ";
    assert!(
        status.err.contains(words) && status.err.ends_with(" ago and has rejected this one\n"),
        "{}",
        status.err
    );
    assert_eq!(status.code, Some(0), "{}", status.out);

    home.configure(&(configuration("Photos", &apple.url(), LOGGED) + &webhook("ops", &peer.url("/"))));
    daemon.signal("HUP").await;
    manager.wait_for("RELOADING=1").await;
    manager.wait_for("READY=1").await;
    apple.show(&down("Photos"));
    daemon.wait_for_log("Outage: Photos").await;
    let request = peer.next().await;
    assert_eq!((kind(&request).as_str(), &payload(&request)["service"]), ("began", &Value::from("Photos")));
    manager.wait_for("STATUS=Photos: outage; polled ").await;

    daemon.signal("TERM").await;
    manager.wait_for("STOPPING=1").await;
    let (status, log) = daemon.end().await;
    assert_eq!(status.code(), Some(0), "{log}");
    let deliveries = home.deliveries().await;
    let hung = deliveries.iter().find(|delivery| delivery.channel == "webhook.ops").expect("a delivery");
    // If the stop had waited for the receiver, the attempt would have timed out after 20 s.
    assert_eq!((hung.state.as_str(), hung.attempts, &hung.answer), ("pending", 1, &None));
    assert!(!home.state().join("statusd.sock").exists());
}

#[tokio::test]
async fn pings_the_watchdog_while_running() {
    let apple = Apple::start().await;
    apple.show(&fine());
    let home = Home::new();
    let socket = home.path("notify");
    let mut manager = ServiceManager::listen(&socket);
    let home = home.with("NOTIFY_SOCKET", socket.to_string_lossy()).with("WATCHDOG_USEC", "300000");
    home.configure(&configuration(BACKUP, &apple.url(), LOGGED));
    let daemon = home.start();
    for _ in 0..20 {
        manager.wait_for("WATCHDOG=1").await;
    }
    daemon.stop().await;
}

/// A program for the command channel that runs until released and detects overlapping runs.
struct Gate {
    directory: std::path::PathBuf,
    begun: pipe::Receiver,
    gate: pipe::Sender,
}

impl Gate {
    fn new(home: &Home) -> Gate {
        let directory = home.path("gate");
        fs::create_dir(&directory).expect("a directory");
        let fifo = |name: &str| {
            let path = directory.join(name);
            let made = std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo");
            assert!(made.success());
            path
        };
        // Both ends are open here, so that no side blocks on opening its own.
        let begun = pipe::OpenOptions::new().read_write(true).open_receiver(fifo("begun")).expect("a pipe");
        let gate = pipe::OpenOptions::new().read_write(true).open_sender(fifo("gate")).expect("a pipe");
        Gate { directory, begun, gate }
    }

    /// Returns the table `[channel.command.slow]`.
    fn table(&self, timeout_s: u64) -> String {
        let script = "cd \"$0\"; mkdir busy || touch overlap; echo >> begun; read line < gate; rmdir busy";
        let directory = self.directory.display().to_string();
        format!(
            "[channel.command.slow]\ntimeout_s = {timeout_s}\ncommand = {:?}\n",
            ["/bin/sh", "-c", script, &directory]
        )
    }

    async fn wait_until_started(&mut self) {
        wait_for("a run", self.begun.read_u8()).await.expect("a pipe");
    }

    async fn release(&mut self) {
        self.gate.write_all(b"\n").await.expect("a pipe");
    }

    fn has_overlapped(&self) -> bool {
        self.directory.join("overlap").exists()
    }
}

/// Checks that the daemon polls, answers `status` and pings the watchdog.
async fn check_alive(daemon: &process::Daemon, home: &Home, apple: &Apple, manager: &mut ServiceManager) {
    let polls = apple.requests().len();
    wait_for("polls", apple.wait_for_requests(polls + 3)).await;
    assert!(status_socket::ask(&home.state()).is_some_and(|live| live.pid == daemon.pid()));
    for _ in 0..3 {
        manager.wait_for("WATCHDOG=1").await;
    }
}

#[tokio::test]
async fn reload_does_not_wait_for_a_hanging_channel() {
    const OTHER: &str = "only = [\"liveness\"]\n";
    let apple = Apple::start().await;
    apple.show(&fine());
    let mut other = HttpServer::start([Reply::status(204)]).await;
    let home = Home::new();
    let mut gate = Gate::new(&home);
    let socket = home.path("notify");
    let mut manager = ServiceManager::listen(&socket);
    let home = home.with("NOTIFY_SOCKET", socket.to_string_lossy()).with("WATCHDOG_USEC", "300000");
    let configured = |channels: &str| {
        let alive = "[liveness]\nwhen = \"* * * * * *\"\n";
        home.configure(&configuration(BACKUP, &apple.url(), &format!("{QUIET}{alive}{channels}")));
    };
    configured(&gate.table(600));
    home.damage_database();
    let daemon = home.start();
    gate.wait_until_started().await;

    // The hanging channel is changed, removed and added again while its first run still hangs.
    let hook = webhook("other", &other.url("/")) + OTHER;
    for channels in [gate.table(599) + &hook, hook.clone(), gate.table(600) + &hook] {
        configured(&channels);
        daemon.signal("HUP").await;
        manager.wait_for("RELOADING=1").await;
        manager.wait_for("READY=1").await;
        check_alive(&daemon, &home, &apple, &mut manager).await;
        assert_eq!(kind(&other.next().await), "liveness");
    }
    assert!(!gate.has_overlapped());
    let slow = |deliveries: Vec<StoredDelivery>| {
        deliveries.into_iter().find(|delivery| delivery.channel == "command.slow").expect("a delivery")
    };
    let hanging = slow(home.deliveries().await);
    assert_eq!((hanging.state.as_str(), hanging.attempts), ("pending", 1));

    gate.release().await;
    gate.wait_until_started().await;
    let first = slow(home.deliveries().await);
    assert_eq!((first.id, first.state.as_str(), first.attempts), (hanging.id, "sent", 1));
    assert!(!gate.has_overlapped());

    // Stop while a loop of an older configuration hangs.
    configured(&hook);
    daemon.signal("HUP").await;
    manager.wait_for("READY=1").await;
    daemon.signal("TERM").await;
    let (status, log) = daemon.end().await;
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(!home.state().join("statusd.sock").exists());
}

#[tokio::test]
async fn end_replaces_the_outage_bubble_after_a_restart() {
    let (apple, bus) = (Apple::start().await, Bus::start());
    let mut server = Server::start(&bus, &["body", "body-markup", "actions"]).await;
    let home = Home::new().with("DBUS_SESSION_BUS_ADDRESS", bus.address_without_guid());
    home.configure(&configuration(BACKUP, &apple.url(), &format!("{DESKTOP}{DEBUG}")));
    let hostile = "<a href=\"https://x.example\">Tom & 'Jerry'</a>";
    let doc = Doc::new().service(BACKUP).event("1001", "Outage", "ongoing", START, None).saying(hostile);
    apple.show(&doc.json());

    let mut daemon = home.start();
    daemon.wait_for_log("desktop: delivered").await;
    let began = server.next().await;
    assert_eq!((began.urgency, began.expire, began.replaces_id), (Some(2), 0, 0), "{began:?}");
    assert_eq!(began.summary, "Outage: iCloud Backup");
    let escaped = "&lt;a href=&quot;https://x.example&quot;&gt;Tom &amp; &apos;Jerry&apos;&lt;/a&gt;";
    assert!(began.body.contains(escaped), "{}", began.body);

    daemon.signal("INT").await;
    let (status, log) = daemon.end().await;
    assert_eq!(status.code(), Some(0), "{log}");
    apple.show(&over(BACKUP));
    let mut daemon = home.start();
    daemon.wait_for_log("desktop: delivered").await;
    let ended = server.next().await;
    assert_eq!((ended.urgency, ended.replaces_id), (Some(1), began.id), "{ended:?}");
    assert_ne!(ended.sender, began.sender, "another process of statusd");
    assert_eq!(ended.summary, "Fixed: iCloud Backup");
    daemon.stop().await;
    assert!(server.is_quiet(), "one bubble for the start, one for the end");
}

#[tokio::test]
async fn kills_repeat_only_the_message_in_flight() {
    let apple = Apple::start().await;
    let mut held = HttpServer::start([Reply::Never, Reply::status(204)]).await;
    let mut late = HttpServer::start([Reply::status(204)]).await;
    let closed_port = ClosedPort::new();
    let home = Home::new();
    let held_hook = webhook("held", &held.url("/"));
    let configured = |late: &str| {
        let channels = format!("{LOGGED}{held_hook}{}{DEBUG}", webhook("late", late));
        home.configure(&configuration(BACKUP, &apple.url(), &channels));
    };
    configured(&format!("http://{}/", closed_port.address));

    // Kill between the first observation and its confirmation, which the hanging feed delays.
    apple.respond(Response::silence());
    apple.once(Response::ok(down(BACKUP)));
    let daemon = home.start();
    wait_for("a second poll", apple.wait_for_requests(2)).await;
    daemon.kill().await;
    assert!(held.is_quiet(), "an unconfirmed change is not announced");

    // Kill with one message in flight and one committed but not sent.
    apple.show(&down(BACKUP));
    let mut daemon = home.start();
    daemon.wait_for_log("webhook.late: not delivered yet").await;
    let in_flight = held.next().await;
    daemon.kill().await;

    configured(&late.url("/"));
    let mut daemon = home.start();
    // Wait until the outcomes are recorded, because an earlier kill would repeat the messages.
    let both = ["webhook.held: delivers again", "webhook.late: delivers again"];
    daemon.wait_for_logs(&both).await;
    let again = held.next().await;
    assert_eq!((in_flight.body, in_flight.headers), (again.body.clone(), again.headers.clone()));
    let began = late.next().await;
    assert_eq!([kind(&again), kind(&began)], ["began", "began"]);
    assert_eq!(began.header("idempotency-key"), again.header("idempotency-key"));
    assert_eq!(again.header("idempotency-key"), Some("consumer/en_US/icloud%20backup/1001/1/began"));
    daemon.kill().await;

    // A repeat would come before the end, which takes 30 s to confirm.
    apple.show(&over(BACKUP));
    let mut daemon = home.start();
    daemon.wait_for_logs(&["webhook.held: delivered", "webhook.late: delivered"]).await;
    assert_eq!([kind(&held.next().await), kind(&late.next().await)], ["ended", "ended"]);
    daemon.stop().await;
    assert!(held.is_quiet() && late.is_quiet());
    assert!(home.deliveries().await.iter().all(|delivery| delivery.state == "sent"));
}

#[tokio::test]
async fn rejects_a_second_daemon() {
    let apple = Apple::start().await;
    apple.show(&fine());
    let home = Home::new();
    home.configure(&configuration(BACKUP, &apple.url(), QUIET));
    let first = home.start();
    wait_for("a poll", apple.wait_for_requests(1)).await;

    let second = home.run(&["run"]).await;
    check_refusal(&second, 75, "another statusd is running on ");
    let polls = apple.requests().len();
    wait_for("another poll", apple.wait_for_requests(polls + 2)).await;
    assert!(status_socket::ask(&home.state()).is_some_and(|live| live.pid == first.pid()));
    first.stop().await;
}

#[tokio::test]
async fn rejects_unusable_input_in_one_line_without_changing_it() {
    let apple = Apple::start().await;
    apple.show(&fine());
    let home = Home::new();
    let text = configuration(BACKUP, &apple.url(), QUIET);
    home.configure(&text);
    let daemon = home.start();
    wait_for("a recorded poll", apple.wait_for_requests(2)).await;
    daemon.stop().await;

    check_refusal(&home.run(&["--no-such-flag", "run"]).await, 2, "--no-such-flag");

    let bad = text.replace("poll = \"* * * * * *\"", "poll = \"61 * * * *\"");
    home.configure(&bad);
    check_refusal(&home.run(&["run"]).await, 78, &place(&home, &bad, "schedule.poll", "poll"));

    // A directory below a file, which even root cannot create.
    home.configure(&text.replace("\"state\"", "\"statusd.toml/state\""));
    check_refusal(&home.run(&["run"]).await, 73, "cannot write ");

    home.configure(&text);
    for (pragma, words) in
        [("user_version", "upgrade statusd"), ("application_id", "is not a statusd database")]
    {
        let database = rusqlite::Connection::open(home.database()).expect("a database");
        database.pragma_update(None, pragma, 99).expect("written");
        database.close().expect("closed");
        let before = files(&home);
        check_refusal(&home.run(&["run"]).await, 78, words);
        assert_eq!(files(&home), before, "{pragma}");
    }
}

/// Returns the files without their times, because opening the database may touch them.
fn files(home: &Home) -> Vec<(String, Vec<u8>)> {
    let name = |path: &Path| path.file_name().expect("a name").to_string_lossy().into_owned();
    let contents = contents(&home.state()).expect("a readable state directory");
    contents.into_iter().map(|(path, _, bytes)| (name(&path), bytes)).collect()
}

#[track_caller]
fn check_refusal(output: &process::CommandOutput, code: i32, words: &str) {
    assert_eq!(output.code, Some(code), "{output:?}");
    assert!(output.err.starts_with("statusd: ") && output.err.contains(words), "{output:?}");
    assert_eq!((output.err.lines().count(), output.out.as_str()), (1, ""), "{output:?}");
}

#[tokio::test]
async fn keeps_a_damaged_database_and_reports_it_once() {
    let (apple, bus) = (Apple::start().await, Bus::start());
    apple.show(&fine());
    let mut server = Server::start(&bus, &["body"]).await;
    let mut peer = HttpServer::start([Reply::status(204)]).await;
    let home = Home::new().with("DBUS_SESSION_BUS_ADDRESS", bus.address_without_guid());
    let channels = format!("{DESKTOP}{}{DEBUG}", webhook("ops", &peer.url("/")));
    home.configure(&configuration(BACKUP, &apple.url(), &channels));
    let daemon = home.start();
    wait_for("a recorded poll", apple.wait_for_requests(2)).await;
    daemon.stop().await;

    let mut bytes = fs::read(home.database()).expect("a database");
    bytes[100..].fill(0xff);
    fs::write(home.database(), &bytes).expect("damaged");
    let mut daemon = home.start();
    daemon
        .wait_for_logs(&["the database was damaged (", "desktop: delivered", "webhook.ops: delivered"])
        .await;
    assert_eq!(server.next().await.summary, "statusd lost its history");
    let lost = payload(&peer.next().await);
    assert_eq!(lost["kind"], "history_lost");
    let kept = Path::new(lost["apple_text"].as_str().expect("where it is kept")).to_owned();
    assert_eq!(fs::read(&kept).expect("the damaged one"), bytes);
    let (_, stamp) = kept.to_str().expect("UTF-8").rsplit_once(".damaged-").expect("a new name");
    jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", stamp).expect("the time of the damage");
    daemon.stop().await;

    let daemon = home.start();
    let polls = apple.requests().len();
    wait_for("another poll", apple.wait_for_requests(polls + 2)).await;
    daemon.stop().await;
    assert!(server.is_quiet() && peer.is_quiet(), "reported once");
    assert!(home.deliveries().await.iter().all(|delivery| delivery.state == "sent"));
    for (file, mode) in [(home.state(), 0o700), (home.database(), 0o600), (kept, 0o600)] {
        let rights = fs::metadata(&file).expect("a file").permissions().mode() & 0o777;
        assert_eq!(rights, mode, "{}: {rights:o}", file.display());
    }
}

#[tokio::test]
async fn unchanged_poll_writes_nothing() {
    let apple = Apple::start().await;
    apple.show(&down("Photos"));
    let home = Home::new();
    home.configure(&configuration(BACKUP, &apple.url(), &format!("{QUIET}[log]\nlevel = \"warn\"\n")));
    let daemon = home.start();
    // The outage of Photos goes into the history without a notification.
    let confirmed = async {
        for polls in 1.. {
            apple.wait_for_requests(polls).await;
            if is_in_history(&home) {
                return polls;
            }
        }
        unreachable!("polls never end")
    };
    let polls = wait_for("a confirmed outage", confirmed).await;
    // The poll in progress may still have written something.
    wait_for("two more polls", apple.wait_for_requests(polls + 2)).await;
    let before = (written_bytes(daemon.pid()), contents(&home.state()).expect("files"));
    wait_for("twenty more polls", apple.wait_for_requests(polls + 22)).await;
    let after = (written_bytes(daemon.pid()), contents(&home.state()).expect("files"));
    assert!(before == after, "{} bytes written at first, then {}", before.0, after.0);
    daemon.stop().await;
}

fn is_in_history(home: &Home) -> bool {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let counted = rusqlite::Connection::open_with_flags(home.database(), flags).and_then(|database| {
        database.query_row("SELECT count(*) FROM change", [], |row| row.get::<_, u32>(0))
    });
    // At the first poll there may be no database yet.
    counted.is_ok_and(|count| count > 0)
}

/// Returns the number of bytes that a process has written to disks.
fn written_bytes(pid: u32) -> u64 {
    let io = fs::read_to_string(format!("/proc/{pid}/io")).expect("a running process of ours");
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.expect("a kernel that counts").parse().expect("a number")
}

#[tokio::test]
async fn bubble_waits_for_a_desktop_session() {
    let (apple, mut bus) = (Apple::start().await, Bus::start());
    apple.show(&fine());
    bus.kill();
    let home = Home::new().with("DBUS_SESSION_BUS_ADDRESS", bus.address_without_guid());
    home.configure(&configuration(BACKUP, &apple.url(), &format!("{DESKTOP}{DEBUG}")));
    home.damage_database();
    let mut daemon = home.start();
    let line = daemon.wait_for_log("desktop: not delivered yet, retrying: ").await;
    assert!(line.contains("check that a user is logged in"), "{line}");
    let waiting = home.run(&["outbox"]).await;
    assert_eq!(waiting.code, Some(0), "{waiting:?}");
    assert!(
        waiting.out.contains("pending") && waiting.out.contains("cannot reach the desktop session bus"),
        "{waiting:?}"
    );

    let bus = bus.restart();
    let mut server = Server::start(&bus, &["body"]).await;
    daemon.wait_for_log("desktop: delivers again").await;
    assert_eq!(server.next().await.summary, "statusd lost its history");
    daemon.stop().await;
    assert!(server.is_quiet());
}

/// The receiver's response quotes the secrets of the request.
#[tokio::test]
async fn redacts_secrets_in_logs_database_and_output() {
    const SECRETS: [&str; 3] = ["canary-bearer-71c5", "canary-signing-9f02", "canary-address-e3b8"];
    let [token, key, address] = SECRETS;
    let apple = Apple::start().await;
    apple.show(&fine());
    let quoting = format!("you sent Bearer {token} signed with {key} to /{address}");
    let quoting = Reply::status(503).with_header("retry-after", "3600").with_body(quoting);
    let mut peer = HttpServer::start([quoting]).await;
    let home = Home::new();
    fs::write(home.path("token"), format!("{token}\n")).expect("a token");
    fs::write(home.path("key"), format!("{key}\n")).expect("a key");
    let secrets = "bearer_token_file = \"token\"\nhmac_secret_file = \"key\"\n";
    let hook = webhook("ops", &peer.url(&format!("/{address}"))) + secrets;
    home.configure(&configuration(
        BACKUP,
        &apple.url(),
        &format!("{LOGGED}{hook}[log]\nlevel = \"trace\"\n"),
    ));
    home.damage_database();
    let mut daemon = home.start();

    let request = peer.next().await;
    assert_eq!(request.header("authorization"), Some(format!("Bearer {token}").as_str()));
    assert_eq!(request.target, format!("/{address}"));
    assert!(request.header("x-statusd-signature").is_some_and(|value| value.starts_with("sha256=")));
    daemon.wait_for_log("you sent Bearer ***").await;

    let mut seen = vec![("the arguments".to_owned(), arguments(daemon.pid()))];
    for arguments in
        [&["config", "show"][..], &["config", "check"], &["outbox"], &["outbox", "--json"], &["status"]]
    {
        let output = home.run(arguments).await;
        assert_eq!(output.code, Some(0), "{output:?}");
        seen.push((arguments.join(" "), (output.out + &output.err).into_bytes()));
    }
    // Read the files while the daemon runs, WAL included, and after it has stopped.
    seen.extend(files(&home));
    seen.push(("the log".to_owned(), daemon.stop().await.into_bytes()));
    seen.extend(files(&home));

    let holds = |bytes: &[u8], text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    for (place, bytes) in &seen {
        assert!(!SECRETS.iter().any(|secret| holds(bytes, secret)), "a secret in {place}");
    }
    let answer = "you sent Bearer *** signed with *** to ";
    let places = seen.iter().filter(|(_, bytes)| holds(bytes, answer)).map(|(place, _)| place.as_str());
    let places: Vec<&str> = places.collect();
    assert!(
        ["outbox --json", "the log", "statusd.db"].iter().all(|place| places.contains(place)),
        "{places:?}"
    );
}

fn arguments(pid: u32) -> Vec<u8> {
    fs::read(format!("/proc/{pid}/cmdline")).expect("a running process of ours")
}

#[tokio::test]
async fn check_uses_nagios_exit_codes() {
    let apple = Apple::start().await;
    let home = Home::new();
    home.configure(&configuration(BACKUP, &apple.url(), QUIET));
    let of_kind = |kind| Doc::new().service(BACKUP).event("1001", kind, "ongoing", START, None).json();
    for (answer, code, nagios, words) in [
        (Response::ok(fine()), 0, "OK", "iCloud Backup"),
        (Response::ok(of_kind("Issue")), 1, "WARNING", "issue"),
        (Response::ok(of_kind("Outage")), 2, "CRITICAL", "outage"),
        (Response::html(), 3, "UNKNOWN", "cannot tell"),
        (Response::status(503), 3, "UNKNOWN", "cannot tell"),
        (Response::ok(Doc::new().service("Photos").json()), 3, "UNKNOWN", "iCloud Backup"),
    ] {
        apple.respond(answer);
        let output = home.run(&["check"]).await;
        assert_eq!((output.code, output.err.as_str()), (Some(code), ""), "{output:?}");
        assert!(output.out.contains(words), "{output:?}");
        let output = home.run(&["check", "--format", "nagios"]).await;
        assert_eq!((output.code, output.out.lines().count()), (Some(code), 1), "{output:?}");
        assert!(output.out.contains(nagios), "{output:?}");
        let output = home.run(&["check", "--json"]).await;
        assert_eq!(output.code, Some(code), "{output:?}");
        serde_json::from_str::<Value>(&output.out).expect("JSON");
    }
    assert_eq!(home.run(&["check", "--no-such-flag"]).await.code, Some(3), "never 2, which is an outage");
    assert!(!home.state().exists(), "a check writes no state");
}

#[tokio::test]
async fn commands_read_the_daemons_state_and_wake_it() {
    let apple = Apple::start().await;
    apple.show(&fine());
    let mut peer = HttpServer::start([Reply::status(404), Reply::status(204)]).await;
    let home = Home::new();
    home.configure(&configuration(
        BACKUP,
        &apple.url(),
        &format!("{LOGGED}{DEBUG}{}", webhook("ops", &peer.url("/"))),
    ));
    home.damage_database();
    let mut daemon = home.start();
    daemon.wait_for_log("webhook.ops: rejected permanently").await;
    let refused = peer.next().await;
    wait_for("a poll", apple.wait_for_requests(2)).await;

    let status = home.run(&["status"]).await;
    assert_eq!(status.code, Some(0), "{status:?}");
    assert!(status.out.contains(&format!("process {}", daemon.pid())), "{status:?}");
    let status = home.run(&["status", "--json"]).await;
    let status: Value = serde_json::from_str(&status.out).expect("JSON");
    assert_eq!(status["running"]["pid"], daemon.pid());
    assert_eq!(
        (&status["deliveries"]["given_up"], &status["feed_health"]["state"]),
        (&1.into(), &"readable".into())
    );

    let outbox = home.run(&["outbox", "--json"]).await;
    let outbox: Value = serde_json::from_str(&outbox.out).expect("JSON");
    let id = outbox["deliveries"][0]["id"].to_string();
    // Only the command can wake the daemon: no delivery is due and no poll brings changes.
    let retry = home.run(&["outbox", "retry", &id]).await;
    assert_eq!(retry.code, Some(0), "{retry:?}");
    daemon.wait_for_log("webhook.ops: delivers again").await;
    let again = peer.next().await;
    assert_eq!((again.body, again.headers), (refused.body, refused.headers));
    daemon.stop().await;
    assert!(peer.is_quiet());
}

#[tokio::test]
async fn closed_output_pipe_is_not_an_error() {
    let home = Home::new();
    home.configure("");
    for arguments in
        [&["completions", "bash"][..], &["config", "show"], &["man"], &["--help"], &["--version"]]
    {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let child = home.command(arguments).stdout(writer).spawn().expect("the program starts");
        let output = wait_for("the end of the command", child.wait_with_output()).await.expect("a child");
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]), "{arguments:?}");
    }
}

/// Five other channels get both changes in the meantime, and the hanging one gets them after a restart.
#[tokio::test]
async fn hanging_channel_delays_no_other_channel() {
    let apple = Apple::start().await;
    apple.show(&down(BACKUP));
    let home = Home::new();
    let mut gate = Gate::new(&home);
    let mut others = Vec::new();
    let mut tables = gate.table(600);
    for number in 0..5 {
        let server = HttpServer::start([Reply::status(204)]).await;
        tables += &webhook(&format!("w{number}"), &server.url("/"));
        others.push(server);
    }
    home.configure(&configuration(BACKUP, &apple.url(), &(QUIET.to_owned() + &tables)));
    let daemon = home.start();
    gate.wait_until_started().await;
    for other in &mut others {
        assert_eq!(kind(&other.next().await), "began");
    }
    apple.show(&over(BACKUP));
    for other in &mut others {
        assert_eq!(kind(&other.next().await), "ended");
    }
    let slow = async || {
        let deliveries = home.deliveries().await.into_iter();
        let slow = deliveries.filter(|delivery| delivery.channel == "command.slow");
        slow.map(|delivery| (delivery.state, delivery.attempts)).collect::<Vec<_>>()
    };
    assert_eq!(slow().await, [("pending".to_owned(), 1), ("pending".to_owned(), 0)]);
    daemon.stop().await;

    // The program was killed when statusd stopped.
    fs::remove_dir(gate.directory.join("busy")).expect("the directory of the first run");
    let daemon = home.start();
    for _ in ["began", "ended"] {
        gate.wait_until_started().await;
        gate.release().await;
    }
    let all_sent = async {
        while slow().await != [("sent".to_owned(), 2), ("sent".to_owned(), 1)] {
            tokio::task::yield_now().await;
        }
    };
    wait_for("the delivery of both changes", all_sent).await;
    daemon.stop().await;
    assert!(!gate.has_overlapped());
    let deliveries = home.deliveries().await;
    assert_eq!(deliveries.len(), 6 * 2, "one row for each change and channel");
    assert!(others.iter().all(HttpServer::is_quiet));
}
