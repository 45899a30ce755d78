//! Shared by all commands: their input ([`Invocation`]), their result ([`Output`] or [`CommandError`]),
//! and access to the configuration, the database and the terminal.
//!
//! Imports no command.

use std::future::Future;
use std::io::{self, IsTerminal, Write};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::cause::Cause;
use crate::config::{self as settings, Config, ConfigError, Environment, Overrides};
use crate::daemon;
use crate::exit_code::{self, CANNOT_WRITE, DONE, FAILED, WRONG_USAGE};
use crate::store::{OpenError, Store};
use crate::{clock, regular_file, text};

use super::args::Color;
use super::phrases;
use super::terminal::Terminal;

const DEFAULT_COLUMNS: usize = 80;
/// Longer lines are hard to read; narrower tables fall apart.
const COLUMNS: std::ops::RangeInclusive<usize> = 40..=200;
const MAX_ERROR_CHARS: usize = 1_000;
const NOT_RUN_YET: &str = "statusd has not run here yet: start it with `statusd run`";

/// The standard output of a command, and its exit code.
#[derive(Debug, PartialEq, Eq)]
pub struct Output {
    pub text: String,
    pub code: u8,
}

impl Output {
    pub fn done(text: String) -> Output {
        Output { text, code: DONE }
    }
}

/// The error of a command, and its exit code.
#[derive(Debug, PartialEq, Eq)]
pub struct CommandError {
    pub code: u8,
    /// One line: the cause and the next step.
    pub message: String,
    /// Further lines of the same form, if there are several errors.
    pub others: Vec<String>,
}

impl CommandError {
    pub fn new(code: u8, message: impl Into<String>) -> CommandError {
        CommandError { code, message: message.into(), others: Vec::new() }
    }

    pub fn failed(message: impl Into<String>) -> CommandError {
        CommandError::new(FAILED, message)
    }
}

impl From<ConfigError> for CommandError {
    fn from(error: ConfigError) -> CommandError {
        let mut lines = error.lines();
        let message = lines.remove(0);
        CommandError { code: exit_code::of_config(&error), message, others: lines }
    }
}

impl From<OpenError> for CommandError {
    fn from(error: OpenError) -> CommandError {
        CommandError::new(exit_code::of_open(&error), error.to_string())
    }
}

impl From<rusqlite::Error> for CommandError {
    fn from(error: rusqlite::Error) -> CommandError {
        CommandError::new(CANNOT_WRITE, format!("cannot use the database: {}; try again", error.reason()))
    }
}

/// Everything a command knows about its surroundings: flags, environment, time and terminal.
pub struct Invocation<'a> {
    pub overrides: Overrides,
    pub environment: &'a Environment<'a>,
    /// The command line without the program's name.
    pub arguments: Vec<String>,
    pub now: Timestamp,
    pub columns: usize,
    /// Colour on standard output.
    pub color: bool,
    /// Colour on standard error.
    pub color_log: bool,
}

impl<'a> Invocation<'a> {
    /// Reads the clock and the terminal.
    pub fn new(
        overrides: Overrides,
        arguments: Vec<String>,
        color: Color,
        environment: &'a Environment<'a>,
    ) -> Invocation<'a> {
        Invocation {
            overrides,
            environment,
            arguments,
            now: clock::now(),
            columns: columns(environment),
            color: may_color(color, environment, io::stdout().is_terminal()),
            color_log: may_color(color, environment, io::stderr().is_terminal()),
        }
    }

    /// Loads the configuration; any error in it is fatal.
    pub fn config(&self) -> Result<Config, CommandError> {
        let config = settings::load(&self.overrides, self.environment)?;
        warn_of_zone(&config);
        Ok(config)
    }

    /// Loads the configuration. A failure also lists the errors in the files that the configuration names.
    pub fn config_with_all_errors(&self) -> Result<Config, CommandError> {
        match settings::load_usable(&self.overrides, self.environment) {
            (config, Some(error)) => Err(daemon::all_faults(error, config, self.environment).into()),
            (_, None) => self.config(),
        }
    }

    /// Loads the configuration, with defaults in place of invalid settings; prints a warning for each.
    ///
    /// # Errors
    ///
    /// A flag or a variable is invalid, or the file given by one of them cannot be opened.
    pub fn usable_config(&self) -> Result<(Config, Option<ConfigError>), CommandError> {
        let (config, error) = settings::load_usable(&self.overrides, self.environment);
        let is_lost = self.overrides.config.as_ref().is_some_and(|file| regular_file::open(file).is_err());
        match &error {
            Some(error) if error.is_usage() || is_lost => return Err(error.clone().into()),
            Some(error) => {
                for line in error.lines() {
                    print_error(&format!("warning: {line}"));
                }
            }
            None => {}
        }
        warn_of_zone(&config);
        Ok((config, error))
    }

    pub fn terminal<'z>(&self, zone: &'z TimeZone) -> Terminal<'z> {
        Terminal { width: self.columns, color: self.color, zone, now: self.now }
    }
}

fn warn_of_zone(config: &Config) {
    if let Some(fault) = &config.zone_fault {
        print_error(&format!("warning: {fault}; times are shown in UTC"));
    }
}

/// Runs a future to completion on a new single-threaded runtime.
pub fn block_on<T>(future: impl Future<Output = T>) -> Result<T, CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CommandError::failed(format!("cannot start: {}; try again", error.reason())))?;
    let outcome = runtime.block_on(future);
    // A DNS lookup still running on another thread must not delay the exit.
    runtime.shutdown_background();
    Ok(outcome)
}

/// Returns the error for a service that Apple does not list, with the nearest names.
pub fn unknown_service<'n>(text: &str, names: impl Iterator<Item = &'n str>) -> CommandError {
    let text = phrases::printable(text);
    let near = text::near(&text, names);
    let help = match near.as_slice() {
        [] => "`statusd services` shows Apple's names".to_owned(),
        near => format!("did you mean {}?", near.join(" or ")),
    };
    CommandError::new(WRONG_USAGE, format!("unknown service {text:?}; {help}"))
}

/// Opens the daemon's database; fails if there is none yet.
pub fn open_store(config: &Config, writable: bool) -> Result<Store, CommandError> {
    Store::open_existing(&config.state_directory, writable)?.ok_or_else(|| CommandError::failed(NOT_RUN_YET))
}

/// Writes to standard output. A closed pipe (`| head`) is not an error.
pub fn print(text: &str) -> Result<(), CommandError> {
    let mut out = io::stdout().lock();
    ignore_closed_pipe(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// Maps the result of a write to standard output. A closed pipe is not an error.
pub fn ignore_closed_pipe(outcome: io::Result<()>) -> Result<(), CommandError> {
    match outcome {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(output_error(&error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

pub fn output_error(error: &io::Error) -> CommandError {
    CommandError::new(
        CANNOT_WRITE,
        format!("cannot write the output: {}; check where it goes", error.reason()),
    )
}

/// Writes one line to standard error, beginning with `statusd: `.
pub fn print_error(message: &str) {
    // If standard error is closed, the message is lost.
    let _ = writeln!(io::stderr(), "statusd: {}", text::plain_line(message, MAX_ERROR_CHARS));
}

fn columns(environment: &Environment) -> usize {
    let given =
        environment("COLUMNS").and_then(|text| text.trim().parse().ok()).filter(|columns| *columns > 0);
    let of_terminal = || terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| usize::from(width.0));
    let columns = given.or_else(of_terminal).unwrap_or(DEFAULT_COLUMNS);
    columns.clamp(*COLUMNS.start(), *COLUMNS.end())
}

/// Decides on colour. The flag takes precedence over NO_COLOR (<https://no-color.org>).
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
mod tests {
    use super::*;

    #[test]
    fn colour_needs_a_terminal_that_supports_it() {
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
