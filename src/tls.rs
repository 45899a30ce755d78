//! What is shared about TLS: which cryptography it uses in this process (ring, for its size), whom it
//! trusts beside the system, Apple's own authority, and where it is not needed. No connections here.

use std::error::Error;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_platform_verifier::Verifier;

use crate::cause::Cause as _;
use crate::regular_file;

/// Hundreds of authorities.
const CA_FILE_MAX_BYTES: u64 = 1024 * 1024;

/// The authority that Apple runs for itself, PEM: some of its hosts chain to it, and no public list
/// has it. To be trusted for Apple's hosts only. As published at www.apple.com/certificateauthority;
/// SHA-256 B0B1730ECBC7FF4505142C49F1295E6EDA6BCAED7E2C68C5BE91B5A11001F024, valid to 2035-02-09.
pub const APPLE_ROOT_CA_PEM: &str = include_str!("apple-root-ca.pem");

/// Why TLS failed, of an error or of what is behind it; `None` where that was something else. An
/// `io::Error` that wraps another error leaves it out of its `source()`.
pub fn reason(error: &(dyn Error + 'static)) -> Option<&'static str> {
    let causes = std::iter::successors(Some(error), |&error| {
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner as &(dyn Error + 'static)),
            None => error.source(),
        }
    });
    causes.filter_map(|cause| cause.downcast_ref::<rustls::Error>()).next().map(words)
}

/// Why TLS failed, in words for people: those of the library are for programmers.
pub fn words(error: &rustls::Error) -> &'static str {
    let rustls::Error::InvalidCertificate(certificate) = error else {
        return match error {
            rustls::Error::InvalidMessage(_) => "what answers there does not speak TLS",
            rustls::Error::AlertReceived(_) => "the server refuses the secure connection",
            rustls::Error::PeerIncompatible(_) => "the server speaks no TLS that this program does",
            _ => "there is no secure connection (TLS)",
        };
    };
    match certificate {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "the certificate has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the certificate is not valid yet"
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "the certificate is of an authority that this computer does not trust"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "the certificate is for another host"
        }
        CertificateError::Revoked => "the certificate was revoked",
        _ => "the certificate cannot be used",
    }
}

/// Must run before the first HTTP client is built. Safe to call any number of times; the first
/// call decides.
pub fn install_provider() {
    // An error says only that a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Whether a URL's host is this computer, where plain http is as good as TLS; as far as its
/// spelling tells, no name is looked up. IPv6 with or without brackets.
pub fn is_loopback(host: &str) -> bool {
    let number = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || number.parse().is_ok_and(|number: std::net::IpAddr| number.is_loopback())
}

/// The certificates in the PEM file under a key `ca_file`, at least one: authorities to trust beside
/// the system's.
///
/// # Errors
///
/// One line that begins with the key.
pub fn authorities(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let shown = file.display();
    if !file.is_absolute() {
        return Err(format!("ca_file: {shown} is not a whole path; write one that begins with /"));
    }
    let pem = regular_file::read(file, CA_FILE_MAX_BYTES).map_err(|error| match error.kind() {
        io::ErrorKind::FileTooLarge => {
            format!("ca_file: {shown} is larger than 1 MiB; give only your own authorities")
        }
        _ => format!("ca_file: cannot read {shown}: {}", error.reason()),
    })?;
    match CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>() {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(format!("ca_file: {shown} holds no certificate; give a PEM file (BEGIN CERTIFICATE)")),
    }
}

/// Trusts what this computer trusts, and `authorities` besides.
///
/// # Errors
///
/// The computer's own list cannot be read, or an authority is none.
pub fn client_config(authorities: &[CertificateDer<'static>]) -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Verifier::new_with_extra_roots(authorities.iter().cloned(), Arc::clone(&provider))?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        // Dangerous is what others could put here; this is the platform's own judgement.
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Takes whatever certificate comes, so that it can be looked at: for those who send nothing that
/// matters, and who judge the certificate afterwards. That whoever shows it has its key is checked all
/// the same.
#[derive(Debug)]
pub struct Anybody {
    pub provider: Arc<CryptoProvider>,
    pub illegible: Illegible,
}

/// What becomes of a certificate in a form that rustls does not read: it holds no key to check with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Illegible {
    Refused,
    /// Without any proof.
    Taken,
}

impl Anybody {
    fn is_taken_unread(&self, certificate: &CertificateDer<'_>) -> bool {
        self.illegible == Illegible::Taken && ParsedCertificate::try_from(certificate).is_err()
    }
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if self.is_taken_unread(certificate) {
            return Ok(HandshakeSignatureValid::assertion());
        }
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if self.is_taken_unread(certificate) {
            return Ok(HandshakeSignatureValid::assertion());
        }
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    #[test]
    fn apples_authority_is_the_published_one() {
        let certificate =
            CertificateDer::from_pem_slice(APPLE_ROOT_CA_PEM.as_bytes()).expect("a certificate");
        let digest = ring::digest::digest(&ring::digest::SHA256, &certificate);
        let hex = digest.as_ref().iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02X}");
            hex
        });
        assert_eq!(hex, "B0B1730ECBC7FF4505142C49F1295E6EDA6BCAED7E2C68C5BE91B5A11001F024");
    }
}
