//! `statusd drill`: plays a simulated outage and prints the result of each phase on each channel.
//!
//! Prints a phase as soon as every channel has finished it. The exit code is 0 only if every attempted
//! message was delivered.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::LocalSet;

use crate::channel::{Audience, SendOutcome};
use crate::config::Config;
use crate::daemon;
use crate::delivery::payload::VERSION;
use crate::drill::{self, Delivered, Drill, DrillPhase, DrillStep, Run, Sent};
use crate::exit_code::{DONE, FAILED};
use crate::text::counted;
use crate::tracking::poll_plan::Plan;

use super::test_notice::selected;
use crate::cli::args;
use crate::cli::context::{CommandError, Invocation, Output, block_on, print};
use crate::cli::phrases::printable;
use crate::cli::terminal::{Style, Terminal};

/// The channel that writes one line for each change instead of JSON.
const LOG: &str = "log";

pub fn run(args: &args::DrillArgs, invocation: &Invocation) -> Result<Output, CommandError> {
    let config = invocation.config()?;
    let receivers = selected(daemon::receivers(&config, invocation.environment)?, &args.channels)?;
    let drill = drill(args, &config, invocation);
    let terminal = invocation.terminal(&config.time_zone);
    let mut report = Report { drill: drill.clone(), steps: Vec::new() };
    if !args.json {
        print(&report.head(&terminal))?;
    }
    let drill_run = async {
        let mut run = Run::start(drill, receivers);
        while let Some(step) = run.next().await.map_err(|error| CommandError::failed(format!("{error:#}")))? {
            if !args.json {
                print(&text(&step, &terminal))?;
            }
            report.steps.push(step);
        }
        Ok::<(), CommandError>(())
    };
    block_on(LocalSet::new().run_until(drill_run))??;
    let text = if args.json { format!("{:#}\n", report.json(&terminal)) } else { report.summary(&terminal) };
    Ok(Output { text, code: report.code() })
}

fn drill(args: &args::DrillArgs, config: &Config, invocation: &Invocation) -> Drill {
    Drill {
        feed: config.feed.clone(),
        service: drill::service(&config.watch),
        plan: Plan { poll: config.poll.clone(), trouble: config.trouble.clone(), jitter_s: 0 },
        now: invocation.now,
        speed: args.speed,
        is_dry: args.dry,
    }
}

/// The result of one phase on one channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ChannelResult {
    Delivered,
    /// The daemon would retry.
    Failed,
    Refused,
    /// A dry run.
    NotSent,
    /// Excluded by the channel's policy.
    LeftOut,
}

impl ChannelResult {
    fn of(delivery: &Delivered) -> ChannelResult {
        match &delivery.message {
            None => ChannelResult::LeftOut,
            Some(Sent { outcome: None, .. }) => ChannelResult::NotSent,
            Some(Sent { outcome: Some(SendOutcome::Delivered { .. }), .. }) => ChannelResult::Delivered,
            Some(Sent {
                outcome: Some(SendOutcome::Transient { .. } | SendOutcome::Unclear { .. }), ..
            }) => ChannelResult::Failed,
            Some(Sent { outcome: Some(SendOutcome::Permanent { .. }), .. }) => ChannelResult::Refused,
        }
    }

    /// The value of `state` in JSON.
    fn as_str(self) -> &'static str {
        match self {
            ChannelResult::Delivered => "delivered",
            ChannelResult::Failed => "failed",
            ChannelResult::Refused => "refused",
            ChannelResult::NotSent => "not_sent",
            ChannelResult::LeftOut => "left_out",
        }
    }

    fn is_failure(self) -> bool {
        matches!(self, ChannelResult::Failed | ChannelResult::Refused)
    }

    fn label(self) -> (Style, &'static str) {
        match self {
            ChannelResult::Delivered => (Style::Good, "delivered"),
            ChannelResult::Failed => (Style::Warning, "failed; the daemon would retry"),
            ChannelResult::Refused => (Style::Bad, "refused"),
            ChannelResult::NotSent => (Style::Dim, "not sent"),
            ChannelResult::LeftOut => (Style::Dim, "not sent, because of its `only` or `services`"),
        }
    }
}

struct Report {
    drill: Drill,
    steps: Vec<DrillStep>,
}

impl Report {
    fn deliveries(&self) -> impl Iterator<Item = &Delivered> {
        self.steps.iter().flat_map(|step| &step.delivered)
    }

    fn code(&self) -> u8 {
        if self.deliveries().any(|delivery| ChannelResult::of(delivery).is_failure()) { FAILED } else { DONE }
    }

    fn head(&self, terminal: &Terminal) -> String {
        let duration = match self.drill.speed {
            None => String::new(),
            Some(speed) => {
                let length_s = drill::LENGTH_S.unsigned_abs().div_ceil(u64::from(speed));
                format!(" It takes {}.", Took(Duration::from_secs(length_s)))
            }
        };
        let note = if self.drill.is_dry { "Nothing is sent." } else { "Every message begins with DRILL." };
        let service = printable(&self.drill.service);
        terminal.paragraph(0, &format!("A simulated outage of {service}. {note}{duration}"))
    }

    fn summary(&self, terminal: &Terminal) -> String {
        let sent = self
            .deliveries()
            .filter(|delivery| !matches!(ChannelResult::of(delivery), ChannelResult::LeftOut))
            .count();
        let mut failed: Vec<&str> = self
            .deliveries()
            .filter(|delivery| ChannelResult::of(delivery).is_failure())
            .map(|delivery| delivery.channel.as_str())
            .collect();
        let count = failed.len();
        failed.dedup();
        failed.sort_unstable();
        failed.dedup();
        let text = match (self.drill.is_dry, sent, count) {
            (true, ..) => format!("{}; nothing was sent.", counted(sent, "message")),
            (false, 0, _) => {
                "Nothing was sent: no channel accepts these notices; see `only` and `services` in [channel]."
                    .to_owned()
            }
            (false, 1, 0) => "The message was delivered.".to_owned(),
            (false, sent, 0) => format!("All {sent} messages were delivered."),
            (false, sent, count) => {
                format!(
                    "{count} of {} {} not delivered; see {} above.",
                    counted(sent, "message"),
                    if count == 1 { "was" } else { "were" },
                    failed.join(", ")
                )
            }
        };
        format!("\n{}", terminal.paragraph(0, &text))
    }

    fn json(&self, terminal: &Terminal) -> Value {
        json!({
            "version": VERSION,
            "at": terminal.now,
            "feed": self.drill.feed.to_string(),
            "service": self.drill.service,
            "dry": self.drill.is_dry,
            "exit_code": self.code(),
            "steps": self.steps.iter().map(step_json).collect::<Vec<Value>>(),
        })
    }
}

fn step_json(step: &DrillStep) -> Value {
    json!({
        "step": step.phase.as_str(),
        "at": step.at,
        "polls_ms": milliseconds(step.poll_time),
        "messages": step.delivered.iter().map(delivery_json).collect::<Vec<Value>>(),
    })
}

fn delivery_json(delivery: &Delivered) -> Value {
    let sent = delivery.message.as_ref();
    let payload = sent.map(|sent| sent.notice.payload.as_str()).filter(|payload| !payload.is_empty());
    json!({
        "channel": delivery.channel,
        "state": ChannelResult::of(delivery).as_str(),
        "answer": sent.and_then(|sent| sent.outcome.as_ref()).map(SendOutcome::detail),
        "took_ms": sent.map(|sent| milliseconds(sent.took)),
        "title": sent.map(|sent| &sent.notice.title),
        "body": sent.map(|sent| &sent.notice.body).filter(|body| !body.is_empty()),
        "change": payload.and_then(|payload| serde_json::from_str::<Value>(payload).ok()),
    })
}

fn text(step: &DrillStep, terminal: &Terminal) -> String {
    let title = match step.phase {
        DrillPhase::Calm => "No outage: no notice",
        DrillPhase::Began => "Outage begins",
        DrillPhase::Worsened => "Outage worsens",
        DrillPhase::Ended => "Outage ends",
        DrillPhase::Missed => "Another outage is posted only after it has ended",
    };
    let head = terminal.paragraph(0, &format!("{title}: two polls in {}", Took(step.poll_time)));
    let deliveries: String =
        step.delivered.iter().map(|delivery| delivery_text(delivery, terminal)).collect();
    format!("\n{}{deliveries}", head.replacen(title, &terminal.paint(Style::Bold, title), 1))
}

fn delivery_text(delivery: &Delivered, terminal: &Terminal) -> String {
    let (style, label) = ChannelResult::of(delivery).label();
    let Some(Sent { notice, outcome, took }) = &delivery.message else {
        return terminal.paragraph(2, &format!("{}: {label}", delivery.channel));
    };
    let Some(outcome) = outcome else {
        let message = match delivery.audience {
            // The exact bytes that the program would get.
            Audience::Programs if delivery.channel != LOG => format!("{}\n", notice.payload),
            Audience::Programs => terminal.paragraph(4, &printable(&notice.title)),
            Audience::People | Audience::Desktop => {
                let lines = std::iter::once(notice.title.as_str()).chain(notice.body.lines());
                lines.map(|line| terminal.paragraph(4, &printable(line))).collect()
            }
        };
        return format!("{}{message}", terminal.paragraph(2, &format!("{}:", delivery.channel)));
    };
    let text = format!("{}: {label}: {} ({})", delivery.channel, printable(outcome.detail()), Took(*took));
    let line = terminal.paragraph(2, &text).replacen(label, &terminal.paint(style, label), 1);
    // The log channel has already written to the terminal.
    let is_shown = delivery.channel == LOG && matches!(outcome, SendOutcome::Delivered { .. });
    let title = if is_shown { String::new() } else { terminal.paragraph(4, &printable(&notice.title)) };
    format!("{line}{title}")
}

/// A duration, shown as `12 ms`, `1.5 s` or `21 min`.
struct Took(Duration);

impl fmt::Display for Took {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match milliseconds(self.0) {
            0 => write!(f, "under 1 ms"),
            short @ 1..1_000 => write!(f, "{short} ms"),
            seconds @ 1_000..120_000 => write!(f, "{:.1} s", seconds as f64 / 1_000.0),
            long => write!(f, "{} min", long.div_ceil(60_000)),
        }
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use crate::channel::Notice;
    use crate::model::{Edition, FeedId, Severity};
    use crate::schedule::Schedule;

    use super::*;
    use crate::cli::documents::check_documented;
    use crate::cli::terminal::tests::UTC;

    const PAYLOAD: &str = r#"{"version":1,"text":"DRILL: Issue: iCloud Backup"}"#;

    fn delivery(channel: &str, audience: Audience, outcome: Option<SendOutcome>) -> Delivered {
        let is_program = audience == Audience::Programs;
        let notice = Notice {
            key: "k".to_owned(),
            title: "DRILL: Issue: iCloud Backup".to_owned(),
            body: if is_program { String::new() } else { "Since 08:15.\nWait.".to_owned() },
            severity: Severity::Alert,
            payload: if is_program { PAYLOAD.to_owned() } else { String::new() },
            replaces: None,
            follows: None,
        };
        let message = Some(Sent { notice, outcome, took: Duration::from_millis(12) });
        Delivered { channel: channel.to_owned(), audience, message }
    }

    fn delivered() -> Option<SendOutcome> {
        Some(SendOutcome::Delivered { receipt: None, detail: "shown on the desktop".to_owned() })
    }

    fn refused() -> Option<SendOutcome> {
        Some(SendOutcome::Permanent { detail: "127.0.0.1 returned 410 Gone".to_owned() })
    }

    fn terminal() -> Terminal<'static> {
        Terminal { width: 80, color: false, zone: &UTC, now: "2026-05-05T12:00:00Z".parse().expect("a time") }
    }

    fn report(is_dry: bool, deliveries: Vec<Delivered>) -> Report {
        let schedule = || Schedule::parse("*/5 * * * *", &UTC).expect("a schedule");
        let drill = Drill {
            feed: FeedId { edition: Edition::Consumer, locale: "en_US".to_owned() },
            service: "iCloud Backup".to_owned(),
            plan: Plan { poll: schedule(), trouble: schedule(), jitter_s: 0 },
            now: terminal().now,
            speed: Some(60),
            is_dry,
        };
        let step = DrillStep {
            phase: DrillPhase::Began,
            at: terminal().now,
            poll_time: Duration::from_millis(1_510),
            delivered: deliveries,
        };
        Report { drill, steps: vec![step] }
    }

    #[test]
    fn each_channel_has_its_outcome_its_duration_and_its_title() {
        let report = report(
            false,
            vec![
                delivery("desktop", Audience::People, delivered()),
                delivery("webhook.ops", Audience::Programs, refused()),
                delivery("log", Audience::Programs, delivered()),
                Delivered { channel: "mqtt".to_owned(), audience: Audience::Programs, message: None },
            ],
        );
        let drawn = format!(
            "{}{}{}",
            report.head(&terminal()),
            text(&report.steps[0], &terminal()),
            report.summary(&terminal())
        );
        let expected = "\
A simulated outage of iCloud Backup. Every message begins with DRILL. It takes
21.0 s.

Outage begins: two polls in 1.5 s
  desktop: delivered: shown on the desktop (12 ms)
    DRILL: Issue: iCloud Backup
  webhook.ops: refused: 127.0.0.1 returned 410 Gone (12 ms)
    DRILL: Issue: iCloud Backup
  log: delivered: shown on the desktop (12 ms)
  mqtt: not sent, because of its `only` or `services`

1 of 3 messages was not delivered; see webhook.ops above.
";
        assert_eq!(drawn, expected);
        assert_eq!(report.code(), FAILED);
    }

    #[test]
    fn a_dry_run_shows_the_messages_and_the_payloads() {
        let report = report(
            true,
            vec![
                delivery("desktop", Audience::People, None),
                delivery("webhook.ops", Audience::Programs, None),
                delivery("log", Audience::Programs, None),
            ],
        );
        let expected = format!(
            "
Outage begins: two polls in 1.5 s
  desktop:
    DRILL: Issue: iCloud Backup
    Since 08:15.
    Wait.
  webhook.ops:
{PAYLOAD}
  log:
    DRILL: Issue: iCloud Backup
"
        );
        assert_eq!(text(&report.steps[0], &terminal()), expected);
        assert_eq!(
            (report.code(), report.summary(&terminal()).as_str()),
            (DONE, "\n3 messages; nothing was sent.\n")
        );
    }

    #[test]
    fn the_json_has_the_messages_and_the_exit_code() {
        let report = report(
            false,
            vec![
                delivery("webhook.ops", Audience::Programs, refused()),
                delivery("desktop", Audience::People, delivered()),
            ],
        );
        let document = report.json(&terminal());
        check_documented("drill", &document);
        let messages = &document["steps"][0]["messages"];
        assert_eq!(messages[0]["state"], json!("refused"));
        assert_eq!(messages[1]["change"], Value::Null);
        assert_eq!(
            (&document["exit_code"], &messages[1]["body"]),
            (&json!(1), &json!("Since 08:15.\nWait."))
        );
    }
}
