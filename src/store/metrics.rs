//! The sums and counts of `/metrics`, and the version of the data, by which a reader notices commits.
//!
//! Counts come from changes, which are never edited or deleted, so that they never decrease
//! (`counts_never_decrease`). A row of `outage` would not do: Apple corrects its times.

use jiff::Timestamp;
use rusqlite::{Result, Row, params};

use super::open_database::OpenDatabase;
use super::rows::{optional_time, text, time};
use super::{Store, rows};
use crate::model::{FeedId, ServiceKey};

/// The changes that one job looks at, so that other queries run in between.
const CHANGES_AT_ONCE: i64 = 2_000;

/// The contribution of one change to the counts of its service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutageTally {
    pub service: ServiceKey,
    /// It is the first change of its outage.
    pub is_new: bool,
    /// Seconds of an outage that is over, by Apple's times, which no earlier change has contributed.
    pub lasted_s: u64,
    /// The time from Apple's start to Apple's post, if statusd was polling when Apple posted it.
    pub posted_late_s: Option<u64>,
}

/// The next changes, and the place to continue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tallied {
    pub tallies: Vec<OutageTally>,
    pub last: i64,
    pub is_complete: bool,
}

/// The deliveries of a channel that are not sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelBacklog {
    pub channel: String,
    pub pending: u64,
    pub given_up: u64,
    pub oldest_pending: Option<Timestamp>,
}

/// The seconds of an outage that a change reports as over.
const LASTED: &str = "CASE WHEN kind IN ('ended', 'withdrawn', 'missed', 'corrected', 'noted')
    THEN max(0, unixepoch(ended_at) - unixepoch(began_at)) END";

/// Earlier changes of the same outage.
const EARLIER: &str = "FROM change AS earlier INDEXED BY change_by_outage
    WHERE earlier.service_key = change.service_key AND earlier.message_id = change.message_id
      AND earlier.feed = change.feed AND earlier.occurrence = change.occurrence AND earlier.id < change.id
      AND earlier.outage_kind <> 'Maintenance'";

impl Store {
    /// Returns the contributions of the next changes after `last` to the counts of outages. Maintenance does
    /// not count.
    pub async fn tally_outages(&self, feed: &FeedId, last: i64) -> Result<Tallied> {
        let feed = feed.to_string();
        self.run(move |database| tally(database, &feed, last)).await
    }

    /// Returns the deliveries that are not sent, by channel.
    pub async fn backlogs(&self) -> Result<Vec<ChannelBacklog>> {
        let sql = "SELECT channel, sum(state = 'pending') AS pending, sum(state = 'given_up') AS given_up,
                min(CASE state WHEN 'pending' THEN created_at END) AS oldest_pending
            FROM delivery WHERE state <> 'sent' GROUP BY channel";
        let backlog = |row: &Row| {
            Ok(ChannelBacklog {
                channel: text(row, "channel")?,
                pending: rows::number(row, "pending")?.into(),
                given_up: rows::number(row, "given_up")?.into(),
                oldest_pending: optional_time(row, "oldest_pending")?,
            })
        };
        self.run(move |database| database.list(sql, params![], backlog)).await
    }

    /// Returns a number that differs from that of an earlier call on this connection if another connection
    /// has committed in between.
    pub async fn data_version(&self) -> Result<i64> {
        self.run(|database| database.pragma_query_value(None, "data_version", |row| row.get(0))).await
    }
}

fn tally(database: &OpenDatabase, feed: &str, last: i64) -> Result<Tallied> {
    let newest: i64 = database
        .prepare_cached("SELECT coalesce(max(id), 0) FROM change")?
        .query_row([], |row| row.get(0))?;
    let until = newest.min(last.saturating_add(CHANGES_AT_ONCE));
    let sql = format!(
        "SELECT service_key, began_at, seen_at, {LASTED} AS lasted_s,
             NOT EXISTS (SELECT 1 {EARLIER}) AS is_new,
             (SELECT max({LASTED}) {EARLIER}) AS counted_s,
             (SELECT health = 'readable' AND from_at < seen_at FROM coverage
              WHERE coverage.feed = change.feed AND to_at >= seen_at ORDER BY to_at LIMIT 1) AS was_polling
         FROM change WHERE id > ?2 AND id <= ?3 AND feed = ?1
           AND occurrence IS NOT NULL AND outage_kind <> 'Maintenance' ORDER BY id"
    );
    let tallies = database.list(&sql, params![feed, last, until], |row: &Row| {
        let is_new: bool = row.get("is_new")?;
        let seconds =
            |name: &str| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(name)?.unwrap_or_default());
        let late = optional_time(row, "began_at")?
            .map(|began| Ok::<_, rusqlite::Error>(time(row, "seen_at")?.duration_since(began).as_secs()))
            .transpose()?;
        let was_polling = row.get::<_, Option<bool>>("was_polling")?.unwrap_or(false);
        Ok(OutageTally {
            service: ServiceKey::new(&text(row, "service_key")?),
            is_new,
            lasted_s: u64::try_from(seconds("lasted_s")? - seconds("counted_s")?).unwrap_or_default(),
            posted_late_s: late
                .filter(|_| is_new && was_polling)
                .and_then(|late_s| u64::try_from(late_s).ok()),
        })
    })?;
    Ok(Tallied { tallies, last: until.max(last), is_complete: until >= newest })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Change, ChangeKind, Edition, EventKind};

    fn at(text: &str) -> Timestamp {
        format!("2026-05-05T{text}:00Z").parse().expect("a time")
    }

    fn feed() -> FeedId {
        FeedId { edition: Edition::Consumer, locale: "en_US".to_owned() }
    }

    fn change(kind: ChangeKind, seen: &str, began: &str, ended: Option<&str>) -> Change {
        Change {
            service: "Photos".to_owned(),
            message_id: Some("1001".to_owned()),
            occurrence: Some(1),
            outage_kind: Some(EventKind::Outage),
            began_at: Some(at(began)),
            ended_at: ended.map(at),
            ..Change::bare(kind, feed(), at(seen), at(seen))
        }
    }

    async fn record(store: &Store, change: &Change) {
        store.record_change(change, &|_| vec!["log".to_owned()], change.at).await.expect("written");
    }

    /// Returns the number of outages, their seconds and delays after each of `changes`.
    async fn counts(changes: &[Change]) -> Vec<(usize, u64, Vec<u64>)> {
        let store = Store::open_in_memory().expect("a database");
        let polled = "INSERT INTO coverage (feed, from_at, to_at, health)
            VALUES ('consumer/en_US', '2026-05-05T00:00:00Z', '2026-05-05T09:00:00Z', 'readable')";
        store.run(|database| database.execute(polled, [])).await.expect("written");
        let (mut last, mut sum, mut found) = (0, (0, 0, Vec::new()), Vec::new());
        for change in changes {
            record(&store, change).await;
            let tallied = store.tally_outages(&feed(), last).await.expect("read");
            assert!(tallied.is_complete);
            last = tallied.last;
            for tally in tallied.tallies {
                assert_eq!(tally.service, ServiceKey::new("photos"));
                sum.0 += usize::from(tally.is_new);
                sum.1 += tally.lasted_s;
                sum.2.extend(tally.posted_late_s);
            }
            found.push(sum.clone());
        }
        found
    }

    #[tokio::test]
    async fn counts_never_decrease() {
        use ChangeKind::{Began, Corrected, Ended, Withdrawn, Worsened};
        let told = [
            change(Began, "08:30", "08:00", None),
            change(Worsened, "08:40", "08:00", None),
            change(Withdrawn, "08:50", "08:00", Some("08:50")),
            // Apple says later that it was over earlier.
            change(Corrected, "09:30", "08:00", Some("08:10")),
            // Another outage, first seen after a gap.
            Change { occurrence: Some(2), ..change(Began, "11:00", "10:00", None) },
            Change { occurrence: Some(2), ..change(Ended, "12:00", "10:00", Some("11:30")) },
        ];
        let late = vec![1_800];
        let expected = [(1, 0), (1, 0), (1, 3_000), (1, 3_000), (2, 3_000), (2, 8_400)];
        let expected = expected.map(|(number, seconds)| (number, seconds, late.clone()));
        assert_eq!(counts(&told).await, expected);
    }

    #[tokio::test]
    async fn maintenance_and_other_feeds_do_not_count() {
        let maintenance = Change {
            outage_kind: Some(EventKind::Maintenance),
            ..change(ChangeKind::Over, "09:00", "08:00", Some("08:30"))
        };
        let other = FeedId { edition: Edition::Developer, locale: "en_US".to_owned() };
        let elsewhere = Change { feed: other, ..change(ChangeKind::Missed, "09:00", "08:00", Some("08:30")) };
        assert_eq!(counts(&[maintenance, elsewhere]).await, vec![(0, 0, Vec::new()); 2]);
    }

    #[tokio::test]
    async fn a_long_history_is_counted_in_parts() {
        let store = Store::open_in_memory().expect("a database");
        let rows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4500)
            INSERT INTO change (key, at, seen_at, kind, feed, service, service_key, message_id, occurrence, serial,
                outage_kind, began_at, ended_at, message, near)
            SELECT 'k' || i, '2026-05-05T09:00:00Z', '2026-05-05T09:00:00Z', 'missed', 'consumer/en_US', 'Photos',
                'photos', 'm' || i, 1, 1, 'Issue', '2026-05-05T08:00:00Z', '2026-05-05T08:00:10Z', '', '[]' FROM n";
        store.run(|database| database.execute(rows, [])).await.expect("written");
        let (mut last, mut outages, mut seconds, mut parts) = (0, 0, 0, 0);
        loop {
            let tallied = store.tally_outages(&feed(), last).await.expect("read");
            parts += 1;
            last = tallied.last;
            outages += tallied.tallies.iter().filter(|tally| tally.is_new).count();
            seconds += tallied.tallies.iter().map(|tally| tally.lasted_s).sum::<u64>();
            if tallied.is_complete {
                break;
            }
        }
        assert_eq!((parts, outages, seconds), (3, 4_500, 45_000));
    }

    #[tokio::test]
    async fn backlogs_contain_what_is_not_sent() {
        let store = Store::open_in_memory().expect("a database");
        record(&store, &change(ChangeKind::Began, "08:30", "08:00", None)).await;
        record(&store, &change(ChangeKind::Worsened, "08:40", "08:00", None)).await;
        let oldest = Some(at("08:30"));
        let expected =
            ChannelBacklog { channel: "log".to_owned(), pending: 2, given_up: 0, oldest_pending: oldest };
        assert_eq!(store.backlogs().await.expect("read"), [expected]);
        store.give_up(1, None, at("09:00")).await.expect("dropped");
        let oldest = Some(at("08:40"));
        let expected =
            ChannelBacklog { channel: "log".to_owned(), pending: 1, given_up: 1, oldest_pending: oldest };
        assert_eq!(store.backlogs().await.expect("read"), [expected]);
    }
}
