//! The command line: parses the arguments, runs one command, prints its output and returns its exit code.
//!
//! A command reads its input through an [`Invocation`] and renders text for a [`terminal::Terminal`]. An
//! error is one line on standard error that begins with `statusd: ` and ends with the next step.

mod args;
mod commands;
mod context;
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
use std::process::ExitCode;

use crate::config::{self as settings, Environment};
use crate::exit_code::CANNOT_TELL;
use crate::logging;
use crate::proxy::Proxies;
use args::{Cli, CliCommand};
use context::{CommandError, Invocation, Output, print, print_error};

/// Runs the program on the real command line, environment and terminal.
pub fn main() -> ExitCode {
    let variables: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    let arguments: Vec<OsString> = std::env::args_os().collect();
    ExitCode::from(run(arguments, &variables))
}

fn run(arguments: Vec<OsString>, variables: &[(OsString, OsString)]) -> u8 {
    let environment = |name: &str| environment(variables, name);
    let cli = match flags::parse(&arguments) {
        Ok(cli) => cli,
        Err(error) => return usage::report(&error, &arguments),
    };
    match started(&cli, arguments, variables, &environment) {
        Ok(code) => code,
        Err(failure) => {
            for line in std::iter::once(&failure.message).chain(&failure.others) {
                print_error(line);
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
) -> Result<u8, CommandError> {
    let set = variables.iter().filter(|(_, value)| !value.is_empty());
    settings::check_names(set.filter_map(|(name, _)| name.to_str()))?;
    let mut overrides = cli.settings.overrides();
    overrides.fill(environment)?;
    let arguments = arguments.iter().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let invocation = Invocation::new(overrides, arguments, cli.settings.color, environment);
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
    let connects = match command {
        CliCommand::Check(_) | CliCommand::Services(_) | CliCommand::TestNotice { .. } => true,
        CliCommand::Drill(drill) => !drill.dry,
        CliCommand::Config { command } => matches!(command, args::ConfigArgs::Check),
        _ => false,
    };
    for error in Proxies::read(environment).errors.iter().filter(|_| connects) {
        print_error(&format!("warning: {error} (connections are made without it)"));
    }
}

fn dispatch(command: &CliCommand, invocation: &Invocation) -> Result<Output, CommandError> {
    match command {
        CliCommand::Run => commands::run::run(invocation),
        CliCommand::Check(check) => commands::check::run(check, invocation),
        CliCommand::CheckHealth(check) => commands::check_health::run(check, invocation),
        CliCommand::Status { json } => commands::status::run(*json, invocation),
        CliCommand::History(history) => commands::history::run(history, invocation),
        CliCommand::Fleet(fleet) => commands::fleet::run(fleet, invocation),
        CliCommand::Services(services) => commands::services::run(services, invocation),
        CliCommand::Outbox(outbox) => commands::outbox::run(outbox, invocation),
        CliCommand::Ack(ack) => commands::ack::run(ack, invocation),
        CliCommand::Snooze { request } => commands::snooze::run(request.as_deref(), invocation),
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
