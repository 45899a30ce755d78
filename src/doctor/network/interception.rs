//! The check `interception`: does a proxy decrypt the TLS connections to Apple? Apple documents that its
//! services do not work through such a proxy.
//!
//! Pure. The evidence is an authority that this computer trusts and the public list does not, or one
//! unknown authority on several hosts. Apple's own authority is never reported as interception.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{Blame, Finding, Status};
use super::{Hosts, INTERCEPTION, looks, several};
use crate::doctor::probe::{AddressFamily, ConnectOutcome, Distrust, HostLook, Papers, Trust};

/// One host alone may be a mistake of somebody's.
const SAME_UNKNOWN_HOSTS: usize = 2;

/// Hosts by the authority that vouches for them.
type Groups<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

pub(super) fn judge(hosts: Hosts<'_>) -> Finding {
    let looks = match looks(INTERCEPTION, hosts) {
        Ok(looks) => looks,
        Err(finding) => return *finding,
    };
    let shown: Vec<(&str, &Papers)> = looks.iter().flat_map(papers).collect();
    let evidence =
        shown.iter().map(|(host, papers)| format!("{host}: {} under {}", papers.issuer, papers.top));
    let evidence: BTreeSet<String> = evidence.collect();
    finding(&shown).evidence(evidence)
}

fn finding(shown: &[(&str, &Papers)]) -> Finding {
    let local = groups(shown, |papers| papers.trust == Trust::LocalOnly && !papers.names_apple);
    let unknown = groups(shown, |papers| papers.trust == Trust::Not(Distrust::UnknownIssuer));
    let same_unknown = unknown.iter().filter(|(_, hosts)| hosts.len() >= SAME_UNKNOWN_HOSTS);
    let opened: Groups<'_> =
        local.into_iter().chain(same_unknown.map(|(top, hosts)| (*top, hosts.clone()))).collect();
    let alike = groups(shown, |papers| papers.trust == Trust::LocalOnly && papers.names_apple);
    let found = |status, seen: String| Finding::new(INTERCEPTION, status, seen);
    if !opened.is_empty() {
        return accusation(&opened);
    }
    if let Some((top, hosts)) = alike.first_key_value() {
        let seen = format!(
            "{}: this computer trusts \"{top}\", which claims to be Apple's and is on no list known to statusd",
            names(hosts)
        );
        return found(Status::Warning, seen).blame(Blame::Network).todo(
            "It may be an Apple authority that is newer than this version of statusd. If you do not know it, ask the \
             network's administrator.",
        );
    }
    if let Some((top, hosts)) = unknown.first_key_value() {
        let seen = format!(
            "{} presents a certificate of the unknown authority \"{top}\"; one host alone proves no interception",
            names(hosts)
        );
        return found(Status::CannotTell, seen);
    }
    if shown.is_empty() {
        return found(Status::CannotTell, "no Apple host presented a certificate".to_owned());
    }
    found(Status::Ok, "TLS connections to Apple are not decrypted on the way".to_owned())
}

fn accusation(opened: &Groups<'_>) -> Finding {
    let who: Vec<String> = opened.keys().map(|top| format!("\"{top}\"")).collect();
    let who: Vec<&str> = who.iter().map(String::as_str).collect();
    let who = several(&who);
    let hosts: BTreeSet<&str> = opened.values().flatten().copied().collect();
    Finding::new(
        INTERCEPTION,
        Status::Problem,
        format!("TLS connections to Apple are decrypted on the way: {who} signs for {}", names(&hosts)),
    )
    .blame(Blame::Network)
    .todo(format!(
        "Apple's services do not work with decryption. Ask the administrator of this network, or of the security \
         product behind {who}, to exempt Apple's hosts (apple.com, icloud.com, icloud-content.com and their subdomains). \
         If it is a program on this computer only, phones are not affected."
    ))
}

fn names(hosts: &BTreeSet<&str>) -> String {
    several(&hosts.iter().copied().collect::<Vec<_>>())
}

fn papers(look: &HostLook) -> impl Iterator<Item = (&str, &Papers)> {
    [AddressFamily::V4, AddressFamily::V6].into_iter().filter_map(|family| match look.way(family) {
        ConnectOutcome::Answered { papers, .. } => Some((look.host.name, papers)),
        ConnectOutcome::NoName(_)
        | ConnectOutcome::NoAddress
        | ConnectOutcome::NoConnection { .. }
        | ConnectOutcome::NoTls { .. } => None,
    })
}

fn groups<'a>(shown: &[(&'a str, &'a Papers)], belongs: impl Fn(&Papers) -> bool) -> Groups<'a> {
    let mut groups = Groups::new();
    for (host, papers) in shown.iter().filter(|(_, papers)| belongs(papers)) {
        groups.entry(papers.top.as_str()).or_default().insert(*host);
    }
    groups
}
