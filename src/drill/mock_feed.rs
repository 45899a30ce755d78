//! The mock feed of a drill: an HTTP server on loopback with one document.
//!
//! Serves only while a poll runs, and implements only the required part of HTTP. Another local client gets
//! the same document or nothing, and delays a poll by at most the limits below
//! (`other_clients_get_the_document_or_nothing`).

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const REQUEST_MAX_BYTES: u64 = 8 * 1024;
const TIMEOUT: Duration = Duration::from_secs(2);

/// A server on its own port of the loopback interface.
pub struct MockFeed {
    listener: TcpListener,
    /// The URL of the document.
    pub url: String,
}

impl MockFeed {
    pub async fn start() -> io::Result<MockFeed> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}/system_status.js", listener.local_addr()?);
        Ok(MockFeed { listener, url })
    }

    /// Serves `document` to one client after another, with one request per connection. Returns only if no
    /// more connections can be accepted. Cancel-safe.
    pub async fn serve(&self, document: &str) -> io::Error {
        loop {
            let client = match self.listener.accept().await {
                Ok((client, _)) => client,
                Err(error) => return error,
            };
            // An error of one client does not concern the next one.
            let _ = timeout(TIMEOUT, respond(client, document)).await;
        }
    }
}

async fn respond(mut client: TcpStream, document: &str) -> io::Result<()> {
    let (read, mut write) = client.split();
    let mut read = read.take(REQUEST_MAX_BYTES);
    let mut request = Vec::new();
    // Read to the end, otherwise closing resets the connection before the client reads the response.
    while !request.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
        if read.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        document.len()
    );
    write.write_all(head.as_bytes()).await?;
    write.write_all(document.as_bytes()).await?;
    write.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends `request` and returns the response.
    async fn send(url: &str, request: &[u8]) -> String {
        let address = url.trim_start_matches("http://").split('/').next().expect("an address");
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        // The server closes the connection during a request that is too long.
        let _ = stream.write_all(request).await;
        let _ = stream.shutdown().await;
        let mut response = Vec::new();
        let _ = stream.read_to_end(&mut response).await;
        String::from_utf8(response).expect("UTF-8")
    }

    #[tokio::test]
    async fn other_clients_get_the_document_or_nothing() {
        let mock_feed = MockFeed::start().await.expect("a port");
        let requests = async {
            let endless = vec![b'x'; 1 << 20];
            let mut responses = Vec::new();
            for request in [&b""[..], &endless, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"] {
                responses.push(send(&mock_feed.url, request).await);
            }
            responses
        };
        let responses = tokio::select! {
            responses = requests => responses,
            error = mock_feed.serve("{}") => panic!("{error}"),
        };
        assert_eq!((responses[0].as_str(), responses[1].as_str()), ("", ""));
        assert!(responses[2].starts_with("HTTP/1.1 200 OK\r\n"), "{responses:?}");
        assert!(responses[2].contains("\r\nContent-Length: 2\r\n") && responses[2].ends_with("\r\n\r\n{}"));
    }
}
