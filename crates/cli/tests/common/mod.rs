//! The program as a user runs it.

#![allow(dead_code, reason = "each test binary uses its own share")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The binary under test.
pub(crate) fn taproot(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_taproot"));
    command.args(args).stdin(Stdio::null());
    command
}

/// Runs it to its end.
pub(crate) fn run(args: &[&str]) -> Output {
    taproot(args).output().unwrap()
}

/// Standard output and error of a run, as text.
pub(crate) fn text(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// A lab of its own name, removed when dropped.
pub(crate) struct Shop {
    pub(crate) name: String,
}

impl Shop {
    /// Starts it. Says why not.
    pub(crate) fn up(name: &str, flags: &[&str]) -> Result<Self, String> {
        let mut args = vec!["lab", "up", "--name", name];
        args.extend(flags);
        let shop = Self { name: name.to_owned() };
        let output = run(&args);
        if output.status.success() { Ok(shop) } else { Err(text(&output).1) }
    }

    /// Its truth.
    pub(crate) fn truth(&self) -> taproot_lab::state::Lab {
        taproot_lab::state::Lab::load(&self.dir()).unwrap()
    }

    pub(crate) fn dir(&self) -> std::path::PathBuf {
        taproot_lab::default_state_dir(&self.name).unwrap()
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        let _ = run(&["lab", "down", "--name", &self.name]);
    }
}

/// A running taproot, ended when dropped.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    pub(crate) fn start(args: &[&str], stdout: Stdio) -> Self {
        Self(taproot(args).stdout(stdout).stderr(Stdio::null()).spawn().unwrap())
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// Waits for its end. Panics when it does not come.
    pub(crate) fn wait(&mut self, limit: Duration) -> std::process::ExitStatus {
        let end = Instant::now() + limit;
        while Instant::now() < end {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("taproot did not end within {limit:?}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Names of loaded BPF programs that are ours.
pub(crate) fn our_programs() -> Vec<String> {
    const OURS: [&str; 5] = ["http_egress", "http_ingress", "on_switch", "on_sys_exit", "on_state"];
    libbpf_rs::query::ProgInfoIter::default()
        .filter_map(|info| info.name.into_string().ok())
        .filter(|name| OURS.contains(&name.as_str()))
        .collect()
}

/// Waits until something is true.
pub(crate) fn eventually(limit: Duration, what: &str, mut is: impl FnMut() -> bool) {
    let end = Instant::now() + limit;
    while !is() {
        assert!(Instant::now() < end, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Whether a path exists.
pub(crate) fn exists(path: impl AsRef<Path>) -> bool {
    path.as_ref().exists()
}
