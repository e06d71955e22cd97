//! Starts each collector, and notes how it does.

use std::path::{Path, PathBuf};

use taproot_netstate::Watch;
use taproot_probes::Off;
use taproot_probes::flow::FlowCollector;
use taproot_probes::http::HttpCollector;
use taproot_probes::lifecycle::Lifecycle;
use taproot_probes::pressure::{Failures, Sched};

use crate::calls::Calls;
use crate::features::{Feature, FeatureState};
use crate::options::Options;

/// See [`crate::probe`].
pub(crate) fn probe(unified: Option<&Path>) -> Vec<Feature> {
    let mut features = Vec::new();
    drop(start_lifecycle(unified, &mut features));
    drop(start_flow(unified.map(Path::to_owned), &mut features));
    let sched = start_sched(&mut features);
    drop(start_http(&Options::default(), sched.as_ref(), &mut features));
    let mut calls = start_calls(&Options::default(), &mut features);
    start_tls(true, calls.as_mut(), &mut features);
    drop(calls);
    drop(start_failures(true, &mut features));
    probe_changes(Path::new("/proc/self/ns/net"), &mut features);
    features
}

/// Keeps a collector that started; notes how it does.
fn kept<T>(
    name: &'static str,
    gives: &'static str,
    hook: &str,
    started: std::result::Result<T, taproot_probes::Error>,
    off: impl FnOnce(&T) -> Vec<taproot_probes::Off>,
    features: &mut Vec<Feature>,
) -> Option<T> {
    match started {
        Ok(collector) => {
            features.push(Feature::of(name, gives, hook, &off(&collector)));
            Some(collector)
        }
        Err(error) => {
            tracing::warn!(collector = name, %error, "does not run here");
            features.push(Feature::off(name, gives, &error));
            None
        }
    }
}

pub(crate) fn start_lifecycle(
    unified: Option<&Path>,
    features: &mut Vec<Feature>,
) -> Option<Lifecycle> {
    let started = Lifecycle::start(unified);
    let gives = "starts, exits, signals, OOM kills";
    kept("lifecycle", gives, "tracepoints", started, |l| l.off().to_vec(), features)
}

pub(crate) fn start_flow(
    unified: Option<PathBuf>,
    features: &mut Vec<Feature>,
) -> Option<FlowCollector> {
    let options = taproot_probes::flow::Options { cgroup_root: unified, ..Default::default() };
    let gives = "connections, bytes, packets, loss, drops, RTT";
    kept("flow", gives, "tp_btf", FlowCollector::start(options), |f| f.off().to_vec(), features)
}

/// With the scheduler's collector, whose program tells why a serving thread did not run.
pub(crate) fn start_http(
    options: &Options,
    sched: Option<&Sched>,
    features: &mut Vec<Feature>,
) -> Option<HttpCollector> {
    let started = match sched {
        Some(sched) => HttpCollector::start_beside(&options.http, sched),
        None => HttpCollector::start(&options.http),
    };
    let gives = "HTTP/1 requests, where their time goes";
    kept("http", gives, "cgroup_skb", started, |h| h.off().to_vec(), features)
}

pub(crate) fn start_calls(options: &Options, features: &mut Vec<Feature>) -> Option<Calls> {
    let started = Calls::start(options.payload.clone());
    let gives = "requests of Redis, PostgreSQL, MySQL, DNS, HTTP/2, gRPC and others";
    kept("payload", gives, "cgroup_skb", started, |c| c.off().to_vec(), features)
}

/// Looks inside of TLS, where payload is read at all.
pub(crate) fn start_tls(wanted: bool, calls: Option<&mut Calls>, features: &mut Vec<Feature>) {
    let gives = "requests inside TLS of OpenSSL, BoringSSL, GnuTLS, Go and rustls";
    let Some(calls) = calls else {
        return features.push(Feature::off("tls", gives, &"payload is not read here"));
    };
    if !wanted {
        return features.push(Feature::off("tls", gives, &"switched off by --no-tls"));
    }
    match calls.look_inside() {
        Ok(off) => features.push(Feature::of("tls", gives, "uprobe", &missing(off))),
        Err(error) => {
            tracing::warn!(collector = "tls", %error, "does not run here");
            features.push(Feature::off("tls", gives, &error));
        }
    }
}

/// Without the programs that stand in for each other: one that attaches to a place at
/// a time, and one that looks files up where sockets do not tell.
fn missing(off: Vec<Off>) -> Vec<Off> {
    let stand_in = |o: &Off| {
        o.program.ends_with("_many")
            || ["tls_sent", "tls_received", "tls_syscall"].contains(&&*o.program)
    };
    off.into_iter().filter(|o| !stand_in(o)).collect()
}

/// Whether changes are told in a namespace; each is listened to as it is found.
pub(crate) fn probe_changes(netns: &Path, features: &mut Vec<Feature>) {
    let gives = "what is changed: routes, rules, addresses, devices, queues, nftables, limits";
    features.push(match Watch::open(netns) {
        Ok(watch) => match watch.without_firewall() {
            None => Feature::of("changes", gives, "netlink", &[]),
            Some(why) => {
                let what = format!("netlink, without nftables ({why})");
                Feature { name: "changes", gives, state: FeatureState::Partly(what) }
            }
        },
        Err(error) => Feature::off("changes", gives, &error),
    });
}

pub(crate) fn start_sched(features: &mut Vec<Feature>) -> Option<Sched> {
    let gives = "who waits for a CPU, who runs instead";
    kept("scheduler", gives, "tp_btf/sched_switch", Sched::start(true), |_| Vec::new(), features)
}

pub(crate) fn start_failures(wanted: bool, features: &mut Vec<Feature>) -> Option<Failures> {
    let gives = "failing system calls";
    if !wanted {
        features.push(Feature::off("syscalls", gives, &"switched off by --no-syscalls"));
        return None;
    }
    kept("syscalls", gives, "tp_btf/sys_exit", Failures::start(), |_| Vec::new(), features)
}
