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

use super::apple::{Certified, Papers, certified};
use super::http_server::patient;

/// The Python that finds the modules of Debian's packages. Another one in `PATH` may not.
const PYTHON: &str = "/usr/bin/python3";

/// aiosmtpd in a child process. Killed when dropped.
pub struct MailServer {
    pub port: u16,
    pub ca_file: PathBuf,
    letters: Lines<BufReader<ChildStdout>>,
    _directory: TempDir,
    _child: Child,
}

impl MailServer {
    /// `security` as in the settings of the channel; `login` is the only user it knows.
    pub async fn start(security: &str, papers: Papers, login: Option<(&str, &str)>) -> MailServer {
        let directory = TempDir::new().expect("a directory");
        let file = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).expect("a file");
            path
        };
        let Certified { authority_pem, certificate, key } = certified(papers);
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
        let mut letters = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let port = patient(letters.next_line()).await.expect("a line");
        let port = port.expect("it runs: is Debian's package python3-aiosmtpd installed?");
        let port = port.parse().expect("a port");
        MailServer { port, ca_file, letters, _directory: directory, _child: child }
    }

    /// Waits for the next message, as printed by `mail_server.py`.
    pub async fn next(&mut self) -> Value {
        let line = patient(self.letters.next_line()).await.expect("a line").expect("the server still runs");
        serde_json::from_str(&line).expect("JSON")
    }
}

/// The scripted reaction to a command.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    /// The reply, without its last line break.
    Say(&'static str),
    /// Bytes as they are.
    Blurt(&'static [u8]),
    /// Bytes, then the end.
    Cut(&'static [u8]),
    Never,
    Reset,
    Close,
}

/// What a client's line begins with, and what then happens. Before the first line it is
/// [`GREETING`], behind the letter [`LETTER`].
pub type Fault = (&'static str, Act);

pub const GREETING: &str = "(greeting)";
pub const LETTER: &str = "(letter)";

/// A server that does its part but for the faults of its script; gone when dropped.
pub struct Scripted {
    pub address: SocketAddr,
    lines: mpsc::UnboundedReceiver<String>,
    task: JoinHandle<()>,
}

impl Scripted {
    /// One script for each connection; the last one is for all others. Offers STARTTLS where it
    /// has a certificate.
    pub async fn start(scripts: Vec<Vec<Fault>>, tls: Option<TlsAcceptor>) -> Scripted {
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
        Scripted { address, lines, task }
    }

    /// Waits for the next line of a client, [`GREETING`] for a connection, or [`MESSAGE`] with a message.
    pub async fn next(&mut self) -> String {
        patient(self.lines.recv()).await.expect("the server still runs")
    }

    /// Waits for a line that begins so.
    pub async fn heard(&mut self, start: &str) -> String {
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

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

struct Session {
    faults: Vec<Fault>,
    tls: Option<TlsAcceptor>,
    record: mpsc::UnboundedSender<String>,
}

impl Session {
    /// Gives the stream back where it must stay open.
    async fn serve(&self, tcp: TcpStream) -> Option<Box<dyn Wire>> {
        // A reset is an option of the socket, out of reach once that is wrapped.
        let lingering = self.faults.iter().any(|(_, act)| matches!(act, Act::Reset));
        if lingering {
            tcp.set_zero_linger().expect("the option exists");
        }
        let mut wire: Box<dyn Wire> = Box::new(tcp);
        let mut line = GREETING.to_owned();
        loop {
            self.record.send(line.clone()).expect("the test still runs");
            let verb = line.split(' ').next().unwrap_or_default();
            let fault = self.faults.iter().find(|(start, _)| line.starts_with(start));
            let reply = match fault {
                Some((_, Act::Say(reply))) => format!("{reply}\r\n").into_bytes(),
                Some((_, Act::Blurt(bytes) | Act::Cut(bytes))) => bytes.to_vec(),
                Some((_, Act::Never)) => return Some(wire),
                Some((_, Act::Reset | Act::Close)) => return None,
                None => format!("{}\r\n", self.due(verb)).into_bytes(),
            };
            // The client may have enough and go.
            wire.write_all(&reply).await.ok()?;
            if let Some((_, Act::Cut(_))) = fault {
                return None;
            }
            line = match verb {
                "DATA" if reply.starts_with(b"354") => format!("{LETTER}\n{}", letter(&mut wire).await?),
                "STARTTLS" if reply.starts_with(b"220") => {
                    wire = Box::new(self.tls.as_ref()?.accept(wire).await.ok()?);
                    read_line(&mut wire).await?
                }
                "QUIT" => return None,
                _ => read_line(&mut wire).await?,
            };
        }
    }

    fn due(&self, verb: &str) -> &'static str {
        match verb {
            GREETING => "220 mail.test ESMTP",
            "EHLO" if self.tls.is_some() => "250-mail.test\r\n250-STARTTLS\r\n250 AUTH PLAIN LOGIN",
            "EHLO" => "250-mail.test\r\n250 AUTH PLAIN LOGIN",
            "STARTTLS" => "220 go ahead",
            "AUTH" => "235 2.7.0 welcome",
            "MAIL" | "RCPT" => "250 Ok",
            "DATA" => "354 go ahead",
            "QUIT" => "221 bye",
            _ if verb.starts_with(LETTER) => "250 2.0.0 queued as 1",
            _ => "500 what?",
        }
    }
}

/// Without its line break; `None` where the client has gone.
async fn read_line(wire: &mut Box<dyn Wire>) -> Option<String> {
    let bytes = read_until(wire, b"\r\n").await?;
    Some(String::from_utf8(bytes).expect("a line in UTF-8"))
}

async fn letter(wire: &mut Box<dyn Wire>) -> Option<String> {
    let bytes = read_until(wire, b"\r\n.\r\n").await?;
    Some(String::from_utf8(bytes).expect("a letter in ASCII"))
}

/// Byte by byte, so that nothing is taken that comes after it.
async fn read_until(wire: &mut Box<dyn Wire>, end: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(end) {
        bytes.push(wire.read_u8().await.ok()?);
    }
    bytes.truncate(bytes.len() - end.len());
    Some(bytes)
}
