//! `statusd test-notice`: one test message through the very channels that the daemon uses.
//!
//! Writes nothing to the database and retries nothing.

use jiff::Timestamp;
use serde_json::json;

use crate::channel::{Answer, Channel, Notice};
use crate::daemon;
use crate::json::VERSION;
use crate::model::Tone;

use super::page::{Ink, Page};
use super::words::shown;
use super::{CONFIGURATION, DONE, FAILED, Failure, Invocation, Output, WRONG_USAGE, wait};

const TITLE: &str = "statusd: a test";
const BODY: &str = "This is a test. Nothing is wrong. Messages about outages will reach you here.";

pub fn run(wanted: &[String], invocation: &Invocation) -> Result<Output, Failure> {
    let config = invocation.config()?;
    let mut channels = daemon::channels(&config, invocation.environment)?;
    let known: Vec<String> = channels.iter().map(|channel| channel.name().to_owned()).collect();
    if known.is_empty() {
        return Err(Failure::new(
            CONFIGURATION,
            "no channel is switched on; see [channel] in the configuration",
        ));
    }
    if let Some(unknown) = wanted.iter().find(|name| !known.contains(name)) {
        let message = format!("no channel {unknown:?} is configured; there is {}", known.join(", "));
        return Err(Failure::new(WRONG_USAGE, message));
    }
    channels.retain(|channel| wanted.is_empty() || wanted.iter().any(|name| name == channel.name()));
    let notice = notice(invocation.now);
    let answers = wait(send(&mut channels, &notice))?;
    let failed = answers.iter().any(|(_, answer)| !matches!(answer, Answer::Delivered { .. }));
    let page = invocation.page(&config.time_zone);
    let text = answers.iter().map(|(name, answer)| line(name, answer, &page)).collect();
    Ok(Output { text, code: if failed { FAILED } else { DONE } })
}

async fn send(channels: &mut [Channel], notice: &Notice) -> Vec<(String, Answer)> {
    let mut answers = Vec::new();
    for channel in channels {
        let answer = channel.send(notice).await;
        answers.push((channel.name().to_owned(), answer));
    }
    answers
}

fn line(name: &str, answer: &Answer, page: &Page) -> String {
    let (ink, what) = match answer {
        Answer::Delivered { .. } => (Ink::Good, "delivered"),
        Answer::Retry { .. } => (Ink::Doubtful, "failed, the daemon would try again"),
        Answer::Refused { .. } => (Ink::Bad, "refused"),
    };
    let drawn = page.paragraph(0, &format!("{name}: {what}: {}", shown(answer.words())));
    drawn.replacen(what, &page.paint(ink, what), 1)
}

fn notice(now: Timestamp) -> Notice {
    let key = format!("test/{now}");
    let payload =
        json!({"version": VERSION, "at": now, "kind": "test", "service": null, "key": key, "text": BODY});
    Notice {
        key,
        title: TITLE.to_owned(),
        body: BODY.to_owned(),
        tone: Tone::Neutral,
        payload: payload.to_string(),
        replaces: None,
        follows: None,
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    #[test]
    fn the_answer_of_each_channel_is_a_line() {
        let now = "2026-05-05T12:00:00Z".parse().expect("a time");
        let page = Page { width: 80, color: true, zone: &TimeZone::UTC, now };
        let answer = Answer::Refused { words: "hooks.example answered 401 (Unauthorized)".to_owned() };
        let expected =
            "webhook.ops: \u{1b}[1;31mrefused\u{1b}[0m: hooks.example answered 401 (Unauthorized)\n";
        assert_eq!(line("webhook.ops", &answer, &page), expected);
    }

    #[test]
    fn a_test_looks_like_no_outage() {
        let notice = notice("2026-05-05T12:00:00Z".parse().expect("a time"));
        assert_eq!(notice.key, "test/2026-05-05T12:00:00Z");
        let payload: serde_json::Value = serde_json::from_str(&notice.payload).expect("JSON");
        assert_eq!(payload["kind"], json!("test"));
    }
}
