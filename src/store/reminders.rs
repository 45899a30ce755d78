//! Reminders of ongoing outages, acknowledgements and snoozes.
//!
//! They add or hold back deliveries and never delete one. An acknowledgement applies to one occurrence,
//! until that is over.

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, Result, Row, params};

use super::batch::{ABOUT_OUTAGE, is_announced};
use super::beliefs::outage;
use super::open_database::OpenDatabase;
use super::rows::{number, optional_time, text};
use super::{Store, kv, outbox};
use crate::model::{Change, FeedId, Outage, ServiceKey};

/// The maximum per channel and poll. Further ones follow at the next poll.
const REMINDERS_AT_ONCE: usize = 200;
const SNOOZED_FROM: &str = "snoozed_from";
const SNOOZED_UNTIL: &str = "snoozed_until";
/// The maximum length of several snoozes that extend one another.
const SNOOZE_MAX: SignedDuration = SignedDuration::from_hours(366 * 24);

/// A period without messages to people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snooze {
    pub from: Timestamp,
    /// May be past; then the snooze explains which messages were held back.
    pub until: Timestamp,
}

// Statements name the index of the phase, because SQLite would otherwise scan all outages.

/// Selects announced ongoing outages.
fn is_ongoing() -> String {
    format!("feed = ?1 AND phase = 'ongoing' AND kind <> 'Maintenance' AND {}", is_announced())
}

impl Snooze {
    /// Returns true if the snooze is active at `time`. A snooze that begins later is not, because the clock
    /// was set back and it would last for too long.
    pub fn covers(&self, time: Timestamp) -> bool {
        (self.from..self.until).contains(&time)
    }
}

impl Store {
    /// Returns the ongoing outages that were announced on `channel`, oldest first, without maintenance.
    pub async fn ongoing_outages(&self, feed: &FeedId, channel: &str) -> Result<Vec<Outage>> {
        let sql = format!(
            "SELECT * FROM outage INDEXED BY outage_by_phase WHERE {}
             ORDER BY coalesce(began_at, first_seen_at), service_key, message_id",
            is_ongoing()
        );
        let (feed, channel) = (feed.to_string(), channel.to_owned());
        self.run(move |database| database.list(&sql, params![feed, channel], outage)).await
    }

    /// Returns the planned and ongoing outages and maintenances that were announced on `channel`, oldest
    /// first.
    pub async fn open_outages(&self, feed: &FeedId, channel: &str) -> Result<Vec<Outage>> {
        let sql = format!(
            "SELECT * FROM outage INDEXED BY outage_by_phase WHERE feed = ?1 AND phase IN ('planned', 'ongoing') AND {}
             ORDER BY coalesce(began_at, first_seen_at), service_key, message_id",
            is_announced()
        );
        let (feed, channel) = (feed.to_string(), channel.to_owned());
        self.run(move |database| database.list(&sql, params![feed, channel], outage)).await
    }

    /// Adds a reminder to the outbox of `channel` for each `is_wanted` outage without a notice for `every`.
    /// Skips outages that Apple does not list, that are acknowledged, or that have a pending delivery.
    /// Returns the reminders.
    pub async fn remind(
        &self,
        feed: &FeedId,
        channel: &str,
        every: SignedDuration,
        is_wanted: impl Fn(&Outage) -> bool + Send + 'static,
        now: Timestamp,
    ) -> Result<Vec<Change>> {
        let (feed, channel) = (feed.clone(), channel.to_owned());
        self.run(move |database| remind(database, &feed, &channel, every, &is_wanted, now)).await
    }

    /// Acknowledges the ongoing outages that `is_selected` returns true for; with `undo`, removes the
    /// acknowledgement. Returns these outages.
    pub async fn acknowledge(
        &self,
        feed: &FeedId,
        is_selected: impl Fn(&Outage) -> bool + Send + 'static,
        undo: bool,
        now: Timestamp,
    ) -> Result<Vec<Outage>> {
        let feed = feed.clone();
        self.run(move |database| acknowledge(database, &feed, &is_selected, undo, now)).await
    }

    /// Returns service and message id of the acknowledged ongoing outages.
    pub async fn acknowledged(&self, feed: &FeedId) -> Result<Vec<(ServiceKey, String)>> {
        let sql = "SELECT outage.service_key, message_id FROM ack
                   JOIN outage USING (feed, service_key, message_id, occurrence)
                   WHERE feed = ?1 AND phase = 'ongoing'";
        let identity =
            |row: &Row| Ok((ServiceKey::new(&text(row, "service_key")?), text(row, "message_id")?));
        let feed = feed.to_string();
        self.run(move |database| database.list(sql, params![feed], identity)).await
    }

    /// Holds back messages to people until then; a past time ends the snooze. Messages held back since `now`,
    /// or since an earlier snooze that this one extends, are sent as one digest.
    pub async fn snooze(&self, until: Timestamp, now: Timestamp) -> Result<()> {
        let write = move |database: &OpenDatabase| {
            let transaction = database.transaction()?;
            let from = match snoozed(&transaction)? {
                Some(earlier) if earlier.covers(now) => earlier.from,
                _ => now,
            };
            kv::set(&transaction, SNOOZED_FROM, from)?;
            kv::set(&transaction, SNOOZED_UNTIL, until)?;
            transaction.commit()
        };
        self.run(write).await
    }

    /// Returns the newest snooze, active or past.
    pub async fn snoozed(&self) -> Result<Option<Snooze>> {
        self.run(|database| snoozed(database)).await
    }
}

fn remind(
    database: &OpenDatabase,
    feed: &FeedId,
    channel: &str,
    every: SignedDuration,
    is_wanted: &dyn Fn(&Outage) -> bool,
    now: Timestamp,
) -> Result<Vec<Change>> {
    // The newest by id and not by time, because clocks are set. Given-up deliveries count as
    // announced, otherwise a server that rejects everything gets reminders for ever.
    let sql = format!(
        "SELECT *, (SELECT settled_at {ABOUT_OUTAGE} AND state <> 'pending'
                    ORDER BY change.id DESC LIMIT 1) AS announced_at,
            (SELECT count(*) FROM change WHERE kind = 'reminder' AND change.feed = outage.feed
               AND change.service_key = outage.service_key
               AND change.message_id = outage.message_id
               AND change.occurrence = outage.occurrence) AS reminders
         FROM outage INDEXED BY outage_by_phase WHERE {} AND missing_since IS NULL
           AND NOT EXISTS (SELECT 1 {ABOUT_OUTAGE} AND state = 'pending')
           AND NOT EXISTS (SELECT 1 FROM ack WHERE ack.feed = outage.feed
               AND ack.service_key = outage.service_key
               AND ack.message_id = outage.message_id AND ack.occurrence = outage.occurrence)
         ORDER BY coalesce(began_at, first_seen_at), service_key, message_id",
        is_ongoing()
    );
    let known = database.list(&sql, params![feed.to_string(), channel], |row| {
        let announced = optional_time(row, "announced_at")?;
        Ok((outage(row)?, announced, number(row, "reminders")?))
    })?;
    let reminder = |(outage, announced, reminders): (Outage, Option<Timestamp>, u32)| {
        let announced = announced.unwrap_or(outage.first_seen);
        // A time in the future: the clock was set back.
        let is_due = announced > now || now.duration_since(announced) >= every;
        (is_due && is_wanted(&outage)).then(|| Change::reminder(feed.clone(), &outage, reminders + 1, now))
    };
    let due: Vec<Change> = known.into_iter().filter_map(reminder).take(REMINDERS_AT_ONCE).collect();
    if due.is_empty() {
        return Ok(due);
    }
    let transaction = database.transaction()?;
    for change in &due {
        outbox::enqueue(&transaction, change, &[channel.to_owned()], now)?;
    }
    transaction.commit()?;
    Ok(due)
}

fn acknowledge(
    database: &OpenDatabase,
    feed: &FeedId,
    is_selected: &dyn Fn(&Outage) -> bool,
    undo: bool,
    now: Timestamp,
) -> Result<Vec<Outage>> {
    let transaction = database.transaction()?;
    let sql = "SELECT * FROM outage INDEXED BY outage_by_phase WHERE feed = ?1 AND phase = 'ongoing' ORDER BY service_key, message_id";
    let mut selected = database.list(sql, params![feed.to_string()], outage)?;
    selected.retain(|outage| is_selected(outage));
    for outage in &selected {
        let (feed, key) = (feed.to_string(), ServiceKey::new(&outage.service));
        if undo {
            transaction.execute(
                "DELETE FROM ack
                 WHERE feed = ?1 AND service_key = ?2 AND message_id = ?3 AND occurrence = ?4",
                params![feed, key.as_str(), outage.message_id, outage.occurrence],
            )?;
        } else {
            transaction.execute(
                "INSERT INTO ack (feed, service_key, message_id, occurrence, at)
                 VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
                params![feed, key.as_str(), outage.message_id, outage.occurrence, now.to_string()],
            )?;
        }
    }
    transaction.commit()?;
    Ok(selected)
}

fn snoozed(connection: &Connection) -> Result<Option<Snooze>> {
    let time = |name| kv::get(connection, name);
    let snooze = time(SNOOZED_FROM)?.zip(time(SNOOZED_UNTIL)?);
    // A longer snooze is a damaged value, which would hold back messages for years.
    let is_valid = |(from, until): &(Timestamp, Timestamp)| until.duration_since(*from) <= SNOOZE_MAX;
    Ok(snooze.filter(is_valid).map(|(from, until)| Snooze { from, until }))
}
