//! `statusd complete`: the candidates for the last word of a command line, for shell completion.
//!
//! Completes services, channels, checks and steps of the guide. For everything else it prints nothing,
//! and the shell uses the generated completions. Services come from the database, or from a list of
//! common ones. Uses no network. Prints no errors, because they would disturb the command line.

use std::collections::BTreeSet;

use clap::{Arg, Command};

use crate::config::Config;
use crate::doctor::guide::GuideStep;
use crate::doctor::{CHECKS, Group};
use crate::model::Listed;
use crate::store::Store;

use crate::cli::args::CompleteArgs;
use crate::cli::context::{Invocation, Output, block_on};
use crate::cli::flags;
use crate::cli::phrases::printable;

/// Services of Apple's consumer feed, used before the first poll.
const COMMON_SERVICES: [&str; 18] = [
    "App Store",
    "Apple Account",
    "Apple Music",
    "Apple Pay",
    "FaceTime",
    "Find My",
    "iCloud Account & Sign In",
    "iCloud Backup",
    "iCloud Calendar",
    "iCloud Contacts",
    "iCloud Drive",
    "iCloud Keychain",
    "iCloud Mail",
    "iCloud Notes",
    "iCloud Storage Upgrades",
    "iMessage",
    "Mail Drop",
    "Photos",
];

/// The kind of value that a word stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Service,
    Channel,
    Check,
    GuideStep,
}

pub fn run(complete: &CompleteArgs, invocation: &Invocation) -> Output {
    let Some((kind, prefix, typed)) = last_word(&complete.words) else {
        return Output::done(String::new());
    };
    let typed = unquoted(typed);
    // Checks may be a comma-separated list.
    let (list, typed) = match typed.rsplit_once(',') {
        Some((list, typed)) if kind == Kind::Check => (format!("{list},"), typed.to_owned()),
        Some(_) | None => (String::new(), typed),
    };
    let matches = |candidate: &String| candidate.to_lowercase().starts_with(&typed.to_lowercase());
    let candidates = candidates(kind, invocation).into_iter().filter(matches);
    Output::done(candidates.map(|candidate| format!("{prefix}{list}{candidate}\n")).collect())
}

/// Returns the kind of the last word, the prefix to keep (`--watch=`), and the text typed after it.
fn last_word(words: &[String]) -> Option<(Kind, &str, &str)> {
    let (last, words) = words.split_last()?;
    // Bash splits `--option=value` into three words.
    let (last, words) = match words.split_last() {
        _ if last == "=" => ("", words),
        Some((sign, words)) if sign == "=" => (last.as_str(), words),
        _ => (last.as_str(), words),
    };
    let root = flags::command();
    let mut command = &root;
    let mut option = None;
    for word in words {
        option = match (option.take(), word.strip_prefix("--")) {
            (None, Some(name)) => {
                option_of(command, name).filter(|option| option.get_action().takes_values())
            }
            (None, None) => {
                command = command.find_subcommand(word).unwrap_or(command);
                None
            }
            (Some(_), _) => None,
        };
    }
    if let Some(option) = option {
        return Some((kind(option)?, "", last));
    }
    match last.split_once('=') {
        Some((name, typed)) if name.starts_with("--") => {
            let option = option_of(command, &name[2..])?;
            Some((kind(option)?, &last[..=name.len()], typed))
        }
        _ if last.starts_with('-') => None,
        _ => Some((kind(command.get_positionals().next()?)?, "", last)),
    }
}

fn option_of<'c>(command: &'c Command, name: &str) -> Option<&'c Arg> {
    command
        .get_arguments()
        .find(|option| option.get_long_and_visible_aliases().is_some_and(|names| names.contains(&name)))
}

/// Returns the kind of an argument by the name of its value in the help.
fn kind(argument: &Arg) -> Option<Kind> {
    match argument.get_value_names()?.first()?.as_str() {
        "SERVICE" | "GLOB" => Some(Kind::Service),
        "CHANNEL" => Some(Kind::Channel),
        "CHECK" => Some(Kind::Check),
        "STEP" => Some(Kind::GuideStep),
        _ => None,
    }
}

/// Removes quoting, because shells pass a word as typed: `'iCloud B`, `iCloud\ B`.
fn unquoted(word: &str) -> String {
    word.chars().filter(|c| !['\'', '"', '\\'].contains(c)).collect()
}

fn candidates(kind: Kind, invocation: &Invocation) -> Vec<String> {
    match kind {
        Kind::Check => {
            let groups = Group::ALL.map(Group::as_str);
            let all: BTreeSet<&str> = groups.into_iter().chain(CHECKS.iter().map(|check| check.id)).collect();
            all.into_iter().map(str::to_owned).collect()
        }
        Kind::GuideStep => GuideStep::ALL.iter().map(|step| step.as_str().to_owned()).collect(),
        Kind::Channel => invocation.config().map(|config| channels(&config)).unwrap_or_default(),
        Kind::Service => {
            let recorded = invocation.config().ok().and_then(|config| services(&config));
            recorded.unwrap_or_else(|| COMMON_SERVICES.map(str::to_owned).to_vec())
        }
    }
}

fn channels(config: &Config) -> Vec<String> {
    config.channel.enabled().map(|(name, ..)| name).collect()
}

/// Returns the services that were listed in the daemon's last poll.
fn services(config: &Config) -> Option<Vec<String>> {
    let store = Store::open_existing(&config.state_directory, false).ok()??;
    let beliefs = block_on(store.beliefs(&config.feed)).ok()?.ok()?;
    let listed = beliefs.services.values().filter(|service| matches!(service.listed, Listed::Yes));
    let names: Vec<String> = listed.map(|service| printable(&service.name)).collect();
    (!names.is_empty()).then_some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_of_a_word_follows_from_the_words_before_it() {
        #[track_caller]
        fn check(line: &str, expected: Option<(Kind, &str, &str)>) {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            assert_eq!(last_word(&words), expected, "{line:?}");
        }
        let service = |typed| Some((Kind::Service, "", typed));
        check("check ", service(""));
        check("check iC", service("iC"));
        check("check Photos iC", service("iC"));
        check("check --json iC", service("iC"));
        check("--watch ", service(""));
        check("run --watch Ph", service("Ph"));
        check("history --service ", service(""));
        check("history --service = iC", service("iC"));
        check("history --service =", service(""));
        check("history --service=iC", Some((Kind::Service, "--service=", "iC")));
        check("ack Ph", service("Ph"));
        check("test-notice ", Some((Kind::Channel, "", "")));
        check("drill --channel des", Some((Kind::Channel, "", "des")));
        check("outbox retry 7 --channel ", Some((Kind::Channel, "", "")));
        check("doctor --only po", Some((Kind::Check, "", "po")));
        check("guide ", Some((Kind::GuideStep, "", "")));
        for line in
            ["", "che", "check --", "check --format ", "history --since 3", "fleet dev", "outbox ", "x y"]
        {
            check(line, None);
        }
    }

    #[test]
    fn quoting_is_removed() {
        for typed in ["iCloud B", "'iCloud B", "\"iCloud B", "iCloud\\ B"] {
            assert_eq!(unquoted(typed), "iCloud B");
        }
    }
}
