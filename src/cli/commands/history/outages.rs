//! `statusd history`: a row for each outage, as a table, as JSON or as CSV.
//!
//! On a terminal too narrow for the table, each outage is a paragraph.

use std::io::Write;

use jiff::Timestamp;
use serde_json::Value;

use crate::delivery::message::time_format::{is_repeated, lasted, span, under_way, when};
use crate::model::{ChangeKind, EventKind, Outage, OverBy, Phase};
use crate::report::outage::{json, lasted_s, posted_late_s};
use crate::store::{Announced, StoredOutage};

use super::Each;
use crate::cli::context::{CommandError, ignore_closed_pipe};
use crate::cli::csv;
use crate::cli::phrases::{kind_word, printable};
use crate::cli::terminal::{Cell, Style, Terminal, Widths};

pub const CSV_HEAD: [&str; 17] = [
    "service",
    "message_id",
    "occurrence",
    "outage_kind",
    "state",
    "began_at",
    "ended_at",
    "lasted_s",
    "seen_at",
    "posted_late_s",
    "announced",
    "announced_at",
    "changes",
    "users_affected",
    "apple_text",
    "feed",
    "key",
];

const HEAD: [&str; 7] = ["BEGAN", "ENDED", "LASTED", "POSTED", "LATE", "ANNOUNCED", "OUTAGE"];
/// Columns without LATE with their minimum widths, in the order in which they are narrowed. The first
/// ones are rarely full.
const MINIMUMS: [(usize, usize); 8] = [(5, 21), (3, 9), (4, 9), (1, 9), (2, 10), (0, 12), (5, 16), (0, 11)];
const INDENT: usize = 2;

/// Writes the table. Reads the outages twice, because column widths depend on all rows.
pub fn table(
    each: Each<StoredOutage>,
    terminal: &Terminal,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    let (mut wide, mut narrow) = (Widths::new(&HEAD), Widths::new(&without_late(HEAD)));
    let mut count = 0;
    each(&mut |stored| {
        let cells = cells(stored, terminal);
        wide.add(&cells);
        narrow.add(&without_late(cells));
        count += 1;
        Ok(())
    })?;
    if count == 0 {
        return ignore_closed_pipe(writeln!(out, "No outages in this period."));
    }
    if let Some(widths) = wide.narrowed(&[], terminal) {
        ignore_closed_pipe(out.write_all(terminal.head(&HEAD, &widths).as_bytes()))?;
        each(&mut |stored| out.write_all(terminal.row(&cells(stored, terminal), &widths).as_bytes()))
    } else if let Some(widths) = narrow.narrowed(&MINIMUMS, terminal) {
        ignore_closed_pipe(out.write_all(terminal.head(&without_late(HEAD), &widths).as_bytes()))?;
        each(&mut |stored| {
            out.write_all(terminal.row(&without_late(cells(stored, terminal)), &widths).as_bytes())
        })
    } else {
        each(&mut |stored| out.write_all(paragraph(stored, terminal).as_bytes()))
    }
}

fn without_late<T>(row: [T; 7]) -> [T; 6] {
    let [began, ended, lasted, posted, _, announced, outage] = row;
    [began, ended, lasted, posted, announced, outage]
}

fn cells(stored: &StoredOutage, terminal: &Terminal) -> [Cell; HEAD.len()] {
    let outage = &stored.outage;
    let at = |time| short(time, outage.start, terminal);
    let began = outage.start.map_or("not given".to_owned(), |start| short(start, None, terminal));
    let late = posted_late_s(stored).and_then(|seconds| Timestamp::from_second(seconds).ok());
    let (style, announced) = match stored.announced {
        Announced::At(time) => (Style::Plain, at(time)),
        Announced::Waiting => (Style::Warning, "pending".to_owned()),
        Announced::GivenUp => (Style::Warning, "given up".to_owned()),
        Announced::Never => (Style::Dim, "no".to_owned()),
    };
    [
        Cell::plain(began),
        ended(outage, terminal),
        Cell::plain(duration(outage, terminal)),
        Cell::plain(format!("{}{}", posted_prefix(stored), at(outage.first_seen))),
        Cell::plain(late.map_or(String::new(), |late| lasted(Timestamp::UNIX_EPOCH, late))),
        Cell::new(style, announced),
        Cell::new(Style::Bold, name(outage)),
    ]
}

fn ended(outage: &Outage, terminal: &Terminal) -> Cell {
    let end = outage.end.map(|end| short(end, outage.start, terminal));
    match &outage.phase {
        Phase::Planned(_) => Cell::new(Style::Planned, end.unwrap_or("not given".to_owned())),
        Phase::Ongoing(_) => match (end, outage.kind.is_maintenance()) {
            (Some(end), true) => Cell::new(Style::Planned, format!("until {end}")),
            (None, true) => Cell::new(Style::Planned, "ongoing"),
            (Some(_) | None, false) if outage.kind == EventKind::Outage => Cell::new(Style::Bad, "ongoing"),
            (Some(_) | None, false) => Cell::new(Style::Warning, "ongoing"),
        },
        Phase::Over(_) if outage.was_cancelled() => Cell::new(Style::Planned, "cancelled"),
        Phase::Over(OverBy::Withdrawal) => Cell::new(Style::Warning, "withdrawn"),
        Phase::Over(OverBy::Apple) => Cell::plain(end.unwrap_or("not given".to_owned())),
    }
}

fn duration(outage: &Outage, terminal: &Terminal) -> String {
    match (&outage.phase, outage.start) {
        (Phase::Planned(_), _) => "planned".to_owned(),
        (Phase::Ongoing(_), Some(start)) if start <= terminal.now => lasted(start, terminal.now),
        (Phase::Ongoing(_), _) => String::new(),
        (Phase::Over(_), start) => {
            let span = start.zip(lasted_s(outage)).and_then(|(start, seconds)| {
                Some((start, Timestamp::from_second(start.as_second() + seconds).ok()?))
            });
            span.map_or(String::new(), |(start, end)| lasted(start, end))
        }
    }
}

/// Returns "by " if statusd was not polling when Apple posted, so that the time is only an upper bound.
fn posted_prefix(stored: &StoredOutage) -> &'static str {
    if stored.was_polling { "" } else { "by " }
}

/// Returns `4 May 06:15`; with the year if it differs, without the date on the day of the start.
fn short(time: Timestamp, start: Option<Timestamp>, terminal: &Terminal) -> String {
    let local = |time: Timestamp| time.to_zoned_datetime(terminal.zone.clone());
    let (local_time, base) = (local(time), local(start.unwrap_or(terminal.now)));
    let format = match () {
        () if start.is_some() && local_time.date() == base.date() => "%H:%M",
        () if local_time.year() == base.year() => "%-d %b %H:%M",
        () => "%-d %b %Y %H:%M",
    };
    let zone = if is_repeated(time, terminal.zone) { " %Z" } else { "" };
    local_time.strftime(&format!("{format}{zone}")).to_string()
}

/// Returns for example `iCloud Backup, outage, reopened`.
fn name(outage: &Outage) -> String {
    let mut name = format!("{}, {}", printable(&outage.service), kind_word(&outage.kind));
    let notes = [
        (ChangeKind::Reopened, ", reopened"),
        (ChangeKind::Missed, ", posted late"),
        (ChangeKind::Moved, ", moved"),
    ];
    for (kind, note) in notes {
        if outage.counts.contains_key(&kind) {
            name.push_str(note);
        }
    }
    name
}

/// Returns the outage as a paragraph, for terminals too narrow for the table.
fn paragraph(stored: &StoredOutage, terminal: &Terminal) -> String {
    let outage = &stored.outage;
    let (now, zone) = (terminal.now, terminal.zone);
    let span = |is_over| span(outage.start, outage.end, is_over, now, zone);
    let time = match &outage.phase {
        Phase::Planned(_) => format!("planned {}", span(false)),
        Phase::Ongoing(_) => {
            let end = outage.end.filter(|_| outage.kind.is_maintenance());
            format!("ongoing {}", under_way(outage.start, end, now, zone))
        }
        Phase::Over(_) if outage.was_cancelled() => format!("cancelled; planned {}", span(false)),
        Phase::Over(OverBy::Withdrawal) => format!(
            "withdrawn; {}",
            outage.start.map_or("Apple gave no start".to_owned(), |start| {
                format!("began {}", when(start, now, zone))
            })
        ),
        Phase::Over(OverBy::Apple) => span(true),
    };
    let at = |time| short(time, outage.start, terminal);
    let posted = format!("posted {}{}", posted_prefix(stored), at(outage.first_seen));
    let announced = match stored.announced {
        Announced::At(time) => format!("announced {}", at(time)),
        Announced::Waiting => "message pending".to_owned(),
        Announced::GivenUp => "message given up".to_owned(),
        Announced::Never => "not announced".to_owned(),
    };
    let name = wrapped_name(outage, terminal);
    format!(
        "{name}{}{}",
        terminal.paragraph(INDENT, &time),
        terminal.paragraph(INDENT, &format!("{posted}, {announced}"))
    )
}

fn wrapped_name(outage: &Outage, terminal: &Terminal) -> String {
    let lines = terminal.paragraph(0, &name(outage));
    lines.lines().map(|line| format!("{}\n", terminal.paint(Style::Bold, line))).collect()
}

/// Returns the fields of [`json`] without `version`, in order.
pub fn csv_record(stored: &StoredOutage) -> String {
    let fields = json(stored);
    csv::record(&CSV_HEAD.map(|name| csv_field(&fields[name])))
}

fn csv_field(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => printable(text),
        Value::Array(items) => items.iter().map(csv_field).collect::<Vec<_>>().join("; "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::super::tests::written;
    use super::*;
    use crate::model::{Edition, FeedId};

    fn at(short: &str) -> Option<Timestamp> {
        let year = if short.starts_with("12-") { 2025 } else { 2026 };
        (short != "-").then(|| format!("{year}-{short}:00Z").parse().expect("a time"))
    }

    /// `times` are the start, the end and the first poll; `kinds` are the kinds of its changes.
    fn outage(kind: EventKind, phase: Phase, times: [&str; 3], kinds: &[ChangeKind]) -> StoredOutage {
        let outage = Outage {
            service: "iCloud Backup".to_owned(),
            message_id: "100".to_owned(),
            occurrence: 1,
            kind,
            phase,
            start: at(times[0]),
            end: at(times[1]),
            first_seen: at(times[2]).expect("a time"),
            users_affected: None,
            message: "=Users".to_owned(),
            counts: kinds.iter().map(|kind| (*kind, 1)).collect(),
        };
        let feed = FeedId { edition: Edition::Consumer, locale: "en_US".to_owned() };
        StoredOutage { feed, outage, was_polling: true, announced: Announced::Never }
    }

    fn announced_at(short: &str, stored: StoredOutage) -> StoredOutage {
        StoredOutage { announced: Announced::At(at(short).expect("a time")), ..stored }
    }

    fn outages() -> Vec<StoredOutage> {
        let (planned, ongoing) = (Phase::Planned(None), Phase::Ongoing(None));
        let (over, withdrawn) = (Phase::Over(OverBy::Apple), Phase::Over(OverBy::Withdrawal));
        let (down, work) = (EventKind::Outage, EventKind::Maintenance);
        let noted = outage(down.clone(), over.clone(), ["12-30T10:00", "12-31T12:00", "01-01T08:00"], &[]);
        let began = ["05-03T06:15", "05-03T10:04", "05-03T07:45"];
        let back = ["05-03T23:00", "05-04T01:00", "05-03T23:30"];
        vec![
            StoredOutage { was_polling: false, ..noted },
            announced_at("05-03T07:46", outage(down.clone(), over.clone(), began, &[ChangeKind::Began])),
            announced_at("05-04T00:01", outage(down.clone(), over.clone(), back, &[ChangeKind::Reopened])),
            StoredOutage {
                announced: Announced::GivenUp,
                ..outage(down.clone(), withdrawn, ["05-04T02:00", "05-04T05:00", "05-04T03:00"], &[])
            },
            outage(EventKind::Issue, over.clone(), ["-", "-", "05-04T09:00"], &[ChangeKind::Missed]),
            announced_at(
                "05-05T10:01",
                outage(down, ongoing.clone(), ["05-05T08:00", "-", "05-05T10:00"], &[]),
            ),
            announced_at(
                "05-04T09:01",
                outage(
                    work.clone(),
                    over,
                    ["05-05T09:00", "05-05T11:00", "05-04T09:00"],
                    &[ChangeKind::Cancelled],
                ),
            ),
            outage(work.clone(), ongoing, ["05-05T10:00", "05-05T14:00", "05-05T10:00"], &[]),
            StoredOutage {
                announced: Announced::Waiting,
                ..outage(work, planned, ["05-06T10:00", "05-06T14:00", "05-05T11:59"], &[ChangeKind::Moved])
            },
        ]
    }

    fn drawn(stored: &[StoredOutage], width: usize, color: bool) -> String {
        let now = at("05-05T12:00").expect("a time");
        let terminal = Terminal { width, color, zone: &TimeZone::UTC, now };
        written(stored, |each, out| table(each, &terminal, out))
    }

    /// Compares the output and checks that each line fits the width.
    #[track_caller]
    fn check(stored: &[StoredOutage], width: usize, expected: &str) {
        let drawn = drawn(stored, width, false);
        assert_eq!(drawn, expected);
        assert!(drawn.lines().all(|line| crate::cli::terminal::width(line) <= width));
    }

    #[test]
    fn a_table_of_80_columns_has_a_row_for_each_outage() {
        let expected = "\
BEGAN         ENDED      LASTED      POSTED     ANNOUNCED  OUTAGE
30 Dec 2025   31 Dec     1 day 2 h   by 1 Jan   no         iCloud Backup, outage
10:00         12:00                  2026
                                     08:00
3 May 06:15   10:04      3 h 49 min  07:45      07:46      iCloud Backup, outage
3 May 23:00   4 May      2 h         23:30      4 May      iCloud Backup,
              01:00                             00:01      outage, reopened
4 May 02:00   withdrawn              03:00      given up   iCloud Backup, outage
not given     not given              4 May      no         iCloud Backup, issue,
                                     09:00                 posted late
5 May 08:00   ongoing    4 h         10:00      10:01      iCloud Backup, outage
5 May 09:00   cancelled              4 May      4 May      iCloud Backup,
                                     09:00      09:01      maintenance
5 May 10:00   until      2 h         10:00      no         iCloud Backup,
              14:00                                        maintenance
6 May 10:00   14:00      planned     5 May      pending    iCloud Backup,
                                     11:59                 maintenance, moved
";
        check(&outages(), 80, expected);
    }

    #[test]
    fn a_wide_table_has_the_delay_of_apples_post() {
        let expected = "\
BEGAN        ENDED        LASTED      POSTED       LATE        ANNOUNCED    OUTAGE
3 May 06:15  10:04        3 h 49 min  07:45        1 h 30 min  07:46        iCloud Backup, outage
3 May 23:00  4 May 01:00  2 h         23:30        30 min      4 May 00:01  iCloud Backup, outage, reopened
4 May 02:00  withdrawn                03:00        1 h         given up     iCloud Backup, outage
not given    not given                4 May 09:00              no           iCloud Backup, issue, posted late
";
        check(&outages()[1..5], 120, expected);
    }

    #[test]
    fn a_narrow_terminal_gets_a_paragraph_for_each_outage() {
        let expected = "\
iCloud Backup, outage
  from 30 Dec 2025 10:00 to 31 Dec 2025
  12:00 (1 day 2 h)
  posted by 1 Jan 2026 08:00, not
  announced
iCloud Backup, outage
  from Sun 3 May 06:15 to 10:04 (3 h 49
  min)
  posted 07:45, announced 07:46
iCloud Backup, outage, reopened
  from Sun 3 May 23:00 to Mon 4 May
  01:00 (2 h)
  posted 23:30, announced 4 May 00:01
iCloud Backup, outage
  withdrawn; began Mon 4 May 02:00
  posted 03:00, message given up
iCloud Backup, issue, posted late
  at a time Apple does not give
  posted 4 May 09:00, not announced
iCloud Backup, outage
  ongoing since 08:00 (4 h)
  posted 10:00, announced 10:01
iCloud Backup, maintenance
  cancelled; planned from 09:00 to 11:00
  (2 h)
  posted 4 May 09:00, announced 4 May
  09:01
iCloud Backup, maintenance
  ongoing since 10:00 (2 h), planned
  until 14:00
  posted 10:00, not announced
iCloud Backup, maintenance, moved
  planned from Wed 6 May 10:00 to 14:00
  (4 h)
  posted 5 May 11:59, message pending
";
        check(&outages(), 40, expected);
        check(&[], 40, "No outages in this period.\n");
    }

    #[test]
    fn colour_is_used_only_if_enabled() {
        for width in [40, 80, 120] {
            let painted = drawn(&outages(), width, true);
            assert!(painted.contains("\u{1b}[1m"), "{painted}");
            assert!(!drawn(&outages(), width, false).contains('\u{1b}'));
        }
    }

    #[test]
    fn csv_has_no_formulas_and_no_duration_of_cancelled_maintenance() {
        let cancelled = &outages()[6];
        let expected = "iCloud Backup,100,1,Maintenance,cancelled,2026-05-05T09:00:00Z,2026-05-05T11:00:00Z,,\
                        2026-05-04T09:00:00Z,,sent,2026-05-04T09:01:00Z,cancelled,,'=Users,consumer/en_US,\
                        consumer/en_US/icloud%20backup/100/1\r\n";
        assert_eq!(csv_record(cancelled), expected);
    }
}
