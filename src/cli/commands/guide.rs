//! `statusd guide`: the steps to a working iCloud backup, all of them or one.
//!
//! Prints the text of `doctor::guide`. Needs no configuration and no network.

use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::delivery::payload::VERSION;
use crate::doctor::guide::{GuideStep, WARNING};
use crate::exit_code::WRONG_USAGE;

use crate::cli::args::GuideArgs;
use crate::cli::context::{CommandError, Invocation, Output};
use crate::cli::terminal::{Style, Terminal};

const INDENT: usize = 4;

pub fn run(guide: &GuideArgs, invocation: &Invocation) -> Result<Output, CommandError> {
    let steps = match &guide.step {
        Some(text) => vec![step(text)?],
        None => GuideStep::ALL.to_vec(),
    };
    // Irrelevant, because the guide shows no times.
    let zone = TimeZone::UTC;
    let terminal = invocation.terminal(&zone);
    Ok(Output::done(match guide.json {
        true => format!("{:#}\n", list(&steps)),
        false if guide.step.is_some() => draw(steps[0], &terminal),
        false => all_steps(&steps, &terminal),
    }))
}

fn step(text: &str) -> Result<GuideStep, CommandError> {
    GuideStep::parse(text).ok_or_else(|| {
        let names: Vec<&str> = GuideStep::ALL.iter().map(|step| step.as_str()).collect();
        let last = GuideStep::ALL.len();
        CommandError::new(
            WRONG_USAGE,
            format!("unknown step {text:?}: expected 1 to {last}, or one of {}", names.join(", ")),
        )
    })
}

fn all_steps(steps: &[GuideStep], terminal: &Terminal) -> String {
    let mut text = terminal.paragraph(0, "My iPhone does not back up to iCloud. Steps, easiest first:");
    text.push('\n');
    for step in steps {
        text.push_str(&draw(*step, terminal));
        text.push('\n');
    }
    text.push_str(&terminal.paragraph(0, WARNING));
    text
}

/// Prints the title, the reason, the actions and the warning of a step.
fn draw(step: GuideStep, terminal: &Terminal) -> String {
    let content = step.text();
    let title = format!("{:>2}. {}", step.number(), content.title);
    let mut text = format!("{}\n", terminal.paint(Style::Bold, &title));
    text.push_str(&terminal.paragraph(INDENT, content.why));
    for line in content.todo {
        text.push_str(&list_item(line, terminal));
    }
    if !content.warning.is_empty() {
        let warning = terminal.paragraph(INDENT, &format!("Warning: {}", content.warning));
        text.extend(
            warning
                .lines()
                .map(|line| format!("{:INDENT$}{}\n", "", terminal.paint(Style::Warning, line.trim_start()))),
        );
    }
    text
}

fn list_item(line: &str, terminal: &Terminal) -> String {
    let paragraph = terminal.paragraph(INDENT + 2, line);
    format!("{:INDENT$}- {}", "", paragraph.trim_start())
}

fn list(steps: &[GuideStep]) -> Value {
    let steps = steps.iter().map(|step| {
        let content = step.text();
        json!({
            "number": step.number(),
            "step": step.as_str(),
            "title": content.title,
            "why": content.why,
            "todo": content.todo,
            "mind": (!content.warning.is_empty()).then_some(content.warning),
        })
    });
    json!({"version": VERSION, "warning": WARNING, "steps": steps.collect::<Vec<Value>>()})
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::cli::documents::check_documented;
    use crate::cli::terminal::tests::UTC;

    fn terminal(color: bool) -> Terminal<'static> {
        Terminal { width: 80, color, zone: &UTC, now: Timestamp::UNIX_EPOCH }
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
        assert_eq!(draw(GuideStep::NetworkReset, &terminal(false)), expected);
        let painted = draw(GuideStep::Update, &terminal(true));
        assert!(painted.starts_with("\u{1b}[1m 5. Update iOS\u{1b}[0m\n"), "{painted:?}");
    }

    #[test]
    fn the_guide_has_every_step_once_and_the_warning() {
        let text = all_steps(&GuideStep::ALL, &terminal(false));
        for step in GuideStep::ALL {
            let title = format!("{}. {}\n", step.number(), step.text().title);
            assert_eq!(text.matches(&title).count(), 1, "{step:?}");
        }
        assert!(text.contains("Never erase"));
        assert!(text.lines().all(|line| line.chars().count() <= 80));
    }

    #[test]
    fn the_json_has_every_step() {
        let list = list(&GuideStep::ALL);
        check_documented("guide", &list);
        assert_eq!(list["steps"].as_array().map(Vec::len), Some(12));
    }
}
