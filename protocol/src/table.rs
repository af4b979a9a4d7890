//! Tables of rules: for each row, a cell under each column. Each machine keeps its own; how a cell is
//! looked up, and how a table is printed into the documentation, is the same for all.

use std::fmt;

/// The cell of a table, if the table has the row and the column.
pub fn cell<R: PartialEq, C: PartialEq, V: Copy, const N: usize>(
    table: &[(R, [V; N])],
    columns: &[C; N],
    row: &R,
    column: &C,
) -> Option<V> {
    let (_, cells) = table.iter().find(|(name, _)| name == row)?;
    let mut cells = columns.iter().zip(cells);
    cells
        .find(|(name, _)| *name == column)
        .map(|(_, cell)| *cell)
}

/// Writes a table as Markdown, with a word over its rows.
///
/// # Errors
/// If it cannot be written.
pub fn write_markdown<R: fmt::Debug, C: fmt::Debug, V: fmt::Display, const N: usize>(
    f: &mut fmt::Formatter<'_>,
    corner: &str,
    columns: &[C; N],
    table: &[(R, [V; N])],
) -> fmt::Result {
    write!(f, "| {corner} |")?;
    columns
        .iter()
        .try_for_each(|column| write!(f, " {column:?} |"))?;
    writeln!(f, "\n|{}", "---|".repeat(N + 1))?;
    for (row, cells) in table {
        write!(f, "| {row:?} |")?;
        cells.iter().try_for_each(|cell| write!(f, " {cell} |"))?;
        writeln!(f)?;
    }
    Ok(())
}
