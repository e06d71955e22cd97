//! Nothing of ours is left behind, however it ends.

mod common;

use std::process::Stdio;
use std::time::Duration;

use common::{Running, Shop, eventually, exists, our_programs, run};
use taproot_lab::process::ProcessId;
use taproot_testkit::{guest_kernel, need_commands, need_root, skip};

fn observe(dir: &tempfile::TempDir, shop: &Shop) -> Running {
    let store = dir.path().join("t.db").display().to_string();
    let args = ["run", "--lab", &shop.name, "--store", &store, "--listen", "127.0.0.1:0"];
    let running = Running::start(&args, Stdio::null());
    eventually(Duration::from_mins(3), "programs are loaded", || !our_programs().is_empty());
    running
}

#[test]
fn ctrl_c_and_kill_leave_no_program() {
    need_root!();
    need_commands!("ip", "nft");
    if !our_programs().is_empty() {
        skip!("another taproot runs on this kernel");
    }
    let shop = match Shop::up("clean", &[]) {
        Ok(shop) => shop,
        Err(why) => skip!("no lab here: {why}"),
    };
    let dir = tempfile::tempdir().unwrap();
    // The signal may come while the kernel still verifies a program, which nothing
    // interrupts and an emulated CPU takes long for.
    let patience = Duration::from_secs(if guest_kernel().is_some() { 240 } else { 20 });
    for signal in ["-INT", "-TERM", "-KILL"] {
        let mut running = observe(&dir, &shop);
        running.signal(signal);
        let status = running.wait(patience);
        assert_eq!(status.success(), signal != "-KILL", "{signal}: {status}");
        eventually(Duration::from_mins(1), "all programs are gone", || our_programs().is_empty());
    }
}

#[test]
fn a_lab_is_removed_whole_also_after_a_kill() {
    need_root!();
    need_commands!("ip", "nft");
    let shop = match Shop::up("broken", &[]) {
        Ok(shop) => shop,
        Err(why) => skip!("no lab here: {why}"),
    };
    let truth = shop.truth();
    let supervisor = truth.supervisor.expect("a running lab has a supervisor");
    supervisor.signal(taproot_lab_signal());
    let netns: Vec<String> = truth.pods.iter().map(|p| p.netns.name.clone()).collect();
    assert!(netns.iter().any(|n| exists(format!("/run/netns/{n}"))));
    assert!(run(&["lab", "down", "--name", &shop.name]).status.success());
    for name in netns {
        assert!(!exists(format!("/run/netns/{name}")), "namespace {name} is left");
    }
    for hierarchy in &truth.hierarchies {
        let group =
            hierarchy.mount.join(truth.cgroup_root.strip_prefix("/").unwrap_or(&truth.cgroup_root));
        assert!(!exists(&group), "control group {} is left", group.display());
    }
    let alive: Vec<_> = truth
        .pods
        .iter()
        .filter(|p| p.container.process.is_some_and(ProcessId::is_alive))
        .map(|p| p.name.clone())
        .collect();
    assert!(alive.is_empty(), "processes are left: {alive:?}");
    assert!(!exists(shop.dir()), "its state is left");
}

/// SIGKILL as the lab's own type.
fn taproot_lab_signal() -> rustix::process::Signal {
    rustix::process::Signal::KILL
}
