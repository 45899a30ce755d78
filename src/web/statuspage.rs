//! `/api/v2`: the public API of Atlassian Statuspage, so that its clients read Apple through statusd.
//!
//! That form has no word for "cannot tell". Every document is therefore 503 while statusd does not know the
//! state, never "operational" (`a_blind_statusd_is_never_operational` in `tests/it/web_api.rs`).

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::{Path, State as Shared};
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use axum::routing::get;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::api::parameters::Parameters;
use super::api::respond;
use super::current::Current;
use super::problem::Problem;
use super::site::SharedSite;
use super::verdict::ServiceNow;
use crate::delivery::message::advice::NO_PROBLEM;
use crate::model::{EventKind, Outage, Phase, ServiceKey};
use crate::report::incident::{Incident, IncidentPhase, IncidentUpdate, incidents, stable_id};
use crate::report::state::State;
use crate::store::StoredChange;

/// As many as Statuspage answers with.
const INCIDENTS_MAX: usize = 50;
const PAGE_NAME: &str = "Apple System Status";

pub fn routes() -> Router<SharedSite> {
    Router::new().route("/api/v2/{*document}", get(show))
}

/// The documents of the form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PageDocument {
    Summary,
    Status,
    Components,
    Incidents,
    Unresolved,
    Maintenances,
    Active,
    Upcoming,
}

impl PageDocument {
    fn of(path: &str) -> Option<PageDocument> {
        Some(match path {
            "summary.json" => PageDocument::Summary,
            "status.json" => PageDocument::Status,
            "components.json" => PageDocument::Components,
            "incidents.json" => PageDocument::Incidents,
            "incidents/unresolved.json" => PageDocument::Unresolved,
            "scheduled-maintenances.json" => PageDocument::Maintenances,
            "scheduled-maintenances/active.json" => PageDocument::Active,
            "scheduled-maintenances/upcoming.json" => PageDocument::Upcoming,
            _ => return None,
        })
    }

    /// Returns true if the document includes the incident or maintenance.
    fn includes(self, incident: &Incident) -> bool {
        let (is_maintenance, phase) = (incident.is_maintenance(), incident.phase());
        match self {
            PageDocument::Status | PageDocument::Components => false,
            PageDocument::Summary => phase != IncidentPhase::Over,
            PageDocument::Incidents => !is_maintenance,
            PageDocument::Unresolved => !is_maintenance && phase == IncidentPhase::Ongoing,
            PageDocument::Maintenances => is_maintenance,
            PageDocument::Active => is_maintenance && phase == IncidentPhase::Ongoing,
            PageDocument::Upcoming => is_maintenance && phase == IncidentPhase::Planned,
        }
    }
}

async fn show(
    Shared(site): Shared<SharedSite>,
    Path(path): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Some(document) = PageDocument::of(&path) else {
        return Err(Problem::not_found("there is no such document; /api/v2/summary.json is the summary"));
    };
    Parameters::none(&uri)?;
    let current = site.current().await?;
    if let Some(reason) = current.blind() {
        return Err(Problem::unavailable(format!("the state is unknown: {reason}")));
    }
    let mut shown = incidents(&current.outages);
    shown.retain(|incident| document.includes(incident));
    shown.truncate(INCIDENTS_MAX);
    let keys = shown.iter().flat_map(Incident::keys).collect();
    let changes = site.read(async |store| store.changes_of(keys).await).await?;
    let page = StatusPage::new(&current, &changes);
    Ok(respond::json(&headers, &page.document(document, &shown), &[]))
}

/// What all parts of a document need.
struct StatusPage<'a> {
    current: &'a Current,
    changes: &'a [StoredChange],
    id: String,
    /// The services whose state is known, in the order of the components.
    services: Vec<ServiceNow<'a>>,
    /// When statusd last saw an outage of a service begin or end.
    last_events: BTreeMap<ServiceKey, Timestamp>,
}

impl<'a> StatusPage<'a> {
    fn new(current: &'a Current, changes: &'a [StoredChange]) -> StatusPage<'a> {
        let mut services = current.services();
        services.retain(|service| service.state != State::CannotTell);
        let mut last_events: BTreeMap<ServiceKey, Timestamp> = BTreeMap::new();
        for posted in &current.outages {
            let at = posted.over_seen_at.unwrap_or(posted.stored.outage.first_seen);
            let last = last_events.entry(ServiceKey::new(&posted.stored.outage.service)).or_insert(at);
            *last = at.max(*last);
        }
        StatusPage {
            current,
            changes,
            id: stable_id(&current.beliefs.feed.to_string()),
            services,
            last_events,
        }
    }

    fn document(&self, document: PageDocument, shown: &[Incident]) -> Value {
        let mut fields = Map::new();
        let mut set = |name: &str, value: Value| drop(fields.insert(name.to_owned(), value));
        let (maintenances, incidents): (Vec<&Incident>, Vec<&Incident>) =
            shown.iter().partition(|incident| incident.is_maintenance());
        let list =
            |list: &[&Incident]| list.iter().map(|incident| self.incident(incident)).collect::<Value>();
        set("page", self.page());
        match document {
            PageDocument::Status => set("status", self.status()),
            PageDocument::Components => set("components", self.components()),
            PageDocument::Incidents | PageDocument::Unresolved => set("incidents", list(&incidents)),
            PageDocument::Maintenances | PageDocument::Active | PageDocument::Upcoming => {
                set("scheduled_maintenances", list(&maintenances));
            }
            PageDocument::Summary => {
                set("components", self.components());
                set("incidents", list(&incidents));
                set("scheduled_maintenances", list(&maintenances));
                set("status", self.status());
            }
        }
        Value::Object(fields)
    }

    /// Returns the state of all services together: the worst.
    fn status(&self) -> Value {
        let worst = self.services.iter().map(|service| service.state).min();
        let (indicator, description) = match worst {
            Some(State::Outage) => ("major", "Apple reports an outage"),
            Some(State::Issue | State::CannotTell) => ("minor", "Apple reports an issue"),
            Some(State::Maintenance) => ("maintenance", "Apple reports maintenance"),
            Some(State::Fine) | None => ("none", NO_PROBLEM),
        };
        json!({"indicator": indicator, "description": description})
    }

    fn page(&self) -> Value {
        json!({
            "id": self.id,
            "name": PAGE_NAME,
            "url": self.url(),
            "time_zone": "Etc/UTC",
            "updated_at": self.current.last_good_poll(),
        })
    }

    /// Apple's own page. Clients show it as the place to read more.
    fn url(&self) -> &'static str {
        self.current.beliefs.feed.edition.page()
    }

    fn components(&self) -> Value {
        let numbered = self.services.iter().enumerate();
        numbered.map(|(index, service)| self.component(service, index + 1)).collect()
    }

    fn component(&self, service: &ServiceNow, position: usize) -> Value {
        let known = self.current.beliefs.services.get(service.key);
        let created_at = known.map_or(self.current.now, |known| known.first_seen);
        json!({
            "id": self.component_id(service.key),
            "name": service.name,
            "status": component_status(service.ongoing.first().copied()),
            "created_at": created_at,
            "updated_at": self.last_events.get(service.key).copied().unwrap_or(created_at),
            "position": position,
            "description": null,
            "showcase": service.is_watched,
            "start_date": null,
            "group_id": null,
            "page_id": self.id,
            "group": false,
            "only_show_if_degraded": false,
        })
    }

    fn component_id(&self, key: &ServiceKey) -> String {
        stable_id(&format!("{}/{}", self.current.beliefs.feed, key.as_str()))
    }

    /// Returns an incident or a scheduled maintenance.
    fn incident(&self, incident: &Incident) -> Value {
        let id = incident.id();
        let mut updates = incident.updates(self.changes, &self.current.zone);
        updates.reverse();
        let over_at = incident.over_at();
        let affected = incident.outages.iter().filter_map(|posted| {
            let key = ServiceKey::new(&posted.stored.outage.service);
            self.services.iter().enumerate().find(|(_, service)| *service.key == key)
        });
        let components: Vec<Value> =
            affected.map(|(index, service)| self.component(service, index + 1)).collect();
        let mut value = json!({
            "id": id,
            "name": incident.title(),
            "status": incident_status(incident, incident.phase()),
            "created_at": incident.first_seen(),
            "updated_at": updates.first().map(|update| update.at),
            "monitoring_at": null,
            "resolved_at": over_at,
            "impact": impact(incident),
            "shortlink": self.url(),
            "started_at": incident.began_at(),
            "page_id": self.id,
            "incident_updates": updates.iter().map(|update| self.update(update, incident, &id)).collect::<Value>(),
            "components": components,
            "reminder_intervals": null,
        });
        if incident.is_maintenance() {
            value["scheduled_for"] = json!(incident.began_at());
            value["scheduled_until"] = json!(incident.announced_end());
        }
        value
    }

    fn update(&self, update: &IncidentUpdate, incident: &Incident, incident_id: &str) -> Value {
        let affected = update
            .services
            .iter()
            .map(|service| json!({"code": self.component_id(&ServiceKey::new(service)), "name": service}));
        json!({
            "id": stable_id(&format!("{incident_id}/{}", update.change_id)),
            "status": incident_status(incident, update.phase),
            "body": update.text,
            "incident_id": incident_id,
            "created_at": update.at,
            "updated_at": update.at,
            "display_at": update.at,
            "affected_components": affected.collect::<Value>(),
            "deliver_notifications": true,
            "custom_tweet": null,
            "tweet_id": null,
        })
    }
}

fn incident_status(incident: &Incident, phase: IncidentPhase) -> &'static str {
    match (incident.is_maintenance(), phase) {
        (false, IncidentPhase::Over) => "resolved",
        (false, IncidentPhase::Planned | IncidentPhase::Ongoing) => "investigating",
        (true, IncidentPhase::Over) => "completed",
        (true, IncidentPhase::Planned) => "scheduled",
        (true, IncidentPhase::Ongoing) => "in_progress",
    }
}

/// Returns a word of Statuspage for an event that is ongoing, or for none.
fn component_status(outage: Option<&Outage>) -> &'static str {
    match outage.filter(|outage| matches!(outage.phase, Phase::Ongoing(_))).map(|outage| &outage.kind) {
        None => "operational",
        Some(EventKind::Outage) => "major_outage",
        Some(EventKind::Issue | EventKind::Other(_)) => "partial_outage",
        Some(EventKind::Performance) => "degraded_performance",
        Some(EventKind::Maintenance) => "under_maintenance",
    }
}

fn impact(incident: &Incident) -> &'static str {
    match incident.kind() {
        Some(EventKind::Outage) => "major",
        Some(EventKind::Issue | EventKind::Performance | EventKind::Other(_)) => "minor",
        Some(EventKind::Maintenance) => "maintenance",
        None => "none",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_word_of_statuspage() {
        let outage = |kind: EventKind| Outage {
            service: "A".to_owned(),
            message_id: "1".to_owned(),
            occurrence: 1,
            kind,
            phase: Phase::Ongoing(None),
            start: None,
            end: None,
            first_seen: Timestamp::UNIX_EPOCH,
            users_affected: None,
            message: String::new(),
            counts: std::collections::BTreeMap::new(),
        };
        for (kind, expected) in [
            ("Outage", "major_outage"),
            ("Issue", "partial_outage"),
            ("Performance", "degraded_performance"),
            ("Maintenance", "under_maintenance"),
            ("Meteor", "partial_outage"),
        ] {
            assert_eq!(component_status(Some(&outage(EventKind::parse(kind)))), expected);
        }
        assert_eq!(component_status(None), "operational");
    }
}
