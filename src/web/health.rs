//! `/livez` and `/readyz`, in the form of Kubernetes: `ok`, or the failed checks.
//!
//! Neither depends on Apple's services nor on channels; otherwise an outage would take statusd out of service.

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use super::site::SharedSite;

/// A check by name, and its failure.
type Check = (String, Option<String>);

/// Answers whether the loops make progress: the watchdog's own check.
pub async fn livez(State(site): State<SharedSite>, RawQuery(query): RawQuery) -> Response {
    answer(&loops(&site), query.as_deref())
}

/// Answers whether the database can be read and the first poll is done.
pub async fn readyz(State(site): State<SharedSite>, RawQuery(query): RawQuery) -> Response {
    let mut checks = loops(&site);
    let (database, polled) = match site.current().await {
        Ok(current) => (None, current.status.polled_at),
        Err(problem) => (Some(problem.detail().to_owned()), None),
    };
    checks.push(("database".to_owned(), database));
    checks.push(("first poll".to_owned(), polled.is_none().then(|| "not done yet".to_owned())));
    answer(&checks, query.as_deref())
}

fn loops(site: &SharedSite) -> Vec<Check> {
    let stalled = (site.live.check_loops)().err();
    vec![("loops".to_owned(), stalled.map(|stalled| stalled.join(", ")))]
}

fn answer(checks: &[Check], query: Option<&str>) -> Response {
    let is_good = checks.iter().all(|(_, failure)| failure.is_none());
    let is_verbose =
        query.is_some_and(|query| query.split('&').any(|key| key == "verbose" || key == "verbose="));
    let mut text = String::new();
    if is_verbose || !is_good {
        for (name, failure) in checks {
            match failure {
                None => text.push_str(&format!("[+]{name} ok\n")),
                Some(failure) => text.push_str(&format!("[-]{name} failed: {failure}\n")),
            }
        }
    }
    text.push_str(if is_good { "ok\n" } else { "failed\n" });
    let status = if is_good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}
