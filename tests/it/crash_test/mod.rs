//! The kill laboratory's rooms.
//!
//! ```text
//! script ─feed→ subject ─channel→ ear ─→ journal
//!    └────────────────→ judge ←─────────────┘
//! ```
//!
//! `bench` runs one trial, `moment` says when the subject dies, `planted` are subjects with faults.
//! `judge` compares the two ends and knows nothing of what is between them.

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

pub use daemon::Who;
pub use faulty::{Fault, live};
pub use kill_point::Manner;
pub use oracle::Verdict;
use oracle::judge;
pub use receiver::{Ear, relay};
use run::Bench;
pub use trial::Dose;

/// Deaths between two lines about how far it is.
const REPORT_EVERY: u32 = 500;

/// Tries so many subjects at once, each with dice of its own, and shares the deaths out among them.
pub fn try_all(dose: Dose, subjects: u32) -> Verdict {
    let (progress, deaths) = channel();
    let mut dice = fastrand::Rng::with_seed(dose.seed);
    scope(|scope| {
        let trials: Vec<_> = (0..subjects)
            .map(|number| {
                let share = dose.deaths * (number + 1) / subjects - dose.deaths * number / subjects;
                let dose = Dose { deaths: share, turn: number as usize, seed: dice.u64(..), ..dose };
                let progress = progress.clone();
                scope.spawn(move || judge(&Bench::new(dose, progress).run()))
            })
            .collect();
        drop(progress);
        for (death, ()) in (1..).zip(deaths) {
            if death % REPORT_EVERY == 0 {
                eprintln!("{death} of {} deaths", dose.deaths);
            }
        }
        let mut verdict = Verdict::default();
        for trial in trials {
            // A trial that panicked has said why.
            verdict.add(trial.join().expect("a trial that comes to its end"));
        }
        verdict
    })
}
