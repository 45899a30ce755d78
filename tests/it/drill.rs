//! Runs `statusd drill`: the messages that channels receive, the output and the exit code.
//!
//! The scenario is tested beside its code. Uses no daemon and only loopback connections.
#![cfg(target_os = "linux")]

use crate::common::bus::{Bus, Server};
use crate::common::http_server::{HttpServer, Reply, Request};
use crate::process::{CommandOutput, Home, wait_for};
use serde_json::Value;

const MUTE: &str = "[channel.desktop]\nenabled = false\n[channel.log]\nenabled = false\n";
const KINDS: [&str; 4] = ["began", "worsened", "ended", "missed"];

fn webhook(name: &str, peer: &HttpServer) -> String {
    format!("[channel.webhook.{name}]\nurl = {:?}\n", peer.url("/hook"))
}

fn configured(channels: &str) -> Home {
    let home = Home::new();
    home.configure(&format!("time_zone = \"UTC\"\n[state]\ndirectory = \"state\"\n{channels}"));
    home
}

/// Checks one change of a drill. Returns its kind.
#[track_caller]
fn kind(request: &Request) -> String {
    let change: Value = serde_json::from_slice(&request.body).expect("JSON");
    assert_eq!(change["drill"], true, "{change}");
    let text = change["text"].as_str().expect("a text");
    assert!(text.starts_with("DRILL: ") && text.contains(": iCloud Backup. "), "{change}");
    assert_eq!(request.header("idempotency-key"), change["key"].as_str(), "{change}");
    change["kind"].as_str().expect("a kind").to_owned()
}

async fn kinds(peer: &mut HttpServer) -> Vec<String> {
    let mut kinds = Vec::new();
    for _ in KINDS {
        kinds.push(kind(&peer.next().await));
    }
    kinds
}

#[track_caller]
fn check_result(output: &CommandOutput, code: i32, last_line: &str) {
    assert_eq!(output.code, Some(code), "{output:?}");
    assert_eq!(output.out.lines().last(), Some(last_line), "{output:?}");
    assert!(output.out.lines().all(|line| line.chars().count() <= 80), "{output:?}");
}

#[tokio::test]
async fn sends_the_outage_to_every_channel_in_order() {
    let bus = Bus::start();
    let mut desktop = Server::start(&bus, &["body"]).await;
    let mut ops = HttpServer::start([Reply::status(200)]).await;
    let home = configured(&webhook("ops", &ops)).with("DBUS_SESSION_BUS_ADDRESS", bus.address_without_guid());

    check_result(&home.run(&["drill"]).await, 0, "All 12 messages were delivered.");
    assert_eq!(kinds(&mut ops).await, KINDS);
    let mut bubbles = Vec::new();
    for _ in KINDS {
        bubbles.push(desktop.next().await);
    }
    let titles: Vec<&str> = bubbles.iter().map(|bubble| bubble.summary.as_str()).collect();
    let words = ["Issue", "Worse", "Fixed", "Was down"];
    assert_eq!(titles, words.map(|word| format!("DRILL: {word}: iCloud Backup")));
    let replaced: Vec<u32> = bubbles.iter().map(|bubble| bubble.replaces_id).collect();
    assert_eq!(replaced, [0, 1, 1, 0], "the end replaces the start, and the missed one nothing");
    assert!(ops.is_quiet() && desktop.is_quiet());
    assert!(!home.state().exists(), "a drill leaves nothing behind");
}

#[tokio::test]
async fn logs_each_change_and_prints_one_json_document() {
    let home = configured("[channel.desktop]\nenabled = false\n");
    let output = home.run(&["drill", "--json"]).await;
    let document: Value = serde_json::from_str(&output.out).expect("JSON");
    assert_eq!((output.code, &document["exit_code"], &document["dry"]), (Some(0), &0.into(), &false.into()));
    let steps: Vec<&str> = document["steps"]
        .as_array()
        .expect("steps")
        .iter()
        .filter_map(|step| step["step"].as_str())
        .collect();
    assert_eq!(steps, ["calm", "began", "worsened", "ended", "missed"]);
    assert_eq!(document["steps"][3]["messages"][0]["change"]["kind"], "ended");
    assert_eq!(output.err.matches("INFO DRILL: ").count(), 4, "{}", output.err);
    assert_eq!(output.err.lines().count(), 4, "{}", output.err);
}

#[tokio::test]
async fn names_failing_channels_and_serves_the_others() {
    let mut good = HttpServer::start([Reply::status(204)]).await;
    let mut bad = HttpServer::start([Reply::status(204), Reply::status(410), Reply::status(503)]).await;
    let home = configured(&format!("{MUTE}{}{}", webhook("good", &good), webhook("bad", &bad)));

    let output = home.run(&["drill"]).await;
    check_result(&output, 1, "3 of 8 messages were not delivered; see webhook.bad above.");
    assert_eq!(
        output.out.matches("webhook.bad: refused: 127.0.0.1 returned 410 Gone").count(),
        1,
        "{output:?}"
    );
    assert_eq!(output.out.matches("webhook.bad: failed; the daemon would retry").count(), 2, "{output:?}");
    // Each message is tried once, without waiting for a failed one.
    assert_eq!(
        (kinds(&mut good).await, kinds(&mut bad).await),
        (KINDS.map(String::from).to_vec(), KINDS.map(String::from).to_vec())
    );
    assert!(good.is_quiet() && bad.is_quiet());
}

#[tokio::test]
async fn hanging_channel_delays_no_other() {
    let mut good = HttpServer::start([Reply::status(204)]).await;
    let mut hangs = HttpServer::start([Reply::Never]).await;
    let home = configured(&format!("{MUTE}{}{}", webhook("good", &good), webhook("hangs", &hangs)));

    let mut drill = home.command(&["drill"]).spawn().expect("the program starts");
    assert_eq!(kinds(&mut good).await, KINDS);
    assert_eq!(kind(&hangs.next().await), "began");
    assert!(hangs.is_quiet(), "the first attempt is still in progress");
    // Ctrl-C.
    let pid = drill.id().expect("a running drill");
    let interrupt =
        tokio::process::Command::new("/bin/sh").arg("-c").arg(format!("kill -INT {pid}")).status();
    assert!(interrupt.await.expect("a shell").success());
    let status = wait_for("the end of the drill", drill.wait()).await.expect("a child");
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(2));
}

#[tokio::test]
async fn dry_run_prints_everything_and_sends_nothing() {
    let ops = HttpServer::start([Reply::status(200)]).await;
    // There is no desktop session either.
    let home = configured(&webhook("ops", &ops));
    let output = home.run(&["drill", "--dry"]).await;
    assert_eq!((output.code, output.err.as_str()), (Some(0), ""), "{output:?}");
    assert!(ops.is_quiet());
    for words in [
        "    DRILL: Issue: iCloud Backup\n",
        "    DRILL: Fixed: iCloud Backup\n",
        "iCloud, iCloud Backup, Back Up Now.\n",
        "12 messages; nothing was sent.\n",
    ] {
        assert!(output.out.contains(words), "{words}: {}", output.out);
    }
    let payloads: Vec<Value> = output
        .out
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let kinds: Vec<&str> = payloads.iter().filter_map(|payload| payload["kind"].as_str()).collect();
    assert_eq!(kinds, KINDS);
    assert!(!home.state().exists(), "a drill leaves nothing behind");
}

#[tokio::test]
async fn sends_only_to_the_named_channels() {
    let mut ops = HttpServer::start([Reply::status(200)]).await;
    let other = HttpServer::start([Reply::status(200)]).await;
    let policy = "only = [\"began\", \"ended\"]\nquiet = \"00:00-23:59\"\n";
    let home = configured(&format!("{}{policy}{}", webhook("ops", &ops), webhook("other", &other)));

    let output = home.run(&["drill", "--channel", "webhook.ops", "--speed", "10000"]).await;
    check_result(&output, 0, "All 2 messages were delivered.");
    assert_eq!((kind(&ops.next().await), kind(&ops.next().await)), ("began".to_owned(), "ended".to_owned()));
    assert!(ops.is_quiet() && other.is_quiet());

    let output = home.run(&["drill", "--channel", "webhook.nobody"]).await;
    assert_eq!(output.code, Some(2), "{output:?}");
    assert!(
        output
            .err
            .starts_with("statusd: unknown channel \"webhook.nobody\": expected one of desktop, webhook.ops"),
        "{output:?}"
    );
    assert_eq!((output.err.lines().count(), output.out.as_str()), (1, ""));
}

#[tokio::test]
async fn fails_without_a_desktop_session() {
    let home = configured("[channel.log]\nenabled = false\n");
    let output = home.run(&["drill"]).await;
    check_result(&output, 1, "4 of 4 messages were not delivered; see desktop above.");
    assert!(
        output.out.contains("desktop: failed; the daemon would retry: cannot reach the desktop session bus"),
        "{output:?}"
    );
}
