//! The life of alarms on a desktop: closed at the end of the outage, shown again after the notification
//! server restarts, and left alone once dismissed.
//!
//! Runs in the simulation over a real D-Bus. Times are in the format of `sim::at`, in UTC.

#![cfg(all(unix, not(target_os = "macos")))]

use crate::common::bus::{Bubble, Bus};
use crate::common::doc::Doc;
use crate::sim::{Sim, at, backup, calm};

/// A document with one event each for Photos and iCloud Backup: id, status, start.
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

async fn sim_on(bus: &Bus, policy: &str) -> Sim {
    let mut sim = Sim::new().await.watching(&["iCloud Backup", "Photos"]).desktop(bus).with_policy(policy);
    sim.log_in(bus).await;
    sim.show(&calm("09:00"));
    sim.start().await;
    sim
}

fn bubbles(sim: &mut Sim) -> Vec<Bubble> {
    sim.messages(0).iter().map(|message| message.bubble().clone()).collect()
}

#[track_caller]
fn the_only(bubbles: &[Bubble]) -> Bubble {
    let [bubble] = bubbles else { panic!("not one bubble: {bubbles:#?}") };
    bubble.clone()
}

/// Two incidents in one document once shared a bubble that was never closed.
#[tokio::test]
async fn shows_one_bubble_per_incident_and_replaces_each() {
    let bus = Bus::start();
    let mut sim = sim_on(&bus, "").await;
    let (photos, backup) = (("2001", "ongoing", "09:00"), ("1001", "ongoing", "09:00"));
    sim.show(&both("10:30", photos, backup));
    sim.until("11:00").await;
    let began = bubbles(&mut sim);
    assert_eq!(began.iter().map(|bubble| bubble.id).collect::<Vec<_>>(), [1, 2], "{began:#?}");

    sim.show(&both("11:01", ("2001", "resolved", "09:00"), backup));
    sim.until("11:30").await;
    let ended = the_only(&bubbles(&mut sim));
    let photos_bubble = began.iter().find(|bubble| bubble.summary.contains("Photos")).expect("Photos");
    assert_eq!((ended.replaces_id, ended.urgency, ended.expire), (photos_bubble.id, Some(1), 0));

    sim.show(&both("11:31", ("2001", "resolved", "09:00"), ("1001", "resolved", "09:00")));
    sim.until("12:00").await;
    let ended = the_only(&bubbles(&mut sim));
    assert!(ended.summary.contains("Backup") && ended.replaces_id != photos_bubble.id, "{ended:#?}");
    assert!(sim.notification_server(0).has_closed_nothing());
}

#[tokio::test]
async fn incident_stays_critical_until_all_its_services_recover() {
    let bus = Bus::start();
    let mut sim = sim_on(&bus, "").await;
    let ongoing = ("1001", "ongoing", "09:00");
    sim.show(&both("10:30", ongoing, ongoing));
    sim.until("11:00").await;
    let began = the_only(&bubbles(&mut sim));
    sim.show(&both("11:01", ("1001", "resolved", "09:00"), ongoing));
    sim.until("11:30").await;
    let ended = the_only(&bubbles(&mut sim));
    assert_eq!((ended.replaces_id, ended.urgency), (began.id, Some(2)), "{ended:#?}");

    // The end of one service must not close the incident's bubble.
    sim.stop().await;
    sim.start().await;
    sim.until("12:00").await;
    assert!(sim.notification_server(0).has_closed_nothing());
    sim.log_out(0).await;
    sim.log_in(&bus).await;
    sim.until("12:30").await;
    assert_eq!(the_only(&bubbles(&mut sim)).summary, ended.summary);

    sim.show(&both("12:31", ("1001", "resolved", "09:00"), ("1001", "resolved", "09:00")));
    sim.until("13:00").await;
    assert_eq!(the_only(&bubbles(&mut sim)).urgency, Some(1));
}

/// GNOME Shell hides a critical bubble at once when a less urgent one replaces it.
#[tokio::test]
async fn gnome_shell_closes_the_alarm_and_shows_the_end_as_a_new_bubble() {
    let bus = Bus::start();
    let mut sim = sim_on(&bus, "").await;
    sim.notification_server(0).set_name("gnome-shell");
    sim.show(&down("10:30"));
    sim.until("11:00").await;
    let began = the_only(&bubbles(&mut sim));
    sim.show(&over("12:01"));
    sim.until("12:30").await;
    let ended = the_only(&bubbles(&mut sim));
    assert_eq!((ended.replaces_id, ended.urgency), (0, Some(1)), "{ended:#?}");
    assert_eq!(sim.notification_server(0).next_closed().await, began.id);
    sim.stop().await;
    sim.start().await;
    sim.until("13:00").await;
    while !sim.notification_server(0).has_closed_nothing() {
        assert_eq!(sim.notification_server(0).next_closed().await, began.id);
    }
}

#[tokio::test]
async fn closes_an_alarm_whose_end_the_policy_excludes() {
    let bus = Bus::start();
    let mut sim = sim_on(&bus, "only = ['began']").await;
    sim.show(&down("10:30"));
    sim.until("11:00").await;
    let began = the_only(&bubbles(&mut sim));
    sim.show(&over("12:01"));
    sim.until("12:30").await;
    assert_eq!(sim.notification_server(0).next_closed().await, began.id);
    sim.until("13:00").await;
    assert!(sim.notification_server(0).has_closed_nothing(), "closed twice");
}

#[tokio::test]
async fn end_missed_while_statusd_was_off_replaces_the_alarm() {
    let bus = Bus::start();
    let mut sim = sim_on(&bus, "").await;
    sim.show(&down("10:30"));
    sim.until("11:00").await;
    let began = the_only(&bubbles(&mut sim));
    sim.stop().await;
    sim.show(&over("12:01"));
    sim.off_until("12:30");
    sim.start().await;
    sim.until("13:00").await;
    assert_eq!(the_only(&bubbles(&mut sim)).replaces_id, began.id);
    assert!(sim.notification_server(0).has_closed_nothing());
}

/// The end waits for the end of the quiet hours, but an outdated alarm must not stay until then.
#[tokio::test]
async fn quiet_hours_close_an_ended_alarm_and_delay_its_end() {
    let bus = Bus::start();
    let mut sim = sim_on(&bus, "quiet = '11:30-13:00'").await;
    sim.show(&down("10:30"));
    sim.until("11:00").await;
    let began = the_only(&bubbles(&mut sim));
    sim.until("12:00").await;
    sim.show(&over("12:01"));
    sim.until("12:45").await;
    assert_eq!(sim.notification_server(0).next_closed().await, began.id);
    assert!(bubbles(&mut sim).is_empty());
    sim.until("13:30").await;
    let ended = the_only(&bubbles(&mut sim));
    assert_eq!((ended.urgency, ended.replaces_id), (Some(1), 0));
}

#[tokio::test]
async fn shows_an_ongoing_alarm_again_on_a_new_server() {
    let bus = Bus::start();
    let mut sim = sim_on(&bus, "").await;
    sim.show(&down("10:30"));
    sim.until("11:00").await;
    let began = the_only(&bubbles(&mut sim));
    sim.log_out(0).await;
    sim.until("11:30").await;
    sim.log_in(&bus).await;
    sim.until("12:00").await;
    let again = the_only(&bubbles(&mut sim));
    assert_eq!((&again.summary, again.urgency, again.expire), (&began.summary, Some(2), 0));

    sim.show(&over("12:01"));
    sim.until("12:30").await;
    assert_eq!(the_only(&bubbles(&mut sim)).replaces_id, again.id);
    assert!(sim.notification_server(0).has_closed_nothing());
}

#[tokio::test]
async fn shows_an_alarm_again_if_the_server_restarted_while_statusd_was_off() {
    let bus = Bus::start();
    let mut sim = sim_on(&bus, "").await;
    sim.show(&down("10:30"));
    sim.until("11:00").await;
    let began = the_only(&bubbles(&mut sim));
    sim.stop().await;
    sim.log_out(0).await;
    sim.log_in(&bus).await;
    sim.off_until("11:30");
    sim.start().await;
    sim.until("12:00").await;
    assert_eq!(the_only(&bubbles(&mut sim)).summary, began.summary);
}

#[tokio::test]
async fn polls_before_showing_an_old_alarm_again() {
    let bus = Bus::start();
    let mut sim = sim_on(&bus, "").await;
    sim.show(&down("10:30"));
    sim.until("11:00").await;
    the_only(&bubbles(&mut sim));
    sim.stop().await;
    sim.log_out(0).await;
    sim.log_in(&bus).await;
    sim.show(&over("12:01"));
    sim.off_until("+1d 11:00");
    sim.start().await;
    sim.until("+1d 12:00").await;
    assert_eq!(the_only(&bubbles(&mut sim)).urgency, Some(1));
}

#[tokio::test]
async fn dismissed_alarm_stays_dismissed_after_restarts() {
    let bus = Bus::start();
    let mut sim = sim_on(&bus, "").await;
    sim.show(&down("10:30"));
    sim.until("11:00").await;
    let began = the_only(&bubbles(&mut sim));
    sim.notification_server(0).dismiss(&began.sender, began.id).await;
    sim.until("11:10").await;
    sim.log_out(0).await;
    sim.log_in(&bus).await;
    sim.until("11:20").await;
    sim.stop().await;
    sim.start().await;
    sim.until("11:30").await;
    assert!(bubbles(&mut sim).is_empty());
    sim.show(&over("12:01"));
    sim.until("12:30").await;
    let ended = the_only(&bubbles(&mut sim));
    assert_eq!((ended.urgency, ended.replaces_id, ended.expire), (Some(1), 0, -1));
}

#[tokio::test]
async fn does_not_show_quiet_or_acknowledged_alarms_again() {
    let bus = Bus::start();
    let mut sim = sim_on(&bus, "quiet = '11:30-13:00'").await;
    sim.show(&down("10:30"));
    sim.until("11:00").await;
    let began = the_only(&bubbles(&mut sim));
    sim.until("11:40").await;
    sim.log_out(0).await;
    sim.log_in(&bus).await;
    sim.until("12:50").await;
    assert!(bubbles(&mut sim).is_empty());
    sim.until("13:10").await;
    assert_eq!(the_only(&bubbles(&mut sim)).summary, began.summary);

    sim.ack("iCloud Backup", false).await;
    sim.log_out(0).await;
    sim.log_in(&bus).await;
    sim.until("14:00").await;
    assert!(bubbles(&mut sim).is_empty());
}
