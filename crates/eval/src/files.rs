//! Reads CSV and JSON with errors that name the file and the line.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::GzDecoder;
use serde::de::DeserializeOwned;

use crate::error::EvalError;

/// A table: a header and rows of text, all equally long.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Where it came from.
    pub path: PathBuf,
    /// Names of the columns.
    pub header: Vec<String>,
    /// The rows.
    pub rows: Vec<csv::StringRecord>,
}

impl Table {
    /// Where a column stands.
    pub fn column(&self, name: &str) -> Result<usize, EvalError> {
        self.header
            .iter()
            .position(|found| found == name)
            .ok_or_else(|| EvalError::content(&self.path, format!("it has no column {name}")))
    }

    /// A number in a row; `None` when the cell is empty or holds none (`nan` counts as none).
    pub fn number(row: &csv::StringRecord, column: usize) -> Option<f64> {
        row.get(column)?.trim().parse().ok().filter(|value: &f64| value.is_finite())
    }
}

/// Reads a whole CSV file (RFC 4180) with a header.
pub fn csv(path: &Path) -> Result<Table, EvalError> {
    read(path, false, open(path)?)
}

/// As [`csv`], for a file compressed by gzip.
pub fn csv_gz(path: &Path) -> Result<Table, EvalError> {
    read(path, false, GzDecoder::new(open(path)?))
}

/// As [`csv`], for files whose authors did not quote everything: fields beyond the
/// header are kept with their row, rows that are too short are left out.
pub fn ragged_csv(path: &Path) -> Result<Table, EvalError> {
    let mut table = read(path, true, open(path)?)?;
    table.rows.retain(|row| row.len() >= table.header.len());
    Ok(table)
}

fn open(path: &Path) -> Result<BufReader<File>, EvalError> {
    Ok(BufReader::new(File::open(path).map_err(EvalError::read(path))?))
}

fn read(path: &Path, ragged: bool, from: impl Read) -> Result<Table, EvalError> {
    let mut reader = csv::ReaderBuilder::new().flexible(ragged).from_reader(from);
    let bad = |error: csv::Error| EvalError::content(path, error);
    let header = reader.headers().map_err(bad)?.iter().map(ToOwned::to_owned).collect();
    let rows = reader.records().collect::<Result<_, _>>().map_err(bad)?;
    Ok(Table { path: path.to_owned(), header, rows })
}

/// Reads a JSON file.
pub fn json<T: DeserializeOwned>(path: &Path) -> Result<T, EvalError> {
    let file = File::open(path).map_err(EvalError::read(path))?;
    serde_json::from_reader(BufReader::new(file)).map_err(|error| EvalError::content(path, error))
}

/// Names in a folder, sorted.
pub fn names(folder: &Path) -> Result<Vec<String>, EvalError> {
    let entries = std::fs::read_dir(folder).map_err(EvalError::read(folder))?;
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    Ok(names)
}

/// Names of the folders in a folder, sorted.
pub fn folders(folder: &Path) -> Result<Vec<String>, EvalError> {
    let mut names = names(folder)?;
    names.retain(|name| folder.join(name).is_dir());
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_say_what_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table.csv");
        std::fs::write(&path, "a,b\n1,\"x, y\"\nnan,2\n").unwrap();
        let table = csv(&path).unwrap();
        assert_eq!(&table.rows[0][table.column("b").unwrap()], "x, y");
        assert_eq!(Table::number(&table.rows[0], 0), Some(1.0));
        assert_eq!(Table::number(&table.rows[1], 0), None);
        assert!(table.column("c").unwrap_err().to_string().contains("no column c"));
    }

    #[test]
    fn ragged_rows_are_kept_when_long_enough() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table.csv");
        std::fs::write(&path, "a,b\n1\n1,2,3\n").unwrap();
        let table = ragged_csv(&path).unwrap();
        assert_eq!(table.rows.len(), 1);
        assert_eq!(table.rows[0].len(), 3);
    }

    #[test]
    fn broken_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table.csv");
        std::fs::write(&path, "a,b\n1\n").unwrap();
        let error = csv(&path).unwrap_err().to_string();
        assert!(error.contains("table.csv") && error.contains("line: 2"), "{error}");
        let error = json::<Vec<u32>>(&path).unwrap_err().to_string();
        assert!(error.contains("table.csv") && error.contains("line 1"), "{error}");
        let error = csv(&folder.path().join("none.csv")).unwrap_err().to_string();
        assert!(error.contains("none.csv"), "{error}");
    }
}
