//! `statusd run`: runs the daemon in the foreground, and prints the start-up on a terminal.
//!
//! If standard error is not a terminal, as under a service manager, only the log is written to it.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::config::{Config, Environment, LogFormat, config_candidates};
use crate::daemon::{self, StartStep};
use crate::delivery::message::time_format::when;
use crate::logging;
use crate::proxy::Proxies;

use crate::cli::phrases::shown;
use crate::cli::{Failure, Invocation, Output};

pub fn run(invocation: &Invocation) -> Result<Output, Failure> {
    let config = invocation.whole_config()?;
    let is_journal = is_journal(invocation.environment);
    let zone = config.time_zone.clone();
    logging::init(config.log_level, config.log_format, is_journal, invocation.color_log, zone.clone());
    for fault in Proxies::read(invocation.environment).faults {
        tracing::warn!("{fault} (connections are made without it)");
    }
    let is_for_people = matches!(config.log_format, LogFormat::Auto | LogFormat::Human);
    let is_watched = io::stderr().is_terminal() && is_for_people;
    let found = found(&config, config_candidates(invocation.environment));
    let tell = move |step: StartStep<'_>| {
        if is_watched {
            let text = match step {
                StartStep::Ready => format!("{found}Polling Apple's feed now. Press Ctrl-C to stop.\n"),
                StartStep::Polled { state, at, next } => polled(state, at, next, &zone),
            };
            // A terminal that was closed is no reason to end.
            let _unseen = io::stderr().write_all(text.as_bytes());
        }
    };
    match daemon::run(config, &invocation.overrides, invocation.environment, Box::new(tell)) {
        Ok(()) => Ok(Output::done(String::new())),
        Err(failure) => Err(Failure::new(failure.exit_code(), failure.to_string())),
    }
}

/// What it works with, a line each.
fn found(config: &Config, candidates: Vec<PathBuf>) -> String {
    let file = match &config.source {
        Some(path) => shown(&path.display().to_string()),
        None => {
            let places: Vec<String> = candidates.iter().map(|path| path.display().to_string()).collect();
            format!("none ({}), so the defaults apply", shown(&places.join(" or ")))
        }
    };
    let channels = config.channel.all().into_iter().filter(|(_, table)| table.is_enabled());
    let channels: Vec<String> = channels.map(|(name, _)| shown(&name)).collect();
    let channels = match channels.as_slice() {
        [] => "no channel; `statusd history` shows what happened".to_owned(),
        channels => channels.join(", "),
    };
    let watched: Vec<String> = config.watch.iter().map(|name| shown(name)).collect();
    let state = shown(&config.state_directory.display().to_string());
    format!(
        "statusd {}\n\
         Configuration: {file}\n\
         State: {state}\n\
         Watching: {} in Apple's feed {}\n\
         Announcing on: {channels}\n",
        env!("CARGO_PKG_VERSION"),
        watched.join(", "),
        config.feed,
    )
}

/// `First poll at 14:05:20: Apple lists no problem with Photos. Next poll at 14:10:00.`
fn polled(state: &str, at: Timestamp, next: Timestamp, zone: &TimeZone) -> String {
    let clock = |time: Timestamp| time.to_zoned(zone.clone()).strftime("%H:%M:%S").to_string();
    let is_today = at.to_zoned(zone.clone()).date() == next.to_zoned(zone.clone()).date();
    let next = if is_today { clock(next) } else { when(next, at, zone) };
    format!("First poll at {}: {}. Next poll at {next}.\n", clock(at), shown(state))
}

/// Returns true if standard error is the journal.
///
/// `JOURNAL_STREAM` alone is not enough, because programs with another standard error inherit it. Its
/// device and inode numbers must match.
fn is_journal(environment: &Environment) -> bool {
    let Some(stream) = environment("JOURNAL_STREAM") else { return false };
    let file = io::stderr().as_fd().try_clone_to_owned().map(File::from);
    let metadata = file.and_then(|file| file.metadata());
    metadata.is_ok_and(|metadata| stream == format!("{}:{}", metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Overrides};

    fn configured(text: &str) -> Config {
        let directory = tempfile::TempDir::new().expect("a directory");
        let path = directory.path().join("statusd.toml");
        std::fs::write(&path, text).expect("written");
        let overrides = Overrides { config: Some(path), ..Overrides::default() };
        let environment = |name: &str| (name == "HOME").then(|| "/home/me".to_owned());
        config::load(&overrides, &environment).expect("good")
    }

    #[test]
    fn a_start_says_what_was_found_and_where_news_go() {
        let mut config = configured("[channel.desktop]\nenabled = false\n");
        config.source = None;
        let candidates = vec!["/home/me/statusd.toml".into(), "/etc/statusd/statusd.toml".into()];
        let text = found(&config, candidates);
        let lines: Vec<&str> = text.lines().collect();
        let [version, file, state, watching, announcing] = lines[..] else { panic!("{text}") };
        assert_eq!(version, format!("statusd {}", env!("CARGO_PKG_VERSION")));
        let none =
            "Configuration: none (/home/me/statusd.toml or /etc/statusd/statusd.toml), so the defaults apply";
        assert_eq!(file, none);
        assert!(state.starts_with("State: /home/me/"), "{state}");
        assert_eq!(watching, "Watching: iCloud Backup in Apple's feed consumer/en_US");
        assert_eq!(announcing, "Announcing on: log");

        let off = "[channel.desktop]\nenabled = false\n[channel.log]\nenabled = false\n";
        let text = found(&configured(off), Vec::new());
        assert!(text.contains("Configuration: /") && text.contains("/statusd.toml\nState: "), "{text}");
        assert!(
            text.ends_with("Announcing on: no channel; `statusd history` shows what happened\n"),
            "{text}"
        );
    }

    #[test]
    fn the_first_poll_says_what_it_saw_and_when_the_next_one_is() {
        let berlin = TimeZone::get("Europe/Berlin").expect("a zone");
        let at = |time: &str| time.parse::<Timestamp>().expect("a time");
        let first = at("2026-05-05T12:05:20Z");
        let text = polled("Apple lists no problem with Photos", first, at("2026-05-05T12:10:00Z"), &berlin);
        assert_eq!(
            text,
            "First poll at 14:05:20: Apple lists no problem with Photos. Next poll at 14:10:00.\n"
        );
        let text = polled("cannot tell: no\nnetwork", first, at("2026-05-06T12:10:00Z"), &berlin);
        let expected = "First poll at 14:05:20: cannot tell: no network. Next poll at Wed 6 May 14:10.\n";
        assert_eq!(text, expected);
    }
}
