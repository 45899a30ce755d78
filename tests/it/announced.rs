//! A replay of the daemon's own recording prints what the daemon announced, byte for byte.
//!
//! Runs the real program against a feed with failures, stale documents and web pages. Only two
//! confirmations, because each takes 30 s of real time.
#![cfg(target_os = "linux")]

use crate::common::apple::{Apple, Response};
use crate::common::doc::Doc;
use crate::common::http_server::{HttpServer, Reply};
use crate::process::{Home, configuration, wait_for};
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

/// Serves `doc` mixed with stale documents and a failure, until a later poll has confirmed `doc`.
async fn serve_with_faults(apple: &Apple, doc: &Doc, old: &Doc, failure: Response) {
    let stale = || Response::ok(old.json());
    let answers = [Response::ok(doc.json()), stale(), stale(), Response::ok(doc.json()).gzip(), failure];
    answers.into_iter().for_each(|answer| apple.once(answer));
    apple.respond(Response::ok(doc.json()).etag("\"1\""));
    wait_for("polls", apple.wait_for_requests(apple.requests().len() + 6)).await;
}

/// Collects announced changes until all of `kinds` have come.
async fn collect_changes(peer: &mut HttpServer, kinds: &[&str], lines: &mut Vec<String>) {
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
async fn replay_of_a_recording_matches_the_daemons_announcements() {
    let apple = Apple::start().await;
    let mut peer = HttpServer::start([Reply::status(204)]).await;
    let home = Home::new();
    let channels = format!(
        "[channel.desktop]\nenabled = false\n[channel.log]\nenabled = false\n[channel.webhook.all]\n\
         url = {:?}\n[record]\nfile = \"record.jsonl\"\n",
        peer.url("/")
    );
    let config = configuration(BACKUP, &apple.url(), &channels);
    let watched = format!("watch = [{BACKUP:?}, \"Mail\", \"iCloud Bakcup\"]");
    let config = config.replace(&format!("watch = [{BACKUP:?}]"), &watched);
    home.configure(&config.replace("jitter_s = 0", "jitter_s = 2"));
    let hour = Timestamp::from_second(Timestamp::now().as_second() / 3_600 * 3_600).expect("a time");
    let documents = [(0, -20), (1, -10), (2, -5)].map(|(phase, posted)| document(hour, phase, posted));

    let mut lines = Vec::new();
    apple.show(&documents[0].json());
    apple.once(Response::ok(documents[0].json()).truncated(200));
    let daemon = home.start();
    wait_for("a document that is cut off", apple.wait_for_requests(1)).await;
    // A reload polls at once, instead of after half a minute.
    daemon.signal("HUP").await;
    wait_for("a first document", apple.wait_for_requests(3)).await;
    let failure = Response::status(503).header("Retry-After", "1");
    serve_with_faults(&apple, &documents[1], &documents[0], failure).await;
    collect_changes(&mut peer, &["began", "planned", "unlisted"], &mut lines).await;
    daemon.stop().await;
    let daemon = home.start();
    let polls = apple.requests().len();
    wait_for("a poll after the restart", apple.wait_for_requests(polls + 2)).await;
    serve_with_faults(&apple, &documents[2], &documents[1], Response::html()).await;
    daemon.signal("HUP").await;
    collect_changes(&mut peer, &["ended", "moved", "missed"], &mut lines).await;
    daemon.stop().await;

    let watch = ["--watch", BACKUP, "--watch", "Mail", "--watch", "iCloud Bakcup"];
    let recording = home.path("record.jsonl").display().to_string();
    let arguments: Vec<&str> =
        ["replay", "--json"].into_iter().chain(watch).chain([recording.as_str()]).collect();
    let replayed = home.run(&arguments).await;
    assert_eq!(replayed.code, Some(0), "{}", replayed.err);
    let replayed: Vec<&str> = replayed.out.lines().collect();
    assert_eq!(replayed, lines);
}
