//! The check `hosts`: are Apple's hosts reachable from this computer, and which layer fails if not?
//!
//! Pure. A host counts as reached if it works over IPv4 or IPv6. The check `ipv6` compares the two.

use std::time::Duration;

use super::super::{Blame, Finding, Status};
use super::{HOSTS, NetworkReport, is_reached, looks, several};
use crate::doctor::guide::GuideStep;
use crate::doctor::probe::{
    AddressFamily, Clock, ConnectFault, ConnectOutcome, Distrust, HostLook, NameFault, OUTSIDE_HOST,
    OutsideHost, Papers, Place, Proxy, Purpose, Trust,
};

/// From this deviation on, a valid certificate can look expired or not yet valid.
const CLOCK_WRONG_S: u64 = 300;

const NO_WAY: &str = "Check this computer's Wi-Fi or cable, then run this again. A phone on the same network is also \
                      offline; this says nothing about a phone on another network.";
const NOTHING: &str = "Restart the router. If other pages work, ask the network's administrator to allow Apple's hosts. \
                       A phone on the same network cannot back up; this says nothing about a phone on another \
                       network.";
const SOME: &str = "A filter, a firewall or a security product in this network may block the connection. Ask its \
                    administrator to allow Apple's hosts, or try the phone on another network.";
const STRANGE: &str = "Another server responds in Apple's place: a login page, a filter, or a security product. The \
                       interception check below names it.";
const MINOR: &str = "Backups do not need these hosts. If this persists, ask the network's administrator whether a \
                     filter blocks them.";
const CLOCK: &str =
    "Set this computer's clock, then run this again: with a wrong clock, valid certificates look invalid.";
const BEHIND_PROXY: &str = "Phones do not use this computer's proxy. If the phone is on this network, set the proxy in \
                            its Wi-Fi settings, or ask the network's administrator to allow Apple's hosts.";

pub(super) fn judge(looked: &NetworkReport) -> Finding {
    let clock = looked.clock.as_ref();
    let looks = match looks(HOSTS, looked.hosts.as_ref()) {
        Ok(looks) => looks,
        Err(finding) => return *finding,
    };
    let failing: Vec<&HostLook> = looks.iter().filter(|look| !is_reached(look)).collect();
    let finding = match failing.as_slice() {
        [] => {
            let count = looks.len();
            Finding::new(
                HOSTS,
                Status::Ok,
                format!("all {count} Apple hosts can be reached from this computer"),
            )
        }
        failing if failing.len() == looks.len() => none_reached(failing, looked),
        failing => some_not_reached(failing, looks.len(), clock),
    };
    finding.evidence(looks.iter().flat_map(evidence))
}

fn none_reached(failing: &[&HostLook], looked: &NetworkReport) -> Finding {
    let count = failing.len();
    let reason = commonest(failing);
    let problem = |seen: String| Finding::new(HOSTS, Status::Problem, seen).blame(Blame::Network);
    if matches!(&looked.proxy, Some(Proxy::Set(proxy)) if proxy.reached.is_ok()) {
        let seen =
            format!("none of {count} Apple hosts can be reached without this computer's proxy: {reason}");
        return Finding::new(HOSTS, Status::CannotTell, seen).todo(BEHIND_PROXY);
    }
    match &looked.outside {
        Some(OutsideHost::Reached) if !failing.iter().any(|look| is_answered(look)) => {
            let seen = format!(
                "this network blocks Apple: none of {count} Apple hosts can be reached, but {OUTSIDE_HOST} can: \
                 {reason}"
            );
            return problem(seen).todo(SOME).step(GuideStep::WifiAndPower);
        }
        Some(OutsideHost::NoName(_) | OutsideHost::NoConnection(_)) => {
            let seen = format!(
                "this computer is offline: neither Apple's hosts nor {OUTSIDE_HOST} can be reached: {reason}"
            );
            return problem(seen).todo(NO_WAY);
        }
        Some(OutsideHost::Reached) | None => {}
    }
    if failing.iter().all(|look| has_no_way(look)) {
        return problem(format!("this computer has no internet connection: {reason}")).todo(NO_WAY);
    }
    let seen = format!("none of {count} Apple hosts can be reached from this computer: {reason}");
    if is_by_clock(failing, looked.clock.as_ref()) {
        return problem(seen).blame(Blame::Computer).todo(CLOCK);
    }
    let todo = if failing.iter().all(|look| is_strange(look)) { STRANGE } else { NOTHING };
    problem(seen).todo(todo).step(GuideStep::WifiAndPower)
}

/// Somebody answers, with a certificate that may be anybody's.
fn is_answered(look: &HostLook) -> bool {
    matches!(further(look), ConnectOutcome::Answered { .. })
}

/// Somebody answers, for whom nobody known vouches.
fn is_strange(look: &HostLook) -> bool {
    match further(look) {
        ConnectOutcome::Answered { papers, .. } => papers.trust == Trust::Not(Distrust::UnknownIssuer),
        ConnectOutcome::NoName(_)
        | ConnectOutcome::NoAddress
        | ConnectOutcome::NoConnection { .. }
        | ConnectOutcome::NoTls { .. } => false,
    }
}

fn some_not_reached(failing: &[&HostLook], count: usize, clock: Option<&Clock>) -> Finding {
    let (needed, minor): (Vec<&HostLook>, Vec<&HostLook>) =
        failing.iter().copied().partition(|look| is_needed(look));
    let named = if needed.is_empty() { &minor } else { &needed };
    let names: Vec<&str> = named.iter().map(|look| look.host.name).collect();
    let others = match failing.len() - named.len() {
        0 => String::new(),
        more => format!("; {more} less important"),
    };
    let what = what_for(named);
    let seen = format!(
        "{} of {count} Apple hosts cannot be reached from this computer: {}{what}, {}{others}",
        failing.len(),
        several(&names),
        commonest(named)
    );
    let status = if needed.is_empty() { Status::Warning } else { Status::Problem };
    let finding = Finding::new(HOSTS, status, seen);
    match status {
        _ if is_by_clock(failing, clock) => finding.blame(Blame::Computer).todo(CLOCK),
        Status::Problem => finding.blame(Blame::Network).todo(SOME).step(GuideStep::WifiAndPower),
        Status::Ok | Status::Warning | Status::Skipped | Status::CannotTell => {
            finding.blame(Blame::Network).todo(MINOR)
        }
    }
}

fn is_needed(look: &HostLook) -> bool {
    match look.host.purpose {
        Purpose::Backup | Purpose::SignIn => true,
        Purpose::Push | Purpose::Other => false,
    }
}

fn what_for(looks: &[&HostLook]) -> &'static str {
    let is_for = |purpose| looks.iter().any(|look| look.host.purpose == purpose);
    match (is_for(Purpose::Backup), is_for(Purpose::SignIn)) {
        (true, true) => " (for backups and signing in)",
        (true, false) => " (for backups)",
        (false, true) => " (for signing in)",
        (false, false) => "",
    }
}

/// The family that got further tells where it ends.
fn further(look: &HostLook) -> &ConnectOutcome {
    if look.v6.rank() > look.v4.rank() { &look.v6 } else { &look.v4 }
}

/// Neither a name nor a way, in either family: as on a computer that is offline.
fn has_no_way(look: &HostLook) -> bool {
    let is_none = |way: &ConnectOutcome| match way {
        ConnectOutcome::NoName(NameFault::NoAnswer) | ConnectOutcome::NoAddress => true,
        ConnectOutcome::NoConnection { fault, .. } => *fault == ConnectFault::NoRoute,
        ConnectOutcome::NoName(_) | ConnectOutcome::NoTls { .. } | ConnectOutcome::Answered { .. } => false,
    };
    is_none(&look.v4) && is_none(&look.v6)
}

fn is_by_clock(failing: &[&HostLook], clock: Option<&Clock>) -> bool {
    let is_wrong = match clock {
        Some(Clock::Measured { ahead_s, .. }) => ahead_s.unsigned_abs() >= CLOCK_WRONG_S,
        // Several certificates do not expire on the same day.
        Some(Clock::Unknown(_)) | None => failing.len() > 1,
    };
    let is_of_time = |look: &&HostLook| match further(look) {
        ConnectOutcome::Answered { papers, .. } => {
            matches!(papers.trust, Trust::Not(Distrust::Expired | Distrust::NotYetValid))
        }
        ConnectOutcome::NoName(_)
        | ConnectOutcome::NoAddress
        | ConnectOutcome::NoConnection { .. }
        | ConnectOutcome::NoTls { .. } => false,
    };
    is_wrong && failing.iter().all(is_of_time)
}

/// Why most of them ended; the first of equals.
fn commonest(failing: &[&HostLook]) -> String {
    let reasons: Vec<String> = failing.iter().map(|look| ending(further(look))).collect();
    let count = |reason: &String| reasons.iter().filter(|other| *other == reason).count();
    let mut best: Option<&String> = None;
    for reason in &reasons {
        if best.is_none_or(|best| count(reason) > count(best)) {
            best = Some(reason);
        }
    }
    best.cloned().unwrap_or_default()
}

/// Where a way ended.
pub(super) fn ending(way: &ConnectOutcome) -> String {
    match way {
        ConnectOutcome::NoName(fault) => fault.to_string(),
        ConnectOutcome::NoAddress => "no address".to_owned(),
        ConnectOutcome::NoConnection { fault, .. } => fault.to_string(),
        ConnectOutcome::NoTls { fault, .. } => fault.to_string(),
        ConnectOutcome::Answered { papers: Papers { trust, .. }, .. } => match trust {
            Trust::Public => "publicly trusted".to_owned(),
            Trust::Apple => "trusted by Apple's own authority".to_owned(),
            Trust::LocalOnly => "trusted by this computer only".to_owned(),
            Trust::Not(distrust) => distrust.to_string(),
        },
    }
}

/// A line for each family.
fn evidence(look: &HostLook) -> [String; 2] {
    [(AddressFamily::V4, "IPv4"), (AddressFamily::V6, "IPv6")].map(|(family, name)| {
        let way = look.way(family);
        format!("{} {name}: {}{}", look.host.name, steps(look, way), ending(way))
    })
}

/// What came before the end of a way.
fn steps(look: &HostLook, way: &ConnectOutcome) -> String {
    match way {
        ConnectOutcome::NoName(_) | ConnectOutcome::NoAddress => String::new(),
        ConnectOutcome::NoConnection { at, .. } => format!("{}, ", place(look, at)),
        ConnectOutcome::NoTls { at, connected, .. } => {
            format!("{}, connected in {}, ", place(look, at), ms(connected))
        }
        ConnectOutcome::Answered { at, connected, secured, papers } => format!(
            "{}, connected in {}, secured in {}, signed by {} under {}, ",
            place(look, at),
            ms(connected),
            ms(secured),
            papers.issuer,
            papers.top
        ),
    }
}

fn place(look: &HostLook, at: &Place) -> String {
    let other = look.host.ports.first().filter(|first| **first != at.port);
    let instead = other.map(|first| format!(" (not {first})")).unwrap_or_default();
    format!("{} port {}{instead}", at.address, at.port)
}

fn ms(duration: &Duration) -> String {
    format!("{} ms", duration.as_millis())
}
