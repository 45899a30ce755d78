//! Late backups: decides whether a phone's backup is late or switched off, and which reading is stored.
//!
//! Pure. A backup counts as late only if two readings agree
//! (`a_phone_is_checked_once_a_day_after_two_equal_readings`) and Apple cannot be the reason
//! (`late_means_whole_periods_without_an_outage`).

use jiff::{SignedDuration, Timestamp};

use crate::model::{Change, ChangeKind, FeedId, KnownPhone, LastBackup};
use crate::schedule::Schedule;

/// What was read longer ago is left out: the phone may have been sold.
const REMEMBERED_FOR: SignedDuration = SignedDuration::from_hours(14 * 24);
/// How often the database hears that a phone is there and as it was.
const MARKED_EVERY: SignedDuration = SignedDuration::from_hours(1);
/// A phone's clock may be ahead of ours by a time zone that somebody set wrong, not by more.
const AHEAD_AT_MOST: SignedDuration = SignedDuration::from_hours(24);
/// iCloud began on 12 October 2011: what is older is no backup date.
const FIRST_S: i64 = 1_318_377_600;
/// A backup that an outage kept from being made is made within a day of its end.
pub const RECOVERY: SignedDuration = SignedDuration::from_hours(24);

/// Digits of a phone's id in keys, enough to distinguish one user's phones.
const NAME_DIGITS: usize = 8;

/// The backup values of a phone that was just read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// As in [`KnownPhone`].
    pub id: String,
    pub model: Option<String>,
    pub last_backup: Option<Timestamp>,
    pub backup_enabled: Option<bool>,
}

/// The limit for late backups, and when phones are checked.
#[derive(Clone, Debug)]
pub struct Late {
    pub after: SignedDuration,
    /// A phone is checked at its first reading after each of these times.
    pub check: Schedule,
}

/// Apple's part in a missing backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Apple {
    /// The backup has no outage and had none within [`RECOVERY`].
    Fine,
    /// It has one, or had one that a phone may not have recovered from.
    Trouble,
    /// Nobody could read that lately.
    Unknown,
}

/// The result of checking a phone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lateness {
    Nothing,
    Say(Box<Change>),
    /// Nobody can tell now: to be judged at the next look.
    Open,
}

/// Returns the oldest last backup of all phones that were read recently.
pub fn last_backup(known: &[KnownPhone], now: Timestamp) -> Option<LastBackup> {
    let is_telling = |phone: &&KnownPhone| {
        phone.backup_enabled != Some(false) && now.duration_since(phone.seen_at).abs() <= REMEMBERED_FOR
    };
    let telling = known.iter().filter(is_telling);
    let dated: Vec<(Timestamp, Timestamp)> =
        telling.filter_map(|phone| Some((phone.last_backup?, phone.seen_at))).collect();
    let (at, read_at) = dated.iter().min().copied()?;
    Some(LastBackup { at, read_at, phones: u32::try_from(dated.len()).unwrap_or(u32::MAX) })
}

/// Returns the date of a backup if it is plausible.
pub fn plausible(backup: Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
    backup.filter(|at| at.as_second() >= FIRST_S && at.duration_since(now) <= AHEAD_AT_MOST)
}

/// What is to be remembered of a phone from now on; `None` if that is what is remembered already.
pub fn remembered(read: &Read, known: Option<&KnownPhone>, now: Timestamp) -> Option<KnownPhone> {
    let off_since = off_since(read, known, now);
    let is_news = known.is_none_or(|known| {
        let is_fresh = known.seen_at <= now && now.duration_since(known.seen_at) < MARKED_EVERY;
        let is_same = is_as_known(read, known) && (&read.model, off_since) == (&known.model, known.off_since);
        !(is_fresh && is_same)
    });
    is_news.then(|| KnownPhone {
        id: read.id.clone(),
        model: read.model.clone(),
        seen_at: now,
        last_backup: read.last_backup,
        backup_enabled: read.backup_enabled,
        off_since,
        judged_at: known.map_or(now, |known| known.judged_at),
    })
}

/// A phone that does not say whether backups are on has not switched them on.
fn off_since(read: &Read, known: Option<&KnownPhone>, now: Timestamp) -> Option<Timestamp> {
    let before = known.and_then(|known| known.off_since);
    match read.backup_enabled {
        Some(true) => None,
        Some(false) => before.or(Some(now)),
        None => before,
    }
}

/// Whether it is time to judge a phone, and an earlier look has read the same.
pub fn is_due(read: &Read, known: &KnownPhone, late: &Late, now: Timestamp) -> bool {
    // Judged in the future: the clock was set back.
    let is_time =
        known.judged_at > now || late.check.next_after(known.judged_at).is_some_and(|due| due <= now);
    is_time && is_as_known(read, known)
}

fn is_as_known(read: &Read, known: &KnownPhone) -> bool {
    (read.last_backup, read.backup_enabled) == (known.last_backup, known.backup_enabled)
}

/// What to say of a phone that was read just now, and that was `known` as the same before.
pub fn judge(
    read: &Read,
    known: &KnownPhone,
    after: SignedDuration,
    apple: Apple,
    feed: &FeedId,
    now: Timestamp,
) -> Lateness {
    let change = |kind, serial, seen_at| {
        let phone = read.last_backup.map(|at| LastBackup { at, read_at: now, phones: 1 });
        let bare = Change::bare(kind, feed.clone(), seen_at, now);
        let message_id = Some(name(&read.id));
        Lateness::Say(Box::new(Change { message_id, began_at: read.last_backup, serial, phone, ..bare }))
    };
    // Apple has no part in that. Each time it is switched off once: since when is in the key.
    if read.backup_enabled == Some(false) {
        return change(ChangeKind::BackupOff, 1, off_since(read, Some(known), now).unwrap_or(now));
    }
    let Some(last) = read.last_backup else { return Lateness::Nothing };
    let periods = now.duration_since(last).as_secs() / after.as_secs().max(1);
    match (periods, apple) {
        (..1, _) | (_, Apple::Trouble) => Lateness::Nothing,
        (_, Apple::Unknown) => Lateness::Open,
        // Each whole period once: its number is in the key.
        (periods, Apple::Fine) => {
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

    fn read(last_backup: Option<&str>, backup_enabled: Option<bool>) -> Read {
        Read { id: "a".to_owned(), model: None, last_backup: last_backup.map(at), backup_enabled }
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

    fn late() -> Late {
        let check = Schedule::parse("0 19 * * *", &TimeZone::UTC).expect("a schedule");
        Late { after: SignedDuration::from_hours(72), check }
    }

    #[track_caller]
    fn check_judged(read: &Read, apple: Apple, expected: Option<&str>) {
        let feed = FeedId { edition: Edition::Consumer, locale: "en_US".to_owned() };
        let known = KnownPhone { off_since: Some(at("2026-05-06T10:00:00Z")), ..known(None, NOW) };
        let found = match judge(read, &known, late().after, apple, &feed, at(NOW)) {
            Lateness::Say(change) => Some(change.key()),
            Lateness::Open => Some("open".to_owned()),
            Lateness::Nothing => None,
        };
        assert_eq!(found.as_deref(), expected, "{read:?} {apple:?}");
    }

    #[test]
    fn late_is_whole_periods_without_apples_doing() {
        let days = |day: &str| read(Some(&format!("2026-05-{day}Z")), Some(true));
        check_judged(&days("05T19:10:01"), Apple::Fine, None);
        let three = days("05T19:10:00");
        let key = "consumer/en_US/-/phone-a/2026-05-05T19:10:00Z/backup_late";
        check_judged(&three, Apple::Fine, Some(key));
        check_judged(&three, Apple::Trouble, None);
        check_judged(&three, Apple::Unknown, Some("open"));
        check_judged(&days("05T19:10:01"), Apple::Unknown, None);
        let six = "consumer/en_US/-/phone-a/2026-05-02T19:00:00Z/backup_late/2";
        check_judged(&days("02T19:00:00"), Apple::Fine, Some(six));
        check_judged(&read(Some("2026-05-05T19:10:00Z"), None), Apple::Fine, Some(key));
        check_judged(&days("08T23:00:00"), Apple::Fine, None);
        check_judged(&read(None, Some(true)), Apple::Fine, None);
        check_judged(&read(None, None), Apple::Fine, None);
    }

    #[test]
    fn off_is_said_whatever_apple_does_and_once_for_each_time_it_is_switched_off() {
        let key = "consumer/en_US/-/phone-a/2026-05-06T10:00:00Z/backup_off";
        for apple in [Apple::Fine, Apple::Trouble, Apple::Unknown] {
            check_judged(&read(Some("2026-05-08T03:00:00Z"), Some(false)), apple, Some(key));
        }
        check_judged(&read(None, Some(false)), Apple::Fine, Some(key));
        // Two phones whose last backups fall into the same second.
        let other =
            Read { id: "0123456789abcdef".to_owned(), ..read(Some("2026-05-05T19:10:00Z"), Some(true)) };
        let key = "consumer/en_US/-/phone-01234567/2026-05-05T19:10:00Z/backup_late";
        check_judged(&other, Apple::Fine, Some(key));
    }

    #[test]
    fn off_lasts_until_the_phone_says_that_it_is_on() {
        let since = |enabled, before: Option<&str>| {
            let known = KnownPhone { off_since: before.map(at), ..known(None, NOW) };
            off_since(&read(None, enabled), Some(&known), at(NOW))
        };
        let before = "2026-05-06T10:00:00Z";
        assert_eq!(since(Some(false), None), Some(at(NOW)));
        assert_eq!(since(Some(false), Some(before)), Some(at(before)));
        assert_eq!(since(None, Some(before)), Some(at(before)));
        assert_eq!(since(Some(true), Some(before)), None);
        assert_eq!(since(None, None), None);
    }

    #[test]
    fn a_phone_is_judged_once_a_day_and_on_what_two_looks_have_read() {
        let read = read(Some("2026-05-04T03:00:00Z"), Some(true));
        let known = known(Some("2026-05-04T03:00:00Z"), "2026-05-08T18:40:00Z");
        assert!(is_due(&read, &known, &late(), at(NOW)));
        assert!(!is_due(&read, &known, &late(), at("2026-05-08T18:59:59Z")), "not yet");
        let judged = KnownPhone { judged_at: at("2026-05-08T19:00:00Z"), ..known.clone() };
        assert!(!is_due(&read, &judged, &late(), at(NOW)), "judged already");
        let ahead = KnownPhone { judged_at: at("2031-01-01T00:00:00Z"), ..known.clone() };
        assert!(is_due(&read, &ahead, &late(), at(NOW)), "the clock was set back");
        let other = KnownPhone { last_backup: None, ..known.clone() };
        assert!(!is_due(&read, &other, &late(), at(NOW)), "read once");
        let other = KnownPhone { backup_enabled: None, ..known };
        assert!(!is_due(&read, &other, &late(), at(NOW)), "read once");
    }

    #[test]
    fn what_is_remembered_already_is_not_written() {
        let backup = Some("2026-05-08T03:00:00Z");
        let (same, later) = (read(backup, Some(true)), read(Some("2026-05-08T19:00:00Z"), Some(true)));
        let fresh = known(backup, "2026-05-08T18:40:00Z");
        assert_eq!(remembered(&same, Some(&fresh), at(NOW)), None);
        let written = remembered(&later, Some(&fresh), at(NOW)).expect("news");
        assert_eq!((written.last_backup, written.judged_at), (later.last_backup, fresh.judged_at));
        for seen_at in ["2026-05-08T18:10:00Z", "2026-05-08T19:11:00Z"] {
            let marked = remembered(&same, Some(&known(backup, seen_at)), at(NOW));
            assert_eq!(marked.map(|phone| phone.seen_at), Some(at(NOW)), "{seen_at}");
        }
        assert_eq!(remembered(&same, None, at(NOW)).expect("news").judged_at, at(NOW));
    }

    #[test]
    fn of_several_phones_the_oldest_backup_counts_and_of_gone_ones_none() {
        let now = at(NOW);
        let one = known(Some("2026-05-08T03:00:00Z"), NOW);
        let two =
            KnownPhone { seen_at: at("2026-05-08T12:00:00Z"), ..known(Some("2026-05-07T03:00:00Z"), NOW) };
        let oldest = LastBackup { at: at("2026-05-07T03:00:00Z"), read_at: two.seen_at, phones: 2 };
        assert_eq!(last_backup(&[one.clone(), two.clone()], now), Some(oldest));
        let gone = KnownPhone { seen_at: at("2026-04-24T19:00:00Z"), ..two.clone() };
        let off = KnownPhone { backup_enabled: Some(false), ..two.clone() };
        let silent = KnownPhone { last_backup: None, ..two };
        let newest = LastBackup { at: at("2026-05-08T03:00:00Z"), read_at: now, phones: 1 };
        assert_eq!(last_backup(&[gone, one, off, silent.clone()], now), Some(newest));
        assert_eq!(last_backup(&[silent], now), None);
    }

    #[test]
    fn what_can_be_no_date_of_a_backup_is_unknown() {
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
