//! Deletes old deliveries, notices and coverage, a few rows in each transaction. Attempts are deleted with
//! their delivery or notice.
//!
//! Outages and changes are kept, and so is every row that a later notice or the history needs
//! (`the_history_is_the_same_before_and_after`). SQLite reuses the freed pages; the file does not shrink. A
//! `VACUUM` would block all other work, need the same space again, and be undone by the next year.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Result, Transaction, named_params, params};

use super::Store;
use super::open_database::OpenDatabase;

/// The maximum number of rows that one transaction looks at.
const ROWS_AT_ONCE: usize = 500;

/// The next rows to look at. A run starts with the default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PruneFrom {
    Deliveries { after: i64 },
    Notices { after: i64 },
    Coverage { after: i64 },
}

impl Default for PruneFrom {
    fn default() -> PruneFrom {
        PruneFrom::Deliveries { after: 0 }
    }
}

/// The result of one step of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pruned {
    /// The number of deleted rows.
    pub rows: usize,
    /// The next step; `None` if the run is complete.
    pub next: Option<PruneFrom>,
}

impl Store {
    /// Deletes old rows among the next few hundred, in one transaction. `before`: rows that ended earlier are
    /// old. Writes nothing if there are none.
    pub async fn prune(&self, from: PruneFrom, before: Timestamp) -> Result<Pruned> {
        self.run(move |database| prune(database, from, before)).await
    }

    /// Returns whether the newest delivery is pending and was created at `since` or later.
    pub async fn has_news_since(&self, since: Timestamp) -> Result<bool> {
        let sql =
            "SELECT state = 'pending' AND created_at >= ?1 FROM delivery ORDER BY change_id DESC LIMIT 1";
        let newest = move |database: &OpenDatabase| {
            database.query_row(sql, [since.to_string()], |row| row.get(0)).optional()
        };
        Ok(self.run(newest).await?.unwrap_or(false))
    }
}

fn prune(database: &OpenDatabase, from: PruneFrom, before: Timestamp) -> Result<Pruned> {
    let Some(last) = last_of(database, from)? else {
        return Ok(Pruned { rows: 0, next: following(from) });
    };
    let next = match from {
        PruneFrom::Deliveries { .. } => PruneFrom::Deliveries { after: last },
        PruneFrom::Notices { .. } => PruneFrom::Notices { after: last },
        PruneFrom::Coverage { .. } => PruneFrom::Coverage { after: last },
    };
    let transaction = database.transaction()?;
    let rows = delete(&transaction, from, last, before)?;
    if rows > 0 {
        transaction.commit()?;
    }
    Ok(Pruned { rows, next: Some(next) })
}

/// Returns the kind of rows to continue with.
fn following(from: PruneFrom) -> Option<PruneFrom> {
    match from {
        PruneFrom::Deliveries { .. } => Some(PruneFrom::Notices { after: 0 }),
        PruneFrom::Notices { .. } => Some(PruneFrom::Coverage { after: 0 }),
        PruneFrom::Coverage { .. } => None,
    }
}

/// Returns the last id of the next rows; `None` if there are none.
fn last_of(connection: &Connection, from: PruneFrom) -> Result<Option<i64>> {
    let (id, table, after) = match from {
        PruneFrom::Deliveries { after } => ("change_id", "delivery", after),
        PruneFrom::Notices { after } => ("id", "notice", after),
        PruneFrom::Coverage { after } => ("id", "coverage", after),
    };
    let sql = format!(
        "SELECT max(id) FROM (SELECT {id} AS id FROM {table} WHERE {id} > ?1 ORDER BY {id} LIMIT {ROWS_AT_ONCE})"
    );
    connection.prepare_cached(&sql)?.query_row([after], |row| row.get(0))
}

fn delete(transaction: &Transaction, from: PruneFrom, last: i64, before: Timestamp) -> Result<usize> {
    let before = before.to_string();
    match from {
        PruneFrom::Deliveries { after } => {
            let sql = format!(
                "WITH {OLD} DELETE FROM delivery WHERE (change_id, channel) IN (SELECT change_id, channel FROM old WHERE NOT is_first)"
            );
            let values = named_params! { ":after": after, ":last": last, ":before": before };
            let deleted = transaction.prepare_cached(&sql)?.execute(values)?;
            // Only a given-up delivery needs its notice: a retry sends the same bytes.
            let sql = format!(
                "WITH {OLD} UPDATE delivery SET notice_id = NULL WHERE state = 'sent' AND notice_id IS NOT NULL AND (change_id, channel) IN (SELECT change_id, channel FROM old)"
            );
            Ok(deleted + transaction.prepare_cached(&sql)?.execute(values)?)
        }
        PruneFrom::Notices { after } => {
            transaction.prepare_cached(OLD_NOTICES)?.execute(params![after, last, before])
        }
        PruneFrom::Coverage { after } => {
            transaction.prepare_cached(OLD_COVERAGE)?.execute(params![after, last, before])
        }
    }
}

/// The settled deliveries in a range of changes whose incident is over, with all its deliveries. An incident is
/// all or nothing, because its next notice, its bubble and its order depend on the earlier ones. `is_first`
/// marks the delivery with which the history shows an outage as announced. CROSS JOIN keeps the order: from
/// these deliveries to the changes of their incidents, each once.
const OLD: &str = "
    recent AS MATERIALIZED (
        SELECT change_id, channel, state, coalesce(settled_at, created_at) AS at, change.feed, incident,
            service_key, message_id, occurrence
        FROM delivery CROSS JOIN change ON change.id = change_id
        WHERE change_id > :after AND change_id <= :last),
    incidents AS MATERIALIZED (SELECT DISTINCT feed, incident, message_id FROM recent WHERE message_id IS NOT NULL),
    open AS MATERIALIZED (
        SELECT feed, incident FROM incidents
        WHERE EXISTS (SELECT 1 FROM outage WHERE outage.message_id = incidents.message_id
                AND outage.feed = incidents.feed
                AND (phase IN ('planned', 'ongoing') OR first_seen_at >= :before OR ended_at >= :before))
            OR EXISTS (SELECT 1 FROM change CROSS JOIN delivery ON change_id = change.id
                WHERE change.incident = incidents.incident AND change.feed = incidents.feed
                  AND (state = 'pending' OR coalesce(settled_at, created_at) >= :before))),
    outages AS MATERIALIZED (
        SELECT DISTINCT feed, service_key, message_id, occurrence FROM recent WHERE occurrence IS NOT NULL),
    firsts AS MATERIALIZED (
        SELECT change_id, channel FROM (
            SELECT change_id, channel, row_number() OVER (
                PARTITION BY change.feed, change.service_key, change.message_id, change.occurrence
                ORDER BY CASE state WHEN 'sent' THEN settled_at WHEN 'pending' THEN 'later' ELSE 'never' END,
                    change_id, channel) AS number
            FROM outages CROSS JOIN change ON change.service_key = outages.service_key
                AND change.message_id = outages.message_id AND change.feed = outages.feed
                AND change.occurrence = outages.occurrence
            CROSS JOIN delivery ON change_id = change.id)
        WHERE number = 1),
    old AS MATERIALIZED (
        SELECT change_id, channel, (change_id, channel) IN (SELECT change_id, channel FROM firsts) AS is_first
        FROM recent
        WHERE state <> 'pending' AND at < :before
          AND (message_id IS NULL OR (feed, incident) NOT IN (SELECT feed, incident FROM open)))";

/// Notices without a delivery. A notice whose delivery may be composed again stays, so that its key stays taken.
const OLD_NOTICES: &str = "
    DELETE FROM notice WHERE id > ?1 AND id <= ?2 AND created_at < ?3
      AND NOT EXISTS (SELECT 1 FROM delivery WHERE notice_id = notice.id)
      AND NOT EXISTS (SELECT 1 FROM change CROSS JOIN delivery ON change_id = change.id
        WHERE change.key = CASE instr(notice.key, '/digest/') WHEN 0 THEN notice.key
            ELSE substr(notice.key, 1, instr(notice.key, '/digest/') - 1) END
          AND delivery.channel = notice.channel AND state <> 'sent')";

/// Spans that do not show when Apple posted an outage, and are neither the newest nor the newest readable one
/// of their feed.
const OLD_COVERAGE: &str = "
    DELETE FROM coverage WHERE id > ?1 AND id <= ?2 AND to_at < ?3
      AND id NOT IN (SELECT max(id) FROM coverage GROUP BY feed
        UNION ALL SELECT max(id) FROM coverage WHERE health = 'readable' GROUP BY feed)
      AND id NOT IN (SELECT coverage.id FROM outage CROSS JOIN coverage ON coverage.id =
            (SELECT id FROM coverage span WHERE span.feed = outage.feed AND span.to_at >= first_seen_at
             ORDER BY span.to_at LIMIT 1)
        WHERE health = 'readable' AND from_at < first_seen_at)";

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::super::{ChangeFilter, DATABASE, StoredOutage};
    use super::*;

    const FEED: &str = "consumer/en_US";

    /// Returns noon of a day of January 2026, or of a later month.
    fn day(day: i64) -> Timestamp {
        let first: Timestamp = "2026-01-01T12:00:00Z".parse().expect("a time");
        first + jiff::SignedDuration::from_hours((day - 1) * 24)
    }

    /// A database in which rows are written by hand.
    struct Rows {
        store: Store,
        connection: Connection,
        directory: TempDir,
    }

    impl Rows {
        fn new() -> Rows {
            let directory = TempDir::new().expect("a directory");
            let store = Store::open(directory.path(), day(1)).expect("a database").store;
            let connection = Connection::open(directory.path().join(DATABASE)).expect("the database");
            Rows { store, connection, directory }
        }

        fn execute(&self, sql: &str, values: &[&dyn rusqlite::ToSql]) {
            self.connection.execute(sql, values).expect("a row");
        }

        /// Adds an outage with a start and, if it is over, an end, under a message id for a service.
        fn outage(&self, message: &str, service: &str, from: i64, to: Option<i64>) {
            let phase = if to.is_some() { "over" } else { "ongoing" };
            self.execute(
                "INSERT INTO outage VALUES (?1, ?2, ?3, 1, ?2, 'Issue', ?4, NULL, NULL, ?5, ?6, ?5, NULL, '', '')",
                params![FEED, service, message, phase, day(from).to_string(), to.map(|to| day(to).to_string())],
            );
        }

        /// Adds a change with deliveries: channel, state and day of settlement, each with a notice.
        fn change(&self, id: i64, subject: Option<(&str, &str)>, at: i64, deliveries: &[(&str, &str, i64)]) {
            let (message, service) = subject.unzip();
            self.execute(
                "INSERT INTO change (id, key, at, seen_at, kind, feed, service, service_key, message_id, occurrence,
                     serial, message, near)
                 VALUES (?1, ?2, ?3, ?3, ?4, ?5, ?6, ?6, ?7, ?8, 1, '', '[]')",
                params![
                    id,
                    format!("key/{id}"),
                    day(at).to_string(),
                    if message.is_some() { "began" } else { "unreadable" },
                    FEED,
                    service.unwrap_or_default(),
                    message,
                    message.map(|_| 1),
                ],
            );
            for (channel, state, settled) in deliveries {
                self.execute(
                    "INSERT INTO notice (channel, key, title, body, severity, payload, created_at)
                     VALUES (?1, ?2, '', '', 'info', '', ?3)",
                    params![channel, format!("key/{id}"), day(at).to_string()],
                );
                let notice = self.connection.last_insert_rowid();
                let settled = (*state != "pending").then(|| day(*settled).to_string());
                self.execute(
                    "INSERT INTO delivery VALUES (?1, ?2, ?3, ?4, ?4, 1, NULL, ?5, ?6)",
                    params![id, channel, state, day(at).to_string(), notice, settled],
                );
                self.execute(
                    "INSERT INTO attempt (channel, change_id, notice_id, number, started_at)
                     VALUES (?1, ?2, ?3, 1, ?4)",
                    params![channel, id, notice, day(at).to_string()],
                );
            }
        }

        fn coverage(&self, from: i64, to: i64, health: &str) {
            self.execute(
                "INSERT INTO coverage (feed, from_at, to_at, health) VALUES (?1, ?2, ?3, ?4)",
                params![FEED, day(from).to_string(), day(to).to_string(), health],
            );
        }

        /// Runs to the end. Returns the number of deleted rows.
        async fn prune(&self, before: i64) -> usize {
            let (mut from, mut rows) = (Some(PruneFrom::default()), 0);
            while let Some(place) = from {
                let pruned = self.store.prune(place, day(before)).await.expect("pruned");
                (from, rows) = (pruned.next, rows + pruned.rows);
            }
            rows
        }

        fn list(&self, sql: &str) -> Vec<String> {
            let mut statement = self.connection.prepare(sql).expect("a query");
            let rows = statement.query_map([], |row| row.get(0)).expect("rows");
            rows.collect::<Result<_>>().expect("rows")
        }

        fn deliveries(&self) -> Vec<String> {
            self.list("SELECT change_id || ' ' || channel || ' ' || state FROM delivery ORDER BY 1")
        }

        async fn history(&self) -> Vec<StoredOutage> {
            let mut outages = Vec::new();
            let take = |outage| {
                outages.push(outage);
                Ok::<_, rusqlite::Error>(())
            };
            self.store.each_outage(&ChangeFilter::default(), take).await.expect("the history");
            outages
        }
    }

    #[tokio::test]
    async fn the_history_is_the_same_before_and_after() {
        let rows = Rows::new();
        rows.coverage(1, 2, "readable");
        rows.coverage(2, 4, "unreadable");
        rows.coverage(6, 8, "readable");
        rows.coverage(9, 10, "readable");
        rows.coverage(11, 12, "readable");
        for (id, message, from, state) in
            [(1, "seen", 2, "sent"), (3, "unseen", 5, "sent"), (5, "rejected", 7, "given_up")]
        {
            rows.outage(message, "mail", from, Some(from + 1));
            rows.change(id, Some((message, "mail")), from, &[("a", state, from + 2), ("b", state, from + 1)]);
            rows.change(id + 1, Some((message, "mail")), from + 1, &[("a", state, from + 2)]);
        }
        rows.change(7, None, 8, &[("a", "sent", 8), ("b", "given_up", 8)]);
        rows.outage("silent", "photos", 8, Some(9));
        let before = rows.history().await;
        assert!(rows.prune(40).await > 0);
        assert_eq!(rows.history().await, before);
        assert_eq!(rows.deliveries(), ["1 b sent", "3 b sent", "5 a given_up"], "the first of each outage");
        let notices = rows.list("SELECT key || ' ' || channel FROM notice");
        assert_eq!(notices, ["key/5 a"], "a retry sends the same bytes");
        assert_eq!(rows.list("SELECT change_id || ' ' || channel FROM attempt"), ["5 a"]);
        let spans = rows.list("SELECT from_at FROM coverage");
        assert_eq!(spans, [day(1), day(6), day(11)].map(|day| day.to_string()));
        assert_eq!(rows.list("SELECT key FROM change").len(), 7, "changes are kept");
        assert_eq!(rows.prune(40).await, 0, "nothing is left to delete");
    }

    #[tokio::test]
    async fn rows_that_a_later_notice_needs_stay() {
        let rows = Rows::new();
        let sent = [("a", "sent", 2), ("b", "sent", 3)];
        // Pending for ever, beside a settled delivery of the same incident.
        rows.outage("waiting", "mail", 1, Some(2));
        rows.change(1, Some(("waiting", "mail")), 1, &[("a", "sent", 2), ("b", "pending", 0)]);
        rows.change(2, None, 1, &[("a", "pending", 0)]);
        // Ongoing for years. Another service of the incident is over.
        rows.outage("long", "mail", 1, None);
        rows.outage("long", "photos", 1, Some(2));
        rows.change(3, Some(("long", "mail")), 1, &sent);
        rows.change(4, Some(("long", "photos")), 1, &sent);
        // Over recently, so that it may be reopened.
        rows.outage("late", "mail", 1, Some(45));
        rows.change(5, Some(("late", "mail")), 1, &sent);
        // Announced long ago, with a recent change.
        rows.outage("active", "mail", 1, Some(2));
        rows.change(6, Some(("active", "mail")), 1, &sent);
        rows.change(7, Some(("active", "mail")), 44, &[("a", "sent", 44)]);
        let (deliveries, notices) = (rows.deliveries(), rows.list("SELECT id || '' FROM notice"));
        assert_eq!(rows.prune(40).await, 0);
        assert_eq!(rows.deliveries(), deliveries);
        assert_eq!(rows.list("SELECT id || '' FROM notice"), notices);
        // Later, all but the pending ones and the long outage.
        assert!(rows.prune(60).await > 0);
        let kept = [
            "1 a sent",
            "1 b pending",
            "2 a pending",
            "3 a sent",
            "3 b sent",
            "4 a sent",
            "4 b sent",
            "5 a sent",
            "6 a sent",
        ];
        assert_eq!(rows.deliveries(), kept);
    }

    /// A retry composes a new notice, whose key must not be that of older bytes.
    #[tokio::test]
    async fn the_key_of_a_notice_stays_taken_while_its_delivery_can_be_composed_again() {
        let rows = Rows::new();
        rows.outage("1", "mail", 1, Some(2));
        rows.change(1, Some(("1", "mail")), 1, &[("a", "given_up", 2), ("b", "sent", 2)]);
        rows.change(2, None, 3, &[("a", "pending", 0)]);
        rows.execute("UPDATE notice SET key = 'key/2/digest/3' WHERE key = 'key/2'", params![]);
        rows.execute("UPDATE delivery SET notice_id = NULL WHERE state = 'pending'", params![]);
        rows.prune(40).await;
        let notices = rows.list("SELECT key || ' ' || channel FROM notice");
        assert_eq!(notices, ["key/2/digest/3 a"]);
    }

    #[tokio::test]
    async fn the_last_readable_time_survives() {
        let rows = Rows::new();
        rows.coverage(1, 2, "readable");
        rows.coverage(3, 4, "readable");
        rows.coverage(5, 6, "unreadable");
        rows.coverage(7, 8, "unreadable");
        rows.coverage(39, 41, "unreadable");
        assert_eq!(rows.prune(40).await, 3);
        let feed = super::super::rows::feed_id(FEED).expect("a feed");
        assert_eq!(rows.store.last_readable(&feed).await.expect("a time"), Some(day(4)));
    }

    /// Otherwise a poll or a delivery waits for the whole run.
    #[tokio::test]
    async fn each_transaction_is_small_and_others_write_in_between() {
        let rows = Rows::new();
        rows.execute("BEGIN", params![]);
        for id in 1..=2_000 {
            rows.change(id, None, 1, &[("a", "sent", 2), ("b", "sent", 2)]);
            rows.coverage(1, 2, "readable");
        }
        rows.execute("COMMIT", params![]);
        let other = Store::open_existing(rows.directory.path(), true).expect("a database").expect("a file");
        let (mut from, mut total, mut steps) = (Some(PruneFrom::default()), 0, 0);
        while let Some(place) = from {
            let pruned = rows.store.prune(place, day(40)).await.expect("pruned");
            assert!(pruned.rows <= ROWS_AT_ONCE + 2, "{}", pruned.rows);
            other.snooze(day(50), day(40)).await.expect("written in between");
            assert!(other.snoozed().await.expect("read in between").is_some());
            (from, total, steps) = (pruned.next, total + pruned.rows, steps + 1);
        }
        assert_eq!(total, 4_000 + 4_000 + 1_999);
        assert!(steps > 20, "{steps}");
    }

    #[tokio::test]
    async fn new_deliveries_are_news_until_they_are_settled_or_old() {
        let rows = Rows::new();
        let has_news = async |since| rows.store.has_news_since(day(since)).await.expect("read");
        assert!(!has_news(1).await);
        rows.change(1, None, 5, &[("a", "pending", 0)]);
        assert!(has_news(5).await && !has_news(6).await);
        rows.change(2, None, 6, &[("a", "sent", 6)]);
        assert!(!has_news(1).await);
    }
}
