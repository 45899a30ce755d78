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

use super::phone_certs::{Pairing, Tls, acceptor};

const LOCKDOWN_PORT: u64 = 62_078;
const NO_SUCH_DEVICE: u64 = 2;
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
    /// The pairing with this computer.
    pub pairing: Option<Arc<Pairing>>,
    /// The name of the pair record, if usbmuxd lists the phone under another spelling.
    pub record: Option<String>,
    /// The error in response to StartSession.
    pub refuses: Option<&'static str>,
    pub tls: Tls,
    pub fault: Option<(Stage, Fault)>,
}

impl Phone {
    pub fn new(udid: &str, pairing: Arc<Pairing>) -> Phone {
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
            pairing: Some(pairing),
            record: None,
            refuses: None,
            tls: Tls::Any,
            fault: None,
        }
    }

    pub fn faulty(mut self, server_task: Stage, fault: Fault) -> Phone {
        self.fault = Some((server_task, fault));
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

    fn fault_at(&self, server_task: Stage) -> Option<Fault> {
        self.fault.filter(|(at, _)| *at == server_task).map(|(_, fault)| fault)
    }
}

/// One request as received, to usbmuxd (`ListDevices` …) or to lockdownd (`GetValue` …).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MuxRequest {
    pub kind: String,
    pub domain: Option<String>,
    pub key: Option<String>,
}

/// A handle to the mock usbmuxd.
pub struct MockUsbmuxd {
    /// The value for `USBMUXD_SOCKET_ADDRESS`.
    pub address: String,
    requests: watch::Receiver<Vec<MuxRequest>>,
    /// `None` only while being dropped.
    thread: Option<(oneshot::Sender<()>, thread::JoinHandle<()>)>,
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl MockUsbmuxd {
    /// Listens on a loopback port.
    pub async fn start(phones: Vec<Phone>) -> MockUsbmuxd {
        MockUsbmuxd::serve(None, phones).await
    }

    /// Listens on a socket file.
    pub async fn start_unix(path: &Path, phones: Vec<Phone>) -> MockUsbmuxd {
        MockUsbmuxd::serve(Some(path), phones).await
    }

    async fn serve(path: Option<&Path>, phones: Vec<Phone>) -> MockUsbmuxd {
        let path = path.map(Path::to_owned);
        let (record, requests) = watch::channel(Vec::new());
        let (bound, address) = oneshot::channel();
        let (stop, stopped) = oneshot::channel();
        let server = Arc::new(Server { phones, record });
        let thread = thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let (listener, address) = match path {
                    None => {
                        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
                        let address = listener.local_addr().expect("a bound port").to_string();
                        (Listener::Tcp(listener), address)
                    }
                    Some(path) => {
                        let listener = UnixListener::bind(&path).expect("a socket file");
                        (Listener::Unix(listener), format!("UNIX:{}", path.display()))
                    }
                };
                bound.send(address).expect("the caller waits for the address");
                tokio::select! {
                    () = accept_all(listener, server) => {}
                    _ = stopped => {}
                }
            });
        });
        let address = address.await.expect("the server's thread binds a socket");
        MockUsbmuxd { address, requests, thread: Some((stop, thread)) }
    }

    /// Returns once there has been a request of this kind.
    pub async fn wait_for_request(&self, kind: &str) {
        let mut requests = self.requests.clone();
        requests
            .wait_for(|all| all.iter().any(|request| request.kind == kind))
            .await
            .expect("the server lives as long as its handle");
    }

    /// Returns all requests so far, in order.
    pub fn requests(&self) -> Vec<MuxRequest> {
        self.requests.borrow().clone()
    }
}

impl Drop for MockUsbmuxd {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.thread.take() {
            drop(stop);
            // A panic of the server has been printed. A second panic here would hide the test's own.
            let _ = thread.join();
        }
    }
}

async fn accept_all(listener: Listener, server: Arc<Server>) {
    loop {
        let stream: Box<dyn Stream> = match &listener {
            Listener::Tcp(listener) => Box::new(listener.accept().await.expect("a connection").0),
            Listener::Unix(listener) => Box::new(listener.accept().await.expect("a connection").0),
        };
        let server = Arc::clone(&server);
        // Errors are expected: the client disconnects, also because of a fault.
        tokio::spawn(async move { server.mux(stream).await });
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

struct Server {
    phones: Vec<Phone>,
    record: watch::Sender<Vec<MuxRequest>>,
}

impl Server {
    async fn mux(&self, mut stream: Box<dyn Stream>) -> Option<()> {
        loop {
            let mut head = [0; 16];
            stream.read_exact(&mut head).await.ok()?;
            let word = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("four bytes"));
            assert_eq!((word(4), word(8)), (1, 8), "not usbmuxd's protocol");
            let length = (word(0) as usize).checked_sub(head.len()).expect("a length with the head");
            let request = read_list(&mut stream, length).await?;
            let kind = request.get("MessageType").and_then(Value::as_string).expect("a type").to_owned();
            self.record_request(&kind, &request);
            let (answer, fault) = self.mux_answer(&kind, &request);
            let connected =
                kind == "Connect" && answer.get("Number").is_some_and(|number| *number == 0.into());
            send(&mut stream, &answer, fault, |body| {
                let length = u32::try_from(16 + body).unwrap_or(u32::MAX);
                [length, 1, 8, word(12)].into_iter().flat_map(u32::to_le_bytes).collect()
            })
            .await?;
            if connected {
                let phone = self.by_number(&request)?;
                return self.lockdown(stream, phone).await;
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
                let record = phone.and_then(|phone| phone.pairing.as_ref()).map(|pairing| pairing.record());
                let answer = record.map(|record| list([("PairRecordData", Value::Data(bytes(&record)))]));
                let fault = phone.and_then(|phone| phone.fault_at(Stage::Record));
                (answer.unwrap_or_else(|| result(NO_SUCH_DEVICE)), fault)
            }
            "Connect" => {
                let port = request.get("PortNumber").and_then(Value::as_unsigned_integer);
                // usbmuxd expects the port with swapped bytes.
                let is_lockdown = port == Some(((LOCKDOWN_PORT & 0xff) << 8) | (LOCKDOWN_PORT >> 8));
                match self.by_number(request) {
                    Some(phone) if is_lockdown => (result(0), phone.fault_at(Stage::Connect)),
                    Some(_) => (result(3), None),
                    None => (result(NO_SUCH_DEVICE), None),
                }
            }
            _ => (result(0), None),
        }
    }

    /// The device list, numbered by phone and link.
    fn devices(&self) -> Vec<Value> {
        let mut devices = Vec::new();
        for (place, phone) in self.phones.iter().enumerate() {
            for (index, link) in phone.links.iter().enumerate() {
                let id = (place * 10 + index + 1) as u64;
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

    async fn lockdown(&self, mut stream: Box<dyn Stream>, phone: &Phone) -> Option<()> {
        let mut in_session = false;
        loop {
            let length = stream.read_u32().await.ok()? as usize;
            let request = read_list(&mut stream, length).await?;
            let kind = request.get("Request").and_then(Value::as_string).expect("a request").to_owned();
            self.record_request(&kind, &request);
            let (answer, fault) = phone.answer(&kind, &request, in_session);
            let starts_tls = answer.get("EnableSessionSSL") == Some(&true.into());
            let starts = kind == "StartSession" && answer.contains_key("SessionID");
            send(&mut stream, &answer, fault, |body| {
                u32::try_from(body).unwrap_or(u32::MAX).to_be_bytes().to_vec()
            })
            .await?;
            if starts_tls {
                if let Some(fault) = phone.fault_at(Stage::Handshake) {
                    send(&mut stream, &Dictionary::new(), Some(fault), |_| Vec::new()).await?;
                }
                let acceptor = acceptor(phone.pairing.as_ref()?, phone.tls)?;
                stream = Box::new(acceptor.accept(stream).await.ok()?);
            }
            in_session |= starts;
        }
    }

    fn record_request(&self, kind: &str, request: &Dictionary) {
        let text = |key: &str| request.get(key).and_then(Value::as_string).map(str::to_owned);
        let request = MuxRequest { kind: kind.to_owned(), domain: text("Domain"), key: text("Key") };
        self.record.send_modify(|all| all.push(request));
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
        let known = self.pairing.as_ref().is_some_and(|pairing| {
            text("HostID") == Some(&pairing.host_id) && text("SystemBUID") == Some(&pairing.system_buid)
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

async fn read_list(stream: &mut Box<dyn Stream>, length: usize) -> Option<Dictionary> {
    assert!(length <= PACKET_MAX_BYTES, "a request of {length} bytes");
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    let value = Value::from_reader(std::io::Cursor::new(body)).expect("a property list");
    Some(value.into_dictionary().expect("a dictionary"))
}

/// Sends a packet. Returns `None` if the connection ends. `head` builds the header for a body of this many
/// bytes.
async fn send(
    stream: &mut Box<dyn Stream>,
    answer: &Dictionary,
    fault: Option<Fault>,
    head: impl Fn(usize) -> Vec<u8>,
) -> Option<()> {
    let framed = |body: &[u8]| [head(body.len()), body.to_vec()].concat();
    let whole = framed(&bytes(answer));
    let packet = match fault {
        None => {
            stream.write_all(&whole).await.ok()?;
            return stream.flush().await.ok();
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
    stream.write_all(&packet).await.ok()?;
    // Also sends TLS's close_notify.
    stream.shutdown().await.ok()?;
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
