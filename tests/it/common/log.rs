//! Captures the log of the test process, so that tests can search it for secrets.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, channel};

use tracing_subscriber::util::SubscriberInitExt as _;

/// Sends every line of the subscriber to the test.
struct Lines(Sender<String>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Other tests in this process may outlive the receiver.
        let _dropped = self.0.send(String::from_utf8_lossy(bytes).into_owned());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Captures the log from now on, at `trace`, dependencies included. Call once per process.
pub fn everything() -> Receiver<String> {
    let (lines, written) = channel();
    tracing_subscriber::fmt()
        .with_max_level(tracing::level_filters::LevelFilter::TRACE)
        .with_writer(move || Lines(lines.clone()))
        .finish()
        .init();
    written
}
