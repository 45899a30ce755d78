//! Pages for people: rendered on the server, without scripts.
//!
//! Templates are in `templates/`; askama escapes every value in them. Each page is a pure function of
//! [`Current`] or of rows, so that it can be tested without a server.

mod bar;
pub mod embed;
pub mod error;
pub mod helpdesk;
pub mod history;
pub mod maintenance;
pub mod outage;
pub mod overview;
pub mod services;
mod shown;
#[cfg(test)]
mod tests;
mod tv;

use askama::Template;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{Html, IntoResponse, Response};

use super::current::Current;
use super::problem::Problem;
use crate::model::FeedId;

const STYLE: &str = include_str!("../../../templates/style.css");
const ICON: &str = include_str!("../../../templates/icon.svg");

/// The style sheet. Its address changes with the version, so it may be cached.
pub async fn style() -> Response {
    let headers = [(CONTENT_TYPE, "text/css; charset=utf-8"), (CACHE_CONTROL, "public, max-age=86400")];
    (headers, STYLE).into_response()
}

/// The icon of the browser's tab.
pub async fn icon() -> Response {
    let headers = [(CONTENT_TYPE, "image/svg+xml"), (CACHE_CONTROL, "public, max-age=86400")];
    (headers, ICON).into_response()
}

pub async fn not_found() -> Problem {
    Problem::not_found("there is no such page; / is the overview")
}

fn html(page: &impl Template) -> Response {
    match page.render() {
        Ok(text) => Html(text).into_response(),
        Err(error) => {
            tracing::error!("web: cannot render a page: {error}");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the page cannot be rendered").into_response()
        }
    }
}

/// What every page has.
struct Frame {
    /// Follows `statusd: ` in the title of the browser.
    title: String,
    /// The address of the current section, to mark it in the navigation.
    section: &'static str,
    /// The language of Apple's words (BCP 47). `None` if it is that of the page.
    lang: Option<String>,
}

impl Frame {
    fn new(title: impl Into<String>, section: &'static str, current: &Current) -> Frame {
        Frame { title: title.into(), section, lang: language(&current.beliefs.feed) }
    }

    /// Returns the frame of a page that shows nothing of Apple's.
    fn plain(title: impl Into<String>) -> Frame {
        Frame { title: title.into(), section: "", lang: None }
    }

    fn version(&self) -> &'static str {
        env!("CARGO_PKG_VERSION")
    }

    fn sections(&self) -> [(&'static str, &'static str); 5] {
        [
            ("/", "Status"),
            ("/history", "History"),
            ("/maintenance", "Maintenance"),
            ("/services", "Services"),
            ("/verdict", "Helpdesk"),
        ]
    }
}

/// Returns `ja-JP` for the feed of `ja_JP`; `None` for English, the language of the pages.
fn language(feed: &FeedId) -> Option<String> {
    (!feed.locale.starts_with("en")).then(|| feed.locale.replace('_', "-"))
}
