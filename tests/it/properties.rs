//! Property tests: thousands of generated documents, and a hundred thousand damaged ones, through the
//! real parser and the real state machine.
//!
//! The generator is seeded. A failure prints its seed, and `STATUSD_SEED=<seed> cargo test --test it
//! properties` starts with that case. A second, naive reader here reads each damaged document, and the
//! tests check the parser only where the naive reading is unambiguous.

use std::env;
use std::thread;

use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};
use statusd::feed::parse;
use statusd::model::{Beliefs, Document, Edition, Event, FeedId, Listing, Outage, Phase};
use statusd::tracking::watchlist::Watchlist;
use statusd::tracking::{self, EventState, Pending, Update};

/// Stories of [`DOCUMENTS`] documents each, for the two properties without damage.
const STORIES: u64 = 250;
const DOCUMENTS: usize = 6;
/// Cases of [`DAMAGED_COPIES`] damaged copies of one document each: 102,000 copies.
const DAMAGE_CASES: u64 = 5_100;
const DAMAGED_COPIES: usize = 20;

/// Polls after which no change is pending: two to confirm, three to count an absence.
const POLLS_TO_SETTLE: usize = 6;
const POLLS_APART: SignedDuration = SignedDuration::from_secs(45);

/// Two spellings of one service are one service.
const NAMES: [&str; 8] = [
    "iCloud Backup",
    "icloud\u{a0} backup ",
    "Photos",
    "iCloud Mail",
    "App Store Connect - App Processing ",
    "iCloud Web Apps (iCloud.com)",
    "iCloudバックアップ",
    "Apple Pay & Wallet",
];
const STATUSES: [&str; 8] =
    ["ongoing", "ongoing", "resolved", "completed", "upcoming", "investigating", "", " Ongoing\n"];
const KINDS: [&str; 7] = ["Outage", "Issue", "Performance", "Maintenance", "", "Degraded", "outage"];
const IDS: [&str; 5] = ["1001", "1002", "1003", "3274", "at-noon"];

/// The order of services, of events and of keys means nothing.
#[test]
fn order_means_nothing() {
    for seed in seeds(STORIES) {
        let mut case = Case { seed, body: String::new() };
        let mut rng = Rng::with_seed(seed);
        let mut story = Story::new();
        for _ in 0..DOCUMENTS {
            story.wait(&mut rng);
            let document = document(&mut rng, story.now, true);
            case.body = document.to_string();
            let other = parse::parse(shuffled(&document, &mut rng).to_string().as_bytes());
            let one = parse::parse(case.body.as_bytes());
            assert_eq!(one, other, "read differently in another order");
            let (one, other) = (one.expect("a document"), other.expect("a document"));

            let mut pending = story.pending.clone();
            let update = story.compare(&mut pending, &other);
            assert_eq!(update, story.poll(&one), "another result in another order");
            assert_eq!(pending, story.pending);
        }
    }
}

/// Once everything is confirmed, the same document again changes nothing at all.
#[test]
fn the_same_document_again_changes_nothing() {
    for seed in seeds(STORIES) {
        let mut case = Case { seed, body: String::new() };
        let mut rng = Rng::with_seed(seed);
        let mut story = Story::new();
        for _ in 0..DOCUMENTS {
            story.wait(&mut rng);
            // Without a stamp: copies that turn out to be stale are counted, which is a change.
            case.body = document(&mut rng, story.now, false).to_string();
            let document = parse::parse(case.body.as_bytes()).expect("a document");
            let update = story.poll(&document);
            let at_once = story.poll(&document);
            assert!(at_once.changes.is_empty(), "told twice: {:?}, {:?}", update.changes, at_once.changes);
            for _ in 0..POLLS_TO_SETTLE {
                story.now += POLLS_APART;
                story.poll(&document);
            }
            assert_eq!(story.pending.oldest(), None, "something waits for ever");
            let before = story.beliefs.clone();
            let again = story.poll(&document);
            assert!(again.is_empty(&before), "the same document changed {again:?}");
        }
    }
}

/// No damage makes the program fall over, lose a service, or take trouble for "fine".
#[test]
fn damage_never_turns_trouble_into_fine() {
    let mut readable = 0_u64;
    for seed in seeds(DAMAGE_CASES) {
        let mut case = Case { seed, body: String::new() };
        let mut rng = Rng::with_seed(seed);
        let mut story = Story::new();
        let whole = document(&mut rng, story.now, true);
        let parsed = parse::parse(whole.to_string().as_bytes()).expect("a document");
        for _ in 0..2 {
            story.now += POLLS_APART;
            story.poll(&parsed);
        }
        for _ in 0..DAMAGED_COPIES {
            let body = damaged(&whole, &mut rng);
            case.body = String::from_utf8_lossy(&body).into_owned();
            let Ok(document) = parse::parse(&body) else { continue };
            // Damage that only the parser can repair is ambiguous.
            let Some(reading) = plain_reading(&case.body) else { continue };
            readable += 1;
            assert_nothing_lost(&document, &reading, story.now);
            assert_no_false_end(&story, &document, &reading);
        }
    }
    // Unreadable damage proves little: most copies must pass the parser.
    let all = DAMAGE_CASES * DAMAGED_COPIES as u64;
    assert!(readable * 2 > all, "only {readable} of {all} damaged documents were readable");
}

fn seeds(count: u64) -> impl Iterator<Item = u64> {
    let first = env::var("STATUSD_SEED").map_or(1, |seed| seed.parse().expect("STATUSD_SEED is a number"));
    first..first + count
}

/// Says which case it was, also where the program itself panics.
struct Case {
    seed: u64,
    body: String,
}

impl Drop for Case {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("STATUSD_SEED={} repeats it; the document was:\n{}", self.seed, self.body);
        }
    }
}

/// A database and its clock.
struct Story {
    beliefs: Beliefs,
    pending: Pending,
    watch: Watchlist,
    now: Timestamp,
}

impl Story {
    fn new() -> Story {
        let feed = FeedId { edition: Edition::Consumer, locale: "en_US".to_owned() };
        Story {
            beliefs: Beliefs::new(feed),
            pending: Pending::default(),
            watch: Watchlist::new(&["iCloud Backup", "Find My", "*cloud*"]),
            now: "2026-05-05T09:00:00Z".parse().expect("a time"),
        }
    }

    fn wait(&mut self, rng: &mut Rng) {
        self.now += SignedDuration::from_secs(rng.i64(1..20_000));
    }

    fn compare(&self, pending: &mut Pending, document: &Document) -> Update {
        tracking::compare(&self.beliefs, pending, document, &self.watch, self.now)
    }

    /// One poll of the daemon: compares and applies.
    fn poll(&mut self, document: &Document) -> Update {
        let update = tracking::compare(&self.beliefs, &mut self.pending, document, &self.watch, self.now);
        update.clone().apply(&mut self.beliefs);
        update
    }
}

/// A document with Apple's structure and odd values.
fn document(rng: &mut Rng, now: Timestamp, stamped: bool) -> Value {
    let posted = (stamped && rng.u8(..4) > 0).then(|| for_people(now, rng.i64(-10..0)));
    let services: Vec<Value> = (0..rng.usize(1..4)).map(|_| service(rng, now, posted.as_deref())).collect();
    json!({"drpost": false, "drMessage": null, "services": services})
}

fn service(rng: &mut Rng, now: Timestamp, posted: Option<&str>) -> Value {
    let events: Vec<Value> = (0..rng.usize(..3)).map(|_| event(rng, now, posted)).collect();
    json!({"redirectUrl": null, "events": events, "serviceName": pick(rng, &NAMES)})
}

/// Times are half an hour off the hour, so that none of them passes while changes settle.
fn event(rng: &mut Rng, now: Timestamp, posted: Option<&str>) -> Value {
    let hour = |rng: &mut Rng| rng.i64(-200..10) * 2;
    let (start, end) = (hour(rng), rng.bool().then(|| hour(rng)));
    let epoch_ms = |half_hours: i64| now.as_millisecond() + (half_hours * 1_800 + 900) * 1_000;
    json!({
        "usersAffected": rng.bool().then_some("Some users are affected"),
        "epochStartDate": epoch_ms(start),
        "epochEndDate": end.map(epoch_ms),
        "messageId": pick(rng, &IDS),
        "statusType": pick(rng, &KINDS),
        "datePosted": posted,
        "startDate": start_for_people(rng, now, start),
        "endDate": end.map(|end| for_people(now, end)),
        "affectedServices": null,
        "eventStatus": pick(rng, &STATUSES),
        "message": pick(rng, &["Users may be unable to back up.", "Slow. ", ""]),
    })
}

/// As Apple writes a time for people, so many half hours from `now`.
fn for_people(now: Timestamp, half_hours: i64) -> String {
    let time = now + SignedDuration::from_secs(half_hours * 1_800 + 900);
    time.strftime("%m/%d/%Y %H:%M UTC").to_string()
}

/// Not even the order of day and month is certain.
fn start_for_people(rng: &mut Rng, now: Timestamp, half_hours: i64) -> String {
    let month_first = for_people(now, half_hours);
    match (rng.u8(..8), month_first.split('/').collect::<Vec<_>>().as_slice()) {
        (0, [month, day, rest]) => format!("{day}/{month}/{rest}"),
        _ => month_first,
    }
}

fn pick<'a>(rng: &mut Rng, words: &[&'a str]) -> &'a str {
    words[rng.usize(..words.len())]
}

/// The same in another order.
fn shuffled(value: &Value, rng: &mut Rng) -> Value {
    match value {
        Value::Array(items) => {
            let mut items: Vec<Value> = items.iter().map(|item| shuffled(item, rng)).collect();
            rng.shuffle(&mut items);
            Value::Array(items)
        }
        Value::Object(fields) => {
            let mut fields: Vec<(String, Value)> =
                fields.iter().map(|(key, value)| (key.clone(), shuffled(value, rng))).collect();
            rng.shuffle(&mut fields);
            Value::Object(fields.into_iter().collect())
        }
        leaf => leaf.clone(),
    }
}

/// A status in a key that is there twice: `Value` cannot hold two, the text can.
const TWIN: &str = "\u{1}";
const TWIN_AS_JSON: &str = "\\u0001";

/// A copy with one to four faults in its meaning, and now and then some in its bytes.
fn damaged(whole: &Value, rng: &mut Rng) -> Vec<u8> {
    let mut copy = whole.clone();
    for _ in 0..rng.u8(1..5) {
        damage_somewhere(&mut copy, rng);
    }
    let mut body = copy.to_string().replace(TWIN_AS_JSON, "").into_bytes();
    if rng.u8(..10) == 0 {
        for _ in 0..rng.u8(1..4) {
            damage_bytes(&mut body, rng);
        }
    }
    body
}

/// Walks down at random, mostly to where the meaning is, and damages what is there.
fn damage_somewhere(value: &mut Value, rng: &mut Rng) {
    let stop = rng.u8(..6) == 0;
    match value {
        Value::Object(fields) if !stop && !fields.is_empty() => {
            let likely = ["services", "events", "eventStatus", "epochEndDate", "messageId", "serviceName"];
            let wanted = pick(rng, &likely);
            let at = fields.keys().position(|key| key == wanted);
            let at = at.unwrap_or_else(|| rng.usize(..fields.len()));
            if let Some((_, below)) = fields.iter_mut().nth(at) {
                damage_somewhere(below, rng);
            }
        }
        Value::Array(items) if !stop && !items.is_empty() => {
            let at = rng.usize(..items.len());
            damage_somewhere(&mut items[at], rng);
        }
        Value::Object(fields) if rng.u8(..4) > 0 => damage_object(fields, rng),
        Value::Array(items) if rng.u8(..4) > 0 => damage_array(items, rng),
        Value::String(text) if rng.bool() => *text = odd_text(text, rng),
        other => *other = odd_value(rng),
    }
}

fn damage_object(fields: &mut Map<String, Value>, rng: &mut Rng) {
    let keys: Vec<String> = fields.keys().cloned().collect();
    if keys.is_empty() {
        fields.insert("events".to_owned(), odd_value(rng));
        return;
    }
    let key = &keys[rng.usize(..keys.len())];
    match rng.u8(..6) {
        0 => drop(fields.remove(key)),
        1 => drop(fields.insert(key.clone(), odd_value(rng))),
        // In JSON the later of two twins counts; `Map` appends, so that is the new one.
        2 => drop(fields.insert(format!("{key}{TWIN}"), odd_value(rng))),
        3 => drop(fields.insert(key.to_uppercase(), odd_value(rng))),
        4 => {
            let other = &keys[rng.usize(..keys.len())];
            let value = fields.get(other).cloned().unwrap_or_default();
            fields.insert(key.clone(), value);
        }
        _ => {
            if let Some(value) = fields.remove(key) {
                fields.insert(format!(" {key}"), value);
            }
        }
    }
}

fn damage_array(items: &mut Vec<Value>, rng: &mut Rng) {
    match (rng.u8(..5), items.len()) {
        (0, 1..) => drop(items.remove(rng.usize(..items.len()))),
        // A twin that says something else.
        (1 | 2, 1..) => {
            let mut twin = items[rng.usize(..items.len())].clone();
            damage_somewhere(&mut twin, rng);
            items.insert(rng.usize(..=items.len()), twin);
        }
        (3, _) => items.clear(),
        _ => items.insert(rng.usize(..=items.len()), odd_value(rng)),
    }
}

fn odd_value(rng: &mut Rng) -> Value {
    match rng.u8(..16) {
        0..3 => Value::Null,
        3 => json!(rng.bool()),
        4 => json!(rng.i64(..)),
        5 => json!(rng.f64() * 1e300),
        6 => json!(u64::MAX),
        7 => json!(-1),
        8 => json!(rng.u32(..)),
        9 => json!([]),
        10 => json!({}),
        11 => json!([null, {"events": [{}]}, "x"]),
        // Deeper than JSON readers go, and not as deep.
        12 => {
            let depth = [3, 60, 300][rng.usize(..3)];
            (0..depth).fold(json!("deep"), |below, _| Value::Array(vec![below]))
        }
        13 => json!(pick(rng, &STATUSES)),
        14 => json!(pick(rng, &KINDS)),
        _ => json!(odd_text("1777971600000", rng)),
    }
}

fn odd_text(text: &str, rng: &mut Rng) -> String {
    match rng.u8(..12) {
        0 => String::new(),
        1 => " \u{a0}\t\n".to_owned(),
        2 => text.to_uppercase(),
        3 => format!("\u{feff} {text}\u{200b}\n"),
        4 => format!("{text}\0\u{202e}\u{1b}[2J"),
        5 => text.repeat(rng.usize(2..20)),
        6 => "x".repeat(*rng.choice(&[1, 70, 2_100]).unwrap_or(&1)),
        7 => text.chars().take(rng.usize(..8)).collect(),
        8 => pick(rng, &STATUSES).to_owned(),
        9 => pick(rng, &NAMES).to_owned(),
        10 => "😀 e\u{301} \u{3164} {\"services\": []} </script>".to_owned(),
        _ => rng.u64(..).to_string(),
    }
}

fn damage_bytes(body: &mut Vec<u8>, rng: &mut Rng) {
    let at = rng.usize(..body.len().max(1));
    let len = rng.usize(1..40).min(body.len().saturating_sub(at));
    match rng.u8(..6) {
        0 => body.truncate(at),
        1 => drop(body.drain(at..at + len)),
        2 => body.splice(at..at, (0..len).map(|_| rng.u8(..))).for_each(drop),
        3 => body.splice(at..at, b"jsonCallback({".iter().copied()).for_each(drop),
        4 => body.extend_from_slice(b"\n);}"),
        _ => body.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << rng.u8(..8)),
    }
}

/// A naive reading of a document.
fn plain_reading(body: &str) -> Option<Value> {
    serde_json::from_str(body.get(body.find('{')?..=body.rfind('}')?)?).ok()
}

fn services_of(reading: &Value) -> impl Iterator<Item = (&Map<String, Value>, String)> {
    let services = reading.get("services").and_then(Value::as_array).into_iter().flatten();
    services.filter_map(Value::as_object).filter_map(|service| {
        let name = squeezed(service.get("serviceName")?.as_str()?);
        (!name.is_empty()).then_some((service, name))
    })
}

/// Returns the first letters and digits in lower case, which survive cutting and cleaning.
fn squeezed(text: &str) -> String {
    const ENOUGH: usize = 30;
    // The Hangul filler is an invisible letter.
    let seen = text.chars().filter(|c| c.is_alphanumeric() && *c != '\u{3164}');
    seen.take(ENOUGH).flat_map(char::to_lowercase).collect()
}

/// The meaning of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    /// Certainly trouble, with its possible states.
    Trouble(&'static [EventState]),
    /// Neither trouble nor over.
    Ahead,
    MayBeOver,
}

fn says(event: &Map<String, Value>, now: Timestamp) -> Says {
    let text = |key: &str| event.get(key).and_then(Value::as_str).unwrap_or_default();
    let maintenance = squeezed(text("statusType")) == "maintenance";
    let status = text("eventStatus").trim().to_ascii_lowercase();
    // A word that was tampered with may still be read as what it was, or as an unknown one.
    let alike = squeezed(&status);
    match status.as_str() {
        "ongoing" if maintenance => Says::Trouble(&[EventState::Running, EventState::Down]),
        "ongoing" => Says::Trouble(&[EventState::Down]),
        "upcoming" => Says::Ahead,
        _ if ["resolved", "completed", "upcoming"].contains(&alike.as_str()) => Says::MayBeOver,
        _ if !surely_no_past_end(event, now) => Says::MayBeOver,
        _ if maintenance => Says::Trouble(&[EventState::Planned, EventState::Running, EventState::Down]),
        _ => Says::Trouble(&[EventState::Down]),
    }
}

fn surely_no_past_end(event: &Map<String, Value>, now: Timestamp) -> bool {
    let no_digits = |value: &Value| !value.as_str().is_some_and(|text| text.contains(char::is_numeric));
    match event.get("epochEndDate") {
        Some(Value::Number(millis)) => millis.as_f64().is_some_and(|end| end > now.as_millisecond() as f64),
        Some(other) if !no_digits(other) => false,
        _ => event.get("endDate").is_none_or(no_digits),
    }
}

/// Every service is there, and every event that says trouble is trouble. Of several entries under
/// one id the program keeps one, and a maintenance may give way to a problem.
fn assert_nothing_lost(document: &Document, reading: &Value, now: Timestamp) {
    assert!(!document.services.is_empty(), "an empty document was accepted");
    for (service, name) in services_of(reading) {
        let listings: Vec<&Listing> =
            document.services.values().filter(|listing| squeezed(&listing.name) == name).collect();
        assert!(!listings.is_empty(), "lost the service {name}");
        if listings.iter().any(|listing| listing.malformed) {
            continue;
        }
        let events = service.get("events").and_then(Value::as_array);
        let events = events.unwrap_or_else(|| panic!("{name} without a list of events counts as fine"));
        for event in events {
            let event = event.as_object().unwrap_or_else(|| panic!("{name} with {event} counts as fine"));
            let Says::Trouble(expected) = says(event, now) else { continue };
            let may_give_way = expected.contains(&EventState::Running) && has_twin(event, &name, reading);
            let is_held = |held: &Event| {
                let stands = tracking::observe(held, None, now).map(|seen| seen.state);
                let stands_as_said = stands.is_some_and(|stands| expected.contains(&stands));
                is_of(event, &held.message_id) && (stands_as_said || may_give_way)
            };
            let held = listings.iter().any(|listing| listing.events.iter().any(is_held));
            assert!(held, "{name}: trouble counts as fine: {event:?}");
        }
    }
}

/// Checks that an ongoing outage ends only if an entry with its id reports the end.
fn assert_no_false_end(story: &Story, document: &Document, reading: &Value) {
    let mut after = Story {
        beliefs: story.beliefs.clone(),
        pending: story.pending.clone(),
        watch: story.watch.clone(),
        now: story.now,
    };
    for _ in 0..2 {
        after.now += POLLS_APART;
        after.poll(document);
    }
    let is_ongoing = |outage: &&Outage| matches!(outage.phase, Phase::Ongoing(_));
    for held in story.beliefs.outages.values().filter(is_ongoing) {
        let mut same = after.beliefs.outages.values().filter(|outage| {
            (&outage.service, &outage.message_id) == (&held.service, &held.message_id)
                && outage.occurrence == held.occurrence
        });
        if same.any(|outage| matches!(outage.phase, Phase::Over(_))) {
            let says_so = |event: &Map<String, Value>| {
                is_of(event, &held.message_id) && says(event, after.now) == Says::MayBeOver
            };
            let name = squeezed(&held.service);
            assert!(events_of(&name, reading).any(says_so), "ended by nothing: {held:?}");
        }
    }
}

fn events_of<'a>(name: &str, reading: &'a Value) -> impl Iterator<Item = &'a Map<String, Value>> {
    let services = services_of(reading).filter(move |(_, service)| service == name);
    let events = services.filter_map(|(service, _)| service.get("events")?.as_array()).flatten();
    events.filter_map(Value::as_object)
}

fn has_twin(event: &Map<String, Value>, name: &str, reading: &Value) -> bool {
    events_of(name, reading).filter(|other| id_of(other) == id_of(event)).count() > 1
}

/// Returns true if the event may have this id. The parser makes an id for an event without one.
fn is_of(event: &Map<String, Value>, id: &str) -> bool {
    match id_of(event).as_str() {
        "" => id == "unnamed" || id.starts_with("at-"),
        written => written == squeezed(id),
    }
}

fn id_of(event: &Map<String, Value>) -> String {
    match event.get("messageId") {
        Some(Value::String(text)) => squeezed(text),
        Some(Value::Number(number)) => squeezed(&number.to_string()),
        _ => String::new(),
    }
}
