//! The registry of channels: the only file that knows every kind.
//!
//! A kind is a file or folder here that implements [`Table`] and [`Transport`], and one line in
//! `kinds!`. A chat webhook implements only `chat::WebhookTable`. Kinds import the shared files, never the
//! registry.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::setting::SettingError;
use settings::ReadSecret;

mod chat;
pub mod http;
pub mod outcome;
mod program;
mod push;
mod reachability;
mod redact;
pub mod settings;
pub mod snapshot;
pub mod transport;

pub use http::status::classify_status;
pub use outcome::{AlarmAction, AlarmResult, Audience, Notice, SendOutcome};
pub use reachability::Reachability;
pub use snapshot::{ServiceState, Snapshot};
pub use transport::{AnyTransport, Table, Transport};

/// Declares the module of each kind and its table: `[channel.KIND]` (`one`) or `[channel.KIND.NAME]`
/// (`many`). [`Tables::all`] has the same order.
macro_rules! kinds {
    ($($kind:ident: $count:ident $audience:ident,)+) => {
        $(pub mod $kind;)+

        /// `[channel.…]`: the settings of each channel.
        #[derive(Clone, Debug, Default, Deserialize, Serialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct Tables {
            $(pub $kind: kinds!(@type $count $kind),)+
        }

        impl Tables {
            /// Lists every table with the name and the recipients of its channel, in a fixed order.
            pub fn all(&self) -> Vec<(String, Audience, &dyn Table)> {
                let mut all: Vec<(String, Audience, &dyn Table)> = Vec::new();
                $(kinds!(@add $count $kind $audience self all);)+
                all
            }
        }

        /// Returns true if a kind has exactly one channel, without a name.
        pub fn is_single(kind: &str) -> bool {
            match kind {
                $(stringify!($kind) => kinds!(@is_one $count),)+
                _ => false,
            }
        }
    };
    (@type one $kind:ident) => { $kind::Settings };
    (@type many $kind:ident) => { BTreeMap<String, $kind::Settings> };
    (@add one $kind:ident $audience:ident $tables:ident $all:ident) => {
        $all.push((stringify!($kind).to_owned(), Audience::$audience, &$tables.$kind))
    };
    (@add many $kind:ident $audience:ident $tables:ident $all:ident) => {
        for (name, table) in &$tables.$kind {
            $all.push((format!("{}.{name}", stringify!($kind)), Audience::$audience, table));
        }
    };
    (@is_one one) => { true };
    (@is_one many) => { false };
}

kinds! {
    desktop: one Desktop,
    webhook: many Programs,
    command: many Programs,
    ntfy: many People,
    gotify: many People,
    pushover: many People,
    slack: many People,
    discord: many People,
    teams: many People,
    telegram: many People,
    alertmanager: many Programs,
    mqtt: many Programs,
    apprise: many People,
    email: many People,
    log: one Programs,
}

impl Tables {
    /// Lists the tables that are not switched off. See [`Tables::all`].
    pub fn enabled(&self) -> impl Iterator<Item = (String, Audience, &dyn Table)> {
        self.all().into_iter().filter(|(_, _, table)| table.is_enabled())
    }

    /// Sets the defaults that depend on the machine or on other settings.
    pub fn fill_defaults(&mut self, is_system_service: bool) {
        // A system service has no desktop session.
        self.desktop.enabled.get_or_insert(!is_system_service);
        for email in self.email.values_mut() {
            email.port = Some(email.port());
        }
    }

    /// Opens the desktop channel if it is enabled.
    pub fn open_desktop(&self) -> Option<Channel> {
        let no_files: ReadSecret = &|_| Err(SettingError::new("", "the desktop has no secrets"));
        let transport = self.desktop.is_enabled().then(|| self.desktop.open(no_files))?.ok()?;
        Some(Channel::new("desktop", Audience::Desktop, transport))
    }
}

/// One configured channel to people or programs.
#[derive(Debug)]
pub struct Channel {
    name: String,
    audience: Audience,
    transport: AnyTransport,
    pub reachability: Reachability,
}

impl Channel {
    /// Creates a channel. See [`Channel::name`] for the form of `name`.
    pub fn new(name: impl Into<String>, audience: Audience, transport: impl Into<AnyTransport>) -> Channel {
        Channel {
            name: name.into(),
            audience,
            transport: transport.into(),
            reachability: Reachability::default(),
        }
    }

    /// Returns the name in the configuration, in the database and on the command line: `desktop`,
    /// `webhook.ops`, `log`.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn audience(&self) -> Audience {
        self.audience
    }

    /// See [`Transport::send`].
    pub async fn send(&mut self, notice: &Notice) -> SendOutcome {
        self.transport.0.erased_send(notice).await
    }

    /// See [`Transport::max_duration`].
    pub fn max_duration(&self) -> Duration {
        self.transport.0.erased_max_duration()
    }

    /// See [`Transport::sync_interval`].
    pub fn sync_interval(&self) -> Option<Duration> {
        self.transport.0.erased_sync_interval()
    }

    /// See [`Transport::sync_state`].
    pub async fn sync_state(&mut self, snapshot: &Snapshot) -> SendOutcome {
        self.transport.0.erased_sync_state(snapshot).await
    }

    /// See [`Transport::syncs_alarms`].
    pub fn syncs_alarms(&self) -> bool {
        self.transport.0.erased_syncs_alarms()
    }

    /// See [`Transport::sync_alarm`].
    pub async fn sync_alarm(&mut self, alarm: &Notice, receipt: &str, action: AlarmAction) -> AlarmResult {
        self.transport.0.erased_sync_alarm(alarm, receipt, action).await
    }

    /// See [`Transport::until_screen_changes`].
    pub async fn until_screen_changes(&self) {
        self.transport.0.erased_until_screen_changes().await;
    }

    /// See [`Transport::is_reachable`].
    pub async fn is_reachable(&mut self) -> bool {
        self.transport.0.erased_is_reachable().await
    }

    /// See [`Transport::can_reuse`].
    pub fn can_reuse(&self, older: &Channel) -> bool {
        self.name == older.name && self.transport.0.erased_can_reuse(older.transport.0.as_any())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_named_as_in_the_configuration() {
        let tables: Tables = toml::from_str(
            "
            webhook.ops.url = 'http://127.0.0.1:9/'
            command.a.command = ['/bin/true']
            ntfy.a.url = 'http://127.0.0.1:9/topic'
            gotify.a = {url = 'http://127.0.0.1:9/', token = 'a'}
            pushover.a = {token = 'azGDORePK8gMaC0QOYAMyEEuzJnyUi', user = 'uQiRzpo4DXghDmr9QzzfQu27cmVRsG'}
            slack.a.url = 'http://127.0.0.1:9/'
            discord.a.url = 'http://127.0.0.1:9/'
            teams.a.url = 'http://127.0.0.1:9/'
            telegram.a = {token = '1:a', chat_id = 1}
            alertmanager.a.urls = ['http://127.0.0.1:9/']
            mqtt.a.url = 'mqtt://127.0.0.1:9'
            apprise.a.url = 'json://127.0.0.1:9/'
            email.a = {server = '127.0.0.1', security = 'none', from = 'a@a.example', to = ['b@b.example']}
            ",
        )
        .expect("settings");
        let channels: Vec<String> = tables
            .all()
            .into_iter()
            .map(|(name, audience, table)| {
                let transport = table.open(&|_| Err(SettingError::new("", "no files"))).expect("ready");
                let channel = Channel::new(name, audience, transport);
                format!("{} {:?}", channel.name(), channel.audience())
            })
            .collect();
        let expected = [
            "desktop Desktop",
            "webhook.ops Programs",
            "command.a Programs",
            "ntfy.a People",
            "gotify.a People",
            "pushover.a People",
            "slack.a People",
            "discord.a People",
            "teams.a People",
            "telegram.a People",
            "alertmanager.a Programs",
            "mqtt.a Programs",
            "apprise.a People",
            "email.a People",
            "log Programs",
        ];
        assert_eq!(channels, expected);
    }
}
