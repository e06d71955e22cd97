//! The classes that the lab does not inject, out of a synthetic stream of signals: each
//! with what proves it, and with what makes it another class.

mod shop;

use shop::{Noise, Second, ask, at, id, world};
use taproot_diagnosis::{Class, Report, render};
use taproot_model::{
    Change, ChangeKind, ClusterEvent, Flow, Histogram, LogSeverity, MetricKind, Protocol, Requests,
    Role, Signal, Transport, metric,
};

type Fault = fn(&mut Second, u64, &mut Noise);

const BEGIN: u64 = 60;

fn run(seed: u64, fault: Fault) -> Report {
    ask(&world(seed, 100, BEGIN, fault), Some("gateway"))
}

fn expect(class: Class, culprit: &str, fault: Fault) {
    for seed in 1..=3 {
        let report = run(seed, fault);
        let text = render::text(&report);
        assert_eq!(report.verdict.class, class, "seed {seed}:\n{text}");
        let named = report.verdict.culprit.as_ref().map(|c| c.name.clone()).unwrap_or_default();
        assert!(named.contains(culprit), "seed {seed}: culprit is {named}\n{text}");
        assert!(report.verdict.confidence > 0.4, "{text}");
        assert!(!report.ruled_out.is_empty(), "{text}");
        assert!(!report.advice.fix.is_empty() && !report.advice.commands.is_empty(), "{text}");
        assert!(report.advice.page.is_some(), "{text}");
    }
}

/// Users notice: a share of the requests of the gateway fails.
fn felt(s: &mut Second, share: f64) {
    s.call("load", "gateway").failing = share;
    s.call("gateway", "product").failing = share;
}

fn queue_limit(s: &mut Second, _: u64, noise: &mut Noise) {
    let n = 8 + noise.poisson(6.0);
    let call = s.call("product", "inventory");
    call.rtt = 0.05;
    call.link = 0.08;
    call.lost = 0.2;
    call.flow.retransmits = n;
    call.flow.drops = [("QDISC_DROP".into(), n)].into();
}

fn firewall_drop(s: &mut Second, _: u64, _: &mut Noise) {
    let call = s.call("product", "inventory");
    call.silent = 1.0;
    call.flow.syn_retransmits = 4;
    call.flow.retransmits = 4;
    call.flow.failed_connects = [("ETIMEDOUT".into(), 2)].into();
    call.flow.drops = [("NETFILTER_DROP".into(), 5)].into();
    felt(s, 0.6);
}

/// A connection attempt of `product` to an address that nobody known has.
fn attempt(s: &mut Second, server: &str, errno: &str, drops: &[(&str, u64)]) {
    let mut edge = shop::edge("product", server, Role::Client);
    edge.server.entity = "external:10.0.0.11".into();
    let mut flow = Flow::empty(s.now(), 1_000_000_000, edge, Transport::Tcp);
    flow.failed_connects = [(errno.into(), 5)].into();
    flow.drops = drops.iter().map(|(reason, n)| ((*reason).into(), *n)).collect();
    s.signals.push(Signal::Flow(Box::new(flow)));
}

fn no_endpoints(s: &mut Second, _: u64, _: &mut Noise) {
    attempt(s, "prices", "ECONNREFUSED", &[]);
    s.errno("product", "connect", "ECONNREFUSED", 5);
    s.log("product", LogSeverity::Error, "prices: connection refused", 5, false);
    felt(s, 0.6);
}

fn stale_address(s: &mut Second, _: u64, _: &mut Noise) {
    attempt(s, "prices", "EHOSTUNREACH", &[("NEIGH_FAILED", 3)]);
    felt(s, 0.5);
}

fn port_exhaustion(s: &mut Second, _: u64, _: &mut Noise) {
    s.errno("product", "connect", "EADDRNOTAVAIL", 12);
    s.call("product", "inventory").flow.failed_connects = [("EADDRNOTAVAIL".into(), 12)].into();
    felt(s, 0.3);
}

fn mtu_black_hole(s: &mut Second, _: u64, _: &mut Noise) {
    s.call("product", "inventory").flow.retransmits = 4;
    let edge = |role| shop::edge("product", "inventory", role);
    let mut latency = Histogram::default();
    latency.record(5_000_000_000);
    let large = Requests {
        at: s.now(),
        interval: 1_000_000_000,
        edge: edge(Role::Client),
        protocol: Protocol::Http,
        method: "POST".into(),
        route: "/bulk".into(),
        status: 0,
        code: "".into(),
        error: true,
        count: 4,
        request_bytes: 4 * 6000,
        response_bytes: 0,
        latency,
    };
    let server = Requests { edge: edge(Role::Server), ..large.clone() };
    s.signals.push(Signal::Requests(Box::new(large)));
    s.signals.push(Signal::Requests(Box::new(server)));
    felt(s, 0.1);
}

fn receiver_stalled(s: &mut Second, _: u64, _: &mut Noise) {
    s.delta("inventory", metric::ZERO_WINDOWS, 8.0);
    s.call("product", "inventory").link = 0.3;
}

fn udp_overflow(s: &mut Second, _: u64, noise: &mut Noise) {
    s.delta("inventory", metric::UDP_BUFFER_DROPS, 20.0 + noise.poisson(10.0) as f64);
    s.call("product", "inventory").work = 0.3;
}

fn syn_flood(s: &mut Second, _: u64, noise: &mut Noise) {
    s.delta("inventory", metric::SYN_QUEUE_FULL, 300.0 + noise.poisson(40.0) as f64);
    s.delta("inventory", metric::LISTEN_OVERFLOWS, 0.0);
    felt(s, 0.3);
}

fn reset_storm(s: &mut Second, _: u64, noise: &mut Noise) {
    let call = s.call("product", "inventory");
    call.silent = 0.3;
    call.flow.resets_received = 8 + noise.poisson(4.0);
    felt(s, 0.3);
}

fn corrupt_packets(s: &mut Second, _: u64, noise: &mut Noise) {
    let n = 3 + noise.poisson(3.0);
    s.delta("inventory", metric::CHECKSUM_ERRORS, n as f64);
    let call = s.call("product", "inventory");
    call.lost = 0.15;
    call.flow.retransmits = n;
    call.flow.drops = [("TCP_CSUM".into(), n)].into();
}

fn on_the_node(s: &mut Second, name: &'static str, attribute: &str, value: f64) {
    s.signals.push(Signal::Metric(taproot_model::Metric {
        at: s.now(),
        interval: 1_000_000_000,
        entity: "node:node-1".into(),
        name: name.into(),
        attribute: attribute.into(),
        kind: MetricKind::Delta,
        value,
    }));
}

fn packet_backlog(s: &mut Second, _: u64, noise: &mut Noise) {
    on_the_node(s, metric::SOFTNET_DROPS, "", 60.0 + noise.poisson(20.0) as f64);
    on_the_node(s, metric::SOFTNET_SQUEEZED, "", 30.0);
    s.call("gateway", "product").lost = 0.2;
    s.call("product", "inventory").lost = 0.2;
}

fn disk_slow(s: &mut Second, _: u64, noise: &mut Noise) {
    s.delta_of("inventory", metric::PRESSURE_TIME, "resource=io.some", 0.6 + 0.2 * noise.unit());
    s.delta_of("inventory", metric::PRESSURE_TIME, "resource=memory.some", 0.0);
    s.call("product", "inventory").work = 0.3;
}

fn disk_full(s: &mut Second, _: u64, _: &mut Noise) {
    s.errno("inventory", "pwrite64", "ENOSPC", 6);
    s.call("product", "inventory").failing = 0.5;
    felt(s, 0.5);
}

fn disk_fault(s: &mut Second, _: u64, _: &mut Noise) {
    s.errno("inventory", "openat", "EROFS", 6);
    s.call("product", "inventory").failing = 0.5;
    felt(s, 0.5);
}

fn node_pressure(s: &mut Second, into: u64, noise: &mut Noise) {
    on_the_node(s, metric::PRESSURE_TIME, "resource=memory.some", 0.5 + 0.3 * noise.unit());
    if into == 3 {
        s.signals.push(Signal::ClusterEvent(Box::new(ClusterEvent {
            at: s.now(),
            entity: "node:node-1".into(),
            severity: "Warning".into(),
            reason: "EvictionThresholdMet".into(),
            message: "Attempting to reclaim memory".into(),
        })));
    }
    s.call("gateway", "product").work = 0.1;
    s.call("product", "inventory").work = 0.1;
}

fn silent(s: &mut Second) {
    s.call("product", "inventory").silent = 1.0;
    s.delta("inventory", metric::CPU_TIME, 0.0);
    s.delta("inventory", metric::CPU_RUNQUEUE_TIME, 0.0);
    felt(s, 0.8);
}

fn stopped(s: &mut Second, _: u64, _: &mut Noise) {
    silent(s);
    let key = ("inventory", metric::PROCESSES, "condition=stopped".to_owned());
    s.metrics.insert(key, (MetricKind::Gauge, 1.0));
}

fn deadlock(s: &mut Second, _: u64, _: &mut Noise) {
    silent(s);
    let key = ("inventory", metric::PROCESSES, "condition=stopped".to_owned());
    s.metrics.insert(key, (MetricKind::Gauge, 0.0));
}

/// Requests of two routes of `inventory`, quick or all together slow.
fn stall(s: &mut Second, into: u64, _: &mut Noise) {
    let slow = into.is_multiple_of(2);
    for route in ["/stock", "/price"] {
        for role in [Role::Client, Role::Server] {
            let mut latency = Histogram::default();
            (0..20)
                .for_each(|i| latency.record(if slow && i < 8 { 700_000_000 } else { 2_000_000 }));
            s.signals.push(Signal::Requests(Box::new(Requests {
                at: s.now(),
                interval: 1_000_000_000,
                edge: shop::edge("product", "inventory", role),
                protocol: Protocol::Http,
                method: "GET".into(),
                route: route.into(),
                status: 200,
                code: "".into(),
                error: false,
                count: 20,
                request_bytes: 2000,
                response_bytes: 9000,
                latency,
            })));
        }
    }
    if slow {
        s.call("product", "inventory").work = 0.7;
    }
}

fn error_burst(s: &mut Second, _: u64, _: &mut Noise) {
    s.call("product", "inventory").failing = 0.4;
    felt(s, 0.4);
}

fn code_error(s: &mut Second, into: u64, _: &mut Noise) {
    error_burst(s, into, &mut Noise::new(1));
    s.log("inventory", LogSeverity::Error, "KeyError: size of item <*>", 15, into == 0);
}

/// Two connections of `product` to `inventory`, in use all the time; requests wait for one.
fn pool_exhausted(s: &mut Second, _: u64, _: &mut Noise) {
    s.call("product", "inventory").work = 0.098;
    s.call("gateway", "product").work = 0.9;
}

fn rollout(s: &mut Second, into: u64, _: &mut Noise) {
    if into.is_multiple_of(10) {
        s.signals.push(Signal::ClusterEvent(Box::new(ClusterEvent {
            at: s.now(),
            entity: id("inventory"),
            severity: "Warning".into(),
            reason: "ImagePullBackOff".into(),
            message: "Back-off pulling image \"shop/inventory:2\"".into(),
        })));
    }
    s.call("product", "inventory").flow.failed_connects = [("ECONNREFUSED".into(), 20)].into();
    felt(s, 0.9);
}

fn change(s: &mut Second, into: u64, _: &mut Noise) {
    if into == 0 {
        s.signals.push(Signal::Change(Box::new(Change {
            at: at(BEGIN - 5),
            entity: id("gateway"),
            kind: ChangeKind::Image,
            what: "shop/gateway:1 -> shop/gateway:2".into(),
            by: "".into(),
            undo: "".into(),
        })));
    }
    s.call("load", "gateway").work = 0.4;
}

#[test]
fn links_and_their_queues() {
    expect(Class::QueueLimit, "product → inventory", queue_limit);
    expect(Class::MtuBlackHole, "product → inventory", mtu_black_hole);
    expect(Class::CorruptPackets, "inventory", corrupt_packets);
    expect(Class::PacketBacklog, "node-1", packet_backlog);
    expect(Class::ReceiverStalled, "inventory", receiver_stalled);
    expect(Class::UdpOverflow, "inventory", udp_overflow);
    expect(Class::ResetStorm, "inventory", reset_storm);
}

#[test]
fn connections_that_do_not_come_about() {
    expect(Class::FirewallDrop, "product and inventory", firewall_drop);
    expect(Class::NoEndpoints, "prices", no_endpoints);
    expect(Class::StaleAddress, "prices", stale_address);
    expect(Class::PortExhaustion, "product", port_exhaustion);
    expect(Class::SynFlood, "inventory", syn_flood);
}

#[test]
fn disks_and_nodes() {
    expect(Class::DiskSlow, "inventory", disk_slow);
    expect(Class::DiskFull, "inventory", disk_full);
    expect(Class::DiskFault, "inventory", disk_fault);
    expect(Class::NodePressure, "node-1", node_pressure);
}

#[test]
fn programs_that_stand_still_or_fail() {
    expect(Class::Stopped, "inventory", stopped);
    expect(Class::Deadlock, "inventory", deadlock);
    expect(Class::Stall, "inventory", stall);
    expect(Class::ErrorBurst, "inventory", error_burst);
    expect(Class::CodeError, "inventory", code_error);
    expect(Class::PoolExhausted, "product", pool_exhausted);
}

#[test]
fn what_was_done_to_it() {
    expect(Class::Rollout, "inventory", rollout);
    expect(Class::Change, "gateway", change);
}

/// What tells a class from its neighbour, taken away or turned round: another class.
#[test]
fn one_figure_tells_neighbours_apart() {
    let reset: Fault = |s, _, _| {
        // The same refusals, but by a listener's kernel: with resets, of somebody known.
        let call = s.call("product", "inventory");
        call.flow.failed_connects = [("ECONNREFUSED".into(), 20)].into();
        call.flow.resets_received = 20;
        felt(s, 0.6);
    };
    assert_eq!(run(1, reset).verdict.class, Class::ConnectionRefused);
    let some_pass: Fault = |s, into, noise| {
        firewall_drop(s, into, noise);
        let call = s.call("product", "inventory");
        call.silent = 0.0;
        call.lost = 0.3;
        call.flow.connects = 6;
        call.flow.failed_connects.clear();
        call.flow.retransmits = 12;
    };
    let found = run(1, some_pass);
    assert_eq!(found.verdict.class, Class::PacketLoss, "{}", render::text(&found));
    let thrashing: Fault = |s, into, noise| {
        disk_slow(s, into, noise);
        s.delta_of("inventory", metric::PRESSURE_TIME, "resource=memory.some", 0.7);
        s.gauge("inventory", metric::MEMORY_USAGE, 6.35e7);
        s.delta("inventory", metric::MEMORY_FAILURES, 40.0);
    };
    let found = run(1, thrashing);
    assert_eq!(found.verdict.class, Class::MemoryPressure, "{}", render::text(&found));
    let answers: Fault = |s, into, noise| {
        deadlock(s, into, noise);
        s.call("product", "inventory").silent = 0.5;
    };
    assert_ne!(run(1, answers).verdict.class, Class::Deadlock);
}

/// Counters that always move a little are nobody's fault.
#[test]
fn everyday_counts_raise_nothing() {
    let busy = |s: &mut Second, _: u64, noise: &mut Noise| {
        for service in ["gateway", "product", "inventory"] {
            s.delta(service, metric::ZERO_WINDOWS, noise.poisson(0.3) as f64);
            s.delta(service, metric::UDP_BUFFER_DROPS, noise.poisson(0.02) as f64);
            s.delta(service, metric::CHECKSUM_ERRORS, 0.0);
            s.delta(service, metric::SYN_QUEUE_FULL, noise.poisson(0.01) as f64);
            s.delta_of(service, metric::PRESSURE_TIME, "resource=io.some", 0.3 * noise.unit());
            s.call("gateway", "product").flow.resets_received = noise.poisson(0.5);
        }
        on_the_node(s, metric::SOFTNET_SQUEEZED, "", noise.poisson(2.0) as f64);
        on_the_node(s, metric::PRESSURE_TIME, "resource=memory.some", 0.1 * noise.unit());
    };
    for seed in 1..=10 {
        for begin in [0, 30] {
            let report = ask(&world(seed, 60, begin, busy), None);
            let text = render::text(&report);
            assert_eq!(report.verdict.class, Class::Healthy, "seed {seed}:\n{text}");
            assert!(report.elsewhere.is_empty(), "seed {seed}:\n{text}");
        }
    }
}
