//! All integration tests in one binary, because linking dominates the build time.
//!
//! `common` mocks external systems, `sim` runs the daemon's loops in virtual time, `process` the real
//! binary, `systemd_vm` a real systemd. `crash_test` kills daemons at every kill point.

mod advice;
mod alarms;
mod alertmanager;
mod announced;
mod apprise;
mod arrows;
mod binary;
mod cancellation;
mod chat;
mod command;
mod common;
mod completions;
mod crash;
mod crash_test;
mod damage;
mod dates;
mod desktop;
mod doctor;
mod documents;
mod drill;
mod email;
mod fetch;
mod files;
mod fleet;
mod glossary;
mod heartbeat;
mod history;
mod launchd;
mod manual;
mod memory;
mod mistakes;
mod mqtt;
mod network;
mod notification_servers;
mod oracle;
mod outbox;
mod phone;
mod phone_daemon;
mod phones;
mod policy;
mod process;
mod properties;
mod push;
mod real_material;
mod releases;
mod secrets;
mod service;
mod sim;
mod socks;
mod stories;
mod systemd;
mod systemd_vm;
mod threats;
mod turns;
mod units;
mod unwritten;
mod web;
mod web_api;
mod web_pages;
mod webhook;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// A file without a `mod` line is not compiled, and its tests do not run.
#[test]
fn every_file_is_part_of_the_test_binary() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let mut folders = vec![root.clone()];
    let mut forgotten = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        let entries =
            fs::read_dir(&folder).expect("a directory").map(|entry| entry.expect("an entry").path());
        let (inner, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
        let sources =
            files.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
        forgotten.extend(sources.filter(|path| !is_declared(path, &root)));
        folders.extend(inner);
    }
    assert_eq!(forgotten, BTreeSet::new());
    let beside = fs::read_dir(root.with_file_name("")).expect("a directory");
    let beside = beside.map(|entry| entry.expect("an entry").path());
    let is_binary =
        |path: &Path| path.extension().is_some_and(|end| end == "rs") || path.join("main.rs").exists();
    let binaries = beside.filter(|path| is_binary(path)).count();
    assert_eq!(binaries, 1, "a file beside tests/it/ is another binary, which costs a link");
}

/// Returns whether the parent module has a `mod` line: `a/b.rs` is declared in `a/mod.rs` or `a.rs`.
fn is_declared(path: &Path, root: &Path) -> bool {
    let folder = path.parent().expect("a folder");
    let stem = path.file_stem().expect("a name").to_string_lossy().into_owned();
    let (folder, name) = match stem.as_str() {
        "main" if folder == root => return true,
        "mod" => (
            folder.parent().expect("a folder"),
            folder.file_name().expect("a name").to_string_lossy().into_owned(),
        ),
        _ => (folder, stem),
    };
    let parents = match folder == root {
        true => vec![root.join("main.rs")],
        false => vec![folder.join("mod.rs"), folder.with_extension("rs")],
    };
    let lines = [format!("mod {name};"), format!("pub mod {name};")];
    parents
        .iter()
        .filter_map(|parent| fs::read_to_string(parent).ok())
        .any(|text| text.lines().any(|line| lines.iter().any(|known| known == line)))
}
