//! Converts between domain values and columns.
//!
//! A damaged field must not stop the daemon for ever, so it gets a fallback value and the rest of the row is
//! used. A row that is useless without the field is an error (`tests/it/damage.rs`).

use std::collections::BTreeMap;
use std::str::FromStr;

use jiff::Timestamp;
use rusqlite::types::{Type, ValueRef};
use rusqlite::{Error, Result, Row};

use crate::model::{
    Change, ChangeKind, Edition, EventKind, FeedId, LastBackup, Missing, ServiceKey, Severity,
};

pub const CHANGE_COLUMNS: &str = "key, at, seen_at, kind, feed, service, service_key, message_id, occurrence, serial, \
     outage_kind, was_kind, began_at, ended_at, users_affected, message, near, phone_backup_at, \
     phone_read_at, phones, id";

/// Reads a text. Invalid UTF-8 becomes U+FFFD.
pub fn text(row: &Row, column: &str) -> Result<String> {
    Ok(optional_text(row, column)?.unwrap_or_default())
}

pub fn optional_text(row: &Row, column: &str) -> Result<Option<String>> {
    Ok(match row.get_ref(column)? {
        ValueRef::Text(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) | ValueRef::Blob(_) => None,
    })
}

/// Reads a count; 0 if it is invalid.
pub fn number(row: &Row, column: &str) -> Result<u32> {
    Ok(optional_number(row, column)?.unwrap_or_default())
}

pub fn optional_number(row: &Row, column: &str) -> Result<Option<u32>> {
    let number: Option<i64> = row.get(column)?;
    Ok(number.and_then(|number| u32::try_from(number).ok()))
}

/// Reads a time; 1970 if it is invalid, so that no task waits for it.
pub fn time(row: &Row, column: &str) -> Result<Timestamp> {
    Ok(optional_time(row, column)?.unwrap_or(Timestamp::UNIX_EPOCH))
}

pub fn optional_time(row: &Row, column: &str) -> Result<Option<Timestamp>> {
    let parsed = |text: String| {
        let time = Timestamp::from_str(&text);
        time.inspect_err(|error| tracing::warn!("damaged time in the database ({column}): {error}")).ok()
    };
    Ok(optional_text(row, column)?.and_then(parsed))
}

pub fn text_of(time: Option<Timestamp>) -> Option<String> {
    time.map(|time| time.to_string())
}

pub fn missing(row: &Row, since: &str, fetches: &str) -> Result<Option<Missing>> {
    let fetches = optional_number(row, fetches)?;
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

/// Reads the name of a service; its key if the name is damaged and does not match the key.
pub fn service_name(row: &Row, name: &str, key: &str) -> Result<String> {
    let (name, key) = (text(row, name)?, text(row, key)?);
    Ok(if ServiceKey::new(&name).as_str() == key { name } else { key })
}

/// Reads a row with [`CHANGE_COLUMNS`]. Feed and kind are also in the key, which replaces damaged columns.
pub fn change(row: &Row) -> Result<Change> {
    let (key, kind, feed) = (text(row, "key")?, text(row, "kind")?, text(row, "feed")?);
    let of_key = |part: usize| key.split('/').nth(part).unwrap_or_default();
    let kind = ChangeKind::parse(&kind).or_else(|| ChangeKind::parse(of_key(5)));
    let feed = feed_id(&feed).or_else(|_| feed_id(&format!("{}/{}", of_key(0), of_key(1))))?;
    let event_kind = |column| Ok::<_, Error>(optional_text(row, column)?.map(|text| EventKind::parse(&text)));
    let (at, seen_at) = (optional_time(row, "at")?, optional_time(row, "seen_at")?);
    Ok(Change {
        at: at.or(seen_at).unwrap_or(Timestamp::UNIX_EPOCH),
        seen_at: seen_at.or(at).unwrap_or(Timestamp::UNIX_EPOCH),
        kind: kind.ok_or_else(|| unknown("kind of change", &key))?,
        feed,
        service: service_name(row, "service", "service_key")?,
        message_id: optional_text(row, "message_id")?,
        occurrence: optional_number(row, "occurrence")?,
        serial: number(row, "serial")?,
        outage_kind: event_kind("outage_kind")?,
        was_kind: event_kind("was_kind")?,
        began_at: optional_time(row, "began_at")?,
        ended_at: optional_time(row, "ended_at")?,
        users_affected: optional_text(row, "users_affected")?,
        message: text(row, "message")?,
        near: serde_json::from_str(&text(row, "near")?).unwrap_or_default(),
        phone: last_backup(row)?,
    })
}

fn last_backup(row: &Row) -> Result<Option<LastBackup>> {
    let times = optional_time(row, "phone_backup_at")?.zip(optional_time(row, "phone_read_at")?);
    let phones = optional_number(row, "phones")?;
    Ok(times.map(|(at, read_at)| LastBackup { at, read_at, phones: phones.unwrap_or(1) }))
}

pub fn severity(row: &Row) -> Result<Severity> {
    Ok(Severity::parse(&text(row, "severity")?).unwrap_or(Severity::Info))
}

/// Returns for example `worsened=2,revised=5`.
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
