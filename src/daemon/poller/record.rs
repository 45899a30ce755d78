//! The record step: appends the poll to the recording, if one is configured.

use super::{Fetch, PollContext, Poller};
use crate::cause::Cause as _;
use crate::feed::fetch::FetchOutcome;
use crate::feed::recording::{Poll, PollFailure, Start};
use crate::model::Fault;
use crate::tracking::FeedFailure;

impl Poller {
    /// Records the poll before its update is committed: after a crash in between the poll is done again.
    pub(super) async fn record(
        &mut self,
        poll: &PollContext<'_>,
        fetch: &Fetch,
        trouble: Option<FeedFailure>,
        is_idle: bool,
    ) {
        let Some(recorder) = &mut self.recorder else { return };
        let (state, elapsed) = (&self.state, poll.elapsed);
        let start = match (state.last_poll, state.beliefs.state.first_accepted) {
            (Some(_), _) => None,
            (None, None) => Some(Start::New),
            (None, Some(_)) => Some(Start::Resumed),
        };
        let clock_set_s = elapsed.set_by.filter(|_| start.is_none()).map(|by| by.as_secs());
        let failure = trouble.map(|trouble| PollFailure {
            ours: trouble.fault == Fault::Ours,
            reason: trouble.reason,
            awake_s: elapsed.awake_s,
        });
        let is_idle = is_idle && start.is_none() && clock_set_s.is_none();
        let body = match fetch {
            Ok(FetchOutcome::New { body, .. }) => Some(body.as_str()),
            Ok(FetchOutcome::Unchanged) | Err(_) => None,
        };
        let line = Poll { start, clock_set_s, failure };
        if let Err(error) = recorder.record(poll.now, body, line, is_idle).await {
            tracing::error!("cannot write the recording: {}", error.reason());
        }
    }
}
