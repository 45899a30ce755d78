//! Text layout for a terminal: colour, wrapping, columns and tables.
//!
//! Pure, and independent of statusd. Widths are display widths (a Chinese or Japanese character has two
//! columns). Text is wrapped, never truncated (`wrapping_breaks_at_blanks_and_loses_nothing`).

use jiff::Timestamp;
use jiff::tz::TimeZone;
use unicode_width::UnicodeWidthStr;

/// Blanks between two columns.
const GAP: usize = 2;
/// The minimum width of a flexible column, even if the table then exceeds the terminal.
const MIN_FLEXIBLE: usize = 8;

/// The properties of the terminal that text is rendered for.
#[derive(Clone, Copy, Debug)]
pub struct Terminal<'a> {
    /// In columns.
    pub width: usize,
    pub color: bool,
    pub zone: &'a TimeZone,
    pub now: Timestamp,
}

/// A text style, named by its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    Plain,
    Bold,
    Dim,
    Good,
    /// An issue less severe than an outage, or an unknown state.
    Warning,
    Bad,
    Planned,
}

impl Style {
    /// Returns the SGR parameters (ECMA-48). Uses only the basic colours, which follow the user's theme.
    fn code(self) -> &'static str {
        match self {
            Style::Plain => "0",
            Style::Bold => "1",
            Style::Dim => "2",
            Style::Good => "32",
            Style::Warning => "33",
            Style::Bad => "1;31",
            Style::Planned => "36",
        }
    }
}

impl Terminal<'_> {
    /// Wraps text in escape sequences, if the terminal shows colour.
    pub fn paint(&self, style: Style, text: &str) -> String {
        if !self.color || style == Style::Plain || text.is_empty() {
            return text.to_owned();
        }
        format!("\u{1b}[{}m{text}\u{1b}[0m", style.code())
    }

    /// Wraps a paragraph and indents it by `indent` blanks. Every line ends with a line feed.
    pub fn paragraph(&self, indent: usize, text: &str) -> String {
        let room = self.width.saturating_sub(indent);
        wrap(text, room).iter().map(|line| format!("{:indent$}{line}\n", "")).collect()
    }

    /// Lists names in as many columns as fit, sorted down the columns, like `ls`.
    pub fn columns(&self, indent: usize, names: &[String]) -> String {
        let room = self.width.saturating_sub(indent);
        // Try numbers of columns, not of rows, so that the last column is not nearly empty.
        let rows = (1..=names.len()).rev().map(|columns| names.len().div_ceil(columns));
        let rows = rows.into_iter().find(|rows| fits(names, *rows, room)).unwrap_or(names.len().max(1));
        let columns: Vec<&[String]> = names.chunks(rows).collect();
        let widths: Vec<usize> = columns.iter().map(|column| widest(column)).collect();
        let mut text = String::new();
        for row in 0..rows.min(names.len()) {
            let cells = columns.iter().zip(&widths).filter_map(|(column, width)| {
                column.get(row).map(|name| format!("{}{}", padded(name, *width), " ".repeat(GAP)))
            });
            let line: String = cells.collect();
            text.push_str(&format!("{:indent$}{}\n", "", line.trim_end()));
        }
        text
    }

    /// Renders rows below a header. If the terminal is too narrow, wraps the cells of the column `flexible`.
    pub fn table(&self, head: &[&str], rows: &[Vec<Cell>], flexible: usize) -> String {
        self.rows(head, rows, flexible).concat()
    }

    /// Renders a table like [`Terminal::table`], but returns the header and each row separately.
    pub fn rows(&self, head: &[&str], rows: &[Vec<Cell>], flexible: usize) -> Vec<String> {
        let mut table = Widths::new(head);
        rows.iter().for_each(|row| table.add(row));
        let widths = table.fitted(flexible, self);
        let rows = rows.iter().map(|row| self.row(row, &widths));
        std::iter::once(self.head(head, &widths)).chain(rows).collect()
    }

    /// Renders the header of a table whose rows are rendered with [`Terminal::row`].
    pub fn head(&self, head: &[&str], widths: &[usize]) -> String {
        let head: Vec<Cell> = head.iter().map(|title| Cell::new(Style::Dim, *title)).collect();
        self.row(&head, widths)
    }

    pub fn row(&self, cells: &[Cell], widths: &[usize]) -> String {
        let wrapped: Vec<Vec<String>> =
            cells.iter().zip(widths).map(|(cell, width)| wrap(&cell.text, *width)).collect();
        let height = wrapped.iter().map(Vec::len).max().unwrap_or(0);
        let mut text = String::new();
        for line in 0..height {
            let mut gap = 0;
            let mut drawn = String::new();
            for ((cell, lines), width_of_column) in cells.iter().zip(&wrapped).zip(widths) {
                let part = lines.get(line).map(String::as_str).unwrap_or_default();
                let blank = width_of_column.saturating_sub(width(part));
                let (before, after) = if cell.right_aligned { (blank, 0) } else { (0, blank) };
                gap += before;
                if !part.is_empty() {
                    drawn.push_str(&" ".repeat(gap));
                    drawn.push_str(&self.paint(cell.style, part));
                    gap = 0;
                }
                gap += after + GAP;
            }
            text.push_str(&drawn);
            text.push('\n');
        }
        text
    }
}

/// The widths of the columns of a table, computed row by row.
pub struct Widths(Vec<usize>);

impl Widths {
    pub fn new(head: &[&str]) -> Widths {
        Widths(head.iter().map(|title| width(title)).collect())
    }

    pub fn add(&mut self, row: &[Cell]) {
        for (widest, cell) in self.0.iter_mut().zip(row) {
            *widest = (*widest).max(width(&cell.text));
        }
    }

    /// Narrows columns one after the other, each to its minimum at most, until the rows fit the terminal.
    /// Returns `None` if they cannot fit.
    pub fn narrowed(&self, minima: &[(usize, usize)], terminal: &Terminal) -> Option<Vec<usize>> {
        let mut widths = self.0.clone();
        let gaps = GAP * widths.len().saturating_sub(1);
        let mut excess = (widths.iter().sum::<usize>() + gaps).saturating_sub(terminal.width);
        for (column, minimum) in minima {
            let cut = excess.min(widths[*column].saturating_sub(*minimum));
            widths[*column] -= cut;
            excess -= cut;
        }
        (excess == 0).then_some(widths)
    }

    /// Narrows the column `flexible` if the terminal is too narrow.
    pub fn fitted(self, flexible: usize, terminal: &Terminal) -> Vec<usize> {
        let Widths(mut widths) = self;
        let gaps = GAP * widths.len().saturating_sub(1);
        let excess = (widths.iter().sum::<usize>() + gaps).saturating_sub(terminal.width);
        widths[flexible] = widths[flexible].saturating_sub(excess).max(MIN_FLEXIBLE.min(widths[flexible]));
        widths
    }
}

/// A cell of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    style: Style,
    text: String,
    right_aligned: bool,
}

impl Cell {
    pub fn new(style: Style, text: impl Into<String>) -> Cell {
        Cell { style, text: text.into(), right_aligned: false }
    }

    pub fn plain(text: impl Into<String>) -> Cell {
        Cell::new(Style::Plain, text)
    }

    /// Right-aligned, for numbers.
    pub fn right(text: impl Into<String>) -> Cell {
        Cell { right_aligned: true, ..Cell::plain(text) }
    }
}

/// Returns the display width in columns.
pub fn width(text: &str) -> usize {
    UnicodeWidthStr::width(text)
}

/// Appends blanks up to a width.
pub fn padded(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(width(text))))
}

fn widest(names: &[String]) -> usize {
    names.iter().map(|name| width(name)).max().unwrap_or(0)
}

fn fits(names: &[String], rows: usize, room: usize) -> bool {
    let columns = names.chunks(rows);
    let gaps = GAP * columns.len().saturating_sub(1);
    columns.map(widest).sum::<usize>() + gaps <= room
}

/// Wraps text at blanks into lines of at most `room` columns. A word longer than a line, or text without
/// blanks such as Japanese, is split at the end of the line. Returns at least one line.
pub fn wrap(text: &str, room: usize) -> Vec<String> {
    let room = room.max(1);
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split(' ') {
        let needed = width(word);
        let blank = usize::from(used > 0);
        if used + blank + needed > room && used > 0 {
            lines.push(String::new());
            used = 0;
        } else if blank == 1 {
            push(&mut lines, " ");
            used += 1;
        }
        if needed <= room {
            push(&mut lines, word);
            used += needed;
            continue;
        }
        for letter in word.chars() {
            let letter = letter.to_string();
            if used + width(&letter) > room && used > 0 {
                lines.push(String::new());
                used = 0;
            }
            push(&mut lines, &letter);
            used += width(&letter);
        }
    }
    lines
}

fn push(lines: &mut [String], text: &str) {
    if let Some(line) = lines.last_mut() {
        line.push_str(text);
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub static UTC: TimeZone = TimeZone::UTC;

    fn terminal(width: usize, color: bool) -> Terminal<'static> {
        Terminal { width, color, zone: &UTC, now: Timestamp::UNIX_EPOCH }
    }

    #[test]
    fn wrapping_breaks_at_blanks_and_loses_nothing() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("", 7), [""]);
        assert_eq!(wrap("unbreakable", 4), ["unbr", "eaka", "ble"]);
        assert_eq!(wrap("iCloudバックアップ", 10), ["iCloudバッ", "クアップ"]);
        assert_eq!(wrap("a 123456789", 4), ["a", "1234", "5678", "9"]);
    }

    #[test]
    fn columns_are_read_downwards_and_fit() {
        let names = ["App Store", "iCloud Backup", "Mail", "バックアップ", "Photos"].map(str::to_owned);
        let expected = "  App Store      Mail          Photos\n  iCloud Backup  バックアップ\n";
        assert_eq!(terminal(40, false).columns(2, &names), expected);
        assert_eq!(terminal(10, false).columns(2, &names).lines().count(), 5);
        assert_eq!(terminal(40, false).columns(2, &[]), "");
    }

    #[test]
    fn a_table_wraps_its_flexible_column_and_only_that() {
        let row = |name: &str, count: &str| {
            vec![Cell::plain("12:00"), Cell::plain(name), Cell::right(count), Cell::new(Style::Bad, "down")]
        };
        let rows = [row("Maps Routing & Navigation", "7"), row("Photos", "12")];
        let drawn = terminal(30, false).table(&["WHEN", "SERVICE", "N", "STATE"], &rows, 1);
        let expected = "\
WHEN   SERVICE       N   STATE
12:00  Maps Routing   7  down
       & Navigation
12:00  Photos        12  down
";
        assert_eq!(drawn, expected);
        let painted = terminal(80, true).table(&["A"], &[vec![Cell::new(Style::Bad, "down")]], 0);
        assert_eq!(painted, "\u{1b}[2mA\u{1b}[0m\n\u{1b}[1;31mdown\u{1b}[0m\n");
    }
}
