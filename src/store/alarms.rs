//! Alarms that a channel has shown and that may still be on a screen.
//!
//! A receipt identifies the bubble of a notice. It is cleared when the user dismisses the bubble, and
//! starts with `closed@` once statusd has closed it. Of several notices with one receipt only the newest
//! counts, because each replaced the one before.

use rusqlite::{Result, Row, params};

use super::notices::RenderedNotice;
use super::{Store, rows};
use crate::model::FeedId;

/// An alarm that was delivered and has a receipt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownAlarm {
    pub notice_id: i64,
    pub notice: RenderedNotice,
    pub receipt: String,
    /// A newer notice has replaced it.
    pub is_replaced: bool,
    /// An outage of its incident that the channel knows is ongoing, and no newer notice on this
    /// channel is about that incident.
    pub is_ongoing: bool,
    /// Its ongoing outages are acknowledged.
    pub is_acknowledged: bool,
    /// A delivery about its incident is pending on this channel.
    pub has_news: bool,
}

/// The ongoing outages of the incidents of a notice that were announced on the channel (`?1`). CROSS JOIN
/// keeps the order: the changes of the notice first.
const ONGOING: &str = "FROM delivery mine
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
    /// Returns the alarms on `channel` with a receipt, oldest first. An outage of another feed than `feed`
    /// does not count as ongoing.
    pub async fn shown_alarms(&self, feed: &FeedId, channel: &str) -> Result<Vec<ShownAlarm>> {
        let sql = format!(
            "SELECT *,
                EXISTS (SELECT 1 FROM notice newer WHERE newer.channel = notice.channel
                    AND newer.receipt = notice.receipt AND newer.id > notice.id) AS is_replaced,
                EXISTS (SELECT 1 {ONGOING}) AS is_ongoing,
                NOT EXISTS (SELECT 1 {ONGOING} AND NOT EXISTS (SELECT 1 FROM ack
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
        let (channel, feed) = (channel.to_owned(), feed.to_string());
        self.run(move |database| database.list(&sql, params![channel, feed], shown)).await
    }

    /// Replaces or clears the receipt of a notice.
    pub async fn set_receipt(&self, notice_id: i64, receipt: Option<&str>) -> Result<()> {
        let receipt = receipt.map(str::to_owned);
        let sql = "UPDATE notice SET receipt = ?1 WHERE id = ?2";
        self.run(move |database| database.execute(sql, params![receipt, notice_id]).map(drop)).await
    }
}

fn shown(row: &Row) -> Result<ShownAlarm> {
    Ok(ShownAlarm {
        notice_id: row.get("id")?,
        notice: RenderedNotice {
            key: row.get("key")?,
            title: row.get("title")?,
            body: row.get("body")?,
            severity: rows::severity(row)?,
            payload: row.get("payload")?,
        },
        receipt: row.get("receipt")?,
        is_replaced: row.get("is_replaced")?,
        is_ongoing: row.get("is_ongoing")?,
        is_acknowledged: row.get("is_acknowledged")?,
        has_news: row.get("has_news")?,
    })
}
