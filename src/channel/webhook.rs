//! Posts each change as JSON to the user's URL, for programs.
//!
//! Promise: idempotent. Every attempt of a change has the same `Idempotency-Key` and the same bytes, so a
//! receiver that remembers keys processes the change once.
//!
//! Composes no JSON; the notice contains the bytes. Neither debug output nor outcomes contain a token, key or
//! password, or the path or query of the URL (`debug_shows_scheme_and_host_only`).

use std::path::PathBuf;

use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use ring::hmac;
use serde::{Deserialize, Serialize};

use super::http::HttpTarget;
use super::outcome::{Notice, SendOutcome};
use super::settings::{self, ReadSecret, RedactedUrl, optional_secret, require_encryption};
use super::transport::{AnyTransport, Table, Transport};
use crate::secret::Secret;
use crate::setting::SettingError;

const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// The header with `sha256=` and the HMAC-SHA256 of the body in hex, keyed with the configured secret.
const SIGNATURE: &str = "x-statusd-signature";

/// `[channel.webhook.NAME]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The receiver's URL, `https://…`, or `http://…` if no credentials are sent. Its path and query are
    /// treated as secret.
    pub url: RedactedUrl,
    /// Sent as `Authorization: Bearer …`.
    pub bearer_token: Option<Secret>,
    /// A file that contains the token.
    pub bearer_token_file: Option<PathBuf>,
    /// Signs the body: `X-Statusd-Signature: sha256=<hex HMAC-SHA256 of the body>`.
    pub hmac_secret: Option<Secret>,
    /// A file that contains the secret.
    pub hmac_secret_file: Option<PathBuf>,
}

impl Table for Settings {
    fn open(&self, read_secret: ReadSecret) -> Result<AnyTransport, SettingError> {
        Ok(Webhook::new(self, read_secret)?.into())
    }
}

/// A webhook, ready to send.
#[derive(Debug)]
pub struct Webhook {
    target: HttpTarget,
    authorization: Option<HeaderValue>,
    signing_key: Option<hmac::Key>,
}

impl Webhook {
    /// Reads secret files through `read_secret`.
    ///
    /// # Errors
    ///
    /// The setting at fault, without secrets.
    pub fn new(settings: &Settings, read_secret: ReadSecret) -> Result<Webhook, SettingError> {
        let url = settings::http_url("url", settings.url.expose())?;
        let token = optional_secret(
            "bearer_token",
            &settings.bearer_token,
            &settings.bearer_token_file,
            read_secret,
        )?;
        let key =
            optional_secret("hmac_secret", &settings.hmac_secret, &settings.hmac_secret_file, read_secret)?;
        check_credentials(&url, token.as_ref())?;
        Ok(Webhook {
            authorization: token.as_ref().map(bearer).transpose()?,
            signing_key: key.as_ref().map(|key| hmac::Key::new(hmac::HMAC_SHA256, key.expose().as_bytes())),
            target: HttpTarget::new(url, [token.as_ref(), key.as_ref()].into_iter().flatten())?,
        })
    }

    fn headers(&self, notice: &Notice) -> Result<HeaderMap, String> {
        let key = HeaderValue::from_str(&notice.key)
            .map_err(|_| "cannot send the notice's key in an HTTP header; please report this".to_owned())?;
        let mut headers = HeaderMap::new();
        headers.insert(IDEMPOTENCY_KEY, key);
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        if let Some(key) = &self.signing_key {
            headers.insert(SIGNATURE, signature(key, notice.payload.as_bytes()));
        }
        Ok(headers)
    }
}

impl Transport for Webhook {
    /// Sends one POST. Times out after 20 s.
    async fn send(&mut self, notice: &Notice) -> SendOutcome {
        let headers = match self.headers(notice) {
            Ok(headers) => headers,
            Err(detail) => return SendOutcome::Permanent { detail },
        };
        self.target.post_json(headers, notice.payload.as_str(), |reply| self.target.classify(reply)).await
    }

    async fn is_reachable(&mut self) -> bool {
        self.target.is_reachable().await
    }
}

/// Rejects two sets of credentials, and credentials over plain HTTP.
fn check_credentials(url: &Url, token: Option<&Secret>) -> Result<(), SettingError> {
    let in_url = !url.username().is_empty() || url.password().is_some();
    if in_url && token.is_some() {
        return Err(SettingError::new("bearer_token", "the URL also contains a user or password")
            .hint("remove one of them"));
    }
    if in_url || token.is_some() { require_encryption("url", url) } else { Ok(()) }
}

fn bearer(token: &Secret) -> Result<HeaderValue, SettingError> {
    settings::secret_header("bearer_token", &format!("Bearer {}", token.expose()))
}

fn signature(key: &hmac::Key, body: &[u8]) -> HeaderValue {
    let text = format!("sha256={}", hex::encode(hmac::sign(key, body)));
    HeaderValue::from_str(&text).expect("hex digits fit a header")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(toml: &str) -> Settings {
        toml::from_str(toml).expect("settings")
    }

    fn made(toml: &str) -> Result<Webhook, String> {
        Webhook::new(&settings(toml), &|path| match path.to_str() {
            Some("/token") => Ok(Secret::new("from-file\n")),
            _ => Err(SettingError::new("", format!("{}: no such file", path.display()))),
        })
        .map_err(|error| error.to_string())
    }

    #[track_caller]
    fn check_refused(toml: &str, expected: &str) {
        let error = made(toml).expect_err("must be refused");
        assert!(error.contains(expected), "{error}");
        for secret in ["hunter2", "s3cret", "T0PATH"] {
            assert!(!error.contains(secret), "{error}");
        }
    }

    #[test]
    fn valid_settings_are_accepted() {
        for toml in [
            "url = 'https://hooks.example.com/x'\nbearer_token = 'hunter2'",
            "url = 'https://hooks.example.com/x'\nbearer_token_file = '/token'",
            "url = 'http://hooks.example.com/x'\nhmac_secret = 'hunter2'",
            "url = 'http://localhost:9000/x'\nbearer_token = 'hunter2'",
            "url = 'http://127.0.0.2/x'\nbearer_token = 'hunter2'",
            "url = 'http://[::1]:9000/x'\nbearer_token = 'hunter2'",
            "url = 'https://me:hunter2@hooks.example.com/x'",
        ] {
            assert!(made(toml).is_ok(), "{toml}");
        }
    }

    #[test]
    fn invalid_settings_are_rejected_without_showing_secrets() {
        check_refused("url = 'hooks.example.com/T0PATH'", "url: invalid address");
        check_refused("url = 'ftp://hooks.example.com/T0PATH'", "invalid scheme \"ftp\"");
        check_refused("url = 'https://'", "url:");
        check_refused("url = 'http://a.example/T0PATH?k=s3cret'\nbearer_token = 'hunter2'", "write https");
        check_refused("url = 'http://me:hunter2@a.example/T0PATH'", "http://a.example/… would carry");
        check_refused("url = 'http://localhost.example/x'\nbearer_token = 'hunter2'", "write https");
        check_refused("url = 'https://me:s3cret@a.example/x'\nbearer_token = 'hunter2'", "remove one");
        check_refused(
            "url = 'https://a.example/x'\nbearer_token = 'hunter2'\nbearer_token_file = '/token'",
            "bearer_token: also given as bearer_token_file",
        );
        check_refused(
            "url = 'https://a.example/x'\nhmac_secret = 'hunter2'\nhmac_secret_file = '/token'",
            "hmac_secret: also given as hmac_secret_file",
        );
        check_refused(
            "url = 'https://a.example/x'\nhmac_secret_file = '/nowhere'",
            "hmac_secret_file: /nowhere: no",
        );
        check_refused("url = 'https://a.example/x'\nbearer_token = ' '", "bearer_token: empty");
        check_refused(
            "url = 'https://a.example/x'\nbearer_token = \"hunter2\\nX: y\"",
            "bearer_token: contains",
        );
    }

    #[test]
    fn unknown_keys_are_errors() {
        assert!(toml::from_str::<Settings>("url = 'https://a.example/'\nbearer = 'x'").is_err());
        assert!(toml::from_str::<Settings>("bearer_token = 'x'").is_err());
    }

    #[test]
    fn debug_shows_scheme_and_host_only() {
        let toml = "url = 'https://me:s3cret@a.example:8443/T0PATH?k=hunter2'\nhmac_secret = 'hunter2'";
        let shown = format!("{:?} {:#?}", settings(toml), made(toml).expect("a webhook"));
        assert!(shown.contains("https://a.example:8443/…"), "{shown}");
        for secret in ["hunter2", "s3cret", "T0PATH"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }

    /// RFC 4231, test case 2.
    #[test]
    fn the_signature_is_hmac_sha256() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"Jefe");
        assert_eq!(
            signature(&key, b"what do ya want for nothing?"),
            "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }
}
