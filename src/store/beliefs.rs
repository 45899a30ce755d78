//! Loads and saves beliefs. Writes only the rows of an update.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension, Result, Row, Transaction, params};

use super::rows::{
    counts, counts_text, missing, number, optional_number, optional_text, optional_time, service_name, text,
    text_of, time, unknown,
};
use crate::model::{
    Beliefs, DateOrder, Document, EventKind, Fault, FeedHealth, FeedId, FeedState, Listed, Listing, Missing,
    Outage, OverBy, Phase, Service, ServiceKey, StaleRun,
};
use crate::tracking::Update;

pub fn load(connection: &Connection, feed: &FeedId) -> Result<Beliefs> {
    let name = feed.to_string();
    let (state, services) = (state_of(connection, feed)?, services(connection, feed)?);
    // Only the last occurrence of an event can be planned or ongoing.
    let mut outages = BTreeMap::new();
    // Without the index, SQLite scans all past outages to avoid a sort.
    let sql = "SELECT * FROM outage INDEXED BY outage_by_phase
        WHERE feed = ?1 AND phase IN ('planned', 'ongoing') ORDER BY occurrence";
    let mut statement = connection.prepare(sql)?;
    for row in statement.query_map([&name], outage)? {
        let outage = row?;
        outages.insert((ServiceKey::new(&outage.service), outage.message_id.clone()), outage);
    }
    Ok(Beliefs { feed: feed.clone(), state, services, outages })
}

/// Service and message id of an event.
type EventId = (ServiceKey, String);

/// Drops past outages that a document does not list. Returns the events that it lists and that are not in
/// `beliefs`.
pub fn forget_unlisted(beliefs: &mut Beliefs, document: &Document) -> Vec<EventId> {
    let events = |(key, listing): (&ServiceKey, &Listing)| {
        listing.events.iter().map(|event| (key.clone(), event.message_id.clone())).collect::<Vec<_>>()
    };
    let listed: BTreeSet<EventId> = document.services.iter().flat_map(events).collect();
    beliefs.outages.retain(|event, outage| !outage.is_over() || listed.contains(event));
    listed.into_iter().filter(|event| !beliefs.outages.contains_key(event)).collect()
}

/// Returns the newest occurrence of each event, if there is one.
pub fn newest(
    connection: &Connection,
    feed: &FeedId,
    events: Vec<EventId>,
) -> Result<Vec<(EventId, Outage)>> {
    let feed = feed.to_string();
    let mut statement = connection.prepare_cached(
        "SELECT * FROM outage WHERE feed = ?1 AND service_key = ?2 AND message_id = ?3
         ORDER BY occurrence DESC LIMIT 1",
    )?;
    let mut found = Vec::new();
    for event in events {
        let newest = statement.query_row(params![feed, event.0.as_str(), event.1], outage).optional()?;
        found.extend(newest.map(|outage| (event, outage)));
    }
    Ok(found)
}

/// Returns the state of the feed as a whole; the initial state for an unknown feed.
pub fn state_of(connection: &Connection, feed: &FeedId) -> Result<FeedState> {
    let sql = "SELECT * FROM feed WHERE feed = ?1";
    let found = connection.query_row(sql, [feed.to_string()], state).optional()?;
    Ok(found.unwrap_or(Beliefs::new(feed.clone()).state))
}

/// Returns every service that was ever listed or watched without being listed.
pub fn services(connection: &Connection, feed: &FeedId) -> Result<BTreeMap<ServiceKey, Service>> {
    let mut statement = connection.prepare("SELECT * FROM service WHERE feed = ?1")?;
    statement.query_map([feed.to_string()], service)?.collect()
}

pub fn save(transaction: &Transaction, feed: &FeedId, update: &Update, is_same_state: bool) -> Result<()> {
    let feed = feed.to_string();
    if !is_same_state {
        save_state(transaction, &feed, &update.state)?;
    }
    for outage in &update.outages {
        save_outage(transaction, &feed, outage)?;
    }
    for (key, service) in &update.services {
        save_service(transaction, &feed, key, service)?;
    }
    for key in &update.forgotten {
        transaction
            .execute("DELETE FROM service WHERE feed = ?1 AND key = ?2", params![feed, key.as_str()])?;
    }
    Ok(())
}

fn state(row: &Row) -> Result<FeedState> {
    let stale = match (optional_time(row, "stale_since")?, optional_time(row, "stale_newest")?) {
        (Some(since), Some(newest)) => {
            Some(StaleRun { since, newest, fetches: optional_number(row, "stale_fetches")?.unwrap_or(1) })
        }
        _ => None,
    };
    let health = text(row, "health")?;
    let since = optional_time(row, "health_since")?;
    let fault = optional_text(row, "fault")?;
    let health = match (health.as_str(), since) {
        ("readable", Some(since)) => FeedHealth::Readable { since },
        ("unreadable", Some(since)) => FeedHealth::Unreadable {
            since,
            fault: if fault.as_deref() == Some(Fault::Apple.as_str()) { Fault::Apple } else { Fault::Ours },
            reason: text(row, "reason")?,
            told: row.get("told")?,
        },
        _ => FeedHealth::Unknown,
    };
    Ok(FeedState {
        first_accepted: optional_time(row, "first_accepted_at")?,
        stamp: optional_time(row, "stamp")?,
        date_order: row.get::<_, Option<String>>("date_order")?.and_then(|word| DateOrder::parse(&word)),
        stale,
        health,
        banner: optional_text(row, "banner")?,
    })
}

fn save_state(transaction: &Transaction, feed: &str, state: &FeedState) -> Result<()> {
    let (health, since, fault, reason, told) = match &state.health {
        FeedHealth::Unknown => ("unknown", None, None, None, false),
        FeedHealth::Readable { since } => ("readable", Some(*since), None, None, false),
        FeedHealth::Unreadable { since, fault, reason, told } => {
            ("unreadable", Some(*since), Some(fault.as_str()), Some(reason.as_str()), *told)
        }
    };
    transaction.execute(
        "INSERT OR REPLACE INTO feed (feed, first_accepted_at, stamp, stale_since, stale_newest, stale_fetches,
             health, health_since, fault, reason, told, banner, date_order)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
        params![
            feed,
            text_of(state.first_accepted),
            text_of(state.stamp),
            text_of(state.stale.map(|run| run.since)),
            text_of(state.stale.map(|run| run.newest)),
            state.stale.map(|run| run.fetches),
            health,
            text_of(since),
            fault,
            reason,
            told,
            state.banner,
            state.date_order.map(DateOrder::as_str),
        ],
    )?;
    Ok(())
}

fn service(row: &Row) -> Result<(ServiceKey, Service)> {
    let name = service_name(row, "name", "key")?;
    let listed = text(row, "listed")?;
    let first_seen = time(row, "first_seen_at")?;
    let gone = missing(row, "since", "fetches")?;
    let listed = match (listed.as_str(), gone) {
        ("yes", _) | ("missing", None) => Listed::Yes,
        ("missing", Some(missing)) => Listed::Missing(missing),
        ("no", gone) => Listed::No { since: gone.map_or(first_seen, |gone| gone.since) },
        ("never", gone) => Listed::Never { since: gone.map_or(first_seen, |gone| gone.since) },
        (other, _) => return Err(unknown("listing", other)),
    };
    // The key is derived again from the name, because the stored key may be that of a glob.
    Ok((ServiceKey::new(&name), Service { name, first_seen, listed }))
}

fn save_service(transaction: &Transaction, feed: &str, key: &ServiceKey, service: &Service) -> Result<()> {
    let (listed, since, fetches) = match &service.listed {
        Listed::Yes => ("yes", None, None),
        Listed::Missing(missing) => ("missing", Some(missing.since), Some(missing.fetches)),
        Listed::No { since } => ("no", Some(*since), None),
        Listed::Never { since } => ("never", Some(*since), None),
    };
    transaction.execute(
        "INSERT OR REPLACE INTO service (feed, key, name, first_seen_at, listed, since, fetches)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            feed,
            key.as_str(),
            service.name,
            service.first_seen.to_string(),
            listed,
            text_of(since),
            fetches
        ],
    )?;
    Ok(())
}

pub fn outage(row: &Row) -> Result<Outage> {
    let (kind, phase) = (text(row, "kind")?, text(row, "phase")?);
    let gone = missing(row, "missing_since", "missing_fetches")?;
    Ok(Outage {
        service: service_name(row, "service", "service_key")?,
        message_id: text(row, "message_id")?,
        occurrence: number(row, "occurrence")?,
        kind: EventKind::parse(&kind),
        phase: match phase.as_str() {
            "planned" => Phase::Planned(gone),
            "ongoing" => Phase::Ongoing(gone),
            "over" => Phase::Over(OverBy::Apple),
            "withdrawn" => Phase::Over(OverBy::Withdrawal),
            other => return Err(unknown("phase", other)),
        },
        start: optional_time(row, "began_at")?,
        end: optional_time(row, "ended_at")?,
        first_seen: time(row, "first_seen_at")?,
        users_affected: optional_text(row, "users_affected")?,
        message: text(row, "message")?,
        counts: counts(&text(row, "counts")?),
    })
}

fn save_outage(transaction: &Transaction, feed: &str, outage: &Outage) -> Result<()> {
    let none: Option<&Missing> = None;
    let (phase, missing) = match &outage.phase {
        Phase::Planned(missing) => ("planned", missing.as_ref()),
        Phase::Ongoing(missing) => ("ongoing", missing.as_ref()),
        Phase::Over(OverBy::Apple) => ("over", none),
        Phase::Over(OverBy::Withdrawal) => ("withdrawn", none),
    };
    let mut insert = transaction.prepare_cached(
        "INSERT OR REPLACE INTO outage (feed, service_key, message_id, occurrence, service, kind, phase,
             missing_since, missing_fetches, began_at, ended_at, first_seen_at, users_affected, message, counts)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
    )?;
    insert.execute(params![
        feed,
        ServiceKey::new(&outage.service).as_str(),
        outage.message_id,
        outage.occurrence,
        outage.service,
        outage.kind.as_str(),
        phase,
        text_of(missing.map(|missing| missing.since)),
        missing.map(|missing| missing.fetches),
        text_of(outage.start),
        text_of(outage.end),
        outage.first_seen.to_string(),
        outage.users_affected,
        outage.message,
        counts_text(&outage.counts),
    ])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Edition;

    const SCHEMAS: [&str; 3] =
        [include_str!("schema/1.sql"), include_str!("schema/2.sql"), include_str!("schema/3.sql")];

    fn feed() -> FeedId {
        FeedId { edition: Edition::Consumer, locale: "en_US".to_owned() }
    }

    fn migrated(rows: &str) -> Connection {
        let connection = Connection::open_in_memory().expect("a database");
        let newer = concat!(include_str!("schema/4.sql"), include_str!("schema/5.sql"));
        connection.execute_batch(&format!("{}{rows}{newer}", SCHEMAS.concat())).expect("schema 5");
        connection
    }

    #[test]
    fn the_order_of_dates_is_durable() {
        let connection = migrated(
            "INSERT INTO feed VALUES ('developer/en_US', NULL, '2026-03-02T09:00:00Z', NULL, NULL, NULL,
                'unknown', NULL, NULL, NULL, 0, NULL);",
        );
        let developer = FeedId { edition: Edition::Developer, ..feed() };
        let old = state_of(&connection, &developer).expect("a state");
        assert_eq!((old.date_order, old.stamp.is_some()), (None, true));
        for date_order in [Some(DateOrder::DayFirst), Some(DateOrder::YearFirst), None] {
            let state = FeedState { date_order, ..Beliefs::new(feed()).state };
            let transaction = connection.unchecked_transaction().expect("a transaction");
            save_state(&transaction, &feed().to_string(), &state).expect("written");
            transaction.commit().expect("committed");
            assert_eq!(state_of(&connection, &feed()).expect("a state"), state);
        }
    }

    /// An outage that is ongoing during the upgrade must not begin again under its decoded name.
    #[test]
    fn names_with_entities_continue_under_their_decoded_names() {
        let connection = migrated(
            "INSERT INTO service VALUES ('consumer/en_US', 'a &amp; b', 'A &amp; B', '2026-03-01T09:00:00Z',
                'yes', NULL, NULL);
            INSERT INTO outage VALUES ('consumer/en_US', 'a &amp; b', '1', 1, 'A &amp; B', 'Outage', 'ongoing',
                NULL, NULL, NULL, NULL, '2026-03-02T09:00:00Z', NULL, '', '');
            INSERT INTO ack VALUES ('consumer/en_US', 'a &amp; b', '1', 1, '2026-03-02T09:00:00Z');
            INSERT INTO change (key, at, seen_at, kind, feed, service, service_key, serial, message, near)
                VALUES ('k', '', '', 'began', 'consumer/en_US', 'A &amp; B', 'a &amp; b', 1, '', '[]');",
        );
        let beliefs = load(&connection, &feed()).expect("beliefs");
        let key = ServiceKey::new("A & B");
        assert_eq!(beliefs.services[&key].name, "A & B");
        assert_eq!(beliefs.outages[&(key, "1".to_owned())].service, "A & B");
        let all = "SELECT group_concat(service_key) FROM (
            SELECT key AS service_key FROM service UNION SELECT service_key FROM outage
            UNION SELECT service_key FROM ack UNION SELECT service_key FROM change)";
        let keys: String = connection.query_row(all, [], |row| row.get(0)).expect("keys");
        assert_eq!(keys, "a & b");
    }
}
