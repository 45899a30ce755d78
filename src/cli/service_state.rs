//! The states of services in one document, for `check` and `services`.
//!
//! Classifies events as `tracking` does, but without history: an outage that Apple no longer lists is not
//! included. A service that is not listed or not readable is "cannot tell", never "fine"
//! (`an_unknown_state_is_not_fine`).

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::delivery::message::advice::{NO_PROBLEM, advice};
use crate::model::{ChangeKind, Document, Event, EventKind, Listing, ServiceKey};
use crate::tracking::watchlist::{Pattern, near};
use crate::tracking::{EventState, seen};

use super::phrases::{kind_word, shown, span, under_way};
use super::terminal::{Ink, Page};

/// The age up to which a past event is shown.
const RECENT: SignedDuration = SignedDuration::from_hours(72);
const INDENT: usize = 2;

/// The state of a service, most severe first. Of several services, `check` exits with the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    Outage,
    CannotTell,
    Issue,
    Maintenance,
    Fine,
}

impl State {
    /// Returns the word in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Outage => "outage",
            State::CannotTell => "cannot_tell",
            State::Issue => "issue",
            State::Maintenance => "maintenance",
            State::Fine => "fine",
        }
    }

    pub fn ink(self) -> Ink {
        match self {
            State::Outage => Ink::Bad,
            State::CannotTell | State::Issue => Ink::Doubtful,
            State::Maintenance => Ink::Planned,
            State::Fine => Ink::Good,
        }
    }
}

/// The reason why the state of a service is unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Riddle {
    /// With the nearest names of the list.
    NotListed { near: Vec<String> },
    /// Its entry has a form that we do not know.
    Garbled,
}

/// An event and its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub stands: EventState,
    pub kind: EventKind,
    pub event: Event,
}

/// The state of a service in a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceReport {
    /// Apple's spelling, or the requested name if Apple does not list it.
    pub service: String,
    pub state: State,
    pub riddle: Option<Riddle>,
    /// The worst first, then by start.
    pub entries: Vec<Entry>,
}

/// What was asked for, each service once, in the order of the questions. No question: everything.
pub fn standings(document: &Document, asked: &[String], now: Timestamp) -> Vec<ServiceReport> {
    let mut keys: Vec<ServiceKey> = Vec::new();
    let mut all = Vec::new();
    let everything = ["*".to_owned()];
    for text in if asked.is_empty() { &everything } else { asked } {
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
                all.push(standing(listing, now));
            }
        }
    }
    all
}

fn not_listed(document: &Document, asked: &str) -> ServiceReport {
    let near = near(asked, document.services.values().map(|listing| listing.name.as_str()));
    let riddle = Some(Riddle::NotListed { near });
    ServiceReport { service: asked.to_owned(), state: State::CannotTell, riddle, entries: Vec::new() }
}

fn standing(listing: &Listing, now: Timestamp) -> ServiceReport {
    let entries = listing.events.iter().filter_map(|event| {
        let seen = seen(event, None, now)?;
        Some(Entry { stands: seen.stands, kind: seen.kind, event: event.clone() })
    });
    let mut entries: Vec<Entry> = entries.collect();
    entries.sort_by_key(|entry| (state_of(entry), std::cmp::Reverse(entry.event.start)));
    let state = entries.iter().map(state_of).min().unwrap_or(State::Fine);
    let riddle = (listing.garbled && state == State::Fine).then_some(Riddle::Garbled);
    let state = if riddle.is_some() { State::CannotTell } else { state };
    ServiceReport { service: listing.name.clone(), state, riddle, entries }
}

fn state_of(entry: &Entry) -> State {
    match (entry.stands, &entry.kind) {
        (EventState::Down, EventKind::Outage) => State::Outage,
        (EventState::Down, _) => State::Issue,
        (EventState::Running, _) => State::Maintenance,
        (EventState::Planned | EventState::Over, _) => State::Fine,
    }
}

impl ServiceReport {
    /// `outage since 08:15 (1 h 49 min)`; `not in Apple's list; did you mean …?`
    pub fn summary(&self, page: &Page) -> String {
        match (&self.riddle, self.current().next()) {
            (Some(Riddle::NotListed { near }), _) if near.is_empty() => {
                "cannot tell: not in Apple's list; `statusd services` shows all names".to_owned()
            }
            (Some(Riddle::NotListed { near }), _) => {
                let names: Vec<String> = near.iter().map(|name| shown(name)).collect();
                format!("cannot tell: not in Apple's list; did you mean {}?", names.join(" or "))
            }
            (Some(Riddle::Garbled), _) => "cannot tell: Apple's entry has an unknown format".to_owned(),
            (None, None) => NO_PROBLEM.to_owned(),
            (None, Some(worst)) => under_way(&worst.kind, worst.event.start, worst.event.end, page),
        }
    }

    /// A paragraph: the state, then what Apple writes, what to do, what was and what will be.
    pub fn paragraph(&self, page: &Page) -> String {
        let mut text = self.headline(page);
        for entry in self.current() {
            for line in details(&entry.event) {
                text.push_str(&page.paragraph(INDENT, &line));
            }
        }
        let advised = self.current().any(|entry| entry.stands == EventState::Down);
        if advised {
            text.push_str(&page.paragraph(INDENT, advice(ChangeKind::Began, &self.service)));
        }
        for (label, entry) in self.others(page.now) {
            let is_over = entry.stands == EventState::Over;
            let span = span(entry.event.start, entry.event.end, is_over, page);
            text.push_str(&page.paragraph(INDENT, &format!("{label}: {} {span}", kind_word(&entry.kind))));
        }
        text
    }

    /// The name and the state in words, the state in its colour.
    pub fn headline(&self, page: &Page) -> String {
        let name = format!("{}:", shown(&self.service));
        let whole = page.paragraph(0, &format!("{name} {}", self.summary(page)));
        let mut lines = whole.lines();
        let first = lines.next().unwrap_or_default();
        let rest = lines.map(|line| format!("  {}\n", page.paint(self.state.ink(), line)));
        let rest: String = rest.collect();
        match first.strip_prefix(&name) {
            Some(state) => {
                format!("{}{}\n{rest}", page.paint(Ink::Strong, &name), page.paint(self.state.ink(), state))
            }
            None => whole,
        }
    }

    fn current(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| matches!(entry.stands, EventState::Down | EventState::Running))
    }

    /// Returns recent and planned events.
    fn others(&self, now: Timestamp) -> impl Iterator<Item = (&'static str, &Entry)> {
        self.entries.iter().filter_map(move |entry| match entry.stands {
            EventState::Planned => Some(("Planned", entry)),
            EventState::Over if is_recent(&entry.event, now) => Some(("Lately", entry)),
            EventState::Over | EventState::Down | EventState::Running => None,
        })
    }

    pub fn json(&self) -> Value {
        let (reason, near) = match &self.riddle {
            None => (None, &[][..]),
            Some(Riddle::NotListed { near }) => (Some("not_listed"), near.as_slice()),
            Some(Riddle::Garbled) => (Some("not_readable"), &[][..]),
        };
        let since = self.current().next().and_then(|entry| entry.event.start);
        json!({
            "service": self.service,
            "state": self.state.as_str(),
            "since": since,
            "reason": reason,
            "did_you_mean": near,
            "events": self.entries.iter().map(Entry::json).collect::<Vec<Value>>(),
        })
    }
}

impl Entry {
    fn json(&self) -> Value {
        let state = match self.stands {
            EventState::Planned => "planned",
            EventState::Running | EventState::Down => "ongoing",
            EventState::Over => "over",
        };
        json!({
            "message_id": self.event.message_id,
            "outage_kind": self.kind.as_str(),
            "state": state,
            "began_at": self.event.start,
            "ended_at": self.event.end,
            "users_affected": self.event.users_affected,
            "apple_text": self.event.message,
        })
    }
}

fn details(event: &Event) -> Vec<String> {
    let mut lines = Vec::new();
    if !event.message.is_empty() {
        lines.push(format!("Apple writes: “{}”", shown(&event.message)));
    }
    lines.extend(event.users_affected.as_deref().map(|users| {
        let users = shown(users);
        if users.ends_with(['.', '。']) { users } else { format!("{users}.") }
    }));
    lines
}

fn is_recent(event: &Event, now: Timestamp) -> bool {
    event.end.or(event.start).is_some_and(|time| now.duration_since(time) <= RECENT)
}

#[cfg(test)]
pub mod tests {
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

    pub fn page(color: bool) -> Page<'static> {
        Page { width: 80, color, zone: &UTC, now: NOW.parse().expect("a time") }
    }

    #[track_caller]
    fn check(asked: &[&str], expected: &str) {
        let asked: Vec<String> = asked.iter().map(|name| (*name).to_owned()).collect();
        let page = page(false);
        let drawn: String = standings(&document(), &asked, page.now)
            .iter()
            .map(|standing| standing.paragraph(&page))
            .collect();
        assert_eq!(drawn, expected);
    }

    #[test]
    fn an_outage_says_all_that_is_known_and_what_to_do() {
        check(
            &["icloud  backup"],
            "\
iCloud Backup: outage since 10:11 (1 h 49 min)
  Apple writes: “Users may be unable to back up their devices to iCloud, or to
  restore from a backup that was made before.”
  Some users are affected.
  Wait: your iPhone backs up by itself once Apple has fixed it. Do not reset or
  erase it.
  Lately: issue from Mon 4 May 10:00 to 11:30 (1 h 30 min)
",
        );
    }

    #[test]
    fn what_was_and_what_will_be_is_no_trouble() {
        check(
            &["Photos"],
            "\
Photos: Apple lists no problem
  Planned: maintenance from Sat 9 May 06:00 to 07:00 (1 h)
  Lately: issue from Mon 4 May 10:00 to 11:30 (1 h 30 min)
",
        );
    }

    #[test]
    fn maintenance_says_until_when_and_a_start_ahead_is_no_since() {
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
        let page = page(false);
        let text = standings(&document, &["icloud backup".to_owned()], page.now)[0].paragraph(&page);
        assert!(text.starts_with("iCloud Backup: outage starting at 15:00 according to Apple\n"), "{text}");
        assert!(text.ends_with("\n  Lately: issue from 15:00; Apple gives no end time\n"), "{text}");
    }

    #[test]
    fn what_nobody_can_tell_is_not_fine() {
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
    fn globs_find_each_service_once_and_new_words_are_trouble() {
        let names = |asked: &[&str]| {
            let asked: Vec<String> = asked.iter().map(|name| (*name).to_owned()).collect();
            let found = standings(&document(), &asked, page(false).now);
            found.into_iter().map(|standing| (standing.service, standing.state)).collect::<Vec<_>>()
        };
        let mail = ("iCloud Mail".to_owned(), State::Outage);
        assert_eq!(names(&["icloud mail", "*mail"]), [mail]);
        assert_eq!(names(&["Apple Pay*"])[0].1, State::Maintenance);
        assert_eq!(names(&[]).len(), 6);
    }
}
