//! The pairing of an iPhone with a computer, and the phone's side of TLS with it.
//!
//! The phone accepts two client certificates: the host's, which statusd sends, and the root's, which the
//! stock tools send.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;

use plist::{Dictionary, Value};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme, version,
};

/// The TLS versions of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    Any,
    Only12,
    Only13,
    None,
}

/// A pairing with its own keys.
pub struct Pairing {
    pub host_id: String,
    pub system_buid: String,
    pub root: CertAndKey,
    pub host: CertAndKey,
    /// The device's certificate at the time of pairing.
    pub device: CertAndKey,
    /// The certificate that the phone sends now. By default the same.
    pub shown: CertAndKey,
}

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub struct CertAndKey {
    pub certificate: String,
    pub key: String,
}

impl Pairing {
    /// Creates a pairing with elliptic-curve keys, which are fast to generate.
    pub fn new() -> Pairing {
        Pairing::of(|| KeyPair::generate().expect("a key").serialize_pem())
    }

    /// Creates a pairing with RSA keys, as real phones do. The stock tools read only these.
    pub fn rsa() -> Pairing {
        let mut pairing = Pairing::of(|| openssl(&["genrsa", "2048"], ""));
        // The format in Apple's own records.
        pairing.host.key = openssl(&["rsa", "-traditional"], &pairing.host.key);
        pairing
    }

    fn of(key: impl Fn() -> String) -> Pairing {
        let root_key = key();
        // OpenSSL treats two certificates without a name as the same one.
        let mut params = named("Root of a pairing");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pair = KeyPair::from_pem(&root_key).expect("a key");
        let certificate = params.self_signed(&pair).expect("a certificate").pem();
        let issuer = Issuer::new(params, pair);
        let issued = |name| {
            let key = key();
            let pair = KeyPair::from_pem(&key).expect("a key");
            let certificate = named(name).signed_by(&pair, &issuer).expect("a certificate").pem();
            CertAndKey { certificate, key }
        };
        let (host, device) = (issued("Computer"), issued("Phone"));
        Pairing {
            host_id: "5E1F0A2C-0000-4D5B-9A57-00000000HOST".to_owned(),
            system_buid: "30142955-444094379208051516".to_owned(),
            root: CertAndKey { certificate, key: root_key },
            host,
            shown: device.clone(),
            device,
        }
    }

    /// Sends another certificate than at the time of pairing.
    pub fn with_changed_cert(self) -> Pairing {
        let other = Pairing::new();
        Pairing { shown: other.device, ..self }
    }

    /// Sends the paired certificate and signs with another key.
    pub fn with_wrong_key(self) -> Pairing {
        let Pairing { device, .. } = Pairing::new();
        let shown = CertAndKey { certificate: self.device.certificate.clone(), key: device.key };
        Pairing { shown, ..self }
    }

    /// Sends a certificate that cannot be parsed.
    pub fn with_unparsable_cert(self) -> Pairing {
        let certificate = "-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n".to_owned();
        let shown = CertAndKey { certificate, ..self.shown };
        Pairing { shown, ..self }
    }

    /// Returns the pair record as usbmuxd stores it.
    pub fn record(&self) -> Dictionary {
        let data = |text: &str| Value::Data(text.as_bytes().to_vec());
        let entries = [
            ("DeviceCertificate", data(&self.device.certificate)),
            ("EscrowBag", Value::Data(vec![7; 32])),
            ("HostCertificate", data(&self.host.certificate)),
            ("HostID", self.host_id.as_str().into()),
            ("HostPrivateKey", data(&self.host.key)),
            ("RootCertificate", data(&self.root.certificate)),
            ("RootPrivateKey", data(&self.root.key)),
            ("SystemBUID", self.system_buid.as_str().into()),
            ("WiFiMACAddress", "02:00:00:00:00:01".into()),
        ];
        entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }
}

fn openssl(arguments: &[&str], input: &str) -> String {
    let mut child = Command::new("openssl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl starts (is it installed?)");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("openssl reads its input");
    let output = child.wait_with_output().expect("openssl ends");
    assert!(output.status.success(), "openssl {arguments:?}");
    String::from_utf8(output.stdout).expect("PEM")
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).expect("a certificate without hosts");
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// Returns the phone's acceptor, or `None` without TLS.
pub fn acceptor(pairing: &Pairing, tls: Tls) -> Option<TlsAcceptor> {
    let versions = match tls {
        Tls::Any => vec![&version::TLS12, &version::TLS13],
        Tls::Only12 => vec![&version::TLS12],
        Tls::Only13 => vec![&version::TLS13],
        Tls::None => return None,
    };
    let certificate =
        |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate").into_owned();
    let provider = Arc::new(ring::default_provider());
    let key = PrivateKeyDer::from_pem_slice(pairing.shown.key.as_bytes()).expect("a key");
    let key = provider.key_provider.load_private_key(key).expect("a key of a known kind");
    let shown = CertifiedKey::new(vec![certificate(&pairing.shown.certificate)], key);
    let known = [&pairing.root, &pairing.host].map(|paper| certificate(&paper.certificate)).to_vec();
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions)
        .expect("known versions")
        .with_client_cert_verifier(Arc::new(PairedCertVerifier { known, provider }))
        .with_cert_resolver(Arc::new(FixedCert(Arc::new(shown))));
    Some(TlsAcceptor::from(Arc::new(config)))
}

/// Sends one certificate to every client, even if its key does not match.
#[derive(Debug)]
struct FixedCert(Arc<CertifiedKey>);

impl ResolvesServerCert for FixedCert {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

/// Accepts exactly the certificates of the pairing.
#[derive(Debug)]
struct PairedCertVerifier {
    known: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for PairedCertVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if self.known.iter().any(|known| known == end_entity) {
            Ok(ClientCertVerified::assertion())
        } else {
            Err(CertificateError::UnknownIssuer.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
