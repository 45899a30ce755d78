//! Measures the offset of this computer's clock from Apple's with SNTP (RFC 4330).
//!
//! Sets no clock. Ignores responses that do not repeat the random value of the request
//! (`responses_are_validated`).

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::resolver::resolve;
use super::{ConnectError, ProbeConfig, ResolveError};

const HOST: &str = "time.apple.com";
const PORT: u16 = 123;
/// More than one, because packets get lost.
const TRIES: u32 = 2;
const PACKET_BYTES: usize = 48;
/// No leap second warning, version 4, mode 3 (client).
const REQUEST: u8 = 4 << 3 | 3;
const SERVER_MODE: u8 = 4;
/// The leap indicator of a server whose own clock is not set.
const NOT_SET: u8 = 3;
/// Seconds from the NTP epoch (1900) to the Unix epoch (1970).
const EPOCH_S: i64 = 2_208_988_800;
/// NTP counts seconds in 32 bits, which wrap around in February 2036 (RFC 4330, 3).
const ERA_S: i64 = 1 << 32;

/// This computer's clock, compared with Apple's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Clock {
    Measured {
        /// Positive: this computer's clock is ahead.
        ahead_s: i64,
        source: ClockSource,
    },
    Unknown(ClockError),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockSource {
    /// Accurate to well below a second.
    TimeServer,
    /// The `Date` header of Apple's test page, accurate to a few seconds.
    WebPage,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClockError {
    Resolve(ResolveError),
    Connect(ConnectError),
    Timeout {
        after: Duration,
    },
    /// The server refuses requests, with this four-letter code ("kiss of death").
    Refused(String),
    /// The response is invalid.
    Malformed(&'static str),
}

/// Measures the clock. `now` is the time of the call.
pub async fn measure_clock(config: &ProbeConfig, now: Timestamp) -> Clock {
    match offset(config, now).await {
        Ok(ahead) => Clock::Measured { ahead_s: rounded(ahead), source: ClockSource::TimeServer },
        Err(error) => Clock::Unknown(error),
    }
}

async fn offset(config: &ProbeConfig, now: Timestamp) -> Result<SignedDuration, ClockError> {
    let began = Instant::now();
    let addresses = resolve(config, HOST, PORT).await.map_err(ClockError::Resolve)?;
    let mut last = ClockError::Timeout { after: config.limits.time * TRIES };
    // IPv4 first, because nearly every network has it.
    let (v4, v6): (Vec<SocketAddr>, Vec<SocketAddr>) = addresses.into_iter().partition(SocketAddr::is_ipv4);
    let v4_first = v4.iter().chain(&v6);
    for address in v4_first.cycle().take(TRIES as usize) {
        let exchange = exchange(*address, config.limits.time, || {
            let elapsed = SignedDuration::try_from(began.elapsed()).unwrap_or(SignedDuration::MAX);
            now.saturating_add(elapsed).unwrap_or(Timestamp::MAX)
        });
        match exchange.await {
            Ok(ahead) => return Ok(ahead),
            Err(ClockError::Timeout { .. }) => {}
            Err(refused @ ClockError::Refused(_)) => return Err(refused),
            Err(other) => last = other,
        }
    }
    Err(last)
}

/// Sends one request. Returns by how much `clock` is ahead.
async fn exchange(
    to: SocketAddr,
    limit: Duration,
    clock: impl Fn() -> Timestamp,
) -> Result<SignedDuration, ClockError> {
    let connect_error = |error: std::io::Error| ClockError::Connect(ConnectError::of(&error));
    let local = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(local).await.map_err(connect_error)?;
    // A connected socket receives packets from this address only.
    socket.connect(to).await.map_err(connect_error)?;
    // Random, because the local time would disclose this computer's clock and be easy to spoof.
    let nonce = fastrand::u64(1..);
    let mut packet = [0; PACKET_BYTES];
    packet[0] = REQUEST;
    packet[40..].copy_from_slice(&nonce.to_be_bytes());
    let sent_at = clock();
    socket.send(&packet).await.map_err(connect_error)?;
    let mut malformed = None;
    let response = timeout(limit, async {
        loop {
            let mut packet = [0; PACKET_BYTES];
            let length = socket.recv(&mut packet).await.map_err(connect_error)?;
            match parse(packet.get(..length).unwrap_or(&packet), nonce) {
                Ok(times) => return Ok(ahead(sent_at, times, clock())),
                Err(ClockError::Malformed(reason)) => malformed = Some(reason),
                Err(other) => return Err(other),
            }
        }
    });
    match (response.await, malformed) {
        (Ok(ahead), _) => ahead,
        (Err(_), Some(reason)) => Err(ClockError::Malformed(reason)),
        (Err(_), None) => Err(ClockError::Timeout { after: limit }),
    }
}

/// The server's receive and transmit timestamps.
type ServerTimes = (Timestamp, Timestamp);

/// Validates and parses a response (RFC 4330, 5).
fn parse(packet: &[u8], nonce: u64) -> Result<ServerTimes, ClockError> {
    let field = |at: usize| -> Option<[u8; 8]> { packet.get(at..at + 8)?.try_into().ok() };
    let (Some([first, stratum, ..]), Some(echoed), Some(received), Some(sent)) =
        (field(0), field(24), field(32), field(40))
    else {
        return Err(ClockError::Malformed("too short"));
    };
    if u64::from_be_bytes(echoed) != nonce {
        return Err(ClockError::Malformed("not a response to this request"));
    }
    if first & 7 != SERVER_MODE {
        return Err(ClockError::Malformed("not from a server"));
    }
    if stratum == 0 {
        let code = packet.get(12..16).unwrap_or_default().iter().filter(|byte| byte.is_ascii_alphanumeric());
        return Err(ClockError::Refused(code.map(|byte| char::from(*byte)).collect()));
    }
    if stratum > 15 || first >> 6 == NOT_SET || sent == [0; 8] {
        return Err(ClockError::Malformed("the server does not know the time"));
    }
    let times = timestamp(received).zip(timestamp(sent));
    times.ok_or(ClockError::Malformed("the time is out of range"))
}

fn timestamp(field: [u8; 8]) -> Option<Timestamp> {
    let [a, b, c, d, e, f, g, h] = field;
    let seconds = i64::from(u32::from_be_bytes([a, b, c, d]));
    let fraction = i64::from(u32::from_be_bytes([e, f, g, h]));
    let era = if seconds < ERA_S / 2 { ERA_S } else { 0 };
    let nanoseconds = i32::try_from(fraction * 1_000_000_000 / ERA_S).ok()?;
    Timestamp::new(seconds + era - EPOCH_S, nanoseconds).ok()
}

/// Assumes the same transit time in both directions.
fn ahead(request_at: Timestamp, (received, sent): ServerTimes, response_at: Timestamp) -> SignedDuration {
    let request_offset = request_at.duration_since(received);
    let response_offset = response_at.duration_since(sent);
    (request_offset + response_offset) / 2
}

fn rounded(duration: SignedDuration) -> i64 {
    let half = SignedDuration::from_millis(if duration.is_negative() { -500 } else { 500 });
    duration.saturating_add(half).as_secs()
}

impl fmt::Display for ClockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClockError::Resolve(error) => error.fmt(f),
            ClockError::Connect(error) => error.fmt(f),
            ClockError::Timeout { after } => write!(f, "no response within {} s", after.as_secs_f64()),
            ClockError::Refused(code) => write!(f, "the server refuses requests ({code})"),
            ClockError::Malformed(reason) => f.write_str(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: u64 = 0x0123_4567_89ab_cdef;

    fn packet(change: impl FnOnce(&mut [u8; PACKET_BYTES])) -> [u8; PACKET_BYTES] {
        let mut packet = [0; PACKET_BYTES];
        packet[0] = 4 << 3 | SERVER_MODE;
        packet[1] = 1;
        packet[24..32].copy_from_slice(&NONCE.to_be_bytes());
        // 2026-11-25T12:00:00.5Z and a second later.
        let seconds = u32::try_from(1_795_608_000 + EPOCH_S).expect("this era");
        for (at, seconds) in [(32, seconds), (40, seconds + 1)] {
            packet[at..at + 4].copy_from_slice(&seconds.to_be_bytes());
            packet[at + 4] = 0x80;
        }
        change(&mut packet);
        packet
    }

    #[test]
    fn responses_are_validated() {
        #[track_caller]
        fn check(change: impl FnOnce(&mut [u8; PACKET_BYTES]), expected: Option<ClockError>) {
            assert_eq!(parse(&packet(change), NONCE).err(), expected);
        }
        check(|_| {}, None);
        check(|packet| packet[31] ^= 1, Some(ClockError::Malformed("not a response to this request")));
        check(|packet| packet[0] = 4 << 3 | 3, Some(ClockError::Malformed("not from a server")));
        check(|packet| packet[0] |= 3 << 6, Some(ClockError::Malformed("the server does not know the time")));
        check(|packet| packet[1] = 16, Some(ClockError::Malformed("the server does not know the time")));
        check(
            |packet| packet[40..].fill(0),
            Some(ClockError::Malformed("the server does not know the time")),
        );
        let kiss = |packet: &mut [u8; PACKET_BYTES]| {
            packet[1] = 0;
            packet[12..16].copy_from_slice(b"RATE");
        };
        check(kiss, Some(ClockError::Refused("RATE".to_owned())));
        assert_eq!(parse(&[0; 47], NONCE), Err(ClockError::Malformed("too short")));
    }

    #[test]
    fn both_directions_count_and_2036_is_not_1900() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let times = parse(&packet(|_| {}), NONCE).expect("a valid response");
        assert_eq!(times, (at("2026-11-25T12:00:00.5Z"), at("2026-11-25T12:00:01.5Z")));
        // One second in each direction, one second at the server, and a clock ten minutes ahead.
        let ahead = ahead(at("2026-11-25T12:09:59.5Z"), times, at("2026-11-25T12:10:02.5Z"));
        assert_eq!(rounded(ahead), 600);
        assert_eq!(timestamp([0, 0, 0, 0, 0, 0, 0, 0]), Some(at("2036-02-07T06:28:16Z")));
        assert_eq!(rounded(SignedDuration::from_millis(-1_600)), -2);
    }
}
