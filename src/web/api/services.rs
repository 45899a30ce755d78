//! `/api/v1/services`: the document of `statusd services --json`, from the database instead of a fetch.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::parameters::Parameters;
use super::respond;
use crate::model::{FeedHealth, Outage, OverBy, Phase, ServiceKey};
use crate::report::services::{EventFacts, ServiceFacts, document};
use crate::report::state::State as ServiceNowState;
use crate::web::current::Current;
use crate::web::problem::Problem;
use crate::web::site::SharedSite;
use crate::web::verdict::ServiceNow;

/// The age up to which a past event is shown; Apple lists past events for about as long.
const RECENT: SignedDuration = SignedDuration::from_hours(72);

pub async fn show(State(site): State<SharedSite>, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    Parameters::none(&uri)?;
    let current = site.current().await?;
    let mut events: BTreeMap<ServiceKey, Vec<&Outage>> = BTreeMap::new();
    for outage in current.outages.iter().map(|posted| &posted.stored.outage) {
        if is_shown(outage, &current) {
            events.entry(ServiceKey::new(&outage.service)).or_default().push(outage);
        }
    }
    let mut of_service = |service: &ServiceNow| {
        let events = events.remove(service.key).unwrap_or_default();
        service_json(service, events, &current)
    };
    let services: Vec<Value> = current.services().iter().map(&mut of_service).collect();
    let document = document(&services, &current.beliefs.feed, current.now);
    Ok(respond::json(&headers, &document, &["at"]))
}

fn service_json(service: &ServiceNow, mut events: Vec<&Outage>, current: &Current) -> Value {
    events.sort_by_key(|outage| (ServiceNowState::of(outage), Reverse(outage.start)));
    let facts = ServiceFacts {
        service: service.name,
        state: service.state,
        since: service.ongoing.first().and_then(|outage| outage.start),
        reason: (service.state == ServiceNowState::CannotTell).then(|| reason(current)),
        did_you_mean: &[],
        events: events.into_iter().map(event).collect(),
    };
    let mut value = facts.json();
    value["slug"] = json!(service.slug());
    value
}

/// Returns true for an event that Apple still lists, as far as statusd knows.
fn is_shown(outage: &Outage, current: &Current) -> bool {
    match outage.phase {
        Phase::Planned(_) | Phase::Ongoing(_) => true,
        Phase::Over(OverBy::Withdrawal) => false,
        Phase::Over(OverBy::Apple) => {
            let ended = outage.end.unwrap_or(outage.first_seen);
            !outage.was_cancelled() && current.now.duration_since(ended) <= RECENT
        }
    }
}

fn event(outage: &Outage) -> EventFacts<'_> {
    EventFacts {
        message_id: &outage.message_id,
        kind: &outage.kind,
        state: match outage.phase {
            Phase::Planned(_) => "planned",
            Phase::Ongoing(_) => "ongoing",
            Phase::Over(_) => "over",
        },
        began_at: outage.start,
        ended_at: outage.end,
        users_affected: outage.users_affected.as_deref(),
        apple_text: &outage.message,
    }
}

/// Returns the reason why the state of a service is unknown.
fn reason(current: &Current) -> &'static str {
    match (current.blind(), &current.beliefs.state.health) {
        (None, _) => "not_listed",
        (Some(_), FeedHealth::Unreadable { .. }) => "unreadable",
        (Some(_), FeedHealth::Unknown | FeedHealth::Readable { .. }) => "not_polled",
    }
}
