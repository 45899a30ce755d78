//! A proxy in front of an MQTT broker on loopback that can break connections and drop PUBACK packets.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The packet type PUBACK, in the upper half of the first byte.
const PUBACK: u8 = 4;

/// A port that forwards to the broker's port. Dropping the proxy closes the port.
pub struct MqttProxy {
    pub port: u16,
    drops_pubacks: Arc<AtomicBool>,
    /// Counts the calls of [`MqttProxy::disconnect_all`].
    cuts: watch::Sender<u32>,
    task: JoinHandle<()>,
}

impl MqttProxy {
    pub async fn start(port: u16) -> MqttProxy {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a loopback port");
        let own = listener.local_addr().expect("a bound address").port();
        let drops_pubacks = Arc::new(AtomicBool::new(false));
        let (cuts, cut) = watch::channel(0);
        let drops = Arc::clone(&drops_pubacks);
        let task = tokio::spawn(async move {
            loop {
                let (near, _) = listener.accept().await.expect("a connection");
                let mut cut = cut.clone();
                cut.mark_unchanged();
                let drops = Arc::clone(&drops);
                tokio::spawn(async move {
                    // Without a broker, close the client's connection.
                    let Ok(far) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                    tokio::select! {
                        () = carry(near, far, &drops) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        MqttProxy { port: own, drops_pubacks, cuts, task }
    }

    /// Closes every current connection.
    pub fn disconnect_all(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Sets whether PUBACK packets are dropped.
    pub fn drop_pubacks(&self, drop: bool) {
        self.drops_pubacks.store(drop, Ordering::Relaxed);
    }
}

impl Drop for MqttProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(near: TcpStream, far: TcpStream, drops: &AtomicBool) {
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    tokio::select! {
        () = bytes(near_read, far_write) => {}
        _ = packets(far_read, near_write, drops) => {}
    }
}

async fn bytes(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let _end = tokio::io::copy(&mut from, &mut to).await;
}

async fn packets(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, drops: &AtomicBool) -> std::io::Result<()> {
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
        if packet[0] >> 4 != PUBACK || !drops.load(Ordering::Relaxed) {
            to.write_all(&packet).await?;
        }
    }
}
