//! Outages as pages show them: recent ones, the deliveries about one, and pages of the history.

use jiff::{SignedDuration, Timestamp};
use rusqlite::{OptionalExtension, Result, Row, params};

use super::beliefs::outage;
use super::open_database::OpenDatabase;
use super::outages::{OF_OUTAGE, WAS_POLLING, announced, stored};
use super::{Store, StoredOutage, rows};
use crate::model::{FeedId, OutageKey, ServiceKey};

/// The maximum number of services of one incident. Real incidents have up to about sixty.
const SIBLINGS_MAX: usize = 200;
/// Longer than any event of Apple's that is over. Older ones need not be read to find those of a period.
const LONGEST: SignedDuration = SignedDuration::from_hours(366 * 24);
/// Sorts after every time.
const END: &str = "~";

/// An outage with the time at which its end was first seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostedOutage {
    pub stored: StoredOutage,
    /// When statusd first saw that the outage is over. Equal to the first sighting if it was over by then.
    pub over_seen_at: Option<Timestamp>,
}

/// The deliveries of a change on the channels of one kind. Contains no name of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KindDelivery {
    pub change_id: i64,
    /// `desktop`, `webhook` …
    pub kind: String,
    /// The first successful delivery.
    pub sent_at: Option<Timestamp>,
    pub pending: u32,
    pub given_up: u32,
}

/// A selection of the history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryFilter {
    pub service: Option<ServiceKey>,
    pub kind: Option<HistoryKind>,
    /// Ongoing at this time or later. An event of more than a year may be left out.
    pub from: Option<Timestamp>,
    /// Begun before this time.
    pub to: Option<Timestamp>,
}

/// A group of kinds of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistoryKind {
    Outage,
    /// Everything that is neither an outage nor maintenance.
    Issue,
    Maintenance,
}

/// The place of a page in the history, given by the outage beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HistoryPlace {
    Newest,
    /// The page of outages that began before this one.
    Before(OutageKey),
    /// The page of outages that began after this one.
    After(OutageKey),
}

/// A page of the history, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryPage {
    pub outages: Vec<PostedOutage>,
    pub has_newer: bool,
    pub has_older: bool,
}

impl Store {
    /// Returns every outage and maintenance that was ongoing or first seen since `since`, oldest first.
    pub async fn posted_outages(&self, feed: &FeedId, since: Timestamp) -> Result<Vec<PostedOutage>> {
        let sql = format!(
            "{} WHERE feed = ?1
               AND (phase IN ('planned', 'ongoing') OR ended_at >= ?2 OR first_seen_at >= ?2)
             ORDER BY coalesce(began_at, first_seen_at), service_key, message_id, occurrence",
            select()
        );
        let (feed, since) = (feed.to_string(), since.to_string());
        self.run(move |database| database.list(&sql, params![feed, since], posted)).await
    }

    /// Returns the deliveries about an outage, in order of changes, then kinds.
    pub async fn deliveries_of(&self, key: &OutageKey) -> Result<Vec<KindDelivery>> {
        let key = key.clone();
        self.run(move |database| deliveries(database, &key)).await
    }

    /// Returns the other services that Apple lists under the same id for the same time, with the keys of their
    /// outages.
    pub async fn siblings(&self, key: &OutageKey) -> Result<Vec<(String, String)>> {
        let key = key.clone();
        self.run(move |database| siblings(database, &key)).await
    }

    /// Returns at most `limit` outages of all feeds, newest first. A page beside an unknown outage is the
    /// newest one.
    pub async fn history_page(
        &self,
        filter: &HistoryFilter,
        place: &HistoryPlace,
        limit: usize,
    ) -> Result<HistoryPage> {
        let (filter, place) = (filter.clone(), place.clone());
        self.run(move |database| page(database, &filter, &place, limit)).await
    }
}

/// Returns the beginning of a statement, for rows that [`posted`] reads.
fn select() -> String {
    let announced = announced();
    format!(
        "SELECT *, {WAS_POLLING}, {announced},
             (SELECT max(seen_at) FROM change INDEXED BY change_by_outage
              WHERE {OF_OUTAGE} AND kind IN ('ended', 'withdrawn', 'missed', 'over', 'corrected', 'noted'))
              AS over_seen_at
         FROM outage"
    )
}

fn posted(row: &Row) -> Result<PostedOutage> {
    Ok(PostedOutage { stored: stored(row)?, over_seen_at: rows::optional_time(row, "over_seen_at")? })
}

fn deliveries(database: &OpenDatabase, key: &OutageKey) -> Result<Vec<KindDelivery>> {
    // The kind of a channel is its name up to the dot.
    let sql = "SELECT change_id, substr(channel, 1, instr(channel || '.', '.') - 1) AS channel_kind,
                   min(CASE state WHEN 'sent' THEN settled_at END) AS sent_at,
                   count(*) FILTER (WHERE state = 'pending') AS pending,
                   count(*) FILTER (WHERE state = 'given_up') AS given_up
               FROM change INDEXED BY change_by_outage JOIN delivery ON change_id = change.id
               WHERE service_key = ?2 AND message_id = ?3 AND feed = ?1 AND occurrence = ?4
               GROUP BY change_id, channel_kind ORDER BY change_id, channel_kind";
    let delivery = |row: &Row| {
        Ok(KindDelivery {
            change_id: row.get("change_id")?,
            kind: rows::text(row, "channel_kind")?,
            sent_at: rows::optional_time(row, "sent_at")?,
            pending: rows::number(row, "pending")?,
            given_up: rows::number(row, "given_up")?,
        })
    };
    let identity = params![key.feed.to_string(), key.service.as_str(), key.message_id, key.occurrence];
    database.list(sql, identity, delivery)
}

fn siblings(database: &OpenDatabase, key: &OutageKey) -> Result<Vec<(String, String)>> {
    let sql = format!(
        "SELECT * FROM outage INDEXED BY outage_by_message
         WHERE feed = ?1 AND message_id = ?3 AND occurrence = ?4 AND service_key <> ?2
           AND began_at IS (SELECT began_at FROM outage WHERE feed = ?1 AND service_key = ?2
                            AND message_id = ?3 AND occurrence = ?4)
         ORDER BY service_key LIMIT {SIBLINGS_MAX}"
    );
    let sibling = |row: &Row| {
        let outage = outage(row)?;
        let key = outage.key(&key.feed);
        Ok((outage.service, key))
    };
    let identity = params![key.feed.to_string(), key.service.as_str(), key.message_id, key.occurrence];
    database.list(&sql, identity, sibling)
}

fn page(
    database: &OpenDatabase,
    filter: &HistoryFilter,
    place: &HistoryPlace,
    limit: usize,
) -> Result<HistoryPage> {
    let beside = match place {
        HistoryPlace::Newest => None,
        HistoryPlace::Before(key) | HistoryPlace::After(key) => position(database, key)?,
    };
    let is_backwards = beside.is_some() && matches!(place, HistoryPlace::After(_));
    let (compare, order) = if is_backwards { (">", "ASC") } else { ("<", "DESC") };
    let kind = match filter.kind {
        None => "TRUE",
        Some(HistoryKind::Outage) => "kind = 'Outage'",
        Some(HistoryKind::Issue) => "kind NOT IN ('Outage', 'Maintenance')",
        Some(HistoryKind::Maintenance) => "kind = 'Maintenance'",
    };
    // The condition and the order are those of the index `outage_by_start`.
    let sql = format!(
        "{} WHERE (coalesce(began_at, first_seen_at), feed, service_key, message_id, occurrence)
                   {compare} (?5, ?6, ?7, ?8, ?9)
           AND coalesce(began_at, first_seen_at) {compare}= ?5 AND coalesce(began_at, first_seen_at) >= ?10
           AND {kind}
           AND (?1 IS NULL OR service_key = ?1)
           AND (?2 IS NULL OR phase IN ('planned', 'ongoing') OR ended_at >= ?2 OR first_seen_at >= ?2)
           AND (?3 IS NULL OR coalesce(began_at, first_seen_at) < ?3)
         ORDER BY coalesce(began_at, first_seen_at) {order}, feed {order}, service_key {order},
             message_id {order}, occurrence {order} LIMIT ?4",
        select()
    );
    let is_beside = beside.is_some();
    // Begins at `to` where possible, so that SQLite reads no newer outages.
    let first = || Position::before(rows::text_of(filter.to).unwrap_or(END.to_owned()));
    let Position { start, feed, service_key, message_id, occurrence } = beside.unwrap_or_else(first);
    let arguments = params![
        filter.service.as_ref().map(ServiceKey::as_str),
        rows::text_of(filter.from),
        rows::text_of(filter.to),
        i64::try_from(limit).unwrap_or(i64::MAX - 1) + 1,
        start,
        feed,
        service_key,
        message_id,
        occurrence,
        filter.from.map_or(String::new(), earliest),
    ];
    let mut outages = database.list(&sql, arguments, posted)?;
    let has_more = outages.len() > limit;
    outages.truncate(limit);
    if is_backwards {
        outages.reverse();
    }
    let (has_newer, has_older) = if is_backwards { (has_more, true) } else { (is_beside, has_more) };
    Ok(HistoryPage { outages, has_newer, has_older })
}

/// The position of an outage in the history, as in the index `outage_by_start`.
struct Position {
    start: String,
    feed: String,
    service_key: String,
    message_id: String,
    occurrence: u32,
}

impl Position {
    /// Returns the position after all outages that began before `start`.
    fn before(start: String) -> Position {
        let empty = String::new;
        Position { start, feed: empty(), service_key: empty(), message_id: empty(), occurrence: 0 }
    }
}

/// Returns the earliest start of an outage that was ongoing at a time, for the index `outage_by_start`.
fn earliest(time: Timestamp) -> String {
    time.checked_sub(LONGEST).unwrap_or(Timestamp::MIN).to_string()
}

fn position(database: &OpenDatabase, key: &OutageKey) -> Result<Option<Position>> {
    let sql = "SELECT coalesce(began_at, first_seen_at) AS start FROM outage
               WHERE feed = ?1 AND service_key = ?2 AND message_id = ?3 AND occurrence = ?4";
    let feed = key.feed.to_string();
    let identity = params![feed, key.service.as_str(), key.message_id, key.occurrence];
    let start = database.query_row(sql, identity, |row| rows::text(row, "start")).optional()?;
    Ok(start.map(|start| Position {
        start,
        feed,
        service_key: key.service.as_str().to_owned(),
        message_id: key.message_id.clone(),
        occurrence: key.occurrence,
    }))
}
