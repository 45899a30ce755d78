//! `/outages/KEY`: the timeline of one outage, with the lateness of each step.

use askama::Template;
use axum::extract::State as Shared;
use axum::http::Uri;
use axum::response::Response;
use jiff::Timestamp;

use super::shown::{ShownEvent, ShownTime, apple_text, is_same_day, name_line, seconds_text};
use super::{Frame, html};
use crate::delivery::message::phrases::kind_word;
use crate::delivery::message::time_format::{bounds, when};
use crate::model::{Change, ChangeKind, EventKind, OutageKey, Phase};
use crate::report::outage::end;
use crate::store::{KindDelivery, PostedOutage, StoredChange, StoredOutage};
use crate::web::current::Current;
use crate::web::problem::Problem;
use crate::web::site::SharedSite;

const ADDRESS: &str = "/outages/";
/// The maximum number of changes on the page. Real outages have up to about twenty.
const CHANGES_MAX: usize = 200;

/// An outage with everything that is known of it.
pub struct OutageRecord {
    pub stored: StoredOutage,
    pub changes: Vec<StoredChange>,
    pub deliveries: Vec<KindDelivery>,
    /// The other services of the incident, with the keys of their outages.
    pub siblings: Vec<(String, String)>,
}

#[derive(Template)]
#[template(path = "outage.html")]
pub struct OutageView {
    frame: Frame,
    event: ShownEvent,
    is_ongoing: bool,
    steps: Vec<Step>,
    /// Name and address.
    siblings: Vec<(String, String)>,
}

/// A step of the timeline.
pub struct Step {
    at: Timestamp,
    time: ShownTime,
    /// The style of its mark: `apple`, `seen` or `told`.
    class: &'static str,
    title: String,
    /// For example `1 h 31 min after the start`.
    late: String,
    note: String,
    /// Apple's words at this step.
    text: String,
}

pub async fn show(Shared(site): Shared<SharedSite>, uri: Uri) -> Result<Response, Problem> {
    let missing = || Problem::not_found("there is no outage with this key; /history has all of them");
    // Not decoded, because the parts of a key may contain encoded slashes.
    let key = uri.path().strip_prefix(ADDRESS).and_then(OutageKey::parse).ok_or_else(missing)?;
    let current = site.current().await?;
    let record = site
        .read(async |store| {
            let Some((stored, changes)) = store.outage_with_changes(&key).await? else { return Ok(None) };
            let deliveries = store.deliveries_of(&key).await?;
            let siblings = store.siblings(&key).await?;
            Ok(Some(OutageRecord { stored, changes, deliveries, siblings }))
        })
        .await?;
    Ok(html(&page(&record.ok_or_else(missing)?, &current)))
}

pub fn page(record: &OutageRecord, current: &Current) -> OutageView {
    let posted = PostedOutage { stored: record.stored.clone(), over_seen_at: None };
    let event = ShownEvent::new(&posted, current);
    let siblings = record.siblings.iter();
    OutageView {
        frame: Frame::new(format!("{}, {}", event.service, event.kind), "/history", current),
        is_ongoing: matches!(record.stored.outage.phase, Phase::Ongoing(_)),
        steps: steps(record, current),
        siblings: siblings.map(|(name, key)| (name_line(name), format!("{ADDRESS}{key}"))).collect(),
        event,
    }
}

/// Returns all steps in order of time. The first one of a day has the date.
fn steps(record: &OutageRecord, current: &Current) -> Vec<Step> {
    let outage = &record.stored.outage;
    let step = |at: Timestamp, class, title: String| Step {
        at,
        time: ShownTime::new(at, current),
        class,
        title,
        late: String::new(),
        note: String::new(),
        text: String::new(),
    };
    let mut steps = Vec::new();
    if let Some(start) = outage.start {
        let title = if start > current.now { "Begins, by Apple's clock" } else { "Began, by Apple's clock" };
        steps.push(step(start, "apple", title.to_owned()));
    }
    let shown = record.changes.iter().filter(|stored| title(&stored.change).is_some()).take(CHANGES_MAX);
    // The page shows the newest text above the timeline; a step shows an older one that differs.
    let newest = apple_text(&outage.message);
    let mut last_text = String::new();
    for (number, StoredChange { id, change }) in shown.enumerate() {
        let text = apple_text(&change.message);
        let is_new_text = !std::mem::replace(&mut last_text, text.clone()).eq(&text);
        steps.push(Step {
            late: lateness(change),
            note: note(change, &record.stored, number == 0, current),
            text: if is_new_text && text != newest { text } else { String::new() },
            ..step(change.seen_at, "seen", title(change).unwrap_or_default())
        });
        if change.at > change.seen_at {
            let late = format!("{} after it was seen", between(change.seen_at, change.at));
            let title = "Confirmed by a second poll".to_owned();
            steps.push(Step { late, ..step(change.at, "seen", title) });
        }
        for delivery in record.deliveries.iter().filter(|delivery| delivery.change_id == *id) {
            steps.push(told(delivery, change, &step));
        }
    }
    if let Some(end) = end(outage).filter(|_| !outage.was_cancelled()) {
        let title = match (outage.is_over(), end > current.now) {
            (true, _) => Some("Ended, by Apple's clock"),
            (false, true) => Some("Planned end, by Apple's clock"),
            (false, false) => None,
        };
        let after = outage.start.filter(|start| *start <= end);
        let late = after.map_or(String::new(), |start| format!("{} after the start", between(start, end)));
        steps.extend(title.map(|title| Step { late, ..step(end, "apple", title.to_owned()) }));
    }
    steps.sort_by_key(|step| step.at);
    for number in (1..steps.len()).rev() {
        if is_same_day(steps[number - 1].at, steps[number].at, current) {
            steps[number].time.text = when(steps[number].at, steps[number].at, &current.zone);
        }
    }
    steps
}

/// Returns the step of an announcement on the channels of one kind.
fn told(
    delivery: &KindDelivery,
    change: &Change,
    step: &dyn Fn(Timestamp, &'static str, String) -> Step,
) -> Step {
    let kind = channel_word(&delivery.kind);
    let mut open = Vec::new();
    if delivery.pending > 0 {
        open.push(format!("{} pending", delivery.pending));
    }
    if delivery.given_up > 0 {
        open.push(format!("{} given up", delivery.given_up));
    }
    match delivery.sent_at {
        Some(sent) => Step {
            late: announced_late(change, sent),
            note: open.join(", "),
            ..step(sent, "told", format!("Announced by {kind}"))
        },
        None => {
            let title = match delivery.pending {
                0 => format!("Not announced by {kind}: given up"),
                _ => format!("Not yet announced by {kind}"),
            };
            step(change.at, "told", title)
        }
    }
}

fn announced_late(change: &Change, sent: Timestamp) -> String {
    let seen = format!("{} after it was seen", between(change.seen_at, sent));
    match change.began_at.filter(|began| begins(change.kind) && *began <= sent) {
        Some(began) => format!("{} after the start, {seen}", between(began, sent)),
        None => seen,
    }
}

/// Returns the name of a kind of channel.
fn channel_word(kind: &str) -> String {
    match kind {
        "email" => "e-mail".to_owned(),
        "desktop" => "desktop notification".to_owned(),
        kind => name_line(kind),
    }
}

fn between(from: Timestamp, to: Timestamp) -> String {
    seconds_text(to.duration_since(from).as_secs())
}

/// Returns true for the first change of an outage that was not announced in advance.
fn begins(kind: ChangeKind) -> bool {
    matches!(kind, ChangeKind::Began | ChangeKind::Missed | ChangeKind::Noted)
}

/// Returns the title of a change; `None` for one that is not about Apple.
fn title(change: &Change) -> Option<String> {
    let word = |kind: Option<&EventKind>| name_line(&kind.map_or("problem".to_owned(), kind_word));
    let text = match change.kind {
        ChangeKind::Began => "Posted by Apple, and seen",
        ChangeKind::Missed | ChangeKind::Noted => "Posted by Apple, and seen; already over",
        ChangeKind::Reopened => "Posted as ongoing again, and seen",
        ChangeKind::Ended | ChangeKind::Over => "End posted by Apple, and seen",
        ChangeKind::Withdrawn => "Withdrawn: Apple no longer lists it",
        ChangeKind::Corrected => "Posted as over after all, and seen",
        ChangeKind::Planned => "Planned by Apple, and seen",
        ChangeKind::Moved => "Moved by Apple to other times",
        ChangeKind::Cancelled => "Cancelled by Apple",
        ChangeKind::Started => "Posted as started, and seen",
        ChangeKind::Revised => "Revised by Apple: text, times or affected users",
        ChangeKind::Worsened | ChangeKind::Eased => {
            let how = if change.kind == ChangeKind::Worsened { "Worse" } else { "Better" };
            let (was, is) = (word(change.was_kind.as_ref()), word(change.outage_kind.as_ref()));
            return Some(format!("{how}: from {was} to {is}"));
        }
        ChangeKind::Unlisted
        | ChangeKind::ListedAgain
        | ChangeKind::Unreadable
        | ChangeKind::Readable
        | ChangeKind::HistoryLost
        | ChangeKind::Reminder
        | ChangeKind::Liveness
        | ChangeKind::BackupLate
        | ChangeKind::BackupOff
        | ChangeKind::Test => return None,
    };
    Some(text.to_owned())
}

/// Returns the time from Apple's start or end to the post.
fn lateness(change: &Change) -> String {
    let since = |time: Option<Timestamp>, of: &str| {
        let time = time.filter(|time| *time <= change.seen_at);
        time.map_or(String::new(), |time| format!("{} after the {of}", between(time, change.seen_at)))
    };
    match change.kind {
        ChangeKind::Began | ChangeKind::Missed | ChangeKind::Noted | ChangeKind::Started => {
            since(change.began_at, "start")
        }
        ChangeKind::Ended | ChangeKind::Over | ChangeKind::Corrected => since(change.ended_at, "end"),
        _ => String::new(),
    }
}

fn note(change: &Change, stored: &StoredOutage, is_first: bool, current: &Current) -> String {
    if is_first && !stored.was_polling {
        return "statusd was not polling before, so Apple may have posted it earlier.".to_owned();
    }
    match (change.kind, change.began_at, change.ended_at) {
        (ChangeKind::Moved | ChangeKind::Revised, began, ended) if began.or(ended).is_some() => {
            let span = bounds(began, ended, stored.outage.is_over(), current.now, &current.zone);
            format!("Apple's times since then: {span}.")
        }
        _ => String::new(),
    }
}
