//! The table `[channel.email.NAME]`, and its conversion into a server, a sender and recipients.
//!
//! Opens no connection. Rejects settings that would send unencrypted to another computer. No error
//! contains the password (`invalid_settings_are_rejected_without_showing_secrets`).

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lettre::message::Mailbox;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde::Deserialize;

use super::super::outcome::Audience;
use super::super::settings::{
    ReadSecret, Shown, optional_secret, shown, shown_list, shown_path, shown_secret, shown_some,
};
use super::super::transport::{AnyTransport, Table};
use super::{Email, smtp};
use crate::secret::Secret;
use crate::tls;

/// `[channel.email.NAME]`
#[derive(Clone, PartialEq, Eq, Deserialize)]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
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
    fn as_str(self) -> &'static str {
        match self {
            SecuritySetting::StartTls => "starttls",
            SecuritySetting::Tls => "tls",
            SecuritySetting::None => "none",
        }
    }

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
    fn audience(&self) -> Audience {
        Audience::People
    }

    fn shown(&self) -> Vec<Shown> {
        // No `..`, so that each new setting is shown or hidden on purpose.
        let Settings { server, port: _, security, user, password, password_file, from, to, ca_file } = self;
        vec![
            shown("server", server.as_str()),
            shown("port", i64::from(self.port())),
            shown("security", security.as_str()),
            shown_some("user", user.as_deref()),
            shown_secret("password", password.as_ref()),
            shown_path("password_file", password_file.as_ref()),
            shown("from", from.as_str()),
            shown_list("to", to),
            shown_path("ca_file", ca_file.as_ref()),
        ]
    }

    fn open(&self, read_secret: ReadSecret) -> Result<AnyTransport, String> {
        Ok(Email::new(self, read_secret)?.into())
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.shown()).finish()
    }
}

pub fn host(settings: &Settings) -> Result<String, String> {
    let host = settings.server.trim().trim_start_matches('[').trim_end_matches(']');
    if ServerName::try_from(host).is_err() {
        return Err(format!(
            "server: invalid host {:?}: expected a host name or IP address, without smtp:// and port",
            settings.server
        ));
    }
    if settings.port == Some(0) {
        return Err("port: invalid port 0; remove the key, or write the port that your mail provider names"
            .to_owned());
    }
    Ok(host.to_owned())
}

pub fn login(settings: &Settings, read_secret: ReadSecret) -> Result<Option<(String, Secret)>, String> {
    let (inline, file) = (settings.password.as_ref(), settings.password_file.as_deref());
    let password = optional_secret("password", inline, file, read_secret)?;
    match (&settings.user, password) {
        (None, None) => Ok(None),
        (Some(user), _) if user.trim().is_empty() => {
            Err("user: empty; write the user name or remove the key".to_owned())
        }
        (Some(user), Some(password)) => Ok(Some((user.trim().to_owned(), password))),
        (Some(_), None) => Err("user: requires a password; add the key \"password_file\"".to_owned()),
        (None, Some(_)) => Err("password: requires a user; add the key \"user\"".to_owned()),
    }
}

pub fn mailbox(key: &str, text: &str) -> Result<Mailbox, String> {
    let mailbox: Mailbox = text
        .trim()
        .parse()
        .map_err(|_| format!("{key}: invalid address {text:?}: expected name@host, or Name <name@host>"))?;
    if !mailbox.email.to_string().is_ascii() {
        return Err(format!(
            "{key}: invalid address {text:?}: expected ASCII, because many mail servers accept nothing else; \
             write the host as xn--…"
        ));
    }
    Ok(mailbox)
}

/// Removes duplicates.
pub fn recipients(texts: &[String]) -> Result<Vec<Mailbox>, String> {
    if texts.is_empty() {
        return Err("to: empty; write at least one address".to_owned());
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

pub fn security(settings: &Settings) -> Result<smtp::Security, String> {
    let host = host(settings)?;
    match settings.security {
        SecuritySetting::None if tls::is_loopback(&host) => Ok(smtp::Security::None),
        SecuritySetting::None => Err(format!(
            "security: \"none\" would carry the mail to {host} unencrypted; write \"starttls\" or \"tls\""
        )),
        SecuritySetting::StartTls => Ok(smtp::Security::StartTls(tls_config(settings.ca_file.as_deref())?)),
        SecuritySetting::Tls => Ok(smtp::Security::Tls(tls_config(settings.ca_file.as_deref())?)),
    }
}

fn tls_config(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    let authorities = ca_file.map(tls::authorities).transpose()?.unwrap_or_default();
    tls::client_config(&authorities)
        .map_err(|_| "cannot set up TLS; install the system's CA certificates, or check ca_file".to_owned())
}
