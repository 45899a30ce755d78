//! Feeds for programs that people have already: Atom for feed readers, iCalendar for calendars.

mod atom;
mod ics;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use axum::routing::get;
use jiff::Timestamp;

use super::api::parameters::{Parameters, SERVICE};
use super::api::respond;
use super::problem::Problem;
use super::site::SharedSite;
use crate::model::ServiceKey;
use crate::report::incident::{Incident, IncidentUpdate, incidents, stable_id};

const ATOM: &str = "application/atom+xml; charset=utf-8";
const CALENDAR: &str = "text/calendar; charset=utf-8";
/// The newest incidents in a feed. Readers keep older ones themselves.
const ENTRIES_MAX: usize = 100;

pub fn routes() -> Router<SharedSite> {
    Router::new().route("/feed.atom", get(feed)).route("/maintenance.ics", get(calendar))
}

/// An incident as feeds show it.
struct Entry {
    /// The same in every run of statusd.
    id: String,
    title: String,
    /// The address of its page.
    page: String,
    began_at: Timestamp,
    /// As Apple announced it.
    ends_at: Option<Timestamp>,
    first_seen: Timestamp,
    was_cancelled: bool,
    /// Grows with every change of the announced times, and with the cancellation.
    sequence: u32,
    services: Vec<String>,
    /// Oldest first, at least one.
    updates: Vec<IncidentUpdate>,
}

impl Entry {
    fn updated_at(&self) -> Timestamp {
        self.updates.iter().map(|update| update.at).max().unwrap_or(self.first_seen)
    }
}

/// Returns the incidents or the maintenances of all services or of one, newest first.
async fn entries(site: &SharedSite, uri: &Uri, is_maintenance: bool) -> Result<Vec<Entry>, Problem> {
    let parameters = Parameters::parse(uri, &[SERVICE])?;
    let current = site.current().await?;
    let service = parameters.service(current.beliefs.services.keys())?;
    let mut found = incidents(&current.outages);
    found.retain(|incident| {
        let is_wanted = |key: &ServiceKey| incident.keys().iter().any(|of| of.service == *key);
        incident.is_maintenance() == is_maintenance && service.as_ref().is_none_or(is_wanted)
    });
    found.truncate(ENTRIES_MAX);
    let keys = found.iter().flat_map(Incident::keys).collect();
    let changes = site.read(async |store| store.changes_of(keys).await).await?;
    let entry = |incident: &Incident| Entry {
        id: incident.id(),
        title: incident.title(),
        page: incident.page(),
        began_at: incident.began_at(),
        ends_at: incident.announced_end(),
        first_seen: incident.first_seen(),
        was_cancelled: incident.was_cancelled(),
        sequence: incident.revisions(),
        services: incident.outages.iter().map(|posted| posted.stored.outage.service.clone()).collect(),
        updates: incident.updates(&changes, &current.zone),
    };
    Ok(found.iter().map(entry).collect())
}

async fn feed(State(site): State<SharedSite>, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    let entries = entries(&site, &uri, false).await?;
    let address = uri.path_and_query().map_or("/feed.atom", |address| address.as_str());
    let id = stable_id(&format!("{}{address}", site.config.feed));
    let text = atom::feed(&entries, address, &id, &site.config.zone);
    Ok(respond::text(&headers, ATOM, text))
}

async fn calendar(State(site): State<SharedSite>, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    let entries = entries(&site, &uri, true).await?;
    Ok(respond::text(&headers, CALENDAR, ics::calendar(&entries)))
}
