//! A test oracle: checks the changes of a replay against the whole recording, with hindsight.
//!
//! The oracle shares no code with statusd and models no clock, no polls and no confirmation. It reads the
//! whole recording, drops stale copies, and derives the expected changes of every event. It checks
//! neither texts nor recipients. An announced change must be true of the document shown at that moment.
//! A state that was shown for long enough must be announced exactly once.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;

pub use recording::slowed;
use recording::{Shown, State, Subject, folded};

mod recording;

/// A state shown for this long must be announced: a poll within five minutes, its confirmation 45 s
/// later, and slack. A state shown for less may be announced.
const SURE_S: i64 = 6 * 60;
const WITHDRAWN_AFTER_S: i64 = 2 * 3600;
const UNLISTED_AFTER_S: i64 = 24 * 3600;
/// Absence must be seen in three fetches, five minutes apart at worst.
const THREE_FETCHES_S: i64 = 3 * 300;
/// An event that starts further away than this from its former start is another one.
const SAME_OUTAGE_WITHIN_S: i64 = 7 * 86_400;
/// Brief runs of one event that are tried both as seen and as unseen.
const MAX_BRIEF_RUNS: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Announced, but not true.
    False,
    /// Expected, but not announced.
    Missing,
    /// Announced twice.
    Repeated,
    /// Announced with wrong times or a wrong kind.
    Wrong,
    /// Announced later than a poll and its confirmation allow.
    Late,
}

#[derive(Debug)]
pub struct Finding {
    pub fault: Fault,
    pub words: String,
}

#[derive(Debug, Default)]
pub struct Verdict {
    pub documents: usize,
    pub stale: usize,
    /// The number of announced changes of each kind.
    pub announced: BTreeMap<String, usize>,
    pub findings: Vec<Finding>,
    /// Changes shown too briefly, which may be announced or not.
    pub excused: Vec<String>,
}

impl Verdict {
    pub fn count(&self, fault: Fault) -> usize {
        self.findings.iter().filter(|finding| finding.fault == fault).count()
    }

    fn find(&mut self, fault: Fault, words: String) {
        self.findings.push(Finding { fault, words });
    }
}

/// One line of `statusd replay --json`; times in Unix seconds.
#[derive(Debug)]
struct Announced<'a> {
    line: &'a str,
    at: i64,
    kind: String,
    subject: Subject,
    occurrence: Option<u64>,
    outage_kind: Option<String>,
    began_at: Option<i64>,
    ended_at: Option<i64>,
    key: String,
}

impl Announced<'_> {
    /// All documented members must be there, be it as null.
    fn read(line: &str) -> Announced<'_> {
        let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"));
        let member = |name: &str| value.get(name).unwrap_or_else(|| panic!("no {name} in {line}"));
        let text = |name: &str| member(name).as_str().map(str::to_owned);
        let time = |name: &str| {
            let utc =
                text(name).filter(|text| text.ends_with('Z') || panic!("{name} is not UTC in {line}"))?;
            Some(utc.parse::<Timestamp>().unwrap_or_else(|error| panic!("{error} in {line}")).as_second())
        };
        Announced {
            line,
            at: time("at").unwrap_or_else(|| panic!("no time in {line}")),
            kind: text("kind").unwrap_or_default(),
            subject: (folded(&text("service").unwrap_or_default()), text("message_id").unwrap_or_default()),
            occurrence: member("occurrence").as_u64(),
            outage_kind: text("outage_kind"),
            began_at: time("began_at"),
            ended_at: time("ended_at"),
            key: text("key").unwrap_or_else(|| panic!("no key in {line}")),
        }
    }
}

/// A time for which accepted documents showed one event in one state.
#[derive(Debug)]
struct Run {
    state: State,
    first_start: Option<i64>,
    last_start: Option<i64>,
    from: i64,
    until: i64,
    /// The time shown, excluding stale copies.
    visible_s: i64,
    /// The start of the newest uninterrupted stretch.
    stretch_from: i64,
    /// The deadline; `None` if the state was not shown for long enough.
    sure_by: Option<i64>,
}

/// An expected change.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Expected {
    kind: &'static str,
    occurrence: Option<u64>,
    /// Unix seconds; an announcement before this time is false.
    not_before: i64,
    sure_by: Option<i64>,
}

/// Checks the output of a replay (JSON Lines) against its recording (JSON Lines).
///
/// # Panics
///
/// A line of either does not have the documented form.
pub fn verify(recording: &str, replay: &str) -> Verdict {
    let shown = recording::read(recording);
    let announced: Vec<Announced> = replay.lines().map(Announced::read).collect();
    let mut verdict = Verdict { documents: shown.len(), ..Verdict::default() };
    verdict.stale = shown.iter().filter(|line| line.stale).count();

    let mut keys = BTreeSet::new();
    let mut by_subject: BTreeMap<Subject, Vec<&Announced>> = BTreeMap::new();
    for line in &announced {
        *verdict.announced.entry(line.kind.clone()).or_default() += 1;
        if !keys.insert(&line.key) {
            verdict.find(Fault::Repeated, format!("the key was used before: {}", line.line));
            continue;
        }
        match contradiction(line, &shown) {
            Some((Fault::False, why)) => verdict.find(Fault::False, format!("{why}: {}", line.line)),
            other => {
                if let Some((fault, why)) = other {
                    verdict.find(fault, format!("{why}: {}", line.line));
                }
                if !matches!(line.kind.as_str(), "unreadable" | "readable") {
                    by_subject.entry(line.subject.clone()).or_default().push(line);
                }
            }
        }
    }
    let subjects: BTreeSet<&Subject> =
        shown.iter().filter_map(Shown::accepted).flat_map(BTreeMap::keys).chain(by_subject.keys()).collect();
    for subject in subjects {
        let announced = by_subject.get(subject).map_or(&[][..], Vec::as_slice);
        check_subject(subject, &shown, announced, &mut verdict);
    }
    verdict
}

/// Compares the announced with the expected changes of one event or service. A brief run
/// may have been seen or not; the better match counts.
fn check_subject(subject: &Subject, shown: &[Shown], announced: &[&Announced], verdict: &mut Verdict) {
    let runs = runs(subject, shown);
    let last_from = shown.last().map_or(0, |line| line.from);
    let gone_after_s = if subject.1.is_empty() { UNLISTED_AFTER_S } else { WITHDRAWN_AFTER_S };
    let brief: Vec<usize> = (0..runs.len())
        .filter(|&at| at > 0 || runs[at].state != State::Absent)
        .filter(|&at| runs[at].may_be_unseen(gone_after_s, last_from))
        .take(MAX_BRIEF_RUNS)
        .collect();
    let strict = expected(&runs.iter().collect::<Vec<_>>(), gone_after_s);
    let mut best = compare(&strict, announced);
    for unseen in 1..1_u32 << brief.len() {
        let is_seen =
            |at: usize| brief.iter().position(|&b| b == at).is_none_or(|bit| unseen & 1 << bit == 0);
        let seen: Vec<&Run> = (0..runs.len()).filter(|&at| is_seen(at)).map(|at| &runs[at]).collect();
        let other = expected(&seen, gone_after_s);
        if unseen.count_ones() == 1 && other != strict {
            let run = &runs[brief[unseen.trailing_zeros() as usize]];
            let moment = moment(run.from);
            verdict.excused.push(format!("{subject:?} {:?} at {moment} for {} s", run.state, run.visible_s));
        }
        let findings = compare(&other, announced);
        if findings.len() < best.len() {
            best = findings;
        }
    }
    for (fault, words) in best {
        verdict.find(fault, format!("{subject:?} {words}"));
    }
}

fn compare(expected: &[Expected], announced: &[&Announced]) -> Vec<(Fault, String)> {
    let mut open: Vec<&Expected> = expected.iter().collect();
    let mut findings = Vec::new();
    // Runs do not keep the times of a plan. So moved and cancelled plans are checked only against the
    // document (`contradiction`), and missing ones are not detected.
    for line in announced.iter().filter(|line| !["moved", "cancelled"].contains(&line.kind.as_str())) {
        let is_this = |expected: &&Expected| {
            expected.kind.split('|').any(|kind| kind == line.kind)
                && (expected.occurrence.is_none() || expected.occurrence == line.occurrence)
                && expected.not_before <= line.at
        };
        match open.iter().position(is_this) {
            Some(at) => {
                if open.remove(at).sure_by.is_some_and(|by| line.at > by) {
                    findings.push((Fault::Late, format!("announced late: {}", line.line)));
                }
            }
            None if expected.iter().any(|expected| is_this(&expected)) => {
                findings.push((Fault::Repeated, format!("repeated: {}", line.line)));
            }
            None => findings.push((Fault::False, format!("unexpected: {}", line.line))),
        }
    }
    findings.extend(open.into_iter().map(|expected| (Fault::Missing, format!("missing: {expected:?}"))));
    findings
}

/// Returns the contradiction between an announced change and the document shown at that time.
fn contradiction(announced: &Announced, shown: &[Shown]) -> Option<(Fault, &'static str)> {
    let now = announced.at;
    let Some(current) = shown.iter().rfind(|line| line.from <= now) else {
        return Some((Fault::False, "announced before the first document"));
    };
    let can_read = current.entries.is_some();
    match announced.kind.as_str() {
        "unreadable" => return can_read.then_some((Fault::False, "the document can be read")),
        "readable" => return (!can_read).then_some((Fault::False, "the document cannot be read")),
        _ => {}
    }
    let Some(entries) = current.accepted() else {
        return Some((Fault::False, "announced from a stale or unreadable document"));
    };
    let entry = entries.get(&announced.subject);
    let state = entry.map_or(&State::Absent, |entry| &entry.state);
    let is_so = match announced.kind.as_str() {
        "began" | "reopened" | "worsened" | "eased" => matches!(state, State::Ongoing(_)),
        "ended" | "missed" => *state == State::Over,
        "withdrawn" | "unlisted" => *state == State::Absent,
        "planned" => *state == State::Planned,
        "moved" => matches!(state, State::Planned | State::Running),
        "cancelled" => matches!(state, State::Absent | State::Done),
        "started" => *state == State::Running,
        "over" => *state == State::Done,
        "listed_again" => *state == State::Listed,
        _ => false,
    };
    if !is_so {
        return Some((Fault::False, "the document does not say so"));
    }
    let entry = entry?;
    if announced.began_at != entry.start {
        return Some((Fault::Wrong, "began_at is not Apple's start"));
    }
    let is_end = matches!(announced.kind.as_str(), "ended" | "missed" | "over");
    if is_end && entry.end.is_some() && announced.ended_at != entry.end {
        return Some((Fault::Wrong, "ended_at is not Apple's end"));
    }
    match &entry.state {
        State::Ongoing(kind) if announced.outage_kind.as_ref() != Some(kind) => {
            Some((Fault::Wrong, "outage_kind is not Apple's"))
        }
        _ => None,
    }
}

/// The rules, for one event or one service, over what was seen of it.
fn expected(runs: &[&Run], gone_after_s: i64) -> Vec<Expected> {
    let mut expected = Vec::new();
    let mut believed = State::Absent;
    let mut occurrence = 0;
    let mut former_start = None;
    let mut absent_since = None;
    for (at, run) in runs.iter().enumerate() {
        let is_known = occurrence > 0;
        let is_another = |start: Option<i64>| match (start, run.first_start) {
            (Some(former), Some(start)) => former.abs_diff(start) > SAME_OUTAGE_WITHIN_S.unsigned_abs(),
            _ => false,
        };
        if run.state == State::Absent {
            let since = *absent_since.get_or_insert(run.from);
            let back_at = runs.get(at + 1).map_or(run.until, |next| next.from);
            let is_gone = back_at - since >= gone_after_s;
            let kind = match believed {
                State::Ongoing(_) if is_gone => "withdrawn",
                State::Listed if is_gone => "unlisted",
                _ => continue,
            };
            believed = State::Absent;
            let number = Some(occurrence).filter(|number| *number > 0);
            expected.push(Expected {
                kind,
                occurrence: number,
                not_before: since + gone_after_s,
                sure_by: None,
            });
            continue;
        }
        absent_since = None;
        let is_first_document = at == 0;
        let kind = match (&believed, &run.state) {
            (State::Ongoing(former), State::Ongoing(kind)) => kind_change(former, kind),
            (State::Over | State::Absent, State::Ongoing(_)) if is_known => {
                occurrence += 1;
                Some(if is_another(former_start) { "began" } else { "reopened" })
            }
            (_, State::Ongoing(_)) => Some("began"),
            (State::Ongoing(_), State::Over) => Some("ended"),
            (State::Over, State::Over) if is_another(former_start) => {
                occurrence += 1;
                Some("missed")
            }
            (State::Absent, State::Over) if !is_known && !is_first_document => Some("missed"),
            (State::Planned, State::Planned) | (State::Running, State::Running) => None,
            (_, State::Planned) => Some("planned"),
            (_, State::Running) => Some("started"),
            (State::Planned | State::Running, State::Done) => Some("over"),
            (State::Absent, State::Listed) if !expected.is_empty() => Some("listed_again"),
            _ => None,
        };
        let is_service = run.state == State::Listed;
        occurrence = if is_service { 0 } else { occurrence.max(1) };
        let number = Some(occurrence).filter(|_| !is_service);
        let (not_before, sure_by) = (run.from, run.sure_by);
        expected.extend(kind.map(|kind| Expected { kind, occurrence: number, not_before, sure_by }));
        believed = run.state.clone();
        former_start = run.last_start;
    }
    expected
}

/// Only Outage is surely worse than the others; between those either word will do.
fn kind_change(former: &str, kind: &str) -> Option<&'static str> {
    match (former, kind) {
        _ if former == kind => None,
        (_, "Outage") => Some("worsened"),
        ("Outage", _) => Some("eased"),
        _ => Some("worsened|eased"),
    }
}

impl Run {
    /// Returns true if the polls may have missed it or, for an absence, found it too short.
    fn may_be_unseen(&self, gone_after_s: i64, last_from: i64) -> bool {
        if self.state != State::Absent {
            return self.sure_by.is_none();
        }
        // The recording does not say how long the replay continues after its last line.
        let known_s = self.until.min(last_from + SURE_S) - self.from;
        self.until - self.from >= gone_after_s
            && (known_s < gone_after_s + SURE_S || self.visible_s < THREE_FETCHES_S)
    }
}

fn runs(subject: &Subject, shown: &[Shown]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for line in shown {
        let Some(entries) = line.accepted() else { continue };
        let entry = entries.get(subject);
        let state = entry.map_or(State::Absent, |entry| entry.state.clone());
        let start = entry.and_then(|entry| entry.start);
        if runs.last().is_none_or(|run| run.state != state) {
            runs.push(Run {
                state,
                first_start: start,
                last_start: start,
                from: line.from,
                until: line.from,
                visible_s: 0,
                stretch_from: line.from,
                sure_by: None,
            });
        }
        let Some(run) = runs.last_mut() else { continue };
        if run.until != line.from {
            run.stretch_from = line.from;
        }
        run.until = line.until;
        run.visible_s += line.until - line.from;
        run.last_start = start;
        if run.sure_by.is_none() && line.until - run.stretch_from >= SURE_S {
            run.sure_by = Some(run.stretch_from + SURE_S);
        }
    }
    runs
}

fn moment(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap_or(Timestamp::MAX)
}
