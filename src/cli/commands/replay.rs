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

use crate::cli::args::Replay;
use crate::cli::phrases::shown;
use crate::cli::{Failure, Invocation, Output, cannot_print};

pub fn run(args: &Replay, invocation: &Invocation) -> Result<Output, Failure> {
    let config = settings(invocation)?;
    let watch = Watchlist::new(&config.watch);
    let jitter_s = invocation.overrides.jitter_s.map_or(0, |_| config.jitter_s);
    let plan = Plan { poll: config.poll.clone(), trouble: config.trouble.clone(), jitter_s };
    let failed = |error: anyhow::Error| Failure::failed(format!("{error:#}"));
    let mut recording = Recording::open(&args.file).map_err(failed)?;
    let mut out = BufWriter::new(io::stdout().lock());
    let mut told = 0_u64;
    let mut tell = |change: &Change| {
        if is_for(change, &watch) {
            told += 1;
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
    let played = replay(&mut recording, config.feed.clone(), &watch, &plan, &mut tell);
    let written = out.flush();
    let summary = match played {
        Ok(summary) => summary,
        Err(error) => return stopped(&error),
    };
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(cannot_print(&error)),
        Ok(()) | Err(_) => {}
    }
    // Standard output holds what was told and nothing else.
    let _ = writeln!(io::stderr(), "{}", words(&summary, told));
    let Overrides { poll, trouble, jitter_s, .. } = &invocation.overrides;
    if summary.polled > 0 && (poll.is_some() || trouble.is_some() || jitter_s.is_some()) {
        let note = "the daemon that wrote the recording says when it polled: --poll, --trouble and --jitter-s \
                    have no part in its lines";
        let _ = writeln!(io::stderr(), "note: {note}");
    }
    Ok(Output::done(String::new()))
}

/// A reader that went away is no failure; what else came up is.
fn stopped(error: &anyhow::Error) -> Result<Output, Failure> {
    match error.downcast_ref::<io::Error>() {
        Some(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Output::done(String::new())),
        Some(error) if error.kind() == io::ErrorKind::StorageFull => Err(cannot_print(error)),
        _ => Err(Failure::failed(format!("{error:#}"))),
    }
}

/// The flags over the defaults, or over the configuration that was asked for, and no other. Times are
/// UTC where neither names a zone, wherever the recording is played.
fn settings(invocation: &Invocation) -> Result<Config, Failure> {
    let mut overrides = invocation.overrides.clone();
    if overrides.config.is_none() {
        overrides.config = Some("/dev/null".into());
        overrides.time_zone.get_or_insert_with(|| "UTC".to_owned());
    }
    Ok(config::load(&overrides, invocation.environment)?)
}

fn text(change: &Change, zone: &TimeZone) -> String {
    let said = RenderContext { now: change.at, zone, is_drill: false };
    let at = change.at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S");
    format!("{at}  {}", shown(&line(change, &said)))
}

fn number(count: u64, noun: &str) -> String {
    text::counted(usize::try_from(count).unwrap_or(usize::MAX), noun)
}

fn words(summary: &Summary, told: u64) -> String {
    let Summary { documents, looks, stale_polls, unreadable, .. } = summary;
    format!(
        "{}, {unreadable} of them unreadable; {}, {stale_polls} of them with old copies; {} announced",
        number(*documents, "document"),
        number(*looks, "poll"),
        number(told, "change"),
    )
}
