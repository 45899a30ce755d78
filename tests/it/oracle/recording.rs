//! Reads a recording for the check: which documents were shown when, what each said, and which of
//! them were stale copies.
//!
//! Does not check. Invariant: a document marked stale is evidence for nothing.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;
use serde_json::Value;

/// After so long of nothing but older stamps, Apple has reset its clock.
const STAMP_RESET_AFTER_S: i64 = 12 * 3600;
/// The last document stays; anything beyond every limit will do.
const FOREVER_S: i64 = 10 * 365 * 86_400;

/// (service, messageId); an empty id stands for the service itself.
pub type Subject = (String, String);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    Absent,
    /// A service that the document lists.
    Listed,
    /// An outage of this kind.
    Ongoing(String),
    Over,
    Planned,
    Running,
    Done,
}

#[derive(Debug)]
pub struct Entry {
    pub state: State,
    pub start: Option<i64>,
    pub end: Option<i64>,
}

/// One line of the recording: a document and the time for which it was shown, in Unix seconds.
#[derive(Debug)]
pub struct Shown {
    pub from: i64,
    pub until: i64,
    stamp: Option<i64>,
    pub stale: bool,
    /// `None` if it cannot be read.
    pub entries: Option<BTreeMap<Subject, Entry>>,
}

impl Shown {
    /// Returns the entries of the document unless it is stale.
    pub fn accepted(&self) -> Option<&BTreeMap<Subject, Entry>> {
        self.entries.as_ref().filter(|_| !self.stale)
    }
}

/// Reads a recording (JSON Lines) in its order and marks the stale copies.
pub fn read(recording: &str) -> Vec<Shown> {
    let mut shown: Vec<Shown> = Vec::new();
    for (number, text) in recording.lines().enumerate() {
        let line: Value = serde_json::from_str(text).unwrap_or_else(|e| panic!("line {}: {e}", number + 1));
        let at: Timestamp = line["at"].as_str().and_then(|at| at.parse().ok()).expect("a time in `at`");
        let from = at.as_second();
        if let Some(last) = shown.last_mut() {
            last.until = from;
        }
        let (stamp, entries) = read_document(line["body"].as_str().unwrap_or(""), from).unzip();
        shown.push(Shown { from, until: from + FOREVER_S, stamp: stamp.flatten(), stale: false, entries });
    }
    mark_stale(&mut shown);
    shown
}

/// The recording in slow motion: every stamped document is shown for at least `least_s` seconds.
/// Real stale copies are gone within half a minute, and confirmation alone survives them; slowed
/// down, they are confirmed, and only their stamps give them away. An old copy without a stamp
/// cannot be announced from a new one, and is shown as briefly as it was.
pub fn slowed(recording: &str, least_s: i64) -> String {
    let mut slow = String::new();
    let mut free_at = i64::MIN;
    for (shown, text) in read(recording).iter().zip(recording.lines()) {
        let at = shown.from.max(free_at);
        let shown_s = shown.until - shown.from;
        free_at = at + if shown.stamp.is_some() { least_s } else { shown_s.min(least_s) };
        let mut line: Value = serde_json::from_str(text).expect("read before");
        line["at"] = Timestamp::from_second(at).expect("a time near another").to_string().into();
        slow.push_str(&format!("{line}\n"));
    }
    slow
}

/// A document is stale if a newer one was shown before it. One without a stamp between two stale
/// ones is an old copy too, which only hindsight can tell.
fn mark_stale(shown: &mut [Shown]) {
    let mut newest = None;
    let mut run_from = None;
    for line in &mut *shown {
        let Some(stamp) = line.stamp else { continue };
        line.stale = newest.is_some_and(|newest| stamp < newest);
        if line.stale {
            let reset_at = *run_from.get_or_insert(line.from) + STAMP_RESET_AFTER_S;
            let is_last = line.until - line.from == FOREVER_S;
            if line.until > reset_at && !is_last {
                line.stale = false;
                line.from = line.from.max(reset_at);
            }
        }
        if !line.stale {
            newest = Some(stamp);
            run_from = None;
        }
    }
    let stamped: Vec<usize> = (0..shown.len()).filter(|&at| shown[at].stamp.is_some()).collect();
    for pair in stamped.windows(2) {
        if shown[pair[0]].stale && shown[pair[1]].stale {
            shown[pair[0]..pair[1]].iter_mut().for_each(|line| line.stale = true);
        }
    }
}

/// The stamp and what the document says; `None` if it is not a document of the known schema.
fn read_document(body: &str, at: i64) -> Option<(Option<i64>, BTreeMap<Subject, Entry>)> {
    let json = body.get(body.find('{')?..=body.rfind('}')?)?;
    let document: Value = serde_json::from_str(json).ok()?;
    let mut stamp = None;
    let mut entries = BTreeMap::new();
    for service in document["services"].as_array()? {
        let name = folded(service["serviceName"].as_str()?);
        for event in service["events"].as_array().into_iter().flatten() {
            let id = event["messageId"].as_str().unwrap_or("?").to_owned();
            stamp = stamp.max(event["datePosted"].as_str().and_then(posted));
            entries.insert((name.clone(), id), read_event(event, at));
        }
        entries.insert((name, String::new()), Entry { state: State::Listed, start: None, end: None });
    }
    Some((stamp, entries))
}

fn read_event(event: &Value, at: i64) -> Entry {
    let seconds = |key: &str| event[key].as_i64().map(|ms| ms.div_euclid(1000));
    let (start, end) = (seconds("epochStartDate"), seconds("epochEndDate"));
    let kind = match event["statusType"].as_str() {
        None | Some("") => "Other",
        Some(kind) => kind,
    };
    let is_over_by_date = end.is_some_and(|end| end <= at);
    let state = match (event["eventStatus"].as_str().unwrap_or(""), kind == "Maintenance") {
        ("resolved" | "completed", false) => State::Over,
        ("resolved" | "completed", true) => State::Done,
        ("ongoing", true) => State::Running,
        ("upcoming", true) => State::Planned,
        ("upcoming", false) => State::Absent,
        ("ongoing", false) => State::Ongoing(kind.to_owned()),
        // An unknown word is trouble, unless its end has passed.
        (_, is_maintenance) if is_over_by_date => {
            if is_maintenance {
                State::Done
            } else {
                State::Over
            }
        }
        _ => State::Ongoing(kind.to_owned()),
    };
    Entry { state, start, end }
}

/// Unix seconds of a `datePosted`: `2021/07/22 08:39 JST` or `04/26/2021 08:15 PDT`.
fn posted(text: &str) -> Option<i64> {
    let (civil, zone) = text.trim().rsplit_once(' ')?;
    let hours = match zone {
        "PDT" => -7,
        "PST" => -8,
        "JST" => 9,
        "UTC" | "GMT" => 0,
        _ => return None,
    };
    let format = if civil.find('/') == Some(4) { "%Y/%m/%d %H:%M" } else { "%m/%d/%Y %H:%M" };
    let civil = DateTime::strptime(format, civil).ok()?;
    Some(Offset::constant(hours).to_timestamp(civil).ok()?.as_second())
}

/// A service's name made comparable.
pub fn folded(name: &str) -> String {
    name.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}
