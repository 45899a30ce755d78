//! What the one who was told has on file, against what the script made due.
//!
//! Reads nothing of statusd: neither its database nor its output. Four counts must be zero.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use super::journal::{self, Message};
use super::scenario::{Kind, News};
use super::trial::Trial;

/// How many findings are told in full.
const MAX_FINDINGS: usize = 20;

/// What trials came to. Adds up.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    pub subjects: u32,
    pub deaths: BTreeMap<&'static str, u32>,
    pub due: usize,
    pub heard: usize,
    /// Came again because a kill left open whether it had arrived: one a kill at most.
    pub repeats_of_kills: usize,
    /// Due and never told.
    pub lost: usize,
    /// Told under more keys than there was news, or no news at all.
    pub keys_beyond: usize,
    /// An end before its start.
    pub overtaken: usize,
    /// Came again without a kill that explains it, or in other words.
    pub needless_repeats: usize,
    pub bad_stops: usize,
    pub slowest_stop: Duration,
    pub findings: Vec<String>,
}

impl Verdict {
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    pub fn all_deaths(&self) -> u32 {
        self.deaths.values().sum()
    }

    pub fn add(&mut self, other: Verdict) {
        self.subjects += other.subjects;
        for (moment, deaths) in other.deaths {
            *self.deaths.entry(moment).or_default() += deaths;
        }
        self.due += other.due;
        self.heard += other.heard;
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
        writeln!(f, "{} deaths of {} subjects:", self.all_deaths(), self.subjects)?;
        for (moment, deaths) in &self.deaths {
            writeln!(f, "  {deaths:6} {moment}")?;
        }
        writeln!(f, "{:8} changes due, {} messages heard", self.due, self.heard)?;
        writeln!(f, "{:8} lost", self.lost)?;
        writeln!(f, "{:8} keys beyond one a change", self.keys_beyond)?;
        writeln!(f, "{:8} ends before their starts", self.overtaken)?;
        writeln!(
            f,
            "{:8} repeats without need ({} of what was in flight at a kill)",
            self.needless_repeats, self.repeats_of_kills
        )?;
        write!(f, "{:8} bad stops, the slowest took {:?}", self.bad_stops, self.slowest_stop)?;
        for finding in self.findings.iter().take(MAX_FINDINGS) {
            write!(f, "\n  {finding}")?;
        }
        Ok(())
    }
}

/// Judges one trial.
pub fn judge(trial: &Trial) -> Verdict {
    let journal = journal::read(&trial.journal);
    let mut verdict = Verdict {
        subjects: 1,
        deaths: trial.deaths.clone(),
        due: trial.due.len(),
        heard: journal.len(),
        bad_stops: trial.bad_stops.len(),
        findings: trial.bad_stops.clone(),
        slowest_stop: trial.slowest_stop,
        ..Verdict::default()
    };
    let first_times = without_repeats(&journal, &trial.killed, &mut verdict);
    let mut told: Vec<News> = first_times.iter().flat_map(|message| trial.ear.news(&message.text)).collect();
    if trial.ear.is_for_people() {
        told = unfolded(told, &trial.due);
    }
    count(&told, &trial.due, &mut verdict);
    for service in trial.due.iter().map(|news| &news.service).collect::<BTreeSet<_>>() {
        order(service, &told, &mut verdict);
    }
    verdict
}

/// Messages that came for the first time. The others must be those that were in flight when a life
/// was killed: nothing else can have come in between.
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
        let by_kill = before + 1 == index && was.life < message.life && killed.contains(&was.life);
        if by_kill && was.text == message.text {
            verdict.repeats_of_kills += 1;
        } else {
            verdict.needless_repeats += 1;
            let (from, to) = (was.life, message.life);
            let words = if was.text == message.text { "" } else { " in other words" };
            verdict.finds(format!("{}: repeated{words}, in life {from} and in life {to}", message.key));
        }
    }
    first_times
}

/// To people a start and an end that both waited are told as one.
fn unfolded(told: Vec<News>, due: &[News]) -> Vec<News> {
    let mut unfolded: Vec<News> = Vec::new();
    for news in told {
        let of_service = |all: &[News]| -> Vec<Kind> {
            all.iter().filter(|other| other.service == news.service).map(|other| other.kind).collect()
        };
        let (due, told) = (of_service(due), of_service(&unfolded));
        match due.get(told.len()..) {
            Some([start, Kind::Ended, ..]) if news.kind == Kind::Missed && start.is_start() => {
                unfolded.extend([*start, Kind::Ended].map(|kind| News { kind, ..news.clone() }));
            }
            _ => unfolded.push(news),
        }
    }
    unfolded
}

fn count(told: &[News], due: &[News], verdict: &mut Verdict) {
    let mut balance: BTreeMap<&News, (usize, usize)> = BTreeMap::new();
    for news in due {
        balance.entry(news).or_default().0 += 1;
    }
    for news in told {
        balance.entry(news).or_default().1 += 1;
    }
    for (News { service, kind }, (due, told)) in balance {
        verdict.lost += due.saturating_sub(told);
        verdict.keys_beyond += told.saturating_sub(due);
        if due != told {
            verdict.finds(format!("{service} {kind:?}: due {due} times, told under {told} keys"));
        }
    }
}

/// The end of each outage stands behind its start, wherever there is one. A lost start is counted
/// elsewhere.
fn order(service: &str, told: &[News], verdict: &mut Verdict) {
    let places = |is_wanted: fn(Kind) -> bool| -> Vec<usize> {
        let wanted = |(_, news): &(usize, &News)| news.service == service && is_wanted(news.kind);
        told.iter().enumerate().filter(wanted).map(|(place, _)| place).collect()
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

    fn all(text: &str) -> Vec<News> {
        let kind = |letter| match letter {
            'b' => Kind::Began,
            'r' => Kind::Reopened,
            'e' => Kind::Ended,
            'm' => Kind::Missed,
            _ => Kind::Other,
        };
        text.chars().map(|letter| News { service: "Lab s001".to_owned(), kind: kind(letter) }).collect()
    }

    /// Lost, keys beyond, overtaken.
    #[track_caller]
    fn check(due: &str, told: &str, expected: (usize, usize, usize)) {
        let (due, told) = (all(due), all(told));
        let mut verdict = Verdict::default();
        count(&told, &due, &mut verdict);
        order("Lab s001", &told, &mut verdict);
        assert_eq!((verdict.lost, verdict.keys_beyond, verdict.overtaken), expected);
        assert_eq!(verdict.is_clean(), expected == (0, 0, 0));
    }

    #[test]
    fn what_is_lost_invented_or_out_of_order_is_counted() {
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
    fn what_was_folded_counts_as_both() {
        let unfold = |told: &str, due: &str| unfolded(all(told), &all(due)) == all(due);
        assert!(unfold("be", "be") && unfold("m", "be") && unfold("m", "m") && unfold("mm", "mre"));
        assert!(unfold("bem", "bere") && unfold("mb", "beb"));
        assert!(!unfold("m", "b") && !unfold("m", "eb") && !unfold("b", "be"));
    }

    /// Repeats of kills, needless repeats. A word is the life, the key and the text.
    #[track_caller]
    fn check_repeats(journal: &str, killed: &[u32], expected: (usize, usize)) {
        let message = |word: &str| Message {
            life: word[..1].parse().expect("a life"),
            key: word[1..2].to_owned(),
            text: word[2..].to_owned(),
        };
        let journal: Vec<Message> = journal.split(' ').map(message).collect();
        let mut verdict = Verdict::default();
        without_repeats(&journal, &killed.iter().copied().collect(), &mut verdict);
        assert_eq!((verdict.repeats_of_kills, verdict.needless_repeats), expected);
    }

    #[test]
    fn only_what_was_in_flight_at_a_kill_may_come_again() {
        check_repeats("1a 1b 2b 2c", &[1], (1, 0));
        check_repeats("1a 2a 3a", &[1, 2], (2, 0));
        check_repeats("1a 1a", &[1], (0, 1));
        check_repeats("1a 2a", &[], (0, 1));
        check_repeats("1a 1b 2a", &[1], (0, 1));
        check_repeats("1ax 2ay", &[1], (0, 1));
    }
}
