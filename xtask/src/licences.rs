//! Licences of all dependencies against the allow-list in `deny.toml`.
//!
//! `cargo deny check licenses` answers the same question and reads the same
//! list, but takes minutes to build; this needs nothing but cargo.

use std::fs;
use std::process::ExitCode;

use anyhow::{Context, Result};
use toml::Table;

use crate::command;
use crate::metadata::{self, Package};
use crate::spdx;

/// `cargo xtask licences`.
pub(crate) fn main() -> Result<ExitCode> {
    let problems = check()?;
    for problem in &problems {
        println!("{problem}");
    }
    println!("licences: {} problem(s)", problems.len());
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One line for every dependency whose licence is not allowed.
pub(crate) fn check() -> Result<Vec<String>> {
    let text = fs::read_to_string(command::root().join("deny.toml")).context("deny.toml")?;
    let policy = Policy::parse(&text)?;
    Ok(metadata::packages()?.iter().filter_map(|package| policy.complaint(package)).collect())
}

/// The `[licenses]` table of `deny.toml`.
#[derive(Debug, Default)]
struct Policy {
    allowed: Vec<String>,
    /// Licences allowed for one crate only.
    exceptions: Vec<(String, Vec<String>)>,
}

impl Policy {
    fn parse(text: &str) -> Result<Self> {
        let table: Table = text.parse().context("deny.toml")?;
        let licenses = table.get("licenses").and_then(|value| value.as_table());
        let licenses = licenses.context("deny.toml has no [licenses] table")?;
        let exceptions = licenses.get("exceptions").and_then(|value| value.as_array());
        Ok(Self {
            allowed: names(licenses, "allow"),
            exceptions: exceptions
                .into_iter()
                .flatten()
                .filter_map(|exception| exception.as_table())
                .filter_map(|table| {
                    Some((table.get("crate")?.as_str()?.to_owned(), names(table, "allow")))
                })
                .collect(),
        })
    }

    /// Why a package may not be used, if so.
    fn complaint(&self, package: &Package) -> Option<String> {
        let name = format!("{} {}", package.name, package.version);
        let Some(license) = &package.license else {
            return Some(format!("{name}: names no licence"));
        };
        let allowed = |wanted: &str| {
            let of_crate = self.exceptions.iter().filter(|(name, _)| *name == package.name);
            let mut all = self.allowed.iter().chain(of_crate.flat_map(|(_, names)| names));
            all.any(|name| name == wanted)
        };
        match spdx::satisfied(license, &allowed) {
            Ok(true) => None,
            Ok(false) => Some(format!("{name}: {license} is not allowed by deny.toml")),
            Err(error) => Some(format!("{name}: {license}: {error}")),
        }
    }
}

fn names(table: &Table, key: &str) -> Vec<String> {
    let list = table.get(key).and_then(|value| value.as_array());
    list.into_iter().flatten().filter_map(|value| Some(value.as_str()?.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = r#"
        [licenses]
        allow = ["MIT"]
        exceptions = [{ crate = "ring", allow = ["ISC"] }]
    "#;

    fn complaint(name: &str, license: Option<&str>) -> Option<String> {
        let package = Package {
            name: name.to_owned(),
            version: "1".to_owned(),
            license: license.map(str::to_owned),
            ..Package::default()
        };
        Policy::parse(POLICY).expect("valid").complaint(&package)
    }

    #[test]
    fn an_allowed_licence_passes_and_another_does_not() {
        assert_eq!(complaint("a", Some("MIT OR GPL-3.0")), None);
        assert!(complaint("a", Some("GPL-3.0")).is_some_and(|text| text.contains("GPL-3.0")));
    }

    #[test]
    fn an_exception_holds_for_its_crate_only() {
        assert_eq!(complaint("ring", Some("MIT AND ISC")), None);
        assert!(complaint("other", Some("ISC")).is_some());
    }

    #[test]
    fn no_licence_is_a_problem() {
        assert!(complaint("a", None).is_some_and(|text| text.contains("names no licence")));
    }

    #[test]
    fn a_file_without_the_table_is_an_error() {
        assert!(Policy::parse("[bans]\n").is_err());
    }
}
