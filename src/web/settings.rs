//! The table `[web]`: who may reach the listener, and how.
//!
//! Without the table, statusd opens no port.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::secret::Secret;
use crate::setting::SettingError;

/// Loopback, on a port that is not registered to another service.
const DEFAULT_LISTEN: &str = "127.0.0.1:7380";
const HOSTS_MAX: usize = 32;
/// The shortest limit of the systems for the path of a socket.
const SOCKET_PATH_MAX_BYTES: usize = 103;

/// The table as written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    pub listen: Option<String>,
    pub allow_remote: Option<bool>,
    pub hosts: Option<Vec<String>>,
    pub token_file: Option<PathBuf>,
    pub metrics_token_file: Option<PathBuf>,
    pub embed_origins: Option<Vec<String>>,
}

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
    /// The sockets that systemd passes.
    Systemd,
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAddress::Tcp(address) => write!(f, "http://{address}"),
            ListenAddress::Unix(path) => write!(f, "unix:{}", path.display()),
            ListenAddress::Systemd => f.write_str("the socket of systemd"),
        }
    }
}

/// Returns true if only this computer reaches the address.
pub fn is_loopback(address: &SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// The checked table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebConfig {
    pub listen: ListenAddress,
    /// Permits an address that other machines reach.
    pub allow_remote: bool,
    /// Names that `Host` may have besides those of loopback, lower case, without a port. `*` admits all.
    pub hosts: Vec<String>,
    /// Required for all pages but `/livez` and `/readyz`.
    pub token: Option<Secret>,
    /// Required for `/metrics` instead of `token`.
    pub metrics_token: Option<Secret>,
    /// The origins whose pages may embed `/embed/SERVICE`.
    pub embed_origins: Vec<String>,
}

impl Settings {
    /// Returns the address of the listener.
    pub fn listen_address(&self) -> Result<ListenAddress, SettingError> {
        listen_address(self.listen.as_deref().unwrap_or(DEFAULT_LISTEN))
    }

    /// Checks the table and reads its secrets.
    pub fn check(
        &self,
        secret: &dyn Fn(&Path) -> Result<Secret, SettingError>,
    ) -> Result<WebConfig, SettingError> {
        let listen = self.listen_address()?;
        let allow_remote = self.allow_remote == Some(true);
        if let ListenAddress::Tcp(address) = &listen
            && !is_loopback(address)
            && !allow_remote
        {
            let error = SettingError::new("listen", format!("{address} is reachable from other machines"));
            return Err(error.hint("set allow_remote = true to permit this, or listen on 127.0.0.1"));
        }
        let read = |key: &str, path: &Option<PathBuf>| {
            path.as_deref().map(|path| secret(path).map_err(|error| error.under(key))).transpose()
        };
        Ok(WebConfig {
            listen,
            allow_remote,
            hosts: checked("hosts", self.hosts.as_deref(), host)?,
            token: read("token_file", &self.token_file)?,
            metrics_token: read("metrics_token_file", &self.metrics_token_file)?,
            embed_origins: checked("embed_origins", self.embed_origins.as_deref(), origin)?,
        })
    }
}

fn listen_address(text: &str) -> Result<ListenAddress, SettingError> {
    let invalid = |message| SettingError::new("listen", message);
    if text == "systemd" {
        return Ok(ListenAddress::Systemd);
    }
    if let Some(path) = text.strip_prefix("unix:") {
        if !Path::new(path).is_absolute() {
            return Err(invalid(format!("invalid path {path:?}: expected an absolute path after unix:")));
        }
        return match path.len() {
            ..=SOCKET_PATH_MAX_BYTES => Ok(ListenAddress::Unix(PathBuf::from(path))),
            _ => Err(invalid(format!(
                "invalid path {path:?}: expected at most {SOCKET_PATH_MAX_BYTES} bytes for a socket"
            ))),
        };
    }
    text.parse().map(ListenAddress::Tcp).map_err(|_| {
        invalid(format!(
            "invalid address {text:?}: expected for example \"{DEFAULT_LISTEN}\", \"[::1]:7380\", \
             \"unix:/run/statusd/web.sock\" or \"systemd\""
        ))
    })
}

fn checked(
    key: &str,
    values: Option<&[String]>,
    check: impl Fn(&str) -> Option<String>,
) -> Result<Vec<String>, SettingError> {
    let values = values.unwrap_or_default();
    if values.len() > HOSTS_MAX {
        return Err(SettingError::new(key, format!("more than {HOSTS_MAX} entries")));
    }
    let expected = if key == "hosts" {
        "a host name like \"status.example\""
    } else {
        "an origin like \"https://intranet.example\""
    };
    let value = |value: &String| {
        let invalid = || SettingError::new(key, format!("invalid value {value:?}: expected {expected}"));
        check(value).ok_or_else(invalid)
    };
    values.iter().map(value).collect()
}

/// Returns a host name or address without its port, in lower case.
fn host(text: &str) -> Option<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    let text = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if let Ok(address) = text.parse::<IpAddr>() {
        // In the form of `Host`, whatever the spelling.
        return Some(address.to_string());
    }
    let is_host = text == "*" || text.chars().all(is_name);
    (!text.is_empty() && is_host).then(|| text.trim_end_matches('.').to_ascii_lowercase())
}

/// Returns an origin that may stand in a Content-Security-Policy.
fn origin(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let is_host = |c: char| c.is_ascii_alphanumeric() || "-.:[]*".contains(c);
    let is_good = matches!(scheme, "http" | "https") && !rest.is_empty() && rest.chars().all(is_host);
    is_good.then(|| text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(toml: &str) -> Result<WebConfig, SettingError> {
        let settings: Settings = toml::from_str(toml).expect("settings");
        settings.check(&|path: &Path| Ok(Secret::new(path.display().to_string())))
    }

    #[track_caller]
    fn listens(toml: &str, expected: &str) {
        let listen = check(toml).map(|config| config.listen.to_string());
        assert_eq!(listen.as_deref(), Ok(expected), "{toml}");
    }

    #[track_caller]
    fn rejects(toml: &str, expected: &str) {
        let error = check(toml).expect_err(toml).to_string();
        assert!(error.starts_with(expected), "{toml}: {error}");
    }

    #[test]
    fn only_loopback_is_permitted_by_default() {
        listens("", "http://127.0.0.1:7380");
        for local in ["127.0.0.1:80", "127.9.9.9:80", "[::1]:80", "[::ffff:127.0.0.1]:80"] {
            listens(&format!("listen = {local:?}"), &format!("http://{local}"));
        }
        for remote in ["0.0.0.0:80", "[::]:80", "192.0.2.7:80", "[2001:db8::1]:80", "[::ffff:192.0.2.7]:80"] {
            rejects(&format!("listen = {remote:?}"), &format!("listen: {remote} is reachable from"));
            rejects(&format!("listen = {remote:?}\nallow_remote = false"), "listen: ");
            listens(&format!("listen = {remote:?}\nallow_remote = true"), &format!("http://{remote}"));
        }
    }

    #[test]
    fn other_sockets_are_permitted_and_mistakes_are_named() {
        listens("listen = 'unix:/run/web.sock'", "unix:/run/web.sock");
        listens("listen = 'systemd'", "the socket of systemd");
        for (listen, expected) in [
            ("", "listen: invalid address"),
            ("7380", "listen: invalid address"),
            (":7380", "listen: invalid address"),
            ("localhost:7380", "listen: invalid address"),
            ("127.0.0.1", "listen: invalid address"),
            ("127.0.0.1:99999", "listen: invalid address"),
            ("http://127.0.0.1:7380", "listen: invalid address"),
            ("unix:web.sock", "listen: invalid path"),
            ("unix:", "listen: invalid path"),
        ] {
            rejects(&format!("listen = {listen:?}"), expected);
        }
        rejects(&format!("listen = 'unix:/{}'", "x".repeat(103)), "listen: invalid path");
        listens(&format!("listen = 'unix:/{}'", "x".repeat(102)), &format!("unix:/{}", "x".repeat(102)));
    }

    #[test]
    fn hosts_and_origins_are_checked() {
        let config = check(
            "hosts = ['Status.Example', '192.0.2.7', '[2001:DB8:0::1]', '*']
             embed_origins = ['https://Intranet.example', 'http://192.0.2.7:8080', 'https://*.example']",
        )
        .expect("good");
        assert_eq!(config.hosts, ["status.example", "192.0.2.7", "2001:db8::1", "*"]);
        assert_eq!(config.embed_origins[0], "https://intranet.example");
        for host in ["", "a b", "a:80", "http://a", "a/b", "a;b", "é"] {
            rejects(&format!("hosts = [{host:?}]"), "hosts: invalid value");
        }
        for origin in
            ["", "*", "https:", "https://", "ftp://a", "https://a/b", "https://a b", "https://a;b", "'self'"]
        {
            rejects(&format!("embed_origins = [{origin:?}]"), "embed_origins: invalid value");
        }
        rejects(&format!("hosts = {:?}", ["a"; 33]), "hosts: more than 32 entries");
    }
}
