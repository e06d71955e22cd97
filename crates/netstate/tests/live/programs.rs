//! BPF programs that refuse packets, for the bed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use libbpf_rs::{Link, ObjectBuilder};
use tempfile::TempDir;

use crate::bed::Bed;

/// The control group that refuses what its processes send.
pub(crate) const GROUP: &str = "/taproot-netstate-bed";

/// A program on a control group of the test's own; both end with this.
pub(crate) struct Refusing {
    _link: Link,
    group: PathBuf,
}

impl Drop for Refusing {
    fn drop(&mut self) {
        // A group is only empty when its process is reaped, which it is.
        let _ = fs::remove_dir(&self.group);
    }
}

/// Compiles the programs to `drop.o` in a folder.
pub(crate) fn compiled() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/drop.bpf.c");
    let status = Command::new("clang")
        .args(["-O2", "-g", "-target", "bpf", "-c"])
        .arg(source)
        .arg("-o")
        .arg(folder.path().join("drop.o"))
        .status();
    assert!(status.is_ok_and(|status| status.success()), "clang compiles");
    folder
}

impl Bed {
    /// Sends a UDP packet (`address/port`) from a process whose control group
    /// refuses it.
    pub(crate) fn refused_control_group(&self, who: &str, to: &str) -> Refusing {
        let folder = compiled();
        let object = ObjectBuilder::default()
            .open_file(folder.path().join("drop.o"))
            .and_then(libbpf_rs::OpenObject::load)
            .expect("loaded");
        let group = cgroup2().join(GROUP.trim_start_matches('/'));
        fs::create_dir(&group).expect("a control group");
        let folder = fs::File::open(&group).expect("opened");
        let program = object.progs_mut().find(|p| p.name() == "refuse_egress").expect("there");
        let link =
            program.attach_cgroup(std::os::fd::AsRawFd::as_raw_fd(&folder)).expect("attached");
        let refusing = Refusing { _link: link, group };
        let procs = refusing.group.join("cgroup.procs");
        let send = format!(
            "echo $$ > {}; exec ip netns exec {} bash -c 'echo x > /dev/udp/{to} || true' 2>/dev/null",
            procs.display(),
            self.path(who).file_name().unwrap_or_default().display()
        );
        let status = Command::new("bash").args(["-c", &send]).status();
        assert!(status.is_ok_and(|status| status.success()), "sent");
        refusing
    }
}

fn cgroup2() -> PathBuf {
    let mounts = fs::read_to_string("/proc/mounts").expect("/proc is there");
    let path = mounts.lines().find_map(|line| {
        let mut words = line.split(' ');
        let (_, path, kind) = (words.next()?, words.next()?, words.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(path))
    });
    path.expect("cgroup2 is mounted")
}
