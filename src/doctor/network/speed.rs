//! The check `speed`: how fast are uploads from this network, and how long does a backup take?
//!
//! Pure. Measured only with `--speed`, because the measurement saturates the connection.

use super::super::{Blame, Finding, Status};
use super::SPEED;
use crate::doctor::probe::{Speed, SpeedError};

/// Below this speed, a first backup of tens of gigabytes takes days.
const SLOW_BITS_PER_S: u64 = 1_000_000;
const GIGABYTE_BITS: u64 = 8_000_000_000;
const TODO: &str = "Leave the phone on power and on this Wi-Fi for several nights, or use a faster network for the first \
                    backup; later backups are small. The speed was measured from this computer; a phone close to the \
                    router may be faster.";

pub(super) fn diagnose(speed: Option<&Result<Speed, SpeedError>>) -> Finding {
    match speed {
        None => Finding::new(
            SPEED,
            Status::Skipped,
            "not measured; --speed measures it, with several seconds at full load",
        ),
        Some(Ok(speed)) => measured(speed),
        Some(Err(SpeedError::SlowerThan { bits_per_s })) => {
            slow(format!("uploads are slower than {}: a first backup takes days", rate(*bits_per_s)))
        }
        Some(Err(error)) => {
            Finding::new(SPEED, Status::CannotTell, format!("cannot measure the upload speed: {error}"))
        }
    }
}

fn measured(speed: &Speed) -> Finding {
    let upload = speed.upload_bits_per_s;
    let seen = format!("uploads at {} from this computer: 1 GB takes {}", rate(upload), how_long(upload));
    let finding = if upload < SLOW_BITS_PER_S {
        slow(format!("{seen}, a first backup takes days"))
    } else {
        Finding::new(SPEED, Status::Ok, seen)
    };
    let download = speed.download_bits_per_s.map(|download| format!("downloads at {}", rate(download)));
    finding.evidence(download)
}

fn slow(seen: String) -> Finding {
    Finding::new(SPEED, Status::Warning, seen).blame(Blame::Network).todo(TODO)
}

/// Returns `40 kbit/s`, `0.4 Mbit/s` or `12 Mbit/s`.
fn rate(bits_per_s: u64) -> String {
    match bits_per_s {
        10_000_000.. => format!("{} Mbit/s", bits_per_s / 1_000_000),
        100_000.. => format!("{}.{} Mbit/s", bits_per_s / 1_000_000, bits_per_s / 100_000 % 10),
        _ => format!("{} kbit/s", bits_per_s / 1_000),
    }
}

fn how_long(bits_per_s: u64) -> String {
    match GIGABYTE_BITS / bits_per_s.max(1) {
        0..60 => "less than a minute".to_owned(),
        s @ 60..7_200 => format!("about {} min", s / 60),
        s => format!("about {} h", s / 3_600),
    }
}
