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

use super::names::addresses;
use super::{ConnectFault, NameFault, Net};

const HOST: &str = "time.apple.com";
const PORT: u16 = 123;
/// More than one, because packets get lost.
const TRIES: u32 = 2;
const PACKET_BYTES: usize = 48;
/// No warning of a leap second, version 4, mode 3 (client).
const ASKING: u8 = 4 << 3 | 3;
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
        by: ClockSource,
    },
    Unknown(TimeFault),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockSource {
    /// Accurate to well below a second.
    TimeServer,
    /// The `Date` header of Apple's test page, accurate to a few seconds.
    WebPage,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TimeFault {
    Name(NameFault),
    Connect(ConnectFault),
    Silent {
        after: Duration,
    },
    /// The server refuses requests, with this four-letter code ("kiss of death").
    Refused(String),
    /// What came is no answer to our question.
    Garbled(&'static str),
}

/// `now` is when it is called.
pub async fn ask_clock(net: &Net, now: Timestamp) -> Clock {
    match ask(net, now).await {
        Ok(ahead) => Clock::Measured { ahead_s: rounded(ahead), by: ClockSource::TimeServer },
        Err(fault) => Clock::Unknown(fault),
    }
}

async fn ask(net: &Net, now: Timestamp) -> Result<SignedDuration, TimeFault> {
    let began = Instant::now();
    let found = addresses(net, HOST, PORT).await.map_err(TimeFault::Name)?;
    let mut fault = TimeFault::Silent { after: net.limits.time * TRIES };
    // IPv4 first: it is there nearly everywhere.
    let v4_first = found.iter().filter(|one| one.is_ipv4()).chain(found.iter().filter(|one| one.is_ipv6()));
    for address in v4_first.cycle().take(TRIES as usize) {
        let asked = exchange(*address, net.limits.time, || {
            let passed = SignedDuration::try_from(began.elapsed()).unwrap_or(SignedDuration::MAX);
            now.saturating_add(passed).unwrap_or(Timestamp::MAX)
        });
        match asked.await {
            Ok(ahead) => return Ok(ahead),
            Err(TimeFault::Silent { .. }) => {}
            Err(refused @ TimeFault::Refused(_)) => return Err(refused),
            Err(other) => fault = other,
        }
    }
    Err(fault)
}

/// Sends one request. Returns by how much `clock` is ahead.
async fn exchange(
    to: SocketAddr,
    limit: Duration,
    clock: impl Fn() -> Timestamp,
) -> Result<SignedDuration, TimeFault> {
    let fault = |error: std::io::Error| TimeFault::Connect(ConnectFault::of(&error));
    let local = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(local).await.map_err(fault)?;
    // From now on it hears nobody else.
    socket.connect(to).await.map_err(fault)?;
    // The time of asking would tell the server our clock, and a spoofer what to send.
    let question = fastrand::u64(1..);
    let mut packet = [0; PACKET_BYTES];
    packet[0] = ASKING;
    packet[40..].copy_from_slice(&question.to_be_bytes());
    let asked_at = clock();
    socket.send(&packet).await.map_err(fault)?;
    let mut garbled = None;
    let answer = timeout(limit, async {
        loop {
            let mut packet = [0; PACKET_BYTES];
            let length = socket.recv(&mut packet).await.map_err(fault)?;
            match read(packet.get(..length).unwrap_or(&packet), question) {
                Ok(times) => return Ok(ahead(asked_at, times, clock())),
                Err(TimeFault::Garbled(what)) => garbled = Some(what),
                Err(other) => return Err(other),
            }
        }
    });
    match (answer.await, garbled) {
        (Ok(answer), _) => answer,
        (Err(_), Some(what)) => Err(TimeFault::Garbled(what)),
        (Err(_), None) => Err(TimeFault::Silent { after: limit }),
    }
}

/// When the server got the question and when it sent the answer.
type Times = (Timestamp, Timestamp);

/// The checks of RFC 4330, 5.
fn read(packet: &[u8], question: u64) -> Result<Times, TimeFault> {
    let field = |at: usize| -> Option<[u8; 8]> { packet.get(at..at + 8)?.try_into().ok() };
    let (Some([first, stratum, ..]), Some(echoed), Some(received), Some(sent)) =
        (field(0), field(24), field(32), field(40))
    else {
        return Err(TimeFault::Garbled("too short"));
    };
    if u64::from_be_bytes(echoed) != question {
        return Err(TimeFault::Garbled("not a response to this request"));
    }
    if first & 7 != SERVER_MODE {
        return Err(TimeFault::Garbled("not from a server"));
    }
    if stratum == 0 {
        let code = packet.get(12..16).unwrap_or_default().iter().filter(|byte| byte.is_ascii_alphanumeric());
        return Err(TimeFault::Refused(code.map(|byte| char::from(*byte)).collect()));
    }
    if stratum > 15 || first >> 6 == NOT_SET || sent == [0; 8] {
        return Err(TimeFault::Garbled("the server does not know the time"));
    }
    let times = timestamp(received).zip(timestamp(sent));
    times.ok_or(TimeFault::Garbled("a time out of range"))
}

fn timestamp(field: [u8; 8]) -> Option<Timestamp> {
    let [a, b, c, d, e, f, g, h] = field;
    let seconds = i64::from(u32::from_be_bytes([a, b, c, d]));
    let fraction = i64::from(u32::from_be_bytes([e, f, g, h]));
    let era = if seconds < ERA_S / 2 { ERA_S } else { 0 };
    let nanoseconds = i32::try_from(fraction * 1_000_000_000 / ERA_S).ok()?;
    Timestamp::new(seconds + era - EPOCH_S, nanoseconds).ok()
}

/// The time on the way there and back is taken as the same.
fn ahead(asked: Timestamp, (received, sent): Times, answered: Timestamp) -> SignedDuration {
    let there = asked.duration_since(received);
    let back = answered.duration_since(sent);
    (there + back) / 2
}

fn rounded(duration: SignedDuration) -> i64 {
    let half = SignedDuration::from_millis(if duration.is_negative() { -500 } else { 500 });
    duration.saturating_add(half).as_secs()
}

impl fmt::Display for TimeFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TimeFault::Name(fault) => fault.fmt(f),
            TimeFault::Connect(fault) => fault.fmt(f),
            TimeFault::Silent { after } => write!(f, "no answer within {} s", after.as_secs_f64()),
            TimeFault::Refused(code) => write!(f, "it refuses requests at the moment ({code})"),
            TimeFault::Garbled(what) => f.write_str(what),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUESTION: u64 = 0x0123_4567_89ab_cdef;

    fn packet(change: impl FnOnce(&mut [u8; PACKET_BYTES])) -> [u8; PACKET_BYTES] {
        let mut packet = [0; PACKET_BYTES];
        packet[0] = 4 << 3 | SERVER_MODE;
        packet[1] = 1;
        packet[24..32].copy_from_slice(&QUESTION.to_be_bytes());
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
    fn an_answer_is_checked_before_it_is_believed() {
        #[track_caller]
        fn check(change: impl FnOnce(&mut [u8; PACKET_BYTES]), expected: Option<TimeFault>) {
            assert_eq!(read(&packet(change), QUESTION).err(), expected);
        }
        check(|_| {}, None);
        check(|packet| packet[31] ^= 1, Some(TimeFault::Garbled("not a response to this request")));
        check(|packet| packet[0] = 4 << 3 | 3, Some(TimeFault::Garbled("not from a server")));
        check(|packet| packet[0] |= 3 << 6, Some(TimeFault::Garbled("the server does not know the time")));
        check(|packet| packet[1] = 16, Some(TimeFault::Garbled("the server does not know the time")));
        check(|packet| packet[40..].fill(0), Some(TimeFault::Garbled("the server does not know the time")));
        let kiss = |packet: &mut [u8; PACKET_BYTES]| {
            packet[1] = 0;
            packet[12..16].copy_from_slice(b"RATE");
        };
        check(kiss, Some(TimeFault::Refused("RATE".to_owned())));
        assert_eq!(read(&[0; 47], QUESTION), Err(TimeFault::Garbled("too short")));
    }

    #[test]
    fn both_ways_count_and_2036_is_not_1900() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let times = read(&packet(|_| {}), QUESTION).expect("a right answer");
        assert_eq!(times, (at("2026-11-25T12:00:00.5Z"), at("2026-11-25T12:00:01.5Z")));
        // One second in each direction, one second at the server, and a clock ten minutes ahead.
        let ahead = ahead(at("2026-11-25T12:09:59.5Z"), times, at("2026-11-25T12:10:02.5Z"));
        assert_eq!(rounded(ahead), 600);
        assert_eq!(timestamp([0, 0, 0, 0, 0, 0, 0, 0]), Some(at("2036-02-07T06:28:16Z")));
        assert_eq!(rounded(SignedDuration::from_millis(-1_600)), -2);
    }
}
