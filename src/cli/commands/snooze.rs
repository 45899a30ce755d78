//! `statusd snooze`: holds messages to people for a while, then sends one digest.
//!
//! Records the end of the snooze and wakes the daemon. Channels for programs still get each change.

use jiff::{SignedDuration, Timestamp};

use crate::delivery::message::time_format::when;
use crate::schedule::duration;
use crate::status_socket;
use crate::store::Snooze;

use crate::cli::state::located;
use crate::cli::terminal::Page;
use crate::cli::{Failure, Invocation, Output, WRONG_USAGE, store, wait};

/// For a longer time, disable the channel instead.
const LONGEST: SignedDuration = SignedDuration::from_hours(30 * 24);
const OFF: &str = "off";

pub fn run(wish: Option<&str>, invocation: &Invocation) -> Result<Output, Failure> {
    let config = located(invocation)?;
    let page = invocation.page(&config.time_zone);
    let now = invocation.now;
    let Some(wish) = wish else {
        let store = store(&config, false)?;
        return Ok(Output::done(state(wait(store.snoozed())??, &page)));
    };
    let until = if wish == OFF { now } else { end(wish, now)? };
    let store = store(&config, true)?;
    let snoozed = wait(async {
        store.snooze(until, now).await?;
        store.snoozed().await
    })??;
    // A connection to the status socket makes the daemon check its outbox.
    status_socket::ask(&config.state_directory);
    Ok(Output::done(state(snoozed, &page)))
}

fn end(wish: &str, now: Timestamp) -> Result<Timestamp, Failure> {
    let length = duration(wish).filter(|length| (SignedDuration::from_secs(1)..=LONGEST).contains(length));
    let end = length.and_then(|length| now.checked_add(length).ok());
    end.ok_or_else(|| {
        let how = "use for example 30m, 2h or 1d, at most 30d, or off";
        Failure::new(WRONG_USAGE, format!("invalid duration {wish:?}: {how}"))
    })
}

fn state(snooze: Option<Snooze>, page: &Page) -> String {
    match snooze.filter(|snooze| snooze.until > page.now) {
        Some(snooze) => {
            let until = when(snooze.until, page.now, page.zone);
            page.paragraph(
                0,
                &format!(
                    "No messages to people until {until}, then one digest. To end it: `statusd snooze off`."
                ),
            )
        }
        None => "No snooze is active. Messages are sent immediately.\n".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    #[test]
    fn a_snooze_says_when_it_ends() {
        let now: Timestamp = "2026-05-05T12:00:00Z".parse().expect("a time");
        let page = Page { width: 80, color: false, zone: &TimeZone::UTC, now };
        let until = end("2h", now).expect("two hours");
        let text = state(Some(Snooze { from: now, until }), &page);
        assert!(text.starts_with("No messages to people until 14:00,"), "{text}");
        assert!(state(Some(Snooze { from: now, until: now }), &page).starts_with("No snooze"));
        for wrong in ["2", "soon", "-2h", "0m", "31d", "9999999999999999w", ""] {
            assert_eq!(end(wrong, now).expect_err(wrong).code, WRONG_USAGE);
        }
    }
}
