//! The desktop channel on a real D-Bus with a mock notification server.
#![cfg(all(unix, not(target_os = "macos")))]

use crate::common;
use crate::common::bus::{Bus, Held, Says, Server};
use statusd::channel::Transport as _;
use statusd::channel::desktop::Desktop;
use statusd::channel::desktop::Urgency;
use statusd::channel::{Fate, Notice, SendOutcome, Wish};
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
fn receipt(answer: SendOutcome) -> String {
    match answer {
        SendOutcome::Delivered { receipt: Some(receipt), .. } => receipt,
        other => panic!("not delivered with a receipt: {other:?}"),
    }
}

#[track_caller]
fn check_not_reached(answer: &SendOutcome, words: &str) {
    let SendOutcome::Transient { after_s: None, reached: false, words: said } = answer else {
        panic!("not an unreached retry: {answer:?}");
    };
    assert!(said.contains(words), "{said}");
}

const USUAL: [&str; 2] = ["body", "actions"];

#[tokio::test]
async fn a_start_is_critical_stays_and_says_who_it_is_from() {
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
async fn an_alarm_is_heard_where_the_server_plays_sounds_and_nothing_else_is() {
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
async fn a_server_without_buttons_is_not_asked_to_let_anything_stay() {
    let bus = Bus::start();
    let mut server = Server::start(&bus, &["body", "body-markup"]).await;
    let mut desktop = Desktop::at(&bus.address);
    let start = receipt(desktop.send(&notice("down", "")).await);
    receipt(desktop.send(&end(&start)).await);
    assert_eq!(server.next().await.expire, -1);
    assert_eq!(server.next().await.expire, -1);
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

    // dunst interprets markup even without the capability.
    assert_eq!(server.next().await.body, "‹i›A & 'B'‹/i›");
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
        // More signals than the queue of an unread connection holds. The queue must not fill up.
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
async fn the_end_of_a_start_that_went_from_the_screen_does_not_stay() {
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
    // Both receipts have the same id and server name, and differ in the session.
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
async fn hung(desktop: &mut Desktop, server: &mut Server, notice: &Notice) -> common::bus::Bubble {
    let came = async {
        let bubble = server.next().await;
        tokio::time::pause();
        bubble
    };
    let (answer, bubble) = tokio::join!(desktop.send(notice), came);
    tokio::time::resume();
    check_reached(&answer);
    bubble
}

/// Sends to a server that answers nothing, not even whether it lives.
async fn send_in_vain(desktop: &mut Desktop, server: &mut Server, notice: &Notice) -> SendOutcome {
    let probed = async {
        server.until_probed().await;
        // Nothing is left to happen but the deadline: the clock jumps there.
        tokio::time::pause();
    };
    let (answer, ()) = tokio::join!(desktop.send(notice), probed);
    tokio::time::resume();
    answer
}

#[track_caller]
fn check_reached(answer: &SendOutcome) {
    assert!(matches!(answer, SendOutcome::Transient { after_s: None, reached: true, .. }), "{answer:?}");
}

/// A shell that hung for 40 s once showed the start three times, and the copies stayed.
#[tokio::test]
async fn a_server_that_hangs_is_given_one_copy_and_its_late_answer_counts() {
    let bus = Bus::start();
    let mut server = Server::start(&bus, &USUAL).await;
    let mut desktop = Desktop::at(&bus.address);
    let down = notice("down", "");
    server.hold(Held::Bubbles);
    let shown = hung(&mut desktop, &mut server, &down).await;
    server.hold(Held::Everything);
    for _ in 0..3 {
        check_reached(&send_in_vain(&mut desktop, &mut server, &down).await);
    }
    // Other messages are not sent either.
    let other = Notice { key: "another".to_owned(), ..notice("other", "") };
    check_not_reached(&send_in_vain(&mut desktop, &mut server, &other).await, "does not answer");
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
async fn a_server_that_was_met_before_and_hangs_is_sent_nothing_until_it_goes_on() {
    let bus = Bus::start();
    let mut server = Server::start(&bus, &USUAL).await;
    let mut desktop = Desktop::at(&bus.address);
    let before = receipt(desktop.send(&notice("before", "")).await);
    server.next().await;
    server.hold(Held::Everything);
    let down = Notice { key: "another".to_owned(), ..notice("down", "") };
    for _ in 0..3 {
        check_not_reached(&send_in_vain(&mut desktop, &mut server, &down).await, "does not answer");
        check_not_reached(&send_in_vain(&mut desktop, &mut server, &end(&before)).await, "does not answer");
    }
    let probed = async {
        server.until_probed().await;
        tokio::time::pause();
    };
    let (is_reachable, ()) = tokio::join!(desktop.is_reachable(), probed);
    tokio::time::resume();
    assert!(!is_reachable, "another try would be in vain");
    server.hold(Held::Nothing);
    assert!(desktop.is_reachable().await);
    receipt(desktop.send(&down).await);
    assert_eq!(server.next().await.summary, "down");
    assert!(server.is_quiet() && server.has_closed_nothing());
}

#[tokio::test]
async fn a_late_answer_is_taken_for_the_message_it_is_about() {
    let bus = Bus::start();
    let mut server = Server::start(&bus, &USUAL).await;
    let mut desktop = Desktop::at(&bus.address);
    server.hold(Held::Bubbles);
    let down = notice("down", "");
    let shown = hung(&mut desktop, &mut server, &down).await;
    server.hold(Held::Nothing);
    let start = receipt(desktop.send(&down).await);
    receipt(desktop.send(&end(&start)).await);
    let ended = server.next().await;
    assert_eq!((ended.summary.as_str(), ended.replaces_id), ("Over", shown.id));
    assert!(server.is_quiet() && server.has_closed_nothing());
}

/// The server answers other calls, so it may have dropped the message. Repeats are limited.
#[tokio::test]
async fn a_message_that_a_living_server_never_confirms_is_repeated_twice_and_late_copies_go() {
    let bus = Bus::start();
    let mut server = Server::start(&bus, &USUAL).await;
    let mut desktop = Desktop::at(&bus.address);
    server.hold(Held::Bubbles);
    let down = notice("down", "");
    hung(&mut desktop, &mut server, &down).await;
    let mut copies = 1;
    for _ in 0..4 {
        tokio::time::pause();
        tokio::time::advance(std::time::Duration::from_secs(30)).await;
        tokio::time::resume();
        let before = copies;
        let mut sending = std::pin::pin!(desktop.send(&down));
        let answer = loop {
            tokio::select! {
                answer = &mut sending => break answer,
                _ = server.next() => {
                    copies += 1;
                    tokio::time::pause();
                }
            }
        };
        if copies > before {
            tokio::time::resume();
        }
        check_reached(&answer);
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
async fn a_late_copy_with_the_number_that_counts_stays() {
    let bus = Bus::start();
    let mut server = Server::start(&bus, &USUAL).await;
    let mut desktop = Desktop::at(&bus.address);
    server.say(Says::Always(7));
    server.hold(Held::Bubbles);
    hung(&mut desktop, &mut server, &notice("down", "")).await;
    let other = Notice { key: "another".to_owned(), ..notice("other", "") };
    hung(&mut desktop, &mut server, &other).await;
    server.hold(Held::Nothing);
    let shown = receipt(desktop.send(&other).await);
    receipt(desktop.send(&end(&shown)).await);
    assert_eq!(server.next().await.replaces_id, 7);
    assert!(server.has_closed_nothing());
}

#[tokio::test]
async fn number_0_is_no_receipt() {
    let bus = Bus::start();
    let server = Server::start(&bus, &USUAL).await;
    server.say(Says::Always(0));
    let answer = Desktop::at(&bus.address).send(&notice("down", "")).await;
    assert!(matches!(answer, SendOutcome::Delivered { receipt: None, .. }), "{answer:?}");
}

/// A message that was not shown may be composed anew, with a start and its end combined.
#[tokio::test]
async fn an_error_says_that_nothing_was_shown_and_silence_does_not() {
    let bus = Bus::start();
    let server = Server::start(&bus, &USUAL).await;
    let mut desktop = Desktop::at(&bus.address);
    for error in ["Failed", "InvalidArgs"] {
        server.say(Says::Error(error));
        check_not_reached(&desktop.send(&notice("down", "")).await, "did not take it: ");
    }
    for silence in [Says::Error("NoReply"), Says::ShellHangs] {
        server.say(silence);
        check_reached(&desktop.send(&notice("down", "")).await);
    }
}

/// GNOME Shell once replaced the alarm without showing the end, so the user missed it.
#[tokio::test]
async fn gnome_shell_shows_an_end_because_its_alarm_is_closed_before() {
    let bus = Bus::start();
    let mut server = Server::start(&bus, &USUAL).await;
    server.be_called("gnome-shell");
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
async fn gnome_shell_lets_an_end_take_the_place_of_a_start_that_disturbs_nobody() {
    let bus = Bus::start();
    let mut server = Server::start(&bus, &USUAL).await;
    server.be_called("gnome-shell");
    let mut desktop = Desktop::at(&bus.address).with(Urgency::Normal);
    let start = receipt(desktop.send(&notice("down", "")).await);
    assert_eq!(receipt(desktop.send(&end(&start)).await), start);
    assert_eq!(server.next().await.id, server.next().await.replaces_id);
    assert!(server.has_closed_nothing());
}

#[tokio::test]
async fn a_server_that_ends_while_it_is_told_may_have_shown_it() {
    let bus = Bus::start();
    let mut server = Server::start(&bus, &USUAL).await;
    let mut desktop = Desktop::at(&bus.address);
    server.hold(Held::Bubbles);
    let down = notice("down", "");
    let ending = async {
        server.next().await;
        server.stop().await;
    };
    let (answer, ()) = tokio::join!(desktop.send(&down), ending);
    check_reached(&answer);
    let mut server = Server::start(&bus, &USUAL).await;
    receipt(desktop.send(&down).await);
    assert_eq!(server.next().await.replaces_id, 0);
}

#[tokio::test]
async fn a_server_that_cannot_say_what_it_can_do_is_given_plain_text() {
    let bus = Bus::start();
    let mut server = Server::start(&bus, &["body", "body-markup"]).await;
    server.lose_abilities();
    let mut desktop = Desktop::at(&bus.address);
    receipt(desktop.send(&notice("A & B", "A & B")).await);
    receipt(desktop.send(&notice("again", "")).await);
    assert_eq!(server.next().await.body, "A & B");
    assert_eq!(server.asked(), 1);
}

#[tokio::test]
async fn normal_urgency_disturbs_nobody() {
    let settings = "urgency = 'normal'";
    let settings: statusd::channel::desktop::Settings = toml::from_str(settings).expect("settings");
    assert_eq!(settings.urgency, Urgency::Normal);
    let bus = Bus::start();
    let mut server = Server::start(&bus, &USUAL).await;
    let mut desktop = Desktop::at(&bus.address).with(Urgency::Normal);
    let start = receipt(desktop.send(&notice("down", "")).await);
    receipt(desktop.send(&end(&start)).await);
    let (began, ended) = (server.next().await, server.next().await);
    assert_eq!((began.urgency, began.expire), (Some(1), -1));
    assert_eq!((ended.urgency, ended.expire, ended.replaces_id), (Some(1), -1, began.id));
}

#[tokio::test]
async fn the_first_address_of_a_list_that_works_is_taken() {
    let bus = Bus::start();
    let mut server = Server::start(&bus, &USUAL).await;
    let list = format!("nonsense;unix:path=/nonexistent/bus;;{}", bus.address);
    receipt(Desktop::at(&list).send(&notice("down", "")).await);
    assert_eq!(server.next().await.summary, "down");
    let none = "nonsense;unix:path=/nonexistent/bus";
    check_not_reached(&Desktop::at(none).send(&notice("down", "")).await, "no desktop session bus");
}

fn closed(receipt: &str) -> Fate {
    Fate::Changed { receipt: format!("closed@{receipt}") }
}

#[tokio::test]
async fn the_end_of_an_alarm_that_statusd_closed_stays_until_somebody_dismisses_it() {
    let bus = Bus::start();
    let mut server = Server::start(&bus, &USUAL).await;
    let mut desktop = Desktop::at(&bus.address);
    let down = notice("down", "");
    let start = receipt(desktop.send(&down).await);
    let id = server.next().await.id;
    let Fate::Changed { receipt } = desktop.keep_alarm(&down, &start, Wish::Closed).await else {
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
async fn an_alarm_that_is_over_is_closed_after_a_restart_of_statusd_too() {
    let bus = Bus::start();
    let mut server = Server::start(&bus, &USUAL).await;
    let down = notice("down", "");
    let start = receipt(Desktop::at(&bus.address).send(&down).await);
    let id = server.next().await.id;
    let mut desktop = Desktop::at(&bus.address);
    assert_eq!(desktop.keep_alarm(&down, &start, Wish::OnScreen).await, Fate::Same);
    assert_eq!(desktop.keep_alarm(&down, &start, Wish::Left).await, Fate::Same);
    assert!(server.has_closed_nothing() && server.is_quiet());
    assert_eq!(desktop.keep_alarm(&down, &start, Wish::Closed).await, closed(&start));
    assert_eq!(server.next_closed().await, id);
}

#[tokio::test]
async fn an_alarm_is_shown_again_by_the_next_server_once_and_never_closed_there_by_its_old_number() {
    let bus = Bus::start();
    let mut desktop = Desktop::at(&bus.address);
    let server = Server::start(&bus, &USUAL).await;
    let down = notice("down", "");
    let start = receipt(desktop.send(&down).await);
    server.stop().await;
    assert_eq!(desktop.keep_alarm(&down, &start, Wish::OnScreen).await, Fate::Unknown);
    let mut server = Server::start(&bus, &USUAL).await;
    desktop.until_screen_changes().await;
    assert_eq!(desktop.keep_alarm(&down, &start, Wish::Left).await, Fate::Same);
    let Fate::Changed { receipt: again } = desktop.keep_alarm(&down, &start, Wish::OnScreen).await else {
        panic!("not shown again");
    };
    let bubble = server.next().await;
    assert_eq!((bubble.summary.as_str(), bubble.replaces_id, bubble.expire), ("down", 0, 0));
    // As if the receipt could not be written down.
    let fate = desktop.keep_alarm(&down, &start, Wish::OnScreen).await;
    assert_eq!(fate, Fate::Changed { receipt: again.clone() });
    assert!(server.is_quiet());
    assert_eq!(desktop.keep_alarm(&down, &start, Wish::Closed).await, closed(&start));
    assert!(server.has_closed_nothing(), "number 1 may be somebody else's there");
    assert_eq!(desktop.keep_alarm(&down, &again, Wish::Closed).await, closed(&again));
    assert_eq!(server.next_closed().await, bubble.id);
}

/// The bubble itself may be what crashes the server.
#[tokio::test]
async fn a_server_that_ends_again_and_again_is_not_shown_the_alarm_each_time() {
    let bus = Bus::start();
    let mut desktop = Desktop::at(&bus.address);
    let down = notice("down", "");
    let server = Server::start(&bus, &USUAL).await;
    let start = receipt(desktop.send(&down).await);
    server.stop().await;
    let server = Server::start(&bus, &USUAL).await;
    let Fate::Changed { receipt: again } = desktop.keep_alarm(&down, &start, Wish::OnScreen).await else {
        panic!("not shown again");
    };
    server.stop().await;
    let mut server = Server::start(&bus, &USUAL).await;
    assert_eq!(desktop.keep_alarm(&down, &again, Wish::OnScreen).await, Fate::Unknown);
    assert!(server.is_quiet());
    tokio::time::pause();
    tokio::time::advance(std::time::Duration::from_secs(600)).await;
    tokio::time::resume();
    let fate = desktop.keep_alarm(&down, &again, Wish::OnScreen).await;
    assert!(matches!(fate, Fate::Changed { .. }), "{fate:?}");
    assert_eq!(server.next().await.summary, "down");
}

#[tokio::test]
async fn an_alarm_that_the_user_dismissed_is_gone_and_one_whose_time_was_up_is_not() {
    let bus = Bus::start();
    let mut server = Server::start(&bus, &USUAL).await;
    let mut desktop = Desktop::at(&bus.address);
    let down = notice("down", "");
    let start = receipt(desktop.send(&down).await);
    let bubble = server.next().await;
    server.tell_closed(&bubble.sender, bubble.id).await;
    assert_eq!(desktop.keep_alarm(&down, &start, Wish::OnScreen).await, Fate::Same);
    let start = receipt(desktop.send(&down).await);
    let bubble = server.next().await;
    server.dismiss(&bubble.sender, bubble.id).await;
    desktop.until_screen_changes().await;
    assert_eq!(desktop.keep_alarm(&down, &start, Wish::OnScreen).await, Fate::Gone);
    server.stop().await;
    let server = Server::start(&bus, &USUAL).await;
    assert_eq!(desktop.keep_alarm(&down, &start, Wish::OnScreen).await, Fate::Gone);
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

/// Some login managers leave the variable empty, and D-Bus allows a list of addresses.
#[tokio::test]
async fn the_program_finds_its_bus_through_an_empty_variable_and_through_a_list() {
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
