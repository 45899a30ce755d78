//! Settings that several channels share: secrets and their sources, URLs, and their display.
//!
//! Output and errors contain no secrets. Of a URL that may contain one, they contain only scheme, host
//! and port (`urls_are_checked_and_shown_without_secrets`).

use std::path::{Path, PathBuf};

use reqwest::Url;
use reqwest::header::HeaderValue;
use toml::Value;

use crate::secret::Secret;
use crate::tls;

/// Replaces secrets in output.
pub const HIDDEN: &str = "***";

/// Reads a secret file. A relative path names one of systemd's credentials or a file beside the
/// configuration. The error is one line without the secret.
pub type ReadSecret<'a> = &'a dyn Fn(&Path) -> Result<Secret, String>;

/// A setting's key, and its value as `config show` prints it. `None` if not set.
pub type Shown = (&'static str, Option<Value>);

/// Returns a setting that has a value.
pub fn shown(key: &'static str, value: impl Into<Value>) -> Shown {
    (key, Some(value.into()))
}

/// Returns an optional setting.
pub fn shown_some(key: &'static str, value: Option<impl Into<Value>>) -> Shown {
    (key, value.map(Into::into))
}

/// Returns a list of strings; an empty list counts as not set.
pub fn shown_list(key: &'static str, values: &[String]) -> Shown {
    let list = || Value::Array(values.iter().map(|value| value.as_str().into()).collect());
    (key, (!values.is_empty()).then(list))
}

/// Returns an optional secret, hidden.
pub fn shown_secret(key: &'static str, secret: Option<&Secret>) -> Shown {
    (key, secret.map(|_| HIDDEN.into()))
}

/// Returns an optional path.
pub fn shown_path(key: &'static str, path: Option<&PathBuf>) -> Shown {
    (key, path.map(|path| path.to_string_lossy().into_owned().into()))
}

/// Reads the secret under `key`, or from the file under `key_file`, and trims it. `None` if neither is
/// set.
///
/// # Errors
///
/// One line that begins with the key: both are set, the file cannot be read, or the secret is empty.
pub fn optional_secret(
    key: &str,
    inline: Option<&Secret>,
    file: Option<&Path>,
    read_secret: ReadSecret,
) -> Result<Option<Secret>, String> {
    let secret = match (inline, file) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => return Err(format!("{key}: also given as {key}_file; remove one of them")),
        (Some(secret), None) => secret.clone(),
        (None, Some(path)) => read_secret(path).map_err(|error| format!("{key}_file: {error}"))?,
    };
    // Editors end a file with a line break.
    match secret.expose().trim() {
        "" => Err(format!("{key}: empty; write the secret or remove the key")),
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
    inline: Option<&Secret>,
    file: Option<&Path>,
    read_secret: ReadSecret,
) -> Result<Secret, String> {
    optional_secret(key, inline, file, read_secret)?.ok_or_else(|| {
        format!("the key {key:?} is missing; write it, or {key}_file with a file that contains it")
    })
}

/// Returns a header value with the secret under `key`, marked as sensitive so that it is never printed.
///
/// # Errors
///
/// One line that begins with the key, without the secret.
pub fn secret_header(key: &str, value: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(value)
        .map_err(|_| format!("{key}: contains a character that HTTP headers do not allow; check it"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Parses the HTTP URL under `key`.
///
/// # Errors
///
/// One line that begins with the key.
pub fn http_url(key: &str, text: &str) -> Result<Url, String> {
    let url =
        Url::parse(text.trim()).map_err(|_| format!("{key}: invalid address: expected https://host/path"))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        other => Err(format!("{key}: invalid scheme {other:?}: expected https or http")),
    }
}

/// Rejects plain HTTP, which anyone on the network can read, except to this computer.
///
/// # Errors
///
/// One line that begins with the key.
pub fn require_encryption(key: &str, url: &Url) -> Result<(), String> {
    if url.scheme() == "http" && !is_loopback(url) {
        return Err(format!(
            "{key}: {} would carry the password or token unencrypted; write https",
            redacted(url.as_str())
        ));
    }
    Ok(())
}

pub fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(tls::is_loopback)
}

/// Returns only scheme, host and port of a URL, because user, path and query may contain tokens.
pub fn redacted(url: &str) -> String {
    match Url::parse(url) {
        Ok(url) if url.has_host() => {
            let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
            format!("{}://{}{port}/…", url.scheme(), url.host_str().unwrap_or_default())
        }
        _ => "…".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(path: &Path) -> Result<Secret, String> {
        match path.to_str() {
            Some("/token") => Ok(Secret::new(" from-file\n")),
            _ => Err(format!("{}: no such file", path.display())),
        }
    }

    #[test]
    fn a_secret_has_one_source() {
        let inline = Secret::new(" hunter2 ");
        let read = |inline: Option<&Secret>, file: Option<&str>| {
            let secret = optional_secret("token", inline, file.map(Path::new), &files);
            secret.map(|secret| secret.map(|secret| secret.expose().to_owned()))
        };
        assert_eq!(read(None, None), Ok(None));
        assert_eq!(read(Some(&inline), None), Ok(Some("hunter2".to_owned())));
        assert_eq!(read(None, Some("/token")), Ok(Some("from-file".to_owned())));
        let both = read(Some(&inline), Some("/token")).expect_err("refused");
        assert_eq!(both, "token: also given as token_file; remove one of them");
        assert_eq!(read(None, Some("/x")).expect_err("refused"), "token_file: /x: no such file");
        let blank = read(Some(&Secret::new(" \n")), None).expect_err("refused");
        assert_eq!(blank, "token: empty; write the secret or remove the key");
        let missing = required_secret("token", None, None, &files).expect_err("refused");
        assert!(missing.starts_with("the key \"token\" is missing; write it, or token_file"), "{missing}");
    }

    #[test]
    fn a_header_carries_a_secret_without_showing_it() {
        let header = secret_header("token", "Bearer hunter2").expect("a header");
        assert_eq!(
            (header.as_bytes(), format!("{header:?}").as_str()),
            (&b"Bearer hunter2"[..], "Sensitive")
        );
        let error = secret_header("token", "hunter2\nX: y").expect_err("refused");
        assert_eq!(error, "token: contains a character that HTTP headers do not allow; check it");
    }

    #[test]
    fn urls_are_checked_and_shown_without_secrets() {
        assert!(http_url("url", "https://a.example/x").is_ok());
        for wrong in ["a.example/T0PATH", "ftp://a.example/T0PATH", "https://"] {
            let error = http_url("url", wrong).expect_err(wrong);
            assert!(error.starts_with("url: ") && !error.contains("T0PATH"), "{error}");
        }
        let url = |text| http_url("url", text).expect(text);
        let open = require_encryption("url", &url("http://a.example/T0PATH")).expect_err("refused");
        assert!(open.starts_with("url: http://a.example/… would carry"), "{open}");
        for allowed in ["https://a.example/", "http://localhost:1/", "http://127.0.0.2/", "http://[::1]/"] {
            assert_eq!(require_encryption("url", &url(allowed)), Ok(()));
        }
        assert_eq!(redacted("https://me:s3cret@a.example:8443/T0PATH?k=x"), "https://a.example:8443/…");
        assert_eq!(redacted("not a URL s3cret"), "…");
    }
}
