//! Mock of Apple's feed server: a small HTTP/1.1 server on loopback with scripted responses and a
//! record of all requests.
//!
//! Uses no code of statusd. The server runs on its own thread, so that it responds while a test waits
//! for a child process. Dropping [`Apple`] stops the server and frees its port.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

/// The default path of the feed.
pub const PATH: &str = "/support/systemstatus/data/system_status_en_US.js";
const REQUEST_MAX_BYTES: usize = 64 << 10;
/// The delay between the bytes of [`Response::drip`].
const DRIP: Duration = Duration::from_millis(5);

/// A handle to the mock server.
///
/// ```ignore
/// let apple = Apple::start().await;
/// apple.show(&Doc::new().service("iCloud Backup").json());
/// // … let statusd poll apple.url() …
/// apple.respond(Response::status(503).header("Retry-After", "120"));
/// apple.wait_for_requests(2).await; // returns once there have been two requests
/// assert_eq!(apple.requests()[1].header("user-agent"), Some("statusd/0.1.0"));
/// ```
pub struct Apple {
    address: SocketAddr,
    scheme: &'static str,
    authority_pem: Option<String>,
    script: watch::Sender<Script>,
    requests: watch::Receiver<Vec<Request>>,
    /// `None` only while being dropped.
    thread: Option<(oneshot::Sender<()>, thread::JoinHandle<()>)>,
}

/// The certificate of a TLS server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerCert {
    Valid,
    Expired,
    NotYetValid,
    WrongHost,
    /// Valid for this host instead of 127.0.0.1.
    ValidFor(&'static str),
}

#[derive(Clone, Debug, Default)]
struct Script {
    default_response: Response,
    once: VecDeque<Response>,
    paths: BTreeMap<String, Response>,
    released: u64,
}

impl Apple {
    /// Starts a server over plain HTTP. The default response is an empty body with status 200.
    pub async fn start() -> Apple {
        Apple::serve(None).await
    }

    /// Starts a server over HTTPS, with a certificate from a new authority.
    pub async fn start_tls(cert: ServerCert) -> Apple {
        Apple::serve(Some(cert)).await
    }

    async fn serve(cert: Option<ServerCert>) -> Apple {
        let (acceptor, authority_pem) = cert.map(acceptor).unzip();
        let scheme = if acceptor.is_some() { "https" } else { "http" };
        let (script, _) = watch::channel(Script::default());
        let (record, requests) = watch::channel(Vec::new());
        let (bound, address) = oneshot::channel();
        let (stop, stopped) = oneshot::channel();
        let task = ServerTask { script: script.clone(), record, acceptor };
        let thread = thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                tokio::select! {
                    () = task.run(bound) => {}
                    _ = stopped => {}
                }
            });
        });
        let address = address.await.expect("the server's thread binds a port");
        Apple { address, scheme, authority_pem, script, requests, thread: Some((stop, thread)) }
    }

    /// The URL of the feed.
    pub fn url(&self) -> String {
        self.url_of(PATH)
    }

    /// The URL of another path on this server.
    pub fn url_of(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The authority's certificate, for `feed.ca_file`. Only after [`Apple::start_tls`].
    pub fn authority_pem(&self) -> &str {
        self.authority_pem.as_deref().expect("a server with start_tls")
    }

    /// Responds with this body and status 200 from now on.
    pub fn show(&self, body: &str) {
        self.respond(Response::ok(body));
    }

    /// Responds with this response from now on.
    pub fn respond(&self, response: Response) {
        self.script.send_modify(|script| script.default_response = response);
    }

    /// Queues a response that is sent once, before the default one.
    pub fn once(&self, response: Response) {
        self.script.send_modify(|script| script.once.push_back(response));
    }

    /// Responds on this path only, with precedence over all other responses.
    pub fn at(&self, path: &str, response: Response) {
        self.script.send_modify(|script| {
            script.paths.insert(path.to_owned(), response);
        });
    }

    /// Sends all responses that are held now.
    pub fn release(&self) {
        self.script.send_modify(|script| script.released += 1);
    }

    /// Returns all requests so far, in order.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.borrow().clone()
    }

    /// Returns once there have been at least this many requests.
    pub async fn wait_for_requests(&self, times: usize) {
        let mut requests = self.requests.clone();
        requests
            .wait_for(|requests| requests.len() >= times)
            .await
            .expect("the server lives as long as its handle");
    }
}

impl Drop for Apple {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.thread.take() {
            drop(stop);
            // A panic of the server has been printed. A second panic here would hide the test's own.
            let _ = thread.join();
        }
    }
}

/// One request as received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        let name = name.to_ascii_lowercase();
        self.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    fn parse(head: &str) -> Request {
        let mut lines = head.lines();
        let mut words = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
        let headers = lines.filter_map(|line| line.split_once(':'));
        Request {
            method: words.next().unwrap_or_default(),
            path: words.next().unwrap_or_default(),
            headers: headers
                .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
                .collect(),
        }
    }
}

/// A scripted response, with its transport faults.
#[derive(Clone, Debug)]
pub struct Response {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    delivery: Delivery,
    held: bool,
}

#[derive(Clone, Copy, Debug)]
enum Delivery {
    Whole,
    Chunked,
    Cut,
    Drip,
    Close,
    Reset,
    Raw,
}

impl Default for Response {
    fn default() -> Response {
        Response::ok("")
    }
}

impl Response {
    /// A response with status 200 and this body.
    pub fn ok(body: impl Into<Vec<u8>>) -> Response {
        Response { body: body.into(), ..Response::status(200) }
    }

    /// A response with this status and no body.
    pub fn status(status: u16) -> Response {
        Response { status, headers: Vec::new(), body: Vec::new(), delivery: Delivery::Whole, held: false }
    }

    pub fn body(self, body: &str) -> Response {
        Response { body: body.into(), ..self }
    }

    /// A web page with status 200, like that of a captive portal.
    pub fn html() -> Response {
        Response::ok("<!DOCTYPE html>\n<html><title>Welcome</title></html>")
            .header("Content-Type", "text/html")
    }

    pub fn redirect(location: &str) -> Response {
        Response::status(302).header("Location", location)
    }

    /// No response. The connection stays open.
    pub fn silence() -> Response {
        Response::status(200).held()
    }

    /// Closes the connection without a response.
    pub fn close() -> Response {
        Response { delivery: Delivery::Close, ..Response::status(200) }
    }

    /// Resets the connection without a response.
    pub fn reset() -> Response {
        Response { delivery: Delivery::Reset, ..Response::status(200) }
    }

    /// These bytes instead of an HTTP response.
    pub fn raw(bytes: &[u8]) -> Response {
        Response { delivery: Delivery::Raw, ..Response::ok(bytes) }
    }

    pub fn header(mut self, name: &str, value: &str) -> Response {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds an ETag (with its quotes), and responds with 304 if the client sends the ETag back.
    pub fn etag(self, value: &str) -> Response {
        self.header("ETag", value)
    }

    /// Adds a Last-Modified, and responds with 304 if the client sends the date back.
    pub fn last_modified(self, value: &str) -> Response {
        self.header("Last-Modified", value)
    }

    /// Compresses the body.
    pub fn gzip(mut self) -> Response {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&self.body).expect("writing to memory");
        self.body = encoder.finish().expect("writing to memory");
        self.header("Content-Encoding", "gzip")
    }

    /// Sends the body in two chunks, without Content-Length.
    pub fn chunked(self) -> Response {
        Response { delivery: Delivery::Chunked, ..self }
    }

    /// Truncates the body (after compression) without announcing more.
    pub fn truncated(mut self, bytes: usize) -> Response {
        self.body.truncate(bytes);
        self
    }

    /// Announces the whole body, sends half of it and closes.
    pub fn cut(self) -> Response {
        Response { delivery: Delivery::Cut, ..self }
    }

    /// Sends one byte at a time, then spaces without end.
    pub fn drip(self) -> Response {
        Response { delivery: Delivery::Drip, ..self }
    }

    /// Responds to the request at the next [`Apple::release`].
    pub fn held(self) -> Response {
        Response { held: true, ..self }
    }

    fn header_value(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Returns true if the client's validator matches. If-None-Match has precedence (RFC 9110, 13.1).
    fn is_unchanged_for(&self, request: &Request) -> bool {
        let same = |sent: &str, ours| request.header(sent).is_some_and(|sent| Some(sent) == ours);
        match request.header("if-none-match") {
            Some(_) => same("if-none-match", self.header_value("ETag")),
            None => same("if-modified-since", self.header_value("Last-Modified")),
        }
    }

    fn head(&self, length: Option<usize>) -> String {
        let mut head = format!("HTTP/1.1 {} Scripted\r\nConnection: close\r\n", self.status);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        match length {
            _ if self.status == 304 => {}
            Some(length) => head.push_str(&format!("Content-Length: {length}\r\n")),
            None => head.push_str("Transfer-Encoding: chunked\r\n"),
        }
        head + "\r\n"
    }
}

/// The server task.
#[derive(Clone)]
struct ServerTask {
    script: watch::Sender<Script>,
    record: watch::Sender<Vec<Request>>,
    acceptor: Option<TlsAcceptor>,
}

impl ServerTask {
    async fn run(&self, bound: oneshot::Sender<SocketAddr>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port on loopback");
        bound.send(listener.local_addr().expect("a bound port")).expect("the caller waits for the port");
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            tokio::spawn(self.clone().receive(stream));
        }
    }

    /// Ignores a failed handshake: the client disconnected or does not trust the certificate.
    async fn receive(self, stream: TcpStream) {
        let Some(acceptor) = &self.acceptor else { return self.serve(stream).await };
        if let Ok(stream) = acceptor.accept(stream).await {
            self.serve(stream).await;
        }
    }

    async fn serve(&self, mut stream: impl Stream) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            assert!(head.len() < REQUEST_MAX_BYTES, "the request is too long");
            let Ok(byte) = stream.read_u8().await else { return };
            head.push(byte);
        }
        let request = Request::parse(&String::from_utf8_lossy(&head));
        // Subscribe before recording the request, so that a release after `wait_for_requests` counts.
        let mut script = self.script.subscribe();
        let released = script.borrow().released;
        let response = self.pick(&request.path);
        self.record.send_modify(|requests| requests.push(request.clone()));
        if response.held && script.wait_for(|script| script.released > released).await.is_err() {
            return;
        }
        // Some tests make the client disconnect early.
        let _ = send(&mut stream, &request, &response).await;
    }

    fn pick(&self, path: &str) -> Response {
        let mut picked = Response::default();
        self.script.send_if_modified(|script| {
            let at_path = script.paths.get(path).cloned();
            picked = at_path
                .or_else(|| script.once.pop_front())
                .unwrap_or_else(|| script.default_response.clone());
            false
        });
        picked
    }
}

async fn send(stream: &mut impl Stream, request: &Request, response: &Response) -> std::io::Result<()> {
    let body = &response.body;
    if response.status == 200 && response.is_unchanged_for(request) {
        let unchanged = Response { status: 304, ..response.clone() };
        stream.write_all(unchanged.head(None).as_bytes()).await?;
        return stream.shutdown().await;
    }
    match response.delivery {
        Delivery::Whole => {
            stream.write_all(response.head(Some(body.len())).as_bytes()).await?;
            stream.write_all(body).await?;
        }
        Delivery::Chunked => {
            stream.write_all(response.head(None).as_bytes()).await?;
            let (first, second) = body.split_at(body.len() / 2);
            for chunk in [first, second].into_iter().filter(|chunk| !chunk.is_empty()) {
                write_chunk(stream, chunk).await?;
            }
            stream.write_all(b"0\r\n\r\n").await?;
        }
        Delivery::Cut => {
            stream.write_all(response.head(Some(body.len())).as_bytes()).await?;
            stream.write_all(&body[..body.len() / 2]).await?;
        }
        Delivery::Drip => {
            stream.write_all(response.head(None).as_bytes()).await?;
            let mut ticks = tokio::time::interval(DRIP);
            for byte in body.iter().copied().chain(std::iter::repeat(b' ')) {
                ticks.tick().await;
                write_chunk(stream, &[byte]).await?;
            }
        }
        Delivery::Close => {}
        Delivery::Reset => return stream.reset(),
        Delivery::Raw => stream.write_all(body).await?,
    }
    stream.shutdown().await
}

async fn write_chunk(stream: &mut impl Stream, chunk: &[u8]) -> std::io::Result<()> {
    let mut framed = format!("{:x}\r\n", chunk.len()).into_bytes();
    framed.extend_from_slice(chunk);
    framed.extend_from_slice(b"\r\n");
    stream.write_all(&framed).await?;
    stream.flush().await
}

/// TCP with or without TLS.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {
    /// Makes closing the stream a reset.
    fn reset(&self) -> std::io::Result<()>;
}

impl Stream for TcpStream {
    fn reset(&self) -> std::io::Result<()> {
        self.set_zero_linger()
    }
}

impl Stream for tokio_rustls::server::TlsStream<TcpStream> {
    fn reset(&self) -> std::io::Result<()> {
        self.get_ref().0.set_zero_linger()
    }
}

/// A server's certificate and key, and the authority that issued the certificate.
pub struct Certified {
    pub certificate: Certificate,
    pub key: KeyPair,
    pub authority_pem: String,
}

/// Creates an authority and issues a certificate for 127.0.0.1. The authority itself is always valid.
pub fn certified(cert: ServerCert) -> Certified {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(Vec::new()).expect("an authority without names");
    // Two authorities with the same name would look like a forged signature.
    let name = format!("Authority {:02x?}", key.public_key_raw());
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).expect("the authority's certificate");
    let issuer = Issuer::new(params, key);

    let host = match cert {
        ServerCert::Valid | ServerCert::Expired | ServerCert::NotYetValid => "127.0.0.1",
        ServerCert::WrongHost => "elsewhere.example",
        ServerCert::ValidFor(host) => host,
    };
    let mut params = CertificateParams::new(vec![host.to_owned()]).expect("a server's name");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    match cert {
        ServerCert::Valid | ServerCert::WrongHost | ServerCert::ValidFor(_) => {}
        ServerCert::Expired => params.not_after = date_time_ymd(2001, 1, 1),
        ServerCert::NotYetValid => params.not_before = date_time_ymd(4000, 1, 1),
    }
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, &issuer).expect("the server's certificate");
    Certified { certificate, key, authority_pem: authority.pem() }
}

/// Returns an acceptor with such a certificate, and the authority's certificate as PEM.
pub fn acceptor(cert: ServerCert) -> (TlsAcceptor, String) {
    let Certified { certificate, key, authority_pem } = certified(cert);
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )
        .expect("a key that fits its certificate");
    (TlsAcceptor::from(Arc::new(config)), authority_pem)
}
