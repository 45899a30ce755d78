//! Observations → findings, in display order.
//!
//! Pure. Calls the function of each check and passes it the data of other checks that it needs. Every
//! selected check has a finding, even if its data was not collected in time.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::apple::{self, CheckContext};
use super::checks::{CHECKS, Selection};
use super::collect::{Collected, Observations, Phones};
use super::daemon::{self, DaemonReport, Database};
use super::phone::PhoneView;
use super::{Finding, Status, ios, local_backups, network, phone, storage};
use crate::model::Edition;
use crate::phones::Phone;
use crate::phones::backup_status::Nights;

const IS_MACOS: bool = cfg!(target_os = "macos");

/// The context of all checks.
#[derive(Clone, Copy, Debug)]
pub struct DiagnosisContext<'a> {
    pub now: Timestamp,
    pub zone: &'a TimeZone,
    pub watch: &'a [String],
    /// The edition of the fetched feed.
    pub edition: Edition,
    pub identifiers: bool,
}

/// Returns the findings of the selected checks, in the order of [`CHECKS`].
pub fn diagnose(
    observations: &Observations,
    selection: &Selection,
    context: &DiagnosisContext,
) -> Vec<Finding> {
    let DiagnosisContext { now, zone, watch, edition, identifiers } = *context;
    let last_backup = observations.phones.done().and_then(oldest_backup);
    let context = CheckContext { watch, now, zone, last_backup, edition };
    let history = observations.history.as_ref();
    let mut findings =
        collected("apple", &observations.feed, |feed| vec![apple::diagnose_feed(feed, history, &context)]);
    let is_feed_read = selection.wants("apple") && observations.feed.done().is_some_and(Result::is_ok);
    findings.push(apple::diagnose_history(history, is_feed_read, &context));
    findings.extend(match &observations.network {
        Collected::Done(report) => network::diagnose(report, selection.ids()),
        Collected::TimedOut(limit) => network::IDS.iter().map(|id| timed_out(id, *limit)).collect(),
        Collected::NotRequested => Vec::new(),
    });
    findings.extend(collected("phone", &observations.phones, |phones| {
        diagnose_phones(phones, observations, &context, identifiers)
    }));
    let view = local_backups::BackupView { now, zone, is_macos: IS_MACOS, identifiers };
    let backups = |locations: &Vec<_>| local_backups::diagnose(locations, &view);
    findings.extend(collected(local_backups::ID, &observations.backups, backups));
    findings
        .extend(collected(storage::ID, &observations.storage, |storage| vec![storage::diagnose(storage)]));
    findings.extend(collected("daemon", &observations.daemon, |status| {
        let report = DaemonReport {
            status: status.clone(),
            database: observations.database.clone(),
            system_service_command: observations.system_service_command.clone(),
        };
        vec![daemon::diagnose_daemon(&report, &context)]
    }));
    let is_desktop_reachable = match &observations.desktop {
        Collected::Done(is_reachable) => Some(*is_reachable),
        Collected::TimedOut(_) => Some(false),
        Collected::NotRequested => None,
    };
    let has_own_database = !matches!(observations.database, Database::None | Database::Private { .. });
    let is_used_here = has_own_database || observations.daemon.done().is_some_and(Option::is_some);
    findings.push(daemon::diagnose_desktop(is_desktop_reachable, is_used_here));
    findings.retain(|finding| selection.wants(finding.id));
    findings.sort_by_key(|finding| CHECKS.iter().position(|check| check.id == finding.id));
    findings
}

fn collected<T>(
    id: &'static str,
    data: &Collected<T>,
    diagnose: impl FnOnce(&T) -> Vec<Finding>,
) -> Vec<Finding> {
    match data {
        Collected::Done(data) => diagnose(data),
        Collected::TimedOut(limit) => vec![timed_out(id, *limit)],
        Collected::NotRequested => Vec::new(),
    }
}

fn timed_out(id: &'static str, limit: Duration) -> Finding {
    Finding::new(id, Status::CannotTell, format!("timed out after {} s", limit.as_secs()))
}

/// Returns the oldest last backup of all phones, or `None` if a phone does not report its own.
fn oldest_backup(phones: &Phones) -> Option<Timestamp> {
    let phones = phones.phones.as_ref().ok()?;
    let backups: Option<Vec<Timestamp>> =
        phones.iter().map(|phone| phone.private.as_ref().ok()?.last_backup).collect();
    backups?.into_iter().min()
}

fn diagnose_phones(
    phones: &Phones,
    observations: &Observations,
    context: &CheckContext,
    identifiers: bool,
) -> Vec<Finding> {
    let feed = observations.feed.done().and_then(|feed| feed.as_ref().ok());
    let history = observations.history.as_ref();
    // The feed also lists the outages of the last days.
    let covered_now = feed.is_some().then_some((context.now, context.now));
    let covered: Vec<_> =
        history.into_iter().flat_map(|history| history.covered.clone()).chain(covered_now).collect();
    let nights = Nights::new(&apple::downtimes(feed, history, context), &covered, context.zone, context.now);
    let view = PhoneView { now: context.now, zone: context.zone, identifiers };
    let mut findings = phone::diagnose(&phones.phones, &nights, &view);
    findings.extend(phones.others.iter().map(|device| phone::diagnose_other(device, identifiers)));
    findings.extend(diagnose_ios(phones, context.now, identifiers));
    findings
}

fn diagnose_ios(phones: &Phones, now: Timestamp, identifiers: bool) -> Vec<Finding> {
    let (Ok(phones), Some(releases)) = (&phones.phones, &phones.releases) else {
        return vec![Finding::new(ios::ID, Status::Skipped, "no iPhone to check")];
    };
    let releases = releases.as_ref().map_err(String::as_str);
    let finding = |(index, phone): (usize, &Phone)| {
        ios::diagnose(&phone.public, releases, now).subject(phone::subject(phones, index, identifiers))
    };
    phones.iter().enumerate().map(finding).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    static UTC: TimeZone = TimeZone::UTC;

    fn everything_timed_out() -> Observations {
        let limit = Duration::from_secs(18);
        Observations {
            feed: Collected::TimedOut(limit),
            history: None,
            network: Collected::TimedOut(limit),
            phones: Collected::TimedOut(limit),
            storage: Collected::TimedOut(limit),
            backups: Collected::TimedOut(limit),
            daemon: Collected::TimedOut(limit),
            database: Database::None,
            system_service_command: None,
            desktop: Collected::TimedOut(limit),
        }
    }

    #[test]
    fn a_collection_that_times_out_is_cannot_tell_and_never_ok() {
        let selection = Selection::new(&[], &[]).expect("all");
        let now = "2026-05-05T12:00:00Z".parse().expect("a time");
        let context =
            DiagnosisContext { now, zone: &UTC, watch: &[], edition: Edition::Consumer, identifiers: false };
        let findings = diagnose(&everything_timed_out(), &selection, &context);
        assert!(findings.iter().all(|finding| finding.status != Status::Ok), "{findings:#?}");
        for id in ["apple", "portal", "speed", "phone", "local-backups", "icloud-storage", "daemon"] {
            let finding = findings.iter().find(|finding| finding.id == id).expect(id);
            assert_eq!((finding.status, finding.seen.as_str()), (Status::CannotTell, "timed out after 18 s"));
        }
    }

    #[test]
    fn the_history_reports_an_ongoing_outage_if_the_check_of_the_feed_is_skipped() {
        use crate::model::{Document, EventKind, Outage, Phase, Stamp};
        let now = "2026-05-05T12:00:00Z".parse().expect("a time");
        let outage = Outage {
            service: "iCloud Backup".to_owned(),
            message_id: "1".to_owned(),
            occurrence: 1,
            kind: EventKind::Outage,
            phase: Phase::Ongoing(None),
            start: Some(now),
            end: None,
            first_seen: now,
            users_affected: None,
            message: String::new(),
            counts: BTreeMap::new(),
        };
        let history = apple::OutageHistory { outages: vec![outage], ..apple::OutageHistory::default() };
        let document = Document { stamp: Stamp::at(now), banner: None, services: BTreeMap::new() };
        let observations = Observations {
            feed: Collected::Done(Ok(document)),
            history: Some(history),
            ..everything_timed_out()
        };
        let context =
            DiagnosisContext { now, zone: &UTC, watch: &[], edition: Edition::Consumer, identifiers: false };
        for (only, expected) in [("clock,history", Status::Problem), ("apple,history", Status::Ok)] {
            let only: Vec<String> = only.split(',').map(str::to_owned).collect();
            let selection = Selection::new(&only, &[]).expect("known checks");
            let findings = diagnose(&observations, &selection, &context);
            let history = findings.iter().find(|finding| finding.id == "history").expect("a finding");
            assert_eq!(history.status, expected, "{history:?}");
        }
    }

    #[test]
    fn the_oldest_backup_is_unknown_if_a_phone_does_not_report_its_own() {
        use crate::phones::{AccessError, Link, PrivateInfo, PublicInfo, Udid};
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let phone =
            |private| Phone { udid: Udid::new("1"), link: Link::Usb, public: PublicInfo::default(), private };
        let backed_up =
            |last: &str| phone(Ok(PrivateInfo { last_backup: Some(at(last)), ..PrivateInfo::default() }));
        let (new, old) = (backed_up("2026-05-05T02:00:00Z"), backed_up("2026-05-04T02:00:00Z"));
        let oldest = |phones: Vec<Phone>| {
            oldest_backup(&Phones { phones: Ok(phones), others: Vec::new(), releases: None })
        };
        assert_eq!(oldest(vec![new.clone(), old]), Some(at("2026-05-04T02:00:00Z")));
        assert_eq!(oldest(vec![new.clone(), phone(Err(AccessError::Locked))]), None);
        assert_eq!(oldest(vec![new, phone(Ok(PrivateInfo::default()))]), None);
        assert_eq!(oldest(Vec::new()), None);
    }
}
