//! The name of a service as one part of an address or a topic.

use ring::digest::{SHA256, digest};

use super::ServiceKey;

/// The maximum length of the readable part of a slug.
const SLUG_MAX_CHARS: usize = 48;

impl ServiceKey {
    /// Returns a name of ASCII letters, digits and `separator`, which never changes and does not depend on
    /// other services. Any name but plain words ("iCloudバックアップ", "A & B", "A-B") gets a hash after
    /// `mark`. Plain words contain no `mark`, so no two services have the same slug.
    pub fn slug(&self, separator: char, mark: char) -> String {
        let mut slug = String::new();
        for c in self.0.chars() {
            if c.is_ascii_alphanumeric() {
                slug.push(c);
            } else if !slug.is_empty() && !slug.ends_with(separator) {
                slug.push(separator);
            }
        }
        let is_plain = slug == self.0.replace(' ', &separator.to_string()) && !self.0.contains(separator);
        if is_plain && (1..=SLUG_MAX_CHARS).contains(&slug.len()) {
            return slug;
        }
        slug.truncate(SLUG_MAX_CHARS);
        let hash = digest(&SHA256, self.0.as_bytes());
        let hash = hex::encode(&hash.as_ref()[..4]);
        match slug.trim_end_matches(separator) {
            "" => format!("service{mark}{hash}"),
            words => format!("{words}{mark}{hash}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn slugs_are_unique_and_fit_an_address() {
        let names = [
            "iCloud Backup",
            "A B",
            "A & B",
            "A-B",
            "A_B",
            "iCloudバックアップ",
            "iCloudメール",
            "日本",
            "",
            "x/y?z#",
        ];
        let slugs: BTreeSet<String> = names.iter().map(|name| ServiceKey::new(name).slug('-', '_')).collect();
        assert_eq!(slugs.len(), names.len(), "{slugs:?}");
        assert!(slugs.contains("icloud-backup") && slugs.contains("a-b"), "{slugs:?}");
        let is_safe = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        assert!(slugs.iter().all(|slug| slug.chars().all(is_safe)), "{slugs:?}");
    }
}
