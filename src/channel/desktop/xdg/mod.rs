//! The desktop of Linux and the BSDs: the Desktop Notifications Specification 1.2 over D-Bus.
//!
//! `notify-rust` builds the message, but not the connection. `Notification::show` opens a connection for
//! each message, does not say which server replied, and can only update messages of the same process.
//! A daemon that outlives desktop sessions, and may restart between a start and its end, needs one
//! connection and receipts.
//!
//! A bubble is only replaced or closed on the server instance that showed it. A message without a reply
//! is not repeated while the server hangs (`tests/it/desktop.rs`).

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use notify_rust::{Hint, Notification};
use tokio::sync::Notify;
use tokio::time::{Duration, Instant, timeout, timeout_at};
use zbus::Connection;
use zbus::names::OwnedUniqueName;

use super::super::outcome::{AlarmAction, AlarmResult, Notice, SendOutcome};
use super::super::transport::Transport;
use super::{APP_NAME, Capabilities, SEND_TIMEOUT, Urgency, bubble, not_reached};
use crate::model::Severity;

mod address;
mod bus;
mod calls;
mod failure;
mod receipt;

use bus::{BusConnection, CloseReason, NotificationServer, is_disconnected};
use calls::{CallReply, Calls, notify};
use failure::{no_bus, no_server, rejected, unconfirmed};
use receipt::Receipt;

/// The name and the interface.
const NOTIFICATIONS: &str = "org.freedesktop.Notifications";
const NOTIFICATIONS_PATH: &str = "/org/freedesktop/Notifications";
/// The wait for the reply to an earlier attempt, if the server replies to other calls.
const LATE_REPLY_TIMEOUT: Duration = Duration::from_secs(3);
/// The minimum time before an alarm is shown again, for a server that crashes when it shows the alarm.
const SHOW_AGAIN_INTERVAL: Duration = Duration::from_secs(600);
/// The name of a server that hides a critical bubble at once when a less urgent one replaces it. There the
/// end of an alarm is shown as a new bubble.
const GNOME_SHELL: &str = "gnome-shell";
const NO_REPLY: &str = "the desktop's notification server does not respond";
/// Limits the list of shown bubbles, which keeps them from being closed as late copies.
const MAX_SHOWN: usize = 64;

/// The desktop session of statusd's user.
///
/// A task of the tokio runtime that sends first reads the connection, so all later messages must be sent
/// from the same runtime.
#[derive(Debug, Default)]
pub struct Desktop {
    urgency: Urgency,
    /// Overrides the session's D-Bus addresses.
    address: Option<String>,
    bus: Option<BusConnection>,
    calls: Calls,
    shown: VecDeque<Receipt>,
    /// Bubbles of abandoned calls, to be closed.
    late: Vec<(OwnedUniqueName, u32)>,
    /// Alarms that were recently shown again, by the keys of their messages.
    shown_again: HashMap<String, (Receipt, Instant)>,
    wake: Arc<Notify>,
}

pub(super) fn add_hints(
    bubble: &mut Notification,
    severity: Severity,
    urgency: Urgency,
    capabilities: Capabilities,
) {
    // The standard category `network.error` would report a fault of this computer's network.
    let (level, category) = match (severity, urgency) {
        (Severity::Alert, Urgency::Critical) => (notify_rust::Urgency::Critical, "x-statusd.outage"),
        (Severity::Alert, Urgency::Normal) | (Severity::Resolved, _) => {
            (notify_rust::Urgency::Normal, "x-statusd.outage")
        }
        (Severity::Info, _) => (notify_rust::Urgency::Normal, "x-statusd.notice"),
    };
    bubble
        .urgency(level)
        .hint(Hint::Category(category.to_owned()))
        .hint(Hint::DesktopEntry(APP_NAME.to_owned()));
    if severity == Severity::Alert && capabilities.sound {
        bubble.hint(Hint::SoundName("dialog-warning".to_owned()));
    }
}

impl Desktop {
    /// Uses the session bus, found through `DBUS_SESSION_BUS_ADDRESS` or `XDG_RUNTIME_DIR` when the first
    /// message is sent, because statusd may start before the desktop.
    pub fn new() -> Desktop {
        Desktop::default()
    }

    /// Uses the bus at this D-Bus address, or at the first usable one of a list.
    pub fn at(address: &str) -> Desktop {
        Desktop { address: Some(address.to_owned()), ..Desktop::default() }
    }

    /// Sets the urgency of alarms.
    pub fn with_urgency(self, urgency: Urgency) -> Desktop {
        Desktop { urgency, ..self }
    }

    async fn try_send(&mut self, notice: &Notice) -> SendOutcome {
        let deadline = Instant::now() + SEND_TIMEOUT;
        let (connection, server) = match timeout_at(deadline, self.find_server()).await {
            Ok(Ok(found)) => found,
            Ok(Err(detail)) => return not_reached(detail),
            Err(_elapsed) => {
                // `find_server` has dropped the connection, so the next attempt opens a new one.
                return not_reached("the desktop session does not respond; log out and in if this persists");
            }
        };
        self.calls.retain_owner(&server.owner);
        self.calls.abandon_others(&notice.key);
        let name = match self.check_ready(&notice.key, &server.owner).await {
            Ok(name) => name,
            Err(outcome) => return outcome,
        };
        let replaces = notice.replaces.as_deref().and_then(Receipt::parse);
        let replaces = replaces.filter(|receipt| self.belongs_to(receipt, &server.owner));
        let is_on_screen = replaces.as_ref().is_some_and(|receipt| self.close_reason(receipt).is_none());
        let was_closed = notice.replaces.as_deref().is_some_and(receipt::is_closed);
        let bubble = bubble(notice, server.capabilities, self.urgency, is_on_screen || was_closed);
        let mut id = replaces.map_or(0, |receipt| receipt.id);
        if id != 0
            && name == GNOME_SHELL
            && self.urgency == Urgency::Critical
            && notice.severity != Severity::Alert
        {
            match &self.bus {
                Some(bus) if bus.close(&server.owner, id).await => id = 0,
                _ => return not_reached(NO_REPLY),
            }
        }
        let owner = server.owner.clone();
        self.calls.start(&notice.key, server.owner, notify(connection, owner, bubble, id));
        match self.reply(deadline).await {
            Some(reply) => self.outcome(reply),
            None => unconfirmed(),
        }
    }

    /// Returns the server's name if the message may be sent: no earlier attempt has shown it, and the server
    /// replies. A server that hangs shows every copy later, and some never report the ids.
    async fn check_ready(&mut self, key: &str, owner: &OwnedUniqueName) -> Result<String, SendOutcome> {
        if let Some(reply) = self.reply(Instant::now()).await {
            return Err(self.outcome(reply));
        }
        let is_repeat = self.calls.is_pending(key);
        let Some(name) = self.probe(owner).await else {
            return Err(if is_repeat { unconfirmed() } else { not_reached(NO_REPLY) });
        };
        if !is_repeat {
            return Ok(name);
        }
        if let Some(reply) = self.reply(Instant::now() + LATE_REPLY_TIMEOUT).await {
            return Err(self.outcome(reply));
        }
        if self.calls.may_repeat(key) { Ok(name) } else { Err(unconfirmed()) }
    }

    /// Returns the server's name if it replies.
    async fn probe(&self, owner: &OwnedUniqueName) -> Option<String> {
        self.bus.as_ref()?.probe(owner).await
    }

    /// Waits for the next reply about the current message.
    async fn reply(&mut self, deadline: Instant) -> Option<CallReply> {
        loop {
            let reply = timeout_at(deadline, self.calls.next()).await.ok()?;
            match reply.result {
                _ if !reply.is_abandoned => return Some(reply),
                Ok(id) => self.late.push((reply.owner, id)),
                Err(_) => {}
            }
        }
    }

    /// Closes late copies.
    async fn close_late(&mut self) {
        let Some(bus) = &self.bus else { return };
        for (owner, id) in std::mem::take(&mut self.late) {
            let receipt = bus.receipt(&owner, id);
            if receipt.is_some_and(|receipt| !self.shown.contains(&receipt)) {
                bus.close(&owner, id).await;
            }
        }
    }

    fn outcome(&mut self, reply: CallReply) -> SendOutcome {
        let id = match reply.result {
            Ok(id) => id,
            Err(error) => return rejected(&error),
        };
        // Later copies are superfluous.
        self.calls.abandon_all();
        let receipt = self.bus.as_ref().and_then(|bus| bus.receipt(&reply.owner, id));
        if let Some((receipt, bus)) = receipt.as_ref().zip(self.bus.as_mut()) {
            bus.forget_closed(receipt);
            self.shown.truncate(MAX_SHOWN - 1);
            self.shown.push_front(receipt.clone());
        }
        let detail = "shown on the desktop".to_owned();
        SendOutcome::Delivered { receipt: receipt.map(|receipt| receipt.to_text()), detail }
    }

    /// Shows an alarm of an earlier server instance on the current one.
    async fn show_again(&mut self, alarm: &Notice, owner: &OwnedUniqueName) -> AlarmResult {
        // A key of its own, because the first message was confirmed.
        let key = format!("{}/again", alarm.key);
        if let Some((receipt, at)) = self.shown_again.get(&alarm.key) {
            if self.belongs_to(receipt, owner) {
                return AlarmResult::Changed { receipt: receipt.to_text() };
            }
            if at.elapsed() < SHOW_AGAIN_INTERVAL {
                return AlarmResult::Retry;
            }
        }
        self.calls.retain_owner(owner);
        if !self.calls.is_empty() && !self.calls.is_pending(&key) {
            return AlarmResult::Retry;
        }
        match self.send(&Notice { key, replaces: None, ..alarm.clone() }).await {
            SendOutcome::Delivered { receipt: Some(receipt), .. } => {
                self.shown_again.retain(|_, (_, at)| at.elapsed() < SHOW_AGAIN_INTERVAL);
                let shown = Receipt::parse(&receipt).map(|receipt| (receipt, Instant::now()));
                self.shown_again.extend(shown.map(|shown| (alarm.key.clone(), shown)));
                AlarmResult::Changed { receipt }
            }
            SendOutcome::Delivered { receipt: None, .. } => AlarmResult::Gone,
            SendOutcome::Transient { .. } | SendOutcome::Unclear { .. } | SendOutcome::Permanent { .. } => {
                AlarmResult::Retry
            }
        }
    }

    fn belongs_to(&self, receipt: &Receipt, owner: &OwnedUniqueName) -> bool {
        self.bus.as_ref().is_some_and(|bus| bus.belongs_to(receipt, owner))
    }

    fn close_reason(&mut self, receipt: &Receipt) -> Option<CloseReason> {
        self.bus.as_mut()?.close_reason(receipt)
    }

    /// Returns the owner of the server's name, if there is one. Cancelling drops the connection.
    async fn owner(&mut self) -> Result<Option<OwnedUniqueName>, String> {
        if let Some(bus) = self.bus.take() {
            match bus.owner().await {
                Err(error) if is_disconnected(&error) => {}
                found => {
                    self.bus = Some(bus);
                    return found.map_err(|error| no_server(&error));
                }
            }
        }
        let bus = self.connect().await?;
        let found = bus.owner().await.map_err(|error| no_server(&error));
        self.bus = Some(bus);
        found
    }

    /// Returns the connection and the server on it. Cancelling drops the connection.
    async fn find_server(&mut self) -> Result<(Connection, NotificationServer), String> {
        if let Some(mut bus) = self.bus.take() {
            match bus.server().await {
                // The session has ended. There may be a new one.
                Err(error) if is_disconnected(&error) => {}
                found => return self.keep(bus, found),
            }
        }
        let mut bus = self.connect().await?;
        let found = bus.server().await;
        self.keep(bus, found)
    }

    /// Keeps the connection unless it has ended.
    fn keep(
        &mut self,
        bus: BusConnection,
        found: Result<NotificationServer, zbus::Error>,
    ) -> Result<(Connection, NotificationServer), String> {
        let connection = bus.connection.clone();
        if !found.as_ref().is_err_and(is_disconnected) {
            self.bus = Some(bus);
        }
        found.map(|server| (connection, server)).map_err(|error| no_server(&error))
    }

    /// Connects to the first address that works.
    async fn connect(&self) -> Result<BusConnection, String> {
        let mut detail =
            "the address of the desktop session bus is invalid; check DBUS_SESSION_BUS_ADDRESS".to_owned();
        for address in self.addresses() {
            match BusConnection::connect(&address, Arc::clone(&self.wake)).await {
                Ok(bus) => return Ok(bus),
                Err(zbus::Error::Address(_)) => {}
                Err(error) => detail = no_bus(&error),
            }
        }
        Err(detail)
    }

    fn addresses(&self) -> Vec<String> {
        if let Some(address) = &self.address {
            return address::split(address);
        }
        let variable = |name| std::env::var(name).ok();
        let (addresses, directory) = (variable("DBUS_SESSION_BUS_ADDRESS"), variable("XDG_RUNTIME_DIR"));
        let uid = rustix::process::geteuid().as_raw();
        address::session(addresses.as_deref(), directory.as_deref(), uid)
    }
}

impl Transport for Desktop {
    /// Shows one bubble. Times out after 20 s, or a few seconds later if copies have to be closed.
    async fn send(&mut self, notice: &Notice) -> SendOutcome {
        let outcome = self.try_send(notice).await;
        // The pending call may return the id of a late copy, which must then stay.
        if !self.calls.is_pending(&notice.key) {
            self.close_late().await;
        }
        outcome
    }

    /// Returns true if a notification server replies. Times out after 10 s.
    async fn is_reachable(&mut self) -> bool {
        let probed = async {
            let (_, server) = self.find_server().await.ok()?;
            self.probe(&server.owner).await
        };
        matches!(timeout(SEND_TIMEOUT, probed).await, Ok(Some(_)))
    }

    /// Applies `action` to an alarm that was delivered with this receipt. Starts no server. Times out after
    /// 20 s.
    async fn sync_alarm(&mut self, alarm: &Notice, receipt: &str, action: AlarmAction) -> AlarmResult {
        let Some(receipt) = Receipt::parse(receipt) else { return AlarmResult::Gone };
        let Ok(Ok(owner)) = timeout(SEND_TIMEOUT, self.owner()).await else { return AlarmResult::Retry };
        if self.close_reason(&receipt) == Some(CloseReason::Dismissed) {
            return AlarmResult::Gone;
        }
        let Some(bus) = &self.bus else { return AlarmResult::Retry };
        let current = owner.as_ref().filter(|owner| bus.belongs_to(&receipt, owner));
        let closed = AlarmResult::Changed { receipt: receipt.closed_text() };
        match (current, action) {
            (Some(owner), AlarmAction::Close) if bus.close(owner, receipt.id).await => closed,
            (Some(_), AlarmAction::Close) => AlarmResult::Retry,
            (Some(_), AlarmAction::Leave | AlarmAction::Show) => AlarmResult::Unchanged,
            (None, AlarmAction::Close) => closed,
            (None, AlarmAction::Leave) => AlarmResult::Unchanged,
            (None, AlarmAction::Show) => match owner {
                Some(owner) => self.show_again(alarm, &owner).await,
                None => AlarmResult::Retry,
            },
        }
    }

    /// Waits until another server has taken over, or the user has dismissed a bubble. Cancel-safe.
    async fn until_screen_changes(&self) {
        self.wake.notified().await;
    }

    fn can_reuse(&self, older: &Desktop) -> bool {
        self.urgency == older.urgency && self.address == older.address
    }

    fn syncs_alarms(&self) -> bool {
        true
    }
}
