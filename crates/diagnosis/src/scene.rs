//! The evidence as the fault functions read it: entities, links, and every
//! figure before the trouble and during it.

use crate::bound::{self, Direction, Sensitivity};
use crate::evidence::{Evidence, Link};
use crate::place::Place;
use crate::stats;
use crate::traced::Traced;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use taproot_model::{Entity, EntityId, EntityKind, Histogram, Name, Span, Timestamp};
use taproot_world::{FlowTotals, Happenings, Observer, Series, SeriesKey};

/// Most steps a span is divided into for bounding and charts.
const MOST_STEPS: u64 = 120;
/// A past shorter than this says nothing about what is normal.
const SHORTEST_PAST: Duration = Duration::from_secs(4);

/// The time compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Windows {
    /// Normal times; `None` if the trouble is as old as the observation.
    pub before: Option<Span>,
    /// The trouble, or all of the time if none was bounded.
    pub during: Span,
}

impl Windows {
    /// All of `span`, with no past to compare with.
    pub fn whole(span: Span) -> Self {
        Self { before: None, during: span }
    }

    /// The trouble from `from` to `to`, compared with what `span` holds before it.
    pub fn split(span: Span, from: Timestamp, to: Timestamp) -> Self {
        let past = Span::new(span.from, from);
        let before = (past.length() >= SHORTEST_PAST).then_some(past);
        Self { before, during: Span::new(from, to) }
    }
}

/// A figure before and during.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Compare {
    /// Normal; `None` without a past.
    pub before: Option<f64>,
    /// During the trouble.
    pub during: f64,
}

impl Compare {
    /// Whether it is at least `factor` times what it was; yes without a past.
    pub fn grew(&self, factor: f64) -> bool {
        self.before.is_none_or(|b| self.during > 0.0 && self.during >= b * factor)
    }

    /// How much was added; all of it without a past.
    pub fn added(&self) -> f64 {
        (self.during - self.before.unwrap_or(0.0)).max(0.0)
    }
}

/// Requests of a link as one end saw them, within some span.
#[derive(Clone, Debug, Default)]
pub struct Calls {
    /// All.
    pub requests: u64,
    /// Failed ones (5xx, protocol errors, unanswered).
    pub failed: u64,
    /// Those without an answer.
    pub unanswered: u64,
    /// Latency, nanoseconds.
    pub latency: Histogram,
}

impl Calls {
    /// Adds others.
    pub fn merge(&mut self, other: &Self) {
        self.requests += other.requests;
        self.failed += other.failed;
        self.unanswered += other.unanswered;
        self.latency.merge(&other.latency);
    }

    /// Failed over all.
    pub fn error_ratio(&self) -> f64 {
        self.failed as f64 / self.requests.max(1) as f64
    }

    /// Mean latency, seconds.
    pub fn mean(&self) -> Option<f64> {
        self.latency.mean().map(|ns| ns / 1e9)
    }

    /// A quantile of the latency, seconds.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        self.latency.quantile(q).map(|ns| ns / 1e9)
    }
}

/// A span cut into steps; the last may be shorter.
pub(crate) fn cut(span: Span, step: Duration) -> Vec<Span> {
    let mut out = Vec::new();
    let mut from = span.from;
    while from < span.to {
        let to = (from + step.max(Duration::from_nanos(1))).min(span.to);
        out.push(Span::new(from, to));
        from = to;
    }
    out
}

/// The evidence, prepared.
pub struct Scene<'a> {
    /// Who is asked.
    pub evidence: &'a dyn Evidence,
    /// The time looked at.
    pub span: Span,
    /// Length of a step of a chart or of bounding.
    pub step: Duration,
    /// Everyone.
    pub entities: BTreeMap<EntityId, Entity>,
    /// Everyone's calls.
    pub links: Vec<Link>,
    /// What happened within the span.
    pub happenings: Happenings,
    /// The trouble as users felt it, once bounded.
    pub trouble: Option<Windows>,
    /// What packets themselves told, where some were followed.
    pub traces: Vec<Traced>,
}

impl<'a> Scene<'a> {
    /// Prepares `span`, cut to what the evidence covers.
    pub fn new(evidence: &'a dyn Evidence, span: Span) -> Self {
        let covered = evidence.span();
        let span = Span::new(span.from.max(covered.from), span.to.min(covered.to));
        let finest = evidence.resolution().as_nanos().max(1) as u64;
        let steps = (span.length().as_nanos() as u64).div_ceil(MOST_STEPS);
        let step = Duration::from_nanos(steps.div_ceil(finest).max(1) * finest);
        let entities = evidence.entities().into_iter().map(|e| (e.id.clone(), e)).collect();
        Self {
            evidence,
            span,
            step,
            entities,
            links: evidence.links(),
            happenings: evidence.happenings(span),
            trouble: None,
            traces: evidence.traces(),
        }
    }

    /// The span cut into steps of `step`.
    pub fn steps_of(&self, step: Duration) -> Vec<Span> {
        cut(self.span, step)
    }

    /// Beginning of step `index` of `step` each.
    pub fn step_start(&self, index: usize, step: Duration) -> Timestamp {
        let into = step.saturating_mul(u32::try_from(index).unwrap_or(u32::MAX));
        (self.span.from + into).min(self.span.to)
    }

    /// The trouble if bounded, else the excursion of `values` (per [`Scene::step`]),
    /// else everything without a past.
    pub fn windows(&self, values: &[Option<f64>]) -> Windows {
        if let Some(trouble) = self.trouble {
            return trouble;
        }
        let how = Sensitivity::default();
        bound::bound(values, Direction::Up, &how)
            .map_or(Windows::whole(self.span), |e| self.windows_of(&e, self.step))
    }

    /// The trouble, from the time when `values` left their normal range if users felt it
    /// later: what they feel is bounded by percentiles, which need many requests a step.
    pub fn windows_from_onset(&self, values: &[Option<f64>]) -> Windows {
        let Some(trouble) = self.trouble else {
            return self.windows(values);
        };
        let felt = trouble.during;
        let own = bound::bound(values, Direction::Up, &Sensitivity::default())
            .map(|e| self.windows_of(&e, self.step).during)
            .filter(|own| own.from < felt.from && own.to > felt.from);
        own.map_or(trouble, |own| Windows::split(self.span, own.from, felt.to))
    }

    /// An excursion in time.
    pub fn windows_of(&self, excursion: &bound::Excursion, step: Duration) -> Windows {
        let from = self.step_start(excursion.from, step);
        let to = excursion.to.map_or(self.span.to, |to| self.step_start(to, step));
        Windows::split(self.span, from, to)
    }

    /// Entities that run something: no nodes, no strangers.
    pub fn workloads(&self) -> impl Iterator<Item = &Entity> {
        self.entities
            .values()
            .filter(|e| !matches!(e.kind, EntityKind::Node | EntityKind::External))
    }

    /// Instances of a service.
    pub fn instances<'s>(&'s self, service: &'s str) -> impl Iterator<Item = &'s Entity> {
        self.entities.values().filter(move |e| &*e.service == service)
    }

    /// The place of an entity.
    pub fn place(&self, id: &EntityId) -> Place {
        self.entities.get(id).map_or_else(
            || Place::Entity {
                id: id.clone(),
                service: id.clone(),
                instance: id.clone(),
                node: Name::default(),
            },
            |e| Place::Entity {
                id: id.clone(),
                service: e.service.clone(),
                instance: e.instance().clone(),
                node: e.node.clone(),
            },
        )
    }

    /// The services at a place; all that run on it if it is a node.
    pub fn services_at(&self, place: &Place) -> BTreeSet<Name> {
        let mut out: BTreeSet<Name> = place.services().into_iter().cloned().collect();
        let node = match place {
            Place::Entity { id, .. } => self.entities.get(id),
            _ => None,
        };
        if let Some(node) = node.filter(|e| e.kind == EntityKind::Node) {
            let there = self.workloads().filter(|e| e.node == node.node);
            out.extend(there.map(|e| e.service.clone()));
        }
        out
    }

    /// What people call the entity.
    pub fn called(&self, id: &EntityId) -> Name {
        self.entities.get(id).map_or_else(|| id.clone(), |e| e.instance().clone())
    }

    /// One resource series over `span`.
    pub fn metric(&self, id: &str, name: &str, attribute: &str, span: Span) -> Option<Series> {
        let key = SeriesKey { name: name.into(), attribute: attribute.into() };
        self.evidence.metric(id, &key, span)
    }

    /// The attributes under which an entity has a metric.
    pub fn attributes(&self, id: &str, name: &str) -> Vec<Name> {
        let keys = self.evidence.metric_keys(id).into_iter();
        keys.filter(|(k, _)| &*k.name == name).map(|(k, _)| k.attribute).collect()
    }

    /// Whether anyone reports a metric.
    pub fn anyone_has(&self, name: &str) -> bool {
        self.entities.keys().any(|id| !self.attributes(id, name).is_empty())
    }

    /// A delta metric per second within `span`; `None` if it was never reported.
    pub fn rate(&self, id: &str, name: &str, attribute: &str, span: Span) -> Option<f64> {
        let seconds = span.length().as_secs_f64();
        let series = self.metric(id, name, attribute, span)?;
        (seconds > 0.0).then(|| series.total() / seconds)
    }

    /// A delta metric per second before and during.
    pub fn compare(&self, id: &str, name: &str, attribute: &str, w: &Windows) -> Option<Compare> {
        let during = self.rate(id, name, attribute, w.during)?;
        let before = w.before.and_then(|b| self.rate(id, name, attribute, b));
        Some(Compare { before, during })
    }

    /// A delta metric per second before and during, summed over its attributes.
    pub fn compare_all(&self, id: &str, name: &str, w: &Windows) -> Option<Compare> {
        let parts = self.attributes(id, name);
        let parts: Vec<Compare> =
            parts.iter().filter_map(|a| self.compare(id, name, a, w)).collect();
        let before = w.before.map(|_| parts.iter().filter_map(|p| p.before).sum());
        let during = parts.iter().map(|p| p.during).sum();
        (!parts.is_empty()).then_some(Compare { before, during })
    }

    /// Median of a gauge within `span`.
    pub fn level(&self, id: &str, name: &str, span: Span) -> Option<f64> {
        let values: Vec<f64> =
            self.metric(id, name, "", span)?.points.iter().map(|p| p.value).collect();
        stats::median(&values)
    }

    /// The newest value of a gauge.
    pub fn last(&self, id: &str, name: &str) -> Option<f64> {
        self.metric(id, name, "", self.span)?.last()
    }

    /// A delta metric per second for each step; zero where nothing was added.
    pub fn rates(&self, id: &str, name: &str, attribute: &str) -> Vec<Option<f64>> {
        let Some(series) = self.metric(id, name, attribute, self.span) else {
            return Vec::new();
        };
        let steps = self.steps_of(self.step);
        let mut out = vec![0.0; steps.len()];
        for point in &series.points {
            let at = point.at.since(self.span.from).as_nanos() / self.step.as_nanos().max(1);
            if let Some(slot) = out.get_mut(at as usize) {
                *slot += point.value;
            }
        }
        let seconds = steps.iter().map(|s| s.length().as_secs_f64().max(1e-9));
        out.into_iter().zip(seconds).map(|(sum, s)| Some(sum / s)).collect()
    }

    /// A gauge for each step: the last value in it; gaps stay gaps.
    pub fn levels(&self, id: &str, name: &str, attribute: &str) -> Vec<Option<f64>> {
        let Some(series) = self.metric(id, name, attribute, self.span) else {
            return Vec::new();
        };
        let mut out = vec![None; self.steps_of(self.step).len()];
        for point in &series.points {
            let at = point.at.since(self.span.from).as_nanos() / self.step.as_nanos().max(1);
            if let Some(slot) = out.get_mut(at as usize) {
                *slot = Some(point.value);
            }
        }
        out
    }

    /// Transport totals of a link, both ends as one.
    pub fn flow(&self, link: &Link, span: Span) -> FlowTotals {
        self.evidence.flow(&link.key, Observer::Merged, span)
    }

    /// One figure of a link's transport totals for each step, per second.
    pub fn flow_rates(&self, link: &Link, of: impl Fn(&FlowTotals) -> u64) -> Vec<Option<f64>> {
        let rate =
            |s: Span| Some(of(&self.flow(link, s)) as f64 / s.length().as_secs_f64().max(1e-9));
        self.steps_of(self.step).into_iter().map(rate).collect()
    }

    /// Requests of a link as one end saw them.
    pub fn calls(&self, link: &Link, observer: Observer, span: Span) -> Calls {
        let mut out = Calls::default();
        for (key, totals) in self.evidence.requests(&link.key, observer, span) {
            out.requests += totals.count;
            out.failed += if key.failed() { totals.count } else { 0 };
            out.unanswered += if key.unanswered() { totals.count } else { 0 };
            out.latency.merge(&totals.latency);
        }
        out
    }

    /// Requests of a link as its users felt them: the client's view where there is one.
    pub fn felt(&self, link: &Link, span: Span) -> Calls {
        if link.client_seen {
            let calls = self.calls(link, Observer::Client, span);
            if calls.requests > 0 {
                return calls;
            }
        }
        self.calls(link, Observer::Merged, span)
    }

    /// Links into a service.
    pub fn inbound<'s>(&'s self, service: &'s str) -> impl Iterator<Item = &'s Link> {
        self.links.iter().filter(move |l| &*l.server == service && l.client != l.server)
    }

    /// Links out of a service.
    pub fn outbound<'s>(&'s self, service: &'s str) -> impl Iterator<Item = &'s Link> {
        self.links.iter().filter(move |l| &*l.client == service && l.client != l.server)
    }
}
