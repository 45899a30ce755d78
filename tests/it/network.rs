//! Network checks of `doctor`, against servers on loopback with generated certificates, and in network
//! namespaces without internet access.
//!
//! No test resolves a name or connects outside: every host points to loopback, or the namespace has no
//! other interface.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use crate::common::apple::{Apple, Response, ServerCert};
use crate::common::hosts::{Authority, HostBehaviour, MockHost, self_signed};
use crate::common::http_server::{ClosedPort, with_timeout};
use jiff::Timestamp;
use statusd::doctor::network::{IDS, collect, diagnose};
use statusd::doctor::probe::{ConnectTo, HOSTS, ProbeConfig, ProbeLimits, RootList};
use statusd::doctor::{Blame, Finding, Status};

const SUCCESS: &str = "<HTML><HEAD><TITLE>Success</TITLE></HEAD><BODY>Success</BODY></HTML>";
const SHORT: Duration = Duration::from_millis(300);
const NETWORK: Option<Blame> = Some(Blame::Network);
const COMPUTER: Option<Blame> = Some(Blame::Computer);

/// Generated certificate authorities.
struct Authorities {
    public: Authority,
    apple: Authority,
    /// Trusted by this computer.
    local: Authority,
    unknown: Authority,
}

impl Authorities {
    fn new() -> Authorities {
        Authorities {
            public: Authority::new("Public Root", "Public Trust"),
            apple: Authority::new("Apple Test Root", "Apple Inc."),
            local: Authority::new("Filter Root", "Filter Inc."),
            unknown: Authority::new("Box Root", "Box Inc."),
        }
    }

    fn net(&self) -> ProbeConfig {
        ProbeConfig {
            public_roots: RootList::Custom(vec![self.public.der.clone()]),
            apple_roots: vec![self.apple.der.clone()],
            extra_roots: vec![self.local.der.clone()],
            network_quality: None,
            allow_third_party: false,
            ..ProbeConfig::default()
        }
    }
}

fn to(host: &str, port: u16, address: SocketAddr) -> ConnectTo {
    ConnectTo::parse(&format!("{host}:{port}:{address}")).expect("a valid mapping")
}

/// Starts a server for each host on each of the addresses, and points all ports of the host to it.
async fn start_hosts(
    net: &mut ProbeConfig,
    addresses: &[&str],
    behaviour: impl Fn(&'static str, &str) -> HostBehaviour,
) -> Vec<MockHost> {
    let mut servers = Vec::new();
    for host in &HOSTS {
        for address in addresses {
            let server = MockHost::start(address, behaviour(host.name, address)).await;
            net.connect_to.extend(host.ports.iter().map(|port| to(host.name, *port, server.address)));
            servers.push(server);
        }
    }
    servers
}

const V4: &str = "127.0.0.1:0";
const V6: &str = "[::1]:0";

async fn findings(net: &ProbeConfig, ids: &[&str]) -> Vec<Finding> {
    let wanted: BTreeSet<&str> = ids.iter().copied().collect();
    let report = with_timeout(collect(net, &|_| None, &wanted, true, Timestamp::now())).await;
    diagnose(&report, &wanted)
}

async fn finding(net: &ProbeConfig, id: &str) -> Finding {
    let mut found = findings(net, &[id]).await;
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

#[track_caller]
fn check(finding: &Finding, status: Status, blame: Option<Blame>, expected: &str) {
    assert_eq!((finding.status, finding.blame), (status, blame), "{finding:#?}");
    assert!(finding.seen.contains(expected), "{}", finding.seen);
}

/// Checks the line about `host` in the evidence.
#[track_caller]
fn check_line(finding: &Finding, host: &str, ending: &str) {
    let line = finding.evidence.iter().find(|line| line.starts_with(host)).expect("a line about the host");
    assert!(line.ends_with(ending), "{line}");
}

async fn portal(response: Response) -> Finding {
    let apple = Apple::start().await;
    apple.at("/hotspot-detect.html", response);
    let address = apple.url_of("").trim_start_matches("http://").parse().expect("an address");
    let mut net = Authorities::new().net();
    net.connect_to.push(to("captive.apple.com", 80, address));
    net.limits.page = Duration::from_secs(2);
    finding(&net, "portal").await
}

#[tokio::test]
async fn reports_a_captive_portal_unless_apples_page_is_received() {
    check(&portal(Response::ok(SUCCESS)).await, Status::Ok, None, "was received");
    check(&portal(Response::ok(format!("{SUCCESS}\n"))).await, Status::Ok, None, "was received");
    check(&portal(Response::ok(SUCCESS).gzip()).await, Status::Ok, None, "was received");
    check(&portal(Response::html()).await, Status::Problem, NETWORK, "requires a login");
    check(&portal(Response::ok("x".repeat(1 << 20))).await, Status::Problem, NETWORK, "requires a login");
    check(&portal(Response::status(511)).await, Status::Problem, NETWORK, "requires a login");
    // The same body with another status does not count.
    let length = SUCCESS.len();
    let wrong_status = format!("HTTP/1.1 511 .\r\nContent-Length: {length}\r\n\r\n{SUCCESS}");
    check(
        &portal(Response::raw(wrong_status.as_bytes())).await,
        Status::Problem,
        NETWORK,
        "requires a login",
    );
    let redirect = Response::redirect("http://login.hotel.example/in?mac=aa-bb-cc");
    let found = portal(redirect).await;
    check(&found, Status::Problem, NETWORK, "a page of its own, at login.hotel.example,");
    assert!(!format!("{found:?}").contains("aa-bb"), "{found:?}");
}

#[tokio::test]
async fn cannot_tell_about_a_portal_without_a_complete_response() {
    check(&portal(Response::silence()).await, Status::CannotTell, None, "no complete response within 2 s");
    check(&portal(Response::reset()).await, Status::CannotTell, None, "connection closed");
    check(&portal(Response::close()).await, Status::CannotTell, None, "connection closed");
    check(&portal(Response::ok(SUCCESS).cut()).await, Status::CannotTell, None, "");
    check(&portal(Response::ok(SUCCESS).drip()).await, Status::Problem, NETWORK, "");
    check(&portal(Response::raw(b"SSH-2.0-x\r\n")).await, Status::CannotTell, None, "does not speak HTTP");
    let closed_port = ClosedPort::new();
    let mut net = Authorities::new().net();
    net.connect_to.push(to("captive.apple.com", 80, closed_port.address));
    check(&finding(&net, "portal").await, Status::CannotTell, None, "connection refused");
}

#[tokio::test]
async fn a_healthy_network_passes_over_ipv4_and_ipv6() {
    let authorities = Authorities::new();
    let mut net = authorities.net();
    let _servers = start_hosts(&mut net, &[V4, V6], |host, _| {
        // As on the real servers: some hosts have certificates of Apple's own authority.
        let is_private = ["gdmf.apple.com", "gsa.apple.com"].contains(&host);
        let authority = if is_private { &authorities.apple } else { &authorities.public };
        HostBehaviour::Tls(authority.acceptor(host, ServerCert::Valid))
    })
    .await;
    let found = findings(&net, &["hosts", "ipv6", "interception"]).await;
    let [hosts, ipv6, interception] = found.as_slice() else { panic!("{found:?}") };
    check(hosts, Status::Ok, None, "all 10 Apple hosts");
    check(ipv6, Status::Ok, None, "IPv6 and IPv4 work");
    check(interception, Status::Ok, None, "not decrypted");
    check_line(hosts, "setup.icloud.com IPv4: 127.0.0.1 port 443", "publicly trusted");
    check_line(hosts, "setup.icloud.com IPv6: ::1 port 443", "publicly trusted");
    check_line(
        hosts,
        "gdmf.apple.com IPv4",
        "under Apple Test Root (Apple Inc.), trusted through Apple's own authority",
    );
}

#[tokio::test]
async fn names_the_issuer_of_intercepted_certificates() {
    let authorities = Authorities::new();
    let mut net = authorities.net();
    let _servers = start_hosts(&mut net, &[V4], |host, _| {
        HostBehaviour::Tls(authorities.local.acceptor(host, ServerCert::Valid))
    })
    .await;
    let found = findings(&net, &["hosts", "interception"]).await;
    check(&found[0], Status::Ok, None, "all 10");
    check(&found[1], Status::Problem, NETWORK, "\"Filter Root (Filter Inc.)\" issued certificates for");

    // An authority that this computer does not trust, on every host.
    let mut net = authorities.net();
    let _servers = start_hosts(&mut net, &[V4], |host, _| {
        HostBehaviour::Tls(authorities.unknown.acceptor(host, ServerCert::Valid))
    })
    .await;
    let found = findings(&net, &["hosts", "interception"]).await;
    check(&found[0], Status::Problem, NETWORK, "an unknown authority");
    check(&found[1], Status::Problem, NETWORK, "\"Box Root (Box Inc.)\" issued certificates for");

    let mut net = authorities.net();
    let _servers = start_hosts(&mut net, &[V4], |host, _| {
        let is_odd = host == "gateway.icloud.com";
        let authority = if is_odd { &authorities.unknown } else { &authorities.public };
        HostBehaviour::Tls(authority.acceptor(host, ServerCert::Valid))
    })
    .await;
    let found = findings(&net, &["hosts", "interception"]).await;
    check(&found[0], Status::Problem, NETWORK, "1 of 10 Apple hosts");
    check(
        &found[0],
        Status::Problem,
        NETWORK,
        "gateway.icloud.com (for backups), the certificate was issued by an unknown authority",
    );
    check(&found[1], Status::CannotTell, None, "one host alone");
}

#[tokio::test]
async fn detects_interception_with_self_signed_certificates() {
    let mut net = Authorities::new().net();
    let _servers = start_hosts(&mut net, &[V4], |host, _| HostBehaviour::Tls(self_signed(host))).await;
    let found = findings(&net, &["hosts", "interception"]).await;
    check(&found[0], Status::Problem, NETWORK, "an unknown authority");
    check(&found[1], Status::Problem, NETWORK, "\"Box\" issued certificates for");
}

#[tokio::test]
async fn distinguishes_failures_of_each_network_layer() {
    let authorities = Authorities::new();
    let mut net = authorities.net();
    net.limits.tls = Duration::from_secs(3);
    let _servers = start_hosts(&mut net, &[V4], |host, _| match host {
        "setup.icloud.com" => HostBehaviour::Hangs,
        "gateway.icloud.com" => HostBehaviour::PlainHttp,
        "cvws.icloud-content.com" => HostBehaviour::Closes,
        "gsa.apple.com" => HostBehaviour::Tls(authorities.public.acceptor(host, ServerCert::Expired)),
        "idmsa.apple.com" => HostBehaviour::Tls(authorities.public.acceptor(host, ServerCert::NotYetValid)),
        "www.apple.com" => HostBehaviour::Tls(authorities.public.acceptor(host, ServerCert::WrongHost)),
        host => HostBehaviour::Tls(authorities.public.acceptor(host, ServerCert::Valid)),
    })
    .await;
    // Replaces the server of this host.
    let closed_port = ClosedPort::new();
    net.connect_to.retain(|one| one.host != "probe.icloud.com");
    net.connect_to.push(to("probe.icloud.com", 443, closed_port.address));
    let hosts = finding(&net, "hosts").await;
    check(&hosts, Status::Problem, NETWORK, "7 of 10 Apple hosts");
    check_line(&hosts, "setup.icloud.com IPv4", "connected, but no TLS handshake within 3 s");
    check_line(&hosts, "gateway.icloud.com IPv4", "the server does not speak TLS");
    check_line(&hosts, "cvws.icloud-content.com IPv4", "connection closed during the TLS handshake");
    check_line(&hosts, "gsa.apple.com IPv4", "the certificate has expired");
    check_line(&hosts, "idmsa.apple.com IPv4", "the certificate is not valid yet");
    check_line(&hosts, "www.apple.com IPv4", "the certificate is for another host");
    check_line(&hosts, "probe.icloud.com IPv4", "connection refused");
    check_line(&hosts, "www.icloud.com IPv4", "publicly trusted");
    check_line(&hosts, "www.icloud.com IPv6", "no address");
}

#[tokio::test]
async fn checks_certificates_against_the_given_time() {
    let authorities = Authorities::new();
    let mut net = authorities.net();
    let _servers = start_hosts(&mut net, &[V4], |host, _| {
        HostBehaviour::Tls(authorities.public.acceptor(host, ServerCert::Valid))
    })
    .await;
    let apple = Apple::start().await;
    let date = "Wed, 25 Nov 2026 12:00:00 GMT";
    apple.respond(Response::ok(SUCCESS).header("Date", date));
    net.connect_to.push(to("captive.apple.com", 80, apple.address()));
    let wanted = BTreeSet::from(["hosts", "clock"]);
    // rcgen's certificates are valid from 1975 to 4096.
    let past = "1974-06-01T00:00:00Z".parse().expect("a time");
    let found = diagnose(&collect(&net, &|_| None, &wanted, false, past).await, &wanted);
    check(&found[0], Status::Problem, COMPUTER, "the certificate is not valid yet");
    check(&found[1], Status::Problem, COMPUTER, "days behind");
    // The date of a login page does not count.
    apple.respond(Response::html().header("Date", date));
    let found = diagnose(&collect(&net, &|_| None, &wanted, false, past).await, &wanted);
    check(&found[1], Status::CannotTell, None, "no server sent the time");
}

#[tokio::test]
async fn push_falls_back_to_443() {
    let authorities = Authorities::new();
    let mut net = authorities.net();
    let _servers = start_hosts(&mut net, &[V4], |host, _| {
        HostBehaviour::Tls(authorities.public.acceptor(host, ServerCert::Valid))
    })
    .await;
    let closed_port = ClosedPort::new();
    net.connect_to.retain(|one| one.port != 5223);
    net.connect_to.push(to("1-receiver.push.apple.com", 5223, closed_port.address));
    let hosts = finding(&net, "hosts").await;
    check(&hosts, Status::Ok, None, "all 10");
    check_line(&hosts, "1-receiver.push.apple.com IPv4: 127.0.0.1 port 443 (not 5223)", "publicly trusted");
}

#[tokio::test]
async fn one_reachable_address_of_several_is_enough() {
    let authorities = Authorities::new();
    let mut net = authorities.net();
    let closed_port = ClosedPort::new();
    for host in &HOSTS {
        net.connect_to.extend(host.ports.iter().map(|port| to(host.name, *port, closed_port.address)));
    }
    let _servers = start_hosts(&mut net, &[V4], |host, _| {
        HostBehaviour::Tls(authorities.public.acceptor(host, ServerCert::Valid))
    })
    .await;
    check(&finding(&net, "hosts").await, Status::Ok, None, "all 10");
}

#[tokio::test]
async fn warns_if_only_ipv6_is_broken() {
    let authorities = Authorities::new();
    let mut net = authorities.net();
    let _servers = start_hosts(&mut net, &[V4, V6], |host, address| match address {
        V4 => HostBehaviour::Tls(authorities.public.acceptor(host, ServerCert::Valid)),
        _ => HostBehaviour::Closes,
    })
    .await;
    let found = findings(&net, &["hosts", "ipv6"]).await;
    check(&found[0], Status::Ok, None, "all 10");
    check(&found[1], Status::Warning, NETWORK, "IPv6 is broken on this network");
}

#[tokio::test]
async fn reports_a_proxy_without_its_password() {
    let authorities = Authorities::new();
    let mut net = authorities.net();
    let _servers = start_hosts(&mut net, &[V4], |host, _| {
        HostBehaviour::Tls(authorities.public.acceptor(host, ServerCert::Valid))
    })
    .await;
    let proxy = MockHost::start(V4, HostBehaviour::Hangs).await;
    let closed_port = ClosedPort::new();
    let wanted = BTreeSet::from(["hosts", "proxy"]);
    let check_with = async |net: &ProbeConfig, address: SocketAddr| {
        let value = format!("http://canary-user:canary-password@{address}/canary-path");
        let environment = |name: &str| (name == "https_proxy").then(|| value.clone());
        let found = diagnose(&collect(net, &environment, &wanted, false, Timestamp::now()).await, &wanted);
        assert!(!format!("{found:?}").contains("canary"), "{found:?}");
        found
    };
    let found = check_with(&net, proxy.address).await;
    check(&found[0], Status::Ok, None, "all 10");
    check(&found[1], Status::Ok, None, "phones do not use it");
    let found = check_with(&net, closed_port.address).await;
    check(&found[1], Status::Warning, COMPUTER, "connection refused");

    // A network with internet access through the proxy only.
    let mut closed = authorities.net();
    for host in &HOSTS {
        closed.connect_to.extend(host.ports.iter().map(|port| to(host.name, *port, closed_port.address)));
    }
    let found = check_with(&closed, proxy.address).await;
    check(&found[0], Status::CannotTell, None, "without this computer's proxy");
    check(&found[1], Status::Warning, NETWORK, "requires the proxy that is set on this computer");
    let found = check_with(&closed, closed_port.address).await;
    check(&found[0], Status::Problem, NETWORK, "none of 10");
}

#[tokio::test]
async fn a_third_party_host_distinguishes_offline_from_blocked() {
    let (closed_port, outside) = (ClosedPort::new(), MockHost::start(V4, HostBehaviour::Hangs).await);
    let hosts_finding = async |net: &ProbeConfig, address: SocketAddr| {
        let mut net = net.clone();
        for host in &HOSTS {
            net.connect_to.extend(host.ports.iter().map(|port| to(host.name, *port, closed_port.address)));
        }
        net.connect_to.push(to("example.com", 443, address));
        finding(&net, "hosts").await
    };
    let closed = Authorities::new().net();
    let open = ProbeConfig { allow_third_party: true, ..closed.clone() };
    let found = hosts_finding(&open, outside.address).await;
    let expected = "this network blocks Apple: none of 10 Apple hosts can be reached, but example.com can";
    check(&found, Status::Problem, NETWORK, expected);
    let found = hosts_finding(&open, closed_port.address).await;
    let expected = "this computer is offline: neither Apple's hosts nor example.com can be reached";
    check(&found, Status::Problem, NETWORK, expected);
    // Without permission, the third-party host is not contacted.
    let found = hosts_finding(&closed, outside.address).await;
    check(&found, Status::Problem, NETWORK, "none of 10 Apple hosts can be reached from this computer");
}

async fn speed(limit: Duration, answers: bool, config: &str) -> Finding {
    let authorities = Authorities::new();
    let host = "mensura.cdn-apple.com";
    let tls = authorities.local.acceptor(host, ServerCert::Valid);
    let server =
        MockHost::start(V4, HostBehaviour::Uploads { tls, config: config.to_owned(), answers }).await;
    let mut net = authorities.net();
    net.limits = ProbeLimits { speed: limit, ..ProbeLimits::default() };
    net.connect_to.push(to(host, 443, server.address));
    finding(&net, "speed").await
}

#[tokio::test]
async fn measures_uploads_only_at_apples_address() {
    let config =
        r#"{"version": 1, "urls": {"https_upload_url": "https://mensura.cdn-apple.com/api/v1/gm/slurp"}}"#;
    let whole = speed(Duration::from_secs(8), true, config).await;
    check(&whole, Status::Ok, None, "Mbit/s from this computer: 1 GB takes");
    check(
        &speed(Duration::from_secs(2), false, config).await,
        Status::Warning,
        NETWORK,
        "slower than 0.2 Mbit/s",
    );
    let elsewhere = config.replace("mensura.cdn-apple.com", "mensura.cdn-apple.com.evil.example");
    check(
        &speed(Duration::from_secs(8), true, &elsewhere).await,
        Status::CannotTell,
        None,
        "contains no upload address",
    );
    let plain = config.replace("https://", "http://");
    check(
        &speed(Duration::from_secs(8), true, &plain).await,
        Status::CannotTell,
        None,
        "contains no upload address",
    );
    check(
        &speed(Duration::from_secs(8), true, "[]").await,
        Status::CannotTell,
        None,
        "contains no upload address",
    );
}

#[tokio::test]
async fn uses_network_quality_if_installed() {
    let directory = tempfile::tempdir().expect("a directory");
    let program = directory.path().join("networkQuality");
    let script = "#!/bin/sh\n[ \"$*\" = '-c -s' ] && echo '{\"ul_throughput\": 2500000, \"dl_throughput\": 9000000}'\n";
    std::fs::write(&program, script).expect("a script");
    let mode = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o700);
    std::fs::set_permissions(&program, mode).expect("a program");
    let net = ProbeConfig { network_quality: Some(program.clone()), ..Authorities::new().net() };
    let found = finding(&net, "speed").await;
    check(&found, Status::Ok, None, "uploads at 2.5 Mbit/s");
    assert_eq!(found.evidence, ["downloads at 9.0 Mbit/s"]);

    std::fs::write(&program, "#!/bin/sh\nexec sleep 600\n").expect("a script");
    let limits = ProbeLimits { network_quality: SHORT, ..ProbeLimits::default() };
    let found = finding(&ProbeConfig { limits, ..net }, "speed").await;
    check(&found, Status::CannotTell, None, "timed out after 0.3 s");
}

#[tokio::test]
async fn unrequested_checks_send_nothing() {
    // No host points to loopback: a request would leave this computer and change the report.
    let net = Authorities::new().net();
    let report = collect(&net, &|_| None, &BTreeSet::from(["speed", "else"]), false, Timestamp::now()).await;
    assert_eq!(report, statusd::doctor::network::NetworkReport::default());
    assert_eq!(IDS.len(), 7);
}

#[cfg(target_os = "linux")]
mod namespaces {
    //! Each test starts its `_inside` counterpart in a network namespace.

    use std::process::Command;

    use super::*;

    /// Set in the network namespace.
    const MARK: &str = "STATUSD_TEST_NAMESPACE";
    /// Documentation addresses (RFC 5737, RFC 3849).
    const FAR_V4: &str = "192.0.2.1";
    const FAR_V6: &str = "2001:db8::1";

    /// Runs the test `inner` in a new network namespace, prepared by `script`. The resolver may use only
    /// 127.0.0.1, because a resolver socket would lead out of the namespace.
    #[track_caller]
    fn run_isolated(inner: &str, script: &str) {
        let directory = tempfile::tempdir().expect("a directory");
        let file = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).expect("a file");
            path
        };
        let resolv = file("resolv.conf", "nameserver 127.0.0.1\n");
        let nsswitch = file("nsswitch.conf", "hosts: dns\n");
        let prepare = format!(
            "set -e; PATH=$PATH:/usr/sbin:/sbin; ip link set lo up; mount --bind {} /etc/resolv.conf; \
             if [ -e /etc/nsswitch.conf ]; then mount --bind {} /etc/nsswitch.conf; fi; {script}; exec \"$@\"",
            resolv.display(),
            nsswitch.display()
        );
        let is_root =
            std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
        let rights: &[&str] = if is_root { &[] } else { &["--user", "--map-root-user"] };
        let inner = format!("network::namespaces::{inner}");
        let output = Command::new("unshare")
            .args(rights)
            .args(["--net", "--mount", "sh", "-c", &prepare, "sh"])
            .arg(std::env::current_exe().expect("this program"))
            .args(["--exact", &inner, "--ignored", "--nocapture"])
            .env(MARK, "1")
            .output()
            .expect("unshare (util-linux), installed by scripts/test");
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(
            output.status.success() && out.contains("1 passed"),
            "{inner} failed in its network namespace. If an operation was not permitted, run the tests as root or \
             allow user namespaces.\n{out}\n{err}"
        );
    }

    /// Panics outside the network namespace, because the test uses real addresses and names.
    fn assert_isolated() {
        assert!(std::env::var_os(MARK).is_some(), "only the outer test may run this test");
    }

    fn point_hosts_to(net: &mut ProbeConfig, addresses: &[&str]) {
        for host in &HOSTS {
            for (port, address) in
                host.ports.iter().flat_map(|port| addresses.iter().map(move |address| (port, address)))
            {
                let address = SocketAddr::new(address.parse().expect("an address"), *port);
                net.connect_to.push(to(host.name, *port, address));
            }
        }
    }

    #[test]
    fn no_route() {
        run_isolated("no_route_inside", "true");
    }

    #[tokio::test]
    #[ignore = "its outer test runs it in a network namespace"]
    async fn no_route_inside() {
        assert_isolated();
        let mut net = Authorities::new().net();
        point_hosts_to(&mut net, &[FAR_V4, FAR_V6]);
        let far_end = SocketAddr::new(FAR_V4.parse().expect("an address"), 80);
        net.connect_to.push(to("captive.apple.com", 80, far_end));
        let found = findings(&net, &["portal", "hosts", "ipv6", "interception", "clock"]).await;
        let [portal, hosts, ipv6, interception, clock] = found.as_slice() else { panic!("{found:?}") };
        check(portal, Status::CannotTell, None, "no route from this computer");
        check(hosts, Status::Problem, NETWORK, "this computer has no internet connection");
        check_line(hosts, "setup.icloud.com IPv4", "no route from this computer");
        check_line(hosts, "setup.icloud.com IPv6", "no route from this computer");
        check(ipv6, Status::CannotTell, None, "neither IPv4 nor IPv6 works");
        check(interception, Status::CannotTell, None, "no Apple host");
        check(clock, Status::CannotTell, None, "no server sent the time");
        // With the system's resolver, whose name server does not exist.
        let hosts = finding(&Authorities::new().net(), "hosts").await;
        check(&hosts, Status::Problem, NETWORK, "no internet connection: the name server does not respond");
    }

    #[test]
    fn ipv6_black_hole() {
        // A veth pair silently drops packets for an unused address, as a dummy interface does. Not
        // every kernel has both. The neighbour entry is static because a failed lookup would return
        // an error.
        run_isolated(
            "ipv6_black_hole_inside",
            "{ ip link add hole0 type veth peer name hole1 && ip link set hole1 up; } || ip link add hole0 type dummy; \
             ip link set hole0 up; ip -6 addr add 2001:db8::2/64 dev hole0 nodad; \
             ip -6 neigh add 2001:db8::1 lladdr 02:00:00:00:00:01 dev hole0 nud permanent",
        );
    }

    #[tokio::test]
    #[ignore = "its outer test runs it in a network namespace"]
    async fn ipv6_black_hole_inside() {
        assert_isolated();
        let authorities = Authorities::new();
        let mut net = authorities.net();
        point_hosts_to(&mut net, &[FAR_V6]);
        let _servers = start_hosts(&mut net, &[V4], |host, _| {
            HostBehaviour::Tls(authorities.public.acceptor(host, ServerCert::Valid))
        })
        .await;
        let found = findings(&net, &["hosts", "ipv6"]).await;
        check(&found[0], Status::Ok, None, "all 10");
        check_line(&found[0], "setup.icloud.com IPv6", "no connection within 4 s");
        check(&found[1], Status::Warning, NETWORK, "IPv6 is broken on this network");
        check(&found[1], Status::Warning, NETWORK, "no connection within 4 s");
    }

    #[test]
    fn failing_name_servers() {
        run_isolated("failing_name_servers_inside", "true");
    }

    /// Starts a name server that responds with these flags and no records (RFC 1035, 4.1.1), or never.
    async fn name_server(flags: Option<[u8; 2]>) -> tokio::task::JoinHandle<()> {
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:53").await.expect("a free port");
        tokio::spawn(async move {
            loop {
                let mut packet = [0; 1_024];
                let (length, from) = socket.recv_from(&mut packet).await.expect("a request");
                if let Some(flags) = flags {
                    packet[2..4].copy_from_slice(&flags);
                    socket.send_to(&packet[..length], from).await.expect("sent");
                }
            }
        })
    }

    #[tokio::test]
    #[ignore = "its outer test runs it in a network namespace"]
    async fn failing_name_servers_inside() {
        assert_isolated();
        let net = Authorities::new().net();
        for (flags, expected) in [
            // NXDOMAIN, no data, SERVFAIL, no response.
            (Some([0x81, 0x83]), "no such name"),
            (Some([0x81, 0x80]), "the name has no address"),
            (Some([0x81, 0x82]), "the name server does not respond"),
            (None, "no address within 3.5 s"),
        ] {
            let server = name_server(flags).await;
            let hosts = finding(&net, "hosts").await;
            check(&hosts, Status::Problem, NETWORK, expected);
            server.abort();
            let _aborted = server.await;
        }
    }
}
