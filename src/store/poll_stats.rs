//! The number of polls, and the last liveness report.
//!
//! Polls are counted in memory and added with other writes, at least once an hour, because a poll without
//! changes writes nothing.

use jiff::Timestamp;
use rusqlite::{Result, Transaction};

use super::open_database::OpenDatabase;
use super::{Routing, Store, kv, outbox};
use crate::model::Change;

const POLLS: &str = "polls";
const REPORTED_AT: &str = "liveness_at";
const REPORTED_POLLS: &str = "liveness_polls";

/// Adds to the number of polls since the database was created.
pub fn add_polls(transaction: &Transaction, polls: u64) -> Result<()> {
    if polls > 0 {
        let all = number(transaction, POLLS)? + polls;
        kv::set(transaction, POLLS, all)?;
    }
    Ok(())
}

impl Store {
    /// Returns the time of the last liveness report; `now` on the first call.
    pub async fn last_liveness_report(&self, now: Timestamp) -> Result<Timestamp> {
        let read = move |database: &OpenDatabase| {
            let transaction = database.transaction()?;
            if let Some(at) = kv::get(&transaction, REPORTED_AT)? {
                return Ok(at);
            }
            remember(&transaction, now)?;
            transaction.commit()?;
            Ok(now)
        };
        self.run(read).await
    }

    /// Records a liveness report. Its message becomes the number of polls since the last one.
    pub async fn report_liveness(&self, report: Change, routing: Routing<'_>, now: Timestamp) -> Result<()> {
        let channels = routing(&report);
        let write = move |database: &OpenDatabase| {
            let transaction = database.transaction()?;
            let polls = number(&transaction, POLLS)?.saturating_sub(number(&transaction, REPORTED_POLLS)?);
            let report = Change { message: polls.to_string(), ..report };
            outbox::enqueue(&transaction, &report, &channels, now)?;
            remember(&transaction, now)?;
            transaction.commit()
        };
        self.run(write).await
    }
}

fn remember(transaction: &Transaction, now: Timestamp) -> Result<()> {
    kv::set(transaction, REPORTED_AT, now)?;
    kv::set(transaction, REPORTED_POLLS, number(transaction, POLLS)?)
}

fn number(transaction: &Transaction, name: &str) -> Result<u64> {
    Ok(kv::get(transaction, name)?.unwrap_or_default())
}
