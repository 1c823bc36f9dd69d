//! Tables in reports for people. What a cell holds stays in it, whatever it is.

use crate::escape;
use comfy_table::presets::{ASCII_MARKDOWN, UTF8_BORDERS_ONLY};
use comfy_table::{CellAlignment, ContentArrangement, Table};
use std::io::{self, Write};
use std::ops::Range;

/// A table, row by row.
pub(super) struct Grid {
    table: Table,
}

impl Grid {
    /// A table for a terminal.
    pub(super) fn new(head: &[&str]) -> Self {
        let mut table = Table::new();
        table.load_style(UTF8_BORDERS_ONLY).set_header(head);
        Self { table }
    }

    /// A table of Markdown.
    pub(super) fn markdown(head: &[&str]) -> Self {
        let mut table = Table::new();
        table.load_style(ASCII_MARKDOWN).set_header(head);
        Self { table }
    }

    /// As wide as its cells are, even where no terminal is.
    pub(super) fn unbounded(mut self) -> Self {
        self.table.set_content_arrangement(ContentArrangement::Disabled);
        self
    }

    /// Columns that hold figures.
    pub(super) fn figures(mut self, columns: Range<usize>) -> Self {
        for column in self.table.column_iter_mut().skip(columns.start).take(columns.len()) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        self
    }

    /// Adds a row.
    pub(super) fn add_row(&mut self, cells: impl IntoIterator<Item = impl AsRef<str>>) {
        self.table.add_row(cells.into_iter().map(|cell| escape::line(cell.as_ref()).into_owned()));
    }

    /// Writes it.
    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(format!("{}\n", self.table).as_bytes())
    }
}
