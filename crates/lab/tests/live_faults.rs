//! Every fault is real: its own trace is in the kernel's counters, the load
//! generator feels it where it should, and taking it back heals the shop.

#![allow(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

mod common;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::{alone, counter, options, rate, wait_for};
use taproot_lab::state::Pod;
use taproot_lab::truth::Second;
use taproot_lab::{Fault, FaultHandle, Lab, Params};
use taproot_testkit::{guest_kernel, need, need_commands, need_root};

fn up() -> Lab {
    Lab::up(&options("tfault")).unwrap()
}

fn pod(lab: &Lab, name: &str) -> Pod {
    lab.state().unwrap().pod(name).unwrap().clone()
}

fn inject(lab: &Lab, fault: Fault) -> FaultHandle {
    lab.inject(fault, &Params::default()).unwrap()
}

/// What the users of the shop see in the coming seconds.
fn watch(lab: &Lab, seconds: u64) -> Second {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    std::thread::sleep(Duration::from_secs(seconds + 1));
    lab.load().unwrap().since(now + 1)
}

fn quantile_ms(seen: &Second, q: f64) -> f64 {
    seen.latency.quantile(q).unwrap_or(0.0) / 1000.0
}

/// CPU time of a pod's container, from the threads' clocks (in hundredths).
fn cpu_seconds(pod: &Pod) -> f64 {
    let stat = common::pod_path(pod.container.process.unwrap().pid, "stat");
    let text = std::fs::read_to_string(stat).unwrap();
    let fields: Vec<&str> = text.rsplit_once(')').unwrap().1.split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

fn log_of(pod: &Pod) -> Vec<u8> {
    std::fs::read(&pod.container.log_path).unwrap_or_default()
}

fn says(log: &[u8], words: &str) -> bool {
    log.windows(words.len()).any(|w| w == words.as_bytes())
}

fn heals(lab: &Lab) {
    assert!(lab.state().unwrap().fault.is_none());
    let well = || {
        let seen = watch(lab, 2);
        seen.ok as f64 > rate() && seen.bad == 0
    };
    let patience = if guest_kernel().is_some() { 150 } else { 40 };
    assert!(wait_for(patience, well), "the shop did not heal");
}

/// What every fault needs to be judged by the lab's own figures.
macro_rules! need_a_real_node {
    () => {
        need_root!();
        need!(
            guest_kernel().is_none(),
            "the lab's own figures are those of a real CPU; its verdicts run here"
        );
        need_commands!("ip", "nft");
    };
}

#[test]
fn live_healthy_fails_no_request() {
    need_a_real_node!();
    let _alone = alone();
    let lab = up();
    let fault = inject(&lab, Fault::Healthy);
    let seen = watch(&lab, 5);
    assert!(seen.ok as f64 > 4.0 * rate(), "{seen:?}");
    assert_eq!(seen.bad, 0, "{seen:?}");
    assert!(lab.inject(Fault::CpuLimit, &Params::default()).is_err(), "one fault at a time");
    let truth = fault.clear().unwrap();
    assert!(truth.to_unix_ns > Some(truth.from_unix_ns));
}

#[test]
fn live_noisy_neighbour_makes_the_shop_slow() {
    need_a_real_node!();
    let _alone = alone();
    let lab = up();
    let before = watch(&lab, 3);
    let burnt_before = cpu_seconds(&pod(&lab, "batch"));
    let fault = inject(&lab, Fault::NoisyNeighbour);
    let during = watch(&lab, 6);
    let burnt = cpu_seconds(&pod(&lab, "batch")) - burnt_before;
    // Idle it uses next to nothing; on a crowded machine it gets little of what it wants.
    assert!(burnt > 0.5, "batch burnt {burnt} s in 7 s");
    // An emulated machine is slow before it already.
    if guest_kernel().is_none() {
        let (p99_before, p99) = (quantile_ms(&before, 0.99), quantile_ms(&during, 0.99));
        assert!(p99 > 100.0 && p99 > 2.0 * p99_before, "{p99_before} -> {p99} ms");
    }
    fault.clear().unwrap();
    heals(&lab);
}

#[test]
fn live_cpu_limit_throttles_and_the_old_quota_comes_back() {
    need_a_real_node!();
    let _alone = alone();
    let lab = up();
    let before = pod(&lab, "product").limits.cpu_milli;
    let fault = inject(&lab, Fault::CpuLimit);
    assert_ne!(pod(&lab, "product").limits.cpu_milli, before);
    let seen = watch(&lab, 5);
    assert!(quantile_ms(&seen, 0.5) > 100.0, "{seen:?}");
    fault.clear().unwrap();
    assert_eq!(pod(&lab, "product").limits.cpu_milli, before);
    heals(&lab);
}

#[test]
fn live_fd_exhaustion_ends_in_gibberish_and_a_silent_death() {
    need_a_real_node!();
    let _alone = alone();
    let lab = up();
    let first = pod(&lab, "product");
    let fast = Params::default().with("per_second", 60.0);
    let fault = lab.inject(Fault::FdExhaustion, &fast).unwrap();
    assert!(wait_for(30, || pod(&lab, "product").restarts > 0));
    let product = pod(&lab, "product");
    let end = &product.history[0];
    assert_eq!((end.exit_code, end.reason.as_str()), (1, "Error"));
    assert_ne!(product.container.id, first.container.id);
    assert!(product.container.log_path.ends_with("1.log"));
    let log = log_of(&first);
    assert!(std::str::from_utf8(&log).is_err() && log.contains(&0), "no gibberish");
    let last = log.trim_ascii_end().rsplit(|b| *b == b'\n').next().unwrap();
    assert!(!says(last, "exit") && !says(last, "Too many open files"));
    fault.clear().unwrap();
    heals(&lab);
}

#[test]
fn live_wrong_route_loses_the_answers_of_the_api_server() {
    need_a_real_node!();
    let _alone = alone();
    let lab = up();
    let reporter = pod(&lab, "reporter");
    let filtered = || counter(&reporter.netns.name, "TcpExt", "IPReversePathFilter");
    assert_eq!(filtered(), 0);
    let fault = inject(&lab, Fault::WrongRoute);
    assert!(wait_for(20, || says(&log_of(&reporter), "timed out")));
    assert!(filtered() > 0);
    fault.clear().unwrap();
    let errors = || log_of(&reporter).windows(13).filter(|w| w == b"did not answe").count();
    std::thread::sleep(Duration::from_secs(4));
    let after = errors();
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(errors(), after, "still failing");
}

#[test]
fn live_packet_loss_makes_product_retransmit() {
    need_a_real_node!();
    let _alone = alone();
    let lab = up();
    let product = pod(&lab, "product").netns.name;
    let fault = inject(&lab, Fault::PacketLoss);
    let before = counter(&product, "Tcp", "RetransSegs");
    let seen = watch(&lab, 5);
    assert!(counter(&product, "Tcp", "RetransSegs") as f64 >= before as f64 + rate() / 5.0);
    assert!(quantile_ms(&seen, 0.99) > 150.0, "{seen:?}");
    fault.clear().unwrap();
    heals(&lab);
}

#[test]
fn live_slow_downstream_and_link_delay_reach_the_users() {
    need_a_real_node!();
    let _alone = alone();
    let lab = up();
    for (fault, least) in [(Fault::SlowDownstream, 150.0), (Fault::LinkDelay, 35.0)] {
        let handle = inject(&lab, fault);
        let p50 = quantile_ms(&watch(&lab, 4), 0.5);
        assert!(p50 >= least, "{}: p50 {p50} ms", fault.name());
        handle.clear().unwrap();
        heals(&lab);
    }
}

#[test]
fn live_connection_refused_fails_requests_until_inventory_is_back() {
    need_a_real_node!();
    let _alone = alone();
    let lab = up();
    let fault = inject(&lab, Fault::ConnectionRefused);
    let seen = watch(&lab, 4);
    assert!(seen.bad > seen.ok, "{seen:?}");
    assert!(says(&log_of(&pod(&lab, "product")), "Connection refused"));
    fault.clear().unwrap();
    heals(&lab);
    assert_eq!(pod(&lab, "inventory").history[0].reason, "Stopped");
}

#[test]
fn live_oom_kill_is_the_kernels_doing() {
    need_a_real_node!();
    let _alone = alone();
    let lab = up();
    let fast = Params::default().with("mib_per_second", 50.0);
    let fault = lab.inject(Fault::OomKill, &fast).unwrap();
    assert!(wait_for(20, || !pod(&lab, "product").history.is_empty()));
    let end = pod(&lab, "product").history[0].clone();
    assert_eq!((end.exit_code, end.signal, end.reason.as_str()), (137, Some(9), "OOMKilled"));
    fault.clear().unwrap();
    heals(&lab);
}

#[test]
fn live_conntrack_full_stops_new_connections() {
    need_a_real_node!();
    let _alone = alone();
    let lab = up();
    let node = lab.state().unwrap().node.netns.name;
    let read = |file: &str| -> u64 {
        let path = format!("/proc/sys/net/netfilter/{file}");
        let out = std::process::Command::new("ip")
            .args(["netns", "exec", &node, "cat", &path])
            .output()
            .unwrap();
        String::from_utf8(out.stdout).unwrap().trim().parse().unwrap()
    };
    let fault = inject(&lab, Fault::ConntrackFull);
    assert!(read("nf_conntrack_count") >= read("nf_conntrack_max"));
    let seen = watch(&lab, 6);
    assert!(seen.bad as f64 > rate() / 2.0, "{seen:?}");
    fault.clear().unwrap();
    assert!(read("nf_conntrack_count") < 5000);
    heals(&lab);
}

#[test]
fn live_listen_overflow_is_counted_by_the_kernel() {
    need_a_real_node!();
    let _alone = alone();
    let lab = up();
    let inventory = pod(&lab, "inventory").netns.name;
    let fault = inject(&lab, Fault::ListenOverflow);
    let seen = watch(&lab, 6);
    assert!(counter(&inventory, "TcpExt", "ListenOverflows") > 0);
    assert!(quantile_ms(&seen, 0.99) > 500.0, "{seen:?}");
    fault.clear().unwrap();
    heals(&lab);
}

#[test]
fn live_dns_failure_and_log_only_are_told_apart_by_the_users() {
    need_a_real_node!();
    let _alone = alone();
    let lab = up();
    let product = pod(&lab, "product");
    let fault = inject(&lab, Fault::DnsFailure);
    let seen = watch(&lab, 5);
    assert!(seen.bad > seen.ok, "{seen:?}");
    assert!(says(&log_of(&product), "SERVFAIL"));
    fault.clear().unwrap();
    heals(&lab);

    let fault = inject(&lab, Fault::LogOnly);
    let seen = watch(&lab, 6);
    assert!(seen.bad as f64 <= 0.03 * seen.ok as f64, "{seen:?}");
    assert!(says(&log_of(&product), "reconcile payment failed"));
    fault.clear().unwrap();
    heals(&lab);
}

#[test]
fn live_rollout_brings_a_version_that_fails_and_taking_it_back_the_old_one() {
    need_a_real_node!();
    let _alone = alone();
    let lab = up();
    let old = pod(&lab, "inventory");
    let fault = inject(&lab, Fault::Rollout);
    assert_eq!(fault.truth().class, "change");
    assert!(wait_for(5, || pod(&lab, "inventory").restarts == 1));
    let seen = watch(&lab, 4);
    let new = pod(&lab, "inventory");
    assert_ne!(new.container.id, old.container.id);
    assert_eq!(new.container.image, "taproot-lab/inventory:2");
    assert!(seen.bad > 0 && seen.ok > seen.bad, "{seen:?}");
    assert!(says(&log_of(&new), "no stock record") && !says(&log_of(&old), "no stock record"));
    fault.clear().unwrap();
    heals(&lab);
    let back = pod(&lab, "inventory");
    assert_eq!((back.restarts, &back.container.image), (2, &old.container.image));
    assert!(back.history.iter().all(|end| end.reason == "Stopped"), "{:?}", back.history);
}
