//! The shipped units under a real systemd, with all their settings.
//!
//! Each test starts its `_inside` counterpart in a network namespace. Requires root.
#![cfg(target_os = "linux")]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::common::apple::{Apple, Response, ServerCert};
use crate::common::doc::Doc;
use crate::common::http_server::{HttpServer, Reply, Request};
use crate::process::wait_for;
use crate::systemd_vm::desktop::{HOME, User};
use crate::systemd_vm::{Machine, run_isolated};
use serde_json::Value;

const UNIT: &str = include_str!("../../systemd/statusd.service");
const USER_UNIT: &str = include_str!("../../systemd/user/statusd.service");
/// The file for the screenshot in `docs/`.
const SCREENSHOT: &str = "STATUSD_SCREENSHOT";
/// The duration of the measurement of an idle daemon.
const IDLE: Duration = Duration::from_secs(300);
const BACKUP: &str = "iCloud Backup";
const START: i64 = 1_619_449_200;
const TOKEN: &str = "t0kent0kent0ken";
const CONFIG: &str = "/etc/statusd/statusd.toml";
const UNIT_FILE: &str = "/etc/systemd/system/statusd.service";
const SECRET: &str = "/etc/statusd/ops-token";

fn down(service: &str) -> String {
    let services = Doc::new().service(BACKUP).service("Photos");
    services.service(service).event("1001", "Outage", "ongoing", START, None).json()
}

fn over(service: &str) -> String {
    let services = Doc::new().service(BACKUP).service("Photos");
    services.service(service).event("1001", "Outage", "resolved", START, Some(START + 3_600)).json()
}

fn service_and_kind(request: &Request) -> (String, String) {
    let payload: Value = serde_json::from_slice(&request.body).expect("JSON");
    let text = |key: &str| payload[key].as_str().unwrap_or_default().to_owned();
    (text("service"), text("kind"))
}

/// Returns a configuration with a poll per second and a webhook whose token systemd provides.
fn configuration(watch: &str, apple: &Apple, server: &HttpServer) -> String {
    format!(
        "watch = [{watch:?}]
[feed]
url = {:?}
ca_file = \"authority.pem\"
[schedule]
poll = \"* * * * * *\"
trouble = \"* * * * * *\"
jitter_s = 0
[channel.desktop]
enabled = false
[channel.webhook.ops]
url = {:?}
bearer_token_file = \"ops-token\"
",
        apple.url(),
        server.url("/")
    )
}

/// Boots a machine with the shipped system unit, its configuration and credential, and a drop-in with
/// `settings`.
async fn boot_with_unit(apple: &Apple, server: &HttpServer, settings: &str) -> Machine {
    let settings = format!("[Service]\nLoadCredential=ops-token:{SECRET}\n{settings}\n");
    let files = [
        (UNIT_FILE, UNIT),
        (&format!("{UNIT_FILE}.d/test.conf"), &settings),
        ("/etc/statusd/authority.pem", apple.authority_pem()),
        (SECRET, TOKEN),
        (CONFIG, &configuration(BACKUP, apple, server)),
    ];
    let machine = Machine::boot_to("basic.target", &files).await;
    // Only root may read it, so only systemd can.
    machine.stdout(&["chmod", "600", SECRET]).await;
    machine
}

#[test]
fn a_machine_writes_nothing_outside() {
    run_isolated("a_machine_writes_nothing_outside_inside");
}

#[tokio::test]
#[ignore = "its outer test runs it in a network namespace"]
async fn a_machine_writes_nothing_outside_inside() {
    let machine = Machine::boot().await;
    let places = ["/etc", "/var/lib", "/usr/local/bin", "/tmp", "/var/tmp", "/run", "/dev/shm", "/root"];
    let name = format!("statusd-test-{}", std::process::id());
    let script = places.map(|place| format!("echo here >{place}/{name}")).join("; ");
    let unit = format!("[Service]\nType=oneshot\nExecStart=/bin/sh -ec '{script}'\n");
    machine.write("/etc/systemd/system/writes.service", &unit).await;
    machine.stdout(&["systemctl", "start", "writes"]).await;
    for place in places {
        let path = format!("{place}/{name}");
        assert_eq!(machine.stdout(&["cat", &path]).await, "here");
        assert!(!std::path::Path::new(&path).exists(), "{path} exists on the host");
    }
    let interfaces = machine.stdout(&["ip", "-brief", "link"]).await;
    assert!(interfaces.lines().all(|line| line.starts_with("lo ")), "{interfaces}");
}

#[test]
fn the_system_unit_starts_notifies_reloads_and_stops() {
    run_isolated("the_system_unit_starts_notifies_reloads_and_stops_inside");
}

#[tokio::test]
#[ignore = "its outer test runs it in a network namespace"]
async fn the_system_unit_starts_notifies_reloads_and_stops_inside() {
    let apple = Apple::start_tls(ServerCert::Valid).await;
    let mut server = HttpServer::start([Reply::status(204), Reply::Never]).await;
    let machine = boot_with_unit(&apple, &server, "TimeoutStopSec=5").await;
    let before = machine.changed().await;

    // systemctl returns at READY, which does not wait for the first response.
    apple.respond(Response::ok(down(BACKUP)).held());
    machine.stdout(&["systemctl", "start", "statusd"]).await;
    wait_for("a poll over TLS", apple.wait_for_requests(1)).await;
    apple.show(&down(BACKUP));
    apple.release();
    let began = server.next().await;
    assert_eq!(service_and_kind(&began), (BACKUP.to_owned(), "began".to_owned()));
    assert_eq!(began.header("authorization"), Some(format!("Bearer {TOKEN}").as_str()));
    machine.until_status("statusd", "iCloud Backup: outage; polled ").await;
    check_state(&machine).await;
    check_journal(&machine).await;

    check_reloads(&machine, &apple, &mut server).await;

    machine.stdout(&["systemctl", "stop", "statusd"]).await;
    // The stop takes less than TimeoutStopSec, although a server hangs; otherwise the result is "timeout".
    assert_eq!(machine.unit("statusd", "Result").await, "success");
    assert_eq!(machine.unit("statusd", "ExecMainStatus").await, "0");
    check_nothing_else(&before, &machine.changed().await);
    let left = machine.stdout(&["cat", CONFIG]).await;
    assert_eq!(left, configuration("Photos", &apple, &server).trim());

    // An invalid configuration causes no restart.
    machine.write(CONFIG, "watch = 1\n").await;
    assert!(!machine.run(&["systemctl", "start", "statusd"]).await.status.success());
    assert_eq!(machine.unit("statusd", "ActiveState").await, "failed");
    assert_eq!(machine.unit("statusd", "ExecMainStatus").await, "78");
    assert_eq!(machine.unit("statusd", "NRestarts").await, "0");
}

/// Checks that a dynamic user owns the files, and that the process is confined.
async fn check_state(machine: &Machine) {
    let user = machine.stdout(&["stat", "-L", "-c", "%U %a", "/var/lib/statusd"]).await;
    assert_eq!(user, "statusd 700");
    let files =
        machine.stdout(&["find", "/var/lib/private/statusd", "-type", "f", "-printf", "%f %m %u\\n"]).await;
    assert!(files.contains("statusd.db 600 statusd"), "{files}");
    assert!(files.lines().all(|line| line.ends_with(" 600 statusd")), "{files}");
    let pid = machine.unit("statusd", "MainPID").await;
    let status = machine.stdout(&["cat", &format!("/proc/{pid}/status")]).await;
    for line in ["NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000"] {
        assert!(status.contains(line), "{line} is not in\n{status}");
    }
}

/// Checks that journalctl finds a change by the name of the service.
async fn check_journal(machine: &Machine) {
    let find = async |field| machine.stdout(&["journalctl", "--no-pager", "--output=json", field]).await;
    let lines = find("STATUSD_SERVICE=iCloud Backup").await;
    let line: Value = serde_json::from_str(&lines).expect("one line, in JSON");
    for (field, value) in [
        ("STATUSD_CHANGE", "began"),
        ("STATUSD_KEY", "consumer/en_US/icloud%20backup/1001/1/began"),
        ("_SYSTEMD_UNIT", "statusd.service"),
    ] {
        assert_eq!(line[field], value, "{field} of {line}");
    }
    let message = line["MESSAGE"].as_str().unwrap_or_default();
    assert!(message.starts_with("Outage: iCloud Backup"), "{message}");
    assert_eq!(find("STATUSD_SERVICE=Photos").await, "");
}

/// Reloads an invalid and a valid configuration. The server hangs on the second message.
async fn check_reloads(machine: &Machine, apple: &Apple, server: &mut HttpServer) {
    let good = configuration("Photos", apple, server);
    machine.write(CONFIG, &good.replace("jitter_s = 0", "jitter_s = 99999")).await;
    // A hanging poll, so that no poll changes the status text.
    apple.respond(Response::ok(down(BACKUP)).held());
    wait_for("a poll that hangs", apple.wait_for_requests(apple.requests().len() + 1)).await;
    machine.stdout(&["systemctl", "reload", "statusd"]).await;
    let status = machine.until_status("statusd", "keeping the old configuration: ").await;
    assert!(status.contains("schedule.jitter_s"), "{status}");
    assert_eq!(machine.unit("statusd", "ActiveState").await, "active");
    apple.show(&down(BACKUP));
    apple.release();
    machine.until_status("statusd", "iCloud Backup: outage; polled ").await;

    machine.write(CONFIG, &good).await;
    machine.stdout(&["systemctl", "reload", "statusd"]).await;
    machine.until_status("statusd", "Apple lists no problem with Photos; polled ").await;
    apple.show(&down("Photos"));
    let began = server.next().await;
    assert_eq!(service_and_kind(&began), ("Photos".to_owned(), "began".to_owned()));
    assert_eq!(machine.unit("statusd", "NRestarts").await, "0");
}

/// Checks that only files of statusd, or of systemd about it, are new or changed.
#[track_caller]
fn check_nothing_else(before: &BTreeSet<String>, after: &BTreeSet<String>) {
    let allowed = [
        "/run/changed/var/lib/private",
        "/run/changed/var/lib/statusd ",
        "/run/systemd/",
        "/run/log/journal/",
        // Directories that contain new files.
        "/run/changed/var d",
        "/run/changed/var/lib d",
        // systemd locks this file while it allocates a user.
        "/run/changed/etc/.pwd.lock ",
        // Written by the test.
        "/run/changed/etc/statusd/statusd.toml ",
    ];
    let foreign: Vec<_> = before
        .symmetric_difference(after)
        .filter(|line| !allowed.iter().any(|allowed| line.starts_with(allowed)))
        .collect();
    assert!(foreign.is_empty(), "{foreign:#?}");
}

#[test]
fn the_system_unit_restarts_after_a_kill_or_hang() {
    run_isolated("the_system_unit_restarts_after_a_kill_or_hang_inside");
}

#[tokio::test]
#[ignore = "its outer test runs it in a network namespace"]
async fn the_system_unit_restarts_after_a_kill_or_hang_inside() {
    let apple = Apple::start_tls(ServerCert::Valid).await;
    let mut server = HttpServer::start([Reply::status(204)]).await;
    let machine = boot_with_unit(&apple, &server, "WatchdogSec=6").await;
    apple.show(&down(BACKUP));
    machine.stdout(&["systemctl", "start", "statusd"]).await;
    assert_eq!(service_and_kind(&server.next().await), (BACKUP.to_owned(), "began".to_owned()));
    machine.until_status("statusd", "iCloud Backup: outage; polled ").await;

    // Killed after it saw the end once, before it reported the end.
    apple.respond(Response::silence());
    wait_for("a poll that hangs", apple.wait_for_requests(apple.requests().len() + 1)).await;
    apple.once(Response::ok(over(BACKUP)));
    apple.release();
    let polls = apple.requests().len();
    wait_for("a poll after the end", apple.wait_for_requests(polls + 2)).await;
    machine.stdout(&["systemctl", "kill", "--signal", "KILL", "statusd"]).await;
    machine.wait_for_log("statusd.service: Failed with result 'signal'").await;
    apple.show(&over(BACKUP));
    assert_eq!(service_and_kind(&server.next().await), (BACKUP.to_owned(), "ended".to_owned()));
    machine.until_status("statusd", "Apple lists no problem with iCloud Backup; polled ").await;
    assert_eq!(machine.unit("statusd", "NRestarts").await, "1");

    // A stopped process stays alive, but sends no watchdog ping.
    let pid = machine.unit("statusd", "MainPID").await;
    machine.stdout(&["systemctl", "kill", "--signal", "STOP", "statusd"]).await;
    machine.wait_for_log("statusd.service: Failed with result 'watchdog'").await;
    wait_for("a poll of the next process", apple.wait_for_requests(apple.requests().len() + 2)).await;
    machine.until_status("statusd", "Apple lists no problem with iCloud Backup; polled ").await;
    assert_eq!(machine.unit("statusd", "NRestarts").await, "2");
    assert_ne!(machine.unit("statusd", "MainPID").await, pid);
    machine.stdout(&["systemctl", "stop", "statusd"]).await;
    assert_eq!(machine.unit("statusd", "Result").await, "success");
    assert!(server.is_quiet(), "each change was sent once");
}

#[test]
fn the_user_unit_shows_a_bubble() {
    run_isolated("the_user_unit_shows_a_bubble_inside");
}

#[tokio::test]
#[ignore = "its outer test runs it in a network namespace"]
async fn the_user_unit_shows_a_bubble_inside() {
    let apple = Apple::start_tls(ServerCert::Valid).await;
    let since = jiff::Timestamp::now().as_second() - 85 * 60;
    let text = "Users may be unable to back up.";
    let doc = Doc::new().service(BACKUP).event("1001", "Outage", "ongoing", since, None).saying(text);
    apple.show(&doc.json());
    let machine = Machine::boot().await;
    let anna = User::create(&machine).await;
    anna.write(".config/systemd/user/statusd.service", USER_UNIT).await;
    anna.write(".config/statusd/authority.pem", apple.authority_pem()).await;
    let configuration = format!(
        "[feed]\nurl = {:?}\nca_file = \"authority.pem\"\n[schedule]\ntrouble = \"* * * * * *\"\n",
        apple.url()
    );
    anna.write(".config/statusd/statusd.toml", &configuration).await;
    anna.stdout(&["mkdir", "-p", &format!("{HOME}/.cargo/bin")]).await;
    anna.stdout(&["ln", "-s", "/usr/local/bin/statusd", &format!("{HOME}/.cargo/bin/statusd")]).await;
    anna.stdout(&["systemctl", "--user", "daemon-reload"]).await;

    // The user has no graphical session yet.
    anna.stdout(&["systemctl", "--user", "enable", "--now", "statusd"]).await;
    let screen = anna.start_screen().await;
    machine.wait_for_log("Outage: iCloud Backup").await;
    let picture = screen.picture().await;
    assert_eq!(anna.stdout(&["dunstctl", "count", "displayed"]).await, "1");
    if let Some(file) = std::env::var_os(SCREENSHOT) {
        std::fs::write(file, picture.png()).expect("a picture");
    }
    anna.stdout(&["dunstctl", "close-all"]).await;
    let history: Value = serde_json::from_str(&anna.stdout(&["dunstctl", "history"]).await).expect("JSON");
    let bubble = &history["data"][0][0];
    assert_eq!(bubble["summary"]["data"], "Outage: iCloud Backup", "{history}");
    assert!(bubble["body"]["data"].as_str().is_some_and(|body| body.contains(text)), "{history}");

    anna.stdout(&["systemctl", "--user", "stop", "statusd"]).await;
    let result = anna.stdout(&["systemctl", "--user", "show", "-P", "Result", "statusd"]).await;
    assert_eq!(result, "success");
    let files = machine.stdout(&["find", HOME, "-type", "f", "-newer", &format!("{HOME}/screen/note")]).await;
    assert!(files.contains("/.local/state/statusd/statusd.db"), "{files}");
}

#[test]
fn installs_a_system_and_a_user_service() {
    run_isolated("installs_a_system_and_a_user_service_inside");
}

#[tokio::test]
#[ignore = "its outer test runs it in a network namespace"]
async fn installs_a_system_and_a_user_service_inside() {
    let apple = Apple::start_tls(ServerCert::Valid).await;
    apple.show(&Doc::new().service(BACKUP).json());
    let machine = Machine::boot().await;
    let statusd = "/usr/local/bin/statusd";
    let feed = format!("[feed]\nurl = {:?}\nca_file = \"authority.pem\"\n", apple.url());
    machine.write("/etc/statusd/authority.pem", apple.authority_pem()).await;
    machine.write(CONFIG, &feed).await;
    let before = machine.changed().await;

    machine.stdout(&[statusd, "service", "install"]).await;
    machine.until_status("statusd", "Apple lists no problem with iCloud Backup; polled ").await;
    let again = machine.stdout(&[statusd, "service", "install"]).await;
    assert!(!again.contains("Done:"), "the second install does nothing: {again}");
    let status = machine.stdout(&[statusd, "service", "status"]).await;
    assert!(status.contains("Running since") && status.contains("Last successful poll"), "{status}");
    let logs = machine.stdout(&[statusd, "service", "logs", "-n", "20"]).await;
    assert!(logs.contains("watching iCloud Backup"), "{logs}");
    machine.stdout(&[statusd, "service", "uninstall", "--purge"]).await;
    assert_eq!(machine.unit("statusd", "ActiveState").await, "inactive");
    let left: Vec<String> = machine.changed().await.difference(&before).cloned().collect();
    let is_ours = |path: &&String| path.contains("statusd");
    assert!(!left.iter().any(|path| is_ours(&path)), "nothing is left: {left:?}");

    let anna = User::create(&machine).await;
    anna.write(".config/statusd/authority.pem", apple.authority_pem()).await;
    anna.write(".config/statusd/statusd.toml", &feed).await;
    let installed = anna.stdout(&[statusd, "service", "install"]).await;
    assert!(installed.contains("after logout"), "{installed}");
    assert_eq!(anna.stdout(&["systemctl", "--user", "is-active", "statusd"]).await, "active");
    assert_eq!(anna.stdout(&["systemctl", "--user", "is-enabled", "statusd"]).await, "enabled");
    anna.stdout(&[statusd, "service", "uninstall"]).await;
    let units = anna.stdout(&["find", HOME, "-path", "*systemd*"]).await;
    assert_eq!(units, "", "the new directories are removed too");
}

#[test]
#[ignore = "takes five minutes and prints figures; scripts/figures-systemd runs it"]
fn figures() {
    println!("{}", run_isolated("figures_inside"));
}

/// Prints figures and asserts nothing, because machines differ.
#[tokio::test]
#[ignore = "its outer test runs it in a network namespace"]
async fn figures_inside() {
    let apple = Apple::start_tls(ServerCert::Valid).await;
    apple.show(
        &(0..79).fold(Doc::new().service(BACKUP), |doc, number| doc.service(&format!("{number}"))).json(),
    );
    let configuration = format!(
        "[feed]\nurl = {:?}\nca_file = \"authority.pem\"\n[channel.desktop]\nenabled = false\n",
        apple.url()
    );
    let files = [
        (UNIT_FILE, UNIT),
        // Starts the service as if it were enabled.
        ("/etc/systemd/system/figures.target", "[Unit]\nWants=multi-user.target statusd.service\n"),
        ("/etc/systemd/user/statusd.service", USER_UNIT),
        ("/etc/statusd/authority.pem", apple.authority_pem()),
        (CONFIG, &configuration),
    ];
    let begun = Instant::now();
    let machine = Machine::boot_to("figures.target", &files).await;
    let booted = begun.elapsed();
    machine.until_status("statusd", "Apple lists no problem with iCloud Backup; polled ").await;
    let polled = begun.elapsed();
    println!(
        "boot to multi-user   {:.2} s, to the first successful poll {:.2} s",
        booted.as_secs_f64(),
        polled.as_secs_f64()
    );
    let (start, ready) = ("ExecMainStartTimestampMonotonic", "ActiveEnterTimestampMonotonic");
    let us = async |property| -> f64 { machine.unit("statusd", property).await.parse().expect("a time") };
    println!("start to READY       {:.1} ms, as systemd saw it", (us(ready).await - us(start).await) / 1e3);

    let pid = machine.unit("statusd", "MainPID").await;
    let before = Idle::of(&machine, &pid).await;
    tokio::time::sleep(IDLE).await;
    let after = Idle::of(&machine, &pid).await;
    let minutes = IDLE.as_secs_f64() / 60.0;
    println!(
        "idle                 {:.1} wake-ups a minute, over {minutes} minutes with {} polls",
        (after.wakeups - before.wakeups) / minutes,
        apple.requests().len() - 1
    );
    println!(
        "memory               {:.2} MB resident, {:.2} MB of it anonymous",
        after.resident_mb, after.anonymous_mb
    );
    for (name, unit) in [("system", UNIT_FILE), ("user", "/etc/systemd/user/statusd.service")] {
        let command = ["systemd-analyze", "security", "--offline=true", "--no-pager", unit];
        let table = machine.stdout(&command).await;
        println!("exposure, {name:<10} {}", table.lines().last().unwrap_or_default());
    }
}

/// Counters of a process.
struct Idle {
    /// Voluntary context switches of all threads.
    wakeups: f64,
    resident_mb: f64,
    anonymous_mb: f64,
}

impl Idle {
    async fn of(machine: &Machine, pid: &str) -> Idle {
        let script = format!("cat /proc/{pid}/task/*/status; echo Process:; cat /proc/{pid}/status");
        let text = machine.stdout(&["sh", "-c", &script]).await;
        let (threads, process) = text.split_once("Process:").expect("two parts");
        let sum = |text: &str, field: &str| -> f64 {
            let lines = text.lines().filter_map(|line| line.strip_prefix(field));
            lines
                .map(|rest| {
                    rest.split_whitespace().next().and_then(|n| n.parse::<f64>().ok()).expect("a number")
                })
                .sum()
        };
        Idle {
            wakeups: sum(threads, "voluntary_ctxt_switches:"),
            resident_mb: sum(process, "VmRSS:") * 1.024e-3,
            anonymous_mb: sum(process, "RssAnon:") * 1.024e-3,
        }
    }
}
