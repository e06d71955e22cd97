//! Control groups and processes of our own, in whichever layout the machine has.

#![allow(dead_code, reason = "each test binary uses its own share")]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use taproot_probes::pressure::CgroupPaths;

/// A control group that is removed, with its processes, when dropped.
pub(crate) struct Group {
    pub(crate) paths: CgroupPaths,
    pub(crate) id: u64,
}

/// Where the unified hierarchy is mounted; `None` on a pure v1 machine.
pub(crate) fn unified() -> Option<PathBuf> {
    ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
        .into_iter()
        .map(PathBuf::from)
        .find(|mount| mount.join("cgroup.controllers").exists())
}

impl Group {
    /// Makes a group below the root of every hierarchy. Says why not.
    pub(crate) fn new(name: &str) -> Result<Self, String> {
        let name = format!("taproot-test-{name}-{}", std::process::id());
        let mount = unified().ok_or("no unified cgroup hierarchy")?;
        // Where the controllers are in the unified hierarchy, groups must be given them.
        for controller in ["cpu", "memory", "pids"] {
            let _ = fs::write(mount.join("cgroup.subtree_control"), format!("+{controller}"));
        }
        let make = |mount: &Path| {
            let dir = mount.join(&name);
            fs::create_dir(&dir).map_err(|e| format!("cannot make {}: {e}", dir.display()))?;
            Ok::<_, String>(dir)
        };
        let dir = make(&mount)?;
        let id = fs::metadata(&dir).map_err(|e| e.to_string())?.ino();
        let mut paths = CgroupPaths { unified: Some(dir), ..CgroupPaths::default() };
        let tree = |tree: &str| {
            let mount = Path::new("/sys/fs/cgroup").join(tree);
            mount.join("cgroup.procs").exists().then(|| make(&mount)).transpose()
        };
        paths.cpu = tree("cpu")?;
        paths.cpuacct = tree("cpuacct")?;
        paths.memory = tree("memory")?;
        paths.pids = tree("pids")?;
        Ok(Self { paths, id })
    }

    fn dirs(&self) -> impl Iterator<Item = &PathBuf> {
        let p = &self.paths;
        [&p.cpu, &p.cpuacct, &p.memory, &p.pids, &p.unified].into_iter().flatten()
    }

    /// Limits CPU to `quota` of every 100 ms. Says why not.
    pub(crate) fn limit_cpu(&self, quota: Duration) -> Result<(), String> {
        let micros = quota.as_micros();
        Self::set(self.paths.cpu.as_ref(), "cpu.cfs_quota_us", &micros.to_string()).or_else(|_| {
            Self::set(self.paths.unified.as_ref(), "cpu.max", &format!("{micros} 100000"))
        })
    }

    /// Limits memory, bytes. Says why not.
    pub(crate) fn limit_memory(&self, bytes: u64) -> Result<(), String> {
        Self::set(self.paths.memory.as_ref(), "memory.limit_in_bytes", &bytes.to_string())
            .or_else(|_| Self::set(self.paths.unified.as_ref(), "memory.max", &bytes.to_string()))
    }

    fn set(dir: Option<&PathBuf>, file: &str, value: &str) -> Result<(), String> {
        let file = dir.ok_or_else(|| format!("no {file}"))?.join(file);
        if !file.exists() {
            return Err(format!("no {}", file.display()));
        }
        fs::write(&file, value).map_err(|e| format!("{}: {e}", file.display()))
    }

    /// Starts a shell script inside the group and waits until it is there; pins it
    /// to one CPU if asked to. (Not earlier: joining a group may undo it.)
    pub(crate) fn run(&self, script: &str, cpu: Option<usize>) -> Process {
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(format!("for d in \"$@\"; do echo $$ > $d/cgroup.procs; done\nset --\n{script}"))
            .arg("sh")
            .args(self.dirs())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let process = Process(command.spawn().expect("a shell"));
        self.wait_for(&process);
        if let Some(cpu) = cpu {
            pin(process.pid(), cpu);
        }
        process
    }

    /// Waits until a process is in the last directory that it joins, or has ended.
    fn wait_for(&self, process: &Process) {
        let pid = process.pid();
        let file = self.paths.unified.as_ref().expect("made").join("cgroup.procs");
        for _ in 0..500 {
            let pids = fs::read_to_string(&file).unwrap_or_default();
            if pids.lines().any(|line| line == pid.to_string()) || process.has_ended() {
                return;
            }
            sleep(Duration::from_millis(10));
        }
        panic!("{pid} did not join {} within 5 s", file.display());
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let procs = self.paths.unified.as_ref().map(|dir| dir.join("cgroup.procs"));
        let until = Instant::now() + Duration::from_secs(5);
        while Instant::now() < until {
            let left = procs.as_ref().and_then(|f| fs::read_to_string(f).ok()).unwrap_or_default();
            for pid in left.lines() {
                let _ = Command::new("kill").args(["-9", pid]).stderr(Stdio::null()).status();
            }
            if self.dirs().filter(|dir| dir.exists() && fs::remove_dir(dir).is_err()).count() == 0 {
                return;
            }
            sleep(Duration::from_millis(20));
        }
    }
}

/// A process that is killed and reaped when dropped.
pub(crate) struct Process(pub(crate) Child);

impl Process {
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Whether it is a zombie: `/proc/<pid>/stat` tells without reaping it.
    fn has_ended(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Pins a process to one CPU.
fn pin(pid: u32, cpu: usize) {
    let mut set = rustix::thread::CpuSet::new();
    set.set(cpu);
    let pid = rustix::process::Pid::from_raw(pid.cast_signed());
    rustix::thread::sched_setaffinity(pid, &set).expect("the process runs and the CPU exists");
}

/// The kernel's own account of a task: nanoseconds on a CPU and waiting for one.
pub(crate) fn schedstat(pid: u32) -> (u64, u64) {
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).expect("the process lives");
    let mut numbers = text.split_whitespace().map(|n| n.parse::<u64>().expect("a number"));
    (numbers.next().expect("two numbers"), numbers.next().expect("two numbers"))
}
