//! What is sent, decoded by the protobufs of OpenTelemetry; what is lost, counted.

use crate::receiver::{self, Arrived, Receiver};
use crate::shop::{exemplar, placed, signals, staged};
use flate2::read::GzDecoder;
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value as Any};
use opentelemetry_proto::tonic::metrics::v1::{Metric, ResourceMetrics, metric, number_data_point};
use opentelemetry_proto::tonic::trace::v1::{span::SpanKind, status::StatusCode};
use prost::Message;
use std::collections::BTreeMap;
use std::io::Read;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use taproot_export::otlp::{Config, Exporter, Form, metric_requests};
use taproot_export::{Data, Limits, Registry};
use taproot_model::{Role, Timestamp};

type Shared = Arc<Mutex<Registry>>;

fn registry() -> Shared {
    let mut registry = Registry::new(Limits::default(), "1.2.3");
    registry.observe(&signals());
    Arc::new(Mutex::new(registry))
}

fn config(endpoint: &str, set: &[(&str, &str)]) -> Config {
    let look = |name: &str| {
        set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    };
    Config::read(Some(endpoint), &look).unwrap().unwrap()
}

const ONLY_METRICS: (&str, &str) = ("OTEL_TRACES_EXPORTER", "none");
const ONLY_TRACES: (&str, &str) = ("OTEL_METRICS_EXPORTER", "none");
const OFTEN: (&str, &str) = ("OTEL_METRIC_EXPORT_INTERVAL", "50");
const SOON: (&str, &str) = ("OTEL_BSP_SCHEDULE_DELAY", "50");

fn ok(_: usize) -> receiver::Answer {
    (200, "", Vec::new())
}

fn attributes(all: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |pair: &KeyValue| match pair.value.as_ref().and_then(|v| v.value.as_ref()) {
        Some(Any::StringValue(text)) => text.clone(),
        Some(Any::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    let found: BTreeMap<_, _> = all.iter().map(|p| (p.key.clone(), text(p))).collect();
    assert_eq!(found.len(), all.len(), "no key stands twice");
    found
}

/// Seconds by stage.
fn stages(all: &[KeyValue]) -> BTreeMap<&str, f64> {
    let seconds = |pair: &KeyValue| match pair.value.as_ref().and_then(|v| v.value.as_ref()) {
        Some(Any::DoubleValue(seconds)) => *seconds,
        other => panic!("{other:?} is no time"),
    };
    let mut out = BTreeMap::new();
    for pair in all {
        if let Some(stage) = pair.key.strip_prefix("taproot.request.stage.duration.") {
            out.insert(stage, seconds(pair));
        }
    }
    out
}

/// One of Taproot's own sums, by its name and `error.type`.
fn own(registry: &Shared, name: &str, error: &str) -> f64 {
    let families = registry.lock().unwrap().families();
    let family = families.iter().find(|family| family.instrument.name == name);
    let is = |point: &&taproot_export::Point| {
        let found = point.attributes.iter().find(|(key, _)| *key == "error.type");
        found.map_or(String::new(), |(_, value)| value.to_string()) == error
    };
    match family.and_then(|f| f.points.iter().find(is)).map(|point| &point.data) {
        Some(Data::Sum(value) | Data::Level(value)) => *value,
        _ => 0.0,
    }
}

fn wait_until(what: &str, is: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !is() {
        assert!(Instant::now() < end, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn metrics_of(arrived: &Arrived) -> Vec<ResourceMetrics> {
    assert_eq!(arrived.path, "/v1/metrics");
    assert_eq!(arrived.headers["content-type"], "application/x-protobuf");
    ExportMetricsServiceRequest::decode(&*arrived.body).expect("a request").resource_metrics
}

/// The metric of a name of one service.
fn find<'a>(all: &'a [ResourceMetrics], service: &str, name: &str) -> &'a Metric {
    let of = all.iter().find(|one| {
        let resource = one.resource.as_ref().unwrap();
        attributes(&resource.attributes).get("service.name").is_some_and(|s| s == service)
    });
    let of = of.unwrap_or_else(|| panic!("{service} is not told of"));
    assert_eq!(of.schema_url, "https://opentelemetry.io/schemas/1.44.0");
    let scope = &of.scope_metrics[0];
    assert_eq!(scope.scope.as_ref().unwrap().name, "taproot");
    let found = scope.metrics.iter().find(|metric| metric.name == name);
    found.unwrap_or_else(|| panic!("{name} of {service} is not told"))
}

#[test]
fn series_arrive_as_the_protocol_has_them() {
    let receiver = Receiver::start(ok);
    let exporter =
        Exporter::start(registry(), config(&receiver.endpoint(), &[ONLY_METRICS, OFTEN]), "1.2.3");
    let all = metrics_of(&receiver.next());
    exporter.unwrap().stop();

    let metric = find(&all, "cart", "http.server.request.duration");
    assert_eq!(metric.unit, "s");
    let Some(metric::Data::Histogram(histogram)) = &metric.data else { panic!("{metric:?}") };
    assert_eq!(histogram.aggregation_temporality, 2, "cumulative");
    let point = &histogram.data_points[0];
    assert_eq!((point.count, point.bucket_counts.len()), (3, point.explicit_bounds.len() + 1));
    assert_eq!(point.bucket_counts.iter().sum::<u64>(), 3);
    assert_eq!(point.bucket_counts[0], 1, "2 ms is below 5 ms");
    assert!((point.sum.unwrap() - 0.062).abs() < 1e-9);
    assert!(point.start_time_unix_nano <= point.time_unix_nano);
    let told = attributes(&point.attributes);
    for (key, value) in [
        ("http.request.method", "GET"),
        ("http.route", "/cart/{id}"),
        ("http.response.status_code", "200"),
        ("network.protocol.name", "http"),
        ("server.port", "8080"),
        ("service.peer.name", "gateway"),
    ] {
        assert_eq!(told.get(key).map(String::as_str), Some(value), "{key}");
    }
    assert!(!told.contains_key("error.type"));

    let metric = find(&all, "gateway", "db.client.operation.duration");
    let Some(metric::Data::Histogram(histogram)) = &metric.data else { panic!("{metric:?}") };
    let told = attributes(&histogram.data_points[0].attributes);
    for (key, value) in [
        ("db.system.name", "postgresql"),
        ("db.operation.name", "SELECT"),
        ("db.collection.name", "orders"),
        ("db.response.status_code", "42P01"),
        ("error.type", "42P01"),
        ("server.address", "10.96.0.9"),
        ("server.port", "5432"),
    ] {
        assert_eq!(told.get(key).map(String::as_str), Some(value), "{key}");
    }

    let Some(metric::Data::Sum(sum)) = &find(&all, "cart", "container.cpu.time").data else {
        panic!("CPU time is a sum")
    };
    assert!(sum.is_monotonic);
    assert_eq!(sum.data_points[0].value, Some(number_data_point::Value::AsDouble(0.25)));
    let Some(metric::Data::Sum(sum)) = &find(&all, "cart", "container.memory.usage").data else {
        panic!("memory is a sum by the conventions")
    };
    assert!(!sum.is_monotonic);
    let Some(metric::Data::Gauge(gauge)) = &find(&all, "cart", "taproot.fd.kind.count").data else {
        panic!("open files by kind are a gauge")
    };
    assert_eq!(attributes(&gauge.data_points[0].attributes)["taproot.fd.kind"], "socket");
}

#[test]
fn losses_of_the_collectors_are_told_too() {
    let families = registry().lock().unwrap().families();
    let requests = metric_requests(&families, Form::Explicit, "1", Timestamp::now());
    let all: Vec<_> = requests.into_iter().flat_map(|(r, _)| r.resource_metrics).collect();
    let mut told = all.iter().flat_map(|one| &one.scope_metrics[0].metrics);
    let lost = told.find(|metric| metric.name == "taproot.capture.lost").unwrap();
    let Some(metric::Data::Sum(sum)) = &lost.data else { panic!("{lost:?}") };
    assert_eq!(sum.data_points[0].value, Some(number_data_point::Value::AsDouble(17.0)));
    assert_eq!(attributes(&sum.data_points[0].attributes)["taproot.loss.reason"], "ring_full");
}

#[test]
fn exponential_buckets_are_told_where_they_are_asked_for() {
    let families = registry().lock().unwrap().families();
    let requests = metric_requests(&families, Form::Exponential, "1", Timestamp::now());
    let all: Vec<_> = requests.into_iter().flat_map(|(r, _)| r.resource_metrics).collect();
    let metric = find(&all, "cart", "http.server.request.duration");
    let Some(metric::Data::ExponentialHistogram(all)) = &metric.data else { panic!("{metric:?}") };
    let point = &all.data_points[0];
    assert_eq!((point.scale, point.count), (3, 3));
    assert_eq!(point.positive.as_ref().unwrap().bucket_counts.iter().sum::<u64>(), 3);
}

#[test]
fn requests_in_full_arrive_as_spans_compressed_and_with_headers() {
    let receiver = Receiver::start(ok);
    let set = [
        ONLY_TRACES,
        SOON,
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20secret"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
    ];
    let registry = registry();
    let mut exporter =
        Exporter::start(Arc::clone(&registry), config(&receiver.endpoint(), &set), "1.2.3")
            .unwrap();
    exporter.observe(&signals());
    exporter.observe(&[staged(), exemplar(503)]);
    let arrived = receiver.next();
    exporter.stop();
    assert!(own(&registry, "otel.sdk.processor.span.queue.size", "") < 0.1, "nothing waits");
    assert_eq!(arrived.path, "/v1/traces");
    assert_eq!(arrived.headers["authorization"], "Bearer secret");
    assert_eq!(arrived.headers["content-encoding"], "gzip");
    let mut body = Vec::new();
    GzDecoder::new(&*arrived.body).read_to_end(&mut body).unwrap();
    let request = ExportTraceServiceRequest::decode(&*body).unwrap();
    let of = &request.resource_spans[0];
    let told = attributes(&of.resource.as_ref().unwrap().attributes);
    assert_eq!(told["k8s.pod.name"], "a-pod");
    let [fine, failed] = &of.scope_spans[0].spans[..] else { panic!("two spans") };
    assert_eq!((fine.name.as_str(), fine.kind), ("GET /cart/{id}", SpanKind::Server as i32));
    assert_eq!((fine.trace_id.len(), fine.span_id.len()), (16, 8));
    assert_ne!(fine.trace_id, failed.trace_id, "nobody said that one caused the other");
    assert_eq!(fine.end_time_unix_nano - fine.start_time_unix_nano, 2_000_000);
    assert_eq!(attributes(&fine.attributes)["url.path"], "/cart/17");
    let stages = stages(&fine.attributes);
    for (stage, time) in [("send.buffered", 0.000_4), ("qdisc", 0.07), ("service.throttled", 0.001)]
    {
        assert!((stages[stage] - time).abs() < 1e-9, "{stage}: {stages:?}");
    }
    for unseen in ["device", "receive.queued"] {
        assert!(!stages.contains_key(unseen), "{unseen}: {stages:?}");
    }
    assert!(fine.status.is_none());
    assert_eq!(failed.status.as_ref().unwrap().code, StatusCode::Error as i32);
    assert_eq!(attributes(&failed.attributes)["error.type"], "503");
}

#[test]
fn a_chain_is_one_trace_though_its_top_ends_last() {
    let receiver = Receiver::start(ok);
    let registry = registry();
    let set = [ONLY_TRACES, ("OTEL_BSP_SCHEDULE_DELAY", "60000")];
    let mut exporter =
        Exporter::start(registry, config(&receiver.endpoint(), &set), "1.2.3").unwrap();
    // As they end: the innermost first, the outermost in the next batch.
    exporter.observe(&[placed(Role::Server, 2, None), placed(Role::Client, 2, Some(1))]);
    exporter.observe(&[placed(Role::Server, 1, None), placed(Role::Client, 1, None)]);
    exporter.stop();
    let request = ExportTraceServiceRequest::decode(&*receiver.next().body).unwrap();
    let scopes = request.resource_spans.iter().flat_map(|of| &of.scope_spans);
    let mut spans: Vec<_> = scopes.flat_map(|scope| &scope.spans).collect();
    assert_eq!(spans.len(), 4);
    assert!(spans.iter().all(|span| span.trace_id == spans[0].trace_id), "{spans:?}");
    let mut parent = Vec::new();
    for kind in [SpanKind::Client, SpanKind::Server, SpanKind::Client, SpanKind::Server] {
        let child = spans.iter().position(|span| span.parent_span_id == parent).unwrap();
        let child = spans.swap_remove(child);
        assert_eq!(child.kind, kind as i32);
        parent.clone_from(&child.span_id);
    }
}

#[test]
fn what_may_pass_is_tried_again_and_what_may_not_is_counted() {
    let registry = registry();
    // Unavailable first, then fine; after that not authorised.
    let receiver = Receiver::start(|n| match n {
        0 => (503, "Retry-After: 1\r\n", Vec::new()),
        1 => (200, "", Vec::new()),
        _ => (401, "", Vec::new()),
    });
    let set = [ONLY_TRACES, SOON];
    let mut exporter =
        Exporter::start(Arc::clone(&registry), config(&receiver.endpoint(), &set), "1").unwrap();
    let began = Instant::now();
    exporter.observe(&[exemplar(200), exemplar(200)]);
    let (first, second) = (receiver.next(), receiver.next());
    assert_eq!(first.body, second.body, "the same is sent again");
    assert!(began.elapsed() >= Duration::from_secs(1), "not before the receiver wants it");
    let exported = "otel.sdk.exporter.span.exported";
    wait_until("the second try", || (own(&registry, exported, "") - 2.0).abs() < 0.1);
    exporter.observe(&[exemplar(200), exemplar(200), exemplar(200)]);
    receiver.next();
    wait_until("the refusal", || (own(&registry, exported, "401") - 3.0).abs() < 0.1);
    exporter.stop();
    assert!(receiver.rest().is_empty(), "nobody is asked again who said no");
}

#[test]
fn a_full_queue_refuses_counts_and_never_waits() {
    let registry = registry();
    // Nobody listens there: what is taken waits.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let set =
        [ONLY_TRACES, ("OTEL_BSP_MAX_QUEUE_SIZE", "10"), ("OTEL_BSP_SCHEDULE_DELAY", "60000")];
    let mut exporter =
        Exporter::start(Arc::clone(&registry), config(&format!("http://{free}"), &set), "1")
            .unwrap();
    let began = Instant::now();
    for _ in 0..25 {
        exporter.observe(&[exemplar(200)]);
    }
    assert!(began.elapsed() < Duration::from_secs(10));
    let processed = "otel.sdk.processor.span.processed";
    assert!((own(&registry, processed, "") - 10.0).abs() < 0.1);
    assert!((own(&registry, processed, "queue_full") - 15.0).abs() < 0.1);
    assert!((own(&registry, "otel.sdk.processor.span.queue.capacity", "") - 10.0).abs() < 0.1);
    exporter.stop();
    // The last try at the end found nobody; that is told as well.
    let lost = own(&registry, "otel.sdk.exporter.span.exported", "connection");
    assert!((lost - 10.0).abs() < 0.1, "{lost}");
}

#[test]
fn a_receiver_that_never_answers_does_not_hold_the_end_up() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let exporter =
        Exporter::start(registry(), config(&endpoint, &[ONLY_METRICS, OFTEN]), "1").unwrap();
    std::thread::sleep(Duration::from_millis(200));
    let began = Instant::now();
    exporter.stop();
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

#[test]
fn what_a_receiver_rejects_of_a_request_is_counted() {
    let registry = registry();
    let receiver = Receiver::start(|_| {
        let partial_success = Some(ExportMetricsPartialSuccess {
            rejected_data_points: 2,
            error_message: "too old".into(),
        });
        (200, "", ExportMetricsServiceResponse { partial_success }.encode_to_vec())
    });
    let set = [ONLY_METRICS, ("OTEL_METRIC_EXPORT_INTERVAL", "60000")];
    let exporter =
        Exporter::start(Arc::clone(&registry), config(&receiver.endpoint(), &set), "1").unwrap();
    exporter.stop();
    let exported = "otel.sdk.exporter.metric_data_point.exported";
    assert!((own(&registry, exported, "rejected") - 2.0).abs() < 0.1);
    assert!(own(&registry, exported, "") > 5.0);
}
