//! The newest iOS version for each model, from Apple's list.
//!
//! Sends one GET for a public document, with nothing about this computer or a phone. Trusts only Apple's
//! private certificate authority, and only for this host. Caches the list for a day in the state directory,
//! if there is one. A shorter time would gain little, because Apple's servers disagree for hours. An
//! unreadable entry affects no other (`an_invalid_entry_affects_no_other`).

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reqwest::{Certificate, Client, StatusCode, redirect};
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::http::BodyError;
use crate::{gzip, http, proxy, regular_file, text, tls};

pub const HOST: &str = "gdmf.apple.com";
const PATH: &str = "/v2/pmv";
/// The list had 200 KB in 2026.
const BODY_MAX_BYTES: usize = 4 << 20;
const MAX_MODELS: usize = 5_000;
const MAX_MODEL_CHARS: usize = 40;
const MAX_COMPONENTS: usize = 4;
const MAX_ERROR_CHARS: usize = 200;
const FRESH_FOR: SignedDuration = SignedDuration::from_hours(24);
const CACHE_FILE: &str = "releases.json";
const CACHE_MAX_BYTES: u64 = 1 << 20;
/// Version of the cache file's format.
const CACHE_VERSION: u32 = 1;

/// A version of iOS with up to four numbers. `26` and `26.0` are equal.
#[derive(Clone, Debug)]
pub struct Version {
    numbers: [u32; MAX_COMPONENTS],
    /// The version as Apple writes it.
    text: String,
}

impl Version {
    /// Parses numbers separated by dots. Ignores a letter in parentheses after them, which marks a rapid
    /// security response.
    pub fn parse(text: &str) -> Option<Version> {
        let text = text.trim();
        let dotted = text.split(' ').next().unwrap_or_default();
        let mut numbers = [0; MAX_COMPONENTS];
        for (at, part) in dotted.split('.').enumerate() {
            let is_number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            *numbers.get_mut(at).filter(|_| is_number)? = part.parse().ok()?;
        }
        Some(Version { numbers, text: dotted.to_owned() })
    }

    pub fn major(&self) -> u32 {
        self.numbers[0]
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Version) -> bool {
        self.numbers == other.numbers
    }
}

impl Eq for Version {}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Version) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Version) -> Ordering {
        self.numbers.cmp(&other.numbers)
    }
}

/// The newest version for each model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Releases {
    /// When the list was fetched.
    pub at: Timestamp,
    /// The reason, in one line, why a list older than a day could not be replaced.
    pub stale: Option<String>,
    newest: BTreeMap<String, Version>,
}

impl Releases {
    /// Parses Apple's response. The error is one line.
    pub fn parse(body: &[u8], at: Timestamp) -> Result<Releases, String> {
        let list: wire::ReleaseList = serde_json::from_slice(body).map_err(|_| not_a_list())?;
        let mut newest: BTreeMap<String, Version> = BTreeMap::new();
        for release in list.sets.ios.into_iter().filter_map(wire::release) {
            let Some(version) = Version::parse(&release.version) else { continue };
            let models = release.devices.iter().filter_map(Value::as_str);
            for model in models.filter(|model| !model.is_empty() && model.len() <= MAX_MODEL_CHARS) {
                let is_newer = newest.get(model).is_none_or(|known| *known < version);
                if is_newer && (newest.len() < MAX_MODELS || newest.contains_key(model)) {
                    newest.insert(model.to_owned(), version.clone());
                }
            }
        }
        if newest.is_empty() {
            return Err(format!("cannot read the list of iOS versions from {HOST}: it contains no versions"));
        }
        Ok(Releases { at, stale: None, newest })
    }

    /// Returns the newest version for a model as the phone reports it: `iPhone13,2`.
    pub fn newest_for(&self, model: &str) -> Option<&Version> {
        self.newest.get(model)
    }
}

/// Apple's undocumented format.
mod wire {
    use serde::Deserialize;
    use serde_json::Value;

    #[derive(Deserialize)]
    pub struct ReleaseList {
        #[serde(rename = "PublicAssetSets")]
        pub sets: Sets,
    }

    #[derive(Deserialize)]
    pub struct Sets {
        #[serde(rename = "iOS")]
        pub ios: Vec<Value>,
    }

    #[derive(Deserialize)]
    pub struct Release {
        #[serde(rename = "ProductVersion")]
        pub version: String,
        #[serde(rename = "SupportedDevices")]
        pub devices: Vec<Value>,
    }

    pub fn release(value: Value) -> Option<Release> {
        serde_json::from_value(value).ok()
    }
}

/// Where to load the list from, and where to cache it.
#[derive(Clone, Debug)]
pub struct Source {
    /// Certificate authorities that are trusted for the host in addition to Apple's.
    pub extra_roots: Vec<CertificateDer<'static>>,
    /// The address of the host instead of the one from DNS. Connects without a proxy.
    pub address: Option<SocketAddr>,
    /// The directory of the cache. Without it, or if it is not writable, nothing is cached.
    pub state_directory: Option<PathBuf>,
    /// Timeout for the whole request.
    pub timeout: Duration,
}

/// Returns a list that is at most a day old. If Apple cannot be reached, returns the cached one of any age,
/// marked as stale. The error is one line.
pub async fn load(source: &Source, now: Timestamp) -> Result<Releases, String> {
    let cached = source.state_directory.as_deref().and_then(read_cache);
    if let Some(cached) = cached.as_ref().filter(|cached| is_fresh(cached, now)) {
        return Ok(cached.clone());
    }
    match fetch(source, now).await {
        Ok(releases) => {
            if let Some(directory) = &source.state_directory {
                // Without a cache, the next run only fetches the list again.
                let _ = write_cache(directory, &releases);
            }
            Ok(releases)
        }
        Err(error) => match cached {
            Some(cached) => Ok(Releases { stale: Some(error), ..cached }),
            None => Err(error),
        },
    }
}

/// Returns whether a list is at most a day old. A date in the future does not count, because a clock was
/// wrong.
fn is_fresh(releases: &Releases, now: Timestamp) -> bool {
    let age = now.duration_since(releases.at);
    !age.is_negative() && age < FRESH_FOR
}

fn too_large() -> String {
    format!("the response from {HOST} is larger than {} MiB", BODY_MAX_BYTES >> 20)
}

fn not_a_list() -> String {
    format!("cannot read the list of iOS versions from {HOST}: unknown format")
}

async fn fetch(source: &Source, now: Timestamp) -> Result<Releases, String> {
    let client = client(source)?;
    let failed = |error: reqwest::Error| failure(error, source.timeout);
    let response = client.get(format!("https://{HOST}{PATH}")).send().await.map_err(failed)?;
    if response.status() != StatusCode::OK {
        return Err(format!("{HOST} returned HTTP {}", response.status()));
    }
    let body = http::body(response, BODY_MAX_BYTES).await.map_err(|error| match error {
        BodyError::TooLarge => too_large(),
        BodyError::Transfer(error) => failed(error),
    })?;
    let body = gzip::unpacked(body, BODY_MAX_BYTES).map_err(|fault| match fault {
        gzip::GzipError::TooLarge => too_large(),
        gzip::GzipError::Broken(_) => not_a_list(),
    })?;
    Releases::parse(&body, now)
}

fn client(source: &Source) -> Result<Client, String> {
    let failed = |_| "cannot prepare the connection to Apple's list of iOS versions".to_owned();
    let own = Certificate::from_pem(tls::APPLE_ROOT_CA_PEM.as_bytes()).map_err(failed)?;
    let extra = source.extra_roots.iter().filter_map(|root| Certificate::from_der(root).ok());
    let builder = http::single_request_builder()
        .tls_certs_only([own].into_iter().chain(extra))
        .https_only(true)
        .redirect(redirect::Policy::none())
        .timeout(source.timeout);
    let builder = match source.address {
        Some(address) => builder.resolve(HOST, address).no_proxy(),
        None => proxy::apply(builder),
    };
    builder.build().map_err(failed)
}

fn failure(error: reqwest::Error, timeout: Duration) -> String {
    if error.is_timeout() {
        return format!("{HOST} did not respond within {} s", timeout.as_secs_f64());
    }
    text::plain_line(&format!("cannot reach {HOST}: {}", tls::root_cause(&error)), MAX_ERROR_CHARS)
}

/// The format of the cache file.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct CacheFile {
    version: u32,
    at: Timestamp,
    newest: BTreeMap<String, String>,
}

/// Reads the cache. Returns `None` if it is missing or invalid.
fn read_cache(directory: &Path) -> Option<Releases> {
    let bytes = regular_file::read(&directory.join(CACHE_FILE), CACHE_MAX_BYTES).ok()?;
    let cached: CacheFile =
        serde_json::from_slice(&bytes).ok().filter(|cached: &CacheFile| cached.version == CACHE_VERSION)?;
    let newest: BTreeMap<String, Version> = cached
        .newest
        .into_iter()
        .map(|(model, version)| Some((model, Version::parse(&version)?)))
        .collect::<Option<_>>()?;
    (!newest.is_empty()).then_some(Releases { at: cached.at, stale: None, newest })
}

/// Writes the cache atomically, with access for its owner only, like all files in the state directory.
fn write_cache(directory: &Path, releases: &Releases) -> io::Result<()> {
    let newest =
        releases.newest.iter().map(|(model, version)| (model.clone(), version.to_string())).collect();
    let bytes = serde_json::to_vec(&CacheFile { version: CACHE_VERSION, at: releases.at, newest })?;
    let draft = directory.join(format!("{CACHE_FILE}.{}", std::process::id()));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)
        .and_then(|mut file| file.write_all(&bytes))
        .and_then(|()| fs::rename(&draft, directory.join(CACHE_FILE)));
    if written.is_err() {
        // A draft left behind would block a later process with the same id.
        let _ = fs::remove_file(&draft);
    }
    written
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use serde_json::json;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn version(text: &str) -> Version {
        Version::parse(text).expect(text)
    }

    fn releases(sets: Value) -> Result<Releases, String> {
        let body = json!({ "PublicAssetSets": { "iOS": sets, "macOS": [] }, "AssetSets": {} });
        Releases::parse(body.to_string().as_bytes(), at("2026-08-01T00:00:00Z"))
    }

    #[test]
    fn versions_compare_by_number() {
        for (less, more) in [
            ("9.3.5", "10.0"),
            ("18.4.1", "18.7.10"),
            ("18.7.9", "18.7.10"),
            ("18.7", "18.7.0.1"),
            ("18.7.10", "26"),
            ("8", "9"),
        ] {
            assert!(version(less) < version(more), "{less} {more}");
        }
        assert_eq!(version("26"), version("26.0"));
        assert_eq!(version("16.4.1 (a)"), version("16.4.1"));
        assert_eq!((version("26.0").to_string(), version(" 9.3 ").major()), ("26.0".to_owned(), 9));
        for bad in ["", "x", "18.", ".1", "18..1", "1.2.3.4.5", "18.4b", "-1", "+1", "99999999999", "١٨"] {
            assert_eq!(Version::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_highest_version_of_each_model_counts() {
        let list = json!([
            { "ProductVersion": "18.7.10", "Build": "22H1", "SupportedDevices": ["iPhone11,8", "iPhone13,2"] },
            { "ProductVersion": "26.6.1", "SupportedDevices": ["iPhone13,2", "iPad14,1"] },
            { "ProductVersion": "26.6", "SupportedDevices": ["iPhone13,2"] },
            { "ProductVersion": "16.7.16", "SupportedDevices": ["iPhone10,3"] },
            // The list includes other devices, with versions of their own.
            { "ProductVersion": "99.1", "SupportedDevices": ["Watch6,1"] },
            { "ProductVersion": "98.2", "SupportedDevices": ["AppleTV14,1", "AudioAccessory5,1"] },
        ]);
        let releases = releases(list).expect("a list");
        for (model, expected) in [
            ("iPhone13,2", Some("26.6.1")),
            ("iPhone11,8", Some("18.7.10")),
            ("iPhone10,3", Some("16.7.16")),
            ("iPad14,1", Some("26.6.1")),
            ("iPhone99,1", None),
            ("iphone13,2", None),
            ("", None),
        ] {
            assert_eq!(releases.newest_for(model).map(ToString::to_string).as_deref(), expected, "{model}");
        }
    }

    #[test]
    fn an_invalid_entry_affects_no_other() {
        let list = json!([
            null,
            7,
            "x",
            {},
            { "ProductVersion": "27.0" },
            { "ProductVersion": 27, "SupportedDevices": ["iPhone13,2"] },
            { "ProductVersion": "27 beta? no", "SupportedDevices": "iPhone13,2" },
            { "ProductVersion": "b27", "SupportedDevices": ["iPhone13,2"] },
            { "ProductVersion": "26.6.1", "SupportedDevices": [null, 3, "", "x".repeat(50), "iPhone13,2"] },
        ]);
        let releases = releases(list).expect("a list");
        assert_eq!(releases.newest_for("iPhone13,2"), Some(&version("26.6.1")));
        assert_eq!(releases.newest.len(), 1);
    }

    #[test]
    fn other_responses_are_rejected() {
        for sets in
            [json!([]), json!({}), json!(null), json!([{ "ProductVersion": "x", "SupportedDevices": [] }])]
        {
            let error = releases(sets).expect_err("no list");
            assert!(
                error.starts_with("cannot read the list of iOS versions from gdmf.apple.com: "),
                "{error}"
            );
        }
        for body in [
            &b""[..],
            b"<html>",
            b"[]",
            b"{\"PublicAssetSets\":{}}",
            b"\xff",
            b"{\"PublicAssetSets\":{\"iOS\":[{",
        ] {
            Releases::parse(body, Timestamp::UNIX_EPOCH).expect_err("no list");
        }
        Releases::parse("[".repeat(100_000).as_bytes(), Timestamp::UNIX_EPOCH).expect_err("too deep");
    }

    #[test]
    fn a_written_cache_is_read_and_an_invalid_one_is_ignored() {
        let folder = tempfile::tempdir().expect("a folder");
        let releases = releases(json!([{ "ProductVersion": "26.0", "SupportedDevices": ["iPhone13,2"] }]));
        let releases = releases.expect("a list");
        assert_eq!(read_cache(folder.path()), None);
        write_cache(folder.path(), &releases).expect("written");
        write_cache(folder.path(), &releases).expect("replaced");
        assert_eq!(read_cache(folder.path()).as_ref(), Some(&releases));
        let file = folder.path().join(CACHE_FILE);
        assert_eq!(fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
        write_cache(&folder.path().join("nowhere"), &releases).expect_err("no folder");

        let whole = fs::read(&file).expect("readable");
        for length in 0..whole.len() {
            fs::write(&file, &whole[..length]).expect("written");
            assert_eq!(read_cache(folder.path()), None);
        }
        for broken in [
            r#"{"version":2,"at":"2026-08-01T00:00:00Z","newest":{"a":"1"}}"#,
            r#"{"version":1,"at":"2026-08-01T00:00:00Z","newest":{"a":"x"}}"#,
            r#"{"version":1,"at":"2026-08-01T00:00:00Z","newest":{}}"#,
            r#"{"version":1,"at":"soon","newest":{"a":"1"}}"#,
        ] {
            fs::write(&file, broken).expect("written");
            assert_eq!(read_cache(folder.path()), None, "{broken}");
        }
    }

    #[test]
    fn a_list_is_fresh_for_a_day() {
        let releases =
            releases(json!([{ "ProductVersion": "26", "SupportedDevices": ["x"] }])).expect("a list");
        for (now, expected) in [
            ("2026-08-01T00:00:00Z", true),
            ("2026-08-01T23:59:59Z", true),
            ("2026-08-02T00:00:00Z", false),
            ("2026-07-31T23:59:59Z", false),
        ] {
            assert_eq!(is_fresh(&releases, at(now)), expected, "{now}");
        }
    }
}
