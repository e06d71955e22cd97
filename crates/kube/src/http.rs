//! A small HTTPS client for kubelet and API server.

use crate::resolver::HttpTarget;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

/// For a whole answer. A source has its own thread: waiting harms nobody, but a
/// server that hangs should be told as such.
const TIMEOUT: Duration = Duration::from_secs(15);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// All pods of a large cluster are some ten megabytes.
const MAX_BODY: u64 = 256 << 20;

/// Only names and owners of objects, where the API server is asked for many.
pub(crate) const METADATA_ONLY: &str =
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

/// Why a server gave no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    /// The file with the certificate authorities is of no use.
    #[error("cannot read certificates from {path}: {why}")]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The file with the token is of no use.
    #[error("cannot read the token {path}: {why}")]
    Token {
        /// The file.
        path: PathBuf,
        /// What the system said.
        why: io::Error,
    },
    /// 401 or 403.
    #[error(
        "{url}: {status}, the service account is not allowed to; see the ClusterRole in the manifests"
    )]
    Forbidden {
        /// What was asked for.
        url: String,
        /// The status.
        status: u16,
    },
    /// The certificate was refused.
    #[error(
        "{url}: {why}; if this server signs its own certificate, name its authority or allow it expressly"
    )]
    Certificate {
        /// What was asked for.
        url: String,
        /// What the check said.
        why: String,
    },
    /// No connection, no answer in time, another status.
    #[error("{url}: {why}")]
    Other {
        /// What was asked for.
        url: String,
        /// What went wrong.
        why: String,
    },
}

/// A client of one server.
pub(crate) struct Http {
    agent: ureq::Agent,
    url: String,
    token_file: Option<PathBuf>,
}

impl Http {
    pub(crate) fn new(target: &HttpTarget) -> Result<Self, HttpError> {
        let mut tls = TlsConfig::builder().disable_verification(target.insecure);
        if let Some(path) = target.ca_file.as_deref().filter(|_| !target.insecure) {
            tls = tls.root_certs(RootCerts::Specific(Arc::new(authorities(path)?)));
        }
        let agent = ureq::Agent::config_builder()
            .tls_config(tls.build())
            .timeout_global(Some(TIMEOUT))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .user_agent("taproot")
            // A proxy from the environment leads out of the cluster.
            .proxy(None)
            .max_redirects(0)
            .build()
            .new_agent();
        let url = target.url.trim_end_matches('/').to_owned();
        Ok(Self { agent, url, token_file: target.token_file.clone() })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The body of what is at a path.
    pub(crate) fn get(&self, path: &str, accept: &str) -> Result<Vec<u8>, HttpError> {
        let (url, mut answer) = self.ask(path, accept)?;
        let body = answer.body_mut().with_config().limit(MAX_BODY).read_to_vec();
        body.map_err(|why| failure(url, &why))
    }

    /// Hands over each line of an answer as it comes, until the server ends it or `take`
    /// says `false`.
    pub(crate) fn lines(
        &self,
        path: &str,
        accept: &str,
        mut take: impl FnMut(&[u8]) -> bool,
    ) -> Result<(), HttpError> {
        let (url, answer) = self.ask(path, accept)?;
        let body = answer.into_body().into_with_config().limit(MAX_BODY).reader();
        for line in BufReader::new(body).split(b'\n') {
            let line = line.map_err(|why| failure(url.clone(), &why.into()))?;
            if !line.is_empty() && !take(&line) {
                break;
            }
        }
        Ok(())
    }

    fn ask(
        &self,
        path: &str,
        accept: &str,
    ) -> Result<(String, ureq::http::Response<ureq::Body>), HttpError> {
        let url = format!("{}{path}", self.url);
        let mut request = self.agent.get(&url).header("Accept", accept);
        if let Some(file) = &self.token_file {
            request = request.header("Authorization", format!("Bearer {}", token(file)?));
        }
        match request.call() {
            Ok(answer) => Ok((url, answer)),
            Err(why) => Err(failure(url, &why)),
        }
    }
}

fn failure(url: String, why: &ureq::Error) -> HttpError {
    match why {
        ureq::Error::StatusCode(status @ (401 | 403)) => {
            HttpError::Forbidden { url, status: *status }
        }
        // A refused certificate comes as an I/O error of the connection.
        _ if why.to_string().contains("certificate") => {
            HttpError::Certificate { url, why: why.to_string() }
        }
        _ => HttpError::Other { url, why: why.to_string() },
    }
}

fn token(path: &Path) -> Result<String, HttpError> {
    let text =
        fs::read_to_string(path).map_err(|why| HttpError::Token { path: path.to_owned(), why })?;
    Ok(text.trim().to_owned())
}

fn authorities(path: &Path) -> Result<Vec<Certificate<'static>>, HttpError> {
    let bad = |why: String| HttpError::Authorities { path: path.to_owned(), why };
    let pem = fs::read(path).map_err(|why| bad(why.to_string()))?;
    let mut found = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(certificate) = item.map_err(|why| bad(why.to_string()))? {
            found.push(certificate);
        }
    }
    if found.is_empty() { Err(bad("no certificate in it".into())) } else { Ok(found) }
}
