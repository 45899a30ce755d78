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
use crate::text::counted;

use crate::cli::args::{CheckArgs, CheckFormat};
use crate::cli::phrases::shown;
use crate::cli::service_state::{ServiceReport, State, standings};
use crate::cli::terminal::Page;
use crate::cli::{Failure, Invocation, Output, wait};

/// The name of the check, at the start of a Nagios line.
const NAGIOS_NAME: &str = "APPLE";

/// The reason why the feed could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blind {
    /// For programs.
    pub word: &'static str,
    pub fault: &'static str,
    /// A sentence for people.
    pub reason: String,
}

/// The result of one fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub feed: String,
    /// Apple's notice above the list of services.
    pub banner: Option<String>,
    pub standings: Result<Vec<ServiceReport>, Blind>,
}

pub fn run(check: &CheckArgs, invocation: &Invocation) -> Result<Output, Failure> {
    let answered = answer(check, invocation);
    let (answer, zone) = match answered {
        Ok(answered) => answered,
        // A monitor shows its people standard output only.
        Err(failure) if check.format == CheckFormat::Nagios => {
            return Ok(Output { text: nagios_line("UNKNOWN", &failure.message, ""), code: CANNOT_TELL });
        }
        Err(failure) => return Err(failure),
    };
    let page = invocation.page(&zone);
    let text = match check.format {
        _ if check.json => format!("{:#}\n", answer.json(&page)),
        CheckFormat::Text => answer.text(check.verbose, &page),
        CheckFormat::Nagios => answer.nagios(&page),
    };
    Ok(Output { text, code: answer.code() })
}

fn answer(check: &CheckArgs, invocation: &Invocation) -> Result<(Answer, TimeZone), Failure> {
    let (config, error) = lenient_config(invocation)?;
    if check.services.is_empty() && error.is_some() && !config.is_watch_given() {
        // The default would be an answer about something else.
        let what = "cannot tell which services to check: the configuration cannot be read";
        return Err(Failure::new(CANNOT_TELL, format!("{what}; name them, or see `statusd config check`")));
    }
    let asked = if check.services.is_empty() { &config.watch } else { &check.services };
    if asked.iter().any(|name| name.trim().is_empty()) {
        return Err(Failure::new(WRONG_USAGE, "a SERVICE is blank; `statusd services` shows the names"));
    }
    let polled = poll(&config)?;
    let banner = polled.as_ref().ok().and_then(|document| document.banner.clone());
    let standings = polled.map(|document| standings(&document, asked, invocation.now));
    Ok((Answer { feed: config.feed.to_string(), banner, standings }, config.time_zone))
}

/// The configuration, with defaults where the file that lies around is broken: a check must not fail
/// over the daemon's troubles. A file that was asked for has to be right.
fn lenient_config(invocation: &Invocation) -> Result<(Config, Option<ConfigError>), Failure> {
    if invocation.overrides.config.is_some() {
        return Ok((invocation.config()?, None));
    }
    invocation.usable_config()
}

/// One fetch. The outer error is ours, the inner one the feed's.
pub fn poll(config: &Config) -> Result<Result<Document, Blind>, Failure> {
    let ca_file = config.ca_file.as_deref();
    let mut fetcher = Fetcher::new(daemon::feed_url(config)?, FetchLimits::default(), ca_file)
        .map_err(|words| config.error_in("feed", &words))?;
    Ok(wait(fetcher.first_fetch())?.map_err(|failure| blind(&failure)))
}

fn blind(failure: &fetch::FetchError) -> Blind {
    Blind { word: failure.word(), fault: failure.fault().as_str(), reason: failure.to_string() }
}

impl Answer {
    fn state(&self) -> State {
        match &self.standings {
            Ok(standings) => {
                standings.iter().map(|standing| standing.state).min().unwrap_or(State::CannotTell)
            }
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

    fn text(&self, verbose: bool, page: &Page) -> String {
        let banner = self.banner.as_ref();
        let banner = banner.map(|banner| page.paragraph(0, &format!("Apple says: {}", shown(banner))));
        let answer: String = match &self.standings {
            Ok(standings) => standings.iter().map(|standing| standing.paragraph(page)).collect(),
            Err(blind) => page.paragraph(0, &format!("cannot tell: {}", shown(&blind.reason))),
        };
        let is_cleared = self.standings.iter().flatten().any(|standing| standing.state == State::Fine);
        let limit = (verbose && is_cleared).then(|| page.paragraph(0, POSTS_LATE));
        format!("{}{answer}{}", banner.unwrap_or_default(), limit.unwrap_or_default())
    }

    fn nagios(&self, page: &Page) -> String {
        let word = match self.state() {
            State::Fine => "OK",
            State::Issue | State::Maintenance => "WARNING",
            State::Outage => "CRITICAL",
            State::CannotTell => "UNKNOWN",
        };
        let standings = match &self.standings {
            Ok(standings) => standings,
            Err(blind) => return nagios_line(word, &blind.reason, ""),
        };
        let count = |state| standings.iter().filter(|standing| standing.state == state).count();
        let troubles: Vec<String> = standings
            .iter()
            .filter(|standing| standing.state != State::Fine)
            .map(|standing| format!("{}: {}", standing.service, standing.summary(page)))
            .collect();
        let text = match (troubles.as_slice(), standings.as_slice()) {
            ([], [only]) => format!("{NO_PROBLEM} with {}", only.service),
            ([], all) => format!("{NO_PROBLEM} with {}", counted(all.len(), "service")),
            (troubles, _) => troubles.join("; "),
        };
        let counts = format!(
            "services={} outages={} issues={} maintenance={} unknown={}",
            standings.len(),
            count(State::Outage),
            count(State::Issue),
            count(State::Maintenance),
            count(State::CannotTell)
        );
        nagios_line(word, &text, &counts)
    }

    fn json(&self, page: &Page) -> Value {
        let blind = self.standings.as_ref().err();
        let standings = self.standings.as_deref().unwrap_or_default();
        json!({
            "version": VERSION,
            "at": page.now,
            "feed": self.feed,
            "verdict": self.state().as_str(),
            "exit_code": self.code(),
            "cannot_tell": blind.map(|blind| json!({
                "word": blind.word, "fault": blind.fault, "text": blind.reason,
            })),
            "apple_says": self.banner,
            "services": standings.iter().map(ServiceReport::json).collect::<Vec<Value>>(),
        })
    }
}

/// Returns `NAME STATE - text | numbers`. Bars in the text are replaced, because a bar starts the numbers.
fn nagios_line(word: &str, text: &str, counts: &str) -> String {
    let text = shown(text).replace('|', "/");
    let counts = if counts.is_empty() { String::new() } else { format!(" | {counts}") };
    format!("{NAGIOS_NAME} {word} - {text}{counts}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::service_state::tests::{document, page};
    use crate::cli::tests::check_documented;

    fn asked(names: &[&str]) -> Answer {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let standings = Ok(standings(&document(), &names, page(false).now));
        Answer { feed: "consumer/en_US".to_owned(), banner: None, standings }
    }

    #[test]
    fn the_worst_service_decides_in_the_order_2_3_1_0() {
        #[track_caller]
        fn check(names: &[&str], code: u8) {
            assert_eq!(asked(names).code(), code, "{names:?}");
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
    fn monitors_get_one_line() {
        #[track_caller]
        fn check(answer: &Answer, expected: &str) {
            assert_eq!(answer.nagios(&page(false)), format!("{expected}\n"));
        }
        check(
            &asked(&["Photos"]),
            "APPLE OK - Apple lists no problem with Photos | services=1 outages=0 issues=0 maintenance=0 unknown=0",
        );
        check(
            &asked(&["iCloud Backup", "Apple Pay*"]),
            "APPLE CRITICAL - iCloud Backup: outage since 10:11 (1 h 49 min); \
             Apple Pay Developer / Apple Pay Demo: maintenance since 11:00 (1 h), planned until 14:00 \
             | services=2 outages=1 issues=0 maintenance=1 unknown=0",
        );
        let blind = Blind { word: "dns", fault: "ours", reason: "cannot find | the host".to_owned() };
        let answer = Answer { standings: Err(blind), ..asked(&[]) };
        check(&answer, "APPLE UNKNOWN - cannot find / the host");
        assert_eq!(answer.text(false, &page(false)), "cannot tell: cannot find | the host\n");
        assert_eq!(
            (answer.code(), answer.json(&page(false))["cannot_tell"]["word"].as_str()),
            (3, Some("dns"))
        );
    }

    #[test]
    fn who_asks_for_more_is_told_what_no_problem_is_worth() {
        let verbose = asked(&["Photos"]).text(true, &page(false));
        assert_eq!(verbose.split_whitespace().collect::<Vec<_>>().join(" ").matches(POSTS_LATE).count(), 1);
        assert!(verbose.starts_with("Photos: Apple lists no problem\n"), "{verbose}");
        for (names, verbose) in [(&["Photos"][..], false), (&["iCloud Backup"], true), (&["Nothing"], true)] {
            let text = asked(names).text(verbose, &page(false));
            assert!(!text.contains("posts late"), "{text}");
        }
    }

    #[test]
    fn programs_get_what_people_get() {
        let answer = asked(&["iCloud Backup"]).json(&page(false));
        check_documented("check", &answer);
        assert_eq!((&answer["verdict"], &answer["exit_code"]), (&json!("outage"), &json!(2)));
        let service = &answer["services"][0];
        assert_eq!(service["since"], json!("2026-05-05T10:11:00Z"));
        assert_eq!(service["events"][0]["outage_kind"], json!("Outage"));
        assert_eq!(service["events"][1]["state"], json!("over"));
    }

    #[test]
    fn apples_banner_comes_first_and_colour_marks_the_state() {
        let answer = Answer { banner: Some("Hello\u{1b}[2J".to_owned()), ..asked(&["iCloud Backup"]) };
        let text = answer.text(false, &page(true));
        let expected = "Apple says: Hello[2J\n\u{1b}[1miCloud Backup:\u{1b}[0m\u{1b}[1;31m outage since";
        assert!(text.starts_with(expected), "{text:?}");
    }
}
