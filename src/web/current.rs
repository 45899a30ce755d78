//! What the database and the daemon say at one instant: the material of all pages.
//!
//! Plain data, so that pages are pure functions of it.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use rusqlite::Result;

use crate::model::{Beliefs, FeedId};
use crate::report::coverage::extend_to_now;
use crate::report::days::{CoveredDay, covered_days};
use crate::status_socket::DaemonStatus;
use crate::store::{PostedOutage, Span, Store, Totals};
use crate::tracking::watchlist::Watchlist;

/// The days of a bar.
pub const DAYS: usize = 90;
/// The age of the last good poll from which all pages say "cannot tell".
pub const STALE_AFTER: SignedDuration = SignedDuration::from_mins(15);

/// The state of the world at one instant, as far as statusd knows.
#[derive(Clone, Debug)]
pub struct Current {
    pub now: Timestamp,
    /// The zone of all times on pages.
    pub zone: TimeZone,
    pub status: DaemonStatus,
    pub watch: Watchlist,
    pub beliefs: Beliefs,
    /// Coverage of the last [`DAYS`] days, oldest first.
    pub spans: Vec<Span>,
    /// Every outage and maintenance of the last [`DAYS`] days, oldest first.
    pub outages: Vec<PostedOutage>,
    pub totals: Totals,
}

impl Current {
    /// Returns the last [`DAYS`] days with their coverage, oldest first.
    pub fn days(&self) -> Vec<CoveredDay> {
        covered_days(DAYS, &self.spans, self.now, &self.zone)
    }

    /// Reads the database.
    pub async fn load(
        store: &Store,
        feed: &FeedId,
        zone: &TimeZone,
        watch: &Watchlist,
        status: DaemonStatus,
        now: Timestamp,
    ) -> Result<Current> {
        // A day more than the bars show, for any zone.
        let since = now - SignedDuration::from_hours(24 * (DAYS as i64 + 1));
        Ok(Current {
            now,
            zone: zone.clone(),
            watch: watch.clone(),
            beliefs: store.beliefs(feed).await?,
            spans: covered(store.coverage(feed, since).await?, &status, now),
            outages: store.posted_outages(feed, since).await?,
            totals: store.totals().await?,
            status,
        })
    }

    /// Returns the same rows with a newer status of the daemon.
    pub fn at(self, status: DaemonStatus, now: Timestamp) -> Current {
        Current { now, spans: covered(self.spans, &status, now), status, ..self }
    }
}

/// Extends the coverage to the last poll. Not to now: a daemon that stopped polling covers nothing.
fn covered(spans: Vec<Span>, status: &DaemonStatus, now: Timestamp) -> Vec<Span> {
    extend_to_now(spans, status.polled_at.is_some(), status.polled_at.unwrap_or(now))
}
