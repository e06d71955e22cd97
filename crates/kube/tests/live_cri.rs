//! Real pods of a real containerd, named by control group, process, network
//! namespace and address.
#![allow(clippy::unwrap_used, reason = "a test that cannot set up its stage fails")]

mod support;

use std::collections::HashSet;
use std::fs;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use support::node::{CNI_PLUGINS, COMMANDS, Node, Pod};
use taproot_kube::{Resolver, SourceState};
use taproot_model::{Entity, Timestamp};
use taproot_testkit::{need, need_commands, need_root};

/// One containerd at a time: the machine may be small.
static ONE: Mutex<()> = Mutex::new(());

macro_rules! need_containerd {
    () => {
        need_root!();
        need_commands!(
            COMMANDS[0],
            COMMANDS[1],
            COMMANDS[2],
            COMMANDS[3],
            COMMANDS[4],
            COMMANDS[5],
            COMMANDS[6]
        );
        need!(
            std::path::Path::new(CNI_PLUGINS).join("bridge").exists(),
            "no CNI plugins in {CNI_PLUGINS}: install containernetworking-plugins"
        );
        let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    };
}

/// Waits until something is true, and fails with its name if it never is.
fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let limit = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(Instant::now() < limit, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The processes of a pod's container, from any hierarchy that has its group.
fn pids(pod: &Pod) -> Vec<u32> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let points = mounts.lines().filter(|line| line.contains(" - cgroup"));
    let files = points.filter_map(|line| line.split(' ').nth(4));
    let texts =
        files.filter_map(|p| fs::read_to_string(format!("{p}{}/cgroup.procs", pod.group)).ok());
    texts
        .flat_map(|text| text.lines().map(|pid| pid.parse().unwrap()).collect::<Vec<u32>>())
        .collect()
}

fn assert_is(entity: &Entity, pod: &Pod, name: &str) {
    let got = (&*entity.pod, &*entity.namespace, &*entity.pod_uid, &*entity.container);
    assert_eq!(got, (name, "live", &*pod.uid, "main"));
    assert_eq!(entity.container_id.as_str(), pod.container);
}

fn address_of(resolver: &Resolver, pod: &Pod) -> IpAddr {
    let pid = *pids(pod).first().expect("the pod runs");
    let found = taproot_kube::netns::addresses("/proc".as_ref(), pid).unwrap();
    assert!(resolver.netns(pid).is_some());
    *found.iter().find(|ip| ip.is_ipv4()).expect("the CNI gave an address")
}

#[test]
fn pods_are_named_by_group_process_namespace_and_address() {
    need_containerd!();
    let node = Node::start("names", 20);
    let resolver = Resolver::start(node.options());
    let sleep = ["/bin/sh", "-c", "sleep 1000"];
    let web = node.run("web-5d4f8c7b9-abcde", "11111111-2222-4333-8444-555555555501", &sleep);
    let db = node.run("db-0", "11111111-2222-4333-8444-555555555502", &sleep);

    for (pod, name) in [(&web, "web-5d4f8c7b9-abcde"), (&db, "db-0")] {
        let pid = pids(pod)[0];
        let entity = eventually("named by process", || {
            Some(resolver.resolve_pid(pid)).filter(|entity| !entity.container.is_empty())
        });
        assert_is(&entity, pod, name);
        if let Some(id) = resolver.cgroup_id(&pod.group) {
            assert_is(&resolver.resolve_cgroup(id), pod, name);
        }
        let ip = address_of(&resolver, pod);
        let by_address = eventually("named by address", || {
            resolver.resolve_addr(None, ip, 80, Timestamp::now())
        });
        assert_is(&by_address, pod, name);
        let inode = resolver.netns(pid).unwrap();
        assert_is(&resolver.resolve_netns(inode, 80, Timestamp::now()).unwrap(), pod, name);
        let loopback = "127.0.0.1".parse().unwrap();
        let own = resolver.resolve_addr(Some(inode), loopback, 80, Timestamp::now());
        assert_is(&own.expect("loopback of its namespace"), pod, name);
    }
    // A name is known from the runtime's files before its daemon tells of labels.
    let entity = eventually("its workload is known", || {
        Some(resolver.resolve_pid(pids(&web)[0])).filter(|entity| !entity.workload.is_empty())
    });
    assert_eq!((&*entity.workload_kind, &*entity.workload), ("Deployment", "web"));
    assert_eq!((&*entity.service, &*entity.node), ("live/web", "test-node"));
    let cri = resolver.status().into_iter().find(|source| source.name == "cri").unwrap();
    assert_eq!(cri.state, SourceState::Ok, "{}", cri.detail);
    assert!(cri.detail.contains("containerd"), "{}", cri.detail);

    node.remove(&web);
    node.remove(&db);
    drop(resolver);
    assert_eq!(node.stop(), Vec::<std::path::PathBuf>::new(), "nothing is left behind");
}

/// Tells a resolver of new groups below a node's, as the kernel's tracepoint
/// would, by looking every two milliseconds.
fn watch(
    resolver: &Arc<Resolver>,
    node: &Node,
    stop: &Arc<AtomicBool>,
) -> std::thread::JoinHandle<()> {
    let (resolver, stop) = (resolver.clone(), stop.clone());
    let root = resolver.layout().unwrap().unified.clone();
    let group = format!("/{}", node.group());
    std::thread::spawn(move || {
        let Some(root) = root else { return };
        let mut seen = HashSet::new();
        while !stop.load(Ordering::Relaxed) {
            let all = taproot_kube::cgroup::Tree::walk(&root.join(group.trim_start_matches('/')));
            for (id, path) in all.unwrap_or_default() {
                if seen.insert(id) {
                    resolver.on_cgroup_mkdir(&format!("{group}{path}"), id, Timestamp::now());
                }
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    })
}

#[test]
fn a_pod_that_lives_for_a_second_is_named() {
    need_containerd!();
    let node = Node::start("short", 20);
    let mut options = node.options();
    // No refresh helps: only what events and the state files tell right then.
    options.refresh = Duration::from_mins(10);
    let resolver = Arc::new(Resolver::start(options));
    need!(resolver.layout().is_ok_and(|l| l.unified.is_some()), "no v2 tree: groups have no id");
    let stop = Arc::new(AtomicBool::new(false));
    let watcher = watch(&resolver, &node, &stop);
    let pod = node.run(
        "brief-5d4f8c7b9-zzzzz",
        "11111111-2222-4333-8444-555555555503",
        &["/bin/sleep", "1"],
    );
    let id = resolver.cgroup_id(&pod.group).expect("it lives");
    eventually("the container has ended", || pids(&pod).is_empty().then_some(()));
    node.remove(&pod);
    let entity = eventually("named", || {
        Some(resolver.resolve_cgroup(id)).filter(|entity| !entity.container.is_empty())
    });
    assert_is(&entity, &pod, "brief-5d4f8c7b9-zzzzz");
    let changes = resolver.drain_changes();
    assert!(changes.iter().any(|change| change.container_id.as_str() == pod.container));
    stop.store(true, Ordering::Relaxed);
    watcher.join().unwrap();
    assert_eq!(node.stop(), Vec::<std::path::PathBuf>::new(), "nothing is left behind");
}

#[test]
fn a_reused_address_is_not_misnamed() {
    need_containerd!();
    // One address to give: the second pod must get that of the first.
    let node = Node::start("reuse", 1);
    let resolver = Arc::new(Resolver::start(node.options()));
    let sleep = ["/bin/sleep", "1000"];
    let first = node.run("first", "11111111-2222-4333-8444-555555555504", &sleep);
    let ip = address_of(&resolver, &first);
    let owner = |at| resolver.resolve_addr(None, ip, 80, at).map(|entity| entity.pod.to_string());
    eventually("the first owns it", || owner(Timestamp::now()).filter(|pod| pod == "first"));
    let while_first = Timestamp::now();
    node.remove(&first);
    eventually("nobody owns it", || owner(Timestamp::now()).is_none().then_some(()));
    let between = Timestamp::now();

    let second = node.run("second", "11111111-2222-4333-8444-555555555505", &sleep);
    assert_eq!(address_of(&resolver, &second), ip, "the pool has one address");
    eventually("the second owns it", || owner(Timestamp::now()).filter(|pod| pod == "second"));
    assert_eq!(owner(while_first).as_deref(), Some("first"));
    assert_eq!(owner(between), None);
    node.remove(&second);
    drop(resolver);
    assert_eq!(node.stop(), Vec::<std::path::PathBuf>::new(), "nothing is left behind");
}
