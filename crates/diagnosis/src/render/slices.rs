//! A breakdown as lines: each part with its share of the change, the rest last.

use crate::attribute::{Label, Part};
use crate::breakdown::{Breakdown, Changed};
use crate::units;

/// One line for each part of each breakdown. The shares of one service add up to 100 %.
pub(super) fn lines(breakdowns: &[Breakdown]) -> Vec<String> {
    breakdowns.iter().flat_map(of_one).collect()
}

fn of_one(breakdown: &Breakdown) -> Vec<String> {
    let all = &breakdown.attribution;
    let whole = all.now - all.expected;
    let share = |change: f64| if whole == 0.0 { 0.0 } else { change / whole };
    let what = match breakdown.changed {
        Changed::Latency => "mean latency",
        Changed::Failures => "failing requests",
        Changed::Load => "requests",
    };
    let figure = |value: f64| match breakdown.changed {
        Changed::Latency => units::time(value),
        Changed::Failures => units::percent(value),
        Changed::Load => units::number(value),
    };
    let line = |part: &Part| {
        format!(
            "{what} of {} with {}: {} instead of {}; {} of the change",
            breakdown.service,
            labels(&part.labels),
            figure(part.figures.now),
            figure(part.figures.expected),
            units::percent(share(part.figures.change)),
        )
    };
    let mut lines: Vec<String> = all.parts.iter().map(line).collect();
    if all.rest.leaves > 0 {
        let rest = units::percent(share(all.rest.change));
        lines.push(format!("all other requests to {}: {rest} of the change", breakdown.service));
    }
    lines
}

fn labels(labels: &[Label]) -> String {
    if labels.is_empty() {
        return "any label".to_owned();
    }
    let one = |label: &Label| format!("{} {}", label.name, label.value);
    labels.iter().map(one).collect::<Vec<_>>().join(" and ")
}
