//! `/api/v1`: the documents of `--json` for programs, see `docs/api.md`.

mod events;
mod history;
pub mod parameters;
pub mod respond;
mod services;
mod status;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use axum::routing::get;

use super::problem::Problem;
use super::site::SharedSite;
pub use events::STREAMS_MAX;
use parameters::Parameters;

/// Describes all addresses for programs, OpenAPI 3.1.
const OPENAPI: &str = include_str!("openapi.json");

/// Returns the addresses of the API.
pub fn routes() -> Router<SharedSite> {
    Router::new()
        .route("/api/openapi.json", get(openapi))
        .route("/api/v1/status", get(status::show))
        .route("/api/v1/services", get(services::show))
        .route("/api/v1/history", get(history::outages))
        .route("/api/v1/changes", get(history::changes))
        .route("/api/v1/outages/{*key}", get(history::outage))
        .route("/api/v1/events", get(events::stream))
}

async fn openapi(State(_): State<SharedSite>, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    Parameters::none(&uri)?;
    Ok(respond::text(&headers, respond::JSON, OPENAPI.to_owned()))
}
