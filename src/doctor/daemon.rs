//! The checks `daemon` and `desktop`: does statusd run, poll and deliver?
//!
//! Nothing here prevents a backup, so the worst status is a warning. A user of doctor may never have started
//! the daemon, so a daemon that was never used is skipped.

use jiff::{SignedDuration, Timestamp};

use super::apple::CheckContext;
use super::{Blame, Finding, Status};
use crate::delivery::message::time_format::{lasted, when};
use crate::status_socket::DaemonStatus;
use crate::store::Totals;
use crate::text::counted;

const DAEMON: &str = "daemon";
const DESKTOP: &str = "desktop";
/// Polls are minutes apart, but suspend and short network outages are normal.
const LAST_POLL_MAX_AGE: SignedDuration = SignedDuration::from_hours(1);

/// The daemon's status and database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonReport {
    /// `None` if the daemon does not run.
    pub status: Option<DaemonStatus>,
    pub database: Database,
    /// The command that queries the system service, if one is installed.
    pub system_service_command: Option<String>,
}

/// The database in the state directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Database {
    None,
    /// The caller may not read it: its owner, and the command that reads it.
    Private {
        seen: String,
        todo: String,
    },
    /// The cause, and the next step.
    Unreadable(String),
    Open {
        totals: Totals,
        last_readable: Option<Timestamp>,
    },
}

pub fn diagnose_daemon(report: &DaemonReport, context: &CheckContext) -> Finding {
    let warning = |seen: String| Finding::new(DAEMON, Status::Warning, seen).blame(Blame::Computer);
    let (totals, last_readable) = match &report.database {
        Database::Private { seen, todo } => {
            return Finding::new(DAEMON, Status::Skipped, seen.clone()).todo(todo.clone());
        }
        Database::Unreadable(cause) => return warning(format!("cannot read the database: {cause}")),
        Database::Open { totals, last_readable } => (*totals, *last_readable),
        Database::None => (Totals::default(), None),
    };
    let Some(daemon) = &report.status else {
        return match last_readable {
            Some(last) => warning(format!(
                "statusd is not running; its last successful poll was {}",
                ago(last, context)
            ))
            .todo(match &report.system_service_command {
                Some(command) => format!("Query the system service: {command}"),
                None => "Start statusd again: `statusd run`, or as a service.".to_owned(),
            }),
            None => Finding::new(DAEMON, Status::Skipped, "statusd is not running on this computer")
                .todo("Run `statusd run` to be notified of outages at Apple."),
        };
    };
    let last_poll = daemon.last_good_poll_at.max(last_readable);
    let polled = match last_poll {
        Some(last) => format!("last successful poll {}", ago(last, context)),
        None => "no successful poll yet".to_owned(),
    };
    let is_recent = last_poll.is_some_and(|last| context.now.duration_since(last) <= LAST_POLL_MAX_AGE);
    let finding = match (&daemon.trouble, totals) {
        (Some(trouble), _) if !is_recent => {
            warning(format!("statusd is running, but cannot read the feed ({polled}): {trouble}"))
        }
        (_, Totals { given_up: 1.., .. }) => {
            let was = if totals.given_up == 1 { "was" } else { "were" };
            warning(format!("{} {was} given up; {polled}", messages(totals.given_up)))
                .todo("`statusd outbox` shows them with the reason.")
        }
        (_, Totals { pending: 1.., .. }) => {
            let are = if totals.pending == 1 { "is" } else { "are" };
            let seen = format!("statusd is running, {polled}; {} {are} pending", messages(totals.pending));
            Finding::new(DAEMON, Status::Ok, seen)
        }
        _ => Finding::new(DAEMON, Status::Ok, format!("statusd is running, {polled}")),
    };
    finding.evidence([
        format!(
            "statusd {}, process {}, since {}",
            daemon.version,
            daemon.pid,
            when(daemon.started_at, context.now, context.zone)
        ),
        format!(
            "{} since then, {} of them returned old copies",
            counted(usize::try_from(daemon.polls).unwrap_or(usize::MAX), "poll"),
            daemon.stale_polls
        ),
        format!("messages: {} sent, {} pending, {} given up", totals.sent, totals.pending, totals.given_up),
    ])
}

/// Checks the desktop notifications. `is_reachable`: a notification server runs; `None` if desktop
/// notifications are disabled. `is_used_here`: statusd runs or ran on this computer.
pub fn diagnose_desktop(is_reachable: Option<bool>, is_used_here: bool) -> Finding {
    match is_reachable {
        None => Finding::new(DESKTOP, Status::Skipped, "disabled in the configuration"),
        // A server without a desktop needs no warning.
        Some(false) if !is_used_here => Finding::new(
            DESKTOP,
            Status::Skipped,
            "statusd is not running on this computer, so it shows no notifications",
        ),
        Some(true) => Finding::new(DESKTOP, Status::Ok, "this desktop can show notifications"),
        Some(false) => Finding::new(
            DESKTOP,
            Status::Warning,
            "no program on this desktop shows notifications",
        )
        .blame(Blame::Computer)
        .todo("Run doctor in your desktop session, or use another channel. Test: `statusd test-notice`."),
    }
}

fn ago(time: Timestamp, context: &CheckContext) -> String {
    match lasted(time, context.now) {
        age if age == "under a minute" => format!("{age} ago"),
        age => format!("{age} ago ({})", when(time, context.now, context.zone)),
    }
}

fn messages(number: u32) -> String {
    counted(usize::try_from(number).unwrap_or(usize::MAX), "message")
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;
    use crate::model::Edition;

    static UTC: TimeZone = TimeZone::UTC;

    fn context() -> CheckContext<'static> {
        CheckContext {
            watch: &[],
            now: at("12:00"),
            zone: &UTC,
            last_backup: None,
            edition: Edition::Consumer,
        }
    }

    fn at(time: &str) -> Timestamp {
        format!("2026-05-05T{time}:00Z").parse().expect("a time")
    }

    fn running(last_good_poll_at: Option<&str>, trouble: Option<&str>) -> Option<DaemonStatus> {
        let daemon = DaemonStatus::starting(at("08:00"));
        Some(DaemonStatus {
            last_good_poll_at: last_good_poll_at.map(at),
            trouble: trouble.map(str::to_owned),
            ..daemon
        })
    }

    #[track_caller]
    fn check(daemon: Option<DaemonStatus>, database: Database, expected: Status, seen: &str) {
        let report = DaemonReport { status: daemon, database, system_service_command: None };
        let finding = diagnose_daemon(&report, &context());
        assert_eq!((finding.status, finding.seen.as_str()), (expected, seen));
    }

    #[test]
    fn the_daemon_runs_and_polls_or_the_finding_says_why_not() {
        let open = |sent, pending, given_up, last: Option<&str>| Database::Open {
            totals: Totals { sent, pending, given_up },
            last_readable: last.map(at),
        };
        let (warning, ok) = (Status::Warning, Status::Ok);
        check(None, Database::None, Status::Skipped, "statusd is not running on this computer");
        let old = "statusd is not running; its last successful poll was 3 h ago (09:00)";
        check(None, open(1, 0, 0, Some("09:00")), warning, old);
        let unreadable = Database::Unreadable("newer".to_owned());
        check(None, unreadable, warning, "cannot read the database: newer");
        let fine = "statusd is running, last successful poll 5 min ago (11:55)";
        check(running(Some("11:55"), None), open(1, 0, 0, Some("11:00")), ok, fine);
        check(running(Some("11:55"), Some("a passing 503")), open(1, 0, 0, None), ok, fine);
        let private = Database::Private { seen: "root's".to_owned(), todo: "sudo".to_owned() };
        check(None, private, Status::Skipped, "root's");
        let pending = "statusd is running, last successful poll under a minute ago; 2 messages are pending";
        check(running(Some("12:00"), None), open(1, 2, 0, None), ok, pending);
        let given_up = "3 messages were given up; last successful poll 5 min ago (11:55)";
        check(running(Some("11:55"), None), open(1, 2, 3, None), warning, given_up);
        let unreadable =
            "statusd is running, but cannot read the feed (last successful poll 2 h ago (10:00)): no network";
        check(running(Some("10:00"), Some("no network")), open(0, 0, 0, None), warning, unreadable);
        check(running(None, None), Database::None, ok, "statusd is running, no successful poll yet");
    }

    #[test]
    fn the_advice_does_not_start_a_second_daemon_beside_a_system_service() {
        let totals = Totals { sent: 1, pending: 0, given_up: 0 };
        let database = Database::Open { totals, last_readable: Some(at("09:00")) };
        let todo = |command: Option<&str>| {
            let system_service_command = command.map(str::to_owned);
            let report = DaemonReport { status: None, database: database.clone(), system_service_command };
            diagnose_daemon(&report, &context()).todo
        };
        assert_eq!(todo(None).as_deref(), Some("Start statusd again: `statusd run`, or as a service."));
        let service = todo(Some("sudo statusd doctor"));
        assert_eq!(service.as_deref(), Some("Query the system service: sudo statusd doctor"));
    }

    #[test]
    fn a_missing_desktop_is_a_warning_only_if_statusd_runs_here() {
        let statuses = |is_used_here| {
            [None, Some(true), Some(false)]
                .map(|is_reachable| diagnose_desktop(is_reachable, is_used_here).status)
        };
        assert_eq!(statuses(true), [Status::Skipped, Status::Ok, Status::Warning]);
        assert_eq!(statuses(false), [Status::Skipped, Status::Ok, Status::Skipped]);
    }
}
