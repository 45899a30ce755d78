//! Connects to the proxy that is set in the environment.
//!
//! `crate::proxy` reads the variables. No request is sent through the proxy.

use std::fmt;
use std::time::{Duration, Instant};

use super::fault::short;
use super::layers::connect_one;
use super::names::addresses;
use super::{ConnectFault, NameFault, Net, ProbeEnvironment};
use crate::proxy::{Proxies, ProxyError};

/// The proxy setting of the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proxy {
    NoneSet,
    Set(SetProxy),
    /// A variable that cannot be used; connections go past it.
    Unusable(ProxyError),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetProxy {
    pub variable: &'static str,
    /// `host:port`, without the rest of the value.
    pub address: String,
    /// The hosts that bypass the proxy.
    pub exempt: Option<String>,
    /// How long it took to answer (TCP).
    pub reached: Result<Duration, ProxyFault>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxyFault {
    Name(NameFault),
    Connect(ConnectFault),
}

pub async fn ask_proxy(net: &Net, environment: &ProbeEnvironment<'_>) -> Proxy {
    let mut proxies = Proxies::read(environment);
    if let Some(fault) = proxies.faults.pop() {
        return Proxy::Unusable(fault);
    }
    let Some(set) = proxies.first() else { return Proxy::NoneSet };
    let reached = reach(net, set.host(), set.port()).await;
    let exempt = proxies.exempt.as_deref().map(short);
    Proxy::Set(SetProxy { variable: set.variable, address: set.place(), exempt, reached })
}

async fn reach(net: &Net, host: &str, port: u16) -> Result<Duration, ProxyFault> {
    let found = addresses(net, host, port).await.map_err(ProxyFault::Name)?;
    let began = Instant::now();
    let mut fault = ConnectFault::NoRoute;
    for address in found.iter().take(2) {
        // Together no longer than one question may take.
        match connect_one(*address, net.limits.connect / 2).await {
            Ok(_) => return Ok(began.elapsed()),
            Err(found) => fault = found,
        }
    }
    Err(ProxyFault::Connect(fault))
}

impl fmt::Display for ProxyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProxyFault::Name(fault) => fault.fmt(f),
            ProxyFault::Connect(fault) => fault.fmt(f),
        }
    }
}
