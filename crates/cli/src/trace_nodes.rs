//! Recorded traces of several nodes, shown as one.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;
use taproot_trace::nodes::{Clock, Joined};
use taproot_trace::record::Recording;

/// Version of the JSON.
const SCHEMA_VERSION: u32 = 1;

/// Reads one recorded trace.
pub(crate) fn recording(file: &Path) -> Result<Recording> {
    let failed = || format!("{} cannot be read", file.display());
    let input = File::open(file).with_context(failed)?;
    Recording::read(BufReader::new(input)).with_context(failed)
}

/// Reads several and joins them; each node is called like its file.
pub(crate) fn joined(files: &[PathBuf]) -> Result<Joined> {
    let mut nodes = Vec::new();
    for (file, name) in files.iter().zip(called(files)) {
        nodes.push((name, recording(file)?));
    }
    Ok(Joined::of(nodes))
}

/// The files' names without folder and extension, as far as that tells them apart.
fn called(files: &[PathBuf]) -> Vec<String> {
    let short = |file: &PathBuf| {
        let stem = file.file_stem().unwrap_or(file.as_os_str());
        stem.to_string_lossy().into_owned()
    };
    let names: Vec<String> = files.iter().map(short).collect();
    let distinct: BTreeSet<&String> = names.iter().collect();
    if distinct.len() == names.len() {
        return names;
    }
    files.iter().map(|file| file.display().to_string()).collect()
}

/// What is said of clocks, for people.
pub(crate) fn clocks_in_words(clocks: &[Clock]) -> String {
    let mut out = String::new();
    for words in clocks.iter().map(Clock::words).filter(|words| !words.is_empty()) {
        out.push_str(&words);
        out.push('\n');
    }
    out
}

#[derive(Serialize)]
struct ClockLine<'a> {
    schema_version: u32,
    kind: &'static str,
    #[serde(flatten)]
    clock: &'a Clock,
}

/// The same, a JSON object a line.
pub(crate) fn clocks_as_lines(clocks: &[Clock]) -> Result<String> {
    let mut out = String::new();
    for clock in clocks {
        let line = ClockLine { schema_version: SCHEMA_VERSION, kind: "clock", clock };
        out.push_str(&serde_json::to_string(&line)?);
        out.push('\n');
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_called_like_their_files_while_those_differ() {
        let files = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert_eq!(called(&files(&["a/n1.trace", "n2.trace"])), ["n1", "n2"]);
        assert_eq!(called(&files(&["a/t.trace", "b/t.trace"])), ["a/t.trace", "b/t.trace"]);
    }
}
