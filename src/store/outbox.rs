//! Deliveries: one row per (change, channel).
//!
//! A channel has at most one notice in flight, and its oldest delivery decides when the notice is due, so
//! an end never overtakes its start. Every delivery ends as sent or given up.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Result, Transaction, params};

use super::Store;
use super::attempts;
use super::batch::{Batching, HELD_BACK, Waiting};
use super::notices::{self, Attempt, RenderedNotice};
use super::open_database::OpenDatabase;
use super::rows::{self, time};
use crate::model::{Change, ServiceKey};

/// The answer of a delivery that a user dropped.
pub const DROPPED: &str = "dropped by hand";

/// The outcome of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    Sent {
        receipt: Option<String>,
        detail: String,
    },
    /// Retry at `due_at`. `recompose`: the server certainly received nothing, so the notice may be
    /// composed again. `is_unclear`: the server's answer is unintelligible.
    Later {
        due_at: Timestamp,
        recompose: bool,
        is_unclear: bool,
        detail: String,
    },
    GivenUp {
        detail: String,
    },
    /// Give up deliveries created at `before` or earlier. Younger ones stay pending, in a new notice.
    Expired {
        before: Timestamp,
        detail: String,
    },
}

/// Records a change and a delivery for each of `channels`. A change whose key exists already is ignored.
pub fn enqueue(
    transaction: &Transaction,
    change: &Change,
    channels: &[String],
    now: Timestamp,
) -> Result<()> {
    let mut insert = transaction.prepare_cached(
        "INSERT INTO change (key, at, seen_at, kind, feed, service, service_key, message_id, occurrence, serial,
             outage_kind, was_kind, began_at, ended_at, users_affected, message, near, phone_backup_at,
             phone_read_at, phones)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18,
             ?19, ?20)
         ON CONFLICT (key) DO NOTHING",
    )?;
    let inserted = insert.execute(params![
        change.key(),
        change.at.to_string(),
        change.seen_at.to_string(),
        change.kind.as_str(),
        change.feed.to_string(),
        change.service,
        ServiceKey::new(&change.service).as_str(),
        change.message_id,
        change.occurrence,
        change.serial,
        change.outage_kind.as_ref().map(|kind| kind.as_str()),
        change.was_kind.as_ref().map(|kind| kind.as_str()),
        rows::text_of(change.began_at),
        rows::text_of(change.ended_at),
        change.users_affected,
        change.message,
        serde_json::Value::from(change.near.clone()).to_string(),
        rows::text_of(change.phone.map(|phone| phone.at)),
        rows::text_of(change.phone.map(|phone| phone.read_at)),
        change.phone.map(|phone| phone.phones),
    ])?;
    if inserted == 0 {
        return Ok(());
    }
    let change_id = transaction.last_insert_rowid();
    for channel in channels {
        let insert = "INSERT INTO delivery (change_id, channel, state, created_at, due_at, attempts)
                      VALUES (?1, ?2, 'pending', ?3, ?3, 0)";
        transaction.prepare_cached(insert)?.execute(params![change_id, channel, now.to_string()])?;
    }
    Ok(())
}

/// The oldest pending delivery of a channel.
struct Head {
    notice_id: Option<i64>,
    due_at: Timestamp,
    attempts: u32,
    created_at: Timestamp,
}

impl Store {
    /// Returns when the channel's next attempt is due; `None` if nothing is pending.
    ///
    /// A time further ahead than `longest_wait_s` is due now, because the clock was set back.
    pub async fn due_at(
        &self,
        channel: &str,
        batching: Batching,
        longest_wait_s: i64,
        now: Timestamp,
    ) -> Result<Option<Timestamp>> {
        let channel = channel.to_owned();
        let head = self.run(move |database| head(database, &channel, batching)).await?;
        Ok(head.map(|head| {
            if head.due_at.as_second() - now.as_second() > longest_wait_s { now } else { head.due_at }
        }))
    }

    /// Begins an attempt: of the notice in flight, or of one composed from pending deliveries. `next`
    /// returns the time of the following attempt, in case this one is never settled. `render` and `next` run
    /// on the thread of the database.
    pub async fn begin(
        &self,
        channel: &str,
        batching: Batching,
        render: impl Fn(&Waiting) -> RenderedNotice + Send + 'static,
        next: impl Fn(u32) -> Timestamp + Send + 'static,
        now: Timestamp,
    ) -> Result<Option<Attempt>> {
        let channel = channel.to_owned();
        self.run(move |database| begin(database, &channel, batching, &render, &next, now)).await
    }

    /// Records the outcome of an attempt, which took so long. Does nothing if it was recorded before.
    pub async fn settle(
        &self,
        attempt_id: i64,
        settled: &Settled,
        took: Duration,
        now: Timestamp,
    ) -> Result<()> {
        let settled = settled.clone();
        let settle = move |database: &OpenDatabase| {
            let transaction = database.transaction()?;
            match attempts::complete(&transaction, attempt_id, &settled, took)? {
                Some(notice_id) => settle(&transaction, notice_id, &settled, now)?,
                None => return Ok(()),
            }
            transaction.commit()
        };
        self.run(settle).await
    }

    /// Makes the deliveries of a change due now, on one channel or all, including given-up ones. Includes
    /// the other deliveries of the same notice, because it is sent as a whole, except dropped ones. Returns
    /// the number of deliveries of this change.
    pub async fn retry(&self, change_id: i64, channel: Option<&str>, now: Timestamp) -> Result<usize> {
        let channel = channel.map(str::to_owned);
        self.run(move |database| retry(database, change_id, channel.as_deref(), now)).await
    }

    /// Drops the pending deliveries of a change; they stay visible as given up. Their notice is composed
    /// again without them before the next attempt. Returns how many.
    pub async fn give_up(&self, change_id: i64, channel: Option<&str>, now: Timestamp) -> Result<usize> {
        let channel = channel.map(str::to_owned);
        let give_up = move |database: &OpenDatabase| {
            let transaction = database.transaction()?;
            let count = transaction.execute(
                "UPDATE delivery SET state = 'given_up', answer = ?4, settled_at = ?1
                 WHERE change_id = ?2 AND (?3 IS NULL OR channel = ?3) AND state = 'pending'",
                params![now.to_string(), change_id, channel, DROPPED],
            )?;
            transaction.commit()?;
            Ok(count)
        };
        self.run(give_up).await
    }
}

fn begin(
    database: &OpenDatabase,
    channel: &str,
    batching: Batching,
    render: &dyn Fn(&Waiting) -> RenderedNotice,
    next: &dyn Fn(u32) -> Timestamp,
    now: Timestamp,
) -> Result<Option<Attempt>> {
    let transaction = database.transaction()?;
    let Some(mut head) = head(&transaction, channel, batching)? else { return Ok(None) };
    let is_recomposed = match (head.notice_id, batching.max_age()) {
        (Some(notice_id), _) if notices::detach_dropped(&transaction, notice_id)? => true,
        (Some(notice_id), Some(max_age)) => notices::delete_old(&transaction, notice_id, max_age, now)?,
        (None, _) | (_, None) => false,
    };
    if is_recomposed {
        head.notice_id = None;
    }
    let number = head.attempts + 1;
    let notice_id = match head.notice_id {
        Some(id) => id,
        None => {
            let recomposed = (is_recomposed, number);
            let Some(id) = notices::compose(&transaction, channel, batching, recomposed, render, now)? else {
                // All contents of the old notice have been acknowledged, so nothing is due.
                transaction.commit()?;
                return Ok(None);
            };
            id
        }
    };
    transaction.execute(
        "UPDATE delivery SET attempts = ?1, due_at = ?2 WHERE notice_id = ?3 AND state = 'pending'",
        params![number, next(number).to_string(), notice_id],
    )?;
    let id = attempts::add(&transaction, channel, notice_id, number, now)?;
    let attempt = Attempt {
        is_fresh: head.notice_id.is_none() && !is_recomposed,
        ..notices::attempt(&transaction, (id, notice_id), number, head.created_at)?
    };
    transaction.commit()?;
    Ok(Some(attempt))
}

fn settle(transaction: &Transaction, notice_id: i64, settled: &Settled, now: Timestamp) -> Result<()> {
    match settled {
        Settled::Sent { receipt, detail } => {
            // Dropped while being sent, which is too late.
            let sql = "UPDATE delivery SET state = 'pending' WHERE notice_id = ?1 AND answer = ?2";
            transaction.execute(sql, params![notice_id, DROPPED])?;
            finish(transaction, notice_id, "sent", detail, now)?;
            transaction
                .execute("UPDATE notice SET receipt = ?1 WHERE id = ?2", params![receipt, notice_id])?;
        }
        Settled::GivenUp { detail } => finish(transaction, notice_id, "given_up", detail, now)?,
        Settled::Expired { before, detail } => {
            let younger = transaction.execute(
                "UPDATE delivery SET notice_id = NULL, attempts = 0, due_at = ?1
                 WHERE notice_id = ?2 AND state = 'pending' AND created_at > ?3",
                params![now.to_string(), notice_id, before.to_string()],
            )?;
            finish(transaction, notice_id, "given_up", detail, now)?;
            if younger > 0 {
                // The next notice will contain the younger ones, so a retry composes this one again.
                notices::detach(transaction, notice_id)?;
            }
        }
        Settled::Later { due_at, recompose, is_unclear, detail } => {
            transaction.execute(
                "UPDATE delivery SET due_at = ?1, answer = ?2 WHERE notice_id = ?3 AND state = 'pending'",
                params![due_at.to_string(), detail, notice_id],
            )?;
            if *is_unclear {
                let sql = "UPDATE notice SET unclear = unclear + 1 WHERE id = ?1";
                transaction.execute(sql, [notice_id])?;
            }
            if *recompose {
                notices::delete(transaction, notice_id)?;
            }
        }
    }
    Ok(())
}

fn retry(database: &OpenDatabase, change_id: i64, channel: Option<&str>, now: Timestamp) -> Result<usize> {
    let transaction = database.transaction()?;
    transaction.execute(
        "UPDATE delivery SET state = 'pending', due_at = ?1, created_at = ?1, settled_at = NULL
         WHERE state <> 'sent' AND change_id <> ?2 AND answer IS NOT ?4
           AND notice_id IN (SELECT notice_id FROM delivery WHERE change_id = ?2
               AND (?3 IS NULL OR channel = ?3) AND state <> 'sent' AND answer IS NOT ?4)",
        params![now.to_string(), change_id, channel, DROPPED],
    )?;
    transaction.execute(
        "UPDATE notice SET unclear = 0 WHERE id IN (SELECT notice_id FROM delivery WHERE change_id = ?1
             AND (?2 IS NULL OR channel = ?2) AND state <> 'sent')",
        params![change_id, channel],
    )?;
    let count = transaction.execute(
        "UPDATE delivery SET state = 'pending', due_at = ?1, created_at = ?1, settled_at = NULL,
             answer = nullif(answer, ?4)
         WHERE change_id = ?2 AND (?3 IS NULL OR channel = ?3) AND state <> 'sent'",
        params![now.to_string(), change_id, channel, DROPPED],
    )?;
    transaction.commit()?;
    Ok(count)
}

fn head(connection: &Connection, channel: &str, batching: Batching) -> Result<Option<Head>> {
    let sql = format!(
        "SELECT notice_id, due_at, attempts, created_at FROM delivery JOIN change ON change.id = change_id
         WHERE channel = ?1 AND state = 'pending' AND NOT (?2 AND {HELD_BACK}) ORDER BY change_id LIMIT 1"
    );
    connection
        .prepare_cached(&sql)?
        .query_row(params![channel, batching != Batching::PerChange], |row| {
            Ok(Head {
                notice_id: row.get("notice_id")?,
                due_at: time(row, "due_at")?,
                attempts: rows::number(row, "attempts")?,
                created_at: time(row, "created_at")?,
            })
        })
        .optional()
}

fn finish(
    transaction: &Transaction,
    notice_id: i64,
    state: &str,
    detail: &str,
    now: Timestamp,
) -> Result<()> {
    transaction.execute(
        "UPDATE delivery SET state = ?1, answer = ?2, settled_at = ?3 WHERE notice_id = ?4 AND state = 'pending'",
        params![state, detail, now.to_string(), notice_id],
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use jiff::SignedDuration;

    use super::super::commit_mark::CommitMark;
    use super::super::migration;
    use super::*;
    use crate::model::{ChangeKind, Edition, FeedId, Severity};

    /// Counts the steps of SQLite's virtual machine for one attempt with so many pending changes.
    async fn steps(batching: Batching, waiting: i64) -> u32 {
        let steps = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&steps);
        let count = move || {
            counted.fetch_add(1, Ordering::Relaxed);
            false
        };
        let mut connection = migration::reference(migration::known_version()).expect("a database");
        connection.progress_handler(1, Some(count)).expect("counted");
        let store = Store::new(OpenDatabase::new(connection, CommitMark::none(), None, None), false);
        let feed = FeedId { edition: Edition::Consumer, locale: "en_US".to_owned() };
        let now = Timestamp::UNIX_EPOCH;
        for number in 0..waiting {
            let at = now + SignedDuration::from_secs(number);
            let lost = Change::history_lost(feed.clone(), "elsewhere", at);
            let change = Change {
                kind: ChangeKind::Began,
                service: format!("Service {}", number % 1_000),
                message_id: Some(number.to_string()),
                occurrence: Some(1),
                ..lost
            };
            store.record_change(&change, &|_| vec!["log".to_owned()], now).await.expect("written");
        }
        steps.store(0, Ordering::Relaxed);
        let compose = |waiting: &Waiting| RenderedNotice {
            key: waiting.changes[0].key(),
            title: String::new(),
            body: String::new(),
            severity: Severity::Info,
            payload: String::new(),
        };
        let begun = store.begin("log", batching, compose, move |_| now, now).await;
        let attempt = begun.expect("written").expect("something waits");
        let sent = Settled::Sent { receipt: Some("1".to_owned()), detail: String::new() };
        store.settle(attempt.id, &sent, Duration::ZERO, now).await.expect("written");
        steps.load(Ordering::Relaxed)
    }

    /// Otherwise thousands of pending changes block all other tasks between two notices.
    #[tokio::test]
    async fn the_cost_of_an_attempt_does_not_grow_with_the_queue() {
        let max_age = SignedDuration::from_hours(24);
        for (batching, few) in [
            (Batching::PerChange, 10),
            (Batching::Incident { max_age }, 10),
            (Batching::Digest { max_age }, 500),
        ] {
            let (least, most) = (steps(batching, few).await, steps(batching, 10 * few).await);
            assert!(least > 0 && most < least + least / 2, "{batching:?}: {least} steps, then {most}");
        }
    }
}
