//! The phones that were read, without their serial numbers and names.

use jiff::Timestamp;
use rusqlite::{Result, Row, params};

use super::open_database::OpenDatabase;
use super::rows::{optional_text, optional_time, text, text_of, time};
use super::{Routing, Store, outbox};
use crate::model::{Change, KnownPhone};

/// Keeps only the most recent phones; a shared computer may pair with hundreds.
const PHONES_MAX: u32 = 100;

impl Store {
    /// Returns all phones, the most recently read first.
    pub async fn phones(&self) -> Result<Vec<KnownPhone>> {
        let sql = "SELECT * FROM phone ORDER BY seen_at DESC, id";
        self.run(|database| database.list(sql, params![], phone)).await
    }

    /// Renames ids of phones, given as (old, new). If both exist, the row that was read last stays.
    pub async fn rename_phones(&self, renamed: &[(String, String)]) -> Result<()> {
        let renamed = renamed.to_vec();
        self.run(move |database| rename(database, &renamed)).await
    }

    /// Stores the phones, with the changes about them in the same transaction.
    pub async fn remember(
        &self,
        phones: &[KnownPhone],
        changes: &[Change],
        routing: Routing<'_>,
        now: Timestamp,
    ) -> Result<()> {
        let phones = phones.to_vec();
        let routed: Vec<(Change, Vec<String>)> =
            changes.iter().map(|change| (change.clone(), routing(change))).collect();
        self.run(move |database| remember(database, &phones, &routed, now)).await
    }
}

fn rename(database: &OpenDatabase, renamed: &[(String, String)]) -> Result<()> {
    let transaction = database.transaction()?;
    for (from, to) in renamed {
        transaction.execute(
            "DELETE FROM phone WHERE id = ?1
             AND EXISTS (SELECT 1 FROM phone AS other WHERE other.id = ?2 AND other.seen_at >= phone.seen_at)",
            [from, to],
        )?;
        transaction.execute("UPDATE OR REPLACE phone SET id = ?2 WHERE id = ?1", [from, to])?;
    }
    transaction.commit()
}

fn remember(
    database: &OpenDatabase,
    phones: &[KnownPhone],
    routed: &[(Change, Vec<String>)],
    now: Timestamp,
) -> Result<()> {
    let transaction = database.transaction()?;
    for phone in phones {
        transaction.execute(
            "INSERT OR REPLACE INTO phone (id, model, seen_at, last_backup_at, backup_enabled, off_since, judged_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                phone.id,
                phone.model,
                phone.seen_at.to_string(),
                text_of(phone.last_backup),
                phone.backup_enabled,
                text_of(phone.off_since),
                phone.judged_at.to_string(),
            ],
        )?;
    }
    let forget = "DELETE FROM phone
                  WHERE id NOT IN (SELECT id FROM phone ORDER BY seen_at DESC, id LIMIT ?1)";
    transaction.execute(forget, [PHONES_MAX])?;
    for (change, channels) in routed {
        outbox::enqueue(&transaction, change, channels, now)?;
    }
    transaction.commit()
}

fn phone(row: &Row) -> Result<KnownPhone> {
    Ok(KnownPhone {
        id: text(row, "id")?,
        model: optional_text(row, "model")?,
        seen_at: time(row, "seen_at")?,
        last_backup: optional_time(row, "last_backup_at")?,
        backup_enabled: row.get("backup_enabled")?,
        off_since: optional_time(row, "off_since")?,
        judged_at: time(row, "judged_at")?,
    })
}
