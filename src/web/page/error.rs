//! Errors for browsers: an HTML page instead of `application/problem+json`.

use askama::Template;
use axum::body::Body;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, VARY};
use axum::http::{HeaderValue, Response};

use super::Frame;
use crate::text::plain_line;
use crate::web::problem::Problem;

/// Addresses of programs, which get no pages.
const PROGRAMS: [&str; 6] = ["/api/", "/badge/", "/metrics", "/livez", "/readyz", "/healthz"];

const DETAIL_MAX_CHARS: usize = 500;

#[derive(Template)]
#[template(path = "error.html")]
pub struct ErrorPage {
    frame: Frame,
    status: u16,
    title: &'static str,
    /// As a sentence without a full stop.
    detail: String,
}

/// Replaces the body of an error if the client prefers pages.
pub fn for_browser(accept: Option<&HeaderValue>, path: &str, mut response: Response<Body>) -> Response<Body> {
    let Some(problem) = response.extensions_mut().remove::<Problem>() else { return response };
    if PROGRAMS.iter().any(|prefix| path.starts_with(prefix)) || !accepts_pages(accept) {
        return response;
    }
    let Ok(text) = page(&problem).render() else { return response };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(VARY, HeaderValue::from_static("accept"));
    headers.remove(CONTENT_LENGTH);
    *response.body_mut() = Body::from(text);
    response
}

/// Browsers name `text/html` first; programs accept anything, or JSON.
fn accepts_pages(accept: Option<&HeaderValue>) -> bool {
    let accept = accept.and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}

pub fn page(problem: &Problem) -> ErrorPage {
    let title = problem.status().canonical_reason().unwrap_or("Error");
    let mut detail: Vec<char> = plain_line(problem.detail(), DETAIL_MAX_CHARS).chars().collect();
    if let Some(first) = detail.first_mut() {
        *first = first.to_ascii_uppercase();
    }
    ErrorPage {
        frame: Frame::plain(title),
        status: problem.status().as_u16(),
        title,
        detail: detail.into_iter().collect(),
    }
}
