//! `statusd ack`: acknowledges an outage, so that nothing more is sent about it until it ends.
//!
//! Records the acknowledgement and wakes the daemon. Held changes wait in the outbox and are sent
//! together with the end.

use crate::config::Config;
use crate::model::{Outage, ServiceKey};
use crate::status_socket;
use crate::store::Store;
use crate::tracking::watchlist::Watchlist;

use crate::cli::args::Ack;
use crate::cli::phrases::{kind_word, shown, since};
use crate::cli::state::located;
use crate::cli::{Failure, Invocation, Output, store, unknown_service, wait};

pub fn run(ack: &Ack, invocation: &Invocation) -> Result<Output, Failure> {
    let config = located(invocation)?;
    let page = invocation.page(&config.time_zone);
    let store = store(&config, true)?;
    let wanted = if ack.services.is_empty() { &config.watch } else { &ack.services };
    refuse_unknown(&ack.services, &store, &config)?;
    let watch = Watchlist::new(wanted);
    let is_meant = |outage: &Outage| watch.matches(&ServiceKey::new(&outage.service));
    let meant = wait(store.acknowledge(&config.feed, &is_meant, ack.undo, invocation.now))??;
    if meant.is_empty() {
        let names: Vec<String> = wanted.iter().map(|name| shown(name)).collect();
        return Err(Failure::failed(format!(
            "{} has no active outage; see `statusd status`",
            names.join(", ")
        )));
    }
    // A connection to the status socket makes the daemon check its outbox.
    status_socket::ask(&config.state_directory);
    let deed = match ack.undo {
        true => "reminders and updates are sent again",
        false => "no reminders or updates until it ends; they come with the end",
    };
    let line = |outage: &Outage| {
        let began = outage.start.map_or(String::new(), |start| format!(" {}", since(start, &page)));
        let trouble = format!("{}: {}{began}", shown(&outage.service), kind_word(&outage.kind));
        page.paragraph(0, &format!("{trouble}: {deed}"))
    };
    Ok(Output::done(meant.iter().map(line).collect()))
}

/// A slip of the finger must not read as "no outage".
fn refuse_unknown(asked: &[String], store: &Store, config: &Config) -> Result<(), Failure> {
    let beliefs = wait(store.beliefs(&config.feed))??;
    let names = || beliefs.services.values().map(|service| service.name.as_str());
    let is_known = |text: &&String| {
        let watch = Watchlist::new(&[text]);
        names().any(|name| watch.matches(&ServiceKey::new(name)))
    };
    match asked.iter().find(|text| !is_known(text)) {
        Some(unknown) if names().next().is_some() => Err(unknown_service(unknown, names())),
        Some(_) | None => Ok(()),
    }
}
