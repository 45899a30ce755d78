//! Everything that a test program logs, as lines to look for secrets in.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, channel};

use tracing_subscriber::util::SubscriberInitExt as _;

/// Hands on every line that the subscriber writes.
struct Lines(Sender<String>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // The other tests of this program outlive the one that listens.
        let _unheard = self.0.send(String::from_utf8_lossy(bytes).into_owned());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// From now on, the libraries' most talkative lines included. Once in a program: it has one log.
pub fn everything() -> Receiver<String> {
    let (lines, written) = channel();
    tracing_subscriber::fmt()
        .with_max_level(tracing::level_filters::LevelFilter::TRACE)
        .with_writer(move || Lines(lines.clone()))
        .finish()
        .init();
    written
}
