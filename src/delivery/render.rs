//! Renders the pending changes of a channel into one notice.
//!
//! A rendered notice keeps its bytes on every attempt. The sentences are in `message`.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::Receiver;
use crate::channel::{Audience, Notice};
use crate::delivery::message::{Context, Digest, Form, RenderContext, compose, line, phrases};
use crate::delivery::payload;
use crate::delivery::policy::Policy;
use crate::model::{Change, Outage, Phase, ServiceKey};
use crate::store::{Attempt, READ_LATELY, RenderedNotice, Snooze, Store, Waiting};
use crate::tracking::watchlist::Watchlist;

/// Returns the ongoing outages that were announced on the channel, for digests. `None` if the feed was not
/// readable lately, because they may be over.
pub(super) async fn ongoing(
    store: &Store,
    receiver: &Receiver,
    now: Timestamp,
) -> rusqlite::Result<Option<Vec<Outage>>> {
    if receiver.channel.audience() == Audience::Programs {
        return Ok(None);
    }
    let read = store.last_readable(&receiver.feed).await?;
    if read.is_none_or(|read| now.duration_since(read) > READ_LATELY) {
        return Ok(None);
    }
    let mut ongoing = store.ongoing_outages(&receiver.feed, receiver.channel.name()).await?;
    ongoing.retain(|outage| receiver.accepts(&ServiceKey::new(&outage.service)));
    Ok(Some(ongoing))
}

/// Renders notices for a channel. Owns its inputs, because it runs on the thread of the database.
pub(super) struct Renderer {
    channel: String,
    audience: Audience,
    policy: Policy,
    watch: Watchlist,
    zone: TimeZone,
    is_drill: bool,
    /// See [`ongoing`].
    ongoing: Option<Vec<Outage>>,
    snooze: Option<Snooze>,
    now: Timestamp,
}

impl Renderer {
    pub(super) fn of(
        receiver: &Receiver,
        ongoing: Option<Vec<Outage>>,
        snooze: Option<Snooze>,
        now: Timestamp,
    ) -> Renderer {
        Renderer {
            channel: receiver.channel.name().to_owned(),
            audience: receiver.channel.audience(),
            policy: receiver.policy.clone(),
            watch: receiver.watch.clone(),
            zone: receiver.zone.clone(),
            is_drill: receiver.is_drill,
            ongoing,
            snooze,
            now,
        }
    }

    pub(super) fn render(&self, waiting: &Waiting) -> RenderedNotice {
        let ctx = RenderContext { now: self.now, zone: &self.zone, is_drill: self.is_drill };
        let changes = &waiting.changes;
        // A channel gets each change in one notice only, so the key of a change identifies the notice.
        let key = changes.first().map(Change::key).unwrap_or_default();
        let message = compose(changes, &self.context(waiting), &ctx);
        let template = &self.policy.template;
        let (message, is_templated) = match template.apply(message, changes, &ctx) {
            Ok(message) => (message, template.has_title()),
            Err((built_in, error)) => {
                let channel = &self.channel;
                tracing::error!("{channel}: cannot render the template, sending the built-in text: {error}");
                (built_in, false)
            }
        };
        match (self.audience, changes.as_slice()) {
            (Audience::Programs, [change, ..]) => {
                let title = if is_templated { message.title } else { line(change, &ctx) };
                let payload = payload::with_text(change, &title, &ctx).to_string();
                RenderedNotice {
                    key,
                    title,
                    body: String::new(),
                    severity: phrases::severity(change.kind),
                    payload,
                }
            }
            (Audience::People | Audience::Desktop | Audience::Programs, _) => RenderedNotice {
                key,
                title: message.title,
                body: message.body,
                severity: message.severity,
                payload: String::new(),
            },
        }
    }

    /// Returns what a message contains beside its changes: on a desktop the rest of the incident,
    /// elsewhere, if the message was held back, all ongoing outages.
    fn context(&self, waiting: &Waiting) -> Context {
        let ongoing = || self.ongoing.clone().unwrap_or_default();
        let is_late = waiting.is_recomposed || self.was_held(waiting.since);
        let digest = is_late.then(|| Digest { since: waiting.since, ongoing: ongoing() });
        let form = match self.audience {
            Audience::Desktop => Form::Compact,
            Audience::People | Audience::Programs => Form::Full,
        };
        let is_known = |outage: &&Outage| {
            let is_ongoing = matches!(outage.phase, Phase::Ongoing(_));
            let is_accepted = self.policy.accepts_watched(&ServiceKey::new(&outage.service), &self.watch);
            is_accepted && (!is_ongoing || self.ongoing.is_some())
        };
        let others = waiting.others.iter().filter(is_known).cloned().collect();
        Context { form, digest, others, more: waiting.more }
    }

    /// Returns true if quiet hours or a snooze applied at `since`.
    fn was_held(&self, since: Timestamp) -> bool {
        let is_snoozed = self.snooze.is_some_and(|snooze| snooze.covers(since));
        is_snoozed || self.policy.quiet_until(since).is_some()
    }
}

/// Returns the notice of an attempt, as a channel sends it.
pub fn notice(attempt: &Attempt) -> Notice {
    let RenderedNotice { key, title, body, severity, payload } = attempt.notice.clone();
    let (replaces, follows) = (attempt.replaces.clone(), attempt.follows.clone());
    Notice { key, title, body, severity, payload, replaces, follows }
}
