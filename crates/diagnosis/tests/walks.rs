//! Call graphs as they are: with cycles, edges that one end or nobody saw, calls that
//! nobody waits for, and things that several share. And evidence of which parts are missing.

mod shop;

use shop::{Noise, Second, ask, world, world_of};
use taproot_diagnosis::{Class, Report, render};
use taproot_model::{Flow, Histogram, Protocol, Requests, Role, Signal, Transport, metric};

type Fault = fn(&mut Second, u64, &mut Noise);

const BEGIN: u64 = 60;

/// Calls of one second between two of the shop, seen by both ends.
fn calls(s: &mut Second, client: &str, server: &str, protocol: Protocol, count: u64, seconds: f64) {
    for role in [Role::Client, Role::Server] {
        let edge = shop::edge(client, server, role);
        let mut latency = Histogram::default();
        (0..count).for_each(|_| latency.record((seconds * 1e9) as u64));
        let mut flow = Flow::empty(s.now(), 1_000_000_000, edge.clone(), Transport::Tcp);
        (flow.tx_packets, flow.rx_packets) = (2 * count, 2 * count);
        s.signals.push(Signal::Flow(Box::new(flow)));
        s.signals.push(Signal::Requests(Box::new(Requests {
            at: s.now(),
            interval: 1_000_000_000,
            edge,
            protocol,
            method: "GET".into(),
            route: "/".into(),
            status: 200,
            code: "".into(),
            error: false,
            count,
            request_bytes: 100 * count,
            response_bytes: 500 * count,
            latency,
        })));
    }
}

/// A shop that always has some more calls than the usual one.
fn shop_with(extra: fn(&mut Second, bool), fault: Fault) -> Report {
    let report = world(1, 100, 0, |s, at, noise| {
        let bad = at >= BEGIN;
        extra(s, bad);
        if bad {
            fault(s, at - BEGIN, noise);
        }
    });
    ask(&report, Some("gateway"))
}

fn slow_inventory(s: &mut Second, _: u64, _: &mut Noise) {
    s.call("product", "inventory").work = 0.35;
}

#[test]
fn a_cycle_is_walked_once() {
    let back = |s: &mut Second, bad: bool| {
        let seconds = if bad { 0.36 } else { 0.005 };
        calls(s, "inventory", "gateway", Protocol::Http, 5, seconds);
    };
    let report = shop_with(back, slow_inventory);
    let text = render::text(&report);
    assert_eq!(report.verdict.class, Class::SlowDownstream, "{text}");
    let walk = report.walk.expect("trouble has a way");
    let mut seen: Vec<_> = walk.services().into_iter().cloned().collect();
    let passed = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), passed, "no service twice: {text}");
}

#[test]
fn an_edge_that_one_end_saw_is_walked_and_costs_confidence() {
    let sure = |hidden: Option<Role>| {
        let seen = move |signal: &Signal| {
            let edge = match signal {
                Signal::Flow(f) => &f.edge,
                Signal::Requests(r) => &r.edge,
                _ => return true,
            };
            let it = &*edge.server.service == "inventory" && &*edge.client.service == "product";
            !(it && Some(edge.role) == hidden)
        };
        let report = ask(&world_of(1, 100, BEGIN, slow_inventory, seen), Some("gateway"));
        let text = render::text(&report);
        let culprit = report.verdict.culprit.as_ref().map(|c| c.name.clone()).unwrap_or_default();
        assert_eq!(report.verdict.class, Class::SlowDownstream, "{hidden:?}:\n{text}");
        assert!(culprit.contains("inventory"), "{hidden:?}: {culprit}\n{text}");
        report.verdict.score
    };
    let both = sure(None);
    assert!(sure(Some(Role::Client)) < both && sure(Some(Role::Server)) < both);
}

#[test]
fn an_edge_that_nobody_saw_ends_the_walk_before_it() {
    let hidden = |signal: &Signal| match signal {
        Signal::Flow(f) => &*f.edge.server.service != "inventory",
        Signal::Requests(r) => &*r.edge.server.service != "inventory",
        _ => true,
    };
    let report = ask(&world_of(1, 100, BEGIN, slow_inventory, hidden), Some("gateway"));
    let text = render::text(&report);
    let walk = report.walk.expect("trouble has a way");
    assert_eq!(walk.services().last().map(|s| s.as_str()), Some("product"), "{text}");
    assert!(matches!(report.verdict.class, Class::SlowDownstream | Class::Unknown), "{text}");
}

#[test]
fn calls_that_nobody_waits_for_are_not_blamed() {
    // `product` leaves messages in a queue and goes on; whoever fetches them asks and waits
    // for seconds, as fetching from a queue does.
    let queue = |s: &mut Second, bad: bool| {
        calls(s, "product", "cache", Protocol::Kafka, 20, 0.001);
        calls(s, "burner", "cache", Protocol::Kafka, 2, if bad { 4.0 } else { 2.0 });
    };
    let report = shop_with(queue, slow_inventory);
    let text = render::text(&report);
    let culprit = report.verdict.culprit.as_ref().map(|c| c.name.clone()).unwrap_or_default();
    assert_eq!(
        (report.verdict.class, culprit.as_str()),
        (Class::SlowDownstream, "inventory"),
        "{text}"
    );
}

#[test]
fn what_siblings_share_is_blamed_for_both() {
    // Two services of the same database become slow at once, and a node's neighbour is one
    // story for all whom it takes the CPU from.
    let database = |s: &mut Second, bad: bool| {
        let seconds = if bad { 0.3 } else { 0.002 };
        calls(s, "inventory", "cache", Protocol::Redis, 40, seconds);
        if bad {
            s.call("product", "cache").work = 0.3;
            s.call("product", "inventory").work = 0.301;
        }
    };
    let report = shop_with(database, |_, _, _| {});
    let text = render::text(&report);
    let culprit = report.verdict.culprit.as_ref().map(|c| c.name.clone()).unwrap_or_default();
    assert_eq!(
        (report.verdict.class, culprit.as_str()),
        (Class::SlowDownstream, "cache"),
        "{text}"
    );
    let neighbour = |s: &mut Second, _: u64, _: &mut Noise| {
        for service in ["product", "inventory"] {
            s.delta(service, metric::CPU_RUNQUEUE_TIME, 0.5);
            s.delta_of(service, metric::CPU_PREEMPTED_BY, "culprit=container:burner", 0.4);
        }
        s.delta("burner", metric::CPU_TIME, 1.8);
        s.call("product", "inventory").work = 0.1;
        s.call("gateway", "product").work = 0.1;
    };
    let report = ask(&world(1, 100, BEGIN, neighbour), Some("gateway"));
    let text = render::text(&report);
    assert_eq!(report.verdict.class, Class::NoisyNeighbour, "{text}");
    let rivals = |c: Class| report.alternatives.iter().filter(|a| a.class == c).count();
    assert_eq!(rivals(Class::NoisyNeighbour), 0, "one story, not two: {text}");
}

/// Signals of a kind of evidence that may be missing as a whole.
fn kind(signal: &Signal) -> usize {
    match signal {
        Signal::Metric(_) => 0,
        Signal::Requests(_) => 1,
        Signal::Flow(_) => 2,
        Signal::LogPattern(_) => 3,
        Signal::Lifecycle(_) | Signal::SyscallFailure(_) | Signal::Change(_) => 4,
        _ => 5,
    }
}

#[test]
fn any_part_of_the_evidence_may_be_missing() {
    let faults: [Fault; 3] = [
        slow_inventory,
        |s, _, _| {
            s.call("gateway", "product").work = 0.09;
            s.gauge("product", metric::CPU_LIMIT, 0.1);
            s.delta_of("product", metric::CPU_THROTTLED_PERIODS, "level=container", 9.0);
            s.delta_of("product", metric::CPU_THROTTLED_TIME, "level=container", 0.7);
        },
        |s, _, noise| {
            let call = s.call("product", "inventory");
            call.lost = 0.25;
            call.flow.retransmits = noise.poisson(12.0);
        },
    ];
    for fault in faults {
        let whole = ask(&world(1, 100, BEGIN, fault), None);
        for missing in 1..1_u32 << 5 {
            let seen = |signal: &Signal| missing & (1 << kind(signal)) == 0;
            let world = world_of(1, 100, BEGIN, fault, seen);
            let question = taproot_diagnosis::Question { service: None, span: world.span() };
            let Ok(report) = taproot_diagnosis::diagnose(&world, &question) else {
                continue;
            };
            let verdict = &report.verdict;
            assert!((0.0..=1.0).contains(&verdict.confidence), "{missing:05b}");
            if verdict.class == whole.verdict.class && verdict.place == whole.verdict.place {
                assert!(verdict.score <= whole.verdict.score + 1e-9, "{missing:05b}");
            }
            // What is missing as a whole is said. Who logs nothing may have nothing to say.
            let of_note = missing & 0b00111 != 0;
            assert!(
                !of_note || !report.blind.is_empty(),
                "{missing:05b}: {}",
                render::text(&report)
            );
        }
    }
}
