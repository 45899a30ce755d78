//! Sets up logging: readable lines on a terminal, fields in systemd's journal, JSON on request.
//!
//! Lines go to standard error, except those for the journal. If the journal cannot be reached, lines have a
//! priority prefix. Times are local with their offset, and UTC in JSON. Dependencies log at `warn` and
//! above.

mod journal;

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::path::Path;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt as lines};

use crate::channel::log::record_write_error;
use crate::clock;
use crate::config::{LogFormat, LogLevel};
use journal::{Journal, SOCKET};

/// Fields for filters. The message contains them already.
const ABOUT_A_CHANGE: [&str; 3] = ["service", "change", "channel"];

/// Starts logging. A second call has no effect. `is_journal`: standard error is the journal.
pub fn init(level: LogLevel, format: LogFormat, is_journal: bool, may_colour: bool, zone: TimeZone) {
    let ours = match level {
        LogLevel::Error => Level::ERROR,
        LogLevel::Warn => Level::WARN,
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Trace => Level::TRACE,
    };
    // The log channel is configured separately, so the level does not hide its lines.
    let changes = ours.max(Level::INFO);
    let targets = Targets::new()
        .with_default(Level::WARN)
        // statusd reports untrusted certificates itself.
        .with_target("rustls_platform_verifier", LevelFilter::OFF)
        .with_target("statusd", ours)
        .with_target(crate::channel::log::TARGET, changes);
    let layer = lines::layer().with_writer(|| StandardError);
    let layer = match format {
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
        LogFormat::Auto | LogFormat::Journal if is_journal => match Journal::at(Path::new(SOCKET)) {
            Ok(journal) => journal.boxed(),
            Err(_) => layer.event_format(Prefixed).boxed(),
        },
        LogFormat::Journal => layer.event_format(Prefixed).boxed(),
        LogFormat::Auto | LogFormat::Human => {
            let layer = layer.with_target(false).with_timer(Local(zone));
            layer.with_ansi(may_colour && io::stderr().is_terminal()).boxed()
        }
    };
    // Fails on a second call, in a test or at a reload.
    let _ = tracing_subscriber::registry().with(layer.with_filter(targets)).try_init();
}

/// Formats times as `2026-05-05T14:05:20+02:00`, in the configured time zone.
struct Local(TimeZone);

impl Local {
    fn text(&self, time: Timestamp) -> String {
        time.to_zoned_datetime(self.0.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
    }
}

impl FormatTime for Local {
    fn format_time(&self, out: &mut Writer<'_>) -> fmt::Result {
        out.write_str(&self.text(clock::now()))
    }
}

/// Standard error. Reports a lost line to the log channel.
struct StandardError;

impl Write for StandardError {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // The whole line at once, because other programs may write to the same terminal.
        if let Err(error) = io::stderr().write_all(line) {
            record_write_error(&error);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Formats `<6>message key=value` with the priorities of sd-daemon(3). The journal adds the time.
struct Prefixed;

impl<S, N> FormatEvent<S, N> for Prefixed
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let priority = priority(*event.metadata().level());
        let mut line = Line::default();
        event.record(&mut line);
        writeln!(out, "<{priority}>{}{}", line.message, line.fields)
    }
}

/// Returns the priority of syslog(3).
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // After a line feed, a new line would have no priority.
        let text = format!("{value:?}").replace('\n', " ");
        if field.name() == "message" {
            self.message = text;
        } else if !ABOUT_A_CHANGE.contains(&field.name()) {
            self.fields.push_str(&format!(" {}={text}", field.name()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_local_with_its_offset() {
        #[track_caller]
        fn check(zone: &str, time: &str, expected: &str) {
            let zone = TimeZone::get(zone).expect("a zone");
            assert_eq!(Local(zone).text(time.parse().expect("a time")), expected);
        }
        check("Europe/Berlin", "2026-05-05T12:05:20.9Z", "2026-05-05T14:05:20+02:00");
        check("Europe/Berlin", "2026-12-31T23:30:00Z", "2027-01-01T00:30:00+01:00");
        check("America/St_Johns", "2026-01-05T12:05:20Z", "2026-01-05T08:35:20-03:30");
        check("UTC", "2026-05-05T12:05:20Z", "2026-05-05T12:05:20+00:00");
    }
}
