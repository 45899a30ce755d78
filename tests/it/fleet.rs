//! `statusd fleet` with a device list and a database with recorded outages.

#![cfg(unix)]

use std::fs;
use std::process::Stdio;

use crate::common::seeded_store::{outage, seed};
use crate::process::{CommandOutput, Home, configuration, wait_for};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::io::AsyncWriteExt;

const BACKUP: &str = "iCloud Backup";
const PHOTOS: &str = "Photos";
const STANDINGS: [&str; 6] = ["late_by_apple", "late_otherwise", "up_to_date", "off", "unknown", "unknown"];

fn ago(hours: i64) -> Timestamp {
    let now = Timestamp::from_second(Timestamp::now().as_second()).expect("whole seconds");
    now - SignedDuration::from_hours(hours)
}

/// The database covers thirty days, with an outage in the last four.
async fn home() -> Home {
    let home = Home::new();
    home.configure(&configuration(BACKUP, "http://127.0.0.1:9/", "[channel.desktop]\nenabled = false\n"));
    let outages = vec![outage(BACKUP, "1001", ago(96), None)];
    seed(&home.state(), &[BACKUP, PHOTOS], outages, ago(30 * 24), ago(0)).await;
    home
}

/// A device list in the order of [`STANDINGS`].
fn list() -> String {
    format!(
        "Name;Last iCloud Backup;Backup Enabled;Model\r\n\
         \"=cmd|' /C calc'!A0\";{};yes;iPhone13,2\r\n\
         Berta;{};yes;iPhone13,2\r\n\
         Cäsar;{};yes;iPhone13,2\r\n\
         Dora;;no;iPhone13,2\r\n\
         Emil;half past eight;yes;iPhone13,2\r\n\
         Frida;;;\r\n",
        ago(72),
        ago(240),
        ago(1)
    )
}

async fn standings(home: &Home, arguments: &[&str]) -> Vec<String> {
    let output = home.run(&[&["fleet", "--json"], arguments].concat()).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    let document: Value = serde_json::from_str(&output.out).expect("JSON");
    let devices = document["devices"].as_array().expect("devices");
    devices.iter().map(|device| device["standing"].as_str().expect("a word").to_owned()).collect()
}

#[tokio::test]
async fn compares_devices_with_recorded_outages() {
    let home = home().await;
    let file = home.path("devices.csv");
    fs::write(&file, list()).expect("written");
    let file = file.to_str().expect("UTF-8");

    assert_eq!(standings(&home, &[file]).await, STANDINGS);
    // Photos had no outage, so Apple is not the reason.
    let otherwise = standings(&home, &["--service", "photos", file]).await;
    assert_eq!(otherwise[..2], ["late_otherwise", "late_otherwise"]);

    let table = home.run(&["fleet", file]).await;
    assert_eq!((table.code, table.err.as_str()), (Some(0), ""));
    let first = "6 devices: 1 up to date, 1 late because of Apple, 1 late for another reason, 1";
    assert!(table.out.starts_with(first), "{}", table.out);
    assert!(!table.out.contains("Cäsar"), "{}", table.out);
    assert!(table.out.contains("cannot read \"half past eight\" as a time"), "{}", table.out);

    let csv = home.run(&["fleet", "--format", "csv", file]).await;
    let lines: Vec<&str> = csv.out.split("\r\n").collect();
    assert_eq!(lines.len(), 1 + STANDINGS.len() + 1, "{}", csv.out);
    assert!(lines[1].starts_with("'=cmd|' /C calc'!A0,late_by_apple,"), "{}", csv.out);
}

#[tokio::test]
async fn reads_the_list_from_standard_input() {
    let home = home().await;
    let mut child = home
        .command(&["fleet", "--format", "csv", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut pipe = child.stdin.take().expect("a pipe");
    pipe.write_all(list().as_bytes()).await.expect("written");
    drop(pipe);
    let output = wait_for("the end of the command", child.wait_with_output()).await.expect("an end");
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 1 + STANDINGS.len());
}

/// Runs `statusd fleet` on a list in a file.
async fn run_fleet(home: &Home, text: &str, arguments: &[&str]) -> CommandOutput {
    let file = home.path("list.csv");
    fs::write(&file, text).expect("written");
    home.run(&[&["fleet", file.to_str().expect("UTF-8")], arguments].concat()).await
}

fn json(output: &CommandOutput) -> Value {
    serde_json::from_str(&output.out).unwrap_or_else(|_| panic!("{output:?}"))
}

#[tokio::test]
async fn reads_common_export_formats() {
    let home = home().await;
    let zero = "Device Name,Last Backup Date\nAnna,1/1/0001 12:00:00 AM\nBerta,2026-05-07T20:15:00Z\n";
    let output = run_fleet(&home, zero, &["--json"]).await;
    let document = json(&output);
    assert_eq!((output.code, &document["devices"][0]["last_backup_at"]), (Some(0), &Value::Null));
    assert_eq!(document["devices"][1]["last_backup_at"], "2026-05-07T20:15:00Z");
    let nameless = "Device Name,Serial Number,Last iCloud Backup\n,C02TEST0001,2026-05-07T20:15:00Z\n";
    let document = json(&run_fleet(&home, nameless, &["--json"]).await);
    assert_eq!(document["devices"][0]["device"], "C02TEST0001");
    let utc =
        "Device Name,Last iCloud Backup Date (UTC),iCloud Backup Enabled\nFront desk,2026-05-08 01:30,Yes\n";
    for zone in ["America/New_York", "Asia/Tokyo", "UTC"] {
        let document = json(&run_fleet(&home, utc, &["--json", "--time-zone", zone]).await);
        assert_eq!(document["devices"][0]["last_backup_at"], "2026-05-08T01:30:00Z", "{zone}");
    }
    let models = "Name,Model,Last iCloud Backup\nLobby,\"AppleTV6,2\",2026-01-01T00:00:00Z\n";
    let document = json(&run_fleet(&home, models, &["--json"]).await);
    assert_eq!(
        (&document["devices"][0]["standing"], &document["counts"]["skipped"]),
        (&"skipped".into(), &1.into())
    );
}

#[tokio::test]
async fn warns_if_the_backup_column_does_not_name_icloud() {
    let home = home().await;
    let text = format!("Name,Last Backup,Finished\nAnna,{},{}\n", ago(240), ago(1));
    let remark = "The column “Last Backup” does not name iCloud";
    let table = run_fleet(&home, &text, &[]).await;
    assert!(table.out.contains("The column “Last Backup” does not name iCloud"), "{table:?}");
    let csv = run_fleet(&home, &text, &["--format", "csv"]).await;
    assert!(csv.err.starts_with(&format!("statusd: {remark}")) && csv.err.lines().count() == 1, "{csv:?}");
    let document = json(&run_fleet(&home, &text, &["--json"]).await);
    assert!(document["remarks"][0].as_str().is_some_and(|text| text.starts_with(remark)), "{document:#}");
    let named = json(&run_fleet(&home, &text, &["--json", "--backup-column", "finished"]).await);
    assert_eq!((&named["remarks"], &named["counts"]["up_to_date"]), (&Value::Array(Vec::new()), &1.into()));
    assert_eq!(named["columns"]["last_backup"], "Finished");
    let output = run_fleet(&home, &text, &["--backup-column", "Last Bakcup"]).await;
    check_refusal(&output, 2, "no column \"Last Bakcup\" (--backup-column); did you mean Last Backup?");
    let output = run_fleet(&home, &text, &["--device-column", "Owner"]).await;
    check_refusal(&output, 2, "no column \"Owner\" (--device-column)");
}

#[tokio::test]
async fn fail_on_sets_the_exit_code() {
    let home = home().await;
    let list = |last: &str| format!("Name,Last iCloud Backup\nAnna,{last}\n");
    let (fresh, late) = (list(&ago(1).to_string()), list(&ago(240).to_string()));
    assert_eq!(run_fleet(&home, &late, &[]).await.code, Some(0));
    assert_eq!(run_fleet(&home, &late, &["--fail-on", "late"]).await.code, Some(1));
    assert_eq!(run_fleet(&home, &late, &["--fail-on", "off,late-otherwise"]).await.code, Some(1));
    assert_eq!(run_fleet(&home, &fresh, &["--fail-on", "late"]).await.code, Some(0));
    assert_eq!(run_fleet(&home, &list("never"), &["--fail-on", "late"]).await.code, Some(3));
    assert_eq!(run_fleet(&home, &list("never"), &["--fail-on", "unknown"]).await.code, Some(1));
    check_refusal(&run_fleet(&home, "", &["--fail-on", "late"]).await, 3, "it is empty");
    check_refusal(&run_fleet(&home, &late, &["--fail-on", "tired"]).await, 2, "--fail-on");
}

#[track_caller]
fn check_refusal(output: &CommandOutput, code: i32, words: &str) {
    assert_eq!((output.code, output.out.as_str()), (Some(code), ""), "{output:?}");
    assert!(output.err.starts_with("statusd: ") && output.err.lines().count() == 1, "{output:?}");
    assert!(output.err.contains(words), "{output:?}");
}

#[tokio::test]
async fn errors_are_one_line() {
    let home = home().await;
    let file = home.path("devices.csv");
    let name = file.to_str().expect("UTF-8");
    check_refusal(&home.run(&["fleet", name]).await, 1, "devices.csv: no such file");
    let run_fleet = async |text: &[u8], arguments: &[&str]| {
        fs::write(&file, text).expect("written");
        home.run(&[&["fleet", name], arguments].concat()).await
    };
    check_refusal(&run_fleet(b"", &[]).await, 1, "it is empty");
    check_refusal(&run_fleet(b"name,model\na,b\n", &[]).await, 1, "no column “last backup”");
    check_refusal(&run_fleet(b"name,last backup\n\"a,\nb,\n", &[]).await, 1, "line 2: an unclosed quote");
    let slashes = b"name,last backup\na,05/04/2026 8:15 AM\n";
    check_refusal(&run_fleet(slashes, &[]).await, 1, "set --date-order dmy or mdy");
    assert_eq!(run_fleet(slashes, &["--date-order", "mdy"]).await.code, Some(0));
    check_refusal(&run_fleet(slashes, &["--date-order", "ymd"]).await, 2, "--date-order");
    check_refusal(
        &run_fleet(slashes, &["--service", "iCloud Bakup"]).await,
        2,
        "did you mean iCloud Backup?",
    );

    let fresh = Home::new();
    fresh.configure(&configuration(BACKUP, "http://127.0.0.1:9/", ""));
    check_refusal(&fresh.run(&["fleet", name]).await, 1, "statusd has not run here yet");
}
