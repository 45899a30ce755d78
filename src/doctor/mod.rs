//! `statusd doctor`: is it Apple, or is it me? Runs all checks in parallel and names the cause and the
//! next step.
//!
//! `collect` and `probe` gather the data, each within its own time limit; pure functions turn the data
//! into findings. Changes no setting on the phone or on this computer. Missing data is "cannot tell",
//! never "ok" (`a_collection_that_times_out_is_cannot_tell_and_never_ok`).

mod apple;
mod checks;
mod collect;
mod daemon;
mod diagnose;
pub mod guide;
pub mod ios;
pub mod local_backups;
pub mod network;
pub mod phone;
pub mod probe;
pub mod storage;
mod verdict;

use crate::doctor::guide::GuideStep;
use crate::doctor::probe::ProbeEnvironment;
use diagnose::DiagnosisContext;

pub use checks::{CHECKS, Check, Group, Selection};
pub use collect::{FEED_LIMITS, Inputs, RELEASES_TIMEOUT};
pub use daemon::Database;
pub use verdict::{Conclusion, Verdict, verdict};

/// Runs the selected checks and returns their findings in the order of [`CHECKS`]. Calls `on_collected`
/// with a short label each time a part of the data is complete.
pub async fn run_checks(
    mut inputs: Inputs,
    selection: &Selection,
    environment: &ProbeEnvironment<'_>,
    on_collected: &dyn Fn(&'static str),
) -> Vec<Finding> {
    let observations = collect::collect(&mut inputs, selection, environment, on_collected).await;
    let Inputs { now, zone, watch, feed, identifiers, .. } = &inputs;
    let context =
        DiagnosisContext { now: *now, zone, watch, edition: feed.edition, identifiers: *identifiers };
    diagnose::diagnose(&observations, selection, &context)
}

/// Replaces the findings about the watched services with "cannot tell". Call this if the watch list is
/// unknown, because the findings are then about other services.
pub fn discard_watch_findings(findings: &mut [Finding]) {
    for finding in findings.iter_mut().filter(|finding| WATCH_CHECKS.contains(&finding.id)) {
        let seen = "cannot read the configuration, so the watched services are unknown";
        *finding = Finding::new(finding.id, Status::CannotTell, seen).todo("See `statusd config check`.");
    }
}

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Ok,
    /// Worth knowing, but not the cause by itself.
    Warning,
    /// Prevents backups, or prevented one.
    Problem,
    /// There is nothing to check, or the check was not requested.
    Skipped,
    CannotTell,
}

/// The checks that depend on the watch list.
const WATCH_CHECKS: [&str; 2] = ["apple", "history"];

/// Where the fault lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Blame {
    Apple,
    Network,
    Phone,
    Computer,
}

/// The result of one check, as plain text without line breaks. The text may quote external sources, so
/// the caller escapes it before display.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The stable id of the check, as in `--only` and in JSON.
    pub id: &'static str,
    /// The phone or backup that the finding is about: "iPhone 1".
    pub subject: Option<String>,
    pub status: Status,
    /// Set for warnings and problems.
    pub blame: Option<Blame>,
    /// The observation, in one short line.
    pub seen: String,
    /// The next step, in a sentence or two.
    pub todo: Option<String>,
    /// The step of the guide with the details.
    pub step: Option<GuideStep>,
    /// The data behind the finding, one line each. Shown with `-v`.
    pub evidence: Vec<String>,
}

impl Status {
    /// Returns the value used in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::Warning => "warning",
            Status::Problem => "problem",
            Status::Skipped => "skipped",
            Status::CannotTell => "cannot_tell",
        }
    }
}

impl Blame {
    /// Returns the value used in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Blame::Apple => "apple",
            Blame::Network => "network",
            Blame::Phone => "phone",
            Blame::Computer => "computer",
        }
    }
}

impl Finding {
    pub fn new(id: &'static str, status: Status, seen: impl Into<String>) -> Finding {
        Finding {
            id,
            subject: None,
            status,
            blame: None,
            seen: seen.into(),
            todo: None,
            step: None,
            evidence: Vec::new(),
        }
    }

    pub fn blame(self, blame: Blame) -> Finding {
        Finding { blame: Some(blame), ..self }
    }

    pub fn todo(self, todo: impl Into<String>) -> Finding {
        Finding { todo: Some(todo.into()), ..self }
    }

    pub fn step(self, step: GuideStep) -> Finding {
        Finding { step: Some(step), ..self }
    }

    pub fn evidence(self, lines: impl IntoIterator<Item = String>) -> Finding {
        Finding { evidence: self.evidence.into_iter().chain(lines).collect(), ..self }
    }

    pub fn subject(self, subject: impl Into<String>) -> Finding {
        Finding { subject: Some(subject.into()), ..self }
    }
}
