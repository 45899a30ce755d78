//! The test receivers, one file for each kind of channel.
//!
//! A receiver takes a message, asks the run whether to accept it, writes it to the journal, asks again,
//! and only then answers. It evaluates nothing.

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
use super::listener::Listener;
use super::scenario::{AllowedKinds, Change};
use super::trial::Event;

pub use command::relay;

/// The kinds of channels under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiverKind {
    Webhook,
    Command,
    Email,
}

/// The decision about an arrived message before it is recorded. Without a decision the connection
/// breaks and the message is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    Accepted,
    /// A transient failure. The message is not recorded.
    Refused,
}

/// The acknowledgement of a recorded message. Without one the connection breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The delay of a slow receiver.
    pub after: Duration,
}

impl ReceiverKind {
    /// Returns the channel's configuration table for one incarnation, and writes the files it needs.
    pub fn table(self, home: &Path, server: SocketAddr, incarnation: u32) -> String {
        match self {
            ReceiverKind::Webhook => webhook::table(server, incarnation),
            ReceiverKind::Command => command::table(home, server, incarnation),
            ReceiverKind::Email => email::table(server, incarnation),
        }
    }

    /// Parses the changes in a message. A message for programs holds one.
    pub fn changes(self, text: &str) -> Vec<Change> {
        match self {
            ReceiverKind::Webhook | ReceiverKind::Command => vec![webhook::change(text)],
            ReceiverKind::Email => email::changes(text),
        }
    }

    /// Returns true if one message combines all pending changes.
    pub fn is_for_people(self) -> bool {
        self == ReceiverKind::Email
    }

    /// Returns the kinds of changes for a scenario.
    pub fn allowed_kinds(self) -> AllowedKinds {
        if self.is_for_people() { AllowedKinds::StartsAndEnds } else { AllowedKinds::All }
    }

    /// Listens until the handle is dropped.
    pub fn open(self, mut journal: Journal, events: Sender<Event>) -> Listener {
        Listener::open(move |mut client| {
            // A killed daemon disconnects at any point.
            let _broken_off = self.converse(&mut client, &mut journal, &events);
        })
    }

    fn converse(
        self,
        client: &mut BufReader<TcpStream>,
        journal: &mut Journal,
        events: &Sender<Event>,
    ) -> io::Result<()> {
        if self == ReceiverKind::Email {
            email::greet(client)?;
        }
        while let Some(message) = self.receive(client)? {
            let (answer, admission) = channel();
            let _run_ended = events.send(Event::Arrived { message: message.clone(), answer });
            match admission.recv() {
                Ok(Admission::Accepted) => {}
                Ok(Admission::Refused) => {
                    self.refuse(client)?;
                    continue;
                }
                Err(_lost) => return Ok(()),
            }
            journal.write(&message);
            let incarnation = message.incarnation;
            let (answer, ack) = channel();
            let _run_ended = events.send(Event::Recorded { message, answer });
            let Ok(Ack { after }) = ack.recv() else { return Ok(()) };
            sleep(after);
            self.acknowledge(client)?;
            let _run_ended = events.send(Event::Answered { incarnation });
        }
        Ok(())
    }

    fn receive(self, client: &mut BufReader<TcpStream>) -> io::Result<Option<Message>> {
        match self {
            ReceiverKind::Webhook => webhook::receive(client),
            ReceiverKind::Command => command::receive(client),
            ReceiverKind::Email => email::receive(client),
        }
    }

    fn refuse(self, client: &mut BufReader<TcpStream>) -> io::Result<()> {
        match self {
            ReceiverKind::Webhook => webhook::refuse(client),
            ReceiverKind::Command => command::refuse(client),
            ReceiverKind::Email => email::refuse(client),
        }
    }

    fn acknowledge(self, client: &mut BufReader<TcpStream>) -> io::Result<()> {
        match self {
            ReceiverKind::Webhook => webhook::acknowledge(client),
            ReceiverKind::Command => command::acknowledge(client),
            ReceiverKind::Email => email::acknowledge(client),
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

    /// Returns the response to the sender and the number of recorded messages.
    fn exchange(
        receiver: ReceiverKind,
        admission: Option<Admission>,
        send: impl Fn(&Path, SocketAddr) -> String,
    ) -> (String, usize) {
        let home = TempDir::new().expect("a directory");
        let file = home.path().join("journal.jsonl");
        let (sender, events) = channel();
        let listener = receiver.open(Journal::create(&file), sender);
        let run = spawn(move || {
            for event in events {
                match event {
                    Event::Arrived { answer, .. } => drop(admission.map(|admission| answer.send(admission))),
                    Event::Recorded { answer, .. } => drop(answer.send(Ack { after: Duration::ZERO })),
                    Event::Polled { .. } | Event::Answered { .. } => {}
                }
            }
        });
        let answer = send(home.path(), listener.address);
        drop(listener);
        run.join().expect("a run that ends");
        let messages = journal::read(&file);
        for message in &messages {
            let change = Change { service: "App s001".to_owned(), kind: Kind::Ended };
            assert_eq!((message.incarnation, message.key.as_str()), (7, "k"));
            assert_eq!(receiver.changes(&message.text), [change]);
        }
        (answer, messages.len())
    }

    #[track_caller]
    fn check(receiver: ReceiverKind, send: impl Fn(&Path, SocketAddr) -> String, answers: [&str; 3]) {
        let received = [Some(Admission::Accepted), Some(Admission::Refused), None]
            .map(|admission| exchange(receiver, admission, &send));
        let expected = [(answers[0], 1), (answers[1], 0), (answers[2], 0)];
        assert_eq!(received.each_ref().map(|(answer, messages)| (answer.as_str(), *messages)), expected);
    }

    #[test]
    fn records_a_mail_before_answering_its_final_dot() {
        let talk = "EHLO x\r\nMAIL FROM:<a@test.example>\r\nRCPT TO:<a@test.example>\r\nDATA\r\n\
                    Message-ID: k\r\nFrom: incarnation7 <a@test.example>\r\nSubject: Fixed: App s001\r\n\r\nFrom 1 to 2.\r\n.\r\n";
        let send = |_: &Path, address: SocketAddr| {
            let mut server = TcpStream::connect(address).expect("a server");
            server.write_all(talk.as_bytes()).expect("the server reads");
            server.shutdown(std::net::Shutdown::Write).expect("half closed");
            let mut answers = String::new();
            server.read_to_string(&mut answers).expect("answers");
            answers.lines().last().unwrap_or_default().to_owned()
        };
        check(ReceiverKind::Email, send, ["250 ok", "451 not now", "354 go on"]);
    }

    #[test]
    fn program_succeeds_once_its_input_is_recorded() {
        let send = |home: &Path, address: SocketAddr| {
            ReceiverKind::Command.table(home, address, 7);
            let input = home.join("input");
            std::fs::write(&input, r#"{"key": "k", "service": "App s001", "kind": "ended"}"#).expect("room");
            let mut program = Command::new(home.join("relay"));
            program.stdin(File::open(input).expect("a file")).stdout(Stdio::null()).stderr(Stdio::null());
            program.status().expect("the program runs").to_string()
        };
        check(ReceiverKind::Command, send, ["exit status: 0", "exit status: 75", "exit status: 75"]);
    }
}
