//! Table tests: collected data and the findings about it.

use std::net::IpAddr;
use std::time::Duration;

use super::*;
use crate::doctor::probe::{
    CertificateInfo, ConnectError, ConnectOutcome, Endpoint, ForeignResponse, HOSTS as APPLES, HttpError,
    ProxyConnectError, ResolveError, SetProxy, TlsError, Trust,
};
use crate::doctor::{Blame, Status};
use crate::proxy::Proxies;
use crate::tls::TlsProblem;

const NETWORK: Option<Blame> = Some(Blame::Network);
const COMPUTER: Option<Blame> = Some(Blame::Computer);

fn endpoint(host: usize) -> Endpoint {
    Endpoint { address: IpAddr::from([192, 0, 2, 1]), port: APPLES[host].ports[0] }
}

fn established(trust: Trust) -> ConnectOutcome {
    established_by("Apple Public CA", false, trust)
}

fn established_by(top_issuer: &str, claims_apple: bool, trust: Trust) -> ConnectOutcome {
    let certificate = CertificateInfo {
        issuer: "some issuer".to_owned(),
        top_issuer: top_issuer.to_owned(),
        claims_apple,
        trust,
    };
    ConnectOutcome::TlsEstablished {
        endpoint: endpoint(0),
        connect_time: Duration::from_millis(12),
        tls_time: Duration::from_millis(30),
        certificate,
    }
}

fn unknown(top_issuer: &str) -> ConnectOutcome {
    established_by(top_issuer, false, Trust::Untrusted(TlsProblem::UnknownIssuer))
}

fn unconnected(error: ConnectError) -> ConnectOutcome {
    ConnectOutcome::NoConnection { endpoint: endpoint(0), error }
}

fn timeout() -> ConnectError {
    ConnectError::Timeout { after: Duration::from_secs(4) }
}

/// All hosts work over IPv4 and have no IPv6, except where `change` returns other outcomes.
fn network_with(change: impl Fn(&str) -> Option<(ConnectOutcome, ConnectOutcome)>) -> NetworkReport {
    let report = |host: &'static crate::doctor::probe::Host| {
        let (v4, v6) = change(host.name).unwrap_or((established(Trust::Public), ConnectOutcome::NoAddress));
        HostReport { host, v4, v6 }
    };
    NetworkReport { hosts: Some(Ok(APPLES.iter().map(report).collect())), ..NetworkReport::default() }
}

fn all(v4: &ConnectOutcome, v6: &ConnectOutcome) -> NetworkReport {
    network_with(|_| Some((v4.clone(), v6.clone())))
}

fn proxied(network: NetworkReport, reached: Result<Duration, ProxyConnectError>) -> NetworkReport {
    let proxy =
        SetProxy { variable: "HTTPS_PROXY", address: "proxy.example:3128".to_owned(), exempt: None, reached };
    NetworkReport { proxy: Some(Proxy::Set(proxy)), ..network }
}

#[track_caller]
fn found(id: &str, network: &NetworkReport) -> Finding {
    let mut found = diagnose(network, &BTreeSet::from([id]));
    assert_eq!(found.len(), 1, "{found:?}");
    let finding = found.remove(0);
    assert_eq!(finding.id, id);
    for line in [Some(&finding.seen), finding.todo.as_ref()].into_iter().flatten().chain(&finding.evidence) {
        assert!(!line.contains('\n') && !line.contains("  ") && !line.is_empty(), "{line:?}");
    }
    let blames = matches!(finding.status, Status::Warning | Status::Problem);
    assert_eq!(finding.blame.is_some(), blames, "{finding:?}");
    assert!(!blames || finding.todo.is_some(), "{finding:?}");
    finding
}

#[track_caller]
fn check(id: &str, network: &NetworkReport, status: Status, blame: Option<Blame>, seen: &str) {
    let finding = found(id, network);
    assert_eq!((finding.status, finding.blame), (status, blame), "{finding:?}");
    assert!(finding.seen.contains(seen), "{}", finding.seen);
}

#[test]
fn each_selected_check_has_one_finding_and_no_data_is_never_ok() {
    let no_data = NetworkReport::default();
    let ids: Vec<&str> = diagnose(&no_data, &BTreeSet::from(IDS)).iter().map(|finding| finding.id).collect();
    assert_eq!(ids, IDS);
    assert!(diagnose(&no_data, &BTreeSet::from(["phone"])).is_empty());
    for id in [PORTAL, HOSTS, IPV6, INTERCEPTION, PROXY, CLOCK] {
        check(id, &no_data, Status::CannotTell, None, "");
    }
    check(SPEED, &no_data, Status::Skipped, None, "--speed");
    let failed = NetworkReport { hosts: Some(Err("no threads".to_owned())), ..NetworkReport::default() };
    for id in [HOSTS, IPV6, INTERCEPTION] {
        check(id, &failed, Status::CannotTell, None, "no threads");
    }
}

#[test]
fn portal() {
    #[track_caller]
    fn finds(page: PortalPage, status: Status, blame: Option<Blame>, seen: &str) {
        let network =
            NetworkReport { portal: Some(Portal { page, ahead_s: None }), ..NetworkReport::default() };
        check(PORTAL, &network, status, blame, seen);
    }
    let captive = |host: Option<&str>| {
        PortalPage::Captive(ForeignResponse { status: 302, host: host.map(str::to_owned) })
    };
    finds(PortalPage::Open, Status::Ok, None, "was received");
    finds(captive(Some("login.example")), Status::Problem, NETWORK, "login.example");
    finds(captive(None), Status::Problem, NETWORK, "requires a login");
    finds(PortalPage::Unreachable(HttpError::CutOff), Status::CannotTell, None, "connection closed");
}

#[test]
fn all_hosts_are_reached() {
    check(HOSTS, &network_with(|_| None), Status::Ok, None, "all 10 Apple hosts");
    check(HOSTS, &all(&established(Trust::Apple), &ConnectOutcome::NoAddress), Status::Ok, None, "");
    // Another check reports interception.
    check(HOSTS, &all(&established(Trust::LocalOnly), &ConnectOutcome::NoAddress), Status::Ok, None, "");
    // One address family is enough.
    check(HOSTS, &all(&unconnected(timeout()), &established(Trust::Public)), Status::Ok, None, "");
    let evidence = found(HOSTS, &network_with(|_| None)).evidence;
    assert_eq!(evidence.len(), 20);
    assert_eq!(
        evidence[0],
        "setup.icloud.com IPv4: 192.0.2.1 port 443, connected in 12 ms, TLS handshake in 30 ms, certificate \
         issued by some issuer under Apple Public CA, publicly trusted"
    );
    assert_eq!(evidence[1], "setup.icloud.com IPv6: no address");
    // The endpoint in this table has port 443; the preferred port of this host is 5223.
    assert!(evidence[10].contains("port 443 (not 5223)"), "{}", evidence[10]);
}

#[test]
fn no_host_is_reached() {
    let none = |outcome: ConnectOutcome| all(&outcome, &ConnectOutcome::NoAddress);
    let seen = "none of 10 Apple hosts can be reached from this computer: no connection within 4 s";
    check(HOSTS, &none(unconnected(timeout())), Status::Problem, NETWORK, seen);
    let no_route = unconnected(ConnectError::NoRoute);
    check(HOSTS, &all(&no_route, &no_route), Status::Problem, NETWORK, "no internet connection");
    let no_name = ConnectOutcome::NoName(ResolveError::NoAnswer);
    check(HOSTS, &all(&no_name, &no_name), Status::Problem, NETWORK, "the name server does not respond");
    let blocked = ConnectOutcome::NoName(ResolveError::NoSuchName);
    check(HOSTS, &all(&blocked, &blocked), Status::Problem, NETWORK, "no such name");
    // With one route, the computer is not offline.
    check(HOSTS, &all(&no_route, &unconnected(timeout())), Status::Problem, NETWORK, "none of 10");
    check(HOSTS, &none(unknown("X")), Status::Problem, NETWORK, "an unknown authority");

    let with_proxy = proxied(none(unconnected(timeout())), Ok(Duration::ZERO));
    check(HOSTS, &with_proxy, Status::CannotTell, None, "without this computer's proxy");
    let error = ProxyConnectError::Connect(ConnectError::Refused);
    check(HOSTS, &proxied(none(unconnected(timeout())), Err(error)), Status::Problem, NETWORK, "none of 10");
}

#[test]
fn some_hosts_are_reached() {
    let only = |name: &'static str, outcome: ConnectOutcome| {
        network_with(move |host| (host == name).then(|| (outcome.clone(), ConnectOutcome::NoAddress)))
    };
    check(
        HOSTS,
        &only("gateway.icloud.com", unconnected(ConnectError::Refused)),
        Status::Problem,
        NETWORK,
        "1 of 10 Apple hosts cannot be reached from this computer: gateway.icloud.com (for backups), connection refused",
    );
    let cut = ConnectOutcome::NoTls {
        endpoint: endpoint(0),
        connect_time: Duration::ZERO,
        error: TlsError::Failed(TlsProblem::CutOff),
    };
    check(
        HOSTS,
        &only("gsa.apple.com", cut),
        Status::Problem,
        NETWORK,
        "gsa.apple.com (for signing in), connection closed during the TLS handshake",
    );
    check(
        HOSTS,
        &only("gdmf.apple.com", unknown("X")),
        Status::Warning,
        NETWORK,
        "gdmf.apple.com, the certificate was issued by an unknown authority",
    );
    let icloud = network_with(|host| {
        host.contains("icloud").then(|| (unconnected(timeout()), ConnectOutcome::NoAddress))
    });
    check(HOSTS, &icloud, Status::Problem, NETWORK, "5 of 10");
    check(HOSTS, &icloud, Status::Problem, NETWORK, "; 2 less important");
}

fn readings(ahead_s: &[i64]) -> Vec<ClockOffset> {
    ahead_s.iter().map(|ahead_s| ClockOffset { server: "a server", ahead_s: *ahead_s }).collect()
}

#[test]
fn a_wrong_clock_makes_certificates_look_invalid() {
    let expired = all(&established(Trust::Untrusted(TlsProblem::Expired)), &ConnectOutcome::NoAddress);
    let with_clock = |network: &NetworkReport, ahead_s| NetworkReport {
        clock: readings(&[ahead_s, ahead_s]),
        ..network.clone()
    };
    check(HOSTS, &expired, Status::Problem, COMPUTER, "has expired");
    check(HOSTS, &with_clock(&expired, 40_000_000), Status::Problem, COMPUTER, "has expired");
    check(HOSTS, &with_clock(&expired, -2), Status::Problem, NETWORK, "has expired");
    // One host alone may be misconfigured.
    let one = network_with(|host| {
        let early = established(Trust::Untrusted(TlsProblem::NotYetValid));
        (host == "setup.icloud.com").then_some((early, ConnectOutcome::NoAddress))
    });
    check(HOSTS, &one, Status::Problem, NETWORK, "not valid yet");
    check(HOSTS, &with_clock(&one, -40_000_000), Status::Problem, COMPUTER, "not valid yet");
}

#[test]
fn ipv6() {
    let good = || established(Trust::Public);
    check(IPV6, &all(&good(), &good()), Status::Ok, None, "IPv6 and IPv4 work");
    check(
        IPV6,
        &all(&good(), &ConnectOutcome::NoAddress),
        Status::Ok,
        None,
        "no IPv6 on this network; IPv4 is enough",
    );
    check(
        IPV6,
        &all(&good(), &unconnected(ConnectError::NoRoute)),
        Status::Ok,
        None,
        "no IPv6 on this network",
    );
    check(IPV6, &all(&unconnected(timeout()), &good()), Status::Ok, None, "IPv4 does not");
    check(
        IPV6,
        &all(&good(), &unconnected(timeout())),
        Status::Warning,
        NETWORK,
        "IPv6 is broken on this network",
    );
    check(IPV6, &all(&good(), &unknown("X")), Status::Warning, NETWORK, "an unknown authority");
    let partial = network_with(|host| {
        let v6 = if host == "gsa.apple.com" { unconnected(ConnectError::Unreachable) } else { good() };
        Some((good(), v6))
    });
    check(
        IPV6,
        &partial,
        Status::Warning,
        NETWORK,
        "works only in part: gsa.apple.com reachable over IPv4 only",
    );
    let nothing = unconnected(timeout());
    check(IPV6, &all(&nothing, &nothing), Status::CannotTell, None, "neither IPv4 nor IPv6 works");
}

#[test]
fn interception() {
    let v4 = |outcome: ConnectOutcome| all(&outcome, &ConnectOutcome::NoAddress);
    check(INTERCEPTION, &network_with(|_| None), Status::Ok, None, "not decrypted on the way");
    // Apple's own private authority.
    check(INTERCEPTION, &v4(established(Trust::Apple)), Status::Ok, None, "not decrypted on the way");
    let local = established_by("Filter Root (Filter Inc.)", false, Trust::LocalOnly);
    check(
        INTERCEPTION,
        &v4(local.clone()),
        Status::Problem,
        NETWORK,
        "\"Filter Root (Filter Inc.)\" issued certificates for",
    );
    let todo = found(INTERCEPTION, &v4(local.clone())).todo.expect("what to do");
    assert!(todo.contains("Filter Root") && todo.contains("exempt"), "{todo}");
    // One host is enough for an authority that only this computer trusts; over IPv6 as well.
    let one =
        network_with(|host| (host == "gsa.apple.com").then(|| (established(Trust::Public), local.clone())));
    check(INTERCEPTION, &one, Status::Problem, NETWORK, "issued certificates for gsa.apple.com");
    // One unknown authority on several hosts, and on one host alone over both address families.
    check(INTERCEPTION, &v4(unknown("Box")), Status::Problem, NETWORK, "\"Box\"");
    let one = network_with(|host| (host == "gsa.apple.com").then(|| (unknown("Box"), unknown("Box"))));
    check(INTERCEPTION, &one, Status::CannotTell, None, "one host alone");
    let different = network_with(|host| {
        let top = format!("Box of {host}");
        host.starts_with('g').then(|| (unknown(&top), ConnectOutcome::NoAddress))
    });
    check(INTERCEPTION, &different, Status::CannotTell, None, "one host alone");
    // An invalid certificate of a known authority is not interception.
    check(INTERCEPTION, &v4(established(Trust::Untrusted(TlsProblem::WrongHost))), Status::Ok, None, "");
    let claims_apple = established_by("Apple Root CA - G9 (Apple Inc.)", true, Trust::LocalOnly);
    check(INTERCEPTION, &v4(claims_apple), Status::Warning, NETWORK, "claims to be Apple's");
    check(INTERCEPTION, &v4(unconnected(timeout())), Status::CannotTell, None, "no Apple host");
}

#[test]
fn proxy() {
    let unreached = || all(&unconnected(timeout()), &ConnectOutcome::NoAddress);
    let none = NetworkReport { proxy: Some(Proxy::NoneSet), ..network_with(|_| None) };
    check(PROXY, &none, Status::Ok, None, "no proxy is set");
    let set = "proxy.example:3128 in HTTPS_PROXY";
    check(
        PROXY,
        &proxied(network_with(|_| None), Ok(Duration::ZERO)),
        Status::Ok,
        None,
        "phones do not use it",
    );
    check(PROXY, &proxied(unreached(), Ok(Duration::ZERO)), Status::Warning, NETWORK, set);
    let refused = || Err(ProxyConnectError::Connect(ConnectError::Refused));
    check(
        PROXY,
        &proxied(network_with(|_| None), refused()),
        Status::Warning,
        COMPUTER,
        "connection refused",
    );
    let invalid = Proxies::read(&|name| (name == "https_proxy").then(|| "::::".to_owned())).errors.remove(0);
    let invalid = NetworkReport { proxy: Some(Proxy::Invalid(invalid)), ..unreached() };
    check(PROXY, &invalid, Status::Warning, COMPUTER, "invalid https_proxy: expected an address");
}

#[test]
fn clock() {
    #[track_caller]
    fn finds(ahead_s: &[i64], status: Status, blame: Option<Blame>, seen: &str) {
        let network = NetworkReport { clock: readings(ahead_s), ..NetworkReport::default() };
        check(CLOCK, &network, status, blame, seen);
        assert_eq!(found(CLOCK, &network).evidence.len(), ahead_s.len());
    }
    finds(&[0, 0], Status::Ok, None, "correct");
    finds(&[-29, -29], Status::Ok, None, "correct");
    finds(&[30, 30], Status::Warning, COMPUTER, "30 s ahead");
    finds(&[-299, -299], Status::Warning, COMPUTER, "4 min behind");
    finds(&[-300, -300], Status::Problem, COMPUTER, "5 min behind");
    finds(&[10_800, 10_830], Status::Problem, COMPUTER, "3 h ahead");
    finds(&[i64::MIN, i64::MIN], Status::Problem, COMPUTER, "days behind");

    finds(&[], Status::CannotTell, None, "no server sent the time");
    finds(&[0], Status::CannotTell, None, "only one server sent the time");
    finds(&[600], Status::CannotTell, None, "only one server sent the time");
    finds(&[0, 31], Status::CannotTell, None, "the servers sent different times");
    finds(&[0, 100_000_000], Status::CannotTell, None, "the servers sent different times");
    finds(&[i64::MIN, 2, 1], Status::Ok, None, "correct");
    finds(&[600, 0, 601], Status::Problem, COMPUTER, "10 min ahead");
}

#[test]
fn certificates_confirm_the_time_of_one_server() {
    #[track_caller]
    fn finds(network: &NetworkReport, ahead_s: i64, status: Status, seen: &str) {
        let network = NetworkReport { clock: readings(&[ahead_s]), ..network.clone() };
        check(CLOCK, &network, status, (status == Status::Problem).then_some(Blame::Computer), seen);
    }
    let untrusted = |error| (established(Trust::Untrusted(error)), ConnectOutcome::NoAddress);
    let expired = network_with(|_| Some(untrusted(TlsProblem::Expired)));
    finds(&expired, 40_000_000, Status::Problem, "days ahead");
    finds(&expired, -40_000_000, Status::CannotTell, "only one server");
    finds(&expired, 0, Status::CannotTell, "only one server");
    let early = network_with(|_| Some(untrusted(TlsProblem::NotYetValid)));
    finds(&early, -40_000_000, Status::Problem, "days behind");
    finds(&network_with(|_| None), 40_000_000, Status::CannotTell, "only one server");
    let one = network_with(|host| (host == "gsa.apple.com").then(|| untrusted(TlsProblem::Expired)));
    finds(&one, 40_000_000, Status::CannotTell, "only one server");
}

#[test]
fn speed() {
    #[track_caller]
    fn finds(speed: Result<u64, SpeedError>, status: Status, blame: Option<Blame>, seen: &str) {
        let measured = |upload_bits_per_s| Speed { upload_bits_per_s, download_bits_per_s: None };
        let network = NetworkReport { speed: Some(speed.map(measured)), ..NetworkReport::default() };
        check(SPEED, &network, status, blame, seen);
    }
    finds(
        Ok(12_300_000),
        Status::Ok,
        None,
        "uploads at 12 Mbit/s from this computer: 1 GB takes about 10 min",
    );
    finds(Ok(1_000_000), Status::Ok, None, "1.0 Mbit/s from this computer: 1 GB takes about 2 h");
    finds(Ok(999_999), Status::Warning, NETWORK, "a first backup takes days");
    finds(Ok(400_000_000), Status::Ok, None, "less than a minute");
    finds(Ok(0), Status::Warning, NETWORK, "0 kbit/s");
    finds(Err(SpeedError::SlowerThan { bits_per_s: 65_536 }), Status::Warning, NETWORK, "65 kbit/s");
    finds(Err(SpeedError::Status(503)), Status::CannotTell, None, "503");
}

#[test]
fn names_in_a_line() {
    for (names, expected) in [
        (&[][..], ""),
        (&["a"], "a"),
        (&["a", "b"], "a and b"),
        (&["a", "b", "c"], "a, b and c"),
        (&["a", "b", "c", "d", "e"], "a, b, c and 2 more"),
    ] {
        assert_eq!(join_names(names), expected);
    }
}
