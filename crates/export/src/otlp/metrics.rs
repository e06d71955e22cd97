use super::{pair, resource, schema_url, scope};
use crate::{Data, Family, Owner, Point, buckets};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram,
    HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
    exponential_histogram_data_point::Buckets, metric, number_data_point,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use taproot_model::schema::{Instrument, Kind};
use taproot_model::{EntityId, HISTOGRAM_SCALE, Timestamp};

/// Points of one request at most: 5,000 are about a megabyte before compression.
const POINTS: usize = 5_000;

const CUMULATIVE: i32 = AggregationTemporality::Cumulative as i32;

/// How distributions are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// With the bounds that the conventions advise.
    #[default]
    Explicit,
    /// With the buckets they are kept in, 9% wide.
    Exponential,
}

/// All series as requests of bounded size, with the number of points of each.
pub fn requests(
    families: &[Family],
    form: Form,
    version: &str,
    now: Timestamp,
) -> Vec<(ExportMetricsServiceRequest, u64)> {
    let mut by_owner = BTreeMap::<&EntityId, (&Arc<Owner>, Vec<Metric>)>::new();
    for family in families {
        for point in &family.points {
            let (_, metrics) =
                by_owner.entry(&point.id).or_insert_with(|| (&point.owner, Vec::new()));
            if metrics.last().is_none_or(|last| last.name != family.instrument.name) {
                metrics.push(describe(family.instrument, form));
            }
            if let Some(data) = metrics.last_mut().and_then(|last| last.data.as_mut()) {
                push(data, point, family.instrument, now);
            }
        }
    }
    let mut out: Vec<(ExportMetricsServiceRequest, u64)> = Vec::new();
    for (owner, metrics) in by_owner.into_values() {
        let points: usize = metrics.iter().map(count).sum();
        let all = ResourceMetrics {
            resource: Some(resource(owner)),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(scope(version)),
                metrics,
                ..Default::default()
            }],
            schema_url: schema_url(),
        };
        match out.last_mut() {
            Some((request, n)) if *n as usize + points <= POINTS => {
                request.resource_metrics.push(all);
                *n += points as u64;
            }
            _ => {
                let request = ExportMetricsServiceRequest { resource_metrics: vec![all] };
                out.push((request, points as u64));
            }
        }
    }
    out
}

fn count(metric: &Metric) -> usize {
    match &metric.data {
        Some(metric::Data::Gauge(all)) => all.data_points.len(),
        Some(metric::Data::Sum(all)) => all.data_points.len(),
        Some(metric::Data::Histogram(all)) => all.data_points.len(),
        Some(metric::Data::ExponentialHistogram(all)) => all.data_points.len(),
        Some(metric::Data::Summary(_)) | None => 0,
    }
}

/// A metric without a point.
fn describe(instrument: &Instrument, form: Form) -> Metric {
    let sum = |is_monotonic| {
        let data_points = Vec::new();
        metric::Data::Sum(Sum { data_points, aggregation_temporality: CUMULATIVE, is_monotonic })
    };
    let data = match (instrument.kind, form) {
        (Kind::Counter, _) => sum(true),
        (Kind::UpDownCounter, _) => sum(false),
        (Kind::Gauge, _) => metric::Data::Gauge(Gauge::default()),
        (Kind::Histogram, Form::Explicit) => metric::Data::Histogram(Histogram {
            data_points: Vec::new(),
            aggregation_temporality: CUMULATIVE,
        }),
        (Kind::Histogram, Form::Exponential) => {
            metric::Data::ExponentialHistogram(ExponentialHistogram {
                data_points: Vec::new(),
                aggregation_temporality: CUMULATIVE,
            })
        }
    };
    Metric {
        name: instrument.name.into(),
        description: instrument.about.into(),
        unit: instrument.unit.into(),
        data: Some(data),
        ..Metric::default()
    }
}

fn push(to: &mut metric::Data, point: &Point, instrument: &Instrument, now: Timestamp) {
    let attributes: Vec<KeyValue> = point.attributes.iter().map(|(k, v)| pair(k, v)).collect();
    let start = point.began.0;
    match (to, &point.data) {
        (metric::Data::Sum(Sum { data_points, .. }), Data::Sum(value) | Data::Level(value)) => {
            data_points.push(number(attributes, start, now, *value));
        }
        // A level has no beginning, and is as old as its last reading.
        (metric::Data::Gauge(Gauge { data_points }), Data::Sum(value) | Data::Level(value)) => {
            data_points.push(number(attributes, 0, point.at, *value));
        }
        (metric::Data::Histogram(all), Data::Histogram(histogram)) => {
            all.data_points.push(HistogramDataPoint {
                attributes,
                start_time_unix_nano: start,
                time_unix_nano: now.0,
                count: histogram.count(),
                sum: Some(buckets::sum(histogram)),
                bucket_counts: buckets::explicit(histogram, instrument.buckets),
                explicit_bounds: instrument.buckets.to_vec(),
                ..HistogramDataPoint::default()
            });
        }
        (metric::Data::ExponentialHistogram(all), Data::Histogram(histogram)) => {
            let (offset, bucket_counts) = buckets::exponential(histogram);
            all.data_points.push(ExponentialHistogramDataPoint {
                attributes,
                start_time_unix_nano: start,
                time_unix_nano: now.0,
                count: histogram.count(),
                sum: Some(buckets::sum(histogram)),
                scale: HISTOGRAM_SCALE.cast_signed(),
                positive: Some(Buckets { offset, bucket_counts }),
                ..ExponentialHistogramDataPoint::default()
            });
        }
        // The table says what a metric is, and every series of it is that.
        _ => {}
    }
}

fn number(attributes: Vec<KeyValue>, start: u64, at: Timestamp, value: f64) -> NumberDataPoint {
    NumberDataPoint {
        attributes,
        start_time_unix_nano: start,
        time_unix_nano: at.0,
        value: Some(number_data_point::Value::AsDouble(value)),
        ..NumberDataPoint::default()
    }
}
