//! The desktop of Linux and the BSDs: the Desktop Notifications Specification 1.2 over D-Bus.
//!
//! The message is `notify-rust`'s, the connection is ours. `Notification::show` opens a new
//! connection for every message, gives no way to ask who answered, and its handle can only
//! update a message that this very process has shown; a daemon that outlives desktop sessions
//! and is restarted between a start and its end needs one connection, and receipts.
//!
//! It listens to no signal: what becomes of a bubble is the person's business. Invariant: a
//! bubble is only ever replaced on the run of the server that showed it.

use std::collections::HashMap;

use notify_rust::{Hint, Notification};
use serde::Serialize;
use tokio::time::{Instant, timeout, timeout_at};
use zbus::names::OwnedUniqueName;
use zbus::{Connection, DynamicType, Message, Variant, connection, fdo};

use super::super::{Answer, Notice};
use super::{APP_NAME, SEND_WITHIN, bubble, not_reached};
use crate::model::Tone;
use crate::text;

/// Both the name and the interface.
const NOTIFICATIONS: &str = "org.freedesktop.Notifications";
const NOTIFICATIONS_PATH: &str = "/org/freedesktop/Notifications";
/// Both the name and the interface of the bus itself.
const BUS: &str = "org.freedesktop.DBus";
const BUS_PATH: &str = "/org/freedesktop/DBus";
const IS_THERE_A_DESKTOP: &str =
    "is anybody logged in? on a machine without a desktop, switch this channel off";
/// Characters of somebody else's error that are shown.
const REASON_MAX: usize = 200;

/// The desktop of the session that statusd belongs to.
///
/// Its connection is read by a task of the tokio runtime that first sends, so it must go on
/// sending from that one.
#[derive(Debug, Default)]
pub struct Desktop {
    /// A D-Bus address instead of the session's own.
    address: Option<String>,
    link: Option<Link>,
}

/// The one connection, for as long as the bus lives.
#[derive(Debug)]
struct Link {
    connection: Connection,
    server: Option<Server>,
}

/// The program that shows messages, as asked when it was first met.
#[derive(Clone, Debug)]
struct Server {
    /// Unique on the bus, never given twice: another run of the program has another one.
    owner: OwnedUniqueName,
    /// Whether it reads the body as markup.
    markup: bool,
}

pub(super) fn add_hints(bubble: &mut Notification, tone: Tone) {
    let (urgency, category) = match tone {
        Tone::Alarm => (notify_rust::Urgency::Critical, "network.error"),
        Tone::Relief | Tone::Neutral => (notify_rust::Urgency::Normal, "network"),
    };
    bubble
        .urgency(urgency)
        .hint(Hint::Category(category.to_owned()))
        .hint(Hint::DesktopEntry(APP_NAME.to_owned()));
}

impl Desktop {
    /// On the session bus, found through `DBUS_SESSION_BUS_ADDRESS` or `XDG_RUNTIME_DIR` when
    /// the first message is sent, so that statusd may start before the desktop does.
    pub fn new() -> Desktop {
        Desktop::default()
    }

    /// On the bus at this D-Bus address.
    pub fn at(address: &str) -> Desktop {
        Desktop { address: Some(address.to_owned()), link: None }
    }

    /// One bubble, within 10 s.
    pub async fn send(&mut self, notice: &Notice) -> Answer {
        let deadline = Instant::now() + SEND_WITHIN;
        let (connection, server) = match timeout_at(deadline, self.reach()).await {
            Ok(Ok(reached)) => reached,
            Ok(Err(words)) => return not_reached(words),
            Err(_elapsed) => {
                // `reach` has dropped the connection, so the next try has a fresh one.
                return not_reached("the desktop session does not answer; log out and in if this goes on");
            }
        };
        match timeout_at(deadline, notify(&connection, &server, notice)).await {
            Ok(Ok(id)) => Answer::Delivered {
                receipt: Receipt::of(&connection, &server, id).map(|receipt| receipt.to_text()),
                words: "shown on the desktop".to_owned(),
            },
            Ok(Err(error)) => refused(&error),
            Err(_elapsed) => Answer::Retry {
                after_s: None,
                reached: true,
                words: "the desktop took the message and has not confirmed it".to_owned(),
            },
        }
    }

    /// Whether anything would show a bubble, within 10 s.
    pub async fn is_there(&mut self) -> bool {
        matches!(timeout(SEND_WITHIN, self.reach()).await, Ok(Ok(_)))
    }

    /// The connection and who shows messages on it. Dropped half way, the connection goes.
    async fn reach(&mut self) -> Result<(Connection, Server), String> {
        if let Some(mut link) = self.link.take() {
            match link.server().await {
                // The session has ended; perhaps there is a new one.
                Err(error) if is_broken(&error) => {}
                found => return self.keep(link, found),
            }
        }
        let mut link = self.connect().await?;
        let found = link.server().await;
        self.keep(link, found)
    }

    fn keep(
        &mut self,
        link: Link,
        found: Result<Server, zbus::Error>,
    ) -> Result<(Connection, Server), String> {
        let connection = link.connection.clone();
        if !found.as_ref().is_err_and(is_broken) {
            self.link = Some(link);
        }
        found.map(|server| (connection, server)).map_err(|error| no_server(&error))
    }

    async fn connect(&self) -> Result<Link, String> {
        let builder = match &self.address {
            Some(address) => connection::Builder::address(address.as_str()),
            None => connection::Builder::session(),
        };
        let connection = builder.build().await.map_err(|error| match error {
            zbus::Error::Address(_) => {
                "the address of the desktop session bus cannot be used; check DBUS_SESSION_BUS_ADDRESS"
                    .to_owned()
            }
            error => {
                let reason = text::plain_line(&error.to_string(), REASON_MAX);
                format!("no desktop session bus ({IS_THERE_A_DESKTOP}): {reason}")
            }
        })?;
        Ok(Link { connection, server: None })
    }
}

impl Link {
    /// Who shows messages now; started by the bus where it knows how to. Asks the same one for
    /// its abilities only once.
    async fn server(&mut self) -> Result<Server, zbus::Error> {
        let owner = match self.owner().await {
            Err(error) if is_nobody(&error) => {
                self.ask_bus("StartServiceByName", &(NOTIFICATIONS, 0_u32)).await?;
                self.owner().await?
            }
            found => found?,
        };
        if let Some(known) = &self.server
            && known.owner == owner
        {
            return Ok(known.clone());
        }
        let abilities: Vec<String> =
            call(&self.connection, &owner, "GetCapabilities", &()).await?.body().deserialize()?;
        let markup = abilities.iter().any(|ability| ability == "body-markup");
        Ok(self.server.insert(Server { owner, markup }).clone())
    }

    async fn owner(&self) -> Result<OwnedUniqueName, zbus::Error> {
        self.ask_bus("GetNameOwner", &NOTIFICATIONS).await?.body().deserialize()
    }

    async fn ask_bus<B>(&self, method: &str, body: &B) -> Result<Message, zbus::Error>
    where
        B: Serialize + DynamicType,
    {
        self.connection.call_method(Some(BUS), BUS_PATH, Some(BUS), method, body).await
    }
}

/// To the server met, not to its name: an id means something to that one only.
async fn call<B>(
    connection: &Connection,
    server: &OwnedUniqueName,
    method: &str,
    body: &B,
) -> Result<Message, zbus::Error>
where
    B: Serialize + DynamicType,
{
    connection.call_method(Some(server.as_str()), NOTIFICATIONS_PATH, Some(NOTIFICATIONS), method, body).await
}

async fn notify(connection: &Connection, server: &Server, notice: &Notice) -> Result<u32, zbus::Error> {
    let replaces = notice.replaces.as_deref().and_then(Receipt::parse);
    let replaces = replaces.filter(|receipt| {
        Receipt::of(connection, server, receipt.id).is_some_and(|current| current == *receipt)
    });
    let bubble = bubble(notice, server.markup);
    let hints: HashMap<&str, Variant<'_>> = bubble.hints.iter().map(Into::into).collect();
    let body = (
        &bubble.appname,
        // 0: a new bubble.
        replaces.map_or(0, |receipt| receipt.id),
        &bubble.icon,
        &bubble.summary,
        &bubble.body,
        &bubble.actions,
        hints,
        i32::from(bubble.timeout),
    );
    call(connection, &server.owner, "Notify", &body).await?.body().deserialize()
}

/// Which bubble, of which run of the server, on which run of the bus. Bubbles are counted
/// from 1 by every server and servers from 1 by every bus, so the bare number could one day
/// overwrite another program's message.
#[derive(Debug, PartialEq, Eq)]
struct Receipt {
    id: u32,
    owner: String,
    bus: String,
}

impl Receipt {
    /// Nothing for id 0, which the specification forbids and which would mean "new".
    fn of(connection: &Connection, server: &Server, id: u32) -> Option<Receipt> {
        let (owner, bus) = (server.owner.to_string(), connection.server_guid().to_string());
        (id != 0).then_some(Receipt { id, owner, bus })
    }

    /// `<bubble>@<server>@<bus>`
    fn to_text(&self) -> String {
        format!("{}@{}@{}", self.id, self.owner, self.bus)
    }

    /// Nothing where it is not ours: the message is then shown as a new one.
    fn parse(text: &str) -> Option<Receipt> {
        let mut parts = text.splitn(3, '@');
        let id = parts.next()?.parse().ok()?;
        Some(Receipt { id, owner: parts.next()?.to_owned(), bus: parts.next()?.to_owned() })
    }
}

/// Whether the connection itself is at its end.
fn is_broken(error: &zbus::Error) -> bool {
    matches!(error, zbus::Error::InputOutput(_))
}

/// Whether the bus says that the name belongs to nobody.
fn is_nobody(error: &zbus::Error) -> bool {
    match error {
        zbus::Error::FDO(error) => {
            matches!(**error, fdo::Error::NameHasNoOwner(_) | fdo::Error::ServiceUnknown(_))
        }
        _ => false,
    }
}

fn no_server(error: &zbus::Error) -> String {
    if is_broken(error) {
        return format!("the desktop session has ended ({IS_THERE_A_DESKTOP})");
    }
    if is_nobody(error) {
        return "nothing in this desktop session shows notifications; install a notification server"
            .to_owned();
    }
    let reason = text::plain_line(&error.to_string(), REASON_MAX);
    format!("the desktop's notification server does not work: {reason}")
}

/// `Notify` came back with an error.
fn refused(error: &zbus::Error) -> Answer {
    if is_nobody(error) {
        return not_reached("the desktop's notification server has just gone");
    }
    let reason = text::plain_line(&error.to_string(), REASON_MAX);
    // Also where the connection broke: the message may have gone through before.
    Answer::Retry { after_s: None, reached: true, words: format!("the desktop did not take it: {reason}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_reads_back() {
        let receipt = Receipt { id: 7, owner: ":1.42".to_owned(), bus: "0123abcd".to_owned() };
        assert_eq!(receipt.to_text(), "7@:1.42@0123abcd");
        assert_eq!(Receipt::parse(&receipt.to_text()), Some(receipt));
        for foreign in ["", "7", "7@:1.42", "x@:1.42@0123", "-1@:1.42@0123", "4294967296@:1.42@0123"] {
            assert_eq!(Receipt::parse(foreign), None, "{foreign}");
        }
    }
}
