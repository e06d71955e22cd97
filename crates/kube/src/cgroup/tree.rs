use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};
use taproot_model::Name;

/// The groups of the v2 tree by id, which is the inode of their directory and
/// what `bpf_get_current_cgroup_id()` returns.
///
/// Kept true by whole scans and, in between, by the kernel's own word on groups
/// that come and go ([`Tree::insert`], [`Tree::remove`]).
#[derive(Debug, Default)]
pub struct Tree {
    root: Option<PathBuf>,
    paths: HashMap<u64, Name>,
    /// Told by the kernel since the last scan, which may have missed them.
    told: HashSet<u64>,
}

/// What a scan found changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct TreeChange {
    /// New groups: id and path.
    pub added: Vec<(u64, Name)>,
    /// Groups that are no more: id and last path.
    pub removed: Vec<(u64, Name)>,
}

impl Tree {
    /// A tree to be scanned from the mount point of a hierarchy: that of v2,
    /// whose ids BPF sees, or in the legacy layout one of v1, for its paths alone.
    pub fn new(root: Option<PathBuf>) -> Self {
        Self { root, ..Self::default() }
    }

    /// The path of a group, relative to the mount point and starting with `/`.
    pub fn path(&self, id: u64) -> Option<&Name> {
        self.paths.get(&id)
    }

    /// Ids of all groups known.
    pub fn ids(&self) -> impl Iterator<Item = u64> + '_ {
        self.paths.keys().copied()
    }

    /// How many groups are known.
    pub fn len(&self) -> usize {
        self.paths.len()
    }

    /// Whether no group is known.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// The id of the group at `path`, asked from the file system.
    pub fn id_of(&self, path: &str) -> io::Result<u64> {
        let root = self.root.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        Ok(fs::metadata(root.join(path.trim_start_matches('/')))?.ino())
    }

    /// Notes a group that was just made (tracepoint `cgroup_mkdir`, hierarchy 0).
    pub fn insert(&mut self, id: u64, path: Name) {
        self.told.insert(id);
        self.paths.insert(id, path);
    }

    /// Notes that a group is no more (tracepoint `cgroup_rmdir`).
    pub fn remove(&mut self, id: u64) -> Option<Name> {
        self.told.remove(&id);
        self.paths.remove(&id)
    }

    /// Walks the tree below the mount point: every group by id. Groups that
    /// vanish during the walk are left out.
    pub fn walk(root: &Path) -> io::Result<HashMap<u64, Name>> {
        let mut found = HashMap::from([(fs::metadata(root)?.ino(), Name::from("/"))]);
        let mut open = vec![String::new()];
        while let Some(parent) = open.pop() {
            let Ok(entries) = fs::read_dir(root.join(parent.trim_start_matches('/'))) else {
                continue;
            };
            for entry in entries.flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    let path = format!("{parent}/{}", entry.file_name().to_string_lossy());
                    found.insert(entry.ino(), Name::from(&path));
                    open.push(path);
                }
            }
        }
        Ok(found)
    }

    /// The mount point that [`Tree::walk`] wants.
    pub fn root(&self) -> Option<&Path> {
        self.root.as_deref()
    }

    /// Takes the outcome of a walk as the truth and says what is new. A group
    /// that the kernel told of since the walk before is kept, because it may be
    /// younger than this walk's look at its parent.
    pub fn replace(&mut self, mut found: HashMap<u64, Name>) -> TreeChange {
        for id in std::mem::take(&mut self.told) {
            if let Some(path) = self.paths.get(&id) {
                found.entry(id).or_insert_with(|| path.clone());
            }
        }
        let added = found
            .iter()
            .filter(|(id, path)| self.paths.get(id) != Some(path))
            .map(|(id, path)| (*id, path.clone()))
            .collect();
        let removed = self
            .paths
            .iter()
            .filter(|(id, _)| !found.contains_key(id))
            .map(|(id, path)| (*id, path.clone()))
            .collect();
        self.paths = found;
        TreeChange { added, removed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scans_come_and_go() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("kubepods/pod1")).unwrap();
        fs::write(folder.path().join("cgroup.procs"), "").unwrap();
        let mut tree = Tree::new(Some(folder.path().to_owned()));
        let change = tree.replace(Tree::walk(folder.path()).unwrap());
        assert_eq!((change.added.len(), change.removed.len()), (3, 0));
        let id = tree.id_of("/kubepods/pod1").unwrap();
        assert_eq!(tree.path(id).unwrap().as_str(), "/kubepods/pod1");
        assert_eq!(tree.path(tree.id_of("/").unwrap()).unwrap().as_str(), "/");

        assert_eq!(tree.replace(Tree::walk(folder.path()).unwrap()), TreeChange::default());
        fs::remove_dir(folder.path().join("kubepods/pod1")).unwrap();
        let change = tree.replace(Tree::walk(folder.path()).unwrap());
        assert_eq!((change.added, change.removed), (vec![], vec![(id, "/kubepods/pod1".into())]));
        assert_eq!((tree.path(id), tree.len()), (None, 2));
    }

    #[test]
    fn the_kernel_may_tell_first() {
        let mut tree = Tree::new(None);
        assert!(tree.is_empty() && tree.root().is_none());
        tree.insert(7, "/a".into());
        assert_eq!(tree.path(7).unwrap().as_str(), "/a");
        assert_eq!(tree.remove(7).unwrap().as_str(), "/a");
        assert!(tree.id_of("/a").is_err());
        tree.insert(8, "/b".into());
        assert_eq!(tree.replace(HashMap::new()), TreeChange::default(), "younger than the walk");
        assert_eq!(tree.replace(HashMap::new()).removed, [(8, "/b".into())]);
    }
}
