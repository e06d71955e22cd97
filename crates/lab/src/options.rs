//! What a lab is started with, and the names that follow from its name.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Name of the lab when none is given.
pub const DEFAULT_NAME: &str = "default";

/// How the pods' programs are started: this very binary, executed again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Launcher {
    /// The binary.
    pub program: PathBuf,
    /// Words before the role: `["serve"]`, or `["lab", "serve"]` in `taproot`.
    pub prefix: Vec<String>,
}

impl Launcher {
    /// The running binary with the given words before the role.
    ///
    /// # Errors
    /// [`Error::Io`] when the kernel does not say which file is running.
    pub fn current(prefix: &[&str]) -> Result<Self> {
        let program = std::env::current_exe().map_err(Error::io("find", "/proc/self/exe"))?;
        Ok(Self::new(program, prefix))
    }

    /// A given binary with the given words before the role.
    pub fn new(program: impl Into<PathBuf>, prefix: &[&str]) -> Self {
        Self { program: program.into(), prefix: prefix.iter().map(ToString::to_string).collect() }
    }
}

/// What a lab is started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Name, 1 to 12 of a-z and 0-9; labs of different names run side by side.
    pub name: String,
    /// State directory; none gives [`Options::default_state_dir`].
    pub state_dir: Option<PathBuf>,
    /// How pods' programs are started.
    pub launcher: Launcher,
    /// Requests a second of the load generator; 0 sends none.
    pub requests_per_second: f64,
    /// CPU time the product service burns in a request, in microseconds.
    pub product_burn_us: u64,
    /// Use real nginx and redis where they are installed.
    pub real_servers: bool,
    /// Also the hairpin, host network and reused-address pods.
    pub extras: bool,
    /// First three bytes of the pods' subnet.
    pub pod_subnet: [u8; 3],
    /// First three bytes of the services' subnet.
    pub service_subnet: [u8; 3],
}

impl Options {
    /// The default lab with this launcher.
    pub fn new(launcher: Launcher) -> Self {
        Self {
            name: DEFAULT_NAME.into(),
            state_dir: None,
            launcher,
            requests_per_second: 50.0,
            product_burn_us: 2500,
            real_servers: true,
            extras: false,
            pod_subnet: [10, 244, 7],
            service_subnet: [10, 96, 0],
        }
    }

    /// Names that follow from the lab's name.
    ///
    /// # Errors
    /// [`Error::BadName`].
    pub(crate) fn names(&self) -> Result<Names> {
        Names::new(&self.name, self.state_dir.as_deref())
    }
}

/// Where the lab of this name keeps its state unless told otherwise.
///
/// # Errors
/// [`Error::BadName`].
pub fn default_state_dir(name: &str) -> Result<PathBuf> {
    Ok(Names::new(name, None)?.state_dir)
}

/// Names by which everything of one lab is found again, also after a crash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Names {
    /// Lab name.
    pub(crate) lab: String,
    /// Every netns of this lab, and of no other, begins so.
    pub(crate) netns_prefix: String,
    /// Cgroup of this lab in every hierarchy.
    pub(crate) cgroup_root: PathBuf,
    /// State directory.
    pub(crate) state_dir: PathBuf,
}

impl Names {
    /// Derives the names. A dot joins the name to the common stem, so that the
    /// default lab's `taproot-lab-` is never the beginning of another's.
    pub(crate) fn new(lab: &str, state_dir: Option<&Path>) -> Result<Self> {
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        if lab.is_empty() || lab.len() > 12 || !lab.chars().all(good) {
            return Err(Error::BadName { name: lab.into() });
        }
        let stem = match lab {
            DEFAULT_NAME => "taproot-lab".to_owned(),
            other => format!("taproot-lab.{other}"),
        };
        Ok(Self {
            lab: lab.into(),
            netns_prefix: format!("{stem}-"),
            cgroup_root: PathBuf::from(format!("/{stem}")),
            state_dir: state_dir.map_or_else(|| Path::new("/run").join(&stem), Path::to_path_buf),
        })
    }

    /// Netns of the node.
    pub(crate) fn node_netns(&self) -> String {
        self.netns("node")
    }

    /// Netns of a pod.
    pub(crate) fn netns(&self, pod: &str) -> String {
        format!("{}{pod}", self.netns_prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_lab_finds_another_labs_namespaces() {
        let one = Names::new("default", None).unwrap();
        let two = Names::new("two", None).unwrap();
        assert_eq!(one.netns("product"), "taproot-lab-product");
        assert!(!two.netns("product").starts_with(&one.netns_prefix));
        assert_eq!(two.state_dir, Path::new("/run/taproot-lab.two"));
    }

    #[test]
    fn names_that_would_break_paths_are_refused() {
        for name in ["", "a-b", "../x", "UP", "averyverylongname"] {
            assert!(matches!(Names::new(name, None), Err(Error::BadName { .. })), "{name}");
        }
    }
}
