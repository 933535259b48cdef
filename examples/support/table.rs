//! Tables in plain text, aligned by column.

use std::fmt;

/// Rows under headers; printed by its `Display`, one line per row.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    headers: Vec<String>,
    rows: Vec<Vec<String>>,
    right: Vec<usize>,
    indent: usize,
}

impl Table {
    /// A table without rows.
    pub(crate) fn new(headers: &[&str]) -> Self {
        Self {
            headers: headers.iter().map(|&header| header.to_owned()).collect(),
            rows: Vec::new(),
            right: Vec::new(),
            indent: 0,
        }
    }

    /// Sets a column, counted from 0, flush right, as numbers are read.
    #[must_use]
    pub(crate) fn right(mut self, column: usize) -> Self {
        self.right.push(column);
        self
    }

    /// Sets the whole table so many columns in.
    #[must_use]
    pub(crate) fn indent(mut self, columns: usize) -> Self {
        self.indent = columns;
        self
    }

    /// Adds a row; cells without a header are left out.
    pub(crate) fn row<const N: usize>(&mut self, cells: [&dyn fmt::Display; N]) {
        self.rows
            .push(cells.iter().map(ToString::to_string).collect());
    }

    fn widths(&self) -> Vec<usize> {
        let width = |column: usize| {
            std::iter::once(&self.headers)
                .chain(&self.rows)
                .filter_map(|row| row.get(column))
                .map(|cell| width_of(cell))
                .max()
                .unwrap_or(0)
        };
        (0..self.headers.len()).map(width).collect()
    }

    fn line(&self, f: &mut fmt::Formatter<'_>, cells: &[String], widths: &[usize]) -> fmt::Result {
        let mut line = String::new();
        for (column, (cell, &width)) in cells.iter().zip(widths).enumerate() {
            let gap = if column == 0 { 0 } else { GAP };
            let space = " ".repeat(width.saturating_sub(width_of(cell)));
            line.push_str(&" ".repeat(gap));
            if self.right.contains(&column) {
                line.push_str(&space);
                line.push_str(cell);
            } else {
                line.push_str(cell);
                line.push_str(&space);
            }
        }
        let indent = " ".repeat(self.indent);
        writeln!(f, "{indent}{}", line.trim_end())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        let rules: Vec<String> = widths.iter().map(|&width| "─".repeat(width)).collect();
        self.line(f, &self.headers, &widths)?;
        self.line(f, &rules, &widths)?;
        self.rows
            .iter()
            .try_for_each(|row| self.line(f, row, &widths))
    }
}

/// How many columns of a terminal a text takes: one per character, none for
/// combining marks, two for the ideographs and syllables of East Asia.
fn width_of(text: &str) -> usize {
    text.chars()
        .map(|character| match u32::from(character) {
            0x0300..=0x036F | 0x200B..=0x200F | 0xFE00..=0xFE0F => 0,
            0x1100..=0x115F
            | 0x2E80..=0xA4CF
            | 0xAC00..=0xD7A3
            | 0xF900..=0xFAFF
            | 0xFE30..=0xFE6F
            | 0xFF00..=0xFF60
            | 0x1F300..=0x1FAFF
            | 0x20000..=0x3FFFD => 2,
            _ => 1,
        })
        .sum()
}

const GAP: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["name", "count"]).right(1).indent(2);
        table.row([&"größe", &7]);
        table.row([&"語", &12345]);
        let expected = "  name   count\n  ─────  ─────\n  größe      7\n  語     12345\n";
        assert_eq!(table.to_string(), expected);
    }

    #[test]
    fn short_rows_leave_no_blanks_at_the_end() {
        let mut table = Table::new(&["a", "b"]);
        table.row([&"only"]);
        table.row([&"x", &""]);
        assert_eq!(table.to_string(), "a     b\n────  ─\nonly\nx\n");
    }
}
