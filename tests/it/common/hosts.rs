//! Mock hosts on loopback for the network checks: servers with test certificates that accept TLS, hang,
//! close or speak another protocol.
//!
//! Uses no code of statusd. Dropping a host frees its port.

use std::net::SocketAddr;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, date_time_ymd,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

pub use super::apple::ServerCert;

/// A certificate authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub der: CertificateDer<'static>,
}

impl Authority {
    /// Creates an authority that is always valid. Two authorities with the same name would look like a
    /// forged signature.
    pub fn new(name: &str, organisation: &str) -> Authority {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("an authority without names");
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.distinguished_name.push(DnType::OrganizationName, organisation);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("the authority's certificate");
        let der = certificate.der().clone();
        Authority { issuer: Issuer::new(params, key), der }
    }

    /// Returns a TLS acceptor with a certificate for `host`.
    pub fn acceptor(&self, host: &str, cert: ServerCert) -> TlsAcceptor {
        let host = match cert {
            ServerCert::WrongHost => "elsewhere.example",
            ServerCert::ValidFor(other) => other,
            ServerCert::Valid | ServerCert::Expired | ServerCert::NotYetValid => host,
        };
        let mut params = CertificateParams::new(vec![host.to_owned()]).expect("a server's name");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        match cert {
            ServerCert::Valid | ServerCert::WrongHost | ServerCert::ValidFor(_) => {}
            ServerCert::Expired => params.not_after = date_time_ymd(2001, 1, 1),
            ServerCert::NotYetValid => params.not_before = date_time_ymd(4000, 1, 1),
        }
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("the server's certificate");
        acceptor(certificate.der().clone(), &key)
    }
}

/// Returns an acceptor with a self-signed certificate, like that of a captive portal.
pub fn self_signed(host: &str) -> TlsAcceptor {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec![host.to_owned()]).expect("a server's name");
    params.distinguished_name.push(DnType::CommonName, "Box");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).expect("a certificate");
    acceptor(certificate.der().clone(), &key)
}

fn acceptor(certificate: CertificateDer<'static>, key: &KeyPair) -> TlsAcceptor {
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
        .expect("a key that fits its certificate");
    TlsAcceptor::from(Arc::new(config))
}

/// The behaviour of a host towards a client.
#[derive(Clone)]
pub enum HostBehaviour {
    /// Accepts TLS and waits until the client disconnects.
    Tls(TlsAcceptor),
    /// Accepts the connection and does nothing.
    Hangs,
    /// Responds in plain-text HTTP.
    PlainHttp,
    /// Closes the connection after the client's hello.
    Closes,
    /// Accepts TLS, returns `config` for a GET and reads uploads.
    Uploads {
        tls: TlsAcceptor,
        /// The body of the response to a GET.
        config: String,
        /// If false, a POST is read and never answered.
        answers: bool,
    },
}

/// A listening host. Closed when dropped.
pub struct MockHost {
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl MockHost {
    /// Listens on `on`, an address with port 0.
    pub async fn start(on: &str, behaviour: HostBehaviour) -> MockHost {
        let listener = TcpListener::bind(on).await.unwrap_or_else(|error| panic!("{on}: {error}"));
        let address = listener.local_addr().expect("a bound address");
        let task = tokio::spawn(async move {
            let mut held = Vec::new();
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                match &behaviour {
                    HostBehaviour::Hangs => held.push(stream),
                    behaviour => drop(tokio::spawn(receive(stream, behaviour.clone()))),
                }
            }
        });
        MockHost { address, task }
    }
}

impl Drop for MockHost {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Ignores errors: the client may disconnect or not trust the certificate.
async fn receive(mut stream: TcpStream, behaviour: HostBehaviour) {
    match behaviour {
        HostBehaviour::Tls(tls) => {
            if let Ok(mut stream) = tls.accept(stream).await {
                let _left = stream.read(&mut [0]).await;
            }
        }
        HostBehaviour::Hangs => {}
        HostBehaviour::PlainHttp => {
            let _hello = stream.read(&mut [0; 1024]).await;
            let _left = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
        }
        HostBehaviour::Closes => {
            let _hello = stream.read(&mut [0; 1024]).await;
        }
        HostBehaviour::Uploads { tls, config, answers } => {
            if let Ok(stream) = tls.accept(stream).await {
                let _left = serve(stream, &config, answers).await;
            }
        }
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    config: &str,
    answers: bool,
) -> std::io::Result<()> {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let head = String::from_utf8_lossy(&head).to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut left: usize = length.and_then(|length| length.trim().parse().ok()).unwrap_or(0);
        let is_upload = head.starts_with("post");
        let mut buffer = vec![0; 64 << 10];
        while left > 0 {
            left -= stream.read(&mut buffer).await?.min(left);
        }
        if is_upload && !answers {
            let _left = stream.read(&mut [0]).await;
            return Ok(());
        }
        let body = if is_upload { "" } else { config };
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await?;
        stream.flush().await?;
    }
}
