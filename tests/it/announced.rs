//! A replay of the daemon's own recording prints what the daemon announced, byte for byte.
//!
//! Runs the real program against a feed with failures, stale documents and web pages. Only two
//! confirmations, because each takes 30 s of real time.
#![cfg(target_os = "linux")]

use crate::common::apple::{Answer, Apple};
use crate::common::doc::Doc;
use crate::common::http_server::{HttpServer, Reply};
use crate::process::{Home, configuration, within};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

const BACKUP: &str = "iCloud Backup";
/// The fields of a line of `statusd replay --json`.
const FIELDS: [&str; 9] =
    ["at", "kind", "service", "message_id", "occurrence", "outage_kind", "began_at", "ended_at", "key"];

/// Returns the document of a phase, posted this many minutes after `hour`.
fn document(hour: Timestamp, phase: usize, posted: i64) -> Doc {
    let time = |minutes| hour + SignedDuration::from_mins(minutes);
    let at = |minutes| time(minutes).as_second();
    let doc = Doc::new().service("Photos").event("900", "Outage", "resolved", at(-300), Some(at(-240)));
    let doc = match phase {
        0 => doc.service("Mail").service(BACKUP),
        1 => doc
            .service("Mail")
            .event("2001", "Maintenance", "upcoming", at(3_000), Some(at(3_060)))
            .service(BACKUP)
            .event("1001", "Issue", "ongoing", at(-90), None),
        _ => doc
            .service("Mail")
            .event("2001", "Maintenance", "upcoming", at(4_000), Some(at(4_060)))
            .service(BACKUP)
            .event("1001", "Issue", "resolved", at(-90), Some(at(-60)))
            .event("1002", "Outage", "resolved", at(-50), Some(at(-40))),
    };
    doc.posted(&time(posted).strftime("%m/%d/%Y %H:%M UTC").to_string())
}

/// Old copies, then what `doc` shows with a failure in between: the poll after that confirms it.
async fn hostile(apple: &Apple, doc: &Doc, old: &Doc, failure: Answer) {
    let stale = || Answer::ok(old.json());
    let answers = [Answer::ok(doc.json()), stale(), stale(), Answer::ok(doc.json()).gzip(), failure];
    answers.into_iter().for_each(|answer| apple.once(answer));
    apple.answer(Answer::ok(doc.json()).etag("\"1\""));
    within("polls", apple.asked(apple.requests().len() + 6)).await;
}

/// The kinds that were announced, until all of `kinds` were.
async fn announced(peer: &mut HttpServer, kinds: &[&str], lines: &mut Vec<String>) {
    let mut missing = kinds.to_vec();
    while !missing.is_empty() {
        let request = peer.next().await;
        let change: Map<String, Value> = serde_json::from_slice(&request.body).expect("JSON");
        let kind = change["kind"].as_str().expect("a kind");
        missing.retain(|missing| *missing != kind);
        let fields = FIELDS.map(|field| (field.to_owned(), change[field].clone()));
        lines.push(Value::Object(Map::from_iter(fields)).to_string());
    }
}

#[tokio::test]
async fn a_replay_of_the_daemons_own_recording_announces_what_the_daemon_did() {
    let apple = Apple::start().await;
    let mut peer = HttpServer::start([Reply::status(204)]).await;
    let home = Home::new();
    let channels = format!(
        "[channel.desktop]\nenabled = false\n[channel.log]\nenabled = false\n[channel.webhook.all]\n\
         url = {:?}\n[record]\nfile = \"record.jsonl\"\n",
        peer.url("/")
    );
    let configured = configuration(BACKUP, &apple.url(), &channels);
    let watched = format!("watch = [{BACKUP:?}, \"Mail\", \"iCloud Bakcup\"]");
    let configured = configured.replace(&format!("watch = [{BACKUP:?}]"), &watched);
    home.configure(&configured.replace("jitter_s = 0", "jitter_s = 2"));
    let hour = Timestamp::from_second(Timestamp::now().as_second() / 3_600 * 3_600).expect("a time");
    let documents = [(0, -20), (1, -10), (2, -5)].map(|(phase, posted)| document(hour, phase, posted));

    let mut lines = Vec::new();
    apple.show(&documents[0].json());
    apple.once(Answer::ok(documents[0].json()).truncated(200));
    let daemon = home.start();
    within("a document that is cut off", apple.asked(1)).await;
    // Polls at once, where it would wait half a minute.
    daemon.signal("HUP").await;
    within("a first document", apple.asked(3)).await;
    let failure = Answer::status(503).header("Retry-After", "1");
    hostile(&apple, &documents[1], &documents[0], failure).await;
    announced(&mut peer, &["began", "planned", "unlisted"], &mut lines).await;
    daemon.stop().await;
    let daemon = home.start();
    let asked = apple.requests().len();
    within("a look after the restart", apple.asked(asked + 2)).await;
    hostile(&apple, &documents[2], &documents[1], Answer::html()).await;
    daemon.signal("HUP").await;
    announced(&mut peer, &["ended", "moved", "missed"], &mut lines).await;
    daemon.stop().await;

    let watch = ["--watch", BACKUP, "--watch", "Mail", "--watch", "iCloud Bakcup"];
    let recording = home.path("record.jsonl").display().to_string();
    let arguments: Vec<&str> =
        ["replay", "--json"].into_iter().chain(watch).chain([recording.as_str()]).collect();
    let replayed = home.ask(&arguments).await;
    assert_eq!(replayed.code, Some(0), "{}", replayed.err);
    let replayed: Vec<&str> = replayed.out.lines().collect();
    assert_eq!(replayed, lines);
}
