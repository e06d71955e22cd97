//! Who is in a control group, and which files they run.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// A file as the kernel tells it apart, by device and inode.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct FileId(String);

/// A file that a process may run code of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mapped {
    pub(super) id: FileId,
    /// Its path as the process sees it.
    pub(super) path: String,
    /// A way to the very file, whatever lies at its path by now.
    link: PathBuf,
    /// The same by its path.
    named: PathBuf,
}

impl Mapped {
    /// Opens it; gives the way that led to it, too.
    pub(super) fn open(&self) -> Option<(File, &Path)> {
        let ways = [&self.link, &self.named];
        ways.into_iter().find_map(|way| Some((File::open(way).ok()?, way.as_path())))
    }
}

/// Adds all processes.
pub(super) fn everybody(out: &mut BTreeSet<u32>) {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    out.extend(entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()));
}

/// Adds the processes of a control group and of all below it.
pub(super) fn members(group: &Path, out: &mut BTreeSet<u32>) {
    if let Ok(text) = fs::read_to_string(group.join("cgroup.procs")) {
        out.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
    }
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            members(&entry.path(), out);
        }
    }
}

/// Whether a control group is that of everybody.
pub(super) fn is_root(group: &Path) -> bool {
    !group.join("cgroup.type").exists()
}

/// The files a process may run code of, each once.
pub(super) fn mapped(process: u32) -> Vec<Mapped> {
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).unwrap_or_default();
    let mut out: Vec<Mapped> = Vec::new();
    for found in maps.lines().filter_map(|line| parse(process, line)) {
        if out.iter().all(|known| known.id != found.id) {
            out.push(found);
        }
    }
    out
}

/// `55d0-55d9 r-xp 0002a000 fe:00 1050541    /usr/sbin/nginx`
fn parse(process: u32, line: &str) -> Option<Mapped> {
    let mut words = line.split_ascii_whitespace();
    let (range, rights, _, device, inode) =
        (words.next()?, words.next()?, words.next()?, words.next()?, words.next()?);
    let path = line.get(line.find('/')?..)?;
    if rights.as_bytes().get(2) != Some(&b'x') || inode == "0" {
        return None;
    }
    Some(Mapped {
        id: FileId(format!("{device} {inode}")),
        path: path.to_owned(),
        link: format!("/proc/{process}/map_files/{range}").into(),
        named: format!("/proc/{process}/root{path}").into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_may_be_run_from_a_file() {
        let line = "7f8dfae2f000-7f8dfae9a000 r-xp 0001f000 fe:00 133021     /lib/with a space.so";
        let found = parse(7, line).unwrap();
        assert_eq!(found.path, "/lib/with a space.so");
        assert_eq!(found.id, FileId("fe:00 133021".into()));
        assert_eq!(found.link, Path::new("/proc/7/map_files/7f8dfae2f000-7f8dfae9a000"));
        for other in [
            "7f8dfae2f000-7f8dfae9a000 r--p 00000000 fe:00 133021     /lib/data.so",
            "7ffd1a5d4000-7ffd1a5d6000 r-xp 00000000 00:00 0          [vdso]",
            "7f8dfae2f000-7f8dfae9a000 rwxp 00000000 00:00 0",
            "",
        ] {
            assert_eq!(parse(7, other), None, "{other}");
        }
    }

    #[test]
    fn this_very_process_runs_its_own_file() {
        let own = std::env::current_exe().unwrap();
        let files = mapped(std::process::id());
        let found = files.iter().find(|file| Path::new(&file.path) == own).unwrap();
        assert!(found.open().is_some());
    }
}
