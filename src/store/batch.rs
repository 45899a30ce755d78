//! Selects the pending deliveries for the next notice of a channel, and loads their changes.
//!
//! The oldest pending delivery is always selected, so none waits for ever. The changes of an event are
//! selected in order, so an end never overtakes its start
//! (`tests/it/policy.rs::starts_and_ends_are_separate_messages`).

use jiff::{SignedDuration, Timestamp};
use rusqlite::{OptionalExtension, Result, Transaction, params};

use super::beliefs::outage;
use super::rows::{self, CHANGE_COLUMNS};
use crate::model::{Change, ChangeKind, Outage};

/// Selects deliveries for people that are held back, because the outage is acknowledged and ongoing. A
/// notice in flight is not affected.
pub const HELD_BACK: &str =
    "delivery.notice_id IS NULL AND change.kind IN ('worsened', 'eased', 'reminder') AND EXISTS (
    SELECT 1 FROM ack JOIN outage USING (feed, service_key, message_id, occurrence)
    WHERE phase = 'ongoing' AND ack.feed = change.feed AND ack.service_key = change.service_key
      AND ack.message_id = change.message_id AND ack.occurrence = change.occurrence)";
/// The deliveries on the channel (`?2`) about an outage. CROSS JOIN keeps the order: the changes of the
/// outage first, because the channel may have years of deliveries.
pub(super) const ABOUT_OUTAGE: &str = "FROM change CROSS JOIN delivery ON change_id = change.id
    WHERE channel = ?2 AND change.feed = outage.feed AND change.service_key = outage.service_key
      AND change.message_id = outage.message_id AND change.occurrence = outage.occurrence";

/// The maximum number of outages in a notice. Further ones go into the next notice, or are counted if all
/// are one incident.
const PIECES_MAX: u32 = 500;
/// The maximum number of changes in a notice. Further ones go into the next notice.
const CHANGES_MAX: u32 = 2_000;
/// The maximum number of changes per outage: the last ones, and in addition the first.
const CHANGES_OF_PIECE_MAX: u32 = 8;

/// The rule that combines pending changes into notices. A notice that stays unconfirmed for `max_age` is
/// composed again with all later changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batching {
    /// For programs: one notice per change.
    PerChange,
    /// For a desktop: one notice per incident, which replaces the previous one.
    Incident { max_age: SignedDuration },
    /// For other people: all pending changes in one notice, but ongoing outages apart from ended ones.
    Digest { max_age: SignedDuration },
}

impl Batching {
    /// Returns the maximum age for people; `None` for programs, which get every change at any age.
    pub fn max_age(self) -> Option<SignedDuration> {
        match self {
            Batching::PerChange => None,
            Batching::Incident { max_age } | Batching::Digest { max_age } => Some(max_age),
        }
    }
}

/// The contents of a notice to compose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// At least one, in order of time.
    pub changes: Vec<Change>,
    /// The number of further pieces of news, which are not loaded.
    pub more: usize,
    /// With [`Batching::Incident`]: the announced outages of the incident in their current state, including
    /// those of `changes`.
    pub others: Vec<Outage>,
    /// The creation time of the oldest delivery.
    pub since: Timestamp,
    /// This notice replaces an older one, which may have been received.
    pub is_recomposed: bool,
}

/// Returns the class of a kind. A notice of [`Batching::Digest`] has one class, because its title must not
/// name the end of one outage and hide the start of another.
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
        // About the user's own devices, with its own advice.
        ChangeKind::BackupLate | ChangeKind::BackupOff | ChangeKind::Liveness | ChangeKind::Test => 2,
    }
}

/// The columns that identify a piece of news. `message::compose` folds in the same way.
const PIECE: &str = "feed, incident, service_key,
    CASE WHEN message_id IS NOT NULL THEN occurrence
         WHEN incident = 'feed' THEN 0
         WHEN kind IN ('backup_late', 'backup_off') THEN began_at
         ELSE change_id END";

/// Selects the pending deliveries of the channel `?1` without a notice.
fn is_waiting() -> String {
    format!("channel = ?1 AND state = 'pending' AND notice_id IS NULL AND NOT ({HELD_BACK})")
}

/// Selects the ids of the changes for the next notice of the channel `?1`. CROSS JOIN keeps the order: from
/// the oldest deliveries to their outages, then to later deliveries. So the cost does not grow with
/// the queue.
fn chosen(batching: Batching) -> String {
    let waiting = is_waiting();
    match batching {
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
        // The last change decides the class of a piece. A piece waits for earlier ones of another class.
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

/// Returns [`class`] as SQL.
fn classes() -> String {
    let cases = ChangeKind::ALL.map(|kind| format!("WHEN '{}' THEN {}", kind.as_str(), class(kind)));
    format!("CASE kind {} END", cases.join(" "))
}

/// Attaches the deliveries for the next notice to `notice_id`. Returns their number.
pub fn attach(transaction: &Transaction, channel: &str, batching: Batching, notice_id: i64) -> Result<usize> {
    let sql = format!(
        "UPDATE delivery SET notice_id = ?2 WHERE channel = ?1 AND change_id IN ({})",
        chosen(batching)
    );
    transaction.prepare_cached(&sql)?.execute(params![channel, notice_id])
}

/// Loads the changes of a notice, which has at least one delivery.
pub fn load(transaction: &Transaction, channel: &str, batching: Batching, notice_id: i64) -> Result<Waiting> {
    let sql = format!(
        "WITH attached AS (
            SELECT change_id, created_at, min(change_id) OVER (PARTITION BY {PIECE}) AS first_id,
                row_number() OVER (PARTITION BY {PIECE} ORDER BY change_id DESC) AS age
            FROM delivery JOIN change ON change.id = change_id WHERE notice_id = ?1),
         placed AS (SELECT *, dense_rank() OVER (ORDER BY first_id) AS place FROM attached)
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
    let others = match (batching, changes.as_slice()) {
        (Batching::Incident { .. }, [first, ..]) => others(transaction, channel, first, &changes)?,
        _ => Vec::new(),
    };
    let more = pieces.saturating_sub(PIECES_MAX);
    Ok(Waiting {
        changes,
        more: usize::try_from(more).unwrap_or(usize::MAX),
        others,
        since,
        is_recomposed: false,
    })
}

/// Returns the announced outages of an incident, the newest occurrence of each: ongoing ones, and those that
/// ended after the incident began.
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
           AND {} AND EXISTS (SELECT 1 {ABOUT_OUTAGE} AND state = 'sent')
           AND NOT EXISTS (SELECT 1 FROM outage newer WHERE newer.feed = outage.feed
             AND newer.service_key = outage.service_key AND newer.message_id = outage.message_id
             AND newer.occurrence > outage.occurrence)
         ORDER BY coalesce(began_at, first_seen_at), service_key LIMIT {PIECES_MAX}",
        is_announced()
    );
    let mut statement = transaction.prepare_cached(&sql)?;
    let arguments = params![message_id, channel, first.feed.to_string(), rows::text_of(began)];
    statement.query_map(arguments, outage)?.collect()
}

/// The rule that selects an earlier notice of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Earlier {
    /// The newest notice about any of the same outages.
    Any,
    /// The same, if the new notice covers all of its ongoing outages. Otherwise the others would vanish from
    /// the screen.
    Covered,
}

/// Returns the receipt of the earlier notice.
pub fn earlier(
    transaction: &Transaction,
    channel: &str,
    batching: Batching,
    notice_id: i64,
    which: Earlier,
) -> Result<Option<String>> {
    let thread = match batching {
        Batching::Incident { .. } => "feed, incident",
        Batching::PerChange | Batching::Digest { .. } => "feed, service_key, message_id",
    };
    // Changes without a message id matter only on a desktop; other channels show each notice.
    let may_be_ongoing = match batching {
        Batching::Incident { .. } => "1",
        Batching::PerChange | Batching::Digest { .. } => "message_id IS NOT NULL",
    };
    // CROSS JOIN keeps the order: from the changes of these outages to their deliveries.
    let sql = format!(
        "WITH mine AS (SELECT DISTINCT {thread} FROM delivery JOIN change ON change.id = change_id
                       WHERE notice_id = ?2 AND {may_be_ongoing})
         SELECT receipt FROM notice
         WHERE receipt IS NOT NULL
           AND id = (SELECT max(old.notice_id)
                     FROM mine JOIN change earlier USING ({thread})
                     CROSS JOIN delivery old ON old.change_id = earlier.id AND old.channel = ?1
                     WHERE old.notice_id <> ?2)
           AND (NOT ?3 OR NOT EXISTS (
             SELECT 1 FROM delivery JOIN change ON change.id = change_id
             WHERE notice_id = notice.id AND ({thread}) NOT IN (SELECT {thread} FROM mine)
               AND {may_be_ongoing}
               AND coalesce((SELECT phase FROM outage WHERE outage.feed = change.feed
                   AND outage.service_key = change.service_key AND outage.message_id = change.message_id
                   ORDER BY occurrence DESC LIMIT 1), 'ongoing') IN ('planned', 'ongoing')))"
    );
    transaction
        .prepare_cached(&sql)?
        .query_row(params![channel, notice_id, which == Earlier::Covered], |row| row.get(0))
        .optional()
}

/// Selects outages whose start is neither pending nor given up on the channel.
pub(super) fn is_announced() -> String {
    format!(
        "NOT EXISTS (SELECT 1 {ABOUT_OUTAGE} AND state <> 'sent' AND change.kind IN ('began', 'reopened'))"
    )
}
