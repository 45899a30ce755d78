//! Warns about files with secrets that every user can read.
//!
//! Changes no permissions. Such a file is used nevertheless, because a missing notice is worse.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::{Config, show};
use crate::secret::HIDDEN;

impl Config {
    /// Logs a warning if the file holds secrets and every user can read it.
    pub fn warn_if_open(&self) {
        let Some(path) = &self.source else { return };
        let secret = format!("{HIDDEN:?}");
        let holds_secrets = show::settings(self).to_string().contains(&secret);
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
