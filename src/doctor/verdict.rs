//! The verdict: the cause, in one or two sentences.
//!
//! Pure. Only a finding with the status "problem" leads to blame. The verdict is never "nothing found" if
//! Apple's status was requested but unreadable.

use super::{Blame, Finding, Status};
use crate::delivery::message::advice::POSTS_LATE;
use crate::exit_code::{CANNOT_TELL, DONE, FAILED};

/// The result of all checks together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conclusion {
    Blamed(Blame),
    NothingFound,
    CannotTell,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub conclusion: Conclusion,
    /// One or two sentences. May quote external sources.
    pub text: String,
}

impl Conclusion {
    /// Returns the value used in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Conclusion::Blamed(Blame::Apple) => "apple",
            Conclusion::Blamed(Blame::Network) => "network",
            Conclusion::Blamed(Blame::Phone) => "phone",
            Conclusion::Blamed(Blame::Computer) => "computer",
            Conclusion::NothingFound => "nothing_found",
            Conclusion::CannotTell => "cannot_tell",
        }
    }

    /// Returns 0 (nothing found), 1 (problem found) or 3 (cannot tell).
    pub fn exit_code(self) -> u8 {
        match self {
            Conclusion::NothingFound => DONE,
            Conclusion::Blamed(_) => FAILED,
            Conclusion::CannotTell => CANNOT_TELL,
        }
    }
}

/// The checks that explain why hosts are unreachable; they take precedence over `hosts`.
const MOST_SPECIFIC: [&str; 2] = ["portal", "interception"];
/// Without a result of this check, the verdict cannot be "nothing found".
const ESSENTIAL: &str = "apple";

pub fn verdict(findings: &[Finding]) -> Verdict {
    let problem = |blame: Blame| {
        let is_match = |found: &&Finding| found.status == Status::Problem && found.blame == Some(blame);
        findings.iter().filter(is_match).min_by_key(|found| !MOST_SPECIFIC.contains(&found.id))
    };
    // A wrong clock looks like a broken network, and a broken network hides Apple's status.
    let order = [Blame::Apple, Blame::Computer, Blame::Network, Blame::Phone];
    let mut problems = order.into_iter().filter_map(|blame| Some((blame, problem(blame)?)));
    if let Some((blame, finding)) = problems.next() {
        let also = problems.next().map(|(_, other)| format!(" Also: {}", sentence(&seen(other))));
        let text = format!("{}{}", blame_text(blame, finding), also.unwrap_or_default());
        return Verdict { conclusion: Conclusion::Blamed(blame), text };
    }
    let is_unreadable = |found: &&Finding| found.id == ESSENTIAL && found.status == Status::CannotTell;
    if let Some(unreadable) = findings.iter().find(is_unreadable) {
        return cannot_tell(&seen(unreadable));
    }
    if findings.iter().all(|found| matches!(found.status, Status::Skipped | Status::CannotTell)) {
        let reason = findings.iter().find(|found| found.status == Status::CannotTell).map(seen);
        return cannot_tell(&reason.unwrap_or_else(|| "no check was run".to_owned()));
    }
    Verdict { conclusion: Conclusion::NothingFound, text: nothing_found(findings) }
}

fn blame_text(blame: Blame, finding: &Finding) -> String {
    let seen = sentence(&seen(finding));
    match blame {
        Blame::Apple => {
            let todo = finding.todo.as_deref().map(|todo| format!(" {todo}")).unwrap_or_default();
            format!("It is Apple: {seen}{todo}")
        }
        Blame::Network => format!("It is your network: {seen}"),
        Blame::Phone => format!("It is your phone: {seen}"),
        Blame::Computer => format!("It is this computer: {seen}"),
    }
}

fn cannot_tell(reason: &str) -> Verdict {
    Verdict { conclusion: Conclusion::CannotTell, text: format!("Cannot tell: {}", sentence(reason)) }
}

/// Adds that Apple posts late, and the first warning.
fn nothing_found(findings: &[Finding]) -> String {
    let is_apple_ok = findings.iter().any(|found| found.id == ESSENTIAL && found.status == Status::Ok);
    let remark = match is_apple_ok {
        true => format!(" {POSTS_LATE} Check again in an hour or two."),
        false => String::new(),
    };
    let warning = findings.iter().find(|found| found.status == Status::Warning);
    let warning = warning.map(|found| format!(" Also check: {}", sentence(&seen(found))));
    format!("Nothing found.{remark}{}", warning.unwrap_or_default())
}

/// Prefixes the observation with the finding's subject, if it has one.
fn seen(finding: &Finding) -> String {
    match &finding.subject {
        Some(subject) => format!("{subject}: {}", finding.seen),
        None => finding.seen.clone(),
    }
}

/// Adds a full stop unless the text ends with punctuation.
fn sentence(text: &str) -> String {
    let stop = if text.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("{text}{stop}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(id: &'static str, status: Status, blame: Option<Blame>) -> Finding {
        Finding { blame, ..Finding::new(id, status, format!("{id} seen")) }
    }

    #[track_caller]
    fn check(findings: &[Finding], conclusion: Conclusion, text: &str) {
        assert_eq!(verdict(findings), Verdict { conclusion, text: text.to_owned() });
    }

    #[test]
    fn a_problem_decides_apple_before_all_others() {
        let apple = found("apple", Status::Problem, Some(Blame::Apple)).todo("Wait.");
        let phone = found("icloud-backup", Status::Problem, Some(Blame::Phone)).subject("iPhone 2");
        let network = found("hosts", Status::Problem, Some(Blame::Network));
        let clock = found("clock", Status::Problem, Some(Blame::Computer));
        let blamed = Conclusion::Blamed;
        check(std::slice::from_ref(&apple), blamed(Blame::Apple), "It is Apple: apple seen. Wait.");
        let both = "It is Apple: apple seen. Wait. Also: iPhone 2: icloud-backup seen.";
        check(&[phone.clone(), apple], blamed(Blame::Apple), both);
        let clock_first = "It is this computer: clock seen. Also: hosts seen.";
        check(&[network.clone(), clock], blamed(Blame::Computer), clock_first);
        let network_first = "It is your network: hosts seen. Also: iPhone 2: icloud-backup seen.";
        check(&[phone.clone(), network], blamed(Blame::Network), network_first);
        check(
            std::slice::from_ref(&phone),
            blamed(Blame::Phone),
            "It is your phone: iPhone 2: icloud-backup seen.",
        );
    }

    #[test]
    fn without_apples_status_there_is_no_nothing_found() {
        let unreadable = found("apple", Status::CannotTell, None);
        let fine = found("portal", Status::Ok, None);
        let warning = found("power", Status::Warning, Some(Blame::Phone));
        check(
            &[unreadable.clone(), fine.clone(), warning],
            Conclusion::CannotTell,
            "Cannot tell: apple seen.",
        );
        let network = found("hosts", Status::Problem, Some(Blame::Network));
        check(&[unreadable, network], Conclusion::Blamed(Blame::Network), "It is your network: hosts seen.");
        let unseen = found("local-backups", Status::CannotTell, None);
        check(std::slice::from_ref(&unseen), Conclusion::CannotTell, "Cannot tell: local-backups seen.");
        check(
            &[found("phone", Status::Skipped, None)],
            Conclusion::CannotTell,
            "Cannot tell: no check was run.",
        );
        check(&[], Conclusion::CannotTell, "Cannot tell: no check was run.");
        check(&[unseen, fine], Conclusion::NothingFound, "Nothing found.");
    }

    #[test]
    fn nothing_found_is_no_guarantee() {
        let fine = found("apple", Status::Ok, None);
        let late = format!("Nothing found. {POSTS_LATE} Check again in an hour or two.");
        check(std::slice::from_ref(&fine), Conclusion::NothingFound, &late);
        let warning = found("power", Status::Warning, Some(Blame::Phone));
        check(&[fine, warning], Conclusion::NothingFound, &format!("{late} Also check: power seen."));
    }

    #[test]
    fn without_a_watch_list_the_verdict_is_cannot_tell() {
        let mut findings = [found("apple", Status::Ok, None), found("hosts", Status::Ok, None)];
        super::super::discard_watch_findings(&mut findings);
        assert_eq!((findings[0].status, findings[1].status), (Status::CannotTell, Status::Ok));
        assert_eq!(verdict(&findings).conclusion.exit_code(), 3);
    }

    #[test]
    fn exit_codes_are_those_of_the_documentation() {
        let codes = [Conclusion::NothingFound, Conclusion::Blamed(Blame::Apple), Conclusion::CannotTell]
            .map(Conclusion::exit_code);
        assert_eq!(codes, [0, 1, 3]);
    }
}
