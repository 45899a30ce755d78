//! Drills through the real parts, with different services, policies and templates.

use jiff::tz::TimeZone;
use tokio::task::LocalSet;

use super::*;
use crate::channel::desktop::Desktop;
use crate::channel::log::Log;
use crate::channel::{AnyTransport, Audience, Channel};
use crate::delivery::message::DRILL;
use crate::delivery::policy::Policy;
use crate::model::Edition;
use crate::schedule::Schedule;

fn drill(watch: &str) -> Drill {
    let schedule = || Schedule::parse("*/5 * * * *", &TimeZone::UTC).expect("a schedule");
    Drill {
        feed: FeedId { edition: Edition::Consumer, locale: "en_US".to_owned() },
        service: service(&[watch.to_owned()]),
        plan: Plan { poll: schedule(), trouble: schedule(), jitter_s: 0 },
        now: "2026-05-05T12:00:30Z".parse().expect("a time"),
        speed: None,
        is_dry: true,
    }
}

/// Returns a channel for people or for programs with a policy.
fn receiver(name: &str, toml: &str) -> Receiver {
    let (audience, transport) = match name {
        "log" => (Audience::Programs, AnyTransport::from(Log)),
        _ => (Audience::Desktop, AnyTransport::from(Desktop::new())),
    };
    let settings = toml::from_str(toml).expect("the keys of policy");
    let policy = Policy::new(&settings, &TimeZone::UTC).expect("good policy");
    let channel = Channel::new(name, audience, transport);
    Receiver::new(channel, policy, drill("").feed, Watchlist::new(&["iCloud Backup"]), TimeZone::UTC)
}

async fn steps_of(drill: Drill, receivers: Vec<Receiver>) -> Vec<DrillStep> {
    let run = async {
        let mut run = Run::start(drill, receivers);
        let mut steps = Vec::new();
        while let Some(step) = run.next().await.expect("a drill") {
            steps.push(step);
        }
        steps
    };
    LocalSet::new().run_until(run).await
}

fn notices(steps: &[DrillStep]) -> Vec<&Notice> {
    let delivered = steps.iter().flat_map(|step| &step.delivered);
    delivered.filter_map(|delivered| Some(&delivered.message.as_ref()?.notice)).collect()
}

#[tokio::test]
async fn a_drill_begins_worsens_ends_and_misses_one() {
    let steps = steps_of(drill("iCloud Backup"), vec![receiver("desktop", "")]).await;
    let lines: Vec<(&str, String, Vec<&str>)> = steps
        .iter()
        .map(|step| {
            let titles = notices(std::slice::from_ref(step)).into_iter().map(|notice| notice.title.as_str());
            (step.phase.as_str(), step.at.strftime("%H:%M:%S").to_string(), titles.collect())
        })
        .collect();
    let line = |step, at: &str, title| (step, at.to_owned(), vec![title]);
    let expected = [
        ("calm", "11:40:30".to_owned(), Vec::new()),
        line("began", "11:45:30", "DRILL: Issue: iCloud Backup"),
        line("worsened", "11:50:30", "DRILL: Worse: iCloud Backup"),
        line("ended", "11:55:30", "DRILL: Fixed: iCloud Backup"),
        line("missed", "12:00:30", "DRILL: Was down: iCloud Backup"),
    ];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn every_message_begins_with_drill() {
    let templates = [
        ("desktop", ""),
        ("desktop", "title = 'x'\nbody = 'y'"),
        ("desktop", "title = '{{ title }}'"),
        ("desktop", "title = ' '"),
        ("log", ""),
        ("log", "title = '{% for change in changes %}{{ change.text }}{% endfor %}'"),
        ("log", "title = 'x'"),
    ];
    let receivers = templates.iter().map(|(name, toml)| receiver(name, toml)).collect();
    let steps = steps_of(drill("iCloud Backup"), receivers).await;
    let notices = notices(&steps);
    assert_eq!(notices.len(), 4 * templates.len());
    for notice in notices {
        assert!(notice.title.starts_with(DRILL), "{notice:?}");
        assert_eq!(notice.title.matches(DRILL).count(), 1, "{notice:?}");
        if !notice.payload.is_empty() {
            let payload: serde_json::Value = serde_json::from_str(&notice.payload).expect("JSON");
            assert_eq!(payload["drill"], true, "{payload}");
            assert_eq!(payload["text"], notice.title, "{payload}");
        }
    }
}

#[tokio::test]
async fn a_policy_excludes_changes_and_never_delays_them() {
    let policy = [
        ("quiet = '00:00-23:59'\nremind_every = '5m'", 4),
        ("only = ['began', 'ended']", 2),
        ("services = ['Photos']", 0),
    ];
    let receivers = policy.iter().map(|(toml, _)| receiver("desktop", toml)).collect();
    let steps = steps_of(drill("iCloud Backup"), receivers).await;
    for (index, (toml, expected)) in policy.into_iter().enumerate() {
        let delivered = steps
            .iter()
            .filter(|step| step.delivered.get(index).is_some_and(|delivered| delivered.message.is_some()));
        assert_eq!(delivered.count(), expected, "{toml}");
    }
}

#[tokio::test]
async fn a_drill_works_for_any_service_name() {
    for watch in ["Identity - Drivers License \"or\" ID", "iCloudバックアップ", "zzz*", "\\"] {
        let steps = steps_of(drill(watch), vec![receiver("log", "")]).await;
        let name = service(&[watch.to_owned()]);
        assert_eq!(notices(&steps).len(), 4, "{watch}");
        assert!(notices(&steps).iter().all(|notice| notice.title.contains(&name)), "{watch}");
    }
}

#[tokio::test]
async fn two_drills_have_no_key_in_common() {
    let later = Drill { now: "2026-05-05T12:00:31Z".parse().expect("a time"), ..drill("Photos") };
    let first = steps_of(drill("Photos"), vec![receiver("log", "")]).await;
    let second = steps_of(later, vec![receiver("log", "")]).await;
    for notice in notices(&first) {
        assert!(notice.key.contains("/drill-20260505T120030Z-"), "{}", notice.key);
        assert!(notices(&second).iter().all(|other| other.key != notice.key), "{}", notice.key);
    }
}

#[test]
fn the_speed_divides_the_waits_and_without_one_there_are_none() {
    let whole = |speed| DrillPhase::ALL.len() as u32 * pause(45, speed) + 4 * pause(255, speed);
    assert_eq!(whole(None), Duration::ZERO);
    assert_eq!(pause(300, Some(60)), Duration::from_secs(5));
    assert_eq!(whole(Some(1)).as_secs(), LENGTH_S.unsigned_abs());
}

#[test]
fn a_glob_is_replaced_by_a_matching_name() {
    for (glob, name) in [
        ("*", "iCloud Backup"),
        ("icloud m*", "iCloud Mail"),
        ("Maps *", "Maps"),
        ("Si?i", "Sixi"),
        ("iCloud Backup", "iCloud Backup"),
        ("  Photos ", "Photos"),
    ] {
        assert_eq!(service(&[glob.to_owned()]), name, "{glob}");
    }
}
