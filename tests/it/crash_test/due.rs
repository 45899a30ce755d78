//! When a scene is due to be told, by the feed's own record of who looked when.
//!
//! It knows what statusd promises (news is confirmed by a second look, 30 s after the first) and
//! nothing of what statusd did. The promise holds for one life: what waits for its second look is
//! lost with it, without harm.

use std::time::{Duration, Instant};

/// What was seen first and seen again so much later is confirmed; statusd counts whole seconds.
const CONFIRMED_AFTER: Duration = Duration::from_secs(31);
/// The look that is the first to come so late; the one behind it, which confirms at the latest; the
/// one behind that, which shows that what was confirmed is written.
const LOOKS_UNTIL_DUE: u32 = 3;
/// Looks come every second. A longer gap is a look that failed, or a machine that slept; after
/// either statusd may have begun to confirm anew.
const GAP_MAX: Duration = Duration::from_secs(5);
/// From then on nobody is let in until the scene is due, so that the storm finds something to do.
/// Shorter than the 20 s that a sender waits for an answer.
const HELD: std::ops::Range<Duration> = Duration::from_secs(28)..Duration::from_secs(43);

/// How long a scene has been shown to one life.
pub struct Sight {
    life: u32,
    scene: usize,
    first: Instant,
    newest: Instant,
    late_looks: u32,
}

impl Sight {
    pub fn new() -> Sight {
        let now = Instant::now();
        Sight { life: 0, scene: 0, first: now, newest: now, late_looks: 0 }
    }

    /// Whether this life has looked.
    pub fn is_of(&self, life: u32) -> bool {
        self.life == life
    }

    /// Takes a look down. Returns whether the scene is due by it; once.
    pub fn is_due_by(&mut self, life: u32, scene: usize, at: Instant) -> bool {
        if (life, scene) != (self.life, self.scene) || at.duration_since(self.newest) > GAP_MAX {
            *self = Sight { life, scene, first: at, newest: at, late_looks: 0 };
        }
        self.newest = at;
        // The very first document is history at first sight.
        let (confirmed_after, looks) = match scene {
            0 => (Duration::ZERO, LOOKS_UNTIL_DUE - 1),
            _ => (CONFIRMED_AFTER, LOOKS_UNTIL_DUE),
        };
        if at.duration_since(self.first) < confirmed_after {
            return false;
        }
        self.late_looks += 1;
        self.late_looks == looks
    }

    /// Whether this scene may be told any moment and is not due for certain.
    pub fn is_nearly_due(&self, scene: usize) -> bool {
        scene > 0 && self.scene == scene && HELD.contains(&self.first.elapsed())
    }
}
