//! Sends outages as alerts to Prometheus Alertmanager, through its API v2.
//!
//! Promise: idempotent. The labels identify an alert and do not change while it fires, so a repeat
//! updates the existing alert.
//!
//! Firing alerts are repeated at an interval, with an end a few intervals ahead. A restarted
//! Alertmanager, which keeps no alerts, gets them again, and alerts resolve if statusd stops.
//! Alertmanager itself routes and repeats notifications. Output contains no token, no password, and no
//! path or query of a URL (`debug_and_show_hide_secrets_and_paths`).

mod alert;
mod replica;
mod subject;

use std::collections::BTreeMap;
use std::future::pending;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use self::alert::{Alert, AlertBuilder, NoAlert};
use self::replica::{Credentials, Replica};
use self::subject::OWN_LABELS;
use super::outcome::{Notice, SendOutcome};
use super::settings::{ReadSecret, RedactedUrl};
use super::snapshot::Snapshot;
use super::transport::{AnyTransport, Table, Transport};
use crate::secret::Secret;
use crate::setting::SettingError;

const REPEAT_S: u64 = 60;
const REPEAT_MIN_S: u64 = 10;
const REPEAT_MAX_S: u64 = 3_600;
/// An alert resolves after so many failed repetitions in a row.
const LIFETIME_REPEATS: u32 = 4;
const REPLICAS_MAX: usize = 16;
/// The time that the other replicas have after one has accepted the alerts. A replica that hangs must not
/// delay the next message.
const REMAINING_TIMEOUT: Duration = Duration::from_secs(3);

/// `[channel.alertmanager.NAME]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The base URLs of all replicas, such as `https://host:9093`, with a path if there is one.
    /// `http://…` is accepted without credentials, or to this computer.
    pub urls: Vec<RedactedUrl>,
    /// Sent as `Authorization: Bearer …`.
    pub bearer_token: Option<Secret>,
    /// A file that contains the token.
    pub bearer_token_file: Option<PathBuf>,
    /// The user for HTTP basic authentication. Requires a password.
    pub user: Option<String>,
    /// The password of `user`.
    pub password: Option<Secret>,
    /// A file that contains the password.
    pub password_file: Option<PathBuf>,
    /// Labels to add to every alert. Default: none.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Seconds between repetitions of a firing alert, 10 to 3600. Default: 60.
    #[serde(default = "repeat_s")]
    pub repeat_s: u64,
}

fn repeat_s() -> u64 {
    REPEAT_S
}

impl Table for Settings {
    fn open(&self, read_secret: ReadSecret) -> Result<AnyTransport, SettingError> {
        Ok(Alertmanager::new(self, read_secret)?.into())
    }
}

/// The replicas of a cluster. All of them get the same alerts.
#[derive(Debug)]
pub struct Alertmanager {
    replicas: Vec<Arc<Replica>>,
    labels: BTreeMap<String, String>,
    repeat: Duration,
}

impl Alertmanager {
    /// Reads secret files through `read_secret`.
    ///
    /// # Errors
    ///
    /// The setting at fault, without secrets.
    pub fn new(settings: &Settings, read_secret: ReadSecret) -> Result<Alertmanager, SettingError> {
        let credentials = Credentials::from_settings(settings, read_secret)?;
        if settings.urls.is_empty() {
            return Err(SettingError::new("urls", "empty").hint("write the address of an Alertmanager"));
        }
        if settings.urls.len() > REPLICAS_MAX {
            return Err(SettingError::new("urls", format!("more than {REPLICAS_MAX}"))
                .hint("write only the replicas of one cluster"));
        }
        check_labels(&settings.labels)?;
        if !(REPEAT_MIN_S..=REPEAT_MAX_S).contains(&settings.repeat_s) {
            return Err(SettingError::new("repeat_s", format!("must be {REPEAT_MIN_S} to {REPEAT_MAX_S}")));
        }
        let replicas =
            settings.urls.iter().map(|url| Ok(Arc::new(Replica::new(url.expose(), &credentials)?)));
        Ok(Alertmanager {
            replicas: replicas.collect::<Result<_, SettingError>>()?,
            labels: settings.labels.clone(),
            repeat: Duration::from_secs(settings.repeat_s),
        })
    }

    fn alert_builder(&self, now: Timestamp) -> AlertBuilder<'_> {
        let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
        AlertBuilder { labels: &self.labels, now, lifetime: self.lifetime() }
    }

    fn lifetime(&self) -> SignedDuration {
        SignedDuration::try_from(self.repeat * LIFETIME_REPEATS).unwrap_or(SignedDuration::MAX)
    }

    async fn post(&self, alerts: &[Alert]) -> SendOutcome {
        let body = serde_json::to_vec(alerts).expect("texts and times are JSON");
        let mut requests = JoinSet::new();
        for (index, replica) in self.replicas.iter().enumerate() {
            let (replica, body) = (Arc::clone(replica), body.clone());
            requests.spawn(async move { (index, replica.post(body).await) });
        }
        let mut outcomes = vec![None; self.replicas.len()];
        let mut deadline = None;
        while let Some((index, outcome)) = next(&mut requests, deadline).await {
            if matches!(outcome, SendOutcome::Delivered { .. }) {
                deadline = deadline.or(Some(Instant::now() + REMAINING_TIMEOUT));
            }
            outcomes[index] = Some(outcome);
        }
        self.combine(outcomes)
    }

    /// Combines the outcomes of all replicas. `None` stands for a pending request.
    fn combine(&self, mut outcomes: Vec<Option<SendOutcome>>) -> SendOutcome {
        if outcomes.len() == 1
            && let Some(Some(outcome)) = outcomes.pop()
        {
            return outcome;
        }
        let outcomes: Vec<(&Replica, SendOutcome)> = self
            .replicas
            .iter()
            .zip(outcomes)
            .map(|(replica, outcome)| (&**replica, outcome.unwrap_or_else(|| replica.pending())))
            .collect();
        let (accepted, failed): (Vec<_>, Vec<_>) =
            outcomes.iter().partition(|(_, outcome)| matches!(outcome, SendOutcome::Delivered { .. }));
        let failures: Vec<String> =
            failed.iter().map(|(replica, outcome)| replica.with_port(outcome.detail())).collect();
        let failures = failures.join("; ");
        if !accepted.is_empty() {
            let detail = match failures.as_str() {
                "" if outcomes.len() == 1 => "Alertmanager accepted it".to_owned(),
                "" => format!("all {} replicas accepted it", outcomes.len()),
                _ => format!(
                    "{} of {} replicas accepted it; {failures}. A replica is up to date {} s after it returns",
                    accepted.len(),
                    outcomes.len(),
                    self.lifetime().as_secs(),
                ),
            };
            return SendOutcome::Delivered { receipt: None, detail };
        }
        if outcomes.iter().all(|(_, outcome)| matches!(outcome, SendOutcome::Permanent { .. })) {
            return SendOutcome::Permanent { detail: failures };
        }
        // Alerts are idempotent, but more attempts would not make an unclear response clearer.
        if !outcomes.iter().any(|(_, outcome)| matches!(outcome, SendOutcome::Transient { .. })) {
            return SendOutcome::Unclear { detail: failures };
        }
        SendOutcome::Transient {
            after_s: shortest_delay(&outcomes),
            reached: !outcomes.iter().all(|(_, outcome)| is_unreached(outcome)),
            detail: failures,
        }
    }
}

impl Transport for Alertmanager {
    /// Sends one POST to every replica concurrently. Delivered if one accepts it. Times out after 20 s.
    async fn send(&mut self, notice: &Notice) -> SendOutcome {
        match self.alert_builder(Timestamp::now()).change_alert(&notice.payload) {
            Ok(alert) => self.post(&[alert]).await,
            Err(NoAlert::NotForAlerts(kind)) => SendOutcome::Delivered {
                receipt: None,
                detail: format!("not sent: changes of kind \u{201c}{kind}\u{201d} give no alert"),
            },
            Err(NoAlert::InvalidPayload(error)) => SendOutcome::Permanent {
                detail: format!("cannot read the payload of the change: {error}; please report this"),
            },
        }
    }

    fn sync_interval(&self) -> Option<Duration> {
        Some(self.repeat)
    }

    /// Repeats the alerts that fire, as [`Alertmanager::send`] does.
    async fn sync_state(&mut self, snapshot: &Snapshot) -> SendOutcome {
        let alerts = self.alert_builder(Timestamp::now()).snapshot_alerts(snapshot);
        if alerts.is_empty() {
            let detail = "no alert fires, so nothing is repeated".to_owned();
            return SendOutcome::Delivered { receipt: None, detail };
        }
        self.post(&alerts).await
    }
}

/// Waits for the next outcome. `None` once all requests have ended or the deadline has passed.
async fn next(
    requests: &mut JoinSet<(usize, SendOutcome)>,
    deadline: Option<Instant>,
) -> Option<(usize, SendOutcome)> {
    let timed_out = async {
        match deadline {
            Some(deadline) => sleep_until(deadline).await,
            None => pending().await,
        }
    };
    tokio::select! {
        biased;
        outcome = requests.join_next() => outcome?.ok(),
        () = timed_out => None,
    }
}

/// Returns the shortest requested delay. `None` if any replica with a transient failure requests none.
fn shortest_delay(outcomes: &[(&Replica, SendOutcome)]) -> Option<u64> {
    let delays = outcomes.iter().filter_map(|(_, outcome)| match outcome {
        SendOutcome::Transient { after_s, .. } => Some(*after_s),
        SendOutcome::Delivered { .. } | SendOutcome::Unclear { .. } | SendOutcome::Permanent { .. } => None,
    });
    // `None` sorts before every `Some`.
    delays.min().flatten()
}

fn is_unreached(outcome: &SendOutcome) -> bool {
    matches!(outcome, SendOutcome::Transient { reached: false, .. })
}

fn check_labels(labels: &BTreeMap<String, String>) -> Result<(), SettingError> {
    for (name, value) in labels {
        let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !is_name {
            return Err(SettingError::new(
                "labels",
                format!("invalid name {name:?}: expected letters, digits and _, not starting with a digit"),
            ));
        }
        if OWN_LABELS.contains(&name.as_str()) {
            return Err(
                SettingError::new("labels", format!("{name:?} is set by statusd")).hint("use another name")
            );
        }
        if value.trim().is_empty() {
            return Err(SettingError::new("labels", format!("{name:?} is empty"))
                .hint("write a value or remove the label"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(toml: &str) -> Settings {
        toml::from_str(toml).expect("settings")
    }

    fn made(toml: &str) -> Result<Alertmanager, String> {
        Alertmanager::new(&settings(toml), &|path| match path.to_str() {
            Some("/secret") => Ok(Secret::new("hunter2\n")),
            _ => Err(SettingError::new("", format!("{}: no such file", path.display()))),
        })
        .map_err(|error| error.to_string())
    }

    #[track_caller]
    fn check_rejected(toml: &str, expected: &str) {
        let error = made(toml).expect_err("invalid");
        assert!(error.contains(expected), "{error}");
        for secret in ["hunter2", "T0PATH"] {
            assert!(!error.contains(secret), "{error}");
        }
    }

    #[test]
    fn safe_settings_are_accepted() {
        for toml in [
            "urls = ['http://am.example:9093']",
            "urls = ['https://a.example/base/', 'https://b.example']\nbearer_token_file = '/secret'",
            "urls = ['https://a.example']\nuser = 'statusd'\npassword = 'hunter2'",
            "urls = ['http://127.0.0.1:9093']\nuser = 'statusd'\npassword_file = '/secret'",
            "urls = ['http://a.example']\nlabels = {team = 'it', _severity = 'page'}\nrepeat_s = 10",
        ] {
            assert!(made(toml).is_ok(), "{toml}: {:?}", made(toml));
        }
    }

    #[test]
    fn unsafe_settings_are_rejected_without_printing_secrets() {
        let many = vec!["'http://a.example'"; REPLICAS_MAX + 1].join(", ");
        check_rejected("urls = []", "urls: empty");
        check_rejected(&format!("urls = [{many}]"), "urls: more than 16");
        check_rejected("urls = ['a.example/T0PATH']", "urls: invalid address");
        check_rejected("urls = ['https://me:hunter2@a.example']", "write them as user and password");
        check_rejected("urls = ['https://a.example/T0PATH?x=1']", "contains ? or #");
        check_rejected("urls = ['https://a.example/T0PATH/api/v2/alerts/']", "without /api/v2/alerts");
        check_rejected(
            "urls = ['https://a.example', 'http://b.example/T0PATH']\nbearer_token = 'hunter2'",
            "urls: http://b.example/… would carry",
        );
        check_rejected("urls = ['http://b.example']\nuser = 'me'\npassword = 'hunter2'", "write https");
        let one = "urls = ['https://a.example']";
        check_rejected(&format!("{one}\nbearer_token = 'hunter2'\nuser = 'me'"), "remove one of them");
        check_rejected(&format!("{one}\nbearer_token = \"hunter2\\nX: y\""), "bearer_token: contains");
        check_rejected(&format!("{one}\npassword = 'hunter2'"), "password: the key \"user\" is missing");
        check_rejected(&format!("{one}\nuser = 'me'"), "\"password\" is missing");
        check_rejected(&format!("{one}\nuser = 'm:e'\npassword = 'hunter2'"), "user: ");
        check_rejected(&format!("{one}\nuser = 'me'\npassword_file = '/nowhere'"), "password_file: /nowhere");
        check_rejected(&format!("{one}\nrepeat_s = 9"), "repeat_s: must be 10 to 3600");
        check_rejected(&format!("{one}\nrepeat_s = 3601"), "repeat_s: must be 10 to 3600");
        for label in ["'1st' = 'x'", "'a-b' = 'x'", "'' = 'x'", "'é' = 'x'"] {
            check_rejected(&format!("{one}\nlabels = {{{label}}}"), "invalid name");
        }
        for label in OWN_LABELS {
            check_rejected(&format!("{one}\nlabels = {{{label} = 'x'}}"), "is set by statusd");
        }
        check_rejected(&format!("{one}\nlabels = {{team = ' '}}"), "\"team\" is empty");
    }

    #[test]
    fn the_settings_have_defaults_and_no_other_keys() {
        let settings = settings("urls = ['https://a.example']");
        assert_eq!((settings.repeat_s, settings.labels.len()), (60, 0));
        assert_eq!(made("urls = ['https://a.example']").expect("ready").lifetime().as_secs(), 240);
        assert!(toml::from_str::<Settings>("url = 'https://a.example'").is_err());
        assert!(toml::from_str::<Settings>("urls = ['https://a.example']\nlabel = {}").is_err());
    }

    #[test]
    fn debug_and_show_hide_secrets_and_paths() {
        let toml = "urls = ['https://a.example:9093/T0PATH']\nuser = 'me'\npassword = 'hunter2'\n\
                    labels = {team = 'it'}";
        let shown = format!("{:?} {:#?}", settings(toml), made(toml).expect("ready"));
        assert!(shown.contains("https://a.example:9093/…") && shown.contains("team"), "{shown}");
        for secret in ["hunter2", "T0PATH"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }

    fn combined(outcomes: [SendOutcome; 2]) -> SendOutcome {
        let urls = "urls = ['http://127.0.0.1:1', 'http://127.0.0.1:2']";
        made(urls).expect("ready").combine(outcomes.map(Some).into())
    }

    fn transient(after_s: Option<u64>, reached: bool) -> SendOutcome {
        SendOutcome::Transient { after_s, reached, detail: "127.0.0.1 returned 503".to_owned() }
    }

    #[test]
    fn the_best_outcome_of_all_replicas_counts() {
        let delivered =
            || SendOutcome::Delivered { receipt: None, detail: "127.0.0.1 returned 200 OK".to_owned() };
        let permanent = || SendOutcome::Permanent { detail: "127.0.0.1 returned 401".to_owned() };

        let both = combined([delivered(), delivered()]);
        assert_eq!(both.detail(), "all 2 replicas accepted it");
        let one = combined([permanent(), delivered()]);
        assert!(matches!(one, SendOutcome::Delivered { .. }), "{one:?}");
        assert_eq!(
            one.detail(),
            "1 of 2 replicas accepted it; 127.0.0.1:1 returned 401. A replica is up to date 240 s after it \
             returns"
        );
        let detail = "127.0.0.1:1 returned 401; 127.0.0.1:2 returned 401".to_owned();
        assert_eq!(combined([permanent(), permanent()]), SendOutcome::Permanent { detail });

        for (pair, after_s, reached) in [
            ([transient(Some(60), true), transient(Some(5), true)], Some(5), true),
            ([transient(Some(60), true), transient(None, true)], None, true),
            ([transient(Some(60), true), permanent()], Some(60), true),
            ([transient(None, false), transient(None, false)], None, false),
            ([transient(None, false), transient(None, true)], None, true),
            // A server that rejects the message has received it.
            ([transient(None, false), permanent()], None, true),
        ] {
            let outcome = combined(pair.clone());
            let SendOutcome::Transient { after_s: delay, reached: was_reached, .. } = outcome else {
                panic!("{pair:?}: {outcome:?}")
            };
            assert_eq!((delay, was_reached), (after_s, reached), "{pair:?}");
        }
    }
}
