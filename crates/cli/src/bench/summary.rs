//! From rounds to figures, and to a table.

use std::collections::BTreeSet;

use super::figure::Figure;
use super::load::Kind;
use super::round::{Cost, Round, Side};
use crate::table::Table;

const MIB: f64 = (1 << 20) as f64;

/// All figures, the ones with a target first.
pub(super) fn figures(rounds: &[Round]) -> Vec<Figure> {
    let mut out = Vec::new();
    for (index, kind) in Kind::ALL.into_iter().enumerate() {
        out.extend(per_request(rounds, index, kind));
    }
    out.extend(latencies(rounds));
    out.extend(memory(rounds));
    out.push(alone(rounds, "start_to_first_metric", "s", |r| r.first).at_most(2.0));
    out.push(alone(rounds, "count_error", "requests", |r| r.miscounted as f64).at_most(0.0));
    out.push(alone(rounds, "requests_counted", "requests", |r| r.served as f64));
    for (index, kind) in Kind::ALL.into_iter().enumerate() {
        out.extend(speeds(rounds, index, kind));
    }
    out.push(alone(rounds, "cpu_idle", "cores", |r| r.idle));
    for (index, kind) in Kind::ALL.into_iter().enumerate() {
        out.extend(programs(rounds, index, kind));
    }
    out
}

fn alone(rounds: &[Round], name: &str, unit: &'static str, of: impl Fn(&Round) -> f64) -> Figure {
    Figure::alone(name, unit, &rounds.iter().map(of).collect::<Vec<_>>())
}

fn compared(rounds: &[Round], name: &str, unit: &'static str, of: impl Fn(&Side) -> f64) -> Figure {
    let pairs: Vec<_> = rounds.iter().map(|r| (of(&r.with), of(&r.without))).collect();
    Figure::compared(name, unit, &pairs)
}

fn per_request(rounds: &[Round], index: usize, kind: Kind) -> Vec<Figure> {
    let name = |what: &str| format!("{what}.{}", kind.name());
    let agent = |r: &Round| r.costs[index].agent_us;
    let bpf = |r: &Round| bpf_us(&r.costs[index]);
    if kind == Kind::Tls {
        // A probe on a function costs the process a trap, of which its program's run time
        // knows nothing: what the ends take more is all of it.
        let ends = |r: &Round| r.with.full[index].ends_us - r.without.full[index].ends_us;
        return vec![
            alone(rounds, &name("cpu_per_request"), "us", |r| ends(r) + agent(r)).at_most(12.0),
            alone(rounds, &name("cpu_per_request.agent"), "us", agent),
            alone(rounds, &name("cpu_per_request.ends"), "us", ends),
            alone(rounds, &name("cpu_per_request.bpf"), "us", bpf),
        ];
    }
    vec![
        alone(rounds, &name("cpu_per_request"), "us", |r| agent(r) + bpf(r)).at_most(5.0),
        alone(rounds, &name("cpu_per_request.agent"), "us", agent),
        alone(rounds, &name("cpu_per_request.bpf"), "us", bpf),
        alone(rounds, &name("cpu_per_request.measuring"), "us", |r| measuring_us(&r.costs[index])),
    ]
}

fn bpf_us(cost: &Cost) -> f64 {
    let nanos: f64 = cost.programs.values().map(|time| cost.nanos(*time)).sum();
    nanos / 1e3 / cost.program_requests as f64
}

/// What the kernel's clock readings added to the run times, and is taken off again.
fn measuring_us(cost: &Cost) -> f64 {
    let raw: u64 = cost.programs.values().map(|time| time.nanos).sum();
    raw as f64 / 1e3 / cost.program_requests as f64 - bpf_us(cost)
}

fn latencies(rounds: &[Round]) -> [Figure; 2] {
    [
        compared(rounds, "latency_p50.half_of_saturation", "us", |s| s.half.p50).within_noise(),
        compared(rounds, "latency_p99.half_of_saturation", "us", |s| s.half.p99).within_noise(),
    ]
}

fn memory(rounds: &[Round]) -> [Figure; 3] {
    let mib = |bytes: u64| bytes as f64 / MIB;
    [
        alone(rounds, "memory", "MiB", |r| mib(r.memory.peak + r.memory.maps)).at_most(64.0),
        alone(rounds, "memory.rss", "MiB", |r| mib(r.memory.resident)),
        alone(rounds, "memory.maps", "MiB", |r| mib(r.memory.maps)),
    ]
}

fn speeds(rounds: &[Round], index: usize, kind: Kind) -> [Figure; 2] {
    let rate = format!("requests_per_second.{}", kind.name());
    let machine = format!("machine_cpu_per_request.{}", kind.name());
    [
        compared(rounds, &rate, "1/s", |s| s.full[index].rate),
        compared(rounds, &machine, "us", |s| s.full[index].machine_us),
    ]
}

/// Every BPF program that ran, the dearest first.
fn programs(rounds: &[Round], index: usize, kind: Kind) -> Vec<Figure> {
    let names: BTreeSet<&String> =
        rounds.iter().flat_map(|r| r.costs[index].programs.keys()).collect();
    let mut out: Vec<Figure> =
        names.into_iter().filter_map(|name| program(rounds, index, kind, name)).collect();
    out.sort_by(|a, b| b.value.total_cmp(&a.value));
    out
}

fn program(rounds: &[Round], index: usize, kind: Kind, name: &str) -> Option<Figure> {
    let costs: Vec<&Cost> = rounds.iter().map(|r| &r.costs[index]).collect();
    let time = |cost: &Cost| cost.programs.get(name).copied().unwrap_or_default();
    let of = |value: &dyn Fn(&Cost) -> f64| {
        let values: Vec<f64> = costs.iter().map(|cost| value(cost)).collect();
        Figure::alone(format!("bpf.{name}.{}", kind.name()), "us", &values)
    };
    let requests = |cost: &Cost| cost.program_requests as f64;
    let mut figure = of(&|cost| cost.nanos(time(cost)) / 1e3 / requests(cost));
    let runs = of(&|cost| time(cost).runs as f64 / requests(cost)).value;
    figure.runs_per_request = Some(runs);
    figure.ns_per_run = (runs > 0.0).then(|| figure.value * 1e3 / runs);
    (runs > 0.0).then_some(figure)
}

/// The figures for people.
pub(super) fn table(figures: &[Figure]) -> String {
    let (programs, others): (Vec<&Figure>, Vec<&Figure>) =
        figures.iter().partition(|f| f.runs_per_request.is_some());
    let mut main =
        Table::new(&["FIGURE", "WITH", "WITHOUT", "RATIO", "ROUNDS FROM", "TO", "TARGET", "KEPT"]);
    for figure in others {
        row(&mut main, figure);
    }
    let mut cost = Table::new(&["BPF PROGRAM", "US/REQUEST", "RUNS/REQUEST", "NS/RUN"]);
    for f in programs.iter().filter(|f| f.value >= 0.001) {
        let name = f.name.trim_start_matches("bpf.");
        let number = |n: Option<f64>| n.map_or_else(|| "-".into(), number);
        cost.row(&[
            name,
            &number(Some(f.value)),
            &number(f.runs_per_request),
            &number(f.ns_per_run),
        ]);
    }
    format!("{main}\n{cost}")
}

fn row(table: &mut Table, f: &Figure) {
    let maybe = |n: Option<f64>| n.map_or_else(|| "-".into(), number);
    let target = match (f.target, f.noise, f.kept) {
        (Some(target), ..) => format!("<= {target}"),
        (None, Some(noise), Some(_)) => format!("1 +- {}", number(noise)),
        _ => "-".into(),
    };
    let kept = match f.kept {
        Some(true) => "yes",
        Some(false) => "NO",
        None => "-",
    };
    table.row(&[
        &f.name,
        &format!("{} {}", number(f.value), f.unit),
        &maybe(f.baseline),
        &maybe(f.ratio),
        &number(f.spread[0]),
        &number(f.spread[1]),
        &target,
        kept,
    ]);
}

/// Three digits that matter.
fn number(n: f64) -> String {
    match n.abs() {
        a if a >= 100.0 || a == 0.0 => format!("{n:.0}"),
        a if a >= 10.0 => format!("{n:.1}"),
        a if a >= 1.0 => format!("{n:.2}"),
        _ => format!("{n:.3}"),
    }
}
