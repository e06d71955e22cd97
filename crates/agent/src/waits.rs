//! Who waited for a CPU and who ran instead, as signals.

use std::collections::BTreeMap;

use taproot_model::{EntityId, Metric, MetricKind, Name, Signal, Timestamp, metric};
use taproot_probes::pressure::{Culprit, Wait};

use crate::names::Names;

/// Waits of all entities of one interval.
pub(crate) fn signals(
    waits: &[Wait],
    names: &mut Names,
    at: Timestamp,
    interval: u64,
    out: &mut Vec<Signal>,
) {
    let mut queued: BTreeMap<EntityId, u64> = BTreeMap::new();
    let mut by: BTreeMap<(EntityId, Name), u64> = BTreeMap::new();
    for wait in waits {
        let Some(victim) = names.inside(wait.victim) else { continue };
        names.tell(&victim, out);
        if wait.culprit.is_queueing() {
            *queued.entry(victim.id.clone()).or_default() += wait.ns;
        }
        let culprit: Name = match wait.culprit {
            Culprit::Cgroup(id) => {
                let entity = names.resolver.resolve_cgroup(id);
                names.tell(&entity, out);
                entity.id.clone()
            }
            Culprit::Own => victim.id.clone(),
            Culprit::Kernel => names.resolver.node().id.clone(),
            // Nobody who could be named had the CPU.
            Culprit::Throttled
            | Culprit::Idle
            | Culprit::Waking
            | Culprit::Migrated
            | Culprit::Unknown => continue,
        };
        *by.entry((victim.id.clone(), culprit)).or_default() += wait.ns;
    }
    let delta = |entity: EntityId, name: &str, attribute: Name, ns: u64| {
        Signal::Metric(Metric {
            at,
            interval,
            entity,
            name: name.into(),
            attribute,
            kind: MetricKind::Delta,
            value: ns as f64 / 1e9,
        })
    };
    out.extend(
        queued
            .into_iter()
            .map(|(id, ns)| delta(id, metric::CPU_RUNQUEUE_TIME, Name::default(), ns)),
    );
    out.extend(by.into_iter().map(|((id, culprit), ns)| {
        delta(id, metric::CPU_PREEMPTED_BY, format!("culprit={culprit}").into(), ns)
    }));
}
