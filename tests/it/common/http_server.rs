//! An HTTP server on loopback that follows a script, one reply a connection.
//!
//! It speaks as much HTTP/1.1 as a client needs to be tested, and keeps what it was sent byte for
//! byte. Nothing here waits for a time: whoever awaits a request that never comes fails after
//! [`PATIENCE`].

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// Not a measure: far beyond what a loaded machine takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// The outcome of `future`; fails if it does not come.
pub async fn patient<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("what was to come did not")
}

/// What one connection gets.
#[derive(Clone, Debug)]
pub enum Reply {
    Status {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: Vec<u8>,
    },
    /// A status, and "half " of a body of ten bytes before the connection ends.
    CutBody(u16),
    /// These bytes instead of an HTTP answer.
    Raw(&'static [u8]),
    /// Once the request is on its way.
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

/// One request as it came.
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
    /// The value of the header that occurs once or not at all.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(header, _)| header == name);
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} twice");
        value
    }
}

/// A listening server; gone when dropped.
pub struct HttpServer {
    pub address: SocketAddr,
    requests: mpsc::UnboundedReceiver<Request>,
    always: watch::Sender<Option<Reply>>,
    task: JoinHandle<()>,
}

impl HttpServer {
    /// Answers by the script, then goes on with its last reply.
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
            // Keeps open what gets no answer.
            let mut silent = Vec::new();
            let mut turn = 0;
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                // Somebody who knocks and says nothing is no turn of the script.
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

    /// From now on everybody gets this reply, whatever the script says.
    pub fn answer(&self, reply: Reply) {
        self.always.send_replace(Some(reply));
    }

    /// `http://127.0.0.1:PORT` and the path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The next request, in the order they came; one that was not read is an empty one.
    pub async fn next(&mut self) -> Request {
        let next = tokio::time::timeout(PATIENCE, self.requests.recv()).await;
        next.expect("a request was to come").expect("the server still runs")
    }

    /// Whether nothing came that [`HttpServer::next`] has not given yet.
    pub fn is_quiet(&self) -> bool {
        self.requests.is_empty()
    }
}

/// A port of its own that refuses every connection.
pub struct Nobody {
    /// Bound and never listening: a port that was merely free a moment ago may be another test's
    /// server by now.
    socket: TcpSocket,
    pub address: SocketAddr,
}

impl Nobody {
    pub fn new() -> Nobody {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a loopback port");
        let address = socket.local_addr().expect("a bound address");
        Nobody { socket, address }
    }

    /// Somebody comes and answers by the script.
    pub fn replaced_by(self, script: impl IntoIterator<Item = Reply>) -> HttpServer {
        HttpServer::listening(self.socket.listen(16).expect("a bound socket"), script)
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Gives the stream back where it must stay open.
async fn follow(
    mut stream: TcpStream,
    reply: &Reply,
    record: &mpsc::UnboundedSender<Request>,
) -> Option<TcpStream> {
    if let Reply::ResetBeforeReading = reply {
        // Sooner, the client would at times see a failed connect; and a new stream may call itself
        // readable before there is anything to read.
        stream.peek(&mut [0]).await.expect("the client sends");
        let _unheard = record.send(Request::default());
        return reset(stream);
    }
    let request = read_request(&mut stream).await;
    // The test may have dropped its end and only want answers.
    let _unheard = record.send(request);
    match reply {
        Reply::Status { status, headers, body } => {
            let mut head = format!("HTTP/1.1 {status} .\r\ncontent-length: {}\r\n", body.len());
            for (name, value) in headers {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
            head.push_str("\r\n");
            let mut bytes = head.into_bytes();
            bytes.extend_from_slice(body);
            // The client may have enough after the head and go.
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
    stream.set_zero_linger().expect("the option exists");
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
