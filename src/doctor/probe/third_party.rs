//! Connects to a host that is not Apple's, to distinguish an offline computer from a network that blocks
//! Apple.
//!
//! Resolves one name and connects. Sends no data.

use super::hosts::connect_one;
use super::resolver::resolve;
use super::{ConnectError, ProbeConfig, ResolveError};

/// Reserved and always available (RFC 2606).
pub const THIRD_PARTY_HOST: &str = "example.com";
const PORT: u16 = 443;
/// Addresses that are tried one after the other.
const ADDRESSES_MAX: usize = 2;

/// The result of a connection to [`THIRD_PARTY_HOST`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ThirdParty {
    Reached,
    NoName(ResolveError),
    NoConnection(ConnectError),
}

pub async fn probe_third_party(config: &ProbeConfig) -> ThirdParty {
    let addresses = match resolve(config, THIRD_PARTY_HOST, PORT).await {
        Ok(addresses) => addresses,
        Err(error) => return ThirdParty::NoName(error),
    };
    let mut first = None;
    for address in addresses.iter().take(ADDRESSES_MAX) {
        // Half the limit each, so that both attempts stay within the limit.
        match connect_one(*address, config.limits.connect / 2).await {
            Ok(_) => return ThirdParty::Reached,
            Err(error) => first = first.or(Some(error)),
        }
    }
    ThirdParty::NoConnection(first.unwrap_or(ConnectError::NoRoute))
}
