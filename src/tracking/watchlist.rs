//! The services that a user watches: names, or globs with `*` and `?`.
//!
//! Affects notices only; all services are tracked. Names compare as [`ServiceKey`].

use wildmatch::WildMatch;

use crate::model::ServiceKey;

/// One name or glob, as written in the configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Pattern {
    pub text: String,
    glob: WildMatch,
}

impl Pattern {
    pub fn new(text: &str) -> Pattern {
        Pattern { text: text.trim().to_owned(), glob: WildMatch::new(ServiceKey::new(text).as_str()) }
    }

    pub fn matches(&self, service: &ServiceKey) -> bool {
        self.glob.matches(service.as_str())
    }

    pub fn is_glob(&self) -> bool {
        self.text.contains(['*', '?'])
    }
}

/// The names and globs of the watched services.
#[derive(Clone, Debug, PartialEq)]
pub struct Watchlist {
    patterns: Vec<Pattern>,
}

impl Watchlist {
    pub fn new<S: AsRef<str>>(patterns: &[S]) -> Watchlist {
        Watchlist { patterns: patterns.iter().map(|pattern| Pattern::new(pattern.as_ref())).collect() }
    }

    pub fn matches(&self, service: &ServiceKey) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(service))
    }

    pub fn patterns(&self) -> &[Pattern] {
        &self.patterns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, name: &str, expected: bool) {
        assert_eq!(Pattern::new(pattern).matches(&ServiceKey::new(name)), expected, "{pattern} on {name}");
    }

    #[test]
    fn names_and_globs() {
        check("iCloud Backup", "iCloud\u{a0}backup ", true);
        check("icloud*", "iCloud Web Apps (iCloud.com)", true);
        check("*", "App Store", true);
        check("iCloud Mai?", "iCloud Mail", true);
        check("iCloud", "iCloud Mail", false);
        check("iCloudバック*", "iCloudバックアップ", true);
    }
}
