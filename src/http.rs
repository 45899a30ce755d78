//! Settings and bodies that all HTTP requests share.

use reqwest::{Client, ClientBuilder, Response};

use crate::tls;

const USER_AGENT: &str = concat!("statusd/", env!("CARGO_PKG_VERSION"));

/// Returns a builder without referer and connection reuse: requests are minutes or days apart, and a
/// stale connection looks like a server that closes without a response.
pub fn builder() -> ClientBuilder {
    tls::install_provider();
    Client::builder().user_agent(USER_AGENT).referer(false).pool_max_idle_per_host(0)
}

/// Accepts the deviations that RFC 9112 asks recipients to tolerate.
pub fn tolerant(builder: ClientBuilder) -> ClientBuilder {
    builder
        .http1_allow_obsolete_multiline_headers_in_responses(true)
        .http1_allow_spaces_after_header_name_in_responses(true)
        .http1_ignore_invalid_headers_in_responses(true)
}

/// The reason why a body is not complete.
#[derive(Debug)]
pub enum BodyError {
    TooLarge,
    Transfer(reqwest::Error),
}

/// Reads a body of at most `max` bytes as sent. Counts the bytes, because `Content-Length` may be missing.
///
/// # Errors
///
/// The body is larger, or the connection failed.
pub async fn body(mut response: Response, max: usize) -> Result<Vec<u8>, BodyError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(BodyError::Transfer)? {
        if body.len() + chunk.len() > max {
            return Err(BodyError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
