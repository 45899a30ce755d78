//! Whole-program stories: the functions of the daemon's loops, a real SQLite file, a mock feed over HTTP,
//! real channels, and a virtual clock. Each asserts what people and programs received.
//!
//! The wire format of a single poll or message is tested in `fetch`, `webhook` and `desktop`, signals and
//! the command line in `service`. Times are those of `sim::at`.

use crate::sim;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::common::apple::Response;
#[cfg(all(unix, not(target_os = "macos")))]
use crate::common::bus::Bus;
use crate::common::doc::Doc;
use crate::common::http_server::Reply;
use crate::sim::{Sim, at, backup, calm, clock_text};
use jiff::{SignedDuration, Timestamp};
use statusd::feed::fetch::FetchLimits;
use statusd::feed::recording::Recording;
use statusd::model::{Change, ChangeKind};
use statusd::store::{DATABASE, OpenError};
use statusd::tracking::Acceptance;
use statusd::tracking::replay::replay;
use statusd::tracking::watchlist::Watchlist;

const NOTHING: [&str; 0] = [];

/// Down since 09:30, posted at 10:02.
fn down() -> Doc {
    backup("10:02", "Outage", "ongoing", "09:30", None)
}

/// Over at 10:40, posted at 11:02.
fn over() -> Doc {
    backup("11:02", "Outage", "resolved", "09:30", Some("10:40"))
}

/// A simulation in which the outage of [`down`] was announced at 10:05:45.
async fn sim_with_an_outage() -> Sim {
    let mut sim = Sim::usual().await;
    sim.until("10:01").await;
    sim.show(&down());
    sim.until("10:30").await;
    assert_eq!(sim.received(), ["10:05:45 began iCloud Backup Outage from 09:30"]);
    sim
}

// Outages.

#[tokio::test]
async fn announces_begin_worsening_and_end_once_with_apples_times() {
    let mut sim = Sim::usual().await;
    sim.until("11:03").await;
    sim.show(&backup("11:03", "Issue", "ongoing", "10:10", None));
    sim.until("11:30:30").await;
    sim.show(&backup("11:30", "Outage", "ongoing", "10:10", None));
    sim.until("12:10").await;
    sim.show(&backup("12:10", "Outage", "resolved", "10:10", Some("12:05")));
    sim.until("18:00").await;
    assert_eq!(
        sim.received(),
        [
            "11:05:45 began iCloud Backup Issue from 10:10",
            "11:31:45 worsened iCloud Backup Outage from 10:10",
            "12:11:45 ended iCloud Backup Outage from 10:10 to 12:05",
        ]
    );
}

#[tokio::test]
async fn an_outage_seen_once_is_not_announced() {
    let mut sim = Sim::usual().await;
    sim.until("10:01").await;
    sim.show(&down());
    sim.until("10:05").await;
    sim.show(&calm("10:06"));
    sim.until("12:00").await;
    assert_eq!(sim.received(), NOTHING);
    assert_eq!(sim.history().await, ["noted Photos"]);
}

/// 22 July 2021: within an hour 21 of 23 fetches brought copies up to 29 days old, at random.
#[tokio::test]
async fn an_hour_of_stale_copies_ends_and_begins_nothing() {
    let mut sim = Sim::usual().await;
    let down = backup("14:05", "Outage", "ongoing", "13:40", None);
    sim.until("14:08").await;
    sim.show(&down);
    sim.until("15:44:30").await;
    let an_hour_old = calm("13:00");
    let days_old = backup("-3d 12:00", "Issue", "resolved", "-3d 09:00", Some("-3d 11:00"));
    let weeks_old = calm("-29d 12:00").event("700", "Outage", "ongoing", at("-29d 11:00").as_second(), None);
    // One letter for each poll, a minute apart; `D` is the document of today.
    let copies = "hdwwhdhwddhwhhdwhdwDwdhhdwhwdddhwwhdwhdhwdwhhdwdDhwdhwwdhdwh";
    for copy in copies.chars() {
        let doc = match copy {
            'h' => &an_hour_old,
            'd' => &days_old,
            'w' => &weeks_old,
            _ => &down,
        };
        sim.apple.once(Response::ok(doc.json()));
    }
    sim.polls();
    sim.until("17:00:30").await;
    let stale = sim.polls().iter().filter(|(_, looked)| looked.verdict == Acceptance::Stale).count();
    assert_eq!(stale, 58, "the copies were polled");
    sim.show(&backup("17:01", "Outage", "resolved", "13:40", Some("16:45")));
    sim.until("20:00").await;
    assert_eq!(
        sim.received(),
        [
            "14:10:45 began iCloud Backup Outage from 13:40",
            "17:01:45 ended iCloud Backup Outage from 13:40 to 16:45",
        ]
    );
}

/// 27 March 2022: missing from four newer documents, then back as resolved.
#[tokio::test]
async fn an_outage_that_disappears_briefly_has_not_ended() {
    let mut sim = sim_with_an_outage().await;
    for posted in ["11:00", "11:25", "11:50", "12:15"] {
        sim.show(&calm(posted));
        sim.until(posted).await;
    }
    sim.until("12:29:30").await;
    sim.show(&down().posted("03/02/2026 12:29 UTC"));
    sim.until("12:50:30").await;
    sim.show(&calm("12:50"));
    sim.until("14:00").await;
    assert_eq!(sim.received(), NOTHING);
    sim.show(&backup("14:00", "Outage", "resolved", "09:30", Some("13:55")));
    sim.until("18:00").await;
    assert_eq!(sim.received(), ["14:01:45 ended iCloud Backup Outage from 09:30 to 13:55"]);
}

#[tokio::test]
async fn an_unlisted_outage_is_withdrawn_after_two_hours_and_corrected_silently() {
    let mut sim = sim_with_an_outage().await;
    sim.show(&calm("10:30"));
    sim.until("12:30:59").await;
    assert_eq!(sim.received(), NOTHING);
    sim.until("16:00").await;
    assert_eq!(sim.received(), ["12:31 withdrawn iCloud Backup Outage from 09:30"]);
    sim.show(&backup("16:00", "Outage", "resolved", "09:30", Some("11:00")));
    sim.until("20:00").await;
    assert_eq!(sim.received(), NOTHING);
    assert_eq!(sim.history().await.last().map(String::as_str), Some("corrected iCloud Backup"));
}

/// 26 January 2022.
#[tokio::test]
async fn an_outage_that_returns_under_its_id_is_reopened_and_ends_again() {
    let mut sim = sim_with_an_outage().await;
    sim.show(&backup("12:14", "Outage", "resolved", "09:30", Some("12:10")));
    sim.until("+1d 00:14").await;
    sim.show(&backup("+1d 00:15", "Outage", "ongoing", "09:30", None));
    sim.until("+1d 04:05:30").await;
    sim.show(&backup("+1d 04:06", "Outage", "resolved", "09:30", Some("+1d 04:00")));
    sim.until("+1d 10:00").await;
    let messages = sim.messages(0);
    let lines: Vec<String> = messages.iter().map(sim::Received::line).collect();
    assert_eq!(
        lines,
        [
            "10:31:45 ended iCloud Backup Outage from 09:30 to 12:10",
            "+1d 00:15:45 reopened iCloud Backup Outage from 09:30",
            "+1d 04:06:45 ended iCloud Backup Outage from 09:30 to +1d 04:00",
        ]
    );
    let keys: Vec<&str> =
        messages.iter().filter_map(|heard| heard.request().header("idempotency-key")).collect();
    assert_eq!(
        keys,
        ["1/ended", "2/reopened", "2/ended"].map(|end| format!("consumer/en_US/icloud%20backup/1001/{end}"))
    );
}

#[tokio::test]
async fn an_outage_posted_after_its_end_is_reported_as_missed() {
    let mut sim = Sim::usual().await;
    sim.until("12:00").await;
    sim.show(&backup("12:01", "Outage", "resolved", "09:30", Some("10:40")));
    sim.until("18:00").await;
    assert_eq!(sim.received(), ["12:05:45 missed iCloud Backup Outage from 09:30 to 10:40"]);
}

#[tokio::test]
async fn the_first_run_announces_only_ongoing_outages() {
    let mut sim = Sim::new().await.program("ops", [Reply::status(200)]).await;
    let over = backup("09:00", "Outage", "resolved", "-1d 09:30", Some("-1d 10:40"));
    let at_night = at("03:00").as_second();
    sim.show(&over.clone().event("1002", "Issue", "ongoing", at_night, None));
    sim.start().await;
    sim.until("12:00").await;
    assert_eq!(sim.received(), ["10:00:45 began iCloud Backup Issue from 03:00"]);
    // Apple lists past outages for a while and then removes them.
    sim.show(&calm("12:00").event("1002", "Issue", "ongoing", at_night, None));
    sim.until("20:00").await;
    assert_eq!(sim.received(), NOTHING);
    assert_eq!(sim.history().await, ["noted iCloud Backup", "noted Photos", "began iCloud Backup"]);
}

#[tokio::test]
async fn an_outage_while_statusd_was_off_is_announced_as_missed() {
    let mut sim = Sim::usual().await;
    sim.until("10:30").await;
    sim.stop().await;
    sim.off_until("+3d 10:30");
    sim.show(&backup("+1d 04:00", "Outage", "resolved", "+1d 01:00", Some("+1d 03:00")));
    sim.start().await;
    sim.until("+3d 20:00").await;
    assert_eq!(sim.received(), ["+3d 10:30:45 missed iCloud Backup Outage from +1d 01:00 to +1d 03:00"]);
    assert_eq!(
        sim.coverage().await,
        ["readable 10:00 to 10:30", "readable +3d 10:30 to +3d 19:35"],
        "no polls in between"
    );
}

#[tokio::test]
async fn an_outage_that_ended_while_statusd_was_off_ends_once() {
    let mut sim = sim_with_an_outage().await;
    sim.crash();
    sim.off_until("+2d 10:00");
    sim.show(&over());
    sim.start().await;
    sim.until("+2d 20:00").await;
    assert_eq!(sim.received(), ["+2d 10:00:45 ended iCloud Backup Outage from 09:30 to 10:40"]);
}

#[tokio::test]
async fn maintenance_is_planned_begins_is_extended_and_is_over() {
    let work = |posted, status, to| backup(posted, "Maintenance", status, "+1d 02:00", Some(to));
    let mut sim = Sim::usual().await;
    sim.show(&work("10:00", "upcoming", "+1d 06:00"));
    sim.until("+1d 02:04").await;
    sim.show(&work("+1d 02:04", "ongoing", "+1d 06:00"));
    sim.until("+1d 05:00:30").await;
    sim.show(&work("+1d 05:00", "ongoing", "+1d 07:00"));
    sim.until("+1d 06:50:30").await;
    sim.show(&work("+1d 06:50", "completed", "+1d 06:45"));
    sim.until("+1d 12:00").await;
    assert_eq!(
        sim.received(),
        [
            "10:00:45 planned iCloud Backup Maintenance from +1d 02:00 to +1d 06:00",
            "+1d 02:05:45 started iCloud Backup Maintenance from +1d 02:00 to +1d 06:00",
            "+1d 05:01:45 moved iCloud Backup Maintenance from +1d 02:00 to +1d 07:00",
            "+1d 06:51:45 over iCloud Backup Maintenance from +1d 02:00 to +1d 06:45",
        ]
    );
}

#[tokio::test]
async fn planned_maintenance_that_moves_or_is_cancelled_is_announced() {
    let work = |posted, from, to| backup(posted, "Maintenance", "upcoming", from, Some(to));
    let mut sim = Sim::usual().await;
    sim.show(&work("10:00", "+1d 02:00", "+1d 06:00"));
    sim.until("11:01").await;
    sim.show(&work("11:00", "+4d 02:00", "+4d 06:00"));
    sim.until("12:01").await;
    sim.show(&work("12:00", "+4d 03:00", "+4d 06:00"));
    sim.until("13:01").await;
    sim.show(&calm("13:00"));
    sim.until("16:00").await;
    let key = |kind: &str| format!("en_US/icloud%20backup/1001/1/{kind}");
    let messages = sim.messages(0);
    let lines: Vec<String> = messages.iter().map(|heard| heard.line()).collect();
    assert_eq!(
        lines,
        [
            "10:00:45 planned iCloud Backup Maintenance from +1d 02:00 to +1d 06:00",
            "11:05:45 moved iCloud Backup Maintenance from +4d 02:00 to +4d 06:00",
            "12:05:45 moved iCloud Backup Maintenance from +4d 03:00 to +4d 06:00",
            "15:05 cancelled iCloud Backup Maintenance from +4d 03:00 to +4d 06:00",
        ]
    );
    let keys: Vec<&str> =
        messages.iter().map(|heard| heard.request().header("idempotency-key").expect("a key")).collect();
    for (key, kind) in keys.iter().zip(["planned", "moved", "moved/2", "cancelled"].map(key)) {
        assert!(key.ends_with(&kind), "{key}");
    }
}

// The watch.

#[tokio::test]
async fn a_renamed_service_is_reported_after_a_day_and_when_it_returns() {
    let renamed = Doc::new().service("Photos").service("iCloud Backups");
    let mut sim = Sim::usual().await;
    sim.until("10:06").await;
    sim.show(&renamed);
    sim.until("+1d 10:09").await;
    assert_eq!(sim.received(), NOTHING);
    sim.until("+3d 10:01").await;
    assert_eq!(sim.received(), ["+1d 10:10 unlisted iCloud Backup"]);
    sim.show(&calm("+3d 10:00"));
    sim.until("+3d 16:00").await;
    assert_eq!(sim.received(), ["+3d 10:05:45 listed_again iCloud Backup"]);
}

#[tokio::test]
async fn a_misspelt_service_is_reported_once() {
    let mut sim =
        Sim::new().await.watching(&["iCloud Bakup", "Photos"]).program("ops", [Reply::status(200)]).await;
    sim.show(&calm("09:00"));
    sim.start().await;
    sim.until("12:00").await;
    assert_eq!(sim.received(), ["10:00:45 unlisted iCloud Bakup (iCloud Backup?)"]);
    sim.crash();
    sim.start().await;
    sim.until("+1d 12:00").await;
    assert_eq!(sim.received(), NOTHING);
}

// Polling.

/// Detects commits by other connections, which SQLite counts.
struct Ledger {
    connection: rusqlite::Connection,
    version: i64,
}

impl Ledger {
    fn open(sim: &Sim) -> Ledger {
        let mut ledger = Ledger { connection: sim.database(), version: 0 };
        ledger.is_written();
        ledger
    }

    /// Returns the polls that wrote to the database.
    async fn written_until(&mut self, sim: &mut Sim, time: &str) -> Vec<String> {
        let mut written = Vec::new();
        while sim.next_poll() <= at(time) {
            let next = clock_text(sim.next_poll());
            sim.until(&next).await;
            written.extend(self.is_written().then_some(next));
        }
        written
    }

    fn is_written(&mut self) -> bool {
        let read = self.connection.query_row("PRAGMA data_version", [], |row| row.get(0));
        let version = read.expect("a version");
        std::mem::replace(&mut self.version, version) != version
    }
}

#[tokio::test]
async fn a_day_of_304_responses_writes_one_mark_an_hour() {
    let mut sim = Sim::usual().await;
    sim.apple.respond(Response::ok(calm("09:00").json()).etag("\"v1\""));
    sim.until("10:00").await;
    let mut ledger = Ledger::open(&sim);
    let hours: Vec<String> =
        (1..=24).map(|hour| clock_text(at("10:00") + SignedDuration::from_hours(hour))).collect();
    assert_eq!(ledger.written_until(&mut sim, "+1d 10:00").await, hours);
    let requests = sim.apple.requests();
    assert_eq!(requests.len(), 1 + 288, "a poll every five minutes");
    // One of twelve is unconditional: "not modified" is believed for an hour.
    for (number, request) in requests.iter().enumerate() {
        let condition = (number % 12 != 0).then_some("\"v1\"");
        assert_eq!(request.header("if-none-match"), condition, "request {number}");
    }
    assert_eq!(sim.received(), NOTHING);

    // "Not modified" confirms the first observation, which wrote the new stamp. An ongoing outage writes
    // as little.
    sim.apple.respond(Response::ok(down().json()).etag("\"v2\""));
    let written = ledger.written_until(&mut sim, "+1d 12:30").await;
    assert_eq!(written, ["+1d 10:05", "+1d 10:05:45", "+1d 11:06", "+1d 12:06"]);
    assert_eq!(sim.received(), ["+1d 10:05:45 began iCloud Backup Outage from 09:30"]);
}

#[tokio::test]
async fn a_server_that_always_responds_304_is_believed_for_an_hour() {
    let mut sim = Sim::usual().await;
    sim.apple.respond(Response::ok(calm("09:00").json()).etag("\"v1\""));
    sim.until("10:04").await;
    sim.apple.respond(Response::status(304));
    sim.until("10:59").await;
    assert_eq!(sim.coverage().await, ["readable 10:00 to 10:00"]);
    assert!(sim.polls().iter().all(|(_, looked)| looked.trouble.is_none()));
    sim.until("11:30").await;
    assert_eq!(sim.coverage().await.last().map(String::as_str), Some("unreadable 11:00 to 11:00"));
    let unproven = "127.0.0.1 returned HTTP 304 (Not Modified)";
    assert!(sim.polls().iter().all(|(_, looked)| looked.trouble.as_deref() == Some(unproven)));
    sim.until("13:00").await;
    let heard = sim.received();
    assert!(heard.len() == 1 && heard[0].contains("unreadable from 11:00"), "{heard:?}");
    sim.show(&down());
    sim.until("14:00").await;
    let kinds: Vec<String> =
        sim.received().iter().filter_map(|line| line.split(' ').nth(1).map(str::to_owned)).collect();
    assert_eq!(kinds, ["readable", "began"]);
}

/// Bad responses from 10:05:30 to 12:00, with the back-off after failed polls.
async fn check_unreadable_by_apples_fault(mut sim: Sim, bad: Response) {
    sim.show(&calm("09:00"));
    sim.start().await;
    sim.until("10:05:30").await;
    sim.apple.respond(bad);
    sim.until("12:00").await;
    sim.show(&calm("09:00"));
    sim.until("20:00").await;
    assert_eq!(
        sim.received(),
        ["11:12:30 unreadable from 10:10", "12:03:15 readable from 10:10 to 12:02:30"],
        "once after an hour of failed polls, and once after two successful polls"
    );
    assert_eq!(
        sim.coverage().await,
        ["readable 10:00 to 10:10", "unreadable 10:10 to 12:03:15", "readable 12:03:15 to 19:05"]
    );
}

async fn sim_with_ops() -> Sim {
    Sim::new().await.program("ops", [Reply::status(200)]).await
}

#[tokio::test]
async fn an_hour_of_server_errors_is_reported_once() {
    check_unreadable_by_apples_fault(sim_with_ops().await, Response::status(503)).await;
}

#[tokio::test]
async fn an_hour_of_truncated_bodies_is_reported_once() {
    check_unreadable_by_apples_fault(sim_with_ops().await, Response::ok(calm("10:05").json()).cut()).await;
}

#[tokio::test]
async fn an_hour_of_truncated_documents_is_reported_once() {
    check_unreadable_by_apples_fault(sim_with_ops().await, Response::ok(calm("10:05").json()).truncated(300))
        .await;
}

#[tokio::test]
async fn an_hour_of_the_old_schema_is_reported_once() {
    let old = r#"{"dashboard":{"~iCloud":[]},"detailedTimeline":[]}"#;
    check_unreadable_by_apples_fault(sim_with_ops().await, Response::ok(old)).await;
}

/// Over https a web page is the server's own.
#[tokio::test]
async fn an_hour_of_web_pages_is_reported_once() {
    let sim = Sim::with_tls().await.program("ops", [Reply::status(200)]).await;
    check_unreadable_by_apples_fault(sim, Response::html()).await;
}

#[tokio::test]
async fn an_hour_of_slow_responses_is_reported_once() {
    // Endless, so no limit is too short or too long for it; good answers have the usual one.
    let mut sim = sim_with_ops().await;
    sim.show(&calm("09:00"));
    sim.start().await;
    sim.until("10:05:30").await;
    sim.crash();
    let mut sim = sim.within(FetchLimits { total: Duration::from_millis(100), ..FetchLimits::default() });
    sim.apple.respond(Response::ok(calm("10:05").json()).drip());
    sim.start().await;
    sim.until("11:00").await;
    assert_eq!(sim.received(), NOTHING);
    sim.until("11:30").await;
    assert_eq!(sim.received(), ["11:08 unreadable from 10:05:30"]);
}

#[tokio::test]
async fn ten_hours_without_network_cause_no_notice() {
    let mut sim = Sim::usual().await;
    sim.until("10:05:30").await;
    // A captive portal, over plain http where it can do that.
    sim.apple.respond(Response::html());
    sim.until("15:00").await;
    sim.apple.respond(Response::status(511));
    sim.until("20:06").await;
    sim.show(&calm("09:00"));
    sim.until("23:00").await;
    assert_eq!(sim.received(), NOTHING);
    assert_eq!(sim.history().await, ["noted Photos"]);
    let coverage = sim.coverage().await;
    assert!(coverage[1].starts_with("unreadable 10:10 to 15:"), "shown all the same: {coverage:?}");
}

#[tokio::test]
async fn an_outage_stays_ongoing_while_the_feed_is_unreadable() {
    let mut sim = sim_with_an_outage().await;
    sim.apple.respond(Response::status(500));
    sim.until("10:50").await;
    sim.show(&down());
    sim.until("12:00").await;
    assert_eq!(sim.received(), NOTHING);
    sim.show(&over());
    sim.until("13:00").await;
    assert_eq!(sim.received(), ["12:01:45 ended iCloud Backup Outage from 09:30 to 10:40"]);
}

// Restarts.

#[tokio::test]
async fn a_restart_before_the_confirmation_announces_once() {
    let mut sim = Sim::usual().await;
    sim.until("10:01").await;
    sim.show(&down());
    sim.until("10:05").await;
    sim.crash();
    sim.off_until("10:05:10");
    sim.start().await;
    sim.until("11:00").await;
    assert_eq!(sim.received(), ["10:05:55 began iCloud Backup Outage from 09:30"]);
}

#[tokio::test]
async fn a_restart_between_commit_and_delivery_announces_once() {
    let mut sim = Sim::usual().await;
    sim.until("10:01").await;
    sim.show(&down());
    sim.until("10:05:44").await;
    sim.until_poll("10:05:45").await;
    assert_eq!(sim.polls().last().map(|(_, looked)| looked.changes.len()), Some(1), "committed");
    sim.crash();
    sim.off_until("10:20");
    sim.start().await;
    sim.until("11:00").await;
    assert_eq!(sim.received(), ["10:20 began iCloud Backup Outage from 09:30"]);
}

#[tokio::test]
async fn a_crash_between_sending_and_recording_repeats_the_same_bytes_once() {
    let mut sim = Sim::new().await.program("ops", [Reply::Never, Reply::status(200)]).await;
    sim.show(&calm("09:00"));
    sim.start().await;
    sim.until("10:01").await;
    sim.show(&down());
    sim.until_poll("10:05:45").await;
    sim.crash_in_flight(0).await;
    sim.off_until("10:05:47");
    sim.start().await;
    sim.until("12:00").await;
    let messages = sim.messages(0);
    let lines: Vec<String> = messages.iter().map(sim::Received::line).collect();
    assert_eq!(
        lines,
        ["10:05:45", "10:05:50"].map(|time| format!("{time} began iCloud Backup Outage from 09:30"))
    );
    assert_eq!(messages[0].request(), messages[1].request(), "headers, key and body");
}

// Deliveries.

#[tokio::test]
async fn retry_after_is_obeyed_and_the_begin_arrives_before_the_end() {
    let busy = Reply::status(503).with_header("Retry-After", "3000");
    let mut sim = Sim::new().await.program("ops", [busy, Reply::status(200)]).await;
    sim.show(&calm("09:00"));
    sim.start().await;
    sim.until("10:01").await;
    sim.show(&down());
    sim.until("10:30:30").await;
    sim.show(&over());
    sim.until("10:55:44").await;
    assert_eq!(sim.changes().await.len(), 3, "noted, began, ended");
    let first = sim.messages(0);
    assert_eq!(first.len(), 1);
    sim.until("12:00").await;
    let rest = sim.messages(0);
    let lines: Vec<String> = rest.iter().map(sim::Received::line).collect();
    assert_eq!(
        lines,
        [
            "10:55:45 began iCloud Backup Outage from 09:30",
            "10:55:45 ended iCloud Backup Outage from 09:30 to 10:40",
        ]
    );
    assert_eq!(first[0].request(), rest[0].request(), "headers, key and body");
}

#[tokio::test]
async fn a_permanent_failure_is_visible_and_the_next_change_is_still_sent() {
    let mut sim = Sim::new().await.program("ops", [Reply::status(410), Reply::status(200)]).await;
    sim.show(&down());
    sim.start().await;
    sim.until("10:30").await;
    let stored = sim.store().deliveries(false).await.expect("an outbox");
    let [given_up] = stored.as_slice() else { panic!("one delivery is not sent: {stored:?}") };
    assert_eq!((given_up.state.as_str(), given_up.attempts), ("given_up", 1));
    let answer = given_up.answer.as_deref().expect("the answer is kept");
    assert!(answer.contains("410 Gone") && answer.contains("write the new one"), "{answer}");
    sim.show(&over());
    sim.until("12:00").await;
    assert_eq!(
        sim.received(),
        [
            "10:00:45 began iCloud Backup Outage from 09:30",
            "10:31:45 ended iCloud Backup Outage from 09:30 to 10:40",
        ]
    );
}

const CLOUD: [&str; 10] = [
    "iCloud Backup",
    "iCloud Bookmarks & Tabs",
    "iCloud Calendar",
    "iCloud Contacts",
    "iCloud Drive",
    "iCloud Keychain",
    "iCloud Mail",
    "iCloud Notes",
    "iCloud Reminders",
    "Photos",
];

#[cfg(all(unix, not(target_os = "macos")))]
#[tokio::test]
async fn ten_services_in_one_incident_are_one_message_for_people_and_ten_for_programs() {
    let bus = Bus::start();
    let mut sim = Sim::new().await.watching(&["iCloud*", "Photos"]).desktop(&bus);
    sim = sim.program("ops", [Reply::status(200)]).await;
    sim.log_in(&bus).await;
    let start = at("09:30").as_second();
    let fine = CLOUD.iter().fold(Doc::new(), |doc, name| doc.service(name));
    let down = CLOUD
        .iter()
        .fold(Doc::new(), |doc, name| doc.service(name).event("1001", "Outage", "ongoing", start, None));
    sim.show(&fine.service("Siri"));
    sim.start().await;
    sim.until("10:01").await;
    sim.show(&down.service("Siri").event("1001", "Outage", "ongoing", start, None));
    sim.until("11:00").await;
    let bubbles = sim.received_by(0);
    assert_eq!(bubbles, ["10:05:45 Outage: iCloud Backup, iCloud Bookmarks & Tabs and 8 more"]);
    let told: Vec<String> =
        CLOUD.iter().map(|name| format!("10:05:45 began {name} Outage from 09:30")).collect();
    assert_eq!(sim.received_by(1), told);
}

#[cfg(all(unix, not(target_os = "macos")))]
#[tokio::test]
async fn a_begin_and_an_end_that_waited_are_one_message_for_people() {
    let bus = Bus::start();
    let mut sim = Sim::new().await.desktop(&bus).program("ops", [Reply::status(200)]).await;
    sim.show(&calm("09:00"));
    sim.start().await;
    sim.until("10:01").await;
    sim.show(&down());
    sim.until("11:02:30").await;
    sim.show(&over());
    sim.until("12:00").await;
    assert_eq!(
        sim.received_by(1),
        [
            "10:05:45 began iCloud Backup Outage from 09:30",
            "11:03:45 ended iCloud Backup Outage from 09:30 to 10:40",
        ]
    );
    assert_eq!(sim.received(), NOTHING);
    sim.log_in(&bus).await;
    sim.until("13:00").await;
    let lines = sim.received();
    let [line] = lines.as_slice() else { panic!("one message: {lines:?}") };
    assert!(line.ends_with(" Was down: iCloud Backup"), "{line}");
    assert_eq!(sim.store().deliveries(false).await.expect("an outbox"), []);
}

#[cfg(all(unix, not(target_os = "macos")))]
#[tokio::test]
async fn the_end_replaces_the_begin_on_the_desktop_after_a_restart() {
    use crate::sim::Payload;
    let bus = Bus::start();
    let mut sim = Sim::new().await.desktop(&bus);
    sim.log_in(&bus).await;
    sim.show(&down());
    sim.start().await;
    sim.until("10:30").await;
    sim.crash();
    sim.show(&over());
    sim.start().await;
    sim.until("12:00").await;
    let messages = sim.messages(0);
    let bubbles: Vec<_> = messages
        .iter()
        .map(|heard| match &heard.payload {
            Payload::Bubble(bubble) => (bubble.summary.as_str(), bubble.id, bubble.replaces_id),
            Payload::Request(request) => panic!("{request:?}"),
        })
        .collect();
    assert_eq!(bubbles, [("Outage: iCloud Backup", 1, 0), ("Fixed: iCloud Backup", 1, 1)]);
}

// Clocks.

#[tokio::test]
async fn waking_causes_one_poll_and_leaves_a_gap_in_coverage() {
    let mut sim = Sim::usual().await;
    sim.until("12:01").await;
    sim.polls();
    sim.sleep_until("20:00:10");
    sim.show(&backup("18:00", "Outage", "resolved", "14:00", Some("16:00")));
    sim.until("20:05").await;
    let looks: Vec<String> = sim.polls().iter().map(|(at, _)| clock_text(*at)).collect();
    assert_eq!(looks, ["20:00:13", "20:00:58", "20:05"], "one, its confirmation, the schedule's");
    assert_eq!(sim.received(), ["20:00:58 missed iCloud Backup Outage from 14:00 to 16:00"]);
    assert_eq!(sim.coverage().await, ["readable 10:00 to 12:00", "readable 20:00:13 to 20:00:58"]);
}

#[tokio::test]
async fn suspended_hours_do_not_count_as_unreadable() {
    let mut sim = Sim::usual().await;
    sim.until("12:01").await;
    sim.apple.respond(Response::status(503));
    sim.until("12:20").await;
    sim.sleep_until("20:00");
    sim.until("20:10").await;
    sim.show(&calm("09:00"));
    sim.until("21:00").await;
    assert_eq!(sim.received(), NOTHING);
}

/// The next poll follows the schedule for outages, whatever the clock shows.
#[track_caller]
fn check_still_polling(sim: &Sim) {
    let wait = sim.next_poll().duration_since(sim.now());
    assert!(wait <= SignedDuration::from_mins(1), "the next poll is {wait:#} away");
}

#[tokio::test]
async fn setting_the_clock_by_years_and_back_loses_and_invents_nothing() {
    let mut sim = sim_with_an_outage().await;
    sim.set_clock("+1100d 10:30");
    sim.until("+1100d 11:30").await;
    check_still_polling(&sim);
    sim.set_clock("11:30");
    sim.until("12:30").await;
    check_still_polling(&sim);
    sim.set_clock("-4000d 12:30");
    sim.until("-4000d 13:30").await;
    check_still_polling(&sim);
    assert_eq!(sim.received(), NOTHING);
    sim.set_clock("13:30");
    sim.show(&over());
    sim.until("15:00").await;
    assert_eq!(sim.received(), ["13:30:48 ended iCloud Backup Outage from 09:30 to 10:40"]);
}

#[tokio::test]
async fn setting_the_clock_by_years_withdraws_nothing_early() {
    let mut sim = sim_with_an_outage().await;
    sim.show(&calm("10:30"));
    sim.until("11:30:30").await;
    sim.set_clock("+1100d 11:30:30");
    sim.until("+1100d 12:30").await;
    assert_eq!(sim.received(), NOTHING, "missing for less than two hours");
    sim.until("+1100d 12:31").await;
    assert_eq!(sim.received(), ["+1100d 12:31 withdrawn iCloud Backup Outage from 09:30"]);
}

#[tokio::test]
async fn setting_the_clock_before_a_restart_withdraws_nothing_early() {
    let mut sim = sim_with_an_outage().await;
    sim.show(&calm("10:30"));
    sim.until("11:30:30").await;
    sim.set_clock("+1100d 11:30:30");
    sim.until("+1100d 11:40").await;
    sim.stop().await;
    sim.start().await;
    sim.until("+1100d 12:30").await;
    assert_eq!(sim.received(), NOTHING, "missing for less than two hours");
}

/// Beliefs in memory must not run ahead of the database.
#[tokio::test]
async fn setting_the_clock_while_the_disk_is_full_withdraws_nothing_early() {
    let mut sim = sim_with_an_outage().await;
    sim.show(&calm("10:30"));
    sim.until("11:30:30").await;
    let full = "CREATE TRIGGER full BEFORE INSERT ON outage
                BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END";
    sim.database().execute_batch(full).expect("a trigger");
    sim.set_clock("+1100d 11:30:30");
    sim.until("+1100d 11:34").await;
    sim.database().execute_batch("DROP TRIGGER full").expect("no trigger");
    sim.until("+1100d 11:40").await;
    sim.stop().await;
    sim.start().await;
    sim.until("+1100d 12:30").await;
    assert_eq!(sim.received(), NOTHING, "missing for less than two hours");
    sim.until("+1100d 12:32").await;
    assert_eq!(sim.received().len(), 1);
}

#[tokio::test]
async fn setting_the_clock_confirms_nothing_early() {
    let mut sim = Sim::usual().await;
    sim.until("10:01").await;
    sim.show(&down());
    sim.until("10:05").await;
    sim.set_clock("+1100d 10:05");
    sim.until("+1100d 10:05:10").await;
    assert_eq!(sim.polls().last().map(|(at, _)| clock_text(*at)), Some("+1100d 10:05:03".to_owned()));
    assert_eq!(sim.received(), NOTHING, "the two sights are three seconds apart");
    sim.until("+1100d 10:10").await;
    assert_eq!(sim.received().len(), 1);
}

#[tokio::test]
async fn a_delivery_due_in_the_far_future_is_sent() {
    let mut sim = Sim::new().await.program("ops", [Reply::status(500), Reply::status(200)]).await;
    sim.show(&calm("09:00"));
    sim.start().await;
    sim.until("10:01").await;
    sim.set_clock("+1100d 10:01");
    sim.show(&down());
    sim.until("+1100d 10:01:50").await;
    assert_eq!(sim.received(), ["+1100d 10:01:48 began iCloud Backup Outage from 09:30"], "refused");
    sim.set_clock("10:01:50");
    sim.until("10:05").await;
    assert_eq!(sim.received(), ["10:01:53 began iCloud Backup Outage from 09:30"]);
    assert_eq!(sim.store().totals().await.expect("totals").sent, 1);
}

#[tokio::test]
async fn setting_the_clock_by_years_abandons_no_delivery() {
    let script = [Reply::status(500), Reply::status(500), Reply::status(200)];
    let mut sim = Sim::new().await.program("ops", script).await;
    sim.show(&down());
    sim.start().await;
    sim.until("10:00:46").await;
    sim.set_clock("+1100d 10:00:46");
    sim.until("+1100d 10:10").await;
    let totals = sim.store().totals().await.expect("totals");
    assert_eq!((totals.sent, totals.given_up), (1, 0), "{:?}", sim.received());
}

#[tokio::test]
async fn months_without_statusd_abandon_no_delivery() {
    let script = [Reply::status(500), Reply::status(500), Reply::status(200)];
    let mut sim = Sim::new().await.program("ops", script).await;
    sim.show(&down());
    sim.start().await;
    sim.until("10:00:46").await;
    sim.crash();
    sim.off_until("+60d 10:00");
    sim.start().await;
    sim.until("+60d 10:10").await;
    let totals = sim.store().totals().await.expect("totals");
    assert_eq!((totals.sent, totals.given_up), (1, 0), "{:?}", sim.received());
}

#[tokio::test]
async fn setting_the_clock_by_years_adds_no_coverage() {
    let mut sim = Sim::usual().await;
    sim.until("10:31").await;
    sim.set_clock("+1100d 10:31");
    sim.until("+1100d 12:00").await;
    let coverage = sim.coverage().await;
    assert_eq!(coverage.len(), 2, "{coverage:?}");
    assert!(coverage[0].starts_with("readable 10:00 to 10:"), "{coverage:?}");
    assert!(coverage[1].starts_with("readable +1100d 10:31:03 to +1100d 11:"), "{coverage:?}");
}

// The database.

#[tokio::test]
async fn a_second_daemon_is_rejected() {
    let mut sim = Sim::usual().await;
    sim.until("10:10").await;
    let error = statusd::store::Store::open(&sim.directory(), sim.now()).err();
    assert!(matches!(error, Some(OpenError::Locked(_))), "{error:?}");
    sim.show(&down());
    sim.until("11:00").await;
    assert_eq!(sim.received().len(), 1, "the first one works on");
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_rejected_unchanged() {
    let mut sim = sim_with_an_outage().await;
    sim.stop().await;
    sim.database().pragma_update(None, "user_version", 99).expect("written");
    let path = sim.directory().join(DATABASE);
    let before = fs::read(&path).expect("a file");
    let error = sim.try_start().await.expect_err("refused");
    assert!(matches!(error, OpenError::Newer { found: 99, .. }), "{error}");
    assert_eq!(fs::read(&path).expect("a file"), before);
}

#[tokio::test]
async fn a_foreign_database_is_rejected_unchanged() {
    let mut sim = sim_with_ops().await;
    fs::create_dir_all(sim.directory()).expect("a directory");
    sim.database().execute_batch("CREATE TABLE photo (name TEXT)").expect("written");
    let path = sim.directory().join(DATABASE);
    let before = fs::read(&path).expect("a file");
    let error = sim.try_start().await.expect_err("refused");
    assert!(matches!(error, OpenError::Foreign(_)), "{error}");
    assert_eq!(fs::read(&path).expect("a file"), before);
}

/// Fills the pages with which these tables begin: all that is in them, as long as that is little.
fn overwrite(sim: &Sim, tables: &[&str]) -> Vec<u8> {
    let path = sim.directory().join(DATABASE);
    let database = sim.database();
    let mut bytes = fs::read(&path).expect("a file");
    for table in tables {
        let sql = "SELECT rootpage FROM sqlite_schema WHERE name = ?1";
        let page: u32 = database.query_row(sql, [table], |row| row.get(0)).expect("a table");
        let end = page as usize * 4_096;
        bytes[end - 4_096..end].fill(0xa5);
    }
    drop(database);
    fs::write(&path, &bytes).expect("written");
    bytes
}

/// The history says what a lost belief was. Without both, what goes on is told again; what is over never.
#[tokio::test]
async fn a_damaged_database_is_kept_and_past_outages_are_not_announced_again() {
    let again = "11:30:45 began iCloud Backup Outage from 09:30";
    for (tables, expected) in [
        (&["outage"][..], &["11:30 history_lost"][..]),
        (&["outage", "change"], &["11:30 history_lost", again]),
    ] {
        let mut sim = sim_with_an_outage().await;
        sim.stop().await;
        let bytes = overwrite(&sim, tables);
        sim.off_until("11:30");
        let long_over = at("-1d 12:00").as_second();
        sim.show(&down().event("1000", "Issue", "resolved", at("-1d 10:00").as_second(), Some(long_over)));
        sim.start().await;
        sim.until("12:00").await;
        sim.stop().await;
        sim.start().await;
        sim.until("14:00").await;
        assert_eq!(sim.received(), expected, "{tables:?}");
        let kept: Vec<_> = fs::read_dir(sim.directory())
            .expect("a directory")
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.to_string_lossy().contains("statusd.db.damaged-"))
            .collect();
        let [kept] = kept.as_slice() else { panic!("one damaged database: {kept:?}") };
        assert_eq!(fs::read(kept).expect("a file"), bytes);
    }
}

/// A simulation whose outage cannot be written from 10:05:45 on. A full disk can fail any statement of a
/// transaction; here a trigger fails the last one.
async fn sim_with_a_full_disk() -> Sim {
    let mut sim = Sim::usual().await;
    sim.until("10:01").await;
    let full = "CREATE TRIGGER full BEFORE INSERT ON delivery
                BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END";
    sim.database().execute_batch(full).expect("a trigger");
    sim.show(&down());
    sim.polls();
    sim.until("10:20").await;
    let looks = sim.polls();
    let troubled: Vec<&str> = looks.iter().filter_map(|(_, looked)| looked.trouble.as_deref()).collect();
    assert!(!troubled.is_empty() && troubled[0].ends_with("(SQLite error 1811)"), "{troubled:?}");
    assert_eq!(sim.history().await, ["noted Photos"], "all or nothing");
    assert_eq!(sim.received(), NOTHING);
    sim
}

#[tokio::test]
async fn changes_on_a_full_disk_are_announced_once_there_is_room() {
    let mut sim = sim_with_a_full_disk().await;
    sim.database().execute_batch("DROP TRIGGER full").expect("no trigger");
    sim.until("11:00").await;
    let heard = sim.received();
    assert!(heard.len() == 1 && heard[0].ends_with("began iCloud Backup Outage from 09:30"), "{heard:?}");
}

/// A partly written outage would be believed after a restart and never announced.
#[tokio::test]
async fn changes_on_a_full_disk_survive_a_crash() {
    let mut sim = sim_with_a_full_disk().await;
    sim.crash();
    sim.database().execute_batch("DROP TRIGGER full").expect("no trigger");
    sim.start().await;
    sim.until("11:00").await;
    assert_eq!(sim.received(), ["10:20:45 began iCloud Backup Outage from 09:30"]);
}

// Recordings.

/// Returns the changes that the recording replays to.
fn replayed(sim: &Sim) -> Vec<Change> {
    let mut replayed = Vec::new();
    let mut recording = Recording::open(sim.recording_files()).expect("a recording");
    let watch = Watchlist::new(&["iCloud Backup"]);
    let mut tell = |change: &Change| {
        replayed.push(change.clone());
        Ok(())
    };
    replay(&mut recording, Sim::feed(), &watch, &Sim::plan(), &mut tell).expect("a replay");
    replayed
}

/// Tells a story to a daemon with a recording of at most `keep_bytes`.
async fn recorded_story(keep_bytes: u64) -> Sim {
    let mut sim = sim_with_ops().await.recording(keep_bytes);
    sim.show(&calm("09:00"));
    sim.start().await;
    sim.until("11:03").await;
    sim.show(&backup("11:03", "Issue", "ongoing", "10:10", None));
    sim.until("11:31").await;
    sim.show(&backup("11:30", "Outage", "ongoing", "10:10", None));
    sim.until("12:10").await;
    sim.show(&calm("12:11"));
    sim.until("16:00").await;
    sim.show(&backup("16:01", "Outage", "ongoing", "10:10", None));
    sim.until("17:00").await;
    sim.show(&backup("17:01", "Outage", "resolved", "10:10", Some("16:50")));
    sim.until("20:00").await;
    assert_eq!(sim.received().len(), 5, "began, worsened, withdrawn, reopened, ended");
    sim
}

fn bytes(files: &[PathBuf]) -> Vec<u8> {
    files.iter().flat_map(|file| fs::read(file).expect("a recording")).collect()
}

#[tokio::test]
async fn a_recording_replays_to_the_announced_changes() {
    let sim = recorded_story(u64::MAX).await;
    let written = String::from_utf8(bytes(&sim.recording_files())).expect("a recording");
    // First observations and their confirmations, three absences and their results.
    assert_eq!(written.lines().count(), 1 + 2 + 2 + 4 + 2 + 2);
    assert_eq!(replayed(&sim), sim.changes().await);
}

#[tokio::test]
async fn a_rotated_recording_replays_like_one_that_was_not() {
    let (whole, rotated) = (recorded_story(u64::MAX).await, recorded_story(16_000).await);
    let files = rotated.recording_files();
    assert!(whole.recording_files().len() == 1 && files.len() > 3, "{files:?}");
    assert_eq!(bytes(&files), bytes(&whole.recording_files()), "as `cat` gives it");
    assert_eq!(replayed(&rotated), replayed(&whole));
}

/// Returns the next response of a hostile feed, and its maximum duration in seconds.
fn random_document(rng: &mut fastrand::Rng, now: Timestamp) -> (Response, i64) {
    let posted = clock_text(now);
    let old = clock_text(now - SignedDuration::from_hours(rng.i64(2..400)));
    let end = Some("10:40");
    let week = ("+8d 02:00", Some(if rng.bool() { "+8d 06:00" } else { "+8d 07:00" }));
    let (doc, most_s) = match rng.u32(0..16) {
        0..=2 => (calm(&posted), 12_000),
        3 => (backup(&posted, "Issue", "ongoing", "09:30", None), 5_000),
        4 => (backup(&posted, "Outage", "ongoing", "09:30", None), 5_000),
        5 => (backup(&posted, "Outage", "resolved", "09:30", end), 5_000),
        6 => (backup(&posted, "Maintenance", "upcoming", week.0, week.1), 5_000),
        7 => (backup(&posted, "Maintenance", "ongoing", "09:30", week.1), 5_000),
        // Stale copies, with and without a stamp.
        8 | 9 => (backup(&old, "Outage", "ongoing", "09:30", None), 90),
        10 => (calm(&old), 90),
        11 => (Doc::new().service("Photos").service("iCloud Backup"), 90),
        12 => (Doc::new().service("Photos").posted(&posted), 90_000),
        13 => return (Response::status(503), 9_000),
        14 => return (Response::html(), 9_000),
        _ => return (Response::status(304), 9_000),
    };
    let answer = Response::ok(doc.json());
    let answer = if rng.bool() { answer.etag(&format!("\"{}\"", rng.u64(..))) } else { answer };
    (answer, most_s)
}

/// Stops, kills or suspends statusd, or sets the clock, at random.
async fn random_event(rng: &mut fastrand::Rng, sim: &mut Sim) {
    match rng.u32(0..30) {
        0 => sim.stop().await,
        1 => sim.crash(),
        2 => {
            let time = clock_text(sim.now() + SignedDuration::from_secs(rng.i64(60..40_000)));
            return sim.sleep_until(&time);
        }
        3 => {
            let time = clock_text(sim.now() + SignedDuration::from_secs(rng.i64(-9_000..9_000)));
            return sim.set_clock(&time);
        }
        _ => return,
    }
    let time = clock_text(sim.now() + SignedDuration::from_secs(rng.i64(1..20_000)));
    sim.off_until(&time);
    sim.start().await;
}

/// Jitter, stale bursts, failures, false "not modified" responses, restarts, crashes, sleep and set clocks.
#[tokio::test]
async fn a_recording_of_a_hostile_feed_replays_to_what_the_daemon_announced() {
    let mut kinds = std::collections::BTreeSet::new();
    for seed in 0..6 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut sim = sim_with_ops().await.recording(1 << (seed + 16)).jitter(rng.u64(0..60));
        sim.show(&calm("09:00"));
        sim.start().await;
        for _ in 0..40 {
            let (answer, most_s) = random_document(&mut rng, sim.now());
            sim.apple.respond(answer);
            let until = sim.now() + SignedDuration::from_secs(rng.i64(1..most_s));
            sim.until(&clock_text(until)).await;
            random_event(&mut rng, &mut sim).await;
        }
        let told = sim.changes().await;
        kinds.extend(told.iter().map(|change| change.kind));
        let mut replayed = replayed(&sim);
        // A change that recurs after a restart is written once.
        let mut keys = std::collections::BTreeSet::new();
        replayed.retain(|change| keys.insert(change.key()));
        assert_eq!(replayed, told, "seed {seed}");
    }
    use ChangeKind::*;
    for kind in [Began, Ended, Reopened, Withdrawn, Planned, Moved, Started, Unreadable, Readable, Unlisted] {
        assert!(kinds.contains(&kind), "{kind:?} never came about");
    }
}

#[tokio::test]
async fn a_liveness_report_comes_when_due_and_counts_the_polls() {
    let mut sim = Sim::new().await.liveness("0 12 * * *").program("ops", [Reply::status(200)]).await;
    sim.show(&calm("09:00"));
    sim.start().await;
    // At 10:00, 10:05 … 10:30. Looks that were counted before a restart count.
    sim.until("10:31").await;
    sim.stop().await;
    sim.start().await;
    sim.until("11:59").await;
    sim.show(&down());
    sim.until("+1d 12:01").await;
    let heard: Vec<String> = sim
        .messages(0)
        .iter()
        .map(|heard| {
            let body: serde_json::Value = serde_json::from_slice(&heard.request().body).expect("JSON");
            format!("{} {}", heard.line(), body["apple_text"].as_str().expect("a text"))
        })
        .collect();
    assert_eq!(
        heard,
        [
            "12:00 liveness from 10:00 to 12:00 25",
            "12:00:45 began iCloud Backup Outage from 09:30 Users are experiencing a problem with this service.",
            "+1d 12:00 liveness iCloud Backup from 12:00 to +1d 12:00 1441",
        ]
    );
}
