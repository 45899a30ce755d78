//! The checks of the network between this computer and Apple.
//!
//! `probe` collects the data; the checks are pure. They cover this computer's network only, because the
//! phone may be on another one. Each selected check returns exactly one finding
//! (`each_selected_check_has_one_finding_and_no_data_is_never_ok`).

mod clock;
mod hosts;
mod interception;
mod ipv6;
mod portal;
mod proxy;
mod speed;

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;

use super::Finding;
use crate::doctor::probe::{
    HostReport, Portal, PortalPage, ProbeConfig, ProbeEnvironment, Proxy, Speed, SpeedError, ThirdParty,
    measure_speed, probe_hosts, probe_portal, probe_proxy, probe_third_party,
};

pub const PORTAL: &str = "portal";
pub const HOSTS: &str = "hosts";
pub const IPV6: &str = "ipv6";
pub const INTERCEPTION: &str = "interception";
pub const PROXY: &str = "proxy";
pub const CLOCK: &str = "clock";
pub const SPEED: &str = "speed";
/// The checks of this module, in display order.
pub const IDS: [&str; 7] = [PORTAL, HOSTS, IPV6, INTERCEPTION, PROXY, CLOCK, SPEED];

/// The most names in a line; the rest is "and … more".
const NAMES_MAX: usize = 3;

/// The collected data. `None`: not requested.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkReport {
    pub portal: Option<Portal>,
    /// Errors are one line.
    pub hosts: Option<Result<Vec<HostReport>, String>>,
    pub proxy: Option<Proxy>,
    /// One for each server that sent the time. The caller adds the feed's.
    pub clock: Vec<ClockOffset>,
    pub speed: Option<Result<Speed, SpeedError>>,
    /// Probed only if no Apple host is reachable.
    pub third_party: Option<ThirdParty>,
}

/// This computer's clock, compared with a server's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClockOffset {
    pub server: &'static str,
    /// Positive: this computer's clock is ahead.
    pub ahead_s: i64,
}

/// Collects the data for the selected checks in parallel. Ignores ids that are not in [`IDS`]. `now` is the
/// time of the call.
///
/// Takes at most 12 s. A speed test follows, because it saturates the connection: at most 12 s more, or 40 s
/// on macOS.
pub async fn collect(
    config: &ProbeConfig,
    environment: &ProbeEnvironment<'_>,
    selected: &BTreeSet<&str>,
    with_speed: bool,
    now: Timestamp,
) -> NetworkReport {
    let config = Arc::new(config.clone());
    let wants = |ids: &[&str]| ids.iter().any(|id| selected.contains(id));
    let (portal, hosts, proxy) = tokio::join!(
        when(wants(&[PORTAL, CLOCK]), probe_portal(&config, now)),
        when(wants(&[HOSTS, IPV6, INTERCEPTION, PROXY]), probe_hosts(&config, now)),
        when(wants(&[PROXY, HOSTS]), probe_proxy(&config, environment)),
    );
    let is_apple_unreachable = matches!(&hosts, Some(Ok(reports)) if !reports.iter().any(is_reached));
    let third_party =
        when(is_apple_unreachable && config.allow_third_party && wants(&[HOSTS]), probe_third_party(&config))
            .await;
    let speed = when(with_speed && wants(&[SPEED]), measure_speed(&config)).await;
    // The date of another page is not Apple's.
    let apples = portal.iter().filter(|portal| portal.page == PortalPage::Open);
    let reading = |ahead_s| ClockOffset { server: "Apple's test page", ahead_s };
    let clock = apples.filter_map(|portal| portal.ahead_s).map(reading).collect();
    NetworkReport { portal, hosts, proxy, clock, speed, third_party }
}

async fn when<T>(is_needed: bool, probe: impl Future<Output = T>) -> Option<T> {
    if is_needed { Some(probe.await) } else { None }
}

/// Returns one finding for each selected check, in the order of [`IDS`].
pub fn diagnose(network: &NetworkReport, selected: &BTreeSet<&str>) -> Vec<Finding> {
    let finding = |id: &str| match id {
        PORTAL => Some(portal::diagnose(network.portal.as_ref())),
        HOSTS => Some(hosts::diagnose(network)),
        IPV6 => Some(ipv6::diagnose(network.hosts.as_ref())),
        INTERCEPTION => Some(interception::diagnose(network.hosts.as_ref())),
        PROXY => Some(proxy::diagnose(network.proxy.as_ref(), network.hosts.as_ref())),
        CLOCK => Some(clock::diagnose(network)),
        SPEED => Some(speed::diagnose(network.speed.as_ref())),
        _ => None,
    };
    IDS.into_iter().filter(|id| selected.contains(id)).filter_map(finding).collect()
}

/// The data of the checks of hosts.
type HostReports<'a> = Option<&'a Result<Vec<HostReport>, String>>;

/// Returns the reports, or the finding that there are none.
fn host_reports<'a>(id: &'static str, hosts: HostReports<'a>) -> Result<&'a [HostReport], Box<Finding>> {
    use super::Status::CannotTell;
    match hosts {
        Some(Ok(reports)) if !reports.is_empty() => Ok(reports),
        Some(Err(error)) => Err(Box::new(Finding::new(id, CannotTell, error.clone()))),
        Some(Ok(_)) | None => Err(Box::new(Finding::new(id, CannotTell, "not checked"))),
    }
}

/// Returns whether the host works over IPv4 or IPv6, because a phone uses either.
fn is_reached(report: &HostReport) -> bool {
    report.v4.is_good() || report.v6.is_good()
}

/// Returns "a, b, c and 4 more".
fn join_names(names: &[&str]) -> String {
    let (named, rest) = names.split_at(names.len().min(NAMES_MAX));
    match (named, rest.len()) {
        ([], _) => String::new(),
        ([one], 0) => (*one).to_owned(),
        ([first @ .., last], 0) => format!("{} and {last}", first.join(", ")),
        (named, more) => format!("{} and {more} more", named.join(", ")),
    }
}

#[cfg(test)]
mod tests;
