//! The shipped units: their options, their keys and their exposure scores.
//!
//! Starts no unit. Without `systemd-analyze`, tests only the text of the units.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

const SYSTEM: &str = "systemd/statusd.service";
const USER: &str = "systemd/user/statusd.service";
/// Drop-ins, each with the first version of systemd that knows all its keys.
const DROP_INS: [(&str, u32); 3] = [
    ("systemd/notify-reload.conf", 253),
    ("systemd/restart-steps.conf", 254),
    ("systemd/no-user-namespaces.conf", 247),
];
/// The maximum exposure in tenths, as in `--threshold`.
const SYSTEM_EXPOSED_MAX: u32 = 12;
const USER_EXPOSED_MAX: u32 = 20;

/// The keys of a section, each with its values in order.
type Section = BTreeMap<String, Vec<String>>;

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(name: &str) -> BTreeMap<String, Section> {
    let text = fs::read_to_string(path(name)).expect(name);
    let mut sections: BTreeMap<String, Section> = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(section) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            current = section.to_owned();
            continue;
        }
        let (key, value) = line.split_once('=').unwrap_or_else(|| panic!("{name}: {line}"));
        let section = sections.entry(current.clone()).or_default();
        section.entry(key.trim().to_owned()).or_default().push(value.trim().to_owned());
    }
    sections
}

/// Returns the only value of a key.
#[track_caller]
fn value<'a>(unit: &'a BTreeMap<String, Section>, section: &str, key: &str) -> &'a str {
    match unit.get(section).and_then(|section| section.get(key)).map(Vec::as_slice) {
        Some([value]) => value,
        other => panic!("[{section}] {key}: {other:?}"),
    }
}

fn seconds(text: &str) -> u64 {
    let (number, unit_s) = match text.strip_suffix("min") {
        Some(minutes) => (minutes, 60),
        None => (text, 1),
    };
    number.parse::<u64>().expect("a time") * unit_s
}

/// Runs `systemd-analyze`. Returns true for success and the output, or `None` if it is missing.
fn analyze(arguments: &[&str]) -> Option<(bool, String)> {
    let output = match Command::new("systemd-analyze").args(arguments).env("SYSTEMD_COLORS", "0").output() {
        Ok(output) => output,
        Err(_) => {
            println!("systemd-analyze is missing: not checked");
            return None;
        }
    };
    let text = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
}

fn version() -> Option<u32> {
    let (_, text) = analyze(&["--version"])?;
    text.split_whitespace().nth(1)?.parse().ok()
}

/// Installs a unit and its drop-ins in a temporary directory, with the path of the built program.
fn installed(unit: &str, drop_ins: &[&str]) -> (TempDir, PathBuf) {
    let directory = TempDir::new().expect("a directory");
    let text = fs::read_to_string(path(unit)).expect(unit);
    let program = env!("CARGO_BIN_EXE_statusd");
    let text = text.replace("/usr/local/bin/statusd", program).replace("%h/.cargo/bin/statusd", program);
    let target = directory.path().join("statusd.service");
    fs::write(&target, text).expect("a unit");
    let drop_in_directory = directory.path().join("statusd.service.d");
    fs::create_dir(&drop_in_directory).expect("a directory");
    for drop_in in drop_ins {
        let name = Path::new(drop_in).file_name().expect("a name");
        fs::copy(path(drop_in), drop_in_directory.join(name)).expect("a drop-in");
    }
    (directory, target)
}

#[test]
fn units_set_every_option_the_program_relies_on() {
    for name in [SYSTEM, USER] {
        let unit = read(name);
        let service = |key| value(&unit, "Service", key);
        assert_eq!(service("Type"), "notify", "{name}: systemd 252 knows no notify-reload");
        assert_eq!(service("NotifyAccess"), "main");
        assert_eq!(service("RestartPreventExitStatus"), "78 2", "configuration and usage");
        assert_eq!(seconds(service("TimeoutStopSec")), 10, "the program stops within 5 s");
        // Long enough for three pings, even if the loops are late.
        assert!(seconds(service("WatchdogSec")) >= 60, "{name}");
        assert_eq!(service("UMask"), "0077");
        assert_eq!(service("LimitCORE"), "0", "{name}: a core holds secrets");
        // Restarts must stay below the limit, or a full disk would stop the service for ever.
        let restarts =
            seconds(value(&unit, "Unit", "StartLimitIntervalSec")) / seconds(service("RestartSec"));
        let burst: u64 = value(&unit, "Unit", "StartLimitBurst").parse().expect("a number");
        assert!(restarts < burst, "{name}: {restarts} restarts, {burst} starts allowed");
    }
    let user = read(USER);
    assert!(!user["Service"].contains_key("StateDirectory"), "it was ~/.config before systemd 254");
    let system = read(SYSTEM);
    assert_eq!(value(&system, "Service", "StateDirectory"), "statusd");
    assert_eq!(value(&system, "Service", "StateDirectoryMode"), "0700");
    assert_eq!(value(&system, "Service", "DynamicUser"), "yes");
    let families = value(&system, "Service", "RestrictAddressFamilies").split(' ').collect::<Vec<_>>();
    for family in ["AF_INET", "AF_INET6", "AF_UNIX"] {
        assert!(families.contains(&family), "{family}");
    }
}

#[test]
fn drop_ins_override_only_keys_that_the_unit_sets() {
    let user = read(USER);
    let drop_in = read("systemd/no-user-namespaces.conf");
    for key in drop_in["Service"].keys() {
        assert!(user["Service"].contains_key(key), "no-user-namespaces.conf: {key} is not in {USER}");
    }
    assert_eq!(drop_in.keys().collect::<Vec<_>>(), ["Service"]);
    let reload = read("systemd/notify-reload.conf");
    assert_eq!(value(&reload, "Service", "ExecReload"), "", "systemd sends the signal itself");
}

/// Checks that systemd accepts the unit without a warning.
#[track_caller]
fn check_known(unit: &str, drop_ins: &[&str]) {
    let (_directory, target) = installed(unit, drop_ins);
    let target = target.display().to_string();
    let Some((is_ok, text)) = analyze(&["verify", "--man=no", &target]) else { return };
    assert!(is_ok && text.trim().is_empty(), "{unit} with {drop_ins:?}:\n{text}");
}

#[test]
fn systemd_knows_every_key() {
    check_known(SYSTEM, &[]);
    check_known(USER, &[]);
    let Some(version) = version() else { return };
    for (drop_in, _) in DROP_INS.iter().filter(|(_, since)| version >= *since) {
        check_known(USER, &[drop_in]);
    }
}

#[track_caller]
fn check_exposure(unit: &str, max: u32) {
    let (_directory, target) = installed(unit, &[]);
    let (threshold, target) = (format!("--threshold={max}"), target.display().to_string());
    let Some((is_ok, text)) = analyze(&["security", "--offline=true", "--no-pager", &threshold, &target])
    else {
        return;
    };
    let score = text.lines().find(|line| line.contains("Overall exposure level"));
    let score = score.unwrap_or_else(|| panic!("{unit}: no score:\n{text}"));
    println!("{unit}: {}", score.trim_start_matches(['→', ' ']));
    assert!(is_ok, "{unit}: more than {}.{}:\n{text}", max / 10, max % 10);
}

#[test]
fn exposure_scores_stay_within_their_limits() {
    check_exposure(SYSTEM, SYSTEM_EXPOSED_MAX);
    check_exposure(USER, USER_EXPOSED_MAX);
}
