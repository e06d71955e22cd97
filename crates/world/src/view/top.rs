use super::capture::captures;
use super::golden::Sums;
use super::{Golden, SCHEMA_VERSION, Spent, seconds};
use crate::{SeriesKey, World};
use serde::Serialize;
use std::collections::BTreeMap;
use taproot_model::{Entity, EntityId, EntityKind, Name, Span, metric};

/// Every instance with its golden signals and resources: `taproot top -o json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Top {
    /// See [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The time summed over.
    pub span: Span,
    /// One row an instance, busiest CPU first.
    pub rows: Vec<TopRow>,
}

/// One instance.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TopRow {
    /// Its key.
    pub entity: EntityId,
    /// What it is.
    pub kind: EntityKind,
    /// Its service.
    pub service: Name,
    /// Its name.
    pub instance: Name,
    /// Where it runs.
    pub node: Name,
    /// Requests it served; `null` if it serves none that are understood.
    pub inbound: Option<Golden>,
    /// Where the time of the HTTP/1 requests that it served went; `null` where not seen.
    pub spent: Option<Spent>,
    /// Parsed over socket bytes of its TCP connections; `null` without any.
    pub coverage: Option<f64>,
    /// CPUs used.
    pub cpu: Option<f64>,
    /// CPUs allowed; `null` when unlimited.
    pub cpu_limit: Option<f64>,
    /// Share of the time stopped by its own limit.
    pub throttled: Option<f64>,
    /// Seconds a second spent runnable but waiting for a CPU.
    pub cpu_wait: Option<f64>,
    /// Bytes of memory.
    pub memory: Option<f64>,
    /// Bytes allowed; `null` when unlimited.
    pub memory_limit: Option<f64>,
    /// Open file descriptors of the process nearest its limit.
    pub fds: Option<f64>,
    /// Its limit.
    pub fd_limit: Option<f64>,
}

impl Top {
    /// Instances that were seen within the window, nodes and strangers left out.
    pub fn of(world: &World, span: Span) -> Self {
        let mut inbound = BTreeMap::<&EntityId, Sums>::new();
        for edge in world.edges() {
            inbound.entry(&edge.key.server).or_default().add(world, edge.key, span);
        }
        let own = |e: &&Entity| !matches!(e.kind, EntityKind::Node | EntityKind::External);
        let mut rows: Vec<_> =
            world.entities().filter(own).map(|e| row(world, e, inbound.get(&e.id), span)).collect();
        let captures = captures(world, span);
        for row in &mut rows {
            row.coverage = captures.get(&row.entity).and_then(|c| c.finished().ratio);
        }
        rows.sort_by(|a, b| b.cpu.unwrap_or(0.0).total_cmp(&a.cpu.unwrap_or(0.0)));
        Self { schema_version: SCHEMA_VERSION, span, rows }
    }
}

fn row(world: &World, entity: &Entity, inbound: Option<&Sums>, span: Span) -> TopRow {
    let series = |name: &str| {
        let key = SeriesKey { name: name.into(), attribute: Name::default() };
        world.metric(&entity.id, &key, span)
    };
    let level = |name: &str| series(name).and_then(|s| s.last());
    let rate = |name: &str| series(name).map(|s| s.total() / seconds(span));
    let golden = inbound.map(|s| s.golden(span)).filter(|g| g.rate > 0.0);
    TopRow {
        entity: entity.id.clone(),
        kind: entity.kind,
        service: entity.service.clone(),
        instance: entity.instance().clone(),
        node: entity.node.clone(),
        inbound: golden,
        spent: Spent::of(world, &entity.id, span),
        coverage: None,
        cpu: rate(metric::CPU_TIME),
        cpu_limit: level(metric::CPU_LIMIT),
        throttled: throttled(world, &entity.id, span),
        cpu_wait: rate(metric::CPU_RUNQUEUE_TIME),
        memory: level(metric::MEMORY_USAGE),
        memory_limit: level(metric::MEMORY_LIMIT),
        fds: level(metric::FD_COUNT),
        fd_limit: level(metric::FD_LIMIT),
    }
}

/// Throttled over all scheduler periods, of the level (pod or container) that was stopped most.
fn throttled(world: &World, id: &EntityId, span: Span) -> Option<f64> {
    let total = |name: &str, attribute: &Name| {
        let key = SeriesKey { name: name.into(), attribute: attribute.clone() };
        world.metric(id, &key, span).map(|s| s.total())
    };
    let ratios = world.metric_keys(id).filter(|(k, _)| &*k.name == metric::CPU_THROTTLED_PERIODS);
    ratios
        .filter_map(|(k, _)| {
            let stopped = total(metric::CPU_THROTTLED_PERIODS, &k.attribute)?;
            let all = total(metric::CPU_PERIODS, &k.attribute)?;
            Some(stopped / all.max(1.0))
        })
        .reduce(f64::max)
}
