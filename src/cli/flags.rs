//! The settings of each command: its help lists them, and other settings are an error.
//!
//! A flag may precede or follow the command. An environment variable applies to all commands, so a command
//! ignores the variables that it does not use.

use std::ffi::OsString;

use clap::error::{Error, ErrorKind};
use clap::parser::ValueSource;
use clap::{ArgMatches, Command, CommandFactory, FromArgMatches};

use super::args::Cli;

/// All settings; `run` uses them all.
const ALL: &[&str] = &[
    "config",
    "state_directory",
    "watch",
    "feed_url",
    "edition",
    "locale",
    "color",
    "log_level",
    "log_format",
    "time_zone",
    "ca_file",
    "poll",
    "trouble",
    "jitter_s",
    "record_file",
];
/// The settings of commands that fetch the feed.
const FETCHES: &[&str] =
    &["config", "watch", "feed_url", "edition", "locale", "color", "time_zone", "ca_file"];
/// The settings of commands that read the recorded history of a feed.
const READS: &[&str] = &["config", "state_directory", "watch", "edition", "locale", "color", "time_zone"];
/// The settings of commands that read the outbox.
const OUTBOX: &[&str] = &["config", "state_directory", "color", "time_zone"];

/// The commands and the ids of their settings.
const USES: &[(&str, &[&str])] = &[
    ("run", ALL),
    ("check", FETCHES),
    ("status", READS),
    ("history", READS),
    ("fleet", READS),
    ("services", &["config", "feed_url", "edition", "locale", "color", "time_zone", "ca_file"]),
    ("outbox", OUTBOX),
    ("outbox list", OUTBOX),
    ("outbox show", OUTBOX),
    ("outbox retry", OUTBOX),
    ("outbox drop", OUTBOX),
    ("ack", READS),
    ("snooze", OUTBOX),
    ("check-health", &["config"]),
    ("test-notice", &["config", "watch", "edition", "locale", "color", "time_zone"]),
    ("drill", &["config", "watch", "edition", "locale", "color", "time_zone", "poll", "trouble"]),
    (
        "doctor",
        &[
            "config",
            "state_directory",
            "watch",
            "feed_url",
            "edition",
            "locale",
            "color",
            "time_zone",
            "ca_file",
        ],
    ),
    ("guide", &["color"]),
    (
        "replay",
        &["config", "watch", "edition", "locale", "color", "time_zone", "poll", "trouble", "jitter_s"],
    ),
    ("service", &[]),
    ("service install", &[]),
    ("service uninstall", &[]),
    ("service status", &["color"]),
    ("service logs", &[]),
    ("config", ALL),
    ("config check", ALL),
    ("config show", ALL),
    ("config init", &["config"]),
    ("completions", &[]),
    ("complete", &["config", "state_directory"]),
    ("man", &[]),
];

/// Returns the definition of the command line for help, completions and manual pages.
pub fn command() -> Command {
    fitted(Cli::command())
}

/// Builds `command`. The long help of a command then lists its settings; the short help lists none, so that
/// it fits a screen.
pub fn fitted(command: Command) -> Command {
    let hidden = |command: Command| command.mut_args(|argument| argument.hide_short_help(true));
    // `build` looks at hidden arguments to decide whether `--help` differs from `-h`.
    let mut command = hidden(command);
    command.build();
    // Also hide what `build` added, because the list of commands fills the screen.
    let command = hidden(command);
    command.mut_subcommands(|command| match command.get_name() {
        "help" => command.hide(true),
        _ => without_unused(command, ""),
    })
}

fn without_unused(command: Command, above: &str) -> Command {
    let path = format!("{above} {}", command.get_name()).trim().to_owned();
    let used = used(&path);
    let command = command.mut_args(|argument| match argument.get_id().as_str() {
        id if used.contains(&id) => argument.hide_short_help(true),
        id if ALL.contains(&id) => argument.hide(true),
        _ => argument,
    });
    command.mut_subcommands(|command| without_unused(command, &path))
}

fn used(path: &str) -> &'static [&'static str] {
    USES.iter().find(|(command, _)| *command == path).map_or(&[], |(_, used)| used)
}

/// Parses the command line, which begins with the program's name.
///
/// # Errors
///
/// The error of clap, or an error for a setting that the command does not use.
pub fn parse(arguments: &[OsString]) -> Result<Cli, Error> {
    // `config` reads the variables: clap would name a flag in the error for a variable.
    let mut command = fitted(Cli::command().mut_args(|argument| argument.env(None)));
    let matches = command.try_get_matches_from_mut(arguments)?;
    reject_unused(&mut command, &matches)?;
    Cli::from_arg_matches(&matches)
}

fn reject_unused(command: &mut Command, matches: &ArgMatches) -> Result<(), Error> {
    let mut path = Vec::new();
    let mut innermost = matches;
    while let Some((name, matches)) = innermost.subcommand() {
        path.push(name);
        innermost = matches;
    }
    let path = path.join(" ");
    let used = used(&path);
    let is_given = |id: &&&str| innermost.value_source(id) == Some(ValueSource::CommandLine);
    match ALL.iter().filter(|id| !used.contains(id)).find(is_given) {
        None => Ok(()),
        Some(id) => {
            let message = format!("--{} has no effect on `statusd {path}`", id.replace('_', "-"));
            Err(command.error(ErrorKind::UnknownArgument, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::{FLAGS_WITH_VARIABLES, variable};

    /// 24 lines less the prompt.
    const SCREEN_LINES: usize = 23;
    const SCREEN_COLUMNS: usize = 80;

    /// Returns every command with its path; the first is the program itself.
    fn commands() -> Vec<(String, Command)> {
        fn below(command: &Command, path: &str, found: &mut Vec<(String, Command)>) {
            for command in command.get_subcommands().filter(|command| command.get_name() != "help") {
                let path = format!("{path} {}", command.get_name()).trim().to_owned();
                found.push((path.clone(), command.clone()));
                below(command, &path, found);
            }
        }
        let root = command();
        let mut found = vec![(String::new(), root.clone())];
        below(&root, "", &mut found);
        found
    }

    #[test]
    fn clap_accepts_the_definitions() {
        command().debug_assert();
    }

    #[test]
    fn the_table_has_every_command_and_every_setting() {
        let commands: BTreeSet<String> =
            commands().into_iter().map(|(path, _)| path).filter(|path| !path.is_empty()).collect();
        let rows: BTreeSet<String> = USES.iter().map(|(path, _)| (*path).to_owned()).collect();
        assert_eq!(rows, commands);
        let root = command();
        let is_setting = |argument: &&clap::Arg| argument.is_global_set();
        let settings: BTreeSet<&str> =
            root.get_arguments().filter(is_setting).map(|argument| argument.get_id().as_str()).collect();
        assert_eq!(BTreeSet::from_iter(ALL.iter().copied()), settings);
    }

    /// clap uses the variables only for help; `config` reads them.
    #[test]
    fn the_variables_in_the_help_are_read() {
        let cli = Cli::command();
        let named =
            cli.get_arguments().filter_map(|argument| Some((argument.get_long()?, argument.get_env()?)));
        let of_help: BTreeSet<(String, String)> =
            named.map(|(flag, name)| (flag.to_owned(), name.to_string_lossy().into_owned())).collect();
        let read = FLAGS_WITH_VARIABLES.map(|flag| (flag.to_owned(), variable(flag)));
        assert_eq!(of_help, BTreeSet::from(read));
    }

    #[test]
    fn the_short_help_fits_a_screen() {
        for (path, mut command) in commands() {
            let help = command.render_help().to_string();
            let lines = help.trim_end().lines().count();
            assert!(lines <= SCREEN_LINES, "statusd {path} -h has {lines} lines:\n{help}");
            for line in help.lines() {
                assert!(line.chars().count() <= SCREEN_COLUMNS, "statusd {path} -h: {line}");
            }
        }
    }

    #[test]
    fn help_lists_only_the_settings_of_the_command() {
        for (path, mut command) in commands().into_iter().skip(1) {
            let printed = command.clone().try_get_matches_from(["statusd", "--help"]);
            let printed = printed.expect_err("a help").to_string();
            let help = command.render_long_help().to_string();
            assert_eq!(printed, help, "statusd {path} --help");
            for id in ALL {
                let flag = format!(" --{} ", id.replace('_', "-"));
                assert_eq!(help.contains(&flag), used(&path).contains(id), "statusd {path} --help: {flag}");
            }
        }
    }

    #[test]
    fn an_unused_setting_is_an_error_in_any_position() {
        #[track_caller]
        fn check(line: &str, expected: Option<&str>) {
            let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let refused = parse(&arguments).err().map(|error| error.to_string());
            assert_eq!(refused.is_some(), expected.is_some(), "{line}: {refused:?}");
            let expected = expected.unwrap_or_default();
            assert!(refused.unwrap_or_default().contains(expected), "{line}");
        }
        let unused = Some("--log-level has no effect on `statusd guide`");
        check("statusd guide --log-level debug", unused);
        check("statusd --log-level debug guide", unused);
        check("statusd --log debug guide", unused);
        check("statusd check --log-format json", Some("--log-format has no effect on `statusd check`"));
        check("statusd outbox --poll x show 1", Some("--poll has no effect on `statusd outbox show`"));
        check("statusd --locale de_DE service install", Some("--locale has no effect"));
        check("statusd --log-level debug run", None);
        check("statusd run --log-level debug", None);
        check("statusd --state-dir /x outbox show 1", None);
        check("statusd outbox --state-dir /x show 1", None);
        check("statusd --watch Photos check", None);
    }
}
