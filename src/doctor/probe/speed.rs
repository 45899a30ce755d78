//! Measures the upload speed, on request only, because the measurement saturates the connection.
//!
//! On macOS, `networkQuality` measures. Elsewhere, bodies of zeros are uploaded to the address in Apple's
//! configuration for that program. The format of this configuration is public (Apple's responsiveness test;
//! the IETF draft on responsiveness under working conditions) but was not verified against the live host.
//! Uploads go only to Apple's hosts (`only_apples_hosts_receive_uploads`) and to hosts of `--connect-to`.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Client;
use serde_json::Value;

use super::ProbeConfig;
use super::error::short;
use super::web::{self, HttpError};
use crate::cause::Cause as _;
use crate::process::{Capture, Exit, Subprocess};

const CONFIG_HOST: &str = "mensura.cdn-apple.com";
const CONFIG_URL: &str = "https://mensura.cdn-apple.com/api/v1/gm/config";
/// More than `networkQuality` prints, because its output lists every measured latency.
const PRINTED_MAX_BYTES: usize = 1 << 20;
const CONFIG_MAX_BYTES: usize = 64 << 10;
/// The domains of the hosts that may receive an upload.
const UPLOAD_DOMAINS: [&str; 2] = ["cdn-apple.com", "apple.com"];
/// Takes only seconds, even at 0.1 Mbit/s.
const FIRST_BODY_BYTES: usize = 64 << 10;
const LAST_BODY_BYTES: usize = 16 << 20;
const GROWTH: usize = 4;

/// The measured speed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Speed {
    pub upload_bits_per_s: u64,
    /// Measured by `networkQuality` only.
    pub download_bits_per_s: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpeedError {
    Web(HttpError),
    /// A status that is not 2xx.
    Status(u16),
    /// The configuration contains no upload address, or one that is not Apple's.
    NoAddress,
    /// The smallest body did not arrive within the limit, so the speed is lower than this.
    SlowerThan {
        bits_per_s: u64,
    },
    /// The failure of `networkQuality`, in a few words.
    Program(String),
}

pub async fn measure_speed(config: &Arc<ProbeConfig>) -> Result<Speed, SpeedError> {
    let is_redirected = config.connect_to.iter().any(|entry| entry.is_for(CONFIG_HOST));
    match &config.network_quality {
        // The program ignores `--connect-to`.
        Some(program) if !is_redirected => run(program, config.limits.network_quality).await,
        Some(_) | None => upload(config).await,
    }
}

async fn run(program: &Path, limit: Duration) -> Result<Speed, SpeedError> {
    let subprocess = Subprocess {
        program: &program.to_string_lossy(),
        arguments: &["-c".to_owned(), "-s".to_owned()],
        variables: &[],
        input: b"",
        timeout: limit,
        capture: Capture::Stdout(PRINTED_MAX_BYTES),
    };
    let finished = subprocess.run().await.map_err(|error| SpeedError::Program(short(&error.reason())))?;
    if let Exit::TimedOut(limit) = finished.exit {
        return Err(SpeedError::Program(format!("timed out after {} s", limit.as_secs_f64())));
    }
    parse_network_quality(finished.output())
}

/// Parses the output of `networkQuality -c`: one JSON object with throughputs in bit/s.
pub fn parse_network_quality(printed: &[u8]) -> Result<Speed, SpeedError> {
    let program_error = |message: &str| SpeedError::Program(message.to_owned());
    let value: Value =
        serde_json::from_slice(printed).map_err(|_| program_error("the output is not JSON"))?;
    let rate = |key: &str| bits(value.get(key)?.as_f64()?);
    match rate("ul_throughput") {
        Some(upload_bits_per_s) => {
            Ok(Speed { upload_bits_per_s, download_bits_per_s: rate("dl_throughput") })
        }
        None => match value.get("error_code").and_then(Value::as_i64) {
            Some(code) => Err(SpeedError::Program(format!("error {code}"))),
            None => Err(program_error("no upload speed in the output")),
        },
    }
}

/// Returns `None` for zero, which means that nothing was measured.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked, and a cast saturates")]
fn bits(rate: f64) -> Option<u64> {
    (rate.is_finite() && rate >= 1.0).then_some(rate as u64)
}

async fn upload(config: &Arc<ProbeConfig>) -> Result<Speed, SpeedError> {
    let limit = config.limits.speed;
    let client = web::client(config, 443, limit).map_err(SpeedError::Web)?;
    let url = upload_url(config, &client).await?;
    let began = Instant::now();
    let mut size = FIRST_BODY_BYTES;
    let mut measured = None;
    loop {
        let left = limit.saturating_sub(began.elapsed());
        match post(&client, &url, size, left).await {
            Ok(time) => measured = Some((size, time)),
            // Keep the previous measurement.
            Err(_) if measured.is_some() => break,
            Err(SpeedError::Web(HttpError::Timeout { .. })) => {
                return Err(SpeedError::SlowerThan { bits_per_s: bits_per_second(size, limit) });
            }
            Err(error) => return Err(error),
        }
        let left = limit.saturating_sub(began.elapsed());
        let next = size * GROWTH;
        // A body that does not fit into the remaining time gives no measurement.
        let fits =
            measured.is_some_and(|(size, time)| time * u32::try_from(next / size).unwrap_or(u32::MAX) < left);
        if next > LAST_BODY_BYTES || !fits {
            break;
        }
        size = next;
    }
    let upload_bits_per_s = measured.map_or(0, |(size, time)| bits_per_second(size, time));
    Ok(Speed { upload_bits_per_s, download_bits_per_s: None })
}

async fn upload_url(config: &ProbeConfig, client: &Client) -> Result<String, SpeedError> {
    let limit = config.limits.speed;
    let response = client.get(CONFIG_URL).timeout(limit / 2).send().await;
    let response = response.map_err(|error| SpeedError::Web(HttpError::of(&error, limit / 2)))?;
    if !response.status().is_success() {
        return Err(SpeedError::Status(response.status().as_u16()));
    }
    let body = web::body(response, CONFIG_MAX_BYTES, limit).await.map_err(SpeedError::Web)?;
    let settings: Value = serde_json::from_slice(&body).map_err(|_| SpeedError::NoAddress)?;
    let url =
        settings.pointer("/urls/https_upload_url").and_then(Value::as_str).ok_or(SpeedError::NoAddress)?;
    let parsed = reqwest::Url::parse(url).map_err(|_| SpeedError::NoAddress)?;
    let host = parsed.host_str().unwrap_or_default();
    let is_trusted = is_apples(host) || config.connect_to.iter().any(|entry| entry.is_for(host));
    if parsed.scheme() == "https" && is_trusted { Ok(url.to_owned()) } else { Err(SpeedError::NoAddress) }
}

fn is_apples(host: &str) -> bool {
    UPLOAD_DOMAINS
        .iter()
        .any(|end| host == *end || host.strip_suffix(end).is_some_and(|front| front.ends_with('.')))
}

/// Uploads a body and returns the time taken.
async fn post(client: &Client, url: &str, size: usize, limit: Duration) -> Result<Duration, SpeedError> {
    let began = Instant::now();
    let response = client.post(url).timeout(limit).body(vec![0; size]).send().await;
    let response = response.map_err(|error| SpeedError::Web(HttpError::of(&error, limit)))?;
    if !response.status().is_success() {
        return Err(SpeedError::Status(response.status().as_u16()));
    }
    Ok(began.elapsed())
}

fn bits_per_second(bytes: usize, time: Duration) -> u64 {
    let bits = bytes as u128 * 8 * 1_000_000;
    u64::try_from(bits / time.as_micros().max(1)).unwrap_or(u64::MAX)
}

impl fmt::Display for SpeedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SpeedError::Web(error) => error.fmt(f),
            SpeedError::Status(status) => write!(f, "Apple's measurement server answered {status}"),
            SpeedError::NoAddress => write!(f, "Apple's configuration contains no upload address"),
            SpeedError::SlowerThan { bits_per_s } => write!(f, "slower than {bits_per_s} bit/s"),
            SpeedError::Program(message) => write!(f, "networkQuality: {message}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_of_network_quality_is_parsed() {
        #[track_caller]
        fn check(printed: &str, expected: Result<(u64, Option<u64>), &str>) {
            let expected = match expected {
                Ok((upload_bits_per_s, download_bits_per_s)) => {
                    Ok(Speed { upload_bits_per_s, download_bits_per_s })
                }
                Err(message) => Err(SpeedError::Program(message.to_owned())),
            };
            assert_eq!(parse_network_quality(printed.as_bytes()), expected);
        }
        let complete = r#"{"base_rtt": 31.2, "dl_throughput": 81423616, "ul_throughput": 10485760.5, "interface_name": "en0"}"#;
        check(complete, Ok((10_485_760, Some(81_423_616))));
        check(r#"{"ul_throughput": 1000}"#, Ok((1_000, None)));
        check(r#"{"ul_throughput": 0, "error_code": -1009}"#, Err("error -1009"));
        check(r#"{"ul_throughput": "fast"}"#, Err("no upload speed in the output"));
        check("==== SUMMARY ====", Err("the output is not JSON"));
    }

    #[test]
    fn only_apples_hosts_receive_uploads() {
        for (host, expected) in [
            ("mensura.cdn-apple.com", true),
            ("cdn-apple.com", true),
            ("x.apple.com", true),
            ("evilcdn-apple.com", false),
            ("apple.com.evil.example", false),
            ("", false),
        ] {
            assert_eq!(is_apples(host), expected, "{host}");
        }
    }

    #[test]
    fn speeds_are_in_bits_per_second() {
        assert_eq!(bits_per_second(125_000, Duration::from_secs(1)), 1_000_000);
        assert_eq!(bits_per_second(1, Duration::ZERO), 8_000_000);
    }
}
