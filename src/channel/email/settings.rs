//! The table `[channel.email.NAME]`, and its conversion into a server, a sender and recipients.
//!
//! Opens no connection. Rejects settings that would send unencrypted to another computer. No error
//! contains the password (`invalid_settings_are_rejected_without_showing_secrets`).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lettre::message::Mailbox;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde::{Deserialize, Serialize};

use super::super::settings::{ReadSecret, optional_secret};
use super::super::transport::{AnyTransport, Table};
use super::{Email, smtp};
use crate::secret::Secret;
use crate::setting::SettingError;
use crate::tls;

/// `[channel.email.NAME]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The server for outgoing mail: a host name or IP address.
    pub server: String,
    /// Default: 587 for "starttls", 465 for "tls", 25 for "none".
    pub port: Option<u16>,
    /// The encryption of the connection. Default: "starttls".
    #[serde(default)]
    pub security: SecuritySetting,
    /// The user to log in as. Default: no login.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<Secret>,
    /// A file that contains the password.
    pub password_file: Option<PathBuf>,
    /// The sender: `name@host`, or `Name <name@host>`.
    pub from: String,
    /// The recipients, at least one.
    pub to: Vec<String>,
    /// A PEM file with certificate authorities to trust in addition to the system's. An absolute path.
    pub ca_file: Option<PathBuf>,
}

/// The encryption of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SecuritySetting {
    /// Encrypted after the server's greeting, or not used at all.
    #[default]
    StartTls,
    /// Encrypted from the first byte.
    Tls,
    /// Unencrypted. Allowed only for a server on this computer.
    None,
}

impl SecuritySetting {
    /// Returns the standard port (RFC 8314, RFC 5321).
    fn default_port(self) -> u16 {
        match self {
            SecuritySetting::StartTls => 587,
            SecuritySetting::Tls => 465,
            SecuritySetting::None => 25,
        }
    }
}

impl Settings {
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(self.security.default_port())
    }
}

impl Table for Settings {
    fn open(&self, read_secret: ReadSecret) -> Result<AnyTransport, SettingError> {
        Ok(Email::new(self, read_secret)?.into())
    }
}

pub fn host(settings: &Settings) -> Result<String, SettingError> {
    let host = settings.server.trim().trim_start_matches('[').trim_end_matches(']');
    if ServerName::try_from(host).is_err() {
        return Err(SettingError::new(
            "server",
            format!(
                "invalid host {:?}: expected a host name or IP address, without smtp:// and port",
                settings.server
            ),
        ));
    }
    if settings.port == Some(0) {
        return Err(SettingError::new("port", "invalid port 0")
            .hint("remove the key, or write the port that your mail provider names"));
    }
    Ok(host.to_owned())
}

pub fn login(settings: &Settings, read_secret: ReadSecret) -> Result<Option<(String, Secret)>, SettingError> {
    let password = optional_secret("password", &settings.password, &settings.password_file, read_secret)?;
    match (&settings.user, password) {
        (None, None) => Ok(None),
        (Some(user), _) if user.trim().is_empty() => {
            Err(SettingError::new("user", "empty").hint("write the user name or remove the key"))
        }
        (Some(user), Some(password)) => Ok(Some((user.trim().to_owned(), password))),
        (Some(_), None) => {
            Err(SettingError::new("user", "requires a password").hint("add the key \"password_file\""))
        }
        (None, Some(_)) => Err(SettingError::new("password", "requires a user").hint("add the key \"user\"")),
    }
}

pub fn mailbox(key: &str, text: &str) -> Result<Mailbox, SettingError> {
    let mailbox: Mailbox = text.trim().parse().map_err(|_| {
        SettingError::new(key, format!("invalid address {text:?}: expected name@host, or Name <name@host>"))
    })?;
    if !mailbox.email.to_string().is_ascii() {
        return Err(SettingError::new(
            key,
            format!(
                "invalid address {text:?}: expected ASCII, because many mail servers accept nothing else"
            ),
        )
        .hint("write the host as xn--…"));
    }
    Ok(mailbox)
}

/// Removes duplicates.
pub fn recipients(texts: &[String]) -> Result<Vec<Mailbox>, SettingError> {
    if texts.is_empty() {
        return Err(SettingError::new("to", "empty").hint("write at least one address"));
    }
    let mut recipients: Vec<Mailbox> = Vec::new();
    for text in texts {
        let mailbox = mailbox("to", text)?;
        if !recipients.iter().any(|other| other.email == mailbox.email) {
            recipients.push(mailbox);
        }
    }
    Ok(recipients)
}

pub fn security(settings: &Settings) -> Result<smtp::Security, SettingError> {
    let host = host(settings)?;
    match settings.security {
        SecuritySetting::None if tls::is_loopback(&host) => Ok(smtp::Security::None),
        SecuritySetting::None => {
            Err(SettingError::new("security", format!("\"none\" would carry the mail to {host} unencrypted"))
                .hint("write \"starttls\" or \"tls\""))
        }
        SecuritySetting::StartTls => Ok(smtp::Security::StartTls(tls_config(settings.ca_file.as_deref())?)),
        SecuritySetting::Tls => Ok(smtp::Security::Tls(tls_config(settings.ca_file.as_deref())?)),
    }
}

fn tls_config(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, SettingError> {
    let authorities = ca_file.map(tls::authorities).transpose()?.unwrap_or_default();
    tls::client_config(&authorities).map_err(|_| {
        SettingError::new("", "cannot set up TLS")
            .hint("install the system's CA certificates, or check ca_file")
    })
}
