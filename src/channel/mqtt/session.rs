//! The messages in flight on one connection to a broker, and the retained messages that result from them.
//!
//! A session neither connects nor reads the network; the connection task passes events to it. Every
//! caller that waits for an outcome gets one, at the latest when the connection ends.

use std::collections::{BTreeMap, VecDeque};
use std::future::pending;
use std::time::Duration;

use rumqttc::{AsyncClient, Event, EventLoop, Outgoing, Packet, QoS, SubscribeReasonCode};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout};

use super::super::outcome::SendOutcome;
use super::broker::Broker;
use super::oneshot::until_gone;
use super::topics::{OFFLINE, ONLINE, Retained, Topics};

/// A broker that confirms nothing for so long is left.
const CONFIRM_WITHIN: Duration = Duration::from_secs(10);
pub const STALLED: &str = "confirmed nothing within 10 s";
/// What a broker may tell in a minute, which is far more than all states of a feed.
const HEARD_MAX: u32 = 20_000;
const HEARD_WITHIN: Duration = Duration::from_secs(60);
pub const FLOODED: &str = "sends more than anybody asked for";
const GOODBYE_WITHIN: Duration = Duration::from_secs(3);

pub type Done = oneshot::Sender<SendOutcome>;

/// A message to publish with QoS 1.
pub struct Publication {
    pub topic: String,
    /// Empty and retained: clears the topic.
    pub payload: String,
    pub retain: bool,
    pub done: Option<Done>,
}

impl Publication {
    fn retained(topic: &str, payload: &str) -> Publication {
        Publication { topic: topic.to_owned(), payload: payload.to_owned(), retain: true, done: None }
    }

    /// Said behind the states, so that nobody takes old ones for today's.
    pub fn online(topics: &Topics, done: Option<Done>) -> Publication {
        Publication { done, ..Publication::retained(&topics.availability(), ONLINE) }
    }

    pub fn answer(self, answer: &SendOutcome) {
        tell(self.done, answer);
    }
}

/// Whoever asked may have lost patience.
fn tell(done: Option<Done>, answer: &SendOutcome) {
    if let Some(done) = done {
        let _unheard = done.send(answer.clone());
    }
}

/// The publications of one connection. A publication moves from `backlog` to `queued` when the client
/// accepts it, and to `in_flight` when it is written and has a packet identifier.
pub struct Session {
    client: AsyncClient,
    backlog: VecDeque<Publication>,
    handed: VecDeque<Option<Done>>,
    unconfirmed: BTreeMap<u16, Option<Done>>,
    /// What stands at the broker once all of this is confirmed.
    shown: Retained,
    /// The last sign of life while something was on its way.
    moved_at: Instant,
    /// Since when packets are counted, and how many came.
    heard: (Instant, u32),
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
            handed: VecDeque::new(),
            unconfirmed: BTreeMap::new(),
            shown: Retained::new(),
            moved_at: Instant::now(),
            heard: (Instant::now(), 0),
        }
    }

    fn is_idle(&self) -> bool {
        self.backlog.is_empty() && self.handed.is_empty() && self.unconfirmed.is_empty()
    }

    pub fn publish(&mut self, publication: Publication) {
        if self.is_idle() {
            self.moved_at = Instant::now();
        }
        self.backlog.push_back(publication);
    }

    /// Publishes where `wanted` differs from what stands there. The last of it is a sign of life
    /// that changes nothing: brokers confirm in order, so it stands for all.
    pub fn show(&mut self, wanted: &Retained, topics: &Topics, done: Option<Done>) {
        let gone: Vec<String> =
            self.shown.keys().filter(|topic| !wanted.contains_key(*topic)).cloned().collect();
        for topic in gone {
            self.clear(topic);
        }
        for (topic, payload) in wanted {
            if self.shown.get(topic) != Some(payload) {
                self.publish(Publication::retained(topic, payload));
                self.shown.insert(topic.clone(), payload.clone());
            }
        }
        self.publish(Publication::online(topics, done));
    }

    fn clear(&mut self, topic: String) {
        self.publish(Publication::retained(&topic, ""));
        self.shown.remove(&topic);
    }

    /// Hands over what there is room for.
    pub fn hand_over(&mut self) {
        while let Some(next) = self.backlog.pop_front() {
            let (topic, payload) = (next.topic.as_str(), next.payload.as_str());
            if self.client.try_publish(topic, QoS::AtLeastOnce, next.retain, payload).is_err() {
                self.backlog.push_front(next);
                return;
            }
            self.handed.push_back(next.done);
        }
    }

    /// Completes when the broker has confirmed nothing for [`CONFIRM_TIMEOUT`]. Never completes while the
    /// session is idle.
    pub async fn stalled(&self) {
        if self.is_idle() {
            pending::<()>().await;
        }
        sleep_until(self.moved_at + CONFIRM_WITHIN).await;
    }

    /// Counts a packet; whether there are too many. A broker without end must not have all of the
    /// runtime's time, nor of its memory.
    pub fn is_flooded(&mut self) -> bool {
        let (since, count) = self.heard;
        self.heard = if since.elapsed() > HEARD_WITHIN { (Instant::now(), 1) } else { (since, count + 1) };
        self.heard.1 > HEARD_MAX
    }

    pub fn heed(&mut self, event: Event, broker: &Broker, topics: &Topics, wanted: &Retained) {
        match event {
            // Written in the order in which it was handed over.
            Event::Outgoing(Outgoing::Publish(number)) => {
                if let Some(done) = self.handed.pop_front() {
                    self.unconfirmed.insert(number, done);
                }
            }
            Event::Incoming(Packet::PubAck(confirmed)) => {
                self.moved_at = Instant::now();
                if let Some(done) = self.unconfirmed.remove(&confirmed.pkid) {
                    tell(done, &broker.delivered("confirmed it"));
                }
            }
            // Retained: there since before we asked. What we publish ourselves comes without.
            Event::Incoming(Packet::Publish(left)) if left.retain && !left.payload.is_empty() => {
                let is_left_over = !wanted.contains_key(&left.topic);
                for topic in topics.belonging(&left.topic).into_iter().filter(|_| is_left_over) {
                    self.clear(topic);
                }
            }
            Event::Incoming(Packet::SubAck(answer))
                if answer.return_codes.contains(&SubscribeReasonCode::Failure) =>
            {
                tracing::warn!(
                    "the broker does not let statusd read {}; services that are watched no more will stay \
                     there: allow it at the broker",
                    topics.all_states()
                );
            }
            Event::Incoming(_) | Event::Outgoing(_) => {}
        }
    }

    /// What becomes of all that is under way when the connection ends; `answer` is told whether the
    /// broker may have seen it.
    pub fn end(&mut self, answer: impl Fn(bool) -> SendOutcome) {
        let (sent, unsent) = (answer(true), answer(false));
        tracing::debug!("{}", sent.words());
        std::mem::take(&mut self.unconfirmed).into_values().for_each(|done| tell(done, &sent));
        self.handed.drain(..).for_each(|done| tell(done, &sent));
        self.backlog.drain(..).for_each(|publication| publication.answer(&unsent));
    }

    /// The will is for accidents.
    pub async fn farewell(&mut self, topics: &Topics, events: &mut EventLoop) {
        let last_words = async {
            let offline = self.client.publish(topics.availability(), QoS::AtLeastOnce, true, OFFLINE);
            let _queued = offline.await;
            let _queued = self.client.disconnect().await;
        };
        let spoken = async {
            tokio::join!(last_words, until_gone(events));
        };
        let _in_time = timeout(GOODBYE_WITHIN, spoken).await;
    }
}
