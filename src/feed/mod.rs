//! Bytes from Apple → [`Document`].
//!
//! The only code that knows Apple's format. Liberal with Apple's words: a null, an unknown word or
//! a broken entry never costs another entry. Strict with the whole: what is not a status document
//! is an [`Unreadable`] with a reason, never "no events". Source of the format: captures from 2012
//! to 2026; Apple documents none of it.

mod posted;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::model::{Document, Event, EventKind, EventStatus, Listing, ServiceKey};
use crate::text;

const MAX_NAME_CHARS: usize = 200;
const MAX_ID_CHARS: usize = 64;
const MAX_WORD_CHARS: usize = 64;
const MAX_MESSAGE_CHARS: usize = 2_000;

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
}

/// Reads a bare JSON object or JSONP, with whatever stands around the object.
pub fn parse(body: &[u8]) -> Result<Document, Unreadable> {
    let top = object(body)?;
    let services = match top.get("services") {
        Some(Value::Array(services)) => services,
        _ if top.contains_key("dashboard") || top.contains_key("detailedTimeline") => {
            return Err(Unreadable::OldSchema);
        }
        _ => return Err(Unreadable::NoServices),
    };
    if services.is_empty() {
        return Err(Unreadable::EmptyServices);
    }
    let document = Document {
        stamp: posted::newest(services),
        banner: text_of(&top, "drMessage", MAX_MESSAGE_CHARS),
        services: listings(services),
    };
    if document.services.is_empty() {
        return Err(Unreadable::NoServices);
    }
    if document.services.values().all(|listing| listing.garbled && listing.events.is_empty()) {
        return Err(Unreadable::NoEvents);
    }
    Ok(document)
}

/// From the first `{` to the last `}`: names contain brackets, so the callback's are no guide.
fn object(body: &[u8]) -> Result<Map<String, Value>, Unreadable> {
    let visible = body.trim_ascii();
    let visible = visible.strip_prefix(b"\xef\xbb\xbf").unwrap_or(visible);
    match visible.first() {
        None => return Err(Unreadable::Empty),
        Some(b'<') => return Err(Unreadable::Html),
        Some(_) => {}
    }
    let first = visible.iter().position(|&byte| byte == b'{').ok_or(Unreadable::NotJson)?;
    let last = visible.iter().rposition(|&byte| byte == b'}').ok_or(Unreadable::CutOff)?;
    let slice = visible.get(first..=last).ok_or(Unreadable::NotJson)?;
    // One broken byte in a text must not cost the feed.
    let json = match std::str::from_utf8(slice) {
        Ok(json) => Cow::Borrowed(json),
        Err(_) => String::from_utf8_lossy(slice),
    };
    serde_json::from_str(&json)
        .map_err(|error| if error.is_eof() { Unreadable::CutOff } else { Unreadable::NotJson })
}

fn listings(services: &[Value]) -> BTreeMap<ServiceKey, Listing> {
    let mut listings: BTreeMap<ServiceKey, Listing> = BTreeMap::new();
    for service in services.iter().filter_map(Value::as_object) {
        let Some(name) = text_of(service, "serviceName", MAX_NAME_CHARS) else { continue };
        let events = service.get("events").and_then(Value::as_array);
        let read: Vec<Option<Event>> = events.into_iter().flatten().map(event).collect();
        let garbled = events.is_none() || read.contains(&None);
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
        listing.events.extend(read.into_iter().flatten());
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

/// `None` only for what is no JSON object; an object without a single known word is still an
/// event, of which we know nothing but that it is there.
fn event(value: &Value) -> Option<Event> {
    let event = value.as_object()?;
    let start = moment(event, "epochStartDate", "startDate");
    let message_id = match event.get("messageId") {
        Some(Value::Number(number)) => number.to_string(),
        _ => text_of(event, "messageId", MAX_ID_CHARS).unwrap_or_else(|| match start {
            Some(start) => format!("at-{start}"),
            None => "unnamed".to_owned(),
        }),
    };
    Some(Event {
        message_id,
        kind: EventKind::parse(&text_of(event, "statusType", MAX_WORD_CHARS).unwrap_or_default()),
        status: status(&text_of(event, "eventStatus", MAX_WORD_CHARS).unwrap_or_default()),
        start,
        end: moment(event, "epochEndDate", "endDate"),
        users_affected: text_of(event, "usersAffected", MAX_MESSAGE_CHARS),
        message: text_of(event, "message", MAX_MESSAGE_CHARS).unwrap_or_default(),
    })
}

fn status(word: &str) -> EventStatus {
    match word.to_ascii_lowercase().as_str() {
        "upcoming" => EventStatus::Upcoming,
        "ongoing" => EventStatus::Ongoing,
        "resolved" | "completed" => EventStatus::Over,
        _ => EventStatus::Unknown(word.to_owned()),
    }
}

/// Milliseconds since 1970 where there are any. The text stands in only where there is no number:
/// it disagrees with the epoch in one of sixteen ends.
fn moment(event: &Map<String, Value>, epoch: &str, text: &str) -> Option<Timestamp> {
    let millis = match event.get(epoch) {
        Some(Value::Number(number)) => number.as_i64().or_else(|| number.as_f64().map(|float| float as i64)),
        Some(Value::String(digits)) => digits.trim().parse().ok(),
        _ => None,
    };
    match millis {
        Some(millis) => Timestamp::from_second(millis.div_euclid(1000)).ok(),
        None => posted::parse(event.get(text)?.as_str()?, posted::Order::MonthFirst),
    }
}

/// A non-empty text, cleaned of what could deceive a reader, and capped.
fn text_of(object: &Map<String, Value>, key: &str, max_chars: usize) -> Option<String> {
    let clean = text::plain_line(object.get(key)?.as_str()?, max_chars);
    (!clean.is_empty()).then_some(clean)
}

#[cfg(test)]
mod tests;
