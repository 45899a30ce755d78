//! The login for a protected topic: an access token, or a user and password.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::header::HeaderValue;

use super::Settings;
use crate::channel::settings::{self, ReadSecret, optional_secret};
use crate::secret::Secret;
use crate::setting::SettingError;

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
    /// The setting at fault, without secrets.
    pub fn new(settings: &Settings, read_secret: ReadSecret) -> Result<Option<TopicLogin>, SettingError> {
        let token = optional_secret("token", &settings.token, &settings.token_file, read_secret)?;
        let password = optional_secret("password", &settings.password, &settings.password_file, read_secret)?;
        match (token, settings.user.as_deref(), password) {
            (None, None, None) => Ok(None),
            (Some(token), None, None) => {
                let header = settings::secret_header("token", &format!("Bearer {}", token.expose()))?;
                Ok(Some(TopicLogin { header, secrets: vec![token] }))
            }
            (None, Some(user), Some(password)) => TopicLogin::basic(user, password).map(Some),
            (Some(_), _, _) => {
                Err(SettingError::new("token", "user or password is also given")
                    .hint("remove one of the two"))
            }
            (None, Some(_), None) => {
                Err(SettingError::new("user", "requires a password").hint("add the key \"password_file\""))
            }
            (None, None, Some(_)) => {
                Err(SettingError::new("password", "requires a user").hint("add the key \"user\""))
            }
        }
    }

    /// Basic authentication in UTF-8 (RFC 7617).
    fn basic(user: &str, password: Secret) -> Result<TopicLogin, SettingError> {
        if user.trim().is_empty() || user.contains(':') {
            return Err(SettingError::new("user", "invalid name: expected a name without colon"));
        }
        let pair = BASE64_STANDARD.encode(format!("{user}:{}", password.expose()));
        let header = settings::secret_header("password", &format!("Basic {pair}"))?;
        Ok(TopicLogin { header, secrets: vec![password, Secret::new(pair)] })
    }
}
