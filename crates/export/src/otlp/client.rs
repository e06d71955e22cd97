use super::Target;
use super::retry::may_pass;
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
    agent: ureq::Agent,
    target: Target,
}

impl Client {
    pub(crate) fn new(target: Target) -> Result<Self, ClientError> {
        let mut tls = TlsConfig::builder();
        if let Some(path) = &target.certificate {
            let authorities = authorities(path)
                .map_err(|why| ClientError::Authorities { path: path.clone(), why })?;
            tls = tls.root_certs(RootCerts::Specific(Arc::new(authorities)));
        }
        let agent = ureq::Agent::config_builder()
            .tls_config(tls.build())
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("taproot/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Ok(Self { agent, target })
    }

    pub(crate) fn url(&self) -> &str {
        &self.target.url
    }

    /// Sends one body, within `time` at most; returns the answer's.
    pub(crate) fn send(&self, body: &[u8], time: Duration) -> Result<Vec<u8>, Refusal> {
        let time = self.target.timeout.min(time);
        let request = self.agent.post(&self.target.url);
        let mut request = request.config().timeout_global(Some(time)).build();
        request = request.header("Content-Type", "application/x-protobuf");
        for (name, value) in &self.target.headers {
            request = request.header(name, value);
        }
        let sent = if self.target.gzip {
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
