//! `statusd snooze`: holds messages to people for a while, then sends one digest.
//!
//! Records the end of the snooze and wakes the daemon. Channels for programs still get each change.

use jiff::{SignedDuration, Timestamp};

use crate::delivery::message::time_format::when;
use crate::exit_code::WRONG_USAGE;
use crate::schedule::duration;
use crate::status_socket;
use crate::store::Snooze;

use crate::cli::context::{CommandError, Invocation, Output, block_on, open_store};
use crate::cli::state::config_with_state;
use crate::cli::terminal::Terminal;

/// For a longer time, disable the channel instead.
const LONGEST: SignedDuration = SignedDuration::from_hours(30 * 24);
const OFF: &str = "off";

pub fn run(request: Option<&str>, invocation: &Invocation) -> Result<Output, CommandError> {
    let config = config_with_state(invocation)?;
    let terminal = invocation.terminal(&config.time_zone);
    let now = invocation.now;
    let Some(request) = request else {
        let store = open_store(&config, false)?;
        return Ok(Output::done(state(block_on(store.snoozed())??, &terminal)));
    };
    let until = if request == OFF { now } else { end(request, now)? };
    let store = open_store(&config, true)?;
    let snoozed = block_on(async {
        store.snooze(until, now).await?;
        store.snoozed().await
    })??;
    // A connection to the status socket makes the daemon check its outbox.
    status_socket::ask(&config.state_directory);
    Ok(Output::done(state(snoozed, &terminal)))
}

fn end(request: &str, now: Timestamp) -> Result<Timestamp, CommandError> {
    let length = duration(request).filter(|length| (SignedDuration::from_secs(1)..=LONGEST).contains(length));
    let end = length.and_then(|length| now.checked_add(length).ok());
    end.ok_or_else(|| {
        let expected = "use for example 30m, 2h or 1d, at most 30d, or off";
        CommandError::new(WRONG_USAGE, format!("invalid duration {request:?}: {expected}"))
    })
}

fn state(snooze: Option<Snooze>, terminal: &Terminal) -> String {
    match snooze.filter(|snooze| snooze.until > terminal.now) {
        Some(snooze) => {
            let until = when(snooze.until, terminal.now, terminal.zone);
            let line = format!(
                "Snoozed: no messages to people until {until}, then one digest. To end it, use \
                 `statusd snooze off`."
            );
            terminal.paragraph(0, &line)
        }
        None => "No snooze is active. Messages are sent immediately.\n".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    #[test]
    fn the_end_of_a_snooze_is_shown_and_invalid_durations_are_refused() {
        let now: Timestamp = "2026-05-05T12:00:00Z".parse().expect("a time");
        let terminal = Terminal { width: 80, color: false, zone: &TimeZone::UTC, now };
        let until = end("2h", now).expect("two hours");
        let text = state(Some(Snooze { from: now, until }), &terminal);
        assert!(text.starts_with("Snoozed: no messages to people until 14:00, "), "{text}");
        assert!(state(Some(Snooze { from: now, until: now }), &terminal).starts_with("No snooze"));
        for wrong in ["2", "soon", "-2h", "0m", "31d", "9999999999999999w", ""] {
            assert_eq!(end(wrong, now).expect_err(wrong).code, WRONG_USAGE);
        }
    }
}
