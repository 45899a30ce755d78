//! The proxy that the environment names for secure connections, and whether anything listens there.
//!
//! It asks nothing through it. Invariant: what is shown of it holds no name of a user and no
//! password.

use std::fmt;
use std::time::{Duration, Instant};

use reqwest::Url;

use super::fault::short;
use super::layers::connect_one;
use super::names::addresses;
use super::{ConnectFault, Environment, NameFault, Net};

/// The first that is set counts: what is for https before what is for all.
const VARIABLES: [&str; 6] =
    ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy"];
const EXEMPT: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// What the environment says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proxy {
    NoneSet,
    Set(SetProxy),
}

/// A proxy that is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetProxy {
    pub variable: &'static str,
    /// `host:port`, nothing else of what is set.
    pub address: String,
    /// What goes past it, as it is set.
    pub exempt: Option<String>,
    /// How long it took to answer (TCP).
    pub reached: Result<Duration, ProxyFault>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxyFault {
    /// What is set is no address.
    Unreadable,
    Name(NameFault),
    Connect(ConnectFault),
}

pub async fn ask_proxy(net: &Net, environment: &Environment<'_>) -> Proxy {
    ask(net, environment).await.map_or(Proxy::NoneSet, Proxy::Set)
}

async fn ask(net: &Net, environment: &Environment<'_>) -> Option<SetProxy> {
    let set = |name: &str| environment(name).filter(|value| !value.trim().is_empty());
    let (variable, value) = VARIABLES.iter().find_map(|name| Some((*name, set(name)?)))?;
    let exempt = EXEMPT.iter().find_map(|name| set(name)).map(|value| short(&value));
    let Some((host, port)) = place(&value) else {
        let reached = Err(ProxyFault::Unreadable);
        return Some(SetProxy {
            variable,
            address: "an address that cannot be read".to_owned(),
            exempt,
            reached,
        });
    };
    let reached = reach(net, &host, port).await;
    Some(SetProxy { variable, address: short(&format!("{host}:{port}")), exempt, reached })
}

/// Host and port; many write the host alone.
fn place(value: &str) -> Option<(String, u16)> {
    let value = value.trim();
    let url = if value.contains("://") { Url::parse(value) } else { Url::parse(&format!("http://{value}")) };
    let url = url.ok()?;
    let usual = if url.scheme().starts_with("socks") { 1080 } else { 80 };
    Some((url.host_str()?.to_owned(), url.port_or_known_default().unwrap_or(usual)))
}

async fn reach(net: &Net, host: &str, port: u16) -> Result<Duration, ProxyFault> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let found = addresses(net, bare, port).await.map_err(ProxyFault::Name)?;
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
            ProxyFault::Unreadable => write!(f, "what is set is no address"),
            ProxyFault::Name(fault) => fault.fmt(f),
            ProxyFault::Connect(fault) => fault.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_a_host_and_a_port() {
        #[track_caller]
        fn check(value: &str, expected: Option<(&str, u16)>) {
            assert_eq!(place(value), expected.map(|(host, port)| (host.to_owned(), port)));
        }
        check("http://user:secret@proxy.example:3128/", Some(("proxy.example", 3128)));
        check("proxy.example:3128", Some(("proxy.example", 3128)));
        check("user:secret@proxy.example:8080", Some(("proxy.example", 8080)));
        check("https://proxy.example", Some(("proxy.example", 443)));
        check("socks5h://proxy.example", Some(("proxy.example", 1080)));
        check("[::1]:3128", Some(("[::1]", 3128)));
        check("http://", None);
    }
}
