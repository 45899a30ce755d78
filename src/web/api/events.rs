//! `/api/v1/events`: a stream of changes as server-sent events, which resumes by `Last-Event-ID`.
//!
//! The daemon reports each poll after its commit, and each report wakes the streams: there is no polling of
//! the database. A stream ends at a stop and at a reload; the client reconnects where it was.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, HeaderName};
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use hyper::body::{Body as HyperBody, Frame};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep_until};

use super::parameters::Parameters;
use crate::report::public_change;
use crate::store::ChangePage;
use crate::web::problem::Problem;
use crate::web::site::{SharedSite, Site};

/// Fewer than the connections of one address, so that streams through a proxy leave room for pages.
pub const STREAMS_MAX: usize = 32;
/// Well below the idle timeout of proxies, and of our own connections.
const HEARTBEAT: Duration = Duration::from_secs(15);
const CHANGES_AT_ONCE: usize = 100;
/// Events that wait for a slow client before its stream stops reading the database.
const EVENTS_AHEAD: usize = 16;
const LAST_EVENT_ID: &str = "last_event_id";
/// The client's delay before it reconnects.
const HELLO: &str = "retry: 5000\n: statusd\n\n";

/// Answers with the changes after `Last-Event-ID`, or from now on.
pub async fn stream(
    State(site): State<SharedSite>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let parameters = Parameters::parse(&uri, &[LAST_EVENT_ID])?;
    let resumed = match headers.get("last-event-id") {
        // Browsers send the header when they reconnect, and the query as it was at first.
        Some(value) => Some(of_header(value.as_bytes())?),
        None => parameters.id(LAST_EVENT_ID, 0)?,
    };
    let newest = site.read(async |store| store.last_change_id().await).await?;
    let Ok(permit) = Arc::clone(&site.streams).try_acquire_owned() else {
        return Err(Problem::unavailable("too many open streams; poll /api/v1/changes?after=ID instead"));
    };
    // An id of an earlier database: its history is lost, and this one is new to the client.
    let after = resumed.map_or(newest, |id| if id > newest { 0 } else { id });
    let (sender, frames) = mpsc::channel(EVENTS_AHEAD);
    spawn_local(run(Arc::clone(&site), after, sender, permit));
    let headers = [
        (CONTENT_TYPE, "text/event-stream"),
        // nginx would otherwise hold events back.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::new(EventBody { frames })).into_response())
}

fn of_header(value: &[u8]) -> Result<i64, Problem> {
    let id = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).filter(|id: &i64| *id >= 0);
    id.ok_or_else(|| Problem::bad_request("invalid Last-Event-ID: expected the id of an event"))
}

/// Sends changes until the client or the daemon ends the stream.
async fn run(site: SharedSite, mut after: i64, sender: mpsc::Sender<Bytes>, _permit: OwnedSemaphorePermit) {
    let (mut status, mut stopped) = (site.live.status.clone(), site.stopped.clone());
    if sender.send(HELLO.into()).await.is_err() {
        return;
    }
    let mut silent_until = Instant::now() + HEARTBEAT;
    loop {
        // Marked as seen before the database is read, so that a poll meanwhile wakes the stream again.
        status.borrow_and_update();
        let sent = tokio::select! {
            sent = send_changes(&site, &mut after, &sender) => sent,
            _ = stopped.wait_for(|stop| *stop) => return,
        };
        match sent {
            Some(0) => {}
            Some(_) => silent_until = Instant::now() + HEARTBEAT,
            // The client reconnects and resumes.
            None => return,
        }
        tokio::select! {
            changed = status.changed() => if changed.is_err() { return },
            () = sleep_until(silent_until) => {
                if sender.send(":\n\n".into()).await.is_err() {
                    return;
                }
                silent_until = Instant::now() + HEARTBEAT;
            }
            () = sender.closed() => return,
            _ = stopped.wait_for(|stop| *stop) => return,
        }
    }
}

/// Sends all changes after `after`, and returns their number; `None` if the stream must end.
async fn send_changes(site: &Site, after: &mut i64, sender: &mpsc::Sender<Bytes>) -> Option<usize> {
    let kinds = public_change::kinds();
    let mut count = 0;
    loop {
        let place = ChangePage { after: Some(*after), before: None };
        let read = site.read(async |store| store.change_page(place, &kinds, CHANGES_AT_ONCE).await);
        let (page, next) = read.await.ok()?;
        for stored in &page {
            let event = public_change::json(stored, &site.config.zone);
            let text = format!("id: {}\nevent: change\ndata: {event}\n\n", stored.id);
            sender.send(text.into()).await.ok()?;
            *after = stored.id;
            count += 1;
        }
        match next {
            Some(next) => *after = next,
            None => return Some(count),
        }
    }
}

/// The body of a stream. Dropping it ends the task that fills it.
struct EventBody {
    frames: mpsc::Receiver<Bytes>,
}

impl HyperBody for EventBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.frames.poll_recv(context).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}
