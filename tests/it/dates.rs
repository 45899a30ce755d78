//! Replays recordings with their dates rewritten in the formats of Apple's locales. Every format must give
//! the notices of the original.
//!
//! Only date strings are rewritten, not the epoch numbers. The synthetic recording has ambiguous days and
//! stale documents. Real recordings run only if they are present.

use std::fmt::Write;
use std::fs;
use std::process::Command;

use jiff::civil::DateTime;
use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::common::recordings::{read_recording, recordings};

/// A date format: a pattern for `strftime`, the UTC offset in hours, the words for AM and PM, and other
/// replacements of the locale.
struct Form {
    pattern: &'static str,
    hours: i8,
    halves: [&'static str; 2],
    then: fn(String) -> String,
}

const fn form(pattern: &'static str, hours: i8) -> Form {
    Form { pattern, hours, halves: ["AM", "PM"], then: |text| text }
}

const fn halved(pattern: &'static str, hours: i8, halves: [&'static str; 2]) -> Form {
    Form { halves, ..form(pattern, hours) }
}

const FORMS: [Form; 37] = [
    form("%m/%d/%Y %H:%M PDT", -7),
    form("%d/%m/%Y %H:%M UTC", 0),
    form("%Y/%m/%d %H:%M JST", 9),
    form("%Y/%-m/%-d %-H:%M", 0),
    form("%d.%m.%Y %H:%M MESZ", 2),
    form("%d.%m.%Y, %H.%M", 0),
    form("%d.%m.%y, %H:%M", 0),
    form("%d-%m-%Y %H:%M GMT+1", 1),
    form("%m-%d-%Y %H:%M", 0),
    form("%Y-%m-%d %H:%M:%S -07:00", -7),
    form("%Y-%m-%dT%H:%M:%SZ", 0),
    form("%Y%m%dT%H%MZ", 0),
    form("%Y-%m-%d klockan %H:%M GMT\u{2212}7", -7),
    form("%Y年%-m月%-d日 %H:%M JST", 9),
    form("%Y年%-m月%-d日 %H時%M分 JST", 9),
    halved("%Y年%-m月%-d日 %p%-I:%M GMT+8", 8, ["上午", "下午"]),
    halved("%Y/%m/%d %p%-I:%M", 0, ["午前", "午後"]),
    halved("%Y. %-m. %-d. %p %-I:%M KST", 9, ["오전", "오후"]),
    halved("%y. %-m. %-d. %p %-I:%M", 0, ["오전", "오후"]),
    form("%y/%-m/%-d %H:%M", 0),
    form("%-m/%-d/%y, %-I:%M\u{202f}%p PDT", -7),
    form("%-d/%-m/%y %H:%M", 0),
    form("%H:%M %d/%m/%Y", 0),
    halved("%d/%m/%Y %I:%M %p", 0, ["a. m.", "p. m."]),
    halved("%d/%m/%Y, %-I:%M %p CST", -6, ["a.\u{a0}m.", "p.\u{a0}m."]),
    halved("%-d/%-m/%Y, %-I:%M %p", 0, ["π.μ.", "μ.μ."]),
    form("%d/%m/%Y à %H h %M UTC+2", 2),
    form("%d/%m/%Y às %Hh%M BRT", -3),
    form("%B %-d, %Y at %-I:%M %p PDT", -7),
    form("%a, %d %b %Y %H:%M:%S GMT", 0),
    Form { then: french, ..form("%A %-d %B %Y à %Hh%M UTC+2", 2) },
    Form { then: german, ..form("%-d. %B %Y, %H:%M MEZ", 1) },
    Form { then: russian, ..form("%-d %B %Y г., %H:%M МСК", 3) },
    Form { then: arabic, ..halved("%-d\u{200f}/%-m\u{200f}/%Y، %-I:%M %p", 0, ["ص", "م"]) },
    Form { then: fullwidth, ..form("%Y/%m/%d %H:%M", 0) },
    Form { then: buddhist, ..form("%-d/%-m/%Y %H:%M", 0) },
    form("%s", 0),
];

impl Form {
    fn write(&self, time: Timestamp) -> String {
        let civil = Offset::constant(self.hours).to_datetime(time);
        let text = match self.pattern {
            "%s" => time.as_second().to_string(),
            pattern => civil.strftime(pattern).to_string(),
        };
        let half = if civil.hour() < 12 { ("AM", self.halves[0]) } else { ("PM", self.halves[1]) };
        (self.then)(text.replace(half.0, half.1))
    }
}

fn translated(text: &str, months: [&str; 12]) -> String {
    const ENGLISH: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    ENGLISH.iter().zip(months).fold(text.to_owned(), |text, (english, month)| text.replace(english, month))
}

fn french(text: String) -> String {
    let days = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
    let jours = ["lun.", "mar.", "mer.", "jeu.", "ven.", "sam.", "dim."];
    let text = days.iter().zip(jours).fold(text, |text, (day, jour)| text.replace(day, jour));
    translated(
        &text,
        [
            "janvier",
            "février",
            "mars",
            "avril",
            "mai",
            "juin",
            "juillet",
            "août",
            "septembre",
            "octobre",
            "novembre",
            "décembre",
        ],
    )
}

fn german(text: String) -> String {
    translated(
        &text,
        [
            "Januar",
            "Februar",
            "März",
            "April",
            "Mai",
            "Juni",
            "Juli",
            "August",
            "September",
            "Oktober",
            "November",
            "Dezember",
        ],
    )
}

fn russian(text: String) -> String {
    translated(
        &text,
        [
            "января",
            "февраля",
            "марта",
            "апреля",
            "мая",
            "июня",
            "июля",
            "августа",
            "сентября",
            "октября",
            "ноября",
            "декабря",
        ],
    )
}

fn arabic(text: String) -> String {
    digits_from(&text, '\u{660}')
}

fn fullwidth(text: String) -> String {
    digits_from(&text, '\u{ff10}')
}

fn digits_from(text: &str, zero: char) -> String {
    let digit = |c: char| c.to_digit(10).and_then(|digit| char::from_u32(u32::from(zero) + digit));
    text.chars().map(|c| digit(c).unwrap_or(c)).collect()
}

fn buddhist(text: String) -> String {
    (2010..2040).fold(text, |text, year| text.replace(&format!("/{year}"), &format!("/{}", year + 543)))
}

/// Parses the dates in Apple's American and Japanese documents.
fn original(text: &str) -> Timestamp {
    let (civil, zone) = text.trim().rsplit_once(' ').unwrap_or_else(|| panic!("no zone: {text}"));
    let hours = match zone {
        "PDT" => -7,
        "PST" => -8,
        "JST" => 9,
        "UTC" | "GMT" => 0,
        _ => panic!("an unknown zone: {text}"),
    };
    let pattern = if civil.find('/') == Some(4) { "%Y/%m/%d %H:%M" } else { "%m/%d/%Y %H:%M" };
    let civil = DateTime::strptime(pattern, civil).unwrap_or_else(|error| panic!("{text}: {error}"));
    Offset::constant(hours).to_timestamp(civil).expect("a time")
}

/// Rewrites the dates under `keys` in another format, and removes the other date strings.
fn rewritten(recording: &str, form: &Form, keys: &[&str]) -> String {
    let mut lines = String::new();
    for line in recording.lines() {
        let mut line: Value = serde_json::from_str(line).expect("a line");
        let body = line["body"].as_str().expect("a body");
        let Ok(mut document) = serde_json::from_str::<Value>(body) else {
            writeln!(lines, "{line}").expect("memory");
            continue;
        };
        let services = document["services"].as_array_mut().into_iter().flatten();
        for event in services.filter_map(|service| service["events"].as_array_mut()).flatten() {
            for key in ["datePosted", "startDate", "endDate"] {
                event[key] = match event[key].as_str() {
                    Some(text) if keys.contains(&key) => json!(form.write(original(text))),
                    Some(_) | None => Value::Null,
                };
            }
        }
        line["body"] = document.to_string().into();
        writeln!(lines, "{line}").expect("memory");
    }
    lines
}

fn replayed(recording: &str) -> String {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("recording.jsonl");
    fs::write(&path, recording).expect("room for a temporary file");
    let output = Command::new(env!("CARGO_BIN_EXE_statusd"))
        .args(["replay", "--json", "--watch", "*"])
        .arg(path)
        .env("HOME", home.path())
        .env("XDG_CONFIG_HOME", home.path())
        .output()
        .expect("the program runs");
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Days with an outage from 08:00 to 11:30. In some, day and month are ambiguous.
const DAYS: [&str; 9] = [
    "2026-05-03",
    "2026-05-05",
    "2026-05-06",
    "2026-05-12",
    "2026-06-05",
    "2026-06-06",
    "2026-07-01",
    "2026-11-10",
    "2026-11-11",
];
const FOR_PEOPLE: &str = "%m/%d/%Y %H:%M UTC";

/// Returns an event of iCloud Backup, posted at this time.
fn event(id: usize, day: &str, is_over: bool, posted: Timestamp) -> Value {
    let start = at(day, "08:00");
    let end = is_over.then(|| at(day, "11:30"));
    json!({
        "messageId": id.to_string(), "statusType": "Outage", "message": "Users may be unable to back up.",
        "eventStatus": if is_over { "resolved" } else { "ongoing" },
        "epochStartDate": start.as_millisecond(), "epochEndDate": end.map(Timestamp::as_millisecond),
        "startDate": start.strftime(FOR_PEOPLE).to_string(),
        "endDate": end.map(|end| end.strftime(FOR_PEOPLE).to_string()),
        "datePosted": posted.strftime(FOR_PEOPLE).to_string(),
    })
}

fn at(day: &str, clock: &str) -> Timestamp {
    format!("{day}T{clock}:00Z").parse().expect("a time")
}

/// Returns a line of a recording.
fn line(shown: Timestamp, events: &[Value]) -> String {
    let body = json!({"services": [
        {"serviceName": "iCloud Backup", "events": events}, {"serviceName": "Photos", "events": []},
    ]});
    json!({"at": shown, "body": body.to_string()}).to_string() + "\n"
}

/// Returns a recording: on each day a start, a stale document, the start again, and the end.
fn days() -> String {
    let five = SignedDuration::from_mins(5);
    let mut recording = line(at("2026-05-01", "08:00"), &[]);
    let mut before = Vec::new();
    for (id, day) in DAYS.into_iter().enumerate() {
        let (first, last) = (at(day, "08:30"), at(day, "12:00"));
        let down = [event(id, day, false, first - five)];
        recording += &line(first, &down);
        recording += &line(at(day, "09:00"), &before);
        recording += &line(at(day, "09:30"), &down);
        before = vec![event(id, day, true, last - five)];
        recording += &line(last, &before);
    }
    recording + &line(at("2026-12-01", "08:00"), &[])
}

#[test]
fn every_date_format_yields_the_same_notices() {
    let recording = days();
    let notices = replayed(&recording);
    let count = |kind: &str| notices.matches(&format!("\"kind\":\"{kind}\"")).count();
    assert_eq!((count("began"), count("ended")), (DAYS.len(), DAYS.len()), "{notices}");
    assert_eq!(notices.lines().count(), 2 * DAYS.len(), "{notices}");
    for form in &FORMS {
        // With the dates that prove the order of day and month, and without.
        for keys in [&["datePosted", "startDate", "endDate"][..], &["datePosted"]] {
            let rewritten = rewritten(&recording, form, keys);
            assert_eq!(replayed(&rewritten), notices, "{} {keys:?}", form.pattern);
        }
    }
}

/// The next document with a correct stamp is accepted at once.
#[test]
fn future_stamp_does_not_block_later_documents() {
    let day = "2026-05-05";
    let old = |posted: &str| event(1, "2026-05-04", true, at(posted, "07:00"));
    for future in ["2027-05-05", "2026-05-07", "2099-12-31", "2199-12-31"] {
        let recording = [
            line(at(day, "06:00"), &[old("2026-05-04")]),
            line(at(day, "07:00"), &[old(future)]),
            line(at(day, "08:30"), &[event(2, day, false, at(day, "08:25"))]),
            line(at(day, "12:00"), &[event(2, day, true, at(day, "11:55"))]),
            line(at("2026-05-08", "12:00"), &[]),
        ];
        let notices = replayed(&recording.concat());
        let times: Vec<_> = notices.lines().map(|line| line.split('"').nth(3).expect("a time")).collect();
        assert_eq!(times.len(), 2, "{future}: {notices}");
        assert!(times[0] < "2026-05-05T08:40" && times[1] < "2026-05-05T12:10", "{future}: {notices}");
    }
}

#[test]
#[ignore = "needs recordings of the real feed in $STATUSD_RECORDINGS"]
fn real_recordings_yield_the_same_notices_in_every_date_format() {
    for path in recordings() {
        let recording = read_recording(&path);
        let notices = replayed(&recording);
        for form in &FORMS {
            let rewritten = rewritten(&recording, form, &["datePosted", "startDate", "endDate"]);
            assert!(replayed(&rewritten) == notices, "{}: {}", path.display(), form.pattern);
            println!("{}: {}: {} notices", path.display(), form.pattern, notices.lines().count());
        }
    }
}
