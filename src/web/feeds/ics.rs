//! `/maintenance.ics` (RFC 5545): one event for each maintenance that Apple announced. Its UID stays, SEQUENCE
//! grows, and a cancelled one says so.

use jiff::Timestamp;

use super::Entry;
use crate::text::plain_line;

/// The maximum length of a line in bytes, without its break.
const LINE_MAX_BYTES: usize = 75;
const SUMMARY_MAX_CHARS: usize = 200;

/// Returns the calendar.
pub fn calendar(entries: &[Entry]) -> String {
    let mut lines: Vec<String> = [
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        "PRODID:-//statusd//statusd//EN",
        "CALSCALE:GREGORIAN",
        "METHOD:PUBLISH",
        "NAME:Apple maintenance",
        "X-WR-CALNAME:Apple maintenance",
        "REFRESH-INTERVAL;VALUE=DURATION:PT1H",
        "X-PUBLISHED-TTL:PT1H",
    ]
    .map(str::to_owned)
    .to_vec();
    for entry in entries {
        lines.extend(event(entry));
    }
    lines.push("END:VCALENDAR".to_owned());
    lines.iter().map(|line| folded(line)).collect()
}

fn event(entry: &Entry) -> Vec<String> {
    let updated = utc(entry.updated_at());
    let texts: Vec<&str> = entry.updates.iter().rev().map(|update| update.text.as_str()).collect();
    let mut lines = vec![
        "BEGIN:VEVENT".to_owned(),
        format!("UID:{}@statusd", entry.id),
        // The time of the last change, not of the answer, so that the same data are the same bytes.
        format!("DTSTAMP:{updated}"),
        format!("LAST-MODIFIED:{updated}"),
        format!("CREATED:{}", utc(entry.first_seen)),
        format!("SEQUENCE:{}", entry.sequence),
        format!("DTSTART:{}", utc(entry.began_at)),
    ];
    lines.extend(entry.ends_at.filter(|end| *end > entry.began_at).map(|end| format!("DTEND:{}", utc(end))));
    lines.extend([
        format!("SUMMARY:{}", escaped(&plain_line(&entry.title, SUMMARY_MAX_CHARS))),
        format!("DESCRIPTION:{}", escaped(&texts.join("\n\n"))),
        format!("STATUS:{}", if entry.was_cancelled { "CANCELLED" } else { "CONFIRMED" }),
        "CLASS:PUBLIC".to_owned(),
        // Does not make a person busy.
        "TRANSP:TRANSPARENT".to_owned(),
        "END:VEVENT".to_owned(),
    ]);
    lines
}

/// `20260505T081500Z`
fn utc(time: Timestamp) -> String {
    time.strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// Escapes a value of type TEXT. The text has no control characters but line feeds.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | ';' | ',' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => {}
            c => out.push(c),
        }
    }
    out
}

/// Returns a line with its break, folded between characters.
fn folded(line: &str) -> String {
    let mut out = String::with_capacity(line.len() + 2);
    let mut width = 0;
    for c in line.chars() {
        if width + c.len_utf8() > LINE_MAX_BYTES {
            out.push_str("\r\n ");
            width = 1;
        }
        width += c.len_utf8();
        out.push(c);
    }
    out.push_str("\r\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_folded_between_characters_at_75_bytes() {
        for text in ["x".repeat(300), "バ".repeat(100), "a👍".repeat(60), "x".repeat(75), String::new()] {
            let folded = folded(&text);
            assert!(folded.ends_with("\r\n"));
            for line in folded.trim_end_matches("\r\n").split("\r\n") {
                assert!(line.len() <= LINE_MAX_BYTES, "{} bytes: {line}", line.len());
            }
            assert_eq!(folded.replace("\r\n ", "").trim_end_matches("\r\n"), text);
        }
    }

    #[test]
    fn hostile_text_cannot_end_its_property() {
        let text = "a\r\nEND:VEVENT\nBEGIN:VALARM;x,y\\z";
        assert_eq!(escaped(text), "a\\nEND:VEVENT\\nBEGIN:VALARM\\;x\\,y\\\\z");
    }
}
