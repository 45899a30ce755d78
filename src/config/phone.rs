//! `[phone]`: reading phones, and the check for late backups.
//!
//! A malformed environment variable is an error only if reading phones is enabled
//! (`the_configured_address_of_usbmuxd_overrides_the_environment`).

use std::path::PathBuf;

use jiff::SignedDuration;
use jiff::tz::TimeZone;
use serde::Deserialize;

use super::Environment;
use super::error::{ConfigError, Faults, Origins, at};
use super::paths::absolute_path;
use crate::model::Edition;
use crate::phones::Address;
use crate::phones::late_backup::LatePolicy;
use crate::schedule::{Schedule, duration};

/// A read takes about 1 s; every 30 min is enough to catch a phone that charges for an evening.
pub const DEFAULT_POLL: &str = "*/30 * * * *";
/// In the evening, so that the user can still prepare a backup for the night.
pub const DEFAULT_LATE_CHECK: &str = "0 19 * * *";
/// The variable that other clients of usbmuxd use too.
const ADDRESS_VARIABLE: &str = "USBMUXD_SOCKET_ADDRESS";
/// A phone backs up once a day.
const LATE_LEAST: SignedDuration = SignedDuration::from_hours(24);
const LATE_MOST: SignedDuration = SignedDuration::from_hours(365 * 24);

/// The table as written. `None` if not written.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Settings {
    pub enabled: Option<bool>,
    pub poll: Option<String>,
    pub usbmuxd: Option<String>,
    pub late_after: Option<String>,
    pub late_check: Option<String>,
    pub backups: Option<Vec<PathBuf>>,
}

/// The checked settings.
#[derive(Clone, Debug)]
pub struct PhoneConfig {
    /// Phones are read.
    pub enabled: bool,
    pub poll: Schedule,
    /// As written. Without it, [`PhoneConfig::address`] comes from the environment.
    pub usbmuxd: Option<String>,
    pub address: Address,
    /// As written.
    pub late_after: Option<String>,
    pub late_check: Schedule,
    /// Directories of local backups, in addition to the system's own. Absolute.
    pub backups: Vec<PathBuf>,
    late_from: Option<SignedDuration>,
}

impl PhoneConfig {
    /// Checks the settings. Adds invalid ones to `faults` and uses their defaults.
    pub(super) fn new(
        origins: &Origins,
        settings: Settings,
        edition: Edition,
        zone: &TimeZone,
        environment: &Environment<'_>,
        faults: &mut Faults,
    ) -> PhoneConfig {
        let Settings { enabled, poll, usbmuxd, late_after, late_check, backups } = settings;
        let enabled = enabled.unwrap_or(false);
        let schedule = |key, expression: &Option<String>, default, faults: &mut Faults| {
            let parsed = Schedule::parse(expression.as_deref().unwrap_or(default), zone);
            faults.or(at(origins, key, parsed), || Schedule::of_default(default, zone))
        };
        let late_from = late_after.as_deref().map(|text| late_from(text, edition)).transpose();
        let address = match &usbmuxd {
            Some(text) => at(origins, "phone.usbmuxd", Address::parse(text)),
            None if enabled => self::usbmuxd(environment),
            None => Ok(Address::standard()),
        };
        let absolute = |path| faults.or(absolute_path(origins, "phone.backups", Some(path)), || None);
        let backups: Vec<PathBuf> = backups.unwrap_or_default().into_iter().filter_map(absolute).collect();
        PhoneConfig {
            backups,
            enabled,
            poll: schedule("phone.poll", &poll, DEFAULT_POLL, faults),
            address: faults.or(address, Address::standard),
            late_check: schedule("phone.late_check", &late_check, DEFAULT_LATE_CHECK, faults),
            late_from: faults.or(at(origins, "phone.late_after", late_from), || None),
            usbmuxd,
            late_after,
        }
    }

    /// Returns when a backup is late; `None` if late backups are not reported.
    pub fn late(&self) -> Option<LatePolicy> {
        self.late_from.map(|after| LatePolicy { after, check: self.late_check.clone() })
    }
}

/// Returns the address of usbmuxd from the environment, else the standard one.
///
/// # Errors
///
/// The variable is not a valid address.
pub fn usbmuxd(environment: &Environment<'_>) -> Result<Address, ConfigError> {
    let given = environment(ADDRESS_VARIABLE).filter(|text| !text.is_empty());
    let parsed = given.map(|text| Address::parse(&text)).transpose();
    let parsed = parsed.map_err(|error| ConfigError::of_variable(ADDRESS_VARIABLE, error.to_string()))?;
    Ok(parsed.unwrap_or_else(Address::standard))
}

fn late_from(text: &str, edition: Edition) -> Result<SignedDuration, String> {
    if edition == Edition::Developer {
        return Err("the developer feed has no iCloud Backup; remove the key".to_owned());
    }
    let length =
        duration(text).ok_or_else(|| format!("invalid duration {text:?}: use for example 3d or 1w"))?;
    if !(LATE_LEAST..=LATE_MOST).contains(&length) {
        return Err(format!(
            "invalid duration {text:?}: expected 1 to 365 days, because a phone backs up once a day"
        ));
    }
    Ok(length)
}
