//! `statusd history --changes`: every change, as a table, as JSON or as CSV.

use std::io::Write;

use jiff::Timestamp;
use serde_json::Value;

use crate::delivery::message::RenderContext;
use crate::delivery::message::time_format::{is_repeated, lasted};
use crate::delivery::payload;
use crate::model::{Change, ChangeKind, EventKind};

use super::Each;
use crate::cli::context::{CommandError, ignore_closed_pipe};
use crate::cli::csv;
use crate::cli::phrases::{printable, summary};
use crate::cli::terminal::{Cell, Style, Terminal, Widths};

pub const CSV_HEAD: [&str; 20] = [
    "at",
    "kind",
    "service",
    "message_id",
    "occurrence",
    "outage_kind",
    "was_kind",
    "began_at",
    "ended_at",
    "lasted_s",
    "seen_at",
    "posted_late_s",
    "users_affected",
    "apple_text",
    "did_you_mean",
    "phone_backup_at",
    "phone_read_at",
    "phones",
    "feed",
    "key",
];
const TABLE_HEAD: [&str; 5] = ["WHEN", "SERVICE", "WHAT", "LASTED", "POSTED LATE"];
/// The column that is narrowed if the table is too wide.
const FLEXIBLE: usize = 1;

pub fn json(change: &Change, terminal: &Terminal) -> Value {
    payload::change(change, &RenderContext { now: terminal.now, zone: terminal.zone, is_drill: false })
}

/// Writes the table. Reads the changes twice, because column widths depend on all rows.
pub fn table(each: Each<Change>, terminal: &Terminal, out: &mut impl Write) -> Result<(), CommandError> {
    let mut widths = Widths::new(&TABLE_HEAD);
    let mut count = 0;
    each(&mut |change| {
        widths.add(&row(change, terminal));
        count += 1;
        Ok(())
    })?;
    if count == 0 {
        return ignore_closed_pipe(writeln!(out, "No changes in this period."));
    }
    let widths = widths.fitted(FLEXIBLE, terminal);
    ignore_closed_pipe(out.write_all(terminal.head(&TABLE_HEAD, &widths).as_bytes()))?;
    each(&mut |change| out.write_all(terminal.row(&row(change, terminal), &widths).as_bytes()))
}

fn row(change: &Change, terminal: &Terminal) -> Vec<Cell> {
    let local = change.at.to_zoned_datetime(terminal.zone.clone());
    let this_year = local.year() == terminal.now.to_zoned_datetime(terminal.zone.clone()).year();
    let format = if this_year { "%a %e %b %H:%M" } else { "%e %b %Y %H:%M" };
    let service = match change.service.as_str() {
        "" if change.kind.is_about_a_phone() => "(iPhone)".to_owned(),
        "" => "(statusd)".to_owned(),
        service => printable(service),
    };
    let span = |seconds: Option<i64>| {
        let from = Timestamp::UNIX_EPOCH;
        let to = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
        to.map_or(String::new(), |to| lasted(from, to))
    };
    let zone = if is_repeated(change.at, terminal.zone) { " %Z" } else { "" };
    vec![
        Cell::plain(local.strftime(&format!("{format}{zone}")).to_string()),
        Cell::new(Style::Bold, service),
        Cell::new(style(change), summary(change)),
        Cell::plain(span(lasted_s(change))),
        Cell::plain(span(posted_late_s(change))),
    ]
}

fn style(change: &Change) -> Style {
    match change.kind {
        ChangeKind::Began
        | ChangeKind::Reopened
        | ChangeKind::Worsened
        | ChangeKind::Eased
        | ChangeKind::Missed => match change.outage_kind {
            Some(EventKind::Outage) => Style::Bad,
            _ => Style::Warning,
        },
        ChangeKind::Ended | ChangeKind::Over | ChangeKind::Readable | ChangeKind::ListedAgain => Style::Good,
        ChangeKind::Planned | ChangeKind::Moved | ChangeKind::Cancelled | ChangeKind::Started => {
            Style::Planned
        }
        ChangeKind::Withdrawn
        | ChangeKind::Unlisted
        | ChangeKind::Unreadable
        | ChangeKind::HistoryLost
        | ChangeKind::BackupLate
        | ChangeKind::BackupOff => Style::Warning,
        ChangeKind::Revised
        | ChangeKind::Corrected
        | ChangeKind::Noted
        | ChangeKind::Reminder
        | ChangeKind::Liveness
        | ChangeKind::Test => Style::Dim,
    }
}

/// Returns the duration of an event that is over. A planned end gives no duration.
fn lasted_s(change: &Change) -> Option<i64> {
    let (began, ended) = (change.began_at?, change.ended_at?);
    // Apple sometimes gives an end before the start.
    (change.kind.is_over() && ended >= began).then(|| ended.duration_since(began).as_secs())
}

/// Returns the time from Apple's start to the first poll that had the event; only for its first change.
fn posted_late_s(change: &Change) -> Option<i64> {
    let is_first = matches!(change.kind, ChangeKind::Began | ChangeKind::Missed);
    let began = change.began_at.filter(|began| is_first && *began <= change.seen_at)?;
    Some(change.seen_at.duration_since(began).as_secs())
}

pub fn csv_record(change: &Change) -> String {
    let time = |time: Option<Timestamp>| time.map(|time| time.to_string()).unwrap_or_default();
    let number = |number: Option<i64>| number.map(|number| number.to_string()).unwrap_or_default();
    let kind =
        |kind: &Option<EventKind>| kind.as_ref().map(|kind| printable(kind.as_str())).unwrap_or_default();
    csv::record(&[
        change.at.to_string(),
        change.kind.as_str().to_owned(),
        printable(&change.service),
        change.message_id.as_deref().map(printable).unwrap_or_default(),
        number(change.occurrence.map(i64::from)),
        kind(&change.outage_kind),
        kind(&change.was_kind),
        time(change.began_at),
        time(change.ended_at),
        number(lasted_s(change)),
        change.seen_at.to_string(),
        number(posted_late_s(change)),
        change.users_affected.as_deref().map(printable).unwrap_or_default(),
        printable(&change.message),
        change.near.join("; "),
        time(change.phone.map(|phone| phone.at)),
        time(change.phone.map(|phone| phone.read_at)),
        number(change.phone.map(|phone| i64::from(phone.phones))),
        change.feed.to_string(),
        change.key(),
    ])
}

#[cfg(test)]
pub mod tests {
    use jiff::tz::TimeZone;

    use super::super::tests::written;
    use super::*;
    use crate::model::{Edition, FeedId};

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn terminal(zone: &TimeZone) -> Terminal<'_> {
        Terminal { width: 80, color: false, zone, now: at("2026-05-05T12:00:00Z") }
    }

    fn change(
        kind: ChangeKind,
        service: &str,
        at_: &str,
        began: Option<&str>,
        ended: Option<&str>,
    ) -> Change {
        Change {
            at: at(at_),
            seen_at: at(at_),
            kind,
            feed: FeedId { edition: Edition::Consumer, locale: "en_US".to_owned() },
            service: service.to_owned(),
            message_id: Some("100".to_owned()),
            occurrence: Some(1),
            serial: 1,
            outage_kind: Some(EventKind::Outage),
            was_kind: None,
            began_at: began.map(at),
            ended_at: ended.map(at),
            users_affected: None,
            message: "=Users, \"some\"".to_owned(),
            near: Vec::new(),
            phone: None,
        }
    }

    pub fn changes() -> Vec<Change> {
        let backup = |kind, at, ended| change(kind, "iCloud Backup", at, Some("2026-05-04T06:15:00Z"), ended);
        vec![
            change(
                ChangeKind::Missed,
                "iCloud Web Apps (iCloud.com)",
                "2025-12-31T09:00:00Z",
                Some("2025-12-31T06:00:00Z"),
                Some("2025-12-31T07:30:00Z"),
            ),
            backup(ChangeKind::Began, "2026-05-04T07:46:00Z", None),
            backup(ChangeKind::Ended, "2026-05-04T10:05:00Z", Some("2026-05-04T10:04:00Z")),
            Change {
                outage_kind: None,
                ..change(ChangeKind::Unreadable, "", "2026-05-05T01:00:00Z", None, None)
            },
        ]
    }

    #[test]
    fn a_table_fits_80_columns_without_truncated_names() {
        let expected = "\
WHEN               SERVICE          WHAT                 LASTED      POSTED LATE
31 Dec 2025 09:00  iCloud Web Apps  outage, posted late  1 h 30 min  3 h
                   (iCloud.com)
Mon  4 May 07:46   iCloud Backup    outage began                     1 h 31 min
Mon  4 May 10:05   iCloud Backup    fixed                3 h 49 min
Tue  5 May 01:00   (statusd)        feed unreadable
";
        let drawn = table_of(&changes());
        assert_eq!(drawn, expected);
        assert!(drawn.lines().all(|line| crate::cli::terminal::width(line) <= 80));
        assert_eq!(table_of(&[]), "No changes in this period.\n");
    }

    fn table_of(changes: &[Change]) -> String {
        written(changes, |each, out| table(each, &terminal(&TimeZone::UTC), out))
    }

    #[test]
    fn csv_records_contain_no_formulas() {
        let text = csv_record(&changes()[1]);
        let expected = "2026-05-04T07:46:00Z,began,iCloud Backup,100,1,Outage,,2026-05-04T06:15:00Z,,,\
                        2026-05-04T07:46:00Z,5460,,\"'=Users, \"\"some\"\"\",,,,,consumer/en_US,\
                        consumer/en_US/icloud%20backup/100/1/began\r\n";
        assert_eq!(text, expected);
    }
}
