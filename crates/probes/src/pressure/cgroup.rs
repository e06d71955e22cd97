//! What a cgroup's own files say, in the three layouts: unified (v2), the old
//! trees (v1), and hybrid (limits in v1 trees, stall times in the unified one).

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::counters::gained;
use crate::{Error, Result};

/// Where the files of one cgroup lie. v2: only `unified`; v1: the trees; hybrid: all.
///
/// A directory that lacks a controller's files is no error: the other layout is
/// tried, and a value that no layout has is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CgroupPaths {
    /// v1 `cpu`: quota and throttling.
    pub cpu: Option<PathBuf>,
    /// v1 `cpuacct`: use.
    pub cpuacct: Option<PathBuf>,
    /// v1 `memory`.
    pub memory: Option<PathBuf>,
    /// v1 `pids`.
    pub pids: Option<PathBuf>,
    /// The unified hierarchy.
    pub unified: Option<PathBuf>,
}

impl CgroupPaths {
    /// The cgroup above: of a container the pod, whose limits hold as well.
    #[must_use]
    pub fn parent(&self) -> Self {
        let up =
            |path: &Option<PathBuf>| path.as_deref().and_then(Path::parent).map(Path::to_owned);
        Self {
            cpu: up(&self.cpu),
            cpuacct: up(&self.cpuacct),
            memory: up(&self.memory),
            pids: up(&self.pids),
            unified: up(&self.unified),
        }
    }

    fn exists(&self) -> bool {
        [&self.cpu, &self.cpuacct, &self.memory, &self.pids, &self.unified]
            .into_iter()
            .flatten()
            .any(|path| path.is_dir())
    }
}

/// CPU. Counters since the cgroup was made.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CpuReading {
    /// CPU time used, nanoseconds.
    pub usage: Option<u64>,
    /// Enforcement periods that ended while something was runnable.
    pub periods: Option<u64>,
    /// Of these, periods in which the quota ran out.
    pub throttled_periods: Option<u64>,
    /// Time stopped by the quota, nanoseconds, summed over CPUs.
    pub throttled: Option<u64>,
    /// Quota over period: CPUs it may use; `None` when unlimited.
    pub limit: Option<f64>,
}

/// Memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryReading {
    /// Charged, page cache included, bytes.
    pub usage: u64,
    /// Without the page cache that can be dropped at once, bytes (the kubelet's
    /// working set).
    pub working_set: u64,
    /// Limit, bytes; `None` when unlimited.
    pub limit: Option<u64>,
    /// Times the limit was hit since the cgroup was made.
    pub limit_hits: Option<u64>,
    /// Kills by the out-of-memory killer since the cgroup was made.
    pub oom_kills: Option<u64>,
}

/// Tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PidsReading {
    /// Processes and threads.
    pub count: u64,
    /// Limit; `None` when unlimited.
    pub limit: Option<u64>,
}

/// Stall time of one resource (PSI), nanoseconds since the cgroup was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stall {
    /// Some task waited.
    pub some: u64,
    /// All tasks waited at once; `None` where the kernel does not tell.
    pub full: Option<u64>,
}

/// Stall times of all resources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stalls {
    /// CPU.
    pub cpu: Option<Stall>,
    /// Memory.
    pub memory: Option<Stall>,
    /// Block input and output.
    pub io: Option<Stall>,
}

impl Stalls {
    /// Reads `<prefix>cpu<suffix>` and so on: `/proc/pressure/` or a cgroup's files.
    pub(crate) fn read(file_of: impl Fn(&str) -> PathBuf) -> Result<Self> {
        let one = |resource| match read(&file_of(resource))? {
            Some(text) => stall(&text)
                .map(Some)
                .ok_or_else(|| malformed(&file_of(resource), "some ... total=N")),
            None => Ok(None),
        };
        Ok(Self { cpu: one("cpu")?, memory: one("memory")?, io: one("io")? })
    }

    /// What was added since an earlier reading.
    pub(crate) fn since(self, before: Self) -> Self {
        let one = |now: Option<Stall>, before: Option<Stall>| {
            let before = before.unwrap_or_default();
            now.map(|now| Stall {
                some: gained(now.some, before.some),
                full: now.full.map(|full| gained(full, before.full.unwrap_or(0))),
            })
        };
        Self {
            cpu: one(self.cpu, before.cpu),
            memory: one(self.memory, before.memory),
            io: one(self.io, before.io),
        }
    }
}

/// Everything a cgroup's files say at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CgroupReading {
    /// CPU.
    pub cpu: CpuReading,
    /// Memory; `None` without a memory controller.
    pub memory: Option<MemoryReading>,
    /// Tasks; `None` without a pids controller.
    pub pids: Option<PidsReading>,
    /// Stall times.
    pub stalls: Stalls,
}

impl CgroupReading {
    /// Reads the files; `None` when the cgroup is gone.
    ///
    /// # Errors
    /// When a file cannot be read or says something unexpected.
    pub fn read(paths: &CgroupPaths) -> Result<Option<Self>> {
        if !paths.exists() {
            return Ok(None);
        }
        let unified = paths.unified.as_deref();
        Ok(Some(Self {
            cpu: cpu(paths)?,
            memory: match memory_v1(paths.memory.as_deref())? {
                Some(memory) => Some(memory),
                None => memory_v2(unified)?,
            },
            pids: match pids(paths.pids.as_deref())? {
                Some(pids) => Some(pids),
                None => pids(unified)?,
            },
            stalls: match unified {
                Some(dir) => Stalls::read(|resource| dir.join(format!("{resource}.pressure")))?,
                None => Stalls::default(),
            },
        }))
    }
}

/// Follows one cgroup from reading to reading.
#[derive(Clone, Debug)]
pub struct CgroupReader {
    paths: CgroupPaths,
    before: Option<CgroupReading>,
}

impl CgroupReader {
    /// Follows a cgroup that existed before: the first reading is the baseline, its
    /// counters read zero.
    pub fn existing(paths: CgroupPaths) -> Self {
        Self { paths, before: None }
    }

    /// Follows a cgroup seen being made: its counters began at zero.
    pub fn fresh(paths: CgroupPaths) -> Self {
        Self { paths, before: Some(CgroupReading::default()) }
    }

    /// Reads the files once more; `None` when the cgroup is gone.
    ///
    /// Levels (memory, pids, limits) are those of now; counters (CPU, limit hits,
    /// kills, stalls) are what was added since the reading before.
    pub fn read(&mut self) -> Result<Option<CgroupReading>> {
        let Some(now) = CgroupReading::read(&self.paths)? else {
            return Ok(None);
        };
        let before = self.before.replace(now).unwrap_or(now);
        Ok(Some(difference(now, before)))
    }
}

fn difference(now: CgroupReading, before: CgroupReading) -> CgroupReading {
    let added = |now: Option<u64>, before: Option<u64>| now.map(|n| gained(n, before.unwrap_or(0)));
    CgroupReading {
        cpu: CpuReading {
            usage: added(now.cpu.usage, before.cpu.usage),
            periods: added(now.cpu.periods, before.cpu.periods),
            throttled_periods: added(now.cpu.throttled_periods, before.cpu.throttled_periods),
            throttled: added(now.cpu.throttled, before.cpu.throttled),
            limit: now.cpu.limit,
        },
        memory: now.memory.map(|memory| {
            let before = before.memory.unwrap_or_default();
            MemoryReading {
                limit_hits: added(memory.limit_hits, before.limit_hits),
                oom_kills: added(memory.oom_kills, before.oom_kills),
                ..memory
            }
        }),
        pids: now.pids,
        stalls: now.stalls.since(before.stalls),
    }
}

/// Throttling and limit from the v1 tree where it has them, else from the unified
/// one; use from whichever tells it.
fn cpu(paths: &CgroupPaths) -> Result<CpuReading> {
    let mut cpu = CpuReading::default();
    if let Some(dir) = &paths.unified {
        if let Some(text) = read(&dir.join("cpu.stat"))? {
            let micros = |key| keyed(&text, key).map(|us| us.saturating_mul(1000));
            cpu.usage = micros("usage_usec");
            cpu.periods = keyed(&text, "nr_periods");
            cpu.throttled_periods = keyed(&text, "nr_throttled");
            cpu.throttled = micros("throttled_usec");
        }
        let file = dir.join("cpu.max");
        if let Some(text) = read(&file)? {
            cpu.limit = quota_v2(&text).map_err(|()| malformed(&file, "QUOTA PERIOD"))?;
        }
    }
    if let Some(dir) = &paths.cpu {
        cpu_v1(dir, &mut cpu)?;
    }
    if let Some(dir) = &paths.cpuacct
        && let Some(usage) = number(&dir.join("cpuacct.usage"))?
    {
        cpu.usage = Some(usage);
    }
    Ok(cpu)
}

fn cpu_v1(dir: &Path, cpu: &mut CpuReading) -> Result<()> {
    if let Some(text) = read(&dir.join("cpu.stat"))? {
        cpu.periods = keyed(&text, "nr_periods");
        cpu.throttled_periods = keyed(&text, "nr_throttled");
        cpu.throttled = keyed(&text, "throttled_time");
    }
    let file = dir.join("cpu.cfs_quota_us");
    if let Some(text) = read(&file)? {
        let quota: i64 = text.trim().parse().map_err(|_| malformed(&file, "a number"))?;
        let period = number(&dir.join("cpu.cfs_period_us"))?.unwrap_or(100_000).max(1);
        cpu.limit = (quota > 0).then(|| quota as f64 / period as f64);
    }
    Ok(())
}

/// v1's "unlimited" is the largest number of pages that fits, in bytes.
const UNLIMITED_V1: u64 = 1 << 62;

fn memory_v1(dir: Option<&Path>) -> Result<Option<MemoryReading>> {
    let Some(dir) = dir else { return Ok(None) };
    let Some(usage) = number(&dir.join("memory.usage_in_bytes"))? else { return Ok(None) };
    let stat = read(&dir.join("memory.stat"))?.unwrap_or_default();
    let control = read(&dir.join("memory.oom_control"))?.unwrap_or_default();
    Ok(Some(MemoryReading {
        usage,
        working_set: usage.saturating_sub(keyed(&stat, "total_inactive_file").unwrap_or(0)),
        limit: number(&dir.join("memory.limit_in_bytes"))?.filter(|l| *l < UNLIMITED_V1),
        limit_hits: number(&dir.join("memory.failcnt"))?,
        oom_kills: keyed(&control, "oom_kill"),
    }))
}

fn memory_v2(dir: Option<&Path>) -> Result<Option<MemoryReading>> {
    let Some(dir) = dir else { return Ok(None) };
    let Some(usage) = number(&dir.join("memory.current"))? else { return Ok(None) };
    let stat = read(&dir.join("memory.stat"))?.unwrap_or_default();
    let events = read(&dir.join("memory.events"))?.unwrap_or_default();
    Ok(Some(MemoryReading {
        usage,
        working_set: usage.saturating_sub(keyed(&stat, "inactive_file").unwrap_or(0)),
        limit: limit(&dir.join("memory.max"))?,
        limit_hits: keyed(&events, "max"),
        oom_kills: keyed(&events, "oom_kill"),
    }))
}

/// Both layouts use the same names.
fn pids(dir: Option<&Path>) -> Result<Option<PidsReading>> {
    let Some(dir) = dir else { return Ok(None) };
    let Some(count) = number(&dir.join("pids.current"))? else { return Ok(None) };
    Ok(Some(PidsReading { count, limit: limit(&dir.join("pids.max"))? }))
}

/// A file's text; `None` when there is no such file or its cgroup went meanwhile.
fn read(file: &Path) -> Result<Option<String>> {
    /// A cgroup removed between opening and reading its file.
    const ENODEV: i32 = 19;
    /// PSI is compiled in but switched off.
    const EOPNOTSUPP: i32 = 95;
    match fs::read_to_string(file) {
        Ok(text) => Ok(Some(text)),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(e) if matches!(e.raw_os_error(), Some(ENODEV | EOPNOTSUPP)) => Ok(None),
        Err(e) => Err(Error::io(format!("reading {}", file.display()))(e)),
    }
}

fn malformed(file: &Path, expected: &str) -> Error {
    Error::Invalid(format!("{}: expected {expected}; is it a cgroup file?", file.display()))
}

/// A file that holds one number.
fn number(file: &Path) -> Result<Option<u64>> {
    let parse = |text: String| text.trim().parse().map_err(|_| malformed(file, "a number"));
    read(file)?.map(parse).transpose()
}

/// A file that holds one number or `max`; `None` for `max` and for no file.
fn limit(file: &Path) -> Result<Option<u64>> {
    match read(file)? {
        Some(text) if text.trim() != "max" => {
            text.trim().parse().map(Some).map_err(|_| malformed(file, "a number or max"))
        }
        _ => Ok(None),
    }
}

/// The number after a key, one `key number` a line.
fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        (name == key).then(|| value.trim().parse().ok())?
    })
}

/// `cpu.max` in CPUs; `None` is unlimited, an error is no such text.
fn quota_v2(text: &str) -> std::result::Result<Option<f64>, ()> {
    let (quota, period) = text.trim().split_once(' ').ok_or(())?;
    let period: u64 = period.parse().ok().filter(|p| *p > 0).ok_or(())?;
    if quota == "max" {
        return Ok(None);
    }
    let quota: u64 = quota.parse().map_err(drop)?;
    Ok(Some(quota as f64 / period as f64))
}

/// A PSI file. Microseconds there, nanoseconds here.
fn stall(text: &str) -> Option<Stall> {
    let total = |kind: &str| {
        let line = text.lines().find(|line| line.split(' ').next() == Some(kind))?;
        let total = line.split_whitespace().find_map(|field| field.strip_prefix("total="))?;
        total.parse::<u64>().ok().map(|us| us.saturating_mul(1000))
    };
    Some(Stall { some: total("some")?, full: total("full") })
}

#[cfg(test)]
#[path = "cgroup_tests.rs"]
mod tests;
