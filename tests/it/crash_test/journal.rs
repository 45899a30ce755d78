//! The receiver's file: every message in the order of arrival, on disk before its response. The oracle
//! reads nothing else of the receiver.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};

/// One message as received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The incarnation of the daemon that sent the message, from 1.
    pub incarnation: u32,
    /// The idempotency key, or the Message-ID.
    pub key: String,
    /// The part that must be the same on every attempt.
    pub text: String,
}

pub struct Journal {
    file: File,
}

impl Journal {
    pub fn create(path: &Path) -> Journal {
        Journal { file: File::create(path).expect("a file for the journal") }
    }

    /// Returns when the message is on disk.
    pub fn write(&mut self, message: &Message) {
        let Message { incarnation, key, text } = message;
        let line = format!("{}\n", json!({"incarnation": incarnation, "key": key, "text": text}));
        self.file.write_all(line.as_bytes()).expect("room for a line");
        self.file.sync_data().expect("a disk");
    }
}

/// Reads all messages of a journal.
pub fn read(path: &Path) -> Vec<Message> {
    let text = fs::read_to_string(path).expect("a journal");
    let message = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        let field = |name: &str| line[name].as_str().expect("a text").to_owned();
        let incarnation = line["incarnation"]
            .as_u64()
            .and_then(|incarnation| incarnation.try_into().ok())
            .expect("an incarnation");
        Message { incarnation, key: field("key"), text: field("text") }
    };
    text.lines().map(message).collect()
}
