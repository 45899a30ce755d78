//! What only the running daemon knows (the last look, the next one), over a Unix socket.
//!
//! A quiet look writes nothing to disk, so it cannot stand in the database. Whoever connects gets
//! one line of JSON and makes the daemon look into its outbox; nothing is read from them.

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
const MAX_ANSWER_BYTES: u64 = 64 * 1024;
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// What the daemon is doing. Times are UTC.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct DaemonStatus {
    pub pid: u32,
    pub version: String,
    pub started_at: Timestamp,
    /// `None` before the first look.
    pub polled_at: Option<Timestamp>,
    /// The last look that read a valid document.
    pub sighted_at: Option<Timestamp>,
    pub next_poll_at: Option<Timestamp>,
    /// Why the last look showed nothing or could not be written, for people.
    pub trouble: Option<String>,
    /// Since the start.
    pub looks: u64,
    /// Copies older than one seen before, since the start.
    pub stale_polls: u64,
    /// When each phone was last read, by the name under which the database remembers it.
    #[serde(default)]
    pub phones_seen: BTreeMap<String, Timestamp>,
    /// When the configuration that it works with was read.
    #[serde(default)]
    pub configured_at: Option<Timestamp>,
    /// Why a newer configuration was refused.
    #[serde(default)]
    pub refused: Option<String>,
}

impl DaemonStatus {
    /// Before the first look.
    pub fn starting(now: Timestamp) -> DaemonStatus {
        DaemonStatus {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: now,
            polled_at: None,
            sighted_at: None,
            next_poll_at: None,
            trouble: None,
            looks: 0,
            stale_polls: 0,
            phones_seen: BTreeMap::new(),
            configured_at: Some(now),
            refused: None,
        }
    }
}

/// Answers whoever connects.
pub struct StatusSocket {
    listener: UnixListener,
}

impl StatusSocket {
    /// Must be called within the runtime, by the holder of the directory's lock: what lies there
    /// from another run is swept away.
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

    /// Serves one client with what `live` says by then. May be dropped at any point.
    pub async fn serve(&self, live: impl Fn() -> DaemonStatus) -> io::Result<()> {
        let (client, _) = self.listener.accept().await?;
        let answer = serde_json::to_vec(&live())?;
        // It fits the socket's buffer; a client that does not read is no reason to wait.
        match client.writable().await.and_then(|()| client.try_write(&answer)) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

/// Removes the socket at a stop.
pub fn close(directory: &Path) {
    // A socket that stays behind says "not running" just as well.
    let _ = std::fs::remove_file(directory.join(SOCKET));
}

/// Asks the daemon of a state directory; `None` if none answers.
pub fn ask(directory: &Path) -> Option<DaemonStatus> {
    let client = UnixStream::connect(directory.join(SOCKET)).ok()?;
    client.set_read_timeout(Some(ANSWER_WITHIN)).ok()?;
    let mut answer = Vec::new();
    client.take(MAX_ANSWER_BYTES).read_to_end(&mut answer).ok()?;
    serde_json::from_slice(&answer).ok()
}
