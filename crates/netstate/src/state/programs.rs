//! BPF programs on control groups that judge packets.
//!
//! They belong to control groups, not to namespaces; every state lists those of
//! the whole node.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use libbpf_rs::ProgramAttachType;
use libbpf_rs::query::{LinkInfoIter, LinkTypeInfo, ProgInfoIter};
use serde::{Deserialize, Serialize};

/// How deep control groups are searched for their names.
const DEPTH: usize = 8;

/// A program attached to a control group by a BPF link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    /// Its number.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Whether it judges what is sent; otherwise what is received.
    pub egress: bool,
    /// The control group's path, or its number where that is not found.
    pub group: String,
}

/// All programs that judge packets of control groups; none without the right to
/// list them. Programs attached without a link are not listed by the kernel.
pub(crate) fn read() -> Vec<Attached> {
    let attached: Vec<(u32, u64, bool)> = LinkInfoIter::default()
        .filter_map(|link| match link.info {
            LinkTypeInfo::Cgroup(info) => match info.attach_type {
                ProgramAttachType::CgroupInetEgress => Some((link.prog_id, info.cgroup_id, true)),
                ProgramAttachType::CgroupInetIngress => Some((link.prog_id, info.cgroup_id, false)),
                _ => None,
            },
            _ => None,
        })
        .collect();
    if attached.is_empty() {
        return Vec::new();
    }
    let names: HashMap<u32, String> = ProgInfoIter::default()
        .map(|program| (program.id, program.name.to_string_lossy().into_owned()))
        .collect();
    let groups = groups();
    let one = |(id, group, egress): (u32, u64, bool)| Attached {
        id,
        name: names.get(&id).cloned().unwrap_or_default(),
        egress,
        group: groups.get(&group).cloned().unwrap_or_else(|| format!("control group {group}")),
    };
    attached.into_iter().map(one).collect()
}

/// Paths of control groups by their numbers (inodes of cgroup2).
fn groups() -> HashMap<u64, String> {
    let mounts = fs::read_to_string("/proc/thread-self/mounts").unwrap_or_default();
    let root = mounts.lines().find_map(|line| {
        let mut words = line.split(' ');
        let (_, path, kind) = (words.next()?, words.next()?, words.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(path))
    });
    let mut found = HashMap::new();
    if let Some(root) = root {
        walk(&root, &root, 0, &mut found);
    }
    found
}

fn walk(root: &Path, folder: &Path, depth: usize, found: &mut HashMap<u64, String>) {
    let Ok(meta) = fs::metadata(folder) else { return };
    let name = folder.strip_prefix(root).unwrap_or(folder);
    found.insert(meta.ino(), format!("/{}", name.display()));
    if depth == DEPTH {
        return;
    }
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        walk(root, &entry.path(), depth + 1, found);
    }
}
