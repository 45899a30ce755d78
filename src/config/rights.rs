//! Who may read files that hold secrets.
//!
//! It changes no rights. A file that is open to others is used all the same, with a warning: a
//! notice that does not come is worse.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::Config;
use crate::channel::settings::HIDDEN;

impl Config {
    /// Warns in the log where the file holds secrets and everybody may read it.
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

/// Warns in the log where everybody may read the file. A group that may is on purpose: it is how
/// the user that runs statusd reads a file of root's.
pub(super) fn warn_if_open(path: &Path, metadata: &Metadata) {
    if metadata.is_file() && metadata.mode() & 0o004 != 0 {
        let path = path.display();
        tracing::warn!(%path, "every user on this machine can read a secret in {path}; run: chmod o-r {path}");
    }
}
