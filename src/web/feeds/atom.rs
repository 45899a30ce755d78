//! `/feed.atom` (RFC 4287): one entry for each incident. Its id stays, `updated` moves, and its end is an update.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::Entry;
use crate::report::incident::IncidentUpdate;
use crate::text::{plain_line, xml_escaped};
use crate::web::verdict::NAME_MAX_CHARS;

const TITLE: &str = "Apple outages";

/// Returns the feed at `address`, relative to the root.
pub fn feed(entries: &[Entry], address: &str, id: &str, zone: &TimeZone) -> String {
    // Without an entry there is no time of an update; this one never moves.
    let updated = entries.iter().map(Entry::updated_at).max().unwrap_or(Timestamp::UNIX_EPOCH);
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n\
         <feed xmlns=\"http://www.w3.org/2005/Atom\">\n\
         <id>{}</id>\n<title>{TITLE}</title>\n<subtitle>Outages that Apple lists, as seen by statusd</subtitle>\n\
         <updated>{updated}</updated>\n<author><name>statusd</name></author>\n\
         <link rel=\"self\" type=\"application/atom+xml\" href=\"{}\"/>\n\
         <link rel=\"alternate\" type=\"text/html\" href=\"/history\"/>\n",
        urn(id),
        xml_escaped(address),
    );
    for one in entries {
        text.push_str(&entry(one, zone));
    }
    text.push_str("</feed>\n");
    text
}

fn entry(entry: &Entry, zone: &TimeZone) -> String {
    let categories: String = entry
        .services
        .iter()
        .map(|service| {
            format!("<category term=\"{}\"/>\n", xml_escaped(&plain_line(service, NAME_MAX_CHARS)))
        })
        .collect();
    let updates: Vec<String> = entry.updates.iter().rev().map(|update| shown(update, zone)).collect();
    format!(
        "<entry>\n<id>{}</id>\n<title>{}</title>\n<published>{}</published>\n<updated>{}</updated>\n\
         <link rel=\"alternate\" type=\"text/html\" href=\"{}\"/>\n{categories}<content type=\"text\">{}</content>\n</entry>\n",
        urn(&entry.id),
        xml_escaped(&entry.title),
        entry.first_seen,
        entry.updated_at(),
        xml_escaped(&entry.page),
        xml_escaped(&updates.join("\n\n")),
    )
}

/// `Tuesday 5 May 2026, 10:02 CEST`, then the text.
fn shown(update: &IncidentUpdate, zone: &TimeZone) -> String {
    let at = update.at.to_zoned_datetime(zone.clone()).strftime("%A %-d %B %Y, %H:%M %Z");
    format!("{at}\n{}", update.text)
}

/// Returns a URN in the form of a UUID of version 8 (RFC 9562), whose bits are ours to choose.
fn urn(id: &str) -> String {
    let digits = |from: usize, to: usize| id.get(from..to).unwrap_or("0");
    format!(
        "urn:uuid:{}-{}-8{}-8{}-{:0>12}",
        digits(0, 8),
        digits(8, 12),
        digits(12, 15),
        "000",
        digits(15, 16)
    )
}
