//! Verifies a host's certificate against three trust stores: the public list, Apple's own authority, and
//! this computer's list.
//!
//! Opens no connection. The result is for the report only; no data is sent over the probed connections.

use std::sync::Arc;

use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::name::Name;

use super::error::short;
use super::{ProbeConfig, provider, store_of};
use crate::tls::TlsProblem;

/// The organisation in the certificates of Apple's authorities.
const APPLE: &str = "Apple Inc.";

/// The certificate that a host presented.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateInfo {
    /// The issuer of the host's own certificate: its name or its organisation's.
    pub issuer: String,
    /// The issuer of the last certificate in the chain.
    pub top_issuer: String,
    /// `top_issuer` claims to be Apple. This proves nothing.
    pub claims_apple: bool,
    pub trust: Trust,
}

/// The trust store that a certificate is trusted by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The public list.
    Public,
    /// Apple's own authority.
    Apple,
    /// This computer's list, but not the public one.
    LocalOnly,
    Untrusted(TlsProblem),
}

type Verifier = Arc<dyn ServerCertVerifier>;

/// The three trust stores. The default trusts no certificate.
#[derive(Clone, Debug, Default)]
pub(super) struct TrustStores {
    public: Option<Verifier>,
    apple: Option<Verifier>,
    local: Option<Verifier>,
}

impl TrustStores {
    /// Reads this computer's list. Blocks.
    pub fn load(config: &ProbeConfig) -> TrustStores {
        let local = rustls_platform_verifier::Verifier::new_with_extra_roots(
            config.extra_roots.iter().cloned(),
            provider(),
        );
        TrustStores {
            public: verifier(config.public_roots.store()),
            apple: verifier(store_of(&config.apple_roots)),
            local: local.ok().map(|local| Arc::new(local) as Verifier),
        }
    }

    /// Returns the issuers and the trust of a certificate chain. Blocks, because the system's verifier may
    /// use the network.
    pub fn inspect(&self, chain: &[CertificateDer<'static>], host: &str, now: Timestamp) -> CertificateInfo {
        let (issuer, _) = issuer_of(chain.first());
        let (top_issuer, claims_apple) = issuer_of(chain.last());
        CertificateInfo { issuer, top_issuer, claims_apple, trust: self.trust(chain, host, now) }
    }

    fn trust(&self, chain: &[CertificateDer<'static>], host: &str, now: Timestamp) -> Trust {
        let stores =
            [(&self.public, Trust::Public), (&self.apple, Trust::Apple), (&self.local, Trust::LocalOnly)];
        let mut reason = TlsProblem::UnknownIssuer;
        for (store, trust) in stores {
            match verify(store.as_ref(), chain, host, now) {
                Ok(()) => return trust,
                // Keep the first reason that is more specific than "not in this store".
                Err(error) if reason == TlsProblem::UnknownIssuer => reason = error,
                Err(_) => {}
            }
        }
        Trust::Untrusted(reason)
    }
}

fn verifier(roots: RootCertStore) -> Option<Verifier> {
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build().ok()?;
    Some(verifier)
}

fn verify(
    store: Option<&Verifier>,
    chain: &[CertificateDer<'static>],
    host: &str,
    now: Timestamp,
) -> Result<(), TlsProblem> {
    let (Some(store), Some((leaf, rest))) = (store, chain.split_first()) else {
        return Err(TlsProblem::UnknownIssuer);
    };
    let name = ServerName::try_from(host.to_owned()).map_err(|_| TlsProblem::WrongHost)?;
    let since_1970 = std::time::Duration::from_secs(u64::try_from(now.as_second()).unwrap_or(0));
    let now = UnixTime::since_unix_epoch(since_1970);
    match store.verify_server_cert(leaf, rest, &name, &[], now) {
        Ok(_) => Ok(()),
        Err(_) if is_self_signed(leaf) => Err(TlsProblem::UnknownIssuer),
        Err(error) => Err(TlsProblem::from(&error)),
    }
}

/// A self-signed certificate fails in several ways, all of which mean that its issuer is unknown.
fn is_self_signed(certificate: &CertificateDer<'_>) -> bool {
    Certificate::from_der(certificate)
        .is_ok_and(|parsed| parsed.tbs_certificate().issuer() == parsed.tbs_certificate().subject())
}

/// Returns the issuer's name for display, and whether the issuer claims to be Apple.
fn issuer_of(certificate: Option<&CertificateDer<'_>>) -> (String, bool) {
    match certificate.map(|certificate| Certificate::from_der(certificate)) {
        Some(Ok(parsed)) => {
            let issuer = parsed.tbs_certificate().issuer();
            (display_name(issuer), organisation(issuer).is_some_and(|name| name == APPLE))
        }
        Some(Err(_)) | None => ("an unreadable issuer".to_owned(), false),
    }
}

fn organisation(name: &Name) -> Option<String> {
    name.organization().ok().flatten().map(|text| text.value().into_owned())
}

/// Returns for example "Zscaler Root CA (Zscaler Inc.)".
fn display_name(name: &Name) -> String {
    let common_name = name.common_name().ok().flatten().map(|text| text.value().into_owned());
    let text = match (common_name, organisation(name)) {
        (Some(name), Some(organisation)) if !name.contains(&organisation) => {
            format!("{name} ({organisation})")
        }
        (Some(name), _) => name,
        (None, Some(organisation)) => organisation,
        (None, None) => name.to_string(),
    };
    let text = short(&text);
    if text.is_empty() { "an issuer without a name".to_owned() } else { text }
}
