//! The subject of an alert, an event or an unreadable feed, with its labels and annotations.

use std::collections::BTreeMap;

use crate::model::{EventKind, Outage};
use crate::text;

/// The labels that identify an alert. They must not change while it fires, so the configuration may not
/// set them.
pub const OWN_LABELS: [&str; 6] = ["alertname", "service", "feed", "message_id", "occurrence", "drill"];

pub const TROUBLE: &str = "AppleServiceTrouble";
pub const UNREADABLE: &str = "AppleStatusUnreadable";
const MAINTENANCE: &str = "AppleServiceMaintenance";
/// Limits the characters of a name. Apple's names have up to 50.
pub const NAME_MAX: usize = 200;
/// Limits the characters of a text. Apple's texts have up to 120.
pub const TEXT_MAX: usize = 2_000;

#[derive(Debug)]
pub enum Subject<'a> {
    Event {
        service: &'a str,
        message_id: &'a str,
        occurrence: u32,
        /// Apple's word.
        kind: &'a str,
        users_affected: &'a str,
        apple_text: &'a str,
    },
    /// The feed is unreadable.
    Unreadable { reason: &'a str },
}

impl<'a> Subject<'a> {
    pub fn of(outage: &'a Outage) -> Subject<'a> {
        Subject::Event {
            service: &outage.service,
            message_id: &outage.message_id,
            occurrence: outage.occurrence,
            kind: outage.kind.as_str(),
            users_affected: outage.users_affected.as_deref().unwrap_or_default(),
            apple_text: &outage.message,
        }
    }

    pub fn labels(&self) -> Vec<(&'static str, String)> {
        match self {
            Subject::Event { service, message_id, occurrence, kind, .. } => {
                // The kind is part of the identity: if maintenance becomes an outage, a second alert fires
                // and the first one expires.
                let name = if is_maintenance(kind) { MAINTENANCE } else { TROUBLE };
                vec![
                    ("alertname", name.to_owned()),
                    ("service", text::plain_line(service, NAME_MAX)),
                    ("message_id", text::plain_line(message_id, NAME_MAX)),
                    ("occurrence", occurrence.to_string()),
                ]
            }
            Subject::Unreadable { .. } => vec![("alertname", UNREADABLE.to_owned())],
        }
    }

    /// Returns the annotations without empty ones.
    pub fn annotations(&self) -> BTreeMap<&'static str, String> {
        let annotations = match self {
            Subject::Event { service, kind, users_affected, apple_text, .. } => {
                let (service, kind) = (text::plain_line(service, NAME_MAX), text::plain_line(kind, NAME_MAX));
                let affected = text::plain_line(users_affected, TEXT_MAX);
                let quoted = text::plain_line(apple_text, TEXT_MAX);
                let summary = if is_maintenance(&kind) {
                    format!("{service}: maintenance at Apple")
                } else {
                    format!("{service}: Apple reports trouble ({kind})")
                };
                let description = description(&affected, &quoted);
                [
                    ("summary", summary),
                    ("description", description),
                    ("kind", kind),
                    ("users_affected", affected),
                    ("apple_text", quoted),
                ]
            }
            Subject::Unreadable { reason } => [
                ("summary", "Apple's status is unreadable".to_owned()),
                ("description", format!("Reason: {}.", text::plain_line(reason, TEXT_MAX))),
                ("kind", "unreadable".to_owned()),
                ("users_affected", String::new()),
                ("apple_text", String::new()),
            ],
        };
        annotations.into_iter().filter(|(_, text)| !text.is_empty()).collect()
    }
}

fn description(affected: &str, quoted: &str) -> String {
    let stop = if affected.ends_with('.') { "" } else { "." };
    match (affected, quoted) {
        ("", "") => "Apple gives no details.".to_owned(),
        (_, "") => format!("{affected}{stop}"),
        ("", _) => format!("Apple writes: \u{201c}{quoted}\u{201d}"),
        _ => format!("{affected}{stop} Apple writes: \u{201c}{quoted}\u{201d}"),
    }
}

pub fn is_maintenance(kind: &str) -> bool {
    EventKind::parse(kind).is_maintenance()
}
