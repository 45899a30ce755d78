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
use super::session::{Done, FLOODED, Publication, STALLED, Session};
use super::topics::{OFFLINE, Retained, Topics};

/// Between two tries to connect: doubled from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(60);
/// A connection that held for less is no success: two clients with one id throw each other out.
const HELD: Duration = Duration::from_secs(60);
/// Messages on their way into the connection; the rest waits in order.
const CAPACITY: usize = 16;
/// Callers ask one at a time.
const REQUESTS: usize = 4;

/// What the task is asked to do.
enum Request {
    /// To say something once.
    Say { topic: String, payload: String, done: Done },
    /// To have this standing at the broker, and nothing else under the same topics.
    Show { retained: Retained, done: Done },
}

/// A handle to the connection task. Dropping the handle disconnects and ends the task.
#[derive(Debug)]
pub struct BrokerConnection {
    requests: mpsc::Sender<Request>,
}

impl BrokerConnection {
    /// Spawns the task on the current tokio runtime. Connects in the background.
    pub fn open(broker: Broker, topics: Topics) -> BrokerConnection {
        let (requests, asked) = mpsc::channel(REQUESTS);
        let keeper = Keeper { broker, topics, requests: asked, wanted: Retained::new(), waiting: Vec::new() };
        tokio::spawn(keeper.run());
        BrokerConnection { requests }
    }

    /// Returns true while the task runs. False after its runtime has shut down.
    pub fn is_open(&self) -> bool {
        !self.requests.is_closed()
    }

    /// Answers once the broker has confirmed it or cannot be hoped for.
    pub async fn say(&self, topic: String, payload: String) -> Option<SendOutcome> {
        let (done, answer) = oneshot::channel();
        self.requests.send(Request::Say { topic, payload, done }).await.ok()?;
        answer.await.ok()
    }

    /// The same for all that is to stand there.
    pub async fn show(&self, retained: Retained) -> Option<SendOutcome> {
        let (done, answer) = oneshot::channel();
        self.requests.send(Request::Show { retained, done }).await.ok()?;
        answer.await.ok()
    }
}

/// How a connection ended.
enum End {
    /// Nobody is left to speak for.
    Goodbye,
    /// It will be tried again; sooner where it may have been an accident.
    Lost { pause: Option<Duration> },
}

/// What comes next on a connection.
enum Turn {
    Event(Event),
    Broken(ConnectionError),
    /// The broker confirms nothing.
    Stalled,
    /// Nobody is left to speak for.
    Nobody,
}

/// The task.
struct Keeper {
    broker: Broker,
    topics: Topics,
    requests: mpsc::Receiver<Request>,
    /// What is to stand at the broker.
    wanted: Retained,
    /// What came while there was no connection, and waits for the try that is under way.
    waiting: Vec<Publication>,
}

impl Keeper {
    async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let began = Instant::now();
            match self.connection().await {
                End::Goodbye => return,
                End::Lost { pause: Some(longer) } => pause = pause.max(longer),
                End::Lost { pause: None } if began.elapsed() > HELD => pause = FIRST_PAUSE,
                End::Lost { pause: None } => {}
            }
            // Up to a fifth more, so that a fleet does not come back as one.
            let jittered = pause.mul_f64(1.0 + fastrand::f64() / 5.0);
            tokio::select! {
                () = sleep(jittered) => {}
                // A request ends the back-off, so that its outcome describes the broker as it is now.
                request = self.requests.recv() => match request {
                    Some(request) => self.wait_with(request),
                    None => return,
                },
            }
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    /// One connection from its beginning to its end.
    async fn connection(&mut self) -> End {
        let will = LastWill::new(self.topics.availability(), OFFLINE, QoS::AtLeastOnce, true);
        let (client, mut events) = AsyncClient::new(self.broker.resident(will), CAPACITY);
        events.set_network_options(Broker::network_options());
        let Some(connected) = self.connect(&mut events).await else { return End::Goodbye };
        if let Err(error) = connected {
            let answer = self.broker.not_connected(&error);
            tracing::debug!("{}", answer.words());
            self.waiting.drain(..).for_each(|publication| publication.answer(&answer));
            let is_refused = matches!(answer, SendOutcome::Permanent { .. });
            return End::Lost { pause: is_refused.then_some(LAST_PAUSE) };
        }
        let mut session = Session::new(client, &self.topics);
        session.show(&self.wanted, &self.topics, None);
        self.waiting.drain(..).for_each(|publication| session.publish(publication));
        self.converse(&mut session, &mut events).await
    }

    /// Waits for the broker to accept the connection, and collects requests meanwhile. Returns `None` if
    /// the handle is dropped.
    async fn connect(&mut self, events: &mut EventLoop) -> Option<Result<(), ConnectionError>> {
        let mut greeting = pin!(events.poll());
        loop {
            tokio::select! {
                greeted = &mut greeting => return Some(greeted.map(|_| ())),
                request = self.requests.recv() => self.wait_with(request?),
            }
        }
    }

    fn wait_with(&mut self, request: Request) {
        match request {
            Request::Say { topic, payload, done } => {
                self.waiting.push(Publication { topic, payload, retain: false, done: Some(done) });
            }
            Request::Show { retained, done } => {
                self.wanted = retained;
                self.waiting.push(Publication::online(&self.topics, Some(done)));
    /// Keeps a request for the next connection.
    /// Keeps a request for the next connection.
            }
        }
    }

    async fn converse(&mut self, session: &mut Session, events: &mut EventLoop) -> End {
        loop {
            match self.turn(session, events).await {
                Turn::Event(_) if session.is_flooded() => {
                    session.end(|reached| self.broker.retry(reached, FLOODED));
                    return End::Lost { pause: Some(LAST_PAUSE) };
                }
                Turn::Event(event) => {
                    session.heed(event, &self.broker, &self.topics, &self.wanted);
                    // What is read already is taken without a wait.
                    tokio::task::consume_budget().await;
                }
                Turn::Nobody => {
                    session.farewell(&self.topics, events).await;
                    return End::Goodbye;
                }
                Turn::Stalled => {
                    session.end(|reached| self.broker.retry(reached, STALLED));
                    return End::Lost { pause: None };
                }
                Turn::Broken(error) => {
                    session.end(|reached| self.broker.broke_off(&error, reached));
                    return End::Lost { pause: None };
                }
            }
        }
    }

    /// Does what is asked until the connection has something to say.
    async fn turn(&mut self, session: &mut Session, events: &mut EventLoop) -> Turn {
        // Polled to its end: dropped half way it could lose a packet.
        let mut poll = pin!(events.poll());
        loop {
            session.hand_over();
            tokio::select! {
                event = &mut poll => return match event {
                    Ok(event) => Turn::Event(event),
                    Err(error) => Turn::Broken(error),
                },
                request = self.requests.recv() => match request {
                    Some(request) => self.take(request, session),
                    None => return Turn::Nobody,
                },
                () = session.stalled() => return Turn::Stalled,
            }
        }
    }

    fn take(&mut self, request: Request, session: &mut Session) {
        match request {
            Request::Say { topic, payload, done } => {
                session.publish(Publication { topic, payload, retain: false, done: Some(done) });
            }
            Request::Show { retained, done } => {
                self.wanted = retained;
                session.show(&self.wanted, &self.topics, Some(done));
            }
        }
    }
}
