//! A real MQTT broker (`mosquitto`) on loopback, and a client that subscribes to everything.
//!
//! Starting waits for the broker's log line. Waiting for a message that never comes fails after
//! [`PATIENCE`].

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::Duration;

use rumqttc::{AsyncClient, Event, MqttOptions, Packet, PublishOptions, QoS};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::apple::{ServerCert, certified};

/// Far longer than a loaded machine needs.
const PATIENCE: Duration = Duration::from_secs(60);
/// Below the ephemeral ports, so that no outgoing connection takes the port while the broker restarts.
const FIRST_PORT: u16 = 10_000;
const PORTS: u16 = 20_000;
/// Attempts to start, because another test may take the same port.
const STARTS: usize = 20;

/// A running broker. Killed when dropped. A restart loses all messages.
pub struct Mosquitto {
    program: Child,
    log: mpsc::UnboundedReceiver<String>,
    dir: tempfile::TempDir,
    pub port: u16,
}

impl Mosquitto {
    /// Starts a broker that accepts anonymous clients.
    ///
    /// # Panics
    ///
    /// If mosquitto is not installed (Debian's package `mosquitto`).
    pub fn start() -> Mosquitto {
        let dir = tempfile::tempdir().expect("a temporary directory");
        Mosquitto::start_in(dir, "allow_anonymous true\n")
    }

    /// Starts a broker that accepts only this user.
    pub fn start_for(user: &str, password: &str) -> Mosquitto {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = dir.path().join("passwords");
        std::fs::write(&file, format!("{user}:{password}\n")).expect("a file");
        // Hashes the file in place, so that the password is not an argument.
        let hashed = Command::new("mosquitto_passwd").arg("-U").arg(&file).status();
        assert!(hashed.expect("mosquitto_passwd starts (is mosquitto installed?)").success());
        Mosquitto::start_in(dir, "allow_anonymous false\npassword_file DIR/passwords\n")
    }

    /// Starts a broker over TLS, with a certificate from a new authority ([`Mosquitto::ca_file`]).
    pub fn start_tls(cert: ServerCert) -> Mosquitto {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let certified = certified(cert);
        let write = |name: &str, pem: &str| std::fs::write(dir.path().join(name), pem).expect("a file");
        write("ca.pem", &certified.authority_pem);
        write("cert.pem", &certified.certificate.pem());
        write("key.pem", &certified.key.serialize_pem());
        Mosquitto::start_in(dir, "allow_anonymous true\ncertfile DIR/cert.pem\nkeyfile DIR/key.pem\n")
    }

    pub fn ca_file(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// Kills the broker with all its messages.
    pub fn kill(&mut self) {
        // An error means that the process has exited already.
        let _dead = self.program.kill();
        self.program.wait().expect("a child");
    }

    /// Restarts the broker at the same port, without its messages.
    pub fn restart(&mut self) {
        self.kill();
        (self.program, self.log) = launch(self.dir.path()).expect("the port is still free");
    }

    /// Waits for the next log line that contains all of these words.
    pub async fn wait_for_log(&mut self, words: &[&str]) -> String {
        let found = async {
            loop {
                let line = self.log.recv().await.expect("the broker still runs");
                if words.iter().all(|word| line.contains(word)) {
                    return line;
                }
            }
        };
        tokio::time::timeout(PATIENCE, found).await.expect("no such log line came")
    }

    fn start_in(dir: tempfile::TempDir, settings: &str) -> Mosquitto {
        for port in std::iter::repeat_with(free_port).take(STARTS) {
            let settings = settings.replace("DIR", &dir.path().display().to_string());
            let config = format!("listener {port} 127.0.0.1\n{settings}{CONFIG}");
            std::fs::write(dir.path().join("mosquitto.conf"), config).expect("a config");
            if let Some((program, log)) = launch(dir.path()) {
                return Mosquitto { program, log, dir, port };
            }
        }
        panic!("no port for mosquitto")
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.kill();
    }
}

const CONFIG: &str =
    "persistence false\nlog_dest stderr\nlog_type all\nconnection_messages true\nuser root\n";

/// Starts the broker and waits until it is ready. Returns `None` if the port is taken.
fn launch(dir: &Path) -> Option<(Child, mpsc::UnboundedReceiver<String>)> {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut program = Command::new("mosquitto")
        .arg("-c")
        .arg(dir.join("mosquitto.conf"))
        // Debian installs the broker in a directory that is only in root's PATH.
        .env("PATH", format!("{path}:/usr/sbin:/usr/local/sbin"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("mosquitto starts (is it installed?)");
    let mut lines = BufReader::new(program.stderr.take().expect("stderr is piped")).lines();
    let mut said = Vec::new();
    loop {
        let Some(Ok(line)) = lines.next() else {
            program.wait().expect("a child");
            let is_taken = said.iter().any(|line: &String| line.contains("Address already in use"));
            assert!(is_taken, "mosquitto does not start: {said:#?}");
            return None;
        };
        if line.contains(" running") {
            break;
        }
        said.push(line);
    }
    let (sender, log) = mpsc::unbounded_channel();
    // A full pipe would block the broker.
    thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let _dropped = sender.send(line);
        }
    });
    Some((program, log))
}

/// Returns a port that is free now.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() as u16).wrapping_mul(97);
    loop {
        let turn = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = FIRST_PORT + turn % PORTS;
        if TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port))).is_ok() {
            return port;
        }
    }
}

/// A message as delivered to a subscriber.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub topic: String,
    pub payload: String,
    /// The broker retained the message before the subscription.
    pub retain: bool,
    pub qos: u8,
}

/// A client that is subscribed to every topic. Disconnected when dropped.
pub struct Subscriber {
    client: AsyncClient,
    messages: mpsc::UnboundedReceiver<Message>,
    task: JoinHandle<()>,
}

impl Subscriber {
    /// Subscribes to every topic. Retained messages arrive first.
    pub async fn start(port: u16) -> Subscriber {
        static COUNT: AtomicU16 = AtomicU16::new(0);
        let name = format!("listener-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let mut options = MqttOptions::new(name, ("127.0.0.1", port));
        options.set_max_packet_size(1 << 20, 1 << 20);
        let (client, mut events) = AsyncClient::builder(options).capacity(16).build();
        client.subscribe("#", QoS::AtLeastOnce).await.expect("room");
        let (sender, messages) = mpsc::unbounded_channel();
        let (ready, subscribed) = oneshot::channel();
        let task = tokio::spawn(async move {
            let mut ready = Some(ready);
            // Ends when the broker ends.
            while let Ok(event) = events.poll().await {
                match event {
                    Event::Incoming(Packet::SubAck(_)) => {
                        let _gone = ready.take().map(|ready| ready.send(()));
                    }
                    Event::Incoming(Packet::Publish(publish)) => {
                        let _gone = sender.send(Message {
                            topic: String::from_utf8_lossy(&publish.topic).into_owned(),
                            payload: String::from_utf8_lossy(&publish.payload).into_owned(),
                            retain: publish.retain,
                            qos: publish.qos as u8,
                        });
                    }
                    _ => {}
                }
            }
        });
        tokio::time::timeout(PATIENCE, subscribed).await.expect("in time").expect("a subscription");
        Subscriber { client, messages, task }
    }

    /// Waits for the next message on a topic, and skips others.
    pub async fn next(&mut self, topic: &str) -> Message {
        self.wait_for(|message| message.topic == topic).await
    }

    /// Waits for the next message that matches, and skips others.
    pub async fn wait_for(&mut self, is_it: impl Fn(&Message) -> bool) -> Message {
        let found = async {
            loop {
                let message = self.messages.recv().await.expect("the broker still runs");
                if is_it(&message) {
                    return message;
                }
            }
        };
        tokio::time::timeout(PATIENCE, found).await.expect("no such message came")
    }

    /// Returns all messages up to a marker that is published now, because the broker keeps the order.
    pub async fn received_so_far(&mut self) -> Vec<Message> {
        const MARK: &str = "listener/mark";
        self.publish(MARK, "", false).await;
        let mut received = Vec::new();
        loop {
            let message = self.wait_for(|_| true).await;
            if message.topic == MARK {
                return received;
            }
            received.push(message);
        }
    }

    pub async fn publish(&self, topic: &str, payload: &str, retain: bool) {
        self.client
            .publish(topic, payload.to_owned(), PublishOptions::at_least_once().retain(retain))
            .await
            .expect("room");
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Returns the retained payloads by topic.
pub async fn retained(port: u16) -> BTreeMap<String, String> {
    let mut subscriber = Subscriber::start(port).await;
    let messages = subscriber.received_so_far().await;
    messages.into_iter().filter(|m| m.retain).map(|message| (message.topic, message.payload)).collect()
}
