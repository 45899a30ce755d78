//! What the HTTP clients share about TLS: which cryptography it uses in this process (ring, for its
//! size), and where it is not needed. No certificates and no connections here.

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
