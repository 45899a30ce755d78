//! The part of HTTP/1.1 that the feed, the receiver and the forwarder need. Blocking, one request per
//! connection.

use std::io::{self, BufRead, Write};

/// One request as received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    pub path: String,
    /// Names in lower case, in order.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    /// Reads one request. Returns `None` if the client disconnects before its end.
    pub fn read(from: &mut impl BufRead) -> io::Result<Option<Request>> {
        let Some(first) = line(from)? else { return Ok(None) };
        let mut words = first.split(' ').map(str::to_owned);
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let mut headers = Vec::new();
        loop {
            match line(from)? {
                None => return Ok(None),
                Some(line) if line.is_empty() => break,
                Some(line) => headers.extend(
                    line.split_once(':')
                        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())),
                ),
            }
        }
        let mut request = Request { method, path, headers, body: Vec::new() };
        let length = request.header("content-length").map_or(0, |length| length.parse().expect("a length"));
        request.body = vec![0; length];
        match from.read_exact(&mut request.body) {
            Ok(()) => Ok(Some(request)),
            Err(_gone) => Ok(None),
        }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Forwards the request unchanged.
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let mut bytes = format!("{} {} HTTP/1.1\r\n", self.method, self.path).into_bytes();
        for (name, value) in &self.headers {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.body);
        to.write_all(&bytes)
    }
}

/// Writes a response that closes the connection.
pub fn answer(to: &mut impl Write, status: u16, body: &str) -> io::Result<()> {
    let length = body.len();
    to.write_all(
        format!("HTTP/1.1 {status} .\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}")
            .as_bytes(),
    )
}

/// The next line without its end; `None` at the end of the stream, also in the middle of a line.
pub fn line(from: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    Ok(line.strip_suffix('\n').map(|line| line.strip_suffix('\r').unwrap_or(line).to_owned()))
}
