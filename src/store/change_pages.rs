//! Changes as programs read them over HTTP: in pages by their id, and those of some outages.
//!
//! A page is one query with a limit, so that a long history costs no more than a short one.

use rusqlite::{Result, Row, params};

use super::open_database::OpenDatabase;
use super::outages::{WAS_POLLING, announced, stored};
use super::rows::{self, CHANGE_COLUMNS};
use super::{Store, StoredChange, StoredOutage};
use crate::model::{Change, ChangeKind, OutageKey};

/// The place of a page of changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChangePage {
    /// Only changes with a smaller id.
    pub before: Option<i64>,
    /// Only changes with a greater id. The page then begins with the oldest one, otherwise with the newest.
    pub after: Option<i64>,
}

impl Store {
    /// Returns at most `limit` changes of these kinds, and the id at which the next page continues if there is
    /// one. Logs and skips unreadable ones.
    pub async fn change_page(
        &self,
        page: ChangePage,
        kinds: &[ChangeKind],
        limit: usize,
    ) -> Result<(Vec<StoredChange>, Option<i64>)> {
        let order = if page.after.is_some() { "ASC" } else { "DESC" };
        let (before, after) = (page.before.unwrap_or(i64::MAX), page.after.unwrap_or(0));
        let rows = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
        let words: Vec<String> = kinds.iter().map(|kind| format!("'{}'", kind.as_str())).collect();
        let sql = format!(
            "SELECT {CHANGE_COLUMNS} FROM change
             WHERE id < ?1 AND id > ?2 AND kind IN ({}) ORDER BY id {order} LIMIT ?3",
            words.join(", ")
        );
        self.run(move |database| {
            let mut rows = database.list(&sql, params![before, after, rows], identified)?;
            let has_more = rows.len() > limit;
            rows.truncate(limit);
            let next = rows.last().filter(|_| has_more).map(|(id, _)| *id);
            Ok((readable(rows), next))
        })
        .await
    }

    /// Returns the id of the newest change; 0 if there is none.
    pub async fn last_change_id(&self) -> Result<i64> {
        let sql = "SELECT coalesce(max(id), 0) FROM change";
        self.run(move |database| database.query_row(sql, params![], |row| row.get(0))).await
    }

    /// Returns one outage with its changes, oldest first.
    pub async fn outage_with_changes(
        &self,
        key: &OutageKey,
    ) -> Result<Option<(StoredOutage, Vec<StoredChange>)>> {
        let sql = format!(
            "SELECT *, {WAS_POLLING}, {} FROM outage
             WHERE feed = ?1 AND service_key = ?2 AND message_id = ?3 AND occurrence = ?4",
            announced()
        );
        let key = key.clone();
        let read = move |database: &OpenDatabase| {
            let identity =
                params![key.feed.to_string(), key.service.as_str(), key.message_id, key.occurrence];
            let found = database.list(&sql, identity, stored)?.pop();
            found.map(|outage| Ok((outage, changes_of(database, &key)?))).transpose()
        };
        self.run(read).await
    }

    /// Returns the changes of these outages, oldest first.
    pub async fn changes_of(&self, outages: Vec<OutageKey>) -> Result<Vec<StoredChange>> {
        let read = move |database: &OpenDatabase| {
            let mut changes = Vec::new();
            for key in &outages {
                changes.extend(changes_of(database, key)?);
            }
            changes.sort_by_key(|stored: &StoredChange| stored.id);
            Ok(changes)
        };
        self.run(read).await
    }
}

fn changes_of(database: &OpenDatabase, key: &OutageKey) -> Result<Vec<StoredChange>> {
    let sql = format!(
        "SELECT {CHANGE_COLUMNS} FROM change INDEXED BY change_by_outage
         WHERE service_key = ?1 AND message_id = ?2 AND feed = ?3 AND occurrence = ?4 ORDER BY id"
    );
    let identity = params![key.service.as_str(), key.message_id, key.feed.to_string(), key.occurrence];
    Ok(readable(database.list(&sql, identity, identified)?))
}

fn identified(row: &Row) -> Result<(i64, Result<Change>)> {
    Ok((row.get("id")?, rows::change(row)))
}

fn readable(rows: Vec<(i64, Result<Change>)>) -> Vec<StoredChange> {
    let change = |(id, change): (i64, Result<_>)| match change {
        Ok(change) => Some(StoredChange { id, change }),
        Err(error) => {
            tracing::warn!("cannot read change {id}: {error}");
            None
        }
    };
    rows.into_iter().filter_map(change).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Edition, FeedId};
    use jiff::Timestamp;

    #[tokio::test]
    async fn pages_cover_every_change_once_in_both_directions() {
        let store = Store::open_in_memory().expect("a database");
        let feed = FeedId { edition: Edition::Consumer, locale: "en_US".to_owned() };
        for second in 0..7 {
            let at = Timestamp::from_second(second).expect("a time");
            let kind = if second == 3 { ChangeKind::BackupLate } else { ChangeKind::Unlisted };
            let change = Change { service: format!("A{second}"), ..Change::bare(kind, feed.clone(), at, at) };
            store.record_change(&change, &|_| Vec::new(), at).await.expect("written");
        }
        let kinds = [ChangeKind::Unlisted];
        let ids = |page: &[StoredChange]| page.iter().map(|stored| stored.id).collect::<Vec<_>>();
        for (first, expected) in [
            (ChangePage::default(), vec![7, 6, 5, 3, 2, 1]),
            (ChangePage { after: Some(0), before: None }, vec![1, 2, 3, 5, 6, 7]),
            (ChangePage { after: Some(1), before: Some(7) }, vec![2, 3, 5, 6]),
        ] {
            let (mut page, mut found) = (first, Vec::new());
            loop {
                let (changes, next) = store.change_page(page, &kinds, 2).await.expect("a page");
                assert!(changes.len() == 2 || next.is_none());
                found.extend(ids(&changes));
                page = match next {
                    None => break,
                    Some(_) if page.after.is_some() => ChangePage { after: next, ..page },
                    Some(_) => ChangePage { before: next, ..page },
                };
            }
            assert_eq!(found, expected);
        }
        assert_eq!(store.last_change_id().await.expect("an id"), 7);
    }
}
