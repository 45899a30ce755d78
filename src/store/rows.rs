//! Domain values as columns and back.
//!
//! Reading is forgiving where an old or edited row could stop the daemon for ever, and strict
//! where guessing would be a lie.

use std::collections::BTreeMap;
use std::str::FromStr;

use jiff::Timestamp;
use rusqlite::types::Type;
use rusqlite::{Error, Result, Row};

use crate::model::{Change, ChangeKind, Edition, EventKind, FeedId, LastBackup, Missing, Tone};

pub const CHANGE_COLUMNS: &str = "key, at, seen_at, kind, feed, service, message_id, occurrence, serial, \
     outage_kind, was_kind, began_at, ended_at, users_affected, message, near, phone_backup_at, \
     phone_read_at, phones, id";

pub fn time(row: &Row, column: &str) -> Result<Timestamp> {
    let text: String = row.get(column)?;
    parsed(&text)
}

pub fn optional_time(row: &Row, column: &str) -> Result<Option<Timestamp>> {
    let text: Option<String> = row.get(column)?;
    text.as_deref().map(parsed).transpose()
}

pub fn text_of(time: Option<Timestamp>) -> Option<String> {
    time.map(|time| time.to_string())
}

pub fn missing(row: &Row, since: &str, fetches: &str) -> Result<Option<Missing>> {
    let fetches: Option<u32> = row.get(fetches)?;
    Ok(optional_time(row, since)?.map(|since| Missing { since, fetches: fetches.unwrap_or(1) }))
}

pub fn feed_id(text: &str) -> Result<FeedId> {
    let (edition, locale) = text.split_once('/').unwrap_or((text, "en_US"));
    let edition = match edition {
        "consumer" => Edition::Consumer,
        "developer" => Edition::Developer,
        _ => return Err(unknown("feed", text)),
    };
    Ok(FeedId { edition, locale: locale.to_owned() })
}

/// A row with [`CHANGE_COLUMNS`].
pub fn change(row: &Row) -> Result<Change> {
    let kind: String = row.get("kind")?;
    let feed: String = row.get("feed")?;
    let near: String = row.get("near")?;
    let event_kind =
        |column| Ok::<_, Error>(row.get::<_, Option<String>>(column)?.map(|text| EventKind::parse(&text)));
    Ok(Change {
        at: time(row, "at")?,
        seen_at: time(row, "seen_at")?,
        kind: ChangeKind::parse(&kind).ok_or_else(|| unknown("kind of change", &kind))?,
        feed: feed_id(&feed)?,
        service: row.get("service")?,
        message_id: row.get("message_id")?,
        occurrence: row.get("occurrence")?,
        serial: row.get("serial")?,
        outage_kind: event_kind("outage_kind")?,
        was_kind: event_kind("was_kind")?,
        began_at: optional_time(row, "began_at")?,
        ended_at: optional_time(row, "ended_at")?,
        users_affected: row.get("users_affected")?,
        message: row.get("message")?,
        near: serde_json::from_str(&near).unwrap_or_default(),
        phone: last_backup(row)?,
    })
}

fn last_backup(row: &Row) -> Result<Option<LastBackup>> {
    let times = optional_time(row, "phone_backup_at")?.zip(optional_time(row, "phone_read_at")?);
    let phones: Option<u32> = row.get("phones")?;
    Ok(times.map(|(at, read_at)| LastBackup { at, read_at, phones: phones.unwrap_or(1) }))
}

pub fn tone(row: &Row) -> Result<Tone> {
    let tone: String = row.get("tone")?;
    Tone::parse(&tone).ok_or_else(|| unknown("tone", &tone))
}

/// `worsened=2,revised=5`
pub fn counts_text(counts: &BTreeMap<ChangeKind, u32>) -> String {
    let pairs: Vec<String> =
        counts.iter().map(|(kind, count)| format!("{}={count}", kind.as_str())).collect();
    pairs.join(",")
}

pub fn counts(text: &str) -> BTreeMap<ChangeKind, u32> {
    let pair = |pair: &str| {
        let (kind, count) = pair.split_once('=')?;
        Some((ChangeKind::parse(kind)?, count.parse().ok()?))
    };
    text.split(',').filter_map(pair).collect()
}

pub fn unknown(what: &str, text: &str) -> Error {
    let message = format!("unknown {what} in the database: {text:?}");
    Error::FromSqlConversionFailure(0, Type::Text, message.into())
}

fn parsed(text: &str) -> Result<Timestamp> {
    Timestamp::from_str(text).map_err(|error| Error::FromSqlConversionFailure(0, Type::Text, Box::new(error)))
}
