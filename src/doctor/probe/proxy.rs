//! Connects to the proxy that is set in the environment.
//!
//! `crate::proxy` reads the variables. No request is sent through the proxy.

use std::fmt;
use std::time::{Duration, Instant};

use super::error::short;
use super::hosts::connect_one;
use super::resolver::resolve;
use super::{ConnectError, ProbeConfig, ProbeEnvironment, ResolveError};
use crate::proxy::{Proxies, ProxyError};

/// The proxy setting of the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proxy {
    NoneSet,
    Set(SetProxy),
    /// An invalid variable, which is ignored.
    Invalid(ProxyError),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetProxy {
    pub variable: &'static str,
    /// `host:port`, without the rest of the value.
    pub address: String,
    /// The hosts that bypass the proxy.
    pub exempt: Option<String>,
    /// The time to connect (TCP).
    pub reached: Result<Duration, ProxyConnectError>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxyConnectError {
    Resolve(ResolveError),
    Connect(ConnectError),
}

pub async fn probe_proxy(config: &ProbeConfig, environment: &ProbeEnvironment<'_>) -> Proxy {
    let mut proxies = Proxies::read(environment);
    if let Some(error) = proxies.errors.pop() {
        return Proxy::Invalid(error);
    }
    let Some(setting) = proxies.first() else { return Proxy::NoneSet };
    let reached = reach(config, setting.host(), setting.port()).await;
    let exempt = proxies.exempt.as_deref().map(short);
    Proxy::Set(SetProxy { variable: setting.variable, address: setting.address(), exempt, reached })
}

async fn reach(config: &ProbeConfig, host: &str, port: u16) -> Result<Duration, ProxyConnectError> {
    let addresses = resolve(config, host, port).await.map_err(ProxyConnectError::Resolve)?;
    let began = Instant::now();
    let mut last = ConnectError::NoRoute;
    for address in addresses.iter().take(2) {
        // Half the limit each, so that both attempts stay within the limit.
        match connect_one(*address, config.limits.connect / 2).await {
            Ok(_) => return Ok(began.elapsed()),
            Err(error) => last = error,
        }
    }
    Err(ProxyConnectError::Connect(last))
}

impl fmt::Display for ProxyConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProxyConnectError::Resolve(error) => error.fmt(f),
            ProxyConnectError::Connect(error) => error.fmt(f),
        }
    }
}
