//! Mail servers on loopback: a real one that prints what it receives, and a scripted one.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::apple::{Certified, ServerCert, certified};
use super::http_server::with_timeout;

/// The Python that finds the modules of Debian's packages. Another one in `PATH` may not.
const PYTHON: &str = "/usr/bin/python3";

/// aiosmtpd in a child process. Killed when dropped.
pub struct MailServer {
    pub port: u16,
    pub ca_file: PathBuf,
    messages: Lines<BufReader<ChildStdout>>,
    _directory: TempDir,
    _child: Child,
}

impl MailServer {
    /// Starts a server. `security` is as in the channel's settings, `login` is the only user.
    pub async fn start(security: &str, cert: ServerCert, login: Option<(&str, &str)>) -> MailServer {
        let directory = TempDir::new().expect("a directory");
        let file = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).expect("a file");
            path
        };
        let Certified { authority_pem, certificate, key } = certified(cert);
        let ca_file = file("ca.pem", &authority_pem);
        let wanted = json!({
            "security": security,
            "certificate": file("certificate.pem", &certificate.pem()),
            "key": file("key.pem", &key.serialize_pem()),
            "user": login.map(|(user, _)| user),
            "password": login.map(|(_, password)| password),
        });
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/common/mail_server.py");
        let mut child = Command::new(PYTHON)
            .arg(script)
            .arg(wanted.to_string())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("python3 is installed");
        let mut messages = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let port = with_timeout(messages.next_line()).await.expect("a line");
        let port = port.expect("aiosmtpd starts (is Debian's package python3-aiosmtpd installed?)");
        let port = port.parse().expect("a port");
        MailServer { port, ca_file, messages, _directory: directory, _child: child }
    }

    /// Waits for the next message, as printed by `mail_server.py`.
    pub async fn next(&mut self) -> Value {
        let line =
            with_timeout(self.messages.next_line()).await.expect("a line").expect("the server still runs");
        serde_json::from_str(&line).expect("JSON")
    }
}

/// The scripted reaction to a command.
#[derive(Clone, Copy, Debug)]
pub enum Action {
    /// A reply, without its final line break.
    Reply(&'static str),
    /// Raw bytes.
    Raw(&'static [u8]),
    /// Raw bytes, then the end of the connection.
    RawThenClose(&'static [u8]),
    Silence,
    Reset,
    Close,
}

/// The start of a client's line, and the reaction to it. [`GREETING`] stands for the connection,
/// [`MESSAGE`] for the end of the message.
pub type Fault = (&'static str, Action);

pub const GREETING: &str = "(greeting)";
pub const MESSAGE: &str = "(message)";

/// A server that behaves well except for scripted faults. Closed when dropped.
pub struct ScriptedServer {
    pub address: SocketAddr,
    lines: mpsc::UnboundedReceiver<String>,
    task: JoinHandle<()>,
}

impl ScriptedServer {
    /// Starts a server with one script per connection. The last script also serves later connections.
    /// Offers STARTTLS if `tls` is set.
    pub async fn start(scripts: Vec<Vec<Fault>>, tls: Option<TlsAcceptor>) -> ScriptedServer {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a loopback port");
        let address = listener.local_addr().expect("a bound address");
        let (record, lines) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            // Connections without a reply stay open.
            let mut silent = Vec::new();
            for turn in 0.. {
                let (stream, _) = listener.accept().await.expect("a connection");
                let faults = scripts.get(turn).or(scripts.last()).cloned().unwrap_or_default();
                let session = Session { faults, tls: tls.clone(), record: record.clone() };
                silent.extend(session.serve(stream).await);
            }
        });
        ScriptedServer { address, lines, task }
    }

    /// Waits for the next line of a client, [`GREETING`] for a connection, or [`MESSAGE`] with a message.
    pub async fn next(&mut self) -> String {
        with_timeout(self.lines.recv()).await.expect("the server still runs")
    }

    /// Waits for a line that starts with `start`.
    pub async fn wait_for_line(&mut self, start: &str) -> String {
        loop {
            let line = self.next().await;
            if line.starts_with(start) {
                return line;
            }
        }
    }

    /// Returns the received lines that no call has returned yet.
    pub fn rest(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.lines.try_recv().ok()).collect()
    }
}

impl Drop for ScriptedServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

struct Session {
    faults: Vec<Fault>,
    tls: Option<TlsAcceptor>,
    record: mpsc::UnboundedSender<String>,
}

impl Session {
    /// Returns the stream if it must stay open.
    async fn serve(&self, tcp: TcpStream) -> Option<Box<dyn Stream>> {
        // A reset is a socket option, which a wrapped stream does not expose.
        let lingering = self.faults.iter().any(|(_, action)| matches!(action, Action::Reset));
        if lingering {
            tcp.set_zero_linger().expect("SO_LINGER is supported");
        }
        let mut stream: Box<dyn Stream> = Box::new(tcp);
        let mut line = GREETING.to_owned();
        loop {
            self.record.send(line.clone()).expect("the test still runs");
            let verb = line.split(' ').next().unwrap_or_default();
            let fault = self.faults.iter().find(|(start, _)| line.starts_with(start));
            let reply = match fault {
                Some((_, Action::Reply(reply))) => format!("{reply}\r\n").into_bytes(),
                Some((_, Action::Raw(bytes) | Action::RawThenClose(bytes))) => bytes.to_vec(),
                Some((_, Action::Silence)) => return Some(stream),
                Some((_, Action::Reset | Action::Close)) => return None,
                None => format!("{}\r\n", self.default_reply(verb)).into_bytes(),
            };
            // The client may disconnect.
            stream.write_all(&reply).await.ok()?;
            if let Some((_, Action::RawThenClose(_))) = fault {
                return None;
            }
            line = match verb {
                "DATA" if reply.starts_with(b"354") => {
                    format!("{MESSAGE}\n{}", read_message(&mut stream).await?)
                }
                "STARTTLS" if reply.starts_with(b"220") => {
                    stream = Box::new(self.tls.as_ref()?.accept(stream).await.ok()?);
                    read_line(&mut stream).await?
                }
                "QUIT" => return None,
                _ => read_line(&mut stream).await?,
            };
        }
    }

    fn default_reply(&self, verb: &str) -> &'static str {
        match verb {
            GREETING => "220 mail.test ESMTP",
            "EHLO" if self.tls.is_some() => "250-mail.test\r\n250-STARTTLS\r\n250 AUTH PLAIN LOGIN",
            "EHLO" => "250-mail.test\r\n250 AUTH PLAIN LOGIN",
            "STARTTLS" => "220 go ahead",
            "AUTH" => "235 2.7.0 welcome",
            "MAIL" | "RCPT" => "250 Ok",
            "DATA" => "354 go ahead",
            "QUIT" => "221 bye",
            _ if verb.starts_with(MESSAGE) => "250 2.0.0 queued as 1",
            _ => "500 what?",
        }
    }
}

/// Reads a line without its line break. Returns `None` if the client disconnected.
async fn read_line(stream: &mut Box<dyn Stream>) -> Option<String> {
    let bytes = read_until(stream, b"\r\n").await?;
    Some(String::from_utf8(bytes).expect("a line in UTF-8"))
}

async fn read_message(stream: &mut Box<dyn Stream>) -> Option<String> {
    let bytes = read_until(stream, b"\r\n.\r\n").await?;
    Some(String::from_utf8(bytes).expect("a message in ASCII"))
}

/// Reads byte by byte, so that later bytes stay in the stream.
async fn read_until(stream: &mut Box<dyn Stream>, end: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(end) {
        bytes.push(stream.read_u8().await.ok()?);
    }
    bytes.truncate(bytes.len() - end.len());
    Some(bytes)
}
