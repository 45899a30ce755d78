//! Resolves host names: the addresses of `--connect-to` first, else the system's resolver.
//!
//! Caches nothing. A name with given addresses is never looked up.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::connect_to::overrides;
use super::{ProbeConfig, ResolveError, run_detached};

/// Returns all addresses of both families, in the system's order; never empty.
pub(super) async fn resolve(
    config: &ProbeConfig,
    host: &str,
    port: u16,
) -> Result<Vec<SocketAddr>, ResolveError> {
    if let Some(addresses) = overrides(&config.connect_to, host, port) {
        return Ok(addresses);
    }
    let name = (host.to_owned(), port);
    let limit = config.limits.name;
    let found = run_detached(limit, move || name.to_socket_addrs().map(Iterator::collect::<Vec<_>>)).await;
    match found {
        None => Err(ResolveError::Timeout { after: limit }),
        Some(Err(error)) => Err(ResolveError::of(&error)),
        Some(Ok(found)) if found.is_empty() => Err(ResolveError::NoAddress),
        Some(Ok(found)) => Ok(found),
    }
}

/// The resolver of the HTTP client. The URLs name no port, so the client connects to the port of the
/// resolved address.
pub(super) struct Resolver {
    pub config: Arc<ProbeConfig>,
    pub port: u16,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (config, port) = (Arc::clone(&self.config), self.port);
        Box::pin(async move {
            let addresses = resolve(&config, name.as_str(), port).await?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}
