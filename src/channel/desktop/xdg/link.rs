//! The one connection to the session bus: who shows notifications, and what becomes of bubbles.
//!
//! It sends no message. Invariant: a server's abilities are asked for once, and every call goes to
//! the server that was met, never to its name, because a number means something to that one only.

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

use super::super::Abilities;
use super::receipt::Receipt;
use super::{NOTIFICATIONS, NOTIFICATIONS_PATH};

/// Both the name and the interface of the bus itself.
const BUS: &str = "org.freedesktop.DBus";
const BUS_PATH: &str = "/org/freedesktop/DBus";
/// `G_IO_ERROR_TIMED_OUT` as GLib sends it. GNOME's server passes calls on to the shell and says so
/// when that hangs for 25 s; the shell carries them out all the same once it goes on.
const TIMED_OUT_BEHIND: &str = "org.gtk.GDBus.UnmappedGError.Quark._g_2dio_2derror_2dquark.Code24";
/// For a call that a server answers without showing anything.
const PROBE_WITHIN: Duration = Duration::from_secs(5);
/// Of the list of what a server can do. Real ones have some 200.
const ABILITIES_MAX_BYTES: usize = 16 * 1024;
/// Bubbles of all programs that were closed and not looked at yet. What comes beyond that is lost:
/// such a bubble counts as being on the screen.
const MAX_CLOSED: usize = 1_024;

/// For as long as the bus lives.
#[derive(Debug)]
pub struct BusConnection {
    pub connection: Connection,
    server: Option<NotificationServer>,
    news: mpsc::Receiver<Closed>,
    /// The newest ones that were closed and not shown again since.
    closed: VecDeque<Closed>,
    /// Ends with the link.
    _listener: JoinSet<()>,
}

/// The program that shows messages, as asked when it was first met.
#[derive(Clone, Debug)]
pub struct NotificationServer {
    /// Unique on the bus, never given twice: another run of the program has another one.
    pub owner: OwnedUniqueName,
    pub abilities: Abilities,
}

/// Why a bubble is not on the screen any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// By the user.
    Dismissed,
    /// Its time was up, it was closed by a call, or the server does not say.
    Other,
}

#[derive(Clone, Debug)]
struct Closed {
    owner: String,
    id: u32,
    reason: Reason,
}

impl BusConnection {
    /// Connects. `wake` is told when another server shows messages, when the user dismisses a
    /// bubble, and when the bus goes.
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
        let (report, news) = mpsc::channel(MAX_CLOSED);
        let mut listener = JoinSet::new();
        listener.spawn(listen(owners, closings, report, wake));
        Ok(BusConnection { connection, server: None, news, closed: VecDeque::new(), _listener: listener })
    }

    /// The server that shows messages now; started by the bus where it knows how to.
    pub async fn server(&mut self) -> zbus::Result<NotificationServer> {
        let owner = match self.ask_owner().await {
            Err(error) if is_nobody(&error) => {
                self.ask_bus("StartServiceByName", &(NOTIFICATIONS, 0_u32)).await?;
                self.ask_owner().await?
            }
            found => found?,
        };
        if let Some(known) = &self.server
            && known.owner == owner
        {
            return Ok(known.clone());
        }
        let abilities = match call(&self.connection, &owner, "GetCapabilities", &()).await {
            Ok(answer) if answer.body().len() > ABILITIES_MAX_BYTES => Vec::new(),
            Ok(answer) => answer.body().deserialize::<Vec<String>>().unwrap_or_default(),
            // It says that it cannot tell. Plain text is shown by all.
            Err(error) if is_answer(&error) && !is_nobody(&error) => Vec::new(),
            Err(error) => return Err(error),
        };
        Ok(self.server.insert(NotificationServer { owner, abilities: Abilities::of(&abilities) }).clone())
    }

    /// The owner of the server's name, if there is one. Starts nothing.
    pub async fn owner(&self) -> zbus::Result<Option<OwnedUniqueName>> {
        match self.ask_owner().await {
            Err(error) if is_nobody(&error) => Ok(None),
            found => found.map(Some),
        }
    }

    /// The receipt of a bubble. `None` for number 0, which the specification forbids and which
    /// would mean "new".
    pub fn receipt(&self, owner: &OwnedUniqueName, id: u32) -> Option<Receipt> {
        let bus = self.connection.server_guid().to_string();
        (id != 0).then(|| Receipt { id, owner: owner.to_string(), bus })
    }

    /// Whether it is a bubble of this run of this server.
    pub fn is_of(&self, receipt: &Receipt, owner: &OwnedUniqueName) -> bool {
        self.receipt(owner, receipt.id).as_ref() == Some(receipt)
    }

    /// Why this bubble went, if we were told.
    pub fn closed(&mut self, receipt: &Receipt) -> Option<Reason> {
        while let Ok(closed) = self.news.try_recv() {
            self.closed.truncate(MAX_CLOSED - 1);
            self.closed.push_front(closed);
        }
        if receipt.bus != self.connection.server_guid().to_string() {
            return None;
        }
        let is_it = |closed: &&Closed| closed.id == receipt.id && closed.owner == receipt.owner;
        self.closed.iter().find(is_it).map(|closed| closed.reason)
    }

    /// A bubble of this number is to be shown: what was heard of an older one counts no more.
    pub fn shows(&mut self, receipt: &Receipt) {
        self.closed(receipt);
        self.closed.retain(|closed| closed.id != receipt.id || closed.owner != receipt.owner);
    }

    /// The server's name, empty where it does not say. `None`: it answers nothing. At most 5 s.
    pub async fn probe(&self, owner: &OwnedUniqueName) -> Option<String> {
        let asked = call(&self.connection, owner, "GetServerInformation", &());
        match timeout(PROBE_WITHIN, asked).await {
            Ok(Ok(answer)) => {
                let said = answer.body().deserialize::<(String, String, String, String)>();
                Some(said.map(|(name, ..)| name).unwrap_or_default())
            }
            Ok(Err(error)) => is_answer(&error).then(String::new),
            Err(_elapsed) => None,
        }
    }

    /// Takes a bubble from the screen; whether it is gone. At most 5 s.
    pub async fn close(&self, owner: &OwnedUniqueName, id: u32) -> bool {
        match timeout(PROBE_WITHIN, call(&self.connection, owner, "CloseNotification", &id)).await {
            Ok(Ok(_)) => true,
            // "If the notification no longer exists, an empty D-BUS Error message is sent back."
            Ok(Err(error)) => is_answer(&error),
            Err(_elapsed) => false,
        }
    }

    async fn ask_owner(&self) -> zbus::Result<OwnedUniqueName> {
        self.ask_bus("GetNameOwner", &NOTIFICATIONS).await?.body().deserialize()
    }

    async fn ask_bus<B>(&self, method: &str, body: &B) -> zbus::Result<Message>
    where
        B: Serialize + DynamicType,
    {
        self.connection.call_method(Some(BUS), BUS_PATH, Some(BUS), method, body).await
    }
}

/// Calls a method of this run of the server.
pub async fn call<B>(
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

/// Reads the signals as they come, so that the connection never waits for us.
async fn listen(
    mut owners: MessageStream,
    mut closings: MessageStream,
    report: mpsc::Sender<Closed>,
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
                let Some(closed) = message.ok().and_then(|message| Closed::parse(&message)) else { continue };
                let is_dismissed = closed.reason == Reason::Dismissed;
                // Full: nobody has looked for long.
                let _lost = report.try_send(closed);
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

impl Closed {
    /// From `NotificationClosed`: number and reason, 2 where the user dismissed it.
    fn parse(message: &Message) -> Option<Closed> {
        let owner = message.header().sender()?.to_string();
        let (id, reason): (u32, u32) = message.body().deserialize().ok()?;
        let reason = if reason == 2 { Reason::Dismissed } else { Reason::Other };
        Some(Closed { owner, id, reason })
    }
}

/// Whether the connection itself is at its end.
pub fn is_broken(error: &zbus::Error) -> bool {
    matches!(error, zbus::Error::InputOutput(_))
}

/// Whether the bus says that nobody has the name.
pub fn is_nobody(error: &zbus::Error) -> bool {
    match error {
        zbus::Error::FDO(error) => {
            matches!(**error, fdo::Error::NameHasNoOwner(_) | fdo::Error::ServiceUnknown(_))
        }
        _ => false,
    }
}

/// Whether somebody answered with an error. Otherwise no answer came, whatever was done.
pub fn is_answer(error: &zbus::Error) -> bool {
    match error {
        zbus::Error::MethodError(name, ..) => name.as_str() != TIMED_OUT_BEHIND,
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
