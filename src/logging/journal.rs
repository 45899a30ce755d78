//! Sends log lines with fields to systemd's journal, for `journalctl STATUSD_SERVICE=…`.
//!
//! Implements the Native Journal Protocol without multi-line values. Each value becomes one line of limited
//! length, so text from the feed cannot add a field (`a_value_cannot_add_another_field`).

use std::fmt;
use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::{ABOUT_A_CHANGE, priority};
use crate::channel::log::{TARGET, record_write_error};
use crate::text;

/// The journal's socket.
pub const SOCKET: &str = "/run/systemd/journal/socket";
/// The `MESSAGE_ID` of every line about a change.
const CHANGE_ID: &str = "6a1f3c0e8f0b4f7c9d52b1a7e4c3d896";
/// The maximum length of a message, and of another field, so that a line fits a datagram.
const MESSAGE_MAX: usize = 2_000;
const FIELD_MAX: usize = 300;
/// After this timeout, the line goes to standard error.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// The journal at the other end of a socket.
pub struct Journal {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Journal {
    /// Connects to the journal. Fails if it does not listen.
    pub fn at(path: &Path) -> io::Result<Journal> {
        UnixDatagram::unbound()?.connect(path)?;
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(SEND_TIMEOUT))?;
        Ok(Journal { socket, path: path.to_owned() })
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut entry = Entry::default();
        event.record(&mut entry);
        let priority = priority(*event.metadata().level());
        let is_change = event.metadata().target() == TARGET;
        // By path each time, because a restarted journal has a new socket.
        if self.socket.send_to(entry.bytes(priority, is_change).as_bytes(), &self.path).is_err() {
            let line = text::plain_line(&entry.message, MESSAGE_MAX);
            // Standard error also goes to the journal.
            if let Err(error) = writeln!(io::stderr(), "<{priority}>{line}") {
                record_write_error(&error);
            }
        }
    }
}

/// An event as an entry of the journal.
#[derive(Default)]
struct Entry {
    message: String,
    /// `STATUSD_…` and the value.
    fields: Vec<(String, String)>,
}

impl Entry {
    fn bytes(&self, priority: u8, is_change: bool) -> String {
        let mut bytes = format!("PRIORITY={priority}\nSYSLOG_IDENTIFIER=statusd\n");
        if is_change {
            bytes.push_str(&format!("MESSAGE_ID={CHANGE_ID}\n"));
        }
        for (name, value) in &self.fields {
            bytes.push_str(&format!("{name}={value}\n"));
        }
        bytes.push_str(&format!("MESSAGE={}\n", text::plain_line(&self.message, MESSAGE_MAX)));
        bytes
    }

    fn add(&mut self, name: &str, value: &str) {
        if name == "message" {
            self.message.insert_str(0, value);
            return;
        }
        // Fields of the `log` crate in events of dependencies.
        if name.starts_with("log.") {
            return;
        }
        let value = text::plain_line(value, FIELD_MAX);
        if !ABOUT_A_CHANGE.contains(&name) && name != "key" {
            self.message.push_str(&format!(" {name}={value}"));
        }
        self.fields.push((field_name(name), value));
    }
}

impl Visit for Entry {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field.name(), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field.name(), &format!("{value:?}"));
    }
}

/// Returns a valid field name. The journal ignores names with other characters than capitals, digits and `_`.
fn field_name(name: &str) -> String {
    let letters = name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' });
    format!("STATUSD_{}", letters.collect::<String>())
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// Returns the fields that a journal receives when `log` logs a line.
    fn received(log: impl FnOnce()) -> Vec<(String, String)> {
        let directory = TempDir::new().expect("a directory");
        let path = directory.path().join("socket");
        let listener = UnixDatagram::bind(&path).expect("a socket");
        listener.set_nonblocking(true).expect("a socket");
        let journal = Journal::at(&path).expect("a journal");
        tracing::subscriber::with_default(tracing_subscriber::registry().with(journal), log);
        let mut buffer = vec![0; 64 * 1024];
        let length = listener.recv(&mut buffer).expect("a line");
        let text = String::from_utf8(buffer[..length].to_vec()).expect("UTF-8");
        assert!(text.ends_with('\n'), "{text:?}");
        assert!(listener.recv(&mut buffer).is_err(), "one datagram a line");
        let field = |line: &str| {
            let (name, value) = line.split_once('=').expect("NAME=value");
            assert!(!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'));
            (name.to_owned(), value.to_owned())
        };
        text.lines().map(field).collect()
    }

    #[track_caller]
    fn check(log: impl FnOnce(), expected: &[(&str, &str)]) {
        let received = received(log);
        let received: Vec<_> = received.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(received, expected);
    }

    #[test]
    fn a_change_can_be_found_by_service_kind_and_key() {
        check(
            || {
                let (service, key) = (Some("iCloud Backup"), "consumer/en_US/icloud%20backup/1/1/began");
                tracing::info!(target: TARGET, key = %key, service, change = "began", "it is down");
            },
            &[
                ("PRIORITY", "6"),
                ("SYSLOG_IDENTIFIER", "statusd"),
                ("MESSAGE_ID", CHANGE_ID),
                ("STATUSD_KEY", "consumer/en_US/icloud%20backup/1/1/began"),
                ("STATUSD_SERVICE", "iCloud Backup"),
                ("STATUSD_CHANGE", "began"),
                ("MESSAGE", "it is down"),
            ],
        );
    }

    #[test]
    fn other_lines_keep_their_fields_in_the_message() {
        check(
            || tracing::error!(attempt = 3, channel = "webhook.ops", "not delivered"),
            &[
                ("PRIORITY", "3"),
                ("SYSLOG_IDENTIFIER", "statusd"),
                ("STATUSD_ATTEMPT", "3"),
                ("STATUSD_CHANNEL", "webhook.ops"),
                ("MESSAGE", "not delivered attempt=3"),
            ],
        );
    }

    #[test]
    fn a_value_cannot_add_another_field() {
        let hostile = "x\nPRIORITY=0\r\nMESSAGE_ID=\u{2028}\u{1b}[2J\0y";
        let fields = received(|| {
            tracing::warn!(service = hostile, key = %hostile, "{hostile}");
        });
        let names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["PRIORITY", "SYSLOG_IDENTIFIER", "STATUSD_SERVICE", "STATUSD_KEY", "MESSAGE"]);
        assert!(fields.iter().all(|(_, value)| !value.contains(|c: char| c.is_control())), "{fields:?}");
    }

    #[test]
    fn a_line_has_a_limited_length() {
        let long = "\u{1f34f}".repeat(100_000);
        let fields = received(|| tracing::warn!(service = long, attempt = %long, "{long}"));
        for (name, value) in fields {
            assert!(value.chars().count() <= MESSAGE_MAX + FIELD_MAX, "{name}");
        }
    }

    #[test]
    fn an_absent_journal_is_an_error() {
        let directory = TempDir::new().expect("a directory");
        assert!(Journal::at(&directory.path().join("absent")).is_err());
    }
}
