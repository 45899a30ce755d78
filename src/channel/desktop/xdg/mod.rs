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
use zbus::names::OwnedUniqueName;
use zbus::{Connection, DBusError as _};

use super::super::outcome::{Fate, Notice, SendOutcome, Wish};
use super::super::transport::Transport;
use super::{APP_NAME, Abilities, SEND_WITHIN, Urgency, bubble, not_reached};
use crate::cause::Cause as _;
use crate::model::Severity;
use crate::text;

mod address;
mod calls;
mod link;
mod receipt;

use calls::{CallReply, Calls, notify};
use link::{BusConnection, NotificationServer, Reason, is_answer, is_broken, is_nobody};
use receipt::Receipt;

/// The name and the interface.
const NOTIFICATIONS: &str = "org.freedesktop.Notifications";
const NOTIFICATIONS_PATH: &str = "/org/freedesktop/Notifications";
const IS_THERE_A_DESKTOP: &str =
    "is anybody logged in? on a machine without a desktop, switch this channel off";
/// Characters of somebody else's error that are shown.
const REASON_MAX: usize = 200;
/// For the reply to an earlier try, from a server that answers other calls.
const LATE_REPLY_WITHIN: Duration = Duration::from_secs(3);
/// A server that ends whenever it shows an alarm is not driven round in circles by it.
const SHOW_AGAIN_EVERY: Duration = Duration::from_secs(600);
/// The name of a server that takes a critical bubble from the screen at once when a calmer one
/// replaces it, and marks it as seen. So the end of an alarm is shown there as a new bubble.
const GNOME_SHELL: &str = "gnome-shell";
const SILENT_SERVER: &str = "the desktop's notification server does not answer";
/// Bubbles that were shown last, not to be taken for late copies.
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
    link: Option<BusConnection>,
    calls: Calls,
    shown: VecDeque<Receipt>,
    /// Bubbles of abandoned calls, to be closed.
    late: Vec<(OwnedUniqueName, u32)>,
    /// Alarms that were shown again lately, by the keys of their messages.
    again: HashMap<String, (Receipt, Instant)>,
    wake: Arc<Notify>,
}

pub(super) fn add_hints(
    bubble: &mut Notification,
    severity: Severity,
    urgency: Urgency,
    abilities: Abilities,
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
    if severity == Severity::Alert && abilities.sound {
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

    /// The same with alarms of this urgency.
    pub fn with(self, urgency: Urgency) -> Desktop {
        Desktop { urgency, ..self }
    }

    async fn try_to_send(&mut self, notice: &Notice) -> SendOutcome {
        let deadline = Instant::now() + SEND_WITHIN;
        let (connection, server) = match timeout_at(deadline, self.reach()).await {
            Ok(Ok(reached)) => reached,
            Ok(Err(words)) => return not_reached(words),
            Err(_elapsed) => {
                // `reach` has dropped the connection, so the next try has a fresh one.
                return not_reached("the desktop session does not answer; log out and in if this goes on");
            }
        };
        self.calls.retain(&server.owner);
        self.calls.abandon_others(&notice.key);
        let name = match self.may_send(&notice.key, &server.owner).await {
            Ok(name) => name,
            Err(answer) => return answer,
        };
        let replaces = notice.replaces.as_deref().and_then(Receipt::parse);
        let replaces = replaces.filter(|receipt| self.is_of(receipt, &server.owner));
        let is_on_screen = replaces.as_ref().is_some_and(|receipt| self.closed(receipt).is_none());
        let was_closed = notice.replaces.as_deref().is_some_and(receipt::is_closed);
        let bubble = bubble(notice, server.abilities, self.urgency, is_on_screen || was_closed);
        let mut id = replaces.map_or(0, |receipt| receipt.id);
        if id != 0
            && name == GNOME_SHELL
            && self.urgency == Urgency::Critical
            && notice.severity != Severity::Alert
        {
            match &self.link {
                Some(link) if link.close(&server.owner, id).await => id = 0,
                _ => return not_reached(SILENT_SERVER),
            }
        }
        let owner = server.owner.clone();
        self.calls.start(&notice.key, server.owner, notify(connection, owner, bubble, id));
        match self.reply(deadline).await {
            Some(reply) => self.answer(reply),
            None => unconfirmed(),
        }
    }

    /// Whether the message may be sent: an earlier try has not shown it, and the server is alive. A
    /// server that hangs shows every copy once it goes on, and some never say by which number.
    /// Returns the server's name.
    async fn may_send(&mut self, key: &str, owner: &OwnedUniqueName) -> Result<String, SendOutcome> {
        if let Some(reply) = self.reply(Instant::now()).await {
            return Err(self.answer(reply));
        }
        let is_repeat = self.calls.waits_for(key);
        let Some(name) = self.probe(owner).await else {
            return Err(if is_repeat { unconfirmed() } else { not_reached(SILENT_SERVER) });
        };
        if !is_repeat {
            return Ok(name);
        }
        if let Some(reply) = self.reply(Instant::now() + LATE_REPLY_WITHIN).await {
            return Err(self.answer(reply));
        }
        if self.calls.may_repeat(key) { Ok(name) } else { Err(unconfirmed()) }
    }

    /// Returns the server's name if it replies.
    async fn probe(&self, owner: &OwnedUniqueName) -> Option<String> {
        self.link.as_ref()?.probe(owner).await
    }

    /// The next reply to a call for the message that is sent now.
    async fn reply(&mut self, until: Instant) -> Option<CallReply> {
        loop {
            let reply = timeout_at(until, self.calls.next()).await.ok()?;
            match reply.result {
                _ if !reply.is_abandoned => return Some(reply),
                Ok(id) => self.late.push((reply.owner, id)),
                Err(_) => {}
            }
        }
    }

    /// Closes late copies.
    async fn close_late(&mut self) {
        let Some(link) = &self.link else { return };
        for (owner, id) in std::mem::take(&mut self.late) {
            let receipt = link.receipt(&owner, id);
            if receipt.is_some_and(|receipt| !self.shown.contains(&receipt)) {
                link.close(&owner, id).await;
            }
        }
    }

    fn answer(&mut self, reply: CallReply) -> SendOutcome {
        let id = match reply.result {
            Ok(id) => id,
            Err(error) => return refused(&error),
        };
        // Later copies are superfluous.
        self.calls.abandon_all();
        let receipt = self.link.as_ref().and_then(|link| link.receipt(&reply.owner, id));
        if let Some((receipt, link)) = receipt.as_ref().zip(self.link.as_mut()) {
            link.shows(receipt);
            self.shown.truncate(MAX_SHOWN - 1);
            self.shown.push_front(receipt.clone());
        }
        let words = "shown on the desktop".to_owned();
        SendOutcome::Delivered { receipt: receipt.map(|receipt| receipt.to_text()), words }
    }

    /// Shows an alarm whose server is gone to the one that is there now.
    async fn show_again(&mut self, alarm: &Notice, owner: &OwnedUniqueName) -> Fate {
        // Another message than the first: that one was confirmed.
        let key = format!("{}/again", alarm.key);
        if let Some((receipt, at)) = self.again.get(&alarm.key) {
            if self.is_of(receipt, owner) {
                return Fate::Changed { receipt: receipt.to_text() };
            }
            if at.elapsed() < SHOW_AGAIN_EVERY {
                return Fate::Unknown;
            }
        }
        self.calls.retain(owner);
        if !self.calls.is_empty() && !self.calls.waits_for(&key) {
            return Fate::Unknown;
        }
        match self.send(&Notice { key, replaces: None, ..alarm.clone() }).await {
            SendOutcome::Delivered { receipt: Some(receipt), .. } => {
                self.again.retain(|_, (_, at)| at.elapsed() < SHOW_AGAIN_EVERY);
                let shown = Receipt::parse(&receipt).map(|receipt| (receipt, Instant::now()));
                self.again.extend(shown.map(|shown| (alarm.key.clone(), shown)));
                Fate::Changed { receipt }
            }
            SendOutcome::Delivered { receipt: None, .. } => Fate::Gone,
            SendOutcome::Transient { .. } | SendOutcome::Unclear { .. } | SendOutcome::Permanent { .. } => {
                Fate::Unknown
            }
        }
    }

    fn is_of(&self, receipt: &Receipt, owner: &OwnedUniqueName) -> bool {
        self.link.as_ref().is_some_and(|link| link.is_of(receipt, owner))
    }

    fn closed(&mut self, receipt: &Receipt) -> Option<Reason> {
        self.link.as_mut()?.closed(receipt)
    }

    /// Returns the owner of the server's name, if there is one. Cancelling drops the connection.
    async fn owner(&mut self) -> Result<Option<OwnedUniqueName>, String> {
        if let Some(link) = self.link.take() {
            match link.owner().await {
                Err(error) if is_broken(&error) => {}
                found => {
                    self.link = Some(link);
                    return found.map_err(|error| no_server(&error));
                }
            }
        }
        let link = self.connect().await?;
        let found = link.owner().await.map_err(|error| no_server(&error));
        self.link = Some(link);
        found
    }

    /// The connection and who shows messages on it. Dropped half way, the connection goes.
    async fn reach(&mut self) -> Result<(Connection, NotificationServer), String> {
        if let Some(mut link) = self.link.take() {
            match link.server().await {
                // The session has ended; perhaps there is a new one.
                Err(error) if is_broken(&error) => {}
                found => return self.keep(link, found),
            }
        }
    /// Keeps the connection unless it has ended.
    /// Keeps the connection unless it has ended.
        let mut link = self.connect().await?;
        let found = link.server().await;
        self.keep(link, found)
    }

    fn keep(
        &mut self,
        link: BusConnection,
        found: Result<NotificationServer, zbus::Error>,
    ) -> Result<(Connection, NotificationServer), String> {
        let connection = link.connection.clone();
        if !found.as_ref().is_err_and(is_broken) {
            self.link = Some(link);
        }
        found.map(|server| (connection, server)).map_err(|error| no_server(&error))
    }

    /// Connects to the first address that works.
    async fn connect(&self) -> Result<BusConnection, String> {
        let mut words =
            "the address of the desktop session bus cannot be used; check DBUS_SESSION_BUS_ADDRESS"
                .to_owned();
        for address in self.addresses() {
            match BusConnection::connect(&address, Arc::clone(&self.wake)).await {
                Ok(link) => return Ok(link),
                Err(zbus::Error::Address(_)) => {}
                Err(error) => {
                    let reason = reason(&error);
                    words = format!("no desktop session bus ({IS_THERE_A_DESKTOP}): {reason}");
                }
            }
        }
        Err(words)
    }

    fn addresses(&self) -> Vec<String> {
        if let Some(address) = &self.address {
            return address::list(address);
        }
        let variable = |name| std::env::var(name).ok();
        let (listed, directory) = (variable("DBUS_SESSION_BUS_ADDRESS"), variable("XDG_RUNTIME_DIR"));
        let uid = rustix::process::geteuid().as_raw();
        address::session(listed.as_deref(), directory.as_deref(), uid)
    }
}

impl Transport for Desktop {
    /// Shows one bubble. Times out after 20 s, or a few seconds later if copies have to be closed.
    async fn send(&mut self, notice: &Notice) -> SendOutcome {
        let answer = self.try_to_send(notice).await;
        // A server may give the same number twice.
        if !self.calls.waits_for(&notice.key) {
            self.close_late().await;
        }
        answer
    }

    /// Returns true if a notification server replies. Times out after 10 s.
    async fn is_reachable(&mut self) -> bool {
        let probed = async {
            let (_, server) = self.reach().await.ok()?;
            self.probe(&server.owner).await
        };
        matches!(timeout(SEND_WITHIN, probed).await, Ok(Some(_)))
    }

    /// Makes the screen agree with `wish` about an alarm that was delivered with this receipt.
    /// Starts no server. Within 20 s.
    async fn keep_alarm(&mut self, alarm: &Notice, receipt: &str, wish: Wish) -> Fate {
        let Some(receipt) = Receipt::parse(receipt) else { return Fate::Gone };
        let Ok(Ok(owner)) = timeout(SEND_WITHIN, self.owner()).await else { return Fate::Unknown };
        if self.closed(&receipt) == Some(Reason::Dismissed) {
            return Fate::Gone;
        }
        let Some(link) = &self.link else { return Fate::Unknown };
        let here = owner.as_ref().filter(|owner| link.is_of(&receipt, owner));
        let closed = Fate::Changed { receipt: receipt.closed_text() };
        match (here, wish) {
            (Some(owner), Wish::Closed) if link.close(owner, receipt.id).await => closed,
            (Some(_), Wish::Closed) => Fate::Unknown,
            (Some(_), Wish::Left | Wish::OnScreen) => Fate::Same,
            (None, Wish::Closed) => closed,
            (None, Wish::Left) => Fate::Same,
            (None, Wish::OnScreen) => match owner {
                Some(owner) => self.show_again(alarm, &owner).await,
                None => Fate::Unknown,
            },
        }
    }

    /// Waits until another server has taken over, or the user has dismissed a bubble. Cancel-safe.
    async fn until_screen_changes(&self) {
        self.wake.notified().await;
    }

    /// Whether `older` was set up alike.
    fn continues(&self, older: &Desktop) -> bool {
        self.urgency == older.urgency && self.address == older.address
    }

    fn keeps_alarms(&self) -> bool {
        true
    }
}

fn unconfirmed() -> SendOutcome {
    let words = "the desktop took the message and has not confirmed it".to_owned();
    SendOutcome::Transient { after_s: None, reached: true, words }
}

/// The words of the desktop itself, where it sent some, or ours: those of the library are for programmers.
fn reason(error: &zbus::Error) -> String {
    let words = match error {
        zbus::Error::MethodError(_, Some(words), _) => words.clone(),
        zbus::Error::FDO(error) => error.description().unwrap_or("it answers with an error").to_owned(),
        zbus::Error::MethodError(_, None, _) => "it answers with an error".to_owned(),
        zbus::Error::InputOutput(error) => error.reason(),
        zbus::Error::Handshake(_) => "it did not let statusd in".to_owned(),
        _ => "its answer cannot be understood".to_owned(),
    };
    text::plain_line(&words, REASON_MAX)
}

fn no_server(error: &zbus::Error) -> String {
    if is_broken(error) {
        return format!("the desktop session has ended ({IS_THERE_A_DESKTOP})");
    }
    if is_nobody(error) {
        return "nothing in this desktop session shows notifications; install a notification server"
            .to_owned();
    }
    let reason = reason(error);
    format!("the desktop's notification server does not work: {reason}")
}

/// `Notify` came back with an error. Without an answer the message may have gone through before.
fn refused(error: &zbus::Error) -> SendOutcome {
    if is_nobody(error) {
        return not_reached("the desktop's notification server has just gone");
    }
    let reason = reason(error);
    let words = format!("the desktop did not take it: {reason}");
    SendOutcome::Transient { after_s: None, reached: !is_answer(error), words }
}
