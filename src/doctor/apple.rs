//! The checks `apple` and `history`: the watched services now, last night and in the last 72 hours.
//!
//! The feed drops finished outages, is sometimes an old copy, and is posted late. A feed without a problem
//! therefore proves nothing. An outage that the feed no longer lists is not over, and an unreadable feed
//! is "cannot tell".

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::{Blame, Finding, Status};
use crate::delivery::message::advice::{NO_PROBLEM, POSTS_LATE, advice};
use crate::delivery::message::phrases::kind_word;
use crate::delivery::message::time_format;
use crate::doctor::guide::GuideStep;
use crate::feed::fetch::FetchError;
use crate::model::{
    ChangeKind, Document, Edition, Event, EventKind, Fault, FeedState, Outage, Phase, ServiceKey,
};
use crate::phones::backup_status::{Downtime, last_nights};
use crate::store::READ_LATELY;
use crate::text::{self, counted};
use crate::tracking::watchlist::Watchlist;
use crate::tracking::{EventState, newest_stamp, observe, published};

/// Apple lists finished outages for two to four days.
const RECENT_MAX_AGE: SignedDuration = SignedDuration::from_hours(72);
/// The most names in a line; the rest is "and 3 more".
const NAMES_MAX: usize = 3;
const APPLE: &str = "apple";
const HISTORY: &str = "history";
const BACK_UP: &str = "The phone catches up by itself the next night. To back up now: Settings, your name, iCloud, iCloud \
                       Backup, Back Up Now.";
const WAIT_FOR_MAINTENANCE: &str = "Wait until the maintenance is over. Your iPhone then backs up by itself.";

/// The recorded history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutageHistory {
    /// The outages of the watched services, without maintenance.
    pub outages: Vec<Outage>,
    /// The time spans in which the feed was polled and readable.
    pub covered: Vec<(Timestamp, Timestamp)>,
    /// The stored state of the feed, with the stamp of the newest accepted document.
    pub state: Option<FeedState>,
    pub last_readable: Option<Timestamp>,
}

/// The context of the checks of Apple and of the daemon.
#[derive(Clone, Copy, Debug)]
pub struct CheckContext<'a> {
    /// The watched names and globs, as configured.
    pub watch: &'a [String],
    pub now: Timestamp,
    pub zone: &'a TimeZone,
    /// The last backup of the connected phones. Outages that ended before no longer matter.
    pub last_backup: Option<Timestamp>,
    /// The edition of the fetched feed.
    pub edition: Edition,
}

/// An event of a watched service in the feed.
struct ListedEvent<'a> {
    service: &'a str,
    state: EventState,
    kind: EventKind,
    event: &'a Event,
}

impl ListedEvent<'_> {
    fn span(&self, context: &CheckContext) -> String {
        context.span(&self.kind, self.state, self.event.start, self.event.end)
    }
}

impl CheckContext<'_> {
    fn at(&self, time: Timestamp) -> String {
        time_format::when(time, self.now, self.zone)
    }

    /// Describes the time span of an event. `to` is the end or the announced end.
    fn span(
        &self,
        kind: &EventKind,
        state: EventState,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
    ) -> String {
        match state {
            EventState::Down | EventState::Running => {
                let planned_end = to.filter(|_| kind.is_maintenance());
                time_format::under_way(from, planned_end, self.now, self.zone)
            }
            EventState::Planned | EventState::Over => {
                time_format::span(from, to, state == EventState::Over, self.now, self.zone)
            }
        }
    }

    /// Returns whether the time span overlaps last night and the phone has not backed up since.
    fn overlapped_last_night(&self, start: Option<Timestamp>, end: Option<Timestamp>) -> bool {
        let end = end.unwrap_or(self.now);
        let overlaps = |(from, to)| start.is_some_and(|start| start < to) && end > from;
        last_nights(self.zone, self.now).any(overlaps) && self.last_backup.is_none_or(|last| last < end)
    }
}

/// Checks the watched services in the feed, now and last night.
pub fn diagnose_feed(
    feed: &Result<Document, FetchError>,
    history: Option<&OutageHistory>,
    context: &CheckContext,
) -> Finding {
    let document = match feed {
        Ok(document) => document,
        Err(error) => return unreadable(error, context),
    };
    let state = history.and_then(|history| history.state.as_ref());
    let stamp = published(&document.stamp, state.and_then(|state| state.date_order), context.now);
    if let (Some(stamp), Some(newest)) = (stamp, state.and_then(|state| newest_stamp(state, context.now)))
        && stamp < newest
    {
        let seen = format!("Apple served an old copy of its status, dated {}", context.at(stamp));
        return Finding::new(APPLE, Status::CannotTell, seen)
            .todo("Check again in a few minutes, because Apple's caches sometimes serve old copies.")
            .step(GuideStep::AppleStatus);
    }
    let events = listed_events(document, context);
    let finding = now(&events, context)
        .or_else(|| not_listed(document, context))
        .or_else(|| last_night(&events, context))
        .unwrap_or_else(|| no_problem(document, &events, context));
    finding.evidence(evidence(document, stamp, &events, context))
}

fn unreadable(error: &FetchError, context: &CheckContext) -> Finding {
    let todo = match error.fault() {
        Fault::Ours => "See the network checks below.".to_owned(),
        Fault::Apple => format!("Check again in a few minutes, or open {}.", context.edition.page()),
    };
    let seen = format!("cannot read Apple's status: {error}");
    Finding::new(APPLE, Status::CannotTell, seen).todo(todo).step(GuideStep::AppleStatus)
}

fn listed_events<'d>(document: &'d Document, context: &CheckContext) -> Vec<ListedEvent<'d>> {
    let watch = Watchlist::new(context.watch);
    let watched = document.services.iter().filter(|(key, _)| watch.matches(key));
    let events = watched.flat_map(|(_, listing)| listing.events.iter().map(move |event| (listing, event)));
    events
        .filter_map(|(listing, event)| {
            let seen = observe(event, None, context.now)?;
            Some(ListedEvent { service: &listing.name, state: seen.state, kind: seen.kind, event })
        })
        .collect()
}

fn now(events: &[ListedEvent], context: &CheckContext) -> Option<Finding> {
    let of = |state: EventState| events.iter().filter(move |event| event.state == state);
    let worst = of(EventState::Down).next().or(of(EventState::Running).next())?;
    let todo = match worst.state {
        EventState::Running => WAIT_FOR_MAINTENANCE,
        EventState::Down | EventState::Planned | EventState::Over => advice(ChangeKind::Began, worst.service),
    };
    let names = names(of(worst.state).map(|event| event.service));
    let since = worst.span(context);
    let finding =
        Finding::new(APPLE, Status::Problem, format!("{names}: {} {since}", kind_word(&worst.kind)))
            .blame(Blame::Apple)
            .todo(todo)
            .step(GuideStep::AppleStatus);
    Some(finding)
}

fn not_listed(document: &Document, context: &CheckContext) -> Option<Finding> {
    let is_listed = |name: &&String| {
        let watch = Watchlist::new(&[name]);
        document.services.keys().any(|key| watch.matches(key))
    };
    let missing = context.watch.iter().find(|name| !is_listed(name))?;
    let near = text::near(missing, document.services.values().map(|listing| listing.name.as_str()));
    let todo = match near.as_slice() {
        [] => "`statusd services` shows the names that Apple uses.".to_owned(),
        near => format!("Did you mean {}? Correct the watch list.", near.join(" or ")),
    };
    Some(
        Finding::new(APPLE, Status::CannotTell, format!("Apple's status does not list {missing:?}"))
            .todo(todo),
    )
}

/// Reports an outage that is over but overlapped the time in which the phone would have backed up.
fn last_night(events: &[ListedEvent], context: &CheckContext) -> Option<Finding> {
    let over = events.iter().find(|listed| {
        listed.state == EventState::Over
            && !listed.kind.is_maintenance()
            && context.overlapped_last_night(listed.event.start, listed.event.end)
    })?;
    let span = over.span(context);
    let seen = format!("{}: {} {span}, last night; it is over", over.service, kind_word(&over.kind));
    Some(
        Finding::new(APPLE, Status::Problem, seen)
            .blame(Blame::Apple)
            .todo(BACK_UP)
            .step(GuideStep::BackUpNow),
    )
}

fn no_problem(document: &Document, events: &[ListedEvent], context: &CheckContext) -> Finding {
    let watch = Watchlist::new(context.watch);
    let watched = document.services.iter().filter(|(key, _)| watch.matches(key));
    let (names, malformed): (Vec<&str>, Vec<bool>) =
        watched.map(|(_, listing)| (listing.name.as_str(), listing.malformed)).unzip();
    if malformed.contains(&true) {
        let seen = "Apple's entry has an unknown format";
        return Finding::new(APPLE, Status::CannotTell, seen).step(GuideStep::AppleStatus);
    }
    let recent = events.iter().filter(|listed| {
        listed.state == EventState::Over
            && listed.event.end.is_some_and(|end| context.now.duration_since(end) <= RECENT_MAX_AGE)
    });
    let last = recent
        .max_by_key(|listed| listed.event.end)
        .map(|listed| format!("; {} {}", kind_word(&listed.kind), listed.span(context)));
    let names = self::names(names.into_iter());
    let seen = format!("{NO_PROBLEM} with {names} now{}", last.unwrap_or_default());
    Finding::new(APPLE, Status::Ok, seen)
}

fn evidence(
    document: &Document,
    stamp: Option<Timestamp>,
    events: &[ListedEvent],
    context: &CheckContext,
) -> Vec<String> {
    let services = counted(document.services.len(), "service");
    let stamp = match stamp {
        Some(stamp) => format!("published {}, {services}", context.at(stamp)),
        None => format!("without a date, {services}"),
    };
    let lines = events.iter().map(|listed| {
        let span = listed.span(context);
        let state = match listed.state {
            EventState::Down | EventState::Running => "ongoing",
            EventState::Planned => "planned",
            EventState::Over => "over",
        };
        format!("{}: {}, {state}, {span}", listed.service, kind_word(&listed.kind))
    });
    std::iter::once(stamp).chain(lines).chain([POSTS_LATE.to_owned()]).collect()
}

/// Checks the recorded outages: ongoing, no longer listed, and recent ones. `is_feed_read`: the feed was
/// read in this run, so the check `apple` covers the ongoing outages.
pub fn diagnose_history(
    history: Option<&OutageHistory>,
    is_feed_read: bool,
    context: &CheckContext,
) -> Finding {
    let Some(history) = history else {
        let seen = "no history on this computer; `statusd run` records one";
        return Finding::new(HISTORY, Status::Skipped, seen);
    };
    let of_phase =
        |matches: &dyn Fn(&Phase) -> bool| history.outages.iter().rfind(|outage| matches(&outage.phase));
    let unlisted = of_phase(&|phase| matches!(phase, Phase::Ongoing(Some(_))));
    let ongoing = of_phase(&|phase| matches!(phase, Phase::Ongoing(None))).filter(|_| !is_feed_read);
    let last_night = history
        .outages
        .iter()
        .rfind(|outage| outage.is_over() && context.overlapped_last_night(outage.start, outage.end));
    let recent = history.outages.iter().rfind(|outage| is_recent(outage, context));
    let finding = match (ongoing, unlisted, last_night, recent) {
        (Some(outage), ..) => still_ongoing(outage, history, context),
        (None, Some(outage), ..) => no_longer_listed(outage, context),
        (None, None, Some(outage), _) => {
            let seen = format!("{}, last night; it is over", line(outage, context));
            let finding = Finding::new(HISTORY, Status::Problem, seen).blame(Blame::Apple);
            finding.todo(BACK_UP).step(GuideStep::BackUpNow)
        }
        (None, None, None, Some(outage)) => Finding::new(
            HISTORY,
            Status::Ok,
            format!("most recent in the last 72 hours: {}", line(outage, context)),
        ),
        (None, None, None, None) => {
            Finding::new(HISTORY, Status::Ok, "no outage recorded in the last 72 hours")
        }
    };
    let last_read = history.last_readable.map(|time| format!("the feed was last read {}", context.at(time)));
    finding.evidence(
        last_read.into_iter().chain(history.outages.iter().rev().map(|outage| line(outage, context))),
    )
}

/// Reports an outage that was ongoing at the last successful poll, which may be long ago.
fn still_ongoing(outage: &Outage, history: &OutageHistory, context: &CheckContext) -> Finding {
    let seen_at = history.last_readable.unwrap_or(outage.first_seen);
    let is_fresh = context.now.duration_since(seen_at) <= READ_LATELY;
    let status = if is_fresh { Status::Problem } else { Status::Warning };
    let seen = format!("{}; last seen {}", line(outage, context), context.at(seen_at));
    Finding::new(HISTORY, status, seen)
        .blame(Blame::Apple)
        .todo(advice(ChangeKind::Began, &outage.service))
        .step(GuideStep::AppleStatus)
}

fn no_longer_listed(outage: &Outage, context: &CheckContext) -> Finding {
    let since = outage.start.map(|start| format!(" since {}", context.at(start))).unwrap_or_default();
    let missing = match &outage.phase {
        Phase::Ongoing(Some(missing)) => missing.since,
        Phase::Ongoing(None) | Phase::Planned(_) | Phase::Over(_) => outage.first_seen,
    };
    let seen = format!(
        "{}: {}{since}, not listed since {}; Apple does not say whether it is over",
        outage.service,
        kind_word(&outage.kind),
        context.at(missing)
    );
    Finding::new(HISTORY, Status::Warning, seen).blame(Blame::Apple).step(GuideStep::AppleStatus)
}

/// Returns `iCloud Backup: outage from 08:15 to 10:04 (1 h 49 min)`.
fn line(outage: &Outage, context: &CheckContext) -> String {
    let state = match outage.phase {
        Phase::Planned(_) => EventState::Planned,
        Phase::Ongoing(_) if outage.kind.is_maintenance() => EventState::Running,
        Phase::Ongoing(_) => EventState::Down,
        Phase::Over(_) => EventState::Over,
    };
    let span = context.span(&outage.kind, state, outage.start, outage.end);
    format!("{}: {} {span}", outage.service, kind_word(&outage.kind))
}

fn is_recent(outage: &Outage, context: &CheckContext) -> bool {
    match outage.phase {
        Phase::Ongoing(_) => true,
        Phase::Planned(_) => false,
        Phase::Over(_) => outage.end.is_some_and(|end| context.now.duration_since(end) <= RECENT_MAX_AGE),
    }
}

/// Returns the outages of iCloud Backup in the feed and in the history.
pub fn downtimes(
    document: Option<&Document>,
    history: Option<&OutageHistory>,
    context: &CheckContext,
) -> Vec<Downtime> {
    let listed = document.map(|document| listed_events(document, context)).unwrap_or_default();
    let of_feed = listed.iter().filter_map(|listed| {
        let is_outage =
            matches!(listed.state, EventState::Down | EventState::Over) && !listed.kind.is_maintenance();
        let to = listed.event.end.filter(|_| listed.state == EventState::Over);
        let counts = is_outage && ServiceKey::new(listed.service).is_backup();
        Some(Downtime { from: listed.event.start.filter(|_| counts)?, to })
    });
    let of_history = history.into_iter().flat_map(|history| history.outages.iter()).filter_map(downtime);
    of_feed.chain(of_history).collect()
}

/// Returns the time in which an outage prevented backups; `None` for other services and maintenance.
pub fn downtime(outage: &Outage) -> Option<Downtime> {
    let is_backup = ServiceKey::new(&outage.service).is_backup() && !outage.kind.is_maintenance();
    let to = match outage.phase {
        Phase::Ongoing(_) => None,
        Phase::Over(_) => Some(outage.end?),
        Phase::Planned(_) => return None,
    };
    Some(Downtime { from: outage.start.filter(|_| is_backup)?, to })
}

/// Returns `iCloud Backup, Photos and 3 more`, each name once.
fn names<'a>(all: impl Iterator<Item = &'a str>) -> String {
    let mut names: Vec<&str> = Vec::new();
    for name in all {
        if !names.iter().any(|known| ServiceKey::new(known) == ServiceKey::new(name)) {
            names.push(name);
        }
    }
    let more = names.len().saturating_sub(NAMES_MAX);
    names.truncate(NAMES_MAX);
    match more {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;
    use crate::feed::fetch::FailureKind;
    use crate::feed::parse;
    use crate::model::{Beliefs, Edition, FeedId, Missing, OverBy, Stamp};

    const BACKUP: &str = "iCloud Backup";

    fn at(text: &str) -> Timestamp {
        format!("2026-05-{text}:00Z").parse().expect("a time")
    }

    fn event(status: &str, kind: &str, from: &str, to: Option<&str>) -> Value {
        let millis = |text: &str| at(text).as_millisecond();
        json!({
            "messageId": format!("{status} {from}"), "eventStatus": status, "statusType": kind, "epochStartDate": millis(from),
            "epochEndDate": to.map(millis), "message": "", "datePosted": null, "usersAffected": null,
        })
    }

    fn document(events: &[Value]) -> Result<Document, FetchError> {
        let services = json!([
            {"serviceName": "iCloud Backup ", "events": events},
            {"serviceName": "Photos", "events": [event("ongoing", "Outage", "05T08:00", None)]},
        ]);
        Ok(parse::parse(json!({"services": services}).to_string().as_bytes()).expect("a document"))
    }

    fn failed(kind: FailureKind) -> Result<Document, FetchError> {
        Err(FetchError { kind, host: "www.apple.com".to_owned(), retry_after_s: None })
    }

    fn watch(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// Checks a feed on 5 May at noon UTC, so that the last night is that to 5 May.
    #[track_caller]
    fn check(feed: &Result<Document, FetchError>, status: Status, seen: &str) -> Finding {
        let watch = watch(&[BACKUP]);
        let context = CheckContext {
            watch: &watch,
            now: at("05T12:00"),
            zone: &TimeZone::UTC,
            last_backup: None,
            edition: Edition::Consumer,
        };
        let finding = diagnose_feed(feed, None, &context);
        assert_eq!((finding.status, finding.seen.as_str()), (status, seen));
        assert_eq!(finding.blame, (status == Status::Problem).then_some(Blame::Apple));
        finding
    }

    #[test]
    fn the_feed_is_checked_now_and_for_last_night() {
        let fine = "Apple lists no problem with iCloud Backup now";
        check(&document(&[]), Status::Ok, fine);
        let down = document(&[event("ongoing", "Outage", "05T10:30", None)]);
        let finding = check(&down, Status::Problem, "iCloud Backup: outage since 10:30 (1 h 30 min)");
        assert!(finding.todo.is_some_and(|todo| todo.starts_with("Wait: your iPhone")));
        let running = document(&[event("ongoing", "Maintenance", "05T10:30", Some("05T14:00"))]);
        let finding = check(
            &running,
            Status::Problem,
            "iCloud Backup: maintenance since 10:30 (1 h 30 min), planned until 14:00",
        );
        assert_eq!(finding.todo.as_deref(), Some(WAIT_FOR_MAINTENANCE));
        let planned = document(&[event("upcoming", "Maintenance", "06T10:30", Some("06T14:00"))]);
        check(&planned, Status::Ok, fine);
        let night = document(&[event("resolved", "Issue", "04T22:00", Some("05T01:00"))]);
        let seen = "iCloud Backup: issue from Mon 4 May 22:00 to 01:00 (3 h), last night; it is over";
        let finding = check(&night, Status::Problem, seen);
        assert!(finding.todo.is_some_and(|todo| todo.contains("Back Up Now")));
        // At 22:00 the night to 5 May is still the last complete one.
        let watch = watch(&[BACKUP]);
        let late = CheckContext {
            watch: &watch,
            now: at("05T22:00"),
            zone: &TimeZone::UTC,
            last_backup: None,
            edition: Edition::Consumer,
        };
        assert_eq!(diagnose_feed(&night, None, &late).status, Status::Problem);
        let day = document(&[event("resolved", "Issue", "04T12:00", Some("04T13:00"))]);
        check(&day, Status::Ok, &format!("{fine}; issue from Mon 4 May 12:00 to 13:00 (1 h)"));
        let old = document(&[event("resolved", "Issue", "01T12:00", Some("01T13:00"))]);
        check(&old, Status::Ok, fine);
    }

    #[test]
    fn an_outage_before_the_last_backup_no_longer_matters() {
        let watch = watch(&[BACKUP]);
        let night = document(&[event("resolved", "Outage", "04T22:00", Some("05T01:00"))]);
        for (last_backup, status) in
            [(Some("05T02:00"), Status::Ok), (Some("05T00:00"), Status::Problem), (None, Status::Problem)]
        {
            let last_backup = last_backup.map(at);
            let context = CheckContext {
                watch: &watch,
                now: at("05T12:00"),
                zone: &TimeZone::UTC,
                last_backup,
                edition: Edition::Consumer,
            };
            assert_eq!(diagnose_feed(&night, None, &context).status, status, "{last_backup:?}");
        }
    }

    #[test]
    fn an_unreadable_feed_is_never_ok() {
        let ours = failed(FailureKind::Dns);
        let seen = "cannot read Apple's status: cannot resolve www.apple.com (DNS): is this computer online?";
        let finding = check(&ours, Status::CannotTell, seen);
        assert!(finding.todo.is_some_and(|todo| todo.contains("network")));
        let theirs = failed(FailureKind::Http(503));
        let seen = "cannot read Apple's status: www.apple.com returned HTTP 503 (Service Unavailable)";
        assert!(check(&theirs, Status::CannotTell, seen).todo.is_some_and(|todo| todo.contains("apple.com")));
        let odd = document(&[json!(7)]);
        check(&odd, Status::CannotTell, "Apple's entry has an unknown format");
        let unknown = watch(&["iCloud Bakup"]);
        let context = CheckContext {
            watch: &unknown,
            now: at("05T12:00"),
            zone: &TimeZone::UTC,
            last_backup: None,
            edition: Edition::Consumer,
        };
        let finding = diagnose_feed(&document(&[]), None, &context);
        assert_eq!(finding.status, Status::CannotTell);
        assert_eq!(finding.todo.as_deref(), Some("Did you mean iCloud Backup? Correct the watch list."));
    }

    #[test]
    fn an_old_copy_is_cannot_tell() {
        let watch = watch(&[BACKUP]);
        let context = CheckContext {
            watch: &watch,
            now: at("05T12:00"),
            zone: &TimeZone::UTC,
            last_backup: None,
            edition: Edition::Consumer,
        };
        let copy =
            |stamp: &str| document(&[]).map(|document| Document { stamp: Stamp::at(at(stamp)), ..document });
        let feed = FeedId { edition: Edition::Consumer, locale: "en_US".to_owned() };
        let state = FeedState { stamp: Some(at("05T11:00")), ..Beliefs::new(feed).state };
        let history = OutageHistory { state: Some(state), ..OutageHistory::default() };
        assert_eq!(diagnose_feed(&copy("05T10:59"), Some(&history), &context).status, Status::CannotTell);
        assert_eq!(diagnose_feed(&copy("05T11:00"), Some(&history), &context).status, Status::Ok);
    }

    fn outage(phase: Phase, from: &str, to: Option<&str>) -> Outage {
        Outage {
            service: BACKUP.to_owned(),
            message_id: "1".to_owned(),
            occurrence: 1,
            kind: EventKind::Outage,
            phase,
            start: Some(at(from)),
            end: to.map(at),
            first_seen: at(from),
            users_affected: None,
            message: String::new(),
            counts: BTreeMap::new(),
        }
    }

    #[test]
    fn the_history_reports_outages_that_the_feed_no_longer_lists() {
        #[track_caller]
        fn check(outages: &[Outage], status: Status, seen: &str) {
            check_read(outages, true, "05T11:55", status, seen);
        }
        #[track_caller]
        fn check_read(
            outages: &[Outage],
            is_feed_read: bool,
            last_readable: &str,
            status: Status,
            seen: &str,
        ) {
            let context = CheckContext {
                watch: &[],
                now: at("05T12:00"),
                zone: &TimeZone::UTC,
                last_backup: None,
                edition: Edition::Consumer,
            };
            let last_readable = Some(at(last_readable));
            let history =
                OutageHistory { outages: outages.to_vec(), last_readable, ..OutageHistory::default() };
            let finding = diagnose_history(Some(&history), is_feed_read, &context);
            assert_eq!((finding.status, finding.seen.as_str()), (status, seen));
            assert_eq!(finding.blame.is_some(), status != Status::Ok);
        }
        check(&[], Status::Ok, "no outage recorded in the last 72 hours");
        let old = outage(Phase::Over(OverBy::Apple), "01T08:00", Some("01T09:00"));
        check(std::slice::from_ref(&old), Status::Ok, "no outage recorded in the last 72 hours");
        let over = outage(Phase::Over(OverBy::Apple), "05T08:00", Some("05T09:00"));
        let seen = "most recent in the last 72 hours: iCloud Backup: outage from 08:00 to 09:00 (1 h)";
        check(&[old, over.clone()], Status::Ok, seen);
        let missing = Missing { since: at("05T10:00"), fetches: 2 };
        let unlisted = outage(Phase::Ongoing(Some(missing)), "05T08:00", None);
        let seen = "iCloud Backup: outage since 08:00, not listed since 10:00; Apple does not say whether it is \
                    over";
        check(&[unlisted, over], Status::Warning, seen);
        let context = CheckContext {
            watch: &[],
            now: at("05T12:00"),
            zone: &TimeZone::UTC,
            last_backup: None,
            edition: Edition::Consumer,
        };
        assert_eq!(diagnose_history(None, true, &context).status, Status::Skipped);
        let night = outage(Phase::Over(OverBy::Apple), "04T22:00", Some("05T01:00"));
        let seen = "iCloud Backup: outage from Mon 4 May 22:00 to 01:00 (3 h), last night; it is over";
        check(&[night], Status::Problem, seen);
        let ongoing = outage(Phase::Ongoing(None), "05T08:00", None);
        check(
            std::slice::from_ref(&ongoing),
            Status::Ok,
            "most recent in the last 72 hours: iCloud Backup: outage since 08:00 (4 h)",
        );
        let seen = |last: &str| format!("iCloud Backup: outage since 08:00 (4 h); last seen {last}");
        let ongoing = std::slice::from_ref(&ongoing);
        check_read(ongoing, false, "05T10:30", Status::Problem, &seen("10:30"));
        check_read(ongoing, false, "05T10:29", Status::Warning, &seen("10:29"));
    }

    #[test]
    fn only_outages_of_icloud_backup_are_downtimes() {
        let everything = watch(&["*"]);
        let context = CheckContext {
            watch: &everything,
            now: at("05T12:00"),
            zone: &TimeZone::UTC,
            last_backup: None,
            edition: Edition::Consumer,
        };
        let listed = document(&[
            event("resolved", "Outage", "04T22:00", Some("05T01:00")),
            event("ongoing", "Maintenance", "05T10:30", Some("05T14:00")),
        ]);
        let missed = outage(Phase::Ongoing(None), "03T08:00", Some("09T08:00"));
        let planned = outage(Phase::Planned(None), "03T08:00", Some("09T08:00"));
        let history = OutageHistory { outages: vec![missed, planned], ..OutageHistory::default() };
        let expected = [
            Downtime { from: at("04T22:00"), to: Some(at("05T01:00")) },
            Downtime { from: at("03T08:00"), to: None },
        ];
        assert_eq!(downtimes(listed.as_ref().ok(), Some(&history), &context), expected);
    }
}
