//! What goes into a trial, what happens in it, and what is left of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::daemon::Who;
use super::journal::Message;
use super::kill_point::Manner;
use super::receiver::{Ear, Entry, Thanks};
use super::scenario::News;

/// What happens around a subject.
pub enum Event {
    /// A request for the feed, which is shown this scene.
    Polled {
        life: u32,
        scene: usize,
        at: Instant,
    },
    /// A message came; it is not written down yet.
    Knocked {
        message: Message,
        answer: Sender<Entry>,
    },
    /// It is in the journal; it is not answered yet.
    Heard {
        message: Message,
        answer: Sender<Thanks>,
    },
    Answered {
        life: u32,
    },
}

/// What one subject is in for.
#[derive(Clone, Copy, Debug)]
pub struct Dose {
    pub who: Who,
    pub ear: Ear,
    pub manner: Manner,
    pub deaths: u32,
    /// With news.
    pub scenes: usize,
    /// The first scene behind which it dies, from 1.
    pub first_storm: usize,
    /// Whether the receiver turns an end away, once.
    pub refuses: bool,
    /// Which kind of death comes first.
    pub turn: usize,
    pub seed: u64,
}

/// What is left of a trial for the judge.
pub struct Trial {
    pub ear: Ear,
    pub due: Vec<News>,
    pub journal: PathBuf,
    /// Lives that ended without being asked.
    pub killed: BTreeSet<u32>,
    pub deaths: BTreeMap<&'static str, u32>,
    /// Stops that took too long or failed.
    pub bad_stops: Vec<String>,
    pub slowest_stop: Duration,
    /// The subject's, and the journal's.
    pub home: TempDir,
}
