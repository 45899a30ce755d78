//! Probes Apple's hosts layer by layer: DNS, TCP, TLS, for IPv4 and IPv6 separately.
//!
//! All hosts are probed in parallel. No data is sent after the TLS handshake. Each host gets an outcome for
//! both address families.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use super::resolver::resolve;
use super::trust::{CertificateInfo, Trust, TrustStores};
use super::{AddressFamily, ConnectError, ProbeConfig, ResolveError, TlsError, provider, run_detached};
use crate::tls::{AcceptAnyCert, TlsProblem, UnparsableCert};

/// Addresses of one family that are tried in parallel. Apple's names have two to eight.
const ADDRESSES_MAX: usize = 3;

/// One of Apple's hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host {
    pub name: &'static str,
    /// In order of preference; one working port is enough.
    pub ports: &'static [u16],
    pub purpose: Purpose,
}

/// A phone's use of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Backup,
    SignIn,
    Push,
    /// Not needed for a backup.
    Other,
}

const HTTPS: &[u16] = &[443];

/// The hosts that matter to backups, from Apple's list for managed networks.
pub static HOSTS: [Host; 10] = [
    Host { name: "setup.icloud.com", ports: HTTPS, purpose: Purpose::Backup },
    // CloudKit, which carries backups.
    Host { name: "gateway.icloud.com", ports: HTTPS, purpose: Purpose::Backup },
    Host { name: "cvws.icloud-content.com", ports: HTTPS, purpose: Purpose::Backup },
    Host { name: "gsa.apple.com", ports: HTTPS, purpose: Purpose::SignIn },
    Host { name: "idmsa.apple.com", ports: HTTPS, purpose: Purpose::SignIn },
    Host { name: "1-receiver.push.apple.com", ports: &[5223, 443], purpose: Purpose::Push },
    Host { name: "www.icloud.com", ports: HTTPS, purpose: Purpose::Other },
    Host { name: "probe.icloud.com", ports: HTTPS, purpose: Purpose::Other },
    Host { name: "www.apple.com", ports: HTTPS, purpose: Purpose::Other },
    Host { name: "gdmf.apple.com", ports: HTTPS, purpose: Purpose::Other },
];

/// The outcome of both address families for a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostReport {
    pub host: &'static Host,
    pub v4: ConnectOutcome,
    pub v6: ConnectOutcome,
}

/// The layer at which a connection failed, or the established connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectOutcome {
    NoName(ResolveError),
    /// The name has addresses of the other family only.
    NoAddress,
    NoConnection {
        endpoint: Endpoint,
        error: ConnectError,
    },
    NoTls {
        endpoint: Endpoint,
        connect_time: Duration,
        error: TlsError,
    },
    /// The certificate may be untrusted.
    TlsEstablished {
        endpoint: Endpoint,
        connect_time: Duration,
        tls_time: Duration,
        certificate: CertificateInfo,
    },
}

/// The remote address, and Apple's port even if `--connect-to` sets another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub address: IpAddr,
    pub port: u16,
}

impl HostReport {
    /// Returns the outcome of the address family that got further.
    pub fn furthest(&self) -> &ConnectOutcome {
        if self.v6.rank() > self.v4.rank() { &self.v6 } else { &self.v4 }
    }

    /// Returns why the host's certificate is untrusted.
    pub fn certificate_error(&self) -> Option<&TlsProblem> {
        match self.furthest() {
            ConnectOutcome::TlsEstablished { certificate, .. } => match &certificate.trust {
                Trust::Untrusted(error) => Some(error),
                _ => None,
            },
            _ => None,
        }
    }

    pub fn outcome(&self, family: AddressFamily) -> &ConnectOutcome {
        match family {
            AddressFamily::V4 => &self.v4,
            AddressFamily::V6 => &self.v6,
        }
    }
}

impl ConnectOutcome {
    /// Returns whether TLS is established with a trusted certificate.
    pub fn is_good(&self) -> bool {
        matches!(self, ConnectOutcome::TlsEstablished { certificate: CertificateInfo { trust, .. }, .. } if !matches!(trust, Trust::Untrusted(_)))
    }

    /// Orders outcomes by how far the connection got.
    pub fn rank(&self) -> u8 {
        match self {
            ConnectOutcome::NoName(_) => 0,
            ConnectOutcome::NoAddress => 1,
            ConnectOutcome::NoConnection { .. } => 2,
            ConnectOutcome::NoTls { .. } => 3,
            ConnectOutcome::TlsEstablished { .. } if self.is_good() => 5,
            ConnectOutcome::TlsEstablished { .. } => 4,
        }
    }
}

/// The state that all probes share.
struct HostProber {
    config: Arc<ProbeConfig>,
    trust_stores: TrustStores,
    tls: TlsConnector,
    now: Timestamp,
}

/// Probes all of [`HOSTS`], in their order. Certificates are verified at the time `now`.
///
/// # Errors
///
/// One line: TLS cannot be set up, or the trusted certificates cannot be read in time.
pub async fn probe_hosts(config: &Arc<ProbeConfig>, now: Timestamp) -> Result<Vec<HostReport>, String> {
    let tls = connector().map_err(|error| format!("cannot set up TLS: {error}"))?;
    let own = Arc::clone(config);
    let trust_stores = run_detached(config.limits.tls, move || TrustStores::load(&own)).await;
    let trust_stores = trust_stores.ok_or("cannot read this computer's trusted certificates in time")?;
    let prober = Arc::new(HostProber { config: Arc::clone(config), trust_stores, tls, now });
    let mut probes = JoinSet::new();
    for (order, host) in HOSTS.iter().enumerate() {
        let prober = Arc::clone(&prober);
        probes.spawn(async move { (order, prober.probe(host).await) });
    }
    let mut reports = probes.join_all().await;
    reports.sort_by_key(|(order, _)| *order);
    Ok(reports.into_iter().map(|(_, report)| report).collect())
}

fn connector() -> Result<TlsConnector, rustls::Error> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AcceptAnyCert {
            provider: provider(),
            unparsable: UnparsableCert::Rejected,
        }))
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

impl HostProber {
    /// Probes all ports of a host in parallel, because one after the other would take twice the time.
    async fn probe(self: Arc<HostProber>, host: &'static Host) -> HostReport {
        let mut ports = JoinSet::new();
        for (order, port) in host.ports.iter().copied().enumerate() {
            let prober = Arc::clone(&self);
            ports.spawn(async move { (order, prober.probe_port(host.name, port).await) });
        }
        let mut outcomes = ports.join_all().await;
        outcomes.sort_by_key(|(order, _)| *order);
        let (v4, v6): (Vec<ConnectOutcome>, Vec<ConnectOutcome>) =
            outcomes.into_iter().map(|(_, both)| both).unzip();
        HostReport { host, v4: furthest(v4), v6: furthest(v6) }
    }

    async fn probe_port(&self, host: &'static str, port: u16) -> (ConnectOutcome, ConnectOutcome) {
        match resolve(&self.config, host, port).await {
            Err(error) => (ConnectOutcome::NoName(error.clone()), ConnectOutcome::NoName(error)),
            Ok(addresses) => {
                let (v4, v6): (Vec<SocketAddr>, Vec<SocketAddr>) =
                    addresses.into_iter().partition(SocketAddr::is_ipv4);
                tokio::join!(self.probe_family(host, port, &v4), self.probe_family(host, port, &v6))
            }
        }
    }

    async fn probe_family(&self, host: &'static str, port: u16, addresses: &[SocketAddr]) -> ConnectOutcome {
        let Some(first) = addresses.first() else { return ConnectOutcome::NoAddress };
        let began = Instant::now();
        let (address, stream) = match connect(addresses, self.config.limits.connect).await {
            Ok(connected) => connected,
            Err(error) => {
                let endpoint = Endpoint { address: first.ip(), port };
                return ConnectOutcome::NoConnection { endpoint, error };
            }
        };
        let connect_time = began.elapsed();
        let endpoint = Endpoint { address: address.ip(), port };
        let began = Instant::now();
        let limit = self.config.limits.tls;
        match timeout(limit, self.chain(host, stream)).await {
            Err(_) => {
                ConnectOutcome::NoTls { endpoint, connect_time, error: TlsError::Timeout { after: limit } }
            }
            Ok(Err(error)) => ConnectOutcome::NoTls { endpoint, connect_time, error },
            Ok(Ok(chain)) => {
                let tls_time = began.elapsed();
                let certificate = self.inspect(chain, host, limit.saturating_sub(tls_time)).await;
                ConnectOutcome::TlsEstablished { endpoint, connect_time, tls_time, certificate }
            }
        }
    }

    /// Returns the certificate chain, the host's own certificate first.
    async fn chain(
        &self,
        host: &'static str,
        stream: TcpStream,
    ) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let name = ServerName::try_from(host)
            .map_err(|error| TlsError::Failed(TlsProblem::Other(error.to_string())))?;
        let stream = self.tls.connect(name, stream).await.map_err(|error| TlsError::of(&error))?;
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        Ok(chain.iter().map(|certificate| certificate.clone().into_owned()).collect())
    }

    async fn inspect(
        &self,
        chain: Vec<CertificateDer<'static>>,
        host: &'static str,
        limit: Duration,
    ) -> CertificateInfo {
        let (trust_stores, now) = (self.trust_stores.clone(), self.now);
        let own = chain.clone();
        match run_detached(limit, move || trust_stores.inspect(&own, host, now)).await {
            Some(certificate) => certificate,
            None => CertificateInfo {
                trust: Trust::Untrusted(TlsProblem::Other(
                    "cannot verify the certificate in time".to_owned(),
                )),
                ..TrustStores::default().inspect(&chain, host, now)
            },
        }
    }
}

/// Returns the outcome of the port that got furthest; of several, the first.
fn furthest(outcomes: Vec<ConnectOutcome>) -> ConnectOutcome {
    let best = outcomes
        .into_iter()
        .reduce(|best, outcome| if outcome.rank() > best.rank() { outcome } else { best });
    best.unwrap_or(ConnectOutcome::NoAddress)
}

/// Returns the first connection that is established, or the error of the first address.
async fn connect(addresses: &[SocketAddr], limit: Duration) -> Result<(SocketAddr, TcpStream), ConnectError> {
    let mut tries = JoinSet::new();
    for (order, address) in addresses.iter().copied().take(ADDRESSES_MAX).enumerate() {
        tries.spawn(async move { (order, address, connect_one(address, limit).await) });
    }
    let mut errors = Vec::new();
    while let Some(tried) = tries.join_next().await {
        match tried {
            Ok((_, address, Ok(stream))) => return Ok((address, stream)),
            Ok((order, _, Err(error))) => errors.push((order, error)),
            Err(error) => errors.push((ADDRESSES_MAX, ConnectError::Other(error.to_string()))),
        }
    }
    let first = errors.into_iter().min_by_key(|(order, _)| *order);
    Err(first.map_or(ConnectError::NoRoute, |(_, error)| error))
}

pub(super) async fn connect_one(address: SocketAddr, limit: Duration) -> Result<TcpStream, ConnectError> {
    match timeout(limit, TcpStream::connect(address)).await {
        Err(_) => Err(ConnectError::Timeout { after: limit }),
        Ok(connected) => connected.map_err(|error| ConnectError::of(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_that_gets_furthest_counts() {
        let endpoint = |port| Endpoint { address: IpAddr::from([127, 0, 0, 1]), port };
        let refused =
            |port| ConnectOutcome::NoConnection { endpoint: endpoint(port), error: ConnectError::Refused };
        let established = |port, trust| ConnectOutcome::TlsEstablished {
            endpoint: endpoint(port),
            connect_time: Duration::ZERO,
            tls_time: Duration::ZERO,
            certificate: CertificateInfo {
                issuer: String::new(),
                top_issuer: String::new(),
                claims_apple: false,
                trust,
            },
        };
        let untrusted = || Trust::Untrusted(TlsProblem::UnknownIssuer);
        assert_eq!(
            furthest(vec![refused(5223), established(443, untrusted())]),
            established(443, untrusted())
        );
        assert_eq!(
            furthest(vec![established(5223, untrusted()), established(443, Trust::Public)]),
            established(443, Trust::Public)
        );
        assert_eq!(
            furthest(vec![established(5223, Trust::Public), established(443, Trust::Public)]),
            established(5223, Trust::Public)
        );
        assert_eq!(furthest(vec![refused(5223), refused(443)]), refused(5223));
        assert_eq!(furthest(Vec::new()), ConnectOutcome::NoAddress);
    }

    #[test]
    fn hosts_are_apples_and_unique() {
        let mut names: Vec<&str> = HOSTS.iter().map(|host| host.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), HOSTS.len());
        let is_apples = |name: &str| {
            [".apple.com", ".icloud.com", ".icloud-content.com"].iter().any(|end| name.ends_with(end))
        };
        assert!(names.iter().all(|name| is_apples(name)), "{names:?}");
    }
}
