//! `statusd services`: every service in Apple's list with its state, from one fetch.
//!
//! Uses neither the database nor the daemon.

use serde_json::Value;

use crate::delivery::message::advice::NO_PROBLEM;
use crate::exit_code::{DONE, WRONG_USAGE};
use crate::model::FeedId;
use crate::report::services;
use crate::report::state::State;

use super::check::poll;
use crate::cli::args::ServicesArgs;
use crate::cli::context::{CommandError, Invocation, Output};
use crate::cli::phrases::printable;
use crate::cli::service_state::{ServiceReport, UnknownReason, reports};
use crate::cli::terminal::{Style, Terminal};

pub fn run(arguments: &ServicesArgs, invocation: &Invocation) -> Result<Output, CommandError> {
    let (config, _) = invocation.usable_config()?;
    let terminal = invocation.terminal(&config.time_zone);
    let document = poll(&config)?.map_err(|unreadable| {
        CommandError::failed(format!("cannot read Apple's list: {}", unreadable.reason))
    })?;
    let reports = reports(&document, &arguments.services, terminal.now);
    let text = if arguments.json {
        format!("{:#}\n", list(&reports, &config.feed, &terminal))
    } else {
        draw(&reports, &terminal)
    };
    let is_unknown = |report: &ServiceReport| matches!(report.reason, Some(UnknownReason::NotListed { .. }));
    let code = if reports.iter().any(is_unknown) { WRONG_USAGE } else { DONE };
    Ok(Output { text, code })
}

fn list(reports: &[ServiceReport], feed: &FeedId, terminal: &Terminal) -> Value {
    let services: Vec<Value> = reports.iter().map(ServiceReport::json).collect();
    services::document(&services, feed, terminal.now)
}

/// Prints services with a problem one per line, worst first, and the other names in columns.
fn draw(reports: &[ServiceReport], terminal: &Terminal) -> String {
    let (mut fine, mut other): (Vec<&ServiceReport>, Vec<&ServiceReport>) =
        reports.iter().partition(|report| report.state == State::Fine);
    other.sort_by_key(|report| report.state);
    fine.sort_by_key(|report| report.service.to_lowercase());
    let mut text: String = other.iter().map(|report| report.headline(terminal)).collect();
    if fine.is_empty() {
        return text;
    }
    if !other.is_empty() {
        text.push('\n');
    }
    let names: Vec<String> = fine.iter().map(|report| printable(&report.service)).collect();
    text.push_str(&format!("{} ({}):\n", terminal.paint(Style::Good, NO_PROBLEM), names.len()));
    text.push_str(&terminal.columns(2, &names));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::documents::check_documented;
    use crate::cli::service_state::tests::{document, terminal};
    use crate::model::Edition;

    #[test]
    fn problems_come_first_and_other_services_in_columns() {
        let terminal = terminal(false);
        let expected = "\
iCloud Backup: outage since 10:11 (1 h 49 min)
iCloud Mail: outage since 11:00 (1 h)
Mail Drop: cannot tell: Apple's entry has an unknown format
Apple Pay Developer | Apple Pay Demo: maintenance since 11:00 (1 h), planned
  until 14:00

Apple lists no problem (2):
  iCloudバックアップ  Photos
";
        let reports = reports(&document(), &[], terminal.now);
        assert_eq!(draw(&reports, &terminal), expected);
        let feed = FeedId { edition: Edition::Consumer, locale: "en_US".to_owned() };
        check_documented("services", &list(&reports, &feed, &terminal));
    }
}
