//! A connection to a mail server: writes commands and reads replies (RFC 5321, 4.2).
//!
//! Does not interpret replies. The code of a reply decides; its text is only shown, and may be missing,
//! truncated or in any encoding. A reply has at most [`REPLY_MAX_BYTES`] and [`REPLY_MAX_LINES`]. A
//! connection that has lost the boundary between replies sends nothing more.

use std::io;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;

use crate::cause::Cause as _;
use crate::tls::Stream;

/// Generous: RFC 5321, 4.5.3.1.5, allows lines of 512 bytes.
const REPLY_MAX_BYTES: usize = 16 * 1024;
const REPLY_MAX_LINES: usize = 200;
const READ_BYTES: usize = 4 * 1024;
const CODE_DIGITS: usize = 3;
const INCOMPLETE: &str = "the reply is incomplete or too long";
const UNSOLICITED: &str = "the server replied before the command was sent";

/// A server's reply: a code of three digits, and the text of each line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SmtpReply {
    pub code: u16,
    pub lines: Vec<String>,
}

impl SmtpReply {
    pub fn is_transient(&self) -> bool {
        self.code < 500
    }

    /// Joins the lines, without repetitions of the first line's enhanced status code (RFC 3463).
    pub fn text(&self) -> String {
        let enhanced = self.lines.first().and_then(|line| line.split(' ').next());
        let enhanced = enhanced.filter(|word| word.contains('.')).unwrap_or_default();
        let mut lines = self.lines.iter().map(String::as_str);
        let first = lines.next().unwrap_or_default();
        let others = lines.map(|line| line.strip_prefix(enhanced).unwrap_or(line));
        let parts: Vec<&str> = std::iter::once(first).chain(others).map(str::trim).collect();
        parts.join(" ")
    }

    /// Returns the parameters of an EHLO keyword. Keywords are case-insensitive (RFC 5321, 2.4). Old
    /// servers write `AUTH=LOGIN`.
    pub fn keyword(&self, keyword: &str) -> Option<Vec<String>> {
        // The first line contains the server's name.
        let found = self.lines.iter().skip(1).filter_map(|line| {
            let mut words = line.split([' ', '\t', '=']).filter(|word| !word.is_empty());
            let matches = words.next().is_some_and(|word| word.eq_ignore_ascii_case(keyword));
            matches.then(|| words.map(str::to_ascii_uppercase).collect::<Vec<String>>())
        });
        found.reduce(|all, more| all.into_iter().chain(more).collect())
    }
}

/// A line of a reply, or the part of it that was read.
struct Line {
    bytes: Vec<u8>,
    /// False for a truncated line.
    is_complete: bool,
}

pub struct Connection {
    stream: Box<dyn Stream>,
    unread: Vec<u8>,
    /// Why the boundary between replies is lost.
    out_of_sync: Option<&'static str>,
}

impl Connection {
    pub fn new(stream: Box<dyn Stream>) -> Connection {
        Connection { stream, unread: Vec::new(), out_of_sync: None }
    }

    /// Sends a command, given without its line break, and reads the reply.
    pub async fn command(&mut self, line: &str) -> Result<SmtpReply, SmtpError> {
        self.write(format!("{line}\r\n").as_bytes()).await?;
        self.reply().await
    }

    /// Fails if the last reply was incomplete, so that the next one cannot be told from its rest.
    pub fn check_sync(&self) -> Result<(), SmtpError> {
        self.out_of_sync.map_or(Ok(()), |why| Err(SmtpError::Connection(why.to_owned())))
    }

    /// Writes bytes unchanged. Fails if a reply arrived before its command, because a reply injected before
    /// STARTTLS would be taken for the reply to a later command (RFC 3207, 4.2).
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), SmtpError> {
        self.check_sync()?;
        self.check_unread()?;
        self.stream.write_all(bytes).await.map_err(connection_error)?;
        self.stream.flush().await.map_err(connection_error)
    }

    fn check_unread(&self) -> Result<(), SmtpError> {
        if self.unread.is_empty() { Ok(()) } else { Err(SmtpError::Connection(UNSOLICITED.to_owned())) }
    }

    /// Reads the next reply. Its code is that of the last line. An incomplete reply counts if it has a
    /// code, but no further reply can be read after it.
    pub async fn reply(&mut self) -> Result<SmtpReply, SmtpError> {
        let mut reply: Option<SmtpReply> = None;
        let mut bytes_left = REPLY_MAX_BYTES;
        for _ in 0..REPLY_MAX_LINES {
            let line = self.line(bytes_left).await;
            let (line, is_complete) = match (line, &reply) {
                (Ok(line), _) => (line.bytes, line.is_complete),
                (Err(error), None) => return Err(error),
                // The earlier lines have the code.
                (Err(_), Some(_)) => (Vec::new(), false),
            };
            bytes_left = bytes_left.saturating_sub(line.len());
            let Some(code) = code(&line) else {
                let reply = reply.filter(|_| !is_complete);
                self.out_of_sync = Some(INCOMPLETE);
                if line.len() < CODE_DIGITS && !is_complete && reply.is_none() {
                    return Err(SmtpError::Connection("end of stream within a reply".to_owned()));
                }
                return reply
                    .ok_or_else(|| SmtpError::InvalidReply(String::from_utf8_lossy(&line).into_owned()));
            };
            let text = String::from_utf8_lossy(line.get(4..).unwrap_or_default()).trim_end().to_owned();
            let partial = reply.get_or_insert_with(|| SmtpReply { code, lines: Vec::new() });
            partial.code = code;
            partial.lines.push(text);
            if is_complete && line.get(CODE_DIGITS) != Some(&b'-') {
                return Ok(reply.expect("just set"));
            }
            if !is_complete {
                break;
            }
        }
        self.out_of_sync = Some(INCOMPLETE);
        reply.ok_or(SmtpError::InvalidReply(String::new()))
    }

    /// Reads up to the line break, the end of the stream, or `max_bytes`. Each read rescans at most
    /// `max_bytes`.
    async fn line(&mut self, max_bytes: usize) -> Result<Line, SmtpError> {
        loop {
            if let Some(end) =
                self.unread.iter().position(|byte| *byte == b'\n').filter(|end| *end < max_bytes)
            {
                let bytes = self.unread.drain(..=end).collect();
                return Ok(Line { bytes, is_complete: true });
            }
            if self.unread.len() >= max_bytes {
                return Ok(Line { bytes: std::mem::take(&mut self.unread), is_complete: false });
            }
            let mut buffer = [0; READ_BYTES];
            match self.stream.read(&mut buffer).await {
                Ok(0) | Err(_) if !self.unread.is_empty() => {
                    return Ok(Line { bytes: std::mem::take(&mut self.unread), is_complete: false });
                }
                Ok(0) => return Err(SmtpError::Connection("end of stream".to_owned())),
                Ok(read) => self.unread.extend_from_slice(&buffer[..read]),
                Err(error) => return Err(connection_error(error)),
            }
        }
    }

    /// Performs the TLS handshake and returns the encrypted connection.
    pub async fn start_tls(
        self,
        tls: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<Connection, SmtpError> {
        self.check_unread()?;
        let stream = TlsConnector::from(tls).connect(name, self.stream).await.map_err(connection_error)?;
        Ok(Connection::new(Box::new(stream)))
    }

    pub async fn close(&mut self) {
        // The result of the session does not depend on a clean shutdown.
        let _closed = self.stream.shutdown().await;
    }
}

/// Parses three digits followed by a space, a hyphen or nothing (RFC 5321, 4.2).
fn code(line: &[u8]) -> Option<u16> {
    let digits = line.get(..CODE_DIGITS).filter(|digits| digits.iter().all(u8::is_ascii_digit))?;
    let ends = line.get(CODE_DIGITS).is_none_or(|byte| !byte.is_ascii_alphanumeric());
    let code = digits.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
    (ends && (200..600).contains(&code)).then_some(code)
}

fn connection_error(error: io::Error) -> SmtpError {
    SmtpError::Connection(error.reason())
}

/// The reason why a session failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SmtpError {
    /// A 4xx or 5xx reply.
    Rejected(SmtpReply),
    /// A reply without a code, or with a code of the wrong class.
    InvalidReply(String),
    /// The server does not offer STARTTLS.
    NoTls,
    /// The server offers no login with a password.
    NoLogin,
    /// The connection failed.
    Connection(String),
    Timeout,
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(bytes: &[u8]) -> Result<SmtpReply, SmtpError> {
        let (mut server, client) = tokio::io::duplex(bytes.len() + 1);
        server.write_all(bytes).await.expect("room");
        drop(server);
        Connection::new(Box::new(client)).reply().await
    }

    #[track_caller]
    fn check(read: Result<SmtpReply, SmtpError>, code: u16, text: &str) {
        let reply = read.expect("a reply");
        assert_eq!((reply.code, reply.text().as_str()), (code, text));
    }

    #[tokio::test]
    async fn only_the_code_matters() {
        check(read(b"250 2.0.0 Ok: queued\r\n").await, 250, "2.0.0 Ok: queued");
        check(read(b"250\r\n").await, 250, "");
        check(read(b"250 \r\n").await, 250, "");
        check(read(b"250\n").await, 250, "");
        check(read(b"250 \xe4ngenommen\r\n").await, 250, "\u{fffd}ngenommen");
        check(read(b"550 5.7.1 \x00\xff\xfe\r\n").await, 550, "5.7.1 \u{0}\u{fffd}\u{fffd}");
        check(read(b"250\tok\r\n").await, 250, "ok");
        check(read(b"451-4.7.1 wait\r\n451 4.7.1 five minutes\r\n").await, 451, "4.7.1 wait five minutes");
        check(read(b"250-\r\n250-\xff\r\n250\r\n").await, 250, " \u{fffd} ");
        // The last line decides if the codes differ.
        check(read(b"250-one\r\n550 two\r\n").await, 550, "one two");
    }

    #[tokio::test]
    async fn an_incomplete_reply_counts_if_it_has_a_code() {
        check(read(b"250 half a rep").await, 250, "half a rep");
        check(read(b"250").await, 250, "");
        check(read(b"550-no\r\n550").await, 550, "no ");
        check(read(b"550-no\r\n55").await, 550, "no");
        check(read(b"250-first\r\n").await, 250, "first");
        assert_eq!(read(format!("550 {}", "x".repeat(1 << 20)).as_bytes()).await.expect("a reply").code, 550);
        let endless = read("250-x\r\n".repeat(1 << 18).as_bytes()).await.expect("a reply");
        assert_eq!((endless.code, endless.lines.len()), (250, REPLY_MAX_LINES));
        for invalid in
            ["", "2", "25", "hello\r\n", "\r\n", "2500 no\r\n", "999 what\r\n", "100 what\r\n", "-250\r\n"]
        {
            read(invalid.as_bytes()).await.expect_err(invalid);
        }
    }

    #[tokio::test]
    async fn no_command_follows_an_incomplete_reply() {
        let (mut server, client) = tokio::io::duplex(1 << 20);
        server.write_all(&[b"250 ".as_slice(), &[b'x'; 2 * REPLY_MAX_BYTES]].concat()).await.expect("room");
        let mut connection = Connection::new(Box::new(client));
        assert_eq!(connection.reply().await.expect("a reply").code, 250);
        assert!(matches!(connection.command("QUIT").await, Err(SmtpError::Connection(_))));
    }

    #[tokio::test]
    async fn keywords_are_case_insensitive() {
        let reply =
            read(b"250-mail.test hello\r\n250-starttls\r\n250-auth Login plain\r\n250 AUTH=CRAM-MD5\r\n");
        let reply = reply.await.expect("a reply");
        assert_eq!(reply.keyword("STARTTLS"), Some(Vec::new()));
        assert_eq!(reply.keyword("AUTH"), Some(["LOGIN", "PLAIN", "CRAM-MD5"].map(str::to_owned).to_vec()));
        assert_eq!(reply.keyword("SIZE"), None);
    }
}
