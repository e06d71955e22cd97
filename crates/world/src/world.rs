use crate::config::{Config, Evicted};
use crate::edge::{EdgeData, EdgeKey};
use crate::happenings::{Log, Logs};
use crate::series::{MetricSeries, SeriesKey};
use std::collections::BTreeMap;
use taproot_model::{
    Edge, Entity, EntityId, EntityKind, Exemplar, Flow, Metric, Protocol, Requests, Signal,
    Timestamp, Transport,
};

/// Estimated bytes of a bin of each kind, heap included (a flow holds two histograms).
const FLOW_BYTES: usize = 512;
const REQUEST_BYTES: usize = 192;
const METRIC_BYTES: usize = 32;
/// Signals far in the future that must agree before the clock is believed to have moved.
const JUMP_PROOF: u32 = 16;
/// How often the window is trimmed, in bins: a sweep touches every series.
const SWEEP_EVERY: u64 = 10;

#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) entity: Entity,
    /// Newest signal that refers to it.
    pub(crate) seen: Timestamp,
}

/// The windowed picture of everything the signals told.
///
/// Feed it with [`World::add`]; read it with the methods of [`crate::World`]
/// in the query half, or through [`crate::view`].
#[derive(Clone, Debug)]
pub struct World {
    pub(crate) config: Config,
    pub(crate) entities: BTreeMap<EntityId, Known>,
    pub(crate) edges: BTreeMap<EdgeKey, EdgeData>,
    pub(crate) metrics: BTreeMap<EntityId, BTreeMap<SeriesKey, MetricSeries>>,
    pub(crate) logs: Logs,
    pub(crate) exemplars: Log<Exemplar>,
    pub(crate) evicted: Evicted,
    pub(crate) first: Option<Timestamp>,
    pub(crate) latest: Timestamp,
    /// Bins below it are gone.
    floor: u64,
    swept: u64,
    series: usize,
    bytes: usize,
    ahead: u32,
}

impl World {
    /// An empty picture.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            entities: BTreeMap::new(),
            edges: BTreeMap::new(),
            metrics: BTreeMap::new(),
            logs: Logs::default(),
            exemplars: Log::default(),
            evicted: Evicted::default(),
            first: None,
            latest: Timestamp(0),
            floor: 0,
            swept: 0,
            series: 0,
            bytes: 0,
            ahead: 0,
        }
    }

    /// Adds one signal. Order does not matter within the window; what is older
    /// than the window is counted as `late` and ignored.
    pub fn add(&mut self, signal: &Signal) {
        match signal {
            Signal::Entity(e) => self.add_entity(e),
            Signal::Flow(f) => self.add_flow(f),
            Signal::Requests(r) => self.add_requests(r),
            Signal::Exemplar(e) => self.add_exemplar(e),
            Signal::Metric(m) => self.add_metric(m),
            other => self.add_event(other),
        }
    }

    /// Adds many signals.
    pub fn add_all<'a>(&mut self, signals: impl IntoIterator<Item = &'a Signal>) {
        for signal in signals {
            self.add(signal);
        }
    }

    fn width(&self) -> u64 {
        (self.config.resolution.as_nanos() as u64).max(1)
    }

    pub(crate) fn bin(&self, at: Timestamp) -> u64 {
        at.0 / self.width()
    }

    pub(crate) fn bin_start(&self, bin: u64) -> Timestamp {
        Timestamp(bin.saturating_mul(self.width()))
    }

    /// Takes note of the time of a signal; `None` if it cannot be used.
    fn admit(&mut self, at: Timestamp) -> Option<u64> {
        let window = self.config.window.as_nanos() as u64;
        let known = self.first.is_some();
        if known && at.0 > self.latest.0.saturating_add(window) {
            self.ahead += 1;
            if self.ahead < JUMP_PROOF {
                self.evicted.count("clock_jump", 1);
                return None;
            }
        }
        self.ahead = 0;
        let bin = self.bin(at);
        if bin < self.floor {
            self.evicted.count("late", 1);
            return None;
        }
        self.first = Some(self.first.map_or(at, |f| f.min(at)));
        self.latest = self.latest.max(at);
        if self.bin(self.latest) >= self.swept + SWEEP_EVERY {
            self.sweep();
        }
        Some(bin)
    }

    /// The bin of an interval that ended at `at`: that of its middle, or of its
    /// last bin if it is longer than one.
    fn admit_interval(&mut self, at: Timestamp, interval: u64) -> Option<u64> {
        let back = interval.min(self.width()) / 2;
        self.admit(Timestamp(at.0.saturating_sub(back)))
    }

    fn sweep(&mut self) {
        self.swept = self.bin(self.latest);
        let window = self.config.window.as_nanos() as u64;
        let edge = self.bin(Timestamp(self.latest.0.saturating_sub(window)));
        self.evict_before(edge);
        while self.bytes > self.config.max_bytes && self.floor < self.swept {
            let step = ((self.swept - self.floor) / 8).max(1);
            let gone = self.evict_before(self.floor + step);
            self.evicted.count("budget", gone);
        }
        self.forget_entities();
    }

    /// Drops bins and events before `floor`; returns the number of bins.
    fn evict_before(&mut self, floor: u64) -> u64 {
        if floor <= self.floor {
            return 0;
        }
        self.floor = floor;
        let start = self.bin_start(floor);
        self.first = self.first.map(|f| f.max(start));
        self.logs.evict_before(start);
        self.exemplars.evict_before(start);
        self.evict_edges(floor) + self.evict_metrics(floor)
    }

    fn evict_edges(&mut self, floor: u64) -> u64 {
        let (mut flows, mut requests) = (0, 0);
        self.edges.retain(|_, edge| {
            for side in edge.sides_mut() {
                flows += side.flow.evict_before(floor);
                side.requests.retain(|_, bins| {
                    requests += bins.evict_before(floor);
                    !bins.is_empty()
                });
            }
            !edge.is_empty()
        });
        self.bytes = self.bytes.saturating_sub(flows * FLOW_BYTES + requests * REQUEST_BYTES);
        (flows + requests) as u64
    }

    fn evict_metrics(&mut self, floor: u64) -> u64 {
        let (mut bins, mut series) = (0, 0);
        self.metrics.retain(|_, all| {
            all.retain(|_, one| {
                bins += one.bins.evict_before(floor);
                series += usize::from(one.bins.is_empty());
                !one.bins.is_empty()
            });
            !all.is_empty()
        });
        self.series -= series;
        self.bytes = self.bytes.saturating_sub(bins * METRIC_BYTES);
        bins as u64
    }

    fn forget_entities(&mut self) {
        let over = self.entities.len().saturating_sub(self.config.max_entities);
        if over == 0 {
            return;
        }
        let mut ages: Vec<_> = self.entities.iter().map(|(id, k)| (k.seen, id.clone())).collect();
        ages.sort_unstable();
        for (_, id) in ages.iter().take(over) {
            self.entities.remove(id);
        }
        self.evicted.count("entities", over as u64);
    }

    fn add_entity(&mut self, entity: &Entity) {
        let seen = self.latest;
        let known = Known { entity: entity.clone(), seen };
        self.entities.insert(entity.id.clone(), known);
        if self.entities.len() > self.config.max_entities.saturating_mul(2) {
            self.forget_entities();
        }
    }

    fn touch(&mut self, id: &EntityId, at: Timestamp) {
        if let Some(known) = self.entities.get_mut(id) {
            known.seen = known.seen.max(at);
        }
    }

    /// Makes the ends of an edge known if no `Entity` signal did.
    fn introduce(&mut self, edge: &Edge, at: Timestamp) {
        for end in [&edge.client, &edge.server] {
            if !self.entities.contains_key(&end.entity) {
                let entity = Entity {
                    id: end.entity.clone(),
                    kind: kind_of(&end.entity),
                    service: end.service.clone(),
                    pod: end.instance.clone(),
                    ..Entity::default()
                };
                self.add_entity(&entity);
            }
            self.touch(&end.entity, at);
        }
    }

    fn edge(&mut self, edge: &Edge, transport: Transport) -> Option<&mut EdgeData> {
        let key = EdgeKey::new(edge, transport);
        if self.edges.len() >= self.config.max_edges && !self.edges.contains_key(&key) {
            self.evicted.count("edges", 1);
            return None;
        }
        Some(self.edges.entry(key).or_insert_with(|| EdgeData::new(edge)))
    }

    fn add_flow(&mut self, flow: &Flow) {
        let Some(bin) = self.admit_interval(flow.at, flow.interval) else { return };
        self.introduce(&flow.edge, flow.at);
        let Some(edge) = self.edge(&flow.edge, flow.transport) else { return };
        if edge.side(&flow.edge).add_flow(bin, flow) {
            self.bytes += FLOW_BYTES;
        }
    }

    fn add_requests(&mut self, requests: &Requests) {
        let Some(bin) = self.admit_interval(requests.at, requests.interval) else { return };
        self.introduce(&requests.edge, requests.at);
        let max = self.config.max_routes;
        let transport = transport_of(requests.protocol);
        let Some(edge) = self.edge(&requests.edge, transport) else { return };
        match edge.side(&requests.edge).add_requests(bin, requests, max) {
            Some(true) => self.bytes += REQUEST_BYTES,
            Some(false) => {}
            None => self.evicted.count("routes", 1),
        }
    }

    fn add_exemplar(&mut self, exemplar: &Exemplar) {
        if self.admit(exemplar.at).is_some() {
            self.introduce(&exemplar.edge, exemplar.at);
            let gone = self.exemplars.add(exemplar.at, exemplar.clone(), self.config.max_exemplars);
            self.evicted.count("exemplars", gone);
        }
    }

    fn add_metric(&mut self, metric: &Metric) {
        let Some(bin) = self.admit_interval(metric.at, metric.interval) else { return };
        if !metric.value.is_finite() {
            self.evicted.count("not_finite", 1);
            return;
        }
        self.touch(&metric.entity, metric.at);
        let key = SeriesKey { name: metric.name.clone(), attribute: metric.attribute.clone() };
        let all = self.metrics.entry(metric.entity.clone()).or_default();
        if !all.contains_key(&key) {
            if self.series >= self.config.max_series {
                self.evicted.count("series", 1);
                return;
            }
            self.series += 1;
        }
        let series = all.entry(key).or_insert_with(|| MetricSeries::new(metric.kind));
        if series.add(bin, metric.at, metric.value) {
            self.bytes += METRIC_BYTES;
        }
    }

    fn add_event(&mut self, signal: &Signal) {
        let Some((at, entity)) = event_head(signal) else { return };
        if self.admit(at).is_none() {
            return;
        }
        self.touch(&entity, at);
        let cap = self.config.max_events;
        let logs = &mut self.logs;
        let gone = match signal {
            Signal::Lifecycle(e) => logs.lifecycle.add(at, (**e).clone(), cap),
            Signal::SyscallFailure(e) => logs.failures.add(at, (**e).clone(), cap),
            Signal::LogPattern(e) => logs.patterns.add(at, (**e).clone(), cap),
            Signal::Gibberish(e) => logs.gibberish.add(at, (**e).clone(), cap),
            Signal::Change(e) => logs.changes.add(at, (**e).clone(), cap),
            Signal::ClusterEvent(e) => logs.cluster.add(at, (**e).clone(), cap),
            Signal::Loss(e) => logs.losses.add(at, e.clone(), cap),
            _ => 0,
        };
        self.evicted.count("events", gone);
    }
}

fn event_head(signal: &Signal) -> Option<(Timestamp, EntityId)> {
    Some(match signal {
        Signal::Lifecycle(e) => (e.at, e.entity.clone()),
        Signal::SyscallFailure(e) => (e.at, e.entity.clone()),
        Signal::LogPattern(e) => (e.at, e.entity.clone()),
        Signal::Gibberish(e) => (e.at, e.entity.clone()),
        Signal::Change(e) => (e.at, e.entity.clone()),
        Signal::ClusterEvent(e) => (e.at, e.entity.clone()),
        Signal::Loss(e) => (e.at, e.entity.clone()),
        _ => return None,
    })
}

/// The transport a request series belongs to: DNS is taken as UDP, the rest as TCP.
fn transport_of(protocol: Protocol) -> Transport {
    match protocol {
        Protocol::Dns => Transport::Udp,
        _ => Transport::Tcp,
    }
}

/// The kind that the prefix of an id tells.
fn kind_of(id: &str) -> EntityKind {
    match id.split_once(':').map_or("", |p| p.0) {
        "container" => EntityKind::Container,
        "unit" => EntityKind::Unit,
        "node" => EntityKind::Node,
        "external" => EntityKind::External,
        _ => EntityKind::Process,
    }
}
