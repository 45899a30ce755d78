//! Errors of the TOML parser in plain words.
//!
//! The parser's messages are for programmers. They are recognised by their start; an unknown one gets a
//! general text.

/// The start of a parser message, and its replacement. The first match counts.
const WORDS: [(&str, &str); 40] = [
    ("duplicate key", "this key occurs twice; remove one of them"),
    ("cannot extend value", "this key already has a value, so it cannot be a table"),
    ("string values must be quoted", "expected a value; strings need quotation marks: \"text\""),
    ("unquoted keys cannot be empty", "a key is missing"),
    ("keys cannot be multi-line", "a key must be on one line"),
    ("invalid unquoted key", "invalid key: use letters, digits, - and _, or quotation marks"),
    ("key with no value", "a key needs a value: KEY = VALUE"),
    ("missing assignment", "the = between key and value is missing"),
    ("missing value", "the value is missing"),
    ("missing key", "a key is missing"),
    ("extra assignment", "one = too many"),
    ("extra `=`", "one = too many"),
    ("unexpected `=`", "one = too many"),
    ("missing comma", "a comma is missing"),
    ("extra comma", "one comma too many"),
    ("unclosed array table", "the closing ]] is missing"),
    ("unclosed array", "the closing ] is missing"),
    ("unclosed table", "the closing ] is missing"),
    ("unclosed inline table", "the closing } is missing"),
    ("missing table open", "the opening [ is missing"),
    ("missing array opening", "the opening [ is missing"),
    ("missing inline table opening", "the opening { is missing"),
    ("missing opening quote", "the opening quotation mark is missing"),
    ("invalid basic string", TEXT),
    ("invalid literal string", TEXT),
    ("invalid multi-line", TEXT),
    ("missing escaped value", BACKSLASH),
    ("invalid escape", BACKSLASH),
    ("too few unicode", BACKSLASH),
    ("`_` may only go", NUMBER),
    ("integers with a radix", NUMBER),
    ("radix must be", NUMBER),
    ("redundant", NUMBER),
    ("unexpected leading zero", NUMBER),
    ("unexpected sign", NUMBER),
    ("recursion limit", NESTED),
    ("cannot recurse", NESTED),
    ("carriage return", "a carriage return without a line feed; save the file with ordinary line endings"),
    ("invalid comment", "invalid character in a comment"),
    ("unexpected content", "only a comment (#) may follow a value"),
];
const TEXT: &str = "unterminated string, or a character that must be escaped";
const BACKSLASH: &str = "invalid escape: write \\\\ for a backslash, or use single quotes";
const NUMBER: &str = "invalid number; strings need quotation marks";
const NESTED: &str = "brackets are nested too deeply";
/// The replacement of all other messages.
const UNKNOWN: &str = "cannot parse this text; check brackets and quotation marks";

pub fn reworded(message: &str) -> &'static str {
    WORDS.iter().find(|(start, _)| message.starts_with(start)).map_or(UNKNOWN, |(_, text)| text)
}
