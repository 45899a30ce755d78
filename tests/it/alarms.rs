//! Alarms on a screen, as stories: closed when nothing in them is true any more, shown again when the
//! server is lost, left alone when the user dismissed them.
//!
//! Played in the town of `stories`, over a real D-Bus. Times are those of `town::at`, in UTC.

#![cfg(all(unix, not(target_os = "macos")))]

use crate::common::bus::{Bubble, Bus};
use crate::common::doc::Doc;
use crate::sim::{Town, at, backup, calm};

/// Photos with this event, Backup with that one: `id`, status, beginning.
fn both(posted: &str, photos: (&str, &str, &str), backup: (&str, &str, &str)) -> Doc {
    let posted = at(posted).strftime("%m/%d/%Y %H:%M UTC").to_string();
    let event = |doc: Doc, (id, status, from): (&str, &str, &str)| {
        let end = (status == "resolved").then(|| at(from).as_second() + 1_800);
        doc.event(id, "Outage", status, at(from).as_second(), end)
    };
    let doc = event(Doc::new().service("Photos"), photos);
    event(doc.service("iCloud Backup"), backup).posted(&posted)
}

fn down(posted: &str) -> Doc {
    backup(posted, "Outage", "ongoing", "09:00", None)
}

fn over(posted: &str) -> Doc {
    backup(posted, "Outage", "resolved", "09:00", Some("12:00"))
}

async fn town_on(bus: &Bus, policy: &str) -> Town {
    let mut town = Town::new().await.watching(&["iCloud Backup", "Photos"]).person(bus).on_terms(policy);
    town.log_in(bus).await;
    town.show(&calm("09:00"));
    town.start().await;
    town
}

fn bubbles(town: &mut Town) -> Vec<Bubble> {
    town.messages(0).iter().map(|heard| heard.bubble().clone()).collect()
}

#[track_caller]
fn the_only(bubbles: &[Bubble]) -> Bubble {
    let [bubble] = bubbles else { panic!("not one bubble: {bubbles:#?}") };
    bubble.clone()
}

/// Two incidents that began in one copy were one bubble, which nothing ever took back.
#[tokio::test]
async fn two_incidents_are_two_bubbles_and_both_are_closed() {
    let bus = Bus::start();
    let mut town = town_on(&bus, "").await;
    let (photos, backup) = (("2001", "ongoing", "09:00"), ("1001", "ongoing", "09:00"));
    town.show(&both("10:30", photos, backup));
    town.until("11:00").await;
    let began = bubbles(&mut town);
    assert_eq!(began.iter().map(|bubble| bubble.id).collect::<Vec<_>>(), [1, 2], "{began:#?}");

    town.show(&both("11:01", ("2001", "resolved", "09:00"), backup));
    town.until("11:30").await;
    let ended = the_only(&bubbles(&mut town));
    let photos_bubble = began.iter().find(|bubble| bubble.summary.contains("Photos")).expect("Photos");
    assert_eq!((ended.replaces_id, ended.urgency, ended.expire), (photos_bubble.id, Some(1), 0));

    town.show(&both("11:31", ("2001", "resolved", "09:00"), ("1001", "resolved", "09:00")));
    town.until("12:00").await;
    let ended = the_only(&bubbles(&mut town));
    assert!(ended.summary.contains("Backup") && ended.replaces_id != photos_bubble.id, "{ended:#?}");
    assert!(town.screen(0).has_closed_nothing());
}

#[tokio::test]
async fn one_incident_of_two_services_stays_an_alarm_until_both_are_over() {
    let bus = Bus::start();
    let mut town = town_on(&bus, "").await;
    let ongoing = ("1001", "ongoing", "09:00");
    town.show(&both("10:30", ongoing, ongoing));
    town.until("11:00").await;
    let began = the_only(&bubbles(&mut town));
    town.show(&both("11:01", ("1001", "resolved", "09:00"), ongoing));
    town.until("11:30").await;
    let ended = the_only(&bubbles(&mut town));
    assert_eq!((ended.replaces_id, ended.urgency), (began.id, Some(2)), "{ended:#?}");

    // What is said of one service is no reason to take it from the screen.
    town.stop().await;
    town.start().await;
    town.until("12:00").await;
    assert!(town.screen(0).has_closed_nothing());
    town.log_out(0).await;
    town.log_in(&bus).await;
    town.until("12:30").await;
    assert_eq!(the_only(&bubbles(&mut town)).summary, ended.summary);

    town.show(&both("12:31", ("1001", "resolved", "09:00"), ("1001", "resolved", "09:00")));
    town.until("13:00").await;
    assert_eq!(the_only(&bubbles(&mut town)).urgency, Some(1));
}

/// It hides a critical bubble at once when a calmer one takes its place.
#[tokio::test]
async fn on_gnome_shell_an_end_is_a_new_bubble_and_only_its_alarm_is_closed() {
    let bus = Bus::start();
    let mut town = town_on(&bus, "").await;
    town.screen(0).be_called("gnome-shell");
    town.show(&down("10:30"));
    town.until("11:00").await;
    let began = the_only(&bubbles(&mut town));
    town.show(&over("12:01"));
    town.until("12:30").await;
    let ended = the_only(&bubbles(&mut town));
    assert_eq!((ended.replaces_id, ended.urgency), (0, Some(1)), "{ended:#?}");
    assert_eq!(town.screen(0).next_closed().await, began.id);
    town.stop().await;
    town.start().await;
    town.until("13:00").await;
    while !town.screen(0).has_closed_nothing() {
        assert_eq!(town.screen(0).next_closed().await, began.id);
    }
}

#[tokio::test]
async fn an_alarm_whose_end_is_not_sent_to_the_desktop_is_closed() {
    let bus = Bus::start();
    let mut town = town_on(&bus, "only = ['began']").await;
    town.show(&down("10:30"));
    town.until("11:00").await;
    let began = the_only(&bubbles(&mut town));
    town.show(&over("12:01"));
    town.until("12:30").await;
    assert_eq!(town.screen(0).next_closed().await, began.id);
    town.until("13:00").await;
    assert!(town.screen(0).has_closed_nothing(), "it was closed once");
}

#[tokio::test]
async fn an_alarm_that_ended_while_statusd_was_off_is_replaced_by_its_end() {
    let bus = Bus::start();
    let mut town = town_on(&bus, "").await;
    town.show(&down("10:30"));
    town.until("11:00").await;
    let began = the_only(&bubbles(&mut town));
    town.stop().await;
    town.show(&over("12:01"));
    town.off_until("12:30");
    town.start().await;
    town.until("13:00").await;
    assert_eq!(the_only(&bubbles(&mut town)).replaces_id, began.id);
    assert!(town.screen(0).has_closed_nothing());
}

/// The end itself waits for the morning, but what is not true any more must not stay meanwhile.
#[tokio::test]
async fn an_alarm_that_is_over_goes_in_quiet_hours_and_its_end_comes_afterwards() {
    let bus = Bus::start();
    let mut town = town_on(&bus, "quiet = '11:30-13:00'").await;
    town.show(&down("10:30"));
    town.until("11:00").await;
    let began = the_only(&bubbles(&mut town));
    town.until("12:00").await;
    town.show(&over("12:01"));
    town.until("12:45").await;
    assert_eq!(town.screen(0).next_closed().await, began.id);
    assert!(bubbles(&mut town).is_empty());
    town.until("13:30").await;
    let ended = the_only(&bubbles(&mut town));
    assert_eq!((ended.urgency, ended.replaces_id), (Some(1), 0));
}

#[tokio::test]
async fn an_alarm_that_lasts_is_shown_again_by_the_next_server_and_its_end_replaces_that() {
    let bus = Bus::start();
    let mut town = town_on(&bus, "").await;
    town.show(&down("10:30"));
    town.until("11:00").await;
    let began = the_only(&bubbles(&mut town));
    town.log_out(0).await;
    town.until("11:30").await;
    town.log_in(&bus).await;
    town.until("12:00").await;
    let again = the_only(&bubbles(&mut town));
    assert_eq!((&again.summary, again.urgency, again.expire), (&began.summary, Some(2), 0));

    town.show(&over("12:01"));
    town.until("12:30").await;
    assert_eq!(the_only(&bubbles(&mut town)).replaces_id, again.id);
    assert!(town.screen(0).has_closed_nothing());
}

#[tokio::test]
async fn an_alarm_whose_server_was_lost_while_statusd_was_off_is_shown_again() {
    let bus = Bus::start();
    let mut town = town_on(&bus, "").await;
    town.show(&down("10:30"));
    town.until("11:00").await;
    let began = the_only(&bubbles(&mut town));
    town.stop().await;
    town.log_out(0).await;
    town.log_in(&bus).await;
    town.off_until("11:30");
    town.start().await;
    town.until("12:00").await;
    assert_eq!(the_only(&bubbles(&mut town)).summary, began.summary);
}

#[tokio::test]
async fn an_old_alarm_is_not_shown_again_before_a_poll() {
    let bus = Bus::start();
    let mut town = town_on(&bus, "").await;
    town.show(&down("10:30"));
    town.until("11:00").await;
    the_only(&bubbles(&mut town));
    town.stop().await;
    town.log_out(0).await;
    town.log_in(&bus).await;
    town.show(&over("12:01"));
    town.off_until("+1d 11:00");
    town.start().await;
    town.until("+1d 12:00").await;
    assert_eq!(the_only(&bubbles(&mut town)).urgency, Some(1));
}

#[tokio::test]
async fn an_alarm_that_was_dismissed_stays_away_after_restarts_of_both() {
    let bus = Bus::start();
    let mut town = town_on(&bus, "").await;
    town.show(&down("10:30"));
    town.until("11:00").await;
    let began = the_only(&bubbles(&mut town));
    town.screen(0).dismiss(&began.sender, began.id).await;
    town.until("11:10").await;
    town.log_out(0).await;
    town.log_in(&bus).await;
    town.until("11:20").await;
    town.stop().await;
    town.start().await;
    town.until("11:30").await;
    assert!(bubbles(&mut town).is_empty());
    town.show(&over("12:01"));
    town.until("12:30").await;
    let ended = the_only(&bubbles(&mut town));
    assert_eq!((ended.urgency, ended.replaces_id, ended.expire), (Some(1), 0, -1));
}

#[tokio::test]
async fn held_back_or_acknowledged_alarms_are_not_shown_again() {
    let bus = Bus::start();
    let mut town = town_on(&bus, "quiet = '11:30-13:00'").await;
    town.show(&down("10:30"));
    town.until("11:00").await;
    let began = the_only(&bubbles(&mut town));
    town.until("11:40").await;
    town.log_out(0).await;
    town.log_in(&bus).await;
    town.until("12:50").await;
    assert!(bubbles(&mut town).is_empty());
    town.until("13:10").await;
    assert_eq!(the_only(&bubbles(&mut town)).summary, began.summary);

    town.ack("iCloud Backup", false).await;
    town.log_out(0).await;
    town.log_in(&bus).await;
    town.until("14:00").await;
    assert!(bubbles(&mut town).is_empty());
}
