//! Notices: rows with rendered bytes, and the deliveries attached to them.
//!
//! A notice is composed once and keeps its bytes on every attempt. A notice that must change is replaced by a
//! new row with another key.

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Result, Row, Transaction, params};

use super::attempts;
use super::batch::{self, Batching, Earlier, Waiting};
use super::rows::{self, time};
use crate::model::Severity;

/// A notice as sent, with the same bytes on every attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenderedNotice {
    pub key: String,
    pub title: String,
    pub body: String,
    pub severity: Severity,
    pub payload: String,
}

/// An attempt to send, already recorded as if it will fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    pub id: i64,
    pub notice_id: i64,
    /// Attempts so far, including this one.
    pub number: u32,
    pub notice: RenderedNotice,
    /// The receipt of the notice that this one replaces.
    pub replaces: Option<String>,
    /// The receipt of the newest notice about any of the same outages.
    pub follows: Option<String>,
    /// The creation time of its oldest delivery.
    pub waiting_since: Timestamp,
    /// The notice was composed for this attempt. An older notice may have been received without
    /// a confirmation, or statusd was killed while sending it.
    pub is_fresh: bool,
    /// The number of unintelligible answers to earlier attempts.
    pub unclear: u32,
}

/// Detaches the deliveries of a notice with a dropped one, so that the rest goes into a new notice. Keeps
/// the old row, so that its key stays taken. Returns whether there was a dropped one.
pub fn detach_dropped(transaction: &Transaction, notice_id: i64) -> Result<bool> {
    let sql = "SELECT 1 FROM delivery WHERE notice_id = ?1 AND state = 'given_up'";
    let is_dropped = transaction.prepare_cached(sql)?.exists([notice_id])?;
    if is_dropped {
        detach(transaction, notice_id)?;
    }
    Ok(is_dropped)
}

pub fn detach(transaction: &Transaction, notice_id: i64) -> Result<()> {
    let sql = "UPDATE delivery SET notice_id = NULL WHERE notice_id = ?1";
    transaction.execute(sql, [notice_id])?;
    attempts::detach(transaction, notice_id)
}

/// Deletes a notice that is older than `max_age`. Returns whether it was.
pub fn delete_old(
    transaction: &Transaction,
    notice_id: i64,
    max_age: SignedDuration,
    now: Timestamp,
) -> Result<bool> {
    let composed =
        transaction.query_row("SELECT created_at FROM notice WHERE id = ?1", [notice_id], |row| {
            time(row, "created_at")
        })?;
    let is_old = now.duration_since(composed) >= max_age;
    if is_old {
        delete(transaction, notice_id)?;
    }
    Ok(is_old)
}

/// Deletes a notice. Its deliveries become pending again.
pub fn delete(transaction: &Transaction, notice_id: i64) -> Result<()> {
    detach(transaction, notice_id)?;
    transaction.execute("DELETE FROM notice WHERE id = ?1", [notice_id])?;
    Ok(())
}

/// Composes a notice of pending deliveries and attaches them; `None` if there are none. A notice with
/// other bytes than an older one needs another key, which the `number` of the attempt makes unique.
pub fn compose(
    transaction: &Transaction,
    channel: &str,
    batching: Batching,
    (is_recomposed, mut number): (bool, u32),
    render: &dyn Fn(&Waiting) -> RenderedNotice,
    now: Timestamp,
) -> Result<Option<i64>> {
    transaction.execute(
        "INSERT INTO notice (channel, key, title, body, severity, payload, created_at)
         VALUES (?1, '', '', '', 'info', '', ?2)",
        params![channel, now.to_string()],
    )?;
    let notice_id = transaction.last_insert_rowid();
    if batch::attach(transaction, channel, batching, notice_id)? == 0 {
        transaction.execute("DELETE FROM notice WHERE id = ?1", [notice_id])?;
        return Ok(None);
    }
    attempts::attach(transaction, notice_id)?;
    let waiting = batch::load(transaction, channel, batching, notice_id)?;
    let mut notice = render(&Waiting { is_recomposed, ..waiting });
    let key = notice.key.clone();
    if is_recomposed {
        notice.key = format!("{key}/digest/{number}");
    }
    let mut is_taken = transaction.prepare_cached("SELECT 1 FROM notice WHERE channel = ?1 AND key = ?2")?;
    while is_taken.exists(params![channel, notice.key])? {
        notice.key = format!("{key}/digest/{number}");
        number += 1;
    }
    let replaces = batch::earlier(transaction, channel, batching, notice_id, Earlier::Covered)?;
    let follows = batch::earlier(transaction, channel, batching, notice_id, Earlier::Any)?;
    transaction.execute(
        "UPDATE notice SET key = ?1, title = ?2, body = ?3, severity = ?4, payload = ?5, replaces = ?6, follows = ?7
         WHERE id = ?8",
        params![
            notice.key,
            notice.title,
            notice.body,
            notice.severity.as_str(),
            notice.payload,
            replaces,
            follows,
            notice_id
        ],
    )?;
    Ok(Some(notice_id))
}

pub fn attempt(
    transaction: &Transaction,
    (id, notice_id): (i64, i64),
    number: u32,
    waiting_since: Timestamp,
) -> Result<Attempt> {
    transaction.query_row("SELECT * FROM notice WHERE id = ?1", [notice_id], |row: &Row| {
        Ok(Attempt {
            id,
            notice_id,
            number,
            notice: RenderedNotice {
                key: rows::text(row, "key")?,
                title: rows::text(row, "title")?,
                body: rows::text(row, "body")?,
                severity: rows::severity(row)?,
                payload: rows::text(row, "payload")?,
            },
            replaces: rows::optional_text(row, "replaces")?,
            follows: rows::optional_text(row, "follows")?,
            waiting_since,
            is_fresh: false,
            unclear: rows::number(row, "unclear")?,
        })
    })
}
