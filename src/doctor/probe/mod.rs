//! Probes the network between this computer and Apple, layer by layer.
//!
//! Collects data and draws no conclusions. Each probe ends within its limit (`ProbeLimits`).

mod connect_to;
mod error;
mod hosts;
mod portal;
mod proxy;
mod resolver;
mod speed;
mod third_party;
mod trust;
mod web;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::sync::oneshot;

pub use self::connect_to::ConnectTo;
pub use self::error::{ConnectError, ResolveError, TlsError};
pub use self::hosts::{ConnectOutcome, Endpoint, HOSTS, Host, HostReport, Purpose, probe_hosts};
pub use self::portal::{ForeignResponse, Portal, PortalPage, probe_portal};
pub use self::proxy::{Proxy, ProxyConnectError, SetProxy, probe_proxy};
pub use self::speed::{Speed, SpeedError, measure_speed, parse_network_quality};
pub use self::third_party::{THIRD_PARTY_HOST, ThirdParty, probe_third_party};
pub use self::trust::{CertificateInfo, Trust};
pub use self::web::HttpError;
use crate::tls;

/// For DNS. All layers of a host together take less than 12 s.
const NAME_LIMIT: Duration = Duration::from_millis(3_500);
const CONNECT_LIMIT: Duration = Duration::from_secs(4);
const TLS_LIMIT: Duration = Duration::from_secs(4);
/// For a small page, from DNS to the last byte.
const PAGE_LIMIT: Duration = Duration::from_secs(8);
/// For all uploads together.
const SPEED_LIMIT: Duration = Duration::from_secs(8);
/// The program measures the two directions one after the other, about ten seconds each.
const NETWORK_QUALITY_LIMIT: Duration = Duration::from_secs(40);
const NETWORK_QUALITY: &str = "/usr/bin/networkQuality";

/// Returns the value of an environment variable, if it is set.
pub type ProbeEnvironment<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// The configuration of the probes. The default uses the system's resolver, trust stores and programs.
#[derive(Clone, Debug)]
pub struct ProbeConfig {
    /// Takes precedence over the system's resolver.
    pub connect_to: Vec<ConnectTo>,
    /// Authorities that this computer trusts in addition to its own list.
    pub extra_roots: Vec<CertificateDer<'static>>,
    /// The publicly trusted authorities.
    pub public_roots: RootList,
    /// Apple's own authority, which is not on the public list.
    pub apple_roots: Vec<CertificateDer<'static>>,
    /// Allows a connection to a third-party host if no Apple host is reachable.
    pub allow_third_party: bool,
    /// The program that measures the network speed; on macOS only.
    pub network_quality: Option<PathBuf>,
    pub limits: ProbeLimits,
}

#[derive(Clone, Debug)]
pub enum RootList {
    /// Mozilla's list, as of the build of statusd.
    Mozilla,
    Custom(Vec<CertificateDer<'static>>),
}

/// The time limit of each probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeLimits {
    pub name: Duration,
    pub connect: Duration,
    pub tls: Duration,
    pub page: Duration,
    pub speed: Duration,
    pub network_quality: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AddressFamily {
    V4,
    V6,
}

impl Default for ProbeConfig {
    fn default() -> ProbeConfig {
        let apple = CertificateDer::pem_slice_iter(tls::APPLE_ROOT_CA_PEM.as_bytes());
        ProbeConfig {
            connect_to: Vec::new(),
            extra_roots: Vec::new(),
            public_roots: RootList::Mozilla,
            apple_roots: apple.filter_map(Result::ok).collect(),
            allow_third_party: true,
            network_quality: cfg!(target_os = "macos").then(|| PathBuf::from(NETWORK_QUALITY)),
            limits: ProbeLimits::default(),
        }
    }
}

impl ProbeConfig {
    /// Returns the first address that `--connect-to` gives for a host and port.
    pub fn address_of(&self, host: &str, port: u16) -> Option<SocketAddr> {
        connect_to::overrides(&self.connect_to, host, port)?.first().copied()
    }
}

impl Default for ProbeLimits {
    fn default() -> ProbeLimits {
        ProbeLimits {
            name: NAME_LIMIT,
            connect: CONNECT_LIMIT,
            tls: TLS_LIMIT,
            page: PAGE_LIMIT,
            speed: SPEED_LIMIT,
            network_quality: NETWORK_QUALITY_LIMIT,
        }
    }
}

impl RootList {
    fn store(&self) -> RootCertStore {
        match self {
            RootList::Mozilla => RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
            RootList::Custom(list) => store_of(list),
        }
    }
}

fn store_of(list: &[CertificateDer<'static>]) -> RootCertStore {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(list.iter().cloned());
    store
}

/// Runs a blocking call that may never return, such as the system's resolver, on a detached thread. Returns
/// `None` if the call exceeds the limit; its thread is then abandoned. A thread of the runtime would delay
/// the exit of statusd.
async fn run_detached<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (sender, receiver) = oneshot::channel();
    let thread = std::thread::Builder::new().name("probe".to_owned());
    // Sending fails if the limit has passed.
    thread.spawn(move || drop(sender.send(work()))).ok()?;
    tokio::time::timeout(limit, receiver).await.ok()?.ok()
}

/// Returns the cryptography provider of all probes.
fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_trusts_mozillas_list_and_apples_authority() {
        let config = ProbeConfig::default();
        assert!(config.public_roots.store().len() > 100);
        assert_eq!(store_of(&config.apple_roots).len(), 1);
        assert!(config.connect_to.is_empty() && config.extra_roots.is_empty());
    }

    #[test]
    fn all_layers_of_a_host_end_within_12_s() {
        let limits = ProbeLimits::default();
        assert!(limits.name + limits.connect + limits.tls < Duration::from_secs(12));
        assert!(limits.page < Duration::from_secs(12));
    }

    #[tokio::test]
    async fn a_call_that_never_returns_is_abandoned() {
        let (release, blocked) = std::sync::mpsc::channel::<()>();
        let result = run_detached(Duration::from_millis(10), move || blocked.recv().is_ok()).await;
        assert_eq!(result, None);
        drop(release);
        assert_eq!(run_detached(Duration::from_secs(60), || 7).await, Some(7));
    }
}
