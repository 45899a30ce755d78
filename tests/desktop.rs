//! The desktop channel against a real D-Bus and a notification server under the test's hand.
#![cfg(all(unix, not(target_os = "macos")))]

mod common;

use common::bus::{Bus, Held, Server};
use statusd::channel::{Answer, Desktop, Notice};
use statusd::model::Tone;

fn notice(title: &str, body: &str) -> Notice {
    Notice {
        key: "consumer/en_US/icloud%20backup/1/1/began".to_owned(),
        title: title.to_owned(),
        body: body.to_owned(),
        tone: Tone::Alarm,
        payload: String::new(),
        replaces: None,
        follows: None,
    }
}

fn end(receipt: &str) -> Notice {
    Notice { tone: Tone::Relief, replaces: Some(receipt.to_owned()), ..notice("Over", "It was down.") }
}

#[track_caller]
fn receipt(answer: Answer) -> String {
    match answer {
        Answer::Delivered { receipt: Some(receipt), .. } => receipt,
        other => panic!("not delivered with a receipt: {other:?}"),
    }
}

#[track_caller]
fn check_not_reached(answer: &Answer, words: &str) {
    let Answer::Retry { after_s: None, reached: false, words: said } = answer else {
        panic!("not an unreached retry: {answer:?}");
    };
    assert!(said.contains(words), "{said}");
}

#[tokio::test]
async fn a_start_is_critical_stays_and_says_who_it_is_from() {
    let bus = Bus::start();
    let mut server = Server::start(&bus, &["body"]).await;
    receipt(
        Desktop::at(&bus.address).send(&notice("iCloud Backup is down", "Since 02:10.\nSome users.")).await,
    );

    let bubble = server.next().await;
    assert_eq!((bubble.app_name.as_str(), bubble.desktop_entry.as_deref()), ("statusd", Some("statusd")));
    assert_eq!(
        (bubble.summary.as_str(), bubble.body.as_str()),
        ("iCloud Backup is down", "Since 02:10.\nSome users.")
    );
    assert_eq!((bubble.urgency, bubble.expire, bubble.replaces_id), (Some(2), 0, 0));
    assert_eq!((bubble.category.as_deref(), bubble.icon.as_str()), (Some("network.error"), "dialog-warning"));
}

#[tokio::test]
async fn markup_is_escaped_for_a_server_that_has_it() {
    let bus = Bus::start();
    let mut server = Server::start(&bus, &["body", "body-markup"]).await;
    Desktop::at(&bus.address).send(&notice("<b>A & B</b>", "<a href=\"x\">A & 'B'</a>\u{202e}\u{1b}")).await;

    let bubble = server.next().await;
    assert_eq!(bubble.summary, "<b>A & B</b>");
    assert_eq!(bubble.body, "&lt;a href=&quot;x&quot;&gt;A &amp; &apos;B&apos;&lt;/a&gt;");
}

#[tokio::test]
async fn text_stays_text_for_a_server_without_markup() {
    let bus = Bus::start();
    let mut server = Server::start(&bus, &["body"]).await;
    Desktop::at(&bus.address).send(&notice("A & B", "<i>A & 'B'</i>\u{202e}\u{1b}")).await;

    assert_eq!(server.next().await.body, "<i>A & 'B'</i>");
}

#[tokio::test]
async fn all_messages_go_over_one_connection_and_abilities_are_asked_once() {
    let bus = Bus::start();
    let mut server = Server::start(&bus, &["body"]).await;
    let mut desktop = Desktop::at(&bus.address);
    let mut senders = Vec::new();
    for turn in 0..3 {
        receipt(desktop.send(&notice(&format!("{turn}"), "")).await);
        let bubble = server.next().await;
        // More than the queue of an unread connection holds: nobody listens, so it must not fill.
        for _ in 0..200 {
            server.tell_closed(&bubble.sender, bubble.id).await;
        }
        senders.push(bubble.sender);
    }
    assert!(senders.iter().all(|sender| *sender == senders[0]), "{senders:?}");
    assert_eq!(server.asked(), 1);
}

#[tokio::test]
async fn the_end_replaces_the_start_even_after_statusd_was_restarted() {
    let bus = Bus::start();
    let mut server = Server::start(&bus, &["body"]).await;
    let mut desktop = Desktop::at(&bus.address);
    desktop.send(&notice("another", "")).await;
    let start = receipt(desktop.send(&notice("down", "")).await);
    drop(desktop);
    let again = receipt(Desktop::at(&bus.address).send(&end(&start)).await);

    server.next().await;
    let (began, ended) = (server.next().await, server.next().await);
    assert_eq!((began.id, ended.replaces_id, ended.id), (2, 2, 2));
    assert_eq!((ended.urgency, ended.expire), (Some(1), -1));
    assert_eq!(again, start);
}

#[tokio::test]
async fn an_id_of_another_run_of_the_server_is_never_used() {
    let bus = Bus::start();
    let mut desktop = Desktop::at(&bus.address);
    let first = Server::start(&bus, &["body", "body-markup"]).await;
    let start = receipt(desktop.send(&notice("down", "")).await);
    first.stop().await;
    let mut second = Server::start(&bus, &["body"]).await;
    receipt(desktop.send(&notice("another program's", "&")).await);
    receipt(desktop.send(&end(&start)).await);

    let (another, ended) = (second.next().await, second.next().await);
    assert_eq!(another.body, "&", "the new server was asked for its abilities");
    assert_eq!((another.id, ended.replaces_id, ended.id), (1, 0, 2));
}

#[tokio::test]
async fn an_id_of_another_session_is_never_used_and_the_new_one_is_found_at_once() {
    let bus = Bus::start();
    let mut desktop = Desktop::at(&bus.address_without_guid());
    let server = Server::start(&bus, &["body"]).await;
    let start = receipt(desktop.send(&notice("down", "")).await);
    drop(server);

    let bus = bus.restart();
    let mut server = Server::start(&bus, &["body"]).await;
    let ended = receipt(desktop.send(&end(&start)).await);
    assert_eq!(server.next().await.replaces_id, 0);
    // The same bubble of a server with the same name; only the session tells them apart.
    assert_eq!(ended.rsplit_once('@').map(|(id, _)| id), start.rsplit_once('@').map(|(id, _)| id));
    assert_ne!(ended, start);
}

#[tokio::test]
async fn a_receipt_that_is_not_ours_is_shown_as_new() {
    let bus = Bus::start();
    let mut server = Server::start(&bus, &["body"]).await;
    let mut desktop = Desktop::at(&bus.address);
    for foreign in ["", "1", "1@:1.0", "1@:1.0@", "x@y@z", "<1700000000.1@mail.example>"] {
        receipt(desktop.send(&end(foreign)).await);
        assert_eq!(server.next().await.replaces_id, 0, "{foreign}");
    }
}

#[tokio::test]
async fn without_a_bus_it_says_so_and_may_work_later() {
    let mut bus = Bus::start();
    let mut desktop = Desktop::at(&bus.address_without_guid());
    bus.kill();
    check_not_reached(
        &desktop.send(&notice("down", "")).await,
        "no desktop session bus (is anybody logged in?",
    );

    let bus = bus.restart();
    let mut server = Server::start(&bus, &["body"]).await;
    receipt(desktop.send(&notice("down", "")).await);
    assert_eq!(server.next().await.summary, "down");
}

#[tokio::test]
async fn when_the_bus_goes_it_says_so() {
    let mut bus = Bus::start();
    let _server = Server::start(&bus, &["body"]).await;
    let mut desktop = Desktop::at(&bus.address);
    receipt(desktop.send(&notice("down", "")).await);
    bus.kill();
    check_not_reached(&desktop.send(&notice("down", "")).await, "no desktop session bus");
}

#[tokio::test]
async fn an_unusable_address_is_no_reason_to_give_up() {
    check_not_reached(&Desktop::at("nonsense").send(&notice("down", "")).await, "DBUS_SESSION_BUS_ADDRESS");
}

#[tokio::test]
async fn without_a_notification_server_it_says_so_and_may_work_later() {
    let bus = Bus::start();
    let mut desktop = Desktop::at(&bus.address);
    check_not_reached(&desktop.send(&notice("down", "")).await, "install a notification server");

    let mut server = Server::start(&bus, &["body"]).await;
    receipt(desktop.send(&notice("down", "")).await);
    assert_eq!(server.next().await.summary, "down");
}

/// The message arrived; only the answer did not. Whoever repeats it must know.
#[tokio::test]
async fn a_server_that_hangs_may_have_shown_it() {
    let bus = Bus::start();
    let mut server = Server::start(&bus, &["body"]).await;
    let mut desktop = Desktop::at(&bus.address);
    server.hold(Held::Bubbles);
    let down = notice("down", "");
    let hung = async {
        let bubble = server.next().await;
        // Nothing is left to happen but the deadline: the clock jumps there.
        tokio::time::pause();
        bubble
    };
    let (answer, bubble) = tokio::join!(desktop.send(&down), hung);
    assert!(matches!(answer, Answer::Retry { after_s: None, reached: true, .. }), "{answer:?}");

    tokio::time::resume();
    server.hold(Held::Nothing);
    receipt(desktop.send(&notice("again", "")).await);
    let again = server.next().await;
    assert_eq!((again.summary.as_str(), &again.sender), ("again", &bubble.sender));
    assert!(server.is_quiet());
}

#[tokio::test]
async fn a_server_that_hangs_before_the_message_has_not_seen_it() {
    let bus = Bus::start();
    let mut server = Server::start(&bus, &["body"]).await;
    let mut desktop = Desktop::at(&bus.address);
    server.hold(Held::Abilities);
    let down = notice("down", "");
    let hung = async {
        server.until_asked().await;
        tokio::time::pause();
    };
    let (answer, ()) = tokio::join!(desktop.send(&down), hung);
    check_not_reached(&answer, "does not answer");
    assert!(server.is_quiet());

    tokio::time::resume();
    server.hold(Held::Nothing);
    receipt(desktop.send(&down).await);
    assert_eq!(server.next().await.summary, "down");
}

#[tokio::test]
async fn a_server_that_the_bus_cannot_start_is_named() {
    let bus = Bus::start_with_service("/bin/false");
    let answer = Desktop::at(&bus.address).send(&notice("down", "")).await;
    check_not_reached(&answer, "notification server does not work: ");
}
