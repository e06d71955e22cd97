//! Scores the miner on Loghub-2k (corrected truth), one configuration for all.
//!
//! GA: share of lines whose predicted group equals the true group. FGA: F1 of such
//! groups. PA: share of lines with exactly the true template. FTA: F1 of templates
//! that are grouped right and equal in text. `TAPROOT_LOGHUB` names the folder of
//! the unpacked sets.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use taproot_patterns::miner::{Config, Miner};
use taproot_testkit::skip;

#[derive(Default)]
struct Score {
    ga: f64,
    fga: f64,
    pa: f64,
    fta: f64,
}

/// Rows of a CSV file (RFC 4180).
fn csv(text: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut field) = (Vec::new(), Vec::new(), String::new());
    let mut characters = text.chars().peekable();
    let mut quoted = false;
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => row.push(std::mem::take(&mut field)),
            '\n' if !quoted => {
                row.push(std::mem::take(&mut field));
                rows.push(std::mem::take(&mut row));
            }
            '\r' if !quoted => {}
            other => field.push(other),
        }
    }
    if !field.is_empty() || !row.is_empty() {
        row.push(field);
        rows.push(row);
    }
    rows
}

fn truth(path: &Path) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(path).expect("the set is readable");
    let rows = csv(&text);
    let column = |name: &str| rows[0].iter().position(|found| found == name).expect("a column");
    let (content, template) = (column("Content"), column("EventTemplate"));
    rows[1..].iter().map(|row| (row[content].clone(), row[template].clone())).collect()
}

fn groups(labels: &[String]) -> HashMap<&str, HashSet<usize>> {
    let mut groups: HashMap<&str, HashSet<usize>> = HashMap::new();
    for (line, label) in labels.iter().enumerate() {
        groups.entry(label).or_default().insert(line);
    }
    groups
}

fn score(lines: &[(String, String)]) -> Score {
    let mut miner = Miner::new(Config::default());
    let ids: Vec<_> = lines
        .iter()
        .enumerate()
        .map(|(at, (text, _))| miner.add(text, at as u64).template_id)
        .collect();
    let resolved: Vec<_> = ids.iter().map(|id| miner.resolve(*id)).collect();
    let texts: Vec<String> =
        resolved.iter().map(|id| miner.template(*id).unwrap_or_default()).collect();
    let names: Vec<String> = resolved.iter().map(|id| id.0.to_string()).collect();
    let expected: Vec<String> = lines.iter().map(|(_, template)| template.clone()).collect();
    let (found, wanted) = (groups(&names), groups(&expected));
    let (mut right_lines, mut right_groups, mut right_texts) = (0, 0, 0);
    for members in found.values() {
        let first = members.iter().next().copied().unwrap_or_default();
        if wanted[expected[first].as_str()] == *members {
            right_lines += members.len();
            right_groups += 1;
            let same = texts[first] == expected[first];
            right_texts += usize::from(same);
        }
        if std::env::var_os("TAPROOT_LOGHUB_MISSES").is_some() {
            let truths: HashSet<_> = members.iter().map(|line| expected[*line].as_str()).collect();
            if truths.len() > 1
                || wanted[expected[first].as_str()] != *members
                || texts[first] != expected[first]
            {
                println!("  {:>5} {:?}\n        true {truths:?}", members.len(), texts[first]);
            }
        }
    }
    let same = texts.iter().zip(&expected).filter(|(found, wanted)| found == wanted).count();
    let f1 = |right: usize| 2.0 * right as f64 / (found.len() + wanted.len()) as f64;
    let share = |count: usize| count as f64 / lines.len() as f64;
    Score { ga: share(right_lines), fga: f1(right_groups), pa: share(same), fta: f1(right_texts) }
}

#[test]
fn loghub_2k() {
    let Some(root) = std::env::var_os("TAPROOT_LOGHUB") else {
        skip!("TAPROOT_LOGHUB names no folder of unpacked Loghub-2k sets")
    };
    let mut names: Vec<_> = std::fs::read_dir(&root)
        .expect("the folder is readable")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    let mut total = Score::default();
    let mut sets = 0.0;
    println!("{:<14}{:>7}{:>7}{:>7}{:>7}", "set", "GA", "FGA", "PA", "FTA");
    for name in names {
        let path =
            Path::new(&root).join(&name).join(format!("{name}_2k.log_structured_corrected.csv"));
        if !path.is_file() {
            continue;
        }
        let found = score(&truth(&path));
        println!(
            "{name:<14}{:>7.3}{:>7.3}{:>7.3}{:>7.3}",
            found.ga, found.fga, found.pa, found.fta
        );
        sets += 1.0;
        total.ga += found.ga;
        total.fga += found.fga;
        total.pa += found.pa;
        total.fta += found.fta;
    }
    assert!(sets > 0.0, "no set in the folder");
    let mean = |sum: f64| sum / sets;
    println!(
        "{:<14}{:>7.3}{:>7.3}{:>7.3}{:>7.3}",
        "mean",
        mean(total.ga),
        mean(total.fga),
        mean(total.pa),
        mean(total.fta)
    );
    assert!(mean(total.ga) > 0.7, "grouping fell below what it was");
}
