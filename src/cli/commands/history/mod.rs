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
use crate::exit_code::WRONG_USAGE;
use crate::model::{Beliefs, Change, Listed, Service, ServiceKey};
use crate::report::{self, coverage::extend_to_now};
use crate::schedule::duration;
use crate::status_socket;
use crate::store::{ChangeFilter, Span, Store, StoredChange, StoredOutage};
use crate::text::counted;
use crate::tracking::is_for;
use crate::tracking::watchlist::Watchlist;

use super::config::zone_line;
use crate::cli::args::{HistoryArgs, HistoryFormat};
use crate::cli::context::{
    CommandError, Invocation, Output, block_on, ignore_closed_pipe, open_store, unknown_service,
};
use crate::cli::csv;
use crate::cli::phrases::printable;
use crate::cli::state::config_with_state;
use crate::cli::terminal::{Style, Terminal};
use crate::cli::timeline::{Days, Timeline};

/// A timeline with more rows is less readable than the table below it.
const MAX_ROWS: usize = 20;
const INDENT: usize = 2;

/// The history to print: the database, and the selection of services and times.
struct HistoryReader<'a> {
    store: Store,
    config: Config,
    beliefs: Beliefs,
    spans: Vec<Span>,
    history: &'a HistoryArgs,
    watch: Watchlist,
    filter: ChangeFilter,
    days: Days,
}

/// Passes each item to a function, oldest first, until the function fails.
type Each<'a, T> = &'a dyn Fn(&mut dyn FnMut(&T) -> io::Result<()>) -> Result<(), CommandError>;

pub fn run(history: &HistoryArgs, invocation: &Invocation) -> Result<Output, CommandError> {
    let config = config_with_state(invocation)?;
    let zone = config.time_zone.clone();
    let terminal = invocation.terminal(&zone);
    let reader = HistoryReader::read(history, config, &terminal)?;
    if !history.services.is_empty() {
        reader.refuse_unknown()?;
    }
    let outages =
        |take: &mut dyn FnMut(&StoredOutage) -> io::Result<()>| reader.each_outage(&reader.filter, take);
    let changes = |take: &mut dyn FnMut(&Change) -> io::Result<()>| reader.each_change(&reader.filter, take);
    let mut out = io::BufWriter::new(io::stdout().lock());
    let format = if history.json { HistoryFormat::Json } else { history.format };
    match (format, history.changes) {
        (HistoryFormat::Table, by_change) => {
            ignore_closed_pipe(writeln!(out, "{}", reader.timeline(&terminal)?))?;
            if by_change {
                changes::table(&changes, &terminal, &mut out)?;
            } else {
                outages::table(&outages, &terminal, &mut out)?;
                ignore_closed_pipe(out.write_all(reader.other_changes(&terminal)?.as_bytes()))?;
            }
            let zone = terminal.paint(Style::Dim, &zone_line(&reader.config, &terminal));
            ignore_closed_pipe(writeln!(out, "{zone}"))?;
        }
        (HistoryFormat::Json, true) => {
            json_array(&changes, |change| changes::json(change, &terminal), &mut out)?
        }
        (HistoryFormat::Json, false) => json_array(&outages, report::outage::json, &mut out)?,
        (HistoryFormat::Csv, true) => {
            csv_table(&changes, &changes::CSV_HEAD, changes::csv_record, &mut out)?;
        }
        (HistoryFormat::Csv, false) => {
            csv_table(&outages, &outages::CSV_HEAD, outages::csv_record, &mut out)?;
        }
    }
    ignore_closed_pipe(out.flush())?;
    Ok(Output::done(String::new()))
}

/// Writes a JSON array like `serde_json` does, but one element at a time.
fn json_array<T>(
    each: Each<T>,
    element: impl Fn(&T) -> Value,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    let mut before = "[";
    each(&mut |item| {
        let element = format!("{:#}", element(item)).replace('\n', "\n  ");
        write!(out, "{}\n  {element}", std::mem::replace(&mut before, ","))
    })?;
    ignore_closed_pipe(if before == "[" { writeln!(out, "[]") } else { writeln!(out, "\n]") })
}

fn csv_table<T>(
    each: Each<T>,
    head: &[&str],
    record: impl Fn(&T) -> String,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    let head: Vec<String> = head.iter().map(|&name| name.to_owned()).collect();
    ignore_closed_pipe(out.write_all(csv::record(&head).as_bytes()))?;
    each(&mut |item| out.write_all(record(item).as_bytes()))
}

/// The error that stopped the output.
enum Stopped {
    Write(io::Error),
    Read(rusqlite::Error),
}

impl From<rusqlite::Error> for Stopped {
    fn from(error: rusqlite::Error) -> Stopped {
        Stopped::Read(error)
    }
}

impl Stopped {
    fn into_result(self) -> Result<(), CommandError> {
        match self {
            Stopped::Write(error) => ignore_closed_pipe(Err(error)),
            Stopped::Read(error) => Err(error.into()),
        }
    }
}

impl<'a> HistoryReader<'a> {
    fn read(
        history: &'a HistoryArgs,
        config: Config,
        terminal: &Terminal,
    ) -> Result<HistoryReader<'a>, CommandError> {
        let filter = filter(history, terminal)?;
        let days = Days::new(filter.since, filter.until, terminal);
        let store = open_store(&config, false)?;
        let (beliefs, spans) = block_on(async {
            let spans = store.coverage(&config.feed, days.start(terminal)).await?;
            Ok::<_, rusqlite::Error>((store.beliefs(&config.feed).await?, spans))
        })??;
        let is_running = status_socket::ask(&config.state_directory).is_some();
        let watch =
            Watchlist::new(if history.services.is_empty() { &config.watch } else { &history.services });
        let spans = extend_to_now(spans, is_running, terminal.now);
        Ok(HistoryReader { store, config, beliefs, spans, history, watch, filter, days })
    }

    fn each_change(
        &self,
        filter: &ChangeFilter,
        take: &mut dyn FnMut(&Change) -> io::Result<()>,
    ) -> Result<(), CommandError> {
        let take = |stored: StoredChange| match stored.change {
            change if is_selected(&change, self.history, &self.watch) => {
                take(&change).map_err(Stopped::Write)
            }
            _ => Ok(()),
        };
        block_on(self.store.each_change(filter, take))?.or_else(Stopped::into_result)
    }

    fn each_outage(
        &self,
        filter: &ChangeFilter,
        take: &mut dyn FnMut(&StoredOutage) -> io::Result<()>,
    ) -> Result<(), CommandError> {
        let is_unfiltered = self.history.all && self.history.services.is_empty();
        let take = |stored: StoredOutage| match is_unfiltered
            || self.watch.matches(&ServiceKey::new(&stored.outage.service))
        {
            true => take(&stored).map_err(Stopped::Write),
            false => Ok(()),
        };
        block_on(self.store.each_outage(filter, take))?.or_else(Stopped::into_result)
    }

    /// Returns the services that Apple lists or has listed.
    fn listed(&self) -> impl Iterator<Item = (&ServiceKey, &Service)> {
        let services = self.beliefs.services.iter();
        services.filter(|(_, service)| !matches!(service.listed, Listed::Never { .. }))
    }

    /// Rejects unknown services, because a misspelt name must not read as "no outages".
    fn refuse_unknown(&self) -> Result<(), CommandError> {
        let known = block_on(self.store.service_keys())??;
        for text in &self.history.services {
            let watch = Watchlist::new(&[text]);
            if self.beliefs.services.keys().chain(&known).any(|key| watch.matches(key)) {
                continue;
            }
            return Err(unknown_service(text, self.listed().map(|(_, service)| service.name.as_str())));
        }
        Ok(())
    }

    /// Returns a line about changes that the table of outages omits; empty if there are none.
    fn other_changes(&self, terminal: &Terminal) -> Result<String, CommandError> {
        let filter = ChangeFilter { without_outage: true, ..self.filter.clone() };
        let mut count = 0;
        self.each_change(&filter, &mut |_| {
            count += 1;
            Ok(())
        })?;
        let summary = match count {
            0 => return Ok(String::new()),
            1 => "1 change is not about an outage".to_owned(),
            _ => format!("{} are not about an outage", counted(count, "change")),
        };
        Ok(terminal.paragraph(0, &format!("{summary}; `statusd history --changes` lists every change.")))
    }

    /// Returns the services with an outage in the days of the timeline.
    fn affected(&self, window: &ChangeFilter) -> Result<BTreeSet<ServiceKey>, CommandError> {
        let mut affected = BTreeSet::new();
        self.each_outage(window, &mut |stored| {
            if stored.feed == self.config.feed {
                affected.insert(ServiceKey::new(&stored.outage.service));
            }
            Ok(())
        })?;
        Ok(affected)
    }

    /// Returns the timeline: a row for each watched name, and for services matching a glob only if they
    /// had an outage.
    fn timeline(&self, terminal: &Terminal) -> Result<String, CommandError> {
        let window = ChangeFilter {
            since: Some(self.days.start(terminal)),
            until: Some(self.days.end(terminal)),
            without_outage: false,
        };
        // Read only for globs.
        let affected = match self.watch.patterns().iter().any(|pattern| pattern.is_glob()) {
            true => self.affected(&window)?,
            false => BTreeSet::new(),
        };
        let mut services: Vec<(&ServiceKey, &Service)> = Vec::new();
        let mut notes = String::new();
        let mut seen: BTreeSet<&ServiceKey> = BTreeSet::new();
        let mut quiet = 0;
        for pattern in self.watch.patterns() {
            let matching: Vec<_> = self.listed().filter(|(key, _)| pattern.matches(key)).collect();
            if matching.is_empty() {
                let note = match self.beliefs.services.is_empty() {
                    true => "no successful poll yet",
                    false => "not in Apple's list; see `statusd services`",
                };
                let line = format!("{}: {note}", printable(&pattern.text));
                notes.push_str(&terminal.paragraph(INDENT, &line));
            }
            for (key, service) in matching.into_iter().filter(|(key, _)| seen.insert(key)) {
                if pattern.is_glob() && !affected.contains(key) {
                    quiet += 1;
                } else {
                    services.push((key, service));
                }
            }
        }
        let omitted = services.len().saturating_sub(MAX_ROWS);
        services.truncate(MAX_ROWS);
        if omitted > 0 {
            let note = format!("{} had outages; to show them, use --service", more_services(omitted));
            notes.push_str(&terminal.paragraph(INDENT, &note));
        }
        if quiet > 0 {
            let note = format!("{} had no outage in this period", more_services(quiet));
            notes.push_str(&terminal.paragraph(INDENT, &note));
        }
        Ok(format!("{}{notes}", self.rows(&services, &window, terminal)?))
    }

    fn rows(
        &self,
        services: &[(&ServiceKey, &Service)],
        window: &ChangeFilter,
        terminal: &Terminal,
    ) -> Result<String, CommandError> {
        if services.is_empty() {
            return Ok(String::new());
        }
        let labels = services.iter().map(|(_, service)| {
            let unlisted_since = match service.listed {
                Listed::No { since } => Some(since),
                Listed::Yes | Listed::Missing(_) | Listed::Never { .. } => None,
            };
            (service.name.as_str(), unlisted_since)
        });
        let mut timeline = Timeline::new(self.days, labels, terminal);
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

fn more_services(count: usize) -> String {
    counted(count, "more service")
}

fn is_selected(change: &Change, history: &HistoryArgs, watch: &Watchlist) -> bool {
    match (history.all, history.services.is_empty()) {
        (true, true) => true,
        (true, false) => watch.matches(&ServiceKey::new(&change.service)),
        (false, true) => is_for(change, watch),
        (false, false) => is_for(change, watch) && !change.kind.is_about_us(),
    }
}

fn filter(history: &HistoryArgs, terminal: &Terminal) -> Result<ChangeFilter, CommandError> {
    let time = |flag: &str, text: &Option<String>| {
        let parse = |text| parse_time(text, terminal).ok_or_else(|| invalid_time(flag, text));
        text.as_deref().map(parse).transpose()
    };
    let filter = ChangeFilter {
        since: time("--since", &history.since)?,
        until: time("--until", &history.until)?,
        without_outage: false,
    };
    match (filter.since, filter.until) {
        (Some(since), Some(until)) if since >= until => {
            Err(CommandError::new(WRONG_USAGE, "--since must be earlier than --until; swap or change them"))
        }
        _ => Ok(filter),
    }
}

fn invalid_time(flag: &str, text: &str) -> CommandError {
    let expected = "expected a date (2026-05-04), a time (2026-05-04T08:15Z) or an age (30d, 12h)";
    CommandError::new(WRONG_USAGE, format!("invalid {flag} {text:?}: {expected}"))
}

/// Parses a date or time in the local zone, a time with an offset, or an age. Returns whole seconds, as
/// stored in the database.
fn parse_time(text: &str, terminal: &Terminal) -> Option<Timestamp> {
    let text = text.trim();
    let time = if let Some(age) = duration(text) {
        terminal.now.checked_sub(age).ok()
    } else if let Ok(time) = text.parse::<Timestamp>() {
        Some(time)
    } else if text.contains([':']) {
        let local = text.parse::<DateTime>().ok()?;
        Some(local.to_zoned_datetime(terminal.zone.clone()).ok()?.timestamp())
    } else {
        let day = text.parse::<Date>().ok()?;
        Some(day.to_zoned_datetime(terminal.zone.clone()).ok()?.timestamp())
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

    fn terminal(zone: &TimeZone) -> Terminal<'_> {
        Terminal { width: 80, color: false, zone, now: at("2026-05-05T12:00:00Z") }
    }

    /// Returns the output for these items.
    pub fn written<T>(
        items: &[T],
        write: impl FnOnce(Each<T>, &mut Vec<u8>) -> Result<(), CommandError>,
    ) -> String {
        let each = |take: &mut dyn FnMut(&T) -> io::Result<()>| {
            items.iter().try_for_each(take).map_err(|error| CommandError::failed(error.to_string()))
        };
        let mut out = Vec::new();
        write(&each, &mut out).expect("written");
        String::from_utf8(out).expect("a text")
    }

    #[test]
    fn a_streamed_array_equals_a_whole_one() {
        let object = |number: &u32| serde_json::json!({"number": number, "list": [1, {}], "text": "a\nb"});
        for items in [&[1, 2, 3][..], &[]] {
            let whole: Vec<_> = items.iter().map(object).collect();
            let pieces = written(items, |each, out| json_array(each, object, out));
            assert_eq!(pieces, format!("{:#}\n", Value::from(whole)));
        }
    }

    #[test]
    fn dates_times_and_ages_are_parsed() {
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
            assert_eq!(parse_time(text, &terminal(&berlin)), expected.map(at), "{text}");
        }
    }

    #[test]
    fn flags_override_the_watchlist() {
        let history = |services: &[&str], all| HistoryArgs {
            services: services.iter().map(|name| (*name).to_owned()).collect(),
            since: None,
            until: None,
            format: HistoryFormat::Table,
            json: false,
            changes: true,
            all,
        };
        let selected = |history: &HistoryArgs| {
            let watch = if history.services.is_empty() {
                vec!["icloud b*".to_owned()]
            } else {
                history.services.clone()
            };
            changes::tests::changes()
                .iter()
                .filter(|change| is_selected(change, history, &Watchlist::new(&watch)))
                .count()
        };
        assert_eq!(selected(&history(&[], false)), 3);
        assert_eq!(selected(&history(&[], true)), 4);
        assert_eq!(selected(&history(&["iCloud Web*"], false)), 1);
    }
}
