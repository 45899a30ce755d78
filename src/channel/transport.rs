//! The traits that each kind of channel implements: the settings of its table, and the transport built
//! from them.
//!
//! A transport makes one attempt and reports the outcome. It does not retry, remember deliveries or
//! read the database.

use std::any::Any;
use std::fmt;
use std::future::{Future, pending};
use std::pin::Pin;
use std::time::Duration;

use super::outcome::{AlarmAction, AlarmResult, Notice, SendOutcome};
use super::settings::ReadSecret;
use super::snapshot::Snapshot;
use crate::setting::SettingError;

/// Twice the time that the slowest kind needs for an attempt, a probe and a snapshot.
pub const MAX_DURATION: Duration = Duration::from_secs(180);

/// A channel's table in the configuration.
pub trait Table {
    /// Returns false if the channel is switched off.
    fn is_enabled(&self) -> bool {
        true
    }

    /// Builds the transport. Reads secret files, opens no connection.
    ///
    /// # Errors
    ///
    /// The setting at fault, without secrets.
    fn open(&self, read_secret: ReadSecret) -> Result<AnyTransport, SettingError>;
}

/// A kind of channel, ready to send. The defaults fit a kind that only sends.
pub trait Transport: fmt::Debug + Send + Sync + Sized + 'static {
    /// Makes one attempt, with a timeout that each kind documents.
    fn send(&mut self, notice: &Notice) -> impl Future<Output = SendOutcome> + Send;

    /// Connects without sending a message. Times out after 10 s. Returns true for a kind that only a
    /// message can test.
    fn is_reachable(&mut self) -> impl Future<Output = bool> + Send {
        async { true }
    }

    /// Returns the time after which the watchdog assumes that the channel hangs: more than an attempt, a
    /// probe and a snapshot take one after the other.
    fn max_duration(&self) -> Duration {
        MAX_DURATION
    }

    /// Returns the maximum time between two snapshots ([`Transport::sync_state`]). `None` for a kind that
    /// shows no state.
    fn sync_interval(&self) -> Option<Duration> {
        None
    }

    /// Shows the current state, with the timeout of [`Transport::send`]. Idempotent. The next snapshot
    /// corrects a failure.
    fn sync_state(&mut self, _snapshot: &Snapshot) -> impl Future<Output = SendOutcome> + Send {
        async { SendOutcome::Delivered { receipt: None, detail: "this channel shows no state".to_owned() } }
    }

    /// Returns true if alarms stay on a screen, so that [`Transport::sync_alarm`] has to be called.
    fn syncs_alarms(&self) -> bool {
        false
    }

    /// Applies `action` to an alarm that was delivered with `receipt`. Idempotent. Times out after 20 s.
    fn sync_alarm(
        &mut self,
        _alarm: &Notice,
        _receipt: &str,
        _action: AlarmAction,
    ) -> impl Future<Output = AlarmResult> + Send {
        async { AlarmResult::Unchanged }
    }

    /// Waits until alarms may have gone from the screen. Cancel-safe.
    fn until_screen_changes(&self) -> impl Future<Output = ()> + Send {
        pending()
    }

    /// Returns true if `older`, the transport of the same name before a reload, can be kept instead of
    /// this one: it holds a connection, and its settings are equal.
    fn can_reuse(&self, _older: &Self) -> bool {
        false
    }
}

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A transport of any kind.
#[derive(Debug)]
pub struct AnyTransport(pub(super) Box<dyn Erased>);

impl<T: Transport> From<T> for AnyTransport {
    fn from(transport: T) -> AnyTransport {
        AnyTransport(Box::new(transport))
    }
}

/// The object-safe form of [`Transport`].
pub(super) trait Erased: fmt::Debug + Send + Sync {
    fn erased_send<'a>(&'a mut self, notice: &'a Notice) -> BoxFuture<'a, SendOutcome>;
    fn erased_is_reachable(&mut self) -> BoxFuture<'_, bool>;
    fn erased_max_duration(&self) -> Duration;
    fn erased_sync_interval(&self) -> Option<Duration>;
    fn erased_sync_state<'a>(&'a mut self, snapshot: &'a Snapshot) -> BoxFuture<'a, SendOutcome>;
    fn erased_syncs_alarms(&self) -> bool;
    fn erased_sync_alarm<'a>(
        &'a mut self,
        alarm: &'a Notice,
        receipt: &'a str,
        action: AlarmAction,
    ) -> BoxFuture<'a, AlarmResult>;
    fn erased_until_screen_changes(&self) -> BoxFuture<'_, ()>;
    /// Returns false for transports of different kinds.
    fn erased_can_reuse(&self, older: &dyn Any) -> bool;
    fn as_any(&self) -> &dyn Any;
}

impl<T: Transport> Erased for T {
    fn erased_send<'a>(&'a mut self, notice: &'a Notice) -> BoxFuture<'a, SendOutcome> {
        Box::pin(self.send(notice))
    }

    fn erased_is_reachable(&mut self) -> BoxFuture<'_, bool> {
        Box::pin(self.is_reachable())
    }

    fn erased_max_duration(&self) -> Duration {
        self.max_duration()
    }

    fn erased_sync_interval(&self) -> Option<Duration> {
        self.sync_interval()
    }

    fn erased_sync_state<'a>(&'a mut self, snapshot: &'a Snapshot) -> BoxFuture<'a, SendOutcome> {
        Box::pin(self.sync_state(snapshot))
    }

    fn erased_syncs_alarms(&self) -> bool {
        self.syncs_alarms()
    }

    fn erased_sync_alarm<'a>(
        &'a mut self,
        alarm: &'a Notice,
        receipt: &'a str,
        action: AlarmAction,
    ) -> BoxFuture<'a, AlarmResult> {
        Box::pin(self.sync_alarm(alarm, receipt, action))
    }

    fn erased_until_screen_changes(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.until_screen_changes())
    }

    fn erased_can_reuse(&self, older: &dyn Any) -> bool {
        older.downcast_ref().is_some_and(|older| self.can_reuse(older))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
