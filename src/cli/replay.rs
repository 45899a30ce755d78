//! `statusd replay`: a recording through the real state machine, told as it would have been.
//!
//! Reads no configuration and no clock: the same recording and flags give the same bytes.

use std::io::{self, BufWriter, Write};

use jiff::tz::TimeZone;

use crate::config::{DEFAULT_LOCALE, DEFAULT_POLL, DEFAULT_TROUBLE, DEFAULT_WATCH};
use crate::fetch::valid_locale;
use crate::json;
use crate::message::{Said, line};
use crate::model::{Change, Edition, FeedId};
use crate::plan::Plan;
use crate::record::Recording;
use crate::replay::{Summary, replay};
use crate::schedule::Schedule;
use crate::text;
use crate::track::is_for;
use crate::watch::Watch;

use super::args::Replay;
use super::words::shown;
use super::{Failure, Invocation, Output, WRONG_USAGE, cannot_print};

pub fn run(args: &Replay, invocation: &Invocation) -> Result<Output, Failure> {
    let feed = feed(invocation)?;
    let given = &invocation.overrides.watch;
    let watch = if given.is_empty() { vec![DEFAULT_WATCH.to_owned()] } else { given.clone() };
    let watch = Watch::new(&watch);
    let schedule =
        |text| Schedule::parse(text, &TimeZone::UTC).map_err(|error| Failure::failed(error.to_string()));
    let plan = Plan { poll: schedule(DEFAULT_POLL)?, trouble: schedule(DEFAULT_TROUBLE)?, jitter_s: 0 };
    let failed = |error: anyhow::Error| Failure::failed(format!("{error:#}"));
    let mut recording = Recording::open(&args.file).map_err(failed)?;
    let mut out = BufWriter::new(io::stdout().lock());
    let mut told = 0_u64;
    let mut tell = |change: &Change| {
        if is_for(change, &watch) {
            told += 1;
            writeln!(out, "{}", if args.json { json::replayed(change).to_string() } else { text(change) })?;
        }
        Ok(())
    };
    let played = replay(&mut recording, feed, &watch, &plan, &mut tell);
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

fn feed(invocation: &Invocation) -> Result<FeedId, Failure> {
    let overrides = &invocation.overrides;
    let locale = overrides.locale.as_deref().unwrap_or(DEFAULT_LOCALE);
    if !valid_locale(locale) {
        return Err(Failure::new(WRONG_USAGE, format!("--locale: {locale:?} is none; write one like en_US")));
    }
    let edition = match overrides.edition.as_deref() {
        None | Some("consumer") => Edition::Consumer,
        Some("developer") => Edition::Developer,
        Some(other) => {
            let message = format!("--edition: {other:?} is none; write consumer or developer");
            return Err(Failure::new(WRONG_USAGE, message));
        }
    };
    Ok(FeedId { edition, locale: locale.to_owned() })
}

fn text(change: &Change) -> String {
    let said = Said { now: change.at, zone: &TimeZone::UTC, is_drill: false };
    format!("{}  {}", change.at.strftime("%Y-%m-%d %H:%M:%S"), shown(&line(change, &said)))
}

fn number(count: u64, noun: &str) -> String {
    text::counted(usize::try_from(count).unwrap_or(usize::MAX), noun)
}

fn words(summary: &Summary, told: u64) -> String {
    let Summary { documents, looks, stale_looks, unreadable } = summary;
    format!(
        "{}, {unreadable} of them unreadable; {}, {stale_looks} of them at old copies; {} told",
        number(*documents, "document"),
        number(*looks, "look"),
        number(told, "change"),
    )
}
