//! One conversation with a mail server (RFC 5321): as far as it got, and what the server said.
//!
//! What an answer means for the message is decided one level up. Invariant: neither login nor
//! letter goes over a connection that is not what the settings ask for, and a letter counts as
//! taken only if the server said so after it had all of it.

use std::error::Error as _;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use lettre::Address;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, AsyncTokioStream, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::response::{Response, Severity};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// DNS and TCP together; where TLS comes first, TCP for each address of the server.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// A conversation and its certificates have some ten thousand.
const HEARD_MAX_BYTES: usize = 256 * 1024;
/// The letter is settled by then; this is good manners.
const QUIT_WITHIN: Duration = Duration::from_secs(2);
/// In this order. Both say the password, so both are for encrypted connections.
const MECHANISMS: [Mechanism; 2] = [Mechanism::Plain, Mechanism::Login];

/// Whom to talk to, and how.
pub struct Server {
    /// Name or address, without brackets.
    pub host: String,
    pub port: u16,
    pub security: Security,
    pub login: Option<Credentials>,
}

pub enum Security {
    /// Encrypted after the greeting, or not at all.
    StartTls(TlsParameters),
    /// Encrypted from the first byte.
    Tls(TlsParameters),
    None,
}

/// How far a conversation got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Connecting,
    Securing,
    LoggingIn,
    Sender,
    Receivers,
    Asking,
    /// From here on the server may have the letter.
    Letter,
}

/// What the server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub code: u16,
    pub text: String,
}

impl Reply {
    pub fn is_transient(&self) -> bool {
        self.code < 500
    }
}

/// What became of the letter.
#[derive(Debug)]
pub struct Handed {
    /// The server's receipt; `None` where it would have nobody of those who were named.
    pub taken: Option<Reply>,
    /// Whom it would not have, and why.
    pub refused: Vec<(Address, Reply)>,
}

/// Why there was nothing to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// A refusal, 4xx or 5xx.
    Said(Reply),
    /// It does not offer encryption.
    NoTls,
    /// It does not offer a login with a password.
    NoLogin,
    /// Anything but a conversation.
    Broke(String),
    /// The time is over.
    Silent,
}

impl Server {
    /// Says how far it got within the time, and what came of it.
    pub async fn hand_over(
        &self,
        from: &Address,
        to: &[Address],
        letter: &[u8],
        within: Duration,
    ) -> (Stage, Result<Handed, Trouble>) {
        let mut stage = Stage::Connecting;
        let mut connection = None;
        let conversation = timeout(within, async {
            let connection = connection.insert(self.connect(&mut stage).await?);
            transact(connection, from, to, letter, &mut stage).await
        });
        let Ok(outcome) = conversation.await else { return (stage, Err(Trouble::Silent)) };
        // Beside the time limit: what the server has taken it has taken, polite or not.
        if let Some(mut connection) = connection {
            let _unheard = timeout(QUIT_WITHIN, connection.quit()).await;
        }
        (stage, outcome)
    }

    async fn connect(&self, stage: &mut Stage) -> Result<AsyncSmtpConnection, Trouble> {
        // A number says nothing about this computer; mail servers for users take it.
        let hello = ClientId::default();
        let address = (self.host.as_str(), self.port);
        let connected = match &self.security {
            Security::Tls(parameters) => {
                let (limit, parameters) = (Some(CONNECT_WITHIN), Some(parameters.clone()));
                AsyncSmtpConnection::connect_tokio1(address, limit, &hello, parameters, None).await
            }
            Security::StartTls(_) | Security::None => {
                let connecting = timeout(CONNECT_WITHIN, TcpStream::connect(address));
                let stream = connecting.await.map_err(io::Error::from).and_then(|connected| connected);
                let stream = stream.map_err(|error| Trouble::Broke(error.to_string()))?;
                let heard = Box::new(Heard { stream, left_bytes: HEARD_MAX_BYTES });
                AsyncSmtpConnection::connect_with_transport(heard, &hello).await
            }
        };
        let mut connection = connected.map_err(trouble)?;
        if let Security::StartTls(parameters) = &self.security {
            *stage = Stage::Securing;
            if !connection.can_starttls() {
                return Err(Trouble::NoTls);
            }
            connection.starttls(parameters.clone(), &hello).await.map_err(trouble)?;
        }
        if let Some(login) = &self.login {
            *stage = Stage::LoggingIn;
            if connection.server_info().get_auth_mechanism(&MECHANISMS).is_none() {
                return Err(Trouble::NoLogin);
            }
            expect(connection.auth(&MECHANISMS, login).await, Severity::PositiveCompletion)?;
        }
        Ok(connection)
    }
}

/// A connection that ends when the other side has said too much. lettre reads lines of any length,
/// and before the encryption anybody on the way can talk; with TLS from the first byte it is the
/// server itself.
#[derive(Debug)]
struct Heard {
    stream: TcpStream,
    left_bytes: usize,
}

impl AsyncRead for Heard {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        std::task::ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        match self.left_bytes.checked_sub(buffer.filled().len() - before) {
            Some(left_bytes) => self.left_bytes = left_bytes,
            None => return Poll::Ready(Err(io::Error::other("it talks without end"))),
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Heard {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl AsyncTokioStream for Heard {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.peer_addr()
    }
}

/// lettre's own `send` drops the whole letter where one of several receivers is refused.
///
/// Every reply must be of the kind that is due: whoever slips one in before the encryption shifts
/// all that follow, and "go ahead" is no receipt.
async fn transact(
    connection: &mut AsyncSmtpConnection,
    from: &Address,
    to: &[Address],
    letter: &[u8],
    stage: &mut Stage,
) -> Result<Handed, Trouble> {
    use Severity::{PositiveCompletion, PositiveIntermediate};
    *stage = Stage::Sender;
    expect(connection.command(Mail::new(Some(from.clone()), Vec::new())).await, PositiveCompletion)?;
    *stage = Stage::Receivers;
    let mut refused = Vec::new();
    for address in to {
        let said = connection.command(Rcpt::new(address.clone(), Vec::new())).await;
        match expect(said, PositiveCompletion) {
            Ok(_) => {}
            // 421: the server hangs up (RFC 5321, 3.8).
            Err(Trouble::Said(reply)) if reply.code != 421 => refused.push((address.clone(), reply)),
            Err(trouble) => return Err(trouble),
        }
    }
    if refused.len() == to.len() {
        return Ok(Handed { taken: None, refused });
    }
    *stage = Stage::Asking;
    expect(connection.command(Data).await, PositiveIntermediate)?;
    *stage = Stage::Letter;
    let taken = expect(connection.message(letter).await, PositiveCompletion)?;
    Ok(Handed { taken: Some(taken), refused })
}

fn expect(said: Result<Response, Error>, due: Severity) -> Result<Reply, Trouble> {
    let response = said.map_err(trouble)?;
    let reply =
        Reply { code: response.code().into(), text: response.message().collect::<Vec<_>>().join(" ") };
    if response.code().severity == due {
        return Ok(reply);
    }
    Err(Trouble::Broke(format!("answers {} {} where something else was due", reply.code, reply.text)))
}

fn trouble(error: Error) -> Trouble {
    match error.status() {
        Some(code) => {
            let text = error.source().map(ToString::to_string).unwrap_or_default();
            Trouble::Said(Reply { code: code.into(), text })
        }
        None => Trouble::Broke(innermost(&error)),
    }
}

/// The innermost cause says what happened; the layers above only say who noticed.
fn innermost(error: &Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
