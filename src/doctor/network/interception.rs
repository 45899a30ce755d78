//! The check `interception`: does a proxy decrypt the TLS connections to Apple? Apple documents that its
//! services do not work through such a proxy.
//!
//! Pure. The evidence is an authority that this computer trusts and the public list does not, or one
//! unknown authority on several hosts. Apple's own authority is never reported as interception.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{Blame, Finding, Status};
use super::{HostReports, INTERCEPTION, host_reports, join_names};
use crate::doctor::probe::{AddressFamily, CertificateInfo, ConnectOutcome, HostReport, Trust};
use crate::tls::TlsProblem;

/// One host alone may be misconfigured.
const SAME_UNKNOWN_HOSTS_MIN: usize = 2;

/// Hosts by the authority that issued their certificates.
type HostsByAuthority<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;
/// A host and the certificate that it presented.
type Presented<'a> = (&'a str, &'a CertificateInfo);

pub(super) fn diagnose(hosts: HostReports<'_>) -> Finding {
    let reports = match host_reports(INTERCEPTION, hosts) {
        Ok(reports) => reports,
        Err(finding) => return *finding,
    };
    let presented: Vec<Presented> = reports.iter().flat_map(certificates).collect();
    let lines = presented.iter().map(|(host, certificate)| {
        format!("{host}: {} under {}", certificate.issuer, certificate.top_issuer)
    });
    let evidence: BTreeSet<String> = lines.collect();
    finding(&presented).evidence(evidence)
}

fn finding(presented: &[Presented]) -> Finding {
    let local = by_authority(presented, |certificate| {
        certificate.trust == Trust::LocalOnly && !certificate.claims_apple
    });
    let unknown = by_authority(presented, |certificate| {
        certificate.trust == Trust::Untrusted(TlsProblem::UnknownIssuer)
    });
    let same_unknown = unknown.iter().filter(|(_, hosts)| hosts.len() >= SAME_UNKNOWN_HOSTS_MIN);
    let intercepted: HostsByAuthority<'_> =
        local.into_iter().chain(same_unknown.map(|(issuer, hosts)| (*issuer, hosts.clone()))).collect();
    let claiming_apple = by_authority(presented, |certificate| {
        certificate.trust == Trust::LocalOnly && certificate.claims_apple
    });
    let found = |status, seen: String| Finding::new(INTERCEPTION, status, seen);
    if !intercepted.is_empty() {
        return interception(&intercepted);
    }
    if let Some((issuer, hosts)) = claiming_apple.first_key_value() {
        let seen = format!(
            "{}: this computer trusts \"{issuer}\", which claims to be Apple's but is not on a list that statusd knows",
            names(hosts)
        );
        return found(Status::Warning, seen).blame(Blame::Network).todo(
            "It may be an Apple authority that is newer than this version of statusd. If you do not know it, ask the \
             network's administrator.",
        );
    }
    if let Some((issuer, hosts)) = unknown.first_key_value() {
        let seen = format!(
            "{} presents a certificate of the unknown authority \"{issuer}\"; one host alone proves no interception",
            names(hosts)
        );
        return found(Status::CannotTell, seen);
    }
    if presented.is_empty() {
        return found(Status::CannotTell, "no Apple host presented a certificate".to_owned());
    }
    found(Status::Ok, "TLS connections to Apple are not decrypted on the way".to_owned())
}

fn interception(intercepted: &HostsByAuthority<'_>) -> Finding {
    let issuers: Vec<String> = intercepted.keys().map(|issuer| format!("\"{issuer}\"")).collect();
    let issuers: Vec<&str> = issuers.iter().map(String::as_str).collect();
    let issuers = join_names(&issuers);
    let hosts: BTreeSet<&str> = intercepted.values().flatten().copied().collect();
    Finding::new(
        INTERCEPTION,
        Status::Problem,
        format!(
            "TLS connections to Apple are decrypted on the way: {issuers} issued certificates for {}",
            names(&hosts)
        ),
    )
    .blame(Blame::Network)
    .todo(format!(
        "Apple's services do not work with decryption. Ask the administrator of this network, or of the security \
         product behind {issuers}, to exempt Apple's hosts (apple.com, icloud.com, icloud-content.com and their subdomains). \
         If only a program on this computer decrypts the connections, phones are not affected."
    ))
}

fn names(hosts: &BTreeSet<&str>) -> String {
    join_names(&hosts.iter().copied().collect::<Vec<_>>())
}

fn certificates(report: &HostReport) -> impl Iterator<Item = Presented<'_>> {
    [AddressFamily::V4, AddressFamily::V6].into_iter().filter_map(|family| match report.outcome(family) {
        ConnectOutcome::TlsEstablished { certificate, .. } => Some((report.host.name, certificate)),
        ConnectOutcome::NoName(_)
        | ConnectOutcome::NoAddress
        | ConnectOutcome::NoConnection { .. }
        | ConnectOutcome::NoTls { .. } => None,
    })
}

fn by_authority<'a>(
    presented: &[Presented<'a>],
    is_match: impl Fn(&CertificateInfo) -> bool,
) -> HostsByAuthority<'a> {
    let mut groups = HostsByAuthority::new();
    for (host, certificate) in presented.iter().filter(|(_, certificate)| is_match(certificate)) {
        groups.entry(certificate.top_issuer.as_str()).or_default().insert(*host);
    }
    groups
}
