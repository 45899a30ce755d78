//! How a message reaches the one who writes it down: one file for each kind of channel.
//!
//! An ear takes a message, asks the bench whether to let it in, has it on the disk, asks again, and
//! only then answers. It judges nothing.

mod command;
mod email;
mod webhook;

use std::io::{self, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::thread::sleep;
use std::time::Duration;

use super::journal::{Journal, Message};
use super::listener::Door;
use super::scenario::{News, Repertoire};
use super::trial::Event;

pub use command::relay;

/// The kinds of channels that can be listened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ear {
    Webhook,
    Command,
    Email,
}

/// What becomes of a message that is there and not yet written down. No answer at all: it is lost
/// on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    Welcome,
    /// "Not now": neither written down nor taken.
    Refused,
}

/// What becomes of a message that was written down. No answer at all: the connection breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thanks {
    /// For one who is slow.
    pub after: Duration,
}

impl Ear {
    /// The channel's table in the configuration of one life, and what it needs in the home.
    pub fn table(self, home: &Path, peer: SocketAddr, life: u32) -> String {
        match self {
            Ear::Webhook => webhook::table(peer, life),
            Ear::Command => command::table(home, peer, life),
            Ear::Email => email::table(peer, life),
        }
    }

    /// What a message says. One for programs says one thing.
    pub fn news(self, text: &str) -> Vec<News> {
        match self {
            Ear::Webhook | Ear::Command => vec![webhook::news(text)],
            Ear::Email => email::news(text),
        }
    }

    /// Whether all that is due comes as one message, in which what has waited is folded.
    pub fn is_for_people(self) -> bool {
        self == Ear::Email
    }

    /// What a script for it may hold.
    pub fn repertoire(self) -> Repertoire {
        if self.is_for_people() { Repertoire::StartsAndEnds } else { Repertoire::All }
    }

    /// Listens until the handle is dropped.
    pub fn open(self, mut journal: Journal, events: Sender<Event>) -> Door {
        Door::open(move |mut visitor| {
            // A killed subject breaks off wherever it is; that is what this is all about.
            let _broken_off = self.converse(&mut visitor, &mut journal, &events);
        })
    }

    fn converse(
        self,
        visitor: &mut BufReader<TcpStream>,
        journal: &mut Journal,
        events: &Sender<Event>,
    ) -> io::Result<()> {
        if self == Ear::Email {
            email::greet(visitor)?;
        }
        while let Some(message) = self.receive(visitor)? {
            let (answer, entry) = channel();
            let _bench = events.send(Event::Knocked { message: message.clone(), answer });
            match entry.recv() {
                Ok(Entry::Welcome) => {}
                Ok(Entry::Refused) => {
                    self.refuse(visitor)?;
                    continue;
                }
                Err(_lost) => return Ok(()),
            }
            journal.write(&message);
            let life = message.life;
            let (answer, thanks) = channel();
            let _bench = events.send(Event::Heard { message, answer });
            let Ok(Thanks { after }) = thanks.recv() else { return Ok(()) };
            sleep(after);
            self.thank(visitor)?;
            let _bench = events.send(Event::Answered { life });
        }
        Ok(())
    }

    fn receive(self, visitor: &mut BufReader<TcpStream>) -> io::Result<Option<Message>> {
        match self {
            Ear::Webhook => webhook::receive(visitor),
            Ear::Command => command::receive(visitor),
            Ear::Email => email::receive(visitor),
        }
    }

    fn refuse(self, visitor: &mut BufReader<TcpStream>) -> io::Result<()> {
        match self {
            Ear::Webhook => webhook::refuse(visitor),
            Ear::Command => command::refuse(visitor),
            Ear::Email => email::refuse(visitor),
        }
    }

    fn thank(self, visitor: &mut BufReader<TcpStream>) -> io::Result<()> {
        match self {
            Ear::Webhook => webhook::thank(visitor),
            Ear::Command => command::thank(visitor),
            Ear::Email => email::thank(visitor),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Write};
    use std::process::{Command, Stdio};
    use std::thread::spawn;

    use tempfile::TempDir;

    use super::*;
    use crate::crash_test::journal;
    use crate::crash_test::scenario::Kind;

    /// What the sender hears, and what is on file then, if the bench says `entry` (nothing: lost).
    fn hear(ear: Ear, entry: Option<Entry>, send: impl Fn(&Path, SocketAddr) -> String) -> (String, usize) {
        let home = TempDir::new().expect("a directory");
        let file = home.path().join("journal.jsonl");
        let (tell, events) = channel();
        let door = ear.open(Journal::create(&file), tell);
        let bench = spawn(move || {
            for event in events {
                match event {
                    Event::Knocked { answer, .. } => drop(entry.map(|entry| answer.send(entry))),
                    Event::Heard { answer, .. } => drop(answer.send(Thanks { after: Duration::ZERO })),
                    Event::Polled { .. } | Event::Answered { .. } => {}
                }
            }
        });
        let answer = send(home.path(), door.address);
        drop(door);
        bench.join().expect("a bench that ends");
        let messages = journal::read(&file);
        for message in &messages {
            let news = News { service: "Lab s001".to_owned(), kind: Kind::Ended };
            assert_eq!((message.life, message.key.as_str()), (7, "k"));
            assert_eq!(ear.news(&message.text), [news]);
        }
        (answer, messages.len())
    }

    #[track_caller]
    fn check(ear: Ear, send: impl Fn(&Path, SocketAddr) -> String, answers: [&str; 3]) {
        let heard = [Some(Entry::Welcome), Some(Entry::Refused), None].map(|entry| hear(ear, entry, &send));
        let expected = [(answers[0], 1), (answers[1], 0), (answers[2], 0)];
        assert_eq!(heard.each_ref().map(|(answer, messages)| (answer.as_str(), *messages)), expected);
    }

    #[test]
    fn a_mail_is_on_file_when_its_final_dot_is_answered() {
        let talk = "EHLO x\r\nMAIL FROM:<a@lab.example>\r\nRCPT TO:<a@lab.example>\r\nDATA\r\n\
                    Message-ID: k\r\nFrom: life7 <a@lab.example>\r\nSubject: Fixed: Lab s001\r\n\r\nFrom 1 to 2.\r\n.\r\n";
        let send = |_: &Path, address: SocketAddr| {
            let mut server = TcpStream::connect(address).expect("a server");
            server.write_all(talk.as_bytes()).expect("it reads");
            server.shutdown(std::net::Shutdown::Write).expect("half closed");
            let mut answers = String::new();
            server.read_to_string(&mut answers).expect("answers");
            answers.lines().last().unwrap_or_default().to_owned()
        };
        check(Ear::Email, send, ["250 ok", "451 not now", "354 go on"]);
    }

    #[test]
    fn a_program_succeeds_when_its_input_is_on_file() {
        let send = |home: &Path, address: SocketAddr| {
            Ear::Command.table(home, address, 7);
            let input = home.join("input");
            std::fs::write(&input, r#"{"key": "k", "service": "Lab s001", "kind": "ended"}"#).expect("room");
            let mut program = Command::new(home.join("relay"));
            program.stdin(File::open(input).expect("a file")).stdout(Stdio::null()).stderr(Stdio::null());
            program.status().expect("the program runs").to_string()
        };
        check(Ear::Command, send, ["exit status: 0", "exit status: 75", "exit status: 75"]);
    }
}
