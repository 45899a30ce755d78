//! Queries of the command line, which run beside the daemon.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Result, Row, params};

use super::Store;
use super::batch::HELD_BACK;
use super::beliefs::{self, outage};
use super::open_database::OpenDatabase;
use super::rows::{self, CHANGE_COLUMNS, text, time};
use crate::model::{Change, FeedHealth, FeedId, Listed, Outage, Service, ServiceKey};

/// The maximum number of changes in memory.
const CHANGES_AT_ONCE: usize = 500;

/// A change with its id in the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredChange {
    pub id: i64,
    pub change: Change,
}

/// A selection of changes, or of their outages, by the time of their confirmation.
#[derive(Clone, Debug, Default)]
pub struct ChangeFilter {
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    /// Selects only changes without an outage.
    pub without_outage: bool,
}

/// A delivery with its change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredDelivery {
    pub id: i64,
    pub channel: String,
    /// `pending`, `sent` or `given_up`.
    pub state: String,
    pub created_at: Timestamp,
    pub due_at: Timestamp,
    pub attempts: u32,
    /// The last answer of the server or of statusd.
    pub answer: Option<String>,
    pub settled_at: Option<Timestamp>,
    /// The notice that contains it.
    pub notice_id: Option<i64>,
    /// It is held back for people, because its outage is acknowledged and ongoing.
    pub is_acknowledged: bool,
    pub change: Change,
}

/// A span of coverage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    pub from: Timestamp,
    pub to: Timestamp,
    /// The reason why the feed was unreadable; `None` if it was readable.
    pub unreadable: Option<String>,
}

/// The number of deliveries by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub pending: u32,
    pub sent: u32,
    pub given_up: u32,
}

impl Store {
    /// Returns changes, oldest first.
    pub async fn changes(&self, filter: &ChangeFilter) -> Result<Vec<StoredChange>> {
        let mut changes = Vec::new();
        self.each_change(filter, |change| {
            changes.push(change);
            Ok::<_, rusqlite::Error>(())
        })
        .await?;
        Ok(changes)
    }

    /// Passes each change to `take`, oldest first, with at most a few hundred in memory. Logs and skips
    /// unreadable ones. No transaction is open while `take` runs.
    pub async fn each_change<E: From<rusqlite::Error>>(
        &self,
        filter: &ChangeFilter,
        mut take: impl FnMut(StoredChange) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let sql = format!(
            "SELECT {CHANGE_COLUMNS} FROM change
             WHERE id > ?3 AND (?1 IS NULL OR at >= ?1) AND (?2 IS NULL OR at < ?2)
               AND (NOT ?4 OR occurrence IS NULL)
             ORDER BY id LIMIT {CHANGES_AT_ONCE}"
        );
        let (since, until) = (rows::text_of(filter.since), rows::text_of(filter.until));
        let mut last = 0;
        loop {
            let (sql, since, until, without_outage) =
                (sql.clone(), since.clone(), until.clone(), filter.without_outage);
            let read = move |database: &OpenDatabase| {
                database.list(&sql, params![since, until, last, without_outage], |row| {
                    Ok((row.get::<_, i64>("id")?, rows::change(row)))
                })
            };
            let page = self.run(read).await?;
            for (id, change) in &page {
                last = *id;
                match change {
                    Ok(change) => take(StoredChange { id: last, change: change.clone() })?,
                    Err(error) => tracing::warn!("cannot read change {id}: {error}"),
                }
            }
            if page.len() < CHANGES_AT_ONCE {
                return Ok(());
            }
        }
    }

    /// Returns the keys of all services with a change.
    pub async fn service_keys(&self) -> Result<Vec<ServiceKey>> {
        let sql = "SELECT DISTINCT service_key FROM change WHERE service_key <> ''";
        let key = |row: &Row| Ok(ServiceKey::new(&text(row, "service_key")?));
        self.run(move |database| database.list(sql, params![], key)).await
    }

    /// Returns every outage that was ongoing at some time since `since`, oldest first.
    pub async fn outages(&self, feed: &FeedId, since: Timestamp) -> Result<Vec<Outage>> {
        let sql = "SELECT * FROM outage WHERE feed = ?1
                   AND (phase IN ('planned', 'ongoing') OR ended_at IS NULL OR ended_at >= ?2)
                   ORDER BY coalesce(began_at, first_seen_at), service_key, message_id, occurrence";
        let (feed, since) = (feed.to_string(), since.to_string());
        self.run(move |database| database.list(sql, params![feed, since], outage)).await
    }

    /// Returns the health of the feed, and every service that Apple ever listed, sorted by key.
    pub async fn listed(&self, feed: &FeedId) -> Result<(FeedHealth, Vec<(ServiceKey, Service)>)> {
        let feed = feed.clone();
        let read = move |database: &OpenDatabase| {
            let mut services = beliefs::services(database, &feed)?;
            services.retain(|_, service| !matches!(service.listed, Listed::Never { .. }));
            Ok((beliefs::state_of(database, &feed)?.health, services.into_iter().collect()))
        };
        self.run(read).await
    }

    /// Returns deliveries, oldest first; without `settled` only pending and given-up ones.
    pub async fn deliveries(&self, settled: bool) -> Result<Vec<StoredDelivery>> {
        // Without the index, SQLite scans the whole history to avoid sorting a few rows.
        let table = if settled { "delivery" } else { "delivery INDEXED BY delivery_open" };
        let condition = if settled { "TRUE" } else { "state <> 'sent'" };
        self.run(move |database| database.list(&deliveries(table, condition), params![], delivery)).await
    }

    /// Returns the deliveries of a change and those of the same notices, oldest first.
    pub async fn deliveries_with(&self, change_id: i64) -> Result<Vec<StoredDelivery>> {
        let condition =
            "change_id = ?1 OR notice_id IN (SELECT notice_id FROM delivery WHERE change_id = ?1)";
        let sql = deliveries("delivery", condition);
        self.run(move |database| database.list(&sql, params![change_id], delivery)).await
    }

    pub async fn totals(&self) -> Result<Totals> {
        // Two counts that read indexes only.
        let sql =
            "SELECT count(*) FILTER (WHERE state = 'pending'), count(*) FILTER (WHERE state = 'given_up'),
                          (SELECT count(*) FROM delivery)
                   FROM delivery INDEXED BY delivery_open WHERE state <> 'sent'";
        let totals = |row: &Row| {
            let (pending, given_up, all): (u32, u32, u32) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok(Totals { pending, sent: all.saturating_sub(pending + given_up), given_up })
        };
        self.run(move |database| database.query_row(sql, params![], totals)).await
    }

    /// Returns the spans of coverage that end at `since` or later, oldest first.
    pub async fn coverage(&self, feed: &FeedId, since: Timestamp) -> Result<Vec<Span>> {
        let sql = "SELECT * FROM coverage WHERE feed = ?1 AND to_at >= ?2 ORDER BY id";
        let span = |row: &Row| {
            let (health, reason) = (text(row, "health")?, text(row, "reason")?);
            Ok(Span {
                from: time(row, "from_at")?,
                to: time(row, "to_at")?,
                unreadable: (health == "unreadable").then_some(reason),
            })
        };
        let (feed, since) = (feed.to_string(), since.to_string());
        self.run(move |database| database.list(sql, params![feed, since], span)).await
    }

    /// Returns the newest recorded time at which the feed was readable.
    pub async fn last_readable(&self, feed: &FeedId) -> Result<Option<Timestamp>> {
        let sql =
            "SELECT to_at FROM coverage WHERE feed = ?1 AND health = 'readable' ORDER BY id DESC LIMIT 1";
        let feed = feed.to_string();
        self.run(move |database| database.query_row(sql, [feed], |row| time(row, "to_at")).optional()).await
    }
}

fn deliveries(table: &str, condition: &str) -> String {
    format!(
        "SELECT {CHANGE_COLUMNS}, channel, state, created_at, due_at, attempts, answer, settled_at, notice_id,
                {HELD_BACK} AS is_acknowledged
         FROM {table} JOIN change ON change.id = change_id
         WHERE {condition} ORDER BY change_id, channel"
    )
}

fn delivery(row: &Row) -> Result<StoredDelivery> {
    Ok(StoredDelivery {
        id: row.get("id")?,
        channel: text(row, "channel")?,
        state: text(row, "state")?,
        created_at: time(row, "created_at")?,
        due_at: time(row, "due_at")?,
        attempts: rows::number(row, "attempts")?,
        answer: rows::optional_text(row, "answer")?,
        settled_at: rows::optional_time(row, "settled_at")?,
        notice_id: row.get("notice_id")?,
        is_acknowledged: row.get("is_acknowledged")?,
        change: rows::change(row)?,
    })
}
