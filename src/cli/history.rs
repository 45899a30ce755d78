//! `statusd history`: what happened, as a timeline with a table, as JSON or as CSV.
//!
//! Reads the database beside a running daemon and changes nothing. Oldest first, in every form, and
//! written as it is read: a history of years is never in memory as a whole.

use std::collections::BTreeSet;
use std::io::{self, Write};

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};

use crate::json;
use crate::live;
use crate::message::Said;
use crate::message::when::{is_repeated, lasted};
use crate::model::{Beliefs, Change, ChangeKind, EventKind, Listed, Outage, Service, ServiceKey};
use crate::schedule::duration;
use crate::store::{ChangeFilter, Span, StoredChange};
use crate::track::is_for;
use crate::watch::{Watch, near};

use super::args::{History, HistoryFormat};
use super::page::{Cell, Ink, Page, Widths};
use super::state::located;
use super::timeline::{self, Strip, up_to_date};
use super::words::{deed, shown};
use super::{Failure, Invocation, Output, WRONG_USAGE, csv, printed, store, wait};

/// More strips than this say less than a table.
const MAX_STRIPS: usize = 20;
const INDENT: usize = 2;
const CSV_HEAD: [&str; 20] = [
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
/// The column of the table that gives way.
const FLEXIBLE: usize = 1;

/// What was read, but for the changes.
struct Past {
    beliefs: Beliefs,
    outages: Vec<Outage>,
    spans: Vec<Span>,
}

impl Past {
    /// What Apple lists, or did.
    fn listed(&self) -> impl Iterator<Item = (&ServiceKey, &Service)> {
        let services = self.beliefs.services.iter();
        services.filter(|(_, service)| !matches!(service.listed, Listed::Never { .. }))
    }

    fn strip(&self, key: &ServiceKey, service: &Service) -> Strip<'_> {
        let outages = self.outages.iter().filter(|outage| ServiceKey::new(&outage.service) == *key);
        let unlisted_since = match service.listed {
            Listed::No { since } => Some(since),
            Listed::Yes | Listed::Missing(_) | Listed::Never { .. } => None,
        };
        Strip { name: service.name.clone(), outages: outages.collect(), unlisted_since }
    }
}

pub fn run(history: &History, invocation: &Invocation) -> Result<Output, Failure> {
    let config = located(invocation.config()?, invocation)?;
    let page = invocation.page(&config.time_zone);
    let filter = filter(history, &page)?;
    let store = store(&config, false)?;
    let mut past = wait(async {
        Ok::<_, rusqlite::Error>(Past {
            beliefs: store.beliefs(&config.feed).await?,
            outages: store.outages(&config.feed, timeline::start(&page)).await?,
            spans: store.coverage(&config.feed, timeline::start(&page)).await?,
        })
    })??;
    let watch = if history.services.is_empty() { &config.watch } else { &history.services };
    if !history.services.is_empty() {
        refuse_unknown(&history.services, &wait(store.service_keys())??, &past)?;
    }
    let watch = Watch::new(watch);
    let each = |take: &mut dyn FnMut(&Change) -> io::Result<()>| {
        wait(store.each_change(&filter, |stored: StoredChange| match stored.change {
            change if is_wanted(&change, history, &watch) => take(&change).map_err(Stopped::Print),
            _ => Ok(()),
        }))?
        .or_else(Stopped::ended)
    };
    let mut out = io::BufWriter::new(io::stdout().lock());
    let format = if history.json { HistoryFormat::Json } else { history.format };
    match format {
        HistoryFormat::Table => {
            let is_running = live::ask(&config.state_directory).is_some();
            past.spans = up_to_date(past.spans, is_running, page.now);
            printed(writeln!(out, "{}", strips(&past, &watch, &page)))?;
            table(&each, &page, &mut out)?;
        }
        HistoryFormat::Json => json_array(&each, &page, &mut out)?,
        HistoryFormat::Csv => {
            printed(out.write_all(csv::record(&CSV_HEAD.map(str::to_owned)).as_bytes()))?;
            each(&mut |change| out.write_all(csv_record(change).as_bytes()))?;
        }
    }
    printed(out.flush())?;
    Ok(Output::done(String::new()))
}

/// Gives each change to a function, oldest first, until that fails.
type Each<'a> = &'a dyn Fn(&mut dyn FnMut(&Change) -> io::Result<()>) -> Result<(), Failure>;

/// Why not all changes were written.
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

/// As `serde_json` writes an array, an element at a time.
fn json_array(each: Each, page: &Page, out: &mut impl Write) -> Result<(), Failure> {
    let said = Said { now: page.now, zone: page.zone, is_drill: false };
    let mut before = "[";
    each(&mut |change| {
        let element = format!("{:#}", json::change(change, &said)).replace('\n', "\n  ");
        write!(out, "{}\n  {element}", std::mem::replace(&mut before, ","))
    })?;
    printed(if before == "[" { writeln!(out, "[]") } else { writeln!(out, "\n]") })
}

fn is_wanted(change: &Change, history: &History, watch: &Watch) -> bool {
    match (history.all, history.services.is_empty()) {
        (true, true) => true,
        (true, false) => watch.matches(&ServiceKey::new(&change.service)),
        (false, true) => is_for(change, watch),
        (false, false) => is_for(change, watch) && !change.kind.is_about_us(),
    }
}

/// A slip of the finger must not read as "nothing ever happened".
fn refuse_unknown(asked: &[String], known: &[ServiceKey], past: &Past) -> Result<(), Failure> {
    for text in asked {
        let watch = Watch::new(&[text]);
        if past.beliefs.services.keys().chain(known).any(|key| watch.matches(key)) {
            continue;
        }
        let near = near(text, past.listed().map(|(_, service)| service.name.as_str()));
        return Err(Failure::failed(match near.as_slice() {
            [] => format!("no service {text:?} in the history; `statusd services` shows Apple's names"),
            near => format!("no service {text:?} in the history; did you mean {}?", near.join(" or ")),
        }));
    }
    Ok(())
}

fn filter(history: &History, page: &Page) -> Result<ChangeFilter, Failure> {
    let time = |flag: &str, text: &Option<String>| {
        text.as_deref().map(|text| moment(text, page).ok_or_else(|| wrong_time(flag, text))).transpose()
    };
    let filter =
        ChangeFilter { since: time("--since", &history.since)?, until: time("--until", &history.until)? };
    match (filter.since, filter.until) {
        (Some(since), Some(until)) if since >= until => {
            Err(Failure::new(WRONG_USAGE, "--since is not before --until: nothing can lie between them"))
        }
        _ => Ok(filter),
    }
}

fn wrong_time(flag: &str, text: &str) -> Failure {
    let how = "write a date (2026-05-04), a time (2026-05-04T08:15Z) or an age (30d, 12h)";
    Failure::new(WRONG_USAGE, format!("{flag}: cannot read {text:?} as a time; {how}"))
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

/// Names stand there whatever happened; of what a glob finds only what had something.
fn strips(past: &Past, watch: &Watch, page: &Page) -> String {
    let mut strips: Vec<Strip> = Vec::new();
    let mut notes = String::new();
    let mut drawn: BTreeSet<&ServiceKey> = BTreeSet::new();
    let mut quiet = 0;
    for pattern in watch.patterns() {
        let found: Vec<_> = past.listed().filter(|(key, _)| pattern.matches(key)).collect();
        if found.is_empty() {
            let note = format!("{}: not in Apple's list; `statusd services` shows it", shown(&pattern.text));
            notes.push_str(&page.paragraph(INDENT, &note));
        }
        for (key, service) in found {
            if !drawn.insert(key) {
                continue;
            }
            let strip = past.strip(key, service);
            if pattern.is_glob() && strip.outages.is_empty() {
                quiet += 1;
            } else {
                strips.push(strip);
            }
        }
    }
    let left_out = strips.len().saturating_sub(MAX_STRIPS);
    strips.truncate(MAX_STRIPS);
    if left_out > 0 {
        notes.push_str(
            &page.paragraph(INDENT, &format!("{left_out} more had something; name them with --service")),
        );
    }
    if quiet > 0 {
        notes.push_str(&page.paragraph(INDENT, &format!("{quiet} more had nothing in these 30 days")));
    }
    let strips = if strips.is_empty() { String::new() } else { timeline::draw(&strips, &past.spans, page) };
    format!("{strips}{notes}")
}

/// Reads twice: how wide the columns are, only all rows together say.
fn table(each: Each, page: &Page, out: &mut impl Write) -> Result<(), Failure> {
    let mut widths = Widths::new(&TABLE_HEAD);
    let mut count = 0;
    each(&mut |change| {
        widths.add(&row(change, page));
        count += 1;
        Ok(())
    })?;
    if count == 0 {
        return printed(writeln!(out, "Nothing to tell in this time."));
    }
    let widths = widths.fitted(FLEXIBLE, page);
    printed(out.write_all(page.head(&TABLE_HEAD, &widths).as_bytes()))?;
    each(&mut |change| out.write_all(page.row(&row(change, page), &widths).as_bytes()))
}

fn row(change: &Change, page: &Page) -> Vec<Cell> {
    let local = change.at.to_zoned(page.zone.clone());
    let this_year = local.year() == page.now.to_zoned(page.zone.clone()).year();
    let format = if this_year { "%a %e %b %H:%M" } else { "%e %b %Y %H:%M" };
    let service = match change.service.as_str() {
        "" if change.kind.is_about_a_phone() => "(iPhone)".to_owned(),
        "" => "(statusd)".to_owned(),
        service => shown(service),
    };
    let span = |seconds: Option<i64>| {
        let from = Timestamp::UNIX_EPOCH;
        let to = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
        to.map_or(String::new(), |to| lasted(from, to))
    };
    let zone = if is_repeated(change.at, page.zone) { " %Z" } else { "" };
    vec![
        Cell::plain(local.strftime(&format!("{format}{zone}")).to_string()),
        Cell::new(Ink::Strong, service),
        Cell::new(ink(change), deed(change)),
        Cell::plain(span(lasted_s(change))),
        Cell::plain(span(posted_late_s(change))),
    ]
}

fn ink(change: &Change) -> Ink {
    match change.kind {
        ChangeKind::Began
        | ChangeKind::Reopened
        | ChangeKind::Worsened
        | ChangeKind::Eased
        | ChangeKind::Missed => match change.outage_kind {
            Some(EventKind::Outage) => Ink::Bad,
            _ => Ink::Doubtful,
        },
        ChangeKind::Ended | ChangeKind::Over | ChangeKind::Sighted | ChangeKind::ListedAgain => Ink::Good,
        ChangeKind::Planned | ChangeKind::Moved | ChangeKind::Cancelled | ChangeKind::Started => Ink::Planned,
        ChangeKind::Withdrawn
        | ChangeKind::Unlisted
        | ChangeKind::Blind
        | ChangeKind::HistoryLost
        | ChangeKind::BackupLate
        | ChangeKind::BackupOff => Ink::Doubtful,
        ChangeKind::Revised
        | ChangeKind::Corrected
        | ChangeKind::Noted
        | ChangeKind::Lasts
        | ChangeKind::Alive
        | ChangeKind::Test => Ink::Faint,
    }
}

/// Where it is over. Announced ends of what is still to come are no durations yet.
fn lasted_s(change: &Change) -> Option<i64> {
    let is_over = matches!(
        change.kind,
        ChangeKind::Ended
            | ChangeKind::Missed
            | ChangeKind::Over
            | ChangeKind::Noted
            | ChangeKind::Corrected
            | ChangeKind::Sighted
    );
    let (began, ended) = (change.began_at?, change.ended_at?);
    // Apple gives an end before the start now and then, which is no length.
    (is_over && ended >= began).then(|| ended.duration_since(began).as_secs())
}

/// From Apple's own start to our first sight; only where that is the first we saw of it.
fn posted_late_s(change: &Change) -> Option<i64> {
    let is_first = matches!(change.kind, ChangeKind::Began | ChangeKind::Missed);
    let began = change.began_at.filter(|began| is_first && *began <= change.seen_at)?;
    Some(change.seen_at.duration_since(began).as_secs())
}

fn csv_record(change: &Change) -> String {
    let time = |time: Option<Timestamp>| time.map(|time| time.to_string()).unwrap_or_default();
    let number = |number: Option<i64>| number.map(|number| number.to_string()).unwrap_or_default();
    let kind = |kind: &Option<EventKind>| kind.as_ref().map(|kind| shown(kind.as_str())).unwrap_or_default();
    csv::record(&[
        change.at.to_string(),
        change.kind.as_str().to_owned(),
        shown(&change.service),
        change.message_id.as_deref().map(shown).unwrap_or_default(),
        number(change.occurrence.map(i64::from)),
        kind(&change.outage_kind),
        kind(&change.was_kind),
        time(change.began_at),
        time(change.ended_at),
        number(lasted_s(change)),
        change.seen_at.to_string(),
        number(posted_late_s(change)),
        change.users_affected.as_deref().map(shown).unwrap_or_default(),
        shown(&change.message),
        change.near.join("; "),
        time(change.phone.map(|phone| phone.at)),
        time(change.phone.map(|phone| phone.read_at)),
        number(change.phone.map(|phone| i64::from(phone.phones))),
        change.feed.to_string(),
        change.key(),
    ])
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;
    use crate::model::{Edition, FeedId};

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn page(zone: &TimeZone) -> Page<'_> {
        Page { width: 80, color: false, zone, now: at("2026-05-05T12:00:00Z") }
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

    fn changes() -> Vec<Change> {
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
            Change { outage_kind: None, ..change(ChangeKind::Blind, "", "2026-05-05T01:00:00Z", None, None) },
        ]
    }

    #[test]
    fn a_table_in_eighty_columns_cuts_no_name() {
        let expected = "\
WHEN               SERVICE          WHAT                 LASTED      POSTED LATE
31 Dec 2025 09:00  iCloud Web Apps  outage, posted late  1 h 30 min  3 h
                   (iCloud.com)
Mon  4 May 07:46   iCloud Backup    outage began                     1 h 31 min
Mon  4 May 10:05   iCloud Backup    fixed                3 h 49 min
Tue  5 May 01:00   (statusd)        feed not readable
";
        let drawn = table_of(&changes());
        assert_eq!(drawn, expected);
        assert!(drawn.lines().all(|line| crate::cli::page::width(line) <= 80));
        assert_eq!(table_of(&[]), "Nothing to tell in this time.\n");
    }

    fn table_of(changes: &[Change]) -> String {
        written(changes, |each, out| table(each, &page(&TimeZone::UTC), out))
    }

    fn written(changes: &[Change], write: impl FnOnce(Each, &mut Vec<u8>) -> Result<(), Failure>) -> String {
        let each = |take: &mut dyn FnMut(&Change) -> io::Result<()>| {
            changes.iter().try_for_each(take).map_err(|error| Failure::failed(error.to_string()))
        };
        let mut out = Vec::new();
        write(&each, &mut out).expect("written");
        String::from_utf8(out).expect("a text")
    }

    #[test]
    fn an_array_written_piece_by_piece_is_the_whole_one() {
        let zone = TimeZone::UTC;
        let page = page(&zone);
        let said = Said { now: page.now, zone: page.zone, is_drill: false };
        for changes in [changes(), Vec::new()] {
            let whole: Vec<_> = changes.iter().map(|change| json::change(change, &said)).collect();
            let pieces = written(&changes, |each, out| json_array(each, &page, out));
            assert_eq!(pieces, format!("{:#}\n", serde_json::Value::from(whole)));
        }
    }

    #[test]
    fn csv_has_a_head_and_no_formulas() {
        let text = csv_record(&changes()[1]);
        let expected = "2026-05-04T07:46:00Z,began,iCloud Backup,100,1,Outage,,2026-05-04T06:15:00Z,,,\
                        2026-05-04T07:46:00Z,5460,,\"'=Users, \"\"some\"\"\",,,,,consumer/en_US,\
                        consumer/en_US/icloud%20backup/100/1/began\r\n";
        assert_eq!(text, expected);
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
            all,
        };
        let wanted = |history: &History| {
            let watch = if history.services.is_empty() {
                vec!["icloud b*".to_owned()]
            } else {
                history.services.clone()
            };
            changes().iter().filter(|change| is_wanted(change, history, &Watch::new(&watch))).count()
        };
        assert_eq!(wanted(&history(&[], false)), 3);
        assert_eq!(wanted(&history(&[], true)), 4);
        assert_eq!(wanted(&history(&["iCloud Web*"], false)), 1);
    }
}
