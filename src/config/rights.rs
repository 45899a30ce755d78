//! Warns about files with secrets that every user can read.
//!
//! Changes no permissions. Such a file is used nevertheless, because a missing notice is worse.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::Config;
use crate::channel::settings::HIDDEN;

impl Config {
    /// Logs a warning if the file holds secrets and every user can read it.
    pub fn warn_if_open(&self) {
        let Some(path) = &self.source else { return };
        let channels = self.channel.all();
        let settings = channels.iter().flat_map(|(_, table)| table.shown()).chain(self.heartbeat.shown());
        let holds_secrets =
            settings.filter_map(|(_, value)| value).any(|value| value.as_str() == Some(HIDDEN));
        if let (true, Ok(metadata)) = (holds_secrets, fs::metadata(path)) {
            warn_if_open(path, &metadata);
        }
    }
}

/// Logs a warning if every user can read the file. Group access is deliberate: through it the user
/// that runs statusd can read a file of root.
pub(super) fn warn_if_open(path: &Path, metadata: &Metadata) {
    if metadata.is_file() && metadata.mode() & 0o004 != 0 {
        let path = path.display();
        tracing::warn!(%path, "every user on this machine can read a secret in {path}; run: chmod o-r {path}");
    }
}
