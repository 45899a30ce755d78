//! The check `clock`: is this computer's clock correct? With a wrong clock, valid certificates look invalid
//! and the times in other findings are wrong.
//!
//! Pure. Uses the `Date` of Apple's test page and of the feed. One server may be wrong, so a second server or
//! several certificates must agree (`network::tests::clock`). The check `phone-clock` covers the phone's
//! clock.

use super::super::{Blame, Finding, Status};
use super::{CLOCK, ClockOffset, NetworkReport};
use crate::tls::TlsProblem;

const WARNING_S: u64 = 30;
const PROBLEM_S: u64 = 300;
/// The most by which the times of two servers that agree differ.
const AGREEMENT_S: u64 = 30;
const TODO: &str = "Set this computer's clock automatically (date and time settings, or timedatectl set-ntp true). \
                    With a wrong clock, valid certificates look invalid and the times shown here are wrong.";

pub(super) fn diagnose(network: &NetworkReport) -> Finding {
    let unknown = |reason| {
        let seen = format!("cannot check this computer's clock: {reason}");
        Finding::new(CLOCK, Status::CannotTell, seen)
    };
    let finding = match (ahead_s(network), network.clock.as_slice()) {
        (Some(ahead_s), _) => compared(ahead_s),
        (None, []) => unknown("no server sent the time"),
        (None, [_]) => unknown("only one server sent the time"),
        (None, _) => unknown("the servers sent different times"),
    };
    let line = |reading: &ClockOffset| format!("{:+} s, according to {}", reading.ahead_s, reading.server);
    finding.evidence(network.clock.iter().map(line))
}

fn compared(ahead_s: i64) -> Finding {
    let off_s = ahead_s.unsigned_abs();
    let status = match off_s {
        PROBLEM_S.. => Status::Problem,
        WARNING_S.. => Status::Warning,
        _ => return Finding::new(CLOCK, Status::Ok, "this computer's clock is correct"),
    };
    let direction = if ahead_s < 0 { "behind" } else { "ahead" };
    let seen = format!("this computer's clock is {} {direction}", span(off_s));
    Finding::new(CLOCK, status, seen).blame(Blame::Computer).todo(TODO)
}

/// Returns the seconds by which the clock is ahead, according to two servers, or to one server and several
/// certificates.
pub(super) fn ahead_s(network: &NetworkReport) -> Option<i64> {
    let readings = || network.clock.iter().map(|reading| reading.ahead_s);
    let is_confirmed = |ahead_s: &i64| {
        // A reading agrees with itself.
        readings().filter(|other| other.abs_diff(*ahead_s) <= AGREEMENT_S).count() > 1
            || certificates_confirm(network, *ahead_s)
    };
    readings().find(is_confirmed)
}

/// Returns whether several certificates look expired because the clock is ahead, or not yet valid because
/// the clock is behind.
fn certificates_confirm(network: &NetworkReport, ahead_s: i64) -> bool {
    let expected = if ahead_s > 0 { TlsProblem::Expired } else { TlsProblem::NotYetValid };
    let reports = network.hosts.iter().flatten().flatten();
    let count = reports.filter(|report| report.certificate_error() == Some(&expected)).count();
    ahead_s.unsigned_abs() >= PROBLEM_S && count > 1
}

/// Returns the duration in its most readable unit, rounded down.
fn span(s: u64) -> String {
    match s {
        0..120 => format!("{s} s"),
        120..7_200 => format!("{} min", s / 60),
        7_200..172_800 => format!("{} h", s / 3_600),
        _ => format!("{} days", s / 86_400),
    }
}
