//! Compares what a receiver recorded with the changes that the scenario made due.
//!
//! It reads nothing of statusd, neither its database nor its output. Four counts must be zero.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use super::journal::{self, Message};
use super::scenario::{Change, Kind};
use super::trial::Trial;

/// Findings printed in full.
const MAX_FINDINGS: usize = 20;

/// The result of one or more trials.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    pub daemons: u32,
    pub kills: BTreeMap<&'static str, u32>,
    pub due: usize,
    pub received: usize,
    /// Repeated because a kill left open whether the message had arrived. At most one per kill.
    pub repeats_of_kills: usize,
    /// Due and never delivered.
    pub lost: usize,
    /// Delivered under more keys than there were changes, or without a change.
    pub keys_beyond: usize,
    /// Ends before their starts.
    pub overtaken: usize,
    /// Repeated without a kill that explains the repeat, or with a different text.
    pub needless_repeats: usize,
    pub bad_stops: usize,
    pub slowest_stop: Duration,
    pub findings: Vec<String>,
}

impl Verdict {
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    pub fn all_kills(&self) -> u32 {
        self.kills.values().sum()
    }

    pub fn add(&mut self, other: Verdict) {
        self.daemons += other.daemons;
        for (kill_point, kills) in other.kills {
            *self.kills.entry(kill_point).or_default() += kills;
        }
        self.due += other.due;
        self.received += other.received;
        self.repeats_of_kills += other.repeats_of_kills;
        self.lost += other.lost;
        self.keys_beyond += other.keys_beyond;
        self.overtaken += other.overtaken;
        self.needless_repeats += other.needless_repeats;
        self.bad_stops += other.bad_stops;
        self.slowest_stop = self.slowest_stop.max(other.slowest_stop);
        self.findings.extend(other.findings);
    }

    fn finds(&mut self, finding: String) {
        self.findings.push(finding);
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} kills of {} daemons:", self.all_kills(), self.daemons)?;
        for (kill_point, kills) in &self.kills {
            writeln!(f, "  {kills:6} {kill_point}")?;
        }
        writeln!(f, "{:8} changes due, {} messages received", self.due, self.received)?;
        writeln!(f, "{:8} lost", self.lost)?;
        writeln!(f, "{:8} keys beyond one per change", self.keys_beyond)?;
        writeln!(f, "{:8} ends before their starts", self.overtaken)?;
        writeln!(
            f,
            "{:8} needless repeats ({} of messages in flight at a kill)",
            self.needless_repeats, self.repeats_of_kills
        )?;
        write!(f, "{:8} bad stops, the slowest took {:?}", self.bad_stops, self.slowest_stop)?;
        for finding in self.findings.iter().take(MAX_FINDINGS) {
            write!(f, "\n  {finding}")?;
        }
        Ok(())
    }
}

/// Evaluates one trial.
pub fn evaluate(trial: &Trial) -> Verdict {
    let journal = journal::read(&trial.journal);
    let mut verdict = Verdict {
        daemons: 1,
        kills: trial.kills.clone(),
        due: trial.due.len(),
        received: journal.len(),
        bad_stops: trial.bad_stops.len(),
        findings: trial.bad_stops.clone(),
        slowest_stop: trial.slowest_stop,
        ..Verdict::default()
    };
    let first_times = without_repeats(&journal, &trial.killed, &mut verdict);
    let mut delivered: Vec<Change> =
        first_times.iter().flat_map(|message| trial.receiver.changes(&message.text)).collect();
    if trial.receiver.is_for_people() {
        delivered = unfolded(delivered, &trial.due);
    }
    count(&delivered, &trial.due, &mut verdict);
    for service in trial.due.iter().map(|change| &change.service).collect::<BTreeSet<_>>() {
        order(service, &delivered, &mut verdict);
    }
    verdict
}

/// Returns the first arrival of each message. A repeat is allowed only for the message in flight at a
/// kill, and only with no other message in between.
fn without_repeats<'j>(
    journal: &'j [Message],
    killed: &BTreeSet<u32>,
    verdict: &mut Verdict,
) -> Vec<&'j Message> {
    let mut known: BTreeMap<&str, usize> = BTreeMap::new();
    let mut first_times = Vec::new();
    for (index, message) in journal.iter().enumerate() {
        let Some(before) = known.insert(&message.key, index) else {
            first_times.push(message);
            continue;
        };
        let was = &journal[before];
        let by_kill =
            before + 1 == index && was.incarnation < message.incarnation && killed.contains(&was.incarnation);
        if by_kill && was.text == message.text {
            verdict.repeats_of_kills += 1;
        } else {
            verdict.needless_repeats += 1;
            let (from, to) = (was.incarnation, message.incarnation);
            let words = if was.text == message.text { "" } else { " with another text" };
            verdict.finds(format!(
                "{}: repeated{words}, in incarnation {from} and in incarnation {to}",
                message.key
            ));
        }
    }
    first_times
}

/// Expands a message for people that combines a pending start and end.
fn unfolded(delivered: Vec<Change>, due: &[Change]) -> Vec<Change> {
    let mut unfolded: Vec<Change> = Vec::new();
    for change in delivered {
        let of_service = |all: &[Change]| -> Vec<Kind> {
            all.iter().filter(|other| other.service == change.service).map(|other| other.kind).collect()
        };
        let (due, delivered) = (of_service(due), of_service(&unfolded));
        match due.get(delivered.len()..) {
            Some([start, Kind::Ended, ..]) if change.kind == Kind::Missed && start.is_start() => {
                unfolded.extend([*start, Kind::Ended].map(|kind| Change { kind, ..change.clone() }));
            }
            _ => unfolded.push(change),
        }
    }
    unfolded
}

fn count(delivered: &[Change], due: &[Change], verdict: &mut Verdict) {
    let mut balance: BTreeMap<&Change, (usize, usize)> = BTreeMap::new();
    for change in due {
        balance.entry(change).or_default().0 += 1;
    }
    for change in delivered {
        balance.entry(change).or_default().1 += 1;
    }
    for (Change { service, kind }, (due, delivered)) in balance {
        verdict.lost += due.saturating_sub(delivered);
        verdict.keys_beyond += delivered.saturating_sub(due);
        if due != delivered {
            verdict.finds(format!("{service} {kind:?}: due {due} times, delivered under {delivered} keys"));
        }
    }
}

/// Counts ends that come before their starts. `count` reports lost starts.
fn order(service: &str, delivered: &[Change], verdict: &mut Verdict) {
    let places = |is_wanted: fn(Kind) -> bool| -> Vec<usize> {
        let wanted = |(_, change): &(usize, &Change)| change.service == service && is_wanted(change.kind);
        delivered.iter().enumerate().filter(wanted).map(|(place, _)| place).collect()
    };
    let starts = places(Kind::is_start);
    let ends = places(|kind| kind == Kind::Ended);
    for (start, end) in starts.iter().zip(&ends).filter(|(start, end)| end < start) {
        verdict.overtaken += 1;
        verdict.finds(format!("{service}: the end came as number {end}, its start as number {start}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<Change> {
        let kind = |letter| match letter {
            'b' => Kind::Began,
            'r' => Kind::Reopened,
            'e' => Kind::Ended,
            'm' => Kind::Missed,
            _ => Kind::Other,
        };
        text.chars().map(|letter| Change { service: "App s001".to_owned(), kind: kind(letter) }).collect()
    }

    /// `expected`: lost, keys beyond, overtaken.
    #[track_caller]
    fn check(due: &str, delivered: &str, expected: (usize, usize, usize)) {
        let (due, delivered) = (all(due), all(delivered));
        let mut verdict = Verdict::default();
        count(&delivered, &due, &mut verdict);
        order("App s001", &delivered, &mut verdict);
        assert_eq!((verdict.lost, verdict.keys_beyond, verdict.overtaken), expected);
        assert_eq!(verdict.is_clean(), expected == (0, 0, 0));
    }

    #[test]
    fn lost_extra_and_reordered_changes_are_counted() {
        check("be", "be", (0, 0, 0));
        check("bere", "bere", (0, 0, 0));
        check("be", "e", (1, 0, 0));
        check("bere", "ber", (1, 0, 0));
        check("be", "bee", (0, 1, 0));
        check("be", "bem", (0, 1, 0));
        check("be", "eb", (0, 0, 1));
        check("bere", "beer", (0, 0, 1));
    }

    #[test]
    fn combined_message_counts_as_start_and_end() {
        let unfold = |delivered: &str, due: &str| unfolded(all(delivered), &all(due)) == all(due);
        assert!(unfold("be", "be") && unfold("m", "be") && unfold("m", "m") && unfold("mm", "mre"));
        assert!(unfold("bem", "bere") && unfold("mb", "beb"));
        assert!(!unfold("m", "b") && !unfold("m", "eb") && !unfold("b", "be"));
    }

    /// `expected`: repeats of kills, needless repeats. Each word is an incarnation, a key and a text.
    #[track_caller]
    fn check_repeats(journal: &str, killed: &[u32], expected: (usize, usize)) {
        let message = |word: &str| Message {
            incarnation: word[..1].parse().expect("an incarnation"),
            key: word[1..2].to_owned(),
            text: word[2..].to_owned(),
        };
        let journal: Vec<Message> = journal.split(' ').map(message).collect();
        let mut verdict = Verdict::default();
        without_repeats(&journal, &killed.iter().copied().collect(), &mut verdict);
        assert_eq!((verdict.repeats_of_kills, verdict.needless_repeats), expected);
    }

    #[test]
    fn only_the_message_in_flight_at_a_kill_may_repeat() {
        check_repeats("1a 1b 2b 2c", &[1], (1, 0));
        check_repeats("1a 2a 3a", &[1, 2], (2, 0));
        check_repeats("1a 1a", &[1], (0, 1));
        check_repeats("1a 2a", &[], (0, 1));
        check_repeats("1a 1b 2a", &[1], (0, 1));
        check_repeats("1ax 2ay", &[1], (0, 1));
    }
}
