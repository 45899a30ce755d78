//! Damaged databases: flipped bits, read errors, and files that are emptied, deleted, replaced or outdated.
//!
//! Each fault is applied to a copy of one database with a history and pending deliveries. statusd must
//! start, must not announce a change again, and must keep pending deliveries or report a loss.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::common::doc::Doc;
use jiff::{SignedDuration, Timestamp};
use statusd::feed::parse;
use statusd::model::{Change, ChangeKind, Document, Edition, FeedId};
use statusd::store::{
    Batching, ChangeFilter, Coverage, DATABASE, OpenError, Opened, RenderedNotice, Settled, Store, Waiting,
};
use statusd::tracking::watchlist::Watchlist;
use statusd::tracking::{self, Pending};
use tempfile::TempDir;

const START: &str = "2026-03-02T09:00:00Z";
const CHANNELS: [&str; 2] = ["desktop", "webhook.ops"];
const ALL: Batching = Batching::Digest { max_age: SignedDuration::from_hours(24) };
/// Flipped bits in the short test. The long test flips [`MANY`].
const FEW: usize = 100;
const MANY: usize = 2_500;
const HEADER_BYTES: usize = 100;

/// Creates a directory, in memory if possible, because the tests sync thousands of databases.
fn temp_dir() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() };
    made.expect("a folder")
}

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn feed_id() -> FeedId {
    FeedId { edition: Edition::Consumer, locale: "en_US".to_owned() }
}

fn watch() -> Watchlist {
    Watchlist::new(&["*"])
}

fn document(doc: &Doc) -> Document {
    parse::parse(doc.json().as_bytes()).expect("a document")
}

/// The outage of iCloud Backup is over. Photos and Mail are down.
fn newest_document() -> Doc {
    let began = at("2026-03-02T08:00:00Z").as_second();
    Doc::new()
        .service("iCloud Backup")
        .event("1001", "Outage", "resolved", began, Some(began + 5_400))
        .service("iCloud Mail")
        .event("1002", "Issue", "ongoing", began + 600, None)
        .service("Photos")
        .event("1003", "Outage", "ongoing", began + 1_200, None)
}

/// Polls a document twice, far enough apart to confirm its changes.
async fn poll_twice(store: &Store, doc: &Doc, now: Timestamp) -> Vec<Change> {
    let mut beliefs = store.beliefs(&feed_id()).await.expect("beliefs");
    let mut pending = Pending::default();
    let document = document(doc);
    let mut changes = Vec::new();
    for now in [now, now + SignedDuration::from_secs(45)] {
        store.recall(&mut beliefs, &document).await.expect("older beliefs");
        let update = tracking::compare(&beliefs, &mut pending, &document, &watch(), now);
        let routing = |change: &Change| match change.kind.is_told() {
            true => CHANNELS.map(str::to_owned).to_vec(),
            false => Vec::new(),
        };
        store.commit(&beliefs, &update, &routing, Coverage::Continues, 1, now).await.expect("written");
        changes.extend(update.changes.clone());
        update.apply(&mut beliefs);
    }
    changes
}

fn compose(waiting: &Waiting) -> RenderedNotice {
    let key = waiting.changes[0].key();
    let severity = statusd::model::Severity::Alert;
    RenderedNotice {
        key,
        title: "A title".to_owned(),
        body: "A body".to_owned(),
        severity,
        payload: String::new(),
    }
}

fn batching(channel: &str) -> Batching {
    if channel == "desktop" { ALL } else { Batching::PerChange }
}

/// Begins an attempt. Returns its id.
async fn begin(store: &Store, channel: &str, now: Timestamp) -> Option<i64> {
    let next = move |_| now + SignedDuration::from_secs(5);
    let begun = store.begin(channel, batching(channel), compose, next, now).await;
    begun.expect("the database works").map(|attempt| attempt.id)
}

async fn send(store: &Store, channel: &str, now: Timestamp) -> bool {
    let Some(attempt_id) = begin(store, channel, now).await else { return false };
    let sent = Settled::Sent { receipt: Some("1".to_owned()), detail: "taken".to_owned() };
    store.settle(attempt_id, &sent, Duration::ZERO, now).await.expect("recorded");
    true
}

/// Fills the database with past and ongoing outages, and with sent, in-flight and pending messages.
async fn fill(store: &Store) {
    let began = at("2026-03-02T08:00:00Z").as_second();
    let fine = Doc::new().service("iCloud Backup").service("iCloud Mail").service("Photos");
    poll_twice(store, &fine, at(START)).await;
    let down = Doc::new()
        .service("iCloud Backup")
        .event("1001", "Outage", "ongoing", began, None)
        .service("iCloud Mail")
        .service("Photos");
    poll_twice(store, &down, at("2026-03-02T09:10:00Z")).await;
    for channel in CHANNELS {
        while send(store, channel, at("2026-03-02T09:11:00Z")).await {}
    }
    poll_twice(store, &newest_document(), at("2026-03-02T09:50:00Z")).await;
    // One message is in flight on each channel. On the channel for programs two more are pending.
    for channel in CHANNELS {
        begin(store, channel, at("2026-03-02T09:51:00Z")).await.expect("a message");
    }
    let until = at("2026-03-02T09:52:00Z");
    store.snooze(until, at("2026-03-02T09:51:00Z")).await.expect("written");
    store.acknowledge(&feed_id(), |outage| outage.service == "Photos", false, until).await.expect("written");
}

/// Returns a directory with such a database, closed.
async fn filled() -> TempDir {
    let folder = temp_dir();
    let store = Store::open(folder.path(), at(START)).expect("a store").store;
    fill(&store).await;
    folder
}

fn copy(from: &Path) -> TempDir {
    let folder = temp_dir();
    for entry in fs::read_dir(from).expect("a directory").flatten() {
        if entry.file_name() != "statusd.lock" {
            fs::copy(entry.path(), folder.path().join(entry.file_name())).expect("copied");
        }
    }
    folder
}

type Delivery = (i64, String);

/// Returns the deliveries that are pending or given up.
async fn open_deliveries(store: &Store) -> BTreeSet<Delivery> {
    let deliveries = store.deliveries(false).await.expect("an outbox");
    deliveries.into_iter().map(|delivery| (delivery.id, delivery.channel)).collect()
}

/// Opens a damaged copy and uses it like the daemon. Returns a violated promise.
async fn violation(folder: &Path, pending: &BTreeSet<Delivery>) -> Option<String> {
    let now = at("2026-03-02T12:00:00Z");
    let Opened { store, lost } = match Store::open(folder, now) {
        Ok(opened) => opened,
        Err(error) => return Some(format!("does not start: {error}")),
    };
    let waits = open_deliveries(&store).await;
    // A delivery with a damaged channel name is still listed.
    let numbers =
        |deliveries: &BTreeSet<Delivery>| -> Vec<i64> { deliveries.iter().map(|(id, _)| *id).collect() };
    if numbers(&waits) != numbers(pending) && lost.is_none() {
        return Some(format!("silently lost: {waits:?} of {pending:?}"));
    }
    store.last_liveness_report(now).await.expect("written");
    store.phones().await.expect("readable");
    store.snoozed().await.expect("readable");
    store.give_up_absent(&CHANNELS, now).await.expect("written");
    store.changes(&ChangeFilter::default()).await.expect("a history");
    store.outages(&feed_id(), Timestamp::MIN).await.expect("outages");
    store.coverage(&feed_id(), Timestamp::MIN).await.expect("coverage");
    let before: BTreeSet<i64> = delivery_ids(&store).await;
    poll_twice(&store, &newest_document(), now).await;
    for delivery in store.deliveries(true).await.expect("an outbox") {
        let is_news = !before.contains(&delivery.id);
        if is_news && matches!(delivery.change.kind, ChangeKind::Began | ChangeKind::Reopened) {
            return Some(format!("announced again: {:?}", delivery.change.key()));
        }
    }
    for channel in CHANNELS {
        for _ in 0..10 {
            store
                .remind(&feed_id(), channel, SignedDuration::from_hours(1), |_| true, now)
                .await
                .expect("written");
            store.ongoing_outages(&feed_id(), channel).await.expect("outages");
            send(&store, channel, now).await;
        }
    }
    None
}

async fn delivery_ids(store: &Store) -> BTreeSet<i64> {
    store.deliveries(true).await.expect("an outbox").into_iter().map(|delivery| delivery.id).collect()
}

/// Flips one bit at a time, every fifth in the header.
async fn flip(count: usize) {
    let folder = filled().await;
    let whole = fs::read(folder.path().join(DATABASE)).expect("a file");
    let pending = {
        let copied = copy(folder.path());
        let opened = Store::open(copied.path(), at(START)).expect("a store");
        open_deliveries(&opened.store).await
    };
    assert_eq!(pending.len(), 6, "{pending:?}");
    let seed = std::env::var("STATUSD_SEED")
        .ok()
        .map_or_else(|| fastrand::u64(..), |seed| seed.parse().expect("a number"));
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut wrong = Vec::new();
    for number in 0..count {
        let bytes = if number % 5 == 0 { HEADER_BYTES } else { whole.len() };
        let bit = rng.usize(..bytes * 8);
        let copied = copy(folder.path());
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(copied.path().join(DATABASE), bytes).expect("written");
        if let Some(violation) = violation(copied.path(), &pending).await {
            wrong.push(format!("bit {bit}: {violation}"));
        }
    }
    assert!(wrong.is_empty(), "STATUSD_SEED={seed}: {} of {count}:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test]
async fn survives_a_flipped_bit() {
    flip(FEW).await;
}

#[tokio::test]
#[ignore = "minutes"]
async fn survives_2_500_flipped_bits() {
    flip(MANY).await;
}

/// Changes files while statusd is off. Returns the reported loss and the number of open deliveries.
async fn reopen_after(change: impl FnOnce(&Path)) -> (Option<String>, usize) {
    let folder = filled().await;
    change(folder.path());
    let opened = Store::open(folder.path(), at("2026-03-02T12:00:00Z")).expect("the store opens");
    (opened.lost, open_deliveries(&opened.store).await.len())
}

#[tokio::test]
async fn reports_a_missing_or_empty_database() {
    let gone = reopen_after(|state| fs::remove_file(state.join(DATABASE)).expect("removed")).await;
    assert_eq!(gone, (Some(String::new()), 0));
    let emptied = reopen_after(|state| fs::write(state.join(DATABASE), "").expect("written")).await;
    assert_eq!(emptied, (Some(String::new()), 0));
    assert_eq!(reopen_after(|_| ()).await, (None, 6));
}

#[tokio::test]
async fn reports_a_loss_once() {
    let folder = filled().await;
    fs::write(folder.path().join(DATABASE), "").expect("written");
    let open = || Store::open(folder.path(), at(START)).expect("the store opens");
    // The first process ends before it reports the loss.
    assert_eq!(open().lost, Some(String::new()));
    let Opened { store, lost } = open();
    assert_eq!(lost, Some(String::new()));
    let beliefs = store.beliefs(&feed_id()).await.expect("beliefs");
    let change = Change::history_lost(beliefs.feed.clone(), "", at(START));
    store.record_change(&change, &|_| vec!["desktop".to_owned()], at(START)).await.expect("written");
    drop(store);
    assert_eq!(open().lost, None);
}

#[tokio::test]
async fn recovers_the_readable_tables() {
    let folder = filled().await;
    let path = folder.path().join(DATABASE);
    // Losing the coverage table is not reported, and all other data remains.
    let database = rusqlite::Connection::open(&path).expect("a database");
    let page: u32 = database
        .query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'coverage'", [], |row| row.get(0))
        .expect("a page");
    drop(database);
    let page = page as usize;
    let mut bytes = fs::read(&path).expect("a file");
    bytes[(page - 1) * 4096..page * 4096].fill(0xa5);
    fs::write(&path, bytes).expect("written");
    let opened = Store::open(folder.path(), at("2026-03-02T12:00:00Z")).expect("the store opens");
    assert_eq!((opened.lost, open_deliveries(&opened.store).await.len()), (None, 6));
    assert!(
        fs::read_dir(folder.path())
            .expect("entries")
            .flatten()
            .any(|entry| { entry.file_name().to_string_lossy().starts_with("statusd.db.damaged-") })
    );
}

/// The root page of each table is stored twice, so that a damaged schema loses no table.
#[tokio::test]
async fn recovers_all_rows_without_a_schema() {
    let folder = filled().await;
    let path = folder.path().join(DATABASE);
    let mut bytes = fs::read(&path).expect("a file");
    bytes[HEADER_BYTES..4096].fill(0xa5);
    fs::write(&path, bytes).expect("written");
    let pending = {
        let copied = copy(folder.path());
        let opened = Store::open(copied.path(), at(START)).expect("the store opens");
        open_deliveries(&opened.store).await
    };
    assert_eq!(pending.len(), 6);
    assert_eq!(violation(folder.path(), &pending).await, None);
    // The same holds for a file rewritten at runtime, whose tables have other root pages.
    let folder = filled().await;
    let path = folder.path().join(DATABASE);
    let store = Store::open(folder.path(), at(START)).expect("a store").store;
    fs::remove_file(&path).expect("removed");
    store.keep_file().await.expect("written anew");
    drop(store);
    let mut bytes = fs::read(&path).expect("a file");
    bytes[HEADER_BYTES..4096].fill(0);
    fs::write(&path, bytes).expect("written");
    assert_eq!(violation(folder.path(), &pending).await, None);
}

/// Puts an invalid value of each type into each column of the schema.
#[tokio::test]
async fn treats_a_malformed_schema_as_damage() {
    let folder = filled().await;
    let columns = ["type", "name", "tbl_name", "rootpage", "sql"];
    let values = ["x'ff'", "NULL", "1.5", "'?'", "9223372036854775807"];
    // SQLite itself reads fewer columns of the second.
    for entry in ["name = 'delivery'", "name LIKE 'sqlite_autoindex_%'"] {
        for (column, value) in columns.iter().flat_map(|column| values.map(|value| (column, value))) {
            let copied = copy(folder.path());
            let database = rusqlite::Connection::open(copied.path().join(DATABASE)).expect("a database");
            let sql = format!(
                "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET {column} = {value} WHERE {entry}"
            );
            database.execute_batch(&sql).expect("damaged");
            drop(database);
            let Opened { store, lost } = Store::open(copied.path(), at(START))
                .unwrap_or_else(|error| panic!("{entry}, {column} = {value}: does not start: {error}"));
            assert_eq!((lost, open_deliveries(&store).await.len()), (None, 6), "{entry}, {column} = {value}");
        }
    }
}

/// A flipped bit turns `phase IN (…)` into an unknown function. The database of another program may use
/// custom functions.
#[tokio::test]
async fn unknown_function_is_damage_only_in_statusds_schema() {
    let rename = |path: &Path, from: &str, to: &str| {
        let database = rusqlite::Connection::open(path).expect("a database");
        let sql = format!(
            "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = replace(sql, '{from}', '{to}')"
        );
        database.execute_batch(&sql).expect("changed");
    };
    let ours = filled().await;
    rename(&ours.path().join(DATABASE), "phase IN", "phase0IN");
    let Opened { store, lost } = Store::open(ours.path(), at(START)).expect("the store opens");
    assert_eq!((lost, open_deliveries(&store).await.len()), (None, 6));

    let another = temp_dir();
    let path = another.path().join(DATABASE);
    let database = rusqlite::Connection::open(&path).expect("a database");
    let sql = "CREATE TABLE photo (name TEXT CHECK (length(name) > 0)); INSERT INTO photo VALUES ('a')";
    database.execute_batch(sql).expect("written");
    drop(database);
    rename(&path, "length", "extent");
    let before = fs::read(&path).expect("a file");
    let error = Store::open(another.path(), at(START)).map(|_| ()).expect_err("refused");
    assert!(matches!(error, OpenError::Foreign(_)), "{error}");
    assert_eq!(fs::read(&path).expect("a file"), before);
}

/// The start skips the check of a large database only if it is unchanged since the last stop.
#[tokio::test]
async fn checks_a_large_database_changed_by_another_program() {
    let folder = filled().await;
    let path = folder.path().join(DATABASE);
    let database = rusqlite::Connection::open(&path).expect("a database");
    database
        .execute("UPDATE change SET message = CAST(zeroblob(20000000) AS TEXT) WHERE id = 1", [])
        .expect("written");
    let page: u32 = database
        .query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'delivery_due'", [], |row| row.get(0))
        .expect("a page");
    drop(database);
    // Opening checks the database, closing seals it.
    assert_eq!(Store::open(folder.path(), at(START)).expect("the store opens").lost, None);
    let mut bytes = fs::read(&path).expect("a file");
    bytes[(page as usize - 1) * 4096..][..16].fill(0xa5);
    fs::write(&path, bytes).expect("written");
    let opened = Store::open(folder.path(), at(START)).expect("the store opens");
    assert_eq!((opened.lost, open_deliveries(&opened.store).await.len()), (None, 6));
    let mut names = fs::read_dir(folder.path()).expect("entries").flatten().map(|entry| entry.file_name());
    assert!(names.any(|name| name.to_string_lossy().starts_with("statusd.db.damaged-")), "it was checked");
}

/// `ack` and `snooze` write with or without a daemon, and do not check the file.
#[tokio::test]
async fn second_writer_updates_the_mark_without_sealing() {
    let folder = temp_dir();
    let state = folder.path().join("state");
    drop(Store::open(&state, at(START)).expect("a store"));
    let mark = || fs::read_to_string(state.join("statusd.mark")).expect("a mark");
    let before = mark();
    let beside = Store::open_existing(&state, true).expect("writable").expect("a database");
    beside.snooze(at("2026-03-02T13:00:00Z"), at("2026-03-02T12:00:00Z")).await.expect("written");
    drop(beside);
    assert_ne!(mark(), before, "a copy from before the snooze is older");
    let names: Vec<_> =
        fs::read_dir(folder.path()).expect("entries").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(names, ["state"]);
}

#[tokio::test]
async fn lost_or_damaged_wal_loses_no_commit() {
    let folder = temp_dir();
    let store = Store::open(folder.path(), at(START)).expect("a store").store;
    fill(&store).await;
    let expected = open_deliveries(&store).await;
    // The store is still open, so the files are as after a kill.
    let wal = format!("{DATABASE}-wal");
    assert!(folder.path().join(&wal).metadata().is_ok_and(|wal| wal.len() > 0), "there is a WAL");
    for damage in 0..3 {
        let killed = copy(folder.path());
        let path = killed.path().join(&wal);
        let mut bytes = fs::read(&path).expect("a WAL");
        match damage {
            0 => fs::remove_file(&path).expect("removed"),
            1 => fs::write(&path, &bytes[..bytes.len() / 2]).expect("written"),
            _ => {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 0x10;
                fs::write(&path, bytes).expect("written");
            }
        }
        let opened = Store::open(killed.path(), at(START)).expect("the store opens");
        assert_eq!(opened.lost, None, "damage {damage}");
        assert_eq!(open_deliveries(&opened.store).await, expected, "damage {damage}");
    }
}

#[tokio::test]
async fn reports_an_older_copy_but_not_past_events() {
    let folder = temp_dir();
    let store = Store::open(folder.path(), at(START)).expect("a store").store;
    poll_twice(&store, &Doc::new().service("iCloud Backup"), at(START)).await;
    drop(store);
    let older = fs::read(folder.path().join(DATABASE)).expect("a file");
    let store = Store::open(folder.path(), at(START)).expect("a store").store;
    fill(&store).await;
    drop(store);
    fs::write(folder.path().join(DATABASE), older).expect("written");
    let Opened { store, lost } = Store::open(folder.path(), at(START)).expect("the store opens");
    assert_eq!(lost, Some(String::new()));
    let changes = poll_twice(&store, &newest_document(), at("2026-03-02T12:00:00Z")).await;
    let kinds: Vec<&str> = changes.iter().map(|change| change.kind.as_str()).collect();
    assert_eq!(kinds, ["noted", "began", "began"], "the past outage is not announced");
}

#[tokio::test]
async fn rewrites_a_file_deleted_or_replaced_while_running() {
    for replaced in [false, true] {
        let folder = temp_dir();
        let path = folder.path().join(DATABASE);
        let store = Store::open(folder.path(), at(START)).expect("a store").store;
        fill(&store).await;
        let expected = open_deliveries(&store).await;
        fs::remove_file(&path).expect("removed");
        if replaced {
            fs::write(&path, "another file").expect("written");
        }
        store.keep_file().await.expect("written anew");
        let beside = Store::open_existing(folder.path(), false).expect("readable").expect("a database");
        assert_eq!(open_deliveries(&beside).await, expected);
        drop(beside);
        // The next write is in the new file.
        begin(&store, "webhook.ops", at("2026-03-02T12:00:00Z")).await.expect("a message");
        store.snooze(at("2026-03-02T13:00:00Z"), at("2026-03-02T12:00:00Z")).await.expect("written");
        drop(store);
        let Opened { store, lost } = Store::open(folder.path(), at(START)).expect("the store opens");
        assert_eq!((lost, open_deliveries(&store).await), (None, expected));
        let snooze = store.snoozed().await.expect("readable").expect("a snooze");
        assert_eq!(snooze.until, at("2026-03-02T13:00:00Z"));
    }
}

#[tokio::test]
async fn next_write_restores_a_deleted_file() {
    let folder = temp_dir();
    let store = Store::open(folder.path(), at(START)).expect("a store").store;
    fill(&store).await;
    fs::remove_dir_all(folder.path()).expect("removed");
    store.snooze(at("2026-03-02T13:00:00Z"), at("2026-03-02T12:00:00Z")).await.expect("written");
    let beside = Store::open_existing(folder.path(), false).expect("readable").expect("a database");
    assert_eq!(open_deliveries(&beside).await.len(), 6);
    assert!(beside.snoozed().await.expect("readable").is_some());
}

#[tokio::test]
async fn malformed_row_affects_only_itself() {
    let folder = filled().await;
    let database = rusqlite::Connection::open(folder.path().join(DATABASE)).expect("a database");
    database
        .execute_batch(
            "PRAGMA ignore_check_constraints = ON;
             UPDATE change SET kind = 'bagan', feed = 'consumes/en_US' WHERE kind = 'began';
             UPDATE change SET at = '2026-03-0!T09:50:45Z', message = CAST(x'41ff42' AS TEXT);
             UPDATE delivery SET due_at = 'soon', attempts = -3, state = 'qending' WHERE state = 'pending';
             UPDATE outage SET first_seen_at = '', phase = 'ongoinf' WHERE phase = 'ongoing';
             UPDATE service SET listed = 'yet';
             UPDATE feed SET health = '?', stamp = '2926-03-02T09:00:00Z';
             UPDATE coverage SET to_at = 'x';
             UPDATE notice SET severity = 'blarm';
             UPDATE meta SET value = '9026-01-01T00:00:00Z' WHERE name = 'snoozed_until';",
        )
        .expect("damaged");
    drop(database);
    let pending = (3..=5).flat_map(|id| CHANNELS.map(|channel| (id, channel.to_owned())));
    let pending: BTreeSet<Delivery> = {
        let opened = Store::open(copy(folder.path()).path(), at(START)).expect("the store opens");
        let open = open_deliveries(&opened.store).await;
        assert_eq!(opened.store.snoozed().await.expect("readable"), None);
        assert_eq!(open.len(), pending.count());
        open
    };
    assert_eq!(violation(folder.path(), &pending).await, None);
}

/// Runs the real program with failing system calls on its database. Returns its log.
#[cfg(target_os = "linux")]
fn run_with_fault(state: &Path, calls: &str, fault: &str) -> String {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};
    let config = state.join("statusd.toml");
    let text = format!(
        "[feed]\nurl = 'http://127.0.0.1:1/'\n[state]\ndirectory = {state:?}\n[channel.desktop]\nenabled = false\n"
    );
    fs::write(&config, text).expect("a configuration");
    let mut child = Command::new("strace")
        // -D makes statusd the direct child and strace a grandchild.
        .args(["-D", "-f", "-qq", "-o", "/dev/null", "-P"])
        .arg(state.join(DATABASE))
        .args(["-e", &format!("trace={calls}"), "-e", &format!("inject={calls}:{fault}")])
        .arg(env!("CARGO_BIN_EXE_statusd"))
        .arg("--config")
        .arg(&config)
        .arg("run")
        .env_clear()
        .env("HOME", state)
        .env("PATH", std::env::var("PATH").unwrap_or_default())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("strace starts (scripts/test installs it)");
    let stderr = BufReader::new(child.stderr.take().expect("piped"));
    let mut log = String::new();
    // The daemon polls or exits by itself, which ends its output.
    for line in stderr.lines().map_while(Result::ok) {
        log.push_str(&line);
        log.push('\n');
        if line.contains("refused the connection") {
            break;
        }
    }
    let _ended = child.kill();
    let status = child.wait().expect("a child");
    assert!(matches!(status.code(), None | Some(73)), "{calls} {fault}: {status}: {log}");
    log
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn read_or_write_error_discards_nothing() {
    let folder = filled().await;
    let whole = fs::read(folder.path().join(DATABASE)).expect("a file");
    let each = |call: &'static str, error: &'static str, whens: &'static [&'static str]| {
        whens.iter().map(move |when| (call, format!("error={error}:when={when}")))
    };
    let faults = each("pread64", "EIO", &["1", "2", "3", "4", "5", "7", "11", "1+", "4+", "9+", "30+"])
        .chain(each("read", "EIO", &["1", "1+"]))
        .chain(each("openat", "EMFILE", &["1", "2", "3"]))
        .chain(each("pwrite64", "ENOSPC", &["1", "1+"]));
    for (call, fault) in faults {
        let copied = copy(folder.path());
        let log = run_with_fault(copied.path(), call, &fault);
        let names = fs::read_dir(copied.path()).expect("entries").flatten();
        let damaged = names.filter(|entry| entry.file_name().to_string_lossy().contains("damaged")).count();
        assert_eq!(damaged, 0, "{call} {fault}: {log}");
        let opened = Store::open(copied.path(), at(START)).expect("the store opens");
        assert_eq!(
            (opened.lost, open_deliveries(&opened.store).await.len()),
            (None, 6),
            "{call} {fault}: {log}"
        );
        assert!(fs::metadata(copied.path().join(DATABASE)).expect("a file").len() >= whole.len() as u64);
    }
}
