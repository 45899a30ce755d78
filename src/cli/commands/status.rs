//! `statusd status`: what the daemon knows, the age of its last good look before anything else.
//!
//! Beliefs come from the database, looks from the running daemon. Exit code 0 wherever the
//! database could be read: whether trouble is worth an alarm, `check` says.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::config::{Config, zone_name};
use crate::delivery::message::advice::{NO_PROBLEM, POSTS_LATE_SHORT};
use crate::delivery::message::time_format::{is_repeated, when};
use crate::delivery::payload::VERSION;
use crate::model::{Beliefs, Fault, FeedHealth, KnownPhone, Listed, Missing, Outage, Phase, ServiceKey};
use crate::status_socket::{self, DaemonStatus};
use crate::store::{DATABASE, Snooze, Span, StoredDelivery, Totals};
use crate::tracking::watchlist::{Watchlist, near};

use super::config::zone_line;
use crate::cli::phrases::{age, shown, since, span, under_way};
use crate::cli::state::{beside, located};
use crate::cli::terminal::{Ink, Page};
use crate::cli::timeline::{self, CoverageShares, coverage, up_to_date};
use crate::cli::{Failure, Invocation, Output, store, wait};

const INDENT: usize = 2;
const PHONES_SHOWN: usize = 10;

/// All that is known at one moment.
struct Known {
    live: Option<DaemonStatus>,
    /// The command that asks the service of the machine, where there is one beside this.
    beside: Option<String>,
    beliefs: Beliefs,
    last_readable: Option<Timestamp>,
    spans: Vec<Span>,
    totals: Totals,
    /// Waiting or given up.
    deliveries: Vec<StoredDelivery>,
    /// Outages under way that somebody knows of.
    acknowledged: Vec<(ServiceKey, String)>,
    snooze: Option<Snooze>,
    /// What is remembered of phones, the one that was read last first.
    phones: Vec<KnownPhone>,
}

pub fn run(json: bool, invocation: &Invocation) -> Result<Output, Failure> {
    let config = located(invocation)?;
    let page = invocation.page(&config.time_zone);
    let store = store(&config, false)?;
    let live = status_socket::ask(&config.state_directory);
    let mut known = wait(async {
        Ok::<_, rusqlite::Error>(Known {
            live,
            beside: beside(&config, invocation),
            beliefs: store.beliefs(&config.feed).await?,
            last_readable: store.last_readable(&config.feed).await?,
            spans: store.coverage(&config.feed, timeline::start(&page)).await?,
            totals: store.totals().await?,
            deliveries: store.deliveries(false).await?,
            acknowledged: store.acknowledged(&config.feed).await?,
            snooze: store.snoozed().await?.filter(|snooze| snooze.until > page.now),
            phones: store.phones().await?,
        })
    })??;
    known.spans = up_to_date(known.spans, known.live.is_some(), page.now);
    known.last_readable =
        known.last_readable.max(known.live.as_ref().and_then(|live| live.last_good_poll_at));
    for phone in &mut known.phones {
        let exactly = known.live.as_ref().and_then(|live| live.phones_seen.get(&phone.id).copied());
        phone.seen_at = exactly.map_or(phone.seen_at, |seen| seen.max(phone.seen_at));
    }
    Ok(Output::done(if json {
        format!("{:#}\n", known.json(&config, &page))
    } else {
        known.text(&config, &page)
    }))
}

impl Known {
    fn text(&self, config: &Config, page: &Page) -> String {
        let watch = Watchlist::new(&config.watch);
        let mut text = page.paragraph(0, &self.last_poll(page));
        text.push_str(&page.paragraph(0, &self.running(page)));
        if let (None, Some(command)) = (&self.live, &self.beside) {
            // Not wrapped: a command that was broken cannot be copied.
            text.push_str(&format!("  {}\n", shown(command)));
        }
        text.push_str(&self.health(page));
        text.push_str(&self.banner(page));
        text.push('\n');
        text.push_str(&self.watched(&watch, page));
        text.push_str(&self.elsewhere(&watch, page));
        text.push('\n');
        text.push_str(&self.messages(page));
        if config.phone.enabled {
            text.push_str(&self.phones(page));
        }
        text.push_str(&page.paragraph(0, &self.coverage_line(page)));
        text.push_str(&page.paragraph(0, &zone_line(config, page)));
        text.push_str(&paths(config));
        text
    }

    /// `Last successful poll 40 s ago (14:02:10), next at 14:05:20`
    fn last_poll(&self, page: &Page) -> String {
        let next = self.live.as_ref().and_then(|live| live.next_poll_at);
        let next = next.map(|next| format!(", next at {}", clock(next, page))).unwrap_or_default();
        match self.last_readable {
            Some(last) => {
                format!("Last successful poll {} ago ({}){next}", age(last, page.now), clock(last, page))
            }
            None => format!("No successful poll yet{next}"),
        }
    }

    fn running(&self, page: &Page) -> String {
        match &self.live {
            Some(live) => format!(
                "statusd {} runs as process {} since {}",
                shown(&live.version),
                live.pid,
                when(live.started_at, page.now, page.zone)
            ),
            None if self.beside.is_some() => {
                "statusd is not running here; ask the service of this machine:".to_owned()
            }
            None => "statusd is not running: start it with `statusd run`, or as a service".to_owned(),
        }
    }

    /// Why the feed is unreadable or stale; empty while it is neither.
    fn health(&self, page: &Page) -> String {
        let mut text = String::new();
        if let FeedHealth::Unreadable { since: from, fault, reason, .. } = &self.beliefs.state.health {
            let whose = match fault {
                Fault::Ours => "on this side",
                Fault::Apple => "on Apple's side",
            };
            let line = format!("Cannot read the feed {}, {whose}: {}", since(*from, page), shown(reason));
            text.push_str(&inked(page, Ink::Doubtful, 0, &line));
        } else if let Some(trouble) = self.live.as_ref().and_then(|live| live.trouble.as_ref()) {
            text.push_str(&inked(page, Ink::Doubtful, 0, &format!("Last poll: {}", shown(trouble))));
        }
        if let Some(stale) = &self.beliefs.state.stale {
            let line =
                format!("Apple serves an old copy of its feed {}; it is not used", since(stale.since, page));
            text.push_str(&inked(page, Ink::Doubtful, 0, &line));
        }
        text
    }

    fn banner(&self, page: &Page) -> String {
        let banner = self.beliefs.state.banner.as_deref();
        banner.map(|banner| page.paragraph(0, &format!("Apple says: {}", shown(banner)))).unwrap_or_default()
    }

    fn watched(&self, watch: &Watchlist, page: &Page) -> String {
        let mut text = format!("{}\n", page.paint(Ink::Strong, "Watched"));
        for pattern in watch.patterns() {
            let key = ServiceKey::new(&pattern.text);
            if !pattern.is_glob() {
                let service = self.beliefs.services.get(&key);
                let name = service.map_or(pattern.text.as_str(), |service| service.name.as_str());
                text.push_str(&self.belief(&key, name, page));
                continue;
            }
            let found = self.listed().filter(|(key, _)| pattern.matches(key));
            let (quiet, troubled): (Vec<_>, Vec<_>) =
                found.partition(|(key, _)| self.ongoing_of(key).next().is_none());
            for (key, name) in &troubled {
                text.push_str(&self.belief(key, name, page));
            }
            let line = match (quiet.len(), troubled.len()) {
                (0, 0) => format!("{}: no service has such a name", shown(&pattern.text)),
                (0, _) => continue,
                (1, 0) => format!("{}: {NO_PROBLEM}", shown(&pattern.text)),
                (1, _) => format!("{}: {NO_PROBLEM} with the other one", shown(&pattern.text)),
                (count, 0) => format!("{}: {NO_PROBLEM} with its {count} services", shown(&pattern.text)),
                (count, _) => format!("{}: {NO_PROBLEM} with the other {count}", shown(&pattern.text)),
            };
            text.push_str(&page.paragraph(INDENT, &line));
        }
        if self.listed().any(|(key, _)| watch.matches(key) && self.ongoing_of(key).next().is_none()) {
            text.push_str(&page.paragraph(INDENT, POSTS_LATE_SHORT));
        }
        text
    }

    /// Ongoing trouble that nobody here watches; nothing where there is none.
    fn elsewhere(&self, watch: &Watchlist, page: &Page) -> String {
        let other = self.listed().filter(|(key, _)| !watch.matches(key));
        let troubled: Vec<_> = other.filter(|(key, _)| self.ongoing_of(key).next().is_some()).collect();
        if troubled.is_empty() {
            return String::new();
        }
        let lines: String = troubled.iter().map(|(key, name)| self.belief(key, name, page)).collect();
        format!("\n{}\n{lines}", page.paint(Ink::Strong, "Elsewhere"))
    }

    fn listed(&self) -> impl Iterator<Item = (&ServiceKey, &str)> {
        let services = self.beliefs.services.iter();
        let real = services.filter(|(_, service)| !matches!(service.listed, Listed::Never { .. }));
        real.map(|(key, service)| (key, service.name.as_str()))
    }

    fn ongoing_of<'a>(&'a self, key: &'a ServiceKey) -> impl Iterator<Item = &'a Outage> {
        let outages = self.beliefs.outages.iter().filter(move |((service, _), _)| service == key);
        outages.map(|(_, outage)| outage).filter(|outage| matches!(outage.phase, Phase::Ongoing(_)))
    }

    fn planned_for<'a>(&'a self, key: &'a ServiceKey) -> impl Iterator<Item = &'a Outage> {
        let outages = self.beliefs.outages.iter().filter(move |((service, _), _)| service == key);
        outages.map(|(_, outage)| outage).filter(|outage| matches!(outage.phase, Phase::Planned(_)))
    }

    /// A line for each ongoing outage, or one that says how it is otherwise.
    fn belief(&self, key: &ServiceKey, name: &str, page: &Page) -> String {
        let ongoing: Vec<&Outage> = self.ongoing_of(key).collect();
        let name = shown(name);
        if ongoing.is_empty() {
            let (ink, words) = self.quiet(key, page);
            let planned: String = self.planned_for(key).map(|outage| planned(outage, page)).collect();
            return format!("{}{planned}", inked(page, ink, INDENT, &format!("{name}: {words}")));
        }
        let lines = ongoing.iter().map(|outage| {
            let ink = if outage.kind.is_maintenance() { Ink::Planned } else { Ink::Bad };
            let lasting = under_way(&outage.kind, outage.start, outage.end, page);
            let missing = match &outage.phase {
                Phase::Ongoing(Some(missing)) => not_listed_since(missing, page),
                Phase::Ongoing(None) | Phase::Planned(_) | Phase::Over(_) => String::new(),
            };
            let known = if self.is_acknowledged(outage) { ", acknowledged" } else { "" };
            inked(page, ink, INDENT, &format!("{name}: {lasting}{missing}{known}"))
        });
        lines.collect()
    }

    fn is_acknowledged(&self, outage: &Outage) -> bool {
        self.acknowledged.contains(&(ServiceKey::new(&outage.service), outage.message_id.clone()))
    }

    fn quiet(&self, key: &ServiceKey, page: &Page) -> (Ink, String) {
        let at = |time| when(time, page.now, page.zone);
        match self.beliefs.services.get(key).map(|service| &service.listed) {
            None => (Ink::Doubtful, "not seen yet".to_owned()),
            Some(Listed::Yes) => (Ink::Good, NO_PROBLEM.to_owned()),
            Some(Listed::Missing(missing)) => {
                (Ink::Good, format!("{NO_PROBLEM}{}", not_listed_since(missing, page)))
            }
            Some(Listed::No { since }) => {
                let words = "`statusd services` shows the names of today";
                (Ink::Doubtful, format!("not in Apple's list since {}; {words}", at(*since)))
            }
            Some(Listed::Never { .. }) => (Ink::Doubtful, self.never_listed(key)),
        }
    }

    fn never_listed(&self, key: &ServiceKey) -> String {
        match near(key.as_str(), self.listed().map(|(_, name)| name)).as_slice() {
            [] => "not in Apple's list; `statusd services` shows it".to_owned(),
            near => format!("not in Apple's list; did you mean {}?", shown(&near.join(" or "))),
        }
    }

    fn messages(&self, page: &Page) -> String {
        let Totals { pending, sent, given_up } = self.totals;
        let mut line = format!("Messages: {pending} waiting, {given_up} given up, {sent} sent");
        if let Some(waiting) = self.deliveries.iter().find(|delivery| delivery.state == "pending") {
            line.push_str(&format!("; the oldest waits for {}", age(waiting.created_at, page.now)));
        }
        if pending + given_up > 0 {
            line.push_str("; see `statusd outbox`");
        }
        let mut text = inked(page, if pending + given_up > 0 { Ink::Doubtful } else { Ink::Plain }, 0, &line);
        if let Some(snooze) = self.snooze {
            let until = when(snooze.until, page.now, page.zone);
            let line = format!("Snoozed: no messages to people until {until}; see `statusd snooze -h`");
            text.push_str(&inked(page, Ink::Doubtful, 0, &line));
        }
        text
    }

    /// `iPhone: last backup 9 h ago, seen 10 min ago`, a line for each.
    fn phones(&self, page: &Page) -> String {
        let ago = |time| format!("{} ago", age(time, page.now));
        let line = |phone: &KnownPhone| {
            let backup = match (phone.last_backup, phone.backup_enabled) {
                (Some(last), Some(false)) => {
                    format!("iCloud Backup is off, last backup {}", ago(last))
                }
                (None, Some(false)) => "iCloud Backup is off".to_owned(),
                (Some(last), Some(true) | None) => format!("last backup {}", ago(last)),
                (None, Some(true) | None) => "last backup unknown".to_owned(),
            };
            let ink = if phone.backup_enabled == Some(false) { Ink::Doubtful } else { Ink::Plain };
            inked(page, ink, 0, &format!("iPhone: {backup}, seen {}", ago(phone.seen_at)))
        };
        match self.phones.as_slice() {
            [] => page.paragraph(0, "iPhone: none read yet; see `statusd doctor`"),
            phones => phones.iter().take(PHONES_SHOWN).map(line).collect(),
        }
    }

    fn phones_json(&self) -> Value {
        let phone = |phone: &KnownPhone| {
            json!({
                "model": phone.model,
                "last_backup_at": phone.last_backup,
                "backup_enabled": phone.backup_enabled,
                "seen_at": phone.seen_at,
            })
        };
        self.phones.iter().map(phone).collect()
    }

    /// Of 30 days, or of as much of them as statusd has been there for.
    fn seen(&self, page: &Page) -> (Timestamp, CoverageShares) {
        let first = self.spans.first().map_or(page.now, |span| span.from);
        let from = timeline::start(page).max(first);
        (from, coverage(&self.spans, from, page.now))
    }

    fn coverage_line(&self, page: &Page) -> String {
        let (from, seen) = self.seen(page);
        if seen.whole_s == 0 {
            return "Coverage: nothing yet".to_owned();
        }
        let unseen_s = seen.whole_s - seen.readable_s - seen.unreadable_s;
        let [readable, unreadable, unpolled] = shares(seen.readable_s, [seen.unreadable_s, unseen_s]);
        let since = when(from, page.now, page.zone);
        format!(
            "Coverage since {since}: {readable} % readable, {unreadable} % unreadable, {unpolled} % not polling"
        )
    }

    fn json(&self, config: &Config, page: &Page) -> Value {
        let (from, seen) = self.seen(page);
        let watch = Watchlist::new(&config.watch);
        let ongoing =
            self.beliefs.outages.values().filter(|outage| matches!(outage.phase, Phase::Ongoing(_)));
        let live = self.live.as_ref();
        json!({
            "version": VERSION,
            "at": page.now,
            "last_good_poll_at": self.last_readable,
            "next_poll_at": live.and_then(|live| live.next_poll_at),
            "running": live.map(|live| json!({
                "pid": live.pid, "version": live.version, "started_at": live.started_at,
                "polled_at": live.polled_at, "polls": live.polls, "stale_polls": live.stale_polls,
                "trouble": live.trouble,
            })),
            "feed": self.beliefs.feed.to_string(),
            "feed_health": health_json(&self.beliefs.state.health),
            "apple_says": self.beliefs.state.banner,
            "watch": config.watch,
            "time_zone": zone_name(&config.time_zone, page.now),
            "ongoing": ongoing.map(|outage| self.outage_json(outage, &watch)).collect::<Vec<Value>>(),
            "not_listed": self.not_listed(),
            "deliveries": {
                "pending": self.totals.pending, "sent": self.totals.sent, "given_up": self.totals.given_up,
            },
            "snoozed_until": self.snooze.map(|snooze| snooze.until),
            "phones": config.phone.enabled.then(|| self.phones_json()),
            "coverage": {
                "from": from, "to": page.now, "readable_s": seen.readable_s, "unreadable_s": seen.unreadable_s,
                "not_polling_s": seen.whole_s - seen.readable_s - seen.unreadable_s,
            },
            "database": config.state_directory.join(DATABASE),
            "configuration": config.source,
        })
    }

    fn outage_json(&self, outage: &Outage, watch: &Watchlist) -> Value {
        let missing = match &outage.phase {
            Phase::Ongoing(Some(missing)) => Some(missing.since),
            Phase::Ongoing(None) | Phase::Planned(_) | Phase::Over(_) => None,
        };
        json!({
            "service": outage.service,
            "is_acknowledged": self.is_acknowledged(outage),
            "is_watched": watch.matches(&ServiceKey::new(&outage.service)),
            "message_id": outage.message_id,
            "occurrence": outage.occurrence,
            "outage_kind": outage.kind.as_str(),
            "began_at": outage.start,
            "ended_at": outage.end,
            "seen_at": outage.first_seen,
            "not_listed_since": missing,
            "users_affected": outage.users_affected,
            "apple_text": outage.message,
        })
    }

    fn not_listed(&self) -> Vec<&str> {
        let services = self.beliefs.services.values();
        let gone =
            services.filter(|service| matches!(service.listed, Listed::No { .. } | Listed::Never { .. }));
        gone.map(|service| service.name.as_str()).collect()
    }
}

fn health_json(health: &FeedHealth) -> Value {
    match health {
        FeedHealth::Unknown => json!({"state": "unknown", "since": null, "fault": null, "reason": null}),
        FeedHealth::Readable { since } => {
            json!({"state": "readable", "since": since, "fault": null, "reason": null})
        }
        FeedHealth::Unreadable { since, fault, reason, .. } => {
            json!({"state": "unreadable", "since": since, "fault": fault.as_str(), "reason": reason})
        }
    }
}

fn paths(config: &Config) -> String {
    // Not wrapped: a path that was broken cannot be copied.
    let source = config.source.as_ref().map(|path| shown(&path.display().to_string()));
    let database = config.state_directory.join(DATABASE);
    format!(
        "Feed: {}\nConfiguration: {}\nDatabase: {}\n",
        config.feed,
        source.unwrap_or_else(|| "none, the defaults".to_owned()),
        shown(&database.display().to_string())
    )
}

/// A line below that of its service.
fn planned(outage: &Outage, page: &Page) -> String {
    let line = format!("Planned: maintenance {}", span(outage.start, outage.end, false, page));
    inked(page, Ink::Planned, 2 * INDENT, &line)
}

fn not_listed_since(missing: &Missing, page: &Page) -> String {
    format!(", not listed since {}", when(missing.since, page.now, page.zone))
}

/// A paragraph in one colour.
fn inked(page: &Page, ink: Ink, indent: usize, text: &str) -> String {
    let drawn = page.paragraph(indent, text);
    drawn.lines().map(|line| format!("{}\n", page.paint(ink, line))).collect()
}

/// With its seconds where it is of today: looks are minutes apart.
fn clock(time: Timestamp, page: &Page) -> String {
    let local = time.to_zoned(page.zone.clone());
    if is_repeated(time, page.zone) {
        local.strftime("%H:%M:%S %Z").to_string()
    } else if local.date() == page.now.to_zoned(page.zone.clone()).date() {
        local.strftime("%H:%M:%S").to_string()
    } else {
        when(time, page.now, page.zone)
    }
}

/// Parts of a whole in per cent, with one decimal; they add up to 100. The first one is rounded down:
/// what was not seen must not round up to "all".
fn shares(first: i64, others: [i64; 2]) -> [String; 3] {
    let whole = (first + others[0] + others[1]).max(1);
    let first_thousandths = first * 1_000 / whole;
    let left = 1_000 - first_thousandths;
    // Of what is left each of the others has its part, the larger one the odd thousandth.
    let both = (others[0] + others[1]).max(1);
    let (smaller, larger) = if others[0] < others[1] { (0, 1) } else { (1, 0) };
    let mut thousandths = [0; 2];
    thousandths[smaller] = left * others[smaller] / both;
    thousandths[larger] = left - thousandths[smaller];
    [first_thousandths, thousandths[0], thousandths[1]].map(|part| format!("{}.{}", part / 10, part % 10))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::cli::terminal::tests::UTC;
    use crate::cli::tests::check_documented;
    use crate::config;
    use crate::model::{Edition, EventKind, FeedId, Service};

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn config() -> Config {
        let variables = |name: &str| match name {
            "HOME" => Some("/home/me".to_owned()),
            _ => None,
        };
        let watch = ["iCloud Backup", "iCloud Bakup", "*mail*"].map(str::to_owned).to_vec();
        let overrides = config::Overrides {
            watch,
            config: Some("/dev/null".into()),
            time_zone: Some("UTC".to_owned()),
            ..Default::default()
        };
        config::load(&overrides, &variables).expect("a configuration")
    }

    fn outage(service: &str, kind: EventKind, missing: Option<Missing>) -> Outage {
        Outage {
            service: service.to_owned(),
            message_id: "100".to_owned(),
            occurrence: 1,
            kind,
            phase: Phase::Ongoing(missing),
            start: Some(at("2026-05-05T10:11:00Z")),
            end: None,
            first_seen: at("2026-05-05T11:00:00Z"),
            users_affected: None,
            message: "Users…".to_owned(),
            counts: BTreeMap::new(),
        }
    }

    fn known() -> Known {
        let mut beliefs = Beliefs::new(FeedId { edition: Edition::Consumer, locale: "en_US".to_owned() });
        for (name, listed) in [
            ("iCloud Backup", Listed::Yes),
            ("iCloud Bakup", Listed::Never { since: at("2026-05-04T08:00:00Z") }),
            ("iCloud Mail", Listed::Yes),
            ("Mail Drop", Listed::Yes),
            ("Photos", Listed::Yes),
        ] {
            let service = Service { name: name.to_owned(), first_seen: at("2026-05-04T08:00:00Z"), listed };
            beliefs.services.insert(ServiceKey::new(name), service);
        }
        let missing = Missing { since: at("2026-05-05T11:30:00Z"), fetches: 2 };
        for outage in [
            outage("iCloud Backup", EventKind::Outage, Some(missing)),
            outage("Photos", EventKind::Issue, None),
        ] {
            beliefs.outages.insert((ServiceKey::new(&outage.service), "100".to_owned()), outage);
        }
        beliefs.state.health = FeedHealth::Readable { since: at("2026-05-04T08:00:00Z") };
        let span =
            Span { from: at("2026-05-04T08:00:00Z"), to: at("2026-05-05T11:59:20Z"), unreadable: None };
        Known {
            live: Some(DaemonStatus {
                pid: 4711,
                version: "0.1.0".to_owned(),
                started_at: at("2026-05-04T08:00:00Z"),
                polled_at: Some(at("2026-05-05T11:59:20Z")),
                last_good_poll_at: Some(at("2026-05-05T11:59:20Z")),
                next_poll_at: Some(at("2026-05-05T12:00:20Z")),
                trouble: None,
                polls: 12,
                stale_polls: 0,
                configured_at: None,
                refused: None,
                phones_seen: BTreeMap::new(),
            }),
            beside: None,
            beliefs,
            last_readable: Some(at("2026-05-05T11:59:20Z")),
            spans: vec![span],
            totals: Totals { pending: 0, sent: 3, given_up: 1 },
            deliveries: Vec::new(),
            acknowledged: Vec::new(),
            snooze: None,
            phones: Vec::new(),
        }
    }

    fn phone(last_backup: Option<&str>, backup_enabled: Option<bool>, seen_at: &str) -> KnownPhone {
        KnownPhone {
            id: "0123456789abcdef".to_owned(),
            model: Some("iPhone13,2".to_owned()),
            seen_at: at(seen_at),
            last_backup: last_backup.map(at),
            backup_enabled,
            off_since: None,
            judged_at: at(seen_at),
        }
    }

    fn page() -> Page<'static> {
        Page { width: 80, color: false, zone: &UTC, now: at("2026-05-05T12:00:00Z") }
    }

    #[test]
    fn the_age_of_the_last_successful_poll_comes_first() {
        let expected = "\
Last successful poll 40 s ago (11:59:20), next at 12:00:20
statusd 0.1.0 runs as process 4711 since Mon 4 May 08:00

Watched
  iCloud Backup: outage since 10:11 (1 h 49 min), not listed since 11:30
  iCloud Bakup: not in Apple's list; did you mean iCloud Backup or iCloud Mail?
  *mail*: Apple lists no problem with its 2 services
  Apple posts late: in about one hour out of 400, iCloud Backup is down but
  Apple lists nothing.

Elsewhere
  Photos: issue since 10:11 (1 h 49 min)

Messages: 0 waiting, 1 given up, 3 sent; see `statusd outbox`
Coverage since Mon 4 May 08:00: 99.9 % readable, 0.0 % unreadable, 0.1 % not
polling
Time zone: UTC (--time-zone)
Feed: consumer/en_US
Configuration: /dev/null
Database: /home/me/.local/state/statusd/statusd.db
";
        assert_eq!(known().text(&config(), &page()), expected);
        check_documented("status", &known().json(&config(), &page()));
    }

    #[test]
    fn a_blind_or_absent_daemon_says_so() {
        let mut known = known();
        known.live = None;
        let reason = "no network: there is no way to www.apple.com from here".to_owned();
        known.beliefs.state.health = FeedHealth::Unreadable {
            since: at("2026-05-05T11:00:00Z"),
            fault: Fault::Ours,
            reason,
            told: false,
        };
        let text = known.text(&config(), &page());
        let expected = "\
Last successful poll 40 s ago (11:59:20)
statusd is not running: start it with `statusd run`, or as a service
Cannot read the feed since 11:00 (1 h), on this side: no network: there is no
way to www.apple.com from here
";
        assert_eq!(text.split_once("\n\n").map(|(head, _)| format!("{head}\n")).as_deref(), Some(expected));
        let json = known.json(&config(), &page());
        assert_eq!((&json["running"], &json["feed_health"]["fault"]), (&Value::Null, &json!("ours")));
        assert_eq!(json["ongoing"][0]["not_listed_since"], json!("2026-05-05T11:30:00Z"));
    }

    #[test]
    fn beside_a_service_of_the_machine_nobody_is_told_to_start_another() {
        let command = "sudo statusd status --state-directory /var/lib/statusd";
        let known = Known { beside: Some(command.to_owned()), ..known() };
        let text = known.text(&config(), &page());
        assert!(
            text.contains("\nstatusd 0.1.0 runs as process 4711 since ") && !text.contains("sudo"),
            "{text}"
        );
        let text = Known { live: None, ..known }.text(&config(), &page());
        let expected =
            format!("\nstatusd is not running here; ask the service of this machine:\n  {command}\n");
        assert!(text.contains(&expected), "{text}");
    }

    #[test]
    fn what_people_silenced_is_said() {
        let mut known = known();
        known.acknowledged = vec![(ServiceKey::new("Photos"), "100".to_owned())];
        known.snooze = Some(Snooze { from: at("2026-05-05T11:00:00Z"), until: at("2026-05-05T14:00:00Z") });
        let text = known.text(&config(), &page());
        assert!(text.contains("  Photos: issue since 10:11 (1 h 49 min), acknowledged\n"), "{text}");
        assert!(
            text.contains("\nSnoozed: no messages to people until 14:00; see `statusd snooze -h`\n"),
            "{text}"
        );
        let json = known.json(&config(), &page());
        assert_eq!(json["snoozed_until"], json!("2026-05-05T14:00:00Z"));
        let acknowledged = json["ongoing"].as_array().expect("a list").iter();
        let acknowledged: Vec<&Value> = acknowledged.map(|outage| &outage["is_acknowledged"]).collect();
        assert_eq!(acknowledged, [&json!(false), &json!(true)]);
    }

    #[test]
    fn phones_are_shown_where_they_are_asked_for() {
        let mut known = known();
        let mut config = config();
        known.phones = vec![phone(Some("2026-05-05T03:00:00Z"), Some(true), "2026-05-05T11:50:00Z")];
        assert!(!known.text(&config, &page()).contains("iPhone"), "nobody asked for them");
        assert_eq!(known.json(&config, &page())["phones"], Value::Null);
        config.phone.enabled = true;
        let text = known.text(&config, &page());
        assert!(text.contains("\niPhone: last backup 9 h ago, seen 10 min ago\nCoverage"), "{text}");
        let json = known.json(&config, &page());
        check_documented("status", &json);
        assert!(!json.to_string().contains("0123456789abcdef"), "{json}");
        for (last_backup, enabled, expected) in [
            (None, None, "last backup unknown"),
            (None, Some(false), "iCloud Backup is off"),
            (Some("2026-05-02T12:00:00Z"), Some(false), "iCloud Backup is off, last backup 3 days ago"),
        ] {
            known.phones = vec![phone(last_backup, enabled, "2026-05-05T11:59:20Z")];
            let text = known.text(&config, &page());
            assert!(text.contains(&format!("\niPhone: {expected}, seen 40 s ago\n")), "{text}");
        }
        known.phones.clear();
        let text = known.text(&config, &page());
        assert!(text.contains("\niPhone: none read yet; see `statusd doctor`\n"), "{text}");
    }

    #[test]
    fn a_part_never_rounds_up_to_all_and_all_parts_are_the_whole() {
        for (seen, others, expected) in [
            (99_999, [1, 0], ["99.9", "0.1", "0.0"]),
            (99_999, [0, 1], ["99.9", "0.0", "0.1"]),
            (100, [0, 0], ["100.0", "0.0", "0.0"]),
            (1, [1, 1], ["33.3", "33.4", "33.3"]),
            (0, [2, 1], ["0.0", "66.7", "33.3"]),
            (0, [0, 7], ["0.0", "0.0", "100.0"]),
        ] {
            assert_eq!(shares(seen, others), expected.map(str::to_owned), "{seen} {others:?}");
        }
    }
}
