//! The environment variables `STATUSD_…` and their settings. The environment is an argument.
//!
//! An unknown variable with this prefix is an error, so that a typo cannot silently leave a default in
//! place (`an_unknown_variable_is_an_error_with_the_nearest_name`).

use std::path::PathBuf;

use super::error::{ConfigError, PREFIX, variable};
use super::{Environment, Overrides};
use crate::channel::command;
use crate::text::nearest;

/// The flags that have a variable.
pub const FLAGS: [&str; 14] = [
    "config",
    "state-directory",
    "watch",
    "feed-url",
    "edition",
    "locale",
    "log-level",
    "log-format",
    "time-zone",
    "ca-file",
    "poll",
    "trouble",
    "jitter-s",
    "record-file",
];
/// Set for scripts and tests of this project, which pass them on to the program.
const OF_SCRIPTS: [&str; 6] = ["AUDITABLE", "RECORDING", "RECORDINGS", "SCREENSHOT", "SEED", "SKIP_SYSTEMD"];
/// Prefixes of tests, and of the variables that Kubernetes and Docker set for a service or container
/// named statusd.
const FOREIGN_STARTS: [&str; 4] = ["TEST_", "SERVICE_HOST", "SERVICE_PORT", "PORT"];
/// Separates services.
const WATCH_DELIMITER: char = ';';

/// Rejects unknown variables. `set` are the names that are set and not empty.
///
/// # Errors
///
/// One for each unknown variable, with the nearest name.
pub fn check_names<'n>(set: impl IntoIterator<Item = &'n str>) -> Result<(), ConfigError> {
    let known: Vec<String> = FLAGS.into_iter().map(variable).collect();
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    let is_known = |rest: &str| {
        known.iter().any(|name| name[PREFIX.len()..] == *rest)
            || command::FIELDS.iter().any(|field| field.to_ascii_uppercase() == rest)
            || OF_SCRIPTS.contains(&rest)
            || FOREIGN_STARTS.iter().any(|start| rest.starts_with(start))
    };
    let unknown =
        set.into_iter().filter(|name| name.strip_prefix(PREFIX).is_some_and(|rest| !is_known(rest)));
    let errors = unknown.map(|name| {
        // Without the prefix, which makes all names similar.
        let short = known.iter().map(|known| &known[PREFIX.len()..]);
        let help = match nearest(&name[PREFIX.len()..], short) {
            Some(near) => format!("did you mean {PREFIX}{near}?"),
            None => "unset it; docs/configuration.md lists all variables".to_owned(),
        };
        ConfigError::of_variable(name, format!("unknown variable; {help}"))
    });
    errors.reduce(ConfigError::and).map_or(Ok(()), Err)
}

impl Overrides {
    /// Fills settings without a flag from the environment.
    ///
    /// # Errors
    ///
    /// A variable is malformed.
    pub fn fill(&mut self, environment: &Environment<'_>) -> Result<(), ConfigError> {
        let mut filled = Vec::new();
        let mut text = |flag: &'static str, slot: &mut Option<String>| {
            if slot.is_none() {
                *slot = environment(&variable(flag));
                filled.extend(slot.is_some().then_some(flag));
            }
        };
        text("time-zone", &mut self.time_zone);
        text("edition", &mut self.edition);
        text("locale", &mut self.locale);
        text("feed-url", &mut self.feed_url);
        text("poll", &mut self.poll);
        text("trouble", &mut self.trouble);
        text("log-level", &mut self.log_level);
        text("log-format", &mut self.log_format);
        for (flag, path) in [
            ("config", &mut self.config),
            ("ca-file", &mut self.ca_file),
            ("state-directory", &mut self.state_directory),
            ("record-file", &mut self.record_file),
        ] {
            let mut given = path.take().map(|path| path.into_os_string());
            if given.is_none() {
                given = environment(&variable(flag)).map(Into::into);
                filled.extend(given.is_some().then_some(flag));
            }
            *path = given.map(PathBuf::from);
        }
        if self.watch.is_empty()
            && let Some(given) = environment(&variable("watch"))
        {
            self.watch = given.split(WATCH_DELIMITER).map(str::to_owned).collect();
            filled.push("watch");
        }
        if self.jitter_s.is_none()
            && let Some(given) = environment(&variable("jitter-s"))
        {
            self.jitter_s = Some(jitter_s(&given).map_err(|error| {
                ConfigError::of_variable(variable("jitter-s"), format!("invalid number {given:?}: {error}"))
            })?);
            filled.push("jitter-s");
        }
        self.from_variables.extend(filled);
        Ok(())
    }
}

/// Parses the seconds of a flag or a variable.
///
/// # Errors
///
/// The expected form, in plain words.
pub fn jitter_s(text: &str) -> Result<i64, &'static str> {
    text.trim().parse().map_err(|_| "expected whole seconds, 0 to 3600")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(set: &[&str], expected: &[&str]) {
        let lines = check_names(set.iter().copied()).map_or_else(|error| error.lines(), |()| Vec::new());
        assert_eq!(lines, expected);
    }

    #[test]
    fn an_unknown_variable_is_an_error_with_the_nearest_name() {
        check(&["STATUSD_PLOL"], &["STATUSD_PLOL: unknown variable; did you mean STATUSD_POLL?"]);
        check(
            &["STATUSD_TIMEZONE"],
            &["STATUSD_TIMEZONE: unknown variable; did you mean STATUSD_TIME_ZONE?"],
        );
        check(
            &["STATUSD_XYZZY", "STATUSD_WACH", "PATH", "statusd_poll"],
            &[
                "STATUSD_WACH: unknown variable; did you mean STATUSD_WATCH?",
                "STATUSD_XYZZY: unknown variable; unset it; docs/configuration.md lists all variables",
            ],
        );
    }

    #[test]
    fn variables_of_command_channels_and_containers_are_accepted() {
        let ours: Vec<String> =
            command::FIELDS.iter().map(|field| format!("STATUSD_{}", field.to_uppercase())).collect();
        check(&ours.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
        check(
            &["STATUSD_SERVICE_HOST", "STATUSD_SERVICE_PORT_HTTP", "STATUSD_PORT_80_TCP", "STATUSD_PORT"],
            &[],
        );
        check(&["STATUSD_SEED", "STATUSD_TEST_URL", "STATUSD_RECORDINGS"], &[]);
        check(&FLAGS.map(variable).each_ref().map(String::as_str), &[]);
    }

    #[test]
    fn a_flag_overrides_its_variable_and_an_error_names_the_variable() {
        let environment = |name: &str| match name {
            "STATUSD_POLL" => Some("1 * * * *".to_owned()),
            "STATUSD_WATCH" => Some("Photos;iCloud *".to_owned()),
            "STATUSD_CONFIG" => Some("/dev/null".to_owned()),
            _ => None,
        };
        let mut overrides = Overrides { poll: Some("2 * * * *".to_owned()), ..Overrides::default() };
        overrides.fill(&environment).expect("good");
        assert_eq!(overrides.poll.as_deref(), Some("2 * * * *"));
        assert_eq!(overrides.watch, ["Photos", "iCloud *"]);
        assert_eq!(overrides.from_variables.iter().copied().collect::<Vec<_>>(), ["config", "watch"]);
        let wrong =
            Overrides::default().fill(&|name| (name == "STATUSD_JITTER_S").then(|| "soon".to_owned()));
        let expected = r#"STATUSD_JITTER_S: invalid number "soon": expected whole seconds, 0 to 3600"#;
        assert_eq!(wrong.expect_err("no number").to_string(), expected);
    }
}
