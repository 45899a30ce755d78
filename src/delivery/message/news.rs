//! Groups changes into pieces of news: what happened to one outage, and the services of one incident.

use super::title;
use super::{advice, phrases};
use crate::model::{Change, ChangeKind, LastBackup, ServiceKey, Severity};

/// Names in a headline before "and 3 more".
pub(super) const HEADLINE_NAMES: usize = 2;

/// Changes that are one piece of news, for one or more services.
#[derive(Clone, Debug)]
pub struct News<'a> {
    /// The change, which is the same for all the services.
    pub change: &'a Change,
    pub services: Vec<&'a str>,
    /// The last backup, if a backup is among the services.
    pub phone: Option<LastBackup>,
}

impl News<'_> {
    /// Returns `iCloud Backup`, `iCloud Backup and Photos` or `iCloud Backup, Photos and 8 more`.
    pub fn names(&self) -> String {
        named(&self.services)
    }

    pub(super) fn headline(&self) -> String {
        title::headline(self)
    }
}

pub(super) fn named(services: &[&str]) -> String {
    match services {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [one, two] => format!("{one} and {two}"),
        many => format!("{} and {} more", many[..HEADLINE_NAMES].join(", "), many.len() - HEADLINE_NAMES),
    }
}

/// Returns the services of the changes, each once, in the form of a headline.
pub fn names(changes: &[Change]) -> String {
    let Some(change) = changes.first() else { return String::new() };
    let mut services: Vec<&str> = Vec::new();
    for service in changes.iter().map(|change| change.service.as_str()) {
        if !service.is_empty() && !services.contains(&service) {
            services.push(service);
        }
    }
    News { change, services, phone: None }.names()
}

pub(super) fn services(change: &Change) -> Vec<&str> {
    if change.service.is_empty() { Vec::new() } else { vec![&change.service] }
}

/// Folds the pending changes of each outage into one change.
pub(super) fn fold(changes: &[Change]) -> Vec<Change> {
    let mut folded: Vec<Change> = Vec::new();
    for change in changes {
        let same = folded.iter_mut().find(|earlier| {
            let health = [ChangeKind::Unreadable, ChangeKind::Readable];
            if health.contains(&change.kind) && health.contains(&earlier.kind) {
                return earlier.feed == change.feed;
            }
            if change.kind.is_about_a_phone() {
                return (earlier.kind, &earlier.message_id, earlier.began_at)
                    == (change.kind, &change.message_id, change.began_at);
            }
            change.message_id.is_some()
                && (&earlier.service, &earlier.message_id, earlier.occurrence)
                    == (&change.service, &change.message_id, change.occurrence)
        });
        match same {
            Some(earlier) => *earlier = folded_pair(earlier, change),
            None => folded.push(change.clone()),
        }
    }
    folded
}

fn folded_pair(earlier: &Change, later: &Change) -> Change {
    let began = matches!(earlier.kind, ChangeKind::Began | ChangeKind::Reopened);
    match later.kind {
        // The start was never announced, so the reader learns of an outage that is over.
        ChangeKind::Ended if began => {
            Change { kind: ChangeKind::Missed, seen_at: earlier.seen_at, ..later.clone() }
        }
        // The first severity was never announced, so the outage begins with the current one.
        ChangeKind::Worsened | ChangeKind::Eased if began => Change {
            kind: earlier.kind,
            seen_at: earlier.seen_at,
            was_kind: None,
            phone: earlier.phone,
            ..later.clone()
        },
        // The former times were never announced.
        ChangeKind::Moved if matches!(earlier.kind, ChangeKind::Planned | ChangeKind::Started) => {
            Change { kind: earlier.kind, seen_at: earlier.seen_at, ..later.clone() }
        }
        // A reminder adds nothing to an announcement in the same message.
        ChangeKind::Reminder if earlier.kind != ChangeKind::Reminder => earlier.clone(),
        _ => later.clone(),
    }
}

/// Groups the services of one incident, unless Apple's text differs between them.
pub(super) fn group(changes: &[Change]) -> Vec<News<'_>> {
    let mut all: Vec<News> = Vec::new();
    for change in changes {
        let same = all.iter_mut().find(|news| {
            change.message_id.is_some()
                && (news.change.kind, &news.change.outage_kind, news.change.began_at, news.change.ended_at)
                    == (change.kind, &change.outage_kind, change.began_at, change.ended_at)
                && phrases::apple_text(news.change) == phrases::apple_text(change)
        });
        match same {
            Some(news) => {
                news.phone = news.phone.or(change.phone);
                if !news.services.contains(&change.service.as_str()) {
                    news.services.push(&change.service);
                }
            }
            None => all.push(News { change, services: services(change), phone: change.phone }),
        }
    }
    // The worst first, because a bubble shows its first line. Then backups, because their advice helps.
    all.sort_by_key(|news| {
        let is_backup = news.services.iter().any(|service| ServiceKey::new(service).is_backup());
        (advice::severity(news.change.kind) != Severity::Alert, !is_backup)
    });
    all
}
