//! Bytes from Apple → [`Document`].
//!
//! The only code that knows Apple's format. Liberal with Apple's words: a null, an unknown word or
//! a broken entry never costs another entry. Strict with the whole: what is not a status document
//! is an [`Unreadable`] with a reason, never "no events". What is not asked for is skipped, so that no
//! document costs more than some times its size in memory. Source of the format: captures from 2012
//! to 2026; Apple documents none of it.

mod calendar;
mod dates;
mod entities;
mod json;
mod repair;
mod stamp;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::model::{DateOrder, Document, Event, EventKind, EventStatus, Listing, ServiceKey, Stamp};
use crate::text::plain_line;
use stamp::Moment;

/// Of a whole body. The largest ever seen has 62 KB.
pub const BODY_MAX_BYTES: usize = 1 << 20;
/// At most 79 were ever seen.
const MAX_SERVICES: usize = 1_000;
/// Of all services together; what stands behind them is not read. At most 6 of one service were seen.
const MAX_EVENTS: usize = 2_000;
const MAX_NAME_CHARS: usize = 200;
const MAX_ID_CHARS: usize = 64;
const MAX_WORD_CHARS: usize = 64;
const MAX_MESSAGE_CHARS: usize = 2_000;
const BYTE_ORDER_MARK: char = '\u{feff}';

/// What is read of a document, of an event.
const TOP: [&str; 4] = ["services", "drMessage", "dashboard", "detailedTimeline"];
const EVENT: [&str; 10] = [
    "messageId",
    "statusType",
    "eventStatus",
    "usersAffected",
    "message",
    "datePosted",
    "epochStartDate",
    "startDate",
    "epochEndDate",
    "endDate",
];

/// Why a body is not a status document. `Display` is one line for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("an empty answer instead of the feed")]
    Empty,
    #[error("a web page instead of the feed (a captive portal or a proxy?)")]
    Html,
    #[error("not JSON")]
    NotJson,
    #[error("the JSON is cut off")]
    CutOff,
    #[error("the document has the form that Apple used before March 2017")]
    OldSchema,
    #[error("JSON, but not a status document: it has no list of services")]
    NoServices,
    #[error("the list of services is empty")]
    EmptyServices,
    #[error("no service has a readable list of events")]
    NoEvents,
    #[error("far more than a status document holds")]
    TooLarge,
}

/// Reads a bare JSON object or JSONP, with whatever stands around the object.
pub fn parse(body: &[u8]) -> Result<Document, Unreadable> {
    if body.len() > BODY_MAX_BYTES {
        return Err(Unreadable::TooLarge);
    }
    let body = decoded(body);
    let visible = body.trim_start_matches(|c: char| c.is_whitespace() || c == BYTE_ORDER_MARK);
    match visible.chars().next() {
        None => return Err(Unreadable::Empty),
        Some('<') => return Err(Unreadable::Html),
        Some(_) => {}
    }
    // From the first `{` to the last `}`: names contain brackets, so the callback's are no guide.
    let first = visible.find('{').ok_or(Unreadable::NotJson)?;
    let last = visible.rfind('}').ok_or(Unreadable::CutOff)?;
    match json::fields(visible.get(first..=last).unwrap_or_default(), TOP) {
        Ok(top) => document(top),
        Err(error) if error.is_eof() => Err(Unreadable::CutOff),
        Err(_) => match json::fields(&repair::object(visible), TOP) {
            Ok(top) => document(top),
            Err(error) if error.is_eof() => Err(Unreadable::CutOff),
            Err(_) => Err(Unreadable::NotJson),
        },
    }
}

/// A body as text: UTF-8, or UTF-16 where its first two bytes show it. One broken byte costs a
/// character.
pub fn decoded(body: &[u8]) -> Cow<'_, str> {
    let wide = |unit: fn([u8; 2]) -> u16| {
        let units = body.chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
        Cow::Owned(char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect())
    };
    match body {
        [0xff, 0xfe, ..] | [b'{', 0, ..] => wide(u16::from_le_bytes),
        [0xfe, 0xff, ..] | [0, b'{', ..] => wide(u16::from_be_bytes),
        _ => String::from_utf8_lossy(body),
    }
}

fn document(top: [Option<&str>; 4]) -> Result<Document, Unreadable> {
    let [services, banner, dashboard, timeline] = top;
    let services = match services.and_then(|services| json::items(services, MAX_SERVICES)) {
        Some((services, true)) => services,
        Some((_, false)) => return Err(Unreadable::TooLarge),
        None if dashboard.or(timeline).is_some() => return Err(Unreadable::OldSchema),
        None => return Err(Unreadable::NoServices),
    };
    if services.is_empty() {
        return Err(Unreadable::EmptyServices);
    }
    let mut reader = Reader { stamp: Stamp::default(), events_left: MAX_EVENTS };
    let drafts = services.into_iter().filter_map(|service| reader.service(service)).collect();
    let stamp = reader.stamp;
    let services = listings(drafts, stamp.order);
    if services.is_empty() {
        return Err(Unreadable::NoServices);
    }
    if services.values().all(|listing| listing.garbled && listing.events.is_empty()) {
        return Err(Unreadable::NoEvents);
    }
    Ok(Document { stamp, banner: text_of(banner, MAX_MESSAGE_CHARS), services })
}

/// What is known only once every event was read: how to read dates, and how much there was.
struct Reader {
    stamp: Stamp,
    events_left: usize,
}

/// A service before it is known how to read its dates.
struct ServiceDraft {
    name: String,
    events: Vec<EventDraft>,
    garbled: bool,
}

struct EventDraft {
    message_id: Option<String>,
    kind: EventKind,
    status: EventStatus,
    start: Option<Moment>,
    end: Option<Moment>,
    users_affected: Option<String>,
    message: String,
}

impl Reader {
    /// `None` for what has no name.
    fn service(&mut self, json: &str) -> Option<ServiceDraft> {
        let [name, events] = json::fields(json, ["serviceName", "events"]).ok()?;
        let name = text_of(name, MAX_NAME_CHARS)?;
        let (events, is_whole) = match events.and_then(|events| json::items(events, self.events_left)) {
            Some((events, is_whole)) => (events, is_whole),
            None => (Vec::new(), false),
        };
        self.events_left -= events.len();
        let read: Vec<Option<EventDraft>> = events.into_iter().map(|event| self.event(event)).collect();
        let garbled = !is_whole || read.iter().any(Option::is_none);
        Some(ServiceDraft { name, events: read.into_iter().flatten().collect(), garbled })
    }

    /// `None` only for what is no JSON object; an object without a single known word is still an
    /// event, of which we know nothing but that it is there.
    fn event(&mut self, json: &str) -> Option<EventDraft> {
        let [id, kind, status, users, message, posted, start, start_text, end, end_text] =
            json::fields(json, EVENT).ok()?;
        if let Some(posted) = posted.and_then(Moment::parse) {
            stamp::posted(&mut self.stamp, posted);
        }
        let start = self.time(start, start_text);
        let end = self.time(end, end_text);
        let word = |json| text_of(json, MAX_WORD_CHARS).unwrap_or_default();
        Some(EventDraft {
            message_id: id.and_then(message_id),
            kind: EventKind::parse(&word(kind)),
            status: status_of(&word(status)),
            start,
            end,
            users_affected: text_of(users, MAX_MESSAGE_CHARS),
            message: text_of(message, MAX_MESSAGE_CHARS).unwrap_or_default(),
        })
    }

    /// The text stands in only where there is no number, not even a senseless one: it disagrees with
    /// the number in one of sixteen ends.
    fn time(&mut self, number: Option<&str>, text: Option<&str>) -> Option<Moment> {
        let moment = number.and_then(Moment::parse);
        let text = text.and_then(Moment::parse);
        stamp::proves(&mut self.stamp, moment, text);
        let is_number = number.and_then(json::number).is_some();
        moment.or(text.filter(|_| !is_number))
    }
}

impl EventDraft {
    fn finish(self, order: Option<DateOrder>) -> Event {
        let time = |moment: Option<Moment>| moment.and_then(|moment| moment.read(order));
        let start = time(self.start);
        // An end before the start is a slip, and no end.
        let end = time(self.end).filter(|end| start.is_none_or(|start| start <= *end));
        Event {
            message_id: self.message_id.unwrap_or_else(|| match start {
                Some(start) => format!("at-{start}"),
                None => "unnamed".to_owned(),
            }),
            kind: self.kind,
            status: self.status,
            start,
            end,
            users_affected: self.users_affected,
            message: self.message,
        }
    }
}

fn listings(drafts: Vec<ServiceDraft>, order: Option<DateOrder>) -> BTreeMap<ServiceKey, Listing> {
    let mut listings: BTreeMap<ServiceKey, Listing> = BTreeMap::new();
    for ServiceDraft { name, events, garbled } in drafts {
        let listing = match listings.entry(ServiceKey::new(&name)) {
            Entry::Vacant(vacant) => vacant.insert(Listing { name, events: Vec::new(), garbled: false }),
            Entry::Occupied(same) => {
                // Two spellings of one name: their order in the document must not decide which is shown.
                let listing = same.into_mut();
                listing.name = name.min(std::mem::take(&mut listing.name));
                listing
            }
        };
        listing.garbled |= garbled;
        listing.events.extend(events.into_iter().map(|event| event.finish(order)));
    }
    for listing in listings.values_mut() {
        // Within one id the worst comes first and stays: trouble is never hidden by its twin.
        listing.events.sort_by(|a, b| a.message_id.cmp(&b.message_id).then_with(|| by_weight(a, b)));
        listing.events.dedup_by(|b, a| a.message_id == b.message_id);
    }
    listings
}

/// Total, so that the order in the document cannot matter. A problem before a maintenance, and among
/// unknown words the one without an end or with the latest: it is the least likely to be over.
fn by_weight(a: &Event, b: &Event) -> std::cmp::Ordering {
    let weight = |event: &Event| match (&event.status, event.kind.is_maintenance()) {
        (EventStatus::Ongoing, false) => 0,
        (EventStatus::Unknown(_), false) => 1,
        (EventStatus::Ongoing, true) => 2,
        (EventStatus::Unknown(_), true) => 3,
        (EventStatus::Over, _) => 4,
        (EventStatus::Upcoming, _) => 5,
    };
    let endless = |event: &Event| event.end.is_none();
    (weight(a), endless(b), b.end, b.start).cmp(&(weight(b), endless(a), a.end, a.start)).then_with(|| {
        (a.kind.as_str(), &a.message, &a.users_affected).cmp(&(
            b.kind.as_str(),
            &b.message,
            &b.users_affected,
        ))
    })
}

/// As Apple writes it, numbers too.
fn message_id(json: &str) -> Option<String> {
    let text = json::number(json).map(|number| number.to_string()).or_else(|| json::text(json))?;
    non_empty(plain_line(&text, MAX_ID_CHARS))
}

fn status_of(word: &str) -> EventStatus {
    match word.to_ascii_lowercase().as_str() {
        "upcoming" => EventStatus::Upcoming,
        "ongoing" => EventStatus::Ongoing,
        "resolved" | "completed" => EventStatus::Over,
        _ => EventStatus::Unknown(word.to_owned()),
    }
}

/// A non-empty text, cleaned of what could deceive a reader, and capped.
fn text_of(json: Option<&str>, max_chars: usize) -> Option<String> {
    let text = json::text(json?)?;
    non_empty(plain_line(&entities::decoded(&text), max_chars))
}

fn non_empty(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests;
