use crate::config::Evicted;
use crate::edge::{EdgeData, EdgeKey, FlowTotals, Observer, RequestKey, RequestTotals, Side};
use crate::happenings::Happenings;
use crate::series::{Point, Series, SeriesKey};
use crate::world::World;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use taproot_model::{Endpoint, Entity, Exemplar, MetricKind, Name, Span, Timestamp};

/// Share by which the ends of an edge may differ and still count as equal: their
/// intervals end at different times, so requests in flight fall on either side.
const SAME: f64 = 0.02;

/// An edge and its ends.
#[derive(Clone, Copy, Debug)]
pub struct EdgeInfo<'a> {
    /// What tells it apart.
    pub key: &'a EdgeKey,
    /// The calling end.
    pub client: &'a Endpoint,
    /// The called end.
    pub server: &'a Endpoint,
    data: &'a EdgeData,
}

impl EdgeInfo<'_> {
    /// Whether that end was observed at all ([`Observer::Merged`]: any end).
    pub fn seen_by(&self, observer: Observer) -> bool {
        match observer {
            Observer::Client => !self.data.client.is_empty(),
            Observer::Server => !self.data.server.is_empty(),
            Observer::Merged => !self.data.is_empty(),
        }
    }

    /// Addresses the client dialled instead of the server's own.
    pub fn via(&self) -> impl Iterator<Item = &SocketAddr> {
        self.data.via.iter()
    }
}

type ByRoute = BTreeMap<RequestKey, RequestTotals>;

fn count(requests: &ByRoute) -> u64 {
    requests.values().map(|r| r.count).sum()
}

impl World {
    /// The time it covers: from its oldest signal in the window to its newest,
    /// in whole bins. Empty before the first signal.
    pub fn span(&self) -> Span {
        let Some(first) = self.first else { return Span::default() };
        Span::new(self.bin_start(self.bin(first)), self.bin_start(self.bin(self.latest) + 1))
    }

    /// Width of a bin.
    pub fn resolution(&self) -> Duration {
        self.config.resolution
    }

    /// What was refused or dropped, by reason.
    pub fn evicted(&self) -> &Evicted {
        &self.evicted
    }

    /// Everyone known.
    pub fn entities(&self) -> impl Iterator<Item = &Entity> {
        self.entities.values().map(|k| &k.entity)
    }

    /// One of them.
    pub fn entity(&self, id: &str) -> Option<&Entity> {
        self.entities.get(id).map(|k| &k.entity)
    }

    /// When a signal last referred to it.
    pub fn last_seen(&self, id: &str) -> Option<Timestamp> {
        self.entities.get(id).map(|k| k.seen)
    }

    /// All edges of the window.
    pub fn edges(&self) -> impl Iterator<Item = EdgeInfo<'_>> {
        self.edges.iter().map(|(key, data)| EdgeInfo {
            key,
            client: &data.client_end,
            server: &data.server_end,
            data,
        })
    }

    /// The service of an end: what its owner is known as by now, else what the signal said.
    pub fn service_of(&self, end: &Endpoint) -> Name {
        self.entity(&end.entity).map_or(&end.service, |e| &e.service).clone()
    }

    /// An end under the names that its owner is known by now: who lives for a second may be
    /// seen before it is named, and what was seen then holds its container's id.
    pub fn as_known(&self, end: &Endpoint) -> Endpoint {
        let Some(entity) = self.entity(&end.entity) else { return end.clone() };
        Endpoint {
            service: entity.service.clone(),
            instance: entity.instance().clone(),
            ..end.clone()
        }
    }

    fn bins_of(&self, span: Span) -> (u64, u64) {
        let width = self.config.resolution.as_nanos().max(1) as u64;
        (self.bin(span.from), span.to.0.div_ceil(width))
    }

    fn flow_side(&self, side: &Side, span: Span) -> FlowTotals {
        let (from, to) = self.bins_of(span);
        let mut out = FlowTotals::default();
        side.flow.range(from, to).for_each(|(_, cell)| out.then(cell));
        out
    }

    /// Transport totals of an edge within `span` (whole bins); zero if unknown.
    pub fn flow(&self, key: &EdgeKey, observer: Observer, span: Span) -> FlowTotals {
        let Some(edge) = self.edges.get(key) else { return FlowTotals::default() };
        match observer {
            Observer::Client => self.flow_side(&edge.client, span),
            Observer::Server => self.flow_side(&edge.server, span),
            Observer::Merged if edge.client.is_empty() && edge.server.is_empty() => {
                self.flow_side(&edge.unknown, span)
            }
            Observer::Merged => {
                let mut out = self.flow_side(&edge.client, span);
                out.join(&self.flow_side(&edge.server, span));
                out
            }
        }
    }

    fn requests_side(&self, side: &Side, span: Span) -> ByRoute {
        let (from, to) = self.bins_of(span);
        let mut out = ByRoute::new();
        for (key, bins) in &side.requests {
            for (_, cell) in bins.range(from, to) {
                out.entry(key.clone()).or_default().then(cell);
            }
        }
        out
    }

    /// Requests of an edge within `span` (whole bins) by method, route and status.
    ///
    /// [`Observer::Merged`] takes the server's word, unless the client saw more:
    /// then requests never reached the server, and the client's word counts.
    pub fn requests(&self, key: &EdgeKey, observer: Observer, span: Span) -> ByRoute {
        let Some(edge) = self.edges.get(key) else { return ByRoute::new() };
        match observer {
            Observer::Client => self.requests_side(&edge.client, span),
            Observer::Server => self.requests_side(&edge.server, span),
            Observer::Merged if edge.client.is_empty() && edge.server.is_empty() => {
                self.requests_side(&edge.unknown, span)
            }
            Observer::Merged => {
                let client = self.requests_side(&edge.client, span);
                let server = self.requests_side(&edge.server, span);
                let more = count(&client) as f64 > count(&server) as f64 * (1.0 + SAME);
                if more { client } else { server }
            }
        }
    }

    /// The resource series an entity has.
    pub fn metric_keys(&self, entity: &str) -> impl Iterator<Item = (&SeriesKey, MetricKind)> {
        self.metrics.get(entity).into_iter().flatten().map(|(key, series)| (key, series.kind))
    }

    /// One resource series within `span`; `None` if it was never reported.
    pub fn metric(&self, entity: &str, key: &SeriesKey, span: Span) -> Option<Series> {
        let series = self.metrics.get(entity)?.get(key)?;
        let (from, to) = self.bins_of(span);
        let at = |bin| self.bin_start(bin);
        let points = series.bins.range(from, to).map(|(b, c)| Point { at: at(b), value: c.value });
        Some(Series { kind: series.kind, points: points.collect() })
    }

    /// What happened within `span`.
    pub fn happenings(&self, span: Span) -> Happenings {
        Happenings {
            lifecycle: self.logs.lifecycle.within(span).cloned().collect(),
            failures: self.logs.failures.within(span).cloned().collect(),
            patterns: self.logs.patterns.within(span).cloned().collect(),
            gibberish: self.logs.gibberish.within(span).cloned().collect(),
            changes: self.logs.changes.within(span).cloned().collect(),
            cluster: self.logs.cluster.within(span).cloned().collect(),
            losses: self.logs.losses.within(span).cloned().collect(),
        }
    }

    /// Requests kept in full within `span`, oldest first.
    pub fn exemplars(&self, span: Span) -> impl Iterator<Item = &Exemplar> {
        self.exemplars.within(span)
    }
}
