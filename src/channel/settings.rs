//! Settings that several channels share: secrets and their sources, URLs, and their display.
//!
//! Output and errors contain no secrets. Of a URL that may contain one, they contain only scheme, host
//! and port (`urls_are_checked_and_shown_without_secrets`).

use std::fmt;
use std::path::{Path, PathBuf};

use reqwest::Url;
use reqwest::header::HeaderValue;
use serde::{Deserialize, Serialize, Serializer};

use crate::secret::Secret;
use crate::setting::SettingError;
use crate::tls;

/// Reads a secret file. A relative path names one of systemd's credentials or a file beside the
/// configuration. The error is without the secret and without a key.
pub type ReadSecret<'a> = &'a dyn Fn(&Path) -> Result<Secret, SettingError>;

/// Reads the secret under `key`, or from the file under `key_file`, and trims it. `None` if neither is
/// set.
///
/// # Errors
///
/// The setting at fault: both are set, the file cannot be read, or the secret is empty.
pub fn optional_secret(
    key: &str,
    inline: &Option<Secret>,
    file: &Option<PathBuf>,
    read_secret: ReadSecret,
) -> Result<Option<Secret>, SettingError> {
    let secret = match (inline, file) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            return Err(
                SettingError::new(key, format!("also given as {key}_file")).hint("remove one of them")
            );
        }
        (Some(secret), None) => secret.clone(),
        (None, Some(path)) => read_secret(path).map_err(|error| error.under(&format!("{key}_file")))?,
    };
    // Editors end a file with a line break.
    match secret.expose().trim() {
        "" => Err(SettingError::new(key, "empty").hint("write the secret or remove the key")),
        trimmed => Ok(Some(Secret::new(trimmed))),
    }
}

/// Reads a secret that must be set. See [`optional_secret`].
///
/// # Errors
///
/// As [`optional_secret`], and if neither is set.
pub fn required_secret(
    key: &str,
    inline: &Option<Secret>,
    file: &Option<PathBuf>,
    read_secret: ReadSecret,
) -> Result<Secret, SettingError> {
    optional_secret(key, inline, file, read_secret)?.ok_or_else(|| {
        SettingError::new("", format!("the key {key:?} is missing"))
            .hint(format!("write it, or {key}_file with a file that contains it"))
    })
}

/// Returns a header value with the secret under `key`, marked as sensitive so that it is never printed.
///
/// # Errors
///
/// The setting at fault, without secrets.
pub fn secret_header(key: &str, value: &str) -> Result<HeaderValue, SettingError> {
    let mut value = HeaderValue::from_str(value).map_err(|_| {
        SettingError::new(key, "contains a character that HTTP headers do not allow").hint("check it")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// Parses the HTTP URL under `key`.
///
/// # Errors
///
/// The setting at fault, without secrets.
pub fn http_url(key: &str, text: &str) -> Result<Url, SettingError> {
    let url = Url::parse(text.trim())
        .map_err(|_| SettingError::new(key, "invalid address: expected https://host/path"))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        other => Err(SettingError::new(key, format!("invalid scheme {other:?}: expected https or http"))),
    }
}

/// Rejects plain HTTP, which anyone on the network can read, except to this computer.
///
/// # Errors
///
/// The setting at fault, without secrets.
pub fn require_encryption(key: &str, url: &Url) -> Result<(), SettingError> {
    if url.scheme() == "http" && !is_loopback(url) {
        return Err(SettingError::new(
            key,
            format!("{} would carry the password or token unencrypted", RedactedUrl::new(url.as_str())),
        )
        .hint("write https"));
    }
    Ok(())
}

pub fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(tls::is_loopback)
}

/// A URL of which `Debug`, `Display` and `config show` contain only scheme, host and port, because user,
/// path and query may contain tokens.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub struct RedactedUrl(Secret);

impl RedactedUrl {
    pub fn new(text: impl Into<String>) -> RedactedUrl {
        RedactedUrl(Secret::new(text))
    }

    /// Returns the text. Only for connecting, never for messages or logs.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    pub fn to_secret(&self) -> Secret {
        self.0.clone()
    }
}

impl fmt::Display for RedactedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Url::parse(self.expose().trim()) {
            Ok(url) if url.has_host() => {
                write!(f, "{}://{}", url.scheme(), url.host_str().unwrap_or_default())?;
                url.port().map_or(Ok(()), |port| write!(f, ":{port}"))?;
                let login = !url.username().is_empty() || url.password().is_some();
                let is_bare = url.path().len() <= 1 && url.query().or(url.fragment()).is_none() && !login;
                f.write_str(if is_bare { url.path() } else { "/…" })
            }
            _ => f.write_str("…"),
        }
    }
}

impl fmt::Debug for RedactedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

impl Serialize for RedactedUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(path: &Path) -> Result<Secret, SettingError> {
        match path.to_str() {
            Some("/token") => Ok(Secret::new(" from-file\n")),
            _ => Err(SettingError::new("", format!("{}: no such file", path.display()))),
        }
    }

    #[test]
    fn a_secret_has_one_source() {
        let inline = Secret::new(" hunter2 ");
        let read = |inline: Option<&Secret>, file: Option<&str>| {
            let secret = optional_secret("token", &inline.cloned(), &file.map(PathBuf::from), &files);
            let secret = secret.map(|secret| secret.map(|secret| secret.expose().to_owned()));
            secret.map_err(|error| error.to_string())
        };
        assert_eq!(read(None, None), Ok(None));
        assert_eq!(read(Some(&inline), None), Ok(Some("hunter2".to_owned())));
        assert_eq!(read(None, Some("/token")), Ok(Some("from-file".to_owned())));
        let both = read(Some(&inline), Some("/token")).expect_err("refused");
        assert_eq!(both, "token: also given as token_file; remove one of them");
        assert_eq!(read(None, Some("/x")).expect_err("refused"), "token_file: /x: no such file");
        let blank = read(Some(&Secret::new(" \n")), None).expect_err("refused");
        assert_eq!(blank, "token: empty; write the secret or remove the key");
        let missing = required_secret("token", &None, &None, &files).expect_err("refused").to_string();
        assert!(missing.starts_with("the key \"token\" is missing; write it, or token_file"), "{missing}");
    }

    #[test]
    fn a_header_carries_a_secret_without_showing_it() {
        let header = secret_header("token", "Bearer hunter2").expect("a header");
        assert_eq!(
            (header.as_bytes(), format!("{header:?}").as_str()),
            (&b"Bearer hunter2"[..], "Sensitive")
        );
        let error = secret_header("token", "hunter2\nX: y").expect_err("refused").to_string();
        assert_eq!(error, "token: contains a character that HTTP headers do not allow; check it");
    }

    #[test]
    fn urls_are_checked_and_shown_without_secrets() {
        assert!(http_url("url", "https://a.example/x").is_ok());
        for wrong in ["a.example/T0PATH", "ftp://a.example/T0PATH", "https://"] {
            let error = http_url("url", wrong).expect_err(wrong).to_string();
            assert!(error.starts_with("url: ") && !error.contains("T0PATH"), "{error}");
        }
        let url = |text| http_url("url", text).expect(text);
        let open =
            require_encryption("url", &url("http://a.example/T0PATH")).expect_err("refused").to_string();
        assert!(open.starts_with("url: http://a.example/… would carry"), "{open}");
        for allowed in ["https://a.example/", "http://localhost:1/", "http://127.0.0.2/", "http://[::1]/"] {
            assert_eq!(require_encryption("url", &url(allowed)), Ok(()));
        }
        for (text, expected) in [
            ("https://me:s3cret@a.example:8443/T0PATH?k=x", "https://a.example:8443/…"),
            ("https://s3cret@a.example", "https://a.example/…"),
            ("https://a.example?s3cret", "https://a.example/…"),
            ("https://a.example/", "https://a.example/"),
            ("mqtt://a.example:1", "mqtt://a.example:1"),
            ("not a URL s3cret", "…"),
        ] {
            let url = RedactedUrl::new(text);
            assert_eq!((url.to_string(), format!("{url:?}")), (expected.to_owned(), format!("{expected:?}")));
            assert_eq!(serde_json::to_value(&url).expect("JSON"), expected);
        }
    }
}
