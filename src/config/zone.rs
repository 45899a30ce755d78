//! The time zone: the configured one, else the system's.
//!
//! The environment, the zone database and the system's file are arguments. An unreadable zone becomes
//! UTC, always with the reason (`the_systems_zone_is_never_silently_utc`).

use std::path::Path;
use std::{fmt, fs};

use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};

use super::Environment;
use super::error::ConfigError;
use crate::cause::Cause as _;
use crate::regular_file;
use crate::text::nearest;

/// The file with the system's zone.
pub(super) const LOCALTIME: &str = "/etc/localtime";
const VARIABLE: &str = "TZ";
/// Precedes the zone's name in a path of the database.
const DATABASE_FOLDER: &str = "zoneinfo/";
/// The name that jiff gets for a zone from a copied file.
const NAMELESS: &str = "Local";
/// The largest file of the database has about 4 KiB.
const FILE_MAX_BYTES: u64 = 64 * 1024;
const NO_DATABASE: &str = "this machine has no time zone database; install tzdata";

/// The reason why a zone is unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneFault {
    /// The variable that names the zone, if any.
    pub variable: Option<&'static str>,
    pub reason: String,
}

impl fmt::Display for ZoneFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.variable {
            Some(variable) => write!(f, "{variable}: {}", self.reason),
            None => f.write_str(&self.reason),
        }
    }
}

impl ZoneFault {
    /// Returns the error for a setting that depends on the zone.
    pub(super) fn refuse(&self, key: &str) -> ConfigError {
        let reason = format!("{}; {key} needs a time zone: set time_zone", self.reason);
        match self.variable {
            Some(variable) => ConfigError::of_variable(variable, reason),
            None => ConfigError::nowhere(reason),
        }
    }
}

/// Returns the zone of a setting.
pub(super) fn named(name: &str, database: &TimeZoneDatabase) -> Result<TimeZone, String> {
    let how = "expected one like \"Europe/Berlin\" or \"UTC\"";
    if matches!(name, "UTC" | "Etc/UTC") {
        return Ok(TimeZone::UTC);
    }
    database.get(name).map_err(|_| {
        let zones: Vec<String> = database.available().map(|zone| zone.to_string()).collect();
        match nearest(name, zones.iter().map(String::as_str)) {
            _ if zones.is_empty() => format!("cannot read time zone {name:?}: {NO_DATABASE}"),
            Some(near) => format!("unknown time zone {name:?}; did you mean {near:?}?"),
            None => format!("unknown time zone {name:?}: {how}"),
        }
    })
}

/// Returns the system's zone and its source: `TZ` as in POSIX, else the file.
pub(super) fn system(
    environment: &Environment<'_>,
    localtime: &Path,
    database: &TimeZoneDatabase,
) -> (TimeZone, String, Option<ZoneFault>) {
    let (source, zone, variable) = match environment(VARIABLE) {
        Some(given) => (VARIABLE.to_owned(), of_variable(&given, database), Some(VARIABLE)),
        None => (localtime.display().to_string(), of_file(localtime, database), None),
    };
    match zone {
        Ok(zone) => (zone, source, None),
        Err(reason) => (TimeZone::UTC, source, Some(ZoneFault { variable, reason })),
    }
}

/// `Europe/Berlin`, `:Europe/Berlin`, `/usr/share/zoneinfo/Europe/Berlin`, `CET-1CEST,M3.5.0,M10.5.0`
fn of_variable(given: &str, database: &TimeZoneDatabase) -> Result<TimeZone, String> {
    let name = given.strip_prefix(':').unwrap_or(given);
    if name.starts_with('/') {
        return of_file(Path::new(name), database);
    }
    // A POSIX rule is never a name of the database, and most names with a slash are not rules.
    named(name, database).or_else(|reason| TimeZone::posix(name).map_err(|_| reason))
}

/// Returns the zone of a file: by its name if it is part of the database, else by its contents.
fn of_file(path: &Path, database: &TimeZoneDatabase) -> Result<TimeZone, String> {
    let shown = path.display();
    let target =
        fs::canonicalize(path).map_err(|error| format!("cannot read {shown}: {}", error.reason()))?;
    let by_name = [fs::read_link(path).ok().as_deref(), Some(path), Some(&target)]
        .into_iter()
        .flatten()
        .find_map(|path| {
            let name = path.to_str()?.split_once(DATABASE_FOLDER)?.1;
            database.get(name).ok()
        });
    if let Some(zone) = by_name {
        return Ok(zone);
    }
    let bytes = regular_file::read(&target, FILE_MAX_BYTES)
        .map_err(|error| format!("cannot read {shown}: {}", error.reason()))?;
    let name = target.to_str().and_then(|path| Some(path.split_once(DATABASE_FOLDER)?.1)).unwrap_or(NAMELESS);
    TimeZone::tzif(name, &bytes).map_err(|_| format!("cannot read {shown}: not a time zone file"))
}

/// Returns the name in the zone database. POSIX rules and copied files have none.
pub(super) fn iana_name(zone: &TimeZone) -> Option<&str> {
    zone.iana_name().filter(|name| !zone.is_unknown() && *name != NAMELESS)
}

/// Returns the name for display, or abbreviation and offset of a zone without a name.
pub fn zone_name(zone: &TimeZone, now: Timestamp) -> String {
    iana_name(zone).map_or_else(
        || {
            let info = zone.to_offset_info(now);
            format!("{} (UTC{})", info.abbreviation(), info.offset())
        },
        str::to_owned,
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    const MISSING: &str = "no such file or directory";

    /// `LINK` in `expected` stands for the file's path.
    #[track_caller]
    fn check(variable: Option<&str>, localtime: &Path, has_database: bool, expected: Result<&str, &str>) {
        let empty = TempDir::new().expect("a directory");
        let database = match has_database {
            true => jiff::tz::db().clone(),
            false => TimeZoneDatabase::from_dir(empty.path()).unwrap_or_else(|_| TimeZoneDatabase::none()),
        };
        let environment = |name: &str| variable.filter(|_| name == VARIABLE).map(str::to_owned);
        let (zone, source, fault) = system(&environment, localtime, &database);
        let shown = localtime.display().to_string();
        match (&fault, expected) {
            (None, Ok(expected)) => {
                assert_eq!(zone_name(&zone, Timestamp::UNIX_EPOCH), expected, "{variable:?}")
            }
            (Some(fault), Err(expected)) => {
                assert_eq!(fault.reason, expected.replace("LINK", &shown), "{variable:?}");
                assert_eq!(fault.variable, variable.map(|_| VARIABLE));
                assert_eq!(zone, TimeZone::UTC);
            }
            (fault, expected) => panic!("{variable:?}: {fault:?} {zone:?}, not {expected:?}"),
        }
        assert_eq!(source, variable.map_or(shown, |_| VARIABLE.to_owned()));
    }

    #[test]
    fn the_systems_zone_is_never_silently_utc() {
        let home = TempDir::new().expect("a directory");
        let link = |name: &str, target: &str| {
            let path = home.path().join(name);
            symlink(target, &path).expect("a link");
            path
        };
        let berlin = link("berlin", "/usr/share/zoneinfo/Europe/Berlin");
        let dangling = link("dangling", "/usr/share/zoneinfo/Mars/Phobos");
        let none = home.path().join("none");
        let garbage = home.path().join("garbage");
        fs::write(&garbage, "Berlin").expect("written");
        let copy = home.path().join("copy");
        fs::copy("/usr/share/zoneinfo/Asia/Tokyo", &copy).expect("copied");

        check(Some("Europe/Berlin"), &none, true, Ok("Europe/Berlin"));
        check(Some(":Europe/Berlin"), &none, true, Ok("Europe/Berlin"));
        check(Some("/usr/share/zoneinfo/Europe/Berlin"), &none, true, Ok("Europe/Berlin"));
        check(Some("UTC"), &none, false, Ok("UTC"));
        check(Some("JST-9"), &none, false, Ok("JST (UTC+09)"));
        check(Some("CET-1CEST,M3.5.0,M10.5.0/3"), &none, true, Ok("CET (UTC+01)"));
        check(None, &berlin, true, Ok("Europe/Berlin"));
        check(None, &copy, false, Ok("JST (UTC+09)"));

        let mars = r#"unknown time zone "Mars/Phobos": expected one like "Europe/Berlin" or "UTC""#;
        check(Some("Mars/Phobos"), &berlin, true, Err(mars));
        let berln = r#"unknown time zone "Europe/Berln"; did you mean "Europe/Berlin"?"#;
        check(Some("Europe/Berln"), &berlin, true, Err(berln));
        let no_data = r#"cannot read time zone "Europe/Berlin": this machine has no time zone database; install tzdata"#;
        check(Some("Europe/Berlin"), &none, false, Err(no_data));
        check(Some("/no/such"), &berlin, true, Err(&format!("cannot read /no/such: {MISSING}")));
        check(None, &none, true, Err(&format!("cannot read LINK: {MISSING}")));
        check(None, &dangling, true, Err(&format!("cannot read LINK: {MISSING}")));
        check(None, &garbage, true, Err("cannot read LINK: not a time zone file"));
    }
}
