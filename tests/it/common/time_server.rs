//! A scripted SNTP server (RFC 4330) on loopback.
//!
//! Written from the packet diagram in the RFC, independently of statusd's parser.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// The reply to every request.
#[derive(Clone, Copy, Debug)]
pub enum SntpReply {
    /// The true time plus this many seconds.
    Offset(i64),
    /// A reply with another originate timestamp.
    WrongOrigin,
    /// The kiss code "RATE", with stratum 0.
    KissOfDeath,
    /// The leap indicator "clock not synchronised".
    Unsynchronised,
    Short,
    None,
}

/// A listening server. Closed when dropped.
pub struct TimeServer {
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl TimeServer {
    pub async fn start(reply: SntpReply) -> TimeServer {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a loopback port");
        let address = socket.local_addr().expect("a bound address");
        let task = tokio::spawn(async move {
            loop {
                let mut request = [0; 256];
                let (length, from) = socket.recv_from(&mut request).await.expect("a request");
                if let Some(packet) = packet(&request[..length], reply) {
                    socket.send_to(&packet, from).await.expect("sent over loopback");
                }
            }
        });
        TimeServer { address, task }
    }
}

impl Drop for TimeServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn packet(request: &[u8], reply: SntpReply) -> Option<Vec<u8>> {
    assert_eq!(request.len(), 48, "a request of 48 bytes");
    assert_eq!(request[0], 0b00_100_011, "no leap warning, version 4, client");
    assert_ne!(request[40..], [0; 8], "a transmit timestamp");
    let mut packet = vec![0; 48];
    packet[0] = 0b00_100_100;
    // Stratum, poll interval, precision and reference id.
    packet[1..4].copy_from_slice(&[1, 6, 0xec]);
    packet[12..16].copy_from_slice(b"GPS\0");
    packet[24..32].copy_from_slice(&request[40..48]);
    let off_s = if let SntpReply::Offset(seconds) = reply { seconds } else { 0 };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let since_1900 = i64::try_from(now.as_secs()).expect("seconds since 1900") + 2_208_988_800 + off_s;
    for at in [16, 32, 40] {
        // The timestamp has no era: only the lower 32 bits.
        packet[at..at + 4].copy_from_slice(&since_1900.to_be_bytes()[4..]);
        packet[at + 4] = 0x80;
    }
    match reply {
        SntpReply::Offset(_) => {}
        SntpReply::WrongOrigin => packet[24] ^= 1,
        SntpReply::KissOfDeath => {
            packet[1] = 0;
            packet[12..16].copy_from_slice(b"RATE");
        }
        SntpReply::Unsynchronised => packet[0] |= 0b11_000_000,
        SntpReply::Short => packet.truncate(40),
        SntpReply::None => return None,
    }
    Some(packet)
}
