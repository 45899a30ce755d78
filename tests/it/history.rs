//! Runs `statusd history` on databases with hand-written rows.
#![cfg(target_os = "linux")]

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;
use statusd::store::Store;
use tempfile::TempDir;

const BACKUP: &str = "icloud backup";

/// A home with a database.
struct Home(TempDir);

impl Home {
    /// Writes a database with these rows and the services iCloud Backup and Photos.
    fn new(rows: &str) -> Home {
        let home = Home(TempDir::new().expect("a directory"));
        let opened = Store::open(&home.state(), "2026-04-01T00:00:00Z".parse().expect("a time"));
        drop(opened.expect("a database"));
        let database = rusqlite::Connection::open(home.state().join("statusd.db")).expect("a database");
        database.execute_batch(&format!("BEGIN; {SERVICES} {rows} COMMIT;")).expect("rows");
        home
    }

    fn state(&self) -> PathBuf {
        self.0.path().join("state")
    }

    fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_statusd"));
        command.arg("history").args(arguments.split_whitespace()).env_clear();
        command.env("HOME", self.0.path()).env("TZ", "UTC").env("COLUMNS", "80");
        command.env("STATUSD_STATE_DIRECTORY", self.state());
        command
    }

    fn run(&self, arguments: &str) -> String {
        text(self.command(arguments).output().expect("statusd starts"))
    }

    fn json(&self, arguments: &str) -> Vec<Value> {
        serde_json::from_str(&self.run(&format!("--json {arguments}"))).expect("an array")
    }

    /// Returns `ID/OCCURRENCE` of the elements, without repeats, in order.
    fn identities(&self, arguments: &str) -> Vec<String> {
        let of =
            |item: &Value| Some(format!("{}/{}", item["message_id"].as_str()?, item["occurrence"].as_u64()?));
        let mut identities: Vec<String> = self.json(arguments).iter().filter_map(of).collect();
        identities.dedup();
        identities
    }
}

fn text(output: Output) -> String {
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(output.status.success() && stderr.is_empty(), "{}: {stderr}", output.status);
    String::from_utf8(output.stdout).expect("UTF-8")
}

const SERVICES: &str = "
    INSERT INTO service VALUES ('consumer/en_US', 'icloud backup', 'iCloud Backup', '2026-04-01T00:00:00Z', 'yes', NULL, NULL);
    INSERT INTO service VALUES ('consumer/en_US', 'photos', 'Photos', '2026-04-01T00:00:00Z', 'yes', NULL, NULL);
    INSERT INTO coverage (feed, from_at, to_at, health) VALUES
        ('consumer/en_US', '2026-04-01T08:00:00Z', '2026-04-20T00:00:00Z', 'readable'),
        ('consumer/en_US', '2026-04-21T12:00:00Z', '2026-05-05T12:00:00Z', 'readable');
";

/// Returns a row of `outage`. Times are in 2026, without year and seconds, `-` for none. `counts` is a list
/// of kinds.
fn outage(
    key: &str,
    id: &str,
    occurrence: u32,
    kind: &str,
    phase: &str,
    times: [&str; 3],
    counts: &[&str],
) -> String {
    let time = |short: &str| match short {
        "-" => "NULL".to_owned(),
        short => format!("'2026-{short}:00Z'"),
    };
    let name = if key == BACKUP { "iCloud Backup" } else { "Photos" };
    let counts: Vec<String> = counts.iter().map(|kind| format!("{kind}=1")).collect();
    format!(
        "INSERT INTO outage VALUES ('consumer/en_US', '{key}', '{id}', {occurrence}, '{name}', '{kind}', '{phase}',
             NULL, NULL, {}, {}, {}, NULL, 'Apple''s text', '{}');",
        time(times[0]),
        time(times[1]),
        time(times[2]),
        counts.join(",")
    )
}

/// Returns a row of `change` for that outage, and one of `delivery` for each `(state, settled)`.
fn change(key: &str, id: &str, occurrence: u32, kind: &str, at: &str, deliveries: &[(&str, &str)]) -> String {
    let mut rows = format!(
        "INSERT INTO change (key, at, seen_at, kind, feed, service, service_key, message_id, occurrence, serial,
             outage_kind, message, near)
         VALUES ('consumer/en_US/{key}/{id}/{occurrence}/{kind}', '2026-{at}:00Z', '2026-{at}:00Z', '{kind}',
             'consumer/en_US', '{key}', '{key}', '{id}', {occurrence}, 1, 'Outage', '', '[]');"
    );
    for (number, (state, settled)) in deliveries.iter().enumerate() {
        let settled = if *settled == "-" { "NULL".to_owned() } else { format!("'2026-{settled}:30Z'") };
        write!(
            rows,
            "INSERT INTO delivery SELECT max(id), 'channel{number}', '{state}', at, at, 1, NULL, NULL, {settled}
                 FROM change;"
        )
        .expect("memory");
    }
    rows
}

/// Returns one outage of each kind of history.
fn outages() -> String {
    let rows = [
        // Over before statusd first ran, so not announced.
        outage(BACKUP, "1", 1, "Outage", "over", ["03-30T10:00", "03-30T12:00", "04-01T08:00"], &["noted"]),
        change(BACKUP, "1", 1, "noted", "04-01T08:00", &[]),
        // Announced, first by the faster of two channels.
        outage(BACKUP, "2", 1, "Outage", "over", ["04-03T06:15", "04-03T10:04", "04-03T07:45"], &["began", "ended"]),
        change(BACKUP, "2", 1, "began", "04-03T07:46", &[("sent", "04-03T09:00"), ("sent", "04-03T07:46")]),
        change(BACKUP, "2", 1, "ended", "04-03T10:10", &[("sent", "04-03T10:10"), ("given_up", "05-03T10:10")]),
        // Reopened under the same id.
        outage(BACKUP, "2", 2, "Outage", "over", ["04-03T11:00", "04-04T01:00", "04-03T11:30"], &["reopened", "ended"]),
        change(BACKUP, "2", 2, "reopened", "04-03T11:31", &[("sent", "04-03T11:31")]),
        // Over before Apple posted it.
        outage(BACKUP, "3", 1, "Issue", "over", ["04-06T02:10", "04-06T04:00", "04-06T05:30"], &["missed"]),
        change(BACKUP, "3", 1, "missed", "04-06T05:31", &[("sent", "04-06T05:31")]),
        // Withdrawn, with its message given up.
        outage(BACKUP, "4", 1, "Outage", "withdrawn", ["04-08T02:00", "04-08T05:00", "04-08T03:00"], &["began", "withdrawn"]),
        change(BACKUP, "4", 1, "began", "04-08T03:01", &[("given_up", "05-04T10:10")]),
        // Without times from Apple.
        outage(BACKUP, "5", 1, "Performance", "over", ["-", "-", "04-09T03:00"], &["missed"]),
        // Posted while statusd was off, without a channel.
        outage(BACKUP, "6", 1, "Outage", "over", ["04-20T10:00", "04-20T11:00", "04-21T12:00"], &["missed"]),
        change(BACKUP, "6", 1, "missed", "04-21T12:01", &[]),
        // Maintenance: cancelled, planned, running.
        outage(BACKUP, "7", 1, "Maintenance", "over", ["04-25T02:00", "04-25T04:00", "04-23T08:00"], &["planned", "moved", "cancelled"]),
        change(BACKUP, "7", 1, "planned", "04-23T08:01", &[("sent", "04-23T08:01")]),
        outage(BACKUP, "8", 1, "Maintenance", "planned", ["12-24T02:00", "12-24T04:00", "05-01T08:00"], &["planned"]),
        change(BACKUP, "8", 1, "planned", "05-01T08:01", &[("pending", "-")]),
        outage(BACKUP, "9", 1, "Maintenance", "ongoing", ["05-02T02:00", "12-24T04:00", "05-02T02:00"], &["started"]),
        change(BACKUP, "9", 1, "started", "05-02T02:01", &[("sent", "05-02T02:01"), ("pending", "-")]),
        // Ongoing, in another service.
        outage("photos", "10", 1, "Outage", "ongoing", ["05-05T08:00", "-", "05-05T09:00"], &["began"]),
        change("photos", "10", 1, "began", "05-05T09:01", &[]),
        "INSERT INTO change (key, at, seen_at, kind, feed, service, service_key, serial, message, near) VALUES
             ('k', '2026-04-15T00:00:00Z', '2026-04-15T00:00:00Z', 'unreadable', 'consumer/en_US', '', '', 1, '', '[]');"
            .to_owned(),
    ];
    rows.concat()
}

#[test]
fn lists_each_outage_once_with_its_times() {
    let home = Home::new(&outages());
    let of = |item: &Value| {
        let text = |name: &str| item[name].as_str().unwrap_or("-").to_owned();
        format!(
            "{}/{} {} {} {} {} {}",
            text("message_id"),
            item["occurrence"],
            text("state"),
            item["lasted_s"],
            item["posted_late_s"],
            text("announced"),
            text("announced_at")
        )
    };
    let output: Vec<String> = home.json("--all").iter().map(of).collect();
    let expected = [
        "1/1 over 7200 null no -",
        "2/1 over 13740 5400 sent 2026-04-03T07:46:30Z",
        "2/2 over 50400 1800 sent 2026-04-03T11:31:30Z",
        "3/1 over 6600 12000 sent 2026-04-06T05:31:30Z",
        "4/1 withdrawn null 3600 given_up -",
        "5/1 over null null no -",
        "6/1 over 3600 null no -",
        "7/1 cancelled null null sent 2026-04-23T08:01:30Z",
        "9/1 ongoing null null sent 2026-05-02T02:01:30Z",
        "10/1 ongoing null 3600 no -",
        "8/1 planned null null pending -",
    ];
    assert_eq!(output, expected);
    let first = &home.json("")[1];
    assert_eq!(first["key"], "consumer/en_US/icloud%20backup/2/1");
    assert_eq!(first["changes"], serde_json::json!(["began", "ended"]));
    assert!(home.identities("").iter().all(|identity| identity != "10/1"), "Photos is not watched");
    assert_eq!(home.identities("--service photos"), ["10/1"]);

    let csv = home.run("--all --format csv");
    assert_eq!(csv.lines().count(), 1 + expected.len());
    let line = csv.lines().find(|line| line.contains(",4,1,")).expect("a record");
    assert!(line.starts_with("iCloud Backup,4,1,Outage,withdrawn,2026-04-08T02:00:00Z,,,"), "{line}");
    let changes = home.json("--changes --all");
    assert_eq!((changes.len(), &changes[0]["kind"]), (12, &"noted".into()));
    let csv = home.run("--changes --all --format csv");
    assert_eq!(csv.lines().count(), 1 + changes.len());
    assert!(csv.starts_with("at,kind,service,"), "{csv}");
}

#[test]
fn window_includes_overlapping_outages_and_only_their_changes() {
    let home = Home::new(&outages());
    let check = |window: &str, expected: &[&str]| {
        let outages = home.identities(&format!("--all {window}"));
        let closed: Vec<&String> =
            outages.iter().filter(|id| !["8/1", "9/1", "10/1"].contains(&id.as_str())).collect();
        assert_eq!(closed, expected, "{window}");
        for identity in home.identities(&format!("--all --changes {window}")) {
            assert!(outages.contains(&identity), "{window}: {identity} of {outages:?}");
        }
    };
    check("--until 2026-04-03", &["1/1"]);
    check("--since 2026-04-03T08:00Z --until 2026-04-03T09:00Z", &["2/1"]);
    check("--since 2026-04-03T10:06Z --until 2026-04-03T10:30Z", &["2/1"]);
    check("--since 2026-04-03T10:30Z --until 2026-04-03T11:00Z", &[]);
    check("--since 2026-04-03T10:30Z --until 2026-04-03T11:00:01Z", &["2/2"]);
    check("--since 2026-04-06T04:30Z --until 2026-04-07", &["3/1"]);
    check("--since 2026-04-20T10:30Z --until 2026-04-21", &["6/1"]);
    check("--since 2026-04-21T12:01Z --until 2026-04-22", &["6/1"]);
    check("--since 2026-04-22", &["7/1"]);
    check("--since 2026-04-26", &[]);
    assert_eq!(home.identities("--all --since 2026-04-26"), ["9/1", "10/1", "8/1"]);
    assert_eq!(home.identities("--all --since 2026-05-04 --until 2026-05-05"), ["9/1", "8/1"]);
}

#[test]
fn timeline_shows_the_days_of_the_window() {
    let home = Home::new(&outages());
    let timeline = |window: &str| {
        let output = home.run(&format!("--service photos --service icloud* {window}"));
        output.lines().take_while(|line| !line.starts_with("  . ")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        timeline("--since 2026-04-02 --until 2026-04-04"),
        [
            "Photos         ................................................",
            "iCloud Backup  ..............................##################",
            "               2 Apr                   3 Apr",
        ]
    );
}

#[test]
fn counts_other_changes_below_the_table() {
    let home = Home::new(&outages());
    let output = home.run("");
    assert!(
        output.contains("\n1 change is not about an outage; `statusd history --changes` lists"),
        "{output}"
    );
    assert!(output.ends_with("\nTime zone: UTC (TZ)\n"), "{output}");
    assert!(home.run("--changes").contains("feed unreadable"));
    let quiet = home.run("--since 2026-04-01 --until 2026-04-02 --service photos");
    assert!(quiet.contains("\nNo outages in this period.\n") && !quiet.contains("change"), "{quiet}");
}
