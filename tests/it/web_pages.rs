//! The pages of the real program, with 90 days of hand-made history. A browser checks them, too.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, params};
use statusd::model::{
    Beliefs, Change, ChangeKind, EventKind, FeedHealth, Listed, Outage, OverBy, Phase, Service, ServiceKey,
};
use statusd::store::{Coverage, DATABASE, Store};
use statusd::tracking::{Acceptance, Update};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::common::apple::Apple;
use crate::common::doc::Doc;
use crate::common::seeded_store::feed;
use crate::process::{Daemon, Home, configuration};

const WEB: &str = "[channel.desktop]\nenabled = false\n[web]\nlisten = \"127.0.0.1:0\"\n\
                   embed_origins = [\"https://intranet.example\"]\n";
const OTHERS: [&str; 6] =
    ["App Store", "Apple Pay & Wallet", "FaceTime", "iCloud Drive", "iMessage", "Weather"];
const MESSAGE: &str = "Users may be unable to back up to iCloud or to restore a backup.";

/// A daemon with a listener on some port.
struct Site {
    _home: Home,
    _apple: Apple,
    _daemon: Daemon,
    address: String,
}

impl Site {
    /// Starts the daemon and waits for its first poll. `watch` is a part of the configuration.
    async fn start(watch: &str, doc: &Doc, seed: impl AsyncFnOnce(&Path)) -> Site {
        let (home, apple) = (Home::new(), Apple::start().await);
        apple.show(&doc.json());
        let text = configuration("WATCH", &apple.url(), WEB).replace("\"WATCH\"", watch);
        home.configure(&text.replace("\"UTC\"", "\"Europe/Berlin\""));
        seed(&home.state()).await;
        let mut daemon = home.start();
        let line = daemon.wait_for_log("web: listening on http://").await;
        let address = line.rsplit("http://").next().expect("an address").trim().to_owned();
        apple.wait_for_requests(2).await;
        Site { _home: home, _apple: apple, _daemon: daemon, address }
    }

    /// Returns status, head and body.
    async fn get(&self, target: &str, accept: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(&self.address).await.expect("a connection");
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: {}\r\nAccept: {accept}\r\nConnection: close\r\n\r\n",
            self.address
        );
        stream.write_all(request.as_bytes()).await.expect("a request");
        let mut response = String::new();
        stream.read_to_string(&mut response).await.expect("a response in UTF-8");
        let (head, body) = response.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        (status, head.to_ascii_lowercase(), body.to_owned())
    }

    /// Returns the body of a page.
    async fn page(&self, target: &str) -> String {
        let (status, head, body) = self.get(target, "text/html").await;
        assert_eq!(status, 200, "{target}: {body}");
        assert!(head.contains("content-type: text/html; charset=utf-8"), "{head}");
        body
    }
}

/// An event and the times of its polls.
struct Past {
    outage: Outage,
    /// The first poll that saw the end.
    end_seen: Option<Timestamp>,
}

/// Returns an event that began `ago_h` hours before `now`, which Apple posted after `late_min` minutes.
fn past(
    service: &str,
    kind: EventKind,
    now: Timestamp,
    ago_h: i64,
    lasted_min: Option<i64>,
    late_min: i64,
) -> Past {
    let start = now - SignedDuration::from_hours(ago_h);
    let end = lasted_min.map(|minutes| start + SignedDuration::from_mins(minutes));
    let first_seen = start + SignedDuration::from_mins(late_min);
    let outage = Outage {
        service: service.to_owned(),
        message_id: (1_000_000 + ago_h).to_string(),
        occurrence: 1,
        kind,
        phase: match end {
            Some(end) if end <= now => Phase::Over(OverBy::Apple),
            Some(_) if start > now => Phase::Planned(None),
            Some(_) | None => Phase::Ongoing(None),
        },
        start: Some(start),
        end,
        first_seen,
        users_affected: Some("Some users are affected".to_owned()),
        message: MESSAGE.to_owned(),
        counts: BTreeMap::new(),
    };
    let end_seen =
        end.filter(|end| *end <= now).map(|end| (end + SignedDuration::from_mins(7)).max(first_seen));
    Past { outage, end_seen }
}

/// Ninety days: outages posted late and very late, an ongoing one, maintenance, and gaps of statusd.
fn history(now: Timestamp) -> Vec<Past> {
    let (down, issue) = (EventKind::Outage, EventKind::Issue);
    vec![
        past("iCloud Backup", down.clone(), now, 24 * 66 + 5, Some(250), 95),
        past("Photos", down.clone(), now, 24 * 66 + 5, Some(250), 95),
        past("iCloud Backup", issue.clone(), now, 24 * 37 + 2, Some(130), 40),
        past("iCloud Mail", issue, now, 24 * 25, Some(600), 80),
        past("iCloud Mail", EventKind::Maintenance, now, 24 * 16, Some(300), -24 * 60),
        past("iCloud Backup", down.clone(), now, 24 * 12 + 9, Some(75), 160),
        past("iCloud Backup", down.clone(), now, 4, None, 91),
        past("Photos", down, now, 4, None, 91),
        past("iCloud Mail", EventKind::Maintenance, now, -30, Some(180), -24 * 60 * 4),
    ]
}

/// The document that lists the events which are not over.
fn document(events: &[Past]) -> Doc {
    let mut doc = Doc::new();
    for name in ["iCloud Backup", "iCloud Mail", "Photos"].iter().chain(&OTHERS) {
        doc = doc.service(name);
        for Past { outage, .. } in
            events.iter().filter(|past| past.outage.service == *name && !past.outage.is_over())
        {
            let status = if matches!(outage.phase, Phase::Planned(_)) { "upcoming" } else { "ongoing" };
            let start = outage.start.expect("a start").as_second();
            doc = doc.event(
                &outage.message_id,
                outage.kind.as_str(),
                status,
                start,
                outage.end.map(Timestamp::as_second),
            );
            doc = doc.saying(MESSAGE);
        }
    }
    doc
}

/// Writes the history of a daemon with e-mail and desktop channels that ran for 84 days with gaps.
async fn seed(directory: &Path, events: &[Past], now: Timestamp) {
    let store = Store::open(directory, now).expect("a database").store;
    let beliefs = Beliefs::new(feed());
    let from = now - SignedDuration::from_hours(24 * 84);
    let listed = ["iCloud Backup", "iCloud Mail", "Photos"].into_iter().chain(OTHERS);
    let service = |name: &str| {
        let service = Service { name: name.to_owned(), first_seen: from, listed: Listed::Yes };
        (ServiceKey::new(name), service)
    };
    let mut state = beliefs.state.clone();
    (state.health, state.first_accepted) = (FeedHealth::Readable { since: from }, Some(from));
    let update = Update {
        verdict: Acceptance::Accepted,
        state,
        outages: events.iter().map(|past| past.outage.clone()).collect(),
        services: listed.map(service).collect(),
        forgotten: Vec::new(),
        changes: Vec::new(),
        left_out: 0,
    };
    let channels = |_: &Change| vec!["email.family".to_owned(), "desktop".to_owned()];
    store.commit(&beliefs, &update, &channels, Coverage::Begins, 1, from).await.expect("written");
    for change in events.iter().flat_map(changes).filter(|change| change.seen_at <= now) {
        store.record_change(&change, &channels, change.at).await.expect("written");
    }
    drop(store);
    let database = Connection::open(directory.join(DATABASE)).expect("a database");
    let sent = "UPDATE delivery SET state = 'sent', attempts = 1,
                    settled_at = strftime('%Y-%m-%dT%H:%M:%SZ', created_at, '+' || length(channel) || ' seconds')";
    database.execute(sent, []).expect("sent");
    database.execute("DELETE FROM coverage", []).expect("empty");
    // From and to in hours ago; the feed was unreadable in the third one.
    for (number, (from, to)) in [
        (84 * 24, 44 * 24),
        (43 * 24 - 9, 21 * 24),
        (21 * 24, 21 * 24 - 14),
        (21 * 24 - 14, 9 * 24),
        (9 * 24 - 8, 0),
    ]
    .into_iter()
    .enumerate()
    {
        let at = |hours: i64| (now - SignedDuration::from_hours(hours)).to_string();
        let (health, reason) =
            if number == 2 { ("unreadable", Some("HTTP 503")) } else { ("readable", None) };
        let insert = "INSERT INTO coverage (feed, from_at, to_at, health, fault, reason) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let fault = reason.map(|_| "apple");
        database
            .execute(insert, params![feed().to_string(), at(from), at(to), health, fault, reason])
            .expect("a span");
    }
}

/// Returns the changes that an event leaves.
fn changes(past: &Past) -> Vec<Change> {
    let Past { outage, end_seen } = past;
    let is_maintenance = outage.kind.is_maintenance();
    let change = |kind, seen: Timestamp| Change {
        service: outage.service.clone(),
        message_id: Some(outage.message_id.clone()),
        occurrence: Some(1),
        outage_kind: Some(outage.kind.clone()),
        began_at: outage.start,
        ended_at: outage.end.filter(|_| kind != ChangeKind::Began),
        users_affected: outage.users_affected.clone(),
        message: outage.message.clone(),
        ..Change::bare(kind, feed(), seen, seen + SignedDuration::from_secs(45))
    };
    let is_missed = end_seen.is_some_and(|seen| seen == outage.first_seen);
    let first = match (is_maintenance, is_missed) {
        (true, _) => ChangeKind::Planned,
        (false, true) => ChangeKind::Missed,
        (false, false) => ChangeKind::Began,
    };
    let last = if is_maintenance { ChangeKind::Over } else { ChangeKind::Ended };
    let mut changes = vec![change(first, outage.first_seen)];
    changes.extend(end_seen.filter(|_| !is_missed).map(|seen| change(last, seen)));
    changes
}

/// The demonstration site: three watched services, one incident in progress.
async fn demonstration() -> Site {
    let now = now();
    let events = history(now);
    let doc = document(&events);
    let watch = "\"iCloud Backup\", \"iCloud Mail\", \"Photos\"";
    Site::start(watch, &doc, async |directory| seed(directory, &events, now).await).await
}

fn now() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second()).expect("a time")
}

/// The addresses of all pages.
fn addresses(page: &str) -> Vec<String> {
    let outage = page.split("href=\"").find(|rest| rest.starts_with("/outages/")).expect("an outage");
    let outage = outage.split('"').next().expect("an address").to_owned();
    let fixed =
        ["/", "/?view=tv", "/history", "/services", "/maintenance", "/verdict", "/embed/icloud-backup"];
    fixed.into_iter().map(str::to_owned).chain([outage]).collect()
}

#[tokio::test]
async fn every_page_is_served_with_a_strict_policy() {
    let site = demonstration().await;
    let overview = site.page("/").await;
    assert!(overview.len() < 50_000, "{} bytes", overview.len());
    assert!(overview.contains("iCloud Backup</bdi> and <bdi>Photos</bdi> have an outage."), "{overview}");
    for address in addresses(&overview) {
        let (status, head, body) = site.get(&address, "text/html,*/*").await;
        assert_eq!(status, 200, "{address}: {body}");
        assert!(
            head.contains("content-security-policy: default-src 'none'; style-src 'self'; img-src 'self'")
        );
        assert!(!head.contains("unsafe-inline"), "{head}");
        let ancestors = match address.starts_with("/embed/") {
            true => "frame-ancestors https://intranet.example",
            false => "frame-ancestors 'none'",
        };
        assert!(head.contains(ancestors), "{address}: {head}");
    }
    let (status, head, style) = site.get("/style.css?1", "text/css").await;
    assert_eq!((status, head.contains("content-type: text/css; charset=utf-8")), (200, true), "{head}");
    assert!(overview.len() + style.len() < 50_000 && !style.contains("url(") && !style.contains("@import"));
}

#[tokio::test]
async fn a_timeline_is_found_by_its_key() {
    let site = demonstration().await;
    let overview = site.page("/").await;
    let outage = addresses(&overview).pop().expect("an outage");
    let page = site.page(&outage).await;
    for words in [
        "Began, by Apple&#39;s clock",
        "Posted by Apple, and seen",
        "1 h 31 min after the start",
        "Confirmed by a second poll",
        "Announced by e-mail",
        "Announced by desktop notification",
        "Still ongoing",
        "Also affected",
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }
    assert!(!page.contains("family"), "the name of a channel: {page}");
    for missing in
        ["/outages/", "/outages/x", "/outages/consumer/en_US/icloud%20backup/1/1", "/outages/%ff/a/b/c/1"]
    {
        let (status, _, _) = site.get(missing, "text/html").await;
        assert_eq!(status, 404, "{missing}");
    }
}

#[tokio::test]
async fn the_history_has_filters_and_pages() {
    let now = now();
    let events: Vec<Past> = (1..=120)
        .map(|number| {
            let service = if number % 2 == 0 { "Photos" } else { "iCloud Backup" };
            let kind = if number % 3 == 0 { EventKind::Maintenance } else { EventKind::Outage };
            past(service, kind, now, 24 * number, Some(60), 5)
        })
        .collect();
    let doc = document(&[]);
    let site =
        Site::start("\"iCloud Backup\"", &doc, async |directory| seed(directory, &events, now).await).await;
    let ids = |page: &str| -> Vec<i64> {
        let keys = page.split("href=\"/outages/consumer/en_US/").skip(1);
        keys.map(|rest| rest.split('/').nth(1).and_then(|id| id.parse().ok()).expect("an id")).collect()
    };
    let link = |page: &str, rel: &str| {
        let link = page.split(&format!("rel=\"{rel}\" href=\"")).nth(1)?;
        Some(link.split('"').next()?.replace("&#38;", "&").replace("&amp;", "&"))
    };
    // Forwards, then backwards.
    let (mut address, mut forwards) = ("/history".to_owned(), Vec::new());
    let last = loop {
        let page = site.page(&address).await;
        forwards.push(ids(&page));
        match link(&page, "next") {
            Some(next) => address = next,
            None => break page,
        }
    };
    let expected: Vec<i64> = (1..=120).map(|number| 1_000_000 + 24 * number).collect();
    assert_eq!(forwards.concat(), expected);
    assert_eq!(forwards.len(), 3);
    let middle = site.page(&link(&last, "prev").expect("a newer page")).await;
    assert_eq!(ids(&middle), forwards[1]);
    let first = site.page(&link(&middle, "prev").expect("a newer page")).await;
    assert_eq!((ids(&first), link(&first, "prev")), (forwards[0].clone(), None));
    // Filters, which the links keep.
    let page = site.page("/history?service=photos&kind=maintenance").await;
    assert_eq!(ids(&page), expected.iter().copied().skip(5).step_by(6).collect::<Vec<_>>());
    let page = site.page("/history?service=icloud-backup&kind=&from=&to=").await;
    assert!(
        link(&page, "next").expect("an older page").starts_with("/history?service=icloud%2Dbackup&before=")
    );
    let date = |ago: i64| (now - SignedDuration::from_hours(24 * ago)).strftime("%Y-%m-%d").to_string();
    let page = site.page(&format!("/history?from={}&to={}", date(11), date(9))).await;
    let found = ids(&page);
    assert!(found.contains(&(1_000_000 + 240)) && (2..=4).contains(&found.len()), "{found:?}");
    assert!(site.page("/history?kind=issue").await.contains("No outage or maintenance in this selection."));
    for invalid in [
        "service=x",
        "kind=x",
        "from=x",
        "to=2026-13-01",
        "before=x",
        "from=-009999-01-01",
        "to=9999-12-31",
        "kind=a&kind=b",
    ] {
        let (status, _, body) = site.get(&format!("/history?{invalid}"), "text/html").await;
        assert!(status == 400 || invalid == "to=9999-12-31", "{invalid}: {body}");
    }
}

#[tokio::test]
async fn errors_are_pages_for_browsers_and_problems_for_programs() {
    let site = Site::start("\"Photos\"", &document(&[]), async |_| {}).await;
    for (target, accept, kind) in [
        ("/nowhere", "text/html,application/xhtml+xml,*/*;q=0.8", "text/html"),
        ("/embed/nothing", "text/html", "text/html"),
        ("/outages/a/b/c/d/1", "text/html", "text/html"),
        ("/nowhere", "*/*", "application/problem+json"),
        ("/nowhere", "application/json", "application/problem+json"),
        ("/api/v1/nowhere", "text/html", "application/problem+json"),
    ] {
        let (status, head, body) = site.get(target, accept).await;
        assert_eq!(status, 404, "{target}");
        assert!(head.contains(&format!("content-type: {kind}")), "{target} for {accept}: {head}");
        assert_eq!(body.contains("<h1>Not Found</h1>"), kind == "text/html", "{body}");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
    }
}

/// Apple's text arrives hostile from the feed itself, and no page lets it out of its element.
#[tokio::test]
async fn a_hostile_feed_is_text_on_every_page() {
    let name = "\"><script>alert('name')</script>\u{202e}moc.elppa";
    let start = (now() - SignedDuration::from_hours(2)).as_second();
    let message = format!("</blockquote><script>alert('text')</script>{}", "x".repeat(100_000));
    let doc =
        Doc::new().service(name).event("'\"><script>", "<b>Bad</b>", "ongoing", start, None).saying(&message);
    let site = Site::start("\"*\"", &doc, async |_| {}).await;
    let services = site.page("/services").await;
    let slug =
        services.split("/history?service=").nth(1).and_then(|rest| rest.split('"').next()).expect("a slug");
    let mut targets: Vec<String> =
        ["/", "/?view=tv", "/history", "/services", "/maintenance", "/verdict"].map(str::to_owned).to_vec();
    targets.extend([format!("/embed/{slug}"), format!("/history?service={slug}")]);
    for target in targets {
        let page = site.page(&target).await;
        assert!(
            !page.contains("<script") && !page.contains("<b>") && !page.contains('\u{202e}'),
            "{target}: {page}"
        );
        assert!(page.len() < 100_000, "{target}: {}", page.len());
    }
}

/// Chromium and axe: no violation, no overflow and no request to another host, in both colour schemes, with and
/// without scripts, from 320 px to a screen on the wall. Writes pictures to `STATUSD_PICTURES`.
#[tokio::test]
#[ignore = "needs chromium, and `npm ci` in tests/web"]
async fn a_browser_finds_no_fault() {
    let site = demonstration().await;
    let fine = Site::start("\"iCloud Backup\"", &document(&[]), async |directory| {
        let now = now();
        let events: Vec<Past> = history(now).into_iter().filter(|past| past.outage.is_over()).collect();
        seed(directory, &events, now).await;
    })
    .await;
    let overview = site.page("/").await;
    let mut urls: Vec<String> =
        addresses(&overview).iter().map(|address| format!("http://{}{address}", site.address)).collect();
    urls.extend(
        ["/", "/?view=tv", "/verdict", "/nowhere"].map(|address| format!("http://{}{address}", fine.address)),
    );
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/web/pages.mjs");
    let mut command = Command::new("node");
    command.arg(script).args(&urls).stdin(Stdio::null());
    let status = command.status().await.expect("node");
    assert!(status.success(), "see the list above");
}
