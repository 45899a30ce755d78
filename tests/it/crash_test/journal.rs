//! The file of the one who is told: every message that came, in the order in which they came, on
//! the disk before it is answered. The judge reads nothing else of the receiving side.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};

/// One message as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Which life of the subject sent it, from 1.
    pub life: u32,
    /// What it calls itself, to be known again by.
    pub key: String,
    /// All of it that must be the same on every try.
    pub text: String,
}

pub struct Journal {
    file: File,
}

impl Journal {
    pub fn create(path: &Path) -> Journal {
        Journal { file: File::create(path).expect("a file for the journal") }
    }

    /// Returns when it is on the disk.
    pub fn write(&mut self, message: &Message) {
        let Message { life, key, text } = message;
        let line = format!("{}\n", json!({"life": life, "key": key, "text": text}));
        self.file.write_all(line.as_bytes()).expect("room for a line");
        self.file.sync_data().expect("a disk");
    }
}

/// What stands in a journal.
pub fn read(path: &Path) -> Vec<Message> {
    let text = fs::read_to_string(path).expect("a journal");
    let message = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        let field = |name: &str| line[name].as_str().expect("a text").to_owned();
        let life = line["life"].as_u64().and_then(|life| life.try_into().ok()).expect("a life");
        Message { life, key: field("key"), text: field("text") }
    };
    text.lines().map(message).collect()
}
