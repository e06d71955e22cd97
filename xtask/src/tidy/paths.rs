//! No path of a developer's machine in a tracked file.

use super::{SourceFile, line_of};

/// Folders that exist on one machine only. Written in parts, so that this file
/// keeps its own rule.
const PERSONAL: [&str; 4] =
    [concat!("/", "work/"), concat!("/", "root/"), concat!("/", "home/"), concat!("/", "Users/")];

/// Temporary files are fine when they carry the project's name.
const TEMPORARY: &str = concat!("/", "tmp/");
const OUR_PREFIX: &str = "taproot";

/// People who appear in made-up log lines and examples.
const MADE_UP: [&str; 4] = ["alice", "ann", "bob", "user"];

/// Where such paths are part of what was recorded, with the reason.
const EXEMPT: [(&str, &str); 4] = [
    ("/tests/fixtures/", "recorded on other machines"),
    ("/tests/data/", "recorded on other machines"),
    ("/testdata/", "recorded on other machines"),
    ("Cargo.lock", "written by cargo"),
];

/// One line for every such path.
pub(super) fn check(file: &SourceFile) -> Vec<String> {
    if EXEMPT.iter().any(|(part, _why)| format!("/{}", file.path).contains(part)) {
        return Vec::new();
    }
    let personal = PERSONAL.iter().flat_map(|prefix| {
        let made_up = |at: &usize| {
            let rest = &file.text[at + prefix.len()..];
            let name = rest.split(|c: char| !c.is_alphanumeric()).next();
            name.is_some_and(|name| MADE_UP.contains(&name))
        };
        starts(&file.text, prefix).filter(move |at| !made_up(at))
    });
    let temporary = starts(&file.text, TEMPORARY).filter(|at| {
        let name = &file.text[at + TEMPORARY.len()..];
        !name.starts_with(OUR_PREFIX) && name.starts_with(|c: char| c.is_ascii_alphanumeric())
    });
    personal
        .chain(temporary)
        .map(|at| {
            let line = line_of(&file.text, at);
            let path: String = file.text[at..].chars().take_while(|c| is_path(*c)).collect();
            format!("{}:{line}: {path} is a path of somebody's machine", file.path)
        })
        .collect()
}

/// Offsets where an absolute path with this prefix starts: not inside a longer
/// path, such as `/proc/1/root/`.
fn starts<'a>(text: &'a str, prefix: &'a str) -> impl Iterator<Item = usize> + 'a {
    text.match_indices(prefix).map(|(at, _)| at).filter(|at| {
        let before = text[..*at].chars().next_back();
        !before.is_some_and(|c| is_path(c) || matches!(c, '}' | ']' | '>' | '*'))
    })
}

fn is_path(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | '+' | '~')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(path: &str, text: &str) -> Vec<String> {
        check(&SourceFile { path: path.to_owned(), text: text.to_owned() })
    }

    #[test]
    fn personal_folders_are_reported_with_their_line() {
        for prefix in PERSONAL {
            let found = problems("docs/a.md", &format!("line\nsee `{prefix}me/x` there\n"));
            assert_eq!(found.len(), 1, "{prefix}");
            assert!(found[0].starts_with(&format!("docs/a.md:2: {prefix}me/x is")), "{}", found[0]);
        }
    }

    #[test]
    fn made_up_people_have_homes() {
        assert!(problems("a.rs", &format!("{0}ann/x {0}bob", PERSONAL[2])).is_empty());
        assert_eq!(problems("a.rs", &format!("{}anna/x", PERSONAL[2])).len(), 1);
    }

    #[test]
    fn temporary_files_need_the_projects_name() {
        assert_eq!(problems("a.sh", &format!("{TEMPORARY}scratch\n")).len(), 1);
        assert!(problems("a.sh", &format!("{TEMPORARY}taproot-x {TEMPORARY}$name\n")).is_empty());
    }

    #[test]
    fn longer_paths_are_not_meant() {
        let [work, root, ..] = PERSONAL;
        for (before, path, after) in [
            ("/proc/1", root, "etc"),
            ("/proc/{pid}", root, "etc"),
            ("a", work, "b"),
            ("<pid>", root, "x"),
        ] {
            let fine = format!("{before}{path}{after}");
            assert!(problems("a.rs", &fine).is_empty(), "{fine}");
        }
    }

    #[test]
    fn recorded_data_is_exempt() {
        let text = format!("{}x", PERSONAL[1]);
        assert!(problems("crates/kube/tests/data/pods.json", &text).is_empty());
        assert_eq!(problems("crates/kube/tests/pods.json", &text).len(), 1);
    }
}
