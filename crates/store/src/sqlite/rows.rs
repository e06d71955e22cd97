//! The three tables of sums: how a signal becomes a row, rows become one row of
//! a coarser interval, and a row becomes a signal again.

use super::Fault;
use super::keys::{Key, timestamp};
use crate::codec;
use rusqlite::Row;
use rusqlite::types::Value;
use std::collections::BTreeMap;
use taproot_model::{
    Flow, Histogram, Metric, MetricKind, Name, Requests, Signal, Timestamp, metric,
};

/// The part of a signal that changes from interval to interval.
pub(super) trait Sums: Sized {
    /// Its table.
    const TABLE: &'static str;
    /// Its own columns, in the order of [`values`](Self::values).
    const COLUMNS: &'static [&'static str];

    /// The values of its columns.
    fn values(&self) -> Result<Vec<Value>, Fault>;

    /// Its columns, which begin at `first`, as a value.
    fn from_row(row: &Row<'_>, first: usize) -> Result<Self, Fault>;

    /// Adds a later row of the same series.
    fn merge(&mut self, later: &Self, key: &Key);

    /// The signal again; `None` when the key is of another table.
    fn signal(self, at: Timestamp, interval: u64, key: &Key) -> Option<Signal>;
}

/// Where a row stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) at: i64,
    pub(super) series: i64,
    pub(super) interval: i64,
}

/// Columns before those of [`Sums::COLUMNS`] in [`select`].
pub(super) const OWN: usize = 3;

/// `SELECT` for the rows of one tier with `?1 <= at < ?2`, by time.
pub(super) fn select<S: Sums>(tier: usize) -> String {
    let (table, columns) = (S::TABLE, S::COLUMNS.join(", "));
    format!(
        "SELECT at, series, interval, {columns} FROM {table} \
         WHERE tier = {tier} AND at >= ?1 AND at < ?2 ORDER BY at, seq"
    )
}

/// `INSERT` for one row: tier, at, seq, series, interval and its own columns.
pub(super) fn insert<S: Sums>() -> String {
    let (table, columns) = (S::TABLE, S::COLUMNS.join(", "));
    let marks = vec!["?"; S::COLUMNS.len()].join(", ");
    format!(
        "INSERT INTO {table} (tier, at, seq, series, interval, {columns}) \
         VALUES (?, ?, ?, ?, ?, {marks})"
    )
}

/// The place in a row of [`select`].
pub(super) fn place(row: &Row<'_>) -> rusqlite::Result<Place> {
    Ok(Place { at: row.get(0)?, series: row.get(1)?, interval: row.get(2)? })
}

/// A row of [`select`] as the signal it came from.
pub(super) fn signal<S: Sums>(row: &Row<'_>, key: &Key) -> Result<Signal, Fault> {
    let Place { at, interval, series } = place(row)?;
    S::from_row(row, OWN)?
        .signal(timestamp(at), interval as u64, key)
        .ok_or_else(|| Fault::Damaged(format!("series {series} is not of table {}", S::TABLE)))
}

/// Counts of a flow that add up, in the order of its columns.
const FLOW_COUNTS: usize = 10;

/// What [`Flow`] accumulates.
pub(super) struct FlowSums {
    counts: [u64; FLOW_COUNTS],
    open: u64,
    failed_connects: BTreeMap<Name, u64>,
    drops: BTreeMap<Name, u64>,
    rtt: Histogram,
    connect_time: Histogram,
}

impl FlowSums {
    pub(super) fn of(flow: &Flow) -> Self {
        Self {
            counts: [
                flow.tx_bytes,
                flow.rx_bytes,
                flow.tx_packets,
                flow.rx_packets,
                flow.retransmits,
                flow.syn_retransmits,
                flow.connects,
                flow.resets_sent,
                flow.resets_received,
                flow.listen_overflows,
            ],
            open: flow.open,
            failed_connects: flow.failed_connects.clone(),
            drops: flow.drops.clone(),
            rtt: flow.rtt.clone(),
            connect_time: flow.connect_time.clone(),
        }
    }
}

impl Sums for FlowSums {
    const TABLE: &'static str = "flows";
    const COLUMNS: &'static [&'static str] = &[
        "tx_bytes",
        "rx_bytes",
        "tx_packets",
        "rx_packets",
        "retransmits",
        "syn_retransmits",
        "connects",
        "resets_sent",
        "resets_received",
        "listen_overflows",
        "open",
        "failed_connects",
        "drops",
        "rtt",
        "connect_time",
    ];

    fn values(&self) -> Result<Vec<Value>, Fault> {
        let mut out: Vec<Value> = self.counts.iter().map(|&n| count(n)).collect();
        out.push(count(self.open));
        out.push(by_name(&self.failed_connects)?);
        out.push(by_name(&self.drops)?);
        out.push(histogram(&self.rtt)?);
        out.push(histogram(&self.connect_time)?);
        Ok(out)
    }

    fn from_row(row: &Row<'_>, first: usize) -> Result<Self, Fault> {
        let mut counts = [0; FLOW_COUNTS];
        for (i, n) in counts.iter_mut().enumerate() {
            *n = get_count(row, first + i)?;
        }
        let rest = first + FLOW_COUNTS;
        Ok(Self {
            counts,
            open: get_count(row, rest)?,
            failed_connects: get_by_name(row, rest + 1)?,
            drops: get_by_name(row, rest + 2)?,
            rtt: get_histogram(row, rest + 3)?,
            connect_time: get_histogram(row, rest + 4)?,
        })
    }

    fn merge(&mut self, later: &Self, _: &Key) {
        for (n, more) in self.counts.iter_mut().zip(later.counts) {
            *n = n.saturating_add(more);
        }
        self.open = later.open;
        add_by_name(&mut self.failed_connects, &later.failed_connects);
        add_by_name(&mut self.drops, &later.drops);
        self.rtt.merge(&later.rtt);
        self.connect_time.merge(&later.connect_time);
    }

    fn signal(self, at: Timestamp, interval: u64, key: &Key) -> Option<Signal> {
        let Key::Flow { edge, transport } = key else { return None };
        let [tx_bytes, rx_bytes, tx_packets, rx_packets, retransmits, rest @ ..] = self.counts;
        let [syn_retransmits, connects, resets_sent, resets_received, listen_overflows] = rest;
        Some(Signal::Flow(Box::new(Flow {
            at,
            interval,
            edge: edge.clone(),
            transport: *transport,
            tx_bytes,
            rx_bytes,
            tx_packets,
            rx_packets,
            retransmits,
            syn_retransmits,
            connects,
            failed_connects: self.failed_connects,
            resets_sent,
            resets_received,
            listen_overflows,
            open: self.open,
            drops: self.drops,
            rtt: self.rtt,
            connect_time: self.connect_time,
        })))
    }
}

/// What [`Requests`] accumulates.
pub(super) struct RequestSums {
    count: u64,
    request_bytes: u64,
    response_bytes: u64,
    latency: Histogram,
}

impl RequestSums {
    pub(super) fn of(requests: &Requests) -> Self {
        Self {
            count: requests.count,
            request_bytes: requests.request_bytes,
            response_bytes: requests.response_bytes,
            latency: requests.latency.clone(),
        }
    }
}

impl Sums for RequestSums {
    const TABLE: &'static str = "requests";
    const COLUMNS: &'static [&'static str] =
        &["count", "request_bytes", "response_bytes", "latency"];

    fn values(&self) -> Result<Vec<Value>, Fault> {
        let counts = [self.count, self.request_bytes, self.response_bytes];
        let mut out: Vec<Value> = counts.into_iter().map(count).collect();
        out.push(histogram(&self.latency)?);
        Ok(out)
    }

    fn from_row(row: &Row<'_>, first: usize) -> Result<Self, Fault> {
        Ok(Self {
            count: get_count(row, first)?,
            request_bytes: get_count(row, first + 1)?,
            response_bytes: get_count(row, first + 2)?,
            latency: get_histogram(row, first + 3)?,
        })
    }

    fn merge(&mut self, later: &Self, _: &Key) {
        self.count = self.count.saturating_add(later.count);
        self.request_bytes = self.request_bytes.saturating_add(later.request_bytes);
        self.response_bytes = self.response_bytes.saturating_add(later.response_bytes);
        self.latency.merge(&later.latency);
    }

    fn signal(self, at: Timestamp, interval: u64, key: &Key) -> Option<Signal> {
        let Key::Requests(key) = key else { return None };
        let key = key.clone();
        Some(Signal::Requests(Box::new(Requests {
            at,
            interval,
            edge: key.edge,
            protocol: key.protocol,
            method: key.method,
            route: key.route,
            status: key.status,
            code: key.code,
            error: key.error,
            count: self.count,
            request_bytes: self.request_bytes,
            response_bytes: self.response_bytes,
            latency: self.latency,
        })))
    }
}

/// The value of a [`Metric`].
pub(super) struct MetricSum(pub(super) f64);

impl Sums for MetricSum {
    const TABLE: &'static str = "metrics";
    const COLUMNS: &'static [&'static str] = &["value"];

    fn values(&self) -> Result<Vec<Value>, Fault> {
        Ok(vec![Value::Real(self.0)])
    }

    fn from_row(row: &Row<'_>, first: usize) -> Result<Self, Fault> {
        // SQLite keeps "not a number" as NULL.
        Ok(Self(row.get::<_, Option<f64>>(first)?.unwrap_or(f64::NAN)))
    }

    /// A delta adds up. A gauge keeps its worst value, so that a peak that fits
    /// between two coarse rows is not forgotten: the highest, for coverage the lowest.
    fn merge(&mut self, later: &Self, key: &Key) {
        let Key::Metric { name, kind, .. } = key else { return };
        self.0 = match kind {
            MetricKind::Delta => self.0 + later.0,
            MetricKind::Gauge if name.as_str() == metric::COVERAGE => self.0.min(later.0),
            MetricKind::Gauge => self.0.max(later.0),
        };
    }

    fn signal(self, at: Timestamp, interval: u64, key: &Key) -> Option<Signal> {
        let Key::Metric { entity, name, attribute, kind } = key else { return None };
        Some(Signal::Metric(Metric {
            at,
            interval,
            entity: entity.clone(),
            name: name.clone(),
            attribute: attribute.clone(),
            kind: *kind,
            value: self.0,
        }))
    }
}

/// SQLite integers are signed: the bits are kept, so every count comes back.
fn count(n: u64) -> Value {
    Value::Integer(n.cast_signed())
}

fn get_count(row: &Row<'_>, at: usize) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(at)?.cast_unsigned())
}

fn by_name(map: &BTreeMap<Name, u64>) -> Result<Value, Fault> {
    Ok(if map.is_empty() { Value::Null } else { Value::Blob(codec::encode(map)?) })
}

fn get_by_name(row: &Row<'_>, at: usize) -> Result<BTreeMap<Name, u64>, Fault> {
    match row.get_ref(at)?.as_blob_or_null().map_err(rusqlite::Error::from)? {
        None => Ok(BTreeMap::new()),
        Some(bytes) => Ok(codec::decode(bytes)?),
    }
}

fn add_by_name(to: &mut BTreeMap<Name, u64>, from: &BTreeMap<Name, u64>) {
    for (name, more) in from {
        let n = to.entry(name.clone()).or_default();
        *n = n.saturating_add(*more);
    }
}

/// A histogram as its sum and buckets only: the count follows from them.
fn histogram(of: &Histogram) -> Result<Value, Fault> {
    if of.is_empty() {
        return Ok(Value::Null);
    }
    Ok(Value::Blob(codec::encode(&(of.sum(), of.buckets()))?))
}

fn get_histogram(row: &Row<'_>, at: usize) -> Result<Histogram, Fault> {
    let Some(bytes) = row.get_ref(at)?.as_blob_or_null().map_err(rusqlite::Error::from)? else {
        return Ok(Histogram::default());
    };
    let (sum, buckets): (u64, Vec<(u16, u64)>) = codec::decode(bytes)?;
    Ok(Histogram::from_buckets(buckets, sum))
}
