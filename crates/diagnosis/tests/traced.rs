//! Every figure of a report was read from a signal: take the signal away, and what
//! rests on it goes. Nothing is made up, remembered or taken from elsewhere.

mod shop;

use shop::{Noise, Second, ask, world, world_of};
use taproot_diagnosis::symptom::Measure;
use taproot_diagnosis::{Report, render};
use taproot_model::{Exit, LifecycleKind, LogSeverity, Signal, metric};

type Fault = fn(&mut Second, u64, &mut Noise);

const BEGIN: u64 = 55;

/// Faults that between them are told by signals of every kind.
const FAULTS: [(&str, Fault); 6] = [
    ("cpu limit", |s, _, _| {
        s.call("gateway", "product").work = 0.09;
        s.gauge("product", metric::CPU_LIMIT, 0.1);
        s.delta("product", metric::CPU_TIME, 0.099);
        s.delta_of("product", metric::CPU_THROTTLED_PERIODS, "level=container", 9.0);
        s.delta_of("product", metric::CPU_THROTTLED_TIME, "level=container", 0.7);
    }),
    ("noisy neighbour", |s, _, noise| {
        s.call("gateway", "product").work = 0.09;
        s.delta("product", metric::CPU_RUNQUEUE_TIME, 0.45 + 0.1 * noise.unit());
        s.delta_of("product", metric::CPU_PREEMPTED_BY, "culprit=container:burner", 0.4);
        s.delta("burner", metric::CPU_TIME, 1.7);
    }),
    ("packet loss", |s, _, noise| {
        let call = s.call("product", "inventory");
        call.lost = 0.25;
        call.flow.retransmits = noise.poisson(12.0);
    }),
    ("crash", |s, into, noise| {
        if into.is_multiple_of(10) {
            let exit = Exit { code: 0, signal: 11, core: true };
            s.exit("inventory", LifecycleKind::Exit, Some(exit));
        }
        s.call("product", "inventory").flow.failed_connects =
            [("ECONNREFUSED".into(), 20 + noise.poisson(8.0))].into();
        s.call("load", "gateway").failing = 0.9;
        s.call("gateway", "product").failing = 0.9;
        s.log("product", LogSeverity::Error, "inventory: connection refused", 20, true);
    }),
    ("descriptors", |s, into, _| {
        let open = (25.0 + 12.0 * into as f64).min(256.0);
        s.gauge("inventory", metric::FD_COUNT, open);
        if open >= 256.0 {
            s.errno("inventory", "accept4", "EMFILE", 8);
            s.call("product", "inventory").silent = 0.5;
        }
    }),
    ("slow callee", |s, _, _| s.call("product", "inventory").work = 0.35),
];

/// Whether a signal is of the kind that a line of evidence names: a metric's name, or
/// the kind of an event and its field.
fn is_of(signal: &Signal, named: &str) -> bool {
    let kind = named.split('.').next().unwrap_or_default();
    match signal {
        Signal::Metric(found) => found.name.as_str() == named,
        Signal::Flow(_) => kind == "flow",
        Signal::Requests(_) => kind == "requests",
        Signal::Lifecycle(_) => kind == "lifecycle",
        Signal::LogPattern(_) => kind == "log_pattern",
        Signal::SyscallFailure(_) => kind == "syscall_failure",
        _ => false,
    }
}

fn without(seed: u64, fault: Fault, named: &str) -> Report {
    let world = world_of(seed, 100, BEGIN, fault, |signal| !is_of(signal, named));
    let span = world.span();
    let question = taproot_diagnosis::Question { service: None, span };
    taproot_diagnosis::diagnose(&world, &question).expect("something is left to look at")
}

#[test]
fn evidence_goes_with_the_signal_that_it_names() {
    let mut checked = 0;
    for (name, fault) in FAULTS {
        let whole = ask(&world(1, 100, BEGIN, fault), Some("gateway"));
        assert!(!whole.evidence.is_empty(), "{name}:\n{}", render::text(&whole));
        for line in &whole.evidence {
            let blinded = without(1, fault, line.signal);
            let left = blinded.evidence.iter().find(|other| other.signal == line.signal);
            assert!(left.is_none(), "{name}: {} is still told: {left:?}", line.signal);
            checked += 1;
        }
    }
    assert!(checked >= 12, "only {checked} lines of evidence");
}

#[test]
fn what_users_feel_and_who_is_suspected_goes_with_the_requests() {
    for (name, fault) in FAULTS {
        let blinded = without(1, fault, "requests");
        let rest = |m: Measure| m == Measure::FailedConnects;
        assert!(blinded.symptoms.iter().all(|s| rest(s.measure)), "{name}: {blinded:?}");
        assert!(blinded.breakdowns.is_empty(), "{name}");
    }
}

#[test]
fn figures_are_finite_and_lie_in_their_charts() {
    for (name, fault) in FAULTS {
        let report = ask(&world(2, 100, BEGIN, fault), Some("gateway"));
        for line in &report.evidence {
            assert!(line.value.is_finite() && line.before.is_none_or(f64::is_finite), "{name}");
            assert!((0.0..=1.0).contains(&line.strength), "{name}: {line:?}");
        }
        for symptom in report.symptoms.iter().filter(|s| !s.chart.values.is_empty()) {
            let seen = || symptom.chart.values.iter().flatten().copied();
            let (low, high) =
                (seen().fold(f64::INFINITY, f64::min), seen().fold(f64::NEG_INFINITY, f64::max));
            let within = |value: f64| (low..=high).contains(&value);
            assert!(within(symptom.level), "{name}: {symptom:?}");
            assert!(symptom.normal.is_none_or(within), "{name}: {symptom:?}");
        }
    }
}
