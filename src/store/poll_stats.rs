//! How often we looked, and when we last said that we live.
//!
//! Looks are counted in memory and added here whenever something is written anyway, once an hour at
//! least: a quiet look writes nothing.

use jiff::Timestamp;
use rusqlite::{Result, Transaction};

use super::{Routing, Store, kv, outbox};
use crate::model::Change;

const LOOKS: &str = "looks";
const TOLD_AT: &str = "liveness_at";
const TOLD_LOOKS: &str = "liveness_polls";

/// Adds to the number of looks since the database was made.
pub fn add_polls(transaction: &Transaction, looks: u64) -> Result<()> {
    if looks > 0 {
        let all = number(transaction, LOOKS)? + looks;
        kv::set(transaction, LOOKS, all)?;
    }
    Ok(())
}

impl Store {
    /// When a sign of life was last given; the first time that somebody asks, `now`.
    pub async fn last_sign_of_life(&self, now: Timestamp) -> Result<Timestamp> {
        let transaction = self.transaction()?;
        if let Some(at) = kv::get(&transaction, TOLD_AT)? {
            return Ok(at);
        }
        remember(&transaction, now)?;
        transaction.commit()?;
        Ok(now)
    }

    /// Gives one: `sign` makes the change of the number of looks since the last one.
    pub async fn report_liveness(
        &self,
        sign: &dyn Fn(u64) -> Change,
        routing: Routing<'_>,
        now: Timestamp,
    ) -> Result<()> {
        let transaction = self.transaction()?;
        let looks = number(&transaction, LOOKS)?.saturating_sub(number(&transaction, TOLD_LOOKS)?);
        outbox::enqueue(&transaction, &sign(looks), routing, now)?;
        remember(&transaction, now)?;
        transaction.commit()
    }
}

fn remember(transaction: &Transaction, now: Timestamp) -> Result<()> {
    kv::set(transaction, TOLD_AT, now)?;
    kv::set(transaction, TOLD_LOOKS, number(transaction, LOOKS)?)
}

fn number(transaction: &Transaction, name: &str) -> Result<u64> {
    Ok(kv::get(transaction, name)?.unwrap_or_default())
}
