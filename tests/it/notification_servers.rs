//! The desktop channel against real notification servers, each with its own X server and D-Bus.
//!
//! The bus activates the server as on a desktop. The tests check the D-Bus replies, and that the server
//! draws something. They wait for no fixed time except the timeouts of statusd.

#![cfg(target_os = "linux")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::common::bus::Bus;
use statusd::channel::Transport as _;
use statusd::channel::desktop::Desktop;
use statusd::channel::{AlarmAction, AlarmResult, Notice, SendOutcome};
use statusd::model::Severity;
use zbus::{Connection, connection};

/// Generous, for loaded machines.
const TIMEOUT: Duration = Duration::from_secs(120);
const NAME: &str = "org.freedesktop.Notifications";
const DUNST: &str = "[global]\nstack_duplicates = false\n";

#[tokio::test]
async fn dunst_shows_replaces_closes_and_restores_alarms() {
    let session = Session::new(&["/usr/bin/dunst"], "dunst").await;
    check_server(&session).await;
}

#[tokio::test]
async fn xfce_shows_replaces_closes_and_restores_alarms() {
    let programs =
        ["/usr/lib/x86_64-linux-gnu/xfce4/notifyd/xfce4-notifyd", "/usr/lib/xfce4/notifyd/xfce4-notifyd"];
    let arm = "/usr/lib/aarch64-linux-gnu/xfce4/notifyd/xfce4-notifyd";
    let session = Session::new(&[programs[0], programs[1], arm], "xfce4-notifyd").await;
    check_server(&session).await;
}

#[tokio::test]
async fn mate_shows_replaces_closes_and_restores_alarms() {
    let programs = [
        "/usr/lib/mate-notification-daemon/mate-notification-daemon",
        "/usr/libexec/mate-notification-daemon",
    ];
    let session = Session::new(&programs, "mate-notification-daemon").await;
    check_server(&session).await;
}

#[tokio::test]
async fn notification_daemon_shows_replaces_closes_and_restores_alarms() {
    let programs = ["/usr/lib/notification-daemon/notification-daemon", "/usr/libexec/notification-daemon"];
    let session = Session::new(&programs, "notification-daemon").await;
    check_server(&session).await;
}

/// Each retry once showed another copy, and only one of the copies was replaced.
#[tokio::test]
async fn a_suspended_server_shows_an_alarm_only_once() {
    let session = Session::new(&["/usr/bin/dunst"], "dunst").await;
    let mut desktop = Desktop::at(&session.bus.address);
    delivered(desktop.send(&notice("first", Severity::Alert)).await);
    let pid = session.server_pid().await;
    signal("STOP", pid);
    let down = notice("down", Severity::Alert);
    for _ in 0..2 {
        let outcome = desktop.send(&down).await;
        assert!(matches!(outcome, SendOutcome::Transient { reached: false, .. }), "{outcome:?}");
    }
    signal("CONT", pid);
    let start = delivered(desktop.send(&down).await);
    assert_eq!(session.displayed(), 2, "one bubble per notice");
    let over = Notice { replaces: Some(start.clone()), ..notice("over", Severity::Resolved) };
    assert_eq!(delivered(desktop.send(&over).await), start);
    assert_eq!(session.displayed(), 2);
}

async fn check_server(session: &Session) {
    let mut desktop = Desktop::at(&session.bus.address);
    let backup = notice("Outage: iCloud Backup", Severity::Alert);
    let photos = notice("Outage: Photos", Severity::Alert);
    let first = delivered(desktop.send(&backup).await);
    let second = delivered(desktop.send(&photos).await);
    assert_ne!(first, second);
    session.until_drawn().await;

    let fixed =
        Notice { replaces: Some(first.clone()), ..notice("Fixed: iCloud Backup", Severity::Resolved) };
    assert_eq!(delivered(desktop.send(&fixed).await), first, "the end replaces its start");
    // Also after a restart of statusd.
    drop(desktop);
    let mut desktop = Desktop::at(&session.bus.address);
    assert_eq!(desktop.sync_alarm(&photos, &second, AlarmAction::Show).await, AlarmResult::Unchanged);
    let closed = AlarmResult::Changed { receipt: format!("closed@{second}") };
    assert_eq!(desktop.sync_alarm(&photos, &second, AlarmAction::Close).await, closed);

    let mail = notice("Outage: iCloud Mail", Severity::Alert);
    let lost = delivered(desktop.send(&mail).await);
    signal("KILL", session.server_pid().await);
    desktop.until_screen_changes().await;
    // Any notification starts the server again.
    let other = delivered(desktop.send(&notice("Another one", Severity::Info)).await);
    let result = desktop.sync_alarm(&mail, &lost, AlarmAction::Show).await;
    let AlarmResult::Changed { receipt } = result else { panic!("not shown again: {result:?}") };
    let owner = |receipt: &str| receipt.split_once('@').map(|(_, owner)| owner.to_owned());
    assert_eq!(owner(&receipt), owner(&other));
    assert_ne!(receipt, other);
    session.until_drawn().await;
    let closed = AlarmResult::Changed { receipt: format!("closed@{receipt}") };
    assert_eq!(desktop.sync_alarm(&mail, &receipt, AlarmAction::Close).await, closed);
}

fn notice(title: &str, severity: Severity) -> Notice {
    Notice {
        key: title.to_owned(),
        title: title.to_owned(),
        body: "Since 02:10. <b>Some</b> users & “others”.".to_owned(),
        severity,
        payload: String::new(),
        replaces: None,
        follows: None,
    }
}

#[track_caller]
fn delivered(outcome: SendOutcome) -> String {
    match outcome {
        SendOutcome::Delivered { receipt: Some(receipt), .. } => receipt,
        other => panic!("not delivered with a receipt: {other:?}"),
    }
}

fn signal(name: &str, pid: u32) {
    let status = Command::new("/bin/kill").args([format!("-{name}"), pid.to_string()]).status();
    assert!(status.expect("kill (procps)").success());
}

/// A screen, a bus and the notification server that the bus starts.
struct Session {
    bus: Bus,
    screen: Screen,
    connection: Connection,
    home: tempfile::TempDir,
}

impl Session {
    /// Uses the first existing program of Debian's `package`.
    async fn new(programs: &[&str], package: &str) -> Session {
        let program = programs.iter().find(|program| Path::new(program).exists());
        let program = program.unwrap_or_else(|| panic!("{package} is missing: scripts/test installs it"));
        let screen = Screen::start();
        let home = tempfile::tempdir().expect("a temporary directory");
        std::fs::create_dir_all(home.path().join("dunst")).expect("a directory");
        std::fs::write(home.path().join("dunst/dunstrc"), DUNST).expect("a file");
        let variables = format!(
            "DISPLAY=:{} HOME={home} XDG_CONFIG_HOME={home} XDG_RUNTIME_DIR={home}",
            screen.display,
            home = home.path().display()
        );
        let bus = Bus::start_with_service(&format!("/usr/bin/env {variables} {program}"));
        let connection = connection::Builder::address(bus.address.as_str()).build().await.expect("a bus");
        Session { bus, screen, connection, home }
    }

    /// Returns the process id of the notification server.
    async fn server_pid(&self) -> u32 {
        let bus = "org.freedesktop.DBus";
        let response =
            self.connection.call_method(Some(bus), "/", Some(bus), "GetConnectionUnixProcessID", &NAME).await;
        response.expect("a server").body().deserialize().expect("a number")
    }

    /// Returns the number of bubbles that dunst shows.
    fn displayed(&self) -> u32 {
        let output = Command::new("dunstctl")
            .args(["count", "displayed"])
            .env("DBUS_SESSION_BUS_ADDRESS", &self.bus.address)
            .env("HOME", self.home.path())
            .output()
            .expect("dunstctl (dunst)");
        let text = String::from_utf8_lossy(&output.stdout);
        text.trim().parse().unwrap_or_else(|_| panic!("dunstctl: {output:?}"))
    }

    async fn until_drawn(&self) {
        let drawn = async {
            while !self.screen.is_drawn() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(TIMEOUT, drawn).await.expect("the server draws");
    }
}

/// An X server with its framebuffer in a file.
struct Screen {
    server: Child,
    display: String,
    directory: tempfile::TempDir,
}

impl Screen {
    fn start() -> Screen {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut server = Command::new("Xvfb")
            .args(["-displayfd", "1", "-nolisten", "tcp", "-screen", "0", "640x480x24", "-fbdir"])
            .arg(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("Xvfb (xvfb), installed by scripts/test");
        // Xvfb prints its display number when it is ready.
        let mut display = String::new();
        let stdout = server.stdout.take().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut display).expect("a display");
        Screen { server, display: display.trim().to_owned(), directory }
    }

    fn framebuffer(&self) -> PathBuf {
        self.directory.path().join("Xvfb_screen0")
    }

    /// Returns true if not all pixels have the same colour.
    fn is_drawn(&self) -> bool {
        let bytes = std::fs::read(self.framebuffer()).expect("a framebuffer");
        let pixels = &bytes[bytes.len() - 4 * 640 * 480..];
        pixels.chunks(4).any(|pixel| *pixel != pixels[pixels.len() - 4..])
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Ends its clients too. An error means that it has already ended.
        let _gone = self.server.kill();
        let _gone = self.server.wait();
    }
}
