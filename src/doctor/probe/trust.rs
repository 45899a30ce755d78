//! Verifies a host's certificate against three trust stores: the public list, Apple's own authority, and
//! this computer's list.
//!
//! Opens no connection. The result is for the report only; no data is sent over the probed connections.

use std::sync::Arc;

use jiff::Timestamp;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, Error, RootCertStore};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::name::Name;

use super::fault::short;
use super::{Net, provider, store_of};
use crate::tls;

/// The organisation in the certificates of Apple's authorities.
const APPLE: &str = "Apple Inc.";

/// The certificate that a host presented.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Papers {
    /// Who signed the host's own certificate: its name, or its organisation's.
    pub issuer: String,
    /// Who signed the last certificate that came.
    pub top: String,
    /// Whether that last one calls itself a part of Apple. Anybody can.
    pub names_apple: bool,
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
    Not(Distrust),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Distrust {
    Expired,
    NotYetValid,
    WrongHost,
    UnknownIssuer,
    /// In the words of `tls`.
    Other(String),
}

type Verifier = Arc<dyn ServerCertVerifier>;

/// The three trust stores. The default trusts no certificate.
#[derive(Clone, Debug, Default)]
pub(super) struct Lists {
    public: Option<Verifier>,
    apple: Option<Verifier>,
    local: Option<Verifier>,
}

impl Lists {
    /// Reads this computer's list; blocks.
    pub fn of(net: &Net) -> Lists {
        let local = rustls_platform_verifier::Verifier::new_with_extra_roots(
            net.extra_roots.iter().cloned(),
            provider(),
        );
        Lists {
            public: verifier(net.public_roots.store()),
            apple: verifier(store_of(&net.apple_roots)),
            local: local.ok().map(|local| Arc::new(local) as Verifier),
        }
    }

    /// Blocks: on some systems the system is asked, which may ask the network.
    pub fn judge(&self, chain: &[CertificateDer<'static>], host: &str, now: Timestamp) -> Papers {
        let (issuer, _) = issuer(chain.first());
        let (top, names_apple) = issuer_of_last(chain);
        Papers { issuer, top, names_apple, trust: self.trust(chain, host, now) }
    }

    fn trust(&self, chain: &[CertificateDer<'static>], host: &str, now: Timestamp) -> Trust {
        let lists =
            [(&self.public, Trust::Public), (&self.apple, Trust::Apple), (&self.local, Trust::LocalOnly)];
        let mut reason = Distrust::UnknownIssuer;
        for (list, trust) in lists {
            match verify(list.as_ref(), chain, host, now) {
                Ok(()) => return trust,
                // Of several reasons the one that says more than "not on this list".
                Err(found) if reason == Distrust::UnknownIssuer => reason = found,
                Err(_) => {}
            }
        }
        Trust::Not(reason)
    }
}

fn verifier(roots: RootCertStore) -> Option<Verifier> {
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build().ok()?;
    Some(verifier)
}

fn verify(
    list: Option<&Verifier>,
    chain: &[CertificateDer<'static>],
    host: &str,
    now: Timestamp,
) -> Result<(), Distrust> {
    let (Some(list), Some((leaf, rest))) = (list, chain.split_first()) else {
        return Err(Distrust::UnknownIssuer);
    };
    let name = ServerName::try_from(host.to_owned()).map_err(|_| Distrust::WrongHost)?;
    let since_1970 = std::time::Duration::from_secs(u64::try_from(now.as_second()).unwrap_or(0));
    let now = UnixTime::since_unix_epoch(since_1970);
    match list.verify_server_cert(leaf, rest, &name, &[], now) {
        Ok(_) => Ok(()),
        Err(_) if is_its_own_issuer(leaf) => Err(Distrust::UnknownIssuer),
        Err(error) => Err(Distrust::of(&error)),
    }
}

impl Distrust {
    fn of(error: &Error) -> Distrust {
        let Error::InvalidCertificate(certificate) = error else {
            return Distrust::Other(tls::words(error).to_owned());
        };
        match certificate {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Distrust::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Distrust::NotYetValid
            }
            // A bad signature: an authority with the name of one that we trust, but another key.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Distrust::UnknownIssuer,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Distrust::WrongHost
            }
            _ => Distrust::Other(tls::words(error).to_owned()),
        }
    }
}

/// A host that vouches for itself is refused in several ways, all of which mean that nobody else
/// does.
fn is_its_own_issuer(certificate: &CertificateDer<'_>) -> bool {
    Certificate::from_der(certificate)
        .is_ok_and(|parsed| parsed.tbs_certificate().issuer() == parsed.tbs_certificate().subject())
}

fn issuer_of_last(chain: &[CertificateDer<'_>]) -> (String, bool) {
    issuer(chain.last())
}

/// Its name for people, and whether it calls itself a part of Apple.
fn issuer(certificate: Option<&CertificateDer<'_>>) -> (String, bool) {
    match certificate.map(|certificate| Certificate::from_der(certificate)) {
        Some(Ok(parsed)) => {
            let issuer = parsed.tbs_certificate().issuer();
            (words(issuer), organisation(issuer).is_some_and(|name| name == APPLE))
        }
        Some(Err(_)) | None => ("an issuer that cannot be read".to_owned(), false),
    }
}

fn organisation(name: &Name) -> Option<String> {
    name.organization().ok().flatten().map(|text| text.value().into_owned())
}

/// "Zscaler Root CA (Zscaler Inc.)".
fn words(name: &Name) -> String {
    let common_name = name.common_name().ok().flatten().map(|text| text.value().into_owned());
    let words = match (common_name, organisation(name)) {
        (Some(name), Some(organisation)) if !name.contains(&organisation) => {
            format!("{name} ({organisation})")
        }
        (Some(name), _) => name,
        (None, Some(organisation)) => organisation,
        (None, None) => name.to_string(),
    };
    let words = short(&words);
    if words.is_empty() { "an issuer without a name".to_owned() } else { words }
}

impl std::fmt::Display for Distrust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Distrust::Expired => write!(f, "the certificate has expired"),
            Distrust::NotYetValid => write!(f, "the certificate is not valid yet"),
            Distrust::WrongHost => write!(f, "the certificate is for another host"),
            Distrust::UnknownIssuer => write!(f, "nobody known vouches for the certificate"),
            Distrust::Other(words) => write!(f, "the certificate is not good: {words}"),
        }
    }
}
