//! Checks that the types in the glossary exist and that public type names are unique.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::arrows::sources;

/// Names that each channel or platform may define in its own module.
const PER_MODULE: &[&str] = &["Settings", "Desktop"];

/// Returns the public types of `src/` with the files that define them.
fn public_types() -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (file, code) in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        for name in code.lines().filter_map(defined) {
            found.entry(name.to_owned()).or_default().insert(file.clone());
        }
    }
    found
}

/// Returns the name in `pub struct NAME`, `pub(super) enum NAME` and similar lines without indentation.
fn defined(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("pub")?;
    let rest = rest.strip_prefix("(super)").or_else(|| rest.strip_prefix("(crate)")).unwrap_or(rest);
    let (keyword, rest) = rest.trim_start().split_once(' ')?;
    let is_type = ["struct", "enum", "trait", "type"].contains(&keyword);
    is_type.then(|| rest.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default())
}

#[test]
fn glossary_types_exist() {
    let glossary = include_str!("../../docs/glossary.md");
    let types = public_types();
    let named: Vec<&str> = glossary
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" | ").nth(1)?.strip_prefix('`')?.strip_suffix('`'))
        .collect();
    assert!(named.len() >= 25, "{named:?}");
    let missing: Vec<&&str> = named.iter().filter(|name| !types.contains_key(**name)).collect();
    assert!(missing.is_empty(), "the glossary names types that do not exist: {missing:?}");
}

#[test]
fn public_type_names_are_unique() {
    let shared: Vec<_> = public_types()
        .into_iter()
        .filter(|(name, files)| files.len() > 1 && !PER_MODULE.contains(&name.as_str()))
        .collect();
    assert!(shared.is_empty(), "{shared:#?}");
}

#[test]
fn detects_definitions_in_every_form() {
    for line in [
        "pub struct Name<T> {",
        "pub(super) enum Name {",
        "pub(crate) type Name = u8;",
        "pub trait Name: Send {",
    ] {
        assert_eq!(defined(line), Some("Name"), "{line}");
    }
    for line in ["struct Name;", "    pub struct Name;", "pub fn name() {}", "pub use a::Name;"] {
        assert_eq!(defined(line), None, "{line}");
    }
}
