//! The check `portal`: does this network want a login?
//!
//! Pure. Invariant: an answer that is not exactly Apple's is never "ok".

use super::super::{Blame, Finding, Status};
use super::PORTAL;
use crate::doctor::guide::Step;
use crate::doctor::probe::{Page, Portal, Stranger};

const LOG_IN: &str = "Log in to this network: open any page in a browser, on the phone as well. A phone on this network \
                      cannot back up before that.";

pub(super) fn judge(portal: Option<&Portal>) -> Finding {
    let found = |status, seen: String| Finding::new(PORTAL, status, seen);
    match portal.map(|portal| &portal.page) {
        None => found(Status::CannotTell, "nobody asked for Apple's test page".to_owned()),
        Some(Page::Open) => found(Status::Ok, "no login page: Apple's test page comes through".to_owned()),
        Some(Page::Captive(stranger)) => found(Status::Problem, words(stranger))
            .blame(Blame::Network)
            .todo(LOG_IN)
            .step(Step::WifiAndPower)
            .evidence([format!("asked for Apple's test page, got status {}", stranger.status)]),
        Some(Page::Unreachable(fault)) => {
            found(Status::CannotTell, format!("Apple's test page cannot be reached: {fault}"))
        }
    }
}

fn words(stranger: &Stranger) -> String {
    match &stranger.host {
        Some(host) => {
            format!("this network sends people to a page of its own, at {host}, before it lets them through")
        }
        None => "this network answers in Apple's place: it probably wants a login".to_owned(),
    }
}
