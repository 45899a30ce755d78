//! Finds the state directory that a command reads: the caller's own, or that of the system service.
//!
//! Does not open the database. A directory set by a flag, a variable or the configuration is the only
//! candidate.

use std::io;
use std::path::{Path, PathBuf};

use crate::cause::Cause as _;
use crate::config::{Config, state_directory};
use crate::exit_code::CANNOT_WRITE;
use crate::service::MACHINE_STATE;
use crate::status_socket::{self, DaemonStatus};
use crate::store::DATABASE;

use super::phrases::{age, shown};
use super::{Failure, Invocation, complain};

const FLAG: &str = "--state-directory";

/// The result of the search for a state directory.
#[derive(Debug)]
pub enum StateLocation {
    /// It holds a database.
    Here(PathBuf),
    /// Something is there and the caller may not look into it, or cannot.
    Closed(PathBuf, io::Error),
    /// Nothing anywhere.
    Nowhere,
}

/// The first of `places` with a database, or else the first that is closed.
pub fn find(places: &[&Path]) -> StateLocation {
    let mut closed = None;
    for &place in places {
        match place.join(DATABASE).try_exists() {
            Ok(true) => return StateLocation::Here(place.to_owned()),
            Ok(false) => {}
            Err(error) => closed = closed.or(Some(StateLocation::Closed(place.to_owned(), error))),
        }
    }
    closed.unwrap_or(StateLocation::Nowhere)
}

/// The state that a command reads: that of the configuration and, where nobody named that, of the
/// machine's service.
pub fn of(config: &Config, invocation: &Invocation) -> StateLocation {
    let own = config.state_directory.as_path();
    let is_named = own != state_directory(invocation.environment);
    let places = [own, Path::new(MACHINE_STATE)];
    find(&places[..if is_named { 1 } else { 2 }])
}

/// The command that asks the service of the machine, where there is one beside the caller's own state.
pub fn beside(config: &Config, invocation: &Invocation) -> Option<String> {
    let (own, machine) = (&config.state_directory, Path::new(MACHINE_STATE));
    let is_beside = *own == state_directory(invocation.environment) && own != machine;
    let is_reachable = is_beside && !matches!(find(&[machine]), StateLocation::Nowhere);
    is_reachable.then(|| as_root(&invocation.arguments, machine))
}

/// Loads the configuration and sets its state directory to the one that the command reads, which may not
/// exist yet. Warns if the configuration is invalid, and uses defaults instead.
///
/// # Errors
///
/// A flag or a variable is wrong; or the state is there, and the caller may not read it: with the
/// command that may.
pub fn located(invocation: &Invocation) -> Result<Config, Failure> {
    let (mut config, error) = invocation.usable_config()?;
    match of(&config, invocation) {
        StateLocation::Here(directory) => config.state_directory = directory,
        StateLocation::Nowhere => {}
        StateLocation::Closed(directory, error) => {
            let command = as_root(&invocation.arguments, &directory);
            let words = format!("{}; {}", closed(&directory, &error), advice(&error, &command));
            return Err(Failure::new(CANNOT_WRITE, words));
        }
    }
    if error.is_some() {
        complain(&format!(
            "warning: {}",
            works_with(status_socket::ask(&config.state_directory).as_ref(), invocation)
        ));
    }
    Ok(config)
}

/// What a broken file means for the daemon.
fn works_with(live: Option<&DaemonStatus>, invocation: &Invocation) -> String {
    match live {
        Some(live) => {
            let since = age(live.configured_at.unwrap_or(live.started_at), invocation.now);
            let refused = if live.refused.is_some() { " and has refused this one" } else { "" };
            format!("the configuration is broken; the running daemon works with what it read {since} ago{refused}")
        }
        None => "the configuration is broken, so that `statusd run` would not start; defaults stand in for it here".to_owned(),
    }
}

/// What is the matter with a directory that is closed.
pub fn closed(directory: &Path, error: &io::Error) -> String {
    let shown_directory = shown(&directory.display().to_string());
    match (directory == Path::new(MACHINE_STATE), error.kind()) {
        (true, io::ErrorKind::PermissionDenied) => {
            format!(
                "the statusd service of this machine keeps its state in {shown_directory}, which you may not read"
            )
        }
        _ => format!("cannot read {shown_directory}: {}", error.reason()),
    }
}

/// What to do about it.
pub fn advice(error: &io::Error, command: &str) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => format!("ask as root: {command}"),
        _ => "check the path".to_owned(),
    }
}

/// The same command, for who may read the state.
pub fn as_root(arguments: &[String], directory: &Path) -> String {
    let ends_at = arguments.iter().position(|word| word == "--").unwrap_or(arguments.len());
    let is_named = arguments[..ends_at].iter().any(|word| word.starts_with(FLAG));
    let named = [FLAG.to_owned(), directory.display().to_string()];
    let named = if is_named { &[][..] } else { &named[..] };
    let words = arguments[..ends_at].iter().chain(named).chain(&arguments[ends_at..]);
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
        let places: Vec<PathBuf> = (0..word.len()).map(|index| all.path().join(index.to_string())).collect();
        for (letter, place) in word.chars().zip(&places) {
            match letter {
                // Also root cannot look into it, unlike one without rights.
                'c' => symlink(place, place).expect("a link"),
                '-' => {}
                _ => fs::create_dir(place).expect("a directory"),
            }
            if letter == 'd' {
                fs::write(place.join(DATABASE), "").expect("a database");
            }
        }
        let views: Vec<&Path> = places.iter().map(PathBuf::as_path).collect();
        let found = match find(&views) {
            StateLocation::Here(place) => Some((place, true)),
            StateLocation::Closed(place, _) => Some((place, false)),
            StateLocation::Nowhere => None,
        };
        let index = |place: PathBuf| places.iter().position(|known| *known == place).expect("one of them");
        assert_eq!(found.map(|(place, is_open)| (index(place), is_open)), expected, "{word}");
    }

    #[test]
    fn a_service_of_the_machine_is_found_behind_a_person_who_has_nothing_of_their_own() {
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
    fn who_may_not_read_it_hears_the_command_that_may() {
        let words =
            |arguments: &[&str]| -> Vec<String> { arguments.iter().map(|&word| word.to_owned()).collect() };
        let machine = Path::new(MACHINE_STATE);
        assert_eq!(
            as_root(&words(&["status"]), machine),
            "sudo statusd status --state-directory /var/lib/statusd"
        );
        assert_eq!(
            as_root(&words(&["ack", "--", "it's Mail", "a b"]), machine),
            r"sudo statusd ack --state-directory /var/lib/statusd -- 'it'\''s Mail' 'a b'"
        );
        for named in [&["status", "--state-directory", "/x"][..], &["--state-directory=/x", "status"]] {
            let words = words(named);
            assert_eq!(as_root(&words, Path::new("/x")), format!("sudo statusd {}", words.join(" ")));
        }
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        assert_eq!(
            closed(machine, &denied),
            "the statusd service of this machine keeps its state in /var/lib/statusd, which you may not read"
        );
        assert_eq!(advice(&denied, "sudo statusd status"), "ask as root: sudo statusd status");
        let loops = io::Error::from(io::ErrorKind::NotADirectory);
        assert!(closed(Path::new("/x"), &loops).starts_with("cannot read /x: "));
        assert_eq!(advice(&loops, "sudo"), "check the path");
    }
}
