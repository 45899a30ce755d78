//! Builds the parts of the loops from a configuration.
//!
//! Finds all faults of a configuration and of the files that it names, before the loops of the old one are
//! stopped.

use std::path::Path;

use crate::channel::{Audience, Channel};
use crate::clock;
use crate::config::{Config, ConfigError, Environment, credentials_directory, read_secret, zone_name};
use crate::delivery::Receiver;
use crate::delivery::heartbeat::Heartbeat;
use crate::delivery::policy::Route;
use crate::feed::fetch::{FeedUrl, FetchLimits, Fetcher};
use crate::secret::Secret;
use crate::setting::SettingError;
use crate::tracking::watchlist::Watchlist;
use crate::web::SiteConfig;

/// The parts of one generation of loops.
pub struct Setup {
    pub config: Config,
    pub receivers: Vec<Receiver>,
    pub heartbeat: Option<Heartbeat>,
    pub fetcher: Fetcher,
    pub site: Option<SiteConfig>,
}

impl Setup {
    /// Reads secrets and certificates; opens no connection.
    pub fn new(config: Config, environment: &Environment<'_>) -> Result<Setup, ConfigError> {
        config.warn_if_open();
        let receivers = receivers(&config, environment);
        let secret = secrets(&config, environment);
        let heartbeat =
            Heartbeat::new(&config.heartbeat, &secret).map_err(|error| config.error_in("heartbeat", error));
        let site = config.web.as_ref().map(|web| web.check(&secret)).transpose();
        let site = site.map_err(|error| config.error_in("web", error));
        drop(secret);
        let fetcher = feed_url(&config).and_then(|url| {
            let fetcher = Fetcher::new(url, FetchLimits::default(), config.ca_file.as_deref());
            fetcher.map_err(|error| config.error_in("feed", error))
        });
        match (receivers, heartbeat, fetcher, site) {
            (Ok(receivers), Ok(heartbeat), Ok(fetcher), Ok(web)) => {
                let site = web.map(|web| SiteConfig {
                    web,
                    feed: config.feed.clone(),
                    watch: config.watch.clone(),
                    channels: receivers.iter().map(|receiver| receiver.channel.name().to_owned()).collect(),
                    zone: config.time_zone.clone(),
                    zone_name: zone_name(&config.time_zone, clock::now()),
                    state_directory: config.state_directory.clone(),
                });
                Ok(Setup { config, receivers, heartbeat, fetcher, site })
            }
            (receivers, heartbeat, fetcher, site) => {
                let faults = [receivers.err(), heartbeat.err(), fetcher.err(), site.err()];
                Err(faults.into_iter().flatten().reduce(ConfigError::and).expect("one of them failed"))
            }
        }
    }

    /// Returns the name and policy of each channel.
    pub fn routes(&self) -> Vec<Route> {
        let route = |receiver: &Receiver| Route {
            channel: receiver.channel.name().to_owned(),
            policy: receiver.policy.clone(),
        };
        self.receivers.iter().map(route).collect()
    }
}

/// Returns the configured URL of the feed, or Apple's.
pub fn feed_url(config: &Config) -> Result<FeedUrl, ConfigError> {
    match &config.feed_url {
        Some(url) => Ok(url.clone()),
        None => FeedUrl::of(&config.feed)
            .map_err(|error| config.error_in("feed", SettingError::new("locale", error))),
    }
}

/// Reads the files of secrets.
fn secrets(config: &Config, environment: &Environment<'_>) -> impl Fn(&Path) -> Result<Secret, SettingError> {
    let credentials = credentials_directory(environment);
    move |path| read_secret(path, credentials.as_deref(), config.source.as_deref())
}

/// Returns the configured channels with their policies, in a fixed order.
pub fn receivers(config: &Config, environment: &Environment<'_>) -> Result<Vec<Receiver>, ConfigError> {
    let secret = secrets(config, environment);
    let mut receivers = Vec::new();
    let mut faults: Vec<ConfigError> = Vec::new();
    for (name, audience, table) in config.channel.enabled() {
        let key = format!("channel.{name}");
        let transport = table.open(&secret);
        let policy = config.policy(&name);
        let fits = if audience == Audience::Programs { policy.check_machine_channel() } else { Ok(()) };
        faults.extend(fits.err().map(|error| config.error_in(&key, error)));
        match transport {
            Err(error) => faults.push(config.error_in(&key, error)),
            Ok(transport) => {
                let channel = Channel::new(name, audience, transport);
                let (feed, watch) = (config.feed.clone(), Watchlist::new(&config.watch));
                receivers.push(Receiver::new(channel, policy, feed, watch, config.time_zone.clone()));
            }
        }
    }
    faults.into_iter().reduce(ConfigError::and).map_or(Ok(receivers), Err)
}

/// Adds the faults of the files that a configuration names to those of the configuration.
pub fn all_faults(error: ConfigError, usable: Config, environment: &Environment<'_>) -> ConfigError {
    match Setup::new(usable, environment) {
        Ok(_) => error,
        Err(more) => error.and(more),
    }
}
