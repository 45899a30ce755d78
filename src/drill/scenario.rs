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
/// The time from the first poll to the last one at real speed.
pub const LENGTH_S: i64 = STEP_S * (DrillPhase::ALL.len() as i64 - 1) + CONFIRM_AFTER_S;
/// The delay with which Apple posts the start and the end.
const POSTED_LATE_S: i64 = 25 * 60;
const ENDED_BEFORE_S: i64 = 4 * 60;
/// The time between the end of the missed outage and the start of the other one.
const MISSED_BEFORE_S: i64 = 60 * 60;
const MISSED_LASTED_S: i64 = 110 * 60;
/// Apple's texts. Both say that nothing happened, for displays without a title.
const MESSAGE: &str = "This is a drill: nothing has happened.";
const USERS: &str = "No users are affected";
/// Candidates for a glob.
const SAMPLES: [&str; 6] =
    ["iCloud Backup", "Photos", "App Store", "iCloud Mail", "Apple Music", "App Store Connect"];

/// The phases of a drill, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DrillPhase {
    /// No outage. The first document changes nothing.
    Calm,
    Began,
    Worsened,
    Ended,
    /// Another outage, first seen when it is already over.
    Missed,
}

impl DrillPhase {
    pub const ALL: [DrillPhase; 5] =
        [DrillPhase::Calm, DrillPhase::Began, DrillPhase::Worsened, DrillPhase::Ended, DrillPhase::Missed];

    /// Returns the word for JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            DrillPhase::Calm => "calm",
            DrillPhase::Began => "began",
            DrillPhase::Worsened => "worsened",
            DrillPhase::Ended => "ended",
            DrillPhase::Missed => "missed",
        }
    }

    /// Returns the expected change.
    pub fn change(self) -> Option<ChangeKind> {
        match self {
            DrillPhase::Calm => None,
            DrillPhase::Began => Some(ChangeKind::Began),
            DrillPhase::Worsened => Some(ChangeKind::Worsened),
            DrillPhase::Ended => Some(ChangeKind::Ended),
            DrillPhase::Missed => Some(ChangeKind::Missed),
        }
    }
}

/// The scenario of one drill.
#[derive(Clone, Debug)]
pub struct Scenario {
    service: String,
    /// The prefix of its event ids, unique to this drill.
    id: String,
    begins: Timestamp,
}

impl Scenario {
    /// Creates a scenario about `service` that ends at `now`, so that no message has a time in the future.
    pub fn new(service: String, now: Timestamp) -> Scenario {
        let id = now.strftime("drill-%Y%m%dT%H%M%SZ").to_string();
        Scenario { service, id, begins: later(now, -LENGTH_S) }
    }

    /// Returns the times of the two polls of a phase: the observation and its confirmation.
    pub fn polls(&self, phase: DrillPhase) -> [Timestamp; 2] {
        let first = later(self.begins, STEP_S * phase as i64);
        [first, later(first, CONFIRM_AFTER_S)]
    }

    /// Returns Apple's document in a phase.
    pub fn document(&self, phase: DrillPhase) -> String {
        let [posted, _] = self.polls(phase);
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
        let start = later(self.polls(DrillPhase::Began)[0], -POSTED_LATE_S);
        let end = later(self.polls(DrillPhase::Ended)[0], -ENDED_BEFORE_S);
        let missed_end = later(start, -MISSED_BEFORE_S);
        let missed = event(2, "Outage", later(missed_end, -MISSED_LASTED_S), Some(missed_end));
        let events: Vec<Value> = match phase {
            DrillPhase::Calm => Vec::new(),
            DrillPhase::Began => vec![event(1, "Issue", start, None)],
            DrillPhase::Worsened => vec![event(1, "Outage", start, None)],
            DrillPhase::Ended => vec![event(1, "Outage", start, Some(end))],
            DrillPhase::Missed => vec![event(1, "Outage", start, Some(end)), missed],
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
