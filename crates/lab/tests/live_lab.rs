//! A lab on this kernel: up, traffic, truth, down; and what a crash leaves.

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::{alone, leftovers, options, pod_path, rate, wait_for};
use rustix::process::{Pid, Signal, kill_process};
use taproot_lab::state::Lab as State;
use taproot_lab::{Error, Lab, cli};
use taproot_testkit::{guest_kernel, need, need_commands, need_root};

#[test]
fn live_traffic_flows_and_the_counts_agree_with_nginx() {
    need_root!();
    need!(
        guest_kernel().is_none(),
        "the lab's own figures are those of a real CPU; its verdicts run here"
    );
    need_commands!("ip", "nft", "nginx", "redis-server");
    let _alone = alone();
    let options = options("tcount");
    let lab = Lab::up(&options).unwrap();
    std::thread::sleep(Duration::from_secs(3));
    let load = lab.pause().unwrap();
    assert!(load.answered as f64 >= 2.0 * rate(), "{load:?}");
    assert!(load.failures.is_empty(), "{load:?}");
    // An emulated machine may be too slow for the gateway's patience at first.
    if guest_kernel().is_none() {
        assert!(load.by_status.keys().all(|s| *s < 400), "{load:?}");
    }
    // The gateway's nginx counts for itself, in its access log.
    let gateway = lab.state().unwrap().pod("gateway").unwrap().clone();
    let log = std::fs::read_to_string(&gateway.container.log_path).unwrap();
    let served = log.lines().filter(|l| l.contains(" stdout F 10.244.")).count();
    assert_eq!(served as u64, load.sent);
    lab.down().unwrap();
    assert_eq!(leftovers("tcount"), BTreeSet::new());
}

#[test]
fn live_pods_are_where_the_state_says() {
    need_root!();
    need!(
        guest_kernel().is_none(),
        "the lab's own figures are those of a real CPU; its verdicts run here"
    );
    need_commands!("ip", "nft");
    let _alone = alone();
    let mut options = options("twhere");
    options.real_servers = false;
    let lab = Lab::up(&options).unwrap();
    let state = lab.state().unwrap();
    for pod in &state.pods {
        let process = pod.container.process.unwrap();
        assert!(process.is_alive(), "{}", pod.name);
        let netns = std::fs::read_link(pod_path(process.pid, "ns/net")).unwrap();
        assert_eq!(netns.to_string_lossy(), format!("net:[{}]", pod.netns.inode));
        let cgroups = std::fs::read_to_string(pod_path(process.pid, "cgroup")).unwrap();
        let path = pod.container.cgroup.to_string_lossy();
        let inside = cgroups.lines().filter(|l| l.ends_with(&*path)).count();
        assert_eq!(inside, state.hierarchies.len(), "{cgroups}");
        let limits = std::fs::read_to_string(pod_path(process.pid, "limits")).unwrap();
        let files = limits.lines().find(|l| l.starts_with("Max open files")).unwrap();
        assert!(files.contains(&format!(" {} ", pod.limits.files)), "{files}");
        assert_eq!(pod.container.id.len(), 64);
        assert!(pod.container.log_path.exists());
    }
    drop(lab);
    assert_eq!(leftovers("twhere"), BTreeSet::new());
}

#[test]
fn live_a_killed_lab_is_found_and_removed() {
    need_root!();
    need!(
        guest_kernel().is_none(),
        "the lab's own figures are those of a real CPU; its verdicts run here"
    );
    need_commands!("ip", "nft");
    let _alone = alone();
    let options = options("tkill");
    let lab = Lab::up(&options).unwrap();
    let dir = lab.state_dir().to_path_buf();
    assert!(matches!(Lab::up(&options), Err(Error::AlreadyUp { .. })));
    let supervisor = State::load(&dir).unwrap().supervisor.unwrap();
    lab.detach();
    kill_process(Pid::from_raw(supervisor.pid).unwrap(), Signal::KILL).unwrap();
    assert!(supervisor.wait_gone(Duration::from_secs(5)));
    // Not even the state is left, as after a full /run.
    std::fs::remove_dir_all(&dir).unwrap();
    assert!(!leftovers("tkill").is_empty());
    let said = cli::down("tkill", None).unwrap();
    assert!(said.contains("network namespaces"), "{said}");
    assert_eq!(leftovers("tkill"), BTreeSet::new());
    assert!(cli::down("tkill", None).unwrap().contains("nothing to remove"));
}

#[test]
fn live_extras_have_their_edges_and_the_reused_address_changes_hands() {
    need_root!();
    need!(
        guest_kernel().is_none(),
        "the lab's own figures are those of a real CPU; its verdicts run here"
    );
    need_commands!("ip", "nft");
    let _alone = alone();
    let mut options = options("textra");
    options.extras = true;
    let lab = Lab::up(&options).unwrap();
    let second_runs = || {
        let state = lab.state().unwrap();
        state.pod("job-b").is_some_and(|p| p.container.process.is_some())
    };
    assert!(wait_for(15, second_runs));
    let state = lab.state().unwrap();
    let (first, second) = (state.pod("job-a").unwrap(), state.pod("job-b").unwrap());
    assert_eq!(first.ip(), second.ip());
    assert!(first.ended_unix_ns.unwrap() <= second.started_unix_ns);
    // The first request of each caller is logged once it is answered.
    for (caller, words) in
        [("echo", "echo answered"), ("echo", "hostweb answered"), ("hostweb", "inventory answered")]
    {
        let log = state.pod(caller).unwrap().container.log_path.clone();
        let said = || std::fs::read_to_string(&log).is_ok_and(|t| t.contains(words));
        assert!(wait_for(10, said), "{caller}: {words}");
    }
}
