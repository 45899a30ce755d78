//! Prints figures of the release binary: size, start to READY, state after polls over TLS,
//! replay, disk writes of quiet polls, a fleet, the web listener. Asserts nothing, because machines differ.
//!
//! `cargo bench --bench figures`. The replay needs a recording: `STATUSD_RECORDING=FILE`.

#[path = "../tests/it/common/mod.rs"]
#[allow(dead_code, reason = "the tests use all of it")]
mod common;
#[path = "figures/web.rs"]
mod web;

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::apple::{Apple, ServerCert};
use common::doc::Doc;
use common::seeded_store::{outage, seed};
use jiff::{SignedDuration, Timestamp};

const PROGRAM: &str = env!("CARGO_BIN_EXE_statusd");
const STARTS: usize = 21;
const REPLAYS: usize = 7;
const POLLS: usize = 100;
const DEVICES: usize = 100_000;
const FLEETS: usize = 7;
const QUIET_POLLS: usize = 50;
const DEADLINE: Duration = Duration::from_secs(300);

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    println!("release binary       {:.2} MB", megabytes(fs::metadata(PROGRAM).expect("the program").len()));
    start_to_ready();
    runtime.block_on(polls());
    replay();
    runtime.block_on(fleet());
    runtime.block_on(web::figures());
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Seconds: minimum, median and maximum in milliseconds.
fn spread(mut seconds: Vec<f64>) -> String {
    seconds.sort_by(f64::total_cmp);
    let ms = |index: usize| seconds[index] * 1e3;
    format!(
        "{:.1} / {:.1} / {:.1} ms (min / median / max)",
        ms(0),
        ms(seconds.len() / 2),
        ms(seconds.len() - 1)
    )
}

struct Daemon {
    child: Child,
    ready_s: f64,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("gone");
    }
}

/// Starts `statusd run` in its own directory and waits for READY.
fn start(directory: &Path, config: &str) -> Daemon {
    fs::create_dir_all(directory).expect("a directory");
    let file = directory.join("statusd.toml");
    fs::write(&file, config).expect("written");
    let notify = directory.join("notify");
    let _ = fs::remove_file(&notify);
    let socket = UnixDatagram::bind(&notify).expect("a socket");
    socket.set_read_timeout(Some(DEADLINE)).expect("a deadline");
    let begun = Instant::now();
    let child = Command::new(PROGRAM)
        .args(["run", "--config"])
        .arg(&file)
        .arg("--state-directory")
        .arg(directory.join("state"))
        .env("NOTIFY_SOCKET", &notify)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("started");
    let mut daemon = Daemon { child, ready_s: 0.0 };
    let mut buffer = [0; 4096];
    let mut is_ready = false;
    while !is_ready {
        let length = socket.recv(&mut buffer).expect("READY within the deadline");
        is_ready = String::from_utf8_lossy(&buffer[..length]).contains("READY=1");
        daemon.ready_s = begun.elapsed().as_secs_f64();
    }
    daemon
}

/// Without a network: the address refuses connections.
fn start_to_ready() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = "[feed]\nurl = \"http://127.0.0.1:9/\"\n[channel.desktop]\nenabled = false\n";
    let fresh = (0..STARTS).map(|run| start(&folder.path().join(run.to_string()), config).ready_s).collect();
    println!("start to READY       {}, new database, {STARTS} starts", spread(fresh));
    let again = (0..STARTS).map(|_| start(&folder.path().join("0"), config).ready_s).collect();
    println!("                     {}, existing database, {STARTS} starts", spread(again));
}

/// Polls a document of the size of Apple's over TLS, once a second.
async fn polls() {
    let apple = Apple::start_tls(ServerCert::Valid).await;
    let doc = (0..79).fold(Doc::new(), |doc, number| doc.service(&format!("Service number {number}")));
    apple.show(&doc.service("iCloud Backup").json());
    let folder = tempfile::tempdir().expect("a folder");
    let authority = folder.path().join("authority.pem");
    fs::write(&authority, apple.authority_pem()).expect("written");
    let config = format!(
        "[feed]\nurl = {:?}\nca_file = {:?}\n[schedule]\npoll = \"* * * * * *\"\njitter_s = 0\n\
         [channel.desktop]\nenabled = false\n[log]\nlevel = \"warn\"\n",
        apple.url(),
        authority
    );
    let daemon = start(folder.path(), &config);
    apple.wait_for_requests(POLLS).await;
    let pid = daemon.child.id();
    println!(
        "resident state      {:.2} MB, {:.2} MB of it anonymous, after {POLLS} polls over TLS",
        status_kb(pid, "VmRSS") * 1.024e-3,
        status_kb(pid, "RssAnon") * 1.024e-3
    );
    let before = (written_bytes(pid), files(&folder.path().join("state")));
    apple.wait_for_requests(POLLS + QUIET_POLLS).await;
    let after = (written_bytes(pid), files(&folder.path().join("state")));
    println!(
        "disk                 {} bytes written in {QUIET_POLLS} quiet polls; files {}",
        after.0 - before.0,
        if before.1 == after.1 { "unchanged" } else { "changed" }
    );
}

fn status_kb(pid: u32, field: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process");
    let line = status.lines().find(|line| line.starts_with(field)).expect("the field");
    line.split_whitespace().nth(1).and_then(|kb| kb.parse().ok()).expect("a number")
}

fn written_bytes(pid: u32) -> u64 {
    let io = fs::read_to_string(format!("/proc/{pid}/io")).expect("the process");
    let line = io.lines().find(|line| line.starts_with("write_bytes:")).expect("the field");
    line.split_whitespace().nth(1).and_then(|bytes| bytes.parse().ok()).expect("a number")
}

fn files(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<(PathBuf, Vec<u8>)> = fs::read_dir(directory)
        .expect("the state")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_file())
        .map(|path| (path.clone(), fs::read(&path).expect("readable")))
        .collect();
    files.sort();
    files
}

fn replay() {
    let Some(recording) = std::env::var_os("STATUSD_RECORDING").map(PathBuf::from) else {
        println!("replay               no recording here (set STATUSD_RECORDING)");
        return;
    };
    let run = |_| {
        let begun = Instant::now();
        let status = Command::new(PROGRAM)
            .args(["replay", "--json", "--watch", "*"])
            .arg(&recording)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("replayed");
        assert!(status.success(), "the replay failed");
        begun.elapsed().as_secs_f64()
    };
    let name = recording.file_name().unwrap_or_default().to_string_lossy().into_owned();
    println!("replay               {}, {name}, {REPLAYS} runs", spread((0..REPLAYS).map(run).collect()));
}

/// With a year of coverage and an outage a week.
async fn fleet() {
    let folder = tempfile::tempdir().expect("a folder");
    let hours_ago = |hours| Timestamp::now() - SignedDuration::from_hours(hours);
    let outages = (0..52).map(|week| {
        let start = 24 * 7 * week + 12;
        outage("iCloud Backup", &week.to_string(), hours_ago(start), Some(hours_ago(start - 6)))
    });
    seed(folder.path(), &["iCloud Backup"], outages.collect(), hours_ago(24 * 365), hours_ago(0)).await;
    let list = folder.path().join("devices.csv");
    let line = |number: usize| {
        let last = hours_ago((number % 240) as i64);
        format!("iPhone of number {number},iPhone13,2,{last},{}\n", !number.is_multiple_of(17))
    };
    let lines: String = (0..DEVICES).map(line).collect();
    fs::write(&list, format!("Device Name,Model,Minor,Last Cloud Backup,Backup Enabled\n{lines}"))
        .expect("written");
    for format in ["table", "csv", "json"] {
        let run = |_| {
            let begun = Instant::now();
            let mut command = Command::new(PROGRAM);
            command
                .args(["fleet", "--format", format])
                .arg(&list)
                .arg("--state-directory")
                .arg(folder.path());
            command.env("STATUSD_CONFIG", "/dev/null").stdin(Stdio::null()).stdout(Stdio::null());
            assert!(command.status().expect("started").success(), "the fleet failed");
            begun.elapsed().as_secs_f64()
        };
        let runs = spread((0..FLEETS).map(run).collect());
        println!("fleet of {DEVICES}      {runs}, {format}, {FLEETS} runs");
    }
}
