//! The verdict: the cause, in one or two sentences.
//!
//! Pure. Only a finding with the status "problem" leads to blame. The verdict is never "nothing found" if
//! Apple's status was requested but unreadable.

use super::{Blame, Finding, Status};
use crate::delivery::message::advice::POSTS_LATE;
use crate::exit_code::{CANNOT_TELL, DONE, FAILED};

/// The result of all checks together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    Someones(Blame),
    /// Nothing was found.
    Nobodys,
    CannotTell,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub whose: Whose,
    /// One or two sentences. May hold other people's words.
    pub words: String,
}

impl Whose {
    /// The word for programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Whose::Someones(Blame::Apple) => "apple",
            Whose::Someones(Blame::Network) => "network",
            Whose::Someones(Blame::Phone) => "phone",
            Whose::Someones(Blame::Computer) => "computer",
            Whose::Nobodys => "nothing_found",
            Whose::CannotTell => "cannot_tell",
        }
    }

    /// Returns 0 (nothing found), 1 (problem found) or 3 (cannot tell).
    pub fn exit_code(self) -> u8 {
        match self {
            Whose::Nobodys => DONE,
            Whose::Someones(_) => FAILED,
            Whose::CannotTell => CANNOT_TELL,
        }
    }
}

/// What says more than that hosts cannot be reached: who stands in the way.
const CLEAREST: [&str; 2] = ["portal", "interception"];
/// Which findings nobody can do without: if it could not be told how Apple is, nothing is told.
const ESSENTIAL: [&str; 1] = ["apple"];

pub fn verdict(findings: &[Finding]) -> Verdict {
    let problem = |blame: Blame| {
        let of_it = |found: &&Finding| found.status == Status::Problem && found.blame == Some(blame);
        // The first of equals.
        findings.iter().filter(of_it).min_by_key(|found| !CLEAREST.contains(&found.id))
    };
    // A wrong clock looks like a broken network, and a broken network hides Apple's status.
    let order = [Blame::Apple, Blame::Computer, Blame::Network, Blame::Phone];
    let mut guilty = order.into_iter().filter_map(|blame| Some((blame, problem(blame)?)));
    if let Some((blame, finding)) = guilty.next() {
        let besides = guilty.next().map(|(_, other)| format!(" Also: {}", sentence(&seen(other))));
        let words = format!("{}{}", accusation(blame, finding), besides.unwrap_or_default());
        return Verdict { whose: Whose::Someones(blame), words };
    }
    let told = findings.iter().filter(|found| !matches!(found.status, Status::Skipped | Status::CannotTell));
    let is_blind = |found: &&Finding| ESSENTIAL.contains(&found.id) && found.status == Status::CannotTell;
    if let Some(blind) = findings.iter().find(is_blind) {
        return cannot_tell(&seen(blind));
    }
    if told.count() == 0 {
        let reason = findings.iter().find(|found| found.status == Status::CannotTell).map(seen);
        return cannot_tell(&reason.unwrap_or_else(|| "no check was made".to_owned()));
    }
    Verdict { whose: Whose::Nobodys, words: nothing_found(findings) }
}

fn accusation(blame: Blame, finding: &Finding) -> String {
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
    Verdict { whose: Whose::CannotTell, words: format!("Cannot tell: {}", sentence(reason)) }
}

/// Adds that Apple posts late, and the first warning.
fn nothing_found(findings: &[Finding]) -> String {
    let asked_apple = findings.iter().any(|found| found.id == "apple" && found.status == Status::Ok);
    let remark = match asked_apple {
        true => format!(" {POSTS_LATE} Check again in an hour or two."),
        false => String::new(),
    };
    let doubt = findings.iter().find(|found| found.status == Status::Warning);
    let doubt = doubt.map(|found| format!(" Check this too: {}", sentence(&seen(found))));
    format!("Nothing found.{remark}{}", doubt.unwrap_or_default())
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
    fn check(findings: &[Finding], whose: Whose, words: &str) {
        assert_eq!(verdict(findings), Verdict { whose, words: words.to_owned() });
    }

    #[test]
    fn a_problem_decides_apple_before_all_others() {
        let apple = found("apple", Status::Problem, Some(Blame::Apple)).todo("Wait.");
        let phone = found("icloud-backup", Status::Problem, Some(Blame::Phone)).subject("iPhone 2");
        let network = found("hosts", Status::Problem, Some(Blame::Network));
        let clock = found("clock", Status::Problem, Some(Blame::Computer));
        let someones = Whose::Someones;
        check(std::slice::from_ref(&apple), someones(Blame::Apple), "It is Apple: apple seen. Wait.");
        let besides = "It is Apple: apple seen. Wait. Also: iPhone 2: icloud-backup seen.";
        check(&[phone.clone(), apple], someones(Blame::Apple), besides);
        let clock_first = "It is this computer: clock seen. Also: hosts seen.";
        check(&[network.clone(), clock], someones(Blame::Computer), clock_first);
        let network_first = "It is your network: hosts seen. Also: iPhone 2: icloud-backup seen.";
        check(&[phone.clone(), network], someones(Blame::Network), network_first);
        check(
            std::slice::from_ref(&phone),
            someones(Blame::Phone),
            "It is your phone: iPhone 2: icloud-backup seen.",
        );
    }

    #[test]
    fn who_cannot_see_apple_cannot_tell() {
        let blind = found("apple", Status::CannotTell, None);
        let fine = found("portal", Status::Ok, None);
        let warning = found("power", Status::Warning, Some(Blame::Phone));
        check(&[blind.clone(), fine.clone(), warning], Whose::CannotTell, "Cannot tell: apple seen.");
        let network = found("hosts", Status::Problem, Some(Blame::Network));
        check(&[blind, network], Whose::Someones(Blame::Network), "It is your network: hosts seen.");
        let unseen = found("local-backups", Status::CannotTell, None);
        check(std::slice::from_ref(&unseen), Whose::CannotTell, "Cannot tell: local-backups seen.");
        check(&[found("phone", Status::Skipped, None)], Whose::CannotTell, "Cannot tell: no check was made.");
        check(&[], Whose::CannotTell, "Cannot tell: no check was made.");
        check(&[unseen, fine], Whose::Nobodys, "Nothing found.");
    }

    #[test]
    fn nothing_found_is_no_promise() {
        let fine = found("apple", Status::Ok, None);
        let late = format!("Nothing found. {POSTS_LATE} Check again in an hour or two.");
        check(std::slice::from_ref(&fine), Whose::Nobodys, &late);
        let warning = found("power", Status::Warning, Some(Blame::Phone));
        check(&[fine, warning], Whose::Nobodys, &format!("{late} Check this too: power seen."));
    }

    #[test]
    fn without_a_watchlist_it_cannot_tell_how_apple_is() {
        let mut findings = [found("apple", Status::Ok, None), found("hosts", Status::Ok, None)];
        super::super::without_watch(&mut findings);
        assert_eq!((findings[0].status, findings[1].status), (Status::CannotTell, Status::Ok));
        assert_eq!(verdict(&findings).whose.exit_code(), 3);
    }

    #[test]
    fn exit_codes_are_those_of_the_documentation() {
        let codes = [Whose::Nobodys, Whose::Someones(Blame::Apple), Whose::CannotTell].map(Whose::exit_code);
        assert_eq!(codes, [0, 1, 3]);
    }
}
