//! A configuration made into the parts that the loops work with.
//!
//! Everything that can be wrong with a configuration and the files it names is found here, before
//! anything of the old one is stopped.

use std::path::Path;

use crate::channel::Channel;
use crate::config::{Config, ConfigError, Environment, credentials_directory, read_secret};
use crate::fetch::{FeedUrl, Fetcher, Limits};

/// What one generation of loops is made of.
pub struct Setup {
    pub config: Config,
    pub channels: Vec<Channel>,
    pub fetcher: Fetcher,
}

impl Setup {
    /// Reads secrets and certificates; opens no connection.
    pub fn new(config: Config, environment: &Environment<'_>) -> Result<Setup, ConfigError> {
        let channels = channels(&config, environment)?;
        let fetcher = Fetcher::new(feed_url(&config)?, Limits::default(), config.ca_file.as_deref())
            .map_err(|words| config.error_in("feed", &words))?;
        Ok(Setup { config, channels, fetcher })
    }
}

/// The feed's address: the configured one, or Apple's.
pub fn feed_url(config: &Config) -> Result<FeedUrl, ConfigError> {
    match &config.feed_url {
        Some(url) => Ok(url.clone()),
        None => FeedUrl::of(&config.feed).map_err(|words| config.error_in("feed", &words)),
    }
}

/// The configured ways to reach people and programs, in a fixed order.
pub fn channels(config: &Config, environment: &Environment<'_>) -> Result<Vec<Channel>, ConfigError> {
    let credentials = credentials_directory(environment);
    let secret = |path: &Path| read_secret(path, credentials.as_deref(), config.source.as_deref());
    let enabled = config.channel.all().into_iter().filter(|(_, table)| table.is_enabled());
    let mut channels = Vec::new();
    for (name, table) in enabled {
        let way = table.open(&secret).map_err(|words| config.error_in(&format!("channel.{name}"), &words))?;
        channels.push(Channel::new(name, way));
    }
    Ok(channels)
}
