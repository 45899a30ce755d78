//! The checks of a connected phone: trust, iCloud Backup, the last backup, free space, power, clock.
//!
//! Pure. A value that the phone does not report is "cannot tell". Names and numbers of phones appear only if
//! identifiers are requested (`identifiers_are_shown_on_request`).

mod connection;
#[cfg(test)]
mod tests;

pub use connection::{diagnose_connection, diagnose_other, diagnose_read_error};

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::{Blame, Finding, Status};
use crate::delivery::message::time_format::{lasted, when};
use crate::doctor::guide::GuideStep;
use crate::phones::backup_status::{BackupStatus, Nights};
use crate::phones::{DeviceFamily, Phone, PrivateInfo, PublicInfo, ReadError};

/// The checks of this module, in display order.
pub const IDS: [&str; 6] = [PHONE, ICLOUD_BACKUP, LAST_BACKUP, SPACE, POWER, CLOCK];

const PHONE: &str = "phone";
const ICLOUD_BACKUP: &str = "icloud-backup";
const LAST_BACKUP: &str = "last-backup";
const SPACE: &str = "space";
const POWER: &str = "power";
const CLOCK: &str = "phone-clock";

/// Decimal, as Apple counts.
const GB: u64 = 1_000_000_000;
/// Free space is low below a twentieth of the capacity, within the two bounds below. A twentieth of a
/// large phone is plenty; a twentieth of a small one is too little for iOS.
const LOW_SPACE_DIVISOR: u64 = 20;
const LOW_SPACE_MIN_BYTES: u64 = GB;
const LOW_SPACE_MAX_BYTES: u64 = 5 * GB;
const LOW_BATTERY_PERCENT: u8 = 20;
/// Above this deviation, certificates near the start or end of their validity may look invalid.
const CLOCK_WARNING: SignedDuration = SignedDuration::from_mins(5);
/// Above this deviation, certificates look invalid and the phone cannot connect to iCloud.
const CLOCK_PROBLEM: SignedDuration = SignedDuration::from_hours(24);
/// The phone's clock may be slightly ahead of this computer's.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_hours(1);

const BACKUP_SETTINGS: &str = "Settings, your name, iCloud, iCloud Backup";

/// The context of the checks and the options for their output.
#[derive(Clone, Debug)]
pub struct PhoneView<'a> {
    pub now: Timestamp,
    pub zone: &'a TimeZone,
    /// Include the names and numbers of phones.
    pub identifiers: bool,
}

/// Returns the findings of all checks, phone by phone. `phones` contains no other devices.
pub fn diagnose(
    phones: &Result<Vec<Phone>, ReadError>,
    nights: &Nights,
    view: &PhoneView<'_>,
) -> Vec<Finding> {
    let phones = match phones {
        Ok(phones) if !phones.is_empty() => phones,
        Ok(_) => return without_phone(connection::no_phone()),
        Err(error) => return without_phone(diagnose_read_error(error)),
    };
    let mut findings = Vec::new();
    for (index, phone) in phones.iter().enumerate() {
        let subject = subject(phones, index, view.identifiers);
        findings.extend(diagnose_phone(phone, nights, view).map(|finding| finding.subject(subject.clone())));
    }
    findings
}

/// Returns "iPhone", or "iPhone 2 (iPhone13,2)" if there are several phones. Adds the name and number of
/// the phone if identifiers are requested.
pub fn subject(phones: &[Phone], index: usize, identifiers: bool) -> String {
    let Some(phone) = phones.get(index) else { return device_name(&PublicInfo::default()).to_owned() };
    let mut subject = device_name(&phone.public).to_owned();
    if phones.len() > 1 {
        subject.push_str(&format!(" {}", index + 1));
        if let Some(model) = &phone.public.model {
            subject.push_str(&format!(" ({model})"));
        }
    }
    subject.push_str(&identity(phone, identifiers));
    subject
}

/// Returns the name and number of the phone after a space; empty unless identifiers are requested.
fn identity(phone: &Phone, identifiers: bool) -> String {
    if !identifiers {
        return String::new();
    }
    let name = phone.public.name.as_ref().map(|name| format!(" “{name}”"));
    format!("{} {}", name.unwrap_or_default(), phone.udid.expose())
}

fn diagnose_phone(phone: &Phone, nights: &Nights, view: &PhoneView<'_>) -> [Finding; 6] {
    let clock = diagnose_clock(&phone.public, view.now);
    let findings = match &phone.private {
        Ok(private) => [
            diagnose_icloud_backup(private),
            last_backup(private, nights, view),
            diagnose_space(private),
            diagnose_power(private),
        ],
        Err(_) => [ICLOUD_BACKUP, LAST_BACKUP, SPACE, POWER]
            .map(|id| Finding::new(id, Status::Skipped, "the iPhone does not report this to this computer")),
    };
    let [icloud_backup, last_backup, space, power] = findings;
    [diagnose_connection(phone), icloud_backup, last_backup, space, power, clock]
}

/// Returns the first finding and skips the other checks.
fn without_phone(first: Finding) -> Vec<Finding> {
    let others = IDS.iter().skip(1).map(|id| Finding::new(id, Status::Skipped, "no iPhone to check"));
    [first].into_iter().chain(others).collect()
}

/// Checks whether iCloud Backup is on.
pub fn diagnose_icloud_backup(private: &PrivateInfo) -> Finding {
    let finding = match private.backup_enabled {
        Some(true) => Finding::new(ICLOUD_BACKUP, Status::Ok, "iCloud Backup is on"),
        Some(false) => Finding::new(ICLOUD_BACKUP, Status::Problem, "iCloud Backup is off")
            .blame(Blame::Phone)
            .todo(format!(
                "{BACKUP_SETTINGS}: turn on Back Up This iPhone, then tap Back Up Now. If the switch is \
                 missing or grey, a profile of your employer or school may forbid it."
            ))
            .step(GuideStep::BackUpNow),
        None => Finding::new(
            ICLOUD_BACKUP,
            Status::CannotTell,
            "the iPhone does not report whether iCloud Backup is on",
        )
        .todo(format!("Check on the iPhone: {BACKUP_SETTINGS}."))
        .step(GuideStep::BackUpNow),
    };
    let signed_in = if private.is_signed_in == Some(true) { "yes" } else { "unknown" };
    finding.evidence([
        format!("CloudBackupEnabled: {}", yes_no(private.backup_enabled)),
        format!("signed in to iCloud: {signed_in}"),
    ])
}

fn last_backup(private: &PrivateInfo, nights: &Nights, view: &PhoneView<'_>) -> Finding {
    let status = nights.status(private.last_backup, private.backup_enabled);
    let finding = diagnose_last_backup(private.last_backup, status, view.now, view.zone);
    let outage = private.last_backup.and_then(|last| nights.outage_in_last_missed(last));
    finding.evidence(outage.map(|outage| {
        let at = |time| when(time, view.now, view.zone);
        let to = outage.to.map_or("now".to_owned(), at);
        format!("Apple had an outage in the last night without a backup, from {} to {to}", at(outage.from))
    }))
}

/// Checks the date of the last backup. `status` compares it with Apple's outages.
pub fn diagnose_last_backup(
    last: Option<Timestamp>,
    status: BackupStatus,
    now: Timestamp,
    zone: &TimeZone,
) -> Finding {
    if status == BackupStatus::Off {
        return Finding::new(LAST_BACKUP, Status::Skipped, "iCloud Backup is off")
            .evidence([last_evidence(last)]);
    }
    let todo = format!("Check on the iPhone: {BACKUP_SETTINGS}. The date is below Back Up Now.");
    let finding = match last {
        None => Finding::new(LAST_BACKUP, Status::CannotTell, "the iPhone does not report its last backup")
            .todo(todo)
            .step(GuideStep::BackUpNow),
        Some(last) if last.duration_since(now) > CLOCK_TOLERANCE => {
            let seen = format!("the last iCloud backup is dated in the future ({})", when(last, now, zone));
            Finding::new(LAST_BACKUP, Status::CannotTell, seen)
                .todo("Check the clocks of the iPhone and of this computer.")
        }
        Some(last) => dated(last, status, now, zone),
    };
    finding.evidence([last_evidence(last)])
}

fn dated(last: Timestamp, status: BackupStatus, now: Timestamp, zone: &TimeZone) -> Finding {
    let seen = format!("last iCloud backup {} ago ({})", lasted(last, now), when(last, now, zone));
    match status {
        BackupStatus::UpToDate => Finding::new(LAST_BACKUP, Status::Ok, seen),
        BackupStatus::LateByApple => {
            Finding::new(LAST_BACKUP, Status::Problem, format!("{seen}; Apple had an outage since"))
                .blame(Blame::Apple)
                .todo(
                    "Nothing to repair: the iPhone catches up by itself once Apple's service works. Leave it \
                     locked, on power and on Wi-Fi tonight.",
                )
                .step(GuideStep::AppleStatus)
        }
        BackupStatus::LateOtherwise => Finding::new(
            LAST_BACKUP,
            Status::Problem,
            format!("{seen}, not because of Apple"),
        )
        .blame(Blame::Phone)
        .todo(format!(
            "Connect the iPhone to Wi-Fi and power, then {BACKUP_SETTINGS}, Back Up Now. If it fails, \
                     the error shown there states the reason."
        ))
        .step(GuideStep::BackUpNow),
        BackupStatus::Unknown => {
            let seen = format!("{seen}; unknown whether Apple had an outage since");
            Finding::new(LAST_BACKUP, Status::CannotTell, seen)
        }
        // Unreachable: `Off` is handled by the caller, and `Skipped` occurs in fleet lists only.
        BackupStatus::Off | BackupStatus::Skipped => {
            Finding::new(LAST_BACKUP, Status::Skipped, "iCloud Backup is off")
        }
    }
}

fn last_evidence(last: Option<Timestamp>) -> String {
    format!("LastCloudBackupDate: {}", last.map_or("unknown".to_owned(), |last| last.to_string()))
}

/// Checks the free space on the phone. Never a problem, because the phone reports a lower bound and can
/// free more.
pub fn diagnose_space(private: &PrivateInfo) -> Finding {
    let bytes = |bytes: Option<u64>| bytes.map_or("unknown".to_owned(), |bytes| format!("{bytes} bytes"));
    let evidence = [
        format!("AmountDataAvailable: {}", bytes(private.free_bytes)),
        format!("TotalDataCapacity: {}", bytes(private.capacity_bytes)),
    ];
    let Some(free) = private.free_bytes else {
        return Finding::new(SPACE, Status::CannotTell, "the iPhone does not report its free space")
            .todo("Check on the iPhone: Settings, General, iPhone Storage.")
            .evidence(evidence);
    };
    let (seen, low) = match private.capacity_bytes {
        Some(capacity) => (
            format!("{} of {} free on the iPhone", gigabytes(free), gigabytes(capacity)),
            (capacity / LOW_SPACE_DIVISOR).clamp(LOW_SPACE_MIN_BYTES, LOW_SPACE_MAX_BYTES),
        ),
        None => (format!("{} free on the iPhone", gigabytes(free)), LOW_SPACE_MIN_BYTES),
    };
    let finding = if free < low {
        Finding::new(SPACE, Status::Warning, seen)
            .blame(Blame::Phone)
            .todo("Free space: Settings, General, iPhone Storage shows what uses it.")
            .step(GuideStep::FreeSpace)
    } else {
        Finding::new(SPACE, Status::Ok, seen)
    };
    finding.evidence(evidence)
}

/// Checks whether battery and power supply allow an automatic backup.
pub fn diagnose_power(private: &PrivateInfo) -> Finding {
    let evidence = [
        format!("BatteryCurrentCapacity: {}", private.battery_percent.map_or("unknown".to_owned(), percent)),
        format!("BatteryIsCharging: {}", yes_no(private.is_charging)),
        format!("ExternalConnected: {}", yes_no(private.has_power)),
        "an automatic backup waits until the iPhone is on power, on Wi-Fi and locked".to_owned(),
    ];
    let is_powered = if private.is_charging == Some(true) { Some(true) } else { private.has_power };
    let power = match is_powered {
        Some(true) if private.is_charging == Some(true) => Some("charging"),
        Some(true) => Some("on power"),
        Some(false) => Some("not on power"),
        None => None,
    };
    let battery = private.battery_percent.map(|level| format!("battery {}", percent(level)));
    let seen: Vec<String> = battery.into_iter().chain(power.map(str::to_owned)).collect();
    if seen.is_empty() {
        let seen = "the iPhone does not report its battery";
        return Finding::new(POWER, Status::CannotTell, seen).evidence(evidence);
    }
    let seen = seen.join(", ");
    let is_low = private.battery_percent.is_some_and(|level| level <= LOW_BATTERY_PERCENT);
    let finding = match (is_low, is_powered) {
        (true, Some(false)) => Finding::new(POWER, Status::Warning, seen)
            .blame(Blame::Phone)
            .todo("Connect it to power. Automatic backups need power, Wi-Fi and a locked screen.")
            .step(GuideStep::WifiAndPower),
        (true, None) => {
            Finding::new(POWER, Status::CannotTell, format!("{seen}; unknown whether it is on power"))
                .todo(
                    "Make sure that it is charging. Automatic backups need power, Wi-Fi and a locked screen.",
                )
                .step(GuideStep::WifiAndPower)
        }
        (true, Some(true)) | (false, _) => Finding::new(POWER, Status::Ok, seen),
    };
    finding.evidence(evidence)
}

/// Compares the phone's clock with `now`, this computer's.
pub fn diagnose_clock(public: &PublicInfo, now: Timestamp) -> Finding {
    let Some(clock) = public.clock else {
        return Finding::new(CLOCK, Status::CannotTell, "the iPhone does not report its time")
            .evidence(["TimeIntervalSince1970: unknown".to_owned()]);
    };
    let (direction, early, late) =
        if clock < now { ("behind", clock, now) } else { ("ahead of", now, clock) };
    let deviation = late.duration_since(early);
    let status = if deviation > CLOCK_PROBLEM {
        Status::Problem
    } else if deviation > CLOCK_WARNING {
        Status::Warning
    } else {
        Status::Ok
    };
    let evidence = [format!("the iPhone's time: {clock}"), format!("this computer's time: {now}")];
    if status == Status::Ok {
        return Finding::new(CLOCK, status, "the iPhone's clock agrees with this computer's")
            .evidence(evidence);
    }
    let seen = format!("the iPhone's clock is {} {direction} this computer's", lasted(early, late));
    Finding::new(CLOCK, status, seen)
        .blame(Blame::Phone)
        .todo(
            "Settings, General, Date & Time: turn on Set Automatically. If the iPhone shows the right time, \
             set this computer's clock.",
        )
        .evidence(evidence)
}

/// Returns Apple's name for the kind of device. A device of unknown kind is called an iPhone.
fn device_name(public: &PublicInfo) -> &'static str {
    match public.family() {
        DeviceFamily::IPad => "iPad",
        DeviceFamily::IPod => "iPod",
        DeviceFamily::IPhone | DeviceFamily::Other(_) | DeviceFamily::Unknown => "iPhone",
    }
}

fn yes_no(flag: Option<bool>) -> &'static str {
    match flag {
        Some(true) => "yes",
        Some(false) => "no",
        None => "unknown",
    }
}

fn percent(level: u8) -> String {
    format!("{level} %")
}

/// Returns `9.9 GB` or `10 GB`: one decimal below ten.
fn gigabytes(bytes: u64) -> String {
    let tenths = bytes / (GB / 10);
    if tenths < 100 { format!("{}.{} GB", tenths / 10, tenths % 10) } else { format!("{} GB", tenths / 10) }
}
