//! No document costs much memory: the real program reads hostile ones under a limit that the kernel
//! holds.
//!
//! The limit is one on data (`RLIMIT_DATA`), which counts what the program asks for, used or not. A
//! document beyond it ends the program.
#![cfg(target_os = "linux")]

mod common;

use std::fs;
use std::process::Output;

use common::apple::{Answer, Apple};
use common::hostile::{BODY_BYTES, hostile};
use tempfile::TempDir;
use tokio::process::Command;

const LIMIT_KIB: usize = 32 << 10;
/// Runs the program with so much memory.
async fn limited(kib: usize, arguments: &[&str], home: &TempDir) -> Output {
    let limited = format!("ulimit -d {kib} && exec \"$0\" \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &limited, env!("CARGO_BIN_EXE_statusd")]).args(arguments);
    command.env("HOME", home.path()).env("XDG_CONFIG_HOME", home.path()).output().await.expect("it starts")
}

#[tokio::test]
async fn the_limit_is_held_by_the_kernel() {
    let home = tempfile::tempdir().expect("a directory");
    let output = limited(64, &["replay", "/dev/null"], &home).await;
    assert!(!output.status.success(), "{output:?}");
}

#[tokio::test]
async fn hostile_documents_stay_within_32_mib() {
    let apple = Apple::start().await;
    let home = tempfile::tempdir().expect("a directory");
    for (what, body) in hostile() {
        assert!(body.len() <= BODY_BYTES, "{what}: {}", body.len());
        apple.answer(Answer::ok(body.clone()).gzip());
        let url = apple.url();
        let output =
            limited(LIMIT_KIB, &["check", "--feed-url", &url, "--watch", "*", "--json"], &home).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code().is_some_and(|code| code <= 3), "{what}: {}: {said}", output.status);

        let recording = home.path().join("recording.jsonl");
        let line = serde_json::json!({"at": "2026-05-05T08:00:00Z", "body": body});
        fs::write(&recording, format!("{line}\n")).expect("room");
        let output = limited(LIMIT_KIB, &["replay", &recording.display().to_string()], &home).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{what}: {}: {said}", output.status);
    }
}

/// 16 KB of gzip, 4 MiB of nested lists.
#[tokio::test]
async fn what_unpacks_into_more_is_not_read_to_its_end() {
    let apple = Apple::start().await;
    let home = tempfile::tempdir().expect("a directory");
    for body in ["[".repeat(2 << 20) + &"]".repeat(2 << 20), "[],".repeat(4 << 20), " ".repeat(64 << 20)] {
        apple.answer(Answer::ok(body).gzip());
        let url = apple.url();
        let output = limited(LIMIT_KIB, &["check", "--feed-url", &url], &home).await;
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(said.contains("larger than 1024 KiB"), "{said}");
    }
}
