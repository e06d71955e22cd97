//! Plain tables: columns as wide as their content.

use std::fmt;

/// Rows of text under a header.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(header: &[&str]) -> Self {
        Self { rows: vec![header.iter().map(ToString::to_string).collect()] }
    }

    pub(crate) fn row(&mut self, cells: &[&str]) {
        self.rows.push(cells.iter().map(ToString::to_string).collect());
    }

    /// How many rows there are below the header.
    pub(crate) fn len(&self) -> usize {
        self.rows.len() - 1
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |c: usize| {
            self.rows.iter().filter_map(|r| r.get(c)).map(|s| s.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            for (index, cell) in row.iter().enumerate() {
                if index + 1 == row.len() {
                    f.write_str(cell)?;
                } else {
                    write!(f, "{cell:<width$}  ", width = widths[index])?;
                }
            }
            f.write_str("\n")?;
        }
        Ok(())
    }
}

/// Seconds as people read them; `-` for nothing.
pub(crate) fn seconds(value: Option<f64>) -> String {
    match value {
        None => "-".into(),
        Some(s) if s >= 1.0 => format!("{s:.2}s"),
        Some(s) if s >= 1e-3 => format!("{:.1}ms", s * 1e3),
        Some(s) => format!("{:.0}us", s * 1e6),
    }
}

/// Bytes as people read them.
pub(crate) fn bytes(value: f64) -> String {
    match value {
        v if v >= 1e9 => format!("{:.1}GB", v / 1e9),
        v if v >= 1e6 => format!("{:.1}MB", v / 1e6),
        v if v >= 1e3 => format!("{:.1}kB", v / 1e3),
        v => format!("{v:.0}B"),
    }
}

/// A ratio as a percentage; `-` for nothing.
pub(crate) fn percent(value: Option<f64>) -> String {
    value.map_or_else(|| "-".into(), |v| format!("{:.1}%", v * 100.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&["A", "LONGER", "C"]);
        table.row(&["longest", "b", "c"]);
        assert_eq!(table.to_string(), "A        LONGER  C\nlongest  b       c\n");
    }

    #[test]
    fn figures_read_well() {
        assert_eq!(seconds(Some(0.0123)), "12.3ms");
        assert_eq!(seconds(None), "-");
        assert_eq!(bytes(1_500_000.0), "1.5MB");
        assert_eq!(percent(Some(0.5)), "50.0%");
    }
}
