//! What a diff does to a running program.
//!
//! Read from the text alone, for any language with words, numbers and strings: what
//! only moves, logs, documents or tests changes nothing that runs; a limit that
//! shrinks, a name that others rely on, and a line that goes without another in its
//! place change something.

use std::collections::{BTreeMap, BTreeSet};

use super::words::words;

/// What a diff does.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Effect {
    /// How likely it is to break something, 0 to 1.
    pub(super) strength: f64,
    /// Why, in words.
    pub(super) why: String,
    /// Words of what differs between before and after.
    pub(super) words: BTreeSet<String>,
}

/// Ends of paths that no program runs.
const IDLE_FILES: [&str; 11] = [
    ".md",
    ".txt",
    ".rst",
    ".css",
    ".html",
    ".svg",
    ".png",
    "codeowners",
    ".gitignore",
    ".snap",
    ".adoc",
];
/// Parts of paths that no program runs.
const IDLE_FOLDERS: [&str; 8] =
    ["docs/", ".github/", "_test.", "test/", "tests/", "testdata/", "/spec/", ".golangci"];
/// Files that list dependencies.
const MANIFESTS: [&str; 14] = [
    "go.mod",
    "go.sum",
    "cargo.toml",
    "cargo.lock",
    "package.json",
    "package-lock.json",
    "yarn.lock",
    "requirements.txt",
    "poetry.lock",
    "pyproject.toml",
    "pom.xml",
    "build.gradle",
    "gemfile",
    "gemfile.lock",
];
/// Beginnings of statements that only tell.
const TELLING: [&str; 12] = [
    "log.",
    "logger.",
    "logger =",
    "logger=",
    "log_",
    "slog.",
    "console.",
    "print",
    "fmt.print",
    "span.set",
    "f.str(",
    "fields =",
];
/// Words of a bound that, when it shrinks, stops what went well before.
const BOUNDS: [&str; 22] = [
    "timeout",
    "deadlin",
    "limit",
    "max",
    "attempt",
    "retr",
    "pool",
    "size",
    "capacit",
    "budget",
    "quota",
    "memor",
    "cpu",
    "replica",
    "concurrenc",
    "buff",
    "wait",
    "interval",
    "window",
    "ttl",
    "thread",
    "connect",
];

const SHRUNK: f64 = 1.0;
const GREW: f64 = 0.2;
const OTHER_VALUE: f64 = 0.5;
const TAKEN_AWAY: f64 = 0.8;
const RENAMED: f64 = 0.8;
const REWRITTEN: f64 = 0.35;
const BEHIND_A_CALL: f64 = 0.15;
const ADDED: f64 = 0.15;
const MOVED: f64 = 0.08;
const TELLS_MORE: f64 = 0.05;
const IDLE: f64 = 0.02;
const UNKNOWN: f64 = 0.1;
/// Share of what was removed that must come back for it to have only moved.
const COMES_BACK: f64 = 0.9;

/// Reads a diff of some files; `None` where its text is not known.
pub(super) fn effect(files: &[String], diff: Option<&str>) -> Effect {
    let lower: Vec<String> = files.iter().map(|f| f.to_lowercase()).collect();
    let plain = |strength, why: &str| Effect { strength, why: why.into(), words: BTreeSet::new() };
    let idle = |f: &String| {
        IDLE_FILES.iter().any(|e| f.ends_with(e)) || IDLE_FOLDERS.iter().any(|p| f.contains(p))
    };
    if !lower.is_empty() && lower.iter().all(idle) {
        return plain(IDLE, "no program runs what it touches");
    }
    let Some(diff) = diff else { return plain(UNKNOWN, "what it changes is not known") };
    let sides = Sides::read(diff);
    let manifest = |f: &String| MANIFESTS.contains(&f.rsplit('/').next().unwrap_or(f));
    if !lower.is_empty() && lower.iter().all(manifest) {
        let (strength, why) = sides.version_step();
        return Effect { strength, why: why.into(), words: sides.words() };
    }
    sides.effect()
}

/// A statement's words, numbers and strings.
#[derive(Clone, Debug, Default)]
struct Statement {
    names: Vec<String>,
    /// Numbers by the name before them, in base units.
    numbers: Vec<(String, f64)>,
    literals: Vec<String>,
}

/// What a diff removes and adds, without what only tells.
#[derive(Debug, Default)]
struct Sides {
    removed: Vec<Statement>,
    added: Vec<Statement>,
    kept: BTreeSet<String>,
    told: bool,
}

impl Sides {
    fn read(diff: &str) -> Self {
        let mut sides = Self::default();
        // Open brackets of a statement that only tells, on each side.
        let mut open = [0_usize; 2];
        for line in diff.lines().filter(|l| !l.starts_with("+++") && !l.starts_with("---")) {
            let (side, text) = match line.split_at_checked(1) {
                Some(("-", text)) => (0, text.trim()),
                Some(("+", text)) => (1, text.trim()),
                _ => {
                    sides.kept.extend(statement(line).names);
                    continue;
                }
            };
            if text.is_empty() || is_comment(text) {
                continue;
            }
            let lower = text.to_lowercase();
            if open[side] > 0 || TELLING.iter().any(|t| lower.starts_with(t)) {
                let count = |c: char| text.chars().filter(|found| *found == c).count();
                open[side] = (open[side] + count('(')).saturating_sub(count(')'));
                sides.told = true;
                continue;
            }
            let into = if side == 0 { &mut sides.removed } else { &mut sides.added };
            into.push(statement(text));
        }
        sides
    }

    fn names(statements: &[Statement]) -> BTreeMap<&str, i64> {
        let mut counts = BTreeMap::new();
        for name in statements.iter().flat_map(|s| s.names.iter().chain(&s.literals)) {
            *counts.entry(name.as_str()).or_default() += 1;
        }
        counts
    }

    /// Names and strings that are on one side only.
    fn gone_and_new(&self) -> (Vec<&str>, Vec<&str>) {
        let (removed, added) = (Self::names(&self.removed), Self::names(&self.added));
        let kept = |name: &&str| self.kept.contains(*name);
        let gone = removed.keys().filter(|n| !added.contains_key(*n) && !kept(n)).copied();
        let new = added.keys().filter(|n| !removed.contains_key(*n) && !kept(n)).copied();
        (gone.collect(), new.collect())
    }

    fn words(&self) -> BTreeSet<String> {
        let (gone, new) = self.gone_and_new();
        let mut found: BTreeSet<String> = gone.iter().chain(&new).flat_map(|n| words(n)).collect();
        for value in self.values() {
            found.extend(value.words);
        }
        found
    }

    fn effect(&self) -> Effect {
        let (gone, new) = self.gone_and_new();
        let values = self.values();
        let of = |strength, why: String| Effect { strength, why, words: self.words() };
        if let Some(value) = values.iter().max_by(|a, b| a.harm.total_cmp(&b.harm))
            && (value.harm > REWRITTEN || gone.is_empty())
        {
            return of(value.harm, value.why.clone());
        }
        if self.removed.is_empty() {
            return match (self.added.is_empty(), self.told) {
                (true, true) => of(TELLS_MORE, "it only tells more or less".into()),
                (true, false) => of(IDLE, "it changes no statement".into()),
                (false, _) => of(ADDED, "it only adds".into()),
            };
        }
        let all = Self::names(&self.removed).len().max(1) as f64;
        if 1.0 - gone.len() as f64 / all >= COMES_BACK && !new.iter().any(|n| is_literal(n)) {
            return of(MOVED, "what it removes comes back elsewhere".into());
        }
        if gone.iter().any(|n| is_literal(n)) && new.iter().any(|n| is_literal(n)) {
            return of(RENAMED, format!("{} gives way to {}", some(&gone, true), some(&new, true)));
        }
        if new.is_empty() {
            return of(
                TAKEN_AWAY,
                format!("{} goes, with nothing in its place", some(&gone, false)),
            );
        }
        if self.added.iter().map(|s| s.literals.len() + s.numbers.len()).sum::<usize>() == 0
            && new.len() <= 2
        {
            return of(BEHIND_A_CALL, format!("statements give way to {}", some(&new, false)));
        }
        of(REWRITTEN, "it is written anew".into())
    }

    /// How far the versions of a list of dependencies go.
    fn version_step(&self) -> (f64, &'static str) {
        const MAJOR: f64 = 0.3;
        const MINOR: f64 = 0.15;
        const PATCH: f64 = 0.05;
        let versions = |statements: &[Statement]| -> Vec<Vec<u64>> {
            statements.iter().flat_map(|s| s.literals.iter().filter_map(|l| version(l))).collect()
        };
        let (old, new) = (versions(&self.removed), versions(&self.added));
        let step = |a: &Vec<u64>, b: &Vec<u64>| a.iter().zip(b).position(|(a, b)| a != b);
        match old.iter().zip(&new).filter_map(|(a, b)| step(a, b)).min() {
            Some(0) => (MAJOR, "a dependency goes up a major version"),
            Some(1) => (MINOR, "a dependency goes up a minor version"),
            _ => (PATCH, "a dependency goes up a patch version"),
        }
    }

    /// Numbers that differ between a removed statement and the added one most like it.
    fn values(&self) -> Vec<Value> {
        const ALIKE: f64 = 0.4;
        let mut found = Vec::new();
        for old in self.removed.iter().filter(|s| !s.numbers.is_empty()) {
            let like = |s: &&Statement| alike(old, s);
            let best = self.added.iter().max_by(|a, b| like(a).total_cmp(&like(b)));
            let Some(new) = best.filter(|s| alike(old, s) >= ALIKE) else { continue };
            for (at, (name, before)) in old.numbers.iter().enumerate() {
                let nth = old.numbers[..at].iter().filter(|(n, _)| n == name).count();
                let same = new.numbers.iter().filter(|(n, _)| n == name).nth(nth);
                let differs = same.filter(|(_, after)| after.total_cmp(before).is_ne());
                found.extend(differs.map(|(_, after)| Value::new(old, name, *before, *after)));
            }
        }
        found
    }
}

/// A number that changed.
struct Value {
    harm: f64,
    why: String,
    words: BTreeSet<String>,
}

impl Value {
    fn new(statement: &Statement, name: &str, before: f64, after: f64) -> Self {
        let words: BTreeSet<String> = statement.names.iter().flat_map(|n| words(n)).collect();
        let bound = words.iter().any(|w| BOUNDS.iter().any(|b| w.starts_with(b)));
        let harm = match (bound, after < before) {
            (true, true) => SHRUNK,
            (true, false) => GREW,
            (false, _) => OTHER_VALUE,
        };
        let why = format!("{name} goes from {before} to {after}");
        Self { harm, why, words }
    }
}

fn alike(a: &Statement, b: &Statement) -> f64 {
    let (a, b): (BTreeSet<_>, BTreeSet<_>) = (a.names.iter().collect(), b.names.iter().collect());
    a.intersection(&b).count() as f64 / a.union(&b).count().max(1) as f64
}

/// The first of some names, strings before others where they are asked for.
fn some(names: &[&str], literals: bool) -> String {
    let chosen = names.iter().find(|n| is_literal(n) == literals).or(names.first());
    chosen.map_or_else(String::new, |n| (*n).to_owned())
}

fn is_literal(name: &str) -> bool {
    name.starts_with('"')
}

fn is_comment(text: &str) -> bool {
    ["//", "/*", "*", "# ", "-- ", "<!--"].iter().any(|mark| text.starts_with(mark))
}

/// `1.2.3` of `v1.2.3`.
fn version(text: &str) -> Option<Vec<u64>> {
    let text = text.trim_matches('"').trim_start_matches(['v', '^', '~', '=']);
    let parts: Vec<u64> = text.split('.').map_while(|p| p.parse().ok()).collect();
    (parts.len() >= 2).then_some(parts)
}

/// Cuts a line into names, numbers with their unit, and strings (kept in quotes;
/// versions count as strings).
fn statement(line: &str) -> Statement {
    let mut out = Statement::default();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        if matches!(first, '"' | '\'' | '`') {
            let body = &rest[1..];
            let end = body.find(first).unwrap_or(body.len());
            out.literals.push(format!("\"{}\"", &body[..end]));
            rest = body.get(end + 1..).unwrap_or("");
            continue;
        }
        let length = |of: fn(char) -> bool| rest.find(|c| !of(c)).unwrap_or(rest.len());
        if first.is_ascii_digit() || is_version(rest) {
            let token = &rest[..length(|c| c.is_alphanumeric() || c == '.' || c == '_')];
            rest = &rest[token.len()..];
            if version(token).is_some_and(|v| v.len() >= 3) {
                out.literals.push(format!("\"{token}\""));
            } else if let Some((value, after)) = number(token, rest) {
                rest = after;
                let name = out.names.last().cloned().unwrap_or_default();
                out.numbers.push((name, value));
            }
        } else if first.is_alphabetic() || first == '_' {
            let token = &rest[..length(|c| c.is_alphanumeric() || c == '_')];
            rest = &rest[token.len()..];
            out.names.push(token.to_owned());
        } else {
            rest = &rest[first.len_utf8()..];
        }
    }
    out
}

fn is_version(text: &str) -> bool {
    let digits = text.strip_prefix('v');
    digits.is_some_and(|d| d.starts_with(|c: char| c.is_ascii_digit()) && d.contains('.'))
}

/// Units by the letters that begin them, in seconds or plain multiples.
const UNITS: [(&str, f64); 12] = [
    ("Millisecond", 1e-3),
    ("Microsecond", 1e-6),
    ("Nanosecond", 1e-9),
    ("Second", 1.0),
    ("Minute", 60.0),
    ("Hour", 3600.0),
    ("ms", 1e-3),
    ("Gi", 1e9),
    ("Mi", 1e6),
    ("Ki", 1e3),
    ("s", 1.0),
    ("m", 60.0),
];

/// A number with its unit, which may follow as `* time.Second`; and what is left.
fn number<'a>(token: &str, rest: &'a str) -> Option<(f64, &'a str)> {
    let digits = token.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_'));
    let (digits, unit) = token.split_at(digits.unwrap_or(token.len()));
    let value: f64 = digits.replace('_', "").trim_end_matches('.').parse().ok()?;
    let times = |unit: &str| UNITS.iter().find(|(u, _)| unit.starts_with(u)).map(|(_, by)| *by);
    let after = rest.trim_start().strip_prefix('*').map(str::trim_start);
    let following = after.and_then(|after| {
        let after = after.strip_prefix("time.").unwrap_or(after);
        let end = after.find(|c: char| !c.is_alphanumeric()).unwrap_or(after.len());
        let by = UNITS.iter().find(|(unit, _)| *unit == &after[..end])?;
        Some((value * by.1, &after[end..]))
    });
    following.or_else(|| Some((value * times(unit).unwrap_or(1.0), rest)))
}

#[cfg(test)]
mod tests;
