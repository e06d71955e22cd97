//! The same classes where collectors tell less, or tell it in another way: no DNS
//! parser, overflow counters by port, no view into the node's own tables, a busy machine.

mod shop;

use shop::{Noise, Second, ask, world};
use taproot_diagnosis::{Class, Question, QuestionError, Report, diagnose, render};
use taproot_model::{Flow, LogSeverity, Role, Signal, Transport, metric};

type Fault = fn(&mut Second, u64, &mut Noise);

const INTERVAL: u64 = 1_000_000_000;

fn run(seed: u64, service: &str, fault: Fault) -> Report {
    ask(&world(seed, 100, 55, fault), Some(service))
}

fn expect(service: &str, class: Class, culprit: &str, fault: Fault) {
    for seed in 1..=5 {
        let report = run(seed, service, fault);
        let text = render::text(&report);
        assert_eq!(report.verdict.class, class, "seed {seed}:\n{text}");
        let name = report.verdict.culprit.map(|c| c.name).unwrap_or_default();
        assert!(name.contains(culprit), "seed {seed}: culprit is {name}\n{text}");
    }
}

fn lookups(s: &mut Second, questions: u64, answers: u64, answer_bytes: u64) {
    let edge = shop::edge("product", "dns", Role::Client);
    let mut flow = Flow::empty(s.now(), INTERVAL, edge, Transport::Udp);
    flow.tx_packets = questions;
    flow.rx_packets = answers;
    flow.tx_bytes = questions * 40;
    flow.rx_bytes = answers * answer_bytes;
    s.signals.push(Signal::Flow(Box::new(flow)));
}

fn product_fails(s: &mut Second) {
    s.call("load", "gateway").failing = 0.7;
    s.call("gateway", "product").failing = 0.7;
}

/// A world in which product asks for names all the time, and `fault` from second 55 on.
fn with_names(seed: u64, fault: Fault) -> Report {
    let every = move |s: &mut Second, into: u64, noise: &mut Noise| {
        if into < 55 {
            lookups(s, 4, 4, 56);
        } else {
            fault(s, into - 55, noise);
        }
    };
    ask(&world(seed, 100, 0, every), Some("gateway"))
}

#[test]
fn names_fail_and_only_logs_and_lengths_tell() {
    let servfail: Fault = |s, into, _| {
        lookups(s, 8, 8, 40);
        product_fails(s);
        s.log(
            "product",
            LogSeverity::Error,
            "call failed err=lookup inventory: SERVFAIL",
            8,
            into == 0,
        );
    };
    let silent: Fault = |s, _, _| {
        lookups(s, 8, 0, 0);
        product_fails(s);
    };
    for seed in 1..=5 {
        for fault in [servfail, silent] {
            let report = with_names(seed, fault);
            let text = render::text(&report);
            assert_eq!(report.verdict.class, Class::DnsFailure, "seed {seed}:\n{text}");
            let culprit = report.verdict.culprit.map(|c| c.name);
            assert_eq!(culprit.as_deref(), Some("dns"), "{text}");
        }
        let healthy = with_names(seed, |s, _, _| lookups(s, 4, 4, 56));
        assert_eq!(healthy.verdict.class, Class::Healthy, "{}", render::text(&healthy));
    }
}

#[test]
fn overflow_is_counted_at_the_listener_by_port() {
    expect("gateway", Class::ListenOverflow, "inventory", |s, _, noise| {
        s.delta_of(
            "inventory",
            metric::LISTEN_OVERFLOWS,
            "port=8080",
            2.0 + noise.poisson(3.0) as f64,
        );
        let call = s.call("product", "inventory");
        call.flow.syn_retransmits = 2;
        call.flow.retransmits = 4;
        call.link = 0.7;
    });
}

#[test]
fn a_full_table_that_cannot_be_read_is_suspected_from_its_effects() {
    expect("gateway", Class::ConntrackFull, "node-1", |s, _, noise| {
        for (client, server) in
            [("gateway", "product"), ("product", "inventory"), ("load", "gateway")]
        {
            let call = s.call(client, server);
            let n = 2 + noise.poisson(2.0);
            call.flow.syn_retransmits = n;
            call.flow.retransmits = n;
            call.flow.failed_connects = [("ECANCELED".into(), 1)].into();
            call.flow.drops = [("NETFILTER_DROP".into(), n)].into();
        }
        s.call("load", "gateway").failing = 0.3;
    });
}

#[test]
fn a_pod_that_nobody_calls_can_be_asked_about() {
    // The burner calls the cache and nobody calls it: its own calls are its symptom.
    let fault: Fault = |s, into, _| {
        let edge = shop::edge("burner", "cache", Role::Client);
        let mut flow = Flow::empty(s.now(), INTERVAL, edge, Transport::Tcp);
        if into < 40 {
            flow.connects = 2;
        } else {
            flow.syn_retransmits = 3;
            flow.retransmits = 3;
            flow.failed_connects = [("ECANCELED".into(), 2)].into();
            s.delta("burner", metric::RP_FILTER_DROPS, 3.0);
        }
        s.signals.push(Signal::Flow(Box::new(flow)));
    };
    for seed in 1..=5 {
        let world = world(seed, 80, 0, fault);
        for service in [Some("burner"), None] {
            let report = ask(&world, service);
            let text = render::text(&report);
            assert_eq!(report.verdict.class, Class::WrongRoute, "{service:?} {seed}\n{text}");
        }
        let gateway = ask(&world, Some("gateway"));
        assert_eq!(gateway.verdict.class, Class::Healthy, "{}", render::text(&gateway));
        assert_eq!(gateway.elsewhere.first().map(|e| e.class), Some(Class::WrongRoute));
    }
}

#[test]
fn a_slow_leak_is_announced_while_everything_works() {
    expect("gateway", Class::FdExhaustion, "product", |s, into, noise| {
        let open = 30.0 + 2.0 * into as f64 + (4.0 * noise.unit()).round();
        s.gauge("product", metric::FD_COUNT, open);
    });
}

#[test]
fn a_few_failing_requests_beside_a_burst_of_error_lines() {
    expect("gateway", Class::LogOnly, "product", |s, into, _| {
        s.call("gateway", "product").failing = 0.005;
        s.log("product", LogSeverity::Error, "render failed: nil pointer", 20, into == 0);
    });
}

#[test]
fn a_busy_machine_is_healthy_as_long_as_nobody_feels_it() {
    for seed in 1..=20 {
        let busy = |s: &mut Second, _: u64, noise: &mut Noise| {
            // A build runs beside the shop in bursts, limits bite a little, and
            // counters tell of waits for oneself, the kernel and nobody.
            let burst = if noise.unit() < 0.4 { 1.0 } else { 0.1 };
            for service in ["gateway", "product", "inventory"] {
                s.delta(service, metric::CPU_RUNQUEUE_TIME, 0.02 + 0.1 * burst * noise.unit());
                s.delta_of(
                    service,
                    metric::CPU_PREEMPTED_BY,
                    "culprit=container:burner",
                    0.06 * burst,
                );
                s.delta_of(service, metric::CPU_PREEMPTED_BY, "culprit=self", 0.02);
                s.delta_of(service, metric::CPU_PREEMPTED_BY, "culprit=unknown", 0.02);
                let stopped = (2.0 * noise.unit()).round();
                s.delta_of(service, metric::CPU_THROTTLED_PERIODS, "level=container", stopped);
                s.delta_of(service, metric::CPU_THROTTLED_TIME, "level=container", stopped * 0.02);
            }
            s.delta("burner", metric::CPU_TIME, 1.6 * burst);
            s.call("gateway", "product").work = 0.002 + 0.002 * burst;
            if noise.unit() < 0.1 {
                let call = s.call("product", "inventory");
                call.flow.retransmits = 1;
                call.flow.drops = [("NOT_SPECIFIED".into(), 3)].into();
            }
        };
        let report = ask(&world(seed, 60, 0, busy), Some("gateway"));
        let text = render::text(&report);
        assert_eq!(report.verdict.class, Class::Healthy, "seed {seed}:\n{text}");
        assert!(report.elsewhere.is_empty(), "seed {seed}:\n{text}");
    }
}

#[test]
fn what_could_not_be_seen_is_said_and_costs_confidence() {
    let fault: Fault = |s, _, _| s.call("product", "inventory").work = 0.3;
    let whole = run(1, "gateway", fault);
    let blind: Fault = |s, _, _| {
        s.call("product", "inventory").work = 0.3;
        s.signals.push(Signal::Loss(taproot_model::Loss {
            at: s.now(),
            entity: shop::id("gateway"),
            collector: "http".into(),
            reason: "ring_full".into(),
            count: 7,
        }));
    };
    let report = run(1, "gateway", blind);
    assert!(report.blind.iter().any(|b| b.text.contains("http, ring_full")), "{:?}", report.blind);
    assert!(report.verdict.confidence < whole.verdict.confidence);
}

#[test]
fn unexplained_trouble_is_inconclusive() {
    // Nothing but the gateway's own latency: no resource, no callee, no log.
    let fault: Fault = |s, _, _| s.call("load", "gateway").work = 0.4;
    let report = run(3, "gateway", fault);
    let text = render::text(&report);
    assert_eq!(report.verdict.class, Class::Unknown, "{text}");
    assert!(report.verdict.confidence < 0.5 && text.contains("inconclusive"), "{text}");
    assert!(text.contains("gateway"), "{text}");
}

#[test]
fn questions_that_cannot_be_answered_say_why() {
    let world = world(1, 20, 0, |_, _, _| {});
    let ask = |service: &str| {
        let question = Question { service: Some(service.into()), span: world.span() };
        diagnose(&world, &question)
    };
    let unknown = ask("basket").unwrap_err().to_string();
    assert!(unknown.contains("basket") && unknown.contains("gateway"), "{unknown}");
    let span = taproot_model::Span::new(shop::at(9_000), shop::at(9_100));
    let nothing = diagnose(&world, &Question { service: None, span });
    assert!(matches!(nothing, Err(QuestionError::NothingObserved { .. })));
    assert!(ask("gateway").is_ok());
}

#[test]
fn an_empty_world_is_an_error_and_not_a_clean_bill() {
    let world = taproot_world::World::new(taproot_world::Config::default());
    let answer = diagnose(&world, &Question { service: None, span: world.span() });
    assert!(matches!(answer, Err(QuestionError::NothingObserved { .. })));
}

#[test]
fn reports_are_versioned_json_and_repeat_exactly() {
    let fault: Fault = |s, _, _| s.call("product", "inventory").work = 0.3;
    let json = |_| serde_json::to_value(run(7, "gateway", fault)).unwrap();
    let (a, b) = (json(1), json(2));
    assert_eq!(a, b);
    assert_eq!(a["schema_version"], 1);
    assert_eq!(a["verdict"]["class"], "slow-downstream");
    assert!(a["evidence"][0]["signal"].is_string() && a["evidence"][0]["value"].is_number());
}

#[test]
fn a_minute_of_trouble_after_half_an_hour_is_bounded_to_the_second() {
    let fault: Fault = |s, _, _| s.call("product", "inventory").work = 0.3;
    let begin = 25 * 60;
    let report = ask(&world(11, begin + 60, begin, fault), Some("gateway"));
    let text = render::text(&report);
    assert_eq!(report.verdict.class, Class::SlowDownstream, "{text}");
    let since = report.verdict.since.expect("bounded").secs() - shop::BEGIN;
    assert!(since.abs_diff(begin) <= 2, "since {since} s, injected at {begin} s\n{text}");
}

#[test]
fn trouble_that_nearly_stops_the_traffic_is_still_seen() {
    // Callers that wait for answers send less: two requests a second are left.
    expect("gateway", Class::ConnectionRefused, "inventory", |s, _, noise| {
        s.rate = 2.0;
        s.call("load", "gateway").failing = 0.9;
        s.call("gateway", "product").failing = 0.9;
        s.call("product", "inventory").flow.failed_connects =
            [("ECONNREFUSED".into(), 1 + noise.poisson(1.0))].into();
    });
}

#[test]
fn a_rough_start_that_is_over_is_no_fault() {
    for seed in 1..=5 {
        let start = |s: &mut Second, into: u64, _: &mut Noise| {
            if into < 6 {
                s.call("product", "inventory").flow.failed_connects =
                    [("ECONNREFUSED".into(), 3)].into();
                s.log("product", LogSeverity::Error, "inventory: connection refused", 3, into == 0);
            }
        };
        let report = ask(&world(seed, 60, 0, start), Some("gateway"));
        assert_eq!(report.verdict.class, Class::Healthy, "{}", render::text(&report));
    }
}

#[test]
fn what_goes_on_now_comes_before_what_is_over() {
    for seed in 1..=5 {
        let two = |s: &mut Second, into: u64, noise: &mut Noise| match into {
            40..70 => s.call("product", "inventory").work = 0.5,
            110.. => {
                let call = s.call("gateway", "product");
                (call.rtt, call.link) = (0.03 + 0.002 * noise.unit(), 0.03);
            }
            _ => {}
        };
        let report = ask(&world(seed, 150, 0, two), Some("gateway"));
        assert_eq!(report.verdict.class, Class::LinkDelay, "{}", render::text(&report));
    }
}
