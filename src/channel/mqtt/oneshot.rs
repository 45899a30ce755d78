//! Publishes one message over a short connection of its own.
//!
//! For a process that shows no state, such as `statusd test-notice` beside the daemon. The connection
//! has no last will and publishes no availability, because the daemon owns that topic.

use std::time::Duration;

use rumqttc::{AsyncClient, Event, EventLoop, Outgoing, Packet, PublishOptions};
use tokio::time::timeout;

use super::super::outcome::SendOutcome;
use super::broker::Broker;

const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Connects, publishes, waits for the confirmation and disconnects. Sets `reached` once the message has
/// been written. Has no timeout: the caller sets one.
pub async fn publish(broker: &Broker, topic: &str, payload: &str, reached: &mut bool) -> SendOutcome {
    let (client, mut events) = AsyncClient::builder(broker.oneshot_options()).capacity(2).build();
    events.set_network_options(Broker::network_options());
    if client.try_publish(topic, payload.to_owned(), PublishOptions::at_least_once()).is_err() {
        return SendOutcome::Permanent {
            detail: "cannot publish to the topic: check prefix in the config".to_owned(),
        };
    }
    let mut connected = false;
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => connected = true,
            Ok(Event::Outgoing(Outgoing::Publish(_))) => *reached = true,
            Ok(Event::Incoming(Packet::PubAck(_))) => break,
            // `poll` returns buffered packets without yielding to the runtime.
            Ok(_) => tokio::task::consume_budget().await,
            Err(error) if connected => return broker.connection_lost(&error, *reached),
            Err(error) => return broker.not_connected(&error),
        }
    }
    // The message is confirmed, so a failure to disconnect does not matter.
    let _queued = client.try_disconnect();
    let _in_time = timeout(DISCONNECT_TIMEOUT, flush_disconnect(&mut events)).await;
    broker.delivered(&format!("confirmed it on {topic}"))
}

/// Polls until the DISCONNECT packet is written or the connection fails. Without that packet the broker
/// publishes the last will.
pub async fn flush_disconnect(events: &mut EventLoop) {
    while let Ok(event) = events.poll().await {
        if event == Event::Outgoing(Outgoing::Disconnect) {
            return;
        }
        tokio::task::consume_budget().await;
    }
}
