//! The daemon and phones: messages about backups name the last backup, and late backups are reported
//! unless an outage is the cause.
//!
//! Runs in the simulation of `stories`, which passes given phones to the function of the real loop.
//! Times are those of `sim::at`, in UTC.

use crate::common::apple::Response;
use crate::common::doc::Doc;
use crate::common::http_server::Reply;
use crate::sim::{Received, Sim, at, backup, calm, clock_text, iphone, refusing};
use jiff::SignedDuration;
use ring::hmac;
use serde_json::Value;
use statusd::model::{ChangeKind, KnownPhone};
use statusd::phones::{AccessError, Phone, PrivateInfo, PublicInfo, Udid};

const NOTHING: [&str; 0] = [];

/// Starts statusd with these phones, no outage, and a webhook `ops` that accepts everything.
async fn started(sim: Sim, phones: Vec<Phone>) -> Sim {
    let mut sim = sim.program("ops", [Reply::status(200)]).await;
    sim.phones = phones;
    sim.show(&calm("09:00"));
    sim.start().await;
    sim
}

async fn sim_with(phones: Vec<Phone>) -> Sim {
    started(Sim::new().await.reading_phones(), phones).await
}

/// Reports backups that are three days late.
async fn sim_with_late_backup_reports(phones: Vec<Phone>) -> Sim {
    started(Sim::new().await.reporting_late_backups(3), phones).await
}

fn down(posted: &str, from: &str) -> Doc {
    backup(posted, "Outage", "ongoing", from, None)
}

fn over(posted: &str, from: &str, to: &str) -> Doc {
    backup(posted, "Outage", "resolved", from, Some(to))
}

fn with(phone: Phone, change: impl FnOnce(&mut PrivateInfo)) -> Phone {
    let mut private = phone.private.clone().expect("a readable phone");
    change(&mut private);
    Phone { private: Ok(private), ..phone }
}

fn json(message: &Received) -> Value {
    serde_json::from_slice(&message.request().body).expect("JSON")
}

/// Returns the new messages to `ops`: the time, the kind, and the sentences about phones.
fn new_lines(sim: &mut Sim) -> Vec<String> {
    let line = |message: &Received| {
        let change = json(message);
        let text = change["text"].as_str().expect("a text");
        let sentences = text.split_inclusive(". ").filter(|sentence| sentence.contains("iPhone"));
        let kind = change["kind"].as_str().expect("a kind");
        let line = format!("{} {kind}: {}", clock_text(message.at), sentences.collect::<String>());
        line.trim_end_matches([' ', ':']).to_owned()
    };
    sim.messages(0).iter().map(line).collect()
}

// During an outage.

#[tokio::test]
async fn outage_messages_say_when_the_last_backup_was() {
    let mut sim = sim_with(vec![iphone("01:00")]).await;
    sim.until("11:01").await;
    sim.show(&down("11:02", "10:30"));
    sim.until("11:59").await;
    sim.phones = vec![iphone("11:45")];
    sim.until("13:01").await;
    sim.show(&over("13:02", "10:30", "12:55"));
    sim.until("13:59").await;
    sim.show(&backup("14:00", "Outage", "ongoing", "12:58", None));
    sim.until("14:30").await;
    assert_eq!(
        new_lines(&mut sim),
        [
            "11:05:45 began: Your iPhone's last backup: 9 h 30 min before it began (01:00).",
            "13:02:45 ended: Your iPhone's last backup: while it lasted (11:45).",
            "14:00:45 reopened: Your iPhone's last backup: 1 h 13 min before it began (11:45)."
        ]
    );
}

#[tokio::test]
async fn missed_and_withdrawn_messages_say_when_the_last_backup_was() {
    let mut sim = sim_with(vec![iphone("10:58")]).await;
    sim.until("11:01").await;
    sim.show(&over("11:02", "10:10", "10:50"));
    sim.until("11:30").await;
    sim.show(&down("11:31", "11:10"));
    sim.until("12:00").await;
    sim.show(&calm("12:01"));
    sim.until("15:00").await;
    let lines = new_lines(&mut sim);
    let lines: Vec<&str> = lines.iter().map(|line| line.split_once(' ').expect("a time").1).collect();
    assert_eq!(
        lines,
        [
            "missed: Apple writes: “Users are experiencing a problem with this service.” Your iPhone's last \
             backup: 8 min after it ended (10:58).",
            "reopened: Your iPhone's last backup: 12 min before it began (10:58).",
            "withdrawn: Your iPhone's last backup: 12 min before it began (10:58)."
        ]
    );
}

#[tokio::test]
async fn payloads_contain_backup_times_but_no_name_or_udid() {
    let mut sim = sim_with(vec![iphone("01:00")]).await;
    sim.until("11:01").await;
    sim.show(&down("11:02", "10:30"));
    sim.until("12:00").await;
    let messages = sim.messages(0);
    let change = json(&messages[0]);
    assert_eq!(change["phone_backup_at"], at("01:00").to_string());
    assert_eq!(change["phone_read_at"], at("11:00").to_string());
    assert_eq!(change["phones"], 1);
    sim.stop().await;
    // Every file of the database, including the write-ahead log.
    for entry in std::fs::read_dir(sim.directory()).expect("a directory") {
        let bytes = std::fs::read(entry.expect("an entry").path()).expect("readable");
        let text = String::from_utf8_lossy(&bytes);
        for private in ["Anna", "00008101", "11223344001E"] {
            assert!(!text.contains(private), "{private}");
        }
    }
}

#[tokio::test]
async fn messages_omit_phones_if_reading_is_disabled() {
    let mut sim = sim_with(vec![iphone("01:00")]).await;
    sim.until("10:40").await;
    sim.stop().await;
    // The database still knows the phone.
    let mut sim = sim.not_reading_phones();
    sim.start().await;
    sim.until("11:01").await;
    sim.show(&down("11:02", "10:30"));
    sim.until("12:00").await;
    assert_eq!(sim.store().phones().await.expect("phones").len(), 1);
    assert_eq!(new_lines(&mut sim), ["11:05:45 began"]);
}

#[tokio::test]
async fn messages_about_other_services_omit_backups() {
    let sim = Sim::new().await.reading_phones().watching(&["Photos", "iCloud Backup"]);
    let mut sim = started(sim, vec![iphone("01:00")]).await;
    sim.until("11:01").await;
    let posted = at("11:02").strftime("%m/%d/%Y %H:%M UTC").to_string();
    let since = at("10:30").as_second();
    let photos = Doc::new().service("Photos").event("901", "Issue", "ongoing", since, None).posted(&posted);
    sim.show(&photos.service("iCloud Backup"));
    sim.until("12:00").await;
    assert_eq!(new_lines(&mut sim), ["11:05:45 began"]);
}

#[tokio::test]
async fn remembers_a_phone_across_a_restart_and_says_as_of_when() {
    let mut sim = sim_with(vec![iphone("01:00")]).await;
    sim.until("10:40").await;
    sim.crash();
    sim.phones.clear();
    sim.off_until("18:00");
    sim.start().await;
    sim.until("18:01").await;
    sim.show(&down("18:02", "17:30"));
    sim.until("19:00").await;
    let expected =
        "18:05:45 began: Your iPhone's last backup, as of 10:00: 16 h 30 min before it began (01:00).";
    assert_eq!(new_lines(&mut sim), [expected]);
}

#[tokio::test]
async fn messages_omit_a_phone_not_seen_for_weeks() {
    let mut sim = sim_with(vec![iphone("01:00")]).await;
    sim.until("10:10").await;
    sim.stop().await;
    sim.phones.clear();
    sim.off_until("+14d 12:00");
    sim.show(&calm("+14d 11:00"));
    sim.start().await;
    sim.until("+14d 12:30").await;
    sim.show(&down("+14d 12:31", "+14d 12:05"));
    sim.until("+14d 13:00").await;
    assert_eq!(new_lines(&mut sim), ["+14d 12:35:45 began"]);
}

#[tokio::test]
async fn retries_keep_the_text_if_the_phone_backs_up_meanwhile() {
    let mut sim = sim_with(vec![iphone("01:00")]).await;
    sim.answers(0, Reply::status(503));
    sim.until("11:01").await;
    sim.show(&down("11:02", "10:30"));
    sim.until("11:20").await;
    sim.phones = vec![iphone("11:25")];
    sim.until("13:00").await;
    let known = sim.store().phones().await.expect("phones");
    assert_eq!(known[0].last_backup, Some(at("11:25")), "the new backup is stored");
    sim.answers(0, Reply::status(200));
    sim.until("14:00").await;
    let messages = sim.messages(0);
    assert!(messages.len() > 5 && clock_text(messages.last().expect("a message").at).as_str() > "13:00");
    assert!(messages.iter().all(|message| message.request() == messages[0].request()), "the same bytes");
    let text = json(&messages[0])["text"].as_str().expect("a text").to_owned();
    assert!(text.ends_with("Your iPhone's last backup: 9 h 30 min before it began (01:00)."), "{text}");
}

#[tokio::test]
async fn the_recorded_change_determines_the_backup_time() {
    // The phone backs up before the first attempt: the recorded change counts, not the newer value.
    let mut sim = sim_with(vec![iphone("01:00")]).await;
    sim.until("11:01").await;
    sim.show(&down("11:02", "10:30"));
    sim.until_poll("11:05:45").await;
    sim.crash();
    sim.phones = vec![iphone("11:06")];
    sim.start().await;
    sim.until("11:06").await;
    assert_eq!(
        new_lines(&mut sim),
        ["11:05:45 began: Your iPhone's last backup: 9 h 30 min before it began (01:00)."]
    );
}

#[tokio::test]
async fn reports_the_oldest_backup_of_two_phones() {
    let other = Phone { udid: Udid::new("00008120-001C22334455002E"), ..iphone("-1d 23:15") };
    let mut sim = sim_with(vec![iphone("01:00"), other]).await;
    sim.until("11:01").await;
    sim.show(&down("11:02", "10:30"));
    sim.until("12:00").await;
    assert_eq!(
        new_lines(&mut sim),
        [
            "11:05:45 began: The oldest of your 2 iPhones' last backups: 11 h 15 min before it began (Sun 1 Mar 23:15)."
        ]
    );
}

#[tokio::test]
async fn messages_omit_missing_or_implausible_backup_times() {
    let ipad = PublicInfo { class: Some("iPad".to_owned()), ..PublicInfo::default() };
    let refusals = [
        AccessError::NotPaired,
        AccessError::NoLongerTrusted,
        AccessError::Locked,
        AccessError::TrustDialogOpen,
        AccessError::TrustDenied,
        AccessError::TimedOut { after: std::time::Duration::from_secs(5) },
        AccessError::Other("?".to_owned()),
    ];
    let silent = refusals.map(refusing).into_iter().chain([
        Phone { public: ipad, ..iphone("01:00") },
        Phone { private: Ok(PrivateInfo::default()), ..iphone("01:00") },
        with(iphone("01:00"), |private| private.last_backup = None),
        with(iphone("01:00"), |private| private.last_backup = "2001-01-01T00:00:00Z".parse().ok()),
        with(iphone("01:00"), |private| private.last_backup = "2038-01-19T03:14:08Z".parse().ok()),
        with(iphone("01:00"), |private| private.backup_enabled = Some(false)),
    ]);
    for phone in silent {
        let shown = format!("{phone:?}");
        let mut sim = sim_with(vec![phone]).await;
        sim.until("11:01").await;
        sim.show(&down("11:02", "10:30"));
        sim.until("12:00").await;
        assert_eq!(new_lines(&mut sim), ["11:05:45 began"], "{shown}");
    }
}

#[tokio::test]
async fn an_interrupted_read_keeps_known_values() {
    let mut sim = sim_with(vec![iphone("01:00")]).await;
    sim.until("10:40").await;
    sim.phones = vec![Phone { private: Ok(PrivateInfo::default()), ..iphone("01:00") }];
    sim.until("11:01").await;
    sim.show(&down("11:02", "10:30"));
    sim.until("12:00").await;
    assert_eq!(
        new_lines(&mut sim),
        ["11:05:45 began: Your iPhone's last backup: 9 h 30 min before it began (01:00)."]
    );
}

#[tokio::test]
async fn an_unchanged_read_is_written_once_an_hour() {
    let mut sim = sim_with(vec![iphone("01:00")]).await;
    let mut times = Vec::new();
    for time in ["10:00", "10:30", "11:00", "11:30", "12:00"] {
        sim.until(time).await;
        times.push(clock_text(sim.store().phones().await.expect("phones")[0].seen_at));
    }
    assert_eq!(times, ["10:00", "10:00", "11:00", "11:00", "12:00"]);
    sim.phones = vec![iphone("12:10")];
    sim.until("12:30").await;
    let known = sim.store().phones().await.expect("phones");
    assert_eq!((known[0].seen_at, known[0].last_backup), (at("12:30"), Some(at("12:10"))));
}

#[tokio::test]
async fn remembers_the_newest_hundred_phones() {
    let sim = sim_with(Vec::new()).await;
    let store = sim.store();
    let phone = |number: i64| KnownPhone {
        id: format!("{number:016x}"),
        model: None,
        seen_at: at("10:00") + SignedDuration::from_mins(number),
        last_backup: None,
        backup_enabled: None,
        off_since: None,
        judged_at: at("10:00"),
    };
    let phones: Vec<KnownPhone> = (0..120).map(phone).collect();
    store.remember(&phones, &[], &|_| Vec::new(), at("12:00")).await.expect("written");
    let mut expected: Vec<KnownPhone> = phones[20..].to_vec();
    expected.reverse();
    assert_eq!(store.phones().await.expect("phones"), expected);
}

// Late backups.

#[tokio::test]
async fn reports_a_late_backup_once_and_again_after_three_days() {
    let mut sim = sim_with_late_backup_reports(vec![iphone("-3d 01:00")]).await;
    sim.until("+2d 23:00").await;
    let once = ["19:00 backup_late: No backup for 3 days: your iPhone."];
    assert_eq!(new_lines(&mut sim), once, "not before 19:00, and only once");
    sim.until("+4d 12:00").await;
    assert_eq!(new_lines(&mut sim), ["+3d 19:00 backup_late: No backup for 6 days: your iPhone."]);
    // A backup ends the lateness. The next one is reported again.
    sim.phones = vec![iphone("+4d 13:00")];
    sim.until("+7d 18:00").await;
    assert_eq!(new_lines(&mut sim), NOTHING);
    sim.until("+8d 12:00").await;
    assert_eq!(new_lines(&mut sim), ["+7d 19:00 backup_late: No backup for 3 days: your iPhone."]);
    assert_eq!(sim.history().await, ["noted Photos", "backup_late ", "backup_late ", "backup_late "]);
}

#[tokio::test]
async fn a_late_backup_report_names_the_last_backup_but_no_udid() {
    let mut sim = sim_with_late_backup_reports(vec![iphone("-3d 01:00")]).await;
    sim.until("20:00").await;
    let messages = sim.messages(0);
    let [late] = messages.as_slice() else { panic!("{} messages", messages.len()) };
    let change = json(late);
    let text = "No backup for 3 days: your iPhone. Last backup: Fri 27 Feb 01:00. Apple reports no outage.";
    assert_eq!(change["text"], text);
    assert_eq!(change["began_at"], at("-3d 01:00").to_string());
    let key = late.request().header("idempotency-key").expect("a key");
    let tail = key.strip_prefix("consumer/en_US/-/phone-").expect("a phone id").split_at(8).1;
    assert_eq!(tail, "/2026-02-27T01:00:00Z/backup_late");
    assert!(!key.contains("00008101"), "the UDID does not leave this computer: {key}");
}

#[tokio::test]
async fn a_restart_does_not_repeat_a_late_backup_report() {
    let mut sim = sim_with_late_backup_reports(vec![iphone("-3d 01:00")]).await;
    sim.until("19:00").await;
    for time in ["19:10", "19:50", "20:10"] {
        sim.until(time).await;
        sim.crash();
        sim.start().await;
    }
    // Also if the time of the last check is lost, because the key is the same.
    sim.database().execute("UPDATE phone SET judged_at = '2026-03-01T00:00:00Z'", []).expect("written");
    sim.until("23:00").await;
    assert_eq!(new_lines(&mut sim).len(), 1);
    assert_eq!(sim.history().await, ["noted Photos", "backup_late "]);
}

#[tokio::test]
async fn no_late_backup_report_during_an_outage_or_the_day_after() {
    let mut sim = sim_with_late_backup_reports(vec![iphone("-3d 01:00")]).await;
    sim.until("11:01").await;
    sim.show(&down("11:02", "10:30"));
    sim.until("+1d 20:01").await;
    sim.show(&over("+1d 20:02", "10:30", "+1d 19:30"));
    sim.until("+2d 20:00").await;
    let starts = ["11:05:45 began", "+1d 20:02:45 ended"];
    let lines = new_lines(&mut sim);
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(lines.iter().zip(starts).all(|(line, start)| line.starts_with(start)), "{lines:#?}");
    sim.until("+3d 20:00").await;
    assert_eq!(new_lines(&mut sim), ["+3d 19:00 backup_late: No backup for 6 days: your iPhone."]);
}

#[tokio::test]
async fn no_late_backup_report_while_the_feed_is_unreadable() {
    let mut sim = sim_with_late_backup_reports(vec![iphone("-3d 01:00")]).await;
    sim.until("18:40").await;
    sim.apple.respond(Response::status(503));
    sim.until("21:10").await;
    assert_eq!(new_lines(&mut sim), ["19:47:30 unreadable"]);
    sim.show(&calm("09:00"));
    sim.until("23:00").await;
    let lines = new_lines(&mut sim);
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(lines[0].contains(" readable"), "{lines:#?}");
    assert_eq!(
        lines[1], "21:30 backup_late: No backup for 3 days: your iPhone.",
        "once the feed is readable"
    );
}

#[tokio::test]
async fn no_late_backup_report_for_an_absent_phone() {
    let mut sim = sim_with_late_backup_reports(vec![iphone("-3d 01:00")]).await;
    sim.until("18:40").await;
    sim.phones.clear();
    sim.until("+1d 21:40").await;
    sim.phones = vec![refusing(AccessError::Locked)];
    sim.until("+1d 22:40").await;
    assert_eq!(new_lines(&mut sim), NOTHING);
    // The phone was backed up while it was absent.
    sim.phones = vec![iphone("+1d 03:00")];
    sim.until("+2d 23:00").await;
    assert_eq!(new_lines(&mut sim), NOTHING);
}

#[tokio::test]
async fn no_late_backup_report_for_the_absent_one_of_two_phones() {
    let other = Phone { udid: Udid::new("00008120-001C22334455002E"), ..iphone("-3d 01:00") };
    let mut sim = sim_with_late_backup_reports(vec![iphone("01:00"), other.clone()]).await;
    sim.until("18:40").await;
    sim.phones = vec![iphone("01:00")];
    sim.until("20:40").await;
    assert_eq!(new_lines(&mut sim), NOTHING);
    sim.phones.push(other);
    sim.until("21:40").await;
    assert_eq!(new_lines(&mut sim), ["21:00 backup_late: No backup for 3 days: your iPhone."]);
}

#[tokio::test]
async fn checks_a_phone_that_returns_after_the_usual_time() {
    let mut sim = sim_with_late_backup_reports(vec![iphone("-3d 01:00")]).await;
    sim.until("18:40").await;
    sim.phones.clear();
    sim.until("22:40").await;
    sim.phones = vec![iphone("-3d 01:00")];
    sim.until("23:40").await;
    assert_eq!(new_lines(&mut sim), ["23:00 backup_late: No backup for 3 days: your iPhone."]);
}

#[tokio::test]
async fn a_late_backup_report_needs_two_reads() {
    let mut sim = sim_with_late_backup_reports(Vec::new()).await;
    // The first read is shortly before a check, and its value is wrong.
    sim.until("19:10").await;
    sim.phones = vec![iphone("-90d 01:00")];
    sim.until("19:40").await;
    sim.phones = vec![iphone("01:00")];
    sim.until("+1d 18:40").await;
    sim.phones = vec![iphone("-90d 01:00")];
    sim.until("+1d 19:10").await;
    sim.phones = vec![iphone("+1d 01:00")];
    sim.until("+2d 18:00").await;
    assert_eq!(new_lines(&mut sim), NOTHING);
}

#[tokio::test]
async fn reports_disabled_backups_once() {
    let off = |last: &str| with(iphone(last), |private| private.backup_enabled = Some(false));
    let mut sim = sim_with_late_backup_reports(vec![off("-90d 01:00")]).await;
    sim.until("+4d 23:00").await;
    let once = ["19:00 backup_off: Backups off: your iPhone. iCloud Backup is switched off on your iPhone."];
    assert_eq!(new_lines(&mut sim), once, "not reported as late too");
    // Enabled, backed up, and disabled again.
    sim.phones = vec![iphone("+5d 01:00")];
    sim.until("+5d 12:00").await;
    sim.phones = vec![off("+5d 01:00")];
    sim.until("+8d 23:00").await;
    assert_eq!(
        new_lines(&mut sim),
        ["+5d 19:00 backup_off: Backups off: your iPhone. iCloud Backup is switched off on your iPhone."]
    );
    // Enabled for a day without a backup, and disabled again.
    sim.phones = vec![iphone("+5d 01:00")];
    sim.until("+9d 12:00").await;
    sim.phones = vec![off("+5d 01:00")];
    sim.until("+12d 23:00").await;
    assert_eq!(
        new_lines(&mut sim),
        ["+9d 19:00 backup_off: Backups off: your iPhone. iCloud Backup is switched off on your iPhone."]
    );
}

#[tokio::test]
async fn reports_two_phones_of_one_model_separately() {
    let other = Phone { udid: Udid::new("00008101-000A11223344009F"), ..iphone("-3d 01:00") };
    let mut sim = sim_with_late_backup_reports(vec![iphone("-3d 01:00"), other]).await;
    sim.until("19:30").await;
    assert_eq!(sim.received().len(), 2);
    let off = |phone: &Phone| with(phone.clone(), |private| private.backup_enabled = Some(false));
    sim.phones = sim.phones.iter().map(off).collect();
    sim.until("+1d 19:30").await;
    assert_eq!(sim.received().len(), 2);
}

#[tokio::test]
async fn late_backup_reports_follow_the_channel_policy() {
    for (policy, expected) in [("only = ['phone']", 1), ("only = ['began']", 0), ("services = ['Photos']", 1)]
    {
        let sim = Sim::new().await.reporting_late_backups(3).program("ops", [Reply::status(200)]).await;
        let mut sim = sim.with_policy(policy);
        sim.phones = vec![iphone("-3d 01:00")];
        sim.show(&calm("09:00"));
        sim.start().await;
        sim.until("20:00").await;
        assert_eq!(sim.received().len(), expected, "{policy}");
    }
}

#[tokio::test]
async fn no_late_backup_report_without_a_threshold() {
    let mut sim = sim_with(vec![iphone("-90d 01:00")]).await;
    sim.until("+3d 23:00").await;
    assert_eq!(new_lines(&mut sim), NOTHING);
}

/// An earlier version stored the UDID as usbmuxd listed it, without the hyphen.
#[tokio::test]
async fn merges_rows_of_a_udid_without_its_hyphen() {
    let mut sim = sim_with(vec![iphone("01:00")]).await;
    sim.until("10:00").await;
    let read = |sim: &Sim, sql: &str| -> String {
        sim.database().query_row(sql, [], |row| row.get(0)).expect("a row")
    };
    let seed: u64 = read(&sim, "SELECT value FROM meta WHERE name = 'seed'").parse().expect("a number");
    let key = hmac::Key::new(hmac::HMAC_SHA256, &seed.to_be_bytes());
    let tag = hmac::sign(&key, b"00008101000A11223344001E");
    let old_id: String = tag.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let id = read(&sim, "SELECT id FROM phone");
    let other_row = "INSERT INTO phone SELECT ?1, model, '2026-03-01T00:00:00Z', last_backup_at,
                     backup_enabled, judged_at, off_since FROM phone";
    // As the only row, and beside the current row of the phone.
    for sql in ["UPDATE phone SET id = ?1", other_row] {
        sim.database().execute(sql, [&old_id]).expect("written");
        let next = if sql == other_row { "12:10" } else { "11:10" };
        sim.until(next).await;
        assert_eq!(read(&sim, "SELECT group_concat(id) FROM phone"), id, "{sql}");
    }
}

// Migration.

#[tokio::test]
async fn migrates_schema_2_and_keeps_its_data() {
    let mut sim = Sim::new().await.reading_phones().program("ops", [Reply::status(200)]).await;
    std::fs::create_dir_all(sim.directory()).expect("a directory");
    let schemas =
        [include_str!("../../src/store/schema/1.sql"), include_str!("../../src/store/schema/2.sql")];
    let rows = include_str!("sim/schema-2-rows.sql");
    let database = sim.database();
    database.execute_batch(&schemas.concat()).expect("a schema");
    database.execute_batch(rows).expect("rows");
    drop(database);
    sim.phones = vec![iphone("01:00")];
    sim.show(&down("09:00", "08:30"));
    sim.start().await;
    sim.until("10:30").await;
    let messages = sim.messages(0);
    let [only] = messages.as_slice() else { panic!("one message: {}", messages.len()) };
    assert_eq!(only.request().body, br#"{"kind":"began","as":"it was"}"#, "the notice in flight is resumed");
    let read = |sql: &str| -> String { sim.database().query_row(sql, [], |row| row.get(0)).expect("a row") };
    assert_eq!(read("SELECT CAST(user_version AS TEXT) FROM pragma_user_version"), "6");
    assert_eq!(read("SELECT group_concat(state) FROM delivery"), "sent");
    assert_eq!(read("SELECT value FROM meta WHERE name = 'seed'"), "7");
    assert_eq!(read("SELECT at FROM ack"), "2026-03-02T09:30:00Z");
    let changes = sim.changes().await;
    assert_eq!((changes[0].kind, changes[0].phone), (ChangeKind::Began, None));
    sim.show(&over("10:31", "08:30", "10:20"));
    sim.until("11:00").await;
    let expected = "10:31:45 ended: Your iPhone's last backup: 7 h 30 min before it began (01:00).";
    assert_eq!(new_lines(&mut sim), [expected]);
}
