//! Runs the real program with real signals, kills, restarts, D-Bus and database.
//!
//! Does not check wording or how the feed is evaluated. The daemon polls every second. A confirmation
//! takes 30 s of real time, so tests use a damaged database where they can, which is reported at once.
#![cfg(target_os = "linux")]

use crate::process;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::common::apple::{Answer, Apple};
use crate::common::bus::{Bus, Server};
use crate::common::doc::Doc;
use crate::common::http_server::{HttpServer, Nobody, Reply, Request};
use crate::process::{Home, Manager, configuration, contents, within};
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
    let moment = datagram.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
    datagram.starts_with("RELOADING=1\n") && moment.is_some_and(|moment| moment.parse::<u64>().is_ok())
}

#[tokio::test]
async fn it_is_ready_without_an_answer_reloads_and_stops_while_a_peer_hangs() {
    let apple = Apple::start().await;
    apple.answer(Answer::ok(fine()).held());
    let mut peer = HttpServer::start([Reply::Never]).await;
    let home = Home::new();
    let socket = home.path("notify");
    let mut manager = Manager::listen(&socket);
    let home = home.with("NOTIFY_SOCKET", socket.to_string_lossy());
    let text = configuration(BACKUP, &apple.url(), LOGGED);
    home.configure(&text);
    let mut daemon = home.start();

    let ready = manager.next().await;
    assert!(ready.starts_with("READY=1\nSTATUS="), "{ready}");
    within("a look", apple.asked(1)).await;
    apple.show(&fine());
    apple.release();
    // Had it waited for Apple, there would first be word of an answer that did not come.
    let first_look = manager.next().await;
    assert!(
        first_look.starts_with("STATUS=Apple lists no problem with iCloud Backup; polled "),
        "{first_look}"
    );

    let bad = text.replace("jitter_s = 0", "jitter_s = 99999");
    home.configure(&bad);
    daemon.signal("HUP").await;
    let line = daemon.says("the old configuration stays").await;
    assert!(line.contains(&place(&home, &bad, "schedule.jitter_s", "jitter_s")), "{line}");
    let reloading = manager.hears("RELOADING=1").await;
    assert!(is_reload(&reloading), "{reloading}");
    let refused = manager.next().await;
    assert!(refused.starts_with("READY=1\nSTATUS=the old configuration stays: "), "{refused}");
    let looks = apple.requests().len();
    within("another look", apple.asked(looks + 2)).await;
    manager.hears("; the old configuration stays: ").await;
    let asked = home.ask(&["status"]).await;
    let words = "warning: the configuration is broken; the running daemon works with what it read ";
    assert!(
        asked.err.contains(words) && asked.err.ends_with(" ago and has refused this one\n"),
        "{}",
        asked.err
    );
    assert_eq!(asked.code, Some(0), "{}", asked.out);

    home.configure(&(configuration("Photos", &apple.url(), LOGGED) + &webhook("ops", &peer.url("/"))));
    daemon.signal("HUP").await;
    manager.hears("RELOADING=1").await;
    manager.hears("READY=1").await;
    apple.show(&down("Photos"));
    daemon.says("Outage: Photos").await;
    let request = peer.next().await;
    assert_eq!((kind(&request).as_str(), &payload(&request)["service"]), ("began", &Value::from("Photos")));
    manager.hears("STATUS=Photos: outage; polled ").await;

    daemon.signal("TERM").await;
    manager.hears("STOPPING=1").await;
    let (status, log) = daemon.end().await;
    assert_eq!(status.code(), Some(0), "{log}");
    let deliveries = home.deliveries().await;
    let hung = deliveries.iter().find(|delivery| delivery.channel == "webhook.ops").expect("a delivery");
    // If the stop had waited for the receiver, the attempt would have timed out after 20 s.
    assert_eq!((hung.state.as_str(), hung.attempts, &hung.answer), ("pending", 1, &None));
    assert!(!home.state().join("statusd.sock").exists());
}

#[tokio::test]
async fn the_watchdog_hears_of_it_while_it_goes_on() {
    let apple = Apple::start().await;
    apple.show(&fine());
    let home = Home::new();
    let socket = home.path("notify");
    let mut manager = Manager::listen(&socket);
    let home = home.with("NOTIFY_SOCKET", socket.to_string_lossy()).with("WATCHDOG_USEC", "300000");
    home.configure(&configuration(BACKUP, &apple.url(), LOGGED));
    let daemon = home.start();
    for _ in 0..20 {
        manager.hears("WATCHDOG=1").await;
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

    /// `[channel.command.slow]`
    fn table(&self, within_s: u64) -> String {
        let script = "cd \"$0\"; mkdir busy || touch overlap; echo >> begun; read line < gate; rmdir busy";
        let directory = self.directory.display().to_string();
        format!(
            "[channel.command.slow]\nwithin_s = {within_s}\ncommand = {:?}\n",
            ["/bin/sh", "-c", script, &directory]
        )
    }

    async fn has_begun(&mut self) {
        within("a run", self.begun.read_u8()).await.expect("a pipe");
    }

    async fn let_go(&mut self) {
        self.gate.write_all(b"\n").await.expect("a pipe");
    }

    fn has_overlapped(&self) -> bool {
        self.directory.join("overlap").exists()
    }
}

/// That it polls, answers `status` and pings.
async fn goes_on(daemon: &process::Daemon, home: &Home, apple: &Apple, manager: &mut Manager) {
    let looks = apple.requests().len();
    within("polls", apple.asked(looks + 3)).await;
    assert!(status_socket::ask(&home.state()).is_some_and(|live| live.pid == daemon.pid()));
    for _ in 0..3 {
        manager.hears("WATCHDOG=1").await;
    }
}

#[tokio::test]
async fn a_reload_while_a_channel_hangs_waits_for_nothing_and_one_loop_works_on_it() {
    const OTHER: &str = "only = [\"liveness\"]\n";
    let apple = Apple::start().await;
    apple.show(&fine());
    let mut other = HttpServer::start([Reply::status(204)]).await;
    let home = Home::new();
    let mut gate = Gate::new(&home);
    let socket = home.path("notify");
    let mut manager = Manager::listen(&socket);
    let home = home.with("NOTIFY_SOCKET", socket.to_string_lossy()).with("WATCHDOG_USEC", "300000");
    let configured = |channels: &str| {
        let alive = "[liveness]\nwhen = \"* * * * * *\"\n";
        home.configure(&configuration(BACKUP, &apple.url(), &format!("{QUIET}{alive}{channels}")));
    };
    configured(&gate.table(600));
    home.damage_database();
    let daemon = home.start();
    gate.has_begun().await;

    // The hanging channel is changed, removed and added again while its first run still hangs.
    let hook = webhook("other", &other.url("/")) + OTHER;
    for channels in [gate.table(599) + &hook, hook.clone(), gate.table(600) + &hook] {
        configured(&channels);
        daemon.signal("HUP").await;
        manager.hears("RELOADING=1").await;
        manager.hears("READY=1").await;
        goes_on(&daemon, &home, &apple, &mut manager).await;
        assert_eq!(kind(&other.next().await), "liveness");
    }
    assert!(!gate.has_overlapped());
    let slow = |deliveries: Vec<StoredDelivery>| {
        deliveries.into_iter().find(|delivery| delivery.channel == "command.slow").expect("a delivery")
    };
    let hanging = slow(home.deliveries().await);
    assert_eq!((hanging.state.as_str(), hanging.attempts), ("pending", 1));

    gate.let_go().await;
    gate.has_begun().await;
    let first = slow(home.deliveries().await);
    assert_eq!((first.id, first.state.as_str(), first.attempts), (hanging.id, "sent", 1));
    assert!(!gate.has_overlapped());

    // Stop while a loop of an older configuration hangs.
    configured(&hook);
    daemon.signal("HUP").await;
    manager.hears("READY=1").await;
    daemon.signal("TERM").await;
    let (status, log) = daemon.end().await;
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(!home.state().join("statusd.sock").exists());
}

#[tokio::test]
async fn an_outage_is_one_bubble_and_its_end_replaces_it_after_a_restart() {
    let (apple, bus) = (Apple::start().await, Bus::start());
    let mut server = Server::start(&bus, &["body", "body-markup", "actions"]).await;
    let home = Home::new().with("DBUS_SESSION_BUS_ADDRESS", bus.address_without_guid());
    home.configure(&configuration(BACKUP, &apple.url(), &format!("{DESKTOP}{DEBUG}")));
    let hostile = "<a href=\"https://x.example\">Tom & 'Jerry'</a>";
    let doc = Doc::new().service(BACKUP).event("1001", "Outage", "ongoing", START, None).saying(hostile);
    apple.show(&doc.json());

    let mut daemon = home.start();
    daemon.says("desktop: delivered").await;
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
    daemon.says("desktop: delivered").await;
    let ended = server.next().await;
    assert_eq!((ended.urgency, ended.replaces_id), (Some(1), began.id), "{ended:?}");
    assert_ne!(ended.sender, began.sender, "another run of statusd");
    assert_eq!(ended.summary, "Fixed: iCloud Backup");
    daemon.stop().await;
    assert!(server.is_quiet(), "one bubble for the start, one for the end");
}

#[tokio::test]
async fn killed_at_any_step_it_tells_all_once_and_only_what_was_in_flight_twice() {
    let apple = Apple::start().await;
    let mut held = HttpServer::start([Reply::Never, Reply::status(204)]).await;
    let mut late = HttpServer::start([Reply::status(204)]).await;
    let nobody = Nobody::new();
    let home = Home::new();
    let held_hook = webhook("held", &held.url("/"));
    let configured = |late: &str| {
        let channels = format!("{LOGGED}{held_hook}{}{DEBUG}", webhook("late", late));
        home.configure(&configuration(BACKUP, &apple.url(), &channels));
    };
    configured(&format!("http://{}/", nobody.address));

    // Between the first sight and the confirmation, which Apple's silence holds off.
    apple.answer(Answer::silence());
    apple.once(Answer::ok(down(BACKUP)));
    let daemon = home.start();
    within("a second look", apple.asked(2)).await;
    daemon.kill().await;
    assert!(held.is_quiet(), "nobody is told of what was seen once");

    // Kill with one message in flight and one committed but not sent.
    apple.show(&down(BACKUP));
    let mut daemon = home.start();
    daemon.says("webhook.late: not delivered yet").await;
    let in_flight = held.next().await;
    daemon.kill().await;

    configured(&late.url("/"));
    let mut daemon = home.start();
    // Wait until the outcomes are recorded, because an earlier kill would repeat the messages.
    let both = ["webhook.held: delivers again", "webhook.late: delivers again"];
    daemon.says_all(&both).await;
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
    daemon.says_all(&["webhook.held: delivered", "webhook.late: delivered"]).await;
    assert_eq!([kind(&held.next().await), kind(&late.next().await)], ["ended", "ended"]);
    daemon.stop().await;
    assert!(held.is_quiet() && late.is_quiet());
    assert!(home.deliveries().await.iter().all(|delivery| delivery.state == "sent"));
}

#[tokio::test]
async fn a_second_daemon_is_refused_and_the_first_goes_on() {
    let apple = Apple::start().await;
    apple.show(&fine());
    let home = Home::new();
    home.configure(&configuration(BACKUP, &apple.url(), QUIET));
    let first = home.start();
    within("a look", apple.asked(1)).await;

    let second = home.ask(&["run"]).await;
    check_refusal(&second, 75, "another statusd is running on ");
    let looks = apple.requests().len();
    within("another look", apple.asked(looks + 2)).await;
    assert!(status_socket::ask(&home.state()).is_some_and(|live| live.pid == first.pid()));
    first.stop().await;
}

#[tokio::test]
async fn what_it_cannot_work_with_is_refused_in_one_line_and_left_alone() {
    let apple = Apple::start().await;
    apple.show(&fine());
    let home = Home::new();
    let text = configuration(BACKUP, &apple.url(), QUIET);
    home.configure(&text);
    let daemon = home.start();
    within("a look that was written", apple.asked(2)).await;
    daemon.stop().await;

    check_refusal(&home.ask(&["--no-such-flag", "run"]).await, 2, "--no-such-flag");

    let bad = text.replace("poll = \"* * * * * *\"", "poll = \"61 * * * *\"");
    home.configure(&bad);
    check_refusal(&home.ask(&["run"]).await, 78, &place(&home, &bad, "schedule.poll", "poll"));

    // A directory below a file, which even root cannot create.
    home.configure(&text.replace("\"state\"", "\"statusd.toml/state\""));
    check_refusal(&home.ask(&["run"]).await, 73, "cannot write ");

    home.configure(&text);
    for (pragma, words) in
        [("user_version", "upgrade statusd"), ("application_id", "is not a statusd database")]
    {
        let database = rusqlite::Connection::open(home.database()).expect("a database");
        database.pragma_update(None, pragma, 99).expect("written");
        database.close().expect("closed");
        let before = files(&home);
        check_refusal(&home.ask(&["run"]).await, 78, words);
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
fn check_refusal(said: &process::Said, code: i32, words: &str) {
    assert_eq!(said.code, Some(code), "{said:?}");
    assert!(said.err.starts_with("statusd: ") && said.err.contains(words), "{said:?}");
    assert_eq!((said.err.lines().count(), said.out.as_str()), (1, ""), "{said:?}");
}

#[tokio::test]
async fn a_damaged_database_is_kept_and_told_of_once() {
    let (apple, bus) = (Apple::start().await, Bus::start());
    apple.show(&fine());
    let mut server = Server::start(&bus, &["body"]).await;
    let mut peer = HttpServer::start([Reply::status(204)]).await;
    let home = Home::new().with("DBUS_SESSION_BUS_ADDRESS", bus.address_without_guid());
    let channels = format!("{DESKTOP}{}{DEBUG}", webhook("ops", &peer.url("/")));
    home.configure(&configuration(BACKUP, &apple.url(), &channels));
    let daemon = home.start();
    within("a look that was written", apple.asked(2)).await;
    daemon.stop().await;

    let mut bytes = fs::read(home.database()).expect("a database");
    bytes[100..].fill(0xff);
    fs::write(home.database(), &bytes).expect("damaged");
    let mut daemon = home.start();
    daemon.says_all(&["the database was damaged (", "desktop: delivered", "webhook.ops: delivered"]).await;
    assert_eq!(server.next().await.summary, "statusd lost its history");
    let lost = payload(&peer.next().await);
    assert_eq!(lost["kind"], "history_lost");
    let kept = Path::new(lost["apple_text"].as_str().expect("where it is kept")).to_owned();
    assert_eq!(fs::read(&kept).expect("the damaged one"), bytes);
    let (_, stamp) = kept.to_str().expect("UTF-8").rsplit_once(".damaged-").expect("a new name");
    jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", stamp).expect("the time of the damage");
    daemon.stop().await;

    let daemon = home.start();
    let asked = apple.requests().len();
    within("another look", apple.asked(asked + 2)).await;
    daemon.stop().await;
    assert!(server.is_quiet() && peer.is_quiet(), "told once");
    assert!(home.deliveries().await.iter().all(|delivery| delivery.state == "sent"));
    for (file, mode) in [(home.state(), 0o700), (home.database(), 0o600), (kept, 0o600)] {
        let rights = fs::metadata(&file).expect("a file").permissions().mode() & 0o777;
        assert_eq!(rights, mode, "{}: {rights:o}", file.display());
    }
}

#[tokio::test]
async fn a_quiet_look_writes_nothing() {
    let apple = Apple::start().await;
    apple.show(&down("Photos"));
    let home = Home::new();
    home.configure(&configuration(BACKUP, &apple.url(), &format!("{QUIET}[log]\nlevel = \"warn\"\n")));
    let daemon = home.start();
    // The outage of Photos goes into the history without a notification.
    let confirmed = async {
        for looks in 1.. {
            apple.asked(looks).await;
            if is_in_history(&home) {
                return looks;
            }
        }
        unreachable!("looks never end")
    };
    let looks = within("a confirmed outage", confirmed).await;
    // The one that was running at that moment may still have had something to write.
    within("two more looks", apple.asked(looks + 2)).await;
    let before = (written_bytes(daemon.pid()), contents(&home.state()).expect("files"));
    within("twenty more looks", apple.asked(looks + 22)).await;
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
async fn without_a_desktop_the_bubble_waits_and_comes_later() {
    let (apple, mut bus) = (Apple::start().await, Bus::start());
    apple.show(&fine());
    bus.kill();
    let home = Home::new().with("DBUS_SESSION_BUS_ADDRESS", bus.address_without_guid());
    home.configure(&configuration(BACKUP, &apple.url(), &format!("{DESKTOP}{DEBUG}")));
    home.damage_database();
    let mut daemon = home.start();
    let line = daemon.says("desktop: not delivered yet, trying again: ").await;
    assert!(line.contains("no desktop session bus (is anybody logged in?"), "{line}");
    let waiting = home.ask(&["outbox"]).await;
    assert_eq!(waiting.code, Some(0), "{waiting:?}");
    assert!(waiting.out.contains("waiting") && waiting.out.contains("no desktop session bus"), "{waiting:?}");

    let bus = bus.restart();
    let mut server = Server::start(&bus, &["body"]).await;
    daemon.says("desktop: delivers again").await;
    assert_eq!(server.next().await.summary, "statusd lost its history");
    daemon.stop().await;
    assert!(server.is_quiet());
}

/// The receiver's response quotes the secrets of the request.
#[tokio::test]
async fn no_secret_is_logged_stored_or_shown() {
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
    daemon.says("you sent Bearer ***").await;

    let mut seen = vec![("the arguments".to_owned(), arguments(daemon.pid()))];
    for arguments in
        [&["config", "show"][..], &["config", "check"], &["outbox"], &["outbox", "--json"], &["status"]]
    {
        let said = home.ask(arguments).await;
        assert_eq!(said.code, Some(0), "{said:?}");
        seen.push((arguments.join(" "), (said.out + &said.err).into_bytes()));
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
async fn a_check_answers_in_words_and_with_the_code_that_monitors_expect() {
    let apple = Apple::start().await;
    let home = Home::new();
    home.configure(&configuration(BACKUP, &apple.url(), QUIET));
    let of_kind = |kind| Doc::new().service(BACKUP).event("1001", kind, "ongoing", START, None).json();
    for (answer, code, nagios, words) in [
        (Answer::ok(fine()), 0, "OK", "iCloud Backup"),
        (Answer::ok(of_kind("Issue")), 1, "WARNING", "issue"),
        (Answer::ok(of_kind("Outage")), 2, "CRITICAL", "outage"),
        (Answer::html(), 3, "UNKNOWN", "cannot tell"),
        (Answer::status(503), 3, "UNKNOWN", "cannot tell"),
        (Answer::ok(Doc::new().service("Photos").json()), 3, "UNKNOWN", "iCloud Backup"),
    ] {
        apple.answer(answer);
        let said = home.ask(&["check"]).await;
        assert_eq!((said.code, said.err.as_str()), (Some(code), ""), "{said:?}");
        assert!(said.out.contains(words), "{said:?}");
        let said = home.ask(&["check", "--format", "nagios"]).await;
        assert_eq!((said.code, said.out.lines().count()), (Some(code), 1), "{said:?}");
        assert!(said.out.contains(nagios), "{said:?}");
        let said = home.ask(&["check", "--json"]).await;
        assert_eq!(said.code, Some(code), "{said:?}");
        serde_json::from_str::<Value>(&said.out).expect("JSON");
    }
    assert_eq!(home.ask(&["check", "--no-such-flag"]).await.code, Some(3), "never 2, which is an outage");
    assert!(!home.state().exists(), "a check keeps nothing");
}

#[tokio::test]
async fn beside_the_daemon_one_reads_its_state_and_wakes_it() {
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
    daemon.says("webhook.ops: refused for good").await;
    let refused = peer.next().await;
    within("a look", apple.asked(2)).await;

    let status = home.ask(&["status"]).await;
    assert_eq!(status.code, Some(0), "{status:?}");
    assert!(status.out.contains(&format!("process {}", daemon.pid())), "{status:?}");
    let status = home.ask(&["status", "--json"]).await;
    let status: Value = serde_json::from_str(&status.out).expect("JSON");
    assert_eq!(status["running"]["pid"], daemon.pid());
    assert_eq!(
        (&status["deliveries"]["given_up"], &status["feed_health"]["state"]),
        (&1.into(), &"readable".into())
    );

    let outbox = home.ask(&["outbox", "--json"]).await;
    let outbox: Value = serde_json::from_str(&outbox.out).expect("JSON");
    let id = outbox["deliveries"][0]["id"].to_string();
    // Nothing else would wake it: no delivery is due and no look brings news.
    let retry = home.ask(&["outbox", "retry", &id]).await;
    assert_eq!(retry.code, Some(0), "{retry:?}");
    daemon.says("webhook.ops: delivers again").await;
    let again = peer.next().await;
    assert_eq!((again.body, again.headers), (refused.body, refused.headers));
    daemon.stop().await;
    assert!(peer.is_quiet());
}

#[tokio::test]
async fn a_reader_that_went_away_is_no_error() {
    let home = Home::new();
    home.configure("");
    for arguments in
        [&["completions", "bash"][..], &["config", "show"], &["man"], &["--help"], &["--version"]]
    {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let child = home.command(arguments).stdout(writer).spawn().expect("the program starts");
        let output = within("an end of the command", child.wait_with_output()).await.expect("a child");
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]), "{arguments:?}");
    }
}
