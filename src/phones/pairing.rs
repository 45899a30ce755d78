//! The pair record of a phone and this computer, and TLS with its keys.
//!
//! Creates no pairing and writes no record. Errors contain nothing of the record, because it holds a
//! private key.
//!
//! # How the phone's certificate is verified
//!
//! No authority vouches for a phone's certificate: it names no host, is issued by a root that the computer
//! created when pairing, and may be expired. Only the key can be verified: the record holds a certificate
//! of the key that the phone had when it was paired. A phone that signs the handshake with that key is the
//! paired phone. The result is returned as [`super::PrivateInfo::shows_paired_key`]. A mismatch does not
//! end the connection, for three reasons: this was never tried with a real phone, the usual tools verify
//! nothing, and an attacker gains little. The socket of usbmuxd belongs to root, statusd only reads and
//! sends no secret, so that a false phone can only report false values. A signature that does not match
//! the presented certificate is rejected.

use std::fmt;
use std::sync::Arc;

use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, SignatureScheme};
use tokio_rustls::TlsConnector;

use super::{ProtocolError, dictionary};
use crate::secret::Secret;
use crate::tls::{AcceptAnyCert, Stream, UnparsableCert};

/// Required by the TLS library, but neither sent nor compared.
const NAME: &str = "iphone";

/// The values of a pair record that a session needs.
pub(super) struct Pairing {
    pub host_id: Secret,
    pub system_buid: Secret,
    host_certificate: CertificateDer<'static>,
    host_key: Secret,
    /// Certificate of the key that the phone had when it was paired.
    device_certificate: Option<CertificateDer<'static>>,
}

impl Pairing {
    pub fn read(record: &[u8]) -> Result<Pairing, ProtocolError> {
        Pairing::parse(record).ok_or(ProtocolError("cannot read the pair record of this computer"))
    }

    fn parse(record: &[u8]) -> Option<Pairing> {
        let record = dictionary(record)?;
        let text = |key: &str| record.get(key)?.as_string().map(Secret::new);
        let pem = |key: &str| record.get(key)?.as_data();
        let host_key = std::str::from_utf8(pem("HostPrivateKey")?).ok()?;
        Some(Pairing {
            host_id: text("HostID")?,
            system_buid: text("SystemBUID")?,
            host_certificate: CertificateDer::from_pem_slice(pem("HostCertificate")?).ok()?,
            host_key: Secret::new(host_key),
            device_certificate: pem("DeviceCertificate")
                .and_then(|pem| CertificateDer::from_pem_slice(pem).ok()),
        })
    }

    /// Starts TLS over a connection, with the phone as the server. Also returns whether it has the paired key.
    pub async fn secure(&self, stream: Box<dyn Stream>) -> Result<(Box<dyn Stream>, bool), ProtocolError> {
        let config = self.config().ok_or(ProtocolError("cannot use the key in the pair record"))?;
        let name =
            ServerName::try_from(NAME).map_err(|_| ProtocolError("cannot prepare TLS with the phone"))?;
        let connected = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
        let stream = connected.map_err(|_| ProtocolError("the TLS handshake with the phone failed"))?;
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let shows_paired_key = match (shown, &self.device_certificate) {
            (Some(shown), Some(paired)) => is_same_key(shown, paired),
            (None, _) | (_, None) => false,
        };
        Ok((Box::new(stream), shows_paired_key))
    }

    fn config(&self) -> Option<ClientConfig> {
        let provider = Arc::new(ring::default_provider());
        let key = PrivateKeyDer::from_pem_slice(self.host_key.expose().as_bytes()).ok()?;
        let key = provider.key_provider.load_private_key(key).ok()?;
        // The key is not compared with its certificate, because phones accept certificates that cannot be
        // parsed strictly.
        let shown = CertifiedKey::new(vec![self.host_certificate.clone()], key);
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .ok()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AcceptAnyCert {
                provider,
                unparsable: UnparsableCert::Accepted,
            }))
            .with_client_cert_resolver(Arc::new(HostCertificate(Arc::new(shown))));
        config.enable_sni = false;
        config.resumption = Resumption::disabled();
        Some(config)
    }
}

/// Returns whether both certificates are valid and have the same public key.
fn is_same_key(one: &CertificateDer<'_>, other: &CertificateDer<'_>) -> bool {
    match (ParsedCertificate::try_from(one), ParsedCertificate::try_from(other)) {
        (Ok(one), Ok(other)) => one.subject_public_key_info() == other.subject_public_key_info(),
        (Err(_), _) | (_, Err(_)) => false,
    }
}

/// Presents this computer's certificate, whatever the phone requests.
struct HostCertificate(Arc<CertifiedKey>);

impl fmt::Debug for HostCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl ResolvesClientCert for HostCertificate {
    fn resolve(&self, _issuers: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}
