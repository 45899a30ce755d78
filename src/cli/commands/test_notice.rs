//! `statusd test-notice`: sends one test message through the configured channels.
//!
//! The message is rendered with the templates, written to an outbox in memory and sent by the daemon's
//! delivery code. Failures are not retried. Quiet hours and a snooze do not apply.

use tokio::task::{JoinSet, LocalSet};

use crate::channel::SendOutcome;
use crate::clock;
use crate::daemon;
use crate::delivery::{self, Receiver, Round};
use crate::exit_code::{CONFIGURATION, DONE, FAILED, WRONG_USAGE};
use crate::model::{Change, ChangeKind};
use crate::store::Store;

use crate::cli::context::{CommandError, Invocation, Output, block_on};
use crate::cli::phrases::printable;
use crate::cli::terminal::{Style, Terminal};

pub fn run(names: &[String], invocation: &Invocation) -> Result<Output, CommandError> {
    let config = invocation.config()?;
    let receivers = selected(daemon::receivers(&config, invocation.environment)?, names)?;
    let outcomes = block_on(LocalSet::new().run_until(send(receivers)))??;
    let failed = outcomes.iter().any(|(_, outcome)| !matches!(outcome, SendOutcome::Delivered { .. }));
    let terminal = invocation.terminal(&config.time_zone);
    let text = outcomes.iter().map(|(name, outcome)| line(name, outcome, &terminal)).collect();
    Ok(Output { text, code: if failed { FAILED } else { DONE } })
}

/// Returns the receivers of the named channels, or all receivers if `names` is empty.
pub fn selected(mut receivers: Vec<Receiver>, names: &[String]) -> Result<Vec<Receiver>, CommandError> {
    let known: Vec<String> = receivers.iter().map(|receiver| receiver.channel.name().to_owned()).collect();
    if known.is_empty() {
        return Err(CommandError::new(
            CONFIGURATION,
            "no channel is enabled; see [channel] in the configuration",
        ));
    }
    if let Some(unknown) = names.iter().find(|name| !known.contains(name)) {
        let message = format!("unknown channel {unknown:?}: expected one of {}", known.join(", "));
        return Err(CommandError::new(WRONG_USAGE, message));
    }
    receivers.retain(|receiver| names.is_empty() || names.iter().any(|name| name == receiver.channel.name()));
    Ok(receivers)
}

/// Sends to all channels concurrently, so that one that hangs does not delay the others. Returns the
/// outcomes in the order of the channels.
async fn send(receivers: Vec<Receiver>) -> Result<Vec<(String, SendOutcome)>, CommandError> {
    let mut sending = JoinSet::new();
    for (index, receiver) in receivers.into_iter().enumerate() {
        sending.spawn_local(async move { (index, send_one(receiver).await) });
    }
    let mut outcomes = Vec::new();
    while let Some(sent) = sending.join_next().await {
        let (index, outcome) =
            sent.map_err(|_| CommandError::failed("a channel panicked; please report this"))?;
        outcomes.push((index, outcome?));
    }
    outcomes.sort_by_key(|(index, _)| *index);
    Ok(outcomes.into_iter().map(|(_, outcome)| outcome).collect())
}

async fn send_one(mut receiver: Receiver) -> Result<(String, SendOutcome), CommandError> {
    let name = receiver.channel.name().to_owned();
    receiver.policy = receiver.policy.without_quiet_hours();
    let now = clock::now();
    let store = Store::open_in_memory()?;
    let change = Change::bare(ChangeKind::Test, receiver.feed.clone(), now, now);
    store.record_change(&change, &|_| vec![name.clone()], now).await?;
    match delivery::once(&store, &mut receiver, 0.0, &clock::now).await? {
        Round::Attempted { outcome, .. } => Ok((name, outcome)),
        Round::Idle { .. } => {
            Err(CommandError::failed(format!("{name}: nothing was sent; please report this")))
        }
    }
}

fn line(name: &str, outcome: &SendOutcome, terminal: &Terminal) -> String {
    let (style, word) = match outcome {
        SendOutcome::Delivered { .. } => (Style::Good, "delivered"),
        SendOutcome::Transient { .. } => (Style::Warning, "failed; the daemon would retry"),
        SendOutcome::Unclear { .. } => (Style::Warning, "perhaps delivered"),
        SendOutcome::Permanent { .. } => (Style::Bad, "refused"),
    };
    let text = terminal.paragraph(0, &format!("{name}: {word}: {}", printable(outcome.detail())));
    text.replacen(word, &terminal.paint(style, word), 1)
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    #[test]
    fn each_channel_has_a_line_with_its_outcome() {
        let now = "2026-05-05T12:00:00Z".parse().expect("a time");
        let terminal = Terminal { width: 80, color: true, zone: &TimeZone::UTC, now };
        let outcome =
            SendOutcome::Permanent { detail: "hooks.example answered 401 (Unauthorized)".to_owned() };
        let expected =
            "webhook.ops: \u{1b}[1;31mrefused\u{1b}[0m: hooks.example answered 401 (Unauthorized)\n";
        assert_eq!(line("webhook.ops", &outcome, &terminal), expected);
    }
}
