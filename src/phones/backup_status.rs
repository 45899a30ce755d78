//! The backup status of a device, given Apple's outages: up to date, late because of Apple, late for another
//! reason, or off.
//!
//! Pure. A phone backs up once in 24 hours while it is locked, on power and on Wi-Fi, which usually means at
//! night. The rules therefore count nights:
//!
//! - A backup is **due** 24 hours after the last one.
//! - A night that is over was **missed** if at least 3 hours of it were left when the backup was due.
//! - A device is **late** if it missed a night *and* its backup is more than 48 hours old. A lower limit
//!   would be wrong: after a manual backup on Saturday at 15:00, the next one may come on Monday at 07:00,
//!   40 hours later. Also, one night away from the charger is not worth a report.
//! - A night is **excused** if any outage overlapped it, however short, because the hour that a phone chooses
//!   is unknown.
//! - A night is **observed** if the feed was read after its end, or for the first time at most 48 hours
//!   later, because Apple lists past outages for two to four days.
//!
//! A device is late because of Apple if all nights that it missed are excused, and late for another reason
//! if one is observed and not excused. If the result depends on a night that is neither, it is "unknown"
//! (`unobserved_nights_decide_nothing`).

use jiff::civil::{Date, time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};

/// Local hour at which a night begins.
const EVENING_HOUR: i8 = 20;
/// Local hour at which a night ends.
const MORNING_HOUR: i8 = 8;
/// Apple's interval of automatic backups.
const DUE_AFTER: SignedDuration = SignedDuration::from_hours(24);
const LATE_AFTER: SignedDuration = SignedDuration::from_hours(48);
/// Minimum remaining time of a night in which a backup can be expected.
const MIN_NIGHT_LEFT: SignedDuration = SignedDuration::from_hours(3);
const A_DAY: SignedDuration = SignedDuration::from_hours(24);
/// Shortest time for which Apple lists a past outage.
const LISTED_AFTERWARDS: SignedDuration = SignedDuration::from_hours(48);
/// Limit for a backup date in the future, because a clock may be wrong by a time zone.
const MAX_AHEAD: SignedDuration = SignedDuration::from_hours(24);
/// Nights that are considered. Apple deletes backups after 180 days without a new one.
const MAX_DAYS_BACK: i64 = 400;

/// A period in which backups could not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Downtime {
    pub from: Timestamp,
    /// `None` while ongoing.
    pub to: Option<Timestamp>,
}

/// The backup status of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BackupStatus {
    UpToDate,
    /// The device missed nights, and Apple had an outage in each.
    LateByApple,
    /// The device missed a night without an outage.
    LateOtherwise,
    /// iCloud Backup is switched off.
    Off,
    /// The last backup is unknown, or Apple's state in the missed nights is.
    Unknown,
    /// Neither an iPhone nor an iPad.
    Skipped,
}

impl BackupStatus {
    pub const ALL: [BackupStatus; 6] = [
        BackupStatus::UpToDate,
        BackupStatus::LateByApple,
        BackupStatus::LateOtherwise,
        BackupStatus::Off,
        BackupStatus::Unknown,
        BackupStatus::Skipped,
    ];

    /// Returns the word for programs.
    pub fn as_str(self) -> &'static str {
        match self {
            BackupStatus::UpToDate => "up_to_date",
            BackupStatus::LateByApple => "late_by_apple",
            BackupStatus::LateOtherwise => "late_otherwise",
            BackupStatus::Off => "off",
            BackupStatus::Unknown => "unknown",
            BackupStatus::Skipped => "skipped",
        }
    }
}

/// Returns whether a date is too far in the future to be that of a backup.
pub fn is_ahead(last: Timestamp, now: Timestamp) -> bool {
    last.duration_since(now) > MAX_AHEAD
}

/// The past nights, classified once for many devices.
#[derive(Clone, Debug)]
pub struct Nights {
    now: Timestamp,
    /// Nights that are over, oldest first.
    nights: Vec<Night>,
    /// The index of the newest night that was observed to have no outage.
    newest_clear: Option<usize>,
    /// The index of the newest night that was not observed.
    newest_unobserved: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
struct Night {
    end: Timestamp,
    kind: NightKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NightKind {
    /// With the outage that overlaps it longest.
    Excused(Downtime),
    /// Observed, and without an outage.
    Clear,
    Unobserved,
}

impl Nights {
    /// Classifies the nights before `now`. `covered`: the spans in which the feed was readable. `zone`: the
    /// time zone of the devices. The order of outages and spans does not matter.
    pub fn new(
        outages: &[Downtime],
        covered: &[(Timestamp, Timestamp)],
        zone: &TimeZone,
        now: Timestamp,
    ) -> Nights {
        let today = now.to_zoned_datetime(zone.clone()).date();
        let evenings = (1..=MAX_DAYS_BACK).rev().filter_map(|days| today.checked_sub(days.days()).ok());
        let over = evenings.filter_map(|evening| bounds(evening, zone)).filter(|(_, end)| *end <= now);
        let nights: Vec<Night> = over
            .map(|(start, end)| Night { end, kind: classify((start, end), outages, covered, now) })
            .collect();
        let newest = |kind: NightKind| nights.iter().rposition(|night| night.kind == kind);
        Nights {
            newest_clear: newest(NightKind::Clear),
            newest_unobserved: newest(NightKind::Unobserved),
            nights,
            now,
        }
    }

    /// Returns the status of a device. `last`: the last successful backup. `enabled`: whether backups are on.
    pub fn status(&self, last: Option<Timestamp>, enabled: Option<bool>) -> BackupStatus {
        if enabled == Some(false) {
            return BackupStatus::Off;
        }
        let Some(last) = last.filter(|last| !is_ahead(*last, self.now)) else { return BackupStatus::Unknown };
        let Some(first) = self.first_missed(last) else { return BackupStatus::UpToDate };
        let is_missed = |night: Option<usize>| night.is_some_and(|night| night >= first);
        // Nothing is known about nights before the oldest one here.
        let is_before_all =
            self.nights.first().is_some_and(|oldest| due(last) < oldest.end - A_DAY - MIN_NIGHT_LEFT);
        if is_missed(self.newest_clear) {
            BackupStatus::LateOtherwise
        } else if is_missed(self.newest_unobserved) || is_before_all {
            BackupStatus::Unknown
        } else {
            BackupStatus::LateByApple
        }
    }

    /// Returns the outage in the newest night that a device missed, whether it is late already or not.
    /// Returns `None` if it missed no night, or if that night had no outage.
    pub fn outage_in_last_missed(&self, last: Timestamp) -> Option<&Downtime> {
        let newest = self.nights.get(self.missed_from(last)..)?.last()?;
        match &newest.kind {
            NightKind::Excused(outage) => Some(outage),
            NightKind::Clear | NightKind::Unobserved => None,
        }
    }

    /// Returns the index of the first night that a late device missed, or `None` if it is not late.
    fn first_missed(&self, last: Timestamp) -> Option<usize> {
        let first = self.missed_from(last);
        let is_old = self.now.duration_since(last) > LATE_AFTER;
        (is_old && first < self.nights.len()).then_some(first)
    }

    /// Returns the index from which on all nights count as missed.
    fn missed_from(&self, last: Timestamp) -> usize {
        self.nights.partition_point(|night| night.end.duration_since(due(last)) < MIN_NIGHT_LEFT)
    }
}

/// Returns the start and end of the current night, if any, and then of the newest one that is over.
pub fn last_nights(zone: &TimeZone, now: Timestamp) -> impl Iterator<Item = (Timestamp, Timestamp)> {
    let today = now.to_zoned_datetime(zone.clone()).date();
    let evenings = (0..3).filter_map(move |days| today.checked_sub(days.days()).ok());
    let begun = evenings.filter_map(|evening| bounds(evening, zone)).filter(move |(start, _)| *start <= now);
    let mut is_over = false;
    begun.take_while(move |(_, end)| !std::mem::replace(&mut is_over, *end <= now))
}

fn due(last: Timestamp) -> Timestamp {
    last.checked_add(DUE_AFTER).unwrap_or(Timestamp::MAX)
}

/// Returns the start and end of the night that begins on a day. If a clock change skips one of the two, the
/// change itself is the start or end.
fn bounds(evening: Date, zone: &TimeZone) -> Option<(Timestamp, Timestamp)> {
    let at = |day: Date, hour: i8| {
        day.to_datetime(time(hour, 0, 0, 0))
            .to_zoned_datetime(zone.clone())
            .ok()
            .map(|zoned| zoned.timestamp())
    };
    Some((at(evening, EVENING_HOUR)?, at(evening.tomorrow().ok()?, MORNING_HOUR)?))
}

fn classify(
    (start, end): (Timestamp, Timestamp),
    outages: &[Downtime],
    covered: &[(Timestamp, Timestamp)],
    now: Timestamp,
) -> NightKind {
    let overlap = |outage: &Downtime| {
        let to = outage.to.unwrap_or(now).max(outage.from);
        (outage.from < end && to > start).then(|| to.min(end).duration_since(outage.from.max(start)))
    };
    let longest = outages.iter().filter_map(|outage| Some((overlap(outage)?, outage)));
    if let Some((_, outage)) = longest.max_by_key(|(overlap, _)| *overlap) {
        return NightKind::Excused(*outage);
    }
    let is_observed =
        covered.iter().any(|(from, to)| *to >= end && from.duration_since(end) <= LISTED_AFTERWARDS);
    if is_observed { NightKind::Clear } else { NightKind::Unobserved }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-05-08T12:00:00Z";

    fn at(text: &str) -> Timestamp {
        text.parse().expect(text)
    }

    fn outages(spans: &[(&str, &str)]) -> Vec<Downtime> {
        let to = |text: &str| (!text.is_empty()).then(|| at(text));
        spans.iter().map(|(from, until)| Downtime { from: at(from), to: to(until) }).collect()
    }

    fn always() -> Vec<(Timestamp, Timestamp)> {
        vec![(at("2024-01-01T00:00:00Z"), at("2027-01-01T00:00:00Z"))]
    }

    /// Checks the status after these outages, in UTC, on a Friday at noon, with all nights observed.
    #[track_caller]
    fn check(last: &str, spans: &[(&str, &str)], expected: BackupStatus) {
        let nights = Nights::new(&outages(spans), &always(), &TimeZone::UTC, at(NOW));
        assert_eq!(nights.status(Some(at(last)), None), expected, "{last} {spans:?}");
    }

    /// As [`check`], with these spans in which the feed was readable.
    #[track_caller]
    fn check_observed(last: &str, covered: &[(&str, &str)], spans: &[(&str, &str)], expected: BackupStatus) {
        let covered: Vec<_> = covered.iter().map(|(from, to)| (at(from), at(to))).collect();
        let nights = Nights::new(&outages(spans), &covered, &TimeZone::UTC, at(NOW));
        assert_eq!(nights.status(Some(at(last)), Some(true)), expected, "{last} {covered:?} {spans:?}");
    }

    #[track_caller]
    fn check_zone(zone: &str, now: &str, last: &str, spans: &[(&str, &str)], expected: BackupStatus) {
        let zone = TimeZone::get(zone).expect("a zone");
        let nights = Nights::new(&outages(spans), &always(), &zone, at(now));
        assert_eq!(nights.status(Some(at(last)), None), expected, "{now} {last} {spans:?}");
    }

    #[test]
    fn late_takes_a_missed_night_and_two_days() {
        check("2026-05-08T02:00:00Z", &[], BackupStatus::UpToDate);
        check("2026-05-07T03:00:00Z", &[], BackupStatus::UpToDate);
        // Exactly 48 hours, and one second more.
        check("2026-05-06T12:00:00Z", &[], BackupStatus::UpToDate);
        check("2026-05-06T11:59:59Z", &[], BackupStatus::LateOtherwise);
        check("2026-01-01T00:00:00Z", &[], BackupStatus::LateOtherwise);
    }

    #[test]
    fn a_manual_backup_in_the_afternoon_is_not_late_before_48_hours() {
        // Saturday 15:00. On Monday at 14:59 it is 47 h 59 min old, and one night was missed.
        let nights = |now| Nights::new(&[], &always(), &TimeZone::UTC, at(now));
        let last = Some(at("2026-05-02T15:00:00Z"));
        assert_eq!(nights("2026-05-04T14:59:00Z").status(last, None), BackupStatus::UpToDate);
        assert_eq!(nights("2026-05-04T15:01:00Z").status(last, None), BackupStatus::LateOtherwise);
    }

    #[test]
    fn a_night_counts_with_three_hours_left_of_it() {
        // Due on Thursday at 05:00:00 and 05:00:01. Now is Friday at 07:59, before the end of the second night.
        let nights = Nights::new(&[], &always(), &TimeZone::UTC, at("2026-05-08T07:59:00Z"));
        let status = |last| nights.status(Some(at(last)), None);
        assert_eq!(status("2026-05-06T05:00:00Z"), BackupStatus::LateOtherwise);
        assert_eq!(status("2026-05-06T05:00:01Z"), BackupStatus::UpToDate);
    }

    #[test]
    fn an_outage_excuses_the_night_that_it_overlaps() {
        let last = "2026-05-05T03:00:00Z";
        // Due on the 6th at 03:00: the nights that end on the 6th, the 7th and the 8th.
        let three: [(&str, &str); 3] = [
            ("2026-05-06T07:00:00Z", "2026-05-06T07:30:00Z"),
            ("2026-05-06T22:00:00Z", "2026-05-07T01:00:00Z"),
            ("2026-05-08T00:00:00Z", "2026-05-08T00:01:00Z"),
        ];
        check(last, &three, BackupStatus::LateByApple);
        check(last, &three[1..], BackupStatus::LateOtherwise);
        check(last, &three[..2], BackupStatus::LateOtherwise);
        check(last, &[three[2], three[0], three[1]], BackupStatus::LateByApple);
        check(last, &[("2026-05-01T00:00:00Z", "2026-05-08T11:00:00Z")], BackupStatus::LateByApple);
        // An outage by day excuses nothing, even if it touches the night.
        let one = "2026-05-06T11:00:00Z";
        check(one, &[("2026-05-07T08:00:00Z", "2026-05-07T20:00:00Z")], BackupStatus::LateOtherwise);
        check(one, &[("2026-05-07T08:00:00Z", "2026-05-07T20:00:01Z")], BackupStatus::LateByApple);
        check(one, &[("2026-05-08T08:00:00Z", "2026-05-08T11:00:00Z")], BackupStatus::LateOtherwise);
        check(one, &[("2026-05-08T07:59:59Z", "2026-05-08T11:00:00Z")], BackupStatus::LateByApple);
        check(
            "2026-05-06T03:00:00Z",
            &[("2026-05-07T07:59:59Z", "2026-05-07T20:00:01Z")],
            BackupStatus::LateByApple,
        );
    }

    #[test]
    fn open_future_and_reversed_ends_are_accepted() {
        let last = "2026-05-05T03:00:00Z";
        check(last, &[("2026-05-06T02:00:00Z", "")], BackupStatus::LateByApple);
        check(last, &[("2026-05-06T02:00:00Z", "2026-07-01T00:00:00Z")], BackupStatus::LateByApple);
        // One that has not begun; one that ends before its start, which counts as its start only.
        check(last, &[("2026-06-06T02:00:00Z", "")], BackupStatus::LateOtherwise);
        check(
            "2026-05-06T11:00:00Z",
            &[("2026-05-08T02:00:00Z", "2026-05-01T02:00:00Z")],
            BackupStatus::LateByApple,
        );
    }

    #[test]
    fn off_and_no_date_come_first() {
        let nights = Nights::new(&[], &always(), &TimeZone::UTC, at(NOW));
        let last = Some(at("2026-05-08T02:00:00Z"));
        assert_eq!(nights.status(last, Some(false)), BackupStatus::Off);
        assert_eq!(nights.status(None, Some(false)), BackupStatus::Off);
        assert_eq!(nights.status(None, Some(true)), BackupStatus::Unknown);
        assert_eq!(nights.status(None, None), BackupStatus::Unknown);
    }

    #[test]
    fn a_date_far_in_the_future_is_unknown() {
        check("2026-05-09T12:00:00Z", &[], BackupStatus::UpToDate);
        check("2026-05-09T12:00:01Z", &[], BackupStatus::Unknown);
        check("9999-12-01T00:00:00Z", &[], BackupStatus::Unknown);
    }

    #[test]
    fn unobserved_nights_decide_nothing() {
        let last = "2026-05-06T03:00:00Z";
        // Two nights: to the 7th and to the 8th.
        check_observed(last, &[], &[], BackupStatus::Unknown);
        let once = |at| [(at, at)];
        check_observed(last, &once("2026-05-07T08:00:00Z"), &[], BackupStatus::LateOtherwise);
        // The rest of the night is not observed.
        check_observed(last, &once("2026-05-07T07:59:59Z"), &[], BackupStatus::Unknown);
        // A past outage is listed for two days.
        let since = |from| [(from, "2026-05-08T12:00:00Z")];
        check_observed(last, &since("2026-05-08T11:00:00Z"), &[], BackupStatus::LateOtherwise);
        let last = "2026-05-04T03:00:00Z";
        // Nights to the 5th, 6th, 7th and 8th. The last two are excused.
        let excused = [("2026-05-06T21:00:00Z", "2026-05-08T09:00:00Z")];
        check_observed(last, &since("2026-05-08T08:00:00Z"), &excused, BackupStatus::LateOtherwise);
        check_observed(last, &since("2026-05-08T08:00:01Z"), &excused, BackupStatus::Unknown);
        // A span that ends before the night does not cover it.
        check_observed(
            "2026-05-06T03:00:00Z",
            &[("2026-05-01T00:00:00Z", "2026-05-06T20:00:00Z")],
            &[],
            BackupStatus::Unknown,
        );
        // A known outage excuses a night even if it was not observed.
        let all = [("2026-05-04T21:00:00Z", "2026-05-08T09:00:00Z")];
        check_observed(last, &[], &all, BackupStatus::LateByApple);
    }

    #[test]
    fn a_backup_before_the_oldest_night_may_be_unknown() {
        let for_ever = [("2020-01-01T00:00:00Z", "")];
        check("2025-06-01T00:00:00Z", &for_ever, BackupStatus::LateByApple);
        check("2025-03-01T00:00:00Z", &for_ever, BackupStatus::Unknown);
        check("2025-03-01T00:00:00Z", &[], BackupStatus::LateOtherwise);
        check("0001-01-03T00:00:00Z", &[], BackupStatus::LateOtherwise);
    }

    #[test]
    fn nights_are_local_to_the_time_zone() {
        // 18:00 to 19:00 UTC is 20:00 to 21:00 in Berlin and 11:00 in Los Angeles.
        let evening = [("2026-05-06T18:00:00Z", "2026-05-06T19:00:00Z")];
        let last = "2026-05-05T20:00:00Z";
        let now = "2026-05-07T22:00:00Z";
        check_zone("Europe/Berlin", now, last, &evening, BackupStatus::LateByApple);
        check_zone("America/Los_Angeles", now, last, &evening, BackupStatus::LateOtherwise);
        // A night in Auckland is a day in UTC.
        let day = [("2026-05-06T10:00:00Z", "2026-05-06T11:00:00Z")];
        check_zone(
            "Pacific/Auckland",
            "2026-05-07T06:00:00Z",
            "2026-05-05T05:00:00Z",
            &day,
            BackupStatus::LateByApple,
        );
        check_zone("UTC", "2026-05-07T08:00:00Z", "2026-05-05T05:00:00Z", &day, BackupStatus::LateOtherwise);
    }

    #[test]
    fn clock_changes_at_night_are_respected() {
        // In Berlin the night to 29 March 2026 has 11 hours and ends at 06:00 UTC, the one to
        // 25 October has 13 and ends at 07:00 UTC.
        for (morning, just_in, too_late, now) in [
            ("2026-03-29", "2026-03-28T03:00:00Z", "2026-03-28T03:00:01Z", "2026-03-30T05:59:59Z"),
            ("2026-10-25", "2026-10-24T04:00:00Z", "2026-10-24T04:00:01Z", "2026-10-26T06:59:59Z"),
        ] {
            check_zone("Europe/Berlin", now, just_in, &[], BackupStatus::LateOtherwise);
            check_zone("Europe/Berlin", now, too_late, &[], BackupStatus::UpToDate);
            let last_hour = format!("{morning}T05:59:00Z");
            check_zone("Europe/Berlin", now, just_in, &[(&last_hour, &last_hour)], BackupStatus::LateByApple);
        }
    }

    #[test]
    fn the_last_nights_are_the_current_one_and_the_newest_past_one() {
        #[track_caller]
        fn check(now: &str, expected: &[&str]) {
            let berlin = TimeZone::get("Europe/Berlin").expect("a zone");
            let nights: Vec<String> =
                last_nights(&berlin, at(now)).map(|(start, end)| format!("{start} {end}")).collect();
            assert_eq!(nights, expected, "{now}");
        }
        let to_the_8th = "2026-05-07T18:00:00Z 2026-05-08T06:00:00Z";
        let to_the_9th = "2026-05-08T18:00:00Z 2026-05-09T06:00:00Z";
        check("2026-05-08T06:00:00Z", &[to_the_8th]);
        check("2026-05-08T17:59:59Z", &[to_the_8th]);
        check("2026-05-08T18:00:00Z", &[to_the_9th, to_the_8th]);
        check("2026-05-09T05:59:59Z", &[to_the_9th, to_the_8th]);
        check("2026-05-09T06:00:00Z", &[to_the_9th]);
    }

    #[test]
    fn the_outage_of_the_newest_missed_night_is_found() {
        let spans = [
            ("2026-05-07T23:00:00Z", "2026-05-07T23:10:00Z"),
            ("2026-05-08T01:00:00Z", "2026-05-08T02:00:00Z"),
            ("2026-05-06T23:00:00Z", "2026-05-07T02:00:00Z"),
        ];
        let nights = |spans: &[_]| Nights::new(&outages(spans), &always(), &TimeZone::UTC, at(NOW));
        let last = at("2026-05-05T02:00:00Z");
        assert_eq!(nights(&spans).outage_in_last_missed(last), outages(&spans[1..2]).first());
        assert_eq!(nights(&spans[2..]).outage_in_last_missed(last), None);
        // Missed but not late, and not due.
        assert!(nights(&spans).outage_in_last_missed(at("2026-05-07T02:00:00Z")).is_some());
        assert_eq!(nights(&spans).outage_in_last_missed(at("2026-05-08T02:00:00Z")), None);
    }
}
