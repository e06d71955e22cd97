//! Cgroups on all three layouts: v2 only, hybrid, v1 only.
//!
//! A container joins the same relative path in every hierarchy, as a container
//! runtime with the cgroupfs driver does it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::process;
use crate::state::Limits;

/// Length of a quota period in microseconds (the kernel's and kubelet's default).
pub const PERIOD_US: u64 = 100_000;

/// A mounted cgroup hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hierarchy {
    /// 1 or 2.
    pub version: u8,
    /// v1: the controllers bound to it; v2: those its root offers.
    pub controllers: Vec<String>,
    /// Where it is mounted.
    pub mount: PathBuf,
}

impl Hierarchy {
    fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|c| c == controller)
    }
}

/// Finds the hierarchies a container should join.
///
/// # Errors
/// [`Error::Unsupported`] when CPU, memory or pids cannot be limited anywhere.
pub fn detect() -> Result<Vec<Hierarchy>> {
    let mounts =
        fs::read_to_string("/proc/self/mounts").map_err(Error::io("read", "/proc/self/mounts"))?;
    let found = hierarchies(&mounts, |mount| {
        fs::read_to_string(mount.join("cgroup.controllers")).unwrap_or_default()
    });
    for needed in ["cpu", "memory", "pids"] {
        if !found.iter().any(|h| h.has(needed)) {
            return Err(Error::Unsupported {
                what: "limiting the lab's pods".into(),
                why: format!("no cgroup hierarchy with the {needed} controller is mounted"),
            });
        }
    }
    Ok(found)
}

/// Reads hierarchies off a mount table. v1's cpuset is left out: a new group
/// there takes no task before its CPUs are set, and the lab pins by affinity.
fn hierarchies(mounts: &str, v2_controllers: impl Fn(&Path) -> String) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in mounts.lines() {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (Some(mount), Some(kind), Some(options)) =
            (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let mount = PathBuf::from(mount);
        let (version, controllers) = match kind {
            "cgroup2" => (2, words(&v2_controllers(&mount), ' ')),
            "cgroup" => (1, v1_controllers(options)),
            _ => continue,
        };
        // Bind mounts show the same hierarchy again: the first one serves.
        let seen = found.iter().any(|h| h.version == version && h.controllers == controllers);
        if !seen && !controllers.iter().any(|c| c == "cpuset" && version == 1) {
            found.push(Hierarchy { version, controllers, mount });
        }
    }
    found
}

fn v1_controllers(options: &str) -> Vec<String> {
    const NOT_CONTROLLERS: [&str; 8] =
        ["rw", "ro", "nosuid", "nodev", "noexec", "relatime", "noatime", "xattr"];
    words(options, ',').into_iter().filter(|w| !NOT_CONTROLLERS.contains(&w.as_str())).collect()
}

fn words(text: &str, separator: char) -> Vec<String> {
    text.trim().split(separator).filter(|w| !w.is_empty()).map(str::to_owned).collect()
}

/// "v2", "hybrid" or "v1".
pub fn layout_name(hierarchies: &[Hierarchy]) -> &'static str {
    let v1 = hierarchies.iter().any(|h| h.version == 1);
    let v2 = hierarchies.iter().any(|h| h.version == 2);
    match (v1, v2) {
        (false, _) => "v2",
        (true, true) => "hybrid",
        (true, false) => "v1",
    }
}

/// A cgroup: one relative path in all hierarchies.
#[derive(Debug, Clone)]
pub(crate) struct Cgroup {
    hierarchies: Vec<Hierarchy>,
    path: PathBuf,
}

impl Cgroup {
    /// Names a cgroup; nothing is made yet. `path` begins with a slash.
    pub(crate) fn new(hierarchies: &[Hierarchy], path: &Path) -> Self {
        Self { hierarchies: hierarchies.to_vec(), path: path.to_path_buf() }
    }

    /// Directory of this cgroup in one hierarchy.
    fn dir(&self, hierarchy: &Hierarchy) -> PathBuf {
        hierarchy.mount.join(self.path.strip_prefix("/").unwrap_or(&self.path))
    }

    /// Makes the cgroup and its ancestors; on v2 hands the controllers down.
    pub(crate) fn create(&self) -> Result<()> {
        for h in &self.hierarchies {
            let dir = self.dir(h);
            if h.version == 2 {
                delegate(h, &self.path)?;
            }
            fs::create_dir_all(&dir).map_err(Error::io("create", &dir))?;
        }
        Ok(())
    }

    /// Files to write a pid to in order to join everywhere.
    pub(crate) fn join_files(&self) -> Vec<PathBuf> {
        self.hierarchies.iter().map(|h| self.dir(h).join("cgroup.procs")).collect()
    }

    /// Sets all limits.
    pub(crate) fn limit(&self, limits: &Limits) -> Result<()> {
        self.limit_cpu(limits.cpu_milli)?;
        let shares = u64::from(limits.cpu_request_milli) * 1024 / 1000;
        self.set("cpu", "cpu.shares", &shares.max(2).to_string(), "cpu.weight", &weight(shares))?;
        let memory = limits.memory_bytes.to_string();
        self.set("memory", "memory.limit_in_bytes", &memory, "memory.max", &memory)?;
        self.set_if_present("memory", "memory.memsw.limit_in_bytes", &memory);
        self.set_if_present("memory", "memory.swap.max", "0");
        let pids = limits.pids.to_string();
        self.set("pids", "pids.max", &pids, "pids.max", &pids)
    }

    /// Sets the CPU quota; none takes it away.
    pub(crate) fn limit_cpu(&self, milli: Option<u32>) -> Result<()> {
        let quota = milli.map(|m| u64::from(m) * PERIOD_US / 1000);
        let v1 = quota.map_or("-1".to_owned(), |q| q.to_string());
        let v2 = quota.map_or(format!("max {PERIOD_US}"), |q| format!("{q} {PERIOD_US}"));
        self.set("cpu", "cpu.cfs_quota_us", &v1, "cpu.max", &v2)
    }

    fn set(
        &self,
        controller: &str,
        v1: &str,
        v1_value: &str,
        v2: &str,
        v2_value: &str,
    ) -> Result<()> {
        let Some(h) = self.hierarchies.iter().find(|h| h.has(controller)) else {
            return Ok(());
        };
        let (file, value) = if h.version == 1 { (v1, v1_value) } else { (v2, v2_value) };
        let path = self.dir(h).join(file);
        fs::write(&path, value).map_err(Error::io("write", &path))
    }

    /// Sets a file that only some kernels have (swap accounting).
    fn set_if_present(&self, controller: &str, file: &str, value: &str) {
        for h in self.hierarchies.iter().filter(|h| h.has(controller)) {
            let path = self.dir(h).join(file);
            if path.exists() {
                // Refused when swap is off; there is nothing to limit then.
                let _ = fs::write(&path, value);
            }
        }
    }

    /// Processes the kernel killed in this cgroup for want of memory.
    pub(crate) fn oom_kills(&self) -> u64 {
        let Some(h) = self.hierarchies.iter().find(|h| h.has("memory")) else {
            return 0;
        };
        let file = if h.version == 1 { "memory.oom_control" } else { "memory.events" };
        let text = fs::read_to_string(self.dir(h).join(file)).unwrap_or_default();
        text.lines()
            .find_map(|l| l.strip_prefix("oom_kill ")?.trim().parse().ok())
            .unwrap_or_default()
    }

    /// All processes in this cgroup and below, in any hierarchy.
    pub(crate) fn processes(&self) -> BTreeSet<i32> {
        let mut pids = BTreeSet::new();
        for h in &self.hierarchies {
            collect_processes(&self.dir(h), &mut pids);
        }
        pids
    }

    /// Kills everything inside and removes the cgroup with all below it.
    pub(crate) fn destroy(&self) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(5);
        loop {
            let pids = self.processes();
            for pid in &pids {
                process::send(*pid, Signal::KILL);
            }
            let removed = self.hierarchies.iter().map(|h| remove_tree(&self.dir(h)));
            let left: Vec<Error> = removed.filter_map(Result::err).collect();
            match left.into_iter().next() {
                None => return Ok(()),
                Some(e) if Instant::now() >= end => return Err(e),
                // A killed process leaves its cgroup a moment later.
                Some(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    /// True when the cgroup exists in any hierarchy.
    pub(crate) fn exists(&self) -> bool {
        self.hierarchies.iter().any(|h| self.dir(h).exists())
    }
}

/// Shares to weight as the kernel's own v2 conversion table for runtimes has it
/// (KEP-2254: `1 + ((shares - 2) * 9999) / 262142`).
fn weight(shares: u64) -> String {
    (1 + (shares.max(2) - 2) * 9999 / 262_142).to_string()
}

/// Enables the limiting controllers in every ancestor of `path`.
fn delegate(h: &Hierarchy, path: &Path) -> Result<()> {
    let wanted: Vec<String> =
        ["cpu", "memory", "pids"].iter().filter(|c| h.has(c)).map(|c| format!("+{c}")).collect();
    let relative = path.strip_prefix("/").unwrap_or(path);
    let mut ancestors: Vec<&Path> = relative.ancestors().skip(1).collect();
    ancestors.reverse();
    for ancestor in ancestors {
        let dir = h.mount.join(ancestor);
        fs::create_dir_all(&dir).map_err(Error::io("create", &dir))?;
        if !wanted.is_empty() {
            let control = dir.join("cgroup.subtree_control");
            fs::write(&control, wanted.join(" ")).map_err(Error::io("write", &control))?;
        }
    }
    Ok(())
}

fn subdirectories(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()).collect()
}

fn collect_processes(dir: &Path, into: &mut BTreeSet<i32>) {
    let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    into.extend(text.lines().filter_map(|l| l.trim().parse::<i32>().ok()));
    for below in subdirectories(dir) {
        collect_processes(&below, into);
    }
}

fn remove_tree(dir: &Path) -> Result<()> {
    if !dir.exists() {
        return Ok(());
    }
    for below in subdirectories(dir) {
        remove_tree(&below)?;
    }
    match fs::remove_dir(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", dir)(e)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
tmpfs /sys/fs/cgroup tmpfs rw,relatime,mode=755 0 0
cgroup /sys/fs/cgroup/cpu cgroup rw,relatime,cpu 0 0
cgroup /sys/fs/cgroup/cpuset cgroup rw,relatime,cpuset 0 0
cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0
cgroup /sys/fs/cgroup/systemd cgroup rw,relatime,name=systemd 0 0
cgroup /elsewhere/memory cgroup rw,relatime,memory 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0
";

    fn limits() -> Limits {
        Limits {
            cpu_milli: Some(250),
            cpu_request_milli: 100,
            memory_bytes: 1 << 20,
            pids: 7,
            files: 64,
            cpu: None,
        }
    }

    #[test]
    fn hybrid_is_read_with_cpuset_and_repeats_left_out() {
        let found = hierarchies(HYBRID, |_| "hugetlb\n".into());
        let mounts: Vec<_> = found.iter().map(|h| h.mount.to_str().unwrap()).collect();
        assert_eq!(
            mounts,
            [
                "/sys/fs/cgroup/cpu",
                "/sys/fs/cgroup/memory",
                "/sys/fs/cgroup/systemd",
                "/sys/fs/cgroup/unified"
            ]
        );
        assert_eq!(layout_name(&found), "hybrid");
        assert_eq!(found[2].controllers, ["name=systemd"]);
    }

    #[test]
    fn pure_v2_and_pure_v1_are_told_apart() {
        let v2 =
            hierarchies("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n", |_| "cpu memory pids".into());
        assert_eq!((layout_name(&v2), v2[0].controllers.len()), ("v2", 3));
        let v1 = hierarchies("c /c/cpu cgroup rw,cpu,cpuacct 0 0\n", |_| String::new());
        assert_eq!((layout_name(&v1), v1[0].controllers.len()), ("v1", 2));
    }

    #[test]
    fn limits_land_in_the_files_of_each_version() {
        let dir = tempfile::tempdir().unwrap();
        let make = |version, name: &str, controllers: &[&str]| Hierarchy {
            version,
            controllers: controllers.iter().map(ToString::to_string).collect(),
            mount: dir.path().join(name),
        };
        let v1 =
            [make(1, "cpu", &["cpu"]), make(1, "mem", &["memory"]), make(1, "pids", &["pids"])];
        let group = Cgroup::new(&v1, Path::new("/lab/pod1"));
        group.create().unwrap();
        group.limit(&limits()).unwrap();
        let read = |p: &str| fs::read_to_string(dir.path().join(p)).unwrap();
        assert_eq!(read("cpu/lab/pod1/cpu.cfs_quota_us"), "25000");
        assert_eq!(read("mem/lab/pod1/memory.limit_in_bytes"), "1048576");

        let v2 = [make(2, "v2", &["cpu", "memory", "pids"])];
        let group = Cgroup::new(&v2, Path::new("/lab/pod1"));
        group.create().unwrap();
        group.limit(&limits()).unwrap();
        assert_eq!(read("v2/cgroup.subtree_control"), "+cpu +memory +pids");
        assert_eq!(read("v2/lab/pod1/cpu.max"), "25000 100000");
        assert_eq!(read("v2/lab/pod1/pids.max"), "7");
    }
}
