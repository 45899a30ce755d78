//! The broker's address and credentials, and the meaning of its errors.
//!
//! Opens no connection. Credentials appear neither in outcomes nor in debug output.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use rumqttc::{
    ConnectReturnCode, ConnectionError, LastWill, MqttOptions, NetworkOptions, StateError, mqttbytes,
};
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::super::outcome::SendOutcome;
use crate::secret::Secret;
use crate::setting::SettingError;
use crate::text;
use crate::tls::{self, Stream};

/// For DNS, TCP, TLS and the broker's CONNACK together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A dead connection is detected within twice this time.
const KEEP_ALIVE_S: u16 = 30;
/// The subscription covers only states that statusd published.
const INCOMING_MAX_BYTES: usize = 1 << 20;
/// Larger than any message made from a feed of 4 MiB, so that none is rejected on every attempt.
const OUTGOING_MAX_BYTES: usize = 32 << 20;
const REASON_MAX_CHARS: usize = 200;

/// The user and password of the CONNECT packet.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    pub user: String,
    pub password: Option<Secret>,
}

/// A broker's address and the options for connecting to it.
#[derive(Clone)]
pub struct Broker {
    host: String,
    port: u16,
    client_id: String,
    login: Option<Login>,
    /// Trusted in addition to the system's certificate authorities.
    authorities: Vec<CertificateDer<'static>>,
    /// Trusts `authorities`. `None` without TLS.
    tls: Option<Arc<ClientConfig>>,
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Broker { host, port, client_id, login, authorities: _, tls } = self;
        f.debug_struct("Broker")
            .field("host", host)
            .field("port", port)
            .field("client_id", client_id)
            .field("user", &login.as_ref().map(|login| &login.user))
            .field("tls", &tls.is_some())
            .finish()
    }
}

impl Broker {
    /// `url` is `mqtt://host` or `mqtts://host`, optionally with a port. Default ports: 1883 and 8883.
    ///
    /// # Errors
    ///
    /// The setting at fault, without secrets.
    pub fn new(
        url: &str,
        client_id: &str,
        login: Option<Login>,
        ca_file: Option<&Path>,
    ) -> Result<Broker, SettingError> {
        let (url, is_tls) = parse_url(url)?;
        let host = url.host_str().expect("checked").trim_matches(['[', ']']).to_owned();
        if !is_tls && login.as_ref().is_some_and(|login| login.password.is_some()) && !tls::is_loopback(&host)
        {
            return Err(SettingError::new(
                "url",
                format!("mqtt://{host} would carry the password unencrypted"),
            )
            .hint("write mqtts"));
        }
        if ca_file.is_some() && !is_tls {
            return Err(
                SettingError::new("ca_file", "has no effect with mqtt://").hint("write mqtts or remove it")
            );
        }
        let authorities = ca_file.map(tls::authorities).transpose()?.unwrap_or_default();
        Ok(Broker {
            tls: is_tls.then(|| tls::client_config(&authorities)).transpose().map_err(|_| {
                SettingError::new("url", "cannot set up TLS")
                    .hint("install the system's CA certificates, or check ca_file")
            })?,
            port: url.port().unwrap_or(if is_tls { 8883 } else { 1883 }),
            host,
            client_id: client_id.to_owned(),
            login,
            authorities,
        })
    }

    /// Returns true if a connection to `other` can replace one to this broker.
    pub fn is_same(&self, other: &Broker) -> bool {
        let Broker { host, port, client_id, login, authorities, tls } = self;
        (host, port, client_id, login, authorities, tls.is_some())
            == (
                &other.host,
                &other.port,
                &other.client_id,
                &other.login,
                &other.authorities,
                other.tls.is_some(),
            )
    }

    /// Returns the options of the long-lived connection. The broker publishes `will` when it is lost.
    pub fn options_with_will(&self, will: LastWill) -> MqttOptions {
        let mut options = self.options(&self.client_id);
        options.set_last_will(will);
        options
    }

    /// Returns the options of a one-off connection. It has a client id of its own, because the broker
    /// ends the older of two connections with the same id.
    pub fn oneshot_options(&self) -> MqttOptions {
        self.options(&format!("{}-{}", self.client_id, std::process::id()))
    }

    /// A clean session: the broker keeps nothing of it after a disconnection.
    fn options(&self, client_id: &str) -> MqttOptions {
        let mut options = MqttOptions::new(client_id, (self.host.as_str(), self.port));
        options
            .set_keep_alive(KEEP_ALIVE_S)
            .set_clean_session(true)
            .set_max_packet_size(INCOMING_MAX_BYTES, OUTGOING_MAX_BYTES);
        if let Some(Login { user, password }) = &self.login {
            let password = password.as_ref().map_or("", Secret::expose);
            options.set_credentials(user, password.to_owned());
        }
        let (host, port, tls) = (self.host.clone(), self.port, self.tls.clone());
        options.set_socket_connector(move |_, _| connect(host.clone(), port, tls.clone()));
        options
    }

    pub fn network_options() -> NetworkOptions {
        let mut options = NetworkOptions::new();
        options.set_connection_timeout(CONNECT_TIMEOUT.as_secs());
        options
    }

    /// Classifies an error before the connection was established, so the broker received no message.
    pub fn not_connected(&self, error: &ConnectionError) -> SendOutcome {
        let detail = match error {
            ConnectionError::ConnectionRefused(code) => return self.refused(*code),
            ConnectionError::NetworkTimeout | ConnectionError::FlushTimeout => {
                format!(
                    "did not respond within {} s; check host and port, and whether the broker requires mqtts",
                    CONNECT_TIMEOUT.as_secs()
                )
            }
            ConnectionError::Io(failure) if handshake_error(failure).is_some() => {
                format!(
                    "failed the TLS handshake: {}; check host, port, ca_file and the broker's certificate",
                    cause(error)
                )
            }
            ConnectionError::Io(_) => {
                format!("cannot be reached: {}; check the address and the network", cause(error))
            }
            _ => {
                format!(
                    "does not speak MQTT: {}; check host and port, and whether the broker requires mqtts",
                    cause(error)
                )
            }
        };
        self.transient(false, &detail)
    }

    fn refused(&self, code: ConnectReturnCode) -> SendOutcome {
        let detail = match code {
            ConnectReturnCode::ServiceUnavailable | ConnectReturnCode::Success => {
                return self.transient(false, "accepts no connections at the moment");
            }
            ConnectReturnCode::BadUserNamePassword => {
                "rejected the login; check user and password in the config"
            }
            ConnectReturnCode::NotAuthorized => {
                "does not authorize this login; check user and password in the config, and the broker's \
                 access rules"
            }
            ConnectReturnCode::BadClientId => "rejected the client_id; write another one",
            ConnectReturnCode::RefusedProtocolVersion => {
                "does not support MQTT 3.1.1; enable it at the broker"
            }
        };
        SendOutcome::Permanent { detail: format!("{} {detail}", self.host) }
    }

    /// Classifies the end of a connection before the broker confirmed a message.
    pub fn connection_lost(&self, error: &ConnectionError, reached: bool) -> SendOutcome {
        if reached && is_protocol_error(error) {
            let detail = format!(
                "{} received the message, but did not respond with MQTT: {}",
                self.host,
                cause(error)
            );
            return SendOutcome::Unclear { detail };
        }
        self.transient(
            reached,
            &format!("closed the connection before it confirmed the message: {}", cause(error)),
        )
    }

    pub fn transient(&self, reached: bool, detail: &str) -> SendOutcome {
        SendOutcome::Transient { after_s: None, reached, detail: format!("{} {detail}", self.host) }
    }

    pub fn delivered(&self, detail: &str) -> SendOutcome {
        SendOutcome::Delivered { receipt: None, detail: format!("{} {detail}", self.host) }
    }
}

/// A failed TLS handshake, as opposed to a failed TCP connection.
#[derive(Debug)]
struct HandshakeError(io::Error);

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for HandshakeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

fn handshake_error(error: &io::Error) -> Option<&io::Error> {
    error.get_ref()?.downcast_ref::<HandshakeError>().map(|error| &error.0)
}

async fn connect(host: String, port: u16, tls: Option<Arc<ClientConfig>>) -> io::Result<Box<dyn Stream>> {
    let tcp = TcpStream::connect((host.as_str(), port)).await?;
    tcp.set_nodelay(true)?;
    let Some(tls) = tls else { return Ok(Box::new(tcp)) };
    let handshake_error = |error| io::Error::other(HandshakeError(error));
    let name = ServerName::try_from(host).map_err(|error| handshake_error(io::Error::other(error)))?;
    let stream = TlsConnector::from(tls).connect(name, tcp).await.map_err(handshake_error)?;
    Ok(Box::new(stream))
}

/// Returns the address, and whether it uses TLS.
fn parse_url(text: &str) -> Result<(Url, bool), SettingError> {
    let url = Url::parse(text.trim())
        .map_err(|_| SettingError::new("url", "invalid address: expected mqtts://host:8883"))?;
    let is_tls = match url.scheme() {
        "mqtt" => false,
        "mqtts" => true,
        other => {
            return Err(SettingError::new(
                "url",
                format!("invalid scheme {other:?}: expected mqtts or mqtt"),
            ));
        }
    };
    if url.host_str().is_none_or(str::is_empty) {
        return Err(SettingError::new("url", "has no host").hint("write mqtts://host:8883"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            SettingError::new("url", "contains a user or password").hint("write them as user and password")
        );
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err(SettingError::new("url", "continues after the port").hint("write only mqtts://host:8883"));
    }
    Ok((url, is_tls))
}

/// Returns true if the broker sent an invalid or unexpected packet.
fn is_protocol_error(error: &ConnectionError) -> bool {
    let ConnectionError::MqttState(error) = error else { return false };
    match error {
        StateError::Unsolicited(_) | StateError::ProtocolViolation(_) | StateError::InvalidState => true,
        StateError::Deserialization(error) => !matches!(error, mqttbytes::Error::Io(_)),
        _ => false,
    }
}

fn cause(error: &ConnectionError) -> String {
    text::plain_line(&tls::root_cause(error), REASON_MAX_CHARS)
}
