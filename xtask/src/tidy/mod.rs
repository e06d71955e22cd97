//! The rules of the house that no compiler checks.
//!
//! Each rule is a function from plain data to complaints, so that a unit test
//! can show that it is able to complain.

mod floors;
mod paths;
mod source;
mod words;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;

use crate::{command, files, metadata};

/// One tracked text file.
#[derive(Debug)]
pub(crate) struct SourceFile {
    /// Relative to the root, with slashes.
    pub(crate) path: String,
    /// Its whole content.
    pub(crate) text: String,
}

impl SourceFile {
    fn extension(&self) -> &str {
        Path::new(&self.path).extension().and_then(|found| found.to_str()).unwrap_or_default()
    }

    fn is_rust(&self) -> bool {
        self.extension() == "rs"
    }
}

/// `cargo xtask tidy`.
pub(crate) fn main() -> Result<ExitCode> {
    let problems = check()?;
    for problem in &problems {
        println!("{problem}");
    }
    println!("tidy: {} problem(s)", problems.len());
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One line for every breach of a rule.
pub(crate) fn check() -> Result<Vec<String>> {
    let sources = read(&files::of_project()?);
    let mut problems = floors::check(&metadata::packages()?);
    problems.extend(sources.iter().flat_map(check_file));
    Ok(problems)
}

fn check_file(file: &SourceFile) -> Vec<String> {
    let rules: [fn(&SourceFile) -> Vec<String>; 6] = [
        source::length,
        source::crate_header,
        source::unsafe_code,
        source::manifest_lints,
        paths::check,
        words::check,
    ];
    rules.iter().flat_map(|rule| rule(file)).collect()
}

/// Text files only: what is not UTF-8 is data.
fn read(paths: &[PathBuf]) -> Vec<SourceFile> {
    let root = command::root();
    let read = |path: &PathBuf| {
        let text = fs::read_to_string(root.join(path)).ok()?;
        Some(SourceFile { path: path.to_string_lossy().into_owned(), text })
    };
    paths.iter().filter_map(read).collect()
}

/// The line number of a byte offset, counted from one.
fn line_of(text: &str, offset: usize) -> usize {
    text[..offset].matches('\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_count_from_one() {
        assert_eq!(line_of("a\nb\nc", 0), 1);
        assert_eq!(line_of("a\nb\nc", 4), 3);
    }

    #[test]
    fn every_rule_is_applied_to_a_file() {
        let text = format!("unsafe {{}} // {}{}\n", "TO", "DO");
        let file = SourceFile { path: "crates/model/src/lib.rs".to_owned(), text };
        let problems = check_file(&file).join("\n");
        for word in ["unsafe", "//!", "forbid", "left open"] {
            assert!(problems.contains(word), "{word} is missing in: {problems}");
        }
    }
}
