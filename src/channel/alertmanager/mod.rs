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

use std::collections::BTreeMap;
use std::fmt;
use std::future::pending;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use toml::Value;

use self::alert::{Alert, Composer, NoAlert, OWN_LABELS};
use self::replica::{Credentials, Replica};
use super::outcome::{Audience, Notice, SendOutcome};
use super::settings::{ReadSecret, Shown, redacted, shown, shown_list, shown_path, shown_secret, shown_some};
use super::snapshot::Snapshot;
use super::transport::{AnyTransport, Table, Transport};
use crate::secret::Secret;

const REPEAT_S: u64 = 60;
const REPEAT_MIN_S: u64 = 10;
const REPEAT_MAX_S: u64 = 3_600;
/// So many repetitions in a row must fail before an alert that goes on is resolved.
const REPEATS_TO_LIVE: u32 = 4;
const REPLICAS_MAX: usize = 16;
/// Once one replica has taken the alerts, the others get so long to answer: who hangs must not keep
/// the next message.
const STRAGGLERS_WITHIN: Duration = Duration::from_secs(3);

/// `[channel.alertmanager.NAME]`
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The base URLs of all replicas, such as `https://host:9093`, with a path if there is one.
    /// `http://…` is accepted without credentials, or to this computer.
    pub urls: Vec<String>,
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
    fn audience(&self) -> Audience {
        Audience::Programs
    }

    fn shown(&self) -> Vec<Shown> {
        // No `..`, so that each new setting is shown or hidden on purpose.
        let Settings {
            urls,
            bearer_token,
            bearer_token_file,
            user,
            password,
            password_file,
            labels,
            repeat_s,
        } = self;
        let urls: Vec<String> = urls.iter().map(|url| redacted(url)).collect();
        let labels = labels.iter().map(|(name, value)| (name.clone(), value.as_str().into()));
        let labels: toml::Table = labels.collect();
        vec![
            shown_list("urls", &urls),
            shown_secret("bearer_token", bearer_token.as_ref()),
            shown_path("bearer_token_file", bearer_token_file.as_ref()),
            shown_some("user", user.as_deref()),
            shown_secret("password", password.as_ref()),
            shown_path("password_file", password_file.as_ref()),
            ("labels", (!labels.is_empty()).then_some(Value::Table(labels))),
            shown("repeat_s", i64::try_from(*repeat_s).unwrap_or(i64::MAX)),
        ]
    }

    fn open(&self, read_secret: ReadSecret) -> Result<AnyTransport, String> {
        Ok(Alertmanager::new(self, read_secret)?.into())
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.shown()).finish()
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
    /// One line for users that begins with the setting's key, without secrets. Of a URL it contains only
    /// scheme and host.
    pub fn new(settings: &Settings, read_secret: ReadSecret) -> Result<Alertmanager, String> {
        let credentials = Credentials::of(settings, read_secret)?;
        if settings.urls.is_empty() {
            return Err("urls: empty; write the address of an Alertmanager".to_owned());
        }
        if settings.urls.len() > REPLICAS_MAX {
            return Err(format!("urls: more than {REPLICAS_MAX}; write those of one cluster"));
        }
        check_labels(&settings.labels)?;
        if !(REPEAT_MIN_S..=REPEAT_MAX_S).contains(&settings.repeat_s) {
            return Err(format!("repeat_s: must be {REPEAT_MIN_S} to {REPEAT_MAX_S}"));
        }
        let replicas = settings.urls.iter().map(|url| Ok(Arc::new(Replica::new(url, &credentials)?)));
        Ok(Alertmanager {
            replicas: replicas.collect::<Result<_, String>>()?,
            labels: settings.labels.clone(),
            repeat: Duration::from_secs(settings.repeat_s),
        })
    }

    fn composer(&self, now: Timestamp) -> Composer<'_> {
        let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
        Composer { labels: &self.labels, now, lasts: self.lasts() }
    }

    fn lasts(&self) -> SignedDuration {
        SignedDuration::try_from(self.repeat * REPEATS_TO_LIVE).unwrap_or(SignedDuration::MAX)
    }

    async fn post(&self, alerts: &[Alert]) -> SendOutcome {
        let body = serde_json::to_vec(alerts).expect("texts and times are JSON");
        let mut asked = JoinSet::new();
        for (index, replica) in self.replicas.iter().enumerate() {
            let (replica, body) = (Arc::clone(replica), body.clone());
            asked.spawn(async move { (index, replica.post(body).await) });
        }
        let mut answers = vec![None; self.replicas.len()];
        let mut until = None;
        while let Some((index, answer)) = next(&mut asked, until).await {
            if matches!(answer, SendOutcome::Delivered { .. }) {
                until = until.or(Some(Instant::now() + STRAGGLERS_WITHIN));
            }
            answers[index] = Some(answer);
        }
        self.verdict(answers)
    }

    /// What the answers of all come to; none of a straggler.
    fn verdict(&self, mut answers: Vec<Option<SendOutcome>>) -> SendOutcome {
        if answers.len() == 1
            && let Some(Some(answer)) = answers.pop()
        {
            return answer;
        }
        let answers: Vec<(&Replica, SendOutcome)> = self
            .replicas
            .iter()
            .zip(answers)
            .map(|(replica, answer)| (&**replica, answer.unwrap_or_else(|| replica.straggles())))
            .collect();
        let (taken, left): (Vec<_>, Vec<_>) =
            answers.iter().partition(|(_, answer)| matches!(answer, SendOutcome::Delivered { .. }));
        let others: Vec<String> =
            left.iter().map(|(replica, answer)| replica.named(answer.words())).collect();
        let others = others.join("; ");
        if !taken.is_empty() {
            let words = match others.as_str() {
                "" if answers.len() == 1 => "Alertmanager took it".to_owned(),
                "" => format!("all {} replicas took it", answers.len()),
                _ => format!(
                    "{} of {} replicas took it; {others}. Within {} s of its return a replica is in step",
                    taken.len(),
                    answers.len(),
                    self.lasts().as_secs(),
                ),
            };
            return SendOutcome::Delivered { receipt: None, words };
        }
        if answers.iter().all(|(_, answer)| matches!(answer, SendOutcome::Permanent { .. })) {
            return SendOutcome::Permanent { words: others };
        }
        // Alerts are idempotent, but nothing that another try could make clearer is waited for.
        if !answers.iter().any(|(_, answer)| matches!(answer, SendOutcome::Transient { .. })) {
            return SendOutcome::Unclear { words: others };
        }
        SendOutcome::Transient {
            after_s: shortest_wish(&answers),
            reached: !answers.iter().all(|(_, answer)| is_unreached(answer)),
            words: others,
        }
    }
}

impl Transport for Alertmanager {
    /// Sends one POST to every replica concurrently. Delivered if one accepts it. Times out after 20 s.
    async fn send(&mut self, notice: &Notice) -> SendOutcome {
        match self.composer(Timestamp::now()).of_change(&notice.payload) {
            Ok(alert) => self.post(&[alert]).await,
            Err(NoAlert::NotForAlerts(kind)) => SendOutcome::Delivered {
                receipt: None,
                words: format!("not sent: there is no alert for \u{201c}{kind}\u{201d}"),
            },
            Err(NoAlert::NotAChange(why)) => SendOutcome::Permanent {
                words: format!("the change cannot be made an alert ({why}); please report this"),
            },
        }
    }

    /// How often what goes on is to be repeated.
    fn refresh_every(&self) -> Option<Duration> {
        Some(self.repeat)
    }

    /// Repeats the alerts that fire, as [`Alertmanager::send`] does.
    async fn sync_state(&mut self, snapshot: &Snapshot) -> SendOutcome {
        let alerts = self.composer(Timestamp::now()).of_picture(snapshot);
        if alerts.is_empty() {
            let words = "nothing goes on, so there is nothing to repeat".to_owned();
            return SendOutcome::Delivered { receipt: None, words };
        }
        self.post(&alerts).await
    }
}

/// Waits for the next outcome. `None` once all requests have ended or the deadline has passed.
async fn next(
    asked: &mut JoinSet<(usize, SendOutcome)>,
    until: Option<Instant>,
) -> Option<(usize, SendOutcome)> {
    let time_is_up = async {
        match until {
            Some(until) => sleep_until(until).await,
            None => pending().await,
        }
    };
    tokio::select! {
        biased;
        answer = asked.join_next() => answer?.ok(),
        () = time_is_up => None,
    }
}

/// Nothing as soon as one that may work later names no time.
fn shortest_wish(answers: &[(&Replica, SendOutcome)]) -> Option<u64> {
    let wishes = answers.iter().filter_map(|(_, answer)| match answer {
        SendOutcome::Transient { after_s, .. } => Some(*after_s),
        SendOutcome::Delivered { .. } | SendOutcome::Unclear { .. } | SendOutcome::Permanent { .. } => None,
    });
    // No wish sorts before every wish.
    wishes.min().flatten()
}

fn is_unreached(answer: &SendOutcome) -> bool {
    matches!(answer, SendOutcome::Transient { reached: false, .. })
}

fn check_labels(labels: &BTreeMap<String, String>) -> Result<(), String> {
    for (name, value) in labels {
        let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !is_name {
            return Err(format!("labels: {name:?} is no name; use letters, digits and _, no digit first"));
        }
        if OWN_LABELS.contains(&name.as_str()) {
            return Err(format!("labels: {name:?} is set by statusd; use another name"));
        }
        if value.trim().is_empty() {
            return Err(format!("labels: {name:?} is empty; write a value or remove it"));
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
            _ => Err(format!("{}: no such file", path.display())),
        })
    }

    #[track_caller]
    fn check_refused(toml: &str, words: &str) {
        let error = made(toml).expect_err("must be refused");
        assert!(error.contains(words), "{error}");
        for secret in ["hunter2", "T0PATH"] {
            assert!(!error.contains(secret), "{error}");
        }
    }

    #[test]
    fn what_is_safe_is_taken() {
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
    fn what_is_not_is_refused_without_giving_it_away() {
        let many = vec!["'http://a.example'"; REPLICAS_MAX + 1].join(", ");
        check_refused("urls = []", "urls: empty");
        check_refused(&format!("urls = [{many}]"), "urls: more than 16");
        check_refused("urls = ['a.example/T0PATH']", "urls: not an address");
        check_refused("urls = ['https://me:hunter2@a.example']", "write them as user and password");
        check_refused("urls = ['https://a.example/T0PATH?x=1']", "with ? or #");
        check_refused("urls = ['https://a.example/T0PATH/api/v2/alerts/']", "without /api/v2/alerts");
        check_refused(
            "urls = ['https://a.example', 'http://b.example/T0PATH']\nbearer_token = 'hunter2'",
            "urls: http://b.example/… would carry",
        );
        check_refused("urls = ['http://b.example']\nuser = 'me'\npassword = 'hunter2'", "write https");
        let one = "urls = ['https://a.example']";
        check_refused(&format!("{one}\nbearer_token = 'hunter2'\nuser = 'me'"), "remove one of them");
        check_refused(&format!("{one}\nbearer_token = \"hunter2\\nX: y\""), "bearer_token: holds");
        check_refused(&format!("{one}\npassword = 'hunter2'"), "password: there is no user");
        check_refused(&format!("{one}\nuser = 'me'"), "\"password\" is missing");
        check_refused(&format!("{one}\nuser = 'm:e'\npassword = 'hunter2'"), "user: ");
        check_refused(&format!("{one}\nuser = 'me'\npassword_file = '/nowhere'"), "password_file: /nowhere");
        check_refused(&format!("{one}\nrepeat_s = 9"), "repeat_s: must be 10 to 3600");
        check_refused(&format!("{one}\nrepeat_s = 3601"), "repeat_s: must be 10 to 3600");
        for label in ["'1st' = 'x'", "'a-b' = 'x'", "'' = 'x'", "'é' = 'x'"] {
            check_refused(&format!("{one}\nlabels = {{{label}}}"), "is no name");
        }
        for label in OWN_LABELS {
            check_refused(&format!("{one}\nlabels = {{{label} = 'x'}}"), "is set by statusd");
        }
        check_refused(&format!("{one}\nlabels = {{team = ' '}}"), "\"team\" is empty");
    }

    #[test]
    fn the_settings_have_defaults_and_no_other_keys() {
        let settings = settings("urls = ['https://a.example']");
        assert_eq!((settings.repeat_s, settings.labels.len()), (60, 0));
        assert_eq!(made("urls = ['https://a.example']").expect("ready").lasts().as_secs(), 240);
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

    fn answers(answers: [SendOutcome; 2]) -> SendOutcome {
        let urls = "urls = ['http://127.0.0.1:1', 'http://127.0.0.1:2']";
        made(urls).expect("ready").verdict(answers.map(Some).into())
    }

    fn retry(after_s: Option<u64>, reached: bool) -> SendOutcome {
        SendOutcome::Transient { after_s, reached, words: "127.0.0.1 is tired".to_owned() }
    }

    #[test]
    fn the_best_answer_of_all_replicas_counts() {
        let taken = || SendOutcome::Delivered { receipt: None, words: "127.0.0.1 answers 200 OK".to_owned() };
        let refused = || SendOutcome::Permanent { words: "127.0.0.1 says no".to_owned() };
        let words = |answer: SendOutcome| answer.words().to_owned();

        assert_eq!(words(answers([taken(), taken()])), "all 2 replicas took it");
        let one = answers([refused(), taken()]);
        assert!(matches!(one, SendOutcome::Delivered { .. }), "{one:?}");
        assert_eq!(
            words(one),
            "1 of 2 replicas took it; 127.0.0.1:1 says no. Within 240 s of its return a replica is in step"
        );
        let none = answers([refused(), refused()]);
        assert_eq!(
            none,
            SendOutcome::Permanent { words: "127.0.0.1:1 says no; 127.0.0.1:2 says no".to_owned() }
        );

        for (pair, after_s, reached) in [
            ([retry(Some(60), true), retry(Some(5), true)], Some(5), true),
            ([retry(Some(60), true), retry(None, true)], None, true),
            ([retry(Some(60), true), refused()], Some(60), true),
            ([retry(None, false), retry(None, false)], None, false),
            ([retry(None, false), retry(None, true)], None, true),
            // Who says no has seen it.
            ([retry(None, false), refused()], None, true),
        ] {
            let answer = answers(pair.clone());
            let SendOutcome::Transient { after_s: wish, reached: seen, .. } = answer else {
                panic!("{pair:?}: {answer:?}")
            };
            assert_eq!((wish, seen), (after_s, reached), "{pair:?}");
        }
    }
}
