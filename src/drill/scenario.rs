//! The scenario of a drill: the documents of Apple's feed in each phase.
//!
//! Pure. Creates documents in the format that `feed` parses. No two drills share an event, so that receivers
//! do not discard the second one as a repeat (`two_drills_have_no_key_in_common`).

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::model::ChangeKind;
use crate::tracking::poll_plan::CONFIRM_AFTER_S;
use crate::tracking::watchlist::Pattern;

/// The time between two phases, as in the default schedule.
const STEP_S: i64 = 300;
/// From the first look to the last one, if nothing is hurried.
pub const LENGTH_S: i64 = STEP_S * (Act::ALL.len() as i64 - 1) + CONFIRM_AFTER_S;
/// How late Apple posts it in this play, and how long its end had been over.
const POSTED_LATE_S: i64 = 25 * 60;
const ENDED_BEFORE_S: i64 = 4 * 60;
/// The time between the end of the missed outage and the start of the other one.
const MISSED_BEFORE_S: i64 = 60 * 60;
const MISSED_LASTED_S: i64 = 110 * 60;
/// Apple's texts. Both say that nothing happened, for displays without a title.
const MESSAGE: &str = "This is a drill: nothing has happened.";
const USERS: &str = "Nobody is affected";
/// What a glob may stand for.
const SAMPLES: [&str; 6] =
    ["iCloud Backup", "Photos", "App Store", "iCloud Mail", "Apple Music", "App Store Connect"];

/// The phases of a drill, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    /// All is well: the first document, of which nobody hears.
    Calm,
    Began,
    Worsened,
    Ended,
    /// Another outage, first seen when it is already over.
    Missed,
}

impl Act {
    pub const ALL: [Act; 5] = [Act::Calm, Act::Began, Act::Worsened, Act::Ended, Act::Missed];

    /// Returns the word for JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Act::Calm => "calm",
            Act::Began => "began",
            Act::Worsened => "worsened",
            Act::Ended => "ended",
            Act::Missed => "missed",
        }
    }

    /// Returns the expected change.
    pub fn change(self) -> Option<ChangeKind> {
        match self {
            Act::Calm => None,
            Act::Began => Some(ChangeKind::Began),
            Act::Worsened => Some(ChangeKind::Worsened),
            Act::Ended => Some(ChangeKind::Ended),
            Act::Missed => Some(ChangeKind::Missed),
        }
    }
}

/// The scenario of one drill.
#[derive(Clone, Debug)]
pub struct Script {
    service: String,
    /// The prefix of its event ids, unique to this drill.
    id: String,
    begins: Timestamp,
}

impl Script {
    /// A play about `service` that is over at `now`: nobody is told of a time to come.
    pub fn new(service: String, now: Timestamp) -> Script {
        let id = now.strftime("drill-%Y%m%dT%H%M%SZ").to_string();
        Script { service, id, begins: later(now, -LENGTH_S) }
    }

    /// The two looks at a step: the first sight, and the one that confirms it.
    pub fn looks(&self, act: Act) -> [Timestamp; 2] {
        let first = later(self.begins, STEP_S * act as i64);
        [first, later(first, CONFIRM_AFTER_S)]
    }

    /// Apple's document during a step.
    pub fn document(&self, act: Act) -> String {
        let [posted, _] = self.looks(act);
        let event = |number: u32, kind: &str, start: Timestamp, end: Option<Timestamp>| {
            json!({
                "usersAffected": USERS,
                "epochStartDate": start.as_millisecond(),
                "epochEndDate": end.map(Timestamp::as_millisecond),
                "messageId": format!("{}-{number}", self.id),
                "statusType": kind,
                "datePosted": for_people(posted),
                "startDate": for_people(start),
                "endDate": end.map(for_people),
                "affectedServices": null,
                "eventStatus": if end.is_some() { "resolved" } else { "ongoing" },
                "message": MESSAGE,
            })
        };
        let start = later(self.looks(Act::Began)[0], -POSTED_LATE_S);
        let end = later(self.looks(Act::Ended)[0], -ENDED_BEFORE_S);
        let missed_end = later(start, -MISSED_BEFORE_S);
        let missed = event(2, "Outage", later(missed_end, -MISSED_LASTED_S), Some(missed_end));
        let events: Vec<Value> = match act {
            Act::Calm => Vec::new(),
            Act::Began => vec![event(1, "Issue", start, None)],
            Act::Worsened => vec![event(1, "Outage", start, None)],
            Act::Ended => vec![event(1, "Outage", start, Some(end))],
            Act::Missed => vec![event(1, "Outage", start, Some(end)), missed],
        };
        let service = json!({"redirectUrl": null, "serviceName": self.service, "events": events});
        json!({"drpost": false, "drMessage": null, "services": [service]}).to_string()
    }
}

/// Returns the service of a drill: the first watched one. For a glob, a name that matches it.
pub fn service(watch: &[String]) -> String {
    let Some(first) = watch.first().map(|text| Pattern::new(text)) else { return SAMPLES[0].to_owned() };
    if !first.is_glob() {
        return first.text;
    }
    let sample = SAMPLES.into_iter().find(|name| first.matches(&crate::model::ServiceKey::new(name)));
    sample.map_or_else(|| first.text.replace('*', "").replace('?', "x").trim().to_owned(), str::to_owned)
}

/// Formats a time as in Apple's text fields.
fn for_people(time: Timestamp) -> String {
    time.strftime("%m/%d/%Y %H:%M UTC").to_string()
}

fn later(time: Timestamp, seconds: i64) -> Timestamp {
    time.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(time)
}
