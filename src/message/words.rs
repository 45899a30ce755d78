//! The words for one piece of news: a headline, what is known, and what to do.
//!
//! Every text that tells people what to do stands in this file, is in our own words, and names no
//! host and no number: support scams live on this very subject.

use jiff::{SignedDuration, Timestamp};

use super::when::{from_to, lasted, when};
use super::{News, Said};
use crate::model::{Change, ChangeKind, EventKind, LastBackup, Outage, ServiceKey, Tone};

/// A reminder that waited for longer was true when it was written.
const FRESH: SignedDuration = SignedDuration::from_mins(10);
/// What a phone said longer ago may not be so any more: it was out of reach since.
const SAID_LATELY: SignedDuration = SignedDuration::from_hours(2);
const WAIT_FOR_BACKUP: &str =
    "Wait: your iPhone backs up by itself once Apple has fixed it. Do not reset or erase it.";
const WAIT: &str = "Nothing to do on your side but wait.";
const BACK_UP_NOW: &str = "To back up now: Settings, your name, iCloud, iCloud Backup, Back Up Now.";
const CHECK_BACKUP: &str = "Check the date of your last backup: Settings, your name, iCloud, iCloud Backup.";
const CHECK_WATCH: &str =
    "Correct the watch list in the configuration; `statusd services` shows Apple's names.";
const CHECK_RENAMED: &str = "Apple may have renamed it: `statusd services` shows the names of today.";
const CANNOT_TELL: &str =
    "Until then nobody here can tell whether Apple has trouble. Nothing to do on your side.";
const TEST: &str = "This is a test. Nothing is wrong. Messages about outages will reach you here.";
const SEEK_CAUSE: &str = "Leave it locked, on power and on Wi-Fi tonight. To back up now: Settings, your name, iCloud, \
     iCloud Backup, Back Up Now. `statusd doctor` looks for the cause.";
const SWITCH_ON: &str = "To switch it on: Settings, your name, iCloud, iCloud Backup. Whoever backs up to a computer \
     instead need not.";
const DAMAGED: &str = "What could be read was kept. What is going on now may be told again, and messages \
     that waited may be missing.";

/// The news as a headline of one line, without a full stop.
pub fn headline(news: &News, said: &Said) -> String {
    let names = &news.names();
    match news.change.kind {
        ChangeKind::Began => format!("{names}: Apple reports {}", problem(news.change)),
        ChangeKind::Reopened => format!("{names}: the problem is back"),
        ChangeKind::Ended => format!("{names}: Apple says it is fixed"),
        ChangeKind::Withdrawn => format!("{names}: Apple no longer lists the problem"),
        ChangeKind::Missed => format!("{names} had trouble {}", span(news.change, said)),
        ChangeKind::Worsened => format!("{names}: now {}", problem(news.change)),
        ChangeKind::Eased => format!("{names}: better, now {}", problem(news.change)),
        ChangeKind::Planned => format!("{names}: maintenance planned"),
        ChangeKind::Started => format!("{names}: maintenance has begun"),
        ChangeKind::Over => format!("{names}: maintenance is over"),
        ChangeKind::Unlisted if news.change.near.is_empty() => {
            format!("Apple's status page does not list {names}")
        }
        ChangeKind::Unlisted => format!("Apple's status page knows no \u{201c}{names}\u{201d}"),
        ChangeKind::ListedAgain => format!("Apple's status page lists {names}"),
        ChangeKind::Blind => "Apple's status cannot be read".to_owned(),
        ChangeKind::Sighted => "Apple's status can be read again".to_owned(),
        ChangeKind::HistoryLost => "statusd lost its history".to_owned(),
        ChangeKind::Revised => format!("{names}: Apple revised its entry"),
        ChangeKind::Corrected => format!("{names}: Apple lists the problem as fixed after all"),
        ChangeKind::Noted => format!("{names}: found already over"),
        ChangeKind::Cancelled => format!("{names}: planned maintenance is listed no more"),
        ChangeKind::Lasts => format!("{names}: still {}", problem(news.change)),
        ChangeKind::Alive if names.is_empty() => "All quiet".to_owned(),
        ChangeKind::Alive => format!("{names}: still trouble"),
        ChangeKind::BackupLate => format!("Your iPhone has not backed up for {}", whole_days(news.change)),
        ChangeKind::BackupOff => "iCloud Backup is switched off on your iPhone".to_owned(),
        ChangeKind::Test => "statusd: a test".to_owned(),
    }
}

/// What is known, in one or two sentences; times in the reader's zone.
pub fn details(news: &News, said: &Said) -> String {
    let change = news.change;
    let at = |time: Timestamp| when(time, said.now, said.zone);
    let backup = &last_backup(news, said);
    let since =
        change.began_at.map_or("Apple gives no start.".to_owned(), |began| format!("Since {}.", at(began)));
    match change.kind {
        ChangeKind::Began | ChangeKind::Reopened | ChangeKind::Worsened | ChangeKind::Eased => {
            join(&[&since, &affected(change), &quoted(change), &sights(change, said), backup])
        }
        ChangeKind::Ended => join(&[&whole(change, said), &sights(change, said), backup]),
        ChangeKind::Missed => {
            let was_late = change.ended_at.is_none_or(|ended| change.seen_at >= ended);
            let posted = match was_late {
                true => format!("First seen at {}, when it was already over.", at(change.seen_at)),
                false => format!("First listed at {}.", at(change.seen_at)),
            };
            join(&[&lasting(change), &affected(change), &quoted(change), &posted, backup])
        }
        ChangeKind::Withdrawn => {
            let unlisted = format!("Not listed since {}.", at(change.seen_at));
            join(&[&since, &unlisted, "Whether it is fixed Apple does not say.", backup])
        }
        ChangeKind::Planned | ChangeKind::Started => join(&[&whole(change, said), &quoted(change)]),
        ChangeKind::Over => whole(change, said),
        ChangeKind::Unlisted if !change.near.is_empty() => {
            format!("Did you mean {}?", change.near.join(" or "))
        }
        ChangeKind::Unlisted => format!("Not in the list since {}.", at(change.seen_at)),
        ChangeKind::ListedAgain => format!("Seen at {}. It is watched from now on.", at(change.seen_at)),
        ChangeKind::Blind => format!("{since} The reason: {}.", change.message),
        ChangeKind::Sighted => whole(change, said),
        ChangeKind::HistoryLost if change.message.is_empty() => {
            "The database was deleted, emptied or replaced by an older copy.".to_owned()
        }
        ChangeKind::HistoryLost => {
            format!("The database was damaged; it is kept as {}.", change.message)
        }
        ChangeKind::Revised | ChangeKind::Corrected | ChangeKind::Noted | ChangeKind::Cancelled => {
            join(&[&whole(change, said), &quoted(change)])
        }
        ChangeKind::Lasts => join(&[&so_far(change, said), &affected(change), &quoted(change)]),
        ChangeKind::Alive => alive(change, said),
        ChangeKind::BackupLate => late(change, said),
        ChangeKind::BackupOff => match change.began_at {
            Some(last) => format!("The last backup was at {}.", at(last)),
            None => format!("Seen at {}.", at(change.seen_at)),
        },
        ChangeKind::Test => TEST.to_owned(),
    }
}

/// The times alone, where there is no room for more.
pub fn times(news: &News, said: &Said) -> String {
    let change = news.change;
    match (change.kind, change.began_at) {
        // Its headline has them.
        (ChangeKind::Missed, _) => String::new(),
        (ChangeKind::Ended | ChangeKind::Over | ChangeKind::Sighted, _) => whole(change, said),
        (_, Some(began)) => format!("Since {}.", when(began, said.now, said.zone)),
        (_, None) => format!("Seen at {}.", when(change.seen_at, said.now, said.zone)),
    }
}

/// Why a message comes late.
pub fn held_back(since: Timestamp, said: &Said) -> String {
    format!("Held back since {}.", when(since, said.now, said.zone))
}

/// `Still going on: Photos since 08:15, App Store.`
pub fn still_going_on(lasting: &[&Outage], said: &Said) -> Option<String> {
    let one = |outage: &&Outage| match outage.start {
        Some(start) => format!("{} since {}", outage.service, when(start, said.now, said.zone)),
        None => outage.service.clone(),
    };
    let names: Vec<String> = lasting.iter().map(one).collect();
    (!names.is_empty()).then(|| format!("Still going on: {}.", names.join(", ")))
}

/// What to do; empty where there is nothing to do or to leave undone.
pub fn advice(kind: ChangeKind, service: &str) -> &'static str {
    let is_backup = ServiceKey::new(service).is_backup();
    match kind {
        ChangeKind::Began
        | ChangeKind::Reopened
        | ChangeKind::Worsened
        | ChangeKind::Eased
        | ChangeKind::Lasts => {
            if is_backup {
                WAIT_FOR_BACKUP
            } else {
                WAIT
            }
        }
        ChangeKind::Ended if is_backup => BACK_UP_NOW,
        ChangeKind::Missed | ChangeKind::Withdrawn if is_backup => CHECK_BACKUP,
        ChangeKind::Unlisted => CHECK_RENAMED,
        ChangeKind::Blind => CANNOT_TELL,
        ChangeKind::HistoryLost => DAMAGED,
        ChangeKind::BackupLate => SEEK_CAUSE,
        ChangeKind::BackupOff => SWITCH_ON,
        ChangeKind::Ended
        | ChangeKind::Missed
        | ChangeKind::Withdrawn
        | ChangeKind::Planned
        | ChangeKind::Started
        | ChangeKind::Over
        | ChangeKind::ListedAgain
        | ChangeKind::Sighted
        | ChangeKind::Revised
        | ChangeKind::Corrected
        | ChangeKind::Noted
        | ChangeKind::Cancelled
        | ChangeKind::Alive
        | ChangeKind::Test => "",
    }
}

/// What to do about one piece of news. Of an incident of several services the backup counts: for
/// the others there is nothing to do.
pub fn advice_for(news: &News) -> &'static str {
    let backup = news.services.iter().find(|service| ServiceKey::new(service).is_backup());
    let service = backup.or(news.services.first()).copied().unwrap_or_default();
    match news.change.kind {
        ChangeKind::Unlisted if !news.change.near.is_empty() => CHECK_WATCH,
        kind => advice(kind, service),
    }
}

/// Bad news that a person should not overlook, good news, or neither.
pub fn tone(kind: ChangeKind) -> Tone {
    match kind {
        ChangeKind::Began | ChangeKind::Reopened | ChangeKind::Worsened => Tone::Alarm,
        ChangeKind::Ended
        | ChangeKind::Withdrawn
        | ChangeKind::Eased
        | ChangeKind::Over
        | ChangeKind::ListedAgain
        | ChangeKind::Sighted => Tone::Relief,
        ChangeKind::Missed
        | ChangeKind::Planned
        | ChangeKind::Started
        | ChangeKind::Unlisted
        | ChangeKind::Blind
        | ChangeKind::HistoryLost
        | ChangeKind::Revised
        | ChangeKind::Corrected
        | ChangeKind::Noted
        | ChangeKind::Cancelled
        | ChangeKind::Lasts
        | ChangeKind::Alive
        // Days late: an hour more does not matter.
        | ChangeKind::BackupLate
        | ChangeKind::BackupOff
        | ChangeKind::Test => Tone::Neutral,
    }
}

/// `outage`, `issue` …; a word of Apple's that we do not know is quoted.
pub fn kind_word(kind: &EventKind) -> String {
    match kind {
        EventKind::Outage => "outage".to_owned(),
        EventKind::Issue => "issue".to_owned(),
        EventKind::Performance => "slow performance".to_owned(),
        EventKind::Maintenance => "maintenance".to_owned(),
        EventKind::Other(word) if word.is_empty() => "problem".to_owned(),
        EventKind::Other(word) => format!("problem (\u{201c}{word}\u{201d})"),
    }
}

/// `an outage`, `an issue` …
fn problem(change: &Change) -> String {
    match &change.outage_kind {
        Some(EventKind::Outage) => "an outage".to_owned(),
        Some(EventKind::Issue) => "an issue".to_owned(),
        Some(EventKind::Performance) => "slow performance".to_owned(),
        Some(EventKind::Maintenance) => "maintenance".to_owned(),
        Some(EventKind::Other(word)) if !word.is_empty() => format!("a problem (\u{201c}{word}\u{201d})"),
        Some(EventKind::Other(_)) | None => "a problem".to_owned(),
    }
}

fn affected(change: &Change) -> String {
    change.users_affected.as_deref().map(sentence).unwrap_or_default()
}

fn quoted(change: &Change) -> String {
    match change.message.as_str() {
        "" => String::new(),
        text => format!("Apple writes: \u{201c}{text}\u{201d}"),
    }
}

/// Both times of rule 12, so that nobody has to take our word for when.
fn sights(change: &Change, said: &Said) -> String {
    let at = |time| when(time, said.now, said.zone);
    let (seen, confirmed) = (at(change.seen_at), at(change.at));
    if seen == confirmed {
        return format!("Seen twice at {seen}.");
    }
    format!("Seen at {seen}, confirmed at {confirmed}.")
}

/// `from 08:15 to 10:04`, or as much of it as is known.
fn span(change: &Change, said: &Said) -> String {
    let at = |time| when(time, said.now, said.zone);
    match (change.began_at, change.ended_at) {
        (Some(from), Some(to)) => from_to(from, to, said.now, said.zone),
        (Some(from), None) => format!("from {} on", at(from)),
        (None, Some(to)) => format!("until {}", at(to)),
        (None, None) => "for a while".to_owned(),
    }
}

/// `From 08:15 to 10:04 (1 h 49 min).`
fn whole(change: &Change, said: &Said) -> String {
    let span = sentence(&span(change, said));
    match (change.began_at, change.ended_at) {
        (Some(from), Some(to)) => format!("{} ({}).", span.trim_end_matches('.'), lasted(from, to)),
        _ => span,
    }
}

/// `Since 08:15 (3 h).`, or `Since 08:15; so it still was at 11:15.` where that is a while ago.
fn so_far(change: &Change, said: &Said) -> String {
    let at = |time| when(time, said.now, said.zone);
    match change.began_at {
        Some(began) if said.now.duration_since(change.at) > FRESH => {
            format!("Since {}; so it still was at {}.", at(began), at(change.at))
        }
        Some(began) => format!("Since {} ({}).", at(began), lasted(began, change.at)),
        None => format!("First seen at {}.", at(change.seen_at)),
    }
}

/// `2,016 looks since Mon 4 May 09:00, the last good one at 08:55.`
fn alive(change: &Change, said: &Said) -> String {
    let at = |time| when(time, said.now, said.zone);
    let since = change.began_at.map(|since| format!(" since {}", at(since))).unwrap_or_default();
    let last = match change.ended_at {
        Some(last) => format!("the last good one at {}", at(last)),
        None => "none of them good".to_owned(),
    };
    format!("{} looks{since}, {last}.", change.message)
}

/// `Your iPhone's last backup: 9 h before it began (Mon 4 May 23:15).` With several phones the one
/// that lies furthest back; which phone it is a channel need not know.
fn last_backup(news: &News, said: &Said) -> String {
    let Some(LastBackup { at, read_at, phones }) = news.phone else { return String::new() };
    let time = |time| when(time, said.now, said.zone);
    let whose = match phones {
        0 | 1 => "Your iPhone's last backup".to_owned(),
        _ => format!("The oldest last backup of your {phones} iPhones"),
    };
    let as_of = match said.now.duration_since(read_at) > SAID_LATELY {
        true => format!(", as of {}", time(read_at)),
        false => String::new(),
    };
    let lies = match (news.change.began_at, news.change.ended_at) {
        (_, Some(ended)) if at >= ended => format!("{} after it ended ({})", lasted(ended, at), time(at)),
        (Some(began), _) if at < began => format!("{} before it began ({})", lasted(at, began), time(at)),
        (Some(_), Some(_)) => format!("while it lasted ({})", time(at)),
        (Some(began), None) => format!("{} after it began ({})", lasted(began, at), time(at)),
        (None, _) => time(at),
    };
    format!("{whose}{as_of}: {lies}.")
}

/// `3 days`: what is late is so by whole days.
fn whole_days(change: &Change) -> String {
    let since = change.began_at.unwrap_or(change.at);
    match change.at.duration_since(since).as_hours() / 24 {
        1 => "a day".to_owned(),
        days => format!("{days} days"),
    }
}

/// `Not since Mon 4 May 23:15, and Apple reports no outage.`
fn late(change: &Change, said: &Said) -> String {
    let at = |time| when(time, said.now, said.zone);
    let apple = match said.now.duration_since(change.at) > FRESH {
        true => format!("Apple reported no outage at {}", at(change.at)),
        false => "Apple reports no outage".to_owned(),
    };
    change.began_at.map_or(String::new(), |last| format!("Not since {}, and {apple}.", at(last)))
}

/// `It lasted 1 h 49 min.`
fn lasting(change: &Change) -> String {
    match (change.began_at, change.ended_at) {
        (Some(from), Some(to)) => format!("It lasted {}.", lasted(from, to)),
        _ => String::new(),
    }
}

/// With a capital and a full stop, if it has none of its own.
fn sentence(text: &str) -> String {
    let text = text.trim();
    let stop = if text.ends_with(['.', '!', '?', '\u{3002}']) { "" } else { "." };
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => format!("{}{}{stop}", first.to_uppercase(), chars.as_str()),
        None => String::new(),
    }
}

fn join(sentences: &[&str]) -> String {
    let spoken: Vec<&str> = sentences.iter().copied().filter(|sentence| !sentence.is_empty()).collect();
    spoken.join(" ")
}
