//! The listener's documents for programs, from a running daemon: the API, the Statuspage form, badges, feeds.
//!
//! `tests/web/` reads the same addresses with clients that other people wrote.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use statusd::model::{Change, ChangeKind, EventKind, LastBackup, Outage, OverBy, Phase};
use statusd::store::Store;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::common::apple::{Apple, Response};
use crate::common::doc::Doc;
use crate::common::seeded_store::{feed, outage, seed};
use crate::process::{Daemon, Home, configuration, wait_for};

const BACKUP: &str = "iCloud Backup";
const CANARY: &str = "canary-4711";
const HOSTILE: &str =
    "</title>]]><script>alert(1)</script>\"'&\\;,\r\nEND:VEVENT\r\nBEGIN:VALARM \u{202e}\u{1b}[31m";
const WEB: &str = "[channel.desktop]\nenabled = false\n[web]\nlisten = \"127.0.0.1:0\"\n";
/// The documents of the Statuspage form.
const STATUSPAGE: [&str; 8] = [
    "summary",
    "status",
    "components",
    "incidents",
    "incidents/unresolved",
    "scheduled-maintenances",
    "scheduled-maintenances/active",
    "scheduled-maintenances/upcoming",
];

/// A daemon with a listener, and Apple's feed.
struct Site {
    home: Home,
    apple: Apple,
    daemon: Daemon,
    address: String,
}

/// An answer of the listener.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Answer {
    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    #[track_caller]
    fn array(&self) -> Vec<Value> {
        self.json().as_array().expect("an array").clone()
    }
}

fn now() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second()).expect("a time")
}

fn hours(count: i64) -> SignedDuration {
    SignedDuration::from_hours(count)
}

fn change(kind: ChangeKind, of: &Outage, at: Timestamp) -> Change {
    Change {
        service: of.service.clone(),
        message_id: Some(of.message_id.clone()),
        occurrence: Some(of.occurrence),
        outage_kind: Some(of.kind.clone()),
        began_at: of.start,
        ended_at: of.end,
        message: of.message.clone(),
        ..Change::bare(kind, feed(), of.first_seen, at)
    }
}

impl Site {
    /// Starts a daemon on a database with five outages of two hostile and two plain services.
    async fn start() -> Site {
        let (home, apple) = (Home::new(), Apple::start().await);
        home.configure(&configuration(BACKUP, &apple.url(), WEB));
        let now = now();
        let outages = outages(now);
        apple.show(&document(&outages));
        let from = now - hours(30);
        std::fs::create_dir_all(home.state()).expect("a directory");
        seed(&home.state(), &[BACKUP, "Photos", "A & B", HOSTILE], outages.clone(), from, now).await;
        let store = Store::open_existing(&home.state(), true).expect("a database").expect("a database");
        for change in changes(&outages, now) {
            store.record_change(&change, &|_| Vec::new(), now).await.expect("written");
        }
        drop(store);
        let mut daemon = home.start();
        let address = address(&mut daemon).await;
        apple.wait_for_requests(1).await;
        let site = Site { home, apple, daemon, address };
        site.until("/api/v1/status", |status| status["running"]["polled_at"].is_string()).await;
        site
    }

    async fn get(&self, path: &str) -> Answer {
        ask(&self.address, "GET", path, &[]).await
    }

    /// Asks until the document is as expected.
    async fn until(&self, path: &str, is_reached: impl Fn(&Value) -> bool) -> Value {
        wait_for(path, async {
            loop {
                let answer = self.get(path).await;
                if answer.status == 200 && is_reached(&answer.json()) {
                    return answer.json();
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    }
}

fn outages(now: Timestamp) -> Vec<Outage> {
    let ongoing = Outage {
        kind: EventKind::Outage,
        users_affected: Some("Some users are affected".to_owned()),
        message: "Users may be unable to back up.".to_owned(),
        counts: BTreeMap::from([(ChangeKind::Began, 1)]),
        first_seen: now - hours(1),
        ..outage(BACKUP, "100", now - hours(3), None)
    };
    let sibling = Outage { service: "Photos".to_owned(), ..ongoing.clone() };
    let hostile = Outage {
        message: HOSTILE.to_owned(),
        counts: BTreeMap::from([(ChangeKind::Missed, 1)]),
        ..outage(HOSTILE.trim(), "</id>200", now - hours(20), Some(now - hours(19)))
    };
    let maintenance = Outage {
        kind: EventKind::Maintenance,
        phase: Phase::Planned(None),
        start: Some(now + hours(20)),
        end: Some(now + hours(22)),
        first_seen: now - hours(2),
        message: HOSTILE.to_owned(),
        counts: BTreeMap::from([(ChangeKind::Planned, 1), (ChangeKind::Moved, 2)]),
        ..outage("A & B", "300", now, None)
    };
    let withdrawn = Outage {
        phase: Phase::Over(OverBy::Withdrawal),
        counts: BTreeMap::from([(ChangeKind::Began, 1), (ChangeKind::Withdrawn, 1)]),
        ..outage("Photos", "400", now - hours(28), Some(now - hours(25)))
    };
    vec![ongoing, sibling, hostile, maintenance, withdrawn]
}

fn changes(outages: &[Outage], now: Timestamp) -> Vec<Change> {
    let [ongoing, sibling, hostile, maintenance, withdrawn] = outages else { panic!("five outages") };
    let phone = LastBackup { at: now - hours(9), read_at: now, phones: 77 };
    let seen = now - hours(1);
    vec![
        Change { message: CANARY.to_owned(), ..Change::history_lost(feed(), CANARY, now - hours(29)) },
        change(ChangeKind::Began, withdrawn, now - hours(28)),
        change(ChangeKind::Withdrawn, withdrawn, now - hours(25)),
        change(ChangeKind::Missed, hostile, now - hours(18)),
        Change {
            message: format!("cannot reach proxy {CANARY}"),
            ..Change::bare(ChangeKind::Unreadable, feed(), now - hours(10), now - hours(9))
        },
        change(ChangeKind::Planned, maintenance, now - hours(2)),
        Change {
            message_id: Some(CANARY.to_owned()),
            began_at: Some(now - hours(90)),
            ..Change::bare(ChangeKind::BackupLate, feed(), seen, seen)
        },
        Change { phone: Some(phone), ..change(ChangeKind::Began, ongoing, seen) },
        change(ChangeKind::Began, sibling, seen),
    ]
}

/// Returns Apple's document with the outages that are not withdrawn.
fn document(outages: &[Outage]) -> String {
    let mut doc = Doc::new();
    for name in [BACKUP, "Photos", "A & B", HOSTILE] {
        doc = doc.service(name);
        let key = statusd::model::ServiceKey::new(name);
        for outage in outages {
            let status = match outage.phase {
                Phase::Planned(_) => "upcoming",
                Phase::Ongoing(_) => "ongoing",
                Phase::Over(OverBy::Apple) => "resolved",
                Phase::Over(OverBy::Withdrawal) => continue,
            };
            if statusd::model::ServiceKey::new(&outage.service) == key {
                let (start, end) = (outage.start.expect("a start"), outage.end.map(Timestamp::as_second));
                doc = doc.event(&outage.message_id, outage.kind.as_str(), status, start.as_second(), end);
                doc = doc.saying(&outage.message);
            }
        }
    }
    doc.json()
}

/// Returns the address from the log.
async fn address(daemon: &mut Daemon) -> String {
    let line = daemon.wait_for_log("web: listening on http://").await;
    line.rsplit_once("http://").expect("an address").1.trim().to_owned()
}

async fn ask(address: &str, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let request =
        format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut bytes = Vec::new();
    wait_for(path, stream.read_to_end(&mut bytes)).await.expect("an answer");
    let text = String::from_utf8(bytes).expect("UTF-8");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let header =
        |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
    Answer { status, headers: head.lines().skip(1).filter_map(header).collect(), body: body.to_owned() }
}

fn keys(value: &Value) -> Vec<String> {
    let mut keys: Vec<String> = value.as_object().expect("an object").keys().cloned().collect();
    keys.sort();
    keys
}

fn without(mut value: Value, names: &[&str]) -> Value {
    for name in names {
        value.as_object_mut().expect("an object").remove(*name);
    }
    value
}

#[tokio::test]
async fn documents_are_those_of_the_command_line() {
    let site = Site::start().await;
    let cli = async |arguments: &[&str]| -> Value {
        let output = site.home.run(arguments).await;
        serde_json::from_str(&output.out).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    };

    let (api, owner) = (site.get("/api/v1/status").await.json(), cli(&["status", "--json"]).await);
    let hidden = ["configuration", "database", "phones"];
    let expected: Vec<String> =
        keys(&owner).into_iter().filter(|key| !hidden.contains(&key.as_str())).collect();
    assert_eq!(keys(&api), expected);
    let hidden = ["pid", "trouble"];
    let expected: Vec<String> =
        keys(&owner["running"]).into_iter().filter(|key| !hidden.contains(&key.as_str())).collect();
    assert_eq!(keys(&api["running"]), expected);
    for name in ["version", "feed", "watch", "time_zone", "ongoing", "not_listed", "deliveries", "apple_says"]
    {
        assert_eq!(api[name], owner[name], "{name}");
    }

    let newest_first =
        |value: Value| value.as_array().expect("an array").iter().rev().cloned().collect::<Vec<_>>();
    let expected = newest_first(cli(&["history", "--json", "--all"]).await);
    assert_eq!(site.get("/api/v1/history").await.array(), expected);

    let changes = site.get("/api/v1/changes").await.array();
    let local = ["id", "text", "apple_text", "phone_backup_at", "phone_read_at", "phones"];
    let plain = |changes: Vec<Value>| changes.into_iter().map(|one| without(one, &local)).collect::<Vec<_>>();
    let mut expected = newest_first(cli(&["history", "--changes", "--json", "--all"]).await);
    expected.retain(|change| change["kind"] != "backup_late");
    assert_eq!(plain(changes), plain(expected));

    // The database holds the texts as seeded, and a fetch as the parser reads them.
    let by_name = |value: &Value| {
        let mut list = value["services"].as_array().expect("an array").clone();
        list.retain(|service| !service["service"].as_str().is_some_and(|name| name.starts_with('<')));
        list.sort_by_key(|service| service["service"].to_string());
        for event in list.iter_mut().flat_map(|service| service["events"].as_array_mut().expect("events")) {
            *event = without(event.clone(), &["apple_text", "users_affected"]);
        }
        list.into_iter().map(|service| without(service, &["slug"])).collect::<Vec<_>>()
    };
    let (api, fetched) = (site.get("/api/v1/services").await.json(), cli(&["services", "--json"]).await);
    assert_eq!(by_name(&api), by_name(&fetched));

    let key = site.get("/api/v1/history").await.array()[0]["key"].as_str().expect("a key").to_owned();
    let one = site.get(&format!("/api/v1/outages/{key}")).await.json();
    assert_eq!(without(one.clone(), &["timeline"]), site.get("/api/v1/history?limit=1").await.array()[0]);
    assert_eq!(one["timeline"][0]["kind"], "planned");
    let encoded = key.replace('%', "%25").replace('/', "%2F");
    assert_eq!(site.get(&format!("/api/v1/outages/{encoded}")).await.json(), one);
}

#[tokio::test]
async fn bad_parameters_are_problems_and_known_answers_are_not_repeated() {
    let site = Site::start().await;
    for (path, status) in [
        ("/api/v1/status?x=1", 400),
        ("/api/v1/services?service=Photos", 400),
        ("/api/v1/history?limit=0", 400),
        ("/api/v1/history?limit=501", 400),
        ("/api/v1/history?since=yesterday", 400),
        ("/api/v1/history?since=2026-05-02&until=2026-05-01", 404),
        ("/api/v1/history?before=7", 400),
        ("/api/v1/history?before=consumer/en_US/x/1/1", 404),
        ("/api/v1/history?service=Fotos", 404),
        ("/api/v1/changes?before=0", 400),
        ("/api/v1/changes?after=-1", 400),
        ("/api/v1/changes?limit=1&limit=2", 400),
        ("/api/v1/events?last_event_id=x", 400),
        ("/api/v1/outages/x", 404),
        ("/api/v1/outages/consumer/en_US/x/1/1", 404),
        ("/api/v1/outages/consumer/en_US/photos/100/1?x=1", 400),
        ("/api/v2/summary.json?x=1", 400),
        ("/api/v2/nothing.json", 404),
        ("/badge/icloud-backup.svg?style=flat", 400),
        ("/badge/icloud-backup.png", 404),
        ("/badge/fotos.svg", 404),
        ("/feed.atom?x=1", 400),
        ("/maintenance.ics?service=Fotos", 404),
        ("/api/openapi.json?x=1", 400),
    ] {
        let answer = site.get(path).await;
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.headers["content-type"], "application/problem+json", "{path}");
        let problem = answer.json();
        assert_eq!(problem["status"], status, "{path}");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() > 20), "{problem}");
    }
    let key = "/api/v1/outages/consumer/en_US/photos/400/1";
    for path in
        ["/api/v1/history", "/api/v1/changes", "/api/openapi.json", "/feed.atom", "/maintenance.ics", key]
    {
        let answer = site.get(path).await;
        assert_eq!((answer.status, answer.headers["cache-control"].as_str()), (200, "no-cache"), "{path}");
        let tag = answer.headers["etag"].clone();
        let head = ask(&site.address, "HEAD", path, &[]).await;
        assert_eq!((head.status, head.body.as_str(), &head.headers["etag"]), (200, "", &tag), "{path}");
        assert_eq!(head.headers["content-length"], answer.body.len().to_string(), "{path}");
        for method in ["GET", "HEAD"] {
            let again = ask(&site.address, method, path, &[("If-None-Match", &tag)]).await;
            assert_eq!(
                (again.status, again.body.as_str(), &again.headers["etag"]),
                (304, "", &tag),
                "{path}"
            );
        }
    }
}

#[tokio::test]
async fn links_lead_through_all_pages() {
    let site = Site::start().await;
    for (first, key) in [
        ("/api/v1/history", "key"),
        ("/api/v1/changes", "id"),
        ("/api/v1/history?since=2020-01-01&service=photos", "key"),
    ] {
        let whole = site.get(first).await;
        assert!(!whole.headers.contains_key("link"), "{first}");
        let limit = if first.contains('?') { "&limit=1" } else { "?limit=1" };
        let (mut path, mut found) = (Some(format!("{first}{limit}")), Vec::new());
        while let Some(next) = path {
            let answer = site.get(&next).await;
            assert_eq!(answer.array().len(), 1, "{next}");
            found.extend(answer.array());
            path = answer.headers.get("link").map(|link| {
                let address = link.strip_prefix('<').and_then(|link| link.strip_suffix(">; rel=\"next\""));
                address.expect("a link").to_owned()
            });
        }
        let ids = |list: &[Value]| list.iter().map(|one| one[key].clone()).collect::<Vec<_>>();
        assert_eq!(ids(&found), ids(&whole.array()), "{first}");
        assert!(found.len() >= 2, "{first}");
    }
    let since = (now() - hours(24)).to_string();
    let recent = site.get(&format!("/api/v1/history?since={since}")).await.array();
    assert!(recent.iter().all(|outage| outage["message_id"] != "400"), "{recent:?}");
    let forwards = site.get("/api/v1/changes?after=1&limit=2").await;
    assert_eq!(forwards.array().iter().map(|one| &one["id"]).collect::<Vec<_>>(), [&json!(2), &json!(3)]);
    assert_eq!(forwards.headers["link"], "</api/v1/changes?limit=2&after=3>; rel=\"next\"");
}

#[tokio::test]
async fn the_statuspage_form_badges_and_feeds_agree_with_apple() {
    let site = Site::start().await;
    let summary = site.get("/api/v2/summary.json").await.json();
    assert_eq!(summary["status"], json!({"indicator": "major", "description": "Apple reports an outage"}));
    let component = |name: &str| {
        let components = summary["components"].as_array().expect("components").clone();
        components.into_iter().find(|one| one["name"] == name).unwrap_or_else(|| panic!("{name}: {summary}"))
    };
    assert_eq!(component(BACKUP)["status"], "major_outage");
    assert_eq!(component("A & B")["status"], "operational");
    let incidents = summary["incidents"].as_array().expect("incidents");
    assert_eq!(incidents.len(), 1, "one incident with two services: {summary}");
    assert_eq!(incidents[0]["name"], "iCloud Backup, Photos: outage");
    assert_eq!(incidents[0]["components"].as_array().map(Vec::len), Some(2));
    let body = incidents[0]["incident_updates"][0]["body"].as_str().expect("a body").to_owned();
    assert!(body.contains("Apple posted this 2 h after it began."), "{body}");
    assert_eq!(summary["scheduled_maintenances"][0]["status"], "scheduled");
    let past = site.get("/api/v2/incidents.json").await.json();
    let withdrawn = past["incidents"]
        .as_array()
        .expect("incidents")
        .iter()
        .find(|one| one["name"] == "Photos: issue, no longer listed");
    let withdrawn = withdrawn.unwrap_or_else(|| panic!("{past}"));
    assert_eq!((&withdrawn["status"], &withdrawn["impact"]), (&json!("resolved"), &json!("minor")));
    let updates = withdrawn["incident_updates"].as_array().expect("updates");
    assert_eq!(updates.iter().map(|one| &one["status"]).collect::<Vec<_>>(), ["resolved", "investigating"]);
    assert!(
        updates[0]["body"].as_str().is_some_and(|body| body.contains("does not say whether it is fixed"))
    );

    let badge = site.get("/badge/icloud-backup.json").await.json();
    assert_eq!(
        badge,
        json!({"schemaVersion": 1, "label": BACKUP, "message": "outage", "color": "red", "isError": false,
               "cacheSeconds": 300})
    );
    let services = site.get("/api/v1/services").await.json();
    let slugs: Vec<&str> = services["services"]
        .as_array()
        .expect("services")
        .iter()
        .map(|service| service["slug"].as_str().expect("a slug"))
        .collect();
    assert!(slugs.contains(&"photos") && slugs.contains(&"icloud-backup"), "{slugs:?}");
    for slug in &slugs {
        let svg = site.get(&format!("/badge/{slug}.svg")).await;
        assert_eq!((svg.status, svg.headers["content-type"].as_str()), (200, "image/svg+xml; charset=utf-8"));
        assert!(!svg.body.contains("<script"), "{}", svg.body);
    }

    let atom = site.get("/feed.atom").await.body;
    assert_eq!(atom.matches("<entry>").count(), 3, "{atom}");
    assert!(
        atom.contains("<title>iCloud Backup, Photos: outage</title>") && !atom.contains("<script"),
        "{atom}"
    );
    assert!(!atom.contains("]]>") && !atom.contains('\u{1b}') && !atom.contains('\u{202e}'), "{atom}");
    let filtered = site.get("/feed.atom?service=icloud+backup").await.body;
    assert_eq!(filtered.matches("<entry>").count(), 1, "{filtered}");

    let ics = site.get("/maintenance.ics").await.body;
    assert_eq!(ics.matches("\r\nBEGIN:VEVENT\r\n").count(), 1, "{ics}");
    assert_eq!(ics.matches("\r\nEND:VEVENT\r\n").count(), 1, "{ics}");
    assert!(ics.contains("\r\nSEQUENCE:2\r\n") && !ics.contains("\r\nBEGIN:VALARM"), "{ics}");
    assert!(ics.split("\r\n").all(|line| line.len() <= 75 && !line.contains('\n')), "{ics}");

    // The ids are the same after a restart.
    let ids = |summary: &Value| {
        let list = |name: &str| {
            summary[name].as_array().expect("a list").iter().map(|one| one["id"].clone()).collect()
        };
        let lists: [Vec<Value>; 3] = [list("components"), list("incidents"), list("scheduled_maintenances")];
        (summary["page"]["id"].clone(), lists)
    };
    let Site { home, apple, daemon, .. } = site;
    daemon.stop().await;
    let mut daemon = home.start();
    let address = address(&mut daemon).await;
    let site = Site { home, apple, daemon, address };
    let again = wait_for("a poll", async {
        loop {
            let answer = site.get("/api/v2/summary.json").await;
            if answer.status == 200 {
                return answer.json();
            }
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(ids(&again.await), ids(&summary));
}

#[tokio::test]
async fn a_blind_statusd_is_never_operational() {
    let site = Site::start().await;
    for name in STATUSPAGE {
        assert_eq!(site.get(&format!("/api/v2/{name}.json")).await.status, 200, "{name}");
    }
    site.apple.respond(Response::html());
    site.until("/api/v1/status", |status| status["feed_health"]["state"] == "unreadable").await;
    for name in STATUSPAGE {
        let answer = site.get(&format!("/api/v2/{name}.json")).await;
        assert_eq!((answer.status, answer.json()["status"].clone()), (503, json!(503)), "{name}");
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        assert!(answer.headers.contains_key("retry-after") && !answer.body.contains("operational"));
    }
    let badge = site.get("/badge/photos.json").await.json();
    assert_eq!((&badge["isError"], &badge["color"]), (&json!(true), &json!("lightgrey")));
    assert!(site.get("/badge/photos.svg").await.body.contains("cannot tell"));
    let services = site.get("/api/v1/services").await.json();
    for service in services["services"].as_array().expect("services") {
        assert_eq!((&service["state"], &service["reason"]), (&json!("cannot_tell"), &json!("unreadable")));
    }
}

#[tokio::test]
async fn a_stranger_learns_of_no_phone_file_or_host() {
    let site = Site::start().await;
    let all = ["/api/v1/status", "/api/v1/services", "/api/v1/history", "/api/v1/changes", "/feed.atom"];
    let statuspage = STATUSPAGE.map(|name| format!("/api/v2/{name}.json"));
    let one = "/api/v1/outages/consumer/en_US/icloud%20backup/100/1";
    let paths = all.into_iter().chain([one, "/maintenance.ics"]).chain(statuspage.iter().map(String::as_str));
    let home = site.home.path("").display().to_string();
    for path in paths {
        let answer = site.get(path).await;
        assert_eq!(answer.status, 200, "{path}");
        for secret in [CANARY, "\"phones\": 77", "iPhone's last", "backup_late", home.as_str(), "statusd.db"]
        {
            assert!(!answer.body.contains(secret), "{path} contains {secret}: {}", answer.body);
        }
    }
}

/// Lines of a stream of events.
struct Stream {
    lines: tokio::io::Lines<BufReader<TcpStream>>,
}

impl Stream {
    async fn open(address: &str, path: &str, headers: &str) -> Stream {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut stream = Stream { lines: BufReader::new(stream).lines() };
        assert_eq!(stream.next("HTTP/1.1").await, "HTTP/1.1 200 OK");
        stream.next(": statusd").await;
        stream
    }

    /// Skips lines up to one that begins so.
    async fn next(&mut self, start: &str) -> String {
        wait_for(start, async {
            loop {
                let line = self.lines.next_line().await.expect("a line").expect("an open stream");
                if line.starts_with(start) {
                    return line;
                }
            }
        })
        .await
    }

    async fn ids(&mut self, count: usize) -> Vec<String> {
        let mut ids = Vec::new();
        while ids.len() < count {
            ids.push(self.next("id: ").await.split_off(4));
        }
        ids
    }
}

#[tokio::test]
async fn a_stream_resumes_sees_news_and_ends_with_the_daemon() {
    let site = Site::start().await;
    let mut all = Stream::open(&site.address, "/api/v1/events?last_event_id=0", "").await;
    // The seventh change is about a phone.
    assert_eq!(all.ids(8).await, ["1", "2", "3", "4", "5", "6", "8", "9"]);
    let mut resumed =
        Stream::open(&site.address, "/api/v1/events?last_event_id=0", "Last-Event-ID: 6\r\n").await;
    assert_eq!(resumed.ids(2).await, ["8", "9"]);
    let mut from_now = Stream::open(&site.address, "/api/v1/events", "").await;
    let mut of_lost_history = Stream::open(&site.address, "/api/v1/events", "Last-Event-ID: 4000\r\n").await;
    assert_eq!(of_lost_history.ids(1).await, ["1"]);

    let store = Store::open_existing(&site.home.state(), true).expect("a database").expect("a database");
    let news = change(ChangeKind::Ended, &outages(now())[0], now());
    store.record_change(&news, &|_| Vec::new(), now()).await.expect("written");
    for stream in [&mut all, &mut resumed, &mut from_now] {
        assert_eq!(stream.ids(1).await, ["10"]);
        let data = stream.next("data: ").await;
        let data: Value = serde_json::from_str(&data["data: ".len()..]).expect("JSON");
        assert_eq!((&data["kind"], &data["id"]), (&json!("ended"), &json!(10)));
    }

    let Site { daemon, .. } = site;
    daemon.stop().await;
    let rest = wait_for("the end of the stream", async {
        let mut rest = Vec::new();
        while let Some(line) = all.lines.next_line().await.expect("a line") {
            rest.push(line);
        }
        rest
    });
    // The last chunk: the stream was ended, not cut.
    assert!(rest.await.iter().any(|line| line == "0"));
}

#[tokio::test]
async fn streams_are_limited() {
    let site = Site::start().await;
    let mut streams = Vec::new();
    for _ in 0..32 {
        streams.push(Stream::open(&site.address, "/api/v1/events", "").await);
    }
    let refused = site.get("/api/v1/events").await;
    assert_eq!((refused.status, refused.headers["content-type"].as_str()), (503, "application/problem+json"));
    assert_eq!(site.get("/api/v1/status").await.status, 200);
    streams.pop();
    wait_for("a free place", async {
        loop {
            let mut stream = TcpStream::connect(&site.address).await.expect("a connection");
            let request = format!("GET /api/v1/events HTTP/1.1\r\nHost: {}\r\n\r\n", site.address);
            stream.write_all(request.as_bytes()).await.expect("sent");
            let mut lines = BufReader::new(stream).lines();
            if lines.next_line().await.expect("a line").as_deref() == Some("HTTP/1.1 200 OK") {
                return;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn every_described_address_answers_as_described() {
    let site = Site::start().await;
    let described = site.get("/api/openapi.json").await.json();
    for (path, operations) in described["paths"].as_object().expect("paths") {
        let path = path.replace("{slug}", "photos").replace("{key}", "consumer%2Fen_US%2Fphotos%2F100%2F1");
        if path == "/api/v1/events" {
            continue;
        }
        let answer = site.get(&path).await;
        let content = &operations["get"]["responses"]["200"]["content"];
        let media = answer.headers["content-type"].split(';').next().expect("a type").to_owned();
        assert_eq!((answer.status, keys(content)), (200, vec![media]), "{path}");
    }
}
