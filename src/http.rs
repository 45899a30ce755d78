//! Settings and bodies that all HTTP requests share.

use reqwest::{Client, ClientBuilder, Response};

use crate::tls;

const USER_AGENT: &str = concat!("statusd/", env!("CARGO_PKG_VERSION"));

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
    while let Some(chunk) = response.chunk().await.map_err(BodyError::Transfer)? {
        if body.len() + chunk.len() > max {
            return Err(BodyError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
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
}
