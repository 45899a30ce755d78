//! `/`: the verdict, then each watched service with its last 90 days.

use askama::Template;
use axum::extract::{RawQuery, State as Shared};
use axum::response::Response;

use super::bar::Bar;
use super::shown::{ShownEvent, ShownPart, ShownState, ShownTime, class, mark_class, name_line, shown_parts};
use super::{Frame, html, tv};
use crate::delivery::message::advice::POSTS_LATE_SHORT;
use crate::model::Phase;
use crate::report::days::CoveredDay;
use crate::report::mark::Mark;
use crate::report::state::State;
use crate::store::PostedOutage;
use crate::web::current::{Current, DAYS};
use crate::web::problem::Problem;
use crate::web::site::SharedSite;
use crate::web::verdict::ServiceNow;

#[derive(Template)]
#[template(path = "overview.html")]
pub struct Overview {
    frame: Frame,
    head: Head,
    services: Vec<Section>,
    /// Watched names that Apple never listed.
    unknown: Vec<String>,
    legend: Vec<(&'static str, &'static str)>,
    days: usize,
}

/// The verdict with the times of the polls.
pub struct Head {
    pub class: &'static str,
    pub sentence: Vec<ShownPart>,
    pub advice: &'static str,
    /// The reliability of "no problem"; empty if that is not the verdict.
    pub limit: &'static str,
    pub polled: Option<ShownTime>,
    pub next: Option<ShownTime>,
}

impl Head {
    pub fn new(services: &[ServiceNow], current: &Current) -> Head {
        let verdict = current.verdict(services);
        let time = |time| ShownTime::new(time, current);
        Head {
            class: class(verdict.state),
            sentence: shown_parts(verdict.sentence, current),
            advice: verdict.advice,
            limit: if verdict.state == State::Fine { POSTS_LATE_SHORT } else { "" },
            polled: current.last_good_poll().map(time),
            next: current.status.next_poll_at.filter(|next| *next >= current.now).map(time),
        }
    }
}

/// A service with its last days.
pub struct Section {
    pub name: String,
    pub slug: String,
    pub state: ShownState,
    pub since: Option<ShownTime>,
    pub unlisted_since: Option<ShownTime>,
    /// Ongoing and planned events.
    pub events: Vec<ShownEvent>,
    /// The newest problem that is over.
    pub last: Option<ShownEvent>,
    pub bar: Bar,
}

impl Section {
    pub fn new(service: &ServiceNow, days: &[CoveredDay], current: &Current) -> Section {
        let time = |time| ShownTime::new(time, current);
        let is_open = |posted: &&PostedOutage| !posted.stored.outage.is_over();
        let is_problem = |posted: &&PostedOutage| {
            posted.stored.outage.is_over() && !posted.stored.outage.kind.is_maintenance()
        };
        let mut events: Vec<&PostedOutage> = current.of_service(service.key).filter(is_open).collect();
        events.sort_by_key(|posted| matches!(posted.stored.outage.phase, Phase::Planned(_)));
        let last = current.of_service(service.key).rfind(is_problem);
        Section {
            name: name_line(service.name),
            slug: service.slug(),
            state: ShownState::of(service.state),
            since: service.since().filter(|_| service.state != State::CannotTell).map(time),
            unlisted_since: service.unlisted_since.map(time),
            events: events.into_iter().map(|posted| ShownEvent::new(posted, current)).collect(),
            last: last.map(|posted| ShownEvent::new(posted, current)),
            bar: Bar::new(service, days, current),
        }
    }
}

pub async fn show(Shared(site): Shared<SharedSite>, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let current = site.current().await?;
    let is_tv = query.is_some_and(|query| query.split('&').any(|part| part == "view=tv"));
    Ok(if is_tv { html(&tv::page(&current)) } else { html(&page(&current)) })
}

pub fn page(current: &Current) -> Overview {
    let (services, days) = (current.services(), current.days());
    let watched = services.iter().filter(|service| service.is_watched);
    Overview {
        frame: Frame::new("Status", "/", current),
        head: Head::new(&services, current),
        services: watched.map(|service| Section::new(service, &days, current)).collect(),
        unknown: current.unknown_names().into_iter().map(name_line).collect(),
        legend: legend(),
        days: DAYS,
    }
}

/// Returns class and words of each mark.
pub fn legend() -> Vec<(&'static str, &'static str)> {
    Mark::LEGEND.into_iter().map(|mark| (mark_class(mark), mark.words())).collect()
}
