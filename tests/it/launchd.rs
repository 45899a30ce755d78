//! Checks the shipped launchd plist against the keys of launchd.plist(5).
//!
//! launchd silently ignores unknown keys, so only this test finds a typing error. Checks that need a Mac are
//! in docs/macos.md.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use plist::{Dictionary, Value};

/// The type of a value.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Text,
    /// One of these words.
    Word(&'static [&'static str]),
    Switch,
    /// A whole number that is not negative.
    Number,
    Texts,
    /// A value that is not checked.
    Any,
    /// A switch or a dictionary of conditions (`KeepAlive`).
    SwitchOr(&'static [(&'static str, Kind)]),
    /// One text or several.
    TextOrTexts(&'static [&'static str]),
}

const SESSIONS: &[&str] = &["Aqua", "Background", "LoginWindow", "StandardIO", "System"];
const CONDITIONS: &[(&str, Kind)] = &[
    ("SuccessfulExit", Kind::Switch),
    ("Crashed", Kind::Switch),
    ("NetworkState", Kind::Switch),
    ("PathState", Kind::Any),
    ("OtherJobEnabled", Kind::Any),
];
const KEYS: &[(&str, Kind)] = &[
    ("Label", Kind::Text),
    ("Disabled", Kind::Switch),
    ("UserName", Kind::Text),
    ("GroupName", Kind::Text),
    ("inetdCompatibility", Kind::Any),
    ("LimitLoadToHosts", Kind::Texts),
    ("LimitLoadFromHosts", Kind::Texts),
    ("LimitLoadToSessionType", Kind::TextOrTexts(SESSIONS)),
    ("LimitLoadToHardware", Kind::Any),
    ("LimitLoadFromHardware", Kind::Any),
    ("Program", Kind::Text),
    ("BundleProgram", Kind::Text),
    ("ProgramArguments", Kind::Texts),
    ("EnableGlobbing", Kind::Switch),
    ("EnableTransactions", Kind::Switch),
    ("EnablePressuredExit", Kind::Switch),
    ("OnDemand", Kind::Switch),
    ("ServiceIPC", Kind::Switch),
    ("KeepAlive", Kind::SwitchOr(CONDITIONS)),
    ("RunAtLoad", Kind::Switch),
    ("RootDirectory", Kind::Text),
    ("WorkingDirectory", Kind::Text),
    ("EnvironmentVariables", Kind::Any),
    ("Umask", Kind::Number),
    ("TimeOut", Kind::Number),
    ("ExitTimeOut", Kind::Number),
    ("ThrottleInterval", Kind::Number),
    ("InitGroups", Kind::Switch),
    ("WatchPaths", Kind::Texts),
    ("QueueDirectories", Kind::Texts),
    ("StartOnMount", Kind::Switch),
    ("StartInterval", Kind::Number),
    ("StartCalendarInterval", Kind::Any),
    ("StandardInPath", Kind::Text),
    ("StandardOutPath", Kind::Text),
    ("StandardErrorPath", Kind::Text),
    ("Debug", Kind::Switch),
    ("WaitForDebugger", Kind::Switch),
    ("SoftResourceLimits", Kind::Any),
    ("HardResourceLimits", Kind::Any),
    ("Nice", Kind::Number),
    ("ProcessType", Kind::Word(&["Background", "Standard", "Adaptive", "Interactive"])),
    ("AbandonProcessGroup", Kind::Switch),
    ("LowPriorityIO", Kind::Switch),
    ("LowPriorityBackgroundIO", Kind::Switch),
    ("MaterializeDatalessFiles", Kind::Switch),
    ("LaunchOnlyOnce", Kind::Switch),
    ("MachServices", Kind::Any),
    ("Sockets", Kind::Any),
    ("LaunchEvents", Kind::Any),
    ("HopefullyExitsLast", Kind::Switch),
    ("HopefullyExitsFirst", Kind::Switch),
    ("SessionCreate", Kind::Switch),
    ("LegacyTimers", Kind::Switch),
    ("AssociatedBundleIdentifiers", Kind::TextOrTexts(&[])),
];
/// Keys that statusd requires.
const REQUIRED: [&str; 9] = [
    "Label",
    "ProgramArguments",
    "RunAtLoad",
    "KeepAlive",
    "ThrottleInterval",
    "ExitTimeOut",
    "ProcessType",
    "LimitLoadToSessionType",
    "StandardErrorPath",
];

fn shipped() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("launchd/statusd.plist");
    fs::read_to_string(path).expect("the plist")
}

fn read(text: &str) -> Dictionary {
    let value = Value::from_reader_xml(text.as_bytes()).expect("a property list");
    value.into_dictionary().expect("a dictionary")
}

/// Returns the faults of the plist, one line each.
fn faults(list: &Dictionary) -> Vec<String> {
    let mut faults = key_faults("", list, KEYS);
    let missing = REQUIRED.iter().filter(|key| !list.contains_key(key));
    faults.extend(missing.map(|key| format!("{key} is missing")));
    faults
}

fn key_faults(place: &str, list: &Dictionary, keys: &[(&'static str, Kind)]) -> Vec<String> {
    let keys: BTreeMap<&str, Kind> = keys.iter().copied().collect();
    let fault = |(key, value): (&String, &Value)| match keys.get(key.as_str()) {
        None => vec![format!("{place}{key} is no key of launchd.plist(5)")],
        Some(Kind::SwitchOr(below)) => match value.as_dictionary() {
            Some(list) => key_faults(&format!("{key}."), list, below),
            None if value.as_boolean().is_some() => Vec::new(),
            None => vec![format!("{place}{key} is {value:?}")],
        },
        Some(kind) if !fits(*kind, value) => vec![format!("{place}{key} is {value:?}, not {kind:?}")],
        Some(_) => Vec::new(),
    };
    list.iter().flat_map(fault).collect()
}

fn fits(kind: Kind, value: &Value) -> bool {
    let is_one_of = |words: &[&str], word: &str| words.is_empty() || words.contains(&word);
    let texts = |value: &Value| -> Option<Vec<String>> {
        let texts = value.as_array()?.iter().map(|text| text.as_string().map(str::to_owned));
        texts.collect::<Option<Vec<String>>>().filter(|texts| !texts.is_empty())
    };
    match kind {
        Kind::Text => value.as_string().is_some_and(|text| !text.is_empty()),
        Kind::Word(words) => value.as_string().is_some_and(|word| is_one_of(words, word)),
        Kind::Switch => value.as_boolean().is_some(),
        Kind::Number => value.as_unsigned_integer().is_some(),
        Kind::Texts => texts(value).is_some(),
        Kind::Any => true,
        Kind::SwitchOr(_) => value.as_boolean().is_some() || value.as_dictionary().is_some(),
        Kind::TextOrTexts(words) => match value.as_string() {
            Some(word) => is_one_of(words, word),
            None => texts(value).is_some_and(|texts| texts.iter().all(|word| is_one_of(words, word))),
        },
    }
}

#[test]
fn shipped_agent_uses_only_known_keys() {
    let list = read(&shipped());
    assert_eq!(faults(&list), [""; 0]);
    // launchd restarts statusd after a crash or an error, but not after a normal stop.
    let keep_alive = list["KeepAlive"].as_dictionary().expect("conditions");
    assert_eq!(keep_alive["SuccessfulExit"].as_boolean(), Some(false));
    assert_eq!(list["LimitLoadToSessionType"].as_string(), Some("Aqua"));
    assert_eq!(list["ProcessType"].as_string(), Some("Background"));
    assert_eq!(list["Umask"].as_unsigned_integer(), Some(0o077));
    // launchd expects the file name to match the label.
    assert_eq!(list["Label"].as_string(), Some("statusd"));
    // The daemon needs up to 5 s to stop, and launchd must not kill it earlier.
    assert!(list["ExitTimeOut"].as_unsigned_integer() > Some(5));
    assert!(list["ThrottleInterval"].as_unsigned_integer() >= Some(10), "launchd's default is 10 s");
}

#[test]
fn detects_plist_faults() {
    #[track_caller]
    fn check(from: &str, to: &str, fault: &str) {
        let text = shipped();
        assert!(text.contains(from), "{from}");
        let found = faults(&read(&text.replacen(from, to, 1)));
        assert!(found.iter().any(|line| line.contains(fault)), "{found:?}");
    }
    check("<key>KeepAlive</key>", "<key>KeepALive</key>", "KeepALive is no key");
    check("<key>KeepAlive</key>", "<key>KeepALive</key>", "KeepAlive is missing");
    check("<key>SuccessfulExit</key>", "<key>SuccesfulExit</key>", "KeepAlive.SuccesfulExit is no key");
    check("<integer>60</integer>", "<string>60</string>", "ThrottleInterval is");
    check("<integer>60</integer>", "<integer>-60</integer>", "ThrottleInterval is");
    check("<string>Background</string>", "<string>background</string>", "ProcessType is");
    check("<string>Aqua</string>", "<string>Desktop</string>", "LimitLoadToSessionType is");
    check("<true/>", "<string>yes</string>", "RunAtLoad is");
    check("<string>-c</string>", "<integer>1</integer>", "ProgramArguments is");
}

/// A maintainer works through the checks that need a Mac before a release.
#[test]
fn checks_that_need_a_mac_are_documented() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let list = fs::read_to_string(root.join("docs/macos.md")).expect("docs/macos.md");
    assert!(list.contains("not tested here") && list.matches("- [ ] ").count() > 8, "{list}");
    let workflow = fs::read_to_string(root.join(".github/workflows/macos.yml")).expect("a workflow");
    for words in ["runner: [macos-", "cargo check --all-targets", "cargo test --lib"] {
        assert!(workflow.contains(words), "{words}");
    }
}

/// Code for macOS only cannot be tested elsewhere.
#[test]
fn macos_only_code_is_in_two_files() {
    const FILES: [(&str, &str); 2] =
        [("config/paths.rs", "paths"), ("channel/desktop/mod.rs", "what notify-rust needs")];
    fn collect(directory: &Path, root: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                collect(&path, root, found);
            } else if fs::read_to_string(&path)
                .is_ok_and(|text| text.contains("#[cfg(target_os = \"macos\")]"))
            {
                let below = path.strip_prefix(root).expect("below the root");
                found.push(below.display().to_string());
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    collect(&root, &root, &mut found);
    found.sort();
    let mut known: Vec<&str> = FILES.iter().map(|(file, _)| *file).collect();
    known.sort_unstable();
    assert_eq!(found, known);
}
