//! What the TOML parser complains about, in words for people.
//!
//! The parser gives its complaints as texts for programmers; the start of each tells them apart. A
//! complaint that is not known here is worded by its place alone.

/// The start of a complaint, and what a person reads. The first that fits counts.
const WORDS: [(&str, &str); 40] = [
    ("duplicate key", "this key is there twice; remove one of them"),
    ("cannot extend value", "this key has a value already, so nothing can stand below it"),
    ("string values must be quoted", "expected a value; a text needs quotation marks: \"text\""),
    ("unquoted keys cannot be empty", "a key is missing"),
    ("keys cannot be multi-line", "a key must be in one line"),
    ("invalid unquoted key", "this is not a key: use letters, digits, - and _, or quotation marks"),
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
    ("carriage return", "a line ends with a carriage return alone; save the file with ordinary line ends"),
    ("invalid comment", "a character that must not stand in a comment"),
    ("unexpected content", "only a comment (#) may stand behind a value"),
];
const TEXT: &str = "a text that does not end, or that holds a character that must be escaped";
const BACKSLASH: &str = "a backslash means something here: write \\\\, or put the text between ' and '";
const NUMBER: &str = "this is not a number; a text needs quotation marks";
const NESTED: &str = "too many brackets inside one another";
/// For everything else.
const UNKNOWN: &str = "what begins here cannot be understood; check brackets and quotation marks";

pub fn words(complaint: &str) -> &'static str {
    WORDS.iter().find(|(start, _)| complaint.starts_with(start)).map_or(UNKNOWN, |(_, words)| words)
}
