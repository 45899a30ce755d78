//! Alarms that a channel has shown and that may be on a screen still.
//!
//! A receipt says which bubble shows a message. It is cleared when somebody dismissed that bubble, and
//! begins with `closed@` once statusd closed it.
//! Invariant: of the messages with one receipt only the newest counts, because each took the place
//! of the one before.

use rusqlite::{Result, params};

use super::outbox::RenderedNotice;
use super::{Store, rows};
use crate::model::FeedId;

/// An alarm that was delivered and has a receipt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownAlarm {
    pub notice_id: i64,
    pub frozen: RenderedNotice,
    pub receipt: String,
    /// A newer message has taken its place.
    pub is_replaced: bool,
    /// Something that the channel was told of goes on in its incident, and no newer message on this
    /// channel is about that incident.
    pub lasts: bool,
    /// What goes on in it somebody acknowledged.
    pub is_acknowledged: bool,
    /// News about its incident waits on this channel.
    pub has_news: bool,
}

/// The outages of the incidents that the message is about and that were told on the channel (`?1`).
/// CROSS JOIN keeps the order: from the few changes of a message.
const GOING_ON: &str = "FROM delivery mine
    CROSS JOIN change about ON about.id = mine.change_id
    CROSS JOIN outage ON outage.feed = about.feed AND outage.phase = 'ongoing'
      AND outage.message_id = about.message_id
    WHERE mine.notice_id = notice.id AND outage.feed = ?2
      AND EXISTS (SELECT 1 FROM change JOIN delivery ON change_id = change.id
        WHERE channel = ?1 AND state = 'sent' AND change.feed = outage.feed
          AND change.service_key = outage.service_key AND change.message_id = outage.message_id
          AND change.occurrence = outage.occurrence)
      AND NOT EXISTS (SELECT 1 FROM change JOIN delivery ON change_id = change.id
        WHERE channel = ?1 AND state = 'sent' AND notice_id > notice.id
          AND change.incident = about.incident AND change.feed = about.feed)";

impl Store {
    /// The alarms on `channel` that have a receipt, the oldest first. What `feed` says nothing of
    /// does not last.
    pub async fn shown_alarms(&self, feed: &FeedId, channel: &str) -> Result<Vec<ShownAlarm>> {
        let sql = format!(
            "SELECT *,
                EXISTS (SELECT 1 FROM notice newer WHERE newer.channel = notice.channel
                    AND newer.receipt = notice.receipt AND newer.id > notice.id) AS is_replaced,
                EXISTS (SELECT 1 {GOING_ON}) AS lasts,
                NOT EXISTS (SELECT 1 {GOING_ON} AND NOT EXISTS (SELECT 1 FROM ack
                    WHERE ack.feed = outage.feed AND ack.service_key = outage.service_key
                      AND ack.message_id = outage.message_id AND ack.occurrence = outage.occurrence)
                ) AS is_acknowledged,
                EXISTS (SELECT 1 FROM delivery mine
                    CROSS JOIN change about ON about.id = mine.change_id
                    CROSS JOIN change ON change.incident = about.incident AND change.feed = about.feed
                    CROSS JOIN delivery news ON news.change_id = change.id
                    WHERE mine.notice_id = notice.id AND news.channel = ?1 AND news.state = 'pending'
                ) AS has_news
             FROM notice WHERE channel = ?1 AND severity = 'alert' AND receipt IS NOT NULL
                AND receipt NOT GLOB 'closed@*' ORDER BY id"
        );
        self.list(&sql, params![channel, feed.to_string()], |row| {
            Ok(ShownAlarm {
                notice_id: row.get("id")?,
                frozen: RenderedNotice {
                    key: row.get("key")?,
                    title: row.get("title")?,
                    body: row.get("body")?,
                    severity: rows::severity(row)?,
                    payload: row.get("payload")?,
                },
                receipt: row.get("receipt")?,
                is_replaced: row.get("is_replaced")?,
                lasts: row.get("lasts")?,
                is_acknowledged: row.get("is_acknowledged")?,
                has_news: row.get("has_news")?,
            })
        })
    }

    /// Writes down that a message has another receipt now, or none.
    pub async fn set_receipt(&self, notice_id: i64, receipt: Option<&str>) -> Result<()> {
        self.connection
            .execute("UPDATE notice SET receipt = ?1 WHERE id = ?2", params![receipt, notice_id])
            .map(drop)
    }
}
