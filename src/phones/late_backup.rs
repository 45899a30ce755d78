//! Late backups: decides whether a phone's backup is late or switched off, and which reading is stored.
//!
//! Pure. A backup counts as late only if two readings agree
//! (`a_phone_is_checked_once_a_day_after_two_equal_readings`) and Apple cannot be the reason
//! (`late_means_whole_periods_without_an_outage`).

use jiff::{SignedDuration, Timestamp};

use crate::model::{Change, ChangeKind, FeedId, KnownPhone, LastBackup};
use crate::schedule::Schedule;

/// Age after which a reading is ignored, because the phone may have been sold.
const READING_MAX_AGE: SignedDuration = SignedDuration::from_hours(14 * 24);
/// Interval at which an unchanged reading is stored again.
const STORE_INTERVAL: SignedDuration = SignedDuration::from_hours(1);
/// Limit for a backup date in the future, because a phone's time zone may be set wrong.
const MAX_AHEAD: SignedDuration = SignedDuration::from_hours(24);
/// Earliest plausible backup: iCloud started on 12 October 2011.
const FIRST_BACKUP_S: i64 = 1_318_377_600;
/// Time after an outage within which phones make up for a missed backup.
pub const RECOVERY: SignedDuration = SignedDuration::from_hours(24);

/// Digits of a phone's id in keys, enough to distinguish one user's phones.
const NAME_DIGITS: usize = 8;

/// The backup values of a phone that was just read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupReading {
    /// The id as in [`KnownPhone`].
    pub id: String,
    pub model: Option<String>,
    pub last_backup: Option<Timestamp>,
    pub backup_enabled: Option<bool>,
}

/// The limit for late backups, and when phones are checked.
#[derive(Clone, Debug)]
pub struct LatePolicy {
    pub after: SignedDuration,
    /// A phone is checked at its first reading after each of these times.
    pub check: Schedule,
}

/// Apple's part in a missing backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppleStatus {
    /// iCloud Backup has had no outage within [`RECOVERY`].
    Fine,
    /// iCloud Backup has an outage, or had one within [`RECOVERY`].
    Outage,
    /// The feed has not been readable recently.
    Unknown,
}

/// The result of checking a phone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LateDecision {
    Nothing,
    Announce(Box<Change>),
    /// Apple's status is unknown. The next reading checks again.
    Undecided,
}

/// Returns the oldest last backup of all phones that were read recently.
pub fn last_backup(known: &[KnownPhone], now: Timestamp) -> Option<LastBackup> {
    let is_relevant = |phone: &&KnownPhone| {
        phone.backup_enabled != Some(false) && now.duration_since(phone.seen_at).abs() <= READING_MAX_AGE
    };
    let relevant = known.iter().filter(is_relevant);
    let dated: Vec<(Timestamp, Timestamp)> =
        relevant.filter_map(|phone| Some((phone.last_backup?, phone.seen_at))).collect();
    let (at, read_at) = dated.iter().min().copied()?;
    Some(LastBackup { at, read_at, phones: u32::try_from(dated.len()).unwrap_or(u32::MAX) })
}

/// Returns the date of a backup if it is plausible.
pub fn plausible(backup: Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
    backup.filter(|at| at.as_second() >= FIRST_BACKUP_S && at.duration_since(now) <= MAX_AHEAD)
}

/// Returns the row to store for a phone, or `None` if the stored row is current.
pub fn updated_row(
    reading: &BackupReading,
    known: Option<&KnownPhone>,
    now: Timestamp,
) -> Option<KnownPhone> {
    let off_since = off_since(reading, known, now);
    let is_news = known.is_none_or(|known| {
        let is_fresh = known.seen_at <= now && now.duration_since(known.seen_at) < STORE_INTERVAL;
        let is_same =
            is_as_known(reading, known) && (&reading.model, off_since) == (&known.model, known.off_since);
        !(is_fresh && is_same)
    });
    is_news.then(|| KnownPhone {
        id: reading.id.clone(),
        model: reading.model.clone(),
        seen_at: now,
        last_backup: reading.last_backup,
        backup_enabled: reading.backup_enabled,
        off_since,
        judged_at: known.map_or(now, |known| known.judged_at),
    })
}

/// Returns since when backups are off. A reading without the value leaves the time unchanged.
fn off_since(reading: &BackupReading, known: Option<&KnownPhone>, now: Timestamp) -> Option<Timestamp> {
    let before = known.and_then(|known| known.off_since);
    match reading.backup_enabled {
        Some(true) => None,
        Some(false) => before.or(Some(now)),
        None => before,
    }
}

/// Returns whether a check is due and the reading equals the stored one.
pub fn is_due(reading: &BackupReading, known: &KnownPhone, late: &LatePolicy, now: Timestamp) -> bool {
    // A check in the future means that the clock was set back.
    let is_time =
        known.judged_at > now || late.check.next_after(known.judged_at).is_some_and(|due| due <= now);
    is_time && is_as_known(reading, known)
}

fn is_as_known(reading: &BackupReading, known: &KnownPhone) -> bool {
    (reading.last_backup, reading.backup_enabled) == (known.last_backup, known.backup_enabled)
}

/// Decides whether a reading is announced. `known`: the stored row, with equal values.
pub fn decide(
    reading: &BackupReading,
    known: &KnownPhone,
    after: SignedDuration,
    apple: AppleStatus,
    feed: &FeedId,
    now: Timestamp,
) -> LateDecision {
    let change = |kind, serial, seen_at| {
        let phone = reading.last_backup.map(|at| LastBackup { at, read_at: now, phones: 1 });
        let bare = Change::bare(kind, feed.clone(), seen_at, now);
        let message_id = Some(name(&reading.id));
        LateDecision::Announce(Box::new(Change {
            message_id,
            began_at: reading.last_backup,
            serial,
            phone,
            ..bare
        }))
    };
    // Independent of Apple. The key contains the time, so that each switch-off is announced once.
    if reading.backup_enabled == Some(false) {
        return change(ChangeKind::BackupOff, 1, off_since(reading, Some(known), now).unwrap_or(now));
    }
    let Some(last) = reading.last_backup else { return LateDecision::Nothing };
    let periods = now.duration_since(last).as_secs() / after.as_secs().max(1);
    match (periods, apple) {
        (..1, _) | (_, AppleStatus::Outage) => LateDecision::Nothing,
        (_, AppleStatus::Unknown) => LateDecision::Undecided,
        // The key contains the number of whole periods, so that each is announced once.
        (periods, AppleStatus::Fine) => {
            change(ChangeKind::BackupLate, u32::try_from(periods).unwrap_or(u32::MAX), now)
        }
    }
}

/// Returns the name of a phone in keys, `phone-0123abcd`, which does not reveal its UDID.
fn name(id: &str) -> String {
    format!("phone-{}", id.chars().take(NAME_DIGITS).collect::<String>())
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;
    use crate::model::Edition;

    const NOW: &str = "2026-05-08T19:10:00Z";

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn reading(last_backup: Option<&str>, backup_enabled: Option<bool>) -> BackupReading {
        BackupReading { id: "a".to_owned(), model: None, last_backup: last_backup.map(at), backup_enabled }
    }

    fn known(last_backup: Option<&str>, seen_at: &str) -> KnownPhone {
        KnownPhone {
            id: "a".to_owned(),
            model: None,
            seen_at: at(seen_at),
            last_backup: last_backup.map(at),
            backup_enabled: Some(true),
            off_since: None,
            judged_at: at("2026-05-07T19:00:00Z"),
        }
    }

    fn late() -> LatePolicy {
        let check = Schedule::parse("0 19 * * *", &TimeZone::UTC).expect("a schedule");
        LatePolicy { after: SignedDuration::from_hours(72), check }
    }

    #[track_caller]
    fn check_decision(reading: &BackupReading, apple: AppleStatus, expected: Option<&str>) {
        let feed = FeedId { edition: Edition::Consumer, locale: "en_US".to_owned() };
        let known = KnownPhone { off_since: Some(at("2026-05-06T10:00:00Z")), ..known(None, NOW) };
        let found = match decide(reading, &known, late().after, apple, &feed, at(NOW)) {
            LateDecision::Announce(change) => Some(change.key()),
            LateDecision::Undecided => Some("undecided".to_owned()),
            LateDecision::Nothing => None,
        };
        assert_eq!(found.as_deref(), expected, "{reading:?} {apple:?}");
    }

    #[test]
    fn late_means_whole_periods_without_an_outage() {
        let days = |day: &str| reading(Some(&format!("2026-05-{day}Z")), Some(true));
        check_decision(&days("05T19:10:01"), AppleStatus::Fine, None);
        let three = days("05T19:10:00");
        let key = "consumer/en_US/-/phone-a/2026-05-05T19:10:00Z/backup_late";
        check_decision(&three, AppleStatus::Fine, Some(key));
        check_decision(&three, AppleStatus::Outage, None);
        check_decision(&three, AppleStatus::Unknown, Some("undecided"));
        check_decision(&days("05T19:10:01"), AppleStatus::Unknown, None);
        let six = "consumer/en_US/-/phone-a/2026-05-02T19:00:00Z/backup_late/2";
        check_decision(&days("02T19:00:00"), AppleStatus::Fine, Some(six));
        check_decision(&reading(Some("2026-05-05T19:10:00Z"), None), AppleStatus::Fine, Some(key));
        check_decision(&days("08T23:00:00"), AppleStatus::Fine, None);
        check_decision(&reading(None, Some(true)), AppleStatus::Fine, None);
        check_decision(&reading(None, None), AppleStatus::Fine, None);
    }

    #[test]
    fn off_is_announced_once_each_time_whatever_apples_status() {
        let key = "consumer/en_US/-/phone-a/2026-05-06T10:00:00Z/backup_off";
        for apple in [AppleStatus::Fine, AppleStatus::Outage, AppleStatus::Unknown] {
            check_decision(&reading(Some("2026-05-08T03:00:00Z"), Some(false)), apple, Some(key));
        }
        check_decision(&reading(None, Some(false)), AppleStatus::Fine, Some(key));
        // The keys of two phones with the same last backup differ.
        let other = BackupReading {
            id: "0123456789abcdef".to_owned(),
            ..reading(Some("2026-05-05T19:10:00Z"), Some(true))
        };
        let key = "consumer/en_US/-/phone-01234567/2026-05-05T19:10:00Z/backup_late";
        check_decision(&other, AppleStatus::Fine, Some(key));
    }

    #[test]
    fn off_lasts_until_the_phone_reports_on() {
        let since = |enabled, before: Option<&str>| {
            let known = KnownPhone { off_since: before.map(at), ..known(None, NOW) };
            off_since(&reading(None, enabled), Some(&known), at(NOW))
        };
        let before = "2026-05-06T10:00:00Z";
        assert_eq!(since(Some(false), None), Some(at(NOW)));
        assert_eq!(since(Some(false), Some(before)), Some(at(before)));
        assert_eq!(since(None, Some(before)), Some(at(before)));
        assert_eq!(since(Some(true), Some(before)), None);
        assert_eq!(since(None, None), None);
    }

    #[test]
    fn a_phone_is_checked_once_a_day_after_two_equal_readings() {
        let reading = reading(Some("2026-05-04T03:00:00Z"), Some(true));
        let known = known(Some("2026-05-04T03:00:00Z"), "2026-05-08T18:40:00Z");
        assert!(is_due(&reading, &known, &late(), at(NOW)));
        assert!(!is_due(&reading, &known, &late(), at("2026-05-08T18:59:59Z")), "not yet");
        let checked = KnownPhone { judged_at: at("2026-05-08T19:00:00Z"), ..known.clone() };
        assert!(!is_due(&reading, &checked, &late(), at(NOW)), "checked already");
        let ahead = KnownPhone { judged_at: at("2031-01-01T00:00:00Z"), ..known.clone() };
        assert!(is_due(&reading, &ahead, &late(), at(NOW)), "the clock was set back");
        let other = KnownPhone { last_backup: None, ..known.clone() };
        assert!(!is_due(&reading, &other, &late(), at(NOW)), "read once");
        let other = KnownPhone { backup_enabled: None, ..known };
        assert!(!is_due(&reading, &other, &late(), at(NOW)), "read once");
    }

    #[test]
    fn an_unchanged_reading_is_stored_only_once_an_hour() {
        let backup = Some("2026-05-08T03:00:00Z");
        let (same, later) = (reading(backup, Some(true)), reading(Some("2026-05-08T19:00:00Z"), Some(true)));
        let fresh = known(backup, "2026-05-08T18:40:00Z");
        assert_eq!(updated_row(&same, Some(&fresh), at(NOW)), None);
        let written = updated_row(&later, Some(&fresh), at(NOW)).expect("news");
        assert_eq!((written.last_backup, written.judged_at), (later.last_backup, fresh.judged_at));
        for seen_at in ["2026-05-08T18:10:00Z", "2026-05-08T19:11:00Z"] {
            let written = updated_row(&same, Some(&known(backup, seen_at)), at(NOW));
            assert_eq!(written.map(|phone| phone.seen_at), Some(at(NOW)), "{seen_at}");
        }
        assert_eq!(updated_row(&same, None, at(NOW)).expect("news").judged_at, at(NOW));
    }

    #[test]
    fn the_oldest_backup_of_the_recently_read_phones_counts() {
        let now = at(NOW);
        let one = known(Some("2026-05-08T03:00:00Z"), NOW);
        let two =
            KnownPhone { seen_at: at("2026-05-08T12:00:00Z"), ..known(Some("2026-05-07T03:00:00Z"), NOW) };
        let oldest = LastBackup { at: at("2026-05-07T03:00:00Z"), read_at: two.seen_at, phones: 2 };
        assert_eq!(last_backup(&[one.clone(), two.clone()], now), Some(oldest));
        let stale = KnownPhone { seen_at: at("2026-04-24T19:00:00Z"), ..two.clone() };
        let off = KnownPhone { backup_enabled: Some(false), ..two.clone() };
        let unknown = KnownPhone { last_backup: None, ..two };
        let newest = LastBackup { at: at("2026-05-08T03:00:00Z"), read_at: now, phones: 1 };
        assert_eq!(last_backup(&[stale, one, off, unknown.clone()], now), Some(newest));
        assert_eq!(last_backup(&[unknown], now), None);
    }

    #[test]
    fn implausible_dates_are_unknown() {
        let now = at(NOW);
        for (backup, expected) in [
            ("2001-01-01T00:00:00Z", false),
            ("2011-10-11T23:59:59Z", false),
            ("2011-10-12T00:00:00Z", true),
            (NOW, true),
            ("2026-05-09T19:10:00Z", true),
            ("2026-05-09T19:10:01Z", false),
        ] {
            assert_eq!(plausible(Some(at(backup)), now).is_some(), expected, "{backup}");
        }
    }
}
