//! The checks of a connected phone: trust, iCloud Backup, the last backup, free space, power, clock.
//!
//! Pure. A value that the phone does not report is "cannot tell". Names and numbers of phones appear only if
//! identifiers are requested (`identifiers_are_shown_on_request`).

mod connection;
#[cfg(test)]
mod tests;

pub use connection::{judge_connection, judge_other, judge_trouble};

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::{Blame, Finding, Status};
use crate::delivery::message::time_format::{lasted, when};
use crate::doctor::guide::GuideStep;
use crate::phones::backup_status::{BackupStatus, Nights};
use crate::phones::{DeviceFamily, General, Phone, Private, ReadTrouble};

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
/// Free space is low below a twentieth, but never above the one and always below the other: a
/// twentieth of a large phone is plenty, and of a small one too little for iOS to work in.
const LOW_SPACE_PART: u64 = 20;
const LOW_SPACE_MIN_BYTES: u64 = GB;
const LOW_SPACE_MAX_BYTES: u64 = 5 * GB;
const LOW_BATTERY_PERCENT: u8 = 20;
/// Above this deviation, certificates near the start or end of their validity may look invalid.
const CLOCK_WARNING: SignedDuration = SignedDuration::from_mins(5);
/// Above this deviation, certificates look invalid and the phone cannot connect to iCloud.
const CLOCK_PROBLEM: SignedDuration = SignedDuration::from_hours(24);
/// A backup may be dated a little ahead of this computer's clock.
const FUTURE: SignedDuration = SignedDuration::from_hours(1);

const WAY_TO_BACKUP: &str = "Settings, your name, iCloud, iCloud Backup";

/// The context of the checks and the options for their output.
#[derive(Clone, Debug)]
pub struct PhoneView<'a> {
    pub now: Timestamp,
    pub zone: &'a TimeZone,
    /// Include the names and numbers of phones.
    pub identifiers: bool,
}

/// All findings of all checks, phone by phone. `seen` has no devices that are none.
pub fn judge(seen: &Result<Vec<Phone>, ReadTrouble>, nights: &Nights, view: &PhoneView<'_>) -> Vec<Finding> {
    let phones = match seen {
        Ok(phones) if !phones.is_empty() => phones,
        Ok(_) => return absent(connection::no_phone()),
        Err(trouble) => return absent(judge_trouble(trouble)),
    };
    let mut findings = Vec::new();
    for (place, phone) in phones.iter().enumerate() {
        let subject = subject(phones, place, view.identifiers);
        findings.extend(judge_phone(phone, nights, view).map(|found| found.subject(subject.clone())));
    }
    findings
}

/// "iPhone", or "iPhone 2 (iPhone13,2)" where there are several; with its name and number only for
/// those who asked for identifiers. `place` counts from 0.
pub fn subject(phones: &[Phone], place: usize, identifiers: bool) -> String {
    let Some(phone) = phones.get(place) else { return noun(&General::default()).to_owned() };
    let mut subject = noun(&phone.general).to_owned();
    if phones.len() > 1 {
        subject.push_str(&format!(" {}", place + 1));
        if let Some(model) = &phone.general.model {
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
    let name = phone.general.name.as_ref().map(|name| format!(" “{name}”"));
    format!("{} {}", name.unwrap_or_default(), phone.udid.expose())
}

fn judge_phone(phone: &Phone, nights: &Nights, view: &PhoneView<'_>) -> [Finding; 6] {
    let clock = judge_clock(&phone.general, view.now);
    let rest = match &phone.private {
        Ok(private) => [
            judge_switch(private),
            last_backup(private, nights, view),
            judge_space(private),
            judge_power(private),
        ],
        Err(_) => [ICLOUD_BACKUP, LAST_BACKUP, SPACE, POWER]
            .map(|id| Finding::new(id, Status::Skipped, "the iPhone does not report this to this computer")),
    };
    let [switch, last, space, power] = rest;
    [judge_connection(phone), switch, last, space, power, clock]
}

/// The first finding, and the others as they are without a phone.
fn absent(first: Finding) -> Vec<Finding> {
    let others = IDS.iter().skip(1).map(|id| Finding::new(id, Status::Skipped, "no iPhone to check"));
    [first].into_iter().chain(others).collect()
}

/// Whether iCloud Backup is switched on.
pub fn judge_switch(private: &Private) -> Finding {
    let finding = match private.backup_enabled {
        Some(true) => Finding::new(ICLOUD_BACKUP, Status::Ok, "iCloud Backup is on"),
        Some(false) => Finding::new(ICLOUD_BACKUP, Status::Problem, "iCloud Backup is off")
            .blame(Blame::Phone)
            .todo(format!(
                "{WAY_TO_BACKUP}: switch on Back Up This iPhone, then tap Back Up Now. If the switch is \
                 missing or grey, a profile of an employer or school may forbid it."
            ))
            .step(GuideStep::BackUpNow),
        None => {
            Finding::new(ICLOUD_BACKUP, Status::CannotTell, "the iPhone does not report whether it is on")
                .todo(format!("Check on the iPhone: {WAY_TO_BACKUP}."))
                .step(GuideStep::BackUpNow)
        }
    };
    let signed_in = if private.is_signed_in == Some(true) { "yes" } else { "unknown" };
    finding.evidence([
        format!("CloudBackupEnabled: {}", yes(private.backup_enabled)),
        format!("signed in to iCloud: {signed_in}"),
    ])
}

fn last_backup(private: &Private, nights: &Nights, view: &PhoneView<'_>) -> Finding {
    let standing = nights.standing(private.last_backup, private.backup_enabled);
    let finding = judge_last_backup(private.last_backup, standing, view.now, view.zone);
    let outage = private.last_backup.and_then(|last| nights.overlapped(last));
    finding.evidence(outage.map(|outage| {
        let at = |time| when(time, view.now, view.zone);
        let to = outage.to.map_or("now".to_owned(), at);
        format!("Apple had an outage in the last night without a backup, from {} to {to}", at(outage.from))
    }))
}

/// The date of the last backup, beside how the phone stands with it.
pub fn judge_last_backup(
    last: Option<Timestamp>,
    standing: BackupStatus,
    now: Timestamp,
    zone: &TimeZone,
) -> Finding {
    if standing == BackupStatus::Off {
        return Finding::new(LAST_BACKUP, Status::Skipped, "iCloud Backup is off")
            .evidence([last_evidence(last)]);
    }
    let look = format!("Check on the iPhone: {WAY_TO_BACKUP}. The date is below Back Up Now.");
    let finding = match last {
        None => Finding::new(LAST_BACKUP, Status::CannotTell, "the iPhone does not report its last backup")
            .todo(look)
            .step(GuideStep::BackUpNow),
        Some(last) if last.duration_since(now) > FUTURE => {
            let seen = format!("the last iCloud backup is dated in the future ({})", when(last, now, zone));
            Finding::new(LAST_BACKUP, Status::CannotTell, seen)
                .todo("Check the clocks of the iPhone and of this computer.")
        }
        Some(last) => dated(last, standing, now, zone),
    };
    finding.evidence([last_evidence(last)])
}

fn dated(last: Timestamp, standing: BackupStatus, now: Timestamp, zone: &TimeZone) -> Finding {
    let seen = format!("last iCloud backup {} ago ({})", lasted(last, now), when(last, now, zone));
    match standing {
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
        BackupStatus::LateOtherwise => {
            Finding::new(LAST_BACKUP, Status::Problem, format!("{seen}, not because of Apple"))
                .blame(Blame::Phone)
                .todo(format!(
                    "Connect the iPhone to Wi-Fi and power, then {WAY_TO_BACKUP}, Back Up Now. If it fails, \
                     the error shown there states the reason."
                ))
                .step(GuideStep::BackUpNow)
        }
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

/// Free space on the phone itself. Never a problem by itself: the phone tells a lower bound and can
/// make room.
pub fn judge_space(private: &Private) -> Finding {
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
            (capacity / LOW_SPACE_PART).clamp(LOW_SPACE_MIN_BYTES, LOW_SPACE_MAX_BYTES),
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

/// Whether the battery would let a backup begin.
pub fn judge_power(private: &Private) -> Finding {
    let evidence = [
        format!("BatteryCurrentCapacity: {}", private.battery_percent.map_or("unknown".to_owned(), percent)),
        format!("BatteryIsCharging: {}", yes(private.is_charging)),
        format!("ExternalConnected: {}", yes(private.has_power)),
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
                .todo("Make sure that it charges. Automatic backups need power, Wi-Fi and a locked screen.")
                .step(GuideStep::WifiAndPower)
        }
        (true, Some(true)) | (false, _) => Finding::new(POWER, Status::Ok, seen),
    };
    finding.evidence(evidence)
}

/// The phone's clock against `now`, this computer's.
pub fn judge_clock(general: &General, now: Timestamp) -> Finding {
    let Some(clock) = general.clock else {
        return Finding::new(CLOCK, Status::CannotTell, "the iPhone does not report its time")
            .evidence(["TimeIntervalSince1970: unknown".to_owned()]);
    };
    let (side, early, late) = if clock < now { ("behind", clock, now) } else { ("ahead of", now, clock) };
    let by = late.duration_since(early);
    let status = if by > CLOCK_PROBLEM {
        Status::Problem
    } else if by > CLOCK_WARNING {
        Status::Warning
    } else {
        Status::Ok
    };
    let evidence = [format!("the iPhone's time: {clock}"), format!("this computer's time: {now}")];
    if status == Status::Ok {
        return Finding::new(CLOCK, status, "the iPhone's clock agrees with this computer's")
            .evidence(evidence);
    }
    let seen = format!("the iPhone's clock is {} {side} this computer's", lasted(early, late));
    Finding::new(CLOCK, status, seen)
        .blame(Blame::Phone)
        .todo(
            "Settings, General, Date & Time: switch on Set Automatically. If the iPhone shows the right time, \
             set the clock of this computer.",
        )
        .evidence(evidence)
}

/// What it is; only the words that Apple has for what backs up.
fn noun(general: &General) -> &'static str {
    match general.family() {
        DeviceFamily::IPad => "iPad",
        DeviceFamily::IPod => "iPod",
        DeviceFamily::IPhone | DeviceFamily::Other(_) | DeviceFamily::Unknown => "iPhone",
    }
}

fn yes(flag: Option<bool>) -> &'static str {
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
