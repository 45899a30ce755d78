//! `/api/v1/status`: the document of `statusd status --json`, without what only its owner may see.

use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use jiff::SignedDuration;

use super::parameters::Parameters;
use super::respond;
use crate::report::coverage::coverage;
use crate::report::status::{StatusFacts, json};
use crate::web::problem::Problem;
use crate::web::site::SharedSite;

/// The period of the coverage, as in `statusd status`.
const COVERAGE: SignedDuration = SignedDuration::from_hours(30 * 24);
/// The fields that change with every answer.
const VOLATILE: [&str; 2] = ["at", "coverage"];

pub async fn show(State(site): State<SharedSite>, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    Parameters::none(&uri)?;
    let current = site.current().await?;
    let feed = &site.config.feed;
    let silenced = site.read(async |store| Ok((store.acknowledged(feed).await?, store.snoozed().await?)));
    let (acknowledged, snooze) = silenced.await?;
    let first = current.spans.first().map_or(current.now, |span| span.from);
    let covered_from = (current.now - COVERAGE).max(first);
    let document = json(&StatusFacts {
        now: current.now,
        daemon: Some(&current.status),
        last_good_poll_at: current.last_good_poll(),
        beliefs: &current.beliefs,
        watch: &site.config.watch,
        time_zone: site.config.zone_name.clone(),
        totals: current.totals,
        acknowledged: &acknowledged,
        snoozed_until: snooze.map(|snooze| snooze.until).filter(|until| *until > current.now),
        covered_from,
        coverage: coverage(&current.spans, covered_from, current.now),
        owner: None,
    });
    Ok(respond::json(&headers, &document, &VOLATILE))
}
