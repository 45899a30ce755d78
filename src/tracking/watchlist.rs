//! The services that a user watches: names, or globs with `*` and `?`.
//!
//! Affects notices only; all services are tracked. Names compare as [`ServiceKey`].

use wildmatch::WildMatch;

use crate::model::ServiceKey;

/// Minimum similarity (Jaro-Winkler, 0 to 1) of a suggested name.
const MIN_SIMILARITY: f64 = 0.75;
/// Weight of the similarity to one word of a name, compared with the whole name.
const WORD_WEIGHT: f64 = 0.9;
const MAX_NEAR: usize = 3;
/// Offset of a full-width character (U+FF01 to U+FF5E) from its ASCII character.
const FULL_WIDTH_OFFSET: u32 = 0xfee0;

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

/// Returns the names most similar to `wanted`, best first, for "did you mean …?".
pub fn near<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let wanted = ServiceKey::new(&ascii_width(wanted));
    let wanted = wanted.as_str();
    let unspaced = wanted.replace(' ', "");
    let similarity = |name: &str| {
        let key = ServiceKey::new(&ascii_width(name));
        let name = key.as_str();
        // A part of a name ("backup") counts as a full match, and a typo in a part ("bakup") nearly so.
        // Japanese and Chinese names have no space where users may type one.
        if !unspaced.is_empty() && name.replace(' ', "").contains(&unspaced) {
            return 1.0;
        }
        let words = words(name).map(|word| strsim::jaro_winkler(wanted, word) * WORD_WEIGHT);
        words.fold(strsim::jaro_winkler(wanted, name), f64::max)
    };
    let mut ranked: Vec<(f64, &str)> = names
        .map(|name| (similarity(name), name))
        .filter(|(similarity, _)| *similarity >= MIN_SIMILARITY)
        .collect();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    ranked.into_iter().take(MAX_NEAR).map(|(_, name)| name.to_owned()).collect()
}

/// Replaces full-width characters ("ｉＣｌｏｕｄ") with ASCII.
fn ascii_width(name: &str) -> String {
    let narrow = |c: char| match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - FULL_WIDTH_OFFSET).unwrap_or(c),
        c => c,
    };
    name.chars().map(narrow).collect()
}

/// Returns the words of a name, and its non-Latin parts, because "iCloudバックアップ" has no space between
/// words.
fn words(name: &str) -> impl Iterator<Item = &str> {
    let is_latin = |c: char| c < '\u{250}';
    name.split(' ').chain(name.split(is_latin).filter(|part| !part.is_empty()))
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

    #[test]
    fn similar_names_are_suggested_and_others_are_not() {
        let names = ["iCloud Backup", "iCloud Mail", "Photos", "App Store"];
        let near = |wanted| near(wanted, names.into_iter());
        assert_eq!(near("iCloud Bakup")[0], "iCloud Backup");
        assert_eq!(near("backup"), ["iCloud Backup"]);
        assert_eq!(near("bakup"), ["iCloud Backup"]);
        assert_eq!(near("foto")[0], "Photos");
        assert_eq!(near("Xcode Cloud"), Vec::<String>::new());
    }

    #[test]
    fn similar_names_are_found_in_scripts_without_spaces() {
        let names = ["iCloudバックアップ", "iCloudメール", "iCloud云备份", "写真", "Café Müller"];
        let near = |wanted| near(wanted, names.into_iter());
        for wanted in [
            "iCloud バックアップ",
            "バックアップ",
            "バックアプ",
            "iCloud　バックアップ",
            "ｉＣｌｏｕｄバックアップ",
            "iCloudバックアプ",
        ] {
            assert_eq!(near(wanted).first().map(String::as_str), Some("iCloudバックアップ"), "{wanted}");
        }
        assert_eq!(near("备份")[0], "iCloud云备份");
        assert_eq!(near("メール"), ["iCloudメール"]);
        assert_eq!(near("muller")[0], "Café Müller");
        assert_eq!(near("天気"), Vec::<String>::new());
        assert_eq!(near(" "), Vec::<String>::new());
    }
}
