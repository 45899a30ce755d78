//! Probes the network between this computer and Apple, layer by layer.
//!
//! Collects data and draws no conclusions. Each probe ends within its limit (`ProbeLimits`).

mod clock;
mod connect_to;
mod fault;
mod layers;
mod names;
mod outside;
mod portal;
mod proxy;
mod speed;
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

pub use self::clock::{Clock, ClockSource, TimeFault, ask_clock};
pub use self::connect_to::ConnectTo;
pub use self::fault::{ConnectFault, NameFault, TlsFault};
pub use self::layers::{ConnectOutcome, HOSTS, Host, HostLook, Place, Purpose, ask_hosts};
pub use self::outside::{OUTSIDE_HOST, OutsideHost, ask_outside};
pub use self::portal::{Portal, PortalPage, Stranger, ask_portal};
pub use self::proxy::{Proxy, ProxyFault, SetProxy, ask_proxy};
pub use self::speed::{Speed, SpeedFault, ask_speed, parse_network_quality};
pub use self::trust::{Distrust, Papers, Trust};
pub use self::web::WebFault;
use crate::tls;

/// For DNS. All layers of a host together take less than 12 s.
const NAME_LIMIT: Duration = Duration::from_millis(3_500);
const CONNECT_LIMIT: Duration = Duration::from_secs(4);
const TLS_LIMIT: Duration = Duration::from_secs(4);
/// For a small page, from DNS to the last byte.
const PAGE_LIMIT: Duration = Duration::from_secs(8);
/// For one response of the time server. The request is sent twice, because packets get lost.
const TIME_LIMIT: Duration = Duration::from_millis(2_000);
/// For all uploads together.
const SPEED_LIMIT: Duration = Duration::from_secs(8);
/// The program measures the two directions one after the other, about ten seconds each.
const NETWORK_QUALITY_LIMIT: Duration = Duration::from_secs(40);
const NETWORK_QUALITY: &str = "/usr/bin/networkQuality";

/// Returns the value of an environment variable, if it is set.
pub type ProbeEnvironment<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// The configuration of the probes. The default uses the system's resolver, trust stores and programs.
#[derive(Clone, Debug)]
pub struct Net {
    /// Goes before the system's resolver, for the hosts and ports named here.
    pub connect_to: Vec<ConnectTo>,
    /// Authorities that this computer trusts in addition to its own list.
    pub extra_roots: Vec<CertificateDer<'static>>,
    /// The publicly trusted authorities.
    pub public_roots: RootList,
    /// Apple's own authority, which is not on the public list.
    pub apple_roots: Vec<CertificateDer<'static>>,
    /// Whether a host that is not Apple's may be asked, where none of Apple's can be reached.
    pub may_ask_outside: bool,
    /// The program of macOS that measures a network; elsewhere there is none.
    pub network_quality: Option<PathBuf>,
    pub limits: ProbeLimits,
}

#[derive(Clone, Debug)]
pub enum RootList {
    /// Mozilla's list, as of the build of statusd.
    Mozilla,
    These(Vec<CertificateDer<'static>>),
}

/// The time limit of each probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeLimits {
    pub name: Duration,
    pub connect: Duration,
    pub tls: Duration,
    pub page: Duration,
    pub time: Duration,
    pub speed: Duration,
    pub network_quality: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AddressFamily {
    V4,
    V6,
}

impl Default for Net {
    fn default() -> Net {
        let apple = CertificateDer::pem_slice_iter(tls::APPLE_ROOT_CA_PEM.as_bytes());
        Net {
            connect_to: Vec::new(),
            extra_roots: Vec::new(),
            public_roots: RootList::Mozilla,
            apple_roots: apple.filter_map(Result::ok).collect(),
            may_ask_outside: true,
            network_quality: cfg!(target_os = "macos").then(|| PathBuf::from(NETWORK_QUALITY)),
            limits: ProbeLimits::default(),
        }
    }
}

impl Net {
    /// The address that is given for a host and port, if one is.
    pub fn address_of(&self, host: &str, port: u16) -> Option<SocketAddr> {
        connect_to::given(&self.connect_to, host, port)?.first().copied()
    }
}

impl Default for ProbeLimits {
    fn default() -> ProbeLimits {
        ProbeLimits {
            name: NAME_LIMIT,
            connect: CONNECT_LIMIT,
            tls: TLS_LIMIT,
            page: PAGE_LIMIT,
            time: TIME_LIMIT,
            speed: SPEED_LIMIT,
            network_quality: NETWORK_QUALITY_LIMIT,
        }
    }
}

impl RootList {
    fn store(&self) -> RootCertStore {
        match self {
            RootList::Mozilla => RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
            RootList::These(list) => store_of(list),
        }
    }
}

fn store_of(list: &[CertificateDer<'static>]) -> RootCertStore {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(list.iter().cloned());
    store
}

/// Runs on a thread of its own what blocks for as long as it likes: the system's resolver, the
/// system's judgement of a certificate. The thread is left behind where it outlasts its limit; one
/// of the runtime's would be waited for at its end. `None`: not within the limit.
async fn apart<T: Send + 'static>(limit: Duration, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (done, answer) = oneshot::channel();
    let thread = std::thread::Builder::new().name("probe".to_owned());
    // An error: nobody waits any more.
    thread.spawn(move || drop(done.send(work()))).ok()?;
    tokio::time::timeout(limit, answer).await.ok()?.ok()
}

/// Returns the cryptography provider of all probes.
fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_real_world_knows_mozillas_list_and_apples_authority() {
        let net = Net::default();
        assert!(net.public_roots.store().len() > 100);
        assert_eq!(store_of(&net.apple_roots).len(), 1);
        assert!(net.connect_to.is_empty() && net.extra_roots.is_empty());
    }

    #[test]
    fn the_layers_of_a_host_end_within_twelve_seconds() {
        let limits = ProbeLimits::default();
        assert!(limits.name + limits.connect + limits.tls < Duration::from_secs(12));
        assert!(limits.time * 2 + limits.name < Duration::from_secs(12));
        assert!(limits.page < Duration::from_secs(12));
    }

    #[tokio::test]
    async fn what_blocks_for_ever_is_left_behind() {
        let (release, held) = std::sync::mpsc::channel::<()>();
        let left = apart(Duration::from_millis(10), move || held.recv().is_ok()).await;
        assert_eq!(left, None);
        drop(release);
        assert_eq!(apart(Duration::from_secs(60), || 7).await, Some(7));
    }
}
