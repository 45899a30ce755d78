//! Daemons with a fault, which prove that the crash test detects each kind of fault.
//!
//! The daemon is the library's own. The fault is in a forwarder between the daemon and its receiver,
//! in the same process. From outside the two are one program that, for instance, records a message as
//! sent before sending it. Without a fault the forwarder changes nothing, and that daemon must pass.

use std::fs::{self, File};
use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use statusd::{config, daemon};

use super::http::{self, Request};
use super::listener::Listener;
use super::receiver::ReceiverKind;
use super::scenario::{Change, Kind};

const FAULT: &str = "CRASH_FAULT";
const CONFIG: &str = "CRASH_CONFIG";
/// Usually enough for the daemon to record an accepted message.
const RECORDING: Duration = Duration::from_millis(50);

/// The fault of a daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The control.
    None,
    RecordedBeforeSent,
    /// An end that could not be sent is recorded as sent.
    EndDropped,
    /// The key has a random part.
    RandomKey,
    /// A start is sent after its end.
    EndOvertakes,
}

impl Fault {
    pub const ALL: [Fault; 5] =
        [Fault::None, Fault::RecordedBeforeSent, Fault::EndDropped, Fault::RandomKey, Fault::EndOvertakes];

    fn name(self) -> String {
        format!("{self:?}")
    }
}

/// Environment variables that make this test program a faulty daemon.
pub fn variables(fault: Fault, config: &Path) -> [(&'static str, String); 2] {
    [(FAULT, fault.name()), (CONFIG, config.to_str().expect("a path in UTF-8").to_owned())]
}

/// Runs the faulty daemon. Returns at once without the variables, for example under `--ignored`.
pub fn run_faulty_daemon() {
    let Ok(name) = std::env::var(FAULT) else { return };
    let fault = Fault::ALL.into_iter().find(|fault| fault.name() == name).expect("a fault");
    let path = PathBuf::from(std::env::var_os(CONFIG).expect("a configuration"));
    let text = fs::read_to_string(&path).expect("a configuration");
    let (before, address) = text.split_once("test]\nurl = \"http://").expect("the receiver's address");
    let (server, behind) = address.split_once('/').expect("a path behind the address");
    let home = path.parent().expect("a home").to_owned();
    let mut forwarder = Forwarder { fault, server: server.parse().expect("an address"), home };
    let listener = Listener::open(move |client| forwarder.forward(client));
    let own = path.with_file_name("faulty.toml");
    fs::write(&own, format!("{before}test]\nurl = \"http://{}/{behind}", listener.address)).expect("room");
    let overrides = config::Overrides { config: Some(own), ..Default::default() };
    let environment = |name: &str| std::env::var(name).ok();
    let config = config::load(&overrides, &environment).expect("a configuration");
    daemon::run(config, &overrides, &environment, Box::new(|_| ())).expect("a good end");
}

struct Forwarder {
    fault: Fault,
    server: SocketAddr,
    home: PathBuf,
}

impl Forwarder {
    fn forward(&mut self, mut client: BufReader<TcpStream>) {
        let Ok(Some(mut request)) = Request::read(&mut client) else { return };
        let change = ReceiverKind::Webhook.changes(&String::from_utf8_lossy(&request.body)).remove(0);
        match self.fault {
            Fault::None => pass_on(client, &self.sent(&request)),
            Fault::RecordedBeforeSent => {
                take(client);
                sleep(RECORDING);
                self.sent(&request);
            }
            Fault::EndDropped => {
                let answer = self.sent(&request);
                match change.kind {
                    Kind::Ended if !answer.starts_with(b"HTTP/1.1 200") => take(client),
                    _ => pass_on(client, &answer),
                }
            }
            Fault::RandomKey => {
                for (_, value) in request.headers.iter_mut().filter(|(name, _)| name == "idempotency-key") {
                    value.push_str(&format!("-{:x}", fastrand::u64(..)));
                }
                pass_on(client, &self.sent(&request));
            }
            Fault::EndOvertakes if change.kind.is_start() => {
                let mut file = File::create(self.held_back(&change)).expect("a file");
                request.write(&mut file).expect("room for a request");
                take(client);
            }
            Fault::EndOvertakes => {
                pass_on(client, &self.sent(&request));
                // Without a file the start was sent earlier.
                if let Ok(file) = File::open(self.held_back(&change)) {
                    let start = Request::read(&mut BufReader::new(file)).expect("a readable file");
                    start.map(|start| self.sent(&start));
                    fs::remove_file(self.held_back(&change)).expect("the file goes");
                }
            }
        }
    }

    /// The file that holds the start of an outage back.
    fn held_back(&self, change: &Change) -> PathBuf {
        self.home.join(&change.service)
    }

    /// Sends a request. Returns the receiver's response, empty if there was none.
    fn sent(&self, request: &Request) -> Vec<u8> {
        let mut answer = Vec::new();
        let conversation = TcpStream::connect(self.server).and_then(|mut server| {
            request.write(&mut server)?;
            server.read_to_end(&mut answer)
        });
        if conversation.is_err() {
            answer.clear();
        }
        answer
    }
}

fn pass_on(mut client: BufReader<TcpStream>, answer: &[u8]) {
    // The daemon may have been killed.
    let _gone = client.get_mut().write_all(answer);
}

fn take(mut client: BufReader<TcpStream>) {
    let _gone = http::answer(client.get_mut(), 200, "");
}
