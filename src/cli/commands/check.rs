//! `statusd check`: one fetch, the state of some services, and an exit code for monitors.
//!
//! Uses neither the database nor the daemon. The exit code is 2 only if Apple reports an outage, and 0
//! only if the feed was read and lists no problem (`the_worst_service_decides_in_the_order_2_3_1_0`).

use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::config::{Config, ConfigError};
use crate::daemon;
use crate::delivery::message::advice::{NO_PROBLEM, POSTS_LATE};
use crate::delivery::payload::VERSION;
use crate::exit_code::{CANNOT_TELL, DONE, ISSUE, OUTAGE, WRONG_USAGE};
use crate::feed::fetch::{self, FetchLimits, Fetcher};
use crate::model::Document;
use crate::report::state::State;
use crate::text::counted;

use crate::cli::args::{CheckArgs, CheckFormat};
use crate::cli::context::{CommandError, Invocation, Output, block_on};
use crate::cli::phrases::printable;
use crate::cli::service_state::{ServiceReport, reports};
use crate::cli::terminal::Terminal;

/// The name of the check, at the start of a Nagios line.
const NAGIOS_NAME: &str = "APPLE";

/// The reason why the feed could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadableFeed {
    /// A code for programs.
    pub code: &'static str,
    pub fault: &'static str,
    /// A sentence for people.
    pub reason: String,
}

/// The result of one fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedCheck {
    pub feed: String,
    /// Apple's notice above the list of services.
    pub banner: Option<String>,
    pub reports: Result<Vec<ServiceReport>, UnreadableFeed>,
}

pub fn run(args: &CheckArgs, invocation: &Invocation) -> Result<Output, CommandError> {
    let (result, zone) = match check(args, invocation) {
        Ok(checked) => checked,
        // Monitors show only standard output.
        Err(failure) if args.format == CheckFormat::Nagios => {
            return Ok(Output { text: nagios_line("UNKNOWN", &failure.message, ""), code: CANNOT_TELL });
        }
        Err(failure) => return Err(failure),
    };
    let terminal = invocation.terminal(&zone);
    let text = match args.format {
        _ if args.json => format!("{:#}\n", result.json(&terminal)),
        CheckFormat::Text => result.text(args.verbose, &terminal),
        CheckFormat::Nagios => result.nagios(&terminal),
    };
    Ok(Output { text, code: result.code() })
}

fn check(args: &CheckArgs, invocation: &Invocation) -> Result<(FeedCheck, TimeZone), CommandError> {
    let (config, error) = lenient_config(invocation)?;
    if args.services.is_empty() && error.is_some() && !config.is_watch_given() {
        // The default services may not be the ones that the file names.
        let cause = "cannot tell which services to check: the configuration cannot be read";
        let advice = "name the services, or see `statusd config check`";
        return Err(CommandError::new(CANNOT_TELL, format!("{cause}; {advice}")));
    }
    let services = if args.services.is_empty() { &config.watch } else { &args.services };
    if services.iter().any(|name| name.trim().is_empty()) {
        return Err(CommandError::new(WRONG_USAGE, "a SERVICE is blank; `statusd services` shows the names"));
    }
    let polled = poll(&config)?;
    let banner = polled.as_ref().ok().and_then(|document| document.banner.clone());
    let reports = polled.map(|document| reports(&document, services, invocation.now));
    Ok((FeedCheck { feed: config.feed.to_string(), banner, reports }, config.time_zone))
}

/// Loads the configuration, with defaults if the file in the default path is invalid: errors in the
/// daemon's file must not break a check. A file given with `--config` must be valid.
fn lenient_config(invocation: &Invocation) -> Result<(Config, Option<ConfigError>), CommandError> {
    if invocation.overrides.config.is_some() {
        return Ok((invocation.config()?, None));
    }
    invocation.usable_config()
}

/// Fetches the feed once. The outer error is in the configuration, the inner one in the fetch.
pub fn poll(config: &Config) -> Result<Result<Document, UnreadableFeed>, CommandError> {
    let ca_file = config.ca_file.as_deref();
    let mut fetcher = Fetcher::new(daemon::feed_url(config)?, FetchLimits::default(), ca_file)
        .map_err(|error| config.error_in("feed", error))?;
    Ok(block_on(fetcher.first_fetch())?.map_err(|error| unreadable(&error)))
}

fn unreadable(error: &fetch::FetchError) -> UnreadableFeed {
    UnreadableFeed { code: error.code(), fault: error.fault().as_str(), reason: error.to_string() }
}

impl FeedCheck {
    fn state(&self) -> State {
        match &self.reports {
            Ok(reports) => reports.iter().map(|report| report.state).min().unwrap_or(State::CannotTell),
            Err(_) => State::CannotTell,
        }
    }

    fn code(&self) -> u8 {
        match self.state() {
            State::Fine => DONE,
            State::Issue | State::Maintenance => ISSUE,
            State::Outage => OUTAGE,
            State::CannotTell => CANNOT_TELL,
        }
    }

    fn text(&self, verbose: bool, terminal: &Terminal) -> String {
        let banner = self.banner.as_ref();
        let banner =
            banner.map(|banner| terminal.paragraph(0, &format!("Apple says: {}", printable(banner))));
        let states: String = match &self.reports {
            Ok(reports) => reports.iter().map(|report| report.paragraph(terminal)).collect(),
            Err(unreadable) => {
                terminal.paragraph(0, &format!("cannot tell: {}", printable(&unreadable.reason)))
            }
        };
        let has_fine = self.reports.iter().flatten().any(|report| report.state == State::Fine);
        let caveat = (verbose && has_fine).then(|| terminal.paragraph(0, POSTS_LATE));
        format!("{}{states}{}", banner.unwrap_or_default(), caveat.unwrap_or_default())
    }

    fn nagios(&self, terminal: &Terminal) -> String {
        let word = match self.state() {
            State::Fine => "OK",
            State::Issue | State::Maintenance => "WARNING",
            State::Outage => "CRITICAL",
            State::CannotTell => "UNKNOWN",
        };
        let reports = match &self.reports {
            Ok(reports) => reports,
            Err(unreadable) => return nagios_line(word, &unreadable.reason, ""),
        };
        let count = |state| reports.iter().filter(|report| report.state == state).count();
        let problems: Vec<String> = reports
            .iter()
            .filter(|report| report.state != State::Fine)
            .map(|report| format!("{}: {}", report.service, report.summary(terminal)))
            .collect();
        let text = match (problems.as_slice(), reports.as_slice()) {
            ([], [only]) => format!("{NO_PROBLEM} with {}", only.service),
            ([], all) => format!("{NO_PROBLEM} with {}", counted(all.len(), "service")),
            (problems, _) => problems.join("; "),
        };
        let counts = format!(
            "services={} outages={} issues={} maintenance={} unknown={}",
            reports.len(),
            count(State::Outage),
            count(State::Issue),
            count(State::Maintenance),
            count(State::CannotTell)
        );
        nagios_line(word, &text, &counts)
    }

    fn json(&self, terminal: &Terminal) -> Value {
        let unreadable = self.reports.as_ref().err();
        let reports = self.reports.as_deref().unwrap_or_default();
        json!({
            "version": VERSION,
            "at": terminal.now,
            "feed": self.feed,
            "verdict": self.state().as_str(),
            "exit_code": self.code(),
            "cannot_tell": unreadable.map(|unreadable| json!({
                "word": unreadable.code, "fault": unreadable.fault, "text": unreadable.reason,
            })),
            "apple_says": self.banner,
            "services": reports.iter().map(ServiceReport::json).collect::<Vec<Value>>(),
        })
    }
}

/// Returns `NAME STATE - text | numbers`. Bars in the text are replaced, because a bar starts the numbers.
fn nagios_line(word: &str, text: &str, counts: &str) -> String {
    let text = printable(text).replace('|', "/");
    let counts = if counts.is_empty() { String::new() } else { format!(" | {counts}") };
    format!("{NAGIOS_NAME} {word} - {text}{counts}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::documents::check_documented;
    use crate::cli::service_state::tests::{document, terminal};

    fn checked(names: &[&str]) -> FeedCheck {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let reports = Ok(reports(&document(), &names, terminal(false).now));
        FeedCheck { feed: "consumer/en_US".to_owned(), banner: None, reports }
    }

    #[test]
    fn the_worst_service_decides_in_the_order_2_3_1_0() {
        #[track_caller]
        fn check(names: &[&str], code: u8) {
            assert_eq!(checked(names).code(), code, "{names:?}");
        }
        check(&["Photos"], 0);
        check(&["Photos", "iCloud Mail"], 2);
        check(&["Apple Pay*", "Photos"], 1);
        check(&["Photos", "Mail Drop"], 3);
        check(&["Photos", "iCloud Mail", "Mail Drop"], 2);
        check(&["iCloud Bakup"], 3);
        check(&["Mail Drop", "iCloud Backup", "Photos"], 2);
        check(&["nothing*"], 3);
    }

    #[test]
    fn nagios_output_is_one_line() {
        #[track_caller]
        fn check(result: &FeedCheck, expected: &str) {
            assert_eq!(result.nagios(&terminal(false)), format!("{expected}\n"));
        }
        check(
            &checked(&["Photos"]),
            "APPLE OK - Apple lists no problem with Photos | services=1 outages=0 issues=0 maintenance=0 unknown=0",
        );
        check(
            &checked(&["iCloud Backup", "Apple Pay*"]),
            "APPLE CRITICAL - iCloud Backup: outage since 10:11 (1 h 49 min); \
             Apple Pay Developer / Apple Pay Demo: maintenance since 11:00 (1 h), planned until 14:00 \
             | services=2 outages=1 issues=0 maintenance=1 unknown=0",
        );
        let unreadable =
            UnreadableFeed { code: "dns", fault: "ours", reason: "cannot find | the host".to_owned() };
        let result = FeedCheck { reports: Err(unreadable), ..checked(&[]) };
        check(&result, "APPLE UNKNOWN - cannot find / the host");
        assert_eq!(result.text(false, &terminal(false)), "cannot tell: cannot find | the host\n");
        assert_eq!(
            (result.code(), result.json(&terminal(false))["cannot_tell"]["word"].as_str()),
            (3, Some("dns"))
        );
    }

    #[test]
    fn verbose_output_mentions_that_apple_posts_late() {
        let verbose = checked(&["Photos"]).text(true, &terminal(false));
        assert_eq!(verbose.split_whitespace().collect::<Vec<_>>().join(" ").matches(POSTS_LATE).count(), 1);
        assert!(verbose.starts_with("Photos: Apple lists no problem\n"), "{verbose}");
        for (names, verbose) in [(&["Photos"][..], false), (&["iCloud Backup"], true), (&["Nothing"], true)] {
            let text = checked(names).text(verbose, &terminal(false));
            assert!(!text.contains("posts late"), "{text}");
        }
    }

    #[test]
    fn the_json_has_the_verdict_and_the_events() {
        let answer = checked(&["iCloud Backup"]).json(&terminal(false));
        check_documented("check", &answer);
        assert_eq!((&answer["verdict"], &answer["exit_code"]), (&json!("outage"), &json!(2)));
        let service = &answer["services"][0];
        assert_eq!(service["since"], json!("2026-05-05T10:11:00Z"));
        assert_eq!(service["events"][0]["outage_kind"], json!("Outage"));
        assert_eq!(service["events"][1]["state"], json!("over"));
    }

    #[test]
    fn apples_banner_comes_first_and_colour_marks_the_state() {
        let result = FeedCheck { banner: Some("Hello\u{1b}[2J".to_owned()), ..checked(&["iCloud Backup"]) };
        let text = result.text(false, &terminal(true));
        let expected = "Apple says: Hello[2J\n\u{1b}[1miCloud Backup:\u{1b}[0m\u{1b}[1;31m outage since";
        assert!(text.starts_with(expected), "{text:?}");
    }
}
