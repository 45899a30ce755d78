//! The crash test: kills statusd at every point and counts what its receivers recorded.
//!
//! No change may be lost and none repeated needlessly. The oracle compares what the feed served with what
//! the receiver recorded, and does not read statusd. Faulty daemons prove that the test detects faults.
//! `cargo nextest` runs the short version, `scripts/crash-test` the long one.
//!
//! Time is real: statusd confirms a change for 30 s and retries after 5 s. Many daemons run in parallel
//! instead.
#![cfg(target_os = "linux")]

use crate::crash_test;
use std::env;

use crate::crash_test::{DaemonKind, Fault, Interruption, ReceiverKind, TrialConfig, Verdict, try_all};

/// The number of kills, the number of parallel daemons, and the seed of an earlier run.
const KILLS: &str = "CRASH_KILLS";
const DAEMONS: &str = "CRASH_DAEMONS";
const SEED: &str = "CRASH_SEED";

const SHORT_KILLS: u32 = 200;
/// A scene takes half a minute. A kill with a message in flight takes 5 s.
const KILLS_PER_SCENE: u32 = 10;

fn number<N: std::str::FromStr>(variable: &str) -> Option<N> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

fn seed() -> u64 {
    number(SEED).unwrap_or_else(|| fastrand::u64(..))
}

#[track_caller]
fn check_clean(receiver: ReceiverKind, interruption: Interruption, daemons: u32) {
    let kills = number(KILLS).unwrap_or(SHORT_KILLS);
    let daemons = number(DAEMONS).unwrap_or(daemons);
    let scenes = (kills.div_ceil(daemons) / KILLS_PER_SCENE).max(2) as usize;
    let seed = seed();
    let (daemon, refuses) = (DaemonKind::Statusd, true);
    let config = TrialConfig {
        daemon,
        receiver,
        interruption,
        kills,
        scenes,
        first_kill_scene: 1,
        refuses,
        turn: 0,
        seed,
    };
    let verdict = report(config, daemons);
    assert!(verdict.is_clean(), "{receiver:?}, {interruption:?}, {SEED}={}: {verdict}", config.seed);
    assert_eq!(verdict.all_kills(), kills);
    // Without a kill during a delivery the test would prove nothing.
    assert_eq!(verdict.repeats_of_kills > 0, interruption == Interruption::Kill);
}

fn report(config: TrialConfig, daemons: u32) -> Verdict {
    let TrialConfig { daemon, receiver, interruption, seed, .. } = config;
    println!("{daemon:?}, {receiver:?}, {interruption:?}, {SEED}={seed}");
    let verdict = try_all(config, daemons);
    println!("{daemon:?}, {receiver:?}, {interruption:?}, {SEED}={seed}: {verdict}");
    verdict
}

#[test]
fn killed_at_any_point_the_daemon_loses_nothing_and_repeats_only_the_message_in_flight() {
    check_clean(ReceiverKind::Webhook, Interruption::Kill, 50);
}

#[test]
fn killed_while_a_program_runs_the_daemon_loses_nothing_and_repeats_only_the_message_in_flight() {
    check_clean(ReceiverKind::Command, Interruption::Kill, 50);
}

#[test]
fn killed_while_sending_mail_the_daemon_loses_nothing_and_repeats_only_the_message_in_flight() {
    check_clean(ReceiverKind::Email, Interruption::Kill, 50);
}

#[test]
fn stopped_while_sending_the_daemon_loses_and_repeats_nothing() {
    check_clean(ReceiverKind::Webhook, Interruption::Stop, 10);
}

#[test]
fn with_a_locked_database_the_daemon_loses_and_repeats_nothing() {
    check_clean(ReceiverKind::Webhook, Interruption::Lock, 20);
}

/// Returns true if the verdict shows this fault.
fn is_caught(fault: Fault, verdict: &Verdict) -> bool {
    match fault {
        Fault::None => verdict.is_clean(),
        Fault::RecordedBeforeSent | Fault::EndDropped => verdict.lost > 0,
        Fault::RandomKey => verdict.keys_beyond > 0,
        Fault::EndOvertakes => verdict.overtaken > 0,
    }
}

/// On a loaded machine few kills may happen where the fault shows, so an undetected fault is tried with
/// other seeds. The daemon without a fault must pass the first time.
fn caught(fault: Fault, config: TrialConfig) -> Verdict {
    const ROUNDS: u64 = 5;
    let mut verdict = report(config, 3);
    for round in 1..ROUNDS {
        if fault == Fault::None || is_caught(fault, &verdict) {
            break;
        }
        verdict = report(TrialConfig { seed: config.seed.wrapping_add(round), ..config }, 3);
    }
    verdict
}

#[test]
fn faulty_daemons_are_detected_and_a_daemon_without_a_fault_passes() {
    let (receiver, interruption, seed) = (ReceiverKind::Webhook, Interruption::Kill, seed());
    let verdicts: Vec<(Fault, Verdict)> = std::thread::scope(|scope| {
        let trials = Fault::ALL.map(|fault| {
            let daemon = DaemonKind::Faulty(fault);
            // The last scene has ends to drop or to send too soon.
            let refuses = matches!(fault, Fault::None | Fault::EndDropped);
            let config = TrialConfig {
                daemon,
                receiver,
                interruption,
                kills: 12,
                scenes: 2,
                first_kill_scene: 2,
                refuses,
                turn: 0,
                seed,
            };
            (fault, scope.spawn(move || caught(fault, config)))
        });
        trials.map(|(fault, trial)| (fault, trial.join().expect("a trial without a panic"))).into()
    });
    for (fault, verdict) in &verdicts {
        assert!(is_caught(*fault, verdict), "{fault:?}, {SEED}={seed}: {verdict}");
    }
}

/// Not a test: the process behind [`DaemonKind::Faulty`].
#[test]
#[ignore = "a daemon started by the tests"]
fn faulty_daemon() {
    crash_test::run_faulty_daemon();
}

/// Not a test: the program that a command channel runs.
#[test]
#[ignore = "a program started by statusd"]
fn relay() {
    crash_test::relay();
}
