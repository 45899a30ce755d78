//! Table tests: collected data and the findings about it.

use std::net::IpAddr;
use std::time::Duration;

use super::*;
use crate::doctor::probe::{
    ConnectFault, ConnectOutcome, Distrust, HOSTS as APPLES, NameFault, Papers, Place, ProxyFault, SetProxy,
    Stranger, TimeFault, TlsFault, Trust, WebFault,
};
use crate::doctor::{Blame, Status};
use crate::proxy::Proxies;

const NETWORK: Option<Blame> = Some(Blame::Network);
const COMPUTER: Option<Blame> = Some(Blame::Computer);

fn at(host: usize) -> Place {
    Place { address: IpAddr::from([192, 0, 2, 1]), port: APPLES[host].ports[0] }
}

fn answered(trust: Trust) -> ConnectOutcome {
    by("Apple Public CA", false, trust)
}

fn by(top: &str, names_apple: bool, trust: Trust) -> ConnectOutcome {
    let papers = Papers { issuer: "some issuer".to_owned(), top: top.to_owned(), names_apple, trust };
    ConnectOutcome::Answered {
        at: at(0),
        connected: Duration::from_millis(12),
        secured: Duration::from_millis(30),
        papers,
    }
}

fn unknown(top: &str) -> ConnectOutcome {
    by(top, false, Trust::Not(Distrust::UnknownIssuer))
}

fn unconnected(fault: ConnectFault) -> ConnectOutcome {
    ConnectOutcome::NoConnection { at: at(0), fault }
}

fn timeout() -> ConnectFault {
    ConnectFault::Timeout { after: Duration::from_secs(4) }
}

/// All hosts good over IPv4 and without IPv6, but for what `change` says.
fn looks(change: impl Fn(&str) -> Option<(ConnectOutcome, ConnectOutcome)>) -> NetworkReport {
    let look = |host: &'static crate::doctor::probe::Host| {
        let (v4, v6) = change(host.name).unwrap_or((answered(Trust::Public), ConnectOutcome::NoAddress));
        HostLook { host, v4, v6 }
    };
    NetworkReport { hosts: Some(Ok(APPLES.iter().map(look).collect())), ..NetworkReport::default() }
}

fn all(v4: &ConnectOutcome, v6: &ConnectOutcome) -> NetworkReport {
    looks(|_| Some((v4.clone(), v6.clone())))
}

fn proxied(looked: NetworkReport, reached: Result<Duration, ProxyFault>) -> NetworkReport {
    let proxy =
        SetProxy { variable: "HTTPS_PROXY", address: "proxy.example:3128".to_owned(), exempt: None, reached };
    NetworkReport { proxy: Some(Proxy::Set(proxy)), ..looked }
}

#[track_caller]
fn found(id: &str, looked: &NetworkReport) -> Finding {
    let mut found = judge(looked, &BTreeSet::from([id]));
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
fn check(id: &str, looked: &NetworkReport, status: Status, blame: Option<Blame>, seen: &str) {
    let finding = found(id, looked);
    assert_eq!((finding.status, finding.blame), (status, blame), "{finding:?}");
    assert!(finding.seen.contains(seen), "{}", finding.seen);
}

#[test]
fn one_finding_for_each_wanted_check_and_nothing_seen_is_never_fine() {
    let nothing = NetworkReport::default();
    let ids: Vec<&str> = judge(&nothing, &BTreeSet::from(IDS)).iter().map(|finding| finding.id).collect();
    assert_eq!(ids, IDS);
    assert!(judge(&nothing, &BTreeSet::from(["phone"])).is_empty());
    for id in [PORTAL, HOSTS, IPV6, INTERCEPTION, PROXY, CLOCK] {
        check(id, &nothing, Status::CannotTell, None, "");
    }
    check(SPEED, &nothing, Status::Skipped, None, "--speed");
    let broken = NetworkReport { hosts: Some(Err("no threads".to_owned())), ..NetworkReport::default() };
    for id in [HOSTS, IPV6, INTERCEPTION] {
        check(id, &broken, Status::CannotTell, None, "no threads");
    }
}

#[test]
fn portal() {
    #[track_caller]
    fn sees(page: PortalPage, status: Status, blame: Option<Blame>, seen: &str) {
        let looked =
            NetworkReport { portal: Some(Portal { page, ahead_s: None }), ..NetworkReport::default() };
        check(PORTAL, &looked, status, blame, seen);
    }
    let captive =
        |host: Option<&str>| PortalPage::Captive(Stranger { status: 302, host: host.map(str::to_owned) });
    sees(PortalPage::Open, Status::Ok, None, "was received");
    sees(captive(Some("login.example")), Status::Problem, NETWORK, "login.example");
    sees(captive(None), Status::Problem, NETWORK, "requires a login");
    sees(PortalPage::Unreachable(WebFault::CutOff), Status::CannotTell, None, "connection closed");
}

#[test]
fn hosts_that_are_all_reached() {
    check(HOSTS, &looks(|_| None), Status::Ok, None, "all 10 Apple hosts");
    check(HOSTS, &all(&answered(Trust::Apple), &ConnectOutcome::NoAddress), Status::Ok, None, "");
    // Interception is another check.
    check(HOSTS, &all(&answered(Trust::LocalOnly), &ConnectOutcome::NoAddress), Status::Ok, None, "");
    // Either family will do.
    check(HOSTS, &all(&unconnected(timeout()), &answered(Trust::Public)), Status::Ok, None, "");
    let evidence = found(HOSTS, &looks(|_| None)).evidence;
    assert_eq!(evidence.len(), 20);
    assert_eq!(
        evidence[0],
        "setup.icloud.com IPv4: 192.0.2.1 port 443, connected in 12 ms, secured in 30 ms, signed by some issuer \
         under Apple Public CA, publicly trusted"
    );
    assert_eq!(evidence[1], "setup.icloud.com IPv6: no address");
    // The endpoint in this table has port 443; the preferred port of this host is 5223.
    assert!(evidence[10].contains("port 443 (not 5223)"), "{}", evidence[10]);
}

#[test]
fn hosts_of_which_none_is_reached() {
    let none = |way: ConnectOutcome| all(&way, &ConnectOutcome::NoAddress);
    let seen = "none of 10 Apple hosts can be reached from this computer: no connection within 4 s";
    check(HOSTS, &none(unconnected(timeout())), Status::Problem, NETWORK, seen);
    let no_route = unconnected(ConnectFault::NoRoute);
    check(HOSTS, &all(&no_route, &no_route), Status::Problem, NETWORK, "no internet connection");
    let no_name = ConnectOutcome::NoName(NameFault::NoAnswer);
    check(HOSTS, &all(&no_name, &no_name), Status::Problem, NETWORK, "the name server does not respond");
    let blocked = ConnectOutcome::NoName(NameFault::NoSuchName);
    check(HOSTS, &all(&blocked, &blocked), Status::Problem, NETWORK, "no such name");
    // With one route, the computer is not offline.
    check(HOSTS, &all(&no_route, &unconnected(timeout())), Status::Problem, NETWORK, "none of 10");
    check(HOSTS, &none(unknown("X")), Status::Problem, NETWORK, "nobody known vouches");

    let behind = proxied(none(unconnected(timeout())), Ok(Duration::ZERO));
    check(HOSTS, &behind, Status::CannotTell, None, "without this computer's proxy");
    let fault = ProxyFault::Connect(ConnectFault::Refused);
    check(HOSTS, &proxied(none(unconnected(timeout())), Err(fault)), Status::Problem, NETWORK, "none of 10");
}

#[test]
fn hosts_of_which_some_are_reached() {
    let only = |name: &'static str, way: ConnectOutcome| {
        looks(move |host| (host == name).then(|| (way.clone(), ConnectOutcome::NoAddress)))
    };
    check(
        HOSTS,
        &only("gateway.icloud.com", unconnected(ConnectFault::Refused)),
        Status::Problem,
        NETWORK,
        "1 of 10 Apple hosts cannot be reached from this computer: gateway.icloud.com (for backups), connection refused",
    );
    let cut = ConnectOutcome::NoTls { at: at(0), connected: Duration::ZERO, fault: TlsFault::CutOff };
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
        "gdmf.apple.com, nobody known",
    );
    let icloud =
        looks(|host| host.contains("icloud").then(|| (unconnected(timeout()), ConnectOutcome::NoAddress)));
    check(HOSTS, &icloud, Status::Problem, NETWORK, "5 of 10");
    check(HOSTS, &icloud, Status::Problem, NETWORK, "; 2 less important");
}

#[test]
fn certificates_that_a_wrong_clock_makes_bad() {
    let expired = all(&answered(Trust::Not(Distrust::Expired)), &ConnectOutcome::NoAddress);
    let with_clock = |looked: &NetworkReport, ahead_s| {
        let clock = Clock::Measured { ahead_s, by: ClockSource::TimeServer };
        NetworkReport { clock: Some(clock), ..looked.clone() }
    };
    check(HOSTS, &expired, Status::Problem, COMPUTER, "has expired");
    check(HOSTS, &with_clock(&expired, 40_000_000), Status::Problem, COMPUTER, "has expired");
    check(HOSTS, &with_clock(&expired, -2), Status::Problem, NETWORK, "has expired");
    // One alone is somebody's mistake.
    let one = looks(|host| {
        let early = answered(Trust::Not(Distrust::NotYetValid));
        (host == "setup.icloud.com").then_some((early, ConnectOutcome::NoAddress))
    });
    check(HOSTS, &one, Status::Problem, NETWORK, "not valid yet");
    check(HOSTS, &with_clock(&one, -40_000_000), Status::Problem, COMPUTER, "not valid yet");
}

#[test]
fn ipv6() {
    let good = || answered(Trust::Public);
    check(IPV6, &all(&good(), &good()), Status::Ok, None, "IPv6 and IPv4 work");
    check(IPV6, &all(&good(), &ConnectOutcome::NoAddress), Status::Ok, None, "no IPv6 here; IPv4 is enough");
    check(IPV6, &all(&good(), &unconnected(ConnectFault::NoRoute)), Status::Ok, None, "no IPv6 here");
    check(IPV6, &all(&unconnected(timeout()), &good()), Status::Ok, None, "IPv4 does not");
    check(IPV6, &all(&good(), &unconnected(timeout())), Status::Warning, NETWORK, "IPv6 is broken here");
    check(IPV6, &all(&good(), &unknown("X")), Status::Warning, NETWORK, "nobody known vouches");
    let partly = looks(|host| {
        let v6 = if host == "gsa.apple.com" { unconnected(ConnectFault::Unreachable) } else { good() };
        Some((good(), v6))
    });
    check(IPV6, &partly, Status::Warning, NETWORK, "works only partly here: gsa.apple.com over IPv4 only");
    let nothing = unconnected(timeout());
    check(IPV6, &all(&nothing, &nothing), Status::CannotTell, None, "IPv4 does not work either");
}

#[test]
fn interception() {
    let v4 = |way: ConnectOutcome| all(&way, &ConnectOutcome::NoAddress);
    check(INTERCEPTION, &looks(|_| None), Status::Ok, None, "not decrypted on the way");
    // Apple's own private authority.
    check(INTERCEPTION, &v4(answered(Trust::Apple)), Status::Ok, None, "not decrypted on the way");
    let local = by("Filter Root (Filter Inc.)", false, Trust::LocalOnly);
    check(
        INTERCEPTION,
        &v4(local.clone()),
        Status::Problem,
        NETWORK,
        "\"Filter Root (Filter Inc.)\" signs for",
    );
    let todo = found(INTERCEPTION, &v4(local.clone())).todo.expect("what to do");
    assert!(todo.contains("Filter Root") && todo.contains("exempt"), "{todo}");
    // One host is enough for what this computer alone trusts; over IPv6 as well.
    let one = looks(|host| (host == "gsa.apple.com").then(|| (answered(Trust::Public), local.clone())));
    check(INTERCEPTION, &one, Status::Problem, NETWORK, "signs for gsa.apple.com");
    // The same unknown one on several hosts, and on one alone, in whatever families.
    check(INTERCEPTION, &v4(unknown("Box")), Status::Problem, NETWORK, "\"Box\"");
    let one = looks(|host| (host == "gsa.apple.com").then(|| (unknown("Box"), unknown("Box"))));
    check(INTERCEPTION, &one, Status::CannotTell, None, "one host alone");
    let different = looks(|host| {
        let top = format!("Box of {host}");
        host.starts_with('g').then(|| (unknown(&top), ConnectOutcome::NoAddress))
    });
    check(INTERCEPTION, &different, Status::CannotTell, None, "one host alone");
    // A bad certificate of a known authority is no interception.
    check(INTERCEPTION, &v4(answered(Trust::Not(Distrust::WrongHost))), Status::Ok, None, "");
    let alike = by("Apple Root CA - G9 (Apple Inc.)", true, Trust::LocalOnly);
    check(INTERCEPTION, &v4(alike), Status::Warning, NETWORK, "claims to be Apple's");
    check(INTERCEPTION, &v4(unconnected(timeout())), Status::CannotTell, None, "no Apple host");
}

#[test]
fn proxy() {
    let unreached = || all(&unconnected(timeout()), &ConnectOutcome::NoAddress);
    let none = NetworkReport { proxy: Some(Proxy::NoneSet), ..looks(|_| None) };
    check(PROXY, &none, Status::Ok, None, "no proxy is set");
    let set = "proxy.example:3128 in HTTPS_PROXY";
    check(PROXY, &proxied(looks(|_| None), Ok(Duration::ZERO)), Status::Ok, None, "phones do not use it");
    check(PROXY, &proxied(unreached(), Ok(Duration::ZERO)), Status::Warning, NETWORK, set);
    let refused = || Err(ProxyFault::Connect(ConnectFault::Refused));
    check(PROXY, &proxied(looks(|_| None), refused()), Status::Warning, COMPUTER, "connection refused");
    let broken = Proxies::read(&|name| (name == "https_proxy").then(|| "::::".to_owned())).faults.remove(0);
    let broken = NetworkReport { proxy: Some(Proxy::Unusable(broken)), ..unreached() };
    check(PROXY, &broken, Status::Warning, COMPUTER, "invalid https_proxy: expected an address");
}

#[test]
fn clock() {
    #[track_caller]
    fn sees(ahead_s: i64, status: Status, blame: Option<Blame>, seen: &str) {
        let clock = Clock::Measured { ahead_s, by: ClockSource::TimeServer };
        check(CLOCK, &NetworkReport { clock: Some(clock), ..NetworkReport::default() }, status, blame, seen);
    }
    sees(0, Status::Ok, None, "right");
    sees(-29, Status::Ok, None, "right");
    sees(30, Status::Warning, COMPUTER, "30 s ahead");
    sees(-299, Status::Warning, COMPUTER, "4 min behind");
    sees(-300, Status::Problem, COMPUTER, "5 min behind");
    sees(10_800, Status::Problem, COMPUTER, "3 h ahead");
    sees(i64::MIN, Status::Problem, COMPUTER, "days behind");
    let silent = Clock::Unknown(TimeFault::Silent { after: Duration::from_secs(4) });
    let looked = NetworkReport { clock: Some(silent.clone()), ..NetworkReport::default() };
    check(CLOCK, &looked, Status::CannotTell, None, "no answer within 4 s");

    let open = |page| Portal { page, ahead_s: Some(600) };
    let by_page = Clock::Measured { ahead_s: 600, by: ClockSource::WebPage };
    assert_eq!(or_by_page(silent.clone(), Some(&open(PortalPage::Open))), by_page);
    let captive = PortalPage::Captive(Stranger { status: 200, host: None });
    assert_eq!(or_by_page(silent.clone(), Some(&open(captive))), silent);
    let measured = Clock::Measured { ahead_s: 1, by: ClockSource::TimeServer };
    assert_eq!(or_by_page(measured.clone(), Some(&open(PortalPage::Open))), measured);
}

#[test]
fn speed() {
    #[track_caller]
    fn sees(speed: Result<u64, SpeedFault>, status: Status, blame: Option<Blame>, seen: &str) {
        let measured = |upload_bits_per_s| Speed { upload_bits_per_s, download_bits_per_s: None };
        let looked = NetworkReport { speed: Some(speed.map(measured)), ..NetworkReport::default() };
        check(SPEED, &looked, status, blame, seen);
    }
    sees(
        Ok(12_300_000),
        Status::Ok,
        None,
        "uploads at 12 Mbit/s from this computer: 1 GB takes about 10 min",
    );
    sees(Ok(1_000_000), Status::Ok, None, "1.0 Mbit/s from this computer: 1 GB takes about 2 h");
    sees(Ok(999_999), Status::Warning, NETWORK, "a first backup days");
    sees(Ok(400_000_000), Status::Ok, None, "less than a minute");
    sees(Ok(0), Status::Warning, NETWORK, "0 kbit/s");
    sees(Err(SpeedFault::SlowerThan { bits_per_s: 65_536 }), Status::Warning, NETWORK, "65 kbit/s");
    sees(Err(SpeedFault::Status(503)), Status::CannotTell, None, "503");
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
        assert_eq!(several(names), expected);
    }
}
