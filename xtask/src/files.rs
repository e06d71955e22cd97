//! Files of a folder, and the files that belong to the project.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::command;

/// Folders that hold no sources, for a checkout without git.
const NOT_SOURCES: [&str; 4] = ["target", ".git", "node_modules", ".cache"];

/// All files beneath a folder, sorted; links to files count, links to folders do not.
pub(crate) fn walk(folder: &Path) -> Result<Vec<PathBuf>> {
    walk_except(folder, &[])
}

/// Paths of the project's files relative to its root: what git tracks or would
/// add; without git, everything but build output.
pub(crate) fn of_project() -> Result<Vec<PathBuf>> {
    let root = command::root();
    // A container often runs as another user than the one who owns the checkout.
    let listing = command::output(
        Command::new("git")
            .args(["-c", "safe.directory=*", "ls-files", "-z"])
            .args(["--cached", "--others", "--exclude-standard"])
            .current_dir(&root),
    );
    match listing {
        Ok(listing) => Ok(listing
            .split_terminator('\0')
            .map(PathBuf::from)
            .filter(|path| root.join(path).is_file())
            .collect()),
        Err(_) => Ok(walk_except(&root, &NOT_SOURCES)?
            .iter()
            .filter_map(|path| Some(path.strip_prefix(&root).ok()?.to_path_buf()))
            .collect()),
    }
}

fn walk_except(folder: &Path, except: &[&str]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let entry = entry?;
            let kind = entry.file_type()?;
            let skipped = except.iter().any(|name| entry.file_name() == *name);
            if kind.is_dir() && !skipped {
                folders.push(entry.path());
            } else if entry.path().is_file() {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_project_holds_this_file_and_no_build_output() {
        let files = of_project().expect("a checkout");
        assert!(files.contains(&PathBuf::from("xtask/src/files.rs")));
        assert!(!files.iter().any(|path| path.starts_with("target")));
    }

    #[test]
    fn a_walk_leaves_out_named_folders() {
        let root = command::root();
        let all = walk_except(&root.join("xtask"), &["src"]).expect("readable");
        assert!(all.contains(&root.join("xtask/Cargo.toml")));
        assert!(!all.contains(&root.join("xtask/src/files.rs")));
    }
}
