//! Subjects with a fault, to show that the laboratory sees it.
//!
//! The daemon is the library's own; the fault is in a forwarder that lives and dies in the same
//! process, between the daemon and its receiver. To the outside the two are one program that, for
//! instance, records a message as sent before it has sent it. Without a fault the forwarder changes
//! nothing: that subject must pass.

use std::fs::{self, File};
use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use statusd::{config, daemon};

use super::http::{self, Request};
use super::listener::Door;
use super::receiver::Ear;
use super::scenario::{Kind, News};

const FAULT: &str = "LAB_FAULT";
const CONFIG: &str = "LAB_CONFIG";
/// The daemon records what was taken, as a rule in less.
const RECORDING: Duration = Duration::from_millis(50);

/// What is wrong with a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: the control.
    None,
    RecordedBeforeSent,
    /// An end that could not be sent is taken for sent.
    EndDropped,
    /// The key has a random part.
    RandomKey,
    /// A start waits until its end has gone.
    EndOvertakes,
}

impl Fault {
    pub const ALL: [Fault; 5] =
        [Fault::None, Fault::RecordedBeforeSent, Fault::EndDropped, Fault::RandomKey, Fault::EndOvertakes];

    fn name(self) -> String {
        format!("{self:?}")
    }
}

/// What makes this test program a subject.
pub fn variables(fault: Fault, config: &Path) -> [(&'static str, String); 2] {
    [(FAULT, fault.name()), (CONFIG, config.to_str().expect("a path in UTF-8").to_owned())]
}

/// The subject itself; anything else that runs all tests passes by.
pub fn live() {
    let Ok(name) = std::env::var(FAULT) else { return };
    let fault = Fault::ALL.into_iter().find(|fault| fault.name() == name).expect("a fault");
    let path = PathBuf::from(std::env::var_os(CONFIG).expect("a configuration"));
    let text = fs::read_to_string(&path).expect("a configuration");
    let (before, address) = text.split_once("lab]\nurl = \"http://").expect("the receiver's address");
    let (peer, behind) = address.split_once('/').expect("a path behind the address");
    let home = path.parent().expect("a home").to_owned();
    let mut forwarder = Forwarder { fault, peer: peer.parse().expect("an address"), home };
    let door = Door::open(move |visitor| forwarder.forward(visitor));
    let own = path.with_file_name("planted.toml");
    fs::write(&own, format!("{before}lab]\nurl = \"http://{}/{behind}", door.address)).expect("room");
    let overrides = config::Overrides { config: Some(own), ..Default::default() };
    let environment = |name: &str| std::env::var(name).ok();
    let config = config::load(&overrides, &environment).expect("a configuration");
    daemon::run(config, &overrides, &environment, Box::new(|_| ())).expect("a good end");
}

struct Forwarder {
    fault: Fault,
    peer: SocketAddr,
    home: PathBuf,
}

impl Forwarder {
    fn forward(&mut self, mut visitor: BufReader<TcpStream>) {
        let Ok(Some(mut request)) = Request::read(&mut visitor) else { return };
        let news = Ear::Webhook.news(&String::from_utf8_lossy(&request.body)).remove(0);
        match self.fault {
            Fault::None => pass_on(visitor, &self.sent(&request)),
            Fault::RecordedBeforeSent => {
                take(visitor);
                sleep(RECORDING);
                self.sent(&request);
            }
            Fault::EndDropped => {
                let answer = self.sent(&request);
                match news.kind {
                    Kind::Ended if !answer.starts_with(b"HTTP/1.1 200") => take(visitor),
                    _ => pass_on(visitor, &answer),
                }
            }
            Fault::RandomKey => {
                for (_, value) in request.headers.iter_mut().filter(|(name, _)| name == "idempotency-key") {
                    value.push_str(&format!("-{:x}", fastrand::u64(..)));
                }
                pass_on(visitor, &self.sent(&request));
            }
            Fault::EndOvertakes if news.kind.is_start() => {
                let mut file = File::create(self.held_back(&news)).expect("a file");
                request.write(&mut file).expect("room for a request");
                take(visitor);
            }
            Fault::EndOvertakes => {
                pass_on(visitor, &self.sent(&request));
                // Where there is none, the start was told before.
                if let Ok(file) = File::open(self.held_back(&news)) {
                    let start = Request::read(&mut BufReader::new(file)).expect("a readable file");
                    start.map(|start| self.sent(&start));
                    fs::remove_file(self.held_back(&news)).expect("the file goes");
                }
            }
        }
    }

    /// Where the start waits for the end of an outage.
    fn held_back(&self, news: &News) -> PathBuf {
        self.home.join(&news.service)
    }

    /// The receiver's answer; nothing where it gave none.
    fn sent(&self, request: &Request) -> Vec<u8> {
        let mut answer = Vec::new();
        let conversation = TcpStream::connect(self.peer).and_then(|mut peer| {
            request.write(&mut peer)?;
            peer.read_to_end(&mut answer)
        });
        if conversation.is_err() {
            answer.clear();
        }
        answer
    }
}

fn pass_on(mut visitor: BufReader<TcpStream>, answer: &[u8]) {
    // A daemon that is gone is past caring.
    let _gone = visitor.get_mut().write_all(answer);
}

fn take(mut visitor: BufReader<TcpStream>) {
    let _gone = http::answer(visitor.get_mut(), 200, "");
}
