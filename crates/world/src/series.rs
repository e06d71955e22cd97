use crate::bins::Bins;
use serde::Serialize;
use taproot_model::{MetricKind, Name, Timestamp};

/// One value of a [`Series`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Point {
    /// Beginning of its bin.
    pub at: Timestamp,
    /// A level, or what was added during the bin.
    pub value: f64,
}

/// Values over time, oldest first. Bins without a value are absent: for a delta
/// that means nothing was added, for a gauge that nobody looked.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Series {
    /// Level or increment.
    pub kind: MetricKind,
    /// The values.
    pub points: Vec<Point>,
}

impl Series {
    /// A series without values.
    pub fn empty(kind: MetricKind) -> Self {
        Self { kind, points: Vec::new() }
    }

    /// Sum of all values.
    pub fn total(&self) -> f64 {
        self.points.iter().map(|p| p.value).sum()
    }

    /// The newest value.
    pub fn last(&self) -> Option<f64> {
        self.points.last().map(|p| p.value)
    }

    /// The largest value.
    pub fn max(&self) -> Option<f64> {
        self.points.iter().map(|p| p.value).reduce(f64::max)
    }
}

/// What tells the resource series of one entity apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct SeriesKey {
    /// Metric name, see [`taproot_model::metric`].
    pub name: Name,
    /// `key=value`, or empty.
    pub attribute: Name,
}

/// Last gauge or summed delta of one bin.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cell {
    /// Time of the newest gauge, so that a late one does not overwrite it.
    pub(crate) at: Timestamp,
    pub(crate) value: f64,
}

#[derive(Clone, Debug)]
pub(crate) struct MetricSeries {
    pub(crate) kind: MetricKind,
    pub(crate) bins: Bins<Cell>,
}

impl MetricSeries {
    pub(crate) fn new(kind: MetricKind) -> Self {
        Self { kind, bins: Bins::default() }
    }

    /// Adds a value; says whether a bin was made for it.
    pub(crate) fn add(&mut self, bin: u64, at: Timestamp, value: f64) -> bool {
        let (cell, new) = self.bins.entry(bin);
        match self.kind {
            MetricKind::Delta => cell.value += value,
            MetricKind::Gauge if at >= cell.at => cell.value = value,
            MetricKind::Gauge => {}
        }
        cell.at = cell.at.max(at);
        new
    }
}
