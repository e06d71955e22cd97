//! Rules about single source files: length, headers, `unsafe`.

use super::{SourceFile, line_of};

/// Longest file that can still be taken in, in lines.
const MAX_LINES: usize = 500;

/// Kinds of files that people write and read.
const WRITTEN: [&str; 9] = ["rs", "c", "h", "js", "ts", "svelte", "css", "sh", "py"];

/// Files that may be longer or break a rule, each with the reason.
const GENERATED: [(&str, &str); 1] = [("ui/dist/", "built by Vite, checked in")];

/// The one crate that talks to the kernel in raw memory.
const UNSAFE_HOME: &str = "crates/probes/";

/// No file is longer than [`MAX_LINES`].
pub(super) fn length(file: &SourceFile) -> Vec<String> {
    let lines = file.text.lines().count();
    let generated = GENERATED.iter().any(|(prefix, _why)| file.path.starts_with(prefix));
    if generated || !WRITTEN.contains(&file.extension()) || lines <= MAX_LINES {
        return Vec::new();
    }
    vec![format!("{}: {lines} lines, more than {MAX_LINES}: split it by concern", file.path)]
}

/// The root of a crate says what the crate is for and forbids `unsafe`.
pub(super) fn crate_header(file: &SourceFile) -> Vec<String> {
    if !is_crate_root(&file.path) {
        return Vec::new();
    }
    let mut problems = Vec::new();
    if !file.text.starts_with("//!") {
        problems.push(format!("{}: begin with `//!` lines that say what it is for", file.path));
    }
    let unsafe_home = file.path.starts_with(UNSAFE_HOME);
    if !unsafe_home && !file.text.contains("#![forbid(unsafe_code)]") {
        problems.push(format!("{}: add #![forbid(unsafe_code)]", file.path));
    }
    problems
}

/// No `unsafe` outside its home, not even in tests and build scripts, which the
/// attribute in the crate's root does not reach.
pub(super) fn unsafe_code(file: &SourceFile) -> Vec<String> {
    if !file.is_rust() || file.path.starts_with(UNSAFE_HOME) {
        return Vec::new();
    }
    let code = code_only(&file.text);
    let words = code.match_indices("unsafe").filter(|(at, word)| is_word(&code, *at, word.len()));
    words
        .map(|(at, _)| {
            format!("{}:{}: `unsafe` outside {UNSAFE_HOME}", file.path, line_of(&code, at))
        })
        .collect()
}

/// Every manifest takes the workspace's lints.
pub(super) fn manifest_lints(file: &SourceFile) -> Vec<String> {
    let is_ours = file.path == "xtask/Cargo.toml"
        || (file.path.starts_with("crates/") && file.path.ends_with("/Cargo.toml"));
    if !is_ours || file.text.contains("[lints]\nworkspace = true") {
        return Vec::new();
    }
    vec![format!("{}: add `[lints]` with `workspace = true`", file.path)]
}

fn is_crate_root(path: &str) -> bool {
    (path.starts_with("crates/") || path.starts_with("xtask/"))
        && (path.ends_with("/src/lib.rs") || path.ends_with("/src/main.rs"))
}

fn is_word(text: &str, at: usize, length: usize) -> bool {
    let letter = |c: char| c.is_alphanumeric() || c == '_';
    !text[..at].chars().next_back().is_some_and(letter)
        && !text[at + length..].chars().next().is_some_and(letter)
}

/// Rust source with the inside of comments and string literals blanked, lines
/// kept. Good enough to find keywords; not a Rust parser.
pub(super) fn code_only(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let length = skipped(rest);
        if length == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            code.extend(rest[..length].chars().filter(|c| *c == '\n'));
            code.push(' ');
            rest = &rest[length..];
        }
    }
    code
}

/// Length of the comment or literal that starts here; zero where code goes on.
fn skipped(rest: &str) -> usize {
    let up_to = |end: &str, from: usize| rest[from..].find(end).map_or(rest.len(), |at| from + at);
    if rest.starts_with("//") {
        up_to("\n", 0)
    } else if rest.starts_with("/*") {
        (up_to("*/", 2) + 2).min(rest.len())
    } else if rest.starts_with('"') {
        string_length(rest)
    } else if let Some(hashes) = raw_string_hashes(rest) {
        let close = format!("\"{}", "#".repeat(hashes));
        (up_to(&close, hashes + 2) + close.len()).min(rest.len())
    } else if rest.starts_with("'\"'") || rest.starts_with("'\\\"'") {
        up_to("'", 1) + 1
    } else {
        0
    }
}

fn string_length(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// The number of `#` when a raw string (`r"`, `r#"`...) starts here.
fn raw_string_hashes(rest: &str) -> Option<usize> {
    let after = rest.strip_prefix('r')?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    after[hashes..].starts_with('"').then_some(hashes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> SourceFile {
        SourceFile { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn long_files_are_reported_unless_generated() {
        let long = "x\n".repeat(MAX_LINES + 1);
        assert_eq!(length(&file("crates/a/src/b.rs", &long)).len(), 1);
        assert_eq!(length(&file("crates/a/src/b.bpf.c", &long)).len(), 1);
        assert!(length(&file("crates/a/src/b.rs", &"x\n".repeat(MAX_LINES))).is_empty());
        assert!(length(&file("ui/dist/app.js", &long)).is_empty());
        assert!(length(&file("tests/data/a.json", &long)).is_empty());
    }

    #[test]
    fn a_crate_root_needs_its_header() {
        let good = "//! What it is.\n#![forbid(unsafe_code)]\n";
        assert!(crate_header(&file("crates/a/src/lib.rs", good)).is_empty());
        assert_eq!(crate_header(&file("crates/a/src/lib.rs", "fn x() {}\n")).len(), 2);
        assert!(crate_header(&file("crates/probes/src/lib.rs", "//! Raw.\n")).is_empty());
        assert!(crate_header(&file("crates/a/src/b.rs", "fn x() {}\n")).is_empty());
    }

    #[test]
    fn unsafe_is_found_in_code_alone() {
        let hit = unsafe_code(&file("crates/a/build.rs", "fn x() {\n    unsafe { y() }\n}\n"));
        assert_eq!(hit, ["crates/a/build.rs:2: `unsafe` outside crates/probes/"]);
        let fine = "// unsafe\n/* unsafe */ fn unsafe_name() { let a = \"unsafe\"; let b = r#\"unsafe\"#; }";
        assert!(unsafe_code(&file("crates/a/src/b.rs", fine)).is_empty());
        assert!(unsafe_code(&file("crates/probes/src/b.rs", "unsafe {}")).is_empty());
    }

    #[test]
    fn a_quote_in_a_character_opens_no_string() {
        let source = "let q = '\"'; unsafe { } let r = '\\\"';";
        assert_eq!(unsafe_code(&file("crates/a/src/b.rs", source)).len(), 1);
    }

    #[test]
    fn blanking_keeps_lines() {
        let source = "a /* x\ny */ b\n\"s\nt\" c";
        assert_eq!(code_only(source).lines().count(), source.lines().count());
        assert!(!code_only(source).contains('y'));
    }

    #[test]
    fn a_manifest_without_the_lints_is_reported() {
        assert_eq!(manifest_lints(&file("crates/a/Cargo.toml", "[package]\n")).len(), 1);
        let good = "[package]\n\n[lints]\nworkspace = true\n";
        assert!(manifest_lints(&file("crates/a/Cargo.toml", good)).is_empty());
        assert!(manifest_lints(&file("fuzz/Cargo.toml", "[package]\n")).is_empty());
    }
}
