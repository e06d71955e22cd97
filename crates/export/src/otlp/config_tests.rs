use super::*;

fn read(flag: Option<&str>, set: &[(&str, &str)]) -> Result<Option<Config>, ConfigError> {
    let look = |name: &str| {
        set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    };
    Config::read(flag, &look)
}

fn url(target: Option<&Target>) -> &str {
    target.map_or("", |target| target.url.as_str())
}

#[test]
fn without_an_endpoint_nothing_is_sent() {
    assert_eq!(read(None, &[]), Ok(None));
    assert_eq!(read(None, &[(ENDPOINT, " ")]), Ok(None));
    let none = [("OTEL_METRICS_EXPORTER", "none"), ("OTEL_TRACES_EXPORTER", "none")];
    assert_eq!(read(Some("http://c:4318"), &none), Ok(None));
}

#[test]
fn a_base_gets_the_path_of_the_signal_and_an_endpoint_of_a_signal_does_not() {
    let set =
        [(ENDPOINT, "http://a:4318/"), ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://b/spans")];
    let config = read(None, &set).unwrap().unwrap();
    assert_eq!(url(config.signals.metrics.as_ref()), "http://a:4318/v1/metrics");
    assert_eq!(url(config.signals.traces.as_ref()), "https://b/spans");
    let config = read(Some("http://flag"), &set).unwrap().unwrap();
    assert_eq!(url(config.signals.metrics.as_ref()), "http://flag/v1/metrics");
    assert_eq!(url(config.signals.traces.as_ref()), "https://b/spans");
    let set = [("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://m/x")];
    let config = read(None, &set).unwrap().unwrap();
    assert_eq!(config.signals.traces, None);
}

#[test]
fn over_grpc_the_endpoint_is_the_host() {
    let set = [
        (ENDPOINT, "http://a:4317"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf"),
    ];
    let config = read(None, &set).unwrap().unwrap();
    let (metrics, traces) = (config.signals.metrics.unwrap(), config.signals.traces.unwrap());
    assert_eq!((metrics.protocol, &*metrics.url), (Protocol::Grpc, "http://a:4317"));
    assert_eq!((traces.protocol, &*traces.url), (Protocol::Http, "http://a:4317/v1/traces"));
}

#[test]
fn the_variables_of_one_signal_come_before_those_of_all() {
    let set = [
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20x, a=b"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "c=d"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
        ("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "gzip"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "15000"),
        (
            "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
            "base2_exponential_bucket_histogram",
        ),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "7"),
    ];
    let config = read(Some("http://c:4318"), &set).unwrap().unwrap();
    let (metrics, traces) = (config.signals.metrics.unwrap(), config.signals.traces.unwrap());
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(metrics.headers, [pair("authorization", "Bearer x"), pair("a", "b")]);
    assert_eq!(traces.headers, [pair("c", "d")]);
    assert_eq!(metrics.timeout, Duration::from_millis(2_500));
    assert!(metrics.gzip && !traces.gzip);
    assert_eq!(config.interval, Duration::from_secs(15));
    assert_eq!(config.form, Form::Exponential);
    assert_eq!(config.queue, 7);
}

#[test]
fn what_cannot_be_used_is_named_with_what_to_do() {
    let refused = |flag: Option<&str>, set: &[(&str, &str)]| {
        read(flag, set).map(|_| ()).unwrap_err().to_string()
    };
    for url in ["localhost:4318", "grpc://c:4317", "http://", "http://:4318", "http://a b"] {
        let text = refused(Some(url), &[]);
        assert!(text.starts_with("--otlp-endpoint") && text.contains("4318"), "{text}");
    }
    let with =
        |name: &'static str, value: &'static str| refused(Some("http://c"), &[(name, value)]);
    let text = with("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json");
    assert!(text.contains("http/protobuf") && text.contains("grpc"), "{text}");
    assert!(with("OTEL_EXPORTER_OTLP_HEADERS", "no pair").contains("name=value"));
    assert!(with("OTEL_EXPORTER_OTLP_HEADERS", "a=%zz").contains("percent-encoded"));
    assert!(with("OTEL_EXPORTER_OTLP_TIMEOUT", "10s").contains("whole number"));
    assert!(with("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd").contains("gzip or none"));
    assert!(with("OTEL_METRICS_EXPORTER", "prometheus").contains("otlp or none"));
    assert!(with("OTEL_BSP_MAX_QUEUE_SIZE", "0").contains("above 0"));
}
