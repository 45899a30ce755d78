//! Builds status documents like Apple's: the same keys in the same order.
//!
//! Writes text without statusd's types, because the tests check statusd's parser with it.

use jiff::Timestamp;
use serde_json::json;

/// A builder of status documents.
///
/// ```ignore
/// let down = Doc::new()
///     .service("iCloud Backup")
///     .event("1001", "Outage", "ongoing", 1_619_449_200, None)
///     .service("Photos")
///     .posted("04/26/2021 08:15 PDT");
/// apple.show(&down.json());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Doc {
    posted: Option<String>,
    services: Vec<(String, Vec<Entry>)>,
}

#[derive(Clone, Debug)]
struct Entry {
    id: String,
    kind: String,
    status: String,
    start_epoch_s: i64,
    end_epoch_s: Option<i64>,
    message: String,
    users: String,
}

impl Doc {
    pub fn new() -> Doc {
        Doc::default()
    }

    /// Adds a service without events.
    pub fn service(mut self, name: &str) -> Doc {
        self.services.push((name.to_owned(), Vec::new()));
        self
    }

    /// Adds an event to the last service. `kind` is Apple's `statusType`, `status` its `eventStatus`.
    /// Times are seconds since 1970.
    #[track_caller]
    pub fn event(
        mut self,
        id: &str,
        kind: &str,
        status: &str,
        start_epoch_s: i64,
        end_epoch_s: Option<i64>,
    ) -> Doc {
        let (_, events) = self.services.last_mut().expect("add the service before its event");
        events.push(Entry {
            id: id.to_owned(),
            kind: kind.to_owned(),
            status: status.to_owned(),
            start_epoch_s,
            end_epoch_s,
            message: "Users are experiencing a problem with this service.".to_owned(),
            users: "Some users are affected".to_owned(),
        });
        self
    }

    /// Sets the `message` of the last event.
    #[track_caller]
    pub fn saying(mut self, message: &str) -> Doc {
        self.last_event().message = message.to_owned();
        self
    }

    /// Sets `datePosted` of all events, such as `04/26/2021 08:15 PDT`. A document without events has
    /// no stamp.
    pub fn posted(mut self, text: &str) -> Doc {
        self.posted = Some(text.to_owned());
        self
    }

    /// Returns a bare object, like the consumer feed.
    pub fn json(&self) -> String {
        let services: Vec<String> =
            self.services.iter().map(|(name, events)| self.listing(name, events)).collect();
        format!(r#"{{"drpost":false,"drMessage":null,"services":[{}]}}"#, services.join(","))
    }

    /// Returns the object in a callback, like the developer feed.
    pub fn jsonp(&self) -> String {
        format!("jsonCallback({});", self.json())
    }

    fn listing(&self, name: &str, events: &[Entry]) -> String {
        let events: Vec<String> = events.iter().map(|event| self.entry(event)).collect();
        format!(r#"{{"redirectUrl":null,"serviceName":{},"events":[{}]}}"#, json!(name), events.join(","))
    }

    fn entry(&self, event: &Entry) -> String {
        let fields = [
            ("usersAffected", json!(event.users)),
            ("epochStartDate", json!(event.start_epoch_s * 1000)),
            ("epochEndDate", json!(event.end_epoch_s.map(|end| end * 1000))),
            ("messageId", json!(event.id)),
            ("statusType", json!(event.kind)),
            ("datePosted", json!(self.posted)),
            ("startDate", json!(for_people(event.start_epoch_s))),
            ("endDate", json!(event.end_epoch_s.map(for_people))),
            ("affectedServices", json!(null)),
            ("eventStatus", json!(event.status)),
            ("message", json!(event.message)),
        ];
        let fields: Vec<String> = fields.iter().map(|(key, value)| format!("{key:?}:{value}")).collect();
        format!("{{{}}}", fields.join(","))
    }

    #[track_caller]
    fn last_event(&mut self) -> &mut Entry {
        let event = self.services.iter_mut().rev().find_map(|(_, events)| events.last_mut());
        event.expect("add the event before its message")
    }
}

/// Formats a time in UTC, which needs no time zone data. Apple usually writes Pacific time.
fn for_people(epoch_s: i64) -> String {
    let time = Timestamp::from_second(epoch_s).expect("a time that jiff can hold");
    time.strftime("%m/%d/%Y %H:%M UTC").to_string()
}
