//! A scripted SNTP server (RFC 4330) on loopback.
//!
//! Written from the packet diagram in the RFC, independently of statusd's parser.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// The reply to every request.
#[derive(Clone, Copy, Debug)]
pub enum Time {
    /// With the true time and so many seconds.
    Off(i64),
    /// To a question that nobody asked.
    OtherQuestion,
    /// "RATE", with stratum 0.
    KissOfDeath,
    /// "My clock is not set" in the leap indicator.
    NotSet,
    Short,
    Never,
}

/// A listening server. Closed when dropped.
pub struct TimeServer {
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl TimeServer {
    pub async fn start(time: Time) -> TimeServer {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a loopback port");
        let address = socket.local_addr().expect("a bound address");
        let task = tokio::spawn(async move {
            loop {
                let mut question = [0; 256];
                let (length, from) = socket.recv_from(&mut question).await.expect("a question");
                if let Some(answer) = answer(&question[..length], time) {
                    socket.send_to(&answer, from).await.expect("loopback takes it");
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

fn answer(question: &[u8], time: Time) -> Option<Vec<u8>> {
    assert_eq!(question.len(), 48, "a question of 48 bytes");
    assert_eq!(question[0], 0b00_100_011, "no leap warning, version 4, client");
    assert_ne!(question[40..], [0; 8], "a transmit timestamp");
    let mut answer = vec![0; 48];
    answer[0] = 0b00_100_100;
    // Stratum, poll, precision, and who it has its own time from.
    answer[1..4].copy_from_slice(&[1, 6, 0xec]);
    answer[12..16].copy_from_slice(b"GPS\0");
    answer[24..32].copy_from_slice(&question[40..48]);
    let off_s = if let Time::Off(seconds) = time { seconds } else { 0 };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let since_1900 = i64::try_from(now.as_secs()).expect("this age") + 2_208_988_800 + off_s;
    for at in [16, 32, 40] {
        // The era is not told: the lower 32 bits.
        answer[at..at + 4].copy_from_slice(&since_1900.to_be_bytes()[4..]);
        answer[at + 4] = 0x80;
    }
    match time {
        Time::Off(_) => {}
        Time::OtherQuestion => answer[24] ^= 1,
        Time::KissOfDeath => {
            answer[1] = 0;
            answer[12..16].copy_from_slice(b"RATE");
        }
        Time::NotSet => answer[0] |= 0b11_000_000,
        Time::Short => answer.truncate(40),
        Time::Never => return None,
    }
    Some(answer)
}
