//! `statusd outbox`: lists deliveries that are pending or given up, retries them or drops them.
//!
//! Sends nothing itself. `retry` and `drop` update the rows and wake the daemon.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::channel::Table;
use crate::config::Config;
use crate::delivery::message::time_format::when;
use crate::delivery::message::{RenderContext, line};
use crate::delivery::payload::{self, VERSION};
use crate::status_socket;
use crate::store::{DROPPED, Snooze, StoredDelivery};
use crate::text::counted;

use crate::cli::args::{Outbox, OutboxCommand};
use crate::cli::phrases::{age, deed, shown};
use crate::cli::state::located;
use crate::cli::terminal::{Cell, Ink, Page};
use crate::cli::{Failure, Invocation, Output, WRONG_USAGE, store, wait};

const INDENT: usize = 2;

pub fn run(outbox: &Outbox, invocation: &Invocation) -> Result<Output, Failure> {
    let config = located(invocation)?;
    match &outbox.command {
        None | Some(OutboxCommand::List) => list(outbox, &config, invocation),
        Some(OutboxCommand::Show { id }) => show(*id, outbox.json, &config, invocation),
        Some(OutboxCommand::Retry { id, channel }) => {
            settle(*id, channel.as_deref(), Wish::Retry, &config, invocation)
        }
        Some(OutboxCommand::Drop { id, channel }) => {
            settle(*id, channel.as_deref(), Wish::Drop, &config, invocation)
        }
    }
}

fn list(outbox: &Outbox, config: &Config, invocation: &Invocation) -> Result<Output, Failure> {
    let page = invocation.page(&config.time_zone);
    let store = store(config, false)?;
    let deliveries = wait(store.deliveries(outbox.all))??;
    Ok(Output::done(match (outbox.json, deliveries.as_slice()) {
        (true, deliveries) => format!("{:#}\n", document(deliveries, &page)),
        (false, []) => "Nothing waits, nothing was given up.\n".to_owned(),
        (false, deliveries) => {
            let holds = Holds::of(config, wait(store.snoozed())??, &page);
            format!("{}{}", holds.text(&page), draw(deliveries, None, &holds, &page))
        }
    }))
}

/// A row a delivery, with what it says and the last answer below it; of `all` those with `id`.
fn draw(all: &[StoredDelivery], id: Option<i64>, holds: &Holds, page: &Page) -> String {
    let rows: Vec<(&StoredDelivery, Vec<Cell>)> = all
        .iter()
        .enumerate()
        .map(|(index, delivery)| {
            (delivery, row(delivery, next_try(delivery, &all[..index], holds, page), page))
        })
        .filter(|(delivery, _)| id.is_none_or(|id| delivery.id == id))
        .collect();
    let cells: Vec<Vec<Cell>> = rows.iter().map(|(_, cells)| cells.clone()).collect();
    let mut drawn = page.rows(&["ID", "CHANNEL", "STATE", "AGE", "TRIES", "NEXT TRY"], &cells, 1).into_iter();
    let mut text = drawn.next().unwrap_or_default();
    for ((delivery, _), row) in rows.iter().zip(drawn) {
        text.push_str(&row);
        text.push_str(&page.paragraph(INDENT, &subject(delivery)));
        if let Some(answer) = &delivery.answer {
            text.push_str(&page.paragraph(INDENT, &format!("Last answer: {}", shown(answer))));
        }
    }
    text
}

fn subject(delivery: &StoredDelivery) -> String {
    match shown(&delivery.change.service).as_str() {
        "" => deed(&delivery.change),
        service => format!("{service}: {}", deed(&delivery.change)),
    }
}

/// A channel keeps the order: its oldest message decides when the others go.
fn waits_for(delivery: &StoredDelivery, earlier: &[StoredDelivery]) -> Option<i64> {
    let is_ahead = |other: &&StoredDelivery| other.channel == delivery.channel && other.state == "pending";
    earlier.iter().find(is_ahead).map(|other| other.id)
}

/// When a delivery that waits goes out, as far as that is known.
fn next_try(delivery: &StoredDelivery, earlier: &[StoredDelivery], holds: &Holds, page: &Page) -> String {
    if delivery.state != "pending" {
        return String::new();
    }
    match holds.of.get(&delivery.channel) {
        None => "no such channel".to_owned(),
        Some(hold) if hold.is_people && delivery.is_acknowledged => "with its end".to_owned(),
        Some(Hold { until: Some(until), .. }) => format!("in {}", age(page.now, *until)),
        Some(Hold { until: None, .. }) => match waits_for(delivery, earlier) {
            Some(id) => format!("with or after {id}"),
            None if delivery.due_at <= page.now => "now".to_owned(),
            None => format!("in {}", age(page.now, delivery.due_at)),
        },
    }
}

/// The enabled channels, with the holds that delay their pending deliveries.
struct Holds {
    of: BTreeMap<String, Hold>,
    snoozed_until: Option<Timestamp>,
}

struct Hold {
    is_people: bool,
    /// The end of quiet hours or of a snooze.
    until: Option<Timestamp>,
}

impl Holds {
    fn of(config: &Config, snooze: Option<Snooze>, page: &Page) -> Holds {
        let snoozed_until = snooze.map(|snooze| snooze.until).filter(|until| *until > page.now);
        let enabled = config.channel.all().into_iter().filter(|(_, table)| table.is_enabled());
        let hold = |(name, table): (String, &dyn Table)| {
            let is_people = table.audience().is_people();
            let quiet = config.policy(&name).quiet_until(page.now);
            (name, Hold { is_people, until: quiet.max(snoozed_until.filter(|_| is_people)) })
        };
        Holds { of: enabled.map(hold).collect(), snoozed_until }
    }

    fn text(&self, page: &Page) -> String {
        let until = |time| when(time, page.now, page.zone);
        let mut text = match self.snoozed_until {
            Some(end) => format!("Snoozed: no messages to people until {}.\n", until(end)),
            None => String::new(),
        };
        for (name, hold) in &self.of {
            if let Some(end) = hold.until.filter(|end| Some(*end) != self.snoozed_until) {
                text.push_str(&page.paragraph(0, &format!("{name} has quiet hours until {}.", until(end))));
            }
        }
        text
    }
}

fn row(delivery: &StoredDelivery, next: String, page: &Page) -> Vec<Cell> {
    let (ink, state) = state(delivery);
    vec![
        Cell::right(delivery.id.to_string()),
        Cell::plain(shown(&delivery.channel)),
        Cell::new(ink, state),
        Cell::plain(age(delivery.created_at, page.now)),
        Cell::right(delivery.attempts.to_string()),
        Cell::plain(next),
    ]
}

fn state(delivery: &StoredDelivery) -> (Ink, &str) {
    match delivery.state.as_str() {
        "pending" => (Ink::Doubtful, "waiting"),
        "given_up" => (Ink::Bad, "given up"),
        "sent" => (Ink::Good, "sent"),
        other => (Ink::Plain, other),
    }
}

fn show(id: i64, json: bool, config: &Config, invocation: &Invocation) -> Result<Output, Failure> {
    let page = invocation.page(&config.time_zone);
    let store = store(config, false)?;
    let mut deliveries = wait(store.deliveries_with(id))??;
    deliveries.retain(|delivery| delivery.id == id);
    let Some(first) = deliveries.first() else { return Err(unknown(id)) };
    if json {
        return Ok(Output::done(format!("{:#}\n", document(&deliveries, &page))));
    }
    let said = RenderContext { now: page.now, zone: page.zone, is_drill: false };
    let mut text = page.paragraph(0, &shown(&line(&first.change, &said)));
    text.push_str(&format!("Key: {}\n\n", first.change.key()));
    let holds = Holds::of(config, wait(store.snoozed())??, &page);
    // What waits before it says when it is sent.
    let mut all = wait(store.deliveries(false))??;
    all.retain(|delivery| delivery.id < id);
    all.extend(deliveries);
    text.push_str(&draw(&all, Some(id), &holds, &page));
    Ok(Output::done(text))
}

#[derive(Clone, Copy)]
enum Wish {
    Retry,
    Drop,
}

fn settle(
    id: i64,
    channel: Option<&str>,
    wish: Wish,
    config: &Config,
    invocation: &Invocation,
) -> Result<Output, Failure> {
    let store = store(config, true)?;
    let now = invocation.now;
    let (known, beside, count) = wait(async {
        let all = store.deliveries_with(id).await?;
        let (known, others): (Vec<StoredDelivery>, Vec<StoredDelivery>) =
            all.into_iter().partition(|delivery| delivery.id == id);
        let beside = beside(&known, others, channel, wish);
        let count = match wish {
            Wish::Retry => store.retry(id, channel, now).await?,
            Wish::Drop => store.give_up(id, channel, now).await?,
        };
        Ok::<_, rusqlite::Error>((known, beside, count))
    })??;
    if count == 0 {
        return Err(nothing_to_do(id, channel, wish, &known));
    }
    let is_running = status_socket::ask(&config.state_directory).is_some();
    let messages = counted(count, "delivery");
    let done = match (wish, is_running) {
        (Wish::Retry, true) => format!("{messages} due now; see `statusd outbox`.\n"),
        (Wish::Retry, false) => format!("{messages} due once statusd runs.\n"),
        (Wish::Drop, _) => format!("{messages} given up; `statusd outbox retry {id}` undoes it.\n"),
    };
    let page = invocation.page(&config.time_zone);
    let others = beside.iter().map(|delivery| page.paragraph(0, &beside_line(delivery, wish)));
    Ok(Output::done(format!("{done}{}", others.collect::<String>())))
}
    // A connection to the status socket makes the daemon check its outbox.

/// What is in the same messages as the deliveries of a change, and is touched with them.
fn beside(
    known: &[StoredDelivery],
    others: Vec<StoredDelivery>,
    channel: Option<&str>,
    wish: Wish,
) -> Vec<StoredDelivery> {
    let is_meant = |delivery: &&StoredDelivery| channel.is_none_or(|channel| channel == delivery.channel);
    let is_touched = |delivery: &StoredDelivery| match wish {
        Wish::Retry => delivery.state != "sent" && delivery.answer.as_deref() != Some(DROPPED),
        Wish::Drop => delivery.state == "pending",
    };
    let messages: Vec<i64> = known
        .iter()
        .filter(is_meant)
        .filter(|delivery| is_touched(delivery))
        .filter_map(|delivery| delivery.notice_id)
        .collect();
    let is_beside = |delivery: &StoredDelivery| delivery.notice_id.is_some_and(|id| messages.contains(&id));
    others.into_iter().filter(|delivery| is_beside(delivery) && is_touched(delivery)).collect()
}

fn beside_line(delivery: &StoredDelivery, wish: Wish) -> String {
    let what = format!("{}: {} {}", shown(&delivery.channel), delivery.id, subject(delivery));
    match wish {
        Wish::Retry => format!("{what} is in the same message and goes with it."),
        Wish::Drop => format!("{what} was in the same message; it is sent in a new one."),
    }
}

fn nothing_to_do(id: i64, channel: Option<&str>, wish: Wish, known: &[StoredDelivery]) -> Failure {
    let channels: Vec<&str> = known.iter().map(|delivery| delivery.channel.as_str()).collect();
    match (channel, wish) {
        _ if known.is_empty() => unknown(id),
        (Some(channel), _) if !channels.contains(&channel) => {
            let known = channels.join(", ");
            Failure::new(
                WRONG_USAGE,
                format!("message {id} does not go to channel {channel:?}: expected {known}"),
            )
        }
        (_, Wish::Retry) => {
            Failure::failed(format!("message {id} was sent already; see `statusd outbox show {id}`"))
        }
        (_, Wish::Drop) => {
            Failure::failed(format!("message {id} does not wait any more; see `statusd outbox show {id}`"))
        }
    }
}

fn unknown(id: i64) -> Failure {
    Failure::new(
        WRONG_USAGE,
        format!("no message {id} in the outbox; `statusd outbox --all` shows their numbers"),
    )
}

fn document(deliveries: &[StoredDelivery], page: &Page) -> Value {
    let said = RenderContext { now: page.now, zone: page.zone, is_drill: false };
    let deliveries: Vec<Value> = deliveries
        .iter()
        .map(|delivery| {
            json!({
                "id": delivery.id,
                "channel": delivery.channel,
                "state": delivery.state,
                "created_at": delivery.created_at,
                "due_at": (delivery.state == "pending").then_some(delivery.due_at),
                "tries": delivery.attempts,
                "answer": delivery.answer,
                "settled_at": delivery.settled_at,
                "change": payload::change(&delivery.change, &said),
            })
        })
        .collect();
    json!({"version": VERSION, "at": page.now, "deliveries": deliveries})
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;
    use crate::cli::tests::check_documented;
    use crate::model::{Change, ChangeKind, Edition, EventKind, FeedId};

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn delivery(id: i64, channel: &str, state: &str, due: &str, answer: Option<&str>) -> StoredDelivery {
        let change = Change {
            at: at("2026-05-05T09:55:00Z"),
            seen_at: at("2026-05-05T09:54:15Z"),
            kind: ChangeKind::Began,
            feed: FeedId { edition: Edition::Consumer, locale: "en_US".to_owned() },
            service: "iCloud Backup".to_owned(),
            message_id: Some("100".to_owned()),
            occurrence: Some(1),
            serial: 1,
            outage_kind: Some(EventKind::Outage),
            was_kind: None,
            began_at: None,
            ended_at: None,
            users_affected: None,
            message: String::new(),
            near: Vec::new(),
            phone: None,
        };
        StoredDelivery {
            id,
            channel: channel.to_owned(),
            state: state.to_owned(),
            created_at: at("2026-05-05T09:55:00Z"),
            due_at: at(due),
            attempts: 4,
            answer: answer.map(str::to_owned),
            settled_at: None,
            notice_id: None,
            is_acknowledged: false,
            change,
        }
    }

    #[test]
    fn each_delivery_says_what_waits_and_why() {
        let page = Page { width: 80, color: false, zone: &TimeZone::UTC, now: at("2026-05-05T12:00:00Z") };
        let deliveries = [
            delivery(7, "webhook.ops", "pending", "2026-05-05T12:04:00Z", Some("hooks.example answered 503")),
            delivery(9, "webhook.ops", "pending", "2026-05-05T11:00:00Z", None),
            delivery(12, "desktop", "given_up", "2026-05-05T12:04:00Z", None),
        ];
        let expected = "\
ID  CHANNEL      STATE     AGE        TRIES  NEXT TRY
 7  webhook.ops  waiting   2 h 5 min      4  in 4 min
  iCloud Backup: outage began
  Last answer: hooks.example answered 503
 9  webhook.ops  waiting   2 h 5 min      4  with or after 7
  iCloud Backup: outage began
12  desktop      given up  2 h 5 min      4
  iCloud Backup: outage began
";
        assert_eq!(draw(&deliveries, None, &holds(), &page), expected);
        let narrow = draw(&deliveries, Some(9), &holds(), &Page { width: 45, ..page });
        let expected = "\
ID  CHANNEL   STATE    AGE        TRIES  NEXT TRY
 9  webhook.  waiting  2 h 5 min      4  with or after 7
    ops
  iCloud Backup: outage began
";
        assert_eq!(narrow, expected);
        let json = document(&deliveries, &page);
        check_documented("outbox", &json);
        check_documented("A change", &json["deliveries"][0]["change"]);
        assert_eq!(json["deliveries"][0]["due_at"], json!("2026-05-05T12:04:00Z"));
        assert_eq!(json["deliveries"][2]["due_at"], Value::Null);
    }

    fn holds() -> Holds {
        let hold = |is_people| Hold { is_people, until: None };
        let of = [("webhook.ops", hold(false)), ("desktop", hold(true))];
        Holds { of: of.map(|(name, hold)| (name.to_owned(), hold)).into(), snoozed_until: None }
    }

    #[test]
    fn what_is_held_back_says_until_when() {
        let page = Page { width: 80, color: false, zone: &TimeZone::UTC, now: at("2026-05-05T12:00:00Z") };
        let waiting = |channel| delivery(7, channel, "pending", "2026-05-05T11:00:00Z", None);
        let mut holds = holds();
        let next = |delivery: &StoredDelivery, holds: &Holds| next_try(delivery, &[], holds, &page);
        assert_eq!(next(&waiting("desktop"), &holds), "now");
        assert_eq!(next(&waiting("email.gone"), &holds), "no such channel");
        let known = StoredDelivery { is_acknowledged: true, ..waiting("desktop") };
        assert_eq!(next(&known, &holds), "with its end");
        let known = StoredDelivery { is_acknowledged: true, ..waiting("webhook.ops") };
        assert_eq!(next(&known, &holds), "now");
        let end = at("2026-05-05T14:00:00Z");
        holds.of.insert("desktop".to_owned(), Hold { is_people: true, until: Some(end) });
        assert_eq!(next(&waiting("desktop"), &holds), "in 2 h");
        assert_eq!(holds.text(&page), "desktop has quiet hours until 14:00.\n");
        holds.snoozed_until = Some(end);
        assert_eq!(holds.text(&page), "Snoozed: no messages to people until 14:00.\n");
    }

    #[test]
    fn what_is_in_the_same_message_is_named() {
        let in_message = |id, state, answer| StoredDelivery {
            notice_id: Some(1),
            ..delivery(id, "desktop", state, "2026-05-05T12:04:00Z", answer)
        };
        let known = [in_message(7, "pending", None)];
        let others = || {
            let elsewhere = delivery(11, "desktop", "pending", "2026-05-05T12:04:00Z", None);
            vec![in_message(8, "pending", None), in_message(9, "given_up", Some(DROPPED)), elsewhere]
        };
        for wish in [Wish::Retry, Wish::Drop] {
            let beside = beside(&known, others(), None, wish);
            assert_eq!(beside.iter().map(|delivery| delivery.id).collect::<Vec<_>>(), [8]);
        }
        assert!(beside(&known, others(), Some("webhook.ops"), Wish::Drop).is_empty());
        let line = beside_line(&known[0], Wish::Drop);
        assert_eq!(
            line,
            "desktop: 7 iCloud Backup: outage began was in the same message; it is sent in a new one."
        );
    }

    #[test]
    fn wishes_that_cannot_be_granted_say_why() {
        let known = [delivery(7, "desktop", "sent", "2026-05-05T12:04:00Z", None)];
        let message =
            |channel, wish, known: &[StoredDelivery]| nothing_to_do(7, channel, wish, known).message;
        assert!(message(None, Wish::Retry, &[]).starts_with("no message 7"));
        assert!(message(Some("ops"), Wish::Drop, &known).ends_with("expected desktop"));
        assert!(message(None, Wish::Retry, &known).contains("sent already"));
    }
}
