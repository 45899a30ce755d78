//! Measures the upload speed, on request only, because the measurement saturates the connection.
//!
//! On macOS, `networkQuality` measures. Elsewhere, bodies of zeros are uploaded to the address in Apple's
//! configuration for that program. The format of this configuration is public (Apple's responsiveness test;
//! the IETF draft on responsiveness under working conditions) but was not verified against the live host.
//! Uploads go only to Apple's hosts (`only_apples_hosts_receive_uploads`) and to hosts of `--connect-to`.

use std::fmt;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Client;
use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

use super::Net;
use super::fault::short;
use super::web::{self, WebFault};
use crate::cause::Cause as _;

const CONFIG_HOST: &str = "mensura.cdn-apple.com";
const CONFIG_URL: &str = "https://mensura.cdn-apple.com/api/v1/gm/config";
const CONFIG_MAX_BYTES: usize = 64 << 10;
/// Hosts that an upload may go to end like this.
const APPLES: [&str; 2] = ["cdn-apple.com", "apple.com"];
/// In seconds even where a network takes 0.1 Mbit/s.
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
pub enum SpeedFault {
    Web(WebFault),
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

pub async fn ask_speed(net: &Arc<Net>) -> Result<Speed, SpeedFault> {
    let is_mirrored = net.connect_to.iter().any(|one| one.is_for(CONFIG_HOST));
    match &net.network_quality {
        // Whoever points that host elsewhere wants to know about elsewhere.
        Some(program) if !is_mirrored => run(program, net.limits.network_quality).await,
        Some(_) | None => upload(net).await,
    }
}

async fn run(program: &Path, limit: Duration) -> Result<Speed, SpeedFault> {
    let mut command = Command::new(program);
    command.args(["-c", "-s"]).stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    match timeout(limit, command.output()).await {
        Err(_) => Err(SpeedFault::Program(format!("it took longer than {} s", limit.as_secs_f64()))),
        Ok(Err(error)) => Err(SpeedFault::Program(short(&error.reason()))),
        Ok(Ok(output)) => parse_network_quality(&output.stdout),
    }
}

/// What `networkQuality -c` prints: one JSON object, throughputs in bit/s.
pub fn parse_network_quality(printed: &[u8]) -> Result<Speed, SpeedFault> {
    let says = |words: &str| SpeedFault::Program(words.to_owned());
    let value: Value = serde_json::from_slice(printed).map_err(|_| says("it did not print JSON"))?;
    let rate = |key: &str| bits(value.get(key)?.as_f64()?);
    match rate("ul_throughput") {
        Some(upload_bits_per_s) => {
            Ok(Speed { upload_bits_per_s, download_bits_per_s: rate("dl_throughput") })
        }
        None => match value.get("error_code").and_then(Value::as_i64) {
            Some(code) => Err(SpeedFault::Program(format!("its error {code}"))),
            None => Err(says("it printed no upload speed")),
        },
    }
}

/// Returns `None` for zero, which means that nothing was measured.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked, and a cast saturates")]
fn bits(rate: f64) -> Option<u64> {
    (rate.is_finite() && rate >= 1.0).then_some(rate as u64)
}

async fn upload(net: &Arc<Net>) -> Result<Speed, SpeedFault> {
    let limit = net.limits.speed;
    let client = web::client(net, 443, limit).map_err(SpeedFault::Web)?;
    let url = upload_url(net, &client).await?;
    let began = Instant::now();
    let mut size = FIRST_BODY_BYTES;
    let mut measured = None;
    loop {
        let left = limit.saturating_sub(began.elapsed());
        match post(&client, &url, size, left).await {
            Ok(took) => measured = Some((size, took)),
            // Enough was seen before the time was over.
            Err(_) if measured.is_some() => break,
            Err(SpeedFault::Web(WebFault::Timeout { .. })) => {
                return Err(SpeedFault::SlowerThan { bits_per_s: per_second(size, limit) });
            }
            Err(fault) => return Err(fault),
        }
        let left = limit.saturating_sub(began.elapsed());
        let next = size * GROWTH;
        // A body that does not fit into the remaining time gives no measurement.
        let fits =
            measured.is_some_and(|(size, took)| took * u32::try_from(next / size).unwrap_or(u32::MAX) < left);
        if next > LAST_BODY_BYTES || !fits {
            break;
        }
        size = next;
    }
    let upload_bits_per_s = measured.map_or(0, |(size, took)| per_second(size, took));
    Ok(Speed { upload_bits_per_s, download_bits_per_s: None })
}

async fn upload_url(net: &Net, client: &Client) -> Result<String, SpeedFault> {
    let limit = net.limits.speed;
    let response = client.get(CONFIG_URL).timeout(limit / 2).send().await;
    let response = response.map_err(|error| SpeedFault::Web(WebFault::of(&error, limit / 2)))?;
    if !response.status().is_success() {
        return Err(SpeedFault::Status(response.status().as_u16()));
    }
    let body = web::body(response, CONFIG_MAX_BYTES, limit).await.map_err(SpeedFault::Web)?;
    let config: Value = serde_json::from_slice(&body).map_err(|_| SpeedFault::NoAddress)?;
    let url =
        config.pointer("/urls/https_upload_url").and_then(Value::as_str).ok_or(SpeedFault::NoAddress)?;
    let parsed = reqwest::Url::parse(url).map_err(|_| SpeedFault::NoAddress)?;
    let host = parsed.host_str().unwrap_or_default();
    let is_fine =
        parsed.scheme() == "https" && (is_apples(host) || net.connect_to.iter().any(|one| one.is_for(host)));
    if is_fine { Ok(url.to_owned()) } else { Err(SpeedFault::NoAddress) }
}

fn is_apples(host: &str) -> bool {
    APPLES.iter().any(|end| host == *end || host.strip_suffix(end).is_some_and(|front| front.ends_with('.')))
}

/// How long it took.
async fn post(client: &Client, url: &str, size: usize, limit: Duration) -> Result<Duration, SpeedFault> {
    let began = Instant::now();
    let response = client.post(url).timeout(limit).body(vec![0; size]).send().await;
    let response = response.map_err(|error| SpeedFault::Web(WebFault::of(&error, limit)))?;
    if !response.status().is_success() {
        return Err(SpeedFault::Status(response.status().as_u16()));
    }
    Ok(began.elapsed())
}

fn per_second(bytes: usize, took: Duration) -> u64 {
    let bits = bytes as u128 * 8 * 1_000_000;
    u64::try_from(bits / took.as_micros().max(1)).unwrap_or(u64::MAX)
}

impl fmt::Display for SpeedFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SpeedFault::Web(fault) => fault.fmt(f),
            SpeedFault::Status(status) => write!(f, "Apple's server for measuring answered {status}"),
            SpeedFault::NoAddress => write!(f, "Apple's configuration names no address to measure with"),
            SpeedFault::SlowerThan { bits_per_s } => write!(f, "slower than {bits_per_s} bit/s"),
            SpeedFault::Program(words) => write!(f, "networkQuality: {words}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_network_quality_prints() {
        #[track_caller]
        fn check(printed: &str, expected: Result<(u64, Option<u64>), &str>) {
            let expected = match expected {
                Ok((upload_bits_per_s, download_bits_per_s)) => {
                    Ok(Speed { upload_bits_per_s, download_bits_per_s })
                }
                Err(words) => Err(SpeedFault::Program(words.to_owned())),
            };
            assert_eq!(parse_network_quality(printed.as_bytes()), expected);
        }
        let whole = r#"{"base_rtt": 31.2, "dl_throughput": 81423616, "ul_throughput": 10485760.5, "interface_name": "en0"}"#;
        check(whole, Ok((10_485_760, Some(81_423_616))));
        check(r#"{"ul_throughput": 1000}"#, Ok((1_000, None)));
        check(r#"{"ul_throughput": 0, "error_code": -1009}"#, Err("its error -1009"));
        check(r#"{"ul_throughput": "fast"}"#, Err("it printed no upload speed"));
        check("==== SUMMARY ====", Err("it did not print JSON"));
    }

    #[test]
    fn only_apples_hosts_get_bytes() {
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
    fn bits_per_second() {
        assert_eq!(per_second(125_000, Duration::from_secs(1)), 1_000_000);
        assert_eq!(per_second(1, Duration::ZERO), 8_000_000);
    }
}
