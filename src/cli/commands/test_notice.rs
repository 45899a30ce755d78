//! `statusd test-notice`: sends one test message through the configured channels.
//!
//! The message is rendered with the templates, written to an outbox in memory and sent by the daemon's
//! delivery code. Failures are not retried. Quiet hours and a snooze do not apply.

use tokio::task::{JoinSet, LocalSet};

use crate::channel::SendOutcome;
use crate::clock;
use crate::daemon;
use crate::delivery::{self, Receiver, Round};
use crate::model::{Change, ChangeKind};
use crate::store::Store;

use crate::cli::phrases::shown;
use crate::cli::terminal::{Ink, Page};
use crate::cli::{CONFIGURATION, DONE, FAILED, Failure, Invocation, Output, WRONG_USAGE, wait};

pub fn run(wanted: &[String], invocation: &Invocation) -> Result<Output, Failure> {
    let config = invocation.config()?;
    let receivers = chosen(daemon::receivers(&config, invocation.environment)?, wanted)?;
    let answers = wait(LocalSet::new().run_until(send(receivers)))??;
    let failed = answers.iter().any(|(_, answer)| !matches!(answer, SendOutcome::Delivered { .. }));
    let page = invocation.page(&config.time_zone);
    let text = answers.iter().map(|(name, answer)| line(name, answer, &page)).collect();
    Ok(Output { text, code: if failed { FAILED } else { DONE } })
}

/// The channels of these names; all without any.
pub fn chosen(mut receivers: Vec<Receiver>, wanted: &[String]) -> Result<Vec<Receiver>, Failure> {
    let known: Vec<String> = receivers.iter().map(|receiver| receiver.channel.name().to_owned()).collect();
    if known.is_empty() {
        return Err(Failure::new(CONFIGURATION, "no channel is enabled; see [channel] in the configuration"));
    }
    if let Some(unknown) = wanted.iter().find(|name| !known.contains(name)) {
        let message = format!("unknown channel {unknown:?}: expected one of {}", known.join(", "));
        return Err(Failure::new(WRONG_USAGE, message));
    }
    receivers
        .retain(|receiver| wanted.is_empty() || wanted.iter().any(|name| name == receiver.channel.name()));
    Ok(receivers)
}

/// All side by side, for one that hangs must not keep the others; the answers in the order of the
/// channels.
async fn send(receivers: Vec<Receiver>) -> Result<Vec<(String, SendOutcome)>, Failure> {
    let mut sending = JoinSet::new();
    for (index, receiver) in receivers.into_iter().enumerate() {
        sending.spawn_local(async move { (index, send_one(receiver).await) });
    }
    let mut answers = Vec::new();
    while let Some(sent) = sending.join_next().await {
        let (index, answer) =
            sent.map_err(|_| Failure::failed("a channel broke down; please report this"))?;
        answers.push((index, answer?));
    }
    answers.sort_by_key(|(index, _)| *index);
    Ok(answers.into_iter().map(|(_, answer)| answer).collect())
}

async fn send_one(mut receiver: Receiver) -> Result<(String, SendOutcome), Failure> {
    let name = receiver.channel.name().to_owned();
    receiver.policy = receiver.policy.without_quiet_hours();
    let now = clock::now();
    let store = Store::open_in_memory()?;
    let change = Change::bare(ChangeKind::Test, receiver.feed.clone(), now, now);
    store.record_change(&change, &|_| vec![name.clone()], now).await?;
    match delivery::once(&store, &mut receiver, 0.0, &clock::now).await? {
        Round::Tried { answer, .. } => Ok((name, answer)),
        Round::Idle { .. } => Err(Failure::failed(format!("{name}: nothing was sent; please report this"))),
    }
}

fn line(name: &str, answer: &SendOutcome, page: &Page) -> String {
    let (ink, what) = match answer {
        SendOutcome::Delivered { .. } => (Ink::Good, "delivered"),
        SendOutcome::Transient { .. } => (Ink::Doubtful, "failed; the daemon would retry"),
        SendOutcome::Unclear { .. } => (Ink::Doubtful, "perhaps delivered"),
        SendOutcome::Permanent { .. } => (Ink::Bad, "refused"),
    };
    let drawn = page.paragraph(0, &format!("{name}: {what}: {}", shown(answer.words())));
    drawn.replacen(what, &page.paint(ink, what), 1)
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    #[test]
    fn the_answer_of_each_channel_is_a_line() {
        let now = "2026-05-05T12:00:00Z".parse().expect("a time");
        let page = Page { width: 80, color: true, zone: &TimeZone::UTC, now };
        let answer = SendOutcome::Permanent { words: "hooks.example answered 401 (Unauthorized)".to_owned() };
        let expected =
            "webhook.ops: \u{1b}[1;31mrefused\u{1b}[0m: hooks.example answered 401 (Unauthorized)\n";
        assert_eq!(line("webhook.ops", &answer, &page), expected);
    }
}
