//! One Alertmanager of a cluster: its URL, the credentials, and the outcome of a request.
//!
//! The channel combines the outcomes of all replicas.

use std::fmt;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Url};

use super::super::http::HttpTarget;
use super::super::outcome::SendOutcome;
use super::super::settings::{self, ReadSecret, optional_secret, require_encryption, required_secret};
use super::Settings;
use crate::secret::Secret;
use crate::setting::SettingError;

const API_PATH: [&str; 3] = ["api", "v2", "alerts"];

/// The credentials for all replicas.
pub enum Credentials {
    None,
    Token { token: Secret, header: HeaderValue },
    Password { user: String, password: Secret },
}

impl Credentials {
    pub fn from_settings(settings: &Settings, read_secret: ReadSecret) -> Result<Credentials, SettingError> {
        let token = optional_secret(
            "bearer_token",
            &settings.bearer_token,
            &settings.bearer_token_file,
            read_secret,
        )?;
        match (token, settings.user.as_deref()) {
            (Some(_), Some(_)) => {
                Err(SettingError::new("bearer_token", "also a user is given").hint("remove one of them"))
            }
            (_, None) if settings.password.is_some() || settings.password_file.is_some() => {
                Err(SettingError::new("password", "the key \"user\" is missing").hint("write it too"))
            }
            (None, Some(user)) if user.is_empty() || user.contains(':') => {
                Err(SettingError::new("user", "empty or contains a colon, which HTTP does not allow")
                    .hint("check it"))
            }
            (None, Some(user)) => {
                let password =
                    required_secret("password", &settings.password, &settings.password_file, read_secret)?;
                Ok(Credentials::Password { user: user.to_owned(), password })
            }
            (Some(token), None) => {
                let mut header =
                    HeaderValue::from_str(&format!("Bearer {}", token.expose())).map_err(|_| {
                        SettingError::new(
                            "bearer_token",
                            "contains a character that HTTP headers do not allow",
                        )
                        .hint("check it")
                    })?;
                header.set_sensitive(true);
                Ok(Credentials::Token { token, header })
            }
            (None, None) => Ok(Credentials::None),
        }
    }

    fn secret(&self) -> Option<&Secret> {
        match self {
            Credentials::None => None,
            Credentials::Token { token, .. } => Some(token),
            Credentials::Password { password, .. } => Some(password),
        }
    }
}

/// One Alertmanager, ready to receive alerts.
pub struct Replica {
    /// The base URL only, so that the path of the API is not redacted.
    target: HttpTarget,
    /// The URL for alerts, including a password, from which `reqwest` builds the header.
    alerts: Url,
    authorization: Option<HeaderValue>,
}

impl fmt::Debug for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Replica").field(&self.target).finish()
    }
}

impl Replica {
    pub fn new(text: &str, credentials: &Credentials) -> Result<Replica, SettingError> {
        let base = settings::http_url("urls", text)?;
        if !base.username().is_empty() || base.password().is_some() {
            return Err(SettingError::new("urls", "an address contains a user or password")
                .hint("write them as user and password"));
        }
        if base.query().is_some() || base.fragment().is_some() {
            return Err(SettingError::new("urls", "an address contains ? or #").hint("remove this part"));
        }
        if base.path().trim_end_matches('/').ends_with("/api/v2/alerts") {
            return Err(
                SettingError::new("urls", "write the address without /api/v2/alerts").hint("statusd adds it")
            );
        }
        if credentials.secret().is_some() {
            require_encryption("urls", &base)?;
        }
        let mut alerts = base.clone();
        alerts.path_segments_mut().expect("an HTTP URL has a path").pop_if_empty().extend(API_PATH);
        let mut authorization = None;
        match credentials {
            Credentials::None => {}
            Credentials::Token { header, .. } => authorization = Some(header.clone()),
            Credentials::Password { user, password } => {
                let set =
                    alerts.set_username(user).and_then(|()| alerts.set_password(Some(password.expose())));
                set.expect("an HTTP URL with a host accepts a user and password");
            }
        }
        Ok(Replica { target: HttpTarget::new(base, credentials.secret())?, alerts, authorization })
    }

    pub async fn post(&self, body: Vec<u8>) -> SendOutcome {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        match self.target.send(Method::POST, self.alerts.clone(), headers, body).await {
            Ok(reply) => self.target.classify(&reply),
            Err(outcome) => outcome,
        }
    }

    /// Returns the outcome of a replica that is still pending when the channel stops waiting.
    pub fn pending(&self) -> SendOutcome {
        let detail = format!("{} has not responded yet", self.host());
        SendOutcome::Transient { after_s: None, reached: true, detail }
    }

    /// Adds the port to the host at the start of `detail`, because replicas may share a host.
    pub fn with_port(&self, detail: &str) -> String {
        match (self.alerts.port(), detail.strip_prefix(self.host())) {
            (Some(port), Some(rest)) => format!("{}:{port}{rest}", self.host()),
            _ => detail.to_owned(),
        }
    }

    fn host(&self) -> &str {
        self.alerts.host_str().expect("an HTTP URL has a host: `Url` rejects others")
    }
}
