//! What clap has to say about wrong arguments, in one line; help as it is.
//!
//! Knows no command but `check`, whose exit code 2 means "outage" to a monitor and must never mean
//! "wrong flag".

use std::ffi::OsString;

use clap::error::{Error, ErrorKind};

use super::{CANNOT_TELL, DONE, WRONG_USAGE, complain, flags};

/// Prints it and gives the exit code.
pub fn refuse(error: &Error, arguments: &[OsString]) -> u8 {
    let path = command_path(arguments);
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // Nobody to print to is nobody to tell.
            let _ = error.print();
            return DONE;
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
        }
        _ => {
            let command: String = path.iter().map(|name| format!(" {name}")).collect();
            complain(&format!("{}; see `statusd{command} --help`", one_line(&error.render().to_string())));
        }
    }
    code(&path)
}

fn code(path: &[String]) -> u8 {
    if path.first().is_some_and(|command| command == "check") { CANNOT_TELL } else { WRONG_USAGE }
}

/// `unexpected argument '--jsn' found; a similar argument exists: '--json'`
fn one_line(rendered: &str) -> String {
    let complaint = rendered.split("Usage:").next().unwrap_or_default();
    let complaint = complaint.split("For more information").next().unwrap_or_default();
    let mut line = String::new();
    for part in complaint.lines().map(str::trim).filter(|part| !part.is_empty()) {
        let part = part.trim_start_matches("error: ").trim_start_matches("tip: ");
        // True of every flag and of no help with a wrong one.
        if part.starts_with("to pass '") {
            continue;
        }
        let glue = match line.chars().last() {
            None => "",
            Some(':') => " ",
            Some(_) if part.starts_with(['[', '<']) => " ",
            Some(_) => "; ",
        };
        line.push_str(glue);
        line.push_str(part);
    }
    line
}

/// The command that was meant, as far as it can be made out: `["outbox", "retry"]`.
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
        assert_eq!(one_line(&error.render().to_string()), expected);
        assert_eq!(command_path(&arguments).join(" "), path);
        assert_eq!(code(&command_path(&arguments)), exit);
    }

    #[test]
    fn wrong_arguments_are_one_line_and_never_an_outage() {
        let similar = "unexpected argument '--jsn' found; a similar argument exists: '--json'";
        check("statusd check --jsn", similar, "check", 3);
        check("statusd check --zzz", "unexpected argument '--zzz' found", "check", 3);
        check(
            "statusd --state-dir run check --format xml",
            "invalid value 'xml' for '--format <FORMAT>' [possible values: text, nagios]",
            "check",
            3,
        );
        check("statusd replay", "the following required arguments were not provided: <FILE>", "replay", 2);
        check(
            "statusd hystory",
            "unrecognized subcommand 'hystory'; a similar subcommand exists: 'history'",
            "",
            2,
        );
        check("statusd config check --zzz", "unexpected argument '--zzz' found", "config check", 2);
        check(
            "statusd outbox retry x",
            "invalid value 'x' for '<ID>': `statusd outbox` shows the numbers",
            "outbox retry",
            2,
        );
    }
}
