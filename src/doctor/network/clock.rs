//! The check `clock`: is this computer's clock correct? With a wrong clock, valid certificates look invalid
//! and the times in other findings are wrong.
//!
//! Pure. The check `phone-clock` covers the phone's clock.

use super::super::{Blame, Finding, Status};
use super::CLOCK;
use crate::doctor::probe::{Clock, ClockSource};

const WARNING_S: u64 = 30;
const PROBLEM_S: u64 = 300;
const TODO: &str = "Set this computer's clock automatically (date and time settings, or timedatectl set-ntp true). \
                    With a wrong clock, valid certificates look invalid and the times shown here are wrong.";

pub(super) fn diagnose(clock: Option<&Clock>) -> Finding {
    let (ahead_s, source) = match clock {
        None => return Finding::new(CLOCK, Status::CannotTell, "not checked"),
        Some(Clock::Unknown(error)) => {
            let seen = format!("cannot compare this computer's clock with time.apple.com: {error}");
            return Finding::new(CLOCK, Status::CannotTell, seen);
        }
        Some(Clock::Measured { ahead_s, source }) => (*ahead_s, *source),
    };
    let off_s = ahead_s.unsigned_abs();
    let seen =
        format!("this computer's clock is {} {}", span(off_s), if ahead_s < 0 { "behind" } else { "ahead" });
    let finding = match off_s {
        PROBLEM_S.. => Finding::new(CLOCK, Status::Problem, seen).blame(Blame::Computer).todo(TODO),
        WARNING_S.. => Finding::new(CLOCK, Status::Warning, seen).blame(Blame::Computer).todo(TODO),
        _ => Finding::new(CLOCK, Status::Ok, "this computer's clock is correct"),
    };
    let source = match source {
        ClockSource::TimeServer => "time.apple.com",
        ClockSource::WebPage => "the date of Apple's test page, because time.apple.com did not respond",
    };
    finding.evidence([format!("{ahead_s:+} s, according to {source}")])
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
