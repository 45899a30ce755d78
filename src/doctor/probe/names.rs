//! From a host's name to its addresses: what was given for it, else the system's resolver, the same
//! that every other program here uses.
//!
//! It speaks no DNS itself and remembers nothing. Invariant: a name that addresses were given for
//! is never looked up.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::connect_to::given;
use super::{NameFault, Net, apart};

/// All addresses, both families, in the system's order; never empty.
pub(super) async fn addresses(net: &Net, host: &str, port: u16) -> Result<Vec<SocketAddr>, NameFault> {
    if let Some(these) = given(&net.connect_to, host, port) {
        return Ok(these);
    }
    let name = (host.to_owned(), port);
    let limit = net.limits.name;
    let found = apart(limit, move || name.to_socket_addrs().map(Iterator::collect::<Vec<_>>)).await;
    match found {
        None => Err(NameFault::Timeout { after: limit }),
        Some(Err(error)) => Err(NameFault::of(&error)),
        Some(Ok(found)) if found.is_empty() => Err(NameFault::NoAddress),
        Some(Ok(found)) => Ok(found),
    }
}

/// The same for the HTTP client, whose addresses are for one port: where the URL names none, it
/// connects to the address's own.
pub(super) struct Resolver {
    pub net: Arc<Net>,
    pub port: u16,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (net, port) = (Arc::clone(&self.net), self.port);
        Box::pin(async move {
            let found = addresses(&net, name.as_str(), port).await?;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}
