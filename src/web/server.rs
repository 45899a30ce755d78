//! Starts, replaces and stops the listener.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::header::ACCEPT;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::timeout;

use super::bind::{Listener, Passed, overlap};
use super::problem::Problem;
use super::routes::router;
use super::settings::{ListenAddress, is_loopback};
use super::site::{LiveState, SharedSite, Site, SiteConfig};
use super::{access, connection, page};
use crate::cause::Cause as _;
use crate::text::plain_line;

/// The maximum duration of a request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// The maximum duration of a stop, with open streams too. The service manager waits for 10 s.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);
const LOGGED_PATH_MAX_CHARS: usize = 200;

/// The listener cannot be opened. `Display` is one line with the next step.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("cannot listen on {address}: {}; change listen in the table [web]", .error.reason())]
    Open { address: ListenAddress, error: io::Error },
    #[error(
        "cannot listen on {address}: other machines can reach the socket that systemd passed; set \
         allow_remote = true in the table [web] to permit this, or change ListenStream= in statusd-web.socket"
    )]
    Remote { address: String },
}

/// The listener of `[web]`, while it runs.
pub struct Server {
    passed: Passed,
    running: Option<Running>,
}

/// A configuration with its open socket.
pub struct Bound {
    config: SiteConfig,
    listener: Rc<Listener>,
}

struct Running {
    config: SiteConfig,
    listener: Rc<Listener>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Server {
    /// Creates a stopped listener with the sockets that systemd passed.
    pub fn new(passed: Passed) -> Server {
        Server { passed, running: None }
    }

    /// Opens the socket of a configuration, unless it is open already.
    pub fn bind(&self, config: SiteConfig) -> Result<Bound, ServerError> {
        let listener = self.open(&config.web.listen)?;
        let remote = listener.addresses().into_iter().find(|address| !is_loopback(address));
        if let Some(address) = remote.filter(|_| !config.web.allow_remote) {
            return Err(ServerError::Remote { address: format!("http://{address}") });
        }
        Ok(Bound { config, listener })
    }

    fn open(&self, address: &ListenAddress) -> Result<Rc<Listener>, ServerError> {
        let open = |address: &ListenAddress| Listener::open(address, &self.passed);
        let opened = match &self.running {
            Some(running) if running.config.web.listen == *address => {
                return Ok(Rc::clone(&running.listener));
            }
            Some(running) => match running.overlaps(address) {
                Some(old) => {
                    running.listener.close();
                    open(address).inspect_err(|_| match open(&ListenAddress::Tcp(old)) {
                        Ok(again) => running.listener.replace(again),
                        Err(error) => tracing::error!("web: cannot listen again: {}", error.reason()),
                    })
                }
                None => open(address),
            },
            None => open(address),
        };
        opened.map(Rc::new).map_err(|error| ServerError::Open { address: address.clone(), error })
    }

    /// Serves a configuration on its socket, in place of the previous one. `None` stops the listener. The same
    /// configuration changes nothing, so that open responses continue.
    pub fn replace(&mut self, next: Option<Bound>, live: &LiveState) {
        if let (Some(running), Some(next)) = (&self.running, &next)
            && running.config == next.config
            && !running.task.is_finished()
        {
            return;
        }
        if let Some(running) = self.running.take() {
            // Open responses of the previous configuration finish by themselves.
            running.stop.send_replace(true);
        }
        let Some(Bound { config, listener }) = next else { return };
        log_start(&config, &listener);
        let (stop, stopped) = watch::channel(false);
        let site = Arc::new(Site::new(config.clone(), live.clone(), stopped.clone()));
        let service = TowerToHyperService::new(router(Arc::clone(&site)));
        let respond = move |request| respond(Arc::clone(&site), service.clone(), request);
        let task = spawn_local(connection::serve(Rc::clone(&listener), respond, stopped));
        self.running = Some(Running { config, listener, stop, task });
    }

    /// Stops the listener. Open responses may finish for at most 3 s.
    pub async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop.send_replace(true);
            let _ = timeout(STOP_TIMEOUT, running.task).await;
        }
    }
}

impl Running {
    /// Returns the open address if the system refuses to open the new one beside it.
    fn overlaps(&self, new: &ListenAddress) -> Option<SocketAddr> {
        let (ListenAddress::Tcp(_), ListenAddress::Tcp(new)) = (&self.config.web.listen, new) else {
            return None;
        };
        self.listener.addresses().into_iter().find(|old| overlap(old, new))
    }
}

/// Logs the addresses with their real ports.
fn log_start(config: &SiteConfig, listener: &Listener) {
    let addresses = listener.addresses();
    let shown: Vec<String> = match addresses.is_empty() {
        true => vec![config.web.listen.to_string()],
        false => addresses.iter().map(|address| format!("http://{address}")).collect(),
    };
    let shown = shown.join(" and ");
    let is_remote = addresses.iter().any(|address| !is_loopback(address));
    match (is_remote, &config.web.token) {
        (false, _) => tracing::info!("web: listening on {shown}"),
        (true, Some(_)) => tracing::warn!("web: listening on {shown}, which other machines can reach"),
        (true, None) => tracing::warn!(
            "web: listening on {shown}, which other machines can reach; without token_file, all of them may read"
        ),
    }
}

async fn respond(
    site: SharedSite,
    router: TowerToHyperService<Router>,
    request: Request<Incoming>,
) -> Response<Body> {
    let config = &site.config.web;
    let begun = Instant::now();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let accept = request.headers().get(ACCEPT).cloned();
    let response = match access::check(&request, config) {
        Err(refusal) => refusal.into_response(),
        Ok(()) => match timeout(REQUEST_TIMEOUT, router.call(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(never)) => match never {},
            Err(_) => Problem::unavailable("the answer takes too long").into_response(),
        },
    };
    let mut response = page::error::for_browser(accept.as_ref(), &path, response);
    access::add_headers(&mut response, &path, config);
    // Without the query and the client, and only at debug level: who reads the page is nobody's business.
    let (status, took_ms) = (response.status().as_u16(), begun.elapsed().as_millis());
    tracing::debug!("web: {status} in {took_ms} ms: {}", Logged { method: method.as_str(), path: &path });
    response
}

/// A request in one bounded line.
struct Logged<'a> {
    method: &'a str,
    path: &'a str,
}

impl fmt::Display for Logged<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bounded = |text| plain_line(text, LOGGED_PATH_MAX_CHARS);
        write!(f, "{} {:?}", bounded(self.method), bounded(self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logged_request_is_one_bounded_line() {
        let long = format!("/{}", "x".repeat(1_000));
        let shown = |path: &str| Logged { method: "GET", path }.to_string();
        assert_eq!(shown("/a\"b\n\u{1b}[31m"), r#"GET "/a\"b [31m""#);
        assert_eq!(shown(&long).chars().count(), "GET \"\"".len() + LOGGED_PATH_MAX_CHARS);
    }
}
