//! Settings, bodies and dates that all HTTP requests share.

use jiff::Timestamp;
use reqwest::{Client, ClientBuilder, Response};

use crate::tls;

const USER_AGENT: &str = concat!("statusd/", env!("CARGO_PKG_VERSION"));

/// hyper's error message for a connection that closed before the response. The error type is private.
/// `tests/it/webhook.rs` checks that hyper still uses this message.
pub const CLOSED_EARLY: &str = "connection closed before message completed";

/// Returns a builder for several requests in a row, which may reuse a connection.
pub fn builder() -> ClientBuilder {
    tls::install_provider();
    Client::builder().user_agent(USER_AGENT).referer(false)
}

/// Returns a builder without connection reuse, for requests that are minutes or days apart. A stale
/// connection looks like a server that closes without a response.
pub fn single_request_builder() -> ClientBuilder {
    builder().pool_max_idle_per_host(0)
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
    read_body(&mut response, max, &mut body).await?;
    Ok(body)
}

/// Reads a body like [`body()`], but keeps in `body` what arrives before an error or a timeout, at most `max`
/// bytes.
///
/// # Errors
///
/// The body is larger, or the connection failed.
pub async fn read_body(response: &mut Response, max: usize, body: &mut Vec<u8>) -> Result<(), BodyError> {
    while let Some(chunk) = response.chunk().await.map_err(BodyError::Transfer)? {
        let room = max - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() > room {
            return Err(BodyError::TooLarge);
        }
    }
    Ok(())
}

/// Parses a date in one of the formats of RFC 9110, 5.6.7.
pub fn date(value: &str) -> Option<Timestamp> {
    Timestamp::try_from(httpdate::parse_http_date(value).ok()?).ok()
}

/// Parses `Retry-After`, a number of seconds or a date (RFC 9110, 10.2.3), into seconds from `now`, without
/// which a date has no meaning. Returns 0 for a past date, `u64::MAX` for a number that overflows, and `None`
/// for anything else.
pub fn retry_after_s(value: &str, now: Option<Timestamp>) -> Option<u64> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // Digits alone fail to parse only on overflow.
        return Some(value.parse().unwrap_or(u64::MAX));
    }
    // The conversion fails for a past date.
    Some(u64::try_from(date(value)?.as_second() - now?.as_second()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Counts the connections of two requests in a row.
    async fn connections(client: Client) -> usize {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        let requests = async {
            for _ in 0..2 {
                body(client.get(&url).send().await.expect("a response"), 10).await.expect("a body");
            }
        };
        let mut count = 0;
        let server = async {
            loop {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                count += 1;
                tokio::spawn(async move {
                    while stream.read(&mut [0; 1_024]).await.is_ok_and(|read| read > 0) {
                        stream
                            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                            .await
                            .expect("sent");
                    }
                });
            }
        };
        tokio::select! {
            () = requests => {}
            () = server => {}
        }
        count
    }

    #[tokio::test]
    async fn only_single_requests_reuse_no_connection() {
        let client = |builder: ClientBuilder| builder.no_proxy().build().expect("a client");
        assert_eq!(connections(client(builder())).await, 1);
        assert_eq!(connections(client(single_request_builder())).await, 2);
    }

    #[tokio::test]
    async fn a_part_of_a_body_survives_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.read(&mut [0; 1_024]).await;
                // The connection closes before the body is complete.
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello").await;
            }
        });
        let client = single_request_builder().no_proxy().build().expect("a client");
        let response = async || client.get(&url).send().await.expect("a response");
        let mut body = Vec::new();
        let cut_off = read_body(&mut response().await, 10, &mut body).await;
        assert!(matches!(cut_off, Err(BodyError::Transfer(_))), "{cut_off:?}");
        assert_eq!(body, b"hello");
        body.clear();
        let too_large = read_body(&mut response().await, 3, &mut body).await;
        assert!(matches!(too_large, Err(BodyError::TooLarge)), "{too_large:?}");
        assert_eq!(body, b"hel");
    }
}
