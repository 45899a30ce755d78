//! Verifies the table of `docs/threat-model.md`: every named test exists, and a threat without a test is
//! marked open.
//!
//! Does not check the tests themselves. Also tests the threats that no other file covers: dependencies,
//! and files that every user can read.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The start of a cell for a threat without a mitigation.
const OPEN: &str = "open";
/// The only source of crates.
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

fn read(path: impl AsRef<Path>) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the faults of a threat model. `source` returns the text of a file.
fn faults(model: &str, source: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut faults = Vec::new();
    let rows = model.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| threat |"));
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [threat, mitigation, tests] = cells[..] else {
            faults.push(format!("not three cells: {row}"));
            continue;
        };
        // A heading inside the table.
        if threat.starts_with("**") && mitigation.is_empty() && tests.is_empty() {
            continue;
        }
        let names: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        if names.is_empty() && !(mitigation.starts_with(OPEN) && tests == OPEN) {
            faults.push(format!("neither a test nor open: {threat}"));
        }
        for name in names {
            let exists = name.split_once("::").is_some_and(|(path, test)| {
                source(path).is_some_and(|text| tests_of(&text).any(|found| found == test))
            });
            if !exists {
                faults.push(format!("no such test: {name}"));
            }
        }
    }
    faults
}

/// Returns the names of functions with a test attribute.
fn tests_of(text: &str) -> impl Iterator<Item = &str> {
    let mut is_test = false;
    text.lines().map(str::trim).filter_map(move |line| {
        if line.starts_with("#[") {
            is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
            return None;
        }
        let function = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
        std::mem::take(&mut is_test).then_some(function?.split('(').next()?)
    })
}

#[test]
fn every_threat_names_an_existing_test_or_is_open() {
    let model = read("docs/threat-model.md");
    let source = |path: &str| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).ok();
    assert_eq!(faults(&model, source), Vec::<String>::new());
    let tested = model.lines().filter(|line| line.contains(".rs::")).count();
    let open = model.lines().filter(|line| line.contains("| open")).count();
    assert!(tested > 30 && open > 2, "{tested} tested, {open} open");
}

#[test]
fn faults_of_a_threat_model_are_found() {
    #[track_caller]
    fn check(row: &str, expected: &[&str]) {
        let source = |path: &str| {
            let text = "fn no_test() {}\n    #[test]\n    #[ignore = \"x\"]\n    fn a() {}\n\
                        #[tokio::test]\nasync fn b() {}\nfn c() {}";
            (path == "tests/it/x.rs").then(|| text.to_owned())
        };
        assert_eq!(
            faults(&format!("| threat | what | by |\n|---|---|---|\n{row}"), source),
            expected,
            "{row}"
        );
    }
    check("| **Who** | | |", &[]);
    check("| T | s | `tests/it/x.rs::a`, `tests/it/x.rs::b` |", &[]);
    check("| T | open: nothing | open |", &[]);
    check("| T | s | `tests/it/x.rs::c` |", &["no such test: tests/it/x.rs::c"]);
    check("| T | s | `tests/it/x.rs::no_test` |", &["no such test: tests/it/x.rs::no_test"]);
    check("| T | s | `tests/it/y.rs::a` |", &["no such test: tests/it/y.rs::a"]);
    check("| T | s | |", &["neither a test nor open: T"]);
    check("| T | s | open |", &["neither a test nor open: T"]);
    check("| T | s |", &["not three cells: | T | s |"]);
}

#[test]
fn crates_come_from_crates_io_with_their_checksums() {
    let lock: toml::Table = toml::from_str(&read("Cargo.lock")).expect("TOML");
    let packages = lock["package"].as_array().expect("packages");
    assert!(packages.len() > 100, "{}", packages.len());
    for package in packages {
        let of = |key: &str| package.get(key).and_then(toml::Value::as_str);
        let name = of("name").expect("a name");
        if name != env!("CARGO_PKG_NAME") {
            assert_eq!(of("source"), Some(CRATES_IO), "{name}");
            assert_eq!(of("checksum").map(str::len), Some(64), "{name}");
        }
    }
    // cargo deny, which scripts/supply runs, checks the rest.
    assert!(read(".ci/run").lines().any(|line| line.trim() == "step ./scripts/supply"));
}

#[test]
fn unsafe_code_is_forbidden_in_every_target() {
    let manifest: toml::Table = toml::from_str(&read("Cargo.toml")).expect("TOML");
    assert_eq!(manifest["lints"]["rust"]["unsafe_code"].as_str(), Some("forbid"));
    assert!(read("src/lib.rs").contains("\n#![forbid(unsafe_code)]\n"));
}

#[test]
fn a_world_readable_secret_logs_a_warning() {
    let home = tempfile::tempdir().expect("a directory");
    let (config, secret) = (home.path().join("statusd.toml"), home.path().join("token"));
    let table = "[channel.webhook.ops]\nurl = \"https://hooks.example/x\"\nbearer_token_file = \"token\"\n";
    fs::write(&config, table).expect("a configuration");
    fs::write(&secret, "c4n4ry").expect("a secret");
    let warned: BTreeMap<u32, bool> = [0o600, 0o640, 0o644]
        .map(|mode| {
            fs::set_permissions(&secret, fs::Permissions::from_mode(mode)).expect("rights");
            let output = checked(&config);
            assert!(!output.contains("c4n4ry"), "{output}");
            (mode, output.contains("every user on this machine can read a secret"))
        })
        .into();
    assert_eq!(warned, BTreeMap::from([(0o600, false), (0o640, false), (0o644, true)]));
}

#[test]
fn a_world_readable_configuration_with_secrets_logs_a_warning() {
    let home = tempfile::tempdir().expect("a directory");
    let config = home.path().join("statusd.toml");
    let check = |table: &str, mode: u32, expected: bool| {
        fs::write(&config, table).expect("a configuration");
        fs::set_permissions(&config, fs::Permissions::from_mode(mode)).expect("rights");
        let output = checked(&config);
        assert!(!output.contains("c4n4ry"), "{output}");
        let warning = format!("chmod o-r {}", config.display());
        assert_eq!(output.contains(&warning), expected, "{mode:o} {table}: {output}");
    };
    let webhook = "[channel.webhook.ops]\nurl = \"https://hooks.example/x\"\n";
    for secret in [
        format!("{webhook}bearer_token = \"c4n4ry\"\n"),
        format!("{webhook}hmac_secret = \"c4n4ry\"\n"),
        "[channel.slack.ops]\nurl = \"https://hooks.example/c4n4ry\"\n".to_owned(),
        "[heartbeat]\nurl = \"https://beats.example/c4n4ry\"\n".to_owned(),
    ] {
        check(&secret, 0o644, true);
        check(&secret, 0o604, true);
        check(&secret, 0o640, false);
        check(&secret, 0o600, false);
    }
    check(webhook, 0o644, false);
    check("", 0o644, false);
}

/// Returns the log of `statusd config check` for a valid file.
#[track_caller]
fn checked(config: &PathBuf) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_statusd"))
        .args(["config", "check", "--config"])
        .arg(config)
        .output()
        .expect("statusd starts");
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    text.into_owned()
}
