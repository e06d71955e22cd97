//! Building the tests, and knowing what was built.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Scope;
use crate::command;

/// A test program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Binary {
    /// Package it belongs to.
    pub(super) package: String,
    /// Name of its target: the crate's, or that of the file in `tests/`.
    pub(super) target: String,
    /// Whether it comes from `tests/`.
    pub(super) integration: bool,
    /// The program.
    pub(super) path: PathBuf,
    /// Folder of the package's manifest: where cargo runs its tests.
    pub(super) folder: PathBuf,
}

impl Binary {
    /// How it is named in reports.
    pub(super) fn label(&self) -> String {
        if self.integration {
            format!("{} {}", self.package, self.target)
        } else {
            self.package.clone()
        }
    }

    /// A live test talks to the kernel; it is run alone, and in guests as well.
    pub(super) fn is_live(&self) -> bool {
        self.integration && self.target.starts_with("live_")
    }
}

/// What a build of all tests made.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Built {
    /// Test programs.
    pub(super) tests: Vec<Binary>,
    /// Ordinary programs, which tests may start (`CARGO_BIN_EXE_...`).
    pub(super) programs: Vec<PathBuf>,
}

/// Builds the tests of the chosen packages; `None` when that fails, after cargo has
/// said why.
pub(super) fn build(scope: &Scope) -> Result<Option<Built>> {
    let mut cargo = command::cargo()
        .args(["test", "--no-run", "--locked"])
        .args(scope.flags())
        // Libraries and programs included; a package need not have both.
        .arg("--tests")
        .arg("--message-format=json-render-diagnostics")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cargo test --no-run")?;
    let mut built = Built::default();
    for line in cargo.stdout.take().map(BufReader::new).into_iter().flat_map(BufReader::lines) {
        // Lines that are not JSON are what build scripts of old print.
        if let Ok(message) = serde_json::from_str(&line?) {
            built.take(&message);
        }
    }
    Ok(cargo.wait()?.success().then_some(built))
}

impl Built {
    fn take(&mut self, message: &Value) {
        let Some(path) = message["executable"].as_str().map(PathBuf::from) else { return };
        if message["profile"]["test"] != true {
            self.programs.push(path);
            return;
        }
        let manifest = PathBuf::from(message["manifest_path"].as_str().unwrap_or_default());
        let folder = manifest.parent().map(PathBuf::from).unwrap_or_default();
        let package = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        self.tests.push(Binary {
            package,
            target: message["target"]["name"].as_str().unwrap_or_default().to_owned(),
            integration: message["target"]["kind"][0] == "test",
            path,
            folder,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(messages: &[&str]) -> Built {
        let mut built = Built::default();
        for message in messages {
            built.take(&serde_json::from_str(message).expect("valid"));
        }
        built
    }

    #[test]
    fn tests_programs_and_libraries_are_told_apart() {
        let found = built(&[
            r#"{"reason":"compiler-artifact","executable":null,"profile":{"test":false}}"#,
            r#"{"executable":"/t/taproot","profile":{"test":false},"target":{"kind":["bin"]}}"#,
            r#"{"executable":"/t/live_http-1","manifest_path":"/p/crates/agent/Cargo.toml",
                "profile":{"test":true},"target":{"name":"live_http","kind":["test"]}}"#,
            r#"{"executable":"/t/live_lib-1","manifest_path":"/p/crates/live/Cargo.toml",
                "profile":{"test":true},"target":{"name":"live_lib","kind":["lib"]}}"#,
        ]);
        assert_eq!(found.programs, [PathBuf::from("/t/taproot")]);
        assert_eq!(found.tests.len(), 2);
        assert_eq!(found.tests[0].label(), "agent live_http");
        assert!(found.tests[0].is_live());
        assert!(!found.tests[1].is_live(), "unit tests are never live");
    }
}
