//! One SMTP session (RFC 5321): the stage it reached, and the server's reply.
//!
//! Does not decide whether to retry. Sends neither credentials nor the message over a connection that is
//! less secure than the settings require. A message counts as accepted only if the server says so after
//! the end of the message.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use lettre::Address;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::connection::{Connection, SmtpError, SmtpReply};
use crate::cause::Cause as _;
use crate::secret::Secret;

/// For DNS and TCP together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Short, because the outcome is known before QUIT is sent.
const QUIT_TIMEOUT: Duration = Duration::from_secs(2);
/// An address literal reveals nothing about this computer; submission servers accept it.
const CLIENT_NAME: &str = "[127.0.0.1]";

/// A mail server, and how to connect to it.
pub struct MailServer {
    /// Name or address, without brackets.
    pub host: String,
    pub port: u16,
    pub security: Security,
    pub login: Option<(String, Secret)>,
}

pub enum Security {
    /// Encrypted after the greeting, or not used at all.
    StartTls(Arc<ClientConfig>),
    /// Encrypted from the first byte.
    Tls(Arc<ClientConfig>),
    None,
}

/// The stage that a session reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmtpStage {
    Connect,
    Tls,
    Login,
    Sender,
    Recipients,
    Data,
    /// The server may have the message from this stage on.
    Message,
}

/// The server's decision about a message.
#[derive(Debug)]
pub struct Submission {
    /// The reply that accepts the message. `None` if all recipients were rejected.
    pub accepted: Option<SmtpReply>,
    /// The rejected recipients, each with the server's reply.
    pub rejected: Vec<(Address, SmtpReply)>,
}

/// The class of a reply: the first digit of its code (RFC 5321, 4.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReplyClass {
    Completion = 2,
    Intermediate = 3,
}

impl MailServer {
    /// Submits a message. Returns the stage reached before the timeout, and the result.
    pub async fn submit(
        &self,
        from: &Address,
        to: &[Address],
        message: &[u8],
        limit: Duration,
    ) -> (SmtpStage, Result<Submission, SmtpError>) {
        let mut stage = SmtpStage::Connect;
        let mut connection = None;
        let session = timeout(limit, async {
            let connection = self.connect(&mut connection, &mut stage).await?;
            transact(connection, from, to, message, &mut stage).await
        });
        let Ok(result) = session.await else { return (stage, Err(SmtpError::Timeout)) };
        // Outside of the time limit, because the result stands however the server reacts to QUIT.
        if let Some(mut connection) = connection {
            let _in_time = timeout(QUIT_TIMEOUT, async {
                let _reply = connection.command("QUIT").await;
                connection.close().await;
            })
            .await;
        }
        (stage, result)
    }

    /// Connects, sets up TLS and logs in. The connection is stored in `slot`, also after a failure.
    async fn connect<'p>(
        &self,
        slot: &'p mut Option<Connection>,
        stage: &mut SmtpStage,
    ) -> Result<&'p mut Connection, SmtpError> {
        let connecting = timeout(CONNECT_TIMEOUT, TcpStream::connect((self.host.as_str(), self.port)));
        let stream = connecting.await.map_err(io::Error::from).and_then(|connected| connected);
        let stream = stream.map_err(|error| SmtpError::Connection(error.reason()))?;
        let mut plain = Connection::new(Box::new(stream));
        if let Security::Tls(tls) = &self.security {
            *stage = SmtpStage::Tls;
            plain = plain.start_tls(Arc::clone(tls), self.server_name()?).await?;
            *stage = SmtpStage::Connect;
        }
        let connection = slot.insert(plain);
        expect(connection.reply().await, ReplyClass::Completion)?;
        let mut extensions = hello(connection).await?;
        if let Security::StartTls(tls) = &self.security {
            *stage = SmtpStage::Tls;
            if extensions.keyword("STARTTLS").is_none() {
                return Err(SmtpError::NoTls);
            }
            expect(connection.command("STARTTLS").await, ReplyClass::Completion)?;
            let plain = slot.take().expect("just used");
            let connection = slot.insert(plain.start_tls(Arc::clone(tls), self.server_name()?).await?);
            extensions = hello(connection).await?;
        }
        let connection = slot.as_mut().expect("just used");
        if let Some((user, password)) = &self.login {
            *stage = SmtpStage::Login;
            log_in(connection, &extensions, user, password).await?;
        }
        Ok(connection)
    }

    fn server_name(&self) -> Result<ServerName<'static>, SmtpError> {
        ServerName::try_from(self.host.clone())
            .map_err(|_| SmtpError::Connection("TLS cannot verify this host name".to_owned()))
    }
}

/// Sends EHLO and returns the extensions. A server that only knows HELO has none (RFC 5321, 3.2).
async fn hello(connection: &mut Connection) -> Result<SmtpReply, SmtpError> {
    let ehlo = expect(connection.command(&format!("EHLO {CLIENT_NAME}")).await, ReplyClass::Completion);
    let extensions = match ehlo {
        Err(SmtpError::Rejected(SmtpReply { code: 500 | 502 | 504, .. })) => {
            let helo = connection.command(&format!("HELO {CLIENT_NAME}")).await;
            SmtpReply { lines: Vec::new(), ..expect(helo, ReplyClass::Completion)? }
        }
        ehlo => ehlo?,
    };
    // An incomplete list does not tell which extensions are missing.
    connection.check_sync()?;
    Ok(extensions)
}

/// Tries the mechanisms that the server offers: PLAIN, then LOGIN. Both send the password itself, so the
/// settings require an encrypted or local connection.
async fn log_in(
    connection: &mut Connection,
    extensions: &SmtpReply,
    user: &str,
    password: &Secret,
) -> Result<(), SmtpError> {
    let offered = extensions.keyword("AUTH").unwrap_or_default();
    let is_offered = |name: &str| offered.iter().any(|mechanism| mechanism == name);
    let (user, password) = (user, password.expose());
    let plain = BASE64_STANDARD.encode(format!("\0{user}\0{password}"));
    let mechanisms = [
        ("PLAIN", format!("AUTH PLAIN {plain}"), vec![plain]),
        (
            "LOGIN",
            "AUTH LOGIN".to_owned(),
            vec![BASE64_STANDARD.encode(user), BASE64_STANDARD.encode(password)],
        ),
    ];
    let mut rejection = SmtpError::NoLogin;
    for (_, command, responses) in mechanisms.into_iter().filter(|(name, _, _)| is_offered(name)) {
        match authenticate(connection, &command, responses).await {
            Err(SmtpError::Rejected(reply)) if !reply.is_transient() => {
                rejection = SmtpError::Rejected(reply);
            }
            other => return other,
        }
    }
    Err(rejection)
}

/// Sends `responses` one by one as long as the server asks for another (334).
async fn authenticate(
    connection: &mut Connection,
    command: &str,
    responses: Vec<String>,
) -> Result<(), SmtpError> {
    let mut reply = connection.command(command).await;
    for response in responses {
        if !matches!(&reply, Ok(reply) if reply.code == 334) {
            break;
        }
        reply = connection.command(&response).await;
    }
    expect(reply, ReplyClass::Completion).map(drop)
}

/// Every reply must have the right class: a 354 does not accept a message.
async fn transact(
    connection: &mut Connection,
    from: &Address,
    to: &[Address],
    message: &[u8],
    stage: &mut SmtpStage,
) -> Result<Submission, SmtpError> {
    *stage = SmtpStage::Sender;
    expect(connection.command(&format!("MAIL FROM:<{from}>")).await, ReplyClass::Completion)?;
    *stage = SmtpStage::Recipients;
    let mut rejected = Vec::new();
    for address in to {
        match expect(connection.command(&format!("RCPT TO:<{address}>")).await, ReplyClass::Completion) {
            Ok(_) => {}
            // After a 421 the server closes the connection (RFC 5321, 3.8).
            Err(SmtpError::Rejected(reply)) if reply.code != 421 => rejected.push((address.clone(), reply)),
            Err(error) => return Err(error),
        }
    }
    if rejected.len() == to.len() {
        return Ok(Submission { accepted: None, rejected });
    }
    *stage = SmtpStage::Data;
    expect(connection.command("DATA").await, ReplyClass::Intermediate)?;
    *stage = SmtpStage::Message;
    connection.write(&dot_stuffed(message)).await?;
    let accepted = expect(connection.reply().await, ReplyClass::Completion)?;
    Ok(Submission { accepted: Some(accepted), rejected })
}

/// Doubles each dot that begins a line, and appends the line with a single dot that ends a message (RFC
/// 5321, 4.5.2). The lines of `message` end with CRLF.
fn dot_stuffed(message: &[u8]) -> Vec<u8> {
    let mut stuffed = Vec::with_capacity(message.len() + 16);
    for line in message.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(b".") {
            stuffed.push(b'.');
        }
        stuffed.extend_from_slice(line);
    }
    if !stuffed.ends_with(b"\r\n") {
        stuffed.extend_from_slice(b"\r\n");
    }
    stuffed.extend_from_slice(b".\r\n");
    stuffed
}

fn expect(reply: Result<SmtpReply, SmtpError>, class: ReplyClass) -> Result<SmtpReply, SmtpError> {
    let reply = reply?;
    match reply.code / 100 {
        digit if digit == class as u16 => Ok(reply),
        4 | 5 => Err(SmtpError::Rejected(reply)),
        _ => Err(SmtpError::InvalidReply(format!("{} {}", reply.code, reply.text()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dot_on_a_line_of_its_own_does_not_end_the_message() {
        for (message, stuffed) in [
            ("a\r\n.\r\nb\r\n", "a\r\n..\r\nb\r\n.\r\n"),
            (".a\r\n..\r\n", "..a\r\n...\r\n.\r\n"),
            ("a", "a\r\n.\r\n"),
            ("", "\r\n.\r\n"),
        ] {
            assert_eq!(String::from_utf8_lossy(&dot_stuffed(message.as_bytes())), stuffed);
        }
    }
}
