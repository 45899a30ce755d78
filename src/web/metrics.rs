//! `/metrics` for Prometheus: text format 0.0.4.
//!
//! The text is a pure function of its inputs. Counts of outages come from the database, so that they survive
//! restarts. Counts of fetches and attempts begin at the start of the daemon. Apple's names are escaped and
//! bounded, and no two series have the same labels, because Prometheus would reject all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::fs;

use axum::extract::State as Shared;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;

use super::activity::{ActivityCounts, AttemptResult, FetchResult, Histogram};
use super::current::Current;
use super::problem::Problem;
use super::site::{SharedSite, Site};
use super::verdict::ServiceNow;
use crate::model::ServiceKey;
use crate::report::state::State;
use crate::store::{ChannelBacklog, Tallied};
use crate::text::plain_line;

/// Prometheus 3 accepts no other spelling.
const CONTENT: &str = "text/plain; version=0.0.4; charset=utf-8";
const LABEL_MAX_CHARS: usize = 120;
/// Seconds: 5, 15, 30, 60, 90 minutes, 2, 4, 8 hours.
const POSTING_BOUNDS_S: &[f64] = &[300.0, 900.0, 1800.0, 3600.0, 5400.0, 7200.0, 14400.0, 28800.0];
const STATES: [(State, &str); 5] = [
    (State::Fine, "ok"),
    (State::Issue, "issue"),
    (State::Outage, "outage"),
    (State::Maintenance, "maintenance"),
    (State::CannotTell, "unknown"),
];

/// The counts of outages so far, and the newest change that they contain.
#[derive(Clone, Debug, Default)]
pub struct Counted {
    last: i64,
    services: BTreeMap<ServiceKey, OutageSum>,
    posting_delay: PostingDelay,
}

#[derive(Clone, Copy, Debug, Default)]
struct OutageSum {
    outages: u64,
    seconds: u64,
}

#[derive(Clone, Debug)]
struct PostingDelay(Histogram);

impl Default for PostingDelay {
    fn default() -> PostingDelay {
        PostingDelay(Histogram::new(POSTING_BOUNDS_S))
    }
}

impl Counted {
    fn add(&mut self, tallied: Tallied) {
        self.last = tallied.last;
        for tally in tallied.tallies {
            let sum = self.services.entry(tally.service).or_default();
            sum.outages += u64::from(tally.is_new);
            sum.seconds += tally.lasted_s;
            if let Some(late_s) = tally.posted_late_s {
                self.posting_delay.0.observe(late_s as f64);
            }
        }
    }
}

/// The inputs of the text.
struct Scrape<'a> {
    current: &'a Current,
    counted: &'a Counted,
    backlogs: &'a [ChannelBacklog],
    activity: &'a ActivityCounts,
    /// The names of the configured channels.
    channels: &'a [String],
    resident_bytes: Option<u64>,
}

pub async fn show(Shared(site): Shared<SharedSite>) -> Result<Response, Problem> {
    let current = site.current().await?;
    let backlogs = site.read(async |store| store.backlogs().await).await?;
    let counted = counted(&site).await?;
    let activity = site.live.activity.borrow().clone();
    let text = Scrape {
        current: &current,
        counted: &counted,
        backlogs: &backlogs,
        activity: &activity,
        channels: &site.config.channels,
        resident_bytes: resident_bytes(),
    }
    .text();
    Ok(([(CONTENT_TYPE, CONTENT)], text).into_response())
}

/// Adds the changes since the last scrape. A request that fails meanwhile loses no work.
async fn counted(site: &Site) -> Result<Counted, Problem> {
    let mut counted = site.counted.lock().await;
    loop {
        let last = counted.last;
        let tallied = site.read(async |store| store.tally_outages(&site.config.feed, last).await).await?;
        let is_complete = tallied.is_complete;
        counted.add(tallied);
        if is_complete {
            return Ok(counted.clone());
        }
    }
}

/// Returns the memory of the process; `None` where the system has no `/proc`.
fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

impl Scrape<'_> {
    fn text(&self) -> String {
        let mut page = Page::default();
        self.process(&mut page);
        self.services(&mut page);
        self.feed(&mut page);
        self.deliveries(&mut page);
        page.text
    }

    fn process(&self, page: &mut Page) {
        let status = &self.current.status;
        let build = [
            ("version", env!("CARGO_PKG_VERSION")),
            ("revision", option_env!("STATUSD_REVISION").unwrap_or_default()),
            ("rustc", option_env!("STATUSD_RUSTC").unwrap_or_default()),
        ];
        page.family("statusd_build_info", "gauge", "The version of statusd. Always 1.");
        page.sample("statusd_build_info", &build, 1);
        page.family(
            "statusd_config_last_reload_successful",
            "gauge",
            "1 if the newest configuration is in use, 0 if it was rejected.",
        );
        page.sample("statusd_config_last_reload_successful", &[], u8::from(status.refused.is_none()));
        page.family("process_start_time_seconds", "gauge", "The time when statusd started, in Unix time.");
        page.sample("process_start_time_seconds", &[], status.started_at.as_second());
        if let Some(bytes) = self.resident_bytes {
            page.family("process_resident_memory_bytes", "gauge", "The resident memory of statusd.");
            page.sample("process_resident_memory_bytes", &[], bytes);
        }
    }

    /// Returns the watched services with distinct labels.
    fn watched(&self) -> Vec<(String, ServiceNow<'_>)> {
        let mut labels = BTreeSet::new();
        let services = self.current.services().into_iter().filter(|service| service.is_watched);
        let services = services.map(|service| (plain_line(service.name, LABEL_MAX_CHARS), service));
        services.filter(|(label, _)| labels.insert(label.clone())).collect()
    }

    fn services(&self, page: &mut Page) {
        let feed = self.current.beliefs.feed.to_string();
        let watched = self.watched();
        page.family("statusd_service_state", "gauge", "1 for the current state of a watched service.");
        for (name, service) in &watched {
            for (state, word) in STATES {
                let labels = [("feed", feed.as_str()), ("service", name), ("state", word)];
                page.sample("statusd_service_state", &labels, u8::from(service.state == state));
            }
        }
        page.family(
            "statusd_service_outage_start_timestamp_seconds",
            "gauge",
            "The start of the oldest ongoing outage or issue by Apple's clock, in Unix time. Absent without one.",
        );
        for (name, service) in &watched {
            let ongoing = service.ongoing.iter().filter(|outage| !outage.kind.is_maintenance());
            let start = ongoing.map(|outage| outage.start.unwrap_or(outage.first_seen)).min();
            page.time(
                "statusd_service_outage_start_timestamp_seconds",
                &[("feed", &feed), ("service", name)],
                start,
            );
        }
        let sum = |service: &ServiceNow| self.counted.services.get(service.key).copied().unwrap_or_default();
        page.family(
            "statusd_service_outages_total",
            "counter",
            "Outages and issues that statusd has recorded, over and ongoing.",
        );
        for (name, service) in &watched {
            let labels = [("feed", feed.as_str()), ("service", name)];
            page.sample("statusd_service_outages_total", &labels, sum(service).outages);
        }
        page.family(
            "statusd_service_outage_seconds_total",
            "counter",
            "The duration of recorded outages and issues that are over, by Apple's times.",
        );
        for (name, service) in &watched {
            let labels = [("feed", feed.as_str()), ("service", name)];
            page.sample("statusd_service_outage_seconds_total", &labels, sum(service).seconds);
        }
    }

    fn feed(&self, page: &mut Page) {
        let feed = self.current.beliefs.feed.to_string();
        let labels = [("feed", feed.as_str())];
        page.family(
            "statusd_apple_posting_delay_seconds",
            "histogram",
            "The time from the start of an outage of any service, by Apple's clock, until Apple posted it.",
        );
        page.histogram("statusd_apple_posting_delay_seconds", &labels, &self.counted.posting_delay.0);
        page.family(
            "statusd_feed_last_success_timestamp_seconds",
            "gauge",
            "The time of the last poll that read a valid document, in Unix time; 0 before the first.",
        );
        let last = self.current.last_good_poll().map_or(0, Timestamp::as_second);
        page.sample("statusd_feed_last_success_timestamp_seconds", &labels, last);
        page.family(
            "statusd_feed_posted_timestamp_seconds",
            "gauge",
            "The time at which Apple posted its newest entry, in Unix time. Absent while unknown.",
        );
        page.time("statusd_feed_posted_timestamp_seconds", &labels, self.current.beliefs.state.stamp);
        page.family(
            "statusd_feed_fetches_total",
            "counter",
            "Fetches of the feed since the start of statusd, by result.",
        );
        for result in FetchResult::ALL {
            let labels = [("feed", feed.as_str()), ("result", result.as_str())];
            let count = self.activity.fetches.get(&result).copied().unwrap_or_default();
            page.sample("statusd_feed_fetches_total", &labels, count);
        }
        page.family(
            "statusd_feed_fetch_duration_seconds",
            "histogram",
            "The duration of fetches of the feed since the start of statusd, also of failed ones.",
        );
        page.histogram("statusd_feed_fetch_duration_seconds", &labels, &self.activity.fetch_duration);
    }

    /// Returns every configured channel, and those with deliveries or attempts.
    fn channels(&self) -> BTreeMap<String, ChannelBacklog> {
        let label = |name: &str| plain_line(name, LABEL_MAX_CHARS);
        let tried = self.activity.attempts.keys().map(|(channel, _)| channel);
        let names = self.channels.iter().chain(tried).map(|name| (label(name), ChannelBacklog::default()));
        let mut all: BTreeMap<String, ChannelBacklog> = names.collect();
        all.extend(self.backlogs.iter().map(|backlog| (label(&backlog.channel), backlog.clone())));
        all
    }

    fn deliveries(&self, page: &mut Page) {
        let channels = self.channels();
        page.family("statusd_deliveries_pending", "gauge", "Deliveries that are not sent yet.");
        for (channel, backlog) in &channels {
            page.sample("statusd_deliveries_pending", &[("channel", channel)], backlog.pending);
        }
        page.family(
            "statusd_deliveries_given_up",
            "gauge",
            "Deliveries that were given up, see statusd outbox.",
        );
        for (channel, backlog) in &channels {
            page.sample("statusd_deliveries_given_up", &[("channel", channel)], backlog.given_up);
        }
        page.family(
            "statusd_delivery_oldest_pending_timestamp_seconds",
            "gauge",
            "The time of the oldest delivery that is not sent yet, in Unix time. Absent without one.",
        );
        for (channel, backlog) in &channels {
            let labels = [("channel", channel.as_str())];
            page.time("statusd_delivery_oldest_pending_timestamp_seconds", &labels, backlog.oldest_pending);
        }
        page.family(
            "statusd_delivery_attempts_total",
            "counter",
            "Attempts to deliver since the start of statusd, by result.",
        );
        for channel in channels.keys() {
            for result in AttemptResult::ALL {
                let attempts = self.activity.attempts.iter();
                let same = attempts
                    .filter(|((name, of), _)| *of == result && plain_line(name, LABEL_MAX_CHARS) == *channel);
                let labels = [("channel", channel.as_str()), ("result", result.as_str())];
                page.sample(
                    "statusd_delivery_attempts_total",
                    &labels,
                    same.map(|(_, count)| count).sum::<u64>(),
                );
            }
        }
    }
}

/// The text of all families so far.
#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl fmt::Display) {
        self.text.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let _ = write!(self.text, "{}{label}=\"{}\"", if index == 0 { '{' } else { ',' }, Escaped(text));
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{end} {value}");
    }

    fn time(&mut self, name: &str, labels: &[(&str, &str)], time: Option<Timestamp>) {
        if let Some(time) = time {
            self.sample(name, labels, time.as_second());
        }
    }

    fn histogram(&mut self, name: &str, labels: &[(&str, &str)], histogram: &Histogram) {
        for (bound, count) in histogram.cumulative() {
            let bound = if bound.is_infinite() { "+Inf".to_owned() } else { bound.to_string() };
            let labels: Vec<(&str, &str)> = labels.iter().copied().chain([("le", bound.as_str())]).collect();
            self.sample(&format!("{name}_bucket"), &labels, count);
        }
        self.sample(&format!("{name}_sum"), labels, histogram.sum());
        self.sample(&format!("{name}_count"), labels, histogram.count());
    }
}

/// The value of a label.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::tz::TimeZone;

    use super::*;
    use crate::model::{Edition, EventKind, FeedId, Listed, Outage, Phase, Service};
    use crate::status_socket::DaemonStatus;
    use crate::store::{OutageTally, Store};
    use crate::tracking::watchlist::Watchlist;

    fn at(text: &str) -> Timestamp {
        format!("2026-05-05T{text}:00Z").parse().expect("a time")
    }

    /// Returns the state of a new database, one minute after a good poll, with these services.
    async fn current(services: &[&str]) -> Current {
        let store = Store::open_in_memory().expect("a database");
        let feed = FeedId { edition: Edition::Consumer, locale: "en_US".to_owned() };
        let polled = Some(at("09:59"));
        let status = DaemonStatus {
            polled_at: polled,
            last_good_poll_at: polled,
            ..DaemonStatus::starting(at("09:00"))
        };
        let watch = Watchlist::new(&["*"]);
        let loaded = Current::load(&store, &feed, &TimeZone::UTC, &watch, status, at("10:00")).await;
        let mut current = loaded.expect("read");
        for name in services {
            let service = Service { name: (*name).to_owned(), first_seen: at("08:00"), listed: Listed::Yes };
            current.beliefs.services.insert(ServiceKey::new(name), service);
        }
        current
    }

    fn begin(current: &mut Current, service: &str, kind: EventKind, start: &str) {
        let outage = Outage {
            service: service.to_owned(),
            message_id: kind.as_str().to_owned(),
            occurrence: 1,
            kind,
            phase: Phase::Ongoing(None),
            start: Some(at(start)),
            end: None,
            first_seen: at("09:30"),
            users_affected: None,
            message: String::new(),
            counts: BTreeMap::new(),
        };
        current.beliefs.outages.insert((ServiceKey::new(service), outage.message_id.clone()), outage);
    }

    fn text(
        current: &Current,
        counted: &Counted,
        backlogs: &[ChannelBacklog],
        activity: &ActivityCounts,
    ) -> String {
        let channels = ["log".to_owned(), "ntfy.phone".to_owned()];
        let resident_bytes = Some(5_000_000);
        Scrape { current, counted, backlogs, activity, channels: &channels, resident_bytes }.text()
    }

    fn plain(current: &Current) -> String {
        text(current, &Counted::default(), &[], &ActivityCounts::none())
    }

    #[track_caller]
    fn has(text: &str, line: &str) {
        assert!(text.lines().any(|known| known == line), "{line}\nis not in\n{text}");
    }

    const PHOTOS: &str = r#"{feed="consumer/en_US",service="Photos""#;

    #[tokio::test]
    async fn a_service_has_one_state() {
        let mut current = current(&["Photos"]).await;
        let check = |current: &Current, expected: &str| {
            let text = plain(current);
            for (_, state) in STATES {
                let value = u8::from(state == expected);
                has(&text, &format!("statusd_service_state{PHOTOS},state=\"{state}\"}} {value}"));
            }
        };
        check(&current, "ok");
        assert!(!plain(&current).contains("\nstatusd_service_outage_start_timestamp_seconds{"));
        begin(&mut current, "Photos", EventKind::Maintenance, "07:00");
        check(&current, "maintenance");
        assert!(!plain(&current).contains("\nstatusd_service_outage_start_timestamp_seconds{"));
        begin(&mut current, "Photos", EventKind::Issue, "08:00");
        check(&current, "issue");
        begin(&mut current, "Photos", EventKind::Outage, "08:30");
        check(&current, "outage");
        let start = at("08:00").as_second();
        has(&plain(&current), &format!("statusd_service_outage_start_timestamp_seconds{PHOTOS}}} {start}"));
        current.now = at("10:30");
        check(&current, "unknown");
    }

    #[tokio::test]
    async fn counts_and_histograms_are_cumulative() {
        let current = current(&["Photos"]).await;
        let mut counted = Counted::default();
        for (is_new, lasted_s, posted_late_s) in
            [(true, 0, Some(600)), (false, 90, None), (true, 10, Some(40_000))]
        {
            let service = ServiceKey::new("Photos");
            let tallies = vec![OutageTally { service, is_new, lasted_s, posted_late_s }];
            counted.add(Tallied { tallies, last: 7, is_complete: true });
        }
        let mut activity = ActivityCounts::none();
        activity.count_fetch(FetchResult::Changed, Duration::from_millis(300));
        activity.count_fetch(FetchResult::Failed, Duration::from_secs(30));
        activity.count_attempt("ntfy.phone", AttemptResult::Retry);
        activity.count_attempt("ntfy.phone", AttemptResult::Retry);
        activity.count_attempt("removed", AttemptResult::Sent);
        let backlog = ChannelBacklog {
            channel: "ntfy.phone".to_owned(),
            pending: 2,
            given_up: 1,
            oldest_pending: Some(at("09:00")),
        };
        let text = text(&current, &counted, &[backlog], &activity);
        for line in [
            &format!("statusd_service_outages_total{PHOTOS}}} 2"),
            &format!("statusd_service_outage_seconds_total{PHOTOS}}} 100"),
            r#"statusd_apple_posting_delay_seconds_bucket{feed="consumer/en_US",le="300"} 0"#,
            r#"statusd_apple_posting_delay_seconds_bucket{feed="consumer/en_US",le="900"} 1"#,
            r#"statusd_apple_posting_delay_seconds_bucket{feed="consumer/en_US",le="28800"} 1"#,
            r#"statusd_apple_posting_delay_seconds_bucket{feed="consumer/en_US",le="+Inf"} 2"#,
            r#"statusd_apple_posting_delay_seconds_sum{feed="consumer/en_US"} 40600"#,
            r#"statusd_apple_posting_delay_seconds_count{feed="consumer/en_US"} 2"#,
            r#"statusd_feed_fetches_total{feed="consumer/en_US",result="changed"} 1"#,
            r#"statusd_feed_fetches_total{feed="consumer/en_US",result="unchanged"} 0"#,
            r#"statusd_feed_fetches_total{feed="consumer/en_US",result="failed"} 1"#,
            r#"statusd_feed_fetch_duration_seconds_bucket{feed="consumer/en_US",le="0.5"} 1"#,
            r#"statusd_feed_fetch_duration_seconds_bucket{feed="consumer/en_US",le="30"} 2"#,
            r#"statusd_deliveries_pending{channel="ntfy.phone"} 2"#,
            r#"statusd_deliveries_pending{channel="log"} 0"#,
            r#"statusd_deliveries_given_up{channel="ntfy.phone"} 1"#,
            &format!(
                r#"statusd_delivery_oldest_pending_timestamp_seconds{{channel="ntfy.phone"}} {}"#,
                at("09:00").as_second()
            ),
            r#"statusd_delivery_attempts_total{channel="ntfy.phone",result="retry"} 2"#,
            r#"statusd_delivery_attempts_total{channel="ntfy.phone",result="sent"} 0"#,
            r#"statusd_delivery_attempts_total{channel="removed",result="sent"} 1"#,
            r#"process_resident_memory_bytes 5000000"#,
            r#"statusd_config_last_reload_successful 1"#,
        ] {
            has(&text, line);
        }
    }

    /// Prometheus rejects a scrape with two equal series or with a broken line.
    #[tokio::test]
    async fn hostile_names_stay_in_their_label() {
        let long = "x".repeat(500);
        let other = format!("{long}y");
        let hostile = "a\"} 1\nstatusd_evil{b=\"\\";
        let text = plain(&current(&[hostile, &long, &other, "\u{202e}abc", "é"]).await);
        let mut series = BTreeSet::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').expect("a value");
            assert!(value.parse::<f64>().is_ok(), "{line}");
            assert!(name.starts_with("statusd_") || name.starts_with("process_"), "{line}");
            assert!(!name.starts_with("statusd_evil"), "{line}");
            assert!(line.len() < 600, "{line}");
            assert!(series.insert(name.to_owned()), "twice: {line}");
        }
        has(
            &text,
            r#"statusd_service_state{feed="consumer/en_US",service="a\"} 1 statusd_evil{b=\"\\",state="ok"} 1"#,
        );
        assert!(!text.contains('\u{202e}'));
    }
}
