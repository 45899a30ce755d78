//! Apple's hosts, each asked layer by layer: name, connection, TLS; IPv4 and IPv6 apart.
//!
//! Nothing is said on a connection once it is secured. All hosts are asked side by side. Invariant:
//! every host comes back with an answer for either family.

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

use super::names::addresses;
use super::trust::{Distrust, Lists, Papers, Trust};
use super::{AddressFamily, ConnectFault, NameFault, Net, TlsFault, apart, provider};
use crate::tls::{AcceptAnyCert, UnparsableCert};

/// Addresses of one family that are tried side by side; Apple's names have two to eight.
const ADDRESSES_MAX: usize = 3;

/// One of Apple's hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host {
    pub name: &'static str,
    /// In order of preference; one that works is enough.
    pub ports: &'static [u16],
    pub purpose: Purpose,
}

/// What a phone needs it for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Backups go there.
    Backup,
    /// Without it no phone is signed in to iCloud.
    SignIn,
    Push,
    /// Good to know; a backup does without.
    Other,
}

const HTTPS: &[u16] = &[443];

/// As Apple lists them for managed networks, as far as they matter to backups.
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

/// How far each family got with one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostLook {
    pub host: &'static Host,
    pub v4: ConnectOutcome,
    pub v6: ConnectOutcome,
}

/// How far it got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectOutcome {
    NoName(NameFault),
    /// The name has addresses of the other family only.
    NoAddress,
    NoConnection {
        at: Place,
        fault: ConnectFault,
    },
    NoTls {
        at: Place,
        connected: Duration,
        fault: TlsFault,
    },
    /// It showed its certificates, which may be anybody's.
    Answered {
        at: Place,
        connected: Duration,
        secured: Duration,
        papers: Papers,
    },
}

/// Where it went: the address, and Apple's port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub address: IpAddr,
    pub port: u16,
}

impl HostLook {
    pub fn way(&self, family: AddressFamily) -> &ConnectOutcome {
        match family {
            AddressFamily::V4 => &self.v4,
            AddressFamily::V6 => &self.v6,
        }
    }
}

impl ConnectOutcome {
    /// Secured, with a certificate that this computer trusts.
    pub fn is_good(&self) -> bool {
        matches!(self, ConnectOutcome::Answered { papers: Papers { trust, .. }, .. } if !matches!(trust, Trust::Not(_)))
    }

    /// The further, the greater.
    pub fn rank(&self) -> u8 {
        match self {
            ConnectOutcome::NoName(_) => 0,
            ConnectOutcome::NoAddress => 1,
            ConnectOutcome::NoConnection { .. } => 2,
            ConnectOutcome::NoTls { .. } => 3,
            ConnectOutcome::Answered { .. } if self.is_good() => 5,
            ConnectOutcome::Answered { .. } => 4,
        }
    }
}

/// What all questions share.
struct Kit {
    net: Arc<Net>,
    lists: Lists,
    tls: TlsConnector,
    now: Timestamp,
}

/// All of [`HOSTS`], in their order. `now` is what certificates are compared with. Errors only where
/// this program has no cryptography or the system no threads, in one line.
pub async fn ask_hosts(net: &Arc<Net>, now: Timestamp) -> Result<Vec<HostLook>, String> {
    let tls = connector().map_err(|error| format!("cannot prepare secure connections: {error}"))?;
    let own = Arc::clone(net);
    let lists = apart(net.limits.tls, move || Lists::of(&own)).await;
    let lists = lists.ok_or("cannot read this computer's list of trusted certificates in time")?;
    let kit = Arc::new(Kit { net: Arc::clone(net), lists, tls, now });
    let mut questions = JoinSet::new();
    for (order, host) in HOSTS.iter().enumerate() {
        let kit = Arc::clone(&kit);
        questions.spawn(async move { (order, kit.ask(host).await) });
    }
    let mut looks = questions.join_all().await;
    looks.sort_by_key(|(order, _)| *order);
    Ok(looks.into_iter().map(|(_, look)| look).collect())
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

impl Kit {
    /// All its ports side by side: one after the other would take twice the time.
    async fn ask(self: Arc<Kit>, host: &'static Host) -> HostLook {
        let mut ports = JoinSet::new();
        for (order, port) in host.ports.iter().copied().enumerate() {
            let kit = Arc::clone(&self);
            ports.spawn(async move { (order, kit.ask_port(host.name, port).await) });
        }
        let mut ways = ports.join_all().await;
        ways.sort_by_key(|(order, _)| *order);
        let (v4, v6): (Vec<ConnectOutcome>, Vec<ConnectOutcome>) =
            ways.into_iter().map(|(_, both)| both).unzip();
        HostLook { host, v4: furthest(v4), v6: furthest(v6) }
    }

    async fn ask_port(&self, host: &'static str, port: u16) -> (ConnectOutcome, ConnectOutcome) {
        match addresses(&self.net, host, port).await {
            Err(fault) => (ConnectOutcome::NoName(fault.clone()), ConnectOutcome::NoName(fault)),
            Ok(found) => {
                let (v4, v6): (Vec<SocketAddr>, Vec<SocketAddr>) =
                    found.into_iter().partition(SocketAddr::is_ipv4);
                tokio::join!(self.go(host, port, &v4), self.go(host, port, &v6))
            }
        }
    }

    async fn go(&self, host: &'static str, port: u16, addresses: &[SocketAddr]) -> ConnectOutcome {
        let Some(first) = addresses.first() else { return ConnectOutcome::NoAddress };
        let began = Instant::now();
        let (address, stream) = match connect(addresses, self.net.limits.connect).await {
            Ok(connected) => connected,
            Err(fault) => {
                return ConnectOutcome::NoConnection { at: Place { address: first.ip(), port }, fault };
            }
        };
        let connected = began.elapsed();
        let at = Place { address: address.ip(), port };
        let began = Instant::now();
        let limit = self.net.limits.tls;
        match timeout(limit, self.chain(host, stream)).await {
            Err(_) => ConnectOutcome::NoTls { at, connected, fault: TlsFault::Timeout { after: limit } },
            Ok(Err(fault)) => ConnectOutcome::NoTls { at, connected, fault },
            Ok(Ok(chain)) => {
                let secured = began.elapsed();
                let papers = self.papers(chain, host, limit.saturating_sub(secured)).await;
                ConnectOutcome::Answered { at, connected, secured, papers }
            }
        }
    }

    /// The certificates, the host's own first.
    async fn chain(
        &self,
        host: &'static str,
        stream: TcpStream,
    ) -> Result<Vec<CertificateDer<'static>>, TlsFault> {
        let name = ServerName::try_from(host).map_err(|error| TlsFault::Other(error.to_string()))?;
        let stream = self.tls.connect(name, stream).await.map_err(|error| TlsFault::of(&error))?;
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        Ok(chain.iter().map(|one| one.clone().into_owned()).collect())
    }

    async fn papers(
        &self,
        chain: Vec<CertificateDer<'static>>,
        host: &'static str,
        limit: Duration,
    ) -> Papers {
        let (lists, now) = (self.lists.clone(), self.now);
        let own = chain.clone();
        match apart(limit, move || lists.judge(&own, host, now)).await {
            Some(papers) => papers,
            None => Papers {
                trust: Trust::Not(Distrust::Other("this computer did not judge it in time".to_owned())),
                ..Lists::default().judge(&chain, host, now)
            },
        }
    }
}

/// Of the ports that were tried, the one that got furthest; the first of several.
fn furthest(ways: Vec<ConnectOutcome>) -> ConnectOutcome {
    let best = ways.into_iter().reduce(|best, way| if way.rank() > best.rank() { way } else { best });
    best.unwrap_or(ConnectOutcome::NoAddress)
}

/// The first address that answers, or why the first of them did not.
async fn connect(addresses: &[SocketAddr], limit: Duration) -> Result<(SocketAddr, TcpStream), ConnectFault> {
    let mut tries = JoinSet::new();
    for (order, address) in addresses.iter().copied().take(ADDRESSES_MAX).enumerate() {
        tries.spawn(async move { (order, address, connect_one(address, limit).await) });
    }
    let mut faults = Vec::new();
    while let Some(tried) = tries.join_next().await {
        match tried {
            Ok((_, address, Ok(stream))) => return Ok((address, stream)),
            Ok((order, _, Err(fault))) => faults.push((order, fault)),
            Err(error) => faults.push((ADDRESSES_MAX, ConnectFault::Other(error.to_string()))),
        }
    }
    let first = faults.into_iter().min_by_key(|(order, _)| *order);
    Err(first.map_or(ConnectFault::NoRoute, |(_, fault)| fault))
}

/// One address.
pub(super) async fn connect_one(address: SocketAddr, limit: Duration) -> Result<TcpStream, ConnectFault> {
    match timeout(limit, TcpStream::connect(address)).await {
        Err(_) => Err(ConnectFault::Timeout { after: limit }),
        Ok(connected) => connected.map_err(|error| ConnectFault::of(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_that_gets_furthest_counts() {
        let at = |port| Place { address: IpAddr::from([127, 0, 0, 1]), port };
        let refused = |port| ConnectOutcome::NoConnection { at: at(port), fault: ConnectFault::Refused };
        let answered = |port, trust| ConnectOutcome::Answered {
            at: at(port),
            connected: Duration::ZERO,
            secured: Duration::ZERO,
            papers: Papers { issuer: String::new(), top: String::new(), names_apple: false, trust },
        };
        let bad = || Trust::Not(Distrust::UnknownIssuer);
        assert_eq!(furthest(vec![refused(5223), answered(443, bad())]), answered(443, bad()));
        assert_eq!(
            furthest(vec![answered(5223, bad()), answered(443, Trust::Public)]),
            answered(443, Trust::Public)
        );
        assert_eq!(
            furthest(vec![answered(5223, Trust::Public), answered(443, Trust::Public)]),
            answered(5223, Trust::Public)
        );
        assert_eq!(furthest(vec![refused(5223), refused(443)]), refused(5223));
        assert_eq!(furthest(Vec::new()), ConnectOutcome::NoAddress);
    }

    #[test]
    fn hosts_are_apples_and_there_once() {
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
