//! `statusd ack`: acknowledges an outage, so that nothing more is sent about it until it ends.
//!
//! Records the acknowledgement and wakes the daemon. Held changes wait in the outbox and are sent
//! together with the end.

use crate::config::Config;
use crate::model::{Outage, ServiceKey};
use crate::status_socket;
use crate::store::Store;
use crate::tracking::watchlist::Watchlist;

use crate::cli::args::AckArgs;
use crate::cli::context::{CommandError, Invocation, Output, block_on, open_store, unknown_service};
use crate::cli::phrases::{kind_word, printable, since};
use crate::cli::state::config_with_state;

pub fn run(ack: &AckArgs, invocation: &Invocation) -> Result<Output, CommandError> {
    let config = config_with_state(invocation)?;
    let terminal = invocation.terminal(&config.time_zone);
    let store = open_store(&config, true)?;
    let services = if ack.services.is_empty() { &config.watch } else { &ack.services };
    refuse_unknown(&ack.services, &store, &config)?;
    let watch = Watchlist::new(services);
    let is_selected = move |outage: &Outage| watch.matches(&ServiceKey::new(&outage.service));
    let outages = block_on(store.acknowledge(&config.feed, is_selected, ack.undo, invocation.now))??;
    if outages.is_empty() {
        let names: Vec<String> = services.iter().map(|name| printable(name)).collect();
        let verb = if names.len() == 1 { "has" } else { "have" };
        let message = format!("{} {verb} no active outage; see `statusd status`", names.join(", "));
        return Err(CommandError::failed(message));
    }
    // A connection to the status socket makes the daemon check its outbox.
    status_socket::ask(&config.state_directory);
    let effect = match ack.undo {
        true => "reminders and updates are sent again",
        false => "no reminders or updates until the outage ends; they are sent with the end",
    };
    let line = |outage: &Outage| {
        let began = outage.start.map_or(String::new(), |start| format!(" {}", since(start, &terminal)));
        let outage = format!("{}: {}{began}", printable(&outage.service), kind_word(&outage.kind));
        terminal.paragraph(0, &format!("{outage}: {effect}"))
    };
    Ok(Output::done(outages.iter().map(line).collect()))
}

/// Rejects unknown services, because a misspelt name must not read as "no active outage".
fn refuse_unknown(services: &[String], store: &Store, config: &Config) -> Result<(), CommandError> {
    let beliefs = block_on(store.beliefs(&config.feed))??;
    let names = || beliefs.services.values().map(|service| service.name.as_str());
    let is_known = |text: &&String| {
        let watch = Watchlist::new(&[text]);
        names().any(|name| watch.matches(&ServiceKey::new(name)))
    };
    match services.iter().find(|text| !is_known(text)) {
        Some(unknown) if names().next().is_some() => Err(unknown_service(unknown, names())),
        Some(_) | None => Ok(()),
    }
}
