//! `taproot logs patterns [FILE|-]`: what a log says, in a few lines.

use std::fmt::Write;
use std::fs::File;
use std::io::{BufRead, BufReader, stdin};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use serde::Serialize;
use taproot_patterns::gibberish::{self, Verdict};
use taproot_patterns::line::cri;
use taproot_patterns::miner::{Config, Miner, Pattern};

use crate::args::{Output, PatternsArgs};
use crate::table::Table;

/// Version of the JSON.
const SCHEMA_VERSION: u32 = 1;
/// Longest line kept; the rest of a longer one is passed over and counted.
const LONGEST: usize = 1 << 20;

/// All that was found in a log.
#[derive(Debug, Serialize)]
struct Found {
    schema_version: u32,
    lines: u64,
    /// Lines that were cut because they were longer than a mebibyte.
    cut: u64,
    /// Lines that are no text.
    gibberish: u64,
    /// The first of them, escaped.
    gibberish_sample: Option<String>,
    patterns: Vec<Pattern>,
}

pub(crate) fn run(args: &PatternsArgs) -> Result<ExitCode> {
    let found = match args.file.as_deref() {
        None => mine(stdin().lock())?,
        Some(path) if path == Path::new("-") => mine(stdin().lock())?,
        Some(path) => {
            let file =
                File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
            mine(BufReader::new(file)).with_context(|| format!("reading {}", path.display()))?
        }
    };
    match args.output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&found)?),
        Output::Table => print!("{}", text(&found, args.most)),
    }
    Ok(ExitCode::SUCCESS)
}

fn mine(mut from: impl BufRead) -> Result<Found> {
    let mut miner = Miner::new(Config::default());
    let mut found = Found {
        schema_version: SCHEMA_VERSION,
        lines: 0,
        cut: 0,
        gibberish: 0,
        gibberish_sample: None,
        patterns: Vec::new(),
    };
    let mut line = Vec::new();
    while read_line(&mut from, &mut line, &mut found.cut)? {
        found.lines += 1;
        let (content, time) =
            cri::parse(&line).map_or((&line[..], found.lines), |l| (l.content, l.time));
        match gibberish::assess(content) {
            Verdict::Clean => {
                miner.add(content, time);
            }
            Verdict::Suspicious { sample, .. } => {
                found.gibberish += 1;
                found.gibberish_sample.get_or_insert(sample);
            }
        }
    }
    found.patterns = miner.snapshot().patterns;
    found.patterns.sort_by_key(|p| std::cmp::Reverse(p.count));
    Ok(found)
}

/// Reads one line without its end into `line`, in bounded memory; `false` at the end.
fn read_line(from: &mut impl BufRead, line: &mut Vec<u8>, cut: &mut u64) -> Result<bool> {
    line.clear();
    let mut any = false;
    let mut long = false;
    loop {
        let piece = from.fill_buf()?;
        if piece.is_empty() {
            break;
        }
        any = true;
        let end = piece.iter().position(|&b| b == b'\n');
        let used = end.unwrap_or(piece.len());
        let room = LONGEST.saturating_sub(line.len()).min(used);
        line.extend_from_slice(&piece[..room]);
        long |= room < used;
        from.consume(end.map_or(used, |at| at + 1));
        if end.is_some() {
            break;
        }
    }
    *cut += u64::from(long);
    Ok(any)
}

fn text(found: &Found, most: usize) -> String {
    let mut table = Table::new(&["LINES", "SEVERITY", "TEMPLATE"]);
    for pattern in found.patterns.iter().take(most) {
        let severity = pattern.severity.map_or("-", |s| s.as_str());
        table.row(&[&pattern.count.to_string(), severity, &pattern.template]);
    }
    let mut out = table.to_string();
    let left = found.patterns.len().saturating_sub(most);
    if left > 0 {
        let _ = writeln!(out, "... and {left} more templates (--most N shows more)");
    }
    let _ = write!(out, "{} lines, {} templates", found.lines, found.patterns.len());
    if let Some(sample) = &found.gibberish_sample {
        let _ = write!(out, ", {} lines that are no text, such as {sample}", found.gibberish);
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_cut_and_counted() {
        let mut text = vec![b'x'; LONGEST + 10];
        text.extend(b"\nshort\n\xff\x00\x01\x02bad\x00\n");
        let found = mine(&text[..]).unwrap();
        assert_eq!((found.lines, found.cut, found.gibberish), (3, 1, 1));
    }

    #[test]
    fn a_last_line_without_an_end_counts() {
        assert_eq!(mine(&b"one\ntwo"[..]).unwrap().lines, 2);
    }
}
