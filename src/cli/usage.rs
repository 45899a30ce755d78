//! Prints clap's errors as one line, and clap's help and version unchanged.
//!
//! Wrong usage of `check` exits with 3, because to a monitor 2 means "outage".

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, Error, ErrorKind};

use crate::exit_code::{CANNOT_TELL, DONE, WRONG_USAGE};

use super::context::print_error;
use super::flags;

/// Prints an error of clap and returns the exit code.
pub fn report(error: &Error, arguments: &[OsString]) -> u8 {
    let path = command_path(arguments);
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // A closed standard output is not an error.
            let _ = error.print();
            return DONE;
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
        }
        _ => {
            let command: String = path.iter().map(|name| format!(" {name}")).collect();
            print_error(&format!("{}; see `statusd{command} --help`", message(error)));
        }
    }
    code(&path)
}

fn code(path: &[String]) -> u8 {
    if path.first().is_some_and(|command| command == "check") { CANNOT_TELL } else { WRONG_USAGE }
}

/// Returns the message, for example `unknown flag "--jsn"; did you mean "--json"?`.
fn message(error: &Error) -> String {
    let context = |kind| context(error, kind);
    let argument = context(ContextKind::InvalidArg).unwrap_or_default();
    let name = name(&argument);
    let near = |kind| match context(kind) {
        Some(near) => format!("; did you mean {near:?}?"),
        None => String::new(),
    };
    match error.kind() {
        // An error from `flags`, which has its own message.
        ErrorKind::UnknownArgument if argument.is_empty() => {
            let rendered = error.to_string();
            rendered.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
        }
        ErrorKind::UnknownArgument if argument.starts_with('-') => {
            format!("unknown flag {argument:?}{}", near(ContextKind::SuggestedArg))
        }
        ErrorKind::UnknownArgument => format!("unexpected argument {argument:?}"),
        ErrorKind::InvalidSubcommand => {
            let command = context(ContextKind::InvalidSubcommand).unwrap_or_default();
            format!("unknown command {command:?}{}", near(ContextKind::SuggestedSubcommand))
        }
        ErrorKind::MissingSubcommand => "missing command".to_owned(),
        ErrorKind::MissingRequiredArgument => format!("missing {name}"),
        ErrorKind::ArgumentConflict => match context(ContextKind::PriorArg) {
            Some(other) if other == argument => format!("{name} is given more than once"),
            Some(other) => format!("cannot use {name} together with {}", self::name(&other)),
            None => format!("cannot use {name} here"),
        },
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => invalid(error, &name),
        ErrorKind::InvalidUtf8 => "invalid argument: expected UTF-8".to_owned(),
        ErrorKind::TooManyValues | ErrorKind::WrongNumberOfValues | ErrorKind::TooFewValues => {
            format!("wrong number of values for {name}")
        }
        ErrorKind::NoEquals => format!("{name} needs a value"),
        _ => "invalid command line".to_owned(),
    }
}

/// Returns the message for an invalid value, for example
/// `invalid --format "xml": expected one of text, nagios`.
fn invalid(error: &Error, name: &str) -> String {
    let value = context(error, ContextKind::InvalidValue).unwrap_or_default();
    let known = context(error, ContextKind::ValidValue).map(|known| format!("expected one of {known}"));
    match known.or_else(|| Some(std::error::Error::source(error)?.to_string())) {
        _ if value.is_empty() => format!("{name} needs a value"),
        Some(expected) => format!("invalid {name} {value:?}: {expected}"),
        None => format!("invalid {name} {value:?}"),
    }
}

/// Returns an entry of the error's context; several values are joined with commas.
fn context(error: &Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        ContextValue::Strings(texts) if texts.is_empty() => None,
        ContextValue::Strings(texts) => Some(texts.join(", ")),
        ContextValue::StyledStr(text) => Some(text.to_string()),
        _ => None,
    }
}

/// Returns the plain name of an argument: `--format <FORMAT>` becomes `--format`, `<SERVICE>...` `SERVICE`.
fn name(argument: &str) -> String {
    let is_flag = argument.starts_with('-');
    let first = if is_flag { argument.split([' ', '=']).next().unwrap_or_default() } else { argument };
    first.replace(['<', '>', '[', ']'], "").replace("...", "")
}

/// Returns the command as far as it can be parsed, for example `["outbox", "retry"]`.
fn command_path(arguments: &[OsString]) -> Vec<String> {
    let root = flags::command();
    let takes_value = |flag: &str| {
        root.get_arguments().any(|argument| {
            let names = argument.get_long_and_visible_aliases().unwrap_or_default();
            argument.get_action().takes_values() && names.contains(&flag)
        })
    };
    let mut command = &root;
    let mut path = Vec::new();
    let mut arguments = arguments.iter().skip(1).map(|argument| argument.to_string_lossy());
    while let Some(argument) = arguments.next() {
        match argument.strip_prefix("--") {
            Some(flag) if takes_value(flag) => drop(arguments.next()),
            Some(_) => {}
            None if argument.starts_with('-') => {}
            None => match command.find_subcommand(&*argument) {
                Some(found) => {
                    command = found;
                    path.push(found.get_name().to_owned());
                }
                None => break,
            },
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(arguments: &str, expected: &str, path: &str, exit: u8) {
        let arguments: Vec<OsString> = arguments.split(' ').map(OsString::from).collect();
        let error = flags::parse(&arguments).expect_err("wrong arguments");
        assert_eq!(message(&error), expected);
        assert_eq!(command_path(&arguments).join(" "), path);
        assert_eq!(code(&command_path(&arguments)), exit);
    }

    #[test]
    fn wrong_usage_is_one_line_and_never_an_outage() {
        let similar = r#"unknown flag "--jsn"; did you mean "--json"?"#;
        check("statusd check --jsn", similar, "check", 3);
        check("statusd check --zzz", r#"unknown flag "--zzz""#, "check", 3);
        check("statusd check -z", r#"unknown flag "-z""#, "check", 3);
        let format = r#"invalid --format "xml": expected one of text, nagios"#;
        check("statusd --state-dir run check --format xml", format, "check", 3);
        check("statusd check --format", "--format needs a value", "check", 3);
        check("statusd check --json --format text", "cannot use --json together with --format", "check", 3);
        check("statusd replay", "missing FILE", "replay", 2);
        check("statusd hystory", r#"unknown command "hystory"; did you mean "history"?"#, "", 2);
        check("statusd config check --zzz", r#"unknown flag "--zzz""#, "config check", 2);
        check("statusd status now", r#"unexpected argument "now""#, "status", 2);
        let number = r#"invalid ID "x": expected a number from `statusd outbox`"#;
        check("statusd outbox retry x", number, "outbox retry", 2);
        for speed in ["0", "10001", "fast", "1.5"] {
            let expected = format!("invalid --speed {speed:?}: expected a whole number, 1 to 10000");
            check(&format!("statusd drill --speed {speed}"), &expected, "drill", 2);
        }
        let lines = r#"invalid --lines "many": expected a whole number, like 100"#;
        check("statusd service logs -n many", lines, "service logs", 2);
        let jitter = r#"invalid --jitter-s "soon": expected whole seconds, 0 to 3600"#;
        check("statusd status --jitter-s soon", jitter, "status", 2);
        let color = r#"invalid --color "blue": expected one of auto, always, never"#;
        check("statusd status --color blue", color, "status", 2);
        check("statusd status --poll a --poll b", "--poll is given more than once", "status", 2);
    }
}
