//! How a running pod is told to misbehave: one small file a pod, looked at
//! ten times a second. It survives restarts, so a leaking pod leaks again.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::state::write_json;

/// Whether a pod runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Run {
    /// As it should.
    #[default]
    Yes,
    /// The load generator runs, but sends nothing.
    Paused,
    /// The supervisor stops the container and does not start it again.
    Stopped,
}

/// How the name server answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dns {
    /// As it should.
    #[default]
    Answer,
    /// Every query with SERVFAIL.
    Servfail,
    /// No query.
    Silent,
}

/// What a pod is told. The default is good behaviour.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Control {
    /// Whether the pod runs at all.
    pub run: Run,
    /// Image to run instead of the pod's own, as a rollout brings it.
    pub image: Option<String>,
    /// Sleep before each answer, in milliseconds.
    pub answer_delay_ms: u64,
    /// File descriptors lost a second.
    pub leak_files_per_second: f64,
    /// Memory taken and never given back, in MiB a second.
    pub grow_mib_per_second: f64,
    /// Threads that burn CPU.
    pub burn_threads: u32,
    /// Of each burn cycle: milliseconds of burning.
    pub burn_on_ms: u64,
    /// Of each burn cycle: milliseconds of rest.
    pub burn_off_ms: u64,
    /// Of each cycle: milliseconds in which no connection is accepted.
    pub accept_pause_ms: u64,
    /// Of each cycle: milliseconds in which connections are accepted.
    pub accept_run_ms: u64,
    /// How DNS queries are answered.
    pub dns: Dns,
    /// Error lines a second.
    pub log_errors_per_second: f64,
    /// Share of requests answered with status 500, 0 to 1.
    pub error_share: f64,
}

impl Control {
    /// Whether this request of all is one to fail: spreads the wanted share evenly.
    pub(crate) fn fails(&self, number: u64) -> bool {
        let failures = |n: u64| (n as f64 * self.error_share).floor();
        self.error_share > 0.0 && failures(number + 1) > failures(number)
    }
}

/// Path of a pod's control file.
fn file(state_dir: &Path, pod: &str) -> PathBuf {
    state_dir.join("control").join(format!("{pod}.json"))
}

/// Writes a pod's control file.
pub(crate) fn write(state_dir: &Path, pod: &str, control: &Control) -> Result<()> {
    write_json(&file(state_dir, pod), control)
}

/// Reads a pod's control file.
pub(crate) fn read(state_dir: &Path, pod: &str) -> Result<Control> {
    let path = file(state_dir, pod);
    let text = std::fs::read(&path).map_err(Error::io("read", &path))?;
    serde_json::from_slice(&text).map_err(|e| Error::State { path, detail: e.to_string() })
}

/// A pod's view of its control file, kept fresh by a thread.
#[derive(Debug, Clone)]
pub(crate) struct Watch {
    current: Arc<RwLock<Control>>,
}

impl Watch {
    /// Begins to watch.
    pub(crate) fn start(state_dir: &Path, pod: &str) -> Result<Self> {
        let current = Arc::new(RwLock::new(read(state_dir, pod)?));
        let (dir, pod, shared) = (state_dir.to_path_buf(), pod.to_owned(), Arc::clone(&current));
        std::thread::spawn(move || follow(&dir, &pod, &shared));
        Ok(Self { current })
    }

    /// The control as last seen.
    pub(crate) fn get(&self) -> Control {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn follow(dir: &Path, pod: &str, shared: &RwLock<Control>) {
    let mut seen: Option<SystemTime> = None;
    loop {
        std::thread::sleep(Duration::from_millis(100));
        let modified = std::fs::metadata(file(dir, pod)).and_then(|m| m.modified()).ok();
        if modified == seen {
            continue;
        }
        seen = modified;
        // A pod whose file descriptors ran out cannot read it: it keeps what it has.
        if let Ok(control) = read(dir, pod) {
            *shared.write().unwrap_or_else(PoisonError::into_inner) = control;
        } else {
            seen = None;
        }
    }
}
