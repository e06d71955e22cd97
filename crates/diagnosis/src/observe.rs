//! Live evidence as [`locate`](crate::locate) reads it, so that the code which ranks
//! culprits live is the code that is scored on public data.
//!
//! Entities are services. Each gets the golden signals of the requests to it (mean
//! latency, share of failures, number), the resource series of all its instances, and
//! each link both its ends' latency. All of it step by step, from the beginning of the
//! scene to the end of the trouble: what came after is no evidence of it.

use crate::evidence::Link;
use crate::locate::{Aspect, Call, Entity, Link as TwoEnds, Observed, Series};
use crate::scene::{Calls, Scene, cut};
use std::collections::{BTreeMap, BTreeSet};
use taproot_model::{EntityKind, MetricKind, Name, Span, Timestamp};
use taproot_world::Observer;

/// Attribute of series that tell of somebody else's doing.
const OF_ANOTHER: &str = "culprit=";

/// What the scene holds until `until`.
pub(crate) fn observed(scene: &Scene<'_>, until: Timestamp) -> Observed {
    let mut observed = Observed::default();
    let time = Time { scene, steps: cut(Span::new(scene.span.from, until), scene.step) };
    for service in scene.links.iter().map(|l| &l.server).collect::<BTreeSet<_>>() {
        let entity = observed.entity(service);
        time.golden(service, entity, &mut observed);
    }
    for workload in scene.workloads() {
        let entity = observed.entity(&workload.service);
        time.resources(&workload.id, entity, &mut observed);
    }
    // Somebody outside who is called can be the one who is slow.
    let called = |service: &Name| scene.links.iter().any(|l| l.server == *service);
    let outside = scene.entities.values().filter(|e| e.kind == EntityKind::External);
    for outsider in outside.filter(|e| !called(&e.service)) {
        let entity = observed.entity(&outsider.service);
        observed.outsiders.insert(entity);
    }
    let mut between: BTreeMap<(&Name, &Name), Vec<&Link>> = BTreeMap::new();
    for link in scene.links.iter().filter(|l| l.client != l.server) {
        between.entry((&link.client, &link.server)).or_default().push(link);
    }
    for ((client, server), links) in between {
        let call = Call { caller: observed.entity(client), callee: observed.entity(server) };
        observed.calls.push(call);
        observed.links.push(time.both_ends(call, &links));
    }
    observed
}

/// The steps of a scene, and their place in the time of [`Observed`].
struct Time<'s, 'e> {
    scene: &'s Scene<'e>,
    steps: Vec<Span>,
}

impl Time<'_, '_> {
    /// Seconds since the beginning of the scene.
    fn at(&self, step: &Span) -> f64 {
        step.from.since(self.scene.span.from).as_secs_f64()
    }

    fn points(&self, value: impl Fn(Span) -> Option<f64>) -> Vec<(f64, f64)> {
        self.steps.iter().filter_map(|step| Some((self.at(step), value(*step)?))).collect()
    }

    fn golden(&self, service: &str, entity: Entity, observed: &mut Observed) {
        let links: Vec<&Link> = self.scene.inbound(service).collect();
        let felt: Vec<(f64, Calls, u64)> = self
            .steps
            .iter()
            .map(|step| {
                let mut calls = Calls::default();
                for link in &links {
                    calls.merge(&self.scene.felt(link, *step));
                }
                let unconnected = links.iter().map(|l| self.scene.flow(l, *step).failed()).sum();
                (self.at(step), calls, unconnected)
            })
            .collect();
        let mut add = |metric: &str, of: &dyn Fn(&Calls, u64) -> Option<f64>| {
            let points = felt.iter().filter_map(|(at, calls, n)| Some((*at, of(calls, *n)?)));
            let series = Series { entity, metric: metric.to_owned(), points: points.collect() };
            observed.series.push(series);
        };
        add("latency.mean", &|calls, _| calls.mean());
        add("error.share", &|calls, unconnected| {
            let all = calls.requests + unconnected;
            (all > 0).then(|| (calls.failed + unconnected) as f64 / all as f64)
        });
        add("requests", &|calls, unconnected| Some((calls.requests + unconnected) as f64));
    }

    fn resources(&self, id: &str, entity: Entity, observed: &mut Observed) {
        for (key, kind) in self.scene.evidence.metric_keys(id) {
            if key.attribute.starts_with(OF_ANOTHER) {
                continue;
            }
            let values = match kind {
                MetricKind::Gauge => self.scene.levels(id, &key.name, &key.attribute),
                MetricKind::Delta => self.scene.rates(id, &key.name, &key.attribute),
            };
            let points = self.steps.iter().zip(values);
            let points = points.filter_map(|(step, value)| Some((self.at(step), value?)));
            let metric = format!("{} {}", key.name, key.attribute).trim_end().to_owned();
            observed.series.push(Series { entity, metric, points: points.collect() });
        }
    }

    fn both_ends(&self, call: Call, links: &[&Link]) -> TwoEnds {
        let mean = |observer: Observer, step: Span| {
            let mut calls = Calls::default();
            for link in links {
                calls.merge(&self.scene.calls(link, observer, step));
            }
            calls.mean()
        };
        TwoEnds {
            call,
            waited: self.points(|step| mean(Observer::Client, step)),
            worked: self.points(|step| mean(Observer::Server, step)),
        }
    }
}

/// What users of a service complain of, as an aspect of its series.
pub(crate) fn complaint(slow: bool) -> Aspect {
    if slow { Aspect::Latency } else { Aspect::Errors }
}
