//! The steps of a start, for a terminal that shows them.

use jiff::Timestamp;

/// A step that the daemon has reached.
#[derive(Clone, Debug)]
pub enum StartStep<'a> {
    /// Everything is open. The first poll has not begun.
    Ready,
    /// The first poll is over.
    Polled { state: &'a str, at: Timestamp, next: Timestamp },
}

/// A callback for each [`StartStep`].
pub type OnStartStep = Box<dyn Fn(StartStep<'_>)>;
