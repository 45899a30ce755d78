//! The check `proxy`: is a proxy set on this computer, and does it work? Phones do not use it.
//!
//! Pure. Proxy passwords are never shown (`network::reports_a_proxy_without_its_password`).

use super::super::{Blame, Finding, Status};
use super::{HostReports, PROXY, is_reached};
use crate::doctor::probe::{Proxy, SetProxy};

pub(super) fn diagnose(proxy: Option<&Proxy>, hosts: HostReports<'_>) -> Finding {
    match proxy {
        None => Finding::new(PROXY, Status::CannotTell, "not checked"),
        Some(Proxy::NoneSet) => Finding::new(PROXY, Status::Ok, "no proxy is set in the environment"),
        Some(Proxy::Set(proxy)) => diagnose_set(proxy, hosts),
        Some(Proxy::Invalid(error)) => {
            let todo = format!(
                "Correct {} or remove it from the environment: programs on this computer, including statusd, ignore it. \
                 Phones do not use it.",
                error.variable
            );
            Finding::new(PROXY, Status::Warning, error.to_string()).blame(Blame::Computer).todo(todo)
        }
    }
}

fn diagnose_set(proxy: &SetProxy, hosts: HostReports<'_>) -> Finding {
    let works_without_proxy = match hosts {
        Some(Ok(reports)) => reports.is_empty() || reports.iter().any(is_reached),
        Some(Err(_)) | None => true,
    };
    let set = format!("{} in {}", proxy.address, proxy.variable);
    let finding = match &proxy.reached {
        Ok(_) if works_without_proxy => {
            let seen = format!("a proxy is set on this computer ({set}) and responds; phones do not use it");
            Finding::new(PROXY, Status::Ok, seen)
        }
        Ok(_) => {
            let seen = format!("this network requires the proxy that is set on this computer ({set})");
            Finding::new(PROXY, Status::Warning, seen).blame(Blame::Network).todo(
                "Phones do not use this computer's proxy: set it in the phone's Wi-Fi settings (Configure Proxy), \
                 or ask the network's administrator to allow Apple's hosts.",
            )
        }
        Err(error) => {
            let seen = format!("the proxy set on this computer ({set}) does not respond: {error}");
            Finding::new(PROXY, Status::Warning, seen).blame(Blame::Computer).todo(format!(
                "Correct {} or remove it from the environment: programs on this computer, including statusd, use it. \
                 Phones do not.",
                proxy.variable
            ))
        }
    };
    let exempt = proxy.exempt.iter().map(|exempt| format!("hosts that bypass the proxy: {exempt}"));
    let reached = proxy.reached.iter().map(|time| format!("the proxy responded in {} ms", time.as_millis()));
    finding.evidence(reached.chain(exempt))
}
