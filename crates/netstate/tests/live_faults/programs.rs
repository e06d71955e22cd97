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

/// The programs as an object file: compiled here, or beforehand where there is no
/// compiler (a guest).
pub(crate) struct Compiled {
    folder: TempDir,
}

/// The source, and what was made of it for a guest.
fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/drop.bpf.c")
}

fn made_before() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/drop.o")
}

/// Why there are no programs here.
pub(crate) fn obstacle() -> Option<String> {
    let there = made_before().is_file() || taproot_testkit::command_path("clang").is_some();
    (!there).then(|| "not installed: clang".to_owned())
}

impl Compiled {
    /// Makes the object file.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let object = folder.path().join("drop.o");
        if fs::copy(made_before(), &object).is_err() {
            let mut clang = Command::new("clang");
            clang.args(["-O2", "-g", "-target", "bpf", "-c", "-o"]).arg(&object).arg(source());
            assert!(clang.status().is_ok_and(|status| status.success()), "clang compiles");
        }
        Self { folder }
    }

    /// Where it lies.
    pub(crate) fn object(&self) -> PathBuf {
        self.folder.path().join("drop.o")
    }
}

impl Bed {
    /// Sends a UDP packet (`address/port`) from a process whose control group
    /// refuses it.
    pub(crate) fn refused_control_group(&self, who: &str, to: &str) -> Refusing {
        let compiled = Compiled::new();
        let object = ObjectBuilder::default()
            .open_file(compiled.object())
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
