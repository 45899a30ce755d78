//! `statusd history`: outages or changes, as a timeline with a table, as JSON or as CSV.
//!
//! Reads the database, also while the daemon runs, and changes nothing. Output is oldest first and
//! written while reading, so that a long history is never in memory as a whole.

mod changes;
mod outages;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use serde_json::Value;

use crate::config::Config;
use crate::model::{Beliefs, Change, Listed, Service, ServiceKey};
use crate::schedule::duration;
use crate::status_socket;
use crate::store::{ChangeFilter, Span, Store, StoredChange, StoredOutage};
use crate::text::counted;
use crate::tracking::is_for;
use crate::tracking::watchlist::Watchlist;

use super::config::zone_line;
use crate::cli::args::{History, HistoryFormat};
use crate::cli::phrases::shown;
use crate::cli::state::located;
use crate::cli::terminal::{Ink, Page};
use crate::cli::timeline::{Days, Timeline, up_to_date};
use crate::cli::{Failure, Invocation, Output, WRONG_USAGE, csv, printed, store, unknown_service, wait};

/// More rows than this say less than a table.
const MAX_ROWS: usize = 20;
const INDENT: usize = 2;

/// What the command reads, and of which services.
struct Past<'a> {
    store: Store,
    config: Config,
    beliefs: Beliefs,
    spans: Vec<Span>,
    history: &'a History,
    watch: Watchlist,
    filter: ChangeFilter,
    days: Days,
}

/// Gives each item to a function, oldest first, until that fails.
type Each<'a, T> = &'a dyn Fn(&mut dyn FnMut(&T) -> io::Result<()>) -> Result<(), Failure>;

pub fn run(history: &History, invocation: &Invocation) -> Result<Output, Failure> {
    let config = located(invocation)?;
    let zone = config.time_zone.clone();
    let page = invocation.page(&zone);
    let past = Past::read(history, config, &page)?;
    if !history.services.is_empty() {
        past.refuse_unknown()?;
    }
    let outages =
        |take: &mut dyn FnMut(&StoredOutage) -> io::Result<()>| past.each_outage(&past.filter, take);
    let changes = |take: &mut dyn FnMut(&Change) -> io::Result<()>| past.each_change(&past.filter, take);
    let mut out = io::BufWriter::new(io::stdout().lock());
    let format = if history.json { HistoryFormat::Json } else { history.format };
    match (format, history.changes) {
        (HistoryFormat::Table, is_of_changes) => {
            printed(writeln!(out, "{}", past.timeline(&page)?))?;
            if is_of_changes {
                changes::table(&changes, &page, &mut out)?;
            } else {
                outages::table(&outages, &page, &mut out)?;
                printed(out.write_all(past.other_changes(&page)?.as_bytes()))?;
            }
            let zone = page.paint(Ink::Faint, &zone_line(&past.config, &page));
            printed(writeln!(out, "{zone}"))?;
        }
        (HistoryFormat::Json, true) => json_array(&changes, |change| changes::json(change, &page), &mut out)?,
        (HistoryFormat::Json, false) => json_array(&outages, outages::json, &mut out)?,
        (HistoryFormat::Csv, true) => {
            csv_table(&changes, &changes::CSV_HEAD, changes::csv_record, &mut out)?;
        }
        (HistoryFormat::Csv, false) => {
            csv_table(&outages, &outages::CSV_HEAD, outages::csv_record, &mut out)?;
        }
    }
    printed(out.flush())?;
    Ok(Output::done(String::new()))
}

/// As `serde_json` writes an array, an element at a time.
fn json_array<T>(each: Each<T>, element: impl Fn(&T) -> Value, out: &mut impl Write) -> Result<(), Failure> {
    let mut before = "[";
    each(&mut |item| {
        let element = format!("{:#}", element(item)).replace('\n', "\n  ");
        write!(out, "{}\n  {element}", std::mem::replace(&mut before, ","))
    })?;
    printed(if before == "[" { writeln!(out, "[]") } else { writeln!(out, "\n]") })
}

fn csv_table<T>(
    each: Each<T>,
    head: &[&str],
    record: impl Fn(&T) -> String,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let head: Vec<String> = head.iter().map(|&name| name.to_owned()).collect();
    printed(out.write_all(csv::record(&head).as_bytes()))?;
    each(&mut |item| out.write_all(record(item).as_bytes()))
}

/// The error that stopped the output.
enum Stopped {
    Print(io::Error),
    Read(rusqlite::Error),
}

impl From<rusqlite::Error> for Stopped {
    fn from(error: rusqlite::Error) -> Stopped {
        Stopped::Read(error)
    }
}

impl Stopped {
    fn ended(self) -> Result<(), Failure> {
        match self {
            Stopped::Print(error) => printed(Err(error)),
            Stopped::Read(error) => Err(error.into()),
        }
    }
}

impl<'a> Past<'a> {
    fn read(history: &'a History, config: Config, page: &Page) -> Result<Past<'a>, Failure> {
        let filter = filter(history, page)?;
        let days = Days::new(filter.since, filter.until, page);
        let store = store(&config, false)?;
        let (beliefs, spans) = wait(async {
            let spans = store.coverage(&config.feed, days.start(page)).await?;
            Ok::<_, rusqlite::Error>((store.beliefs(&config.feed).await?, spans))
        })??;
        let is_running = status_socket::ask(&config.state_directory).is_some();
        let watch =
            Watchlist::new(if history.services.is_empty() { &config.watch } else { &history.services });
        let spans = up_to_date(spans, is_running, page.now);
        Ok(Past { store, config, beliefs, spans, history, watch, filter, days })
    }

    fn each_change(
        &self,
        filter: &ChangeFilter,
        take: &mut dyn FnMut(&Change) -> io::Result<()>,
    ) -> Result<(), Failure> {
        let take = |stored: StoredChange| match stored.change {
            change if is_wanted(&change, self.history, &self.watch) => take(&change).map_err(Stopped::Print),
            _ => Ok(()),
        };
        wait(self.store.each_change(filter, take))?.or_else(Stopped::ended)
    }

    fn each_outage(
        &self,
        filter: &ChangeFilter,
        take: &mut dyn FnMut(&StoredOutage) -> io::Result<()>,
    ) -> Result<(), Failure> {
        let is_every = self.history.all && self.history.services.is_empty();
        let take = |stored: StoredOutage| match is_every
            || self.watch.matches(&ServiceKey::new(&stored.outage.service))
        {
            true => take(&stored).map_err(Stopped::Print),
            false => Ok(()),
        };
        wait(self.store.each_outage(filter, take))?.or_else(Stopped::ended)
    }

    /// Returns the services that Apple lists or has listed.
    fn listed(&self) -> impl Iterator<Item = (&ServiceKey, &Service)> {
        let services = self.beliefs.services.iter();
        services.filter(|(_, service)| !matches!(service.listed, Listed::Never { .. }))
    }

    /// A slip of the finger must not read as "nothing ever happened".
    fn refuse_unknown(&self) -> Result<(), Failure> {
        let known = wait(self.store.service_keys())??;
        for text in &self.history.services {
            let watch = Watchlist::new(&[text]);
            if self.beliefs.services.keys().chain(&known).any(|key| watch.matches(key)) {
                continue;
            }
            return Err(unknown_service(text, self.listed().map(|(_, service)| service.name.as_str())));
        }
        Ok(())
    }

    /// A line about changes that are no part of the table of outages; nothing where there are none.
    fn other_changes(&self, page: &Page) -> Result<String, Failure> {
        let filter = ChangeFilter { without_outage: true, ..self.filter.clone() };
        let mut count = 0;
        self.each_change(&filter, &mut |_| {
            count += 1;
            Ok(())
        })?;
        let words = match count {
            0 => return Ok(String::new()),
            1 => "1 change is not about an outage".to_owned(),
            _ => format!("{} are not about an outage", counted(count, "change")),
        };
        Ok(page.paragraph(0, &format!("{words}; `statusd history --changes` lists every change.")))
    }

    /// The services that had an outage in the days of the timeline.
    fn troubled(&self, window: &ChangeFilter) -> Result<BTreeSet<ServiceKey>, Failure> {
        let mut troubled = BTreeSet::new();
        self.each_outage(window, &mut |stored| {
            if stored.feed == self.config.feed {
                troubled.insert(ServiceKey::new(&stored.outage.service));
            }
            Ok(())
        })?;
        Ok(troubled)
    }

    /// Names stand there whatever happened; of what a glob finds only what had something.
    fn timeline(&self, page: &Page) -> Result<String, Failure> {
        let window = ChangeFilter {
            since: Some(self.days.start(page)),
            until: Some(self.days.end(page)),
            without_outage: false,
        };
        // Names stand there in any case.
        let troubled = match self.watch.patterns().iter().any(|pattern| pattern.is_glob()) {
            true => self.troubled(&window)?,
            false => BTreeSet::new(),
        };
        let mut services: Vec<(&ServiceKey, &Service)> = Vec::new();
        let mut notes = String::new();
        let mut found: BTreeSet<&ServiceKey> = BTreeSet::new();
        let mut quiet = 0;
        for pattern in self.watch.patterns() {
            let matching: Vec<_> = self.listed().filter(|(key, _)| pattern.matches(key)).collect();
            if matching.is_empty() {
                let note =
                    format!("{}: not in Apple's list; `statusd services` shows it", shown(&pattern.text));
                notes.push_str(&page.paragraph(INDENT, &note));
            }
            for (key, service) in matching.into_iter().filter(|(key, _)| found.insert(key)) {
                if pattern.is_glob() && !troubled.contains(key) {
                    quiet += 1;
                } else {
                    services.push((key, service));
                }
            }
        }
        let left_out = services.len().saturating_sub(MAX_ROWS);
        services.truncate(MAX_ROWS);
        if left_out > 0 {
            let note = format!("{left_out} more had outages; name them with --service");
            notes.push_str(&page.paragraph(INDENT, &note));
        }
        if quiet > 0 {
            notes.push_str(&page.paragraph(INDENT, &format!("{quiet} more had no outages in this time")));
        }
        Ok(format!("{}{notes}", self.drawn(&services, &window, page)?))
    }

    fn drawn(
        &self,
        services: &[(&ServiceKey, &Service)],
        window: &ChangeFilter,
        page: &Page,
    ) -> Result<String, Failure> {
        if services.is_empty() {
            return Ok(String::new());
        }
        let named = services.iter().map(|(_, service)| {
            let unlisted_since = match service.listed {
                Listed::No { since } => Some(since),
                Listed::Yes | Listed::Missing(_) | Listed::Never { .. } => None,
            };
            (service.name.as_str(), unlisted_since)
        });
        let mut timeline = Timeline::new(self.days, named, page);
        let rows: BTreeMap<&ServiceKey, usize> =
            services.iter().enumerate().map(|(row, (key, _))| (*key, row)).collect();
        self.each_outage(window, &mut |stored| {
            let row = rows.get(&ServiceKey::new(&stored.outage.service));
            if let Some(row) = row.filter(|_| stored.feed == self.config.feed) {
                timeline.add(*row, &stored.outage);
            }
            Ok(())
        })?;
        Ok(timeline.draw(&self.spans))
    }
}

fn is_wanted(change: &Change, history: &History, watch: &Watchlist) -> bool {
    match (history.all, history.services.is_empty()) {
        (true, true) => true,
        (true, false) => watch.matches(&ServiceKey::new(&change.service)),
        (false, true) => is_for(change, watch),
        (false, false) => is_for(change, watch) && !change.kind.is_about_us(),
    }
}

fn filter(history: &History, page: &Page) -> Result<ChangeFilter, Failure> {
    let time = |flag: &str, text: &Option<String>| {
        text.as_deref().map(|text| moment(text, page).ok_or_else(|| wrong_time(flag, text))).transpose()
    };
    let filter = ChangeFilter {
        since: time("--since", &history.since)?,
        until: time("--until", &history.until)?,
        without_outage: false,
    };
    match (filter.since, filter.until) {
        (Some(since), Some(until)) if since >= until => {
            Err(Failure::new(WRONG_USAGE, "--since is not before --until: nothing can lie between them"))
        }
        _ => Ok(filter),
    }
}

fn wrong_time(flag: &str, text: &str) -> Failure {
    let how = "expected a date (2026-05-04), a time (2026-05-04T08:15Z) or an age (30d, 12h)";
    Failure::new(WRONG_USAGE, format!("invalid {flag} {text:?}: {how}"))
}

/// A date or a time in the reader's zone, a time with its own offset, or an age. In whole seconds,
/// as the database has them.
fn moment(text: &str, page: &Page) -> Option<Timestamp> {
    let text = text.trim();
    let time = if let Some(age) = duration(text) {
        page.now.checked_sub(age).ok()
    } else if let Ok(time) = text.parse::<Timestamp>() {
        Some(time)
    } else if text.contains([':']) {
        let local = text.parse::<DateTime>().ok()?;
        Some(local.to_zoned(page.zone.clone()).ok()?.timestamp())
    } else {
        let day = text.parse::<Date>().ok()?;
        Some(day.to_zoned(page.zone.clone()).ok()?.timestamp())
    };
    Timestamp::from_second(time?.as_second()).ok()
}

#[cfg(test)]
pub mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn page(zone: &TimeZone) -> Page<'_> {
        Page { width: 80, color: false, zone, now: at("2026-05-05T12:00:00Z") }
    }

    /// Returns the output for these items.
    pub fn written<T>(
        items: &[T],
        write: impl FnOnce(Each<T>, &mut Vec<u8>) -> Result<(), Failure>,
    ) -> String {
        let each = |take: &mut dyn FnMut(&T) -> io::Result<()>| {
            items.iter().try_for_each(take).map_err(|error| Failure::failed(error.to_string()))
        };
        let mut out = Vec::new();
        write(&each, &mut out).expect("written");
        String::from_utf8(out).expect("a text")
    }

    #[test]
    fn an_array_written_piece_by_piece_is_the_whole_one() {
        let object = |number: &u32| serde_json::json!({"number": number, "list": [1, {}], "text": "a\nb"});
        for items in [&[1, 2, 3][..], &[]] {
            let whole: Vec<_> = items.iter().map(object).collect();
            let pieces = written(items, |each, out| json_array(each, object, out));
            assert_eq!(pieces, format!("{:#}\n", Value::from(whole)));
        }
    }

    #[test]
    fn times_are_dates_times_or_ages() {
        let berlin = TimeZone::get("Europe/Berlin").expect("a zone");
        for (text, expected) in [
            ("30d", Some("2026-04-05T12:00:00Z")),
            ("12h", Some("2026-05-05T00:00:00Z")),
            ("2w", Some("2026-04-21T12:00:00Z")),
            ("2026-05-04", Some("2026-05-03T22:00:00Z")),
            ("2026-05-04 08:15", Some("2026-05-04T06:15:00Z")),
            ("2026-05-04T08:15Z", Some("2026-05-04T08:15:00Z")),
            ("2026-05-04T08:15:30.5+01:00", Some("2026-05-04T07:15:30Z")),
            ("yesterday", None),
            ("-3d", None),
            ("99999999999999999999d", None),
            ("9999999999999d", None),
            ("2026-13-01", None),
            ("", None),
        ] {
            assert_eq!(moment(text, &page(&berlin)), expected.map(at), "{text}");
        }
    }

    #[test]
    fn the_watch_decides_unless_told_otherwise() {
        let history = |services: &[&str], all| History {
            services: services.iter().map(|name| (*name).to_owned()).collect(),
            since: None,
            until: None,
            format: HistoryFormat::Table,
            json: false,
            changes: true,
            all,
        };
        let wanted = |history: &History| {
            let watch = if history.services.is_empty() {
                vec!["icloud b*".to_owned()]
            } else {
                history.services.clone()
            };
            changes::tests::changes()
                .iter()
                .filter(|change| is_wanted(change, history, &Watchlist::new(&watch)))
                .count()
        };
        assert_eq!(wanted(&history(&[], false)), 3);
        assert_eq!(wanted(&history(&[], true)), 4);
        assert_eq!(wanted(&history(&["iCloud Web*"], false)), 1);
    }
}
