//! The last 30 days of a service as a strip of characters, and how much of them we saw.
//!
//! Pure. A day is a day in the reader's zone and has as many cells as the page allows. Invariant:
//! trouble marks a cell however short it was; "fine" takes more looking than not looking.

use jiff::{Timestamp, ToSpan};

use crate::model::{EventKind, Outage, Phase};
use crate::store::Span;

use super::page::{Ink, Page, padded, width};
use super::words::shown;

pub const DAYS: usize = 30;
/// Cells a day, finest first; they divide a day into whole hours.
const CELLS_A_DAY: [usize; 8] = [24, 12, 8, 6, 4, 3, 2, 1];
/// Names stand beside their strips if that leaves so many cells a day.
const BESIDE_IF: usize = 2;
const INDENT: usize = 2;
const DAYS_BETWEEN_DATES: usize = 7;

/// What one cell shows, in order of what outshines what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    Ahead,
    NotLooking,
    Blind,
    Fine,
    Maintenance,
    Issue,
    Outage,
}

impl Mark {
    const LEGEND: [(Mark, &'static str); 6] = [
        (Mark::Fine, "none listed"),
        (Mark::Issue, "issue"),
        (Mark::Outage, "outage"),
        (Mark::Maintenance, "maintenance"),
        (Mark::Blind, "cannot tell"),
        (Mark::NotLooking, "not looking"),
    ];

    fn drawn(self) -> (char, Ink) {
        match self {
            Mark::Ahead => (' ', Ink::Plain),
            Mark::NotLooking => ('-', Ink::Faint),
            Mark::Blind => ('?', Ink::Doubtful),
            Mark::Fine => ('.', Ink::Good),
            Mark::Maintenance => ('m', Ink::Planned),
            Mark::Issue => ('!', Ink::Doubtful),
            Mark::Outage => ('#', Ink::Bad),
        }
    }
}

/// A service and what we hold of its last 30 days.
#[derive(Clone, Debug)]
pub struct Strip<'a> {
    pub name: String,
    pub outages: Vec<&'a Outage>,
    /// From then on Apple's silence means nothing.
    pub unlisted_since: Option<Timestamp>,
}

/// The beginning of the first of the days.
pub fn start(page: &Page) -> Timestamp {
    midnight(page, 0)
}

/// One strip a service, a line of dates and a legend.
pub fn draw(strips: &[Strip], spans: &[Span], page: &Page) -> String {
    let names: Vec<String> = strips.iter().map(|strip| shown(&strip.name)).collect();
    let label = names.iter().map(|name| width(name)).max().unwrap_or(0) + 2;
    let beside = finest(page.width.saturating_sub(label));
    let alone = finest(page.width.saturating_sub(INDENT));
    let is_beside = beside.is_some_and(|cells| cells >= BESIDE_IF.min(alone.unwrap_or(1)));
    let cells_a_day = if is_beside { beside } else { alone }.unwrap_or(1);
    let margin = if is_beside { label } else { INDENT };
    let bounds = bounds(page, cells_a_day);
    let mut text = String::new();
    for (strip, name) in strips.iter().zip(&names) {
        let head = if is_beside { padded(name, label) } else { format!("{name}\n{:INDENT$}", "") };
        text.push_str(&page.paint(Ink::Strong, head.trim_end()));
        text.push_str(&head[head.trim_end().len()..]);
        let marks: Vec<Mark> =
            bounds.windows(2).map(|cell| mark(strip, spans, cell[0], cell[1], page.now)).collect();
        text.push_str(&painted(&marks, page));
        text.push('\n');
    }
    text.push_str(&page.paint(Ink::Faint, &dates(page, margin, cells_a_day)));
    text.push('\n');
    text.push_str(&legend(page));
    text
}

fn finest(room: usize) -> Option<usize> {
    CELLS_A_DAY.into_iter().find(|cells| DAYS * cells <= room)
}

/// Midnight before the day with this number, 0 being the first.
fn midnight(page: &Page, day: usize) -> Timestamp {
    let today = page.now.to_zoned(page.zone.clone()).date();
    let back = i64::try_from(DAYS - 1).unwrap_or(0) - i64::try_from(day).unwrap_or(0);
    let date = today.saturating_sub(back.days());
    date.to_zoned(page.zone.clone()).map_or(page.now, |midnight| midnight.timestamp())
}

/// Where cells begin; one more than there are cells. Days of 23 or 25 hours have wider cells.
fn bounds(page: &Page, cells_a_day: usize) -> Vec<Timestamp> {
    let midnights: Vec<i64> = (0..=DAYS).map(|day| midnight(page, day).as_second()).collect();
    let mut bounds = Vec::with_capacity(DAYS * cells_a_day + 1);
    for day in midnights.windows(2) {
        for cell in 0..cells_a_day {
            let share = (day[1] - day[0]) * i64::try_from(cell).unwrap_or(0) / cells_a_day as i64;
            bounds.push(day[0] + share);
        }
    }
    bounds.extend(midnights.last());
    bounds.into_iter().filter_map(|second| Timestamp::from_second(second).ok()).collect()
}

fn mark(strip: &Strip, spans: &[Span], from: Timestamp, to: Timestamp, now: Timestamp) -> Mark {
    let to = to.min(now);
    if from >= to {
        return Mark::Ahead;
    }
    let trouble = strip.outages.iter().filter_map(|outage| {
        let (began, ended) = lasting(outage, now)?;
        // Something of no known length still happened.
        (began < to && (ended > from || (began == ended && began >= from))).then(|| mark_of(&outage.kind))
    });
    trouble.max().unwrap_or_else(|| {
        let seen = coverage(spans, from, to);
        let not_looking_s = seen.whole_s - seen.sighted_s - seen.blind_s;
        if strip.unlisted_since.is_some_and(|since| since <= from) {
            Mark::Blind
        } else if seen.sighted_s > 0 && seen.sighted_s >= seen.blind_s.max(not_looking_s) {
            Mark::Fine
        } else if seen.blind_s >= not_looking_s {
            Mark::Blind
        } else {
            Mark::NotLooking
        }
    })
}

fn mark_of(kind: &EventKind) -> Mark {
    match kind {
        EventKind::Outage => Mark::Outage,
        EventKind::Issue | EventKind::Performance | EventKind::Other(_) => Mark::Issue,
        EventKind::Maintenance => Mark::Maintenance,
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

/// How much of a time we could see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    pub whole_s: i64,
    pub sighted_s: i64,
    pub blind_s: i64,
}

/// Of the time from `from` to `to`.
pub fn coverage(spans: &[Span], from: Timestamp, to: Timestamp) -> Seen {
    let mut seen = Seen { whole_s: to.duration_since(from).as_secs().max(0), sighted_s: 0, blind_s: 0 };
    // A clock that was set back makes spans overlap; no second counts twice.
    let mut counted = from;
    for span in spans {
        let (begin, end) = (span.from.max(counted), span.to.min(to));
        let seconds = end.duration_since(begin).as_secs().max(0);
        if seconds == 0 {
            continue;
        }
        counted = end;
        match span.blind {
            None => seen.sighted_s += seconds,
            Some(_) => seen.blind_s += seconds,
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
fn painted(marks: &[Mark], page: &Page) -> String {
    let runs = marks.chunk_by(|a, b| a == b);
    let text: String = runs
        .map(|run| {
            let (sign, ink) = run[0].drawn();
            page.paint(ink, &sign.to_string().repeat(run.len()))
        })
        .collect();
    text.trim_end().to_owned()
}

fn dates(page: &Page, margin: usize, cells_a_day: usize) -> String {
    let mut line = " ".repeat(margin);
    for day in (0..DAYS).step_by(DAYS_BETWEEN_DATES) {
        line = padded(&line, margin + day * cells_a_day);
        line.push_str(&midnight(page, day).to_zoned(page.zone.clone()).strftime("%-d %b").to_string());
    }
    line
}

fn legend(page: &Page) -> String {
    let (mut text, mut used) = (String::new(), INDENT);
    text.push_str(&" ".repeat(INDENT));
    for (mark, words) in Mark::LEGEND {
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

    use super::super::page::tests::UTC;
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
        Span { from: at(from), to: at(to), blind: blind.then(|| "no network".to_owned()) }
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

    #[test]
    fn thirty_days_in_eighty_columns() {
        let short = outage(EventKind::Outage, "2026-04-25T13:00:00Z", Some("2026-04-25T13:10:00Z"));
        let issue = outage(EventKind::Issue, "2026-05-05T11:00:00Z", None);
        let work = outage(EventKind::Maintenance, "2026-04-12T00:00:00Z", Some("2026-04-13T00:00:00Z"));
        let strips = [
            Strip {
                name: "iCloud Backup".to_owned(),
                outages: vec![&short, &issue, &work],
                unlisted_since: None,
            },
            Strip {
                name: "Photos".to_owned(),
                outages: Vec::new(),
                unlisted_since: Some(at("2026-05-03T00:00:00Z")),
            },
        ];
        let expected = "\
iCloud Backup  ---------...mm..............??--.......#..................!
Photos         ---------...................??--......................?????
               6 Apr         13 Apr        20 Apr        27 Apr        4 May
  . none listed  ! issue  # outage  m maintenance  ? cannot tell  - not looking
";
        assert_eq!(draw(&strips, &spans(), &page(80)), expected);
    }

    #[test]
    fn a_narrow_page_has_a_cell_a_day_and_a_long_name_its_own_line() {
        let down = outage(EventKind::Outage, "2026-05-05T11:00:00Z", None);
        let strips = [Strip {
            name: "Identity - Drivers License or ID".to_owned(),
            outages: vec![&down],
            unlisted_since: None,
        }];
        let expected = "\
Identity - Drivers License or ID
  ----..........?-.............#
  6 Apr  13 Apr 20 Apr 27 Apr 4 May
  . none listed  ! issue  # outage
  m maintenance  ? cannot tell
  - not looking
";
        assert_eq!(draw(&strips, &spans(), &page(40)), expected);
        let wide = draw(&strips, &spans(), &page(160));
        assert_eq!(wide.lines().next().map(width), Some(34 + 118));
    }

    #[test]
    fn days_are_the_readers_and_daylight_saving_moves_nothing() {
        let zone = TimeZone::get("Europe/Berlin").expect("a zone");
        let page = Page { zone: &zone, now: at("2026-04-05T12:00:00Z"), ..page(80) };
        assert_eq!(start(&page), at("2026-03-06T23:00:00Z"));
        let bounds = bounds(&page, 2);
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
        assert_eq!(seen, Seen { whole_s: 4 * 86_400, sighted_s: 86_400, blind_s: 86_400 });
    }

    #[test]
    fn a_running_daemon_looks_until_now() {
        let now = at("2026-05-05T12:40:00Z");
        assert_eq!(up_to_date(spans(), true, now)[2].to, now);
        assert_eq!(up_to_date(spans(), false, now), spans());
    }
}
