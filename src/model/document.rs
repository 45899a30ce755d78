//! A document of the feed: services, events and the publish time.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::ServiceKey;

/// Apple's `statusType`: the severity of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventKind {
    Outage,
    Issue,
    Performance,
    /// An unknown word as Apple wrote it; empty if Apple wrote none.
    Other(String),
    /// Planned work. Never an outage.
    Maintenance,
}

impl EventKind {
    pub fn is_maintenance(&self) -> bool {
        matches!(self, EventKind::Maintenance)
    }

    /// Returns the rank, worst last.
    pub fn rank(&self) -> u8 {
        match self {
            EventKind::Maintenance => 0,
            EventKind::Performance => 1,
            EventKind::Issue | EventKind::Other(_) => 2,
            EventKind::Outage => 3,
        }
    }

    /// Returns the word for tables, JSON and the database, which [`EventKind::parse`] reads.
    pub fn as_str(&self) -> &str {
        match self {
            EventKind::Outage => "Outage",
            EventKind::Issue => "Issue",
            EventKind::Performance => "Performance",
            EventKind::Other(text) if text.is_empty() => "Other",
            EventKind::Other(text) => text,
            EventKind::Maintenance => "Maintenance",
        }
    }

    /// Ignores case and surrounding blanks. Keeps an unknown word.
    pub fn parse(text: &str) -> EventKind {
        let text = text.trim();
        match text.to_ascii_lowercase().as_str() {
            "outage" => EventKind::Outage,
            "issue" => EventKind::Issue,
            "performance" => EventKind::Performance,
            "maintenance" => EventKind::Maintenance,
            "" | "other" => EventKind::Other(String::new()),
            _ => EventKind::Other(text.to_owned()),
        }
    }
}

/// Apple's `eventStatus`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventStatus {
    Upcoming,
    Ongoing,
    /// `resolved` or `completed`.
    Over,
    /// An unknown word as Apple wrote it; empty if Apple wrote none.
    Unknown(String),
}

/// Apple's entry under a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Apple's `messageId`, or an id made from the start time if Apple gave none.
    pub message_id: String,
    pub kind: EventKind,
    pub status: EventStatus,
    pub start: Option<Timestamp>,
    /// May lie in the future, so an end date does not mean "over".
    pub end: Option<Timestamp>,
    pub users_affected: Option<String>,
    /// Apple's text. Hostile until escaped.
    pub message: String,
}

/// A service as one document lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// As Apple writes it, trimmed.
    pub name: String,
    /// In order of `message_id`, each id once.
    pub events: Vec<Event>,
    /// Part of the list of events could not be read, so an empty list does not mean "no outage".
    pub malformed: bool,
}

/// The order of the numbers in a date. Apple's locales differ, and `05/06/2026` is ambiguous.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DateOrder {
    MonthFirst,
    DayFirst,
    YearFirst,
}

impl DateOrder {
    pub const ALL: [DateOrder; 3] = [DateOrder::MonthFirst, DateOrder::DayFirst, DateOrder::YearFirst];

    /// Returns the word for the database.
    pub fn as_str(self) -> &'static str {
        match self {
            DateOrder::MonthFirst => "month_first",
            DateOrder::DayFirst => "day_first",
            DateOrder::YearFirst => "year_first",
        }
    }

    pub fn parse(text: &str) -> Option<DateOrder> {
        DateOrder::ALL.into_iter().find(|order| order.as_str() == text)
    }
}

/// The newest `datePosted` of a document, before the order of its numbers is known. `tracking` chooses a
/// reading from the time of the fetch and the history of the feed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// One reading for each of [`DateOrder::ALL`]; all are equal if the text is unambiguous. `None` if
    /// the document has no date.
    pub readings: Option<[Timestamp; 3]>,
    /// The order that another date of the document proves.
    pub order: Option<DateOrder>,
}

impl Stamp {
    /// A stamp with one reading.
    pub fn at(time: Timestamp) -> Stamp {
        Stamp { readings: Some([time; 3]), order: None }
    }
}

/// One fetched copy of a feed, in canonical order: copies with the same meaning are equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The publish time of the document.
    pub stamp: Stamp,
    /// Apple's `drMessage`, a general announcement. Never observed in practice.
    pub banner: Option<String>,
    pub services: BTreeMap<ServiceKey, Listing>,
}
