//! What the live tests share.
#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use taproot_lab::{Launcher, Options};
use taproot_testkit::guest_kernel;

/// A lab of this name, run by the lab's own binary.
pub(crate) fn options(name: &str) -> Options {
    let launcher = Launcher::new(env!("CARGO_BIN_EXE_taproot-labd"), &["serve"]);
    let mut options = Options { name: name.into(), ..Options::new(launcher) };
    options.requests_per_second = rate();
    if guest_kernel().is_some() {
        options.product_burn_us = 500;
    }
    options
}

/// Requests a second: an emulated machine manages few.
pub(crate) fn rate() -> f64 {
    if guest_kernel().is_some() { 5.0 } else { 50.0 }
}

/// `/proc/<pid>/<file>`.
pub(crate) fn pod_path(pid: i32, file: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{file}"))
}

/// Everything of the lab of this name that is left on the machine.
pub(crate) fn leftovers(name: &str) -> BTreeSet<PathBuf> {
    let stem = format!("taproot-lab.{name}");
    let mut found = BTreeSet::new();
    let mut places = vec![PathBuf::from("/run"), "/run/netns".into(), "/sys/fs/cgroup".into()];
    places.extend(entries(Path::new("/sys/fs/cgroup")));
    for place in places {
        let ours =
            |p: &PathBuf| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with(&stem));
        found.extend(entries(&place).into_iter().filter(ours));
    }
    found
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()).collect()
}

/// Waits until something holds; false when it did not within so many seconds.
pub(crate) fn wait_for(seconds: u64, mut holds: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + Duration::from_secs(seconds);
    while !holds() {
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    true
}

/// Only one lab at a time: faults of CPU time would disturb the others.
pub(crate) fn alone() -> std::sync::MutexGuard<'static, ()> {
    static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A counter of `/proc/net/netstat` or `/proc/net/snmp` inside a namespace.
pub(crate) fn counter(netns: &str, group: &str, name: &str) -> u64 {
    let files = ["/proc/net/netstat", "/proc/net/snmp"];
    let out = std::process::Command::new("ip")
        .args(["netns", "exec", netns, "cat"])
        .args(files)
        .output()
        .unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let mut rows = text.lines().filter_map(|l| l.strip_prefix(group)?.strip_prefix(": "));
    let (names, values) = (rows.next().unwrap(), rows.next().unwrap());
    let at = names.split(' ').position(|n| n == name).unwrap();
    values.split(' ').nth(at).unwrap().parse().unwrap()
}
