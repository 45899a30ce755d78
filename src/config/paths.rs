//! Paths on this machine: configuration, state, files with secrets. Creates nothing.
//!
//! Relative paths in the environment are ignored, as the XDG Base Directory Specification requires
//! (`configuration_is_the_users_then_the_machines`).

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::Environment;
use super::error::{ConfigError, Origins, at};
use super::rights::warn_if_open;
use crate::cause::Cause as _;
use crate::regular_file;
use crate::secret::Secret;
use crate::setting::SettingError;

const FILE_NAME: &str = "statusd.toml";
const PROGRAM: &str = "statusd";
/// The state directory of a service without a home and without `StateDirectory=`.
const SYSTEM_STATE: &str = "/var/lib/statusd";
/// Longer than any token, and too short for a certificate file.
const SECRET_MAX_BYTES: u64 = 4 * 1024;

const RIGHT_FILE: &str = "is it the right file?";

/// Returns an error whose key the caller adds.
fn fault(message: impl Into<String>) -> SettingError {
    SettingError::new("", message)
}

/// Returns the configuration files in order of precedence: the user's, the system's. The first that
/// exists is used.
pub fn config_candidates(environment: &Environment<'_>) -> Vec<PathBuf> {
    let own = user_directory(environment, "XDG_CONFIG_HOME", ".config");
    let machine = Path::new("/etc").join(PROGRAM);
    own.into_iter().chain([machine]).map(|directory| directory.join(FILE_NAME)).collect()
}

/// Returns whether this is the system service. systemd puts its state directory below `/var/lib`, and
/// that of a user service below the home directory.
pub fn is_system_service(environment: &Environment<'_>) -> bool {
    environment("STATE_DIRECTORY").is_some_and(|directory| directory.starts_with("/var/lib/"))
}

/// Returns the default state directory: `$STATE_DIRECTORY` as systemd sets it, the user's own directory,
/// or `/var/lib/statusd` without a home.
pub fn state_directory(environment: &Environment<'_>) -> PathBuf {
    // systemd separates several directories by colons.
    let given = environment("STATE_DIRECTORY").unwrap_or_default();
    let first = given.split(':').map(PathBuf::from).find(|path| path.is_absolute());
    first
        .or_else(|| user_directory(environment, "XDG_STATE_HOME", ".local/state"))
        .unwrap_or_else(|| SYSTEM_STATE.into())
}

/// Returns the directory of the service's systemd credentials.
pub fn credentials_directory(environment: &Environment<'_>) -> Option<PathBuf> {
    absolute(environment, "CREDENTIALS_DIRECTORY")
}

#[cfg(not(target_os = "macos"))]
fn user_directory(environment: &Environment<'_>, variable: &str, default: &str) -> Option<PathBuf> {
    absolute(environment, variable)
        .or_else(|| Some(absolute(environment, "HOME")?.join(default)))
        .map(|directory| directory.join(PROGRAM))
}

#[cfg(target_os = "macos")]
fn user_directory(environment: &Environment<'_>, _variable: &str, _default: &str) -> Option<PathBuf> {
    Some(absolute(environment, "HOME")?.join("Library/Application Support").join(PROGRAM))
}

fn absolute(environment: &Environment<'_>, variable: &str) -> Option<PathBuf> {
    environment(variable).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// Reads a `…_file`. A relative name is looked up among systemd's credentials, then in the directory of
/// the configuration file. Trailing line breaks are removed. A file that every user can read is used
/// with a warning in the log.
///
/// # Errors
///
/// One line with the path and the next step, without any of the contents: no such file, not readable,
/// empty, over 4 KiB, not text.
pub fn read_secret(
    path: &Path,
    credentials_directory: Option<&Path>,
    config_file: Option<&Path>,
) -> Result<Secret, SettingError> {
    refuse_tilde(path)?;
    if path.is_absolute() {
        let missing = || fault(format!("{}: no such file", path.display())).hint("write the secret into it");
        return secret_in(path)?.ok_or_else(missing);
    }
    let directories = [credentials_directory, config_file.and_then(Path::parent)];
    for directory in directories.into_iter().flatten() {
        if let Some(secret) = secret_in(&directory.join(path))? {
            return Ok(secret);
        }
    }
    let directories: Vec<String> =
        directories.into_iter().flatten().map(|directory| directory.display().to_string()).collect();
    let directories =
        if directories.is_empty() { "any known directory".to_owned() } else { directories.join(" or ") };
    Err(fault(format!("{}: no such file in {directories}", path.display())).hint("write the absolute path"))
}

/// Rejects an empty path and a leading `~`, which only a shell expands.
pub(super) fn refuse_tilde(path: &Path) -> Result<(), SettingError> {
    match path.to_str() {
        Some("") => Err(fault("the path is empty: set one or remove the key")),
        Some(text) if text.starts_with('~') => {
            Err(fault(format!("invalid path {text:?}: ~ is not expanded")).hint("write the absolute path"))
        }
        _ => Ok(()),
    }
}

/// Returns the secret; `None` if the file does not exist.
fn secret_in(path: &Path) -> Result<Option<Secret>, SettingError> {
    let shown = path.display();
    let mut bytes = Vec::new();
    let read = regular_file::open(path).and_then(|file| {
        warn_if_open(path, &file.metadata()?);
        file.take(SECRET_MAX_BYTES + 1).read_to_end(&mut bytes)
    });
    match read {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(fault(format!("{shown}: {}", error.reason()))
                .hint("make it readable for the user that runs statusd"));
        }
    }
    if bytes.len() as u64 > SECRET_MAX_BYTES {
        return Err(fault(format!("{shown}: larger than {SECRET_MAX_BYTES} bytes")).hint(RIGHT_FILE));
    }
    let text = String::from_utf8(bytes).map_err(|_| fault(format!("{shown}: not text")).hint(RIGHT_FILE))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(fault(format!("{shown}: empty")).hint("write the secret into it")),
        secret => Ok(Some(Secret::new(secret))),
    }
}

/// Resolves a path of the file against the file's directory, and a path of a flag or a variable against
/// the current one.
pub(super) fn absolute_path(
    origins: &Origins,
    key: &str,
    given: Option<PathBuf>,
) -> Result<Option<PathBuf>, ConfigError> {
    let Some(given) = given else { return Ok(None) };
    at(origins, key, refuse_tilde(&given))?;
    let base = origins.file.as_deref().and_then(Path::parent).filter(|_| !origins.given.contains_key(key));
    let absolute = match base {
        Some(directory) => Ok(directory.join(&given)),
        None => std::path::absolute(&given).map_err(|error| error.reason()),
    };
    at(origins, key, absolute).map(Some)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    type Variables = &'static [(&'static str, &'static str)];

    fn environment(variables: Variables) -> impl Fn(&str) -> Option<String> {
        move |name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    }

    #[cfg(not(target_os = "macos"))]
    #[test]
    fn configuration_is_the_users_then_the_machines() {
        #[track_caller]
        fn check(variables: Variables, own: Option<&str>) {
            let expected: Vec<PathBuf> =
                own.into_iter().chain(["/etc/statusd/statusd.toml"]).map(PathBuf::from).collect();
            assert_eq!(config_candidates(&environment(variables)), expected);
        }
        check(&[], None);
        check(&[("HOME", "")], None);
        check(&[("HOME", "/h")], Some("/h/.config/statusd/statusd.toml"));
        check(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "/x")], Some("/x/statusd/statusd.toml"));
        check(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "x")], Some("/h/.config/statusd/statusd.toml"));
    }

    #[cfg(not(target_os = "macos"))]
    #[test]
    fn state_is_where_systemd_says_then_with_the_user() {
        #[track_caller]
        fn check(variables: Variables, expected: &str) {
            assert_eq!(state_directory(&environment(variables)), Path::new(expected));
        }
        check(&[], "/var/lib/statusd");
        check(&[("HOME", "/h")], "/h/.local/state/statusd");
        check(&[("HOME", "/h"), ("XDG_STATE_HOME", "/x")], "/x/statusd");
        check(&[("HOME", "/h"), ("STATE_DIRECTORY", "/s:/t")], "/s");
        check(&[("HOME", "/h"), ("STATE_DIRECTORY", "")], "/h/.local/state/statusd");
    }

    #[test]
    fn a_credential_comes_before_a_file_beside_the_configuration() {
        let (credentials, beside) = (TempDir::new().expect("a"), TempDir::new().expect("b"));
        fs::write(credentials.path().join("both"), "credential\r\n\n").expect("written");
        fs::write(beside.path().join("both"), "beside").expect("written");
        fs::write(beside.path().join("one"), " beside \n").expect("written");
        let config = beside.path().join("statusd.toml");
        let read = |path: &Path| {
            let secret = read_secret(path, Some(credentials.path()), Some(&config));
            secret.map(|secret| secret.expose().to_owned())
        };
        assert_eq!(read(Path::new("both")).as_deref(), Ok("credential"));
        assert_eq!(read(Path::new("one")).as_deref(), Ok(" beside "));
        assert_eq!(read(&beside.path().join("both")).as_deref(), Ok("beside"));
        let neither = read(Path::new("none")).expect_err("there is none").to_string();
        let places = format!("{} or {}", credentials.path().display(), beside.path().display());
        assert_eq!(neither, format!("none: no such file in {places}; write the absolute path"));
    }

    #[test]
    fn a_bad_secret_is_refused_without_its_text() {
        let directory = TempDir::new().expect("a directory");
        let path = directory.path().join("secret");
        let largest = "x".repeat(4096);
        fs::write(&path, &largest).expect("written");
        assert_eq!(read_secret(&path, None, None).map(|secret| secret.expose().len()), Ok(4096));
        for (bytes, message) in [
            (&b""[..], "empty; write the secret into it"),
            (b"\r\n\n", "empty; write the secret into it"),
            (b"hunter2\xff", "not text; is it the right file?"),
            (format!("{largest}\n").as_bytes(), "larger than 4096 bytes; is it the right file?"),
        ] {
            fs::write(&path, bytes).expect("written");
            let error = read_secret(&path, None, None).expect_err(message).to_string();
            assert_eq!(error, format!("{}: {message}", path.display()));
        }
        for (path, message) in [
            ("~/secret", "invalid path \"~/secret\": ~ is not expanded; write the absolute path"),
            ("", "the path is empty: set one or remove the key"),
            ("/nowhere/at/all", "/nowhere/at/all: no such file; write the secret into it"),
            ("token", "token: no such file in any known directory; write the absolute path"),
        ] {
            let error = read_secret(Path::new(path), None, None).expect_err(message);
            assert_eq!(error.to_string(), message);
        }
    }
}
