//! The connection to the session bus: finds the notification server and tracks closed bubbles.
//!
//! Sends no notifications. Every call goes to the unique name of a server instance, because ids are valid
//! for that instance only. Capabilities are queried once per instance
//! (`desktop::reuses_one_connection_and_queries_capabilities_once`).

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;

use futures_core::Stream;
use serde::Serialize;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Duration, timeout};
use zbus::message::Type;
use zbus::names::OwnedUniqueName;
use zbus::{Connection, DynamicType, MatchRule, Message, MessageStream, connection, fdo};

use super::super::Capabilities;
use super::receipt::Receipt;
use super::{NOTIFICATIONS, NOTIFICATIONS_PATH};

/// The name and the interface of the bus itself.
const BUS: &str = "org.freedesktop.DBus";
const BUS_PATH: &str = "/org/freedesktop/DBus";
/// `G_IO_ERROR_TIMED_OUT` as GLib sends it. GNOME's server forwards calls to the shell and returns this
/// error if the shell hangs for 25 s. The shell carries out the call later.
const GLIB_TIMED_OUT: &str = "org.gtk.GDBus.UnmappedGError.Quark._g_2dio_2derror_2dquark.Code24";
/// For calls that show nothing.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Limits the list of capabilities. Real lists have about 200 bytes.
const CAPABILITIES_MAX_BYTES: usize = 16 * 1024;
/// Limits the unprocessed signals about closed bubbles of all programs. Bubbles of lost signals count as
/// still on the screen.
const MAX_CLOSED: usize = 1_024;

/// A connection to the session bus.
#[derive(Debug)]
pub struct BusConnection {
    pub connection: Connection,
    server: Option<NotificationServer>,
    signals: mpsc::Receiver<ClosedBubble>,
    /// The newest bubbles that were closed and not shown again since.
    closed: VecDeque<ClosedBubble>,
    /// Aborted on drop.
    _listener: JoinSet<()>,
}

/// An instance of the notification server.
#[derive(Clone, Debug)]
pub struct NotificationServer {
    /// The unique name on the bus, different for each instance.
    pub owner: OwnedUniqueName,
    pub capabilities: Capabilities,
}

/// The reason why a bubble was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// By the user.
    Dismissed,
    /// Expired, closed by a call, or unknown.
    Other,
}

#[derive(Clone, Debug)]
struct ClosedBubble {
    owner: String,
    id: u32,
    reason: CloseReason,
}

impl BusConnection {
    /// Connects. Notifies `wake` when another server takes over, when the user dismisses a bubble, and when
    /// the connection ends.
    pub async fn connect(address: &str, wake: Arc<Notify>) -> zbus::Result<BusConnection> {
        let connection = connection::Builder::address(address).build().await?;
        let owners = MatchRule::builder()
            .msg_type(Type::Signal)
            .sender(BUS)
            .interface(BUS)
            .member("NameOwnerChanged")
            .arg(0, NOTIFICATIONS)
            .build()?;
        let closings = MatchRule::builder()
            .msg_type(Type::Signal)
            .interface(NOTIFICATIONS)
            .member("NotificationClosed")
            .build()?;
        let owners = MessageStream::for_match_rule(owners, &connection, None).await?;
        let closings = MessageStream::for_match_rule(closings, &connection, None).await?;
        let (sender, signals) = mpsc::channel(MAX_CLOSED);
        let mut listener = JoinSet::new();
        listener.spawn(listen(owners, closings, sender, wake));
        Ok(BusConnection { connection, server: None, signals, closed: VecDeque::new(), _listener: listener })
    }

    /// Returns the current server. The bus starts one if it can.
    pub async fn server(&mut self) -> zbus::Result<NotificationServer> {
        let owner = match self.get_owner().await {
            Err(error) if has_no_owner(&error) => {
                self.call_bus("StartServiceByName", &(NOTIFICATIONS, 0_u32)).await?;
                self.get_owner().await?
            }
            found => found?,
        };
        if let Some(known) = &self.server
            && known.owner == owner
        {
            return Ok(known.clone());
        }
        let capabilities = match call_server(&self.connection, &owner, "GetCapabilities", &()).await {
            Ok(reply) if reply.body().len() > CAPABILITIES_MAX_BYTES => Vec::new(),
            Ok(reply) => reply.body().deserialize::<Vec<String>>().unwrap_or_default(),
            // Every server shows plain text.
            Err(error) if is_reply(&error) && !has_no_owner(&error) => Vec::new(),
            Err(error) => return Err(error),
        };
        let capabilities = Capabilities::from_names(&capabilities);
        Ok(self.server.insert(NotificationServer { owner, capabilities }).clone())
    }

    /// Returns the owner of the server's name, if there is one. Does not start a server.
    pub async fn owner(&self) -> zbus::Result<Option<OwnedUniqueName>> {
        match self.get_owner().await {
            Err(error) if has_no_owner(&error) => Ok(None),
            found => found.map(Some),
        }
    }

    /// Returns the receipt of a bubble. `None` for id 0, which the specification forbids and which would
    /// mean "new".
    pub fn receipt(&self, owner: &OwnedUniqueName, id: u32) -> Option<Receipt> {
        let bus = self.connection.server_guid().to_string();
        (id != 0).then(|| Receipt { id, owner: owner.to_string(), bus })
    }

    /// Returns true if the bubble belongs to this server instance.
    pub fn belongs_to(&self, receipt: &Receipt, owner: &OwnedUniqueName) -> bool {
        self.receipt(owner, receipt.id).as_ref() == Some(receipt)
    }

    /// Returns the reason why the bubble was closed, if the server has reported that.
    pub fn close_reason(&mut self, receipt: &Receipt) -> Option<CloseReason> {
        while let Ok(closed) = self.signals.try_recv() {
            self.closed.truncate(MAX_CLOSED - 1);
            self.closed.push_front(closed);
        }
        if receipt.bus != self.connection.server_guid().to_string() {
            return None;
        }
        let is_same = |closed: &&ClosedBubble| closed.id == receipt.id && closed.owner == receipt.owner;
        self.closed.iter().find(is_same).map(|closed| closed.reason)
    }

    /// Forgets an older bubble with the same id, because a new one is shown.
    pub fn forget_closed(&mut self, receipt: &Receipt) {
        self.close_reason(receipt);
        self.closed.retain(|closed| closed.id != receipt.id || closed.owner != receipt.owner);
    }

    /// Returns the server's name, empty if unknown. `None` if it does not reply. Times out after 5 s.
    pub async fn probe(&self, owner: &OwnedUniqueName) -> Option<String> {
        let call = call_server(&self.connection, owner, "GetServerInformation", &());
        match timeout(CALL_TIMEOUT, call).await {
            Ok(Ok(reply)) => {
                let information = reply.body().deserialize::<(String, String, String, String)>();
                Some(information.map(|(name, ..)| name).unwrap_or_default())
            }
            Ok(Err(error)) => is_reply(&error).then(String::new),
            Err(_elapsed) => None,
        }
    }

    /// Closes a bubble. Returns true if it is gone. Times out after 5 s.
    pub async fn close(&self, owner: &OwnedUniqueName, id: u32) -> bool {
        match timeout(CALL_TIMEOUT, call_server(&self.connection, owner, "CloseNotification", &id)).await {
            Ok(Ok(_)) => true,
            // "If the notification no longer exists, an empty D-BUS Error message is sent back."
            Ok(Err(error)) => is_reply(&error),
            Err(_elapsed) => false,
        }
    }

    async fn get_owner(&self) -> zbus::Result<OwnedUniqueName> {
        self.call_bus("GetNameOwner", &NOTIFICATIONS).await?.body().deserialize()
    }

    async fn call_bus<B>(&self, method: &str, body: &B) -> zbus::Result<Message>
    where
        B: Serialize + DynamicType,
    {
        self.connection.call_method(Some(BUS), BUS_PATH, Some(BUS), method, body).await
    }
}

/// Calls a method of a server instance.
pub async fn call_server<B>(
    connection: &Connection,
    server: &OwnedUniqueName,
    method: &str,
    body: &B,
) -> zbus::Result<Message>
where
    B: Serialize + DynamicType,
{
    connection.call_method(Some(server.as_str()), NOTIFICATIONS_PATH, Some(NOTIFICATIONS), method, body).await
}

/// Reads signals as they arrive, so that they never block the connection.
async fn listen(
    mut owners: MessageStream,
    mut closings: MessageStream,
    sender: mpsc::Sender<ClosedBubble>,
    wake: Arc<Notify>,
) {
    loop {
        tokio::select! {
            changed = next(&mut owners) => {
                wake.notify_one();
                if changed.is_none() {
                    return;
                }
            }
            message = next(&mut closings) => {
                let Some(message) = message else { return wake.notify_one() };
                let Some(closed) = message.ok().and_then(|message| ClosedBubble::parse(&message)) else { continue };
                let is_dismissed = closed.reason == CloseReason::Dismissed;
                // Full if the channel has been idle for long.
                let _full = sender.try_send(closed);
                if is_dismissed {
                    wake.notify_one();
                }
            }
        }
    }
}

async fn next(stream: &mut MessageStream) -> Option<zbus::Result<Message>> {
    std::future::poll_fn(|context| Pin::new(&mut *stream).poll_next(context)).await
}

impl ClosedBubble {
    /// Parses `NotificationClosed`. Reason 2 means dismissed by the user.
    fn parse(message: &Message) -> Option<ClosedBubble> {
        let owner = message.header().sender()?.to_string();
        let (id, reason): (u32, u32) = message.body().deserialize().ok()?;
        let reason = if reason == 2 { CloseReason::Dismissed } else { CloseReason::Other };
        Some(ClosedBubble { owner, id, reason })
    }
}

/// Returns true if the connection has ended.
pub fn is_disconnected(error: &zbus::Error) -> bool {
    matches!(error, zbus::Error::InputOutput(_))
}

/// Returns true if the bus reports that the name has no owner.
pub fn has_no_owner(error: &zbus::Error) -> bool {
    match error {
        zbus::Error::FDO(error) => {
            matches!(**error, fdo::Error::NameHasNoOwner(_) | fdo::Error::ServiceUnknown(_))
        }
        _ => false,
    }
}

/// Returns true if the error is a reply of the server. Without a reply, the call may have been carried out.
pub fn is_reply(error: &zbus::Error) -> bool {
    match error {
        zbus::Error::MethodError(name, ..) => name.as_str() != GLIB_TIMED_OUT,
        zbus::Error::FDO(error) => !matches!(
            **error,
            fdo::Error::ZBus(_)
                | fdo::Error::NoReply(_)
                | fdo::Error::Timeout(_)
                | fdo::Error::TimedOut(_)
                | fdo::Error::Disconnected(_)
                | fdo::Error::IOError(_)
        ),
        _ => false,
    }
}
