//! A scripted HTTP server on loopback, one reply per connection.
//!
//! Implements as much HTTP/1.1 as the tests need, and records requests byte for byte. Waiting for a
//! request that never comes fails after [`PATIENCE`].

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// Far longer than a loaded machine needs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Returns the output of `future`. Fails after [`PATIENCE`].
pub async fn with_timeout<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("timed out")
}

/// The reply to one connection.
#[derive(Clone, Debug)]
pub enum Reply {
    Status {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: Vec<u8>,
    },
    /// A status and half of a ten-byte body ("half "), then the end of the connection.
    CutBody(u16),
    /// These bytes instead of an HTTP response.
    Raw(&'static [u8]),
    /// Resets the connection once the request has begun to arrive.
    ResetBeforeReading,
    ResetAfterReading,
    Never,
}

impl Reply {
    pub fn status(status: u16) -> Reply {
        Reply::Status { status, headers: Vec::new(), body: Vec::new() }
    }

    pub fn with_body(self, text: impl Into<Vec<u8>>) -> Reply {
        match self {
            Reply::Status { status, headers, .. } => Reply::Status { status, headers, body: text.into() },
            other => panic!("{other:?} has no body"),
        }
    }

    pub fn with_header(self, name: &'static str, value: impl Into<String>) -> Reply {
        match self {
            Reply::Status { status, mut headers, body } => {
                headers.push((name, value.into()));
                Reply::Status { status, headers, body }
            }
            other => panic!("{other:?} has no headers"),
        }
    }
}

/// One request as received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Names in lower case, in order.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    /// Returns the value of a header that occurs at most once.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(header, _)| header == name);
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} twice");
        value
    }
}

/// A listening server. Closed when dropped.
pub struct HttpServer {
    pub address: SocketAddr,
    requests: mpsc::UnboundedReceiver<Request>,
    always: watch::Sender<Option<Reply>>,
    task: JoinHandle<()>,
}

impl HttpServer {
    /// Replies by the script, then repeats its last reply.
    pub async fn start(script: impl IntoIterator<Item = Reply>) -> HttpServer {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a loopback port");
        HttpServer::listening(listener, script)
    }

    fn listening(listener: TcpListener, script: impl IntoIterator<Item = Reply>) -> HttpServer {
        let script: Vec<Reply> = script.into_iter().collect();
        assert!(!script.is_empty(), "a script has at least one reply");
        let (always, rule) = watch::channel(None::<Reply>);
        let address = listener.local_addr().expect("a bound address");
        let (record, requests) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            // Connections without a response stay open.
            let mut silent = Vec::new();
            let mut turn = 0;
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                // A probe that sends nothing does not count as a turn of the script.
                if stream.peek(&mut [0]).await.unwrap_or(0) == 0 {
                    continue;
                }
                let scripted = script.get(turn).or(script.last()).expect("a script has a last reply");
                let reply = rule.borrow().clone().unwrap_or_else(|| scripted.clone());
                silent.extend(follow(stream, &reply, &record).await);
                turn += 1;
            }
        });
        HttpServer { address, requests, always, task }
    }

    /// Sends this reply from now on, instead of the script's.
    pub fn respond(&self, reply: Reply) {
        self.always.send_replace(Some(reply));
    }

    /// Returns `http://127.0.0.1:PORT` with the path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Waits for the next request, in order of arrival. A request that was not read is empty.
    pub async fn next(&mut self) -> Request {
        let next = tokio::time::timeout(PATIENCE, self.requests.recv()).await;
        next.expect("no request came").expect("the server still runs")
    }

    /// Returns true if [`HttpServer::next`] has returned every request so far.
    pub fn is_quiet(&self) -> bool {
        self.requests.is_empty()
    }
}

/// A reserved port that refuses every connection.
pub struct ClosedPort {
    /// Bound and not listening, so that no other test can take the port.
    socket: TcpSocket,
    pub address: SocketAddr,
}

impl ClosedPort {
    pub fn new() -> ClosedPort {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a loopback port");
        let address = socket.local_addr().expect("a bound address");
        ClosedPort { socket, address }
    }

    /// Starts a server with this script on the port.
    pub fn replaced_by(self, script: impl IntoIterator<Item = Reply>) -> HttpServer {
        HttpServer::listening(self.socket.listen(16).expect("a bound socket"), script)
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Returns the stream if it must stay open.
async fn follow(
    mut stream: TcpStream,
    reply: &Reply,
    record: &mpsc::UnboundedSender<Request>,
) -> Option<TcpStream> {
    if let Reply::ResetBeforeReading = reply {
        // An earlier reset could make the client's connect fail. A new stream may be reported readable
        // before data has arrived, so peek.
        stream.peek(&mut [0]).await.expect("the client sends");
        let _dropped = record.send(Request::default());
        return reset(stream);
    }
    let request = read_request(&mut stream).await;
    // The test may have dropped its receiver.
    let _dropped = record.send(request);
    match reply {
        Reply::Status { status, headers, body } => {
            let mut head = format!("HTTP/1.1 {status} .\r\ncontent-length: {}\r\n", body.len());
            for (name, value) in headers {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
            head.push_str("\r\n");
            let mut bytes = head.into_bytes();
            bytes.extend_from_slice(body);
            // The client may disconnect after the head.
            let _gone = stream.write_all(&bytes).await;
            None
        }
        Reply::CutBody(status) => {
            let half = format!("HTTP/1.1 {status} .\r\ncontent-length: 10\r\n\r\nhalf ");
            stream.write_all(half.as_bytes()).await.expect("the client reads");
            None
        }
        Reply::Raw(bytes) => {
            stream.write_all(bytes).await.expect("the client reads");
            None
        }
        Reply::ResetAfterReading => reset(stream),
        Reply::Never => Some(stream),
        Reply::ResetBeforeReading => unreachable!("handled above"),
    }
}

fn reset(stream: TcpStream) -> Option<TcpStream> {
    stream.set_zero_linger().expect("SO_LINGER is supported");
    None
}

async fn read_request(stream: &mut TcpStream) -> Request {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        assert_ne!(stream.read_buf(&mut bytes).await.expect("a request"), 0, "the client left: {bytes:?}");
    };
    let head = String::from_utf8(bytes[..head_end].to_vec()).expect("a head in UTF-8");
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length: usize = length.map_or(0, |(_, value)| value.parse().expect("a length"));
    let mut body = bytes.split_off(head_end + 4);
    while body.len() < length {
        assert_ne!(stream.read_buf(&mut body).await.expect("a body"), 0, "the client left");
    }
    Request {
        method: first.next().unwrap_or_default(),
        target: first.next().unwrap_or_default(),
        headers,
        body,
    }
}
