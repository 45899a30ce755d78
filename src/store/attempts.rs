//! Attempts: one row for each try to send a notice, with the answer of the server.
//!
//! A row is written before the attempt and completed after it, so a row without an outcome was cut short. Of
//! each notice the first and the newest attempts are kept (`attempts_are_bounded`).

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Result, Row, params};

use super::Store;
use super::outbox::Settled;
use super::rows::{number, optional_number, optional_text, text, time};
use crate::text::plain_line;

/// The number of attempts of a notice that are kept.
const KEPT_FIRST: u32 = 5;
const KEPT_NEWEST: u32 = 50;
const ANSWER_MAX_CHARS: usize = 500;

/// An attempt, as the database holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredAttempt {
    pub channel: String,
    /// Counts the attempts of a delivery from 1.
    pub number: u32,
    pub started_at: Timestamp,
    pub duration_ms: Option<u32>,
    /// `sent`, `failed` or `unclear` (both are retried), or `given_up`. `None`: in progress or cut short.
    pub outcome: Option<String>,
    /// The answer of the server or of statusd, in one line.
    pub answer: Option<String>,
}

impl Store {
    /// Returns the attempts of the deliveries of a change, by channel and time.
    pub async fn attempts(&self, change_id: i64) -> Result<Vec<StoredAttempt>> {
        // Between a failed attempt and the next notice, only the row of the oldest delivery shows which
        // notice it was.
        let sql = "SELECT attempt.* FROM delivery JOIN attempt ON attempt.notice_id = delivery.notice_id
                   WHERE delivery.change_id = ?1
                   UNION SELECT attempt.* FROM attempt WHERE change_id = ?1
                   ORDER BY channel, id";
        self.run(move |database| database.list(sql, params![change_id], attempt)).await
    }
}

/// Adds the row of an attempt that begins now. Returns its id.
pub fn add(
    connection: &Connection,
    channel: &str,
    notice_id: i64,
    count: u32,
    now: Timestamp,
) -> Result<i64> {
    connection.execute(
        "INSERT INTO attempt (channel, change_id, notice_id, number, started_at)
         SELECT channel, min(change_id), notice_id, ?3, ?4 FROM delivery
         WHERE notice_id = ?2 AND channel = ?1 AND state = 'pending' GROUP BY notice_id",
        params![channel, notice_id, count, now.to_string()],
    )?;
    let id = connection.last_insert_rowid();
    connection.execute(
        "DELETE FROM attempt WHERE notice_id = ?1 AND number > ?2 AND number + ?3 <= ?4",
        params![notice_id, KEPT_FIRST, KEPT_NEWEST, count],
    )?;
    Ok(id)
}

/// Completes the row of an attempt. Returns the notice; `None` if the outcome was recorded before.
pub fn complete(connection: &Connection, id: i64, settled: &Settled, took: Duration) -> Result<Option<i64>> {
    let (outcome, detail) = match settled {
        Settled::Sent { detail, .. } => ("sent", detail),
        Settled::Later { is_unclear: true, detail, .. } => ("unclear", detail),
        Settled::Later { is_unclear: false, detail, .. } => ("failed", detail),
        Settled::GivenUp { detail } | Settled::Expired { detail, .. } => ("given_up", detail),
    };
    let took_ms = u32::try_from(took.as_millis()).unwrap_or(u32::MAX);
    connection
        .query_row(
            "UPDATE attempt SET outcome = ?2, answer = ?3, duration_ms = ?4
             WHERE id = ?1 AND outcome IS NULL RETURNING notice_id",
            params![id, outcome, plain_line(detail, ANSWER_MAX_CHARS), took_ms],
            |row| row.get(0),
        )
        .optional()
}

/// Detaches the attempts of a notice that is composed again.
pub fn detach(connection: &Connection, notice_id: i64) -> Result<()> {
    connection.execute("UPDATE attempt SET notice_id = NULL WHERE notice_id = ?1", [notice_id]).map(drop)
}

/// Attaches detached attempts to the notice that now contains their oldest delivery.
pub fn attach(connection: &Connection, notice_id: i64) -> Result<()> {
    let sql = "UPDATE attempt SET notice_id = ?1 WHERE notice_id IS NULL AND (change_id, channel) IN
                   (SELECT change_id, channel FROM delivery WHERE notice_id = ?1 AND attempts > 0)";
    connection.execute(sql, [notice_id]).map(drop)
}

fn attempt(row: &Row) -> Result<StoredAttempt> {
    Ok(StoredAttempt {
        channel: text(row, "channel")?,
        number: number(row, "number")?,
        started_at: time(row, "started_at")?,
        duration_ms: optional_number(row, "duration_ms")?,
        outcome: optional_text(row, "outcome")?,
        answer: optional_text(row, "answer")?,
    })
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use rusqlite::Connection;
    use tempfile::TempDir;

    use super::super::migration::{APPLICATION_ID, reference};
    use super::super::{Attempt, Batching, DATABASE, RenderedNotice};
    use super::*;
    use crate::model::{Change, Edition, FeedId, Severity};

    const CHANNEL: &str = "webhook.ops";

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_777_975_200 + second).expect("a time")
    }

    async fn announce(store: &Store, second: i64) {
        let feed = FeedId { edition: Edition::Consumer, locale: "en_US".to_owned() };
        let change = Change::history_lost(feed, &second.to_string(), at(second));
        store.record_change(&change, &|_| vec![CHANNEL.to_owned()], at(second)).await.expect("written");
    }

    async fn begin(store: &Store, second: i64) -> Attempt {
        let render = |waiting: &super::super::Waiting| RenderedNotice {
            key: waiting.changes[0].key(),
            title: String::new(),
            body: String::new(),
            severity: Severity::Info,
            payload: String::new(),
        };
        let digest = Batching::Digest { max_age: SignedDuration::from_hours(24) };
        let begun = store.begin(CHANNEL, digest, render, move |_| at(second), at(second)).await;
        begun.expect("written").expect("a notice")
    }

    fn later(detail: &str, recompose: bool, is_unclear: bool) -> Settled {
        Settled::Later { due_at: at(0), recompose, is_unclear, detail: detail.to_owned() }
    }

    async fn settle(store: &Store, attempt: &Attempt, settled: &Settled) {
        store.settle(attempt.id, settled, Duration::from_millis(1_500), at(9)).await.expect("written");
    }

    async fn attempts(store: &Store, change_id: i64) -> Vec<String> {
        let line = |attempt: StoredAttempt| {
            let StoredAttempt { number, outcome, answer, .. } = attempt;
            format!("{number} {} {}", outcome.unwrap_or_default(), answer.unwrap_or_default())
        };
        store.attempts(change_id).await.expect("attempts").into_iter().map(line).collect()
    }

    #[tokio::test]
    async fn each_attempt_is_a_row_even_if_the_notice_is_composed_again_or_the_attempt_cut_short() {
        let store = Store::open_in_memory().expect("a database");
        announce(&store, 1).await;
        let first = begin(&store, 1).await;
        settle(&store, &first, &later("no route", true, false)).await;
        assert_eq!(attempts(&store, 1).await, ["1 failed no route"], "before the next notice");
        announce(&store, 2).await;
        let _killed = begin(&store, 2).await;
        settle(&store, &begin(&store, 3).await, &later("html", false, true)).await;
        let sent = Settled::Sent { receipt: None, detail: "204".to_owned() };
        settle(&store, &begin(&store, 4).await, &sent).await;
        let all = ["1 failed no route", "2  ", "3 unclear html", "4 sent 204"];
        assert_eq!(attempts(&store, 1).await, all);
        assert_eq!(attempts(&store, 2).await, all, "part of the same notice");
        let stored = store.attempts(1).await.expect("attempts").remove(3);
        assert_eq!((stored.started_at, stored.duration_ms), (at(4), Some(1_500)));
    }

    /// A caller that was dropped while it recorded an outcome records it again.
    #[tokio::test]
    async fn an_outcome_counts_once() {
        let store = Store::open_in_memory().expect("a database");
        announce(&store, 1).await;
        let first = begin(&store, 1).await;
        for _ in 0..3 {
            settle(&store, &first, &later("html", false, true)).await;
        }
        let second = begin(&store, 2).await;
        assert_eq!((second.number, second.unclear), (2, 1));
        settle(&store, &first, &Settled::GivenUp { detail: "too late".to_owned() }).await;
        assert_eq!(store.totals().await.expect("totals").pending, 1);
    }

    #[tokio::test]
    async fn attempts_are_bounded() {
        let store = Store::open_in_memory().expect("a database");
        announce(&store, 1).await;
        for number in 1..=120 {
            let long = "x".repeat(2 * ANSWER_MAX_CHARS);
            settle(&store, &begin(&store, 1).await, &later(&long, number % 7 == 0, false)).await;
        }
        let kept = store.attempts(1).await.expect("attempts");
        let numbers: Vec<u32> = kept.iter().map(|attempt| attempt.number).collect();
        assert_eq!(numbers, (1..=5).chain(71..=120).collect::<Vec<u32>>());
        assert!(kept.iter().all(|attempt| attempt.answer.as_ref().is_some_and(|text| text.len() < 600)));
    }

    #[tokio::test]
    async fn schema_6_keeps_a_notice_in_flight() {
        let directory = TempDir::new().expect("a directory");
        let old = Connection::open(directory.path().join(DATABASE)).expect("a database");
        let schema = reference(5).expect("schema 5");
        let mut entries = schema
            .prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY rowid")
            .expect("entries");
        for sql in entries.query_map([], |row| row.get::<_, String>(0)).expect("entries") {
            old.execute_batch(&sql.expect("an entry")).expect("created");
        }
        old.pragma_update(None, "application_id", APPLICATION_ID).expect("written");
        old.pragma_update(None, "user_version", 5).expect("written");
        old.execute_batch(
            "INSERT INTO change (key, at, seen_at, kind, feed, service, service_key, serial, message, near)
                 VALUES ('k', '', '', 'began', 'consumer/en_US', 'A', 'a', 1, '', '[]');
             INSERT INTO notice (channel, key, title, body, payload, created_at)
                 VALUES ('webhook.ops', 'k', '', '', '', '2026-05-05T09:41:00Z');
             INSERT INTO delivery VALUES (1, 'webhook.ops', 'pending', '', '', 3, 'busy', 1, NULL);",
        )
        .expect("rows");
        drop(old);
        let store = Store::open(directory.path(), at(0)).expect("a database").store;
        let attempt = begin(&store, 1).await;
        assert_eq!((attempt.number, attempt.notice_id, attempt.notice.key.as_str()), (4, 1, "k"));
        assert_eq!(attempts(&store, 1).await, ["4  "]);
    }
}
