//! `statusd service status`: the status from the service manager, and the daemon's last poll.

use serde_json::{Value, json};

use crate::delivery::message::time_format::when;
use crate::delivery::payload::VERSION;
use crate::service::{Activity, CurrentState, OnDisk, Site, elsewhere};
use crate::status_socket::{self, DaemonStatus};

use super::executor::Outside;
use super::{ended_with, service_config};
use crate::cli::phrases::{age, shown, since};
use crate::cli::terminal::{Ink, Page};
use crate::cli::{DONE, FAILED, Failure, Invocation, Output, wait};

/// The facts about the service at one instant.
struct UnitState<'s> {
    site: &'s Site,
    found: CurrentState,
    live: Option<DaemonStatus>,
    /// Why the service could not read its configuration.
    complaint: Option<String>,
}

pub fn run(site: &Site, json: bool, invocation: &Invocation) -> Result<Output, Failure> {
    let found = wait(async { Outside::new(site, invocation.environment).find().await })??;
    let config = service_config(site, invocation);
    // Whoever was told of a directory knows better.
    let given = invocation.overrides.state_directory.clone();
    let directory = given.or_else(|| config.as_ref().ok().map(|config| config.state_directory.clone()));
    let live = directory.and_then(|directory| status_socket::ask(&directory));
    let zone = config.as_ref().map(|config| config.time_zone.clone()).unwrap_or(jiff::tz::TimeZone::UTC);
    let complaint = config.err().map(|error| error.to_string());
    let code = if found.known.is_running() { DONE } else { FAILED };
    let standing = UnitState { site, found, live, complaint };
    let text = match json {
        true => format!("{:#}\n", standing.json()),
        false => standing.text(&invocation.page(&zone)),
    };
    Ok(Output { text, code })
}

impl UnitState<'_> {
    fn text(&self, page: &Page) -> String {
        // A path is not wrapped: what was broken cannot be copied.
        let mut text = format!("{}\n", self.installed());
        if self.found.known.from.is_some() {
            let begins = match (self.found.known.is_enabled, self.site) {
                (true, Site::Machine) => "Starts at boot",
                (true, Site::Person { .. }) if self.found.lingers => {
                    "Starts at boot, and keeps running after logout"
                }
                (true, Site::Person { .. } | Site::Agent { .. }) => "Starts at login",
                (false, _) => "Does not start automatically; `statusd service install` enables it",
            };
            text.push_str(&page.paragraph(0, begins));
        }
        let (ink, words) = self.activity(page);
        let drawn = page.paragraph(0, &words);
        drawn.lines().for_each(|line| text.push_str(&format!("{}\n", page.paint(ink, line))));
        text.push_str(&self.looks(page));
        if let Some(complaint) = &self.complaint {
            text.push_str(&page.paragraph(0, &format!("Configuration: {}", shown(complaint))));
        }
        text
    }

    fn installed(&self) -> String {
        let path = shown(&self.site.file().display().to_string());
        match (&self.found.file, elsewhere(self.site, &self.found)) {
            (OnDisk::Ours(_), _) => format!("Installed: {path}"),
            (OnDisk::Changed, _) => format!("Installed: {path}, edited since statusd wrote it"),
            (OnDisk::Foreign, _) => format!("Installed: {path}, not written by statusd"),
            (OnDisk::Missing, Some(from)) => {
                format!("Installed: {}, not written by statusd", shown(&from.display().to_string()))
            }
            (OnDisk::Missing, None) => match self.site {
                Site::Person { .. } if Site::Machine.file().exists() => {
                    "Not installed as a user service; for the system service: sudo statusd service status"
                        .to_owned()
                }
                Site::Person { .. } | Site::Machine | Site::Agent { .. } => {
                    "Not installed; install with `statusd service install`".to_owned()
                }
            },
        }
    }

    fn activity(&self, page: &Page) -> (Ink, String) {
        match &self.found.known.activity {
            Activity::Running { pid, since: from } => {
                let from = from.or(self.live.as_ref().map(|live| live.started_at));
                let from = from.map(|from| format!(" {}", since(from, page))).unwrap_or_default();
                let pid = pid.map(|pid| format!(" as process {pid}")).unwrap_or_default();
                (Ink::Good, format!("Running{from}{pid}"))
            }
            Activity::Starting { code: None } => (Ink::Doubtful, "Starting or about to restart".to_owned()),
            Activity::Starting { code: Some(code) } => {
                (Ink::Doubtful, format!("About to restart: {}", ended_with(*code)))
            }
            Activity::Stopping => (Ink::Doubtful, "Stopping".to_owned()),
            Activity::Stopped => (Ink::Plain, "Not running".to_owned()),
            Activity::Failed { code: Some(code) } => {
                (Ink::Bad, format!("Not running: {}", ended_with(*code)))
            }
            Activity::Failed { code: None } => {
                (Ink::Bad, "Not running; see `statusd service logs`".to_owned())
            }
        }
    }

    /// What the daemon itself says; nothing where none answers.
    fn looks(&self, page: &Page) -> String {
        let Some(live) = &self.live else { return String::new() };
        let mut text = String::new();
        if self.found.known.pid().is_some_and(|pid| pid != live.pid) || !self.found.known.is_up() {
            let words = format!("Process {} responds, but is not the service's process", live.pid);
            text.push_str(&page.paragraph(0, &words));
        }
        let next = live.next_poll_at.map(|next| format!(", next at {}", when(next, page.now, page.zone)));
        let last = match live.last_good_poll_at {
            Some(last) => format!("Last successful poll {} ago", age(last, page.now)),
            None => "No successful poll yet".to_owned(),
        };
        text.push_str(&page.paragraph(0, &format!("{last}{}", next.unwrap_or_default())));
        if let Some(trouble) = &live.trouble {
            text.push_str(&page.paragraph(0, &format!("Last poll: {}", shown(trouble))));
        }
        text
    }

    fn json(&self) -> Value {
        let known = &self.found.known;
        let since = match known.activity {
            Activity::Running { since, .. } => since,
            Activity::Stopped | Activity::Starting { .. } | Activity::Stopping | Activity::Failed { .. } => {
                None
            }
        };
        json!({
            "version": VERSION,
            "scope": self.site.as_str(),
            "file": self.site.file(),
            "file_is": self.found.file.as_str(),
            "from": known.from,
            "enabled": known.is_enabled,
            "lingers": self.found.lingers,
            "state": known.activity.as_str(),
            "active_since": since,
            "pid": known.pid(),
            "exit_code": known.exit_code(),
            "daemon": self.live.as_ref().map(|live| json!({
                "pid": live.pid, "version": live.version, "started_at": live.started_at,
                "polled_at": live.polled_at, "last_good_poll_at": live.last_good_poll_at,
                "next_poll_at": live.next_poll_at, "trouble": live.trouble,
            })),
            "configuration_error": self.complaint,
        })
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;
    use crate::cli::tests::check_documented;
    use crate::service::{Known, Shape, Written};

    fn at(text: &str) -> jiff::Timestamp {
        format!("2026-05-05T{text}:00Z").parse().expect("a time")
    }

    fn page() -> Page<'static> {
        Page { width: 80, color: false, zone: const { &TimeZone::UTC }, now: at("10:02") }
    }

    fn found(activity: Activity) -> CurrentState {
        let file = OnDisk::Ours(Written { text: String::new(), shape: Shape::default() });
        let known = Known { from: Some(Site::Machine.file()), is_enabled: true, activity };
        CurrentState { file, known, lingers: false }
    }

    fn live(pid: u32) -> DaemonStatus {
        let started = DaemonStatus::starting(at("09:40"));
        DaemonStatus { pid, last_good_poll_at: Some(at("10:01")), next_poll_at: Some(at("10:05")), ..started }
    }

    #[track_caller]
    fn check(found: CurrentState, live: Option<DaemonStatus>, expected: &str) {
        let standing = UnitState { site: &Site::Machine, found, live, complaint: None };
        assert_eq!(standing.text(&page()), expected);
    }

    #[test]
    fn the_facts_are_in_plain_words() {
        let head = "Installed: /etc/systemd/system/statusd.service\nStarts at boot\n";
        let running = Activity::Running { pid: Some(7), since: Some(at("09:40")) };
        let looks = "Last successful poll 60 s ago, next at 10:05\n";
        let process = "Running since 09:40 (22 min) as process 7\n";
        check(found(running.clone()), Some(live(7)), &format!("{head}{process}{looks}"));
        check(found(running.clone()), None, &format!("{head}{process}"));
        let other = "Process 8 responds, but is not the service's process\n";
        check(found(running), Some(live(8)), &format!("{head}{process}{other}{looks}"));
        let unknown = Activity::Running { pid: None, since: None };
        check(found(unknown), None, &format!("{head}Running\n"));
        let failed = |code| found(Activity::Failed { code });
        let wrong = "Not running: the service ended with 78; see `statusd config check`\n";
        check(failed(Some(78)), None, &format!("{head}{wrong}"));
        let reason = "Not running: the service ended with 1; see `statusd service logs`\n";
        check(failed(Some(1)), None, &format!("{head}{reason}"));
        let missing = CurrentState { file: OnDisk::Missing, known: Known::NOTHING, lingers: false };
        let none = "Not installed; install with `statusd service install`\nNot running\n";
        check(missing, None, none);
    }

    #[test]
    fn its_json_is_the_documented_one() {
        let running = Activity::Running { pid: Some(7), since: Some(at("09:40")) };
        let live = Some(live(7));
        let standing = UnitState { site: &Site::Machine, found: found(running), live, complaint: None };
        check_documented("service status", &standing.json());
    }
}
