//! Keeps the alarms on a screen true: closes what is over and shows again what was lost.
//!
//! It composes nothing and announces nothing: news goes through the outbox. Level-triggered: each
//! round compares what was shown with what goes on, so a missed round costs time only. Invariant: an
//! alarm with news that is about to be sent is left to that news.

use jiff::{SignedDuration, Timestamp};

use super::{Courier, held_until};
use crate::channel::{Fate, Notice, Wish};
use crate::store::{Frozen, READ_LATELY, ShownAlarm, Store};

/// After a screen that could not be reached.
const RETRY_S: i64 = 60;

/// Does what is to be done about alarms that `courier` has shown. Returns the time of the next round;
/// `None`: when something happens.
pub async fn keep(
    store: &Store,
    courier: &mut Courier,
    now: Timestamp,
) -> rusqlite::Result<Option<Timestamp>> {
    if !courier.channel.keeps_alarms() {
        return Ok(None);
    }
    let alarms = store.shown_alarms(&courier.feed, courier.channel.name()).await?;
    if alarms.is_empty() {
        return Ok(None);
    }
    let is_held = held_until(courier, store.snoozed().await?, now).is_some();
    let read = store.last_sighted(&courier.feed).await?;
    // What was going on when statusd was stopped may be over.
    let is_known = read.is_some_and(|read| now.duration_since(read) <= READ_LATELY);
    let mut again = None;
    for alarm in alarms {
        if alarm.is_replaced {
            store.set_receipt(alarm.notice_id, None).await?;
            continue;
        }
        if alarm.has_news && !is_held {
            continue;
        }
        let wish = wish(&alarm, is_known && !is_held);
        match courier.channel.keep_alarm(&notice(&alarm.frozen), &alarm.receipt, wish).await {
            Fate::Same => {}
            Fate::Gone => store.set_receipt(alarm.notice_id, None).await?,
            Fate::ShownAgain { receipt } => store.set_receipt(alarm.notice_id, Some(&receipt)).await?,
            Fate::Unknown => again = now.checked_add(SignedDuration::from_secs(RETRY_S)).ok(),
        }
    }
    Ok(again)
}

fn wish(alarm: &ShownAlarm, may_show: bool) -> Wish {
    match (alarm.lasts, may_show && !alarm.is_acknowledged) {
        (false, _) => Wish::Closed,
        (true, true) => Wish::OnScreen,
        (true, false) => Wish::Left,
    }
}

fn notice(frozen: &Frozen) -> Notice {
    let Frozen { key, title, body, tone, payload } = frozen.clone();
    Notice { key, title, body, tone, payload, replaces: None, follows: None }
}
