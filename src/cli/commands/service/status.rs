//! `statusd service status`: the status from the service manager, and the daemon's last poll.

use serde_json::{Value, json};

use crate::delivery::message::time_format::when;
use crate::delivery::payload::VERSION;
use crate::exit_code::{DONE, FAILED};
use crate::service::{Activity, CurrentState, OnDisk, Scope, packaged_unit};
use crate::status_socket::{self, DaemonStatus};

use super::executor::Executor;
use super::{exit_text, service_config};
use crate::cli::context::{CommandError, Invocation, Output, block_on};
use crate::cli::phrases::{age, printable, since};
use crate::cli::terminal::{Style, Terminal};

/// The facts about the service at one instant.
struct UnitState<'s> {
    scope: &'s Scope,
    current: CurrentState,
    daemon: Option<DaemonStatus>,
    /// The error with which the service would reject its configuration.
    config_error: Option<String>,
}

pub fn run(scope: &Scope, json: bool, invocation: &Invocation) -> Result<Output, CommandError> {
    let current = block_on(async { Executor::new(scope, invocation.environment).current_state().await })??;
    let config = service_config(scope, invocation);
    // `--state-directory` takes precedence over the service's configuration.
    let given = invocation.overrides.state_directory.clone();
    let directory = given.or_else(|| config.as_ref().ok().map(|config| config.state_directory.clone()));
    let daemon = directory.and_then(|directory| status_socket::ask(&directory));
    let zone = config.as_ref().map(|config| config.time_zone.clone()).unwrap_or(jiff::tz::TimeZone::UTC);
    let config_error = config.err().map(|error| error.to_string());
    let code = if current.unit.is_running() { DONE } else { FAILED };
    let state = UnitState { scope, current, daemon, config_error };
    let text = match json {
        true => format!("{:#}\n", state.json()),
        false => state.text(&invocation.terminal(&zone)),
    };
    Ok(Output { text, code })
}

impl UnitState<'_> {
    fn text(&self, terminal: &Terminal) -> String {
        // Not wrapped, so that the path can be copied.
        let mut text = format!("{}\n", self.installed());
        if self.current.unit.unit_path.is_some() {
            let starts = match (self.current.unit.is_enabled, self.scope) {
                (true, Scope::System) => "Starts at boot",
                (true, Scope::User { .. }) if self.current.lingers => {
                    "Starts at boot, and keeps running after logout"
                }
                (true, Scope::User { .. } | Scope::LaunchAgent { .. }) => "Starts at login",
                (false, _) => "Does not start automatically; `statusd service install` enables it",
            };
            text.push_str(&terminal.paragraph(0, starts));
        }
        let (style, activity) = self.activity(terminal);
        let paragraph = terminal.paragraph(0, &activity);
        paragraph.lines().for_each(|line| text.push_str(&format!("{}\n", terminal.paint(style, line))));
        text.push_str(&self.polls(terminal));
        if let Some(config_error) = &self.config_error {
            text.push_str(&terminal.paragraph(0, &format!("Configuration: {}", printable(config_error))));
        }
        text
    }

    fn installed(&self) -> String {
        let path = printable(&self.scope.file().display().to_string());
        match (&self.current.file, packaged_unit(self.scope, &self.current)) {
            (OnDisk::Ours(_), _) => format!("Installed: {path}"),
            (OnDisk::Changed, _) => format!("Installed: {path}, edited since statusd wrote it"),
            (OnDisk::Foreign, _) => format!("Installed: {path}, not written by statusd"),
            (OnDisk::Missing, Some(from)) => {
                format!("Installed: {}, not written by statusd", printable(&from.display().to_string()))
            }
            (OnDisk::Missing, None) => match self.scope {
                Scope::User { .. } if Scope::System.file().exists() => {
                    "Not installed as a user service; for the system service: sudo statusd service status"
                        .to_owned()
                }
                Scope::User { .. } | Scope::System | Scope::LaunchAgent { .. } => {
                    "Not installed; install with `statusd service install`".to_owned()
                }
            },
        }
    }

    fn activity(&self, terminal: &Terminal) -> (Style, String) {
        match &self.current.unit.activity {
            Activity::Running { pid, since: from } => {
                let from = from.or(self.daemon.as_ref().map(|daemon| daemon.started_at));
                let from = from.map(|from| format!(" {}", since(from, terminal))).unwrap_or_default();
                let pid = pid.map(|pid| format!(" as process {pid}")).unwrap_or_default();
                (Style::Good, format!("Running{from}{pid}"))
            }
            Activity::Starting { code: None } => (Style::Warning, "Starting or about to restart".to_owned()),
            Activity::Starting { code: Some(code) } => {
                (Style::Warning, format!("About to restart: {}", exit_text(*code)))
            }
            Activity::Stopping => (Style::Warning, "Stopping".to_owned()),
            Activity::Stopped => (Style::Plain, "Not running".to_owned()),
            Activity::Failed { code: Some(code) } => {
                (Style::Bad, format!("Not running: {}", exit_text(*code)))
            }
            Activity::Failed { code: None } => {
                (Style::Bad, "Not running; see `statusd service logs`".to_owned())
            }
        }
    }

    /// Returns what the daemon reports; empty if no daemon responds.
    fn polls(&self, terminal: &Terminal) -> String {
        let Some(daemon) = &self.daemon else { return String::new() };
        let mut text = String::new();
        if self.current.unit.pid().is_some_and(|pid| pid != daemon.pid) || !self.current.unit.is_up() {
            let line = format!("Process {} responds, but is not the service's process", daemon.pid);
            text.push_str(&terminal.paragraph(0, &line));
        }
        let next =
            daemon.next_poll_at.map(|next| format!(", next at {}", when(next, terminal.now, terminal.zone)));
        let last = match daemon.last_good_poll_at {
            Some(last) => format!("Last successful poll {} ago", age(last, terminal.now)),
            None => "No successful poll yet".to_owned(),
        };
        text.push_str(&terminal.paragraph(0, &format!("{last}{}", next.unwrap_or_default())));
        if let Some(trouble) = &daemon.trouble {
            text.push_str(&terminal.paragraph(0, &format!("Last poll: {}", printable(trouble))));
        }
        text
    }

    fn json(&self) -> Value {
        let unit = &self.current.unit;
        let since = match unit.activity {
            Activity::Running { since, .. } => since,
            Activity::Stopped | Activity::Starting { .. } | Activity::Stopping | Activity::Failed { .. } => {
                None
            }
        };
        json!({
            "version": VERSION,
            "scope": self.scope.as_str(),
            "file": self.scope.file(),
            "file_is": self.current.file.as_str(),
            "from": unit.unit_path,
            "enabled": unit.is_enabled,
            "lingers": self.current.lingers,
            "state": unit.activity.as_str(),
            "active_since": since,
            "pid": unit.pid(),
            "exit_code": unit.exit_code(),
            "daemon": self.daemon.as_ref().map(|daemon| json!({
                "pid": daemon.pid, "version": daemon.version, "started_at": daemon.started_at,
                "polled_at": daemon.polled_at, "last_good_poll_at": daemon.last_good_poll_at,
                "next_poll_at": daemon.next_poll_at, "trouble": daemon.trouble,
            })),
            "configuration_error": self.config_error,
        })
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;
    use crate::cli::documents::check_documented;
    use crate::service::{OwnFile, UnitStatus, UnitVariant};

    fn at(text: &str) -> jiff::Timestamp {
        format!("2026-05-05T{text}:00Z").parse().expect("a time")
    }

    fn terminal() -> Terminal<'static> {
        Terminal { width: 80, color: false, zone: const { &TimeZone::UTC }, now: at("10:02") }
    }

    fn current(activity: Activity) -> CurrentState {
        let file = OnDisk::Ours(OwnFile { text: String::new(), variant: UnitVariant::default() });
        let unit = UnitStatus { unit_path: Some(Scope::System.file()), is_enabled: true, activity };
        CurrentState { file, unit, lingers: false }
    }

    fn daemon(pid: u32) -> DaemonStatus {
        let started = DaemonStatus::starting(at("09:40"));
        DaemonStatus { pid, last_good_poll_at: Some(at("10:01")), next_poll_at: Some(at("10:05")), ..started }
    }

    #[track_caller]
    fn check(current: CurrentState, daemon: Option<DaemonStatus>, expected: &str) {
        let state = UnitState { scope: &Scope::System, current, daemon, config_error: None };
        assert_eq!(state.text(&terminal()), expected);
    }

    #[test]
    fn each_state_has_its_text() {
        let head = "Installed: /etc/systemd/system/statusd.service\nStarts at boot\n";
        let running = Activity::Running { pid: Some(7), since: Some(at("09:40")) };
        let polls = "Last successful poll 60 s ago, next at 10:05\n";
        let process = "Running since 09:40 (22 min) as process 7\n";
        check(current(running.clone()), Some(daemon(7)), &format!("{head}{process}{polls}"));
        check(current(running.clone()), None, &format!("{head}{process}"));
        let other = "Process 8 responds, but is not the service's process\n";
        check(current(running), Some(daemon(8)), &format!("{head}{process}{other}{polls}"));
        let unknown = Activity::Running { pid: None, since: None };
        check(current(unknown), None, &format!("{head}Running\n"));
        let failed = |code| current(Activity::Failed { code });
        let wrong = "Not running: the service exited with code 78; see `statusd config check`\n";
        check(failed(Some(78)), None, &format!("{head}{wrong}"));
        let reason = "Not running: the service exited with code 1; see `statusd service logs`\n";
        check(failed(Some(1)), None, &format!("{head}{reason}"));
        let missing = CurrentState { file: OnDisk::Missing, unit: UnitStatus::NOT_LOADED, lingers: false };
        let none = "Not installed; install with `statusd service install`\nNot running\n";
        check(missing, None, none);
    }

    #[test]
    fn the_json_is_as_documented() {
        let running = Activity::Running { pid: Some(7), since: Some(at("09:40")) };
        let daemon = Some(daemon(7));
        let state =
            UnitState { scope: &Scope::System, current: current(running), daemon, config_error: None };
        check_documented("service status", &state.json());
    }
}
