//! A mock usbmuxd with iPhones: scripted responses and a record of all requests.
//!
//! Uses no code of statusd. The stock `idevice_id` and `ideviceinfo` confirm that the mock is realistic.
//! It runs on its own thread, so that it responds while a test waits for a child process. Dropping
//! [`MockUsbmuxd`] stops it and closes its sockets.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use fastrand::Rng;
use plist::{Dictionary, Value};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{oneshot, watch};

use super::phone_certs::{Papers, Tls, acceptor};

const LOCKDOWN_PORT: u64 = 62_078;
const NOT_THERE: u64 = 2;
const PACKET_MAX_BYTES: usize = 1 << 20;
/// Made with `openssl rsa -RSAPublicKey_out`. The private key was discarded. Clients read this key to pair.
const DEVICE_PUBLIC_KEY: &str = "-----BEGIN RSA PUBLIC KEY-----
MIIBCgKCAQEAteuzeMHcIKhYeGaSiiS7J3USOJ+8Pai2KNsz3XEZd4oyafetT7e9
hwZK/jn1YtzajF5meVEytW1w+wcnI3iKFIarlfUhvU1dzhyfZaQwLK5FbpbmveEy
OF3TuKBpKhDo0Ae7FV13R9+d5i1g7pa52+aU6j0o4UIsZJKX/gZKiVt6Wx/8OZ9I
awJlhZbw+zz8RjsTeV6ROJNa0FcgoAQATDx4ruGPAHwPGcoFH8dJsztch5tafXK0
4Ci2tZBQFyr0ra5Ml8MzvaO0wMegPDTGtg+AJmGEC4o3ddUi2QXk7EuGBnc8VtAt
z98y3zERPGNW20gKZr6ZfH0/3Gkzzu49QQIDAQAB
-----END RSA PUBLIC KEY-----
";

/// The server_task at which a phone, or usbmuxd on its behalf, misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    List,
    Record,
    Connect,
    QueryType,
    /// GetValue of this key, in a session or before it.
    Value(&'static str),
    StartSession,
    Handshake,
}

/// The fault at a server_task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No response. The connection stays open.
    Hang,
    HangUp,
    /// Two hundred random bytes, then the end of the connection.
    Noise(u64),
    /// The response with changed, inserted or missing bytes, then the end of the connection.
    Damaged(u64),
    /// A header that announces four gigabytes.
    Oversized,
    /// The correct response, padded beyond the size limit.
    TooLong,
    /// The response to another request.
    WrongKey,
    /// Half of the response, then the end of the connection.
    Truncated,
    /// A valid packet whose property list is not a dictionary.
    WrongType,
    /// A property list with a nesting depth of 100,000.
    Deep,
}

/// A mock iPhone. [`Phone::new`] creates one that answers every request.
#[derive(Clone)]
pub struct Phone {
    pub udid: String,
    /// `USB` or `Network`, in the order in which usbmuxd lists them.
    pub links: Vec<&'static str>,
    /// Values by (domain, key). The empty domain needs no session.
    pub values: BTreeMap<(&'static str, &'static str), Value>,
    /// What this computer and the phone kept of their pairing.
    pub papers: Option<Arc<Papers>>,
    /// The name of the pair record, where usbmuxd lists the phone under another spelling.
    pub record: Option<String>,
    /// The error in response to StartSession.
    pub refuses: Option<&'static str>,
    pub tls: Tls,
    pub fault: Option<(Stage, Fault)>,
}

impl Phone {
    pub fn new(udid: &str, papers: Arc<Papers>) -> Phone {
        let backup = "com.apple.mobile.backup";
        let battery = "com.apple.mobile.battery";
        let values = BTreeMap::from([
            (("", "DeviceName"), Value::from("Zoë’s iPhone")),
            (("", "DeviceClass"), "iPhone".into()),
            (("", "ProductType"), "iPhone13,2".into()),
            (("", "ProductVersion"), "18.4.1".into()),
            (("", "BuildVersion"), "22E252".into()),
            (("", "TimeIntervalSince1970"), 1_777_939_200.5.into()),
            (("", "DevicePublicKey"), Value::Data(DEVICE_PUBLIC_KEY.into())),
            (("", "WiFiAddress"), "02:00:00:00:00:01".into()),
            ((backup, "CloudBackupEnabled"), true.into()),
            ((backup, "LastCloudBackupDate"), 769_034_247.into()),
            ((backup, "LastCloudBackupTZ"), "GMT-4".into()),
            ((backup, "LastiTunesBackupDate"), 768_000_000.into()),
            ((backup, "RequiresEncryption"), 0.into()),
            ((backup, "WillEncrypt"), true.into()),
            (("com.apple.disk_usage", "TotalDataCapacity"), 127_989_493_760_u64.into()),
            (("com.apple.disk_usage", "AmountDataAvailable"), 31_415_926_535_u64.into()),
            ((battery, "BatteryCurrentCapacity"), 87.into()),
            ((battery, "BatteryIsCharging"), true.into()),
            ((battery, "ExternalConnected"), true.into()),
            (("com.apple.fmip", "IsAssociated"), true.into()),
        ]);
        Phone {
            udid: udid.to_owned(),
            links: vec!["USB"],
            values,
            papers: Some(papers),
            record: None,
            refuses: None,
            tls: Tls::Any,
            fault: None,
        }
    }

    pub fn faulty(mut self, stage: Stage, fault: Fault) -> Phone {
        self.fault = Some((stage, fault));
        self
    }

    pub fn refusing(mut self, error: &'static str) -> Phone {
        self.refuses = Some(error);
        self
    }

    pub fn with(mut self, domain: &'static str, key: &'static str, value: impl Into<Value>) -> Phone {
        self.values.insert((domain, key), value.into());
        self
    }

    fn fault_at(&self, stage: Stage) -> Option<Fault> {
        self.fault.filter(|(at, _)| *at == stage).map(|(_, fault)| fault)
    }
}

/// One request as received, to usbmuxd (`ListDevices` …) or to lockdownd (`GetValue` …).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    pub kind: String,
    pub domain: Option<String>,
    pub key: Option<String>,
}

/// usbmuxd, and the test's handle to it.
pub struct Mux {
    /// As `USBMUXD_SOCKET_ADDRESS` has it.
    pub address: String,
    heard: watch::Receiver<Vec<Heard>>,
    /// `None` only while being dropped.
    life: Option<(oneshot::Sender<()>, thread::JoinHandle<()>)>,
}

enum Door {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Mux {
    /// On a loopback port.
    pub async fn start(phones: Vec<Phone>) -> Mux {
        Mux::serve(None, phones).await
    }

    /// On a socket file.
    pub async fn start_unix(path: &Path, phones: Vec<Phone>) -> Mux {
        Mux::serve(Some(path), phones).await
    }

    async fn serve(path: Option<&Path>, phones: Vec<Phone>) -> Mux {
        let path = path.map(Path::to_owned);
        let (tell, heard) = watch::channel(Vec::new());
        let (bound, address) = oneshot::channel();
        let (stop, stopped) = oneshot::channel();
        let stage = Arc::new(Play { phones, tell });
        let server = thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let (door, address) = match path {
                    None => {
                        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
                        let address = listener.local_addr().expect("a bound port").to_string();
                        (Door::Tcp(listener), address)
                    }
                    Some(path) => {
                        let listener = UnixListener::bind(&path).expect("a socket file");
                        (Door::Unix(listener), format!("UNIX:{}", path.display()))
                    }
                };
                bound.send(address).expect("somebody waits for the address");
                tokio::select! {
                    () = open(door, stage) => {}
                    _ = stopped => {}
                }
            });
        });
        let address = address.await.expect("the server's thread binds a socket");
        Mux { address, heard, life: Some((stop, server)) }
    }

    /// Returns once there was such a request.
    pub async fn hears(&self, kind: &str) {
        let mut heard = self.heard.clone();
        heard
            .wait_for(|all| all.iter().any(|heard| heard.kind == kind))
            .await
            .expect("the server lives as long as its handle");
    }

    /// All requests so far, in order.
    pub fn heard(&self) -> Vec<Heard> {
        self.heard.borrow().clone()
    }
}

impl Drop for Mux {
    fn drop(&mut self) {
        if let Some((stop, server)) = self.life.take() {
            drop(stop);
            // Its panic has been printed; a second one in a drop would hide the test's own.
            let _ = server.join();
        }
    }
}

async fn open(door: Door, play: Arc<Play>) {
    loop {
        let wire: Box<dyn Wire> = match &door {
            Door::Tcp(listener) => Box::new(listener.accept().await.expect("a connection").0),
            Door::Unix(listener) => Box::new(listener.accept().await.expect("a connection").0),
        };
        let play = Arc::clone(&play);
        // What fails in there is the other side's choice: it went away, or was shown a fault.
        tokio::spawn(async move { play.mux(wire).await });
    }
}

trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

struct Play {
    phones: Vec<Phone>,
    tell: watch::Sender<Vec<Heard>>,
}

impl Play {
    async fn mux(&self, mut wire: Box<dyn Wire>) -> Option<()> {
        loop {
            let mut head = [0; 16];
            wire.read_exact(&mut head).await.ok()?;
            let word = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("four bytes"));
            assert_eq!((word(4), word(8)), (1, 8), "not in usbmuxd's protocol");
            let length = (word(0) as usize).checked_sub(head.len()).expect("a length with the head");
            let request = read_list(&mut wire, length).await?;
            let kind = request.get("MessageType").and_then(Value::as_string).expect("a type").to_owned();
            self.hear(&kind, &request);
            let (answer, fault) = self.mux_answer(&kind, &request);
            let connected =
                kind == "Connect" && answer.get("Number").is_some_and(|number| *number == 0.into());
            send(&mut wire, &answer, fault, |body| {
                let length = u32::try_from(16 + body).unwrap_or(u32::MAX);
                [length, 1, 8, word(12)].into_iter().flat_map(u32::to_le_bytes).collect()
            })
            .await?;
            if connected {
                let phone = self.by_number(&request)?;
                return self.lockdown(wire, phone).await;
            }
        }
    }

    fn mux_answer(&self, kind: &str, request: &Dictionary) -> (Dictionary, Option<Fault>) {
        let result = |number: u64| list([("MessageType", "Result".into()), ("Number", number.into())]);
        match kind {
            "ListDevices" => {
                let fault = self.phones.iter().find_map(|phone| phone.fault_at(Stage::List));
                (list([("DeviceList", Value::Array(self.devices()))]), fault)
            }
            "ReadBUID" => (list([("BUID", "30142955-444094379208051516".into())]), None),
            "ReadPairRecord" => {
                let udid = request.get("PairRecordID").and_then(Value::as_string).unwrap_or_default();
                let record_of = |phone: &Phone| phone.record.as_ref().unwrap_or(&phone.udid) == udid;
                let phone = self.phones.iter().find(|phone| record_of(phone));
                let record = phone.and_then(|phone| phone.papers.as_ref()).map(|papers| papers.record());
                let answer = record.map(|record| list([("PairRecordData", Value::Data(bytes(&record)))]));
                let fault = phone.and_then(|phone| phone.fault_at(Stage::Record));
                (answer.unwrap_or_else(|| result(NOT_THERE)), fault)
            }
            "Connect" => {
                let port = request.get("PortNumber").and_then(Value::as_unsigned_integer);
                // usbmuxd expects the port with swapped bytes.
                let is_lockdown = port == Some(((LOCKDOWN_PORT & 0xff) << 8) | (LOCKDOWN_PORT >> 8));
                match self.by_number(request) {
                    Some(phone) if is_lockdown => (result(0), phone.fault_at(Stage::Connect)),
                    Some(_) => (result(3), None),
                    None => (result(NOT_THERE), None),
                }
            }
            _ => (result(0), None),
        }
    }

    /// The device list, numbered by phone and link.
    fn devices(&self) -> Vec<Value> {
        let mut devices = Vec::new();
        for (place, phone) in self.phones.iter().enumerate() {
            for (which, link) in phone.links.iter().enumerate() {
                let id = (place * 10 + which + 1) as u64;
                let properties = list([
                    ("ConnectionType", (*link).into()),
                    ("DeviceID", id.into()),
                    ("ProductID", 4776.into()),
                    ("SerialNumber", phone.udid.as_str().into()),
                ]);
                devices.push(
                    list([
                        ("DeviceID", id.into()),
                        ("MessageType", "Attached".into()),
                        ("Properties", properties.into()),
                    ])
                    .into(),
                );
            }
        }
        devices
    }

    fn by_number(&self, request: &Dictionary) -> Option<&Phone> {
        let id = request.get("DeviceID").and_then(Value::as_unsigned_integer)?;
        self.phones.get(usize::try_from(id).ok()? / 10)
    }

    async fn lockdown(&self, mut wire: Box<dyn Wire>, phone: &Phone) -> Option<()> {
        let mut in_session = false;
        loop {
            let length = wire.read_u32().await.ok()? as usize;
            let request = read_list(&mut wire, length).await?;
            let kind = request.get("Request").and_then(Value::as_string).expect("a request").to_owned();
            self.hear(&kind, &request);
            let (answer, fault) = phone.answer(&kind, &request, in_session);
            let starts_tls = answer.get("EnableSessionSSL") == Some(&true.into());
            let starts = kind == "StartSession" && answer.contains_key("SessionID");
            send(&mut wire, &answer, fault, |body| {
                u32::try_from(body).unwrap_or(u32::MAX).to_be_bytes().to_vec()
            })
            .await?;
            if starts_tls {
                if let Some(fault) = phone.fault_at(Stage::Handshake) {
                    send(&mut wire, &Dictionary::new(), Some(fault), |_| Vec::new()).await?;
                }
                let acceptor = acceptor(phone.papers.as_ref()?, phone.tls)?;
                wire = Box::new(acceptor.accept(wire).await.ok()?);
            }
            in_session |= starts;
        }
    }

    fn hear(&self, kind: &str, request: &Dictionary) {
        let text = |key: &str| request.get(key).and_then(Value::as_string).map(str::to_owned);
        let heard = Heard { kind: kind.to_owned(), domain: text("Domain"), key: text("Key") };
        self.tell.send_modify(|all| all.push(heard));
    }
}

impl Phone {
    fn answer(&self, kind: &str, request: &Dictionary, in_session: bool) -> (Dictionary, Option<Fault>) {
        let mut answer = list([("Request", kind.into())]);
        let fault = match kind {
            "QueryType" => {
                answer.insert("Type".to_owned(), "com.apple.mobile.lockdown".into());
                self.fault_at(Stage::QueryType)
            }
            "GetValue" => {
                let text = |key: &str| request.get(key).and_then(Value::as_string).unwrap_or_default();
                let (domain, key) = (text("Domain"), text("Key"));
                for (name, text) in [("Domain", domain), ("Key", key)] {
                    if !text.is_empty() {
                        answer.insert(name.to_owned(), text.into());
                    }
                }
                let value = match self.value(domain, key) {
                    _ if !(domain.is_empty() || in_session) => Err("GetProhibited"),
                    value => value.ok_or("MissingValue"),
                };
                match value {
                    Ok(value) => answer.insert("Value".to_owned(), value),
                    Err(error) => answer.insert("Error".to_owned(), error.into()),
                };
                self.fault
                    .filter(|(at, _)| matches!(at, Stage::Value(name) if *name == key))
                    .map(|(_, it)| it)
            }
            "StartSession" => {
                match self.session_error(request) {
                    Some(error) => drop(answer.insert("Error".to_owned(), error.into())),
                    None => {
                        answer.insert("SessionID".to_owned(), "4B5D3A10-0001".into());
                        answer.insert("EnableSessionSSL".to_owned(), (self.tls != Tls::None).into());
                    }
                }
                self.fault_at(Stage::StartSession)
            }
            "StopSession" | "Goodbye" => None,
            // A pairing attempt would change the phone.
            "Pair" => {
                answer.insert("Error".to_owned(), "PairingDialogResponsePending".into());
                None
            }
            _ => {
                answer.insert("Error".to_owned(), "InvalidRequest".into());
                None
            }
        };
        (answer, fault)
    }

    /// Returns a value, or all values of the domain without a key.
    fn value(&self, domain: &str, key: &str) -> Option<Value> {
        if key.is_empty() {
            let all = self.values.iter().filter(|((at, _), _)| *at == domain);
            return Some(Value::Dictionary(
                all.map(|((_, key), value)| ((*key).to_owned(), value.clone())).collect(),
            ));
        }
        self.values
            .iter()
            .find(|((at, name), _)| (*at, *name) == (domain, key))
            .map(|(_, value)| value.clone())
    }

    fn session_error(&self, request: &Dictionary) -> Option<&'static str> {
        let text = |key: &str| request.get(key).and_then(Value::as_string);
        let known = self.papers.as_ref().is_some_and(|papers| {
            text("HostID") == Some(&papers.host_id) && text("SystemBUID") == Some(&papers.system_buid)
        });
        self.refuses.or((!known).then_some("InvalidHostID"))
    }
}

fn list<const N: usize>(entries: [(&str, Value); N]) -> Dictionary {
    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn bytes(list: &Dictionary) -> Vec<u8> {
    let mut bytes = Vec::new();
    Value::Dictionary(list.clone()).to_writer_xml(&mut bytes).expect("memory");
    bytes
}

async fn read_list(wire: &mut Box<dyn Wire>, length: usize) -> Option<Dictionary> {
    assert!(length <= PACKET_MAX_BYTES, "a request of {length} bytes");
    let mut body = vec![0; length];
    wire.read_exact(&mut body).await.ok()?;
    let value = Value::from_reader(std::io::Cursor::new(body)).expect("a property list");
    Some(value.into_dictionary().expect("a dictionary"))
}

/// Sends a packet. Returns `None` if the connection ends. `head` builds the header for a body of this many
/// bytes.
async fn send(
    wire: &mut Box<dyn Wire>,
    answer: &Dictionary,
    fault: Option<Fault>,
    head: impl Fn(usize) -> Vec<u8>,
) -> Option<()> {
    let framed = |body: &[u8]| [head(body.len()), body.to_vec()].concat();
    let whole = framed(&bytes(answer));
    let packet = match fault {
        None => {
            wire.write_all(&whole).await.ok()?;
            return wire.flush().await.ok();
        }
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::HangUp) => Vec::new(),
        Some(Fault::Noise(seed)) => {
            let mut rng = Rng::with_seed(seed);
            std::iter::repeat_with(|| rng.u8(..)).take(200).collect()
        }
        Some(Fault::Damaged(seed)) => damaged(whole, seed),
        Some(Fault::Oversized) => head(u32::MAX as usize),
        Some(Fault::TooLong) => {
            let mut body = bytes(answer);
            body.resize(PACKET_MAX_BYTES + 1, b' ');
            framed(&body)
        }
        Some(Fault::WrongKey) => {
            let mut answer = answer.clone();
            answer.insert("Key".to_owned(), "ActivationState".into());
            framed(&bytes(&answer))
        }
        Some(Fault::Truncated) => whole[..whole.len() / 2].to_vec(),
        Some(Fault::WrongType) => framed(b"<plist><array><dict/></array></plist>"),
        Some(Fault::Deep) => framed("<array>".repeat(100_000).as_bytes()),
    };
    wire.write_all(&packet).await.ok()?;
    // Also closes TLS as it should be closed.
    wire.shutdown().await.ok()?;
    None
}

fn damaged(mut bytes: Vec<u8>, seed: u64) -> Vec<u8> {
    let mut rng = Rng::with_seed(seed);
    for _ in 0..rng.usize(1..4) {
        let at = rng.usize(0..=bytes.len());
        match rng.u8(0..9) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, rng.u8(..)),
            _ => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = rng.u8(..)),
        }
    }
    bytes
}
