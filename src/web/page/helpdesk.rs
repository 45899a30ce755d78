//! `/verdict`: for a helpdesk. What is going on, a text to copy, and what it is not.
//!
//! Contains no link but Apple's (`the_helpdesk_links_only_to_apple`), because support scams use this subject.

use askama::Template;
use axum::extract::State as Shared;
use axum::response::Response;

use super::overview::Head;
use super::shown::{ShownEvent, ShownPart, name_line};
use super::{Frame, html};
use crate::delivery::message::advice::{POSTS_LATE, POSTS_LATE_SHORT};
use crate::model::Phase;
use crate::report::state::State;
use crate::store::PostedOutage;
use crate::web::current::Current;
use crate::web::problem::Problem;
use crate::web::site::SharedSite;
use crate::web::verdict::{Headline, Part, ServiceNow};

const NOTHING_TO_DO: &str = "Please change nothing on your device because of it: a restart, a reset or another network does not help.";
const CHECKS: &str = "If your iPhone does not back up: connect it to Wi-Fi and power, lock it, and leave it overnight. \
     Then look at Settings, your name, iCloud, iCloud Backup.";
const SCAM: &str =
    "Nobody from Apple calls about this. A caller who asks for a password or a code is a fraud.";

#[derive(Template)]
#[template(path = "helpdesk.html")]
pub struct Helpdesk {
    frame: Frame,
    head: Head,
    /// The ongoing events of the watched services.
    events: Vec<ShownEvent>,
    /// The text to copy.
    tell: String,
    is_not: Vec<String>,
    /// Apple's status page.
    apple: &'static str,
}

pub async fn show(Shared(site): Shared<SharedSite>) -> Result<Response, Problem> {
    Ok(html(&page(&*site.current().await?)))
}

pub fn page(current: &Current) -> Helpdesk {
    let services = current.services();
    let verdict = current.verdict(&services);
    let is_blind = current.blind().is_some();
    let watched = || services.iter().filter(|service| service.is_watched);
    let has_backup = watched().any(|service| service.key.is_backup());
    let of_watched = watched().flat_map(|service| current.of_service(service.key));
    let is_ongoing =
        |posted: &&PostedOutage| !is_blind && matches!(posted.stored.outage.phase, Phase::Ongoing(_));
    let apple = current.beliefs.feed.edition.page();
    Helpdesk {
        frame: Frame::new("Helpdesk", "/verdict", current),
        head: Head::new(&services, current),
        events: of_watched.filter(is_ongoing).map(|posted| ShownEvent::new(posted, current)).collect(),
        tell: tell(&verdict, has_backup, apple, current),
        is_not: is_not(&verdict, watched(), current),
        apple,
    }
}

/// Returns the text for people, with dates and zone, because it is read elsewhere and later.
fn tell(verdict: &Headline, has_backup: bool, apple: &str, current: &Current) -> String {
    let sentence = dated(&verdict.sentence, current);
    let as_of = dated(&[Part::Time(current.last_good_poll().unwrap_or(current.now))], current);
    let mut lines = Vec::new();
    match verdict.state {
        State::Outage | State::Issue => {
            lines.push(format!("Apple reports a problem. {sentence}"));
            lines.push(verdict.advice.to_owned());
            lines.push(NOTHING_TO_DO.to_owned());
        }
        State::Maintenance => {
            lines.push(format!("Apple is at work. {sentence}"));
            lines.push(NOTHING_TO_DO.to_owned());
        }
        State::CannotTell => {
            lines.push("At the moment we cannot tell whether Apple has a problem.".to_owned());
        }
        State::Fine => {
            lines.push(sentence);
            if has_backup {
                lines.push(POSTS_LATE_SHORT.to_owned());
                lines.push(CHECKS.to_owned());
            }
        }
    }
    match verdict.state {
        State::CannotTell => lines.push(format!("Apple's own page: {apple}")),
        _ => lines.push(format!("As of {as_of}. Apple's own page: {apple}")),
    }
    lines.retain(|line| !line.is_empty());
    lines.join("\n\n")
}

fn dated(parts: &[Part], current: &Current) -> String {
    let text = |part: &Part| match part {
        Part::Text(text) => text.clone(),
        Part::Name(name) => name_line(name),
        Part::Time(time) => {
            time.to_zoned_datetime(current.zone.clone()).strftime("%-d %B %Y, %H:%M %Z").to_string()
        }
    };
    parts.iter().map(text).collect()
}

/// Returns the conclusions that the verdict does not allow.
fn is_not<'s>(
    verdict: &Headline,
    watched: impl Iterator<Item = &'s ServiceNow<'s>>,
    current: &Current,
) -> Vec<String> {
    let backup = watched.into_iter().find(|service| service.key.is_backup());
    let mut lines = Vec::new();
    match verdict.state {
        State::Outage | State::Issue | State::Maintenance => {
            lines.push(
                "Not the phone, its network or its storage: nothing on a phone ends a problem at Apple."
                    .to_owned(),
            );
            lines.push("Not a reason to erase or restore a phone: that can lose data.".to_owned());
            let since = backup.filter(|backup| !backup.ongoing.is_empty()).and_then(ServiceNow::since);
            if let Some(since) = since {
                let since = dated(&[Part::Time(since)], current);
                lines.push(format!(
                    "Not the cause of a backup that was late before: a phone backs up once in 24 hours. If its \
                     last backup is more than a day older than {since}, it has another problem."
                ));
            }
        }
        State::CannotTell => {
            lines.push("Not a sign that Apple works, and not a sign that Apple has a problem.".to_owned());
        }
        State::Fine if backup.is_some() => {
            lines.push(format!("Not a proof that Apple works. {POSTS_LATE}"));
        }
        State::Fine => lines.push("Not a proof that Apple works: Apple posts late.".to_owned()),
    }
    lines.push(SCAM.to_owned());
    lines
}
