//! Open file descriptors and how far their limit is.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// What a file descriptor stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FdKind {
    /// A socket of any family.
    Socket,
    /// A file or directory.
    File,
    /// A pipe.
    Pipe,
    /// An epoll instance.
    Epoll,
    /// An eventfd.
    Event,
    /// A timerfd.
    Timer,
    /// An inotify or fanotify instance.
    Notify,
    /// A memfd or other file without a name.
    Memory,
    /// A device.
    Device,
    /// An `io_uring` instance.
    IoUring,
    /// Something else.
    Other,
}

impl FdKind {
    /// The name used as attribute value (`socket`).
    pub fn name(self) -> &'static str {
        match self {
            Self::Socket => "socket",
            Self::File => "file",
            Self::Pipe => "pipe",
            Self::Epoll => "epoll",
            Self::Event => "eventfd",
            Self::Timer => "timerfd",
            Self::Notify => "inotify",
            Self::Memory => "memfd",
            Self::Device => "device",
            Self::IoUring => "io_uring",
            Self::Other => "other",
        }
    }

    /// Reads the target of a link in `/proc/<pid>/fd`.
    fn of_link(target: &str) -> Self {
        match target {
            t if t.starts_with("socket:") => Self::Socket,
            t if t.starts_with("pipe:") => Self::Pipe,
            t if t.starts_with("/dev/shm/") || t.starts_with("/memfd:") => Self::Memory,
            t if t.starts_with("/dev/") => Self::Device,
            t if t.starts_with('/') => Self::File,
            t => match t.strip_prefix("anon_inode:").map(|n| n.trim_matches(['[', ']'])) {
                Some("eventpoll") => Self::Epoll,
                Some("eventfd") => Self::Event,
                Some("timerfd") => Self::Timer,
                Some("inotify" | "fanotify") => Self::Notify,
                Some("io_uring") => Self::IoUring,
                _ => Self::Other,
            },
        }
    }
}

/// Open files of one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FdReading {
    /// Process id.
    pub pid: u32,
    /// Open file descriptors.
    pub count: u64,
    /// Its soft limit; `None` when unlimited.
    pub limit: Option<u64>,
    /// How many of each kind, among the first [`FdReading::looked_at`].
    pub kinds: BTreeMap<FdKind, u64>,
    /// How many descriptors the kinds were counted over: all of them, up to a bound.
    pub looked_at: u64,
}

/// Links read per process and reading: bounds the time a process with a million
/// open files can cost us.
const MOST_LINKS: usize = 16_384;

/// Of these processes the one closest to its limit, with what its files are.
///
/// A process that ended meanwhile, or that may not be looked at, is passed over;
/// `None` when none is left.
pub fn closest_to_limit(pids: impl IntoIterator<Item = u32>) -> Option<FdReading> {
    let share = |count: u64, limit: Option<u64>| {
        limit.map_or(0.0, |limit| count as f64 / limit.max(1) as f64)
    };
    let (pid, count, limit) = pids
        .into_iter()
        .filter_map(|pid| Some((pid, fd_count(pid).ok()?, fd_limit(pid).ok()?)))
        .max_by(|a, b| share(a.1, a.2).total_cmp(&share(b.1, b.2)))?;
    let (kinds, looked_at) = fd_kinds(pid).unwrap_or_default();
    Some(FdReading { pid, count, limit, kinds, looked_at })
}

fn proc_file(pid: u32, name: &str) -> PathBuf {
    Path::new("/proc").join(pid.to_string()).join(name)
}

/// How many file descriptors a process has open.
///
/// Since Linux 6.2 the size of `/proc/<pid>/fd` tells; older kernels say 0 there
/// and the directory is read.
pub fn fd_count(pid: u32) -> Result<u64> {
    let dir = proc_file(pid, "fd");
    let meta = fs::metadata(&dir).map_err(Error::io(format!("looking at {}", dir.display())))?;
    if meta.len() > 0 {
        return Ok(meta.len());
    }
    let list = fs::read_dir(&dir).map_err(Error::io(format!("reading {}", dir.display())))?;
    Ok(list.flatten().count() as u64)
}

/// The soft limit of open files of a process; `None` when unlimited.
pub fn fd_limit(pid: u32) -> Result<Option<u64>> {
    let file = proc_file(pid, "limits");
    let text =
        fs::read_to_string(&file).map_err(Error::io(format!("reading {}", file.display())))?;
    open_files_limit(&text)
        .map_err(|()| Error::Invalid(format!("{}: no line \"Max open files\"", file.display())))
}

/// Of a process, how many file descriptors of each kind, and over how many that
/// was counted (all, up to a bound of some thousands).
pub fn fd_kinds(pid: u32) -> Result<(BTreeMap<FdKind, u64>, u64)> {
    let dir = proc_file(pid, "fd");
    let list = fs::read_dir(&dir).map_err(Error::io(format!("reading {}", dir.display())))?;
    let mut kinds = BTreeMap::new();
    let mut looked_at = 0;
    for entry in list.take(MOST_LINKS).flatten() {
        // Closed meanwhile: it is not open.
        let Ok(target) = fs::read_link(entry.path()) else { continue };
        *kinds.entry(FdKind::of_link(&target.to_string_lossy())).or_insert(0) += 1;
        looked_at += 1;
    }
    Ok((kinds, looked_at))
}

/// The soft limit in `/proc/<pid>/limits`; an error is no such line.
fn open_files_limit(text: &str) -> std::result::Result<Option<u64>, ()> {
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files")).ok_or(())?;
    match line.split_whitespace().next().ok_or(())? {
        "unlimited" => Ok(None),
        soft => soft.parse().map(Some).map_err(drop),
    }
}

/// The node's table of open files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeFiles {
    /// Open files (struct file) in use.
    pub count: u64,
    /// Limit (`fs.file-max`).
    pub limit: u64,
}

impl NodeFiles {
    /// Reads `/proc/sys/fs/file-nr`.
    pub fn read() -> Result<Self> {
        let file = "/proc/sys/fs/file-nr";
        let text = fs::read_to_string(file).map_err(Error::io(format!("reading {file}")))?;
        Self::parse(&text)
            .ok_or_else(|| Error::Invalid(format!("{file}: expected three numbers, got {text:?}")))
    }

    fn parse(text: &str) -> Option<Self> {
        let numbers: Vec<u64> = text.split_whitespace().filter_map(|n| n.parse().ok()).collect();
        let [allocated, free, limit] = numbers[..] else { return None };
        Some(Self { count: allocated.saturating_sub(free), limit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_by_their_links() {
        for (link, kind) in [
            ("socket:[39012]", FdKind::Socket),
            ("pipe:[17]", FdKind::Pipe),
            ("anon_inode:[eventpoll]", FdKind::Epoll),
            ("anon_inode:[eventfd]", FdKind::Event),
            ("anon_inode:[timerfd]", FdKind::Timer),
            ("anon_inode:inotify", FdKind::Notify),
            ("anon_inode:[io_uring]", FdKind::IoUring),
            ("anon_inode:bpf-map", FdKind::Other),
            ("/dev/null", FdKind::Device),
            ("/memfd:arena (deleted)", FdKind::Memory),
            ("/var/log/app.log (deleted)", FdKind::File),
            ("net:[4026531840]", FdKind::Other),
        ] {
            assert_eq!(FdKind::of_link(link), kind, "{link}");
        }
    }

    #[test]
    fn finds_the_soft_limit() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max cpu time              unlimited            unlimited            seconds   \n\
                    Max open files            1024                 1048576              files     \n";
        assert_eq!(open_files_limit(text), Ok(Some(1024)));
        assert_eq!(open_files_limit("Max open files unlimited unlimited files"), Ok(None));
        assert_eq!(open_files_limit(""), Err(()));
    }

    #[test]
    fn counts_its_own_files() {
        let me = std::process::id();
        let before = fd_count(me).expect("own process");
        let held: Vec<_> = (0..50).map(|_| fs::File::open("/dev/null").expect("null")).collect();
        let after = fd_count(me).expect("own process");
        // Other tests of this process open files too, but not hundreds.
        assert!(after >= before.saturating_sub(20) + 50, "{before} -> {after}");
        let reading = closest_to_limit([me]).expect("own process");
        assert!(reading.kinds[&FdKind::Device] >= held.len() as u64);
        assert_eq!(reading.limit, fd_limit(me).expect("own process"));
    }

    #[test]
    fn a_process_that_is_gone_is_passed_over() {
        assert_eq!(closest_to_limit([u32::MAX]), None);
        assert!(fd_count(u32::MAX).is_err());
    }

    #[test]
    fn the_node_table_leaves_out_what_is_free() {
        let files = NodeFiles::parse("1184\t4\t9223372036854775807\n").expect("three numbers");
        assert_eq!((files.count, files.limit), (1180, 9_223_372_036_854_775_807));
        assert_eq!(NodeFiles::parse("1 2"), None);
        NodeFiles::read().expect("every Linux has it");
    }
}
