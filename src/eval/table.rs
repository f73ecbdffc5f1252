//! A table on a terminal.

/// Rows of cells in columns as wide as their widest cell: the first column to the left, the others to the right.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let head: Vec<String> = head.iter().map(|cell| cell.to_string()).collect();
    let width = |column: usize| {
        let cells = std::iter::once(&head).chain(rows).filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| match column {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_string()
    };
    let rule = "─".repeat(widths.iter().sum::<usize>() + 2 * (widths.len().saturating_sub(1)));
    let lines = [line(&head), rule].into_iter().chain(rows.iter().map(line));
    lines.map(|line| line + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_whatever_the_letters() {
        let rows = [vec!["é".into(), "1.00".into()], vec!["longer".into(), "10.00".into()]];
        assert_eq!(table(&["name", "x"], &rows), "name        x\n─────────────\né        1.00\nlonger  10.00\n");
    }
}
