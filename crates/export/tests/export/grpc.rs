//! What is sent over gRPC, to the services of OpenTelemetry's own protobufs.

use crate::shop::{exemplar, signals};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver as Inbox, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use taproot_export::otlp::{Config, Exporter};
use taproot_export::{Data, Limits, Registry};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::codec::CompressionEncoding;
use tonic::transport::Server;
use tonic::{Code, Request, Response, Status};

/// What came: a request with its `authorization`.
enum Arrived {
    Metrics(ExportMetricsServiceRequest, String),
    Traces(ExportTraceServiceRequest),
}

/// A collector that refuses the first requests with one code each, and rejects one point
/// of each that it takes.
#[derive(Clone)]
struct Collector {
    tell: Sender<Arrived>,
    asked: Arc<AtomicUsize>,
    refusals: &'static [Code],
}

impl Collector {
    fn judge(&self) -> Result<(), Status> {
        let n = self.asked.fetch_add(1, Ordering::Relaxed);
        self.refusals.get(n).map_or(Ok(()), |code| Err(Status::new(*code, "not now")))
    }
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.judge()?;
        let told = request.metadata().get("authorization");
        let told = told.map_or(String::new(), |value| value.to_str().unwrap().to_owned());
        let _ = self.tell.send(Arrived::Metrics(request.into_inner(), told));
        let partial = ExportMetricsPartialSuccess {
            rejected_data_points: 1,
            error_message: "one is odd".into(),
        };
        Ok(Response::new(ExportMetricsServiceResponse { partial_success: Some(partial) }))
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.judge()?;
        let _ = self.tell.send(Arrived::Traces(request.into_inner()));
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// Starts a collector; it ends with the test's process.
fn collector(refusals: &'static [Code]) -> (SocketAddr, Inbox<Arrived>) {
    let (tell, arrived) = channel();
    let collector = Collector { tell, asked: Arc::default(), refusals };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let gzip = CompressionEncoding::Gzip;
            let metrics = MetricsServiceServer::new(collector.clone()).accept_compressed(gzip);
            let traces = TraceServiceServer::new(collector).send_compressed(gzip);
            let server = Server::builder().add_service(metrics).add_service(traces);
            server.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap();
        });
    });
    (addr, arrived)
}

fn config(addr: SocketAddr, set: &[(&str, &str)]) -> Config {
    let all = [&[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")], set].concat();
    let look = |name: &str| {
        all.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    };
    Config::read(Some(&format!("http://{addr}")), &look).unwrap().unwrap()
}

fn registry() -> Arc<Mutex<Registry>> {
    let mut registry = Registry::new(Limits::default(), "1.2.3");
    registry.observe(&signals());
    Arc::new(Mutex::new(registry))
}

/// One of Taproot's own sums of the exporter over gRPC, by `error.type`.
fn own(registry: &Mutex<Registry>, name: &str, error: &str) -> f64 {
    let families = registry.lock().unwrap().families();
    let points = families.iter().filter(|family| family.instrument.name == name);
    let told = |point: &taproot_export::Point, key: &str| {
        let found = point.attributes.iter().find(|(known, _)| *known == key);
        found.map_or(String::new(), |(_, value)| value.to_string())
    };
    points
        .flat_map(|family| &family.points)
        .filter(|point| told(point, "otel.component.type") == "otlp_grpc_exporter")
        .filter(|point| told(point, "error.type") == error)
        .map(|point| match point.data {
            Data::Sum(value) => value,
            _ => 0.0,
        })
        .sum()
}

fn wait_until(what: &str, is: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !is() {
        assert!(Instant::now() < end, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn series_arrive_compressed_after_a_refusal_that_passes() {
    let (addr, arrived) = collector(&[Code::Unavailable]);
    let set = [
        ("OTEL_TRACES_EXPORTER", "none"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "50"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20x"),
    ];
    let registry = registry();
    let exporter = Exporter::start(Arc::clone(&registry), config(addr, &set), "1.2.3").unwrap();
    let Ok(Arrived::Metrics(request, told)) = arrived.recv_timeout(Duration::from_secs(30)) else {
        panic!("no series came");
    };
    assert_eq!(told, "Bearer x");
    let names: Vec<_> = request
        .resource_metrics
        .iter()
        .flat_map(|of| &of.scope_metrics)
        .flat_map(|scope| &scope.metrics)
        .map(|metric| metric.name.as_str())
        .collect();
    assert!(names.contains(&"http.server.request.duration"), "{names:?}");
    let points = "otel.sdk.exporter.metric_data_point.exported";
    wait_until("a rejected point is counted", || own(&registry, points, "rejected") >= 1.0);
    assert!(own(&registry, points, "") > 10.0);
    exporter.stop();
}

#[test]
fn spans_arrive_and_what_is_refused_for_good_is_counted() {
    let (addr, arrived) = collector(&[Code::InvalidArgument]);
    let set = [("OTEL_METRICS_EXPORTER", "none"), ("OTEL_BSP_SCHEDULE_DELAY", "50")];
    let registry = registry();
    let mut exporter = Exporter::start(Arc::clone(&registry), config(addr, &set), "1").unwrap();
    exporter.observe(&[exemplar(500)]);
    let spans = "otel.sdk.exporter.span.exported";
    let refused = || own(&registry, spans, "INVALID_ARGUMENT") >= 1.0;
    wait_until("what is refused is counted", refused);
    exporter.observe(&[exemplar(500)]);
    let Ok(Arrived::Traces(request)) = arrived.recv_timeout(Duration::from_secs(30)) else {
        panic!("no span came");
    };
    assert_eq!(request.resource_spans[0].scope_spans[0].spans.len(), 1);
    wait_until("what is taken is counted", || own(&registry, spans, "") >= 1.0);
    exporter.stop();
}

#[test]
fn nobody_there_is_tried_again_and_given_up() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let set = [("OTEL_METRICS_EXPORTER", "none"), ("OTEL_BSP_SCHEDULE_DELAY", "10")];
    let registry = registry();
    let config = Config { patience: Duration::from_millis(50), ..config(free, &set) };
    let mut exporter = Exporter::start(Arc::clone(&registry), config, "1").unwrap();
    exporter.observe(&[exemplar(500)]);
    let spans = "otel.sdk.exporter.span.exported";
    wait_until("it is given up", || own(&registry, spans, "connection") >= 1.0);
    exporter.stop();
}
