//! `/services`: every service that Apple lists, watched ones first.

use askama::Template;
use axum::extract::State as Shared;
use axum::response::Response;

use super::shown::{ShownState, ShownTime, name_line};
use super::{Frame, html};
use crate::report::state::State;
use crate::text::counted;
use crate::web::current::Current;
use crate::web::problem::Problem;
use crate::web::site::SharedSite;
use crate::web::verdict::ServiceNow;

#[derive(Template)]
#[template(path = "services.html")]
pub struct Services {
    frame: Frame,
    summary: String,
    /// Services with an ongoing event.
    affected: Vec<ServiceLine>,
    watched: Vec<ServiceLine>,
    others: Vec<ServiceLine>,
}

/// A service in the list.
pub struct ServiceLine {
    name: String,
    slug: String,
    state: ShownState,
    since: Option<ShownTime>,
    unlisted_since: Option<ShownTime>,
}

impl Services {
    fn groups(&self) -> [(&'static str, &[ServiceLine]); 3] {
        [("Affected", &self.affected), ("Watched", &self.watched), ("Other services", &self.others)]
    }
}

pub async fn show(Shared(site): Shared<SharedSite>) -> Result<Response, Problem> {
    Ok(html(&page(&*site.current().await?)))
}

pub fn page(current: &Current) -> Services {
    let services = current.services();
    let line = |service: &ServiceNow| ServiceLine {
        name: name_line(service.name),
        slug: service.slug(),
        state: ShownState::of(service.state),
        since: service
            .since()
            .filter(|_| service.state != State::CannotTell)
            .map(|time| ShownTime::new(time, current)),
        unlisted_since: service.unlisted_since.map(|time| ShownTime::new(time, current)),
    };
    let (mut affected, quiet): (Vec<_>, Vec<_>) =
        services.iter().partition(|service| !service.ongoing.is_empty());
    affected.sort_by_key(|service| service.state);
    let summary = match current.blind() {
        Some(reason) => format!("Cannot tell: {reason}. The list below is from then."),
        None if affected.is_empty() => {
            format!("Apple lists no problem with its {}.", counted(services.len(), "service"))
        }
        None => format!(
            "Apple lists a problem or maintenance with {} of {}.",
            affected.len(),
            counted(services.len(), "service")
        ),
    };
    let (watched, others): (Vec<&ServiceNow>, Vec<&ServiceNow>) =
        quiet.into_iter().partition(|service| service.is_watched);
    Services {
        frame: Frame::new("Services", "/services", current),
        summary,
        affected: affected.into_iter().map(line).collect(),
        watched: watched.into_iter().map(line).collect(),
        others: others.into_iter().map(line).collect(),
    }
}
