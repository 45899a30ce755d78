//! The parts of the crash test.
//!
//! ```text
//! scenario ─feed→ daemon ─channel→ receiver ─→ journal
//!    └────────────────→ oracle ←──────────────────┘
//! ```
//!
//! `run` executes one trial, `kill_point` says when the daemon is interrupted, `faulty` holds daemons with
//! faults. `oracle` compares the two ends and reads nothing in between.

mod daemon;
mod due;
mod faulty;
mod feed;
mod http;
mod journal;
mod kill_point;
mod listener;
mod oracle;
mod receiver;
mod run;
mod scenario;
mod trial;

use std::sync::mpsc::channel;
use std::thread::scope;

pub use daemon::DaemonKind;
pub use faulty::{Fault, run_faulty_daemon};
pub use kill_point::Interruption;
pub use oracle::Verdict;
use oracle::evaluate;
pub use receiver::{ReceiverKind, relay};
use run::Run;
pub use trial::TrialConfig;

/// Kills between two lines of progress.
const REPORT_EVERY: u32 = 500;

/// Runs trials of this many daemons in parallel, each with its own seed and its share of the kills.
pub fn try_all(config: TrialConfig, daemons: u32) -> Verdict {
    let (progress, kills) = channel();
    let mut rng = fastrand::Rng::with_seed(config.seed);
    scope(|scope| {
        let trials: Vec<_> = (0..daemons)
            .map(|number| {
                let share = config.kills * (number + 1) / daemons - config.kills * number / daemons;
                let config = TrialConfig { kills: share, turn: number as usize, seed: rng.u64(..), ..config };
                let progress = progress.clone();
                scope.spawn(move || evaluate(&Run::new(config, progress).execute()))
            })
            .collect();
        drop(progress);
        for (kill, ()) in (1..).zip(kills) {
            if kill % REPORT_EVERY == 0 {
                eprintln!("{kill} of {} kills", config.kills);
            }
        }
        let mut verdict = Verdict::default();
        for trial in trials {
            // A panic in a trial has been printed.
            verdict.add(trial.join().expect("a trial without a panic"));
        }
        verdict
    })
}
