//! The status of the running daemon (last poll, next poll), served over a Unix socket.
//!
//! The status is not in the database, because a poll without changes writes nothing to disk. Each
//! client gets one line of JSON, and its connection makes the daemon check its outbox. Nothing is read
//! from clients.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::net::UnixListener;

const SOCKET: &str = "statusd.sock";
const RESPONSE_MAX_BYTES: u64 = 64 * 1024;
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The current status of the daemon. Times are UTC.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct DaemonStatus {
    pub pid: u32,
    pub version: String,
    pub started_at: Timestamp,
    /// The time of the last poll. `None` before the first poll.
    pub polled_at: Option<Timestamp>,
    /// The time of the last poll that read a valid document.
    pub last_good_poll_at: Option<Timestamp>,
    pub next_poll_at: Option<Timestamp>,
    /// The reason why the last poll was unreadable or could not be written, as text for users.
    pub trouble: Option<String>,
    /// Polls since the start.
    pub polls: u64,
    /// Polls since the start that returned a stale copy.
    pub stale_polls: u64,
    /// The time at which each phone was last read, by its id in the database.
    #[serde(default)]
    pub phones_seen: BTreeMap<String, Timestamp>,
    /// The time at which the current configuration was loaded.
    #[serde(default)]
    pub configured_at: Option<Timestamp>,
    /// The reason why a newer configuration was refused.
    #[serde(default)]
    pub refused: Option<String>,
}

impl DaemonStatus {
    /// Returns the status before the first poll.
    pub fn starting(now: Timestamp) -> DaemonStatus {
        DaemonStatus {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: now,
            polled_at: None,
            last_good_poll_at: None,
            next_poll_at: None,
            trouble: None,
            polls: 0,
            stale_polls: 0,
            phones_seen: BTreeMap::new(),
            configured_at: Some(now),
            refused: None,
        }
    }
}

/// The server side of the socket.
pub struct StatusSocket {
    listener: UnixListener,
}

impl StatusSocket {
    /// Opens the socket. Call within the runtime and with the directory's lock held, because the socket of an
    /// earlier run is removed.
    pub fn open(directory: &Path) -> io::Result<StatusSocket> {
        let path = directory.join(SOCKET);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        Ok(StatusSocket { listener })
    }

    /// Writes the current status to one client. Cancel-safe.
    pub async fn serve(&self, status: impl Fn() -> DaemonStatus) -> io::Result<()> {
        let (client, _) = self.listener.accept().await?;
        let response = serde_json::to_vec(&status())?;
        // The status fits the socket's buffer, so a client that does not read causes no wait.
        match client.writable().await.and_then(|()| client.try_write(&response)) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

/// Removes the socket at a stop.
pub fn close(directory: &Path) {
    // A leftover socket also means "not running" to clients.
    let _ = std::fs::remove_file(directory.join(SOCKET));
}

/// Requests the status of the daemon of a state directory. `None` if no daemon responds.
pub fn ask(directory: &Path) -> Option<DaemonStatus> {
    let client = UnixStream::connect(directory.join(SOCKET)).ok()?;
    client.set_read_timeout(Some(RESPONSE_TIMEOUT)).ok()?;
    let mut response = Vec::new();
    client.take(RESPONSE_MAX_BYTES).read_to_end(&mut response).ok()?;
    serde_json::from_slice(&response).ok()
}
