//! `/maintenance`: what Apple announced, what is in progress, and what was in the last 90 days.

use askama::Template;
use axum::extract::State as Shared;
use axum::response::Response;

use super::shown::ShownEvent;
use super::{Frame, html};
use crate::model::Phase;
use crate::store::PostedOutage;
use crate::web::current::{Current, DAYS};
use crate::web::problem::Problem;
use crate::web::site::SharedSite;

#[derive(Template)]
#[template(path = "maintenance.html")]
pub struct Maintenance {
    frame: Frame,
    /// The reason why the list may be outdated.
    blind: Option<String>,
    ongoing: Vec<ShownEvent>,
    planned: Vec<ShownEvent>,
    /// Newest first.
    past: Vec<ShownEvent>,
}

impl Maintenance {
    fn groups(&self) -> [(String, &[ShownEvent]); 3] {
        let past = format!("Last {DAYS} days");
        [("In progress".to_owned(), &self.ongoing), ("Planned".to_owned(), &self.planned), (past, &self.past)]
    }
}

pub async fn show(Shared(site): Shared<SharedSite>) -> Result<Response, Problem> {
    Ok(html(&page(&*site.current().await?)))
}

pub fn page(current: &Current) -> Maintenance {
    let shown = |is_in: fn(&Phase) -> bool| {
        let works = current.outages.iter().filter(|posted| posted.stored.outage.kind.is_maintenance());
        let of_phase = works.filter(move |posted: &&PostedOutage| is_in(&posted.stored.outage.phase));
        of_phase.map(|posted| ShownEvent::new(posted, current)).collect::<Vec<_>>()
    };
    let mut past = shown(|phase| matches!(phase, Phase::Over(_)));
    past.reverse();
    Maintenance {
        frame: Frame::new("Maintenance", "/maintenance", current),
        blind: current.blind(),
        ongoing: shown(|phase| matches!(phase, Phase::Ongoing(_))),
        planned: shown(|phase| matches!(phase, Phase::Planned(_))),
        past,
    }
}
