use super::Owner;
use std::fs;
use std::io;
use std::path::Path;

/// The groups a process is in: its `/proc/<pid>/cgroup`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// Path in the v2 tree, from the line `0::`.
    pub unified: Option<String>,
    /// Controllers of each v1 hierarchy, and the path in it. A named hierarchy
    /// is listed by its name alone (`name=systemd`).
    pub v1: Vec<(Vec<String>, String)>,
}

impl Membership {
    /// Reads the groups of a process.
    pub fn of(proc_root: &Path, pid: u32) -> io::Result<Self> {
        let text = fs::read_to_string(proc_root.join(format!("{pid}/cgroup")))?;
        Ok(Self::parse(&text))
    }

    /// Parses lines `hierarchy:controllers:path` (cgroups(7)); a line of another
    /// shape is passed over.
    pub fn parse(text: &str) -> Self {
        let mut found = Self::default();
        for line in text.lines() {
            let mut parts = line.splitn(3, ':');
            let (Some(_), Some(controllers), Some(path)) =
                (parts.next(), parts.next(), parts.next())
            else {
                continue;
            };
            let path = path.strip_suffix(" (deleted)").unwrap_or(path).to_owned();
            if controllers.is_empty() {
                found.unified = Some(path);
            } else {
                found.v1.push((controllers.split(',').map(str::to_owned).collect(), path));
            }
        }
        found
    }

    /// The path in the tree of `controller`: the v1 hierarchy that has it, else
    /// the v2 tree.
    pub fn path(&self, controller: &str) -> Option<&str> {
        let in_v1 = |(names, _): &&(Vec<String>, String)| names.iter().any(|n| n == controller);
        self.v1.iter().find(in_v1).map(|(_, path)| path).or(self.unified.as_ref()).map(|p| &**p)
    }

    /// The path that tells most about the owner, and that owner.
    ///
    /// On a hybrid machine some runtimes join only the v1 trees, others all;
    /// therefore every path is looked at, and a container beats a pod beats a
    /// unit. Among equals the v2 tree comes first, because BPF sees that one.
    pub fn owner(&self) -> (&str, Owner) {
        let v1 = self.v1.iter().map(|(_, path)| path);
        let mut best: Option<(&str, Owner)> = None;
        for path in self.unified.iter().chain(v1) {
            let owner = Owner::of(path);
            if best.as_ref().is_none_or(|(_, known)| owner.rank() > known.rank()) {
                best = Some((path, owner));
            }
        }
        best.unwrap_or(("/", Owner::None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "37059836a1be47d288c799690b28db6a8c053aba0277fb0e4c650eca30f6b07d";

    #[test]
    fn v2_has_one_line() {
        let found = Membership::parse("0::/system.slice/nginx.service\n");
        assert_eq!(found.path("memory"), Some("/system.slice/nginx.service"));
        assert_eq!(found.owner().1, Owner::Unit("nginx.service".into()));
    }

    #[test]
    fn hybrid_finds_the_controller_and_prefers_the_container() {
        let text = format!("4:memory:/kubepods/pod1-2/{ID}\n2:cpu,cpuacct:/a:b\n0::/\n");
        let found = Membership::parse(&text);
        assert_eq!(found.path("cpuacct"), Some("/a:b"));
        assert_eq!(found.path("pids"), Some("/"), "not mounted as v1: the v2 path");
        let (path, owner) = found.owner();
        assert_eq!(path, format!("/kubepods/pod1-2/{ID}"));
        assert!(matches!(owner, Owner::Container(c) if c.id.as_str() == ID));
    }

    #[test]
    fn v1_alone_and_a_deleted_group() {
        let text = format!("5:pids:/docker/{ID} (deleted)\n1:name=systemd:/\n");
        let found = Membership::parse(&text);
        assert_eq!(found.unified, None);
        assert_eq!(found.owner().0, format!("/docker/{ID}"));
        assert_eq!(found.path("cpu"), None);
    }

    #[test]
    fn nothing_is_nobody() {
        assert_eq!(Membership::parse("").owner(), ("/", Owner::None));
        assert_eq!(Membership::parse("a\n1:2\n::").unified.as_deref(), Some(""));
    }
}
