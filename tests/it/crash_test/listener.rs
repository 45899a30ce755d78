//! A loopback port with its own thread, which handles one client after the other.
//!
//! Threads and blocking reads, because the receiver waits for the disk. Dropping the handle ends the
//! thread.

use std::io::BufReader;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Sender, TryRecvError, channel};
use std::thread::{JoinHandle, spawn};

/// A listening port. Closed when dropped.
pub struct Listener {
    pub address: SocketAddr,
    /// `None` only while being dropped.
    thread: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Listener {
    /// Listens, and calls `receive` for each client in turn.
    pub fn open(mut receive: impl FnMut(BufReader<TcpStream>) + Send + 'static) -> Listener {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a loopback port");
        let address = listener.local_addr().expect("a bound address");
        let (handle, closed) = channel();
        let thread = spawn(move || {
            for client in listener.incoming() {
                if closed.try_recv() == Err(TryRecvError::Disconnected) {
                    return;
                }
                // A client that has disconnected by now was killed.
                if let Ok(client) = client {
                    receive(BufReader::new(client));
                }
            }
        });
        Listener { address, thread: Some((handle, thread)) }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some((handle, thread)) = self.thread.take() {
            drop(handle);
            // Wakes the thread. A panic of the thread has been printed.
            let _wake = TcpStream::connect(self.address);
            let _ended = thread.join();
        }
    }
}
