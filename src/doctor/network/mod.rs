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
    Clock, ClockSource, HostLook, Net, OutsideHost, Portal, PortalPage, ProbeEnvironment, Proxy, Speed,
    SpeedFault, ask_clock, ask_hosts, ask_outside, ask_portal, ask_proxy, ask_speed,
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

/// Names in a line before "and … more".
const NAMED_MAX: usize = 3;

/// The collected data. `None`: not requested.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkReport {
    pub portal: Option<Portal>,
    /// The error is one line.
    pub hosts: Option<Result<Vec<HostLook>, String>>,
    pub proxy: Option<Proxy>,
    pub clock: Option<Clock>,
    pub speed: Option<Result<Speed, SpeedFault>>,
    /// A host that is not Apple's, where none of Apple's can be reached.
    pub outside: Option<OutsideHost>,
}

/// Looks at all that the wanted checks need, side by side, within twelve seconds; the speed, where
/// it is asked for, after that and for as long again, for it fills the line (up to 40 s on macOS).
/// Ids that are not of [`IDS`] are ignored. `now` is when it is called.
pub async fn look(
    net: &Net,
    environment: &ProbeEnvironment<'_>,
    wanted: &BTreeSet<&str>,
    with_speed: bool,
    now: Timestamp,
) -> NetworkReport {
    let net = Arc::new(net.clone());
    let wants = |ids: &[&str]| ids.iter().any(|id| wanted.contains(id));
    let (portal, hosts, proxy, clock) = tokio::join!(
        // The clock falls back on its date.
        when(wants(&[PORTAL, CLOCK]), ask_portal(&net, now)),
        when(wants(&[HOSTS, IPV6, INTERCEPTION, PROXY]), ask_hosts(&net, now)),
        when(wants(&[PROXY, HOSTS]), ask_proxy(&net, environment)),
        when(wants(&[CLOCK, HOSTS]), ask_clock(&net, now)),
    );
    let is_cut_off = matches!(&hosts, Some(Ok(looks)) if !looks.iter().any(is_reached));
    let outside = when(is_cut_off && net.may_ask_outside && wants(&[HOSTS]), ask_outside(&net)).await;
    let speed = when(with_speed && wants(&[SPEED]), ask_speed(&net)).await;
    let clock = clock.map(|clock| or_by_page(clock, portal.as_ref()));
    NetworkReport { portal, hosts, proxy, clock, speed, outside }
}

async fn when<T>(wanted: bool, question: impl Future<Output = T>) -> Option<T> {
    if wanted { Some(question.await) } else { None }
}

/// Many networks let no question about the time through. A stranger's page says nothing about it.
fn or_by_page(clock: Clock, portal: Option<&Portal>) -> Clock {
    match (&clock, portal) {
        (Clock::Unknown(_), Some(Portal { page: PortalPage::Open, ahead_s: Some(ahead_s) })) => {
            Clock::Measured { ahead_s: *ahead_s, by: ClockSource::WebPage }
        }
        _ => clock,
    }
}

/// One finding for each wanted check, in the order of [`IDS`].
pub fn judge(looked: &NetworkReport, wanted: &BTreeSet<&str>) -> Vec<Finding> {
    let finding = |id: &str| match id {
        PORTAL => Some(portal::judge(looked.portal.as_ref())),
        HOSTS => Some(hosts::judge(looked)),
        IPV6 => Some(ipv6::judge(looked.hosts.as_ref())),
        INTERCEPTION => Some(interception::judge(looked.hosts.as_ref())),
        PROXY => Some(proxy::judge(looked.proxy.as_ref(), looked.hosts.as_ref())),
        CLOCK => Some(clock::judge(looked.clock.as_ref())),
        SPEED => Some(speed::judge(looked.speed.as_ref())),
        _ => None,
    };
    IDS.into_iter().filter(|id| wanted.contains(id)).filter_map(finding).collect()
}

/// What the checks of hosts are given.
type Hosts<'a> = Option<&'a Result<Vec<HostLook>, String>>;

/// The hosts, or the finding that there is nothing to judge.
fn looks<'a>(id: &'static str, hosts: Hosts<'a>) -> Result<&'a [HostLook], Box<Finding>> {
    use super::Status::CannotTell;
    match hosts {
        Some(Ok(looks)) if !looks.is_empty() => Ok(looks),
        Some(Err(words)) => Err(Box::new(Finding::new(id, CannotTell, words.clone()))),
        Some(Ok(_)) | None => Err(Box::new(Finding::new(id, CannotTell, "not checked"))),
    }
}

/// Works over IPv4 or IPv6: a phone takes what works.
fn is_reached(look: &HostLook) -> bool {
    look.v4.is_good() || look.v6.is_good()
}

/// "a, b, c and 4 more".
fn several(names: &[&str]) -> String {
    let (named, rest) = names.split_at(names.len().min(NAMED_MAX));
    match (named, rest.len()) {
        ([], _) => String::new(),
        ([one], 0) => (*one).to_owned(),
        ([first @ .., last], 0) => format!("{} and {last}", first.join(", ")),
        (named, more) => format!("{} and {more} more", named.join(", ")),
    }
}

#[cfg(test)]
mod tests;
