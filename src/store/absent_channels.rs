//! Gives up deliveries of channels that are no longer configured (`tests/it/outbox.rs`).
//!
//! The delay of a day covers a channel that was removed by mistake. The deliveries stay visible.

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Result, params};

use super::open_database::OpenDatabase;
use super::rows::text;
use super::{Store, kv};
use crate::text::counted;

const GIVEN_UP_AFTER: SignedDuration = SignedDuration::from_hours(24);
/// Per poll, because other work waits meanwhile.
const AT_ONCE: usize = 2_000;
const ANSWER: &str = "given up after a day: the channel is no longer configured";
/// Prefix in `meta`, followed by the channel's name: the time since which it is absent.
const ABSENT: &str = "absent/";

impl Store {
    /// Gives up deliveries of channels that have not been `configured` for a day.
    pub async fn give_up_absent(&self, configured: &[&str], now: Timestamp) -> Result<()> {
        let configured: Vec<String> = configured.iter().map(|channel| (*channel).to_owned()).collect();
        self.run(move |database| give_up(database, &configured, now)).await
    }
}

fn give_up(database: &OpenDatabase, configured: &[String], now: Timestamp) -> Result<()> {
    let sql = "SELECT DISTINCT channel FROM delivery WHERE state <> 'sent' AND state = 'pending'";
    let mut waiting = database.list(sql, params![], |row| text(row, "channel"))?;
    waiting.retain(|channel| !configured.contains(channel));
    let noted = database
        .list("SELECT name FROM meta WHERE name LIKE 'absent/%'", params![], |row| text(row, "name"))?;
    let is_over = |name: &&String| !waiting.iter().any(|channel| name[ABSENT.len()..] == **channel);
    let over: Vec<&String> = noted.iter().filter(is_over).collect();
    let mut begins = Vec::new();
    let mut ends = Vec::new();
    for channel in &waiting {
        match kv::get::<Timestamp>(database, &format!("{ABSENT}{channel}"))? {
            Some(since) if since <= now && now.duration_since(since) < GIVEN_UP_AFTER => {}
            Some(since) if since <= now => ends.push(channel),
            // A time in the future: the clock was set back.
            Some(_) | None => begins.push(channel),
        }
    }
    if over.is_empty() && begins.is_empty() && ends.is_empty() {
        return Ok(());
    }
    let transaction = database.transaction()?;
    for name in over {
        transaction.execute("DELETE FROM meta WHERE name = ?1", [name])?;
    }
    for channel in begins {
        kv::set(&transaction, &format!("{ABSENT}{channel}"), now)?;
    }
    for channel in ends {
        let count = transaction.execute(
            &format!(
                "UPDATE delivery SET state = 'given_up', answer = ?1, settled_at = ?2
                 WHERE channel = ?3 AND change_id IN (
                    SELECT change_id FROM delivery WHERE channel = ?3 AND state = 'pending'
                    ORDER BY change_id LIMIT {AT_ONCE})"
            ),
            params![ANSWER, now.to_string(), channel],
        )?;
        tracing::error!("{channel}: {} {ANSWER}; see `statusd outbox`", counted(count, "delivery"));
        // Otherwise the next poll continues.
        if count < AT_ONCE {
            transaction.execute("DELETE FROM meta WHERE name = ?1", [format!("{ABSENT}{channel}")])?;
        }
    }
    transaction.commit()
}
