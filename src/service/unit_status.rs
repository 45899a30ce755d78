//! Parses the output of `systemctl` and `launchctl` into the status of the service.
//!
//! Runs no program. Output differs between versions and may lack properties. Unparsable output gives
//! no status, which differs from "no service".

use std::path::PathBuf;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// For `systemctl show --property`.
pub const PROPERTIES: &str = "LoadState,FragmentPath,UnitFileState,ActiveState,MainPID,\
                              ExecMainCode,ExecMainStatus,ActiveEnterTimestamp";

/// The value of sigaction(2) for a process that exited by itself.
const CLD_EXITED: &str = "1";

/// The service as the service manager reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitStatus {
    /// The unit file in use; `None` if the manager has no such service, empty if its path is unknown.
    pub unit_path: Option<PathBuf>,
    /// True if the service starts automatically.
    pub is_enabled: bool,
    pub activity: Activity,
}

/// The activity of the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Activity {
    Stopped,
    /// The service has reported that it is ready.
    Running {
        pid: Option<u32>,
        since: Option<Timestamp>,
    },
    /// Starting, or waiting for a restart; then with the exit code of the previous run.
    Starting {
        code: Option<i32>,
    },
    Stopping,
    /// The service exited with this code and is not restarted.
    Failed {
        code: Option<i32>,
    },
}

impl UnitStatus {
    /// The status of a service that the manager does not have.
    pub const NOT_LOADED: UnitStatus =
        UnitStatus { unit_path: None, is_enabled: false, activity: Activity::Stopped };

    pub fn is_running(&self) -> bool {
        matches!(self.activity, Activity::Running { .. })
    }

    /// Returns true if the service has a process or is about to have one.
    pub fn is_up(&self) -> bool {
        match self.activity {
            Activity::Running { .. } | Activity::Starting { .. } | Activity::Stopping => true,
            Activity::Stopped | Activity::Failed { .. } => false,
        }
    }

    pub fn pid(&self) -> Option<u32> {
        match self.activity {
            Activity::Running { pid, .. } => pid,
            Activity::Stopped | Activity::Starting { .. } | Activity::Stopping | Activity::Failed { .. } => {
                None
            }
        }
    }

    /// The code with which the service exited, unless it is running.
    pub fn exit_code(&self) -> Option<i32> {
        match self.activity {
            Activity::Starting { code } | Activity::Failed { code } => code,
            Activity::Stopped | Activity::Running { .. } | Activity::Stopping => None,
        }
    }
}

impl Activity {
    /// The value of `state` in `--json`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Activity::Stopped => "stopped",
            Activity::Running { .. } => "running",
            Activity::Starting { .. } => "starting",
            Activity::Stopping => "stopping",
            Activity::Failed { .. } => "failed",
        }
    }
}

/// Parses the output of `systemctl show` for [`PROPERTIES`], with times in UTC. `None` if it has no
/// known `ActiveState`.
pub fn parse_systemctl(output: &[String]) -> Option<UnitStatus> {
    let value = |key: &str| {
        let mut pairs = output.iter().filter_map(|line| line.split_once('='));
        pairs.find(|(found, _)| *found == key).map(|(_, value)| value.trim()).unwrap_or_default()
    };
    let load = value("LoadState");
    // Otherwise `ExecMainStatus` is the number of a signal.
    let has_exited = value("ExecMainCode") == CLD_EXITED;
    let code = value("ExecMainStatus").parse().ok().filter(|code| *code != 0 && has_exited);
    let activity = match value("ActiveState") {
        "active" | "reloading" | "refreshing" => Activity::Running {
            pid: value("MainPID").parse().ok().filter(|pid| *pid > 0),
            since: timestamp(value("ActiveEnterTimestamp")),
        },
        "activating" => Activity::Starting { code },
        "deactivating" => Activity::Stopping,
        "failed" => Activity::Failed { code: value("ExecMainStatus").parse().ok().filter(|code| *code != 0) },
        "inactive" | "maintenance" => Activity::Stopped,
        _ => return None,
    };
    let path = Some(value("FragmentPath")).filter(|path| !path.is_empty() && load != "not-found");
    let is_enabled = value("UnitFileState").starts_with("enabled");
    Some(UnitStatus { unit_path: path.map(PathBuf::from), is_enabled, activity })
}

/// Parses a time like `Tue 2026-05-05 09:41:00 UTC`.
fn timestamp(text: &str) -> Option<Timestamp> {
    let (_, date) = text.strip_suffix(" UTC")?.split_once(' ')?;
    let date: DateTime = date.parse().ok()?;
    date.to_zoned_datetime(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

/// Parses the output of `launchctl print`, whose form Apple does not guarantee. Missing values are
/// unknown. For an agent that is not loaded, `launchctl print` fails instead.
pub fn parse_launchctl(output: &[String]) -> UnitStatus {
    let value = |key: &str| {
        let mut pairs = output.iter().filter_map(|line| line.trim().split_once(" = "));
        pairs.find(|(found, _)| *found == key).map(|(_, value)| value.trim())
    };
    let pid = value("pid").and_then(|pid| pid.parse().ok());
    let code = value("last exit code").and_then(|code| code.split(':').next()?.parse().ok());
    let code = code.filter(|code| *code != 0);
    let activity = match (value("state"), pid) {
        (Some("running"), pid) | (_, pid @ Some(_)) => Activity::Running { pid, since: None },
        (Some("spawn scheduled"), None) => Activity::Starting { code },
        (_, None) if code.is_some() => Activity::Failed { code },
        (_, None) => Activity::Stopped,
    };
    UnitStatus {
        unit_path: Some(PathBuf::from(value("path").unwrap_or_default())),
        is_enabled: true,
        activity,
    }
}

/// Parses the number in `systemd 252 (252.38-1~deb12u1)`.
pub fn parse_systemd_version(output: &[String]) -> Option<u32> {
    output.first()?.strip_prefix("systemd ")?.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn systemctl_output_is_parsed() {
        #[track_caller]
        fn check(output: &str, path: Option<&str>, is_enabled: bool, activity: Activity) {
            let expected = UnitStatus { unit_path: path.map(PathBuf::from), is_enabled, activity };
            assert_eq!(parse_systemctl(&lines(output)), Some(expected));
        }
        check(
            "LoadState=loaded\nFragmentPath=/c/statusd.service\nUnitFileState=enabled\nActiveState=active\n\
             MainPID=4242\nExecMainStatus=0\nActiveEnterTimestamp=Tue 2026-05-05 09:41:00 UTC\n",
            Some("/c/statusd.service"),
            true,
            Activity::Running {
                pid: Some(4242),
                since: Some("2026-05-05T09:41:00Z".parse().expect("a time")),
            },
        );
        check(
            "LoadState=not-found\nFragmentPath=\nUnitFileState=\nActiveState=inactive\nMainPID=0\n",
            None,
            false,
            Activity::Stopped,
        );
        check(
            "LoadState=loaded\nFragmentPath=/u\nUnitFileState=disabled\nActiveState=failed\nExecMainCode=1\nExecMainStatus=78",
            Some("/u"),
            false,
            Activity::Failed { code: Some(78) },
        );
        check(
            "FragmentPath=/u\nUnitFileState=enabled-runtime\nActiveState=activating\nExecMainStatus=226\nExecMainCode=1",
            Some("/u"),
            true,
            Activity::Starting { code: Some(226) },
        );
        check(
            "ActiveState=activating\nExecMainCode=2\nExecMainStatus=9",
            None,
            false,
            Activity::Starting { code: None },
        );
        check(
            "ActiveState=reloading\nMainPID=0\nActiveEnterTimestamp=n/a",
            None,
            false,
            Activity::Running { pid: None, since: None },
        );
        for output in ["", "Running in chroot, ignoring command 'show'", "ActiveState=", "LoadState=loaded"] {
            assert_eq!(parse_systemctl(&lines(output)), None, "{output}");
        }
    }

    #[test]
    fn launchctl_output_is_parsed() {
        #[track_caller]
        fn check(output: &str, activity: Activity) {
            assert_eq!(parse_launchctl(&lines(output)).activity, activity, "{output}");
        }
        let running = "gui/501/statusd = {\n\tactive count = 1\n\tpath = /Users/z/Library/LaunchAgents/statusd.plist\n\
                       \tstate = running\n\n\tprogram = /opt/statusd\n\tpid = 4242\n\tlast exit code = (never exited)\n}";
        check(running, Activity::Running { pid: Some(4242), since: None });
        let path = parse_launchctl(&lines(running)).unit_path;
        assert_eq!(path, Some("/Users/z/Library/LaunchAgents/statusd.plist".into()));
        check("\tstate = not running\n\tlast exit code = 0", Activity::Stopped);
        check("\tstate = not running\n\tlast exit code = 78: EX_CONFIG", Activity::Failed { code: Some(78) });
        check("\tstate = spawn scheduled\n\tlast exit code = 1", Activity::Starting { code: Some(1) });
        check("", Activity::Stopped);
    }

    #[test]
    fn the_systemd_version_is_the_number_after_the_name() {
        for (output, expected) in [
            ("systemd 252 (252.38-1~deb12u1)\n+PAM +AUDIT", Some(252)),
            ("systemd 257~rc1", Some(257)),
            ("systemd 253", Some(253)),
            ("systemctl: not found", None),
            ("", None),
        ] {
            assert_eq!(parse_systemd_version(&lines(output)), expected, "{output}");
        }
    }
}
