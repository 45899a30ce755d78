//! The text of `statusd status`.

use jiff::Timestamp;

use super::Status;
use crate::cli::commands::config::zone_line;
use crate::cli::phrases::{age, printable, since, span, under_way};
use crate::cli::terminal::{Style, Terminal};
use crate::config::Config;
use crate::delivery::message::advice::{NO_PROBLEM, POSTS_LATE_SHORT};
use crate::delivery::message::time_format::{is_repeated, when};
use crate::model::{Fault, FeedHealth, KnownPhone, Listed, Missing, Outage, Phase, ServiceKey};
use crate::store::{DATABASE, Totals};
use crate::text;
use crate::tracking::watchlist::Watchlist;

const INDENT: usize = 2;
const PHONES_SHOWN: usize = 10;

impl Status {
    pub fn text(&self, config: &Config, terminal: &Terminal) -> String {
        let watch = Watchlist::new(&config.watch);
        let mut text = terminal.paragraph(0, &self.last_poll(terminal));
        text.push_str(&terminal.paragraph(0, &self.running(terminal)));
        if let (None, Some(command)) = (&self.daemon, &self.system_service_command) {
            // Not wrapped, so that the command can be copied.
            text.push_str(&format!("  {}\n", printable(command)));
        }
        text.push_str(&self.health(terminal));
        text.push_str(&self.banner(terminal));
        text.push('\n');
        text.push_str(&self.watched(&watch, terminal));
        text.push_str(&self.other_services(&watch, terminal));
        text.push('\n');
        text.push_str(&self.messages(terminal));
        if config.phone.enabled {
            text.push_str(&self.phones(terminal));
        }
        text.push_str(&terminal.paragraph(0, &self.coverage_line(terminal)));
        text.push_str(&terminal.paragraph(0, &zone_line(config, terminal)));
        text.push_str(&paths(config));
        text
    }

    /// Returns for example `Last successful poll 40 s ago (14:02:10), next at 14:05:20`.
    fn last_poll(&self, terminal: &Terminal) -> String {
        let next = self.daemon.as_ref().and_then(|daemon| daemon.next_poll_at);
        let next = next.map(|next| format!(", next at {}", clock(next, terminal))).unwrap_or_default();
        match self.last_readable {
            Some(last) => {
                format!(
                    "Last successful poll {} ago ({}){next}",
                    age(last, terminal.now),
                    clock(last, terminal)
                )
            }
            None => format!("No successful poll yet{next}"),
        }
    }

    fn running(&self, terminal: &Terminal) -> String {
        match &self.daemon {
            Some(daemon) => format!(
                "statusd {}, running since {} (process {})",
                printable(&daemon.version),
                when(daemon.started_at, terminal.now, terminal.zone),
                daemon.pid
            ),
            None if self.system_service_command.is_some() => {
                "statusd is not running for this user; to query the system service:".to_owned()
            }
            None => {
                "statusd is not running; start it with `statusd run` or `statusd service install`".to_owned()
            }
        }
    }

    /// Returns the reason why the feed is unreadable or stale; empty if it is neither.
    fn health(&self, terminal: &Terminal) -> String {
        let mut text = String::new();
        if let FeedHealth::Unreadable { since: from, fault, reason, .. } = &self.beliefs.state.health {
            let fault = match fault {
                Fault::Ours => "local fault",
                Fault::Apple => "fault at Apple",
            };
            let line = format!("Feed unreadable {}, {fault}: {}", since(*from, terminal), printable(reason));
            text.push_str(&styled(terminal, Style::Warning, 0, &line));
        } else if let Some(trouble) = self.daemon.as_ref().and_then(|daemon| daemon.trouble.as_ref()) {
            text.push_str(&styled(
                terminal,
                Style::Warning,
                0,
                &format!("Last poll: {}", printable(trouble)),
            ));
        }
        if let Some(stale) = &self.beliefs.state.stale {
            let line = format!(
                "Apple has served an outdated copy of its feed {}; statusd ignores it",
                since(stale.since, terminal)
            );
            text.push_str(&styled(terminal, Style::Warning, 0, &line));
        }
        text
    }

    fn banner(&self, terminal: &Terminal) -> String {
        let banner = self.beliefs.state.banner.as_deref();
        banner
            .map(|banner| terminal.paragraph(0, &format!("Apple says: {}", printable(banner))))
            .unwrap_or_default()
    }

    fn watched(&self, watch: &Watchlist, terminal: &Terminal) -> String {
        let mut text = format!("{}\n", terminal.paint(Style::Bold, "Watched"));
        for pattern in watch.patterns() {
            let key = ServiceKey::new(&pattern.text);
            if !pattern.is_glob() {
                let service = self.beliefs.services.get(&key);
                let name = service.map_or(pattern.text.as_str(), |service| service.name.as_str());
                text.push_str(&self.service(&key, name, terminal));
                continue;
            }
            let matching = self.listed().filter(|(key, _)| pattern.matches(key));
            let (quiet, affected): (Vec<_>, Vec<_>) =
                matching.partition(|(key, _)| self.ongoing_of(key).next().is_none());
            for (key, name) in &affected {
                text.push_str(&self.service(key, name, terminal));
            }
            let summary = match (quiet.len(), affected.len()) {
                (0, 0) => "no service matches".to_owned(),
                (0, _) => continue,
                (1, 0) => NO_PROBLEM.to_owned(),
                (1, _) => format!("{NO_PROBLEM} with the other matching service"),
                (count, 0) => format!("{NO_PROBLEM} with {count} matching services"),
                (count, _) => format!("{NO_PROBLEM} with the other {count} matching services"),
            };
            text.push_str(&terminal.paragraph(INDENT, &format!("{}: {summary}", printable(&pattern.text))));
        }
        if self.listed().any(|(key, _)| watch.matches(key) && self.ongoing_of(key).next().is_none()) {
            text.push_str(&terminal.paragraph(INDENT, POSTS_LATE_SHORT));
        }
        text
    }

    /// Returns the ongoing outages of services that are not watched; empty if there are none.
    fn other_services(&self, watch: &Watchlist, terminal: &Terminal) -> String {
        let other = self.listed().filter(|(key, _)| !watch.matches(key));
        let affected: Vec<_> = other.filter(|(key, _)| self.ongoing_of(key).next().is_some()).collect();
        if affected.is_empty() {
            return String::new();
        }
        let lines: String = affected.iter().map(|(key, name)| self.service(key, name, terminal)).collect();
        format!("\n{}\n{lines}", terminal.paint(Style::Bold, "Other services"))
    }

    /// Returns a line for each ongoing outage of a service, or one line if there is none.
    fn service(&self, key: &ServiceKey, name: &str, terminal: &Terminal) -> String {
        let ongoing: Vec<&Outage> = self.ongoing_of(key).collect();
        let name = printable(name);
        if ongoing.is_empty() {
            let (style, state) = self.quiet_text(key, terminal);
            let planned: String = self.planned_for(key).map(|outage| planned(outage, terminal)).collect();
            return format!("{}{planned}", styled(terminal, style, INDENT, &format!("{name}: {state}")));
        }
        let lines = ongoing.iter().map(|outage| {
            let style = if outage.kind.is_maintenance() { Style::Planned } else { Style::Bad };
            let lasting = under_way(&outage.kind, outage.start, outage.end, terminal);
            let missing = match &outage.phase {
                Phase::Ongoing(Some(missing)) => not_listed_since(missing, terminal),
                Phase::Ongoing(None) | Phase::Planned(_) | Phase::Over(_) => String::new(),
            };
            let acknowledged = if self.is_acknowledged(outage) { ", acknowledged" } else { "" };
            styled(terminal, style, INDENT, &format!("{name}: {lasting}{missing}{acknowledged}"))
        });
        lines.collect()
    }

    fn quiet_text(&self, key: &ServiceKey, terminal: &Terminal) -> (Style, String) {
        let at = |time| when(time, terminal.now, terminal.zone);
        match self.beliefs.services.get(key).map(|service| &service.listed) {
            None => (Style::Warning, "not seen yet".to_owned()),
            Some(Listed::Yes) => (Style::Good, NO_PROBLEM.to_owned()),
            Some(Listed::Missing(missing)) => {
                (Style::Good, format!("{NO_PROBLEM}{}", not_listed_since(missing, terminal)))
            }
            Some(Listed::No { since }) => {
                let advice = "`statusd services` shows the current names";
                (Style::Warning, format!("not in Apple's list since {}; {advice}", at(*since)))
            }
            Some(Listed::Never { .. }) => (Style::Warning, self.never_listed(key)),
        }
    }

    fn never_listed(&self, key: &ServiceKey) -> String {
        match text::near(key.as_str(), self.listed().map(|(_, name)| name)).as_slice() {
            [] => "not in Apple's list; `statusd services` shows the names".to_owned(),
            near => format!("not in Apple's list; did you mean {}?", printable(&near.join(" or "))),
        }
    }

    fn messages(&self, terminal: &Terminal) -> String {
        let Totals { pending, sent, given_up } = self.totals;
        let mut line = format!("Messages: {pending} pending, {given_up} given up, {sent} sent");
        if let Some(oldest) = self.deliveries.iter().find(|delivery| delivery.state == "pending") {
            line.push_str(&format!("; oldest pending for {}", age(oldest.created_at, terminal.now)));
        }
        if pending + given_up > 0 {
            line.push_str("; see `statusd outbox`");
        }
        let mut text =
            styled(terminal, if pending + given_up > 0 { Style::Warning } else { Style::Plain }, 0, &line);
        if let Some(snooze) = self.snooze {
            let until = when(snooze.until, terminal.now, terminal.zone);
            let line =
                format!("Snoozed: no messages to people until {until}; to end it, use `statusd snooze off`");
            text.push_str(&styled(terminal, Style::Warning, 0, &line));
        }
        text
    }

    /// Returns a line for each phone: `iPhone: last backup 9 h ago, seen 10 min ago`.
    fn phones(&self, terminal: &Terminal) -> String {
        let ago = |time| format!("{} ago", age(time, terminal.now));
        let line = |phone: &KnownPhone| {
            let backup = match (phone.last_backup, phone.backup_enabled) {
                (Some(last), Some(false)) => {
                    format!("iCloud Backup is off, last backup {}", ago(last))
                }
                (None, Some(false)) => "iCloud Backup is off".to_owned(),
                (Some(last), Some(true) | None) => format!("last backup {}", ago(last)),
                (None, Some(true) | None) => "last backup unknown".to_owned(),
            };
            let style = if phone.backup_enabled == Some(false) { Style::Warning } else { Style::Plain };
            styled(terminal, style, 0, &format!("iPhone: {backup}, seen {}", ago(phone.seen_at)))
        };
        match self.phones.as_slice() {
            [] => terminal.paragraph(0, "iPhone: none read yet; see `statusd doctor`"),
            phones => phones.iter().take(PHONES_SHOWN).map(line).collect(),
        }
    }

    fn coverage_line(&self, terminal: &Terminal) -> String {
        let (from, coverage) = self.coverage(terminal);
        if coverage.whole_s == 0 {
            return "Coverage: no poll yet".to_owned();
        }
        let not_polling_s = coverage.whole_s - coverage.readable_s - coverage.unreadable_s;
        let [readable, unreadable, not_polling] =
            percentages(coverage.readable_s, [coverage.unreadable_s, not_polling_s]);
        let since = when(from, terminal.now, terminal.zone);
        format!(
            "Coverage since {since}: {readable} % readable, {unreadable} % unreadable, {not_polling} % not polling"
        )
    }
}

fn paths(config: &Config) -> String {
    // Not wrapped, so that paths can be copied.
    let source = config.source.as_ref().map(|path| printable(&path.display().to_string()));
    let database = config.state_directory.join(DATABASE);
    format!(
        "Feed: {}\nConfiguration: {}\nDatabase: {}\n",
        config.feed,
        source.unwrap_or_else(|| "none, the defaults apply".to_owned()),
        printable(&database.display().to_string())
    )
}

/// Returns the line for planned maintenance, below the line of its service.
fn planned(outage: &Outage, terminal: &Terminal) -> String {
    let line = format!("Planned: maintenance {}", span(outage.start, outage.end, false, terminal));
    styled(terminal, Style::Planned, 2 * INDENT, &line)
}

fn not_listed_since(missing: &Missing, terminal: &Terminal) -> String {
    format!(", not listed since {}", when(missing.since, terminal.now, terminal.zone))
}

/// Returns a wrapped paragraph in one style.
fn styled(terminal: &Terminal, style: Style, indent: usize, text: &str) -> String {
    let drawn = terminal.paragraph(indent, text);
    drawn.lines().map(|line| format!("{}\n", terminal.paint(style, line))).collect()
}

/// Returns a time with seconds if it is today, because polls are only minutes apart.
fn clock(time: Timestamp, terminal: &Terminal) -> String {
    let local = time.to_zoned_datetime(terminal.zone.clone());
    if is_repeated(time, terminal.zone) {
        local.strftime("%H:%M:%S %Z").to_string()
    } else if local.date() == terminal.now.to_zoned_datetime(terminal.zone.clone()).date() {
        local.strftime("%H:%M:%S").to_string()
    } else {
        when(time, terminal.now, terminal.zone)
    }
}

/// Returns the parts of a whole in per cent, with one decimal. They add up to 100.
///
/// The first part is rounded down, so that a small gap never shows as 100 %.
fn percentages(first: i64, others: [i64; 2]) -> [String; 3] {
    let whole = (first + others[0] + others[1]).max(1);
    let first_thousandths = first * 1_000 / whole;
    let left = 1_000 - first_thousandths;
    // The others share the remainder; the larger one gets the odd thousandth.
    let both = (others[0] + others[1]).max(1);
    let (smaller, larger) = if others[0] < others[1] { (0, 1) } else { (1, 0) };
    let mut thousandths = [0; 2];
    thousandths[smaller] = left * others[smaller] / both;
    thousandths[larger] = left - thousandths[smaller];
    [first_thousandths, thousandths[0], thousandths[1]].map(|part| format!("{}.{}", part / 10, part % 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_add_up_and_the_first_is_rounded_down() {
        for (first, others, expected) in [
            (99_999, [1, 0], ["99.9", "0.1", "0.0"]),
            (99_999, [0, 1], ["99.9", "0.0", "0.1"]),
            (100, [0, 0], ["100.0", "0.0", "0.0"]),
            (1, [1, 1], ["33.3", "33.4", "33.3"]),
            (0, [2, 1], ["0.0", "66.7", "33.3"]),
            (0, [0, 7], ["0.0", "0.0", "100.0"]),
        ] {
            assert_eq!(percentages(first, others), expected.map(str::to_owned), "{first} {others:?}");
        }
    }
}
