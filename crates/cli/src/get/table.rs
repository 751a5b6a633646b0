//! Columns as kubectl prints them. Cells are padded by the width they have on
//! a terminal, and their colours do not count.

use std::fmt::Write as _;

use anstyle::Style;
use chrono::{DateTime, Utc};
use unicode_width::UnicodeWidthStr as _;

use super::super::format::{NONE, plain};

const GAP: usize = 3;

/// One value, harmless to a terminal.
pub(super) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    pub(super) fn new(text: &str) -> Self {
        Cell::styled(text, Style::new())
    }

    pub(super) fn styled(text: &str, style: Style) -> Self {
        let text = if text.is_empty() { NONE.into() } else { plain(text) };
        Cell { text, style }
    }
}

/// How one column of a table of `T` is named and filled.
pub(super) struct Column<T> {
    title: &'static str,
    only_wide: bool,
    cell: fn(&T, DateTime<Utc>) -> Cell,
}

impl<T> Column<T> {
    pub(super) const fn new(title: &'static str, cell: fn(&T, DateTime<Utc>) -> Cell) -> Self {
        Column { title, only_wide: false, cell }
    }

    /// One that only `-o wide` shows.
    pub(super) const fn wide(title: &'static str, cell: fn(&T, DateTime<Utc>) -> Cell) -> Self {
        Column { title, only_wide: true, cell }
    }
}

/// A table that may go on: later rows stand under the ones before.
pub(super) struct Table<T: 'static> {
    columns: Vec<&'static Column<T>>,
    widths: Vec<usize>,
    header_due: bool,
}

impl<T> Table<T> {
    pub(super) fn new(columns: &'static [Column<T>], wide: bool, headers: bool) -> Self {
        let columns: Vec<_> = columns.iter().filter(|column| wide || !column.only_wide).collect();
        Table { columns, widths: Vec::new(), header_due: headers }
    }

    /// The lines of these rows, the header above the first of all; nothing
    /// where there are no rows.
    pub(super) fn lines<'a>(&mut self, rows: impl IntoIterator<Item = &'a T>, now: DateTime<Utc>) -> String {
        let row = |row| self.columns.iter().map(|column| (column.cell)(row, now)).collect();
        let mut cells: Vec<Vec<Cell>> = rows.into_iter().map(row).collect();
        if !cells.is_empty() && std::mem::take(&mut self.header_due) {
            cells.insert(0, self.columns.iter().map(|column| Cell::new(column.title)).collect());
        }
        align(&cells, &mut self.widths)
    }
}

/// `Name: value` lines.
pub(super) fn block(lines: Vec<(&str, Cell)>) -> String {
    let rows: Vec<_> = lines.into_iter().map(|(label, value)| vec![Cell::new(label), value]).collect();
    align(&rows, &mut Vec::new())
}

/// One line for each row; the widths grow where they have to.
fn align(rows: &[Vec<Cell>], widths: &mut Vec<usize>) -> String {
    for row in rows {
        widths.resize(widths.len().max(row.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.text.width().max(*width);
        }
    }
    let mut lines = String::new();
    for row in rows {
        let mut padding = 0;
        for (Cell { text, style }, width) in row.iter().zip(&*widths) {
            // Writing to a String cannot fail. The padding of the last cell is
            // never written.
            let _ = write!(lines, "{:padding$}{style}{text}{style:#}", "");
            padding = width - text.width() + GAP;
        }
        lines.push('\n');
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use anstream::adapter::strip_str;
    use anstyle::AnsiColor;

    const COLUMNS: &[Column<(&str, &str)>] = &[
        Column::new("NAME", |row, _| Cell::styled(row.0, AnsiColor::Green.on_default())),
        Column::wide("EXTRA", |_, _| Cell::new("")),
        Column::new("WHAT", |row, _| Cell::new(row.1)),
    ];

    fn lines(table: &mut Table<(&'static str, &'static str)>, rows: &[(&'static str, &'static str)]) -> String {
        strip_str(&table.lines(rows, DateTime::UNIX_EPOCH)).to_string()
    }

    #[test]
    fn wide_characters_and_colours_keep_columns_aligned() {
        let mut table = Table::new(COLUMNS, true, true);
        assert_eq!(
            lines(&mut table, &[("日本", "a"), ("e\u{301}é", "b"), ("plain", "")]),
            "NAME    EXTRA    WHAT\n\
             日本    <none>   a\n\
             e\u{301}é      <none>   b\n\
             plain   <none>   <none>\n"
        );
    }

    #[test]
    fn later_rows_stand_under_earlier_ones_without_a_second_header() {
        let mut table = Table::new(COLUMNS, false, true);
        assert_eq!(lines(&mut table, &[]), "");
        assert_eq!(lines(&mut table, &[("a-long-name", "1")]), "NAME          WHAT\na-long-name   1\n");
        assert_eq!(lines(&mut table, &[("b", "2")]), "b             2\n");
    }

    #[test]
    fn hidden_headers_take_no_room() {
        let mut table = Table::new(COLUMNS, false, false);
        assert_eq!(lines(&mut table, &[("a", "1")]), "a   1\n");
    }

    #[test]
    fn only_the_text_of_a_cell_is_coloured() {
        let mut table = Table::new(COLUMNS, false, false);
        let text = table.lines(&[("a", "\u{1b}[2J")], DateTime::UNIX_EPOCH);
        assert_eq!(text, "\u{1b}[32ma\u{1b}[0m   \\u{1b}[2J\n");
    }
}
