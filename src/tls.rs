//! What is shared about TLS: which cryptography it uses in this process (ring, for its size), whom it
//! trusts beside the system, and where it is not needed. No connections here.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// Hundreds of authorities.
const CA_FILE_MAX_BYTES: u64 = 1024 * 1024;

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
    let mut pem = Vec::new();
    File::open(file)
        .and_then(|open| open.take(CA_FILE_MAX_BYTES + 1).read_to_end(&mut pem))
        .map_err(|error| format!("ca_file: cannot read {shown}: {error}"))?;
    if pem.len() as u64 > CA_FILE_MAX_BYTES {
        return Err(format!("ca_file: {shown} is larger than 1 MiB; give only your own authorities"));
    }
    match CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>() {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(format!("ca_file: {shown} holds no certificate; give a PEM file (BEGIN CERTIFICATE)")),
    }
}
