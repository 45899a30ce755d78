//! Replays recordings of Apple's real feed through the real program and checks the announced changes with
//! an independent oracle.
//!
//! The texts of the replay are tested elsewhere. The first half needs recordings. The second half plants
//! faults in hand-written replays, so that an oracle that finds nothing fails.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::oracle::{Fault, Verdict, judge, slowed};

/// Long enough for each stale copy to be polled and confirmed.
const SLOWED_TO_S: i64 = 7 * 60;

#[test]
#[ignore = "needs recordings of the real feed in ../shared/data or $STATUSD_RECORDINGS"]
fn real_recordings_tell_nothing_false_and_leave_nothing_untold() {
    let recordings = recordings();
    assert!(!recordings.is_empty(), "no recording found: set STATUSD_RECORDINGS to a folder that has some");
    for path in recordings {
        let recording = read(&path);
        let slow = tempfile::Builder::new().suffix(".jsonl").tempfile().expect("a temporary file");
        let slow_recording = slowed(&recording, SLOWED_TO_S);
        fs::write(slow.path(), &slow_recording).expect("room for a temporary file");

        let name = path.display().to_string();
        assert_nothing_false_or_untold(&name, &recording, &path);
        assert_nothing_false_or_untold(&format!("{name}, slowed"), &slow_recording, slow.path());
    }
}

fn assert_nothing_false_or_untold(name: &str, recording: &str, path: &Path) {
    let replay = replay(path);
    assert!(replay == self::replay(path), "two replays of {name} differ");
    let verdict = judge(recording, &replay);
    report(name, &verdict);
    assert!(verdict.findings.is_empty(), "{} findings in {name}", verdict.findings.len());
}

fn recordings() -> Vec<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let folders = [Some(beside), std::env::var_os("STATUSD_RECORDINGS").map(PathBuf::from)];
    let mut paths: Vec<PathBuf> = folders
        .into_iter()
        .flatten()
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flatten()
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| {
            let name = path.to_string_lossy();
            [".jsonl", ".jsonl.gz", ".jsonl.zst"].iter().any(|end| name.ends_with(end))
        })
        .collect();
    paths.sort();
    paths
}

fn read(path: &Path) -> String {
    let bytes = fs::read(path).expect("a readable recording");
    let mut text = String::new();
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("zst") => ruzstd::decoding::StreamingDecoder::new(&bytes[..])
            .expect("zstd")
            .read_to_string(&mut text)
            .expect("UTF-8 in zstd"),
        Some("gz") => {
            flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_string(&mut text).expect("UTF-8 in gzip")
        }
        _ => return String::from_utf8(bytes).expect("UTF-8"),
    };
    text
}

fn replay(path: &Path) -> String {
    let nobody = tempfile::tempdir().expect("a folder without anybody's configuration");
    let output = Command::new(env!("CARGO_BIN_EXE_statusd"))
        .args(["replay", "--json", "--watch", "*"])
        .arg(path)
        .env("HOME", nobody.path())
        .env("XDG_CONFIG_HOME", nobody.path())
        .env_remove("STATUSD_RECORDINGS")
        .output()
        .expect("the program runs");
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn report(name: &str, verdict: &Verdict) {
    println!("{name}: {} documents, {} of them stale", verdict.documents, verdict.stale);
    for (kind, count) in &verdict.told {
        println!("  {kind:<13}{count:>5}");
    }
    for fault in [Fault::False, Fault::Untold, Fault::Doubled, Fault::Wrong, Fault::Late] {
        println!("  {:<13}{:>5}", format!("{fault:?}"), verdict.count(fault));
    }
    for finding in &verdict.findings {
        println!("  {:?}: {}", finding.fault, finding.words);
    }
    for words in &verdict.excused {
        println!("  too brief to be surely told: {words}");
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
fn told(
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

/// What people should hear of [`day`], in order.
fn rightly_told() -> Vec<String> {
    vec![
        told("04:05:45", "began", "Mail", "2", 1, "03:10", None),
        told("05:01:45", "ended", "Mail", "2", 1, "03:10", Some("04:50")),
        told("05:01:45", "missed", "Photos", "3", 1, "04:00", Some("04:40")),
        told("07:05:45", "began", "Photos", "4", 1, "06:00", None),
        told("07:31:45", "worsened", "Photos", "4", 1, "06:00", None),
        told("10:01:00", "withdrawn", "Photos", "4", 1, "06:00", None),
        told("12:05:45", "reopened", "Mail", "2", 2, "03:10", None),
        told("13:01:45", "ended", "Mail", "2", 2, "03:10", Some("12:40")),
    ]
}

/// Changes the correct replay and expects exactly these faults.
#[track_caller]
fn check(plant: impl FnOnce(&mut Vec<String>), expected: &[Fault]) {
    let mut replay = rightly_told();
    plant(&mut replay);
    let verdict = judge(&day(), &replay.concat());
    let found: Vec<Fault> = verdict.findings.iter().map(|finding| finding.fault).collect();
    assert_eq!(found, expected, "{:#?}", verdict.findings);
}

#[test]
fn a_right_replay_passes() {
    check(|_| {}, &[]);
    assert_eq!(judge(&day(), "").count(Fault::Untold), rightly_told().len());
}

#[test]
fn a_start_from_a_stale_copy_is_false() {
    check(|r| r.push(told("04:25:45", "began", "Photos", "9", 1, "00:30", None)), &[Fault::False]);
    // Told later it is no truer.
    check(|r| r.push(told("04:45:45", "began", "Photos", "9", 1, "00:30", None)), &[Fault::False]);
}

#[test]
fn an_end_from_a_stale_copy_is_false() {
    let end = || told("04:25:45", "ended", "Mail", "2", 1, "03:10", None);
    check(|r| r[1] = end(), &[Fault::False, Fault::Untold]);
}

#[test]
fn a_dropped_start_and_a_dropped_end_are_untold() {
    check(|r| drop(r.remove(0)), &[Fault::Untold]);
    check(|r| drop(r.remove(1)), &[Fault::Untold]);
    check(|r| drop(r.remove(7)), &[Fault::Untold]);
}

#[test]
fn a_missed_outage_untold_is_noticed() {
    check(|r| drop(r.remove(2)), &[Fault::Untold]);
}

#[test]
fn what_is_over_in_the_first_document_is_told_nobody() {
    let missed = told("03:05:45", "missed", "Mail", "1", 1, "00:01", Some("00:02"));
    check(|r| r.push(missed), &[Fault::False]);
}

#[test]
fn a_start_told_twice_is_doubled() {
    check(|r| r.push(r[0].clone()), &[Fault::Doubled]);
    check(|r| r.push(r[0].replace("2/1/began", "another key")), &[Fault::Doubled]);
}

#[test]
fn an_end_from_silence_is_false() {
    let end = || told("08:05:45", "ended", "Photos", "4", 1, "06:00", None);
    check(|r| r[5] = end(), &[Fault::False, Fault::Untold]);
    let hasty = || told("08:05:45", "withdrawn", "Photos", "4", 1, "06:00", None);
    check(|r| r[5] = hasty(), &[Fault::False, Fault::Untold]);
}

#[test]
fn wrong_times_and_kinds_are_noticed() {
    check(|r| r[1] = r[1].replace("T04:50", "T04:51"), &[Fault::Wrong]);
    check(|r| r[3] = r[3].replace("T06:00", "T05:00"), &[Fault::Wrong]);
    check(|r| r[4] = r[4].replace(r#""outage_kind":"Outage""#, r#""outage_kind":"Issue""#), &[Fault::Wrong]);
}

#[test]
fn a_reopening_told_as_another_outage_is_noticed() {
    let began = || told("12:05:45", "began", "Mail", "2", 2, "03:10", None);
    check(|r| r[6] = began(), &[Fault::False, Fault::Untold]);
    check(|r| r[4] = r[4].replace("worsened", "eased"), &[Fault::False, Fault::Untold]);
}

#[test]
fn a_late_notice_is_noticed() {
    check(|r| r[0] = r[0].replace("04:05:45", "04:50:00"), &[Fault::Late]);
}

#[test]
fn a_change_too_brief_to_be_surely_seen_may_be_told_or_not() {
    let down = ("Mail", "2", "ongoing", "Issue", "03:10", None);
    let up = ("Mail", "2", "resolved", "Issue", "03:10", Some("03:41"));
    let recording =
        [line("03:00", "02:50", &[]), line("03:40", "03:39", &[down]), line("03:42", "03:41", &[up])];
    let recording = recording.concat();
    let seen = told("03:41:00", "began", "Mail", "2", 1, "03:10", None)
        + &told("03:45:45", "ended", "Mail", "2", 1, "03:10", Some("03:41"));
    let unseen = told("03:45:45", "missed", "Mail", "2", 1, "03:10", Some("03:41"));
    for replay in [&seen, &unseen] {
        let verdict = judge(&recording, replay);
        assert!(verdict.findings.is_empty(), "{:?}", verdict.findings);
        assert_eq!(verdict.excused.len(), 1, "{:?}", verdict.excused);
    }
    assert_eq!(judge(&recording, "").count(Fault::Untold), 1);
    assert_eq!(judge(&recording, &(seen + &unseen)).count(Fault::False), 1);
}

#[test]
fn an_old_copy_without_a_stamp_between_stale_ones_is_stale_too() {
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
    assert_eq!(judge(&recording.concat(), "").stale, 3);
}

#[test]
fn twelve_hours_of_older_stamps_are_a_clock_set_back() {
    let old = ("Photos", "1", "resolved", "Issue", "00:01", Some("00:02"));
    let down = ("Mail", "2", "ongoing", "Issue", "00:20", None);
    let recording =
        [line("00:10", "23:00", &[old]), line("01:00", "00:30", &[down]), line("14:00", "13:50", &[down])]
            .concat();
    let began = |at| told(at, "began", "Mail", "2", 1, "00:20", None);
    assert!(judge(&recording, &began("13:05:45")).findings.is_empty());
    assert_eq!(judge(&recording, &began("01:05:45")).count(Fault::False), 1);
}

/// Checks `replay` against a recording of Mail's event 2, and expects exactly these faults.
#[track_caller]
fn check_mail(recording: &[String], replay: &[String], expected: &[Fault]) {
    let verdict = judge(&recording.concat(), &replay.concat());
    let found: Vec<Fault> = verdict.findings.iter().map(|finding| finding.fault).collect();
    assert_eq!(found, expected, "{:#?}", verdict.findings);
}

#[test]
fn a_true_start_told_while_a_stale_copy_is_shown_is_false() {
    let old = ("Photos", "1", "resolved", "Issue", "00:01", Some("00:02"));
    let down = ("Mail", "2", "ongoing", "Issue", "03:10", None);
    let recording = [
        line("03:00", "02:50", &[old]),
        line("04:00", "03:55", &[down]),
        line("04:05", "02:50", &[old]),
        line("04:10", "03:55", &[down]),
    ];
    let began = |at| told(at, "began", "Mail", "2", 1, "03:10", None);
    check_mail(&recording, &[began("04:15:45")], &[]);
    check_mail(&recording, &[began("04:05:45")], &[Fault::False, Fault::Untold]);
}

#[test]
fn silence_is_a_withdrawal_after_two_hours_and_until_the_event_is_back() {
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
    let began = told("01:05:45", "began", "Mail", "2", 1, "00:20", None);
    let withdrawn = |at| told(at, "withdrawn", "Mail", "2", 1, "00:20", None);
    let reopened = told("05:05:45", "reopened", "Mail", "2", 2, "00:20", None);

    check_mail(&recording("03:00"), std::slice::from_ref(&began), &[]);
    check_mail(&recording("03:00"), &[began.clone(), withdrawn("02:30:00")], &[Fault::False]);
    check_mail(&recording("05:00"), &[began.clone(), withdrawn("04:01:00"), reopened.clone()], &[]);
    let late = [began.clone(), withdrawn("05:05:45"), reopened];
    check_mail(&recording("05:00"), &late, &[Fault::False, Fault::Untold]);

    // Back as resolved after the withdrawal: the history is corrected without an announcement.
    let mut corrected = recording("05:00");
    corrected[3] = line("05:00", "04:59", &[up]);
    check_mail(&corrected, &[began.clone(), withdrawn("04:01:00")], &[]);
    let ended = told("05:05:45", "ended", "Mail", "2", 1, "00:20", Some("09:00"));
    check_mail(&corrected, &[began, withdrawn("04:01:00"), ended], &[Fault::False]);
}

#[test]
fn a_key_used_for_two_changes_is_doubled() {
    check(|r| r[3] = r[3].replace("Photos/4/1/began", "Mail/2/1/began"), &[Fault::Doubled, Fault::Untold]);
}
