//! The timeline of services, one row of cells each, and the share of time covered by polls.
//!
//! Pure. Days are those of the reader's time zone. A day has as many cells as the terminal allows; in a long
//! timeline, several days share a cell. Even a short outage marks its cell. A cell shows "none listed" only
//! if readable polls cover the largest share of it.

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp, ToSpan};

use crate::model::Outage;
use crate::report::coverage::{CoverageShares, coverage};
use crate::report::mark::{Mark, interval, mark_of, touches};
use crate::store::Span;

use super::phrases::printable;
use super::terminal::{Style, Terminal, padded, width};

/// The default number of days.
const DAYS: usize = 30;
/// Possible numbers of cells per day, finest first. Each divides a day into whole hours.
const CELLS_PER_DAY: [usize; 8] = [24, 12, 8, 6, 4, 3, 2, 1];
/// Names are printed beside their rows if that leaves this many cells, or does not reduce their number.
const MIN_CELLS_BESIDE: usize = 45;
const INDENT: usize = 2;
/// Columns of a date and its gap, without and with a year.
const DATE_COLUMNS: usize = 7;
const LONG_DATE_COLUMNS: usize = 12;

/// Returns the character of a mark.
fn symbol(mark: Mark) -> (char, Style) {
    match mark {
        Mark::Future => (' ', Style::Plain),
        Mark::NotPolling => ('-', Style::Dim),
        Mark::Unknown => ('?', Style::Warning),
        Mark::Fine => ('.', Style::Good),
        Mark::Maintenance => ('m', Style::Planned),
        Mark::Issue => ('!', Style::Warning),
        Mark::Outage => ('#', Style::Bad),
    }
}

/// A range of whole days in the reader's time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Days {
    first: Date,
    count: usize,
}

impl Days {
    /// Returns the days from `since` to `until`. Default: the last 30 days.
    pub fn new(since: Option<Timestamp>, until: Option<Timestamp>, terminal: &Terminal) -> Days {
        let date = |time: Timestamp| time.to_zoned_datetime(terminal.zone.clone()).date();
        let before = |until: Timestamp| until.saturating_sub(SignedDuration::from_secs(1)).unwrap_or(until);
        let last = date(until.map_or(terminal.now, |until| before(until).min(terminal.now)));
        let first = since.map_or(last.saturating_sub((DAYS as i64 - 1).days()), date).min(last);
        let between = first.until(last).map_or(0, |span| span.get_days());
        Days { first, count: usize::try_from(between).unwrap_or(0) + 1 }
    }

    /// Returns the start of the first day.
    pub fn start(&self, terminal: &Terminal) -> Timestamp {
        self.midnight(0, terminal)
    }

    /// Returns the end of the last day.
    pub fn end(&self, terminal: &Terminal) -> Timestamp {
        self.midnight(self.count, terminal)
    }

    fn date(&self, day: usize) -> Date {
        self.first.saturating_add(i64::try_from(day).unwrap_or(0).days())
    }

    /// Returns the midnight at which a day begins; the first day is 0.
    fn midnight(&self, day: usize, terminal: &Terminal) -> Timestamp {
        self.date(day)
            .to_zoned_datetime(terminal.zone.clone())
            .map_or(terminal.now, |midnight| midnight.timestamp())
    }
}

/// Returns the start of the last 30 days.
pub fn start(terminal: &Terminal) -> Timestamp {
    Days::new(None, None, terminal).start(terminal)
}

/// The scale of a timeline: cells per day, or days per cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cells {
    PerDay(usize),
    MultipleDays(usize),
}

impl Cells {
    /// Returns the finest scale that fits.
    fn finest(days: usize, room: usize) -> Cells {
        match CELLS_PER_DAY.into_iter().find(|cells| days.saturating_mul(*cells) <= room) {
            Some(cells) => Cells::PerDay(cells),
            None => Cells::MultipleDays(days.div_ceil(room.max(1))),
        }
    }

    fn count(self, days: usize) -> usize {
        match self {
            Cells::PerDay(cells) => days * cells,
            Cells::MultipleDays(of) => days.div_ceil(of),
        }
    }

    /// Returns the starts of the cells and the end of the last one. On a day of 23 or 25 hours the cells are
    /// shorter or longer.
    fn bounds(self, days: Days, terminal: &Terminal) -> Vec<Timestamp> {
        let Cells::PerDay(cells) = self else {
            let Cells::MultipleDays(of) = self else { return Vec::new() };
            return (0..=self.count(days.count)).map(|cell| days.midnight(cell * of, terminal)).collect();
        };
        let midnights: Vec<i64> =
            (0..=days.count).map(|day| days.midnight(day, terminal).as_second()).collect();
        let mut bounds = Vec::with_capacity(days.count * cells + 1);
        for day in midnights.windows(2) {
            for cell in 0..cells {
                let share = (day[1] - day[0]) * i64::try_from(cell).unwrap_or(0) / cells as i64;
                bounds.push(day[0] + share);
            }
        }
        bounds.extend(midnights.last());
        bounds.into_iter().filter_map(|second| Timestamp::from_second(second).ok()).collect()
    }
}

/// A service and its outages.
struct Row {
    name: String,
    /// Since then Apple does not list the service, so its status is unknown.
    unlisted_since: Option<Timestamp>,
    /// The worst problem of each cell.
    trouble: Vec<Option<Mark>>,
}

/// A timeline under construction.
pub struct Timeline<'a> {
    terminal: &'a Terminal<'a>,
    days: Days,
    cells: Cells,
    bounds: Vec<Timestamp>,
    rows: Vec<Row>,
    /// Columns before the cells.
    margin: usize,
    /// True if names are in the margin, false if they have lines of their own.
    is_beside: bool,
}

impl<'a> Timeline<'a> {
    /// Creates a row for each service, given by its name and the time since which Apple does not list it.
    pub fn new<'n>(
        days: Days,
        services: impl Iterator<Item = (&'n str, Option<Timestamp>)>,
        terminal: &'a Terminal<'a>,
    ) -> Timeline<'a> {
        let mut rows: Vec<Row> = services
            .map(|(name, unlisted_since)| Row { name: printable(name), unlisted_since, trouble: Vec::new() })
            .collect();
        let label = rows.iter().map(|row| width(&row.name)).max().unwrap_or(0) + 2;
        let beside = Cells::finest(days.count, terminal.width.saturating_sub(label));
        let alone = Cells::finest(days.count, terminal.width.saturating_sub(INDENT));
        let is_beside = label < terminal.width
            && beside.count(days.count) >= MIN_CELLS_BESIDE.min(alone.count(days.count));
        let (cells, margin) = if is_beside { (beside, label) } else { (alone, INDENT) };
        let bounds = cells.bounds(days, terminal);
        for row in &mut rows {
            row.trouble = vec![None; bounds.len().saturating_sub(1)];
        }
        Timeline { terminal, days, cells, bounds, rows, margin, is_beside }
    }

    /// Marks the cells of an outage in a row.
    pub fn add(&mut self, row: usize, outage: &Outage) {
        let Some((began, ended)) = interval(outage, self.terminal.now) else { return };
        let Some(row) = self.rows.get_mut(row) else { return };
        let mark = Some(mark_of(&outage.kind));
        for (trouble, cell) in row.trouble.iter_mut().zip(self.bounds.windows(2)) {
            if touches((began, ended), cell[0], cell[1].min(self.terminal.now)) {
                *trouble = mark.max(*trouble);
            }
        }
    }

    /// Renders a row for each service, a line of dates and a legend.
    pub fn draw(&self, spans: &[Span]) -> String {
        let seen: Vec<CoverageShares> = self
            .bounds
            .windows(2)
            .map(|cell| coverage(spans, cell[0], cell[1].min(self.terminal.now)))
            .collect();
        let mut text = String::new();
        for row in &self.rows {
            let head = match self.is_beside {
                true => padded(&row.name, self.margin),
                false => format!("{}\n{:INDENT$}", row.name, ""),
            };
            text.push_str(&self.terminal.paint(Style::Bold, head.trim_end()));
            text.push_str(&head[head.trim_end().len()..]);
            text.push_str(&painted(&self.marks(row, &seen), self.terminal));
            text.push('\n');
        }
        text.push_str(&self.terminal.paint(Style::Dim, &self.dates()));
        text.push('\n');
        text.push_str(&legend(self.terminal));
        text
    }

    fn marks(&self, row: &Row, seen: &[CoverageShares]) -> Vec<Mark> {
        let cells = row.trouble.iter().zip(seen).zip(&self.bounds);
        let mark = |((trouble, seen), from): ((&Option<Mark>, &CoverageShares), &Timestamp)| {
            if *from >= self.terminal.now {
                return Mark::Future;
            }
            let is_unlisted = row.unlisted_since.is_some_and(|since| since <= *from);
            trouble.unwrap_or_else(|| Mark::without_event(seen, is_unlisted))
        };
        cells.map(mark).collect()
    }

    /// Renders as many dates as fit below the cells; with years if the days are of several years.
    fn dates(&self) -> String {
        let years = self.days.date(self.days.count - 1).year() - self.days.first.year();
        let (format, columns) = match years {
            0 => ("%-d %b", DATE_COLUMNS),
            _ if self.days.count <= 2 * DAYS => ("%-d %b", DATE_COLUMNS),
            _ => ("%-d %b %Y", LONG_DATE_COLUMNS),
        };
        let (step, cells_per_step) = match self.cells {
            Cells::PerDay(cells) => {
                // Label every week, or as many weeks as a date needs; in a short timeline, every day or two.
                let weeks = (1..).map(|weeks| 7 * weeks);
                let steps = [1, 2].into_iter().filter(|_| self.days.count <= 2 * 7).chain(weeks);
                let step = steps.take(DAYS).find(|step| step * cells >= columns).unwrap_or(7);
                (step, step * cells)
            }
            Cells::MultipleDays(of) => (columns * of, columns),
        };
        let mut line = " ".repeat(self.margin);
        for number in 0..self.days.count.div_ceil(step) {
            let date = self.days.date(number * step).strftime(format).to_string();
            let column = self.margin + number * cells_per_step;
            if number > 0 && column + width(&date) > self.terminal.width {
                break;
            }
            line = padded(&line, column);
            line.push_str(&date);
        }
        line
    }
}

/// Paints marks, with one escape sequence per run of equal marks.
fn painted(marks: &[Mark], terminal: &Terminal) -> String {
    let runs = marks.chunk_by(|a, b| a == b);
    let text: String = runs
        .map(|run| {
            let (sign, style) = symbol(run[0]);
            terminal.paint(style, &sign.to_string().repeat(run.len()))
        })
        .collect();
    text.trim_end().to_owned()
}

fn legend(terminal: &Terminal) -> String {
    let (mut text, mut used) = (String::new(), INDENT);
    text.push_str(&" ".repeat(INDENT));
    for mark in Mark::LEGEND {
        let (words, (sign, style)) = (mark.words(), symbol(mark));
        let columns = 2 + width(words);
        if used > INDENT && used + 2 + columns > terminal.width {
            text.push_str(&format!("\n{:INDENT$}", ""));
            used = INDENT;
        } else if used > INDENT {
            text.push_str("  ");
            used += 2;
        }
        text.push_str(&format!("{} {words}", terminal.paint(style, &sign.to_string())));
        used += columns;
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::tz::TimeZone;

    use super::super::terminal::tests::UTC;
    use super::*;
    use crate::model::{EventKind, OverBy, Phase};

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn outage(kind: EventKind, start: &str, end: Option<&str>) -> Outage {
        Outage {
            service: "iCloud Backup".to_owned(),
            message_id: "1".to_owned(),
            occurrence: 1,
            kind,
            phase: if end.is_some() { Phase::Over(OverBy::Apple) } else { Phase::Ongoing(None) },
            start: Some(at(start)),
            end: end.map(at),
            first_seen: at(start),
            users_affected: None,
            message: String::new(),
            counts: BTreeMap::new(),
        }
    }

    fn span(from: &str, to: &str, unreadable: bool) -> Span {
        Span { from: at(from), to: at(to), unreadable: unreadable.then(|| "no network".to_owned()) }
    }

    fn spans() -> Vec<Span> {
        vec![
            span("2026-04-10T12:00:00Z", "2026-04-20T00:00:00Z", false),
            span("2026-04-20T00:00:00Z", "2026-04-21T00:00:00Z", true),
            span("2026-04-22T00:00:00Z", "2026-05-05T12:00:00Z", false),
        ]
    }

    fn terminal(width: usize) -> Terminal<'static> {
        Terminal { width, color: false, zone: &UTC, now: at("2026-05-05T12:00:00Z") }
    }

    fn rendered(
        since: Option<&str>,
        until: Option<&str>,
        services: &[(&str, Option<&str>, &[Outage])],
        terminal: &Terminal,
    ) -> String {
        let days = Days::new(since.map(at), until.map(at), terminal);
        let named = services.iter().map(|(name, unlisted, _)| (*name, unlisted.map(at)));
        let mut timeline = Timeline::new(days, named, terminal);
        for (row, (_, _, outages)) in services.iter().enumerate() {
            outages.iter().for_each(|outage| timeline.add(row, outage));
        }
        timeline.draw(&spans())
    }

    #[test]
    fn thirty_days_fit_80_columns() {
        let short = outage(EventKind::Outage, "2026-04-25T13:00:00Z", Some("2026-04-25T13:10:00Z"));
        let issue = outage(EventKind::Issue, "2026-05-05T11:00:00Z", None);
        let work = outage(EventKind::Maintenance, "2026-04-12T00:00:00Z", Some("2026-04-13T00:00:00Z"));
        let services = [
            ("iCloud Backup", None, &[short, issue, work][..]),
            ("Photos", Some("2026-05-03T00:00:00Z"), &[]),
        ];
        let expected = "\
iCloud Backup  ---------...mm..............??--.......#..................!
Photos         ---------...................??--......................?????
               6 Apr         13 Apr        20 Apr        27 Apr        4 May
  . none listed  ! issue  # outage  m maintenance  ? cannot tell  - not polling
";
        assert_eq!(rendered(None, None, &services, &terminal(80)), expected);
    }

    #[test]
    fn a_narrow_terminal_has_one_cell_per_day_and_names_on_separate_lines() {
        let down = [outage(EventKind::Outage, "2026-05-05T11:00:00Z", None)];
        let services = [("Identity - Drivers License or ID", None, &down[..])];
        let expected = "\
Identity - Drivers License or ID
  ----..........?-.............#
  6 Apr  13 Apr 20 Apr 27 Apr 4 May
  . none listed  ! issue  # outage
  m maintenance  ? cannot tell
  - not polling
";
        assert_eq!(rendered(None, None, &services, &terminal(40)), expected);
        let wide = rendered(None, None, &services, &terminal(160));
        assert_eq!(wide.lines().next().map(width), Some(34 + 118));
    }

    /// Compares the row of iCloud Backup and the dates below.
    #[track_caller]
    fn check(since: &str, until: Option<&str>, columns: usize, expected: &str) {
        let down = [
            outage(EventKind::Outage, "2025-12-31T20:00:00Z", Some("2026-01-01T02:00:00Z")),
            outage(EventKind::Outage, "2026-05-05T11:00:00Z", None),
        ];
        let text = rendered(Some(since), until, &[("iCloud Backup", None, &down)], &terminal(columns));
        let lines: Vec<&str> = text.lines().take_while(|line| !line.starts_with("  . ")).collect();
        assert_eq!(lines.join("\n"), expected, "{since}");
        assert!(text.lines().all(|line| width(line) <= columns), "{text}");
    }

    #[test]
    fn days_follow_since_and_until() {
        check(
            "2026-05-05T00:00:00Z",
            None,
            80,
            "\
iCloud Backup  ...........#
               5 May",
        );
        check(
            "2026-05-03T18:00:00Z",
            None,
            80,
            "\
iCloud Backup
  ...........................................................#
  3 May                   4 May                   5 May",
        );
        check(
            "2025-12-01T00:00:00Z",
            None,
            80,
            "\
iCloud Backup  ----------#--------------------------------........#
               1 Dec 2025  6 Jan 2026  11 Feb 2026 19 Mar 2026 24 Apr 2026",
        );
        check(
            "2026-04-20T12:00:00Z",
            Some("2026-04-23T00:00:00Z"),
            60,
            "\
iCloud Backup  ????????????------------............
               20 Apr      21 Apr      22 Apr",
        );
    }

    #[test]
    fn days_follow_the_time_zone_and_daylight_saving() {
        let zone = TimeZone::get("Europe/Berlin").expect("a zone");
        let terminal = Terminal { zone: &zone, now: at("2026-04-05T12:00:00Z"), ..terminal(80) };
        assert_eq!(start(&terminal), at("2026-03-06T23:00:00Z"));
        let bounds = Cells::PerDay(2).bounds(Days::new(None, None, &terminal), &terminal);
        assert_eq!((bounds.len(), bounds[60]), (61, at("2026-04-05T22:00:00Z")));
        let length_s = |cell: usize| bounds[cell + 1].duration_since(bounds[cell]).as_secs();
        // 29 March had 23 hours.
        assert_eq!((length_s(44), length_s(45), length_s(46)), (41_400, 41_400, 43_200));
    }
}
