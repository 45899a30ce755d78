//! Checks that no text for users names a host other than Apple's or a telephone number, because support
//! scams use this subject.
//!
//! Reads messages of every kind, digests, drills, help, manual, sample configuration, documentation and
//! the string literals in the sources.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use statusd::delivery::message::{Context, Digest, Form, RenderContext, compose, line};
use statusd::model::{Change, ChangeKind, Edition, EventKind, FeedId, LastBackup, Outage, Phase};

/// Apple's domains for devices, with their subdomains. The doctor names those that it cannot reach, but no
/// text sends users there.
const DEVICE_DOMAINS: [&str; 3] = ["icloud.com", "icloud-content.com", "cdn-apple.com"];
/// The host that the doctor connects to in order to tell "offline" from "Apple unreachable" (RFC 2606).
const CONNECTIVITY_HOST: &str = "example.com";
/// Reserved top-level domains (RFC 2606, RFC 6761), and names of the local computer.
const RESERVED: [&str; 5] = ["example", "invalid", "test", "localhost", "localdomain"];
/// Fixed hosts of channels. No text gives them as advice.
const CHANNEL_HOSTS: [&str; 7] = [
    "api.telegram.org",
    "api.pushover.net",
    "ntfy.sh",
    "hooks.slack.com",
    "discord.com",
    // Part of the name of a format.
    "adaptivecards.io",
    // The namespaces of Atom and SVG.
    "www.w3.org",
];
/// Top-level domains that make a dotted word a host rather than a file or a configuration key.
const TOP_LEVEL_DOMAINS: [&str; 22] = [
    "com", "net", "org", "info", "biz", "io", "co", "app", "dev", "help", "support", "care", "online",
    "site", "top", "xyz", "me", "us", "uk", "de", "eu", "ly",
];

fn at(text: &str) -> Timestamp {
    format!("2026-05-05T{text}:00Z").parse().expect("a time")
}

fn change(kind: ChangeKind, service: &str) -> Change {
    let feed = FeedId { edition: Edition::Consumer, locale: "en_US".to_owned() };
    Change {
        service: service.to_owned(),
        message_id: Some("1001".to_owned()),
        occurrence: Some(1),
        outage_kind: Some(EventKind::Outage),
        was_kind: Some(EventKind::Issue),
        began_at: Some(at("08:15")),
        ended_at: Some(at("09:40")),
        phone: Some(LastBackup { at: at("03:00"), read_at: at("09:30"), phones: 1 }),
        ..Change::bare(kind, feed, at("09:40"), at("09:41"))
    }
}

fn ongoing() -> Outage {
    Outage {
        service: "Photos".to_owned(),
        message_id: "1002".to_owned(),
        occurrence: 1,
        kind: EventKind::Issue,
        phase: Phase::Ongoing(None),
        start: Some(at("07:00")),
        end: None,
        first_seen: at("07:05"),
        users_affected: None,
        message: String::new(),
        counts: BTreeMap::new(),
    }
}

#[test]
fn messages_link_only_to_apple() {
    let digest = Digest { since: at("09:00"), ongoing: vec![ongoing()] };
    for kind in ChangeKind::ALL {
        for service in ["iCloud Backup", "Photos", ""] {
            for near in [Vec::new(), vec!["iCloud Backup".to_owned()]] {
                for (digest, is_drill) in [(None, false), (Some(&digest), true)] {
                    let render = RenderContext { now: at("10:10"), zone: &TimeZone::UTC, is_drill };
                    let change = Change { near: near.clone(), ..change(kind, service) };
                    let form = if is_drill { Form::Compact } else { Form::Full };
                    let others = vec![ongoing()];
                    let context = Context { form, digest: digest.cloned(), others, more: 0 };
                    let message = compose(std::slice::from_ref(&change), &context, &render);
                    let text = format!("{}\n{}\n{}", message.title, message.body, line(&change, &render));
                    assert!(!message.title.is_empty() && !message.body.is_empty(), "{kind:?} has no text");
                    assert_eq!(message.title.starts_with("DRILL: "), is_drill, "{text}");
                    assert_eq!(foreign_host(&text).or_else(|| phone_number(&text)), None, "{text}");
                }
            }
        }
    }
}

#[test]
fn help_and_manual_link_only_to_apple() {
    let directory = tempfile::tempdir().expect("a directory");
    output_of(&["man", "--dir", directory.path().to_str().expect("UTF-8")]);
    let mut pages = 0;
    for page in files(directory.path(), "1") {
        let text = fs::read_to_string(&page).expect("a page").replace('\\', "");
        assert_eq!(foreign_host(&text).or_else(|| phone_number(&text)), None, "{}", page.display());
        // `statusd-outbox-retry.1` is `statusd outbox retry`.
        let name = page.file_stem().and_then(|stem| stem.to_str()).expect("a name").to_owned();
        let command: Vec<&str> = match name.strip_prefix("statusd-") {
            Some("test-notice") => vec!["test-notice"],
            Some(rest) => rest.split('-').collect(),
            None => Vec::new(),
        };
        let help = output_of(&[command, vec!["--help"]].concat());
        assert_eq!(foreign_host(&help).or_else(|| phone_number(&help)), None, "{name}");
        pages += 1;
    }
    assert!(pages > 15, "{pages} pages");
    let sample = output_of(&["config", "init", "--stdout"]);
    // Chat ids look like telephone numbers.
    let is_chat = |line: &&str| line.starts_with("#chat_id") || line.starts_with("#thread_id");
    let sample: String = sample.lines().filter(|line| !is_chat(line)).flat_map(|line| [line, "\n"]).collect();
    assert_eq!(foreign_host(&sample).or_else(|| phone_number(&sample)), None);
}

/// Returns the output of a command.
#[track_caller]
fn output_of(arguments: &[&str]) -> String {
    let output =
        Command::new(env!("CARGO_BIN_EXE_statusd")).args(arguments).output().expect("statusd starts");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn guide_links_only_to_apple() {
    for arguments in [vec!["guide"], vec!["guide", "--json"], vec!["doctor", "--list-checks"]] {
        let text = output_of(&arguments);
        assert_eq!(foreign_host(&text).or_else(|| phone_number(&text)), None, "{arguments:?}");
    }
    let guide = output_of(&["guide"]);
    for host in ["https://support.apple.com/", "https://getsupport.apple.com/"] {
        assert!(guide.contains(host), "{host}");
    }
}

#[test]
fn documents_and_sources_name_only_apples_hosts() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut documents = files(&root.join("docs"), "md");
    documents.extend(
        ["README.md", "CONTRIBUTING.md", "SECURITY.md", "config/statusd.toml"].map(|name| root.join(name)),
    );
    for path in &documents {
        let text = fs::read_to_string(path).expect("a document");
        assert_eq!(foreign_host_except(&text, &DEVICE_DOMAINS), None, "{}", path.display());
    }
    let sources = files(&root.join("src"), "rs");
    let is_test = |path: &&PathBuf| ["tests.rs", "timelines.rs"].iter().any(|name| path.ends_with(name));
    for path in sources.iter().filter(|path| !is_test(path)) {
        let text = fs::read_to_string(path).expect("a source");
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let is_comment = |line: &&str| line.trim_start().starts_with("//");
        for line in code.lines().filter(|line| !is_comment(line) && line.contains('"')) {
            // The text between quotes. Lines of a multi-line literal may give more.
            let quoted: String = line.split('"').skip(1).step_by(2).flat_map(|text| [text, " "]).collect();
            assert_eq!(foreign_host_except(&quoted, &DEVICE_DOMAINS), None, "{}: {line}", path.display());
        }
    }
    assert!(documents.len() > 4 && sources.len() > 60, "{} and {}", documents.len(), sources.len());
}

#[test]
fn detects_foreign_hosts_and_phone_numbers() {
    for bad in [
        "see https://icloud-help.example.com",
        "see support.apple.com.evil.net",
        "see apple.com.evil.net/backup",
        "write to help@icloud-support.org",
        "[here](https://evil.io)",
        "www.icloud.help",
        "www.icloud.com.evil.net",
        "evil-icloud.com",
        "evilcdn-apple.com",
    ] {
        assert!(foreign_host_except(bad, &DEVICE_DOMAINS).is_some(), "{bad}");
    }
    assert!(foreign_host("go to setup.icloud.com").is_some());
    assert_eq!(foreign_host_except("setup.icloud.com does not answer", &DEVICE_DOMAINS), None);
    for bad in ["call 1-800-555-0199", "call +1 (800) 555 0199", "Tel. 0800.2000.136"] {
        assert!(phone_number(bad).is_some(), "{bad}");
    }
    let good = "see support.apple.com, https://getsupport.apple.com/x, \
                from 08:15 to 10:04 on 5 May 2026, hooks.example, channel.ntfy.phone, statusd.toml, https://[::1]:9000/x";
    assert_eq!(foreign_host(good).or_else(|| phone_number(good)), None);
}

fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    found
}

/// Returns the first foreign host in a text.
fn foreign_host(text: &str) -> Option<String> {
    foreign_host_except(text, &[])
}

/// Like [`foreign_host`], but also allows `known` hosts with their subdomains.
fn foreign_host_except(text: &str, known: &[&str]) -> Option<String> {
    let breaks = |c: char| c.is_whitespace() || "()<>[]{}\"'`“”,;|*".contains(c);
    let words = text.split(breaks).map(|word| word.trim_end_matches(['.', ':', '?', '!']));
    let host = |word: &str| {
        let rest = word.split_once("://").map_or(word, |(_, rest)| rest);
        let rest = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
        rest.split(['/', ':', '#', '?', '\\']).next().unwrap_or_default().to_lowercase()
    };
    let is_url_or_host = |word: &str, host: &str| {
        let ending = host.rsplit('.').next().unwrap_or_default();
        let is_dotted = host.contains('.') && !host.starts_with('.');
        word.contains("://") && host.contains('.') || is_dotted && TOP_LEVEL_DOMAINS.contains(&ending)
    };
    let is_allowed = |host: &str| {
        let ending = host.rsplit('.').next().unwrap_or_default();
        let is_below =
            |own: &str| host == own || host.strip_suffix(own).is_some_and(|below| below.ends_with('.'));
        is_below("apple.com")
            || known.iter().any(|own| is_below(own))
            || RESERVED.contains(&ending)
            || CHANNEL_HOSTS.contains(&host)
            || host == CONNECTIVITY_HOST
            // RFC 2606.
            || is_below("example.org")
            // A key of the configuration.
            || host.starts_with("channel.")
            || host.parse::<std::net::IpAddr>().is_ok()
    };
    words
        .map(|word| (word, host(word)))
        .find(|(word, host)| is_url_or_host(word, host) && !is_allowed(host))
        .map(|(word, _)| word.to_owned())
}

/// Returns the first digits in a text that look like a telephone number.
fn phone_number(text: &str) -> Option<String> {
    // A date such as 2026-05-04, also with a time after it, is not a telephone number.
    let is_date = |word: &str| {
        let day = word.trim_start_matches('(').get(..10).unwrap_or_default();
        day.split('-').map(str::len).eq([4, 2, 2]) && day.bytes().all(|b| b.is_ascii_digit() || b == b'-')
    };
    let words: Vec<&str> = text.split(' ').map(|word| if is_date(word) { ";" } else { word }).collect();
    let mut digits = String::new();
    for c in words.join(" ").chars().chain(" ;".chars()) {
        match c {
            '0'..='9' => digits.push(c),
            ' ' | '-' | '(' | ')' | '+' | '.' if !digits.is_empty() => {}
            _ => {
                if digits.len() >= 7 {
                    return Some(digits);
                }
                digits.clear();
            }
        }
    }
    None
}
