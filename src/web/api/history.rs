//! `/api/v1/history`, `/changes` and `/outages/KEY`: the documents of `statusd history --json`, in pages.

use axum::extract::State;
use axum::http::header::LINK;
use axum::http::{HeaderMap, HeaderValue, Uri};
use axum::response::Response;
use serde_json::{Value, json};

use super::parameters::{LIMIT, Parameters, SERVICE};
use super::respond;
use crate::model::OutageKey;
use crate::report::{outage as outage_report, public_change};
use crate::store::{ChangePage, HistoryFilter, HistoryPlace, StoredChange, StoredOutage};
use crate::web::problem::Problem;
use crate::web::site::SharedSite;

const HISTORY: &str = "/api/v1/history";
const CHANGES: &str = "/api/v1/changes";
const OUTAGES: &str = "/api/v1/outages/";

/// Answers with the outages of a period, newest first.
pub async fn outages(
    State(site): State<SharedSite>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let parameters = Parameters::parse(&uri, &["since", "until", SERVICE, "before", LIMIT])?;
    let (since, until) = (parameters.time("since")?, parameters.time("until")?);
    if since.zip(until).is_some_and(|(since, until)| since >= until) {
        return Err(Problem::not_found(
            "there is no such period: since must be earlier than until; swap them",
        ));
    }
    let limit = parameters.limit()?;
    let before = parameters.outage("before")?;
    let service = match parameters.text(SERVICE) {
        None => None,
        Some(_) => {
            let current = site.current().await?;
            let past = site.read(async |store| store.service_keys().await).await?;
            parameters.service(current.beliefs.services.keys().chain(&past))?
        }
    };
    let place = match before {
        None => HistoryPlace::Newest,
        Some(key) => {
            site.read(async |store| store.outage_with_changes(&key).await)
                .await?
                .ok_or_else(unknown_outage)?;
            HistoryPlace::Before(key)
        }
    };
    let filter = HistoryFilter { service, kind: None, from: since, to: until };
    let page = site.read(async |store| store.history_page(&filter, &place, limit).await).await?;
    let found: Vec<&StoredOutage> = page.outages.iter().map(|posted| &posted.stored).collect();
    let next = found.last().filter(|_| page.has_older).map(|last| last.outage.key(&last.feed));
    let document: Value = found.into_iter().map(outage_report::json).collect();
    let response = respond::json(&headers, &document, &[]);
    Ok(with_next(response, HISTORY, &parameters, next.map(|key| ("before", key))))
}

/// Answers with changes, newest first; after an id with the oldest first.
pub async fn changes(
    State(site): State<SharedSite>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let parameters = Parameters::parse(&uri, &["before", "after", LIMIT])?;
    let limit = parameters.limit()?;
    let page = ChangePage { before: parameters.id("before", 1)?, after: parameters.id("after", 0)? };
    let name = if page.after.is_some() { "after" } else { "before" };
    let kinds = public_change::kinds();
    let read = site.read(async |store| store.change_page(page, &kinds, limit).await);
    let (found, next) = read.await?;
    let next = next.map(|id| (name, id.to_string()));
    let document: Value = found.iter().map(|change| public_change::json(change, &site.config.zone)).collect();
    Ok(with_next(respond::json(&headers, &document, &[]), CHANGES, &parameters, next))
}

/// Answers with one outage and its changes.
pub async fn outage(
    State(site): State<SharedSite>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    Parameters::none(&uri)?;
    // The part of the path as sent, because the key is percent-encoded itself.
    let key = uri.path().strip_prefix(OUTAGES).and_then(OutageKey::parse);
    let key = key.ok_or_else(unknown_outage)?;
    let found = site.read(async |store| store.outage_with_changes(&key).await).await?;
    let (stored, changes) = found.ok_or_else(unknown_outage)?;
    let kinds = public_change::kinds();
    let shown = changes.iter().filter(|stored| kinds.contains(&stored.change.kind));
    let timeline: Vec<Value> =
        shown.map(|change: &StoredChange| public_change::json(change, &site.config.zone)).collect();
    let mut document = outage_report::json(&stored);
    document["timeline"] = json!(timeline);
    Ok(respond::json(&headers, &document, &[]))
}

fn unknown_outage() -> Problem {
    Problem::not_found("no outage has this key; /api/v1/history lists the keys")
}

/// Adds a `Link` to the next page (RFC 8288), which has the other parameters of this one.
fn with_next(
    mut response: Response,
    path: &str,
    parameters: &Parameters,
    next: Option<(&str, String)>,
) -> Response {
    let Some((name, value)) = next else { return response };
    let link = format!("<{path}?{}>; rel=\"next\"", parameters.query_with(name, &value));
    // Percent-encoded text is a header value.
    if let Ok(link) = HeaderValue::from_str(&link) {
        response.headers_mut().insert(LINK, link);
    }
    response
}
