//! Which cryptography TLS uses in this process: ring, for its size. No certificates and no
//! connections here. Safe to call any number of times; the first call decides.

/// Must run before the first HTTP client is built.
pub fn install_provider() {
    // An error says only that a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
