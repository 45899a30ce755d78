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
    let (audience, way) = match name {
        "log" => (Audience::Programs, AnyTransport::from(Log)),
        _ => (Audience::Desktop, AnyTransport::from(Desktop::new())),
    };
    let settings = toml::from_str(toml).expect("the keys of policy");
    let policy = Policy::new(&settings, &TimeZone::UTC).expect("good policy");
    let channel = Channel::new(name, audience, way);
    Receiver::new(channel, policy, drill("").feed, Watchlist::new(&["iCloud Backup"]), TimeZone::UTC)
}

async fn played(drill: Drill, receivers: Vec<Receiver>) -> Vec<DrillStep> {
    let play = async {
        let mut play = Play::begin(drill, receivers);
        let mut steps = Vec::new();
        while let Some(step) = play.next().await.expect("a drill") {
            steps.push(step);
        }
        steps
    };
    LocalSet::new().run_until(play).await
}

fn notices(steps: &[DrillStep]) -> Vec<&Notice> {
    let told = steps.iter().flat_map(|step| &step.told);
    told.filter_map(|told| Some(&told.message.as_ref()?.notice)).collect()
}

#[tokio::test]
async fn it_begins_gets_worse_ends_and_one_is_missed() {
    let steps = played(drill("iCloud Backup"), vec![receiver("desktop", "")]).await;
    let lines: Vec<(&str, String, Vec<&str>)> = steps
        .iter()
        .map(|step| {
            let titles = notices(std::slice::from_ref(step)).into_iter().map(|notice| notice.title.as_str());
            (step.act.as_str(), step.at.strftime("%H:%M:%S").to_string(), titles.collect())
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
async fn whatever_the_words_every_message_begins_with_drill() {
    let wordings = [
        ("desktop", ""),
        ("desktop", "title = 'x'\nbody = 'y'"),
        ("desktop", "title = '{{ title }}'"),
        ("desktop", "title = ' '"),
        ("log", ""),
        ("log", "title = '{% for change in changes %}{{ change.text }}{% endfor %}'"),
        ("log", "title = 'x'"),
    ];
    let receivers = wordings.iter().map(|(name, toml)| receiver(name, toml)).collect();
    let steps = played(drill("iCloud Backup"), receivers).await;
    let notices = notices(&steps);
    assert_eq!(notices.len(), 4 * wordings.len());
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
async fn terms_leave_out_and_never_hold_back() {
    let policy = [
        ("quiet = '00:00-23:59'\nremind_every = '5m'", 4),
        ("only = ['began', 'ended']", 2),
        ("services = ['Photos']", 0),
    ];
    let receivers = policy.iter().map(|(toml, _)| receiver("desktop", toml)).collect();
    let steps = played(drill("iCloud Backup"), receivers).await;
    for (index, (toml, expected)) in policy.into_iter().enumerate() {
        let heard =
            steps.iter().filter(|step| step.told.get(index).is_some_and(|told| told.message.is_some()));
        assert_eq!(heard.count(), expected, "{toml}");
    }
}

#[tokio::test]
async fn a_service_by_any_name_is_believed() {
    for watch in ["Identity - Drivers License \"or\" ID", "iCloudバックアップ", "zzz*", "\\"] {
        let steps = played(drill(watch), vec![receiver("log", "")]).await;
        let name = service(&[watch.to_owned()]);
        assert_eq!(notices(&steps).len(), 4, "{watch}");
        assert!(notices(&steps).iter().all(|notice| notice.title.contains(&name)), "{watch}");
    }
}

#[tokio::test]
async fn two_drills_have_no_key_in_common() {
    let later = Drill { now: "2026-05-05T12:00:31Z".parse().expect("a time"), ..drill("Photos") };
    let first = played(drill("Photos"), vec![receiver("log", "")]).await;
    let second = played(later, vec![receiver("log", "")]).await;
    for notice in notices(&first) {
        assert!(notice.key.contains("/drill-20260505T120030Z-"), "{}", notice.key);
        assert!(notices(&second).iter().all(|other| other.key != notice.key), "{}", notice.key);
    }
}

#[test]
fn a_speed_divides_the_waits_and_without_one_there_are_none() {
    let whole = |speed| Act::ALL.len() as u32 * pause(45, speed) + 4 * pause(255, speed);
    assert_eq!(whole(None), Duration::ZERO);
    assert_eq!(pause(300, Some(60)), Duration::from_secs(5));
    assert_eq!(whole(Some(1)).as_secs(), LENGTH_S.unsigned_abs());
}

#[test]
fn a_glob_is_played_by_a_name_that_it_stands_for() {
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
