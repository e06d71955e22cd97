//! Nothing left open, nothing left over from debugging.

use super::source::code_only;
use super::{SourceFile, line_of};

/// Marks of unfinished work. Written in parts, so that this file keeps its rule.
const OPEN: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:")];

/// Macros that must not be checked in.
const LEFTOVER: [&str; 3] =
    [concat!("dbg", "!("), concat!("todo", "!("), concat!("unimplemented", "!(")];

/// Kinds of files that the rule holds for.
const KINDS: [&str; 8] = ["rs", "c", "h", "js", "ts", "svelte", "sh", "toml"];

/// One line for every such word.
pub(super) fn check(file: &SourceFile) -> Vec<String> {
    if !KINDS.contains(&file.extension()) || file.path.starts_with("ui/dist/") {
        return Vec::new();
    }
    let code = if file.is_rust() { code_only(&file.text) } else { String::new() };
    let open = OPEN.iter().flat_map(|word| hits(file, &file.text, word, "is left open"));
    let left = LEFTOVER.iter().flat_map(|word| hits(file, &code, word, "is left over"));
    open.chain(left).collect()
}

fn hits(file: &SourceFile, text: &str, word: &str, what: &str) -> Vec<String> {
    let found = text.match_indices(word);
    found.map(|(at, _)| format!("{}:{}: {word} {what}", file.path, line_of(text, at))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(path: &str, text: &str) -> usize {
        check(&SourceFile { path: path.to_owned(), text: text.to_owned() }).len()
    }

    #[test]
    fn open_work_is_reported_in_comments_too() {
        for word in OPEN {
            assert_eq!(problems("crates/a/src/b.rs", &format!("// {word} later\n")), 1, "{word}");
            assert_eq!(problems("crates/a/src/b.bpf.c", &format!("/* {word} */\n")), 1, "{word}");
        }
    }

    #[test]
    fn leftover_macros_are_reported_in_code_only() {
        for word in LEFTOVER {
            assert_eq!(problems("a.rs", &format!("fn x() {{ {word}1); }}\n")), 1, "{word}");
            assert_eq!(problems("a.rs", &format!("// {word}\n")), 0, "{word}");
        }
    }

    #[test]
    fn prose_and_built_pages_are_not_meant() {
        assert_eq!(problems("docs/a.md", OPEN[0]), 0);
        assert_eq!(problems("ui/dist/app.js", OPEN[0]), 0);
    }
}
