//! Describes the failures of the desktop session and its notification server.

use zbus::DBusError as _;

use super::super::not_reached;
use super::bus::{has_no_owner, is_disconnected, is_reply};
use crate::cause::Cause as _;
use crate::channel::outcome::SendOutcome;
use crate::text;

const CHECK_SESSION: &str =
    "check that a user is logged in; on a machine without a desktop, switch this channel off";
/// Limits the characters of a foreign error message.
const REASON_MAX: usize = 200;

pub fn unconfirmed() -> SendOutcome {
    let detail = "the desktop has not confirmed the message".to_owned();
    SendOutcome::Transient { after_s: None, reached: true, detail }
}

pub fn no_bus(error: &zbus::Error) -> String {
    format!("cannot reach the desktop session bus: {}; {CHECK_SESSION}", reason(error))
}

pub fn no_server(error: &zbus::Error) -> String {
    if is_disconnected(error) {
        return format!("the desktop session has ended; {CHECK_SESSION}");
    }
    if has_no_owner(error) {
        return "no notification server in this desktop session; install a notification server".to_owned();
    }
    format!("the desktop's notification server failed: {}", reason(error))
}

/// Returns the outcome of a failed `Notify` call. Without a reply, the message may have been shown.
pub fn rejected(error: &zbus::Error) -> SendOutcome {
    if has_no_owner(error) {
        return not_reached("the desktop's notification server has just stopped");
    }
    let detail = format!("the desktop rejected the message: {}", reason(error));
    SendOutcome::Transient { after_s: None, reached: !is_reply(error), detail }
}

/// Returns the desktop's own error message if there is one. The library's messages are for programmers.
fn reason(error: &zbus::Error) -> String {
    let reason = match error {
        zbus::Error::MethodError(_, Some(message), _) => message.clone(),
        zbus::Error::FDO(error) => error.description().unwrap_or("unknown error").to_owned(),
        zbus::Error::InputOutput(error) => error.reason(),
        zbus::Error::Handshake(_) => "the authentication failed".to_owned(),
        _ => "unknown error".to_owned(),
    };
    text::plain_line(&reason, REASON_MAX)
}
