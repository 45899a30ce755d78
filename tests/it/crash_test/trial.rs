//! The parameters, the events and the result of a trial.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::daemon::DaemonKind;
use super::journal::Message;
use super::kill_point::Interruption;
use super::receiver::{Ack, Admission, ReceiverKind};
use super::scenario::Change;

/// An event at the feed or the receiver of a daemon.
pub enum Event {
    /// A request for the feed, answered with this scene.
    Polled {
        incarnation: u32,
        scene: usize,
        at: Instant,
    },
    /// A message arrived and is not yet in the journal.
    Arrived {
        message: Message,
        answer: Sender<Admission>,
    },
    /// The message is in the journal and not yet answered.
    Recorded {
        message: Message,
        answer: Sender<Ack>,
    },
    Answered {
        incarnation: u32,
    },
}

/// The parameters of one trial.
#[derive(Clone, Copy, Debug)]
pub struct TrialConfig {
    pub daemon: DaemonKind,
    pub receiver: ReceiverKind,
    pub interruption: Interruption,
    pub kills: u32,
    /// Scenes with changes.
    pub scenes: usize,
    /// The first scene after which the daemon is killed, from 1.
    pub first_kill_scene: usize,
    /// The receiver refuses one end.
    pub refuses: bool,
    /// The kind of kill point that comes first.
    pub turn: usize,
    pub seed: u64,
}

/// The result of a trial, for the oracle.
pub struct Trial {
    pub receiver: ReceiverKind,
    pub due: Vec<Change>,
    pub journal: PathBuf,
    /// Incarnations ended by SIGKILL.
    pub killed: BTreeSet<u32>,
    pub kills: BTreeMap<&'static str, u32>,
    /// Stops that took too long or failed.
    pub bad_stops: Vec<String>,
    pub slowest_stop: Duration,
    /// The home of the daemon, with the journal.
    pub home: TempDir,
}
