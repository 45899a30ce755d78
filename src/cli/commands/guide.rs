//! `statusd guide`: the steps to a working iCloud backup, all of them or one.
//!
//! Prints the text of `doctor::guide`. Needs no configuration and no network.

use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::delivery::payload::VERSION;
use crate::doctor::guide::{GuideStep, WARNING};

use crate::cli::args::Guide;
use crate::cli::terminal::{Ink, Page};
use crate::cli::{Failure, Invocation, Output, WRONG_USAGE};

const INDENT: usize = 4;

pub fn run(guide: &Guide, invocation: &Invocation) -> Result<Output, Failure> {
    let steps = match &guide.step {
        Some(text) => vec![step(text)?],
        None => GuideStep::ALL.to_vec(),
    };
    // Irrelevant, because the guide shows no times.
    let zone = TimeZone::UTC;
    let page = invocation.page(&zone);
    Ok(Output::done(match guide.json {
        true => format!("{:#}\n", list(&steps)),
        false if guide.step.is_some() => draw(steps[0], &page),
        false => road(&steps, &page),
    }))
}

fn step(text: &str) -> Result<GuideStep, Failure> {
    GuideStep::parse(text).ok_or_else(|| {
        let words: Vec<&str> = GuideStep::ALL.iter().map(|step| step.as_str()).collect();
        let last = GuideStep::ALL.len();
        Failure::new(
            WRONG_USAGE,
            format!("unknown step {text:?}: expected 1 to {last}, or one of {}", words.join(", ")),
        )
    })
}

fn road(steps: &[GuideStep], page: &Page) -> String {
    let mut text = page.paragraph(0, "My iPhone does not back up to iCloud. Steps, easiest first:");
    text.push('\n');
    for step in steps {
        text.push_str(&draw(*step, page));
        text.push('\n');
    }
    text.push_str(&page.paragraph(0, WARNING));
    text
}

/// The title, why, what to do, what to mind.
fn draw(step: GuideStep, page: &Page) -> String {
    let said = step.text();
    let title = format!("{:>2}. {}", step.number(), said.title);
    let mut text = format!("{}\n", page.paint(Ink::Strong, &title));
    text.push_str(&page.paragraph(INDENT, said.why));
    for line in said.todo {
        text.push_str(&item(line, page));
    }
    if !said.mind.is_empty() {
        let mind = page.paragraph(INDENT, &format!("Warning: {}", said.mind));
        text.extend(mind.lines().map(|line| {
            let words = line.trim_start();
            format!("{:INDENT$}{}\n", "", page.paint(Ink::Doubtful, words))
        }));
    }
    text
}

/// A paragraph that hangs from a dash.
fn item(line: &str, page: &Page) -> String {
    let whole = page.paragraph(INDENT + 2, line);
    format!("{:INDENT$}- {}", "", whole.trim_start())
}

fn list(steps: &[GuideStep]) -> Value {
    let steps = steps.iter().map(|step| {
        let said = step.text();
        json!({
            "number": step.number(),
            "step": step.as_str(),
            "title": said.title,
            "why": said.why,
            "todo": said.todo,
            "mind": (!said.mind.is_empty()).then_some(said.mind),
        })
    });
    json!({"version": VERSION, "warning": WARNING, "steps": steps.collect::<Vec<Value>>()})
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::cli::terminal::tests::UTC;
    use crate::cli::tests::check_documented;

    fn page(color: bool) -> Page<'static> {
        Page { width: 80, color, zone: &UTC, now: Timestamp::UNIX_EPOCH }
    }

    #[test]
    fn a_step_is_drawn_in_80_columns() {
        // One string, because a line continuation would drop the leading space.
        let expected = " 8. Reset the network settings
    If other devices back up on the same Wi-Fi and this phone does not, its
    network settings may be the cause.
    - Settings, General, Transfer or Reset iPhone, Reset, Reset Network
      Settings.
    - Connect to Wi-Fi again, and try Back Up Now (step 4).
    Warning: The phone forgets all Wi-Fi networks and their passwords, and its
    VPN and mobile network settings. Have your Wi-Fi password at hand. Do not
    tap Erase All Content and Settings, which is next to Reset.
";
        assert_eq!(draw(GuideStep::NetworkReset, &page(false)), expected);
        let painted = draw(GuideStep::Update, &page(true));
        assert!(painted.starts_with("\u{1b}[1m 5. Update iOS\u{1b}[0m\n"), "{painted:?}");
    }

    #[test]
    fn the_road_has_every_step_once_and_the_warning() {
        let road = road(&GuideStep::ALL, &page(false));
        for step in GuideStep::ALL {
            let title = format!("{}. {}\n", step.number(), step.text().title);
            assert_eq!(road.matches(&title).count(), 1, "{step:?}");
        }
        assert!(road.contains("Never erase"));
        assert!(road.lines().all(|line| line.chars().count() <= 80));
    }

    #[test]
    fn programs_get_the_same() {
        let list = list(&GuideStep::ALL);
        check_documented("guide", &list);
        assert_eq!(list["steps"].as_array().map(Vec::len), Some(12));
    }
}
