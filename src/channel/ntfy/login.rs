//! The login for a protected topic: an access token, or a user and password.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::header::HeaderValue;

use super::Settings;
use crate::channel::settings::{self, ReadSecret, optional_secret};
use crate::secret::Secret;

/// The `Authorization` header, and the secrets to redact.
pub struct TopicLogin {
    pub header: HeaderValue,
    pub secrets: Vec<Secret>,
}

impl TopicLogin {
    /// Returns `None` if the settings contain no login.
    ///
    /// # Errors
    ///
    /// One line for users that begins with the setting's key, without secrets.
    pub fn new(settings: &Settings, read_secret: ReadSecret) -> Result<Option<TopicLogin>, String> {
        let (inline, file) = (settings.token.as_ref(), settings.token_file.as_deref());
        let token = optional_secret("token", inline, file, read_secret)?;
        let (inline, file) = (settings.password.as_ref(), settings.password_file.as_deref());
        let password = optional_secret("password", inline, file, read_secret)?;
        match (token, settings.user.as_deref(), password) {
            (None, None, None) => Ok(None),
            (Some(token), None, None) => {
                let header = settings::secret_header("token", &format!("Bearer {}", token.expose()))?;
                Ok(Some(TopicLogin { header, secrets: vec![token] }))
            }
            (None, Some(user), Some(password)) => TopicLogin::basic(user, password).map(Some),
            (Some(_), _, _) => Err("token: user or password is also given; remove one of the two".to_owned()),
            (None, Some(_), None) => {
                Err("user: requires a password; add the key \"password_file\"".to_owned())
            }
            (None, None, Some(_)) => Err("password: requires a user; add the key \"user\"".to_owned()),
        }
    }

    /// Basic authentication in UTF-8 (RFC 7617).
    fn basic(user: &str, password: Secret) -> Result<TopicLogin, String> {
        if user.trim().is_empty() || user.contains(':') {
            return Err("user: invalid name: expected a name without colon".to_owned());
        }
        let pair = BASE64_STANDARD.encode(format!("{user}:{}", password.expose()));
        let header = settings::secret_header("password", &format!("Basic {pair}"))?;
        Ok(TopicLogin { header, secrets: vec![password, Secret::new(pair)] })
    }
}
