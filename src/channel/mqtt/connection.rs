//! The long-lived connection to a broker, held by its own task.
//!
//! The task publishes each change once, keeps the retained messages in step with the newest snapshot, and
//! reconnects with back-off. Level-triggered: it publishes all retained messages again on every new
//! connection. A change is published on the current connection or fails; the task does not store changes
//! for a later one.

use std::pin::pin;
use std::time::Duration;

use rumqttc::{AsyncClient, ConnectionError, Event, EventLoop, LastWill, QoS};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};

use super::super::outcome::SendOutcome;
use super::broker::Broker;
use super::session::{FLOODED, Publication, Responder, STALLED, Session};
use super::topics::{OFFLINE, Retained, Topics};

/// The pause before the first reconnection. Each further one doubles it, up to [`BACKOFF_MAX`].
const BACKOFF_MIN: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// A connection that lasts longer resets the back-off. A shorter one does not, because two clients with
/// the same id disconnect each other in turn.
const STABLE_AFTER: Duration = Duration::from_secs(60);
/// The client's queue of messages to write. Further messages wait in the session's backlog.
const CLIENT_QUEUE: usize = 16;
/// Each caller waits for its outcome, so few requests are open at a time.
const REQUEST_QUEUE: usize = 4;

enum Request {
    /// Publish one message that is not retained.
    Publish { topic: String, payload: String, responder: Responder },
    /// Make these the only retained messages under the topics.
    Sync { retained: Retained, responder: Responder },
}

/// A handle to the connection task. Dropping the handle disconnects and ends the task.
#[derive(Debug)]
pub struct BrokerConnection {
    requests: mpsc::Sender<Request>,
}

impl BrokerConnection {
    /// Spawns the task on the current tokio runtime. Connects in the background.
    pub fn open(broker: Broker, topics: Topics) -> BrokerConnection {
        let (requests, receiver) = mpsc::channel(REQUEST_QUEUE);
        let task = ConnectionTask {
            broker,
            topics,
            requests: receiver,
            desired: Retained::new(),
            waiting: Vec::new(),
        };
        tokio::spawn(task.run());
        BrokerConnection { requests }
    }

    /// Returns true while the task runs. False after its runtime has shut down.
    pub fn is_open(&self) -> bool {
        !self.requests.is_closed()
    }

    /// Publishes a message. Returns once the broker has confirmed it or the attempt has failed; `None` if
    /// the task has ended.
    pub async fn publish(&self, topic: String, payload: String) -> Option<SendOutcome> {
        let (responder, outcome) = oneshot::channel();
        self.requests.send(Request::Publish { topic, payload, responder }).await.ok()?;
        outcome.await.ok()
    }

    /// Replaces the retained messages. Returns as [`BrokerConnection::publish`] does.
    pub async fn sync(&self, retained: Retained) -> Option<SendOutcome> {
        let (responder, outcome) = oneshot::channel();
        self.requests.send(Request::Sync { retained, responder }).await.ok()?;
        outcome.await.ok()
    }
}

/// The reason for the end of a connection.
enum ConnectionEnd {
    /// The handle was dropped.
    Shutdown,
    /// The task reconnects, after at least `backoff` if it is set.
    Lost { backoff: Option<Duration> },
}

/// The next thing that happens on a connection.
enum Step {
    Event(Event),
    Failed(ConnectionError),
    /// The broker confirms nothing.
    Stalled,
    /// The handle was dropped.
    Shutdown,
}

struct ConnectionTask {
    broker: Broker,
    topics: Topics,
    requests: mpsc::Receiver<Request>,
    /// The retained messages of the newest snapshot.
    desired: Retained,
    /// Requests that came between two connections. They share the outcome of the next attempt to connect.
    waiting: Vec<Publication>,
}

impl ConnectionTask {
    async fn run(mut self) {
        let mut backoff = BACKOFF_MIN;
        loop {
            let began = Instant::now();
            match self.run_connection().await {
                ConnectionEnd::Shutdown => return,
                ConnectionEnd::Lost { backoff: Some(longer) } => backoff = backoff.max(longer),
                ConnectionEnd::Lost { backoff: None } if began.elapsed() > STABLE_AFTER => {
                    backoff = BACKOFF_MIN;
                }
                ConnectionEnd::Lost { backoff: None } => {}
            }
            // Up to 20 % jitter, so that many clients do not reconnect at the same moment.
            let jittered = backoff.mul_f64(1.0 + fastrand::f64() / 5.0);
            tokio::select! {
                () = sleep(jittered) => {}
                // A request ends the back-off, so that its outcome describes the broker as it is now.
                request = self.requests.recv() => match request {
                    Some(request) => self.wait_with(request),
                    None => return,
                },
            }
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    /// Connects and serves requests until the connection ends.
    async fn run_connection(&mut self) -> ConnectionEnd {
        let will = LastWill::new(self.topics.availability(), OFFLINE, QoS::AtLeastOnce, true);
        let (client, mut events) =
            AsyncClient::builder(self.broker.options_with_will(will)).capacity(CLIENT_QUEUE).build();
        events.set_network_options(Broker::network_options());
        let Some(connected) = self.connect(&mut events).await else { return ConnectionEnd::Shutdown };
        if let Err(error) = connected {
            let outcome = self.broker.not_connected(&error);
            tracing::debug!("{}", outcome.detail());
            self.waiting.drain(..).for_each(|publication| publication.respond(&outcome));
            let is_permanent = matches!(outcome, SendOutcome::Permanent { .. });
            return ConnectionEnd::Lost { backoff: is_permanent.then_some(BACKOFF_MAX) };
        }
        let mut session = Session::new(client, &self.topics);
        session.sync(&self.desired, &self.topics, None);
        self.waiting.drain(..).for_each(|publication| session.publish(publication));
        self.run_session(&mut session, &mut events).await
    }

    /// Waits for the broker to accept the connection, and collects requests meanwhile. Returns `None` if
    /// the handle is dropped.
    async fn connect(&mut self, events: &mut EventLoop) -> Option<Result<(), ConnectionError>> {
        let mut connecting = pin!(events.poll());
        loop {
            tokio::select! {
                connected = &mut connecting => return Some(connected.map(|_| ())),
                request = self.requests.recv() => self.wait_with(request?),
            }
        }
    }

    /// Keeps a request for the next connection.
    fn wait_with(&mut self, request: Request) {
        match request {
            Request::Publish { topic, payload, responder } => {
                self.waiting.push(Publication { topic, payload, retain: false, responder: Some(responder) });
            }
            Request::Sync { retained, responder } => {
                self.desired = retained;
                self.waiting.push(Publication::online(&self.topics, Some(responder)));
            }
        }
    }

    async fn run_session(&mut self, session: &mut Session, events: &mut EventLoop) -> ConnectionEnd {
        loop {
            match self.step(session, events).await {
                Step::Event(_) if session.exceeds_rate_limit() => {
                    session.end(|reached| self.broker.transient(reached, FLOODED));
                    return ConnectionEnd::Lost { backoff: Some(BACKOFF_MAX) };
                }
                Step::Event(event) => {
                    session.on_event(event, &self.broker, &self.topics, &self.desired);
                    // `poll` returns buffered packets without yielding to the runtime.
                    tokio::task::consume_budget().await;
                }
                Step::Shutdown => {
                    session.disconnect(&self.topics, events).await;
                    return ConnectionEnd::Shutdown;
                }
                Step::Stalled => {
                    session.end(|reached| self.broker.transient(reached, STALLED));
                    return ConnectionEnd::Lost { backoff: None };
                }
                Step::Failed(error) => {
                    session.end(|reached| self.broker.connection_lost(&error, reached));
                    return ConnectionEnd::Lost { backoff: None };
                }
            }
        }
    }

    /// Serves requests until the connection has an event.
    async fn step(&mut self, session: &mut Session, events: &mut EventLoop) -> Step {
        // `poll` is not cancel-safe: a dropped poll can lose a packet. Requests must not drop it.
        let mut poll = pin!(events.poll());
        loop {
            session.flush_backlog();
            tokio::select! {
                event = &mut poll => return match event {
                    Ok(event) => Step::Event(event),
                    Err(error) => Step::Failed(error),
                },
                request = self.requests.recv() => match request {
                    Some(request) => self.handle(request, session),
                    None => return Step::Shutdown,
                },
                () = session.stalled() => return Step::Stalled,
            }
        }
    }

    fn handle(&mut self, request: Request, session: &mut Session) {
        match request {
            Request::Publish { topic, payload, responder } => {
                session.publish(Publication { topic, payload, retain: false, responder: Some(responder) });
            }
            Request::Sync { retained, responder } => {
                self.desired = retained;
                session.sync(&self.desired, &self.topics, Some(responder));
            }
        }
    }
}
