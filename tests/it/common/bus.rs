//! A private D-Bus session bus with a mock notification server.
//!
//! The bus is a real `dbus-daemon` without activatable services. The server records notifications and
//! shows nothing. Waiting for an event that never comes fails after [`PATIENCE`].

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use zbus::message::Header;
use zbus::{Connection, OwnedVariant, connection, fdo};

/// Far longer than a loaded machine needs.
const PATIENCE: Duration = Duration::from_secs(60);
const NAME: &str = "org.freedesktop.Notifications";
const PATH: &str = "/org/freedesktop/Notifications";

/// A private session bus. Killed when dropped.
pub struct Bus {
    daemon: Child,
    dir: tempfile::TempDir,
    /// The address as printed by `dbus-daemon`.
    pub address: String,
}

impl Bus {
    /// # Panics
    ///
    /// If `dbus-daemon` is not installed (package `dbus` or `dbus-daemon`).
    pub fn start() -> Bus {
        Bus::start_in(tempfile::tempdir().expect("a temporary directory"))
    }

    /// Starts a bus that runs `program` (a path) when a client asks for a notification server.
    pub fn start_with_service(program: &str) -> Bus {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let services = dir.path().join("services");
        std::fs::create_dir(&services).expect("a directory");
        let service = format!("[D-BUS Service]\nName={NAME}\nExec={program}\n");
        std::fs::write(services.join(format!("{NAME}.service")), service).expect("a service file");
        Bus::start_in(dir)
    }

    /// Restarts the bus at the same address, as a logout and a login do.
    pub fn restart(mut self) -> Bus {
        self.kill();
        let dir = tempfile::tempdir().expect("a temporary directory");
        Bus::start_in(std::mem::replace(&mut self.dir, dir))
    }

    /// Kills the bus while its clients are connected.
    pub fn kill(&mut self) {
        // An error means that the process has exited already.
        let _dead = self.daemon.kill();
        self.daemon.wait().expect("a child");
    }

    /// An address that clients do not confuse with the session bus of the user who runs the tests.
    pub fn address_without_guid(&self) -> String {
        format!("unix:path={}", self.socket().display())
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("bus")
    }

    fn start_in(dir: tempfile::TempDir) -> Bus {
        let socket = dir.path().join("bus");
        // A killed daemon leaves its socket, which a new daemon refuses to replace.
        let _none = std::fs::remove_file(&socket);
        let config = dir.path().join("bus.conf");
        std::fs::write(&config, CONFIG.replace("DIR", &dir.path().display().to_string())).expect("a config");
        let mut daemon = Command::new("dbus-daemon")
            .arg("--nofork")
            .arg("--print-address")
            .arg(format!("--config-file={}", config.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // In a container dbus-daemon warns about limits that it cannot raise and does not need.
            .stderr(Stdio::null())
            .spawn()
            .expect("dbus-daemon starts (is it installed?)");
        // dbus-daemon prints its address once it listens.
        let stdout = daemon.stdout.take().expect("stdout is piped");
        let mut address = String::new();
        BufReader::new(stdout).read_line(&mut address).expect("dbus-daemon prints its address");
        assert!(address.starts_with("unix:"), "dbus-daemon printed {address:?}");
        Bus { daemon, dir, address: address.trim().to_owned() }
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        self.kill();
    }
}

const CONFIG: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path=DIR/bus</listen>
  <servicedir>DIR/services</servicedir>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"#;

/// One call of `Notify` as received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bubble {
    /// The unique name of the connection that sent it.
    pub sender: String,
    pub app_name: String,
    /// 0 if the bubble replaces nothing.
    pub replaces_id: u32,
    pub icon: String,
    pub summary: String,
    pub body: String,
    pub urgency: Option<u8>,
    pub category: Option<String>,
    pub desktop_entry: Option<String>,
    pub sound: Option<String>,
    /// In milliseconds. 0: never. -1: the server decides.
    pub expire: i32,
    /// The id that the server assigned.
    pub id: u32,
}

/// The calls that the server leaves unanswered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    Nothing,
    /// `Notify`. The server records the bubble without a reply.
    Notify,
    /// `GetCapabilities`.
    Capabilities,
    /// Every call, like a stopped process.
    Everything,
}

/// The reply to `Notify`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotifyReply {
    /// The id of the bubble, counted from 1.
    Id,
    /// This id for every bubble.
    FixedId(u32),
    /// A D-Bus error with this name.
    Error(&'static str),
    /// The error that GNOME's server returns after the shell has hung for 25 s.
    ShellHangs,
}

/// A mock notification server.
pub struct Server {
    connection: Connection,
    shown: mpsc::UnboundedReceiver<Bubble>,
    held: watch::Sender<Held>,
    reply: watch::Sender<NotifyReply>,
    capabilities_fail: watch::Sender<bool>,
    name: watch::Sender<&'static str>,
    capability_queries: watch::Receiver<usize>,
    probed: watch::Receiver<usize>,
    closed: mpsc::UnboundedReceiver<u32>,
}

impl Server {
    /// Starts a server on `bus` with these capabilities (`body`, `body-markup` …). Ids count from 1.
    pub async fn start(bus: &Bus, capabilities: &[&str]) -> Server {
        let (record, shown) = mpsc::unbounded_channel();
        let (held, hold) = watch::channel(Held::Nothing);
        let (reply, current_reply) = watch::channel(NotifyReply::Id);
        let (capabilities_fail, fail_capabilities) = watch::channel(false);
        let (name, current_name) = watch::channel("test");
        let (count_query, capability_queries) = watch::channel(0);
        let (probe, probed) = watch::channel(0);
        let (close, closed) = mpsc::unbounded_channel();
        let object = NotificationObject {
            capabilities: capabilities.iter().map(ToString::to_string).collect(),
            last_id: AtomicU32::new(0),
            record,
            hold,
            current_reply,
            fail_capabilities,
            current_name,
            count_query,
            probe,
            close,
        };
        let connection = connection::Builder::address(bus.address.as_str())
            .serve_at(PATH, object)
            .name(NAME)
            .build()
            .await
            .expect("the notification server gets its name");
        Server { connection, shown, held, reply, capabilities_fail, name, capability_queries, probed, closed }
    }

    /// Waits for the next bubble, in order of arrival.
    pub async fn next(&mut self) -> Bubble {
        let next = tokio::time::timeout(PATIENCE, self.shown.recv()).await;
        next.expect("no bubble came").expect("the server still runs")
    }

    /// Returns true if [`Server::next`] has returned every bubble so far.
    pub fn is_quiet(&self) -> bool {
        self.shown.is_empty()
    }

    /// Counts the queries for the capabilities.
    pub fn capability_queries(&self) -> usize {
        *self.capability_queries.borrow()
    }

    /// Returns once a client has queried the capabilities.
    pub async fn wait_for_capability_query(&mut self) {
        let queried =
            tokio::time::timeout(PATIENCE, self.capability_queries.wait_for(|times| *times > 0)).await;
        queried.expect("no client queried the capabilities").expect("the server still runs");
    }

    /// Returns at the next query for the server's name, which clients use as a probe.
    pub async fn wait_for_probe(&mut self) {
        self.probed.mark_unchanged();
        let probed = tokio::time::timeout(PATIENCE, self.probed.changed()).await;
        probed.expect("no client probed the server").expect("the server still runs");
    }

    /// Sets which calls are left unanswered, and answers pending calls that are no longer held.
    pub fn hold(&self, held: Held) {
        self.held.send_replace(held);
    }

    /// Sets the reply to later bubbles, which are recorded in any case.
    pub fn set_reply(&self, reply: NotifyReply) {
        self.reply.send_replace(reply);
    }

    /// Sets whether later bubbles get an error. They are recorded in any case.
    pub fn refuse(&self, is_refusing: bool) {
        self.set_reply(if is_refusing { NotifyReply::Error("Failed") } else { NotifyReply::Id });
    }

    /// Sets the server's name.
    pub fn set_name(&self, name: &'static str) {
        self.name.send_replace(name);
    }

    /// Answers `GetCapabilities` with an error from now on.
    pub fn fail_capabilities(&self) {
        self.capabilities_fail.send_replace(true);
    }

    /// Waits for the next bubble that a client closes.
    pub async fn next_closed(&mut self) -> u32 {
        let next = tokio::time::timeout(PATIENCE, self.closed.recv()).await;
        next.expect("no bubble was closed").expect("the server still runs")
    }

    /// Returns true if [`Server::next_closed`] has returned every closed bubble so far.
    pub fn has_closed_nothing(&self) -> bool {
        self.closed.is_empty()
    }

    /// Signals to `client` that a bubble has expired.
    pub async fn expire(&self, client: &str, id: u32) {
        self.emit_closed(client, id, 1).await;
    }

    /// Signals to `client` that the user dismissed a bubble.
    pub async fn dismiss(&self, client: &str, id: u32) {
        self.emit_closed(client, id, 2).await;
    }

    async fn emit_closed(&self, client: &str, id: u32, reason: u32) {
        self.connection
            .emit_signal(Some(client), PATH, NAME, "NotificationClosed", &(id, reason))
            .await
            .expect("the signal is sent");
    }

    /// Leaves the bus and releases the server's name.
    pub async fn stop(self) {
        assert!(self.connection.release_name(NAME).await.expect("the bus answers"));
        self.connection.close().await.expect("the connection closes");
    }
}

/// The D-Bus object.
struct NotificationObject {
    capabilities: Vec<String>,
    last_id: AtomicU32,
    record: mpsc::UnboundedSender<Bubble>,
    hold: watch::Receiver<Held>,
    current_reply: watch::Receiver<NotifyReply>,
    fail_capabilities: watch::Receiver<bool>,
    current_name: watch::Receiver<&'static str>,
    count_query: watch::Sender<usize>,
    probe: watch::Sender<usize>,
    close: mpsc::UnboundedSender<u32>,
}

impl NotificationObject {
    async fn while_held(&self, held: Held) {
        // An error means that the test has dropped the server.
        let is_free = |now: &Held| *now != held && *now != Held::Everything;
        let _released = self.hold.clone().wait_for(is_free).await.is_ok();
    }
}

/// The errors of `Notify`.
#[derive(Debug, zbus::DBusError)]
#[zbus(prefix = "org")]
enum NotifyError {
    #[zbus(error)]
    Zbus(zbus::Error),
    #[zbus(name = "freedesktop.DBus.Error.Failed")]
    Failed(String),
    #[zbus(name = "freedesktop.DBus.Error.InvalidArgs")]
    InvalidArgs(String),
    #[zbus(name = "freedesktop.DBus.Error.NoReply")]
    NoReply(String),
    #[zbus(name = "gtk.GDBus.UnmappedGError.Quark._g_2dio_2derror_2dquark.Code24")]
    TimedOut(String),
}

type Hints = std::collections::HashMap<String, OwnedVariant>;

#[zbus::interface(name = "org.freedesktop.Notifications")]
impl NotificationObject {
    #[expect(clippy::too_many_arguments, reason = "the specification has them")]
    async fn notify(
        &self,
        #[zbus(header)] header: Header<'_>,
        app_name: String,
        replaces_id: u32,
        icon: String,
        summary: String,
        body: String,
        _actions: Vec<String>,
        hints: Hints,
        expire: i32,
    ) -> Result<u32, NotifyError> {
        let id = match replaces_id {
            0 => self.last_id.fetch_add(1, Ordering::SeqCst) + 1,
            replaced => {
                self.last_id.fetch_max(replaced, Ordering::SeqCst);
                replaced
            }
        };
        let text = |key: &str| hints.get(key).and_then(|value| String::try_from(value.clone()).ok());
        let bubble = Bubble {
            sender: header.sender().map(ToString::to_string).unwrap_or_default(),
            app_name,
            replaces_id,
            icon,
            summary,
            body,
            urgency: hints.get("urgency").and_then(|value| u8::try_from(value.clone()).ok()),
            category: text("category"),
            desktop_entry: text("desktop-entry"),
            sound: text("sound-name"),
            expire,
            id,
        };
        // The test may have dropped its receiver.
        let _dropped = self.record.send(bubble);
        self.while_held(Held::Notify).await;
        let text = "not now".to_owned();
        match *self.current_reply.borrow() {
            NotifyReply::Id => Ok(id),
            NotifyReply::FixedId(id) => Ok(id),
            NotifyReply::Error("NoReply") => Err(NotifyError::NoReply(text)),
            NotifyReply::Error("InvalidArgs") => Err(NotifyError::InvalidArgs(text)),
            NotifyReply::Error(_) => Err(NotifyError::Failed(text)),
            NotifyReply::ShellHangs => Err(NotifyError::TimedOut(text)),
        }
    }

    async fn get_capabilities(&self) -> fdo::Result<Vec<String>> {
        self.count_query.send_modify(|times| *times += 1);
        self.while_held(Held::Capabilities).await;
        if *self.fail_capabilities.borrow() {
            return Err(fdo::Error::Failed("not supported".to_owned()));
        }
        Ok(self.capabilities.clone())
    }

    async fn get_server_information(&self) -> (String, String, String, String) {
        self.probe.send_modify(|times| *times += 1);
        self.while_held(Held::Everything).await;
        let text = str::to_owned;
        (text(*self.current_name.borrow()), text("statusd"), text("1"), text("1.2"))
    }

    async fn close_notification(&self, id: u32) {
        self.while_held(Held::Everything).await;
        // The test may have dropped its receiver.
        let _dropped = self.close.send(id);
    }
}
