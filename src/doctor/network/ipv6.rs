//! The check `ipv6`: does IPv6, if available, work as well as IPv4?
//!
//! Pure. A network without IPv6 is "ok". Broken IPv6 beside working IPv4 is a warning.

use super::super::{Blame, Finding, Status};
use super::hosts::ending;
use super::{Hosts, IPV6, looks, several};
use crate::doctor::probe::{ConnectFault, ConnectOutcome, HostLook};

const BROKEN: &str = "Phones try IPv6 first, and lose time or fail. Restart the router; if that does not help, switch \
                      IPv6 off in it or ask the internet provider.";

pub(super) fn judge(hosts: Hosts<'_>) -> Finding {
    let looks = match looks(IPV6, hosts) {
        Ok(looks) => looks,
        Err(finding) => return *finding,
    };
    let broken: Vec<&HostLook> =
        looks.iter().filter(|look| look.v4.is_good() && !look.v6.is_good() && !is_absent(&look.v6)).collect();
    let (v4, v6) = (looks.iter().any(|look| look.v4.is_good()), looks.iter().any(|look| look.v6.is_good()));
    match broken.first() {
        Some(first) => {
            let how = if v6 { "works only partly here" } else { "is broken here" };
            let names: Vec<&str> = broken.iter().map(|look| look.host.name).collect();
            let seen = format!("IPv6 {how}: {} over IPv4 only ({})", several(&names), ending(&first.v6));
            Finding::new(IPV6, Status::Warning, seen).blame(Blame::Network).todo(BROKEN)
        }
        None if v6 && v4 => Finding::new(IPV6, Status::Ok, "IPv6 and IPv4 work"),
        None if v6 => Finding::new(IPV6, Status::Ok, "IPv6 works; IPv4 does not, and is not needed"),
        None if v4 => Finding::new(IPV6, Status::Ok, "no IPv6 here; IPv4 is enough"),
        None => Finding::new(IPV6, Status::CannotTell, "IPv4 does not work either"),
    }
}

/// There is none to be broken.
fn is_absent(way: &ConnectOutcome) -> bool {
    match way {
        ConnectOutcome::NoName(_) | ConnectOutcome::NoAddress => true,
        ConnectOutcome::NoConnection { fault, .. } => *fault == ConnectFault::NoRoute,
        ConnectOutcome::NoTls { .. } | ConnectOutcome::Answered { .. } => false,
    }
}
