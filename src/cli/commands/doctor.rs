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
use crate::doctor::probe::{ConnectTo, Net};
use crate::doctor::{
    self, CHECKS, Database, Finding, Group, Selection, Status, Verdict, Whose, World, verdict,
};
use crate::feed::fetch::Fetcher;
use crate::phones::ios_releases::{self, Source};
use crate::phones::local_backups::{self, BackupPlace};
use crate::tls;

use crate::cli::args::Doctor;
use crate::cli::phrases::shown;
use crate::cli::state::{self, StateLocation};
use crate::cli::terminal::{Ink, Page, padded, width};
use crate::cli::{Failure, Invocation, Output, WRONG_USAGE, wait};

/// The width of the status before a check. Advice and evidence are indented by the same width.
const MARK_COLUMNS: usize = 9;
const HTTPS_PORT: u16 = 443;
/// Returns to the start of the line and erases it (ECMA-48).
const CLEAR_LINE: &str = "\r\u{1b}[K";

pub fn run(doctor: &Doctor, invocation: &Invocation) -> Result<Output, Failure> {
    if doctor.list_checks {
        return Ok(Output::done(if doctor.json { format!("{:#}\n", checks_json()) } else { checks_text() }));
    }
    let wrong = |words: String| Failure::new(WRONG_USAGE, words);
    let asked = Selection::new(&doctor.only, &doctor.skip).map_err(wrong)?;
    // A link to a disk that is not connected is there.
    let is_lost = |folder: &&PathBuf| {
        folder.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    };
    if let Some(lost) = doctor.backups.iter().find(is_lost) {
        return Err(wrong(format!("--backups: {}: no such directory", lost.display())));
    }
    let (config, error) = invocation.usable_config()?;
    let is_watch_known = error.is_none() || config.is_watch_given();
    config.warn_if_open();
    let world = world(doctor, &config, invocation)?;
    let progress = Progress::new(doctor.json);
    let mut findings =
        wait(doctor::examine(world, &asked, invocation.environment, &|word| progress.tell(word)))?;
    progress.clear();
    if !is_watch_known {
        doctor::without_watch(&mut findings);
    }
    let verdict = verdict(&findings);
    let page = invocation.page(&config.time_zone);
    let text = match doctor.json {
        true => format!("{:#}\n", answer_json(&verdict, &findings, &page)),
        false => answer(&verdict, &findings, doctor.verbose, &page),
    };
    Ok(Output { text, code: verdict.whose.exit_code() })
}

fn world(doctor: &Doctor, config: &Config, invocation: &Invocation) -> Result<World, Failure> {
    let feed_url = daemon::feed_url(config)?;
    let in_feed = |words: String| config.error_in("feed", &words);
    let fetcher = Fetcher::new(feed_url, doctor::FEED_LIMITS, config.ca_file.as_deref()).map_err(in_feed)?;
    let extra_roots = config.ca_file.as_deref().map(tls::authorities).transpose().map_err(in_feed)?;
    let connect_to = doctor.connect_to.iter().map(|text| ConnectTo::parse(text)).collect::<Result<_, _>>();
    let connect_to =
        connect_to.map_err(|words| Failure::new(WRONG_USAGE, format!("--connect-to: {words}")))?;
    let extra_roots = extra_roots.unwrap_or_default();
    let may_ask_outside = !doctor.no_third_party;
    let net = Net { connect_to, extra_roots: extra_roots.clone(), may_ask_outside, ..Net::default() };
    let releases = Source {
        extra_roots,
        address: net.address_of(ios_releases::HOST, HTTPS_PORT),
        state_directory: Some(config.state_directory.clone()),
        within: doctor::RELEASES_WITHIN,
    };
    let usbmuxd = match config.phone.usbmuxd {
        Some(_) => Ok(config.phone.address.clone()),
        None => config::usbmuxd(invocation.environment),
    };
    let (state_directory, private) = match state::of(config, invocation) {
        StateLocation::Here(directory) => (directory, None),
        StateLocation::Nowhere => (config.state_directory.clone(), None),
        StateLocation::Closed(directory, error) => {
            let seen = state::closed(&directory, &error);
            let command = state::as_root(&invocation.arguments, &directory);
            let todo = state::advice(&error, &command);
            (directory, Some(Database::Private { seen, todo }))
        }
    };
    Ok(World {
        now: invocation.now,
        zone: config.time_zone.clone(),
        watch: config.watch.clone(),
        feed: config.feed.clone(),
        fetcher,
        state_directory,
        private,
        beside: state::beside(config, invocation),
        desktop: config.channel.open_desktop(),
        usbmuxd: usbmuxd?,
        net,
        releases,
        backup_roots: backup_roots(doctor, config, invocation),
        with_speed: doctor.speed,
        identifiers: doctor.identifiers,
    })
}

/// The folders that were named, and the one where macOS keeps them.
fn backup_roots(doctor: &Doctor, config: &Config, invocation: &Invocation) -> Vec<BackupPlace> {
    let home = (invocation.environment)("HOME").filter(|_| cfg!(target_os = "macos"));
    let own = home.map(|home| BackupPlace::of_system(local_backups::macos_root(Path::new(&home))));
    let named = doctor.backups.iter().chain(&config.phone.backups);
    named.cloned().map(BackupPlace::named).chain(own).collect()
}

/// A progress line on a terminal, erased at the end. Short, because a wrapped line cannot be erased.
struct Progress {
    is_wanted: bool,
    done: Cell<usize>,
}

impl Progress {
    fn new(is_json: bool) -> Progress {
        let progress = Progress { is_wanted: !is_json && io::stderr().is_terminal(), done: Cell::new(0) };
        progress.draw("Checking …");
        progress
    }

    fn tell(&self, word: &'static str) {
        self.done.set(self.done.get() + 1);
        self.draw(&format!("Checking … {} done: {word}", self.done.get()));
    }

    fn draw(&self, text: &str) {
        if self.is_wanted {
            // Where it cannot be written nobody misses it.
            let _ = write!(io::stderr(), "{CLEAR_LINE}{text}").and_then(|()| io::stderr().flush());
        }
    }

    fn clear(&self) {
        self.draw("");
    }
}

fn mark(status: Status) -> (&'static str, Ink) {
    match status {
        Status::Ok => ("ok", Ink::Good),
        Status::Warning => ("warning", Ink::Doubtful),
        Status::Problem => ("PROBLEM", Ink::Bad),
        Status::Skipped => ("skipped", Ink::Faint),
        Status::CannotTell => ("unknown", Ink::Doubtful),
    }
}

/// The verdict, a blank line, and the checks in their groups.
fn answer(verdict: &Verdict, findings: &[Finding], verbose: bool, page: &Page) -> String {
    let ink = match verdict.whose {
        Whose::Someones(_) => Ink::Bad,
        Whose::CannotTell => Ink::Doubtful,
        Whose::Nobodys => Ink::Good,
    };
    let words = page.paragraph(0, &shown(&verdict.words));
    let mut text: String = words.lines().map(|line| format!("{}\n", page.paint(ink, line))).collect();
    for group in Group::ALL {
        let of_group =
            |finding: &&Finding| CHECKS.iter().any(|check| check.id == finding.id && check.group == group);
        let of_group: Vec<&Finding> = findings.iter().filter(of_group).collect();
        let alike = of_group.chunk_by(|one, next| is_alike(one, next));
        let lines: String = alike.map(|findings| entry(findings, verbose, page)).collect();
        if !lines.is_empty() {
            text.push_str(&format!("\n{}\n{lines}", page.paint(Ink::Strong, group.title())));
        }
    }
    text
}

/// Whether nothing but their checks tells them apart: then they share a line.
fn is_alike(one: &Finding, other: &Finding) -> bool {
    Finding { id: other.id, ..one.clone() } == *other
}

/// `ok       portal: the network is open`, what to do under it. Of findings that are alike.
fn entry(findings: &[&Finding], verbose: bool, page: &Page) -> String {
    let [finding, ..] = findings else { return String::new() };
    let ids: Vec<&str> = findings.iter().map(|finding| finding.id).collect();
    let (word, ink) = mark(finding.status);
    let subject = finding.subject.as_deref().map(|subject| format!("{}: ", shown(subject)));
    let seen = format!("{}: {}{}", ids.join(", "), subject.unwrap_or_default(), shown(&finding.seen));
    let wrapped = page.paragraph(MARK_COLUMNS, &seen);
    let mut text = format!("{}{}", page.paint(ink, &padded(word, MARK_COLUMNS)), wrapped.trim_start());
    if let Some(todo) = &finding.todo {
        let step = finding.step.map(|step| format!(" (`statusd guide {}`)", step.number()));
        let todo = format!("{}{}", shown(todo), step.unwrap_or_default());
        text.push_str(&hanging("→ ", &todo, page));
    }
    if verbose {
        for line in &finding.evidence {
            let drawn = hanging("· ", &shown(line), page);
            text.extend(drawn.lines().map(|line| format!("{}\n", page.paint(Ink::Faint, line))));
        }
    }
    text
}

fn hanging(sign: &str, text: &str, page: &Page) -> String {
    let wrapped = page.paragraph(MARK_COLUMNS + width(sign), text);
    format!("{:MARK_COLUMNS$}{sign}{}", "", wrapped.trim_start())
}

fn answer_json(verdict: &Verdict, findings: &[Finding], page: &Page) -> Value {
    json!({
        "version": VERSION,
        "at": page.now,
        "verdict": verdict.whose.as_str(),
        "text": shown(&verdict.words),
        "exit_code": verdict.whose.exit_code(),
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
    use crate::cli::terminal::tests::UTC;
    use crate::cli::tests::check_documented;
    use crate::doctor::Blame;
    use crate::doctor::guide::GuideStep;

    fn page(color: bool) -> Page<'static> {
        Page { width: 80, color, zone: &UTC, now: "2026-05-05T09:40:00Z".parse().expect("a time") }
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
    fn the_verdict_comes_first_and_all_fits_into_80_columns() {
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
        assert_eq!(answer(&verdict(&findings), &findings, false, &page(false)), expected);
        let verbose = answer(&verdict(&findings), &findings, true, &page(false));
        assert!(verbose.contains("guide 1`)\n         · published 09:31, 61 services\n"), "{verbose}");
        let painted = answer(&verdict(&findings), &findings, false, &page(true));
        assert!(painted.contains("\u{1b}[1;31mPROBLEM  \u{1b}[0mapple"), "{painted:?}");
    }

    #[test]
    fn programs_get_what_people_get() {
        let findings = findings();
        let answer = answer_json(&verdict(&findings), &findings, &page(false));
        check_documented("doctor", &answer);
        assert_eq!((&answer["verdict"], &answer["exit_code"]), (&json!("apple"), &json!(1)));
        assert_eq!(answer["checks"][2]["group"], json!("phone"));
        check_documented("doctor --list-checks", &checks_json());
    }
}
