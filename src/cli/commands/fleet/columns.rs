//! Finds the columns of a device list by the names that device management systems use, or by the names
//! given on the command line.
//!
//! Reads only the header. Two equally good columns are an error. A column that may be about backups
//! other than iCloud's always gets a remark.

use csv::StringRecord;
use jiff::tz::{Offset, TimeZone};

use crate::text;

/// The most column names in an error.
const MAX_NAMED: usize = 12;
const MAX_NAME_CHARS: usize = 40;

/// Column names, folded by [`folded`]. If a list has several of them, the first one here is used.
const DEVICE: [&str; 15] = [
    "device",
    "devicename",
    "name",
    "displayname",
    "devicedisplayname",
    "devicefriendlyname",
    "hostname",
    "assettag",
    "serialnumber",
    "serial",
    "deviceserialnumber",
    "udid",
    "deviceudid",
    "deviceid",
    "id",
];
const ICLOUD_BACKUP: [&str; 10] = [
    "lastcloudbackupdate",
    "lasticloudbackupdate",
    "lastcloudbackuptime",
    "lasticloudbackuptime",
    "lastcloudbackuptimestamp",
    "lasticloudbackuptimestamp",
    "lastcloudbackupat",
    "lasticloudbackupat",
    "lastcloudbackup",
    "lasticloudbackup",
];
/// May also be the last backup to a computer.
const SOME_BACKUP: [&str; 5] =
    ["lastbackupdate", "lastbackuptime", "lastbackuptimestamp", "lastbackupat", "lastbackup"];
const ICLOUD_ENABLED: [&str; 9] = [
    "iscloudbackupenabled",
    "isicloudbackupenabled",
    "cloudbackupenabled",
    "icloudbackupenabled",
    "cloudbackupsareenabled",
    "cloudbackupstatus",
    "icloudbackupstatus",
    "cloudbackup",
    "icloudbackup",
];
const SOME_ENABLED: [&str; 4] = ["isbackupenabled", "backupenabled", "backupstatus", "backup"];
/// All of these are used, because any of them may name the kind of device.
const MODEL: [&str; 16] = [
    "model",
    "modelname",
    "modelidentifier",
    "devicemodel",
    "devicemodelname",
    "hardwaremodel",
    "producttype",
    "productname",
    "deviceclass",
    "devicefamily",
    "devicetype",
    "platform",
    "os",
    "ostype",
    "osname",
    "operatingsystem",
];
/// The suffix of a column with seconds since 1970.
const EPOCH: &str = "epoch";

/// The column names given on the command line.
#[derive(Clone, Copy, Debug, Default)]
pub struct NamedColumns<'a> {
    pub device: Option<&'a str>,
    pub backup: Option<&'a str>,
}

/// The reason why columns cannot be used. `Display` is one line and ends with the next step.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ColumnError {
    #[error("no column {wanted}; found: {found}; name it with {flag}")]
    Missing { wanted: &'static str, flag: &'static str, found: String },
    #[error("no column {name:?} ({flag}); {hint}")]
    Unknown { name: String, flag: &'static str, hint: String },
    #[error("two columns are named {0:?}; rename one of them")]
    Duplicate(String),
}

impl ColumnError {
    /// Returns true if a flag names a column that the list does not have.
    pub fn is_usage(&self) -> bool {
        matches!(self, ColumnError::Unknown { .. })
    }
}

/// A column that is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// From 0.
    pub number: usize,
    /// The name in the list, without control characters.
    pub name: String,
    /// The time zone in its name, if any.
    pub zone: Option<TimeZone>,
}

/// The columns of a list by their role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns {
    /// The number of columns in the list.
    pub count: usize,
    /// The numbers of columns that identify the device. The first that is not empty is its name.
    pub devices: Vec<usize>,
    /// The name of the first of them.
    pub device: String,
    pub backup: Column,
    pub enabled: Option<Column>,
    /// The numbers of columns that may name the kind of device.
    pub models: Vec<usize>,
    /// Remarks for users about columns that were chosen with some doubt.
    pub remarks: Vec<String>,
}

impl Columns {
    pub fn find(head: &StringRecord, named: &NamedColumns<'_>) -> Result<Columns, ColumnError> {
        let head =
            Header(head.iter().enumerate().map(|(number, text)| Heading::parse(number, text)).collect());
        let devices = head.devices(named.device)?;
        let device = devices.first().map_or_else(String::new, |heading| heading.shown.clone());
        let devices = devices.iter().map(|heading| heading.number).collect();
        let mut remarks = Vec::new();
        let backup = head.backup(named.backup, &mut remarks)?;
        let enabled = head.enabled(backup.number, &mut remarks)?;
        let models = head.0.iter().filter(|heading| MODEL.contains(&heading.folded.as_str()));
        let models = models.map(|heading| heading.number).collect();
        Ok(Columns { count: head.0.len(), devices, device, backup, enabled, models, remarks })
    }

    /// Returns the numbers of the columns that are read for every iPhone and iPad.
    pub fn used(&self) -> impl Iterator<Item = usize> {
        let enabled = self.enabled.iter().map(|column| column.number);
        self.devices.iter().copied().chain([self.backup.number]).chain(enabled)
    }
}

struct Header(Vec<Heading>);

impl Header {
    /// Returns the columns that identify a device, the best one first. Serial numbers replace empty names.
    fn devices(&self, name: Option<&str>) -> Result<Vec<&Heading>, ColumnError> {
        let known = DEVICE.iter().flat_map(|name| self.0.iter().filter(move |h| h.folded == *name));
        let mut found: Vec<&Heading> = known.collect();
        if let Some(name) = name {
            let named = self.by_name(name, "--device-column")?;
            found.retain(|heading| heading.number != named.number);
            found.insert(0, named);
        }
        match found.as_slice() {
            [] => Err(self.missing("“device” (or “name”, “serial number”)", "--device-column")),
            [first, second, ..] if name.is_none() && first.folded == second.folded => {
                Err(ColumnError::Duplicate(first.shown.clone()))
            }
            _ => Ok(found),
        }
    }

    fn backup(&self, name: Option<&str>, remarks: &mut Vec<String>) -> Result<Column, ColumnError> {
        if let Some(name) = name {
            let heading = self.by_name(name, "--backup-column")?;
            remarks.extend(heading.doubtful_zone());
            return Ok(heading.column());
        }
        if let Some(heading) = self.best(&ICLOUD_BACKUP)? {
            return Ok(heading.column());
        }
        let wanted = "“last backup” (or “last iCloud backup date”)";
        let heading = self.best(&SOME_BACKUP)?.ok_or_else(|| self.missing(wanted, "--backup-column"))?;
        remarks.push(format!(
            "The column “{}” does not name iCloud; it is used as the last iCloud backup. \
             To use another column: --backup-column NAME.",
            heading.shown
        ));
        Ok(heading.column())
    }

    /// Returns the column for iCloud Backup on or off, which is never the column of the last backup.
    fn enabled(&self, backup: usize, remarks: &mut Vec<String>) -> Result<Option<Column>, ColumnError> {
        let is_other = |heading: &&Heading| heading.number != backup;
        if let Some(heading) = self.best(&ICLOUD_ENABLED)?.filter(is_other) {
            return Ok(Some(heading.column()));
        }
        let Some(heading) = self.best(&SOME_ENABLED)?.filter(is_other) else { return Ok(None) };
        remarks.push(format!(
            "The column “{}” does not name iCloud; it is used as the iCloud Backup setting. \
             If that is wrong, rename the column.",
            heading.shown
        ));
        Ok(Some(heading.column()))
    }

    /// Returns the best column of these names. Columns with unambiguous times come first, then the order of
    /// `names` decides.
    fn best(&self, names: &[&str]) -> Result<Option<&Heading>, ColumnError> {
        let rank = |heading: &&Heading| {
            let place = names.iter().position(|name| *name == heading.base())?;
            Some((!heading.has_fixed_zone(), place))
        };
        let mut known: Vec<&Heading> = self.0.iter().filter(|heading| rank(heading).is_some()).collect();
        known.sort_by_key(rank);
        match known.as_slice() {
            [first, second, ..] if rank(first) == rank(second) && first.full == second.full => {
                Err(ColumnError::Duplicate(first.shown.clone()))
            }
            all => Ok(all.first().copied()),
        }
    }

    fn by_name(&self, name: &str, flag: &'static str) -> Result<&Heading, ColumnError> {
        let exact: Vec<&Heading> = self.0.iter().filter(|heading| heading.text == name.trim()).collect();
        let folded_matches = || self.0.iter().filter(|heading| heading.full == folded(name)).collect();
        let found: Vec<&Heading> = if exact.is_empty() { folded_matches() } else { exact };
        match found.as_slice() {
            [one] => Ok(one),
            [one, ..] => Err(ColumnError::Duplicate(one.shown.clone())),
            [] => {
                let name = shortened(name);
                let near = text::near(&name, self.0.iter().map(|heading| heading.shown.as_str()));
                let hint = match near.as_slice() {
                    [] => format!("found: {}", self.listed()),
                    near => format!("did you mean {}?", near.join(" or ")),
                };
                Err(ColumnError::Unknown { name, flag, hint })
            }
        }
    }

    fn missing(&self, wanted: &'static str, flag: &'static str) -> ColumnError {
        ColumnError::Missing { wanted, flag, found: self.listed() }
    }

    fn listed(&self) -> String {
        let named: Vec<&str> = self.0.iter().take(MAX_NAMED).map(|heading| heading.shown.as_str()).collect();
        let more = if self.0.len() > MAX_NAMED { ", …" } else { "" };
        format!("{}{more}", named.join(", "))
    }
}

/// The heading of a column.
struct Heading {
    number: usize,
    /// Trimmed.
    text: String,
    /// Shortened, without control characters.
    shown: String,
    /// The whole heading, folded.
    full: String,
    /// The heading without zone and path, folded.
    folded: String,
    zone: Option<TimeZone>,
}

impl Heading {
    fn parse(number: usize, text: &str) -> Heading {
        let text = text.trim();
        let (name, zone) = without_zone(text);
        // `general.lastCloudBackupDate`, `ios.IsCloudBackupEnabled`
        let name = name.rsplit('.').find(|part| !folded(part).is_empty()).unwrap_or(name);
        let mut folded_name = folded(name);
        let mut zone = zone;
        for utc in ["utc", "gmt"] {
            // `LastCloudBackupDateUTC`
            if zone.is_none()
                && let Some(base) = folded_name.strip_suffix(utc)
            {
                folded_name = base.to_owned();
                zone = Some(TimeZone::UTC);
            }
        }
        let shown = shortened(text);
        Heading { number, text: text.to_owned(), shown, full: folded(text), folded: folded_name, zone }
    }

    fn column(&self) -> Column {
        Column { number: self.number, name: self.shown.clone(), zone: self.zone.clone() }
    }

    /// Returns a remark if the heading ends with an unknown zone in brackets, as in `Last Backup (EST)`.
    fn doubtful_zone(&self) -> Option<String> {
        let is_doubtful = self.zone.is_none() && without_zone(&self.text).0.ends_with([')', ']']);
        is_doubtful.then(|| {
            format!("The times under “{}” are read in the configured time zone (--time-zone).", self.shown)
        })
    }

    fn base(&self) -> &str {
        self.folded.strip_suffix(EPOCH).unwrap_or(&self.folded)
    }

    /// Returns true if the times of the column do not depend on the configured zone.
    fn has_fixed_zone(&self) -> bool {
        self.zone.is_some() || self.folded.ends_with(EPOCH)
    }
}

/// Splits the zone off a name: `Last Backup (UTC)`, `last_backup_utc`, `Last Backup +00:00`.
fn without_zone(text: &str) -> (&str, Option<TimeZone>) {
    let bracket = text.strip_suffix([')', ']']).and_then(|text| text.rsplit_once(['(', '[']));
    if let Some((name, content)) = bracket {
        let zone = content.split_whitespace().find_map(zone);
        let is_local = content.split_whitespace().any(|word| word.eq_ignore_ascii_case("local"));
        return if zone.is_some() || is_local { (name.trim_end(), zone) } else { (text, None) };
    }
    let end = text.rfind(|c: char| c.is_whitespace() || c == '_' || c == ',');
    let Some((name, word)) = end.map(|at| text.split_at(at)) else { return (text, None) };
    let word = word.trim_start_matches(|c: char| c.is_whitespace() || c == '_' || c == ',');
    match zone(word) {
        Some(zone) => {
            let name = name.trim_end();
            let ends_with_in = name.to_ascii_lowercase().ends_with(" in");
            (if ends_with_in { &name[..name.len() - 3] } else { name }, Some(zone))
        }
        None => (text, None),
    }
}

/// Parses `UTC`, `GMT`, `Z`, `+00:00`, `UTC+2` or `Europe/Berlin`.
fn zone(word: &str) -> Option<TimeZone> {
    let word = word.trim_matches([',', ';', ':']);
    let upper = word.to_ascii_uppercase();
    if ["Z", "ZULU", "UTC", "GMT"].contains(&upper.as_str()) {
        return Some(TimeZone::UTC);
    }
    if word.contains('/') {
        return TimeZone::get(word).ok();
    }
    let signed = upper.strip_prefix("UTC").or(upper.strip_prefix("GMT")).unwrap_or(&upper);
    let (sign, number) = match (signed.strip_prefix('+'), signed.strip_prefix(['-', '−'])) {
        (Some(number), _) => (1, number),
        (None, Some(number)) => (-1, number),
        (None, None) => return None,
    };
    let (hours, minutes) = match number.split_once(':') {
        Some(parts) => parts,
        None if number.len() == 4 && number.is_ascii() => number.split_at(2),
        None => (number, "0"),
    };
    let is_number = |text: &str| (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    let read = |text: &str| text.parse::<i32>().ok().filter(|_| is_number(text));
    let seconds = sign * (read(hours)? * 3_600 + read(minutes)? * 60);
    Offset::from_seconds(seconds).ok().map(TimeZone::fixed)
}

/// Reduces a name to lower-case letters and digits, because exports differ in the rest.
fn folded(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

fn shortened(text: &str) -> String {
    text::plain_line(text, MAX_NAME_CHARS)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn find(head: &[&str], named: NamedColumns<'_>) -> Result<Columns, ColumnError> {
        Columns::find(&StringRecord::from(head), &named)
    }

    /// Compares the name of the last-backup column and the offset of its times.
    #[track_caller]
    fn check(head: &[&str], name: &str, zone: Option<&str>) -> Columns {
        let head = [&["device"], head].concat();
        let columns = find(&head, NamedColumns::default()).expect("columns");
        let noon = jiff::Timestamp::UNIX_EPOCH;
        let offset = columns.backup.zone.as_ref().map(|zone| zone.to_offset(noon).to_string());
        assert_eq!((columns.backup.name.as_str(), offset.as_deref()), (name, zone), "{head:?}");
        columns
    }

    #[track_caller]
    fn check_error(head: &[&str], named: NamedColumns<'_>, message: &str) {
        assert_eq!(find(head, named).expect_err("no columns").to_string(), message);
    }

    #[test]
    fn a_heading_can_contain_the_zone_of_its_times() {
        for name in [
            "Last iCloud Backup Date (UTC)",
            "Last iCloud Backup (in UTC)",
            "Last iCloud Backup [utc]",
            "Last iCloud Backup (GMT)",
            "Last iCloud Backup (Z)",
            "Last iCloud Backup (+00:00)",
            "Last iCloud Backup (UTC+00:00)",
            "Last iCloud Backup (UTC time)",
            "Last iCloud Backup UTC",
            "Last iCloud Backup in UTC",
            "Last iCloud Backup Z",
            "Last iCloud Backup +00:00",
            "Last iCloud Backup GMT+0",
            "last_cloud_backup_date_utc",
            "last-cloud-backup-date-utc",
            "LastCloudBackupDateUTC",
            "lastCloudBackupDateUtc",
            "general.lastCloudBackupDateUtc",
        ] {
            let columns = check(&[name], name, Some("+00"));
            assert_eq!(columns.remarks, [] as [String; 0]);
        }
        check(&["Last iCloud Backup (UTC+2)"], "Last iCloud Backup (UTC+2)", Some("+02"));
        check(&["Last iCloud Backup (GMT-05:30)"], "Last iCloud Backup (GMT-05:30)", Some("-05:30"));
        check(&["Last iCloud Backup -0500"], "Last iCloud Backup -0500", Some("-05"));
        check(&["Last iCloud Backup (Europe/Berlin)"], "Last iCloud Backup (Europe/Berlin)", Some("+01"));
        check(&["Last iCloud Backup (local time)"], "Last iCloud Backup (local time)", None);
        check(&["ios.LastCloudBackupDate"], "ios.LastCloudBackupDate", None);
        // An abbreviation may name several zones, so the column is not accepted.
        let message = "no column “last backup” (or “last iCloud backup date”); found: device, Last iCloud Backup \
                     (EST); name it with --backup-column";
        check_error(&["device", "Last iCloud Backup (EST)"], NamedColumns::default(), message);
    }

    #[test]
    fn icloud_columns_and_fixed_zones_are_preferred() {
        let local = "last_cloud_backup_date";
        check(&[local, "last_cloud_backup_date_epoch"], "last_cloud_backup_date_epoch", None);
        check(&["Last iCloud Backup", "last_cloud_backup_utc"], "last_cloud_backup_utc", Some("+00"));
        let both = check(&["Last Backup (UTC)", "Last iCloud Backup"], "Last iCloud Backup", None);
        assert_eq!(both.remarks, [] as [String; 0]);
        let vague = check(&["Last Backup"], "Last Backup", None);
        let remark = "The column “Last Backup” does not name iCloud; it is used as the last \
                      iCloud backup. To use another column: --backup-column NAME.";
        assert_eq!(vague.remarks, [remark]);
        let switch = check(&["Last iCloud Backup", "Backup Enabled"], "Last iCloud Backup", None);
        assert!(
            switch.remarks[0].starts_with("The column “Backup Enabled” does not name iCloud"),
            "{switch:?}"
        );
        let own = find(&["name", "Last Backup"], NamedColumns { backup: Some("last backup"), device: None });
        assert_eq!(own.expect("columns").remarks, [] as [String; 0], "the user named it");
    }

    #[test]
    fn columns_can_be_named_on_the_command_line() {
        let head = ["Name", "Owner", "Letzte Sicherung (UTC)", "Last Backup"];
        let named = NamedColumns { device: Some(" owner "), backup: Some("Letzte Sicherung (UTC)") };
        let columns = find(&head, named).expect("columns");
        assert_eq!((columns.devices, columns.backup.number), (vec![1, 0], 2));
        assert_eq!(columns.backup.zone, Some(TimeZone::UTC));
        let remark = |name: &str| {
            let named = NamedColumns { backup: Some(name), device: None };
            find(&["name", name], named).expect("columns").remarks
        };
        let message = "The times under “Backup (EST)” are read in the configured time zone (--time-zone).";
        assert_eq!(remark("Backup (EST)"), [message]);
        // The named column is not used a second time as the setting.
        for name in ["Backup (UTC)", "Backup (local)", "Backup", "iCloud Backup"] {
            assert_eq!(remark(name), [] as [String; 0], "{name}");
        }
        let named = NamedColumns { backup: Some("Last Bakcup"), device: None };
        check_error(&head, named, "no column \"Last Bakcup\" (--backup-column); did you mean Last Backup?");
        let named = NamedColumns { device: Some("x"), backup: None };
        let message =
            "no column \"x\" (--device-column); found: Name, Owner, Letzte Sicherung (UTC), Last Backup";
        check_error(&head, named, message);
        assert!(find(&head, named).expect_err("no columns").is_usage());
    }

    #[test]
    fn two_columns_of_one_name_are_an_error() {
        let message = |name: &str| format!("two columns are named {name:?}; rename one of them");
        let none = NamedColumns::default();
        let twice = ["name", "Last iCloud Backup", "last icloud backup"];
        check_error(&twice, none, &message("Last iCloud Backup"));
        check_error(&["name", "Name", "Last iCloud Backup"], none, &message("name"));
        let switches = ["name", "Last iCloud Backup", "iCloud Backup", "iCloud Backup"];
        check_error(&switches, none, &message("iCloud Backup"));
        let named = NamedColumns { backup: Some("LAST ICLOUD BACKUP"), device: None };
        check_error(&twice, named, &message("Last iCloud Backup"));
        let exact = NamedColumns { backup: Some("last icloud backup"), device: None };
        assert_eq!(find(&twice, exact).expect("columns").backup.number, 2);
    }

    /// docs/fleet.md lists exactly the names that are recognised.
    #[test]
    fn the_documentation_lists_all_names() {
        let document = include_str!("../../../../docs/fleet.md");
        let rows = document.lines().filter(|line| line.starts_with("| ")).skip(1);
        let names = |start: &str| -> BTreeSet<String> {
            let row = rows.clone().find(|line| line.starts_with(&format!("| {start} |"))).expect(start);
            row.split('`').skip(1).step_by(2).map(folded).collect()
        };
        let all = |lists: &[&[&str]]| lists.concat().into_iter().map(str::to_owned).collect::<BTreeSet<_>>();
        assert_eq!(names("the device"), all(&[&DEVICE]));
        assert_eq!(names("its last iCloud backup"), all(&[&ICLOUD_BACKUP]));
        assert_eq!(names("its last backup"), all(&[&SOME_BACKUP]));
        assert_eq!(names("iCloud Backup on or off"), all(&[&ICLOUD_ENABLED]));
        assert_eq!(names("backups on or off"), all(&[&SOME_ENABLED]));
        assert_eq!(names("what it is"), all(&[&MODEL]));
        for name in names("its last iCloud backup").union(&names("its last backup")) {
            for end in ["", " utc", " epoch", " (UTC)", " gmt"] {
                let columns = find(&["name", &format!("{name}{end}")], NamedColumns::default());
                assert_eq!(columns.map(|columns| columns.backup.number), Ok(1), "{name}{end}");
            }
        }
    }
}
