//! Parses a response body from Apple into a [`Document`].
//!
//! The only code that knows Apple's format, which Apple does not document; its source is captures from
//! 2012 to 2026. Lenient with entries: a null, an unknown word or a broken entry affects no other entry.
//! Strict with the document: anything that is not a status document is [`Unreadable`] with a reason,
//! never "no events". Unused fields are skipped, so that memory stays within a few times the body's size.

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

/// Limit for a body. The largest seen has 62 KB.
pub const BODY_MAX_BYTES: usize = 1 << 20;
/// At most 79 were seen.
const MAX_SERVICES: usize = 1_000;
/// Limit for all services together; later events are not read. At most 6 of one service were seen.
const MAX_EVENTS: usize = 2_000;
const MAX_NAME_CHARS: usize = 200;
const MAX_ID_CHARS: usize = 64;
const MAX_WORD_CHARS: usize = 64;
const MAX_MESSAGE_CHARS: usize = 2_000;
const BYTE_ORDER_MARK: char = '\u{feff}';

/// Fields that are read of a document.
const TOP: [&str; 4] = ["services", "drMessage", "dashboard", "detailedTimeline"];
/// Fields that are read of an event.
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

/// The reason why a body is not a status document. `Display` is one line for users.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("the response is empty")]
    Empty,
    #[error("the response is a web page (captive portal or proxy?)")]
    Html,
    #[error("the response is not JSON")]
    NotJson,
    #[error("the JSON is truncated")]
    CutOff,
    #[error("the document has the format that Apple used before March 2017")]
    OldSchema,
    #[error("the JSON has no list of services")]
    NoServices,
    #[error("the list of services is empty")]
    EmptyServices,
    #[error("no service has a readable list of events")]
    NoEvents,
    #[error("the document is too large")]
    TooLarge,
}

/// Parses a bare JSON object or JSONP, and ignores any text around the object.
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
    // From the first `{` to the last `}`. Service names contain parentheses, so those of the callback
    // do not delimit the object.
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

/// Decodes a body as UTF-8, or as UTF-16 if the first two bytes indicate it. An invalid byte becomes
/// one replacement character.
pub fn decoded(body: &[u8]) -> Cow<'_, str> {
    let utf16 = |unit: fn([u8; 2]) -> u16| {
        let units = body.chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
        Cow::Owned(char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect())
    };
    match body {
        [0xff, 0xfe, ..] | [b'{', 0, ..] => utf16(u16::from_le_bytes),
        [0xfe, 0xff, ..] | [0, b'{', ..] => utf16(u16::from_be_bytes),
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
    if services.values().all(|listing| listing.malformed && listing.events.is_empty()) {
        return Err(Unreadable::NoEvents);
    }
    Ok(Document { stamp, banner: text_of(banner, MAX_MESSAGE_CHARS), services })
}

/// State across all services: how to read dates, and how many more events are read.
struct Reader {
    stamp: Stamp,
    events_left: usize,
}

/// A service whose dates are not yet resolved, because the order of day and month is unknown.
struct ServiceDraft {
    name: String,
    events: Vec<EventDraft>,
    malformed: bool,
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
    /// Returns `None` for an entry without a name.
    fn service(&mut self, json: &str) -> Option<ServiceDraft> {
        let [name, events] = json::fields(json, ["serviceName", "events"]).ok()?;
        let name = text_of(name, MAX_NAME_CHARS)?;
        let (events, is_whole) = match events.and_then(|events| json::items(events, self.events_left)) {
            Some((events, is_whole)) => (events, is_whole),
            None => (Vec::new(), false),
        };
        self.events_left -= events.len();
        let read: Vec<Option<EventDraft>> = events.into_iter().map(|event| self.event(event)).collect();
        let malformed = !is_whole || read.iter().any(Option::is_none);
        Some(ServiceDraft { name, events: read.into_iter().flatten().collect(), malformed })
    }

    /// Returns `None` only for an entry that is not a JSON object. An object without any known field
    /// is still an event.
    fn event(&mut self, json: &str) -> Option<EventDraft> {
        let [id, kind, status, users, message, posted, start, start_text, end, end_text] =
            json::fields(json, EVENT).ok()?;
        if let Some(posted) = posted.and_then(Moment::parse) {
            stamp::add_posted(&mut self.stamp, posted);
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

    /// Returns the time in `number`, or in `text` if there is no number, not even an invalid one. The
    /// two disagree in one of sixteen ends.
    fn time(&mut self, number: Option<&str>, text: Option<&str>) -> Option<Moment> {
        let moment = number.and_then(Moment::parse);
        let text = text.and_then(Moment::parse);
        stamp::add_proof(&mut self.stamp, moment, text);
        let is_number = number.and_then(json::number).is_some();
        moment.or(text.filter(|_| !is_number))
    }
}

impl EventDraft {
    fn finish(self, order: Option<DateOrder>) -> Event {
        let time = |moment: Option<Moment>| moment.and_then(|moment| moment.read(order));
        let start = time(self.start);
        // An end before the start is an error of Apple's.
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
    for ServiceDraft { name, events, malformed } in drafts {
        let listing = match listings.entry(ServiceKey::new(&name)) {
            Entry::Vacant(vacant) => vacant.insert(Listing { name, events: Vec::new(), malformed: false }),
            Entry::Occupied(same) => {
                // Two spellings of one name: the order in the document must not decide which is shown.
                let listing = same.into_mut();
                listing.name = name.min(std::mem::take(&mut listing.name));
                listing
            }
        };
        listing.malformed |= malformed;
        listing.events.extend(events.into_iter().map(|event| event.finish(order)));
    }
    for listing in listings.values_mut() {
        // Of several entries with one id, keep the worst.
        listing.events.sort_by(|a, b| a.message_id.cmp(&b.message_id).then_with(|| by_severity(a, b)));
        listing.events.dedup_by(|b, a| a.message_id == b.message_id);
    }
    listings
}

/// Orders entries with one id, worst first. The order is total, so that the order in the document does
/// not matter. A problem comes before a maintenance. Of two with unknown status, the one without an end
/// or with the later end comes first, because it is less likely to be over.
fn by_severity(a: &Event, b: &Event) -> std::cmp::Ordering {
    let rank = |event: &Event| match (&event.status, event.kind.is_maintenance()) {
        (EventStatus::Ongoing, false) => 0,
        (EventStatus::Unknown(_), false) => 1,
        (EventStatus::Ongoing, true) => 2,
        (EventStatus::Unknown(_), true) => 3,
        (EventStatus::Over, _) => 4,
        (EventStatus::Upcoming, _) => 5,
    };
    let endless = |event: &Event| event.end.is_none();
    (rank(a), endless(b), b.end, b.start).cmp(&(rank(b), endless(a), a.end, a.start)).then_with(|| {
        (a.kind.as_str(), &a.message, &a.users_affected).cmp(&(
            b.kind.as_str(),
            &b.message,
            &b.users_affected,
        ))
    })
}

/// Returns the id as text; Apple may also send a number.
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

/// Returns a non-empty text without control and direction characters, cut to `max_chars`.
fn text_of(json: Option<&str>, max_chars: usize) -> Option<String> {
    let text = json::text(json?)?;
    non_empty(plain_line(&entities::decoded(&text), max_chars))
}

fn non_empty(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests;
