//! `/history`: outages and maintenance of all services, newest first, with filters and pages.

use askama::Template;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State as Shared};
use axum::response::Response;
use jiff::civil::Date;
use jiff::{Timestamp, ToSpan};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::shown::{ShownEvent, name_line};
use super::{Frame, html};
use crate::model::OutageKey;
use crate::store::{HistoryFilter, HistoryKind, HistoryPage, HistoryPlace, PostedOutage};
use crate::web::current::Current;
use crate::web::problem::Problem;
use crate::web::site::SharedSite;

const ROWS: usize = 50;
const KINDS: [(&str, &str, Option<HistoryKind>); 4] = [
    ("", "All kinds", None),
    ("outage", "Outages", Some(HistoryKind::Outage)),
    ("issue", "Issues", Some(HistoryKind::Issue)),
    ("maintenance", "Maintenance", Some(HistoryKind::Maintenance)),
];

/// The query of the address. Empty values count as absent, because a form sends them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct HistoryQuery {
    /// A slug.
    service: String,
    kind: String,
    from: String,
    to: String,
    /// The key of the outage beside the page.
    before: String,
    after: String,
}

#[derive(Template)]
#[template(path = "history.html")]
pub struct History {
    frame: Frame,
    /// Slug, name, and whether it is selected.
    services: Vec<(String, String, bool)>,
    /// Word, name, and whether it is selected.
    kinds: Vec<(&'static str, &'static str, bool)>,
    from: String,
    to: String,
    is_filtered: bool,
    /// By months, newest first.
    months: Vec<Month>,
    newer: Option<String>,
    older: Option<String>,
    newest: Option<String>,
}

pub struct Month {
    name: String,
    events: Vec<ShownEvent>,
}

pub async fn show(
    Shared(site): Shared<SharedSite>,
    query: Result<Query<HistoryQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) =
        query.map_err(|_| Problem::bad_request("invalid query: each filter may occur once"))?;
    let current = site.current().await?;
    let (filter, place) = (query.filter(&current)?, query.place()?);
    let rows = site.read(async |store| store.history_page(&filter, &place, ROWS).await).await?;
    Ok(html(&page(&query, &rows, &current)))
}

impl HistoryQuery {
    fn filter(&self, current: &Current) -> Result<HistoryFilter, Problem> {
        let services = current.services();
        let service = match self.service.as_str() {
            "" => None,
            slug => {
                let found = services.iter().find(|service| service.slug() == slug);
                let unknown = || Problem::bad_request("unknown service: /services has the names");
                Some(found.map(|service| service.key.clone()).ok_or_else(unknown)?)
            }
        };
        let kind = KINDS.into_iter().find(|(word, _, _)| *word == self.kind);
        let unknown = || Problem::bad_request("unknown kind: expected outage, issue or maintenance");
        Ok(HistoryFilter {
            service,
            kind: kind.ok_or_else(unknown)?.2,
            from: midnight(&self.from, 0, current)?,
            to: midnight(&self.to, 1, current)?,
        })
    }

    fn place(&self) -> Result<HistoryPlace, Problem> {
        let key = |text: &str| {
            OutageKey::parse(text).ok_or_else(|| Problem::bad_request("invalid key of an outage"))
        };
        Ok(match (self.before.as_str(), self.after.as_str()) {
            ("", "") => HistoryPlace::Newest,
            (before, "") => HistoryPlace::Before(key(before)?),
            ("", after) => HistoryPlace::After(key(after)?),
            _ => return Err(Problem::bad_request("before and after exclude each other")),
        })
    }

    /// Returns the address of another page of the same selection.
    fn address(&self, place: Option<(&str, String)>) -> String {
        let fixed =
            [("service", &self.service), ("kind", &self.kind), ("from", &self.from), ("to", &self.to)];
        let mut pairs: Vec<(&str, String)> =
            fixed.into_iter().map(|(name, value)| (name, value.clone())).collect();
        pairs.extend(place);
        let query: Vec<String> = pairs
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| format!("{name}={}", utf8_percent_encode(&value, NON_ALPHANUMERIC)))
            .collect();
        if query.is_empty() { "/history".to_owned() } else { format!("/history?{}", query.join("&")) }
    }
}

/// Returns the midnight at which a date begins, or one `days` later; `None` for an empty text.
fn midnight(text: &str, days: i64, current: &Current) -> Result<Option<Timestamp>, Problem> {
    if text.is_empty() {
        return Ok(None);
    }
    let invalid = || Problem::bad_request("invalid date: expected for example 2026-05-31");
    let date: Date = text.parse().map_err(|_| invalid())?;
    let date = date.checked_add(days.days()).map_err(|_| invalid())?;
    let midnight = date.to_zoned_datetime(current.zone.clone()).map_err(|_| invalid())?;
    Ok(Some(midnight.timestamp()))
}

pub fn page(query: &HistoryQuery, rows: &HistoryPage, current: &Current) -> History {
    let key = |posted: &PostedOutage| posted.stored.outage.key(&posted.stored.feed);
    let first = rows.outages.first().filter(|_| rows.has_newer).map(key);
    let last = rows.outages.last().filter(|_| rows.has_older).map(key);
    let services = current.services();
    let is_filtered =
        [&query.service, &query.kind, &query.from, &query.to].into_iter().any(|value| !value.is_empty());
    let is_newest = query.before.is_empty() && query.after.is_empty();
    History {
        frame: Frame::new("History", "/history", current),
        services: services
            .iter()
            .map(|service| (service.slug(), name_line(service.name), service.slug() == query.service))
            .collect(),
        kinds: KINDS.map(|(word, name, _)| (word, name, word == query.kind)).to_vec(),
        from: query.from.clone(),
        to: query.to.clone(),
        is_filtered,
        months: months(&rows.outages, current),
        newer: first.map(|key| query.address(Some(("after", key)))),
        older: last.map(|key| query.address(Some(("before", key)))),
        newest: (!is_newest).then(|| query.address(None)),
    }
}

fn months(outages: &[PostedOutage], current: &Current) -> Vec<Month> {
    let mut months: Vec<Month> = Vec::new();
    for posted in outages {
        let outage = &posted.stored.outage;
        let began = outage.start.unwrap_or(outage.first_seen).to_zoned_datetime(current.zone.clone());
        let name = began.strftime("%B %Y").to_string();
        let event = ShownEvent::new(posted, current);
        match months.last_mut().filter(|month| month.name == name) {
            Some(month) => month.events.push(event),
            None => months.push(Month { name, events: vec![event] }),
        }
    }
    months
}
