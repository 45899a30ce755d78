//! `statusd outbox`: lists deliveries that are pending or given up, retries them or drops them.
//!
//! Sends nothing itself. `retry` and `drop` update the rows and wake the daemon.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::channel::{Audience, Table};
use crate::config::Config;
use crate::delivery::message::time_format::when;
use crate::delivery::message::{RenderContext, line};
use crate::delivery::payload::{self, VERSION};
use crate::exit_code::WRONG_USAGE;
use crate::status_socket;
use crate::store::{DROPPED, Snooze, StoredAttempt, StoredDelivery};
use crate::text::counted;

use crate::cli::args::{OutboxArgs, OutboxCommand};
use crate::cli::context::{CommandError, Invocation, Output, block_on, open_store};
use crate::cli::phrases::{age, printable, summary};
use crate::cli::state::config_with_state;
use crate::cli::terminal::{Cell, Style, Terminal};

const INDENT: usize = 2;
/// The text of an attempt without an outcome.
const CUT_SHORT: &str = "In progress, or cut short: statusd ended before it recorded the outcome";

pub fn run(outbox: &OutboxArgs, invocation: &Invocation) -> Result<Output, CommandError> {
    let config = config_with_state(invocation)?;
    match &outbox.command {
        None | Some(OutboxCommand::List) => list(outbox, &config, invocation),
        Some(OutboxCommand::Show { id }) => show(*id, outbox.json, &config, invocation),
        Some(OutboxCommand::Retry { id, channel }) => {
            settle(*id, channel.as_deref(), Request::Retry, &config, invocation)
        }
        Some(OutboxCommand::Drop { id, channel }) => {
            settle(*id, channel.as_deref(), Request::Drop, &config, invocation)
        }
    }
}

fn list(outbox: &OutboxArgs, config: &Config, invocation: &Invocation) -> Result<Output, CommandError> {
    let terminal = invocation.terminal(&config.time_zone);
    let store = open_store(config, false)?;
    let deliveries = block_on(store.deliveries(outbox.all))??;
    Ok(Output::done(match (outbox.json, deliveries.as_slice()) {
        (true, deliveries) => format!("{:#}\n", document(deliveries, &terminal)),
        (false, []) if outbox.all => "No deliveries yet.\n".to_owned(),
        (false, []) => "No delivery is pending or given up.\n".to_owned(),
        (false, deliveries) => {
            let holds = Holds::new(config, block_on(store.snoozed())??, &terminal);
            format!("{}{}", holds.text(&terminal), draw(deliveries, None, &holds, &terminal))
        }
    }))
}

/// Prints a row for each delivery, with its subject and last outcome below. With `id`, prints only
/// that message; `all` must also contain the earlier pending deliveries.
fn draw(all: &[StoredDelivery], id: Option<i64>, holds: &Holds, terminal: &Terminal) -> String {
    let rows: Vec<(&StoredDelivery, Vec<Cell>)> = all
        .iter()
        .enumerate()
        .map(|(index, delivery)| {
            (delivery, row(delivery, next_attempt(delivery, &all[..index], holds, terminal), terminal))
        })
        .filter(|(delivery, _)| id.is_none_or(|id| delivery.id == id))
        .collect();
    let cells: Vec<Vec<Cell>> = rows.iter().map(|(_, cells)| cells.clone()).collect();
    let mut lines =
        terminal.rows(&["ID", "CHANNEL", "STATE", "AGE", "ATTEMPTS", "NEXT ATTEMPT"], &cells, 1).into_iter();
    let mut text = lines.next().unwrap_or_default();
    for ((delivery, _), row) in rows.iter().zip(lines) {
        text.push_str(&row);
        text.push_str(&terminal.paragraph(INDENT, &subject(delivery)));
        if let Some(answer) = &delivery.answer {
            text.push_str(&terminal.paragraph(INDENT, &format!("Last outcome: {}", printable(answer))));
        }
    }
    text
}

fn subject(delivery: &StoredDelivery) -> String {
    match printable(&delivery.change.service).as_str() {
        "" => summary(&delivery.change),
        service => format!("{service}: {}", summary(&delivery.change)),
    }
}

/// Returns the oldest pending message of the same channel, which goes first because channels keep order.
fn first_in_line(delivery: &StoredDelivery, earlier: &[StoredDelivery]) -> Option<i64> {
    let is_ahead = |other: &&StoredDelivery| other.channel == delivery.channel && other.state == "pending";
    earlier.iter().find(is_ahead).map(|other| other.id)
}

/// Returns the time of the next attempt of a pending delivery, as far as it is known.
fn next_attempt(
    delivery: &StoredDelivery,
    earlier: &[StoredDelivery],
    holds: &Holds,
    terminal: &Terminal,
) -> String {
    if delivery.state != "pending" {
        return String::new();
    }
    match holds.channels.get(&delivery.channel) {
        None => "channel not enabled".to_owned(),
        Some(hold) if hold.is_people && delivery.is_acknowledged => "when it ends".to_owned(),
        Some(Hold { until: Some(until), .. }) => format!("in {}", age(terminal.now, *until)),
        Some(Hold { until: None, .. }) => match first_in_line(delivery, earlier) {
            Some(id) => format!("with or after {id}"),
            None if delivery.due_at <= terminal.now => "now".to_owned(),
            None => format!("in {}", age(terminal.now, delivery.due_at)),
        },
    }
}

/// The enabled channels, with the holds that delay their pending deliveries.
struct Holds {
    channels: BTreeMap<String, Hold>,
    snoozed_until: Option<Timestamp>,
}

struct Hold {
    is_people: bool,
    /// The end of quiet hours or of a snooze.
    until: Option<Timestamp>,
}

impl Holds {
    fn new(config: &Config, snooze: Option<Snooze>, terminal: &Terminal) -> Holds {
        let snoozed_until = snooze.map(|snooze| snooze.until).filter(|until| *until > terminal.now);
        let hold = |(name, audience, _): (String, Audience, &dyn Table)| {
            let is_people = audience.is_people();
            let quiet = config.policy(&name).quiet_until(terminal.now);
            (name, Hold { is_people, until: quiet.max(snoozed_until.filter(|_| is_people)) })
        };
        Holds { channels: config.channel.enabled().map(hold).collect(), snoozed_until }
    }

    fn text(&self, terminal: &Terminal) -> String {
        let until = |time| when(time, terminal.now, terminal.zone);
        let mut text = match self.snoozed_until {
            Some(end) => format!("Snoozed: no messages to people until {}.\n", until(end)),
            None => String::new(),
        };
        for (name, hold) in &self.channels {
            if let Some(end) = hold.until.filter(|end| Some(*end) != self.snoozed_until) {
                text.push_str(
                    &terminal.paragraph(0, &format!("{name} has quiet hours until {}.", until(end))),
                );
            }
        }
        text
    }
}

fn row(delivery: &StoredDelivery, next: String, terminal: &Terminal) -> Vec<Cell> {
    let (style, state) = state(delivery);
    vec![
        Cell::right(delivery.id.to_string()),
        Cell::plain(printable(&delivery.channel)),
        Cell::new(style, state),
        Cell::plain(age(delivery.created_at, terminal.now)),
        Cell::right(delivery.attempts.to_string()),
        Cell::plain(next),
    ]
}

fn state(delivery: &StoredDelivery) -> (Style, &str) {
    match delivery.state.as_str() {
        "pending" => (Style::Warning, "pending"),
        "given_up" => (Style::Bad, "given up"),
        "sent" => (Style::Good, "sent"),
        other => (Style::Plain, other),
    }
}

fn show(id: i64, json: bool, config: &Config, invocation: &Invocation) -> Result<Output, CommandError> {
    let terminal = invocation.terminal(&config.time_zone);
    let store = open_store(config, false)?;
    let mut deliveries = block_on(store.deliveries_with(id))??;
    deliveries.retain(|delivery| delivery.id == id);
    let Some(first) = deliveries.first() else { return Err(unknown(id)) };
    let attempts = block_on(store.attempts(id))??;
    if json {
        let mut document = document(&deliveries, &terminal);
        add_attempts(&mut document, &attempts);
        return Ok(Output::done(format!("{document:#}\n")));
    }
    let context = RenderContext { now: terminal.now, zone: terminal.zone, is_drill: false };
    let mut text = terminal.paragraph(0, &printable(&line(&first.change, &context)));
    text.push_str(&format!("Key: {}\n\n", first.change.key()));
    let holds = Holds::new(config, block_on(store.snoozed())??, &terminal);
    // The next attempt depends on the earlier pending deliveries.
    let mut all = block_on(store.deliveries(false))??;
    all.retain(|delivery| delivery.id < id);
    all.extend(deliveries);
    text.push_str(&draw(&all, Some(id), &holds, &terminal));
    text.push_str(&draw_attempts(&attempts, &terminal));
    Ok(Output::done(text))
}

/// Prints the attempts of each channel, with the answers below.
fn draw_attempts(attempts: &[StoredAttempt], terminal: &Terminal) -> String {
    let mut text = String::new();
    for of_channel in attempts.chunk_by(|one, next| one.channel == next.channel) {
        text.push_str(&format!("\nAttempts on {}:\n", printable(&of_channel[0].channel)));
        let cells: Vec<Vec<Cell>> = of_channel.iter().map(|attempt| attempt_row(attempt, terminal)).collect();
        let mut lines = terminal.rows(&["NUMBER", "TIME", "DURATION", "OUTCOME"], &cells, 1).into_iter();
        text.push_str(&lines.next().unwrap_or_default());
        let mut last = 0;
        for (attempt, row) in of_channel.iter().zip(lines) {
            if attempt.number > last + 1 && last > 0 {
                let left_out = format!("Attempts {} to {} are not kept.", last + 1, attempt.number - 1);
                text.push_str(&terminal.paragraph(INDENT, &left_out));
            }
            last = attempt.number;
            text.push_str(&row);
            let answer = match (&attempt.outcome, &attempt.answer) {
                (Some(_), answer) => answer.as_deref().map(printable).unwrap_or_default(),
                (None, _) => CUT_SHORT.to_owned(),
            };
            text.push_str(&terminal.paragraph(INDENT, &answer));
        }
    }
    text
}

fn attempt_row(attempt: &StoredAttempt, terminal: &Terminal) -> Vec<Cell> {
    let (style, outcome) = match attempt.outcome.as_deref() {
        Some("sent") => (Style::Good, "sent"),
        Some("given_up") => (Style::Bad, "given up"),
        Some(other) => (Style::Warning, other),
        None => (Style::Warning, "none"),
    };
    let duration = attempt.duration_ms.map(|ms| format!("{:.1} s", f64::from(ms) / 1_000.0));
    vec![
        Cell::right(attempt.number.to_string()),
        Cell::plain(when(attempt.started_at, terminal.now, terminal.zone)),
        Cell::right(duration.unwrap_or_default()),
        Cell::new(style, printable(outcome)),
    ]
}

/// Adds its attempts to each delivery of a document.
fn add_attempts(document: &mut Value, attempts: &[StoredAttempt]) {
    for delivery in document["deliveries"].as_array_mut().into_iter().flatten() {
        let of_delivery = attempts.iter().filter(|attempt| delivery["channel"] == attempt.channel.as_str());
        let attempt = |attempt: &StoredAttempt| {
            json!({
                "number": attempt.number,
                "at": attempt.started_at,
                "duration_ms": attempt.duration_ms,
                "outcome": attempt.outcome,
                "answer": attempt.answer,
            })
        };
        delivery["attempts"] = of_delivery.map(attempt).collect();
    }
}

#[derive(Clone, Copy)]
enum Request {
    Retry,
    Drop,
}

fn settle(
    id: i64,
    channel: Option<&str>,
    request: Request,
    config: &Config,
    invocation: &Invocation,
) -> Result<Output, CommandError> {
    let store = open_store(config, true)?;
    let now = invocation.now;
    let (deliveries, same_notice, count) = block_on(async {
        let all = store.deliveries_with(id).await?;
        let (deliveries, others): (Vec<StoredDelivery>, Vec<StoredDelivery>) =
            all.into_iter().partition(|delivery| delivery.id == id);
        let same_notice = same_notice(&deliveries, others, channel, request);
        let count = match request {
            Request::Retry => store.retry(id, channel, now).await?,
            Request::Drop => store.give_up(id, channel, now).await?,
        };
        Ok::<_, rusqlite::Error>((deliveries, same_notice, count))
    })??;
    if count == 0 {
        return Err(nothing_to_do(id, channel, request, &deliveries));
    }
    // A connection to the status socket makes the daemon check its outbox.
    let is_running = status_socket::ask(&config.state_directory).is_some();
    let count = counted(count, "delivery");
    let result = match (request, is_running) {
        (Request::Retry, true) => format!("{count} due now; see `statusd outbox`.\n"),
        (Request::Retry, false) => format!("{count} due when statusd runs.\n"),
        (Request::Drop, _) => format!("{count} given up; to undo, use `statusd outbox retry {id}`.\n"),
    };
    let terminal = invocation.terminal(&config.time_zone);
    let others =
        same_notice.iter().map(|delivery| terminal.paragraph(0, &same_notice_line(delivery, request)));
    Ok(Output::done(format!("{result}{}", others.collect::<String>())))
}

/// Returns the other deliveries in the same notices as those of a message. A request affects them too.
fn same_notice(
    deliveries: &[StoredDelivery],
    others: Vec<StoredDelivery>,
    channel: Option<&str>,
    request: Request,
) -> Vec<StoredDelivery> {
    let is_selected = |delivery: &&StoredDelivery| channel.is_none_or(|channel| channel == delivery.channel);
    let is_affected = |delivery: &StoredDelivery| match request {
        Request::Retry => delivery.state != "sent" && delivery.answer.as_deref() != Some(DROPPED),
        Request::Drop => delivery.state == "pending",
    };
    let notices: Vec<i64> = deliveries
        .iter()
        .filter(is_selected)
        .filter(|delivery| is_affected(delivery))
        .filter_map(|delivery| delivery.notice_id)
        .collect();
    let is_same = |delivery: &StoredDelivery| delivery.notice_id.is_some_and(|id| notices.contains(&id));
    others.into_iter().filter(|delivery| is_same(delivery) && is_affected(delivery)).collect()
}

fn same_notice_line(delivery: &StoredDelivery, request: Request) -> String {
    let subject = format!("{}: {} {}", printable(&delivery.channel), delivery.id, subject(delivery));
    match request {
        Request::Retry => format!("{subject} is part of the same message and is sent with it."),
        Request::Drop => format!("{subject} was part of the same message and is sent in a new one."),
    }
}

fn nothing_to_do(
    id: i64,
    channel: Option<&str>,
    request: Request,
    deliveries: &[StoredDelivery],
) -> CommandError {
    let channels: Vec<&str> = deliveries.iter().map(|delivery| delivery.channel.as_str()).collect();
    match (channel, request) {
        _ if deliveries.is_empty() => unknown(id),
        (Some(channel), _) if !channels.contains(&channel) => {
            let expected = channels.join(", ");
            CommandError::new(
                WRONG_USAGE,
                format!("message {id} is not for channel {channel:?}: expected one of {expected}"),
            )
        }
        (_, Request::Retry) => {
            CommandError::failed(format!("message {id} was already sent; see `statusd outbox show {id}`"))
        }
        (_, Request::Drop) => {
            CommandError::failed(format!("message {id} is no longer pending; see `statusd outbox show {id}`"))
        }
    }
}

fn unknown(id: i64) -> CommandError {
    CommandError::new(WRONG_USAGE, format!("unknown message {id}; `statusd outbox --all` shows the numbers"))
}

fn document(deliveries: &[StoredDelivery], terminal: &Terminal) -> Value {
    let context = RenderContext { now: terminal.now, zone: terminal.zone, is_drill: false };
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
                "change": payload::change(&delivery.change, &context),
            })
        })
        .collect();
    json!({"version": VERSION, "at": terminal.now, "deliveries": deliveries})
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;
    use crate::cli::documents::check_documented;
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
    fn each_delivery_shows_its_state_and_next_attempt() {
        let terminal =
            Terminal { width: 80, color: false, zone: &TimeZone::UTC, now: at("2026-05-05T12:00:00Z") };
        let deliveries = [
            delivery(7, "webhook.ops", "pending", "2026-05-05T12:04:00Z", Some("hooks.example answered 503")),
            delivery(9, "webhook.ops", "pending", "2026-05-05T11:00:00Z", None),
            delivery(12, "desktop", "given_up", "2026-05-05T12:04:00Z", None),
        ];
        let expected = "\
ID  CHANNEL      STATE     AGE        ATTEMPTS  NEXT ATTEMPT
 7  webhook.ops  pending   2 h 5 min         4  in 4 min
  iCloud Backup: outage began
  Last outcome: hooks.example answered 503
 9  webhook.ops  pending   2 h 5 min         4  with or after 7
  iCloud Backup: outage began
12  desktop      given up  2 h 5 min         4
  iCloud Backup: outage began
";
        assert_eq!(draw(&deliveries, None, &holds(), &terminal), expected);
        let narrow = draw(&deliveries, Some(9), &holds(), &Terminal { width: 45, ..terminal });
        let expected = "\
ID  CHANNEL   STATE    AGE        ATTEMPTS  NEXT ATTEMPT
 9  webhook.  pending  2 h 5 min         4  with or after 7
    ops
  iCloud Backup: outage began
";
        assert_eq!(narrow, expected);
        let json = document(&deliveries, &terminal);
        check_documented("outbox", &json);
        check_documented("A change", &json["deliveries"][0]["change"]);
        assert_eq!(json["deliveries"][0]["due_at"], json!("2026-05-05T12:04:00Z"));
        assert_eq!(json["deliveries"][2]["due_at"], Value::Null);
    }

    #[test]
    fn each_attempt_shows_its_time_and_answer() {
        let terminal =
            Terminal { width: 80, color: false, zone: &TimeZone::UTC, now: at("2026-05-05T12:00:00Z") };
        let attempt = |number, time: &str, duration_ms, outcome: Option<&str>, answer: Option<&str>| {
            let (outcome, answer) = (outcome.map(str::to_owned), answer.map(str::to_owned));
            let channel = "webhook.ops".to_owned();
            StoredAttempt { channel, number, started_at: at(time), duration_ms, outcome, answer }
        };
        let attempts = [
            attempt(1, "2026-05-04T09:55:00Z", Some(40), Some("failed"), Some("hooks.example answered 503")),
            attempt(9, "2026-05-05T10:55:00Z", None, None, None),
            attempt(
                10,
                "2026-05-05T11:55:00Z",
                Some(12_345),
                Some("given_up"),
                Some("hooks.example: \u{1b}404"),
            ),
        ];
        let expected = "
Attempts on webhook.ops:
NUMBER  TIME             DURATION  OUTCOME
     1  Mon 4 May 09:55     0.0 s  failed
  hooks.example answered 503
  Attempts 2 to 8 are not kept.
     9  10:55                      none
  In progress, or cut short: statusd ended before it recorded the outcome
    10  11:55              12.3 s  given up
  hooks.example: 404
";
        assert_eq!(draw_attempts(&attempts, &terminal), expected);
        assert_eq!(draw_attempts(&[], &terminal), "");
        let mut json =
            document(&[delivery(7, "webhook.ops", "pending", "2026-05-05T12:04:00Z", None)], &terminal);
        add_attempts(&mut json, &attempts);
        check_documented("outbox show", &json);
        assert_eq!(json["deliveries"][0]["attempts"].as_array().map(Vec::len), Some(3));
    }

    fn holds() -> Holds {
        let hold = |is_people| Hold { is_people, until: None };
        let channels = [("webhook.ops", hold(false)), ("desktop", hold(true))];
        Holds { channels: channels.map(|(name, hold)| (name.to_owned(), hold)).into(), snoozed_until: None }
    }

    #[test]
    fn held_deliveries_show_the_end_of_the_hold() {
        let terminal =
            Terminal { width: 80, color: false, zone: &TimeZone::UTC, now: at("2026-05-05T12:00:00Z") };
        let pending = |channel| delivery(7, channel, "pending", "2026-05-05T11:00:00Z", None);
        let mut holds = holds();
        let next = |delivery: &StoredDelivery, holds: &Holds| next_attempt(delivery, &[], holds, &terminal);
        assert_eq!(next(&pending("desktop"), &holds), "now");
        assert_eq!(next(&pending("email.gone"), &holds), "channel not enabled");
        let acknowledged = StoredDelivery { is_acknowledged: true, ..pending("desktop") };
        assert_eq!(next(&acknowledged, &holds), "when it ends");
        let acknowledged = StoredDelivery { is_acknowledged: true, ..pending("webhook.ops") };
        assert_eq!(next(&acknowledged, &holds), "now");
        let end = at("2026-05-05T14:00:00Z");
        holds.channels.insert("desktop".to_owned(), Hold { is_people: true, until: Some(end) });
        assert_eq!(next(&pending("desktop"), &holds), "in 2 h");
        assert_eq!(holds.text(&terminal), "desktop has quiet hours until 14:00.\n");
        holds.snoozed_until = Some(end);
        assert_eq!(holds.text(&terminal), "Snoozed: no messages to people until 14:00.\n");
    }

    #[test]
    fn other_deliveries_of_the_same_notice_are_named() {
        let in_message = |id, state, answer| StoredDelivery {
            notice_id: Some(1),
            ..delivery(id, "desktop", state, "2026-05-05T12:04:00Z", answer)
        };
        let deliveries = [in_message(7, "pending", None)];
        let others = || {
            let own_notice = delivery(11, "desktop", "pending", "2026-05-05T12:04:00Z", None);
            vec![in_message(8, "pending", None), in_message(9, "given_up", Some(DROPPED)), own_notice]
        };
        for request in [Request::Retry, Request::Drop] {
            let same = same_notice(&deliveries, others(), None, request);
            assert_eq!(same.iter().map(|delivery| delivery.id).collect::<Vec<_>>(), [8]);
        }
        assert!(same_notice(&deliveries, others(), Some("webhook.ops"), Request::Drop).is_empty());
        let line = same_notice_line(&deliveries[0], Request::Drop);
        assert_eq!(
            line,
            "desktop: 7 iCloud Backup: outage began was part of the same message and is sent in a new one."
        );
    }

    #[test]
    fn refused_requests_state_the_reason() {
        let deliveries = [delivery(7, "desktop", "sent", "2026-05-05T12:04:00Z", None)];
        let message =
            |channel, request, all: &[StoredDelivery]| nothing_to_do(7, channel, request, all).message;
        assert!(message(None, Request::Retry, &[]).starts_with("unknown message 7"));
        assert!(message(Some("ops"), Request::Drop, &deliveries).ends_with("expected one of desktop"));
        assert!(message(None, Request::Retry, &deliveries).contains("already sent"));
    }
}
