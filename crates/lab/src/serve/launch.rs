//! The last steps before a container's program runs: join the cgroups, enter
//! the network namespace, set the limits, execute.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::net;

/// How a container's first process is started.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Launch {
    /// `cgroup.procs` of every hierarchy.
    pub(crate) join: Vec<PathBuf>,
    /// Name of the network namespace.
    pub(crate) netns: String,
    /// Soft and hard `RLIMIT_NOFILE`.
    pub(crate) files: u64,
    /// The one CPU to run on.
    pub(crate) cpu: Option<u32>,
    /// Program and arguments.
    pub(crate) argv: Vec<String>,
}

/// Becomes the program described in the file `spec`; returns only on failure.
pub(crate) fn run(spec: &Path) -> Result<()> {
    let text = fs::read(spec).map_err(Error::io("read", spec))?;
    let launch: Launch = serde_json::from_slice(&text)
        .map_err(|e| Error::State { path: spec.to_path_buf(), detail: e.to_string() })?;
    let pid = std::process::id().to_string();
    for file in &launch.join {
        fs::write(file, &pid).map_err(Error::io("join", file))?;
    }
    net::enter(&launch.netns)?;
    if let Some(cpu) = launch.cpu {
        let mut set = CpuSet::new();
        set.set(cpu as usize);
        sched_setaffinity(None, &set).map_err(|e| Error::io("pin to one CPU", spec)(e.into()))?;
    }
    let files = Rlimit { current: Some(launch.files), maximum: Some(launch.files) };
    setrlimit(Resource::Nofile, files)
        .map_err(|e| Error::io("limit the open files of", spec)(e.into()))?;
    let (program, args) = launch
        .argv
        .split_first()
        .ok_or_else(|| Error::Usage("a container needs a program".into()))?;
    let failed = Command::new(program).args(args).exec();
    Err(Error::io("execute", program)(failed))
}
