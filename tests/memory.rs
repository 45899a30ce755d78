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
use tempfile::TempDir;
use tokio::process::Command;

const LIMIT_KIB: usize = 32 << 10;
/// Of a body, unpacked.
const BODY_BYTES: usize = 1 << 20;

/// Documents of the greatest size that is read, each of as many parts of one kind as fit.
fn hostile() -> Vec<(&'static str, String)> {
    let filled = |from: &str, part: &dyn Fn(usize) -> String, to: &str| {
        let mut body = from.to_owned();
        for number in 0.. {
            let part = part(number);
            if body.len() + part.len() + to.len() > BODY_BYTES {
                break;
            }
            body += &part;
        }
        body.truncate(body.trim_end_matches(',').len());
        body + to
    };
    let services = r#"{"services":[{"serviceName":"A","events":["#;
    let many = |part: &dyn Fn(usize) -> String| filled(services, part, "]}]}");
    let levels = BODY_BYTES / 2 - 100;
    vec![
        ("lists of lists", format!(r#"{services}],"x":{}{}}}]}}"#, "[".repeat(levels), "]".repeat(levels))),
        ("objects in objects", r#"{"a":"#.repeat(BODY_BYTES / 5 - 1) + "}"),
        ("empty lists", many(&|_| "[],".to_owned())),
        ("empty events", many(&|_| "{},".to_owned())),
        ("events", many(&|number| format!(r#"{{"messageId":{number}}},"#))),
        (
            "events that are down",
            many(&|number| format!(r#"{{"messageId":{number},"eventStatus":"ongoing"}},"#)),
        ),
        (
            "services",
            filled(
                r#"{"services":["#,
                &|number| format!(r#"{{"serviceName":"{number}","events":[]}},"#),
                "]}",
            ),
        ),
        (
            "keys",
            filled(
                r#"{"services":[{"serviceName":"A""#,
                &|number| format!(r#","{number}":0"#),
                r#","events":[]}]}"#,
            ),
        ),
        ("twins", filled("{", &|_| r#""services":[{}],"#.to_owned(), "}")),
        (
            "one text",
            filled(r#"{"services":[{"serviceName":""#, &|_| "&amp;".to_owned(), r#"","events":[]}]}"#),
        ),
        (
            "broken bytes",
            filled(r#"{"services":[{"serviceName":""#, &|_| "\u{1}".to_owned(), r#"","events":[]}]}"#),
        ),
        ("faults", filled("{services:[", &|_| "'',".to_owned(), "]}")),
        (
            "escapes",
            filled(r#"{'services':[{'serviceName':'"#, &|_| r"\ud83d".to_owned(), "','events':[]}]}"),
        ),
    ]
}

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
