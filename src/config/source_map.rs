//! Maps the keys of a TOML text to lines. Holds no values.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The line of each dotted key, from 1. Elements of arrays have the keys `array[0]`, `array[1]` ….
#[derive(Clone, Debug, Default)]
pub(super) struct SourceMap(BTreeMap<String, usize>);

impl SourceMap {
    pub fn of(table: &DeTable<'_>, text: &str) -> SourceMap {
        let newlines: Vec<usize> = text.match_indices('\n').map(|(offset, _)| offset).collect();
        let line = |offset: usize| newlines.partition_point(|newline| *newline < offset) + 1;
        let mut map = SourceMap::default();
        map.add_table("", table, &line);
        map
    }

    /// Returns the line of a dotted key, or else that of the nearest table or array that contains it.
    pub fn line(&self, key: &str) -> Option<usize> {
        enclosing(key).find_map(|key| self.exact_line(key))
    }

    pub fn exact_line(&self, key: &str) -> Option<usize> {
        self.0.get(key).copied()
    }

    fn add_table(&mut self, above: &str, table: &DeTable<'_>, line: &dyn Fn(usize) -> usize) {
        for (name, value) in table {
            self.add(joined(above, name.get_ref()), name.span().start, value, line);
        }
    }

    fn add(
        &mut self,
        key: String,
        offset: usize,
        value: &Spanned<DeValue<'_>>,
        line: &dyn Fn(usize) -> usize,
    ) {
        match value.get_ref() {
            DeValue::Table(table) => self.add_table(&key, table, line),
            DeValue::Array(elements) => {
                for (index, element) in elements.iter().enumerate() {
                    self.add(format!("{key}[{index}]"), element.span().start, element, line);
                }
            }
            _ => {}
        }
        self.0.insert(key, line(offset));
    }
}

/// Lists a dotted key and the keys that contain it, innermost first.
pub(super) fn enclosing(key: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(key), |key| key.rfind(['.', '[']).map(|end| &key[..end]))
}

/// Returns line and column of a byte offset, both from 1. The column counts characters.
pub(super) fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..offset.min(text.len())];
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    (line, String::from_utf8_lossy(&before[start..]).chars().count() + 1)
}

/// Returns the dotted key. Quotes the name if TOML requires it.
pub(super) fn joined(table: &str, name: &str) -> String {
    let bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    let name = if bare { name.to_owned() } else { format!("{name:?}") };
    if table.is_empty() { name } else { format!("{table}.{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_its_line() {
        let text = "a = 1\n\n[b]\n\"c d\" = [\n 1,\n 2]\ne.f = 'x'\n[b.g]\n[[h]]\ni = 1\n[[h]]\ni = 1";
        let source_map = SourceMap::of(DeTable::parse(text).expect("TOML").get_ref(), text);
        for (key, line) in [
            ("a", 1),
            ("b", 3),
            ("b.\"c d\"", 4),
            ("b.\"c d\"[1]", 6),
            ("b.e", 7),
            ("b.e.f", 7),
            ("b.e.f.none", 7),
            ("b.none", 3),
            ("b.g", 8),
            ("h[1].i", 12),
        ] {
            assert_eq!(source_map.line(key), Some(line), "{key}");
        }
        assert_eq!((source_map.line("c d"), source_map.exact_line("b.none")), (None, None));
    }

    #[test]
    fn columns_count_characters() {
        assert_eq!(line_and_column("a\nüü b", 7), (2, 4));
        assert_eq!(line_and_column("a\n", 2), (2, 1));
        assert_eq!(line_and_column("", 0), (1, 1));
        assert_eq!(line_and_column("ab", 99), (1, 3));
    }
}
