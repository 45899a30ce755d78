//! Network checks of `doctor`, against servers on loopback with generated certificates, and in network
//! namespaces without internet access.
//!
//! No test resolves a name or connects outside: every host points to loopback, or the namespace has no
//! other interface.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use crate::common::apple::{Answer, Apple, Papers};
use crate::common::hosts::{Authority, Door, Listening, self_signed};
use crate::common::http_server::{Nobody, patient};
use crate::common::time_server::{Time, TimeServer};
use jiff::Timestamp;
use statusd::doctor::network::{IDS, judge, look};
use statusd::doctor::probe::{ConnectTo, HOSTS, Net, ProbeLimits, RootList};
use statusd::doctor::{Blame, Finding, Status};

const SUCCESS: &str = "<HTML><HEAD><TITLE>Success</TITLE></HEAD><BODY>Success</BODY></HTML>";
const SHORT: Duration = Duration::from_millis(300);
const NETWORK: Option<Blame> = Some(Blame::Network);
const COMPUTER: Option<Blame> = Some(Blame::Computer);

/// The authorities of a test's world.
struct World {
    public: Authority,
    apple: Authority,
    /// Trusted by this computer.
    local: Authority,
    unknown: Authority,
}

impl World {
    fn new() -> World {
        World {
            public: Authority::new("Public Root", "Public Trust"),
            apple: Authority::new("Apple Test Root", "Apple Inc."),
            local: Authority::new("Filter Root", "Filter Inc."),
            unknown: Authority::new("Box Root", "Box Inc."),
        }
    }

    fn net(&self) -> Net {
        Net {
            public_roots: RootList::These(vec![self.public.der.clone()]),
            apple_roots: vec![self.apple.der.clone()],
            extra_roots: vec![self.local.der.clone()],
            network_quality: None,
            may_ask_outside: false,
            ..Net::default()
        }
    }
}

fn to(host: &str, port: u16, address: SocketAddr) -> ConnectTo {
    ConnectTo::parse(&format!("{host}:{port}:{address}")).expect("right")
}

/// Every host's every port, each behind the door that `door` says; IPv4 unless it names another.
async fn doors(net: &mut Net, on: &[&str], door: impl Fn(&'static str, &str) -> Door) -> Vec<Listening> {
    let mut listening = Vec::new();
    for host in &HOSTS {
        for on in on {
            let one = Listening::start(on, door(host.name, on)).await;
            net.connect_to.extend(host.ports.iter().map(|port| to(host.name, *port, one.address)));
            listening.push(one);
        }
    }
    listening
}

const V4: &str = "127.0.0.1:0";
const V6: &str = "[::1]:0";

async fn findings(net: &Net, ids: &[&str]) -> Vec<Finding> {
    let wanted: BTreeSet<&str> = ids.iter().copied().collect();
    let looked = patient(look(net, &|_| None, &wanted, true, Timestamp::now())).await;
    judge(&looked, &wanted)
}

async fn finding(net: &Net, id: &str) -> Finding {
    let mut found = findings(net, &[id]).await;
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

#[track_caller]
fn check(finding: &Finding, status: Status, blame: Option<Blame>, seen: &str) {
    assert_eq!((finding.status, finding.blame), (status, blame), "{finding:#?}");
    assert!(finding.seen.contains(seen), "{}", finding.seen);
}

/// Checks the line about `host` in the evidence.
#[track_caller]
fn check_line(finding: &Finding, host: &str, ending: &str) {
    let line = finding.evidence.iter().find(|line| line.starts_with(host)).expect("a line for it");
    assert!(line.ends_with(ending), "{line}");
}

async fn portal(answer: Answer) -> Finding {
    let apple = Apple::start().await;
    apple.at("/hotspot-detect.html", answer);
    let address = apple.url_of("").trim_start_matches("http://").parse().expect("an address");
    let mut net = World::new().net();
    net.connect_to.push(to("captive.apple.com", 80, address));
    net.limits.page = Duration::from_secs(2);
    finding(&net, "portal").await
}

#[tokio::test]
async fn only_apples_own_page_is_an_open_network() {
    check(&portal(Answer::ok(SUCCESS)).await, Status::Ok, None, "was received");
    check(&portal(Answer::ok(format!("{SUCCESS}\n"))).await, Status::Ok, None, "was received");
    check(&portal(Answer::ok(SUCCESS).gzip()).await, Status::Ok, None, "was received");
    check(&portal(Answer::html()).await, Status::Problem, NETWORK, "requires a login");
    check(&portal(Answer::ok("x".repeat(1 << 20))).await, Status::Problem, NETWORK, "requires a login");
    check(&portal(Answer::status(511)).await, Status::Problem, NETWORK, "requires a login");
    // Its words under another status are not its page.
    let length = SUCCESS.len();
    let posing = format!("HTTP/1.1 511 .\r\nContent-Length: {length}\r\n\r\n{SUCCESS}");
    check(&portal(Answer::raw(posing.as_bytes())).await, Status::Problem, NETWORK, "requires a login");
    let redirect = Answer::redirect("http://login.hotel.example/in?mac=aa-bb-cc");
    let found = portal(redirect).await;
    check(&found, Status::Problem, NETWORK, "a page of its own, at login.hotel.example,");
    assert!(!format!("{found:?}").contains("aa-bb"), "{found:?}");
}

#[tokio::test]
async fn a_page_that_does_not_come_tells_nothing() {
    check(&portal(Answer::silence()).await, Status::CannotTell, None, "no whole answer within 2 s");
    check(&portal(Answer::reset()).await, Status::CannotTell, None, "connection closed");
    check(&portal(Answer::hang_up()).await, Status::CannotTell, None, "connection closed");
    check(&portal(Answer::ok(SUCCESS).cut()).await, Status::CannotTell, None, "");
    check(&portal(Answer::ok(SUCCESS).drip()).await, Status::Problem, NETWORK, "");
    check(&portal(Answer::raw(b"SSH-2.0-x\r\n")).await, Status::CannotTell, None, "does not speak HTTP");
    let nobody = Nobody::new();
    let mut net = World::new().net();
    net.connect_to.push(to("captive.apple.com", 80, nobody.address));
    check(&finding(&net, "portal").await, Status::CannotTell, None, "connection refused");
}

#[tokio::test]
async fn a_good_network_is_fine_in_both_families() {
    let world = World::new();
    let mut net = world.net();
    let _doors = doors(&mut net, &[V4, V6], |host, _| {
        // As it is: some of Apple's hosts show certificates of Apple's own authority.
        let is_private = ["gdmf.apple.com", "gsa.apple.com"].contains(&host);
        let authority = if is_private { &world.apple } else { &world.public };
        Door::Opens(authority.acceptor(host, Papers::Good))
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
        "under Apple Test Root (Apple Inc.), trusted by Apple's own authority",
    );
}

#[tokio::test]
async fn interception_is_named_by_its_issuer() {
    let world = World::new();
    let mut net = world.net();
    let _doors =
        doors(&mut net, &[V4], |host, _| Door::Opens(world.local.acceptor(host, Papers::Good))).await;
    let found = findings(&net, &["hosts", "interception"]).await;
    check(&found[0], Status::Ok, None, "all 10");
    check(&found[1], Status::Problem, NETWORK, "\"Filter Root (Filter Inc.)\" signs for");

    // Not in this computer's list either: the same unknown one everywhere.
    let mut net = world.net();
    let _doors =
        doors(&mut net, &[V4], |host, _| Door::Opens(world.unknown.acceptor(host, Papers::Good))).await;
    let found = findings(&net, &["hosts", "interception"]).await;
    check(&found[0], Status::Problem, NETWORK, "nobody known vouches");
    check(&found[1], Status::Problem, NETWORK, "\"Box Root (Box Inc.)\" signs for");

    let mut net = world.net();
    let _doors = doors(&mut net, &[V4], |host, _| {
        let is_odd = host == "gateway.icloud.com";
        let authority = if is_odd { &world.unknown } else { &world.public };
        Door::Opens(authority.acceptor(host, Papers::Good))
    })
    .await;
    let found = findings(&net, &["hosts", "interception"]).await;
    check(&found[0], Status::Problem, NETWORK, "1 of 10 Apple hosts");
    check(&found[0], Status::Problem, NETWORK, "gateway.icloud.com (for backups), nobody known vouches");
    check(&found[1], Status::CannotTell, None, "one host alone");
}

#[tokio::test]
async fn a_box_that_vouches_for_itself_is_seen() {
    let mut net = World::new().net();
    let _doors = doors(&mut net, &[V4], |host, _| Door::Opens(self_signed(host))).await;
    let found = findings(&net, &["hosts", "interception"]).await;
    check(&found[0], Status::Problem, NETWORK, "nobody known vouches");
    check(&found[1], Status::Problem, NETWORK, "\"Box\" signs for");
}

#[tokio::test]
async fn each_layer_that_fails_is_told_from_the_others() {
    let world = World::new();
    let mut net = world.net();
    net.limits.tls = Duration::from_secs(3);
    let _doors = doors(&mut net, &[V4], |host, _| match host {
        "setup.icloud.com" => Door::Hangs,
        "gateway.icloud.com" => Door::NotTls,
        "cvws.icloud-content.com" => Door::CutsOff,
        "gsa.apple.com" => Door::Opens(world.public.acceptor(host, Papers::Expired)),
        "idmsa.apple.com" => Door::Opens(world.public.acceptor(host, Papers::NotYetValid)),
        "www.apple.com" => Door::Opens(world.public.acceptor(host, Papers::WrongHost)),
        host => Door::Opens(world.public.acceptor(host, Papers::Good)),
    })
    .await;
    // Instead of the door that is there.
    let nobody = Nobody::new();
    net.connect_to.retain(|one| one.host != "probe.icloud.com");
    net.connect_to.push(to("probe.icloud.com", 443, nobody.address));
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
async fn certificates_are_judged_by_the_time_that_is_given() {
    let world = World::new();
    let mut net = world.net();
    let _doors =
        doors(&mut net, &[V4], |host, _| Door::Opens(world.public.acceptor(host, Papers::Good))).await;
    let wanted = BTreeSet::from(["hosts"]);
    // rcgen's certificates are valid from 1975 to 4096.
    let past = "1974-06-01T00:00:00Z".parse().expect("a time");
    let time = TimeServer::start(Time::Off(0)).await;
    net.connect_to.push(to("time.apple.com", 123, time.address));
    let found = judge(&look(&net, &|_| None, &wanted, false, past).await, &wanted);
    check(&found[0], Status::Problem, COMPUTER, "the certificate is not valid yet");
}

#[tokio::test]
async fn push_falls_back_to_443() {
    let world = World::new();
    let mut net = world.net();
    let _doors =
        doors(&mut net, &[V4], |host, _| Door::Opens(world.public.acceptor(host, Papers::Good))).await;
    let nobody = Nobody::new();
    net.connect_to.retain(|one| one.port != 5223);
    net.connect_to.push(to("1-receiver.push.apple.com", 5223, nobody.address));
    let hosts = finding(&net, "hosts").await;
    check(&hosts, Status::Ok, None, "all 10");
    check_line(&hosts, "1-receiver.push.apple.com IPv4: 127.0.0.1 port 443 (not 5223)", "publicly trusted");
}

#[tokio::test]
async fn one_of_several_addresses_is_enough() {
    let world = World::new();
    let mut net = world.net();
    let nobody = Nobody::new();
    for host in &HOSTS {
        net.connect_to.extend(host.ports.iter().map(|port| to(host.name, *port, nobody.address)));
    }
    let _doors =
        doors(&mut net, &[V4], |host, _| Door::Opens(world.public.acceptor(host, Papers::Good))).await;
    check(&finding(&net, "hosts").await, Status::Ok, None, "all 10");
}

#[tokio::test]
async fn ipv6_that_is_broken_beside_ipv4() {
    let world = World::new();
    let mut net = world.net();
    let _doors = doors(&mut net, &[V4, V6], |host, on| match on {
        V4 => Door::Opens(world.public.acceptor(host, Papers::Good)),
        _ => Door::CutsOff,
    })
    .await;
    let found = findings(&net, &["hosts", "ipv6"]).await;
    check(&found[0], Status::Ok, None, "all 10");
    check(&found[1], Status::Warning, NETWORK, "IPv6 is broken here");
}

async fn clock(time: Time) -> Finding {
    let server = TimeServer::start(time).await;
    // Whose date says nothing.
    let apple = Apple::start().await;
    let address = apple.url_of("").trim_start_matches("http://").parse().expect("an address");
    let mut net = World::new().net();
    net.limits.time = SHORT;
    net.connect_to.push(to("time.apple.com", 123, server.address));
    net.connect_to.push(to("captive.apple.com", 80, address));
    finding(&net, "clock").await
}

#[tokio::test]
async fn the_clock_is_compared_with_apples() {
    check(&clock(Time::Off(0)).await, Status::Ok, None, "right");
    check(&clock(Time::Off(-100)).await, Status::Warning, COMPUTER, "s ahead");
    check(&clock(Time::Off(3 * 3_600 + 60)).await, Status::Problem, COMPUTER, "3 h behind");
    // Beyond the end of NTP's first era.
    check(&clock(Time::Off(20 * 365 * 86_400)).await, Status::Problem, COMPUTER, "days behind");
    check(&clock(Time::Never).await, Status::CannotTell, None, "no answer within 0.6 s");
    check(&clock(Time::OtherQuestion).await, Status::CannotTell, None, "not a response to this request");
    check(&clock(Time::KissOfDeath).await, Status::CannotTell, None, "(RATE)");
    check(&clock(Time::NotSet).await, Status::CannotTell, None, "does not know the time");
    check(&clock(Time::Short).await, Status::CannotTell, None, "too short");
}

#[tokio::test]
async fn without_a_time_server_the_date_of_apples_page_will_do() {
    let server = TimeServer::start(Time::Never).await;
    let apple = Apple::start().await;
    let address = apple.url_of("").trim_start_matches("http://").parse().expect("an address");
    let mut net = World::new().net();
    net.limits.time = SHORT;
    net.connect_to.push(to("time.apple.com", 123, server.address));
    net.connect_to.push(to("captive.apple.com", 80, address));
    let past = "Tue, 02 Jan 2024 03:04:05 GMT";
    apple.answer(Answer::ok(SUCCESS).header("Date", past));
    let found = finding(&net, "clock").await;
    check(&found, Status::Problem, COMPUTER, "days ahead");
    assert!(found.evidence[0].contains("Apple's test page"), "{found:?}");
    // A login page's is nobody's word.
    apple.answer(Answer::html().header("Date", past));
    check(&finding(&net, "clock").await, Status::CannotTell, None, "no answer");
}

#[tokio::test]
async fn a_proxy_is_told_of_without_its_password() {
    let world = World::new();
    let mut net = world.net();
    let _doors =
        doors(&mut net, &[V4], |host, _| Door::Opens(world.public.acceptor(host, Papers::Good))).await;
    let proxy = Listening::start(V4, Door::Hangs).await;
    let nobody = Nobody::new();
    let wanted = BTreeSet::from(["hosts", "proxy"]);
    let with = async |net: &Net, address: SocketAddr| {
        let value = format!("http://canary-user:canary-password@{address}/canary-path");
        let environment = |name: &str| (name == "https_proxy").then(|| value.clone());
        let found = judge(&look(net, &environment, &wanted, false, Timestamp::now()).await, &wanted);
        assert!(!format!("{found:?}").contains("canary"), "{found:?}");
        found
    };
    let found = with(&net, proxy.address).await;
    check(&found[0], Status::Ok, None, "all 10");
    check(&found[1], Status::Ok, None, "phones do not use it");
    let found = with(&net, nobody.address).await;
    check(&found[1], Status::Warning, COMPUTER, "connection refused");

    // A network with a way out by proxy only.
    let mut closed = world.net();
    for host in &HOSTS {
        closed.connect_to.extend(host.ports.iter().map(|port| to(host.name, *port, nobody.address)));
    }
    let found = with(&closed, proxy.address).await;
    check(&found[0], Status::CannotTell, None, "without this computer's proxy");
    check(&found[1], Status::Warning, NETWORK, "requires the proxy of this computer");
    let found = with(&closed, nobody.address).await;
    check(&found[0], Status::Problem, NETWORK, "none of 10");
}

#[tokio::test]
async fn a_host_that_is_not_apples_tells_offline_from_apple_kept_out() {
    let (nobody, outside) = (Nobody::new(), Listening::start(V4, Door::Hangs).await);
    let asked = async |net: &Net, address: SocketAddr| {
        let mut net = net.clone();
        for host in &HOSTS {
            net.connect_to.extend(host.ports.iter().map(|port| to(host.name, *port, nobody.address)));
        }
        net.connect_to.push(to("example.com", 443, address));
        finding(&net, "hosts").await
    };
    let closed = World::new().net();
    let open = Net { may_ask_outside: true, ..closed.clone() };
    let found = asked(&open, outside.address).await;
    let words = "this network blocks Apple: none of 10 Apple hosts can be reached, but example.com can";
    check(&found, Status::Problem, NETWORK, words);
    let found = asked(&open, nobody.address).await;
    let words = "this computer is offline: neither Apple's hosts nor example.com can be reached";
    check(&found, Status::Problem, NETWORK, words);
    // Who does not want it asked gets the answer of before.
    let found = asked(&closed, outside.address).await;
    check(&found, Status::Problem, NETWORK, "none of 10 Apple hosts can be reached from this computer");
}

async fn speed(limit: Duration, answers: bool, config: &str) -> Finding {
    let world = World::new();
    let host = "mensura.cdn-apple.com";
    let tls = world.local.acceptor(host, Papers::Good);
    let server = Listening::start(V4, Door::Uploads { tls, config: config.to_owned(), answers }).await;
    let mut net = world.net();
    net.limits = ProbeLimits { speed: limit, ..ProbeLimits::default() };
    net.connect_to.push(to(host, 443, server.address));
    finding(&net, "speed").await
}

#[tokio::test]
async fn uploads_are_measured_where_apple_says() {
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
        "names no address",
    );
    let plain = config.replace("https://", "http://");
    check(&speed(Duration::from_secs(8), true, &plain).await, Status::CannotTell, None, "names no address");
    check(&speed(Duration::from_secs(8), true, "[]").await, Status::CannotTell, None, "names no address");
}

#[tokio::test]
async fn the_systems_own_program_measures_where_there_is_one() {
    let directory = tempfile::tempdir().expect("a directory");
    let program = directory.path().join("networkQuality");
    let script = "#!/bin/sh\n[ \"$*\" = '-c -s' ] && echo '{\"ul_throughput\": 2500000, \"dl_throughput\": 9000000}'\n";
    std::fs::write(&program, script).expect("a script");
    let mode = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o700);
    std::fs::set_permissions(&program, mode).expect("a program");
    let net = Net { network_quality: Some(program.clone()), ..World::new().net() };
    let found = finding(&net, "speed").await;
    check(&found, Status::Ok, None, "uploads at 2.5 Mbit/s");
    assert_eq!(found.evidence, ["downloads at 9.0 Mbit/s"]);

    std::fs::write(&program, "#!/bin/sh\nexec sleep 600\n").expect("a script");
    let limits = ProbeLimits { network_quality: SHORT, ..ProbeLimits::default() };
    let found = finding(&Net { limits, ..net }, "speed").await;
    check(&found, Status::CannotTell, None, "longer than 0.3 s");
}

#[tokio::test]
async fn nothing_is_asked_that_is_not_wanted() {
    // No host is pointed anywhere: a question would leave this computer, and be seen below.
    let net = World::new().net();
    let looked = look(&net, &|_| None, &BTreeSet::from(["speed", "else"]), false, Timestamp::now()).await;
    assert_eq!(looked, statusd::doctor::network::NetworkReport::default());
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
    fn run_apart(inner: &str, script: &str) {
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
            .expect("unshare (util-linux) is there: scripts/test installs it");
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(
            output.status.success() && out.contains("1 passed"),
            "{inner} did not pass in a network of its own. Where it says that something is not permitted, this \
             system allows no namespaces: run the tests as root or allow user namespaces.\n{out}\n{err}"
        );
    }

    /// Its partner sees nothing of the world outside, so it may use real addresses and names.
    fn is_apart() {
        assert!(std::env::var_os(MARK).is_some(), "only for its partner to run, in a network of its own");
    }

    fn far(net: &mut Net, addresses: &[&str]) {
        for host in &HOSTS {
            for (port, address) in
                host.ports.iter().flat_map(|port| addresses.iter().map(move |far| (port, far)))
            {
                let address = SocketAddr::new(address.parse().expect("an address"), *port);
                net.connect_to.push(to(host.name, *port, address));
            }
        }
    }

    #[test]
    fn no_route() {
        run_apart("no_route_inside", "true");
    }

    #[tokio::test]
    #[ignore = "its partner runs it, in a network of its own"]
    async fn no_route_inside() {
        is_apart();
        let mut net = World::new().net();
        far(&mut net, &[FAR_V4, FAR_V6]);
        let far_end = SocketAddr::new(FAR_V4.parse().expect("an address"), 123);
        net.connect_to.push(to("time.apple.com", 123, far_end));
        net.connect_to.push(to("captive.apple.com", 80, SocketAddr::new(far_end.ip(), 80)));
        let found = findings(&net, &["portal", "hosts", "ipv6", "interception", "clock"]).await;
        let [portal, hosts, ipv6, interception, clock] = found.as_slice() else { panic!("{found:?}") };
        check(portal, Status::CannotTell, None, "no route from this computer");
        check(hosts, Status::Problem, NETWORK, "this computer has no internet connection");
        check_line(hosts, "setup.icloud.com IPv4", "no route from this computer");
        check_line(hosts, "setup.icloud.com IPv6", "no route from this computer");
        check(ipv6, Status::CannotTell, None, "IPv4 does not work either");
        check(interception, Status::CannotTell, None, "no Apple host");
        check(clock, Status::CannotTell, None, "no route from this computer");
        // And with the system's resolver, which has nobody to ask.
        let hosts = finding(&World::new().net(), "hosts").await;
        check(&hosts, Status::Problem, NETWORK, "no internet connection: the name server does not respond");
    }

    #[test]
    fn ipv6_black_hole() {
        // What goes into a veth pair for an address that nobody there has is dropped without a
        // word, and so is what goes into a dummy; not every kernel has both. The neighbour is
        // given: looking for it would fail, and tell.
        run_apart(
            "ipv6_black_hole_inside",
            "{ ip link add hole0 type veth peer name hole1 && ip link set hole1 up; } || ip link add hole0 type dummy; \
             ip link set hole0 up; ip -6 addr add 2001:db8::2/64 dev hole0 nodad; \
             ip -6 neigh add 2001:db8::1 lladdr 02:00:00:00:00:01 dev hole0 nud permanent",
        );
    }

    #[tokio::test]
    #[ignore = "its partner runs it, in a network of its own"]
    async fn ipv6_black_hole_inside() {
        is_apart();
        let world = World::new();
        let mut net = world.net();
        far(&mut net, &[FAR_V6]);
        let _doors =
            doors(&mut net, &[V4], |host, _| Door::Opens(world.public.acceptor(host, Papers::Good))).await;
        let found = findings(&net, &["hosts", "ipv6"]).await;
        check(&found[0], Status::Ok, None, "all 10");
        check_line(&found[0], "setup.icloud.com IPv6", "no connection within 4 s");
        check(&found[1], Status::Warning, NETWORK, "IPv6 is broken here");
        check(&found[1], Status::Warning, NETWORK, "no connection within 4 s");
    }

    #[test]
    fn names() {
        run_apart("names_inside", "true");
    }

    /// Starts a name server that responds with these flags and no records (RFC 1035, 4.1.1), or never.
    async fn name_server(flags: Option<[u8; 2]>) -> tokio::task::JoinHandle<()> {
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:53").await.expect("nobody else is here");
        tokio::spawn(async move {
            loop {
                let mut packet = [0; 1_024];
                let (length, from) = socket.recv_from(&mut packet).await.expect("a question");
                if let Some(flags) = flags {
                    packet[2..4].copy_from_slice(&flags);
                    socket.send_to(&packet[..length], from).await.expect("loopback takes it");
                }
            }
        })
    }

    #[tokio::test]
    #[ignore = "its partner runs it, in a network of its own"]
    async fn names_inside() {
        is_apart();
        let net = World::new().net();
        for (flags, seen) in [
            // An answer, recursion, and: no such name; no such record; the server failed.
            (Some([0x81, 0x83]), "no such name"),
            (Some([0x81, 0x80]), "the name has no address"),
            (Some([0x81, 0x82]), "the name server does not respond"),
            (None, "no address within 3.5 s"),
        ] {
            let server = name_server(flags).await;
            let hosts = finding(&net, "hosts").await;
            check(&hosts, Status::Problem, NETWORK, seen);
            server.abort();
            let _aborted = server.await;
        }
    }
}
