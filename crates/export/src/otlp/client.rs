use super::grpc::Grpc;
use super::retry::may_pass;
use super::{Protocol, Target};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

/// Bytes of an answer that are read at most.
const ANSWER: u64 = 64 << 10;

/// A client that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The authorities cannot be read.
    #[error("{path}: {why}: OTEL_EXPORTER_OTLP_CERTIFICATE names a PEM file of authorities")]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// There is no channel to be made of the settings.
    #[error("{url}: no gRPC channel: {why}")]
    Channel {
        /// The endpoint.
        url: String,
        /// What is wrong.
        why: String,
    },
}

/// Why a request was not taken.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// `error.type`: the status, or what kept it from arriving.
    pub(crate) kind: String,
    /// In words.
    pub(crate) why: String,
    /// Whether another try may be taken.
    pub(crate) may_pass: bool,
    /// When the receiver wants it.
    pub(crate) after: Option<Duration>,
}

/// Sends bodies to one target.
pub(crate) struct Client {
    target: Target,
    way: Way,
}

enum Way {
    Http(ureq::Agent),
    Grpc(Box<Grpc>),
}

impl Client {
    pub(crate) fn new(target: Target) -> Result<Self, ClientError> {
        let way = match target.protocol {
            Protocol::Http => Way::Http(agent(&target)?),
            Protocol::Grpc => Way::Grpc(Box::new(Grpc::new(&target)?)),
        };
        Ok(Self { target, way })
    }

    pub(crate) fn url(&self) -> &str {
        &self.target.url
    }

    /// What it is called in its own metrics: `otel.component.type`.
    pub(crate) fn kind(&self) -> &'static str {
        match self.way {
            Way::Http(_) => "otlp_http_exporter",
            Way::Grpc(_) => "otlp_grpc_exporter",
        }
    }

    /// Sends one body, within `time` at most; returns the answer's.
    pub(crate) fn send(&self, body: &[u8], time: Duration) -> Result<Vec<u8>, Refusal> {
        let time = self.target.timeout.min(time);
        match &self.way {
            Way::Http(agent) => post(agent, &self.target, body, time),
            Way::Grpc(channel) => channel.send(body, time),
        }
    }
}

fn agent(target: &Target) -> Result<ureq::Agent, ClientError> {
    let mut tls = TlsConfig::builder();
    if let Some(path) = &target.certificate {
        let authorities = authorities(path)
            .map_err(|why| ClientError::Authorities { path: path.clone(), why })?;
        tls = tls.root_certs(RootCerts::Specific(Arc::new(authorities)));
    }
    let config = ureq::Agent::config_builder()
        .tls_config(tls.build())
        .http_status_as_error(false)
        .max_redirects(0)
        .user_agent(concat!("taproot/", env!("CARGO_PKG_VERSION")));
    Ok(config.build().new_agent())
}

fn post(
    agent: &ureq::Agent,
    target: &Target,
    body: &[u8],
    time: Duration,
) -> Result<Vec<u8>, Refusal> {
    let request = agent.post(&target.url);
    let mut request = request.config().timeout_global(Some(time)).build();
    request = request.header("Content-Type", "application/x-protobuf");
    for (name, value) in &target.headers {
        request = request.header(name, value);
    }
    let sent = if target.gzip {
        request.header("Content-Encoding", "gzip").send(compressed(body))
    } else {
        request.send(body)
    };
    let mut answer = sent.map_err(|error| unreachable(&error))?;
    let status = answer.status().as_u16();
    let after = answer
        .headers()
        .get("retry-after")
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .map(Duration::from_secs);
    let body = answer.body_mut().with_config().limit(ANSWER).read_to_vec();
    if (200..300).contains(&status) {
        // An answer that says nothing more has nothing to object to.
        return Ok(body.unwrap_or_default());
    }
    Err(Refusal {
        kind: status.to_string(),
        why: format!("status {status}"),
        may_pass: may_pass(status),
        after,
    })
}

fn unreachable(error: &ureq::Error) -> Refusal {
    let kind = match error {
        ureq::Error::Timeout(_) => "timeout",
        ureq::Error::HostNotFound => "host_not_found",
        ureq::Error::ConnectionFailed | ureq::Error::Io(_) => "connection",
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) => "tls",
        _ => "_OTHER",
    };
    Refusal { kind: kind.into(), why: error.to_string(), may_pass: true, after: None }
}

fn compressed(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing to a vector cannot fail.
    let _ = encoder.write_all(body);
    encoder.finish().unwrap_or_default()
}

fn authorities(path: &std::path::Path) -> Result<Vec<Certificate<'static>>, String> {
    let pem = std::fs::read(path).map_err(|why| why.to_string())?;
    let mut found = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(certificate) = item.map_err(|why| why.to_string())? {
            found.push(certificate);
        }
    }
    if found.is_empty() { Err("no certificate in it".into()) } else { Ok(found) }
}
