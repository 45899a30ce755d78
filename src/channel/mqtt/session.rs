//! The messages in flight on one connection to a broker, and the retained messages that result from them.
//!
//! A session neither connects nor reads the network; the connection task passes events to it. Every
//! caller that waits for an outcome gets one, at the latest when the connection ends.

use std::collections::{BTreeMap, VecDeque};
use std::future::pending;
use std::time::Duration;

use rumqttc::{AsyncClient, Event, EventLoop, Outgoing, Packet, PublishOptions, QoS, SubscribeReasonCode};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout};

use super::super::outcome::SendOutcome;
use super::broker::Broker;
use super::oneshot::flush_disconnect;
use super::topics::{OFFLINE, ONLINE, Retained, Topics};

/// The longest time without a confirmation while messages are in flight.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(10);
pub const STALLED: &str = "confirmed nothing within 10 s";
/// Rate limit for incoming packets: far more than the states of all services of a feed.
const RATE_MAX_PACKETS: u32 = 20_000;
const RATE_WINDOW: Duration = Duration::from_secs(60);
pub const FLOODED: &str = "sent more than 20,000 packets within 60 s; check the broker";
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Where the outcome of a publication goes.
pub type Responder = oneshot::Sender<SendOutcome>;

/// A message to publish with QoS 1.
pub struct Publication {
    pub topic: String,
    /// Empty and retained: clears the topic.
    pub payload: String,
    pub retain: bool,
    /// `None` if no caller waits for the outcome.
    pub responder: Option<Responder>,
}

impl Publication {
    fn retained(topic: &str, payload: &str) -> Publication {
        Publication { topic: topic.to_owned(), payload: payload.to_owned(), retain: true, responder: None }
    }

    /// Returns the availability message "online". Publish it after the states, so that subscribers do not
    /// take old states for current ones.
    pub fn online(topics: &Topics, responder: Option<Responder>) -> Publication {
        Publication { responder, ..Publication::retained(&topics.availability(), ONLINE) }
    }

    pub fn respond(self, outcome: &SendOutcome) {
        respond(self.responder, outcome);
    }
}

/// Ignores a caller that has timed out and dropped its receiver.
fn respond(responder: Option<Responder>, outcome: &SendOutcome) {
    if let Some(responder) = responder {
        let _dropped = responder.send(outcome.clone());
    }
}

/// The publications of one connection. A publication moves from `backlog` to `queued` when the client
/// accepts it, and to `in_flight` when it is written and has a packet identifier.
pub struct Session {
    client: AsyncClient,
    backlog: VecDeque<Publication>,
    queued: VecDeque<Option<Responder>>,
    in_flight: BTreeMap<u16, Option<Responder>>,
    /// The retained messages at the broker once everything in flight is confirmed.
    published: Retained,
    /// The time of the last confirmation, or of the first publication after an idle time.
    last_progress: Instant,
    /// The start of the rate limit's window, and the packets received since.
    received: (Instant, u32),
}

impl Session {
    /// Subscribes to the states that an earlier run may have left at the broker.
    pub fn new(client: AsyncClient, topics: &Topics) -> Session {
        client
            .try_subscribe(topics.all_states(), QoS::AtMostOnce)
            .expect("an empty queue has room, and the filter is checked with the prefix");
        Session {
            client,
            backlog: VecDeque::new(),
            queued: VecDeque::new(),
            in_flight: BTreeMap::new(),
            published: Retained::new(),
            last_progress: Instant::now(),
            received: (Instant::now(), 0),
        }
    }

    fn is_idle(&self) -> bool {
        self.backlog.is_empty() && self.queued.is_empty() && self.in_flight.is_empty()
    }

    pub fn publish(&mut self, publication: Publication) {
        if self.is_idle() {
            self.last_progress = Instant::now();
        }
        self.backlog.push_back(publication);
    }

    /// Publishes the differences between `desired` and the retained messages at the broker. The
    /// availability message comes last and carries the responder, because brokers confirm in order.
    pub fn sync(&mut self, desired: &Retained, topics: &Topics, responder: Option<Responder>) {
        let obsolete: Vec<String> =
            self.published.keys().filter(|topic| !desired.contains_key(*topic)).cloned().collect();
        for topic in obsolete {
            self.clear(topic);
        }
        for (topic, payload) in desired {
            if self.published.get(topic) != Some(payload) {
                self.publish(Publication::retained(topic, payload));
                self.published.insert(topic.clone(), payload.clone());
            }
        }
        self.publish(Publication::online(topics, responder));
    }

    fn clear(&mut self, topic: String) {
        self.publish(Publication::retained(&topic, ""));
        self.published.remove(&topic);
    }

    /// Passes as much of the backlog to the client as its queue has room for.
    pub fn flush_backlog(&mut self) {
        while let Some(next) = self.backlog.pop_front() {
            let options = PublishOptions::at_least_once().retain(next.retain);
            if self.client.try_publish(next.topic.as_str(), next.payload.clone(), options).is_err() {
                self.backlog.push_front(next);
                return;
            }
            self.queued.push_back(next.responder);
        }
    }

    /// Completes when the broker has confirmed nothing for [`CONFIRM_TIMEOUT`]. Never completes while the
    /// session is idle.
    pub async fn stalled(&self) {
        if self.is_idle() {
            pending::<()>().await;
        }
        sleep_until(self.last_progress + CONFIRM_TIMEOUT).await;
    }

    /// Counts a packet and returns whether the rate limit is exceeded. The limit keeps a misbehaving
    /// broker from occupying the runtime.
    pub fn exceeds_rate_limit(&mut self) -> bool {
        let (since, count) = self.received;
        self.received = if since.elapsed() > RATE_WINDOW { (Instant::now(), 1) } else { (since, count + 1) };
        self.received.1 > RATE_MAX_PACKETS
    }

    pub fn on_event(&mut self, event: Event, broker: &Broker, topics: &Topics, desired: &Retained) {
        match event {
            // The client writes in queue order.
            Event::Outgoing(Outgoing::Publish(packet_id)) => {
                if let Some(responder) = self.queued.pop_front() {
                    self.in_flight.insert(packet_id, responder);
                }
            }
            Event::Incoming(Packet::PubAck(ack)) => {
                self.last_progress = Instant::now();
                if let Some(responder) = self.in_flight.remove(&ack.pkid) {
                    respond(responder, &broker.delivered("confirmed it"));
                }
            }
            // Only messages older than the subscription have the retain flag; our own do not.
            Event::Incoming(Packet::Publish(found)) if found.retain && !found.payload.is_empty() => {
                let found = String::from_utf8_lossy(&found.topic);
                let is_stale = !desired.contains_key(&*found);
                for topic in topics.to_clear(&found).into_iter().filter(|_| is_stale) {
                    self.clear(topic);
                }
            }
            Event::Incoming(Packet::SubAck(ack))
                if ack.return_codes.contains(&SubscribeReasonCode::Failure) =>
            {
                tracing::warn!(
                    "the broker does not allow statusd to read {}, so the states of services that are no \
                     longer watched stay there; allow it in the broker's access rules",
                    topics.all_states()
                );
            }
            Event::Incoming(_) | Event::Outgoing(_) => {}
        }
    }

    /// Responds to all publications when the connection ends. `outcome` takes whether the broker may have
    /// received the message.
    pub fn end(&mut self, outcome: impl Fn(bool) -> SendOutcome) {
        let (sent, unsent) = (outcome(true), outcome(false));
        tracing::debug!("{}", sent.detail());
        std::mem::take(&mut self.in_flight).into_values().for_each(|responder| respond(responder, &sent));
        self.queued.drain(..).for_each(|responder| respond(responder, &sent));
        self.backlog.drain(..).for_each(|publication| publication.respond(&unsent));
    }

    /// Publishes "offline" and disconnects. A clean DISCONNECT discards the last will, which would
    /// otherwise have published it.
    pub async fn disconnect(&mut self, topics: &Topics, events: &mut EventLoop) {
        let queue = async {
            let offline = self.client.publish(
                topics.availability(),
                OFFLINE,
                PublishOptions::at_least_once().retained(),
            );
            let _queued = offline.await;
            let _queued = self.client.disconnect().await;
        };
        let flushed = async {
            tokio::join!(queue, flush_disconnect(events));
        };
        let _in_time = timeout(DISCONNECT_TIMEOUT, flushed).await;
    }
}
