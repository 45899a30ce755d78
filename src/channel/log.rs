//! The program's own log as a channel: one line for each change.
//!
//! Neither formats times nor writes files; `logging` does both. A notice is one line whatever text Apple
//! published (`a_notice_is_always_a_single_line`).

use std::cell::RefCell;
use std::io;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::outcome::{Notice, SendOutcome};
use super::settings::ReadSecret;
use super::transport::{AnyTransport, Table, Transport};
use crate::cause::Cause as _;
use crate::setting::SettingError;
use crate::text;

/// The target of the lines, for log filters.
pub const TARGET: &str = "statusd::change";
/// Texts from Apple have about 120 characters.
const LINE_MAX_CHARS: usize = 500;

/// `[channel.log]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Writes changes to the log. Default: true.
    pub enabled: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { enabled: true }
    }
}

impl Table for Settings {
    fn is_enabled(&self) -> bool {
        self.enabled
    }

    fn open(&self, _: ReadSecret) -> Result<AnyTransport, SettingError> {
        Ok(Log.into())
    }
}

thread_local! {
    /// Why a line of this thread could not be written. The writer runs inside the logging macro and
    /// cannot return an error.
    static WRITE_ERROR: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Records that the log's writer failed to write a line.
pub fn record_write_error(error: &io::Error) {
    WRITE_ERROR.set(Some(error.reason()));
}

/// A ready log channel. Writes through `tracing`.
#[derive(Debug)]
pub struct Log;

impl Log {
    /// Writes one line. Transient if neither the journal nor standard error accepts the line.
    fn write(&self, notice: &Notice) -> SendOutcome {
        let line = if notice.body.is_empty() {
            text::plain_line(&notice.title, LINE_MAX_CHARS)
        } else {
            text::plain_line(&format!("{}: {}", notice.title, notice.body), LINE_MAX_CHARS)
        };
        let key = text::plain_line(&notice.key, LINE_MAX_CHARS);
        let change: Value = serde_json::from_str(&notice.payload).unwrap_or_default();
        let field = |name: &str| change[name].as_str().map(|value| text::plain_line(value, LINE_MAX_CHARS));
        let (service, kind) = (field("service"), field("kind"));
        WRITE_ERROR.take();
        tracing::info!(target: TARGET, key = %key, service, change = kind, "{line}");
        match WRITE_ERROR.take() {
            None => SendOutcome::Delivered { receipt: None, detail: "written to the log".to_owned() },
            Some(error) => {
                let detail = format!("cannot write to the log: {error}; check where standard error goes");
                SendOutcome::Transient { after_s: None, reached: false, detail }
            }
        }
    }
}

impl Transport for Log {
    async fn send(&mut self, notice: &Notice) -> SendOutcome {
        self.write(notice)
    }
}

#[cfg(test)]
pub mod tests {
    use std::io::{self, Write};
    use std::sync::mpsc::{Sender, channel};

    use super::*;
    use crate::model::Severity;

    /// Sends every line that the subscriber writes to a channel.
    struct Lines(Sender<String>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(String::from_utf8_lossy(bytes).into_owned()).expect("the test listens");
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Runs `run` and returns the lines it logs at `info` and above, and its result.
    pub fn captured<T>(shows_target: bool, run: impl FnOnce() -> T) -> (String, T) {
        let (lines, written) = channel();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_target(shows_target)
            .without_time()
            .with_writer(move || Lines(lines.clone()))
            .finish();
        let result = tracing::subscriber::with_default(subscriber, run);
        (written.try_iter().collect(), result)
    }

    fn logged(title: &str, body: &str) -> String {
        let notice = Notice {
            key: "consumer/en_US/icloud%20backup/1/1/began".to_owned(),
            title: title.to_owned(),
            body: body.to_owned(),
            severity: Severity::Alert,
            payload: r#"{"version":1,"service":"iCloud Backup","kind":"began"}"#.to_owned(),
            replaces: None,
            follows: None,
        };
        let (lines, outcome) = captured(true, || Log.write(&notice));
        assert!(matches!(outcome, SendOutcome::Delivered { receipt: None, .. }), "{outcome:?}");
        lines
    }

    #[test]
    fn a_change_is_one_line_with_its_key() {
        assert_eq!(
            logged("iCloud Backup is down", "Since 02:10.\nSome users are affected."),
            " INFO statusd::change: iCloud Backup is down: Since 02:10. Some users are affected. \
             key=consumer/en_US/icloud%20backup/1/1/began service=\"iCloud Backup\" change=\"began\"\n"
        );
        assert!(logged("Over", "").contains("change: Over key="));
    }

    #[test]
    fn a_notice_is_always_a_single_line() {
        let line = logged("down\n INFO statusd::change: up", "\u{1b}[2J\r\u{2028}x");
        assert_eq!(line.matches('\n').count(), 1, "{line:?}");
        assert!(!line.contains(['\u{1b}', '\r', '\u{2028}']), "{line:?}");
    }
}
