//! Observations → findings, in display order.
//!
//! Pure. Calls the function of each check and passes it the data of other checks that it needs. Every
//! selected check has a finding, even if its data was not collected in time.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::apple::{self, Case};
use super::checks::{CHECKS, Selection};
use super::collect::{Collected, Phones, Seen};
use super::phone::PhoneView;
use super::program::{self, Database, Program};
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

/// The findings of the checks that were asked for, in the order of [`CHECKS`].
pub fn judge(seen: &Seen, asked: &Selection, context: &DiagnosisContext) -> Vec<Finding> {
    let DiagnosisContext { now, zone, watch, edition, identifiers } = *context;
    let last_backup = seen.phones.seen().and_then(oldest_backup);
    let case = Case { watch, now, zone, last_backup, edition };
    let past = seen.past.as_ref();
    let mut findings = one("apple", &seen.feed, |looked| vec![apple::judge_feed(looked, past, &case)]);
    let is_read = seen.feed.seen().is_some_and(Result::is_ok);
    findings.push(apple::judge_history(past, is_read, &case));
    findings.extend(match &seen.network {
        Collected::Seen(looked) => network::judge(looked, asked.ids()),
        Collected::Late(within) => network::IDS.iter().map(|id| late(id, *within)).collect(),
        Collected::Unwanted => Vec::new(),
    });
    findings.extend(one("phone", &seen.phones, |phones| judge_phones(phones, seen, &case, identifiers)));
    let view = local_backups::BackupView { now, zone, is_macos: IS_MACOS, identifiers };
    let backups = |roots: &Vec<_>| local_backups::judge(roots, &view);
    findings.extend(one(local_backups::ID, &seen.backups, backups));
    findings.extend(one(storage::ID, &seen.storage, |room| vec![storage::judge(room)]));
    findings.extend(one("daemon", &seen.live, |live| {
        let program =
            Program { live: live.clone(), database: seen.database.clone(), beside: seen.beside.clone() };
        vec![program::judge_daemon(&program, &case)]
    }));
    let is_shown = match &seen.desktop {
        Collected::Seen(is_reachable) => Some(*is_reachable),
        Collected::Late(_) => Some(false),
        Collected::Unwanted => None,
    };
    let is_elsewhere = matches!(seen.database, Database::None | Database::Private { .. });
    let is_used = !is_elsewhere || seen.live.seen().is_some_and(Option::is_some);
    findings.push(program::judge_desktop(is_shown, is_used));
    findings.retain(|finding| asked.wants(finding.id));
    findings.sort_by_key(|finding| CHECKS.iter().position(|check| check.id == finding.id));
    findings
}

fn one<T>(id: &'static str, look: &Collected<T>, judge: impl FnOnce(&T) -> Vec<Finding>) -> Vec<Finding> {
    match look {
        Collected::Seen(seen) => judge(seen),
        Collected::Late(within) => vec![late(id, *within)],
        Collected::Unwanted => Vec::new(),
    }
}

fn late(id: &'static str, within: Duration) -> Finding {
    Finding::new(id, Status::CannotTell, format!("no answer within {} s", within.as_secs()))
}

/// Returns the oldest last backup of all phones, or `None` if a phone does not report its own.
fn oldest_backup(phones: &Phones) -> Option<Timestamp> {
    let phones = phones.found.as_ref().ok()?;
    let backups: Option<Vec<Timestamp>> =
        phones.iter().map(|phone| phone.private.as_ref().ok()?.last_backup).collect();
    backups?.into_iter().min()
}

fn judge_phones(phones: &Phones, seen: &Seen, case: &Case, identifiers: bool) -> Vec<Finding> {
    let feed = seen.feed.seen().and_then(|looked| looked.as_ref().ok());
    let past = seen.past.as_ref();
    // What Apple's feed lists now reaches back by days.
    let is_read = feed.is_some().then_some((case.now, case.now));
    let covered: Vec<_> = past.into_iter().flat_map(|past| past.covered.clone()).chain(is_read).collect();
    let nights = Nights::new(&apple::downtimes(feed, past, case), &covered, case.zone, case.now);
    let view = PhoneView { now: case.now, zone: case.zone, identifiers };
    let mut findings = phone::judge(&phones.found, &nights, &view);
    findings.extend(phones.others.iter().map(|device| phone::judge_other(device, identifiers)));
    findings.extend(judge_ios(phones, case.now, identifiers));
    findings
}

fn judge_ios(phones: &Phones, now: Timestamp, identifiers: bool) -> Vec<Finding> {
    let (Ok(found), Some(releases)) = (&phones.found, &phones.releases) else {
        return vec![Finding::new(ios::ID, Status::Skipped, "no iPhone to check")];
    };
    let releases = releases.as_ref().map_err(String::as_str);
    let one = |(place, phone): (usize, &Phone)| {
        ios::judge(&phone.general, releases, now).subject(phone::subject(found, place, identifiers))
    };
    found.iter().enumerate().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    static UTC: TimeZone = TimeZone::UTC;

    /// Nothing was in time.
    fn late_everywhere() -> Seen {
        let within = Duration::from_secs(18);
        Seen {
            feed: Collected::Late(within),
            past: None,
            network: Collected::Late(within),
            phones: Collected::Late(within),
            storage: Collected::Late(within),
            backups: Collected::Late(within),
            live: Collected::Late(within),
            database: Database::None,
            beside: None,
            desktop: Collected::Late(within),
        }
    }

    #[test]
    fn a_look_that_takes_too_long_is_cannot_tell_and_never_ok() {
        let asked = Selection::new(&[], &[]).expect("all");
        let now = "2026-05-05T12:00:00Z".parse().expect("a time");
        let context =
            DiagnosisContext { now, zone: &UTC, watch: &[], edition: Edition::Consumer, identifiers: false };
        let findings = judge(&late_everywhere(), &asked, &context);
        assert!(findings.iter().all(|finding| finding.status != Status::Ok), "{findings:#?}");
        for id in ["apple", "portal", "speed", "phone", "local-backups", "icloud-storage", "daemon"] {
            let finding = findings.iter().find(|finding| finding.id == id).expect(id);
            assert_eq!(
                (finding.status, finding.seen.as_str()),
                (Status::CannotTell, "no answer within 18 s")
            );
        }
    }

    #[test]
    fn one_phone_that_does_not_tell_leaves_the_oldest_backup_unknown() {
        use crate::phones::{General, Link, Private, Refusal, Udid};
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let phone =
            |private| Phone { udid: Udid::new("1"), link: Link::Usb, general: General::default(), private };
        let backed_up = |last: &str| phone(Ok(Private { last_backup: Some(at(last)), ..Private::default() }));
        let (new, old) = (backed_up("2026-05-05T02:00:00Z"), backed_up("2026-05-04T02:00:00Z"));
        let oldest = |phones: Vec<Phone>| {
            oldest_backup(&Phones { found: Ok(phones), others: Vec::new(), releases: None })
        };
        assert_eq!(oldest(vec![new.clone(), old]), Some(at("2026-05-04T02:00:00Z")));
        assert_eq!(oldest(vec![new.clone(), phone(Err(Refusal::Locked))]), None);
        assert_eq!(oldest(vec![new, phone(Ok(Private::default()))]), None);
        assert_eq!(oldest(Vec::new()), None);
    }
}
