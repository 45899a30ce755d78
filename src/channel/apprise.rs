//! Sends messages with the program `apprise`, which supports over a hundred services.
//!
//! Promise: plain. A repeat is a second message. If `apprise` reaches some of several services, the notice
//! counts as delivered, because a retry would repeat it there.
//!
//! The service's URL is a secret and in no argument, output or log. `apprise` gets the URL in its
//! environment, which the system shows only to the same user, and the message on standard input.

use std::path::{Path, PathBuf};
use std::time::Duration;

use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};

use super::outcome::{Notice, SendOutcome};
use super::program::{Meaning, check_program, classify, not_started};
use super::redact::Redactor;
use super::settings::{ReadSecret, optional_secret};
use super::transport::{AnyTransport, Table, Transport};
use crate::model::Severity;
use crate::process::{Capture, Finished, Subprocess};
use crate::secret::Secret;
use crate::setting::SettingError;
use crate::text;

/// Python needs a second to start, and each service some seconds.
const SEND_TIMEOUT: Duration = Duration::from_secs(60);
const TITLE_MAX_CHARS: usize = 250;
/// A safety limit. `apprise` applies the limits of each service itself.
const BODY_MAX_CHARS: usize = 10_000;
const REASON_MAX_CHARS: usize = 200;
/// Shorter parts of a URL ("json", "b") are not secret, and redacting them would damage the text.
const SECRET_MIN_BYTES: usize = 6;
/// The prefixes of messages in the output of `apprise -vv` (1.2 and later), after the time.
const LEVELS: [&str; 3] = [" - ERROR - ", " - WARNING - ", SUCCESS];
const SUCCESS: &str = " - INFO - Sent ";
/// The error for a configuration without a usable service. The exit code is the same as for a service
/// that is down.
const NO_SERVICE: &str = "You must specify at least one server URL";

/// `[channel.apprise.NAME]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The service as a URL of `apprise`: `scheme://…`.
    pub url: Option<Secret>,
    /// A file that contains the URL.
    pub url_file: Option<PathBuf>,
    /// The absolute path of an `apprise` configuration, instead of `url`.
    pub config_file: Option<PathBuf>,
    /// Selects services in `config_file`, as `apprise --tag` does. Default: those without tags.
    pub tag: Option<String>,
    /// An absolute path, or a name that is looked up in `PATH`. Default: `apprise`.
    #[serde(default = "program_default")]
    pub program: String,
}

fn program_default() -> String {
    "apprise".to_owned()
}

impl Table for Settings {
    fn open(&self, read_secret: ReadSecret) -> Result<AnyTransport, SettingError> {
        Ok(Apprise::new(self, read_secret)?.into())
    }
}

/// The program `apprise`, ready to run.
#[derive(Debug)]
pub struct Apprise {
    program: String,
    services: Services,
    redactor: Redactor,
}

/// The services to notify.
#[derive(Debug)]
enum Services {
    One(Secret),
    /// The arguments that select services in an `apprise` configuration.
    Configured(Vec<String>),
}

impl Apprise {
    /// Reads the URL's file. Only `apprise` itself reads its configuration, for each message.
    ///
    /// # Errors
    ///
    /// The setting at fault, without secrets.
    pub fn new(settings: &Settings, read_secret: ReadSecret) -> Result<Apprise, SettingError> {
        check_program("program", &settings.program)?;
        let url = optional_secret("url", &settings.url, &settings.url_file, read_secret)?;
        let redactor = Redactor::new(url.iter().flat_map(|url| parts(url.expose())));
        let services = match (url, &settings.config_file) {
            (Some(url), None) => one(url, settings)?,
            (None, Some(file)) => configured(file, settings.tag.as_deref())?,
            (Some(_), Some(_)) => {
                return Err(SettingError::new("config_file", "also given as url").hint("remove one of them"));
            }
            (None, None) => {
                return Err(SettingError::new("", "the key \"url\" is missing")
                    .hint("write it, url_file or config_file"));
            }
        };
        Ok(Apprise { program: settings.program.clone(), services, redactor })
    }

    /// Includes the title, which every user of the machine can read: Apple's text is not secret.
    fn arguments(&self, notice: &Notice) -> Vec<String> {
        let kind = match notice.severity {
            Severity::Alert => "failure",
            Severity::Resolved => "success",
            Severity::Info => "info",
        };
        let title = text::plain_line(&notice.title, TITLE_MAX_CHARS);
        let mut arguments = vec![
            "-vv".to_owned(),
            "--input-format=text".to_owned(),
            format!("--notification-type={kind}"),
            format!("--title={title}"),
        ];
        if let Services::Configured(more) = &self.services {
            arguments.extend_from_slice(more);
        }
        arguments
    }

    fn classify(&self, finished: &Finished) -> SendOutcome {
        let lines = finished.lines();
        let has = |part: &str| lines.iter().any(|line| line.contains(part));
        let (any_sent, no_service) = (has(SUCCESS), has(NO_SERVICE));
        classify(&self.program, finished, &self.reason(&lines), |code| meaning(code, any_sent, no_service))
    }

    /// Returns the last failure in the output, otherwise the last success, otherwise the last line.
    fn reason(&self, lines: &[String]) -> String {
        let message = |level: &str, line: &String| {
            let (_, message) = line.split_once(level)?;
            // This error only follows from the one before.
            (!message.contains(NO_SERVICE)).then(|| message.to_owned())
        };
        let [error, warning, success] = LEVELS;
        let failures =
            lines.iter().rev().find_map(|line| message(error, line).or_else(|| message(warning, line)));
        let successes = || lines.iter().rev().find_map(|line| message(success, line));
        let reason = failures
            .or_else(|| successes().map(|service| format!("Sent {service}")))
            .or_else(|| lines.iter().rev().find(|line| !line.trim().is_empty()).cloned());
        let reason = without_urls(&reason.unwrap_or_default());
        self.redactor.redact(&reason, REASON_MAX_CHARS)
    }
}

impl Transport for Apprise {
    /// Runs `apprise` once. Times out after 60 s and the seconds between SIGTERM and SIGKILL.
    async fn send(&mut self, notice: &Notice) -> SendOutcome {
        // The input is UTF-8, whatever the locale of the machine (PEP 540).
        let mut variables = vec![("PYTHONUTF8".to_owned(), "1".to_owned())];
        if let Services::One(url) = &self.services {
            variables.push(("APPRISE_URLS".to_owned(), url.expose().to_owned()));
        }
        let body = text::plain_text(&notice.body, BODY_MAX_CHARS);
        let subprocess = Subprocess {
            program: &self.program,
            arguments: &self.arguments(notice),
            variables: &variables,
            input: body.as_bytes(),
            timeout: SEND_TIMEOUT,
            capture: Capture::Tail,
        };
        match subprocess.run().await {
            Ok(finished) => self.classify(&finished),
            Err(error) => not_started(&self.program, &error, MISSING),
        }
    }
}

const MISSING: &str = "install the package apprise, or write its absolute path as program";

/// Returns the meaning of an exit code. `any_sent`: at least one service was notified. `no_service`: the
/// configuration has no usable service.
fn meaning(code: i32, any_sent: bool, no_service: bool) -> Meaning {
    match code {
        0 => Meaning::Delivered,
        1 if no_service => {
            Meaning::Permanent("the address or configuration is unusable; check url or config_file")
        }
        // A retry would repeat the message at the services that worked.
        1 if any_sent => Meaning::Delivered,
        2 => Meaning::Permanent("it rejects an argument; install apprise 1.2 or newer"),
        3 => Meaning::Permanent("no service is selected; check tag and config_file"),
        _ => Meaning::Transient(""),
    }
}

fn one(url: Secret, settings: &Settings) -> Result<Services, SettingError> {
    if settings.tag.is_some() {
        return Err(SettingError::new("tag", "selects services of config_file").hint("remove it"));
    }
    // `apprise` accepts several URLs in one string, but a retry would notify all of them again.
    if !url.expose().contains("://") || url.expose().contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(SettingError::new("url", "expected one address in the form of apprise (scheme://…)")
            .hint("write a table for each service"));
    }
    Ok(Services::One(url))
}

fn configured(file: &Path, tag: Option<&str>) -> Result<Services, SettingError> {
    let Some(path) = file.to_str().filter(|path| path.starts_with('/') && !path.contains('\0')) else {
        return Err(SettingError::new("config_file", format!("{} is not an absolute path", file.display()))
            .hint("write one that begins with /"));
    };
    let tag = match tag.map(str::trim) {
        None => None,
        Some("") => return Err(SettingError::new("tag", "empty").hint("write it or remove the key")),
        Some(tag) if tag.contains('\0') => {
            return Err(SettingError::new("tag", "contains a NUL byte").hint("remove it"));
        }
        Some(tag) => Some(format!("--tag={tag}")),
    };
    Ok(Services::Configured([format!("--config={path}")].into_iter().chain(tag).collect()))
}

/// Returns the URL and every part of it that may be secret, as written and percent-decoded. Any part can
/// be a token, even the host.
fn parts(url: &str) -> Vec<String> {
    let (_, rest) = url.split_once("://").unwrap_or_default();
    let parts = rest.split(['/', '@', ':', '?', '&', '=', '#', ',', '+']);
    let long = parts.filter(|part| part.len() >= SECRET_MIN_BYTES);
    let written = [url, rest].into_iter().chain(long).map(str::to_owned);
    let decoded = |part: &str| percent_decode_str(part).decode_utf8_lossy().into_owned();
    written.flat_map(|part| [decoded(&part), part]).collect()
}

/// Cuts URLs after the scheme: `apprise` quotes unusable URLs, even from its own configuration, which
/// statusd does not read.
fn without_urls(text: &str) -> String {
    let hide = |word: &str| match word.split_once("://") {
        Some((scheme, _)) => format!("{scheme}://…"),
        None => word.to_owned(),
    };
    text.split_whitespace().map(hide).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(toml: &str) -> Result<Apprise, String> {
        let settings: Settings = toml::from_str(toml).expect("settings");
        Apprise::new(&settings, &|path| match path.to_str() {
            Some("/url") => Ok(Secret::new("slack://T0PSECRET/hunter2\n")),
            _ => Err(SettingError::new("", format!("{}: no such file", path.display()))),
        })
        .map_err(|error| error.to_string())
    }

    fn notice(title: &str, severity: Severity) -> Notice {
        Notice {
            key: "k".to_owned(),
            title: title.to_owned(),
            body: "b".to_owned(),
            severity,
            payload: String::new(),
            replaces: None,
            follows: None,
        }
    }

    #[test]
    fn one_service_or_a_configuration_is_accepted() {
        for toml in [
            "url = 'slack://T0PSECRET/hunter2'",
            "url_file = '/url'",
            "config_file = '/etc/apprise.yml'",
            "config_file = '/etc/apprise.yml'\ntag = 'me'",
            "url_file = '/url'\nprogram = '/opt/apprise/bin/apprise'",
        ] {
            assert!(made(toml).is_ok(), "{toml}");
        }
        assert_eq!(made("url_file = '/url'").expect("an apprise").program, "apprise");
    }

    #[test]
    fn invalid_settings_are_rejected_without_printing_secrets() {
        for (toml, expected) in [
            ("", "the key \"url\" is missing"),
            (
                "program = 'bin/apprise'\nurl_file = '/url'",
                "program: \"bin/apprise\" is not an absolute path",
            ),
            ("url = 'T0PSECRET'", "url: expected one address"),
            ("url = 'a://T0PSECRET b://hunter2'", "url: expected one address"),
            ("url = 'a://x'\nurl_file = '/url'", "url: also given as url_file"),
            ("url = 'a://T0PSECRET'\nconfig_file = '/etc/a'", "config_file: also given as url"),
            ("url = 'a://T0PSECRET'\ntag = 'me'", "tag: selects services"),
            ("config_file = 'apprise.yml'", "config_file: apprise.yml is not an absolute path"),
            ("config_file = '/etc/a'\ntag = ' '", "tag: empty"),
            ("url_file = '/nowhere'", "url_file: /nowhere: no such file"),
        ] {
            let error = made(toml).expect_err("invalid");
            assert!(error.starts_with(expected), "{error}");
            assert!(!error.contains("T0PSECRET") && !error.contains("hunter2"), "{error}");
        }
        assert!(toml::from_str::<Settings>("urls = ['a://b']").is_err());
    }

    #[test]
    fn debug_prints_no_url() {
        let settings: Settings = toml::from_str("url = 'slack://T0PSECRET/hunter2'").expect("settings");
        let apprise = made("url = 'slack://T0PSECRET/hunter2'").expect("an apprise");
        let shown = format!("{settings:?} {apprise:?}");
        assert!(
            shown.contains("apprise") && !shown.contains("T0PSECRET") && !shown.contains("hunter2"),
            "{shown}"
        );
    }

    #[test]
    fn arguments_contain_no_url_and_no_option_from_apple() {
        let apprise = made("url_file = '/url'").expect("an apprise");
        let arguments = apprise.arguments(&notice("--debug\n-c /etc/passwd", Severity::Alert));
        let expected =
            ["-vv", "--input-format=text", "--notification-type=failure", "--title=--debug -c /etc/passwd"];
        assert_eq!(arguments, expected);

        let apprise = made("config_file = '/etc/apprise.yml'\ntag = 'me'").expect("an apprise");
        let arguments = apprise.arguments(&notice("t", Severity::Resolved));
        assert_eq!(
            arguments[2..],
            ["--notification-type=success", "--title=t", "--config=/etc/apprise.yml", "--tag=me"]
        );
        assert_eq!(apprise.arguments(&notice("t", Severity::Info))[2], "--notification-type=info");
    }

    #[test]
    fn exit_codes_are_classified() {
        assert_eq!(meaning(0, false, false), Meaning::Delivered);
        assert_eq!(meaning(1, false, false), Meaning::Transient(""));
        assert_eq!(meaning(1, true, false), Meaning::Delivered);
        assert!(matches!(meaning(1, false, true), Meaning::Permanent(_)));
        assert!(matches!(meaning(2, true, false), Meaning::Permanent(_)));
        assert!(matches!(meaning(3, false, false), Meaning::Permanent(_)));
        for code in (4..=255).chain([-1]) {
            assert_eq!(meaning(code, true, true), Meaning::Transient(""), "{code}");
        }
    }

    #[test]
    fn the_reason_is_the_last_failure_without_secrets() {
        let apprise = made("url = 'slack://T0PSECRET/hunter2%21x'").expect("an apprise");
        let reason =
            |lines: &[&str]| apprise.reason(&lines.iter().map(|&line| line.to_owned()).collect::<Vec<_>>());
        assert_eq!(
            reason(&[
                "2026-05-05 12:00:00,000 - INFO - Notifying 1 service(s) asynchronously.",
                "2026-05-05 12:00:01,000 - INFO - Sent Slack notification.",
                "",
            ]),
            "Sent Slack notification."
        );
        assert_eq!(
            reason(&[
                "2026-05-05 12:00:00,000 - WARNING - Failed to send to T0PSECRET: hunter2!x, hunter2%21x.",
                "2026-05-05 12:00:01,000 - INFO - Sent Slack notification.",
            ]),
            "Failed to send to ***: ***, ***."
        );
        assert_eq!(
            reason(&[
                "2026-05-05 12:00:00,000 - ERROR - Could not load Discord URL: discord://0THERSECRET/x",
                "2026-05-05 12:00:00,001 - ERROR - You must specify at least one server URL or populated \
                 configuration file.",
                "Usage:  [OPTIONS] SERVER_URL",
            ]),
            "Could not load Discord URL: discord://…"
        );
        assert_eq!(
            reason(&["Traceback:", "ModuleNotFoundError: No module named 'apprise'", " "]),
            "ModuleNotFoundError: No module named 'apprise'"
        );
        assert_eq!(reason(&[]), "");
    }

    #[test]
    fn every_part_of_a_url_may_be_secret() {
        let parts = parts("mailtos://me%40home:pa%3Aword@host.example/?to=you@example.com&key=s3cretkey");
        for part in ["me@home", "me%40home", "pa:word", "host.example", "s3cretkey", "example.com"] {
            assert!(parts.iter().any(|found| found == part), "{part}: {parts:?}");
        }
        assert!(!parts.iter().any(|part| part == "key" || part == "to"), "{parts:?}");
    }
}
