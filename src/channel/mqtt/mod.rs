//! The channel to an MQTT broker: a retained state for each watched service, which is also a sensor in
//! Home Assistant, and each change as a message.
//!
//! Promise: states are idempotent, and a new subscriber gets the newest. A change is published at least
//! once (QoS 1); its JSON contains the key by which a subscriber recognises a repeat.
//!
//! Speaks MQTT 3.1.1 and takes no commands. While statusd shows states it holds one connection, and the
//! broker publishes "offline" when the connection is lost.

mod broker;
mod connection;
mod oneshot;
mod session;
mod state;
mod topics;

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use self::broker::{Broker, Login};
use self::connection::BrokerConnection;
use self::topics::Topics;
use super::outcome::{Notice, SendOutcome};
use super::settings::{ReadSecret, RedactedUrl, optional_secret};
use super::snapshot::Snapshot;
use super::transport::{AnyTransport, Table, Transport};
use crate::secret::Secret;
use crate::setting::SettingError;

const CLIENT_ID: &str = "statusd";
const PREFIX: &str = "statusd";
const DISCOVERY: &str = "homeassistant";
/// The maximum length of a prefix or id. Brokers accept more, but long topics are unwieldy in URLs and
/// file names.
const NAME_MAX_CHARS: usize = 64;
/// For a whole attempt.
const SEND_TIMEOUT: Duration = Duration::from_secs(20);
/// Each refresh publishes only the states that differ.
const REFRESH_EVERY: Duration = Duration::from_secs(60);

/// `[channel.mqtt.NAME]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// `mqtts://host:8883`, or `mqtt://host:1883` if no password is sent.
    pub url: RedactedUrl,
    /// The user to log in as. Default: no login.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<Secret>,
    /// A file that contains the password.
    pub password_file: Option<PathBuf>,
    /// The client id, unique for each statusd at a broker. Default: "statusd".
    #[serde(default = "client_id")]
    pub client_id: String,
    /// The first part of every topic, unique for each statusd at a broker. Default: "statusd".
    #[serde(default = "prefix")]
    pub prefix: String,
    /// Home Assistant's discovery prefix. "" publishes no sensors. Default: "homeassistant".
    #[serde(default = "discovery")]
    pub discovery: String,
    /// A PEM file with certificate authorities to trust in addition to the system's.
    pub ca_file: Option<PathBuf>,
}

fn client_id() -> String {
    CLIENT_ID.to_owned()
}

fn prefix() -> String {
    PREFIX.to_owned()
}

fn discovery() -> String {
    DISCOVERY.to_owned()
}

impl Table for Settings {
    fn open(&self, read_secret: ReadSecret) -> Result<AnyTransport, SettingError> {
        Ok(Mqtt::new(self, read_secret)?.into())
    }
}

/// An MQTT broker, ready to publish to.
#[derive(Debug)]
pub struct Mqtt {
    broker: Broker,
    topics: Topics,
    /// Opened by the first snapshot.
    connection: Option<BrokerConnection>,
}

impl Mqtt {
    /// Reads secret files through `read_secret`, and `ca_file`. Opens no connection.
    ///
    /// # Errors
    ///
    /// The setting at fault, without secrets.
    pub fn new(settings: &Settings, read_secret: ReadSecret) -> Result<Mqtt, SettingError> {
        let password = optional_secret("password", &settings.password, &settings.password_file, read_secret)?;
        let login = match &settings.user {
            Some(user) if user.trim().is_empty() => {
                return Err(SettingError::new("user", "empty").hint("write the user name or remove the key"));
            }
            Some(user) => Some(Login { user: user.clone(), password }),
            None if password.is_some() => {
                return Err(SettingError::new("password", "requires a user").hint("add the key \"user\""));
            }
            None => None,
        };
        check_name("client_id", &settings.client_id)?;
        check_topic("prefix", &settings.prefix)?;
        let discovery = settings.discovery.as_str();
        if !discovery.is_empty() {
            check_topic("discovery", discovery)?;
        }
        Ok(Mqtt {
            broker: Broker::new(
                settings.url.expose(),
                &settings.client_id,
                login,
                settings.ca_file.as_deref(),
            )?,
            topics: Topics {
                prefix: settings.prefix.clone(),
                discovery: (!discovery.is_empty()).then(|| discovery.to_owned()),
            },
            connection: None,
        })
    }

    /// Flattens the result of an attempt: the outer `None` is a timeout, the inner one a connection task
    /// that has ended.
    fn outcome(&self, result: Option<Option<SendOutcome>>, reached: bool) -> SendOutcome {
        match result {
            Some(Some(outcome)) => outcome,
            Some(None) => self.broker.transient(true, "disconnected because the connection task ended"),
            None => self
                .broker
                .transient(reached, &format!("confirmed nothing within {} s", SEND_TIMEOUT.as_secs())),
        }
    }
}

impl Transport for Mqtt {
    /// Publishes a change and waits for the broker's confirmation. Times out after 20 s.
    ///
    /// Before the first snapshot the message goes over a connection of its own, because another process
    /// may hold the long-lived one.
    async fn send(&mut self, notice: &Notice) -> SendOutcome {
        let topic = self.topics.change();
        let mut reached = self.connection.is_some();
        let publish = async {
            match self.connection.as_ref().filter(|connection| connection.is_open()) {
                Some(connection) => connection.publish(topic, notice.payload.clone()).await,
                None => Some(oneshot::publish(&self.broker, &topic, &notice.payload, &mut reached).await),
            }
        };
        let result = timeout(SEND_TIMEOUT, publish).await;
        self.outcome(result.ok(), reached)
    }

    /// Needed because time alone can change a state: an unreadable feed makes it unknown.
    fn sync_interval(&self) -> Option<Duration> {
        Some(REFRESH_EVERY)
    }

    /// Publishes the states. Times out after 20 s. The first call spawns the connection task on the
    /// current tokio runtime.
    async fn sync_state(&mut self, snapshot: &Snapshot) -> SendOutcome {
        let retained = self.topics.retained(snapshot, Timestamp::now());
        if !self.connection.as_ref().is_some_and(BrokerConnection::is_open) {
            self.connection = Some(BrokerConnection::open(self.broker.clone(), self.topics.clone()));
        }
        let connection = self.connection.as_ref().expect("just opened");
        let result = timeout(SEND_TIMEOUT, connection.sync(retained)).await;
        self.outcome(result.ok(), true)
    }

    /// Returns true if `older` has the same broker and topics, so that its connection can be kept.
    fn can_reuse(&self, older: &Mqtt) -> bool {
        self.broker.is_same(&older.broker) && self.topics == older.topics
    }
}

fn check_name(key: &str, name: &str) -> Result<(), SettingError> {
    let is_name = (1..=NAME_MAX_CHARS).contains(&name.len())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if is_name {
        return Ok(());
    }
    Err(SettingError::new(
        key,
        format!("invalid name: expected 1 to {NAME_MAX_CHARS} of the characters A-Z a-z 0-9 - _ ."),
    ))
}

/// Rejects `+`, `#` and `$`, which are special in MQTT, and empty levels.
fn check_topic(key: &str, topic: &str) -> Result<(), SettingError> {
    if topic.len() <= NAME_MAX_CHARS && topic.split('/').all(|level| check_name(key, level).is_ok()) {
        return Ok(());
    }
    Err(SettingError::new(
        key,
        format!(
            "invalid topic: expected at most {NAME_MAX_CHARS} of the characters A-Z a-z 0-9 - _ . in levels separated by single slashes"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(toml: &str) -> Settings {
        toml::from_str(toml).expect("settings")
    }

    fn made(toml: &str) -> Result<Mqtt, String> {
        Mqtt::new(&settings(toml), &|path| match path.to_str() {
            Some("/secret") => Ok(Secret::new("hunter2\n")),
            _ => Err(SettingError::new("", format!("{}: no such file", path.display()))),
        })
        .map_err(|error| error.to_string())
    }

    #[track_caller]
    fn check_refused(toml: &str, expected: &str) {
        let error = made(toml).expect_err("must be refused");
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn valid_settings_are_accepted() {
        for toml in [
            "url = 'mqtt://broker.example'",
            "url = 'mqtt://broker.example:1884/'",
            "url = 'mqtts://broker.example'\nuser = 'me'\npassword = 'hunter2'",
            "url = 'mqtt://127.0.0.1'\nuser = 'me'\npassword_file = '/secret'",
            "url = 'mqtt://[::1]:1883'\nuser = 'me'\npassword = 'hunter2'",
            "url = 'mqtt://broker.example'\nuser = 'me'",
            "url = 'mqtt://broker.example'\nprefix = 'home/attic/statusd'\ndiscovery = ''",
        ] {
            assert!(made(toml).is_ok(), "{toml}: {:?}", made(toml));
        }
    }

    #[test]
    fn invalid_settings_are_rejected_without_showing_secrets() {
        check_refused("url = 'broker.example'", "url: invalid address");
        check_refused("url = 'http://broker.example'", "url: invalid scheme \"http\"");
        check_refused("url = 'broker.example:1883'", "url: invalid scheme \"broker.example\"");
        check_refused("url = 'mqtt:broker.example'", "url: has no host");
        check_refused("url = 'mqtt:///x'", "url: has no host");
        check_refused("url = 'mqtts://me:hunter2@broker.example'", "write them as user and password");
        check_refused("url = 'mqtts://broker.example/hunter2'", "continues after the port");
        check_refused("url = 'mqtts://broker.example?x=hunter2'", "continues after the port");
        check_refused(
            "url = 'mqtt://broker.example'\nuser = 'me'\npassword = 'hunter2'",
            "url: mqtt://broker.example would carry the password unencrypted; write mqtts",
        );
        let url = "url = 'mqtts://broker.example'";
        check_refused(&format!("{url}\npassword = 'hunter2'"), "password: requires a user");
        check_refused(&format!("{url}\nuser = ' '"), "user: empty");
        check_refused(
            &format!("{url}\nuser = 'me'\npassword = 'hunter2'\npassword_file = '/secret'"),
            "password: also given as password_file",
        );
        for client_id in ["", "a/b", "ü", &"x".repeat(65)] {
            check_refused(
                &format!("{url}\nclient_id = '{client_id}'"),
                "client_id: invalid name: expected 1 to 64",
            );
        }
        for prefix in ["", "/a", "a/", "a//b", "a/+", "#", "$SYS", "a b", &"x".repeat(65)] {
            check_refused(
                &format!("{url}\nprefix = '{prefix}'"),
                "prefix: invalid topic: expected at most 64",
            );
        }
        check_refused(
            &format!("{url}\ndiscovery = 'home assistant'"),
            "discovery: invalid topic: expected at most 64",
        );
        check_refused(&format!("{url}\nca_file = 'ca.pem'"), "ca_file: ca.pem is not an absolute path");
        check_refused(&format!("{url}\nca_file = '/nowhere'"), "ca_file: cannot read /nowhere");
        check_refused(&format!("{url}\nca_file = '/dev/null'"), "contains no certificate");
        check_refused("url = 'mqtt://broker.example'\nca_file = '/nowhere'", "has no effect with mqtt://");
    }

    #[test]
    fn the_settings_have_defaults_and_no_other_keys() {
        let settings = settings("url = 'mqtts://broker.example'");
        let names = [&settings.client_id, &settings.prefix, &settings.discovery];
        assert_eq!(names, ["statusd", "statusd", "homeassistant"]);
        assert!(toml::from_str::<Settings>("url = 'mqtts://broker.example'\ntopic = 'x'").is_err());
        assert!(toml::from_str::<Settings>("user = 'x'").is_err());
    }

    #[test]
    fn debug_hides_the_password() {
        let toml = "url = 'mqtts://broker.example:8884'\nuser = 'me'\npassword = 'hunter2'";
        let shown = format!("{:?} {:#?}", settings(toml), made(toml).expect("ready"));
        assert!(shown.contains("mqtts://broker.example:8884\""), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
        let refused = settings("url = 'mqtts://me:hunter2@broker.example'");
        assert!(!format!("{refused:?}").contains("hunter2"), "{refused:?}");
    }

    #[test]
    fn a_connection_is_kept_only_with_equal_settings() {
        let toml = "url = 'mqtts://broker.example'\nuser = 'me'\npassword = 'hunter2'";
        let mqtt = made(toml).expect("ready");
        assert!(made(toml).expect("ready").can_reuse(&mqtt));
        for other in [
            "url = 'mqtts://other.example'\nuser = 'me'\npassword = 'hunter2'",
            "url = 'mqtts://broker.example:1'\nuser = 'me'\npassword = 'hunter2'",
            "url = 'mqtts://broker.example'\nuser = 'you'\npassword = 'hunter2'",
            "url = 'mqtts://broker.example'\nuser = 'me'\npassword = 'hunter3'",
            "url = 'mqtts://broker.example'\nuser = 'me'",
            &format!("{toml}\nclient_id = 'x'"),
            &format!("{toml}\nprefix = 'x'"),
            &format!("{toml}\ndiscovery = ''"),
        ] {
            assert!(!made(other).expect(other).can_reuse(&mqtt), "{other}");
        }
    }
}
