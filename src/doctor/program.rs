//! statusd itself: whether it runs, sees, and can tell.
//!
//! A person who asks the doctor may never have started the daemon; that is worth a word and no
//! complaint. Invariant: nothing here keeps a phone from backing up, so nothing is a problem.

use jiff::{SignedDuration, Timestamp};

use super::apple::Case;
use super::{Blame, Finding, Status};
use crate::delivery::message::time_format::{lasted, when};
use crate::status_socket::DaemonStatus;
use crate::store::Totals;
use crate::text::counted;

const DAEMON: &str = "daemon";
const DESKTOP: &str = "desktop";
/// Looks are minutes apart; suspend and a short outage of the network are no reason to worry.
const SEES_LATELY: SignedDuration = SignedDuration::from_hours(1);

/// What is known of the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    pub live: Option<DaemonStatus>,
    pub database: Database,
    /// The command that asks the service of the machine, where there is one beside this.
    pub beside: Option<String>,
}

/// What the state directory holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Database {
    None,
    /// There is one that the caller may not read: whose it is, and the command that reads it.
    Private {
        seen: String,
        todo: String,
    },
    /// Why it cannot be read, and what to do.
    Closed(String),
    Open {
        totals: Totals,
        last_readable: Option<Timestamp>,
    },
}

pub fn judge_daemon(program: &Program, case: &Case) -> Finding {
    let warning = |seen: String| Finding::new(DAEMON, Status::Warning, seen).blame(Blame::Computer);
    let (totals, last_readable) = match &program.database {
        Database::Private { seen, todo } => {
            return Finding::new(DAEMON, Status::Skipped, seen.clone()).todo(todo.clone());
        }
        Database::Closed(reason) => return warning(format!("cannot read its database: {reason}")),
        Database::Open { totals, last_readable } => (*totals, *last_readable),
        Database::None => (Totals::default(), None),
    };
    let Some(live) = &program.live else {
        return match last_readable {
            Some(last) => {
                warning(format!("statusd is not running; its last successful poll was {}", ago(last, case)))
                    .todo(match &program.beside {
                        Some(command) => format!("Query the system service: {command}"),
                        None => "Start it again: `statusd run`, or as a service.".to_owned(),
                    })
            }
            None => Finding::new(DAEMON, Status::Skipped, "statusd does not run here")
                .todo("Run `statusd run` to be notified of outages at Apple."),
        };
    };
    let sighted = live.last_good_poll_at.max(last_readable);
    let looked = match sighted {
        Some(last) => format!("last successful poll {}", ago(last, case)),
        None => "no successful poll yet".to_owned(),
    };
    let sees = sighted.is_some_and(|last| case.now.duration_since(last) <= SEES_LATELY);
    let finding = match (&live.trouble, totals) {
        (Some(trouble), _) if !sees => {
            warning(format!("it runs, but cannot read the feed ({looked}): {trouble}"))
        }
        (_, Totals { given_up: 1.., .. }) => {
            let was = if totals.given_up == 1 { "was" } else { "were" };
            warning(format!("{} {was} given up; {looked}", messages(totals.given_up)))
                .todo("`statusd outbox` shows them with the reason.")
        }
        (_, Totals { pending: 1.., .. }) => {
            let wait = if totals.pending == 1 { "waits" } else { "wait" };
            let seen = format!("it runs, {looked}; {} {wait}", messages(totals.pending));
            Finding::new(DAEMON, Status::Ok, seen)
        }
        _ => Finding::new(DAEMON, Status::Ok, format!("it runs, {looked}")),
    };
    finding.evidence([
        format!(
            "statusd {}, process {}, since {}",
            live.version,
            live.pid,
            when(live.started_at, case.now, case.zone)
        ),
        format!(
            "{} since then, {} of them returned old copies",
            counted(usize::try_from(live.polls).unwrap_or(usize::MAX), "poll"),
            live.stale_polls
        ),
        format!("messages: {} sent, {} waiting, {} given up", totals.sent, totals.pending, totals.given_up),
    ])
}

/// `is_reachable`: whether somebody shows notices on this desktop; `None` where none are wanted.
/// `is_used`: whether statusd ever ran here.
pub fn judge_desktop(is_reachable: Option<bool>, is_used: bool) -> Finding {
    match is_reachable {
        None => Finding::new(DESKTOP, Status::Skipped, "switched off in the configuration"),
        // A server that is asked over the network has no desktop, and nobody misses one.
        Some(false) if !is_used => {
            Finding::new(DESKTOP, Status::Skipped, "statusd does not run here, so it shows no notifications")
        }
        Some(true) => Finding::new(DESKTOP, Status::Ok, "this desktop can show notifications"),
        Some(false) => {
            Finding::new(DESKTOP, Status::Warning, "no program on this desktop shows notifications")
                .blame(Blame::Computer)
                .todo(
                    "Run this in your desktop session, or use another channel. Test: `statusd test-notice`.",
                )
        }
    }
}

fn ago(time: Timestamp, case: &Case) -> String {
    match lasted(time, case.now) {
        young if young == "under a minute" => format!("{young} ago"),
        age => format!("{age} ago ({})", when(time, case.now, case.zone)),
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

    fn case() -> Case<'static> {
        Case { watch: &[], now: at("12:00"), zone: &UTC, last_backup: None, edition: Edition::Consumer }
    }

    fn at(time: &str) -> Timestamp {
        format!("2026-05-05T{time}:00Z").parse().expect("a time")
    }

    fn live(last_good_poll_at: Option<&str>, trouble: Option<&str>) -> Option<DaemonStatus> {
        let live = DaemonStatus::starting(at("08:00"));
        Some(DaemonStatus {
            last_good_poll_at: last_good_poll_at.map(at),
            trouble: trouble.map(str::to_owned),
            ..live
        })
    }

    #[track_caller]
    fn check(live: Option<DaemonStatus>, database: Database, status: Status, seen: &str) {
        let finding = judge_daemon(&Program { live, database, beside: None }, &case());
        assert_eq!((finding.status, finding.seen.as_str()), (status, seen));
    }

    #[test]
    fn the_daemon_runs_and_sees_or_it_says_what_is_wrong() {
        let open = |sent, pending, given_up, last: Option<&str>| Database::Open {
            totals: Totals { sent, pending, given_up },
            last_readable: last.map(at),
        };
        let (warning, ok) = (Status::Warning, Status::Ok);
        check(None, Database::None, Status::Skipped, "statusd does not run here");
        let old = "statusd is not running; its last successful poll was 3 h ago (09:00)";
        check(None, open(1, 0, 0, Some("09:00")), warning, old);
        let closed = Database::Closed("newer".to_owned());
        check(None, closed, warning, "cannot read its database: newer");
        let fine = "it runs, last successful poll 5 min ago (11:55)";
        check(live(Some("11:55"), None), open(1, 0, 0, Some("11:00")), ok, fine);
        check(live(Some("11:55"), Some("a passing 503")), open(1, 0, 0, None), ok, fine);
        let private = Database::Private { seen: "root's".to_owned(), todo: "sudo".to_owned() };
        check(None, private, Status::Skipped, "root's");
        let waits = "it runs, last successful poll under a minute ago; 2 messages wait";
        check(live(Some("12:00"), None), open(1, 2, 0, None), ok, waits);
        let lost = "3 messages were given up; last successful poll 5 min ago (11:55)";
        check(live(Some("11:55"), None), open(1, 2, 3, None), warning, lost);
        let blind = "it runs, but cannot read the feed (last successful poll 2 h ago (10:00)): no network";
        check(live(Some("10:00"), Some("no network")), open(0, 0, 0, None), warning, blind);
        check(live(None, None), Database::None, ok, "it runs, no successful poll yet");
    }

    #[test]
    fn beside_a_service_of_the_machine_nobody_is_told_to_start_another() {
        let totals = Totals { sent: 1, pending: 0, given_up: 0 };
        let database = Database::Open { totals, last_readable: Some(at("09:00")) };
        let todo = |beside: Option<&str>| {
            let beside = beside.map(str::to_owned);
            judge_daemon(&Program { live: None, database: database.clone(), beside }, &case()).todo
        };
        assert_eq!(todo(None).as_deref(), Some("Start it again: `statusd run`, or as a service."));
        let asked = todo(Some("sudo statusd doctor"));
        assert_eq!(asked.as_deref(), Some("Query the system service: sudo statusd doctor"));
    }

    #[test]
    fn a_desktop_is_there_or_not_wanted() {
        let judged = |is_used| {
            [None, Some(true), Some(false)].map(|is_reachable| judge_desktop(is_reachable, is_used).status)
        };
        assert_eq!(judged(true), [Status::Skipped, Status::Ok, Status::Warning]);
        assert_eq!(judged(false), [Status::Skipped, Status::Ok, Status::Skipped]);
    }
}
