//! A port on loopback with a thread of its own behind it that takes one visitor after the other.
//!
//! Threads and blocking reads, since whoever is behind it waits for the disk. The thread ends with
//! its handle.

use std::io::BufReader;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Sender, TryRecvError, channel};
use std::thread::{JoinHandle, spawn};

/// An open port; closed when dropped.
pub struct Door {
    pub address: SocketAddr,
    /// `None` only while being dropped.
    life: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Door {
    /// `receive` has each visitor for as long as it likes.
    pub fn open(mut receive: impl FnMut(BufReader<TcpStream>) + Send + 'static) -> Door {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a loopback port");
        let address = listener.local_addr().expect("a bound address");
        let (handle, closed) = channel();
        let thread = spawn(move || {
            for visitor in listener.incoming() {
                if closed.try_recv() == Err(TryRecvError::Disconnected) {
                    return;
                }
                // Whoever has gone again by now was killed.
                if let Ok(visitor) = visitor {
                    receive(BufReader::new(visitor));
                }
            }
        });
        Door { address, life: Some((handle, thread)) }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        if let Some((handle, thread)) = self.life.take() {
            drop(handle);
            // The visit that makes the thread look up. Its panic, if it had one, has been printed.
            let _visit = TcpStream::connect(self.address);
            let _ended = thread.join();
        }
    }
}
