//! The one sentence at the top of the page: is it Apple?
//!
//! Never "no problem" when statusd has not polled for a while (`an_old_poll_cannot_tell`).

use jiff::Timestamp;

use super::current::{Current, STALE_AFTER};
use crate::delivery::message::advice::advice;
use crate::delivery::message::phrases::kind_word;
use crate::delivery::message::time_format::when;
use crate::model::{ChangeKind, EventKind, Fault, FeedHealth, Listed, Outage, ServiceKey};
use crate::report::state::State;
use crate::text::{counted, plain_line};

/// The maximum number of services that a sentence names.
const NAMES_MAX: usize = 3;
/// The maximum number of groups of services that a sentence names.
const GROUPS_MAX: usize = 3;
/// The maximum length of a name on a page. Apple's longest has 35 characters.
pub const NAME_MAX_CHARS: usize = 100;

/// A service with its state.
#[derive(Clone, Debug)]
pub struct ServiceNow<'c> {
    pub key: &'c ServiceKey,
    /// As Apple writes it.
    pub name: &'c str,
    pub state: State,
    /// The ongoing events, most severe first.
    pub ongoing: Vec<&'c Outage>,
    pub is_watched: bool,
    /// Since then Apple does not list the service.
    pub unlisted_since: Option<Timestamp>,
}

impl ServiceNow<'_> {
    /// Returns Apple's start of the most severe event, or its first sighting.
    pub fn since(&self) -> Option<Timestamp> {
        self.ongoing.first().map(|outage| outage.start.unwrap_or(outage.first_seen))
    }

    /// Returns the part of addresses that names the service.
    pub fn slug(&self) -> String {
        self.key.slug('-', '_')
    }
}

/// A part of a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    Text(String),
    Time(Timestamp),
    /// A name of Apple's. Hostile until escaped.
    Name(String),
}

/// The answer to "is it Apple?" for the watched services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headline {
    /// The worst state.
    pub state: State,
    /// One sentence.
    pub sentence: Vec<Part>,
    /// What people should do; empty if there is nothing.
    pub advice: &'static str,
}

/// Watched services with the same problem since the same time.
struct Group<'c> {
    kind: &'c EventKind,
    /// `None` if Apple gives no start, or one in the future.
    since: Option<Timestamp>,
    names: Vec<&'c str>,
}

impl Current {
    /// Returns the time of the last successful poll of this run of the daemon, or of an earlier one.
    pub fn last_good_poll(&self) -> Option<Timestamp> {
        let stored = self.spans.iter().rev().find(|span| span.unreadable.is_none()).map(|span| span.to);
        self.status.last_good_poll_at.or(stored)
    }

    /// Returns the reason why the state of every service is unknown, as a sentence without a full stop.
    pub fn blind(&self) -> Option<String> {
        self.blind_parts().map(|parts| self.plain(&parts))
    }

    fn blind_parts(&self) -> Option<Vec<Part>> {
        let text = |text: &str| Some(vec![Part::Text(text.to_owned())]);
        let Some(last) = self.last_good_poll() else {
            return text("statusd has not read Apple's list yet");
        };
        if self.now.duration_since(last) > STALE_AFTER {
            return Some(vec![Part::Text("statusd last read Apple's list at ".to_owned()), Part::Time(last)]);
        }
        match &self.beliefs.state.health {
            FeedHealth::Unreadable { fault: Fault::Apple, .. } => text("Apple's list is unreadable"),
            FeedHealth::Unreadable { fault: Fault::Ours, .. } => text("statusd cannot reach Apple's list"),
            FeedHealth::Unknown | FeedHealth::Readable { .. } => None,
        }
    }

    /// Returns the sentence as text.
    pub fn plain(&self, parts: &[Part]) -> String {
        let text = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Time(time) => when(*time, self.now, &self.zone),
            Part::Name(name) => plain_line(name, NAME_MAX_CHARS),
        };
        parts.iter().map(text).collect()
    }

    /// Returns every service that Apple lists or listed, watched ones first, by name.
    pub fn services(&self) -> Vec<ServiceNow<'_>> {
        let is_blind = self.blind_parts().is_some();
        let real = self
            .beliefs
            .services
            .iter()
            .filter(|(_, service)| !matches!(service.listed, Listed::Never { .. }));
        let mut services: Vec<ServiceNow> = real
            .map(|(key, service)| {
                let of_service = self.beliefs.outages.iter().filter(|((of, _), _)| of == key);
                let mut ongoing: Vec<&Outage> = of_service
                    .map(|(_, outage)| outage)
                    .filter(|outage| State::of(outage) != State::Fine)
                    .collect();
                ongoing.sort_by_key(|outage| State::of(outage));
                let unlisted_since = match &service.listed {
                    Listed::No { since } => Some(*since),
                    Listed::Yes | Listed::Missing(_) | Listed::Never { .. } => None,
                };
                let state = match ongoing.first() {
                    _ if is_blind => State::CannotTell,
                    Some(outage) => State::of(outage),
                    None if unlisted_since.is_some() => State::CannotTell,
                    None => State::Fine,
                };
                let is_watched = self.watch.matches(key);
                ServiceNow { key, name: &service.name, state, ongoing, is_watched, unlisted_since }
            })
            .collect();
        services.sort_by_key(|service| (!service.is_watched, service.name.to_lowercase()));
        services
    }

    /// Returns the watched names that Apple never listed.
    pub fn unknown_names(&self) -> Vec<&str> {
        let services = self.beliefs.services.values();
        services
            .filter(|service| matches!(service.listed, Listed::Never { .. }))
            .map(|service| service.name.as_str())
            .collect()
    }

    /// Returns the answer for the watched services.
    pub fn verdict(&self, services: &[ServiceNow]) -> Headline {
        let watched: Vec<&ServiceNow> = services.iter().filter(|service| service.is_watched).collect();
        if let Some(reason) = self.blind_parts() {
            let mut sentence = vec![Part::Text("Cannot tell: ".to_owned())];
            sentence.extend(reason);
            return Headline { state: State::CannotTell, sentence: ended(sentence), advice: "" };
        }
        let groups = groups(&watched, self.now);
        let unlisted: Vec<&str> = self
            .unknown_names()
            .into_iter()
            .chain(
                watched
                    .iter()
                    .filter(|service| service.state == State::CannotTell)
                    .map(|service| service.name),
            )
            .collect();
        if !groups.is_empty() {
            let affected = || watched.iter().filter(|service| !service.ongoing.is_empty());
            let state = affected().map(|service| service.state).min().unwrap_or(State::CannotTell);
            let backup = affected().find(|service| service.key.is_backup());
            let name = backup.or(affected().next()).map_or("", |service| service.name);
            return Headline {
                state,
                sentence: troubles(&groups),
                advice: if state == State::Maintenance { "" } else { advice(ChangeKind::Began, name) },
            };
        }
        if !unlisted.is_empty() {
            let mut sentence = vec![Part::Text("Cannot tell: Apple does not list ".to_owned())];
            sentence.extend(listed(&unlisted));
            return Headline { state: State::CannotTell, sentence: ended(sentence), advice: "" };
        }
        if watched.is_empty() {
            let text = Part::Text("Cannot tell: Apple lists none of the watched services.".to_owned());
            return Headline { state: State::CannotTell, sentence: vec![text], advice: "" };
        }
        let mut sentence = vec![Part::Text("Apple lists no problem with ".to_owned())];
        match watched.len() {
            count if count > NAMES_MAX => {
                sentence.push(Part::Text(format!("the {}", counted(count, "watched service"))));
            }
            _ => sentence.extend(listed(&watched.iter().map(|service| service.name).collect::<Vec<_>>())),
        }
        Headline { state: State::Fine, sentence: ended(sentence), advice: "" }
    }
}

fn groups<'c>(watched: &[&ServiceNow<'c>], now: Timestamp) -> Vec<Group<'c>> {
    let mut troubled: Vec<&ServiceNow> = watched.iter().filter(|s| !s.ongoing.is_empty()).copied().collect();
    troubled.sort_by_key(|service| (service.state, service.since(), !service.key.is_backup()));
    let mut groups: Vec<Group> = Vec::new();
    for service in troubled {
        let Some(outage) = service.ongoing.first() else { continue };
        let since = outage.start.filter(|start| *start <= now);
        match groups.iter_mut().find(|group| *group.kind == outage.kind && group.since == since) {
            Some(group) => group.names.push(service.name),
            None => groups.push(Group { kind: &outage.kind, since, names: vec![service.name] }),
        }
    }
    groups
}

/// `Since 08:15 iCloud Backup has an outage; since 09:00 iCloud Mail has an issue.`
fn troubles(groups: &[Group]) -> Vec<Part> {
    let mut sentence = Vec::new();
    let text = |text: &str| Part::Text(text.to_owned());
    for (number, group) in groups.iter().take(GROUPS_MAX).enumerate() {
        if number > 0 {
            sentence.push(text("; "));
        }
        if let Some(since) = group.since {
            sentence.extend([
                text(if number == 0 { "Since " } else { "since " }),
                Part::Time(since),
                text(" "),
            ]);
        }
        sentence.extend(listed(&group.names));
        let is_one = group.names.len() == 1;
        sentence.push(Part::Text(match group.kind {
            EventKind::Maintenance if is_one => " is in maintenance".to_owned(),
            EventKind::Maintenance => " are in maintenance".to_owned(),
            kind => format!(" {} {}", if is_one { "has" } else { "have" }, with_article(kind)),
        }));
    }
    let more: usize = groups.iter().skip(GROUPS_MAX).map(|group| group.names.len()).sum();
    if more > 0 {
        sentence.push(Part::Text(format!("; {} in addition", counted(more, "service"))));
    }
    ended(sentence)
}

/// `an outage`, `slow performance` …
pub fn with_article(kind: &EventKind) -> String {
    let article = match kind {
        EventKind::Outage | EventKind::Issue => "an ",
        EventKind::Performance | EventKind::Maintenance => "",
        EventKind::Other(_) => "a ",
    };
    format!("{article}{}", plain_line(&kind_word(kind), NAME_MAX_CHARS))
}

/// `A, B and C`, or `A, B, C and 9 more`.
fn listed(names: &[&str]) -> Vec<Part> {
    let mut parts = Vec::new();
    let more = names.len().saturating_sub(NAMES_MAX);
    for (number, name) in names.iter().take(NAMES_MAX).enumerate() {
        match number {
            0 => {}
            last if more == 0 && last + 1 == names.len() => parts.push(Part::Text(" and ".to_owned())),
            _ => parts.push(Part::Text(", ".to_owned())),
        }
        parts.push(Part::Name((*name).to_owned()));
    }
    if more > 0 {
        parts.push(Part::Text(format!(" and {more} more")));
    }
    parts
}

fn ended(mut sentence: Vec<Part>) -> Vec<Part> {
    sentence.push(Part::Text(".".to_owned()));
    sentence
}
