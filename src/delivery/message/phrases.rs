//! The sentences about one piece of news, below its title. The advice is in `advice`.
//!
//! Apple's own text is always quoted.

use jiff::{SignedDuration, Timestamp};

pub use super::advice::severity;
use super::time_format::{self, lasted, when};
use super::title::still;
use super::{News, RenderContext};
use crate::model::{Change, ChangeKind, EventKind, LastBackup, Outage, OverBy, Phase};
use crate::text::{self, grouped};

/// The maximum number of names in one line. Real incidents have up to about sixty.
const NAMES_MAX: usize = 100;
/// The maximum length of Apple's text in a bubble, so that the rest stays on the screen.
const EXCERPT_MAX_CHARS: usize = 160;

/// The maximum age of a statement in the present tense.
const FRESH: SignedDuration = SignedDuration::from_mins(10);
/// The maximum age of a phone's data without its time. An older reading may be outdated.
const READ_LATELY: SignedDuration = SignedDuration::from_hours(2);
const TEST: &str = "This is a test. Nothing is wrong. Messages about outages will arrive here.";

/// Returns all that is known in a few sentences, with times in the reader's zone.
pub fn details(news: &News, ctx: &RenderContext) -> String {
    let (change, backup) = (news.change, last_backup(news, ctx));
    match change.kind {
        ChangeKind::Began | ChangeKind::Reopened | ChangeKind::Worsened | ChangeKind::Eased => {
            join(&[&summary(change, ctx), &quoted(change), &poll_times(change, ctx), &backup])
        }
        ChangeKind::Ended => join(&[&summary(change, ctx), &poll_times(change, ctx), &backup]),
        ChangeKind::Missed => join(&[&summary(change, ctx), &affected(change), &quoted(change), &backup]),
        ChangeKind::Withdrawn => join(&[&summary(change, ctx), &backup]),
        ChangeKind::Planned
        | ChangeKind::Started
        | ChangeKind::Moved
        | ChangeKind::Revised
        | ChangeKind::Corrected
        | ChangeKind::Noted
        | ChangeKind::Reminder => join(&[&summary(change, ctx), &quoted(change)]),
        ChangeKind::Over
        | ChangeKind::Cancelled
        | ChangeKind::Unlisted
        | ChangeKind::ListedAgain
        | ChangeKind::Unreadable
        | ChangeKind::Readable
        | ChangeKind::HistoryLost
        | ChangeKind::Liveness
        | ChangeKind::BackupLate
        | ChangeKind::BackupOff
        | ChangeKind::Test => summary(change, ctx),
    }
}

/// Returns the first sentences of the details, short enough for a bubble.
pub fn summary(change: &Change, ctx: &RenderContext) -> String {
    let at = |time: Timestamp| when(time, ctx.now, ctx.zone);
    match change.kind {
        ChangeKind::Began => join(&[&reported(change, "", ctx), &affected(change)]),
        ChangeKind::Reopened => join(&[&reported(change, " again", ctx), &affected(change)]),
        ChangeKind::Worsened | ChangeKind::Eased => join(&[
            &format!("Apple now reports {}.", problem(change)),
            &began(change, ctx),
            &affected(change),
        ]),
        ChangeKind::Ended => join(&["Apple says it is fixed.", &span_sentence(change, ctx)]),
        ChangeKind::Missed => join(&[&span_sentence(change, ctx), &posted(change, ctx)]),
        ChangeKind::Readable => span_sentence(change, ctx),
        ChangeKind::Withdrawn => withdrawn(change, ctx),
        ChangeKind::Planned
        | ChangeKind::Started
        | ChangeKind::Over
        | ChangeKind::Revised
        | ChangeKind::Corrected
        | ChangeKind::Noted => span_sentence(change, ctx),
        ChangeKind::Moved => sentence(&format!("now {}", span(change, ctx))),
        ChangeKind::Cancelled => {
            let planned = sentence(&format!("it was planned {}", span(change, ctx)));
            join(&[&planned, &format!("Apple dropped it at {}.", at(change.seen_at))])
        }
        ChangeKind::Unlisted if !change.near.is_empty() => format!(
            "Apple's status page lists no service with this name. Did you mean {}?",
            change.near.join(" or ")
        ),
        ChangeKind::Unlisted => {
            format!("Apple's status page has not listed it since {}.", at(change.seen_at))
        }
        ChangeKind::ListedAgain => {
            format!(
                "Apple's status page now lists it (seen at {}). statusd watches it from now on.",
                at(change.seen_at)
            )
        }
        ChangeKind::Unreadable => {
            let is_unreadable = match change.began_at {
                Some(began) => format!("has been unreadable since {}", at(began)),
                None => "is unreadable".to_owned(),
            };
            format!("Apple's status page {is_unreadable}: {}.", change.message)
        }
        ChangeKind::HistoryLost if change.message.is_empty() => {
            "The database was deleted, emptied or replaced by an older copy.".to_owned()
        }
        ChangeKind::HistoryLost => {
            format!("The database was damaged. The damaged file was kept as {}.", change.message)
        }
        ChangeKind::Reminder => join(&[&so_far(change, ctx), &affected(change)]),
        ChangeKind::Liveness => liveness(change, ctx),
        ChangeKind::BackupLate => late(change, ctx),
        ChangeKind::BackupOff => {
            let off = "iCloud Backup is switched off on your iPhone";
            match change.began_at {
                Some(last) => format!("{off}. Last backup: {}.", at(last)),
                None => format!("{off} (seen at {}).", at(change.seen_at)),
            }
        }
        ChangeKind::Test => TEST.to_owned(),
    }
}

fn withdrawn(change: &Change, ctx: &RenderContext) -> String {
    let (what, how) = if is_maintenance(change) { ("maintenance", "over") } else { ("problem", "fixed") };
    let open = format!("Apple no longer lists the {what} and does not say whether it is {how}.");
    let unlisted = format!("Not listed since {}.", when(change.seen_at, ctx.now, ctx.zone));
    join(&[&open, &began(change, ctx), &unlisted])
}

/// Returns the times alone, for one-line news.
pub fn times(news: &News, ctx: &RenderContext) -> String {
    let change = news.change;
    match (change.kind, change.began_at) {
        (ChangeKind::Withdrawn, _) => {
            format!("Not listed since {}.", when(change.seen_at, ctx.now, ctx.zone))
        }
        (kind, Some(_)) if kind.is_over() || is_maintenance(change) => span_sentence(change, ctx),
        (_, Some(began)) => since_words(began, ctx),
        (_, None) => format!("Seen at {}.", when(change.seen_at, ctx.now, ctx.zone)),
    }
}

/// Returns the reason why a message is late.
pub fn held_back(since: Timestamp, ctx: &RenderContext) -> String {
    format!("Held back since {}.", when(since, ctx.now, ctx.zone))
}

/// Returns `Still down: Photos since 08:15, App Store.`, one line per label.
pub fn still_ongoing(ongoing: &[&Outage], ctx: &RenderContext) -> Vec<String> {
    let mut lines: Vec<(&str, Vec<String>)> = Vec::new();
    for outage in ongoing {
        let name = match outage.start {
            Some(start) if start <= ctx.now => {
                format!("{} since {}", outage.service, when(start, ctx.now, ctx.zone))
            }
            Some(_) | None => outage.service.clone(),
        };
        let label = still(Some(&outage.kind));
        match lines.iter_mut().find(|(known, _)| *known == label) {
            Some((_, names)) => names.push(name),
            None => lines.push((label, vec![name])),
        }
    }
    lines.into_iter().map(|(label, names)| format!("{label}: {}.", listed(&names))).collect()
}

/// Returns `Already fixed: Photos at 10:04.`, and a second line for outages that Apple dropped.
pub fn already_over(over: &[&Outage], ctx: &RenderContext) -> Vec<String> {
    let (mut fixed, mut dropped) = (Vec::new(), Vec::new());
    for outage in over {
        match (outage.end, &outage.phase) {
            (_, Phase::Over(OverBy::Withdrawal)) => dropped.push(outage.service.clone()),
            (Some(end), _) => fixed.push(format!("{} at {}", outage.service, when(end, ctx.now, ctx.zone))),
            (None, _) => fixed.push(outage.service.clone()),
        }
    }
    [("Already fixed", fixed), ("No longer listed", dropped)]
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(label, names)| format!("{label}: {}.", listed(&names)))
        .collect()
}

/// Returns `A, B, C`, with a count instead of the names beyond the maximum.
pub fn listed<S: AsRef<str>>(names: &[S]) -> String {
    let shown: Vec<&str> = names.iter().take(NAMES_MAX).map(AsRef::as_ref).collect();
    match names.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {} more", shown.join(", "), grouped(more)),
    }
}

/// Returns `outage`, `issue` …; quotes a word of Apple's that is unknown.
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

/// `Apple reports an outage since 08:15.`
fn reported(change: &Change, again: &str, ctx: &RenderContext) -> String {
    let problem = problem(change);
    match change.began_at {
        Some(began) if began > ctx.now => {
            format!("Apple reports {problem}{again}. {}", since_words(began, ctx))
        }
        Some(began) => {
            let began = when(began, ctx.now, ctx.zone);
            let comma = if again.is_empty() { "" } else { "," };
            format!("Apple reports {problem}{again}{comma} since {began}.")
        }
        None => format!("Apple reports {problem}{again} and gives no start time."),
    }
}

/// `It began at 08:15.`
fn began(change: &Change, ctx: &RenderContext) -> String {
    match change.began_at {
        Some(began) if began > ctx.now => since_words(began, ctx),
        Some(began) => format!("It began at {}.", when(began, ctx.now, ctx.zone)),
        None => "Apple gives no start time.".to_owned(),
    }
}

/// Returns when a problem that is over was first seen.
fn posted(change: &Change, ctx: &RenderContext) -> String {
    let seen = when(change.seen_at, ctx.now, ctx.zone);
    match change.ended_at.is_none_or(|ended| change.seen_at >= ended) {
        true => format!("First seen at {seen}, after it had ended."),
        false => format!("First listed at {seen}."),
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

/// Returns Apple's text and the affected users, as far as [`details`] contains them.
pub fn apple_text(change: &Change) -> (&str, Option<&str>) {
    match change.kind {
        ChangeKind::Ended | ChangeKind::Withdrawn | ChangeKind::Over | ChangeKind::Cancelled => ("", None),
        _ => (&change.message, change.users_affected.as_deref()),
    }
}

fn affected(change: &Change) -> String {
    change.users_affected.as_deref().map(sentence).unwrap_or_default()
}

fn quoted(change: &Change) -> String {
    quotation(&change.message)
}

/// Returns Apple's text shortened for a bubble; empty for an outage that is over.
pub fn excerpt(change: &Change) -> String {
    match change.kind {
        ChangeKind::Ended | ChangeKind::Withdrawn | ChangeKind::Over => String::new(),
        // The message of a change without an event is already in the summary.
        _ if change.message_id.is_none() => String::new(),
        _ => quotation(&text::excerpt(&change.message, EXCERPT_MAX_CHARS)),
    }
}

fn quotation(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("Apple writes: \u{201c}{text}\u{201d}") }
}

/// Returns the times of the two polls that confirmed the change.
fn poll_times(change: &Change, ctx: &RenderContext) -> String {
    let at = |time| when(time, ctx.now, ctx.zone);
    let (seen, confirmed) = (at(change.seen_at), at(change.at));
    if seen == confirmed {
        return format!("Confirmed at {seen}.");
    }
    format!("Seen at {seen}, confirmed at {confirmed}.")
}

fn is_maintenance(change: &Change) -> bool {
    change.outage_kind.as_ref().is_some_and(EventKind::is_maintenance)
}

/// Returns `from 08:15 to 10:04 (1 h 49 min)`, or the known part of it.
fn span(change: &Change, ctx: &RenderContext) -> String {
    time_format::span(change.began_at, change.ended_at, change.kind.is_over(), ctx.now, ctx.zone)
}

/// Returns the span as a sentence.
fn span_sentence(change: &Change, ctx: &RenderContext) -> String {
    sentence(&span(change, ctx))
}

/// Returns `Since 08:15.`, or another sentence for a start in the future.
fn since_words(began: Timestamp, ctx: &RenderContext) -> String {
    let at = when(began, ctx.now, ctx.zone);
    if began > ctx.now { format!("Apple gives {at} as the start time.") } else { format!("Since {at}.") }
}

/// Returns `Since 08:15 (3 h).`, or `Since 08:15; last confirmed at 11:15.` if that is no longer fresh.
fn so_far(change: &Change, ctx: &RenderContext) -> String {
    let at = |time| when(time, ctx.now, ctx.zone);
    match change.began_at {
        Some(began) if began > change.at => since_words(began, ctx),
        Some(began) if ctx.now.duration_since(change.at) > FRESH => {
            format!("Since {}; last confirmed at {}.", at(began), at(change.at))
        }
        Some(began) => format!("Since {} ({}).", at(began), lasted(began, change.at)),
        None => format!("First seen at {}.", at(change.seen_at)),
    }
}

/// Returns `2,016 polls since Mon 4 May 09:00, the last successful one at 08:55.`
fn liveness(change: &Change, ctx: &RenderContext) -> String {
    let at = |time| when(time, ctx.now, ctx.zone);
    let since = change.began_at.map(|since| format!(" since {}", at(since))).unwrap_or_default();
    let last = match change.ended_at {
        Some(last) => format!("the last successful one at {}", at(last)),
        None => "none of them successful".to_owned(),
    };
    let polls = match change.message.parse() {
        Ok(number) => text::counted(number, "poll"),
        Err(_) => format!("{} polls", change.message),
    };
    format!("{polls}{since}, {last}.")
}

/// Returns `Your iPhone's last backup: 9 h before it began (Mon 4 May 23:15).` With several phones the
/// oldest backup, without naming the phone.
pub fn last_backup(news: &News, ctx: &RenderContext) -> String {
    let Some(LastBackup { at, read_at, phones }) = news.phone else { return String::new() };
    let time = |time| when(time, ctx.now, ctx.zone);
    let whose = match phones {
        0 | 1 => "Your iPhone's last backup".to_owned(),
        _ => format!("The oldest of your {phones} iPhones' last backups"),
    };
    let as_of = match ctx.now.duration_since(read_at) > READ_LATELY {
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

/// Returns `Last backup: Mon 4 May 23:15. Apple reports no outage.`
fn late(change: &Change, ctx: &RenderContext) -> String {
    let at = |time| when(time, ctx.now, ctx.zone);
    let apple = match ctx.now.duration_since(change.at) > FRESH {
        true => format!("Apple reported no outage at {}", at(change.at)),
        false => "Apple reports no outage".to_owned(),
    };
    change.began_at.map_or(String::new(), |last| format!("Last backup: {}. {apple}.", at(last)))
}

/// Capitalizes the text and adds a full stop if it has none.
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
    let present: Vec<&str> = sentences.iter().copied().filter(|sentence| !sentence.is_empty()).collect();
    present.join(" ")
}
