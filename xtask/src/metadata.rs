//! What `cargo metadata` says about the workspace, reduced to what the tasks ask.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::command;

/// One package, ours or a dependency.
#[derive(Debug, Clone, Default)]
pub(crate) struct Package {
    /// Name in its manifest.
    pub(crate) name: String,
    /// Version, as text.
    pub(crate) version: String,
    /// SPDX expression, where the manifest gives one.
    pub(crate) license: Option<String>,
    /// Whether it belongs to this workspace.
    pub(crate) ours: bool,
    /// What it depends on, with the kind: "normal", "dev" or "build".
    pub(crate) dependencies: Vec<(String, String)>,
}

/// All packages that a build on this platform can reach, with the lock file's versions.
pub(crate) fn packages() -> Result<Vec<Package>> {
    let json = command::output(command::cargo().args([
        "metadata",
        "--format-version=1",
        "--locked",
        "--filter-platform=x86_64-unknown-linux-gnu",
    ]))?;
    parse(&json)
}

fn parse(json: &str) -> Result<Vec<Package>> {
    let metadata: Value = serde_json::from_str(json).context("output of cargo metadata")?;
    let members: Vec<&str> = strings(&metadata["workspace_members"]).collect();
    let reachable: Vec<&str> =
        array(&metadata["resolve"]["nodes"]).filter_map(|node| node["id"].as_str()).collect();
    let packages = array(&metadata["packages"])
        .filter(|package| package["id"].as_str().is_some_and(|id| reachable.contains(&id)));
    packages.map(|package| parse_package(package, &members)).collect()
}

fn parse_package(package: &Value, members: &[&str]) -> Result<Package> {
    let text = |key: &str| package[key].as_str().map(str::to_owned);
    Ok(Package {
        name: text("name").context("package without a name")?,
        version: text("version").unwrap_or_default(),
        license: text("license"),
        ours: package["id"].as_str().is_some_and(|id| members.contains(&id)),
        dependencies: array(&package["dependencies"]).filter_map(dependency).collect(),
    })
}

fn dependency(value: &Value) -> Option<(String, String)> {
    let kind = value["kind"].as_str().unwrap_or("normal");
    Some((value["name"].as_str()?.to_owned(), kind.to_owned()))
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn strings(value: &Value) -> impl Iterator<Item = &str> {
    array(value).filter_map(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_of_other_platforms_are_left_out() {
        let json = r#"{
            "workspace_members": ["a 1"],
            "resolve": {"nodes": [{"id": "a 1"}]},
            "packages": [
                {"id": "a 1", "name": "a", "version": "1", "license": "MIT",
                 "dependencies": [{"name": "b", "kind": null}, {"name": "c", "kind": "dev"}]},
                {"id": "win 1", "name": "win", "version": "1"}
            ]}"#;
        let found = parse(json).expect("valid");
        assert_eq!(found.len(), 1);
        assert!(found[0].ours);
        assert_eq!(
            found[0].dependencies,
            [("b".to_owned(), "normal".to_owned()), ("c".to_owned(), "dev".to_owned())]
        );
    }

    #[test]
    fn broken_output_is_an_error() {
        assert!(parse("{").is_err());
        assert!(parse(r#"{"resolve":{"nodes":[{"id":"x"}]},"packages":[{"id":"x"}]}"#).is_err());
    }
}
