//! Sanitises foreign text for desktops, terminals and log lines.
//!
//! The result has bounded length and cannot move a cursor, change the direction of writing or hide
//! anything (see the tests below). Each output escapes its own markup.

use std::iter::Peekable;

/// Marks a cut.
const ELLIPSIS: char = '…';
/// The minimum similarity (Jaro-Winkler, 0 to 1) of a suggested name.
const MIN_SIMILARITY: f64 = 0.75;
/// The weight of the similarity to one word of a name, compared with the whole name.
const WORD_WEIGHT: f64 = 0.9;
/// A shorter part occurs in many names by chance.
const PART_MIN_CHARS: usize = 2;
const MAX_NEAR: usize = 3;
/// Offset of a full-width character (U+FF01 to U+FF5E) from its ASCII character.
const FULL_WIDTH_OFFSET: u32 = 0xfee0;

/// Returns one trimmed line of at most `max` characters. White space, line breaks included, becomes one
/// blank; invisible characters are dropped; an ellipsis marks a cut.
pub fn plain_line(text: &str, max: usize) -> String {
    // Fast path for ASCII, which is almost every string in the feed.
    let is_plain = text.len() <= max
        && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
        && !text.contains("  ")
        && text.trim_ascii().len() == text.len();
    if is_plain {
        return text.to_owned();
    }
    let mut line = String::new();
    for word in visible(text).split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    capped(&line, max)
}

/// Returns lines of together at most `max` characters, each as from [`plain_line`]. Line breaks of any
/// kind become `\n`. Empty lines at the ends and repeated empty lines are dropped.
pub fn plain_text(text: &str, max: usize) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in with_unix_breaks(text).split('\n') {
        let line = plain_line(line, usize::MAX);
        let repeats_blank = lines.last().is_none_or(String::is_empty);
        if !(line.is_empty() && repeats_blank) {
            lines.push(line);
        }
    }
    capped(lines.join("\n").trim_end(), max)
}

/// Escapes the five special characters of XML and HTML.
pub fn xml_escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            other => out.push(other),
        }
    }
    out
}

/// Returns the names most similar to `wanted`, best first, for "did you mean …?". Ignores case and
/// width, and treats `-` and `_` as spaces.
pub fn near<'n>(wanted: &str, names: impl IntoIterator<Item = &'n str>) -> Vec<&'n str> {
    let wanted = folded(wanted);
    let unspaced = wanted.replace(' ', "");
    let similarity = |name: &str| {
        let name = folded(name);
        // A part of a name ("backup") counts as a full match, and a typo in a part ("bakup") nearly so.
        // Japanese and Chinese names have no space where users may type one.
        let is_part = unspaced.chars().nth(PART_MIN_CHARS - 1).is_some();
        if is_part && name.replace(' ', "").contains(&unspaced) {
            return 1.0;
        }
        let words = words(&name).map(|word| strsim::jaro_winkler(&wanted, word) * WORD_WEIGHT);
        words.fold(strsim::jaro_winkler(&wanted, &name), f64::max)
    };
    let ranked = names.into_iter().map(|name| (similarity(name), name));
    let mut ranked: Vec<_> = ranked.filter(|(similarity, _)| *similarity >= MIN_SIMILARITY).collect();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    ranked.into_iter().take(MAX_NEAR).map(|(_, name)| name).collect()
}

/// Returns the most similar name, if any is similar. See [`near`].
pub fn nearest<'n>(wanted: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    near(wanted, names).into_iter().next()
}

/// Folds case, white space, and full-width characters ("ｉＣｌｏｕｄ").
fn folded(name: &str) -> String {
    let narrow = |c: char| match c {
        '-' | '_' => ' ',
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - FULL_WIDTH_OFFSET).unwrap_or(c),
        c => c,
    };
    let narrow: String = name.chars().map(narrow).collect();
    let words: Vec<String> = narrow.split_whitespace().map(str::to_lowercase).collect();
    words.join(" ")
}

/// Returns the words of a name, and its non-Latin parts, because "iCloudバックアップ" has no space between
/// words.
fn words(name: &str) -> impl Iterator<Item = &str> {
    let is_latin = |c: char| c < '\u{250}';
    name.split(' ').chain(name.split(is_latin).filter(|part| !part.is_empty()))
}

/// Returns a number with its noun: `1 message`, `4,300 messages`, `2 deliveries`. Only regular plurals.
pub fn counted(number: usize, noun: &str) -> String {
    let number_text = grouped(number);
    match noun.strip_suffix('y').filter(|stem| !stem.ends_with(['a', 'e', 'o', 'u'])) {
        _ if number == 1 => format!("{number_text} {noun}"),
        Some(stem) => format!("{number_text} {stem}ies"),
        None => format!("{number_text} {noun}s"),
    }
}

/// `4,300`
pub fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|group| std::str::from_utf8(group).expect("digits are ASCII"))
        .collect();
    groups.join(",")
}

/// Returns the beginning of a text as one line of at most `max` characters, cut between words if
/// possible.
pub fn excerpt(text: &str, max: usize) -> String {
    let line = plain_line(text, usize::MAX);
    if line.chars().count() <= max {
        return line;
    }
    let cut = capped(&line, max);
    let kept = cut.trim_end_matches(ELLIPSIS);
    let is_whole = line[kept.len()..].starts_with(' ');
    match kept.rfind(' ') {
        Some(end) if !is_whole && end * 2 > kept.len() => format!("{}{ELLIPSIS}", kept[..end].trim_end()),
        _ => cut,
    }
}

/// Cuts `text` to `max`, where each character counts `size`, and marks a cut with an ellipsis.
pub fn truncate(text: &str, max: usize, size: impl Fn(char) -> usize) -> String {
    if text.chars().map(&size).sum::<usize>() <= max {
        return text.to_owned();
    }
    let room = max.saturating_sub(size(ELLIPSIS));
    let mut used = 0;
    let kept: String = text
        .chars()
        .take_while(|&c| {
            used += size(c);
            used <= room
        })
        .collect();
    format!("{}{ELLIPSIS}", kept.trim_end())
}

/// Removes control characters and invisible characters, but keeps white space of any kind.
fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let is_kept = match c {
            NON_JOINER | JOINER => is_joined(out.chars().next_back(), c, chars.peek().copied()),
            _ => c.is_whitespace() || !(c.is_control() || is_invisible(c)),
        };
        if is_kept {
            out.push(c);
        }
    }
    out
}

const NON_JOINER: char = '\u{200c}';
const JOINER: char = '\u{200d}';

/// Returns true if a joiner visibly changes its neighbours: after a virama and next to Arabic letters (RFC
/// 5892, appendix A.1 and A.2), and between the parts of an emoji.
fn is_joined(before: Option<char>, joiner: char, after: Option<char>) -> bool {
    let Some(before) = before else { return false };
    let joins_arabic = is_arabic(before) && (joiner == JOINER || after.is_some_and(is_arabic));
    let joins_emoji = joiner == JOINER && is_emoji(before) && after.is_some_and(is_emoji);
    is_virama(before) || joins_arabic || joins_emoji
}

/// Viramas of the scripts of India and Sri Lanka.
fn is_virama(c: char) -> bool {
    matches!(
        c,
        '\u{94d}'
            | '\u{9cd}'
            | '\u{a4d}'
            | '\u{acd}'
            | '\u{b4d}'
            | '\u{bcd}'
            | '\u{c4d}'
            | '\u{ccd}'
            | '\u{d4d}'
            | '\u{dca}'
    )
}

/// Arabic letters and marks, including those of Persian, Urdu and other languages.
fn is_arabic(c: char) -> bool {
    matches!(c,
        '\u{620}'..='\u{65f}' | '\u{66e}'..='\u{6d3}' | '\u{6d5}' | '\u{6ee}'..='\u{6ef}'
        | '\u{6fa}'..='\u{6ff}' | '\u{750}'..='\u{77f}' | '\u{870}'..='\u{887}' | '\u{8a0}'..='\u{8e1}'
        | '\u{8e3}'..='\u{8ff}' | '\u{fb50}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}')
}

/// Emoji, including the variation selector and the skin tones, which can precede a joiner.
fn is_emoji(c: char) -> bool {
    matches!(c, '\u{fe0f}' | '\u{2190}'..='\u{2bff}' | '\u{1f000}'..='\u{1faff}')
}

/// Characters without a shape: Unicode's format characters (general category Cf: direction marks and
/// overrides, joiners, zero-width spaces, tags) and blank letters. They can reverse "moc.elppa", split
/// words that a filter searches for, and make different names look alike.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}'
        | '\u{890}'..='\u{891}' | '\u{8e2}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
        | '\u{fffe}'..='\u{ffff}' | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Replaces Unicode's mandatory line breaks (UAX 14: BK, CR, LF, NL) with `\n`; CR LF counts as one.
fn with_unix_breaks(text: &str) -> String {
    let mut chars = text.chars().peekable();
    let mut out = String::with_capacity(text.len());
    while let Some(c) = chars.next() {
        out.push(match c {
            '\r' => {
                skip_line_feed(&mut chars);
                '\n'
            }
            '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}' => '\n',
            other => other,
        });
    }
    out
}

fn skip_line_feed(chars: &mut Peekable<impl Iterator<Item = char>>) {
    if chars.peek() == Some(&'\n') {
        chars.next();
    }
}

/// Cuts text to `max` characters, including the ellipsis.
fn capped(text: &str, max: usize) -> String {
    let Some((last, _)) = text.char_indices().nth(max.saturating_sub(1)) else {
        return text.to_owned();
    };
    match text[last..].chars().nth(1) {
        _ if max == 0 => String::new(),
        None => text.to_owned(),
        Some(_) => {
            let mut cut = text[..last].trim_end().to_owned();
            cut.push(ELLIPSIS);
            cut
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_line(text: &str, max: usize, expected: &str) {
        assert_eq!(plain_line(text, max), expected, "{text:?}");
    }

    #[track_caller]
    fn check_text(text: &str, max: usize, expected: &str) {
        assert_eq!(plain_text(text, max), expected, "{text:?}");
    }

    #[test]
    fn a_line_has_no_breaks() {
        check_line(
            "  iCloud\u{a0}Backup \r\n is\tdown\u{2028}now\u{85}. ",
            99,
            "iCloud Backup is down now .",
        );
        check_line("", 99, "");
        check_line(" \n\t ", 99, "");
    }

    #[test]
    fn text_keeps_line_breaks() {
        check_text("\n\none\r\ntwo\rthree\n\n\n\nfour  \n\n", 99, "one\ntwo\nthree\n\nfour");
        check_text("a\u{2028}b\u{2029}c\u{b}d\u{c}e\u{85}f", 99, "a\nb\nc\nd\ne\nf");
        check_text(" \n \u{200b} \n", 99, "");
    }

    #[test]
    fn removes_terminal_escape_sequences() {
        check_line("\u{1b}[31mred\u{1b}[0m \u{7}bell\0 \u{9b}2J\u{7f}", 99, "[31mred[0m bell 2J");
    }

    #[test]
    fn removes_direction_marks_and_invisible_characters() {
        for hidden in [
            '\u{200b}',
            '\u{200c}',
            '\u{200d}',
            '\u{200e}',
            '\u{200f}',
            '\u{202a}',
            '\u{202b}',
            '\u{202c}',
            '\u{202d}',
            '\u{202e}',
            '\u{2060}',
            '\u{2066}',
            '\u{2067}',
            '\u{2068}',
            '\u{2069}',
            '\u{206f}',
            '\u{61c}',
            '\u{feff}',
            '\u{ad}',
            '\u{180e}',
            '\u{3164}',
            '\u{e0041}',
            '\u{fff9}',
        ] {
            check_line(&format!("ap{hidden}ple"), 99, "apple");
            check_text(&format!("ap{hidden}ple"), 99, "apple");
        }
    }

    #[test]
    fn keeps_letters_of_every_script() {
        for text in ["iCloudバックアップ", "Резервные копии", "نسخ احتياطي", "e\u{301}tat", "☁\u{fe0f} 👍🏽"]
        {
            check_line(text, 99, text);
        }
    }

    #[test]
    fn an_excerpt_ends_between_words() {
        assert_eq!(excerpt("Users may be unable.", 20), "Users may be unable.");
        assert_eq!(excerpt("Users may be unable to", 20), "Users may be unable…");
        assert_eq!(excerpt("Users may be unable to", 18), "Users may be…");
        assert_eq!(excerpt("Users\nmay be\u{202e} unable", 12), "Users may…");
        assert_eq!(excerpt("バックアップが利用できません", 6), "バックアッ…");
        assert_eq!(excerpt("a 1234567890", 8), "a 12345…");
    }

    #[test]
    fn keeps_joiners_only_where_scripts_need_them() {
        for text in [
            "پشتیبان\u{200c}گیری",              // Persian: two parts of a word
            "ه\u{200d} ق",                      // an abbreviation
            "क्\u{200d}ष ක්\u{200d}ෂ ক্\u{200c}ষ", // Hindi, Sinhala, Bengali
            "👨\u{200d}👩\u{200d}👧 ❤\u{fe0f}\u{200d}🔥 👩🏽\u{200d}💻",
        ] {
            check_line(text, 99, text);
            check_text(text, 99, text);
        }
        for (text, expected) in [
            ("ap\u{200d}ple", "apple"),
            ("\u{200c}گیری\u{200c}", "گیری"),
            ("پ\u{200c}\u{200c}گ", "پ\u{200c}گ"),
            ("क\u{200c}ष", "कष"),
            ("👨\u{200c}👩 👨\u{200d}a", "👨👩 👨a"),
            ("پ\u{200c}apple.com", "پapple.com"),
        ] {
            check_line(text, 99, expected);
        }
    }

    #[test]
    fn nouns_agree_with_their_numbers() {
        let check = |noun: &str, expected: [&str; 3]| {
            assert_eq!([0, 1, 2].map(|number| counted(number, noun)), expected);
        };
        check("message", ["0 messages", "1 message", "2 messages"]);
        check("delivery", ["0 deliveries", "1 delivery", "2 deliveries"]);
        check("day", ["0 days", "1 day", "2 days"]);
        check(
            "more backup folder",
            ["0 more backup folders", "1 more backup folder", "2 more backup folders"],
        );
        assert_eq!(counted(4_300, "change"), "4,300 changes");
        let cases = [(1_000, "1,000"), (12_345, "12,345"), (123_456, "123,456"), (1_234_567, "1,234,567")];
        for (number, expected) in cases {
            assert_eq!(grouped(number), expected);
        }
    }

    #[test]
    fn a_cut_counts_characters_and_is_marked() {
        check_line("バックアップ", 6, "バックアップ");
        check_line("バックアップ", 5, "バックア…");
        check_line("ab cdef", 4, "ab…");
        check_line("ab", 1, "…");
        check_line("a", 1, "a");
        check_line("ab", 0, "");
        check_line("", 0, "");
        check_text("one\ntwo", 5, "one…");
        assert_eq!(plain_text(&"x\n".repeat(10_000), 1_000).chars().count(), 1_000);
    }

    #[test]
    fn similar_names_are_suggested_and_others_are_not() {
        let names = ["iCloud Backup", "iCloud Mail", "Photos", "App Store"];
        let near = |wanted| near(wanted, names);
        assert_eq!(near("iCloud Bakup")[0], "iCloud Backup");
        assert_eq!(near("backup"), ["iCloud Backup"]);
        assert_eq!(near("bakup"), ["iCloud Backup"]);
        assert_eq!(near("foto")[0], "Photos");
        assert_eq!(near("Xcode Cloud"), Vec::<&str>::new());
    }

    #[test]
    fn similar_names_are_found_in_scripts_without_spaces() {
        let names = ["iCloudバックアップ", "iCloudメール", "iCloud云备份", "写真", "Café Müller"];
        let near = |wanted| near(wanted, names);
        for wanted in [
            "iCloud バックアップ",
            "バックアップ",
            "バックアプ",
            "iCloud　バックアップ",
            "ｉＣｌｏｕｄバックアップ",
            "iCloudバックアプ",
        ] {
            assert_eq!(near(wanted).first().copied(), Some("iCloudバックアップ"), "{wanted}");
        }
        assert_eq!(near("备份")[0], "iCloud云备份");
        assert_eq!(near("メール"), ["iCloudメール"]);
        assert_eq!(near("muller")[0], "Café Müller");
        assert_eq!(near("天気"), Vec::<&str>::new());
        assert_eq!(near(" "), Vec::<&str>::new());
    }

    #[test]
    fn nearest_suggests_only_similar_words() {
        let known = ["watch", "time_zone", "feed"];
        for (word, near) in [
            ("watchs", Some("watch")),
            ("Watch", Some("watch")),
            ("time-zone", Some("time_zone")),
            ("timezone", Some("time_zone")),
            ("fed", Some("feed")),
            ("smtp", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, known), near, "{word}");
        }
    }
}
