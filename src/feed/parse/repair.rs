//! Repairs JavaScript and slightly invalid JSON into JSON.
//!
//! Runs only after strict parsing has failed. Accepts comments, single quotes, unquoted keys and extra
//! commas. Replaces invalid characters in strings. Closes no open bracket, so a truncated document stays
//! truncated. Not recursive; the result is at most twice as long as the input.

use std::iter::Peekable;
use std::str::Chars;

use serde::de::IgnoredAny;

/// Values of JavaScript and Python that become null.
const NULLS: [&str; 5] = ["NaN", "Infinity", "-Infinity", "undefined", "None"];

/// Returns the first object outside of a comment as JSON.
pub fn object(text: &str) -> String {
    let mut chars = text.chars().peekable();
    let mut out = String::with_capacity(text.len());
    let mut depth = 0_u32;
    while let Some(c) = chars.next() {
        match c {
            '/' if matches!(chars.peek(), Some('/' | '*')) => skip_comment(&mut chars),
            '{' | '[' if depth > 0 || c == '{' => {
                depth += 1;
                out.push(c);
            }
            _ if depth == 0 => {}
            '}' | ']' => {
                if out.ends_with(',') {
                    out.pop();
                }
                out.push(c);
                depth -= 1;
                if depth == 0 {
                    break;
                }
            }
            ',' if out.ends_with([',', '[', '{']) => {}
            ',' | ':' => out.push(c),
            '"' | '\'' => quoted(c, &mut chars, &mut out),
            _ if is_blank(c) => {}
            _ => bare(c, &mut chars, &mut out),
        }
    }
    out
}

/// Returns a JSON string with its quotes, and with invalid escapes replaced.
pub fn string(json: &str) -> String {
    let mut chars = json.chars().peekable();
    let mut out = String::with_capacity(json.len());
    if let Some(quote) = chars.next() {
        quoted(quote, &mut chars, &mut out);
    }
    out
}

fn is_blank(c: char) -> bool {
    c.is_whitespace() || c.is_control() || c == '\u{feff}'
}

fn skip_comment(chars: &mut Peekable<Chars>) {
    if chars.next() == Some('/') {
        chars.find(|c| matches!(c, '\n' | '\r'));
        return;
    }
    let mut before = ' ';
    chars.find(|c| std::mem::replace(&mut before, *c) == '*' && *c == '/');
}

/// Copies a string. The opening quote is already consumed.
fn quoted(quote: char, chars: &mut Peekable<Chars>, out: &mut String) {
    out.push('"');
    while let Some(c) = chars.next() {
        match c {
            _ if c == quote => return out.push('"'),
            '\\' => escape(chars, out),
            '"' => out.push_str("\\\""),
            _ if c.is_control() => out.push(' '),
            _ => out.push(c),
        }
    }
}

/// Copies an escape sequence. The backslash is already consumed.
fn escape(chars: &mut Peekable<Chars>, out: &mut String) {
    match chars.next() {
        Some(c @ ('"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't')) => out.extend(['\\', c]),
        Some('u') => unicode(chars, out),
        Some('x') => {
            out.push(hex(chars, 2).and_then(char::from_u32).map_or(char::REPLACEMENT_CHARACTER, unescaped))
        }
        Some(c) => out.push(unescaped(c)),
        None => {}
    }
}

/// Replaces a character that JSON requires to be escaped with a space.
fn unescaped(c: char) -> char {
    if c.is_control() || matches!(c, '"' | '\\') { ' ' } else { c }
}

/// Copies the `XXXX` of a `\u` escape, or `XXXX\uXXXX` if it is a surrogate pair.
fn unicode(chars: &mut Peekable<Chars>, out: &mut String) {
    let Some(first) = hex(chars, 4) else { return out.push(char::REPLACEMENT_CHARACTER) };
    let mut ahead = chars.clone();
    let second = match (first, ahead.next(), ahead.next()) {
        (0xd800..0xdc00, Some('\\'), Some('u')) => hex(&mut ahead, 4),
        _ => None,
    };
    match (char::from_u32(first), second) {
        (Some(_), _) => out.push_str(&format!("\\u{first:04x}")),
        (None, Some(second @ 0xdc00..0xe000)) => {
            *chars = ahead;
            out.push_str(&format!("\\u{first:04x}\\u{second:04x}"));
        }
        (None, _) => out.push(char::REPLACEMENT_CHARACTER),
    }
}

/// Reads exactly `digits` hexadecimal digits. If there are fewer, consumes them and returns `None`.
fn hex(chars: &mut Peekable<Chars>, digits: u32) -> Option<u32> {
    let mut code = 0;
    for _ in 0..digits {
        code = code * 16 + chars.next_if(char::is_ascii_hexdigit)?.to_digit(16)?;
    }
    Some(code)
}

/// Copies a number, `true`, `false` or `null`, and quotes any other word.
fn bare(first: char, chars: &mut Peekable<Chars>, out: &mut String) {
    let mut word = String::from(first);
    while let Some(c) = chars.next_if(|c| !is_blank(*c) && !",:{}[]\"'/".contains(*c)) {
        word.push(c);
    }
    if serde_json::from_str::<IgnoredAny>(&word).is_ok() {
        out.push_str(&word);
    } else if NULLS.contains(&word.as_str()) {
        out.push_str("null");
    } else {
        out.push('"');
        out.extend(word.chars().map(unescaped));
        out.push('"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(object(text), expected, "{text}");
    }

    #[test]
    fn valid_json_is_unchanged() {
        for json in [r#"{"a":[1,-2.5e3,true,null,{}],"b":"\n\u00e9\ud83d\ude00 \"x\""}"#, "{}"] {
            check(json, json);
        }
    }

    #[test]
    fn javascript_becomes_json() {
        check(
            "/* {no} */ call({a: 'it\\'s \"up\"', $b_1: [1,, 2,], // }\n 'c': .5, d: NaN,});}",
            r#"{"a":"it's \"up\"","$b_1":[1,2],"c":".5","d":null}"#,
        );
        check(
            "{\"a\":undefined,\"b\":ongoing,\"c\":1e400,\"d\":007}",
            r#"{"a":null,"b":"ongoing","c":1e400,"d":"007"}"#,
        );
    }

    #[test]
    fn invalid_escapes_become_one_character() {
        check("{\"a\":\"\\ud83d oops\"}", "{\"a\":\"\u{fffd} oops\"}");
        check(
            r#"{"a":"\ude00\ud83d\ud83d\ude00\ud83d"}"#,
            "{\"a\":\"\u{fffd}\u{fffd}\\ud83d\\ude00\u{fffd}\"}",
        );
        check(r#"{"a":"\x41\q\u12z\xz"}"#, "{\"a\":\"Aq\u{fffd}z\u{fffd}z\"}");
        check("{\"a\":\"one\ntwo\u{1}\t\"}", r#"{"a":"one two  "}"#);
        check("{\"a\":\"\\", "{\"a\":\"");
    }

    #[test]
    fn truncated_text_stays_truncated() {
        for text in ["{\"a\":[1,", "{\"a\":'x", "{a:1, /* }", "{a", "{\"a\":{}"] {
            assert!(serde_json::from_str::<IgnoredAny>(&object(text)).is_err(), "{text}");
        }
    }
}
