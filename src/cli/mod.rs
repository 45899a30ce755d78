//! The command line: parses the arguments, runs one command, prints its output and returns its exit code.
//!
//! A command reads its input through an [`Invocation`] and renders text for a [`terminal::Terminal`]. An
//! error is one line on standard error that begins with `statusd: ` and ends with the next step.

mod args;
mod commands;
mod csv;
#[cfg(test)]
mod documents;
mod flags;
mod man;
mod phrases;
mod service_state;
mod state;
mod terminal;
mod timeline;
mod usage;

use std::ffi::OsString;
use std::future::Future;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::cause::Cause;
use crate::config::{self as settings, Config, ConfigError, Environment, Overrides};
use crate::daemon;
use crate::exit_code::{self, CANNOT_TELL, CANNOT_WRITE, CONFIGURATION, DONE, FAILED, WRONG_USAGE};
use crate::proxy::Proxies;
use crate::store::{OpenError, Store};
use crate::tracking::watchlist::near;
use crate::{clock, logging, regular_file, text};
use args::{Cli, CliCommand, Color};
use terminal::Page;

const DEFAULT_COLUMNS: usize = 80;
/// Lines get hard to read beyond, and tables fall apart below.
const COLUMNS: std::ops::RangeInclusive<usize> = 40..=200;
const MAX_ERROR_CHARS: usize = 1_000;
const NOT_RUN_YET: &str = "statusd has not run here yet: start it with `statusd run`";

/// What a command has to say, and its exit code.
#[derive(Debug, PartialEq, Eq)]
struct Output {
    text: String,
    code: u8,
}

impl Output {
    fn done(text: String) -> Output {
        Output { text, code: DONE }
    }
}

/// Why a command could not do its work.
#[derive(Debug, PartialEq, Eq)]
struct Failure {
    code: u8,
    /// One line that says what to do.
    message: String,
    /// More lines of the kind, where several things are wrong.
    others: Vec<String>,
}

impl Failure {
    fn new(code: u8, message: impl Into<String>) -> Failure {
        Failure { code, message: message.into(), others: Vec::new() }
    }

    fn failed(message: impl Into<String>) -> Failure {
        Failure::new(FAILED, message)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Failure {
        let mut lines = error.lines();
        let message = lines.remove(0);
        Failure { code: exit_code::of_config(&error), message, others: lines }
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Failure {
        Failure::new(exit_code::of_open(&error), error.to_string())
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Failure {
        Failure::new(CANNOT_WRITE, format!("cannot use the database: {}; try again", error.reason()))
    }
}

/// What a command may know of the world.
struct Invocation<'a> {
    overrides: Overrides,
    environment: &'a Environment<'a>,
    /// The command line behind the program's name.
    arguments: Vec<String>,
    now: Timestamp,
    columns: usize,
    color: bool,
    /// On standard error.
    color_log: bool,
}

impl Invocation<'_> {
    /// The configuration, of which nothing may be wrong.
    fn config(&self) -> Result<Config, Failure> {
        let config = settings::load(&self.overrides, self.environment)?;
        warn_of_zone(&config);
        Ok(config)
    }

    /// The same, with the faults of the files that it names where there are others.
    fn whole_config(&self) -> Result<Config, Failure> {
        match settings::load_usable(&self.overrides, self.environment) {
            (config, Some(error)) => Err(daemon::all_faults(error, config, self.environment).into()),
            (_, None) => self.config(),
        }
    }

    /// The configuration with defaults in place of what is wrong with its file; warns of that.
    ///
    /// # Errors
    ///
    /// A flag or a variable is wrong, or the file that they name cannot be opened.
    fn usable_config(&self) -> Result<(Config, Option<ConfigError>), Failure> {
        let (config, error) = settings::load_usable(&self.overrides, self.environment);
        let is_lost = self.overrides.config.as_ref().is_some_and(|file| regular_file::open(file).is_err());
        match &error {
            Some(error) if error.is_usage() || is_lost => return Err(error.clone().into()),
            Some(error) => {
                for line in error.lines() {
                    complain(&format!("warning: {line}"));
                }
            }
            None => {}
        }
        warn_of_zone(&config);
        Ok((config, error))
    }

    fn page<'z>(&self, zone: &'z TimeZone) -> Page<'z> {
        Page { width: self.columns, color: self.color, zone, now: self.now }
    }
}

fn warn_of_zone(config: &Config) {
    if let Some(fault) = &config.zone_fault {
        complain(&format!("warning: {fault}; times are shown in UTC"));
    }
}

/// The program, on the real command line, environment and terminal.
pub fn main() -> ExitCode {
    let variables: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    let arguments: Vec<OsString> = std::env::args_os().collect();
    ExitCode::from(run(arguments, &variables))
}

fn run(arguments: Vec<OsString>, variables: &[(OsString, OsString)]) -> u8 {
    let environment = |name: &str| environment(variables, name);
    let cli = match flags::parse(&arguments) {
        Ok(cli) => cli,
        Err(error) => return usage::refuse(&error, &arguments),
    };
    match started(&cli, arguments, variables, &environment) {
        Ok(code) => code,
        Err(failure) => {
            for line in std::iter::once(&failure.message).chain(&failure.others) {
                complain(line);
            }
            // A monitor would read any other exit code of `check` as a status.
            if matches!(cli.command, CliCommand::Check(_)) { CANNOT_TELL } else { failure.code }
        }
    }
}

/// Returns the value of a variable. An empty variable counts as unset everywhere.
fn environment(variables: &[(OsString, OsString)], name: &str) -> Option<String> {
    let value = variables.iter().find(|(known, _)| known == name)?.1.to_str()?;
    (!value.is_empty()).then(|| value.to_owned())
}

fn started(
    cli: &Cli,
    arguments: Vec<OsString>,
    variables: &[(OsString, OsString)],
    environment: &Environment,
) -> Result<u8, Failure> {
    let set = variables.iter().filter(|(_, value)| !value.is_empty());
    settings::check_names(set.filter_map(|(name, _)| name.to_str()))?;
    let mut overrides = cli.settings.overrides();
    overrides.fill(environment)?;
    let invocation = Invocation {
        overrides,
        environment,
        arguments: arguments.iter().skip(1).map(|word| word.to_string_lossy().into_owned()).collect(),
        now: clock::now(),
        columns: columns(environment),
        color: may_color(cli.settings.color, environment, io::stdout().is_terminal()),
        color_log: may_color(cli.settings.color, environment, io::stderr().is_terminal()),
    };
    if !matches!(cli.command, CliCommand::Run) {
        // A test message may go to the `log` channel, which writes at `info`.
        let is_test = matches!(cli.command, CliCommand::TestNotice { .. });
        let level = if is_test { settings::LogLevel::Info } else { settings::LogLevel::Warn };
        let zone = settings::system_zone(environment);
        logging::init(level, settings::LogFormat::Human, false, invocation.color_log, zone);
    }
    warn_of_proxies(&cli.command, environment);
    let output = dispatch(&cli.command, &invocation)?;
    print(&output.text)?;
    Ok(output.code)
}

/// Warns of unusable proxy variables before a command that connects to servers. The daemon logs them
/// instead, and `doctor` has a check of its own.
fn warn_of_proxies(command: &CliCommand, environment: &Environment) {
    let goes_out = match command {
        CliCommand::Check(_) | CliCommand::Services(_) | CliCommand::TestNotice { .. } => true,
        CliCommand::Drill(drill) => !drill.dry,
        CliCommand::Config { command } => matches!(command, args::ConfigArgs::Check),
        _ => false,
    };
    for fault in Proxies::read(environment).faults.iter().filter(|_| goes_out) {
        complain(&format!("warning: {fault} (connections are made without it)"));
    }
}

/// One short function a command.
fn dispatch(command: &CliCommand, invocation: &Invocation) -> Result<Output, Failure> {
    match command {
        CliCommand::Run => commands::run::run(invocation),
        CliCommand::Check(check) => commands::check::run(check, invocation),
        CliCommand::Status { json } => commands::status::run(*json, invocation),
        CliCommand::History(history) => commands::history::run(history, invocation),
        CliCommand::Fleet(fleet) => commands::fleet::run(fleet, invocation),
        CliCommand::Services(services) => commands::services::run(services, invocation),
        CliCommand::Outbox(outbox) => commands::outbox::run(outbox, invocation),
        CliCommand::Ack(ack) => commands::ack::run(ack, invocation),
        CliCommand::Snooze { wish } => commands::snooze::run(wish.as_deref(), invocation),
        CliCommand::TestNotice { channels } => commands::test_notice::run(channels, invocation),
        CliCommand::Drill(drill) => commands::drill::run(drill, invocation),
        CliCommand::Doctor(doctor) => commands::doctor::run(doctor, invocation),
        CliCommand::Guide(guide) => commands::guide::run(guide, invocation),
        CliCommand::Replay(replay) => commands::replay::run(replay, invocation),
        CliCommand::Service { command } => commands::service::run(command, invocation),
        CliCommand::Config { command } => commands::config::run(command, invocation),
        CliCommand::Completions { shell } => Ok(commands::generate::completions(*shell)),
        CliCommand::Man(man) => commands::generate::man(man),
        CliCommand::Complete(complete) => Ok(commands::complete::run(complete, invocation)),
    }
}

/// Runs one thing that waits, on a runtime of its own.
fn wait<T>(future: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start: {}; try again", error.reason())))?;
    let outcome = runtime.block_on(future);
    // A name that is still being looked up on another thread must not hold up the answer.
    runtime.shutdown_background();
    Ok(outcome)
}

/// A name that is none of Apple's, with the nearest ones.
fn unknown_service<'n>(text: &str, names: impl Iterator<Item = &'n str>) -> Failure {
    let text = phrases::shown(text);
    let near = near(&text, names);
    let help = match near.as_slice() {
        [] => "`statusd services` shows Apple's names".to_owned(),
        near => format!("did you mean {}?", near.join(" or ")),
    };
    Failure::new(WRONG_USAGE, format!("unknown service {text:?}; {help}"))
}

/// The database beside the daemon.
fn store(config: &Config, writable: bool) -> Result<Store, Failure> {
    Store::open_existing(&config.state_directory, writable)?.ok_or_else(|| Failure::failed(NOT_RUN_YET))
}

/// Writes to standard output. A reader that went away (`| head`) has what it wanted.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    printed(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

fn printed(outcome: io::Result<()>) -> Result<(), Failure> {
    match outcome {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(cannot_print(&error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn cannot_print(error: &io::Error) -> Failure {
    Failure::new(CANNOT_WRITE, format!("cannot write the output: {}; check where it goes", error.reason()))
}

fn complain(message: &str) {
    // Where standard error is closed too there is nobody left to tell.
    let _ = writeln!(io::stderr(), "statusd: {}", text::plain_line(message, MAX_ERROR_CHARS));
}

fn columns(environment: &Environment) -> usize {
    let given =
        environment("COLUMNS").and_then(|text| text.trim().parse().ok()).filter(|columns| *columns > 0);
    let of_terminal = || terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| usize::from(width.0));
    let columns = given.or_else(of_terminal).unwrap_or(DEFAULT_COLUMNS);
    columns.clamp(*COLUMNS.start(), *COLUMNS.end())
}

/// A flag beats NO_COLOR, as <https://no-color.org> has it.
fn may_color(choice: Color, environment: &Environment, is_terminal: bool) -> bool {
    let is_set = |name| environment(name).is_some_and(|value| !value.is_empty());
    match choice {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => {
            is_terminal && !is_set("NO_COLOR") && environment("TERM").is_none_or(|term| term != "dumb")
        }
    }
}

#[cfg(test)]
pub mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    /// Holds a document to the example under its heading in `docs/json.md`: the same fields, in the
    /// objects and in the first elements of the arrays of both.
    #[track_caller]
    pub fn check_documented(heading: &str, document: &Value) {
        let reference = include_str!("../../docs/json.md");
        let chapter = reference.split("\n## ").find(|chapter| chapter.starts_with(heading));
        let example = chapter.and_then(|chapter| chapter.split("```json").nth(1)).expect("an example");
        let example = example.split("```").next().unwrap_or_default();
        check_fields(heading, &serde_json::from_str(example).expect("JSON"), document);
    }

    #[track_caller]
    fn check_fields(place: &str, example: &Value, document: &Value) {
        match (example, document) {
            // Documented as a change, and held to that example elsewhere.
            (Value::Object(_), Value::Object(_)) if place.ends_with(".change") => {}
            (Value::Object(example), Value::Object(document)) => {
                let fields = |object: &serde_json::Map<String, Value>| object.keys().cloned().collect();
                let (expected, found): (BTreeSet<String>, BTreeSet<String>) =
                    (fields(example), fields(document));
                assert_eq!(found, expected, "{place}");
                for (name, value) in example {
                    check_fields(&format!("{place}.{name}"), value, &document[name]);
                }
            }
            (Value::Array(example), Value::Array(document)) => {
                if let (Some(example), Some(document)) = (example.first(), document.first()) {
                    check_fields(place, example, document);
                }
            }
            _ => {}
        }
    }

    #[test]
    fn the_arguments_are_sound() {
        flags::command().debug_assert();
    }

    #[test]
    fn colour_needs_a_terminal_that_wants_it() {
        #[track_caller]
        fn check(choice: Color, variable: &str, value: &str, is_terminal: bool, expected: bool) {
            let environment = |name: &str| (name == variable).then(|| value.to_owned());
            assert_eq!(may_color(choice, &environment, is_terminal), expected);
        }
        check(Color::Auto, "", "", true, true);
        check(Color::Auto, "", "", false, false);
        check(Color::Auto, "NO_COLOR", "1", true, false);
        check(Color::Auto, "NO_COLOR", "", true, true);
        check(Color::Auto, "TERM", "dumb", true, false);
        check(Color::Never, "", "", true, false);
        check(Color::Always, "NO_COLOR", "1", false, true);
    }

    #[test]
    fn columns_can_be_given() {
        for (given, expected) in [("100", 100), ("7", 40), ("9999", 200)] {
            assert_eq!(columns(&|name| (name == "COLUMNS").then(|| given.to_owned())), expected);
        }
    }
}
