//! Ways to reach people and programs: one file a kind, each with its settings, its request, its
//! promise and its reading of the peer's answers. This file holds what they share: what a channel is
//! given, what it answers, and the list of them.
//!
//! A channel sends once and says what came of it. It never retries, remembers or reads the
//! database; that is `deliver`'s work.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

pub mod alertmanager;
pub mod apprise;
pub mod chat;
pub mod command;
pub mod desktop;
pub mod email;
pub mod http;
pub mod log;
pub mod mqtt;
pub mod process;
pub mod push;
mod reachability;
mod redact;
pub mod settings;
pub mod snapshot;
pub mod telegram;
pub mod webhook;

pub use alertmanager::Alertmanager;
pub use apprise::Apprise;
pub use chat::discord::Discord;
pub use chat::slack::Slack;
pub use chat::teams::Teams;
pub use command::Command;
pub use desktop::Desktop;
pub use email::Email;
pub use http::status::http_answer;
pub use log::Log;
pub use mqtt::Mqtt;
pub use push::gotify::Gotify;
pub use push::ntfy::Ntfy;
pub use push::pushover::Pushover;
pub use reachability::Reachability;
use settings::{ReadSecret, Shown};
pub use snapshot::{ServiceState, Snapshot};
pub use telegram::Telegram;
pub use webhook::Webhook;

use crate::model::{Edition, Severity};

/// Twice what the slowest of our own kinds may take for a try, a knock and a snapshot.
const ENDS_WITHIN: Duration = Duration::from_secs(180);

/// Whom a channel speaks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Gets one message for all that is due; news of what goes on and of what is over are one each.
    People,
    /// People in front of it: each incident is one bubble, replaced by its own news.
    Desktop,
    /// Gets each change.
    Programs,
}

impl Audience {
    /// Whether people read it: they can snooze and acknowledge.
    pub fn is_people(self) -> bool {
        match self {
            Audience::People | Audience::Desktop => true,
            Audience::Programs => false,
        }
    }
}

/// What a channel is given to say. RenderedNotice: every try of it carries the same bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Stable across tries and restarts; ASCII without blanks.
    pub key: String,
    /// One line, plain text. Holds Apple's words: hostile until escaped.
    pub title: String,
    /// Plain text of several lines. Holds Apple's words: hostile until escaped.
    pub body: String,
    pub severity: Severity,
    /// The documented JSON of the change (`docs/json.md`), for programs; empty for people.
    pub payload: String,
    /// The receipt of the message that this one says all of and more: the start, when this is its
    /// end. That one may go.
    pub replaces: Option<String>,
    /// The receipt of the newest message about any of the same outages, which may be about others
    /// too: what this one answers, in a thread.
    pub follows: Option<String>,
}

impl Notice {
    /// Apple's own page about the feed that the notice is about.
    pub fn page(&self) -> &'static str {
        Edition::of(&self.key).page()
    }
}

/// What came of one try. `words` are one line for people, without secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendOutcome {
    Delivered {
        /// What the channel wants to be given as `replaces` when a later notice supersedes this one.
        receipt: Option<String>,
        words: String,
    },
    /// May work later.
    Transient {
        /// The peer's own wish (`Retry-After`), unbounded.
        after_s: Option<u64>,
        /// False only if the peer certainly never saw the message.
        reached: bool,
        words: String,
    },
    /// The peer got the message, and its answer cannot be understood: it may have taken it. Tried
    /// three times at most, since each try may be a repeat.
    Unclear { words: String },
    /// Will never work as it is: wrong address, refused credentials, gone.
    Permanent { words: String },
}

impl SendOutcome {
    /// What came of it, for people.
    pub fn words(&self) -> &str {
        match self {
            SendOutcome::Delivered { words, .. }
            | SendOutcome::Transient { words, .. }
            | SendOutcome::Unclear { words }
            | SendOutcome::Permanent { words } => words,
        }
    }

    /// The same answer in other words.
    fn reworded(self, reword: impl FnOnce(String) -> String) -> SendOutcome {
        match self {
            SendOutcome::Delivered { receipt, words } => {
                SendOutcome::Delivered { receipt, words: reword(words) }
            }
            SendOutcome::Transient { after_s, reached, words } => {
                SendOutcome::Transient { after_s, reached, words: reword(words) }
            }
            SendOutcome::Unclear { words } => SendOutcome::Unclear { words: reword(words) },
            SendOutcome::Permanent { words } => SendOutcome::Permanent { words: reword(words) },
        }
    }
}

/// What is to become of an alarm that a channel has shown and that may be on a screen still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Nothing in it is true any more.
    Closed,
    /// It is true, but not to be shown again now.
    Left,
    /// It is to be there, unless the user dismissed it.
    OnScreen,
}

/// What became of such an alarm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is as it was.
    Same,
    /// It was dismissed: its receipt means nothing any more.
    Gone,
    /// It was shown again, or closed by us. The receipt that it has now.
    Changed { receipt: String },
    /// The wish could not be fulfilled now. It may be later.
    Unknown,
}

/// A kind of channel, ready to send.
#[derive(Debug)]
pub enum Transport {
    Desktop(Box<Desktop>),
    Webhook(Box<Webhook>),
    Command(Command),
    Ntfy(Box<Ntfy>),
    Gotify(Box<Gotify>),
    Pushover(Box<Pushover>),
    Slack(Box<Slack>),
    Discord(Box<Discord>),
    Teams(Box<Teams>),
    Telegram(Box<Telegram>),
    Alertmanager(Box<Alertmanager>),
    Mqtt(Box<Mqtt>),
    Apprise(Box<Apprise>),
    Email(Box<Email>),
    Log(Log),
}

/// One configured transport to reach people or programs.
#[derive(Debug)]
pub struct Channel {
    name: String,
    audience: Audience,
    transport: Transport,
    pub reachability: Reachability,
}

impl Channel {
    /// `name` as [`Channel::name`] has it.
    pub fn new(name: impl Into<String>, audience: Audience, transport: Transport) -> Channel {
        Channel { name: name.into(), audience, transport, reachability: Reachability::default() }
    }

    /// The name in the configuration, the database and on the command line: `desktop`,
    /// `webhook.ops`, `log`.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn audience(&self) -> Audience {
        self.audience
    }

    /// One try. Ends by itself: each kind says within what time.
    pub async fn send(&mut self, notice: &Notice) -> SendOutcome {
        match &mut self.transport {
            Transport::Desktop(desktop) => desktop.send(notice).await,
            Transport::Webhook(webhook) => webhook.send(notice).await,
            Transport::Command(command) => command.send(notice).await,
            Transport::Ntfy(ntfy) => ntfy.send(notice).await,
            Transport::Gotify(gotify) => gotify.send(notice).await,
            Transport::Pushover(pushover) => pushover.send(notice).await,
            Transport::Slack(slack) => slack.send(notice).await,
            Transport::Discord(discord) => discord.send(notice).await,
            Transport::Teams(teams) => teams.send(notice).await,
            Transport::Telegram(telegram) => telegram.send(notice).await,
            Transport::Alertmanager(alertmanager) => alertmanager.send(notice).await,
            Transport::Mqtt(mqtt) => mqtt.send(notice).await,
            Transport::Apprise(apprise) => apprise.send(notice).await,
            Transport::Email(email) => email.send(notice).await,
            Transport::Log(log) => log.send(notice),
        }
    }

    /// Within what time a try, a knock and a snapshot end, one after the other: for whoever watches
    /// over this channel, so with time to spare.
    pub fn ends_within(&self) -> Duration {
        match &self.transport {
            Transport::Command(command) => command.ends_within() + ENDS_WITHIN,
            Transport::Desktop(_)
            | Transport::Webhook(_)
            | Transport::Ntfy(_)
            | Transport::Gotify(_)
            | Transport::Pushover(_)
            | Transport::Slack(_)
            | Transport::Discord(_)
            | Transport::Teams(_)
            | Transport::Telegram(_)
            | Transport::Alertmanager(_)
            | Transport::Mqtt(_)
            | Transport::Apprise(_)
            | Transport::Email(_)
            | Transport::Log(_) => ENDS_WITHIN,
        }
    }

    /// For a channel that shows a state: how often at least it wants to be given the snapshot
    /// ([`Channel::sync_state`]). `None`: it shows none.
    pub fn refresh_every(&self) -> Option<Duration> {
        match &self.transport {
            Transport::Alertmanager(alertmanager) => Some(alertmanager.refresh_every()),
            Transport::Mqtt(mqtt) => Some(mqtt.refresh_every()),
            _ => None,
        }
    }

    /// Shows how things stand now; any number of times, and idempotent. Ends by itself as
    /// [`Channel::send`] does. A failure is made good by the next snapshot.
    pub async fn sync_state(&mut self, snapshot: &Snapshot) -> SendOutcome {
        match &mut self.transport {
            Transport::Alertmanager(alertmanager) => alertmanager.sync_state(snapshot).await,
            Transport::Mqtt(mqtt) => mqtt.sync_state(snapshot).await,
            _ => SendOutcome::Delivered { receipt: None, words: "this channel shows no state".to_owned() },
        }
    }

    /// Whether its alarms stay on a screen, to be looked after with [`Channel::keep_alarm`].
    pub fn keeps_alarms(&self) -> bool {
        matches!(self.transport, Transport::Desktop(_))
    }

    /// Makes the screen agree with `wish` about an alarm that was delivered with `receipt`. Any number
    /// of times, and idempotent. Within 20 s.
    pub async fn keep_alarm(&mut self, alarm: &Notice, receipt: &str, wish: Wish) -> Fate {
        match &mut self.transport {
            Transport::Desktop(desktop) => desktop.keep_alarm(alarm, receipt, wish).await,
            _ => Fate::Same,
        }
    }

    /// Returns when alarms may have gone from the screen. Cancel-safe.
    pub async fn until_screen_changes(&self) {
        match &self.transport {
            Transport::Desktop(desktop) => desktop.until_screen_changes().await,
            _ => std::future::pending().await,
        }
    }

    /// Knocks: whether somebody is there, without a message. Within 10 s; true where only a message
    /// can find that out.
    pub async fn is_reachable(&mut self) -> bool {
        match &mut self.transport {
            Transport::Desktop(desktop) => desktop.is_reachable().await,
            Transport::Webhook(webhook) => webhook.is_reachable().await,
            Transport::Ntfy(ntfy) => ntfy.is_reachable().await,
            Transport::Gotify(gotify) => gotify.is_reachable().await,
            Transport::Pushover(pushover) => pushover.is_reachable().await,
            Transport::Slack(slack) => slack.is_reachable().await,
            Transport::Discord(discord) => discord.is_reachable().await,
            Transport::Teams(teams) => teams.is_reachable().await,
            Transport::Telegram(telegram) => telegram.is_reachable().await,
            Transport::Email(email) => email.is_reachable().await,
            Transport::Command(_)
            | Transport::Apprise(_)
            | Transport::Alertmanager(_)
            | Transport::Mqtt(_)
            | Transport::Log(_) => true,
        }
    }

    /// Whether `older`, of the configuration before this one, may go on in its place: it keeps a
    /// connection, and there is nothing that could have been set differently.
    pub fn continues(&self, older: &Channel) -> bool {
        match (&self.transport, &older.transport) {
            (Transport::Desktop(desktop), Transport::Desktop(older)) => desktop.continues(older),
            (Transport::Mqtt(mqtt), Transport::Mqtt(older_mqtt)) => {
                self.name == older.name && mqtt.continues(older_mqtt)
            }
            _ => false,
        }
    }
}

/// A channel's table in the configuration.
pub trait Table {
    /// Whom a channel of this kind speaks to.
    fn audience(&self) -> Audience;

    /// Every setting of the table, in order; secrets hidden.
    fn shown(&self) -> Vec<Shown>;

    /// Whether there is such a channel at all.
    fn is_enabled(&self) -> bool {
        true
    }

    /// Makes it ready: reads the files of secrets, opens no connection.
    ///
    /// # Errors
    ///
    /// One line for people, without secrets, that begins with the setting's key and a colon where
    /// it is about one.
    fn open(&self, read_secret: ReadSecret) -> Result<Transport, String>;
}

/// Of these there is one, `[channel.desktop]`; of the others as many as have names,
/// `[channel.webhook.NAME]`.
pub const SINGLE_CHANNELS: [&str; 2] = ["desktop", "log"];

/// `[channel.…]`: the settings of each, as the channels define them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tables {
    pub desktop: desktop::Settings,
    pub log: log::Settings,
    pub webhook: BTreeMap<String, webhook::Settings>,
    pub email: BTreeMap<String, email::Settings>,
    pub apprise: BTreeMap<String, apprise::Settings>,
    pub mqtt: BTreeMap<String, mqtt::Settings>,
    pub alertmanager: BTreeMap<String, alertmanager::Settings>,
    pub telegram: BTreeMap<String, telegram::Settings>,
    pub teams: BTreeMap<String, chat::teams::Settings>,
    pub discord: BTreeMap<String, chat::discord::Settings>,
    pub slack: BTreeMap<String, chat::slack::Settings>,
    pub pushover: BTreeMap<String, push::pushover::Settings>,
    pub gotify: BTreeMap<String, push::gotify::Settings>,
    pub ntfy: BTreeMap<String, push::ntfy::Settings>,
    pub command: BTreeMap<String, command::Settings>,
}

impl Tables {
    /// The desktop, if notices are wanted there and can be given to it.
    pub fn open_desktop(&self) -> Option<Channel> {
        let transport =
            self.desktop.is_enabled().then(|| self.desktop.open(&|_| Err(String::new())))?.ok()?;
        Some(Channel::new("desktop", self.desktop.audience(), transport))
    }

    /// Every table under its channel's name, in a fixed order.
    pub fn all(&self) -> Vec<(String, &dyn Table)> {
        // Taken apart without `..`: a table that is left out would be a channel that is never made.
        let Tables {
            desktop,
            log,
            webhook,
            command,
            ntfy,
            gotify,
            pushover,
            slack,
            discord,
            teams,
            telegram,
            alertmanager,
            mqtt,
            apprise,
            email,
        } = self;
        let mut all: Vec<(String, &dyn Table)> = vec![("desktop".to_owned(), desktop)];
        add(&mut all, "webhook", webhook);
        add(&mut all, "command", command);
        add(&mut all, "ntfy", ntfy);
        add(&mut all, "gotify", gotify);
        add(&mut all, "pushover", pushover);
        add(&mut all, "slack", slack);
        add(&mut all, "discord", discord);
        add(&mut all, "teams", teams);
        add(&mut all, "telegram", telegram);
        add(&mut all, "alertmanager", alertmanager);
        add(&mut all, "mqtt", mqtt);
        add(&mut all, "apprise", apprise);
        add(&mut all, "email", email);
        all.push(("log".to_owned(), log));
        all
    }
}

fn add<'a, T: Table>(
    all: &mut Vec<(String, &'a dyn Table)>,
    kind: &'static str,
    tables: &'a BTreeMap<String, T>,
) {
    all.extend(tables.iter().map(|(name, table)| (format!("{kind}.{name}"), table as &dyn Table)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_have_the_names_of_the_configuration() {
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
        let named: Vec<String> = tables
            .all()
            .into_iter()
            .map(|(name, table)| {
                let transport = table.open(&|_| Err("no files".to_owned())).expect("ready");
                let channel = Channel::new(name, table.audience(), transport);
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
        assert_eq!(named, expected);
    }
}
