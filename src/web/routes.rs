//! The table of addresses.

use axum::Router;
use axum::routing::get;

use super::site::SharedSite;
use super::{api, badge, feeds, health, metrics, page, statuspage};

pub fn router(site: SharedSite) -> Router {
    Router::new()
        .route("/", get(page::overview::show))
        .route("/outages/{*key}", get(page::outage::show))
        .route("/history", get(page::history::show))
        .route("/services", get(page::services::show))
        .route("/maintenance", get(page::maintenance::show))
        .route("/verdict", get(page::helpdesk::show))
        .route("/embed/{slug}", get(page::embed::show))
        .route("/style.css", get(page::style))
        .route("/icon.svg", get(page::icon))
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(metrics::show))
        .route("/healthz", get(health::readyz))
        .merge(api::routes())
        .merge(badge::routes())
        .merge(feeds::routes())
        .merge(statuspage::routes())
        .fallback(page::not_found)
        .with_state(site)
}
