//! `statusd services`: every service in Apple's list with its state, from one fetch.
//!
//! Uses neither the database nor the daemon.

use serde_json::{Value, json};

use crate::delivery::message::advice::NO_PROBLEM;
use crate::delivery::payload::VERSION;
use crate::model::FeedId;

use super::check::poll;
use crate::cli::args::Services;
use crate::cli::phrases::shown;
use crate::cli::service_state::{Riddle, ServiceReport, State, standings};
use crate::cli::terminal::{Ink, Page};
use crate::cli::{DONE, Failure, Invocation, Output, WRONG_USAGE};

pub fn run(services: &Services, invocation: &Invocation) -> Result<Output, Failure> {
    let (config, _) = invocation.usable_config()?;
    let page = invocation.page(&config.time_zone);
    let document = poll(&config)?
        .map_err(|blind| Failure::failed(format!("cannot read Apple's list: {}", blind.reason)))?;
    let standings = standings(&document, &services.services, page.now);
    let text = if services.json {
        format!("{:#}\n", list(&standings, &config.feed, &page))
    } else {
        draw(&standings, &page)
    };
    let is_unknown = |standing: &ServiceReport| matches!(standing.riddle, Some(Riddle::NotListed { .. }));
    let code = if standings.iter().any(is_unknown) { WRONG_USAGE } else { DONE };
    Ok(Output { text, code })
}

fn list(standings: &[ServiceReport], feed: &FeedId, page: &Page) -> Value {
    let services: Vec<Value> = standings.iter().map(ServiceReport::json).collect();
    json!({"version": VERSION, "at": page.now, "feed": feed.to_string(), "services": services})
}

/// What has a problem a line each, worst first; the names of the rest in columns.
fn draw(standings: &[ServiceReport], page: &Page) -> String {
    let (mut fine, mut other): (Vec<&ServiceReport>, Vec<&ServiceReport>) =
        standings.iter().partition(|standing| standing.state == State::Fine);
    other.sort_by_key(|standing| standing.state);
    fine.sort_by_key(|standing| standing.service.to_lowercase());
    let mut text: String = other.iter().map(|standing| standing.headline(page)).collect();
    if fine.is_empty() {
        return text;
    }
    if !other.is_empty() {
        text.push('\n');
    }
    let names: Vec<String> = fine.iter().map(|standing| shown(&standing.service)).collect();
    text.push_str(&format!("{} ({}):\n", page.paint(Ink::Good, NO_PROBLEM), names.len()));
    text.push_str(&page.columns(2, &names));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::service_state::tests::{document, page};
    use crate::cli::tests::check_documented;
    use crate::model::Edition;

    #[test]
    fn trouble_comes_first_and_the_rest_in_columns() {
        let page = page(false);
        let expected = "\
iCloud Backup: outage since 10:11 (1 h 49 min)
iCloud Mail: outage since 11:00 (1 h)
Mail Drop: cannot tell: Apple's entry has an unknown format
Apple Pay Developer | Apple Pay Demo: maintenance since 11:00 (1 h), planned
  until 14:00

Apple lists no problem (2):
  iCloudバックアップ  Photos
";
        let standings = standings(&document(), &[], page.now);
        assert_eq!(draw(&standings, &page), expected);
        let feed = FeedId { edition: Edition::Consumer, locale: "en_US".to_owned() };
        check_documented("services", &list(&standings, &feed, &page));
    }
}
