//! Replays recordings of Apple's real feed through the real program and checks the announced changes with
//! an independent oracle.
//!
//! The texts of the replay are tested elsewhere. The first half needs recordings. The second half plants
//! faults in hand-written replays, so that an oracle that finds nothing fails.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::common::recordings::{read_recording, recordings};
use crate::oracle::{Fault, Verdict, slowed, verify};

/// Long enough for each stale copy to be polled and confirmed.
const SLOWED_TO_S: i64 = 7 * 60;

#[test]
#[ignore = "needs recordings of the real feed in $STATUSD_RECORDINGS"]
fn real_recordings_announce_nothing_false_and_announce_everything() {
    for path in recordings() {
        let recording = read_recording(&path);
        let slow = tempfile::Builder::new().suffix(".jsonl").tempfile().expect("a temporary file");
        let slow_recording = slowed(&recording, SLOWED_TO_S);
        fs::write(slow.path(), &slow_recording).expect("room for a temporary file");

        let name = path.display().to_string();
        assert_correct(&name, &recording, &path);
        assert_correct(&format!("{name}, slowed"), &slow_recording, slow.path());
    }
}

fn assert_correct(name: &str, recording: &str, path: &Path) {
    let replay = replay(path);
    assert!(replay == self::replay(path), "two replays of {name} differ");
    let verdict = verify(recording, &replay);
    report(name, &verdict);
    assert!(verdict.findings.is_empty(), "{} findings in {name}", verdict.findings.len());
}

fn replay(path: &Path) -> String {
    let empty_home = tempfile::tempdir().expect("a directory");
    let output = Command::new(env!("CARGO_BIN_EXE_statusd"))
        .args(["replay", "--json", "--watch", "*"])
        .arg(path)
        .env("HOME", empty_home.path())
        .env("XDG_CONFIG_HOME", empty_home.path())
        .env_remove("STATUSD_RECORDINGS")
        .output()
        .expect("the program runs");
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn report(name: &str, verdict: &Verdict) {
    println!("{name}: {} documents, {} of them stale", verdict.documents, verdict.stale);
    for (kind, count) in &verdict.announced {
        println!("  {kind:<13}{count:>5}");
    }
    for fault in [Fault::False, Fault::Missing, Fault::Repeated, Fault::Wrong, Fault::Late] {
        println!("  {:<13}{:>5}", format!("{fault:?}"), verdict.count(fault));
    }
    for finding in &verdict.findings {
        println!("  {:?}: {}", finding.fault, finding.words);
    }
    for words in &verdict.excused {
        println!("  too brief to be surely announced: {words}");
    }
}

/// An event of the hand-written feed: service, id, status, type, start, end; times as `HH:MM` of the
/// one day on which everything happens.
type Event<'a> = (&'a str, &'a str, &'a str, &'a str, &'a str, Option<&'a str>);

fn epoch_ms(clock: &str) -> i64 {
    format!("2021-03-01T{clock}:00Z").parse::<jiff::Timestamp>().expect("HH:MM").as_millisecond()
}

/// A line of a recording: shown from `at`, published at `stamp`, listing Mail and Photos.
fn line(at: &str, stamp: &str, events: &[Event]) -> String {
    let service = |name: &str| {
        let events: Vec<_> = events
            .iter()
            .filter(|event| event.0 == name)
            .map(|(_, id, status, kind, start, end)| {
                serde_json::json!({
                    "messageId": id, "eventStatus": status, "statusType": kind,
                    "epochStartDate": epoch_ms(start), "epochEndDate": end.map(epoch_ms),
                    "datePosted": format!("2021/03/01 {stamp} UTC"),
                })
            })
            .collect();
        serde_json::json!({"serviceName": name, "events": events})
    };
    let body = serde_json::json!({"services": [service("Mail"), service("Photos")]}).to_string();
    serde_json::json!({"at": format!("2021-03-01T{at}:00Z"), "body": body}).to_string() + "\n"
}

/// A day with a start, a stale copy, an end, an outage posted late, a change of kind, a withdrawal
/// and a reopening.
fn day() -> String {
    let old = ("Mail", "1", "resolved", "Issue", "00:01", Some("00:02"));
    let down = ("Mail", "2", "ongoing", "Issue", "03:10", None);
    let up = ("Mail", "2", "resolved", "Issue", "03:10", Some("04:50"));
    let late = ("Photos", "3", "resolved", "Outage", "04:00", Some("04:40"));
    let lost = ("Photos", "4", "ongoing", "Issue", "06:00", None);
    let worse = ("Photos", "4", "ongoing", "Outage", "06:00", None);
    let stale = ("Photos", "9", "ongoing", "Issue", "00:30", None);
    [
        line("03:00", "02:50", &[old]),
        line("04:00", "03:55", &[old, down]),
        line("04:20", "00:40", &[stale]),
        line("04:40", "03:55", &[old, down]),
        line("05:00", "04:55", &[up, late]),
        line("07:00", "06:55", &[up, late, lost]),
        line("07:30", "07:25", &[up, late, worse]),
        line("08:00", "07:55", &[up, late]),
        line("12:00", "11:55", &[("Mail", "2", "ongoing", "Issue", "03:10", None), late]),
        line("13:00", "12:55", &[("Mail", "2", "resolved", "Issue", "03:10", Some("12:40")), late]),
    ]
    .concat()
}

/// A line of a replay; the kind of trouble and the times are those of [`day`] unless replaced.
fn announced(
    at: &str,
    kind: &str,
    service: &str,
    id: &str,
    occurrence: u32,
    began: &str,
    ended: Option<&str>,
) -> String {
    let time = |clock: &str| format!("2021-03-01T{clock}:00Z");
    let outage_kind = if kind == "worsened" { "Outage" } else { "Issue" };
    serde_json::json!({
        "at": format!("2021-03-01T{at}Z"), "kind": kind, "service": service, "message_id": id,
        "occurrence": occurrence, "outage_kind": outage_kind, "began_at": time(began),
        "ended_at": ended.map(time), "key": format!("{service}/{id}/{occurrence}/{kind}"),
    })
    .to_string()
        + "\n"
}

/// The correct announcements of [`day`], in order.
fn correct_replay() -> Vec<String> {
    vec![
        announced("04:05:45", "began", "Mail", "2", 1, "03:10", None),
        announced("05:01:45", "ended", "Mail", "2", 1, "03:10", Some("04:50")),
        announced("05:01:45", "missed", "Photos", "3", 1, "04:00", Some("04:40")),
        announced("07:05:45", "began", "Photos", "4", 1, "06:00", None),
        announced("07:31:45", "worsened", "Photos", "4", 1, "06:00", None),
        announced("10:01:00", "withdrawn", "Photos", "4", 1, "06:00", None),
        announced("12:05:45", "reopened", "Mail", "2", 2, "03:10", None),
        announced("13:01:45", "ended", "Mail", "2", 2, "03:10", Some("12:40")),
    ]
}

/// Changes the correct replay and expects exactly these faults.
#[track_caller]
fn check(plant: impl FnOnce(&mut Vec<String>), expected: &[Fault]) {
    let mut replay = correct_replay();
    plant(&mut replay);
    let verdict = verify(&day(), &replay.concat());
    let found: Vec<Fault> = verdict.findings.iter().map(|finding| finding.fault).collect();
    assert_eq!(found, expected, "{:#?}", verdict.findings);
}

#[test]
fn accepts_a_correct_replay() {
    check(|_| {}, &[]);
    assert_eq!(verify(&day(), "").count(Fault::Missing), correct_replay().len());
}

#[test]
fn detects_a_begin_from_a_stale_copy() {
    check(|r| r.push(announced("04:25:45", "began", "Photos", "9", 1, "00:30", None)), &[Fault::False]);
    // A later announcement is as false.
    check(|r| r.push(announced("04:45:45", "began", "Photos", "9", 1, "00:30", None)), &[Fault::False]);
}

#[test]
fn detects_an_end_from_a_stale_copy() {
    let end = || announced("04:25:45", "ended", "Mail", "2", 1, "03:10", None);
    check(|r| r[1] = end(), &[Fault::False, Fault::Missing]);
}

#[test]
fn detects_missing_begins_and_ends() {
    check(|r| drop(r.remove(0)), &[Fault::Missing]);
    check(|r| drop(r.remove(1)), &[Fault::Missing]);
    check(|r| drop(r.remove(7)), &[Fault::Missing]);
}

#[test]
fn detects_an_unannounced_missed_outage() {
    check(|r| drop(r.remove(2)), &[Fault::Missing]);
}

#[test]
fn expects_no_announcement_of_outages_over_in_the_first_document() {
    let missed = announced("03:05:45", "missed", "Mail", "1", 1, "00:01", Some("00:02"));
    check(|r| r.push(missed), &[Fault::False]);
}

#[test]
fn detects_a_repeated_begin() {
    check(|r| r.push(r[0].clone()), &[Fault::Repeated]);
    check(|r| r.push(r[0].replace("2/1/began", "another key")), &[Fault::Repeated]);
}

#[test]
fn detects_an_end_without_evidence() {
    let end = || announced("08:05:45", "ended", "Photos", "4", 1, "06:00", None);
    check(|r| r[5] = end(), &[Fault::False, Fault::Missing]);
    let hasty = || announced("08:05:45", "withdrawn", "Photos", "4", 1, "06:00", None);
    check(|r| r[5] = hasty(), &[Fault::False, Fault::Missing]);
}

#[test]
fn detects_wrong_times_and_kinds() {
    check(|r| r[1] = r[1].replace("T04:50", "T04:51"), &[Fault::Wrong]);
    check(|r| r[3] = r[3].replace("T06:00", "T05:00"), &[Fault::Wrong]);
    check(|r| r[4] = r[4].replace(r#""outage_kind":"Outage""#, r#""outage_kind":"Issue""#), &[Fault::Wrong]);
}

#[test]
fn detects_a_reopening_announced_as_a_new_outage() {
    let began = || announced("12:05:45", "began", "Mail", "2", 2, "03:10", None);
    check(|r| r[6] = began(), &[Fault::False, Fault::Missing]);
    check(|r| r[4] = r[4].replace("worsened", "eased"), &[Fault::False, Fault::Missing]);
}

#[test]
fn detects_a_late_announcement() {
    check(|r| r[0] = r[0].replace("04:05:45", "04:50:00"), &[Fault::Late]);
}

#[test]
fn allows_both_for_a_brief_change() {
    let down = ("Mail", "2", "ongoing", "Issue", "03:10", None);
    let up = ("Mail", "2", "resolved", "Issue", "03:10", Some("03:41"));
    let recording =
        [line("03:00", "02:50", &[]), line("03:40", "03:39", &[down]), line("03:42", "03:41", &[up])];
    let recording = recording.concat();
    let seen = announced("03:41:00", "began", "Mail", "2", 1, "03:10", None)
        + &announced("03:45:45", "ended", "Mail", "2", 1, "03:10", Some("03:41"));
    let unseen = announced("03:45:45", "missed", "Mail", "2", 1, "03:10", Some("03:41"));
    for replay in [&seen, &unseen] {
        let verdict = verify(&recording, replay);
        assert!(verdict.findings.is_empty(), "{:?}", verdict.findings);
        assert_eq!(verdict.excused.len(), 1, "{:?}", verdict.excused);
    }
    assert_eq!(verify(&recording, "").count(Fault::Missing), 1);
    assert_eq!(verify(&recording, &(seen + &unseen)).count(Fault::False), 1);
}

#[test]
fn treats_an_unstamped_copy_between_stale_ones_as_stale() {
    let old = ("Photos", "9", "ongoing", "Issue", "00:30", None);
    let down = ("Mail", "2", "ongoing", "Issue", "03:10", None);
    let recording = [
        line("04:00", "03:55", &[down]),
        line("04:20", "00:40", &[old]),
        line("04:30", "", &[]),
        line("04:40", "00:40", &[old]),
        line("05:00", "04:55", &[("Mail", "2", "resolved", "Issue", "03:10", Some("04:50"))]),
        line("06:00", "", &[]),
    ];
    assert_eq!(verify(&recording.concat(), "").stale, 3);
}

#[test]
fn accepts_older_stamps_after_twelve_hours() {
    let old = ("Photos", "1", "resolved", "Issue", "00:01", Some("00:02"));
    let down = ("Mail", "2", "ongoing", "Issue", "00:20", None);
    let recording =
        [line("00:10", "23:00", &[old]), line("01:00", "00:30", &[down]), line("14:00", "13:50", &[down])]
            .concat();
    let began = |at| announced(at, "began", "Mail", "2", 1, "00:20", None);
    assert!(verify(&recording, &began("13:05:45")).findings.is_empty());
    assert_eq!(verify(&recording, &began("01:05:45")).count(Fault::False), 1);
}

/// Checks `replay` against a recording of Mail's event 2, and expects exactly these faults.
#[track_caller]
fn check_mail(recording: &[String], replay: &[String], expected: &[Fault]) {
    let verdict = verify(&recording.concat(), &replay.concat());
    let found: Vec<Fault> = verdict.findings.iter().map(|finding| finding.fault).collect();
    assert_eq!(found, expected, "{:#?}", verdict.findings);
}

#[test]
fn detects_a_begin_announced_during_a_stale_copy() {
    let old = ("Photos", "1", "resolved", "Issue", "00:01", Some("00:02"));
    let down = ("Mail", "2", "ongoing", "Issue", "03:10", None);
    let recording = [
        line("03:00", "02:50", &[old]),
        line("04:00", "03:55", &[down]),
        line("04:05", "02:50", &[old]),
        line("04:10", "03:55", &[down]),
    ];
    let began = |at| announced(at, "began", "Mail", "2", 1, "03:10", None);
    check_mail(&recording, &[began("04:15:45")], &[]);
    check_mail(&recording, &[began("04:05:45")], &[Fault::False, Fault::Missing]);
}

#[test]
fn expects_a_withdrawal_after_two_hours_of_absence() {
    let down = ("Mail", "2", "ongoing", "Issue", "00:20", None);
    let up = ("Mail", "2", "resolved", "Issue", "00:20", Some("09:00"));
    let recording = |back: &str| {
        [
            line("00:10", "00:01", &[]),
            line("01:00", "00:59", &[down]),
            line("02:00", "", &[]),
            line(back, back, &[down]),
        ]
    };
    let began = announced("01:05:45", "began", "Mail", "2", 1, "00:20", None);
    let withdrawn = |at| announced(at, "withdrawn", "Mail", "2", 1, "00:20", None);
    let reopened = announced("05:05:45", "reopened", "Mail", "2", 2, "00:20", None);

    check_mail(&recording("03:00"), std::slice::from_ref(&began), &[]);
    check_mail(&recording("03:00"), &[began.clone(), withdrawn("02:30:00")], &[Fault::False]);
    check_mail(&recording("05:00"), &[began.clone(), withdrawn("04:01:00"), reopened.clone()], &[]);
    let late = [began.clone(), withdrawn("05:05:45"), reopened];
    check_mail(&recording("05:00"), &late, &[Fault::False, Fault::Missing]);

    // Back as resolved after the withdrawal: the history is corrected without an announcement.
    let mut corrected = recording("05:00");
    corrected[3] = line("05:00", "04:59", &[up]);
    check_mail(&corrected, &[began.clone(), withdrawn("04:01:00")], &[]);
    let ended = announced("05:05:45", "ended", "Mail", "2", 1, "00:20", Some("09:00"));
    check_mail(&corrected, &[began, withdrawn("04:01:00"), ended], &[Fault::False]);
}

#[test]
fn detects_a_reused_key() {
    check(|r| r[3] = r[3].replace("Photos/4/1/began", "Mail/2/1/began"), &[Fault::Repeated, Fault::Missing]);
}
