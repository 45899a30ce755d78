//! The kill laboratory: kills statusd at every moment and counts what its receivers then have.
//!
//! It shows that nothing is lost and nothing is said twice without need. The judge reads what the
//! feed showed and what a receiver wrote down, never statusd. Faulty subjects show that the
//! laboratory sees what it is there to see. `cargo nextest` runs the short dose, `scripts/crash-test` the
//! long one.
//!
//! Time is real: statusd confirms news for 30 s and tries again after 5 s, and no clock is bent to
//! shorten that. Many subjects live side by side instead.
#![cfg(target_os = "linux")]

use crate::crash_test;
use std::env;

use crate::crash_test::{Dose, Ear, Fault, Manner, Verdict, Who, try_all};

/// Read by the test program only: deaths, subjects side by side, and the dice, to throw them again.
const DEATHS: &str = "LAB_DEATHS";
const SUBJECTS: &str = "LAB_SUBJECTS";
const SEED: &str = "LAB_SEED";

const SHORT_DEATHS: u32 = 200;
/// A scene costs half a minute, a death with a message in flight five seconds.
const DEATHS_A_SCENE: u32 = 10;

fn number<N: std::str::FromStr>(variable: &str) -> Option<N> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

fn seed() -> u64 {
    number(SEED).unwrap_or_else(|| fastrand::u64(..))
}

#[track_caller]
fn check_clean(ear: Ear, manner: Manner, subjects: u32) {
    let deaths = number(DEATHS).unwrap_or(SHORT_DEATHS);
    let subjects = number(SUBJECTS).unwrap_or(subjects);
    let scenes = (deaths.div_ceil(subjects) / DEATHS_A_SCENE).max(2) as usize;
    let seed = seed();
    let (who, refuses) = (Who::Statusd, true);
    let dose = Dose { who, ear, manner, deaths, scenes, first_storm: 1, refuses, turn: 0, seed };
    let verdict = report(dose, subjects);
    assert!(verdict.is_clean(), "{ear:?}, {manner:?}, {SEED}={}: {verdict}", dose.seed);
    assert_eq!(verdict.all_deaths(), deaths);
    // Had no kill met a message in flight, there would have been nothing to see.
    assert_eq!(verdict.repeats_of_kills > 0, manner == Manner::Kill);
}

fn report(dose: Dose, subjects: u32) -> Verdict {
    let Dose { who, ear, manner, seed, .. } = dose;
    println!("{who:?}, {ear:?}, {manner:?}, {SEED}={seed}");
    let verdict = try_all(dose, subjects);
    println!("{who:?}, {ear:?}, {manner:?}, {SEED}={seed}: {verdict}");
    verdict
}

#[test]
fn killed_at_any_moment_it_loses_nothing_and_repeats_only_what_was_in_flight() {
    check_clean(Ear::Webhook, Manner::Kill, 50);
}

#[test]
fn killed_while_a_program_runs_it_loses_nothing_and_repeats_only_what_was_in_flight() {
    check_clean(Ear::Command, Manner::Kill, 50);
}

#[test]
fn killed_while_it_mails_it_loses_nothing_and_repeats_only_what_was_in_flight() {
    check_clean(Ear::Email, Manner::Kill, 50);
}

#[test]
fn stopped_in_the_middle_of_telling_it_loses_and_repeats_nothing() {
    check_clean(Ear::Webhook, Manner::Stop, 10);
}

#[test]
fn while_outcomes_cannot_be_written_it_loses_and_repeats_nothing() {
    check_clean(Ear::Webhook, Manner::Lock, 20);
}

/// What the laboratory must say of a subject with this fault.
fn is_caught(fault: Fault, verdict: &Verdict) -> bool {
    match fault {
        Fault::None => verdict.is_clean(),
        Fault::RecordedBeforeSent | Fault::EndDropped => verdict.lost > 0,
        Fault::RandomKey => verdict.keys_beyond > 0,
        Fault::EndOvertakes => verdict.overtaken > 0,
    }
}

/// On a loaded machine few deaths may fall where the fault shows, so a fault that was not seen gets
/// other dice. What has none must pass at once, or the laboratory accuses the innocent.
fn caught(fault: Fault, dose: Dose) -> Verdict {
    const ROUNDS: u64 = 5;
    let mut verdict = report(dose, 3);
    for round in 1..ROUNDS {
        if fault == Fault::None || is_caught(fault, &verdict) {
            break;
        }
        verdict = report(Dose { seed: dose.seed.wrapping_add(round), ..dose }, 3);
    }
    verdict
}

#[test]
fn planted_faults_are_caught_and_a_subject_without_one_passes() {
    let (ear, manner, seed) = (Ear::Webhook, Manner::Kill, seed());
    let verdicts: Vec<(Fault, Verdict)> = std::thread::scope(|scope| {
        let trials = Fault::ALL.map(|fault| {
            let who = Who::Planted(fault);
            // Behind the last scene, where there are ends to be dropped or sent too soon.
            let refuses = matches!(fault, Fault::None | Fault::EndDropped);
            let dose =
                Dose { who, ear, manner, deaths: 12, scenes: 2, first_storm: 2, refuses, turn: 0, seed };
            (fault, scope.spawn(move || caught(fault, dose)))
        });
        trials.map(|(fault, trial)| (fault, trial.join().expect("a trial that comes to its end"))).into()
    });
    for (fault, verdict) in &verdicts {
        assert!(is_caught(*fault, verdict), "{fault:?}, {SEED}={seed}: {verdict}");
    }
}

/// Not a test: what [`Who::Planted`] starts.
#[test]
#[ignore = "a subject, started by the tests"]
fn subject() {
    crash_test::live();
}

/// Not a test: the program that a command channel runs.
#[test]
#[ignore = "a program, started by statusd"]
fn relay() {
    crash_test::relay();
}
