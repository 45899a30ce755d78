//! The memory limit: the real binary reads hostile documents under `RLIMIT_DATA`.
//!
//! The kernel enforces the limit on allocated memory, used or not. Exceeding it ends the process.
#![cfg(target_os = "linux")]

use std::fs;
use std::process::Output;

use crate::common::apple::{Apple, Response};
use crate::common::hostile::{BODY_BYTES, hostile_documents};
use statusd::store::Store;
use tempfile::TempDir;
use tokio::process::Command;

const LIMIT_KIB: usize = 32 << 10;
/// The limit with a history of 100,000 outages.
const HISTORY_LIMIT_KIB: usize = 50 << 10;

/// Runs the binary under a memory limit.
async fn limited(kib: usize, arguments: &[&str], home: &TempDir) -> Output {
    let limited = format!("ulimit -d {kib} && exec \"$0\" \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &limited, env!("CARGO_BIN_EXE_statusd")]).args(arguments);
    command
        .env("HOME", home.path())
        .env("XDG_CONFIG_HOME", home.path())
        .output()
        .await
        .expect("statusd starts")
}

#[tokio::test]
async fn the_kernel_enforces_the_limit() {
    let home = tempfile::tempdir().expect("a directory");
    let output = limited(64, &["replay", "/dev/null"], &home).await;
    assert!(!output.status.success(), "{output:?}");
}

#[tokio::test]
async fn hostile_documents_stay_within_32_mib() {
    let apple = Apple::start().await;
    let home = tempfile::tempdir().expect("a directory");
    for (what, body) in hostile_documents() {
        assert!(body.len() <= BODY_BYTES, "{what}: {}", body.len());
        apple.respond(Response::ok(body.clone()).gzip());
        let url = apple.url();
        let output =
            limited(LIMIT_KIB, &["check", "--feed-url", &url, "--watch", "*", "--json"], &home).await;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code().is_some_and(|code| code <= 3), "{what}: {}: {text}", output.status);

        let recording = home.path().join("recording.jsonl");
        let line = serde_json::json!({"at": "2026-05-05T08:00:00Z", "body": body});
        fs::write(&recording, format!("{line}\n")).expect("room");
        let output = limited(LIMIT_KIB, &["replay", &recording.display().to_string()], &home).await;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{what}: {}: {text}", output.status);
    }
}

/// For example, 16 KB of gzip decompress to 4 MiB of nested lists.
#[tokio::test]
async fn stops_decompressing_at_the_limit() {
    let apple = Apple::start().await;
    let home = tempfile::tempdir().expect("a directory");
    for body in ["[".repeat(2 << 20) + &"]".repeat(2 << 20), "[],".repeat(4 << 20), " ".repeat(64 << 20)] {
        apple.respond(Response::ok(body).gzip());
        let url = apple.url();
        let output = limited(LIMIT_KIB, &["check", "--feed-url", &url], &home).await;
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{text}");
        assert!(text.contains("larger than 1024 KiB"), "{text}");
    }
}

/// Ten years with an outage every 53 minutes, each with two changes on two channels.
const HISTORY: &str = "
    BEGIN;
    CREATE TEMP TABLE number AS
        WITH RECURSIVE n (i) AS (VALUES (0) UNION ALL SELECT i + 1 FROM n WHERE i < 99999)
        SELECT i, strftime('%Y-%m-%dT%H:%M:%SZ', 1450000000 + i * 3180, 'unixepoch') AS at FROM n;
    INSERT INTO service VALUES
        ('consumer/en_US', 'icloud backup', 'iCloud Backup', '2016-04-01T00:00:00Z', 'yes', NULL, NULL);
    INSERT INTO outage SELECT 'consumer/en_US', 'icloud backup', i, 1, 'iCloud Backup', 'Outage', 'over', NULL, NULL,
        at, at, at, 'Some users are affected', 'Users may be unable to back up their devices.', 'began=1,ended=1'
        FROM number;
    INSERT INTO change (key, at, seen_at, kind, feed, service, service_key, message_id, occurrence, serial,
        outage_kind, message, near)
        SELECT i || kind, at, at, kind, 'consumer/en_US', 'iCloud Backup', 'icloud backup', i, 1, 1, 'Outage',
            'Users may be unable to back up their devices.', '[]'
        FROM number, (SELECT 'began' AS kind UNION SELECT 'ended');
    INSERT INTO delivery SELECT id, channel, 'sent', at, at, 1, 'ok', NULL, at
        FROM change, (SELECT 'desktop' AS channel UNION SELECT 'log');
    COMMIT;
";

#[tokio::test]
async fn history_of_100_000_outages_stays_within_50_mib() {
    let home = tempfile::tempdir().expect("a directory");
    let state = home.path().join("state");
    drop(Store::open(&state, "2026-04-01T00:00:00Z".parse().expect("a time")).expect("a database"));
    let database = rusqlite::Connection::open(state.join("statusd.db")).expect("a database");
    database.execute_batch(HISTORY).expect("rows");
    drop(database);
    let state = state.display().to_string();
    for line in ["", "--json"] {
        let arguments: Vec<&str> =
            ["history", "--state-directory", &state].into_iter().chain(line.split_whitespace()).collect();
        let output = limited(HISTORY_LIMIT_KIB, &arguments, &home).await;
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && text.is_empty(), "{line}: {}: {text}", output.status);
        let lines = output.stdout.iter().filter(|&&byte| byte == b'\n').count();
        assert!(lines > 100_000, "{line}: {lines}");
    }
}
