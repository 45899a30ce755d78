//! The schema and its migrations.
//!
//! The schema version is the number of migrations.

use rusqlite::{Connection, params};

use super::observer::{Observer, OpenStep};
use super::root_pages;

/// "stsd" in the file's header; identifies our files.
pub const APPLICATION_ID: i32 = 0x7374_7364;
/// The migrations to schema 1, 2 and so on.
const MIGRATIONS: [&str; 6] = [
    include_str!("schema/1.sql"),
    include_str!("schema/2.sql"),
    include_str!("schema/3.sql"),
    include_str!("schema/4.sql"),
    concat!(include_str!("schema/5.sql"), include_str!("renamed-words.sql")),
    include_str!("schema/6.sql"),
];
pub fn identity(connection: &Connection) -> rusqlite::Result<(i32, i32)> {
    let pragma = |name: &str| connection.query_row(&format!("PRAGMA {name}"), params![], |row| row.get(0));
    Ok((pragma("application_id")?, pragma("user_version")?))
}

pub fn known_version() -> i32 {
    MIGRATIONS.len() as i32
}

/// Returns an empty database in memory with the schema of a version.
pub fn reference(version: i32) -> rusqlite::Result<Connection> {
    let connection = Connection::open_in_memory()?;
    for sql in MIGRATIONS.iter().take(usize::try_from(version).unwrap_or_default()) {
        connection.execute_batch(sql)?;
    }
    Ok(connection)
}

/// Migrates a database to the newest schema.
pub fn migrate(connection: &mut Connection, observer: &Observer) -> rusqlite::Result<()> {
    let (_, version) = identity(connection)?;
    // A new database takes no time.
    if !(1..known_version()).contains(&version) {
        return migrate_from(version, connection, &|| ());
    }
    observer.attach(connection, OpenStep::Migrating)?;
    let migrated = migrate_from(version, connection, &|| observer.begin(OpenStep::Migrating));
    Observer::detach(connection)?;
    migrated
}

/// Runs each step in its own transaction, so that a killed migration resumes at the right step. A new
/// database is one transaction, because each takes several syncs.
fn migrate_from(version: i32, connection: &Connection, begins: &dyn Fn()) -> rusqlite::Result<()> {
    if version == 0 {
        return step(connection, 0, known_version());
    }
    for from in version..known_version() {
        begins();
        step(connection, from, from + 1)?;
    }
    Ok(())
}

/// Migrates from one schema to another in one transaction.
fn step(connection: &Connection, from: i32, to: i32) -> rusqlite::Result<()> {
    let transaction = connection.unchecked_transaction()?;
    for (number, sql) in (1..=to).zip(MIGRATIONS).filter(|(number, _)| *number > from) {
        transaction.execute_batch(sql)?;
        if number == 1 {
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
            let seed = fastrand::u64(..).to_string();
            transaction.execute("INSERT INTO meta (name, value) VALUES ('seed', ?1)", [seed])?;
        }
    }
    transaction.pragma_update(None, "user_version", to)?;
    root_pages::note(&transaction)?;
    transaction.commit()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use jiff::Timestamp;
    use tempfile::TempDir;

    use super::super::files::{DATABASE, open};
    use super::*;

    fn counting(every: Duration) -> (Observer, Arc<AtomicUsize>) {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let counting = move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
        };
        (Observer::every(counting, every), count)
    }

    /// Checks how often the observer is called when a database of schema `version` is opened.
    #[track_caller]
    fn check(version: usize, expected: usize) {
        let directory = TempDir::new().expect("a directory");
        if version > 0 {
            let connection = Connection::open(directory.path().join(DATABASE)).expect("a database");
            for sql in &MIGRATIONS[..version] {
                connection.execute_batch(sql).expect("a schema");
            }
            connection.pragma_update(None, "application_id", APPLICATION_ID).expect("written");
            connection.pragma_update(None, "user_version", version as i32).expect("written");
        }
        let (observer, count) = counting(Duration::MAX);
        assert!(open(directory.path(), Timestamp::UNIX_EPOCH, &observer).is_ok());
        assert_eq!(count.load(Ordering::Relaxed), expected, "schema {version}");
    }

    #[test]
    fn the_observer_is_called_before_each_migration_step() {
        check(0, 0);
        check(1, MIGRATIONS.len() - 1);
        check(2, MIGRATIONS.len() - 2);
        check(MIGRATIONS.len(), 0);
    }

    #[test]
    fn the_observer_is_called_during_a_long_statement() {
        let (observer, count) = counting(Duration::ZERO);
        let mut connection = Connection::open_in_memory().expect("a database");
        let long = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
            SELECT max(i) FROM n";
        observer.attach(&mut connection, OpenStep::Migrating).expect("attached");
        connection.query_row(long, params![], |row| row.get::<_, i64>(0)).expect("a number");
        let calls = count.load(Ordering::Relaxed);
        assert!(calls > 1);
        Observer::detach(&mut connection).expect("detached");
        connection.query_row(long, params![], |row| row.get::<_, i64>(0)).expect("a number");
        assert_eq!(count.load(Ordering::Relaxed), calls, "not called afterwards");
    }
}
