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

/// A pairing. Every one has keys of its own.
pub struct Papers {
    pub host_id: String,
    pub system_buid: String,
    pub root: Paper,
    pub host: Paper,
    /// As it was when the two were paired.
    pub device: Paper,
    /// What the phone shows now; the same unless a test says otherwise.
    pub shown: Paper,
}

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub struct Paper {
    pub certificate: String,
    pub key: String,
}

impl Papers {
    /// On elliptic curves, which are quick to make.
    pub fn new() -> Papers {
        Papers::of(|| KeyPair::generate().expect("a key").serialize_pem())
    }

    /// On RSA, as phones have it, and the only keys that the stock tools read. By `openssl`.
    pub fn rsa() -> Papers {
        let mut papers = Papers::of(|| openssl(&["genrsa", "2048"], ""));
        // In the form that Apple's own records have.
        papers.host.key = openssl(&["rsa", "-traditional"], &papers.host.key);
        papers
    }

    fn of(key: impl Fn() -> String) -> Papers {
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
            Paper { certificate, key }
        };
        let (host, device) = (issued("Computer"), issued("Phone"));
        Papers {
            host_id: "5E1F0A2C-0000-4D5B-9A57-00000000HOST".to_owned(),
            system_buid: "30142955-444094379208051516".to_owned(),
            root: Paper { certificate, key: root_key },
            host,
            shown: device.clone(),
            device,
        }
    }

    /// The phone shows another certificate than it had when it was paired.
    pub fn changed(self) -> Papers {
        let other = Papers::new();
        Papers { shown: other.device, ..self }
    }

    /// The phone shows its certificate and signs with another key.
    pub fn stolen(self) -> Papers {
        let Papers { device, .. } = Papers::new();
        let shown = Paper { certificate: self.device.certificate.clone(), key: device.key };
        Papers { shown, ..self }
    }

    /// The phone shows a certificate in a form that nobody here reads.
    pub fn illegible(self) -> Papers {
        let certificate = "-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n".to_owned();
        let shown = Paper { certificate, ..self.shown };
        Papers { shown, ..self }
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
        .expect("Debian's package openssl is installed");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "openssl {arguments:?}");
    String::from_utf8(output.stdout).expect("PEM")
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).expect("a certificate without hosts");
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// The phone's side; `None` where it speaks no TLS.
pub fn acceptor(papers: &Papers, tls: Tls) -> Option<TlsAcceptor> {
    let versions = match tls {
        Tls::Any => vec![&version::TLS12, &version::TLS13],
        Tls::Only12 => vec![&version::TLS12],
        Tls::Only13 => vec![&version::TLS13],
        Tls::None => return None,
    };
    let certificate =
        |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate").into_owned();
    let provider = Arc::new(ring::default_provider());
    let key = PrivateKeyDer::from_pem_slice(papers.shown.key.as_bytes()).expect("a key");
    let key = provider.key_provider.load_private_key(key).expect("a key of a known kind");
    let shown = CertifiedKey::new(vec![certificate(&papers.shown.certificate)], key);
    let known = [&papers.root, &papers.host].map(|paper| certificate(&paper.certificate)).to_vec();
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions)
        .expect("known versions")
        .with_client_cert_verifier(Arc::new(Acquainted { known, provider }))
        .with_cert_resolver(Arc::new(Shown(Arc::new(shown))));
    Some(TlsAcceptor::from(Arc::new(config)))
}

/// Sends one certificate to every client, even if its key does not match.
#[derive(Debug)]
struct Shown(Arc<CertifiedKey>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

/// Accepts exactly the certificates of the pairing.
#[derive(Debug)]
struct Acquainted {
    known: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for Acquainted {
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
