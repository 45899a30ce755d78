//! When and how a daemon is interrupted.

use std::time::Duration;

/// The kind of interruption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interruption {
    /// SIGKILL.
    Kill,
    /// SIGTERM while sending. The message in flight still arrives.
    Stop,
    /// The daemon runs on but cannot write, because another process holds the database's lock for
    /// longer than SQLite waits.
    Lock,
}

/// The point of a process at which it is interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KillPoint {
    /// This long after the start of the process.
    Starting(Duration),
    /// After `before` messages, with the next one in flight and not yet recorded.
    InFlight { before: u32 },
    /// After `before` messages, with the next one recorded and not yet answered.
    Unanswered { before: u32 },
    /// `delay` after `messages` messages were answered.
    Answered { messages: u32, delay: Duration },
}

impl KillPoint {
    /// For the report.
    pub fn name(self) -> &'static str {
        match self {
            KillPoint::Starting(_) => "while starting",
            KillPoint::InFlight { .. } => "with a message in flight",
            KillPoint::Unanswered { .. } => "with a message recorded and not answered",
            KillPoint::Answered { .. } => "just after an answer",
        }
    }
}

/// Cycles through the kinds of kill points. The caller fills in random counts and delays.
pub struct KillSchedule {
    interruption: Interruption,
    turn: usize,
    /// The previous kill point was while sending.
    was_sending: bool,
}

impl KillSchedule {
    /// Daemons that begin at different turns cover all kinds from the start.
    pub fn new(interruption: Interruption, turn: usize) -> KillSchedule {
        KillSchedule { interruption, turn, was_sending: false }
    }

    pub fn next(&mut self) -> KillPoint {
        // The message in flight waits for its second attempt, so nothing else is being sent.
        if self.interruption == Interruption::Kill && self.was_sending {
            self.was_sending = false;
            return KillPoint::Starting(Duration::ZERO);
        }
        self.was_sending = true;
        self.turn += 1;
        match self.turn % 3 {
            0 => KillPoint::InFlight { before: 0 },
            1 => KillPoint::Unanswered { before: 0 },
            _ => KillPoint::Answered { messages: 1, delay: Duration::ZERO },
        }
    }
}
