//! The check `hosts`: are Apple's hosts reachable from this computer, and which layer fails if not?
//!
//! Pure. A host counts as reached if it works over IPv4 or IPv6. The check `ipv6` compares the two.

use std::time::Duration;

use super::super::{Blame, Finding, Status};
use super::{HOSTS, NetworkReport, clock, host_reports, is_reached, join_names};
use crate::doctor::guide::GuideStep;
use crate::doctor::probe::{
    AddressFamily, CertificateInfo, ConnectError, ConnectOutcome, Endpoint, HostReport, Proxy, Purpose,
    ResolveError, THIRD_PARTY_HOST, ThirdParty, Trust,
};
use crate::tls::TlsProblem;

/// From this deviation on, a valid certificate can look expired or not yet valid.
const CLOCK_WRONG_S: u64 = 300;

const OFFLINE: &str = "Check this computer's Wi-Fi or cable, then run doctor again. A phone on the same network is also \
                       offline; this says nothing about a phone on another network.";
const NONE_REACHED: &str = "Restart the router. If other pages work, ask the network's administrator to allow Apple's \
                            hosts. A phone on the same network cannot back up; this says nothing about a phone on \
                            another network.";
const BLOCKED: &str = "A filter, a firewall or a security product in this network may block the connection. Ask its \
                       administrator to allow Apple's hosts, or try the phone on another network.";
const OTHER_SERVER: &str = "Another server responds in Apple's place: a login page, a filter, or a security product. \
                            The interception check below names it.";
const NOT_NEEDED: &str = "Backups do not need these hosts. If this persists, ask the network's administrator whether a \
                          filter blocks the hosts.";
const CLOCK: &str =
    "Set this computer's clock, then run doctor again: with a wrong clock, valid certificates look invalid.";
const BEHIND_PROXY: &str = "Phones do not use this computer's proxy. If the phone is on this network, set the proxy in \
                            its Wi-Fi settings, or ask the network's administrator to allow Apple's hosts.";

pub(super) fn diagnose(network: &NetworkReport) -> Finding {
    let reports = match host_reports(HOSTS, network.hosts.as_ref()) {
        Ok(reports) => reports,
        Err(finding) => return *finding,
    };
    let failing: Vec<&HostReport> = reports.iter().filter(|report| !is_reached(report)).collect();
    let finding = match failing.as_slice() {
        [] => {
            let count = reports.len();
            Finding::new(
                HOSTS,
                Status::Ok,
                format!("all {count} Apple hosts can be reached from this computer"),
            )
        }
        failing if failing.len() == reports.len() => none_reached(failing, network),
        failing => some_not_reached(failing, reports.len(), network),
    };
    finding.evidence(reports.iter().flat_map(evidence))
}

fn none_reached(failing: &[&HostReport], network: &NetworkReport) -> Finding {
    let count = failing.len();
    let reason = most_common_reason(failing);
    let problem = |seen: String| Finding::new(HOSTS, Status::Problem, seen).blame(Blame::Network);
    if matches!(&network.proxy, Some(Proxy::Set(proxy)) if proxy.reached.is_ok()) {
        let seen =
            format!("none of {count} Apple hosts can be reached without this computer's proxy: {reason}");
        return Finding::new(HOSTS, Status::CannotTell, seen).todo(BEHIND_PROXY);
    }
    match &network.third_party {
        Some(ThirdParty::Reached) if !failing.iter().any(|report| completed_tls(report)) => {
            let seen = format!(
                "this network blocks Apple: none of {count} Apple hosts can be reached, but {THIRD_PARTY_HOST} can: \
                 {reason}"
            );
            return problem(seen).todo(BLOCKED).step(GuideStep::WifiAndPower);
        }
        Some(ThirdParty::NoName(_) | ThirdParty::NoConnection(_)) => {
            let seen = format!(
                "this computer is offline: neither Apple's hosts nor {THIRD_PARTY_HOST} can be reached: {reason}"
            );
            return problem(seen).todo(OFFLINE);
        }
        Some(ThirdParty::Reached) | None => {}
    }
    if failing.iter().all(|report| has_no_route(report)) {
        return problem(format!("this computer has no internet connection: {reason}")).todo(OFFLINE);
    }
    let seen = format!("none of {count} Apple hosts can be reached from this computer: {reason}");
    if is_caused_by_clock(failing, network) {
        return problem(seen).blame(Blame::Computer).todo(CLOCK);
    }
    let todo =
        if failing.iter().all(|report| has_unknown_issuer(report)) { OTHER_SERVER } else { NONE_REACHED };
    problem(seen).todo(todo).step(GuideStep::WifiAndPower)
}

/// Returns whether a server completed the TLS handshake, with any certificate.
fn completed_tls(report: &HostReport) -> bool {
    matches!(report.furthest(), ConnectOutcome::TlsEstablished { .. })
}

fn has_unknown_issuer(report: &HostReport) -> bool {
    report.certificate_error() == Some(&TlsProblem::UnknownIssuer)
}

fn some_not_reached(failing: &[&HostReport], count: usize, network: &NetworkReport) -> Finding {
    let (needed, not_needed): (Vec<&HostReport>, Vec<&HostReport>) =
        failing.iter().copied().partition(|report| is_needed(report));
    let named = if needed.is_empty() { &not_needed } else { &needed };
    let names: Vec<&str> = named.iter().map(|report| report.host.name).collect();
    let others = match failing.len() - named.len() {
        0 => String::new(),
        more => format!("; {more} less important"),
    };
    let what = what_for(named);
    let seen = format!(
        "{} of {count} Apple hosts cannot be reached from this computer: {}{what}, {}{others}",
        failing.len(),
        join_names(&names),
        most_common_reason(named)
    );
    let status = if needed.is_empty() { Status::Warning } else { Status::Problem };
    let finding = Finding::new(HOSTS, status, seen);
    match status {
        _ if is_caused_by_clock(failing, network) => finding.blame(Blame::Computer).todo(CLOCK),
        Status::Problem => finding.blame(Blame::Network).todo(BLOCKED).step(GuideStep::WifiAndPower),
        Status::Ok | Status::Warning | Status::Skipped | Status::CannotTell => {
            finding.blame(Blame::Network).todo(NOT_NEEDED)
        }
    }
}

fn is_needed(report: &HostReport) -> bool {
    match report.host.purpose {
        Purpose::Backup | Purpose::SignIn => true,
        Purpose::Push | Purpose::Other => false,
    }
}

fn what_for(reports: &[&HostReport]) -> &'static str {
    let is_for = |purpose| reports.iter().any(|report| report.host.purpose == purpose);
    match (is_for(Purpose::Backup), is_for(Purpose::SignIn)) {
        (true, true) => " (for backups and signing in)",
        (true, false) => " (for backups)",
        (false, true) => " (for signing in)",
        (false, false) => "",
    }
}

/// Returns whether neither family has a route or a name server, as on an offline computer.
fn has_no_route(report: &HostReport) -> bool {
    let is_offline = |outcome: &ConnectOutcome| match outcome {
        ConnectOutcome::NoName(ResolveError::NoAnswer) | ConnectOutcome::NoAddress => true,
        ConnectOutcome::NoConnection { error, .. } => *error == ConnectError::NoRoute,
        ConnectOutcome::NoName(_) | ConnectOutcome::NoTls { .. } | ConnectOutcome::TlsEstablished { .. } => {
            false
        }
    };
    is_offline(&report.v4) && is_offline(&report.v6)
}

fn is_caused_by_clock(failing: &[&HostReport], network: &NetworkReport) -> bool {
    let is_wrong = match clock::ahead_s(network) {
        Some(ahead_s) => ahead_s.unsigned_abs() >= CLOCK_WRONG_S,
        // Several certificates do not expire on the same day.
        None => failing.len() > 1,
    };
    let has_date_error = |report: &&HostReport| {
        matches!(report.certificate_error(), Some(TlsProblem::Expired | TlsProblem::NotYetValid))
    };
    is_wrong && failing.iter().all(has_date_error)
}

/// Returns the most common reason; of equally common ones, the first.
fn most_common_reason(failing: &[&HostReport]) -> String {
    let reasons: Vec<String> = failing.iter().map(|report| outcome_text(report.furthest())).collect();
    let count = |reason: &String| reasons.iter().filter(|other| *other == reason).count();
    let mut best: Option<&String> = None;
    for reason in &reasons {
        if best.is_none_or(|best| count(reason) > count(best)) {
            best = Some(reason);
        }
    }
    best.cloned().unwrap_or_default()
}

pub(super) fn outcome_text(outcome: &ConnectOutcome) -> String {
    match outcome {
        ConnectOutcome::NoName(error) => error.to_string(),
        ConnectOutcome::NoAddress => "no address".to_owned(),
        ConnectOutcome::NoConnection { error, .. } => error.to_string(),
        ConnectOutcome::NoTls { error, .. } => error.to_string(),
        ConnectOutcome::TlsEstablished { certificate: CertificateInfo { trust, .. }, .. } => match trust {
            Trust::Public => "publicly trusted".to_owned(),
            Trust::Apple => "trusted through Apple's own authority".to_owned(),
            Trust::LocalOnly => "trusted by this computer only".to_owned(),
            Trust::Untrusted(error) => error.to_string(),
        },
    }
}

/// Returns a line for each address family.
fn evidence(report: &HostReport) -> [String; 2] {
    [(AddressFamily::V4, "IPv4"), (AddressFamily::V6, "IPv6")].map(|(family, name)| {
        let outcome = report.outcome(family);
        format!("{} {name}: {}{}", report.host.name, steps_text(report, outcome), outcome_text(outcome))
    })
}

/// Describes the layers that succeeded.
fn steps_text(report: &HostReport, outcome: &ConnectOutcome) -> String {
    match outcome {
        ConnectOutcome::NoName(_) | ConnectOutcome::NoAddress => String::new(),
        ConnectOutcome::NoConnection { endpoint, .. } => format!("{}, ", endpoint_text(report, endpoint)),
        ConnectOutcome::NoTls { endpoint, connect_time, .. } => {
            format!("{}, connected in {}, ", endpoint_text(report, endpoint), ms(connect_time))
        }
        ConnectOutcome::TlsEstablished { endpoint, connect_time, tls_time, certificate } => format!(
            "{}, connected in {}, TLS handshake in {}, certificate issued by {} under {}, ",
            endpoint_text(report, endpoint),
            ms(connect_time),
            ms(tls_time),
            certificate.issuer,
            certificate.top_issuer
        ),
    }
}

fn endpoint_text(report: &HostReport, endpoint: &Endpoint) -> String {
    let other = report.host.ports.first().filter(|first| **first != endpoint.port);
    let instead = other.map(|first| format!(" (not {first})")).unwrap_or_default();
    format!("{} port {}{instead}", endpoint.address, endpoint.port)
}

fn ms(duration: &Duration) -> String {
    format!("{} ms", duration.as_millis())
}
