//! Coverage: spans in which the feed was readable or unreadable. Not one row per poll.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Result, Transaction, params};

use super::Coverage;
use super::rows::{optional_text, text, time};
use crate::model::{FeedHealth, FeedId};

/// Extends the newest span to `now`, or begins another one if the health has changed.
pub fn mark(
    transaction: &Transaction,
    feed: &FeedId,
    health: &FeedHealth,
    coverage: Coverage,
    now: Timestamp,
) -> Result<()> {
    let (word, fault, reason) = match health {
        FeedHealth::Unknown => return Ok(()),
        FeedHealth::Readable { .. } => ("readable", None, None),
        FeedHealth::Unreadable { fault, reason, .. } => {
            ("unreadable", Some(fault.as_str()), Some(reason.as_str()))
        }
    };
    let feed = feed.to_string();
    let newest = transaction
        .query_row(
            "SELECT id, to_at, health, fault, reason FROM coverage WHERE feed = ?1 ORDER BY id DESC LIMIT 1",
            [&feed],
            |row| {
                let same = text(row, "health")? == word
                    && optional_text(row, "fault")?.as_deref() == fault
                    && optional_text(row, "reason")?.as_deref() == reason;
                Ok((row.get::<_, i64>("id")?, time(row, "to_at")?, same))
            },
        )
        .optional()?;
    let now_text = now.to_string();
    match newest {
        // If the clock was set back, the span ends at its last known time.
        Some((id, to, same)) if coverage == Coverage::Continues && to <= now => {
            transaction.execute("UPDATE coverage SET to_at = ?1 WHERE id = ?2", params![now_text, id])?;
            if !same {
                begin(transaction, &feed, &now_text, word, fault, reason)?;
            }
        }
        Some(_) | None => begin(transaction, &feed, &now_text, word, fault, reason)?,
    }
    Ok(())
}

fn begin(
    transaction: &Transaction,
    feed: &str,
    now: &str,
    health: &str,
    fault: Option<&str>,
    reason: Option<&str>,
) -> Result<()> {
    transaction.execute(
        "INSERT INTO coverage (feed, from_at, to_at, health, fault, reason) VALUES (?1, ?2, ?2, ?3, ?4, ?5)",
        params![feed, now, health, fault, reason],
    )?;
    Ok(())
}
