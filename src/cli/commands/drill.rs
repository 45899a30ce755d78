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
use crate::drill::{self, Act, Drill, DrillStep, Play, Sent, Told};
use crate::text::counted;
use crate::tracking::poll_plan::Plan;

use super::test_notice::chosen;
use crate::cli::phrases::shown;
use crate::cli::terminal::{Ink, Page};
use crate::cli::{DONE, FAILED, Failure, Invocation, Output, args, print, wait};

/// The channel that writes one line for each change instead of JSON.
const LOG: &str = "log";

pub fn run(args: &args::DrillArgs, invocation: &Invocation) -> Result<Output, Failure> {
    let config = invocation.config()?;
    let receivers = chosen(daemon::receivers(&config, invocation.environment)?, &args.channels)?;
    let drill = drill(args, &config, invocation);
    let page = invocation.page(&config.time_zone);
    let mut report = Report { drill: drill.clone(), steps: Vec::new() };
    if !args.json {
        print(&report.head(&page))?;
    }
    let played = async {
        let mut play = Play::begin(drill, receivers);
        while let Some(step) = play.next().await.map_err(|error| Failure::failed(format!("{error:#}")))? {
            if !args.json {
                print(&text(&step, &page))?;
            }
            report.steps.push(step);
        }
        Ok::<(), Failure>(())
    };
    wait(LocalSet::new().run_until(played))??;
    let text = if args.json { format!("{:#}\n", report.json(&page)) } else { report.sum(&page) };
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
enum Outcome {
    Delivered,
    /// The daemon would retry.
    Failed,
    Refused,
    /// A dry run.
    NotSent,
    /// Excluded by the channel's policy.
    LeftOut,
}

impl Outcome {
    fn of(told: &Told) -> Outcome {
        match &told.message {
            None => Outcome::LeftOut,
            Some(Sent { answer: None, .. }) => Outcome::NotSent,
            Some(Sent { answer: Some(SendOutcome::Delivered { .. }), .. }) => Outcome::Delivered,
            Some(Sent {
                answer: Some(SendOutcome::Transient { .. } | SendOutcome::Unclear { .. }), ..
            }) => Outcome::Failed,
            Some(Sent { answer: Some(SendOutcome::Permanent { .. }), .. }) => Outcome::Refused,
        }
    }

    /// The value of `state` in JSON.
    fn as_str(self) -> &'static str {
        match self {
            Outcome::Delivered => "delivered",
            Outcome::Failed => "failed",
            Outcome::Refused => "refused",
            Outcome::NotSent => "not_sent",
            Outcome::LeftOut => "left_out",
        }
    }

    fn is_bad(self) -> bool {
        matches!(self, Outcome::Failed | Outcome::Refused)
    }

    fn words(self) -> (Ink, &'static str) {
        match self {
            Outcome::Delivered => (Ink::Good, "delivered"),
            Outcome::Failed => (Ink::Doubtful, "failed; the daemon would retry"),
            Outcome::Refused => (Ink::Bad, "refused"),
            Outcome::NotSent => (Ink::Faint, "not sent"),
            Outcome::LeftOut => (Ink::Faint, "not sent, because of its `only` or `services`"),
        }
    }
}

struct Report {
    drill: Drill,
    steps: Vec<DrillStep>,
}

impl Report {
    fn told(&self) -> impl Iterator<Item = &Told> {
        self.steps.iter().flat_map(|step| &step.told)
    }

    fn code(&self) -> u8 {
        if self.told().any(|told| Outcome::of(told).is_bad()) { FAILED } else { DONE }
    }

    fn head(&self, page: &Page) -> String {
        let how = match self.drill.speed {
            None => String::new(),
            Some(speed) => {
                let length_s = drill::LENGTH_S.unsigned_abs().div_ceil(u64::from(speed));
                format!(" It takes {}.", Took(Duration::from_secs(length_s)))
            }
        };
        let what = if self.drill.is_dry { "Nothing is sent." } else { "Every message begins with DRILL." };
        let service = shown(&self.drill.service);
        page.paragraph(0, &format!("A simulated outage of {service}. {what}{how}"))
    }

    fn sum(&self, page: &Page) -> String {
        let sent = self.told().filter(|told| !matches!(Outcome::of(told), Outcome::LeftOut)).count();
        let mut lost: Vec<&str> =
            self.told().filter(|told| Outcome::of(told).is_bad()).map(|told| told.channel.as_str()).collect();
        let count = lost.len();
        lost.dedup();
        lost.sort_unstable();
        lost.dedup();
        let text = match (self.drill.is_dry, sent, count) {
            (true, ..) => format!("{}; nothing was sent.", counted(sent, "message")),
            (false, 0, _) => {
                "Nothing was sent: no channel accepts these notices; see `only` and `services` in [channel]."
                    .to_owned()
            }
            (false, 1, 0) => "The message arrived.".to_owned(),
            (false, sent, 0) => format!("All {sent} messages arrived."),
            (false, sent, count) => {
                format!(
                    "{count} of {} did not arrive: see {} above.",
                    counted(sent, "message"),
                    lost.join(", ")
                )
            }
        };
        format!("\n{}", page.paragraph(0, &text))
    }

    fn json(&self, page: &Page) -> Value {
        json!({
            "version": VERSION,
            "at": page.now,
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
        "step": step.act.as_str(),
        "at": step.at,
        "polls_ms": milliseconds(step.looks),
        "messages": step.told.iter().map(told_json).collect::<Vec<Value>>(),
    })
}

fn told_json(told: &Told) -> Value {
    let sent = told.message.as_ref();
    let payload = sent.map(|sent| sent.notice.payload.as_str()).filter(|payload| !payload.is_empty());
    json!({
        "channel": told.channel,
        "state": Outcome::of(told).as_str(),
        "answer": sent.and_then(|sent| sent.answer.as_ref()).map(SendOutcome::words),
        "took_ms": sent.map(|sent| milliseconds(sent.took)),
        "title": sent.map(|sent| &sent.notice.title),
        "body": sent.map(|sent| &sent.notice.body).filter(|body| !body.is_empty()),
        "change": payload.and_then(|payload| serde_json::from_str::<Value>(payload).ok()),
    })
}

fn text(step: &DrillStep, page: &Page) -> String {
    let what = match step.act {
        Act::Calm => "No outage: no notice",
        Act::Began => "Outage begins",
        Act::Worsened => "Outage worsens",
        Act::Ended => "Outage ends",
        Act::Missed => "Another outage is posted only after it has ended",
    };
    let head = page.paragraph(0, &format!("{what}: two polls in {}", Took(step.looks)));
    let told: String = step.told.iter().map(|told| told_text(told, page)).collect();
    format!("\n{}{told}", head.replacen(what, &page.paint(Ink::Strong, what), 1))
}

fn told_text(told: &Told, page: &Page) -> String {
    let (ink, what) = Outcome::of(told).words();
    let Some(Sent { notice, answer, took }) = &told.message else {
        return page.paragraph(2, &format!("{}: {what}", told.channel));
    };
    let Some(answer) = answer else {
        let message = match told.audience {
            // What a program would get, byte for byte.
            Audience::Programs if told.channel != LOG => format!("{}\n", notice.payload),
            Audience::Programs => page.paragraph(4, &shown(&notice.title)),
            Audience::People | Audience::Desktop => {
                let lines = std::iter::once(notice.title.as_str()).chain(notice.body.lines());
                lines.map(|line| page.paragraph(4, &shown(line))).collect()
            }
        };
        return format!("{}{message}", page.paragraph(2, &format!("{}:", told.channel)));
    };
    let words = format!("{}: {what}: {} ({})", told.channel, shown(answer.words()), Took(*took));
    let line = page.paragraph(2, &words).replacen(what, &page.paint(ink, what), 1);
    // What the log channel wrote stands on the terminal already.
    let is_shown = told.channel == LOG && matches!(answer, SendOutcome::Delivered { .. });
    let title = if is_shown { String::new() } else { page.paragraph(4, &shown(&notice.title)) };
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
    use crate::cli::terminal::tests::UTC;
    use crate::cli::tests::check_documented;

    const PAYLOAD: &str = r#"{"version":1,"text":"DRILL: Issue: iCloud Backup"}"#;

    fn told(channel: &str, audience: Audience, answer: Option<SendOutcome>) -> Told {
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
        let message = Some(Sent { notice, answer, took: Duration::from_millis(12) });
        Told { channel: channel.to_owned(), audience, message }
    }

    fn delivered() -> Option<SendOutcome> {
        Some(SendOutcome::Delivered { receipt: None, words: "shown on the desktop".to_owned() })
    }

    fn refused() -> Option<SendOutcome> {
        Some(SendOutcome::Permanent { words: "127.0.0.1 answers 410 Gone".to_owned() })
    }

    fn page() -> Page<'static> {
        Page { width: 80, color: false, zone: &UTC, now: "2026-05-05T12:00:00Z".parse().expect("a time") }
    }

    fn report(is_dry: bool, told: Vec<Told>) -> Report {
        let schedule = || Schedule::parse("*/5 * * * *", &UTC).expect("a schedule");
        let drill = Drill {
            feed: FeedId { edition: Edition::Consumer, locale: "en_US".to_owned() },
            service: "iCloud Backup".to_owned(),
            plan: Plan { poll: schedule(), trouble: schedule(), jitter_s: 0 },
            now: page().now,
            speed: Some(60),
            is_dry,
        };
        let step = DrillStep { act: Act::Began, at: page().now, looks: Duration::from_millis(1_510), told };
        Report { drill, steps: vec![step] }
    }

    #[test]
    fn each_channel_has_its_answer_its_time_and_what_was_said() {
        let report = report(
            false,
            vec![
                told("desktop", Audience::People, delivered()),
                told("webhook.ops", Audience::Programs, refused()),
                told("log", Audience::Programs, delivered()),
                Told { channel: "mqtt".to_owned(), audience: Audience::Programs, message: None },
            ],
        );
        let drawn =
            format!("{}{}{}", report.head(&page()), text(&report.steps[0], &page()), report.sum(&page()));
        let expected = "\
A simulated outage of iCloud Backup. Every message begins with DRILL. It takes
21.0 s.

Outage begins: two polls in 1.5 s
  desktop: delivered: shown on the desktop (12 ms)
    DRILL: Issue: iCloud Backup
  webhook.ops: refused: 127.0.0.1 answers 410 Gone (12 ms)
    DRILL: Issue: iCloud Backup
  log: delivered: shown on the desktop (12 ms)
  mqtt: not sent, because of its `only` or `services`

1 of 3 messages did not arrive: see webhook.ops above.
";
        assert_eq!(drawn, expected);
        assert_eq!(report.code(), FAILED);
    }

    #[test]
    fn a_dry_drill_shows_what_people_would_read_and_programs_get() {
        let report = report(
            true,
            vec![
                told("desktop", Audience::People, None),
                told("webhook.ops", Audience::Programs, None),
                told("log", Audience::Programs, None),
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
        assert_eq!(text(&report.steps[0], &page()), expected);
        assert_eq!(
            (report.code(), report.sum(&page()).as_str()),
            (DONE, "\n3 messages; nothing was sent.\n")
        );
    }

    #[test]
    fn programs_get_what_people_get() {
        let report = report(
            false,
            vec![
                told("webhook.ops", Audience::Programs, refused()),
                told("desktop", Audience::People, delivered()),
            ],
        );
        let document = report.json(&page());
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
