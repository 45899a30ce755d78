//! The check `ipv6`: does IPv6, if available, work as well as IPv4?
//!
//! Pure. A network without IPv6 is "ok". Broken IPv6 beside working IPv4 is a warning.

use super::super::{Blame, Finding, Status};
use super::hosts::outcome_text;
use super::{HostReports, IPV6, host_reports, join_names};
use crate::doctor::probe::{ConnectError, ConnectOutcome, HostReport};

const BROKEN: &str = "Phones try IPv6 first, and lose time or fail. Restart the router. If that does not help, turn off \
                      IPv6 in the router or ask the internet provider.";

pub(super) fn diagnose(hosts: HostReports<'_>) -> Finding {
    let reports = match host_reports(IPV6, hosts) {
        Ok(reports) => reports,
        Err(finding) => return *finding,
    };
    let broken: Vec<&HostReport> = reports
        .iter()
        .filter(|report| report.v4.is_good() && !report.v6.is_good() && !is_absent(&report.v6))
        .collect();
    let (v4, v6) =
        (reports.iter().any(|report| report.v4.is_good()), reports.iter().any(|report| report.v6.is_good()));
    match broken.first() {
        Some(first) => {
            let how = if v6 { "works only in part" } else { "is broken on this network" };
            let names: Vec<&str> = broken.iter().map(|report| report.host.name).collect();
            let seen = format!(
                "IPv6 {how}: {} reachable over IPv4 only ({})",
                join_names(&names),
                outcome_text(&first.v6)
            );
            Finding::new(IPV6, Status::Warning, seen).blame(Blame::Network).todo(BROKEN)
        }
        None if v6 && v4 => Finding::new(IPV6, Status::Ok, "IPv6 and IPv4 work"),
        None if v6 => Finding::new(IPV6, Status::Ok, "IPv6 works; IPv4 does not, and is not needed"),
        None if v4 => Finding::new(IPV6, Status::Ok, "no IPv6 on this network; IPv4 is enough"),
        None => Finding::new(IPV6, Status::CannotTell, "neither IPv4 nor IPv6 works"),
    }
}

/// Returns whether IPv6 is unavailable rather than broken.
fn is_absent(outcome: &ConnectOutcome) -> bool {
    match outcome {
        ConnectOutcome::NoName(_) | ConnectOutcome::NoAddress => true,
        ConnectOutcome::NoConnection { error, .. } => *error == ConnectError::NoRoute,
        ConnectOutcome::NoTls { .. } | ConnectOutcome::TlsEstablished { .. } => false,
    }
}
