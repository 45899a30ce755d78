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
const VISIT: Duration = Duration::from_secs(2);

/// A port of its own on this computer.
pub struct Stage {
    listener: TcpListener,
    /// The URL of the document.
    pub url: String,
}

impl Stage {
    pub async fn open() -> io::Result<Stage> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}/system_status.js", listener.local_addr()?);
        Ok(Stage { listener, url })
    }

    /// Shows `document` to whoever comes, one at a time, one request a connection. Ends only if no
    /// more connections can be had; may be dropped at any point.
    pub async fn show(&self, document: &str) -> io::Error {
        loop {
            let visitor = match self.listener.accept().await {
                Ok((visitor, _)) => visitor,
                Err(error) => return error,
            };
            // A visitor that breaks off is its own business; the next one is served all the same.
            let _ = timeout(VISIT, answer(visitor, document)).await;
        }
    }
}

async fn answer(mut visitor: TcpStream, document: &str) -> io::Result<()> {
    let (read, mut write) = visitor.split();
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

    /// Sends `request`, and all that comes back.
    async fn visit(url: &str, request: &[u8]) -> String {
        let address = url.trim_start_matches("http://").split('/').next().expect("an address");
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        // Who asks too much is cut off while still asking.
        let _cut_off = stream.write_all(request).await;
        let _cut_off = stream.shutdown().await;
        let mut answer = Vec::new();
        let _cut_off = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).expect("UTF-8")
    }

    #[tokio::test]
    async fn strangers_get_nothing_or_the_same_and_the_next_one_is_served() {
        let stage = Stage::open().await.expect("a port");
        let visits = async {
            let endless = vec![b'x'; 1 << 20];
            let mut answers = Vec::new();
            for request in [&b""[..], &endless, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"] {
                answers.push(visit(&stage.url, request).await);
            }
            answers
        };
        let answers = tokio::select! {
            answers = visits => answers,
            error = stage.show("{}") => panic!("{error}"),
        };
        assert_eq!((answers[0].as_str(), answers[1].as_str()), ("", ""));
        assert!(answers[2].starts_with("HTTP/1.1 200 OK\r\n"), "{answers:?}");
        assert!(answers[2].contains("\r\nContent-Length: 2\r\n") && answers[2].ends_with("\r\n\r\n{}"));
    }
}
