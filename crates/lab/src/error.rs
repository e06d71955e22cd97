//! What can go wrong in the lab, each with what to do about it.

use std::path::{Path, PathBuf};

/// Everything the lab's functions can fail with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Namespaces and cgroups need root.
    #[error("the lab needs root (it makes network namespaces and cgroups): run it with sudo")]
    NotRoot,
    /// A program the lab drives is not installed.
    #[error("`{tool}` is not installed: on Debian or Ubuntu, `apt-get install {package}`")]
    MissingTool {
        /// Program that was looked for.
        tool: String,
        /// Debian package that holds it.
        package: &'static str,
    },
    /// A program the lab drives refused.
    #[error("`{command}` failed: {stderr}")]
    Tool {
        /// Command line as it was run.
        command: String,
        /// What it said, trimmed.
        stderr: String,
    },
    /// A file operation failed.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was tried, in the infinitive ("read", "create").
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// The state file is not what this version writes.
    #[error("{} is not a lab state this version can read ({detail}): remove it with `lab down`", path.display())]
    State {
        /// The state file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// A lab of this name runs already.
    #[error("lab `{name}` is already up: `lab down` stops it, `--name` starts another beside it")]
    AlreadyUp {
        /// Name of the lab.
        name: String,
    },
    /// A fault needs a running process that is not there.
    #[error("the process of pod `{pod}` does not run: wait for its restart, or look at its log")]
    NoProcess {
        /// Whose process.
        pod: String,
    },
    /// There is no such lab.
    #[error("no lab is up in {}: start one with `lab up`", dir.display())]
    NotUp {
        /// State directory that was looked at.
        dir: PathBuf,
    },
    /// A name that would not survive in netns and cgroup names.
    #[error("`{name}` is no lab name: use 1 to 12 of a-z and 0-9")]
    BadName {
        /// The refused name.
        name: String,
    },
    /// No fault has this name.
    #[error("unknown fault `{name}`: did you mean `{nearest}`? There are: {all}")]
    UnknownFault {
        /// What was asked for.
        name: String,
        /// The known name with the fewest letters changed.
        nearest: String,
        /// All names, separated by commas.
        all: String,
    },
    /// A fault parameter is unknown or out of range.
    #[error("parameter {name}={value} of fault {fault}: {why}")]
    BadParameter {
        /// Fault the parameter was given to.
        fault: String,
        /// Parameter name.
        name: String,
        /// Given value.
        value: String,
        /// What would be accepted.
        why: String,
    },
    /// One fault at a time.
    #[error("fault `{active}` is active: clear it first (`lab fault clear`)")]
    FaultActive {
        /// The active fault's name.
        active: String,
    },
    /// The lab did not become ready, or did not go away, in time.
    #[error("{what} did not happen within {seconds} s; {hint}")]
    Timeout {
        /// What was waited for.
        what: String,
        /// How long.
        seconds: u64,
        /// Where to look.
        hint: String,
    },
    /// This kernel cannot do it.
    #[error("{what} is not possible on this kernel: {why}")]
    Unsupported {
        /// What was tried.
        what: String,
        /// What is missing.
        why: String,
    },
    /// The command line was wrong.
    #[error("{0}")]
    Usage(String),
}

/// Result with the lab's error.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An [`Error::Io`], for `map_err`.
    pub(crate) fn io(
        doing: &'static str,
        path: impl AsRef<Path>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Self::Io { doing, path, source }
    }
}
