//! `statusd doctor`: is it Apple, or is it me? Prints the verdict first, then a line for each check.
//!
//! `crate::doctor` runs the checks; this file prepares its inputs and prints the findings. Identifiers of
//! a phone or its owner are printed only with `--identifiers`.

use std::cell::Cell;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::config::{self, Config};
use crate::daemon;
use crate::delivery::payload::VERSION;
use crate::doctor::probe::{ConnectTo, ProbeConfig};
use crate::doctor::{
    self, CHECKS, Conclusion, Database, Finding, Group, Inputs, Selection, Status, Verdict, verdict,
};
use crate::exit_code::WRONG_USAGE;
use crate::feed::fetch::Fetcher;
use crate::phones::ios_releases::{self, Source};
use crate::phones::local_backups::{self, BackupLocation};
use crate::setting::SettingError;
use crate::tls;

use crate::cli::args::DoctorArgs;
use crate::cli::context::{CommandError, Invocation, Output, block_on};
use crate::cli::phrases::printable;
use crate::cli::state::{self, StateLocation};
use crate::cli::terminal::{Style, Terminal, padded, width};

/// The width of the status before a check. Advice and evidence are indented by the same width.
const MARK_COLUMNS: usize = 9;
const HTTPS_PORT: u16 = 443;
/// Returns to the start of the line and erases it (ECMA-48).
const CLEAR_LINE: &str = "\r\u{1b}[K";

pub fn run(doctor: &DoctorArgs, invocation: &Invocation) -> Result<Output, CommandError> {
    if doctor.list_checks {
        return Ok(Output::done(if doctor.json { format!("{:#}\n", checks_json()) } else { checks_text() }));
    }
    let wrong_usage = |message: String| CommandError::new(WRONG_USAGE, message);
    let selection = Selection::new(&doctor.only, &doctor.skip).map_err(wrong_usage)?;
    // A symbolic link to a disk that is not connected is valid.
    let is_missing = |folder: &&PathBuf| {
        folder.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    };
    if let Some(missing) = doctor.backups.iter().find(is_missing) {
        return Err(wrong_usage(format!("invalid --backups {}: no such directory", missing.display())));
    }
    let (config, error) = invocation.usable_config()?;
    let is_watch_known = error.is_none() || config.is_watch_given();
    config.warn_if_open();
    let inputs = inputs(doctor, &config, invocation)?;
    let progress = Progress::new(doctor.json);
    let on_collected = |label| progress.done(label);
    let mut findings =
        block_on(doctor::run_checks(inputs, &selection, invocation.environment, &on_collected))?;
    progress.clear();
    if !is_watch_known {
        doctor::discard_watch_findings(&mut findings);
    }
    let verdict = verdict(&findings);
    let terminal = invocation.terminal(&config.time_zone);
    let text = match doctor.json {
        true => format!("{:#}\n", json(&verdict, &findings, &terminal)),
        false => text(&verdict, &findings, doctor.verbose, &terminal),
    };
    Ok(Output { text, code: verdict.conclusion.exit_code() })
}

fn inputs(doctor: &DoctorArgs, config: &Config, invocation: &Invocation) -> Result<Inputs, CommandError> {
    let feed_url = daemon::feed_url(config)?;
    let in_feed = |error: SettingError| config.error_in("feed", error);
    let fetcher = Fetcher::new(feed_url, doctor::FEED_LIMITS, config.ca_file.as_deref()).map_err(in_feed)?;
    let extra_roots = config.ca_file.as_deref().map(tls::authorities).transpose().map_err(in_feed)?;
    let connect_to = doctor.connect_to.iter().map(|text| ConnectTo::parse(text)).collect::<Result<_, _>>();
    let connect_to =
        connect_to.map_err(|message| CommandError::new(WRONG_USAGE, format!("--connect-to: {message}")))?;
    let extra_roots = extra_roots.unwrap_or_default();
    let allow_third_party = !doctor.no_third_party;
    let probe = ProbeConfig {
        connect_to,
        extra_roots: extra_roots.clone(),
        allow_third_party,
        ..ProbeConfig::default()
    };
    let releases = Source {
        extra_roots,
        address: probe.address_of(ios_releases::HOST, HTTPS_PORT),
        state_directory: Some(config.state_directory.clone()),
        timeout: doctor::RELEASES_TIMEOUT,
    };
    let usbmuxd = match config.phone.usbmuxd {
        Some(_) => Ok(config.phone.address.clone()),
        None => config::usbmuxd(invocation.environment),
    };
    let (state_directory, private) = match state::locate(config, invocation) {
        StateLocation::Found(directory) => (directory, None),
        StateLocation::Missing => (config.state_directory.clone(), None),
        StateLocation::Unreadable(directory, error) => {
            let seen = state::cannot_read(&directory, &error);
            let command = state::sudo_command(&invocation.arguments, &directory);
            let todo = state::next_step(&error, &command);
            (directory, Some(Database::Private { seen, todo }))
        }
    };
    Ok(Inputs {
        now: invocation.now,
        zone: config.time_zone.clone(),
        watch: config.watch.clone(),
        feed: config.feed.clone(),
        fetcher,
        state_directory,
        private_database: private,
        system_service_command: state::system_service_command(config, invocation),
        desktop: config.channel.open_desktop(),
        usbmuxd: usbmuxd?,
        probe,
        releases,
        backup_locations: backup_locations(doctor, config, invocation),
        with_speed: doctor.speed,
        identifiers: doctor.identifiers,
    })
}

/// Returns the folders from flags and configuration and, on macOS, the system's own.
fn backup_locations(doctor: &DoctorArgs, config: &Config, invocation: &Invocation) -> Vec<BackupLocation> {
    let home = (invocation.environment)("HOME").filter(|_| cfg!(target_os = "macos"));
    let own = home.map(|home| BackupLocation::of_system(local_backups::macos_root(Path::new(&home))));
    let named = doctor.backups.iter().chain(&config.phone.backups);
    named.cloned().map(BackupLocation::named).chain(own).collect()
}

/// A progress line on a terminal, erased at the end. Short, because a wrapped line cannot be erased.
struct Progress {
    is_visible: bool,
    done_count: Cell<usize>,
}

impl Progress {
    fn new(is_json: bool) -> Progress {
        let is_visible = !is_json && io::stderr().is_terminal();
        let progress = Progress { is_visible, done_count: Cell::new(0) };
        progress.draw("Checking …");
        progress
    }

    fn done(&self, name: &'static str) {
        self.done_count.set(self.done_count.get() + 1);
        self.draw(&format!("Checking … {} done: {name}", self.done_count.get()));
    }

    fn draw(&self, text: &str) {
        if self.is_visible {
            // Failures are ignored, because progress is optional.
            let _ = write!(io::stderr(), "{CLEAR_LINE}{text}").and_then(|()| io::stderr().flush());
        }
    }

    fn clear(&self) {
        self.draw("");
    }
}

fn mark(status: Status) -> (&'static str, Style) {
    match status {
        Status::Ok => ("ok", Style::Good),
        Status::Warning => ("warning", Style::Warning),
        Status::Problem => ("PROBLEM", Style::Bad),
        Status::Skipped => ("skipped", Style::Dim),
        Status::CannotTell => ("unknown", Style::Warning),
    }
}

/// Returns the verdict, followed by the findings in their groups.
fn text(verdict: &Verdict, findings: &[Finding], verbose: bool, terminal: &Terminal) -> String {
    let style = match verdict.conclusion {
        Conclusion::Blamed(_) => Style::Bad,
        Conclusion::CannotTell => Style::Warning,
        Conclusion::NothingFound => Style::Good,
    };
    let conclusion = terminal.paragraph(0, &printable(&verdict.text));
    let mut text: String =
        conclusion.lines().map(|line| format!("{}\n", terminal.paint(style, line))).collect();
    for group in Group::ALL {
        let of_group =
            |finding: &&Finding| CHECKS.iter().any(|check| check.id == finding.id && check.group == group);
        let of_group: Vec<&Finding> = findings.iter().filter(of_group).collect();
        let equal = of_group.chunk_by(|one, next| differ_only_in_id(one, next));
        let lines: String = equal.map(|findings| entry(findings, verbose, terminal)).collect();
        if !lines.is_empty() {
            text.push_str(&format!("\n{}\n{lines}", terminal.paint(Style::Bold, group.title())));
        }
    }
    text
}

/// Returns true if two findings have the same content, so that they share a line.
fn differ_only_in_id(one: &Finding, other: &Finding) -> bool {
    Finding { id: other.id, ..one.clone() } == *other
}

/// Returns the line of equal findings, such as `ok       portal: the network is open`, and the advice.
fn entry(findings: &[&Finding], verbose: bool, terminal: &Terminal) -> String {
    let [finding, ..] = findings else { return String::new() };
    let ids: Vec<&str> = findings.iter().map(|finding| finding.id).collect();
    let (word, style) = mark(finding.status);
    let subject = finding.subject.as_deref().map(|subject| format!("{}: ", printable(subject)));
    let seen = format!("{}: {}{}", ids.join(", "), subject.unwrap_or_default(), printable(&finding.seen));
    let wrapped = terminal.paragraph(MARK_COLUMNS, &seen);
    let mut text = format!("{}{}", terminal.paint(style, &padded(word, MARK_COLUMNS)), wrapped.trim_start());
    if let Some(todo) = &finding.todo {
        let step = finding.step.map(|step| format!(" (`statusd guide {}`)", step.number()));
        let todo = format!("{}{}", printable(todo), step.unwrap_or_default());
        text.push_str(&hanging("→ ", &todo, terminal));
    }
    if verbose {
        for line in &finding.evidence {
            let drawn = hanging("· ", &printable(line), terminal);
            text.extend(drawn.lines().map(|line| format!("{}\n", terminal.paint(Style::Dim, line))));
        }
    }
    text
}

fn hanging(sign: &str, text: &str, terminal: &Terminal) -> String {
    let wrapped = terminal.paragraph(MARK_COLUMNS + width(sign), text);
    format!("{:MARK_COLUMNS$}{sign}{}", "", wrapped.trim_start())
}

fn json(verdict: &Verdict, findings: &[Finding], terminal: &Terminal) -> Value {
    json!({
        "version": VERSION,
        "at": terminal.now,
        "verdict": verdict.conclusion.as_str(),
        "text": printable(&verdict.text),
        "exit_code": verdict.conclusion.exit_code(),
        "checks": findings.iter().map(finding_json).collect::<Vec<Value>>(),
    })
}

fn finding_json(finding: &Finding) -> Value {
    let group = CHECKS.iter().find(|check| check.id == finding.id).map(|check| check.group.as_str());
    json!({
        "id": finding.id,
        "group": group,
        "subject": finding.subject,
        "status": finding.status.as_str(),
        "blame": finding.blame.map(|blame| blame.as_str()),
        "seen": finding.seen,
        "todo": finding.todo,
        "guide_step": finding.step.map(|step| step.as_str()),
        "evidence": finding.evidence,
    })
}

fn checks_text() -> String {
    let width = CHECKS.iter().map(|check| check.id.len()).max().unwrap_or_default() + 2;
    let mut text = String::new();
    for group in Group::ALL {
        text.push_str(&format!("{} ({})\n", group.title(), group.as_str()));
        let of_group = CHECKS.iter().filter(|check| check.group == group);
        text.extend(of_group.map(|check| format!("  {}{}\n", padded(check.id, width), check.what)));
    }
    text
}

fn checks_json() -> Value {
    let checks =
        CHECKS.iter().map(|check| json!({"id": check.id, "group": check.group.as_str(), "what": check.what}));
    json!({"version": VERSION, "checks": checks.collect::<Vec<Value>>()})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::documents::check_documented;
    use crate::cli::terminal::tests::UTC;
    use crate::doctor::Blame;
    use crate::doctor::guide::GuideStep;

    fn terminal(color: bool) -> Terminal<'static> {
        Terminal { width: 80, color, zone: &UTC, now: "2026-05-05T09:40:00Z".parse().expect("a time") }
    }

    fn findings() -> Vec<Finding> {
        vec![
            Finding::new("apple", Status::Problem, "iCloud Backup: outage since 08:15 (1 h 25 min)")
                .blame(Blame::Apple)
                .todo(
                    "Wait: your iPhone backs up by itself once Apple has fixed it. Do not reset or erase it.",
                )
                .step(GuideStep::AppleStatus)
                .evidence(["published 09:31, 61 services".to_owned()]),
            Finding::new("portal", Status::Ok, "the network is open"),
            Finding::new("ios", Status::CannotTell, "a name with \u{1b}[31mcolour").subject("iPhone 2"),
            Finding::new("space", Status::Skipped, "no iPhone to check"),
            Finding::new("power", Status::Skipped, "no iPhone to check"),
            Finding::new("icloud-storage", Status::Skipped, "only macOS tells"),
        ]
    }

    #[test]
    fn the_verdict_comes_first_and_lines_fit_80_columns() {
        let findings = findings();
        let expected = "\
It is Apple: iCloud Backup: outage since 08:15 (1 h 25 min). Wait: your iPhone
backs up by itself once Apple has fixed it. Do not reset or erase it.

Apple
PROBLEM  apple: iCloud Backup: outage since 08:15 (1 h 25 min)
         → Wait: your iPhone backs up by itself once Apple has fixed it. Do not
           reset or erase it. (`statusd guide 1`)

Network (of this computer)
ok       portal: the network is open

Phone
unknown  ios: iPhone 2: a name with [31mcolour
skipped  space, power: no iPhone to check

Backups and storage
skipped  icloud-storage: only macOS tells
";
        assert_eq!(text(&verdict(&findings), &findings, false, &terminal(false)), expected);
        let verbose = text(&verdict(&findings), &findings, true, &terminal(false));
        assert!(verbose.contains("guide 1`)\n         · published 09:31, 61 services\n"), "{verbose}");
        let painted = text(&verdict(&findings), &findings, false, &terminal(true));
        assert!(painted.contains("\u{1b}[1;31mPROBLEM  \u{1b}[0mapple"), "{painted:?}");
    }

    #[test]
    fn the_json_has_the_verdict_and_the_checks() {
        let findings = findings();
        let answer = json(&verdict(&findings), &findings, &terminal(false));
        check_documented("doctor", &answer);
        assert_eq!((&answer["verdict"], &answer["exit_code"]), (&json!("apple"), &json!(1)));
        assert_eq!(answer["checks"][2]["group"], json!("phone"));
        check_documented("doctor --list-checks", &checks_json());
    }
}
