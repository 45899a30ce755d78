//! One SMTP session (RFC 5321): the stage it reached, and the server's reply.
//!
//! Does not decide whether to retry. Sends neither credentials nor the message over a connection that is
//! less secure than the settings require. A message counts as accepted only if the server says so after
//! the end of the message.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use lettre::Address;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::base64;
use super::connection::{Connection, SmtpReply};
use crate::cause::Cause as _;
use crate::secret::Secret;

/// DNS and TCP together.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// The letter is settled by then; this is good manners.
const QUIT_WITHIN: Duration = Duration::from_secs(2);
/// A number says nothing about this computer; mail servers for users take it.
const OWN_NAME: &str = "[127.0.0.1]";

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
    Connecting,
    Securing,
    LoggingIn,
    Sender,
    Receivers,
    Asking,
    /// From here on the server may have the letter.
    Letter,
}

/// The server's decision about a message.
#[derive(Debug)]
pub struct Handed {
    /// The server's receipt; `None` where it would have nobody of those who were named.
    pub taken: Option<SmtpReply>,
    /// Whom it would not have, and why.
    pub refused: Vec<(Address, SmtpReply)>,
}

/// Why a session failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SmtpTrouble {
    /// A refusal, 4xx or 5xx.
    Said(SmtpReply),
    /// A reply without a code, or with one of another kind than was due.
    Unclear(String),
    /// It does not offer encryption.
    NoTls,
    /// The server offers no login with a password.
    NoLogin,
    /// Anything but a conversation.
    Broke(String),
    /// The time is over.
    Silent,
}

/// The class of a reply: the first digit of its code (RFC 5321, 4.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Done = 2,
    GoOn = 3,
}

impl MailServer {
    /// Says how far it got within the time, and what came of it.
    pub async fn hand_over(
        &self,
        from: &Address,
        to: &[Address],
        letter: &[u8],
        within: Duration,
    ) -> (SmtpStage, Result<Handed, SmtpTrouble>) {
        let mut stage = SmtpStage::Connecting;
        let mut connection = None;
        let conversation = timeout(within, async {
            let connection = self.connect(&mut connection, &mut stage).await?;
            transact(connection, from, to, letter, &mut stage).await
        });
        let Ok(outcome) = conversation.await else { return (stage, Err(SmtpTrouble::Silent)) };
        // Beside the time limit: what the server has taken it has taken, polite or not.
        if let Some(mut connection) = connection {
            let _unheard = timeout(QUIT_WITHIN, async {
                let _bye = connection.command("QUIT").await;
                connection.close().await;
            })
            .await;
        }
        (stage, outcome)
    }

    /// Connects, sets up TLS and logs in. The connection is stored in `slot`, also after a failure.
    async fn connect<'p>(
        &self,
        place: &'p mut Option<Connection>,
        stage: &mut SmtpStage,
    ) -> Result<&'p mut Connection, SmtpTrouble> {
        let connecting = timeout(CONNECT_WITHIN, TcpStream::connect((self.host.as_str(), self.port)));
        let stream = connecting.await.map_err(io::Error::from).and_then(|connected| connected);
        let stream = stream.map_err(|error| SmtpTrouble::Broke(error.reason()))?;
        let mut plain = Connection::new(Box::new(stream));
        if let Security::Tls(tls) = &self.security {
            *stage = SmtpStage::Securing;
            plain = plain.secure(Arc::clone(tls), self.name()?).await?;
            *stage = SmtpStage::Connecting;
        }
        let connection = place.insert(plain);
        expect(connection.reply().await, Due::Done)?;
        let mut offer = hello(connection).await?;
        if let Security::StartTls(tls) = &self.security {
            *stage = SmtpStage::Securing;
            if offer.keyword("STARTTLS").is_none() {
                return Err(SmtpTrouble::NoTls);
            }
            expect(connection.command("STARTTLS").await, Due::Done)?;
            let plain = place.take().expect("just used");
            let connection = place.insert(plain.secure(Arc::clone(tls), self.name()?).await?);
            offer = hello(connection).await?;
        }
        let connection = place.as_mut().expect("just used");
        if let Some((user, password)) = &self.login {
            *stage = SmtpStage::LoggingIn;
            log_in(connection, &offer, user, password).await?;
        }
        Ok(connection)
    }

    fn name(&self) -> Result<ServerName<'static>, SmtpTrouble> {
        ServerName::try_from(self.host.clone())
            .map_err(|_| SmtpTrouble::Broke("the host is no name that TLS can check".to_owned()))
    }
}

/// What the server offers. One that does not know EHLO offers nothing (RFC 5321, 3.2).
async fn hello(connection: &mut Connection) -> Result<SmtpReply, SmtpTrouble> {
    let offer = match expect(connection.command(&format!("EHLO {OWN_NAME}")).await, Due::Done) {
        Err(SmtpTrouble::Said(SmtpReply { code: 500 | 502 | 504, .. })) => {
            let said = expect(connection.command(&format!("HELO {OWN_NAME}")).await, Due::Done)?;
            SmtpReply { lines: Vec::new(), ..said }
        }
        said => said?,
    };
    // A list that is cut off says nothing of what is missing.
    connection.check_step()?;
    Ok(offer)
}

/// Tries the mechanisms that the server offers: PLAIN, then LOGIN. Both send the password itself, so the
/// settings require an encrypted or local connection.
async fn log_in(
    connection: &mut Connection,
    offer: &SmtpReply,
    user: &str,
    password: &Secret,
) -> Result<(), SmtpTrouble> {
    let mechanisms = offer.keyword("AUTH").unwrap_or_default();
    let offers = |name: &str| mechanisms.iter().any(|mechanism| mechanism == name);
    let (user, password) = (user, password.expose());
    let plain = base64(&format!("\0{user}\0{password}"));
    let ways = [
        ("PLAIN", format!("AUTH PLAIN {plain}"), vec![plain]),
        ("LOGIN", "AUTH LOGIN".to_owned(), vec![base64(user), base64(password)]),
    ];
    let mut refusal = SmtpTrouble::NoLogin;
    for (_, first, answers) in ways.into_iter().filter(|(name, _, _)| offers(name)) {
        match authenticate(connection, &first, answers).await {
            Err(SmtpTrouble::Said(reply)) if !reply.is_transient() => refusal = SmtpTrouble::Said(reply),
            other => return other,
        }
    }
    Err(refusal)
}

/// Sends `responses` one by one as long as the server asks for another (334).
async fn authenticate(
    connection: &mut Connection,
    first: &str,
    answers: Vec<String>,
) -> Result<(), SmtpTrouble> {
    let mut said = connection.command(first).await;
    for answer in answers {
        if !matches!(&said, Ok(reply) if reply.code == 334) {
            break;
        }
        said = connection.command(&answer).await;
    }
    expect(said, Due::Done).map(drop)
}

/// Every reply must have the right class: a 354 does not accept a message.
async fn transact(
    connection: &mut Connection,
    from: &Address,
    to: &[Address],
    letter: &[u8],
    stage: &mut SmtpStage,
) -> Result<Handed, SmtpTrouble> {
    *stage = SmtpStage::Sender;
    expect(connection.command(&format!("MAIL FROM:<{from}>")).await, Due::Done)?;
    *stage = SmtpStage::Receivers;
    let mut refused = Vec::new();
    for address in to {
        match expect(connection.command(&format!("RCPT TO:<{address}>")).await, Due::Done) {
            Ok(_) => {}
            // 421: the server hangs up (RFC 5321, 3.8).
            Err(SmtpTrouble::Said(reply)) if reply.code != 421 => refused.push((address.clone(), reply)),
            Err(trouble) => return Err(trouble),
        }
    }
    if refused.len() == to.len() {
        return Ok(Handed { taken: None, refused });
    }
    *stage = SmtpStage::Asking;
    expect(connection.command("DATA").await, Due::GoOn)?;
    *stage = SmtpStage::Letter;
    connection.say(&transparent(letter)).await?;
    let taken = expect(connection.reply().await, Due::Done)?;
    Ok(Handed { taken: Some(taken), refused })
}

/// The letter as it goes over the line: a dot more before each that begins a line, and one on a
/// line of its own behind it (RFC 5321, 4.5.2). The lines of a letter end with CR and LF.
fn transparent(letter: &[u8]) -> Vec<u8> {
    let mut sent = Vec::with_capacity(letter.len() + 16);
    for line in letter.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(b".") {
            sent.push(b'.');
        }
        sent.extend_from_slice(line);
    }
    if !sent.ends_with(b"\r\n") {
        sent.extend_from_slice(b"\r\n");
    }
    sent.extend_from_slice(b".\r\n");
    sent
}

fn expect(said: Result<SmtpReply, SmtpTrouble>, due: Due) -> Result<SmtpReply, SmtpTrouble> {
    let reply = said?;
    match reply.code / 100 {
        kind if kind == due as u16 => Ok(reply),
        4 | 5 => Err(SmtpTrouble::Said(reply)),
        _ => Err(SmtpTrouble::Unclear(format!("{} {}", reply.code, reply.text()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dot_on_a_line_of_its_own_is_not_the_end() {
        for (letter, sent) in [
            ("a\r\n.\r\nb\r\n", "a\r\n..\r\nb\r\n.\r\n"),
            (".a\r\n..\r\n", "..a\r\n...\r\n.\r\n"),
            ("a", "a\r\n.\r\n"),
            ("", "\r\n.\r\n"),
        ] {
            assert_eq!(String::from_utf8_lossy(&transparent(letter.as_bytes())), sent);
        }
    }
}
