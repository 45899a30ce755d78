//! Keeps the alarms on a screen up to date: closes those that are over and restores lost ones.
//!
//! Announces nothing: changes go through the outbox, and an alarm with a pending change is left to that
//! change. Level-triggered: each round compares the shown alarms with the ongoing outages, so a missed
//! round costs only time.

use jiff::{SignedDuration, Timestamp};

use super::Receiver;
use crate::channel::{AlarmAction, AlarmResult, Notice};
use crate::store::{READ_LATELY, RenderedNotice, ShownAlarm, Span, Store};

/// The pause after a screen could not be reached.
const RETRY_S: i64 = 60;
/// The time of continuous polling after which earlier changes are confirmed (two polls, 45 s apart).
const SETTLED_AFTER: SignedDuration = SignedDuration::from_secs(120);

/// Updates the alarms that `receiver` has shown. Returns the time of the next round; `None`: after the next
/// change.
pub async fn keep(
    store: &Store,
    receiver: &mut Receiver,
    now: Timestamp,
) -> rusqlite::Result<Option<Timestamp>> {
    if !receiver.channel.syncs_alarms() {
        return Ok(None);
    }
    let since = *receiver.alarms_since.get_or_insert(now);
    let alarms = store.shown_alarms(&receiver.feed, receiver.channel.name()).await?;
    if alarms.is_empty() {
        return Ok(None);
    }
    let is_held = receiver.held_until(store.snoozed().await?, now).is_some();
    let is_settled = now.duration_since(since) >= SETTLED_AFTER && is_settled(store, receiver, now).await?;
    let retry = now.checked_add(SignedDuration::from_secs(RETRY_S)).ok();
    let mut again = None;
    for alarm in alarms {
        if alarm.is_replaced {
            store.set_receipt(alarm.notice_id, None).await?;
            continue;
        }
        if alarm.has_news && !is_held {
            continue;
        }
        let action = action(&alarm, is_settled && !is_held);
        match receiver.channel.sync_alarm(&notice(&alarm.notice), &alarm.receipt, action).await {
            AlarmResult::Unchanged if is_settled => {}
            AlarmResult::Unchanged => again = retry,
            AlarmResult::Gone => store.set_receipt(alarm.notice_id, None).await?,
            AlarmResult::Changed { receipt } => store.set_receipt(alarm.notice_id, Some(&receipt)).await?,
            // The same screen shows the other alarms, so they would fail too.
            AlarmResult::Retry => return Ok(retry),
        }
    }
    Ok(again)
}

/// Returns true once polls have confirmed or corrected the beliefs from before a gap.
async fn is_settled(store: &Store, receiver: &Receiver, now: Timestamp) -> rusqlite::Result<bool> {
    let since = now.checked_sub(READ_LATELY).unwrap_or(Timestamp::MIN);
    let spans = store.coverage(&receiver.feed, since).await?;
    let is_long = |span: &Span| span.unreadable.is_none() && now.duration_since(span.from) >= SETTLED_AFTER;
    Ok(spans.last().is_some_and(is_long))
}

fn action(alarm: &ShownAlarm, may_show: bool) -> AlarmAction {
    match (alarm.is_ongoing, may_show && !alarm.is_acknowledged) {
        (false, _) => AlarmAction::Close,
        (true, true) => AlarmAction::Show,
        (true, false) => AlarmAction::Leave,
    }
}

fn notice(rendered: &RenderedNotice) -> Notice {
    let RenderedNotice { key, title, body, severity, payload } = rendered.clone();
    Notice { key, title, body, severity, payload, replaces: None, follows: None }
}
