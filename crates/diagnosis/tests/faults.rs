//! Every class out of a synthetic stream of signals, with a healthy past and without one.

mod shop;

use shop::{Noise, Second, ask, id, world};
use taproot_diagnosis::{Class, Report, render};
use taproot_model::{
    Change, ChangeKind, ErrnoCount, Exit, Gibberish, LifecycleKind, LogSeverity, Signal, metric,
};

type Fault = fn(&mut Second, u64, &mut Noise);

const SEEDS: std::ops::RangeInclusive<u64> = 1..=5;

/// The verdict must be right after 60 s of health and 40 s of trouble, for every seed.
fn expect(class: Class, culprit: &str, fault: Fault) {
    for seed in SEEDS {
        check(seed, 60, 100, class, culprit, fault);
    }
}

/// The same when the trouble is as old as the observation.
fn expect_without_a_past(class: Class, culprit: &str, fault: Fault) {
    for seed in SEEDS {
        check(seed, 0, 45, class, culprit, fault);
    }
}

fn check(seed: u64, begin: u64, seconds: u64, class: Class, culprit: &str, fault: Fault) {
    let report = ask(&world(seed, seconds, begin, fault), Some("gateway"));
    let text = render::text(&report);
    assert_eq!(report.verdict.class, class, "seed {seed}, fault at {begin} s:\n{text}");
    let named = report.verdict.culprit.as_ref().map(|c| c.name.clone()).unwrap_or_default();
    assert!(named.contains(culprit), "seed {seed}: culprit is {named}\n{text}");
    assert!(report.verdict.confidence > 0.4, "{text}");
    // A leak is felt only when nothing is left: its symptom begins later than the fault.
    let at_once = class != Class::FdExhaustion && begin > 0;
    if let Some(since) = report.symptoms.first().map(|s| s.since).filter(|_| at_once) {
        let late = since.0 as f64 / 1e9 - (shop::BEGIN + begin) as f64;
        assert!(late.abs() <= 6.0, "seed {seed}: onset is off by {late} s\n{text}");
    }
}

fn noisy_neighbour(s: &mut Second, _: u64, noise: &mut Noise) {
    s.call("gateway", "product").work = 0.09;
    s.delta("product", metric::CPU_RUNQUEUE_TIME, 0.45 + 0.1 * noise.unit());
    s.delta_of("product", metric::CPU_PREEMPTED_BY, "culprit=container:burner", 0.4);
    s.delta("gateway", metric::CPU_RUNQUEUE_TIME, 0.08);
    s.delta_of("gateway", metric::CPU_PREEMPTED_BY, "culprit=container:burner", 0.05);
    s.delta("burner", metric::CPU_TIME, 1.7);
    s.delta_of("product", metric::CPU_THROTTLED_PERIODS, "level=container", 4.0);
    s.delta_of("product", metric::CPU_THROTTLED_TIME, "level=container", 0.15);
}

fn cpu_limit(s: &mut Second, _: u64, noise: &mut Noise) {
    s.call("gateway", "product").work = 0.09;
    s.gauge("product", metric::CPU_LIMIT, 0.1);
    s.delta("product", metric::CPU_TIME, 0.099);
    s.delta("product", metric::CPU_RUNQUEUE_TIME, 0.02 + 0.02 * noise.unit());
    s.delta_of("product", metric::CPU_THROTTLED_PERIODS, "level=container", 9.0);
    s.delta_of("product", metric::CPU_THROTTLED_TIME, "level=container", 0.7);
}

fn packet_loss(s: &mut Second, _: u64, noise: &mut Noise) {
    let call = s.call("product", "inventory");
    call.lost = 0.25;
    let n = noise.poisson(12.0);
    call.flow.retransmits = n;
    call.flow.drops.insert("NETFILTER_DROP".into(), n);
}

fn link_delay(s: &mut Second, _: u64, _: &mut Noise) {
    let call = s.call("gateway", "product");
    call.rtt = 0.04;
    call.link = 0.04;
}

fn slow_downstream(s: &mut Second, _: u64, _: &mut Noise) {
    s.call("product", "inventory").work = 0.35;
}

fn connection_refused(s: &mut Second, into: u64, noise: &mut Noise) {
    if into == 0 {
        s.exit("inventory", LifecycleKind::Exit, Some(Exit { code: 0, signal: 15, core: false }));
    }
    s.call("product", "inventory").flow.failed_connects =
        [("ECONNREFUSED".into(), 20 + noise.poisson(8.0))].into();
    s.call("load", "gateway").failing = 0.9;
    s.call("gateway", "product").failing = 0.9;
    s.errno("product", "connect", "ECONNREFUSED", 25);
    s.log("product", LogSeverity::Error, "inventory: connection refused", 20, true);
    s.log("gateway", LogSeverity::Error, "product answered 502", 20, true);
}

fn oom_kill(s: &mut Second, into: u64, noise: &mut Noise) {
    connection_refused(s, into + 1, noise);
    s.gauge("inventory", metric::MEMORY_USAGE, 6.3e7);
    if into.is_multiple_of(10) {
        s.exit("inventory", LifecycleKind::OomKill, None).memory = Some((64_000_000, 64_000_000));
        s.exit("inventory", LifecycleKind::Exit, Some(Exit { code: 0, signal: 9, core: false }));
        s.delta("inventory", metric::OOM_KILLS, 1.0);
    }
}

fn crash(s: &mut Second, into: u64, noise: &mut Noise) {
    connection_refused(s, into + 1, noise);
    if into.is_multiple_of(10) {
        s.exit("inventory", LifecycleKind::Exit, Some(Exit { code: 0, signal: 11, core: true }));
    }
}

fn fd_exhaustion(s: &mut Second, into: u64, _: &mut Noise) {
    let open = (25.0 + 12.0 * into as f64).min(256.0);
    s.gauge("inventory", metric::FD_COUNT, open);
    if open >= 256.0 {
        s.errno("inventory", "accept4", "EMFILE", 8);
        s.call("product", "inventory").silent = 0.5;
        s.call("gateway", "product").failing = 0.5;
        s.call("load", "gateway").failing = 0.5;
        s.signals.push(Signal::Gibberish(Box::new(Gibberish {
            at: s.now(),
            interval: 1_000_000_000,
            entity: id("inventory"),
            reason: "NUL bytes".into(),
            lines: 3,
            of: 5,
            sample: "\\0\\0".into(),
        })));
    }
    if into == 35 {
        let exit = Some(Exit { code: 1, signal: 0, core: false });
        let end = s.exit("inventory", LifecycleKind::Exit, exit);
        end.fds = Some((256, 256));
        end.last_failures =
            vec![ErrnoCount { syscall: "accept4".into(), errno: "EMFILE".into(), count: 40 }];
    }
}

fn wrong_route(s: &mut Second, into: u64, _: &mut Noise) {
    let call = s.call("product", "inventory");
    call.flow.syn_retransmits = 3;
    call.flow.retransmits = 3;
    call.flow.failed_connects = [("ETIMEDOUT".into(), 2)].into();
    call.flow.drops = [("IP_RPFILTER".into(), 3)].into();
    s.delta("inventory", metric::RP_FILTER_DROPS, 3.0);
    s.call("load", "gateway").failing = 0.6;
    s.call("gateway", "product").failing = 0.6;
    if into == 0 {
        s.signals.push(Signal::Change(Box::new(Change {
            at: s.now(),
            entity: id("inventory"),
            kind: ChangeKind::Route,
            what: "default via 10.1.0.1 -> default via 10.2.0.1 dev net1".into(),
            by: "".into(),
            undo: "".into(),
        })));
    }
}

fn conntrack_full(s: &mut Second, _: u64, noise: &mut Noise) {
    s.gauge("product", metric::CONNTRACK_COUNT, 65_536.0);
    s.delta("product", metric::CONNTRACK_DROPS, 5.0 + noise.poisson(5.0) as f64);
    let call = s.call("product", "inventory");
    call.flow.syn_retransmits = 6;
    call.flow.retransmits = 6;
    call.flow.failed_connects = [("ETIMEDOUT".into(), 2)].into();
    s.call("load", "gateway").failing = 0.4;
    s.call("gateway", "product").failing = 0.4;
}

fn listen_overflow(s: &mut Second, _: u64, noise: &mut Noise) {
    let call = s.call("product", "inventory");
    call.flow.listen_overflows = 2 + noise.poisson(4.0);
    call.flow.syn_retransmits = 5;
    call.flow.retransmits = 5;
    call.flow.connects = 4;
    for _ in 0..4 {
        call.flow.connect_time.record(1_020_000_000);
    }
    call.lost = 0.0;
    s.delta("inventory", metric::LISTEN_OVERFLOWS, 5.0);
    s.delta("inventory", metric::CPU_TIME, 0.01);
    // Connecting is not part of the request, so the wait shows one floor above.
    s.call("gateway", "product").work = 0.4;
}

fn dns_failure(s: &mut Second, into: u64, _: &mut Noise) {
    use taproot_model::{Flow, Histogram, Protocol, Requests, Role, Transport};
    let edge = shop::edge("product", "dns", Role::Client);
    let mut flow = Flow::empty(s.now(), 1_000_000_000, edge.clone(), Transport::Udp);
    flow.tx_packets = 10;
    flow.rx_packets = 10;
    s.signals.push(Signal::Flow(Box::new(flow)));
    let mut latency = Histogram::default();
    latency.record(400_000);
    s.signals.push(Signal::Requests(Box::new(Requests {
        at: s.now(),
        interval: 1_000_000_000,
        edge,
        protocol: Protocol::Dns,
        method: "A".into(),
        route: "inventory".into(),
        status: 2,
        code: "".into(),
        error: true,
        count: 10,
        request_bytes: 300,
        response_bytes: 300,
        latency,
    })));
    s.log("product", LogSeverity::Error, "getaddrinfo inventory: SERVFAIL", 10, into == 0);
    s.call("load", "gateway").failing = 0.8;
    s.call("gateway", "product").failing = 0.8;
}

fn log_only(s: &mut Second, into: u64, noise: &mut Noise) {
    let n = noise.poisson(6.0);
    s.log("product", LogSeverity::Error, "price of item <*> is negative", n, into == 0);
}

#[test]
fn faults_with_a_past() {
    expect(Class::NoisyNeighbour, "burner", noisy_neighbour);
    expect(Class::CpuLimit, "product", cpu_limit);
    expect(Class::PacketLoss, "product → inventory", packet_loss);
    expect(Class::LinkDelay, "gateway → product", link_delay);
    expect(Class::SlowDownstream, "inventory", slow_downstream);
}

fn unfelt_loss(s: &mut Second, into: u64, noise: &mut Noise) {
    packet_loss(s, into, noise);
    s.call("product", "inventory").lost = 0.0;
}

fn one_bad_moment(s: &mut Second, into: u64, noise: &mut Noise) {
    if into < 1 {
        unfelt_loss(s, into, noise);
    }
}

/// With few requests no percentile shows them; each that was resent waited all the same.
#[test]
fn loss_is_said_though_no_percentile_shows_it() {
    expect(Class::PacketLoss, "product → inventory", unfelt_loss);
    expect(Class::Healthy, "", one_bad_moment);
}

fn loss_felt_late(s: &mut Second, into: u64, noise: &mut Noise) {
    packet_loss(s, into, noise);
    if into < 12 {
        s.call("product", "inventory").lost = 0.0;
    }
}

/// The link's own figures say since when it loses packets, not the users' first complaint.
#[test]
fn loss_that_is_felt_late_is_bounded_by_the_link() {
    for seed in SEEDS {
        let report = ask(&world(seed, 80, 20, loss_felt_late), Some("gateway"));
        let text = render::text(&report);
        assert_eq!(report.verdict.class, Class::PacketLoss, "seed {seed}:\n{text}");
        let since = report.verdict.since.map(|s| s.0 as f64 / 1e9 - shop::BEGIN as f64);
        assert!(since.is_some_and(|s| (s - 20.0).abs() <= 4.0), "seed {seed}: {since:?}\n{text}");
    }
}

#[test]
fn failures_with_a_past() {
    expect(Class::ConnectionRefused, "inventory", connection_refused);
    expect(Class::OomKill, "inventory", oom_kill);
    expect(Class::Crash, "inventory", crash);
    expect(Class::FdExhaustion, "inventory", fd_exhaustion);
    expect(Class::WrongRoute, "product and inventory", wrong_route);
}

#[test]
fn tables_queues_and_words_with_a_past() {
    expect(Class::ConntrackFull, "product", conntrack_full);
    expect(Class::ListenOverflow, "inventory", listen_overflow);
    expect(Class::DnsFailure, "dns", dns_failure);
    expect(Class::LogOnly, "product", log_only);
}

#[test]
fn faults_as_old_as_the_observation() {
    expect_without_a_past(Class::NoisyNeighbour, "burner", noisy_neighbour);
    expect_without_a_past(Class::CpuLimit, "product", cpu_limit);
    expect_without_a_past(Class::PacketLoss, "product → inventory", packet_loss);
    expect_without_a_past(Class::LinkDelay, "gateway → product", link_delay);
    expect_without_a_past(Class::ConnectionRefused, "inventory", connection_refused);
    expect_without_a_past(Class::OomKill, "inventory", oom_kill);
    expect_without_a_past(Class::Crash, "inventory", crash);
    expect_without_a_past(Class::FdExhaustion, "inventory", fd_exhaustion);
    expect_without_a_past(Class::WrongRoute, "product and inventory", wrong_route);
    expect_without_a_past(Class::ConntrackFull, "product", conntrack_full);
    expect_without_a_past(Class::ListenOverflow, "inventory", listen_overflow);
    expect_without_a_past(Class::DnsFailure, "dns", dns_failure);
}

#[test]
fn health_raises_nothing() {
    for seed in 1..=20 {
        let world = world(seed, 60, 60, |_, _, _| {});
        for service in [Some("gateway"), Some("product"), None] {
            let report = ask(&world, service);
            let text = render::text(&report);
            assert_eq!(report.verdict.class, Class::Healthy, "seed {seed} {service:?}:\n{text}");
            assert!(report.elsewhere.is_empty(), "seed {seed}:\n{text}");
            assert!(!report.ruled_out.is_empty(), "health is proved with figures:\n{text}");
        }
    }
}

#[test]
fn more_load_well_served_is_no_fault() {
    for seed in SEEDS {
        let world = world(seed, 100, 50, |s, _, _| s.rate = 90.0);
        let report = ask(&world, Some("gateway"));
        assert_eq!(report.verdict.class, Class::LoadGrew, "{}", render::text(&report));
    }
}

#[test]
fn exhaustion_is_announced_a_minute_ahead() {
    let leak = |s: &mut Second, into: u64, _: &mut Noise| {
        s.gauge("inventory", metric::FD_COUNT, (25 + into).min(256) as f64);
    };
    let first_emfile = 60 + 231;
    let report = ask(&world(3, first_emfile - 60, 60, leak), None);
    let text = render::text(&report);
    assert_eq!(report.verdict.class, Class::FdExhaustion, "{text}");
    assert!(report.verdict.predicted, "{text}");
    assert!(text.contains("inventory"), "{text}");
}

#[test]
fn trouble_is_found_without_being_asked() {
    let faults: [(Class, Fault); 4] = [
        (Class::NoisyNeighbour, noisy_neighbour),
        (Class::PacketLoss, packet_loss),
        (Class::ConntrackFull, conntrack_full),
        (Class::LogOnly, log_only),
    ];
    for (class, fault) in faults {
        let report = ask(&world(2, 100, 60, fault), None);
        assert_eq!(report.verdict.class, class, "{}", render::text(&report));
    }
}

#[test]
fn trouble_that_is_over_has_an_end() {
    let over = |s: &mut Second, into: u64, noise: &mut Noise| {
        if into < 30 {
            noisy_neighbour(s, into, noise);
        }
    };
    let report = ask(&world(4, 130, 50, over), Some("gateway"));
    let text = render::text(&report);
    assert_eq!(report.verdict.class, Class::NoisyNeighbour, "{text}");
    let until = report.verdict.until.map(|t| t.secs().abs_diff(shop::BEGIN + 80));
    assert!(until.is_some_and(|off| off <= 6), "{until:?}\n{text}");
}

#[test]
fn reports_say_what_to_do_and_fit_a_screen() {
    let report: Report = ask(&world(1, 100, 60, noisy_neighbour), Some("gateway"));
    let text = render::text(&report);
    for word in ["burner", "0.5", "node-1", "kubectl", "Not", "since"] {
        assert!(text.contains(word), "{word} is missing:\n{text}");
    }
    let first = text.split("Step by step").next().unwrap();
    assert!(first.lines().count() <= 34, "first screen is too long:\n{text}");
    assert!(text.lines().all(|l| l.chars().count() <= 130), "{text}");
    let markdown = render::markdown(&report);
    assert!(markdown.starts_with("# noisy-neighbour"), "{markdown}");
}

#[test]
fn charts_make_one_well_formed_picture() {
    let report: Report = ask(&world(1, 100, 60, noisy_neighbour), Some("gateway"));
    let svg = render::svg(&report);
    let mut open: Vec<&str> = Vec::new();
    for tag in svg.split('<').skip(1) {
        let (tag, text) = tag.split_once('>').expect("a tag ends");
        assert!(!text.contains('>'), "{text}");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "{svg}");
        } else if !tag.ends_with('/') {
            open.push(tag.split(' ').next().unwrap_or_default());
        }
    }
    assert!(open.is_empty(), "{open:?}");
    let symptoms = report.symptoms.iter().map(|s| &s.chart);
    let charts = symptoms.chain(report.evidence.iter().map(|e| &e.chart));
    let with_values = charts.filter(|chart| chart.values.iter().any(Option::is_some)).count();
    assert!(with_values >= 2, "{svg}");
    assert_eq!(svg.matches("<path").count(), with_values, "{svg}");
    assert!(svg.contains("class=\"bad\""), "the trouble is marked: {svg}");
}
