//! Times, states, names and events as pages show them.

use jiff::Timestamp;

use crate::delivery::message::phrases::kind_word;
use crate::delivery::message::time_format::{lasted, when};
use crate::model::{FeedId, Outage, OverBy, Phase};
use crate::report::mark::Mark;
use crate::report::outage::{end, posted_late_s};
use crate::report::state::State;
use crate::store::PostedOutage;
use crate::text::{plain_line, plain_text};
use crate::web::current::Current;
use crate::web::verdict::{NAME_MAX_CHARS, Part};

/// The maximum length of Apple's text on a page. Real texts have up to about 120 characters.
const TEXT_MAX_CHARS: usize = 2_000;

/// A time in `<time>`: short text, with zone and date on hover.
pub struct ShownTime {
    /// RFC 3339, for `datetime`.
    pub machine: String,
    pub text: String,
    /// `Tuesday 5 May 2026, 08:15 CEST`
    pub full: String,
}

impl ShownTime {
    pub fn new(time: Timestamp, current: &Current) -> ShownTime {
        ShownTime { text: when(time, current.now, &current.zone), ..ShownTime::formatted(time, current, "") }
    }

    /// Returns the time in a format of `strftime`.
    pub fn formatted(time: Timestamp, current: &Current, format: &str) -> ShownTime {
        let local = time.to_zoned_datetime(current.zone.clone());
        ShownTime {
            machine: time.to_string(),
            text: local.strftime(format).to_string(),
            full: local.strftime("%A %-d %B %Y, %H:%M %Z").to_string(),
        }
    }
}

/// A part of a sentence.
pub enum ShownPart {
    Text(String),
    Time(ShownTime),
    /// In Apple's language.
    Name(String),
}

/// A state: shape, word and colour.
#[derive(Clone, Copy)]
pub struct ShownState {
    /// The class in the style sheet and the id of the shape.
    pub class: &'static str,
    pub words: &'static str,
}

impl ShownState {
    pub fn of(state: State) -> ShownState {
        ShownState { class: class(state), words: state.words() }
    }
}

pub fn shown_parts(parts: Vec<Part>, current: &Current) -> Vec<ShownPart> {
    let shown = |part| match part {
        Part::Text(text) => ShownPart::Text(text),
        Part::Time(time) => ShownPart::Time(ShownTime::new(time, current)),
        Part::Name(name) => ShownPart::Name(name_line(&name)),
    };
    parts.into_iter().map(shown).collect()
}

/// Returns a name of Apple's as one line of bounded length.
pub fn name_line(name: &str) -> String {
    plain_line(name, NAME_MAX_CHARS)
}

/// Returns a text of Apple's with bounded length. May be empty.
pub fn apple_text(text: &str) -> String {
    plain_text(text, TEXT_MAX_CHARS)
}

/// Returns the class of a state in the style sheet, which is also the id of its shape.
pub fn class(state: State) -> &'static str {
    match state {
        State::Outage => "outage",
        State::CannotTell => "unknown",
        State::Issue => "issue",
        State::Maintenance => "maintenance",
        State::Fine => "fine",
    }
}

/// Returns the class of a mark, which is also the id of its pattern in bars.
pub fn mark_class(mark: Mark) -> &'static str {
    match mark {
        Mark::Future => "future",
        Mark::NotPolling => "gap",
        Mark::Unknown => "unknown",
        Mark::Fine => "fine",
        Mark::Maintenance => "maintenance",
        Mark::Issue => "issue",
        Mark::Outage => "outage",
    }
}

/// An outage or maintenance in a list.
pub struct ShownEvent {
    pub service: String,
    /// `outage`, `maintenance` …
    pub kind: String,
    pub class: &'static str,
    /// The address of its timeline.
    pub address: String,
    /// `ongoing`, `planned`, `withdrawn` …; empty for the usual case, an event that is over.
    pub phase: &'static str,
    pub from: Option<ShownTime>,
    pub to: Option<ShownTime>,
    /// The duration, until now if it is ongoing.
    pub lasted: Option<String>,
    /// The time from Apple's start to Apple's post.
    pub late: Option<String>,
    /// The first sighting, if it is only an upper bound of the time of the post.
    pub posted_by: Option<ShownTime>,
    pub text: String,
    pub users: String,
}

impl ShownEvent {
    pub fn new(posted: &PostedOutage, current: &Current) -> ShownEvent {
        let (stored, outage) = (&posted.stored, &posted.stored.outage);
        let time = |time| ShownTime::new(time, current);
        // On the day of the start, the time alone.
        let end = |end: Timestamp| match outage.start.filter(|start| is_same_day(*start, end, current)) {
            Some(_) => ShownTime { text: when(end, end, &current.zone), ..time(end) },
            None => time(end),
        };
        let is_stale = current.blind().is_some() && matches!(outage.phase, Phase::Ongoing(_));
        let late = posted_late_s(stored).filter(|seconds| *seconds >= 60);
        let is_known = stored.was_polling || outage.kind.is_maintenance();
        ShownEvent {
            service: name_line(&outage.service),
            kind: name_line(&kind_word(&outage.kind)),
            class: event_class(outage),
            address: address(&stored.feed, outage),
            phase: if is_stale { "ongoing when last read" } else { phase(outage) },
            from: outage.start.map(time),
            to: until(outage).map(end),
            lasted: duration(outage, current.now).filter(|_| !is_stale),
            late: late.map(seconds_text),
            posted_by: (!is_known).then(|| time(outage.first_seen)),
            text: apple_text(&outage.message),
            users: name_line(outage.users_affected.as_deref().unwrap_or_default()),
        }
    }
}

/// Returns true if both times are on one day of the reader's zone.
pub fn is_same_day(one: Timestamp, other: Timestamp, current: &Current) -> bool {
    let date = |time: Timestamp| time.to_zoned_datetime(current.zone.clone()).date();
    date(one) == date(other)
}

/// Returns the address of the timeline of an outage.
pub fn address(feed: &FeedId, outage: &Outage) -> String {
    format!("/outages/{}", outage.key(feed))
}

/// Returns the class of an event's kind, as if it were ongoing.
pub fn event_class(outage: &Outage) -> &'static str {
    class(State::of(&Outage { phase: Phase::Ongoing(None), ..outage.clone() }))
}

fn phase(outage: &Outage) -> &'static str {
    match &outage.phase {
        Phase::Planned(_) => "planned",
        Phase::Ongoing(None) => "ongoing",
        Phase::Ongoing(Some(_)) => "ongoing, not listed at present",
        Phase::Over(_) if outage.was_cancelled() => "cancelled",
        Phase::Over(OverBy::Withdrawal) => "withdrawn: Apple no longer lists it",
        Phase::Over(OverBy::Apple) => "",
    }
}

/// Returns Apple's end. While an outage is ongoing, its announced end is no end; that of maintenance is.
fn until(outage: &Outage) -> Option<Timestamp> {
    match &outage.phase {
        Phase::Ongoing(_) if !outage.kind.is_maintenance() => None,
        Phase::Planned(_) | Phase::Ongoing(_) | Phase::Over(_) => {
            end(outage).filter(|end| outage.start.is_none_or(|start| start <= *end))
        }
    }
}

fn duration(outage: &Outage, now: Timestamp) -> Option<String> {
    let start = outage.start?;
    let to = match &outage.phase {
        Phase::Ongoing(_) => now,
        Phase::Planned(_) | Phase::Over(_) => until(outage)?,
    };
    (start <= to).then(|| lasted(start, to))
}

/// Returns a duration in words: `1 h 31 min`.
pub fn seconds_text(seconds: i64) -> String {
    lasted(Timestamp::UNIX_EPOCH, Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH))
}
