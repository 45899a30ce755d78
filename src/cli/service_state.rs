//! The states of services in one document, for `check` and `services`.
//!
//! Classifies events as `tracking` does, but without history: an outage that Apple no longer lists is not
//! included. A service that is not listed or not readable is "cannot tell", never "fine"
//! (`an_unknown_state_is_not_fine`).

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::delivery::message::advice::{NO_PROBLEM, advice};
use crate::model::{ChangeKind, Document, Event, EventKind, Listing, ServiceKey};
use crate::report::services::{EventFacts, ServiceFacts};
use crate::report::state::State;
use crate::text;
use crate::tracking::watchlist::Pattern;
use crate::tracking::{EventState, observe};

use super::phrases::{kind_word, printable, span, under_way};
use super::terminal::{Style, Terminal};

/// The age up to which a past event is shown.
const RECENT: SignedDuration = SignedDuration::from_hours(72);
const INDENT: usize = 2;

/// Returns the style of a state.
pub fn style(state: State) -> Style {
    match state {
        State::Outage => Style::Bad,
        State::CannotTell | State::Issue => Style::Warning,
        State::Maintenance => Style::Planned,
        State::Fine => Style::Good,
    }
}

/// The reason why the state of a service is unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnknownReason {
    /// Apple does not list the name; `near` holds the nearest names.
    NotListed { near: Vec<String> },
    /// Apple's entry has an unknown format.
    Malformed,
}

/// An event and its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub state: EventState,
    pub kind: EventKind,
    pub event: Event,
}

/// The state of a service in a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceReport {
    /// Apple's spelling, or the requested name if Apple does not list it.
    pub service: String,
    pub state: State,
    pub reason: Option<UnknownReason>,
    /// Most severe first, then newest first.
    pub entries: Vec<Entry>,
}

/// Returns a report for each service that matches `patterns`, in their order and each once. Without patterns,
/// returns all services.
pub fn reports(document: &Document, patterns: &[String], now: Timestamp) -> Vec<ServiceReport> {
    let mut keys: Vec<ServiceKey> = Vec::new();
    let mut all = Vec::new();
    let everything = ["*".to_owned()];
    for text in if patterns.is_empty() { &everything } else { patterns } {
        let pattern = Pattern::new(text);
        let exact = document.services.get_key_value(&ServiceKey::new(text));
        let found: Vec<(&ServiceKey, &Listing)> = match exact {
            // A name may contain glob characters.
            Some(found) => vec![found],
            None => document.services.iter().filter(|(key, _)| pattern.matches(key)).collect(),
        };
        if found.is_empty() && !keys.contains(&ServiceKey::new(text)) {
            keys.push(ServiceKey::new(text));
            all.push(not_listed(document, &pattern.text));
        }
        for (key, listing) in found {
            if !keys.contains(key) {
                keys.push(key.clone());
                all.push(report(listing, now));
            }
        }
    }
    all
}

fn not_listed(document: &Document, name: &str) -> ServiceReport {
    let near = text::near(name, document.services.values().map(|listing| listing.name.as_str()));
    let reason = Some(UnknownReason::NotListed { near: near.into_iter().map(str::to_owned).collect() });
    ServiceReport { service: name.to_owned(), state: State::CannotTell, reason, entries: Vec::new() }
}

fn report(listing: &Listing, now: Timestamp) -> ServiceReport {
    let entries = listing.events.iter().filter_map(|event| {
        let observed = observe(event, None, now)?;
        Some(Entry { state: observed.state, kind: observed.kind, event: event.clone() })
    });
    let mut entries: Vec<Entry> = entries.collect();
    entries.sort_by_key(|entry| (state_of(entry), std::cmp::Reverse(entry.event.start)));
    let state = entries.iter().map(state_of).min().unwrap_or(State::Fine);
    let reason = (listing.malformed && state == State::Fine).then_some(UnknownReason::Malformed);
    let state = if reason.is_some() { State::CannotTell } else { state };
    ServiceReport { service: listing.name.clone(), state, reason, entries }
}

fn state_of(entry: &Entry) -> State {
    match (entry.state, &entry.kind) {
        (EventState::Down, EventKind::Outage) => State::Outage,
        (EventState::Down, _) => State::Issue,
        (EventState::Running, _) => State::Maintenance,
        (EventState::Planned | EventState::Over, _) => State::Fine,
    }
}

impl ServiceReport {
    /// Returns `outage since 08:15 (1 h 49 min)`, or `cannot tell: not in Apple's list; did you mean …?`.
    pub fn summary(&self, terminal: &Terminal) -> String {
        match (&self.reason, self.current().next()) {
            (Some(UnknownReason::NotListed { near }), _) if near.is_empty() => {
                "cannot tell: not in Apple's list; `statusd services` shows all names".to_owned()
            }
            (Some(UnknownReason::NotListed { near }), _) => {
                let names: Vec<String> = near.iter().map(|name| printable(name)).collect();
                format!("cannot tell: not in Apple's list; did you mean {}?", names.join(" or "))
            }
            (Some(UnknownReason::Malformed), _) => {
                "cannot tell: Apple's entry has an unknown format".to_owned()
            }
            (None, None) => NO_PROBLEM.to_owned(),
            (None, Some(worst)) => under_way(&worst.kind, worst.event.start, worst.event.end, terminal),
        }
    }

    /// Renders a paragraph: the state, Apple's text, advice, recent and planned events.
    pub fn paragraph(&self, terminal: &Terminal) -> String {
        let mut text = self.headline(terminal);
        for entry in self.current() {
            for line in details(&entry.event) {
                text.push_str(&terminal.paragraph(INDENT, &line));
            }
        }
        let advised = self.current().any(|entry| entry.state == EventState::Down);
        if advised {
            text.push_str(&terminal.paragraph(INDENT, advice(ChangeKind::Began, &self.service)));
        }
        for (label, entry) in self.others(terminal.now) {
            let is_over = entry.state == EventState::Over;
            let span = span(entry.event.start, entry.event.end, is_over, terminal);
            text.push_str(
                &terminal.paragraph(INDENT, &format!("{label}: {} {span}", kind_word(&entry.kind))),
            );
        }
        text
    }

    /// Renders the name and the summary, in the style of the state.
    pub fn headline(&self, terminal: &Terminal) -> String {
        let name = format!("{}:", printable(&self.service));
        let whole = terminal.paragraph(0, &format!("{name} {}", self.summary(terminal)));
        let mut lines = whole.lines();
        let first = lines.next().unwrap_or_default();
        let rest = lines.map(|line| format!("  {}\n", terminal.paint(style(self.state), line)));
        let rest: String = rest.collect();
        match first.strip_prefix(&name) {
            Some(state) => {
                format!(
                    "{}{}\n{rest}",
                    terminal.paint(Style::Bold, &name),
                    terminal.paint(style(self.state), state)
                )
            }
            None => whole,
        }
    }

    fn current(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| matches!(entry.state, EventState::Down | EventState::Running))
    }

    /// Returns recent and planned events.
    fn others(&self, now: Timestamp) -> impl Iterator<Item = (&'static str, &Entry)> {
        self.entries.iter().filter_map(move |entry| match entry.state {
            EventState::Planned => Some(("Planned", entry)),
            EventState::Over if is_recent(&entry.event, now) => Some(("Recent", entry)),
            EventState::Over | EventState::Down | EventState::Running => None,
        })
    }

    pub fn json(&self) -> Value {
        let (reason, near) = match &self.reason {
            None => (None, &[][..]),
            Some(UnknownReason::NotListed { near }) => (Some("not_listed"), near.as_slice()),
            Some(UnknownReason::Malformed) => (Some("not_readable"), &[][..]),
        };
        let facts = ServiceFacts {
            service: &self.service,
            state: self.state,
            since: self.current().next().and_then(|entry| entry.event.start),
            reason,
            did_you_mean: near,
            events: self.entries.iter().map(Entry::facts).collect(),
        };
        facts.json()
    }
}

impl Entry {
    fn facts(&self) -> EventFacts<'_> {
        EventFacts {
            message_id: &self.event.message_id,
            kind: &self.kind,
            state: match self.state {
                EventState::Planned => "planned",
                EventState::Running | EventState::Down => "ongoing",
                EventState::Over => "over",
            },
            began_at: self.event.start,
            ended_at: self.event.end,
            users_affected: self.event.users_affected.as_deref(),
            apple_text: &self.event.message,
        }
    }
}

fn details(event: &Event) -> Vec<String> {
    let mut lines = Vec::new();
    if !event.message.is_empty() {
        lines.push(format!("Apple writes: “{}”", printable(&event.message)));
    }
    lines.extend(event.users_affected.as_deref().map(|users| {
        let users = printable(users);
        if users.ends_with(['.', '。']) { users } else { format!("{users}.") }
    }));
    lines
}

fn is_recent(event: &Event, now: Timestamp) -> bool {
    event.end.or(event.start).is_some_and(|time| now.duration_since(time) <= RECENT)
}

#[cfg(test)]
pub mod tests {
    use serde_json::json;

    use super::super::terminal::tests::UTC;
    use super::*;
    use crate::feed::parse;
    pub const NOW: &str = "2026-05-05T12:00:00Z";

    /// Returns a document with one service in each state.
    pub fn document() -> Document {
        let event = |id: &str, status: &str, kind: &str, start: &str, end: Option<&str>, text: &str| {
            let millis = |time: &str| time.parse::<Timestamp>().expect("a time").as_millisecond();
            json!({"messageId": id, "eventStatus": status, "statusType": kind,
                   "epochStartDate": millis(start), "epochEndDate": end.map(millis), "message": text,
                   "usersAffected": "Some users are affected"})
        };
        let down = event(
            "1",
            "ongoing",
            "Outage",
            "2026-05-05T10:11:00Z",
            None,
            "Users may be unable to back up their devices to iCloud, or to restore from a backup that was made before.",
        );
        let over =
            event("2", "resolved", "Issue", "2026-05-04T10:00:00Z", Some("2026-05-04T11:30:00Z"), "Slow.");
        let old =
            event("3", "resolved", "Issue", "2026-04-01T10:00:00Z", Some("2026-04-01T11:30:00Z"), "Slow.");
        let running = event(
            "4",
            "ongoing",
            "Maintenance",
            "2026-05-05T11:00:00Z",
            Some("2026-05-05T14:00:00Z"),
            "Planned work.",
        );
        let planned = event(
            "5",
            "upcoming",
            "Maintenance",
            "2026-05-09T06:00:00Z",
            Some("2026-05-09T07:00:00Z"),
            "Planned work.",
        );
        let new_word = event("6", "investigating", "Outage", "2026-05-05T11:00:00Z", None, "");
        let service = |name: &str, events: Value| json!({"serviceName": name, "events": events});
        let services = json!({"services": [
            service("iCloud Backup", json!([over, down])),
            service("Photos", json!([over, old, planned])),
            service("iCloud Mail", json!([new_word])),
            service("Apple Pay Developer | Apple Pay Demo", json!([running])),
            service("Mail Drop", json!("?")),
            service("iCloudバックアップ", json!([])),
        ]});
        parse::parse(services.to_string().as_bytes()).expect("a document")
    }

    pub fn terminal(color: bool) -> Terminal<'static> {
        Terminal { width: 80, color, zone: &UTC, now: NOW.parse().expect("a time") }
    }

    #[track_caller]
    fn check(patterns: &[&str], expected: &str) {
        let patterns: Vec<String> = patterns.iter().map(|name| (*name).to_owned()).collect();
        let terminal = terminal(false);
        let drawn: String = reports(&document(), &patterns, terminal.now)
            .iter()
            .map(|report| report.paragraph(&terminal))
            .collect();
        assert_eq!(drawn, expected);
    }

    #[test]
    fn an_outage_has_all_details_and_advice() {
        check(
            &["icloud  backup"],
            "\
iCloud Backup: outage since 10:11 (1 h 49 min)
  Apple writes: “Users may be unable to back up their devices to iCloud, or to
  restore from a backup that was made before.”
  Some users are affected.
  Wait: your iPhone backs up by itself once Apple has fixed it. Do not reset or
  erase it.
  Recent: issue from Mon 4 May 10:00 to 11:30 (1 h 30 min)
",
        );
    }

    #[test]
    fn past_and_planned_events_are_not_problems() {
        check(
            &["Photos"],
            "\
Photos: Apple lists no problem
  Planned: maintenance from Sat 9 May 06:00 to 07:00 (1 h)
  Recent: issue from Mon 4 May 10:00 to 11:30 (1 h 30 min)
",
        );
    }

    #[test]
    fn maintenance_has_its_end_and_a_future_start_is_not_since() {
        check(
            &["Apple Pay*"],
            "\
Apple Pay Developer | Apple Pay Demo: maintenance since 11:00 (1 h), planned
  until 14:00
  Apple writes: “Planned work.”
  Some users are affected.
",
        );
        let mut document = document();
        let listing = document.services.get_mut(&ServiceKey::new("iCloud Backup")).expect("listed");
        for event in &mut listing.events {
            event.start = Some("2026-05-05T15:00:00Z".parse().expect("a time"));
            event.end = None;
        }
        let terminal = terminal(false);
        let text = reports(&document, &["icloud backup".to_owned()], terminal.now)[0].paragraph(&terminal);
        assert!(text.starts_with("iCloud Backup: outage starting at 15:00 according to Apple\n"), "{text}");
        assert!(text.ends_with("\n  Recent: issue from 15:00; Apple gives no end time\n"), "{text}");
    }

    #[test]
    fn an_unknown_state_is_not_fine() {
        check(
            &["iCloud Bakup", "Mail Drop", "Xyzzy"],
            "\
iCloud Bakup: cannot tell: not in Apple's list; did you mean iCloud Backup or
  iCloud Mail?
Mail Drop: cannot tell: Apple's entry has an unknown format
Xyzzy: cannot tell: not in Apple's list; `statusd services` shows all names
",
        );
    }

    #[test]
    fn globs_match_each_service_once_and_unknown_words_are_problems() {
        let names = |patterns: &[&str]| {
            let patterns: Vec<String> = patterns.iter().map(|name| (*name).to_owned()).collect();
            let found = reports(&document(), &patterns, terminal(false).now);
            found.into_iter().map(|report| (report.service, report.state)).collect::<Vec<_>>()
        };
        let mail = ("iCloud Mail".to_owned(), State::Outage);
        assert_eq!(names(&["icloud mail", "*mail"]), [mail]);
        assert_eq!(names(&["Apple Pay*"])[0].1, State::Maintenance);
        assert_eq!(names(&[]).len(), 6);
    }
}
