//! `/embed/SERVICE`: the state of one service, to frame in another page (`web.embed_origins`).

use askama::Template;
use axum::extract::{Path, State as Shared};
use axum::response::Response;

use super::overview::Section;
use super::shown::ShownTime;
use super::{Frame, html};
use crate::web::current::Current;
use crate::web::problem::Problem;
use crate::web::site::SharedSite;

#[derive(Template)]
#[template(path = "embed.html")]
pub struct Embed {
    frame: Frame,
    service: Section,
    polled: Option<ShownTime>,
}

pub async fn show(Shared(site): Shared<SharedSite>, Path(slug): Path<String>) -> Result<Response, Problem> {
    let current = site.current().await?;
    let page = page(&slug, &current);
    Ok(html(&page.ok_or_else(|| Problem::not_found("Apple lists no such service; /services has the names"))?))
}

/// Returns the page of any service, watched or not.
pub fn page(slug: &str, current: &Current) -> Option<Embed> {
    let services = current.services();
    let service = services.iter().find(|service| service.slug() == slug)?;
    let section = Section::new(service, &current.days(), current);
    Some(Embed {
        frame: Frame::new(section.name.clone(), "", current),
        service: section,
        polled: current.last_good_poll().map(|time| ShownTime::new(time, current)),
    })
}
