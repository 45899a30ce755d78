//! HTML's character references (`&amp;`, `&#8217;`) → the characters that they stand for.
//!
//! Decodes once, so `&amp;lt;` is `&lt;`. Tags are no entities and stay text. A name that is not in
//! the lists below stays as it is.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

/// The longest name below, and the longest number that makes sense.
const MAX_NAME_BYTES: usize = 10;

/// U+00A0 to U+00FF in order.
const LATIN_1: &str = "nbsp iexcl cent pound curren yen brvbar sect uml copy ordf laquo not shy reg macr deg \
    plusmn sup2 sup3 acute micro para middot cedil sup1 ordm raquo frac14 frac12 frac34 iquest Agrave Aacute \
    Acirc Atilde Auml Aring AElig Ccedil Egrave Eacute Ecirc Euml Igrave Iacute Icirc Iuml ETH Ntilde Ograve \
    Oacute Ocirc Otilde Ouml times Oslash Ugrave Uacute Ucirc Uuml Yacute THORN szlig agrave aacute acirc \
    atilde auml aring aelig ccedil egrave eacute ecirc euml igrave iacute icirc iuml eth ntilde ograve oacute \
    ocirc otilde ouml divide oslash ugrave uacute ucirc uuml yacute thorn yuml";

/// XML's five, and what editors put into text.
const NAMED: [(&str, char); 31] = [
    ("amp", '&'),
    ("AMP", '&'),
    ("lt", '<'),
    ("LT", '<'),
    ("gt", '>'),
    ("GT", '>'),
    ("quot", '"'),
    ("QUOT", '"'),
    ("apos", '\''),
    ("ndash", '–'),
    ("mdash", '—'),
    ("hellip", '…'),
    ("lsquo", '‘'),
    ("rsquo", '’'),
    ("sbquo", '‚'),
    ("ldquo", '“'),
    ("rdquo", '”'),
    ("bdquo", '„'),
    ("lsaquo", '‹'),
    ("rsaquo", '›'),
    ("bull", '•'),
    ("trade", '™'),
    ("euro", '€'),
    ("OElig", 'Œ'),
    ("oelig", 'œ'),
    ("Scaron", 'Š'),
    ("scaron", 'š'),
    ("ensp", '\u{2002}'),
    ("emsp", '\u{2003}'),
    ("thinsp", '\u{2009}'),
    ("NewLine", '\n'),
];

/// What numbers from 128 to 159 mean in HTML: Windows-1252, where that has a character.
const WINDOWS_1252: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}',
    '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

static NAMES: LazyLock<HashMap<&str, char>> =
    LazyLock::new(|| LATIN_1.split_ascii_whitespace().zip('\u{a0}'..).chain(NAMED).collect());

/// Decodes every reference that ends with a semicolon.
pub fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('&') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let end = rest.bytes().take(MAX_NAME_BYTES + 1).position(|byte| byte == b';');
        match end.and_then(|end| Some((character(&rest[..end])?, end))) {
            Some((character, end)) => {
                out.push(character);
                rest = &rest[end + 1..];
            }
            None => out.push('&'),
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// What stands between `&` and `;`.
fn character(name: &str) -> Option<char> {
    if let Some(number) = name.strip_prefix('#') {
        let (digits, radix) = match number.strip_prefix(['x', 'X']) {
            Some(digits) => (digits, 16),
            None => (number, 10),
        };
        if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
            return None;
        }
        let code = u32::from_str_radix(digits, radix).unwrap_or(u32::MAX);
        return Some(match code {
            0 => char::REPLACEMENT_CHARACTER,
            128..160 => WINDOWS_1252[code as usize - 128],
            _ => char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER),
        });
    }
    NAMES.get(name).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(decoded(text), expected, "{text}");
    }

    #[test]
    fn references_are_decoded_once() {
        check("iCloud Account &amp; Sign In", "iCloud Account & Sign In");
        check("&amp;lt;b&amp;gt;", "&lt;b&gt;");
        check("&amp;amp;", "&amp;");
        check("&lt;b&gt; &quot;now&quot; it&#39;s &#x27;up&#X27; &apos;", "<b> \"now\" it's 'up' '");
        check("caf&eacute;&nbsp;&ndash; &yuml;&Agrave;&times;", "café\u{a0}– ÿÀ×");
        check("it&#146;s 5&#128;", "it’s 5€");
        check("&#9729;&#128512;", "☁😀");
    }

    #[test]
    fn what_is_no_reference_stays() {
        for text in ["AT&T", "&", "&;", "& amp;", "&nosuchname;", "&amp", "R&D; &#;", "&#x;", "&#12a;", "&é;"]
        {
            check(text, text);
        }
        check("<b>bold</b> &amp", "<b>bold</b> &amp");
    }

    #[test]
    fn numbers_that_are_no_character_cost_one() {
        check("a&#0;b&#xD83D;c&#99999999;d", "a\u{fffd}b\u{fffd}c\u{fffd}d");
    }
}
