use crate::anomaly;
use crate::view::{
    Coverage, Health, LossRow, Losses, MapView, ReportView, Reports, SCHEMA_VERSION, ServiceRow,
    Services, Status,
};
use crate::{AppState, StateError};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;
use taproot_export::{Limits, Registry, prometheus};
use taproot_model::{Name, Signal, Span, Timestamp, metric};
use taproot_store::{Report, Store};
use taproot_world::World;
use taproot_world::view::{Flows, Golden, Latency, Map, RequestsView};

/// Steps of a course.
const STEPS: u32 = 60;

/// Without a new signal for this long, something is wrong.
const STALE: Duration = Duration::from_secs(15);

/// The time that a service's coverage is told of in metrics.
const COVERED: Duration = Duration::from_mins(1);

/// What the map calls "now", to be compared with all that is known from before.
const NOW: Duration = Duration::from_secs(30);

/// [`AppState`] over a live world and, for reports, a store.
pub struct WorldState {
    world: RwLock<World>,
    store: Option<Mutex<Box<dyn Store + Send>>>,
    doctor: OnceLock<Value>,
    series: Arc<Mutex<Registry>>,
    version: Name,
    started: Timestamp,
    signals: AtomicU64,
}

impl WorldState {
    /// A state of an empty picture. `version` is the program's. Without a store
    /// there are no reports.
    pub fn new(world: World, store: Option<Box<dyn Store + Send>>, version: &str) -> Arc<Self> {
        Arc::new(Self {
            world: RwLock::new(world),
            store: store.map(Mutex::new),
            doctor: OnceLock::new(),
            series: Arc::new(Mutex::new(Registry::new(Limits::default(), version))),
            version: version.into(),
            started: Timestamp::now(),
            signals: AtomicU64::new(0),
        })
    }

    /// Takes in the JSON of `taproot doctor`, once; until then the API says how to
    /// get it.
    pub fn set_doctor(&self, found: Value) {
        // Nobody examines a machine twice; if so, the first look stands.
        let _ = self.doctor.set(found);
    }

    /// The series of everything that was added, for exporters.
    pub fn series(&self) -> Arc<Mutex<Registry>> {
        Arc::clone(&self.series)
    }

    /// Adds signals to the picture, to the series, and to the store if there is one.
    ///
    /// Picture and series are always added to: what a full disk refuses is still shown.
    pub fn add(&self, signals: &[Signal]) -> Result<(), StateError> {
        let mut world = self.world.write().unwrap_or_else(PoisonError::into_inner);
        world.add_all(signals);
        let dropped = world.evicted().by_reason.clone();
        drop(world);
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        series.observe(signals);
        for (reason, n) in dropped {
            let reason = [("taproot.loss.reason", reason.into())];
            series.set_own("taproot.picture.dropped", &reason, n as f64);
        }
        drop(series);
        self.signals.fetch_add(signals.len() as u64, Ordering::Relaxed);
        self.with_store(|store| store.append(signals).map(drop)).unwrap_or(Ok(()))
    }

    /// Puts how much of each service's traffic was understood, in the last minute, into
    /// the series: it comes from the picture, not from one signal.
    pub fn tell_coverage(&self) {
        let world = self.world();
        let map = Map::of(&world, recent(&world, COVERED));
        drop(world);
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        for service in map.services {
            if let Some(ratio) = service.capture.ratio {
                series.set_service(metric::COVERAGE, &service.service, ratio);
            }
        }
    }

    /// One step of the store's upkeep; whether there is more to do now.
    pub fn maintain(&self, now: Timestamp) -> Result<bool, StateError> {
        self.with_store(|store| store.maintain(now).map(|done| done.pending)).unwrap_or(Ok(false))
    }

    /// Keeps a report.
    pub fn put_report(&self, report: &Report) -> Result<(), StateError> {
        self.with_store(|store| store.put_report(report)).unwrap_or(Ok(()))
    }

    /// The picture, to be looked at.
    pub fn world(&self) -> RwLockReadGuard<'_, World> {
        self.world.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn with_store<T>(
        &self,
        ask: impl FnOnce(&mut dyn Store) -> Result<T, taproot_store::StoreError>,
    ) -> Option<Result<T, StateError>> {
        let mut store = self.store.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        Some(ask(store.as_mut()).map_err(StateError::from))
    }
}

/// The last `last` of what the world covers, without its newest bin: signals of
/// that are still on their way, and every course would end in a dip.
fn recent(world: &World, last: Duration) -> Span {
    let all = world.span();
    let whole = all.to - world.resolution();
    let to = if whole > all.from { whole } else { all.to };
    Span::new((to - last).max(all.from), to)
}

impl AppState for WorldState {
    fn health(&self) -> Health {
        let window = self.world().span();
        let newest = (window.to > window.from).then_some(window.to);
        let status = match newest {
            None => Status::Waiting,
            Some(at) if Timestamp::now().since(at) > STALE => Status::Stale,
            Some(_) => Status::Ok,
        };
        Health {
            schema_version: SCHEMA_VERSION,
            status,
            version: self.version.clone(),
            started: self.started,
            signals: self.signals.load(Ordering::Relaxed),
            newest,
            window,
        }
    }

    fn map(&self, last: Duration) -> Result<MapView, StateError> {
        let world = self.world();
        let span = recent(&world, last);
        let now = recent(&world, NOW);
        let before = Map::of(&world, Span::new(world.span().from, now.from));
        let now = Map::of(&world, now);
        let anomalies = anomaly::find(&now, &before);
        Ok(MapView { map: Map::of(&world, span), anomalies })
    }

    fn services(&self, last: Duration) -> Result<Services, StateError> {
        let world = self.world();
        let span = recent(&world, last);
        Ok(services(&world, span))
    }

    fn flows(&self, last: Duration) -> Result<Flows, StateError> {
        let world = self.world();
        Ok(Flows::of(&world, recent(&world, last)))
    }

    fn requests(&self, last: Duration) -> Result<RequestsView, StateError> {
        let world = self.world();
        Ok(RequestsView::of(&world, recent(&world, last)))
    }

    fn losses(&self, last: Duration) -> Result<Losses, StateError> {
        let world = self.world();
        // A loss is told at once, also one of the newest bin.
        let to = world.span().to;
        Ok(losses(&world, Span::new((to - last).max(world.span().from), to)))
    }

    fn reports(&self) -> Result<Reports, StateError> {
        let all = Span::new(Timestamp(0), Timestamp(u64::MAX));
        let reports = self.with_store(|store| store.list_reports(all)).unwrap_or(Ok(Vec::new()))?;
        Ok(Reports { schema_version: SCHEMA_VERSION, reports })
    }

    fn report(&self, id: &str) -> Result<Option<ReportView>, StateError> {
        let found = self.with_store(|store| store.report(id)).unwrap_or(Ok(None))?;
        Ok(found.map(|Report { head, text, json }| ReportView {
            schema_version: SCHEMA_VERSION,
            head,
            text,
            report: serde_json::from_str(&json).unwrap_or(Value::String(json)),
        }))
    }

    fn metrics(&self) -> Result<String, StateError> {
        let families = self.series.lock().unwrap_or_else(PoisonError::into_inner).families();
        Ok(prometheus::text(&families))
    }

    fn doctor(&self) -> Result<Value, StateError> {
        self.doctor.get().cloned().ok_or_else(|| {
            StateError::Unavailable(
                "this server does not observe its own machine: run `taproot doctor -o json` there"
                    .into(),
            )
        })
    }
}

/// Golden signals of each service over `span` and in each of its steps.
fn services(world: &World, span: Span) -> Services {
    let (step, steps) = steps(span, world.resolution());
    let mut rows: BTreeMap<Name, ServiceRow> = Map::of(world, span)
        .services
        .into_iter()
        .map(|s| {
            let row = ServiceRow {
                service: s.service.clone(),
                kind: s.kind,
                instances: s.instances.len(),
                golden: s.inbound,
                rate: Vec::new(),
                error_ratio: Vec::new(),
                p99: Vec::new(),
            };
            (s.service, row)
        })
        .collect();
    for span in steps {
        let services = Map::of(world, span).services;
        let golden: BTreeMap<_, _> =
            services.into_iter().map(|row| (row.service, row.inbound)).collect();
        for (service, row) in &mut rows {
            row.add(golden.get(service));
        }
    }
    Services {
        schema_version: SCHEMA_VERSION,
        span,
        step: step.as_secs_f64(),
        services: rows.into_values().collect(),
    }
}

/// At most [`STEPS`] steps of equal length, whole bins each, up to the end; their length
/// with them. What is left over at the beginning is no step: a rate over a moment is none.
fn steps(span: Span, bin: Duration) -> (Duration, impl Iterator<Item = Span>) {
    let bins = span.length().as_nanos() / bin.as_nanos().max(1);
    let each = bins.div_ceil(STEPS.into()).max(1);
    let step = bin * u32::try_from(each).unwrap_or(u32::MAX);
    let count = (span.length().as_nanos() / step.as_nanos().max(1)) as u32;
    let begin = move |left: u32| span.to - step * left;
    let spans = (1..=count).rev().map(move |left| Span::new(begin(left), begin(left - 1)));
    (step, spans)
}

impl ServiceRow {
    /// Adds a step; the service may not have been there.
    fn add(&mut self, step: Option<&Golden>) {
        let latency = step.and_then(|s| s.server_latency.as_ref().or(s.client_latency.as_ref()));
        let served = step.filter(|step| step.rate > 0.0);
        self.rate.push(served.map_or(0.0, |step| step.rate));
        self.error_ratio.push(served.map(|step| step.error_ratio));
        self.p99.push(latency.map(|l: &Latency| l.p99));
    }
}

fn losses(world: &World, span: Span) -> Losses {
    let mut by_reason = BTreeMap::<(Name, Name), (u64, BTreeSet<Name>)>::new();
    for loss in world.happenings(span).losses {
        let (count, owners) = by_reason.entry((loss.collector, loss.reason)).or_default();
        *count += loss.count;
        owners.insert(loss.entity);
    }
    let mut losses: Vec<_> = by_reason
        .into_iter()
        .map(|((collector, reason), (count, owners))| LossRow {
            collector,
            reason,
            count,
            entities: owners.len(),
        })
        .collect();
    losses.sort_by_key(|row| std::cmp::Reverse(row.count));
    Losses {
        schema_version: SCHEMA_VERSION,
        span,
        losses,
        coverage: coverage(world, span),
        dropped: world.evicted().by_reason.clone(),
    }
}

fn coverage(world: &World, span: Span) -> Vec<Coverage> {
    let mut out: Vec<_> = Map::of(world, span)
        .services
        .into_iter()
        .filter_map(|row| {
            let (service, capture) = (row.service, row.capture);
            capture.ratio.map(|coverage| Coverage { service, coverage, capture })
        })
        .collect();
    out.sort_by(|a, b| a.coverage.total_cmp(&b.coverage));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_equal_and_end_at_the_end() {
        let bin = Duration::from_secs(1);
        let of = |from: u64, to: u64| {
            let (step, spans) = steps(Span::new(Timestamp(from), Timestamp(to)), bin);
            (step, spans.collect::<Vec<_>>())
        };
        // Two nanoseconds more than a minute, as the first signal fell.
        let (step, spans) = of(7, 60_000_000_009);
        assert_eq!((step, spans.len()), (bin, 60));
        assert!(spans.iter().all(|span| span.length() == step));
        assert!(spans.windows(2).all(|two| two[0].to == two[1].from));
        assert_eq!(spans[59].to, Timestamp(60_000_000_009));
        assert_eq!((of(0, 61_000_000_000).0, of(0, 61_000_000_000).1.len()), (2 * bin, 30));
        assert_eq!(of(0, 300_000_000_000).0, 5 * bin);
        assert!(of(0, 999_999_999).1.is_empty());
    }
}
