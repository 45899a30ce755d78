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

use crate::cli::context::{CommandError, Invocation, Output};
use crate::cli::phrases::printable;

pub fn run(invocation: &Invocation) -> Result<Output, CommandError> {
    let config = invocation.config_with_all_errors()?;
    let is_journal = is_journal(invocation.environment);
    let zone = config.time_zone.clone();
    logging::init(config.log_level, config.log_format, is_journal, invocation.color_log, zone.clone());
    for error in Proxies::read(invocation.environment).errors {
        tracing::warn!("{error} (connections are made without it)");
    }
    let is_text_log = matches!(config.log_format, LogFormat::Auto | LogFormat::Human);
    let is_interactive = io::stderr().is_terminal() && is_text_log;
    let settings = settings(&config, config_candidates(invocation.environment));
    let print_step = move |step: StartStep<'_>| {
        if is_interactive {
            let text = match step {
                StartStep::Ready => format!("{settings}Polling Apple's feed now. Press Ctrl-C to stop.\n"),
                StartStep::Polled { state, at, next } => first_poll(state, at, next, &zone),
            };
            // The daemon keeps running if the terminal is closed.
            let _ignored = io::stderr().write_all(text.as_bytes());
        }
    };
    match daemon::run(config, &invocation.overrides, invocation.environment, Box::new(print_step)) {
        Ok(()) => Ok(Output::done(String::new())),
        Err(failure) => Err(CommandError::new(failure.exit_code(), failure.to_string())),
    }
}

/// Returns the most important settings, one per line.
fn settings(config: &Config, candidates: Vec<PathBuf>) -> String {
    let file = match &config.source {
        Some(path) => printable(&path.display().to_string()),
        None => {
            let paths: Vec<String> = candidates.iter().map(|path| path.display().to_string()).collect();
            format!("none ({}), so the defaults apply", printable(&paths.join(" or ")))
        }
    };
    let channels: Vec<String> = config.channel.enabled().map(|(name, ..)| printable(&name)).collect();
    let channels = match channels.as_slice() {
        [] => "no channel; `statusd history` shows the changes".to_owned(),
        channels => channels.join(", "),
    };
    let watched: Vec<String> = config.watch.iter().map(|name| printable(name)).collect();
    let state_directory = printable(&config.state_directory.display().to_string());
    format!(
        "statusd {}\n\
         Configuration: {file}\n\
         State directory: {state_directory}\n\
         Watching: {} in Apple's feed {}\n\
         Notifying: {channels}\n",
        env!("CARGO_PKG_VERSION"),
        watched.join(", "),
        config.feed,
    )
}

/// Returns for example `First poll at 14:05:20: Apple lists no problem with Photos. Next poll at 14:10:00.`
fn first_poll(state: &str, at: Timestamp, next: Timestamp, zone: &TimeZone) -> String {
    let clock = |time: Timestamp| time.to_zoned_datetime(zone.clone()).strftime("%H:%M:%S").to_string();
    let is_today = at.to_zoned_datetime(zone.clone()).date() == next.to_zoned_datetime(zone.clone()).date();
    let next = if is_today { clock(next) } else { when(next, at, zone) };
    format!("First poll at {}: {}. Next poll at {next}.\n", clock(at), printable(state))
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
    fn the_start_prints_the_settings_and_the_channels() {
        let mut config = configured("[channel.desktop]\nenabled = false\n");
        config.source = None;
        let candidates = vec!["/home/me/statusd.toml".into(), "/etc/statusd/statusd.toml".into()];
        let text = settings(&config, candidates);
        let lines: Vec<&str> = text.lines().collect();
        let [version, file, state, watching, notifying] = lines[..] else { panic!("{text}") };
        assert_eq!(version, format!("statusd {}", env!("CARGO_PKG_VERSION")));
        let none =
            "Configuration: none (/home/me/statusd.toml or /etc/statusd/statusd.toml), so the defaults apply";
        assert_eq!(file, none);
        assert!(state.starts_with("State directory: /home/me/"), "{state}");
        assert_eq!(watching, "Watching: iCloud Backup in Apple's feed consumer/en_US");
        assert_eq!(notifying, "Notifying: log");

        let off = "[channel.desktop]\nenabled = false\n[channel.log]\nenabled = false\n";
        let text = settings(&configured(off), Vec::new());
        let state = "/statusd.toml\nState directory: ";
        assert!(text.contains("Configuration: /") && text.contains(state), "{text}");
        assert!(text.ends_with("Notifying: no channel; `statusd history` shows the changes\n"), "{text}");
    }

    #[test]
    fn the_first_poll_prints_its_result_and_the_next_poll() {
        let berlin = TimeZone::get("Europe/Berlin").expect("a zone");
        let at = |time: &str| time.parse::<Timestamp>().expect("a time");
        let first = at("2026-05-05T12:05:20Z");
        let text =
            first_poll("Apple lists no problem with Photos", first, at("2026-05-05T12:10:00Z"), &berlin);
        assert_eq!(
            text,
            "First poll at 14:05:20: Apple lists no problem with Photos. Next poll at 14:10:00.\n"
        );
        let text = first_poll("cannot tell: no\nnetwork", first, at("2026-05-06T12:10:00Z"), &berlin);
        let expected = "First poll at 14:05:20: cannot tell: no network. Next poll at Wed 6 May 14:10.\n";
        assert_eq!(text, expected);
    }
}
