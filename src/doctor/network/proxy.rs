//! The check `proxy`: is a proxy set on this computer, and does it work? Phones do not use it.
//!
//! Pure. Proxy passwords are never shown (`network::reports_a_proxy_without_its_password`).

use super::super::{Blame, Finding, Status};
use super::{Hosts, PROXY, is_reached};
use crate::doctor::probe::{Proxy, SetProxy};

pub(super) fn judge(proxy: Option<&Proxy>, hosts: Hosts<'_>) -> Finding {
    match proxy {
        None => Finding::new(PROXY, Status::CannotTell, "not checked"),
        Some(Proxy::NoneSet) => Finding::new(PROXY, Status::Ok, "no proxy is set in the environment"),
        Some(Proxy::Set(proxy)) => set(proxy, hosts),
        Some(Proxy::Unusable(fault)) => {
            let todo = format!(
                "Correct {} or remove it from the environment: programs on this computer, including statusd, ignore it. \
                 Phones do not use it.",
                fault.variable
            );
            Finding::new(PROXY, Status::Warning, fault.to_string()).blame(Blame::Computer).todo(todo)
        }
    }
}

fn set(proxy: &SetProxy, hosts: Hosts<'_>) -> Finding {
    let goes_past = match hosts {
        Some(Ok(looks)) => looks.is_empty() || looks.iter().any(is_reached),
        Some(Err(_)) | None => true,
    };
    let set = format!("{} in {}", proxy.address, proxy.variable);
    let finding = match &proxy.reached {
        Ok(_) if goes_past => {
            let seen = format!("a proxy is set on this computer ({set}) and responds; phones do not use it");
            Finding::new(PROXY, Status::Ok, seen)
        }
        Ok(_) => {
            let seen = format!("this network requires the proxy of this computer ({set})");
            Finding::new(PROXY, Status::Warning, seen).blame(Blame::Network).todo(
                "A phone on this network does not know of the proxy: set it in the phone's Wi-Fi settings \
                 (Configure Proxy), or ask whoever runs the network to let Apple's hosts through.",
            )
        }
        Err(fault) => {
            let seen = format!("the proxy set on this computer ({set}) does not respond: {fault}");
            Finding::new(PROXY, Status::Warning, seen).blame(Blame::Computer).todo(format!(
                "Correct {} or remove it from the environment: programs on this computer, including statusd, use it. \
                 Phones do not.",
                proxy.variable
            ))
        }
    };
    let exempt = proxy.exempt.iter().map(|exempt| format!("bypasses it: {exempt}"));
    let reached = proxy.reached.iter().map(|took| format!("the proxy responded in {} ms", took.as_millis()));
    finding.evidence(reached.chain(exempt))
}
