use serde::Serialize;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// How a machine arranges its control group hierarchies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LayoutKind {
    /// cgroup v2 only.
    Unified,
    /// v1 controllers, and a v2 tree beside them.
    Hybrid,
    /// v1 only: BPF cannot tell groups apart by id.
    Legacy,
}

impl std::fmt::Display for LayoutKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Unified => "cgroup v2",
            Self::Hybrid => "hybrid (v1 controllers, v2 tree)",
            Self::Legacy => "cgroup v1",
        })
    }
}

/// Why the layout could not be told.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// The mount table could not be read.
    #[error("cannot read the mount table {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No control group file system is mounted.
    #[error(
        "no cgroup file system is mounted{place}: mount one (mount -t cgroup2 none /sys/fs/cgroup), or give this container the host's /sys/fs/cgroup"
    )]
    NotMounted {
        /// " below PATH" when the search was limited to a folder.
        place: String,
    },
}

/// Where the hierarchies of this machine are mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Layout {
    /// Which of the three arrangements.
    pub kind: LayoutKind,
    /// Mount point of the v2 tree.
    pub unified: Option<PathBuf>,
    /// Mount point of the tree that each controller is in (`cpu`, `memory`,
    /// `pids`, ...), whichever version it is.
    pub controllers: BTreeMap<String, PathBuf>,
}

impl Layout {
    /// Reads the layout of this machine from `<proc>/self/mountinfo`.
    ///
    /// With `below`, only mounts at or under that folder count: an agent in a
    /// container sees its own hierarchies as well as the host's.
    pub fn detect(proc_root: &Path, below: Option<&Path>) -> Result<Self, LayoutError> {
        let path = proc_root.join("self/mountinfo");
        let text =
            fs::read_to_string(&path).map_err(|source| LayoutError::Unreadable { path, source })?;
        Self::from_mountinfo(&text, below, |unified| {
            fs::read_to_string(unified.join("cgroup.controllers")).unwrap_or_default()
        })
    }

    /// The layout in the text of a mount table.
    ///
    /// `v2_controllers` is asked for the content of `cgroup.controllers` in the
    /// root of the v2 tree.
    pub fn from_mountinfo(
        text: &str,
        below: Option<&Path>,
        v2_controllers: impl Fn(&Path) -> String,
    ) -> Result<Self, LayoutError> {
        let mut mounts: Vec<Mount> = text.lines().filter_map(Mount::parse).collect();
        if let Some(folder) = below {
            mounts.retain(|mount| mount.point.starts_with(folder));
        }
        mounts.sort_by_key(Mount::narrowness);
        let unified = mounts.iter().find(|m| m.version == 2).map(|m| m.point.clone());
        let mut controllers = BTreeMap::new();
        for mount in mounts.iter().filter(|mount| mount.version == 1) {
            for controller in &mount.controllers {
                controllers.entry(controller.clone()).or_insert_with(|| mount.point.clone());
            }
        }
        let kind = match (&unified, controllers.is_empty()) {
            (None, true) => {
                let place = below.map_or(String::new(), |p| format!(" below {}", p.display()));
                return Err(LayoutError::NotMounted { place });
            }
            (None, false) => LayoutKind::Legacy,
            (Some(_), true) => LayoutKind::Unified,
            (Some(_), false) => LayoutKind::Hybrid,
        };
        if let Some(root) = &unified {
            for controller in v2_controllers(root).split_whitespace() {
                controllers.entry(controller.to_owned()).or_insert_with(|| root.clone());
            }
        }
        Ok(Self { kind, unified, controllers })
    }

    /// The directory of the group `path` (relative to the hierarchy's root, as
    /// `/proc/<pid>/cgroup` has it) in the tree of `controller`.
    ///
    /// `None` when the controller is mounted nowhere. Container runtimes use one
    /// path in all hierarchies, therefore a path read from the v2 tree serves
    /// for v1 controllers too; whether the directory exists is not checked.
    pub fn directory(&self, controller: &str, path: &str) -> Option<PathBuf> {
        let root = self.controllers.get(controller)?;
        Some(root.join(path.trim_start_matches('/')))
    }

    /// The directories of the group `path` in all trees that have it.
    pub fn directories(&self, path: &str) -> Vec<PathBuf> {
        let mut roots: Vec<&PathBuf> =
            self.unified.iter().chain(self.controllers.values()).collect();
        roots.sort_unstable();
        roots.dedup();
        let directories = roots.into_iter().map(|root| root.join(path.trim_start_matches('/')));
        directories.filter(|directory| directory.is_dir()).collect()
    }

    /// The tree to find groups in: v2, or where there is none the v1 tree of a
    /// controller that every container has limits in.
    pub fn tree(&self) -> Option<&PathBuf> {
        let v1 = ["pids", "memory", "cpu"].iter().find_map(|name| self.controllers.get(*name));
        self.unified.as_ref().or(v1).or(self.controllers.values().next())
    }
}

/// One control group mount of a mount table.
struct Mount {
    /// The path within the hierarchy that is the root of the mount.
    root: String,
    point: PathBuf,
    version: u8,
    controllers: Vec<String>,
}

impl Mount {
    /// Parses a line of `mountinfo` (proc(5)): `id parent dev root point options
    /// [optional...] - type source super-options`; `None` if no cgroup mount.
    fn parse(line: &str) -> Option<Self> {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(3);
        let (root, point) = (left.next()?, left.next()?);
        let mut right = right.split(' ');
        let (fstype, options) = (right.next()?, right.nth(1).unwrap_or_default());
        let (version, controllers) = match fstype {
            "cgroup2" => (2, Vec::new()),
            "cgroup" => (1, v1_controllers(options)),
            _ => return None,
        };
        let point = PathBuf::from(unescape(point));
        Some(Self { root: unescape(root), point, version, controllers })
    }

    /// Sorts the mount that shows most of the hierarchy first: one that reaches
    /// above the reader's cgroup namespace (`/../..`), then a whole one, then
    /// the subtrees that containers are given.
    fn narrowness(&self) -> (std::cmp::Reverse<usize>, usize) {
        (std::cmp::Reverse(self.root.matches("/..").count()), self.root.len())
    }
}

/// The controllers among the super-options of a v1 mount; a named hierarchy
/// (`name=systemd`) has none.
fn v1_controllers(options: &str) -> Vec<String> {
    const NOT_CONTROLLERS: [&str; 7] =
        ["rw", "ro", "xattr", "clone_children", "noprefix", "cpuset_v2_mode", "favordynmods"];
    options
        .split(',')
        .filter(|option| !NOT_CONTROLLERS.contains(option) && !option.contains('='))
        .map(str::to_owned)
        .collect()
}

/// Undoes the octal escapes (`\040`) of a mount table.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let code = rest.get(at + 1..at + 4).and_then(|octal| u8::from_str_radix(octal, 8).ok());
        let (text, used) = code.map_or(('\\', 1), |code| (char::from(code), 4));
        out.push(text);
        rest = &rest[at + used..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    fn none(_: &Path) -> String {
        String::new()
    }

    #[test]
    fn hybrid_has_co_mounted_controllers_and_a_v2_tree() {
        let layout = Layout::from_mountinfo(HYBRID, None, |_| "hugetlb\n".into()).unwrap();
        assert_eq!(layout.kind, LayoutKind::Hybrid);
        assert_eq!(layout.unified.as_deref(), Some(Path::new("/sys/fs/cgroup/unified")));
        assert_eq!(
            layout.directory("cpuacct", "/kubepods/pod1"),
            Some("/sys/fs/cgroup/cpu,cpuacct/kubepods/pod1".into())
        );
        assert_eq!(layout.controllers["hugetlb"], Path::new("/sys/fs/cgroup/unified"));
        assert_eq!(layout.directory("pids", "/"), None);
        assert_eq!(layout.controllers.len(), 4, "a named hierarchy is no controller");
    }

    #[test]
    fn unified_takes_controllers_from_the_root_file() {
        let text = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
        let layout = Layout::from_mountinfo(text, None, |_| "cpu memory pids".into()).unwrap();
        assert_eq!(layout.kind, LayoutKind::Unified);
        assert_eq!(layout.directory("pids", "/a"), Some("/sys/fs/cgroup/a".into()));
    }

    #[test]
    fn legacy_has_no_v2_tree() {
        let text: String = HYBRID.split_inclusive('\n').take(4).collect();
        let layout = Layout::from_mountinfo(&text, None, none).unwrap();
        assert_eq!((layout.kind, layout.unified), (LayoutKind::Legacy, None));
    }

    #[test]
    fn the_widest_mount_wins_and_a_folder_limits_the_search() {
        let text = "\
50 1 0:26 / /sys/fs/cgroup ro - cgroup2 cgroup ro
51 1 0:26 /../../.. /host/sys/fs/cgroup ro - cgroup2 cgroup ro
52 1 0:26 /pod/x /mnt/my\\040dir ro - cgroup2 cgroup ro
";
        let found = |below| Layout::from_mountinfo(text, below, none).map(|l| l.unified.unwrap());
        assert_eq!(found(None).unwrap(), Path::new("/host/sys/fs/cgroup"));
        assert_eq!(found(Some(Path::new("/sys"))).unwrap(), Path::new("/sys/fs/cgroup"));
        assert_eq!(found(Some(Path::new("/mnt"))).unwrap(), Path::new("/mnt/my dir"));
        let error = found(Some(Path::new("/nowhere"))).unwrap_err().to_string();
        assert!(error.contains("below /nowhere"), "{error}");
    }

    #[test]
    fn nonsense_is_no_mount() {
        for text in ["", "x", "1 2 3", "a b c d e - ", " - cgroup2", "1 1 0:1 / \\9 - cgroup2"] {
            let _ = Layout::from_mountinfo(text, None, none);
        }
        assert!(matches!(
            Layout::from_mountinfo("junk - cgroup\n", None, none),
            Err(LayoutError::NotMounted { .. })
        ));
    }
}
