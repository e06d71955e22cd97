//! Where to send, and how: a flag and the variables OpenTelemetry defines.

use super::Form;
use std::path::PathBuf;
use std::time::Duration;

/// A setting that cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// An endpoint that is no URL.
    #[error(
        "{from}: `{url}` is no endpoint: give http://HOST:4318 or https://HOST:PORT \
         (4318 is mostly OTLP over HTTP; for gRPC, mostly 4317, set \
         OTEL_EXPORTER_OTLP_PROTOCOL=grpc)"
    )]
    Endpoint {
        /// The flag or variable.
        from: &'static str,
        /// What it says.
        url: String,
    },
    /// A protocol that is not spoken.
    #[error(
        "{from}: `{protocol}` is not spoken: set it to http/protobuf (port mostly 4318) or grpc \
         (mostly 4317)"
    )]
    Protocol {
        /// The variable.
        from: &'static str,
        /// What it says.
        protocol: String,
    },
    /// Headers that are no list of pairs.
    #[error("{from}: headers are written name=value, with commas between, values percent-encoded")]
    Headers {
        /// The variable.
        from: &'static str,
    },
    /// A value that is none of those known.
    #[error("{from}: `{value}` is not known: {known}")]
    Value {
        /// The variable.
        from: &'static str,
        /// What it says.
        value: String,
        /// What may stand there.
        known: &'static str,
    },
}

/// How requests travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Protobuf in bodies of HTTP: `http/protobuf`.
    Http,
    /// As messages of gRPC: `grpc`.
    Grpc,
}

/// Kinds of signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Series.
    Metrics,
    /// Spans.
    Traces,
}

/// Where one kind of signal goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// What goes there.
    pub kind: Kind,
    /// How.
    pub protocol: Protocol,
    /// Full URL; of gRPC that of the host.
    pub url: String,
    /// Headers of each request; their values may be secrets.
    pub headers: Vec<(String, String)>,
    /// Longest time for one request.
    pub timeout: Duration,
    /// Whether bodies are compressed.
    pub gzip: bool,
    /// PEM file of the authorities to trust instead of the usual ones.
    pub certificate: Option<PathBuf>,
}

/// What is sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signals {
    /// Where series go; `None` to keep them.
    pub metrics: Option<Target>,
    /// Where spans go; `None` to keep them.
    pub traces: Option<Target>,
}

/// How series and spans are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where to.
    pub signals: Signals,
    /// Time between two exports of all series.
    pub interval: Duration,
    /// How distributions are told.
    pub form: Form,
    /// Longest time a span waits for others.
    pub delay: Duration,
    /// Spans that may wait.
    pub queue: usize,
    /// Spans of one request at most.
    pub batch: usize,
    /// Longest time one request is tried again and again.
    pub patience: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            signals: Signals::default(),
            interval: Duration::from_mins(1),
            form: Form::Explicit,
            delay: Duration::from_secs(5),
            queue: 2_048,
            batch: 512,
            patience: Duration::from_mins(1),
        }
    }
}

/// The names of the variables of one kind of signal, before those of all.
struct Variables {
    kind: Kind,
    exporter: &'static str,
    endpoint: &'static str,
    protocol: [&'static str; 2],
    headers: [&'static str; 2],
    timeout: [&'static str; 2],
    compression: [&'static str; 2],
    certificate: [&'static str; 2],
    path: &'static str,
}

const METRICS: Variables = Variables {
    kind: Kind::Metrics,
    exporter: "OTEL_METRICS_EXPORTER",
    endpoint: "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
    protocol: ["OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"],
    headers: ["OTEL_EXPORTER_OTLP_METRICS_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"],
    timeout: ["OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"],
    compression: ["OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION"],
    certificate: ["OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE"],
    path: "/v1/metrics",
};

const TRACES: Variables = Variables {
    kind: Kind::Traces,
    exporter: "OTEL_TRACES_EXPORTER",
    endpoint: "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    protocol: ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"],
    headers: ["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"],
    timeout: ["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"],
    compression: ["OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION"],
    certificate: ["OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE"],
    path: "/v1/traces",
};

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// Looks up variables; one that is empty is as one that is not set.
struct Environment<'a>(&'a dyn Fn(&str) -> Option<String>);

type Found = Option<(&'static str, String)>;

impl Environment<'_> {
    fn get(&self, name: &'static str) -> Found {
        let value = (self.0)(name)?;
        let value = value.trim();
        (!value.is_empty()).then(|| (name, value.to_owned()))
    }

    fn first(&self, names: [&'static str; 2]) -> Found {
        names.into_iter().find_map(|name| self.get(name))
    }

    fn number(&self, name: &'static str, least: u64) -> Result<Option<u64>, ConfigError> {
        parse(self.get(name), least)
    }
}

fn parse(found: Found, least: u64) -> Result<Option<u64>, ConfigError> {
    let Some((from, value)) = found else { return Ok(None) };
    match value.parse() {
        Ok(number) if number >= least => Ok(Some(number)),
        _ => Err(ConfigError::Value { from, value, known: "a whole number above 0" }),
    }
}

impl Config {
    /// What the flag and the variables say; `None` where neither names an endpoint.
    ///
    /// `flag` is an endpoint for everything, before the variables for everything;
    /// variables of one kind of signal come first. `environment` looks up a variable.
    ///
    /// # Errors
    /// Where a setting cannot be used; the text names it and says what to do.
    pub fn read(
        flag: Option<&str>,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, ConfigError> {
        let environment = Environment(environment);
        let all = flag.map(|url| ("--otlp-endpoint", url.to_owned()));
        let all = all.or_else(|| environment.get(ENDPOINT));
        let signals = Signals {
            metrics: target(&METRICS, all.as_ref(), &environment)?,
            traces: target(&TRACES, all.as_ref(), &environment)?,
        };
        if signals == Signals::default() {
            return Ok(None);
        }
        let defaults = Self::default();
        let interval = environment.number("OTEL_METRIC_EXPORT_INTERVAL", 1)?;
        let delay = environment.number("OTEL_BSP_SCHEDULE_DELAY", 1)?;
        let queue = environment.number("OTEL_BSP_MAX_QUEUE_SIZE", 1)?;
        let batch = environment.number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 1)?;
        Ok(Some(Self {
            signals,
            interval: interval.map_or(defaults.interval, Duration::from_millis),
            form: form(&environment)?,
            delay: delay.map_or(defaults.delay, Duration::from_millis),
            queue: queue.map_or(defaults.queue, |n| n as usize),
            batch: batch.map_or(defaults.batch, |n| n as usize),
            patience: defaults.patience,
        }))
    }
}

fn target(
    names: &Variables,
    all: Option<&(&'static str, String)>,
    environment: &Environment<'_>,
) -> Result<Option<Target>, ConfigError> {
    match environment.get(names.exporter) {
        Some((_, value)) if value == "none" => return Ok(None),
        Some((from, value)) if value != "otlp" => {
            return Err(ConfigError::Value { from, value, known: "otlp or none" });
        }
        _ => {}
    }
    let own = environment.get(names.endpoint);
    let Some(url) = own.map(Ok).or_else(|| all.map(|(from, base)| base_url(from, base))) else {
        return Ok(None);
    };
    let (from, mut url) = url?;
    endpoint(from, &url)?;
    let protocol = protocol(environment.first(names.protocol))?;
    // A base gets the path of the signal; an endpoint of one signal is taken as it is.
    // Over gRPC the path is that of the method.
    if from != names.endpoint && protocol == Protocol::Http {
        url.push_str(names.path);
    }
    let timeout = parse(environment.first(names.timeout), 1)?;
    let gzip = match environment.first(names.compression) {
        None => false,
        Some((_, value)) if value == "none" => false,
        Some((_, value)) if value == "gzip" => true,
        Some((from, value)) => {
            return Err(ConfigError::Value { from, value, known: "gzip or none" });
        }
    };
    Ok(Some(Target {
        kind: names.kind,
        protocol,
        url,
        headers: environment.first(names.headers).map_or(Ok(Vec::new()), headers)?,
        timeout: timeout.map_or(Duration::from_secs(10), Duration::from_millis),
        gzip,
        certificate: environment.first(names.certificate).map(|(_, path)| path.into()),
    }))
}

fn protocol(found: Found) -> Result<Protocol, ConfigError> {
    match found {
        None => Ok(Protocol::Http),
        Some((_, value)) if value == "http/protobuf" => Ok(Protocol::Http),
        Some((_, value)) if value == "grpc" => Ok(Protocol::Grpc),
        Some((from, protocol)) => Err(ConfigError::Protocol { from, protocol }),
    }
}

fn base_url(from: &'static str, base: &str) -> Result<(&'static str, String), ConfigError> {
    endpoint(from, base)?;
    Ok((from, base.trim_end_matches('/').to_owned()))
}

fn endpoint(from: &'static str, url: &str) -> Result<(), ConfigError> {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let host = rest.map(|rest| rest.split(['/', '?']).next().unwrap_or_default());
    let sound = host.is_some_and(|host| !host.is_empty() && !host.starts_with(':'));
    let printable = url.chars().all(|c| c.is_ascii_graphic());
    if sound && printable { Ok(()) } else { Err(ConfigError::Endpoint { from, url: url.into() }) }
}

fn headers((from, text): (&'static str, String)) -> Result<Vec<(String, String)>, ConfigError> {
    let pairs = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let pair = |part: &str| {
        let (name, value) = part.split_once('=')?;
        let name = name.trim();
        let sound = !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        let value = percent_decoded(value.trim())?;
        (sound && value.chars().all(|c| c == ' ' || c.is_ascii_graphic()))
            .then(|| (name.to_owned(), value))
    };
    pairs.map(|part| pair(part).ok_or(ConfigError::Headers { from })).collect()
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            out.push(*first);
            continue;
        }
        let (digits, after) = after.split_at_checked(2)?;
        out.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = after;
    }
    String::from_utf8(out).ok()
}

fn form(environment: &Environment<'_>) -> Result<Form, ConfigError> {
    match environment.get("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION") {
        None => Ok(Form::Explicit),
        Some((_, value)) if value == "explicit_bucket_histogram" => Ok(Form::Explicit),
        Some((_, value)) if value == "base2_exponential_bucket_histogram" => Ok(Form::Exponential),
        Some((from, value)) => Err(ConfigError::Value {
            from,
            value,
            known: "explicit_bucket_histogram or base2_exponential_bucket_histogram",
        }),
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
