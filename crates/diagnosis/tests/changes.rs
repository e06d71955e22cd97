//! What somebody changed, as a cause and as what made one; and what is none.

mod shop;

use shop::{Noise, Second, ask, at, id, world};
use taproot_diagnosis::{Class, Report, render};
use taproot_model::{Change, ChangeKind, LogSeverity, Signal, metric};

type Fault = fn(&mut Second, u64, &mut Noise);

const BEGIN: u64 = 60;

fn report(fault: Fault) -> (Report, String) {
    let report = ask(&world(1, 100, BEGIN, fault), Some("gateway"));
    let text = render::text(&report);
    (report, text)
}

fn changed(s: &mut Second, second: u64, entity: &str, kind: ChangeKind, what: &str, undo: &str) {
    s.signals.push(Signal::Change(Box::new(Change {
        at: at(second),
        entity: entity.into(),
        kind,
        what: what.into(),
        by: "nft (pid 123)".into(),
        undo: undo.into(),
    })));
}

fn slow_gateway(s: &mut Second) {
    s.call("load", "gateway").work = 0.4;
}

const RULE: &str = "added 1 rule in ip filter FORWARD (handle 7)";
const DELETE: &str = "nft delete rule ip filter FORWARD handle 7";

fn dropping(s: &mut Second) {
    let call = s.call("product", "inventory");
    call.silent = 1.0;
    call.flow.syn_retransmits = 4;
    call.flow.retransmits = 4;
    call.flow.failed_connects = [("ETIMEDOUT".into(), 2)].into();
    call.flow.drops = [("NETFILTER_DROP".into(), 5)].into();
    s.call("load", "gateway").failing = 0.6;
    s.call("gateway", "product").failing = 0.6;
}

/// A rule on the node, three seconds before packets die of it.
fn dropped_by_a_new_rule(s: &mut Second, into: u64, _: &mut Noise) {
    if into == 0 {
        changed(s, BEGIN - 3, "node:node-1", ChangeKind::Firewall, RULE, DELETE);
    }
    dropping(s);
}

#[test]
fn a_verdict_names_the_change_that_made_it_and_how_to_take_it_back() {
    let (report, text) = report(dropped_by_a_new_rule);
    assert_eq!(report.verdict.class, Class::FirewallDrop, "{text}");
    let made = report.evidence.iter().find(|line| line.signal == "change.what");
    let made = made.unwrap_or_else(|| panic!("{text}"));
    assert!(made.text.contains("before the trouble"), "{}", made.text);
    assert!(made.text.contains("by nft (pid 123)") && made.text.contains(RULE), "{}", made.text);
    assert!(made.text.contains("of the node node-1"), "{}", made.text);
    assert!(report.advice.fix[0].contains(DELETE), "{:?}", report.advice.fix);
    let beside = report.alternatives.iter().any(|a| a.class == Class::Change);
    assert!(!beside, "it is no cause of its own beside what it made:\n{text}");
}

fn dropped_before_a_rule(s: &mut Second, into: u64, _: &mut Noise) {
    if into == 15 {
        changed(s, BEGIN + 15, "node:node-1", ChangeKind::Firewall, RULE, DELETE);
    }
    dropping(s);
}

fn dropped_long_after_a_rule(s: &mut Second, into: u64, _: &mut Noise) {
    if into == 0 {
        // Nobody's packets died for the time between.
        changed(s, BEGIN - 3, "container:dns", ChangeKind::Firewall, RULE, DELETE);
    }
    dropping(s);
}

#[test]
fn a_change_that_came_later_or_was_made_elsewhere_made_nothing() {
    for fault in [dropped_before_a_rule as Fault, dropped_long_after_a_rule] {
        let (report, text) = report(fault);
        assert_eq!(report.verdict.class, Class::FirewallDrop, "{text}");
        let named = report.evidence.iter().any(|line| line.signal.starts_with("change"));
        assert!(!named, "{text}");
        assert!(!report.advice.fix.iter().any(|fix| fix.contains(DELETE)), "{text}");
    }
}

fn changed_before(s: &mut Second, into: u64, _: &mut Noise) {
    if into == 0 {
        let undo = "kubectl rollout undo -n shop deployment/gateway";
        changed(s, BEGIN - 4, &id("gateway"), ChangeKind::Image, "gateway:1 -> gateway:2", undo);
    }
    slow_gateway(s);
}

fn changed_after(s: &mut Second, into: u64, _: &mut Noise) {
    if into == 12 {
        changed(s, BEGIN + 12, &id("gateway"), ChangeKind::Image, "gateway:1 -> gateway:2", "");
    }
    slow_gateway(s);
}

fn changed_elsewhere(s: &mut Second, into: u64, _: &mut Noise) {
    if into == 0 {
        changed(
            s,
            BEGIN - 4,
            &id("inventory"),
            ChangeKind::Image,
            "inventory:1 -> inventory:2",
            "",
        );
    }
    slow_gateway(s);
}

fn changed_the_node(s: &mut Second, into: u64, _: &mut Noise) {
    if into == 0 {
        let what = "added route 10.9.0.0/24 dev cali1";
        changed(s, BEGIN - 4, "node:node-1", ChangeKind::Route, what, "ip route del 10.9.0.0/24");
    }
    slow_gateway(s);
}

#[test]
fn a_change_is_a_cause_only_where_and_when_it_can_be() {
    let (made, text) = report(changed_before);
    assert_eq!(made.verdict.class, Class::Change, "{text}");
    assert!(text.contains("before the trouble (at "), "{text}");
    assert!(made.advice.fix[0].contains("kubectl rollout undo"), "{:?}", made.advice.fix);
    for fault in [changed_after as Fault, changed_elsewhere, changed_the_node] {
        let (report, text) = report(fault);
        assert_ne!(report.verdict.class, Class::Change, "{text}");
    }
}

/// A new version that fails a share of its requests, and says so.
fn rolled_out(s: &mut Second, into: u64, noise: &mut Noise) {
    if into == 0 {
        let undo = "kubectl rollout undo -n shop deployment/inventory";
        let what = "inventory:1 -> inventory:2";
        changed(s, BEGIN - 1, &id("inventory"), ChangeKind::Image, what, undo);
        // Nobody listens while the one is gone and the other not yet there.
        s.call("product", "inventory").flow.failed_connects = [("ECONNREFUSED".into(), 4)].into();
    }
    s.call("product", "inventory").failing = 0.3;
    s.call("gateway", "product").failing = 0.24;
    s.call("load", "gateway").failing = 0.24;
    s.log("inventory", LogSeverity::Error, "no stock record: unknown field", 9, true);
    s.log("product", LogSeverity::Error, "inventory refused", 8 + noise.poisson(1.0), true);
}

#[test]
fn a_new_version_is_blamed_for_the_errors_that_came_with_it() {
    let (report, text) = report(rolled_out);
    assert_eq!(report.verdict.class, Class::Change, "{text}");
    let culprit = report.verdict.culprit.as_ref().unwrap_or_else(|| panic!("{text}"));
    assert!(culprit.name.contains("inventory:1 -> inventory:2"), "{text}");
    assert!(culprit.instance.as_ref().is_some_and(|i| i.ends_with("inventory")), "{text}");
    let fix = &report.advice.fix[0];
    assert!(fix.contains("back to the image inventory:1: kubectl rollout undo"), "{fix}");
    let beside = report.alternatives.iter().any(|a| a.class == Class::CodeError);
    assert!(!beside, "it is an effect of it:\n{text}");
}

fn limited(s: &mut Second, into: u64, noise: &mut Noise) {
    if into == 0 {
        let what = "limit of CPU 1 CPU -> 0.1 CPU";
        changed(s, BEGIN - 1, &id("product"), ChangeKind::Limit, what, "");
    }
    s.call("gateway", "product").work = 0.09;
    s.gauge("product", metric::CPU_LIMIT, 0.1);
    s.delta("product", metric::CPU_TIME, 0.099);
    s.delta("product", metric::CPU_RUNQUEUE_TIME, 0.02 + 0.02 * noise.unit());
    s.delta_of("product", metric::CPU_THROTTLED_PERIODS, "level=container", 9.0);
    s.delta_of("product", metric::CPU_THROTTLED_TIME, "level=container", 0.7);
}

#[test]
fn a_limit_that_was_lowered_is_named_by_the_verdict_on_it() {
    let (report, text) = report(limited);
    assert_eq!(report.verdict.class, Class::CpuLimit, "{text}");
    assert!(text.contains("limit of CPU 1 CPU -> 0.1 CPU"), "{text}");
    assert!(report.advice.fix[0].contains("set it back"), "{:?}", report.advice.fix);
}

/// Connections are refused, and eleven seconds later a compiler takes the CPUs for eight.
fn refused_and_then_starved(s: &mut Second, into: u64, noise: &mut Noise) {
    s.call("product", "inventory").flow.failed_connects =
        [("ECONNREFUSED".into(), 20 + noise.poisson(8.0))].into();
    s.call("load", "gateway").failing = 0.7;
    s.call("gateway", "product").failing = 0.7;
    s.errno("product", "connect", "ECONNREFUSED", 25);
    s.log("product", LogSeverity::Error, "inventory: connection refused", 20, true);
    if (11..19).contains(&into) {
        s.call("gateway", "product").work = 0.3;
        s.delta("product", metric::CPU_RUNQUEUE_TIME, 0.8 + 0.1 * noise.unit());
        s.delta_of("product", metric::CPU_PREEMPTED_BY, "culprit=container:burner", 0.7);
        s.delta("burner", metric::CPU_TIME, 1.7);
    }
}

#[test]
fn what_fails_is_not_hidden_by_what_is_slow_later() {
    for seed in 1..=5 {
        let report = ask(&world(seed, 60, 40, refused_and_then_starved), Some("gateway"));
        let text = render::text(&report);
        assert_eq!(report.verdict.class, Class::ConnectionRefused, "seed {seed}:\n{text}");
        let since = report.verdict.since.map(|s| s.0 as f64 / 1e9 - shop::BEGIN as f64);
        assert!(since.is_some_and(|s| (s - 40.0).abs() <= 4.0), "seed {seed}: {since:?}\n{text}");
    }
}
