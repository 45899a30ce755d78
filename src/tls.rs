//! TLS settings that all clients share: the cryptography provider (ring, for its size), extra
//! certificate authorities, Apple's own authority, the loopback exception and the causes of failures. Opens no connection.

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
use tokio::io::{AsyncRead, AsyncWrite};

use crate::cause::{Cause as _, chain};
use crate::regular_file;
use crate::setting::SettingError;

/// Enough for hundreds of authorities.
const CA_FILE_MAX_BYTES: u64 = 1024 * 1024;

/// Apple's own root certificate, PEM. Some of Apple's hosts chain to it, and no public list contains
/// it. Trust it for Apple's hosts only. As published at www.apple.com/certificateauthority;
/// SHA-256 B0B1730ECBC7FF4505142C49F1295E6EDA6BCAED7E2C68C5BE91B5A11001F024, valid to 2035-02-09.
pub const APPLE_ROOT_CA_PEM: &str = include_str!("apple-root-ca.pem");

/// Returns the TLS failure among an error and its causes.
pub fn problem(error: &(dyn Error + 'static)) -> Option<TlsProblem> {
    chain(error).find_map(|cause| cause.downcast_ref::<rustls::Error>()).map(TlsProblem::from)
}

/// Returns the innermost cause in plain words ("connection refused"). The outer ones only repeat the stage.
pub fn root_cause(error: &(dyn Error + 'static)) -> String {
    if let Some(problem) = problem(error) {
        return problem.to_string();
    }
    // The kind of an I/O error says more than the library's message inside it, unless that has a cause.
    let io = chain(error).filter_map(|cause| cause.downcast_ref::<io::Error>()).last();
    match io.filter(|io| io.get_ref().is_none_or(|inner| inner.source().is_none())) {
        Some(io) => io.reason(),
        None => chain(error).last().unwrap_or(error).to_string(),
    }
}

/// A connection, encrypted or not.
pub trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for T {}

/// The cause of a failed TLS handshake. `Display` is in plain words, because the messages of rustls are for
/// programmers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsProblem {
    #[error("the certificate has expired")]
    Expired,
    #[error("the certificate is not valid yet")]
    NotYetValid,
    #[error("the certificate was issued by an unknown authority")]
    UnknownIssuer,
    #[error("the certificate is for another host")]
    WrongHost,
    #[error("the server does not speak TLS")]
    NotTls,
    #[error("connection closed during the TLS handshake")]
    CutOff,
    #[error("{0}")]
    Other(String),
}

impl From<&rustls::Error> for TlsProblem {
    fn from(error: &rustls::Error) -> TlsProblem {
        let words = match error {
            rustls::Error::InvalidCertificate(error) => return TlsProblem::of_certificate(error),
            rustls::Error::InvalidMessage(_) => return TlsProblem::NotTls,
            rustls::Error::AlertReceived(_) => "the server refused the TLS handshake",
            rustls::Error::PeerIncompatible(_) => {
                "the server supports no TLS version or cipher suite that statusd supports"
            }
            _ => "the TLS connection failed",
        };
        TlsProblem::Other(words.to_owned())
    }
}

impl TlsProblem {
    fn of_certificate(error: &CertificateError) -> TlsProblem {
        match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => TlsProblem::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                TlsProblem::NotYetValid
            }
            // A bad signature means an authority with the name of a trusted one but another key.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => TlsProblem::UnknownIssuer,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                TlsProblem::WrongHost
            }
            CertificateError::Revoked => TlsProblem::Other("the certificate was revoked".to_owned()),
            _ => TlsProblem::Other("the certificate is invalid".to_owned()),
        }
    }
}

/// Installs ring as the provider of this process. Call before the first HTTP client is built; later
/// calls have no effect.
pub fn install_provider() {
    // The only error is that a provider is already installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Returns whether a URL's host is this computer, so that plain http is as safe as TLS. Resolves no
/// names. Accepts IPv6 with or without brackets.
pub fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

/// Reads a `ca_file`: a PEM file with at least one authority to trust in addition to the system's.
///
/// # Errors
///
/// The error of `ca_file`.
pub fn authorities(file: &Path) -> Result<Vec<CertificateDer<'static>>, SettingError> {
    let shown = file.display();
    if !file.is_absolute() {
        return Err(SettingError::new("ca_file", format!("{shown} is not an absolute path"))
            .hint("write one that starts with /"));
    }
    let pem = regular_file::read(file, CA_FILE_MAX_BYTES).map_err(|error| match error.kind() {
        io::ErrorKind::FileTooLarge => SettingError::new("ca_file", format!("{shown} is larger than 1 MiB"))
            .hint("list only your own authorities"),
        _ => SettingError::new("ca_file", format!("cannot read {shown}: {}", error.reason())),
    })?;
    match CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>() {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(SettingError::new("ca_file", format!("{shown} contains no certificate"))
            .hint("give a PEM file (BEGIN CERTIFICATE)")),
    }
}

/// Returns a client configuration that trusts the system's authorities and `authorities`.
///
/// # Errors
///
/// The system's authorities cannot be read, or an entry of `authorities` is malformed.
pub fn client_config(authorities: &[CertificateDer<'static>]) -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Verifier::new_with_extra_roots(authorities.iter().cloned(), Arc::clone(&provider))?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        // Not dangerous, because this verifier is the platform's own.
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Accepts any certificate, for inspection only; verifies that the server holds its key. Never send
/// data over such a connection before the certificate has been verified.
#[derive(Debug)]
pub struct AcceptAnyCert {
    pub provider: Arc<CryptoProvider>,
    pub unparsable: UnparsableCert,
}

/// The treatment of a certificate that rustls cannot parse, so that its key cannot be verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnparsableCert {
    Rejected,
    /// Without proof that the server holds the key.
    Accepted,
}

impl AcceptAnyCert {
    fn is_accepted_unparsed(&self, certificate: &CertificateDer<'_>) -> bool {
        self.unparsable == UnparsableCert::Accepted && ParsedCertificate::try_from(certificate).is_err()
    }
}

impl ServerCertVerifier for AcceptAnyCert {
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
        if self.is_accepted_unparsed(certificate) {
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
        if self.is_accepted_unparsed(certificate) {
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
    use super::*;

    #[test]
    fn the_root_cause_is_in_plain_words() {
        let check = |error: io::Error, expected: &str| assert_eq!(root_cause(&error), expected);
        check(io::ErrorKind::ConnectionRefused.into(), "connection refused");
        check(io::Error::other(io::Error::from(io::ErrorKind::ConnectionReset)), "connection reset");
        check(io::Error::new(io::ErrorKind::TimedOut, "deadline has elapsed"), "timed out");
        check(io::Error::other("no record found"), "no record found");
        check(
            io::Error::other(rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType)),
            "the server does not speak TLS",
        );
    }

    #[test]
    fn apples_authority_is_the_published_one() {
        let certificate =
            CertificateDer::from_pem_slice(APPLE_ROOT_CA_PEM.as_bytes()).expect("a certificate");
        let digest = ring::digest::digest(&ring::digest::SHA256, &certificate);
        let hex = hex::encode_upper(digest);
        assert_eq!(hex, "B0B1730ECBC7FF4505142C49F1295E6EDA6BCAED7E2C68C5BE91B5A11001F024");
    }
}
