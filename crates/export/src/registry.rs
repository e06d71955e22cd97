use crate::{Owner, intake};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use taproot_model::schema::{Instrument, Kind, OVERFLOW, instrument};
use taproot_model::{EntityId, Histogram, Name, Signal, Timestamp};

/// Time between two looks for series that nobody adds to any more.
const SWEEP_EVERY: Duration = Duration::from_secs(30);

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    /// Text.
    Text(Name),
    /// A number.
    Int(i64),
    /// Yes or no.
    Bool(bool),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => text.fmt(f),
            Self::Int(number) => number.fmt(f),
            Self::Bool(is) => is.fmt(f),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<Name> for Value {
    fn from(text: Name) -> Self {
        Self::Text(text)
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Self::Int(number.into())
    }
}

/// What tells the series of one metric and owner apart. No key stands twice.
pub type Attributes = Vec<(&'static str, Value)>;

/// What a series holds, since it began.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// A sum, in the metric's unit.
    Sum(f64),
    /// The last level, in the metric's unit.
    Level(f64),
    /// Durations.
    Histogram(Histogram),
}

/// One series as it is now.
#[derive(Clone, Debug)]
pub struct Point {
    /// Whose.
    pub owner: Arc<Owner>,
    /// Key of the owner.
    pub id: EntityId,
    /// What tells it apart.
    pub attributes: Attributes,
    /// Since when it adds up.
    pub began: Timestamp,
    /// When it was last added to.
    pub at: Timestamp,
    /// What it holds.
    pub data: Data,
}

/// All series of one metric.
#[derive(Clone, Debug)]
pub struct Family {
    /// The metric.
    pub instrument: &'static Instrument,
    /// Its series, by owner and attributes.
    pub points: Vec<Point>,
}

/// How much is kept, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Series at most; what is beyond is added up in one series a metric.
    pub series: usize,
    /// Owners whose names are kept at most.
    pub owners: usize,
    /// A sum that nobody added to for so long is forgotten.
    pub sums: Duration,
    /// A level that nobody told for so long is forgotten: it may have changed.
    pub levels: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            series: 20_000,
            owners: 8_192,
            sums: Duration::from_mins(30),
            levels: Duration::from_mins(2),
        }
    }
}

struct Series {
    owner: Arc<Owner>,
    began: Timestamp,
    at: Timestamp,
    data: Data,
}

type Members = BTreeMap<(EntityId, Attributes), Series>;

/// Everything the signals told since the start, as series.
pub struct Registry {
    limits: Limits,
    owners: HashMap<EntityId, Arc<Owner>>,
    families: BTreeMap<&'static str, (&'static Instrument, Members)>,
    series: usize,
    own: Arc<Owner>,
    newest: Timestamp,
    swept: Timestamp,
}

impl Registry {
    /// A registry without a series. `version` is the program's.
    pub fn new(limits: Limits, version: &str) -> Self {
        Self {
            limits,
            owners: HashMap::new(),
            families: BTreeMap::new(),
            series: 0,
            own: Arc::new(Owner::taproot(version)),
            newest: Timestamp(0),
            swept: Timestamp(0),
        }
    }

    /// Adds one batch of signals.
    pub fn observe(&mut self, signals: &[Signal]) {
        for signal in signals {
            self.newest = self.newest.max(signal.at().unwrap_or_default());
            intake::add(self, signal);
        }
        self.add_own("taproot.signals", &[], signals.len() as f64);
        if self.newest.since(self.swept) > SWEEP_EVERY {
            self.sweep();
        }
        self.set_own("taproot.export.series", &[], self.series as f64);
    }

    /// Adds to one of Taproot's own sums.
    pub fn add_own(&mut self, name: &str, attributes: &[(&'static str, Value)], add: f64) {
        let own = (Name::default(), Arc::clone(&self.own));
        self.put(name, own, attributes.to_vec(), self.newest, Data::Sum(add));
    }

    /// Sets one of Taproot's own levels or, where somebody else adds up, sums.
    pub fn set_own(&mut self, name: &str, attributes: &[(&'static str, Value)], value: f64) {
        let own = (Name::default(), Arc::clone(&self.own));
        self.put(name, own, attributes.to_vec(), self.newest, Data::Level(value));
    }

    /// Sets a level of a service as a whole.
    pub fn set_service(&mut self, name: &str, service: &str, value: f64) {
        let id = Name::from(format!("service:{service}"));
        let owner = self.owner(&id, || Owner::of_service(service));
        self.put(name, (id, owner), Attributes::new(), self.newest, Data::Level(value));
    }

    /// Every series, by metric.
    pub fn families(&self) -> Vec<Family> {
        let point = |((id, attributes), series): (&(EntityId, Attributes), &Series)| Point {
            owner: Arc::clone(&series.owner),
            id: id.clone(),
            attributes: attributes.clone(),
            began: series.began,
            at: series.at,
            data: series.data.clone(),
        };
        let family = |(instrument, members): &(&'static Instrument, Members)| Family {
            instrument,
            points: members.iter().map(point).collect(),
        };
        self.families.values().filter(|(_, members)| !members.is_empty()).map(family).collect()
    }

    /// How many series there are.
    pub fn len(&self) -> usize {
        self.series
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.series == 0
    }

    /// Remembers what is known of an owner.
    pub(crate) fn learn(&mut self, id: &EntityId, owner: Owner) {
        if self.owners.get(id).is_none_or(|known| **known != owner) {
            self.owners.insert(id.clone(), Arc::new(owner));
        }
    }

    /// An owner; made of what else is known where no signal introduced it.
    pub(crate) fn owner(&mut self, id: &EntityId, or: impl FnOnce() -> Owner) -> Arc<Owner> {
        let known = self.owners.entry(id.clone()).or_insert_with(|| Arc::new(or()));
        Arc::clone(known)
    }

    /// Adds to a series, or sets it where it is a level.
    pub(crate) fn put(
        &mut self,
        name: &str,
        (id, owner): (EntityId, Arc<Owner>),
        attributes: Attributes,
        at: Timestamp,
        data: Data,
    ) {
        let Some(instrument) = instrument(name) else {
            self.lost("unknown_metric");
            return;
        };
        let full = self.series >= self.limits.series;
        let (_, members) =
            self.families.entry(instrument.name).or_insert_with(|| (instrument, Members::new()));
        let mut key = (id, attributes);
        let mut owner = owner;
        // Taproot's own figures are few, and most wanted when there is too much of others'.
        if full && !key.0.is_empty() && !members.contains_key(&key) {
            if instrument.kind == Kind::Gauge || instrument.kind == Kind::UpDownCounter {
                self.lost("series_full");
                return;
            }
            key = (Name::default(), vec![(OVERFLOW, Value::Bool(true))]);
            owner = Arc::clone(&self.own);
        }
        let before = members.len();
        let series = members.entry(key).or_insert_with(|| Series {
            owner: Arc::clone(&owner),
            began: at,
            at,
            data: match &data {
                Data::Sum(_) => Data::Sum(0.0),
                Data::Level(value) => Data::Level(*value),
                Data::Histogram(_) => Data::Histogram(Histogram::default()),
            },
        });
        series.at = series.at.max(at);
        series.owner = owner;
        match (&mut series.data, &data) {
            (Data::Sum(sum), Data::Sum(add)) => *sum += add,
            (Data::Level(level), Data::Level(value)) => *level = *value,
            (Data::Histogram(all), Data::Histogram(more)) => all.merge(more),
            (held, _) => *held = data,
        }
        self.series += members.len() - before;
    }

    pub(crate) fn lost(&mut self, reason: &str) {
        self.add_own("taproot.export.lost", &[("taproot.loss.reason", reason.into())], 1.0);
    }

    fn sweep(&mut self) {
        self.swept = self.newest;
        let (newest, limits) = (self.newest, self.limits);
        for (_, members) in self.families.values_mut() {
            members.retain(|(id, _), series| {
                let patience = match series.data {
                    Data::Level(_) => limits.levels,
                    Data::Sum(_) | Data::Histogram(_) => limits.sums,
                };
                id.is_empty() || newest.since(series.at) <= patience
            });
        }
        self.series = self.families.values().map(|(_, members)| members.len()).sum();
        if self.owners.len() > self.limits.owners {
            self.owners.retain(|_, owner| Arc::strong_count(owner) > 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use taproot_model::{Metric, MetricKind, metric};

    fn cpu(entity: &str, second: u64, value: f64) -> Signal {
        Signal::Metric(Metric {
            at: Timestamp(second * 1_000_000_000),
            interval: 1_000_000_000,
            entity: entity.into(),
            name: metric::CPU_TIME.into(),
            attribute: Name::default(),
            kind: MetricKind::Delta,
            value,
        })
    }

    fn sum(registry: &Registry, name: &str, id: &str) -> Option<f64> {
        let family = registry.families().into_iter().find(|f| f.instrument.name == name)?;
        let point = family.points.into_iter().find(|p| *p.id == *id)?;
        match point.data {
            Data::Sum(value) | Data::Level(value) => Some(value),
            Data::Histogram(_) => None,
        }
    }

    #[test]
    fn deltas_become_sums() {
        let mut registry = Registry::new(Limits::default(), "0");
        registry.observe(&[cpu("container:a", 1, 0.25)]);
        registry.observe(&[cpu("container:a", 2, 0.5), cpu("container:b", 2, 1.0)]);
        assert_eq!(sum(&registry, metric::CPU_TIME, "container:a"), Some(0.75));
        assert_eq!(sum(&registry, "taproot.signals", ""), Some(3.0));
    }

    #[test]
    fn what_is_beyond_the_cap_is_added_up_together() {
        let limits = Limits { series: 10, ..Limits::default() };
        let mut registry = Registry::new(limits, "0");
        for n in 0..100 {
            registry.observe(&[cpu(&format!("container:{n}"), 1, 1.0)]);
        }
        let families = registry.families();
        let cpu = families.iter().find(|f| f.instrument.name == metric::CPU_TIME).unwrap();
        let value = |point: &Point| if let Data::Sum(value) = point.data { value } else { 0.0 };
        let total = cpu.points.iter().map(value).sum::<f64>();
        assert!((total - 100.0).abs() < 1e-9, "{total}");
        assert!(cpu.points.iter().any(|p| p.attributes == [(OVERFLOW, Value::Bool(true))]));
        assert!(registry.len() < 20);
    }

    #[test]
    fn what_nobody_tells_any_more_is_forgotten() {
        let mut registry = Registry::new(Limits::default(), "0");
        registry.observe(&[cpu("container:a", 1, 1.0)]);
        registry.observe(&[cpu("container:b", 2_000, 1.0)]);
        assert_eq!(sum(&registry, metric::CPU_TIME, "container:a"), None);
        assert_eq!(sum(&registry, metric::CPU_TIME, "container:b"), Some(1.0));
        assert_eq!(sum(&registry, "taproot.signals", ""), Some(2.0));
    }

    #[test]
    fn a_metric_without_an_instrument_is_counted_as_lost() {
        let mut registry = Registry::new(Limits::default(), "0");
        let Signal::Metric(metric) = cpu("container:a", 1, 1.0) else { return };
        registry.observe(&[Signal::Metric(Metric { name: "made.up".into(), ..metric })]);
        assert_eq!(sum(&registry, "taproot.export.lost", ""), Some(1.0));
    }
}
