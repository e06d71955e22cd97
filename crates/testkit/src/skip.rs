//! Naming the test that skips, and writing it down.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

/// Environment variable with the file to which skipped tests are appended, one
/// line each: test name, tab, reason.
pub const SKIP_LOG_VAR: &str = "TAPROOT_SKIP_LOG";

/// Records that the named test is skipped, and why.
///
/// # Panics
/// When the log cannot be written: a skip that nobody sees would count as a pass.
pub fn announce(name: &str, why: &str) {
    println!("SKIPPED {name}: {why}");
    if let Some(log) = std::env::var_os(SKIP_LOG_VAR) {
        let written = append(Path::new(&log), name, why);
        assert!(written.is_ok(), "cannot write {SKIP_LOG_VAR} {}: {written:?}", log.display());
    }
}

/// The name under which libtest knows the function that a probe item is nested
/// in: its path without the crate, and without closures.
///
/// The thread's name would not do: with `--test-threads=1` every test runs on
/// the thread "main".
pub fn test_name<T>(_probe: T) -> &'static str {
    let path = std::any::type_name::<T>();
    let path = path.strip_suffix("::here").unwrap_or(path);
    let path = path.split("::{{closure}}").next().unwrap_or(path);
    path.split_once("::").map_or(path, |(_crate, rest)| rest)
}

/// One `write` of one whole line, so that concurrent tests do not mix theirs.
fn append(log: &Path, name: &str, why: &str) -> io::Result<()> {
    let why = why.replace(['\n', '\r', '\t'], " ");
    let line = format!("{name}\t{why}\n");
    OpenOptions::new().create(true).append(true).open(log)?.write_all(line.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_a_test_as_libtest_does() {
        fn here() {}
        assert_eq!(test_name(here), "skip::tests::names_a_test_as_libtest_does");
        let in_closure = || {
            fn here() {}
            test_name(here)
        };
        assert_eq!(in_closure(), "skip::tests::names_a_test_as_libtest_does");
    }

    #[test]
    fn a_reason_stays_on_one_line() {
        let log = std::env::temp_dir().join(format!("taproot-skip-{}", std::process::id()));
        let written = append(&log, "a::b", "no\nway\tout").and_then(|()| append(&log, "c", "why"));
        let text = std::fs::read_to_string(&log);
        std::fs::remove_file(&log).expect("the log was written");
        written.expect("the temporary folder is writable");
        assert_eq!(text.expect("readable"), "a::b\tno way out\nc\twhy\n");
    }
}
