//! Which of a channel's waiting deliveries go into its next message, and what is loaded of them.
//!
//! It reads and ties rows; the words are the caller's. Invariants: the oldest waiting delivery is
//! always among those chosen, so nothing waits for ever; and of one event of one service no later
//! change is chosen before an earlier one, so an end never overtakes its start
//! (`tests/it/policy.rs::starts_and_ends_are_separate_messages`).

use jiff::{SignedDuration, Timestamp};
use rusqlite::{OptionalExtension, Result, Transaction, params};

use super::beliefs::outage;
use super::outbox::HELD_BACK;
use super::reminders::{ABOUT_IT, known};
use super::rows::{self, CHANGE_COLUMNS};
use crate::model::{Change, ChangeKind, Outage};

/// Outages that one message is composed of. Further ones are told in the next message, or counted where
/// all are one incident.
const PIECES_MAX: u32 = 500;
/// Changes that one message carries; later ones are told in the next.
const CHANGES_MAX: u32 = 2_000;
/// Of one outage: the first change, and the last ones.
const CHANGES_OF_PIECE_MAX: u32 = 8;

/// How what waits becomes messages. A message that nobody confirmed for `max_age` is composed anew
/// with all that came since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batching {
    /// For programs: each change is a message.
    PerChange,
    /// For a desktop: what waits about one incident is a message, and replaces the one before it.
    Incident { max_age: SignedDuration },
    /// For other people: all that waits is a message, but what goes on and what is over are one each.
    Digest { max_age: SignedDuration },
}

impl Batching {
    /// For people; `None` for programs, who acknowledge nothing and get each change however old.
    pub fn max_age(self) -> Option<SignedDuration> {
        match self {
            Batching::PerChange => None,
            Batching::Incident { max_age } | Batching::Digest { max_age } => Some(max_age),
        }
    }
}

/// What a message is to be composed of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// In the order in which they happened; at least one.
    pub changes: Vec<Change>,
    /// Outages and other pieces of news beside those of `changes`, which are not loaded.
    pub more: usize,
    /// With [`Batching::Incident`]: the outages of the incident that the channel was told of, as they
    /// stand now; those of `changes` too.
    pub others: Vec<Outage>,
    /// How long the oldest has waited.
    pub since: Timestamp,
    /// An older message was given up for this one: somebody may have seen it.
    pub is_anew: bool,
}

/// What kinds of news may share a message of [`Batching::Digest`]: a title must not promise the end of one
/// outage and hide the start of another.
fn class(kind: ChangeKind) -> u8 {
    match kind {
        ChangeKind::Began
        | ChangeKind::Reopened
        | ChangeKind::Worsened
        | ChangeKind::Eased
        | ChangeKind::Reminder
        | ChangeKind::Planned
        | ChangeKind::Started
        | ChangeKind::Moved
        | ChangeKind::Unlisted
        | ChangeKind::Unreadable
        | ChangeKind::HistoryLost
        | ChangeKind::Revised => 0,
        ChangeKind::Ended
        | ChangeKind::Withdrawn
        | ChangeKind::Missed
        | ChangeKind::Over
        | ChangeKind::ListedAgain
        | ChangeKind::Readable
        | ChangeKind::Corrected
        | ChangeKind::Noted
        | ChangeKind::Cancelled => 1,
        // Of people's own things, with advice of its own.
        ChangeKind::BackupLate | ChangeKind::BackupOff | ChangeKind::Liveness | ChangeKind::Test => 2,
    }
}

/// What becomes one piece of news; `message::compose` folds the same.
const PIECE: &str = "feed, incident, service_key,
    CASE WHEN message_id IS NOT NULL THEN occurrence
         WHEN incident = 'feed' THEN 0
         WHEN kind IN ('backup_late', 'backup_off') THEN began_at
         ELSE change_id END";

/// What waits on the channel `?1` and no message carries yet.
fn is_waiting() -> String {
    format!("channel = ?1 AND state = 'pending' AND notice_id IS NULL AND NOT ({HELD_BACK})")
}

/// The numbers of the changes that go into the next message of the channel `?1`. CROSS JOIN keeps the
/// order: from the oldest deliveries to their outages and from there to the later ones, so that it
/// costs the same whatever waits behind them.
fn chosen(gather: Batching) -> String {
    let waiting = is_waiting();
    match gather {
        Batching::PerChange => "SELECT min(change_id) FROM delivery
                         WHERE channel = ?1 AND state = 'pending' AND notice_id IS NULL"
            .to_owned(),
        Batching::Incident { .. } => format!(
            "WITH oldest AS (
                SELECT feed, incident FROM delivery JOIN change ON change.id = change_id
                WHERE {waiting} ORDER BY change_id LIMIT 1)
             SELECT change_id FROM oldest CROSS JOIN change USING (feed, incident)
                CROSS JOIN delivery ON change_id = change.id
             WHERE {waiting} ORDER BY change_id LIMIT {CHANGES_MAX}"
        ),
        // A piece is what its last change says. What lies behind a piece of another class waits for it.
        Batching::Digest { .. } => format!(
            "WITH oldest AS (
                SELECT change_id, feed, service_key, message_id
                FROM delivery JOIN change ON change.id = change_id
                WHERE {waiting} ORDER BY change_id LIMIT {PIECES_MAX}),
             threads AS (
                SELECT feed, service_key, message_id, min(change_id) AS first_id FROM oldest GROUP BY 1, 2, 3),
             waiting AS (
                SELECT change_id, kind, change.feed, incident, change.service_key, change.message_id,
                    occurrence, began_at
                FROM threads CROSS JOIN change ON change.service_key = threads.service_key
                    AND change.message_id IS threads.message_id AND change.feed = threads.feed
                CROSS JOIN delivery ON change_id = change.id
                WHERE {waiting} ORDER BY first_id, change_id LIMIT {CHANGES_MAX}),
             classed AS (
                SELECT *, last_value({}) OVER (PARTITION BY {PIECE} ORDER BY change_id
                    ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS class FROM waiting),
             wanted AS (SELECT *, first_value(class) OVER (ORDER BY change_id) AS first FROM classed)
             SELECT change_id FROM (
                SELECT change_id, max(class <> first) OVER
                    (PARTITION BY feed, incident, service_key ORDER BY change_id) AS is_left FROM wanted)
             WHERE NOT is_left",
            classes()
        ),
    }
}

/// [`class`] in SQL.
fn classes() -> String {
    let cases = ChangeKind::ALL.map(|kind| format!("WHEN '{}' THEN {}", kind.as_str(), class(kind)));
    format!("CASE kind {} END", cases.join(" "))
}

/// Ties what goes into the next message to the notice `notice_id`. Returns how many deliveries.
pub fn tie(transaction: &Transaction, channel: &str, gather: Batching, notice_id: i64) -> Result<usize> {
    let sql = format!(
        "UPDATE delivery SET notice_id = ?2 WHERE channel = ?1 AND change_id IN ({})",
        chosen(gather)
    );
    transaction.prepare_cached(&sql)?.execute(params![channel, notice_id])
}

/// Reads what is tied to a notice, which is at least one delivery.
pub fn load(transaction: &Transaction, channel: &str, gather: Batching, notice_id: i64) -> Result<Waiting> {
    let sql = format!(
        "WITH tied AS (
            SELECT change_id, created_at, min(change_id) OVER (PARTITION BY {PIECE}) AS first_id,
                row_number() OVER (PARTITION BY {PIECE} ORDER BY change_id DESC) AS age
            FROM delivery JOIN change ON change.id = change_id WHERE notice_id = ?1),
         placed AS (SELECT *, dense_rank() OVER (ORDER BY first_id) AS place FROM tied)
         SELECT {CHANGE_COLUMNS}, (SELECT max(place) FROM placed) AS pieces,
            (SELECT min(created_at) FROM placed) AS since
         FROM placed CROSS JOIN change ON change.id = change_id
         WHERE place <= {PIECES_MAX} AND (age <= {CHANGES_OF_PIECE_MAX} OR change_id = first_id)
         ORDER BY change_id"
    );
    let mut statement = transaction.prepare_cached(&sql)?;
    let rows: Vec<(Change, u32, Timestamp)> = statement
        .query_map([notice_id], |row| {
            Ok((rows::change(row)?, row.get("pieces")?, rows::time(row, "since")?))
        })?
        .collect::<Result<_>>()?;
    let (pieces, since) = rows.first().map(|(_, pieces, since)| (*pieces, *since)).unwrap_or_default();
    let changes: Vec<Change> = rows.into_iter().map(|(change, ..)| change).collect();
    let others = match (gather, changes.as_slice()) {
        (Batching::Incident { .. }, [first, ..]) => others(transaction, channel, first, &changes)?,
        _ => Vec::new(),
    };
    let more = pieces.saturating_sub(PIECES_MAX);
    Ok(Waiting { changes, more: usize::try_from(more).unwrap_or(usize::MAX), others, since, is_anew: false })
}

/// The outages of an incident that the channel was told of, the newest occurrence of each: those that
/// go on, and those that ended after the incident began.
fn others(
    transaction: &Transaction,
    channel: &str,
    first: &Change,
    changes: &[Change],
) -> Result<Vec<Outage>> {
    let Some(message_id) = &first.message_id else { return Ok(Vec::new()) };
    let began = changes.iter().map(|change| change.began_at.unwrap_or(change.seen_at)).min();
    let sql = format!(
        "SELECT * FROM outage WHERE message_id = ?1 AND feed = ?3 AND kind <> 'Maintenance'
           AND (phase = 'ongoing' OR phase IN ('over', 'withdrawn') AND ended_at >= ?4)
           AND {} AND EXISTS (SELECT 1 {ABOUT_IT} AND state = 'sent')
           AND NOT EXISTS (SELECT 1 FROM outage newer WHERE newer.feed = outage.feed
             AND newer.service_key = outage.service_key AND newer.message_id = outage.message_id
             AND newer.occurrence > outage.occurrence)
         ORDER BY coalesce(began_at, first_seen_at), service_key LIMIT {PIECES_MAX}",
        known()
    );
    let mut statement = transaction.prepare_cached(&sql)?;
    let arguments = params![message_id, channel, first.feed.to_string(), rows::text_of(began)];
    statement.query_map(arguments, outage)?.collect()
}

/// Which earlier message on a channel a new one is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Earlier {
    /// The newest about anything of the same.
    Any,
    /// The same, if nothing that it is about goes on but what the new one is about too: the rest would
    /// vanish from the screen while it goes on.
    Covered,
}

/// The receipt of that message.
pub fn earlier(
    transaction: &Transaction,
    channel: &str,
    gather: Batching,
    notice_id: i64,
    which: Earlier,
) -> Result<Option<String>> {
    let thread = match gather {
        Batching::Incident { .. } => "feed, incident",
        Batching::PerChange | Batching::Digest { .. } => "feed, service_key, message_id",
    };
    // What has no message id stays on a desktop's screen only: others show each message.
    let may_go_on = match gather {
        Batching::Incident { .. } => "1",
        Batching::PerChange | Batching::Digest { .. } => "message_id IS NOT NULL",
    };
    // CROSS JOIN keeps the order: from the few changes of these outages to their deliveries.
    let sql = format!(
        "WITH mine AS (SELECT DISTINCT {thread} FROM delivery JOIN change ON change.id = change_id
                       WHERE notice_id = ?2 AND {may_go_on})
         SELECT receipt FROM notice
         WHERE receipt IS NOT NULL
           AND id = (SELECT max(old.notice_id)
                     FROM mine JOIN change told USING ({thread})
                     CROSS JOIN delivery old ON old.change_id = told.id AND old.channel = ?1
                     WHERE old.notice_id <> ?2)
           AND (NOT ?3 OR NOT EXISTS (
             SELECT 1 FROM delivery JOIN change ON change.id = change_id
             WHERE notice_id = notice.id AND ({thread}) NOT IN (SELECT {thread} FROM mine)
               AND {may_go_on}
               AND coalesce((SELECT phase FROM outage WHERE outage.feed = change.feed
                   AND outage.service_key = change.service_key AND outage.message_id = change.message_id
                   ORDER BY occurrence DESC LIMIT 1), 'ongoing') IN ('planned', 'ongoing')))"
    );
    transaction
        .prepare_cached(&sql)?
        .query_row(params![channel, notice_id, which == Earlier::Covered], |row| row.get(0))
        .optional()
}
