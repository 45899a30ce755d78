//! The check `portal`: does this network require a login?
//!
//! Pure. Only Apple's exact test page is "ok".

use super::super::{Blame, Finding, Status};
use super::PORTAL;
use crate::doctor::guide::GuideStep;
use crate::doctor::probe::{ForeignResponse, Portal, PortalPage};

const LOG_IN: &str = "Log in to this network: open any page in a browser, on the phone as well. A phone on this network \
                      cannot back up before that.";

pub(super) fn diagnose(portal: Option<&Portal>) -> Finding {
    let found = |status, seen: String| Finding::new(PORTAL, status, seen);
    match portal.map(|portal| &portal.page) {
        None => found(Status::CannotTell, "not checked".to_owned()),
        Some(PortalPage::Open) => {
            found(Status::Ok, "no login page: Apple's test page was received".to_owned())
        }
        Some(PortalPage::Captive(response)) => found(Status::Problem, captive_text(response))
            .blame(Blame::Network)
            .todo(LOG_IN)
            .step(GuideStep::WifiAndPower)
            .evidence([format!("requested Apple's test page, received status {}", response.status)]),
        Some(PortalPage::Unreachable(error)) => {
            found(Status::CannotTell, format!("cannot reach Apple's test page: {error}"))
        }
    }
}

fn captive_text(response: &ForeignResponse) -> String {
    match &response.host {
        Some(host) => {
            format!("this network redirects to a page of its own, at {host}, and requires a login")
        }
        None => "this network responds in Apple's place: it probably requires a login".to_owned(),
    }
}
