//! A wire between a client and a server on loopback, which a test can cut, and on which it can lose
//! the packets by which an MQTT broker confirms a message.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The type of MQTT's PUBACK in the upper half of a packet's first byte.
const PUBACK: u8 = 4;

/// A port that leads to another one; gone, with what goes through it, when dropped.
pub struct Wire {
    pub port: u16,
    loses_confirmations: Arc<AtomicBool>,
    /// Counts the cuts.
    cuts: watch::Sender<u32>,
    task: JoinHandle<()>,
}

impl Wire {
    pub async fn to(port: u16) -> Wire {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a loopback port");
        let own = listener.local_addr().expect("a bound address").port();
        let loses_confirmations = Arc::new(AtomicBool::new(false));
        let (cuts, cut) = watch::channel(0);
        let loses = Arc::clone(&loses_confirmations);
        let task = tokio::spawn(async move {
            loop {
                let (near, _) = listener.accept().await.expect("a connection");
                let mut cut = cut.clone();
                cut.mark_unchanged();
                let loses = Arc::clone(&loses);
                tokio::spawn(async move {
                    // Nobody at the far end: the near one is closed.
                    let Ok(far) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                    tokio::select! {
                        () = carry(near, far, &loses) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Wire { port: own, loses_confirmations, cuts, task }
    }

    /// Ends every connection that goes through it now.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// From now on no PUBACK arrives, or all do again.
    pub fn lose_confirmations(&self, lose: bool) {
        self.loses_confirmations.store(lose, Ordering::Relaxed);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(near: TcpStream, far: TcpStream, loses: &AtomicBool) {
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    tokio::select! {
        () = bytes(near_read, far_write) => {}
        _ = packets(far_read, near_write, loses) => {}
    }
}

async fn bytes(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let _end = tokio::io::copy(&mut from, &mut to).await;
}

async fn packets(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, loses: &AtomicBool) -> std::io::Result<()> {
    loop {
        let mut packet = vec![from.read_u8().await?];
        let mut length = 0;
        for shift in (0..).step_by(7) {
            let byte = from.read_u8().await?;
            packet.push(byte);
            length |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let head = packet.len();
        packet.resize(head + length, 0);
        from.read_exact(&mut packet[head..]).await?;
        if packet[0] >> 4 != PUBACK || !loses.load(Ordering::Relaxed) {
            to.write_all(&packet).await?;
        }
    }
}
