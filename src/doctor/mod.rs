//! `statusd doctor`: is it Apple, or is it me? Looks at everything that a computer can look at, side
//! by side, and answers whose fault it is and what to do next.
//!
//! Each check has a file that looks (within a time limit of its own) and a pure function that judges
//! what was seen. Nothing here changes anything: not on the phone, not on this computer.
//! Invariant: what could not be seen is "cannot tell", never "ok".

mod apple;
mod checks;
mod collect;
mod diagnose;
pub mod guide;
pub mod ios;
pub mod local_backups;
pub mod network;
pub mod phone;
pub mod probe;
mod program;
pub mod storage;
mod verdict;

use crate::doctor::guide::GuideStep;
use crate::doctor::probe::ProbeEnvironment;
use diagnose::DiagnosisContext;

pub use checks::{CHECKS, Check, Group, Selection};
pub use collect::{FEED_LIMITS, RELEASES_WITHIN, World};
pub use program::Database;
pub use verdict::{Verdict, Whose, verdict};

/// Makes the checks that were asked for. `tell` hears the word of each look that is over.
///
/// The findings are in the order of [`CHECKS`].
pub async fn examine(
    mut world: World,
    asked: &Selection,
    environment: &ProbeEnvironment<'_>,
    tell: &dyn Fn(&'static str),
) -> Vec<Finding> {
    let seen = collect::look(&mut world, asked, environment, tell).await;
    let World { now, zone, watch, feed, identifiers, .. } = &world;
    let context =
        DiagnosisContext { now: *now, zone, watch, edition: feed.edition, identifiers: *identifiers };
    diagnose::judge(&seen, asked, &context)
}

/// Takes back what was found of Apple where the list of watched services could not be read: it would be
/// about other services.
pub fn without_watch(findings: &mut [Finding]) {
    for finding in findings.iter_mut().filter(|finding| OF_WATCHED.contains(&finding.id)) {
        let seen = "the configuration cannot be read, so it is not known which services you watch";
        *finding = Finding::new(finding.id, Status::CannotTell, seen).todo("See `statusd config check`.");
    }
}

/// What a check came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Ok,
    /// Not the cause by itself, and worth knowing.
    Warning,
    /// This keeps a phone from backing up, or kept it.
    Problem,
    /// Not looked at: there is nothing to look at, or nobody asked for it.
    Skipped,
    CannotTell,
}

/// The checks of services that are watched.
const OF_WATCHED: [&str; 2] = ["apple", "history"];

/// Where the fault lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Blame {
    Apple,
    Network,
    Phone,
    Computer,
}

/// What one check found. All texts are plain, for people, without line breaks; they may hold other
/// people's words, which whoever shows them makes fit to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Of the check; stable, for programs and for `--only`.
    pub id: &'static str,
    /// Which phone or backup, where there can be several: "iPhone 1".
    pub subject: Option<String>,
    pub status: Status,
    /// Whose fault it is; for warnings and problems.
    pub blame: Option<Blame>,
    /// What was seen, in one short line.
    pub seen: String,
    /// What to do, in a sentence or two; where there is something to do.
    pub todo: Option<String>,
    /// The step of the guide that says more.
    pub step: Option<GuideStep>,
    /// Shown on request: what the answer rests on, a line each.
    pub evidence: Vec<String>,
}

impl Status {
    /// The word in JSON.
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
    /// The word in JSON.
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
