//! The timeline of services, one row of cells each, and the share of time covered by polls.
//!
//! Pure. Days are those of the reader's time zone. A day has as many cells as the terminal allows; in a long
//! timeline, several days share a cell. Even a short outage marks its cell. A cell shows "none listed" only
//! if readable polls cover the largest share of it.

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp, ToSpan};

use crate::model::{EventKind, Outage, Phase};
use crate::store::Span;

use super::phrases::shown;
use super::terminal::{Ink, Page, padded, width};

/// The default number of days.
const DAYS: usize = 30;
/// Cells a day, finest first; they divide a day into whole hours.
const CELLS_A_DAY: [usize; 8] = [24, 12, 8, 6, 4, 3, 2, 1];
/// Names stand beside their rows if that leaves so many cells, or costs none.
const BESIDE_IF: usize = 45;
const INDENT: usize = 2;
/// Columns of a date and its gap, without and with a year.
const DATE_COLUMNS: usize = 7;
const LONG_DATE_COLUMNS: usize = 12;

/// The mark of a cell, in order of precedence: a greater mark hides a lesser one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DayMark {
    Ahead,
    NotPolling,
    Blind,
    Fine,
    Maintenance,
    Issue,
    Outage,
}

impl DayMark {
    const LEGEND: [(DayMark, &'static str); 6] = [
        (DayMark::Fine, "none listed"),
        (DayMark::Issue, "issue"),
        (DayMark::Outage, "outage"),
        (DayMark::Maintenance, "maintenance"),
        (DayMark::Blind, "cannot tell"),
        (DayMark::NotPolling, "not polling"),
    ];

    fn drawn(self) -> (char, Ink) {
        match self {
            DayMark::Ahead => (' ', Ink::Plain),
            DayMark::NotPolling => ('-', Ink::Faint),
            DayMark::Blind => ('?', Ink::Doubtful),
            DayMark::Fine => ('.', Ink::Good),
            DayMark::Maintenance => ('m', Ink::Planned),
            DayMark::Issue => ('!', Ink::Doubtful),
            DayMark::Outage => ('#', Ink::Bad),
        }
    }
}

/// A range of whole days in the reader's time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Days {
    first: Date,
    count: usize,
}

impl Days {
    /// From the day of `since` to that of `until`: by default to today, and 30 days in all.
    pub fn new(since: Option<Timestamp>, until: Option<Timestamp>, page: &Page) -> Days {
        let date = |time: Timestamp| time.to_zoned(page.zone.clone()).date();
        let before = |until: Timestamp| until.saturating_sub(SignedDuration::from_secs(1)).unwrap_or(until);
        let last = date(until.map_or(page.now, |until| before(until).min(page.now)));
        let first = since.map_or(last.saturating_sub((DAYS as i64 - 1).days()), date).min(last);
        let between = first.until(last).map_or(0, |span| span.get_days());
        Days { first, count: usize::try_from(between).unwrap_or(0) + 1 }
    }

    /// The beginning of the first of them.
    pub fn start(&self, page: &Page) -> Timestamp {
        self.midnight(0, page)
    }

    /// The end of the last of them.
    pub fn end(&self, page: &Page) -> Timestamp {
        self.midnight(self.count, page)
    }

    fn date(&self, day: usize) -> Date {
        self.first.saturating_add(i64::try_from(day).unwrap_or(0).days())
    }

    /// Midnight before the day with this number, 0 being the first.
    fn midnight(&self, day: usize, page: &Page) -> Timestamp {
        self.date(day).to_zoned(page.zone.clone()).map_or(page.now, |midnight| midnight.timestamp())
    }
}

/// The beginning of the first of the last 30 days.
pub fn start(page: &Page) -> Timestamp {
    Days::new(None, None, page).start(page)
}

/// The scale of a timeline: cells per day, or days per cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cells {
    ADay(usize),
    Days(usize),
}

impl Cells {
    /// Returns the finest scale that fits.
    fn finest(days: usize, room: usize) -> Cells {
        match CELLS_A_DAY.into_iter().find(|cells| days.saturating_mul(*cells) <= room) {
            Some(cells) => Cells::ADay(cells),
            None => Cells::Days(days.div_ceil(room.max(1))),
        }
    }

    fn count(self, days: usize) -> usize {
        match self {
            Cells::ADay(cells) => days * cells,
            Cells::Days(of) => days.div_ceil(of),
        }
    }

    /// Where cells begin; one more than there are cells. Days of 23 or 25 hours have wider cells.
    fn bounds(self, days: Days, page: &Page) -> Vec<Timestamp> {
        let Cells::ADay(cells) = self else {
            let Cells::Days(of) = self else { return Vec::new() };
            return (0..=self.count(days.count)).map(|cell| days.midnight(cell * of, page)).collect();
        };
        let midnights: Vec<i64> = (0..=days.count).map(|day| days.midnight(day, page).as_second()).collect();
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
    /// The worst trouble of each cell.
    trouble: Vec<Option<DayMark>>,
}

/// A timeline under construction.
pub struct Timeline<'a> {
    page: &'a Page<'a>,
    days: Days,
    cells: Cells,
    bounds: Vec<Timestamp>,
    rows: Vec<Row>,
    /// Columns before the cells.
    margin: usize,
    is_beside: bool,
}
    /// True if names are in the margin, false if they have lines of their own.

impl<'a> Timeline<'a> {
    /// Creates a row for each service, given by its name and the time since which Apple does not list it.
    pub fn new<'n>(
        days: Days,
        services: impl Iterator<Item = (&'n str, Option<Timestamp>)>,
        page: &'a Page<'a>,
    ) -> Timeline<'a> {
        let mut rows: Vec<Row> = services
            .map(|(name, unlisted_since)| Row { name: shown(name), unlisted_since, trouble: Vec::new() })
            .collect();
        let label = rows.iter().map(|row| width(&row.name)).max().unwrap_or(0) + 2;
        let beside = Cells::finest(days.count, page.width.saturating_sub(label));
        let alone = Cells::finest(days.count, page.width.saturating_sub(INDENT));
        let is_beside =
            label < page.width && beside.count(days.count) >= BESIDE_IF.min(alone.count(days.count));
        let (cells, margin) = if is_beside { (beside, label) } else { (alone, INDENT) };
        let bounds = cells.bounds(days, page);
        for row in &mut rows {
            row.trouble = vec![None; bounds.len().saturating_sub(1)];
        }
        Timeline { page, days, cells, bounds, rows, margin, is_beside }
    }

    /// Marks the cells of an outage in a row.
    pub fn add(&mut self, row: usize, outage: &Outage) {
        let Some((began, ended)) = lasting(outage, self.page.now) else { return };
        let Some(row) = self.rows.get_mut(row) else { return };
        let mark = Some(mark_of(&outage.kind));
        for (trouble, cell) in row.trouble.iter_mut().zip(self.bounds.windows(2)) {
            let (from, to) = (cell[0], cell[1].min(self.page.now));
            // Something of no known length still happened.
            if began < to && (ended > from || (began == ended && began >= from)) {
                *trouble = mark.max(*trouble);
            }
        }
    }

    /// Renders a row for each service, a line of dates and a legend.
    pub fn draw(&self, spans: &[Span]) -> String {
        let seen: Vec<CoverageShares> =
            self.bounds.windows(2).map(|cell| coverage(spans, cell[0], cell[1].min(self.page.now))).collect();
        let mut text = String::new();
        for row in &self.rows {
            let head = match self.is_beside {
                true => padded(&row.name, self.margin),
                false => format!("{}\n{:INDENT$}", row.name, ""),
            };
            text.push_str(&self.page.paint(Ink::Strong, head.trim_end()));
            text.push_str(&head[head.trim_end().len()..]);
            text.push_str(&painted(&self.marks(row, &seen), self.page));
            text.push('\n');
        }
        text.push_str(&self.page.paint(Ink::Faint, &self.dates()));
        text.push('\n');
        text.push_str(&legend(self.page));
        text
    }

    fn marks(&self, row: &Row, seen: &[CoverageShares]) -> Vec<DayMark> {
        let cells = row.trouble.iter().zip(seen).zip(&self.bounds);
        let mark = |((trouble, seen), from): ((&Option<DayMark>, &CoverageShares), &Timestamp)| {
            let not_polling_s = seen.whole_s - seen.readable_s - seen.unreadable_s;
            if *from >= self.page.now {
                DayMark::Ahead
            } else if let Some(trouble) = trouble {
                *trouble
            } else if row.unlisted_since.is_some_and(|since| since <= *from) {
                DayMark::Blind
            } else if seen.readable_s > 0 && seen.readable_s >= seen.unreadable_s.max(not_polling_s) {
                DayMark::Fine
            } else if seen.unreadable_s >= not_polling_s {
                DayMark::Blind
            } else {
                DayMark::NotPolling
            }
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
        let (step, cells_a_step) = match self.cells {
            Cells::ADay(cells) => {
                // A week, or as many weeks as a date takes; of few days each that has room.
                let weeks = (1..).map(|weeks| 7 * weeks);
                let steps = [1, 2].into_iter().filter(|_| self.days.count <= 2 * 7).chain(weeks);
                let step = steps.take(DAYS).find(|step| step * cells >= columns).unwrap_or(7);
                (step, step * cells)
            }
            Cells::Days(of) => (columns * of, columns),
        };
        let mut line = " ".repeat(self.margin);
        for number in 0..self.days.count.div_ceil(step) {
            let date = self.days.date(number * step).strftime(format).to_string();
            let column = self.margin + number * cells_a_step;
            if number > 0 && column + width(&date) > self.page.width {
                break;
            }
            line = padded(&line, column);
            line.push_str(&date);
        }
        line
    }
}

fn mark_of(kind: &EventKind) -> DayMark {
    match kind {
        EventKind::Outage => DayMark::Outage,
        EventKind::Issue | EventKind::Performance | EventKind::Other(_) => DayMark::Issue,
        EventKind::Maintenance => DayMark::Maintenance,
    }
}

/// From when to when, so far; `None` for what is only planned.
fn lasting(outage: &Outage, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
    let began = outage.start.unwrap_or(outage.first_seen);
    match outage.phase {
        Phase::Over(_) if outage.was_cancelled() => None,
        Phase::Planned(_) => None,
        Phase::Ongoing(_) => Some((began, now)),
        Phase::Over(_) => Some((began, outage.end.unwrap_or(outage.first_seen).max(began))),
    }
}

/// The coverage of a period by polls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoverageShares {
    pub whole_s: i64,
    pub readable_s: i64,
    pub unreadable_s: i64,
}

/// Computes the coverage of the period from `from` to `to`.
pub fn coverage(spans: &[Span], from: Timestamp, to: Timestamp) -> CoverageShares {
    let mut seen =
        CoverageShares { whole_s: to.duration_since(from).as_secs().max(0), readable_s: 0, unreadable_s: 0 };
    // Spans overlap after the clock was set back; no second counts twice.
    let mut counted = from;
    for span in spans {
        let (begin, end) = (span.from.max(counted), span.to.min(to));
        let seconds = end.duration_since(begin).as_secs().max(0);
        if seconds == 0 {
            continue;
        }
        counted = end;
        match span.unreadable {
            None => seen.readable_s += seconds,
            Some(_) => seen.unreadable_s += seconds,
        }
    }
    seen
}

/// A quiet look writes nothing, so the newest span may end up to an hour ago while the daemon looks
/// on. Where it runs the span lasts until now.
pub fn up_to_date(mut spans: Vec<Span>, is_running: bool, now: Timestamp) -> Vec<Span> {
    if let Some(last) = spans.last_mut().filter(|_| is_running) {
        last.to = last.to.max(now);
    }
    spans
}

/// Marks in their colours, one escape sequence a run.
fn painted(marks: &[DayMark], page: &Page) -> String {
    let runs = marks.chunk_by(|a, b| a == b);
    let text: String = runs
        .map(|run| {
            let (sign, ink) = run[0].drawn();
            page.paint(ink, &sign.to_string().repeat(run.len()))
        })
        .collect();
    text.trim_end().to_owned()
}

fn legend(page: &Page) -> String {
    let (mut text, mut used) = (String::new(), INDENT);
    text.push_str(&" ".repeat(INDENT));
    for (mark, words) in DayMark::LEGEND {
        let (sign, ink) = mark.drawn();
        let columns = 2 + width(words);
        if used > INDENT && used + 2 + columns > page.width {
            text.push_str(&format!("\n{:INDENT$}", ""));
            used = INDENT;
        } else if used > INDENT {
            text.push_str("  ");
            used += 2;
        }
        text.push_str(&format!("{} {words}", page.paint(ink, &sign.to_string())));
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
    use crate::model::OverBy;

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

    fn span(from: &str, to: &str, blind: bool) -> Span {
        Span { from: at(from), to: at(to), unreadable: blind.then(|| "no network".to_owned()) }
    }

    fn spans() -> Vec<Span> {
        vec![
            span("2026-04-10T12:00:00Z", "2026-04-20T00:00:00Z", false),
            span("2026-04-20T00:00:00Z", "2026-04-21T00:00:00Z", true),
            span("2026-04-22T00:00:00Z", "2026-05-05T12:00:00Z", false),
        ]
    }

    fn page(width: usize) -> Page<'static> {
        Page { width, color: false, zone: &UTC, now: at("2026-05-05T12:00:00Z") }
    }

    fn drawn(
        since: Option<&str>,
        until: Option<&str>,
        services: &[(&str, Option<&str>, &[Outage])],
        page: &Page,
    ) -> String {
        let days = Days::new(since.map(at), until.map(at), page);
        let named = services.iter().map(|(name, unlisted, _)| (*name, unlisted.map(at)));
        let mut timeline = Timeline::new(days, named, page);
        for (row, (_, _, outages)) in services.iter().enumerate() {
            outages.iter().for_each(|outage| timeline.add(row, outage));
        }
        timeline.draw(&spans())
    }

    #[test]
    fn thirty_days_in_eighty_columns() {
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
        assert_eq!(drawn(None, None, &services, &page(80)), expected);
    }

    #[test]
    fn a_narrow_page_has_a_cell_a_day_and_a_long_name_its_own_line() {
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
        assert_eq!(drawn(None, None, &services, &page(40)), expected);
        let wide = drawn(None, None, &services, &page(160));
        assert_eq!(wide.lines().next().map(width), Some(34 + 118));
    }

    /// Compares the row of iCloud Backup and the dates below.
    #[track_caller]
    fn check(since: &str, until: Option<&str>, columns: usize, expected: &str) {
        let down = [
            outage(EventKind::Outage, "2025-12-31T20:00:00Z", Some("2026-01-01T02:00:00Z")),
            outage(EventKind::Outage, "2026-05-05T11:00:00Z", None),
        ];
        let text = drawn(Some(since), until, &[("iCloud Backup", None, &down)], &page(columns));
        let lines: Vec<&str> = text.lines().take_while(|line| !line.starts_with("  . ")).collect();
        assert_eq!(lines.join("\n"), expected, "{since}");
        assert!(text.lines().all(|line| width(line) <= columns), "{text}");
    }

    #[test]
    fn the_days_are_those_that_were_asked_for() {
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
    fn days_are_the_readers_and_daylight_saving_moves_nothing() {
        let zone = TimeZone::get("Europe/Berlin").expect("a zone");
        let page = Page { zone: &zone, now: at("2026-04-05T12:00:00Z"), ..page(80) };
        assert_eq!(start(&page), at("2026-03-06T23:00:00Z"));
        let bounds = Cells::ADay(2).bounds(Days::new(None, None, &page), &page);
        assert_eq!((bounds.len(), bounds[60]), (61, at("2026-04-05T22:00:00Z")));
        let length_s = |cell: usize| bounds[cell + 1].duration_since(bounds[cell]).as_secs();
        // 29 March had 23 hours.
        assert_eq!((length_s(44), length_s(45), length_s(46)), (41_400, 41_400, 43_200));
    }

    #[test]
    fn coverage_counts_no_second_twice() {
        let overlapping = [
            span("2026-05-01T00:00:00Z", "2026-05-02T00:00:00Z", false),
            span("2026-05-01T12:00:00Z", "2026-05-03T00:00:00Z", true),
        ];
        let seen = coverage(&overlapping, at("2026-05-01T00:00:00Z"), at("2026-05-05T00:00:00Z"));
        assert_eq!(seen, CoverageShares { whole_s: 4 * 86_400, readable_s: 86_400, unreadable_s: 86_400 });
    }

    #[test]
    fn a_running_daemon_looks_until_now() {
        let now = at("2026-05-05T12:40:00Z");
        assert_eq!(up_to_date(spans(), true, now)[2].to, now);
        assert_eq!(up_to_date(spans(), false, now), spans());
    }
}
