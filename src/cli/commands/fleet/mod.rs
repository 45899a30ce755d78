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
use crate::exit_code::{CANNOT_TELL, CANNOT_WRITE, DONE, FAILED, WRONG_USAGE};
use crate::model::{Outage, Phase, Service, ServiceKey};
use crate::phones::backup_status::{BackupStatus, Downtime, Nights, is_ahead};
use crate::report::coverage::extend_to_now;
use crate::store::{Span, Store};
use crate::tracking::watchlist::Watchlist;
use crate::{regular_file, status_socket};

use crate::cli::args::{FailOn, FleetArgs, FleetFormat};
use crate::cli::context::{
    CommandError, Invocation, Output, block_on, open_store, print_error, unknown_service,
};
use crate::cli::state::config_with_state;
use crate::cli::terminal::Terminal;
use columns::NamedColumns;
use inventory::{DeviceList, FleetDevice, ListError};
use report::{Report, ReportRow};

/// Reaches further back than the nights that [`Nights`] examines.
const OUTAGES_SINCE: SignedDuration = SignedDuration::from_hours(410 * 24);

pub fn run(fleet: &FleetArgs, invocation: &Invocation) -> Result<Output, CommandError> {
    evaluate(fleet, invocation).map_err(|failure| match failure.code {
        // With `--fail-on`, 1 means that devices match, so that other failures need another code.
        FAILED | CANNOT_WRITE if !fleet.fail_on.is_empty() => CommandError::new(CANNOT_TELL, failure.message),
        _ => failure,
    })
}

fn evaluate(fleet: &FleetArgs, invocation: &Invocation) -> Result<Output, CommandError> {
    let config = config_with_state(invocation)?;
    let terminal = invocation.terminal(&config.time_zone);
    let store = open_store(&config, false)?;
    let record = Record::read(&store, &config, fleet, &terminal)?;
    let DeviceList { columns, devices } = read_list(fleet, &terminal)?;
    let nights = Nights::new(&record.outages, &record.readable, terminal.zone, terminal.now);
    let rows = devices.into_iter().map(|device| report_row(device, &nights, terminal.now)).collect();
    let report = Report {
        rows,
        columns,
        feed: config.feed.to_string(),
        services: record.services,
        record_since: record.readable.iter().map(|(from, _)| *from).min(),
    };
    let format = if fleet.json { FleetFormat::Json } else { fleet.format };
    let text = match format {
        FleetFormat::Table => report.text(&terminal),
        FleetFormat::Json => report.json(terminal.now),
        FleetFormat::Csv => {
            // CSV has no place for remarks.
            report.columns.remarks.iter().for_each(|remark| print_error(remark));
            report.csv()
        }
    };
    Ok(Output { text, code: exit_code(&report.rows, &fleet.fail_on) })
}

/// Returns 1 if a device has a status to fail on, else 3 if the status of a device is unknown.
fn exit_code(rows: &[ReportRow], fail_on: &[FailOn]) -> u8 {
    let matches = |fail_on: &FailOn, status: BackupStatus| match fail_on {
        FailOn::Late => matches!(status, BackupStatus::LateByApple | BackupStatus::LateOtherwise),
        FailOn::LateOtherwise => status == BackupStatus::LateOtherwise,
        FailOn::Off => status == BackupStatus::Off,
        FailOn::Unknown => status == BackupStatus::Unknown,
    };
    if rows.iter().any(|row| fail_on.iter().any(|fail_on| matches(fail_on, row.status))) {
        FAILED
    } else if !fail_on.is_empty() && rows.iter().any(|row| row.status == BackupStatus::Unknown) {
        CANNOT_TELL
    } else {
        DONE
    }
}

fn read_list(fleet: &FleetArgs, terminal: &Terminal) -> Result<DeviceList, CommandError> {
    let is_standard_input = fleet.file.as_os_str() == "-";
    let name = if is_standard_input { "standard input".to_owned() } else { fleet.file.display().to_string() };
    let failed = |cause: &dyn std::fmt::Display| CommandError::failed(format!("cannot read {name}: {cause}"));
    let source: Box<dyn Read> = if is_standard_input {
        Box::new(io::stdin().lock())
    } else {
        Box::new(regular_file::open(&fleet.file).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidInput => failed(&format!("{error}; pipe it to standard input (-)")),
            _ => failed(&error.reason()),
        })?)
    };
    let bytes = inventory::read_bytes(source).map_err(|error| failed(&error.reason()))?;
    let named =
        NamedColumns { device: fleet.device_column.as_deref(), backup: fleet.backup_column.as_deref() };
    let list = bytes.and_then(|bytes| inventory::parse(bytes, &named, terminal.zone, fleet.date_order));
    list.map_err(|error| match &error {
        ListError::Columns(columns) if columns.is_usage() => {
            CommandError::new(WRONG_USAGE, format!("cannot read {name}: {error}"))
        }
        _ => failed(&error),
    })
}

/// The recorded outages of the counted services.
struct Record {
    outages: Vec<Downtime>,
    /// Periods in which the feed was readable.
    readable: Vec<(Timestamp, Timestamp)>,
    /// Apple's names of the counted services.
    services: Vec<String>,
}

impl Record {
    fn read(
        store: &Store,
        config: &Config,
        fleet: &FleetArgs,
        terminal: &Terminal,
    ) -> Result<Record, CommandError> {
        let since = terminal.now.checked_sub(OUTAGES_SINCE).unwrap_or(Timestamp::UNIX_EPOCH);
        let (outages, spans, (_, listed)) = block_on(async {
            Ok::<_, rusqlite::Error>((
                store.outages(&config.feed, since).await?,
                store.coverage(&config.feed, Timestamp::UNIX_EPOCH).await?,
                store.listed(&config.feed).await?,
            ))
        })??;
        let is_running = status_socket::ask(&config.state_directory).is_some();
        let spans = extend_to_now(spans, is_running, terminal.now);
        let names = if fleet.services.is_empty() { &config.watch } else { &fleet.services };
        refuse_unknown(names, &listed)?;
        let watch = Watchlist::new(names);
        let counted = listed.iter().filter(|(key, _)| watch.matches(key));
        Ok(Record {
            services: counted.map(|(_, service)| service.name.clone()).collect(),
            outages: outages
                .iter()
                .filter(|outage| watch.matches(&ServiceKey::new(&outage.service)))
                .filter_map(downtime)
                .collect(),
            readable: spans
                .iter()
                .filter(|span| is_readable(span))
                .map(|span| (span.from, span.to))
                .collect(),
        })
    }
}

fn is_readable(span: &Span) -> bool {
    span.unreadable.is_none()
}

/// Rejects services that Apple does not list: without outages, no delay would be Apple's. Before the first
/// poll, every name is accepted.
fn refuse_unknown(names: &[String], listed: &[(ServiceKey, Service)]) -> Result<(), CommandError> {
    let is_listed = |text: &&String| {
        let watch = Watchlist::new(&[text]);
        listed.iter().any(|(key, _)| watch.matches(key))
    };
    let Some(unknown) = names.iter().find(|text| !is_listed(text)).filter(|_| !listed.is_empty()) else {
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

fn report_row(device: FleetDevice, nights: &Nights, now: Timestamp) -> ReportRow {
    let unreadable = device.last_backup.as_ref().err().or(device.backup_enabled.as_ref().err());
    let last = device.last_backup.as_ref().ok().copied().flatten();
    if let Some(other) = &device.other_kind {
        let reason = Some(format!("neither an iPhone nor an iPad: {other}"));
        return ReportRow { device, status: BackupStatus::Skipped, reason };
    }
    let status = match (unreadable, &device.backup_enabled) {
        (_, Ok(Some(false))) => BackupStatus::Off,
        (Some(_), _) => BackupStatus::Unknown,
        (None, enabled) => nights.status(last, enabled.as_ref().ok().copied().flatten()),
    };
    let reason = (status == BackupStatus::Unknown).then(|| match (unreadable, last) {
        (Some(reason), _) => reason.clone(),
        (None, None) => "no backup date".to_owned(),
        (None, Some(last)) if is_ahead(last, now) => "the date is in the future".to_owned(),
        (None, Some(_)) => "statusd was not polling in those nights".to_owned(),
    });
    ReportRow { device, status, reason }
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
    fn outages_count_as_downtime_and_maintenance_does_not() {
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
    fn unreadable_values_are_unknown_unless_backups_are_off() {
        let now = at("2026-05-08T12:00:00Z");
        let nights = Nights::new(&[], &[], &TimeZone::UTC, now);
        let unreadable = || Err("cannot read it".to_owned());
        for (last, enabled, status, reason) in [
            (Ok(Some(at("2026-05-08T02:00:00Z"))), Ok(None), BackupStatus::UpToDate, None),
            (Ok(Some(at("2026-05-08T02:00:00Z"))), Err("x".to_owned()), BackupStatus::Unknown, Some("x")),
            (unreadable(), Ok(Some(false)), BackupStatus::Off, None),
            (unreadable(), Ok(Some(true)), BackupStatus::Unknown, Some("cannot read it")),
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
                Some("statusd was not polling in those nights"),
            ),
        ] {
            let row = report_row(
                FleetDevice {
                    line: 2,
                    name: "a".to_owned(),
                    other_kind: None,
                    last_backup: last,
                    backup_enabled: enabled,
                },
                &nights,
                now,
            );
            assert_eq!((row.status, row.reason.as_deref()), (status, reason));
        }
    }

    #[test]
    fn devices_other_than_iphones_and_ipads_are_skipped() {
        let now = at("2026-05-08T12:00:00Z");
        let nights = Nights::new(&[], &[], &TimeZone::UTC, now);
        let other = Some("Apple TV".to_owned());
        let device = FleetDevice {
            line: 2,
            name: "a".to_owned(),
            other_kind: other,
            last_backup: Ok(None),
            backup_enabled: Ok(None),
        };
        let row = report_row(device, &nights, now);
        let reason = row.reason.as_deref();
        assert_eq!(
            (row.status, reason),
            (BackupStatus::Skipped, Some("neither an iPhone nor an iPad: Apple TV"))
        );
    }

    #[test]
    fn fail_on_decides_the_exit_code() {
        let row = |status| {
            let device = FleetDevice {
                line: 2,
                name: "a".to_owned(),
                other_kind: None,
                last_backup: Ok(None),
                backup_enabled: Ok(None),
            };
            ReportRow { device, status, reason: None }
        };
        use BackupStatus::{LateByApple, LateOtherwise, Off, Skipped, Unknown, UpToDate};
        let check = |statuses: &[BackupStatus], fail_on: &[FailOn], expected: u8| {
            let rows: Vec<ReportRow> = statuses.iter().map(|status| row(*status)).collect();
            assert_eq!(exit_code(&rows, fail_on), expected, "{statuses:?} {fail_on:?}");
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
    fn unknown_services_are_refused() {
        let service = |name: &str| {
            let first_seen = at("2026-05-04T10:00:00Z");
            (ServiceKey::new(name), Service { name: name.to_owned(), first_seen, listed: Listed::Yes })
        };
        let listed = [service("iCloud Backup"), service("Photos")];
        let refused = |names: &[&str], listed: &[_]| {
            let names: Vec<String> = names.iter().map(|text| (*text).to_owned()).collect();
            refuse_unknown(&names, listed).err().map(|failure| failure.message)
        };
        assert_eq!(refused(&["icloud  BACKUP", "Pho*"], &listed), None);
        let message = "unknown service \"iCloud Bakup\"; did you mean iCloud Backup?";
        assert_eq!(refused(&["Photos", "iCloud Bakup"], &listed).as_deref(), Some(message));
        assert_eq!(refused(&["iCloud Bakup"], &[]), None);
    }
}
