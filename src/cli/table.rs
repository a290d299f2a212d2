//! Tables of the lists: columns two spaces apart, names to the left and numbers to the right, nothing behind a line.

use comfy_table::{CellAlignment, Table, presets};

/// Lays out `rows` below `head`; the columns at the positions `numbers` are aligned to the right.
pub fn layout(head: &[&str], numbers: &[usize], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(head);
    for row in rows {
        table.add_row(row);
    }
    for (at, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if numbers.contains(&at) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_their_heads_and_lines_end_with_their_text() {
        let rows = [vec!["a".to_owned(), "5".to_owned()], vec!["longer".to_owned(), "1,000".to_owned()]];
        assert_eq!(layout(&["NAME", "ROWS"], &[1], rows), "NAME     ROWS\na           5\nlonger  1,000");
    }
}
