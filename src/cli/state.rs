//! Finds the state directory that a command reads: the caller's own, or that of the system service.
//!
//! Does not open the database. A directory set by a flag, a variable or the configuration is the only
//! candidate.

use std::io;
use std::path::{Path, PathBuf};

use crate::cause::Cause as _;
use crate::config::{Config, state_directory};
use crate::exit_code::CANNOT_WRITE;
use crate::service::SYSTEM_STATE;
use crate::status_socket::{self, DaemonStatus};
use crate::store::DATABASE;

use super::context::{CommandError, Invocation, print_error};
use super::phrases::{age, printable};

const FLAG: &str = "--state-directory";

/// The result of the search for a state directory.
#[derive(Debug)]
pub enum StateLocation {
    /// The directory holds a database.
    Found(PathBuf),
    /// The directory exists, but the caller cannot read it.
    Unreadable(PathBuf, io::Error),
    Missing,
}

/// Returns the first of `directories` with a database, or else the first that is unreadable.
pub fn find(directories: &[&Path]) -> StateLocation {
    let mut unreadable = None;
    for &directory in directories {
        match directory.join(DATABASE).try_exists() {
            Ok(true) => return StateLocation::Found(directory.to_owned()),
            Ok(false) => {}
            Err(error) => {
                unreadable = unreadable.or(Some(StateLocation::Unreadable(directory.to_owned(), error)));
            }
        }
    }
    unreadable.unwrap_or(StateLocation::Missing)
}

/// Finds the state directory that a command reads: the configured one, or else that of the system service if
/// none was configured.
pub fn locate(config: &Config, invocation: &Invocation) -> StateLocation {
    let own = config.state_directory.as_path();
    let is_configured = own != state_directory(invocation.environment);
    let directories = [own, Path::new(SYSTEM_STATE)];
    find(&directories[..if is_configured { 1 } else { 2 }])
}

/// Returns the command that queries the system service, if there is one beside the caller's own state.
pub fn system_service_command(config: &Config, invocation: &Invocation) -> Option<String> {
    let (own, system) = (&config.state_directory, Path::new(SYSTEM_STATE));
    let is_default = *own == state_directory(invocation.environment) && own != system;
    let exists = is_default && !matches!(find(&[system]), StateLocation::Missing);
    exists.then(|| sudo_command(&invocation.arguments, system))
}

/// Loads the configuration and sets its state directory to the one that the command reads, which may not
/// exist yet. Warns if the configuration is invalid, and uses defaults instead.
///
/// # Errors
///
/// A flag or a variable is invalid, or the caller cannot read the state directory. The message then names the
/// command that can.
pub fn config_with_state(invocation: &Invocation) -> Result<Config, CommandError> {
    let (mut config, error) = invocation.usable_config()?;
    match locate(&config, invocation) {
        StateLocation::Found(directory) => config.state_directory = directory,
        StateLocation::Missing => {}
        StateLocation::Unreadable(directory, error) => {
            let command = sudo_command(&invocation.arguments, &directory);
            let message = format!("{}; {}", cannot_read(&directory, &error), next_step(&error, &command));
            return Err(CommandError::new(CANNOT_WRITE, message));
        }
    }
    if error.is_some() {
        let daemon = status_socket::ask(&config.state_directory);
        print_error(&format!("warning: {}", invalid_config(daemon.as_ref(), invocation)));
    }
    Ok(config)
}

/// States the effect of an invalid configuration on the daemon.
fn invalid_config(daemon: Option<&DaemonStatus>, invocation: &Invocation) -> String {
    match daemon {
        Some(daemon) => {
            let since = age(daemon.configured_at.unwrap_or(daemon.started_at), invocation.now);
            let rejected = if daemon.refused.is_some() { " and has rejected this one" } else { "" };
            format!(
                "the configuration is invalid; the running daemon uses the one loaded {since} ago{rejected}"
            )
        }
        None => "the configuration is invalid, so `statusd run` would not start; this command uses defaults"
            .to_owned(),
    }
}

/// `cannot read /var/lib/statusd, the state of the system service: permission denied`
pub fn cannot_read(directory: &Path, error: &io::Error) -> String {
    let owner = if directory == Path::new(SYSTEM_STATE) { ", the state of the system service" } else { "" };
    format!("cannot read {}{owner}: {}", printable(&directory.display().to_string()), error.reason())
}

/// Returns the next step after [`cannot_read`].
pub fn next_step(error: &io::Error, command: &str) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => format!("run as root: {command}"),
        _ => "check the path".to_owned(),
    }
}

/// Returns the same command line under sudo, with the state directory.
pub fn sudo_command(arguments: &[String], directory: &Path) -> String {
    let ends_at = arguments.iter().position(|word| word == "--").unwrap_or(arguments.len());
    let is_given = arguments[..ends_at].iter().any(|word| word.starts_with(FLAG));
    let flag = [FLAG.to_owned(), directory.display().to_string()];
    let flag = if is_given { &[][..] } else { &flag[..] };
    let words = arguments[..ends_at].iter().chain(flag).chain(&arguments[ends_at..]);
    let quoted: Vec<String> = words.map(|word| quoted(word)).collect();
    format!("sudo statusd {}", quoted.join(" "))
}

/// Quotes a word for a shell.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@+%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    /// One letter for each directory: `d` holds a database, `e` is empty, `c` is unreadable, `-` is missing.
    /// Expects the index of the result, and true if it was found.
    #[track_caller]
    fn check(word: &str, expected: Option<(usize, bool)>) {
        let all = TempDir::new().expect("a directory");
        let directories: Vec<PathBuf> =
            (0..word.len()).map(|index| all.path().join(index.to_string())).collect();
        for (letter, directory) in word.chars().zip(&directories) {
            match letter {
                // A symlink loop, because root can read a directory without permissions.
                'c' => symlink(directory, directory).expect("a link"),
                '-' => {}
                _ => fs::create_dir(directory).expect("a directory"),
            }
            if letter == 'd' {
                fs::write(directory.join(DATABASE), "").expect("a database");
            }
        }
        let views: Vec<&Path> = directories.iter().map(PathBuf::as_path).collect();
        let found = match find(&views) {
            StateLocation::Found(directory) => Some((directory, true)),
            StateLocation::Unreadable(directory, _) => Some((directory, false)),
            StateLocation::Missing => None,
        };
        let index =
            |found: PathBuf| directories.iter().position(|known| *known == found).expect("one of them");
        assert_eq!(found.map(|(directory, is_found)| (index(directory), is_found)), expected, "{word}");
    }

    #[test]
    fn the_system_service_is_found_if_the_user_has_no_state() {
        check("d", Some((0, true)));
        check("dd", Some((0, true)));
        check("-d", Some((1, true)));
        check("ed", Some((1, true)));
        check("-c", Some((1, false)));
        check("cd", Some((1, true)));
        check("cc", Some((0, false)));
        check("--", None);
        check("-e", None);
        check("-", None);
    }

    #[test]
    fn an_unreadable_state_names_the_sudo_command() {
        let words =
            |arguments: &[&str]| -> Vec<String> { arguments.iter().map(|&word| word.to_owned()).collect() };
        let system = Path::new(SYSTEM_STATE);
        assert_eq!(
            sudo_command(&words(&["status"]), system),
            "sudo statusd status --state-directory /var/lib/statusd"
        );
        assert_eq!(
            sudo_command(&words(&["ack", "--", "it's Mail", "a b"]), system),
            r"sudo statusd ack --state-directory /var/lib/statusd -- 'it'\''s Mail' 'a b'"
        );
        for named in [&["status", "--state-directory", "/x"][..], &["--state-directory=/x", "status"]] {
            let words = words(named);
            assert_eq!(sudo_command(&words, Path::new("/x")), format!("sudo statusd {}", words.join(" ")));
        }
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        assert_eq!(
            cannot_read(system, &denied),
            "cannot read /var/lib/statusd, the state of the system service: permission denied"
        );
        assert_eq!(next_step(&denied, "sudo statusd status"), "run as root: sudo statusd status");
        let not_a_directory = io::Error::from(io::ErrorKind::NotADirectory);
        assert!(cannot_read(Path::new("/x"), &not_a_directory).starts_with("cannot read /x: "));
        assert_eq!(next_step(&not_a_directory, "sudo"), "check the path");
    }
}
