//! `statusd replay`: runs a recording through the real state machine and prints the changes.
//!
//! Reads no clock, and a configuration only with `--config`, so that the same recording and flags give
//! the same bytes.

use std::io::{self, BufWriter, Write};

use jiff::tz::TimeZone;

use crate::config::{self, Config, Overrides};
use crate::delivery::message::{RenderContext, line};
use crate::delivery::payload;
use crate::feed::recording::Recording;
use crate::model::Change;
use crate::text;
use crate::tracking::is_for;
use crate::tracking::poll_plan::Plan;
use crate::tracking::replay::{Summary, replay};
use crate::tracking::watchlist::Watchlist;

use crate::cli::args::ReplayArgs;
use crate::cli::context::{CommandError, Invocation, Output, output_error};
use crate::cli::phrases::printable;

pub fn run(args: &ReplayArgs, invocation: &Invocation) -> Result<Output, CommandError> {
    let config = settings(invocation)?;
    let watch = Watchlist::new(&config.watch);
    let jitter_s = invocation.overrides.jitter_s.map_or(0, |_| config.jitter_s);
    let plan = Plan { poll: config.poll.clone(), trouble: config.trouble.clone(), jitter_s };
    let failed = |error: anyhow::Error| CommandError::failed(format!("{error:#}"));
    let mut recording = Recording::open(args.file.clone()).map_err(failed)?;
    let mut out = BufWriter::new(io::stdout().lock());
    let mut printed = 0_u64;
    let mut print = |change: &Change| {
        if is_for(change, &watch) {
            printed += 1;
            writeln!(
                out,
                "{}",
                if args.json {
                    payload::replayed(change).to_string()
                } else {
                    text(change, &config.time_zone)
                }
            )?;
        }
        Ok(())
    };
    let outcome = replay(&mut recording, config.feed.clone(), &watch, &plan, &mut print);
    let flushed = out.flush();
    let summary = match outcome {
        Ok(summary) => summary,
        Err(error) => return failure(&error),
    };
    match flushed {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(output_error(&error)),
        Ok(()) | Err(_) => {}
    }
    // Standard output holds only the changes.
    let _ = writeln!(io::stderr(), "{}", summary_line(&summary, printed));
    let Overrides { poll, trouble, jitter_s, .. } = &invocation.overrides;
    if summary.polled > 0 && (poll.is_some() || trouble.is_some() || jitter_s.is_some()) {
        let note = "the recording contains the daemon's own poll times, so --poll, --trouble and --jitter-s do \
                    not affect those lines";
        let _ = writeln!(io::stderr(), "note: {note}");
    }
    Ok(Output::done(String::new()))
}

/// Maps an error of the replay. A closed pipe (`| head`) is not an error.
fn failure(error: &anyhow::Error) -> Result<Output, CommandError> {
    match error.downcast_ref::<io::Error>() {
        Some(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Output::done(String::new())),
        Some(error) if error.kind() == io::ErrorKind::StorageFull => Err(output_error(error)),
        _ => Err(CommandError::failed(format!("{error:#}"))),
    }
}

/// Returns the flags merged over the defaults, or over the file of `--config`.
///
/// Without a time zone from either, times are in UTC, so that the output is the same on every machine.
fn settings(invocation: &Invocation) -> Result<Config, CommandError> {
    let mut overrides = invocation.overrides.clone();
    if overrides.config.is_none() {
        overrides.config = Some("/dev/null".into());
        overrides.time_zone.get_or_insert_with(|| "UTC".to_owned());
    }
    Ok(config::load(&overrides, invocation.environment)?)
}

fn text(change: &Change, zone: &TimeZone) -> String {
    let context = RenderContext { now: change.at, zone, is_drill: false };
    let at = change.at.to_zoned_datetime(zone.clone()).strftime("%Y-%m-%d %H:%M:%S");
    format!("{at}  {}", printable(&line(change, &context)))
}

fn counted(count: u64, noun: &str) -> String {
    text::counted(usize::try_from(count).unwrap_or(usize::MAX), noun)
}

fn summary_line(summary: &Summary, printed: u64) -> String {
    let Summary { documents, polls, stale_polls, unreadable, .. } = summary;
    format!(
        "{}, {unreadable} of them unreadable; {}, {stale_polls} of them with old copies; {} announced",
        counted(*documents, "document"),
        counted(*polls, "poll"),
        counted(printed, "change"),
    )
}
