//! The last 90 days of a service: a bar, the table behind it, and the uptime.

use crate::model::ServiceKey;
use crate::report::days::{CoveredDay, DayRun, day_marks, day_runs};
use crate::report::mark::{Mark, interval, touches};
use crate::report::uptime::Uptime;
use crate::store::PostedOutage;
use crate::text::counted;
use crate::web::current::Current;
use crate::web::page::shown::{ShownTime, mark_class, seconds_text};
use crate::web::verdict::ServiceNow;

/// The width of a day in units of the picture.
const DAY_WIDTH: usize = 8;
/// The part of a bar that a day without a problem fills, at most.
const FULL_HEIGHT: i64 = 18;
const HEIGHT: i64 = 24;

/// The last days of a service.
pub struct Bar {
    pub width: usize,
    pub label: String,
    pub rects: Vec<Rect>,
    pub rows: Vec<DayRow>,
    pub first: Option<ShownTime>,
    pub last: Option<ShownTime>,
    pub uptime: ShownUptime,
}

/// A rectangle of equal days, filled with the pattern of their mark.
pub struct Rect {
    pub class: &'static str,
    pub x: usize,
    pub y: i64,
    pub width: usize,
    pub height: i64,
    /// Shown on hover.
    pub title: String,
}

/// A row of the table: consecutive days with the same mark.
pub struct DayRow {
    pub class: &'static str,
    pub words: &'static str,
    pub first: ShownTime,
    /// `None` for a single day.
    pub last: Option<ShownTime>,
    pub detail: String,
}

/// The shares of time without a problem.
pub struct ShownUptime {
    pub by_apple: Option<String>,
    pub as_posted: Option<String>,
    /// The time not polled, or in which the feed was unreadable; `None` if there is none.
    pub gap: Option<String>,
    pub hours: String,
}

impl Bar {
    /// `days` are those of [`Current::days`].
    pub fn new(service: &ServiceNow, days: &[CoveredDay], current: &Current) -> Bar {
        let posted: Vec<&PostedOutage> = current.of_service(service.key).collect();
        let outages: Vec<_> = posted.iter().map(|posted| &posted.stored.outage).collect();
        let marks = day_marks(days, &outages, service.unlisted_since, current.now);
        let runs = day_runs(&marks);
        let rows: Vec<DayRow> = runs.iter().map(|run| row(run, days, &posted, current)).collect();
        let edge = |day: Option<&CoveredDay>| day.map(|day| date(day, current));
        Bar {
            width: days.len() * DAY_WIDTH,
            label: label(&runs, days.len()),
            rects: runs.iter().zip(&rows).flat_map(|(run, row)| rects(run, row, days)).collect(),
            rows,
            first: edge(days.first()),
            last: edge(days.last()),
            uptime: uptime(&posted, days, current),
        }
    }
}

impl Current {
    /// Returns the outages of a service in the last days, oldest first.
    pub fn of_service(&self, key: &ServiceKey) -> impl DoubleEndedIterator<Item = &PostedOutage> {
        self.outages.iter().filter(move |posted| ServiceKey::new(&posted.stored.outage.service) == *key)
    }
}

fn date(day: &CoveredDay, current: &Current) -> ShownTime {
    let shown = ShownTime::formatted(day.from, current, "%-d %b");
    ShownTime { machine: day.date.to_string(), full: day.date.strftime("%A %-d %B %Y").to_string(), ..shown }
}

/// Returns the bar in words: `90 days: 3 with an outage, 80 with none listed, 7 not polled`.
fn label(runs: &[DayRun], count: usize) -> String {
    let days = |mark| runs.iter().filter(|run| run.mark == mark).map(|run| run.last + 1 - run.first).sum();
    let parts: Vec<String> = Mark::LEGEND
        .into_iter()
        .map(|mark| (mark, days(mark)))
        .filter(|(_, days): &(Mark, usize)| *days > 0)
        .map(|(mark, days)| format!("{}: {days}", mark.words()))
        .collect();
    format!("Last {}, each by its worst state. {}.", counted(count, "day"), parts.join(", "))
}

/// Returns the rectangles of a run. The share of a day without polls is grey, so days of different coverage
/// have rectangles of their own.
fn rects(run: &DayRun, row: &DayRow, days: &[CoveredDay]) -> Vec<Rect> {
    let title = title(row);
    let rect = |class, first: usize, last: usize, y, height| Rect {
        class,
        x: first * DAY_WIDTH,
        y,
        width: (last + 1 - first) * DAY_WIDTH,
        height,
        title: title.clone(),
    };
    if run.mark != Mark::Fine {
        return vec![rect(mark_class(run.mark), run.first, run.last, 0, HEIGHT)];
    }
    let heights: Vec<i64> = days[run.first..=run.last].iter().map(polled_height).collect();
    let mut rects = Vec::new();
    let mut first = run.first;
    for equal in heights.chunk_by(|a, b| a == b) {
        let (last, height) = (first + equal.len() - 1, equal[0]);
        rects.push(rect(mark_class(Mark::Fine), first, last, HEIGHT - height, height));
        if height < FULL_HEIGHT {
            let rest = FULL_HEIGHT - height;
            rects.push(rect(mark_class(Mark::NotPolling), first, last, HEIGHT - FULL_HEIGHT, rest));
        }
        first = last + 1;
    }
    rects
}

/// Returns the height of a day without a problem. Only a day polled throughout has the full height.
fn polled_height(day: &CoveredDay) -> i64 {
    let missing_s = day.seen.whole_s - day.seen.readable_s;
    // Restarts and single failed polls are not worth a mark.
    let missing_s = if missing_s < 15 * 60 { 0 } else { missing_s };
    let missing = (missing_s * FULL_HEIGHT + day.seen.whole_s - 1) / day.seen.whole_s.max(1);
    (FULL_HEIGHT - missing).max(1)
}

/// Returns for example `12 Oct: outage (1 problem, 4 h)`.
fn title(row: &DayRow) -> String {
    let days = match &row.last {
        None => row.first.text.clone(),
        Some(last) => format!("{} to {}", row.first.text, last.text),
    };
    match row.detail.as_str() {
        "" => format!("{days}: {}", row.words),
        detail => format!("{days}: {} ({detail})", row.words),
    }
}

fn row(run: &DayRun, days: &[CoveredDay], posted: &[&PostedOutage], current: &Current) -> DayRow {
    DayRow {
        class: mark_class(run.mark),
        words: run.mark.words(),
        first: date(&days[run.first], current),
        last: (run.first < run.last).then(|| date(&days[run.last], current)),
        detail: detail(run, days, posted, current),
    }
}

/// Returns the number and the total duration of problems, and the time without polls.
fn detail(run: &DayRun, days: &[CoveredDay], posted: &[&PostedOutage], current: &Current) -> String {
    let (from, to) = (days[run.first].from, days[run.last].to);
    let mut parts = Vec::new();
    for (is_maintenance, noun) in [(false, "problem"), (true, "maintenance")] {
        let of_run = posted
            .iter()
            .map(|posted| &posted.stored.outage)
            .filter(|outage| outage.kind.is_maintenance() == is_maintenance)
            .filter_map(|outage| interval(outage, current.now))
            .filter(|interval| touches(*interval, from, to));
        let lengths: Vec<i64> =
            of_run.map(|(began, ended)| ended.min(to).duration_since(began.max(from)).as_secs()).collect();
        if !lengths.is_empty() {
            let count = match is_maintenance {
                true => noun.to_owned(),
                false => counted(lengths.len(), noun),
            };
            parts.push(format!("{count}, {}", seconds_text(lengths.iter().sum())));
        }
    }
    let of = &days[run.first..=run.last];
    let sum = |seconds: &dyn Fn(&CoveredDay) -> i64| of.iter().map(seconds).sum::<i64>();
    let unreadable_s = sum(&|day| day.seen.unreadable_s);
    let gap_s = sum(&|day| day.seen.whole_s - day.seen.readable_s - day.seen.unreadable_s);
    for (seconds, words) in [(gap_s, "not polled"), (unreadable_s, "unreadable")] {
        if seconds >= 60 {
            parts.push(format!("{} {words}", seconds_text(seconds)));
        }
    }
    parts.join("; ")
}

/// Computes the uptime since the first poll of the last days.
fn uptime(posted: &[&PostedOutage], days: &[CoveredDay], current: &Current) -> ShownUptime {
    let start = days.first().map_or(current.now, |day| day.from);
    let first = current.spans.iter().map(|span| span.from).min().map_or(current.now, |from| from.max(start));
    let uptime = Uptime::new(posted, &current.spans, first, current.now);
    let gap: Vec<String> = [(uptime.not_polled_s, "not polled"), (uptime.unreadable_s, "unreadable")]
        .into_iter()
        // The time since the last poll is no gap.
        .filter(|(seconds, _)| *seconds >= 15 * 60)
        .map(|(seconds, words)| format!("{} {words}", hours(seconds)))
        .collect();
    ShownUptime {
        by_apple: uptime.by_apple(),
        as_posted: uptime.as_posted(),
        gap: (!gap.is_empty()).then(|| gap.join(", ")),
        hours: hours(uptime.readable_s),
    }
}

/// `2,016 h`; below ten hours with minutes.
fn hours(seconds: i64) -> String {
    match seconds / 3600 {
        hours if hours >= 10 => format!("{} h", crate::text::grouped(usize::try_from(hours).unwrap_or(0))),
        _ => seconds_text(seconds),
    }
}
