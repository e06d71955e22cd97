//! The live diagnosis asks the engine that is scored on public data: who is suspected
//! by figures alone, and which requests make the difference.

mod shop;

use shop::{Noise, Second, ask, world};
use taproot_diagnosis::breakdown::Changed;
use taproot_diagnosis::{Report, render};
use taproot_model::{Histogram, Protocol, Requests, Role, Signal, metric};

type Fault = fn(&mut Second, u64, &mut Noise);

const BEGIN: u64 = 60;

fn run(seed: u64, fault: Fault) -> Report {
    ask(&world(seed, 100, BEGIN, fault), Some("gateway"))
}

/// Requests from `client` to the gateway, both ends, each taking `millis` or failing.
fn more(s: &mut Second, client: &str, route: &str, millis: u64, status: u16) {
    let mut latency = Histogram::default();
    (0..20_u64).for_each(|i| latency.record((millis + i % 3) * 1_000_000));
    for role in [Role::Client, Role::Server] {
        s.signals.push(Signal::Requests(Box::new(Requests {
            at: s.now(),
            interval: 1_000_000_000,
            edge: shop::edge(client, "gateway", role),
            protocol: Protocol::Http,
            method: "GET".into(),
            route: route.into(),
            status,
            code: "".into(),
            error: status >= 500,
            count: 20,
            request_bytes: 2_000,
            response_bytes: 9_000,
            latency: latency.clone(),
        })));
    }
}

/// A gateway with a second route and a second caller; from `BEGIN` on as `fault` says.
fn with_routes(seed: u64, fault: fn(&mut Second)) -> Report {
    let every = move |s: &mut Second, into: u64, _: &mut Noise| {
        if into < BEGIN {
            more(s, "load", "/search", 8, 200);
            more(s, "burner", "/search", 8, 200);
        } else {
            fault(s);
        }
    };
    ask(&world(seed, 100, 0, every), Some("gateway"))
}

fn assert_adds_up(report: &Report) {
    for breakdown in &report.breakdowns {
        let all = &breakdown.attribution;
        let parts: f64 = all.parts.iter().map(|p| p.figures.change).sum();
        let whole = all.now - all.expected;
        let left = parts + all.rest.change - whole;
        assert!(left.abs() <= 1e-9 * whole.abs().max(1.0), "{left} of {whole} is left");
    }
}

#[test]
fn the_service_at_fault_is_the_first_suspect() {
    let cases: [(Fault, &str); 3] = [
        (|s, _, _| s.call("product", "inventory").work = 0.35, "inventory"),
        (
            |s, _, _| {
                s.call("gateway", "product").work = 0.09;
                s.gauge("product", metric::CPU_LIMIT, 0.1);
                s.delta_of("product", metric::CPU_THROTTLED_TIME, "level=container", 0.7);
            },
            "product",
        ),
        (
            |s, _, _| {
                for (client, server) in [("load", "gateway"), ("gateway", "product")] {
                    s.call(client, server).failing = 0.6;
                }
            },
            "product",
        ),
    ];
    for seed in 1..=5 {
        for (fault, culprit) in cases {
            let report = run(seed, fault);
            let first = report.suspects.first().map(|s| s.service.as_str());
            assert_eq!(first, Some(culprit), "seed {seed}:\n{}", render::text(&report));
            assert!(report.suspects.iter().all(|s| !s.because.is_empty()));
        }
    }
}

#[test]
fn a_slow_route_is_named_and_the_parts_add_up() {
    for seed in 1..=5 {
        let report = with_routes(seed, |s| {
            more(s, "load", "/search", 900, 200);
            more(s, "burner", "/search", 900, 200);
        });
        let text = render::text(&report);
        let found = report.breakdowns.first().unwrap_or_else(|| panic!("seed {seed}:\n{text}"));
        assert_eq!(found.changed, Changed::Latency, "{text}");
        let [part] = found.attribution.parts.as_slice() else { panic!("seed {seed}:\n{text}") };
        let labels: Vec<_> = part.labels.iter().map(|l| (&*l.name, &*l.value)).collect();
        assert_eq!(labels, [("route", "/search")], "{text}");
        assert!((part.figures.now - 0.9).abs() < 0.05, "{text}");
        assert!(text.contains("with route /search"), "{text}");
        assert_adds_up(&report);
    }
}

#[test]
fn one_caller_whose_requests_fail_is_named() {
    for seed in 1..=5 {
        let report = with_routes(seed, |s| {
            more(s, "load", "/search", 8, 200);
            more(s, "burner", "/search", 8, 500);
        });
        let text = render::text(&report);
        let found = report.breakdowns.first().unwrap_or_else(|| panic!("seed {seed}:\n{text}"));
        assert_eq!(found.changed, Changed::Failures, "{text}");
        let part = &found.attribution.parts[0];
        let labels: Vec<_> = part.labels.iter().map(|l| (&*l.name, &*l.value)).collect();
        assert_eq!(labels, [("caller", "burner")], "{text}");
        assert_adds_up(&report);
    }
}

#[test]
fn health_suspects_nobody_and_breaks_nothing_down() {
    for seed in 1..=5 {
        let report = run(seed, |_, _, _| {});
        assert!(report.suspects.is_empty() && report.breakdowns.is_empty());
    }
}

#[test]
fn one_route_alone_is_no_slice() {
    let report = run(1, |s, _, _| s.call("product", "inventory").work = 0.35);
    assert!(report.breakdowns.is_empty(), "{}", render::text(&report));
}
