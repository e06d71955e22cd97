//! The three arrangements of control groups, on trees of our own making.
#![allow(clippy::unwrap_used, reason = "a test that cannot set up its stage fails")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use taproot_kube::cgroup::LayoutKind;
use taproot_kube::{Options, Resolver, SourceState, SourceStatus};
use taproot_model::{EntityKind, Timestamp};

const ID: &str = "aaaa000000000000000000000000000000000000000000000000000000000002";
const UID: &str = "0b8c1f52-6f0e-4a6e-9c55-1f6f8f1b0a01";
const PODS: &str = include_str!("fixtures/kubelet-pods.json");

/// A machine made of files: `/proc` of one process in a container and one in a
/// unit, and mounted hierarchies.
struct Machine {
    folder: tempfile::TempDir,
}

impl Machine {
    fn new(mounts: &[(&str, &str)], process_groups: &str) -> Self {
        let machine = Self { folder: tempfile::tempdir().unwrap() };
        let line = |(point, kind): &(&str, &str)| {
            let point = machine.path(point);
            fs::create_dir_all(&point).unwrap();
            format!("30 1 0:1 / {} rw - {kind}\n", point.display())
        };
        let table: String = mounts.iter().map(line).collect();
        machine.write("proc/self/mountinfo", &table);
        machine.write("proc/42/comm", "ledger\n");
        machine.write("proc/42/cgroup", process_groups);
        machine.write("proc/43/comm", "cron\n");
        machine.write(
            "proc/43/cgroup",
            "1:name=systemd:/system.slice/cron.service\n0::/system.slice/cron.service\n",
        );
        machine.write("pods.json", PODS);
        machine
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn resolver(&self) -> Resolver {
        let resolver = Resolver::start(Options {
            node: "n1".into(),
            proc_root: self.path("proc"),
            run_root: self.path("run"),
            pods_file: Some(self.path("pods.json")),
            ..Options::default()
        });
        let limit = std::time::Instant::now() + Duration::from_secs(10);
        let is_read =
            |source: &SourceStatus| source.name == "pods-file" && source.state == SourceState::Ok;
        while !resolver.status().iter().any(is_read) {
            assert!(std::time::Instant::now() < limit, "the file is not read");
            std::thread::sleep(Duration::from_millis(5));
        }
        resolver
    }
}

fn group() -> String {
    format!("/kubepods/burstable/pod{UID}/{ID}")
}

fn assert_named_by_pid(resolver: &Resolver) {
    let ledger = resolver.resolve_pid(42);
    assert_eq!((&*ledger.service, &*ledger.container), ("bank/ledger", "ledger"));
    assert_eq!(&*ledger.cgroup_path, group());
    let cron = resolver.resolve_pid(43);
    assert_eq!((cron.kind, &*cron.id), (EntityKind::Unit, "unit:cron.service"));
}

fn make(root: &Path) {
    fs::create_dir_all(root.join(group().trim_start_matches('/'))).unwrap();
}

#[test]
fn unified() {
    let machine = Machine::new(&[("cg", "cgroup2 none rw")], &format!("0::{}\n", group()));
    machine.write("cg/cgroup.controllers", "cpu memory pids\n");
    make(&machine.path("cg"));
    let resolver = machine.resolver();
    let layout = resolver.layout().unwrap();
    assert_eq!(layout.kind, LayoutKind::Unified);
    let directory = layout.directory("memory", &group()).unwrap();
    assert!(directory.is_dir());
    assert_named_by_pid(&resolver);
    let id = resolver.cgroup_id(&group()).unwrap();
    let by_group = resolver.resolve_cgroup(id);
    assert_eq!(by_group.id, resolver.resolve_pid(42).id);
    assert_eq!(&*resolver.cgroup_path(id).unwrap(), group());
}

#[test]
fn hybrid() {
    let mounts = [
        ("cg/unified", "cgroup2 none rw"),
        ("cg/cpu,cpuacct", "cgroup none rw,cpu,cpuacct"),
        ("cg/memory", "cgroup none rw,memory"),
    ];
    // A runtime that joins only the v1 trees.
    let machine =
        Machine::new(&mounts, &format!("3:memory:{0}\n2:cpu,cpuacct:{0}\n0::/\n", group()));
    make(&machine.path("cg/memory"));
    make(&machine.path("cg/cpu,cpuacct"));
    let resolver = machine.resolver();
    let layout = resolver.layout().unwrap();
    assert_eq!(layout.kind, LayoutKind::Hybrid);
    assert_eq!(layout.directories(&group()).len(), 2);
    assert!(layout.directory("cpu", &group()).unwrap().is_dir());
    assert_named_by_pid(&resolver);
    let root = resolver.cgroup_id("/").unwrap();
    assert_eq!(resolver.resolve_cgroup(root).kind, EntityKind::Node);
}

#[test]
fn legacy() {
    let machine =
        Machine::new(&[("cg/memory", "cgroup none rw,memory")], &format!("3:memory:{}\n", group()));
    make(&machine.path("cg/memory"));
    let resolver = machine.resolver();
    assert_eq!(resolver.layout().unwrap().kind, LayoutKind::Legacy);
    assert_named_by_pid(&resolver);
}

#[test]
fn no_groups_at_all_stops_nothing_and_is_said() {
    let machine = Machine::new(&[], "");
    let resolver = machine.resolver();
    assert!(resolver.layout().unwrap_err().to_string().contains("mount one"));
    assert_eq!(&*resolver.resolve_pid(42).id, "process:ledger");
    let status = resolver.status().into_iter().find(|source| source.name == "cgroup").unwrap();
    assert!(
        status.detail.contains("no cgroup file system") || status.detail.contains("not asked"),
        "{status:?}"
    );
}

#[test]
fn groups_are_learnt_from_the_kernel_and_from_a_walk() {
    let machine = Machine::new(&[("cg", "cgroup2 none rw")], "0::/\n");
    make(&machine.path("cg"));
    let resolver = machine.resolver();
    resolver.on_cgroup_mkdir("/system.slice/late.service", u64::MAX, Timestamp(1));
    assert_eq!(&*resolver.resolve_cgroup(u64::MAX).service, "late");
    resolver.on_cgroup_rmdir(u64::MAX, Timestamp(2));
    assert_eq!(&*resolver.resolve_cgroup(u64::MAX).service, "late", "for events read late");

    fs::create_dir_all(machine.path("cg/system.slice/quiet.service")).unwrap();
    let id = resolver.cgroup_id("/system.slice/quiet.service").unwrap();
    assert_eq!(
        &*resolver.resolve_cgroup(id).id,
        "unit:quiet.service",
        "found by a walk right then"
    );
    assert_eq!(resolver.resolve_cgroup(12_345).kind, EntityKind::Node);
    assert_eq!(resolver.counters().unknown_groups, 1);
    machine.write("cg/plain/cgroup.procs", "42\n");
    std::thread::sleep(Duration::from_millis(250));
    let plain = resolver.cgroup_id("/plain").unwrap();
    assert_eq!(&*resolver.resolve_cgroup(plain).id, "process:ledger", "one program in it");
}

#[test]
fn who_listens_here_is_named_by_the_port() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let me = std::process::id();
    let options = Options { node: "n1".into(), node_pid: me, ..Options::default() };
    let resolver = Resolver::start(Options { refresh: Duration::from_millis(50), ..options });
    let netns = resolver.netns(me);
    let expected = resolver.resolve_pid(me).id.clone();
    let limit = std::time::Instant::now() + Duration::from_secs(10);
    loop {
        let loopback = "127.0.0.1".parse().unwrap();
        let owner = resolver.resolve_addr(netns, loopback, port, Timestamp::now()).unwrap();
        if owner.id == expected {
            break;
        }
        assert!(std::time::Instant::now() < limit, "still {}", owner.id);
        std::thread::sleep(Duration::from_millis(10));
    }
}
