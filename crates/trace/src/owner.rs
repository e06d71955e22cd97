//! The process at the end of a packet's way, and its control group.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use taproot_model::Socket;

/// The process that sends through a socket. The one that ran when a packet was seen
/// may be another (TCP sends again from a timer): one of another namespace is not it.
pub(crate) fn sender(proc_root: &Path, socket: &Socket, netns: u32) -> Option<u32> {
    (socket.pid != 0 && is_in(&proc_root.join(socket.pid.to_string()), netns)).then_some(socket.pid)
}

/// The first process of a namespace that holds a socket, by the socket's inode.
pub(crate) fn holder(proc_root: &Path, socket: u64, netns: u32) -> Option<u32> {
    let name = format!("socket:[{socket}]");
    let processes = fs::read_dir(proc_root).ok()?.flatten();
    processes
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())))
        .filter(|(_, folder)| is_in(folder, netns))
        .find(|(_, folder)| {
            let files = fs::read_dir(folder.join("fd")).into_iter().flatten().flatten();
            let mut targets = files.filter_map(|file| fs::read_link(file.path()).ok());
            targets.any(|target| target.as_os_str() == name.as_str())
        })
        .map(|(pid, _)| pid)
}

fn is_in(process: &Path, netns: u32) -> bool {
    fs::metadata(process.join("ns/net")).is_ok_and(|meta| meta.ino() as u32 == netns)
}

/// The path of a process's control group in the unified hierarchy.
pub(crate) fn control_group(proc_root: &Path, pid: u32) -> Option<String> {
    let text = fs::read_to_string(proc_root.join(format!("{pid}/cgroup"))).ok()?;
    text.lines().find_map(|line| line.strip_prefix("0::")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A `/proc` with two processes in one namespace, and that namespace's inode.
    fn proc() -> (tempfile::TempDir, u32) {
        let root = tempfile::tempdir().expect("a folder");
        let netns = root.path().join("netns");
        fs::write(&netns, "").expect("written");
        for (pid, socket) in [("41", 7), ("42", 77)] {
            let process = root.path().join(pid);
            fs::create_dir_all(process.join("fd")).expect("made");
            fs::create_dir_all(process.join("ns")).expect("made");
            symlink(&netns, process.join("ns/net")).expect("linked");
            symlink(format!("socket:[{socket}]"), process.join("fd/3")).expect("linked");
            let groups = format!("4:memory:/old\n0::/kubepods/pod{pid}\n");
            fs::write(process.join("cgroup"), groups).expect("written");
        }
        let inode = fs::metadata(&netns).expect("there").ino() as u32;
        (root, inode)
    }

    #[test]
    fn a_socket_leads_to_its_process_and_group() {
        let (root, netns) = proc();
        assert_eq!(holder(root.path(), 77, netns), Some(42));
        assert_eq!(control_group(root.path(), 42).as_deref(), Some("/kubepods/pod42"));
        assert_eq!(holder(root.path(), 78, netns), None);
        assert_eq!(holder(root.path(), 77, netns + 1), None, "it is in another namespace");
        assert_eq!(control_group(root.path(), 43), None);
    }

    #[test]
    fn who_ran_in_another_namespace_is_not_the_sender() {
        let (root, netns) = proc();
        let socket = Socket { cookie: 1, pid: 41, command: "curl".into() };
        assert_eq!(sender(root.path(), &socket, netns), Some(41));
        assert_eq!(sender(root.path(), &socket, netns + 1), None);
        assert_eq!(sender(root.path(), &Socket::default(), netns), None);
    }
}
