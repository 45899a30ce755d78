//! Recovers the rows of a damaged database into a new one.
//!
//! Works on a copy and leaves the damaged file unchanged. Rows that cannot be recovered are logged
//! (`tests/it/damage.rs`).

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, ErrorCode, Row, params_from_iter};

use super::condition::repair_header;
use super::disk::{each_chunk, private, side_file};
use super::observer::{Observer, OpenStep};
use super::root_pages::{self, open_damaged};
use crate::text::counted;

/// Tables whose loss is announced, because without them deliveries are lost or notices repeat.
const NEEDED: [&str; 5] = ["change", "notice", "delivery", "outage", "feed"];
/// Fallback values of damaged columns, so that the row is not lost.
const FALLBACKS: [(&str, &str, &[&str], &str); 4] = [
    ("notice", "severity", &["alert", "resolved", "info"], "info"),
    ("service", "listed", &["yes", "missing", "no", "never"], "yes"),
    ("feed", "health", &["unknown", "readable", "unreadable"], "unknown"),
    ("coverage", "health", &["readable", "unreadable"], "unreadable"),
];
/// The health of a feed in an older schema. A damaged word passes, for [`FALLBACKS`] to replace.
const HEALTH: &str =
    "CASE sight WHEN 'sighted' THEN 'readable' WHEN 'blind' THEN 'unreadable' ELSE sight END";
/// Columns that have another name in older schemas, with the expression that reads them.
const RENAMED: [(&str, &str, &str, &str); 4] = [
    ("feed", "health_since", "sight_since", "sight_since"),
    ("feed", "health", "sight", HEALTH),
    ("coverage", "health", "sight", HEALTH),
    (
        "notice",
        "severity",
        "tone",
        "CASE tone WHEN 'alarm' THEN 'alert' WHEN 'relief' THEN 'resolved' WHEN 'neutral' THEN 'info' ELSE tone END",
    ),
];
/// The maximum number of rows, more than any history has, because a damaged tree may contain a cycle.
const ROWS_MAX: usize = 10_000_000;
const LOGGED_MAX_CHARS: usize = 300;

/// The recovered rows.
#[derive(Debug, Default)]
pub struct Recovered {
    pub rows: usize,
    /// Unreadable rows that deliveries or beliefs need.
    pub lost: usize,
}

/// Recovers all readable rows of `damaged` and its WAL. Uses the file `scratch` for a copy.
pub fn recover(
    damaged: &Path,
    wal: &Path,
    scratch: &Path,
    into: &Connection,
    observer: &Observer,
) -> io::Result<Recovered> {
    let copied = copy(damaged, wal, scratch, observer).and_then(|()| {
        let recovered = match root_pages::rebuild_schema(scratch) {
            Ok(true) => read_into(scratch, into, observer),
            // If the note is unreadable, the schema is not: one flipped bit damages only one of them.
            Ok(false) | Err(_) => {
                copy(damaged, wal, scratch, observer)?;
                read_into(scratch, into, observer)
            }
        };
        recovered.or_else(|error| {
            tracing::error!("cannot read anything from the damaged database: {error}");
            Ok(Recovered { rows: 0, lost: 1 })
        })
    });
    for suffix in ["", "-wal", "-shm"] {
        // Usually missing.
        let _ = fs::remove_file(side_file(scratch, suffix));
    }
    copied
}

fn copy(damaged: &Path, wal: &Path, scratch: &Path, observer: &Observer) -> io::Result<()> {
    for suffix in ["-wal", "-shm"] {
        // Usually missing.
        let _ = fs::remove_file(side_file(scratch, suffix));
    }
    let mut file = private().truncate(true).open(scratch)?;
    each_chunk(damaged, |chunk| {
        observer.tick(OpenStep::Recovering);
        file.write_all(chunk)
    })?;
    drop(file);
    if wal.exists() {
        fs::copy(wal, side_file(scratch, "-wal"))?;
    }
    repair_header(scratch, wal.exists())
}

fn read_into(scratch: &Path, into: &Connection, observer: &Observer) -> rusqlite::Result<Recovered> {
    let mut from = open_damaged(scratch)?;
    observer.attach(&mut from, OpenStep::Recovering)?;
    let transaction = into.unchecked_transaction()?;
    transaction.pragma_update(None, "defer_foreign_keys", true)?;
    let mut recovered = Recovered::default();
    for table in tables(into)? {
        let needed = NEEDED.contains(&table.as_str());
        match Copier::new(&table, &from, &transaction).and_then(|mut copier| copier.run()) {
            Ok(copied) => {
                recovered.rows += copied.rows;
                recovered.lost += if needed { copied.lost } else { 0 };
            }
            Err(error) => {
                tracing::error!("cannot read table {table} of the damaged database: {error}");
                recovered.lost += usize::from(needed);
            }
        }
    }
    recovered.lost += transaction.query_row(LOST_DELIVERIES, [], |row| row.get::<_, i64>(0))? as usize;
    remove_phantoms(&transaction)?;
    transaction.execute_batch(include_str!("renamed-words.sql"))?;
    transaction.execute_batch(REPAIR_REFERENCES)?;
    transaction.commit()?;
    Ok(recovered)
}

fn tables(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let sql =
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY rowid";
    connection.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
}

/// Copies one table.
struct Copier<'a> {
    table: &'a str,
    columns: Vec<String>,
    /// The expression that reads each column.
    expressions: Vec<String>,
    order: String,
    from: &'a Connection,
    into: &'a Connection,
    copied: Recovered,
}

impl<'a> Copier<'a> {
    fn new(table: &'a str, from: &'a Connection, into: &'a Connection) -> rusqlite::Result<Copier<'a>> {
        let columns = |connection: &Connection| -> rusqlite::Result<Vec<(String, i64)>> {
            let sql = "SELECT name, pk FROM pragma_table_info(?1)";
            connection.prepare(sql)?.query_map([table], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        };
        let (old, new) = (columns(from)?, columns(into)?);
        let mut key: Vec<&(String, i64)> = old.iter().filter(|(_, part)| *part > 0).collect();
        key.sort_by_key(|(_, part)| *part);
        let order: Vec<String> = key.into_iter().map(|(name, _)| format!("{name} DIR")).collect();
        let has = |name: &str| old.iter().any(|(known, _)| known == name);
        let read_with = |name: &str| match has(name) {
            true => Some(name.to_owned()),
            false => RENAMED
                .iter()
                .find(|(of, now, before, _)| *of == table && *now == name && has(before))
                .map(|(.., expression)| (*expression).to_owned()),
        };
        let read = new.into_iter().filter_map(|(name, _)| read_with(&name).map(|with| (name, with)));
        let (columns, expressions) = read.unzip();
        let order = order.join(", ");
        Ok(Copier { table, columns, expressions, order, from, into, copied: Recovered::default() })
    }

    /// Copies from the first row on and, if damage ends that, also from the last row backwards.
    fn run(&mut self) -> rusqlite::Result<Recovered> {
        if let Err(error) = self.pass("ASC") {
            tracing::error!("table {} is damaged: {error}", self.table);
            self.copied.lost += 1;
            // Ends at the same damage.
            let _ = self.pass("DESC");
        }
        let Recovered { rows, lost } = self.copied;
        // A damaged page may seem to have fewer rows. The indexes are on other pages.
        let indexed = self.indexed_rows()?;
        if indexed > rows + lost {
            tracing::error!(
                "table {} is damaged: {} missing",
                self.table,
                counted(indexed - rows - lost, "row")
            );
            self.copied.lost = indexed - rows;
        }
        Ok(std::mem::take(&mut self.copied))
    }

    /// Returns the number of rows in the largest index.
    fn indexed_rows(&self) -> rusqlite::Result<usize> {
        let sql = "SELECT name FROM pragma_index_list(?1) WHERE NOT partial AND origin <> 'pk'";
        let mut indexes = self.from.prepare(sql)?;
        let indexes = indexes.query_map([self.table], |row| row.get::<_, String>(0))?;
        let count = |index: String| {
            let sql = format!("SELECT count(*) FROM {} INDEXED BY {index}", self.table);
            self.from.query_row(&sql, [], |row| row.get::<_, i64>(0)).ok()
        };
        let most = indexes.flatten().filter_map(count).max().unwrap_or_default();
        Ok(usize::try_from(most).unwrap_or_default())
    }

    fn pass(&mut self, direction: &str) -> rusqlite::Result<()> {
        let (read, order) = (self.expressions.join(", "), self.order.replace("DIR", direction));
        let sql = format!("SELECT {read} FROM {} NOT INDEXED ORDER BY {order}", self.table);
        let mut statement = self.from.prepare(&sql)?;
        let mut rows = statement.query([])?;
        for _ in 0..ROWS_MAX {
            let Some(row) = rows.next()? else { break };
            let values: Vec<Value> = (0..self.columns.len()).map(|column| value(row, column)).collect();
            self.insert(values)?;
        }
        Ok(())
    }

    fn insert(&mut self, mut values: Vec<Value>) -> rusqlite::Result<()> {
        let places = vec!["?"; self.columns.len()].join(", ");
        // The new database already has a seed.
        let verb = if self.table == "meta" { "INSERT OR REPLACE" } else { "INSERT" };
        let sql = format!("{verb} INTO {} ({}) VALUES ({places})", self.table, self.columns.join(", "));
        let mut statement = self.into.prepare_cached(&sql)?;
        let mut inserted = statement.execute(params_from_iter(&values));
        if inserted.as_ref().is_err_and(is_misfit) {
            self.repair(&mut values);
            inserted = statement.execute(params_from_iter(&values));
        }
        match inserted {
            Ok(_) => self.copied.rows += 1,
            // Copied by the pass from the other end.
            Err(error) if is_duplicate(&error) => {}
            Err(error) if is_misfit(&error) => {
                let row: String = format!("{values:?}").chars().take(LOGGED_MAX_CHARS).collect();
                tracing::error!("skipped a damaged row of {}: {error}: {row}", self.table);
                self.copied.lost += 1;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Replaces invalid values in columns with a closed set of words.
    fn repair(&self, values: &mut [Value]) {
        let column = |name: &str| self.columns.iter().position(|column| column == name);
        let is_text = |value: &Value, words: &[&str]| matches!(value, Value::Text(text) if words.contains(&text.as_str()));
        for (table, name, words, fallback) in FALLBACKS {
            if let Some(value) =
                column(name).filter(|_| table == self.table).and_then(|at| values.get_mut(at))
                && !is_text(value, words)
            {
                *value = Value::Text(fallback.to_owned());
            }
        }
        if self.table == "delivery"
            && let (Some(state), Some(settled)) = (column("state"), column("settled_at"))
            && !is_text(&values[state], &["pending", "sent", "given_up"])
        {
            // Settled with an unknown outcome: given up stays visible.
            let word = if values[settled] == Value::Null { "pending" } else { "given_up" };
            values[state] = Value::Text(word.to_owned());
        }
    }
}

/// Reads a value. Replaces invalid UTF-8 in texts.
fn value(row: &Row, column: usize) -> Value {
    match row.get_ref(column) {
        Ok(ValueRef::Text(bytes)) => Value::Text(String::from_utf8_lossy(bytes).into_owned()),
        Ok(value) => Value::try_from(value).unwrap_or(Value::Null),
        Err(_) => Value::Null,
    }
}

/// Returns whether the row violates a constraint.
fn is_misfit(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation)
}

fn is_duplicate(error: &rusqlite::Error) -> bool {
    use rusqlite::ffi::{SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CONSTRAINT_ROWID, SQLITE_CONSTRAINT_UNIQUE};
    let codes = [SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CONSTRAINT_ROWID, SQLITE_CONSTRAINT_UNIQUE];
    error.sqlite_error().is_some_and(|error| codes.contains(&error.extended_code))
}

/// Removes outages without any change, whose identity is damaged. If there are more of them than changes
/// without an outage, the history is damaged instead, and they stay.
fn remove_phantoms(transaction: &Connection) -> rusqlite::Result<()> {
    let count = |sql: &str| transaction.query_row(sql, [], |row| row.get::<_, i64>(0));
    let phantoms = count(&format!("SELECT count(*) FROM outage WHERE {PHANTOM}"))?;
    if phantoms > 0 && phantoms <= count(MISSING)? {
        transaction.execute(&format!("DELETE FROM outage WHERE {PHANTOM}"), [])?;
    }
    Ok(())
}

const PHANTOM: &str = "NOT EXISTS (SELECT 1 FROM change
        WHERE change.feed = outage.feed AND change.service_key = outage.service_key
          AND change.message_id = outage.message_id AND change.occurrence = outage.occurrence)
    AND NOT EXISTS (SELECT 1 FROM change
        WHERE instr(key, '/' || outage.message_id || '/' || outage.occurrence || '/') > 0)";

/// Counts changes without an outage whose key confirms their identity.
const MISSING: &str = "SELECT count(*) FROM change
    WHERE message_id IS NOT NULL AND instr(key, '/' || message_id || '/' || occurrence || '/') > 0
      AND NOT EXISTS (SELECT 1 FROM outage
        WHERE change.feed = outage.feed AND change.service_key = outage.service_key
          AND change.message_id = outage.message_id AND change.occurrence = outage.occurrence)";

/// Counts deliveries without a change.
const LOST_DELIVERIES: &str = "SELECT count(*) FROM delivery WHERE change_id NOT IN (SELECT id FROM change)";

/// Repairs references. A missing notice is composed again. Lost outages are restored from the history;
/// otherwise old changes would be announced again.
const REPAIR_REFERENCES: &str = "
    DELETE FROM delivery WHERE change_id NOT IN (SELECT id FROM change);
    UPDATE delivery SET notice_id = NULL WHERE notice_id NOT IN (SELECT id FROM notice);
    DELETE FROM attempt WHERE (change_id, channel) NOT IN (SELECT change_id, channel FROM delivery);
    UPDATE attempt SET notice_id = NULL WHERE notice_id NOT IN (SELECT id FROM notice);
    INSERT OR IGNORE INTO outage (feed, service_key, message_id, occurrence, service, kind, phase, began_at,
        ended_at, first_seen_at, users_affected, message, counts)
    SELECT feed, service_key, message_id, occurrence, service, coalesce(outage_kind, 'Other'),
        CASE WHEN kind = 'planned' THEN 'planned'
             WHEN kind IN ('withdrawn', 'cancelled') THEN 'withdrawn'
             WHEN kind IN ('ended', 'over', 'missed', 'noted', 'corrected') THEN 'over'
             ELSE 'ongoing' END,
        began_at, coalesce(ended_at, CASE WHEN kind IN ('withdrawn', 'cancelled') THEN seen_at END),
        (SELECT min(seen_at) FROM change first WHERE first.service_key = last.service_key
             AND first.message_id = last.message_id AND first.feed = last.feed AND first.occurrence = last.occurrence),
        users_affected, message,
        (SELECT group_concat(kind || '=' || serial) FROM (SELECT kind, max(serial) AS serial FROM change each
             WHERE each.service_key = last.service_key AND each.message_id = last.message_id
               AND each.feed = last.feed AND each.occurrence = last.occurrence AND kind <> 'reminder' GROUP BY kind))
    FROM change last
    WHERE message_id IS NOT NULL AND occurrence IS NOT NULL AND kind NOT IN ('reminder', 'revised')
      AND (message_id GLOB '*[^A-Za-z0-9._~-]*' OR instr(key, '/' || message_id || '/' || occurrence || '/') > 0)
      AND id = (SELECT max(id) FROM change newer WHERE newer.service_key = last.service_key
          AND newer.message_id = last.message_id AND newer.feed = last.feed
          AND newer.occurrence = last.occurrence AND kind NOT IN ('reminder', 'revised'));
    INSERT OR IGNORE INTO feed (feed, first_accepted_at, health, told)
    SELECT feed, min(at), 'unknown', 0 FROM change GROUP BY feed;";

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA_4: &str = concat!(
        include_str!("schema/1.sql"),
        include_str!("schema/2.sql"),
        include_str!("schema/3.sql"),
        include_str!("schema/4.sql")
    );
    const SCHEMA_5: &str = concat!(include_str!("schema/5.sql"), include_str!("renamed-words.sql"));
    const SCHEMA_6: &str = include_str!("schema/6.sql");
    const OLD_WORDS: &str = "
        INSERT INTO feed (feed, sight, sight_since, told) VALUES
            ('a', 'sighted', '2026-03-01T09:00:00Z', 0), ('b', 'blind', '2026-03-02T09:00:00Z', 1),
            ('c', 'unknown', NULL, 0);
        INSERT INTO coverage (feed, from_at, to_at, sight) VALUES ('a', '1', '2', 'sighted'), ('a', '2', '3', 'blind');
        INSERT INTO change (key, at, seen_at, kind, feed, service, service_key, serial, message, near)
            SELECT kind, '', '', kind, 'a', '', '', 1, '', '[]' FROM (SELECT 'blind' AS kind UNION ALL
                SELECT 'sighted' UNION ALL SELECT 'lasts' UNION ALL SELECT 'alive' UNION ALL SELECT 'began');
        INSERT INTO notice (channel, key, title, body, payload, created_at, tone)
            SELECT 'log', 'k', '', '', '{\"kind\":\"blind\"}', '', tone FROM (SELECT 'alarm' AS tone UNION ALL
                SELECT 'relief' UNION ALL SELECT 'neutral');
        INSERT INTO meta VALUES ('looks', '7'), ('alive_at', '2026-03-02T09:00:00Z'), ('alive_looks', '3');";

    #[track_caller]
    fn check_words(connection: &Connection) {
        let read = |sql: &str| -> String {
            connection
                .query_row(&format!("SELECT group_concat(word, ' ') FROM ({sql})"), [], |row| row.get(0))
                .expect(sql)
        };
        assert_eq!(read("SELECT health AS word FROM feed ORDER BY feed"), "readable unreadable unknown");
        assert_eq!(read("SELECT substr(health_since, 9, 2) AS word FROM feed ORDER BY feed"), "01 02");
        assert_eq!(read("SELECT health AS word FROM coverage ORDER BY id"), "readable unreadable");
        assert_eq!(
            read("SELECT kind AS word FROM change ORDER BY id"),
            "unreadable readable reminder liveness began"
        );
        assert_eq!(read("SELECT key AS word FROM change ORDER BY id"), "blind sighted lasts alive began");
        assert_eq!(
            read("SELECT incident AS word FROM change ORDER BY id"),
            "feed feed reminder liveness began"
        );
        assert_eq!(read("SELECT severity AS word FROM notice ORDER BY id"), "alert resolved info");
        assert_eq!(read("SELECT DISTINCT payload AS word FROM notice"), r#"{"kind":"blind"}"#);
        let names = "SELECT name || '=' || value AS word FROM meta WHERE name <> 'seed' ORDER BY name";
        assert_eq!(read(names), "liveness_at=2026-03-02T09:00:00Z liveness_polls=3 polls=7");
    }

    #[test]
    fn schema_5_renames_the_stored_words() {
        let connection = Connection::open_in_memory().expect("a database");
        connection.execute_batch(&format!("{SCHEMA_4}{OLD_WORDS}{SCHEMA_5}")).expect("schema 5");
        check_words(&connection);
    }

    #[test]
    fn a_rescue_of_schema_4_renames_the_stored_words() {
        let directory = tempfile::TempDir::new().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        let damaged = Connection::open(path("damaged")).expect("a database");
        damaged.execute_batch(&format!("{SCHEMA_4}{OLD_WORDS}")).expect("schema 4");
        drop(damaged);
        let into = Connection::open_in_memory().expect("a database");
        into.execute_batch(&format!("{SCHEMA_4}{SCHEMA_5}{SCHEMA_6}")).expect("schema 6");
        let recovered =
            recover(&path("damaged"), &path("damaged-wal"), &path("scratch"), &into, &Observer::none())
                .expect("rows");
        assert_eq!((recovered.rows, recovered.lost), (16, 0));
        check_words(&into);
    }
}
