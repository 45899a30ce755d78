//! Decides from the polls at the feed when the changes of a scene are due.
//!
//! Uses only statusd's promise that a second poll, 30 s after the first, confirms a change. The promise
//! covers one incarnation, because an unconfirmed observation is lost with the process.

use std::time::{Duration, Instant};

/// The second observation confirms a change after this time. statusd counts whole seconds.
const CONFIRMED_AFTER: Duration = Duration::from_secs(31);
/// The first poll after [`CONFIRMED_AFTER`], the next one, which confirms at the latest, and one more,
/// which shows that the confirmed change has been written.
const POLLS_UNTIL_DUE: u32 = 3;
/// Polls come every second. After a longer gap (a failed poll or a suspended machine) statusd may
/// have started the confirmation again.
const GAP_MAX: Duration = Duration::from_secs(5);
/// During this time messages wait at the receiver until the scene is due, so that pending messages
/// remain for the kills. Shorter than the 20 s that a sender waits for a response.
const HELD: std::ops::Range<Duration> = Duration::from_secs(28)..Duration::from_secs(43);

/// The time for which one incarnation of the daemon has polled a scene.
pub struct Exposure {
    incarnation: u32,
    scene: usize,
    first: Instant,
    newest: Instant,
    late_polls: u32,
}

impl Exposure {
    pub fn new() -> Exposure {
        let now = Instant::now();
        Exposure { incarnation: 0, scene: 0, first: now, newest: now, late_polls: 0 }
    }

    /// Returns true if the last poll was by this incarnation.
    pub fn is_of(&self, incarnation: u32) -> bool {
        self.incarnation == incarnation
    }

    /// Records a poll. Returns true once, at the poll that makes the scene due.
    pub fn is_due_by(&mut self, incarnation: u32, scene: usize, at: Instant) -> bool {
        if (incarnation, scene) != (self.incarnation, self.scene) || at.duration_since(self.newest) > GAP_MAX
        {
            *self = Exposure { incarnation, scene, first: at, newest: at, late_polls: 0 };
        }
        self.newest = at;
        // Statusd accepts the very first document without confirmation.
        let (confirmed_after, polls) = match scene {
            0 => (Duration::ZERO, POLLS_UNTIL_DUE - 1),
            _ => (CONFIRMED_AFTER, POLLS_UNTIL_DUE),
        };
        if at.duration_since(self.first) < confirmed_after {
            return false;
        }
        self.late_polls += 1;
        self.late_polls == polls
    }

    /// Returns true while messages for this scene are possible but not yet certain.
    pub fn is_nearly_due(&self, scene: usize) -> bool {
        scene > 0 && self.scene == scene && HELD.contains(&self.first.elapsed())
    }
}
