//! Accepts connections and serves HTTP/1.1 on them, within bounds.
//!
//! Slow and idle clients are disconnected. With all connections in use, a new client replaces the one that
//! has been waiting longest without a complete request, so that slow clients lock no other client out
//! (`slow_clients_lock_no_other_client_out` in `tests/it/web.rs`).

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{Request, Response};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustix::process::{Resource, getrlimit};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::bind::{Accepted, Listener};

const CONNECTIONS_MAX: usize = 512;
const CONNECTIONS_PER_ADDRESS_MAX: usize = 64;
/// The time for a complete head of a request, from the connection or the first byte on.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// The time between two requests, and without a byte of an open response.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
const HEAD_MAX_BYTES: usize = 8 * 1024;
const HEADERS_MAX: usize = 64;
/// Open responses may finish during this time at a stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// The pause after an error of `accept`, for example too many open files.
const ACCEPT_RETRY: Duration = Duration::from_secs(1);

/// Serves until `stopped` is true, then lets open responses finish for 2 s.
pub async fn serve<R, F>(listener: Rc<Listener>, respond: R, mut stopped: watch::Receiver<bool>)
where
    R: Fn(Request<Incoming>) -> F + Clone + 'static,
    F: Future<Output = Response<Body>> + 'static,
{
    let table = Rc::new(Table::new(connections_max()));
    let mut connections = JoinSet::new();
    let mut is_failing = false;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            _ = stopped.wait_for(|stop| *stop) => break,
        };
        let accepted = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_of_one_client(&error) => continue,
            Err(error) => {
                if !std::mem::replace(&mut is_failing, true) {
                    tracing::warn!("web: cannot accept connections: {error}; retrying every second");
                }
                tokio::select! {
                    () = sleep(ACCEPT_RETRY) => continue,
                    _ = stopped.wait_for(|stop| *stop) => break,
                }
            }
        };
        if std::mem::take(&mut is_failing) {
            tracing::info!("web: accepts connections again");
        }
        let address = match &accepted {
            Accepted::Tcp(_, peer) => Some(network(peer.ip())),
            Accepted::Unix(_) => None,
        };
        let Some(entry) = table.admit(address) else {
            tracing::debug!("web: refused a connection: too many are open");
            continue;
        };
        let (respond, stopped, id) = (respond.clone(), stopped.clone(), entry.id);
        let handle = match accepted {
            Accepted::Tcp(stream, _) => {
                // Fails if the client is gone.
                let _ = stream.set_nodelay(true);
                connections.spawn_local(connection(stream, entry, respond, stopped))
            }
            Accepted::Unix(stream) => connections.spawn_local(connection(stream, entry, respond, stopped)),
        };
        table.set_abort(id, handle);
    }
    drop(listener);
    let all = async { while connections.join_next().await.is_some() {} };
    if timeout(STOP_TIMEOUT, all).await.is_err() {
        connections.abort_all();
    }
}

/// Returns the maximum number of connections: at most half of the files that the process may open, so that
/// polls, deliveries and the database can always open theirs.
fn connections_max() -> usize {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(files / 2).unwrap_or(usize::MAX).min(CONNECTIONS_MAX)
}

/// Returns true for an error of one client, which left before it was accepted.
fn is_of_one_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

/// Returns the address that a limit applies to. One computer usually has all of a /64 network of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
        ip => ip,
    }
}

/// Serves one connection until the client closes it, is idle or slow, or the daemon stops.
async fn connection<R, F>(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    entry: Entry,
    respond: R,
    mut stopped: watch::Receiver<bool>,
) where
    R: Fn(Request<Incoming>) -> F + Clone + 'static,
    F: Future<Output = Response<Body>> + 'static,
{
    let progress = Rc::new(Progress::new(entry));
    let stream = TokioIo::new(Observed { stream, progress: Rc::clone(&progress) });
    let of_service = Rc::clone(&progress);
    let service = service_fn(move |request| {
        let answering = Answering::new(&of_service);
        let response = respond(request);
        async move { Ok::<_, Infallible>(response.await.map(|body| ObservedBody { body, _answering: answering })) }
    });
    // Without hyper's own timer, which would also limit the time between two requests.
    let connection = http1::Builder::new()
        .header_read_timeout(None)
        .max_buf_size(HEAD_MAX_BYTES)
        .max_headers(HEADERS_MAX)
        .serve_connection(stream, service);
    let mut connection = pin!(connection);
    tokio::select! {
        // Errors of a client are of no interest.
        _ = connection.as_mut() => {}
        () = progress.timed_out() => {}
        _ = stopped.wait_for(|stop| *stop) => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

/// What a connection is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The head of a request, which has begun. The first one begins with the connection.
    Head,
    /// The next request.
    Idle,
    /// The end of a response.
    Answer,
}

/// The progress of a connection.
struct Progress {
    phase: Cell<Phase>,
    since: Cell<Instant>,
    entry: Entry,
}

impl Progress {
    fn new(entry: Entry) -> Progress {
        Progress { phase: Cell::new(Phase::Head), since: Cell::new(Instant::now()), entry }
    }

    fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        self.since.set(Instant::now());
        self.entry.set_waiting(phase != Phase::Answer);
    }

    fn has_read(&self) {
        if self.phase.get() == Phase::Idle {
            self.enter(Phase::Head);
        }
    }

    fn has_written(&self) {
        if self.phase.get() != Phase::Head {
            self.since.set(Instant::now());
        }
    }

    /// Returns once the client has exceeded the time of its phase.
    async fn timed_out(&self) {
        loop {
            let limit = if self.phase.get() == Phase::Head { HEAD_TIMEOUT } else { IDLE_TIMEOUT };
            let ends = self.since.get() + limit;
            if ends <= Instant::now() {
                return;
            }
            // A phase with a shorter limit may begin meanwhile.
            sleep_until(ends.min(Instant::now() + HEAD_TIMEOUT)).await;
        }
    }
}

/// From a complete request to the end of its response.
struct Answering(Rc<Progress>);

impl Answering {
    fn new(progress: &Rc<Progress>) -> Answering {
        progress.enter(Phase::Answer);
        Answering(Rc::clone(progress))
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.enter(Phase::Idle);
    }
}

/// The body of a response, which the server drops at its end.
struct ObservedBody {
    body: Body,
    _answering: Answering,
}

impl HttpBody for ObservedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream that records when it last transferred a byte.
struct Observed<S> {
    stream: S,
    progress: Rc<Progress>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Observed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context,
        buffer: &mut ReadBuf,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.progress.has_read();
        }
        outcome
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Observed<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        if outcome.is_ready() {
            self.progress.has_written();
        }
        outcome
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// The open connections.
struct Table {
    entries: RefCell<HashMap<u64, Slot>>,
    next: Cell<u64>,
    max: usize,
}

struct Slot {
    address: Option<IpAddr>,
    /// Since when no request is being answered.
    waiting_since: Option<Instant>,
    abort: Option<AbortHandle>,
}

impl Table {
    fn new(max: usize) -> Table {
        Table { entries: RefCell::default(), next: Cell::new(0), max }
    }

    /// Adds a connection, in place of the one that has been waiting longest if all are in use. `None` if the
    /// address has too many, or no connection is waiting.
    fn admit(self: &Rc<Table>, address: Option<IpAddr>) -> Option<Entry> {
        let mut entries = self.entries.borrow_mut();
        let same = |slot: &&Slot| address.is_some() && slot.address == address;
        if entries.values().filter(same).count() >= CONNECTIONS_PER_ADDRESS_MAX {
            return None;
        }
        if entries.len() >= self.max {
            let waiting = entries.iter().filter_map(|(id, slot)| Some((slot.waiting_since?, *id)));
            let (_, oldest) = waiting.min()?;
            if let Some(Slot { abort: Some(abort), .. }) = entries.remove(&oldest) {
                abort.abort();
            }
        }
        let id = self.next.replace(self.next.get() + 1);
        entries.insert(id, Slot { address, waiting_since: Some(Instant::now()), abort: None });
        Some(Entry { table: Rc::clone(self), id })
    }

    fn set_abort(&self, id: u64, abort: AbortHandle) {
        if let Some(slot) = self.entries.borrow_mut().get_mut(&id) {
            slot.abort = Some(abort);
        }
    }
}

/// The place of a connection in the table. Dropping it frees the place.
struct Entry {
    table: Rc<Table>,
    id: u64,
}

impl Entry {
    fn set_waiting(&self, is_waiting: bool) {
        if let Some(slot) = self.table.entries.borrow_mut().get_mut(&self.id) {
            slot.waiting_since = is_waiting.then(Instant::now);
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.table.entries.borrow_mut().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::task::{LocalSet, spawn_local};

    use super::*;

    fn address(number: u32) -> Option<IpAddr> {
        Some(IpAddr::V4(Ipv4Addr::from_bits(number)))
    }

    fn slots(table: &Table) -> usize {
        table.entries.borrow().len()
    }

    #[test]
    fn one_address_has_at_most_64_connections() {
        let table = Rc::new(Table::new(CONNECTIONS_MAX));
        let held: Vec<Entry> = (0..64).map(|_| table.admit(address(1)).expect("admitted")).collect();
        assert!(table.admit(address(1)).is_none());
        assert!(table.admit(address(2)).is_some());
        drop(held);
        assert!(table.admit(address(1)).is_some());
        // A proxy on a socket in the file system has no address.
        let proxy: Vec<Option<Entry>> = (0..100).map(|_| table.admit(None)).collect();
        assert!(proxy.iter().all(Option::is_some));
    }

    #[test]
    fn the_longest_waiting_connection_is_replaced_and_no_answer_is_cut() {
        let table = Rc::new(Table::new(3));
        let entries: Vec<Entry> =
            (0..3).map(|number| table.admit(address(number)).expect("admitted")).collect();
        entries[0].set_waiting(false);
        let ids = || {
            let mut ids: Vec<u64> = table.entries.borrow().keys().copied().collect();
            ids.sort_unstable();
            ids
        };
        let newer = table.admit(address(9)).expect("in place of the second");
        assert_eq!(ids(), [0, 2, 3]);
        newer.set_waiting(false);
        entries[2].set_waiting(false);
        assert!(table.admit(address(9)).is_none(), "all are answering");
        drop(entries);
        assert_eq!(slots(&table), 1);
        drop(newer);
        assert_eq!(slots(&table), 0);
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_address() {
        let network = |text: &str| network(text.parse().expect("an address")).to_string();
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(network("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(network("192.0.2.7"), "192.0.2.7");
    }

    /// Runs a story against one connection, in virtual time. Every request is answered with "good".
    async fn with_connection(story: impl AsyncFnOnce(DuplexStream, watch::Sender<bool>)) {
        let respond = |_: Request<Incoming>| async { Response::new(Body::from("good")) };
        let (client, server) = duplex(1024);
        let (stop, stopped) = watch::channel(false);
        let table = Rc::new(Table::new(1));
        let entry = table.admit(None).expect("admitted");
        let local = LocalSet::new();
        local
            .run_until(async move {
                let served = spawn_local(connection(server, entry, respond, stopped));
                story(client, stop).await;
                served.await.expect("no panic");
                assert_eq!(slots(&table), 0);
            })
            .await;
    }

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";

    /// Returns the seconds until the server closes the connection.
    async fn closed_after_s(client: &mut DuplexStream) -> u64 {
        let begun = Instant::now();
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.expect("the end");
        assert_eq!(String::from_utf8_lossy(&rest), "");
        begun.elapsed().as_secs()
    }

    async fn read_response(client: &mut DuplexStream) {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"good") {
            assert_ne!(client.read_buf(&mut bytes).await.expect("a response"), 0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_client_has_10_seconds() {
        with_connection(async |mut client, _stop| assert_eq!(closed_after_s(&mut client).await, 10)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_head_has_10_seconds_in_all() {
        with_connection(async |mut client, _stop| {
            let begun = Instant::now();
            for byte in REQUEST {
                sleep(Duration::from_secs(1)).await;
                if client.write_all(&[*byte]).await.is_err() {
                    break;
                }
            }
            assert_eq!(begun.elapsed().as_secs(), 11, "closed at 10 s, noticed at 11 s");
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_has_30_seconds_for_its_next_request() {
        with_connection(async |mut client, _stop| {
            for _ in 0..3 {
                client.write_all(REQUEST).await.expect("sent");
                read_response(&mut client).await;
                sleep(Duration::from_secs(29)).await;
            }
            client.write_all(REQUEST).await.expect("sent");
            read_response(&mut client).await;
            assert_eq!(closed_after_s(&mut client).await, 30);
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_head_of_a_later_request_has_10_seconds_too() {
        with_connection(async |mut client, _stop| {
            client.write_all(REQUEST).await.expect("sent");
            read_response(&mut client).await;
            sleep(Duration::from_secs(20)).await;
            client.write_all(b"G").await.expect("sent");
            assert_eq!(closed_after_s(&mut client).await, 10);
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_closes_idle_connections_at_once() {
        with_connection(async |mut client, stop| {
            client.write_all(REQUEST).await.expect("sent");
            read_response(&mut client).await;
            stop.send_replace(true);
            assert_eq!(closed_after_s(&mut client).await, 0);
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn pipelined_requests_are_answered_in_order() {
        with_connection(async |mut client, _stop| {
            client.write_all(&[REQUEST, REQUEST, REQUEST].concat()).await.expect("sent");
            for _ in 0..3 {
                read_response_exactly(&mut client).await;
            }
        })
        .await;
    }

    async fn read_response_exactly(client: &mut DuplexStream) {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"good") {
            bytes.push(client.read_u8().await.expect("a response"));
        }
    }
}
