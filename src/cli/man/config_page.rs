//! statusd.toml(5), generated from `docs/configuration.md`.
//!
//! Supports the Markdown used there: headings, paragraphs, lists, fenced blocks and tables. A table becomes a
//! list, because no table fits 80 columns. The page has the whole text without link targets
//! (`every_key_of_the_reference_is_in_the_page`).

use std::iter::Peekable;
use std::str::Lines;

use clap_mangen::roff::{Inline, Roff, bold, line_break, roman};

use super::layout::head;

const REFERENCE: &str = include_str!("../../../docs/configuration.md");
/// The page's name, without its section.
pub const NAME: &str = "statusd.toml";
pub const SECTION: &str = "5";
/// Prefixes of cells in the default column that are not defaults.
const NO_DEFAULTS: [&str; 3] = ["required", "this or ", "see "];

enum Block<'t> {
    /// The level (number of `#`) and the text.
    Heading(usize, &'t str),
    Paragraph(String),
    Item {
        mark: String,
        text: String,
    },
    Fixed(Vec<&'t str>),
    /// The first row is the header.
    Table(Vec<Vec<&'t str>>),
}

/// Returns the page in roff.
pub fn page() -> String {
    let mut roff = head(NAME, SECTION);
    roff.control("SH", ["NAME"]).text([roman(format!("{NAME} - the configuration of statusd"))]);
    roff.control("SH", ["DESCRIPTION"]);
    set_all(&mut roff, &blocks(REFERENCE));
    let others = "statusd(1), statusd-config(1), statusd-test-notice(1)";
    roff.control("SH", ["SEE ALSO"]).text([roman(others)]);
    roff.render()
}

fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut lines = text.lines().peekable();
    let mut blocks = Vec::new();
    while let Some(line) = lines.next() {
        let heading = line.trim_start_matches('#');
        let block = if line.is_empty() {
            continue;
        } else if heading.len() < line.len() {
            Block::Heading(line.len() - heading.len(), heading.trim())
        } else if line.starts_with("```") {
            Block::Fixed(lines.by_ref().take_while(|line| !line.starts_with("```")).collect())
        } else if line.starts_with('|') {
            let rows = std::iter::once(line).chain(std::iter::from_fn(|| next_row(&mut lines)));
            Block::Table(rows.map(cells).filter(|cells| !is_rule(cells)).collect())
        } else if let Some((mark, first)) = item(line) {
            Block::Item { mark: mark.to_owned(), text: prose(first, &mut lines) }
        } else {
            Block::Paragraph(prose(line, &mut lines))
        };
        blocks.push(block);
    }
    blocks
}

/// Joins a line with its continuation lines.
fn prose(first: &str, lines: &mut Peekable<Lines<'_>>) -> String {
    let starts_block = |line: &str| line.starts_with(['#', '|']) || line.starts_with("```");
    let continues = |line: &&str| !line.is_empty() && !starts_block(line) && item(line).is_none();
    let mut text = first.trim().to_owned();
    while let Some(line) = lines.next_if(continues) {
        text.push(' ');
        text.push_str(line.trim());
    }
    text
}

/// Splits `- text` or `1. text` into the mark in roff and the text.
fn item(line: &str) -> Option<(&str, &str)> {
    let (mark, text) = line.split_once(' ')?;
    let is_number = mark.strip_suffix('.').is_some_and(|number| number.parse::<u8>().is_ok());
    match mark {
        "-" => Some(("\\(bu", text)),
        _ if is_number => Some((mark, text)),
        _ => None,
    }
}

fn next_row<'t>(lines: &mut Peekable<Lines<'t>>) -> Option<&'t str> {
    lines.next_if(|line| line.starts_with('|'))
}

/// Splits a row. The reference has no `|` inside a cell.
fn cells(row: &str) -> Vec<&str> {
    row.trim_matches('|').split('|').map(str::trim).collect()
}

fn is_rule(cells: &[&str]) -> bool {
    cells.iter().all(|cell| !cell.is_empty() && cell.bytes().all(|byte| byte == b'-'))
}

fn set_all(roff: &mut Roff, blocks: &[Block<'_>]) {
    let mut is_first = true;
    for block in blocks {
        if !is_first && matches!(block, Block::Paragraph(_) | Block::Fixed(_)) {
            roff.control("PP", []);
        }
        set(roff, block);
        // A heading starts a paragraph.
        is_first = matches!(block, Block::Heading(..));
    }
}

fn set(roff: &mut Roff, block: &Block<'_>) {
    match block {
        // The page has its own title.
        Block::Heading(1, _) => {}
        Block::Heading(2, text) => {
            roff.control("SH", [text.replace('`', "").to_uppercase().as_str()]);
        }
        Block::Heading(_, text) => {
            roff.control("SS", [text.replace('`', "").as_str()]);
        }
        Block::Paragraph(text) => {
            roff.text(inlines(text));
        }
        Block::Item { mark, text } => {
            roff.control("IP", [mark.as_str(), "4"]).text(inlines(text));
        }
        Block::Fixed(lines) => {
            roff.control("nf", []);
            for line in lines {
                roff.text([roman(*line)]);
            }
            roff.control("fi", []);
        }
        Block::Table(rows) => set_table(roff, rows),
    }
}

fn set_table(roff: &mut Roff, rows: &[Vec<&str>]) {
    let Some((columns, rows)) = rows.split_first() else { return };
    let is_of_keys = columns.first() == Some(&"key");
    for row in rows {
        let Some((first, rest)) = row.split_first() else { continue };
        roff.control("TP", []).text(inlines(first));
        let mut text = Vec::new();
        for (column, cell) in columns.iter().skip(1).zip(rest) {
            if !text.is_empty() {
                // Type, default and flag share a line.
                let is_on_line = is_of_keys && *column != "meaning";
                text.push(if is_on_line { roman("; ") } else { line_break() });
            }
            match *column {
                "default" if NO_DEFAULTS.iter().any(|start| cell.starts_with(start)) => {}
                "default" => text.push(roman("default ")),
                _ if is_of_keys => {}
                column => text.push(roman(format!("{column}: "))),
            }
            text.extend(inlines(cell));
        }
        roff.text(text);
    }
}

/// Renders `code` and **strong** text in bold, and links as their text.
fn inlines(text: &str) -> Vec<Inline> {
    let mut set = Vec::new();
    for (number, part) in without_links(text).split('`').enumerate() {
        // Every second part is code.
        if number % 2 == 1 {
            set.push(bold(part));
        } else {
            let parts = part.split("**").enumerate();
            set.extend(parts.map(|(number, part)| if number % 2 == 1 { bold(part) } else { roman(part) }));
        }
    }
    set.retain(|inline| !matches!(inline, Inline::Roman(text) | Inline::Bold(text) if text.is_empty()));
    set
}

/// Replaces each link by its text, followed by the document it refers to.
fn without_links(text: &str) -> String {
    let mut rest = text;
    let mut words = String::new();
    while let Some((before, after)) = rest.split_once("](") {
        match before.rsplit_once('[') {
            Some((before, link)) => words.extend([before, link]),
            None => words.push_str(before),
        }
        let (target, after) = after.split_once(')').unwrap_or((after, ""));
        if let Some(document) = target.split('#').next().filter(|document| document.ends_with(".md")) {
            words.extend([" (docs/", document, ")"]);
        }
        rest = after;
    }
    words + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(markdown: &str, expected: &str) {
        let mut roff = Roff::new();
        set_all(&mut roff, &blocks(markdown));
        assert_eq!(roff.to_roff(), expected, "{markdown}");
    }

    #[test]
    fn each_markdown_element_is_rendered() {
        check("# Title\n\n## A `b`\n### `[feed]`\n", ".SH \"A B\"\n.SS [feed]\n");
        check("One\n`two` **three**.\n\nFour\n", "One \\fBtwo\\fR \\fBthree\\fR.\n.PP\nFour\n");
        check("- one\n  more\n- two\n", ".IP \\(bu 4\none more\n.IP \\(bu 4\ntwo\n");
        check("1. one\n2. two\n", ".IP 1. 4\none\n.IP 2. 4\ntwo\n");
        check("```toml\n[a]\n.b = 1\n```\nx\n", ".nf\n[a]\n\\&.b = 1\n.fi\n.PP\nx\n");
    }

    #[test]
    fn links_become_text() {
        check("See [`a`](../a), [B b](c.md#d) [e].", "See \\fBa\\fR, B b (docs/c.md) [e].\n");
    }

    #[test]
    fn tables_become_lists() {
        let keys = "| key | type | default | meaning |\n|---|---|---|---|\n";
        check(
            &format!("{keys}| `a` | path | none | Where. |\n| `b` | string | required | What. |\n"),
            ".TP\n\\fBa\\fR\npath; default none\n.br\nWhere.\n.TP\n\\fBb\\fR\nstring; required\n.br\nWhat.\n",
        );
        check("| | Linux |\n|---|---|\n| yours | `~` |\n", ".TP\nyours\nLinux: \\fB~\\fR\n");
    }

    /// Another test compares the reference with the settings.
    #[test]
    fn every_key_of_the_reference_is_in_the_page() {
        let page = page().replace('\\', "");
        let keys: Vec<&str> = REFERENCE
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
            .map(|(key, _)| key)
            .collect();
        assert!(keys.len() > 80, "{}", keys.len());
        for key in keys {
            assert!(page.contains(&format!(".TP\nfB{key}fR\n")), "{key}");
        }
        assert!(!page.contains("](") && !page.contains('`'), "{page}");
    }
}
