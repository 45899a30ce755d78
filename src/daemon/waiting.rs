//! Waiting for a time of the wall clock, through suspend and through clocks that are set.
//!
//! What is done at that time is the loops' business. Invariant: however many times were missed, one
//! wait ends once.

use jiff::Timestamp;
use tokio::time::sleep;

use crate::clock::{self, Jumps, Passed, Reading};
use crate::poll::Poller;

/// Waits for `next`, or for a moment after a sleep or a set clock, whichever was missed. One look
/// follows, not one for every time that passed.
pub(super) async fn wait(since: &Reading, mut next: Timestamp, jumps: &Jumps) -> Passed {
    let mut jumped = false;
    loop {
        tokio::select! {
            () = sleep(clock::time_until(next)) => {
                // The timer and the wall clock need not agree to the second.
                if clock::now() >= next {
                    return since.until(&Reading::take());
                }
            }
            () = jumps.next() => {
                let passed = since.until(&Reading::take());
                let soon = Poller::after_jump(clock::now());
                if jumped {
                    // Set again, perhaps back: `soon` of the first jump may be years ahead now.
                    next = next.min(soon);
                } else if passed.slept || passed.set_by.is_some() {
                    jumped = true;
                    next = soon;
                }
            }
        }
    }
}
