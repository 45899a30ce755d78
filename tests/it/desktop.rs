//! The desktop channel on a real D-Bus with a mock notification server.
#![cfg(all(unix, not(target_os = "macos")))]

use crate::common;
use crate::common::bus::{Bus, Held, NotifyReply, Server};
use statusd::channel::Transport as _;
use statusd::channel::desktop::Desktop;
use statusd::channel::desktop::Urgency;
use statusd::channel::{AlarmAction, AlarmResult, Notice, SendOutcome};
use statusd::model::Severity;

fn notice(title: &str, body: &str) -> Notice {
    Notice {
        key: "consumer/en_US/icloud%20backup/1/1/began".to_owned(),
        title: title.to_owned(),
        body: body.to_owned(),
        severity: Severity::Alert,
        payload: String::new(),
        replaces: None,
        follows: None,
    }
}

fn end(receipt: &str) -> Notice {
    Notice {
        severity: Severity::Resolved,
        replaces: Some(receipt.to_owned()),
        ..notice("Over", "It was down.")
    }
}

#[track_caller]
fn receipt(outcome: SendOutcome) -> String {
    match outcome {
        SendOutcome::Delivered { receipt: Some(receipt), .. } => receipt,
        other => panic!("not delivered with a receipt: {other:?}"),
    }
}

#[track_caller]
fn check_not_reached(outcome: &SendOutcome, detail: &str) {
    let SendOutcome::Transient { after_s: None, reached: false, detail: text } = outcome else {
        panic!("not an unreached retry: {outcome:?}");
    };
    assert!(text.contains(detail), "{text}");
}

const USUAL: [&str; 2] = ["body", "actions"];

#[tokio::test]
async fn start_is_critical_and_does_not_expire() {
    let bus = Bus::start();
    let mut server = Server::start(&bus, &USUAL).await;
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
    // Not `network.error`, because the local network works.
    assert_eq!(
        (bubble.category.as_deref(), bubble.icon.as_str()),
        (Some("x-statusd.outage"), "dialog-warning")
    );
    assert_eq!(bubble.sound, None);
}

#[tokio::test]
async fn only_alarms_play_a_sound() {
    let bus = Bus::start();
    let mut server = Server::start(&bus, &["body", "actions", "sound"]).await;
    let mut desktop = Desktop::at(&bus.address);
    let start = receipt(desktop.send(&notice("down", "")).await);
    receipt(desktop.send(&end(&start)).await);
    assert_eq!(server.next().await.sound.as_deref(), Some("dialog-warning"));
    assert_eq!(server.next().await.sound, None);
}

/// notify-osd turns a bubble that never expires into a dialog and returns the id 0.
#[tokio::test]
async fn bubbles_expire_on_a_server_without_actions() {
    let bus = Bus::start();
    let mut server = Server::start(&bus, &["body", "body-markup"]).await;
    let mut desktop = Desktop::at(&bus.address);
    let start = receipt(desktop.send(&notice("down", "")).await);
    receipt(desktop.send(&end(&start)).await);
    assert_eq!(server.next().await.expire, -1);
    assert_eq!(server.next().await.expire, -1);
}

#[tokio::test]
async fn escapes_markup_if_the_server_supports_it() {
    let bus = Bus::start();
    let mut server = Server::start(&bus, &["body", "body-markup"]).await;
    Desktop::at(&bus.address).send(&notice("<b>A & B</b>", "<a href=\"x\">A & 'B'</a>\u{202e}\u{1b}")).await;

    let bubble = server.next().await;
    assert_eq!(bubble.summary, "<b>A & B</b>");
    assert_eq!(bubble.body, "&lt;a href=&quot;x&quot;&gt;A &amp; &apos;B&apos;&lt;/a&gt;");
}

#[tokio::test]
async fn sends_plain_text_without_markup_support() {
    let bus = Bus::start();
    let mut server = Server::start(&bus, &["body"]).await;
    Desktop::at(&bus.address).send(&notice("A & B", "<i>A & 'B'</i>\u{202e}\u{1b}")).await;

    // dunst interprets markup even without the capability.
    assert_eq!(server.next().await.body, "‹i›A & 'B'‹/i›");
}

#[tokio::test]
async fn reuses_one_connection_and_queries_capabilities_once() {
    let bus = Bus::start();
    let mut server = Server::start(&bus, &["body"]).await;
    let mut desktop = Desktop::at(&bus.address);
    let mut senders = Vec::new();
    for turn in 0..3 {
        receipt(desktop.send(&notice(&format!("{turn}"), "")).await);
        let bubble = server.next().await;
        // More signals than the queue of an unread connection holds. The queue must not fill up.
        for _ in 0..200 {
            server.expire(&bubble.sender, bubble.id).await;
        }
        senders.push(bubble.sender);
    }
    assert!(senders.iter().all(|sender| *sender == senders[0]), "{senders:?}");
    assert_eq!(server.capability_queries(), 1);
}

#[tokio::test]
async fn end_replaces_the_start_after_a_restart() {
    let bus = Bus::start();
    let mut server = Server::start(&bus, &USUAL).await;
    let mut desktop = Desktop::at(&bus.address);
    desktop.send(&notice("another", "")).await;
    let start = receipt(desktop.send(&notice("down", "")).await);
    drop(desktop);
    let again = receipt(Desktop::at(&bus.address).send(&end(&start)).await);

    server.next().await;
    let (began, ended) = (server.next().await, server.next().await);
    assert_eq!((began.id, ended.replaces_id, ended.id), (2, 2, 2));
    // The end stays, because an absent user has not seen the start either.
    assert_eq!((ended.urgency, ended.expire), (Some(1), 0));
    assert_eq!(again, start);
}

#[tokio::test]
async fn end_of_a_dismissed_start_expires() {
    let bus = Bus::start();
    let mut server = Server::start(&bus, &USUAL).await;
    let mut desktop = Desktop::at(&bus.address);
    let start = receipt(desktop.send(&notice("down", "")).await);
    let began = server.next().await;
    server.dismiss(&began.sender, began.id).await;
    desktop.until_screen_changes().await;
    receipt(desktop.send(&end(&start)).await);
    assert_eq!(server.next().await.expire, -1);
}

#[tokio::test]
async fn does_not_reuse_ids_of_an_earlier_server() {
    let bus = Bus::start();
    let mut desktop = Desktop::at(&bus.address);
    let first = Server::start(&bus, &["body", "body-markup"]).await;
    let start = receipt(desktop.send(&notice("down", "")).await);
    first.stop().await;
    let mut second = Server::start(&bus, &["body"]).await;
    receipt(desktop.send(&notice("another program's", "&")).await);
    receipt(desktop.send(&end(&start)).await);

    let (another, ended) = (second.next().await, second.next().await);
    assert_eq!(another.body, "&", "the new server's capabilities were queried");
    assert_eq!((another.id, ended.replaces_id, ended.id), (1, 0, 2));
}

#[tokio::test]
async fn does_not_reuse_ids_of_an_earlier_session() {
    let bus = Bus::start();
    let mut desktop = Desktop::at(&bus.address_without_guid());
    let server = Server::start(&bus, &["body"]).await;
    let start = receipt(desktop.send(&notice("down", "")).await);
    drop(server);

    let bus = bus.restart();
    let mut server = Server::start(&bus, &["body"]).await;
    let ended = receipt(desktop.send(&end(&start)).await);
    assert_eq!(server.next().await.replaces_id, 0);
    // Both receipts have the same id and server name, and differ in the session.
    assert_eq!(ended.rsplit_once('@').map(|(id, _)| id), start.rsplit_once('@').map(|(id, _)| id));
    assert_ne!(ended, start);
}

#[tokio::test]
async fn foreign_receipt_shows_a_new_bubble() {
    let bus = Bus::start();
    let mut server = Server::start(&bus, &["body"]).await;
    let mut desktop = Desktop::at(&bus.address);
    for foreign in ["", "1", "1@:1.0", "1@:1.0@", "x@y@z", "<1700000000.1@mail.example>"] {
        receipt(desktop.send(&end(foreign)).await);
        assert_eq!(server.next().await.replaces_id, 0, "{foreign}");
    }
}

#[tokio::test]
async fn reports_a_missing_bus_and_recovers() {
    let mut bus = Bus::start();
    let mut desktop = Desktop::at(&bus.address_without_guid());
    bus.kill();
    let outcome = desktop.send(&notice("down", "")).await;
    check_not_reached(&outcome, "cannot reach the desktop session bus: ");
    check_not_reached(&outcome, "; check that a user is logged in");

    let bus = bus.restart();
    let mut server = Server::start(&bus, &["body"]).await;
    receipt(desktop.send(&notice("down", "")).await);
    assert_eq!(server.next().await.summary, "down");
}

#[tokio::test]
async fn reports_a_lost_bus() {
    let mut bus = Bus::start();
    let _server = Server::start(&bus, &["body"]).await;
    let mut desktop = Desktop::at(&bus.address);
    receipt(desktop.send(&notice("down", "")).await);
    bus.kill();
    check_not_reached(&desktop.send(&notice("down", "")).await, "cannot reach the desktop session bus");
}

#[tokio::test]
async fn unusable_address_is_a_transient_failure() {
    check_not_reached(&Desktop::at("nonsense").send(&notice("down", "")).await, "DBUS_SESSION_BUS_ADDRESS");
}

#[tokio::test]
async fn reports_a_missing_notification_server_and_recovers() {
    let bus = Bus::start();
    let mut desktop = Desktop::at(&bus.address);
    check_not_reached(
        &desktop.send(&notice("down", "")).await,
        "no notification server in this desktop session",
    );

    let mut server = Server::start(&bus, &["body"]).await;
    receipt(desktop.send(&notice("down", "")).await);
    assert_eq!(server.next().await.summary, "down");
}

/// Sends to a server that shows the bubble and never replies.
async fn send_without_reply(
    desktop: &mut Desktop,
    server: &mut Server,
    notice: &Notice,
) -> common::bus::Bubble {
    let came = async {
        let bubble = server.next().await;
        tokio::time::pause();
        bubble
    };
    let (outcome, bubble) = tokio::join!(desktop.send(notice), came);
    tokio::time::resume();
    check_reached(&outcome);
    bubble
}

/// Sends to a server that answers no call, not even a probe.
async fn send_to_hanging(desktop: &mut Desktop, server: &mut Server, notice: &Notice) -> SendOutcome {
    let probed = async {
        server.wait_for_probe().await;
        // Only the deadline is left, so the paused clock jumps to it.
        tokio::time::pause();
    };
    let (outcome, ()) = tokio::join!(desktop.send(notice), probed);
    tokio::time::resume();
    outcome
}

#[track_caller]
fn check_reached(outcome: &SendOutcome) {
    assert!(matches!(outcome, SendOutcome::Transient { after_s: None, reached: true, .. }), "{outcome:?}");
}

/// A shell that hung for 40 s once showed the start three times, and the copies stayed.
#[tokio::test]
async fn sends_one_copy_to_a_hanging_server() {
    let bus = Bus::start();
    let mut server = Server::start(&bus, &USUAL).await;
    let mut desktop = Desktop::at(&bus.address);
    let down = notice("down", "");
    server.hold(Held::Notify);
    let shown = send_without_reply(&mut desktop, &mut server, &down).await;
    server.hold(Held::Everything);
    for _ in 0..3 {
        check_reached(&send_to_hanging(&mut desktop, &mut server, &down).await);
    }
    // Other messages are not sent either.
    let other = Notice { key: "another".to_owned(), ..notice("other", "") };
    check_not_reached(&send_to_hanging(&mut desktop, &mut server, &other).await, "does not respond");
    assert!(server.is_quiet());

    server.hold(Held::Nothing);
    receipt(desktop.send(&other).await);
    // The first bubble is outdated and closed.
    assert_eq!(server.next_closed().await, shown.id);
    assert_eq!(server.next().await.summary, "other");
}

/// While GNOME Shell hangs, its server returns an error after 25 s. The shell shows the bubble later, so
/// the next attempt once left a copy that was never closed.
#[tokio::test]
async fn sends_nothing_to_a_known_server_while_it_hangs() {
    let bus = Bus::start();
    let mut server = Server::start(&bus, &USUAL).await;
    let mut desktop = Desktop::at(&bus.address);
    let before = receipt(desktop.send(&notice("before", "")).await);
    server.next().await;
    server.hold(Held::Everything);
    let down = Notice { key: "another".to_owned(), ..notice("down", "") };
    for _ in 0..3 {
        check_not_reached(&send_to_hanging(&mut desktop, &mut server, &down).await, "does not respond");
        check_not_reached(
            &send_to_hanging(&mut desktop, &mut server, &end(&before)).await,
            "does not respond",
        );
    }
    let probed = async {
        server.wait_for_probe().await;
        tokio::time::pause();
    };
    let (is_reachable, ()) = tokio::join!(desktop.is_reachable(), probed);
    tokio::time::resume();
    assert!(!is_reachable, "another attempt would fail");
    server.hold(Held::Nothing);
    assert!(desktop.is_reachable().await);
    receipt(desktop.send(&down).await);
    assert_eq!(server.next().await.summary, "down");
    assert!(server.is_quiet() && server.has_closed_nothing());
}

#[tokio::test]
async fn late_reply_counts_for_its_message() {
    let bus = Bus::start();
    let mut server = Server::start(&bus, &USUAL).await;
    let mut desktop = Desktop::at(&bus.address);
    server.hold(Held::Notify);
    let down = notice("down", "");
    let shown = send_without_reply(&mut desktop, &mut server, &down).await;
    server.hold(Held::Nothing);
    let start = receipt(desktop.send(&down).await);
    receipt(desktop.send(&end(&start)).await);
    let ended = server.next().await;
    assert_eq!((ended.summary.as_str(), ended.replaces_id), ("Over", shown.id));
    assert!(server.is_quiet() && server.has_closed_nothing());
}

/// The server answers other calls, so it may have dropped the message. Repeats are limited.
#[tokio::test]
async fn repeats_an_unconfirmed_message_twice_and_closes_late_copies() {
    let bus = Bus::start();
    let mut server = Server::start(&bus, &USUAL).await;
    let mut desktop = Desktop::at(&bus.address);
    server.hold(Held::Notify);
    let down = notice("down", "");
    send_without_reply(&mut desktop, &mut server, &down).await;
    let mut copies = 1;
    for _ in 0..4 {
        tokio::time::pause();
        tokio::time::advance(std::time::Duration::from_secs(30)).await;
        tokio::time::resume();
        let before = copies;
        let mut sending = std::pin::pin!(desktop.send(&down));
        let outcome = loop {
            tokio::select! {
                outcome = &mut sending => break outcome,
                _ = server.next() => {
                    copies += 1;
                    tokio::time::pause();
                }
            }
        };
        if copies > before {
            tokio::time::resume();
        }
        check_reached(&outcome);
    }
    assert_eq!(copies, 3);

    server.hold(Held::Nothing);
    let start = receipt(desktop.send(&down).await);
    receipt(desktop.send(&end(&start)).await);
    assert_eq!(server.next().await.summary, "Over");
    let id: u32 = start.split('@').next().and_then(|id| id.parse().ok()).expect("a number");
    let mut left = vec![1, 2, 3];
    left.retain(|copy| *copy != id);
    let closed = [server.next_closed().await, server.next_closed().await];
    assert!(left.iter().all(|copy| closed.contains(copy)), "{closed:?} of which {id} stays");
}

#[tokio::test]
async fn keeps_a_late_copy_with_the_current_id() {
    let bus = Bus::start();
    let mut server = Server::start(&bus, &USUAL).await;
    let mut desktop = Desktop::at(&bus.address);
    server.set_reply(NotifyReply::FixedId(7));
    server.hold(Held::Notify);
    send_without_reply(&mut desktop, &mut server, &notice("down", "")).await;
    let other = Notice { key: "another".to_owned(), ..notice("other", "") };
    send_without_reply(&mut desktop, &mut server, &other).await;
    server.hold(Held::Nothing);
    let shown = receipt(desktop.send(&other).await);
    receipt(desktop.send(&end(&shown)).await);
    assert_eq!(server.next().await.replaces_id, 7);
    assert!(server.has_closed_nothing());
}

#[tokio::test]
async fn id_0_is_not_a_receipt() {
    let bus = Bus::start();
    let server = Server::start(&bus, &USUAL).await;
    server.set_reply(NotifyReply::FixedId(0));
    let outcome = Desktop::at(&bus.address).send(&notice("down", "")).await;
    assert!(matches!(outcome, SendOutcome::Delivered { receipt: None, .. }), "{outcome:?}");
}

/// A message that was not shown may be composed anew, with a start and its end combined.
#[tokio::test]
async fn error_means_not_shown_but_timeout_does_not() {
    let bus = Bus::start();
    let server = Server::start(&bus, &USUAL).await;
    let mut desktop = Desktop::at(&bus.address);
    for error in ["Failed", "InvalidArgs"] {
        server.set_reply(NotifyReply::Error(error));
        check_not_reached(&desktop.send(&notice("down", "")).await, "rejected the message: ");
    }
    for silence in [NotifyReply::Error("NoReply"), NotifyReply::ShellHangs] {
        server.set_reply(silence);
        check_reached(&desktop.send(&notice("down", "")).await);
    }
}

/// GNOME Shell once replaced the alarm without showing the end, so the user missed it.
#[tokio::test]
async fn gnome_shell_closes_the_alarm_before_showing_its_end() {
    let bus = Bus::start();
    let mut server = Server::start(&bus, &USUAL).await;
    server.set_name("gnome-shell");
    let start = receipt(Desktop::at(&bus.address).send(&notice("down", "")).await);
    let began = server.next().await;
    let mut desktop = Desktop::at(&bus.address);
    // Still an alarm, so it replaces the first bubble.
    let worse = Notice { replaces: Some(start.clone()), ..notice("worse", "") };
    assert_eq!(receipt(desktop.send(&worse).await), start);
    assert_eq!(server.next().await.replaces_id, began.id);
    assert!(server.has_closed_nothing());

    let ended = receipt(desktop.send(&end(&start)).await);
    assert_eq!(server.next_closed().await, began.id);
    let shown = server.next().await;
    assert_eq!((shown.summary.as_str(), shown.replaces_id), ("Over", 0));
    assert_ne!(ended, start);
    // The outage reopens.
    let again = Notice { replaces: Some(ended), ..notice("down again", "") };
    receipt(desktop.send(&again).await);
    assert_eq!(server.next().await.replaces_id, shown.id);
    assert!(server.has_closed_nothing());
}

#[tokio::test]
async fn gnome_shell_end_replaces_a_start_of_normal_urgency() {
    let bus = Bus::start();
    let mut server = Server::start(&bus, &USUAL).await;
    server.set_name("gnome-shell");
    let mut desktop = Desktop::at(&bus.address).with_urgency(Urgency::Normal);
    let start = receipt(desktop.send(&notice("down", "")).await);
    assert_eq!(receipt(desktop.send(&end(&start)).await), start);
    assert_eq!(server.next().await.id, server.next().await.replaces_id);
    assert!(server.has_closed_nothing());
}

#[tokio::test]
async fn server_exit_during_a_call_counts_as_reached() {
    let bus = Bus::start();
    let mut server = Server::start(&bus, &USUAL).await;
    let mut desktop = Desktop::at(&bus.address);
    server.hold(Held::Notify);
    let down = notice("down", "");
    let ending = async {
        server.next().await;
        server.stop().await;
    };
    let (outcome, ()) = tokio::join!(desktop.send(&down), ending);
    check_reached(&outcome);
    let mut server = Server::start(&bus, &USUAL).await;
    receipt(desktop.send(&down).await);
    assert_eq!(server.next().await.replaces_id, 0);
}

#[tokio::test]
async fn sends_plain_text_if_capabilities_are_unavailable() {
    let bus = Bus::start();
    let mut server = Server::start(&bus, &["body", "body-markup"]).await;
    server.fail_capabilities();
    let mut desktop = Desktop::at(&bus.address);
    receipt(desktop.send(&notice("A & B", "A & B")).await);
    receipt(desktop.send(&notice("again", "")).await);
    assert_eq!(server.next().await.body, "A & B");
    assert_eq!(server.capability_queries(), 1);
}

#[tokio::test]
async fn bubbles_of_normal_urgency_expire() {
    let settings = "urgency = 'normal'";
    let settings: statusd::channel::desktop::Settings = toml::from_str(settings).expect("settings");
    assert_eq!(settings.urgency, Urgency::Normal);
    let bus = Bus::start();
    let mut server = Server::start(&bus, &USUAL).await;
    let mut desktop = Desktop::at(&bus.address).with_urgency(Urgency::Normal);
    let start = receipt(desktop.send(&notice("down", "")).await);
    receipt(desktop.send(&end(&start)).await);
    let (began, ended) = (server.next().await, server.next().await);
    assert_eq!((began.urgency, began.expire), (Some(1), -1));
    assert_eq!((ended.urgency, ended.expire, ended.replaces_id), (Some(1), -1, began.id));
}

#[tokio::test]
async fn uses_the_first_working_address_of_a_list() {
    let bus = Bus::start();
    let mut server = Server::start(&bus, &USUAL).await;
    let list = format!("nonsense;unix:path=/nonexistent/bus;;{}", bus.address);
    receipt(Desktop::at(&list).send(&notice("down", "")).await);
    assert_eq!(server.next().await.summary, "down");
    let none = "nonsense;unix:path=/nonexistent/bus";
    check_not_reached(
        &Desktop::at(none).send(&notice("down", "")).await,
        "cannot reach the desktop session bus",
    );
}

fn closed(receipt: &str) -> AlarmResult {
    AlarmResult::Changed { receipt: format!("closed@{receipt}") }
}

#[tokio::test]
async fn end_of_an_alarm_closed_by_statusd_stays_until_dismissed() {
    let bus = Bus::start();
    let mut server = Server::start(&bus, &USUAL).await;
    let mut desktop = Desktop::at(&bus.address);
    let down = notice("down", "");
    let start = receipt(desktop.send(&down).await);
    let id = server.next().await.id;
    let AlarmResult::Changed { receipt } = desktop.sync_alarm(&down, &start, AlarmAction::Close).await else {
        panic!("not closed")
    };
    assert_eq!(server.next_closed().await, id);
    // Later, in another process of statusd.
    let mut desktop = Desktop::at(&bus.address);
    desktop
        .send(&Notice { replaces: Some(receipt), severity: Severity::Resolved, ..notice("fixed", "") })
        .await;
    let end = server.next().await;
    assert_eq!((end.replaces_id, end.expire), (0, 0));
}

#[tokio::test]
async fn closes_an_ended_alarm_after_a_restart() {
    let bus = Bus::start();
    let mut server = Server::start(&bus, &USUAL).await;
    let down = notice("down", "");
    let start = receipt(Desktop::at(&bus.address).send(&down).await);
    let id = server.next().await.id;
    let mut desktop = Desktop::at(&bus.address);
    assert_eq!(desktop.sync_alarm(&down, &start, AlarmAction::Show).await, AlarmResult::Unchanged);
    assert_eq!(desktop.sync_alarm(&down, &start, AlarmAction::Leave).await, AlarmResult::Unchanged);
    assert!(server.has_closed_nothing() && server.is_quiet());
    assert_eq!(desktop.sync_alarm(&down, &start, AlarmAction::Close).await, closed(&start));
    assert_eq!(server.next_closed().await, id);
}

#[tokio::test]
async fn shows_an_alarm_once_on_a_new_server_and_drops_its_old_id() {
    let bus = Bus::start();
    let mut desktop = Desktop::at(&bus.address);
    let server = Server::start(&bus, &USUAL).await;
    let down = notice("down", "");
    let start = receipt(desktop.send(&down).await);
    server.stop().await;
    assert_eq!(desktop.sync_alarm(&down, &start, AlarmAction::Show).await, AlarmResult::Retry);
    let mut server = Server::start(&bus, &USUAL).await;
    desktop.until_screen_changes().await;
    assert_eq!(desktop.sync_alarm(&down, &start, AlarmAction::Leave).await, AlarmResult::Unchanged);
    let AlarmResult::Changed { receipt: again } = desktop.sync_alarm(&down, &start, AlarmAction::Show).await
    else {
        panic!("not shown again");
    };
    let bubble = server.next().await;
    assert_eq!((bubble.summary.as_str(), bubble.replaces_id, bubble.expire), ("down", 0, 0));
    // As if the receipt could not be recorded.
    let result = desktop.sync_alarm(&down, &start, AlarmAction::Show).await;
    assert_eq!(result, AlarmResult::Changed { receipt: again.clone() });
    assert!(server.is_quiet());
    assert_eq!(desktop.sync_alarm(&down, &start, AlarmAction::Close).await, closed(&start));
    assert!(server.has_closed_nothing(), "id 1 may belong to another program on the new server");
    assert_eq!(desktop.sync_alarm(&down, &again, AlarmAction::Close).await, closed(&again));
    assert_eq!(server.next_closed().await, bubble.id);
}

/// The bubble itself may be what crashes the server.
#[tokio::test]
async fn limits_alarms_on_a_crashing_server() {
    let bus = Bus::start();
    let mut desktop = Desktop::at(&bus.address);
    let down = notice("down", "");
    let server = Server::start(&bus, &USUAL).await;
    let start = receipt(desktop.send(&down).await);
    server.stop().await;
    let server = Server::start(&bus, &USUAL).await;
    let AlarmResult::Changed { receipt: again } = desktop.sync_alarm(&down, &start, AlarmAction::Show).await
    else {
        panic!("not shown again");
    };
    server.stop().await;
    let mut server = Server::start(&bus, &USUAL).await;
    assert_eq!(desktop.sync_alarm(&down, &again, AlarmAction::Show).await, AlarmResult::Retry);
    assert!(server.is_quiet());
    tokio::time::pause();
    tokio::time::advance(std::time::Duration::from_secs(600)).await;
    tokio::time::resume();
    let result = desktop.sync_alarm(&down, &again, AlarmAction::Show).await;
    assert!(matches!(result, AlarmResult::Changed { .. }), "{result:?}");
    assert_eq!(server.next().await.summary, "down");
}

#[tokio::test]
async fn dismissed_alarm_is_gone_but_expired_alarm_is_not() {
    let bus = Bus::start();
    let mut server = Server::start(&bus, &USUAL).await;
    let mut desktop = Desktop::at(&bus.address);
    let down = notice("down", "");
    let start = receipt(desktop.send(&down).await);
    let bubble = server.next().await;
    server.expire(&bubble.sender, bubble.id).await;
    assert_eq!(desktop.sync_alarm(&down, &start, AlarmAction::Show).await, AlarmResult::Unchanged);
    let start = receipt(desktop.send(&down).await);
    let bubble = server.next().await;
    server.dismiss(&bubble.sender, bubble.id).await;
    desktop.until_screen_changes().await;
    assert_eq!(desktop.sync_alarm(&down, &start, AlarmAction::Show).await, AlarmResult::Gone);
    server.stop().await;
    let server = Server::start(&bus, &USUAL).await;
    assert_eq!(desktop.sync_alarm(&down, &start, AlarmAction::Show).await, AlarmResult::Gone);
    assert!(server.is_quiet());
}

#[tokio::test]
async fn server_hanging_before_the_message_was_not_reached() {
    let bus = Bus::start();
    let mut server = Server::start(&bus, &["body"]).await;
    let mut desktop = Desktop::at(&bus.address);
    server.hold(Held::Capabilities);
    let down = notice("down", "");
    let hung = async {
        server.wait_for_capability_query().await;
        tokio::time::pause();
    };
    let (outcome, ()) = tokio::join!(desktop.send(&down), hung);
    check_not_reached(&outcome, "does not respond");
    assert!(server.is_quiet());

    tokio::time::resume();
    server.hold(Held::Nothing);
    receipt(desktop.send(&down).await);
    assert_eq!(server.next().await.summary, "down");
}

#[tokio::test]
async fn reports_a_server_that_the_bus_cannot_start() {
    let bus = Bus::start_with_service("/bin/false");
    let outcome = Desktop::at(&bus.address).send(&notice("down", "")).await;
    check_not_reached(&outcome, "notification server failed: ");
}

/// Some login managers leave the variable empty, and D-Bus allows a list of addresses.
#[tokio::test]
async fn finds_the_bus_with_an_empty_variable_or_a_list() {
    let bus = Bus::start();
    let mut server = Server::start(&bus, &USUAL).await;
    let home = tempfile::tempdir().expect("a temporary directory");
    let socket = bus.address_without_guid();
    let directory = socket.strip_prefix("unix:path=").and_then(|path| path.strip_suffix("/bus"));
    let directory = directory.expect("a bus in a directory");
    let nowhere = home.path().display().to_string();
    let list = format!("unix:path=/nonexistent/bus;{socket}");
    for (address, runtime_directory) in [("", directory), (list.as_str(), nowhere.as_str())] {
        let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_statusd"))
            .args(["test-notice", "desktop"])
            .env_clear()
            .env("HOME", home.path())
            .env("XDG_RUNTIME_DIR", runtime_directory)
            .env("DBUS_SESSION_BUS_ADDRESS", address)
            .output()
            .await
            .expect("the program starts");
        assert!(output.status.success(), "{address}: {output:?}");
        server.next().await;
    }
}
