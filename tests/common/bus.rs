//! A private D-Bus and a notification server on it.
//!
//! The bus is the real `dbus-daemon`, without any service that it could start by itself; the
//! server is the test's own and shows nothing, it remembers. Nothing here waits for a time:
//! whoever awaits something that never comes fails after [`PATIENCE`].

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use zbus::message::Header;
use zbus::{Connection, OwnedVariant, connection, fdo};

/// Not a measure: far beyond what a loaded machine takes.
const PATIENCE: Duration = Duration::from_secs(60);
const NAME: &str = "org.freedesktop.Notifications";
const PATH: &str = "/org/freedesktop/Notifications";

/// A session bus of one's own; gone when dropped.
pub struct Bus {
    daemon: Child,
    dir: tempfile::TempDir,
    /// As `dbus-daemon` prints it.
    pub address: String,
}

impl Bus {
    /// # Panics
    ///
    /// Without `dbus-daemon` (package `dbus` or `dbus-daemon`).
    pub fn start() -> Bus {
        Bus::start_in(tempfile::tempdir().expect("a temporary directory"))
    }

    /// A bus that runs `program` (a path) when somebody asks for a notification server.
    pub fn start_with_service(program: &str) -> Bus {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let services = dir.path().join("services");
        std::fs::create_dir(&services).expect("a directory");
        let service = format!("[D-BUS Service]\nName={NAME}\nExec={program}\n");
        std::fs::write(services.join(format!("{NAME}.service")), service).expect("a service file");
        Bus::start_in(dir)
    }

    /// Ends the bus and starts another one at the same address: a logout and a login.
    pub fn restart(mut self) -> Bus {
        self.kill();
        let dir = tempfile::tempdir().expect("a temporary directory");
        Bus::start_in(std::mem::replace(&mut self.dir, dir))
    }

    /// Ends the bus under the feet of everybody on it.
    pub fn kill(&mut self) {
        // An error says that it is dead already.
        let _dead = self.daemon.kill();
        self.daemon.wait().expect("dbus-daemon can be waited for");
    }

    /// An address that no client has reason to share with the session of whoever runs the tests.
    pub fn address_without_guid(&self) -> String {
        format!("unix:path={}", self.socket().display())
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("bus")
    }

    fn start_in(dir: tempfile::TempDir) -> Bus {
        let socket = dir.path().join("bus");
        // A killed daemon leaves its socket, and does not like to find one.
        let _none = std::fs::remove_file(&socket);
        let config = dir.path().join("bus.conf");
        std::fs::write(&config, CONFIG.replace("DIR", &dir.path().display().to_string())).expect("a config");
        let mut daemon = Command::new("dbus-daemon")
            .arg("--nofork")
            .arg("--print-address")
            .arg(format!("--config-file={}", config.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // In a container it complains about limits that it may not raise and does not need.
            .stderr(Stdio::null())
            .spawn()
            .expect("dbus-daemon starts (is it installed?)");
        // It prints the address once it listens.
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

/// One call of `Notify`, as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bubble {
    /// The unique name of the connection that sent it.
    pub sender: String,
    pub app_name: String,
    /// 0 where it replaces nothing.
    pub replaces_id: u32,
    pub icon: String,
    pub summary: String,
    pub body: String,
    pub urgency: Option<u8>,
    pub category: Option<String>,
    pub desktop_entry: Option<String>,
    /// Milliseconds; 0 never, -1 as the server likes.
    pub expire: i32,
    /// What the server answers.
    pub id: u32,
}

/// What a notification server leaves unanswered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    Nothing,
    /// `Notify`: recorded, and shown for all that the sender knows.
    Bubbles,
    /// `GetCapabilities`
    Abilities,
}

/// A notification server under the test's hand.
pub struct Server {
    connection: Connection,
    shown: mpsc::UnboundedReceiver<Bubble>,
    held: watch::Sender<Held>,
    refusing: watch::Sender<bool>,
    asked: watch::Receiver<usize>,
}

impl Server {
    /// On `bus`, with these capabilities (`body`, `body-markup` …); ids count from 1.
    pub async fn start(bus: &Bus, capabilities: &[&str]) -> Server {
        let (record, shown) = mpsc::unbounded_channel();
        let (held, hold) = watch::channel(Held::Nothing);
        let (refusing, refuse) = watch::channel(false);
        let (ask, asked) = watch::channel(0);
        let desk = Desk {
            capabilities: capabilities.iter().map(ToString::to_string).collect(),
            last_id: 0,
            record,
            hold,
            refuse,
            ask,
        };
        let connection = connection::Builder::address(bus.address.as_str())
            .serve_at(PATH, desk)
            .name(NAME)
            .build()
            .await
            .expect("the notification server gets its name");
        Server { connection, shown, held, refusing, asked }
    }

    /// The next bubble, in the order they came.
    pub async fn next(&mut self) -> Bubble {
        let next = tokio::time::timeout(PATIENCE, self.shown.recv()).await;
        next.expect("a bubble was to come").expect("the server still runs")
    }

    /// Whether nothing was shown that [`Server::next`] has not given yet.
    pub fn is_quiet(&self) -> bool {
        self.shown.is_empty()
    }

    /// How often somebody asked for the capabilities.
    pub fn asked(&self) -> usize {
        *self.asked.borrow()
    }

    /// Returns once somebody has asked for the capabilities.
    pub async fn until_asked(&mut self) {
        let asked = tokio::time::timeout(PATIENCE, self.asked.wait_for(|times| *times > 0)).await;
        asked.expect("somebody was to ask").expect("the server still runs");
    }

    /// What is left unanswered from now on; what was held back before and is not any more is
    /// answered now.
    pub fn hold(&self, held: Held) {
        self.held.send_replace(held);
    }

    /// Whether bubbles are answered with an error from now on. They are recorded all the same.
    pub fn refuse(&self, is_refusing: bool) {
        self.refusing.send_replace(is_refusing);
    }

    /// Tells `client` that a bubble was closed, as real servers do without being asked.
    pub async fn tell_closed(&self, client: &str, id: u32) {
        let (expired, interface) = (1_u32, NAME);
        self.connection
            .emit_signal(Some(client), PATH, interface, "NotificationClosed", &(id, expired))
            .await
            .expect("the signal goes out");
    }

    /// Leaves the bus; once this returns the name is free.
    pub async fn stop(self) {
        assert!(self.connection.release_name(NAME).await.expect("the bus answers"));
        self.connection.close().await.expect("the connection closes");
    }
}

/// The served object.
struct Desk {
    capabilities: Vec<String>,
    last_id: u32,
    record: mpsc::UnboundedSender<Bubble>,
    hold: watch::Receiver<Held>,
    refuse: watch::Receiver<bool>,
    ask: watch::Sender<usize>,
}

impl Desk {
    async fn while_held(&self, held: Held) {
        // An error says that the test has dropped the server.
        let _released = self.hold.clone().wait_for(|now| *now != held).await.is_ok();
    }
}

type Hints = std::collections::HashMap<String, OwnedVariant>;

#[zbus::interface(name = "org.freedesktop.Notifications")]
impl Desk {
    #[expect(clippy::too_many_arguments, reason = "the specification has them")]
    async fn notify(
        &mut self,
        #[zbus(header)] header: Header<'_>,
        app_name: String,
        replaces_id: u32,
        icon: String,
        summary: String,
        body: String,
        _actions: Vec<String>,
        hints: Hints,
        expire: i32,
    ) -> fdo::Result<u32> {
        let id = if replaces_id == 0 { self.last_id + 1 } else { replaces_id };
        self.last_id = self.last_id.max(id);
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
            expire,
            id,
        };
        // The test may have dropped its end and only want an answer.
        let _unheard = self.record.send(bubble);
        self.while_held(Held::Bubbles).await;
        if *self.refuse.borrow() {
            return Err(fdo::Error::Failed("not now".to_owned()));
        }
        Ok(id)
    }

    async fn get_capabilities(&self) -> Vec<String> {
        self.ask.send_modify(|times| *times += 1);
        self.while_held(Held::Abilities).await;
        self.capabilities.clone()
    }

    fn get_server_information(&self) -> (String, String, String, String) {
        let text = str::to_owned;
        (text("test"), text("statusd"), text("1"), text("1.2"))
    }

    fn close_notification(&self, _id: u32) {}
}
