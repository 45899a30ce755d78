//! `statusd fleet`: compares the last backup of every device in a list with Apple's recorded outages.
//!
//! Reads the list and the database, also while the daemon runs, and changes neither. `inventory` parses
//! the list, `crate::phones::backup_status` evaluates each device, `report` prints the result. Counts,
//! CSV and JSON contain every device of the list.

mod columns;
mod dates;
mod inventory;
mod report;

use std::io::{self, Read};

use jiff::{SignedDuration, Timestamp};

use crate::cause::Cause as _;
use crate::config::Config;
use crate::model::{Outage, Phase, Service, ServiceKey};
use crate::phones::backup_status::{BackupStatus, Downtime, Nights, is_ahead};
use crate::store::{Span, Store};
use crate::tracking::watchlist::Watchlist;
use crate::{regular_file, status_socket};

use crate::cli::args::{FailOn, Fleet, FleetFormat};
use crate::cli::state::located;
use crate::cli::terminal::Page;
use crate::cli::timeline::up_to_date;
use crate::cli::{
    CANNOT_TELL, CANNOT_WRITE, DONE, FAILED, Failure, Invocation, Output, WRONG_USAGE, complain, store,
    unknown_service, wait,
};
use columns::NamedColumns;
use inventory::{DeviceList, FleetDevice, UnusableList};
use report::{Report, ReportRow};

/// Reaches further back than the nights that [`Nights`] examines.
const OUTAGES_SINCE: SignedDuration = SignedDuration::from_hours(410 * 24);

pub fn run(fleet: &Fleet, invocation: &Invocation) -> Result<Output, Failure> {
    judge(fleet, invocation).map_err(|failure| match failure.code {
        // The codes are those of `doctor` then, where 1 says something about devices.
        FAILED | CANNOT_WRITE if !fleet.fail_on.is_empty() => Failure::new(CANNOT_TELL, failure.message),
        _ => failure,
    })
}

fn judge(fleet: &Fleet, invocation: &Invocation) -> Result<Output, Failure> {
    let config = located(invocation)?;
    let page = invocation.page(&config.time_zone);
    let store = store(&config, false)?;
    let record = Record::read(&store, &config, fleet, &page)?;
    let DeviceList { columns, devices } = list(fleet, &page)?;
    let nights = Nights::new(&record.outages, &record.sighted, page.zone, page.now);
    let rows = devices.into_iter().map(|device| judged(device, &nights, page.now)).collect();
    let report = Report {
        rows,
        columns,
        feed: config.feed.to_string(),
        services: record.services,
        record_since: record.sighted.iter().map(|(from, _)| *from).min(),
    };
    let format = if fleet.json { FleetFormat::Json } else { fleet.format };
    let text = match format {
        FleetFormat::Table => report.text(&page),
        FleetFormat::Json => report.json(page.now),
        FleetFormat::Csv => {
            // There is no place for them in there.
            report.columns.remarks.iter().for_each(|remark| complain(remark));
            report.csv()
        }
    };
    Ok(Output { text, code: exit_code(&report.rows, &fleet.fail_on) })
}

/// Returns 1 if a device has a status to fail on, else 3 if the status of a device is unknown.
fn exit_code(rows: &[ReportRow], fail_on: &[FailOn]) -> u8 {
    let is = |fail_on: &FailOn, standing: BackupStatus| match fail_on {
        FailOn::Late => matches!(standing, BackupStatus::LateByApple | BackupStatus::LateOtherwise),
        FailOn::LateOtherwise => standing == BackupStatus::LateOtherwise,
        FailOn::Off => standing == BackupStatus::Off,
        FailOn::Unknown => standing == BackupStatus::Unknown,
    };
    let is_any = |wanted: &dyn Fn(BackupStatus) -> bool| rows.iter().any(|row| wanted(row.standing));
    if is_any(&|standing| fail_on.iter().any(|fail_on| is(fail_on, standing))) {
        FAILED
    } else if !fail_on.is_empty() && is_any(&|standing| standing == BackupStatus::Unknown) {
        CANNOT_TELL
    } else {
        DONE
    }
}

fn list(fleet: &Fleet, page: &Page) -> Result<DeviceList, Failure> {
    let is_standard_input = fleet.file.as_os_str() == "-";
    let name = if is_standard_input { "standard input".to_owned() } else { fleet.file.display().to_string() };
    let failed = |problem: &dyn std::fmt::Display| Failure::failed(format!("cannot use {name}: {problem}"));
    let from: Box<dyn Read> = if is_standard_input {
        Box::new(io::stdin().lock())
    } else {
        Box::new(regular_file::open(&fleet.file).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidInput => failed(&format!("{error}; pipe it into standard input (-)")),
            _ => failed(&error.reason()),
        })?)
    };
    let bytes = inventory::fetch(from).map_err(|error| failed(&error.reason()))?;
    let asked =
        NamedColumns { device: fleet.device_column.as_deref(), backup: fleet.backup_column.as_deref() };
    let list = bytes.and_then(|bytes| inventory::read(bytes, &asked, page.zone, fleet.date_order));
    list.map_err(|unusable| match &unusable {
        UnusableList::Columns(columns) if columns.is_usage() => {
            Failure::new(WRONG_USAGE, format!("cannot use {name}: {unusable}"))
        }
        _ => failed(&unusable),
    })
}

/// The recorded outages of the counted services.
struct Record {
    outages: Vec<Downtime>,
    /// When we could see.
    sighted: Vec<(Timestamp, Timestamp)>,
    /// Apple's names of what is counted.
    services: Vec<String>,
}

impl Record {
    fn read(store: &Store, config: &Config, fleet: &Fleet, page: &Page) -> Result<Record, Failure> {
        let since = page.now.checked_sub(OUTAGES_SINCE).unwrap_or(Timestamp::UNIX_EPOCH);
        let (outages, spans, (_, listed)) = wait(async {
            Ok::<_, rusqlite::Error>((
                store.outages(&config.feed, since).await?,
                store.coverage(&config.feed, Timestamp::UNIX_EPOCH).await?,
                store.listed(&config.feed).await?,
            ))
        })??;
        let is_running = status_socket::ask(&config.state_directory).is_some();
        let spans = up_to_date(spans, is_running, page.now);
        let asked = if fleet.services.is_empty() { &config.watch } else { &fleet.services };
        refuse_unknown(asked, &listed)?;
        let watch = Watchlist::new(asked);
        let counted = listed.iter().filter(|(key, _)| watch.matches(key));
        Ok(Record {
            services: counted.map(|(_, service)| service.name.clone()).collect(),
            outages: outages
                .iter()
                .filter(|outage| watch.matches(&ServiceKey::new(&outage.service)))
                .filter_map(downtime)
                .collect(),
            sighted: spans.iter().filter(|span| is_sighted(span)).map(|span| (span.from, span.to)).collect(),
        })
    }
}

fn is_sighted(span: &Span) -> bool {
    span.unreadable.is_none()
}

/// A service that Apple does not list has no outages, and every device would be late by itself.
/// Before the first look nobody knows what Apple lists.
fn refuse_unknown(asked: &[String], listed: &[(ServiceKey, Service)]) -> Result<(), Failure> {
    let is_listed = |text: &&String| {
        let watch = Watchlist::new(&[text]);
        listed.iter().any(|(key, _)| watch.matches(key))
    };
    let Some(unknown) = asked.iter().find(|text| !is_listed(text)).filter(|_| !listed.is_empty()) else {
        return Ok(());
    };
    Err(unknown_service(unknown, listed.iter().map(|(_, service)| service.name.as_str())))
}

/// Returns the downtime of an outage; `None` for maintenance, which never counts as an outage.
fn downtime(outage: &Outage) -> Option<Downtime> {
    let from = outage.start.unwrap_or(outage.first_seen);
    if outage.kind.is_maintenance() {
        return None;
    }
    match outage.phase {
        Phase::Planned(_) => None,
        // The end of an ongoing outage is only announced.
        Phase::Ongoing(_) => Some(Downtime { from, to: None }),
        Phase::Over(_) => Some(Downtime { from, to: Some(outage.end.unwrap_or(outage.first_seen)) }),
    }
}

fn judged(device: FleetDevice, nights: &Nights, now: Timestamp) -> ReportRow {
    let unread = device.last.as_ref().err().or(device.enabled.as_ref().err());
    let last = device.last.as_ref().ok().copied().flatten();
    if let Some(other) = &device.other {
        let reason = Some(format!("neither an iPhone nor an iPad: {other}"));
        return ReportRow { device, standing: BackupStatus::Skipped, reason };
    }
    let standing = match (unread, &device.enabled) {
        (_, Ok(Some(false))) => BackupStatus::Off,
        (Some(_), _) => BackupStatus::Unknown,
        (None, enabled) => nights.standing(last, enabled.as_ref().ok().copied().flatten()),
    };
    let reason = (standing == BackupStatus::Unknown).then(|| match (unread, last) {
        (Some(unread), _) => unread.clone(),
        (None, None) => "no backup date".to_owned(),
        (None, Some(last)) if is_ahead(last, now) => "the date is in the future".to_owned(),
        (None, Some(_)) => "statusd did not poll in those nights".to_owned(),
    });
    ReportRow { device, standing, reason }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::tz::TimeZone;

    use super::*;
    use crate::model::{EventKind, Listed, OverBy};

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[track_caller]
    fn check(
        kind: EventKind,
        phase: Phase,
        times: [Option<&str>; 2],
        expected: Option<(&str, Option<&str>)>,
    ) {
        let outage = Outage {
            service: "iCloud Backup".to_owned(),
            message_id: "1".to_owned(),
            occurrence: 1,
            kind,
            phase,
            start: times[0].map(at),
            end: times[1].map(at),
            first_seen: at("2026-05-04T10:00:00Z"),
            users_affected: None,
            message: String::new(),
            counts: BTreeMap::new(),
        };
        let expected = expected.map(|(from, to)| Downtime { from: at(from), to: to.map(at) });
        assert_eq!(downtime(&outage), expected, "{outage:?}");
    }

    #[test]
    fn an_outage_is_a_downtime_and_maintenance_is_none() {
        let (start, end, seen) = ("2026-05-04T08:00:00Z", "2026-05-04T12:00:00Z", "2026-05-04T10:00:00Z");
        let both = [Some(start), Some(end)];
        check(EventKind::Issue, Phase::Over(OverBy::Apple), both, Some((start, Some(end))));
        check(EventKind::Outage, Phase::Over(OverBy::Withdrawal), [None, Some(end)], Some((seen, Some(end))));
        check(EventKind::Outage, Phase::Over(OverBy::Apple), [Some(start), None], Some((start, Some(seen))));
        check(EventKind::Outage, Phase::Ongoing(None), both, Some((start, None)));
        check(EventKind::Maintenance, Phase::Ongoing(None), both, None);
        check(EventKind::Other("new".to_owned()), Phase::Planned(None), both, None);
    }

    #[test]
    fn what_cannot_be_read_is_unknown_unless_it_is_off() {
        let now = at("2026-05-08T12:00:00Z");
        let nights = Nights::new(&[], &[], &TimeZone::UTC, now);
        let unread = || Err("cannot read it".to_owned());
        for (last, enabled, standing, reason) in [
            (Ok(Some(at("2026-05-08T02:00:00Z"))), Ok(None), BackupStatus::UpToDate, None),
            (Ok(Some(at("2026-05-08T02:00:00Z"))), Err("x".to_owned()), BackupStatus::Unknown, Some("x")),
            (unread(), Ok(Some(false)), BackupStatus::Off, None),
            (unread(), Ok(Some(true)), BackupStatus::Unknown, Some("cannot read it")),
            (Ok(None), Ok(Some(true)), BackupStatus::Unknown, Some("no backup date")),
            (
                Ok(Some(at("2027-05-08T02:00:00Z"))),
                Ok(None),
                BackupStatus::Unknown,
                Some("the date is in the future"),
            ),
            (
                Ok(Some(at("2026-05-01T02:00:00Z"))),
                Ok(None),
                BackupStatus::Unknown,
                Some("statusd did not poll in those nights"),
            ),
        ] {
            let row = judged(
                FleetDevice { line: 2, name: "a".to_owned(), other: None, last, enabled },
                &nights,
                now,
            );
            assert_eq!((row.standing, row.reason.as_deref()), (standing, reason));
        }
    }

    #[test]
    fn what_is_no_iphone_is_skipped() {
        let now = at("2026-05-08T12:00:00Z");
        let nights = Nights::new(&[], &[], &TimeZone::UTC, now);
        let other = Some("Apple TV".to_owned());
        let device = FleetDevice { line: 2, name: "a".to_owned(), other, last: Ok(None), enabled: Ok(None) };
        let row = judged(device, &nights, now);
        let reason = row.reason.as_deref();
        assert_eq!(
            (row.standing, reason),
            (BackupStatus::Skipped, Some("neither an iPhone nor an iPad: Apple TV"))
        );
    }

    #[test]
    fn late_devices_fail_where_that_is_asked_for() {
        let row = |standing| {
            let device =
                FleetDevice { line: 2, name: "a".to_owned(), other: None, last: Ok(None), enabled: Ok(None) };
            ReportRow { device, standing, reason: None }
        };
        use BackupStatus::{LateByApple, LateOtherwise, Off, Skipped, Unknown, UpToDate};
        let check = |standings: &[BackupStatus], fail_on: &[FailOn], expected: u8| {
            let rows: Vec<ReportRow> = standings.iter().map(|standing| row(*standing)).collect();
            assert_eq!(exit_code(&rows, fail_on), expected, "{standings:?} {fail_on:?}");
        };
        check(&[LateOtherwise, LateByApple, Off, Unknown], &[], DONE);
        check(&[UpToDate, LateOtherwise], &[FailOn::Late], FAILED);
        check(&[UpToDate, LateByApple, Unknown], &[FailOn::Late], FAILED);
        check(&[UpToDate, LateByApple, Off, Skipped], &[FailOn::LateOtherwise], DONE);
        check(&[UpToDate, Unknown], &[FailOn::Late], CANNOT_TELL);
        check(&[UpToDate, Unknown], &[FailOn::Late, FailOn::Unknown], FAILED);
        check(&[Off, UpToDate], &[FailOn::Late], DONE);
        check(&[Off, UpToDate], &[FailOn::Off], FAILED);
        check(&[], &[FailOn::Late], DONE);
    }

    #[test]
    fn a_slip_of_the_finger_does_not_make_devices_late() {
        let service = |name: &str| {
            let first_seen = at("2026-05-04T10:00:00Z");
            (ServiceKey::new(name), Service { name: name.to_owned(), first_seen, listed: Listed::Yes })
        };
        let listed = [service("iCloud Backup"), service("Photos")];
        let refused = |asked: &[&str], listed: &[_]| {
            let asked: Vec<String> = asked.iter().map(|text| (*text).to_owned()).collect();
            refuse_unknown(&asked, listed).err().map(|failure| failure.message)
        };
        assert_eq!(refused(&["icloud  BACKUP", "Pho*"], &listed), None);
        let words = "unknown service \"iCloud Bakup\"; did you mean iCloud Backup?";
        assert_eq!(refused(&["Photos", "iCloud Bakup"], &listed).as_deref(), Some(words));
        assert_eq!(refused(&["iCloud Bakup"], &[]), None);
    }
}
