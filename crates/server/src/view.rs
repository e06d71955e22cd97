//! The views that are not `taproot_world`'s own. Units are seconds, bytes and
//! ratios from 0 to 1; times are nanoseconds since the Unix epoch; a figure that
//! nobody measured is `null`, never 0.

use crate::anomaly::Anomaly;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use taproot_model::{EntityKind, Name, Span, Timestamp};
use taproot_store::ReportHead;
use taproot_world::view::{Capture, Golden, Map};

/// Version of the JSON schemas of this crate: raised when a field changes its meaning or goes.
pub const SCHEMA_VERSION: u32 = 1;

/// How the server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Signals come in.
    Ok,
    /// None has come yet.
    Waiting,
    /// They came, and stopped coming.
    Stale,
}

/// Whether signals come in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Health {
    /// See [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// In a word.
    pub status: Status,
    /// Version of taproot.
    pub version: Name,
    /// When the server started.
    pub started: Timestamp,
    /// Signals received since.
    pub signals: u64,
    /// Time of the newest signal.
    pub newest: Option<Timestamp>,
    /// The time that can be asked about.
    pub window: Span,
}

/// The service map and what is out of the ordinary on it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MapView {
    /// The map.
    #[serde(flatten)]
    pub map: Map,
    /// Edges that, over the last 30 s, fail or differ from what they were before.
    pub anomalies: Vec<Anomaly>,
}

/// Golden signals of every service and their course over the span.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Services {
    /// See [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The time looked at.
    pub span: Span,
    /// Length of one step of a course, seconds.
    pub step: f64,
    /// Services, by name.
    pub services: Vec<ServiceRow>,
}

/// One service.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ServiceRow {
    /// Its name.
    pub service: Name,
    /// What its instances are.
    pub kind: EntityKind,
    /// How many instances it has.
    pub instances: usize,
    /// Requests it served over the whole span.
    pub golden: Golden,
    /// Requests per second, step by step.
    pub rate: Vec<f64>,
    /// Failed over all requests; `null` in a step without requests.
    pub error_ratio: Vec<Option<f64>>,
    /// 99th percentile of latency; `null` in a step without requests.
    pub p99: Vec<Option<f64>>,
}

/// What could not be seen.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Losses {
    /// See [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The time looked at.
    pub span: Span,
    /// What collectors lost, most first.
    pub losses: Vec<LossRow>,
    /// How much of each service's traffic was understood, least first.
    pub coverage: Vec<Coverage>,
    /// What the picture in memory had to drop since the start, by reason.
    pub dropped: BTreeMap<&'static str, u64>,
}

/// What one collector lost for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LossRow {
    /// Collector.
    pub collector: Name,
    /// Reason.
    pub reason: Name,
    /// How many events (or bytes, where the reason says so).
    pub count: u64,
    /// How many owners it concerns.
    pub entities: usize,
}

/// How much of a service's traffic was understood.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Coverage {
    /// Service.
    pub service: Name,
    /// Parsed bytes over socket bytes.
    pub coverage: f64,
    /// What became of the bytes that were not parsed, by reason, and how many requests
    /// were left without an answer.
    pub capture: Capture,
}

/// Reports, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reports {
    /// See [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// What a list shows of each.
    pub reports: Vec<ReportHead>,
}

/// One report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReportView {
    /// See [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// What a list shows of it.
    pub head: ReportHead,
    /// For people.
    pub text: String,
    /// For programs, as `taproot diagnose -o json` prints it.
    pub report: Value,
}
