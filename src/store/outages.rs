//! Outages with the time of their announcement, for the history.
//!
//! The command line reads them in pages of a few hundred, beside a running daemon.

use rusqlite::{Result, Row, params};

use super::beliefs::outage;
use super::open_database::OpenDatabase;
use super::rows::{self, feed_id, text};
use super::{ChangeFilter, Store};
use crate::model::{FeedId, Outage};
use jiff::Timestamp;

/// The maximum number of outages in memory.
const OUTAGES_AT_ONCE: usize = 500;
pub(super) const OF_OUTAGE: &str =
    "change.service_key = outage.service_key AND change.message_id = outage.message_id
    AND change.feed = outage.feed AND change.occurrence = outage.occurrence";

/// True if the feed was readable just before the outage was first seen.
pub(super) const WAS_POLLING: &str = "(SELECT health = 'readable' AND from_at < first_seen_at FROM coverage
      WHERE coverage.feed = outage.feed AND to_at >= first_seen_at ORDER BY to_at LIMIT 1) AS was_polling";

/// Returns the column with the time of the first delivery, or a word. A time sorts before both words.
pub(super) fn announced() -> String {
    format!(
        "(SELECT min(CASE state WHEN 'sent' THEN settled_at WHEN 'pending' THEN 'later' ELSE 'never' END)
          FROM change JOIN delivery ON change_id = change.id WHERE {OF_OUTAGE}) AS announced"
    )
}

/// An outage or a maintenance with its announcement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredOutage {
    pub feed: FeedId,
    pub outage: Outage,
    /// statusd could read the feed just before it first saw the outage, so that Apple posted the
    /// outage at that time and not earlier.
    pub was_polling: bool,
    pub announced: Announced,
}

/// The first delivery about an outage, on any channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announced {
    At(Timestamp),
    /// Still pending.
    Waiting,
    /// All are given up.
    GivenUp,
    /// There was none, because no channel wanted one.
    Never,
}

/// The last outage of a page.
#[derive(Default)]
struct Position {
    from: String,
    feed: String,
    service_key: String,
    message_id: String,
    occurrence: i64,
}

impl Store {
    /// Passes each outage of a period to `take`, in order of the start, with at most a few hundred in memory.
    /// An outage counts from its start or first sighting until its end and its newest change, so the outage
    /// of every change in the period is included. Logs and skips unreadable ones. No transaction is open
    /// while `take` runs.
    pub async fn each_outage<E: From<rusqlite::Error>>(
        &self,
        filter: &ChangeFilter,
        mut take: impl FnMut(StoredOutage) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let announced = announced();
        // Without the index, SQLite scans all later changes of a service.
        let sql = format!(
            "SELECT *, coalesce(began_at, first_seen_at) AS position, {WAS_POLLING}, {announced}
             FROM outage
             WHERE coalesce(began_at, first_seen_at) >= ?1
               AND (coalesce(began_at, first_seen_at), feed, service_key, message_id, occurrence)
                   > (?1, ?2, ?3, ?4, ?5)
               AND (?6 IS NULL OR phase IN ('planned', 'ongoing') OR ended_at >= ?6 OR first_seen_at >= ?6
                    OR EXISTS (SELECT 1 FROM change INDEXED BY change_by_outage WHERE {OF_OUTAGE} AND at >= ?6))
               AND (?7 IS NULL OR coalesce(began_at, first_seen_at) < ?7 OR first_seen_at < ?7)
             ORDER BY coalesce(began_at, first_seen_at), feed, service_key, message_id, occurrence
             LIMIT {OUTAGES_AT_ONCE}"
        );
        let (since, until) = (rows::text_of(filter.since), rows::text_of(filter.until));
        let mut last = Position::default();
        loop {
            let (sql, since, until) = (sql.clone(), since.clone(), until.clone());
            let Position { from, feed, service_key, message_id, occurrence } = std::mem::take(&mut last);
            let read = move |database: &OpenDatabase| {
                let after = params![from, feed, service_key, message_id, occurrence, since, until];
                database.list(&sql, after, |row| Ok((position(row)?, stored(row))))
            };
            let page = self.run(read).await?;
            let count = page.len();
            for (at, found) in page {
                match found {
                    Ok(found) => take(found)?,
                    Err(error) => {
                        tracing::warn!("cannot read outage {} of {}: {error}", at.message_id, at.service_key);
                    }
                }
                last = at;
            }
            if count < OUTAGES_AT_ONCE {
                return Ok(());
            }
        }
    }
}

fn position(row: &Row) -> Result<Position> {
    Ok(Position {
        from: text(row, "position")?,
        feed: text(row, "feed")?,
        service_key: text(row, "service_key")?,
        message_id: text(row, "message_id")?,
        occurrence: row.get("occurrence")?,
    })
}

pub(super) fn stored(row: &Row) -> Result<StoredOutage> {
    let announced = match rows::optional_text(row, "announced")?.as_deref() {
        None => Announced::Never,
        Some("later") => Announced::Waiting,
        Some("never") => Announced::GivenUp,
        Some(_) => rows::optional_time(row, "announced")?.map_or(Announced::Never, Announced::At),
    };
    Ok(StoredOutage {
        feed: feed_id(&text(row, "feed")?)?,
        outage: outage(row)?,
        was_polling: row.get::<_, Option<bool>>("was_polling")?.unwrap_or(false),
        announced,
    })
}
