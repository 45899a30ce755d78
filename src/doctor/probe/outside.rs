//! Whether a host that is not Apple's can be reached: it tells a computer that is offline from a network
//! that keeps Apple out.
//!
//! It looks up the name and connects, says nothing on the connection, and asks no other host.

use super::layers::connect_one;
use super::names::addresses;
use super::{ConnectFault, NameFault, Net};

/// Of nobody who sells anything (RFC 2606), and always there.
pub const OUTSIDE_HOST: &str = "example.com";
const PORT: u16 = 443;
/// Addresses that are tried, one after the other.
const ADDRESSES_MAX: usize = 2;

/// How far it got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutsideHost {
    Reached,
    NoName(NameFault),
    NoConnection(ConnectFault),
}

pub async fn ask_outside(net: &Net) -> OutsideHost {
    let found = match addresses(net, OUTSIDE_HOST, PORT).await {
        Ok(found) => found,
        Err(fault) => return OutsideHost::NoName(fault),
    };
    let mut first = None;
    for address in found.iter().take(ADDRESSES_MAX) {
        // Together no longer than one question may take.
        match connect_one(*address, net.limits.connect / 2).await {
            Ok(_) => return OutsideHost::Reached,
            Err(fault) => first = first.or(Some(fault)),
        }
    }
    OutsideHost::NoConnection(first.unwrap_or(ConnectFault::NoRoute))
}
