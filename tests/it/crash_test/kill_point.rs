//! When and how a subject dies.

use std::time::Duration;

/// How it dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// SIGKILL: without being asked.
    Kill,
    /// SIGTERM: asked, in the middle of telling; the message in flight then arrives.
    Stop,
    /// It lives on, but cannot write: another process holds the database's lock for longer than SQLite
    /// waits for it.
    Lock,
}

/// Where in a life it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// So long after its start.
    Starting(Duration),
    /// After so many messages, while the next one is under way: nobody has heard it.
    OnTheWay { before: u32 },
    /// After so many messages, when the next one is written down and not answered: the window.
    Heard { before: u32 },
    /// So long after that many messages were answered.
    Answered { messages: u32, delay: Duration },
}

impl Moment {
    /// For the report.
    pub fn name(self) -> &'static str {
        match self {
            Moment::Starting(_) => "while starting",
            Moment::OnTheWay { .. } => "with a message on its way",
            Moment::Heard { .. } => "in the window between heard and answered",
            Moment::Answered { .. } => "just after an answer",
        }
    }
}

/// One kind of moment after the other. How many messages and how long is for the dice to fill in.
pub struct Deck {
    manner: Manner,
    turn: usize,
    /// The card before this one was a death while telling.
    was_telling: bool,
}

impl Deck {
    /// Subjects that begin at different turns have all kinds among them from the start.
    pub fn new(manner: Manner, turn: usize) -> Deck {
        Deck { manner, turn, was_telling: false }
    }

    pub fn draw(&mut self) -> Moment {
        // While what was in flight waits for its second try there is nothing else to die of.
        if self.manner == Manner::Kill && self.was_telling {
            self.was_telling = false;
            return Moment::Starting(Duration::ZERO);
        }
        self.was_telling = true;
        self.turn += 1;
        match self.turn % 3 {
            0 => Moment::OnTheWay { before: 0 },
            1 => Moment::Heard { before: 0 },
            _ => Moment::Answered { messages: 1, delay: Duration::ZERO },
        }
    }
}
